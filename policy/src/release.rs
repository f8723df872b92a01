//! The second decision: may this response be delivered, and on what terms? Taken when its head is known.

use std::sync::Arc;

use crate::{Crawler, Grant, Offer, OfferError, PolicySnapshot, Refusal, Standing, Terms, Verdict, Work};

/// What [`release`] looks at in a response head.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// `Content-Type` as it stands, if it is text.
    pub content_type: Option<&'a str>,
    /// `Content-Length`, if the origin declares one.
    pub content_length: Option<u64>,
}

/// The answer of [`release`].
#[derive(Debug)]
pub enum Release {
    /// Drop the body, answer with the refusal.
    Refuse(Refusal),
    /// Deliver on these terms.
    Deliver(Terms),
}

/// Decides whether a response may be delivered, and on what terms.
pub fn release(
    _policy: &PolicySnapshot,
    _grant: &Grant,
    _crawler: &Crawler,
    _work: &Work,
    _offer: &Result<Offer, OfferError>,
    _standing: &dyn Standing,
    _head: &ResponseHead<'_>,
) -> Release {
    Release::Deliver(Terms {
        rule: Arc::from("default"),
        verdict: Verdict::Allow,
        charge: None,
        owed: false,
        would_refuse: None,
        limit: None,
    })
}
