//! Tampering with a ledger that was stopped cleanly: whatever is changed, `verify` sees it and names the entry.

use std::sync::Arc;

use super::*;
use crate::sim::{Dice, SimDisk};
use crate::writer::Writer;
use crate::{OpenError, Options};

/// Where a byte belongs: what a change of it makes doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Entry(u64),
    Commit(u64),
    Zeros,
}

/// A small ledger with one entry in each batch, so that the place of every byte is known without the code under test.
struct Sample {
    disk: SimDisk,
    lengths: Vec<usize>,
}

const SEGMENT_BYTES: u64 = 1024;

impl Sample {
    fn new() -> Sample {
        let disk = SimDisk::new();
        let lengths: Vec<usize> = (0..28).map(|index| 1 + (index * 37) % 150).collect();
        for part in [&lengths[..10], &lengths[10..]] {
            let mut writer = Sample::open(&disk).unwrap();
            for length in part {
                let index = writer.checkpoint().size;
                writer.append(&[vec![b'a' + (index % 26) as u8; *length]]).unwrap();
            }
            writer.close().unwrap();
        }
        assert!(disk.names().iter().filter(|name| name.ends_with(".side")).count() >= 3);
        assert!(matches!(verify_on(&disk), Verdict::Intact { size: 28, .. }));
        Sample { disk, lengths }
    }

    fn open(disk: &SimDisk) -> Result<Writer, OpenError> {
        let options = Options { segment_bytes: SEGMENT_BYTES, zero_ahead_bytes: 256, ..Options::default() };
        Ok(Writer::open(Arc::new(disk.clone()), options, Box::new(()))?.0)
    }

    /// What each byte of a segment is, by the written format.
    fn places(&self, name: &str) -> Vec<Place> {
        let mut places = vec![Place::Header; 96];
        let length = self.disk.bytes_of(name).len();
        for index in first_index(name, "seg").unwrap()..28 {
            let frame = (16 + self.lengths[index as usize]).next_multiple_of(8);
            if places.len() + frame + 56 > SEGMENT_BYTES as usize {
                break;
            }
            places.resize(places.len() + frame, Place::Entry(index));
            places.resize(places.len() + 56, Place::Commit(index));
        }
        places.resize(length.max(places.len()), Place::Zeros);
        places
    }

    /// The index that a change of a byte must be reported with.
    fn expected(&self, name: &str, offset: usize) -> u64 {
        if name == HEAD_FILE {
            return 28;
        }
        if let Some(first) = first_index(name, "side") {
            return first;
        }
        let places = self.places(name);
        match places[offset] {
            Place::Header => first_index(name, "seg").unwrap(),
            Place::Entry(index) | Place::Commit(index) => index,
            Place::Zeros => {
                let last = places.iter().rev().find_map(|place| match place {
                    Place::Entry(index) => Some(*index),
                    _ => None,
                });
                last.unwrap() + 1
            }
        }
    }

    fn with(&self, change: impl FnOnce(&SimDisk)) -> SimDisk {
        let disk = self.disk.fork();
        change(&disk);
        disk
    }
}

#[test]
fn after_a_clean_stop_every_flipped_byte_is_seen_and_its_entry_named() {
    let sample = Sample::new();
    let newest_side = sample.disk.names().into_iter().rfind(|name| name.ends_with(".side")).unwrap();
    let newest_segment = sample.disk.names().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let mut flips = 0;
    for name in sample.disk.names() {
        let bytes = sample.disk.bytes_of(&name);
        for offset in 0..bytes.len() {
            for mask in [1 << (offset % 8), 0xff] {
                let mut changed = bytes.clone();
                changed[offset] ^= mask;
                let disk = sample.with(|disk| disk.tamper(&name, Some(changed)));
                match verify_on(&disk) {
                    Verdict::Tampered { index, .. } => {
                        assert_eq!(
                            index,
                            sample.expected(&name, offset),
                            "{name} {offset} {:?}",
                            verify_on(&disk)
                        );
                    }
                    other => panic!("{name} {offset}: {other:?}"),
                }
                if [HEAD_FILE, &newest_side, &newest_segment].contains(&name.as_str()) {
                    assert!(matches!(Sample::open(&disk), Err(OpenError::Corrupt { .. })), "{name} {offset}");
                    assert_eq!(
                        disk.bytes_of(&newest_segment).len(),
                        sample.disk.bytes_of(&newest_segment).len()
                    );
                }
                flips += 1;
            }
        }
    }
    println!("{flips} flips");
    assert!(flips > 5_000);
}

#[test]
fn any_file_removed_swapped_copied_or_cut_is_seen() {
    let sample = Sample::new();
    let names = sample.disk.names();
    let mut dice = Dice(7);
    let (mut cases, mut unchanged) = (0, 0);
    while cases < 1_000 {
        let pick = |dice: &mut Dice| names[dice.roll(names.len() as u64) as usize].clone();
        let (name, other) = (pick(&mut dice), pick(&mut dice));
        let bytes = sample.disk.bytes_of(&name);
        let at = dice.roll(bytes.len() as u64) as usize;
        let kind = dice.roll(7);
        let mut what = format!("{kind} {name} {other} {at}");
        let disk = sample.with(|disk| match kind {
            0 => disk.tamper(&name, None),
            1 => {
                disk.tamper(&name, Some(disk.bytes_of(&other)));
                disk.tamper(&other, Some(bytes));
            }
            2 => disk.tamper(&other, Some(bytes)),
            3 => disk.tamper(&name, Some(bytes[..at].to_vec())),
            4 => {
                let mut bytes = bytes;
                let end = (at + 1 + dice.roll(200) as usize).min(bytes.len());
                bytes.drain(at..end);
                disk.tamper(&name, Some(bytes));
            }
            5 => {
                let mut bytes = bytes;
                bytes.splice(at..at, vec![dice.roll(256) as u8; 1 + dice.roll(100) as usize]);
                disk.tamper(&name, Some(bytes));
            }
            _ => {
                // A segment, or a side file, under a name that the log does not have.
                let extension = if name.ends_with(".seg") { "seg" } else { "side" };
                let copy = format!("{:020}.{extension}", 1 + dice.roll(60) * 1000);
                what = format!("{what} {copy}");
                disk.tamper(&copy, Some(bytes));
            }
        });
        let same = disk.names() == names
            && names.iter().all(|name| disk.bytes_of(name) == sample.disk.bytes_of(name));
        if same {
            unchanged += 1;
            assert!(unchanged < 500);
            continue;
        }
        assert!(matches!(verify_on(&disk), Verdict::Tampered { .. }), "{what}: {:?}", verify_on(&disk));
        cases += 1;
    }
}

#[test]
fn swapped_entries_are_named_by_the_first_of_them() {
    let sample = Sample::new();
    let name = segment_name(0);
    let places = sample.places(&name);
    let span = |index| {
        let start = places.iter().position(|place| *place == Place::Entry(index)).unwrap();
        let end = places.iter().rposition(|place| *place == Place::Commit(index)).unwrap();
        start..end + 1
    };
    let bytes = sample.disk.bytes_of(&name);
    let swapped = [&bytes[..span(1).start], &bytes[span(2)], &bytes[span(1)], &bytes[span(2).end..]].concat();
    let disk = sample.with(|disk| disk.tamper(&name, Some(swapped)));
    assert!(matches!(verify_on(&disk), Verdict::Tampered { index: 1, .. }), "{:?}", verify_on(&disk));
}

#[test]
fn a_dropped_tail_is_missed_by_the_marks() {
    let sample = Sample::new();
    let last = sample.disk.names().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let first = first_index(&last, "seg").unwrap();
    let disk = sample.with(|disk| disk.tamper(&last, None));
    assert!(matches!(verify_on(&disk), Verdict::Tampered { index, .. } if index == first));
    assert!(matches!(Sample::open(&disk), Err(OpenError::Corrupt { index, .. }) if index == first));

    // Without a clean stop the marks know only what was there when the process began: here, ten entries.
    let disk = sample.with(|disk| disk.tamper(&segment_name(0), None));
    assert!(matches!(verify_on(&disk), Verdict::Tampered { index: 0, .. }));
    assert!(matches!(Sample::open(&disk), Err(OpenError::Corrupt { index: 0, .. })));
}

#[test]
fn damage_before_whole_commits_is_no_crash() {
    let disk = SimDisk::new();
    let mut writer = Sample::open(&disk).unwrap();
    for _ in 0..3 {
        writer.append(&[vec![b'x'; 40]]).unwrap();
    }
    drop(writer); // no clean stop
    let name = segment_name(0);
    let mut bytes = disk.bytes_of(&name);
    bytes[96 + 20] ^= 1; // in the first of three entries
    disk.tamper(&name, Some(bytes.clone()));
    let refused = Sample::open(&disk);
    assert!(
        matches!(&refused, Err(OpenError::Corrupt { index: 0, file, offset: 96, .. }) if *file == name),
        "{:?}",
        refused.err()
    );
    assert_eq!(disk.bytes_of(&name), bytes, "what cannot be verified is not touched");
    assert!(matches!(verify_on(&disk), Verdict::Tampered { index: 0, offset: 96, .. }));
}

#[test]
fn no_bytes_make_it_panic() {
    let sample = Sample::new();
    let mut dice = Dice(99);
    for _ in 0..2_000 {
        let disk = sample.with(|disk| {
            for name in disk.names() {
                let mut bytes = disk.bytes_of(&name);
                for _ in 0..dice.roll(4) {
                    let at = dice.roll(bytes.len() as u64) as usize;
                    let value = [0, 0xff, dice.roll(256) as u8][dice.roll(3) as usize];
                    let end = (at + 1 + dice.roll(8) as usize).min(bytes.len());
                    bytes[at..end].fill(value);
                }
                disk.tamper(&name, Some(bytes));
            }
        });
        let _ = verify_on(&disk);
        let reader = crate::Reader::on(Arc::new(disk.clone()), crate::Position { index: 0 });
        let read = reader.take_while(Result::is_ok).count();
        assert!(read <= 28);
        let _ = Sample::open(&disk);
    }
}
