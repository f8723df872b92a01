//! The part of a query that names a work: only the parameters that the policy lists.

use super::path::{hex, push_encoded};

/// Bytes of the named parameters in their one spelling; what is beyond is refused.
const MAX_QUERY_BYTES: usize = 2_048;

/// The named parameters in the order in which the policy names them, each with all its values in the order in which they
/// came, percent-encoded but for unreserved characters. Empty if none is there.
///
/// # Errors
/// Half a sentence on what is wrong.
pub(crate) fn canonical_query(query: &str, names: &[String]) -> Result<String, &'static str> {
    let mut out = String::new();
    for name in names {
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key.is_empty() || decode(key) != name.as_bytes() {
                continue;
            }
            if !out.is_empty() {
                out.push('&');
            }
            encode(&mut out, name.as_bytes());
            out.push('=');
            encode(&mut out, &decode(value));
        }
    }
    if out.len() > MAX_QUERY_BYTES {
        return Err("the parameters that name the work are longer than 2048 bytes");
    }
    Ok(out)
}

/// Decodes as forms are: `+` is a space; a `%` that encodes nothing stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = match bytes[at] {
            b'%' => bytes.get(at + 1).and_then(hex).zip(bytes.get(at + 2).and_then(hex)),
            _ => None,
        };
        match (encoded, bytes[at]) {
            (Some((high, low)), _) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        at += 1;
    }
    out
}

fn encode(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_encoded(out, byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_parameters_name_a_work() {
        let names = ["p".to_owned(), "página".to_owned(), "a[]".to_owned()];
        for (query, expect) in [
            ("", ""),
            ("utm_source=x", ""),
            ("x=1&p=12&y=2", "p=12"),
            ("p=1&p=2", "p=1&p=2"),
            ("%70=1", "p=1"),
            ("p", "p="),
            ("p=a+b%20c", "p=a%20b%20c"),
            ("p=%zz%", "p=%25zz%25"),
            ("a%5B%5D=1&p=2", "p=2&a%5B%5D=1"),
            ("p%C3%A1gina=2", "p%C3%A1gina=2"),
            ("=1&&p=%41", "p=A"),
        ] {
            let canonical = canonical_query(query, &names).unwrap();
            assert_eq!(canonical, expect, "{query}");
            assert_eq!(canonical_query(&canonical, &names).unwrap(), expect, "{query} again");
        }
        assert!(canonical_query(&format!("p={}", "%00".repeat(1_000)), &names).is_err());
    }
}
