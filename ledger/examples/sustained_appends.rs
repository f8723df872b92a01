//! Prints how many entries per second a ledger makes durable while so many callers each wait for their own.
//!
//!     cargo run --release -p byline-ledger --example sustained_appends [DIRECTORY [SECONDS]]
//!
//! One line of JSON for each number of callers. A caller hands in its next entry as soon as the last is on disk, as a
//! server's requests do; `append_rate` measures groups that are handed in and awaited as a whole. Afterwards the ledger
//! must verify and hold every entry that was acknowledged.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use ledger::{Ledger, Options, Verdict, verify};

const ENTRY_BYTES: usize = 1024;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let seconds =
        arguments.next().map_or(3, |text| text.to_string_lossy().parse().expect("a number of seconds"));
    for callers in [1, 64, 1000] {
        let directory = base.join(format!("ledger-sustained-{}-{callers}", std::process::id()));
        measure(&directory, callers, Duration::from_secs(seconds));
        std::fs::remove_dir_all(&directory).expect("remove");
    }
}

fn measure(directory: &Path, callers: usize, time: Duration) {
    let (ledger, appender) = Ledger::open_dir(directory, Options::default(), Box::new(())).expect("open");
    let (sender, receiver) = sync_channel(callers);
    let append = || {
        let (sender, started) = (sender.clone(), Instant::now());
        let slot = appender.reserve().expect("a slot");
        slot.append(vec![b'e'; ENTRY_BYTES], move |result| {
            sender.send((result, started)).expect("somebody waits");
        });
    };
    let (cpu, begun) = (cpu_time(), Instant::now());
    for _ in 0..callers {
        append();
    }
    let (mut waits, mut open) = (Vec::new(), callers);
    while open > 0 {
        let (result, started) = receiver.recv().expect("an answer");
        result.expect("durable");
        waits.push(started.elapsed());
        if begun.elapsed() < time {
            append();
        } else {
            open -= 1;
        }
    }
    let (took, cpu) = (begun.elapsed(), cpu_time() - cpu);
    let size = ledger.close().expect("close").size;
    let verified = verify(directory);
    assert!(matches!(verified, Verdict::Intact { .. }), "{verified:?}");
    assert!(size >= waits.len() as u64, "{size} entries for {} that were acknowledged", waits.len());

    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        r#"{{"callers":{callers},"bytes":{ENTRY_BYTES},"per_second":{:.0},"cpu_micros":{:.2},"p50_micros":{},"p99_micros":{}}}"#,
        waits.len() as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / waits.len() as f64,
        at(0.5),
        at(0.99),
    );
}

/// CPU time of this process so far, user and system, to 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
