//! Judges every case of `testdata/vectors/web_bot_auth_published.json`, signatures that others have published, and of our own
//! file of that format.

#[path = "support/vectors.rs"]
mod files;
#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use files::{both_files, text, unknown_key};
use policy::protocol::bot_auth::{
    DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, KeyDirectory, KeySource, Outcome, Settings,
    is_private_part_published, read_claims, verify,
};
use policy::protocol::message_signature::{Message, PublicKey, Request, Response, read_signatures};
use serde_json::{Value, json};
use support::{AtHand, Stored};

#[test]
fn every_published_signature_holds() {
    for (name, file) in both_files("web_bot_auth_published.json") {
        assert_eq!(unknown_key(&file, &["keys", "thumbprints", "vectors"]), None, "{name}");
        const KEYS: [&str; 8] = [
            "source",
            "alg",
            "label",
            "signature_base",
            "signature_params",
            "signature_b64",
            "headers",
            "verified_here",
        ];
        files::judge(&name, &file["vectors"], &KEYS, |case| judge(&file, case).err());
    }
}

#[test]
fn thumbprints_are_the_published_ones() {
    for (name, file) in both_files("web_bot_auth_published.json") {
        let thumbprints = file["thumbprints"].as_object().expect("thumbprints");
        let keys = file["keys"].as_object().expect("keys");
        for (key, thumbprint) in thumbprints {
            // The name of a key, or the beginning of it.
            let jwk = keys
                .get(key)
                .or_else(|| keys.iter().find(|(long, _)| long.starts_with(key)).map(|(_, jwk)| jwk));
            let jwk = jwk.unwrap_or_else(|| panic!("{name}: no key {key}"));
            let key = PublicKey::from_json(&jwk.to_string()).expect("a key");
            assert_eq!(Some(key.thumbprint()), thumbprint.as_str(), "{name}");
        }
    }
}

/// They are made with keys of RFCs, and some are good for a hundred years.
fn settings() -> Settings {
    Settings { refuse_published_private_keys: false, window_s_max: i64::MAX, ..Settings::default() }
}

fn judge(file: &Value, case: &Value) -> Result<(), String> {
    let (_, keyid) = text(case, "signature_params").split_once(";keyid=\"").ok_or("no keyid")?;
    let keyid = keyid.split('"').next().unwrap_or_default();
    let keys = file["keys"].as_object().ok_or("no keys")?;
    let read = |jwk: &Value| PublicKey::from_json(&jwk.to_string()).ok();
    let key = keys.values().filter_map(read).find(|key| key.thumbprint() == keyid).ok_or("no such key")?;
    if key.algorithm().as_str() != text(case, "alg") {
        return Err(format!("its key is for {}", key.algorithm()));
    }
    let body = json!({ "keys": [key.to_jwk()] }).to_string();
    let note = text(case, "note");
    let judged = match note.split_once("response body: ") {
        Some((_, body)) => response(case, &key, body),
        None => request(case, &key, note, &body),
    };
    match (case["verified_here"].as_bool(), judged) {
        (Some(false), Ok(())) => Err("it holds, and others say that it does not".to_owned()),
        (Some(false), Err(_)) => Ok(()),
        (_, judged) => judged,
    }
}

fn request(case: &Value, key: &PublicKey, note: &str, keys_body: &str) -> Result<(), String> {
    let is_url = |word: &&str| word.starts_with("https://") || word.starts_with("http://");
    let url = note.split_whitespace().find(is_url).ok_or("no URL")?;
    let is_method = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = note.split_whitespace().find(is_method).unwrap_or("GET");
    let stored = Stored::new(method, url, &case["headers"]);
    let fields = stored.fields();
    let request = stored.request(&fields);
    holds(case, key, Message::Request(&request))?;

    let settings = settings();
    let created = created(case);
    let sources: Vec<KeySource> =
        read_claims(&request, created, &settings).sources().into_iter().cloned().collect();
    let mut keys = AtHand { directories: Vec::new(), agreed: vec![key.clone()] };
    for source in &sources {
        let agent = case["headers"]["Signature-Agent"].as_str().unwrap_or_default();
        if !agent.contains(source.url.origin()) {
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
        Outcome::Verified(verified) if *verified.keyid == *key.thumbprint() => {}
        other => return Err(format!("{other:?}")),
    }
    if !is_private_part_published(key.thumbprint()) {
        return Ok(());
    }
    // In production nobody is who signs with a key that stands in an RFC.
    match verify(&request, &keys, created, &Settings { refuse_published_private_keys: true, ..settings }) {
        Outcome::Unverified { .. } => Ok(()),
        other => Err(format!("with a published private key: {other:?}")),
    }
}

fn response(case: &Value, key: &PublicKey, body: &str) -> Result<(), String> {
    let host =
        text(case, "signature_base").lines().find_map(|line| line.strip_prefix("\"@authority\";req: "));
    let host = host.ok_or("it does not cover the host")?;
    let stored = Stored::new("GET", &format!("https://{host}/"), &case["headers"]);
    let fields = stored.fields();
    let answered = Request { fields: &[], ..stored.request(&[]) };
    let response = Response { status: 200, fields: &fields, trailers: &[], request: Some(&answered) };
    holds(case, key, Message::Response(&response))?;

    let settings = settings();
    let origin = HttpsUrl::parse(&format!("https://{host}")).map_err(|error| error.to_string())?;
    let source = KeySource::directory(&origin);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    let directory = KeyDirectory::read(&source, fetched, &settings).map_err(|error| error.to_string())?;
    let signers = |authority: &str, body: &str| {
        directory.signed_by(authority, &response, body.as_bytes(), created(case), &settings)
    };
    match signers(host, body) {
        Ok(signers) if signers == [key.thumbprint()] => {}
        other => return Err(format!("{other:?}")),
    }
    if let Ok(signers) = signers("other.test", body) {
        return Err(format!("it holds for another host: {signers:?}"));
    }
    match signers(host, &format!("{body} ")) {
        Ok(signers) => Err(format!("it holds for another body: {signers:?}")),
        Err(_) => Ok(()),
    }
}

/// The base is the published one, the signature is the key's, and with any other bit it is not.
fn holds(case: &Value, key: &PublicKey, message: Message<'_>) -> Result<(), String> {
    let read = read_signatures(message.fields()).map_err(|error| error.to_string())?;
    let candidate = read.iter().find(|candidate| candidate.label == text(case, "label"));
    let candidate = candidate.ok_or("no signature of that label")?;
    let mut signature =
        candidate.signature.clone().map(Arc::unwrap_or_clone).map_err(|error| error.to_string())?;
    let base = signature.base(message).map_err(|error| error.to_string())?;
    if Some(base.as_str()) != case["signature_base"].as_str() {
        return Err(format!("its base is\n{base}"));
    }
    let parameters = base.rsplit_once("\"@signature-params\": ").map(|(_, parameters)| parameters);
    if parameters != case["signature_params"].as_str() {
        return Err(format!("its parameters are {parameters:?}"));
    }
    if STANDARD.encode(&signature.value) != text(case, "signature_b64") {
        return Err("its bytes are not those of signature_b64".to_owned());
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
    let parameters = text(case, "signature_params");
    let (_, rest) = parameters.split_once(";created=").expect("created");
    rest.split(';').next().expect("a number").parse().expect("a number")
}
