//! The first decision: may this fetch start? Taken on the request head alone, before the origin is contacted.

use crate::{Crawler, Limit, Money, Offer, OfferError, PolicySnapshot, Refusal, Work};

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
}

/// Decides whether a fetch may start.
pub fn admit(
    _policy: &PolicySnapshot,
    _crawler: &Crawler,
    _work: &Work,
    _offer: &Result<Offer, OfferError>,
    _standing: &dyn Standing,
) -> Admission {
    Admission::Proceed(Grant { ceiling: None })
}
