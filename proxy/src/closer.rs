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
use std::sync::{Arc, Mutex};
use std::time::Instant;

use billing::account::{Hold, InFlight};
use billing::derived::{Closing, Derived};
use billing::payments::Taken as PaymentTaken;
use billing::spent::Spending;
use metrics::{Meter, Text, UnmeteredReason, UsageRecord};
use tokio::sync::{Notify, oneshot};
use tracing::error;

use crate::shared::{Shared, lock};

/// A fetch that has ended and will be an entry of its own.
pub(crate) struct Ended {
    /// Complete but for what the meter read and what rating makes of it.
    pub(crate) record: Box<UsageRecord<Text>>,
    pub(crate) meter: Option<Meter>,
    pub(crate) repeat_free_secs: u64,
    pub(crate) slot: ledger::Slot,
    pub(crate) hold: Option<Hold>,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) spending: Option<Spending>,
    pub(crate) taken: Option<PaymentTaken>,
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
                works.append_ended();
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

    /// Measures, rates and appends what has ended. A panic is a bug of ours; it ends the fetches of this turn, and not all
    /// that come after.
    pub(crate) fn append_ended(&self) {
        let ended = std::mem::take(&mut *self.ended.borrow_mut());
        if !ended.is_empty() && catch_unwind(AssertUnwindSafe(|| self.append(ended))).is_err() {
            error!("closing fetches ended in a panic");
        }
    }

    fn append(&self, ended: Vec<(Ended, oneshot::Sender<Answer>)>) {
        let group = Arc::new(Group {
            unanswered: AtomicUsize::new(ended.len()),
            answers: Mutex::new(Vec::with_capacity(ended.len())),
            inbox: Arc::clone(&self.inbox),
        });
        let (mut meters, mut waiting) = (Vec::with_capacity(ended.len()), Vec::with_capacity(ended.len()));
        for (mut ended, fetch) in ended {
            meters.push(ended.meter.take().unwrap_or_else(|| Meter::start(None)));
            waiting.push((ended, Waiting { fetch: Some(fetch), group: Arc::clone(&group) }));
        }
        let entries =
            waiting.into_iter().zip(Meter::finish_all(meters)).map(|((ended, waiting), metered)| {
                let Ended {
                    mut record,
                    meter: _,
                    repeat_free_secs,
                    slot,
                    hold,
                    in_flight,
                    spending,
                    taken: payment,
                } = ended;
                record.measured(&metered);
                let closing = self.shared.derived.close(&mut record, repeat_free_secs);
                if record.amount_nano == 0 && record.settlement.is_none() {
                    record.authorisation = None; // nothing was used up
                }
                let mut taken = Taken { shared: Arc::clone(&self.shared), closing: Some(closing) };
                let UsageRecord { amount_nano, bytes, .. } = *record;
                let counted = self.shared.telemetry.counted(&record);
                let entry = record.encode();
                let shared = Arc::clone(&self.shared);
                let appended = Instant::now();
                let ack = move |result: Result<_, _>| {
                    let durable = result.is_ok();
                    if durable {
                        taken.closing = None;
                        shared.telemetry.ledger_commit(appended.elapsed());
                        shared.telemetry.fetch(&counted);
                    } else if amount_nano == 0 {
                        unmetered(&shared, UnmeteredReason::Paused, bytes);
                    }
                    drop(taken);
                    if let Some(hold) = hold {
                        hold.settle(if durable { amount_nano } else { 0 });
                    }
                    drop((in_flight, spending, payment));
                    waiting.answer(Answer { durable, amount_nano });
                };
                let note = Some(Derived::note(record, closing));
                ledger::Append { slot, entry, note, ack: Box::new(ack) }
            });
        self.shared.ledger.append_all(entries);
    }
}

/// What a fetch would have bought, until its record is durable. Dropped before that, by a refusal or a panic, it is bought
/// by nobody, and the next fetch of it is no repeat.
struct Taken {
    shared: Arc<Shared>,
    closing: Option<Closing>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.shared.derived.forget(closing);
        }
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

/// One fetch of a group. A panic on the way to its answer must not keep the answers of the others: whoever is dropped
/// without one counts as answered, and the fetch itself hears that nobody will say what became of it.
struct Waiting {
    fetch: Option<oneshot::Sender<Answer>>,
    group: Arc<Group>,
}

impl Waiting {
    /// Takes the answer, on the writer's thread.
    fn answer(mut self, answer: Answer) {
        if let Some(fetch) = self.fetch.take() {
            lock(&self.group.answers).push((fetch, answer));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.group.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.group.inbox.leave(&mut lock(&self.group.answers));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use billing::derived::{Derived, LedgerObserver};
    use ledger::Ledger;
    use metrics::Outcome;

    use super::*;
    use crate::config::{self, Overrides};
    use crate::process::{self, Process};

    fn ledger(directory: &std::path::Path) -> (Ledger, ledger::Appender) {
        let observer = Box::new(LedgerObserver(Derived::new("//test/ledger")));
        Ledger::open_dir(directory, ledger::Options::default(), observer).expect("a new ledger")
    }

    /// Drives a future with what it spawns; nothing here may take long.
    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time") })
    }

    #[test]
    fn a_panic_on_the_way_to_one_answer_keeps_no_other() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (ledger, appender) = ledger(directory.path());
        for panics in 0..3 {
            let inbox = Arc::<Inbox>::default();
            let group = Arc::new(Group {
                unanswered: AtomicUsize::new(3),
                answers: Mutex::default(),
                inbox: Arc::clone(&inbox),
            });
            let mut answered = Vec::new();
            let entries: Vec<_> = (0..3)
                .map(|index| {
                    let (fetch, answer) = oneshot::channel();
                    answered.push(answer);
                    let waiting = Waiting { fetch: Some(fetch), group: Arc::clone(&group) };
                    let ack = move |result: Result<ledger::Position, _>| {
                        assert_ne!(index, panics, "a broken invariant, on the writer's thread");
                        waiting.answer(Answer { durable: result.is_ok(), amount_nano: index });
                    };
                    let (slot, entry) = (appender.reserve().expect("room"), b"entry".to_vec());
                    ledger::Append { slot, entry, note: None, ack: Box::new(ack) }
                })
                .collect();
            // As after a turn: nothing but the entries on their way has the group.
            drop(group);
            appender.append_all(entries);
            let answers = run(async {
                tokio::task::spawn_local(inbox.hand_out());
                futures_util::future::join_all(answered).await
            });
            for (index, answer) in (0..).zip(answers) {
                let said = answer.ok().map(|answer| (answer.durable, answer.amount_nano));
                assert_eq!(said, (index != panics).then_some((true, index)), "{index}, {panics} panicked");
            }
        }
        ledger.close().expect("a clean end");
    }

    fn process(state: &std::path::Path) -> Process {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:1\"\n\
             threads = 1\nstate = \"{}\"\n",
            state.display()
        );
        let source = policy::Source { name: "byline.toml".to_owned(), text };
        let overrides = Overrides { offline: true, ..Overrides::default() };
        process::start(config::compile(source, &overrides).expect("a configuration")).expect("it starts")
    }

    fn ended(slot: ledger::Slot) -> Ended {
        let word = || Text::Word("word");
        let record = UsageRecord {
            id: crate::shared::new_id().into(),
            source: "//test/ledger".into(),
            time_micros: 1,
            crawler: word(),
            operator: word(),
            purpose: word(),
            assurance: word(),
            evidence: word(),
            method: "GET".into(),
            url: "http://site.test/".into(),
            work: word(),
            holder: None,
            licence: None,
            policy: word(),
            rule: word(),
            verdict: "allow".into(),
            authorisation: None,
            settlement: None,
            would_refuse: None,
            status: 200,
            outcome: Outcome::Complete,
            bytes: 0,
            declared_bytes: None,
            digest: None,
            etag: None,
            content_range: None,
            content_type: None,
            words: None,
            words_capped: false,
            currency: "USD".into(),
            unit: None,
            price_nano: None,
            max_nano: None,
            quantity: 0,
            repeat: false,
            owed: false,
            quote_nano: 0,
            amount_nano: 0,
        };
        let record = Box::new(record);
        Ended {
            record,
            meter: None,
            repeat_free_secs: 0,
            slot,
            hold: None,
            in_flight: None,
            spending: None,
            taken: None,
        }
    }

    #[test]
    fn a_panic_while_closing_ends_the_fetches_of_one_turn_and_no_other() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let process = process(&directory.path().join("state"));
        let (elsewhere, stranger) = ledger(&directory.path().join("elsewhere"));
        run(async {
            let shared = &process.shared;
            let closer = Closer::start(shared);
            let room = || shared.ledger.reserve().expect("room");
            // A slot of another ledger is a bug that the ledger does not put up with.
            let slots = [room(), stranger.reserve().expect("room"), room()];
            let broken = slots.map(|slot| closer.close(ended(slot)));
            for answer in futures_util::future::join_all(broken).await {
                assert!(answer.is_err(), "it was closed in a turn that broke");
            }
            let answer = closer.close(ended(room())).await.expect("the next turn's are answered");
            assert!(answer.durable);
            assert_eq!(shared.ledger.stats().queue_depth, 0, "every slot is given back");
        });
        elsewhere.close().expect("a clean end");
        process.stop().expect("a clean end");
    }
}
