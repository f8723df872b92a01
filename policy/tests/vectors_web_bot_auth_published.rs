//! Judges every case of `testdata/vectors/web_bot_auth_published.json`: signatures that others have published.

#[path = "support/vectors.rs"]
mod files;
#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use files::vectors;
use policy::protocol::bot_auth::{
    DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, KeyDirectory, KeySource, Outcome, Settings, read_claims, verify,
};
use policy::protocol::message_signature::{Message, PublicKey, Request, Response, read_signatures};
use serde_json::{Value, json};
use support::{AtHand, Stored};

#[test]
fn every_published_signature_holds() {
    let file = vectors("web_bot_auth_published.json");
    let cases = file["vectors"].as_array().expect("vectors");
    assert!(!cases.is_empty());
    let mut failures = Vec::new();
    for case in cases {
        let id = case["id"].as_str().expect("an id");
        if let Err(what) = judge(&file, case) {
            failures.push(format!("{id}: {what}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn thumbprints_are_the_published_ones() {
    let file = vectors("web_bot_auth_published.json");
    for (name, jwk) in [("ed25519", "ed25519"), ("rsa", "rsa-pss")] {
        let key = PublicKey::from_json(&file["keys"][jwk].to_string()).expect("a key");
        assert_eq!(Some(key.thumbprint()), file["thumbprints"][name].as_str(), "{name}");
    }
}

/// They are made with keys of RFC 9421, and some are good for a hundred years.
fn settings() -> Settings {
    Settings { refuse_published_private_keys: false, window_s_max: i64::MAX, ..Settings::default() }
}

fn judge(file: &Value, case: &Value) -> Result<(), String> {
    let name = match case["alg"].as_str() {
        Some("rsa-pss-sha512") => "rsa-pss",
        _ => "ed25519",
    };
    let mut jwk = file["keys"][name].clone();
    let key = PublicKey::from_json(&jwk.to_string()).map_err(|error| error.to_string())?;
    let public = jwk.as_object_mut().expect("a key");
    public.retain(|member, _| ["kty", "crv", "x", "n", "e"].contains(&member.as_str()));
    let body = json!({ "keys": [public] }).to_string();

    let note = case["note"].as_str().expect("a note");
    match note.split_once("response body: ") {
        Some((_, body)) => response(case, &key, body),
        None => request(case, &key, note, &body),
    }
}

fn request(case: &Value, key: &PublicKey, note: &str, keys_body: &str) -> Result<(), String> {
    let url = note.split_whitespace().find(|word| word.starts_with("https://")).expect("a URL");
    let stored = Stored::new("GET", url, &case["headers"]);
    let fields = stored.fields();
    let request = stored.request(&fields);
    holds(case, key, Message::Request(&request))?;

    let settings = settings();
    let created = created(case);
    let sources: Vec<KeySource> =
        read_claims(&request, created, &settings).sources().into_iter().cloned().collect();
    let mut keys = AtHand { directories: Vec::new(), agreed: vec![key.clone()] };
    for source in &sources {
        if !source.url.as_str().starts_with("https://signature-agent.test/") {
            return Err(format!("the keys are looked for at {}", source.url));
        }
        let fetched =
            Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: keys_body.as_bytes() };
        let directory = KeyDirectory::read(source, fetched, &settings).map_err(|error| error.to_string())?;
        keys.directories.push(Arc::new(directory));
    }
    if sources.is_empty() == case["headers"].get("Signature-Agent").is_some() {
        return Err(format!("the keys are looked for at {sources:?}"));
    }
    match verify(&request, &keys, created, &settings) {
        Outcome::Verified(verified) if verified.keyid == key.thumbprint() => {}
        other => return Err(format!("{other:?}")),
    }
    // In production nobody is who signs with a key that stands in an RFC.
    match verify(&request, &keys, created, &Settings { refuse_published_private_keys: true, ..settings }) {
        Outcome::Unverified { .. } => Ok(()),
        other => Err(format!("with a published private key: {other:?}")),
    }
}

fn response(case: &Value, key: &PublicKey, body: &str) -> Result<(), String> {
    let stored = Stored::new("GET", "https://signature-agent.test/", &case["headers"]);
    let fields = stored.fields();
    let answered = Request { fields: &[], ..stored.request(&[]) };
    let response = Response { status: 200, fields: &fields, trailers: &[], request: Some(&answered) };
    holds(case, key, Message::Response(&response))?;

    let settings = settings();
    let origin = HttpsUrl::parse("https://signature-agent.test").map_err(|error| error.to_string())?;
    let source = KeySource::directory(&origin);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    let directory = KeyDirectory::read(&source, fetched, &settings).map_err(|error| error.to_string())?;
    let signers = |authority: &str, body: &str| {
        directory.signed_by(authority, &response, body.as_bytes(), created(case), &settings)
    };
    match signers("signature-agent.test", body) {
        Ok(signers) if signers == [key.thumbprint()] => {}
        other => return Err(format!("{other:?}")),
    }
    if let Ok(signers) = signers("other.test", body) {
        return Err(format!("it holds for another host: {signers:?}"));
    }
    match signers("signature-agent.test", &format!("{body} ")) {
        Ok(signers) => Err(format!("it holds for another body: {signers:?}")),
        Err(_) => Ok(()),
    }
}

/// The base is the published one, the signature is the key's, and with any other bit it is not.
fn holds(case: &Value, key: &PublicKey, message: Message<'_>) -> Result<(), String> {
    let read = read_signatures(message.fields()).map_err(|error| error.to_string())?;
    let candidate = read.iter().find(|candidate| Some(candidate.label.as_str()) == case["label"].as_str());
    let candidate = candidate.ok_or("no signature of that label")?;
    let mut signature = candidate.signature.clone().map_err(|error| error.to_string())?;
    let base = signature.base(message).map_err(|error| error.to_string())?;
    if Some(base.as_str()) != case["signature_base"].as_str() {
        return Err(format!("its base is\n{base}"));
    }
    let parameters = base.rsplit_once("\"@signature-params\": ").map(|(_, parameters)| parameters);
    if parameters != case["signature_params"].as_str() {
        return Err(format!("its parameters are {parameters:?}"));
    }
    signature.verify(key, message).map_err(|error| error.to_string())?;
    for at in [0, signature.value.len() / 2, signature.value.len() - 1] {
        signature.value[at] ^= 1;
        if signature.verify(key, message).is_ok() {
            return Err(format!("it holds with another byte {at}"));
        }
        signature.value[at] ^= 1;
    }
    Ok(())
}

fn created(case: &Value) -> i64 {
    let parameters = case["signature_params"].as_str().expect("parameters");
    let (_, rest) = parameters.split_once(";created=").expect("created");
    rest.split(';').next().expect("a number").parse().expect("a number")
}
