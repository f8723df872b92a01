//! The two decisions, case by case: who is refused with which status, what is owed, what is only shown.

use std::cell::RefCell;
use std::sync::Arc;

use policy::{
    Admission, Assurance, Crawler, Currency, Evidence, Grant, Limit, Mode, Money, Offer, OfferError,
    PolicySnapshot, Refusal, RefusalKind, Release, ResponseHead, Source, Standing, Terms, Unit, Verdict,
    admit, release,
};

const HEAD: &str =
    "version = 1\ncontact = \"licensing@example.com\"\nlicence = \"https://example.com/licence\"\n";
const ROWS: &str = r#"
[[crawler]]
token = "PayBot"
operator = "pay-labs"
purpose = "train"
[[crawler]]
token = "PoorBot"
operator = "poor-labs"
purpose = "train"
[[crawler]]
token = "ContractBot"
operator = "contract-labs"
purpose = "train"
[[crawler]]
token = "NobodyBot"
operator = "nobody-labs"
purpose = "train"
[[crawler]]
token = "LookBot"
operator = "look-labs"
class = "search-engine"
[[account]]
operator = "pay-labs"
credit_limit = "10 USD"
[[account]]
operator = "poor-labs"
credit_limit = "0.001 USD"
[[account]]
operator = "contract-labs"
credit_limit = "10 USD"
accept = "up to 0.05 USD"
"#;

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

fn policy(mode: &str, rules: &str) -> PolicySnapshot {
    let source = Source { name: "test".to_owned(), text: format!("mode = \"{mode}\"\n{HEAD}{rules}{ROWS}") };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

/// Accounts as written, budgets as told; remembers which limits were asked for whom.
struct Books<'a> {
    policy: &'a PolicySnapshot,
    exhausted: Option<u64>,
    asked: RefCell<Vec<(String, String)>>,
}

impl Standing for Books<'_> {
    fn exhausted(&self, limit: &Limit, operator: &str) -> Option<u64> {
        self.asked.borrow_mut().push((limit.rule.to_string(), operator.to_owned()));
        self.exhausted
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        self.policy.account(operator).is_some_and(|account| amount.nano <= account.credit_limit.nano)
    }
}

/// A fetch: a crawler's token, how sure we are, what it offers, and what comes back.
#[derive(Clone, Copy)]
struct Fetch<'a> {
    token: &'a str,
    rung: &'a str,
    max: Option<&'a str>,
    exact: Option<&'a str>,
    path: &'a str,
    status: u16,
    content_type: Option<&'a str>,
    length: Option<u64>,
    exhausted: Option<u64>,
}

const FETCH: Fetch<'static> = Fetch {
    token: "PayBot",
    rung: "network",
    max: None,
    exact: None,
    path: "/a",
    status: 200,
    content_type: Some("text/html"),
    length: Some(1_000),
    exhausted: None,
};

#[derive(Debug)]
enum Answer {
    RefusedAtOnce(Refusal),
    RefusedLater(Refusal),
    Delivered(Option<Money>, Terms),
}

fn crawler(policy: &PolicySnapshot, fetch: &Fetch<'_>) -> Crawler {
    let row = Arc::clone(policy.directory().row(fetch.token).expect("a row of that token"));
    let (assurance, evidence) = match fetch.rung {
        "spoof" => (Assurance::Claimed, Evidence::Contradicted { by: Arc::from("range") }),
        "claimed" => (Assurance::Claimed, Evidence::None),
        "network" => (Assurance::Network, Evidence::Range { source: Arc::from("policy") }),
        "signed" => (Assurance::Signed, Evidence::None),
        other => panic!("no rung {other}"),
    };
    Crawler { row, assurance, evidence }
}

fn ask(policy: &PolicySnapshot, fetch: Fetch<'_>) -> Answer {
    let crawler = crawler(policy, &fetch);
    let work = policy.work("https", "example.com", fetch.path).expect("a plain path");
    let offer: Result<Offer, OfferError> = Offer::parse(fetch.max, fetch.exact);
    let books = Books { policy, exhausted: fetch.exhausted, asked: RefCell::default() };
    let grant = match admit(policy, &crawler, &work, &offer, &books) {
        Admission::Refuse(refusal) => return Answer::RefusedAtOnce(refusal),
        Admission::Proceed(grant) => grant,
    };
    let head = ResponseHead {
        status: fetch.status,
        content_type: fetch.content_type,
        content_length: fetch.length,
        ..ResponseHead::default()
    };
    let ceiling = grant.ceiling;
    let answer = match release(policy, &grant, &crawler, &work, &offer, &books, &head) {
        Release::Refuse(refusal) => Answer::RefusedLater(refusal),
        Release::Deliver(terms) => Answer::Delivered(ceiling, terms),
    };
    if fetch.rung == "spoof" {
        assert!(
            books.asked.borrow().iter().all(|(_, operator)| operator == "spoof"),
            "a spoof is on nobody's budget"
        );
    }
    answer
}

#[track_caller]
fn refused_at_once(
    policy: &PolicySnapshot,
    fetch: Fetch<'_>,
    kind: RefusalKind,
    code: Option<&str>,
) -> Refusal {
    match ask(policy, fetch) {
        Answer::RefusedAtOnce(refusal) => {
            assert_eq!((refusal.kind, refusal.crawler_error), (kind, code), "{}", refusal.detail);
            assert!(refusal.detail.ends_with('.') && refusal.detail.len() > 20, "{}", refusal.detail);
            refusal
        }
        other => panic!("expected {kind:?} at once, got {other:?}"),
    }
}

#[track_caller]
fn refused_later(policy: &PolicySnapshot, fetch: Fetch<'_>, kind: RefusalKind) -> Refusal {
    match ask(policy, fetch) {
        Answer::RefusedLater(refusal) => {
            assert_eq!(refusal.kind, kind, "{}", refusal.detail);
            refusal
        }
        other => panic!("expected {kind:?} at the response head, got {other:?}"),
    }
}

#[track_caller]
fn delivered(policy: &PolicySnapshot, fetch: Fetch<'_>) -> (Option<Money>, Terms) {
    match ask(policy, fetch) {
        Answer::Delivered(ceiling, terms) => {
            assert!(!terms.owed || terms.charge.is_some(), "what is owed has a price");
            assert!(!terms.owed || terms.would_refuse.is_none(), "what is owed would not be refused");
            if let (Some(charge), true) = (&terms.charge, terms.owed) {
                let quote = match (charge.unit, fetch.length) {
                    (Unit::Fetch, _) => charge.amount(1),
                    (Unit::Megabyte, Some(bytes)) => charge.amount(bytes),
                    _ => charge.ceiling(),
                };
                assert!(quote.nano <= ceiling.expect("something was held").nano, "the hold covers the debt");
            }
            (ceiling, terms)
        }
        other => panic!("expected delivery, got {other:?}"),
    }
}

const PER_FETCH: &str = "[[rule]]\nname = \"pays\"\ncharge = { price = \"0.02 USD\", per = \"fetch\" }\n";

#[test]
fn without_an_offer_the_price_is_quoted() {
    let refusal = refused_at_once(
        &policy("enforce", PER_FETCH),
        FETCH,
        RefusalKind::PaymentRequired,
        Some("MissingCrawlerPrice"),
    );
    assert_eq!(refusal.kind.status(), 402);
    assert_eq!(refusal.price, Some(usd(20_000_000)));
    assert_eq!((refusal.unit, refusal.unit_price), (Some(Unit::Fetch), None));
    assert_eq!(refusal.licence.as_deref(), Some("https://example.com/licence"));
    assert_eq!(refusal.contact.as_deref(), Some("licensing@example.com"));
    assert_eq!(&*refusal.rule, "pays");
}

#[test]
fn offers_are_compared_as_numbers() {
    let policy = policy("enforce", PER_FETCH);
    for (max, exact) in [
        (Some("USD 0.02"), None),
        (Some("USD 0.020"), None),
        (Some("USD 5"), None),
        (None, Some("USD 0.0200")),
    ] {
        let (ceiling, terms) = delivered(&policy, Fetch { max, exact, ..FETCH });
        assert_eq!(ceiling, Some(usd(20_000_000)), "the price is owed, not the offer");
        assert!(terms.owed);
        assert_eq!(terms.verdict, Verdict::Charge);
    }
    for (max, exact, code) in [
        (Some("USD 0.019999999"), None, "InvalidCrawlerMaxPrice"),
        (Some("EUR 5"), None, "InvalidCrawlerMaxPrice"),
        (None, Some("USD 0.03"), "InvalidCrawlerExactPrice"),
        (None, Some("USD 0.01"), "InvalidCrawlerExactPrice"),
    ] {
        refused_at_once(&policy, Fetch { max, exact, ..FETCH }, RefusalKind::OfferTooLow, Some(code));
    }
    let both = Fetch { max: Some("USD 1"), exact: Some("USD 1"), ..FETCH };
    refused_at_once(&policy, both, RefusalKind::BadOffer, Some("ConflictingPriceHeaders"));
    for malformed in ["USD 0,02", "0.02", "USD -1", "free"] {
        let fetch = Fetch { max: Some(malformed), ..FETCH };
        refused_at_once(&policy, fetch, RefusalKind::BadOffer, Some("InvalidCrawlerPriceValue"));
    }
}

#[test]
fn money_moves_from_the_rung_that_the_rule_asks_for() {
    let network = policy("enforce", PER_FETCH);
    let signed = policy("enforce", &PER_FETCH.replace("charge", "require = \"signed\"\ncharge"));
    let claimed = policy("enforce", &PER_FETCH.replace("charge", "require = \"claimed\"\ncharge"));
    let offering = Fetch { max: Some("USD 1"), ..FETCH };
    for (policy, rung, pays) in [
        (&network, "claimed", false),
        (&network, "network", true),
        (&network, "signed", true),
        (&signed, "network", false),
        (&signed, "signed", true),
        (&claimed, "claimed", true),
        (&claimed, "spoof", false),
        (&network, "spoof", false),
    ] {
        let fetch = Fetch { rung, ..offering };
        if pays {
            assert!(delivered(policy, fetch).1.owed);
        } else {
            let refusal =
                refused_at_once(policy, fetch, RefusalKind::IdentityRequired, Some("StrongAuthRequired"));
            assert_eq!(refusal.price, Some(usd(20_000_000)), "the price is told all the same");
        }
    }
}

#[test]
fn somebody_must_be_there_to_be_billed() {
    let policy = policy("enforce", PER_FETCH);
    for token in ["NobodyBot", "PoorBot"] {
        let fetch = Fetch { token, max: Some("USD 1"), ..FETCH };
        refused_at_once(&policy, fetch, RefusalKind::NoCredit, Some("PaymentFailed"));
        let fetch = Fetch { token, ..FETCH };
        refused_at_once(&policy, fetch, RefusalKind::PaymentRequired, Some("MissingCrawlerPrice"));
    }
}

#[test]
fn a_contract_needs_no_header() {
    let cheap = policy("enforce", PER_FETCH);
    let dear = policy("enforce", &PER_FETCH.replace("0.02", "0.06"));
    let fetch = Fetch { token: "ContractBot", ..FETCH };
    assert!(delivered(&cheap, fetch).1.owed);
    refused_at_once(&dear, fetch, RefusalKind::PaymentRequired, Some("MissingCrawlerPrice"));
    assert!(delivered(&dear, Fetch { max: Some("USD 0.06"), ..fetch }).1.owed, "an offer may go beyond it");
}

#[test]
fn a_price_header_is_the_last_word_whatever_the_contract_says() {
    let per_fetch = policy("enforce", PER_FETCH);
    let per_megabyte = policy(
        "enforce",
        "[[rule]]\nname = \"pays\"\ncharge = { price = \"0.02 USD\", per = \"MB\", max = \"0.04 USD\" }\n",
    );
    let fetch = Fetch { token: "ContractBot", ..FETCH };
    for (max, exact, code) in [
        (Some("USD 0.01"), None, "InvalidCrawlerMaxPrice"),
        (Some("USD 0"), None, "InvalidCrawlerMaxPrice"),
        (Some("EUR 1"), None, "InvalidCrawlerMaxPrice"),
        (None, Some("USD 0.01"), "InvalidCrawlerExactPrice"),
        (None, Some("USD 0.03"), "InvalidCrawlerExactPrice"),
    ] {
        let fetch = Fetch { max, exact, ..fetch };
        refused_at_once(&per_fetch, fetch, RefusalKind::OfferTooLow, Some(code));
    }
    assert!(delivered(&per_fetch, Fetch { max: Some("USD 0.02"), ..fetch }).1.owed);
    // What the length makes of it is known at the response's head: 1 MB is within the offer, 2 MB are not.
    let offering = Fetch { max: Some("USD 0.02"), ..fetch };
    assert!(delivered(&per_megabyte, Fetch { length: Some(1_000_000), ..offering }).1.owed);
    refused_later(&per_megabyte, Fetch { length: Some(2_000_000), ..offering }, RefusalKind::OfferTooLow);
    assert!(delivered(&per_megabyte, Fetch { length: Some(2_000_000), ..fetch }).1.owed, "by the contract");
}

#[test]
fn observing_refuses_nothing_and_shows_what_it_would_do() {
    let charging = policy("observe", PER_FETCH);
    for (fetch, would) in [
        (FETCH, Some(402)),
        (Fetch { max: Some("USD 1"), ..FETCH }, None),
        (Fetch { max: Some("nonsense"), ..FETCH }, Some(400)),
        (Fetch { rung: "claimed", max: Some("USD 1"), ..FETCH }, Some(402)),
        (Fetch { rung: "spoof", max: Some("USD 1"), ..FETCH }, Some(402)),
        (Fetch { token: "NobodyBot", max: Some("USD 1"), ..FETCH }, Some(402)),
        (Fetch { status: 404, ..FETCH }, Some(402)),
        (Fetch { token: "LookBot", ..FETCH }, None),
    ] {
        let (ceiling, terms) = delivered(&charging, fetch);
        assert_eq!(terms.would_refuse, would, "{} {}", fetch.token, fetch.rung);
        assert!(!terms.owed);
        assert_eq!(ceiling, None, "nothing is held for what is not owed");
        let has_work = fetch.status == 200 && fetch.token != "LookBot";
        assert_eq!(terms.charge.is_some(), has_work, "a quote belongs to a work");
    }
    let denying = policy("observe", "[[rule]]\nname = \"no\"\ndeny = true\n");
    let (_, terms) = delivered(&denying, FETCH);
    assert_eq!((terms.verdict, terms.would_refuse, terms.charge), (Verdict::Deny, Some(403), None));
    let limited = policy("observe", "[[rule]]\nname = \"some\"\nlimit = { requests = 1, per = \"1d\" }\n");
    let (_, terms) = delivered(&limited, Fetch { exhausted: Some(60), ..FETCH });
    assert_eq!((terms.verdict, terms.would_refuse), (Verdict::Allow, Some(429)));
    assert!(terms.limit.is_some(), "and it is counted");
}

#[test]
fn a_rule_may_enforce_alone_and_observe_alone() {
    let rule = PER_FETCH.replace("charge", "mode = \"enforce\"\ncharge");
    refused_at_once(
        &policy("observe", &rule),
        FETCH,
        RefusalKind::PaymentRequired,
        Some("MissingCrawlerPrice"),
    );
    let rule = PER_FETCH.replace("charge", "mode = \"observe\"\ncharge");
    let (_, terms) = delivered(&policy("enforce", &rule), FETCH);
    assert_eq!((terms.owed, terms.would_refuse), (false, Some(402)));
}

#[test]
fn denials_and_budgets_are_enforced() {
    let denying = policy("enforce", "[[rule]]\nname = \"no\"\ndeny = true\n");
    for rung in ["spoof", "claimed", "network", "signed"] {
        let fetch = Fetch { rung, max: Some("USD 9"), ..FETCH };
        let refusal = refused_at_once(&denying, fetch, RefusalKind::Denied, Some("CrawlerForbidden"));
        assert_eq!((refusal.kind.status(), refusal.price), (403, None));
    }
    let limited = policy("enforce", "[[rule]]\nname = \"some\"\nlimit = { bytes = \"1GB\", per = \"1d\" }\n");
    let (_, terms) = delivered(&limited, FETCH);
    let limit = terms.limit.expect("the fetch counts against it");
    assert_eq!(
        (limit.requests, limit.bytes, limit.period_secs, &*limit.rule),
        (None, Some(1_000_000_000), 86_400, "some")
    );
    for rung in ["network", "spoof"] {
        let fetch = Fetch { exhausted: Some(77), rung, ..FETCH };
        let refusal = refused_at_once(&limited, fetch, RefusalKind::LimitReached, None);
        assert_eq!((refusal.kind.status(), refusal.retry_after_secs), (429, Some(77)));
    }
    let both = policy("enforce", &format!("{PER_FETCH}limit = {{ requests = 5, per = \"1h\" }}\n"));
    let fetch = Fetch { exhausted: Some(1), max: Some("USD 1"), ..FETCH };
    refused_at_once(&both, fetch, RefusalKind::LimitReached, None);
}

#[test]
fn only_200_and_206_cost_anything() {
    let policy = policy("enforce", PER_FETCH);
    for (status, costs) in [
        (200, true),
        (206, true),
        (203, false),
        (204, false),
        (301, false),
        (304, false),
        (404, false),
        (503, false),
    ] {
        let (ceiling, terms) = delivered(&policy, Fetch { status, max: Some("USD 1"), ..FETCH });
        assert_eq!(terms.charge.is_some(), costs, "{status}");
        assert_eq!(terms.owed, costs, "{status}");
        assert_eq!((&*terms.rule, terms.verdict), ("pays", Verdict::Charge), "the rule stays the same");
        assert_eq!(ceiling, Some(usd(20_000_000)), "what was held is given back by the caller");
    }
}

#[test]
fn the_content_type_decides_when_it_is_known() {
    let policy = policy(
        "enforce",
        r#"
        [[rule]]
        name = "texts pay"
        path = "/a"
        content_type = "text/html"
        charge = { price = "0.02 USD", per = "fetch" }
        [[rule]]
        name = "films are not for you"
        path = "/a"
        content_type = ["video/*", "audio/*"]
        deny = true
        [[rule]]
        name = "the rest pays less"
        path = "/a"
        charge = { price = "0.01 USD", per = "fetch" }
        "#,
    );
    // Without an offer every response would be refused: at once, with the price that is enough for all.
    let refusal = refused_at_once(&policy, FETCH, RefusalKind::PaymentRequired, Some("MissingCrawlerPrice"));
    assert_eq!(refusal.price, Some(usd(20_000_000)));
    // An offer for the cheap ones starts the fetch, holds what it may cost, and does not get the dear one.
    let small = Fetch { max: Some("USD 0.01"), ..FETCH };
    let refusal = refused_later(&policy, small, RefusalKind::OfferTooLow);
    assert_eq!((refusal.price, &*refusal.rule), (Some(usd(20_000_000)), "texts pay"));
    for content_type in [Some("application/pdf"), None] {
        let (ceiling, terms) = delivered(&policy, Fetch { content_type, ..small });
        assert_eq!((ceiling, &*terms.rule, terms.owed), (Some(usd(10_000_000)), "the rest pays less", true));
    }
    let large = Fetch { max: Some("USD 1"), ..FETCH };
    let (ceiling, terms) = delivered(&policy, large);
    assert_eq!((ceiling, &*terms.rule), (Some(usd(20_000_000)), "texts pay"));
    refused_later(&policy, Fetch { content_type: Some("video/mp4"), ..large }, RefusalKind::Denied);
    // A denied type in an error page is no work.
    let (_, terms) = delivered(&policy, Fetch { content_type: Some("video/mp4"), status: 404, ..large });
    assert_eq!((&*terms.rule, terms.owed), ("films are not for you", false));
    // Elsewhere no rule matches.
    let (ceiling, terms) = delivered(&policy, Fetch { path: "/b", ..FETCH });
    assert_eq!((ceiling, &*terms.rule, terms.verdict), (None, "default", Verdict::Allow));
}

#[test]
fn a_fetch_that_one_content_type_allows_is_started() {
    let policy = policy(
        "enforce",
        "[[rule]]\nname = \"styles\"\ncontent_type = \"text/css\"\nallow = true\n[[rule]]\nname = \"no\"\ndeny = true\n",
    );
    assert_eq!(&*delivered(&policy, Fetch { content_type: Some("text/css"), ..FETCH }).1.rule, "styles");
    refused_later(&policy, FETCH, RefusalKind::Denied);
    refused_later(&policy, Fetch { content_type: None, ..FETCH }, RefusalKind::Denied);
}

const PER_MB: &str =
    "[[rule]]\nname = \"mb\"\ncharge = { price = \"0.01 USD\", per = \"MB\", max = \"0.05 USD\" }\n";

#[test]
fn prices_per_megabyte_are_settled_by_the_length() {
    let policy = policy("enforce", PER_MB);
    let refusal = refused_at_once(&policy, FETCH, RefusalKind::PaymentRequired, Some("MissingCrawlerPrice"));
    assert_eq!((refusal.price, refusal.unit_price), (Some(usd(50_000_000)), Some(usd(10_000_000))));
    // The offer is less than the maximum: small files are within it, large and open-ended ones are not.
    let fetch = Fetch { max: Some("USD 0.02"), ..FETCH };
    let (ceiling, terms) = delivered(&policy, Fetch { length: Some(2_000_000), ..fetch });
    assert_eq!((ceiling, terms.owed), (Some(usd(20_000_000)), true));
    let refusal =
        refused_later(&policy, Fetch { length: Some(2_000_001), ..fetch }, RefusalKind::OfferTooLow);
    assert_eq!(refusal.price, Some(usd(20_000_010)));
    refused_later(&policy, Fetch { length: None, ..fetch }, RefusalKind::OfferTooLow);
    // The maximum is never exceeded, and enough for everything.
    for length in [None, Some(0), Some(5_000_000), Some(u64::MAX)] {
        let (ceiling, terms) = delivered(&policy, Fetch { max: Some("USD 0.05"), length, ..FETCH });
        assert_eq!((ceiling, terms.owed), (Some(usd(50_000_000)), true));
    }
    let exact = Fetch { exact: Some("USD 0.01"), ..FETCH };
    assert!(delivered(&policy, Fetch { length: Some(1_000_000), ..exact }).1.owed);
    refused_later(&policy, Fetch { length: Some(999_999), ..exact }, RefusalKind::OfferTooLow);
}

#[test]
fn prices_per_words_need_the_maximum() {
    let policy =
        policy("enforce", &PER_MB.replace("\"MB\"", "\"1000 words\"").replace("\"mb\"", "\"words\""));
    let fetch = Fetch { max: Some("USD 0.04"), ..FETCH };
    refused_at_once(&policy, fetch, RefusalKind::OfferTooLow, Some("InvalidCrawlerMaxPrice"));
    let (ceiling, terms) = delivered(&policy, Fetch { max: Some("USD 0.05"), ..FETCH });
    assert_eq!(
        (ceiling, terms.charge.map(|charge| charge.unit)),
        (Some(usd(50_000_000)), Some(Unit::ThousandWords))
    );
}

#[test]
fn what_is_always_free_is_free_for_everybody() {
    let policy = policy("enforce", "[[rule]]\nname = \"no\"\ndeny = true\n");
    for path in ["/robots.txt", "/sitemap.xml", "/.well-known/tdmrep.json", "/licence"] {
        for rung in ["spoof", "claimed", "network"] {
            let (ceiling, terms) = delivered(&policy, Fetch { path, rung, exhausted: Some(1), ..FETCH });
            assert_eq!(
                (ceiling, &*terms.rule, terms.verdict),
                (None, "always-free", Verdict::Allow),
                "{path}"
            );
        }
    }
}

#[test]
fn other_classes_are_never_touched() {
    let policy = policy("enforce", "[[rule]]\nname = \"no\"\ndeny = true\n");
    let (_, terms) = delivered(&policy, Fetch { token: "LookBot", ..FETCH });
    assert_eq!((&*terms.rule, terms.verdict, terms.limit), ("default", Verdict::Allow, None));
}

#[test]
fn without_a_policy_everything_is_delivered() {
    let policy = PolicySnapshot::observe_only();
    assert_eq!(policy.mode(), Mode::Observe);
    assert!(policy.digest().starts_with("sha256:") && policy.sources().len() == 1);
    for rung in ["spoof", "claimed", "network"] {
        let (ceiling, terms) = delivered(&policy, Fetch { token: "GPTBot", rung, ..FETCH });
        assert_eq!((ceiling, &*terms.rule, terms.owed, terms.would_refuse), (None, "default", false, None));
    }
}

#[test]
fn a_hold_that_was_never_made_is_never_owed() {
    // A caller that asks `release` with an empty grant gets a refusal, not a debt that nothing covers.
    let policy = policy("enforce", PER_FETCH);
    let crawler = crawler(&policy, &FETCH);
    let work = policy.work("https", "example.com", "/a").unwrap();
    let offer = Offer::parse(["USD 1"], [""; 0]);
    let books = Books { policy: &policy, exhausted: None, asked: RefCell::default() };
    let head = ResponseHead { status: 200, ..ResponseHead::default() };
    let answer =
        release(&policy, &Grant { ceiling: None, prepaid: None }, &crawler, &work, &offer, &books, &head);
    assert!(matches!(answer, Release::Refuse(refusal) if refusal.kind == RefusalKind::NoCredit));
}
