//! Books against real ledgers in temporary directories.

use std::path::Path;
use std::sync::mpsc;

use ledger::Ledger;
use metrics::{Entry, Gap, Outcome, PolicyPart, Rollup, UsageRecord};

use super::*;
use crate::rate::rate_record;

/// A record whose money is right. `n` makes it differ from its neighbours.
pub(crate) fn record(n: u64) -> UsageRecord {
    let units = [None, Some("fetch"), Some("MB"), Some("1000-words")];
    let unit = units[usize::try_from(n % 4).expect("small")];
    let mut record = UsageRecord {
        id: format!("01930000-0000-7000-8000-{n:012}"),
        source: "//news.example/ledger".into(),
        // A fetch a minute from 2026-11-01T00:00:00Z on.
        time_micros: (1_793_491_200 + i64::try_from(n).expect("small") * 60) * 1_000_000,
        crawler: ["GPTBot", "ClaudeBot", "CCBot"][usize::try_from(n % 3).expect("small")].into(),
        operator: ["openai", "anthropic", "spoof"][usize::try_from(n % 3).expect("small")].into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "range policy".into(),
        method: "GET".into(),
        url: format!("https://news.example/articles/{}", n % 50),
        work: format!("news.example/articles/{}", n % 50),
        holder: (!n.is_multiple_of(5)).then(|| format!("press-{}", n % 2)),
        licence: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: if unit.is_some() { "charge" } else { "allow" }.into(),
        authorisation: None,
        settlement: (n % 8 == 1).then(|| format!("x402 eip155:{} 0x{n:x}", 8453 + n % 3)),
        would_refuse: None,
        status: if n.is_multiple_of(11) { 404 } else { 200 },
        outcome: if n.is_multiple_of(7) { Outcome::Aborted } else { Outcome::Complete },
        bytes: 1_000 + n * 37 % 5_000,
        declared_bytes: Some(6_000),
        digest: None,
        etag: None,
        content_range: None,
        content_type: Some("text/html".into()),
        words: Some(n % 900),
        words_capped: false,
        currency: "USD".into(),
        unit: unit.map(str::to_owned),
        price_nano: unit.map(|_| 2_000_001),
        max_nano: unit.map(|_| 3_000_000),
        quantity: 0,
        repeat: n.is_multiple_of(13),
        owed: n % 3 != 2,
        quote_nano: 0,
        amount_nano: 0,
    };
    let rated = rate_record(&record);
    (record.quantity, record.quote_nano, record.amount_nano) =
        (rated.quantity, rated.quote_nano, rated.amount_nano);
    record
}

pub(crate) fn rollup(n: u64, refused: bool) -> Rollup {
    Rollup {
        id: format!("01930000-0000-7000-9000-{n:012}"),
        source: "//news.example/ledger".into(),
        time_micros: 1_793_491_320_000_000,
        minute: 1_793_491_260,
        crawler: "GPTBot".into(),
        operator: "openai".into(),
        purpose: "train".into(),
        assurance: "claimed".into(),
        holder: Some("press-1".into()),
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        refused,
        status: if refused { 402 } else { 200 },
        outcome: (!refused).then_some(Outcome::Complete),
        fetches: 17,
        bytes: if refused { 0 } else { 1_700 },
        currency: "USD".into(),
        unit: Some("fetch".into()),
        quantity: if refused { 0 } else { 17 },
        quote_nano: if refused { 0 } else { 17 * 2_000_001 },
    }
}

pub(crate) fn gap() -> Gap {
    Gap {
        id: "01930000-0000-7000-a000-000000000000".into(),
        source: "//news.example/ledger".into(),
        time_micros: 1_793_491_500_000_000,
        since_micros: 1_793_491_400_000_000,
        until_micros: 1_793_491_500_000_000,
        fetches: 3,
        bytes: 4,
        refused: 5,
        reason: "No space left on device".into(),
    }
}

/// Appends entries and waits until they are durable.
pub(crate) fn append(state: &Path, entries: impl IntoIterator<Item = Vec<u8>>) {
    let (ledger, appender) = open_ledger(state);
    let (sender, acks) = mpsc::channel();
    let mut waiting = 0;
    for entry in entries {
        let sender = sender.clone();
        let slot = appender.reserve().expect("a place in the queue");
        slot.append(entry, move |ack| sender.send(ack.map(drop)).expect("the test waits"));
        waiting += 1;
        // The queue is bounded: never more than a few on their way.
        if waiting >= 1_000 {
            acks.recv().expect("an answer").expect("a durable entry");
            waiting -= 1;
        }
    }
    for _ in 0..waiting {
        acks.recv().expect("an answer").expect("a durable entry");
    }
    ledger.close().expect("a clean stop");
}

fn open_ledger(state: &Path) -> (Ledger, ledger::Appender) {
    Ledger::open_dir(&state.join("ledger"), ledger::Options::default(), Box::new(())).expect("a ledger")
}

fn policy_parts() -> Vec<Vec<u8>> {
    let mut n = 0;
    let mut id = || {
        n += 1;
        format!("01930000-0000-7000-b000-{n:012}")
    };
    let sources = [("policy.toml", "version = 1\n")];
    PolicyPart::split(
        "//news.example/ledger",
        1_793_491_200_000_000,
        "sha256:00",
        "enforce",
        sources,
        &mut id,
    )
    .iter()
    .map(PolicyPart::encode)
    .collect()
}

/// Everything that a ledger may hold, some of it strange.
fn mixed(from: u64, to: u64) -> Vec<Vec<u8>> {
    let mut entries = policy_parts();
    entries.extend((from..to).map(|n| record(n).encode()));
    entries.push(rollup(from, true).encode());
    entries.push(rollup(from, false).encode());
    entries.push(gap().encode());
    entries.push(b"not JSON".to_vec());
    entries.push(
        br#"{"data":{},"id":"1","source":"//x","specversion":"1.0","type":"ai.usage.later.v9"}"#.to_vec(),
    );
    entries
}

#[test]
fn books_caught_up_in_steps_equal_books_made_at_once() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), mixed(0, 300));
    let mut books = Books::open(state.path()).expect("books");
    let first = books.extent().expect("an extent");
    assert_eq!(first.size, 306);

    append(state.path(), mixed(300, 301));
    assert_eq!(books.catch_up().expect("the rest"), 7);
    assert_eq!(books.catch_up().expect("nothing"), 0, "a second look takes nothing in twice");
    append(state.path(), mixed(301, 400));
    drop(books);
    let books = Books::open(state.path()).expect("books that go on");
    let (extent, digest) = (books.extent().expect("an extent"), books.digest().expect("a digest"));
    assert_eq!(extent.size, 306 + 7 + 105);

    let ledger::Verdict::Intact { size, root, .. } = ledger::verify(&state.path().join("ledger")) else {
        panic!("the ledger is intact");
    };
    assert_eq!((extent.size, extent.root), (size, root), "books name what `byline verify` names");

    let rebuilt = Books::rebuild(state.path()).expect("new books");
    assert_eq!(rebuilt.extent().expect("an extent"), extent);
    assert_eq!(rebuilt.digest().expect("a digest"), digest);
}

#[test]
fn the_digest_sees_every_change() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), mixed(0, 20));
    let books = Books::open(state.path()).expect("books");
    let before = books.digest().expect("a digest");
    for change in [
        "UPDATE usage SET amount_nano = amount_nano + 1 WHERE idx = 5",
        "UPDATE usage SET url = url || '/' WHERE idx = 6",
        "UPDATE usage SET holder = NULL WHERE idx = 7",
        "DELETE FROM rollup WHERE idx = (SELECT max(idx) FROM rollup)",
        "UPDATE text SET value = 'Nobody' WHERE value = 'GPTBot'",
        "DELETE FROM finding",
        "UPDATE gap SET fetches = 0",
    ] {
        books.connection.execute_batch(&format!("SAVEPOINT change; {change}")).expect(change);
        assert_ne!(books.digest().expect("a digest"), before, "{change}");
        books.connection.execute_batch("ROLLBACK TO change; RELEASE change").expect("undone");
    }
    assert_eq!(books.digest().expect("a digest"), before);
}

#[test]
fn broken_or_foreign_books_are_named_and_made_again() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), mixed(0, 20));
    let digest = Books::open(state.path()).expect("books").digest().expect("a digest");

    // Not a database at all.
    std::fs::write(state.path().join("books.sqlite"), "This is a shopping list, not a database file.")
        .expect("a file");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(state.path().join(format!("books.sqlite{suffix}")));
    }
    assert!(matches!(Books::open(state.path()), Err(BooksError::Sql { .. })));
    assert_eq!(Books::rebuild(state.path()).expect("books").digest().expect("a digest"), digest);

    // A ledger that is another one, or shorter.
    for entries in [mixed(50, 100), mixed(0, 2)] {
        std::fs::remove_dir_all(state.path().join("ledger")).expect("the old ledger goes");
        append(state.path(), entries);
        assert!(matches!(Books::open(state.path()), Err(BooksError::OtherLedger { .. })));
    }
    assert_eq!(Books::rebuild(state.path()).expect("books").extent().expect("an extent").size, 8);

    // A newer schema is not touched; an older one is made again without a word.
    let connection = rusqlite::Connection::open(state.path().join("books.sqlite")).expect("the file");
    connection.pragma_update(None, "user_version", schema::VERSION + 1).expect("a newer version");
    assert!(matches!(Books::open(state.path()), Err(BooksError::NewerSchema { .. })));
    connection.pragma_update(None, "user_version", schema::VERSION - 1).expect("an older version");
    drop(connection);
    assert_eq!(Books::open(state.path()).expect("books").extent().expect("an extent").size, 8);
}

#[test]
fn no_books_appear_where_there_is_no_ledger() {
    let state = tempfile::tempdir().expect("a directory");
    assert!(matches!(Books::open(state.path()), Err(BooksError::NoLedger { .. })));
    assert!(matches!(Books::rebuild(state.path()), Err(BooksError::NoLedger { .. })));
    assert_eq!(std::fs::read_dir(state.path()).expect("a directory").count(), 0);
}

#[test]
fn books_are_made_beside_a_running_writer_by_several_at_once() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), (0..500).map(|n| record(n).encode()));
    let (_ledger, appender) = open_ledger(state.path());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let state = state.path().to_owned();
            std::thread::spawn(move || {
                let mut books = Books::open(&state).expect("books");
                while books.extent().expect("an extent").size < 1_000 {
                    books.catch_up().expect("more");
                    std::thread::yield_now();
                }
                books.digest().expect("a digest")
            })
        })
        .collect();
    let (sender, acks) = mpsc::channel();
    for n in 500..1_000 {
        let sender = sender.clone();
        appender
            .reserve()
            .expect("a place")
            .append(record(n).encode(), move |ack| sender.send(ack).expect("waits"));
        acks.recv().expect("an answer").expect("durable");
    }
    let digests: Vec<String> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(Books::rebuild(state.path()).expect("books").digest().expect("a digest"), digests[0]);
}

#[test]
fn several_who_open_new_books_at_once_all_get_them() {
    for _ in 0..20 {
        let state = tempfile::tempdir().expect("a directory");
        append(state.path(), [record(1).encode()]);
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let books = Books::open(state.path()).expect("books");
                    assert_eq!(books.extent().expect("an extent").size, 1);
                });
            }
        });
    }
}

#[test]
fn the_view_shows_what_the_ledger_says() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), [record(4).encode()]);
    let books = Books::open(state.path()).expect("books");
    let row: (String, String, String, String, String, i64) = books
        .connection
        .query_row("SELECT time, operator, crawler, holder, url, bytes FROM fetches", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })
        .expect("one row");
    assert_eq!(
        row,
        (
            "2026-11-01T00:04:00Z".into(),
            "anthropic".into(),
            "ClaudeBot".into(),
            "press-0".into(),
            "https://news.example/articles/4".into(),
            1_148
        )
    );
    assert!(
        matches!(Entry::parse(&record(4).encode()), Ok(Entry::Fetch(_))),
        "the test's records are real ones"
    );
}
