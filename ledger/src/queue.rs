//! The queue between callers and the writer thread.
//!
//! It is bounded by slots, not by waiting: who has a [`Slot`] has room for its entry, and handing it in never blocks.
//! The writer sleeps on a condition variable; only who finds it asleep pays for waking it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::appender::AppendError;
use super::sync::{
    self, AtomicU64, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, Ordering, PoisonError, lock,
};
use crate::writer::Batched;
use crate::{ENTRY_BYTES_MAX, Note, Position};

/// Room for one entry. Dropping it gives the room back.
pub struct Slot {
    permit: Permit,
}

impl Slot {
    /// Appends an entry. `ack` is called exactly once: after the sync, on the writer thread, so it must be
    /// quick and must not wait for the ledger; on the calling thread if the entry is refused at once (its length,
    /// or a ledger that is closed).
    pub fn append(self, entry: Vec<u8>, ack: impl FnOnce(Result<Position, AppendError>) + Send + 'static) {
        let queue = Arc::clone(&self.permit.queue);
        if let Some(job) = Job::new(Append { slot: self, entry, note: None, ack: Box::new(ack) }) {
            queue.hand_in(job);
        }
    }
}

/// Hears what became of an entry; see [`Slot::append`].
pub type Ack = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

/// One of several entries that are appended together; see [`Appender::append_all`](crate::Appender::append_all).
pub struct Append {
    /// Its room.
    pub slot: Slot,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// What the observer need not find out from the entry.
    pub note: Option<Note>,
    /// Hears what became of it.
    pub ack: Ack,
}

/// An entry on its way, with the slot that it keeps until it is answered.
pub(crate) struct Job {
    entry: Vec<u8>,
    note: Option<Note>,
    ack: Ack,
    permit: Permit,
}

impl Job {
    /// A job for the queue; an entry of a length that cannot be is refused at once.
    fn new(append: Append) -> Option<Job> {
        let Append { slot, entry, note, ack } = append;
        let mut permit = slot.permit;
        permit.no_longer_awaited();
        let job = Job { entry, note, ack, permit };
        let bytes = job.entry.len();
        if (1..=ENTRY_BYTES_MAX).contains(&bytes) {
            return Some(job);
        }
        job.finish(Err(AppendError::Length { bytes }));
        None
    }

    /// Answers the caller. A panic in a caller's code is the caller's: the writer goes on.
    pub(crate) fn finish(self, result: Result<Position, AppendError>) {
        let Job { ack, permit, .. } = self;
        drop(permit); // first, so that who waits for the answer finds the slot free
        let _ = catch_unwind(AssertUnwindSafe(move || ack(result)));
    }
}

impl Batched for Job {
    fn entry(&self) -> &[u8] {
        &self.entry
    }

    fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }
}

struct Permit {
    queue: Arc<Queue>,
    /// The writer may hope for an entry.
    awaited: bool,
}

impl Permit {
    fn no_longer_awaited(&mut self) {
        if mem::take(&mut self.awaited) {
            self.queue.awaited.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.no_longer_awaited();
        self.queue.slots.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The slots, and the jobs that wait for the writer.
pub(crate) struct Queue {
    capacity: usize,
    /// Slots that are in use.
    slots: AtomicUsize,
    /// Those of them whose entries were not handed in yet.
    awaited: AtomicUsize,
    accepted: AtomicU64,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    writer: Doing,
    closing: bool,
    /// The writer is gone: nobody would answer a job.
    stopped: bool,
}

/// What the writer does, for those who might have to wake it.
#[derive(Clone, Copy, Default, PartialEq)]
enum Doing {
    #[default]
    Works,
    /// It sleeps until there is a job.
    Waits,
    /// It has jobs, and sleeps until all entries that it may hope for are there, or its patience ends.
    Gathers,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Queue {
        Queue {
            capacity,
            slots: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            waiting: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many slots are in use: reserved, waiting, or being written.
    pub(crate) fn depth(&self) -> usize {
        self.slots.load(Ordering::Acquire)
    }

    /// How many entries were handed in.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Whether nobody waits for a commit, or soon will.
    pub(crate) fn is_idle(&self) -> bool {
        self.depth() == 0
    }

    /// Takes a slot, if one is free.
    pub(crate) fn reserve(self: &Arc<Queue>) -> Option<Slot> {
        let taken = self.slots.fetch_add(1, Ordering::AcqRel);
        // The permit exists before the check, so that refusing gives the slot back like any other end.
        self.awaited.fetch_add(1, Ordering::AcqRel);
        let permit = Permit { queue: Arc::clone(self), awaited: true };
        (taken < self.capacity).then_some(Slot { permit })
    }

    fn hand_in(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        if waiting.stopped {
            drop(waiting);
            return job.finish(Err(AppendError::Closed));
        }
        self.accepted.fetch_add(1, Ordering::AcqRel);
        waiting.jobs.push(job);
        self.wake(waiting);
    }

    /// Hands in several entries under one lock and with at most one wake. Their indexes are in this order.
    pub(crate) fn hand_in_all(self: &Arc<Queue>, entries: impl IntoIterator<Item = Append>) {
        let jobs = entries.into_iter().filter_map(|append| {
            assert!(Arc::ptr_eq(self, &append.slot.permit.queue), "the slot is another ledger's");
            Job::new(append)
        });
        // All of it before the lock: what the iterator and refused callers do is not the queue's time.
        let mut jobs: Vec<Job> = jobs.collect();
        let mut waiting = lock(&self.waiting);
        if waiting.stopped {
            drop(waiting);
            return jobs.into_iter().for_each(|job| job.finish(Err(AppendError::Closed)));
        }
        self.accepted.fetch_add(jobs.len() as u64, Ordering::AcqRel);
        waiting.jobs.append(&mut jobs);
        self.wake(waiting);
    }

    /// Wakes the writer, if it sleeps, for what was added under this lock.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let sleeps = match waiting.writer {
            Doing::Works => false,
            Doing::Waits => true,
            Doing::Gathers => self.awaited.load(Ordering::Acquire) == 0,
        };
        if sleeps {
            waiting.writer = Doing::Works;
        }
        drop(waiting);
        if sleeps {
            self.wake.notify_one();
        }
    }

    /// Moves the waiting jobs into `jobs` once there are any, the ledger is being closed, or it is `until`; when there
    /// are some, waits as long as `gather` for others whose slots are taken. Returns whether it is being closed.
    pub(crate) fn take(&self, jobs: &mut Vec<Job>, until: Option<Instant>, gather: Duration) -> bool {
        let mut waiting = lock(&self.waiting);
        while waiting.jobs.is_empty() && !waiting.closing {
            waiting.writer = Doing::Waits;
            waiting = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(wait) => sync::wait_timeout(&self.wake, &self.waiting, waiting, wait),
            };
        }
        if !gather.is_zero() && !waiting.jobs.is_empty() {
            let end = Instant::now() + gather;
            while !waiting.closing && self.awaited.load(Ordering::Acquire) > 0 {
                let wait = end.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    break;
                }
                waiting.writer = Doing::Gathers;
                waiting = sync::wait_timeout(&self.wake, &self.waiting, waiting, wait);
            }
        }
        waiting.writer = Doing::Works;
        mem::swap(&mut waiting.jobs, jobs);
        waiting.closing
    }

    /// Tells the writer to write what waits, and to stop.
    pub(crate) fn close(&self) {
        lock(&self.waiting).closing = true;
        self.wake.notify_one();
    }

    /// Nobody takes jobs any more: moves those that still wait into `jobs`; later ones are answered at once.
    pub(crate) fn stop(&self, jobs: &mut Vec<Job>) {
        let mut waiting = lock(&self.waiting);
        waiting.stopped = true;
        mem::swap(&mut waiting.jobs, jobs);
    }
}
