//! The second decision: may this response be delivered, and on what terms? Taken when its head is known.

use std::sync::Arc;

use crate::admit::weigh;
use crate::judge::{Case, Quote};
use crate::pattern::MediaPattern;
use crate::protocol::crawl_price::OriginPrice;
use crate::rule::Rule;
use crate::terms::{always_free_rule, default_rule};
use crate::{
    Charge, Class, Crawler, Grant, Money, Offer, OfferError, PolicySnapshot, Refusal, Standing, Terms,
    Verdict, Work,
};

/// What [`release`] looks at in a response head.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// `Content-Type` as it stands, if it is text.
    pub content_type: Option<&'a str>,
    /// `Content-Length`, if the origin declares one.
    pub content_length: Option<u64>,
    /// The origin's own price; rules that do not ask for it do not see it.
    pub origin_price: OriginPrice,
}

impl ResponseHead<'_> {
    /// Whether the body is a stream of events (HTML §9.2), which ends when somebody hangs up.
    pub fn is_event_stream(&self) -> bool {
        let media = self.content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        media.trim().eq_ignore_ascii_case("text/event-stream")
    }
}

/// The answer of [`release`].
#[derive(Debug)]
pub enum Release {
    /// Drop the body, answer with the refusal.
    Refuse(Refusal),
    /// Deliver on these terms.
    Deliver(Terms),
}

/// Decides whether a response may be delivered, and on what terms, before a byte of its body is.
///
/// Only 200 and 206 are charged for. A rule that denies keeps any 2xx back; redirects, 304 and errors are delivered.
pub fn release(
    policy: &PolicySnapshot,
    grant: &Grant,
    crawler: &Crawler,
    work: &Work,
    offer: &Result<Offer, OfferError>,
    standing: &dyn Standing,
    head: &ResponseHead<'_>,
) -> Release {
    if work.always_free {
        return Release::Deliver(free(always_free_rule()));
    }
    if crawler.row.class != Class::Ai {
        return Release::Deliver(free(default_rule()));
    }
    let mut candidates = policy.rules.candidates(crawler, work);
    let decides = |media: Option<&MediaPattern>| match (media, head.content_type) {
        (None, _) => true,
        (Some(media), Some(content_type)) => media.matches(content_type),
        (Some(_), None) => false,
    };
    let Some((rule, _)) = candidates.find(|(_, media)| decides(*media)) else {
        return Release::Deliver(free(default_rule()));
    };
    let case = Case { policy, crawler, work, offer, standing };
    let mut terms = Terms {
        rule: rule.name.clone(),
        verdict: rule.verdict,
        charge: None,
        owed: false,
        would_refuse: None,
        limit: rule.limit.clone(),
    };
    if !(200..300).contains(&head.status) {
        // There is no work in this response. What enforcing would have said to the request is still worth showing.
        if !rule.is_enforced() {
            terms.would_refuse = refused_before(&case);
        }
        return Release::Deliver(terms);
    }
    // What a request would have been refused for, it would have been refused for first: where price or quantity come with the
    // response, a response that turns out to be cheap would never have come.
    let refused_first = match &rule.charge {
        Some(charge) if !rule.is_enforced() && Quote::of_request(charge).is_range() => refused_before(&case),
        _ => None,
    };
    // A stream of events has no end and no version: there is nothing in it to sell.
    let billed = matches!(head.status, 200 | 206) && !head.is_event_stream();
    let charge = match rule.charge.as_ref().filter(|_| billed).map(|charge| charge.at(head.origin_price)) {
        None => None,
        Some(Ok(charge)) => charge,
        Some(Err(charge)) => {
            let objection = Case::bad_origin_price(rule);
            if rule.is_enforced() {
                return Release::Refuse(case.refusal(rule, &objection));
            }
            terms.charge = Some(charge);
            terms.would_refuse = refused_first.or(Some(objection.status()));
            return Release::Deliver(terms);
        }
    };
    let quote = charge.as_ref().map(|charge| Quote::of_response(charge, head.content_length));
    // A rule that only observes had nothing put aside for it.
    let held =
        rule.is_enforced().then(|| grant.ceiling.or(grant.prepaid).unwrap_or(Money::zero(policy.currency)));
    match case.judge(rule, quote, held) {
        Ok(agreed) => {
            terms.charge = charge;
            terms.owed = rule.is_enforced() && agreed.is_some();
            terms.would_refuse = refused_first;
            if !rule.is_enforced() && matches!(crawler.evidence.licence(), Some(Err(_))) {
                terms.would_refuse = refused_before(&case);
            }
        }
        Err(objection) if rule.is_enforced() => {
            let objection = case.with_licence_in_mind(rule, objection, Rule::is_enforced);
            return Release::Refuse(case.refusal(rule, &objection));
        }
        Err(objection) => {
            terms.charge = charge;
            let objection = case.with_licence_in_mind(rule, objection, |_| true);
            terms.would_refuse = refused_first.or(Some(objection.status()));
        }
    }
    Release::Deliver(terms)
}

/// The status that enforcing would have answered the request with, before the origin was asked.
fn refused_before(case: &Case<'_>) -> Option<u16> {
    let refused = match weigh(case, |_| true) {
        Err((rule, objection)) => Some(case.with_licence_in_mind(rule, objection, |_| true)),
        Ok(agreed) => case.bad_token(agreed, |_| true).map(|(_, objection)| objection),
    };
    refused.map(|objection| objection.status())
}

impl Charge {
    /// The charge of a response: the origin's price is settled. `None` where the origin says that it costs nothing.
    ///
    /// # Errors
    /// The origin's price cannot be taken: unreadable, in another currency, or above `max`. With the charge that would hold
    /// without it.
    fn at(&self, origin_price: OriginPrice) -> Result<Option<Charge>, Charge> {
        if !self.origin_price {
            return Ok(Some(self.clone()));
        }
        let settled = |price| Charge { price, max: None, origin_price: false, ..self.clone() };
        match origin_price {
            OriginPrice::Absent => Ok(Some(settled(self.price))),
            OriginPrice::Price(price) if price.currency == self.price.currency => {
                let most = self.ceiling();
                match price.nano {
                    0 => Ok(None),
                    nano if nano <= most.nano => Ok(Some(settled(price))),
                    _ => Err(settled(self.price)),
                }
            }
            OriginPrice::Price(_) | OriginPrice::Unreadable => Err(settled(self.price)),
        }
    }
}

fn free(rule: &Arc<str>) -> Terms {
    Terms {
        rule: rule.clone(),
        verdict: Verdict::Allow,
        charge: None,
        owed: false,
        would_refuse: None,
        limit: None,
    }
}
