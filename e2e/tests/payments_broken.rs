//! Payments that come with a request (x402), when something breaks on the way to the facilitator and back: nothing is lost, nothing is
//! paid twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use e2e::chain::{Facilitator, Fault, Payer, header, read_header};
use e2e::paid::{AGENT, PRICE, agree, earned, offering, pay, press, required, shop, x402};
use e2e::wait::{self, PATIENCE};
use e2e::{Origin, get};
use serde_json::json;

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
