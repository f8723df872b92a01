//! x402 beyond the vectors: what is offered, what is refused, and that no altered byte buys anything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::protocol::x402::atomic::U256;
use policy::protocol::x402::batch::{BatchError, COVERAGE, Credit, FRESH_SECS, RequestSignature};
use policy::protocol::x402::eip712::{Address, Authorization, Key, Nonce, to_hex};
use policy::protocol::x402::facilitator::{
    self, ErrorReason, NotSettled, Supported, VerifyResponse, settled,
};
use policy::protocol::x402::identifier::{self, IdentifierError};
use policy::protocol::x402::message::{Object, PaymentRequired, Resource, SettlementResponse};
use policy::protocol::x402::network::Network;
use policy::protocol::x402::offer::{OfferError, Offers, Token, Way};
use policy::protocol::x402::payment::{
    Asked, ExactPayment, Payment, PaymentError, Presented, SETTLE_MARGIN_SECS, Signer, VALID_SECS_MAX,
};
use policy::protocol::x402::receipt::{
    self, Offer, PAYLOAD_VERSION, Payload, Receipt, ReceiptError, Signed, SignedBy,
};
use policy::protocol::x402::{Version, header};
use policy::{Currency, Money};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_030;
const URL: &str = "https://publisher.test/articles/1";

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

fn payer() -> Key {
    Key::from_bytes(&[0x11; 32]).expect("a key")
}

fn address(byte: u8) -> Address {
    Key::from_bytes(&[byte; 32]).expect("a key").address()
}

fn token(chain_id: u64) -> Token {
    Token {
        chain_id,
        asset: address(1),
        name: "USDC".to_owned(),
        version: "2".to_owned(),
        decimals: 6,
        currency: Currency::USD,
        pay_to: address(2),
        max_timeout_secs: 60,
    }
}

fn credit() -> Way {
    Way::Credit(Credit {
        registration_url: "https://publisher.test/crawlers".to_owned(),
        max_timeout_secs: None,
    })
}

fn resource(url: &str) -> Resource {
    Resource {
        url: url.to_owned(),
        description: Some("an article".to_owned()),
        mime_type: Some("text/html".to_owned()),
        others: Object::new(),
    }
}

fn offers_of(ways: &[Way]) -> Offers {
    Offers::new(resource(URL), usd(10_000_000), ways, Object::new()).expect("an offer")
}

fn asked(now_secs: u64) -> Asked<'static> {
    Asked {
        method: "GET",
        url: URL,
        now_secs,
        takes_contracts: false,
        is_retry: false,
        requires_identifier: false,
        signature: RequestSignature::Absent,
    }
}

fn authorization(value: u64) -> Authorization {
    Authorization {
        from: payer().address(),
        to: address(2),
        value: U256::from(value),
        valid_after: U256::from(NOW - 30),
        valid_before: U256::from(NOW + 30),
        nonce: Nonce([7; 32]),
    }
}

/// A payment of version 2 for the way at this place, as an honest client writes it.
fn payment(offers: &Offers, way: usize, authorization: &Authorization) -> Value {
    let Way::Exact(token) = &offers.ways[way].way else { panic!("not a token") };
    let digest = token.domain().digest(&authorization.struct_hash());
    json!({
        "x402Version": 2,
        "resource": offers.resource,
        "accepted": offers.ways[way].requirements,
        "payload": {"signature": payer().sign(&digest), "authorization": authorization},
        "extensions": offers.required("").extensions,
    })
}

fn present(payment: &Value) -> Presented {
    Presented::parse(Version::V2, header::write(payment).as_bytes()).expect("readable")
}

fn exact(paid: Result<Payment, PaymentError>) -> ExactPayment {
    match paid {
        Ok(Payment::Exact(payment)) => *payment,
        other => panic!("not paid: {other:?}"),
    }
}

#[track_caller]
fn refused(paid: Result<Payment, PaymentError>, reason: &str, status: u16) {
    let error = paid.expect_err(reason);
    assert_eq!((error.reason(), error.status()), (reason, status), "{error}");
}

#[test]
fn an_honest_payment_is_taken_on_each_chain() {
    let offers = offers_of(&[Way::Exact(token(8453)), credit(), Way::Exact(token(84532))]);
    for (way, network) in [(0, "eip155:8453"), (2, "eip155:84532")] {
        let sent = payment(&offers, way, &authorization(10_000));
        let paid = exact(present(&sent).check(&offers, &asked(NOW)));
        assert_eq!(paid.reservation.key.network.as_str(), network);
        assert_eq!((paid.price, paid.signer), (usd(10_000_000), Signer::Account));
        assert_eq!(paid.request.payment_payload, sent, "a facilitator sees what the client sent");
    }
}

#[test]
fn what_is_not_known_is_passed_on() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let mut sent = payment(&offers, 0, &authorization(10_000));
    sent["later"] = json!({"version": [3]});
    sent["accepted"]["later"] = json!(1.5);
    sent["accepted"]["extra"]["later"] = json!(null);
    sent["payload"]["later"] = json!("x");
    sent["extensions"]["later"] = json!({"info": {}});
    let paid = exact(present(&sent).check(&offers, &asked(NOW)));
    assert_eq!(paid.request.payment_payload, sent);
    assert_eq!(
        paid.request.payment_requirements,
        serde_json::to_value(&offers.ways[0].requirements).expect("JSON"),
        "but what was offered is ours to say"
    );
}

#[test]
fn no_altered_byte_buys_anything_else() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let json = serde_json::to_vec(&payment(&offers, 0, &authorization(10_000))).expect("JSON");
    let good = exact(present(&serde_json::from_slice(&json).expect("JSON")).check(&offers, &asked(NOW)));
    let (mut taken, mut refused) = (0, 0);
    for place in 0..json.len() {
        for mask in [0x01, 0x20] {
            let mut altered = json.clone();
            altered[place] ^= mask;
            let value = header::encode(&altered);
            let presented = Presented::parse(Version::V2, value.as_bytes());
            match presented.and_then(|payment| payment.check(&offers, &asked(NOW))) {
                Ok(Payment::Exact(paid)) => {
                    // Letters of hexadecimal digits, texts for people, names of members that nobody asks for.
                    assert_eq!(paid.authorization, good.authorization, "byte {place} ^ {mask:#x}");
                    assert_eq!(paid.reservation, good.reservation);
                    taken += 1;
                }
                Ok(other) => panic!("byte {place} ^ {mask:#x}: {other:?}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > json.len(), "{refused} refused, {taken} taken of {}", 2 * json.len());
}

#[test]
fn a_changed_authorization_is_not_what_was_signed() {
    let offers = offers_of(&[Way::Exact(token(8453)), Way::Exact(token(84532))]);
    let sent = payment(&offers, 0, &authorization(10_000));
    for (member, value) in [
        ("from", json!(address(9))),
        ("validAfter", json!((NOW - 31).to_string())),
        ("validBefore", json!((NOW + 31).to_string())),
        ("nonce", json!(to_hex(&[8; 32]))),
    ] {
        let mut altered = sent.clone();
        altered["payload"]["authorization"][member] = value;
        refused(present(&altered).check(&offers, &asked(NOW)), "invalid_exact_evm_payload_signature", 402);
    }
    // Signed for another chain, or for a token of another name.
    let mut elsewhere = sent.clone();
    elsewhere["accepted"] = json!(offers.ways[1].requirements);
    refused(present(&elsewhere).check(&offers, &asked(NOW)), "invalid_exact_evm_payload_signature", 402);
    let renamed = offers_of(&[Way::Exact(Token { name: "USD Coin".to_owned(), ..token(8453) })]);
    refused(present(&sent).check(&renamed, &asked(NOW)), "invalid_payment_requirements", 402);
    let mut silent = sent.clone();
    silent["accepted"].as_object_mut().expect("an object").remove("extra");
    refused(present(&silent).check(&renamed, &asked(NOW)), "invalid_exact_evm_payload_signature", 402);
}

#[test]
fn what_was_not_offered_is_not_accepted() {
    let offers = offers_of(&[Way::Exact(token(8453)), credit()]);
    let sent = payment(&offers, 0, &authorization(10_000));
    for (member, value, reason) in [
        ("scheme", json!("upto"), "unsupported_scheme"),
        ("scheme", json!("batch-settlement"), "invalid_network"),
        ("network", json!("eip155:1"), "invalid_network"),
        ("network", json!("base"), "invalid_network"),
        ("asset", json!(address(9)), "invalid_payment_requirements"),
        ("asset", json!("USD"), "invalid_payment_requirements"),
        ("payTo", json!(address(9)), "invalid_payment_requirements"),
        ("amount", json!("9999"), "invalid_payment_requirements"),
        ("amount", json!("010000"), "invalid_payment_requirements"),
        ("maxTimeoutSeconds", json!(86_400), "invalid_payment_requirements"),
        ("extra", json!({"name": "USD Coin"}), "invalid_payment_requirements"),
        ("extra", json!({"assetTransferMethod": "permit2"}), "invalid_payment_requirements"),
    ] {
        let mut altered = sent.clone();
        altered["accepted"][member] = value;
        refused(present(&altered).check(&offers, &asked(NOW)), reason, 402);
    }
    let mut lower = sent.clone();
    lower["accepted"]["asset"] = json!(address(1).to_string().to_lowercase());
    exact(present(&lower).check(&offers, &asked(NOW)));
    let mut bare = sent;
    for member in ["resource", "extensions"] {
        bare.as_object_mut().expect("an object").remove(member);
    }
    bare["accepted"].as_object_mut().expect("an object").remove("extra");
    exact(present(&bare).check(&offers, &asked(NOW)));
}

#[test]
fn time_has_a_margin_and_an_end() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let until = |valid_before: U256, now_secs: u64| {
        let authorization = Authorization { valid_before, ..authorization(10_000) };
        present(&payment(&offers, 0, &authorization)).check(&offers, &asked(now_secs))
    };
    let before = "invalid_exact_evm_payload_authorization_valid_before";
    exact(until(U256::from(NOW + SETTLE_MARGIN_SECS + 1), NOW));
    refused(until(U256::from(NOW + SETTLE_MARGIN_SECS), NOW), before, 402);
    exact(until(U256::from(NOW + VALID_SECS_MAX), NOW));
    refused(until(U256::from(NOW + VALID_SECS_MAX + 1), NOW), before, 402);
    refused(until(U256::from(u128::MAX), NOW), before, 402);
    refused(until(U256::from(u64::MAX), u64::MAX), before, 402);
    exact(until(U256::from(NOW + 30), NOW - 30));
    let after = "invalid_exact_evm_payload_authorization_valid_after";
    refused(until(U256::from(NOW + 30), NOW - 31), after, 402);
}

#[test]
fn the_value_is_the_price_in_both_versions() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    for value in [0, 9_999, 10_001, u64::MAX] {
        let sent = payment(&offers, 0, &authorization(value));
        let reason = "invalid_exact_evm_payload_authorization_value_mismatch";
        refused(present(&sent).check(&offers, &asked(NOW)), reason, 402);
        let sent =
            json!({"x402Version": 1, "scheme": "exact", "network": "base", "payload": sent["payload"]});
        let presented = Presented::parse(Version::V1, header::write(&sent).as_bytes()).expect("readable");
        let reason = "invalid_exact_evm_payload_authorization_value";
        refused(presented.check(&offers, &asked(NOW)), reason, 402);
    }
}

#[test]
fn version_1_finds_the_token_by_its_signature() {
    let other = Token { asset: address(5), name: "EURC".to_owned(), ..token(8453) };
    let offers = offers_of(&[Way::Exact(other), credit(), Way::Exact(token(84532)), Way::Exact(token(8453))]);
    let signed = payment(&offers, 3, &authorization(10_000))["payload"].clone();
    let sent = |scheme: &str, network: &str| {
        let sent = json!({"x402Version": 1, "scheme": scheme, "network": network, "payload": signed});
        let presented = Presented::parse(Version::V1, header::write(&sent).as_bytes()).expect("readable");
        (presented.check(&offers, &asked(NOW)), sent)
    };
    let (paid, sent_as) = sent("exact", "base");
    let paid = exact(paid);
    assert_eq!(paid.reservation.key.asset, address(1));
    assert_eq!((paid.version, paid.request.x402_version), (Version::V1, 1));
    assert_eq!(paid.request.payment_payload, sent_as);
    assert_eq!(paid.request.payment_requirements["network"], "base");
    assert_eq!(paid.request.payment_requirements["maxAmountRequired"], "10000");
    refused(sent("exact", "base-sepolia").0, "invalid_exact_evm_payload_signature", 402);
    refused(sent("exact", "avalanche").0, "invalid_network", 402);
    refused(sent("exact", "eip155:8453").0, "invalid_network", 402);
    refused(sent("batch-settlement", "cloudflare:402").0, "unsupported_scheme", 402);
}

#[test]
fn a_contracts_signature_is_left_to_the_facilitator_where_that_is_wanted() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let mut sent = payment(&offers, 0, &authorization(10_000));
    sent["payload"]["signature"] = json!(to_hex(&[0x64; 96]));
    refused(present(&sent).check(&offers, &asked(NOW)), "invalid_exact_evm_payload_signature", 402);
    let asked = Asked { takes_contracts: true, ..asked(NOW) };
    assert_eq!(exact(present(&sent).check(&offers, &asked)).signer, Signer::Contract);
    sent["payload"]["signature"] = json!(to_hex(&[0x64; 65]));
    refused(present(&sent).check(&offers, &asked), "invalid_exact_evm_payload_signature", 402);
}

/// The members of an authorization without their names, which serde would take for it.
fn as_array(authorization: &Value) -> Vec<Value> {
    let members = ["from", "to", "value", "validAfter", "validBefore", "nonce"];
    members.map(|member| authorization[member].clone()).to_vec()
}

#[test]
fn what_cannot_be_read_is_a_bad_request() {
    let parse = |value: &[u8]| Presented::parse(Version::V2, value).expect_err("not a payment");
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let sent = payment(&offers, 0, &authorization(10_000));
    let twice = sent.to_string().replacen('{', "{\"accepted\":1,", 1);
    let deep = ["{\"x402Version\":2,\"payload\":", &"[".repeat(5_000)].concat();
    for json in ["", "1", "[]", "\"\"", "null", "{}x", &twice, &deep] {
        let error = parse(header::encode(json.as_bytes()).as_bytes());
        assert_eq!((error.reason(), error.status()), ("invalid_payload", 400), "{json}");
    }
    for value in [&b"\xff"[..], b"e30!", &[b'A'; header::IN_BYTES_MAX + 1]] {
        assert_eq!(parse(value).status(), 400);
    }
    for version in [json!(1), json!(3), json!("2"), json!(2.0), json!(null), json!(-2)] {
        let mut other = sent.clone();
        other["x402Version"] = version;
        let error = parse(header::write(&other).as_bytes());
        assert_eq!((error.reason(), error.status()), ("invalid_x402_version", 402));
    }
    let value = header::write(&sent);
    for (v2, v1) in
        [(vec![&value, &value], vec![]), (vec![&value], vec![&value]), (vec![], vec![&value, &value])]
    {
        let error = Presented::from_headers(v2, v1).expect_err("several");
        assert_eq!(error.status(), 400);
    }
    assert_eq!(Presented::from_headers([""; 0], [""; 0]), Ok(None));
    for (member, value) in [
        ("signature", json!("0x")),
        ("signature", json!("1baa")),
        ("signature", json!(1)),
        ("authorization", json!([])),
        ("authorization", json!(as_array(&sent["payload"]["authorization"]))),
        ("authorization", json!({"from": address(1)})),
    ] {
        let mut other = sent.clone();
        other["payload"][member] = value;
        refused(present(&other).check(&offers, &asked(NOW)), "invalid_payload", 400);
    }
    for (member, value) in [
        ("value", json!(10_000)),
        ("value", json!("0x2710")),
        ("value", json!("1e4")),
        ("nonce", json!("0x07")),
        ("from", json!("vitalik.eth")),
    ] {
        let mut other = sent.clone();
        other["payload"]["authorization"][member] = value;
        refused(present(&other).check(&offers, &asked(NOW)), "invalid_payload", 400);
    }
}

#[test]
fn extensions_are_added_to_and_not_changed() {
    let mut extensions = Object::new();
    extensions.insert(identifier::NAME.to_owned(), identifier::extension(true));
    let offers =
        Offers::new(resource(URL), usd(10_000_000), &[Way::Exact(token(8453)), credit()], extensions);
    let offers = offers.expect("an offer");
    let asked = Asked { requires_identifier: true, ..asked(NOW) };
    let mut sent = payment(&offers, 0, &authorization(10_000));
    refused(present(&sent).check(&offers, &asked), "invalid_payload", 400);
    sent["extensions"][identifier::NAME]["info"]["id"] = json!("pay_7d5d747be160e280504c099d984bcfe0");
    let paid = exact(present(&sent).check(&offers, &asked));
    let id = paid.identifier.expect("an identifier");
    assert_eq!(id.as_str(), "pay_7d5d747be160e280504c099d984bcfe0");
    assert_eq!(present(&sent).identifier(true), Ok(Some(id)));

    let mut changed = sent.clone();
    changed["extensions"][identifier::NAME]["info"]["required"] = json!(false);
    refused(present(&changed).check(&offers, &asked), "invalid_payload", 402);
    let mut changed = sent.clone();
    changed["extensions"]["http-message-signatures"]["info"] =
        json!({"registrationUrl": "https://evil.test"});
    refused(present(&changed).check(&offers, &asked), "invalid_payload", 402);
    sent["extensions"][identifier::NAME]["info"]["id"] = json!("short");
    assert_eq!(present(&sent).identifier(false), Err(IdentifierError::Malformed));
}

#[test]
fn prices_that_a_way_cannot_express_are_not_offered_in_it() {
    let ways = [credit(), Way::Exact(token(8453))];
    let offered = |nano: i64, ways: &[Way]| {
        let offers = Offers::new(resource(URL), usd(nano), ways, Object::new())?;
        Ok(offers.ways.iter().map(|way| way.requirements.amount.clone()).collect::<Vec<_>>())
    };
    assert_eq!(offered(10_000_000, &ways), Ok(vec!["1".to_owned(), "10000".to_owned()]));
    assert_eq!(offered(2_000_000, &ways), Ok(vec!["2000".to_owned()]), "a fifth of a cent");
    assert!(matches!(offered(2_000_000, &ways[..1]), Err(OfferError::Inexact(_))));
    assert!(matches!(offered(1, &ways), Err(OfferError::Inexact(_))));
    assert_eq!(offered(0, &ways), Err(OfferError::Free));
    assert_eq!(offered(-1, &ways), Err(OfferError::Free));
    assert_eq!(offered(1_000_000, &[]), Err(OfferError::NoWay { currency: Currency::USD }));
    let euros = Money { nano: 10_000_000, currency: Currency::parse("EUR").expect("EUR") };
    let offers = Offers::new(resource(URL), euros, &ways, Object::new()).expect("on credit");
    assert_eq!(offers.ways.len(), 1, "a dollar is not a euro");
    assert_eq!(offers.ways[0].requirements.asset, "EUR");
    let yen = Money { nano: 3_000_000_000, currency: Currency::parse("JPY").expect("JPY") };
    let offers = Offers::new(resource(URL), yen, &ways, Object::new()).expect("on credit");
    assert_eq!(offers.ways[0].requirements.amount, "3", "yen have no smaller unit");
}

#[test]
fn an_offers_header_stays_below_two_kilobytes() {
    let mut extensions = Object::new();
    extensions.insert(identifier::NAME.to_owned(), identifier::extension(false));
    let ways = [
        credit(),
        Way::Exact(token(8453)),
        Way::Exact(token(84532)),
        Way::Exact(token(43113)),
        Way::Exact(token(43114)),
    ];
    let mut lengths = Vec::new();
    for length in [30, 200, 400, 700, 900, 1_000, 1_500, 9_000] {
        let url = format!("https://publisher.test/{}", "a".repeat(length));
        let offers =
            Offers::new(resource(&url), usd(10_000_000), &ways, extensions.clone()).expect("an offer");
        let Some(value) = offers.header("PAYMENT-SIGNATURE header is required") else {
            lengths.push(0);
            continue;
        };
        assert!(value.len() < header::OUT_BYTES_MAX, "{length}: {}", value.len());
        let read: PaymentRequired = header::read(value.as_bytes()).expect("readable");
        assert_eq!(read.resource.url, url);
        assert_eq!(read.accepts[0], offers.ways[0].requirements, "the preferred way stays");
        assert!(read.extensions.is_some_and(|extensions| extensions.contains_key("http-message-signatures")));
        lengths.push(read.accepts.len());
        // Whatever the header had no room for is taken all the same.
        let sent = payment(&offers, 4, &authorization(10_000));
        exact(present(&sent).check(&offers, &asked(NOW)));
    }
    assert!(lengths.is_sorted_by(|a, b| a >= b) && lengths[0] >= 3 && lengths.ends_with(&[0]), "{lengths:?}");
    let body = offers_of(&ways).body("").expect("version 1");
    assert_eq!(body.accepts.len(), 4, "credit does not exist there");
    assert!(offers_of(&[credit()]).body("").is_none());
}

/// The offer and the payment of `batch_settlement_cloudflare.md`, with another place to register.
#[test]
fn a_promise_is_worth_what_its_signature_covers() {
    let offers = Offers::new(resource(URL), usd(50_000_000), &[credit()], Object::new()).expect("an offer");
    let written = &offers.required("No PAYMENT-SIGNATURE header provided");
    let written = serde_json::to_value(written).expect("JSON");
    let accepts = json!([{
        "scheme": "batch-settlement", "network": "cloudflare:402", "amount": "5", "asset": "USD",
        "payTo": "merchant", "extra": {"version": "1.0.0"},
    }]);
    let extension = json!({"http-message-signatures": {"info": {
        "registrationUrl": "https://publisher.test/crawlers", "signatureSchemes": ["ed25519"],
        "tags": ["web-bot-auth"],
    }}});
    assert_eq!((&written["accepts"], &written["extensions"]), (&accepts, &extension));

    let value = "eyJ4NDAyVmVyc2lvbiI6MiwicGF5bG9hZCI6eyJhbW91bnQiOiI1IiwiYXNzZXQiOiJVU0QifSwiYWNjZXB0ZWQiOnsic2NoZW1lIjoiYmF0Y2gtc2V0dGxlbWVudCIsIm5ldHdvcmsiOiJjbG91ZGZsYXJlOjQwMiIsImFtb3VudCI6IjUiLCJhc3NldCI6IlVTRCIsInBheVRvIjoibWVyY2hhbnQiLCJtYXhUaW1lb3V0U2Vjb25kcyI6MzB9fQ==";
    let presented = Presented::parse(Version::V2, value.as_bytes()).expect("readable");
    let ask = |presented: &Presented, signature: RequestSignature<'_>| {
        presented.check(&offers, &Asked { signature, ..asked(NOW) })
    };
    fn good<'a>(components: &'a [&'a str], created_secs: u64, is_agent_known: bool) -> RequestSignature<'a> {
        RequestSignature::Valid { components, created_secs, is_agent_known }
    }
    let fresh = good(&COVERAGE, NOW, true);
    let Ok(Payment::Credit(paid)) = ask(&presented, fresh) else { panic!("not paid") };
    assert_eq!(paid.price, usd(50_000_000));
    assert_eq!(
        serde_json::to_value(paid.response(paid.amount, 1_730_872_968)).expect("JSON"),
        json!({"amount": "5", "asset": "USD", "network": "cloudflare:402", "timestamp": 1_730_872_968})
    );
    assert_eq!(
        serde_json::to_value(paid.response_at_most(7)).expect("JSON"),
        json!({"amount": "5", "asset": "USD", "network": "cloudflare:402", "timestamp": 7,
            "extensions": {"ceiling": {"info": {"amount": "5"}}}})
    );
    for signature in [good(&COVERAGE, NOW - FRESH_SECS, true), good(&COVERAGE, NOW + FRESH_SECS, true)] {
        assert!(ask(&presented, signature).is_ok());
    }
    let code = BatchError::InvalidSignature.as_str();
    refused(ask(&presented, RequestSignature::Absent), code, 400);
    refused(ask(&presented, RequestSignature::Invalid), code, 400);
    refused(ask(&presented, good(&COVERAGE, NOW - FRESH_SECS - 1, true)), code, 400);
    refused(ask(&presented, good(&COVERAGE, NOW + FRESH_SECS + 1, true)), code, 400);
    for missing in 0..COVERAGE.len() {
        let covered: Vec<&str> = COVERAGE
            .into_iter()
            .enumerate()
            .filter(|(place, _)| *place != missing)
            .map(|(_, name)| name)
            .collect();
        refused(ask(&presented, good(&covered, NOW, true)), code, 400);
    }
    refused(ask(&presented, good(&COVERAGE, NOW, false)), "signature_agent_unknown", 400);
    let json: Value = header::read(value.as_bytes()).expect("JSON");
    for (promise, code, status) in [
        (json!({"amount": "4", "asset": "USD"}), "price_not_acceptable", 402),
        (json!({"amount": "5", "asset": "EUR"}), "price_not_acceptable", 402),
        (json!({"amount": 5, "asset": "USD"}), "invalid_payment_signature", 400),
        (json!({"amount": "0.05", "asset": "USD"}), "invalid_payment_signature", 400),
        (json!({}), "invalid_payment_signature", 400),
    ] {
        let mut other = json.clone();
        other["payload"] = promise;
        refused(ask(&present(&other), fresh), code, status);
    }
    let mut more = json;
    more["payload"]["amount"] = json!("7");
    let Ok(Payment::Credit(paid)) = ask(&present(&more), fresh) else { panic!("not paid") };
    assert_eq!(paid.amount, U256::from(5_u64), "no more than the price is taken");
    let codes = BatchError::ALL.map(BatchError::as_str);
    assert_eq!(
        codes,
        [
            "blocked",
            "price_not_acceptable",
            "payment_failed",
            "invalid_signature",
            "signature_agent_unknown",
            "invalid_payment_signature",
            "origin_error",
            "unknown"
        ]
    );
}

#[test]
fn a_facilitator_is_believed_about_this_payment_alone() {
    let offers = offers_of(&[Way::Exact(token(8453))]);
    let paid = exact(present(&payment(&offers, 0, &authorization(10_000))).check(&offers, &asked(NOW)));
    let answer = |change: &dyn Fn(&mut Value)| {
        let mut answer = json!({
            "success": true, "transaction": to_hex(&[0xab; 32]), "network": "eip155:8453",
            "payer": payer().address().to_string().to_lowercase(), "amount": "10000", "later": 1,
        });
        change(&mut answer);
        let body = serde_json::to_vec(&answer).expect("JSON");
        settled(&paid.transfer(), &facilitator::read::<SettlementResponse>(&body).expect("an answer"))
    };
    assert_eq!(answer(&|_| {}), Ok(()));
    assert_eq!(answer(&|answer| answer["network"] = json!("base")), Ok(()), "version 1's name of it");
    for (member, value) in [
        ("network", json!("eip155:1")),
        ("transaction", json!("")),
        ("payer", json!(address(9))),
        ("amount", json!("9999")),
    ] {
        let found = answer(&|answer| answer[member] = value.clone());
        assert_eq!(found, Err(NotSettled::Contradiction { member }));
    }
    let refused = answer(&|answer| {
        *answer =
            json!({"success": false, "errorReason": "insufficient_funds", "transaction": "", "network": "x"});
    });
    assert_eq!(refused, Err(NotSettled::Refused { reason: "insufficient_funds".to_owned() }));
    for (body, readable) in [
        (r#"{"isValid":true,"payer":"0x1"}"#, true),
        (r#"{"isValid":false,"invalidReason":"invalid_network","later":{}}"#, true),
        (r#"{"valid":true}"#, false),
        ("<html>", false),
        ("", false),
    ] {
        assert_eq!(facilitator::read::<VerifyResponse>(body.as_bytes()).is_ok(), readable, "{body}");
    }
    let long = format!("{}{}", r#"{"isValid":true}"#, " ".repeat(facilitator::ANSWER_BYTES_MAX));
    assert!(facilitator::read::<VerifyResponse>(long.as_bytes()).is_err());

    let supported = r#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:8453"},
        {"x402Version":1,"scheme":"exact","network":"base-sepolia","extra":{"a":1}}],
        "extensions":["bazaar"],"signers":{"eip155:*":["0x1"]}}"#;
    let supported: Supported = facilitator::read(supported.as_bytes()).expect("an answer");
    for (version, chain, can) in [
        (Version::V2, 8453, true),
        (Version::V1, 8453, false),
        (Version::V1, 84532, true),
        (Version::V2, 84532, false),
    ] {
        assert_eq!(supported.settles_exact(version, &Network::eip155(chain)), can, "{version:?} {chain}");
    }
    let v1: Supported = facilitator::read(br#"{"kinds":[]}"#).expect("version 1 has only kinds");
    assert_eq!(v1, Supported::default());
    for reason in ErrorReason::ALL {
        assert_eq!(ErrorReason::parse(reason.as_str()), Some(reason));
    }
}

fn receipt() -> Receipt {
    Receipt {
        version: PAYLOAD_VERSION,
        network: "cloudflare:402".to_owned(),
        resource_url: URL.to_owned(),
        payer: "https://crawler.test \u{1}\"\u{1f99b}".to_owned(),
        issued_at: NOW,
        transaction: None,
    }
}

const KID: &str = "did:web:publisher.test#key-1";

#[test]
fn receipts_are_signed_with_ed25519() {
    let key = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a key");
    let public: [u8; 32] = key.public_key().as_ref().try_into().expect("32 bytes");
    let keys = |kid: &str| (kid == KID).then_some(public);
    let signed = Signed::with_ed25519(&receipt(), &key, KID);
    assert_eq!(signed.verify::<Receipt>(&keys), Ok((receipt(), SignedBy::Key(KID.to_owned()))));
    let written = receipt::receipt_extension(&signed);
    assert!(written["info"]["receipt"].get("payload").is_none(), "a JWS carries its payload");
    let settlement = json!({"success": true, "extensions": {receipt::NAME: written}});
    let settlement: SettlementResponse = serde_json::from_value(settlement).expect("a settlement");
    assert_eq!(receipt::receipt_of(&settlement).as_ref(), Some(&signed));

    for place in 0..signed.signature.len() {
        let mut altered = signed.clone();
        let mut bytes = altered.signature.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        altered.signature = String::from_utf8(bytes).expect("ASCII");
        assert!(altered.verify::<Receipt>(&keys).is_err(), "character {place}");
    }
    assert_eq!(signed.verify::<Receipt>(&|_| None), Err(ReceiptError::UnknownKey { kid: KID.to_owned() }));
    assert_eq!(
        signed.verify::<Receipt>(&|_| Some([9; 32])),
        Err(ReceiptError::NotSigned { kid: KID.to_owned() })
    );
    assert!(signed.verify::<Offer>(&keys).is_err(), "a receipt is no offer");
    let twice = Signed { payload: Some(json!({})), ..signed.clone() };
    assert!(twice.verify::<Receipt>(&keys).is_err());
    let future = Signed::with_ed25519(&Receipt { version: 2, ..receipt() }, &key, KID);
    assert_eq!(future.verify::<Receipt>(&keys), Err(ReceiptError::PayloadVersion { version: 2 }));

    // Headers that another would read differently.
    let [_, payload, _] = signed.signature.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let for_urls = |bytes: &[u8]| header::encode(bytes).replace('+', "-").replace('/', "_").replace('=', "");
    for (head, good) in [
        (json!({"alg": "EdDSA", "kid": KID}), true),
        (json!({"alg": "EdDSA", "kid": KID, "jwk": {"x": "another"}}), true),
        (json!({"alg": "none", "kid": KID}), false),
        (json!({"alg": "HS256", "kid": KID}), false),
        (json!({"alg": "EdDSA"}), false),
        (json!({"alg": "EdDSA", "kid": KID, "crit": ["exp"]}), false),
        (json!({"alg": "EdDSA", "kid": KID, "b64": false}), false),
    ] {
        let input = [for_urls(head.to_string().as_bytes()), payload.to_owned()].join(".");
        let signature = for_urls(key.sign(input.as_bytes()).as_ref());
        let other = Signed { signature: [input, signature].join("."), ..signed.clone() };
        assert_eq!(other.verify::<Receipt>(&keys).is_ok(), good, "{head}");
    }
    for jws in ["", ".", "..", "a.b.c.d", "e30.e30.", &"A".repeat(receipt::JWS_BYTES_MAX + 1)] {
        let other = Signed { signature: jws.to_owned(), ..signed.clone() };
        assert!(other.verify::<Receipt>(&keys).is_err(), "{jws}");
    }
}

#[test]
fn what_is_absent_is_signed_as_nothing() {
    let receipts = [receipt(), Receipt { transaction: Some(String::new()), ..receipt() }];
    assert_eq!(receipts[0].digest(), receipts[1].digest());
    assert_ne!(receipts[0].digest(), Receipt { transaction: Some("0x1".to_owned()), ..receipt() }.digest());
    let offer = |valid_until| Offer {
        version: PAYLOAD_VERSION,
        resource_url: URL.to_owned(),
        scheme: "exact".to_owned(),
        network: "eip155:8453".to_owned(),
        asset: address(1).to_string(),
        pay_to: address(2).to_string(),
        amount: "10000".to_owned(),
        valid_until,
    };
    assert_eq!(offer(None).digest(), offer(Some(0)).digest());
    let key = Key::from_bytes(&[0x22; 32]).expect("a key");
    let signed = Signed::with_account(&offer(Some(NOW)), &key);
    let by = SignedBy::Account(key.address());
    assert_eq!(signed.verify::<Offer>(&|_| None), Ok((offer(Some(NOW)), by.clone())));
    let mut dearer = signed;
    dearer.payload.as_mut().expect("a payload")["amount"] = json!("20000");
    assert_ne!(dearer.verify::<Offer>(&|_| None).map(|(_, signer)| signer), Ok(by));
}

/// A key of order one: the signature below is good under it for whatever is said, and nobody's.
#[test]
fn a_receipt_under_a_key_of_small_order_is_signed_by_nobody() {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let said = json!({
        "version": PAYLOAD_VERSION, "network": "eip155:8453", "resourceUrl": URL, "payer": payer().address(),
        "issuedAt": NOW,
    });
    let header = json!({"alg": "EdDSA", "kid": "did:web:publisher.test#1"});
    let mut point = [0; 32];
    point[0] = 1;
    let signature = [point, [0; 32]].concat();
    let jws =
        [part(header.to_string().as_bytes()), part(said.to_string().as_bytes()), part(&signature)].join(".");
    let signed = Signed { format: receipt::Format::Jws, accept_index: None, payload: None, signature: jws };
    let verified = signed.verify::<Receipt>(&|_| Some(point));
    assert!(matches!(verified, Err(ReceiptError::NotSigned { .. })), "{verified:?}");
}
