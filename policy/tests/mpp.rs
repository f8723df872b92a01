//! The `Payment` scheme: what is issued here is known again, and nothing else is.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::protocol::mpp::Problem;
use policy::protocol::mpp::challenge::{
    CHALLENGE_BYTES_MAX, Challenge, ChallengeError, Challenger, Refused, Terms, Verified,
};
use policy::protocol::mpp::credential::{CREDENTIAL_BYTES_MAX, Credential, CredentialError, Echo, Field};
use policy::protocol::mpp::receipt::Receipt;
use policy::{Currency, Money};
use ring::hmac;
use serde_json::{Map, Value, json};

const NOW: u64 = 1_800_000_000;
const REALM: &str = "publisher.test";
const SECRET: [u8; 32] = [7; 32];

fn challenger() -> Challenger {
    Challenger::new(&[&SECRET]).expect("a long secret")
}

fn terms() -> Terms {
    let price = Money { nano: 10_000_000_000, currency: Currency::USD };
    Terms {
        realm: REALM.to_owned(),
        method: "example".to_owned(),
        intent: "charge".to_owned(),
        request: Terms::charge(price, "acct_123").expect("in cents"),
        expires_secs: NOW + 300,
        digest: None,
        opaque: BTreeMap::new(),
        in_payment_authorization: false,
        description: None,
    }
}

/// What a client reads in a challenge, by the grammar of RFC 9110 §11.
fn parameters(challenge: &Challenge) -> BTreeMap<String, String> {
    let rest = challenge.field.strip_prefix("Payment ").expect("the scheme");
    let parameters = rest.split(", ").map(|parameter| {
        let (name, value) = parameter.split_once('=').expect("a parameter");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("quoted");
        assert!(!value.contains(['"', '\\']), "{value}");
        (name.to_owned(), value.to_owned())
    });
    parameters.collect()
}

fn answer(challenge: &Challenge) -> Credential {
    let said = parameters(challenge);
    let member = |name: &str| said.get(name).cloned();
    let required = |name: &str| member(name).expect("required");
    let header = member("header");
    Credential {
        field: if header.is_some() { Field::PaymentAuthorization } else { Field::Authorization },
        challenge: Echo {
            id: required("id"),
            realm: required("realm"),
            method: required("method"),
            intent: required("intent"),
            request: required("request"),
            expires: member("expires"),
            digest: member("digest"),
            opaque: member("opaque"),
            header,
        },
        source: Some("did:example:payer".to_owned()),
        payload: Map::new(),
    }
}

fn sent(credential: &Credential) -> Result<Option<Credential>, CredentialError> {
    let field = credential.to_field();
    match credential.field {
        Field::Authorization => Credential::from_headers([field], [""; 0]),
        Field::PaymentAuthorization => Credential::from_headers(["Bearer x".to_owned()], [field]),
    }
}

fn verify(credential: &Credential) -> Result<Verified, Refused> {
    challenger().verify(credential, REALM, None, NOW)
}

#[test]
fn what_was_issued_is_known_again() {
    let opaque = BTreeMap::from([("order".to_owned(), "\u{1f99b} \" | \u{1}".to_owned())]);
    for (opaque, in_payment_authorization, description) in [
        (BTreeMap::new(), false, None),
        (opaque.clone(), false, Some("an article".to_owned())),
        (opaque, true, None),
    ] {
        let terms = Terms { opaque, in_payment_authorization, description, ..terms() };
        let challenge = challenger().issue(&terms).expect("a challenge");
        assert_eq!(parameters(&challenge)["expires"], "2027-01-15T08:05:00Z");
        let credential = answer(&challenge);
        let read = sent(&credential).expect("readable").expect("a credential");
        assert_eq!(read, credential);
        let verified = verify(&read).expect("ours");
        let expected = Verified {
            id: challenge.id,
            method: terms.method,
            intent: terms.intent,
            request: terms.request,
            expires_secs: terms.expires_secs,
            opaque: terms.opaque,
        };
        assert_eq!(verified, expected);
    }
}

/// The recommended binding, computed as the draft's pseudocode does, over the draft's own `request`.
#[test]
fn the_identifier_is_the_drafts() {
    let request = "eyJhbW91bnQiOiIxMDAwIiwiY3VycmVuY3kiOiJ1c2QiLCJyZWNpcGllbnQiOiJhY2N0XzEyMyJ9";
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let id = |input: &str| URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()));
    let challenge = challenger().issue(&terms()).expect("a challenge");
    assert_eq!(parameters(&challenge)["request"], request);
    assert_eq!(challenge.id, id(&format!("{REALM}|example|charge|{request}|2027-01-15T08:05:00Z||")));
    let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    let terms = Terms { digest: Some(digest.to_owned()), in_payment_authorization: true, ..terms() };
    let challenge = challenger().issue(&terms).expect("a challenge");
    let input =
        format!("{REALM}|example|charge|{request}|2027-01-15T08:05:00Z|{digest}||Payment-Authorization");
    assert_eq!(challenge.id, id(&input));
}

#[test]
fn no_altered_member_is_ours() {
    let opaque = BTreeMap::from([("order".to_owned(), "1".to_owned())]);
    let digest = Some("sha-256=:AA==:".to_owned());
    let challenge = challenger().issue(&Terms { opaque, digest, ..terms() }).expect("a challenge");
    let good = answer(&challenge);
    let verify =
        |credential: &Credential| challenger().verify(credential, REALM, Some("sha-256=:AA==:"), NOW);
    assert!(verify(&good).is_ok());
    let members = serde_json::to_value(&good.challenge).expect("JSON");
    for (name, value) in members.as_object().expect("an object") {
        let value = value.as_str().expect("a text");
        for place in 0..value.len() {
            let mut altered = value.as_bytes().to_vec();
            altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
            let mut members = members.clone();
            members[name] = json!(String::from_utf8(altered).expect("ASCII"));
            let challenge = serde_json::from_value(members).expect("an echo");
            assert_eq!(
                verify(&Credential { challenge, ..good.clone() }),
                Err(Refused::Unknown),
                "{name} {place}"
            );
        }
        let mut members = members.clone();
        members.as_object_mut().expect("an object").remove(name);
        if let Ok(challenge) = serde_json::from_value(members) {
            assert_eq!(
                verify(&Credential { challenge, ..good.clone() }),
                Err(Refused::Unknown),
                "without {name}"
            );
        }
    }
    let other = Challenger::new(&[&[8; 32]]).expect("a long secret");
    assert_eq!(other.verify(&good, REALM, None, NOW), Err(Refused::Unknown));
    let mut padded = good;
    padded.challenge.id.push('=');
    assert_eq!(verify(&padded), Err(Refused::Unknown));
}

/// `a|b` in one slot reads as two: with the eighth slot, a challenge for one header could be told as one for the other.
#[test]
fn a_separator_moves_no_member_into_another_slot() {
    let terms = Terms { in_payment_authorization: true, ..terms() };
    let good = answer(&challenger().issue(&terms).expect("a challenge"));
    let echo = good.challenge.clone();
    let shifted = Echo { digest: Some("|".to_owned()), opaque: echo.header.clone(), header: None, ..echo };
    let shifted = Credential { field: Field::Authorization, challenge: shifted, ..good };
    assert_eq!(challenger().verify(&shifted, REALM, Some("|"), NOW), Err(Refused::Unknown));
    assert_eq!(challenger().verify(&shifted, REALM, None, NOW), Err(Refused::Unknown), "not for its digest");
}

#[test]
fn a_challenge_has_an_end_a_realm_a_body_and_a_header() {
    let challenge = challenger().issue(&terms()).expect("a challenge");
    let good = answer(&challenge);
    let at = |now| challenger().verify(&good, REALM, None, now).map(|_| ());
    assert_eq!(
        (at(NOW + 299), at(NOW + 300), at(u64::MAX)),
        (Ok(()), Err(Refused::Expired), Err(Refused::Expired))
    );
    assert_eq!(challenger().verify(&good, "other.test", None, NOW), Err(Refused::Unknown));
    let elsewhere = Credential { field: Field::PaymentAuthorization, ..good.clone() };
    assert_eq!(verify(&elsewhere), Err(Refused::Unknown));
    let mut named = good;
    named.challenge.header = Some("Authorization".to_owned());
    assert_eq!(verify(&named), Err(Refused::Unknown));

    let terms = Terms { digest: Some("sha-256=:AA==:".to_owned()), ..terms() };
    let good = answer(&challenger().issue(&terms).expect("a challenge"));
    for (digest, expect) in [
        (Some("sha-256=:AA==:"), Ok(())),
        (Some("sha-256=:AB==:"), Err(Refused::OtherBody)),
        (None, Err(Refused::OtherBody)),
    ] {
        assert_eq!(challenger().verify(&good, REALM, digest, NOW).map(|_| ()), expect);
    }
}

#[test]
fn a_secret_is_replaced_without_losing_what_is_on_its_way() {
    let old = answer(&challenger().issue(&terms()).expect("a challenge"));
    let both = Challenger::new(&[&[9; 32], &SECRET]).expect("long secrets");
    assert!(both.verify(&old, REALM, None, NOW).is_ok());
    let new = answer(&both.issue(&terms()).expect("a challenge"));
    assert_eq!(verify(&new), Err(Refused::Unknown));
    assert!(both.verify(&new, REALM, None, NOW).is_ok());
    assert!(Challenger::new(&[]).is_none() && Challenger::new(&[&SECRET, &[1; 31]]).is_none());
}

#[test]
fn what_cannot_stand_in_a_header_is_not_issued() {
    let issue = |terms: Terms| challenger().issue(&terms).map(|_| ());
    let wrong = |member| Err(ChallengeError::Member { member });
    for realm in ["", "a\"b", "a\\b", "a|b", "a\nb", "é"] {
        assert_eq!(issue(Terms { realm: realm.to_owned(), ..terms() }), wrong("realm"), "{realm}");
        let digest = Some(realm.to_owned());
        assert_eq!(issue(Terms { digest, ..terms() }), wrong("digest"), "{realm}");
        let description = Some(realm.to_owned());
        assert_eq!(issue(Terms { description, ..terms() }), wrong("description"), "{realm}");
    }
    for method in ["", "Example", "a1", "a-b"] {
        assert_eq!(issue(Terms { method: method.to_owned(), ..terms() }), wrong("method"), "{method}");
    }
    for intent in ["", "a b", "a|b", "a_b"] {
        assert_eq!(issue(Terms { intent: intent.to_owned(), ..terms() }), wrong("intent"), "{intent}");
    }
    assert_eq!(issue(Terms { expires_secs: u64::MAX, ..terms() }), wrong("expires"));
    let long = Terms { description: Some("a".repeat(CHALLENGE_BYTES_MAX)), ..terms() };
    assert!(matches!(issue(long), Err(ChallengeError::TooLong { .. })));
    let price = Money { nano: 2_000_000, currency: Currency::USD };
    assert!(Terms::charge(price, "x").is_err(), "a fifth of a cent");
}

/// The draft's own example, whose `id` nobody can check.
#[test]
fn the_drafts_credential_is_read() {
    let token = "eyJjaGFsbGVuZ2UiOnsiaWQiOiJ4N1RnMnBMcVI5bUt2TndZM2hCY1phIiwicmVhbG0iOiJhcGkuZXhhbXBsZS5jb20iLCJtZXRob2QiOiJleGFtcGxlIiwiaW50ZW50IjoiY2hhcmdlIiwicmVxdWVzdCI6ImV5SmhiVzkxYm5RaU9pSXhNREF3SWl3aVkzVnljbVZ1WTNraU9pSlZVMFFpTENKeVpXTnBjR2xsYm5RaU9pSmhZMk4wWHpFeU15SjkiLCJleHBpcmVzIjoiMjAyNS0wMS0xNVQxMjowNTowMFoifSwicGF5bG9hZCI6eyJwcm9vZiI6IjB4YWJjMTIzLi4uIn19";
    for scheme in ["Payment", "payment", "PAYMENT  "] {
        let found = Credential::from_headers([format!("{scheme} {token}")], [""; 0]);
        let credential = found.expect("readable").expect("a credential");
        assert_eq!(credential.challenge.id, "x7Tg2pLqR9mKvNwY3hBcZa");
        assert_eq!(credential.challenge.expires.as_deref(), Some("2025-01-15T12:05:00Z"));
        assert_eq!(Value::Object(credential.payload.clone()), json!({"proof": "0xabc123..."}));
        assert_eq!(verify(&credential), Err(Refused::Unknown));
    }
    let field = format!("Payment {token}");
    for other in ["", "Bearer x", "Basic x", "Paymentx y", "Paymen"] {
        assert_eq!(Credential::from_headers([other], [other]), Ok(None), "{other}");
    }
    let several = Err(CredentialError::Several);
    assert_eq!(Credential::from_headers([&field, &field], [""; 0]), several);
    assert_eq!(Credential::from_headers([&field], [&field]), several);
}

#[test]
fn what_is_no_credential_is_malformed() {
    let read =
        |token: &str| Credential::from_headers([format!("Payment {token}")], [""; 0]).expect_err("malformed");
    for token in ["", "e30=", "e3-0+", "é", "e30 e30"] {
        assert!(
            matches!(read(token), CredentialError::NotBase64 | CredentialError::NotJson { .. }),
            "{token}"
        );
    }
    let deep = ["{\"payload\":", &"[".repeat(5_000)].concat();
    for json in [
        "{}",
        "[]",
        "1",
        r#"{"challenge":{},"payload":{}}"#,
        r#"[{"id":"a","realm":"b","method":"c","intent":"d","request":"e"},null,{}]"#,
        r#"{"challenge":["a","b","c","d","e",null,null,null,null],"payload":{}}"#,
        r#"{"challenge":{"id":"a","realm":"b","method":"c","intent":"d","request":"e"}}"#,
        r#"{"challenge":{"id":"a","realm":"b","method":"c","intent":"d","request":"e"},"payload":[]}"#,
        r#"{"challenge":{"id":"a","id":"b","realm":"b","method":"c","intent":"d","request":"e"},"payload":{}}"#,
        &deep,
    ] {
        let error = read(&URL_SAFE_NO_PAD.encode(json));
        assert!(matches!(error, CredentialError::NotJson { .. }), "{json}: {error}");
        assert_eq!((error.problem().as_str(), error.problem().status()), ("malformed-credential", 402));
    }
    assert!(matches!(read(&"A".repeat(CREDENTIAL_BYTES_MAX + 1)), CredentialError::TooLong { .. }));
}

#[test]
fn problems_are_the_drafts() {
    let table = Problem::ALL.map(|problem| (problem.as_str(), problem.status()));
    let expected = [
        ("payment-required", 402),
        ("payment-insufficient", 402),
        ("payment-expired", 402),
        ("verification-failed", 402),
        ("method-unsupported", 400),
        ("malformed-credential", 402),
        ("invalid-challenge", 402),
        ("bad-request", 400),
        ("invalid-payload", 402),
        ("internal-payment-error", 500),
        ("payment-action-required", 402),
    ];
    assert_eq!(table, expected);
    assert_eq!(Problem::PaymentExpired.type_uri(), "https://paymentauth.org/problems/payment-expired");
    assert_eq!(
        [Refused::Unknown, Refused::Expired, Refused::OtherBody].map(Refused::problem),
        [Problem::InvalidChallenge, Problem::PaymentExpired, Problem::VerificationFailed]
    );
}

#[test]
fn a_receipt_is_always_of_success() {
    let receipt = Receipt::new("example", "invoice-7", NOW).expect("a receipt");
    let json = URL_SAFE_NO_PAD.decode(receipt.to_field()).expect("Base64");
    assert_eq!(
        serde_json::from_slice::<Value>(&json).expect("JSON"),
        json!({"status": "success", "method": "example", "timestamp": "2027-01-15T08:00:00Z", "reference": "invoice-7"})
    );
    assert_eq!(Receipt::parse(receipt.to_field().as_bytes()), Some(receipt));
    let parse = |json: Value| Receipt::parse(URL_SAFE_NO_PAD.encode(json.to_string()).as_bytes());
    let other = json!({"status": "success", "method": "a", "timestamp": "t", "reference": "r", "later": [1]});
    assert_eq!(parse(other.clone()).map(|receipt| json!(receipt)), Some(other.clone()));
    let mut failed = other;
    failed["status"] = json!("failed");
    assert_eq!(parse(failed), None);
    assert_eq!(Receipt::parse(b"e30="), None);
    assert_eq!(Receipt::parse(&[b'A'; 20_000]), None);
}
