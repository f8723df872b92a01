//! Writes a ledger of a million entries and leaves it as `kill -9` does, at its worst: the last segment as full as it gets.
//!
//!     cargo run --release -p byline-billing --example million_entries STATE [ENTRIES]
//!
//! It says what it has written as JSON. `bench/restart.py` (`make bench BENCH="--only restart"`) starts `byline serve` on it
//! and measures the time to the first answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use billing::derived::{Derived, LedgerObserver};
use ledger::{Ledger, Options};
use metrics::{Outcome, UsageRecord};

const SOURCE: &str = "//localhost/ledger";

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let state = PathBuf::from(arguments.next().expect("the state directory"));
    let entries = arguments.next().map_or(1_000_000, |n| n.to_string_lossy().parse().expect("a number"));
    let derived = Derived::new(SOURCE);
    let observer = Box::new(LedgerObserver(Arc::clone(&derived)));
    let (_ledger, appender) =
        Ledger::open_dir(&state.join("ledger"), Options::default(), observer).expect("a new ledger");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let mut now = i64::try_from(now.as_micros()).expect("this century") - 3_600_000_000;
    let (mut number, mut begun, mut longest) = (0_u64, 0_u64, 0_u64);
    let mut segments = appender.stats().segments;
    loop {
        let slot = loop {
            match appender.reserve() {
                Ok(slot) => break slot,
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut record = record(number, now);
        let _closing = derived.close(&mut record, 86_400);
        slot.append(record.encode(), |result| {
            result.expect("durable");
        });
        number += 1;
        now += 1_000;
        let stats = appender.stats();
        if stats.segments != segments {
            (longest, begun, segments) = (longest.max(stats.entries - begun), stats.entries, stats.segments);
        }
        // What is on its way may still be sealed, so stop a few batches short.
        if stats.entries >= entries && longest > 0 && number - begun >= longest - 3_000 {
            break;
        }
    }
    while appender.stats().queue_depth > 0 {
        std::thread::yield_now();
    }
    let stats = appender.stats();
    let (entries, segments, last) = (stats.entries, stats.segments, stats.entries - begun);
    println!(
        r#"{{"entries": {entries}, "segments": {segments}, "in_last_segment": {last}, "in_whole_segment": {longest}}}"#
    );
    // Not closed: no mark of a clean stop, no side file of the last segment.
    std::process::exit(0);
}

fn record(number: u64, time_micros: i64) -> UsageRecord {
    let work = format!("https://www.example.org/articles/2026/11/{number:07}-how-a-fetch-becomes-a-line");
    UsageRecord {
        id: format!("019a0000-0000-7000-8000-{number:012x}"),
        source: SOURCE.into(),
        time_micros,
        crawler: "ExampleBot".into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "range https://example.com/bot.json".into(),
        method: "GET".into(),
        url: work.clone(),
        work,
        holder: Some("example-press".into()),
        licence: Some("https://www.example.org/licence".into()),
        policy: format!("sha256:{}", "0".repeat(64)),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 20_000,
        declared_bytes: Some(20_000),
        digest: Some(format!("sha-256=:{}:", "A".repeat(44))),
        etag: Some(format!("\"{number:016x}\"")),
        content_range: None,
        content_type: Some("text/html".into()),
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(2_000_000),
        max_nano: None,
        quantity: 0,
        repeat: false,
        owed: true,
        quote_nano: 0,
        amount_nano: 0,
    }
}
