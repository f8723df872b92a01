//! `testdata/vectors/x402.json`, and our own beside it: what others computed, computed here again; what is wrong, refused by its name.
//!
//! The files are read when the test runs, so that another one of their format can be put in their place. What a file
//! says and nothing here judges is reported, as is a section that it leaves out where another one needs it; both are failures.
//!
//! | member | judged |
//! |---|---|
//! | `payer_private_key`, `server_private_key` | their addresses |
//! | `eip3009`, `published_spec_example` | domain, struct, digest, signature, signer |
//! | `http_v2`, `http_v1` | each header against its object, both ways; our own offer and what a facilitator is asked; the payment is taken |
//! | `offer`, `receipt` | typed data and their signatures |
//! | `negative` | the good payment with one change, in both versions: by the name of the change ([`Change`]), or as the case spells it out (`PAYMENT-SIGNATURE`, `X-PAYMENT` or `PaymentPayload`, `now`) |
//! | `cases` | payments that are spelled out, with `expect` `paid` or the reason, and `status` |

#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

#[path = "support/vectors.rs"]
mod support;

use std::collections::HashMap;

use policy::protocol::x402::atomic::{U256, to_money};
use policy::protocol::x402::batch::{Credit, RequestSignature};
use policy::protocol::x402::eip712::{
    Address, Authorization, Domain, Key, Signature, from_hex, keccak256, to_hex,
};
use policy::protocol::x402::message::{
    Object, PaymentPayload, PaymentPayloadV1, PaymentRequired, PaymentRequiredV1, Resource,
    SettlementResponse,
};
use policy::protocol::x402::network::Network;
use policy::protocol::x402::offer::{Offers, Token, Way};
use policy::protocol::x402::payment::{
    Asked, ExactPayment, Payment, PaymentError, Presented, ReservationKey, Reuse,
};
use policy::protocol::x402::receipt::{self, Offer, Payload, Receipt, Signed, SignedBy, receipt_of};
use policy::protocol::x402::{BATCH_SETTLEMENT, EXACT, Version, header};
use policy::{Currency, Money};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::both_files;

#[test]
fn every_vector_holds() {
    let mut wrong = Vec::new();
    for (name, vectors) in both_files("x402.json") {
        let (judged, differ) = judge(&vectors);
        println!("{name}: {judged} checks");
        assert!(judged > 0, "{name}: nothing in it is judged");
        wrong.extend(differ.into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whatever is changed in a file is seen to be wrong: nothing in it is there for show, but for what says so.
#[test]
fn no_member_is_left_unjudged() {
    const PROSE: [&str; 8] = [
        "/note",
        "/source",
        "/checked_here",
        "/change",
        "/id",
        // Any of them would do just as well.
        "/now",
        "/http_v1/body_402/error",
        "/http_v1/body_402/accepts/0/resource",
    ];
    // Ours, for another author's file may leave out what only makes sense beside something else; some cases of each kind are enough.
    let more = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors-more/x402.json");
    let mut vectors: Value = serde_json::from_slice(&std::fs::read(more).expect("ours")).expect("JSON");
    vectors["cases"].as_array_mut().expect("a list").truncate(5);
    vectors["negative"].as_array_mut().expect("a list").truncate(10);
    let mut leaves = Vec::new();
    collect(&vectors, String::new(), &mut leaves);
    let mut changed = 0;
    // What cannot even be read ends in a panic, which says so as well.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unjudged = Vec::new();
    for leaf in leaves {
        let is_in_words = vectors.pointer(&leaf).and_then(Value::as_str).is_some_and(|it| it.contains(' '));
        if PROSE.iter().any(|prose| leaf.ends_with(prose)) || (leaf.ends_with("/expect") && is_in_words) {
            continue;
        }
        let mut other = vectors.clone();
        let value = other.pointer_mut(&leaf).expect("a leaf");
        *value = match &*value {
            Value::String(text) => {
                let last = text.chars().next_back().unwrap_or('0');
                let kept = &text[..text.len() - last.len_utf8().min(text.len())];
                json!(format!("{kept}{}", if last == '1' { '2' } else { '1' }))
            }
            Value::Number(number) => json!(number.as_u64().unwrap_or_default() + 1),
            Value::Bool(truth) => json!(!truth),
            _ => json!({"new": 1}),
        };
        changed += 1;
        if std::panic::catch_unwind(|| judge(&other).1.is_empty()).unwrap_or(false) {
            unjudged.push(leaf);
        }
    }
    drop(std::panic::take_hook());
    assert!(changed > 100, "{changed} members");
    assert!(unjudged.is_empty(), "changed, and nobody minds: {unjudged:#?}");
}

fn collect(value: &Value, at: String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                collect(value, format!("{at}/{}", name.replace('/', "~1")), leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| collect(item, format!("{at}/{index}"), leaves));
        }
        _ => leaves.push(at),
    }
}

/// How much is judged, and what is wrong.
fn judge(vectors: &Value) -> (usize, Vec<String>) {
    let mut judge = Judge { vectors, judged: 0, wrong: Vec::new() };
    judge.only(
        "",
        vectors,
        &[
            "note",
            "payer_private_key",
            "payer",
            "server_private_key",
            "server_signer",
            "eip3009",
            "published_spec_example",
            "http_v2",
            "http_v1",
            "offer",
            "receipt",
            "negative",
            "cases",
        ],
    );
    judge.keys();
    judge.authorizations();
    judge.version_2();
    judge.version_1();
    judge.typed_data::<Offer>("offer");
    judge.typed_data::<Receipt>("receipt");
    judge.negatives();
    judge.cases();
    (judge.judged, judge.wrong)
}

struct Judge<'a> {
    vectors: &'a Value,
    judged: usize,
    wrong: Vec<String>,
}

impl Judge<'_> {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, id: &str, found: T, expected: T) {
        self.judged += 1;
        if found != expected {
            self.wrong.push(format!("{id}: found {found:?}, expected {expected:?}"));
        }
    }

    /// What nobody reads is not judged, and says so.
    fn only(&mut self, id: &str, object: &Value, known: &[&str]) {
        for name in object.as_object().into_iter().flat_map(Object::keys) {
            if !known.contains(&name.as_str()) {
                self.wrong.push(format!("{id}/{name}: nothing judges this"));
            }
        }
    }

    fn section(&self, name: &str) -> Option<&Value> {
        self.vectors.get(name)
    }

    fn key(&self, name: &str) -> Key {
        let bytes = from_hex(text(&self.vectors[name])).and_then(|bytes| bytes.try_into().ok());
        Key::from_bytes(&bytes.expect("32 bytes")).expect("a key")
    }

    fn keys(&mut self) {
        for (key, address) in [("payer_private_key", "payer"), ("server_private_key", "server_signer")] {
            if self.section(key).is_some() {
                let of_key = Some(self.key(key).address());
                self.same(address, of_key, Address::parse_checked(text(&self.vectors[address])));
            }
        }
    }

    /// Our own EIP-3009 example and the specification's, whose key nobody has.
    fn authorizations(&mut self) {
        for name in ["eip3009", "published_spec_example"] {
            let Some(case) = self.section(name).cloned() else { continue };
            let known = ["note", "source", "checked_here", "type_hash", "domain", "domain_separator"];
            let also = ["struct_hash", "digest", "authorization", "signature", "recovered"];
            self.only(name, &case, &[&known[..], &also].concat());
            let domain = domain(&case["domain"]);
            let authorization: Authorization = object(&case["authorization"]);
            let digest = domain.digest(&authorization.struct_hash());
            let type_text = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
            for (member, found) in [
                ("type_hash", keccak256(type_text)),
                ("domain_separator", domain.separator()),
                ("struct_hash", authorization.struct_hash()),
                ("digest", digest),
            ] {
                if let Some(expected) = case[member].as_str() {
                    self.same(&format!("{name}/{member}"), to_hex(&found), expected.to_ascii_lowercase());
                }
            }
            let signature = Signature::parse(text(&case["signature"])).expect("hexadecimal");
            self.same(&format!("{name}/recovered"), signature.recover(&digest), Ok(authorization.from));
            if let Some(recovered) = case["recovered"].as_str() {
                let recovered = Address::parse_checked(recovered);
                self.same(&format!("{name}/recovered as written"), Some(authorization.from), recovered);
            }
            if self.section("payer_private_key").is_some() {
                let payer = self.key("payer_private_key");
                if payer.address() == authorization.from {
                    // RFC 6979: whoever signs this with this key signs it so.
                    self.same(&format!("{name}/signature"), payer.sign(&digest), signature);
                }
            }
            let written = alike(&value(&authorization));
            self.same(&format!("{name}/authorization"), written, alike(&case["authorization"]));
        }
    }

    /// Decodes and encodes; the object must be the same, and come back the same from our own encoding.
    fn codec<T: DeserializeOwned + Serialize>(&mut self, http: &Value, header: &str, name: &str) {
        let (encoded, decoded) = match (http.get(header), http.get(name)) {
            (None, None) => return,
            (Some(encoded), Some(decoded)) => (text(encoded), decoded),
            _ => return self.wrong.push(format!("{header} and {name}: one is missing")),
        };
        let read = |encoded: &str| {
            let object = header::read::<T>(encoded.as_bytes());
            object.map(|object| alike(&value(&object))).map_err(|error| error.to_string())
        };
        let expected = Ok(alike(decoded));
        self.same(&format!("{header}/decoded"), read(encoded), expected.clone());
        let ours = serde_json::from_value::<T>(decoded.clone()).map(|object| header::write(&object));
        let again = ours.map_err(|error| error.to_string()).and_then(|ours| read(&ours));
        self.same(&format!("{header}/encoded"), again, expected.clone());
        for other in [encoded.trim_end_matches('=').to_owned(), encoded.replace('+', "-").replace('/', "_")] {
            self.same(&format!("{header}/in another form"), read(&other), expected.clone());
        }
    }

    fn version_2(&mut self) {
        let Some(http) = self.section("http_v2").cloned() else { return };
        let known = ["note", "now", "PaymentRequired", "PAYMENT-REQUIRED", "PaymentPayload"];
        let also = ["PAYMENT-SIGNATURE", "SettlementResponse", "PAYMENT-RESPONSE"];
        self.only("http_v2", &http, &[&known[..], &also].concat());
        self.codec::<PaymentRequired>(&http, "PAYMENT-REQUIRED", "PaymentRequired");
        self.codec::<PaymentPayload>(&http, "PAYMENT-SIGNATURE", "PaymentPayload");
        self.codec::<SettlementResponse>(&http, "PAYMENT-RESPONSE", "SettlementResponse");

        let offers = self.offers(Version::V2);
        let required = &http["PaymentRequired"];
        let expected = as_offered(required);
        let error = required["error"].as_str().unwrap_or("because");
        self.same("offer v2", as_offered(&value(&offers.required(error))), expected.clone());
        let header = offers.header(error).expect("it fits");
        let header = header::read::<Value>(header.as_bytes()).expect("our own");
        self.same("offer v2/header", as_offered(&header), expected);
        self.signed_offers(required);

        let paid = self.check(Version::V2, &http["PAYMENT-SIGNATURE"], self.now());
        let accepted = &http["PaymentPayload"]["accepted"];
        self.good("payment v2", paid.clone(), &http["PaymentPayload"], accepted, &offers);
        self.settlement(&http, paid);
    }

    /// Each offer that the server has signed.
    fn signed_offers(&mut self, required: &Value) {
        let offers = &required["extensions"][receipt::NAME]["info"]["offers"];
        for (index, offer) in offers.as_array().into_iter().flatten().enumerate() {
            let verified = object::<Signed>(offer).verify::<Offer>(&did_key).map(|(_, by)| by);
            if !matches!(verified, Ok(SignedBy::Key(_))) {
                let account = self.server().map(SignedBy::Account);
                self.same(&format!("offer v2/signed {index}"), verified.ok(), account);
            }
        }
    }

    fn settlement(&mut self, http: &Value, paid: Result<Payment, PaymentError>) {
        let Some(settlement) = http.get("SettlementResponse") else { return };
        let settlement: SettlementResponse = object(settlement);
        if let Ok(Payment::Exact(payment)) = &paid {
            let settled = policy::protocol::x402::facilitator::settled(&payment.transfer(), &settlement);
            self.same("settlement", settled.is_ok(), settlement.success);
        }
        if let Some(signed) = receipt_of(&settlement) {
            let verified = signed.verify::<Receipt>(&did_key).map(|(_, by)| by);
            if !matches!(verified, Ok(SignedBy::Key(_))) {
                let account = self.server().map(SignedBy::Account);
                self.same("settlement/receipt", verified.ok(), account);
            }
        }
    }

    fn version_1(&mut self) {
        let Some(http) = self.section("http_v1").cloned() else { return };
        let known = ["note", "now", "body_402", "X-PAYMENT", "PaymentPayload"];
        let also = ["X-PAYMENT-RESPONSE", "SettlementResponse"];
        self.only("http_v1", &http, &[&known[..], &also].concat());
        self.codec::<PaymentPayloadV1>(&http, "X-PAYMENT", "PaymentPayload");
        self.codec::<SettlementResponse>(&http, "X-PAYMENT-RESPONSE", "SettlementResponse");
        let offers = self.offers(Version::V1);
        let body = &http["body_402"];
        self.same("offer v1/object", alike(&value(&object::<PaymentRequiredV1>(body))), alike(body));
        let error = body["error"].as_str().unwrap_or("because");
        let ours = offers.body(error).map(|body| as_offered(&value(&body)));
        self.same("offer v1", ours, Some(as_offered(body)));
        // Both versions in one 402 sell the same.
        let v2 = self.section("http_v2").is_some().then(|| self.offers(Version::V2));
        if let Some(v2) = v2.filter(|v2| v2.resource.url == offers.resource.url) {
            let ours = v2.body(error).map(|body| as_offered(&value(&body)));
            self.same("offer v1 beside v2", ours, Some(as_offered(body)));
        }

        let paid = self.check(Version::V1, &http["X-PAYMENT"], self.now());
        let payload = &http["PaymentPayload"];
        let offered = body["accepts"].as_array().expect("a list").iter();
        let offered = offered.filter(|way| way["network"] == payload["network"]);
        let asset = match &paid {
            Ok(Payment::Exact(paid)) => Some(paid.reservation.key.asset),
            _ => None,
        };
        let accepted = offered
            .into_iter()
            .find(|way| Address::parse(text(&way["asset"])) == asset)
            .cloned()
            .unwrap_or_default();
        self.good("payment v1", paid.clone(), payload, &accepted, &offers);
        self.settlement(&http, paid);
    }

    /// A payment that is good, and what a facilitator is asked about it.
    fn good(
        &mut self,
        id: &str,
        paid: Result<Payment, PaymentError>,
        payload: &Value,
        accepted: &Value,
        offers: &Offers,
    ) {
        let paid = match paid {
            Ok(Payment::Exact(paid)) => paid,
            other => return self.wrong.push(format!("{id}: {other:?}")),
        };
        let authorization = &payload["payload"]["authorization"];
        let from = Address::parse(text(&authorization["from"]));
        self.same(&format!("{id}/payer"), Some(paid.authorization.from), from);
        let key = &paid.reservation.key;
        let nonce = text(&authorization["nonce"]).to_ascii_lowercase();
        self.same(&format!("{id}/nonce"), String::from(key.nonce), nonce);
        self.same(
            &format!("{id}/until"),
            paid.reservation.until_secs.to_string(),
            owned(&authorization["validBefore"]),
        );
        self.same(&format!("{id}/price"), paid.price, offers.price);
        let asked = &paid.request;
        self.same(&format!("{id}/facilitator/payload"), alike(&asked.payment_payload), alike(payload));
        self.same(
            &format!("{id}/facilitator/requirements"),
            as_offered(&json!({"accepts": [asked.payment_requirements]})),
            as_offered(&json!({"accepts": [accepted]})),
        );
    }

    fn typed_data<T: Payload + std::fmt::Debug>(&mut self, name: &str) {
        let Some(case) = self.section(name).cloned() else { return };
        self.only(name, &case, &["note", "type_hash", "domain", "payload", "digest", "signature", "signer"]);
        let payload: T = object(&case["payload"]);
        let domain = domain(&case["domain"]);
        self.same(&format!("{name}/domain"), domain.digest(&payload.struct_hash()), payload.digest());
        let digest = text(&case["digest"]).to_ascii_lowercase();
        self.same(&format!("{name}/digest"), to_hex(&payload.digest()), digest);
        let signer =
            case["signer"].as_str().map(|signer| Address::parse_checked(signer).expect("an address"));
        let signer = signer.or(self.server()).expect("somebody signs");
        let theirs = Signed {
            format: receipt::Format::Eip712,
            accept_index: None,
            payload: Some(case["payload"].clone()),
            signature: owned(&case["signature"]),
        };
        let verified = theirs.verify::<T>(&did_key);
        self.same(&format!("{name}/verified"), verified, Ok((payload.clone(), SignedBy::Account(signer))));
        if self.section("server_private_key").is_some() && self.key("server_private_key").address() == signer
        {
            let ours = Signed::with_account(&payload, &self.key("server_private_key"));
            let signature = theirs.signature.to_ascii_lowercase();
            self.same(&format!("{name}/signature"), ours.signature.clone(), signature);
            self.same(&format!("{name}/payload"), ours.payload, theirs.payload);
        }
        let type_text = match name {
            "offer" => {
                "Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)"
            }
            _ => {
                "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)"
            }
        };
        if let Some(hash) = case["type_hash"].as_str() {
            let hash = hash.to_ascii_lowercase();
            self.same(&format!("{name}/type_hash"), to_hex(&keccak256(type_text)), hash);
        }
    }

    fn negatives(&mut self) {
        let Some(cases) = self.section("negative").cloned() else { return };
        for case in cases.as_array().expect("a list") {
            let id = text(&case["id"]);
            if is_spelled_out(case) {
                self.spelled_out(id, case);
                continue;
            }
            self.only(id, case, &["id", "change", "expect", "status"]);
            match plain(id).as_str() {
                "nonce_replay" | "replay" | "reused_nonce" | "nonce_reuse" => self.replay(id),
                "cross_resource" | "other_resource" => self.cross_resource(id),
                name => match Change::named(name) {
                    Some(change) => self.refused(id, &change, case),
                    None => self.wrong.push(format!("{id}: no change of this name is known")),
                },
            }
        }
    }

    fn cases(&mut self) {
        let Some(cases) = self.section("cases").cloned() else { return };
        for case in cases.as_array().expect("a list") {
            self.spelled_out(text(&case["id"]), case);
        }
    }

    /// A case that says which payment comes, and when.
    fn spelled_out(&mut self, id: &str, case: &Value) {
        let known = ["id", "note", "change", "now", "PAYMENT-SIGNATURE", "X-PAYMENT", "PaymentPayload"];
        self.only(id, case, &[&known[..], &["expect", "status"]].concat());
        let now = case["now"].as_u64().unwrap_or_else(|| self.now());
        let (version, value) = match (case.get("PAYMENT-SIGNATURE"), case.get("X-PAYMENT")) {
            (Some(value), None) => (Version::V2, owned(value)),
            (None, Some(value)) => (Version::V1, owned(value)),
            (None, None) => {
                let payload = &case["PaymentPayload"];
                let is_v1 = payload.get("accepted").is_none() && payload.get("scheme").is_some();
                (if is_v1 { Version::V1 } else { Version::V2 }, header::write(payload))
            }
            _ => return self.wrong.push(format!("{id}: which of both headers?")),
        };
        let checked = self.check(version, &json!(value), now);
        self.compare(id, checked, text(&case["expect"]), case["status"].as_u64());
    }

    fn compare(
        &mut self,
        id: &str,
        checked: Result<Payment, PaymentError>,
        expect: &str,
        status: Option<u64>,
    ) {
        let reason = checked.as_ref().map(|_| "paid").map_err(PaymentError::reason);
        self.same(id, reason, if expect == "paid" { Ok("paid") } else { Err(expect) });
        let expected = status.unwrap_or(match expect {
            "paid" => 200,
            "invalid_payload" => 400,
            _ => 402,
        });
        let found = checked.map_or_else(|error| error.status().into(), |_| 200);
        self.same(&format!("{id}/status"), found, expected);
    }

    /// The good payment with one change, in both versions.
    fn refused(&mut self, id: &str, change: &Change, case: &Value) {
        let mut judged = 0;
        for (version, section) in [(Version::V2, "http_v2"), (Version::V1, "http_v1")] {
            let Some(payload) = self.section(section).map(|http| http["PaymentPayload"].clone()) else {
                continue;
            };
            let offers = self.offers(version);
            let Some((value, now)) = change.made(self, version, payload, &offers) else { continue };
            // Version 1 has another name for it.
            let expect = match (text(&case["expect"]), version) {
                ("invalid_exact_evm_payload_authorization_value_mismatch", Version::V1) => {
                    "invalid_exact_evm_payload_authorization_value"
                }
                (expect, _) => expect,
            };
            let checked = self.check(version, &json!(value), now);
            self.compare(&format!("{id} v{}", version.number()), checked, expect, case["status"].as_u64());
            judged += 1;
        }
        if judged == 0 {
            self.wrong.push(format!("{id}: there is no payment to be changed so"));
        }
    }

    /// The first of a key is served as paid, a second is not; whichever version it is written in.
    fn replay(&mut self, id: &str) {
        let versions = [(Version::V2, "http_v2"), (Version::V1, "http_v1")];
        let versions = versions.into_iter().filter(|(_, section)| self.section(section).is_some());
        let paid: Vec<_> = versions.map(|(version, _)| self.paid(version)).collect();
        let mut reserved: HashMap<ReservationKey, _> = HashMap::new();
        let mut served = Vec::new();
        for payment in paid.iter().chain(&paid) {
            let mut reservation = payment.reservation.clone();
            // Versions may sell under different prices; here it is asked about one purchase.
            reservation.purpose.clone_from(&paid[0].reservation.purpose);
            let reuse = reserved.get(&reservation.key).and_then(|first| reservation.reuse(first));
            served.push(reuse);
            reserved.entry(reservation.key.clone()).or_insert(reservation);
        }
        let distinct = reserved.len();
        let fresh = served.iter().filter(|reuse| reuse.is_none()).count();
        self.same(id, (fresh, served.len()), (distinct, 2 * paid.len()));
        assert!(served[paid.len()..].iter().all(|reuse| *reuse == Some(Reuse::Retry)), "{id}: {served:?}");
    }

    fn cross_resource(&mut self, id: &str) {
        let first = self.paid(Version::V2);
        let mut elsewhere = self.offers(Version::V2);
        elsewhere.resource.url.push_str("/another");
        let now = self.now();
        // As it was: it names what it is for.
        let mut payload = self.vectors["http_v2"]["PaymentPayload"].clone();
        let check = |payload: &Value| {
            let presented = Presented::parse(Version::V2, header::write(payload).as_bytes());
            presented.and_then(|payment| payment.check(&elsewhere, &asked(&elsewhere, now)))
        };
        let named = payload.get("resource").is_some();
        let refused = check(&payload);
        // With the resource left out or exchanged, which nothing signs, and in version 1, which names none.
        payload.as_object_mut().expect("an object").remove("resource");
        let without = check(&payload);
        payload["resource"] = value(&elsewhere.resource);
        let exchanged = check(&payload);
        if named {
            let reason = refused.map_err(|error| error.reason());
            self.same(id, reason, Err("invalid_payment_requirements"));
        }
        for (what, payment) in [("without", without), ("exchanged", exchanged)] {
            let Ok(Payment::Exact(payment)) = payment else { panic!("{id}/{what}: {payment:?}") };
            let reuse = payment.reservation.reuse(&first.reservation);
            self.same(&format!("{id}/{what}"), reuse, Some(Reuse::OtherPurpose));
        }
        let Some(http) = self.section("http_v1") else { return };
        let v1 = Presented::parse(Version::V1, text(&http["X-PAYMENT"]).as_bytes()).expect("readable");
        let mut elsewhere = self.offers(Version::V1);
        elsewhere.resource.url.push_str("/another");
        let first = self.paid(Version::V1);
        let Ok(Payment::Exact(payment)) = v1.check(&elsewhere, &asked(&elsewhere, now)) else {
            return self.wrong.push(format!("{id}/v1: not paid"));
        };
        let reuse = payment.reservation.reuse(&first.reservation);
        self.same(&format!("{id}/v1"), reuse, Some(Reuse::OtherPurpose));
    }

    fn check(&self, version: Version, value: &Value, now: u64) -> Result<Payment, PaymentError> {
        let value = [text(value)];
        let presented = match version {
            Version::V1 => Presented::from_headers([""; 0], value),
            Version::V2 => Presented::from_headers(value, [""; 0]),
        };
        let offers = self.offers(version);
        presented?.expect("a payment").check(&offers, &asked(&offers, now))
    }

    fn paid(&self, version: Version) -> ExactPayment {
        let value = match version {
            Version::V1 => &self.vectors["http_v1"]["X-PAYMENT"],
            Version::V2 => &self.vectors["http_v2"]["PAYMENT-SIGNATURE"],
        };
        match self.check(version, value, self.now()) {
            Ok(Payment::Exact(payment)) => *payment,
            other => panic!("{version:?}: {other:?}"),
        }
    }

    fn now(&self) -> u64 {
        let now = [&self.vectors["http_v2"]["now"], &self.vectors["http_v1"]["now"]];
        now.into_iter().find_map(Value::as_u64).expect("a time")
    }

    fn server(&self) -> Option<Address> {
        self.section("server_signer").map(|signer| Address::parse_checked(text(signer)).expect("an address"))
    }

    /// The site's settings and price from which the offer in the file follows. What only others offer is left out.
    fn offers(&self, version: Version) -> Offers {
        let required = match version {
            Version::V1 => &self.vectors["http_v1"]["body_402"],
            Version::V2 => &self.vectors["http_v2"]["PaymentRequired"],
        };
        let accepts: Vec<&Value> = ours(required);
        let first = accepts.first().expect("a way that is ours");
        let price = price(&accepts);
        let ways: Vec<Way> = accepts.iter().map(|accepted| way(required, accepted, price)).collect();
        let (resource, extensions) = match version {
            Version::V1 => {
                let texts = ["description", "mimeType"].map(|name| first[name].as_str().map(str::to_owned));
                let [description, mime_type] = texts;
                let url = owned(&first["resource"]);
                (Resource { url, description, mime_type, others: Object::new() }, Object::new())
            }
            Version::V2 => {
                let extensions = required["extensions"].as_object().cloned().unwrap_or_default();
                (object(&required["resource"]), extensions)
            }
        };
        Offers::new(resource, price, &ways, extensions).expect("an offer")
    }
}

/// A single change to a payment that is good.
enum Change {
    /// The amount in the authorization, by so much.
    Value(i128),
    /// A member of the authorization, without a new signature.
    Authorization(&'static str),
    /// Somebody else is paid.
    Recipient,
    /// Before its time.
    Early,
    /// After its time.
    Late,
    /// A bit of the signature.
    Signature,
    /// The other half of the curve, which is somebody else's spelling of a good signature.
    HighS,
    /// The last byte of the signature.
    V(u8),
    /// Signed by somebody else.
    OtherKey,
    /// Signed for a token of another name.
    OtherName,
    /// Signed for another chain.
    OtherChain,
    /// A member of the way that is accepted (version 2), or of the payment itself (version 1).
    Way(&'static str, Value),
    /// `x402Version`.
    Version(Value),
    /// A member that is left out.
    Without(&'static str),
    /// Not a payment at all.
    Text(&'static str),
}

impl Change {
    fn named(name: &str) -> Option<Change> {
        Some(match name {
            "amount_mismatch" | "value_mismatch" | "wrong_amount" | "wrong_value" | "underpaid"
            | "underpayment" | "amount_too_low" | "value_too_low" => Change::Value(-1),
            "overpaid" | "overpayment" | "amount_too_high" | "value_too_high" => Change::Value(1),
            "recipient_mismatch" | "wrong_recipient" | "wrong_to" => Change::Recipient,
            "too_early" | "not_yet_valid" | "valid_after" => Change::Early,
            "too_late" | "expired" | "valid_before" => Change::Late,
            "bad_sig" | "bad_signature" | "invalid_signature" | "flipped_bit" => Change::Signature,
            "high_s" => Change::HighS,
            "bad_v" | "v_0" | "v_zero" => Change::V(0),
            "v_29" => Change::V(29),
            "wrong_signer" | "other_signer" | "other_key" | "wrong_key" => Change::OtherKey,
            "wrong_domain_name" | "wrong_token_name" | "wrong_domain" => Change::OtherName,
            "wrong_chain" | "wrong_chain_id" => Change::OtherChain,
            "tampered_nonce" | "changed_nonce" => Change::Authorization("nonce"),
            "tampered_from" | "changed_from" | "from_mismatch" => Change::Authorization("from"),
            "tampered_valid_before" | "changed_valid_before" => Change::Authorization("validBefore"),
            "wrong_network" | "network_mismatch" => Change::Way("network", json!(null)),
            "wrong_scheme" | "scheme_mismatch" | "unsupported_scheme" => Change::Way("scheme", json!("upto")),
            "wrong_asset" | "asset_mismatch" => Change::Way("asset", json!(null)),
            "wrong_pay_to" | "wrong_payto" | "pay_to_mismatch" | "payto_mismatch" => {
                Change::Way("payTo", json!(null))
            }
            "accepted_amount" | "wrong_accepted_amount" => Change::Way("amount", json!("987654321")),
            "missing_signature" | "no_signature" => Change::Without("/payload/signature"),
            "missing_authorization" | "no_authorization" => Change::Without("/payload/authorization"),
            "missing_nonce" | "no_nonce" => Change::Without("/payload/authorization/nonce"),
            "missing_payload" | "no_payload" => Change::Without("/payload"),
            "missing_version" | "no_version" => Change::Without("/x402Version"),
            "bad_base64" | "not_base64" => Change::Text("%%%"),
            "not_json" | "bad_json" => Change::Text("bm90IEpTT04="),
            _ => {
                let number = name.strip_prefix("x402version_").or_else(|| name.strip_prefix("version_"))?;
                Change::Version(json!(number.parse::<u64>().ok()?))
            }
        })
    }

    /// The header's value and the time at which it comes. `None` where a version has no such thing.
    fn made(
        &self,
        judge: &Judge<'_>,
        version: Version,
        mut payload: Value,
        offers: &Offers,
    ) -> Option<(String, u64)> {
        let mut now = judge.now();
        let authorization = &mut payload["payload"]["authorization"];
        let seconds = |name: &str| text(&authorization[name]).parse::<u64>().expect("seconds");
        let another = |taken: &str| json!(to_hex(&[if taken.ends_with("21") { 0x22 } else { 0x21 }; 20]));
        let is_v1 = version == Version::V1;
        match self {
            Change::Value(by) => {
                let amount = U256::parse(text(&authorization["value"])).and_then(U256::to_u128);
                let changed = amount.expect("an amount").checked_add_signed(*by).expect("an amount");
                authorization["value"] = json!(changed.to_string());
            }
            Change::Recipient => authorization["to"] = another(text(&authorization["to"])),
            Change::Authorization("from") => authorization["from"] = another(text(&authorization["from"])),
            Change::Authorization("nonce") => authorization["nonce"] = json!(to_hex(&[0x21; 32])),
            Change::Authorization(name) => {
                authorization[*name] = json!((seconds(name) + 1).to_string());
            }
            Change::Early => now = seconds("validAfter") - 1,
            Change::Late => now = seconds("validBefore"),
            Change::Signature => sign(&mut payload, |signature| signature[40] ^= 1),
            Change::V(v) => sign(&mut payload, |signature| signature[64] = *v),
            Change::HighS => sign(&mut payload, |signature| {
                let order = from_hex("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
                let mut borrow = 0;
                for (byte, order) in signature[32..64].iter_mut().zip(order.expect("digits")).rev() {
                    let difference = i16::from(order) - i16::from(*byte) - borrow;
                    borrow = i16::from(difference < 0);
                    *byte = difference.rem_euclid(256) as u8;
                }
                signature[64] = 27 + 28 - signature[64];
            }),
            Change::OtherKey | Change::OtherName | Change::OtherChain => {
                let authorization: Authorization = object(authorization);
                let Way::Exact(token) = &offers.ways.first()?.way else { return None };
                let mut token = token.clone();
                match self {
                    Change::OtherName => token.name.push('X'),
                    Change::OtherChain => token.chain_id += 1,
                    _ => {}
                }
                let key = match self {
                    Change::OtherKey => Key::from_bytes(&[0x77; 32]).expect("a key"),
                    _ => judge.key("payer_private_key"),
                };
                let digest = token.domain().digest(&authorization.struct_hash());
                payload["payload"]["signature"] = json!(key.sign(&digest));
            }
            Change::Way(name, _) if is_v1 && !["network", "scheme"].contains(name) => return None,
            Change::Way(name, changed) => {
                let way = if is_v1 { &mut payload } else { &mut payload["accepted"] };
                way[*name] = match (*name, changed.is_null()) {
                    (_, false) => changed.clone(),
                    ("network", true) => json!(if is_v1 { "nowhere" } else { "eip155:987654321" }),
                    _ => another(text(&way[*name])),
                };
            }
            Change::Version(said) => payload["x402Version"] = said.clone(),
            Change::Without(member) => {
                let (parent, name) = member.rsplit_once('/').expect("a member");
                payload.pointer_mut(parent)?.as_object_mut()?.remove(name);
            }
            Change::Text(text) => return Some(((*text).to_owned(), now)),
        }
        Some((header::write(&payload), now))
    }
}

fn sign(payload: &mut Value, change: impl FnOnce(&mut [u8])) {
    let mut signature = from_hex(text(&payload["payload"]["signature"])).expect("hexadecimal");
    change(&mut signature);
    payload["payload"]["signature"] = json!(to_hex(&signature));
}

fn is_spelled_out(case: &Value) -> bool {
    ["PAYMENT-SIGNATURE", "X-PAYMENT", "PaymentPayload"].iter().any(|name| case.get(name).is_some())
}

/// A name without what people write in different ways.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// The ways of an offer that could be ours: a token by EIP-3009, or credit.
fn ours(required: &Value) -> Vec<&Value> {
    let is_ours = |accepted: &&Value| {
        let network = accepted["network"].as_str().unwrap_or_default();
        let chain = Network::parse(network).or_else(|| Network::from_v1(network));
        match accepted["scheme"].as_str() {
            Some(EXACT) => {
                let by = accepted["extra"]["assetTransferMethod"].as_str().unwrap_or("eip3009");
                by == "eip3009" && chain.and_then(|network| network.chain_id()).is_some()
            }
            Some(BATCH_SETTLEMENT) => network == Network::cloudflare().as_str(),
            _ => false,
        }
    };
    required["accepts"].as_array().expect("a list").iter().filter(is_ours).collect()
}

fn amount(accepted: &Value) -> U256 {
    let amount = accepted.get("amount").or(accepted.get("maxAmountRequired")).expect("an amount");
    U256::parse(text(amount)).expect("an amount")
}

/// The decimals that tokens have, the usual ones first: a file does not say them.
const DECIMALS: [u32; 6] = [6, 9, 18, 8, 2, 0];

/// What the offer costs, in dollars: as the way on credit says, else the first token, of whose decimals the usual ones are taken
/// with which it is a price.
fn price(accepts: &[&Value]) -> Money {
    let credit = accepts.iter().find(|accepted| accepted["scheme"] == BATCH_SETTLEMENT);
    let credit = credit.map(|accepted| to_money(amount(accepted), 2, Currency::USD).expect("a price"));
    let token = || DECIMALS.into_iter().find_map(|it| to_money(amount(accepts[0]), it, Currency::USD).ok());
    credit.or_else(token).expect("a price")
}

fn way(required: &Value, accepted: &Value, price: Money) -> Way {
    if accepted["scheme"] == BATCH_SETTLEMENT {
        let info = &required["extensions"]["http-message-signatures"]["info"];
        return Way::Credit(Credit {
            registration_url: info["registrationUrl"].as_str().unwrap_or_default().to_owned(),
            max_timeout_secs: accepted["maxTimeoutSeconds"].as_u64(),
        });
    }
    let network = text(&accepted["network"]);
    let network = Network::parse(network).or_else(|| Network::from_v1(network));
    let says_price = |decimals: &u32| to_money(amount(accepted), *decimals, Currency::USD) == Ok(price);
    Way::Exact(Token {
        chain_id: network.and_then(|network| network.chain_id()).expect("a chain"),
        asset: Address::parse_checked(text(&accepted["asset"])).expect("an address"),
        name: owned(&accepted["extra"]["name"]),
        version: owned(&accepted["extra"]["version"]),
        decimals: DECIMALS.into_iter().chain(0..40).find(says_price).expect("one price"),
        currency: Currency::USD,
        pay_to: Address::parse_checked(text(&accepted["payTo"])).expect("an address"),
        max_timeout_secs: accepted["maxTimeoutSeconds"].as_u64().expect("seconds"),
    })
}

fn asked(offers: &Offers, now_secs: u64) -> Asked<'_> {
    let identifier = offers.extensions.get("payment-identifier");
    let requires_identifier = identifier.is_some_and(|it| it["info"]["required"] == true);
    Asked {
        method: "GET",
        url: &offers.resource.url,
        now_secs,
        takes_contracts: false,
        is_retry: false,
        requires_identifier,
        signature: RequestSignature::Absent,
    }
}

/// An object as another author might have written it just as well: without members that are null, addresses and other digits in
/// lower case.
fn alike(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name.clone(), alike(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(alike).collect()),
        Value::String(text) if text.starts_with("0x") && from_hex(text).is_some() => {
            json!(text.to_ascii_lowercase())
        }
        other => other.clone(),
    }
}

/// An offer as far as it could be ours: besides [`alike`], what goes without saying is left out, as are others' ways and the schemas
/// of extensions, for which there is no room in a header.
fn as_offered(required: &Value) -> Value {
    let mut offer = required.clone();
    offer["accepts"] = Value::Array(ours(required).into_iter().cloned().collect());
    for accepted in offer["accepts"].as_array_mut().into_iter().flatten() {
        if let Some(extra) = accepted["extra"].as_object_mut() {
            extra.remove("assetTransferMethod");
        }
        let texts = ["description", "mimeType"];
        for name in texts {
            if accepted[name] == "" {
                accepted[name] = Value::Null;
            }
        }
    }
    for extension in offer["extensions"].as_object_mut().into_iter().flat_map(Object::values_mut) {
        if let Some(extension) = extension.as_object_mut() {
            extension.remove("schema");
        }
    }
    let members = offer.as_object_mut().expect("an object");
    members.remove("error");
    if members.get("extensions").is_none_or(|it| it.as_object().is_none_or(Object::is_empty)) {
        members.remove("extensions");
    }
    alike(&offer)
}

fn domain(case: &Value) -> Domain<'_> {
    let chain_id = case["chainId"].as_u64().or_else(|| case["chainId"].as_str()?.parse().ok());
    let contract = case["verifyingContract"].as_str();
    Domain {
        name: text(&case["name"]),
        version: text(&case["version"]),
        chain_id: chain_id.expect("a chain"),
        verifying_contract: contract.map(|it| Address::parse_checked(it).expect("an address")),
    }
}

/// The Ed25519 key that a `did:key` is.
fn did_key(kid: &str) -> Option<[u8; 32]> {
    const DIGITS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let text = kid.strip_prefix("did:key:z")?.split('#').next()?;
    let mut bytes = [0_u8; 34];
    for digit in text.bytes() {
        let mut carry = DIGITS.iter().position(|it| *it == digit)?;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
    }
    bytes.strip_prefix(&[0xed, 0x01])?.try_into().ok()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[track_caller]
fn owned(value: &Value) -> String {
    text(value).to_owned()
}

#[track_caller]
fn object<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("JSON")
}
