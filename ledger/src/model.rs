//! The model check of the group commit: the queue and the writer thread, compiled a second time with a scheduler's locks
//! and threads, are run through many thousands of interleavings on the simulated disk.
//!
//! What must hold after every one: each entry that was handed in is answered, once; an entry that was acknowledged was
//! durable by then, and acknowledgements come in the order of the indexes; an entry that was refused is not in the
//! ledger; no more slots are out than there are, and all come back; nobody waits for ever (the scheduler would say that
//! all threads are blocked). A failure prints its schedule; `shuttle::replay` runs it again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::{Config, Runner, rand, thread};

use self::appender::{AppendError, Appender, CloseError, Ledger, Status, Unavailable};
use self::queue::{Ack, Append, Slot};
use crate::sim::{Dice, Fault, SimDisk, Survival};
use crate::{Note, Observer, Options, Pause, Position, Reader};

#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "appender.rs"]
mod appender;
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
#[path = "queue.rs"]
mod queue;

/// What `crate::sync` is to the ledger, under the scheduler's control.
mod sync {
    use std::cell::Cell;
    use std::ops::Add;
    use std::time::Duration;

    use shuttle::rand::{self, Rng};

    pub(super) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard, PoisonError};
    pub(super) use shuttle::thread;

    thread_local!(static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) });

    /// A clock that moves only when somebody waits for it.
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    pub(super) struct Instant(Duration);

    impl Instant {
        pub(super) fn now() -> Instant {
            Instant(NOW.get())
        }
        pub(super) fn elapsed(&self) -> Duration {
            NOW.get() - self.0
        }
        pub(super) fn saturating_duration_since(&self, earlier: Instant) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Instant;
        fn add(self, duration: Duration) -> Instant {
            Instant(self.0 + duration)
        }
    }

    /// The scheduler has no time-outs: so each wait ends by itself, at any moment, with the time over or not.
    pub(super) fn wait_timeout<'a, T>(
        _: &Condvar,
        mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        wait: Duration,
    ) -> MutexGuard<'a, T> {
        drop(guard);
        thread::yield_now();
        NOW.set(NOW.get() + if rand::thread_rng().gen_bool(0.5) { wait } else { wait / 2 });
        lock(mutex)
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn every_entry_is_answered_once_after_its_sync() {
    static SHARED_COMMITS: AtomicUsize = AtomicUsize::new(0);
    check(|| {
        let story = Story::begin();
        let callers = [story.caller(0, one_by_one), story.caller(10, one_by_one), story.caller(20, together)];
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let told = story.end();
        assert_eq!(told.acknowledged.len(), 6, "{told:?}");
        SHARED_COMMITS.fetch_add(usize::from(told.commits < 6), Ordering::Relaxed);
    });
    assert_ne!(SHARED_COMMITS.load(Ordering::Relaxed), 0, "no two callers ever shared a commit");
}

#[test]
fn a_close_answers_whoever_is_appending() {
    static CLOSED: AtomicUsize = AtomicUsize::new(0);
    check(|| {
        let mut story = Story::begin();
        story.may_fail(&[None, Some(Fault::NoSpace), Some(Fault::Broken)]);
        let callers = [story.caller(0, one_by_one), story.caller(10, together)];
        story.close();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let told = story.end();
        let closed = told.refused.iter().filter(|(_, error)| matches!(error, AppendError::Closed));
        CLOSED.fetch_add(closed.count(), Ordering::Relaxed);
    });
    assert_ne!(CLOSED.load(Ordering::Relaxed), 0, "nobody ever came too late");
}

#[test]
fn a_pause_answers_everybody_and_ends() {
    static PAUSES: AtomicUsize = AtomicUsize::new(0);
    check(|| {
        let story = Story::begin();
        story.may_fail(&[None, Some(Fault::NoSpace)]);
        let disk = story.disk.clone();
        let others = thread::spawn(move || {
            disk.set_capacity(Some(0));
            thread::yield_now();
            disk.set_capacity(None);
        });
        let callers = [story.caller(0, one_by_one), story.caller(10, together)];
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        others.join().unwrap();
        let told = story.end();
        let refused = told.refused.iter().filter(|(_, error)| matches!(error, AppendError::NoSpace { .. }));
        PAUSES.fetch_add(refused.count(), Ordering::Relaxed);
    });
    assert_ne!(PAUSES.load(Ordering::Relaxed), 0, "there was always space");
}

#[test]
fn a_poisoned_ledger_answers_everybody() {
    static POISONED: AtomicUsize = AtomicUsize::new(0);
    check(|| {
        let story = Story::begin();
        story.may_fail(&[Some(Fault::Broken)]);
        let callers = [story.caller(0, one_by_one), story.caller(10, together), story.caller(20, one_by_one)];
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let told = story.end();
        let refused = told.refused.iter().filter(|(_, error)| matches!(error, AppendError::Poisoned { .. }));
        POISONED.fetch_add(refused.count(), Ordering::Relaxed);
    });
    assert_ne!(POISONED.load(Ordering::Relaxed), 0, "no sync ever failed");
}

#[test]
fn slots_are_never_more_than_there_are_and_come_back() {
    check(|| {
        let story = Story::begin();
        let callers = [story.caller(0, give_back), story.caller(10, one_by_one), story.caller(20, give_back)];
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let slots: Vec<Slot> = (0..SLOTS).map(|_| story.appender.reserve().unwrap()).collect();
        assert!(matches!(story.appender.reserve(), Err(Unavailable::QueueFull { capacity: SLOTS })));
        drop(slots);
        story.end();
    });
}

/// How many entries may be on their way: fewer than the callers would like.
const SLOTS: usize = 2;

/// The entry with a number; two of them fill the zeros that are written ahead, so that the next one needs space.
fn entry(number: u8) -> Vec<u8> {
    vec![number; 2_000]
}

/// Runs the story in random interleavings, and in such with few switches between threads, which find what needs a
/// thread to be held up for long at one place. `MODEL_RUNS` asks for more of them.
fn check(story: impl Fn() + Send + Sync + Copy + 'static) {
    let runs =
        std::env::var("MODEL_RUNS").map_or(1_000, |runs| runs.parse().expect("MODEL_RUNS is a number"));
    run(RandomScheduler::new(runs), story);
    run(PctScheduler::new(3, runs), story);
}

fn run(scheduler: impl Scheduler + 'static, story: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(story);
}

/// One run: a ledger, its callers, and what they heard.
struct Story {
    disk: SimDisk,
    ledger: Option<Ledger>,
    appender: Appender,
    told: Arc<Mutex<Told>>,
    /// Slots that callers hold.
    held: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Told {
    handed_in: usize,
    /// In the order of the answers.
    acknowledged: Vec<(u64, u8)>,
    refused: Vec<(u8, AppendError)>,
    /// Acknowledged, although a power cut in that moment would have lost them.
    not_durable: Vec<u8>,
    commits: u64,
}

/// What a caller does with two entries of its own.
type Habit = fn(&Caller, [u8; 2]);

struct Caller {
    disk: SimDisk,
    appender: Appender,
    told: Arc<Mutex<Told>>,
    held: Arc<AtomicUsize>,
}

impl Story {
    fn begin() -> Story {
        let disk = SimDisk::new();
        let options = Options {
            queue_entries: SLOTS,
            probe_interval: Duration::from_millis(1),
            zero_ahead_bytes: 0,
            ..Options::default()
        };
        let (ledger, appender) = Ledger::open(Arc::new(disk.clone()), options, Box::new(Gaps)).unwrap();
        let (told, held) = (Arc::default(), Arc::default());
        Story { disk, ledger: Some(ledger), appender, told, held }
    }

    fn caller(&self, number: u8, habit: Habit) -> thread::JoinHandle<()> {
        let caller = Caller {
            disk: self.disk.clone(),
            appender: self.appender.clone(),
            told: Arc::clone(&self.told),
            held: Arc::clone(&self.held),
        };
        thread::spawn(move || habit(&caller, [number, number + 1]))
    }

    /// Lets one of the next operations on the disk fail, in one of these ways.
    fn may_fail(&self, faults: &[Option<Fault>]) {
        let mut dice = rand::thread_rng();
        if let Some(fault) = faults[dice.gen_range(0..faults.len())] {
            self.disk.plan(dice.gen_range(0..6), fault);
        }
    }

    fn close(&mut self) {
        let Some(ledger) = self.ledger.take() else { return };
        let poisoned = match ledger.close() {
            Ok(_) | Err(CloseError::NoSpace(_)) => false,
            Err(CloseError::Poisoned { .. }) => true,
        };
        let status = self.appender.status();
        assert!(
            matches!((&status, poisoned), (Status::Closed, false) | (Status::Poisoned { .. }, true)),
            "{status:?}"
        );
    }

    /// Closes, and looks at what was said, what the figures are, and what the disk has.
    fn end(mut self) -> Told {
        self.close();
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        assert_eq!(told.acknowledged.len() + told.refused.len(), told.handed_in, "{told:?}");
        assert!(told.not_durable.is_empty(), "{told:?}");
        assert!(told.acknowledged.is_sorted_by(|one, next| one.0 < next.0), "{told:?}");

        let stats = self.appender.stats();
        assert_eq!(stats.queue_depth, 0, "{stats:?}");
        assert_eq!(stats.appended, told.acknowledged.len() as u64, "{stats:?} {told:?}");
        assert_eq!(stats.appended + stats.refused, stats.accepted, "{stats:?} {told:?}");
        told.commits = stats.commits;

        let entries = entries(&self.disk);
        for (index, number) in &told.acknowledged {
            assert_eq!(entries[*index as usize], entry(*number), "{told:?}");
        }
        let there: BTreeSet<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        assert_eq!(there.len(), entries.len(), "something is there twice");
        for (number, error) in &told.refused {
            // What a failed sync left may be found by the next start; everybody else was told the truth.
            let doubtful = matches!(error, AppendError::Poisoned { .. });
            assert!(doubtful || !there.contains(entry(*number).as_slice()), "{told:?}");
        }
        told
    }
}

fn one_by_one(caller: &Caller, entries: [u8; 2]) {
    for number in entries {
        let Some(slot) = caller.reserve() else { return };
        let (ack, answer) = caller.hear(number);
        caller.release(1);
        slot.append(entry(number), ack);
        answer.recv().unwrap();
    }
}

fn together(caller: &Caller, entries: [u8; 2]) {
    caller.appender.append_all([]); // may wake the writer, who finds nothing and must be woken again
    let mut left = entries.to_vec();
    while let Some(first) = (!left.is_empty()).then(|| caller.reserve()).flatten() {
        let mut slots = vec![first];
        // Who holds a slot must not wait for another one.
        if left.len() > 1 {
            slots.extend(caller.try_reserve());
        }
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        let entries = left.drain(..slots.len());
        for (slot, number) in slots.into_iter().zip(entries) {
            let (ack, answer) = caller.hear(number);
            batch.push(Append { slot, entry: entry(number), note: None, ack });
            answers.push(answer);
        }
        caller.release(batch.len());
        caller.appender.append_all(batch);
        answers.into_iter().for_each(|answer| answer.recv().unwrap());
    }
}

fn give_back(caller: &Caller, entries: [u8; 2]) {
    for _ in entries {
        let Some(slot) = caller.reserve() else { return };
        thread::yield_now();
        caller.release(1);
        drop(slot);
    }
}

impl Caller {
    /// Tries until there is a slot, or there will not be one any more.
    fn reserve(&self) -> Option<Slot> {
        loop {
            match self.try_reserve() {
                Ok(slot) => return Some(slot),
                Err(Unavailable::QueueFull { .. } | Unavailable::Paused { .. }) => thread::yield_now(),
                Err(Unavailable::Poisoned { .. } | Unavailable::Closed) => return None,
            }
        }
    }

    fn try_reserve(&self) -> Result<Slot, Unavailable> {
        let slot = self.appender.reserve()?;
        let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(held <= SLOTS, "{held} slots of {SLOTS} are out");
        Ok(slot)
    }

    /// The caller lets go of slots: to the queue, or for good.
    fn release(&self, slots: usize) {
        self.held.fetch_sub(slots, Ordering::Relaxed);
    }

    /// Somebody who notes the answer to an entry; the receiver waits for that, and fails if it never comes.
    fn hear(&self, number: u8) -> (Ack, Receiver<()>) {
        let (disk, told) = (self.disk.clone(), Arc::clone(&self.told));
        told.lock().unwrap().handed_in += 1;
        let (sender, receiver) = channel();
        let ack: Ack = Box::new(move |result| {
            let mut told = told.lock().unwrap();
            match result {
                Ok(Position { index }) => {
                    let after = disk.fork();
                    after.power_cycle(Survival::Nothing, &mut Dice(0));
                    if entries(&after).get(index as usize) != Some(&entry(number)) {
                        told.not_durable.push(number);
                    }
                    told.acknowledged.push((index, number));
                }
                Err(error) => told.refused.push((number, error)),
            }
            drop(told);
            sender.send(()).unwrap();
        });
        (ack, receiver)
    }
}

fn entries(disk: &SimDisk) -> Vec<Vec<u8>> {
    Reader::on(Arc::new(disk.clone()), Position { index: 0 }).map(|entry| entry.unwrap().1).collect()
}

/// Leaves an entry about each pause.
struct Gaps;

impl Observer for Gaps {
    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn committed(&mut self, _: u64, _: &[u8], _: Option<&Note>) {}
    fn save(&mut self) -> Vec<u8> {
        Vec::new()
    }
    fn resumed(&mut self, pause: &Pause) -> Option<Vec<u8>> {
        Some(format!("gap {} {:?}", pause.refused, pause.since).into_bytes())
    }
}
