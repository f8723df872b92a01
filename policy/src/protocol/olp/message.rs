//! The messages of the three endpoints.

use serde::{Deserialize, Serialize};

use super::body::{Fields, TOKEN_BYTES_MAX, decode_form, form, from_json, is_token, to_json};
use super::error::{ErrorCode, MessageError, OlpError};
use crate::protocol::rsl::{self, License};

/// Whether words of the drafts before 1.0 are read as well: `grant_type=rsl`, `"token_type":"rsl"`. They are never written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Drafts {
    /// 1.0 alone.
    #[default]
    Refuse,
    /// 0.8 and 0.9, too.
    Accept,
}

/// A call of `/token`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRequest {
    /// The licence that the client takes: a complete `license` element of the document.
    pub license: License,
    /// The `url` of the `content` that it stands in.
    pub resource: String,
}

impl TokenRequest {
    /// Reads a call's body.
    ///
    /// # Errors
    /// What is missing or wrong; [`MessageError::code`] is the answer.
    pub fn parse(content_type: &str, body: &[u8], drafts: Drafts) -> Result<TokenRequest, MessageError> {
        let fields = Fields::parse(content_type, body)?;
        match fields.required("grant_type")? {
            "client_credentials" => {}
            "rsl" if drafts == Drafts::Accept => {}
            _ => return Err(MessageError::GrantType),
        }
        if fields.get("license_type").is_some_and(|kind| !kind.eq_ignore_ascii_case(rsl::MEDIA_TYPE)) {
            return Err(MessageError::Field { name: "license_type", why: "is not application/rsl+xml" });
        }
        let element = fields.required("license")?;
        // In JSON some clients send what the form's encoding would have made of it.
        let decoded = if element.starts_with(['%', '+']) { decode_form(element) } else { None };
        let license = License::parse(decoded.as_deref().unwrap_or(element)).map_err(MessageError::License)?;
        let resource = fields.required("resource")?;
        if resource.len() > rsl::URL_BYTES_MAX || resource.contains(char::is_control) {
            return Err(MessageError::Resource);
        }
        Ok(TokenRequest { license, resource: resource.to_owned() })
    }

    /// The form that a client sends.
    pub fn to_form(&self) -> String {
        form(&[
            ("grant_type", "client_credentials"),
            ("license", &self.license.to_element()),
            ("license_type", rsl::MEDIA_TYPE),
            ("resource", &self.resource),
        ])
    }

    /// The licence in a document that the request is about: the same terms, under the same `url`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidResource`] if no `content` has the `url`, [`ErrorCode::InvalidLicense`] if none of those offers
    /// the licence.
    pub fn find_in<'d>(
        &self,
        document: &'d rsl::Document,
    ) -> Result<(&'d rsl::Content, &'d License), OlpError> {
        let mut is_known = false;
        for content in document.contents.iter().filter(|content| content.url == self.resource) {
            is_known = true;
            if let Some(license) = content.licenses.iter().find(|license| **license == self.license) {
                return Ok((content, license));
            }
        }
        Err(match is_known {
            true => OlpError::new(ErrorCode::InvalidLicense, "the licence is not on offer for the resource"),
            false => OlpError::new(ErrorCode::InvalidResource, "no content has this url"),
        })
    }
}

/// A token that was issued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// Seconds until it expires; none: never (`expires_in: 0`).
    pub expires_in: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct RawToken {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: u64,
}

impl TokenResponse {
    /// Reads a server's answer.
    ///
    /// # Errors
    /// It is none, or its token cannot be sent in a header.
    pub fn parse(body: &[u8], drafts: Drafts) -> Result<TokenResponse, MessageError> {
        let raw: RawToken = from_json(body)?;
        let is_license = raw.token_type.eq_ignore_ascii_case("License")
            || (drafts == Drafts::Accept && raw.token_type.eq_ignore_ascii_case("rsl"));
        if !is_license {
            return Err(MessageError::Field { name: "token_type", why: "is not License" });
        }
        if !is_token(&raw.access_token) {
            return Err(MessageError::Field { name: "access_token", why: "cannot be sent in a header" });
        }
        let expires_in = Some(raw.expires_in).filter(|seconds| *seconds > 0);
        Ok(TokenResponse { access_token: raw.access_token, expires_in })
    }

    /// The JSON body.
    pub fn to_json(&self) -> String {
        to_json(&RawToken {
            access_token: self.access_token.clone(),
            token_type: "License".to_owned(),
            expires_in: self.expires_in.unwrap_or(0),
        })
    }
}

/// A call of `/introspect`: is this token good for that?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntrospectRequest {
    /// The token.
    pub token: String,
    /// The URL that was fetched with it.
    pub resource: String,
}

/// A call of `/key`: the key of an encrypted asset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRequest {
    /// The licence token.
    pub token: String,
    /// The asset.
    pub resource: String,
}

fn token_and_resource(content_type: &str, body: &[u8]) -> Result<(String, String), MessageError> {
    let fields = Fields::parse(content_type, body)?;
    let (token, resource) = (fields.required("token")?, fields.required("resource")?);
    if token.len() > TOKEN_BYTES_MAX {
        return Err(MessageError::Field { name: "token", why: "is longer than 8192 bytes" });
    }
    if resource.len() > rsl::URL_BYTES_MAX || resource.contains(char::is_control) {
        return Err(MessageError::Field { name: "resource", why: "is not a URL" });
    }
    Ok((token.to_owned(), resource.to_owned()))
}

impl IntrospectRequest {
    /// Reads a call's body.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<IntrospectRequest, MessageError> {
        token_and_resource(content_type, body).map(|(token, resource)| IntrospectRequest { token, resource })
    }

    /// The form that a client sends.
    pub fn to_form(&self) -> String {
        form(&[("token", &self.token), ("resource", &self.resource)])
    }
}

impl KeyRequest {
    /// Reads a call's body.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<KeyRequest, MessageError> {
        token_and_resource(content_type, body).map(|(token, resource)| KeyRequest { token, resource })
    }

    /// The form that a client sends.
    pub fn to_form(&self) -> String {
        form(&[("token", &self.token), ("resource", &self.resource)])
    }
}

/// What introspection says. Those who serve resources have to rely on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntrospectResponse {
    /// `{"active":false}`: no such token, expired or revoked; which of these is nobody's business.
    Inactive,
    /// A good token.
    Active(Introspection),
}

/// What is said of a good token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introspection {
    /// The licence's element, as XML.
    pub license: Option<String>,
    /// The resource that was asked about.
    pub resource: String,
    /// Whether the licence permits it.
    pub permitted: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Until when the token is good, seconds since 1970 (`exp`, RFC 7662 §2.2), if the server says.
    pub expires: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct RawIntrospection {
    active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permitted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
}

impl IntrospectResponse {
    /// Reads a server's answer. An active token without a word on permission permits nothing.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(body: &[u8]) -> Result<IntrospectResponse, MessageError> {
        let raw: RawIntrospection = from_json(body)?;
        if !raw.active {
            return Ok(IntrospectResponse::Inactive);
        }
        Ok(IntrospectResponse::Active(Introspection {
            license: raw.license,
            resource: raw.resource.unwrap_or_default(),
            permitted: raw.permitted.unwrap_or(false),
            reason: raw.reason,
            expires: raw.exp,
        }))
    }

    /// The JSON body.
    pub fn to_json(&self) -> String {
        let raw = match self {
            IntrospectResponse::Inactive => RawIntrospection {
                active: false,
                token_type: None,
                license: None,
                resource: None,
                permitted: None,
                reason: None,
                exp: None,
            },
            IntrospectResponse::Active(active) => RawIntrospection {
                active: true,
                token_type: Some("License".to_owned()),
                license: active.license.clone(),
                resource: Some(active.resource.clone()),
                permitted: Some(active.permitted),
                reason: active.reason.clone(),
                exp: active.expires,
            },
        };
        to_json(&raw)
    }
}

/// A symmetric key of an encrypted asset (RFC 7517, RFC 7518 §6.4): `kty` is `oct`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonWebKey {
    /// `oct`.
    pub kty: String,
    /// The key's name.
    pub kid: String,
    /// The key, in base64url.
    pub k: String,
    /// The algorithm, left to the implementation: `A128CTR` in the draft's example.
    pub alg: String,
}

/// The key stays out of logs.
impl std::fmt::Debug for JsonWebKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonWebKey").field("kid", &self.kid).field("alg", &self.alg).finish_non_exhaustive()
    }
}

/// The answer of `/key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyResponse {
    /// The key.
    pub key: JsonWebKey,
    /// The asset.
    pub resource: String,
}

impl KeyResponse {
    /// Reads a server's answer.
    ///
    /// # Errors
    /// It is none, or holds another kind of key.
    pub fn parse(body: &[u8]) -> Result<KeyResponse, MessageError> {
        let response: KeyResponse = from_json(body)?;
        if response.key.kty != "oct" {
            return Err(MessageError::Field { name: "kty", why: "is not oct" });
        }
        Ok(response)
    }

    /// The JSON body.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}
