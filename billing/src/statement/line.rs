//! One line of a statement, and the ranges of ledger entries behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::{Unit, decimal};
use serde_json::{Value, json};

use super::Statement;
use crate::books::{RollupRow, UsageRow};

/// Prices that a line tells apart; more of them (a policy that changes them many times in a period) are not listed.
const PRICES_MAX: usize = 64;

/// What the fetches of a line have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LineKey {
    /// The operator; `spoof` for claims that the network contradicts.
    pub operator: Arc<str>,
    /// The crawler's token.
    pub crawler: Arc<str>,
    /// Whose works, if the policy said.
    pub holder: Option<Arc<str>>,
    /// The work, in a statement by work; sums of roll-ups have none.
    pub work: Option<Arc<str>>,
    /// The unit of the price; works without a price count by the fetch.
    pub unit: Unit,
}

impl Default for LineKey {
    fn default() -> LineKey {
        LineKey {
            operator: Arc::from(""),
            crawler: Arc::from(""),
            holder: None,
            work: None,
            unit: Unit::Fetch,
        }
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// What its fetches have in common.
    pub key: LineKey,
    /// Fetches that were delivered, whatever their outcome, paid or not.
    pub fetches: u64,
    /// Body bytes that were delivered.
    pub bytes: u64,
    /// What was rated, in the unit's measure (fetches, bytes or words).
    pub quantity: u128,
    /// Sum of quotes in nano-units.
    pub quote_nano: i128,
    /// Sum of what the fetches cost, in nano-units.
    pub amount_nano: i128,
    /// The part of it that was paid before delivery, in nano-units.
    pub settled_nano: i128,
    /// Requests that were refused; they are not fetches.
    pub refused: u64,
    /// Fetches that were free because the same version was paid before.
    pub repeats: u64,
    /// What was rated at each price of a unit, in nano-units.
    pub prices: BTreeMap<i64, Priced>,
    /// The ledger entries.
    pub ranges: Ranges,
}

/// What was rated at one price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Priced {
    /// In the unit's measure.
    pub quantity: u128,
    /// In nano-units.
    pub quote_nano: i128,
    /// In nano-units.
    pub amount_nano: i128,
}

impl Line {
    pub(super) fn add(&mut self, row: &UsageRow<'_>) {
        let recorded = &row.recorded;
        self.fetches += 1;
        self.bytes += row.facts.bytes;
        self.quantity += u128::from(recorded.quantity);
        self.quote_nano += i128::from(recorded.quote_nano);
        self.amount_nano += i128::from(recorded.amount_nano);
        if row.settlement.is_some() {
            self.settled_nano += i128::from(recorded.amount_nano);
        }
        self.repeats += u64::from(row.facts.repeat);
        if let Some(price) = row.facts.price_nano
            && recorded.quantity > 0
            && (self.prices.len() < PRICES_MAX || self.prices.contains_key(&price))
        {
            let priced = self.prices.entry(price).or_default();
            priced.quantity += u128::from(recorded.quantity);
            priced.quote_nano += i128::from(recorded.quote_nano);
            priced.amount_nano += i128::from(recorded.amount_nano);
        }
        self.ranges.add(row.index);
    }

    pub(super) fn add_rollup(&mut self, row: &RollupRow) {
        if row.refused {
            self.refused += row.fetches;
        } else {
            self.fetches += row.fetches;
            self.bytes += row.bytes;
            self.quantity += u128::from(row.quantity);
            self.quote_nano += row.quote_nano;
        }
        self.ranges.add(row.index);
    }

    /// What was rated, in units: `48.213` megabytes.
    pub fn quantity_text(&self) -> String {
        quantity_text(self.quantity, self.key.unit)
    }

    /// The first entry behind the line.
    pub fn first_entry(&self) -> u64 {
        self.ranges.list().first().map_or(0, |range| range.0)
    }

    /// The last entry behind the line.
    pub fn last_entry(&self) -> u64 {
        self.ranges.list().last().map_or(0, |range| range.1)
    }
}

/// A measure as a decimal number of units, exactly.
pub(crate) fn quantity_text(quantity: u128, unit: Unit) -> String {
    let nano_each = 1_000_000_000 / u128::from(unit.size());
    decimal(i128::try_from(quantity * nano_each).unwrap_or(i128::MAX))
}

/// Ledger entries as closed ranges `first ..= last`, ascending.
///
/// All entries of the line lie in them. Where a line's entries alternate with others', the narrowest holes are
/// filled, so that the list stays short; entries of other lines may lie in the ranges then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    list: Vec<(u64, u64)>,
    filled: bool,
}

impl Ranges {
    /// Ranges that a finished list has at most.
    pub const LENGTH_MAX: usize = 16;

    /// Adds an entry; ascending entries cost least.
    pub fn add(&mut self, index: u64) {
        match self.list.last_mut() {
            Some(last) if last.1 + 1 == index => last.1 = index,
            _ => self.list.push((index, index)),
        }
        if self.list.len() >= 4 * Ranges::LENGTH_MAX {
            self.finish();
        }
    }

    /// Sorts, joins what touches, and fills the narrowest holes until the list is short enough.
    pub fn finish(&mut self) {
        self.list.sort_unstable();
        self.join(0);
        if self.list.len() > Ranges::LENGTH_MAX {
            let mut holes: Vec<u64> = self.list.windows(2).map(|pair| pair[1].0 - pair[0].1 - 1).collect();
            holes.sort_unstable();
            // As many holes as the list is too long, and those of the same width as the widest of them.
            let widest = holes[self.list.len() - Ranges::LENGTH_MAX - 1];
            self.filled = true;
            self.join(widest);
        }
    }

    fn join(&mut self, hole_max: u64) {
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.list.len().min(4 * Ranges::LENGTH_MAX));
        for &(first, last) in &self.list {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1).saturating_add(hole_max) => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        self.list = joined;
    }

    /// The ranges.
    pub fn list(&self) -> &[(u64, u64)] {
        &self.list
    }

    /// Whether the ranges hold entries of this line alone.
    pub fn is_exact(&self) -> bool {
        !self.filled
    }

    /// For people: `5, 7–12`.
    pub fn text(&self) -> String {
        let one = |&(first, last): &(u64, u64)| {
            if first == last { first.to_string() } else { format!("{first}\u{2013}{last}") }
        };
        self.list.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The JSON of a statement.
pub(super) fn to_json(statement: &Statement) -> Value {
    let lines: Vec<Value> = statement.lines.iter().map(line_json).collect();
    let mut whole = json!({
        "period": {
            "from": statement.query.period.from_text(),
            "to": statement.query.period.to_text(),
            "time_zone": statement.query.period.zone_name(),
        },
        "currency": statement.currency.as_str(),
        "lines": lines,
        "total": decimal(statement.total_nano),
        "total_settled": decimal(statement.settled_nano),
        "settled_by": statement.settled_by.iter().map(|(way, settled)| json!({
            "way": way, "fetches": settled.fetches, "amount": decimal(settled.amount_nano),
        })).collect::<Vec<_>>(),
        "payable": statement.payable(),
        "quote": decimal(statement.quote_nano),
        "fetches": statement.fetches,
        "bytes": statement.bytes,
        "refused": statement.refused,
        "ledger": { "size": statement.ledger_size, "root": statement.ledger_root },
        "policies": statement.policies.iter().map(|policy| json!({
            "digest": &*policy.digest, "entry": policy.entry, "mode": policy.mode,
        })).collect::<Vec<_>>(),
        "gaps": statement.gaps.iter().map(|gap| json!({
            "entry": gap.entry, "from": gap.from, "to": gap.to, "fetches": gap.fetches, "bytes": gap.bytes,
            "refused": gap.refused, "reason": gap.reason,
        })).collect::<Vec<_>>(),
        "findings": statement.findings,
        "findings_count": statement.findings_count,
    });
    for (name, wanted) in [("operator", &statement.query.operator), ("holder", &statement.query.holder)] {
        if let Some(wanted) = wanted {
            whole[name] = json!(wanted);
        }
    }
    whole
}

fn line_json(line: &Line) -> Value {
    let prices: Vec<Value> = line
        .prices
        .iter()
        .map(|(price, priced)| {
            json!({
                "price": decimal(i128::from(*price)),
                "quantity": quantity_text(priced.quantity, line.key.unit),
                "quote": decimal(priced.quote_nano),
                "amount": decimal(priced.amount_nano),
            })
        })
        .collect();
    json!({
        "operator": &*line.key.operator,
        "crawler": &*line.key.crawler,
        "holder": line.key.holder.as_deref(),
        "work": line.key.work.as_deref(),
        "unit": line.key.unit.as_str(),
        "fetches": line.fetches,
        "bytes": line.bytes,
        "quantity": line.quantity_text(),
        "amount": decimal(line.amount_nano),
        "settled": decimal(line.settled_nano),
        "quote": decimal(line.quote_nano),
        "refused": line.refused,
        "repeats": line.repeats,
        "prices": prices,
        "first_entry": line.first_entry(),
        "last_entry": line.last_entry(),
        "ranges": line.ranges.list(),
        "ranges_exact": line.ranges.is_exact(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_make_one_range() {
        let mut ranges = Ranges::default();
        [3, 4, 5, 9, 10, 20].into_iter().for_each(|index| ranges.add(index));
        ranges.finish();
        assert_eq!(ranges.list(), [(3, 5), (9, 10), (20, 20)]);
        assert!(ranges.is_exact());
        assert_eq!(ranges.text(), "3\u{2013}5, 9\u{2013}10, 20");
    }

    #[test]
    fn quantities_are_exact_in_their_unit() {
        assert_eq!(quantity_text(48_213, Unit::Megabyte), "0.048213");
        assert_eq!(quantity_text(7, Unit::Fetch), "7");
        assert_eq!(quantity_text(1_500, Unit::ThousandWords), "1.5");
    }

    proptest! {
        #[test]
        fn every_entry_lies_in_a_short_list_of_ascending_ranges(
            indexes in proptest::collection::btree_set(0_u64..5_000, 1..400),
            rollups in proptest::collection::btree_set(0_u64..5_000, 0..10),
        ) {
            let mut ranges = Ranges::default();
            let all: Vec<u64> = indexes.iter().chain(rollups.difference(&indexes)).copied().collect();
            all.iter().for_each(|index| ranges.add(*index));
            ranges.finish();
            let list = ranges.list();
            prop_assert!(list.len() <= Ranges::LENGTH_MAX);
            prop_assert!(list.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            let holds = |index: u64| list.iter().any(|range| (range.0..=range.1).contains(&index));
            prop_assert!(all.iter().all(|index| holds(*index)));
            prop_assert_eq!(list[0].0, *all.iter().min().expect("not empty"));
            prop_assert_eq!(list[list.len() - 1].1, *all.iter().max().expect("not empty"));
            if ranges.is_exact() {
                let entries: u64 = list.iter().map(|range| range.1 - range.0 + 1).sum();
                prop_assert_eq!(entries, all.len() as u64);
            }
        }
    }
}
