//! Judges every case of `testdata/vectors/web_bot_auth.json`, whatever stands in it.

#[path = "support/vectors.rs"]
mod files;
#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use files::vectors;
use policy::protocol::bot_auth::{
    DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, Invalid, KeyDirectory, KeySource, NotCovered, Outcome,
    PaymentCover, Settings, verify,
};
use policy::protocol::message_signature::{Message, read_signatures};
use serde_json::Value;
use support::{AtHand, Stored};

#[test]
fn every_case_is_judged_as_expected() {
    let file = vectors("web_bot_auth.json");
    let cases = file["tests"].as_array().expect("tests");
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

fn judge(file: &Value, case: &Value) -> Result<(), String> {
    let method = case["request"]["method"].as_str().unwrap_or("GET");
    let stored = Stored::new(method, case["request"]["url"].as_str().expect("a URL"), &case["headers"]);
    let fields = stored.fields();
    let request = stored.request(&fields);
    let now = case["now"].as_i64().expect("a time");
    let settings = Settings {
        skew_s: file["clock_skew_s"].as_i64().unwrap_or(60),
        // All of them are signed with the key of RFC 9421 appendix B.1.4.
        refuse_published_private_keys: false,
        ..Settings::default()
    };
    let url =
        HttpsUrl::parse(case["jwks_url"].as_str().expect("a URL")).map_err(|error| error.to_string())?;
    let source = KeySource::key_set(url.clone());
    let body = case.get("jwks").unwrap_or(&file["jwks"]).to_string();
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    let directory = KeyDirectory::read(&source, fetched, &settings).ok();
    let keys = AtHand { directories: directory.map(Arc::new).into_iter().collect(), agreed: Vec::new() };

    let outcome = verify(&request, &keys, now, &settings);
    let differs = |outcome: &Outcome| Err(format!("{outcome:?}"));
    match (case["expected"].as_str().expect("expected"), &outcome) {
        ("verified", Outcome::Verified(verified)) => {
            if verified.source.as_ref().map(|source| &source.url) != Some(&url) {
                return Err(format!("the keys are looked for at {:?}", verified.source));
            }
            let signatures = read_signatures(&fields).map_err(|error| error.to_string())?;
            let signature = signatures[0].signature.as_ref().map_err(|error| error.to_string())?;
            let base = signature.base(Message::Request(&request)).map_err(|error| error.to_string())?;
            if Some(base.as_str()) != case["signed_base"].as_str() {
                return Err(format!("its base is\n{base}"));
            }
            // Delivered again, it must be known again, for as long as it would be taken.
            match verify(&request, &keys, now, &settings) {
                Outcome::Verified(again) if again.replay == verified.replay => {}
                _ => return Err("its replay key is another each time".to_owned()),
            }
            match verify(&request, &keys, verified.replay.until - 1, &settings) {
                Outcome::Verified(_) => {}
                other => return differs(&other),
            }
            match verify(&request, &keys, verified.replay.until, &settings) {
                Outcome::Invalid { reason: Invalid::Expired, .. } => Ok(()),
                other => differs(&other),
            }
        }
        ("invalid", Outcome::Invalid { .. }) | ("unverified", Outcome::Unverified { .. }) => Ok(()),
        // It holds, and still nothing may be charged: a price that is not covered, …
        ("policy-reject", Outcome::Verified(verified)) => {
            let is_price = |name: &&str| name.starts_with("crawler-") || *name == "payment-signature";
            let names: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            let prices: Vec<&str> = names.iter().map(String::as_str).filter(is_price).collect();
            match verified.covers_payment(&PaymentCover { fields: &prices, body: false }) {
                Err(NotCovered::Field(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
        // … or a time that is longer than the settings allow, and with others would do.
        ("policy-reject", Outcome::Invalid { reason: Invalid::WindowTooLong { window_s, .. }, .. }) => {
            let wide = Settings { window_s_max: *window_s, ..settings };
            match verify(&request, &keys, now, &wide) {
                Outcome::Verified(_) => Ok(()),
                other => differs(&other),
            }
        }
        ("draft-dependent", Outcome::Verified(_)) => {
            let newest = Settings { typed_agents: false, ..settings };
            match verify(&request, &keys, now, &newest) {
                Outcome::Unverified { .. } => Ok(()),
                other => differs(&other),
            }
        }
        // A signature with another tag is not there, or is wrong, as the settings say.
        ("unsigned" | "ignored", Outcome::Unsigned) => Ok(()),
        ("invalid", Outcome::Unsigned) => {
            match verify(&request, &keys, now, &Settings { refuse_other_tags: true, ..settings }) {
                Outcome::Invalid { .. } => Ok(()),
                other => differs(&other),
            }
        }
        (_, outcome) => differs(outcome),
    }
}
