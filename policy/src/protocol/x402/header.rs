//! The headers' encoding: JSON in Base64.
//!
//! Written is the standard alphabet with padding. Read is that, and what clients make of it: without padding, or in the
//! alphabet for URLs. A value that mixes both alphabets is none.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::json;

/// Bytes of a header's value that are read; above, it is refused unread.
pub const IN_BYTES_MAX: usize = 16_384;
/// Bytes of an offer's header are below this: "HTTP intermediaries may reject headers larger than 2KB"
/// (`batch_settlement_cloudflare.md`).
pub const OUT_BYTES_MAX: usize = 2_048;

/// Why a header's value is not the object that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Above [`IN_BYTES_MAX`].
    #[error("the header has {bytes} bytes; {IN_BYTES_MAX} are the most")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Not Base64.
    #[error("the header is not Base64")]
    NotBase64,
    /// Base64 of something else than the JSON object that belongs there.
    #[error("the header is not the JSON object that belongs there: {why}")]
    NotJson {
        /// The first thing that is wrong, by its place.
        why: String,
    },
}

/// The bytes in a header's value.
///
/// # Errors
/// [`HeaderError::TooLong`], [`HeaderError::NotBase64`].
pub fn decode(value: &[u8]) -> Result<Vec<u8>, HeaderError> {
    if value.len() > IN_BYTES_MAX {
        return Err(HeaderError::TooLong { bytes: value.len() });
    }
    let value = value.trim_ascii();
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let for_urls = value.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = GeneralPurpose::new(if for_urls { &URL_SAFE } else { &STANDARD }, config);
    engine.decode(value).map_err(|_| HeaderError::NotBase64)
}

/// The object in a header's value.
///
/// # Errors
/// It is too long, not Base64, or not that object.
pub fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, HeaderError> {
    from_json(&decode(value)?)
}

/// An object of JSON.
///
/// # Errors
/// [`HeaderError::NotJson`]; so is a member that is named twice, and an array.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, HeaderError> {
    json::from_slice(json).map_err(|error| HeaderError::NotJson { why: error.to_string() })
}

/// A header's value for bytes.
pub fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A header's value for an object.
pub fn write(object: &impl Serialize) -> String {
    encode(&to_json(object))
}

/// An object as JSON.
///
/// # Panics
/// Never for the objects of these modules: their keys are texts, and none fails to serialise.
pub fn to_json(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).expect("the keys of a message are texts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_each_of_its_forms() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("+/+/", b"\xfb\xff\xbf"),
            ("-_-_", b"\xfb\xff\xbf"),
            ("e30=", b"{}"),
            ("e30", b"{}"),
            (" e30=\t", b"{}"),
            ("+w==", b"\xfb"),
            ("-w", b"\xfb"),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Ok(bytes), "{text}");
        }
        for text in ["+_+_", "e3 0=", "e30==", "e", "e31=", "=", "e30=e30=", "é"] {
            assert_eq!(decode(text.as_bytes()), Err(HeaderError::NotBase64), "{text}");
        }
        let long = vec![b'A'; IN_BYTES_MAX + 1];
        assert_eq!(decode(&long), Err(HeaderError::TooLong { bytes: IN_BYTES_MAX + 1 }));
        assert!(decode(&long[1..]).is_ok());
    }
}
