//! The way in, and the thread that owns the files.
//!
//! A caller reserves a [`Slot`] before it starts what it will have to record; from then on there is room for its
//! entry. [`Appender::reserve`] never waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::queue::{Append, Job, Queue, Slot};
use super::sync::thread::{self, JoinHandle};
use super::sync::{Instant, Mutex, lock};
use crate::disk::{Disk, RealDisk};
use crate::merkle::Hash;
use crate::recovery::{OpenError, Recovery};
use crate::writer::{WriteError, Writer};
use crate::{Checkpoint, ENTRY_BYTES_MAX, Observer, Options, Pause, Position};

/// A ledger that is open for writing. It owns the writer thread and, through it, the lock.
pub struct Ledger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Checkpoint, CloseError>>>,
    recovery: Recovery,
}

impl Ledger {
    /// Opens the ledger in a directory, creating both if needed. A second process gets [`OpenError::Locked`].
    pub fn open_dir(
        directory: &Path,
        options: Options,
        observer: Box<dyn Observer>,
    ) -> Result<(Ledger, Appender), OpenError> {
        let disk = RealDisk::create(directory)
            .map_err(|source| OpenError::Io { what: format!("directory {}", directory.display()), source })?;
        Ledger::open(Arc::new(disk), options, observer)
    }

    /// Opens the ledger on a disk: recovers it, brings the observer up to date, starts the writer thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        observer: Box<dyn Observer>,
    ) -> Result<(Ledger, Appender), OpenError> {
        let options = options.within_limits();
        let (writer, recovery) = Writer::open(disk, options.clone(), observer)?;
        let shared = Arc::new(Shared::new(&options, &writer));
        let (interval, gather) = (options.probe_interval, options.gather);
        let mut state = WriterThread {
            writer,
            shared: Arc::clone(&shared),
            interval,
            gather,
            last_batch: 0,
            jobs: Vec::new(),
            gaps: Vec::new(),
        };
        let mode = match state.writer.take_starved() {
            Some(error) => state.pause(&error),
            None => Mode::Ready,
        };
        let thread = thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || state.run(mode))
            .map_err(|source| OpenError::Io { what: "writer thread".into(), source })?;
        let appender = Appender { shared: Arc::clone(&shared) };
        Ok((Ledger { shared, thread: Some(thread), recovery }, appender))
    }

    /// What the start found: how it stopped last time, what was cut, what was replayed.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Stops cleanly: writes what waits, leaves the mark of a clean stop, gives the lock back.
    ///
    /// Slots that are still reserved stay valid; their entries are answered with [`AppendError::Closed`].
    pub fn close(mut self) -> Result<Checkpoint, CloseError> {
        self.stop().expect("the thread is only taken here and in drop")
    }

    fn stop(&mut self) -> Option<Result<Checkpoint, CloseError>> {
        let thread = self.thread.take()?;
        self.shared.queue.close();
        Some(
            thread
                .join()
                .unwrap_or_else(|_| Err(CloseError::Poisoned { reason: "the writer panicked".into() })),
        )
    }
}

/// Dropping a ledger closes it; what [`Ledger::close`] would have reported is lost.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Appends entries to a [`Ledger`]; cheap to clone, usable from every thread.
#[derive(Clone)]
pub struct Appender {
    shared: Arc<Shared>,
}

impl Appender {
    /// Reserves room for one entry. Never blocks.
    pub fn reserve(&self) -> Result<Slot, Unavailable> {
        match self.status() {
            Status::Ready => {}
            Status::Paused { reason, .. } => return Err(Unavailable::Paused { reason }),
            Status::Poisoned { reason } => return Err(Unavailable::Poisoned { reason }),
            Status::Closed => return Err(Unavailable::Closed),
        }
        let queue = &self.shared.queue;
        queue.reserve().ok_or(Unavailable::QueueFull { capacity: queue.capacity() })
    }

    /// Appends several entries as [`Slot::append`] does one, for one lock and at most one wake of the writer: for a
    /// thread that has closed more than one fetch by the time it looks. They get consecutive indexes, in this order, and
    /// may still end up in more than one commit.
    ///
    /// # Panics
    ///
    /// If a slot is another ledger's.
    pub fn append_all(&self, entries: impl IntoIterator<Item = Append>) {
        self.shared.queue.hand_in_all(entries);
    }

    /// Whether appends are accepted, and if not, why.
    pub fn status(&self) -> Status {
        lock(&self.shared.status).clone()
    }

    /// The ledger in figures.
    pub fn stats(&self) -> Stats {
        let mut stats = lock(&self.shared.stats).clone();
        let queue = &self.shared.queue;
        (stats.queue_depth, stats.queue_capacity) = (queue.depth(), queue.capacity());
        stats.accepted = queue.accepted();
        stats
    }
}

/// Why no slot can be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unavailable {
    /// As many entries as allowed are on their way.
    #[error("ledger queue full ({capacity} entries)")]
    QueueFull {
        /// How many entries may be on their way.
        capacity: usize,
    },
    /// No space; the ledger tries again by itself.
    #[error("ledger paused: {reason}")]
    Paused {
        /// What the system said.
        reason: Arc<str>,
    },
    /// The ledger will not write again in this process.
    #[error("ledger stopped for good: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// The ledger was closed.
    #[error("ledger closed")]
    Closed,
}

/// Why an entry was not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// An entry has 1 to 65,535 bytes.
    #[error("an entry of {bytes} bytes cannot be appended")]
    Length {
        /// How many this one has.
        bytes: usize,
    },
    /// No space on the disk: the entry is not in the ledger.
    #[error("no space for the entry: {reason}")]
    NoSpace {
        /// What the system said.
        reason: Arc<str>,
    },
    /// A write or sync failed. The entry was not acknowledged; a later start may still find it.
    #[error("the entry could not be made durable: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// The ledger was closed before the entry came: it is not in the ledger.
    #[error("ledger closed")]
    Closed,
}

/// Why a ledger could not be closed cleanly. It is closed all the same, as after a crash.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// It had stopped writing before, or the mark of a clean stop could not be made durable.
    #[error("the ledger was not closed cleanly: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// No space for the entry about the last pause, which is lost then, or for the mark of a clean stop.
    #[error("no space to close the ledger cleanly")]
    NoSpace(#[source] io::Error),
}

/// Whether a ledger takes entries.
#[derive(Clone, Debug)]
pub enum Status {
    /// It does.
    Ready,
    /// Not now: there is no space. It tries again by itself.
    Paused {
        /// Since when.
        since: SystemTime,
        /// What the system said.
        reason: Arc<str>,
    },
    /// Not any more: only a new start, which reads what is really on disk, can go on.
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// Not any more: it was closed.
    Closed,
}

/// The ledger in figures. Totals count since the start of the process.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Durable entries since the beginning of the log: the tree size.
    pub entries: u64,
    /// The Merkle root over them.
    pub root: Hash,
    /// Bytes of all the ledger's files.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Commits.
    pub commits: u64,
    /// How long the last commit took, from write to sync.
    pub last_commit: Duration,
    /// How long the slowest commit took.
    pub slowest_commit: Duration,
    /// How long all commits took together.
    pub total_commit: Duration,
    /// Slots in use: reserved, waiting, or being written.
    pub queue_depth: usize,
    /// Slots that there are.
    pub queue_capacity: usize,
    /// Entries handed in.
    pub accepted: u64,
    /// Entries acknowledged.
    pub appended: u64,
    /// Entries refused after they were handed in.
    pub refused: u64,
    /// How often there was no space.
    pub pauses: u64,
}

/// What callers and the writer thread share.
struct Shared {
    queue: Arc<Queue>,
    status: Mutex<Status>,
    stats: Mutex<Stats>,
}

impl Shared {
    fn new(options: &Options, writer: &Writer) -> Shared {
        let shared = Shared {
            queue: Arc::new(Queue::new(options.queue_entries)),
            status: Mutex::new(Status::Ready),
            stats: Mutex::default(),
        };
        shared.describe(writer, |_| {});
        shared
    }

    fn describe(&self, writer: &Writer, change: impl FnOnce(&mut Stats)) {
        let Checkpoint { size, root } = writer.checkpoint();
        let mut stats = lock(&self.stats);
        (stats.entries, stats.root) = (size, root);
        (stats.bytes, stats.segments) = (writer.bytes_on_disk(), writer.segments());
        change(&mut stats);
    }

    fn set_status(&self, status: Status) {
        *lock(&self.status) = status;
    }
}

/// The thread that owns the files.
struct WriterThread {
    writer: Writer,
    shared: Arc<Shared>,
    interval: Duration,
    gather: Duration,
    /// Entries of the last batch.
    last_batch: usize,
    /// What was taken from the queue and is not answered yet.
    jobs: Vec<Job>,
    /// Entries about pauses that are not durable yet.
    gaps: Vec<Vec<u8>>,
}

enum Mode {
    Ready,
    Paused { since: SystemTime, begun: Instant, probe_at: Instant, refused: u64, reason: Arc<str> },
    Poisoned { reason: Arc<str> },
}

impl WriterThread {
    fn run(mut self, mode: Mode) -> Result<Checkpoint, CloseError> {
        // An observer that panics has lost count, and so has everything derived: that is the end of writing.
        let result = catch_unwind(AssertUnwindSafe(|| self.serve(mode)))
            .unwrap_or_else(|_| Err(CloseError::Poisoned { reason: "the writer panicked".into() }));
        let (status, error) = match &result {
            Err(CloseError::Poisoned { reason }) => {
                let reason = Arc::clone(reason);
                (Status::Poisoned { reason: Arc::clone(&reason) }, AppendError::Poisoned { reason })
            }
            Ok(_) | Err(CloseError::NoSpace(_)) => (Status::Closed, AppendError::Closed),
        };
        self.shared.set_status(status);
        self.refuse(&error);
        self.shared.queue.stop(&mut self.jobs);
        self.refuse(&AppendError::Closed);
        result
    }

    fn serve(&mut self, mut mode: Mode) -> Result<Checkpoint, CloseError> {
        loop {
            let until = if let Mode::Paused { probe_at, .. } = &mode { Some(*probe_at) } else { None };
            let company = self.last_batch > 1 && matches!(mode, Mode::Ready);
            let gather = if company { self.gather } else { Duration::ZERO };
            let closing = self.shared.queue.take(&mut self.jobs, until, gather);
            let done = closing && self.jobs.is_empty();
            mode = match mode {
                Mode::Ready => match self.append() {
                    Mode::Ready if !done && self.shared.queue.is_idle() => self.zero_ahead(),
                    mode => mode,
                },
                Mode::Paused { since, begun, mut probe_at, mut refused, reason } => {
                    refused += self.jobs.len() as u64;
                    self.refuse(&AppendError::NoSpace { reason: Arc::clone(&reason) });
                    if done || Instant::now() >= probe_at {
                        probe_at = Instant::now() + self.interval;
                        self.resume(since, begun, probe_at, refused, reason)
                    } else {
                        Mode::Paused { since, begun, probe_at, refused, reason }
                    }
                }
                Mode::Poisoned { reason } => {
                    self.refuse(&AppendError::Poisoned { reason: Arc::clone(&reason) });
                    Mode::Poisoned { reason }
                }
            };
            if done {
                return self.finish(mode);
            }
        }
    }

    /// Appends jobs, as many batches as that takes.
    fn append(&mut self) -> Mode {
        while !self.jobs.is_empty() {
            let started = Instant::now();
            match self.writer.append(&self.jobs) {
                Ok(indexes) => {
                    self.committed(started.elapsed(), indexes.end - indexes.start);
                    let count = (indexes.end - indexes.start) as usize;
                    self.last_batch = count;
                    for (job, index) in self.jobs.drain(..count).zip(indexes) {
                        job.finish(Ok(Position { index }));
                    }
                }
                Err(WriteError::NoSpace(error)) => return self.pause(&error),
                Err(WriteError::Broken(reason)) => return self.poison(reason),
            }
        }
        Mode::Ready
    }

    fn zero_ahead(&mut self) -> Mode {
        match self.writer.zero_ahead() {
            Ok(()) => Mode::Ready,
            Err(WriteError::NoSpace(error)) => self.pause(&error),
            Err(WriteError::Broken(reason)) => self.poison(reason),
        }
    }

    fn pause(&mut self, error: &io::Error) -> Mode {
        let reason: Arc<str> = error.to_string().into();
        let (since, begun) = (SystemTime::now(), Instant::now());
        // The status changes before the callers hear of it: who is refused must not find the ledger ready.
        self.shared.set_status(Status::Paused { since, reason: Arc::clone(&reason) });
        self.shared.describe(&self.writer, |stats| stats.pauses += 1);
        let refused = self.jobs.len() as u64;
        self.refuse(&AppendError::NoSpace { reason: Arc::clone(&reason) });
        Mode::Paused { since, begun, probe_at: begun + self.interval, refused, reason }
    }

    fn poison(&mut self, reason: String) -> Mode {
        let reason: Arc<str> = reason.into();
        self.shared.set_status(Status::Poisoned { reason: Arc::clone(&reason) });
        self.refuse(&AppendError::Poisoned { reason: Arc::clone(&reason) });
        Mode::Poisoned { reason }
    }

    /// Looks whether there is space again; if so, appends first what the observer has to say about the pause.
    fn resume(
        &mut self,
        since: SystemTime,
        begun: Instant,
        probe_at: Instant,
        refused: u64,
        reason: Arc<str>,
    ) -> Mode {
        match self.writer.probe() {
            Ok(()) => {}
            Err(WriteError::NoSpace(_)) => return Mode::Paused { since, begun, probe_at, refused, reason },
            Err(WriteError::Broken(reason)) => return self.poison(reason),
        }
        // Accept first, ask then: nothing can pass unrecorded after the observer has counted.
        self.shared.set_status(Status::Ready);
        let pause = Pause { since, duration: begun.elapsed(), refused, reason: reason.to_string() };
        let gap = self.writer.observer().resumed(&pause);
        self.gaps.extend(gap.filter(|gap| (1..=ENTRY_BYTES_MAX).contains(&gap.len())));
        match self.append_gaps() {
            Ok(()) => Mode::Ready,
            // Kept for the next time; what passes from now on is the next pause's.
            Err(WriteError::NoSpace(error)) => self.pause(&error),
            Err(WriteError::Broken(reason)) => self.poison(reason),
        }
    }

    fn finish(&mut self, mode: Mode) -> Result<Checkpoint, CloseError> {
        if let Mode::Poisoned { reason } = mode {
            return Err(CloseError::Poisoned { reason });
        }
        self.append_gaps().and_then(|()| self.writer.close()).map_err(|error| match error {
            WriteError::NoSpace(error) => CloseError::NoSpace(error),
            WriteError::Broken(reason) => CloseError::Poisoned { reason: reason.into() },
        })
    }

    fn append_gaps(&mut self) -> Result<(), WriteError> {
        while !self.gaps.is_empty() {
            let started = Instant::now();
            let indexes = self.writer.append(&self.gaps)?;
            self.committed(started.elapsed(), 0);
            self.gaps.drain(..(indexes.end - indexes.start) as usize);
        }
        Ok(())
    }

    fn committed(&mut self, took: Duration, appended: u64) {
        self.shared.describe(&self.writer, |stats| {
            stats.commits += 1;
            stats.appended += appended;
            stats.last_commit = took;
            stats.slowest_commit = stats.slowest_commit.max(took);
            stats.total_commit += took;
        });
    }

    /// Answers all jobs with an error.
    fn refuse(&mut self, error: &AppendError) {
        lock(&self.shared.stats).refused += self.jobs.len() as u64;
        self.jobs.drain(..).for_each(|job| job.finish(Err(error.clone())));
    }
}
