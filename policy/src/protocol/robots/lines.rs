//! The lines of a robots.txt, and which group each is in (RFC 9309 §2.1, §2.2).

use std::borrow::Cow;
use std::ops::Range;

use super::BYTES_MAX;

/// What a line is, by its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `User-agent`
    UserAgent,
    /// `Allow`
    Allow,
    /// `Disallow`
    Disallow,
    /// Any other key: it neither ends nor begins a group.
    Other,
    /// Not `key: value`.
    Malformed,
}

/// Whom a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Before the first group.
    Global,
    /// In the group of this number, from 0.
    Group(u32),
}

/// A line, without its end, its comment and the space around its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// From 1.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// As it is written; empty if malformed.
    pub key: &'a [u8],
    /// As it is written; the whole line if malformed.
    pub value: &'a [u8],
    /// Whom it is about.
    pub scope: Scope,
}

/// Something that a person should look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remark {
    /// Number of the line, from 1.
    pub line: u32,
    /// What it is.
    pub kind: RemarkKind,
}

/// What there is to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RemarkKind {
    /// No colon.
    #[error("the line has no colon and is skipped")]
    NoColon,
    /// Nothing before the colon.
    #[error("the line has nothing before its colon and is skipped")]
    NoKey,
    /// `Allow` or `Disallow` before the first `User-agent`.
    #[error("a rule before the first `User-agent` is nobody's")]
    OutsideGroup,
    /// `User-agent` without a name.
    #[error("`User-agent` names nobody")]
    NoAgent,
    /// A name that is not a product token by RFC 9309 §2.2.1.
    #[error("the name has characters other than letters, `-` and `_`: some parsers cut it there")]
    OddAgent,
    /// A path that begins with neither `/` nor `*`.
    #[error("the path begins with neither `/` nor `*` and never matches")]
    NeverMatches,
    /// The file is longer than [`BYTES_MAX`].
    #[error("the file is longer than 512000 bytes; what follows is ignored")]
    Cut,
}

impl<'a> Line<'a> {
    /// Whether the line has this key, in any case.
    pub fn is(&self, key: &str) -> bool {
        self.key.eq_ignore_ascii_case(key.as_bytes())
    }

    /// The value as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.value)
    }

    pub(super) fn remark(&self) -> Option<Remark> {
        let is_token = |value: &[u8]| {
            value == b"*" || value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(byte))
        };
        let kind = match self.kind {
            Kind::Malformed if self.value.starts_with(b":") => RemarkKind::NoKey,
            Kind::Malformed => RemarkKind::NoColon,
            Kind::UserAgent if self.value.is_empty() => RemarkKind::NoAgent,
            Kind::UserAgent if !is_token(self.value) => RemarkKind::OddAgent,
            Kind::Allow | Kind::Disallow if self.scope == Scope::Global => RemarkKind::OutsideGroup,
            Kind::Allow | Kind::Disallow if !matches!(self.value.first(), None | Some(b'/' | b'*')) => {
                RemarkKind::NeverMatches
            }
            _ => return None,
        };
        Some(Remark { line: self.number, kind })
    }
}

/// A line as it is kept: places in the text. The text has at most [`BYTES_MAX`] bytes, so that each fits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) number: u32,
    kind: Kind,
    key: (u32, u32),
    value: (u32, u32),
    /// [`NO_GROUP`], or the number of the group.
    group: u32,
    /// The agents that it is for, by their place in the list of all. Of a rule, only the start is final while agents may
    /// still follow; rules come after them, so it always is.
    agents: (u32, u32),
}

const NO_GROUP: u32 = u32::MAX;

impl Entry {
    pub(super) fn line<'a>(&self, text: &'a [u8]) -> Line<'a> {
        Line {
            number: self.number,
            kind: self.kind,
            key: &text[self.key.0 as usize..self.key.1 as usize],
            value: self.value(text),
            scope: if self.group == NO_GROUP { Scope::Global } else { Scope::Group(self.group) },
        }
    }

    pub(super) fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.value.0 as usize..self.value.1 as usize]
    }

    /// Whom it is for, if it is in a group.
    pub(super) fn agents(&self) -> Option<Range<u32>> {
        (self.group != NO_GROUP).then_some(self.agents.0..self.agents.1)
    }
}

/// What is read of a file: at most [`BYTES_MAX`] bytes, up to the end of a line.
pub(super) fn cut(text: &[u8]) -> (&[u8], bool) {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    match text.get(BYTES_MAX) {
        None => (text, false),
        Some(next) if is_end(next) => (&text[..BYTES_MAX], true),
        Some(_) => {
            let whole = text[..BYTES_MAX].iter().rposition(is_end).map_or(0, |end| end + 1);
            (&text[..whole], true)
        }
    }
}

/// All lines that say something, and the indices of those that name agents.
pub(super) fn read(text: &[u8]) -> (Vec<Entry>, Vec<u32>) {
    let (mut entries, mut agents): (Vec<Entry>, Vec<u32>) = (Vec::new(), Vec::new());
    // Number and first agent of the group we are in, and whether it has a rule: then the next agent begins another.
    let (mut group, mut first_agent, mut has_rule) = (NO_GROUP, 0, false);
    for (index, line) in split(text).enumerate() {
        let Some(mut entry) = entry(text, line, index as u32 + 1) else { continue };
        match entry.kind {
            Kind::UserAgent => {
                if group == NO_GROUP || has_rule {
                    group = group.wrapping_add(1);
                    first_agent = agents.len() as u32;
                    has_rule = false;
                }
                agents.push(entries.len() as u32);
            }
            Kind::Allow | Kind::Disallow => has_rule = group != NO_GROUP,
            Kind::Other | Kind::Malformed => {}
        }
        entry.group = group;
        entry.agents = (first_agent, agents.len() as u32);
        entries.push(entry);
    }
    (entries, agents)
}

/// The lines of a text as places in it, without their ends. A byte order mark belongs to none.
fn split(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let end =
            rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(text.len(), |end| at + end);
        at = end + if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        Some(start..end)
    })
}

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

fn entry(text: &[u8], line: Range<usize>, number: u32) -> Option<Entry> {
    let end = text[line.clone()].iter().position(|byte| *byte == b'#').map_or(line.end, |at| line.start + at);
    let line = trim(text, line.start..end);
    if line.is_empty() {
        return None;
    }
    let colon = text[line.clone()].iter().position(|byte| *byte == b':').filter(|at| *at > 0);
    let (kind, key, value) = match colon {
        None => (Kind::Malformed, line.start..line.start, line),
        Some(at) => {
            let key = trim(text, line.start..line.start + at);
            (kind_of(&text[key.clone()]), key, trim(text, line.start + at + 1..line.end))
        }
    };
    let place = |range: Range<usize>| (range.start as u32, range.end as u32);
    Some(Entry { number, kind, key: place(key), value: place(value), group: NO_GROUP, agents: (0, 0) })
}

fn kind_of(key: &[u8]) -> Kind {
    match key {
        _ if key.eq_ignore_ascii_case(b"user-agent") => Kind::UserAgent,
        _ if key.eq_ignore_ascii_case(b"allow") => Kind::Allow,
        _ if key.eq_ignore_ascii_case(b"disallow") => Kind::Disallow,
        _ => Kind::Other,
    }
}

/// Without the white space (RFC 9309: space and tab) around it.
fn trim(text: &[u8], range: Range<usize>) -> Range<usize> {
    let is_dark = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let inner = &text[range.clone()];
    match inner.iter().position(is_dark) {
        None => range.start..range.start,
        Some(first) => {
            let last = inner.iter().rposition(is_dark).unwrap_or(first);
            range.start + first..range.start + last + 1
        }
    }
}
