//! Writing JSON in the form of RFC 8785 (JCS): one possible text for one value.
//!
//! Keys are written in order (all of them are ASCII, so byte order is the UTF-16 order that RFC 8785 §3.2.3 asks for),
//! without spaces, with the shortest escapes, and never a fraction. Every string has a limit, so that an event
//! has one too.

use std::borrow::Cow;
use std::fmt::Write as _;

use policy::{hex, sha256};

use crate::time;

/// The largest integer that every JSON reader keeps exactly: 2⁵³ − 1.
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Writes one object, key by key, in the order of the keys.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    last: &'static str,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn open(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, last: "" }
    }

    /// A string of at most `limit` bytes as written; a longer one is cut and marked, see [`bounded`].
    #[inline(always)] // for `key`
    pub(crate) fn text(&mut self, key: &'static str, value: &str, limit: usize) {
        self.key(key);
        self.string(value, limit);
    }

    fn string(&mut self, value: &str, limit: usize) {
        if value.len() <= limit && is_plain(value) {
            self.out.reserve(value.len() + 2);
            self.out.push('"');
            self.out.push_str(value);
            self.out.push('"');
        } else {
            string(self.out, &bounded(value, limit));
        }
    }

    /// The same, left out if absent.
    pub(crate) fn text_if(&mut self, key: &'static str, value: Option<&str>, limit: usize) {
        if let Some(value) = value {
            self.text(key, value, limit);
        }
    }

    /// An integer. One beyond 2⁵³ − 1 is written as that: no counter of ours gets there.
    #[inline(always)] // for `key`
    pub(crate) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.digits(value.min(INTEGER_MAX));
    }

    /// The same, left out if absent.
    pub(crate) fn number_if(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// An integer of any size as a decimal string: how money is written.
    #[inline(always)] // for `key`
    pub(crate) fn decimal(&mut self, key: &'static str, value: impl Into<i128>) {
        self.key(key);
        self.out.push('"');
        self.signed(value.into());
        self.out.push('"');
    }

    /// The same, left out if absent.
    pub(crate) fn decimal_if(&mut self, key: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.decimal(key, value);
        }
    }

    /// A truth value.
    #[inline(always)] // for `key`
    pub(crate) fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// A time, as [`time`] writes it.
    pub(crate) fn time(&mut self, key: &'static str, micros: i64) {
        self.key(key);
        self.out.push('"');
        time::write(self.out, micros);
        self.out.push('"');
    }

    /// An object inside.
    pub(crate) fn object(&mut self, key: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut inner = Object::open(self.out);
        fill(&mut inner);
        inner.close();
    }

    /// Closes the object.
    pub(crate) fn close(self) {
        self.out.push('}');
    }

    fn signed(&mut self, value: i128) {
        match u64::try_from(value) {
            Ok(value) => self.digits(value),
            Err(_) => drop(write!(self.out, "{value}")),
        }
    }

    fn digits(&mut self, mut value: u64) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] += (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.push_str(str::from_utf8(&digits[first..]).expect("digits are ASCII"));
    }

    #[inline(always)] // the length of `key` is known then
    fn key(&mut self, key: &'static str) {
        debug_assert!(self.last < key, "{key} must come before {}", self.last);
        self.out.reserve(key.len() + 4);
        if !self.last.is_empty() {
            self.out.push(',');
        }
        self.last = key;
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }
}

/// Whether no byte of a text is escaped. It looks at all of them, many at once.
fn is_plain(value: &str) -> bool {
    value.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// Writes a string with the escapes of RFC 8785 §3.2.2.2.
fn string(out: &mut String, value: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in value.bytes().enumerate() {
        if escaped_len(byte) == 1 {
            continue;
        }
        out.push_str(&value[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
    }
    out.push_str(&value[written..]);
    out.push('"');
}

/// The most bytes that a byte of text takes when written.
pub(crate) const ESCAPED_BYTES_MAX: usize = 6;

/// How many bytes a byte of text takes when written. Only ASCII is ever escaped.
fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..=0x1f => ESCAPED_BYTES_MAX,
        _ => 1,
    }
}

/// How many bytes a text takes when written, without its quotes.
pub(crate) fn written_len(value: &str) -> usize {
    value.bytes().map(escaped_len).sum()
}

/// The text itself if it takes at most `limit` bytes when written; else its beginning, `…~` and the first 16 hex
/// digits of the whole text's SHA-256, so that a reader sees the cut and different texts stay different.
pub(crate) fn bounded(value: &str, limit: usize) -> Cow<'_, str> {
    const MARK_BYTES: usize = "…~".len() + 16;
    if written_len(value) <= limit {
        return Cow::Borrowed(value);
    }
    let mut taken = 0;
    let mut end = 0;
    for (at, character) in value.char_indices() {
        let part = &value[at..at + character.len_utf8()];
        taken += written_len(part);
        if taken + MARK_BYTES > limit {
            break;
        }
        end = at + part.len();
    }
    let whole = sha256(value.as_bytes());
    Cow::Owned(format!("{}…~{}", &value[..end], hex(&whole[..8])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_with_a_mark_that_keeps_it_distinct() {
        let (one, two) = (format!("{}1", "é\n".repeat(100)), format!("{}2", "é\n".repeat(100)));
        let (cut_one, cut_two) = (bounded(&one, 64), bounded(&two, 64));
        assert!(written_len(&cut_one) <= 64 && written_len(&cut_one) > 50, "{cut_one:?}");
        assert!(cut_one.contains("…~"));
        assert_ne!(cut_one, cut_two);
        assert_eq!(bounded(&cut_one, 64), cut_one, "what was cut once is not cut again");
        assert_eq!(bounded("short", 64), "short");
    }
}
