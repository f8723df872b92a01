//! The payment that a request carries: read, checked against what is offered for this very work, and taken for this fetch alone.

use billing::payments::{Before, Claim, Identifier, TakeError, Taken, purpose};
use billing::spent::{SpendError, SpendKey, Spending};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use policy::payment::{Offered, PaymentWay};
use policy::protocol::bot_auth::Verified;
use policy::protocol::message_signature::Component;
use policy::protocol::mpp::credential::Credential;
use policy::protocol::mpp::{self, Problem};
use policy::protocol::x402::batch::{BatchError, BatchPayment, RequestSignature};
use policy::protocol::x402::facilitator::ErrorReason;
use policy::protocol::x402::offer::{Token, Way};
use policy::protocol::x402::payment::{Asked, ExactPayment, PaymentError, Presented, ReservationKey};
use policy::protocol::x402::{PAYMENT_SIGNATURE, Version, X_PAYMENT};
use policy::{Money, OfferError, PolicySnapshot, Refusal, RefusalKind};

use super::answer;
use crate::close::OpenFetch;
use crate::error::FetchError;
use crate::shared::now_micros;

const SIGNATURE: HeaderName = HeaderName::from_static(PAYMENT_SIGNATURE);
const PAYMENT_V1: HeaderName = HeaderName::from_static(X_PAYMENT);
const PAYMENT_AUTHORIZATION: HeaderName = HeaderName::from_static(mpp::PAYMENT_AUTHORIZATION);

/// Seconds after which a payment that is under way in another request is worth asking for again.
const BUSY_SECS: u64 = 1;
/// The same where a facilitator has to be asked again.
pub(super) const UNKNOWN_SECS: u64 = 5;

/// What a request pays with.
pub(crate) enum Payment {
    /// Nothing that is settled or promised here.
    None,
    /// A token, settled before delivery.
    Exact(Box<Exact>),
    /// A promise, billed to the operator's account.
    OnAccount(Box<OnAccount>),
}

/// An authorization that pays for this fetch.
pub(crate) struct Exact {
    pub(super) payment: ExactPayment,
    pub(super) offered: Offered,
    pub(super) claim: Claim,
    pub(super) taken: Taken,
}

/// A promise that is good as far as it goes: whether anybody can be billed is judged as with every price.
pub(crate) struct OnAccount {
    pub(super) price: Money,
    pub(super) kind: Promise,
    pub(super) spending: Option<Spending>,
}

/// How a promise was made.
pub(super) enum Promise {
    /// x402 on `cloudflare:402`.
    Credit(BatchPayment),
    /// The `Payment` scheme.
    Mpp { method: String },
}

/// A payment that is refused: the refusal, and what its answer says in the payment's own protocol.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) offer: answer::Offer,
}

/// Why a payment is not taken, before it is known how to say so.
pub(super) struct No {
    pub(super) kind: RefusalKind,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) retry_after_secs: Option<u64>,
    /// The version of a payment by x402, whose result is told in a header.
    pub(super) version: Option<Version>,
    /// The network that such a payment names, as its version calls it.
    pub(super) network: Option<String>,
    /// What the `Payment` scheme calls it.
    pub(super) problem: Option<Problem>,
}

impl No {
    pub(super) fn new(kind: RefusalKind, reason: impl Into<String>, detail: impl Into<String>) -> No {
        No {
            kind,
            reason: reason.into(),
            detail: detail.into(),
            retry_after_secs: None,
            version: None,
            network: None,
            problem: None,
        }
    }

    pub(super) fn pending(seconds: u64, detail: &str) -> No {
        let no = No::new(RefusalKind::PaymentPending, "pending", detail);
        No { retry_after_secs: Some(seconds), ..no }
    }

    fn of(error: &PaymentError) -> No {
        let kind = match error.status() {
            400 => RefusalKind::BadPayment,
            409 => RefusalKind::PaymentConflict,
            _ => RefusalKind::PaymentRefused,
        };
        No::new(kind, error.reason(), format!("The payment is not taken: {error}."))
    }

    fn by(self, version: Version) -> No {
        No { version: Some(version), ..self }
    }

    fn on(self, network: &str) -> No {
        No { network: Some(network.to_owned()), ..self }
    }
}

impl Payment {
    /// The payment that a request carries, taken for it. What is taken here is not passed on to the origin.
    ///
    /// Whoever is not asked for money pays nothing: then a payment stays where it is, unread.
    pub(crate) fn present(
        open: &OpenFetch,
        headers: &mut HeaderMap,
        verified: Option<&Verified>,
    ) -> Result<Payment, PresentError> {
        if open.policy().payment_ways().is_empty() || !is_there(headers) {
            return Ok(Payment::None);
        }
        // Against all that the policy takes: that a facilitator is away makes no payment a wrong one.
        let Some(offered) = open.policy().offered(open.crawler(), open.work(), &|_, _| true) else {
            return Ok(Payment::None);
        };
        // What was paid before stands in the ledger; without it nobody knows whether this was.
        open.worker().shared.ledger.is_ready()?;
        let presented = Presented::from_headers(headers.get_all(SIGNATURE), headers.get_all(PAYMENT_V1));
        let payment = match presented {
            Err(error) => {
                let version = if headers.contains_key(SIGNATURE) { Version::V2 } else { Version::V1 };
                Err(No::of(&error).by(version))
            }
            Ok(Some(presented)) => {
                let payment = x402(open, &offered, &presented, verified);
                payment.map_err(|no| no.by(presented.version()).on(presented.network()))
            }
            Ok(None) => mpp_credential(open, &offered, headers, verified),
        };
        let payment = payment.map_err(|no| answer::refused(open, &offered.fixed, no))?;
        match &payment {
            Payment::None => {}
            Payment::Exact(_) | Payment::OnAccount(_) => strip(headers),
        }
        Ok(payment)
    }

    /// Whether it is a promise on `cloudflare:402`, or would be one if the work was sold at all: then a refusal is told in its words.
    pub(crate) fn is_credit(&self, policy: &PolicySnapshot, headers: &HeaderMap) -> bool {
        match self {
            Payment::OnAccount(promise) => matches!(promise.kind, Promise::Credit(_)),
            Payment::Exact(_) => false,
            Payment::None => {
                policy.payment_ways().iter().any(|way| matches!(way, PaymentWay::Credit(_)))
                    && headers
                        .get(SIGNATURE)
                        .and_then(|value| Presented::parse(Version::V2, value.as_bytes()).ok())
                        .is_some_and(|presented| presented.is_credit())
            }
        }
    }

    /// The offer that a fetch is judged by.
    pub(crate) fn offer(
        &self,
        offer: Result<policy::Offer, OfferError>,
    ) -> Result<policy::Offer, OfferError> {
        match self {
            Payment::None => offer,
            // Two prices for one fetch: one of them would be paid by mistake.
            _ if !matches!(offer, Ok(policy::Offer::None)) => Err(OfferError::Conflicting),
            Payment::Exact(exact) => Ok(policy::Offer::Prepaid(exact.payment.price)),
            Payment::OnAccount(promise) => Ok(policy::Offer::Exact(promise.price)),
        }
    }
}

/// Why a fetch with a payment ends here.
pub(crate) enum PresentError {
    /// The payment is refused.
    Refused(Box<Refused>),
    /// Nothing can be taken just now.
    Failed(FetchError),
}

impl From<Refused> for PresentError {
    fn from(refused: Refused) -> PresentError {
        PresentError::Refused(Box::new(refused))
    }
}

impl From<FetchError> for PresentError {
    fn from(error: FetchError) -> PresentError {
        PresentError::Failed(error)
    }
}

fn is_there(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
        || headers.contains_key(PAYMENT_V1)
        || headers.contains_key(PAYMENT_AUTHORIZATION)
        || headers.get_all(AUTHORIZATION).iter().any(is_payment)
}

fn is_payment(value: &HeaderValue) -> bool {
    let scheme = value.as_bytes().trim_ascii_start().split_at_checked(mpp::SCHEME.len());
    scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(mpp::SCHEME.as_bytes()))
}

/// A payment is for us: an origin that could read it could present it elsewhere.
fn strip(headers: &mut HeaderMap) {
    headers.remove(SIGNATURE);
    headers.remove(PAYMENT_V1);
    headers.remove(PAYMENT_AUTHORIZATION);
    let others: Vec<HeaderValue> =
        headers.get_all(AUTHORIZATION).iter().filter(|value| !is_payment(value)).cloned().collect();
    headers.remove(AUTHORIZATION);
    for other in others {
        headers.append(AUTHORIZATION, other);
    }
}

fn x402(
    open: &OpenFetch,
    offered: &Offered,
    presented: &Presented,
    verified: Option<&Verified>,
) -> Result<Payment, No> {
    let shared = &open.worker().shared;
    let payments = shared.derived.payments();
    let tokens = tokens(open.policy());
    let keys: Vec<[u8; 32]> = presented.keys(&tokens).iter().map(key_digest).collect();
    let now = now_micros() / 1_000_000;
    let covered = verified.map(covered).unwrap_or_default();
    let signature = match verified {
        None => RequestSignature::Absent,
        Some(verified) => RequestSignature::Valid {
            components: &covered,
            created_secs: u64::try_from(verified.created).unwrap_or(0),
            is_agent_known: open.policy().account(open.crawler().operator()).is_some(),
        },
    };
    let asked = Asked {
        method: open.method().as_str(),
        url: &open.work().url,
        now_secs: u64::try_from(now).unwrap_or(0),
        takes_contracts: true,
        requires_identifier: offered.requires_identifier,
        is_retry: keys.iter().any(|key| payments.is_known(key)),
        signature,
    };
    let misfit = |no: No| match keys.iter().any(|key| payments.is_known(key)) {
        true => no_longer_fits(open, offered, presented, &asked, &keys, no),
        false => Err(no),
    };
    let version = presented.version();
    let Some(offers) = offered.x402(version) else {
        let reason = ErrorReason::InvalidX402Version.as_str();
        let detail = format!("This work is not sold by x402 version {}.", version.number());
        return misfit(No::new(RefusalKind::PaymentRefused, reason, detail));
    };
    let payment = match presented.check(offers, &asked) {
        Ok(policy::protocol::x402::payment::Payment::Exact(payment)) => *payment,
        Ok(policy::protocol::x402::payment::Payment::Credit(payment)) => {
            let spending = spend_signature(open, verified, now)?;
            let promise = OnAccount { price: payment.price, kind: Promise::Credit(payment), spending };
            return Ok(Payment::OnAccount(Box::new(promise)));
        }
        Err(error) => return misfit(No::of(&error)),
    };
    let claim = claim(open, presented, &payment);
    // What is not known yet needs a facilitator that can settle it.
    let settles = offers.ways.iter().any(|offered| match &offered.way {
        Way::Exact(token) => {
            token.network() == payment.reservation.key.network && shared.payments.settles(token, version)
        }
        Way::Credit(_) => false,
    });
    let taken = payments.take(claim.clone(), now).map_err(no_of_take)?;
    if !settles && !matches!(taken.before, Before::Settled { .. }) {
        return Err(No::pending(UNKNOWN_SECS, "Payments cannot be settled just now. Nothing was charged."));
    }
    Ok(Payment::Exact(Box::new(Exact { payment, offered: offered.clone(), claim, taken })))
}

/// A payment that is known and is not, or no longer, what is offered: the terms may have changed since it was taken.
///
/// Whoever has paid by the terms of then gets the work for it, if it has not come whole yet; and where nobody knows whether he has, no new offer.
fn no_longer_fits(
    open: &OpenFetch,
    offered: &Offered,
    presented: &Presented,
    asked: &Asked<'_>,
    keys: &[[u8; 32]],
    no: No,
) -> Result<Payment, No> {
    let payments = open.worker().shared.derived.payments();
    let now = i64::try_from(asked.now_secs).unwrap_or(i64::MAX);
    for payment in presented.as_made(&tokens(open.policy()), offered.fixed.price, asked) {
        let claim = claim(open, presented, &payment);
        if !payments.is_known(&claim.key.digest) {
            continue;
        }
        match payments.take(claim.clone(), now) {
            Ok(taken) => match taken.before {
                // Its money is in the books by the terms of then: this delivery adds none, whatever the work costs now.
                Before::Settled { recorded: true, .. } => {
                    let exact = Exact { payment, offered: offered.clone(), claim, taken };
                    return Ok(Payment::Exact(Box::new(exact)));
                }
                Before::Settled { recorded: false, .. } => {
                    let detail =
                        "This payment is settled, and its terms have changed. Send it again, and no other.";
                    return Err(No::pending(UNKNOWN_SECS, detail));
                }
                Before::Unknown | Before::Nothing => {}
            },
            Err(TakeError::Busy) => return Err(no_of_take(TakeError::Busy)),
            // It bought what it buys, or it is another one.
            Err(_) => {}
        }
    }
    if keys.iter().any(|key| payments.is_unknown(key)) {
        let detail = "Whether this payment was settled is not known yet. Send it again, and no other.";
        return Err(No::pending(UNKNOWN_SECS, detail));
    }
    Err(no)
}

/// All tokens that the policy takes, for whatever price.
fn tokens(policy: &PolicySnapshot) -> Vec<&Token> {
    let ways = policy.payment_ways().iter();
    let tokens = ways.filter_map(|way| match way {
        PaymentWay::X402(way) => Some(&way.token),
        PaymentWay::Credit(_) | PaymentWay::Mpp(_) => None,
    });
    tokens.collect()
}

/// What a signature covers as a whole. A member of `Signature-Agent` counts for the field: the newer drafts cover the one that is meant.
fn covered(verified: &Verified) -> Vec<&str> {
    let whole = |component: &&Component| component.is_whole() || component.name() == "signature-agent";
    verified.components().iter().filter(whole).map(Component::name).collect()
}

/// A promise is as good as the signature that makes it, which is good once.
fn spend_signature(open: &OpenFetch, verified: Option<&Verified>, now: i64) -> Result<Option<Spending>, No> {
    let Some(verified) = verified.filter(|_| !open.is_spending()) else { return Ok(None) };
    let key = SpendKey { digest: verified.replay.digest, until: verified.replay.until };
    match open.worker().shared.derived.spend(key, now) {
        Ok(spending) => Ok(Some(spending)),
        Err(SpendError::Spent | SpendError::InUse) => {
            Err(No::of(&PaymentError::Batch(BatchError::InvalidSignature)))
        }
        Err(SpendError::Full) => {
            Err(No::pending(UNKNOWN_SECS, "No more signatures can be remembered just now."))
        }
    }
}

fn claim(open: &OpenFetch, presented: &Presented, payment: &ExactPayment) -> Claim {
    let reservation = &payment.reservation;
    let until = i64::try_from(reservation.until_secs).unwrap_or(i64::MAX);
    let identifier = payment.identifier.as_ref().map(|identifier| Identifier {
        name: format!("{} {}", open.work().host, identifier.as_str()),
        payload: presented.sha256(),
    });
    Claim {
        key: SpendKey { until, digest: key_digest(&reservation.key) },
        signed: reservation.authorization,
        purpose: purpose(&reservation.purpose.method, &reservation.purpose.url),
        identifier,
    }
}

/// What the ledger remembers an authorization by.
fn key_digest(key: &ReservationKey) -> [u8; 32] {
    let name = format!("x402 {} {} {} {}", key.network, key.asset, key.from, String::from(key.nonce));
    policy::sha256(name.as_bytes())
}

fn no_of_take(error: TakeError) -> No {
    let detail = format!("The payment is not taken: {error}.");
    let refuse = |reason: ErrorReason| No::new(RefusalKind::PaymentRefused, reason.as_str(), detail.clone());
    match error {
        TakeError::Busy => No::pending(BUSY_SECS, &detail),
        TakeError::Full => No::pending(UNKNOWN_SECS, &detail),
        TakeError::OtherPurpose => refuse(ErrorReason::InvalidPaymentRequirements),
        TakeError::OtherAuthorization | TakeError::Used => refuse(ErrorReason::InvalidTransactionState),
        TakeError::IdentifierConflict => {
            No::new(RefusalKind::PaymentConflict, ErrorReason::InvalidPayload.as_str(), detail)
        }
    }
}

/// A credential of the `Payment` scheme: a challenge of ours that comes back promises its price.
fn mpp_credential(
    open: &OpenFetch,
    offered: &Offered,
    headers: &HeaderMap,
    signature: Option<&Verified>,
) -> Result<Payment, No> {
    let no = |problem: Problem, detail: &str| {
        let kind = match problem.status() {
            400 => RefusalKind::BadPayment,
            _ => RefusalKind::PaymentRefused,
        };
        No { problem: Some(problem), ..No::new(kind, problem.as_str(), detail) }
    };
    let credential =
        Credential::from_headers(headers.get_all(AUTHORIZATION), headers.get_all(PAYMENT_AUTHORIZATION));
    let Some(credential) = credential.map_err(|error| no(error.problem(), &error.to_string()))? else {
        return Ok(Payment::None);
    };
    // Where only the signature says whom to bill, it must say for what: with another credential it would buy again.
    let is_signed_for = |signature: &Verified| {
        let fields = [AUTHORIZATION, PAYMENT_AUTHORIZATION];
        fields.iter().filter(|name| headers.contains_key(*name)).all(|name| signature.covers(name.as_str()))
    };
    if open.is_spending() && !signature.is_some_and(is_signed_for) {
        return Err(no(Problem::VerificationFailed, "The signature does not cover the credential."));
    }
    if offered.mpp.is_empty() {
        return Err(no(Problem::MethodUnsupported, "This work is not sold by the Payment scheme."));
    }
    let shared = &open.worker().shared;
    let Some(challenger) = shared.payments.challenger() else {
        return Err(No::pending(UNKNOWN_SECS, "Challenges cannot be checked just now."));
    };
    let now = now_micros() / 1_000_000;
    let verified = challenger
        .verify(&credential, &open.work().host, None, u64::try_from(now).unwrap_or(0))
        .map_err(|refused| no(refused.problem(), &refused.to_string()))?;
    let way = offered.mpp.iter().find(|way| way.method == verified.method);
    let is_today = way.and_then(|way| answer::mpp_request(offered.fixed.price, way))
        == Some(verified.request)
        && verified.opaque.get(answer::MPP_FOR) == Some(&answer::mpp_for(open.method(), &open.work().url))
        && verified.intent == answer::MPP_INTENT;
    if !is_today {
        return Err(no(
            Problem::InvalidChallenge,
            "This challenge was issued for something else, or for another price.",
        ));
    }
    let until = i64::try_from(verified.expires_secs).unwrap_or(i64::MAX);
    let key = SpendKey { until, digest: policy::sha256(format!("mpp {}", verified.id).as_bytes()) };
    let spending = shared.derived.spend(key, now).map_err(|error| match error {
        SpendError::Spent => no(Problem::InvalidChallenge, "This challenge was used before."),
        SpendError::InUse => No::pending(BUSY_SECS, "Another request with this credential is under way."),
        SpendError::Full => No::pending(UNKNOWN_SECS, "No more challenges can be remembered just now."),
    })?;
    let kind = Promise::Mpp { method: verified.method };
    Ok(Payment::OnAccount(Box::new(OnAccount { price: offered.fixed.price, kind, spending: Some(spending) })))
}
