//! The other side: signing requests, and publishing keys.

use serde_json::{Value, json};

use super::url::HttpsUrl;
use super::{DIRECTORY_MEDIA_TYPE, DIRECTORY_TAG, REQUEST_TAG, WELL_KNOWN_PATH};
use crate::protocol::message_signature::{
    Component, Field, Message, Parameters, PublicKey, Request, Response, SignError, SigningKey,
    content_digest,
};

/// In which form `Signature-Agent` is sent: not every target reads every one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AgentForm {
    /// A dictionary with the URL of the keys (draft-ietf-webbotauth-httpsig-protocol).
    #[default]
    Dictionary,
    /// A string with an origin, whose keys are at the well-known path: what most deployments read still.
    String,
}

/// What is signed beside `@authority` and `Signature-Agent`, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignRequest<'a> {
    /// The form of `Signature-Agent`.
    pub form: AgentForm,
    /// Label of the signature.
    pub label: &'a str,
    /// More components, as they stand in `Signature-Input`: `"@method"`, `"@path"`, `"crawler-max-price"`.
    pub components: &'a [&'a str],
    /// Now, in Unix seconds.
    pub created: i64,
    /// When it ends; a minute later is enough.
    pub expires: i64,
    /// What makes it unique: at least 32 random bytes, in base64.
    pub nonce: Option<&'a str>,
}

/// The fields to add to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRequest {
    /// `Signature-Agent`.
    pub signature_agent: String,
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// Why a request is not signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AgentSignError {
    /// It cannot be.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The string form names an origin, and the keys are elsewhere.
    #[error("the string form of Signature-Agent names an origin; the keys are at {0}")]
    NotAtOrigin(String),
    /// The request has a `Signature-Agent` already.
    #[error("the request has a Signature-Agent already")]
    SignedAlready,
}

/// Signs a request in the name of an agent, whose keys are at `keys` (an origin: at its well-known path).
///
/// Fields that are covered must be in the request as it will be sent.
pub fn sign_request(
    key: &SigningKey,
    keys: &HttpsUrl,
    request: &Request<'_>,
    how: &SignRequest<'_>,
) -> Result<SignedRequest, AgentSignError> {
    if request.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("signature-agent")) {
        return Err(AgentSignError::SignedAlready);
    }
    let (signature_agent, agent_component) = match how.form {
        AgentForm::Dictionary => {
            // The newest draft fetches what stands there, so an origin is written out.
            let url = if keys.is_origin() { keys.with_path(WELL_KNOWN_PATH) } else { keys.clone() };
            (format!("{}=\"{url}\"", how.label), format!("\"signature-agent\";key=\"{}\"", how.label))
        }
        AgentForm::String
            if keys.is_origin() || keys.without_query() == keys.with_path(WELL_KNOWN_PATH).as_str() =>
        {
            (format!("\"{}\"", keys.origin()), "\"signature-agent\"".to_owned())
        }
        AgentForm::String => return Err(AgentSignError::NotAtOrigin(keys.as_str().to_owned())),
    };
    let components = ["\"@authority\"", agent_component.as_str()]
        .into_iter()
        .chain(how.components.iter().copied())
        .map(Component::parse)
        .collect::<Result<Vec<Component>, _>>()
        .map_err(SignError::from)?;
    let parameters = Parameters {
        created: Some(how.created),
        expires: Some(how.expires),
        nonce: how.nonce.map(str::to_owned),
        alg: Some("ed25519".to_owned()),
        keyid: Some(key.public_key().thumbprint().to_owned()),
        tag: Some(REQUEST_TAG.to_owned()),
    };
    let mut fields: Vec<Field<'_>> = request.fields.to_vec();
    fields.push(("signature-agent", signature_agent.as_bytes()));
    let sent = Request { fields: &fields, ..*request };
    let signed = key.sign(how.label, &components, &parameters, Message::Request(&sent))?;
    Ok(SignedRequest { signature_input: signed.input, signature: signed.signature, signature_agent })
}

/// The body of a key directory.
pub fn directory_body(keys: &[&PublicKey]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.to_jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The fields of a directory's response: media type, digest, and a signature of each key, which shows that whoever serves
/// the keys has them. `authority` is the host that was asked.
pub fn directory_fields(
    keys: &[&SigningKey],
    authority: &str,
    body: &str,
    created: i64,
    expires: i64,
) -> Result<Vec<(&'static str, String)>, SignError> {
    let digest = content_digest(body.as_bytes());
    let answered = Request {
        method: "GET",
        scheme: "https",
        authority,
        target: WELL_KNOWN_PATH,
        fields: &[],
        trailers: &[],
    };
    let fields = [("content-digest", digest.as_bytes())];
    let response = Response { status: 200, fields: &fields, trailers: &[], request: Some(&answered) };
    let components = [Component::parse("\"@authority\";req")?, Component::parse("\"content-digest\"")?];
    let (mut inputs, mut signatures) = (Vec::new(), Vec::new());
    for (index, key) in keys.iter().enumerate() {
        let parameters = Parameters {
            created: Some(created),
            expires: Some(expires),
            keyid: Some(key.public_key().thumbprint().to_owned()),
            tag: Some(DIRECTORY_TAG.to_owned()),
            ..Parameters::default()
        };
        let label = format!("binding{index}");
        let signed = key.sign(&label, &components, &parameters, Message::Response(&response))?;
        inputs.push(signed.input);
        signatures.push(signed.signature);
    }
    Ok(vec![
        ("content-type", DIRECTORY_MEDIA_TYPE.to_owned()),
        ("content-digest", digest),
        ("signature-input", inputs.join(", ")),
        ("signature", signatures.join(", ")),
    ])
}
