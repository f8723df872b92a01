//! Writing robots.txt: lines and groups that every parser reads as they are meant.

use super::BYTES_MAX;
use super::lines::BYTE_ORDER_MARK;

/// Bytes of a key, of an agent's name; a value may have [`VALUE_BYTES_MAX`].
const NAME_BYTES_MAX: usize = 128;
/// Bytes of a value: long enough for any path that is served, and within what Google reads of a line.
const VALUE_BYTES_MAX: usize = 8_192;

/// Why something cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// Not letters, digits, `-` or `_`; or the key of another kind of line.
    #[error("`{0}` is not the key of such a line")]
    Key(String),
    /// A line break, a `#`, a control character or space around it.
    #[error("`{0}` cannot stand in one line as it is")]
    Value(String),
    /// A path that begins with neither `/` nor `*`.
    #[error("the path `{0}` begins with neither `/` nor `*`")]
    Path(String),
    /// A name that no line can hold.
    #[error("`{0}` cannot be the name of an agent")]
    Agent(String),
    /// A group without an agent.
    #[error("a group names no agent")]
    NoAgent,
    /// Crawlers would not read all of it.
    #[error("the file would have {bytes} bytes; crawlers read 512000")]
    TooLong {
        /// Bytes that it would have.
        bytes: usize,
    },
}

/// A line other than `User-agent`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Directive {
    key: String,
    /// Bytes, because lines that are taken over from a site need not be UTF-8.
    value: Vec<u8>,
}

impl Directive {
    /// `Allow`, with a pattern as in the file: percent-encoded, or made by [`super::literal`].
    ///
    /// # Errors
    /// A pattern that no line can hold, or that would never match.
    pub fn allow(pattern: &str) -> Result<Directive, PublishError> {
        Directive::rule("Allow", pattern)
    }

    /// `Disallow`; an empty pattern forbids nothing.
    ///
    /// # Errors
    /// As [`Directive::allow`].
    pub fn disallow(pattern: &str) -> Result<Directive, PublishError> {
        Directive::rule("Disallow", pattern)
    }

    /// Any other line: `Sitemap`, `Content-Usage` ….
    ///
    /// # Errors
    /// What no line can hold, and the keys `User-agent`, `Allow` and `Disallow`.
    pub fn other(key: &str, value: &str) -> Result<Directive, PublishError> {
        let is_name = !key.is_empty()
            && key.len() <= NAME_BYTES_MAX
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let is_taken =
            ["user-agent", "allow", "disallow"].iter().any(|taken| key.eq_ignore_ascii_case(taken));
        if !is_name || is_taken {
            return Err(PublishError::Key(key.to_owned()));
        }
        Directive::line(key, value)
    }

    /// A line taken over from a parsed file, where it could stand.
    pub(super) fn taken_over(key: &str, value: &[u8]) -> Directive {
        Directive { key: key.to_owned(), value: value.to_vec() }
    }

    fn rule(key: &str, pattern: &str) -> Result<Directive, PublishError> {
        if !pattern.is_empty() && !pattern.starts_with(['/', '*']) {
            return Err(PublishError::Path(pattern.to_owned()));
        }
        Directive::line(key, pattern)
    }

    fn line(key: &str, value: &str) -> Result<Directive, PublishError> {
        if !fits_a_line(value) || value.len() > VALUE_BYTES_MAX {
            return Err(PublishError::Value(value.to_owned()));
        }
        Ok(Directive { key: key.to_owned(), value: value.as_bytes().to_vec() })
    }

    /// The key, as it is written.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    pub(super) fn is_rule(&self) -> bool {
        self.key.eq_ignore_ascii_case("allow") || self.key.eq_ignore_ascii_case("disallow")
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key.as_bytes());
        out.push(b':');
        if !self.value.is_empty() {
            out.push(b' ');
            out.extend_from_slice(&self.value);
        }
        out.push(b'\n');
    }
}

/// A group: its agents, and what is said to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    agents: Vec<String>,
    directives: Vec<Directive>,
}

impl Section {
    /// A group.
    ///
    /// # Errors
    /// No agent, or a name that no line can hold.
    pub fn new(agents: Vec<String>, directives: Vec<Directive>) -> Result<Section, PublishError> {
        if agents.is_empty() {
            return Err(PublishError::NoAgent);
        }
        match agents.iter().find(|agent| !is_agent(agent)) {
            Some(odd) => Err(PublishError::Agent(odd.clone())),
            None => Ok(Section { agents, directives }),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for agent in &self.agents {
            out.extend_from_slice(b"User-agent: ");
            out.extend_from_slice(agent.as_bytes());
            out.push(b'\n');
        }
        for directive in &self.directives {
            directive.write(out);
        }
        if !self.directives.iter().any(Directive::is_rule) {
            write_end_of_agents(out);
        }
    }
}

/// A rule that changes nothing, as robots.txt is always allowed. Without one the agents of the next group would join those
/// above, because to an RFC 9309 parser no other line ends their list. (`Disallow:` would do, but some parsers take it for
/// `Allow: /`, which is stronger than a site's own `Disallow: /`.)
pub(super) fn write_end_of_agents(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Allow: /robots.txt$\n");
}

/// A whole file: what is said to everybody, then the groups. Nothing in a group can change what another one says.
///
/// # Errors
/// An `Allow` or `Disallow` that is in no group; a file longer than [`BYTES_MAX`].
pub fn publish(globals: &[Directive], sections: &[Section]) -> Result<Vec<u8>, PublishError> {
    let mut out = Vec::new();
    write_globals(globals, &mut out)?;
    for section in sections {
        if !out.is_empty() {
            out.push(b'\n');
        }
        section.write(&mut out);
    }
    check_length(&out)?;
    Ok(out)
}

pub(super) fn write_globals(globals: &[Directive], out: &mut Vec<u8>) -> Result<(), PublishError> {
    for directive in globals {
        if directive.is_rule() {
            return Err(PublishError::Key(directive.key.clone()));
        }
        directive.write(out);
    }
    Ok(())
}

pub(super) fn check_length(text: &[u8]) -> Result<(), PublishError> {
    if text.len() > BYTES_MAX { Err(PublishError::TooLong { bytes: text.len() }) } else { Ok(()) }
}

pub(super) fn is_agent(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && fits_a_line(name)
        && !name.as_bytes().starts_with(BYTE_ORDER_MARK)
        && !name.starts_with('/')
}

fn fits_a_line(value: &str) -> bool {
    value.trim_matches([' ', '\t']) == value && !value.contains(|c: char| c == '#' || c.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::robots::{RobotsTxt, Target};

    #[test]
    fn what_is_written_is_read_again() {
        let text = publish(
            &[Directive::other("License", "https://example.com/rsl.xml").unwrap()],
            &[
                Section::new(
                    vec!["GPTBot".to_owned(), "CCBot".to_owned()],
                    vec![Directive::other("Content-Usage", "train-ai=n").unwrap()],
                )
                .unwrap(),
                Section::new(
                    vec!["*".to_owned()],
                    vec![Directive::disallow("/drafts/").unwrap(), Directive::allow("/*.css$").unwrap()],
                )
                .unwrap(),
            ],
        )
        .unwrap();
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "License: https://example.com/rsl.xml\n\
             \nUser-agent: GPTBot\nUser-agent: CCBot\nContent-Usage: train-ai=n\nAllow: /robots.txt$\n\
             \nUser-agent: *\nDisallow: /drafts/\nAllow: /*.css$\n"
        );
        let robots = RobotsTxt::parse(&text);
        assert_eq!(robots.global("license").count(), 1);
        let drafts = Target::new("/drafts/1");
        assert!(robots.agent("gptbot").decide(&drafts).is_allowed);
        assert_eq!(robots.agent("ccbot").extensions("content-usage").count(), 1);
        assert!(!robots.agent("other").decide(&drafts).is_allowed);
        assert_eq!(robots.remarks().count(), 0);
    }

    #[test]
    fn what_would_be_read_otherwise_is_not_written() {
        for value in ["a\nDisallow: /", "a\rb", "a # b", " a", "a\t", "a\0"] {
            assert!(Directive::other("Sitemap", value).is_err(), "{value:?}");
            assert!(Section::new(vec![value.to_owned()], Vec::new()).is_err(), "{value:?}");
        }
        for key in ["", "a:b", "a b", "User-Agent", "allow", "DISALLOW", "é", "#"] {
            assert!(Directive::other(key, "x").is_err(), "{key:?}");
        }
        for path in ["a", "https://example.com/", "$", "/a#b", "/a\nb"] {
            assert!(Directive::allow(path).is_err(), "{path:?}");
            assert!(Directive::disallow(path).is_err(), "{path:?}");
        }
        assert!(Directive::allow(&format!("/{}", "a".repeat(VALUE_BYTES_MAX))).is_err());
        assert_eq!(Section::new(Vec::new(), Vec::new()), Err(PublishError::NoAgent));
        assert!(Section::new(vec![String::new()], Vec::new()).is_err());
        let rule = Directive::disallow("/").unwrap();
        assert_eq!(publish(&[rule], &[]), Err(PublishError::Key("Disallow".to_owned())));
        let long = Directive::other("Sitemap", &"a".repeat(1_000)).unwrap();
        assert!(matches!(publish(&vec![long; 600], &[]), Err(PublishError::TooLong { .. })));
    }
}
