//! What holds in each region, as a list of patterns of which the longest that matches counts.

use super::region::Region;

/// Stars that a pattern may have beyond those that it needs.
const PADDING_MAX: usize = 256;

/// Regions of a site, and which lie in which.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) regions: Vec<Region>,
    /// For each, the broader ones.
    broader: Vec<Vec<usize>>,
    /// For each, those that may have paths in common with it that are no regions of their own.
    tangled: Vec<Vec<usize>>,
}

/// One pattern of the list, or two: with and without a query.
#[derive(Clone, Debug)]
pub(crate) struct Said<'a, V> {
    pub(crate) region: &'a Region,
    pub(crate) padding: usize,
    pub(crate) value: V,
}

impl<V> Said<'_, V> {
    pub(crate) fn octets(&self) -> usize {
        self.region.octets() + self.padding
    }

    pub(crate) fn patterns(&self) -> Vec<String> {
        self.region.patterns(self.padding)
    }
}

/// The list, and whether all of it could be said.
#[derive(Debug)]
pub(crate) struct List<'a, V> {
    pub(crate) said: Vec<Said<'a, V>>,
    /// Regions about which the list says something else than holds there.
    pub(crate) unsaid: Vec<&'a Region>,
}

/// How the readers of a list judge.
pub(crate) struct Reading<'r, V> {
    /// What holds where no pattern matches.
    pub(crate) default: V,
    /// How long the patterns of a value must be at least.
    pub(crate) least: &'r dyn Fn(&Region, &V) -> usize,
    /// Which of two values counts where both patterns are equally long; the other one also gives way where it cannot be told
    /// from its neighbour. Without one, both are unsaid then.
    pub(crate) wins: Option<V>,
    /// Patterns that are there anyway.
    pub(crate) others: &'r [Other<V>],
}

/// A pattern that is not ours.
pub(crate) struct Other<V> {
    pub(crate) region: Region,
    pub(crate) octets: usize,
    pub(crate) value: V,
    /// Whether it is only about a part of the region: it may spoil what we say, and does not say it for us.
    pub(crate) is_partial: bool,
}

impl Cells {
    pub(crate) fn new(regions: Vec<Region>) -> Cells {
        let (mut broader, mut tangled) = (Vec::new(), Vec::new());
        let is_resolved = |one: &Region, two: &Region| {
            let common = one.meet(two);
            common.is_some_and(|common| common.iter().all(|region| regions.contains(region)))
        };
        for (index, one) in regions.iter().enumerate() {
            let others = || regions.iter().enumerate().filter(move |(other, _)| *other != index);
            broader.push(others().filter(|(_, two)| two.includes(one)).map(|(other, _)| other).collect());
            let is_beside = |two: &Region| !two.includes(one) && !one.includes(two) && two.may_meet(one);
            let is_tangled = |two: &Region| is_beside(two) && !is_resolved(one, two);
            tangled.push(others().filter(|(_, two)| is_tangled(two)).map(|(other, _)| other).collect());
        }
        Cells { regions, broader, tangled }
    }

    /// A short list of patterns by which each region has its value, and everything else the default.
    pub(crate) fn list<V: Clone + PartialEq>(&self, values: &[V], reading: &Reading<'_, V>) -> List<'_, V> {
        let mut draft = Draft {
            cells: self,
            values,
            reading,
            kept: vec![false; values.len()],
            octets: Vec::new(),
            given_up: vec![false; values.len()],
        };
        for index in 0..values.len() {
            let next = self.broader[index].iter().max_by_key(|other| self.regions[**other].octets());
            draft.kept[index] = values[index] != *next.map_or(&reading.default, |other| &values[*other]);
        }
        // What is missing is added: each round mends what the lengths of the last one have done.
        for _round in 0..=values.len() {
            draft.lengthen();
            let wrong: Vec<usize> = (0..values.len()).filter(|index| !draft.is_right(*index)).collect();
            if wrong.is_empty() {
                break;
            }
            for index in wrong {
                if draft.kept[index] {
                    draft.give_up(index);
                } else {
                    draft.kept[index] = true;
                }
            }
        }
        draft.leave_out_the_needless();
        let said = (0..values.len()).filter(|index| draft.kept[*index]).map(|index| Said {
            region: &self.regions[index],
            padding: draft.octets[index] - self.regions[index].octets(),
            value: values[index].clone(),
        });
        let unsaid = (0..values.len()).filter(|index| draft.given_up[*index] || !draft.is_right(*index));
        List { said: said.collect(), unsaid: unsaid.map(|index| &self.regions[index]).collect() }
    }
}

struct Draft<'d, V> {
    cells: &'d Cells,
    values: &'d [V],
    reading: &'d Reading<'d, V>,
    kept: Vec<bool>,
    /// How long each pattern is.
    octets: Vec<usize>,
    /// Cannot be said.
    given_up: Vec<bool>,
}

impl<V: Clone + PartialEq> Draft<'_, V> {
    /// Whether the list judges a region as it should; not asked of what was given up.
    fn is_right(&self, index: usize) -> bool {
        if self.given_up[index] {
            return true;
        }
        let kept =
            std::iter::once(&index).chain(&self.cells.broader[index]).filter(|other| self.kept[**other]);
        let ours = kept.map(|other| (self.octets[*other], &self.values[*other]));
        let region = &self.cells.regions[index];
        let is_heard = |other: &&Other<V>| {
            let spoils =
                other.value != self.values[index] && self.reading.wins.as_ref() != Some(&self.values[index]);
            (!other.is_partial || spoils) && other.region.includes(region)
        };
        let others = self.reading.others.iter().filter(is_heard).map(|other| (other.octets, &other.value));
        let matching: Vec<(usize, &V)> = ours.chain(others).collect();
        let strength = |(octets, value): (usize, &V)| (octets, self.reading.wins.as_ref() == Some(value));
        let Some(longest) = matching.iter().map(|one| strength(*one)).max() else {
            return self.values[index] == self.reading.default;
        };
        let mut deciding = matching.iter().filter(|one| strength(**one) == longest);
        deciding.all(|(_, value)| **value == self.values[index])
    }

    /// Makes narrower patterns longer than broader ones that say something else.
    fn lengthen(&mut self) {
        let regions = &self.cells.regions;
        self.octets = regions.iter().map(Region::octets).collect();
        for (index, region) in regions.iter().enumerate() {
            let least = (self.reading.least)(region, &self.values[index]);
            if self.kept[index] && !self.stretch(index, least) {
                self.give_up(index);
            }
        }
        for _round in 0..=regions.len() {
            let mut changed = false;
            for index in 0..regions.len() {
                for at in 0..self.cells.broader[index].len() {
                    changed |= self.put_ahead(index, self.cells.broader[index][at]);
                }
                for at in 0..self.cells.tangled[index].len() {
                    let other = self.cells.tangled[index][at];
                    // Each pair comes twice, once with the winner first.
                    match &self.reading.wins {
                        Some(value) if self.values[index] == *value => {
                            changed |= self.put_ahead(index, other)
                        }
                        None if self.kept[index]
                            && self.kept[other]
                            && self.values[index] != self.values[other] =>
                        {
                            self.give_up(index);
                            self.give_up(other);
                            changed = true;
                        }
                        Some(_) | None => {}
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Makes one pattern win over another one; says whether anything had to be changed for it.
    fn put_ahead(&mut self, winner: usize, loser: usize) -> bool {
        if !self.kept[winner] || !self.kept[loser] || self.values[winner] == self.values[loser] {
            return false;
        }
        let wins_ties = self.reading.wins.as_ref() == Some(&self.values[winner]);
        let needed = self.octets[loser] + usize::from(!wins_ties);
        if self.octets[winner] >= needed {
            return false;
        }
        if !self.cells.regions[winner].can_be_padded() {
            let Some(deputy) = self.deputy(winner, loser, needed) else {
                self.give_up(if wins_ties { loser } else { winner });
                return true;
            };
            if self.kept[deputy] && self.octets[deputy] >= needed {
                return false;
            }
            self.kept[deputy] = true;
            self.octets[deputy] = needed.max(self.octets[deputy]);
        } else if !self.stretch(winner, needed) {
            self.give_up(if wins_ties { loser } else { winner });
        }
        true
    }

    /// A broader region that says the same and can be made long enough, in place of a single path, which cannot: the narrowest
    /// that the loser is not all in. What says something else within it is put ahead of it in turn, and must be able to be.
    fn deputy(&self, path: usize, loser: usize, octets: usize) -> Option<usize> {
        let Cells { regions, broader, tangled } = self.cells;
        let says_else = |other: usize| self.kept[other] && self.values[other] != self.values[path];
        let is_stuck = |region: usize, other: usize| {
            says_else(other)
                && !regions[other].can_be_padded()
                && self.octets[other] <= octets
                && broader[other].contains(&region)
        };
        let may = |region: &usize| {
            self.values[*region] == self.values[path]
                && !self.given_up[*region]
                && regions[*region].can_be_padded()
                && octets <= regions[*region].octets() + PADDING_MAX
                && !broader[loser].contains(region)
                && !tangled[loser].contains(region)
                && (self.reading.wins.is_some() || !tangled[*region].iter().any(|other| says_else(*other)))
                && !(0..regions.len()).any(|other| is_stuck(*region, other))
        };
        broader[path].iter().copied().filter(may).max_by_key(|region| regions[*region].octets())
    }

    fn stretch(&mut self, index: usize, octets: usize) -> bool {
        let region = &self.cells.regions[index];
        if octets > self.octets[index] {
            if !region.can_be_padded() || octets > region.octets() + PADDING_MAX {
                return false;
            }
            self.octets[index] = octets;
        }
        true
    }

    fn give_up(&mut self, index: usize) {
        self.kept[index] = false;
        self.given_up[index] = true;
    }

    /// Leaves out, the longest first, whatever is judged alike without it.
    fn leave_out_the_needless(&mut self) {
        let mut order: Vec<usize> = (0..self.values.len()).filter(|index| self.kept[*index]).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.octets[*index]));
        for index in order {
            self.kept[index] = false;
            let mut inside = (0..self.values.len())
                .filter(|other| *other == index || self.cells.broader[*other].contains(&index));
            let beside = &self.cells.tangled[index];
            let is_tangled =
                beside.iter().any(|other| self.kept[*other] && self.values[*other] != self.values[index]);
            if is_tangled || !inside.all(|other| self.is_right(other)) {
                self.kept[index] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::PathGlob;
    use crate::protocol::robots::{Pattern, Target};
    use crate::publish::region::cells;

    fn list(said: &[(&str, char)]) -> Vec<String> {
        let globs: Vec<PathGlob> = said.iter().map(|(glob, _)| PathGlob::parse(glob).unwrap()).collect();
        let (regions, word) = cells(&globs, Vec::new()).unwrap();
        let cells = Cells::new(regions);
        // As in a policy: the first that matches decides.
        let value = |region: &Region| {
            let path = region.witness(&word);
            let first = globs.iter().zip(said).find(|(glob, _)| glob.matches(&path));
            first.map_or('.', |(_, (_, value))| *value)
        };
        let values: Vec<char> = cells.regions.iter().map(value).collect();
        let reading = Reading { default: '.', least: &|_, _| 0, wins: Some('y'), others: &[] };
        let list = cells.list(&values, &reading);
        let unsaid = list.unsaid.iter().map(|region| format!("unsaid {}", region.patterns(0)[0]));
        let mut out: Vec<String> = list
            .said
            .iter()
            .map(|said| format!("{}{}", said.value, said.patterns()[0]))
            .chain(unsaid)
            .collect();
        out.sort();
        out
    }

    #[test]
    fn the_order_of_rules_becomes_one_of_lengths() {
        assert_eq!(list(&[("/**", 'n')]), ["n/"]);
        assert_eq!(list(&[("/a/**", 'n'), ("/**", 'y')]), ["n/a/", "y/"]);
        assert_eq!(list(&[("/**", 'n'), ("/a/**", 'y')]), ["n/"]);
        assert_eq!(list(&[("/a/**", 'y'), ("/**.pdf", 'n')]), ["n/*.pdf$", "y/a/", "y/a/*.pdf$"]);
        assert_eq!(list(&[("/**.pdf", 'n'), ("/a/**", 'y')]), ["n/*.pdf$", "y/a/"]);
        assert_eq!(list(&[("/**.pdf", 'n'), ("/a/**", 'n')]), ["n/*.pdf$", "n/a/"]);
        assert_eq!(list(&[("/axb", 'y'), ("/a*b", 'n')]), ["./a*/*b$", "n/a*b$", "y/axb$"]);
        // A path cannot be made longer than a pattern whose stars stand for nothing, but what it lies in may be.
        assert_eq!(list(&[("/ab", 'y'), ("/a**b", 'n')]), ["n/ab*b$", "unsaid /a*b$", "y/ab$"]);
        assert_eq!(
            list(&[("/ab", 'n'), ("/a**b", 'y'), ("/a**", 'n')]),
            ["n/a", "n/ab***", "y/a*b$", "y/ab*b$"]
        );
        assert_eq!(
            list(&[("/a/b/**", 'n'), ("/a/*/c", 'y'), ("/a/**", 'n')]),
            ["n/a/", "n/a/*/*/c$", "n/a/b/c**", "y/a/*/c$"]
        );
    }

    /// Any three rules about these paths, in any order, can be said to readers who let what allows win: with every region's path the
    /// patterns say what the first rule that matches says.
    #[test]
    fn what_three_rules_deny_can_be_said() {
        const PATHS: [&str; 8] = ["/**", "/a/**", "/a/b/**", "/", "/a/b/c", "/**.pdf", "/a/*/c", "/**/feed/"];
        let pick = |code: usize| [code % 8, code / 8 % 8, code / 64];
        for (code, denials) in (0..512).flat_map(|code| (1..8_u8).map(move |denials| (code, denials))) {
            let picked = pick(code);
            if picked[0] == picked[1] || picked[1] == picked[2] || picked[0] == picked[2] {
                continue;
            }
            let globs = picked.map(|path| PathGlob::parse(PATHS[path]).unwrap());
            let (regions, word) = cells(&globs, Vec::new()).unwrap();
            let cells = Cells::new(regions);
            let paths: Vec<String> = cells.regions.iter().map(|region| region.witness(&word)).collect();
            let is_denied = |path: &String| {
                globs.iter().position(|glob| glob.matches(path)).is_some_and(|rule| denials >> rule & 1 == 1)
            };
            let values: Vec<bool> = paths.iter().map(is_denied).collect();
            let reading = Reading { default: false, least: &|_, _| 0, wins: Some(false), others: &[] };
            let list = cells.list(&values, &reading);
            let rules = picked.map(|path| PATHS[path]);
            assert!(list.unsaid.is_empty(), "{:?} of {rules:?}, {denials:03b}", list.unsaid);
            let lines: Vec<(Pattern, bool)> = list
                .said
                .iter()
                .flat_map(|said| said.patterns().into_iter().map(|one| (Pattern::parse(one), said.value)))
                .collect();
            for (path, expect) in paths.iter().zip(values) {
                let target = Target::new(path);
                let matching = lines.iter().filter(|(pattern, _)| pattern.matches(&target));
                let decides = matching.max_by_key(|(pattern, is_closed)| (pattern.octets(), !is_closed));
                assert_eq!(
                    decides.is_some_and(|(_, is_closed)| *is_closed),
                    expect,
                    "{path} of {rules:?}, {denials:03b}: {lines:?}"
                );
            }
        }
    }
}
