//! Prints how many entries per second a ledger makes durable, for groups of several sizes, and how long a start takes.
//!
//!     cargo run --release -p byline-ledger --example append_rate [DIRECTORY [ENTRIES_FOR_THE_START]]
//!
//! A group is handed in at once and awaited as a whole, so it is one commit (or, beyond the batch size, a few).

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use ledger::{Appender, Ledger, Options, Reader, verify};

const ENTRY_BYTES: usize = 300;
const MEASURE: Duration = Duration::from_secs(2);

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let entries = arguments.next().map_or(1_000_000, |count| {
        count.to_string_lossy().parse().expect("the second argument is a number of entries")
    });
    let directory = base.join(format!("ledger-append-rate-{}", std::process::id()));

    println!("entries of {ENTRY_BYTES} bytes in {}", directory.display());
    println!(
        "{:>22} {:>8} {:>12} {:>10} {:>10} {:>10}",
        "zeros ahead", "group", "entries/s", "p50", "p99", "max"
    );
    for (name, zero_ahead_bytes) in [
        ("none (4 KiB)", 4 << 10),
        ("256 KiB", 256 << 10),
        ("1 MiB", 1 << 20),
        ("4 MiB", 4 << 20),
        ("whole segment", 64 << 20),
    ] {
        for group in [1, 16, 128, 1024, 8192] {
            let options = Options { zero_ahead_bytes, ..Options::default() };
            let (ledger, appender) = Ledger::open_dir(&directory, options, Box::new(())).expect("open");
            let mut took = measure(&appender, group);
            ledger.close().expect("close");
            std::fs::remove_dir_all(&directory).expect("remove");
            took.sort_unstable();
            let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
            let rate = (took.len() * group) as f64 / took.iter().sum::<Duration>().as_secs_f64();
            let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
            println!("{name:>22} {group:>8} {rate:>12.0} {p50:>10.1?} {p99:>10.1?} {max:>10.1?}");
        }
    }
    start_time(&directory, entries);
    std::fs::remove_dir_all(&directory).expect("remove");
}

/// How long each group took until its last entry was acknowledged.
fn measure(appender: &Appender, group: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < MEASURE {
        let started = Instant::now();
        append_group(appender, group);
        took.push(started.elapsed());
    }
    took
}

fn append_group(appender: &Appender, group: usize) {
    let (sender, receiver) = sync_channel(group);
    for _ in 0..group {
        let sender = sender.clone();
        let slot = appender.reserve().expect("a slot");
        slot.append(vec![b'e'; ENTRY_BYTES], move |result| sender.send(result).expect("somebody waits"));
    }
    for _ in 0..group {
        receiver.recv().expect("an answer").expect("durable");
    }
}

/// How long it takes to open a ledger with this many entries, after a clean stop and after none.
fn start_time(directory: &Path, entries: u64) {
    let (ledger, appender) = Ledger::open_dir(directory, Options::default(), Box::new(())).expect("open");
    let begun = Instant::now();
    for _ in 0..entries.div_ceil(1000) {
        append_group(&appender, 1000);
    }
    let stats = appender.stats();
    println!(
        "{} entries, {} bytes, {} segments in {:.1?}",
        stats.entries,
        stats.bytes,
        stats.segments,
        begun.elapsed()
    );

    // What a copy of the files has while the ledger is open is what a killed process leaves.
    let killed = directory.join("killed");
    std::fs::create_dir(&killed).expect("create");
    for file in std::fs::read_dir(directory).expect("list") {
        let file = file.expect("list");
        if file.file_type().expect("type").is_file() {
            std::fs::copy(file.path(), killed.join(file.file_name())).expect("copy");
        }
    }
    ledger.close().expect("close");
    for (name, directory) in [("a clean stop", directory), ("a kill", &killed)] {
        let begun = Instant::now();
        let (ledger, _) = Ledger::open_dir(directory, Options::default(), Box::new(())).expect("open");
        println!("start after {name}: {:.1?}", begun.elapsed());
        assert_eq!(ledger.close().expect("close").size, stats.entries);
    }
    let begun = Instant::now();
    assert_eq!(Reader::open(directory).expect("open").map(Result::unwrap).count() as u64, stats.entries);
    println!("read all: {:.1?}", begun.elapsed());
    let begun = Instant::now();
    println!("verify: {:?} in {:.1?}", verify(directory), begun.elapsed());
}
