//! Challenges: what has to be paid, bound to an `id` by HMAC-SHA256 ("Recommended: HMAC-SHA256 Binding").

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::credential::{Credential, Echo, Field};
use super::receipt::{from_rfc3339, to_rfc3339};
use super::{Problem, SCHEME};
use crate::Money;
use crate::protocol::x402::atomic::{ConversionError, to_atomic};

/// Bytes of a challenge's header: what every client can handle ("Size Considerations").
pub const CHALLENGE_BYTES_MAX: usize = 4_096;
/// Bytes of the secret, at least.
pub const SECRET_BYTES_MIN: usize = 32;
/// The value of `header`, where it is not left out.
pub(super) const HEADER: &str = "Payment-Authorization";

/// What a challenge says.
#[derive(Clone, PartialEq, Debug)]
pub struct Terms {
    /// What is protected, such as the site's host.
    pub realm: String,
    /// How to pay: lower-case letters.
    pub method: String,
    /// What kind of payment: `charge` …
    pub intent: String,
    /// What the method needs to know.
    pub request: Value,
    /// Unix seconds; good until then.
    pub expires_secs: u64,
    /// The digest of the request's body (RFC 9530), if it has one.
    pub digest: Option<String>,
    /// What comes back with the credential; nothing in it is secret.
    pub opaque: BTreeMap<String, String>,
    /// Asks for the credential in `Payment-Authorization`.
    pub in_payment_authorization: bool,
    /// For people. Not bound, so not to be relied upon.
    pub description: Option<String>,
}

impl Terms {
    /// The `request` of a `charge`: the price in the currency's minor unit.
    ///
    /// # Errors
    /// The minor unit cannot express the price.
    pub fn charge(price: Money, recipient: &str) -> Result<Value, ConversionError> {
        let amount = to_atomic(price, u32::from(price.currency.minor_decimals()))?;
        let currency = price.currency.as_str().to_ascii_lowercase();
        Ok(json!({"amount": amount.to_string(), "currency": currency, "recipient": recipient}))
    }
}

/// A challenge, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// Its identifier.
    pub id: String,
    /// The value of `WWW-Authenticate`.
    pub field: String,
}

/// Why a challenge cannot be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// A member that cannot stand in a header, or whose end could be taken to be elsewhere.
    #[error("`{member}` cannot stand in a challenge")]
    Member {
        /// Which.
        member: &'static str,
    },
    /// Above [`CHALLENGE_BYTES_MAX`].
    #[error("the challenge has {bytes} bytes; {CHALLENGE_BYTES_MAX} are the most")]
    TooLong {
        /// How many it would have.
        bytes: usize,
    },
}

/// Issues challenges and knows them again, by secrets that it shares with nobody.
#[derive(Debug)]
pub struct Challenger {
    keys: Vec<hmac::Key>,
}

/// A credential's challenge, known to be one of ours. Whether it is what would be asked today is for the caller to compare.
#[derive(Clone, PartialEq, Debug)]
pub struct Verified {
    /// To be used once, until it expires.
    pub id: String,
    /// How was paid.
    pub method: String,
    /// What kind of payment.
    pub intent: String,
    /// What was asked.
    pub request: Value,
    /// Unix seconds.
    pub expires_secs: u64,
    /// What we gave along.
    pub opaque: BTreeMap<String, String>,
}

/// Why a credential is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not issued here, or not in these words, or for somebody else, or in the other header.
    #[error("this challenge was not issued here")]
    Unknown,
    /// Over.
    #[error("this challenge is over")]
    Expired,
    /// Issued for another body.
    #[error("this challenge was issued for another body")]
    OtherBody,
}

impl Refused {
    /// Its name in the answer.
    pub fn problem(self) -> Problem {
        match self {
            Refused::Unknown => Problem::InvalidChallenge,
            Refused::Expired => Problem::PaymentExpired,
            Refused::OtherBody => Problem::VerificationFailed,
        }
    }
}

impl Challenger {
    /// Issues with the first secret, and knows again what was issued with any: so that a secret can be replaced. `None` if
    /// there is none, or one has less than [`SECRET_BYTES_MIN`] bytes.
    pub fn new(secrets: &[&[u8]]) -> Option<Challenger> {
        let are_long = secrets.iter().all(|secret| secret.len() >= SECRET_BYTES_MIN);
        let keys = secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)).collect();
        (are_long && !secrets.is_empty()).then_some(Challenger { keys })
    }

    /// A challenge.
    ///
    /// # Errors
    /// Something in it cannot be said in a header, or there is too much of it.
    pub fn issue(&self, terms: &Terms) -> Result<Challenge, ChallengeError> {
        let is_text = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\' | b'|'))
        };
        let member = |good, member| if good { Ok(()) } else { Err(ChallengeError::Member { member }) };
        let is_method =
            !terms.method.is_empty() && terms.method.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_intent = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        member(is_text(&terms.realm), "realm")?;
        member(is_method, "method")?;
        member(!terms.intent.is_empty() && terms.intent.bytes().all(is_intent), "intent")?;
        member(terms.digest.as_deref().is_none_or(is_text), "digest")?;
        member(terms.description.as_deref().is_none_or(is_text), "description")?;
        let expires = to_rfc3339(terms.expires_secs).ok_or(ChallengeError::Member { member: "expires" })?;
        let mut echo = Echo {
            id: String::new(),
            realm: terms.realm.clone(),
            method: terms.method.clone(),
            intent: terms.intent.clone(),
            request: encode(&terms.request),
            expires: Some(expires),
            digest: terms.digest.clone(),
            opaque: (!terms.opaque.is_empty()).then(|| encode(&json!(terms.opaque))),
            header: terms.in_payment_authorization.then(|| HEADER.to_owned()),
        };
        let tag = hmac::sign(&self.keys[0], slots(&echo).as_bytes());
        echo.id = URL_SAFE_NO_PAD.encode(tag.as_ref());

        let mut field = SCHEME.to_owned();
        let parameters = [
            ("id", Some(&echo.id)),
            ("realm", Some(&echo.realm)),
            ("method", Some(&echo.method)),
            ("intent", Some(&echo.intent)),
            ("header", echo.header.as_ref()),
            ("expires", echo.expires.as_ref()),
            ("digest", echo.digest.as_ref()),
            ("request", Some(&echo.request)),
            ("opaque", echo.opaque.as_ref()),
            ("description", terms.description.as_ref()),
        ];
        let said = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (index, (name, value)) in said.enumerate() {
            field.push_str(if index == 0 { " " } else { ", " });
            field.extend([name, "=\"", value.as_str(), "\""]);
        }
        if field.len() > CHALLENGE_BYTES_MAX {
            return Err(ChallengeError::TooLong { bytes: field.len() });
        }
        Ok(Challenge { id: echo.id, field })
    }

    /// Whether a credential answers a challenge of ours for this realm that is not over.
    ///
    /// `body_digest` is the digest of the request's body in the form in which the challenge was given it.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        credential: &Credential,
        realm: &str,
        body_digest: Option<&str>,
        now_secs: u64,
    ) -> Result<Verified, Refused> {
        let echo = &credential.challenge;
        let asked_for = match echo.header.as_deref() {
            None => Field::Authorization,
            Some(HEADER) => Field::PaymentAuthorization,
            Some(_) => return Err(Refused::Unknown),
        };
        if credential.field != asked_for || echo.realm != realm {
            return Err(Refused::Unknown);
        }
        // With a separator inside a member, seven slots could be read as eight: no member of ours has one.
        if echo.members().any(|member| member.contains('|')) {
            return Err(Refused::Unknown);
        }
        let tag = URL_SAFE_NO_PAD.decode(&echo.id).map_err(|_| Refused::Unknown)?;
        let slots = slots(echo);
        if !self.keys.iter().any(|key| hmac::verify(key, slots.as_bytes(), &tag).is_ok()) {
            return Err(Refused::Unknown);
        }
        // From here on every member is as we wrote it.
        let expires_secs = echo.expires.as_deref().and_then(from_rfc3339).ok_or(Refused::Unknown)?;
        if now_secs >= expires_secs {
            return Err(Refused::Expired);
        }
        if echo.digest.as_deref().is_some_and(|digest| Some(digest) != body_digest) {
            return Err(Refused::OtherBody);
        }
        Ok(Verified {
            id: echo.id.clone(),
            method: echo.method.clone(),
            intent: echo.intent.clone(),
            request: decode(&echo.request).ok_or(Refused::Unknown)?,
            expires_secs,
            opaque: match &echo.opaque {
                Some(opaque) => decode(opaque).ok_or(Refused::Unknown)?,
                None => BTreeMap::new(),
            },
        })
    }
}

/// The HMAC's input: seven slots, and an eighth where `header` is said.
fn slots(echo: &Echo) -> String {
    let or_empty = |member: &Option<String>| member.clone().unwrap_or_default();
    let mut slots = vec![
        echo.realm.clone(),
        echo.method.clone(),
        echo.intent.clone(),
        echo.request.clone(),
        or_empty(&echo.expires),
        or_empty(&echo.digest),
        or_empty(&echo.opaque),
    ];
    slots.extend(echo.header.clone());
    slots.join("|")
}

/// JSON in the form of RFC 8785, in Base64 for URLs.
fn encode(value: &Value) -> String {
    // A value has no key but texts and no number that is not finite: it cannot fail.
    URL_SAFE_NO_PAD.encode(serde_json_canonicalizer::to_vec(value).unwrap_or_default())
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
