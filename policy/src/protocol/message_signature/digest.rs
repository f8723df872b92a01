//! `Content-Digest` (RFC 9530): the field by which a signature covers a body.

use ring::digest::{SHA256, SHA512, digest};
use sfv::BareItemFromInput;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::message::{Field, joined};
use super::structured::{Dictionary, Value};

/// Digests of one body that are read: the registry has eight algorithms.
const DIGESTS_MAX: usize = 16;

/// Why a body is not the one that `Content-Digest` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentDigestError {
    /// No such field.
    #[error("no Content-Digest")]
    Missing,
    /// Not a dictionary of byte sequences.
    #[error("Content-Digest cannot be read")]
    Unreadable,
    /// Neither `sha-256` nor `sha-512`; the others are no proof (RFC 9530 section 5).
    #[error("Content-Digest has neither sha-256 nor sha-512")]
    NoAlgorithm,
    /// The body is another one.
    #[error("the body is not the one that Content-Digest names")]
    Mismatch,
}

/// Checks that a body is the one that `Content-Digest` names: each `sha-256` and `sha-512` there must be right.
pub fn check_content_digest(fields: &[Field<'_>], body: &[u8]) -> Result<(), ContentDigestError> {
    let value = joined(fields, "content-digest").ok_or(ContentDigestError::Missing)?;
    let digests =
        Dictionary::without_repeats(&value, DIGESTS_MAX).map_err(|_| ContentDigestError::Unreadable)?;
    let mut checked = false;
    for (name, algorithm) in [("sha-256", &SHA256), ("sha-512", &SHA512)] {
        match digests.get(name).map(|member| &member.value) {
            None => {}
            Some(Value::Bare(BareItemFromInput::ByteSequence(named))) => {
                if digest(algorithm, body).as_ref() != named.as_slice() {
                    return Err(ContentDigestError::Mismatch);
                }
                checked = true;
            }
            Some(_) => return Err(ContentDigestError::Unreadable),
        }
    }
    if checked { Ok(()) } else { Err(ContentDigestError::NoAlgorithm) }
}

/// The field's value for a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body)))
}
