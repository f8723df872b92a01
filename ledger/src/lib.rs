//! The ledger: an append-only log of opaque entries that is durable, and that shows when it was changed.
//!
//! # What it is
//!
//! Entries (1 to 65,535 bytes each) get consecutive indexes from 0. One writer thread owns the files and
//! commits in groups: whatever arrived while the last sync ran is the next batch, written by one `pwrite` and
//! made durable by one `fdatasync`. Each batch ends with a commit frame that names the tree size and the
//! RFC 6962 Merkle root over all entries so far. [`Appender`] is the way in, [`Reader`] and [`verify()`] are the
//! way out, [`Observer`] derives state from entries as they become durable.
//!
//! # What it is not
//!
//! It knows nothing of what an entry says, nothing of HTTP, and it has no runtime: acknowledgements are plain
//! callbacks. It never serialises an entry again: what is stored is what is hashed. It does not sign, and it
//! cannot show that all of it was replaced by an older copy of itself: for that, keep a [`Checkpoint`] elsewhere.
//!
//! # Crash story
//!
//! An entry that was acknowledged is on disk, at its index, with its bytes. After a crash the start reads the
//! newest side file and the last segment, checks every frame, and cuts what the crash left behind the last
//! whole commit. Where a whole commit follows a bad spot, or where a mark says that there must be more, it is not
//! a crash but damage: the ledger refuses to start and names entry, file and offset. Without space the writer
//! pauses, cuts back to the last commit and resumes by itself; after a failed sync it never writes again.
//!
//! The format, byte by byte, and its limits are in `docs/ledger-format.md`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! use ledger::{Ledger, Options, Reader};
//!
//! let (ledger, appender) = Ledger::open_dir(directory, Options::default(), Box::new(()))?;
//! let slot = appender.reserve()?; // now there is room for one entry
//! let (sender, receiver) = std::sync::mpsc::channel();
//! slot.append(b"an entry".to_vec(), move |result| sender.send(result).expect("somebody waits"));
//! assert_eq!(receiver.recv()??.index, 0); // and now it is on disk
//! let checkpoint = ledger.close()?;
//!
//! assert_eq!(checkpoint.size, 1);
//! assert_eq!(Reader::open(directory)?.next_entry()?, Some((0, b"an entry".to_vec())));
//! # Ok(())
//! # }
//! ```

mod appender;
#[cfg(test)]
mod appender_tests;
mod checkpoint;
#[cfg(test)]
mod crash;
mod disk;
mod mark;
pub mod merkle;
#[cfg(test)]
mod model;
mod queue;
mod reader;
mod recovery;
mod segment;
#[cfg(test)]
mod sim;
mod sync;
mod verify;
mod writer;

use std::time::{Duration, SystemTime};

pub use appender::{AppendError, Appender, CloseError, Ledger, Stats, Status, Unavailable};
pub use checkpoint::Checkpoint;
pub use disk::{Access, Disk, DiskFile, RealDisk};
pub use queue::{Ack, Append, Slot};
pub use reader::{ReadError, Reader};
pub use recovery::{OpenError, Recovery};
pub use verify::{Verdict, verify, verify_on};

/// The longest entry in bytes: an entry's length must fit the `u16` of a tlog-tiles entry bundle.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// The smallest segment size that can be asked for.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// How a ledger is written. What is already on disk does not depend on it: options may change between starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size at which a segment file is sealed and the next one begun: 64 MiB; at least 64 KiB.
    pub segment_bytes: u64,
    /// How many entries may be on their way (reserved, waiting or being written) at once: 8192.
    pub queue_entries: usize,
    /// How often a paused ledger tries again: 1 s.
    pub probe_interval: Duration,
    /// How far ahead of the last entry the file is filled with zeros, so that a commit overwrites and the file
    /// system has no metadata to journal: 1 MiB. It is filled again when half is used up and no slot is taken, or else
    /// with the batch that needs it.
    pub zero_ahead_bytes: u64,
    /// How long the writer lets entries gather at most before it takes the next batch, when the last one had company and
    /// there are slots whose entries are still to come: 1 ms; at most 100. A commit costs the same for one entry as for a
    /// hundred; who has no company does not wait.
    pub gather: Duration,
    /// The size at which a batch is closed although more entries wait: 1 MiB; at most 4 MiB.
    pub batch_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            queue_entries: 8192,
            probe_interval: Duration::from_secs(1),
            zero_ahead_bytes: 1 << 20,
            gather: Duration::from_millis(1),
            batch_bytes: 1 << 20,
        }
    }
}

impl Options {
    /// These options, with what is outside the limits moved to them.
    fn within_limits(self) -> Options {
        Options {
            segment_bytes: self.segment_bytes.max(SEGMENT_BYTES_MIN),
            queue_entries: self.queue_entries.max(1),
            probe_interval: self.probe_interval.max(Duration::from_millis(1)),
            gather: self.gather.min(Duration::from_millis(100)),
            zero_ahead_bytes: self.zero_ahead_bytes.max(4096),
            batch_bytes: self.batch_bytes.clamp(segment::ENTRY_FRAME_MAX, segment::BATCH_BYTES_MAX / 2),
        }
    }
}

/// The place of an entry in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The index, counted from 0 without gaps.
    pub index: u64,
}

/// What an appender knows of its entry, for the [`Observer`], which then need not read the entry again. It is never
/// written: after a start the observer must come to the same state from the entry alone.
pub type Note = Box<dyn std::any::Any + Send>;

/// State derived from entries: built on the writer thread, in index order, kept in side files so that a start
/// need not read history.
pub trait Observer: Send {
    /// Takes up the state that [`Observer::save`] returned before. An error means that these bytes cannot be
    /// used (another version's, say): the observer must then be as new, and sees every entry again.
    fn restore(&mut self, saved: &[u8]) -> Result<(), String>;
    /// Sees an entry that is durable: right after its commit, or at a start when it is newer than what was restored.
    /// `note` is what its appender gave along, if anything.
    fn committed(&mut self, index: u64, entry: &[u8], note: Option<&Note>);
    /// The state after the last entry seen. Called when a segment is sealed and at a clean stop.
    fn save(&mut self) -> Vec<u8>;
    /// The bytes of an entry to append first after a pause, before anything that was not written for want of
    /// space is forgotten; `None` for no such entry. Appends are accepted again when this is called, so what
    /// passed during the pause is complete.
    fn resumed(&mut self, pause: &Pause) -> Option<Vec<u8>>;
}

/// An observer that derives nothing.
impl Observer for () {
    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn committed(&mut self, _: u64, _: &[u8], _: Option<&Note>) {}
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }
    fn resumed(&mut self, _: &Pause) -> Option<Vec<u8>> {
        None
    }
}

/// A time without space on the disk.
#[derive(Clone, Debug)]
pub struct Pause {
    /// When it began, by the wall clock.
    pub since: SystemTime,
    /// How long it lasted, by the monotonic clock.
    pub duration: Duration,
    /// How many appends were refused with [`AppendError::NoSpace`].
    pub refused: u64,
    /// What the system said.
    pub reason: String,
}
