//! OLP, the Open License Protocol of RSL 1.0 §4: what a client and a licence server say to each other at `/token`,
//! `/introspect` and `/key`. Both sides' messages are here, to be read and to be written; who gets a licence is not.
//!
//! All of it goes by POST over HTTPS, in UTF-8, as a form or as JSON, and each call carries the client's name and secret
//! as HTTP Basic ([`Client`]). `/introspect` has the shape of the drafts 0.8 and 0.9: the text of 1.0 is not public in
//! detail. What is in a token is the server's own matter; ours is [`super::cap::LicenseToken`].

mod body;
mod client;
mod error;
mod message;

pub(in crate::protocol) use body::is_token;
pub use body::{BODY_BYTES_MAX, TOKEN_BYTES_MAX};
pub use client::{AUTHORIZATION_BYTES_MAX, Client, ClientError};
pub use error::{Endpoint, ErrorCode, MessageError, OlpError};
pub use message::{
    Drafts, IntrospectRequest, IntrospectResponse, Introspection, JsonWebKey, KeyRequest, KeyResponse,
    TokenRequest, TokenResponse,
};

/// The path of the token endpoint, after the base URL (`content/@server`).
pub const TOKEN_PATH: &str = "/token";
/// The path of the introspection endpoint.
pub const INTROSPECT_PATH: &str = "/introspect";
/// The path of the endpoint for keys of encrypted media.
pub const KEY_PATH: &str = "/key";
