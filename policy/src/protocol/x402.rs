//! x402, the payment protocol on HTTP 402: versions 2 (`specs/x402-specification-v2.md`, 2025-12-09) and 1.
//!
//! The server's side, without a chain and without I/O: what is offered ([`offer`]), what is read from a payment and checked
//! against the offers that were made ([`payment`]), what is asked of a facilitator ([`facilitator`]), and the answer. Paid is
//! with `exact` on EVM networks (EIP-3009, [`eip712`]) or with credit on `cloudflare:402` ([`batch`]); of extensions there are
//! `offer-receipt` ([`receipt`]), `payment-identifier` ([`identifier`]) and `http-message-signatures` (in an offer of [`batch`]).
//!
//! Not here: balances, whether a nonce was used on its chain, settlement (all a facilitator's), Solana, Permit2, `upto`, and
//! who has reserved what ([`payment::Reservation`] is a value; keeping it is the caller's).
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | offer | body of the 402 | [`PAYMENT_REQUIRED`] |
//! | payment | [`X_PAYMENT`] | [`PAYMENT_SIGNATURE`] |
//! | result | [`X_PAYMENT_RESPONSE`] | [`PAYMENT_RESPONSE`] |

pub mod atomic;
pub mod batch;
pub mod eip712;
pub mod facilitator;
pub mod header;
pub mod identifier;
pub mod message;
pub mod network;
pub mod offer;
pub mod payment;
pub mod receipt;

/// Header of a 402 that carries the offer (v2, `transports-v2/http.md`).
pub const PAYMENT_REQUIRED: &str = "payment-required";
/// Header of a request that carries the payment (v2).
pub const PAYMENT_SIGNATURE: &str = "payment-signature";
/// Header of the answer that tells what became of the payment (v2).
pub const PAYMENT_RESPONSE: &str = "payment-response";
/// Header of a request that carries the payment (v1, `transports-v1/http.md`).
pub const X_PAYMENT: &str = "x-payment";
/// Header of the answer that tells what became of the payment (v1).
pub const X_PAYMENT_RESPONSE: &str = "x-payment-response";

/// The scheme that moves an exact amount.
pub const EXACT: &str = "exact";
/// The scheme that is settled later, in batches.
pub const BATCH_SETTLEMENT: &str = "batch-settlement";

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// `x402Version` 1.
    V1,
    /// `x402Version` 2.
    V2,
}

impl Version {
    /// The number in `x402Version`.
    pub fn number(self) -> u64 {
        match self {
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }

    /// The header that a payment of this version comes in.
    pub fn payment_header(self) -> &'static str {
        match self {
            Version::V1 => X_PAYMENT,
            Version::V2 => PAYMENT_SIGNATURE,
        }
    }

    /// The header in which its result is told.
    pub fn response_header(self) -> &'static str {
        match self {
            Version::V1 => X_PAYMENT_RESPONSE,
            Version::V2 => PAYMENT_RESPONSE,
        }
    }
}
