//! The way out: entries in order (being filled in).

use std::io;
use std::path::Path;

use crate::Position;

/// Reads entries in index order; needs no lock, and works beside a running writer.
pub struct Reader {
    _next: u64,
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system failed.
    #[error("{what}")]
    Io {
        /// Which file or operation.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk was changed or damaged.
    #[error("the ledger is damaged at entry {index} ({file}, offset {offset}): {why}")]
    Corrupt {
        /// The first entry that cannot be read.
        index: u64,
        /// The file.
        file: String,
        /// The offset in that file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

impl Reader {
    /// Reads the ledger in a directory from its first entry.
    pub fn open(directory: &Path) -> Result<Reader, ReadError> {
        Reader::open_at(directory, Position { index: 0 })
    }

    /// Reads the ledger in a directory from a position, which may be one that is yet to be written.
    pub fn open_at(_directory: &Path, from: Position) -> Result<Reader, ReadError> {
        Ok(Reader { _next: from.index })
    }

    /// The next entry of a whole committed batch; `None` at the present end: ask again later for more.
    pub fn next_entry(&mut self) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        Ok(None)
    }
}

/// Iterates to the present end; after `None`, the same iterator gives what was committed since.
impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
