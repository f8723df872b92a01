//! The writer: it owns the files and changes them one batch at a time. It has no thread and reads no clock; who
//! calls it decides when.
//!
//! A batch is put together in memory, written by one call at the end of the last segment over zeros that were
//! written before, synced, and only then told to the observer. A full segment is sealed: its side file is made
//! durable before the next segment gets its name, so a name never stands without what comes before it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::disk::{Disk, DiskFile, write_full};
use crate::mark::{HEAD_FILE, Kind, Mark, STATE_BYTES_MAX, SegmentMark, StepError, UNFINISHED, replace};
use crate::merkle::{Frontier, leaf_hash};
use crate::recovery::{OpenError, Recovered, RecoveredTail, Recovery, recover};
use crate::segment::{
    BatchBuffer, COMMIT_BYTES, ENTRY_FRAME_MAX, HEADER_BYTES, Header, entry_frame_bytes, segment_name,
    side_name,
};
use crate::{Checkpoint, Note, Observer, Options};

/// How many of the newest side files keep the observer's state.
const STATES_KEPT: usize = 2;

/// Why a change did not happen.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// There is no space (or no file handle) for it. What was begun is undone; it may be tried again.
    NoSpace(io::Error),
    /// What is on disk is not known any more. Nothing will be written again.
    Broken(String),
}

/// An entry that can be part of a batch.
pub(crate) trait Batched {
    fn entry(&self) -> &[u8];
    fn note(&self) -> Option<&Note>;
}

/// One of which nobody knows more.
impl Batched for Vec<u8> {
    fn entry(&self) -> &[u8] {
        self
    }

    fn note(&self) -> Option<&Note> {
        None
    }
}

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    observer: Box<dyn Observer>,
    options: Options,
    /// The tree of all that is committed.
    frontier: Frontier,
    /// The head mark says that there may be more than it covers.
    head_open: bool,
    tail: Option<Tail>,
    /// Sealed segments whose side files still have the observer's state, oldest first.
    with_state: VecDeque<u64>,
    segments: u64,
    bytes: u64,
    /// Why nothing may be written any more.
    broken: Option<String>,
    /// Why nothing could be written at the start.
    starved: Option<io::Error>,
    // Reused for each batch:
    buffer: BatchBuffer,
    grown: Frontier,
    _lock: Box<dyn Send>,
}

/// The segment that is being written.
struct Tail {
    file: Box<dyn DiskFile>,
    first: u64,
    seed: u32,
    /// Where the next batch goes.
    end: u64,
    /// The length of the file; from `end` on it is zeros.
    length: u64,
    /// The hash of the first `end` bytes.
    content: Context,
}

impl Writer {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        mut observer: Box<dyn Observer>,
    ) -> Result<(Writer, Recovery), OpenError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| OpenError::Io { what, source }
        };
        let lock = disk.lock().map_err(io("lock"))?.ok_or(OpenError::Locked)?;
        let Recovered { has_head, frontier, tail, sealed, bytes, mut report } =
            recover(&*disk, &mut *observer)?;
        let mut writer = Writer {
            options,
            grown: frontier.clone(),
            frontier,
            head_open: false,
            with_state: sealed.iter().rev().take(STATES_KEPT).rev().copied().collect(),
            segments: sealed.len() as u64 + u64::from(tail.is_some()),
            bytes,
            tail: tail.map(Tail::from),
            disk,
            observer,
            broken: None,
            starved: None,
            buffer: BatchBuffer::default(),
            _lock: lock,
        };
        match writer.prepare() {
            Ok(()) => {}
            // A full disk is no reason not to start: reading goes on, and writing will when there is space.
            Err(WriteError::NoSpace(error)) => {
                report.notes.push(format!("no space to write: {error}"));
                writer.starved = Some(error);
            }
            Err(WriteError::Broken(reason)) => {
                let what = if has_head { "cannot be written" } else { "cannot be created" };
                return Err(OpenError::Io { what: what.into(), source: io::Error::other(reason) });
            }
        }
        Ok((writer, report))
    }

    /// Tells once that there was no space to begin with.
    pub(crate) fn take_starved(&mut self) -> Option<io::Error> {
        self.starved.take()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { size: self.frontier.size(), root: self.frontier.root() }
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn segments(&self) -> u64 {
        self.segments
    }

    pub(crate) fn observer(&mut self) -> &mut dyn Observer {
        &mut *self.observer
    }

    /// Appends the first of these entries, as many as one batch takes and at least one. When this returns they
    /// are durable at these indexes, and the observer has seen them.
    pub(crate) fn append<E: Batched>(&mut self, entries: &[E]) -> Result<Range<u64>, WriteError> {
        let Some(first) = entries.first() else { return Ok(self.frontier.size()..self.frontier.size()) };
        self.make_room(entry_frame_bytes(first.entry().len()) + COMMIT_BYTES)?;
        let tail = self.tail.as_mut().expect("there is a tail when there is room");

        let room = self.options.segment_bytes.saturating_sub(tail.end).min(self.options.batch_bytes as u64);
        let start = self.frontier.size();
        self.buffer.begin(tail.seed);
        self.grown.clone_from(&self.frontier);
        for entry in entries {
            let entry = entry.entry();
            let batch_bytes = self.buffer.bytes().len() + entry_frame_bytes(entry.len()) + COMMIT_BYTES;
            if self.grown.size() > start && batch_bytes as u64 > room {
                break;
            }
            self.buffer.push(self.grown.size(), entry);
            self.grown.append(leaf_hash(entry));
        }
        self.buffer.finish(self.grown.size(), self.grown.root());
        let batch_bytes = self.buffer.bytes().len() as u64;
        let length = tail.length_for(batch_bytes, &self.options);
        self.buffer.fill_to((length - tail.end) as usize * usize::from(length > tail.length));
        let end = tail.end;
        self.write_tail(end, length)?;

        let tail = self.tail.as_mut().expect("the tail that was just written");
        tail.content.update(&self.buffer.bytes()[..batch_bytes as usize]);
        tail.end += batch_bytes;
        std::mem::swap(&mut self.frontier, &mut self.grown);
        let indexes = start..self.frontier.size();
        for (index, entry) in indexes.clone().zip(entries) {
            self.observer.committed(index, entry.entry(), entry.note());
        }
        Ok(indexes)
    }

    /// Whether there is space for any entry, found out by taking it.
    pub(crate) fn probe(&mut self) -> Result<(), WriteError> {
        let room = ENTRY_FRAME_MAX + COMMIT_BYTES;
        self.make_room(room)?;
        let tail = self.tail.as_mut().expect("there is a tail when there is room");
        let length = tail.length_for(room as u64, &self.options);
        self.buffer.begin(tail.seed);
        self.buffer.fill_to((length - tail.end) as usize);
        let end = tail.end;
        self.write_tail(end, length)
    }

    /// Fills the tail with zeros again once half of them are used up. It is for a moment in which nobody waits for a
    /// commit: to sync a file that grows takes several times as long as to sync one that does not.
    pub(crate) fn zero_ahead(&mut self) -> Result<(), WriteError> {
        let (Some(tail), ahead) = (&self.tail, self.options.zero_ahead_bytes) else { return Ok(()) };
        let length = (tail.end + ahead).min(self.options.segment_bytes);
        if self.broken.is_some() || tail.length - tail.end > ahead / 2 || length <= tail.length {
            return Ok(());
        }
        let grown_from = tail.length;
        self.buffer.begin(tail.seed);
        self.buffer.fill_to((length - grown_from) as usize);
        match self.write_tail(grown_from, length) {
            // The next entry may still find its place; if not, its append says so.
            Err(WriteError::NoSpace(_)) => Ok(()),
            done => done,
        }
    }

    /// Leaves the mark of a clean stop.
    pub(crate) fn close(&mut self) -> Result<Checkpoint, WriteError> {
        self.prepare()?;
        let state = self.saved_state();
        let segment = self.tail.as_ref().expect("prepared").mark();
        self.replace(
            HEAD_FILE,
            &Mark { kind: Kind::Clean, segment, frontier: self.frontier.clone(), state },
        )?;
        self.head_open = false;
        Ok(self.checkpoint())
    }

    /// Makes sure that the head is open and that there is a segment in which a batch of this size may go.
    fn make_room(&mut self, batch_bytes: usize) -> Result<(), WriteError> {
        self.prepare()?;
        let tail = self.tail.as_ref().expect("prepared");
        let empty = tail.end == HEADER_BYTES as u64; // then even an entry that is too long for it goes in
        if !empty && tail.end + batch_bytes as u64 > self.options.segment_bytes {
            self.seal()?;
            self.prepare()?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), WriteError> {
        if let Some(reason) = &self.broken {
            return Err(WriteError::Broken(reason.clone()));
        }
        if !self.head_open {
            let segment = self.tail.as_ref().map(Tail::mark).unwrap_or_default();
            self.replace(
                HEAD_FILE,
                &Mark { kind: Kind::Open, segment, frontier: self.frontier.clone(), state: None },
            )?;
            self.head_open = true;
        }
        if self.tail.is_none() {
            self.tail = Some(self.create_segment()?);
            self.segments += 1;
        }
        Ok(())
    }

    /// Writes the side file of the full segment; after this it is never written again.
    fn seal(&mut self) -> Result<(), WriteError> {
        let segment = self.tail.as_ref().expect("only a tail is sealed").mark();
        let first = segment.first;
        let state = self.saved_state();
        let mark = Mark { kind: Kind::Sealed, segment, frontier: self.frontier.clone(), state };
        self.replace(&side_name(first), &mark)?;
        self.tail = None;
        self.with_state.push_back(first);
        while self.with_state.len() > STATES_KEPT {
            let oldest = self.with_state[0];
            match self.drop_state(oldest) {
                Ok(()) => self.with_state.pop_front(),
                // It costs a little space until the next seal; nothing depends on it.
                Err(WriteError::NoSpace(_)) => break,
                Err(broken) => return Err(broken),
            };
        }
        Ok(())
    }

    fn saved_state(&mut self) -> Option<Vec<u8>> {
        Some(self.observer.save()).filter(|state| state.len() <= STATE_BYTES_MAX)
    }

    /// Writes a side file again without the observer's state.
    fn drop_state(&mut self, first: u64) -> Result<(), WriteError> {
        let name = side_name(first);
        match Mark::load(&*self.disk, &name) {
            Ok(Ok(mark)) if mark.state.is_some() => self.replace(&name, &Mark { state: None, ..mark }),
            // Already done; or not readable, and then it is evidence and stays as it is.
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("read", &name, error)),
        }
    }

    /// Creates the next segment. It gets its name when its header and first zeros are durable.
    fn create_segment(&mut self) -> Result<Tail, WriteError> {
        let first = self.frontier.size();
        let name = segment_name(first);
        let unfinished = format!("{name}{UNFINISHED}");
        let salt = self.disk.salt().map_err(|error| self.failed("draw a salt for", &name, error))?;
        let header = Header { first, salt, root_before: self.frontier.root() };
        let mut bytes = header.serialise().to_vec();
        let mut content = Context::new(&SHA256);
        content.update(&bytes);
        bytes.resize(self.options.zero_ahead_bytes.min(self.options.segment_bytes) as usize, 0);

        let length = bytes.len() as u64;
        let written = self.disk.create(&unfinished).and_then(|mut file| {
            write_full(&mut *file, 0, &bytes)?;
            Ok(file)
        });
        let mut file = written.map_err(|error| {
            let _ = self.disk.remove(&unfinished); // it may hold the space that is missing
            self.failed("write", &unfinished, error)
        })?;
        file.sync_data().map_err(|error| self.sync_failed(&unfinished, error))?;
        self.disk.rename(&unfinished, &name).map_err(|error| self.failed("rename", &unfinished, error))?;
        self.disk.sync_dir().map_err(|error| self.sync_failed("directory", error))?;
        self.bytes += length;
        Ok(Tail { file, first, seed: header.seed(), end: HEADER_BYTES as u64, length, content })
    }

    /// Writes the buffer into the tail, which then has at least this length, and syncs. From `start` on the tail has
    /// nothing but zeros.
    fn write_tail(&mut self, start: u64, length: u64) -> Result<(), WriteError> {
        let tail = self.tail.as_mut().expect("only called with a tail");
        let name = segment_name(tail.first);
        match write_full(&mut *tail.file, start, self.buffer.bytes()) {
            Ok(()) => {}
            Err(error) if is_want_of_space(&error) => {
                // Back to what was there: what is half written must be gone before the next try.
                let before = tail.length;
                let cut = tail.file.set_len(start).and_then(|()| tail.file.sync_data());
                return match cut {
                    Ok(()) => {
                        tail.length = start;
                        self.bytes -= before - start;
                        Err(WriteError::NoSpace(error))
                    }
                    Err(error) => Err(self.broken("cut", &name, error)),
                };
            }
            Err(error) => return Err(self.broken("write", &name, error)),
        }
        if let Err(error) = tail.file.sync_data() {
            return Err(self.sync_failed(&name, error));
        }
        let grown = length.saturating_sub(tail.length);
        tail.length += grown;
        self.bytes += grown;
        Ok(())
    }

    fn replace(&mut self, name: &str, mark: &Mark) -> Result<(), WriteError> {
        let before = if name == HEAD_FILE { 0 } else { self.length_of(name) };
        let bytes = mark.serialise();
        replace(&*self.disk, name, &bytes).map_err(|error| match error {
            StepError::Change(error) => self.failed("write", name, error),
            StepError::Sync(error) => self.sync_failed(name, error),
        })?;
        self.bytes = (self.bytes + bytes.len() as u64).saturating_sub(before);
        Ok(())
    }

    fn length_of(&self, name: &str) -> u64 {
        self.disk.open(name, crate::Access::Read).and_then(|file| file.len()).unwrap_or(0)
    }

    /// A failed change that is not a sync: without space it may be tried again.
    fn failed(&mut self, did: &str, name: &str, error: io::Error) -> WriteError {
        if is_want_of_space(&error) { WriteError::NoSpace(error) } else { self.broken(did, name, error) }
    }

    /// The kernel may have dropped what it could not write, and a second sync would not say so. So whatever the
    /// reason, there is no second one.
    fn sync_failed(&mut self, name: &str, error: io::Error) -> WriteError {
        self.broken("sync", name, error)
    }

    fn broken(&mut self, did: &str, name: &str, error: io::Error) -> WriteError {
        let reason = format!("could not {did} {name}: {error}");
        self.broken = Some(reason.clone());
        WriteError::Broken(reason)
    }
}

impl Tail {
    /// The length that the file shall have for a batch of this size: zeros ahead in whole steps, but not beyond
    /// the segment's end.
    fn length_for(&self, batch_bytes: u64, options: &Options) -> u64 {
        let end = self.end + batch_bytes;
        if end <= self.length {
            return self.length;
        }
        end.next_multiple_of(options.zero_ahead_bytes).min(options.segment_bytes).max(end)
    }

    fn mark(&self) -> SegmentMark {
        let content = self.content.clone().finish();
        SegmentMark {
            first: self.first,
            end: self.end,
            length: self.length,
            content: content.as_ref().try_into().expect("SHA-256 gives 32 bytes"),
        }
    }
}

impl From<RecoveredTail> for Tail {
    fn from(RecoveredTail { file, first, seed, end, length, content }: RecoveredTail) -> Tail {
        Tail { file, first, seed, end, length, content }
    }
}

/// Whether waiting may help: no space, no quota, a file size limit, no file handle, no memory.
fn is_want_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, OutOfMemory, QuotaExceeded, StorageFull};
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | OutOfMemory)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
