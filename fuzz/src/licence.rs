//! Licence tokens and the licence server's messages. The first line is a content type or a header's value, the rest a body.

use policy::protocol::cap::{Credentials, LicenseToken, VerifyingKey};
use policy::protocol::olp::{
    Client, Drafts, IntrospectRequest, IntrospectResponse, KeyRequest, KeyResponse, OlpError, TokenRequest,
    TokenResponse,
};
use ring::signature::Ed25519KeyPair;

const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (first, body) = (&input[..end], input.get(end + 1..).unwrap_or(&[]));
    // The key that signed the token among the kept inputs: whatever opens is what it signed.
    let signer = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a seed of 32 bytes");
    if let Credentials::Token(token) = Credentials::parse([first])
        && let Ok(opened) = LicenseToken::open(token, &[VerifyingKey::of(&signer)])
    {
        assert_eq!(LicenseToken::issue(&opened.claims, &signer).as_deref(), Ok(token));
    }
    if let Ok(client) = Client::parse([first]) {
        let again =
            Client::parse([Client::new(client.id.clone(), "").to_header().as_bytes()]).expect("a client");
        assert_eq!(again.id, client.id);
    }
    let content_type = String::from_utf8_lossy(first);
    if let Ok(request) = TokenRequest::parse(&content_type, body, Drafts::Accept) {
        let again = TokenRequest::parse(FORM, request.to_form().as_bytes(), Drafts::Refuse);
        assert_eq!(again.as_ref(), Ok(&request));
    }
    if let Ok(request) = IntrospectRequest::parse(&content_type, body) {
        assert_eq!(IntrospectRequest::parse(FORM, request.to_form().as_bytes()).as_ref(), Ok(&request));
        assert!(KeyRequest::parse(&content_type, body).is_ok(), "both have the same fields");
    }
    if let Ok(response) = TokenResponse::parse(body, Drafts::Accept) {
        assert_eq!(TokenResponse::parse(response.to_json().as_bytes(), Drafts::Refuse), Ok(response));
    }
    if let Ok(response) = IntrospectResponse::parse(body) {
        assert_eq!(IntrospectResponse::parse(response.to_json().as_bytes()), Ok(response));
    }
    if let Ok(response) = KeyResponse::parse(body) {
        assert_eq!(KeyResponse::parse(response.to_json().as_bytes()), Ok(response));
    }
    if let Ok(error) = OlpError::parse(body) {
        assert_eq!(OlpError::parse(error.to_json().as_bytes()), Ok(error));
    }
}
