//! What may go wrong, with codes and statuses (§4).

use serde::{Deserialize, Serialize};

use super::body::{BODY_BYTES_MAX, from_json, to_json};
use crate::protocol::rsl::DocumentError;

/// Where a call goes; which errors it knows depends on that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `/token` (RFC 6749).
    Token,
    /// `/introspect` (RFC 7662).
    Introspect,
    /// `/key` (RFC 7517).
    Key,
}

/// A code of an error, and its status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCode {
    /// 400: a field is missing, twice there, or not readable.
    InvalidRequest,
    /// 401: no client, or not that client.
    InvalidClient,
    /// 401: the token that is asked about, or by which a key is asked for, is none.
    InvalidToken,
    /// 403: this client may not do that.
    UnauthorizedClient,
    /// 400: the licence is none, or not on offer.
    InvalidLicense,
    /// 400: the resource is not ours.
    InvalidResource,
    /// 400: another grant than `client_credentials`.
    UnsupportedGrantType,
    /// 403: the token is good, but not for that.
    InsufficientScope,
    /// 500.
    ServerError,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [ErrorCode; 9] = [
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidClient,
        ErrorCode::InvalidToken,
        ErrorCode::UnauthorizedClient,
        ErrorCode::InvalidLicense,
        ErrorCode::InvalidResource,
        ErrorCode::UnsupportedGrantType,
        ErrorCode::InsufficientScope,
        ErrorCode::ServerError,
    ];

    /// The word in `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::InvalidRequest => "invalid_request",
            ErrorCode::InvalidClient => "invalid_client",
            ErrorCode::InvalidToken => "invalid_token",
            ErrorCode::UnauthorizedClient => "unauthorized_client",
            ErrorCode::InvalidLicense => "invalid_license",
            ErrorCode::InvalidResource => "invalid_resource",
            ErrorCode::UnsupportedGrantType => "unsupported_grant_type",
            ErrorCode::InsufficientScope => "insufficient_scope",
            ErrorCode::ServerError => "server_error",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::InvalidRequest
            | ErrorCode::InvalidLicense
            | ErrorCode::InvalidResource
            | ErrorCode::UnsupportedGrantType => 400,
            ErrorCode::InvalidClient | ErrorCode::InvalidToken => 401,
            ErrorCode::UnauthorizedClient | ErrorCode::InsufficientScope => 403,
            ErrorCode::ServerError => 500,
        }
    }

    /// Whether the endpoint may answer with it (§4).
    pub fn belongs_to(self, endpoint: Endpoint) -> bool {
        match self {
            ErrorCode::InvalidRequest
            | ErrorCode::InvalidClient
            | ErrorCode::UnauthorizedClient
            | ErrorCode::ServerError => true,
            ErrorCode::InvalidLicense | ErrorCode::InvalidResource | ErrorCode::UnsupportedGrantType => {
                endpoint == Endpoint::Token
            }
            ErrorCode::InvalidToken => endpoint != Endpoint::Token,
            ErrorCode::InsufficientScope => endpoint == Endpoint::Key,
        }
    }
}

/// An error as it is sent: `{"error":"invalid_client"}`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the licence server says {}{}", .code.as_str(), .description.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct OlpError {
    /// What is wrong.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub description: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RawError {
    error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
}

impl OlpError {
    /// An error with a sentence.
    pub fn new(code: ErrorCode, description: impl Into<String>) -> OlpError {
        OlpError { code, description: Some(description.into()) }
    }

    /// Reads a server's error.
    ///
    /// # Errors
    /// It is none of the codes.
    pub fn parse(body: &[u8]) -> Result<OlpError, MessageError> {
        let raw: RawError = from_json(body)?;
        let code = ErrorCode::ALL.into_iter().find(|code| code.as_str() == raw.error);
        let code = code.ok_or(MessageError::Field { name: "error", why: "no code of OLP" })?;
        Ok(OlpError { code, description: raw.error_description })
    }

    /// The JSON body.
    pub fn to_json(&self) -> String {
        to_json(&RawError {
            error: self.code.as_str().to_owned(),
            error_description: self.description.clone(),
        })
    }
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// More than [`BODY_BYTES_MAX`].
    #[error("the body has {bytes} bytes, {BODY_BYTES_MAX} are the most")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// Neither a form nor JSON.
    #[error("the content type is neither application/x-www-form-urlencoded nor application/json")]
    MediaType,
    /// Not what the content type says.
    #[error("the body is not {what}")]
    Malformed {
        /// `a form in UTF-8`, `JSON`, or what the JSON lacks.
        what: String,
    },
    /// `resource` is not the `url` of a `content`.
    #[error("`resource` is not the url of a content")]
    Resource,
    /// A field that must be there, is empty, twice, too long, or has another value.
    #[error("`{name}` {why}")]
    Field {
        /// Which one.
        name: &'static str,
        /// Half a sentence.
        why: &'static str,
    },
    /// The licence is none.
    #[error("`license` is not a licence of RSL 1.0")]
    License(#[source] DocumentError),
    /// Another `grant_type`.
    #[error("`grant_type` is not client_credentials")]
    GrantType,
}

impl MessageError {
    /// The code that a server answers with.
    pub fn code(&self) -> ErrorCode {
        match self {
            MessageError::License(_) => ErrorCode::InvalidLicense,
            MessageError::Resource => ErrorCode::InvalidResource,
            MessageError::GrantType => ErrorCode::UnsupportedGrantType,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

/// The answer to a message that cannot be read.
impl From<&MessageError> for OlpError {
    fn from(error: &MessageError) -> OlpError {
        OlpError::new(error.code(), error.to_string())
    }
}
