//! What stands in for a chain, since none is in reach: accounts that sign transfers (EIP-3009, EIP-712), and a facilitator that checks
//! the signature, takes each nonce once, and fails in every way that a test asks for.
//!
//! Written from the specifications and with nothing of the program under test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha3::{Digest as _, Keccak256};

use crate::Origin;
use crate::origin::Request;

/// Base Sepolia, as both versions of x402 call it.
pub const NETWORK: &str = "eip155:84532";
/// The same in version 1.
pub const NETWORK_V1: &str = "base-sepolia";
/// Its number.
pub const CHAIN: u64 = 84_532;
/// USDC there.
pub const ASSET: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// Who is paid.
pub const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// `0x` and hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

fn number(text: &str) -> Option<[u8; 32]> {
    text.parse::<u128>().ok().map(|number| word(&number.to_be_bytes()))
}

/// The digest that a transfer is signed by.
fn digest(domain: (&str, &str, u64, &str), authorization: &Value) -> Option<[u8; 32]> {
    let (name, version, chain, contract) = domain;
    let text = |key: &str| authorization[key].as_str();
    let domain = [
        keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
        keccak(name.as_bytes()),
        keccak(version.as_bytes()),
        word(&chain.to_be_bytes()),
        word(&unhex(contract)?),
    ];
    let transfer = [
        keccak(
            b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,\
              uint256 validBefore,bytes32 nonce)",
        ),
        word(&unhex(text("from")?)?),
        word(&unhex(text("to")?)?),
        number(text("value")?)?,
        number(text("validAfter")?)?,
        number(text("validBefore")?)?,
        unhex(text("nonce")?)?.try_into().ok()?,
    ];
    let whole = [&b"\x19\x01"[..], &keccak(&domain.concat()), &keccak(&transfer.concat())].concat();
    Some(keccak(&whole))
}

fn address_of(key: &VerifyingKey) -> String {
    hex(&keccak(&key.to_sec1_point(false).as_bytes()[1..])[12..])
}

/// Who signed.
fn signer(digest: &[u8; 32], signature: &str) -> Option<String> {
    let bytes = unhex(signature)?;
    let (&v, rest) = bytes.split_last()?;
    let signature = Signature::from_slice(rest).ok()?;
    let id = RecoveryId::new(v.checked_sub(27)? == 1, false);
    VerifyingKey::recover_from_prehash(digest, &signature, id).ok().map(|key| address_of(&key))
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// An account that pays.
pub struct Payer(SigningKey);

impl Payer {
    /// The account of a key of 32 such bytes.
    pub fn new(byte: u8) -> Payer {
        Payer(SigningKey::from_slice(&[byte; 32]).expect("a key"))
    }

    /// Its address.
    pub fn address(&self) -> String {
        address_of(self.0.verifying_key())
    }

    /// An authorization for what an offer (an entry of `accepts`) asks, good for a minute.
    pub fn authorization(&self, accepted: &Value, nonce: u64) -> Value {
        let value = accepted.get("amount").or(accepted.get("maxAmountRequired"));
        let random = keccak(&[nonce.to_be_bytes(), now().to_be_bytes()].concat());
        json!({
            "from": self.address(),
            "to": accepted["payTo"],
            "value": value,
            "validAfter": (now() - 60).to_string(),
            "validBefore": (now() + 60).to_string(),
            "nonce": hex(&random),
        })
    }

    /// Signs a transfer of a token.
    pub fn sign(&self, accepted: &Value, authorization: &Value) -> String {
        let extra = |key: &str| accepted["extra"][key].as_str().unwrap_or_default();
        let asset = accepted["asset"].as_str().unwrap_or_default();
        let digest = digest((extra("name"), extra("version"), CHAIN, asset), authorization);
        let (signature, id) = self.0.sign_prehash_recoverable(&digest.expect("a whole authorization"));
        hex(&[&signature.to_bytes()[..], &[27 + u8::from(id.is_y_odd())]].concat())
    }

    /// A payment of version 1 for the first way of an offer.
    pub fn pays_v1(&self, required: &Value, nonce: u64) -> Value {
        let accepted = &required["accepts"][0];
        let authorization = self.authorization(accepted, nonce);
        json!({
            "x402Version": 1,
            "scheme": accepted["scheme"],
            "network": accepted["network"],
            "payload": {"signature": self.sign(accepted, &authorization), "authorization": authorization},
        })
    }

    /// A payment of version 2 for the first way of an offer.
    pub fn pays(&self, required: &Value, nonce: u64) -> Value {
        let accepted = &required["accepts"][0];
        let authorization = self.authorization(accepted, nonce);
        json!({
            "x402Version": 2,
            "resource": required["resource"],
            "accepted": accepted,
            "payload": {"signature": self.sign(accepted, &authorization), "authorization": authorization},
            "extensions": required["extensions"],
        })
    }
}

/// A value of x402's headers.
pub fn header(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}

/// What a value of x402's headers says; null if it cannot be read.
pub fn read_header(value: &str) -> Value {
    STANDARD.decode(value).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// How the facilitator behaves.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Fault {
    /// As it should.
    #[default]
    None,
    /// Says in `/verify` that the payment is not good.
    Invalid(&'static str),
    /// Says in `/settle` that nothing moved.
    Refuses(&'static str),
    /// Fails with a status in `/settle`, and does nothing.
    Fails(u16),
    /// Closes the connection in `/settle`, and does nothing.
    Breaks,
    /// Settles, and closes the connection before it says so.
    LosesTheAnswer,
    /// Settles, and answers after this time.
    Slow(Duration),
    /// Settles, and answers with something else than JSON.
    Garbage,
    /// Says that it settled for somebody else.
    OtherPayer,
    /// Says, after a time, that this account has no money; to others it behaves as it should.
    Poor(String, Duration),
}

/// What was settled.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The transaction's hash.
    pub transaction: String,
    /// Smallest units.
    pub value: u64,
}

#[derive(Default)]
struct State {
    fault: Fault,
    /// Whether a payment that was settled before is told as settled again, or refused for its nonce.
    idempotent: bool,
    settled: HashMap<String, Transfer>,
    verified: usize,
    poor: usize,
    asked: usize,
}

/// A facilitator on a port of its own; it ends with the value.
pub struct Facilitator {
    origin: Origin,
    state: Arc<Mutex<State>>,
}

impl Facilitator {
    /// Starts one that behaves as it should and settles idempotently.
    pub fn start() -> Facilitator {
        let state = Arc::new(Mutex::new(State { idempotent: true, ..State::default() }));
        let shared = Arc::clone(&state);
        let origin = Origin::start(move |visit| {
            while let Some(request) = visit.request() {
                let Some(answer) = answer(&shared, &request) else { return };
                if visit.write(answer).is_err() {
                    return;
                }
            }
        });
        Facilitator { origin, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// How it behaves from now on.
    pub fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// A payment that comes again is refused, because its nonce is used.
    pub fn forgets(&self) {
        self.state().idempotent = false;
    }

    /// What was settled, in smallest units.
    pub fn total(&self) -> u64 {
        self.state().settled.values().map(|transfer| transfer.value).sum()
    }

    /// How many payments were settled.
    pub fn transfers(&self) -> usize {
        self.state().settled.len()
    }

    /// How often it was asked to settle something.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// How often it was asked whether something is good.
    pub fn verified(&self) -> usize {
        self.state().verified
    }

    /// How often it was asked about an account without money ([`Fault::Poor`]).
    pub fn asked_about_the_poor(&self) -> usize {
        self.state().poor
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to a question; none: the connection breaks.
fn answer(state: &Mutex<State>, request: &Request) -> Option<Vec<u8>> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/supported") => {
            let kind = |version: u64, network: &str| json!({"x402Version": version, "scheme": "exact", "network": network});
            let kinds = [kind(1, NETWORK_V1), kind(2, NETWORK)];
            Some(ok(200, &json!({"kinds": kinds, "extensions": [], "signers": {}})))
        }
        ("POST", "/verify") => {
            let payer = &body["paymentPayload"]["payload"]["authorization"]["from"];
            let mut state = lock(state);
            state.verified += 1;
            if let Fault::Poor(account, time) = state.fault.clone()
                && payer.as_str().is_some_and(|payer| payer.eq_ignore_ascii_case(&account))
            {
                state.poor += 1;
                drop(state);
                thread::sleep(time);
                let reason = "insufficient_funds";
                return Some(ok(200, &json!({"isValid": false, "invalidReason": reason, "payer": payer})));
            }
            let reason = match (&state.fault, check(&body)) {
                (Fault::Invalid(reason), _) => Some((*reason).to_owned()),
                (_, Err(reason)) => Some(reason),
                (_, Ok((key, _))) if state.settled.contains_key(&key) => {
                    Some("invalid_exact_evm_nonce_already_used".to_owned())
                }
                _ => None,
            };
            Some(ok(200, &json!({"isValid": reason.is_none(), "invalidReason": reason, "payer": payer})))
        }
        ("POST", "/settle") => settle(state, &body),
        _ => Some(ok(404, &json!({}))),
    }
}

fn settle(state: &Mutex<State>, body: &Value) -> Option<Vec<u8>> {
    let requirements = &body["paymentRequirements"];
    let payer = &body["paymentPayload"]["payload"]["authorization"]["from"];
    let no = |reason: &str| {
        ok(
            200,
            &json!({"success": false, "errorReason": reason, "transaction": "", "network": requirements["network"], "payer": payer}),
        )
    };
    let mut held = lock(state);
    held.asked += 1;
    let fault = held.fault.clone();
    match &fault {
        Fault::Refuses(reason) => return Some(no(reason)),
        Fault::Fails(status) => return Some(ok(*status, &json!({"error": "on purpose"}))),
        Fault::Breaks => return None,
        _ => {}
    }
    let transfer = match check(body) {
        Err(reason) => return Some(no(&reason)),
        Ok((key, value)) => {
            if held.settled.contains_key(&key) && !held.idempotent {
                return Some(no("invalid_exact_evm_nonce_already_used"));
            }
            let transaction = hex(&keccak(key.as_bytes()));
            held.settled.entry(key).or_insert(Transfer { transaction, value }).clone()
        }
    };
    drop(held);
    let yes = json!({"success": true, "transaction": transfer.transaction, "network": requirements["network"], "payer": payer});
    match fault {
        Fault::LosesTheAnswer => None,
        Fault::Garbage => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes!".to_vec()),
        Fault::OtherPayer => Some(ok(
            200,
            &json!({"success": true, "transaction": "0x01", "network": requirements["network"], "payer": PAY_TO}),
        )),
        Fault::Slow(time) => {
            thread::sleep(time);
            Some(ok(200, &yes))
        }
        _ => Some(ok(200, &yes)),
    }
}

/// What a token's contract would check: the key that it takes once, and the value; or why it reverts.
fn check(body: &Value) -> Result<(String, u64), String> {
    let requirements = &body["paymentRequirements"];
    let payload = &body["paymentPayload"]["payload"];
    let authorization = &payload["authorization"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let network = text(&requirements["network"]);
    if ![NETWORK, NETWORK_V1].contains(&network.as_str()) {
        return Err("invalid_network".to_owned());
    }
    let (name, version) = (text(&requirements["extra"]["name"]), text(&requirements["extra"]["version"]));
    let asset = text(&requirements["asset"]);
    let signed = digest((&name, &version, CHAIN, &asset), authorization);
    let from = text(&authorization["from"]).to_lowercase();
    let by = signed.and_then(|digest| signer(&digest, &text(&payload["signature"])));
    if by.as_deref() != Some(&from) {
        return Err("invalid_exact_evm_payload_signature".to_owned());
    }
    if !text(&authorization["to"]).eq_ignore_ascii_case(&text(&requirements["payTo"])) {
        return Err("invalid_exact_evm_payload_recipient_mismatch".to_owned());
    }
    let asked = requirements.get("amount").or(requirements.get("maxAmountRequired"));
    if asked != Some(&authorization["value"]) {
        return Err("invalid_exact_evm_payload_authorization_value_mismatch".to_owned());
    }
    let secs = |key: &str| text(&authorization[key]).parse::<u64>().unwrap_or(0);
    if now() < secs("validAfter") || now() >= secs("validBefore") {
        return Err("invalid_exact_evm_payload_authorization_valid_before".to_owned());
    }
    let key = format!("{} {} {}", asset.to_lowercase(), from, text(&authorization["nonce"]).to_lowercase());
    Ok((key, text(&authorization["value"]).parse().unwrap_or(0)))
}

fn ok(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
