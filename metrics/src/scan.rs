//! Reading JSON that Byline wrote itself: the keys in their order, nothing between them, texts borrowed where they
//! stand. It costs an eighth of what a parser for any JSON costs.
//!
//! It only ever says yes to what such a parser reads in the same way. Whatever is otherwise than expected (an unknown
//! key, a rare escape) is `None`, and is left to that parser.

use std::borrow::Cow;

/// What is left of a text.
pub(crate) struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    /// A text to read; `None` if it has characters that JSON does not let stand, wherever they are.
    pub(crate) fn begin(bytes: &'a [u8]) -> Option<Scan<'a>> {
        let odd = bytes.iter().fold(false, |odd, byte| odd | (*byte < b' '));
        let rest = str::from_utf8(bytes).ok().filter(|_| !odd)?;
        Some(Scan { rest })
    }

    /// Goes past these characters, if they come next.
    #[inline(always)] // the length of `expected` is known then
    pub(crate) fn skip(&mut self, expected: &'static str) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// A string that begins here.
    #[inline]
    pub(crate) fn text(&mut self) -> Option<Cow<'a, str>> {
        let inside = self.rest.strip_prefix('"')?;
        let end = memchr::memchr2(b'"', b'\\', inside.as_bytes())?;
        if inside.as_bytes()[end] == b'"' {
            self.rest = &inside[end + 1..];
            return Some(Cow::Borrowed(&inside[..end]));
        }
        self.escaped(inside, end).map(Cow::Owned)
    }

    /// The same with escapes: the first of them is at `at`.
    fn escaped(&mut self, mut inside: &'a str, mut at: usize) -> Option<String> {
        let mut text = String::with_capacity(at + 32);
        loop {
            text.push_str(&inside[..at]);
            if inside.as_bytes()[at] == b'"' {
                self.rest = &inside[at + 1..];
                return Some(text);
            }
            text.push(match inside.as_bytes().get(at + 1)? {
                b'"' => '"',
                b'\\' => '\\',
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                _ => return None,
            });
            inside = &inside[at + 2..];
            at = memchr::memchr2(b'"', b'\\', inside.as_bytes())?;
        }
    }

    /// A natural number that begins here.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        let plain = digits == 1 || !number.starts_with('0');
        self.rest = rest;
        number.parse().ok().filter(|_| plain)
    }

    /// A truth value that begins here.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        let value = self.rest.starts_with("true");
        self.skip(if value { "true" } else { "false" })?;
        Some(value)
    }

    /// That was all.
    pub(crate) fn end(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}
