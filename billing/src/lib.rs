//! Money: rating, accounts, statements, books and replays. Rules here are pure; only the books touch a database.

pub mod account;
pub mod books;
pub mod derived;
pub mod payments;
pub mod rate;
pub mod repeat;
pub mod replay;
pub mod spent;
pub mod statement;
