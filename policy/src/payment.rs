//! Payments that come with a request: the ways that a policy takes, and what it offers for one work.
//!
//! A way is public and decides, so it stands in the policy; who settles it is a matter of operation. What is offered is what would
//! be taken: nothing where the price is not known before the origin is asked (a price per MB or per words, one that the origin may
//! set, several that depend on the content type), nothing in a unit that cannot express the price exactly, and nothing that a rule
//! would refuse for want of a signature.

use std::sync::Arc;

use serde_json::Value;

use crate::protocol::x402::Version;
use crate::protocol::x402::batch::Credit;
use crate::protocol::x402::identifier;
use crate::protocol::x402::message::{Object, Resource};
use crate::protocol::x402::offer::{Offers, Token, Way};
use crate::{
    Assurance, Charge, Class, Crawler, Money, PolicySnapshot, Refusal, RefusalKind, Unit, Verdict, Work,
};

/// A way to pay for a single fetch: a `[[payment]]` of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PaymentWay {
    /// `x402`: a token on an EVM chain, settled before delivery.
    X402(X402Way),
    /// `cloudflare:402`: a signed promise, billed to the operator's account.
    Credit(Credit),
    /// `mpp`: the `Payment` scheme, billed to the operator's account.
    Mpp(MppWay),
}

/// A token, and how clients may pay in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct X402Way {
    /// The token.
    pub token: Token,
    /// Whether version 1 is spoken.
    pub v1: bool,
    /// Whether version 2 is spoken.
    pub v2: bool,
    /// Whether each payment must carry an identifier (`payment-identifier`).
    pub requires_identifier: bool,
}

/// The `Payment` scheme on account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MppWay {
    /// The method's name: lower-case letters.
    pub method: String,
    /// Who is paid, as the challenge says it.
    pub recipient: String,
    /// Seconds that a challenge is good.
    pub max_timeout_secs: u64,
}

/// A price that is known before the origin is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixedPrice {
    /// The price of the fetch.
    pub price: Money,
    /// The rule that asks it.
    pub rule: Arc<str>,
    /// The rung that the rule asks for.
    pub require: Assurance,
}

/// What is offered for a fetch, and taken for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Offered {
    /// What is sold, and on what condition.
    pub fixed: FixedPrice,
    /// By x402, version 2.
    pub v2: Option<Offers>,
    /// By x402, version 1.
    pub v1: Option<Offers>,
    /// Whether payments by x402 must carry an identifier.
    pub requires_identifier: bool,
    /// By the `Payment` scheme.
    pub mpp: Vec<MppWay>,
}

impl Offered {
    /// The offers that a payment of this version is checked against.
    pub fn x402(&self, version: Version) -> Option<&Offers> {
        match version {
            Version::V1 => self.v1.as_ref(),
            Version::V2 => self.v2.as_ref(),
        }
    }
}

impl PolicySnapshot {
    /// The ways to pay for a single fetch.
    pub fn payment_ways(&self) -> &[PaymentWay] {
        &self.payments
    }

    /// The price of a fetch, if all rules that may come to decide and ask one ask the same, and it depends on nothing that the
    /// origin says.
    pub fn fixed_price(&self, crawler: &Crawler, work: &Work) -> Option<FixedPrice> {
        if work.always_free || crawler.row.class != Class::Ai {
            return None;
        }
        let mut fixed: Option<FixedPrice> = None;
        for (rule, media) in self.rules.candidates(crawler, work) {
            if let Some(charge) = rule.charge.as_ref().filter(|_| rule.is_enforced()) {
                let price = charge.fixed()?;
                let found = fixed.get_or_insert_with(|| FixedPrice {
                    price,
                    rule: Arc::clone(&rule.name),
                    require: rule.require,
                });
                if found.price != price {
                    return None;
                }
                found.require = found.require.max(rule.require);
            }
            if media.is_none() {
                break;
            }
        }
        fixed
    }

    /// What is offered to this crawler for this work. `settles` says whether payments in a token can be settled just now.
    pub fn offered(
        &self,
        crawler: &Crawler,
        work: &Work,
        settles: &dyn Fn(&Token, Version) -> bool,
    ) -> Option<Offered> {
        if self.payments.is_empty() {
            return None;
        }
        let fixed = self.fixed_price(crawler, work)?;
        // Who pays at once needs no account and no name that could be billed; a signature that a rule asks for, it needs.
        let lacks_rung = fixed.require > Assurance::Network && !crawler.may_owe_under(fixed.require);
        let (mut v1, mut v2, mut mpp) = (Vec::new(), Vec::new(), Vec::new());
        let mut requires_identifier = false;
        for way in &self.payments {
            match way {
                PaymentWay::X402(_) if lacks_rung => {}
                PaymentWay::X402(way) => {
                    requires_identifier |= way.requires_identifier;
                    if way.v1 && settles(&way.token, Version::V1) {
                        v1.push(Way::Exact(way.token.clone()));
                    }
                    if way.v2 && settles(&way.token, Version::V2) {
                        v2.push(Way::Exact(way.token.clone()));
                    }
                }
                PaymentWay::Credit(credit) => v2.push(Way::Credit(credit.clone())),
                PaymentWay::Mpp(way) => mpp.push(way.clone()),
            }
        }
        if requires_identifier {
            v1.clear(); // it has no place for one
        }
        let mut extensions = Object::new();
        if v2.iter().any(|way| matches!(way, Way::Exact(_))) {
            extensions.insert(identifier::NAME.to_owned(), identifier::extension(requires_identifier));
        }
        let resource = Resource { url: work.url.clone(), ..Resource::default() };
        let v2 = Offers::new(resource.clone(), fixed.price, &v2, extensions).ok();
        let v1 = Offers::new(resource, fixed.price, &v1, Object::new()).ok();
        if crate::protocol::mpp::challenge::Terms::charge(fixed.price, "").is_err() {
            mpp.clear();
        }
        let any = v2.is_some() || v1.is_some() || !mpp.is_empty();
        any.then_some(Offered { fixed, v2, v1, requires_identifier, mpp })
    }
}

impl FixedPrice {
    /// The refusal of a payment that came for this price.
    pub fn refusal(
        &self,
        policy: &PolicySnapshot,
        work: &Work,
        kind: RefusalKind,
        detail: String,
        retry_after_secs: Option<u64>,
    ) -> Refusal {
        Refusal {
            kind,
            rule: Arc::clone(&self.rule),
            price: Some(self.price),
            unit: Some(Unit::Fetch),
            unit_price: None,
            require: self.require,
            licence: work.licence.clone(),
            contact: policy.contact(&work.host).cloned(),
            retry_after_secs,
            crawler_error: None,
            unlicensed: None,
            accept_signature: None,
            detail,
        }
    }
}

impl PaymentWay {
    /// The word in `way`, with the network where there are several.
    pub fn name(&self) -> String {
        match self {
            PaymentWay::X402(way) => format!("x402 on {}", way.token.network()),
            PaymentWay::Credit(_) => "cloudflare:402".to_owned(),
            PaymentWay::Mpp(way) => format!("mpp {}", way.method),
        }
    }

    /// Whether a price can be paid in this way's unit, exactly.
    ///
    /// # Errors
    /// Why not.
    pub fn expresses(&self, price: Money) -> Result<(), String> {
        let decimals = match self {
            PaymentWay::X402(way) if way.token.currency != price.currency => {
                return Err(format!("it counts for {}", way.token.currency));
            }
            PaymentWay::X402(way) => way.token.decimals,
            PaymentWay::Credit(_) | PaymentWay::Mpp(_) => u32::from(price.currency.minor_decimals()),
        };
        let amount = crate::protocol::x402::atomic::to_atomic(price, decimals);
        amount.map(drop).map_err(|_| format!("its unit has {decimals} decimals"))
    }
}

impl Charge {
    /// The price of a fetch, where it depends on nothing that comes later.
    pub(crate) fn fixed(&self) -> Option<Money> {
        (self.unit == Unit::Fetch && !self.origin_price).then_some(self.price)
    }
}

/// The members of a version 1 offer, for the body of a 402.
pub fn body_members(offers: &Offers, error: &str) -> Option<Object> {
    match serde_json::to_value(offers.body(error)?) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// Warns about prices that a way of payment cannot express: it is then not offered.
pub(crate) fn warn_inexact(report: &crate::fields::Report, policy: &PolicySnapshot) {
    for rule in &policy.rules.rules {
        let Some(price) = rule.charge.as_ref().filter(|_| rule.verdict == Verdict::Charge) else { continue };
        let Some(price) = price.fixed() else { continue };
        for way in &policy.payments {
            if let Err(why) = way.expresses(price) {
                report.warning(
                    rule.place,
                    format!("{price} cannot be paid by {}: {why}", way.name()),
                    "nothing is rounded; this way is not offered for what the rule sells",
                );
            }
        }
    }
}
