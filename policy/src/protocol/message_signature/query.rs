//! Single parameters of a query (`@query-param`, RFC 9421 section 2.2.8): parsed as HTML forms are, encoded anew.

use crate::work::{hex, push_encoded};

/// The encoded value of the one parameter whose encoded name is `name`; an error if there are none, or several.
pub(super) fn parameter(query: &str, name: &str) -> Result<String, usize> {
    let mut found = None;
    let mut count = 0;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        if encoded(&decoded(raw_name)) == name {
            count += 1;
            found = Some(raw_value);
        }
    }
    match (count, found) {
        (1, Some(raw_value)) => Ok(encoded(&decoded(raw_value))),
        _ => Err(count),
    }
}

/// `application/x-www-form-urlencoded` parsing of a name or value; what is not UTF-8 is replaced, as browsers do.
fn decoded(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = match bytes[at] {
            b'+' => b' ',
            b'%' => match (bytes.get(at + 1).and_then(hex), bytes.get(at + 2).and_then(hex)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    high << 4 | low
                }
                _ => b'%',
            },
            byte => byte,
        };
        decoded.push(byte);
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Percent-encoding with the set of `application/x-www-form-urlencoded`; a space is `%20`, as in the RFC's examples.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            push_encoded(&mut encoded, byte);
        }
    }
    encoded
}
