//! The public protocols by which crawlers say who they are and sites say on what terms: one pure module for each.
//!
//! A module reads what the other side wrote and writes what our side says. It fetches nothing, knows no clock and keeps no
//! state: bytes, texts and the time come in as arguments. Whatever it reads has a limit, listed in `docs/limits.md`.

pub mod aipref;
pub mod bot_auth;
pub mod cap;
pub mod content_signal;
pub mod crawl_price;
mod json;
pub mod message_signature;
pub mod mpp;
pub mod olp;
pub mod robots;
pub mod rsl;
pub mod tdmrep;
pub mod x402;
