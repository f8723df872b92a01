//! `testdata/vectors/ppc.json`, and our own file of that format: Pay Per Crawl, decided by the same `admit` and `release` that
//! serve.
//!
//! A zone of the file is a policy with `require = "signed"` and `repeat_free = "0s"`. The file is read when the test runs, so that
//! another one of its format can be put in its place. `e2e/tests/pay_per_crawl.rs` asks the same of the process that serves.

#[path = "support/vectors.rs"]
mod files;

use std::collections::BTreeMap;
use std::sync::Arc;

use files::{both_files, judge, unknown_key};
use policy::protocol::crawl_price::{
    CHARGED, EXACT_PRICE, MAX_PRICE, OriginPrice, Pricing, SignatureOutcome, price_field,
};
use policy::{
    Admission, Assurance, Crawler, Evidence, Limit, Money, Offer, PolicySnapshot, Refusal, Release,
    ResponseHead, Source, Standing, admit, release,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    zone: Zone,
    request: Request,
    origin: Origin,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Zone {
    price: String,
    action: String,
    dynamic: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    path: String,
    headers: BTreeMap<String, Lines>,
    signed: bool,
    price_header_covered: bool,
    account_ok: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    status: u16,
    #[serde(rename = "crawler-price")]
    price: Option<Lines>,
}

/// A field's value: one line, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Several(Vec<String>),
}

impl Lines {
    fn iter(&self) -> std::slice::Iter<'_, String> {
        match self {
            Lines::One(line) => std::slice::from_ref(line).iter(),
            Lines::Several(lines) => lines.iter(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    status: u16,
    headers: BTreeMap<String, String>,
    billed_micro_usd: i64,
}

/// What a crawler gets to see, and what its operator will be billed.
#[derive(PartialEq, Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    billed_nano: i64,
}

#[test]
fn every_vector_holds() {
    for (name, file) in both_files("ppc.json") {
        assert_eq!(unknown_key(&file, &["tests"]), None, "{name}");
        judge(&name, &file["tests"], &["zone", "request", "origin", "expect", "why"], |case| {
            let case: Case = match serde_json::from_value(case.clone()) {
                Ok(case) => case,
                Err(error) => return Some(error.to_string()),
            };
            let expected = Answer {
                status: case.expect.status,
                headers: case.expect.headers.iter().map(|(name, value)| plain(name, value)).collect(),
                billed_nano: case.expect.billed_micro_usd * 1_000,
            };
            let policy = policy(&case.zone);
            // Fetched again, it is the same again: Cloudflare has no window in which a repeat is free.
            let found = [ask(&policy, &case), ask(&policy, &case)];
            let differs = found.iter().any(|found| *found != expected);
            differs.then(|| format!("found {found:?}, expected {expected:?}"))
        });
    }
}

/// Prices are compared as numbers: `USD 0.1` is `USD 0.10`.
fn plain(name: &str, value: &str) -> (String, String) {
    let value = Money::parse(value).map_or_else(|_| value.to_owned(), price_field);
    (name.to_ascii_lowercase(), value)
}

fn policy(zone: &Zone) -> PolicySnapshot {
    let rule = match (zone.action.as_str(), zone.dynamic) {
        ("allow", _) => "allow = true".to_owned(),
        ("block", _) => "deny = true".to_owned(),
        ("charge", dynamic) => {
            let dynamic = if dynamic { "max = \"1000000 USD\", origin_price = true, " } else { "" };
            format!(
                "charge = {{ price = \"{}\", per = \"fetch\", {dynamic}repeat_free = \"0s\" }}\nrequire = \"signed\"",
                zone.price
            )
        }
        (action, _) => panic!("no action {action}"),
    };
    let text = format!(
        "version = 1\nmode = \"enforce\"\n[[rule]]\nname = \"zone\"\n{rule}\n\
         [[crawler]]\ntoken = \"PayBot\"\noperator = \"pay-labs\"\npurpose = \"train\"\n\
         [[account]]\noperator = \"pay-labs\"\ncredit_limit = \"1000000 USD\"\n"
    );
    let source = Source { name: "zone".to_owned(), text };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

struct Account {
    is_ok: bool,
}

impl Standing for Account {
    fn exhausted(&self, _: &Limit, _: &str) -> Option<u64> {
        None
    }

    fn affords(&self, _: &str, _: Money) -> bool {
        self.is_ok
    }
}

fn ask(policy: &PolicySnapshot, case: &Case) -> Answer {
    let row = Arc::clone(policy.directory().row("PayBot").expect("a row"));
    let assurance = if case.request.signed { Assurance::Signed } else { Assurance::Claimed };
    let crawler = Crawler { row, assurance, evidence: Evidence::None };
    let work = policy.work("https", "example.com", &case.request.path).expect("a plain path");
    let of_name = |name: &str| {
        let same = case.request.headers.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name));
        same.flat_map(|(_, lines)| lines.iter()).collect::<Vec<_>>()
    };
    let signature = match case.request.signed {
        true => SignatureOutcome::Valid { covers_price: case.request.price_header_covered },
        false => SignatureOutcome::Absent,
    };
    let offer = signature.bind(Offer::parse(of_name(MAX_PRICE), of_name(EXACT_PRICE)));
    let account = Account { is_ok: case.request.account_ok };
    let grant = match admit(policy, &crawler, &work, &offer, &account) {
        Admission::Refuse(refusal) => return refused(&refusal),
        Admission::Proceed(grant) => grant,
    };
    // What the proxy tells the origin, and therefore whether the origin may name a price at all.
    let in_band = policy.pricing(&crawler, &work) == Pricing::InBand;
    assert_eq!(
        in_band,
        case.zone.dynamic && case.zone.action == "charge" && !work.always_free,
        "{}",
        case.id
    );
    let head = ResponseHead {
        status: case.origin.status,
        content_type: Some("text/html"),
        content_length: Some(1_000),
        origin_price: OriginPrice::parse(case.origin.price.iter().flat_map(Lines::iter)),
    };
    match release(policy, &grant, &crawler, &work, &offer, &account, &head) {
        Release::Refuse(refusal) => refused(&refusal),
        Release::Deliver(terms) => {
            let owed = terms.charge.as_ref().filter(|_| terms.owed);
            let billed = owed.map(|charge| {
                assert_eq!(charge.repeat_free_secs, 0);
                charge.amount(1)
            });
            let held = grant.ceiling.map_or(0, |ceiling| ceiling.nano);
            assert!(billed.is_none_or(|billed| billed.nano <= held), "{}: the hold covers the debt", case.id);
            let headers = billed.map(|amount| (CHARGED.to_owned(), price_field(amount)));
            Answer {
                status: case.origin.status,
                headers: headers.into_iter().collect(),
                billed_nano: billed.map_or(0, |amount| amount.nano),
            }
        }
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let headers = refusal.crawler_fields().map(|(name, value)| (name.to_owned(), value)).collect();
    Answer { status: refusal.status(), headers, billed_nano: 0 }
}
