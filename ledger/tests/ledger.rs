//! The ledger on a real file system, through its public face.

use std::path::Path;
use std::sync::mpsc;

use ledger::{Appender, Ledger, OpenError, Options, Position, ReadError, Reader, Verdict, verify};

fn append_all(appender: &Appender, entries: impl IntoIterator<Item = Vec<u8>>) -> Vec<u64> {
    let (sender, receiver) = mpsc::channel();
    for entry in entries {
        let sender = sender.clone();
        appender.reserve().unwrap().append(entry, move |result| sender.send(result.unwrap().index).unwrap());
    }
    drop(sender);
    receiver.iter().collect()
}

fn read_all(directory: &Path) -> Vec<Vec<u8>> {
    let entries: Vec<_> = Reader::open(directory).unwrap().map(Result::unwrap).collect();
    entries
        .into_iter()
        .enumerate()
        .map(|(at, (index, entry))| (assert_eq!(at as u64, index), entry).1)
        .collect()
}

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number} {}", "x".repeat((number % 97) as usize)).into_bytes()
}

#[test]
fn what_is_appended_is_read_back_and_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (ledger, appender) = Ledger::open_dir(directory.path(), options.clone(), Box::new(())).unwrap();
    assert_eq!(append_all(&appender, (0..3000).map(entry)), (0..3000).collect::<Vec<_>>());
    let closed = ledger.close().unwrap();
    assert_eq!(closed.size, 3000);
    assert_eq!(read_all(directory.path()), (0..3000).map(entry).collect::<Vec<_>>());
    let expected = Verdict::Intact { size: 3000, root: closed.root, notes: vec![] };
    assert_eq!(verify(directory.path()), expected);

    let (ledger, appender) = Ledger::open_dir(directory.path(), options, Box::new(())).unwrap();
    assert!(ledger.recovery().clean);
    assert_eq!(append_all(&appender, (3000..3010).map(entry)), (3000..3010).collect::<Vec<_>>());
    drop(ledger);
    let from = Reader::open_at(directory.path(), Position { index: 2995 }).unwrap();
    let tail: Vec<_> = from.map(Result::unwrap).collect();
    assert_eq!(tail, (2995..3010).map(|index| (index, entry(index))).collect::<Vec<_>>());
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Ledger::open_dir(directory.path(), Options::default(), Box::new(()));
    let (ledger, _) = open().unwrap();
    assert!(matches!(open(), Err(OpenError::Locked)));
    ledger.close().unwrap();
    let (ledger, _) = open().unwrap();
    drop(ledger);
    assert!(open().is_ok());
}

#[test]
fn the_directory_is_created_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("state/ledger");
    let (ledger, appender) = Ledger::open_dir(&directory, Options::default(), Box::new(())).unwrap();
    append_all(&appender, [b"entry".to_vec()]);
    ledger.close().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in directory.read_dir().unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_reader_beside_the_writer_gets_everything_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, zero_ahead_bytes: 8 << 10, ..Options::default() };
    let (ledger, appender) = Ledger::open_dir(directory.path(), options, Box::new(())).unwrap();
    let writer = std::thread::spawn(move || {
        for start in (0..4000).step_by(50) {
            append_all(&appender, (start..start + 50).map(entry));
        }
        appender.stats()
    });
    let mut reader = Reader::open(directory.path()).unwrap();
    let mut waits = 0;
    for number in 0..4000 {
        let (index, bytes) = loop {
            match reader.next_entry().unwrap() {
                Some(read) => break read,
                None => {
                    waits += 1;
                    std::thread::yield_now();
                }
            }
        };
        assert_eq!((index, bytes), (number, entry(number)));
        if number % 500 == 0 {
            let verdict = verify(directory.path());
            assert!(matches!(verdict, Verdict::Intact { size, .. } if size > number), "{verdict:?}");
        }
    }
    let stats = writer.join().unwrap();
    assert!(waits > 0 && stats.segments > 4, "{waits} waits, {} segments", stats.segments);
    assert!(reader.next_entry().unwrap().is_none());
    assert_eq!(ledger.close().unwrap().root, stats.root);
}

#[test]
fn what_a_killed_process_leaves_is_read_verified_and_continued() {
    let directory = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let (ledger, appender) = Ledger::open_dir(directory.path(), Options::default(), Box::new(())).unwrap();
    append_all(&appender, (0..200).map(entry));
    for file in directory.path().read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
    }
    ledger.close().unwrap();

    // The last batch is torn: half of what would have been the next one is there.
    let segment = killed.path().join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8);
    let (length, noise) = (bytes.len(), [b'n'; 1000]);
    bytes[end..end + 1000].copy_from_slice(&noise);
    std::fs::write(&segment, &bytes).unwrap();

    assert_eq!(read_all(killed.path()).len(), 200);
    let Verdict::Intact { size: 200, notes, .. } = verify(killed.path()) else {
        panic!("{:?}", verify(killed.path()))
    };
    assert!(notes.iter().any(|note| note.contains("unfinished batch")), "{notes:?}");

    let (ledger, appender) = Ledger::open_dir(killed.path(), Options::default(), Box::new(())).unwrap();
    assert!(!ledger.recovery().clean);
    assert_eq!(ledger.recovery().cut_bytes, (length - end) as u64);
    assert_eq!(append_all(&appender, [entry(200)]), [200]);
    ledger.close().unwrap();
    assert_eq!(read_all(killed.path()), (0..201).map(entry).collect::<Vec<_>>());
    assert!(matches!(verify(killed.path()), Verdict::Intact { size: 201, .. }));
}

#[test]
fn flips_in_a_ledger_of_ordinary_size_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, appender) = Ledger::open_dir(directory.path(), Options::default(), Box::new(())).unwrap();
    append_all(&appender, (0..100).map(entry));
    ledger.close().unwrap();
    let segment = directory.path().join("00000000000000000000.seg");
    let bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // Entries are told apart by their text: the entry that is named is the one whose text was changed.
    for number in [0, 1, 50, 99] {
        let text = entry(number);
        let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
        let mut changed = bytes.clone();
        changed[at + text.len() - 1] ^= 0x20;
        std::fs::write(&segment, &changed).unwrap();
        let verdict = verify(directory.path());
        assert!(
            matches!(verdict, Verdict::Tampered { index, .. } if index == number),
            "{number}: {verdict:?}"
        );
    }
    for at in [end + 9, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] = 1;
        std::fs::write(&segment, &changed).unwrap();
        let verdict = verify(directory.path());
        assert!(matches!(verdict, Verdict::Tampered { index: 100, .. }), "{at}: {verdict:?}");
    }
    std::fs::write(&segment, &bytes).unwrap();
    assert!(matches!(verify(directory.path()), Verdict::Intact { size: 100, .. }));
}

#[test]
fn no_ledger_is_neither_intact_nor_tampered() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(verify(directory.path()), Verdict::CannotTell { .. }));
    assert!(matches!(verify(&directory.path().join("none")), Verdict::CannotTell { .. }));
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "looking leaves nothing behind");
}

/// The reader looked for the next segment under the index after the last entry: under its own name, for ever.
#[test]
fn a_segment_wiped_to_its_header_ends_the_reading() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (ledger, appender) = Ledger::open_dir(directory.path(), options, Box::new(())).unwrap();
    append_all(&appender, (0..3000).map(entry));
    ledger.close().unwrap();
    let segment = directory.path().join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[96..].fill(0);
    std::fs::write(&segment, &bytes).unwrap();
    let read: Vec<_> = Reader::open(directory.path()).unwrap().take(2).collect();
    assert!(matches!(read[..], [Err(ReadError::Corrupt { index: 0, .. }), ..]), "{read:?}");
}
