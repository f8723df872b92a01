//! The harness of the end-to-end tests: a raw client in front of the real binary and a scripted origin behind it.
//!
//! Nothing here knows how the proxy works inside. A test starts the program as an operator would, says every byte
//! that goes in on either side, and looks at every byte that comes out, at the ledger through `byline ledger cat`
//! and at the counters through `/metrics`.

pub mod both;
pub mod byline;
pub mod chain;
pub mod client;
pub mod config;
pub mod flood;
pub mod h2c;
pub mod licences;
pub mod load;
pub mod market;
#[path = "../../policy/tests/support/oracle.rs"]
pub mod oracle;
pub mod origin;
pub mod paid;
pub mod ports;
pub mod secure;
pub mod tls;
pub mod wait;
pub mod wire;

pub use both::{Both, On};
pub use byline::{Byline, before, configured};
pub use client::{Answer, Client, ask, get};
pub use load::Load;
pub use origin::{Origin, Visit};
