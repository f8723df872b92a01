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
name = "tiny"
path = "/tiny/**"
require = "signed"
charge = { price = "0.002 USD", per = "fetch" }
"#;

fn press() -> Origin {
    Origin::site(|_| ok("Content-Type: text/plain\r\n", "hello"))
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
}

#[test]
fn a_promise_on_cloudflares_network_is_as_good_as_its_signature() {
    const WHAT: [&str; 4] = ["@authority", "@method", "@path", "payment-signature"];
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
         [[account]]\noperator = \"sign-labs\"\ncredit_limit = \"0.025 USD\"\n\
         [[payment]]\nway = \"cloudflare:402\"\nregistration = \"https://press.example/crawlers\"\n"
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
        let mut order = json!({
            "do": "sign",
            "url": format!("http://site.test{path}"),
            "connect": byline.listen.to_string(),
            "headers": [["User-Agent", "SignBot/1.0"], ["Payment-Signature", header(payment)]],
            "components": components,
        });
        for (key, value) in change.as_object().expect("an object") {
            order[key] = value.clone();
        }
        let signed = crawler.ask(&order);
        let fields = signed["headers"].as_array().unwrap_or_else(|| panic!("{signed}"));
        let line = |field: &Value| Some(format!("{}: {}\r\n", field[0].as_str()?, field[1].as_str()?));
        get(path, &fields.iter().filter_map(line).collect::<String>())
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
        assert_eq!(read_header(answer.field("payment-response"))["errorReason"], reason, "{what}");
    }
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
