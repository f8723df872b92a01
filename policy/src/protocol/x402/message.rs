//! The objects that server and client exchange: version 2 §5, version 1 §5.
//!
//! Members that no version names are kept where an object is passed on: what a client sent goes to the facilitator as it was.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object whose members are not ours to know.
pub type Object = Map<String, Value>;

/// The offer of a 402 (v2 §5.1).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// 2.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// Why it is sent, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: Resource,
    /// The ways to pay, the preferred one first.
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// What is sold (v2 §5.1.2, `ResourceInfo`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its URL.
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// One way to pay (v2 §5.1.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// `exact`, `batch-settlement` …
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// Smallest units of the asset, as a decimal integer.
    pub amount: String,
    /// A token's contract, or an ISO 4217 code.
    pub asset: String,
    /// An address, or a role such as `merchant`.
    pub pay_to: String,
    /// Seconds that a payment may take. Required, but for `cloudflare:402`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout_seconds: Option<u64>,
    /// What the scheme needs besides: for EIP-3009 the token's `name` and `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Object>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// A payment (v2 §5.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// 2.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// What is paid for, as the offer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// The way that the client chose.
    pub accepted: PaymentRequirements,
    /// What the scheme says.
    pub payload: Object,
    /// The offer's extensions, with the client's additions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// The offer of a 402 (v1 §5.1): its body.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequiredV1 {
    /// 1.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// Why it is sent, for people.
    pub error: String,
    /// The ways to pay, the preferred one first.
    pub accepts: Vec<PaymentRequirementsV1>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// One way to pay (v1 §5.1.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirementsV1 {
    /// `exact`.
    pub scheme: String,
    /// By version 1's name, such as `base`.
    pub network: String,
    /// Smallest units of the asset, as a decimal integer.
    pub max_amount_required: String,
    /// The URL of what is sold.
    pub resource: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Its media type.
    #[serde(default)]
    pub mime_type: String,
    /// A schema of the answer; `null` here.
    #[serde(default)]
    pub output_schema: Option<Value>,
    /// An address.
    pub pay_to: String,
    /// Seconds that a payment may take.
    pub max_timeout_seconds: u64,
    /// A token's contract.
    pub asset: String,
    /// What the scheme needs besides.
    #[serde(default)]
    pub extra: Option<Object>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// A payment (v1 §5.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayloadV1 {
    /// 1.
    #[serde(rename = "x402Version")]
    pub x402_version: u64,
    /// `exact`.
    pub scheme: String,
    /// By version 1's name.
    pub network: String,
    /// What the scheme says.
    pub payload: Object,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

/// What became of a payment (v2 §5.3): the header of the answer, and what a facilitator answers to `/settle`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettlementResponse {
    /// Whether money moved.
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// The transaction's hash; empty if there is none.
    #[serde(default)]
    pub transaction: String,
    /// CAIP-2; version 1's name in version 1.
    #[serde(default)]
    pub network: String,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// What was moved, in smallest units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// Extensions by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Object>,
    /// Members that the specification does not name.
    #[serde(flatten)]
    pub others: Object,
}

impl SettlementResponse {
    /// A payment that was not settled; the network by the name that the payment's version has for it.
    pub fn failure(network: &str, reason: &str) -> SettlementResponse {
        SettlementResponse {
            success: false,
            error_reason: Some(reason.to_owned()),
            transaction: String::new(),
            network: network.to_owned(),
            payer: None,
            amount: None,
            extensions: None,
            others: Object::new(),
        }
    }
}

/// The `info` of an extension, if it is an object.
pub fn extension_info<'a>(extensions: Option<&'a Object>, name: &str) -> Option<&'a Object> {
    extensions?.get(name)?.get("info")?.as_object()
}

/// Whether a client left the extensions of an offer as they were: it may add, and leave out, but not change (v2 §5.1,
/// "Extensions").
///
/// # Errors
/// The name of the first extension of which a member was changed.
pub fn echoes<'a>(offered: Option<&'a Object>, sent: Option<&Object>) -> Result<(), &'a str> {
    let (Some(offered), Some(sent)) = (offered, sent) else { return Ok(()) };
    for (name, extension) in offered {
        let Some(echo) = sent.get(name) else { continue };
        let Some(info) = extension.get("info").and_then(Value::as_object) else { continue };
        let intact = info
            .iter()
            .all(|(member, value)| echo.get("info").and_then(|echo| echo.get(member)) == Some(value));
        if !intact {
            return Err(name);
        }
    }
    Ok(())
}
