//! AI crawlers: what each fetch leaves in the ledger, and how each refusal reads.

use std::net::Ipv4Addr;

use e2e::config::{CAREFUL, CAREFUL_AGENT, POOR, POOR_AGENT, RICH, RICH_AGENT, SHOP, site};
use e2e::origin::ok;
use e2e::{Answer, Byline, Client, Origin, before, configured, get};
use serde_json::Value;

/// A site of a few kinds of works.
fn press() -> Origin {
    Origin::site(|request| {
        let path = request.target.split('?').next().unwrap_or_default();
        if request.method == "HEAD" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
        }
        match path {
            "/articles/moved" => {
                b"HTTP/1.1 302 Found\r\nLocation: /articles/1\r\nContent-Length: 0\r\n\r\n".to_vec()
            }
            "/articles/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
            "/articles/broken" => b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec(),
            "/articles/same" => b"HTTP/1.1 304 Not Modified\r\nETag: \"s\"\r\n\r\n".to_vec(),
            "/data/half" => ok("Content-Type: application/json\r\n", "d".repeat(500_000)),
            _ => ok("Content-Type: text/html; charset=utf-8\r\n", "hello"),
        }
    })
}

fn shop(origin: &Origin) -> Byline {
    before(origin.url()).policy(SHOP).start()
}

fn ask_from(byline: &Byline, from: [u8; 4], request: impl AsRef<[u8]>) -> Answer {
    Client::connect_from(Ipv4Addr::from(from), byline.listen).ask(request)
}

fn rich(byline: &Byline, path: &str) -> Answer {
    ask_from(byline, RICH, get(path, RICH_AGENT))
}

fn poor(byline: &Byline, path: &str, lines: &str) -> Answer {
    ask_from(byline, POOR, get(path, &format!("{POOR_AGENT}{lines}")))
}

fn careful(byline: &Byline, path: &str, lines: &str) -> Answer {
    ask_from(byline, CAREFUL, get(path, &format!("{CAREFUL_AGENT}{lines}")))
}

fn amounts(records: &[Value]) -> Vec<(&str, &str)> {
    records
        .iter()
        .map(|r| (r["outcome"].as_str().unwrap_or("none"), r["amount_nano"].as_str().unwrap_or("none")))
        .collect()
}

#[test]
fn a_paid_fetch_is_in_the_ledger_before_its_last_byte_arrives() {
    let origin = press();
    let byline = shop(&origin);
    let answer = rich(&byline, "/articles/1?utm=x&session=secret");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    // No wait: what a client has complete is on disk.
    let records = byline.records();
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    for (key, expect) in [
        ("crawler", "RichBot"),
        ("operator", "rich-labs"),
        ("purpose", "train"),
        ("assurance", "network"),
        ("method", "GET"),
        ("url", "http://site.test/articles/1"),
        ("holder", "press"),
        ("rule", "articles"),
        ("verdict", "charge"),
        ("outcome", "complete"),
        ("unit", "fetch"),
        ("price_nano", "2000000"),
        ("quote_nano", "2000000"),
        ("amount_nano", "2000000"),
        ("ccy", "USD"),
        ("qty", "1"),
        ("content_type", "text/html"),
        ("digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"),
    ] {
        assert_eq!(record[key], expect, "{key} of {record}");
    }
    assert_eq!(
        (&record["status"], &record["bytes"], &record["owed"]),
        (&200.into(), &5.into(), &true.into())
    );
    assert!(record["policy"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{record}");

    // The policy that it names stands in the same ledger, and nobody's address or session does.
    let entries = byline.entries();
    let named = entries
        .iter()
        .any(|e| e["type"] == "ai.usage.policy-activated.v1" && e["data"]["policy"] == record["policy"]);
    assert!(named, "{entries:?}");
    let fetch = entries.iter().find(|e| e["type"] == "ai.usage.fetch.v1").expect("the fetch's entry");
    let text = fetch.to_string();
    assert!(!text.contains("127.0.0.2\"") && !text.contains("secret") && !text.contains("utm"), "{text}");
    assert_eq!(fetch["specversion"], "1.0");
    assert!(fetch["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    let said = byline.verify();
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn who_does_not_pay_is_told_how() {
    let origin = press();
    let mut byline = shop(&origin);
    let answer = poor(&byline, "/articles/1", "");
    assert_eq!(answer.status, 402);
    assert_eq!(answer.field("crawler-price"), "USD 0.002");
    assert!(answer.field("cache-control").contains("no-store"), "{:?}", answer.fields);
    assert_eq!(answer.field("content-type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    assert_eq!(problem["status"], 402, "{problem}");
    let all = format!("{problem}{:?}", answer.fields);
    assert!(all.contains("https://press.example/licence"), "the licence is not named: {all}");
    assert!(all.contains("rights@press.example"), "the contact is not named: {all}");
    assert!(origin.untouched(), "a refused fetch reached the origin");
    byline.stop();
    assert!(byline.records().is_empty());
    let entries = byline.entries();
    let rolled_up: u64 = entries
        .iter()
        .filter(|e| e["type"] == "ai.usage.rollup.v1" && e["data"]["operator"] == "poor-labs")
        .filter_map(|e| e["data"]["fetches"].as_u64())
        .sum();
    assert_eq!(rolled_up, 1, "{entries:?}");
}

#[test]
fn an_offer_buys_what_it_covers() {
    let origin = press();
    let byline = shop(&origin);
    for (offer, status) in [
        ("crawler-max-price: USD 0.002", 200),
        ("crawler-max-price: USD 0.50", 200),
        ("crawler-exact-price: USD 0.002", 200),
        ("crawler-max-price: USD 0.001999999", 402),
        ("crawler-exact-price: USD 0.003", 402),
    ] {
        let answer = careful(&byline, "/articles/1", &format!("{offer}\r\n"));
        assert_eq!(answer.status, status, "{offer}: {}", answer.text());
        match status {
            200 => assert!(!answer.fields.has("crawler-price"), "{offer}: {:?}", answer.fields),
            _ => assert_eq!(answer.field("crawler-price"), "USD 0.002", "{offer}"),
        }
    }
    // Whoever offers more than the price pays the price, and pays it once for the same version.
    let records = byline.records();
    let charged: Vec<&str> = records.iter().filter_map(|r| r["amount_nano"].as_str()).collect();
    assert_eq!(charged, ["2000000", "0", "0"]);
}

#[test]
fn an_offer_that_is_no_price_is_refused() {
    let origin = press();
    let byline = shop(&origin);
    for offer in [
        "USD -1",
        "USD NaN",
        "USD 1e308",
        "USD inf",
        "USD 0x1",
        "XYZ 1",
        "1",
        "USD",
        "USD 1 USD 2",
        "USD 1,5",
        "USD 99999999999999999999",
        "USD +1",
        "usd",
        "",
    ] {
        let answer = careful(&byline, "/articles/1", &format!("crawler-max-price: {offer}\r\n"));
        assert!(matches!(answer.status, 400 | 402), "{offer:?}: {}", answer.status);
    }
    for lines in [
        "crawler-max-price: USD 1\r\ncrawler-max-price: USD 2\r\n",
        "crawler-max-price: USD 1\r\ncrawler-exact-price: USD 1\r\n",
    ] {
        assert_eq!(careful(&byline, "/articles/1", lines).status, 400, "{lines}");
    }
    assert!(origin.untouched());
    assert!(byline.records().is_empty());
}

#[test]
fn a_price_that_the_origin_names_does_not_leak() {
    let origin = Origin::answering(ok("Crawler-Price: USD 0.00\r\nCrawler-Charged: USD 9\r\n", "hello"));
    let byline = shop(&origin);
    let answer = rich(&byline, "/articles/1");
    assert_eq!(answer.status, 200);
    assert!(!answer.fields.has("crawler-price"), "{:?}", answer.fields);
    let charged = answer.fields.all("crawler-charged");
    assert!(charged.iter().all(|c| *c == "USD 0.002") && charged.len() <= 1, "{charged:?}");
    assert_eq!(byline.records()[0]["amount_nano"], "2000000");
}

#[test]
fn what_is_denied_stays_at_home() {
    let origin = press();
    let byline = shop(&origin);
    for answer in [rich(&byline, "/drafts/1"), poor(&byline, "/drafts/1", "crawler-max-price: USD 100\r\n")] {
        assert_eq!(answer.status, 403);
        assert!(answer.field("cache-control").contains("no-store"));
        assert_eq!(answer.field("content-type"), "application/problem+json");
    }
    assert!(origin.untouched());
    // The policy speaks to AI crawlers alone.
    for agent in ["Mozilla/5.0", "Googlebot/2.1", "curl/8.0", "NotRichBot/1.0", "RichBottle/1.0"] {
        let answer = byline.ask(get("/drafts/1", &format!("User-Agent: {agent}\r\n")));
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{agent}");
    }
    assert!(byline.records().is_empty());
}

#[test]
fn a_limit_is_told_with_its_end() {
    let origin = press();
    let byline = shop(&origin);
    let statuses: Vec<u16> = (0..5).map(|n| rich(&byline, &format!("/slow/{n}")).status).collect();
    // An hour may begin between two of them; then all five pass.
    if statuses == [200; 5] {
        return;
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = rich(&byline, "/slow/9");
    let seconds: u64 = answer.field("retry-after").parse().expect("a number of seconds");
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert!(answer.field("cache-control").contains("no-store"));
    assert_eq!(poor(&byline, "/slow/1", "").status, 200, "another operator has a limit of its own");
    assert_eq!(rich(&byline, "/other").status, 200);
}

#[test]
fn a_name_alone_is_not_an_account() {
    let origin = press();
    let mut byline = shop(&origin);
    // RichBot's name from a stranger's address.
    let answer = ask_from(&byline, [127, 0, 0, 9], get("/articles/1", RICH_AGENT));
    assert!(matches!(answer.status, 402 | 403), "{}", answer.status);
    let offer = format!("{RICH_AGENT}crawler-max-price: USD 1\r\n");
    let answer = ask_from(&byline, [127, 0, 0, 9], get("/articles/1", &offer));
    assert!(matches!(answer.status, 402 | 403), "{}", answer.status);
    let answer = ask_from(&byline, [127, 0, 0, 9], get("/free", RICH_AGENT));
    assert_eq!(answer.status, 200, "a free work is free for everybody");
    assert!(origin.requests().iter().all(|request| request.target == "/free"));
    byline.stop();
    for entry in byline.entries() {
        let operator = &entry["data"]["operator"];
        assert!(operator != "rich-labs", "a spoof stands on the operator's line: {entry}");
    }
    let statement = byline.statement(&[]);
    assert_eq!(statement["total"].as_str().and_then(|t| t.parse::<f64>().ok()), Some(0.0), "{statement}");
}

#[test]
fn the_same_version_is_paid_once() {
    let origin = press();
    let byline = shop(&origin);
    for path in ["/articles/1", "/articles/1", "/articles/2", "/articles/1?x=y", "/every/1", "/every/1"] {
        assert_eq!(rich(&byline, path).status, 200);
    }
    let records = byline.records();
    let paid: Vec<&str> = records.iter().filter_map(|r| r["amount_nano"].as_str()).collect();
    // Another address with the same bytes is another work; a query that the policy does not name is the same one.
    assert_eq!(paid, ["2000000", "0", "2000000", "0", "1000000", "1000000"]);
    let repeats: Vec<bool> = records.iter().map(|r| r["repeat"] == true).collect();
    assert_eq!(repeats, [false, true, false, true, false, false]);
}

#[test]
fn only_a_work_costs() {
    let origin = press();
    let byline = shop(&origin);
    for (request, status) in [
        (get("/articles/moved", RICH_AGENT), 302),
        (get("/articles/gone", RICH_AGENT), 404),
        (get("/articles/broken", RICH_AGENT), 500),
        (get("/articles/same", &format!("{RICH_AGENT}If-None-Match: \"s\"\r\n")), 304),
        (format!("HEAD /articles/1 HTTP/1.1\r\nHost: site.test\r\n{RICH_AGENT}\r\n"), 200),
    ] {
        assert_eq!(ask_from(&byline, RICH, request).status, status);
    }
    let records = byline.records();
    assert_eq!(records.len(), 5);
    for record in &records {
        assert_eq!(record["amount_nano"], "0", "{record}");
    }
    assert_eq!(records[3]["outcome"], "not-modified");
}

#[test]
fn a_price_per_megabyte_counts_what_was_delivered() {
    let origin = press();
    let byline = shop(&origin);
    assert_eq!(rich(&byline, "/data/half").body.len(), 500_000);
    let record = &byline.records()[0];
    assert_eq!(record["unit"], "MB");
    assert_eq!((&record["bytes"], &record["qty"]), (&500_000.into(), &"500000".into()), "{record}");
    assert_eq!(record["amount_nano"], "500000000");
}

#[test]
fn robots_txt_is_always_free() {
    let origin = press();
    let policy = SHOP.replace("path = \"/drafts/**\"", "path = \"/**\"");
    let byline = before(origin.url()).policy(policy).start();
    assert_eq!(rich(&byline, "/anything").status, 403);
    for path in ["/robots.txt", "/sitemap.xml", "/.well-known/security.txt"] {
        assert_eq!(rich(&byline, path).status, 200, "{path}");
    }
}

#[test]
fn observing_refuses_nothing_and_bills_nothing() {
    let origin = press();
    let byline =
        before(origin.url()).policy(SHOP.replace("mode = \"enforce\"", "mode = \"observe\"")).start();
    assert_eq!(poor(&byline, "/articles/1", "").status, 200);
    assert_eq!(rich(&byline, "/articles/1").status, 200);
    assert_eq!(rich(&byline, "/drafts/1").status, 200);
    let records = byline.records();
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!((&record["amount_nano"], &record["owed"]), (&"0".into(), &false.into()), "{record}");
    }
    assert_eq!((&records[0]["quote_nano"], &records[0]["would_refuse"]), (&"2000000".into(), &402.into()));
    assert_eq!((&records[1]["quote_nano"], &records[1]["would_refuse"]), (&"2000000".into(), &Value::Null));
    assert_eq!(records[2]["would_refuse"], 403);
}

#[test]
fn without_a_policy_everything_is_metered_and_nothing_refused() {
    let origin = press();
    let byline = before(origin.url()).start();
    for agent in ["GPTBot/1.2", "ClaudeBot/1.0", "CCBot/2.0"] {
        assert_eq!(byline.ask(get("/articles/1", &format!("User-Agent: {agent}\r\n"))).status, 200);
    }
    let records = byline.records();
    let crawlers: Vec<&str> = records.iter().filter_map(|r| r["crawler"].as_str()).collect();
    assert_eq!(crawlers, ["GPTBot", "ClaudeBot", "CCBot"]);
    assert!(records.iter().all(|r| r["amount_nano"] == "0" && r["assurance"] == "claimed"), "{records:?}");
}

#[test]
fn no_spelling_of_a_path_gets_around_its_rule() {
    let origin = press();
    let byline = shop(&origin);
    for path in [
        "/drafts/1",
        "/%64rafts/1",
        "/drafts%2f1",
        "/drafts%2F1",
        "//drafts/1",
        "/./drafts/1",
        "/x/../drafts/1",
        "/x/%2e%2e/drafts/1",
        "/x/%2E./drafts/1",
        "/drafts//1",
        "/drafts/./1",
        "/drafts/%31",
        "/x/..%2fdrafts/1",
        "/%2e/drafts/1",
        "/drafts\\1",
        "/x\\..\\drafts\\1",
        "/%5cdrafts/1",
        "/x%5c..%5cdrafts/1",
        "/%2564rafts/1",
        "/drafts/1%00",
        "/drafts/1?a=b",
        "/drafts/1;v=1",
        "/drafts;v=1/1",
        "/%c0%afdrafts/1",
        "/x/..;/drafts/1",
        "/drafts/1#x",
        "/DRAFTS%2f..%2fdrafts/1",
        "/%252564rafts/1",
        "/articles%252f..%252fdrafts/1",
        "/drafts%3bv=1/1",
        "/drafts%253bv=1/1",
        "/x/%EF%BC%8E%EF%BC%8E/drafts/1",
        "/%EF%BD%84rafts/1",
        "/drafts%EF%BC%8F1",
        "//articles/drafts/../../drafts/1",
        "//x/drafts/1",
        "/articles/../drafts/1",
        "/articles/..%2fdrafts/1",
        "/articles/%2e%2e%2fdrafts/1",
        "http://site.test/drafts/1",
        "http://site.test//drafts/1",
    ] {
        let answer = rich(&byline, path);
        assert!(matches!(answer.status, 400 | 403), "{path}: {} {}", answer.status, answer.text());
    }
    assert!(origin.untouched(), "{:?}", origin.requests());
}

#[test]
fn no_method_gets_around_a_rule() {
    let origin = press();
    let byline = shop(&origin);
    for method in ["GET", "HEAD", "POST", "PUT", "get", "PROPFIND", "QUERY", "OPTIONS", "FOO"] {
        let request = format!(
            "{method} /drafts/1 HTTP/1.1\r\nHost: site.test\r\n{RICH_AGENT}X-HTTP-Method-Override: OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let status = ask_from(&byline, RICH, request).status;
        assert!(matches!(status, 400 | 403), "{method}: {status}");
    }
    assert!(origin.untouched());
}

#[test]
fn observing_does_not_judge_paths() {
    let origin = press();
    let byline = before(origin.url()).start();
    for path in ["/wiki/AC%2FDC", "/@scope%2fname", "/50%"] {
        assert_eq!(byline.ask(get(path, "User-Agent: GPTBot/1.2\r\n")).status, 200, "{path}");
    }
    let urls: Vec<Value> = byline.records().iter().map(|record| record["url"].clone()).collect();
    assert_eq!(urls[0], "http://site.test/wiki/AC%2FDC");
    assert_eq!(urls.len(), 3);
}

#[test]
fn what_gets_no_entry_of_its_own_is_summed_as_it_ended() {
    let origin = press();
    let config = format!("{}[ledger]\nclaimed_per_second = 1\n", site(&origin.url(), ""));
    let mut byline = configured(config).start();
    for _ in 0..10 {
        assert_eq!(byline.ask(get("/articles/1", "User-Agent: GPTBot/1.2\r\n")).text(), "hello");
    }
    let head = "HEAD /articles/1 HTTP/1.1\r\nHost: site.test\r\nUser-Agent: GPTBot/1.2\r\n\r\n";
    assert_eq!(byline.client().ask(head).status, 200);
    byline.stop();
    let data = |kind: &str| -> Vec<Value> {
        let entries = byline.entries().into_iter();
        entries.filter(|entry| entry["type"] == kind).map(|entry| entry["data"].clone()).collect()
    };
    let (fetches, sums) = (data("ai.usage.fetch.v1"), data("ai.usage.rollup.v1"));
    assert!(!sums.is_empty() && sums.iter().all(|sum| sum["outcome"] == "complete"), "{sums:?}");
    let summed: u64 = sums.iter().filter_map(|sum| sum["fetches"].as_u64()).sum();
    assert_eq!(fetches.len() as u64 + summed, 11, "{fetches:?} {sums:?}");
}

#[test]
fn no_field_moves_a_request_to_another_path() {
    let origin = press();
    let byline = shop(&origin);
    for name in ["X-Original-URL", "X-Rewrite-URL", "X_Original_URL", "X-HTTP-Method_Override"] {
        let answer = ask_from(&byline, RICH, get("/free", &format!("{RICH_AGENT}{name}: /drafts/1\r\n")));
        let passed_on = origin.requests().iter().any(|request| request.fields.has(name));
        assert!(matches!(answer.status, 400 | 403) || !passed_on, "{name} reached the origin");
    }
}

#[test]
fn an_abort_is_recorded_with_what_was_delivered() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let _ = visit.write(vec![b'a'; 10_000_000]);
        visit.left_within(e2e::wait::PATIENCE);
    });
    let byline = shop(&origin);
    let mut client = Client::connect_from(Ipv4Addr::from(RICH), byline.listen);
    client.send(get("/articles/long", RICH_AGENT));
    client.head().expect("a head");
    assert_eq!(client.take(5_000_000).len(), 5_000_000);
    let hung_up = std::time::Instant::now();
    client.reset();
    let records = byline.wait_for_records(1);
    assert!(hung_up.elapsed() < std::time::Duration::from_secs(3), "{:?}", hung_up.elapsed());
    let record = &records[0];
    assert_eq!(record["outcome"], "aborted", "{record}");
    let bytes = record["bytes"].as_u64().expect("a number of bytes");
    assert!((5_000_000..100_000_000).contains(&bytes), "{record}");
    // Pro rata of the declared length: at least what was surely delivered, less than the whole.
    let amount: i64 = record["amount_nano"].as_str().and_then(|a| a.parse().ok()).expect("an amount");
    assert!((100_000..2_000_000).contains(&amount), "{record}");
}

#[test]
fn a_body_that_the_origin_cuts_is_recorded_as_cut_and_free() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        let _ = visit.write(vec![b'a'; 500_000]);
    });
    let byline = shop(&origin);
    let answer = rich(&byline, "/articles/cut");
    assert!(!answer.complete());
    let record = &byline.wait_for_records(1)[0];
    assert_eq!(amounts(std::slice::from_ref(record)), [("truncated", "0")], "{record}");
    assert!(record["bytes"].as_u64().is_some_and(|bytes| bytes <= 500_000));
}

#[test]
fn an_origin_that_fails_costs_nothing() {
    let origin = Origin::start(|visit| drop(visit.request()));
    let byline = shop(&origin);
    assert_eq!(rich(&byline, "/articles/1").status, 502);
    let records = byline.wait_for_records(1);
    assert_eq!(amounts(&records), [("origin-failed", "0")]);
}

#[test]
fn parts_of_a_version_are_paid_once() {
    let origin = Origin::site(|request| {
        let range =
            request.fields.first("range").unwrap_or("bytes=0-1").trim_start_matches("bytes=").to_owned();
        format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"v\"\r\nContent-Range: bytes {range}/1000\r\nContent-Length: 2\r\n\r\nab"
        )
        .into_bytes()
    });
    let byline = shop(&origin);
    for n in 0..10 {
        let lines = format!("{RICH_AGENT}Range: bytes={}-{}\r\n", 2 * n, 2 * n + 1);
        assert_eq!(ask_from(&byline, RICH, get("/articles/1", &lines)).status, 206);
    }
    let records = byline.records();
    let total: i64 = records.iter().filter_map(|r| r["amount_nano"].as_str()?.parse::<i64>().ok()).sum();
    assert_eq!((records.len(), total), (10, 2_000_000), "no full copy by slices, no full price for each");
}

#[test]
fn slices_without_a_version_are_no_free_copy() {
    let origin = Origin::site(|request| {
        let from: usize =
            request.fields.first("range").and_then(|r| r[6..].split('-').next()?.parse().ok()).unwrap_or(0);
        let slice = format!("{from:04}").repeat(250);
        let range = format!("bytes {from}-{}/10000", from + 999);
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: 1000\r\n\r\n{slice}"
        )
        .into_bytes()
    });
    let byline = shop(&origin);
    for path in ["/articles/1", "/data/1"] {
        for n in 0..10 {
            let lines = format!("{RICH_AGENT}Range: bytes={}-{}\r\n", 1000 * n, 1000 * n + 999);
            assert_eq!(ask_from(&byline, RICH, get(path, &lines)).status, 206);
        }
    }
    let records = byline.wait_for_records(20);
    let paid = |path: &str| -> i64 {
        let of_path =
            records.iter().filter(|record| record["url"].as_str().is_some_and(|url| url.ends_with(path)));
        of_path.filter_map(|record| record["amount_nano"].as_str()?.parse::<i64>().ok()).sum()
    };
    // Nothing says that the slices are of one version: each is a fetch. By the megabyte the slices cost what the whole does.
    assert_eq!((paid("/articles/1"), paid("/data/1")), (10 * 2_000_000, 10_000_000));
}

#[test]
fn an_event_stream_is_recorded_at_its_end_and_never_charged() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         9\r\ndata: 1\n\n\r\n0\r\n\r\n",
    );
    let byline = shop(&origin);
    assert_eq!(rich(&byline, "/articles/events").text(), "data: 1\n\n");
    assert_eq!(amounts(&byline.wait_for_records(1)), [("complete", "0")]);
}

#[test]
fn long_and_chunked_works_are_recorded_too() {
    let origin = Origin::site(|request| {
        let body = "w".repeat(300_000);
        if request.target.ends_with("chunked") {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in body.as_bytes().chunks(10_000) {
                answer.extend(format!("{:x}\r\n", part.len()).into_bytes());
                answer.extend_from_slice(part);
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
            answer
        } else {
            ok("", body)
        }
    });
    let byline = shop(&origin);
    for path in ["/articles/length", "/articles/chunked"] {
        let answer = rich(&byline, path);
        assert!(answer.complete());
        assert_eq!(answer.body.len(), 300_000, "{path}");
        let records = byline.records();
        let record = records.last().expect("a record before the end of the body");
        assert_eq!((&record["bytes"], &record["outcome"]), (&300_000.into(), &"complete".into()), "{path}");
    }
}

#[test]
fn a_crawler_over_h2_is_metered_like_any() {
    use e2e::h2c::{Connection, block_on};

    let origin = press();
    let byline = before(origin.url()).start();
    block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        for n in 0..5 {
            let request = http::Request::get(format!("http://site.test/articles/{n}"))
                .header("user-agent", "GPTBot/1.2");
            let answer =
                connection.ask(request.body(()).expect("well formed"), b"").await.expect("an answer");
            assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
        }
    });
    let records = byline.records();
    assert_eq!(amounts(&records), [("complete", "0"); 5]);
    assert!(records.iter().all(|r| r["crawler"] == "GPTBot" && r["bytes"] == 5), "{records:?}");
}

#[test]
fn words_are_counted_where_they_are_priced() {
    // Twelve words of text; what is markup, script and style is none.
    let page = "<html><head><title>A title</title><style>p { color: red }</style></head><body>\
                <p>Ten words of text stand in this paragraph for readers.</p><script>var x = 1;</script></body></html>";
    let origin = Origin::answering(ok("Content-Type: text/html\r\n", page));
    let policy = SHOP.replace(
        "charge = { price = \"0.001 USD\", per = \"fetch\", repeat_free = \"0s\" }",
        "charge = { price = \"1 USD\", per = \"1000 words\", max = \"2 USD\", repeat_free = \"0s\" }",
    );
    let byline = before(origin.url()).policy(policy).start();
    assert_eq!(rich(&byline, "/every/1").text(), page, "counting does not touch the page");
    let record = &byline.records()[0];
    let words = record["words"].as_u64().expect("words were counted");
    assert!((10..=12).contains(&words), "{record}");
    assert_eq!(record["amount_nano"], (words * 1_000_000).to_string(), "{record}");
}

#[test]
fn a_credit_limit_ends_the_sale() {
    let origin = press();
    let policy = SHOP.replace("credit_limit = \"5000 USD\"", "credit_limit = \"0.003 USD\"");
    let byline = before(origin.url()).policy(policy).start();
    let statuses: Vec<u16> = (0..5).map(|n| rich(&byline, &format!("/every/{n}")).status).collect();
    assert_eq!(statuses, [200, 200, 200, 402, 402]);
    assert_eq!(rich(&byline, "/free").status, 200);
    let owed: i64 =
        byline.records().iter().filter_map(|r| r["amount_nano"].as_str()?.parse::<i64>().ok()).sum();
    assert_eq!(owed, 3_000_000, "not a nano-unit above the limit");
}
