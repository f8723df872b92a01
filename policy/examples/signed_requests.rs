//! For bench/signatures.py: requests signed by one agent, and what verifying one bare Ed25519 signature takes here.
//!
//!     signed_requests AGENT_URL HOST COUNT
//!
//! prints JSON: `directory`, the agent's keys; `cpu_micros`, of one verification by ring, the median of 21 runs of 1,000;
//! `requests`, COUNT lists of fields, each with a nonce of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement; the crate itself has no clock"
)]

use std::error::Error;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use policy::protocol::bot_auth::{
    AgentForm, DIRECTORY_MEDIA_TYPE, HttpsUrl, SignRequest, directory_body, sign_request,
};
use policy::protocol::message_signature::{Request, SigningKey};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [agent, host, count] = arguments.as_slice() else {
        return Err("signed_requests AGENT_URL HOST COUNT".into());
    };
    let agent = HttpsUrl::parse(agent)?;
    let key = SigningKey::from_seed(&[7; 32])?;
    let created = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut requests = Vec::new();
    for number in 0..count.parse::<u32>()? {
        let fields = [("host", host.as_bytes())];
        let request = Request {
            method: "GET",
            scheme: "http",
            authority: host,
            target: "/",
            fields: &fields,
            trailers: &[],
        };
        let what = SignRequest {
            form: AgentForm::Dictionary,
            label: "sig1",
            components: &[],
            created,
            expires: created + 3600,
            nonce: Some(&format!("{number:032}")),
        };
        let signed = sign_request(&key, &agent, &request, &what)?;
        requests.push(json!({
            "Signature-Agent": signed.signature_agent,
            "Signature-Input": signed.signature_input,
            "Signature": signed.signature,
        }));
    }
    let report = json!({
        "directory": directory_body(&[key.public_key()]),
        "media_type": DIRECTORY_MEDIA_TYPE,
        "cpu_micros": bare_verification(),
        "requests": requests,
    });
    println!("{report}");
    Ok(())
}

/// Microseconds of one verification of a signature base of the usual length.
fn bare_verification() -> f64 {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let base = [b'x'; 300];
    let signature = pair.sign(&base);
    let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
    let mut runs: Vec<f64> = (0..21)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..1_000 {
                key.verify(std::hint::black_box(&base), signature.as_ref()).expect("it holds");
            }
            began.elapsed().as_secs_f64() * 1e6 / 1_000.0
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[10]
}
