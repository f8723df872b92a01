//! State derived from the ledger, kept beside it: balances, repeat keys, budgets, totals.
//!
//! # Who changes what, so that nothing counts twice
//!
//! | state | while a fetch is under way | when its record is durable (`committed`) |
//! |---|---|---|
//! | balance owed | nothing: its ceiling is held ([`crate::account::Hold`]) | the amount is added |
//! | repeat key | taken tentatively at close ([`Derived::close`]) | becomes durable; the tentative one goes |
//! | what is good once | taken by one fetch ([`Derived::spend`]) | spent, if the fetch cost something |
//! | budget of requests, bytes | counted in flight ([`crate::account::InFlight`]) | counted for good |
//! | totals | nothing | added |
//! | fetches without an entry | counted ([`Derived::unmetered`]) | nothing: whoever makes the `gap` entry took them out |
//!
//! `committed` runs on the writer thread before the acknowledgement, so a hold and an in-flight count that live until
//! the acknowledgement overlap with what is durable for a moment: never too little, never twice for good. After a start
//! the same `committed` sees the entries that are newer than the saved state: whatever was tentative, held or in flight
//! in the process before has no entry, costs nothing and is gone.
//!
//! # The saved state
//!
//! `BYLD`, a version (`u64`, little-endian as all numbers), a block each of balances and budgets, repeat keys, what is spent, payments
//! and totals (length before), then SHA-256 of all that. A state of another version or with a wrong sum is refused whole; the
//! ledger then shows every entry again.

mod codec;
mod totals;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Entry, Gap, Text, UsageRecord};
use policy::sha256;

use crate::account::Accounts;
use crate::payments::Payments;
use crate::rate::rate_record;
use crate::repeat::{Repeats, Version};
use crate::spent::{SpendError, SpendKey, Spending, Spent};
pub(crate) use codec::{BROKEN, Reader, Writer};
use totals::Totals;

/// All state that is derived from entries. Shared by all threads.
pub struct Derived {
    source: String,
    accounts: Arc<Accounts>,
    repeats: Repeats,
    spent: Arc<Spent>,
    payments: Arc<Payments>,
    totals: Mutex<Seen>,
    passed: Mutex<Passed>,
}

/// What passed without an entry and is in no `gap` yet.
#[derive(Default)]
struct Passed {
    fetches: u64,
    bytes: u64,
    /// Since when, where it was in a `gap` that could not be appended.
    since_micros: Option<i64>,
    /// All that passed before this is in a `gap`, or was given back.
    taken_micros: Option<i64>,
}

/// What was seen of the ledger.
#[derive(Default)]
struct Seen {
    totals: Totals,
    last: Option<Last>,
    unreadable: u64,
}

/// The newest entry that was seen.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Last {
    /// Its index in the ledger.
    pub index: u64,
    /// Its time, microseconds since the Unix epoch; 0 if it is of a type that this version does not know.
    pub time_micros: i64,
    /// Its `id`.
    pub id: String,
}

/// What closing a fetch did: the version that it delivered, if it names one, which a complete one takes tentatively until
/// its record is durable.
#[derive(Clone, Copy, Debug)]
#[must_use = "forget it if the record cannot be appended"]
pub struct Closing {
    version: Option<Version>,
    repeat: bool,
}

/// A record beside its entry: what [`Derived`] then need not read from it. The ledger keeps it until the entry is durable.
struct Noted {
    record: Box<UsageRecord<Text>>,
    version: Option<Version>,
}

impl Derived {
    /// Nothing seen yet. `source` is the ledger's origin, for the entries that are written from here.
    pub fn new(source: &str) -> Arc<Derived> {
        Arc::new(Derived {
            source: source.to_owned(),
            accounts: Arc::default(),
            repeats: Repeats::new(),
            spent: Arc::default(),
            payments: Arc::default(),
            totals: Mutex::default(),
            passed: Mutex::default(),
        })
    }

    /// The accounts.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Takes what a fetch is paid with and what is good once: of all fetches that come with it, one gets it. `now` is in
    /// Unix seconds. See [`crate::spent`].
    pub fn spend(&self, key: SpendKey, now: i64) -> Result<Spending, SpendError> {
        self.spent.spend(key, now)
    }

    /// The payments that are settled before delivery.
    pub fn payments(&self) -> &Arc<Payments> {
        &self.payments
    }

    /// Rates a record that is complete but for `repeat`, `quantity`, `quote_nano` and `amount_nano`, and fills these in.
    ///
    /// Call it once, right before the record is encoded, with the rule's `repeat_free_secs` (0 where no price is
    /// asked). If the record turns out not to be durable, [`Derived::forget`] what it returns.
    pub fn close<S: Deref<Target = str> + From<String>>(
        &self,
        record: &mut UsageRecord<S>,
        repeat_free_secs: u64,
    ) -> Closing {
        record.cut(); // the entry's version is this one
        let version = Version::of(record);
        // What was paid before delivery has no version: whoever comes with the payment decides whether it is delivered again.
        record.repeat = match &version {
            Some(version) => self.repeats.check_and_insert(version, repeat_free_secs),
            None => record.repeat && record.settlement.is_some(),
        };
        let rated = rate_record(record);
        record.quantity = rated.quantity;
        record.quote_nano = rated.quote_nano;
        record.amount_nano = rated.amount_nano;
        Closing { version, repeat: record.repeat }
    }

    /// The note for the ledger about the entry of a record that was just closed.
    pub fn note(record: Box<UsageRecord<Text>>, closing: Closing) -> ledger::Note {
        Box::new(Noted { record, version: closing.version })
    }

    /// The record was not appended: what it would have paid for is not paid.
    pub fn forget(&self, closing: Closing) {
        if let Some(version) = closing.version.filter(|_| !closing.repeat) {
            self.repeats.forget(&version);
        }
    }

    /// A fetch that is usually metered passed without an entry, while the ledger took none.
    pub fn unmetered(&self, bytes: u64) {
        let mut passed = lock(&self.passed);
        passed.fetches += 1;
        passed.bytes = passed.bytes.saturating_add(bytes);
    }

    /// What passed without an entry since this was called last, or the ledger resumed; `None` if nothing did.
    ///
    /// Call it every few seconds while the ledger is ready, and at the stop, with the time in microseconds since the
    /// Unix epoch. What it returns is counted no more: append it, or [`Derived::give_back`] it.
    pub fn take_gap(&self, now_micros: i64) -> Option<Gap> {
        let mut passed = lock(&self.passed);
        if passed.fetches == 0 {
            passed.taken_micros = Some(now_micros);
            return None;
        }
        let since_micros = passed.taken_micros.unwrap_or(now_micros).min(now_micros);
        Some(self.gap(&mut passed, since_micros, now_micros, 0, UNRECORDED))
    }

    /// A gap could not be appended: what it counts belongs into the next one.
    pub fn give_back(&self, gap: &Gap) {
        let mut passed = lock(&self.passed);
        passed.fetches += gap.fetches;
        passed.bytes = passed.bytes.saturating_add(gap.bytes);
        let since_micros = passed.since_micros.unwrap_or(gap.since_micros);
        passed.since_micros = Some(since_micros.min(gap.since_micros));
    }

    /// Sees a durable entry, in order.
    pub fn observe(&self, index: u64, entry: &[u8]) {
        self.observe_noted(index, entry, None);
    }

    /// The same, with what [`Derived::note`] made of its record, if anything.
    pub fn observe_noted(&self, index: u64, entry: &[u8], note: Option<&ledger::Note>) {
        if let Some(noted) = note.and_then(|note| note.downcast_ref::<Noted>()) {
            return self.fetched(index, &noted.record, noted.version.as_ref());
        }
        // Nearly every entry is a fetch.
        if let Ok(record) = UsageRecord::read(entry) {
            return self.fetched(index, &record, Version::of(&record).as_ref());
        }
        let parsed = Entry::parse(entry);
        match &parsed {
            Ok(Entry::Rollup(rollup)) => {
                self.accounts.committed_rollup(rollup);
                lock(&self.totals).totals.rollup(rollup);
            }
            Ok(Entry::Payment(payment)) => self.payments.seen(payment),
            Ok(
                Entry::Fetch(_) | Entry::Gap(_) | Entry::Policy(_) | Entry::Start(_) | Entry::Unknown { .. },
            ) => {}
            Err(_) => lock(&self.totals).unreadable += 1,
        }
        let (time_micros, id) = match parsed {
            Ok(Entry::Fetch(it)) => (it.time_micros, it.id),
            Ok(Entry::Rollup(it)) => (it.time_micros, it.id),
            Ok(Entry::Policy(it)) => (it.time_micros, it.id),
            Ok(Entry::Gap(it)) => (it.time_micros, it.id),
            Ok(Entry::Start(it)) => (it.time_micros, it.id),
            Ok(Entry::Payment(it)) => (it.time_micros, it.id),
            Ok(Entry::Unknown { .. }) | Err(_) => (0, String::new()),
        };
        lock(&self.totals).last = Some(Last { index, time_micros, id });
    }

    fn fetched<S: Deref<Target = str>>(
        &self,
        index: u64,
        record: &UsageRecord<S>,
        version: Option<&Version>,
    ) {
        self.accounts.committed(record);
        self.spent.committed(record);
        self.payments.delivered(record);
        if let Some(version) = version {
            self.repeats.insert_durable(version, !record.repeat && record.quote_nano > 0);
        }
        let mut seen = lock(&self.totals);
        seen.totals.fetch(record);
        let last = seen.last.get_or_insert_default();
        (last.index, last.time_micros) = (index, record.time_micros);
        last.id.clear();
        last.id.push_str(&record.id);
    }

    /// The newest entry that was seen.
    pub fn last(&self) -> Option<Last> {
        lock(&self.totals).last.clone()
    }

    /// How many entries could not be read as events: anything but 0 says that somebody else writes into this ledger.
    pub fn unreadable(&self) -> u64 {
        lock(&self.totals).unreadable
    }

    /// The totals of a month (of [`metrics::month_of`]) for the summary page.
    pub fn summary(&self, month: i32) -> Summary {
        lock(&self.totals).totals.summary(month)
    }

    /// The state after the last entry seen.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.out.extend_from_slice(MAGIC);
        out.u64(VERSION);
        let mut accounts = Writer::default();
        self.accounts.save(&mut accounts);
        out.block(|bytes| bytes.append(&mut accounts.out));
        out.block(|bytes| self.repeats.save(bytes));
        let mut spent = Writer::default();
        self.spent.save(&mut spent);
        out.block(|bytes| bytes.append(&mut spent.out));
        let mut payments = Writer::default();
        self.payments.save(&mut payments);
        out.block(|bytes| bytes.append(&mut payments.out));
        let mut totals = Writer::default();
        {
            let seen = lock(&self.totals);
            totals.u64(seen.unreadable);
            totals.u64(u64::from(seen.last.is_some()));
            let last = seen.last.clone().unwrap_or(Last { index: 0, time_micros: 0, id: String::new() });
            totals.u64(last.index);
            totals.i64(last.time_micros);
            totals.text(&last.id);
            seen.totals.save(&mut totals);
        }
        out.block(|bytes| bytes.append(&mut totals.out));
        let sum = sha256(&out.out);
        out.out.extend_from_slice(&sum);
        out.out
    }

    /// Takes up what [`Derived::save`] returned before.
    ///
    /// # Errors
    /// A sentence that says why it cannot be used; nothing has changed then.
    pub fn restore(&self, saved: &[u8]) -> Result<(), String> {
        let (state, sum) = saved.split_last_chunk::<32>().ok_or(BROKEN)?;
        if sha256(state) != *sum {
            return Err("the saved state does not match its checksum".to_owned());
        }
        let state = state.strip_prefix(MAGIC).ok_or(BROKEN)?;
        let mut blocks = Reader { rest: state };
        let version = blocks.u64()?;
        if version != VERSION {
            return Err(format!("the saved state is of version {version}, this is {VERSION}"));
        }
        let accounts = Accounts::restored(&mut Reader { rest: blocks.block()? })?;
        let repeats = Repeats::restore(blocks.block()?)?;
        let spent = Spent::restored(&mut Reader { rest: blocks.block()? })?;
        let payments = Payments::restored(&mut Reader { rest: blocks.block()? })?;
        let mut totals = Reader { rest: blocks.block()? };
        let unreadable = totals.u64()?;
        let any = totals.u64()? == 1;
        let last = Last { index: totals.u64()?, time_micros: totals.i64()?, id: totals.text()?.to_owned() };
        let seen = Seen { totals: Totals::restore(&mut totals)?, last: any.then_some(last), unreadable };
        self.accounts.take_up(accounts);
        self.repeats.take_up(repeats);
        self.spent.take_up(spent);
        self.payments.take_up(payments);
        *lock(&self.totals) = seen;
        Ok(())
    }

    /// The entry that says what passed while the ledger was paused. The ledger keeps it until it is durable, whatever
    /// happens, so it is taken out for good.
    fn gap_of_pause(&self, pause: &ledger::Pause) -> Gap {
        let since_micros = micros_of(pause.since);
        let length = i64::try_from(pause.duration.as_micros()).unwrap_or(i64::MAX);
        let until_micros = since_micros.saturating_add(length);
        self.gap(&mut lock(&self.passed), since_micros, until_micros, pause.refused, &pause.reason)
    }

    fn gap(
        &self,
        passed: &mut Passed,
        since_micros: i64,
        until_micros: i64,
        refused: u64,
        reason: &str,
    ) -> Gap {
        let taken = std::mem::take(passed);
        passed.taken_micros = Some(until_micros);
        let mut gap = Gap {
            id: String::new(),
            source: self.source.clone(),
            time_micros: until_micros,
            since_micros: taken.since_micros.map_or(since_micros, |earlier| earlier.min(since_micros)),
            until_micros,
            fetches: taken.fetches,
            bytes: taken.bytes,
            refused,
            reason: reason.to_owned(),
        };
        gap.id = gap.derive_id();
        gap
    }
}

/// Why fetches pass without an entry where the ledger was not paused.
const UNRECORDED: &str = "more came at once than could be recorded, or the policy was not recorded yet";

const MAGIC: &[u8] = b"BYLD";
const VERSION: u64 = 4;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros_of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Totals of one month.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// One line per crawler, operator and holder, the most fetches first.
    pub lines: Vec<Line>,
    /// The works fetched most, over all time, estimated from above; the most fetches first.
    pub works: Vec<TopWork>,
}

/// Totals of one crawler, operator and holder in one month.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Line {
    /// The crawler's token.
    pub crawler: String,
    /// The operator, or `spoof`.
    pub operator: String,
    /// The holder, if the policy names one.
    pub holder: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// Fetches delivered.
    pub fetches: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Fetches refused.
    pub refused: u64,
    /// Sum of quotes of delivered fetches, in nano-units.
    pub quoted_nano: i128,
    /// Sum of amounts on account, in nano-units.
    pub owed_nano: i128,
    /// Sum of amounts that were paid before delivery, in nano-units.
    pub settled_nano: i128,
    /// Time of the last fetch or refusal, microseconds since the Unix epoch.
    pub last_micros: i64,
}

/// A work with its estimated counts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TopWork {
    /// The work's identifier.
    pub work: String,
    /// Fetches, at most `error` too many.
    pub fetches: u64,
    /// How far `fetches` may be too high.
    pub error: u64,
    /// Bytes delivered since the work is on the list.
    pub bytes: u64,
    /// Amounts since the work is on the list, on account or paid before delivery, in nano-units of whatever currency each was in.
    pub earned_nano: i128,
}

/// The ledger's observer: feeds [`Derived`] with durable entries.
pub struct LedgerObserver(pub Arc<Derived>);

impl ledger::Observer for LedgerObserver {
    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.0.restore(saved)
    }

    fn committed(&mut self, index: u64, entry: &[u8], note: Option<&ledger::Note>) {
        self.0.observe_noted(index, entry, note);
    }

    fn save(&mut self) -> Vec<u8> {
        self.0.save()
    }

    fn resumed(&mut self, pause: &ledger::Pause) -> Option<Vec<u8>> {
        Some(self.0.gap_of_pause(pause).encode())
    }
}
