//! Paths at which signals and policy are compared: for each pattern that stands in either, paths that it is about.

use std::collections::BTreeSet;

use super::documents::Read;
use super::{Origin, Texts};
use crate::PolicySnapshot;
use crate::glob::{PathGlob, Piece};
use crate::protocol::robots;

/// Paths that are looked at; of a policy and texts with more patterns than that, not every pair is.
const PATHS_MAX: usize = 1_500;
/// Patterns of one text that are looked at.
const PATTERNS_MAX: usize = 500;

pub(super) fn witnesses(
    policy: &PolicySnapshot,
    origin: &Origin,
    texts: &Texts,
    read: &Read<'_>,
) -> Vec<String> {
    let of_rules = policy.rules.order.iter().map(|alternative| (&alternative.host, &alternative.path));
    let of_works = policy.works.iter().map(|entry| (&entry.host, &entry.path));
    let globs: Vec<&PathGlob> = of_rules
        .chain(of_works)
        .filter(|(host, _)| host.matches(origin.host()))
        .map(|(_, path)| path)
        .take(PATTERNS_MAX)
        .collect();
    let patterns = read.patterns(PATTERNS_MAX);
    let word = unused_word(&globs, &patterns);
    let mut made = Paths { word, paths: BTreeSet::new(), heads: BTreeSet::new(), tails: BTreeSet::new() };
    made.add("/".to_owned());
    made.add(format!("/{}", made.word));
    made.heads.insert("/".to_owned());
    for response in &texts.responses {
        made.add(response.target.clone());
    }
    for glob in globs {
        made.glob(glob);
        if let Some(folded) = glob.folded() {
            made.glob(folded);
        }
    }
    for pattern in &patterns {
        made.pattern(pattern);
    }
    made.pairs();
    made.paths.into_iter().collect()
}

/// A word that stands in no pattern, so that only wildcards can mean it.
fn unused_word(globs: &[&PathGlob], patterns: &[String]) -> String {
    let mut word = "zq".to_owned();
    let is_used = |word: &str| {
        globs.iter().any(|glob| glob.as_str().contains(word))
            || patterns.iter().any(|pattern| pattern.contains(word))
    };
    while is_used(&word) && word.len() < 100 {
        word.push_str("zx");
    }
    word
}

struct Paths {
    word: String,
    paths: BTreeSet<String>,
    /// Beginnings of patterns, up to a slash.
    heads: BTreeSet<String>,
    /// What patterns end with.
    tails: BTreeSet<String>,
}

impl Paths {
    fn add(&mut self, path: String) {
        if self.paths.len() < PATHS_MAX && path.len() < 4_096 {
            self.paths.insert(path);
        }
    }

    /// Paths that a rule is about, with and without a query, and such that it is not about, because a `*` would have to cross a
    /// slash.
    fn glob(&mut self, glob: &PathGlob) {
        let word = self.word.clone();
        let deep = format!("{word}/{word}");
        for filler in [&word, &deep] {
            for folders in ["/".to_owned(), format!("/{filler}/")] {
                let mut path = String::new();
                let mut pieces = glob.pieces().peekable();
                let mut is_first = true;
                while let Some(piece) = pieces.next() {
                    match piece {
                        Piece::Literal(text) => {
                            let text = robots::literal(text);
                            if is_first {
                                self.heads.insert(head(&text));
                            } else if pieces.peek().is_none() {
                                self.tails.insert(text.clone());
                            }
                            path.push_str(&text);
                        }
                        Piece::Segment | Piece::Anything => path.push_str(filler),
                        Piece::Folders => path.push_str(&folders),
                    }
                    is_first = false;
                }
                self.add(format!("{path}?{word}"));
                self.add(path);
            }
        }
    }

    /// Targets that a pattern of a published text is about.
    fn pattern(&mut self, pattern: &str) {
        let (text, is_anchored) = match pattern.strip_suffix('$') {
            Some(text) => (text, true),
            None => (pattern, false),
        };
        let text = if text.starts_with('*') { format!("/{text}") } else { text.to_owned() };
        if !text.starts_with('/') {
            return;
        }
        self.heads.insert(head(text.split('*').next().unwrap_or_default()));
        let path = text.replace('*', &self.word);
        if is_anchored {
            if let Some((_, tail)) = text.rsplit_once('*') {
                self.tails.insert(tail.to_owned());
            }
        } else {
            self.add(format!("{path}{}", self.word));
            // A star that reaches into a query could find a slash there; no rule looks at queries, and no pattern can help it.
            if !path.contains('?') {
                self.add(format!("{path}{}/{}", self.word, self.word));
            }
        }
        self.add(path);
    }

    /// What one pattern begins with and another one ends with.
    fn pairs(&mut self) {
        let (heads, tails) = (std::mem::take(&mut self.heads), std::mem::take(&mut self.tails));
        for head in &heads {
            for tail in &tails {
                self.add(format!("{head}{}{tail}", self.word));
            }
        }
    }
}

fn head(text: &str) -> String {
    let end = text.rfind('/').map_or(0, |at| at + 1);
    if end == 0 { "/".to_owned() } else { text[..end].to_owned() }
}
