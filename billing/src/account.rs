//! What operators owe, hold and have used up.
//!
//! Three things change here, each at one place only, so that nothing is counted twice:
//! - what is **owed** per operator, currency and calendar month changes when a record is durable ([`crate::derived`]);
//! - what is **held** is the ceiling of fetches under way: a [`Hold`] adds it and gives it back when it goes. It must
//!   live until the record is acknowledged, so that an amount is always held, owed, or for a moment both;
//! - what is **used up** of a rule's budget is the durable fetches of the running period and those under way: an
//!   [`InFlight`] counts one until its record is durable.
//!
//! A clock that was wrong for a while does no lasting damage: a budget that began more than a period ahead begins anew
//! at the next fetch, and a balance that is dated ahead takes the place of the farthest month only.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{Equivalent, HashMap};
use metrics::{Rollup, UsageRecord};
use policy::{Account, Currency, Limit, Money, PolicySnapshot, Standing};

use crate::derived::{BROKEN, Reader, Writer};

/// The most months of balances that are kept: the running one and those that statements are still made for.
const MONTHS_MAX: usize = 13;

/// The most budgets (a rule's for an operator) that are kept; rules and operators are configured, so this is far away.
const WINDOWS_MAX: usize = 100_000;

/// The accounts of all operators. Shared by all threads; every call is short.
#[derive(Default, Debug)]
pub struct Accounts {
    books: Mutex<Books>,
}

#[derive(Default, Debug)]
struct Books {
    owed: HashMap<(Arc<str>, Currency, i32), i128>,
    held: HashMap<(Arc<str>, Currency), i128>,
    /// The period of each rule that has a budget.
    periods: HashMap<Arc<str>, u64>,
    windows: HashMap<(Arc<str>, Arc<str>), Window>,
}

// What the maps are asked for: their keys with names borrowed from whoever asks. Each hashes as its key does.

#[derive(Hash)]
struct Debt<'a>(&'a str, Currency, i32);

impl Equivalent<(Arc<str>, Currency, i32)> for Debt<'_> {
    fn equivalent(&self, (operator, currency, month): &(Arc<str>, Currency, i32)) -> bool {
        *self.0 == **operator && self.1 == *currency && self.2 == *month
    }
}

#[derive(Hash)]
struct Purse<'a>(&'a str, Currency);

impl Equivalent<(Arc<str>, Currency)> for Purse<'_> {
    fn equivalent(&self, (operator, currency): &(Arc<str>, Currency)) -> bool {
        *self.0 == **operator && self.1 == *currency
    }
}

#[derive(Hash)]
struct Budget<'a>(&'a str, &'a str);

impl Equivalent<(Arc<str>, Arc<str>)> for Budget<'_> {
    fn equivalent(&self, (rule, operator): &(Arc<str>, Arc<str>)) -> bool {
        *self.0 == **rule && *self.1 == **operator
    }
}

/// A budget of one rule for one operator in its running period.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Window {
    period_secs: u64,
    start: i64,
    requests: u64,
    bytes: u64,
    in_flight: u64,
    /// Delivered fetches that wait in a roll-up, of this period.
    rolled_requests: u64,
    rolled_bytes: u64,
}

impl Accounts {
    /// No operator owes anything yet.
    pub fn new() -> Accounts {
        Accounts::default()
    }

    /// The accounts as a policy's rules see them at a moment (seconds since the Unix epoch).
    pub fn standing<'a>(&'a self, policy: &'a PolicySnapshot, now_seconds: i64) -> View<'a> {
        View { accounts: self, policy, now_seconds }
    }

    /// Sets aside what a fetch may cost at most, whatever the limit.
    pub fn hold(self: &Arc<Self>, operator: &str, amount: Money) -> Hold {
        let key = (Arc::<str>::from(operator), amount.currency);
        let nano = amount.nano.max(0);
        *self.books().held.entry(key.clone()).or_default() += i128::from(nano);
        Hold { accounts: Arc::clone(self), key, nano }
    }

    /// Sets aside what a fetch may cost at most, if the account can take it: in one step, so that fetches that start
    /// at the same time cannot share what is left. `None` if it cannot, or if there is no such account.
    pub fn try_hold(
        self: &Arc<Self>,
        policy: &PolicySnapshot,
        operator: &str,
        amount: Money,
        now_seconds: i64,
    ) -> Option<Hold> {
        let account = policy.account(operator)?;
        let nano = amount.nano.max(0);
        let mut books = self.books();
        if !books.affords(account, amount, now_seconds) {
            return None;
        }
        let key = (Arc::clone(&account.operator), amount.currency);
        *books.held.entry(key.clone()).or_default() += i128::from(nano);
        drop(books);
        Some(Hold { accounts: Arc::clone(self), key, nano })
    }

    /// Counts a fetch under way against a budget.
    pub fn enter(self: &Arc<Self>, limit: &Limit, operator: &str, now_seconds: i64) -> InFlight {
        let key = (Arc::clone(&limit.rule), Arc::<str>::from(operator));
        let mut books = self.books();
        books.register(limit);
        if let Some(window) = books.window(&key, limit.period_secs, now_seconds) {
            if window.is_ahead(now_seconds) {
                window.begin(limit.period_secs, now_seconds);
            }
            window.in_flight += 1;
        }
        drop(books);
        InFlight { accounts: Arc::clone(self), key }
    }

    /// Makes a rule's budget known before its first fetch, so that entries read at a start count against it.
    pub fn register(&self, limit: &Limit) {
        self.books().register(limit);
    }

    /// What an operator owes for a month of [`metrics::month_of`], in nano-units.
    pub fn owed(&self, operator: &str, currency: Currency, month: i32) -> i128 {
        self.books().owed.get(&Debt(operator, currency, month)).copied().unwrap_or(0)
    }

    /// What is held for fetches of an operator that are under way, in nano-units.
    pub fn held(&self, operator: &str, currency: Currency) -> i128 {
        self.books().held.get(&Purse(operator, currency)).copied().unwrap_or(0)
    }

    /// A record is durable: its amount is owed, and it counts against its rule's budget.
    pub(crate) fn committed<S: Deref<Target = str>>(&self, record: &UsageRecord<S>) {
        let seconds = record.time_micros.div_euclid(1_000_000);
        let mut books = self.books();
        // A currency that nobody knows is no policy's, and no credit limit's. What was paid before delivery is not owed.
        if record.amount_nano > 0
            && record.settlement.is_none()
            && let Ok(currency) = Currency::parse(&record.currency)
        {
            let month = metrics::month_of(record.time_micros);
            books.owe(&record.operator, currency, month, record.amount_nano);
        }
        books.use_up(&record.rule, &record.operator, seconds, |window| {
            window.requests += 1;
            window.bytes = window.bytes.saturating_add(record.bytes);
        });
    }

    /// A roll-up is durable: what was delivered in it counts for good. Nobody owes anything for it.
    pub(crate) fn committed_rollup(&self, rollup: &Rollup) {
        if rollup.refused {
            return;
        }
        self.books().use_up(&rollup.rule, &rollup.operator, rollup.minute, |window| {
            window.rolled_requests = window.rolled_requests.saturating_sub(rollup.fetches);
            window.rolled_bytes = window.rolled_bytes.saturating_sub(rollup.bytes);
            window.requests = window.requests.saturating_add(rollup.fetches);
            window.bytes = window.bytes.saturating_add(rollup.bytes);
        });
    }

    /// Appends what is durable of it.
    pub(crate) fn save(&self, out: &mut Writer) {
        let books = self.books();
        out.u64(books.owed.len() as u64);
        for ((operator, currency, month), nano) in &books.owed {
            out.text(operator);
            out.text(currency.as_str());
            out.i64(i64::from(*month));
            out.i128(*nano);
        }
        out.u64(books.periods.len() as u64);
        for (rule, period_secs) in &books.periods {
            out.text(rule);
            out.u64(*period_secs);
        }
        out.u64(books.windows.len() as u64);
        for ((rule, operator), window) in &books.windows {
            out.text(rule);
            out.text(operator);
            out.u64(window.period_secs);
            out.i64(window.start);
            out.u64(window.requests);
            out.u64(window.bytes);
        }
    }

    /// Reads what [`Accounts::save`] wrote.
    pub(crate) fn restored(saved: &mut Reader<'_>) -> Result<Accounts, &'static str> {
        let mut books = Books::default();
        for _ in 0..saved.u64()? {
            let operator = Arc::from(saved.text()?);
            let currency = Currency::parse(saved.text()?).map_err(|_| BROKEN)?;
            let month = i32::try_from(saved.i64()?).map_err(|_| BROKEN)?;
            books.owed.insert((operator, currency, month), saved.i128()?);
        }
        for _ in 0..saved.u64()? {
            books.periods.insert(Arc::from(saved.text()?), saved.u64()?);
        }
        for _ in 0..saved.u64()? {
            let key = (Arc::from(saved.text()?), Arc::from(saved.text()?));
            let window = Window {
                period_secs: saved.u64()?,
                start: saved.i64()?,
                requests: saved.u64()?,
                bytes: saved.u64()?,
                ..Window::default()
            };
            books.windows.insert(key, window);
        }
        Ok(Accounts { books: Mutex::new(books) })
    }

    /// Takes up restored accounts. Rules that were made known before stay known.
    pub(crate) fn take_up(&self, restored: Accounts) {
        let mut restored = restored.books.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut books = self.books();
        restored.periods.extend(books.periods.drain());
        *books = restored;
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn affords(&self, account: &Account, amount: Money, now_seconds: i64) -> bool {
        if amount.currency != account.credit_limit.currency {
            return false;
        }
        let month = metrics::month_of(now_seconds.saturating_mul(1_000_000));
        let (operator, currency) = (&account.operator, amount.currency);
        let owed = self.owed.get(&Debt(operator, currency, month)).copied().unwrap_or(0);
        let held = self.held.get(&Purse(operator, currency)).copied().unwrap_or(0);
        owed + held + i128::from(amount.nano.max(0)) <= i128::from(account.credit_limit.nano)
    }

    fn owe(&mut self, operator: &str, currency: Currency, month: i32, nano: i64) {
        if let Some(owed) = self.owed.get_mut(&Debt(operator, currency, month)) {
            *owed += i128::from(nano);
        } else {
            let months: BTreeSet<i32> = self.owed.keys().map(|(_, _, month)| *month).collect();
            if !months.contains(&month) && months.len() >= MONTHS_MAX {
                let farthest = months.into_iter().max_by_key(|other| other.abs_diff(month));
                self.owed.retain(|(_, _, month), _| Some(*month) != farthest);
            }
            self.owed.insert((Arc::from(operator), currency, month), i128::from(nano));
        }
    }

    /// Counts what is durable against a rule's budget, if it has one. What belongs to a period that is over is not
    /// counted any more.
    fn use_up(&mut self, rule: &str, operator: &str, seconds: i64, count: impl FnOnce(&mut Window)) {
        let Some((rule, period_secs)) = self.periods.get_key_value(rule) else {
            return;
        };
        let (key, period_secs) = ((Arc::clone(rule), Arc::from(operator)), *period_secs);
        if let Some(window) = self.window(&key, period_secs, seconds)
            && window.start == period_start(period_secs, seconds)
        {
            count(window);
        }
    }

    fn register(&mut self, limit: &Limit) {
        if self.periods.get(&limit.rule) != Some(&limit.period_secs) {
            self.periods.insert(Arc::clone(&limit.rule), limit.period_secs);
        }
    }

    /// The budget's running period at a moment, begun anew if it is over or of another length. One that is ahead stays:
    /// what is durable may be late, and says nothing about the clock.
    fn window(&mut self, key: &(Arc<str>, Arc<str>), period_secs: u64, now: i64) -> Option<&mut Window> {
        let start = period_start(period_secs, now);
        if !self.windows.contains_key(key) {
            if self.windows.len() >= WINDOWS_MAX {
                self.windows.retain(|_, window| window.in_flight > 0 || window.is_running(now));
            }
            if self.windows.len() >= WINDOWS_MAX {
                return None;
            }
            self.windows.insert(key.clone(), Window { period_secs, start, ..Window::default() });
        }
        let window = self.windows.get_mut(key)?;
        if window.period_secs != period_secs || window.start < start {
            window.begin(period_secs, now);
        }
        Some(window)
    }
}

impl Window {
    fn begin(&mut self, period_secs: u64, now: i64) {
        let start = period_start(period_secs, now);
        *self = Window { period_secs, start, in_flight: self.in_flight, ..Window::default() };
    }

    fn is_running(&self, now: i64) -> bool {
        period_start(self.period_secs, now) <= self.start && !self.is_ahead(now)
    }

    /// It begins more than a period after now: the clock was wrong, then or now.
    fn is_ahead(&self, now: i64) -> bool {
        self.start > now.saturating_add(period(self.period_secs))
    }
}

/// Periods are aligned to the Unix epoch.
fn period_start(period_secs: u64, now: i64) -> i64 {
    now.saturating_sub(now.rem_euclid(period(period_secs)))
}

fn period(period_secs: u64) -> i64 {
    i64::try_from(period_secs).unwrap_or(i64::MAX).max(1)
}

/// Money set aside for a fetch under way; dropping it gives it back.
#[derive(Debug)]
pub struct Hold {
    accounts: Arc<Accounts>,
    key: (Arc<str>, Currency),
    nano: i64,
}

impl Hold {
    /// What is set aside, in nano-units.
    pub fn nano(&self) -> i64 {
        self.nano
    }

    /// Lowers the hold to what the response's terms still allow; it never grows.
    pub fn lower(&mut self, amount: Money) {
        let nano = amount.nano.clamp(0, self.nano);
        self.give_back(self.nano - nano);
        self.nano = nano;
    }

    /// Ends the hold after the acknowledgement. The amount itself is owed since the record became durable.
    pub fn settle(self, amount_nano: i64) {
        debug_assert!(amount_nano <= self.nano, "an amount is at most what was held");
    }

    fn give_back(&self, nano: i64) {
        let mut books = self.accounts.books();
        if let Some(held) = books.held.get_mut(&self.key) {
            *held -= i128::from(nano);
            if *held == 0 {
                books.held.remove(&self.key);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back(self.nano);
    }
}

/// A fetch under way that counts against a budget; drop it when its record is durable or will never be.
#[derive(Debug)]
pub struct InFlight {
    accounts: Arc<Accounts>,
    key: (Arc<str>, Arc<str>),
}

impl InFlight {
    /// The fetch was delivered and waits in a roll-up: it stays counted until that is durable or the period ends.
    pub fn rolled_up(self, bytes: u64) {
        let mut books = self.accounts.books();
        if let Some(window) = books.windows.get_mut(&self.key) {
            window.rolled_requests += 1;
            window.rolled_bytes = window.rolled_bytes.saturating_add(bytes);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut books = self.accounts.books();
        if let Some(window) = books.windows.get_mut(&self.key) {
            window.in_flight = window.in_flight.saturating_sub(1);
        }
    }
}

/// The accounts under a policy at a moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    accounts: &'a Accounts,
    policy: &'a PolicySnapshot,
    now_seconds: i64,
}

impl Standing for View<'_> {
    fn exhausted(&self, limit: &Limit, operator: &str) -> Option<u64> {
        let books = self.accounts.books();
        let window = books.windows.get(&Budget(&limit.rule, operator))?;
        let start = period_start(limit.period_secs, self.now_seconds);
        let same = window.period_secs == limit.period_secs && window.is_running(self.now_seconds);
        let (requests, bytes) = if same {
            (
                window.requests + window.rolled_requests + window.in_flight,
                window.bytes.saturating_add(window.rolled_bytes),
            )
        } else {
            (window.in_flight, 0)
        };
        let used_up = limit.requests.is_some_and(|budget| requests >= budget)
            || limit.bytes.is_some_and(|budget| bytes >= budget);
        let left = start.saturating_add(period(limit.period_secs)).saturating_sub(self.now_seconds);
        used_up.then(|| u64::try_from(left).unwrap_or(1).max(1))
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        let Some(account) = self.policy.account(operator) else {
            return false; // nobody to bill
        };
        self.accounts.books().affords(account, amount, self.now_seconds)
    }
}
