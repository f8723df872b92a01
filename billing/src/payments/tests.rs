use metrics::{Outcome, PaymentRecord, PaymentState, UsageRecord};
use policy::hex;
use proptest::prelude::*;

use super::*;
use crate::derived::Derived;

const NOW: i64 = 1_795_354_805;
const UNTIL: i64 = NOW + 60;

fn key(number: u8) -> SpendKey {
    SpendKey { until: UNTIL, digest: [number; 32] }
}

fn claim(number: u8) -> Claim {
    let url = format!("https://example.org/{number}");
    Claim { key: key(number), signed: [number; 32], purpose: purpose("GET", &url), identifier: None }
}

fn fetch(number: u8) -> UsageRecord {
    let word = |text: &str| text.to_owned();
    UsageRecord {
        id: format!("fetch {number}"),
        source: word("//example.org/ledger"),
        time_micros: NOW * 1_000_000,
        crawler: word("ExampleBot"),
        operator: word("example-labs"),
        purpose: word("train"),
        assurance: word("claimed"),
        evidence: word("none"),
        authorisation: Some(key(number).to_string()),
        method: word("GET"),
        url: format!("https://example.org/{number}"),
        work: format!("example.org/{number}"),
        holder: None,
        licence: None,
        policy: word("sha256:00"),
        rule: word("training pays"),
        verdict: word("charge"),
        would_refuse: None,
        status: 200,
        outcome: Outcome::Aborted,
        bytes: 0,
        declared_bytes: Some(5),
        digest: None,
        etag: None,
        content_range: None,
        content_type: None,
        words: None,
        words_capped: false,
        currency: word("USD"),
        unit: Some(word("fetch")),
        price_nano: Some(10_000_000),
        max_nano: None,
        quantity: 1,
        repeat: false,
        owed: true,
        quote_nano: 10_000_000,
        amount_nano: 10_000_000,
        settlement: None,
    }
}

fn entry(number: u8, state: PaymentState) -> PaymentRecord {
    let mut fetch = fetch(number);
    fetch.settlement = (state == PaymentState::Settled).then(|| format!("x402 eip155:8453 0x{number:02x}"));
    PaymentRecord {
        id: format!("payment {number}"),
        source: "//example.org/ledger".to_owned(),
        time_micros: NOW * 1_000_000,
        state,
        authorisation: key(number).to_string(),
        signed: hex(&[number; 32]),
        network: "eip155:8453".to_owned(),
        asset: "0x01".to_owned(),
        value: "10000".to_owned(),
        payer: "0x02".to_owned(),
        nonce: "0x03".to_owned(),
        identifier: None,
        payload: None,
        reason: None,
        fetch: Box::new(fetch),
    }
}

fn delivered(number: u8, outcome: Outcome, repeat: bool) -> UsageRecord {
    let settled = *entry(number, PaymentState::Settled).fetch;
    let amount_nano = if repeat { 0 } else { settled.amount_nano };
    UsageRecord { outcome, repeat, amount_nano, quote_nano: amount_nano, ..settled }
}

#[track_caller]
fn before(payments: &Arc<Payments>, number: u8) -> Before {
    payments.take(claim(number), NOW).map(|taken| taken.before.clone()).expect("it is to be had")
}

fn error(payments: &Arc<Payments>, claim: Claim) -> Option<TakeError> {
    payments.take(claim, NOW).err()
}

#[test]
fn one_request_at_a_time_has_a_payment() {
    let payments = Arc::<Payments>::default();
    let taken = payments.take(claim(1), NOW).expect("it is new");
    assert_eq!(taken.before, Before::Nothing);
    assert_eq!(error(&payments, claim(1)), Some(TakeError::Busy));
    let elsewhere = Claim { purpose: purpose("GET", "https://example.org/2"), ..claim(1) };
    assert_eq!(error(&payments, elsewhere.clone()), Some(TakeError::OtherPurpose));
    let posted = Claim { purpose: purpose("POST", "https://example.org/1"), ..claim(1) };
    assert_eq!(error(&payments, posted), Some(TakeError::OtherPurpose));
    let forged = Claim { signed: [9; 32], ..claim(1) };
    assert_eq!(error(&payments, forged), Some(TakeError::OtherAuthorization));
    assert!(!payments.is_known(&key(1).digest));
    drop(taken);
    // Nobody was asked to settle it: it is as good as new, for anything.
    assert_eq!(payments.take(elsewhere, NOW).map(|taken| taken.before.clone()).ok(), Some(Before::Nothing));
}

#[test]
fn what_was_handed_over_stays_unknown_until_somebody_says() {
    let payments = Arc::<Payments>::default();
    let taken = payments.take(claim(1), NOW);
    payments.seen(&entry(1, PaymentState::Settling));
    drop(taken);
    assert!(payments.is_unknown(&key(1).digest));
    assert_eq!(payments.unknown(), 1);
    assert_eq!(before(&payments, 1), Before::Unknown);
    let late = payments.take(claim(1), UNTIL + UNKNOWN_SECS - 1).map(|taken| taken.before.clone());
    assert_eq!(late.ok(), Some(Before::Unknown), "that its time is over says nothing of what became of it");
    payments.seen(&entry(1, PaymentState::Failed));
    assert!(!payments.is_known(&key(1).digest), "nothing moved: it is as good as new");
    assert_eq!(before(&payments, 1), Before::Nothing);
}

#[test]
fn what_is_settled_is_delivered_until_it_arrived() {
    let payments = Arc::<Payments>::default();
    payments.seen(&entry(1, PaymentState::Settling));
    payments.seen(&entry(1, PaymentState::Settled));
    let settlement: Arc<str> = "x402 eip155:8453 0x01".into();
    assert_eq!(before(&payments, 1), Before::Settled { settlement: settlement.clone(), recorded: false });
    assert_eq!(
        payments.unrecorded(),
        [*entry(1, PaymentState::Settled).fetch],
        "its money has no record yet"
    );
    payments.delivered(&delivered(1, Outcome::Aborted, false));
    assert_eq!(payments.unrecorded(), []);
    assert_eq!(before(&payments, 1), Before::Settled { settlement, recorded: true });
    payments.delivered(&delivered(1, Outcome::Complete, true));
    assert_eq!(error(&payments, claim(1)), Some(TakeError::Used));
}

#[test]
fn broken_deliveries_end_somewhere() {
    let payments = Arc::<Payments>::default();
    payments.seen(&entry(1, PaymentState::Settled));
    for number in 0..DELIVERIES_MAX {
        assert!(payments.take(claim(1), NOW).is_ok(), "delivery {number}");
        payments.delivered(&delivered(1, Outcome::Aborted, number > 0));
    }
    assert_eq!(error(&payments, claim(1)), Some(TakeError::Used));
    payments.seen(&entry(2, PaymentState::Settled));
    assert!(
        payments.take(claim(2), UNTIL + UNKNOWN_SECS - 1).is_ok(),
        "what kept us from delivering may take longer"
    );
    assert_eq!(
        payments.take(claim(2), UNTIL + UNKNOWN_SECS).err(),
        Some(TakeError::Used),
        "its time is over"
    );
}

#[test]
fn an_identifier_names_one_payment() {
    let payments = Arc::<Payments>::default();
    let named = |number, payload| {
        let identifier = Identifier { name: "example.org pay_1".to_owned(), payload: [payload; 32] };
        Claim { identifier: Some(identifier), ..claim(number) }
    };
    let taken = payments.take(named(1, 1), NOW).expect("it is new");
    assert_eq!(error(&payments, named(2, 2)), Some(TakeError::IdentifierConflict), "while it is under way");
    let mut settled = entry(1, PaymentState::Settled);
    settled.identifier = Some("example.org pay_1".to_owned());
    settled.payload = Some(hex(&[1; 32]));
    payments.seen(&settled);
    payments.delivered(&delivered(1, Outcome::Complete, false));
    drop(taken);
    assert!(payments.take(named(1, 1), NOW).is_ok(), "delivered whole, and asked for by its name");
    assert_eq!(error(&payments, claim(1)), Some(TakeError::Used), "not by its name");
    assert_eq!(error(&payments, named(2, 2)), Some(TakeError::IdentifierConflict));
    assert!(
        payments.take(named(1, 1), NOW + IDENTIFIER_SECS - 1).is_ok(),
        "longer than it is good for money"
    );
    assert!(payments.take(named(1, 1), NOW + IDENTIFIER_SECS).is_err());
}

#[test]
fn at_the_limit_nothing_is_forgotten_early() {
    let payments = Arc::<Payments>::default();
    let numbered = |number: usize, until: i64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        Claim { key: SpendKey { until, digest }, ..claim(0) }
    };
    for number in 0..PAYMENTS_MAX {
        payments.known().insert(numbered(number, UNTIL).key.digest, Payment::new(numbered(number, UNTIL)));
    }
    let more = numbered(PAYMENTS_MAX, UNTIL + GRACE_SECS + 1);
    assert_eq!(error(&payments, more.clone()), Some(TakeError::Full));
    assert!(payments.take(more, UNTIL + GRACE_SECS).is_ok(), "there is room again");
}

/// What happens to four payments, in any order.
#[derive(Clone, Copy, Debug)]
enum Event {
    State(u8, PaymentState),
    Record(u8, Outcome),
}

fn event() -> impl Strategy<Value = Event> {
    let state =
        prop_oneof![Just(PaymentState::Settling), Just(PaymentState::Settled), Just(PaymentState::Failed),];
    let outcome = prop_oneof![Just(Outcome::Complete), Just(Outcome::Aborted)];
    prop_oneof![
        (0u8..4, state).prop_map(|(number, state)| Event::State(number, state)),
        (0u8..4, outcome).prop_map(|(number, outcome)| Event::Record(number, outcome)),
    ]
}

proptest! {
    /// Wherever the process ends, what it wrote says the same as what it knew; and every payment that was settled has its money in
    /// exactly one record after the next start.
    #[test]
    fn a_start_knows_what_was_written(
        events in proptest::collection::vec(event(), 0..40), saved_after in 0usize..40,
    ) {
        let live = Derived::new("//example.org/ledger");
        let (mut entries, mut saved) = (Vec::new(), None);
        let mut settled = [false; 4];
        let mut paid = [0u32; 4];
        for (number, event) in events.iter().enumerate() {
            let entry = match *event {
                // A payment is settled once; what is settled is neither handed over again nor fails.
                Event::State(number, _) if settled[usize::from(number)] => continue,
                Event::State(number, state) => {
                    settled[usize::from(number)] = state == PaymentState::Settled;
                    entry(number, state).encode()
                }
                Event::Record(number, _) if !settled[usize::from(number)] => continue,
                Event::Record(number, outcome) => {
                    let repeat = paid[usize::from(number)] > 0;
                    paid[usize::from(number)] += u32::from(!repeat);
                    delivered(number, outcome, repeat).encode()
                }
            };
            live.observe(entries.len() as u64, &entry);
            entries.push(entry);
            if number == saved_after {
                saved = Some((entries.len(), live.save()));
            }
        }
        let again = Derived::new("//example.org/ledger");
        let from = saved.map_or(0, |(from, state)| {
            again.restore(&state).expect("its own state");
            from
        });
        for (index, entry) in entries.iter().enumerate().skip(from) {
            again.observe(index as u64, entry);
        }
        for number in 0..4 {
            let ask = |derived: &Derived| derived.payments().take(claim(number), NOW).map(|taken| taken.before.clone());
            prop_assert_eq!(ask(&again), ask(&live), "payment {}", number);
        }
        for record in again.payments().unrecorded() {
            paid[usize::from(record.url.as_bytes()[record.url.len() - 1] - b'0')] += 1;
        }
        for number in 0..4 {
            prop_assert_eq!(paid[number], u32::from(settled[number]), "payment {}", number);
        }
    }
}

#[test]
fn a_record_of_a_settled_payment_says_that_it_is_settled() {
    let derived = Derived::new("//example.org/ledger");
    let payments = derived.payments();
    let taken = payments.take(claim(1), NOW).expect("it is new");
    derived.observe(0, &entry(1, PaymentState::Settling).encode());
    // The entry that says `settled` found no room; the fetch's had its place before.
    derived.observe(1, &delivered(1, Outcome::Complete, false).encode());
    drop(taken);
    assert_eq!(error(payments, claim(1)), Some(TakeError::Used));
    assert!(!payments.is_unknown(&key(1).digest));
}

#[test]
fn what_was_paid_and_is_in_no_record_is_not_forgotten() {
    let payments = Arc::<Payments>::default();
    payments.seen(&entry(1, PaymentState::Settling));
    payments.seen(&entry(1, PaymentState::Settled));
    payments.seen(&entry(2, PaymentState::Settling));
    payments.seen(&entry(2, PaymentState::Settled));
    payments.delivered(&delivered(2, Outcome::Complete, false));
    let later = NOW + 10 * 86_400;
    drop(payments.take(Claim { key: SpendKey { until: later + 60, ..key(3) }, ..claim(3) }, later));
    let owed: Vec<_> = payments.unrecorded().into_iter().map(|record| record.id).collect();
    assert_eq!(owed, ["fetch 1"]);
    assert!(payments.is_known(&key(1).digest) && !payments.is_known(&key(2).digest));
}
