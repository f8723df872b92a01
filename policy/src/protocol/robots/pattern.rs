//! Path patterns as robots.txt has them, and the targets that they are compared with (RFC 9309 §2.2.2, §2.2.3).
//!
//! Not [`crate::glob`]: there a pattern is a whole path and `*` stays within a segment; here it is a beginning and `*` is
//! anything. Both sides are brought into one spelling first:
//!
//! - What RFC 3986 leaves unreserved is decoded, so are `!'(),:@`, which mean the same with and without encoding in a
//!   path. (The RFC asks that reserved characters be encoded before comparing; this is the same equality.)
//! - `/`, `?`, `&`, `=`, `+` and `;` keep their spelling: encoded they are letters, plain they structure a URL. Within a
//!   query `%2F` and `%3F` are compared as `/` and `?` too, as the RFC's table has it.
//! - Everything else is percent-encoded in upper-case hex. A plain `*` in a target is `%2A`, so that a rule can name it.
//!
//! Google's parser decodes nothing; where that matters our tests say so.

use std::borrow::Cow;

use crate::work::{hex, push_encoded};

/// A compiled pattern. Any bytes are one: what does not begin with `/` or `*` just never matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// What stands between the wildcards, in its one spelling.
    literals: Vec<String>,
    /// Whether `$` ends it.
    is_anchored: bool,
    octets: usize,
}

impl Pattern {
    /// Reads a pattern as it stands in a file, without the space around it.
    pub fn parse(value: impl AsRef<[u8]>) -> Pattern {
        let bytes = value.as_ref();
        let (bytes, is_anchored) = match bytes.strip_suffix(b"$") {
            Some(bytes) => (bytes, true),
            None => (bytes, false),
        };
        let mut literals = vec![String::new()];
        let (mut at, mut in_query, mut wildcards) = (0, false, 0);
        while at < bytes.len() {
            if bytes[at] == b'*' {
                wildcards += 1;
                at += 1;
                // Several in a row are one, but for the length.
                if wildcards == 1 || literals.last().is_some_and(|last| !last.is_empty()) {
                    literals.push(String::new());
                }
                continue;
            }
            in_query |= bytes[at] == b'?';
            let last = literals.last_mut().expect("there is always one literal");
            at = push_canonical(last, bytes, at, in_query);
        }
        let octets = literals.iter().map(String::len).sum::<usize>() + wildcards + usize::from(is_anchored);
        Pattern { literals, is_anchored, octets }
    }

    /// How specific the pattern is: its octets in the one spelling; each wildcard and the final `$` count one.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Whether the pattern stands for nothing: an empty value is no rule.
    pub fn is_empty(&self) -> bool {
        self.octets == 0
    }

    /// Whether a target begins with what the pattern says. Linear in target and pattern together.
    pub fn matches(&self, target: &Target) -> bool {
        self.matches_text(&target.plain)
            || target.folded.as_ref().is_some_and(|folded| self.matches_text(folded))
    }

    fn matches_text(&self, text: &str) -> bool {
        let (first, others) = self.literals.split_first().expect("there is always one literal");
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = others.split_last() else { return !self.is_anchored || rest.is_empty() };
        // The leftmost place leaves the most room to what follows, so no other needs to be tried.
        for literal in middle {
            let Some(found) = rest.find(literal.as_str()) else { return false };
            rest = &rest[found + literal.len()..];
        }
        if self.is_anchored { rest.ends_with(last.as_str()) } else { rest.contains(last.as_str()) }
    }
}

/// What a crawler wants: path and query in the spelling that patterns are compared with.
///
/// Made from the target as it will be sent, not from [`crate::Work::path`], which leaves the query out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    plain: String,
    /// With `/` and `?` decoded in the query, if that is another.
    folded: Option<String>,
    is_robots: bool,
}

impl Target {
    /// Reads path and query; a fragment is left out, and an empty path is `/`.
    pub fn new(path_and_query: &str) -> Target {
        let text = path_and_query.split('#').next().unwrap_or_default();
        let text = if text.starts_with('/') { Cow::from(text) } else { Cow::from(format!("/{text}")) };
        let plain = spell(&text, false);
        let folded = text.contains('?').then(|| spell(&text, true)).filter(|folded| *folded != plain);
        Target { is_robots: plain == "/robots.txt", plain, folded }
    }

    /// Whether it is `/robots.txt`, which is always allowed (RFC 9309 §2.2.2).
    pub fn is_robots(&self) -> bool {
        self.is_robots
    }

    /// Path and query in their one spelling.
    pub fn as_str(&self) -> &str {
        &self.plain
    }
}

/// A pattern that means this path or beginning of one and nothing else: what would be a wildcard, an anchor or a comment
/// is percent-encoded.
pub fn literal(path: &str) -> String {
    spell(path, false)
}

fn spell(text: &str, folds_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let (mut at, mut in_query) = (0, false);
    while at < bytes.len() {
        in_query |= bytes[at] == b'?';
        at = push_canonical(&mut out, bytes, at, in_query && folds_query);
    }
    out
}

/// Writes the octet that begins at `at` in its one spelling, and says where the next one begins.
fn push_canonical(out: &mut String, bytes: &[u8], at: usize, folds: bool) -> usize {
    let byte = bytes[at];
    let encoded = match byte {
        b'%' => bytes.get(at + 1).and_then(hex).zip(bytes.get(at + 2).and_then(hex)),
        _ => None,
    };
    match encoded {
        Some((high, low)) => {
            let value = high << 4 | low;
            if means_the_same_encoded(value) || folds && matches!(value, b'/' | b'?') {
                out.push(char::from(value));
            } else {
                push_encoded(out, value);
            }
            at + 3
        }
        None => {
            if means_the_same_encoded(byte) || b"/?&=+;".contains(&byte) {
                out.push(char::from(byte));
            } else {
                push_encoded(out, byte);
            }
            at + 1
        }
    }
}

fn means_the_same_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!'(),:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let compiled = Pattern::parse(pattern);
        for path in yes {
            assert!(compiled.matches(&Target::new(path)), "{pattern} matches {path}");
        }
        for path in no {
            assert!(!compiled.matches(&Target::new(path)), "{pattern} does not match {path}");
        }
    }

    #[test]
    fn patterns_are_beginnings() {
        check("/", &["/", "/a", "", "?q"], &[]);
        check(
            "/fish",
            &["/fish", "/fish.html", "/fish/salmon", "/fishheads", "/fish?x=1"],
            &["/Fish", "/catfish"],
        );
        check("/fish/", &["/fish/", "/fish/a"], &["/fish", "/fish.html"]);
        check("fish", &[], &["/fish", "fish"]);
        check("/*.php", &["/a.php", "/a/b.php?x", "/.php5"], &["/", "/a.PHP"]);
        check("/*.php$", &["/a.php", "/a/b.php"], &["/a.php?x", "/a.php5", "/a.php/"]);
        check("/fish*.php", &["/fish.php", "/fishheads/x.php?y"], &["/Fish.php"]);
        check("*", &["/", "/a"], &[]);
        check("*.gif$", &["/a.gif"], &["/a.gif?", "/a.gi"]);
        check("/$", &["/"], &["/a", "/?a"]);
        check("/a*$", &["/a", "/abc"], &["/b"]);
        check("/a*b*a$", &["/aba", "/abba", "/a1b2b3a"], &["/a", "/ab", "/abab"]);
        check("/ab*ab$", &["/abab", "/ab1ab"], &["/ab", "/aab"]);
        check("/a**b", &["/ab", "/axb"], &["/a"]);
        check("/a$b", &["/a$b", "/a%24b"], &["/a"]);
        check("$", &[], &["/", "/a"]);
    }

    /// The table of RFC 9309 §2.2.2, and that of §2.2.3.
    #[test]
    fn encodings_are_compared_as_the_rfc_says() {
        check("/foo/bar?baz=quz", &["/foo/bar?baz=quz"], &[]);
        let spellings = ["/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar"];
        check(spellings[0], &spellings, &[]);
        check(spellings[1], &spellings, &[]);
        check("/foo/bar/ツ", &["/foo/bar/ツ", "/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84"], &[]);
        check("/foo/bar/%e3%83%84", &["/foo/bar/ツ", "/foo/bar/%E3%83%84"], &[]);
        check("/foo/bar/%62%61%7A", &["/foo/bar/baz"], &[]);
        check("/foo/bar/baz", &["/foo/bar/%62%61%7A"], &[]);
        check(
            "/path/file-with-a-%2A.html",
            &["/path/file-with-a-*.html", "/path/file-with-a-%2a.html"],
            &["/path/file-with-a-.html"],
        );
        check("/path/foo-%24", &["/path/foo-$", "/path/foo-$x"], &["/path/foo-"]);
        check("/a%2Fb", &["/a%2fb"], &["/a/b"]);
        check("/a/b", &["/a/b"], &["/a%2Fb"]);
        check("/*%2Fb", &["/x?u=%2Fb", "/x%2Fb"], &["/x/b"]);
        check("/*=/b", &["/x?u=/b", "/x?u=%2Fb"], &["/x=%2Fb"]);
        check("/100%", &["/100%", "/100%25"], &["/100"]);
        check("/a b", &["/a%20b", "/a b"], &["/a+b"]);
        assert_eq!(Pattern::parse([b'/', 0xff]), Pattern::parse("/%FF"));
    }

    #[test]
    fn equal_patterns_are_equally_long() {
        for (one, other, octets) in [
            ("/%62%61%7A", "/baz", 4),
            ("/ツ", "/%e3%83%84", 10),
            ("/a:b", "/a%3ab", 4),
            ("/a$b", "/a%24b", 6),
            ("/*.php$", "/*.php$", 7),
            ("", "", 0),
        ] {
            assert_eq!(Pattern::parse(one), Pattern::parse(other), "{one} {other}");
            assert_eq!(Pattern::parse(one).octets(), octets, "{one}");
        }
        assert_eq!(Pattern::parse("/a**").octets(), 4, "as it is written");
        assert!(Pattern::parse("/*").octets() < Pattern::parse("/%2A").octets());
    }

    #[test]
    fn a_literal_means_itself_alone() {
        for path in ["/a*b", "/price$", "/ツ/#x", "/100%", "/a%2Fb", "/a b"] {
            let pattern = literal(path);
            assert!(!pattern.contains(['*', '$', '#', ' ']), "{pattern}");
            assert_eq!(literal(&pattern), pattern);
            if !path.contains('#') {
                check(&pattern, &[path], &["/", "/axb", "/price"]);
            }
        }
    }

    /// The definition, letter by letter: slow, and obviously right.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => true,
            [b'$'] => text.is_empty(),
            [b'*', pattern @ ..] => (0..=text.len()).any(|at| slow(pattern, &text[at..])),
            [first, pattern @ ..] => text.first() == Some(first) && slow(pattern, &text[1..]),
        }
    }

    #[test]
    fn fast_and_slow_agree() {
        let mut seed = 0x9309_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut matched = 0;
        for _ in 0..40_000 {
            let mut pattern: String = std::iter::once('/')
                .chain((0..next(7)).map(|_| ['a', 'b', '/', '*', '*'][next(5)]))
                .collect();
            if next(3) == 0 {
                pattern.push('$');
            }
            let path: String =
                std::iter::once('/').chain((0..next(9)).map(|_| ['a', 'b', '/'][next(3)])).collect();
            let expect = slow(pattern.as_bytes(), path.as_bytes());
            assert_eq!(Pattern::parse(&pattern).matches(&Target::new(&path)), expect, "{pattern} on {path}");
            matched += usize::from(expect);
        }
        assert!((5_000..35_000).contains(&matched), "the cases are not all trivial: {matched}");
    }
}
