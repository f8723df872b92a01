//! Content Signals (contentsignals.org, 2025-09-24): lines of robots.txt by which a site grants or restricts uses, with the
//! `use=` that Cloudflare has tried since 2026-07-01.
//!
//! Read leniently, as there is no grammar: keys and values in any case, what is not known is kept as it is, and what cannot be read
//! says nothing. A signal that is not there neither grants nor restricts. Where two lines contradict each other the
//! stricter one counts. A line is for the agents of its group, or for everybody if it stands before the first group.

use super::robots::{AgentRules, Directive, Line, PublishError, RobotsTxt};

/// The key of the line, and the name of the response field where there is one.
pub const KEY: &str = "Content-Signal";

/// Bytes of one value; what is beyond is not read.
pub const BYTES_MAX: usize = 8_192;

/// Unknown signals that are kept; more are left out.
pub const UNKNOWN_MAX: usize = 32;

/// What may be done at most with what was fetched: `use=`. The least comes first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Extent {
    /// `immediate`: nothing is stored.
    Immediate,
    /// `reference`: indexed, excerpted and linked to.
    Reference,
    /// `full`: summarised and reproduced.
    Full,
}

impl Extent {
    /// All of them, the least first.
    pub const ALL: [Extent; 3] = [Extent::Immediate, Extent::Reference, Extent::Full];

    /// The word in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Extent::Immediate => "immediate",
            Extent::Reference => "reference",
            Extent::Full => "full",
        }
    }
}

/// The signals for one crawler.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContentSignal {
    /// `search`: an index and results that link, without summaries.
    pub search: Option<bool>,
    /// `ai-input`: input of models, as in grounding.
    pub ai_input: Option<bool>,
    /// `ai-train`: training and fine-tuning.
    pub ai_train: Option<bool>,
    /// `use`
    pub extent: Option<Extent>,
    /// Other signals, by their keys in lower case, with their values as they are written; of one key the last value.
    pub unknown: std::collections::BTreeMap<String, String>,
}

impl ContentSignal {
    /// Reads the value of a line: `search=yes, ai-train=no, use=reference`.
    pub fn parse(value: impl AsRef<[u8]>) -> ContentSignal {
        let mut bytes = value.as_ref();
        if bytes.len() > BYTES_MAX {
            // Without the signal that the limit cuts: `yes` could be the beginning of another word.
            let whole = bytes[..BYTES_MAX].iter().rposition(|byte| *byte == b',');
            bytes = &bytes[..whole.unwrap_or(0)];
        }
        let text = String::from_utf8_lossy(bytes);
        let mut signal = ContentSignal::default();
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            signal.add(&key.trim().to_ascii_lowercase(), value.trim());
        }
        signal
    }

    /// What a robots.txt says to a crawler: the lines of its groups; for what they do not say, those before the first group.
    pub fn of(robots: &RobotsTxt, agent: &AgentRules) -> ContentSignal {
        let mut own = ContentSignal::default();
        for line in agent.extensions(KEY) {
            own.merge(ContentSignal::parse(&line.value));
        }
        let mut everybodys = ContentSignal::default();
        for Line { value, .. } in robots.global(KEY) {
            everybodys.merge(ContentSignal::parse(value));
        }
        for (key, value) in everybodys.unknown {
            own.unknown.entry(key).or_insert(value);
        }
        ContentSignal {
            search: own.search.or(everybodys.search),
            ai_input: own.ai_input.or(everybodys.ai_input),
            ai_train: own.ai_train.or(everybodys.ai_train),
            extent: own.extent.or(everybodys.extent),
            unknown: own.unknown,
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == ContentSignal::default()
    }

    /// The line that says this in a group of robots.txt.
    ///
    /// # Errors
    /// Nothing to say, or a signal that no line can hold.
    pub fn directive(&self) -> Result<Directive, PublishError> {
        if self.is_empty() {
            return Err(PublishError::Value(String::new()));
        }
        let as_read = ContentSignal::parse(self.to_string());
        if as_read != *self {
            return Err(PublishError::Value(self.to_string()));
        }
        Directive::other(KEY, &self.to_string())
    }

    fn add(&mut self, key: &str, value: &str) {
        let is = |word: &str| value.eq_ignore_ascii_case(word);
        let answer = match () {
            () if is("yes") => Some(true),
            () if is("no") => Some(false),
            () => None,
        };
        match key {
            "search" => self.search = stricter(self.search, answer),
            "ai-input" => self.ai_input = stricter(self.ai_input, answer),
            "ai-train" => self.ai_train = stricter(self.ai_train, answer),
            "use" => {
                let extent = Extent::ALL.into_iter().find(|extent| is(extent.as_str()));
                self.extent = stricter(self.extent, extent);
            }
            "" => {}
            _ if self.unknown.len() < UNKNOWN_MAX || self.unknown.contains_key(key) => {
                self.unknown.insert(key.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }

    fn merge(&mut self, other: ContentSignal) {
        self.search = stricter(self.search, other.search);
        self.ai_input = stricter(self.ai_input, other.ai_input);
        self.ai_train = stricter(self.ai_train, other.ai_train);
        self.extent = stricter(self.extent, other.extent);
        for (key, value) in other.unknown {
            self.add(&key, &value);
        }
    }
}

/// The lesser of two; one that is not there says nothing.
fn stricter<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The value of a line; empty if nothing is said.
impl std::fmt::Display for ContentSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |answer: bool| if answer { "yes" } else { "no" };
        let known = [
            ("search", self.search.map(word)),
            ("ai-input", self.ai_input.map(word)),
            ("ai-train", self.ai_train.map(word)),
            ("use", self.extent.map(Extent::as_str)),
        ];
        let known = known.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let unknown = self.unknown.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut separator = "";
        for (key, value) in known.chain(unknown) {
            write!(f, "{separator}{key}={value}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::robots::{Section, publish};

    #[track_caller]
    fn check(value: &str, expect: &str) {
        assert_eq!(ContentSignal::parse(value).to_string(), expect, "{value}");
    }

    #[test]
    fn lines_are_read_leniently() {
        check("search=yes, ai-input=yes, ai-train=no", "search=yes, ai-input=yes, ai-train=no");
        check("AI-Train = NO ,Search=Yes", "search=yes, ai-train=no");
        check("use=reference", "use=reference");
        check("search=yes,ai-train=no,use=IMMEDIATE", "search=yes, ai-train=no, use=immediate");
        check("use=everything, search=maybe, ai-train, =no, ,,", "");
        check("ai-train=no, NEW=Thing, a=b=C", "ai-train=no, a=b=C, new=Thing");
        check(
            "ai-train=yes, ai-train=no, ai-train=yes, use=full, use=reference",
            "ai-train=no, use=reference",
        );
        check("", "");
        let many: String = (0..100).map(|index| format!("k{index}=v,")).collect();
        assert_eq!(ContentSignal::parse(many).unknown.len(), UNKNOWN_MAX);
        let long = format!("search=no,{}ai-train=yes", " ".repeat(BYTES_MAX - 13));
        check(&long, "search=no");
    }

    #[track_caller]
    fn check_file(text: &str, token: &str, expect: &str) {
        let robots = RobotsTxt::parse(text.as_bytes());
        assert_eq!(ContentSignal::of(&robots, &robots.agent(token)).to_string(), expect, "{token} in {text}");
    }

    #[test]
    fn a_group_speaks_before_everybodys_lines() {
        let text = "Content-Signal: search=yes, ai-train=no, x=1\n\nUser-agent: A\nContent-Signal: ai-train=yes, y=2\n\
                    content-signal: use=full\nAllow: /\n\nUser-agent: *\nAllow: /\n";
        check_file(text, "a", "search=yes, ai-train=yes, use=full, x=1, y=2");
        check_file(text, "b", "search=yes, ai-train=no, x=1");
        check_file(
            "User-agent: *\nContent-Signal: ai-train=yes\nContent-Signal: ai-train=no\n",
            "b",
            "ai-train=no",
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let signal = ContentSignal::parse("search=yes, ai-input=no, ai-train=no, use=reference, later=x");
        let section = Section::new(vec!["*".to_owned()], vec![signal.directive().unwrap()]).unwrap();
        let robots = RobotsTxt::parse(&publish(&[], &[section]).unwrap());
        assert_eq!(ContentSignal::of(&robots, &robots.agent("x")), signal);
        assert!(ContentSignal::default().directive().is_err());
        for (key, value) in [("a,b", "c"), ("a", "b,c=d"), ("a", "b\nDisallow: /"), ("", "x"), ("a", " b")] {
            let unknown = [(key.to_owned(), value.to_owned())].into();
            let odd = ContentSignal { unknown, ..ContentSignal::default() };
            assert!(odd.directive().is_err(), "{key} {value}");
        }
    }
}
