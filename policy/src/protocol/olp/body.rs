//! Bodies: forms and JSON, read into fields and written.

use serde::{Deserialize, Serialize};

use super::error::MessageError;
use crate::work::{hex, push_encoded};

/// Bytes of a message's body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a token. It has to fit into a request's head.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// Fields of a form.
const FIELDS_MAX: usize = 64;

/// Whether a text is a token of RFC 6750 §2.1 (`b64token`): anything else cannot be sent.
pub(in crate::protocol) fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && text.len() <= TOKEN_BYTES_MAX
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// The fields of a body. Unknown ones are ignored, as RFC 6749 §3.2 has it; each is there once.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<Fields, MessageError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(MessageError::TooLarge { bytes: body.len() });
        }
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let fields = if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            parse_form(body)?
        } else if essence.eq_ignore_ascii_case("application/json") {
            parse_json(body)?
        } else {
            return Err(MessageError::MediaType);
        };
        Ok(Fields(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&str, MessageError> {
        let missing = MessageError::Field { name, why: "is missing" };
        self.get(name).filter(|value| !value.is_empty()).ok_or(missing)
    }
}

/// What is told of fields that are twice there: which of them counts is not for us to guess.
const TWICE: &str = "a body with each field once";

fn parse_form(body: &[u8]) -> Result<Vec<(String, String)>, MessageError> {
    let malformed = || MessageError::Malformed { what: "a form in UTF-8".to_owned() };
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut fields: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = decode_form(name).zip(decode_form(value)).ok_or_else(malformed)?;
        if fields.len() == FIELDS_MAX {
            return Err(MessageError::Malformed { what: format!("a form of at most {FIELDS_MAX} fields") });
        }
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(MessageError::Malformed { what: TWICE.to_owned() });
        }
        fields.push((name, value));
    }
    Ok(fields)
}

fn parse_json(body: &[u8]) -> Result<Vec<(String, String)>, MessageError> {
    /// The fields that any call has; others are read over.
    #[derive(Deserialize)]
    struct Raw {
        grant_type: Option<String>,
        license: Option<String>,
        license_type: Option<String>,
        resource: Option<String>,
        token: Option<String>,
    }
    let raw: Raw = from_json(body)?;
    let fields = [
        ("grant_type", raw.grant_type),
        ("license", raw.license),
        ("license_type", raw.license_type),
        ("resource", raw.resource),
        ("token", raw.token),
    ];
    Ok(fields.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect())
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, MessageError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(MessageError::TooLarge { bytes: body.len() });
    }
    serde_json::from_slice(body).map_err(|error| {
        // Not the reader's own words: they repeat what was sent.
        MessageError::Malformed {
            what: format!("the JSON of this message (line {}, column {})", error.line(), error.column()),
        }
    })
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and booleans are JSON")
}

/// Decodes one part of a form; none if an escape is cut short or it is not UTF-8.
pub(super) fn decode_form(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |at: usize| bytes.get(at).and_then(hex);
                out.push(digit(at + 1)? << 4 | digit(at + 2)?);
                at += 2;
            }
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

/// Encodes one part of a form.
pub(super) fn encode_form(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => push_encoded(&mut out, byte),
        }
    }
    out
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encode_form(value))).collect();
    pairs.join("&")
}
