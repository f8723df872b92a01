//! Reads a payment and checks it against the offers that were made for this request: everything that can be known without the chain.
//!
//! What passes is good as far as we can see, and not yet paid: first its [`Reservation`] must be the first one of its key, then a
//! facilitator must settle it. An authorization does not name what is bought, so whoever sees it could present it elsewhere:
//! the reservation ties it to the method and URL that it came with.

use serde::Deserialize;
use serde_json::Value;

use super::atomic::U256;
use super::batch::{self, BatchError, BatchPayment, RequestSignature};
use super::eip712::{Address, Authorization, B256, Nonce, Signature, SignatureError};
use super::facilitator::{self, ErrorReason};
use super::header::{self, HeaderError};
use super::identifier::{IdentifierError, PaymentIdentifier};
use super::message::{Object, PaymentPayload, PaymentPayloadV1, PaymentRequirements, echoes};
use super::network::Network;
use super::offer::{Offered, Offers, Token, Way};
use super::{EXACT, Version};
use crate::{Currency, Money, sha256};

/// Seconds before `validBefore` at which an authorization is no longer taken: settling needs some.
pub const SETTLE_MARGIN_SECS: u64 = 6;
/// Seconds for which an authorization may be good from now on: so long is its reservation kept. Clients write the offer's
/// `maxTimeoutSeconds`; one that is good for ever would have to be remembered for ever.
pub const VALID_SECS_MAX: u64 = 86_400;

/// A payment as it came, decoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Presented {
    json: Vec<u8>,
    payload: Payload,
}

#[derive(Clone, PartialEq, Debug)]
enum Payload {
    V1(PaymentPayloadV1),
    V2(Box<PaymentPayload>),
}

/// The request that a payment came with, and what its reader is to know besides.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The canonical URL of what is fetched.
    pub url: &'a str,
    /// Unix seconds.
    pub now_secs: u64,
    /// Takes signatures that only a contract can judge (EIP-1271, EIP-6492), which the facilitator then does.
    pub takes_contracts: bool,
    /// Whether a payment identifier is required.
    pub requires_identifier: bool,
    /// This authorization was taken before, in time: that its time is over now says nothing of what became of it.
    pub is_retry: bool,
    /// The request's message signature, for payments on credit.
    pub signature: RequestSignature<'a>,
}

/// A payment that is good as far as can be seen from here.
#[derive(Clone, PartialEq, Debug)]
pub enum Payment {
    /// By a token, to be settled.
    Exact(Box<ExactPayment>),
    /// On credit, to be billed.
    Credit(BatchPayment),
}

/// An authorization that pays an offer.
#[derive(Clone, PartialEq, Debug)]
pub struct ExactPayment {
    /// The version that the client speaks.
    pub version: Version,
    /// What it is worth: the price that was offered.
    pub price: Money,
    /// What was signed.
    pub authorization: Authorization,
    /// Who signed.
    pub signer: Signer,
    /// To be made before anything else is done.
    pub reservation: Reservation,
    /// The client's own name for the payment.
    pub identifier: Option<PaymentIdentifier>,
    /// What `/verify` and `/settle` are asked.
    pub request: facilitator::Request,
}

/// How an authorization is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signer {
    /// With the key of the account that pays.
    Account,
    /// In a contract's way; unknown until the facilitator says so.
    Contract,
}

/// What an authorization is spent as: a contract takes a nonce of an account once. Both versions of the protocol share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ReservationKey {
    /// The chain.
    pub network: Network,
    /// The token's contract.
    pub asset: Address,
    /// Who pays.
    pub from: Address,
    /// The authorization's nonce.
    pub nonce: Nonce,
}

/// An authorization, and what it is spent for: kept, by its key, from before anything is served until [`Reservation::until_secs`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// What is spent.
    pub key: ReservationKey,
    /// What for.
    pub purpose: Purpose,
    /// The EIP-712 digest of the authorization: what was signed under this nonce.
    pub authorization: B256,
    /// Unix seconds; from then on the token's contract refuses the authorization by itself.
    pub until_secs: u64,
}

/// What is bought with an authorization.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Purpose {
    /// The method.
    pub method: String,
    /// The canonical URL.
    pub url: String,
}

/// What a payment is to a reservation of the same key that was made before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// The same payment for the same thing: it gets what came of the first, and buys nothing anew.
    Retry,
    /// The same payment for something else: refused.
    OtherPurpose,
    /// Another authorization under the same nonce, of which a contract would take but one: refused.
    OtherAuthorization,
}

impl ExactPayment {
    /// The movement of money that pays.
    pub fn transfer(&self) -> facilitator::Transfer {
        facilitator::Transfer {
            network: self.reservation.key.network.clone(),
            payer: self.authorization.from,
            value: self.authorization.value,
        }
    }
}

impl Reservation {
    /// What this payment is, given that `earlier` holds its key. `None` if the keys differ.
    pub fn reuse(&self, earlier: &Reservation) -> Option<Reuse> {
        if self.key != earlier.key {
            return None;
        }
        Some(if self.authorization != earlier.authorization {
            Reuse::OtherAuthorization
        } else if self.purpose != earlier.purpose {
            Reuse::OtherPurpose
        } else {
            Reuse::Retry
        })
    }
}

impl Presented {
    /// The payment of a request: all its `PAYMENT-SIGNATURE` and all its `X-PAYMENT` headers. `None` if there is none.
    ///
    /// # Errors
    /// There are several, or it cannot be read.
    pub fn from_headers(
        v2: impl IntoIterator<Item = impl AsRef<[u8]>>,
        v1: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Option<Presented>, PaymentError> {
        let (mut v2, mut v1) = (v2.into_iter(), v1.into_iter());
        let presented = match (v2.next(), v1.next()) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(PaymentError::Several),
            (Some(value), None) => Presented::parse(Version::V2, value.as_ref()),
            (None, Some(value)) => Presented::parse(Version::V1, value.as_ref()),
        };
        if v2.next().is_some() || v1.next().is_some() {
            return Err(PaymentError::Several);
        }
        presented.map(Some)
    }

    /// Reads the value of a header of this version.
    ///
    /// # Errors
    /// Too long, not Base64, not a payment, or one of another version.
    pub fn parse(version: Version, value: &[u8]) -> Result<Presented, PaymentError> {
        #[derive(Deserialize)]
        struct Numbered {
            #[serde(rename = "x402Version", default)]
            version: Option<Value>,
        }
        let json = header::decode(value)?;
        let numbered: Numbered = header::from_json(&json)?;
        if numbered.version != Some(Value::from(version.number())) {
            let said = numbered.version.as_ref().and_then(Value::as_u64);
            return Err(PaymentError::Version { said, expected: version });
        }
        let payload = match version {
            Version::V1 => Payload::V1(header::from_json(&json)?),
            Version::V2 => Payload::V2(header::from_json(&json)?),
        };
        Ok(Presented { json, payload })
    }

    /// The version that it is written in.
    pub fn version(&self) -> Version {
        match self.payload {
            Payload::V1(_) => Version::V1,
            Payload::V2(_) => Version::V2,
        }
    }

    /// Whether it is a promise on `cloudflare:402`, good or not.
    pub fn is_credit(&self) -> bool {
        match &self.payload {
            Payload::V1(_) => false,
            Payload::V2(payment) => payment.accepted.network == Network::cloudflare().as_str(),
        }
    }

    /// SHA-256 of its JSON: what a payment identifier stands for.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.json)
    }

    /// The network that it names, in its version's way; anything, for nothing of it is checked.
    pub fn network(&self) -> &str {
        match &self.payload {
            Payload::V1(payment) => &payment.network,
            Payload::V2(payment) => &payment.accepted.network,
        }
    }

    /// What this payment would be spent as in one of these tokens or in the one that it names, whatever else is wrong with it: to be
    /// looked up before it is checked, for one that is known may be over. Whoever knows an authorization can name its key; only
    /// [`Presented::check`] says who signed it.
    pub fn keys(&self, tokens: &[&Token]) -> Vec<ReservationKey> {
        let Ok(ExactPayload { authorization, .. }) = self.exact_payload() else { return Vec::new() };
        let key = |token: &Token| ReservationKey {
            network: token.network(),
            asset: token.asset,
            from: authorization.from,
            nonce: authorization.nonce,
        };
        let named = self.named_token(&authorization);
        tokens.iter().copied().chain(&named).map(key).collect()
    }

    /// What it would be by the terms that it was made by, whatever is offered now: for one that was taken before, and does not fit any more.
    ///
    /// Nothing is compared with an offer. Whether it is the one that was taken, its key and [`Reservation::authorization`] say; they must be
    /// compared. Its `request` is not one: what is not settled yet is settled by what is offered, or not at all.
    pub fn as_made(&self, tokens: &[&Token], price: Money, asked: &Asked<'_>) -> Vec<ExactPayment> {
        let Ok(ExactPayload { authorization, .. }) = self.exact_payload() else { return Vec::new() };
        let identifier = self.identifier(false).ok().flatten();
        let named = self.named_token(&authorization);
        let mut made = Vec::new();
        for token in tokens.iter().copied().chain(&named) {
            let token = Token { pay_to: authorization.to, ..token.clone() };
            let payload = self.payload();
            let Ok((authorization, signer, until_secs)) =
                authorized(&token, authorization.value, payload, self.version(), asked)
            else {
                continue;
            };
            let exact = self.exact(&token, price, authorization, signer, until_secs, Value::Null, asked);
            made.push(ExactPayment { identifier: identifier.clone(), ..exact });
        }
        made
    }

    fn payload(&self) -> &Object {
        match &self.payload {
            Payload::V1(payment) => &payment.payload,
            Payload::V2(payment) => &payment.payload,
        }
    }

    fn exact_payload(&self) -> Result<ExactPayload, serde_json::Error> {
        serde_json::from_value(Value::Object(self.payload().clone()))
    }

    /// The token that a payment of version 2 says it is in.
    fn named_token(&self, authorization: &Authorization) -> Option<Token> {
        let Payload::V2(payment) = &self.payload else { return None };
        let accepted = &payment.accepted;
        let text = |member| Some(accepted.extra.as_ref()?.get(member)?.as_str()?.to_owned());
        Some(Token {
            chain_id: Network::parse(&accepted.network)?.chain_id()?,
            asset: Address::parse(&accepted.asset)?,
            name: text("name").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            pay_to: authorization.to,
            // What it counts for is not the payment's to say, and is not asked.
            decimals: 0,
            currency: Currency::USD,
            max_timeout_secs: 0,
        })
    }

    /// The client's own name for the payment, to be looked up before the payment is checked: a retry may come when its
    /// authorization is over.
    ///
    /// # Errors
    /// It is malformed, or missing where one is required. Version 1 has none.
    pub fn identifier(&self, required: bool) -> Result<Option<PaymentIdentifier>, IdentifierError> {
        match &self.payload {
            Payload::V1(_) => Ok(None),
            Payload::V2(payment) => PaymentIdentifier::read(payment.extensions.as_ref(), required),
        }
    }

    /// Checks the payment against what was offered for the request that it came with.
    ///
    /// The signature is checked last: it costs most, and whatever else is wrong is told by its own name.
    ///
    /// # Errors
    /// What is wrong, by the strings of the specification ([`PaymentError::reason`]).
    pub fn check(&self, offers: &Offers, asked: &Asked<'_>) -> Result<Payment, PaymentError> {
        match &self.payload {
            Payload::V1(payment) => self.check_v1(payment, offers, asked),
            Payload::V2(payment) => self.check_v2(payment, offers, asked),
        }
    }

    fn check_v2(
        &self,
        payment: &PaymentPayload,
        offers: &Offers,
        asked: &Asked<'_>,
    ) -> Result<Payment, PaymentError> {
        let offered = accepted(offers, &payment.accepted)?;
        if payment.resource.as_ref().is_some_and(|resource| resource.url != offers.resource.url) {
            return Err(PaymentError::Requirements { member: "resource" });
        }
        let made = offers.required("").extensions;
        if let Err(extension) = echoes(made.as_ref(), payment.extensions.as_ref()) {
            return Err(PaymentError::Extension { name: extension.to_owned() });
        }
        let identifier = self.identifier(asked.requires_identifier).map_err(PaymentError::Identifier)?;
        match &offered.way {
            Way::Credit(_) => batch::check(offered, payment, offers.price, asked.signature, asked.now_secs)
                .map(Payment::Credit),
            Way::Exact(token) => {
                let (authorization, signer, until_secs) =
                    authorized(token, offered.amount, &payment.payload, Version::V2, asked)?;
                let requirements = value_of(&offered.requirements);
                let exact =
                    self.exact(token, offers.price, authorization, signer, until_secs, requirements, asked);
                Ok(Payment::Exact(Box::new(ExactPayment { identifier, ..exact })))
            }
        }
    }

    fn check_v1(
        &self,
        payment: &PaymentPayloadV1,
        offers: &Offers,
        asked: &Asked<'_>,
    ) -> Result<Payment, PaymentError> {
        if payment.scheme != EXACT {
            return Err(PaymentError::Scheme);
        }
        // A payment of version 1 does not say which token it is in: the one in whose domain it is signed.
        let mut error = PaymentError::Network;
        for offered in &offers.ways {
            let (Way::Exact(token), Some(requirements)) = (&offered.way, offered.version_1(&offers.resource))
            else {
                continue;
            };
            if requirements.network != payment.network {
                continue;
            }
            match authorized(token, offered.amount, &payment.payload, Version::V1, asked) {
                Ok((authorization, signer, until_secs)) => {
                    let requirements = value_of(&requirements);
                    let exact = self.exact(
                        token,
                        offers.price,
                        authorization,
                        signer,
                        until_secs,
                        requirements,
                        asked,
                    );
                    return Ok(Payment::Exact(Box::new(exact)));
                }
                Err(why) if error == PaymentError::Network => error = why,
                Err(_) => {}
            }
        }
        Err(error)
    }

    #[allow(clippy::too_many_arguments, reason = "both versions come here with what they have found out")]
    fn exact(
        &self,
        token: &Token,
        price: Money,
        authorization: Authorization,
        signer: Signer,
        until_secs: u64,
        requirements: Value,
        asked: &Asked<'_>,
    ) -> ExactPayment {
        let version = self.version();
        let key = ReservationKey {
            network: token.network(),
            asset: token.asset,
            from: authorization.from,
            nonce: authorization.nonce,
        };
        let purpose = Purpose { method: asked.method.to_owned(), url: asked.url.to_owned() };
        let reservation = Reservation {
            key,
            purpose,
            authorization: token.domain().digest(&authorization.struct_hash()),
            until_secs,
        };
        let request = facilitator::Request {
            x402_version: version.number(),
            payment_payload: match &self.payload {
                Payload::V1(payment) => value_of(payment),
                Payload::V2(payment) => value_of(payment),
            },
            payment_requirements: requirements,
        };
        ExactPayment { version, price, authorization, signer, reservation, identifier: None, request }
    }
}

/// The offer that a client says it accepts.
fn accepted<'a>(offers: &'a Offers, accepted: &PaymentRequirements) -> Result<&'a Offered, PaymentError> {
    let mut error = PaymentError::Scheme;
    for offered in &offers.ways {
        let ours = &offered.requirements;
        if ours.scheme != accepted.scheme {
            continue;
        }
        if ours.network != accepted.network {
            if error == PaymentError::Scheme {
                error = PaymentError::Network;
            }
            continue;
        }
        let differs = if !same_party(&offered.way, &ours.asset, &accepted.asset) {
            "asset"
        } else if !same_party(&offered.way, &ours.pay_to, &accepted.pay_to) {
            "payTo"
        } else if ours.amount != accepted.amount {
            "amount"
        } else if ours
            .max_timeout_seconds
            .zip(accepted.max_timeout_seconds)
            .is_some_and(|(own, said)| own != said)
        {
            "maxTimeoutSeconds"
        } else if contradicts(ours.extra.as_ref(), accepted.extra.as_ref()) {
            "extra"
        } else {
            return Ok(offered);
        };
        if !matches!(error, PaymentError::Requirements { .. }) {
            error = PaymentError::Requirements { member: differs };
        }
    }
    Err(error)
}

/// Whether a client says something else than we did: it may leave out and add, for what counts is in our own.
fn contradicts(ours: Option<&Object>, theirs: Option<&Object>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
    theirs.iter().any(|(name, said)| ours.get(name).is_some_and(|own| own != said))
}

/// Addresses are compared as such, roles and currencies as texts.
fn same_party(way: &Way, ours: &str, theirs: &str) -> bool {
    match way {
        Way::Exact(_) => Address::parse(ours).is_some() && Address::parse(ours) == Address::parse(theirs),
        Way::Credit(_) => ours == theirs,
    }
}

#[derive(Deserialize)]
struct ExactPayload {
    signature: Signature,
    #[serde(deserialize_with = "crate::protocol::json::object")]
    authorization: Authorization,
}

/// Checks an authorization (`scheme_exact_evm.md`, "Verification", the steps without a chain).
///
/// Version 1 lets the value be more than was asked; here it is the amount in both, for what is owed is the price.
fn authorized(
    token: &Token,
    amount: U256,
    payload: &Object,
    version: Version,
    asked: &Asked<'_>,
) -> Result<(Authorization, Signer, u64), PaymentError> {
    let payload = serde_json::from_value::<ExactPayload>(Value::Object(payload.clone()));
    let ExactPayload { signature, authorization } =
        payload.map_err(|error| PaymentError::Payload { why: error.to_string() })?;
    if authorization.to != token.pay_to {
        return Err(PaymentError::Recipient);
    }
    if authorization.value != amount {
        return Err(PaymentError::Value { version });
    }
    let now_secs = asked.now_secs;
    if authorization.valid_after > U256::from(now_secs) {
        return Err(PaymentError::ValidAfter);
    }
    let valid_before = authorization.valid_before.to_u64();
    let in_time = |until: &u64| {
        (asked.is_retry || *until > now_secs.saturating_add(SETTLE_MARGIN_SECS))
            && *until <= now_secs.saturating_add(VALID_SECS_MAX)
    };
    let Some(until_secs) = valid_before.filter(in_time) else { return Err(PaymentError::ValidBefore) };
    if signature.is_contracts() && asked.takes_contracts {
        return Ok((authorization, Signer::Contract, until_secs));
    }
    let signer = signature.recover(&token.domain().digest(&authorization.struct_hash()))?;
    if signer != authorization.from {
        return Err(SignatureError::OtherSigner { signer, expected: authorization.from }.into());
    }
    Ok((authorization, Signer::Account, until_secs))
}

fn value_of(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).expect("the keys of a message are texts")
}

/// Why a payment is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// More than one payment came.
    #[error("send either PAYMENT-SIGNATURE or X-PAYMENT, once")]
    Several,
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Not the version of its header.
    #[error("x402Version is not {}", .expected.number())]
    Version {
        /// What it says, if that is a number.
        said: Option<u64>,
        /// The header's version.
        expected: Version,
    },
    /// A scheme that was not offered.
    #[error("this scheme was not offered")]
    Scheme,
    /// A network that was not offered.
    #[error("this network was not offered")]
    Network,
    /// Not what was offered, or not for this resource.
    #[error("not as it was offered: {member}")]
    Requirements {
        /// What differs.
        member: &'static str,
    },
    /// An extension of the offer was changed.
    #[error("the extension {name} was changed")]
    Extension {
        /// Its name.
        name: String,
    },
    /// The payment identifier.
    #[error(transparent)]
    Identifier(IdentifierError),
    /// The scheme's part cannot be read.
    #[error("the payload is not an authorization: {why}")]
    Payload {
        /// The first thing that is wrong.
        why: String,
    },
    /// Pays somebody else.
    #[error("the authorization pays somebody else")]
    Recipient,
    /// Pays another amount.
    #[error("the authorization's value is not the amount that was offered")]
    Value {
        /// The payment's version: each has its own string.
        version: Version,
    },
    /// Not good yet.
    #[error("the authorization is not good yet")]
    ValidAfter,
    /// No longer good, or nearly so; or good beyond [`VALID_SECS_MAX`].
    #[error("the authorization's time is over, or {SETTLE_MARGIN_SECS} s from it, or over a day away")]
    ValidBefore,
    /// Not signed by who pays.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A promise on `cloudflare:402`.
    #[error(transparent)]
    Batch(BatchError),
}

impl PaymentError {
    /// The string of the specification, as `errorReason` and `error` say it.
    pub fn reason(&self) -> &'static str {
        let reason = match self {
            PaymentError::Batch(error) => return error.as_str(),
            PaymentError::Several
            | PaymentError::Header(_)
            | PaymentError::Extension { .. }
            | PaymentError::Identifier(_)
            | PaymentError::Payload { .. } => ErrorReason::InvalidPayload,
            PaymentError::Version { .. } => ErrorReason::InvalidX402Version,
            PaymentError::Scheme => ErrorReason::UnsupportedScheme,
            PaymentError::Network => ErrorReason::InvalidNetwork,
            PaymentError::Requirements { .. } => ErrorReason::InvalidPaymentRequirements,
            PaymentError::Recipient => ErrorReason::InvalidExactEvmPayloadRecipientMismatch,
            PaymentError::Value { version: Version::V1 } => {
                ErrorReason::InvalidExactEvmPayloadAuthorizationValue
            }
            PaymentError::Value { version: Version::V2 } => {
                ErrorReason::InvalidExactEvmPayloadAuthorizationValueMismatch
            }
            PaymentError::ValidAfter => ErrorReason::InvalidExactEvmPayloadAuthorizationValidAfter,
            PaymentError::ValidBefore => ErrorReason::InvalidExactEvmPayloadAuthorizationValidBefore,
            PaymentError::Signature(_) => ErrorReason::InvalidExactEvmPayloadSignature,
        };
        reason.as_str()
    }

    /// The HTTP status (`transports-v2/http.md`): 400 for what cannot be read, 402 for what does not pay.
    pub fn status(&self) -> u16 {
        match self {
            PaymentError::Several | PaymentError::Header(_) | PaymentError::Payload { .. } => 400,
            PaymentError::Identifier(error) => error.status(),
            PaymentError::Batch(error) => error.status(),
            _ => 402,
        }
    }
}
