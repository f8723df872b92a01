//! The first decision: may this fetch start? Taken on the request head alone, before the origin is contacted.

use crate::judge::{Case, Objection, Quote};
use crate::rule::Rule;
use crate::{Class, Crawler, Limit, Money, Offer, OfferError, PolicySnapshot, Refusal, Work};

/// What an operator has used up so far, asked by [`admit`] and [`crate::release`].
pub trait Standing {
    /// Seconds until the budget is renewed, if the operator has used it up; `None` while something is left.
    fn exhausted(&self, limit: &Limit, operator: &str) -> Option<u64>;
    /// Whether the operator's account can take this much more (credit limit less what is owed and held).
    fn affords(&self, operator: &str, amount: Money) -> bool;
}

/// The answer of [`admit`].
#[derive(Debug)]
pub enum Admission {
    /// Every possible response would be refused.
    Refuse(Refusal),
    /// The fetch may start.
    Proceed(Grant),
}

/// Leave to start a fetch.
#[derive(Debug)]
pub struct Grant {
    /// The most that this fetch may cost and will be owed: to be held on the operator's account until it closes.
    pub ceiling: Option<Money>,
    /// What is paid before delivery, if the response costs it: nothing to be held.
    pub prepaid: Option<Money>,
}

/// Decides whether a fetch may start, before the origin is contacted.
///
/// The content type is not known yet, so the fetch is refused only if each rule that may come to decide refuses it: all
/// that match up to the first that does not ask for a content type. The rest is left to [`crate::release`].
pub fn admit(
    policy: &PolicySnapshot,
    crawler: &Crawler,
    work: &Work,
    offer: &Result<Offer, OfferError>,
    standing: &dyn Standing,
) -> Admission {
    if work.always_free || crawler.row.class != Class::Ai {
        return Admission::Proceed(Grant { ceiling: None, prepaid: None });
    }
    let case = Case { policy, crawler, work, offer, standing };
    match weigh(&case, Rule::is_enforced) {
        Ok(owed) => match case.bad_token(owed, Rule::is_enforced) {
            Some((rule, objection)) => Admission::Refuse(case.refusal(rule, &objection)),
            None => {
                let is_prepaid = matches!(offer, Ok(Offer::Prepaid(_)));
                let (ceiling, prepaid) = if is_prepaid { (None, owed) } else { (owed, None) };
                Admission::Proceed(Grant { ceiling, prepaid })
            }
        },
        Err((rule, objection)) => {
            let objection = case.with_licence_in_mind(rule, objection, Rule::is_enforced);
            Admission::Refuse(case.refusal(rule, &objection))
        }
    }
}

/// Asks every rule that may come to decide. One that is not `enforced` refuses nothing and owes nothing.
///
/// Of several refusals the one that can be mended best is given: by paying (the highest price), by writing the offer
/// differently, by waiting.
pub(crate) fn weigh<'a>(
    case: &Case<'a>,
    enforced: impl Fn(&Rule) -> bool,
) -> Result<Option<Money>, (&'a Rule, Objection)> {
    let mut ceiling: Option<Money> = None;
    let mut passes = false;
    let mut refused: Option<(&Rule, Objection)> = None;
    for (rule, media) in case.policy.rules.candidates(case.crawler, case.work) {
        let answer = if enforced(rule) {
            case.judge(rule, rule.charge.as_ref().map(Quote::of_request), None)
        } else {
            Ok(None)
        };
        match answer {
            Ok(owed) => {
                passes = true;
                // All prices of a policy are in its one currency.
                ceiling = std::cmp::max_by_key(ceiling, owed, |money| money.map(|money| money.nano));
            }
            Err(objection) => {
                if refused.as_ref().is_none_or(|(_, other)| objection.mendable() > other.mendable()) {
                    refused = Some((rule, objection));
                }
            }
        }
        if media.is_none() {
            return match refused {
                Some(refused) if !passes => Err(refused),
                _ => Ok(ceiling),
            };
        }
    }
    // No rule without a content type matched: what is left is allowed.
    Ok(ceiling)
}

impl Objection {
    /// How well it can be mended, and at which price.
    fn mendable(&self) -> (u8, i64) {
        let price = self.quote.map_or(0, |quote| quote.most.nano);
        match self.status() {
            402 => (3, price),
            400 => (2, price),
            429 => (1, 0),
            _ => (0, 0),
        }
    }
}
