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
use support::{both_files, judge, text};

#[test]
fn no_list_of_cases_is_left_out() {
    support::no_other_lists("rsl.json", &["evaluate", "invalid_documents", "robots", "cap"]);
}

#[test]
fn evaluation() {
    let keys = ["document", "path", "usage", "user", "geo", "origin", "reporting_profiles", "expect"];
    judge_all("evaluate", &keys, |case| {
        let document = match Document::parse(text(case, "document")) {
            Ok(document) => document,
            Err(error) => return Some(format!("refused: {error}")),
        };
        let profiles: Vec<&str> =
            case["reporting_profiles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let wanted = Use {
            usage: UsageClass::parse(text(case, "usage")).expect("a usage"),
            user: optional(case, "user").map(|user| UserClass::parse(user).expect("a user")),
            geo: optional(case, "geo").map(|geo| Geo::parse(geo).expect("a place")),
            reporting_profiles: &profiles,
        };
        let asset = Asset { origin: optional(case, "origin"), path: text(case, "path") };
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

/// Judges a list of the file, and of our own beside it.
fn judge_all(list: &str, keys: &[&str], case_differs: impl Fn(&Value) -> Option<String>) {
    for (name, file) in both_files("rsl.json") {
        judge(&format!("{name} {list}"), &file[list], keys, &case_differs);
    }
}

/// A text that need not be there.
fn optional<'a>(case: &'a Value, key: &str) -> Option<&'a str> {
    (!case[key].is_null()).then(|| text(case, key))
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
        "terms" => licensed.and_then(|licensed| licensed.content.terms.clone()),
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
    judge_all("invalid_documents", &["document"], |case| {
        Document::parse(text(case, "document")).ok().map(|document| format!("accepted as {document:?}"))
    });
}

#[test]
fn robots() {
    judge_all("robots", &["robots", "token", "licenses"], |case| {
        let robots = RobotsTxt::parse(text(case, "robots").as_bytes());
        let found = in_robots(&robots, text(case, "token"));
        let expect: Vec<&str> =
            case["licenses"].as_array().expect("`licenses`").iter().filter_map(Value::as_str).collect();
        (found != expect).then(|| format!("{found:?}"))
    });
}

#[test]
fn challenges() {
    judge_all("cap", &["headers", "state", "expect"], |case| {
        let headers = case["headers"].as_object().expect("`headers`");
        let authorization = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.as_str().expect("a value").as_bytes());
        let state = optional(case, "state");
        let standing = |token: &str| match state {
            Some(state) => standing(state).unwrap_or_else(|| panic!("nothing makes the state `{state}`")),
            None => standing(token).unwrap_or(Standing::Invalid),
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

/// The tokens and states of the file are words for what becomes of a token.
fn standing(word: &str) -> Option<Standing> {
    let word = word.to_ascii_lowercase().replace(['-', '_'], " ");
    let has = |words: &[&str]| words.iter().any(|known| word.contains(known));
    Some(match () {
        () if has(&["unreachable", "down", "unavailable", "timeout", "timed out", "cannot validate"]) => {
            Standing::Unknown
        }
        () if has(&["unpaid", "not paid", "payment"]) => Standing::Unpaid,
        () if has(&["expired"]) => Standing::Expired,
        () if has(&["forbidden", "not permitted", "scope", "other use"]) => Standing::NotPermitted,
        () if has(&["invalid", "inactive", "revoked", "unknown"]) => Standing::Invalid,
        () if has(&["good"]) => Standing::Good,
        () => return None,
    })
}
