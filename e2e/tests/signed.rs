//! Crawlers that sign their requests, with libraries that are not ours, and pay by Pay Per Crawl on that signature alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use e2e::market::{self, AGENT, Market, WHAT, wait_for_keys};
use e2e::oracle::{Language, Oracle};
use e2e::origin::ok;
use e2e::secure::{Reply, Secure};
use e2e::tls::Authority;
use e2e::wait::{PATIENCE, until_true};
use e2e::{Answer, Byline, Client, Origin, get};
use serde_json::{Value, json};

/// What the policy asks, USD 0.01.
const PRICE_NANO: i128 = 10_000_000;

fn policy(agents: &[&str]) -> String {
    format!(
        r#"
version = 1
mode = "enforce"
currency = "USD"

[[rule]]
name = "paid"
path = "/paid/**"
require = "signed"
charge = {{ price = "0.01 USD", per = "fetch", repeat_free = "0s" }}

[[crawler]]
token = "SignBot"
operator = "sign-labs"
purpose = "train"
agents = {agents:?}

[[crawler]]
token = "PlainBot"
operator = "plain-labs"
purpose = "train"
ranges = ["127.0.0.5/32"]

[[account]]
operator = "sign-labs"
credit_limit = "500 USD"
"#
    )
}

/// A market whose shop has that policy, before an origin that has every work.
fn open(language: Language) -> Market {
    let origin =
        Origin::site(|request| ok("Content-Type: text/plain\r\n", format!("the work {}", request.target)));
    Market::open(language, origin, |agent| policy(&[agent]))
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.field("crawler-error").to_owned())
}

/// Flow A asks, is told the price and pays it; flow B offers at once. Both by somebody else's library.
fn pays_in_both_flows(language: Language) {
    let mut market = open(language);
    let reactive = market.order("crawl", "a", json!({ "budget": "USD 0.02" }));
    let first = &reactive["first"];
    assert_eq!(
        (&first["status"], &first["headers"]["crawler-error"]),
        (&json!(402), &json!("MissingCrawlerPrice"))
    );
    let second = &reactive["second"];
    assert_eq!(second["status"], 200, "{second}");
    assert_eq!(second["body"], "the work /paid/a");
    let proactive = json!({
        "headers": [["User-Agent", AGENT], ["crawler-max-price", "USD 0.05"]],
        "components": ["@authority", "@method", "@path", "crawler-max-price"],
    });
    let offered = market.order("get", "b", proactive);
    assert_eq!(offered["status"], 200, "{offered}");
    for answer in [second, &offered] {
        assert_eq!(answer["headers"]["crawler-charged"], "USD 0.01");
    }
    let records = market.byline.wait_for_records(2);
    for record in &records {
        assert_eq!(
            (&record["assurance"], &record["operator"]),
            (&json!("signed"), &json!("sign-labs")),
            "{record}"
        );
        let evidence = record["evidence"].as_str().expect("evidence");
        assert!(evidence.starts_with(&format!("signature {}", market.agent)), "{evidence}");
        assert!(record["authorisation"].as_str().is_some_and(|key| key.len() > 64), "{record}");
    }
    assert_eq!(market.sold(), (2, 2 * PRICE_NANO));
    assert_eq!(market.byline.verify().code, 0);
    // Above its budget it does not pay, and below the price it gets nothing.
    let poor = market.order("crawl", "c", json!({ "budget": "USD 0.009" }));
    assert!(poor.get("second").is_none(), "{poor}");
    let little = json!({
        "headers": [["User-Agent", AGENT], ["crawler-max-price", "USD 0.009"]],
        "components": ["@authority", "@method", "@path", "crawler-max-price"],
    });
    let little = market.order("get", "d", little);
    assert_eq!(
        (&little["status"], &little["headers"]["crawler-error"]),
        (&json!(402), &json!("InvalidCrawlerMaxPrice"))
    );
    assert_eq!(market.sold(), (2, 2 * PRICE_NANO));
}

#[test]
fn a_crawler_with_http_message_signatures_pays() {
    pays_in_both_flows(Language::Python);
}

#[test]
fn a_crawler_with_web_bot_auth_pays() {
    pays_in_both_flows(Language::Node);
}

/// Each is right but for one thing; none moves money.
#[test]
fn each_single_fault_is_refused_and_nothing_is_charged() {
    let mut market = open(Language::Python);
    let good = market.request("good", json!({}));
    assert_eq!(market.byline.ask(&good).status, 200);
    let agent = market.agent.clone();
    let invalid = (400, "InvalidSignature");
    let unknown = (400, "StrongAuthRequired");
    let uncovered = json!({ "components": WHAT });
    let open_path = json!({ "components": ["@authority", "crawler-max-price"], "nonce": false });
    let altered = |request: String, from: &str, to: &str| {
        assert!(request.contains(from), "{request}");
        request.replacen(from, to, 1)
    };
    let flipped = |request: String| {
        let at = request.find("Signature: sig1=:").expect("a signature") + "Signature: sig1=:".len() + 5;
        let other = if request.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut request = request;
        request.replace_range(at..=at, other);
        request
    };
    let named = |request: String, names: &str| {
        request.replacen("Host: ", &format!("Connection: {names}\r\nHost: "), 1)
    };
    let labels: Vec<String> = (0..100).map(|label| format!("l{label}=(\"@authority\")")).collect();
    let many_labels = format!("Signature-Input: {}\r\nSignature-Input: ", labels.join(", "));
    let faults = [
        ("sent again", good.clone(), invalid),
        (
            "signed for another host",
            market.request("host", json!({ "url": "http://other.test/paid/host" })),
            invalid,
        ),
        (
            "signed for another path",
            altered(market.request("path", json!({})), "/paid/path", "/paid/elsewhere"),
            invalid,
        ),
        ("signed for any path, any number of times", market.request("any", open_path), invalid),
        ("the price is not covered", market.request("uncovered", uncovered), invalid),
        ("expired", market.request("expired", json!({ "shift": -3_600 })), invalid),
        ("from the future", market.request("future", json!({ "shift": 3_600 })), invalid),
        ("an unknown key", market.request("stranger", json!({ "stranger": true })), invalid),
        (
            "the key under another URL",
            market.request("elsewhere", json!({ "agent": format!("{agent}/other.json") })),
            unknown,
        ),
        ("another amount", altered(market.request("amount", json!({})), "USD 0.05", "USD 0.04"), invalid),
        ("another signature", flipped(market.request("flipped", json!({}))), invalid),
        (
            "a label stands twice",
            altered(market.request("twice", json!({})), "Signature-Input: ", "Signature-Input: sig1=();x, "),
            invalid,
        ),
        (
            "a hundred labels",
            altered(market.request("labels", json!({})), "Signature-Input: ", &many_labels),
            invalid,
        ),
        (
            "more labels than are read",
            altered(market.request("long", json!({})), "Signature-Input: ", &many_labels.repeat(20)),
            invalid,
        ),
        (
            "no dictionary",
            altered(market.request("broken", json!({})), "Signature-Input: ", "Signature-Input: ((("),
            invalid,
        ),
        // What `Connection` names belongs to a connection: for the signature it is not there.
        ("its value is named in Connection", named(market.request("value", json!({})), "Signature"), invalid),
        (
            "its agent is named in Connection",
            named(market.request("agent", json!({})), "Signature-Agent"),
            invalid,
        ),
        (
            "all of it is named in Connection",
            named(market.request("all", json!({})), "Signature, Signature-Input"),
            unknown,
        ),
        (
            "the price is named in Connection",
            named(market.request("price", json!({})), "crawler-max-price"),
            (402, "MissingCrawlerPrice"),
        ),
        (
            "no signature",
            get("/paid/none", &format!("User-Agent: {AGENT}\r\ncrawler-max-price: USD 0.05\r\n")),
            unknown,
        ),
    ];
    let asked = market.origin.requests().len();
    for (what, request, (status, error)) in &faults {
        let answer = market.byline.ask(request);
        assert_eq!(code(&answer), (*status, (*error).to_owned()), "{what}: {request}{}", answer.text());
        assert_eq!(answer.field("crawler-charged"), "", "{what}");
        let asked_to_sign = answer.field("accept-signature");
        assert_eq!(asked_to_sign.contains("\"crawler-max-price\""), *error == "StrongAuthRequired", "{what}");
        assert!(!answer.text().contains("the work"), "{what}");
    }
    assert_eq!(market.origin.requests().len(), asked, "none of them reached the origin");
    assert_eq!(market.sold(), (1, PRICE_NANO));
    // The same crawler, right in all things, still pays.
    let good = market.request("again", json!({}));
    assert_eq!(market.byline.ask(good).status, 200);
    assert_eq!(market.sold(), (2, 2 * PRICE_NANO));
}

/// One agent, however it says where its keys are; and one work, in either way to name it.
#[test]
fn every_generation_of_signature_agent_pays() {
    const WELL_KNOWN: &str = "/.well-known/http-message-signatures-directory";
    let mut market = open(Language::Python);
    let agent = market.agent.clone();
    let member = "\"signature-agent\";key=\"sig1\"";
    let price = "crawler-max-price";
    let by_path: &[&str] = &["@authority", "@method", "@path", price];
    let forms = [
        (format!("\"{agent}\""), "signature-agent", by_path),
        (format!("\"{agent}/\""), "signature-agent", by_path),
        (format!("sig1=\"{agent}\""), member, by_path),
        (format!("sig1=\"{agent}\";type=directory"), member, by_path),
        (format!("sig1=\"{agent}{WELL_KNOWN}\";type=jwks_uri"), member, by_path),
        (format!("sig1=\"{agent}{WELL_KNOWN}\""), member, by_path),
        (format!("other=\"https://other.example\", sig1=\"{agent}\""), member, by_path),
        (format!("agent2=\"{agent}\""), "\"signature-agent\";key=\"agent2\"", by_path),
        (format!("sig1=\"{agent}\""), member, &["@target-uri", price]),
    ];
    for (number, (signature_agent, covers_agent, components)) in forms.iter().enumerate() {
        let change = json!({
            "signature_agent": signature_agent,
            "covers_agent": covers_agent,
            "components": components,
            "nonce": false,
        });
        let request = market.request(&number.to_string(), change);
        let answer = market.byline.ask(&request);
        assert_eq!((answer.status, answer.field("crawler-charged")), (200, "USD 0.01"), "{request}");
    }
    for record in market.byline.wait_for_records(forms.len()) {
        let evidence = record["evidence"].as_str().expect("evidence");
        assert!(evidence.starts_with(&format!("signature {agent}{WELL_KNOWN} ")), "{evidence}");
    }
    assert_eq!(market.sold(), (forms.len(), forms.len() as i128 * PRICE_NANO));
}

#[test]
fn a_thousand_copies_of_one_payment_buy_one_delivery() {
    /// As many as one process may have connections on a machine of small limits.
    const CLIENTS: usize = 500;
    let mut market = open(Language::Python);
    let request = Arc::new(market.request("once", json!({})));
    let (listen, gate) = (market.byline.listen, Arc::new(Barrier::new(CLIENTS)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (request, gate) = (request.clone(), gate.clone());
            let buy = move || {
                let mut client = Client::connect(listen);
                gate.wait();
                (0..1_000 / CLIENTS).map(|_| code(&client.ask(&*request))).collect::<Vec<_>>()
            };
            thread::Builder::new().stack_size(256 << 10).spawn(buy).expect("a thread")
        })
        .collect();
    let answers: Vec<(u16, String)> =
        clients.into_iter().flat_map(|client| client.join().expect("answers")).collect();
    assert_eq!(answers.len(), 1_000);
    let (bought, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!(bought.len(), 1, "deliveries");
    let refused: BTreeSet<(u16, String)> = refused.into_iter().collect();
    assert_eq!(refused, BTreeSet::from([(400, "InvalidSignature".to_owned())]));
    assert_eq!(market.origin.requests().len(), 1, "requests at the origin");
    assert_eq!(market.sold(), (1, PRICE_NANO));
}

#[test]
fn what_was_spent_stays_spent_across_restarts_and_kills() {
    let mut market = open(Language::Python);
    let mut spent = Vec::new();
    for ending in [Byline::stop, Byline::kill, Byline::kill] {
        let request = market.request(&format!("before-{}", spent.len()), json!({}));
        assert_eq!(market.byline.ask(&request).status, 200);
        spent.push(request);
        ending(&mut market.byline);
        market.byline.start_again();
        wait_for_keys(&market.byline, &market.agent);
        for request in &spent {
            assert_eq!(code(&market.byline.ask(request)), (400, "InvalidSignature".to_owned()), "{request}");
        }
    }
    assert_eq!(market.sold(), (3, 3 * PRICE_NANO));
    assert_eq!(market.origin.requests().len(), 3);
}

/// A directory that is not what it should be, as each request comes upon it: an agent of its own for each.
#[test]
fn no_directory_keeps_anybody_waiting_or_sends_us_where_we_must_not_go() {
    let (authority, files) = (Authority::new(), tempfile::tempdir().expect("a temporary directory"));
    let identity = authority.issue(&["127.0.0.1", "127.0.0.2"]);
    let target = Secure::start(&identity, |_| Reply::Bytes(ok("", "{}")));
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", target.url());
    let media = "Content-Type: application/http-message-signatures-directory+json\r\n";
    let huge = ok(media, format!("{{\"keys\":[{}]}}", "{},".repeat(200_000)));
    let bytes = |answer: Vec<u8>| move |_: &e2e::secure::Asked| Reply::Bytes(answer.clone());
    let slow = |_: &e2e::secure::Asked| Reply::Drip(ok("", "{\"keys\":[]}"), Duration::from_millis(200));
    let servers = [
        ("redirect", Secure::start(&identity, bytes(redirect.into_bytes()))),
        ("huge", Secure::start(&identity, bytes(huge))),
        ("slow", Secure::start(&identity, slow)),
        ("silent", Secure::start(&identity, |_| Reply::Silence)),
        ("garbage", Secure::start(&identity, bytes(ok(media, b"\xff\xfe{{{[[[")))),
        ("no keys", Secure::start(&identity, bytes(ok(media, "{\"keys\":[]}")))),
        (
            "an error",
            Secure::start(&identity, bytes(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())),
        ),
    ];
    // Outside of the networks where keys may be: never asked.
    let private = Secure::start(&identity, |_| Reply::Silence);
    let down = {
        let gone = Secure::start(&identity, |_| Reply::Silence);
        format!("https://127.0.0.1:{}", gone.addr().port())
    };
    let at = |address: SocketAddr, host: &str| format!("https://{host}:{}", address.port());
    let mut agents: Vec<(&str, String)> =
        servers.iter().map(|(what, server)| (*what, at(server.addr(), "127.0.0.1"))).collect();
    agents.push(("private", at(private.addr(), "127.0.0.2")));
    agents.push(("down", down));
    let named: Vec<&str> = agents.iter().map(|(_, url)| url.as_str()).collect();
    let origin = Origin::site(|request| ok("", format!("the work {}", request.target)));
    let byline = market::before(&origin, &authority, &["127.0.0.1/32"], policy(&named));

    // People and crawlers that do not sign are served all the while.
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let others: Vec<_> = ["Mozilla/5.0", "PlainBot/1.0"]
        .into_iter()
        .map(|agent| {
            let (listen, done, served) = (byline.listen, done.clone(), served.clone());
            thread::spawn(move || {
                let mut client = Client::connect_from([127, 0, 0, 5], listen);
                while !done.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = client.ask(get("/free", &format!("User-Agent: {agent}\r\n")));
                    assert_eq!(answer.status, 200, "{agent}");
                    assert!(asked.elapsed() < Duration::from_secs(3), "{agent} waited {:?}", asked.elapsed());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let chain = files.path().join("chain.pem");
    let key = files.path().join("key.pem");
    std::fs::write(&chain, &identity.chain_pem).expect("a temporary file");
    std::fs::write(&key, &identity.key_pem).expect("a temporary file");
    let mut crawler = Oracle::start(Language::Python, "crawler.py", &[&chain, &key]);
    crawler.hear();
    for turn in 0..3 {
        for (what, url) in &agents {
            let order = json!({
                "do": "get", "url": "http://site.test/paid/1", "connect": byline.listen.to_string(),
                "headers": [["User-Agent", AGENT], ["crawler-max-price", "USD 0.05"]],
                "components": ["@authority", "@method", "@path", "crawler-max-price"],
                "agent": format!("{url}/.well-known/http-message-signatures-directory"),
            });
            let asked = Instant::now();
            let answer = crawler.ask(&order);
            let took = asked.elapsed();
            assert_eq!(
                (&answer["status"], &answer["headers"]["crawler-error"]),
                (&json!(400), &json!("StrongAuthRequired")),
                "{what}, turn {turn}: {answer}"
            );
            assert!(took < Duration::from_secs(3), "{what}, turn {turn}: {took:?}");
        }
    }
    // Each fetch comes to an end, the silent and the slow one after 3 s.
    until_true("the end of each fetch", PATIENCE, || {
        agents.iter().all(|(_, url)| byline.words().contains(url.as_str()))
    });
    assert!(servers.iter().all(|(_, server)| server.connections() > 0), "all that may be asked was");
    done.store(true, Ordering::Relaxed);
    others.into_iter().for_each(|client| client.join().expect("served all the while"));
    assert!(served.load(Ordering::Relaxed) > 20, "{served:?}");
    assert_eq!(private.connections(), 0, "an address outside of the networks was asked");
    assert_eq!(target.connections(), 0, "a redirect was followed");
    let is_free = |record: &Value| record["amount_nano"].as_str().is_none_or(|nano| nano == "0");
    assert!(byline.records().iter().all(is_free), "somebody was charged");
}
