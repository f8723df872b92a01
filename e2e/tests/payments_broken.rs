//! Payments that come with a request (x402), when something breaks on the way to the facilitator and back: nothing is lost, nothing is
//! paid twice.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::chain::{ASSET, Facilitator, Fault, NETWORK, NETWORK_V1, PAY_TO, Payer, header, read_header};
use e2e::paid::{AGENT, Dialect, PRICE, agree, earned, offering, pay, press, required, shop, x402};
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Origin, get};
use serde_json::{Value, json};

#[test]
fn a_facilitator_that_says_no_is_believed() {
    Dialect::ALL.into_iter().for_each(says_no);
}

fn says_no(dialect: Dialect) {
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let payment = dialect.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
    for (fault, reason) in [
        (Fault::Invalid("insufficient_funds"), "insufficient_funds"),
        (Fault::Refuses("insufficient_funds"), "insufficient_funds"),
        (Fault::Refuses("<script>"), "unexpected_settle_error"),
    ] {
        facilitator.set(fault.clone());
        let answer = dialect.pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 402, "{fault:?}: {}", answer.text());
        let result = dialect.result(&answer);
        assert_eq!(
            (&result["success"], &result["errorReason"]),
            (&json!(false), &json!(reason)),
            "{fault:?}"
        );
        assert_eq!(dialect.offer_of(&answer)["error"], reason, "{fault:?}: a fresh offer");
        let network = if dialect == Dialect::V1 { NETWORK_V1 } else { NETWORK };
        assert_eq!(result["network"], network, "{fault:?}");
        assert!(!answer.text().contains("hello"));
    }
    assert!(byline.records().is_empty(), "nothing was delivered, nothing is owed");
    // Nothing moved, so the payment is as good as before.
    facilitator.set(Fault::None);
    assert_eq!(dialect.pay(&byline, "/articles/1", &payment).status, 200);
    agree(&byline, &facilitator);
}

/// The policy's first network is not the payment's, and the facilitator's words are not those of `cloudflare:402`, though they may sound so.
#[test]
fn a_refusal_names_the_network_of_the_payment() {
    for dialect in Dialect::ALL {
        let (origin, facilitator) = (press(), Facilitator::start());
        let first = x402("").replace(NETWORK, "eip155:8453");
        let byline = shop(&origin, &facilitator, &format!("{first}{}", x402("")));
        let payment = dialect.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        for fault in
            [Fault::Invalid("insufficient_funds"), Fault::Invalid("blocked"), Fault::Refuses("unknown")]
        {
            facilitator.set(fault.clone());
            let answer = dialect.pay(&byline, "/articles/1", &payment);
            assert_eq!(answer.status, 402, "{fault:?}: {}", answer.text());
            let network = if dialect == Dialect::V1 { NETWORK_V1 } else { NETWORK };
            assert_eq!(dialect.result(&answer)["network"], network, "{dialect:?} {fault:?}");
        }
        // One that fits nothing: its own network still, if it is one of ours; else the first.
        facilitator.set(Fault::None);
        let [ours, nobodys, first] = match dialect {
            Dialect::V1 => [NETWORK_V1, "ethereum", "base"],
            Dialect::V2 => [NETWORK, "eip155:1", "eip155:8453"],
        };
        for (named, told) in [(ours, ours), (nobodys, first)] {
            let mut wrong = payment.clone();
            wrong["payload"]["authorization"]["value"] = json!("1");
            match dialect {
                Dialect::V1 => wrong["network"] = json!(named),
                Dialect::V2 => wrong["accepted"]["network"] = json!(named),
            }
            let answer = dialect.pay(&byline, "/articles/1", &wrong);
            assert_eq!(answer.status, 402, "{}", answer.text());
            assert_eq!(dialect.result(&answer)["network"], told, "{dialect:?} {named}");
        }
    }
}

#[test]
fn an_unknown_outcome_is_never_a_fresh_offer() {
    unknown_outcomes(Dialect::V2);
}

#[test]
fn an_unknown_outcome_is_never_a_fresh_offer_in_version_1() {
    unknown_outcomes(Dialect::V1);
}

fn unknown_outcomes(dialect: Dialect) {
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
        let payment = dialect.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        facilitator.set(fault.clone());
        let answer = dialect.pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 503, "{fault:?}: {}", answer.text());
        assert!(answer.fields.has("retry-after"), "{fault:?}");
        for name in ["payment-required", "crawler-price", dialect.result_field(), "www-authenticate"] {
            assert!(!answer.fields.has(name), "{fault:?}: {name} in {:?}", answer.fields);
        }
        assert!(!answer.text().contains("x402Version"), "{fault:?}: {}", answer.text());
        assert_eq!(facilitator.transfers(), moved, "{fault:?}");

        // A refusal now proves nothing: the first attempt may have moved the money that is missing.
        facilitator.set(Fault::Refuses("insufficient_funds"));
        assert_eq!(dialect.pay(&byline, "/articles/1", &payment).status, 503, "{fault:?}: still not known");
        assert_ne!(
            dialect.pay(&byline, "/articles/2", &payment).status,
            200,
            "{fault:?}: it buys nothing else"
        );

        facilitator.set(Fault::None);
        let answer = dialect.pay(&byline, "/articles/1", &payment);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{fault:?}");
        let result = dialect.result(&answer);
        assert_eq!(result["success"], true, "{fault:?}: {result}");
        assert_eq!(facilitator.transfers(), 1, "{fault:?}: it is settled once");
        assert_eq!(dialect.pay(&byline, "/articles/1", &payment).status, 402, "{fault:?}: and used up");
        agree(&byline, &facilitator);
    }
}

#[test]
fn a_facilitator_that_is_away_costs_nothing() {
    for dialect in Dialect::ALL {
        let (origin, facilitator) = (press(), Facilitator::start());
        let byline = shop(&origin, &facilitator, &x402(""));
        let payment = dialect.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        drop(facilitator);
        let answer = dialect.pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(!dialect.is_offered(&answer) && answer.fields.has("retry-after"));
        assert!(origin.untouched() && byline.records().is_empty());
    }
}

#[test]
fn what_was_paid_is_in_the_books_though_nobody_comes_back() {
    let nobody_comes_back = |is_idempotent: bool| {
        let (origin, facilitator) = (press(), Facilitator::start());
        if !is_idempotent {
            facilitator.forgets();
        }
        let mut byline = shop(&origin, &facilitator, &x402(""));
        let lost = Dialect::V2.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        facilitator.set(Fault::LosesTheAnswer);
        assert_eq!(pay(&byline, "/articles/1", &lost).status, 503);
        assert_eq!(facilitator.transfers(), 1, "money moved");
        assert_eq!(earned(&byline), 0, "and nobody knows");
        facilitator.set(Fault::None);
        // Longer than it takes to ask by itself: 15 s.
        wait::until_true("its record", 2 * PATIENCE, || earned(&byline) > 0);
        agree(&byline, &facilitator);
        let states: Vec<Value> = byline
            .entries()
            .into_iter()
            .filter(|entry| entry["type"] == "ai.usage.payment.v1")
            .map(|entry| entry["data"]["state"].clone())
            .collect();
        assert_eq!(states, ["settling", "settled"]);
        assert!(origin.requests().len() == 1, "nothing was delivered for it again");
        let kept = byline.ledger_dir().with_file_name("payments-pending");
        let count = || kept.read_dir().map_or(0, Iterator::count);
        wait::until_true("nothing kept", PATIENCE, || count() == 0);

        // Who paid comes back after all: it is delivered, and costs nothing more; also after a start.
        byline.stop();
        byline.start_again();
        offering(&byline);
        let answer = pay(&byline, "/articles/1", &lost);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!((facilitator.transfers(), facilitator.total()), (1, PRICE));
        agree(&byline, &facilitator);
    };
    // One that nobody has settled: asking about it must not settle it for a crawler that has gone.
    let nothing_has_moved = || {
        let (_origin, facilitator) = (press(), Facilitator::start());
        let byline = shop(&_origin, &facilitator, &x402(""));
        let payment = Dialect::V2.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        facilitator.set(Fault::Breaks);
        assert_eq!(pay(&byline, "/articles/1", &payment).status, 503);
        facilitator.set(Fault::None);
        wait::until_true("a question", 2 * PATIENCE, || facilitator.verified() == 2);
        assert_eq!((facilitator.asked(), facilitator.transfers(), earned(&byline)), (1, 0, 0));
        let answer = wait::until("the work", PATIENCE, || {
            let answer = pay(&byline, "/articles/1", &payment);
            assert_ne!(answer.status, 402, "{}", answer.text());
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(answer.text(), "hello");
        agree(&byline, &facilitator);
    };
    // At the same time: what is waited for is a time that Byline lets pass.
    thread::scope(|scope| {
        scope.spawn(nothing_has_moved);
        for is_idempotent in [true, false] {
            scope.spawn(move || nobody_comes_back(is_idempotent));
        }
    });
}

/// Somebody who has paid was told to send the same payment again. Meanwhile the policy has changed: a fresh 402 would sell the work twice.
#[test]
fn terms_that_change_make_nobody_pay_twice() {
    const ELSEWHERE: &str = "0x1111111111111111111111111111111111111111";
    let changed = |dialect: Dialect, change: &dyn Fn(String) -> String| {
        let (origin, facilitator) = (press(), Facilitator::start());
        let mut byline = shop(&origin, &facilitator, &x402(""));
        let payment = dialect.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        facilitator.set(Fault::LosesTheAnswer);
        assert_eq!(dialect.pay(&byline, "/articles/1", &payment).status, 503);
        assert_eq!(facilitator.transfers(), 1, "money moved");
        let policy = std::fs::read_to_string(&byline.policy_file).expect("the policy");
        let policy_now = change(policy.clone());
        assert_ne!(policy, policy_now);
        std::fs::write(&byline.policy_file, policy_now).expect("a writable file");
        let reloads = |byline: &Byline| byline.metric("byline_config_reloads_total", &["result=\"success\""]);
        let before = reloads(&byline);
        byline.hang_up();
        wait::until_true("the new policy", PATIENCE, || reloads(&byline) > before);
        let answer = dialect.pay(&byline, "/articles/1", &payment);
        assert_eq!(answer.status, 503, "{}", answer.text());
        for name in ["payment-required", "crawler-price", dialect.result_field(), "www-authenticate"] {
            assert!(!answer.fields.has(name), "{name} in {:?}", answer.fields);
        }
        assert!(!answer.text().contains("x402Version"), "{}", answer.text());

        // A start asks at once what became of it: it is settled, by the terms of then.
        facilitator.set(Fault::None);
        byline.stop();
        byline.start_again();
        wait::until_true("its record", PATIENCE, || earned(&byline) > 0);
        assert_ne!(dialect.pay(&byline, "/articles/2", &payment).status, 200, "it buys nothing else");
        // Another authorization under its nonce is another payment: not signed, or signed by the same account.
        let mut other = payment.clone();
        other["payload"]["authorization"]["value"] = json!("1");
        assert_eq!(dialect.pay(&byline, "/articles/1", &other).status, 402, "nobody signed this");
        if dialect == Dialect::V2 {
            let signature = Payer::new(0x11).sign(&other["accepted"], &other["payload"]["authorization"]);
            other["payload"]["signature"] = json!(signature);
            assert_eq!(pay(&byline, "/articles/1", &other).status, 402, "this was not taken");
        }
        // Whoever has asked what became of it gives it back a moment after the record is there.
        let answer = wait::until("the work", PATIENCE, || {
            let answer = dialect.pay(&byline, "/articles/1", &payment);
            assert_ne!(answer.status, 402, "{}", answer.text());
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(answer.text(), "hello");
        assert_eq!(dialect.result(&answer)["success"], true);
        assert_eq!(dialect.pay(&byline, "/articles/1", &payment).status, 402, "and used up");
        assert_eq!((facilitator.transfers(), facilitator.total()), (1, PRICE));
        agree(&byline, &facilitator);
    };
    let replaced = |from: &'static str, to: &'static str| move |policy: String| policy.replace(from, to);
    let no_version_1 = |policy: String| policy.replace("decimals = 6", "decimals = 6\nversions = [2]");
    thread::scope(|scope| {
        for dialect in Dialect::ALL {
            let changed = &changed;
            scope.spawn(move || {
                changed(dialect, &replaced("0.01 USD", "0.02 USD"));
                changed(dialect, &replaced(PAY_TO, ELSEWHERE));
            });
        }
        scope.spawn(|| changed(Dialect::V1, &no_version_1));
        // Neither the token nor the name that it signs with is in the policy any more.
        scope.spawn(|| changed(Dialect::V2, &replaced(ASSET, ELSEWHERE)));
        scope.spawn(|| changed(Dialect::V2, &replaced("\"USDC\"", "\"USD Coin\"")));
    });
}

#[test]
fn asking_moves_nothing_whatever_the_facilitator_finds_wrong() {
    let finds = |reason: &'static str| {
        let (_origin, facilitator) = (press(), Facilitator::start());
        let mut byline = shop(&_origin, &facilitator, &x402(""));
        let payment = Dialect::V2.payment(&byline, "/articles/1", &Payer::new(0x11), 1);
        facilitator.set(Fault::Breaks);
        assert_eq!(pay(&byline, "/articles/1", &payment).status, 503);
        facilitator.set(Fault::Invalid(reason));
        // A start asks at once; what is asked 15 s later is asked when that is over.
        byline.stop();
        byline.start_again();
        wait::until_true("two questions", 3 * PATIENCE, || {
            facilitator.verified() == 3 || facilitator.asked() > 1
        });
        assert_eq!((facilitator.asked(), facilitator.transfers()), (1, 0), "{reason}: nothing was ordered");
        assert_eq!(earned(&byline), 0, "{reason}");
        // It is still good for who comes back.
        facilitator.set(Fault::None);
        offering(&byline);
        let answer = wait::until("the work", PATIENCE, || {
            let answer = pay(&byline, "/articles/1", &payment);
            assert_ne!(answer.status, 402, "{reason}: {}", answer.text());
            (answer.status == 200).then_some(answer)
        });
        assert_eq!((answer.text().as_str(), facilitator.transfers()), ("hello", 1), "{reason}");
        agree(&byline, &facilitator);
    };
    thread::scope(|scope| {
        for reason in ["unexpected_verify_error", "insufficient_funds", "invalid_network"] {
            scope.spawn(move || finds(reason));
        }
    });
}

#[test]
fn without_a_facilitator_a_payment_waits_for_one_and_nothing_else_does() {
    let (origin, facilitator) = (press(), Facilitator::start());
    let mut byline = shop(&origin, &facilitator, &x402(""));
    let payment = Payer::new(0x11).pays(&required(&byline, "/articles/1"), 1);
    facilitator.set(Fault::Slow(Duration::from_secs(1)));
    let mut client = byline.client();
    client.send(get("/articles/1", &format!("{AGENT}Payment-Signature: {}\r\n", header(&payment))));
    wait::until_true("money that moved", PATIENCE, || facilitator.transfers() == 1);
    byline.kill();
    facilitator.set(Fault::None);
    let file = byline.policy_file.with_file_name("byline.toml");
    let config = std::fs::read_to_string(&file).expect("its configuration");
    let (without, _) = config.split_once("[x402]").expect("a facilitator");
    std::fs::write(&file, without).expect("a file of the test's own");
    byline.start_again();
    // The thread that would ask is the one that answers these, and ends the process.
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(byline.admin_answers(path), 200, "{path}");
    }
    let answer = pay(&byline, "/articles/1", &payment);
    assert_eq!(answer.status, 503, "no fresh offer: {}", answer.text());
    byline.stop();
    // With one again, it is asked about.
    std::fs::write(&file, config).expect("the same");
    byline.start_again();
    wait::until_true("its record", PATIENCE, || earned(&byline) > 0);
    agree(&byline, &facilitator);
}

#[test]
fn a_flood_of_payments_that_pay_nothing_holds_up_nobody_who_pays() {
    const HOSTILE: [u8; 4] = [127, 0, 0, 66];
    let (origin, facilitator) = (press(), Facilitator::start());
    let byline = shop(&origin, &facilitator, &x402(""));
    let offer = required(&byline, "/articles/1");
    let (poor, rich) = (Payer::new(0x66), Payer::new(0x11));
    facilitator.set(Fault::Poor(poor.address(), Duration::from_millis(100)));
    let (over, asked, told) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                let mut client = Client::connect_from(Ipv4Addr::from(HOSTILE), byline.listen);
                while !over.load(Ordering::SeqCst) {
                    let payment = poor.pays(&offer, asked.fetch_add(1, Ordering::SeqCst));
                    let line = Dialect::V2.line(&payment);
                    let answer = client.ask(get("/articles/1", &format!("{AGENT}{line}")));
                    match answer.status {
                        402 => assert_eq!(
                            Dialect::V2.result(&answer)["errorReason"],
                            "insufficient_funds",
                            "{}",
                            answer.text()
                        ),
                        429 => {
                            assert!(answer.fields.has("retry-after"));
                            assert!(!answer.fields.has("payment-required"), "no fresh offer");
                            told.fetch_add(1, Ordering::SeqCst);
                        }
                        status => panic!("{status}: {}", answer.text()),
                    }
                }
            });
        }
        wait::until_true("a flood", PATIENCE, || told.load(Ordering::SeqCst) > 100);
        for number in 0..20 {
            let path = format!("/articles/paid-{number}");
            let payment = Dialect::V2.payment(&byline, &path, &rich, number);
            let answer = pay(&byline, &path, &payment);
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "in the midst of it");
        }
        over.store(true, Ordering::SeqCst);
    });
    // 30, and one more for each 2 s; 16 were under way when the last of the 30 was refused.
    let most = 30 + 16 + started.elapsed().as_secs() as usize / 2 + 1;
    let of_hostile = facilitator.asked_about_the_poor();
    assert!(of_hostile <= most, "{of_hostile} of {} reached the facilitator", asked.into_inner());
    assert!(byline.metric("byline_shed_total", &["limit=\"client-payments\""]) > 100.0);
    assert_eq!(facilitator.transfers(), 20);
    agree(&byline, &facilitator);
    // Byline and the facilitator are free again: whoever was told to wait may pay later.
    let honest = Client::connect_from(Ipv4Addr::from([127, 0, 0, 67]), byline.listen)
        .ask(get("/articles/1", &format!("{AGENT}{}", Dialect::V2.line(&rich.pays(&offer, 99)))));
    assert_eq!(honest.status, 200, "another client of the same agent");
    drop(origin);
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
        // Nobody has come with it again: it is asked about by itself.
        wait::until_true("its record", PATIENCE, || earned(&byline) > 0);
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
