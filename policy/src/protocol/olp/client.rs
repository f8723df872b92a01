//! Who calls: HTTP Basic (RFC 7617), with the name form-encoded first (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::{decode_form, encode_form};
use crate::sha256;

/// Bytes of an `Authorization` header that are read.
pub const AUTHORIZATION_BYTES_MAX: usize = 4_096;

/// A client's name and secret, as one call presents them.
#[derive(Clone)]
pub struct Client {
    /// `client_id`, decoded.
    pub id: String,
    /// As it was sent: whether it was form-encoded, the client alone knows.
    secret: String,
}

/// Why a call carries no client; each is 401 `invalid_client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No `Authorization`.
    #[error("the call carries no client authentication")]
    Missing,
    /// More than one, or one that is too long.
    #[error("one Authorization header of at most {AUTHORIZATION_BYTES_MAX} bytes is taken")]
    Several,
    /// Another scheme than Basic.
    #[error("the client authenticates by HTTP Basic")]
    OtherScheme,
    /// Not `base64(client_id:client_secret)` in UTF-8.
    #[error("the credentials are not base64 of name, colon and secret")]
    Malformed,
}

impl Client {
    /// A client, to write a call.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Client {
        Client { id: id.into(), secret: secret.into() }
    }

    /// Reads the values of a call's `Authorization` headers.
    ///
    /// # Errors
    /// There is no client to be read.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Client, ClientError> {
        let mut values = values.into_iter();
        let value = values.next().ok_or(ClientError::Missing)?;
        if values.next().is_some() || value.len() > AUTHORIZATION_BYTES_MAX {
            return Err(ClientError::Several);
        }
        let value = std::str::from_utf8(value).map_err(|_| ClientError::Malformed)?.trim_matches([' ', '\t']);
        let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(ClientError::OtherScheme);
        }
        let decoded =
            STANDARD.decode(credentials.trim_matches([' ', '\t'])).map_err(|_| ClientError::Malformed)?;
        let decoded = String::from_utf8(decoded).map_err(|_| ClientError::Malformed)?;
        let (id, secret) = decoded.split_once(':').ok_or(ClientError::Malformed)?;
        let id = decode_form(id).filter(|id| !id.is_empty()).ok_or(ClientError::Malformed)?;
        if id.chars().any(char::is_control) {
            return Err(ClientError::Malformed);
        }
        Ok(Client { id, secret: secret.to_owned() })
    }

    /// The value of `Authorization` for a call.
    pub fn to_header(&self) -> String {
        let credentials = format!("{}:{}", encode_form(&self.id), encode_form(&self.secret));
        format!("Basic {}", STANDARD.encode(credentials))
    }

    /// Whether the secret is the one with this SHA-256, as it was sent or form-decoded: clients do either.
    ///
    /// The secret itself is never compared, and the time does not depend on how much of a digest is right.
    pub fn has_secret(&self, digest: &[u8; 32]) -> bool {
        let decoded = decode_form(&self.secret);
        let decoded = decoded.as_deref().unwrap_or(&self.secret);
        // Both are always compared.
        is_same(&sha256(self.secret.as_bytes()), digest) | is_same(&sha256(decoded.as_bytes()), digest)
    }
}

/// The secret stays out of logs.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Compares without an early end.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_as_they_are_written() {
        for (id, secret) in
            [("a", "b"), ("lab one", "p%61ss+word"), ("https://lab.example/?a:b", "ü:"), ("a", "")]
        {
            let header = Client::new(id, secret).to_header();
            let client = Client::parse([header.as_bytes()]).unwrap();
            assert_eq!(client.id, id);
            assert!(client.has_secret(&sha256(secret.as_bytes())), "{secret}");
            assert!(!client.has_secret(&sha256(b"other")));
            assert!(!format!("{client:?}").contains("secret:"));
        }
        // Not form-encoded, as many clients send it.
        let plain = format!("bAsIc {}", STANDARD.encode("lab:p%61ss+word"));
        assert!(Client::parse([plain.as_bytes()]).unwrap().has_secret(&sha256(b"p%61ss+word")));
    }

    #[test]
    fn everything_else_is_no_client() {
        let parse = |value: &str| Client::parse([value.as_bytes()]).map(|client| client.id);
        assert_eq!(Client::parse([]).err(), Some(ClientError::Missing));
        assert_eq!(
            Client::parse([b"Basic YTpi".as_slice(), b"Basic YTpi"]).err(),
            Some(ClientError::Several)
        );
        assert_eq!(parse(&"B".repeat(5_000)), Err(ClientError::Several));
        assert_eq!(parse("Bearer YTpi"), Err(ClientError::OtherScheme));
        assert_eq!(parse(""), Err(ClientError::OtherScheme));
        for value in
            ["Basic", "Basic !", "Basic YWI=", "Basic YTp", "Basic Oi8=", "Basic /zp=", "Basic JTAwOmE="]
        {
            assert_eq!(parse(value), Err(ClientError::Malformed), "{value}");
        }
    }
}
