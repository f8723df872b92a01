//! Path patterns (RFC 9309 §2.2.2, RFC 9309 §2.2.3): a prefix, byte by byte, with `*` for anything and a final `$`.
//!
//! Both sides are put into one spelling first: what is not ASCII is percent-encoded, unreserved characters are not,
//! `%2A` and `%24` stand for `*` and `$` themselves. Matching is linear in path and pattern for any number of `*`.

use std::borrow::Cow;

/// A path with its query, in the one spelling.
pub(crate) struct PatternPath<'a>(Cow<'a, str>);

impl<'a> PatternPath<'a> {
    pub(crate) fn new(path: &'a str) -> PatternPath<'a> {
        PatternPath(normalise(path, false))
    }

    /// How narrow a pattern is, in octets, if it matches.
    pub(crate) fn matched_by(&self, pattern: &str) -> Option<usize> {
        let normal = normalise(pattern, true);
        let (body, to_the_end) = match normal.strip_suffix('$') {
            Some(body) => (body, true),
            None => (&*normal, false),
        };
        let mut pieces = body.split('*');
        let first = pieces.next().unwrap_or("");
        let mut rest = self.0.strip_prefix(first)?;
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return (!to_the_end || rest.is_empty()).then_some(normal.len());
        }
        while let Some(piece) = pieces.next() {
            if to_the_end && pieces.peek().is_none() {
                return rest.ends_with(piece).then_some(normal.len());
            }
            let at = rest.find(piece)?;
            rest = &rest[at + piece.len()..];
        }
        Some(normal.len())
    }
}

/// The one spelling. In a pattern `*` and a `$` at the end have a meaning; everywhere else they are letters.
fn normalise(text: &str, is_pattern: bool) -> Cow<'_, str> {
    let is_settled = |byte: u8| byte.is_ascii() && !matches!(byte, b'%' | b'*' | b'$');
    if text.bytes().all(is_settled) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let is_wildcard = is_pattern && (byte == b'*' || (byte == b'$' && at + 1 == bytes.len()));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                let value = (high << 4 | low) as u8;
                if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
                    out.push(char::from(value));
                } else {
                    push_encoded(&mut out, value);
                }
                at += 2;
            }
            _ if is_wildcard || (byte.is_ascii() && byte != b'*' && byte != b'$') => {
                out.push(char::from(byte))
            }
            _ => push_encoded(&mut out, byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

fn push_encoded(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_rfc_9309() {
        for (pattern, path, expect) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("", "/a", true),
            ("/a", "/ab", true),
            ("/a$", "/ab", false),
            ("/a$", "/a", true),
            ("/A", "/a", false),
            ("/*.pdf$", "/d/x.pdf", true),
            ("/*.pdf$", "/d/x.pdf?y", false),
            ("/*.pdf", "/d/x.pdf?y", true),
            ("/*.pdf$", "/.pdf.pdf", true),
            ("/*a*b", "/xaxxb", true),
            ("/*a*b", "/xbxxa", false),
            ("/a*", "/a", true),
            ("/**", "/", true),
            ("/a*$", "/abc", true),
            ("/a$b", "/a$b", true),
            ("/a%24b", "/a$b", true),
            ("/a%2Ab", "/a*b", true),
            ("/a%2ab", "/axb", false),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz", true),
            ("/foo/bar/baz", "/foo/bar/%62%61%7A", true),
            ("/foo/bar/\u{30c4}", "/foo/bar/%E3%83%84", true),
            ("/a%2fb", "/a/b", false),
            ("/a%2fb", "/a%2Fb", true),
            ("/%zz", "/%zz", true),
            ("*", "/a", true),
        ] {
            assert_eq!(PatternPath::new(path).matched_by(pattern).is_some(), expect, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_of_many_wildcards_costs_little() {
        let (pattern, path) = ("/".to_owned() + &"*a".repeat(1_000), "/".to_owned() + &"a".repeat(8_000));
        assert!(PatternPath::new(&path).matched_by(&pattern).is_some());
        assert!(PatternPath::new(&path).matched_by(&(pattern + "*b$")).is_none());
    }
}
