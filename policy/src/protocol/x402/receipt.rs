//! The extension `offer-receipt` (v0.6, 2026-02-04): what a server signs before and after a payment.
//!
//! A signed offer is a word that is kept; a signed receipt proves to others that something was bought. Both are signed as typed
//! data (EIP-712, always in the domain of chain 1, without a contract) or as JSON Web Signature, here with Ed25519. A signature
//! proves whose key it is, not that this key may speak for the resource: that is for the reader to know.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::eip712::{Address, B256, Domain, Key, Signature, SignatureError, Struct};
use super::message::{Object, SettlementResponse, extension_info};
use crate::protocol::json;
use crate::protocol::message_signature::ed25519::is_refused;

/// The extension's name.
pub const NAME: &str = "offer-receipt";
/// The version of the payloads.
pub const PAYLOAD_VERSION: u64 = 1;
/// Bytes of a signed offer or receipt that are read.
pub const JWS_BYTES_MAX: usize = 16_384;

const OFFER_TYPE: &str = "Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,\
                          string amount,uint256 validUntil)";
const RECEIPT_TYPE: &str = "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,\
                            string transaction)";

/// What is offered (§4.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// [`PAYLOAD_VERSION`].
    pub version: u64,
    /// What is sold.
    pub resource_url: String,
    /// `exact` …
    pub scheme: String,
    /// CAIP-2, also for an offer of version 1.
    pub network: String,
    /// A token's contract, or an ISO 4217 code.
    pub asset: String,
    /// Who is paid.
    pub pay_to: String,
    /// Smallest units.
    pub amount: String,
    /// Unix seconds; none, and 0, promise nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<u64>,
}

/// What was paid (§5.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// [`PAYLOAD_VERSION`].
    pub version: u64,
    /// CAIP-2, also for a payment of version 1.
    pub network: String,
    /// What was bought.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// Unix seconds.
    pub issued_at: u64,
    /// The transaction's hash, where the payer's privacy allows it; none and the empty text are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

/// What can be signed: an [`Offer`] or a [`Receipt`].
pub trait Payload: Serialize + DeserializeOwned + Clone + PartialEq {
    /// The name of its domain (EIP-712).
    const DOMAIN: &'static str;

    /// The version that it says it has.
    fn version(&self) -> u64;

    /// `hashStruct`.
    fn struct_hash(&self) -> B256;

    /// What is signed as typed data.
    fn digest(&self) -> B256 {
        let domain = Domain { name: Self::DOMAIN, version: "1", chain_id: 1, verifying_contract: None };
        domain.digest(&self.struct_hash())
    }
}

impl Payload for Offer {
    const DOMAIN: &'static str = "x402 offer";

    fn version(&self) -> u64 {
        self.version
    }

    fn struct_hash(&self) -> B256 {
        Struct::new(OFFER_TYPE)
            .number(self.version.into())
            .string(&self.resource_url)
            .string(&self.scheme)
            .string(&self.network)
            .string(&self.asset)
            .string(&self.pay_to)
            .string(&self.amount)
            .number(self.valid_until.unwrap_or(0).into())
            .hash()
    }
}

impl Payload for Receipt {
    const DOMAIN: &'static str = "x402 receipt";

    fn version(&self) -> u64 {
        self.version
    }

    fn struct_hash(&self) -> B256 {
        Struct::new(RECEIPT_TYPE)
            .number(self.version.into())
            .string(&self.network)
            .string(&self.resource_url)
            .string(&self.payer)
            .number(self.issued_at.into())
            .string(self.transaction.as_deref().unwrap_or(""))
            .hash()
    }
}

/// A signed offer or receipt (§3.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// How it is signed.
    pub format: Format,
    /// Where the offer stands in `accepts`: a convenience, not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_index: Option<u64>,
    /// What is signed; a JWS carries it inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// 65 bytes in hexadecimal, or a compact JWS.
    pub signature: String,
}

/// How something is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Typed data, by an account.
    Eip712,
    /// JSON Web Signature.
    Jws,
}

/// Whose key signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignedBy {
    /// An account.
    Account(Address),
    /// The key that the reader found under this `kid`.
    Key(String),
}

/// Why something is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not of the form that its format has.
    #[error("not a signed {format:?}: {why}")]
    Malformed {
        /// The format.
        format: Format,
        /// What is wrong.
        why: &'static str,
    },
    /// A version of the payload that is not known.
    #[error("payload version {version} is not known")]
    PayloadVersion {
        /// What it says.
        version: u64,
    },
    /// An account's signature that is none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An algorithm that is not read here.
    #[error("the algorithm {alg} is not EdDSA")]
    Algorithm {
        /// What it says.
        alg: String,
    },
    /// A key that the reader does not know.
    #[error("the key {kid} is not known")]
    UnknownKey {
        /// The key's identifier.
        kid: String,
    },
    /// The key did not sign this.
    #[error("the key {kid} did not sign this")]
    NotSigned {
        /// The key's identifier.
        kid: String,
    },
}

/// What a server signs with: an Ed25519 key, and the DID URL under which its public part is found.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl SigningKey {
    /// Reads PKCS#8, with or without the public part. `None` if it is no Ed25519 key.
    pub fn from_pkcs8(der: &[u8], kid: &str) -> Option<SigningKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        Some(SigningKey { pair, kid: kid.to_owned() })
    }
}

#[derive(Serialize, Deserialize)]
struct JwsHeader {
    alg: String,
    kid: String,
    #[serde(default, skip_serializing)]
    crit: Option<Value>,
    #[serde(default, skip_serializing)]
    b64: Option<Value>,
}

impl Signed {
    /// Signs as typed data.
    pub fn with_account(payload: &impl Payload, key: &Key) -> Signed {
        Signed {
            format: Format::Eip712,
            accept_index: None,
            payload: Some(serde_json::to_value(payload).expect("the keys of a payload are texts")),
            signature: key.sign(&payload.digest()).into(),
        }
    }

    /// Signs as JSON Web Signature with the key of a server.
    pub fn with(payload: &impl Payload, key: &SigningKey) -> Signed {
        Signed::with_ed25519(payload, &key.pair, &key.kid)
    }

    /// Signs as JSON Web Signature with Ed25519 (RFC 8037); `kid` is a DID URL. The payload is in the form of RFC 8785.
    pub fn with_ed25519(payload: &impl Payload, key: &Ed25519KeyPair, kid: &str) -> Signed {
        let header = JwsHeader { alg: "EdDSA".to_owned(), kid: kid.to_owned(), crit: None, b64: None };
        let signing_input = [encode(&canonical(&header)), encode(&canonical(payload))].join(".");
        let signature = encode(key.sign(signing_input.as_bytes()).as_ref());
        Signed {
            format: Format::Jws,
            accept_index: None,
            payload: None,
            signature: [signing_input, signature].join("."),
        }
    }

    /// What was signed, and whose key did.
    ///
    /// `keys` gives the Ed25519 key (32 bytes) of a `kid`. A key in the JWS itself (`jwk`) is not believed.
    ///
    /// # Errors
    /// It is not signed, or by a key that is not known.
    pub fn verify<T: Payload>(
        &self,
        keys: &dyn Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<(T, SignedBy), ReceiptError> {
        let (payload, signed_by) = match self.format {
            Format::Eip712 => self.verify_typed_data::<T>()?,
            Format::Jws => self.verify_jws::<T>(keys)?,
        };
        match payload.version() {
            PAYLOAD_VERSION => Ok((payload, signed_by)),
            version => Err(ReceiptError::PayloadVersion { version }),
        }
    }

    fn verify_typed_data<T: Payload>(&self) -> Result<(T, SignedBy), ReceiptError> {
        let malformed = |why| ReceiptError::Malformed { format: Format::Eip712, why };
        let payload = self
            .payload
            .clone()
            .filter(Value::is_object)
            .ok_or_else(|| malformed("the payload is missing"))?;
        let payload: T =
            serde_json::from_value(payload).map_err(|_| malformed("the payload has other members"))?;
        let signature =
            Signature::parse(&self.signature).ok_or_else(|| malformed("the signature is not hex"))?;
        let signer = signature.recover(&payload.digest())?;
        Ok((payload, SignedBy::Account(signer)))
    }

    fn verify_jws<T: Payload>(
        &self,
        keys: &dyn Fn(&str) -> Option<[u8; 32]>,
    ) -> Result<(T, SignedBy), ReceiptError> {
        let malformed = |why| ReceiptError::Malformed { format: Format::Jws, why };
        if self.payload.is_some() {
            return Err(malformed("the payload stands twice"));
        }
        if self.signature.len() > JWS_BYTES_MAX {
            return Err(malformed("too long"));
        }
        let parts: Vec<&str> = self.signature.splitn(4, '.').collect();
        let [header, payload, signature] = parts[..] else { return Err(malformed("not three parts")) };
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("not Base64 for URLs"));
        let JwsHeader { alg, kid, crit, b64 } =
            json::from_slice(&decode(header)?).map_err(|_| malformed("the header names no alg and kid"))?;
        if alg != "EdDSA" {
            return Err(ReceiptError::Algorithm { alg });
        }
        // RFC 7515 §4.1.11: what must be understood and is not makes it invalid.
        if crit.is_some() || b64.is_some() {
            return Err(malformed("the header asks for what is not known here"));
        }
        let Some(key) = keys(&kid) else { return Err(ReceiptError::UnknownKey { kid }) };
        let signed = &self.signature[..header.len() + 1 + payload.len()];
        // Under a key of small order anything is signed by anybody.
        if is_refused(&key) {
            return Err(ReceiptError::NotSigned { kid });
        }
        let key = UnparsedPublicKey::new(&ED25519, key);
        if key.verify(signed.as_bytes(), &decode(signature)?).is_err() {
            return Err(ReceiptError::NotSigned { kid });
        }
        let payload =
            json::from_slice(&decode(payload)?).map_err(|_| malformed("the payload has other members"))?;
        Ok((payload, SignedBy::Key(kid)))
    }
}

/// The extension of an offer, with its signed offers (§4.1).
pub fn offers_extension(offers: &[Signed]) -> Value {
    serde_json::json!({"info": {"offers": offers}})
}

/// The extension of a settlement, with its receipt (§5.1).
pub fn receipt_extension(receipt: &Signed) -> Value {
    serde_json::json!({"info": {"receipt": receipt}})
}

/// The receipt that a settlement carries.
pub fn receipt_of(settlement: &SettlementResponse) -> Option<Signed> {
    let info: &Object = extension_info(settlement.extensions.as_ref(), NAME)?;
    serde_json::from_value(info.get("receipt")?.clone()).ok()
}

/// The form of RFC 8785. Keys here are ASCII and numbers whole, so sorted keys are all that it takes.
fn canonical(object: &impl Serialize) -> Vec<u8> {
    let sorted = serde_json::to_value(object).expect("the keys of a payload are texts");
    serde_json::to_vec(&sorted).expect("the keys of a payload are texts")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
