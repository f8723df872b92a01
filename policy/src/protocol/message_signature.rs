//! HTTP Message Signatures (RFC 9421): reading, verifying and making them.
//!
//! A signature covers *components* of a message: fields, and what is derived from the request line. Both sides build the
//! same text from them, the *signature base* (section 2.5), and that text is signed. So a verifier is right only if it
//! rebuilds the base exactly: [`Component`] knows the value of each component, [`Signature`] puts the base together from
//! what was received.
//!
//! Algorithms: `ed25519`, `rsa-pss-sha512` and `ecdsa-p256-sha256`, by `ring`. A shared secret proves nothing to a third
//! party, so `hmac-sha256` is refused; `rsa-v1_5-sha256` and `ecdsa-p384-sha384` are, too, for nobody uses them here.
//!
//! What is *not* here: whose a key is, and when a signature is too old. That is the profile's, see
//! [`bot_auth`](super::bot_auth).

mod component;
mod digest;
pub(in crate::protocol) mod ed25519;
mod key;
mod message;
mod query;
mod sign;
mod signature;
mod structured;

pub use component::{Component, ComponentError};
pub use digest::{ContentDigestError, check_content_digest, content_digest};
pub use key::{Algorithm, Jwk, KeyError, PublicKey};
pub(crate) use message::joined;
pub use message::{Field, Message, Request, Response};
pub use sign::{SignError, SignatureFields, SigningKey};
pub use signature::{
    Candidate, Malformed, Parameters, Signature, SignaturesError, VerifyError, read_signatures,
};
pub use structured::DictionaryError;
pub(crate) use structured::{Dictionary, Item, Member, Value};

/// Bytes of all `Signature-Input` lines of a message, and of all its `Signature` lines.
pub const SIGNATURE_FIELD_BYTES_MAX: usize = 16 * 1024;
/// Signatures of a message that are read.
pub const SIGNATURES_MAX: usize = 8;
/// Components that a signature may cover.
pub const COMPONENTS_MAX: usize = 64;
/// Bytes of a signature base.
pub const BASE_BYTES_MAX: usize = 128 * 1024;
