//! Sets of paths that robots.txt, RSL, TDMRep and Content-Usage can all name: literals with `*` between them, and either the
//! end of the path or anything after them.
//!
//! A rule's glob is a whole path in which `*` stays within a segment; there a pattern is a beginning and `*` is anything.
//! So a glob becomes one or several [`Region`]s:
//!
//! - Where `/**/` stands for one slash or for more, there is a region for each.
//! - Where a `*` must not cross a slash, there is the region in which it may, and a narrower one for each `*` that did: what
//!   holds in that is asked of the policy like everything else ([`cells`]).
//!
//! The query is not part of a region, as it is not of a rule: `/a` becomes the two patterns `/a$` and `/a?`.

use std::collections::BTreeSet;

use crate::glob::{PathGlob, Piece};
use crate::protocol::robots;

/// Regions of one site; with more the site's rules are not said in these vocabularies.
pub(crate) const CELLS_MAX: usize = 512;

/// Stands for anything that no pattern has as a literal: the spelling of patterns is ASCII without controls.
const ANY: &str = "\u{1}";

/// A set of paths.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Region {
    /// In the spelling of robots.txt; a `*` between each two. The first one begins with a slash, none is empty.
    literals: Vec<String>,
    /// Whether anything may follow.
    is_open: bool,
}

impl Region {
    /// Every path.
    pub(crate) fn everything() -> Region {
        Region { literals: vec!["/".to_owned()], is_open: true }
    }

    /// What a glob means, the broader regions first.
    pub(crate) fn of(glob: &PathGlob) -> Vec<Region> {
        let mut regions = Region::of_one(glob);
        if let Some(folded) = glob.folded() {
            regions.extend(Region::of_one(folded));
        }
        regions
    }

    fn of_one(glob: &PathGlob) -> Vec<Region> {
        // Each way to read the glob: its literals, and which of the stars between them stay within a segment.
        let mut ways: Vec<(Vec<String>, Vec<bool>)> = vec![(vec![String::new()], Vec::new())];
        for piece in glob.pieces() {
            match piece {
                Piece::Literal(text) => {
                    ways.iter_mut().for_each(|way| way.0.last_mut().expect("never empty").push_str(text))
                }
                Piece::Segment => ways.iter_mut().for_each(|way| star(way, true)),
                Piece::Anything => ways.iter_mut().for_each(|way| star(way, false)),
                Piece::Folders => {
                    ways.iter_mut().for_each(|way| way.0.last_mut().expect("never empty").push('/'));
                    let mut others = ways.clone();
                    for way in &mut others {
                        star(way, false);
                        way.0.last_mut().expect("never empty").push('/');
                    }
                    ways.extend(others);
                }
            }
        }
        let mut regions = Vec::new();
        for (literals, narrow) in &ways {
            regions.push(Region::new(literals.clone()));
            for index in (0..narrow.len()).filter(|index| narrow[*index]) {
                let mut crossed = literals.clone();
                crossed.insert(index + 1, "/".to_owned());
                regions.push(Region::new(crossed));
            }
        }
        regions
    }

    fn new(mut literals: Vec<String>) -> Region {
        let is_open = literals.len() > 1 && literals.last().is_some_and(String::is_empty);
        if is_open {
            literals.pop();
        }
        Region { literals: literals.iter().map(|literal| robots::literal(literal)).collect(), is_open }
    }

    /// The region of a pattern that stands in a published text; `None` for those about queries, and those that no path has.
    pub(crate) fn of_pattern(pattern: &str) -> Option<Region> {
        let path = pattern.split('?').next().unwrap_or_default();
        let (path, is_open) = match path.strip_suffix('$') {
            Some(path) => (path, false),
            None => (path, path.len() == pattern.len()),
        };
        let path = if path.starts_with('*') { format!("/{path}") } else { path.to_owned() };
        if !path.starts_with('/') {
            return None;
        }
        let is_open = is_open || path.ends_with('*');
        let literals = path.split('*').enumerate().filter(|(index, part)| *index == 0 || !part.is_empty());
        let literals = literals.map(|(_, part)| robots::literal(part)).collect();
        Some(Region { literals, is_open })
    }

    /// A path in it, and in nothing narrower that does not have this word for a literal.
    pub(crate) fn witness(&self, word: &str) -> String {
        let mut path = self.literals.join(word);
        if self.is_open {
            path.push_str(word);
        }
        path
    }

    /// Whether every path of the other one is in this one.
    pub(crate) fn includes(&self, other: &Region) -> bool {
        // What no literal can match must be taken by a star, which would take anything else in its place as well.
        self.matches(&other.witness(ANY))
    }

    /// Whether there may be a path in both. It errs on the side of yes where both have stars.
    pub(crate) fn may_meet(&self, other: &Region) -> bool {
        match (self.is_prefix(), other.is_prefix()) {
            (true, _) => !other.after(&self.literals[0]).is_empty(),
            (_, true) => !self.after(&other.literals[0]).is_empty(),
            _ if self.is_path() => other.matches(&self.literals[0]),
            _ if other.is_path() => self.matches(&other.literals[0]),
            _ => self.ends_meet(other),
        }
    }

    fn ends_meet(&self, other: &Region) -> bool {
        let (one, two) = (&self.literals[0], &other.literals[0]);
        let (last, other_last) = (self.last(), other.last());
        let open = self.is_open || other.is_open;
        (one.starts_with(two.as_str()) || two.starts_with(one.as_str()))
            && (open || last.ends_with(other_last) || other_last.ends_with(last))
    }

    /// The regions that make up what both have in common; `None` if there is something and it cannot be said.
    pub(crate) fn meet(&self, other: &Region) -> Option<Vec<Region>> {
        if self.includes(other) || other.includes(self) || !self.may_meet(other) {
            return Some(Vec::new());
        }
        match (self.is_prefix(), other.is_prefix()) {
            (true, _) => Some(other.after(&self.literals[0])),
            (_, true) => Some(self.after(&other.literals[0])),
            _ => self.meet_stars(other),
        }
    }

    /// Of two that have two literals each.
    fn meet_stars(&self, other: &Region) -> Option<Vec<Region>> {
        let ([one, _], [two, _]) = (&self.literals[..], &other.literals[..]) else { return None };
        let (long, short) = if one.len() >= two.len() { (self, other) } else { (other, self) };
        let begin = &long.literals[0];
        let (end, other_end) = (long.last(), short.last());
        // What the shorter beginning leaves of the longer one must not be able to hold the other's end, or begin it.
        let rest = &begin[short.literals[0].len()..];
        let begins_there = (0..rest.len()).any(|at| {
            let tail = &rest[at..];
            tail.starts_with(other_end) || other_end.starts_with(tail)
        });
        if begins_there {
            return None;
        }
        let region = |ends: &[&str], is_open: bool| Region {
            literals: std::iter::once(begin.as_str())
                .chain(ends.iter().copied())
                .map(str::to_owned)
                .collect(),
            is_open,
        };
        let joined = |first: &str, then: &str, is_open: bool| -> Vec<Region> {
            let overlaps = (1..first.len().min(then.len())).filter(|by| first.ends_with(&then[..*by]));
            let overlapping = overlaps.map(|by| region(&[&format!("{first}{}", &then[by..])], is_open));
            std::iter::once(region(&[first, then], is_open)).chain(overlapping).collect()
        };
        Some(match (long.is_open, short.is_open) {
            (false, false) => {
                vec![region(&[std::cmp::max_by_key(end, other_end, |text| text.len())], false)]
            }
            (true, false) if other_end.contains(end) => vec![region(&[other_end], false)],
            (false, true) if end.contains(other_end) => vec![region(&[end], false)],
            (true, false) => joined(end, other_end, false),
            (false, true) => joined(other_end, end, false),
            (true, true) if end.contains(other_end) => vec![region(&[end], true)],
            (true, true) if other_end.contains(end) => vec![region(&[other_end], true)],
            (true, true) => [joined(end, other_end, true), joined(other_end, end, true)].concat(),
        })
    }

    /// What of this region begins with a text.
    fn after(&self, text: &str) -> Vec<Region> {
        // A state is a literal and how much of it has been read, or the star before it; the star after the last is one, too.
        let mut states: BTreeSet<(usize, usize, bool)> = BTreeSet::from([(0, 0, false)]);
        for byte in text.bytes() {
            let mut next = BTreeSet::new();
            for (literal, read, in_star) in states {
                if in_star {
                    next.insert((literal, 0, true));
                }
                let own = self.literals.get(literal).map(String::as_bytes).unwrap_or_default();
                if own.get(read) == Some(&byte) {
                    next.insert((literal, read + 1, false));
                    let is_last = literal + 1 == self.literals.len();
                    if read + 1 == own.len() && (!is_last || self.is_open) {
                        next.insert((literal + 1, 0, true));
                    }
                }
            }
            states = next;
        }
        let mut regions: Vec<Region> = Vec::new();
        for (literal, read, in_star) in states {
            let mut literals = vec![text.to_owned()];
            let is_last = literal + 1 >= self.literals.len();
            if in_star {
                literals.extend_from_slice(&self.literals[literal.min(self.literals.len())..]);
            } else if read == self.literals[literal].len() && (!is_last || self.is_open) {
                continue; // the star that follows is a state of its own
            } else {
                literals[0].push_str(&self.literals[literal][read..]);
                literals.extend_from_slice(&self.literals[literal + 1..]);
            }
            regions.push(Region { literals, is_open: self.is_open });
        }
        let all = regions.clone();
        regions.retain(|region| !all.iter().any(|other| other != region && other.includes(region)));
        regions
    }

    fn matches(&self, path: &str) -> bool {
        let (first, others) = self.literals.split_first().expect("a region has a literal");
        let Some(mut rest) = path.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = others.split_last() else { return self.is_open || rest.is_empty() };
        for literal in middle {
            let Some(found) = rest.find(literal.as_str()) else { return false };
            rest = &rest[found + literal.len()..];
        }
        if self.is_open { rest.contains(last.as_str()) } else { rest.ends_with(last.as_str()) }
    }

    /// A literal beginning, and anything after it.
    fn is_prefix(&self) -> bool {
        self.is_open && self.literals.len() == 1
    }

    /// One path.
    fn is_path(&self) -> bool {
        !self.is_open && self.literals.len() == 1
    }

    fn last(&self) -> &str {
        self.literals.last().map(String::as_str).unwrap_or_default()
    }

    /// Whether its patterns can be made longer without meaning another thing.
    pub(crate) fn can_be_padded(&self) -> bool {
        !self.is_path()
    }

    /// Octets of its shortest pattern.
    pub(crate) fn octets(&self) -> usize {
        let stars = self.literals.len() - 1 + usize::from(!self.is_open);
        self.literals.iter().map(String::len).sum::<usize>() + stars
    }

    /// The patterns that mean it, with `padding` more stars than needed: for whoever goes by the longest pattern.
    pub(crate) fn patterns(&self, padding: usize) -> Vec<String> {
        let stars = "*".repeat(padding);
        if self.is_open {
            return vec![format!("{}{stars}", self.literals.join("*"))];
        }
        let (first, others) = self.literals.split_first().expect("a region has a literal");
        let mut path = first.clone();
        for (index, literal) in others.iter().enumerate() {
            path.push('*');
            if index == 0 {
                path.push_str(&stars);
            }
            path.push_str(literal);
        }
        vec![format!("{path}$"), format!("{path}?")]
    }
}

/// Ends the literal with a star, unless there is one already.
fn star(way: &mut (Vec<String>, Vec<bool>), stays_in_segment: bool) {
    let (literals, narrow) = way;
    if literals.len() > 1 && literals.last().is_some_and(String::is_empty) {
        // Two stars side by side are as wide as the wider one.
        if let Some(last) = narrow.last_mut() {
            *last &= stays_in_segment;
        }
        return;
    }
    literals.push(String::new());
    narrow.push(stays_in_segment);
}

/// All regions of these globs, the other ones, what they have in common, and what begins with single paths where that is needed, each
/// once, the root among them; and a word that is in none of them, to make paths of them. `None` beyond [`CELLS_MAX`].
pub(crate) fn cells<'a>(
    globs: impl IntoIterator<Item = &'a PathGlob>,
    others: Vec<Region>,
) -> Option<(Vec<Region>, String)> {
    let mut seen: BTreeSet<Region> = BTreeSet::from([Region::everything()]);
    seen.extend(others);
    for glob in globs {
        seen.extend(Region::of(glob));
        if seen.len() > CELLS_MAX {
            return None;
        }
    }
    let mut all: Vec<Region> = seen.iter().cloned().collect();
    let mut done = 0;
    all.extend(beginnings(&all).into_iter().filter(|region| seen.insert(region.clone())));
    // What two have in common can have something in common with a third; more rounds than that add nothing that a policy has.
    for round in 0..3 {
        let (from, until) = (done, all.len());
        done = until;
        for one in 0..until {
            for two in from.max(one + 1)..until {
                for region in all[one].meet(&all[two]).unwrap_or_default() {
                    if seen.insert(region.clone()) {
                        all.push(region);
                    }
                }
                if all.len() > CELLS_MAX {
                    return None;
                }
            }
        }
        if round == 0 {
            all.extend(beginnings(&all).into_iter().filter(|region| seen.insert(region.clone())));
        }
    }
    let mut word = "w".to_owned();
    while all.iter().any(|region| region.literals.iter().any(|literal| literal.contains(&word))) {
        word.push_str("q7");
        if word.len() > 64 {
            return None;
        }
    }
    Some((all, word))
}

/// What begins with a path, for each path that a pattern with stars means as well and that is no longer than it. The path's own pattern
/// cannot be made longer; this one can, and speaks for it where it says the same.
fn beginnings(all: &[Region]) -> Vec<Region> {
    let is_rival = |path: &Region, other: &Region| {
        !other.is_path() && !other.is_prefix() && other.octets() >= path.octets() && other.includes(path)
    };
    let paths = all.iter().filter(|path| path.is_path() && all.iter().any(|other| is_rival(path, other)));
    paths.map(|path| Region { literals: path.literals.clone(), is_open: true }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(glob: &str) -> Vec<String> {
        let regions = Region::of(&PathGlob::parse(glob).unwrap());
        regions.iter().map(|region| region.patterns(0).join(" ")).collect()
    }

    #[test]
    fn globs_become_patterns() {
        assert_eq!(regions("/**"), ["/"]);
        assert_eq!(regions("/a/**"), ["/a/"]);
        assert_eq!(regions("/a"), ["/a$ /a?"]);
        assert_eq!(regions("/**.pdf"), ["/*.pdf$ /*.pdf?"]);
        assert_eq!(regions("/a/*"), ["/a/", "/a/*/"]);
        assert_eq!(regions("/*.pdf"), ["/*.pdf$ /*.pdf?", "/*/*.pdf$ /*/*.pdf?"]);
        assert_eq!(regions("/a/**/b"), ["/a/b$ /a/b?", "/a/*/b$ /a/*/b?"]);
        assert_eq!(regions("/caf%C3%A9 x"), ["/caf%C3%A9%20x$ /caf%C3%A9%20x?"]);
    }

    #[track_caller]
    fn common(one: &str, two: &str, expect: &[&str]) {
        let region = |glob: &str| Region::of(&PathGlob::parse(glob).unwrap()).remove(0);
        for (one, two) in [(one, two), (two, one)] {
            let mut meet: Vec<String> =
                region(one).meet(&region(two)).unwrap().iter().map(|r| r.patterns(0)[0].clone()).collect();
            meet.sort();
            assert_eq!(meet, expect, "{one} {two}");
        }
    }

    #[test]
    fn what_two_have_in_common_is_a_region() {
        common("/a/**", "/**.pdf", &["/a/*.pdf$"]);
        common("/a/**", "/b/**", &[]);
        common("/a/**", "/a/b/**", &[]);
        common("/abc/**", "/**/x/**", &[]);
        common("/a.pdf**", "/**.pdf", &["/a.pdf$", "/a.pdf*.pdf$"]);
        common("/**.tar.gz", "/x**gz", &["/x*.tar.gz$"]);
        common("/**.pdf", "/**.jpg", &[]);
        common("/img/**/x**", "/**.jpg", &["/img/x*.jpg$"]);
        common("/**a/**", "/x**/b", &["/x*a/*/b$", "/x*a/b$"]);
        let region = |pattern: &str| Region::of_pattern(pattern).unwrap();
        assert!(region("/a/*x").includes(&region("/a/b/*xy")));
        assert!(!region("/a/*x$").includes(&region("/a/b/*x")));
        assert!(region("/*").includes(&region("/")) && region("/").includes(&region("/*")));
        assert_eq!(region("/abc/").meet(&region("/*/x/")).unwrap(), [region("/abc/*/x/"), region("/abc/x/")]);
    }

    #[test]
    fn padding_changes_the_length_alone() {
        for (pattern, padded) in [("/a/", "/a/**"), ("/*.pdf$", "/***.pdf$")] {
            let region = Region::of_pattern(pattern).unwrap();
            assert_eq!(region.patterns(2)[0], padded);
            assert_eq!(Region::of_pattern(padded).unwrap(), region);
            assert_eq!(robots::Pattern::parse(padded).octets(), region.octets() + 2);
        }
        assert!(!Region::of_pattern("/a$").unwrap().can_be_padded());
    }
}
