//! Money is conserved: whatever is fetched, repeated, aborted, refused by the ledger or lost in a crash, the sum of
//! what was charged equals a naive model's, and so do the balances before and after any restart.

use std::collections::HashMap;
use std::sync::Arc;

use billing::derived::{Derived, LedgerObserver};
use billing::rate::rate_record;
use ledger::Observer as _;
use metrics::{Outcome, Text, UsageRecord};
use proptest::prelude::*;

const OPERATORS: [&str; 3] = ["example-labs", "acme-ai", "spoof"];
const START: i64 = 1_795_354_805;
const FREE_SECS: u64 = 3_600;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A fetch closes; `appended` says whether the ledger takes its record.
    Fetch { fetch: Fetch, appended: bool },
    /// The side file is written.
    Save,
    /// The process dies and starts again from the last side file and the ledger.
    Crash,
}

#[derive(Clone, Debug)]
struct Fetch {
    operator: usize,
    work: u8,
    version: u8,
    tagged: bool,
    unit: &'static str,
    /// The slice of a 206.
    slice: Option<u8>,
    outcome: Outcome,
    share: u64,
    owed: bool,
    every_fetch_counts: bool,
    /// Paid before delivery: the price of a fetch, whatever becomes of it.
    settled: bool,
    later_secs: i64,
}

fn fetch() -> impl Strategy<Value = Fetch> {
    let what = (0usize..3, 0u8..4, 0u8..2, any::<bool>());
    let unit = prop_oneof![Just("fetch"), Just("MB"), Just("1000-words")];
    let outcome = prop_oneof![
        6 => Just(Outcome::Complete), 2 => Just(Outcome::Aborted), 1 => Just(Outcome::Truncated),
        1 => Just(Outcome::NotModified),
    ];
    let slice = prop_oneof![3 => Just(None), 1 => (0u8..3).prop_map(Some)];
    let time = prop_oneof![8 => 0i64..60, 2 => 500i64..5_000, 1 => Just(40 * 86_400)];
    let flags = (prop::bool::weighted(0.8), prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    (what, unit, slice, outcome, 0u64..=100, flags, time).prop_map(
        |((operator, work, version, tagged), unit, slice, outcome, share, flags, later_secs)| Fetch {
            operator,
            work,
            version,
            tagged,
            unit,
            slice,
            outcome,
            share,
            owed: flags.0 && (operator != 2 || flags.2 && unit == "fetch"),
            every_fetch_counts: flags.1,
            settled: flags.2 && flags.0 && unit == "fetch" && outcome != Outcome::NotModified,
            later_secs,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (fetch(), prop::bool::weighted(0.9)).prop_map(|(fetch, appended)| Event::Fetch { fetch, appended }),
        1 => Just(Event::Save),
        1 => Just(Event::Crash),
    ]
}

const BODY_BYTES: u64 = 1_200_000;

fn record(fetch: &Fetch, seconds: i64, number: usize) -> UsageRecord {
    let declared = fetch.slice.map_or(BODY_BYTES, |slice| 1_000 * (u64::from(slice) + 1));
    let bytes = if fetch.outcome == Outcome::Complete { declared } else { declared * fetch.share / 100 };
    let version = format!("{}-{}", fetch.version, if fetch.tagged { 0 } else { bytes });
    let slice = fetch.slice.map(|slice| format!("bytes {slice}/9"));
    UsageRecord {
        id: format!("fetch {number}"),
        source: "//example.org/ledger".into(),
        time_micros: seconds * 1_000_000,
        crawler: "ExampleBot".into(),
        operator: OPERATORS[fetch.operator].into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "none".into(),
        method: "GET".into(),
        url: format!("https://example.org/{}", fetch.work),
        work: format!("example.org/{}", fetch.work),
        holder: None,
        licence: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: fetch.settled.then(|| format!("x402 eip155:8453 0x{number:x}")),
        would_refuse: None,
        status: match (fetch.outcome, fetch.slice) {
            (Outcome::NotModified, _) => 304,
            (_, Some(_)) => 206,
            (_, None) => 200,
        },
        outcome: fetch.outcome,
        bytes,
        declared_bytes: Some(declared),
        digest: Some(format!("{version}/{slice:?}")),
        etag: fetch.tagged.then(|| format!("\"{version}\"")),
        content_range: slice,
        content_type: None,
        words: (fetch.unit == "1000-words").then_some(bytes / 6),
        words_capped: false,
        currency: "USD".into(),
        unit: Some(fetch.unit.into()),
        price_nano: Some(1_234_567),
        max_nano: None,
        quantity: 0,
        repeat: false,
        owed: fetch.owed,
        quote_nano: 0,
        amount_nano: 0,
    }
}

/// The same rules, written down the plain way: all purchases ever, searched from the beginning.
#[derive(Default)]
struct Model {
    /// Operator, work, version, slice (where slices are paid one by one), when, paid or only quoted.
    purchases: Vec<(usize, u8, String, Option<u8>, i64, bool)>,
    owed: HashMap<(usize, i32), i128>,
    settled: HashMap<(usize, i32), i128>,
    total: i128,
}

impl Model {
    fn close(&mut self, fetch: &Fetch, record: &UsageRecord, seconds: i64, appended: bool) -> i64 {
        if fetch.settled {
            let amount = if fetch.owed { 1_234_567 } else { 0 };
            if appended {
                let month = metrics::month_of(seconds * 1_000_000);
                *self.settled.entry((fetch.operator, month)).or_default() += i128::from(amount);
                self.total += i128::from(amount);
            }
            return amount;
        }
        let billed = matches!(record.status, 200 | 206)
            && matches!(fetch.outcome, Outcome::Complete | Outcome::Aborted);
        let version = record.etag.clone().or(record.digest.clone()).unwrap();
        let name = if fetch.tagged { format!("tag {version}") } else { format!("digest {version}") };
        let one_by_one = fetch.slice.filter(|_| fetch.unit != "fetch");
        let free = !fetch.every_fetch_counts
            && self.purchases.iter().any(|(operator, work, bought, slice, when, paid)| {
                (*operator, *work) == (fetch.operator, fetch.work)
                    && *bought == name
                    && (slice.is_none() || *slice == one_by_one)
                    && seconds - when < FREE_SECS as i64
                    && (*paid || !fetch.owed)
            });
        let price = 1_234_567i128;
        let exact = |units: u64, size: i128| {
            let nano = price * i128::from(units);
            let (whole, rest) = (nano / size, nano % size);
            whole + i128::from(rest * 2 > size || rest * 2 == size && whole % 2 == 1)
        };
        let quote = match fetch.unit {
            _ if !billed || free => 0,
            "MB" => exact(record.bytes, 1_000_000),
            "1000-words" => exact(record.bytes / 6, 1_000),
            _ if fetch.outcome == Outcome::Complete => price,
            _ => exact(record.bytes, i128::from(record.declared_bytes.unwrap())),
        };
        if appended {
            if quote > 0 && fetch.outcome == Outcome::Complete {
                // A later purchase stands in the place of an earlier one, but a quote never in that of a payment.
                let same = |it: &(usize, u8, String, Option<u8>, i64, bool)| {
                    (it.0, it.1, &it.2, it.3, it.5)
                        == (fetch.operator, fetch.work, &name, one_by_one, fetch.owed)
                };
                self.purchases.retain(|it| !same(it));
                self.purchases.push((fetch.operator, fetch.work, name, one_by_one, seconds, fetch.owed));
            }
            let amount = if fetch.owed { quote } else { 0 };
            *self.owed.entry((fetch.operator, metrics::month_of(seconds * 1_000_000))).or_default() += amount;
            self.total += amount;
        }
        i64::try_from(if fetch.owed { quote } else { 0 }).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_sum_equals_the_naive_model(events in proptest::collection::vec(event(), 1..150)) {
        let mut model = Model::default();
        let mut ledger: Vec<Vec<u8>> = Vec::new();
        let mut saved: Option<(usize, Vec<u8>)> = None;
        let mut derived = Derived::new("//example.org/ledger");
        let mut seconds = START;
        for event in &events {
            match event {
                Event::Fetch { fetch, appended } => {
                    seconds += fetch.later_secs;
                    let mut record = record(fetch, seconds, ledger.len());
                    let free_secs = if fetch.every_fetch_counts { 0 } else { FREE_SECS };
                    let closing = derived.close(&mut record, free_secs);
                    let expected = model.close(fetch, &record, seconds, *appended);
                    prop_assert_eq!(record.amount_nano, expected, "{:?}", fetch);
                    if *appended {
                        ledger.push(record.encode());
                        // Seen from a note here and, after a crash, from the entry: the sums must not tell.
                        let note = Derived::note(Box::new(record.map(Text::Own)), closing);
                        derived.observe_noted(ledger.len() as u64 - 1, &ledger[ledger.len() - 1], Some(&note));
                    } else {
                        derived.forget(closing);
                    }
                }
                Event::Save => saved = Some((ledger.len(), derived.save())),
                Event::Crash => {
                    derived = Derived::new("//example.org/ledger");
                    let mut observer = LedgerObserver(Arc::clone(&derived));
                    let from = saved.as_ref().map_or(0, |(entries, state)| {
                        observer.restore(state).expect("its own state");
                        *entries
                    });
                    for (index, entry) in ledger.iter().enumerate().skip(from) {
                        observer.committed(index as u64, entry, None);
                    }
                }
            }
        }
        let records: Vec<UsageRecord> =
            ledger.iter().map(|entry| UsageRecord::parse(entry).expect("a record")).collect();
        let sum: i128 = records.iter().map(|record| i128::from(record.amount_nano)).sum();
        prop_assert_eq!(sum, model.total);
        for record in &records {
            let again = rate_record(record);
            prop_assert_eq!(
                (again.quantity, again.quote_nano, again.amount_nano),
                (record.quantity, record.quote_nano, record.amount_nano),
                "a statement finds the same"
            );
        }
        // Balances of more than a year before the newest are dropped.
        let newest = metrics::month_of(seconds * 1_000_000);
        for ((operator, month), owed) in &model.owed {
            if *month > newest - 12 {
                prop_assert_eq!(derived.accounts().owed(OPERATORS[*operator], policy::Currency::USD, *month), *owed);
                let lines = derived.summary(*month).lines;
                let line: i128 = lines
                    .iter()
                    .filter(|line| line.operator == OPERATORS[*operator])
                    .map(|line| line.owed_nano)
                    .sum();
                prop_assert_eq!(line, *owed);
            }
        }
        for ((operator, month), settled) in &model.settled {
            if *month > newest - 12 {
                let lines = derived.summary(*month).lines;
                let lines = lines.iter().filter(|line| line.operator == OPERATORS[*operator]);
                prop_assert_eq!(lines.map(|line| line.settled_nano).sum::<i128>(), *settled);
            }
        }
    }
}
