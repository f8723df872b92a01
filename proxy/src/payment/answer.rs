//! What a 402 offers, and how a payment that is refused is told so.

use std::collections::BTreeMap;

use http::Method;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use policy::payment::{FixedPrice, MppWay, Offered, body_members};
use policy::protocol::mpp::Problem;
use policy::protocol::mpp::challenge::Terms;
use policy::protocol::x402::batch::BatchError;
use policy::protocol::x402::message::{Object, SettlementResponse};
use policy::protocol::x402::network::Network;
use policy::protocol::x402::offer::Offers;
use policy::protocol::x402::{PAYMENT_REQUIRED, PAYMENT_RESPONSE, Version, X_PAYMENT_RESPONSE, header};
use policy::{Money, Refusal, RefusalKind};
use serde_json::Value;

use super::present::{No, Refused};
use crate::close::OpenFetch;
use crate::shared::{new_id, now_micros};

/// The kind of payment that is asked for.
pub(super) const MPP_INTENT: &str = "charge";
/// Where a challenge says what it is for.
pub(super) const MPP_FOR: &str = "for";

/// What an answer says in protocols of payment, beside what it says anyway.
#[derive(Default)]
pub(crate) struct Offer {
    /// Header fields.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    /// Members of the body (x402 version 1).
    pub(crate) members: Object,
    /// The type of the problem details (the `Payment` scheme).
    pub(crate) problem: Option<Problem>,
}

impl Offer {
    /// What is said with a refusal: to a promise on `cloudflare:402` in its words; and what is offered, which is nothing unless it is
    /// a 402 about a price that can be paid at once.
    pub(crate) fn with(open: &OpenFetch, refusal: &Refusal, is_credit: bool) -> Offer {
        let mut offer = Offer::to_be_paid(open, refusal);
        if is_credit {
            let failure =
                SettlementResponse::failure(Network::cloudflare().as_str(), credit_error(refusal).as_str());
            offer.field(HeaderName::from_static(PAYMENT_RESPONSE), &header::write(&failure));
        }
        offer
    }

    fn to_be_paid(open: &OpenFetch, refusal: &Refusal) -> Offer {
        if refusal.status() != 402 || open.policy().payment_ways().is_empty() {
            return Offer::default();
        }
        let payments = &open.worker().shared.payments;
        let settles = |token: &_, version| payments.settles(token, version);
        match open.policy().offered(open.crawler(), open.work(), &settles) {
            Some(offered) if refusal.price == Some(offered.fixed.price) => {
                Offer::of(open, &offered, "payment required")
            }
            _ => Offer::default(),
        }
    }

    fn of(open: &OpenFetch, offered: &Offered, error: &str) -> Offer {
        let mut offer = Offer::default();
        let payments = &open.worker().shared.payments;
        let signed = |offers: &Offers| match payments.receipt.as_ref().filter(|_| payments.signs_offers) {
            Some(key) => offers.signed(key),
            None => offers.clone(),
        };
        if let Some(value) = offered.v2.as_ref().and_then(|offers| signed(offers).header(error)) {
            offer.field(HeaderName::from_static(PAYMENT_REQUIRED), &value);
        }
        if let Some(members) = offered.v1.as_ref().and_then(|offers| body_members(offers, error)) {
            offer.members = members;
        }
        let challenger = if offered.mpp.is_empty() { None } else { payments.challenger() };
        for way in &offered.mpp {
            let Some(challenger) = challenger else { break };
            let Some(request) = mpp_request(offered.fixed.price, way) else { continue };
            let now_secs = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
            let terms = Terms {
                realm: open.work().host.to_string(),
                method: way.method.clone(),
                intent: MPP_INTENT.to_owned(),
                request,
                expires_secs: now_secs + way.max_timeout_secs,
                digest: None,
                opaque: BTreeMap::from([
                    (MPP_FOR.to_owned(), mpp_for(open.method(), &open.work().url)),
                    // Each is good once: two that are issued in one second are two.
                    ("n".to_owned(), new_id()[19..].to_owned()),
                ]),
                in_payment_authorization: false,
                description: None,
            };
            if let Ok(challenge) = challenger.issue(&terms) {
                offer.field(WWW_AUTHENTICATE, &challenge.field);
                offer.problem = Some(Problem::PaymentRequired);
            }
        }
        offer
    }

    fn field(&mut self, name: HeaderName, value: &str) {
        self.fields.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    }
}

/// The refusal of a payment, in its own protocol's words, with a fresh offer where another payment would mend it.
pub(super) fn refused(open: &OpenFetch, fixed: &FixedPrice, no: No) -> Refused {
    let No { kind, reason, detail, retry_after_secs, version, network, problem } = no;
    let refusal = fixed.refusal(open.policy(), open.work(), kind, detail, retry_after_secs);
    let payments = &open.worker().shared.payments;
    let settles = |token: &_, version| payments.settles(token, version);
    // One whose outcome is unknown is to be sent again, and no other.
    let offered = (kind == RefusalKind::PaymentRefused)
        .then(|| open.policy().offered(open.crawler(), open.work(), &settles))
        .flatten();
    let mut offer = offered.map(|offered| Offer::of(open, &offered, &reason)).unwrap_or_default();
    offer.problem = problem.or(offer.problem);
    if let Some(version) = version.filter(|_| kind != RefusalKind::PaymentPending) {
        let name = match version {
            Version::V1 => X_PAYMENT_RESPONSE,
            Version::V2 => PAYMENT_RESPONSE,
        };
        // The payment's, if that is one of ours, or else that was offered first: the one that is named may be nobody's.
        let taken = open.policy().offered(open.crawler(), open.work(), &|_, _| true);
        let known = taken.as_ref().map(|taken| networks(taken, version)).unwrap_or_default();
        let network = network.filter(|network| known.contains(network)).or(known.into_iter().next());
        let failure = SettlementResponse::failure(&network.unwrap_or_default(), &reason);
        offer.field(HeaderName::from_static(name), &header::write(&failure));
    }
    Refused { refusal, offer }
}

/// A network by the name that a version has for it.
pub(super) fn network_by_its_name(network: &Network, version: u64) -> String {
    let name = network.v1_name().filter(|_| version == Version::V1.number());
    name.unwrap_or(network.as_str()).to_owned()
}

/// The networks of what is offered, as a version calls them.
fn networks(offered: &Offered, version: Version) -> Vec<String> {
    let ways = offered.x402(version).map(|offers| &offers.ways[..]).unwrap_or_default();
    let networks = ways.iter().filter_map(|way| Network::parse(&way.requirements.network));
    networks.map(|network| network_by_its_name(&network, version.number())).collect()
}

/// What a refusal is called on `cloudflare:402`.
fn credit_error(refusal: &Refusal) -> BatchError {
    match refusal.kind {
        RefusalKind::Denied | RefusalKind::Unlicensed => BatchError::Blocked,
        RefusalKind::PaymentRequired | RefusalKind::OfferTooLow => BatchError::PriceNotAcceptable,
        RefusalKind::NoCredit => BatchError::PaymentFailed,
        RefusalKind::IdentityRequired => BatchError::SignatureAgentUnknown,
        RefusalKind::BadSignature => BatchError::InvalidSignature,
        RefusalKind::BadOffer
        | RefusalKind::BadPayment
        | RefusalKind::PaymentRefused
        | RefusalKind::PaymentConflict => BatchError::InvalidPaymentSignature,
        RefusalKind::BadOriginPrice => BatchError::OriginError,
        RefusalKind::LimitReached | RefusalKind::PaymentPending => BatchError::Unknown,
    }
}

/// The `request` of a challenge for a price.
pub(super) fn mpp_request(price: Money, way: &MppWay) -> Option<Value> {
    Terms::charge(price, &way.recipient).ok()
}

/// What a challenge is for: a credential buys nothing else with it.
pub(super) fn mpp_for(method: &Method, url: &str) -> String {
    policy::hex(&policy::sha256(format!("{method} {url}").as_bytes())[..16])
}
