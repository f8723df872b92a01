//! Reading the books: one page of them, a stretch of time, as it stood at one moment.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use metrics::Outcome;
use policy::Unit;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{Books, BooksError, Extent, Finding, write};
use crate::rate::{Facts, Rated};

/// The books between two times. While it lives, what other processes write is not seen.
pub(crate) struct Page<'b> {
    books: &'b Books,
    transaction: Transaction<'b>,
    from_micros: i64,
    to_micros: i64,
    texts: RefCell<HashMap<i64, Arc<str>>>,
}

/// The id of a text in the books: for grouping; [`Page::text`] shows it.
pub(crate) type TextId = i64;

/// One metered fetch.
pub(crate) struct UsageRow<'r> {
    pub(crate) index: u64,
    pub(crate) operator: TextId,
    pub(crate) crawler: TextId,
    pub(crate) holder: Option<TextId>,
    pub(crate) policy: TextId,
    pub(crate) work: &'r str,
    pub(crate) currency: TextId,
    /// All that rating needs.
    pub(crate) facts: Facts,
    /// What was recorded.
    pub(crate) recorded: Rated,
    /// How it was paid before delivery.
    pub(crate) settlement: Option<&'r str>,
}

/// Sums of fetches that have no entry each.
pub(crate) struct RollupRow {
    pub(crate) index: u64,
    pub(crate) operator: TextId,
    pub(crate) crawler: TextId,
    pub(crate) holder: Option<TextId>,
    pub(crate) policy: TextId,
    pub(crate) currency: TextId,
    pub(crate) unit: Option<Unit>,
    pub(crate) refused: bool,
    pub(crate) fetches: u64,
    pub(crate) bytes: u64,
    pub(crate) quantity: u64,
    pub(crate) quote_nano: i128,
}

/// A time that was not metered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GapRow {
    pub(crate) index: u64,
    pub(crate) since_micros: i64,
    pub(crate) until_micros: i64,
    pub(crate) fetches: u64,
    pub(crate) bytes: u64,
    pub(crate) refused: u64,
    pub(crate) reason: String,
}

/// Whose rows are wanted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Filter<'f> {
    pub(crate) operator: Option<&'f str>,
    pub(crate) holder: Option<&'f str>,
}

impl Books {
    /// The page of the half-open time `from <= t < to`.
    pub(crate) fn page(&self, from_micros: i64, to_micros: i64) -> Result<Page<'_>, BooksError> {
        let transaction = self.connection.unchecked_transaction().map_err(self.sql())?;
        Ok(Page { books: self, transaction, from_micros, to_micros, texts: RefCell::default() })
    }
}

impl Page<'_> {
    /// What the page was made of.
    pub(crate) fn extent(&self) -> Result<Extent, BooksError> {
        let frontier = write::Cursor::load(&self.transaction).map_err(self.books.sql())?.frontier;
        Ok(Extent { size: frontier.size(), root: frontier.root() })
    }

    /// A text of the books.
    pub(crate) fn text(&self, id: TextId) -> Result<Arc<str>, BooksError> {
        if let Some(text) = self.texts.borrow().get(&id) {
            return Ok(Arc::clone(text));
        }
        let text: String = self
            .transaction
            .query_row("SELECT value FROM text WHERE id = ?", [id], |row| row.get(0))
            .map_err(self.books.sql())?;
        let text: Arc<str> = Arc::from(text);
        self.texts.borrow_mut().insert(id, Arc::clone(&text));
        Ok(text)
    }

    /// Calls for each fetch that closed in the time, in the ledger's order.
    pub(crate) fn usage(
        &self,
        filter: Filter<'_>,
        each: &mut dyn FnMut(&UsageRow<'_>),
    ) -> Result<(), BooksError> {
        self.usage_rows(filter, each).map_err(self.books.sql())
    }

    fn usage_rows(&self, filter: Filter<'_>, each: &mut dyn FnMut(&UsageRow<'_>)) -> rusqlite::Result<()> {
        let Some((operator, holder)) = self.filter_ids(filter)? else { return Ok(()) };
        let outcomes =
            Words::new(&self.transaction, Outcome::ALL.map(|outcome| (outcome.as_str(), outcome)))?;
        let units = Words::new(&self.transaction, UNITS.map(|unit| (unit.as_str(), unit)))?;
        let heads = Words::new(&self.transaction, [("HEAD", ())])?;
        let charges = Words::new(&self.transaction, [(policy::Verdict::Charge.as_str(), ())])?;
        // Entries come nearly in the order of time. Between the first and the last of the time the table is read in
        // the ledger's order, from one end to the other, which costs least and makes ranges easy.
        let bounds = self.transaction.query_row(
            "SELECT min(idx), max(idx) FROM usage WHERE time_micros >= ? AND time_micros < ?",
            params![self.from_micros, self.to_micros],
            |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?)),
        )?;
        let Some((first, last)) = bounds else { return Ok(()) };
        let mut statement = self.transaction.prepare(
            "SELECT idx, operator, crawler, holder, policy, work, currency, status, method, outcome, verdict, unit,
                price_nano, max_nano, bytes, declared_bytes, words, repeat, owed, quantity, quote_nano, amount_nano, settlement
            FROM usage
            WHERE idx BETWEEN ?1 AND ?2 AND time_micros >= ?3 AND time_micros < ?4
                AND (?5 IS NULL OR operator = ?5) AND (?6 IS NULL OR holder = ?6)
            ORDER BY idx",
        )?;
        let mut rows =
            statement.query(params![first, last, self.from_micros, self.to_micros, operator, holder])?;
        while let Some(row) = rows.next()? {
            let outcome = outcomes.get(row.get(9)?).ok_or_else(|| strange(9, "an unknown outcome"))?;
            let facts = Facts {
                status: row.get(7)?,
                head: heads.get(row.get(8)?).is_some(),
                outcome,
                charge: charges.get(row.get(10)?).is_some(),
                unit: row.get::<_, Option<i64>>(11)?.and_then(|unit| units.get(unit)),
                price_nano: row.get(12)?,
                max_nano: row.get(13)?,
                bytes: unsigned(row, 14)?,
                declared_bytes: row.get::<_, Option<i64>>(15)?.map(i64::unsigned_abs),
                words: row.get::<_, Option<i64>>(16)?.map(i64::unsigned_abs),
                repeat: row.get(17)?,
                owed: row.get(18)?,
                settled: row.get_ref(22)?.as_str_or_null()?.is_some(),
            };
            let recorded =
                Rated { quantity: unsigned(row, 19)?, quote_nano: row.get(20)?, amount_nano: row.get(21)? };
            each(&UsageRow {
                index: unsigned(row, 0)?,
                operator: row.get(1)?,
                crawler: row.get(2)?,
                holder: row.get(3)?,
                policy: row.get(4)?,
                work: row.get_ref(5)?.as_str()?,
                currency: row.get(6)?,
                facts,
                recorded,
                settlement: row.get_ref(22)?.as_str_or_null()?,
            });
        }
        Ok(())
    }

    /// The sums of the minutes in the time, in the ledger's order.
    pub(crate) fn rollups(&self, filter: Filter<'_>) -> Result<Vec<RollupRow>, BooksError> {
        self.rollup_rows(filter).map_err(self.books.sql())
    }

    fn rollup_rows(&self, filter: Filter<'_>) -> rusqlite::Result<Vec<RollupRow>> {
        let Some((operator, holder)) = self.filter_ids(filter)? else { return Ok(Vec::new()) };
        let units = Words::new(&self.transaction, UNITS.map(|unit| (unit.as_str(), unit)))?;
        let mut statement = self.transaction.prepare(
            "SELECT idx, operator, crawler, holder, policy, currency, unit, refused, fetches, bytes, quantity,
                quote_nano
            FROM rollup
            WHERE minute * 1000000 >= ?1 AND minute * 1000000 < ?2
                AND minute >= ?1 / 1000000 AND minute <= ?2 / 1000000
                AND (?3 IS NULL OR operator = ?3) AND (?4 IS NULL OR holder = ?4)
            ORDER BY idx",
        )?;
        statement
            .query_map(params![self.from_micros, self.to_micros, operator, holder], |row| {
                Ok(RollupRow {
                    index: unsigned(row, 0)?,
                    operator: row.get(1)?,
                    crawler: row.get(2)?,
                    holder: row.get(3)?,
                    policy: row.get(4)?,
                    currency: row.get(5)?,
                    unit: row.get::<_, Option<i64>>(6)?.and_then(|unit| units.get(unit)),
                    refused: row.get(7)?,
                    fetches: unsigned(row, 8)?,
                    bytes: unsigned(row, 9)?,
                    quantity: unsigned(row, 10)?,
                    quote_nano: row
                        .get_ref(11)?
                        .as_str()?
                        .parse()
                        .map_err(|_| strange(11, "not a number"))?,
                })
            })?
            .collect()
    }

    /// The gaps that touch the time.
    pub(crate) fn gaps(&self) -> Result<Vec<GapRow>, BooksError> {
        let read = || -> rusqlite::Result<Vec<GapRow>> {
            self.transaction
                .prepare(
                    "SELECT idx, since_micros, until_micros, fetches, bytes, refused, reason FROM gap
                    WHERE since_micros < ? AND until_micros >= ? ORDER BY idx",
                )?
                .query_map(params![self.to_micros, self.from_micros], |row| {
                    Ok(GapRow {
                        index: unsigned(row, 0)?,
                        since_micros: row.get(1)?,
                        until_micros: row.get(2)?,
                        fetches: unsigned(row, 3)?,
                        bytes: unsigned(row, 4)?,
                        refused: unsigned(row, 5)?,
                        reason: row.get(6)?,
                    })
                })?
                .collect()
        };
        read().map_err(self.books.sql())
    }

    /// The entry where a policy took effect first, and its mode; `None` if the ledger does not say.
    pub(crate) fn policy(&self, digest: &str) -> Result<Option<(u64, String)>, BooksError> {
        self.transaction
            .query_row(
                "SELECT idx, mode FROM policy WHERE digest = ? ORDER BY idx LIMIT 1",
                [digest],
                |row| Ok((unsigned(row, 0)?, row.get(1)?)),
            )
            .optional()
            .map_err(self.books.sql())
    }

    /// Entries that cannot be read. They have no time, so every statement names them.
    pub(crate) fn unreadable(&self) -> Result<Vec<Finding>, BooksError> {
        let read = || -> rusqlite::Result<Vec<Finding>> {
            self.transaction
                .prepare("SELECT idx, what FROM finding ORDER BY idx")?
                .query_map([], |row| Ok(Finding { entry: unsigned(row, 0)?, what: row.get(1)? }))?
                .collect()
        };
        read().map_err(self.books.sql())
    }

    /// The currency of the latest record, whatever its time.
    pub(crate) fn latest_currency(&self) -> Result<Option<String>, BooksError> {
        self.transaction
            .query_row(
                "SELECT value FROM text WHERE id = (SELECT currency FROM usage ORDER BY idx DESC LIMIT 1)",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.books.sql())
    }

    /// The ids of the filter's texts; `None` if one of them is nowhere in the books, so that nothing can match.
    fn filter_ids(&self, filter: Filter<'_>) -> rusqlite::Result<Option<(Option<TextId>, Option<TextId>)>> {
        let mut ids = [None, None];
        for (id, wanted) in ids.iter_mut().zip([filter.operator, filter.holder]) {
            let Some(wanted) = wanted else { continue };
            *id = text_id(&self.transaction, wanted)?;
            if id.is_none() {
                return Ok(None);
            }
        }
        Ok(Some((ids[0], ids[1])))
    }
}

const UNITS: [Unit; 3] = [Unit::Fetch, Unit::Megabyte, Unit::ThousandWords];

/// Known words by their ids, so that a row's are compared as numbers.
struct Words<T>(Vec<(TextId, T)>);

impl<T: Copy> Words<T> {
    fn new<const N: usize>(connection: &Connection, words: [(&str, T); N]) -> rusqlite::Result<Words<T>> {
        let mut known = Vec::with_capacity(N);
        for (word, value) in words {
            known.extend(text_id(connection, word)?.map(|id| (id, value)));
        }
        Ok(Words(known))
    }

    fn get(&self, id: TextId) -> Option<T> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, value)| *value)
    }
}

fn text_id(connection: &Connection, text: &str) -> rusqlite::Result<Option<TextId>> {
    connection.query_row("SELECT id FROM text WHERE value = ?", [text], |row| row.get(0)).optional()
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn strange(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
}
