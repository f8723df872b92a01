//! Payments that come with a request (x402): what is offered, what is taken, and that a payment buys one delivery.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use e2e::chain::{
    ASSET, Facilitator, Fault, NETWORK, NETWORK_V1, PAY_TO, Payer, header, hex, now, read_header,
};
use e2e::config::{POLICY, POOR, site};
use e2e::licences::{self, Desk};
use e2e::paid::{AGENT, Dialect, PRICE, SHOP, agree, ask, offering, pay, press, required, shop, x402};
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, configured, get};
use serde_json::{Value, json};

/// Runs the paying client of others.
fn client_of_others(byline: &Byline, path: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/node/pay.mjs");
    let url = format!("http://{}{path}", byline.listen);
    let said = Command::new("node").args([script, &url, &hex(&[0x11; 32]), "PayBot/1.0"]).output();
    let said = said.expect("node; `make deps` installs it");
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{error}\n(`make deps` installs what it needs)");
    serde_json::from_slice(&said.stdout).expect("JSON")
}

#[test]
fn a_client_of_others_pays_by_both_versions() {
    for (versions, version) in [("[1, 2]", 2), ("[1]", 1)] {
        let (origin, facilitator) = (press(), Facilitator::start());
        let byline = shop(&origin, &facilitator, &x402(&format!("versions = {versions}")));
        let said = client_of_others(&byline, "/articles/1");
        assert_eq!(said["status"], 200, "{said}");
        assert_eq!(said["statuses"], json!([402, 200]), "{said}");
        assert_eq!(said["body"], "hello");
        assert_eq!(said["version"], version);
        assert_eq!(said["settlement"]["success"], true, "{said}");
        let network = if version == 1 { "base-sepolia" } else { NETWORK };
        assert_eq!(said["settlement"]["network"], network);
        assert!(said["settlement"]["transaction"].as_str().is_some_and(|hash| hash.len() == 66), "{said}");
        assert_eq!((facilitator.total(), facilitator.verified()), (PRICE, 1));

        let record = &byline.wait_for_records(1)[0];
        let transaction = said["settlement"]["transaction"].as_str().unwrap_or_default();
        assert_eq!(record["settlement"], format!("x402 {NETWORK} {transaction}"), "{record}");
        assert_eq!(record["amount_nano"], "10000000");
        assert_eq!(record["assurance"], "claimed", "who pays at once need not be known");
        agree(&byline, &facilitator);
        let statement = byline.statement(&[]);
        let by = json!([{"way": format!("x402 {NETWORK}"), "fetches": 1, "amount": "0.01"}]);
        assert_eq!(statement["settled_by"], by);
        let page = byline.admin_get("/");
        let paid = "<td class=\"name\">pay-labs</td><td class=\"n\">0.01 USD</td><td class=\"n\">0 USD</td>";
        assert!(page.contains("<span>Settled</span><b>0.01 USD</b>") && page.contains(paid), "{page}");
        // What is ours to take does not reach the origin, and an origin does not say what was paid.
        let sent = origin.requests();
        assert!(
            sent.iter().all(|sent| !sent.fields.has("payment-signature") && !sent.fields.has("x-payment"))
        );
    }
}

#[test]
fn what_is_offered_is_what_would_be_taken() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let answer = ask(&byline, "/articles/1", "");
    let offer = read_header(answer.field("payment-required"));
    assert_eq!(offer["resource"]["url"], "http://site.test/articles/1", "{offer}");
    assert_eq!(offer["accepts"][0]["amount"], "10000");
    assert_eq!(offer["accepts"][0]["payTo"], PAY_TO);
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&body["x402Version"], &body["status"]), (&json!(1), &json!(402)), "both can read it: {body}");
    assert_eq!(body["accepts"][0]["maxAmountRequired"], "10000");
    assert_eq!(answer.field("crawler-price"), "USD 0.01");
    assert!(answer.field("cache-control").contains("no-store"));
    let fields: usize = answer.head.len();
    assert!(fields < 2_048, "{fields} bytes of head: {}", String::from_utf8_lossy(&answer.head));

    // Not in the token's unit, not known beforehand, not without a signature, not at all.
    for (path, status) in [("/tiny/1", 402), ("/volumes/1", 402), ("/signed/1", 402), ("/drafts/1", 403)] {
        let answer = ask(&byline, path, "");
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(!answer.fields.has("payment-required"), "{path}: {:?}", answer.fields);
        assert!(!answer.text().contains("x402Version"), "{path}: {}", answer.text());
    }
    // People hear nothing of it.
    let answer = byline.ask(get("/articles/1", "User-Agent: Mozilla/5.0 Firefox/140.0\r\n"));
    assert_eq!(answer.status, 200);
    assert!(!String::from_utf8_lossy(&answer.head).to_lowercase().contains("payment-required"));
}

#[test]
fn one_answer_speaks_to_every_client() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let desk = Desk::new();
    let tables = format!("{POLICY}{}[x402]\nfacilitator = \"{}\"\n", desk.config(), facilitator.url());
    let config = site(&origin.url(), &tables);
    let credit = "[[payment]]\nway = \"cloudflare:402\"\nregistration = \"https://press.example/crawlers\"\n";
    let mpp = "[[payment]]\nway = \"mpp\"\nmethod = \"invoice\"\nrecipient = \"the-press\"\n";
    let byline = configured(config).policy(format!("{}{}{credit}{mpp}", licences::POLICY, x402(""))).start();
    let answer = wait::until("an offer of all ways", PATIENCE, || {
        let request = get("/paid/1", "User-Agent: PoorBot/1.0\r\n");
        let answer = Client::connect_from(Ipv4Addr::from(POOR), byline.listen).ask(request);
        answer.text().contains("x402Version").then_some(answer)
    });
    assert_eq!(answer.status, 402);
    assert_eq!(answer.field("crawler-price"), "USD 0.5");
    let challenges = answer.fields.all("www-authenticate");
    for scheme in ["License ", "Payment "] {
        let count = challenges.iter().filter(|challenge| challenge.starts_with(scheme)).count();
        assert_eq!(count, 1, "{scheme}: {challenges:?}");
    }
    let offer = read_header(answer.field("payment-required"));
    let amounts: Vec<&Value> =
        offer["accepts"].as_array().expect("ways").iter().map(|way| &way["amount"]).collect();
    assert_eq!(amounts, [&json!("500000"), &json!("50")], "{offer}");
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&body["x402Version"], &body["code"]), (&json!(1), &json!("payment-required")), "{body}");
    assert_eq!(body["type"], "https://paymentauth.org/problems/payment-required");
    let head = String::from_utf8_lossy(&answer.head).into_owned();
    assert!(answer.head.len() < 2_048, "{} bytes:\n{head}", answer.head.len());
    // Nobody else hears of any of it.
    for agent in ["Mozilla/5.0 Firefox/140.0", "Googlebot/2.1"] {
        let answer = byline.ask(get("/paid/1", &format!("User-Agent: {agent}\r\n")));
        let head = String::from_utf8_lossy(&answer.head).to_lowercase();
        assert_eq!(answer.status, 200, "{agent}");
        assert!(!head.contains("payment-required") && !head.contains("www-authenticate"), "{agent}: {head}");
    }
}

#[test]
fn each_single_fault_is_refused_and_nothing_moves() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payer = Payer::new(0x11);
    let offer = required(&byline, "/articles/1");
    let accepted = &offer["accepts"][0];
    let mut nonce = 0;
    let mut signed = |change: fn(&mut Value)| {
        nonce += 1;
        let mut authorization = payer.authorization(accepted, nonce);
        change(&mut authorization);
        let mut payment = payer.pays(&offer, nonce);
        payment["payload"] =
            json!({"signature": payer.sign(accepted, &authorization), "authorization": authorization});
        payment
    };
    let with = |mut payment: Value, path: &str, value: Value| {
        *payment.pointer_mut(path).expect("a member") = value;
        payment
    };
    let mut other_key = signed(|_| {});
    other_key["payload"]["signature"] =
        json!(Payer::new(0x22).sign(accepted, &other_key["payload"]["authorization"]));
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        (
            "less",
            signed(|a| a["value"] = json!("9999")),
            402,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            "more",
            signed(|a| a["value"] = json!("10001")),
            402,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            "to another",
            signed(|a| a["to"] = json!(ASSET)),
            402,
            "invalid_exact_evm_payload_recipient_mismatch",
        ),
        (
            "over",
            signed(|a| a["validBefore"] = json!((now() - 1).to_string())),
            402,
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            "not yet",
            signed(|a| a["validAfter"] = json!((now() + 30).to_string())),
            402,
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        ("by another key", other_key, 402, "invalid_exact_evm_payload_signature"),
        (
            "altered after it was signed",
            with(signed(|_| {}), "/payload/authorization/validAfter", json!("1")),
            402,
            "invalid_exact_evm_payload_signature",
        ),
        (
            "another network",
            with(signed(|_| {}), "/accepted/network", json!("eip155:8453")),
            402,
            "invalid_network",
        ),
        (
            "another token",
            with(signed(|_| {}), "/accepted/asset", json!(PAY_TO)),
            402,
            "invalid_payment_requirements",
        ),
        (
            "another amount accepted",
            with(signed(|_| {}), "/accepted/amount", json!("1")),
            402,
            "invalid_payment_requirements",
        ),
        (
            "another scheme",
            with(signed(|_| {}), "/accepted/scheme", json!("upto")),
            402,
            "unsupported_scheme",
        ),
        (
            "another resource",
            with(signed(|_| {}), "/resource/url", json!("http://site.test/articles/2")),
            402,
            "invalid_payment_requirements",
        ),
        ("another version", with(signed(|_| {}), "/x402Version", json!(1)), 402, "invalid_x402_version"),
        (
            "no authorization",
            with(signed(|_| {}), "/payload/authorization", json!(1)),
            400,
            "invalid_payload",
        ),
    ];
    for (what, payment, status, reason) in &cases {
        let answer = pay(&byline, "/articles/1", payment);
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        let result = read_header(answer.field("payment-response"));
        assert_eq!((&result["success"], &result["errorReason"]), (&json!(false), &json!(reason)), "{what}");
        assert_eq!(
            answer.fields.has("payment-required"),
            *status == 402,
            "{what}: a fresh offer with each 402"
        );
    }
    for value in ["", "%%%", "bnVsbA==", &"A".repeat(20_000)] {
        let answer = ask(&byline, "/articles/1", &format!("Payment-Signature: {value}\r\n"));
        assert_eq!(answer.status, 400, "{value:.20}: {}", answer.text());
    }
    let two = format!("Payment-Signature: {0}\r\nX-Payment: {0}\r\n", header(&signed(|_| {})));
    assert_eq!(ask(&byline, "/articles/1", &two).status, 400);

    // Made for one work, presented for others: what was offered here is not what it accepts, or it is taken already.
    let payment = signed(|_| {});
    assert_eq!(pay(&byline, "/articles/2", &payment).status, 402, "its resource is another");
    let elsewhere = get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
    assert_eq!(byline.ask(elsewhere.replace("site.test", "other.test")).status, 402, "another host");
    assert_eq!(
        (facilitator.asked(), facilitator.transfers()),
        (0, 0),
        "nobody was asked to settle any of it"
    );
    assert!(origin.untouched(), "and the origin knows of none");

    // The same authorization without naming its resource, as version 2 allows: bound by what it bought first.
    let mut unnamed = signed(|_| {});
    unnamed.as_object_mut().expect("an object").remove("resource");
    assert_eq!(pay(&byline, "/articles/1", &unnamed).status, 200);
    for path in ["/articles/1", "/articles/2"] {
        let answer = pay(&byline, path, &unnamed);
        assert_eq!(answer.status, 402, "{path}: {}", answer.text());
    }
    // Another authorization under a nonce that is used.
    let mut again = payer.authorization(accepted, 77);
    again["nonce"] = unnamed["payload"]["authorization"]["nonce"].clone();
    again["validAfter"] = json!("5");
    let mut reused = payer.pays(&offer, 77);
    reused["payload"] = json!({"signature": payer.sign(accepted, &again), "authorization": again});
    let answer = pay(&byline, "/articles/1", &reused);
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(read_header(answer.field("payment-response"))["errorReason"], "invalid_transaction_state");
    assert_eq!((facilitator.transfers(), facilitator.total()), (1, PRICE));
    agree(&byline, &facilitator);
}

#[test]
fn each_single_fault_of_version_1_is_refused_and_nothing_moves() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let (v1, payer) = (Dialect::V1, Payer::new(0x11));
    let offer = v1.offer_of(&ask(&byline, "/articles/1", ""));
    let accepted = &offer["accepts"][0];
    let mut nonce = 0;
    let mut signed = |change: fn(&mut Value)| {
        nonce += 1;
        let mut authorization = payer.authorization(accepted, nonce);
        change(&mut authorization);
        let mut payment = payer.pays_v1(&offer, nonce);
        payment["payload"] =
            json!({"signature": payer.sign(accepted, &authorization), "authorization": authorization});
        payment
    };
    let with = |mut payment: Value, path: &str, value: Value| {
        *payment.pointer_mut(path).expect("a member") = value;
        payment
    };
    let without = |mut payment: Value, name: &str| {
        payment.as_object_mut().expect("an object").remove(name);
        payment
    };
    let mut other_key = signed(|_| {});
    other_key["payload"]["signature"] =
        json!(Payer::new(0x22).sign(accepted, &other_key["payload"]["authorization"]));
    let mut other_token = signed(|_| {});
    let elsewhere = json!({"asset": PAY_TO, "extra": accepted["extra"]});
    other_token["payload"]["signature"] =
        json!(payer.sign(&elsewhere, &other_token["payload"]["authorization"]));
    let value = "invalid_exact_evm_payload_authorization_value";
    let signature = "invalid_exact_evm_payload_signature";
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        ("less", signed(|a| a["value"] = json!("9999")), 402, value),
        ("more", signed(|a| a["value"] = json!("10001")), 402, value),
        (
            "to another",
            signed(|a| a["to"] = json!(ASSET)),
            402,
            "invalid_exact_evm_payload_recipient_mismatch",
        ),
        (
            "over",
            signed(|a| a["validBefore"] = json!((now() - 1).to_string())),
            402,
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            "not yet",
            signed(|a| a["validAfter"] = json!((now() + 30).to_string())),
            402,
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        ("by another key", other_key, 402, signature),
        ("for another token", other_token, 402, signature),
        (
            "altered after it was signed",
            with(signed(|_| {}), "/payload/authorization/validAfter", json!("1")),
            402,
            signature,
        ),
        ("another network", with(signed(|_| {}), "/network", json!("base")), 402, "invalid_network"),
        ("a network of version 2", with(signed(|_| {}), "/network", json!(NETWORK)), 402, "invalid_network"),
        ("another scheme", with(signed(|_| {}), "/scheme", json!("upto")), 402, "unsupported_scheme"),
        ("another version", with(signed(|_| {}), "/x402Version", json!(2)), 402, "invalid_x402_version"),
        ("no version", without(signed(|_| {}), "x402Version"), 402, "invalid_x402_version"),
        ("no scheme", without(signed(|_| {}), "scheme"), 400, "invalid_payload"),
        ("no payload", without(signed(|_| {}), "payload"), 400, "invalid_payload"),
        (
            "no authorization",
            with(signed(|_| {}), "/payload/authorization", json!(1)),
            400,
            "invalid_payload",
        ),
        (
            "a payment of version 2",
            payer.pays(&required(&byline, "/articles/1"), 99),
            402,
            "invalid_x402_version",
        ),
    ];
    for (what, payment, status, reason) in &cases {
        let answer = v1.pay(&byline, "/articles/1", payment);
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        let result = v1.result(&answer);
        assert_eq!((&result["success"], &result["errorReason"]), (&json!(false), &json!(reason)), "{what}");
        assert!(!answer.fields.has("payment-response"), "{what}: told in the version's own header");
        assert_eq!(v1.is_offered(&answer), *status == 402, "{what}: a fresh offer with each 402");
        assert!(!answer.text().contains("hello"), "{what}");
    }
    for value in ["", "%%%", "bnVsbA==", &"A".repeat(20_000)] {
        let answer = ask(&byline, "/articles/1", &format!("X-Payment: {value}\r\n"));
        assert_eq!(answer.status, 400, "{value:.20}: {}", answer.text());
    }
    let twice = v1.line(&signed(|_| {})).repeat(2);
    assert_eq!(ask(&byline, "/articles/1", &twice).status, 400);
    assert_eq!(
        (facilitator.asked(), facilitator.transfers()),
        (0, 0),
        "nobody was asked to settle any of it"
    );
    assert!(origin.untouched() && byline.records().is_empty(), "and the origin knows of none");

    // A payment of version 1 names no resource: bound by what it bought first, in whichever version it comes again.
    let good = signed(|_| {});
    let answer = v1.pay(&byline, "/articles/1", &good);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let result = v1.result(&answer);
    assert_eq!((&result["success"], &result["network"]), (&json!(true), &json!(NETWORK_V1)), "{result}");
    for path in ["/articles/1", "/articles/2"] {
        let answer = v1.pay(&byline, path, &good);
        assert_eq!(answer.status, 402, "{path}: {}", answer.text());
    }
    let mut as_v2 = payer.pays(&required(&byline, "/articles/1"), 98);
    as_v2["payload"] = good["payload"].clone();
    assert_eq!(
        pay(&byline, "/articles/1", &as_v2).status,
        402,
        "the same authorization in the other version"
    );
    // Another authorization under a nonce that is used.
    let mut again = payer.authorization(accepted, 77);
    again["nonce"] = good["payload"]["authorization"]["nonce"].clone();
    again["validAfter"] = json!("5");
    let mut reused = payer.pays_v1(&offer, 77);
    reused["payload"] = json!({"signature": payer.sign(accepted, &again), "authorization": again});
    let answer = v1.pay(&byline, "/articles/1", &reused);
    assert_eq!(
        (answer.status, &v1.result(&answer)["errorReason"]),
        (402, &json!("invalid_transaction_state"))
    );
    assert_eq!((facilitator.transfers(), facilitator.total()), (1, PRICE));
    agree(&byline, &facilitator);
}

#[test]
fn a_thousand_replays_of_one_payment_buy_one_delivery() {
    // As many connections as fit under the usual limit of open files, twice each.
    const CONNECTIONS: usize = 500;
    const REPLAYS: usize = 2 * CONNECTIONS;
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
    let request = get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
    facilitator.set(Fault::Slow(Duration::from_millis(300)));
    let (start, delivered, refused) =
        (Barrier::new(CONNECTIONS), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let body = || {
                let mut client = Client::connect(byline.listen);
                start.wait();
                for _ in 0..REPLAYS / CONNECTIONS {
                    let answer = client.ask(&request);
                    match answer.status {
                        200 => delivered.fetch_add(1, Ordering::Relaxed),
                        // Under way elsewhere, used up, or too many at once.
                        503 | 402 | 429 => refused.fetch_add(1, Ordering::Relaxed),
                        status => panic!("{status}: {}", answer.text()),
                    };
                }
            };
            thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, body).expect("a thread");
        }
    });
    assert_eq!((delivered.into_inner(), refused.load(Ordering::Relaxed)), (1, REPLAYS - 1));
    assert_eq!((facilitator.asked(), facilitator.total()), (1, PRICE));
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(byline.wait_for_records(1).len(), 1);
    agree(&byline, &facilitator);
}

#[test]
fn what_is_no_work_costs_nothing_and_leaves_the_payment_good() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payer = Payer::new(0x11);
    for (number, (path, status)) in [
        ("/articles/gone", 404),
        ("/articles/broken", 500),
        ("/articles/same", 304),
        ("/articles/moved", 302),
    ]
    .into_iter()
    .enumerate()
    {
        let payment = payer.pays(&required(&byline, path), number as u64);
        for _ in 0..2 {
            let answer = pay(&byline, path, &payment);
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            assert!(!answer.fields.has("payment-response"), "{path}");
        }
    }
    let payment = payer.pays(&required(&byline, "/articles/1"), 9);
    let head = get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)))
        .replacen("GET", "HEAD", 1);
    let mut client = byline.client();
    client.send(head);
    assert_eq!(client.answer("HEAD").status, 200);
    assert_eq!((facilitator.asked(), facilitator.transfers()), (0, 0));
    assert_eq!(pay(&byline, "/articles/1", &payment).status, 200, "a HEAD used nothing up");
    // Whoever asks for nothing gets nothing: what is free stays free.
    let answer = pay(&byline, "/free", &payer.pays(&required(&byline, "/articles/1"), 10));
    assert_eq!(answer.status, 200);
    assert_eq!(facilitator.transfers(), 1);
    agree(&byline, &facilitator);
}

#[test]
fn a_payment_with_an_identifier_gets_the_same_answer_again() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402("identifier = \"required\""));
    let payer = Payer::new(0x11);
    let offer = required(&byline, "/articles/1");
    let named = |nonce: u64, id: &str| {
        let mut payment = payer.pays(&offer, nonce);
        payment["extensions"]["payment-identifier"]["info"]["id"] = json!(id);
        payment
    };
    assert_eq!(pay(&byline, "/articles/1", &payer.pays(&offer, 1)).status, 400, "required, and missing");
    assert_eq!(pay(&byline, "/articles/1", &named(2, "short")).status, 400);
    let first = named(3, "pay_7d5d747be160e280504c099d984bcfe0");
    for _ in 0..3 {
        let answer = pay(&byline, "/articles/1", &first);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!(read_header(answer.field("payment-response"))["success"], true);
    }
    let other = named(4, "pay_7d5d747be160e280504c099d984bcfe0");
    assert_eq!(pay(&byline, "/articles/1", &other).status, 409, "another payment of that name");
    assert_eq!((facilitator.asked(), facilitator.total()), (1, PRICE));
    agree(&byline, &facilitator);
}

#[test]
fn a_receipt_can_be_checked_by_others() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("receipts.pem").display().to_string();
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &key]).output();
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a key");
    let config = format!(
        "{}[x402]\nfacilitator = \"{}\"\nreceipt_key = \"{key}\"\nreceipt_kid = \"did:web:press.example#1\"\n\
         sign_offers = true\n",
        site(&origin.url(), POLICY),
        facilitator.url()
    );
    let byline = configured(config).policy(format!("{SHOP}{}", x402(""))).start();
    offering(&byline);
    let payer = Payer::new(0x11);
    let required = required(&byline, "/articles/1");
    let answer = pay(&byline, "/articles/1", &payer.pays(&required, 1));
    let response = read_header(answer.field("payment-response"));
    let receipt = &response["extensions"]["offer-receipt"]["info"]["receipt"];
    assert_eq!(receipt["format"], "jws", "{response}");
    let script = "const c = require('crypto'), fs = require('fs'); const [key, jws] = process.argv.slice(1);\
                  const [head, body, signature] = jws.split('.');\
                  const good = c.verify(null, Buffer.from(head + '.' + body), c.createPublicKey(fs.readFileSync(key)),\
                  Buffer.from(signature, 'base64url'));\
                  console.log(JSON.stringify([good, JSON.parse(Buffer.from(head, 'base64url')), JSON.parse(Buffer.from(body, 'base64url'))]));";
    let checked = |signed: &Value| -> Value {
        let jws = signed["signature"].as_str().expect("a JWS");
        let said = Command::new("node").args(["-e", script, &key, jws]).output().expect("node");
        serde_json::from_slice(&said.stdout).expect("JSON")
    };
    // What was offered is signed as well, and says what the offer says.
    let offered = &required["extensions"]["offer-receipt"]["info"]["offers"][0];
    let said = checked(offered);
    let accepted = &required["accepts"][0];
    assert_eq!(
        (&said[0], &offered["acceptIndex"], &said[2]["version"]),
        (&json!(true), &json!(0), &json!(1))
    );
    assert_eq!(said[2]["resourceUrl"], required["resource"]["url"], "{said}");
    for member in ["scheme", "network", "asset", "payTo", "amount"] {
        assert_eq!(said[2][member], accepted[member], "{member}");
    }
    let said = checked(receipt);
    assert_eq!(
        (&said[0], &said[1]),
        (&json!(true), &json!({"alg": "EdDSA", "kid": "did:web:press.example#1"}))
    );
    assert_eq!(said[2]["resourceUrl"], "http://site.test/articles/1");
    assert_eq!((&said[2]["network"], &said[2]["transaction"]), (&json!(NETWORK), &response["transaction"]));
    assert!(said[2]["payer"].as_str().is_some_and(|by| by.eq_ignore_ascii_case(&payer.address())), "{said}");
}

/// A sum has one currency: what was paid in another one stands in the tables, and nowhere under today's.
#[test]
fn the_summary_adds_up_one_currency() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Dialect::V2.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
    assert_eq!(pay(&byline, "/articles/1", &payment).status, 200);
    byline.wait_for_records(1);
    let earned = |byline: &Byline| {
        let summary: Value = serde_json::from_str(&byline.admin_get("/api/v1/summary")).expect("JSON");
        assert_eq!(summary["crawlers"][0]["settled"], "0.01", "{summary}");
        assert_eq!(summary["crawlers"][0]["currency"], "USD", "{summary}");
        summary["works"][0]["earned"].clone()
    };
    let settled = "<span>Settled</span><b>0.01 USD</b>";
    assert!(byline.admin_get("/").contains(settled), "{}", byline.admin_get("/"));
    assert_eq!(earned(&byline), "0.01");

    let policy = std::fs::read_to_string(&byline.policy_file).expect("the policy");
    std::fs::write(&byline.policy_file, policy.replace("USD", "EUR")).expect("a writable file");
    byline.hang_up();
    wait::until_true("euros", PATIENCE, || byline.admin_get("/").contains("Owed, EUR"));
    let page = byline.admin_get("/");
    for figure in ["Would cost", "Owed"] {
        assert!(page.contains(&format!("<span>{figure}</span><b>0 EUR</b>")), "{figure}: {page}");
    }
    assert!(!page.contains("<span>Settled</span>"), "{page}");
    assert!(page.contains("0.01 USD"), "in the table: {page}");
    assert_eq!(earned(&byline), Value::Null);
}
