//! What the ledger says, read back entry by entry.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use ledger::Reader;
use metrics::{Entry, UsageRecord};

/// All that the ledger has on fetches.
#[derive(Default)]
pub(crate) struct Tally {
    /// Every metered fetch with its place.
    pub(crate) fetches: Vec<(u64, UsageRecord)>,
    /// By operator and crawler.
    pub(crate) rows: BTreeMap<(String, String), Row>,
    /// How many entries there are, of all kinds.
    pub(crate) entries: u64,
}

/// A crawler's line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Row {
    pub(crate) assurance: String,
    pub(crate) fetches: u64,
    pub(crate) refused: u64,
    pub(crate) bytes: u64,
    /// What the policy asks for all of it, refused or not.
    pub(crate) asked_nano: i128,
    /// What is owed.
    pub(crate) owed_nano: i128,
}

impl Tally {
    /// Reads a ledger from its first entry to its last.
    pub(crate) fn read(ledger: &Path) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut reader = Reader::open(ledger)?;
        while let Some((index, bytes)) = reader.next_entry()? {
            let entry = Entry::parse(&bytes).with_context(|| format!("ledger entry {index}"))?;
            tally.add(index, entry);
        }
        Ok(tally)
    }

    fn add(&mut self, index: u64, entry: Entry) {
        self.entries += 1;
        match entry {
            Entry::Fetch(record) => {
                let row = self.row(&record.operator, &record.crawler, &record.assurance);
                row.fetches += 1;
                row.bytes += record.bytes;
                row.asked_nano += i128::from(record.quote_nano);
                row.owed_nano += i128::from(record.amount_nano);
                self.fetches.push((index, *record));
            }
            Entry::Rollup(sums) => {
                let row = self.row(&sums.operator, &sums.crawler, &sums.assurance);
                let count = if sums.refused { &mut row.refused } else { &mut row.fetches };
                *count += sums.fetches;
                row.bytes += sums.bytes;
                row.asked_nano += sums.quote_nano;
            }
            Entry::Policy(_)
            | Entry::Payment(_)
            | Entry::Gap(_)
            | Entry::Start(_)
            | Entry::Unknown { .. } => {}
        }
    }

    fn row(&mut self, operator: &str, crawler: &str, assurance: &str) -> &mut Row {
        let row = self.rows.entry((operator.to_owned(), crawler.to_owned())).or_default();
        row.assurance = assurance.to_owned();
        row
    }

    /// What one operator owes.
    pub(crate) fn owed_by(&self, operator: &str) -> i128 {
        self.rows.iter().filter(|((of, _), _)| of == operator).map(|(_, row)| row.owed_nano).sum()
    }

    /// What all of them owe.
    pub(crate) fn owed(&self) -> i128 {
        self.rows.values().map(|row| row.owed_nano).sum()
    }
}
