//! A real process that appends is killed at any moment, again and again, on one ledger.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ledger::{Ledger, OpenError, Options, Reader, Verdict, verify};

const DIRECTORY: &str = "BYLINE_LEDGER_KILL_TEST";
const ROUNDS: u64 = 20;

fn options() -> Options {
    // Small, so that segments are sealed and zeros written while the killing goes on.
    Options { segment_bytes: 64 << 10, zero_ahead_bytes: 16 << 10, ..Options::default() }
}

/// Not a test of its own: it is what the other one starts as a process, which ends only by being killed.
#[test]
fn appending_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (ledger, appender) = Ledger::open_dir(Path::new(&directory), options(), Box::new(())).unwrap();
    println!("\nsize {}", ledger.recovery().checkpoint.size);
    let process = std::process::id();
    for number in 0u64.. {
        // The queue is the only brake: without a slot, the next number is tried.
        let Ok(slot) = appender.reserve() else {
            std::thread::yield_now();
            continue;
        };
        let entry = format!("{process}:{number}:{}", "x".repeat((number % 600) as usize));
        let answer = entry.clone();
        slot.append(entry.into_bytes(), move |result| {
            let index = result.unwrap().index;
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {index} {answer}").and_then(|()| out.flush()).unwrap();
        });
    }
}

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "appending_process", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        let size = loop {
            let line = lines.next().expect("the process says where it begins").unwrap();
            if let Some(size) = line.strip_prefix("size ") {
                break size.parse::<u64>().unwrap();
            }
        };
        assert!(acknowledged.iter().all(|(index, _)| *index < size), "round {round} begins at {size}");
        if round == 0 {
            let second = Ledger::open_dir(directory.path(), options(), Box::new(()));
            assert!(matches!(second, Err(OpenError::Locked)), "another process has it");
        }
        // What it says between the kill and its end counts as well: it was said after the sync.
        for line in lines.map_while(Result::ok) {
            let Some((index, entry)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else {
                continue;
            };
            heard += 1;
            if heard == 100 + round * 37 {
                child.kill().unwrap();
            }
            // The last line may be cut short by the kill: a whole entry has as much filler as its number says.
            if let [_, number, filler] = entry.split(':').collect::<Vec<_>>()[..]
                && number.parse::<u64>().unwrap() % 600 == filler.len() as u64
            {
                acknowledged.push((index.parse().unwrap(), entry.to_owned()));
            }
        }
        child.wait().unwrap();
        let verdict = verify(directory.path());
        assert!(matches!(verdict, Verdict::Intact { .. }), "round {round}: {verdict:?}");
    }
    let (ledger, _) = Ledger::open_dir(directory.path(), options(), Box::new(())).unwrap();
    let closed = ledger.close().unwrap();
    assert!(matches!(verify(directory.path()), Verdict::Intact { size, .. } if size == closed.size));
    let entries: Vec<String> = Reader::open(directory.path())
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().1).unwrap())
        .collect();
    assert_eq!(entries.len() as u64, closed.size);
    assert!(acknowledged.len() as u64 > ROUNDS * 100);
    for (index, entry) in acknowledged {
        assert_eq!(entries[index as usize], entry);
    }
}
