//! Path globs: `*` stands for anything within a segment, `**` for anything at all; there is nothing else to know.
//!
//! `/articles/**` is everything below `/articles/`; `/a/**/b` includes `/a/b`. A pattern is written in the canonical form
//! that it is compared with (see [`crate::PolicySnapshot::work`]), so that `/caf%c3%a9` and `/café` are one pattern.
//!
//! Matching takes no memory from the heap and time that is linear in the path for each wildcard, whatever stands in
//! either: the path comes from the network.

use crate::work::{MAX_PATH_BYTES, folded, normalise_literal};

/// Wildcards in one pattern.
const MAX_WILDCARDS: usize = 8;

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PathGlob {
    /// As it was written.
    text: String,
    /// What stands before the first wildcard.
    prefix: String,
    /// What follows, beginning with a wildcard; empty for an exact path.
    rest: Vec<Token>,
    /// The pattern in NFKC, if that is another.
    folded: Option<Box<PathGlob>>,
}

/// A piece of a pattern, in canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    Literal(&'a str),
    /// `*`
    Segment,
    /// `**`
    Anything,
    /// `/**/`: one slash, or anything between two.
    Folders,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Literal(String),
    /// `*`
    Segment,
    /// `**`
    Anything,
    /// `/**/`: one slash, or anything between two.
    Folders,
}

impl PathGlob {
    /// The pattern of a rule that names no path.
    pub(crate) fn anything() -> PathGlob {
        PathGlob::parse("/**").expect("`/**` is a pattern")
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, as half a sentence.
    pub(crate) fn parse(text: &str) -> Result<PathGlob, String> {
        if !text.starts_with('/') {
            return Err("a path starts with `/`".to_owned());
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(format!("a path has at most {MAX_PATH_BYTES} bytes"));
        }
        if let Some(odd) = text.chars().find(|c| matches!(c, '?' | '#' | '\\' | '[' | ']' | '{' | '}')) {
            return Err(format!("`{odd}` has no meaning in a path; the wildcards are `*` and `**`"));
        }
        if text.contains("//") {
            return Err("`//` never matches: empty segments are joined before rules are asked".to_owned());
        }
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err("`.` and `..` never match: they are resolved before rules are asked".to_owned());
        }
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(star) = rest.find('*') {
            let stars = rest[star..].bytes().take_while(|byte| *byte == b'*').count();
            if stars > 2 {
                return Err("the wildcards are `*` and `**`".to_owned());
            }
            let (before, after) = (&rest[..star], &rest[star + stars..]);
            if stars == 2 && before.ends_with('/') && after.starts_with('/') {
                push_literal(&mut tokens, &before[..before.len() - 1])?;
                tokens.push(Token::Folders);
                rest = &after[1..];
            } else {
                push_literal(&mut tokens, before)?;
                tokens.push(if stars == 2 { Token::Anything } else { Token::Segment });
                rest = after;
            }
        }
        push_literal(&mut tokens, rest)?;
        if tokens.iter().filter(|token| !matches!(token, Token::Literal(_))).count() > MAX_WILDCARDS {
            return Err(format!("a path has at most {MAX_WILDCARDS} wildcards"));
        }
        let mut tokens = tokens.into_iter();
        let (prefix, first) = match tokens.next() {
            Some(Token::Literal(prefix)) => (prefix, None),
            other => (String::new(), other),
        };
        let folded = folded(text).and_then(|text| PathGlob::parse(&text).ok()).map(Box::new);
        Ok(PathGlob {
            text: text.to_owned(),
            prefix,
            rest: first.into_iter().chain(tokens).collect(),
            folded,
        })
    }

    /// The pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The same pattern as RFC 9309 §2.2.3 has it, where `*` is anything and a final `$` the end; none if it says what
    /// that cannot say: a `*` within a segment, or folders between two slashes.
    pub(crate) fn to_robots(&self) -> Option<String> {
        let literal = |text: &str| text.replace('$', "%24");
        let mut pattern = literal(&self.prefix);
        for token in &self.rest {
            match token {
                Token::Literal(text) => pattern.push_str(&literal(text)),
                Token::Anything => pattern.push('*'),
                Token::Segment | Token::Folders => return None,
            }
        }
        if !matches!(self.rest.last(), Some(Token::Anything)) {
            pattern.push('$');
        }
        Some(pattern)
    }

    /// What it is made of, in order, for those who write the pattern in another language.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let prefix = (!self.prefix.is_empty()).then_some(Piece::Literal(&self.prefix));
        prefix.into_iter().chain(self.rest.iter().map(|token| match token {
            Token::Literal(text) => Piece::Literal(text),
            Token::Segment => Piece::Segment,
            Token::Anything => Piece::Anything,
            Token::Folders => Piece::Folders,
        }))
    }

    /// The other pattern that it stands for as well: itself, folded (NFKC).
    pub(crate) fn folded(&self) -> Option<&PathGlob> {
        self.folded.as_deref()
    }

    /// Whether a canonical path matches, as it is or folded: what a server that folds takes for one is one pattern.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.matches_literally(path)
            || self.folded.as_ref().is_some_and(|folded| folded.matches_literally(path))
    }

    fn matches_literally(&self, path: &str) -> bool {
        let Some(rest) = path.as_bytes().strip_prefix(self.prefix.as_bytes()) else { return false };
        match &self.rest[..] {
            [] => rest.is_empty(),
            [Token::Anything] => true,
            [Token::Segment] => !rest.contains(&b'/'),
            [Token::Anything, Token::Literal(end)] => rest.ends_with(end.as_bytes()),
            [Token::Segment, Token::Literal(end)] => {
                rest.strip_suffix(end.as_bytes()).is_some_and(|middle| !middle.contains(&b'/'))
            }
            tokens => simulate(tokens, rest),
        }
    }

    /// How narrow the pattern is: exact ones first, then by literal bytes, then those that stay within segments.
    pub(crate) fn rank(&self) -> (bool, usize, bool) {
        let exact = self.rest.is_empty();
        let literal = self.rest.iter().map(Token::literal_bytes).sum::<usize>() + self.prefix.len();
        let within_segments =
            self.rest.iter().all(|token| matches!(token, Token::Literal(_) | Token::Segment));
        (exact, literal, within_segments)
    }
}

impl Token {
    fn literal_bytes(&self) -> usize {
        match self {
            Token::Literal(text) => text.len(),
            Token::Folders => 1,
            Token::Segment | Token::Anything => 0,
        }
    }
}

fn push_literal(tokens: &mut Vec<Token>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        tokens.push(Token::Literal(normalise_literal(text)?));
    }
    Ok(())
}

/// Runs the tokens over the text, all ways at once: a bit per place that can be reached.
fn simulate(tokens: &[Token], text: &[u8]) -> bool {
    if text.len() > MAX_PATH_BYTES {
        return false; // a canonical path is never longer; the set below holds no more
    }
    let mut places = Places::new(text.len());
    places.insert(0);
    for token in tokens {
        let mut next = Places::new(text.len());
        match token {
            Token::Literal(literal) => {
                for place in places.iter() {
                    if text[place..].starts_with(literal.as_bytes()) {
                        next.insert(place + literal.len());
                    }
                }
            }
            Token::Segment => {
                let mut reached = false;
                for place in 0..=text.len() {
                    reached |= places.contains(place);
                    if reached {
                        next.insert(place);
                    }
                    reached &= text.get(place) != Some(&b'/');
                }
            }
            Token::Anything => {
                if let Some(first) = places.iter().next() {
                    (first..=text.len()).for_each(|place| next.insert(place));
                }
            }
            Token::Folders => {
                if let Some(first) = places.iter().find(|place| text.get(*place) == Some(&b'/')) {
                    (first..text.len())
                        .filter(|place| text[*place] == b'/')
                        .for_each(|place| next.insert(place + 1));
                }
            }
        }
        places = next;
    }
    places.contains(text.len())
}

/// A set of places in a text, on the stack.
struct Places {
    words: [u64; MAX_PATH_BYTES / 64 + 1],
    used: usize,
}

impl Places {
    fn new(len: usize) -> Places {
        Places { words: [0; MAX_PATH_BYTES / 64 + 1], used: len / 64 + 1 }
    }

    fn insert(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.words[place / 64] >> (place % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words[..self.used].iter().enumerate().flat_map(|(index, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = PathGlob::parse(pattern).unwrap();
        for path in yes {
            assert!(glob.matches(path), "{pattern} matches {path}");
        }
        for path in no {
            assert!(!glob.matches(path), "{pattern} does not match {path}");
        }
    }

    #[test]
    fn one_star_stays_within_a_segment_and_two_do_not() {
        check("/**", &["/", "/a", "/a/b/c"], &[]);
        check("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab", "/"]);
        check("/a/*", &["/a/", "/a/b"], &["/a/b/c", "/a"]);
        check("/a", &["/a"], &["/a/", "/ab", "/"]);
        check("/a*", &["/a", "/abc"], &["/a/", "/b"]);
        check("/*.pdf", &["/x.pdf", "/.pdf"], &["/x/y.pdf", "/x.pdf2"]);
        check("/**.pdf", &["/x.pdf", "/x/y.pdf"], &["/x.pdf/"]);
        check("/a/**/b", &["/a/b", "/a/x/b", "/a/x/y/b"], &["/a/xb", "/ab", "/a/b/c"]);
        check("/a/**/b/*.html", &["/a/b/x.html", "/a/1/2/b/x.html"], &["/a/b/c/x.html", "/a/xb/x.html"]);
        check("/*/*/x", &["/a/b/x", "//b/x"], &["/a/x", "/a/b/c/x"]);
        check("/**/a*b/**", &["/ab/", "/x/acccb/y", "/a1b/ab/"], &["/ab", "/a/b/"]);
        check("/*a*a*a*", &["/aaa", "/xaxaxax"], &["/aa", "/aa/a"]);
    }

    #[test]
    fn patterns_are_compared_in_canonical_form() {
        check("/café/*", &["/caf%C3%A9/x"], &[]);
        check("/caf%c3%a9/%7Eme", &["/caf%C3%A9/~me"], &[]);
        check("/a b", &["/a%20b"], &[]);
        check("/%2A", &["/*"], &["/x"]);
    }

    #[test]
    fn what_can_never_match_is_said() {
        for pattern in [
            "",
            "a",
            "/a?b",
            "/a#b",
            "/a//b",
            "/a/../b",
            "/./a",
            "/***",
            "/[a-z]",
            "/{a,b}",
            "/a\\b",
            "/%zz",
            "/%2f",
            "/*a*a*a*a*a*a*a*a*a",
        ] {
            assert!(PathGlob::parse(pattern).is_err(), "{pattern}");
        }
    }

    /// The definition, word by word: slow, and obviously right.
    fn slow(tokens: &[Token], text: &[u8]) -> bool {
        let Some((first, tokens)) = tokens.split_first() else { return text.is_empty() };
        match first {
            Token::Literal(literal) => {
                text.strip_prefix(literal.as_bytes()).is_some_and(|text| slow(tokens, text))
            }
            Token::Segment => (0..=text.len())
                .take_while(|end| !text[..*end].contains(&b'/'))
                .any(|end| slow(tokens, &text[end..])),
            Token::Anything => (0..=text.len()).any(|end| slow(tokens, &text[end..])),
            Token::Folders => {
                text.first() == Some(&b'/')
                    && (1..=text.len()).any(|end| text[end - 1] == b'/' && slow(tokens, &text[end..]))
            }
        }
    }

    #[test]
    fn fast_and_slow_agree() {
        let mut seed = 0x5eed_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut matched = 0;
        for _ in 0..30_000 {
            let pattern: String = std::iter::once("/")
                .chain((0..next(7)).map(|_| ["a", "b", "/", "*", "**", "/**/"][next(6)]))
                .collect();
            let Ok(glob) = PathGlob::parse(&pattern) else { continue };
            let path: String =
                std::iter::once('/').chain((0..next(9)).map(|_| ['a', 'b', '/'][next(3)])).collect();
            let tokens: Vec<Token> = std::iter::once(Token::Literal(glob.prefix.clone()))
                .chain(glob.rest.iter().cloned())
                .collect();
            let expect = slow(&tokens, path.as_bytes());
            assert_eq!(glob.matches(&path), expect, "{pattern} on {path}");
            matched += usize::from(expect);
        }
        assert!(matched > 1_000, "the cases are not all trivial: {matched}");
    }
}
