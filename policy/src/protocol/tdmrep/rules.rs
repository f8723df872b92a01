//! `/.well-known/tdmrep.json`: which paths of a site are reserved.

use serde_json::{Map, Value};

use super::{Declaration, POLICY, RESERVATION, is_url};
use crate::protocol::robots::{Pattern, Target};

/// Bytes of the file; a longer one is not read.
pub const FILE_BYTES_MAX: usize = 1_048_576;
/// Rules of the file; those beyond are ignored.
pub const RULES_MAX: usize = 10_000;

/// A rule of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    location: String,
    pattern: Pattern,
    declaration: Declaration,
}

/// The rules of a site, in their order, and what is wrong with the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    problems: Vec<Problem>,
}

/// Why a file is none: the site is then one that does not use the protocol.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Longer than [`FILE_BYTES_MAX`].
    #[error("the file has {bytes} bytes; 1048576 are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON.
    #[error("the file is not JSON")]
    Json(#[from] serde_json::Error),
    /// The brackets are mandatory, even around a single rule.
    #[error("the file is not an array of rules")]
    NotAnArray,
}

/// Something wrong with one rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The rule's place in the file, from 0.
    pub rule: usize,
    /// What it is.
    pub kind: ProblemKind,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProblemKind {
    /// Not an object; ignored.
    #[error("the rule is not an object and is ignored")]
    NotAnObject,
    /// No `location`, or no text; ignored.
    #[error("the rule has no `location` and is ignored")]
    NoLocation,
    /// It begins with neither `/` nor `*`.
    #[error("the `location` begins with neither `/` nor `*` and never matches")]
    NeverMatches,
    /// No `tdm-reservation`, or another value than 0 and 1: a protocol error, by which nothing is said of what matches.
    #[error("the rule has no `tdm-reservation` of 0 or 1: nothing is said of what it matches")]
    NoReservation,
    /// A text instead of a number; taken as the number.
    #[error("the `tdm-reservation` is a text; it should be a number")]
    TextReservation,
    /// Not a URL; left out.
    #[error("the `tdm-policy` is not a URL and is left out")]
    NotAUrl,
    /// Ignored, because there is nothing to licence.
    #[error("a `tdm-policy` means nothing where nothing is reserved")]
    PolicyOfNothing,
    /// An earlier rule matches all that this one does: the first one in sequence counts, not the longest.
    #[error(
        "an earlier rule matches all of this location; the first rule that matches counts, not the longest"
    )]
    Unreachable,
    /// Beyond [`RULES_MAX`]; ignored with all that follow.
    #[error("there are more than 10000 rules; this one and all others are ignored")]
    TooMany,
}

impl Rule {
    /// A rule for this location, a pattern as in robots.txt.
    ///
    /// # Errors
    /// What readers would ignore.
    pub fn new(location: &str, is_reserved: bool, policy: Option<&str>) -> Result<Rule, ProblemKind> {
        let problem = match policy {
            Some(_) if !is_reserved => Some(ProblemKind::PolicyOfNothing),
            Some(url) if !is_url(url) => Some(ProblemKind::NotAUrl),
            _ if location.is_empty() => Some(ProblemKind::NoLocation),
            _ if !location.starts_with(['/', '*']) => Some(ProblemKind::NeverMatches),
            _ => None,
        };
        let declaration = Declaration { reservation: Some(is_reserved), policy: policy.map(str::to_owned) };
        match problem {
            Some(problem) => Err(problem),
            None => {
                Ok(Rule { location: location.to_owned(), pattern: Pattern::parse(location), declaration })
            }
        }
    }

    /// The pattern, as it is written.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What is said of what matches.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn parse(value: &Value, problem: &mut dyn FnMut(ProblemKind)) -> Option<Rule> {
        let Value::Object(members) = value else {
            problem(ProblemKind::NotAnObject);
            return None;
        };
        let location =
            members.get("location").and_then(Value::as_str).filter(|location| !location.is_empty());
        let Some(location) = location else {
            problem(ProblemKind::NoLocation);
            return None;
        };
        let reservation = match members.get(RESERVATION) {
            Some(Value::Number(number)) => number.as_f64().and_then(|number| match number {
                0.0 => Some(false),
                1.0 => Some(true),
                _ => None,
            }),
            Some(Value::String(text)) if text == "0" || text == "1" => {
                problem(ProblemKind::TextReservation);
                Some(text == "1")
            }
            _ => None,
        };
        if reservation.is_none() {
            problem(ProblemKind::NoReservation);
        }
        if !location.starts_with(['/', '*']) {
            problem(ProblemKind::NeverMatches);
        }
        let policy = reservation.and_then(|is_reserved| policy_of(members, is_reserved, problem));
        Some(Rule {
            location: location.to_owned(),
            pattern: Pattern::parse(location),
            declaration: Declaration { reservation, policy },
        })
    }
}

fn policy_of(
    members: &Map<String, Value>,
    is_reserved: bool,
    problem: &mut dyn FnMut(ProblemKind),
) -> Option<String> {
    match members.get(POLICY)? {
        Value::Null => None,
        _ if !is_reserved => {
            problem(ProblemKind::PolicyOfNothing);
            None
        }
        Value::String(url) if is_url(url) => Some(url.clone()),
        _ => {
            problem(ProblemKind::NotAUrl);
            None
        }
    }
}

impl Rules {
    /// The rules of a site that we write ourselves.
    pub fn new(rules: Vec<Rule>) -> Rules {
        Rules { rules, problems: Vec::new() }
    }

    /// Reads the file. A rule without a location is ignored. One with a protocol error in its reservation is still the first that
    /// matches: then the reservation is unset (§ "tdm-reservation").
    ///
    /// # Errors
    /// A file that says nothing at all.
    pub fn parse(file: &[u8]) -> Result<Rules, RulesError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(RulesError::TooLong { bytes: file.len() });
        }
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let Value::Array(values) = serde_json::from_slice(file)? else { return Err(RulesError::NotAnArray) };
        let mut read = Rules::default();
        for (index, value) in values.iter().enumerate() {
            if read.rules.len() == RULES_MAX {
                read.problems.push(Problem { rule: index, kind: ProblemKind::TooMany });
                break;
            }
            let problems = &mut read.problems;
            let mut problem = |kind| problems.push(Problem { rule: index, kind });
            let Some(rule) = Rule::parse(value, &mut problem) else { continue };
            // Only what is plain: a literal location below an earlier literal one.
            let is_plain = |location: &str| !location.contains(['*', '$', '%']);
            let hides =
                |earlier: &Rule| is_plain(&earlier.location) && rule.location.starts_with(&earlier.location);
            if is_plain(&rule.location) && read.rules.iter().take(COMPARED_MAX).any(hides) {
                problem(ProblemKind::Unreachable);
            }
            read.rules.push(rule);
        }
        Ok(read)
    }

    /// What the file says of a target: the first rule that matches, in sequence.
    pub fn about(&self, target: &Target) -> Declaration {
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(target));
        rule.map(|rule| rule.declaration.clone()).unwrap_or_default()
    }

    /// The rules, in sequence.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a person should look at.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file.
    pub fn to_json(&self) -> Value {
        let rule = |rule: &Rule| {
            let mut members = Map::new();
            members.insert("location".to_owned(), Value::from(rule.location.as_str()));
            if let Some(is_reserved) = rule.declaration.reservation {
                members.insert(RESERVATION.to_owned(), Value::from(u8::from(is_reserved)));
            }
            if let Some(url) = &rule.declaration.policy {
                members.insert(POLICY.to_owned(), Value::from(url.as_str()));
            }
            Value::Object(members)
        };
        Value::Array(self.rules.iter().map(rule).collect())
    }
}

/// Rules that a later one is compared with to see whether it can be reached.
const COMPARED_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str) -> Rules {
        Rules::parse(file.as_bytes()).unwrap()
    }

    fn about(rules: &Rules, path: &str) -> (Option<bool>, Option<String>) {
        let Declaration { reservation, policy } = rules.about(&Target::new(path));
        (reservation, policy)
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = rules(
            r#"[{"location": "/open/*.jpg$", "tdm-reservation": 0},
                {"location": "/open/", "tdm-reservation": 1, "tdm-policy": "https://p.example/1"},
                {"location": "/open/more/", "tdm-reservation": 0},
                {"location": "/caf%C3%A9", "tdm-reservation": 1}]"#,
        );
        assert_eq!(about(&rules, "/open/a.jpg"), (Some(false), None));
        assert_eq!(about(&rules, "/open/a.jpg?x"), (Some(true), Some("https://p.example/1".to_owned())));
        assert_eq!(about(&rules, "/open/more/a"), (Some(true), Some("https://p.example/1".to_owned())));
        assert_eq!(about(&rules, "/café"), (Some(true), None));
        assert_eq!(about(&rules, "/Open/"), (None, None));
        assert_eq!(rules.problems(), [Problem { rule: 2, kind: ProblemKind::Unreachable }]);
    }

    #[test]
    fn what_is_wrong_is_said_and_hides_nothing() {
        let rules = rules(
            r#"[1, {"tdm-reservation": 1}, {"location": "", "tdm-reservation": 1}, {"location": "/e"},
                {"location": "/f", "tdm-reservation": true}, {"location": "/g", "tdm-reservation": 2},
                {"location": "/a", "tdm-reservation": "1", "tdm-policy": 5},
                {"location": "/b", "tdm-reservation": 0, "tdm-policy": "https://p.example/"},
                {"location": "c", "tdm-reservation": 1.0, "tdm-policy": null},
                {"location": "/d", "tdm-reservation": "yes", "tdm-policy": "https://p.example/"},
                {"location": "/", "tdm-reservation": 1}]"#,
        );
        use ProblemKind::{
            NeverMatches, NoLocation, NoReservation, NotAUrl, NotAnObject, PolicyOfNothing, TextReservation,
        };
        let problems: Vec<(usize, ProblemKind)> =
            rules.problems().iter().map(|problem| (problem.rule, problem.kind)).collect();
        assert_eq!(
            problems,
            [
                (0, NotAnObject),
                (1, NoLocation),
                (2, NoLocation),
                (3, NoReservation),
                (4, NoReservation),
                (5, NoReservation),
                (6, TextReservation),
                (6, NotAUrl),
                (7, PolicyOfNothing),
                (8, NeverMatches),
                (9, NoReservation),
            ]
        );
        assert_eq!(about(&rules, "/a"), (Some(true), None));
        assert_eq!(about(&rules, "/b"), (Some(false), None));
        for unset in ["/d", "/e", "/f", "/g"] {
            assert_eq!(about(&rules, unset), (None, None), "{unset}");
        }
        assert_eq!(about(&rules, "/z"), (Some(true), None));
    }

    #[test]
    fn a_file_that_is_none_is_refused() {
        assert!(matches!(Rules::parse(b"{}"), Err(RulesError::NotAnArray)));
        for file in ["", "[", "[}", "x"] {
            assert!(matches!(Rules::parse(file.as_bytes()), Err(RulesError::Json(_))), "{file}");
        }
        assert!(matches!(Rules::parse(&[b'['; 1_000]), Err(RulesError::Json(_))), "as deep as it is long");
        assert!(matches!(Rules::parse(&vec![b' '; FILE_BYTES_MAX + 1]), Err(RulesError::TooLong { .. })));
        assert_eq!(rules("\u{feff}[]"), Rules::default());
        let rule = r#"{"location":"/","tdm-reservation":1}"#;
        let many = rules(&format!("[{}{rule}]", format!("{rule},").repeat(RULES_MAX)));
        assert_eq!(many.rules().len(), RULES_MAX);
        assert_eq!(many.problems().last().map(|problem| problem.kind), Some(ProblemKind::TooMany));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = Rules::new(vec![
            Rule::new("/open/*.jpg$", false, None).unwrap(),
            Rule::new("/", true, Some("https://p.example/policy.json")).unwrap(),
        ]);
        let json = written.to_json();
        assert_eq!(
            json,
            serde_json::json!([
                { "location": "/open/*.jpg$", "tdm-reservation": 0 },
                { "location": "/", "tdm-policy": "https://p.example/policy.json", "tdm-reservation": 1 }
            ])
        );
        assert_eq!(Rules::parse(json.to_string().as_bytes()).unwrap(), written);
        assert_eq!(Rule::new("", true, None), Err(ProblemKind::NoLocation));
        assert_eq!(Rule::new("a", true, None), Err(ProblemKind::NeverMatches));
        assert_eq!(Rule::new("/", false, Some("https://p.example")), Err(ProblemKind::PolicyOfNothing));
        assert_eq!(Rule::new("/", true, Some("a b")), Err(ProblemKind::NotAUrl));
    }
}
