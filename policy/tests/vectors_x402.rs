//! `testdata/vectors/x402.json`: what others computed, computed here again; what is wrong, refused by its name.
//!
//! The file is read when the test runs, so that another one of its format can be put in its place.

#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::collections::HashMap;
use std::path::Path;

use policy::protocol::x402::atomic::{U256, to_money};
use policy::protocol::x402::batch::RequestSignature;
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
use policy::protocol::x402::receipt::{Offer, Payload, Receipt, Signed, SignedBy, receipt_of};
use policy::protocol::x402::{EXACT, Version, header};
use policy::{Currency, Money};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Decimals of the tokens in the file; it does not say.
const DECIMALS: u32 = 6;

#[test]
fn every_vector_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors/x402.json");
    let text = std::fs::read_to_string(&path).expect("the vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let mut judge = Judge { vectors: &vectors, judged: 0, wrong: Vec::new() };
    judge.keys();
    judge.authorizations();
    judge.version_2();
    judge.version_1();
    judge.typed_data::<Offer>("offer");
    judge.typed_data::<Receipt>("receipt");
    judge.negatives();
    println!("{} checks", judge.judged);
    assert!(judge.judged > 60, "only {} checks: is this the file?", judge.judged);
    assert!(judge.wrong.is_empty(), "{} of {}:\n{}", judge.wrong.len(), judge.judged, judge.wrong.join("\n"));
}

struct Judge<'a> {
    vectors: &'a Value,
    judged: usize,
    wrong: Vec<String>,
}

impl Judge<'_> {
    #[track_caller]
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, id: &str, found: T, expected: T) {
        self.judged += 1;
        if found != expected {
            self.wrong.push(format!("{id}: found {found:?}, expected {expected:?}"));
        }
    }

    fn key(&self, name: &str) -> Key {
        let bytes = from_hex(text(&self.vectors[name])).and_then(|bytes| bytes.try_into().ok());
        Key::from_bytes(&bytes.expect("32 bytes")).expect("a key")
    }

    fn keys(&mut self) {
        for (key, address) in [("payer_private_key", "payer"), ("server_private_key", "server_signer")] {
            self.same(address, self.key(key).address().to_string(), text(&self.vectors[address]).to_owned());
        }
    }

    /// Our own EIP-3009 example and the specification's, whose key nobody has.
    fn authorizations(&mut self) {
        for name in ["eip3009", "published_spec_example"] {
            let case = &self.vectors[name];
            let domain = Domain {
                name: text(&case["domain"]["name"]),
                version: text(&case["domain"]["version"]),
                chain_id: case["domain"]["chainId"].as_u64().expect("a chain"),
                verifying_contract: Address::parse_checked(text(&case["domain"]["verifyingContract"])),
            };
            let authorization: Authorization = object(&case["authorization"]);
            let digest = domain.digest(&authorization.struct_hash());
            self.same(
                &format!("{name}/domain_separator"),
                to_hex(&domain.separator()),
                owned(&case["domain_separator"]),
            );
            self.same(&format!("{name}/digest"), to_hex(&digest), owned(&case["digest"]));
            if let Some(hash) = case["struct_hash"].as_str() {
                self.same(
                    &format!("{name}/struct_hash"),
                    to_hex(&authorization.struct_hash()),
                    hash.to_owned(),
                );
            }
            if let Some(hash) = case["type_hash"].as_str() {
                let type_text = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
                self.same(&format!("{name}/type_hash"), to_hex(&keccak256(type_text)), hash.to_owned());
            }
            let signature = Signature::parse(text(&case["signature"])).expect("hexadecimal");
            self.same(&format!("{name}/recovered"), signature.recover(&digest), Ok(authorization.from));
            if let Some(recovered) = case["recovered"].as_str() {
                self.same(
                    &format!("{name}/recovered as written"),
                    authorization.from.to_string(),
                    recovered.to_owned(),
                );
            }
            let payer = self.key("payer_private_key");
            if payer.address() == authorization.from {
                self.same(&format!("{name}/signature"), payer.sign(&digest), signature);
            }
            self.same(&format!("{name}/authorization"), value(&authorization), case["authorization"].clone());
        }
    }

    /// Decodes and encodes; the object must be the same, and come back the same from our own encoding.
    fn codec<T: DeserializeOwned + Serialize>(&mut self, id: &str, encoded: &Value, decoded: &Value) {
        let read = header::read::<T>(text(encoded).as_bytes()).map(|object| value(&object));
        self.same(&format!("{id}/decoded"), read, Ok(decoded.clone()));
        let ours = header::write(&object::<T>(decoded));
        let again = header::read::<T>(ours.as_bytes()).map(|object| value(&object));
        self.same(&format!("{id}/encoded"), again, Ok(decoded.clone()));
        for other in [
            text(encoded).trim_end_matches('=').to_owned(),
            text(encoded).replace('+', "-").replace('/', "_"),
        ] {
            let read = header::read::<T>(other.as_bytes()).map(|object| value(&object));
            self.same(&format!("{id}/in another form"), read, Ok(decoded.clone()));
        }
    }

    fn version_2(&mut self) {
        let http = &self.vectors["http_v2"];
        self.codec::<PaymentRequired>(
            "PAYMENT-REQUIRED",
            &http["PAYMENT-REQUIRED"],
            &http["PaymentRequired"],
        );
        self.codec::<PaymentPayload>(
            "PAYMENT-SIGNATURE",
            &http["PAYMENT-SIGNATURE"],
            &http["PaymentPayload"],
        );
        self.codec::<SettlementResponse>(
            "PAYMENT-RESPONSE",
            &http["PAYMENT-RESPONSE"],
            &http["SettlementResponse"],
        );

        let (offers, now) = (self.offers(), self.now());
        let required = &http["PaymentRequired"];
        self.same("offer v2", value(&offers.required(text(&required["error"]))), required.clone());
        let header = offers.header(text(&required["error"])).expect("it fits");
        self.same("offer v2/header", header, owned(&http["PAYMENT-REQUIRED"]));

        let presented = Presented::from_headers([text(&http["PAYMENT-SIGNATURE"])], [""; 0]);
        let paid = presented.expect("readable").expect("a payment").check(&offers, &asked(&offers, now));
        self.good("payment v2", paid.clone(), &http["PaymentPayload"], &required["accepts"][0]);

        let settlement: SettlementResponse = object(&http["SettlementResponse"]);
        if let Ok(Payment::Exact(payment)) = &paid {
            let settled = policy::protocol::x402::facilitator::settled(payment, &settlement);
            self.same("settlement", settled, Ok(()));
        }
        if let Some(signed) = receipt_of(&settlement) {
            let verified = signed.verify::<Receipt>(&|_| None).map(|(_, by)| by);
            self.same("settlement/receipt", verified, Ok(SignedBy::Account(self.server())));
        }
    }

    fn version_1(&mut self) {
        let http = &self.vectors["http_v1"];
        self.codec::<PaymentPayloadV1>("X-PAYMENT", &http["X-PAYMENT"], &http["PaymentPayload"]);
        let (offers, now) = (self.offers(), self.now());
        let body = &http["body_402"];
        self.same("offer v1/object", value(&object::<PaymentRequiredV1>(body)), body.clone());
        let ours = offers.body(text(&body["error"])).map(|body| value(&body));
        self.same("offer v1", ours, Some(body.clone()));

        let presented = Presented::from_headers([""; 0], [text(&http["X-PAYMENT"])]);
        let paid = presented.expect("readable").expect("a payment").check(&offers, &asked(&offers, now));
        self.good("payment v1", paid, &http["PaymentPayload"], &body["accepts"][0]);
    }

    /// A payment that is good, and what a facilitator is asked about it.
    fn good(&mut self, id: &str, paid: Result<Payment, PaymentError>, payload: &Value, requirements: &Value) {
        let paid = match paid {
            Ok(Payment::Exact(paid)) => paid,
            other => return self.wrong.push(format!("{id}: {other:?}")),
        };
        let authorization = &payload["payload"]["authorization"];
        self.same(&format!("{id}/payer"), paid.authorization.from.to_string(), owned(&authorization["from"]));
        let key = &paid.reservation.key;
        self.same(&format!("{id}/nonce"), String::from(key.nonce), owned(&authorization["nonce"]));
        self.same(
            &format!("{id}/until"),
            paid.reservation.until_secs.to_string(),
            owned(&authorization["validBefore"]),
        );
        self.same(&format!("{id}/price"), paid.price, self.offers().price);
        self.same(&format!("{id}/facilitator/payload"), &paid.request.payment_payload, payload);
        self.same(
            &format!("{id}/facilitator/requirements"),
            &paid.request.payment_requirements,
            requirements,
        );
    }

    fn typed_data<T: Payload + std::fmt::Debug>(&mut self, name: &str) {
        let case = &self.vectors[name];
        let payload: T = object(&case["payload"]);
        let domain = Domain {
            name: text(&case["domain"]["name"]),
            version: text(&case["domain"]["version"]),
            chain_id: case["domain"]["chainId"].as_u64().expect("a chain"),
            verifying_contract: None,
        };
        self.same(&format!("{name}/domain"), domain.digest(&payload.struct_hash()), payload.digest());
        self.same(&format!("{name}/digest"), to_hex(&payload.digest()), owned(&case["digest"]));
        let ours = Signed::with_account(&payload, &self.key("server_private_key"));
        self.same(&format!("{name}/signature"), ours.signature.clone(), owned(&case["signature"]));
        self.same(&format!("{name}/payload"), ours.payload.clone(), Some(case["payload"].clone()));
        let signer = Address::parse_checked(text(&case["signer"])).expect("an address");
        self.same(
            &format!("{name}/verified"),
            ours.verify::<T>(&|_| None),
            Ok((payload, SignedBy::Account(signer))),
        );
        let type_text = match name {
            "offer" => {
                "Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)"
            }
            _ => {
                "Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)"
            }
        };
        self.same(&format!("{name}/type_hash"), to_hex(&keccak256(type_text)), owned(&case["type_hash"]));
    }

    fn negatives(&mut self) {
        let cases = self.vectors["negative"].as_array().expect("a list");
        assert!(!cases.is_empty());
        for case in cases {
            let id = text(&case["id"]);
            match id {
                "nonce replay" => self.replay(),
                "cross_resource" => self.cross_resource(),
                _ => self.refused(id, text(&case["expect"])),
            }
        }
    }

    fn refused(&mut self, id: &str, expected: &str) {
        let http = &self.vectors["http_v2"];
        let mut payload = http["PaymentPayload"].clone();
        let mut now = self.now();
        let authorization = &payload["payload"]["authorization"];
        let seconds = |name: &str| text(&authorization[name]).parse::<u64>().expect("seconds");
        match id {
            "amount_mismatch" => payload["payload"]["authorization"]["value"] = json!("9999"),
            "recipient_mismatch" => {
                payload["payload"]["authorization"]["to"] = self.vectors["server_signer"].clone();
            }
            "too_early" => now = seconds("validAfter") - 1,
            "too_late" => now = seconds("validBefore"),
            "bad_sig" => {
                let mut signature = from_hex(text(&payload["payload"]["signature"])).expect("hexadecimal");
                signature[40] ^= 1;
                payload["payload"]["signature"] = json!(to_hex(&signature));
            }
            "wrong_network" => payload["accepted"]["network"] = json!("eip155:1"),
            "wrong_scheme" => payload["accepted"]["scheme"] = json!("upto"),
            "x402Version 3" => payload["x402Version"] = json!(3),
            other => return self.wrong.push(format!("{other}: no change of this name is known")),
        }
        let offers = self.offers();
        let presented = Presented::parse(Version::V2, header::write(&payload).as_bytes());
        let refused = presented.and_then(|payment| payment.check(&offers, &asked(&offers, now)));
        let reason = refused.as_ref().map(|_| "taken").map_err(PaymentError::reason);
        self.same(id, reason, Err(expected));
        self.same(&format!("{id}/status"), refused.map(|_| 200).map_err(|error| error.status()), Err(402));
    }

    /// The first of a key is served as paid, a second is not; whichever version it is written in.
    fn replay(&mut self) {
        let offers = self.offers();
        let mut reserved: HashMap<ReservationKey, _> = HashMap::new();
        let mut served = Vec::new();
        let v2 = self.paid(Version::V2, &offers);
        for payment in [v2.clone(), v2, self.paid(Version::V1, &offers)] {
            let reuse =
                reserved.get(&payment.reservation.key).and_then(|first| payment.reservation.reuse(first));
            served.push(reuse);
            reserved.entry(payment.reservation.key.clone()).or_insert(payment.reservation);
        }
        self.same("nonce replay", served, vec![None, Some(Reuse::Retry), Some(Reuse::Retry)]);
    }

    fn cross_resource(&mut self) {
        let offers = self.offers();
        let first = self.paid(Version::V2, &offers);
        let mut elsewhere = offers.clone();
        elsewhere.resource.url.push_str("/another");
        // As it was: it names what it is for.
        let mut payload = self.vectors["http_v2"]["PaymentPayload"].clone();
        let check = |payload: &Value| {
            let presented = Presented::parse(Version::V2, header::write(payload).as_bytes());
            presented.and_then(|payment| payment.check(&elsewhere, &asked(&elsewhere, self.now())))
        };
        let refused = check(&payload);
        // With the resource left out or exchanged, which nothing signs, and in version 1, which names none.
        payload.as_object_mut().expect("an object").remove("resource");
        let without = check(&payload);
        payload["resource"] = value(&elsewhere.resource);
        let exchanged = check(&payload);
        let v1 = Payment::Exact(Box::new(self.paid(Version::V1, &elsewhere)));
        self.same(
            "cross_resource",
            refused.map_err(|error| error.reason()),
            Err("invalid_payment_requirements"),
        );
        for (id, payment) in [("without", without), ("exchanged", exchanged), ("v1", Ok(v1))] {
            let Ok(Payment::Exact(payment)) = payment else { panic!("{id}: {payment:?}") };
            let reuse = payment.reservation.reuse(&first.reservation);
            self.same(&format!("cross_resource/{id}"), reuse, Some(Reuse::OtherPurpose));
        }
    }

    fn paid(&self, version: Version, offers: &Offers) -> ExactPayment {
        let value = match version {
            Version::V1 => &self.vectors["http_v1"]["X-PAYMENT"],
            Version::V2 => &self.vectors["http_v2"]["PAYMENT-SIGNATURE"],
        };
        let presented = Presented::parse(version, text(value).as_bytes()).expect("readable");
        match presented.check(offers, &asked(offers, self.now())) {
            Ok(Payment::Exact(payment)) => *payment,
            other => panic!("{version:?}: {other:?}"),
        }
    }

    fn now(&self) -> u64 {
        self.vectors["http_v2"]["now"].as_u64().expect("a time")
    }

    fn server(&self) -> Address {
        Address::parse_checked(text(&self.vectors["server_signer"])).expect("an address")
    }

    /// The site's settings and price from which the offer in the file follows.
    fn offers(&self) -> Offers {
        let required = &self.vectors["http_v2"]["PaymentRequired"];
        let resource: Resource = object(&required["resource"]);
        let amount = U256::parse(text(&required["accepts"][0]["amount"])).expect("an amount");
        let price: Money = to_money(amount, DECIMALS, Currency::USD).expect("a price");
        let ways: Vec<Way> = required["accepts"].as_array().expect("a list").iter().map(way).collect();
        let extensions: Object = object(&required["extensions"]);
        Offers::new(resource, price, &ways, extensions).expect("an offer")
    }
}

fn way(accepts: &Value) -> Way {
    assert_eq!(text(&accepts["scheme"]), EXACT);
    Way::Exact(Token {
        chain_id: Network::parse(text(&accepts["network"]))
            .and_then(|network| network.chain_id())
            .expect("a chain"),
        asset: Address::parse_checked(text(&accepts["asset"])).expect("an address"),
        name: owned(&accepts["extra"]["name"]),
        version: owned(&accepts["extra"]["version"]),
        decimals: DECIMALS,
        currency: Currency::USD,
        pay_to: Address::parse_checked(text(&accepts["payTo"])).expect("an address"),
        max_timeout_secs: accepts["maxTimeoutSeconds"].as_u64().expect("seconds"),
    })
}

fn asked(offers: &Offers, now_secs: u64) -> Asked<'_> {
    Asked {
        method: "GET",
        url: &offers.resource.url,
        now_secs,
        takes_contracts: false,
        is_retry: false,
        requires_identifier: false,
        signature: RequestSignature::Absent,
    }
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
