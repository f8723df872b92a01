//! AI Preferences of the IETF: what a site would like to happen with what is fetched from it.
//!
//! Vocabulary: draft-ietf-aipref-vocab-08 (2026-09-14), three labels and no hierarchy; labels of older drafts are unknown ones
//! and ignored. Attachment: draft-ietf-aipref-attach-05 (2026-08-19), the `Content-Usage` field of a response and the rule of
//! that name in robots.txt. Both are drafts: a preference is an input of policy and never moves money by itself, and a
//! contract overrides it.

use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::robots::{AgentRules, Directive, Pattern, PublishError, Target};

/// The name of the response field, and of the rule in robots.txt.
pub const FIELD: &str = "Content-Usage";

/// Bytes of a statement; a longer one is not read, and everything in it unknown.
pub const BYTES_MAX: usize = 8_192;

/// The categories of use (vocab-08 §4). Labels are compared with their case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Category {
    /// `train-ai`: changing the learned parameters of a generative model.
    TrainAi,
    /// `ai-use`: as input of a generative model, where the user did not hand it over; training is not meant.
    AiUse,
    /// `search`: an application that selects works and links to where they came from. A use that is search is governed by this
    /// category alone, whatever the others say.
    Search,
}

impl Category {
    /// All of them, in the order in which statements are written.
    pub const ALL: [Category; 3] = [Category::TrainAi, Category::AiUse, Category::Search];

    /// The label in a statement.
    pub fn label(self) -> &'static str {
        match self {
            Category::TrainAi => "train-ai",
            Category::AiUse => "ai-use",
            Category::Search => "search",
        }
    }
}

/// What is said about one category. Nothing said is nothing known: the vocabulary has no default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Preference {
    /// `y`
    Allow,
    /// `n`
    Disallow,
    /// Not said, or not in a way that can be read.
    #[default]
    Unknown,
}

impl Preference {
    /// Of two statements about the same thing, what forbids; else what allows (vocab-08 §5.1).
    pub fn combine(self, other: Preference) -> Preference {
        match (self, other) {
            (Preference::Disallow, _) | (_, Preference::Disallow) => Preference::Disallow,
            (Preference::Allow, _) | (_, Preference::Allow) => Preference::Allow,
            (Preference::Unknown, Preference::Unknown) => Preference::Unknown,
        }
    }
}

/// A statement of preference: one answer for each category.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Usage([Preference; 3]);

/// Why a statement says nothing at all (vocab-08 §6: what does not parse is as if it were not there).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UsageError {
    /// Longer than [`BYTES_MAX`].
    #[error("the statement has {bytes} bytes; 8192 are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a dictionary of RFC 9651.
    #[error("not a dictionary of structured fields: {0}")]
    Syntax(String),
}

impl Usage {
    /// A statement that says this about a category besides what it says already.
    #[must_use]
    pub fn with(mut self, category: Category, preference: Preference) -> Usage {
        self.0[category as usize] = preference;
        self
    }

    /// What is said about a category.
    pub fn about(self, category: Category) -> Preference {
        self.0[category as usize]
    }

    /// Whether nothing is said about anything.
    pub fn is_unknown(self) -> bool {
        self == Usage::default()
    }

    /// Reads a statement: `train-ai=n, search=y`. Of a label that is there twice the last one counts; other labels,
    /// parameters and values other than the tokens `y` and `n` say nothing.
    ///
    /// # Errors
    /// A statement of which nothing may be used; [`Usage::default`] stands for it.
    pub fn parse(statement: impl AsRef<[u8]>) -> Result<Usage, UsageError> {
        let bytes = statement.as_ref();
        if bytes.len() > BYTES_MAX {
            return Err(UsageError::TooLong { bytes: bytes.len() });
        }
        let dictionary = Parser::new(bytes).parse::<Dictionary>();
        let dictionary = dictionary.map_err(|error| UsageError::Syntax(error.to_string()))?;
        let said = Category::ALL.map(|category| match dictionary.get(category.label()) {
            Some(ListEntry::Item(Item { bare_item: BareItem::Token(token), .. })) => match token.as_str() {
                "y" => Preference::Allow,
                "n" => Preference::Disallow,
                _ => Preference::Unknown,
            },
            _ => Preference::Unknown,
        });
        Ok(Usage(said))
    }

    /// Reads the `Content-Usage` field lines of one message, which are one statement (RFC 9651 §4.2). Without any,
    /// nothing is said.
    ///
    /// # Errors
    /// As [`Usage::parse`]: one broken line makes all of them unknown.
    pub fn from_fields<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Usage, UsageError> {
        let mut all = Vec::new();
        for line in lines {
            if !all.is_empty() {
                all.extend_from_slice(b", ");
            }
            all.extend_from_slice(line);
            if all.len() > BYTES_MAX {
                break; // refused below, whatever else there is
            }
        }
        Usage::parse(all)
    }

    /// Of several statements about one work, for each category what forbids; else what allows (vocab-08 §5.1).
    pub fn combine(statements: impl IntoIterator<Item = Usage>) -> Usage {
        let combine = |one: Usage, other: Usage| {
            Usage(Category::ALL.map(|category| one.about(category).combine(other.about(category))))
        };
        statements.into_iter().fold(Usage::default(), combine)
    }
}

/// The statement, as the value of a field or a rule; empty if nothing is said, and then not to be sent.
impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for category in Category::ALL {
            let token = match self.about(category) {
                Preference::Allow => "y",
                Preference::Disallow => "n",
                Preference::Unknown => continue,
            };
            write!(f, "{separator}{}={token}", category.label())?;
            separator = ", ";
        }
        Ok(())
    }
}

/// The `Content-Usage` rules of a robots.txt for one crawler (attach-05 §3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRules<'a> {
    agent: &'a AgentRules,
    rules: Vec<UsageRule>,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRule {
    /// Number of its line, from 1.
    pub line: u32,
    /// Which targets it is about; without one, all, and every pattern is longer.
    pub pattern: Option<Pattern>,
    /// What it says. A statement that cannot be read says nothing, but about its path it still is the statement.
    pub usage: Result<Usage, UsageError>,
}

impl<'a> UsageRules<'a> {
    /// Reads the rules in the lines for a crawler.
    pub fn of(agent: &'a AgentRules) -> UsageRules<'a> {
        let rules =
            agent.extensions(FIELD).map(|extension| UsageRule::parse(extension.line, &extension.value));
        UsageRules { rules: rules.collect(), agent }
    }

    /// What is preferred about a target: the longest rules that match it, all of them combined if several are equally long.
    /// `None` if it may not be crawled at all: then nothing is said about its use.
    pub fn about(&self, target: &Target) -> Option<Usage> {
        if !self.agent.decide(target).is_allowed {
            return None;
        }
        let matching = || self.rules.iter().filter(|rule| rule.matches(target));
        let longest = matching().map(UsageRule::octets).max();
        let statements = matching().filter(|rule| Some(rule.octets()) == longest);
        Some(Usage::combine(statements.map(|rule| rule.usage.clone().unwrap_or_default())))
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[UsageRule] {
        &self.rules
    }
}

impl UsageRule {
    /// A rule by its value: a path if it begins with `/`, up to the first space or tab, and a statement.
    fn parse(line: u32, value: &[u8]) -> UsageRule {
        let (path, statement) = match value.first() {
            Some(b'/') => {
                let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
                (Some(&value[..end]), value[end..].trim_ascii_start())
            }
            _ => (None, value),
        };
        UsageRule { line, pattern: path.map(Pattern::parse), usage: Usage::parse(statement) }
    }

    fn matches(&self, target: &Target) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(target))
    }

    fn octets(&self) -> usize {
        self.pattern.as_ref().map_or(0, Pattern::octets)
    }
}

/// The rule that says this about a path in robots.txt, or about everything.
///
/// # Errors
/// A path that no line can hold or that does not begin with `/`, and a statement that says nothing.
pub fn directive(path: Option<&str>, usage: Usage) -> Result<Directive, PublishError> {
    if usage.is_unknown() {
        return Err(PublishError::Value(String::new()));
    }
    match path {
        None => Directive::other(FIELD, &usage.to_string()),
        Some(path) if !path.starts_with('/') => Err(PublishError::Path(path.to_owned())),
        Some(path) if path.contains([' ', '\t']) => Err(PublishError::Value(path.to_owned())),
        Some(path) => Directive::other(FIELD, &format!("{path} {usage}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::robots::{RobotsTxt, Section, publish};

    /// `train-ai`, `ai-use`, `search` as `y`, `n` or `?`.
    fn short(usage: Usage) -> String {
        let letter = |category| match usage.about(category) {
            Preference::Allow => 'y',
            Preference::Disallow => 'n',
            Preference::Unknown => '?',
        };
        Category::ALL.into_iter().map(letter).collect()
    }

    #[track_caller]
    fn check(statement: &str, expect: &str) {
        assert_eq!(short(Usage::parse(statement).unwrap_or_default()), expect, "{statement}");
    }

    #[test]
    fn statements_say_what_they_say_and_no_more() {
        check("train-ai=n, ai-use=y,\tsearch=n", "nyn");
        check("train-ai=n;why=\"a, b\", search=(y)", "n??");
        check("train-ai=(n), ai-use=:eQ==:, search=1", "???");
        check("train-ai=y, train-ai", "???");
        check("train-ai=n, train-ai=maybe", "???");
        check("train-ai=N", "???");
        check("Train-AI=n, search=y", "???");
        check("tdm=n, ai=n, genai=n, all=n, train-genai=n, ai-output=n, bots=n, inference=n", "???");
        check("train-ai=n search=y", "???");
        check("train-ai=\u{e9}", "???");
        assert!(matches!(Usage::parse("a".repeat(BYTES_MAX + 1)), Err(UsageError::TooLong { .. })));
    }

    #[test]
    fn lines_of_a_field_are_one_statement() {
        let fields = |lines: &[&str]| {
            short(Usage::from_fields(lines.iter().map(|line| line.as_bytes())).unwrap_or_default())
        };
        assert_eq!(fields(&[]), "???");
        assert_eq!(fields(&["train-ai=n", "search=y"]), "n?y");
        assert_eq!(fields(&["train-ai=n", "train-ai=y"]), "y??", "the last one, as within a line");
        assert_eq!(fields(&["train-ai=n", "SEARCH=y"]), "???");
        assert_eq!(fields(&["x=y"; 3_000]), "???");
    }

    #[test]
    fn rules_of_equal_length_are_combined() {
        let text = "User-agent: *\nDisallow: /never\nContent-Usage: train-ai=n, search=y\nContent-Usage: ai-use=y\n\
                    Content-Usage: /*.html train-ai=y\nContent-Usage: /a\tsearch=n\nContent-Usage: /broken search=N,,\n\
                    Content-Usage: /bare\nContent-Usage: /abcdef ai-use=n\n";
        let robots = RobotsTxt::parse(text.as_bytes());
        let agent = robots.agent("any");
        let rules = UsageRules::of(&agent);
        for (path, expect) in [
            ("/x", Some("nyy")),
            ("/never/a", None),
            ("/never.html", None),
            ("/a", Some("??n")),
            ("/a.html", Some("y??")),
            ("/abcdef.html", Some("yn?")), // both have seven octets
            ("/broken", Some("???")),
            ("/bare", Some("???")),
        ] {
            assert_eq!(rules.about(&Target::new(path)).map(short).as_deref(), expect, "{path}");
        }
        assert_eq!(rules.rules().iter().filter(|rule| rule.usage.is_err()).count(), 1);
        // The rules are for the agents that are named above them.
        let text = "User-agent: A\nContent-Usage: train-ai=n\n\nUser-agent: *\nAllow: /\n";
        let robots = RobotsTxt::parse(text.as_bytes());
        for (token, expect) in [("a", "n??"), ("b", "???")] {
            let agent = robots.agent(token);
            assert_eq!(UsageRules::of(&agent).about(&Target::new("/")).map(short).as_deref(), Some(expect));
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = [Preference::Allow, Preference::Disallow, Preference::Unknown];
        for (one, two, three) in
            all.into_iter().flat_map(|a| all.into_iter().flat_map(move |b| all.map(|c| (a, b, c))))
        {
            let usage = Usage([one, two, three]);
            assert_eq!(Usage::parse(usage.to_string()), Ok(usage));
            for path in [None, Some("/a%20b/*.html$")] {
                let Ok(directive) = directive(path, usage) else {
                    assert!(usage.is_unknown());
                    continue;
                };
                let section = Section::new(vec!["*".to_owned()], vec![directive]).unwrap();
                let robots = RobotsTxt::parse(&publish(&[], &[section]).unwrap());
                let agent = robots.agent("x");
                assert_eq!(UsageRules::of(&agent).about(&Target::new("/a b/c.html")), Some(usage));
            }
        }
        assert!(directive(Some("/a b"), Usage([Preference::Allow; 3])).is_err());
        assert!(directive(Some("a"), Usage([Preference::Allow; 3])).is_err());
    }
}
