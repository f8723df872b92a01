//! The `Payment` HTTP authentication scheme (MPP; draft-httpauth-payment-01, 2026-09-09): challenges on a 402, credentials in reply,
//! receipts on a 200. How money moves is a method's own business; here is what all methods have in common.
//!
//! A challenge is not remembered: its `id` is an HMAC of what it says ([`challenge`]), so that a credential which echoes it proves
//! that it was issued here, in these words. That each is used once is for the caller to see to, by its `id`, until it expires.
//!
//! | | |
//! |---|---|
//! | 402 | `WWW-Authenticate: Payment …` ([`challenge::Challenge`]) with `Cache-Control: no-store`, problem details ([`Problem`]) |
//! | request | `Authorization` or `Payment-Authorization: Payment …` ([`credential::Credential`]) |
//! | 200 | `Payment-Receipt` ([`receipt::Receipt`]) |
//! | request, at will | `Accept-Payment` ([`accept::AcceptPayment`]) |

pub mod accept;
pub mod challenge;
pub mod credential;
pub mod receipt;

/// The scheme's name.
pub const SCHEME: &str = "Payment";
/// Header of a 402 with a challenge.
pub const WWW_AUTHENTICATE: &str = "www-authenticate";
/// Header of a request with a credential, unless the challenge names the other one.
pub const AUTHORIZATION: &str = "authorization";
/// Header of a request with a credential, where `Authorization` is needed for something else.
pub const PAYMENT_AUTHORIZATION: &str = "payment-authorization";
/// Header of a paid answer.
pub const PAYMENT_RECEIPT: &str = "payment-receipt";
/// Header of a request that says how a client can pay.
pub const ACCEPT_PAYMENT: &str = "accept-payment";

/// Why a payment was not taken ("Error Codes"): the type of an answer's problem details (RFC 9457).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Problem {
    /// The resource requires payment.
    PaymentRequired,
    /// The amount is too low.
    PaymentInsufficient,
    /// The challenge or the authorization is over.
    PaymentExpired,
    /// The proof is not good.
    VerificationFailed,
    /// The method is not taken.
    MethodUnsupported,
    /// The credential cannot be read.
    MalformedCredential,
    /// The challenge is not one of ours, or was used.
    InvalidChallenge,
    /// The request is malformed.
    BadRequest,
    /// The credential's payload is not what its method asks for.
    InvalidPayload,
    /// Something failed.
    InternalPaymentError,
    /// The payer has something left to do.
    PaymentActionRequired,
}

impl Problem {
    /// All of them.
    pub const ALL: [Problem; 11] = [
        Problem::PaymentRequired,
        Problem::PaymentInsufficient,
        Problem::PaymentExpired,
        Problem::VerificationFailed,
        Problem::MethodUnsupported,
        Problem::MalformedCredential,
        Problem::InvalidChallenge,
        Problem::BadRequest,
        Problem::InvalidPayload,
        Problem::InternalPaymentError,
        Problem::PaymentActionRequired,
    ];

    /// The code.
    pub fn as_str(self) -> &'static str {
        match self {
            Problem::PaymentRequired => "payment-required",
            Problem::PaymentInsufficient => "payment-insufficient",
            Problem::PaymentExpired => "payment-expired",
            Problem::VerificationFailed => "verification-failed",
            Problem::MethodUnsupported => "method-unsupported",
            Problem::MalformedCredential => "malformed-credential",
            Problem::InvalidChallenge => "invalid-challenge",
            Problem::BadRequest => "bad-request",
            Problem::InvalidPayload => "invalid-payload",
            Problem::InternalPaymentError => "internal-payment-error",
            Problem::PaymentActionRequired => "payment-action-required",
        }
    }

    /// The `type` of the problem details.
    pub fn type_uri(self) -> String {
        ["https://paymentauth.org/problems/", self.as_str()].concat()
    }

    /// The HTTP status; each 402 carries a fresh challenge. (A policy that denies what was paid for is a 403 without one.)
    pub fn status(self) -> u16 {
        match self {
            Problem::MethodUnsupported | Problem::BadRequest => 400,
            Problem::InternalPaymentError => 500,
            _ => 402,
        }
    }
}
