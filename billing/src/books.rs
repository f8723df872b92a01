//! The books: an SQL projection of the ledger.
//!
//! # What they are
//!
//! One SQLite file with a row for each entry of the ledger, made for questions: who, which works, when, how much. Texts
//! that come again and again are kept once, in `text`; the view `fetches` shows usage with the texts in place, for
//! people who ask in SQL. The schema is in `books/schema.rs`.
//!
//! # What they are not
//!
//! They are not the truth. Every row follows from one ledger entry and from nothing else, so the file can be deleted
//! at any time; [`Books::rebuild`] makes it again, equal to what it was ([`Books::digest`]).
//!
//! # Crash story
//!
//! Rows, the next index and the Merkle frontier over the entries read so far change in one transaction. A process
//! that dies in between leaves the books at an earlier entry, and the next one goes on from there. Several processes
//! may catch up at once, beside a running `byline serve`: each takes the write lock before it looks where to go on.

mod digest;
mod read;
mod schema;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger::merkle::{Frontier, Hash, leaf_hash};
use ledger::{Position, Reader};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub(crate) use read::{Filter, GapRow, Page, RollupRow, TextId, UsageRow};

/// Entries that one transaction takes in: large enough that its cost vanishes, small enough that another process which
/// waits for the lock gets it well within [`BUSY_TIMEOUT`].
const BATCH_ENTRIES: usize = 20_000;

/// How long a process waits for another one that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// The books, open.
#[derive(Debug)]
pub struct Books {
    connection: Connection,
    ledger: PathBuf,
}

/// What the books were made of: the ledger as it was after its entry `size - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// How many entries.
    pub size: u64,
    /// The Merkle root over them; the same as `byline verify` names for that size.
    pub root: Hash,
}

/// An entry that the books cannot agree with.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// The entry's index.
    pub entry: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Why the books cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// SQLite failed.
    #[error("the books {path} cannot be used")]
    Sql {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The directory or file could not be made or removed.
    #[error("the books {path} cannot be made")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing to make books from.
    #[error("there is no ledger in {path}")]
    NoLedger {
        /// Where it should be.
        path: PathBuf,
    },
    /// The ledger could not be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] ledger::ReadError),
    /// The books know entries that this ledger does not have, or has otherwise.
    #[error(
        "the books were made from another ledger, or the ledger lost entries ({why}); after `byline verify`, make them again with `byline books rebuild`"
    )]
    OtherLedger {
        /// What shows it.
        why: String,
    },
    /// Written by a newer version.
    #[error(
        "the books have schema {found}, this version knows {known}: use the newer version, or `byline books rebuild`"
    )]
    NewerSchema {
        /// What the file has.
        found: i64,
        /// What this version writes.
        known: i64,
    },
}

impl BooksError {
    fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> BooksError + use<> {
        let path = path.to_owned();
        move |source| BooksError::Sql { path: path.clone(), source }
    }
}

impl Books {
    /// Opens the books of a state directory (`STATE/books.sqlite`, of `STATE/ledger`), or begins them, and takes in
    /// what the ledger has by now.
    ///
    /// # Errors
    /// See [`BooksError`].
    pub fn open(state: &Path) -> Result<Books, BooksError> {
        let mut books = Books::open_as_is(state)?;
        books.catch_up()?;
        Ok(books)
    }

    /// Opens the books without looking whether the ledger has more.
    ///
    /// # Errors
    /// See [`BooksError`].
    pub fn open_as_is(state: &Path) -> Result<Books, BooksError> {
        let ledger = state.join("ledger");
        if !ledger.is_dir() {
            return Err(BooksError::NoLedger { path: ledger }); // before a file of ours appears in a wrong directory
        }
        let path = state.join("books.sqlite");
        let connection = connect(&path).map_err(BooksError::sql(&path))?;
        let mut books = Books { connection, ledger };
        let found = schema::version(&books.connection).map_err(books.sql())?;
        if found > schema::VERSION {
            return Err(BooksError::NewerSchema { found, known: schema::VERSION });
        }
        if found != schema::VERSION {
            books.begin_again(|found| found != schema::VERSION)?;
        }
        Ok(books)
    }

    /// Makes the books of a state directory from the first entry on, whatever stood in them.
    ///
    /// # Errors
    /// See [`BooksError`].
    pub fn rebuild(state: &Path) -> Result<Books, BooksError> {
        let mut books = match Books::open_as_is(state) {
            Ok(mut books) => {
                books.begin_again(|_| true)?;
                books
            }
            Err(error @ BooksError::NoLedger { .. }) => return Err(error),
            Err(_) => {
                // Not a database, of a newer schema, or damaged: nothing in it is worth more than the ledger.
                for suffix in ["", "-wal", "-shm"] {
                    let path = state.join(format!("books.sqlite{suffix}"));
                    match std::fs::remove_file(&path) {
                        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                            return Err(BooksError::File { path, source });
                        }
                        _ => {}
                    }
                }
                Books::open_as_is(state)?
            }
        };
        books.catch_up()?;
        Ok(books)
    }

    /// Takes in what the ledger has beyond the last entry read; returns how many entries that were.
    ///
    /// # Errors
    /// See [`BooksError`].
    pub fn catch_up(&mut self) -> Result<u64, BooksError> {
        let mut entries = 0;
        loop {
            let taken = self.catch_up_batch()?;
            entries += taken;
            if taken < BATCH_ENTRIES as u64 {
                return Ok(entries);
            }
        }
    }

    /// What the books were made of.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn extent(&self) -> Result<Extent, BooksError> {
        let frontier = self.frontier()?;
        Ok(Extent { size: frontier.size(), root: frontier.root() })
    }

    /// SHA-256 over all rows in a canonical order and form, in hex: equal for equal books.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn digest(&self) -> Result<String, BooksError> {
        digest::of(&self.connection).map_err(self.sql())
    }

    /// One transaction: up to [`BATCH_ENTRIES`] entries.
    fn catch_up_batch(&mut self) -> Result<u64, BooksError> {
        let fail = self.sql();
        // Immediate: where to go on is only known under the lock.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let mut cursor = write::Cursor::load(&transaction).map_err(&fail)?;
        let mut reader = reader_after(&self.ledger, &cursor)?;
        let mut taken = 0;
        {
            let mut writer = write::Writer::new(&transaction).map_err(&fail)?;
            while taken < BATCH_ENTRIES as u64 {
                let Some((index, entry)) = reader.next_entry()? else { break };
                if index != cursor.frontier.size() {
                    let why = format!("entry {} is followed by entry {index}", cursor.frontier.size());
                    return Err(BooksError::OtherLedger { why });
                }
                writer.entry(index, &entry).map_err(&fail)?;
                cursor.advance(&entry);
                taken += 1;
            }
        }
        if taken > 0 {
            cursor.store(&transaction).map_err(&fail)?;
            transaction.commit().map_err(&fail)?;
        }
        Ok(taken)
    }

    fn frontier(&self) -> Result<Frontier, BooksError> {
        Ok(write::Cursor::load(&self.connection).map_err(self.sql())?.frontier)
    }

    /// Drops everything and makes empty tables, in one transaction, if the schema's version still asks for it under the
    /// lock: of several who open new books at once, the first begins them and the others find them begun.
    fn begin_again(&mut self, wanted: impl Fn(i64) -> bool) -> Result<(), BooksError> {
        let fail = self.sql();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        if wanted(schema::version(&transaction).map_err(&fail)?) {
            schema::create(&transaction).map_err(&fail)?;
        }
        transaction.commit().map_err(&fail)
    }

    fn sql(&self) -> impl Fn(rusqlite::Error) -> BooksError + use<> {
        BooksError::sql(Path::new(self.connection.path().unwrap_or("books.sqlite")))
    }
}

/// A reader at the cursor; it has seen that the entry before it is still the one that the books know.
fn reader_after(ledger: &Path, cursor: &write::Cursor) -> Result<Reader, BooksError> {
    let size = cursor.frontier.size();
    let Some(last) = size.checked_sub(1) else { return Ok(Reader::open(ledger)?) };
    let mut reader = Reader::open_at(ledger, Position { index: last })?;
    match reader.next_entry()? {
        Some((index, entry)) if index == last && leaf_hash(&entry) == cursor.last_leaf => Ok(reader),
        Some(_) => Err(BooksError::OtherLedger { why: format!("entry {last} reads otherwise") }),
        None => Err(BooksError::OtherLedger { why: format!("entry {last} is not there") }),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // No mutex: a connection belongs to one thread here, as the compiler sees to.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // WAL: readers and the writer do not wait for each other. NORMAL: a power cut may take back the last
    // transactions, never break the file, and what was taken back is read from the ledger again.
    to_wal(&connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -32_768)?; // KiB
    Ok(connection)
}

/// The first one to open new books changes their journal's mode. SQLite refuses that at once where another connection
/// does the same (waiting could end in a deadlock), so it is tried again for as long as a lock is waited for.
fn to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let begun = std::time::Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && begun.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            done => return done,
        }
    }
}
