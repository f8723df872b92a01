//! The writer (being filled in).
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::{Checkpoint, Disk, Observer, Options};

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the ledger is in use by another process")]
    Locked,
    /// The system failed.
    #[error("{what}")]
    Io {
        /// Which file or operation.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk was changed or damaged; nothing was touched.
    #[error("the ledger is damaged at entry {index} ({file}, offset {offset}): {why}")]
    Corrupt {
        /// The first entry that cannot be vouched for.
        index: u64,
        /// The file.
        file: String,
        /// The offset in that file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

/// What a start found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What the ledger held.
    pub checkpoint: Checkpoint,
    /// Whether the last stop was a clean one (true for a new ledger).
    pub clean: bool,
    /// Bytes of an unfinished batch that were cut off.
    pub cut_bytes: u64,
    /// Entries that the observer saw again.
    pub replayed: u64,
    /// What a person may want to know.
    pub notes: Vec<String>,
}

#[allow(dead_code)]
pub(crate) enum WriteError {
    NoSpace(io::Error),
    Broken(String),
}

pub(crate) struct Writer {
    observer: Box<dyn Observer>,
}

impl Writer {
    pub(crate) fn open(
        _disk: Arc<dyn Disk>,
        _options: Options,
        observer: Box<dyn Observer>,
    ) -> Result<(Writer, Recovery), OpenError> {
        let _writer = Writer { observer };
        Err(OpenError::Io { what: "unfinished".into(), source: io::ErrorKind::Unsupported.into() })
    }
    pub(crate) fn append<E: AsRef<[u8]>>(&mut self, _entries: &[E]) -> Result<Range<u64>, WriteError> {
        Err(WriteError::Broken("unfinished".into()))
    }
    pub(crate) fn probe(&mut self) -> Result<(), WriteError> {
        Ok(())
    }
    pub(crate) fn observer(&mut self) -> &mut dyn Observer {
        &mut *self.observer
    }
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { size: 0, root: crate::merkle::empty_root() }
    }
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        0
    }
    pub(crate) fn segments(&self) -> u64 {
        0
    }
    pub(crate) fn close(&mut self) -> Result<Checkpoint, WriteError> {
        Ok(self.checkpoint())
    }
}
