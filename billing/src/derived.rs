//! State derived from the ledger, kept beside it.

use std::sync::Arc;

use metrics::UsageRecord;

use crate::account::Accounts;

/// All state that is derived from entries: accounts, repeat keys, totals.
#[derive(Default)]
pub struct Derived {
    accounts: Arc<Accounts>,
}

/// A repeat key that was taken at close and is not durable yet.
#[derive(Debug)]
#[must_use = "forget it if the record cannot be appended"]
pub struct Closing {}

impl Derived {
    /// Nothing seen yet. `source` is the ledger's origin, for the entries that are written from here.
    pub fn new(_source: &str) -> Arc<Derived> {
        Arc::new(Derived::default())
    }

    /// The accounts.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Rates a record that is complete but for `repeat`, `quantity`, `quote_nano` and `amount_nano`, and fills these in.
    ///
    /// Call it once, right before the record is encoded, with the rule's `repeat_free_secs` (0 where no price is
    /// asked). If the record turns out not to be durable, [`Derived::forget`] what it returns.
    pub fn close(&self, record: &mut UsageRecord, _repeat_free_secs: u64) -> Closing {
        let rated = crate::rate::rate_record(record);
        record.quantity = rated.quantity;
        record.quote_nano = rated.quote_nano;
        record.amount_nano = rated.amount_nano;
        Closing {}
    }

    /// The record was not appended: what it would have paid for is not paid.
    pub fn forget(&self, _closing: Closing) {}

    /// A fetch that is usually metered passed without an entry, while the ledger took none.
    pub fn unmetered(&self, _bytes: u64) {}

    /// Takes up what [`Derived::save`] returned before.
    ///
    /// # Errors
    /// A sentence that says why it cannot be used; nothing has changed then.
    pub fn restore(&self, _saved: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Sees a durable entry, in order.
    pub fn observe(&self, _index: u64, _entry: &[u8]) {}

    /// The state after the last entry seen.
    pub fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The totals of a month (of [`metrics::month_of`]) for the summary page.
    pub fn summary(&self, _month: i32) -> Summary {
        Summary::default()
    }
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
    /// Sum of amounts, in nano-units.
    pub owed_nano: i128,
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
    /// Owed since the work is on the list, in nano-units.
    pub owed_nano: i128,
}

/// The ledger's observer: feeds [`Derived`] with durable entries.
pub struct LedgerObserver(pub Arc<Derived>);

impl ledger::Observer for LedgerObserver {
    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.0.restore(saved)
    }

    fn committed(&mut self, index: u64, entry: &[u8]) {
        self.0.observe(index, entry);
    }

    fn save(&mut self) -> Vec<u8> {
        self.0.save()
    }

    fn resumed(&mut self, _pause: &ledger::Pause) -> Option<Vec<u8>> {
        None
    }
}
