//! The fetches of one thread that end in the same turn are closed together: their records go to the ledger's writer
//! under one lock with one wake, and its answers come back the same way.
//!
//! Waking a thread costs a system call or two, as much as all else that closing a fetch takes. So ended fetches queue
//! until the thread has done what was ready to run; the writer leaves its answers in an inbox, and the bell rings
//! once for all of a group.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use billing::account::{Hold, InFlight};
use billing::derived::Derived;
use metrics::{Meter, Text, UnmeteredReason, UsageRecord};
use tokio::sync::{Notify, oneshot};
use tracing::error;

use crate::shared::Shared;

/// A fetch that has ended and will be an entry of its own.
pub(crate) struct Ended {
    /// Complete but for what the meter read and what rating makes of it.
    pub(crate) record: UsageRecord<Text>,
    pub(crate) meter: Option<Meter>,
    pub(crate) repeat_free_secs: u64,
    pub(crate) slot: ledger::Slot,
    pub(crate) hold: Option<Hold>,
    pub(crate) in_flight: Option<InFlight>,
}

/// What a closed fetch's delivery waits for.
pub(crate) struct Answer {
    /// Whether the record is on disk.
    pub(crate) durable: bool,
    /// What is owed for the fetch, in nano-units.
    pub(crate) amount_nano: i64,
}

/// One thread's queue to the ledger, and the way back.
pub(crate) struct Closer {
    shared: Arc<Shared>,
    ended: RefCell<Vec<(Ended, oneshot::Sender<Answer>)>>,
    any_ended: Notify,
    inbox: Arc<Inbox>,
}

impl Closer {
    /// A closer that works as long as this thread's runtime does.
    pub(crate) fn start(shared: &Arc<Shared>) -> Rc<Closer> {
        let closer = Rc::new(Closer {
            shared: Arc::clone(shared),
            ended: RefCell::default(),
            any_ended: Notify::new(),
            inbox: Arc::default(),
        });
        tokio::task::spawn_local(Arc::clone(&closer.inbox).hand_out());
        let works = Rc::clone(&closer);
        tokio::task::spawn_local(async move {
            loop {
                works.any_ended.notified().await;
                // A panic is a bug of ours; it ends the fetches of this turn, and not all that come after.
                if catch_unwind(AssertUnwindSafe(|| works.append_ended())).is_err() {
                    error!("closing fetches ended in a panic");
                }
            }
        });
        closer
    }

    /// Closes a fetch at the end of this turn.
    pub(crate) fn close(&self, ended: Ended) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let mut queue = self.ended.borrow_mut();
        queue.push((ended, answer));
        if queue.len() == 1 {
            self.any_ended.notify_one();
        }
        answered
    }

    /// Measures, rates and appends what has ended.
    pub(crate) fn append_ended(&self) {
        let ended = std::mem::take(&mut *self.ended.borrow_mut());
        if ended.is_empty() {
            return;
        }
        let group = Arc::new(Group {
            unanswered: AtomicUsize::new(ended.len()),
            answers: Mutex::new(Vec::with_capacity(ended.len())),
            inbox: Arc::clone(&self.inbox),
        });
        let (mut meters, mut waiting) = (Vec::with_capacity(ended.len()), Vec::with_capacity(ended.len()));
        for (mut ended, answer) in ended {
            meters.push(ended.meter.take().unwrap_or_else(|| Meter::start(None)));
            waiting.push((ended, answer));
        }
        let entries =
            waiting.into_iter().zip(Meter::finish_all(meters)).map(|((ended, waiting), metered)| {
                let Ended { mut record, meter: _, repeat_free_secs, slot, hold, in_flight } = ended;
                record.measured(&metered);
                let closing = self.shared.derived.close(&mut record, repeat_free_secs);
                let UsageRecord { amount_nano, bytes, .. } = record;
                let counted = self.shared.telemetry.counted(&record);
                let entry = record.encode();
                let (shared, group) = (Arc::clone(&self.shared), Arc::clone(&group));
                let appended = Instant::now();
                let ack = move |result: Result<_, _>| {
                    let durable = result.is_ok();
                    if durable {
                        shared.telemetry.ledger_commit(appended.elapsed());
                        shared.telemetry.fetch(&counted);
                    } else {
                        shared.derived.forget(closing);
                        if amount_nano == 0 {
                            unmetered(&shared, UnmeteredReason::Paused, bytes);
                        }
                    }
                    if let Some(hold) = hold {
                        hold.settle(if durable { amount_nano } else { 0 });
                    }
                    drop(in_flight);
                    group.answer(waiting, Answer { durable, amount_nano });
                };
                let note = Some(Derived::note(record, closing));
                ledger::Append { slot, entry, note, ack: Box::new(ack) }
            });
        self.shared.ledger.append_all(entries);
    }
}

/// The thread stops with fetches that ended in its last turn, or were cut off by the stop: they are recorded all the same.
impl Drop for Closer {
    fn drop(&mut self) {
        self.append_ended();
    }
}

/// A fetch that passes without a record.
pub(crate) fn unmetered(shared: &Shared, reason: UnmeteredReason, bytes: u64) {
    shared.derived.unmetered(bytes);
    shared.telemetry.unmetered(reason, bytes);
}

type Answered = (oneshot::Sender<Answer>, Answer);

/// The answers to records that were handed in together, until the last of them is there.
struct Group {
    unanswered: AtomicUsize,
    answers: Mutex<Vec<Answered>>,
    inbox: Arc<Inbox>,
}

impl Group {
    /// Takes one answer, on the writer's thread.
    fn answer(&self, waiting: oneshot::Sender<Answer>, answer: Answer) {
        lock(&self.answers).push((waiting, answer));
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inbox.leave(&mut lock(&self.answers));
        }
    }
}

/// Answers on their way from the writer to one thread's fetches.
#[derive(Default)]
struct Inbox {
    arrived: Mutex<Vec<Answered>>,
    bell: Notify,
}

impl Inbox {
    fn leave(&self, answers: &mut Vec<Answered>) {
        let mut arrived = lock(&self.arrived);
        let first = arrived.is_empty();
        arrived.append(answers);
        drop(arrived);
        if first {
            self.bell.notify_one();
        }
    }

    /// Hands answers out to the thread's fetches, as long as the thread runs.
    async fn hand_out(self: Arc<Self>) {
        let mut batch = Vec::new();
        loop {
            self.bell.notified().await;
            std::mem::swap(&mut *lock(&self.arrived), &mut batch);
            for (waiting, answer) in batch.drain(..) {
                // A fetch whose client has gone does not wait any more.
                let _ = waiting.send(answer);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
