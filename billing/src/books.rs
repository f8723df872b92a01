//! The books: an SQL projection of the ledger.
