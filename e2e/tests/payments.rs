//! Payments that come with a request (x402): what is offered, what is taken, and that a payment buys one delivery, whatever happens
//! on the way to the facilitator and back.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::chain::{ASSET, Facilitator, Fault, NETWORK, PAY_TO, Payer, header, hex, now, read_header};
use e2e::config::{POLICY, site};
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Answer, Byline, Client, Origin, configured, get};
use serde_json::{Value, json};

const AGENT: &str = "User-Agent: PayBot/1.0\r\n";
const PRICE: u64 = 10_000;

const SHOP: &str = r#"
version = 1
mode = "enforce"
currency = "USD"
licence = "https://press.example/licence"
contact = "rights@press.example"

[[rule]]
name = "articles"
path = "/articles/**"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "tiny"
path = "/tiny/**"
charge = { price = "0.0000001 USD", per = "fetch" }

[[rule]]
name = "volumes"
path = "/volumes/**"
charge = { price = "1 USD", per = "MB", max = "2 USD" }

[[rule]]
name = "signed"
path = "/signed/**"
require = "signed"
charge = { price = "0.01 USD", per = "fetch" }

[[rule]]
name = "drafts"
path = "/drafts/**"
deny = true

[[crawler]]
token = "PayBot"
operator = "pay-labs"
purpose = "train"
"#;

fn x402(more: &str) -> String {
    format!(
        "[[payment]]\nway = \"x402\"\nnetwork = \"{NETWORK}\"\nasset = \"{ASSET}\"\nasset_name = \"USDC\"\n\
         asset_version = \"2\"\ndecimals = 6\npay_to = \"{PAY_TO}\"\n{more}\n"
    )
}

fn press() -> Origin {
    Origin::site(|request| {
        if request.method == "HEAD" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
        }
        match request.target.as_str() {
            "/articles/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
            "/articles/broken" => b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec(),
            "/articles/same" => b"HTTP/1.1 304 Not Modified\r\nETag: \"s\"\r\n\r\n".to_vec(),
            "/articles/moved" => b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => ok("Content-Type: text/plain\r\nPayment-Response: forged\r\n", "hello"),
        }
    })
}

/// A site that takes x402, and is ready to.
fn shop(origin: &Origin, facilitator: &Facilitator, ways: &str) -> Byline {
    let config = site(&origin.url(), POLICY);
    let config = format!(
        "{config}[x402]\nfacilitator = \"{}\"\nverify = \"5s\"\nsettle = \"2s\"\n",
        facilitator.url()
    );
    let byline = configured(config).policy(format!("{SHOP}{ways}")).start();
    offering(&byline);
    byline
}

/// Waits until the facilitator has said what it settles.
fn offering(byline: &Byline) {
    wait::until_true("an offer", PATIENCE, || {
        let answer = ask(byline, "/articles/ready", "");
        answer.fields.has("payment-required") || answer.text().contains("x402Version")
    });
}

fn ask(byline: &Byline, path: &str, lines: &str) -> Answer {
    byline.ask(get(path, &format!("{AGENT}{lines}")))
}

/// What is asked for a work.
fn required(byline: &Byline, path: &str) -> Value {
    let answer = ask(byline, path, "");
    assert_eq!(answer.status, 402, "{}", answer.text());
    read_header(answer.field("payment-required"))
}

fn pay(byline: &Byline, path: &str, payment: &Value) -> Answer {
    ask(byline, path, &format!("Payment-Signature: {}\r\n", header(payment)))
}

/// What was paid, by the records: in nano-units.
fn earned(byline: &Byline) -> i64 {
    let amount = |record: &Value| record["amount_nano"].as_str().and_then(|nano| nano.parse::<i64>().ok());
    byline.records().iter().filter_map(amount).sum()
}

/// Records, facilitator and statement say the same.
fn agree(byline: &Byline, facilitator: &Facilitator) {
    let earned = earned(byline);
    assert_eq!(earned, facilitator.total() as i64 * 1_000, "records and chain: {:?}", byline.records());
    let statement = byline.statement(&[]);
    let nano = |text: &Value| {
        let (whole, part) =
            text.as_str().unwrap_or_default().split_once('.').unwrap_or((text.as_str().unwrap_or("0"), ""));
        format!("{whole}{part:0<9}").parse::<i64>().expect("a decimal number")
    };
    assert_eq!(nano(&statement["total"]), earned, "{statement}");
    assert_eq!(nano(&statement["total_settled"]), earned, "{statement}");
    assert_eq!(statement["payable"], "0.00", "{statement}");
    assert_eq!(statement["findings_count"], 0, "{statement}");
    assert_eq!(byline.verify().code, 0);
}

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
fn a_facilitator_that_says_no_is_believed() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payer = Payer::new(0x11);
    let payment = payer.pays(&required(&byline, "/articles/1"), 1);
    for (fault, reason) in [
        (Fault::Invalid("insufficient_funds"), "insufficient_funds"),
        (Fault::Refuses("insufficient_funds"), "insufficient_funds"),
        (Fault::Refuses("<script>"), "unexpected_settle_error"),
    ] {
        facilitator.set(fault.clone());
        let answer = pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 402, "{fault:?}: {}", answer.text());
        let result = read_header(answer.field("payment-response"));
        assert_eq!(
            (&result["success"], &result["errorReason"]),
            (&json!(false), &json!(reason)),
            "{fault:?}"
        );
        assert_eq!(
            read_header(answer.field("payment-required"))["error"],
            reason,
            "{fault:?}: a fresh offer"
        );
        assert!(!answer.text().contains("hello"));
    }
    assert!(byline.records().is_empty(), "nothing was delivered, nothing is owed");
    // Nothing moved, so the payment is as good as before.
    facilitator.set(Fault::None);
    assert_eq!(pay(&byline, "/articles/1", &payment).status, 200);
    agree(&byline, &facilitator);
}

#[test]
fn an_unknown_outcome_is_never_a_fresh_offer() {
    // What happened, whether the facilitator knows a payment again, and what the same payment gets then.
    for (fault, is_idempotent, moved) in [
        (Fault::Fails(500), true, 0),
        (Fault::Fails(503), true, 0),
        (Fault::Breaks, true, 0),
        (Fault::LosesTheAnswer, true, 1),
        (Fault::LosesTheAnswer, false, 1),
        (Fault::Garbage, true, 1),
        (Fault::Slow(Duration::from_secs(4)), false, 1),
        (Fault::OtherPayer, true, 1),
    ] {
        let (origin, facilitator) = (press(), Facilitator::start());
        if !is_idempotent {
            facilitator.forgets();
        }
        let byline = shop(&origin, &facilitator, &x402(""));
        let payer = Payer::new(0x11);
        let payment = payer.pays(&required(&byline, "/articles/1"), 1);
        facilitator.set(fault.clone());
        let answer = pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 503, "{fault:?}: {}", answer.text());
        assert!(answer.fields.has("retry-after"), "{fault:?}");
        for name in ["payment-required", "crawler-price", "payment-response", "www-authenticate"] {
            assert!(!answer.fields.has(name), "{fault:?}: {name} in {:?}", answer.fields);
        }
        assert!(!answer.text().contains("x402Version"), "{fault:?}: {}", answer.text());
        assert_eq!(facilitator.transfers(), moved, "{fault:?}");

        // A refusal now proves nothing: the first attempt may have moved the money that is missing.
        facilitator.set(Fault::Refuses("insufficient_funds"));
        assert_eq!(pay(&byline, "/articles/1", &payment).status, 503, "{fault:?}: still not known");
        assert_ne!(pay(&byline, "/articles/2", &payment).status, 200, "{fault:?}: it buys nothing else");

        facilitator.set(Fault::None);
        let answer = pay(&byline, "/articles/1", &payment);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{fault:?}");
        let result = read_header(answer.field("payment-response"));
        assert_eq!(result["success"], true, "{fault:?}: {result}");
        assert_eq!(facilitator.transfers(), 1, "{fault:?}: it is settled once");
        assert_eq!(pay(&byline, "/articles/1", &payment).status, 402, "{fault:?}: and used up");
        agree(&byline, &facilitator);
    }
}

#[test]
fn a_facilitator_that_is_away_costs_nothing() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
    drop(facilitator);
    let answer = pay(&byline, "/articles/1", &payment);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.fields.has("payment-required") && answer.fields.has("retry-after"));
    assert!(origin.untouched() && byline.records().is_empty());
}

#[test]
fn a_thousand_replays_of_one_payment_buy_one_delivery() {
    const REPLAYS: usize = 1_000;
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
    let request = get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
    facilitator.set(Fault::Slow(Duration::from_millis(300)));
    let (start, delivered, refused) =
        (Barrier::new(REPLAYS), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        for _ in 0..REPLAYS {
            let body = || {
                let mut client = Client::connect(byline.listen);
                start.wait();
                let answer = client.ask(&request);
                match answer.status {
                    200 => delivered.fetch_add(1, Ordering::Relaxed),
                    // Under way elsewhere, used up, or too many at once.
                    503 | 402 | 429 => refused.fetch_add(1, Ordering::Relaxed),
                    status => panic!("{status}: {}", answer.text()),
                };
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

/// An origin whose works come in two halves, the second when the gate opens.
fn halves() -> (Origin, Arc<AtomicUsize>) {
    let gate = Arc::<AtomicUsize>::default();
    let open = Arc::clone(&gate);
    let origin = Origin::start(move |visit| {
        while visit.request().is_some() {
            let half = "h".repeat(100_000);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200000\r\n\r\n";
            if visit.write(format!("{head}{half}")).is_err() {
                return;
            }
            while open.load(Ordering::SeqCst) == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            if visit.write(&half).is_err() {
                return;
            }
        }
    });
    (origin, gate)
}

#[test]
fn a_delivery_that_broke_off_is_made_again_without_a_charge() {
    let (origin, gate) = halves();
    let facilitator = Facilitator::start();
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/long"), 1);
    let request = get("/articles/long", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
    let mut client = byline.client();
    client.send(&request);
    let head = client.head().expect("a head");
    assert!(String::from_utf8_lossy(&head).contains("payment-response"), "settled before anything left");
    client.reset();
    let records = byline.wait_for_records(1);
    assert_eq!((&records[0]["outcome"], &records[0]["amount_nano"]), (&json!("aborted"), &json!("10000000")));
    gate.store(1, Ordering::SeqCst);
    let answer = pay(&byline, "/articles/long", &payment);
    assert_eq!((answer.status, answer.body.len()), (200, 200_000));
    assert_eq!(read_header(answer.field("payment-response"))["success"], true);
    let records = byline.wait_for_records(2);
    assert_eq!(
        (&records[1]["amount_nano"], &records[1]["repeat"]),
        (&json!("0"), &json!(true)),
        "{}",
        records[1]
    );
    assert_eq!(records[0]["settlement"], records[1]["settlement"]);
    assert_eq!(pay(&byline, "/articles/long", &payment).status, 402, "delivered whole, it is used up");
    assert_eq!((facilitator.asked(), facilitator.total()), (1, PRICE));
    agree(&byline, &facilitator);
}

#[test]
fn a_kill_between_settlement_and_record_neither_loses_nor_charges_twice() {
    for is_idempotent in [true, false] {
        let (origin, facilitator) = (press(), Facilitator::start());
        if !is_idempotent {
            facilitator.forgets();
        }
        let mut byline = shop(&origin, &facilitator, &x402(""));
        let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
        let request = get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
        facilitator.set(Fault::Slow(Duration::from_secs(1)));
        let mut client = byline.client();
        client.send(&request);
        wait::until_true("money that moved", PATIENCE, || facilitator.transfers() == 1);
        byline.kill();
        facilitator.set(Fault::None);
        byline.start_again();
        offering(&byline);
        assert_eq!(earned(&byline), 0, "nobody knows yet");
        let answer = byline.ask(&request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{:?}", answer.fields);
        assert_eq!((facilitator.transfers(), facilitator.total()), (1, PRICE));
        assert_eq!(byline.ask(&request).status, 402);
        // And so it stays.
        byline.stop();
        byline.start_again();
        offering(&byline);
        assert_eq!(byline.ask(&request).status, 402);
        agree(&byline, &facilitator);
    }
}

#[test]
fn a_kill_in_the_midst_of_a_delivery_leaves_the_payment_in_the_books() {
    let (origin, gate) = halves();
    let facilitator = Facilitator::start();
    let mut byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/long"), 1);
    let request = get("/articles/long", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment)));
    let mut client = byline.client();
    client.send(&request);
    client.head().expect("a head");
    byline.kill();
    byline.start_again();
    let records = byline.wait_for_records(1);
    assert_eq!((&records[0]["outcome"], &records[0]["amount_nano"]), (&json!("aborted"), &json!("10000000")));
    offering(&byline);
    agree(&byline, &facilitator);
    gate.store(1, Ordering::SeqCst);
    let answer = byline.ask(&request);
    assert_eq!((answer.status, answer.body.len()), (200, 200_000), "{}", answer.text());
    assert_eq!((facilitator.asked(), facilitator.total()), (1, PRICE));
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

const RICH: [u8; 4] = [127, 0, 0, 2];
const POOR: [u8; 4] = [127, 0, 0, 3];
/// Two crawlers that are known by their networks, one of which has an account.
const KNOWN: &str = r#"
[[crawler]]
token = "RichBot"
operator = "rich-labs"
purpose = "train"
ranges = ["127.0.0.2/32"]

[[crawler]]
token = "PoorBot"
operator = "poor-labs"
purpose = "train"
ranges = ["127.0.0.3/32"]

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
    let mut byline = configured(site(&origin.url(), POLICY)).policy(format!("{SHOP}{KNOWN}")).start();
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
fn a_client_that_hangs_up_while_it_is_settled_has_paid_once() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
    facilitator.set(Fault::Slow(Duration::from_millis(500)));
    let mut client = byline.client();
    client.send(get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment))));
    wait::until_true("money that moved", PATIENCE, || facilitator.transfers() == 1);
    client.reset();
    wait::until_true("its record", PATIENCE, || earned(&byline) > 0);
    let answer = wait::until("the work", PATIENCE, || {
        let answer = pay(&byline, "/articles/1", &payment);
        assert_ne!(answer.status, 402, "{}", answer.text());
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.text(), "hello");
    assert_eq!((facilitator.asked(), facilitator.total()), (1, PRICE));
    agree(&byline, &facilitator);
    let mut ids: Vec<String> = byline.entries().iter().map(|entry| entry["id"].to_string()).collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "no two entries have one identifier");
}

#[test]
fn a_receipt_can_be_checked_by_others() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("receipts.pem").display().to_string();
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out", &key]).output();
    assert!(made.is_ok_and(|made| made.status.success()), "openssl makes a key");
    let config = format!(
        "{}[x402]\nfacilitator = \"{}\"\nreceipt_key = \"{key}\"\nreceipt_kid = \"did:web:press.example#1\"\n",
        site(&origin.url(), POLICY),
        facilitator.url()
    );
    let byline = configured(config).policy(format!("{SHOP}{}", x402(""))).start();
    offering(&byline);
    let payer = Payer::new(0x11);
    let answer = pay(&byline, "/articles/1", &payer.pays(&required(&byline, "/articles/1"), 1));
    let response = read_header(answer.field("payment-response"));
    let receipt = &response["extensions"]["offer-receipt"]["info"]["receipt"];
    assert_eq!(receipt["format"], "jws", "{response}");
    let script = "const c = require('crypto'), fs = require('fs'); const [key, jws] = process.argv.slice(1);\
                  const [head, body, signature] = jws.split('.');\
                  const good = c.verify(null, Buffer.from(head + '.' + body), c.createPublicKey(fs.readFileSync(key)),\
                  Buffer.from(signature, 'base64url'));\
                  console.log(JSON.stringify([good, JSON.parse(Buffer.from(head, 'base64url')), JSON.parse(Buffer.from(body, 'base64url'))]));";
    let jws = receipt["signature"].as_str().expect("a JWS");
    let said = Command::new("node").args(["-e", script, &key, jws]).output().expect("node");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(
        (&said[0], &said[1]),
        (&json!(true), &json!({"alg": "EdDSA", "kid": "did:web:press.example#1"}))
    );
    assert_eq!(said[2]["resourceUrl"], "http://site.test/articles/1");
    assert_eq!((&said[2]["network"], &said[2]["transaction"]), (&json!(NETWORK), &response["transaction"]));
    assert!(said[2]["payer"].as_str().is_some_and(|by| by.eq_ignore_ascii_case(&payer.address())), "{said}");
}
