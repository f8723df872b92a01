//! The cases of RSL 1.0, read from `testdata/vectors/rsl.json`: another file of that form may take its place.

#![allow(clippy::disallowed_methods, reason = "tests read their data; the crate itself may not")]

use std::path::Path;

use policy::protocol::rsl::{
    Asset, Decision, Document, Geo, Licensed, Obligation, PaymentWord, UsageClass, Use, UserClass,
};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors/rsl.json");
    serde_json::from_slice(&std::fs::read(path).expect("the file")).expect("JSON")
}

/// Judges each case of a list; a case has its `id`, or its place.
fn judge(list: &str, case_differs: impl Fn(&Value) -> Option<String>) {
    let vectors = vectors();
    let cases = vectors[list].as_array().unwrap_or_else(|| panic!("{list} is a list"));
    assert!(!cases.is_empty(), "{list} has cases");
    let differ: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| {
            let id = case["id"].as_str().map_or_else(|| format!("{list}[{index}]"), str::to_owned);
            case_differs(case).map(|what| format!("{id}: {what}"))
        })
        .collect();
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), cases.len(), differ.join("\n"));
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("`{key}` is a text in {case}"))
}

#[test]
fn no_list_of_cases_is_left_out() {
    let known = ["note", "evaluate", "invalid_documents", "robots", "cap"];
    let vectors = vectors();
    let unknown: Vec<&String> =
        vectors.as_object().expect("lists").keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "nothing judges {unknown:?}");
}

#[test]
fn evaluation() {
    judge("evaluate", |case| {
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
    judge("invalid_documents", |case| {
        Document::parse(text(case, "document")).ok().map(|document| format!("accepted as {document:?}"))
    });
}
