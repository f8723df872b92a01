//! The queue and the writer thread, on a simulated disk whose faults are planned.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::disk::Disk;
use crate::sim::{Fault, SimDisk};
use crate::{
    Access, Ack, Append, AppendError, Appender, CloseError, Ledger, Note, Observer, Options, Pause, Position,
    Reader, Slot, Status, Unavailable,
};

fn options() -> Options {
    Options { queue_entries: 8, probe_interval: Duration::from_millis(1), ..Options::default() }
}

fn open(disk: &SimDisk, observer: impl Observer + 'static) -> (Ledger, Appender) {
    Ledger::open(Arc::new(disk.clone()), options(), Box::new(observer)).unwrap()
}

/// Appends and waits for the answer.
fn append(appender: &Appender, entry: &[u8]) -> Result<Position, AppendError> {
    let (sender, receiver) = channel();
    let slot = appender.reserve().unwrap();
    slot.append(entry.to_vec(), move |result| sender.send(result).unwrap());
    receiver.recv().unwrap()
}

fn entries(disk: &SimDisk) -> Vec<Vec<u8>> {
    let reader = Reader::on(Arc::new(disk.clone()), Position { index: 0 });
    reader.map(|entry| entry.unwrap().1).collect()
}

/// Says when a pause ended, and leaves an entry about it.
struct Gaps(Sender<u64>);

impl Observer for Gaps {
    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn committed(&mut self, index: u64, entry: &[u8], _: Option<&Note>) {
        if entry.starts_with(b"gap") {
            self.0.send(index).unwrap();
        }
    }
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }
    fn resumed(&mut self, pause: &Pause) -> Option<Vec<u8>> {
        Some(format!("gap {}", pause.refused).into_bytes())
    }
}

#[test]
fn what_arrives_during_a_sync_is_the_next_batch() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let (reached, at_first) = channel();
    let (sender, receiver) = channel();
    appender.reserve().unwrap().append(b"first".to_vec(), move |_| {
        reached.send(()).unwrap();
        wait.recv().unwrap();
    });
    at_first.recv().unwrap();
    for number in 0..5 {
        let sender = sender.clone();
        appender
            .reserve()
            .unwrap()
            .append(vec![number], move |result| sender.send(result.unwrap().index).unwrap());
    }
    go.send(()).unwrap();
    let indexes: Vec<u64> = receiver.iter().take(5).collect();
    assert_eq!(indexes, [1, 2, 3, 4, 5]);
    let stats = appender.stats();
    assert_eq!((stats.commits, stats.entries, stats.accepted, stats.appended), (2, 6, 6, 6));
    assert_eq!(ledger.close().unwrap().size, 6);
}

#[test]
fn a_batch_waits_for_those_who_have_a_slot_and_no_longer() {
    let disk = SimDisk::new();
    let gather = Duration::from_millis(100); // the longest there is
    let options = Options { gather, ..options() };
    let (ledger, appender) = Ledger::open(Arc::new(disk.clone()), options, Box::new(())).unwrap();
    let (sender, receiver) = channel();
    let ack = || -> Ack {
        let sender = sender.clone();
        Box::new(move |result| sender.send(result.unwrap().index).unwrap())
    };
    let together = |entry: &[u8]| Append {
        slot: appender.reserve().unwrap(),
        entry: entry.to_vec(),
        note: None,
        ack: ack(),
    };
    appender.append_all([together(b"0"), together(b"1")]);
    assert_eq!(receiver.iter().take(2).collect::<Vec<_>>(), [0, 1]);

    let (second, third) = (appender.reserve().unwrap(), appender.reserve().unwrap());
    let started = std::time::Instant::now();
    second.append(b"2".to_vec(), ack());
    std::thread::yield_now();
    third.append(b"3".to_vec(), ack());
    assert_eq!(receiver.iter().take(2).collect::<Vec<_>>(), [2, 3]);
    let held_up = started.elapsed() >= gather; // by others who needed the processor
    assert!(appender.stats().commits == 2 || held_up, "{:?}", appender.stats());

    let never_used = appender.reserve().unwrap();
    assert_eq!(append(&appender, b"4").unwrap().index, 4, "it does not wait for ever");
    drop(never_used);
    drop(ledger);
}

#[test]
fn zeros_are_written_ahead_while_nobody_waits() {
    let disk = SimDisk::new();
    let options = Options { zero_ahead_bytes: 4096, ..options() };
    let (ledger, appender) = Ledger::open(Arc::new(disk.clone()), options, Box::new(())).unwrap();
    let segment = disk.names().into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let bytes = || disk.open(&segment, Access::Read).and_then(|file| file.len()).unwrap();
    assert_eq!(bytes(), 4096);
    // Half of the zeros and a bit: the entry finds its place, and yet the file grows.
    append(&appender, &[7; 2100]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while bytes() == 4096 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!((6144..8192).contains(&bytes()), "{} bytes", bytes());
    drop(ledger);
}

#[test]
fn entries_handed_in_together_stay_together() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    let (sender, receiver) = channel();
    let entry = |entry: &[u8]| {
        let sender = sender.clone();
        let ack: Ack = Box::new(move |result| sender.send(result).unwrap());
        Append { slot: appender.reserve().unwrap(), entry: entry.to_vec(), note: None, ack }
    };
    appender.append_all([entry(b"one"), entry(b""), entry(b"two"), entry(b"three")]);
    assert!(matches!(receiver.recv().unwrap(), Err(AppendError::Length { bytes: 0 })));
    let indexes: Vec<u64> = receiver.iter().take(3).map(|result| result.unwrap().index).collect();
    assert_eq!(indexes, [0, 1, 2]);
    let stats = appender.stats();
    assert_eq!((stats.commits, stats.accepted, stats.queue_depth), (1, 3, 0));
    appender.append_all([]);

    let late = [entry(b"four"), entry(b"five")];
    ledger.close().unwrap();
    appender.append_all(late);
    let refused: Vec<_> = receiver.iter().take(2).collect();
    assert!(refused.iter().all(|result| matches!(result, Err(AppendError::Closed))), "{refused:?}");
    assert_eq!(appender.stats().queue_depth, 0);
}

#[test]
fn slots_bound_the_queue_and_come_back() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    let mut slots: Vec<Slot> = (0..8).map(|_| appender.reserve().unwrap()).collect();
    assert!(matches!(appender.reserve(), Err(Unavailable::QueueFull { capacity: 8 })));
    assert_eq!(appender.stats().queue_depth, 8);
    drop(slots.pop());
    let again = appender.reserve().unwrap();
    assert!(appender.reserve().is_err());
    drop((slots, again));
    assert_eq!(appender.stats().queue_depth, 0);
    for number in 0..50 {
        assert_eq!(append(&appender, b"entry").unwrap().index, number);
    }
    drop(ledger);
}

#[test]
fn entries_of_a_length_that_cannot_be_are_refused_at_once() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    assert!(matches!(append(&appender, b""), Err(AppendError::Length { bytes: 0 })));
    assert!(matches!(append(&appender, &[7; 65_536]), Err(AppendError::Length { bytes: 65_536 })));
    assert_eq!(append(&appender, &[7; 65_535]).unwrap().index, 0);
    assert_eq!(ledger.close().unwrap().size, 1);
}

#[test]
fn a_closed_ledger_answers_whoever_still_has_a_slot() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    let (kept, dropped) = (appender.reserve().unwrap(), appender.reserve().unwrap());
    ledger.close().unwrap();
    drop(dropped);
    let (sender, receiver) = channel();
    kept.append(b"late".to_vec(), move |result| sender.send(result).unwrap());
    assert!(matches!(receiver.recv().unwrap(), Err(AppendError::Closed)));
    assert!(matches!(appender.reserve(), Err(Unavailable::Closed)));
    assert_eq!(appender.stats().queue_depth, 0);
}

#[test]
fn everything_handed_in_before_the_close_is_written() {
    let disk = SimDisk::new();
    let (ledger, appender) = open(&disk, ());
    let threads: Vec<_> = (0..4u8)
        .map(|thread| {
            let appender = appender.clone();
            std::thread::spawn(move || {
                (0..100u8)
                    .map(|number| append(&appender, &[thread, number]).unwrap().index)
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut by_index = vec![None; 400];
    for (thread, handle) in threads.into_iter().enumerate() {
        for (number, index) in handle.join().unwrap().into_iter().enumerate() {
            assert!(by_index[index as usize].replace(vec![thread as u8, number as u8]).is_none());
        }
    }
    let last = appender.reserve().unwrap();
    last.append(b"unheard".to_vec(), |_| {});
    assert_eq!(ledger.close().unwrap().size, 401);
    by_index.push(Some(b"unheard".to_vec()));
    assert_eq!(entries(&disk), by_index.into_iter().map(Option::unwrap).collect::<Vec<_>>());
}

#[test]
fn without_space_it_pauses_and_resumes_by_itself_with_a_gap_entry() {
    let disk = SimDisk::new();
    let (sender, gaps) = channel();
    let (ledger, appender) = open(&disk, Gaps(sender));
    append(&appender, b"before").unwrap();
    let used = appender.stats().bytes;

    disk.set_capacity(Some(used));
    let refused = loop {
        // Zeros that were written ahead are still used up first.
        match append(&appender, &[b'x'; 60_000]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::NoSpace { .. }), "{refused}");
    assert!(matches!(appender.status(), Status::Paused { .. }));
    assert!(matches!(appender.reserve(), Err(Unavailable::Paused { .. })));
    let held = appender.stats().entries;
    assert_eq!(appender.stats().pauses, 1);

    disk.set_capacity(None);
    assert_eq!(gaps.recv().unwrap(), held, "the gap entry is the first after the pause");
    while appender.reserve().is_err() {
        std::thread::yield_now();
    }
    assert_eq!(append(&appender, b"after").unwrap().index, held + 1);
    ledger.close().unwrap();
    let entries = entries(&disk);
    assert_eq!(entries[held as usize], b"gap 1");
    assert_eq!(entries.last().unwrap(), b"after");
    assert!(entries[1..held as usize].iter().all(|entry| *entry == [b'x'; 60_000]));
}

#[test]
fn a_slot_from_before_a_pause_is_answered_during_it() {
    let disk = SimDisk::new();
    let (ledger, appender) = open(&disk, ());
    let slot = appender.reserve().unwrap();
    disk.set_capacity(Some(0));
    while append_if_ready(&appender) {}
    let (sender, receiver) = channel();
    slot.append(b"late".to_vec(), move |result| sender.send(result).unwrap());
    assert!(matches!(receiver.recv().unwrap(), Err(AppendError::NoSpace { .. })));
    let size = appender.stats().entries;
    assert!(matches!(ledger.close(), Err(CloseError::NoSpace(_))));
    disk.set_capacity(None);
    let (ledger, _) = open(&disk, ());
    assert!(!ledger.recovery().clean);
    assert_eq!(ledger.close().unwrap().size, size);
}

fn append_if_ready(appender: &Appender) -> bool {
    let Ok(slot) = appender.reserve() else { return false };
    let (sender, receiver) = channel();
    slot.append(vec![1; 65_535], move |result| sender.send(result.is_ok()).unwrap());
    receiver.recv().unwrap()
}

#[test]
fn on_a_full_disk_it_starts_paused() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(0));
    let (sender, gaps) = channel();
    let (ledger, appender) = open(&disk, Gaps(sender));
    assert!(matches!(appender.reserve(), Err(Unavailable::Paused { .. })));
    assert_eq!(appender.stats().pauses, 1);
    disk.set_capacity(None);
    assert_eq!(gaps.recv().unwrap(), 0);
    assert_eq!(ledger.close().unwrap().size, 1);
}

#[test]
fn a_failed_sync_is_the_end_of_writing() {
    let disk = SimDisk::new();
    let (ledger, appender) = open(&disk, ());
    append(&appender, b"kept").unwrap();
    disk.plan(1, Fault::Broken); // the write is the next operation, its sync the one after
    assert!(matches!(append(&appender, b"doubtful"), Err(AppendError::Poisoned { .. })));
    let operations = disk.operations();
    assert!(matches!(appender.status(), Status::Poisoned { .. }));
    assert!(matches!(appender.reserve(), Err(Unavailable::Poisoned { .. })));
    assert!(matches!(ledger.close(), Err(CloseError::Poisoned { .. })));
    assert_eq!(disk.operations(), operations, "nothing is written or synced again");

    let (ledger, appender) = open(&disk, ());
    assert!((1..=2).contains(&appender.stats().entries));
    assert!(append(&appender, b"later").is_ok());
    assert!(ledger.close().is_ok());
    assert_eq!(entries(&disk)[0], b"kept");
}

#[test]
fn a_callers_panic_is_not_the_writers() {
    let (ledger, appender) = open(&SimDisk::new(), ());
    appender.reserve().unwrap().append(b"one".to_vec(), |_| panic!("in the caller's code"));
    assert_eq!(append(&appender, b"two").unwrap().index, 1);
    assert_eq!(ledger.close().unwrap().size, 2);
}

#[test]
fn an_observer_that_panics_stops_the_ledger() {
    struct Panics;
    impl Observer for Panics {
        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Ok(())
        }
        fn committed(&mut self, _: u64, _: &[u8], _: Option<&Note>) {
            panic!("lost count");
        }
        fn save(&mut self) -> Vec<u8> {
            Vec::new()
        }
        fn resumed(&mut self, _: &Pause) -> Option<Vec<u8>> {
            None
        }
    }
    let (ledger, appender) = open(&SimDisk::new(), Panics);
    assert!(append(&appender, b"one").is_err());
    assert!(matches!(ledger.close(), Err(CloseError::Poisoned { .. })));
    assert!(matches!(appender.reserve(), Err(Unavailable::Poisoned { .. })));
}

#[test]
fn an_observer_that_cannot_use_its_state_sees_everything_again() {
    struct Newer(Sender<u64>);
    impl Observer for Newer {
        fn restore(&mut self, _: &[u8]) -> Result<(), String> {
            Err("another version".into())
        }
        fn committed(&mut self, index: u64, _: &[u8], _: Option<&Note>) {
            self.0.send(index).unwrap();
        }
        fn save(&mut self) -> Vec<u8> {
            b"state".to_vec()
        }
        fn resumed(&mut self, _: &Pause) -> Option<Vec<u8>> {
            None
        }
    }
    let disk = SimDisk::new();
    let small = Options { segment_bytes: 1, ..options() }; // moved to the least that is allowed
    let (ledger, appender) = Ledger::open(Arc::new(disk.clone()), small, Box::new(())).unwrap();
    for _ in 0..40 {
        append(&appender, &[1; 9_000]).unwrap();
    }
    assert!(appender.stats().segments > 3);
    ledger.close().unwrap();
    let (sender, seen) = channel();
    let (ledger, _) = open(&disk, Newer(sender));
    assert_eq!(ledger.recovery().replayed, 40);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
}
