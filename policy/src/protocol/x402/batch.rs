//! `batch-settlement` on `cloudflare:402`: Pay Per Crawl in the words of x402 (`batch_settlement_cloudflare.md`, 1.0.0).
//!
//! The payment is a promise that an HTTP message signature (RFC 9421) makes good: who signs is billed later. So the promise is
//! worth what the signature covers: [`COVERAGE`]. That list has no path; whoever takes money asks for more where it can, and
//! keeps signatures from being used twice.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::atomic::U256;
use super::message::{Object, PaymentPayload};
use super::offer::Offered;
use super::payment::PaymentError;
use crate::Money;

/// `payTo`: the network pays the site.
pub const PAY_TO: &str = "merchant";
/// `extra.version`.
pub const NETWORK_VERSION: &str = "1.0.0";
/// The components that the request's signature must cover.
pub const COVERAGE: [&str; 3] = ["@authority", "signature-agent", "payment-signature"];
/// Seconds between a signature's `created` and now, in either direction.
pub const FRESH_SECS: u64 = 30;
/// The extension that tells how to sign.
pub const SIGNATURES_EXTENSION: &str = "http-message-signatures";

/// The extension of a `PAYMENT-RESPONSE` whose amount is a ceiling (own): less may be billed, and the statement says how much.
pub const CEILING_EXTENSION: &str = "ceiling";

/// What the site says of payments on credit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credit {
    /// Where a crawler's operator gets known to the site (`info.registrationUrl`).
    pub registration_url: String,
    /// Seconds that a price holds; `None` promises nothing.
    pub max_timeout_secs: Option<u64>,
}

impl Credit {
    /// What the offer's extensions say of signatures. The schema is left out, as Cloudflare does, for want of room.
    pub fn signatures_extension(&self) -> Value {
        json!({"info": {
            "registrationUrl": self.registration_url,
            "signatureSchemes": ["ed25519"],
            "tags": ["web-bot-auth"],
        }})
    }
}

/// What is known of the request's message signature; found out elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestSignature<'a> {
    /// There is none.
    Absent,
    /// There is one that does not verify.
    Invalid,
    /// It verifies.
    Valid {
        /// The names of the components that it covers.
        components: &'a [&'a str],
        /// Its `created`, Unix seconds.
        created_secs: u64,
        /// Whether somebody can be billed for what this agent signs.
        is_agent_known: bool,
    },
}

/// A promise that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchPayment {
    /// What will be billed: the price, never more of what was promised.
    pub price: Money,
    /// The same in the asset's smallest unit.
    pub amount: U256,
    /// ISO 4217.
    pub asset: String,
}

impl BatchPayment {
    /// The answer's `PAYMENT-RESPONSE`, where it is known what is billed: nothing for a repeat, never more than [`BatchPayment::price`].
    pub fn response(&self, billed: U256, now_secs: u64) -> Response {
        Response {
            amount: billed.to_string(),
            asset: self.asset.clone(),
            network: "cloudflare:402".to_owned(),
            timestamp: now_secs,
            extensions: None,
        }
    }

    /// The answer's `PAYMENT-RESPONSE`, where what is billed is known at the end of the body only: the most that it can be, called so.
    pub fn response_at_most(&self, now_secs: u64) -> Response {
        let amount = self.amount.to_string();
        let ceiling = (CEILING_EXTENSION.to_owned(), json!({"info": {"amount": amount}}));
        Response { extensions: Some(Object::from_iter([ceiling])), ..self.response(self.amount, now_secs) }
    }
}

/// What `PAYMENT-RESPONSE` carries on this network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// What was billed, in smallest units.
    pub amount: String,
    /// ISO 4217.
    pub asset: String,
    /// `cloudflare:402`.
    pub network: String,
    /// Unix seconds.
    pub timestamp: u64,
    /// Such as `terms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
}

/// What the client's `payload` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Promise {
    /// Smallest units that the client is ready to owe.
    pub amount: U256,
    /// ISO 4217.
    pub asset: String,
}

/// Checks a promise against the offer that it accepts ("Verification", steps 1 to 5).
pub(super) fn check(
    offered: &Offered,
    payment: &PaymentPayload,
    price: Money,
    signature: RequestSignature<'_>,
    now_secs: u64,
) -> Result<BatchPayment, PaymentError> {
    let refuse = |error| Err(PaymentError::Batch(error));
    let promise = serde_json::from_value::<Promise>(Value::Object(payment.payload.clone()));
    let Ok(promise) = promise else { return refuse(BatchError::InvalidPaymentSignature) };
    match signature {
        RequestSignature::Absent | RequestSignature::Invalid => return refuse(BatchError::InvalidSignature),
        RequestSignature::Valid { components, created_secs, is_agent_known } => {
            let covered = COVERAGE.iter().all(|name| components.contains(name));
            if !covered || created_secs.abs_diff(now_secs) > FRESH_SECS {
                return refuse(BatchError::InvalidSignature);
            }
            if !is_agent_known {
                return refuse(BatchError::SignatureAgentUnknown);
            }
        }
    }
    if promise.asset != offered.requirements.asset || promise.amount < offered.amount {
        return refuse(BatchError::PriceNotAcceptable);
    }
    Ok(BatchPayment { price, amount: offered.amount, asset: promise.asset })
}

/// The network's error codes ("Error codes"). Their statuses are not published; these are those of Pay Per Crawl's own codes
/// for the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// `blocked`.
    #[error("the site does not serve this crawler")]
    Blocked,
    /// `price_not_acceptable`.
    #[error("the promise is not worth the price")]
    PriceNotAcceptable,
    /// `payment_failed`.
    #[error("nobody can be billed")]
    PaymentFailed,
    /// `invalid_signature`.
    #[error("the request's signature is missing, stale or broken, or does not cover {}", COVERAGE.join(", "))]
    InvalidSignature,
    /// `signature_agent_unknown`.
    #[error("the agent that signs is not known here")]
    SignatureAgentUnknown,
    /// `invalid_payment_signature`.
    #[error("the payment cannot be read")]
    InvalidPaymentSignature,
    /// `origin_error`.
    #[error("the site failed")]
    OriginError,
    /// `unknown`.
    #[error("something failed")]
    Unknown,
}

impl BatchError {
    /// All of them.
    pub const ALL: [BatchError; 8] = [
        BatchError::Blocked,
        BatchError::PriceNotAcceptable,
        BatchError::PaymentFailed,
        BatchError::InvalidSignature,
        BatchError::SignatureAgentUnknown,
        BatchError::InvalidPaymentSignature,
        BatchError::OriginError,
        BatchError::Unknown,
    ];

    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchError::Blocked => "blocked",
            BatchError::PriceNotAcceptable => "price_not_acceptable",
            BatchError::PaymentFailed => "payment_failed",
            BatchError::InvalidSignature => "invalid_signature",
            BatchError::SignatureAgentUnknown => "signature_agent_unknown",
            BatchError::InvalidPaymentSignature => "invalid_payment_signature",
            BatchError::OriginError => "origin_error",
            BatchError::Unknown => "unknown",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            BatchError::PriceNotAcceptable => 402,
            BatchError::Blocked | BatchError::PaymentFailed => 403,
            BatchError::InvalidSignature
            | BatchError::SignatureAgentUnknown
            | BatchError::InvalidPaymentSignature => 400,
            BatchError::OriginError => 502,
            BatchError::Unknown => 500,
        }
    }
}
