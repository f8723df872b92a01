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

/// A small ledger whose every byte has a known place, without the code under test: entry 3 n is a batch of its own,
/// the two after it are one together.
struct Sample {
    disk: SimDisk,
    lengths: Vec<usize>,
}

fn batch_of(index: u64) -> std::ops::Range<u64> {
    let start = index - index % 3;
    if index == start { start..start + 1 } else { start + 1..start + 3 }
}

const SEGMENT_BYTES: u64 = 1024;

impl Sample {
    fn new() -> Sample {
        let disk = SimDisk::new();
        let lengths: Vec<usize> = (0..27).map(|index| 1 + (index * 37) % 150).collect();
        for part in [0..12, 12..27] {
            let mut writer = Sample::open(&disk).unwrap();
            while part.contains(&writer.checkpoint().size) {
                let entry = |index| vec![b'a' + (index % 26) as u8; lengths[index as usize]];
                let batch: Vec<_> = batch_of(writer.checkpoint().size).map(entry).collect();
                assert_eq!(writer.append(&batch).unwrap().count(), batch.len());
            }
            writer.close().unwrap();
        }
        assert!(disk.names().iter().filter(|name| name.ends_with(".side")).count() >= 3);
        assert!(matches!(verify_on(&disk), Verdict::Intact { size: 27, .. }));
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
        let mut next = first_index(name, "seg").unwrap();
        while next < 27 {
            let frame = |index| (16 + self.lengths[index as usize]).next_multiple_of(8);
            let batch = batch_of(next);
            // The first entry decides whether the batch begins here, and all of this sample's batches fit then.
            if places.len() + frame(next) + 56 > SEGMENT_BYTES as usize {
                break;
            }
            batch.clone().for_each(|index| places.resize(places.len() + frame(index), Place::Entry(index)));
            places.resize(places.len() + 56, Place::Commit(batch.start));
            next = batch.end;
        }
        places.resize(length.max(places.len()), Place::Zeros);
        places
    }

    /// The index that a change of a byte must be reported with.
    fn expected(&self, name: &str, offset: usize) -> u64 {
        if name == HEAD_FILE {
            return 27;
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
        let end = places.iter().rposition(|place| *place == Place::Entry(index)).unwrap();
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
        assert!(read <= 27);
        let _ = Sample::open(&disk);
    }
}

#[test]
fn files_of_absurd_size_or_place_are_not_taken_at_their_word() {
    let sample = Sample::new();
    let absurd = crate::segment::Header { first: u64::MAX, salt: [0; 16], root_before: [0; 32] };
    let disk = sample.with(|disk| disk.tamper(&segment_name(u64::MAX), Some(absurd.serialise().to_vec())));
    let reader = crate::Reader::on(Arc::new(disk.clone()), crate::Position { index: u64::MAX });
    assert_eq!(reader.take_while(Result::is_ok).count(), 0);
    match verify_on(&disk) {
        Verdict::Intact { notes, .. } => {
            assert!(notes.iter().any(|note| note.contains("not the ledger's")), "{notes:?}")
        }
        other => panic!("{other:?}"),
    }
    let absurd = crate::segment::Header { first: 0, ..absurd };
    let disk = sample.with(|disk| disk.tamper(&segment_name(1 << 61), Some(absurd.serialise().to_vec())));
    assert!(matches!(verify_on(&disk), Verdict::Tampered { .. }), "{:?}", verify_on(&disk));
}

/// What somebody can do who knows the format: entries written anew, with every checksum right.
fn forged(
    sample: &Sample,
    name: &str,
    salt: [u8; 16],
    change: impl Fn(u64, &mut Vec<u8>),
    fix_roots: bool,
) -> Vec<u8> {
    let file = sample.disk.open(name, Access::Read).unwrap();
    let mut scan = Scan::begin(file).unwrap().unwrap();
    let header = crate::segment::Header { salt, ..scan.header().clone() };
    let mut bytes = header.serialise().to_vec();
    let mut frontier = Frontier::default();
    let mut buffer = crate::segment::BatchBuffer::default();
    while let Met::Batch(batch) = scan.next().unwrap() {
        buffer.begin(header.seed());
        for (index, entry) in (batch.first..).zip(batch.entries()) {
            let mut entry = entry.to_vec();
            change(index, &mut entry);
            frontier.append(crate::merkle::leaf_hash(&entry));
            buffer.push(index, &entry);
        }
        let root = if fix_roots { frontier.root() } else { batch.root };
        buffer.finish(batch.size, root);
        bytes.extend_from_slice(buffer.bytes());
    }
    bytes.resize(sample.disk.bytes_of(name).len(), 0);
    bytes
}

#[test]
fn right_checksums_do_not_hide_a_change() {
    let sample = Sample::new();
    let name = segment_name(0);
    let salt: [u8; 16] = sample.disk.bytes_of(&name)[16..32].try_into().unwrap();
    let nothing = |_: u64, _: &mut Vec<u8>| {};
    assert_eq!(
        forged(&sample, &name, salt, nothing, true),
        sample.disk.bytes_of(&name),
        "the forger knows the format"
    );

    let fourth = |index, entry: &mut Vec<u8>| entry[0] ^= u8::from(index == 3);
    let seen = |salt, fix_roots, with_change: bool| {
        let bytes = match with_change {
            true => forged(&sample, &name, salt, fourth, fix_roots),
            false => forged(&sample, &name, salt, nothing, fix_roots),
        };
        verify_on(&sample.with(|disk| disk.tamper(&name, Some(bytes))))
    };
    assert!(
        matches!(seen(salt, false, true), Verdict::Tampered { index: 3, .. }),
        "the roots are the old ones"
    );
    assert!(matches!(seen(salt, true, true), Verdict::Tampered { .. }), "the side file knows other entries");
    assert!(
        matches!(seen([1; 16], true, false), Verdict::Tampered { index: 0, .. }),
        "the side file knows other bytes"
    );

    // The last segment, without a clean stop: the start compares the root as well.
    let disk = SimDisk::new();
    let mut writer = Sample::open(&disk).unwrap();
    writer.append(&[vec![b'x'; 40], vec![b'y'; 40]]).unwrap();
    drop(writer);
    let last = Sample { disk: disk.clone(), lengths: vec![] };
    let salt = disk.bytes_of(&name)[16..32].try_into().unwrap();
    disk.tamper(&name, Some(forged(&last, &name, salt, |index, entry| entry[0] ^= index as u8, false)));
    assert!(matches!(Sample::open(&disk), Err(OpenError::Corrupt { index: 0, .. })));
    assert!(matches!(verify_on(&disk), Verdict::Tampered { index: 0, .. }));
}
