//! robots.txt: the Robots Exclusion Protocol (RFC 9309), and the lines that others have put into it.
//!
//! [`RobotsTxt`] keeps every line with its number and its place among the groups, known or not, so that `License`,
//! `Content-Usage` and `Content-Signal` go by the same groups as `Allow` and `Disallow`, and a linter can point at what it
//! speaks of. [`RobotsTxt::agent`] gathers what is said to one crawler, [`AgentRules::decide`] judges a path,
//! [`ruling`] says what follows when the file could not be had, and [`augment`] adds our lines to a site's own.
//!
//! Deliberately not here: the typing errors that Google's parser forgives (a missing colon, `dissallow`), its agents cut at
//! the first space, and `/index.html` for `/`. The file asks; it does not keep anybody out.

mod augment;
mod fetch;
mod lines;
mod pattern;
mod publish;

use std::borrow::Cow;

pub use augment::{Addition, Audience, augment, without_additions};
pub use fetch::{
    Answer, CACHE_MAX, CACHE_MIN, History, LAST_COPY_MAX, REDIRECTS_MAX, Ruling, TooManyRequests,
    cache_lifetime, ruling,
};
pub use lines::{Kind, Line, Remark, RemarkKind, Scope};
pub use pattern::{Pattern, Target, literal};
pub use publish::{Directive, PublishError, Section, publish};

/// Bytes of a robots.txt that are read: 500 KiB, the least that RFC 9309 §2.5 asks for. What is beyond is ignored, and with
/// it the line that it begins in.
pub const BYTES_MAX: usize = 512_000;

/// A robots.txt, read. Takes the text's bytes and some 40 for each line: 7 MiB for the worst file there can be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RobotsTxt {
    text: Box<[u8]>,
    lines: Vec<lines::Entry>,
    /// Lines that name agents, by their index; those of a group are side by side.
    agents: Vec<u32>,
    is_cut: bool,
}

impl RobotsTxt {
    /// Reads a file; there is none that cannot be read. Lines end with CR, LF or both; a byte order mark is skipped.
    pub fn parse(text: &[u8]) -> RobotsTxt {
        let (text, is_cut) = lines::cut(text);
        let (lines, agents) = lines::read(text);
        RobotsTxt { text: text.into(), lines, agents, is_cut }
    }

    /// Whether the file was longer than [`BYTES_MAX`].
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// All lines that are neither empty nor comments, in order, malformed ones too.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|entry| entry.line(&self.text))
    }

    /// The agents that groups name, each once, in order and as they were first written; `*` among them.
    pub fn agents(&self) -> Vec<Cow<'_, str>> {
        let mut seen = std::collections::HashSet::new();
        let all = self.agents.iter().map(|index| self.lines[*index as usize].line(&self.text));
        all.filter(|line| !line.value.is_empty() && seen.insert(product(line.value).to_ascii_lowercase()))
            .map(|line| line.text())
            .collect()
    }

    /// Whether a group names this crawler itself.
    pub fn names(&self, token: &str) -> bool {
        self.agents.iter().any(|index| is_same_product(self.agent_at(*index), token))
    }

    /// What is said to a crawler: the groups that name it, in any case, merged; if there are none, those of `*`, merged
    /// (RFC 9309 §2.2.1).
    ///
    /// `Allow` and `Disallow` are for all agents of their group. Any other line is for those agents of its group that are
    /// named above it: RFC 9309 has it that such a line does not end the list of agents, the drafts that define it have it that it
    /// does, and so each reader finds what it means.
    pub fn agent(&self, token: &str) -> AgentRules {
        let is_named = self.names(token);
        let is_for = |agents: std::ops::Range<u32>| {
            self.agents[agents.start as usize..agents.end as usize].iter().any(|index| {
                let agent = self.agent_at(*index);
                if is_named { is_same_product(agent, token) } else { agent == b"*" }
            })
        };
        let (mut rules, mut extensions) = (Vec::new(), Vec::new());
        // Line by line the agents of a group only become more, so each is compared once.
        let (mut last, mut last_is_for) = (0..0, false);
        for entry in &self.lines {
            let Some(agents) = entry.agents() else { continue };
            if agents.start != last.start {
                last_is_for = is_for(agents.clone());
            } else if agents.end != last.end {
                last_is_for |= is_for(last.end..agents.end);
            }
            last = agents;
            if !last_is_for {
                continue;
            }
            let line = entry.line(&self.text);
            match line.kind {
                Kind::Allow | Kind::Disallow => {
                    let pattern = Pattern::parse(line.value);
                    if !pattern.is_empty() {
                        rules.push(Rule { line: line.number, allow: line.kind == Kind::Allow, pattern });
                    }
                }
                Kind::Other => extensions.push(Extension::of(line)),
                Kind::UserAgent | Kind::Malformed => {}
            }
        }
        rules.sort_by_key(|rule| (std::cmp::Reverse(rule.pattern.octets()), !rule.allow));
        AgentRules { rules, extensions, is_named }
    }

    /// Lines of this key before the first group: said to everybody, where the key's specification knows such lines.
    pub fn global(&self, key: &str) -> impl Iterator<Item = Line<'_>> {
        self.all(key).filter(|line| line.scope == Scope::Global)
    }

    /// Lines of this key wherever they stand, as with `Sitemap`.
    pub fn all(&self, key: &str) -> impl Iterator<Item = Line<'_>> {
        self.lines().filter(move |line| line.kind != Kind::Malformed && line.is(key))
    }

    /// What a person should look at, in order. Nothing of it is an error: such lines are skipped.
    pub fn remarks(&self) -> impl Iterator<Item = Remark> {
        let at_end = self.is_cut.then(|| Remark {
            line: self.lines.last().map_or(1, |entry| entry.number),
            kind: RemarkKind::Cut,
        });
        self.lines().filter_map(|line| line.remark()).chain(at_end)
    }

    fn agent_at(&self, index: u32) -> &[u8] {
        self.lines[index as usize].value(&self.text)
    }
}

/// What a robots.txt says to one crawler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentRules {
    /// The longest first; of equally long ones, what allows.
    rules: Vec<Rule>,
    extensions: Vec<Extension>,
    is_named: bool,
}

/// An `Allow` or `Disallow`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Number of its line, from 1.
    pub line: u32,
    /// Whether it allows.
    pub allow: bool,
    /// Which targets it is about.
    pub pattern: Pattern,
}

/// Any other line of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extension {
    /// Number of its line, from 1.
    pub line: u32,
    /// Its key, in lower case.
    pub key: String,
    /// Its value, without comment and the space around it.
    pub value: Vec<u8>,
}

/// Whether a crawler may fetch a target, and the rule that says so; without one, everything is allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision<'a> {
    /// The answer.
    pub is_allowed: bool,
    /// The longest rule that matches.
    pub rule: Option<&'a Rule>,
}

impl AgentRules {
    /// Judges a target: the longest rule that matches decides, and of equally long ones what allows (RFC 9309 §2.2.2).
    pub fn decide(&self, target: &Target) -> Decision<'_> {
        if target.is_robots() {
            return Decision { is_allowed: true, rule: None };
        }
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(target));
        Decision { is_allowed: rule.is_none_or(|rule| rule.allow), rule }
    }

    /// The rules, the longest first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The lines of this key (in any case), in the order of the file.
    pub fn extensions(&self, key: &str) -> impl Iterator<Item = &Extension> {
        self.extensions.iter().filter(move |extension| extension.key.eq_ignore_ascii_case(key))
    }

    /// All lines that are neither `Allow` nor `Disallow`, in the order of the file.
    pub fn all_extensions(&self) -> impl Iterator<Item = &Extension> {
        self.extensions.iter()
    }

    /// Whether a group names the crawler itself, so that `*` is not for it.
    pub fn is_named(&self) -> bool {
        self.is_named
    }
}

impl Extension {
    fn of(line: Line<'_>) -> Extension {
        Extension {
            line: line.number,
            key: String::from_utf8_lossy(line.key).to_ascii_lowercase(),
            value: line.value.to_vec(),
        }
    }

    /// The value as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

/// The name of an agent without a version: `FooBot` of `FooBot/1.2`. Not cut at anything else: the RFC knows only letters,
/// `-` and `_`, but crawlers have digits and spaces in their names, and half a name is another crawler's.
fn product(agent: &[u8]) -> &[u8] {
    agent.split(|byte| *byte == b'/').next().unwrap_or_default().trim_ascii_end()
}

fn is_same_product(agent: &[u8], token: &str) -> bool {
    let token = product(token.as_bytes());
    !token.is_empty() && token != b"*" && product(agent).eq_ignore_ascii_case(token)
}

#[cfg(test)]
mod tests;
