//! Pay Per Crawl over HTTP, by a crawler that signs with a library of somebody else's: every case of the vectors with which
//! `policy/tests/vectors_ppc.rs` asks the rules themselves, and what no rule knows: fields, bodies, what the origin gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use e2e::market::{AGENT, Market, WHAT};
use e2e::oracle::Language;
use e2e::{Answer, Origin, get};
use serde_json::{Value, json};

/// A crawler whose operator has no account.
const NO_ACCOUNT: &str = "Mozilla/5.0 (compatible; BrokeBot/1.0)";
/// Where a case is named to the origin.
const CASE: &str = "X-Case";
/// What the origin has.
const WORK: &str = "the work itself";

/// Those of the directory that `BYLINE_VECTORS` names, or else all of ours.
fn cases() -> Vec<Value> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/testdata");
    let folders = match std::env::var_os("BYLINE_VECTORS") {
        Some(folder) => vec![folder.into()],
        None => vec![testdata.join("vectors"), testdata.join("vectors-more")],
    };
    let read = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("ppc.json")).expect("the vectors");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        file["tests"].as_array().expect("cases").clone()
    };
    folders.into_iter().flat_map(read).collect()
}

/// One value, or a list of them.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(lines) => lines.iter().flat_map(self::lines).collect(),
        line => vec![line.as_str().expect("a text").to_owned()],
    }
}

/// A policy with a rule for each zone, at a host of its own.
fn policy(agent: &str, zones: &[&Value]) -> String {
    let rules: String = zones
        .iter()
        .enumerate()
        .map(|(number, zone)| {
            let terms = match (zone["action"].as_str(), zone["dynamic"].as_bool()) {
                (Some("allow"), _) => "allow = true".to_owned(),
                (Some("block"), _) => "deny = true".to_owned(),
                (Some("charge"), Some(dynamic)) => {
                    let dynamic = if dynamic { "max = \"1000 USD\", origin_price = true, " } else { "" };
                    let price = zone["price"].as_str().expect("a price");
                    format!(
                        "require = \"signed\"\n\
                         charge = {{ price = \"{price}\", per = \"fetch\", {dynamic}repeat_free = \"0s\" }}"
                    )
                }
                _ => panic!("no such zone: {zone}"),
            };
            format!("[[rule]]\nname = \"zone {number}\"\nhost = \"zone{number}.test\"\n{terms}\n")
        })
        .collect();
    format!(
        "version = 1\nmode = \"enforce\"\ncurrency = \"USD\"\n{rules}\
         [[crawler]]\ntoken = \"SignBot\"\noperator = \"sign-labs\"\npurpose = \"train\"\nagents = [\"{agent}\"]\n\
         [[crawler]]\ntoken = \"BrokeBot\"\noperator = \"broke-labs\"\npurpose = \"train\"\nagents = [\"{agent}\"]\n\
         [[account]]\noperator = \"sign-labs\"\ncredit_limit = \"100000 USD\"\n"
    )
}

/// What the origin answers in a case.
fn answer(case: &Value) -> Vec<u8> {
    let origin = &case["origin"];
    let status = origin["status"].as_u64().expect("a status");
    let prices: String =
        lines(&origin["crawler-price"]).iter().map(|price| format!("crawler-price: {price}\r\n")).collect();
    let body = if status == 304 { "" } else { WORK };
    format!(
        "HTTP/1.1 {status} As Said\r\nContent-Type: text/html\r\n{prices}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An amount, compared as a number: `USD 0.1` is `USD 0.10`.
fn amount(text: &str) -> (String, String) {
    let (currency, amount) = text.split_once(' ').expect("a price");
    let amount =
        if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount };
    (currency.to_owned(), amount.to_owned())
}

/// What differs between an answer and what a case expects.
fn difference(case: &Value, answer: &Answer) -> Option<String> {
    let expect = &case["expect"];
    if u64::from(answer.status) != expect["status"] {
        return Some(format!("the status is {}", answer.status));
    }
    for name in ["crawler-price", "crawler-error", "crawler-charged"] {
        let (sent, expected) = (answer.fields.all(name), lines(&expect["headers"][name]));
        let is_same = match (&sent[..], &expected[..]) {
            ([], []) => true,
            ([sent], [expected]) if name == "crawler-error" => sent == expected,
            ([sent], [expected]) => amount(sent) == amount(expected),
            _ => false,
        };
        if !is_same {
            return Some(format!("{name} is {sent:?}, not {expected:?}"));
        }
    }
    let is_refused = expect["headers"]["crawler-error"].is_string();
    let has_work = answer.text().contains(WORK);
    let is_whole = answer.status == 304 || has_work;
    if is_refused && has_work || !is_refused && !is_whole {
        return Some(format!("the body is {}", answer.text()));
    }
    None
}

/// What the origin is told about who sets the price.
fn pricing(case: &Value, zone: &Value) -> &'static str {
    const FREE: [&str; 7] = [
        "/robots.txt",
        "/sitemap.xml",
        "/security.txt",
        "/.well-known/security.txt",
        "/crawlers.json",
        "/.well-known/tdmrep.json",
        "/.well-known/http-message-signatures-directory",
    ];
    let path = case["request"]["path"].as_str().unwrap_or_default().split('?').next().unwrap_or_default();
    match (zone["action"] == "charge" && !FREE.contains(&path), zone["dynamic"] == true) {
        (false, _) => "protocol=cloudflare, pricing=bypass",
        (true, false) => "protocol=cloudflare, pricing=zone-default",
        (true, true) => "protocol=cloudflare, pricing=in-band",
    }
}

#[test]
fn every_vector_holds_over_http() {
    let cases: Arc<Vec<Value>> = Arc::new(cases());
    let mut zones: Vec<&Value> = Vec::new();
    for case in cases.iter() {
        if !zones.contains(&&case["zone"]) {
            zones.push(&case["zone"]);
        }
    }
    let known = Arc::clone(&cases);
    let origin = Origin::site(move |request| {
        let case = request.fields.first(CASE).and_then(|case| case.parse::<usize>().ok());
        answer(&known[case.expect("a case")])
    });
    let mut market = Market::open(Language::Python, origin, |agent| policy(agent, &zones));

    let mut differ = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let request = &case["request"];
        let zone = zones.iter().position(|zone| **zone == case["zone"]).expect("its zone");
        let (host, path) = (format!("zone{zone}.test"), request["path"].as_str().expect("a path"));
        let agent = if request["account_ok"] == true { AGENT } else { NO_ACCOUNT };
        let mut fields =
            vec![["User-Agent".to_owned(), agent.to_owned()], [CASE.to_owned(), number.to_string()]];
        let mut covered: Vec<String> = WHAT.iter().map(|name| (*name).to_owned()).collect();
        for (name, value) in request["headers"].as_object().expect("fields") {
            fields.extend(lines(value).into_iter().map(|line| [name.clone(), line]));
            if request["price_header_covered"] == true {
                covered.push(name.to_ascii_lowercase());
            }
        }
        let fields = if request["signed"] == true {
            let order =
                json!({ "url": format!("http://{host}{path}"), "headers": fields, "components": covered });
            market.signed("", order)
        } else {
            fields.iter().map(|[name, value]| format!("{name}: {value}\r\n")).collect()
        };
        let asked = market.origin.requests().len();
        let answer = market.byline.ask(get(path, &fields).replacen("site.test", &host, 1));
        let id = case["id"].as_str().unwrap_or("a case");
        if let Some(what) = difference(case, &answer) {
            differ.push(format!("{id}: {what}"));
        }
        let asked_now = &market.origin.requests()[asked..];
        let is_refused = case["expect"]["headers"]["crawler-error"].is_string();
        // Whatever the origin cannot change is refused before it is asked.
        if is_refused && case["zone"]["dynamic"] == false && !asked_now.is_empty() {
            differ.push(format!("{id}: the origin was asked"));
        }
        for request in asked_now {
            let told = request.fields.all("cf-pay-per-crawl");
            if told != [pricing(case, &case["zone"])] {
                differ.push(format!("{id}: the origin is told {told:?}"));
            }
            let is_signed = request.fields.has("signature") && request.fields.has("signature-input");
            if case["request"]["signed"] == true && !is_signed {
                differ.push(format!("{id}: the signature did not reach the origin"));
            }
        }
    }
    assert!(differ.is_empty(), "{} of {}:\n{}", differ.len(), cases.len(), differ.join("\n"));

    let billed = |case: &Value| i128::from(case["expect"]["billed_micro_usd"].as_i64().expect("an amount"));
    let paid: Vec<i128> = cases.iter().map(billed).filter(|micros| *micros > 0).collect();
    assert!(!paid.is_empty());
    assert_eq!(market.sold(), (paid.len(), paid.iter().sum::<i128>() * 1_000));
    assert_eq!(market.byline.statement(&["--operator", "broke-labs"])["total"], "0");
    assert_eq!(market.byline.verify().code, 0);
}

/// A site that sets prices itself, and one work that does not fit what is held.
fn shop() -> Market {
    let long = "w".repeat(300_000);
    let origin = Origin::site(move |request| {
        let lines = "Content-Type: text/plain\r\ncrawler-price: USD 0.02\r\nCrawler-Charged: USD 9\r\n";
        match request.target.as_str() {
            "/long" => e2e::origin::ok(lines, &long),
            _ => e2e::origin::ok(lines, WORK),
        }
    });
    let zone = json!({ "price": "USD 0.01", "action": "charge", "dynamic": true });
    Market::open(Language::Python, origin, |agent| policy(agent, &[&zone]))
}

/// A body that is longer than what is held leaves before it is recorded; what it costs is known, and said, all the same.
#[test]
fn a_streamed_answer_says_what_it_costs() {
    let mut market = shop();
    let mut buy = |path: &str| {
        let order = json!({
            "url": format!("http://zone0.test{path}"),
            "headers": [["User-Agent", AGENT], ["crawler-max-price", "USD 0.05"]],
            "components": ["@authority", "@method", "@path", "crawler-max-price"],
        });
        let fields = market.signed("", order);
        market.byline.ask(get(path, &fields).replacen("site.test", "zone0.test", 1))
    };
    for (path, bytes) in [("/short", WORK.len()), ("/long", 300_000), ("/long", 300_000)] {
        let answer = buy(path);
        assert_eq!((answer.status, answer.body.len()), (200, bytes), "{path}");
        assert_eq!(answer.fields.all("crawler-charged"), ["USD 0.02"], "{path}");
        assert!(!answer.fields.has("crawler-price"), "{path}");
    }
    market.byline.wait_for_records(3);
    assert_eq!(market.sold(), (3, 3 * 20_000_000));
}

/// Where the origin may set prices, it is told of each request whether it may, and by nobody else.
#[test]
fn the_origin_hears_from_us_alone_who_sets_the_price() {
    const IN_BAND: &str = "protocol=cloudflare, pricing=in-band";
    let market = shop();
    let bypass = "protocol=cloudflare, pricing=bypass".to_owned();
    let expected = BTreeMap::from([
        ("Mozilla/5.0", bypass.clone()),
        ("Googlebot/2.1", bypass.clone()),
        (AGENT, IN_BAND.to_owned()),
    ]);
    for other in [
        format!("Cf-Pay-Per-Crawl: {IN_BAND}\r\n"),
        format!("Cf_Pay_Per_Crawl: {bypass}\r\n"),
        "Connection: cf-pay-per-crawl\r\n".to_owned(),
    ] {
        assert_eq!(told(&market, &other), expected, "{other}");
    }
}

/// What the origin hears of prices when these fetch a work with these fields.
fn told(market: &Market, fields: &str) -> BTreeMap<&'static str, String> {
    ["Mozilla/5.0", "Googlebot/2.1", AGENT]
        .into_iter()
        .map(|agent| {
            let fields = format!("User-Agent: {agent}\r\n{fields}");
            let answer = market.byline.ask(get("/short", &fields).replacen("site.test", "zone0.test", 1));
            let is_told = answer.fields.has("crawler-price");
            assert_eq!(is_told, answer.status == 402, "{agent}: a price is named where it is asked");
            let requests = market.origin.requests();
            let heard = &requests.last().expect("a request").fields;
            assert!(!heard.has("cf_pay_per_crawl"), "{fields}");
            (agent, heard.all("cf-pay-per-crawl").join(" | "))
        })
        .collect()
}
