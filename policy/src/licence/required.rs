//! What CAP (RSL 1.0 §5) has to say where a fetch is refused, or would be charged, and a licence decides.
//!
//! A licence decides where the same fetch would have gone another way with a good token: then, and only then, the crawler is
//! told what it lacks. A token that is shown and is not good is refused there before anything is charged; where no licence
//! decides, nobody asks for it, and it counts for nothing.

use crate::admit::weigh;
use crate::judge::{Case, Objection};
use crate::protocol::cap::{Challenge, Declaration, Unlicensed};
use crate::rule::Rule;
use crate::{
    Assurance, Crawler, Evidence, Held, LICENCE_DOCUMENT_PATH, LicenceServer, Money, PolicySnapshot, Refusal,
    RefusalKind, Work,
};

impl PolicySnapshot {
    /// Whether a licence is to be had for a crawler's use of a work. Of what another server licenses without the policy's
    /// knowledge, nobody knows.
    fn licenses(&self, crawler: &Crawler, work: &Work) -> bool {
        let usage = crawler.row.purpose.usage();
        let is_foreign = matches!(self.licence_server(), LicenceServer::External { .. });
        (is_foreign && self.licences().is_empty())
            || self.licences().iter().any(|one| one.usages.contains(usage) && one.covers(work))
    }
}

impl<'a> Case<'a> {
    /// An objection with what CAP says to it. `enforced` are the rules that would be asked of a crawler with a licence.
    pub(crate) fn with_licence_in_mind(
        &self,
        rule: &Rule,
        objection: Objection,
        enforced: impl Fn(&Rule) -> bool,
    ) -> Objection {
        match self.lacks(rule, &objection, enforced) {
            // Beside another way that is open, the licence is one more; else it is what is lacking.
            Some(Unlicensed::NoLicense) if objection.status() != 402 => objection,
            Some(why) => objection.unlicensed(why),
            None => objection,
        }
    }

    fn lacks(
        &self,
        rule: &Rule,
        objection: &Objection,
        enforced: impl Fn(&Rule) -> bool,
    ) -> Option<Unlicensed> {
        if self.crawler.is_spoof() || !self.policy.licenses(self.crawler, self.work) {
            return None;
        }
        let is_about_terms = match objection.kind {
            RefusalKind::Denied => true,
            _ => matches!(objection.status(), 402) || objection.kind == RefusalKind::IdentityRequired,
        };
        let shown = self.crawler.evidence.licence();
        if let Some(Ok(_)) = shown {
            let is_unpaid = rule.require == Assurance::Licensed && objection.status() == 402;
            return is_unpaid.then_some(Unlicensed::Unpaid);
        }
        let is_asked_for = rule.require == Assurance::Licensed && objection.quote.is_some();
        if !is_about_terms || !(is_asked_for || weigh(&self.with_licence(&mut None), enforced).is_ok()) {
            return None;
        }
        Some(match shown {
            Some(Err(why)) => *why,
            _ if objection.quote.is_some() && !is_asked_for => Unlicensed::NoLicense,
            _ => Unlicensed::Missing,
        })
    }

    /// Why a fetch that could go on (for `agreed`, if it costs anything) is refused all the same: it shows a token that is not
    /// good, and with a good one it would cost something else.
    pub(crate) fn bad_token(
        &self,
        agreed: Option<Money>,
        enforced: impl Fn(&Rule) -> bool,
    ) -> Option<(&'a Rule, Objection)> {
        let Some(Err(why)) = self.crawler.evidence.licence() else { return None };
        if agreed.is_none() || !self.policy.licenses(self.crawler, self.work) {
            return None;
        }
        let mut licensed = None;
        match weigh(&self.with_licence(&mut licensed), enforced) {
            Ok(other) if other != agreed => {}
            _ => return None,
        }
        let (rule, _) = self.policy.rules.candidates(self.crawler, self.work).next()?;
        Some((rule, Objection::of(RefusalKind::Unlicensed, rule).unlicensed(*why)))
    }

    /// The same fetch by somebody with a licence; `place` is where that somebody is kept.
    fn with_licence<'b>(&self, place: &'b mut Option<Crawler>) -> Case<'b>
    where
        'a: 'b,
    {
        let held = Held { licence: "".into(), token: "".into() };
        let mut crawler = self.crawler.clone();
        crawler.evidence = crawler.evidence.without_licence().with_licence(Ok(held));
        crawler.assurance = Assurance::Licensed;
        Case { crawler: place.insert(crawler), ..*self }
    }
}

impl Refusal {
    /// What CAP says, where a licence decides.
    pub fn licence_challenge(&self) -> Option<Challenge> {
        let (why, url) = self.unlicensed.as_ref()?;
        Some(why.challenge(&Declaration::Document { url }))
    }
}

impl Work {
    /// The URL of the licence document that speaks of it.
    pub fn licence_document(&self) -> String {
        let scheme = if self.url.starts_with("https://") { "https" } else { "http" };
        format!("{scheme}://{}{LICENCE_DOCUMENT_PATH}", self.host)
    }
}

impl Evidence {
    /// The licence that was shown: one that is held, or why it is none.
    pub fn licence(&self) -> Option<&Result<Held, Unlicensed>> {
        match self {
            Evidence::Licence { shown, .. } => Some(shown),
            _ => None,
        }
    }

    /// What was shown of a licence, beside what is known of who shows it. A spoof's licence is nobody's.
    pub fn with_licence(self, shown: Result<Held, Unlicensed>) -> Evidence {
        match self {
            Evidence::Contradicted { .. } => self,
            identity => Evidence::Licence { shown, identity: Box::new(identity) },
        }
    }

    /// What is known of who asks, whatever licence it shows.
    pub fn identity(&self) -> &Evidence {
        match self {
            Evidence::Licence { identity, .. } => identity,
            identity => identity,
        }
    }

    fn without_licence(self) -> Evidence {
        match self {
            Evidence::Licence { identity, .. } => *identity,
            identity => identity,
        }
    }
}
