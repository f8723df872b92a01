//! What is said to a facilitator and by it: `POST /verify`, `POST /settle`, `GET /supported` (v2 §7, v1 §7).
//!
//! A facilitator knows the chain: it checks balances and nonces, and sends the transaction. What cannot be read of its answer
//! is an unknown outcome, never a failed payment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::atomic::U256;
use super::eip712::Address;
use super::header::{self, HeaderError};
use super::message::{Object, SettlementResponse};
use super::network::Network;
use super::{EXACT, Version};

/// Path of the question whether a payment is good.
pub const VERIFY: &str = "/verify";
/// Path of the order to settle it.
pub const SETTLE: &str = "/settle";
/// Path of what a facilitator can do.
pub const SUPPORTED: &str = "/supported";

/// Bytes of an answer that are read; above, the outcome is unknown.
pub const ANSWER_BYTES_MAX: usize = 65_536;

/// The body of [`VERIFY`] and [`SETTLE`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// 1 or 2.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// The payment as the client sent it, with members that we do not know.
    pub payment_payload: Value,
    /// The way that was offered, in the payment's version.
    pub payment_requirements: Value,
}

/// The answer to [`VERIFY`] (v2 §5.4).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Whether the payment could be settled.
    pub is_valid: bool,
    /// Why not; see [`ErrorReason::parse`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// Who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// The answer to [`SUPPORTED`] (v2 §7.3; version 1 has only `kinds`).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Supported {
    /// What can be verified and settled.
    pub kinds: Vec<Kind>,
    /// Extensions by their names.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Addresses that send transactions, by network or by pattern such as `eip155:*`.
    #[serde(default)]
    pub signers: BTreeMap<String, Vec<String>>,
}

/// One thing that a facilitator can do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// 1 or 2.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// `exact` …
    pub scheme: String,
    /// CAIP-2, or version 1's name.
    pub network: String,
    /// What the scheme needs besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
}

impl Supported {
    /// Whether `exact` payments of a version can be settled on a network.
    pub fn settles_exact(&self, version: Version, network: &Network) -> bool {
        self.kinds.iter().any(|kind| {
            let named = match version {
                Version::V1 => network.v1_name() == Some(&kind.network),
                Version::V2 => network.as_str() == kind.network,
            };
            named && kind.x402_version == version.number() && kind.scheme == EXACT
        })
    }
}

/// Reads an answer to [`VERIFY`] ([`VerifyResponse`]), [`SETTLE`] ([`SettlementResponse`]) or [`SUPPORTED`] ([`Supported`]).
///
/// # Errors
/// It is above [`ANSWER_BYTES_MAX`] or not that object.
pub fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, HeaderError> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(HeaderError::TooLong { bytes: body.len() });
    }
    header::from_json(body)
}

/// The movement of money that a facilitator is ordered to make: what its answer has to be about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The chain.
    pub network: Network,
    /// Who pays.
    pub payer: Address,
    /// Smallest units of the token.
    pub value: U256,
}

/// What a facilitator's answer to [`SETTLE`] means for a payment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSettled {
    /// It says that no money moved: the payment is refused.
    #[error("not settled: {reason}")]
    Refused {
        /// In the facilitator's words; see [`ErrorReason::parse`].
        reason: String,
    },
    /// It speaks of success, but not of this payment: the outcome is unknown.
    #[error("the facilitator settled another {member} than was asked for")]
    Contradiction {
        /// What differs.
        member: &'static str,
    },
}

/// Judges a facilitator's answer to [`SETTLE`].
///
/// # Errors
/// [`NotSettled::Refused`] is the end of the payment. [`NotSettled::Contradiction`] is not: what became of the money has to be
/// found out, and the client is not asked to pay again.
pub fn settled(transfer: &Transfer, answer: &SettlementResponse) -> Result<(), NotSettled> {
    if !answer.success {
        let reason = answer.error_reason.clone().unwrap_or_default();
        return Err(NotSettled::Refused { reason });
    }
    let answered = Network::parse(&answer.network).or_else(|| Network::from_v1(&answer.network));
    let contradiction = |member| Err(NotSettled::Contradiction { member });
    if answered.as_ref() != Some(&transfer.network) {
        return contradiction("network");
    }
    if answer.transaction.is_empty() {
        return contradiction("transaction");
    }
    let payer = answer.payer.as_deref().map(Address::parse);
    if payer.is_some_and(|payer| payer != Some(transfer.payer)) {
        return contradiction("payer");
    }
    if answer.amount.as_ref().is_some_and(|amount| *amount != transfer.value.to_string()) {
        return contradiction("amount");
    }
    Ok(())
}

/// The error strings of the specifications (v2 §9, v1 §9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "each is the string of the same name")]
pub enum ErrorReason {
    InsufficientFunds,
    InvalidExactEvmPayloadAuthorizationValidAfter,
    InvalidExactEvmPayloadAuthorizationValidBefore,
    /// Version 2.
    InvalidExactEvmPayloadAuthorizationValueMismatch,
    /// Version 1.
    InvalidExactEvmPayloadAuthorizationValue,
    InvalidExactEvmPayloadSignature,
    InvalidExactEvmPayloadRecipientMismatch,
    InvalidNetwork,
    InvalidPayload,
    InvalidPaymentRequirements,
    InvalidScheme,
    UnsupportedScheme,
    InvalidX402Version,
    InvalidTransactionState,
    UnexpectedVerifyError,
    UnexpectedSettleError,
}

impl ErrorReason {
    /// All of them.
    pub const ALL: [ErrorReason; 16] = [
        ErrorReason::InsufficientFunds,
        ErrorReason::InvalidExactEvmPayloadAuthorizationValidAfter,
        ErrorReason::InvalidExactEvmPayloadAuthorizationValidBefore,
        ErrorReason::InvalidExactEvmPayloadAuthorizationValueMismatch,
        ErrorReason::InvalidExactEvmPayloadAuthorizationValue,
        ErrorReason::InvalidExactEvmPayloadSignature,
        ErrorReason::InvalidExactEvmPayloadRecipientMismatch,
        ErrorReason::InvalidNetwork,
        ErrorReason::InvalidPayload,
        ErrorReason::InvalidPaymentRequirements,
        ErrorReason::InvalidScheme,
        ErrorReason::UnsupportedScheme,
        ErrorReason::InvalidX402Version,
        ErrorReason::InvalidTransactionState,
        ErrorReason::UnexpectedVerifyError,
        ErrorReason::UnexpectedSettleError,
    ];

    /// The string on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorReason::InsufficientFunds => "insufficient_funds",
            ErrorReason::InvalidExactEvmPayloadAuthorizationValidAfter => {
                "invalid_exact_evm_payload_authorization_valid_after"
            }
            ErrorReason::InvalidExactEvmPayloadAuthorizationValidBefore => {
                "invalid_exact_evm_payload_authorization_valid_before"
            }
            ErrorReason::InvalidExactEvmPayloadAuthorizationValueMismatch => {
                "invalid_exact_evm_payload_authorization_value_mismatch"
            }
            ErrorReason::InvalidExactEvmPayloadAuthorizationValue => {
                "invalid_exact_evm_payload_authorization_value"
            }
            ErrorReason::InvalidExactEvmPayloadSignature => "invalid_exact_evm_payload_signature",
            ErrorReason::InvalidExactEvmPayloadRecipientMismatch => {
                "invalid_exact_evm_payload_recipient_mismatch"
            }
            ErrorReason::InvalidNetwork => "invalid_network",
            ErrorReason::InvalidPayload => "invalid_payload",
            ErrorReason::InvalidPaymentRequirements => "invalid_payment_requirements",
            ErrorReason::InvalidScheme => "invalid_scheme",
            ErrorReason::UnsupportedScheme => "unsupported_scheme",
            ErrorReason::InvalidX402Version => "invalid_x402_version",
            ErrorReason::InvalidTransactionState => "invalid_transaction_state",
            ErrorReason::UnexpectedVerifyError => "unexpected_verify_error",
            ErrorReason::UnexpectedSettleError => "unexpected_settle_error",
        }
    }

    /// The reason of that string; facilitators have others of their own.
    pub fn parse(text: &str) -> Option<ErrorReason> {
        ErrorReason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
