//! What a metered fetch costs after its body has ended, in CPU µs: the pure pieces on the thread that serves it, and
//! what the ledger's writer thread does for one entry.
//!
//!     cargo run --release -p byline-billing --example entry_cost [DIRECTORY]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use billing::derived::{Derived, LedgerObserver};
use ledger::{Ledger, Observer, Options};
use metrics::{Entry, Outcome, Telemetry, Text, UsageRecord};
use policy::{Currency, Money};
use rustix::time::{ClockId, clock_gettime};

/// How many fetches end at about the same time.
const GROUPS: [usize; 4] = [1, 16, 64, 256];
/// Entries that are appended for one figure.
const ENTRIES: usize = 50_000;

fn main() {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let directory = base.join(format!("byline-cost-{}", std::process::id()));
    pure();
    println!("\nthe writer thread, one entry, for groups of     1     16     64    256");
    for (name, kind) in [
        ("the ledger alone", Kind::Bare),
        ("and what is derived", Kind::Derived),
        ("and acknowledgements as the proxy's", Kind::Full),
    ] {
        print!("{name:<40} ");
        for group in GROUPS {
            print!("{:>6.2} ", writer_micros(&directory, kind, group));
        }
        println!();
    }
}

fn pure() {
    let derived = Derived::new("//example.org/ledger");
    let (record, mut number) = (record(0), 0);
    let entry = record.encode();
    println!("an entry of {} bytes", entry.len());
    println!("clone   {:>6.2}", micros(|| record.clone()));
    println!("encode  {:>6.2}", micros(|| record.encode()));
    println!("parse   {:>6.2}", micros(|| Entry::parse(&entry)));
    let mut closed = record.clone();
    println!("close   {:>6.2}", micros(|| derived.close(&mut closed, 0)));
    println!(
        "observe {:>6.2}",
        micros(|| {
            number += 1;
            derived.observe(number, &entry);
        })
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bare,
    Derived,
    Full,
}

fn writer_micros(directory: &Path, kind: Kind, group: usize) -> f64 {
    let derived = Derived::new("//example.org/ledger");
    let telemetry = Arc::new(Telemetry::new("0"));
    let observer: Box<dyn Observer> =
        if kind == Kind::Bare { Box::new(()) } else { Box::new(LedgerObserver(Arc::clone(&derived))) };
    let (ledger, appender) = Ledger::open_dir(directory, Options::default(), observer).expect("open");
    let (sender, receiver) = sync_channel(group);
    let rounds = (ENTRIES / group).min(1_000);
    let mut before = 0;
    for round in 0..=rounds {
        if round == 1 {
            before = writer_nanos(); // the first round is there to begin with
        }
        for number in 0..group {
            let mut record = record(round * group + number);
            let _closing = derived.close(&mut record, 0);
            let (sender, telemetry) = (sender.clone(), Arc::clone(&telemetry));
            let (counted, amount_nano) = (telemetry.counted(&record), record.amount_nano);
            let hold =
                derived.accounts().hold(&record.operator, Money { nano: 100_000, currency: Currency::USD });
            let slot = appender.reserve().expect("a slot");
            let appended = Instant::now();
            slot.append(record.encode(), move |result| {
                if kind == Kind::Full {
                    telemetry.ledger_commit(appended.elapsed());
                    telemetry.fetch(&counted);
                    hold.settle(amount_nano);
                }
                if number + 1 == group {
                    sender.send(result.is_ok()).expect("somebody waits");
                }
            });
        }
        assert!(receiver.recv().expect("an answer"), "durable");
    }
    let took = writer_nanos() - before;
    ledger.close().expect("close");
    std::fs::remove_dir_all(directory).expect("remove");
    took as f64 / 1000.0 / (rounds * group) as f64
}

fn record(number: usize) -> UsageRecord<Text> {
    UsageRecord {
        id: format!("019ab0c4-7d2e-7{:03x}-8a1b-{number:012x}", number % 4096).into(),
        source: "//example.org/ledger".into(),
        time_micros: 1_795_354_800_123_456 + number as i64,
        crawler: "GPTBot".into(),
        operator: "openai".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "range https://openai.com/gptbot.json".into(),
        method: "GET".into(),
        url: format!("https://www.example.org/articles/2026/11/a-title-of-some-words-{}.html", number % 1000)
            .into(),
        work: format!(
            "https://www.example.org/articles/2026/11/a-title-of-some-words-{}.html",
            number % 1000
        )
        .into(),
        holder: Some("example-press".into()),
        licence: Some("https://example.org/licence".into()),
        policy: Text::Shared(format!("sha256:{:064x}", 7).into()),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 1_024,
        declared_bytes: Some(1_024),
        digest: Some("sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:".into()),
        etag: Some("\"5f3e-628b2c1a4b2c0\"".into()),
        content_range: None,
        content_type: Some("text/html".into()),
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(100_000),
        max_nano: None,
        quantity: 0,
        repeat: false,
        owed: true,
        quote_nano: 0,
        amount_nano: 0,
    }
}

/// The CPU time of one call, the least of several tries.
fn micros<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut timed = || {
        let started = clock_gettime(ClockId::ThreadCPUTime);
        (0..2_000).for_each(|_| drop(black_box(call())));
        let ended = clock_gettime(ClockId::ThreadCPUTime);
        ((ended.tv_sec - started.tv_sec) * 1_000_000_000 + ended.tv_nsec - started.tv_nsec) as f64
    };
    (0..15).map(|_| timed()).fold(f64::MAX, f64::min) / 2_000.0 / 1000.0
}

/// The CPU time that the writer thread has used so far.
fn writer_nanos() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").map(|task| task.expect("a task").path());
    let is_writer = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "ledger-writer")
    };
    let writer = tasks.into_iter().find(is_writer).expect("the writer thread");
    let schedstat = std::fs::read_to_string(writer.join("schedstat")).expect("schedstat");
    schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}
