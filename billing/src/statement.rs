//! Statements: what each operator owes and each holder is owed, for a period, with the ledger entries behind it.
//!
//! A statement is drawn up from the books, and every record in it is rated again: where the recorded amount is not the
//! one that follows from the recorded facts, the statement says so ([`Statement::findings`]) and corrects nothing.
//! The same books, period and question give the same bytes.
//!
//! Sums are exact to the nano-unit. Only [`Statement::payable`] is rounded, once, half to even, to the currency's
//! minor unit.

mod csv;
mod html;
mod line;
mod period;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::{Currency, decimal, divide_half_even, hex};

use crate::books::{Books, BooksError, Filter, Finding, GapRow, Page, RollupRow, TextId, UsageRow};
use crate::rate::rate;
pub(crate) use line::quantity_text;
pub use line::{Line, LineKey, Priced, Ranges};
pub use period::{Period, PeriodError};
pub(crate) use table::columns;

/// Findings that a statement names one by one; more are only counted.
const FINDINGS_MAX: usize = 100;

/// What a statement is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// The time.
    pub period: Period,
    /// Only this operator's fetches.
    pub operator: Option<String>,
    /// Only fetches of this holder's works.
    pub holder: Option<String>,
    /// A line for each work instead of one for all works of a holder.
    pub by_work: bool,
    /// The currency; needed only where the period has records in several.
    pub currency: Option<String>,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What was asked.
    pub query: Query,
    /// ISO 4217 code of all amounts.
    pub currency: Currency,
    /// The lines, in order of operator, crawler, holder, work and unit.
    pub lines: Vec<Line>,
    /// Fetches of all lines.
    pub fetches: u64,
    /// Body bytes of all lines.
    pub bytes: u64,
    /// Refused requests of all lines.
    pub refused: u64,
    /// Sum of the lines' quotes in nano-units: what they would cost if every rule was enforced and agreed to.
    pub quote_nano: i128,
    /// Sum of the lines' amounts in nano-units.
    pub total_nano: i128,
    /// The part of it that was paid before delivery, in nano-units: the rest is payable.
    pub settled_nano: i128,
    /// The same by the ways in which it was paid: `x402 eip155:8453` …
    pub settled_by: BTreeMap<String, Settled>,
    /// How many entries the ledger had.
    pub ledger_size: u64,
    /// The Merkle root over them, in hex.
    pub ledger_root: String,
    /// The policies that decided, by digest.
    pub policies: Vec<PolicyUsed>,
    /// Times in the period that were not metered.
    pub gaps: Vec<Gap>,
    /// Entries that the statement cannot agree with.
    pub findings: Vec<Finding>,
    /// How many there are, of which `findings` names the first.
    pub findings_count: u64,
}

/// What was paid before delivery in one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Payments: fetches that cost something.
    pub fetches: u64,
    /// In nano-units.
    pub amount_nano: i128,
}

/// A policy that decided fetches of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyUsed {
    /// Its digest.
    pub digest: Arc<str>,
    /// The ledger entry with the first part of its text, if the ledger has it.
    pub entry: Option<u64>,
    /// `observe` or `enforce`, if the ledger says.
    pub mode: Option<String>,
}

/// A time that was not metered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Its ledger entry.
    pub entry: u64,
    /// When it began, RFC 3339.
    pub from: String,
    /// When it ended, RFC 3339.
    pub to: String,
    /// Fetches that passed without an entry, all free or only observed.
    pub fetches: u64,
    /// Bytes that passed with them.
    pub bytes: u64,
    /// Fetches that were refused for want of space.
    pub refused: u64,
    /// What the system said.
    pub reason: String,
}

/// Why a statement cannot be drawn up.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The books failed.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// Amounts of different currencies are never added up.
    #[error("the period has records in {}: choose one with --currency", .currencies.join(" and "))]
    SeveralCurrencies {
        /// All of them.
        currencies: Vec<String>,
    },
    /// Not an ISO 4217 code.
    #[error(transparent)]
    Currency(#[from] policy::MoneyError),
}

impl Statement {
    /// Draws up a statement from the books as they are.
    ///
    /// # Errors
    /// If the books cannot be read, or if the period has several currencies and none was chosen.
    pub fn draw_up(books: &Books, query: Query) -> Result<Statement, StatementError> {
        let page = books.page(query.period.from_micros(), query.period.to_micros())?;
        let mut sums = Sums::new(query.by_work);
        let filter = Filter { operator: query.operator.as_deref(), holder: query.holder.as_deref() };
        page.usage(filter, &mut |row| sums.add(row))?;
        for rollup in page.rollups(filter)? {
            sums.add_rollup(&rollup);
        }
        sums.finish(&page, query)
    }

    /// The total without what was paid before delivery, rounded half to even to the currency's minor unit: what is to be paid.
    pub fn payable(&self) -> String {
        let decimals = usize::from(self.currency.minor_decimals());
        let nano_per_minor = 10_i128.pow(9_u32.saturating_sub(u32::from(self.currency.minor_decimals())));
        let minor = divide_half_even(self.total_nano - self.settled_nano, nano_per_minor);
        let text = decimal(minor * nano_per_minor);
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        if decimals == 0 { whole.to_owned() } else { format!("{whole}.{part:0<decimals$}") }
    }

    /// One JSON object; its shape is in docs/statements.md.
    pub fn to_json(&self) -> serde_json::Value {
        line::to_json(self)
    }

    /// RFC 4180 with a header; cells that a spreadsheet would take for a formula are made plain text.
    pub fn to_csv(&self) -> String {
        csv::write(self)
    }

    /// One printable page without scripts.
    pub fn to_html(&self) -> String {
        html::write(self)
    }

    /// For a terminal: by operator and by holder, or the one that was asked for.
    pub fn to_table(&self) -> String {
        table::write(self)
    }
}

/// The lines of one currency while they are summed up.
type Lines = HashMap<RawKey, Line>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct RawKey {
    operator: TextId,
    crawler: TextId,
    holder: Option<TextId>,
    unit: policy::Unit,
    work: Option<Box<str>>,
}

struct Sums {
    by_work: bool,
    currencies: BTreeMap<TextId, Lines>,
    settled_by: BTreeMap<(TextId, String), Settled>,
    policies: Vec<TextId>,
    findings: Vec<Finding>,
    findings_count: u64,
}

impl Sums {
    fn new(by_work: bool) -> Sums {
        Sums {
            by_work,
            currencies: BTreeMap::new(),
            settled_by: BTreeMap::new(),
            policies: Vec::new(),
            findings: Vec::new(),
            findings_count: 0,
        }
    }

    fn add(&mut self, row: &UsageRow<'_>) {
        let rated = rate(&row.facts);
        if rated != row.recorded {
            let amount = |nano| decimal(i128::from(nano));
            self.finding(Finding {
                entry: row.index,
                what: format!(
                    "the record says quantity {}, quote {}, amount {}; its own facts give quantity {}, quote {}, amount {}",
                    row.recorded.quantity,
                    amount(row.recorded.quote_nano),
                    amount(row.recorded.amount_nano),
                    rated.quantity,
                    amount(rated.quote_nano),
                    amount(rated.amount_nano),
                ),
            });
        }
        self.saw_policy(row.policy);
        let key = RawKey {
            operator: row.operator,
            crawler: row.crawler,
            holder: row.holder,
            unit: row.facts.unit.unwrap_or(policy::Unit::Fetch),
            work: self.by_work.then(|| Box::from(row.work)),
        };
        self.line(row.currency, key).add(row);
        if let Some(settlement) = row.settlement.filter(|_| row.recorded.amount_nano > 0) {
            let settled = self.settled_by.entry((row.currency, way_of(settlement))).or_default();
            settled.fetches += 1;
            settled.amount_nano += i128::from(row.recorded.amount_nano);
        }
    }

    fn add_rollup(&mut self, row: &RollupRow) {
        self.saw_policy(row.policy);
        let key = RawKey {
            operator: row.operator,
            crawler: row.crawler,
            holder: row.holder,
            unit: row.unit.unwrap_or(policy::Unit::Fetch),
            work: None, // a sum over works has none, even where lines are by work
        };
        self.line(row.currency, key).add_rollup(row);
    }

    fn line(&mut self, currency: TextId, key: RawKey) -> &mut Line {
        self.currencies.entry(currency).or_default().entry(key).or_default()
    }

    fn saw_policy(&mut self, policy: TextId) {
        if self.policies.last() != Some(&policy) && !self.policies.contains(&policy) {
            self.policies.push(policy);
        }
    }

    fn finding(&mut self, finding: Finding) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    fn finish(mut self, page: &Page<'_>, query: Query) -> Result<Statement, StatementError> {
        for unreadable in page.unreadable()? {
            self.finding(unreadable);
        }
        let settled_by = std::mem::take(&mut self.settled_by);
        let (currency, raw_lines) = choose(self.currencies, page, query.currency.as_deref())?;
        let mut lines = Vec::with_capacity(raw_lines.len());
        for (key, mut line) in raw_lines {
            line.key = LineKey {
                operator: page.text(key.operator)?,
                crawler: page.text(key.crawler)?,
                holder: key.holder.map(|holder| page.text(holder)).transpose()?,
                work: key.work.map(Arc::from),
                unit: key.unit,
            };
            line.ranges.finish();
            lines.push(line);
        }
        lines.sort_by(|a, b| a.key.cmp(&b.key));

        let mut policies = Vec::new();
        for digest in self.policies {
            let digest = page.text(digest)?;
            let (entry, mode) = page.policy(&digest)?.unzip();
            policies.push(PolicyUsed { digest, entry, mode });
        }
        let extent = page.extent()?;
        Ok(Statement {
            currency,
            fetches: lines.iter().map(|line| line.fetches).sum(),
            bytes: lines.iter().map(|line| line.bytes).sum(),
            refused: lines.iter().map(|line| line.refused).sum(),
            quote_nano: lines.iter().map(|line| line.quote_nano).sum(),
            total_nano: lines.iter().map(|line| line.amount_nano).sum(),
            settled_nano: lines.iter().map(|line| line.settled_nano).sum(),
            settled_by: in_currency(settled_by, page, currency)?,
            lines,
            ledger_size: extent.size,
            ledger_root: hex(&extent.root),
            policies,
            gaps: page.gaps()?.into_iter().map(Gap::of).collect(),
            findings: self.findings,
            findings_count: self.findings_count,
            query,
        })
    }
}

/// How something was paid, without the one payment that it was: `x402 eip155:8453` of `x402 eip155:8453 0x12…`.
fn way_of(settlement: &str) -> String {
    settlement.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn in_currency(
    settled_by: BTreeMap<(TextId, String), Settled>,
    page: &Page<'_>,
    currency: Currency,
) -> Result<BTreeMap<String, Settled>, BooksError> {
    let mut ways = BTreeMap::new();
    for ((id, way), settled) in settled_by {
        if *page.text(id)? == *currency.as_str() {
            ways.insert(way, settled);
        }
    }
    Ok(ways)
}

/// The lines of the one currency, or of the one that was chosen.
fn choose(
    mut currencies: BTreeMap<TextId, Lines>,
    page: &Page<'_>,
    wanted: Option<&str>,
) -> Result<(Currency, Lines), StatementError> {
    if let Some(wanted) = wanted {
        let currency = Currency::parse(wanted)?;
        for (id, lines) in currencies {
            if &*page.text(id)? == wanted {
                return Ok((currency, lines));
            }
        }
        return Ok((currency, Lines::new()));
    }
    if currencies.len() > 1 {
        let mut names = Vec::new();
        for id in currencies.keys() {
            names.push(page.text(*id)?.to_string());
        }
        names.sort();
        return Err(StatementError::SeveralCurrencies { currencies: names });
    }
    match currencies.pop_first() {
        Some((id, lines)) => Ok((Currency::parse(&page.text(id)?)?, lines)),
        None => {
            let latest = page.latest_currency()?;
            let currency = latest.as_deref().and_then(|code| Currency::parse(code).ok());
            Ok((currency.unwrap_or(Currency::USD), Lines::new()))
        }
    }
}

impl Gap {
    fn of(row: GapRow) -> Gap {
        let time = |micros| {
            jiff::Timestamp::from_microsecond(micros)
                .map_or_else(|_| micros.to_string(), |time| time.to_string())
        };
        Gap {
            entry: row.index,
            from: time(row.since_micros),
            to: time(row.until_micros),
            fetches: row.fetches,
            bytes: row.bytes,
            refused: row.refused,
            reason: row.reason,
        }
    }
}

/// `1 fetch`, `2 fetches`.
fn counted(number: u64, noun: &str) -> String {
    match noun {
        _ if number == 1 => format!("1 {noun}"),
        "fetch" => format!("{number} fetches"),
        _ => format!("{number} {noun}s"),
    }
}
