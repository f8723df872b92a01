//! The cases of RSL 1.0 and CAP, read from `testdata/vectors/rsl.json`: another file of that form may take its place.

#[path = "support/vectors.rs"]
mod support;

use policy::protocol::cap::{Credentials, Declaration, Standing, authorize};
use policy::protocol::robots::RobotsTxt;
use policy::protocol::rsl::discovery::{in_link_headers, in_robots};
use policy::protocol::rsl::{
    Asset, Decision, Document, Geo, Licensed, Obligation, PaymentWord, UsageClass, Use, UserClass,
};
use serde_json::Value;
use support::{judge, text, vectors};

#[test]
fn no_list_of_cases_is_left_out() {
    let known = ["note", "evaluate", "invalid_documents", "robots", "cap"];
    let vectors = vectors("rsl.json");
    let unknown: Vec<&String> =
        vectors.as_object().expect("lists").keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "nothing judges {unknown:?}");
}

#[test]
fn evaluation() {
    judge("evaluate", &vectors("rsl.json")["evaluate"], |case| {
        let document = match Document::parse(text(case, "document")) {
            Ok(document) => document,
            Err(error) => return Some(format!("refused: {error}")),
        };
        let profiles: Vec<&str> =
            case["reporting_profiles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let wanted = Use {
            usage: UsageClass::parse(text(case, "usage")).expect("a usage"),
            user: case["user"].as_str().map(|user| UserClass::parse(user).expect("a user")),
            geo: case["geo"].as_str().map(|geo| Geo::parse(geo).expect("a place")),
            reporting_profiles: &profiles,
        };
        let asset = Asset { origin: case["origin"].as_str(), path: text(case, "path") };
        let decision = document.evaluate(&asset, &wanted);
        let expect = case["expect"].as_object().expect("`expect`");
        let differences: Vec<String> = expect
            .iter()
            .filter(|(key, _)| *key != "note")
            .filter(|(key, value)| told(&decision, key) != **value)
            .map(|(key, value)| format!("{key} is {}, not {value}", told(&decision, key)))
            .collect();
        (!differences.is_empty()).then(|| differences.join(", "))
    });
}

/// What a decision says, under the names of the file.
fn told(decision: &Decision<'_>, key: &str) -> Value {
    let payment = |licensed: &Licensed<'_>| licensed.license.payment.clone().unwrap_or_default();
    let licensed = decision.licensed();
    let found = match key {
        "decision" => Some(decision.as_str().to_owned()),
        "payment" => licensed.map(|licensed| match licensed.payment_word() {
            PaymentWord::Known(kind) => kind.to_string(),
            PaymentWord::Extension(kind) => format!("{{{}}}{}", kind.namespace, kind.name),
            PaymentWord::Unspecified => "unspecified".to_owned(),
        }),
        "amount" => licensed.and_then(|licensed| payment(licensed).amount).map(|amount| amount.decimal),
        "currency" => {
            licensed.and_then(|licensed| payment(licensed).amount).map(|amount| amount.currency.to_string())
        }
        "custom" => licensed.and_then(|licensed| payment(licensed).custom),
        "standard" => licensed.and_then(|licensed| payment(licensed).standard),
        "accepts" => {
            licensed.and_then(|licensed| payment(licensed).accepts).map(|accepts| accepts.media_type)
        }
        "server" => licensed.and_then(|licensed| licensed.content.server.clone()),
        "obligations" => {
            let all = licensed.map(|licensed| licensed.obligations()).unwrap_or_default();
            return all.into_iter().map(Obligation::as_str).collect();
        }
        _ => panic!("nothing says `{key}`"),
    };
    found.map_or(Value::Null, Value::from)
}

#[test]
fn invalid_documents() {
    judge("invalid_documents", &vectors("rsl.json")["invalid_documents"], |case| {
        Document::parse(text(case, "document")).ok().map(|document| format!("accepted as {document:?}"))
    });
}

#[test]
fn robots() {
    judge("robots", &vectors("rsl.json")["robots"], |case| {
        let robots = RobotsTxt::parse(text(case, "robots").as_bytes());
        let found = in_robots(&robots, text(case, "token"));
        let expect: Vec<&str> =
            case["licenses"].as_array().expect("`licenses`").iter().filter_map(Value::as_str).collect();
        (found != expect).then(|| format!("{found:?}"))
    });
}

#[test]
fn challenges() {
    judge("cap", &vectors("rsl.json")["cap"], |case| {
        let headers = case["headers"].as_object().expect("`headers`");
        let authorization = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.as_str().expect("a value").as_bytes());
        // The tokens of the file are words for what becomes of a token.
        let standing = |token: &str| match (case["state"].as_str(), token) {
            (Some("introspection unreachable"), _) => Standing::Unknown,
            (Some(state), _) => panic!("nothing makes the state `{state}`"),
            (None, "GOOD") => Standing::Good,
            (None, "UNPAID") => Standing::Unpaid,
            (None, "EXPIRED") => Standing::Expired,
            (None, "FORBIDDEN" | "NOT-PERMITTED") => Standing::NotPermitted,
            (None, _) => Standing::Invalid,
        };
        let url = "https://e.example/license.xml";
        let (status, authenticate, link) = match authorize(Credentials::parse(authorization), standing) {
            Ok(_) => (200, None, None),
            Err(why) => {
                let challenge = why.challenge(&Declaration::Document { url });
                (challenge.status, Some(challenge.www_authenticate), challenge.link)
            }
        };
        let has_link = link.is_some_and(|link| in_link_headers([link.as_bytes()]) == [url]);
        let expect = case["expect"].as_object().expect("`expect`");
        let differ = expect.iter().filter(|(key, value)| match key.as_str() {
            "status" => value.as_u64() != Some(u64::from(status)),
            "www_authenticate_error" => {
                let error = format!("License error=\"{}\"", value.as_str().expect("a word"));
                !authenticate.as_deref().is_some_and(|header| header.starts_with(&error))
            }
            "link" => value.as_bool() != Some(has_link),
            "note" => false,
            _ => panic!("nothing says `{key}`"),
        });
        let differ: Vec<String> = differ.map(|(key, value)| format!("{key} is not {value}")).collect();
        (!differ.is_empty()).then(|| format!("{}: {status} {authenticate:?}", differ.join(", ")))
    });
}
