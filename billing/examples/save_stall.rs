//! How long a worker waits in [`Derived::close`] while the ledger's writer saves a full set of repeat keys.
//!
//! `cargo run --release -p byline-billing --example save_stall`

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use billing::derived::Derived;
use billing::repeat::KEYS_MAX;
use metrics::{Outcome, UsageRecord};

const NOW: i64 = 1_795_354_800;
const SAVES: u32 = 10;

fn main() {
    let derived = Derived::new("//example.org/ledger");
    for number in 0..KEYS_MAX {
        let mut record = record(number);
        let _closing = derived.close(&mut record, 86_400);
        derived.observe(number as u64, &record.encode());
    }
    println!(
        "alone:       {}",
        waits(|| derived.close(&mut record(7), 86_400), || std::thread::sleep(PAUSE))
    );
    let mut saves = Duration::ZERO;
    let busy = waits(
        || derived.close(&mut record(7), 86_400),
        || {
            for _ in 0..SAVES {
                let started = Instant::now();
                assert!(derived.save().len() > KEYS_MAX * 24);
                saves += started.elapsed();
            }
        },
    );
    println!("during saves: {busy}");
    println!("a save takes {:?}", saves / SAVES);
}

const PAUSE: Duration = Duration::from_secs(1);

/// Closes on a thread of its own for as long as `meanwhile` takes, and says how long single calls took.
fn waits<T>(close: impl Fn() -> T + Sync, meanwhile: impl FnOnce()) -> String {
    let done = AtomicBool::new(false);
    let mut waits = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                let _ = close();
                waits.push(started.elapsed());
                // A worker has other things to do; it comes back often enough to meet every save.
                std::thread::sleep(Duration::from_micros(100));
            }
            waits
        });
        meanwhile();
        done.store(true, Ordering::Relaxed);
        worker.join().expect("the worker does not panic")
    });
    waits.sort_unstable();
    let at = |per_mille: usize| waits[(waits.len() - 1) * per_mille / 1_000];
    format!("{} calls, median {:?}, 99 % {:?}, longest {:?}", waits.len(), at(500), at(990), at(1_000))
}

fn record(number: usize) -> UsageRecord {
    UsageRecord {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: (NOW + number as i64 / 1_000) * 1_000_000,
        crawler: "ExampleBot".into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "none".into(),
        method: "GET".into(),
        url: format!("https://example.org/articles/{number}"),
        work: "articles".into(),
        holder: None,
        licence: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 1_000,
        declared_bytes: Some(1_000),
        digest: None,
        etag: Some("\"v1\"".into()),
        content_range: None,
        content_type: None,
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(100),
        max_nano: None,
        quantity: 0,
        repeat: false,
        owed: true,
        quote_nano: 0,
        amount_nano: 0,
    }
}
