//! The crash test: a story of appends, seals, clean stops and starts is told on a simulated disk, and cut short or
//! disturbed at every single operation; then whatever the disk kept must be a ledger that lost nothing.
//!
//! What must hold after every case, whatever happened: the start succeeds; every acknowledged entry is at its index
//! with its bytes; nothing is there that nobody appended; the root is the root; the observer has seen exactly the
//! entries that there are; `verify` agrees before and after; appending goes on.

use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::reader::Reader;
use crate::sim::{Dice, Fault, SimDisk, Survival};
use crate::verify::{Verdict, verify_on};
use crate::writer::{WriteError, Writer};
use crate::{Note, Observer, Options, Pause, Position, merkle};

/// One story's entries, as its teller knows them.
#[derive(Clone, Default)]
struct Books {
    acknowledged: Vec<Vec<u8>>,
    /// Handed in and not answered: a prefix of it may be in the ledger.
    in_flight: Vec<Vec<u8>>,
    /// Makes each entry unlike any other.
    serial: u64,
    /// How often there was no space.
    pauses: u64,
}

/// Derived state that notices each entry that is missing, repeated or different.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<(u64, u32)>>);

impl Tally {
    fn seen(&self) -> (u64, u32) {
        *self.0.lock().unwrap()
    }

    fn of(entries: &[Vec<u8>]) -> (u64, u32) {
        let crc = entries.iter().fold(0, |crc, entry| crc32c::crc32c_append(crc, entry));
        (entries.len() as u64, crc)
    }
}

impl Observer for Tally {
    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (count, crc) = saved.split_at(8);
        *self.0.lock().unwrap() =
            (u64::from_le_bytes(count.try_into().unwrap()), u32::from_le_bytes(crc.try_into().unwrap()));
        Ok(())
    }

    fn committed(&mut self, index: u64, entry: &[u8], _: Option<&Note>) {
        let mut seen = self.0.lock().unwrap();
        assert_eq!(index, seen.0, "the observer sees every entry once, in order");
        *seen = (index + 1, crc32c::crc32c_append(seen.1, entry));
    }

    fn save(&mut self) -> Vec<u8> {
        let (count, crc) = self.seen();
        [&count.to_le_bytes()[..], &crc.to_le_bytes()].concat()
    }

    fn resumed(&mut self, _: &Pause) -> Option<Vec<u8>> {
        None
    }
}

/// Sizes at which everything happens within a few kilobytes.
fn options() -> Options {
    Options { segment_bytes: 4096, zero_ahead_bytes: 1024, batch_bytes: 2048, ..Options::default() }
}

fn open(disk: &SimDisk) -> Result<(Writer, Tally), crate::OpenError> {
    let tally = Tally::default();
    let (writer, _) = Writer::open(Arc::new(disk.clone()), options(), Box::new(tally.clone()))?;
    Ok((writer, tally))
}

impl Books {
    fn new_entry(&mut self, dice: &mut Dice) -> Vec<u8> {
        self.serial += 1;
        let length = match dice.roll(24) {
            0 => 1 + dice.roll(6000), // longer than a segment, now and then
            1 => 512,
            _ => 1 + dice.roll(300),
        };
        let mut entry = format!("{}:", self.serial).into_bytes();
        entry.resize((length as usize).max(entry.len()), self.serial as u8);
        entry
    }

    /// Appends some entries; `None` when the ledger will not write again.
    fn append(&mut self, writer: &mut Writer, count: u64, dice: &mut Dice) -> Option<()> {
        self.in_flight = (0..count).map(|_| self.new_entry(dice)).collect();
        while !self.in_flight.is_empty() {
            match writer.append(&self.in_flight) {
                Ok(indexes) => {
                    assert_eq!(indexes.start, self.acknowledged.len() as u64);
                    let count = (indexes.end - indexes.start) as usize;
                    self.acknowledged.extend(self.in_flight.drain(..count));
                }
                Err(WriteError::NoSpace(_)) => {
                    self.pauses += 1;
                    self.in_flight.clear(); // they were refused, so none of them may ever turn up
                }
                Err(WriteError::Broken(_)) => return None,
            }
        }
        Some(())
    }

    /// Tells the story until its end or until the ledger will not go on.
    fn tell(&mut self, disk: &SimDisk, seed: u64) {
        let mut dice = Dice(seed);
        for _ in 0..3 {
            let Ok((mut writer, _)) = open(disk) else { return };
            for _ in 0..8 + dice.roll(6) {
                let count = 1 + dice.roll(7);
                if self.append(&mut writer, count, &mut dice).is_none() {
                    return;
                }
                if dice.roll(2) > 0 && writer.zero_ahead().is_err() {
                    return;
                }
            }
            if dice.roll(3) > 0 && writer.close().is_err() {
                return; // else the process just ends
            }
        }
    }

    /// Checks all that must hold, with a few more entries at the end.
    fn check(&mut self, disk: &SimDisk, dice: &mut Dice) {
        disk.restart();
        match verify_on(disk) {
            Verdict::Intact { size, .. } => self.check_size(size),
            Verdict::CannotTell { .. } if self.acknowledged.is_empty() => {}
            other => panic!("after the crash: {other:?}, files {:?}", disk.names()),
        }
        let (mut writer, tally) =
            open(disk).unwrap_or_else(|error| panic!("{error}, files {:?}", disk.names()));
        self.accept(writer.checkpoint().size);
        assert_eq!(tally.seen(), Tally::of(&self.acknowledged));
        let before = self.acknowledged.len();
        self.append(&mut writer, 3, dice).expect("a sound disk");
        assert_eq!(self.acknowledged.len(), before + 3);
        assert_eq!(tally.seen(), Tally::of(&self.acknowledged));
        let closed = writer.close().expect("a sound disk");
        drop(writer);

        let leaves: Vec<_> = self.acknowledged.iter().map(|entry| merkle::leaf_hash(entry)).collect();
        let root = merkle::root(&leaves);
        assert_eq!((closed.size, closed.root), (leaves.len() as u64, root));
        assert_eq!(verify_on(disk), Verdict::Intact { size: closed.size, root, notes: vec![] });
        let reader = Reader::on(Arc::new(disk.clone()), Position { index: 0 });
        let read: Vec<_> = reader.map(|entry| entry.unwrap().1).collect();
        assert!(read == self.acknowledged, "the entries are those that were acknowledged, and no other");
    }

    fn check_size(&self, size: u64) {
        let least = self.acknowledged.len() as u64;
        let most = least + self.in_flight.len() as u64;
        assert!((least..=most).contains(&size), "{size} entries, but {least} to {most} are possible");
    }

    /// What was in flight and is found counts from now on.
    fn accept(&mut self, size: u64) {
        self.check_size(size);
        let found = size as usize - self.acknowledged.len();
        self.acknowledged.extend(self.in_flight.drain(..).take(found));
    }
}

/// The number of operations that a story has when nothing happens to it.
fn length_of(seed: u64) -> u64 {
    let disk = SimDisk::new();
    let mut books = Books::default();
    books.tell(&disk, seed);
    assert!(
        disk.names().iter().filter(|name| name.ends_with(".seg")).count() > 3,
        "the story seals segments"
    );
    let operations = disk.operations();
    books.check(&disk, &mut Dice(seed));
    operations
}

/// A story with something planned for one operation.
fn told(seed: u64, operation: u64, fault: Fault) -> (SimDisk, Books) {
    let disk = SimDisk::new();
    disk.plan(operation, fault);
    let mut books = Books::default();
    books.tell(&disk, seed);
    (disk, books)
}

const SURVIVALS: [Survival; 13] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::TornLast,
    Survival::TornLast,
    Survival::Subset,
    Survival::Subset,
    Survival::Subset,
    Survival::Subset,
    Survival::Subset,
    Survival::Flipped,
    Survival::Flipped,
    Survival::Flipped,
    Survival::Flipped,
];

/// One case; if it fails, it says how to have it again.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed case: {}", self.0);
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let mut cases = 0;
    for seed in 0..4 {
        for operation in 0..length_of(seed) {
            let (disk, books) = told(seed, operation, Fault::PowerCut);
            for (number, survival) in SURVIVALS.into_iter().enumerate() {
                let _case = Case(format!("seed {seed} operation {operation} {survival:?} {number}"));
                let mut dice = Dice(seed << 32 | operation << 8 | number as u64);
                let disk = disk.fork();
                disk.power_cycle(survival, &mut dice);
                books.clone().check(&disk, &mut dice);
                cases += 1;
            }
        }
    }
    println!("power cuts: {cases} cases");
    assert!(cases >= 10_000, "only {cases} cases");
}

#[test]
fn a_second_power_cut_during_recovery_loses_nothing_either() {
    let mut cases = 0;
    // First the power fails, or the process is killed and nothing is lost yet; then, during the start, the power fails.
    for (first, then) in [(Some(Survival::Flipped), Survival::Flipped), (None, Survival::Nothing)] {
        for seed in 10..12 {
            for operation in (0..length_of(seed)).step_by(3) {
                let (disk, books) = told(seed, operation, Fault::PowerCut);
                let mut dice = Dice(seed << 32 | operation);
                match first {
                    Some(survival) => disk.power_cycle(survival, &mut dice),
                    None => disk.restart(),
                }
                let undisturbed = disk.fork();
                drop(open(&undisturbed));
                let operations = undisturbed.operations() - disk.operations();
                for second in 0..operations + 2 {
                    let _case = Case(format!("seed {seed} operation {operation} {first:?} then {second}"));
                    let (disk, mut books) = (disk.fork(), books.clone());
                    disk.plan(second, Fault::PowerCut);
                    if let Ok((mut writer, _)) = open(&disk) {
                        books.accept(writer.checkpoint().size);
                        let _ = books.append(&mut writer, 2, &mut dice);
                    }
                    disk.power_cycle(then, &mut dice);
                    books.check(&disk, &mut dice);
                    cases += 1;
                }
            }
        }
    }
    println!("power cuts during recovery: {cases} cases");
    assert!(cases >= 2_000, "only {cases} cases");
}

#[test]
fn a_failed_write_or_sync_stops_the_writer_and_loses_nothing() {
    let mut cases = 0;
    for seed in 20..22 {
        for operation in 0..length_of(seed) {
            let (disk, books) = told(seed, operation, Fault::Broken);
            let mut dice = Dice(seed << 32 | operation);
            {
                // A new process sees in the cache what the failed sync never wrote; then the power fails.
                let _case =
                    Case(format!("seed {seed} operation {operation}: a new process, then a power cut"));
                let (disk, mut books) = (disk.fork(), books.clone());
                books.check(&disk, &mut dice);
                disk.power_cycle(Survival::Nothing, &mut dice);
                books.check(&disk, &mut dice);
                cases += 1;
            }
            for survival in [Survival::Nothing, Survival::Everything, Survival::Subset, Survival::Flipped] {
                let _case = Case(format!("seed {seed} operation {operation}: a power cut, {survival:?}"));
                let disk = disk.fork();
                disk.power_cycle(survival, &mut dice);
                books.clone().check(&disk, &mut dice);
                cases += 1;
            }
        }
    }
    println!("failed operations: {cases} cases");
    assert!(cases >= 2_000, "only {cases} cases");
}

#[test]
fn want_of_space_and_short_writes_are_survived_without_a_restart() {
    let (mut cases, mut pauses) = (0, 0);
    for seed in 30..32 {
        for operation in 0..length_of(seed) {
            for fault in [Fault::NoSpace, Fault::Short] {
                let (disk, books) = told(seed, operation, fault);
                pauses += books.pauses;
                assert!(fault == Fault::NoSpace || books.pauses == 0, "a short write is no want of space");
                let mut dice = Dice(seed << 32 | operation);
                for survival in [None, Some(Survival::Nothing), Some(Survival::Flipped)] {
                    let _case = Case(format!("seed {seed} operation {operation} {fault:?} {survival:?}"));
                    let disk = disk.fork();
                    if let Some(survival) = survival {
                        disk.power_cycle(survival, &mut dice);
                    }
                    books.clone().check(&disk, &mut dice);
                    cases += 1;
                }
            }
        }
    }
    println!("want of space and short writes: {cases} cases, {pauses} pauses");
    assert!(cases >= 2_000 && pauses > 100, "only {cases} cases with {pauses} pauses");
}

#[test]
fn a_disk_that_is_full_at_any_byte_and_later_has_space_again_loses_nothing() {
    let mut cases = 0;
    for seed in 40..42 {
        for capacity in (0..20_000).step_by(37) {
            let _case = Case(format!("seed {seed} capacity {capacity}"));
            let disk = SimDisk::new();
            disk.set_capacity(Some(capacity));
            let mut books = Books::default();
            let mut dice = Dice(seed << 32 | capacity);
            let (mut writer, tally) = open(&disk).expect("a full disk is no reason not to start");
            for _ in 0..30 {
                let count = 1 + dice.roll(5);
                books.append(&mut writer, count, &mut dice).expect("a full disk is not broken");
                writer.zero_ahead().expect("nor is one without space for zeros");
            }
            assert!(books.pauses > 0);
            disk.set_capacity(None);
            writer.probe().expect("there is space again");
            let before = books.acknowledged.len();
            books.append(&mut writer, 9, &mut dice).expect("there is space again");
            assert_eq!(books.acknowledged.len(), before + 9);
            assert_eq!(tally.seen(), Tally::of(&books.acknowledged));
            drop(writer);
            disk.power_cycle(Survival::Flipped, &mut dice);
            books.check(&disk, &mut dice);
            cases += 1;
        }
    }
    println!("full disks: {cases} cases");
    assert!(cases >= 1_000, "only {cases} cases");
}

#[test]
fn the_simulated_disk_does_lose_what_is_not_synced() {
    let disk = SimDisk::new();
    let mut file = disk.create("a").unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(0, b"newer").unwrap();
    disk.create("b").unwrap();
    disk.power_cycle(Survival::Nothing, &mut Dice(0));
    let mut bytes = [0; 6];
    disk.open("a", crate::Access::Read).unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!((&bytes, disk.names()), (b"synced", vec!["a".to_owned()]));
}
