//! Promises that come with a request (`cloudflare:402`, the `Payment` scheme): billed to the operator's account, each good once.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::chain::{header, read_header};
use e2e::config::{CRAWLERS, POLICY, POOR, RICH, identity_table, loopback_identity, site};
use e2e::oracle::{Language, Oracle};
use e2e::origin::ok;
use e2e::tls::Authority;
use e2e::wait::{PATIENCE, until_true};
use e2e::{Answer, Byline, Client, Origin, configured, get};
use serde_json::{Value, json};

const SHOP: &str = r#"
version = 1
mode = "enforce"
currency = "USD"

[[rule]]
name = "articles"
path = "/articles/**"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "signed"
path = "/signed/**"
require = "signed"
charge = { price = "0.01 USD", per = "fetch", repeat_free = "0s" }

[[rule]]
name = "once"
path = "/once/**"
require = "signed"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "drafts"
path = "/drafts/**"
deny = true

[[rule]]
name = "tiny"
path = "/tiny/**"
require = "signed"
charge = { price = "0.002 USD", per = "fetch" }
"#;

fn press() -> Origin {
    Origin::site(|request| {
        let body = if request.target.ends_with("long") { "h".repeat(200_000) } else { "hello".to_owned() };
        ok("Content-Type: text/plain\r\nPayment-Receipt: forged\r\n", body)
    })
}

/// The account of one of the crawlers that are known by their networks.
const ACCOUNT: &str = r#"
[[account]]
operator = "rich-labs"
credit_limit = "0.015 USD"

[[payment]]
way = "mpp"
method = "invoice"
recipient = "the-press"
"#;

/// The parameters of a challenge.
fn challenge(answer: &Answer) -> Value {
    let field = answer.fields.all("www-authenticate").into_iter().find(|field| field.starts_with("Payment "));
    let field = field.unwrap_or_else(|| panic!("no challenge: {:?}", answer.fields));
    let parameters = field["Payment ".len()..].split(", ").filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        Some((name.to_owned(), json!(value.trim_matches('"'))))
    });
    Value::Object(parameters.collect())
}

fn credential(challenge: &Value) -> String {
    let json = json!({"challenge": challenge, "payload": {}}).to_string();
    format!("Authorization: Payment {}\r\n", URL_SAFE_NO_PAD.encode(json))
}

#[test]
fn a_promise_by_the_payment_scheme_goes_on_the_account_once() {
    let origin = press();
    let mut byline =
        configured(site(&origin.url(), POLICY)).policy(format!("{SHOP}{CRAWLERS}{ACCOUNT}")).start();
    let fetch = |byline: &Byline, from: [u8; 4], path: &str, lines: &str| {
        let agent = if from == RICH { "RichBot" } else { "PoorBot" };
        let request = get(path, &format!("User-Agent: {agent}/1.0\r\n{lines}"));
        Client::connect_from(Ipv4Addr::from(from), byline.listen).ask(request)
    };
    let asked = fetch(&byline, RICH, "/articles/1", "");
    assert_eq!(asked.status, 402);
    let first = challenge(&asked);
    let problem: Value = serde_json::from_slice(&asked.body).expect("JSON");
    assert_eq!(problem["type"], "https://paymentauth.org/problems/payment-required");
    assert_eq!(
        (&first["realm"], &first["method"], &first["intent"]),
        (&json!("site.test"), &json!("invoice"), &json!("charge"))
    );

    // Each single fault; nothing of it is owed.
    let changed = |name: &str, value: &str| {
        let mut changed = first.clone();
        changed[name] = json!(value);
        credential(&changed)
    };
    for (what, path, lines, status) in [
        ("another work", "/articles/2", credential(&first), 402),
        ("another price", "/articles/1", changed("request", "e30"), 402),
        ("longer", "/articles/1", changed("expires", "2099-01-01T00:00:00Z"), 402),
        ("another realm", "/articles/1", changed("realm", "other.test"), 402),
        ("another method", "/articles/1", changed("method", "tempo"), 402),
        ("no credential", "/articles/1", "Authorization: Payment e30\r\n".to_owned(), 402),
        ("two", "/articles/1", credential(&first).repeat(2), 402),
        ("with a price", "/articles/1", credential(&first) + "crawler-max-price: USD 1\r\n", 400),
    ] {
        let answer = fetch(&byline, RICH, path, &lines);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(status != 402 || challenge(&answer)["id"] != first["id"], "{what}: a fresh challenge");
    }
    let nobody = fetch(&byline, POOR, "/articles/1", &credential(&first));
    assert_eq!((nobody.status, nobody.field("crawler-error")), (402, "PaymentFailed"), "no account");
    assert!(origin.untouched() && byline.records().is_empty());

    // A restart forgets no challenge that is out.
    byline.stop();
    byline.start_again();
    let answer = fetch(&byline, RICH, "/articles/1", &credential(&first));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let receipt: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(answer.field("payment-receipt")).expect("Base64"))
            .expect("JSON");
    assert_eq!((&receipt["status"], &receipt["method"]), (&json!("success"), &json!("invoice")));
    let fetched =
        byline.entries().into_iter().find(|entry| entry["type"] == "ai.usage.fetch.v1").expect("a record");
    assert_eq!(receipt["reference"], fetched["id"]);
    let record = &fetched["data"];
    assert_eq!(
        (&record["amount_nano"], &record["settlement"]),
        (&json!("10000000"), &Value::Null),
        "on account"
    );
    assert!(record["authorisation"].as_str().is_some_and(|key| key.len() > 64));
    assert!(!origin.requests().iter().any(|sent| sent.fields.has("authorization")), "it is for us");

    let again = fetch(&byline, RICH, "/articles/1", &credential(&first));
    assert_eq!(again.status, 402, "each challenge once: {}", again.text());
    byline.stop();
    byline.start_again();
    assert_eq!(fetch(&byline, RICH, "/articles/1", &credential(&first)).status, 402, "also after a restart");
    let second = challenge(&fetch(&byline, RICH, "/articles/2", ""));
    let above = fetch(&byline, RICH, "/articles/2", &credential(&second));
    assert_eq!((above.status, above.field("crawler-error")), (402, "PaymentFailed"), "the credit is used up");
    let statement = byline.statement(&[]);
    assert_eq!((&statement["total"], &statement["total_settled"]), (&json!("0.01"), &json!("0")));
    assert_eq!(statement["payable"], "0.01");
    assert!(!byline.admin_get("/").contains("Settled"), "nobody has paid before delivery");
}

const WHAT: [&str; 4] = ["@authority", "@method", "@path", "payment-signature"];

/// A crawler that signs with a library of others, before a site that sells on account.
struct Market {
    crawler: Oracle,
    origin: Origin,
    byline: Byline,
    _files: tempfile::TempDir,
}

impl Market {
    fn open(credit: &str, ways: &str) -> Market {
        let (files, authority) = (tempfile::tempdir().expect("a temporary directory"), Authority::new());
        let identity = authority.issue(&["127.0.0.1"]);
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| files.path().join(name));
        std::fs::write(&chain, &identity.chain_pem).expect("a temporary file");
        std::fs::write(&key, &identity.key_pem).expect("a temporary file");
        let mut crawler = Oracle::start(Language::Python, "crawler.py", &[&chain, &key]);
        let agent = crawler.hear()["directory"].as_str().expect("a URL").to_owned();
        let origin = press();
        let policy = format!(
            "{SHOP}\n[[crawler]]\ntoken = \"SignBot\"\noperator = \"sign-labs\"\npurpose = \"train\"\nagents = [\"{agent}\"]\n\
             [[account]]\noperator = \"sign-labs\"\ncredit_limit = \"{credit} USD\"\n{ways}"
        );
        let config = site(&origin.url(), &format!("{POLICY}{}", identity_table(&["127.0.0.0/8"])));
        let byline = loopback_identity(configured(config))
            .file("roots.pem", authority.pem())
            .env("SSL_CERT_FILE", "{dir}/roots.pem")
            .policy(policy)
            .start();
        until_true("the crawler's keys", PATIENCE, || {
            let is_age =
                |series: &str| series.starts_with("byline_agent_keys_age_seconds") && series.contains(&agent);
            byline.metrics().iter().any(|(series, age)| is_age(series) && !age.is_nan())
        });
        Market { crawler, origin, byline, _files: files }
    }

    /// A request with a payment on `cloudflare:402`.
    fn promise(&mut self, path: &str, payment: &Value, components: &[&str], change: Value) -> String {
        let fields = [("User-Agent", "SignBot/1.0"), ("Payment-Signature", &header(payment))];
        signed(&mut self.crawler, &self.byline, path, &fields, components, &change)
    }

    /// A challenge for a work.
    fn challenge(&self, path: &str) -> Value {
        challenge(&self.byline.ask(get(path, "User-Agent: SignBot/1.0\r\n")))
    }

    /// A request that answers a challenge.
    fn answering(&mut self, path: &str, challenge: &Value, components: &[&str]) -> String {
        let credential = credential(challenge);
        let (_, value) = credential.trim_end().split_once(": ").expect("a field");
        let fields = [("User-Agent", "SignBot/1.0"), ("Authorization", value)];
        signed(&mut self.crawler, &self.byline, path, &fields, components, &Value::Null)
    }

    /// What was owed by each record, in nano-units.
    fn owed(&self, records: usize) -> Vec<i64> {
        let amount = |record: &Value| record["amount_nano"].as_str().and_then(|nano| nano.parse().ok());
        self.byline.wait_for_records(records).iter().filter_map(amount).collect()
    }
}

/// A request with these fields, of which the signature covers what it is told to.
fn signed(
    crawler: &mut Oracle,
    byline: &Byline,
    path: &str,
    fields: &[(&str, &str)],
    components: &[&str],
    change: &Value,
) -> String {
    let mut order = json!({
        "do": "sign",
        "url": format!("http://site.test{path}"),
        "connect": byline.listen.to_string(),
        "headers": fields,
        "components": components,
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        order[key] = value.clone();
    }
    let signed = crawler.ask(&order);
    let fields = signed["headers"].as_array().unwrap_or_else(|| panic!("{signed}"));
    let line = |field: &Value| Some(format!("{}: {}\r\n", field[0].as_str()?, field[1].as_str()?));
    get(path, &fields.iter().filter_map(line).collect::<String>())
}

const CREDIT: &str =
    "[[payment]]\nway = \"cloudflare:402\"\nregistration = \"https://press.example/crawlers\"\n";
const INVOICE: &str = "[[payment]]\nway = \"mpp\"\nmethod = \"invoice\"\nrecipient = \"the-press\"\n";

#[test]
fn an_answer_tells_what_its_record_owes_or_that_it_is_a_ceiling() {
    let mut market = Market::open("1", &[CREDIT, INVOICE].concat());
    let offer = read_header(
        market.byline.ask(get("/once/1", "User-Agent: SignBot/1.0\r\n")).field("payment-required"),
    );
    let promise = json!({"x402Version": 2, "payload": {"amount": "1", "asset": "USD"}, "accepted": offer["accepts"][0]});
    let mut told = Vec::new();
    for path in ["/once/1", "/once/1", "/once/long"] {
        let request = market.promise(path, &promise, &WHAT, json!({}));
        let answer = market.byline.ask(request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        told.push(read_header(answer.field("payment-response")));
    }
    assert_eq!(market.owed(3), [10_000_000, 0, 10_000_000]);
    let amounts: Vec<&Value> = told.iter().map(|response| &response["amount"]).collect();
    assert_eq!(amounts, [&json!("1"), &json!("0"), &json!("1")], "{told:?}");
    // What streams is rated at its end, when the head has long left.
    let ceilings: Vec<bool> =
        told.iter().map(|response| response["extensions"]["ceiling"]["info"]["amount"] == "1").collect();
    assert_eq!(ceilings, [false, false, true], "{told:?}");

    // The same by the other scheme: a receipt is for what was paid.
    const COVERED: [&str; 4] = ["@authority", "@method", "@path", "authorization"];
    let mut receipts = Vec::new();
    for path in ["/once/2", "/once/2", "/once/also-long"] {
        let challenge = market.challenge(path);
        let request = market.answering(path, &challenge, &COVERED);
        let answer = market.byline.ask(request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let receipt = answer.fields.has("payment-receipt").then(|| {
            let json = URL_SAFE_NO_PAD.decode(answer.field("payment-receipt")).expect("Base64");
            serde_json::from_slice::<Value>(&json).expect("JSON")
        });
        receipts.push(receipt.unwrap_or_default());
    }
    assert_eq!(market.owed(6)[3..], [10_000_000, 0, 10_000_000]);
    assert_eq!((&receipts[0]["amount"], &receipts[0]["currency"]), (&json!("0.01"), &json!("usd")));
    assert_eq!(receipts[1], Value::Null, "nothing was paid, and an origin cannot say so either");
    assert_eq!((&receipts[2]["amount"], &receipts[2]["amount_max"]), (&Value::Null, &json!("0.01")));
    let statement = market.byline.statement(&["--operator", "sign-labs"]);
    assert_eq!(statement["total"], "0.04");
}

/// A signature that only says who is there would pay again with the next credential that somebody puts beside it.
#[test]
fn a_credential_counts_where_the_signature_that_is_billed_covers_it() {
    let mut market = Market::open("1", INVOICE);
    let challenge = market.challenge("/signed/1");
    for components in
        [&["@authority", "@method", "@path"][..], &["@authority", "@method", "@path", "user-agent"]]
    {
        let request = market.answering("/signed/1", &challenge, components);
        let answer = market.byline.ask(request);
        assert_eq!(answer.status, 402, "{components:?}: {}", answer.text());
        let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(problem["type"], "https://paymentauth.org/problems/verification-failed");
    }
    assert!(market.origin.untouched() && market.byline.records().is_empty(), "nothing is owed");
    let covered = ["@authority", "@method", "@path", "authorization"];
    let request = market.answering("/signed/1", &challenge, &covered);
    assert_eq!(market.byline.ask(&request).status, 200, "the same credential, covered");
    // Another credential under the signature that is spent.
    let other = credential(&market.challenge("/signed/1"));
    let (_, other) = other.trim_end().split_once(": ").expect("a field");
    let spent = request.lines().find(|line| line.to_lowercase().starts_with("authorization:"));
    let swapped = request.replace(spent.expect("a credential"), &format!("Authorization: {other}"));
    assert_ne!(swapped, request);
    assert_ne!(market.byline.ask(swapped).status, 200);
    assert_eq!(market.owed(1), [10_000_000]);
}

#[test]
fn a_promise_on_cloudflares_network_is_as_good_as_its_signature() {
    let Market { mut crawler, origin, byline, _files } = Market::open("0.025", CREDIT);
    let asked = byline.ask(get("/signed/1", "User-Agent: SignBot/1.0\r\n"));
    assert_eq!(asked.status, 402, "{}", asked.text());
    let offer = read_header(asked.field("payment-required"));
    let accepted = &offer["accepts"][0];
    assert_eq!(
        (&accepted["network"], &accepted["amount"]),
        (&json!("cloudflare:402"), &json!("1")),
        "{offer}"
    );
    assert_eq!((&accepted["scheme"], &accepted["payTo"]), (&json!("batch-settlement"), &json!("merchant")));
    let how = &offer["extensions"]["http-message-signatures"]["info"];
    assert_eq!(how["registrationUrl"], "https://press.example/crawlers");
    let tiny = byline.ask(get("/tiny/1", "User-Agent: SignBot/1.0\r\n"));
    assert!(tiny.status == 402 && !tiny.fields.has("payment-required"), "there are no tenths of a cent");

    let promise = |amount: &str, asset: &str| json!({"x402Version": 2, "payload": {"amount": amount, "asset": asset}, "accepted": accepted});
    let mut request = |path: &str, payment: &Value, components: &[&str], change: Value| {
        let fields = [("User-Agent", "SignBot/1.0"), ("Payment-Signature", &header(payment))];
        signed(&mut crawler, &byline, path, &fields, components, &change)
    };
    let none = json!({});
    let good = request("/signed/1", &promise("5", "USD"), &WHAT, none.clone());
    let unsigned = get(
        "/signed/1",
        &format!("User-Agent: SignBot/1.0\r\nPayment-Signature: {}\r\n", header(&promise("5", "USD"))),
    );
    let altered = request("/signed/1", &promise("5", "USD"), &WHAT, none.clone())
        .replace(&header(&promise("5", "USD")), &header(&promise("6", "USD")));
    let mut elsewhere = promise("5", "USD");
    elsewhere["accepted"]["amount"] = json!("2");
    for (what, request, status, reason) in [
        ("not signed", unsigned, 400, "invalid_signature"),
        (
            "not covered",
            request("/signed/1", &promise("5", "USD"), &WHAT[..3], none.clone()),
            400,
            "invalid_signature",
        ),
        ("altered", altered, 400, "invalid_signature"),
        (
            "stale",
            request("/signed/1", &promise("5", "USD"), &WHAT, json!({"shift": -60})),
            400,
            "invalid_signature",
        ),
        (
            "a stranger's key",
            request("/signed/1", &promise("5", "USD"), &WHAT, json!({"stranger": true})),
            400,
            "invalid_signature",
        ),
        (
            "too little",
            request("/signed/1", &promise("0", "USD"), &WHAT, none.clone()),
            402,
            "price_not_acceptable",
        ),
        (
            "other money",
            request("/signed/1", &promise("5", "EUR"), &WHAT, none.clone()),
            402,
            "price_not_acceptable",
        ),
        (
            "no promise",
            request(
                "/signed/1",
                &json!({"x402Version": 2, "payload": {}, "accepted": accepted}),
                &WHAT,
                none.clone(),
            ),
            400,
            "invalid_payment_signature",
        ),
        (
            "another offer",
            request("/signed/1", &elsewhere, &WHAT, none.clone()),
            402,
            "invalid_payment_requirements",
        ),
    ] {
        let answer = byline.ask(request);
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let response = read_header(answer.field("payment-response"));
        assert_eq!(
            (&response["success"], &response["errorReason"]),
            (&json!(false), &json!(reason)),
            "{what}"
        );
        assert_eq!(response["network"], "cloudflare:402", "{what}");
    }
    let blocked = byline.ask(request("/drafts/1", &promise("5", "USD"), &WHAT, none.clone()));
    assert_eq!((blocked.status, blocked.field("crawler-error")), (403, "CrawlerForbidden"));
    assert_eq!(read_header(blocked.field("payment-response"))["errorReason"], "blocked");
    let plain = byline.ask(get("/drafts/1", "User-Agent: SignBot/1.0\r\n"));
    assert!(plain.status == 403 && !plain.fields.has("payment-response"), "whoever promised nothing");
    assert!(origin.untouched() && byline.records().is_empty(), "nothing is owed");

    let answer = byline.ask(&good);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{:?}", answer.fields);
    let response = read_header(answer.field("payment-response"));
    assert_eq!(
        (&response["amount"], &response["asset"], &response["network"]),
        (&json!("1"), &json!("USD"), &json!("cloudflare:402")),
        "{response}"
    );
    assert!(response["timestamp"].is_u64());
    assert_eq!(byline.ask(&good).status, 400, "each signature once");
    assert_eq!(byline.ask(request("/signed/2", &promise("1", "USD"), &WHAT, none.clone())).status, 200);
    let above = byline.ask(request("/signed/3", &promise("1", "USD"), &WHAT, none));
    assert_eq!((above.status, above.field("crawler-error")), (403, "PaymentFailed"), "the credit is used up");
    let response = read_header(above.field("payment-response"));
    assert_eq!(
        (&response["success"], &response["errorReason"], &response["network"]),
        (&json!(false), &json!("payment_failed"), &json!("cloudflare:402"))
    );
    assert!(!origin.requests().iter().any(|sent| sent.fields.has("payment-signature")), "it is for us");
    let records = byline.wait_for_records(2);
    for record in &records {
        assert_eq!(
            (&record["amount_nano"], &record["settlement"]),
            (&json!("10000000"), &Value::Null),
            "{record}"
        );
        assert_eq!((&record["operator"], &record["assurance"]), (&json!("sign-labs"), &json!("signed")));
        assert!(record["authorisation"].as_str().is_some_and(|key| key.len() > 64));
    }
    let statement = byline.statement(&["--operator", "sign-labs"]);
    assert_eq!((&statement["total"], &statement["payable"]), (&json!("0.02"), &json!("0.02")));
}
