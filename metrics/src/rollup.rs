//! Roll-ups: exact sums of fetches that get no entry of their own, so that strangers cannot fill the disk.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use crate::{Outcome, Rollup, UsageRecord};

/// The most different sums that are kept at once. Beyond it, the crawler, operator, holder and rule of new ones are
/// `other`: what remains distinct is bounded by what the policy and the protocol name.
const SUMS_MAX: usize = 10_000;

/// What stands for names beyond the limit.
const OTHER: &str = "other";

/// One fetch that is to be summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RolledFetch<'a> {
    /// When it closed, seconds since the Unix epoch; its minute is what counts.
    pub seconds: i64,
    /// The crawler's token.
    pub crawler: &'a str,
    /// The operator, or `spoof`.
    pub operator: &'a str,
    /// The purpose.
    pub purpose: &'a str,
    /// The rung.
    pub assurance: &'a str,
    /// The holder, if the policy names one.
    pub holder: Option<&'a str>,
    /// The policy's digest.
    pub policy: &'a str,
    /// The rule.
    pub rule: &'a str,
    /// Whether it was refused.
    pub refused: bool,
    /// The status answered.
    pub status: u16,
    /// The outcome, if it was delivered.
    pub outcome: Option<Outcome>,
    /// Body bytes delivered; 0 for a refusal.
    pub bytes: u64,
    /// ISO 4217 code.
    pub currency: &'a str,
    /// The unit of the price, if one was asked.
    pub unit: Option<&'a str>,
    /// The quantity.
    pub quantity: u64,
    /// The quote. Whoever is rolled up owes nothing.
    pub quote_nano: i64,
}

impl<'a> RolledFetch<'a> {
    /// A delivered fetch that gets no entry of its own.
    pub fn delivered<S: Deref<Target = str>>(record: &'a UsageRecord<S>) -> RolledFetch<'a> {
        RolledFetch {
            seconds: record.time_micros.div_euclid(1_000_000),
            crawler: &record.crawler,
            operator: &record.operator,
            purpose: &record.purpose,
            assurance: &record.assurance,
            holder: record.holder.as_deref(),
            policy: &record.policy,
            rule: &record.rule,
            refused: false,
            status: record.status,
            outcome: Some(record.outcome),
            bytes: record.bytes,
            currency: &record.currency,
            unit: record.unit.as_deref(),
            quantity: record.quantity,
            quote_nano: record.quote_nano,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    minute: i64,
    crawler: String,
    operator: String,
    purpose: String,
    assurance: String,
    holder: Option<String>,
    policy: String,
    rule: String,
    refused: bool,
    status: u16,
    outcome: Option<&'static str>,
    currency: String,
    unit: Option<String>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    fetches: u64,
    bytes: u64,
    quantity: u64,
    quote_nano: i128,
}

/// The sums of the running minutes. Shared by all threads.
#[derive(Default)]
pub struct Rollups {
    sums: Mutex<HashMap<Key, Sums>>,
}

impl Rollups {
    /// No sums yet.
    pub fn new() -> Rollups {
        Rollups::default()
    }

    /// Adds a fetch to its sums.
    pub fn add(&self, fetch: &RolledFetch<'_>) {
        let key = Key {
            minute: fetch.seconds - fetch.seconds.rem_euclid(60),
            crawler: fetch.crawler.to_owned(),
            operator: fetch.operator.to_owned(),
            purpose: fetch.purpose.to_owned(),
            assurance: fetch.assurance.to_owned(),
            holder: fetch.holder.map(str::to_owned),
            policy: fetch.policy.to_owned(),
            rule: fetch.rule.to_owned(),
            refused: fetch.refused,
            status: fetch.status,
            outcome: fetch.outcome.map(Outcome::as_str),
            currency: fetch.currency.to_owned(),
            unit: fetch.unit.map(str::to_owned),
        };
        let quote_nano = i128::from(fetch.quote_nano);
        self.merge(key, Sums { fetches: 1, bytes: fetch.bytes, quantity: fetch.quantity, quote_nano });
    }

    fn merge(&self, key: Key, more: Sums) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = if sums.len() < SUMS_MAX || sums.contains_key(&key) {
            sums.entry(key).or_default()
        } else {
            sums.entry(key.overflow()).or_default()
        };
        sum.fetches += more.fetches;
        sum.bytes = sum.bytes.saturating_add(more.bytes);
        sum.quantity = sum.quantity.saturating_add(more.quantity);
        sum.quote_nano += more.quote_nano;
    }

    /// Takes back sums that could not be written: they are tried again with the next drain.
    pub fn put_back(&self, sum: Rollup) {
        let key = Key {
            minute: sum.minute,
            crawler: sum.crawler,
            operator: sum.operator,
            purpose: sum.purpose,
            assurance: sum.assurance,
            holder: sum.holder,
            policy: sum.policy,
            rule: sum.rule,
            refused: sum.refused,
            status: sum.status,
            outcome: sum.outcome.map(Outcome::as_str),
            currency: sum.currency,
            unit: sum.unit,
        };
        let Rollup { fetches, bytes, quantity, quote_nano, .. } = sum;
        self.merge(key, Sums { fetches, bytes, quantity, quote_nano });
    }

    /// How many different sums there are.
    pub fn len(&self) -> usize {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out the sums of all minutes that were over at `now_seconds` (`i64::MAX` takes them all, at a stop), in
    /// a stable order, as events of `source` written at `now_micros`; `id` gives a new UUIDv7 for each.
    pub fn drain(
        &self,
        now_seconds: i64,
        now_micros: i64,
        source: &str,
        id: &mut dyn FnMut() -> String,
    ) -> Vec<Rollup> {
        let running = now_seconds.saturating_sub(now_seconds.rem_euclid(60));
        let all = now_seconds == i64::MAX;
        let mut over: Vec<(Key, Sums)> = {
            let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.extract_if(|key, _| all || key.minute < running).collect()
        };
        over.sort_by(|(one, _), (other, _)| one.cmp(other));
        let event = |(key, sums): (Key, Sums)| Rollup {
            id: id(),
            source: source.to_owned(),
            time_micros: now_micros,
            minute: key.minute,
            crawler: key.crawler,
            operator: key.operator,
            purpose: key.purpose,
            assurance: key.assurance,
            holder: key.holder,
            policy: key.policy,
            rule: key.rule,
            refused: key.refused,
            status: key.status,
            outcome: key.outcome.and_then(Outcome::parse),
            fetches: sums.fetches,
            bytes: sums.bytes,
            currency: key.currency,
            unit: key.unit,
            quantity: sums.quantity,
            quote_nano: sums.quote_nano,
        };
        over.into_iter().map(event).collect()
    }
}

impl Key {
    /// The key of what finds no place of its own.
    fn overflow(self) -> Key {
        let other = || OTHER.to_owned();
        Key { crawler: other(), operator: other(), holder: None, rule: other(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(seconds: i64, crawler: &str) -> RolledFetch<'_> {
        RolledFetch {
            seconds,
            crawler,
            operator: "example-labs",
            purpose: "train",
            assurance: "claimed",
            holder: None,
            policy: "sha256:00",
            rule: "training pays",
            refused: true,
            status: 402,
            outcome: None,
            bytes: 10,
            currency: "USD",
            unit: Some("fetch"),
            quantity: 1,
            quote_nano: i64::MAX,
        }
    }

    fn drain(rollups: &Rollups, now: i64) -> Vec<Rollup> {
        rollups.drain(now, 7, "//example.org/ledger", &mut || "an id".to_owned())
    }

    #[test]
    fn sums_are_exact_and_leave_when_their_minute_is_over() {
        let rollups = Rollups::new();
        for seconds in [60, 61, 119, 120] {
            rollups.add(&fetch(seconds, "ExampleBot"));
        }
        assert!(drain(&rollups, 119).is_empty(), "the minute still runs");
        let over = drain(&rollups, 120);
        assert_eq!(over.len(), 1);
        assert_eq!((over[0].minute, over[0].fetches, over[0].bytes), (60, 3, 30));
        assert_eq!(over[0].quote_nano, 3 * i128::from(i64::MAX));
        assert_eq!(drain(&rollups, i64::MAX).len(), 1);
        assert!(rollups.is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let rollups = Rollups::new();
        rollups.add(&fetch(60, "ExampleBot"));
        for sum in drain(&rollups, 120) {
            rollups.put_back(sum);
        }
        rollups.add(&fetch(61, "ExampleBot"));
        let over = drain(&rollups, 120);
        assert_eq!((over.len(), over[0].fetches, over[0].bytes), (1, 2, 20));
    }

    #[test]
    fn names_beyond_the_limit_share_one_sum_and_nothing_is_lost() {
        let rollups = Rollups::new();
        let names: Vec<String> = (0..SUMS_MAX + 500).map(|n| format!("bot-{n}")).collect();
        for name in &names {
            rollups.add(&fetch(0, name));
        }
        rollups.add(&fetch(0, "bot-3"));
        let over = drain(&rollups, 60);
        assert_eq!(over.len(), SUMS_MAX + 1);
        assert_eq!(over.iter().map(|sum| sum.fetches).sum::<u64>(), SUMS_MAX as u64 + 501);
        let other = over.iter().find(|sum| sum.crawler == "other").expect("the overflow");
        assert_eq!(other.fetches, 500);
    }
}
