//! The ledger on a real file system, through its public face.

use std::path::Path;
use std::sync::mpsc;

use ledger::{Appender, Ledger, Options, Position, Reader, Verdict, verify};

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
