//! Taking one entry into the books.

use std::collections::HashMap;

use ledger::merkle::{Frontier, Hash, leaf_hash};
use metrics::{Entry, Gap, PolicyPart, Rollup, UsageRecord};
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

/// Texts whose ids are remembered; beyond that the memory begins again, so that odd input cannot fill it.
const REMEMBERED_TEXTS_MAX: usize = 8_192;

/// Where the books go on.
pub(super) struct Cursor {
    /// Over all entries read.
    pub(super) frontier: Frontier,
    /// Leaf hash of the last entry read; zeros before the first.
    pub(super) last_leaf: Hash,
}

impl Cursor {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Cursor> {
        let stored: Option<(Hash, Vec<u8>)> = connection
            .query_row("SELECT last_leaf, frontier FROM cursor", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((last_leaf, bytes)) = stored else {
            return Ok(Cursor { frontier: Frontier::default(), last_leaf: [0; 32] });
        };
        let frontier = Frontier::parse(&bytes).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(
                1,
                rusqlite::types::Type::Blob,
                "not a Merkle frontier".into(),
            )
        })?;
        Ok(Cursor { frontier, last_leaf })
    }

    pub(super) fn advance(&mut self, entry: &[u8]) {
        self.last_leaf = leaf_hash(entry);
        self.frontier.append(self.last_leaf);
    }

    pub(super) fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .execute(
                "INSERT OR REPLACE INTO cursor (id, next_index, last_leaf, frontier) VALUES (1, ?, ?, ?)",
                params![signed(self.frontier.size()), self.last_leaf, self.frontier.serialise()],
            )
            .map(drop)
    }
}

/// The statements of one transaction, prepared.
pub(super) struct Writer<'c> {
    connection: &'c Connection,
    texts: Texts<'c>,
    usage: Statement<'c>,
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Writer<'c>> {
        let places = vec!["?"; 33].join(",");
        Ok(Writer {
            connection,
            texts: Texts {
                ids: HashMap::new(),
                find: connection.prepare("SELECT id FROM text WHERE value = ?")?,
                add: connection.prepare("INSERT INTO text (value) VALUES (?)")?,
                connection,
            },
            usage: connection.prepare(&format!("INSERT INTO usage VALUES ({places})"))?,
        })
    }

    /// Takes in one entry of the ledger, whatever it says.
    pub(super) fn entry(&mut self, index: u64, bytes: &[u8]) -> rusqlite::Result<()> {
        match Entry::parse(bytes) {
            Ok(Entry::Fetch(record)) => self.fetch(index, &record),
            Ok(Entry::Rollup(rollup)) => self.rollup(index, &rollup),
            Ok(Entry::Policy(part)) => self.policy(index, &part),
            Ok(Entry::Gap(gap)) => self.gap(index, &gap),
            Ok(Entry::Payment(_) | Entry::Start(_) | Entry::Unknown { .. }) => Ok(()),
            Err(error) => self.finding(index, &format!("the entry cannot be read: {error}")),
        }
    }

    fn fetch(&mut self, index: u64, record: &UsageRecord) -> rusqlite::Result<()> {
        let texts = &mut self.texts;
        self.usage
            .execute(params![
                signed(index),
                record.time_micros,
                texts.id(&record.operator)?,
                texts.id(&record.crawler)?,
                texts.id(&record.purpose)?,
                texts.id(&record.assurance)?,
                texts.id(&record.evidence)?,
                texts.id_if(record.holder.as_deref())?,
                texts.id_if(record.licence.as_deref())?,
                texts.id(&record.policy)?,
                texts.id(&record.rule)?,
                texts.id(&record.verdict)?,
                record.would_refuse,
                texts.id(&record.method)?,
                record.work,
                record.url,
                record.status,
                texts.id(record.outcome.as_str())?,
                signed(record.bytes),
                record.declared_bytes.map(signed),
                texts.id_if(record.content_type.as_deref())?,
                record.words.map(signed),
                record.words_capped,
                texts.id(&record.currency)?,
                texts.id_if(record.unit.as_deref())?,
                record.price_nano,
                record.max_nano,
                signed(record.quantity),
                record.repeat,
                record.owed,
                record.quote_nano,
                record.amount_nano,
                record.settlement,
            ])
            .map(drop)
    }

    fn rollup(&mut self, index: u64, rollup: &Rollup) -> rusqlite::Result<()> {
        let texts = &mut self.texts;
        self.connection
            .execute(
                "INSERT INTO rollup VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                params![
                    signed(index),
                    rollup.time_micros,
                    rollup.minute,
                    texts.id(&rollup.operator)?,
                    texts.id(&rollup.crawler)?,
                    texts.id(&rollup.purpose)?,
                    texts.id(&rollup.assurance)?,
                    texts.id_if(rollup.holder.as_deref())?,
                    texts.id(&rollup.policy)?,
                    texts.id(&rollup.rule)?,
                    rollup.refused,
                    rollup.status,
                    texts.id_if(rollup.outcome.map(metrics::Outcome::as_str))?,
                    signed(rollup.fetches),
                    signed(rollup.bytes),
                    texts.id(&rollup.currency)?,
                    texts.id_if(rollup.unit.as_deref())?,
                    signed(rollup.quantity),
                    rollup.quote_nano.to_string(),
                ],
            )
            .map(drop)
    }

    fn policy(&mut self, index: u64, part: &PolicyPart) -> rusqlite::Result<()> {
        if part.part != 1 {
            return Ok(()); // the first part speaks for all
        }
        self.connection
            .execute(
                "INSERT INTO policy VALUES (?,?,?,?,?)",
                params![signed(index), part.time_micros, part.policy, part.mode, part.parts],
            )
            .map(drop)
    }

    fn gap(&mut self, index: u64, gap: &Gap) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "INSERT INTO gap VALUES (?,?,?,?,?,?,?)",
                params![
                    signed(index),
                    gap.since_micros,
                    gap.until_micros,
                    signed(gap.fetches),
                    signed(gap.bytes),
                    signed(gap.refused),
                    gap.reason,
                ],
            )
            .map(drop)
    }

    fn finding(&mut self, index: u64, what: &str) -> rusqlite::Result<()> {
        self.connection.execute("INSERT INTO finding VALUES (?,?)", params![signed(index), what]).map(drop)
    }
}

/// The ids of texts.
struct Texts<'c> {
    connection: &'c Connection,
    ids: HashMap<String, i64>,
    find: Statement<'c>,
    add: Statement<'c>,
}

impl Texts<'_> {
    fn id(&mut self, value: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.ids.get(value) {
            return Ok(*id);
        }
        let id = match self.find.query_row([value], |row| row.get(0)).optional()? {
            Some(id) => id,
            None => {
                self.add.execute([value])?;
                self.connection.last_insert_rowid()
            }
        };
        if self.ids.len() >= REMEMBERED_TEXTS_MAX {
            self.ids.clear();
        }
        self.ids.insert(value.to_owned(), id);
        Ok(id)
    }

    fn id_if(&mut self, value: Option<&str>) -> rusqlite::Result<Option<i64>> {
        value.map(|value| self.id(value)).transpose()
    }
}

/// SQLite's integers are signed; the records' own are below 2⁵³.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
