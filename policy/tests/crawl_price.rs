//! Pay Per Crawl beyond the vectors: the whole order of decision, and prices that the origin sets.

#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use policy::protocol::bot_auth::{
    DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, KeyDirectory, KeySource, Outcome, PaymentCover, Settings,
    SignRequest, directory_body, sign_request, verify,
};
use policy::protocol::crawl_price::{CrawlerError, OriginPrice, Pricing, SignatureOutcome};
use policy::protocol::message_signature::{Request, SigningKey};
use policy::{
    Admission, Assurance, Crawler, Currency, Evidence, Limit, Money, Offer, PolicySnapshot, Refusal, Release,
    ResponseHead, Source, Standing, Terms, Verdict, admit, release,
};

use support::AtHand;

const RULE: &str = "charge = { price = \"0.01 USD\", per = \"fetch\" }\nrequire = \"signed\"\n";
const IN_BAND: &str = "charge = { price = \"0.01 USD\", per = \"fetch\", max = \"5 USD\", origin_price = true }\n\
                       require = \"signed\"\n";

fn policy(rule: &str) -> PolicySnapshot {
    let text = format!(
        "version = 1\nmode = \"enforce\"\n[[rule]]\nname = \"zone\"\n{rule}\n\
         [[crawler]]\ntoken = \"PayBot\"\noperator = \"pay-labs\"\npurpose = \"train\"\n\
         [[crawler]]\ntoken = \"LookBot\"\noperator = \"look-labs\"\nclass = \"search-engine\"\n\
         [[crawler]]\ntoken = \"ContractBot\"\noperator = \"contract-labs\"\npurpose = \"train\"\n\
         [[account]]\noperator = \"pay-labs\"\ncredit_limit = \"10 USD\"\n\
         [[account]]\noperator = \"contract-labs\"\ncredit_limit = \"10 USD\"\naccept = \"up to 0.05 USD\"\n"
    );
    let source = Source { name: "zone".to_owned(), text };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

struct Account<'a>(&'a PolicySnapshot, bool);

impl Standing for Account<'_> {
    fn exhausted(&self, _: &Limit, _: &str) -> Option<u64> {
        None
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        self.1 && self.0.account(operator).is_some_and(|account| amount.nano <= account.credit_limit.nano)
    }
}

#[derive(Clone, Copy)]
struct Fetch<'a> {
    token: &'a str,
    max: &'a [&'a str],
    exact: &'a [&'a str],
    signature: SignatureOutcome,
    can_pay: bool,
    status: u16,
    origin: &'a [&'a str],
}

const COVERED: SignatureOutcome = SignatureOutcome::Valid { covers_price: true };
const FETCH: Fetch<'static> = Fetch {
    token: "PayBot",
    max: &[],
    exact: &[],
    signature: COVERED,
    can_pay: true,
    status: 200,
    origin: &[],
};

fn ask(policy: &PolicySnapshot, fetch: Fetch<'_>) -> (bool, Result<Terms, Refusal>) {
    let row = Arc::clone(policy.directory().row(fetch.token).expect("a row"));
    let assurance = match fetch.signature {
        SignatureOutcome::Valid { .. } => Assurance::Signed,
        _ => Assurance::Network,
    };
    let crawler = Crawler { row, assurance, evidence: Evidence::None };
    let work = policy.work("https", "example.com", "/a").expect("a plain path");
    let offer = fetch.signature.bind(Offer::parse(fetch.max, fetch.exact));
    let account = Account(policy, fetch.can_pay);
    let grant = match admit(policy, &crawler, &work, &offer, &account) {
        Admission::Refuse(refusal) => return (true, Err(refusal)),
        Admission::Proceed(grant) => grant,
    };
    let head = ResponseHead {
        status: fetch.status,
        content_type: Some("text/html"),
        origin_price: OriginPrice::parse(fetch.origin),
        ..ResponseHead::default()
    };
    match release(policy, &grant, &crawler, &work, &offer, &account, &head) {
        Release::Refuse(refusal) => (false, Err(refusal)),
        Release::Deliver(terms) => {
            if let Some(charge) = terms.charge.as_ref().filter(|_| terms.owed) {
                let held = grant.ceiling.expect("a hold");
                assert!(charge.amount(1).nano <= held.nano, "{} of {held}", charge.amount(1));
            }
            (false, Ok(terms))
        }
    }
}

/// The answer: at once or not, status, `crawler-error`, `crawler-price`.
#[track_caller]
fn refused(
    policy: &PolicySnapshot,
    fetch: Fetch<'_>,
    at_once: bool,
    error: CrawlerError,
    price: Option<&str>,
) {
    let (was_at_once, answer) = ask(policy, fetch);
    let refusal = answer.expect_err("a refusal");
    assert_eq!((refusal.crawler_error, was_at_once), (Some(error.as_str()), at_once), "{}", refusal.detail);
    assert_eq!(refusal.status(), error.status(), "{error:?}");
    let told = refusal.crawler_fields().find(|(name, _)| *name == "crawler-price").map(|(_, price)| price);
    assert_eq!(told.as_deref(), price, "{error:?}");
    assert!(refusal.detail.len() > 20, "{}", refusal.detail);
}

#[track_caller]
fn owed(policy: &PolicySnapshot, fetch: Fetch<'_>) -> Option<i64> {
    let terms = ask(policy, fetch).1.expect("delivered");
    assert!(terms.owed || terms.charge.is_none());
    terms.charge.map(|charge| charge.amount(1).nano)
}

#[test]
fn each_fault_is_told_by_the_first_line_of_the_table_that_it_meets() {
    let policy = self::policy(RULE);
    // From the last line to the first: each fetch has all faults of the ones before it, and one more.
    let mut fetch = Fetch { can_pay: false, exact: &["USD 0.01"], ..FETCH };
    refused(&policy, fetch, true, CrawlerError::PaymentFailed, None);
    fetch.exact = &["USD 0.02"];
    refused(&policy, fetch, true, CrawlerError::InvalidCrawlerExactPrice, Some("USD 0.01"));
    fetch = Fetch { max: &["USD 0.009"], exact: &[], ..fetch };
    refused(&policy, fetch, true, CrawlerError::InvalidCrawlerMaxPrice, Some("USD 0.01"));
    fetch.signature = SignatureOutcome::Absent;
    refused(&policy, fetch, true, CrawlerError::StrongAuthRequired, None);
    refused(&policy, Fetch { max: &[], ..fetch }, true, CrawlerError::MissingCrawlerPrice, Some("USD 0.01"));
    fetch.signature = SignatureOutcome::Valid { covers_price: false };
    refused(&policy, fetch, true, CrawlerError::InvalidSignature, None);
    fetch.signature = SignatureOutcome::Invalid;
    refused(&policy, fetch, true, CrawlerError::InvalidSignature, None);
    refused(&policy, Fetch { max: &[], ..fetch }, true, CrawlerError::MissingCrawlerPrice, Some("USD 0.01"));
    fetch.max = &["0.009 USD"];
    refused(&policy, fetch, true, CrawlerError::InvalidCrawlerPriceValue, None);
    for (max, exact) in [(&["x"][..], &["x"][..]), (&["USD 1", "USD 1"], &[]), (&[], &["USD 1", "USD 1"])] {
        refused(&policy, Fetch { max, exact, ..fetch }, true, CrawlerError::ConflictingPriceHeaders, None);
    }
    refused(&self::policy("deny = true"), fetch, true, CrawlerError::CrawlerForbidden, None);
    assert_eq!(ask(&self::policy("allow = true"), fetch).1.map(|terms| terms.verdict), Ok(Verdict::Allow));
    assert_eq!(
        owed(&policy, Fetch { max: &["USD 9"], ..FETCH }),
        Some(10_000_000),
        "the price, not the maximum"
    );
}

#[test]
fn a_contract_still_needs_the_signature() {
    let policy = policy(RULE);
    let fetch = Fetch { token: "ContractBot", ..FETCH };
    assert_eq!(owed(&policy, fetch), Some(10_000_000));
    let fetch = Fetch { signature: SignatureOutcome::Absent, ..fetch };
    refused(&policy, fetch, true, CrawlerError::StrongAuthRequired, None);
}

/// Who signs what `Accept-Signature` asks for has said all that money needs.
#[test]
fn who_has_to_sign_is_told_what() {
    let policy = policy(RULE);
    let fetch = Fetch { signature: SignatureOutcome::Absent, ..FETCH };
    let key = SigningKey::from_seed(&[7; 32]).expect("a key");
    let keys = HttpsUrl::parse("https://bot.example").expect("a URL");
    let source = KeySource::at(keys.clone());
    let body = directory_body(&[key.public_key()]);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    let directory = KeyDirectory::read(&source, fetched, &Settings::default()).expect("a directory");
    let at_hand = AtHand { directories: vec![Arc::new(directory)], agreed: Vec::new() };
    for (name, fetch) in [
        ("crawler-max-price", Fetch { max: &["USD 0.02"], ..fetch }),
        ("crawler-exact-price", Fetch { exact: &["USD 0.01"], ..fetch }),
    ] {
        let refusal = ask(&policy, fetch).1.expect_err("a refusal");
        let asked = refusal.accept_signature.expect("it says what to sign");
        // Read by the rules of signatures: an inner list under a label.
        let (label, list) = asked.split_once("=(").expect("a member");
        let (list, parameters) = list.split_once(");").expect("an inner list");
        assert_eq!(parameters, "created;expires;tag=\"web-bot-auth\"");
        let signer_adds = ["\"@authority\"".to_owned(), format!("\"signature-agent\";key=\"{label}\"")];
        let components: Vec<&str> =
            list.split(' ').filter(|name| !signer_adds.contains(&(*name).to_owned())).collect();
        assert_eq!(list.split(' ').count(), components.len() + signer_adds.len());
        let sent = [(name, &b"USD 0.02"[..])];
        let request = Request {
            method: "GET",
            scheme: "https",
            authority: "example.com",
            target: "/a",
            fields: &sent,
            trailers: &[],
        };
        let how = SignRequest {
            label,
            components: &components,
            created: 1_800_000_000,
            expires: 1_800_000_060,
            ..SignRequest::default()
        };
        let signed = sign_request(&key, &keys, &request, &how).expect("a signature");
        let fields = [
            sent[0],
            ("signature-agent", signed.signature_agent.as_bytes()),
            ("signature-input", signed.signature_input.as_bytes()),
            ("signature", signed.signature.as_bytes()),
        ];
        let request = Request { fields: &fields, ..request };
        match verify(&request, &at_hand, 1_800_000_000, &Settings::default()) {
            Outcome::Verified(verified) => {
                assert_eq!(verified.covers_payment(&PaymentCover { fields: &[name], body: false }), Ok(()));
            }
            other => panic!("{other:?}"),
        }
    }
    let told = |rule: &str, fetch| ask(&self::policy(rule), fetch).1.expect_err("a refusal").accept_signature;
    let offered = Fetch { max: &["USD 0.02"], ..fetch };
    let network = "charge = { price = \"0.01 USD\", per = \"fetch\" }";
    assert_eq!(told(network, Fetch { can_pay: false, ..offered }), None, "its network is known");
    assert_eq!(told(RULE, fetch), None, "it is told the price first");
    assert_eq!(told("deny = true", offered), None);
}

#[test]
fn a_broken_signature_under_a_price_is_refused_whatever_the_rung() {
    let policy = policy("charge = { price = \"0.01 USD\", per = \"fetch\" }\n");
    let fetch = Fetch { max: &["USD 1"], signature: SignatureOutcome::Absent, ..FETCH };
    assert_eq!(owed(&policy, fetch), Some(10_000_000), "known by its network, it needs none");
    for signature in [SignatureOutcome::Invalid, SignatureOutcome::Valid { covers_price: false }] {
        refused(&policy, Fetch { signature, ..fetch }, true, CrawlerError::InvalidSignature, None);
    }
}

#[test]
fn the_origins_price_is_what_is_agreed_on() {
    let policy = policy(IN_BAND);
    let max = Fetch { max: &["USD 5"], ..FETCH };
    let exact = Fetch { exact: &["USD 3.14"], ..FETCH };
    for (origin, price) in [
        (&[][..], Some(10_000_000)),
        (&["USD 3.14"], Some(3_140_000_000)),
        (&["USD 0.001"], Some(1_000_000)),
        (&["USD 5"], Some(5_000_000_000)),
        (&["USD 0.00"], None),
    ] {
        assert_eq!(owed(&policy, Fetch { origin, ..max }), price, "{origin:?}");
    }
    assert_eq!(owed(&policy, Fetch { origin: &["USD 3.140"], ..exact }), Some(3_140_000_000));
    refused(&policy, exact, false, CrawlerError::InvalidCrawlerExactPrice, Some("USD 0.01"));
    let low = Fetch { max: &["USD 3"], origin: &["USD 3.14"], ..FETCH };
    refused(&policy, low, false, CrawlerError::InvalidCrawlerMaxPrice, Some("USD 3.14"));
    for origin in [&["free"][..], &["USD 5.01"], &["EUR 1"], &["USD 1", "USD 1"], &["USD -1"]] {
        refused(&policy, Fetch { origin, ..max }, false, CrawlerError::InvalidContentPrice, None);
        let failed = Fetch { origin, status: 404, ..max };
        assert_eq!(owed(&policy, failed), None, "an error has no price");
    }
}

#[test]
fn the_origin_is_asked_before_its_price_is_told() {
    let policy = policy(IN_BAND);
    for signature in [COVERED, SignatureOutcome::Absent, SignatureOutcome::Invalid] {
        let fetch = Fetch { signature, origin: &["USD 3.14"], ..FETCH };
        refused(&policy, fetch, false, CrawlerError::MissingCrawlerPrice, Some("USD 3.14"));
        let fetch = Fetch { signature, ..FETCH };
        refused(&policy, fetch, false, CrawlerError::MissingCrawlerPrice, Some("USD 0.01"));
        assert_eq!(owed(&policy, Fetch { origin: &["USD 0"], ..fetch }), None);
        assert_eq!(owed(&policy, Fetch { status: 500, ..fetch }), None);
    }
    // What no price of the origin's could mend is refused before it is asked.
    let offering = Fetch { max: &["USD 1"], ..FETCH };
    let unsigned = Fetch { signature: SignatureOutcome::Absent, ..offering };
    refused(&policy, unsigned, true, CrawlerError::StrongAuthRequired, None);
    refused(&policy, Fetch { can_pay: false, ..offering }, true, CrawlerError::PaymentFailed, None);
    // A contract covers what it covers.
    let contract = Fetch { token: "ContractBot", ..FETCH };
    assert_eq!(owed(&policy, Fetch { origin: &["USD 0.05"], ..contract }), Some(50_000_000));
    let dear = Fetch { origin: &["USD 0.06"], ..contract };
    refused(&policy, dear, false, CrawlerError::MissingCrawlerPrice, Some("USD 0.06"));
}

#[test]
fn an_origin_that_is_not_asked_is_not_heard() {
    let policy = policy(RULE);
    for origin in [&["USD 3.14"][..], &["free"], &["USD 0"]] {
        assert_eq!(owed(&policy, Fetch { max: &["USD 5"], origin, ..FETCH }), Some(10_000_000), "{origin:?}");
    }
}

#[test]
fn observing_shows_what_a_bad_price_would_have_been() {
    let policy = policy(&format!("{IN_BAND}mode = \"observe\"\n"));
    let fetch = Fetch { max: &["USD 5"], ..FETCH };
    for (origin, would, price) in [
        (&["free"][..], Some(502), Some(10_000_000)),
        (&["USD 3.14"], None, Some(3_140_000_000)),
        (&["USD 0"], None, None),
    ] {
        let terms = ask(&policy, Fetch { origin, ..fetch }).1.expect("delivered");
        let quote = terms.charge.map(|charge| charge.amount(1).nano);
        assert_eq!((terms.owed, terms.would_refuse, quote), (false, would, price), "{origin:?}");
    }
    let terms = ask(&policy, Fetch { origin: &["USD 3.14"], ..FETCH }).1.expect("delivered");
    assert_eq!((terms.would_refuse, terms.charge.map(|c| c.price)), (Some(402), Some(usd(3_140_000_000))));
}

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

#[test]
fn the_origin_is_told_who_sets_the_price() {
    let pricing = |rule: &str, token: &str, path: &str| {
        let policy = policy(rule);
        let row = Arc::clone(policy.directory().row(token).expect("a row"));
        let crawler = Crawler { row, assurance: Assurance::Claimed, evidence: Evidence::None };
        let work = policy.work("https", "example.com", path).expect("a plain path");
        policy.pricing(&crawler, &work)
    };
    for (rule, token, path, expect) in [
        (RULE, "PayBot", "/a", Pricing::ZoneDefault),
        (IN_BAND, "PayBot", "/a", Pricing::InBand),
        (IN_BAND, "PayBot", "/robots.txt", Pricing::Bypass),
        (IN_BAND, "LookBot", "/a", Pricing::Bypass),
        ("allow = true", "PayBot", "/a", Pricing::Bypass),
        (&format!("{IN_BAND}mode = \"observe\""), "PayBot", "/a", Pricing::Bypass),
    ] {
        assert_eq!(pricing(rule, token, path), expect, "{rule} {token} {path}");
    }
    let films = format!("{RULE}[[rule]]\nname = \"films\"\ncontent_type = \"video/*\"\n{IN_BAND}");
    assert_eq!(pricing(&films, "PayBot", "/a"), Pricing::InBand, "a film may come of it");
    assert_eq!(
        [Pricing::ZoneDefault, Pricing::InBand, Pricing::Bypass].map(Pricing::as_field),
        [
            "protocol=cloudflare, pricing=zone-default",
            "protocol=cloudflare, pricing=in-band",
            "protocol=cloudflare, pricing=bypass"
        ]
    );
}
