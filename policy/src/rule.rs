//! Compiled rules, in the order in which they are asked.
//!
//! A rule may name several hosts, paths and content types; each combination is an [`Alternative`] with a [`Rank`] of its
//! own. The alternatives of all rules are sorted once, when a policy is compiled; the first that matches decides.
//! `docs/policy.md` has the order as a table.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::fields::Place;
use crate::glob::PathGlob;
use crate::pattern::{HostPattern, MediaPattern};
use crate::{Assurance, Charge, Crawler, Limit, Mode, Purpose, Verdict, Work};

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    /// Where its name stands; file 0 is the policy itself.
    pub(crate) place: Place,
    /// 1-based line of the rule's name.
    pub(crate) line: usize,
    /// 1-based column of the rule's name.
    pub(crate) column: usize,
    pub(crate) mode: Mode,
    pub(crate) verdict: Verdict,
    /// Present exactly for [`Verdict::Charge`].
    pub(crate) charge: Option<Charge>,
    pub(crate) require: Assurance,
    pub(crate) limit: Option<Limit>,
    pub(crate) who: Who,
    pub(crate) rungs: Rungs,
}

/// One way in which a rule can match.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    pub(crate) host: HostPattern,
    pub(crate) path: PathGlob,
    /// `None`: every content type.
    pub(crate) media: Option<MediaPattern>,
    /// Index into [`Rules::rules`].
    pub(crate) rule: usize,
}

/// Which crawlers a rule is about; an empty list is every one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Who {
    pub(crate) crawlers: Vec<Arc<str>>,
    pub(crate) operators: Vec<Arc<str>>,
    pub(crate) purposes: Vec<Purpose>,
}

/// A condition on how sure we are of who asks: a set of the rungs and, below them, the spoof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rungs(u8);

/// All rules of a policy.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// In the order of the texts.
    pub(crate) rules: Vec<Rule>,
    /// In the order in which they are asked.
    pub(crate) order: Vec<Alternative>,
}

/// The order of precedence; the smallest is asked first.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    host: Reverse<(u8, usize)>,
    path: Reverse<(bool, usize, bool)>,
    media: Reverse<u8>,
    who: Reverse<u8>,
    rungs: u32,
    strictness: Reverse<u8>,
    /// The policy's own text is 0, included ones follow in the order of inclusion.
    file: usize,
    position: usize,
}

impl Rank {
    /// Why this is asked before the other, in words.
    pub(crate) fn ahead_of(&self, other: &Rank) -> &'static str {
        match () {
            () if self.host != other.host => "its host is narrower",
            () if self.path != other.path => "its path is narrower",
            () if self.media != other.media => "its content type is narrower",
            () if self.who != other.who => "it names more closely who asks",
            () if self.rungs != other.rungs => "its assurance is narrower",
            () if self.strictness != other.strictness => "as narrow, and stricter",
            () if self.file != other.file => "as narrow and strict, and in a text that counts before",
            () => "as narrow and strict, and first in the text",
        }
    }
}

impl Rules {
    /// Puts alternatives in the order in which they are asked.
    pub(crate) fn new(rules: Vec<Rule>, mut alternatives: Vec<Alternative>) -> Rules {
        alternatives.sort_by_cached_key(|alternative| alternative.rank(&rules[alternative.rule]));
        Rules { rules, order: alternatives }
    }

    /// The alternatives that match a fetch whose content type is not known yet, first the one that is asked first.
    pub(crate) fn candidates<'a>(
        &'a self,
        crawler: &'a Crawler,
        work: &'a Work,
    ) -> impl Iterator<Item = (&'a Rule, Option<&'a MediaPattern>)> {
        self.order.iter().filter_map(move |alternative| {
            let rule = &self.rules[alternative.rule];
            (alternative.matches_work(work) && rule.matches_crawler(crawler))
                .then_some((rule, alternative.media.as_ref()))
        })
    }
}

impl Alternative {
    pub(crate) fn matches_work(&self, work: &Work) -> bool {
        self.path.matches(&work.path) && self.host.matches(&work.host)
    }

    pub(crate) fn rank(&self, rule: &Rule) -> Rank {
        Rank {
            host: Reverse(self.host.rank()),
            path: Reverse(self.path.rank()),
            media: Reverse(self.media.as_ref().map_or(0, MediaPattern::rank)),
            who: Reverse(rule.who.rank()),
            rungs: rule.rungs.count(),
            strictness: Reverse(rule.strictness()),
            file: rule.place.file,
            position: self.rule,
        }
    }
}

impl Rule {
    /// Whether the rule is about this crawler, as sure as we are of it.
    pub(crate) fn matches_crawler(&self, crawler: &Crawler) -> bool {
        self.rungs.contain(crawler) && self.who.matches(crawler) && !self.is_favour_denied_to(crawler)
    }

    /// A proven lie never earns what is given freely to the name that it uses.
    pub(crate) fn is_favour_denied_to(&self, crawler: &Crawler) -> bool {
        let is_favour = self.verdict == Verdict::Allow && self.limit.is_none();
        is_favour && crawler.is_spoof() && !self.who.is_anybody() && !self.rungs.is_spoof_only()
    }

    fn strictness(&self) -> u8 {
        match (self.verdict, &self.limit) {
            (Verdict::Deny, _) => 4,
            (Verdict::Charge, Some(_)) => 3,
            (Verdict::Charge, None) => 2,
            (Verdict::Allow, Some(_)) => 1,
            (Verdict::Allow, None) => 0,
        }
    }
}

impl Who {
    pub(crate) fn matches(&self, crawler: &Crawler) -> bool {
        self.matches_token(crawler) && self.matches_operator(crawler) && self.matches_purpose(crawler)
    }

    pub(crate) fn matches_token(&self, crawler: &Crawler) -> bool {
        self.crawlers.is_empty()
            || self.crawlers.iter().any(|token| token.eq_ignore_ascii_case(&crawler.row.token))
    }

    /// By the operator that the name claims; what is owed and counted goes by [`Crawler::operator`].
    pub(crate) fn matches_operator(&self, crawler: &Crawler) -> bool {
        self.operators.is_empty() || self.operators.contains(&crawler.row.operator)
    }

    pub(crate) fn matches_purpose(&self, crawler: &Crawler) -> bool {
        self.purposes.is_empty() || self.purposes.contains(&crawler.row.purpose)
    }

    pub(crate) fn is_anybody(&self) -> bool {
        self.rank() == 0
    }

    /// A named crawler weighs more than a named operator, an operator more than a purpose; named together they add up.
    fn rank(&self) -> u8 {
        u8::from(!self.crawlers.is_empty()) * 4
            + u8::from(!self.operators.is_empty()) * 2
            + u8::from(!self.purposes.is_empty())
    }
}

impl Rungs {
    /// The words of a condition, in the order of the ladder.
    pub(crate) const WORDS: [&str; 5] = ["spoof", "claimed", "network", "signed", "licensed"];

    /// No condition.
    pub(crate) const ANY: Rungs = Rungs(0b11111);

    /// Reads `network` (that rung alone) or `network+` (that rung and those above). `claimed` includes the spoof, which
    /// is no better than an unproven name.
    pub(crate) fn parse(text: &str) -> Option<Rungs> {
        let word = text.strip_suffix('+').unwrap_or(text);
        let index = Rungs::WORDS.iter().position(|known| *known == word)?;
        let own = if word == "claimed" { 0b00011 } else { 1 << index };
        Some(Rungs(if text.ends_with('+') { own | (0b11111 << index & 0b11111) } else { own }))
    }

    pub(crate) fn union(self, other: Rungs) -> Rungs {
        Rungs(self.0 | other.0)
    }

    pub(crate) fn contain(self, crawler: &Crawler) -> bool {
        let index = match crawler.assurance {
            _ if crawler.is_spoof() => 0,
            Assurance::Claimed => 1,
            Assurance::Network => 2,
            Assurance::Signed => 3,
            Assurance::Licensed => 4,
        };
        self.0 >> index & 1 == 1
    }

    fn is_spoof_only(self) -> bool {
        self.0 == 1
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// As words of a policy.
impl std::fmt::Display for Rungs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> =
            (0..5).filter(|index| self.0 >> index & 1 == 1).map(|index| Rungs::WORDS[index]).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests;
