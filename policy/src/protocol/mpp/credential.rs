//! Credentials: a challenge, echoed, and a method's proof that it was met.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Problem, SCHEME};
use crate::protocol::json;

/// Bytes of a credential's header that are read. The draft asks for 4 KB at least.
pub const CREDENTIAL_BYTES_MAX: usize = 16_384;

/// The header in which a credential came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// `Authorization`.
    Authorization,
    /// `Payment-Authorization`.
    PaymentAuthorization,
}

/// A credential.
#[derive(Clone, PartialEq, Debug)]
pub struct Credential {
    /// Where it came.
    pub field: Field,
    /// The challenge, as the client says it was.
    pub challenge: Echo,
    /// Who pays, as the client says: a DID.
    pub source: Option<String>,
    /// The method's proof.
    pub payload: Map<String, Value>,
}

/// A challenge as a client gives it back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Its identifier.
    pub id: String,
    /// What is protected.
    pub realm: String,
    /// How was paid.
    pub method: String,
    /// What kind of payment.
    pub intent: String,
    /// What was asked, encoded.
    pub request: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// RFC 9530.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What we gave along, encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
    /// `Payment-Authorization`, if the challenge said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

impl Echo {
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        let said = [&self.expires, &self.digest, &self.opaque, &self.header].into_iter().flatten();
        [&self.realm, &self.method, &self.intent, &self.request].into_iter().chain(said).map(String::as_str)
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(deserialize_with = "json::object")]
    challenge: Echo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    payload: Map<String, Value>,
}

/// Why a credential cannot be read: `malformed-credential`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// More than one.
    #[error("send one Payment credential, in one header")]
    Several,
    /// Above [`CREDENTIAL_BYTES_MAX`].
    #[error("the credential has {bytes} bytes; {CREDENTIAL_BYTES_MAX} are the most")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Not Base64 for URLs without padding.
    #[error("the credential is not Base64 for URLs without padding")]
    NotBase64,
    /// Not the object that it should be.
    #[error("the credential is not the JSON object that it should be: {why}")]
    NotJson {
        /// The first thing that is wrong, by its place.
        why: String,
    },
}

impl CredentialError {
    /// Its name in the answer.
    pub fn problem(&self) -> Problem {
        Problem::MalformedCredential
    }
}

impl Credential {
    /// The credential of a request: of all its `Authorization` and all its `Payment-Authorization` headers the one with the
    /// scheme `Payment`. `None` if there is none; other schemes are not ours to read.
    ///
    /// # Errors
    /// There are several, or it cannot be read.
    pub fn from_headers(
        authorization: impl IntoIterator<Item = impl AsRef<[u8]>>,
        payment_authorization: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Option<Credential>, CredentialError> {
        let mut found = None;
        let mut take = |field, value: &[u8]| {
            let Some(token) = token(value) else { return Ok(()) };
            match found.replace(Credential::parse(field, token)?) {
                None => Ok(()),
                Some(_) => Err(CredentialError::Several),
            }
        };
        for value in authorization {
            take(Field::Authorization, value.as_ref())?;
        }
        for value in payment_authorization {
            take(Field::PaymentAuthorization, value.as_ref())?;
        }
        Ok(found)
    }

    /// Reads what stands behind the scheme.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn parse(field: Field, token: &[u8]) -> Result<Credential, CredentialError> {
        if token.len() > CREDENTIAL_BYTES_MAX {
            return Err(CredentialError::TooLong { bytes: token.len() });
        }
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| CredentialError::NotBase64)?;
        let wire: Wire =
            json::from_slice(&json).map_err(|error| CredentialError::NotJson { why: error.to_string() })?;
        Ok(Credential { field, challenge: wire.challenge, source: wire.source, payload: wire.payload })
    }

    /// The value of its header.
    pub fn to_field(&self) -> String {
        let wire = Wire {
            challenge: self.challenge.clone(),
            source: self.source.clone(),
            payload: self.payload.clone(),
        };
        // Keys are texts: it cannot fail.
        let json = serde_json::to_vec(&wire).unwrap_or_default();
        [SCHEME, " ", &URL_SAFE_NO_PAD.encode(json)].concat()
    }
}

/// What stands behind the scheme `Payment` (RFC 9110 §11.4: the scheme's case does not matter).
fn token(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let is_ours =
        scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && rest.first().is_none_or(u8::is_ascii_whitespace);
    is_ours.then(|| rest.trim_ascii_start())
}
