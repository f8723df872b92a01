//! Totals for the summary page: sums per month, crawler, operator, holder and currency, and the works fetched most.
//!
//! No bill reads them. They are bounded: lines beyond the limit share one of the name `other`, months beyond a year are
//! dropped, and the list of works counts by the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): a work that
//! is on the list has at most `error` fetches too many, and every work fetched more often than the list's least is on it.

use std::ops::Deref;

use hashbrown::{Equivalent, HashMap};
use metrics::{Rollup, UsageRecord};

use super::codec::{BROKEN, Reader, Writer};
use super::{Line, Summary, TopWork};

/// The most lines over all months.
const LINES_MAX: usize = 20_000;
/// The most months.
const MONTHS_MAX: i32 = 13;
/// The most works on the list.
const WORKS_MAX: usize = 256;
/// What stands for names beyond the limit.
const OTHER: &str = "other";

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    month: i32,
    crawler: String,
    operator: String,
    holder: Option<String>,
    currency: String,
}

/// A key with names borrowed from whoever asks; it hashes as a [`Key`] does.
#[derive(Clone, Copy, Hash)]
struct Named<'a> {
    month: i32,
    crawler: &'a str,
    operator: &'a str,
    holder: Option<&'a str>,
    currency: &'a str,
}

impl Equivalent<Key> for Named<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.month == key.month
            && *self.crawler == *key.crawler
            && *self.operator == *key.operator
            && self.holder == key.holder.as_deref()
            && *self.currency == *key.currency
    }
}

impl From<&Named<'_>> for Key {
    fn from(line: &Named<'_>) -> Key {
        Key {
            month: line.month,
            crawler: line.crawler.to_owned(),
            operator: line.operator.to_owned(),
            holder: line.holder.map(str::to_owned),
            currency: line.currency.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Sums {
    fetches: u64,
    bytes: u64,
    refused: u64,
    quoted_nano: i128,
    owed_nano: i128,
    settled_nano: i128,
    last_micros: i64,
}

#[derive(Default)]
pub(crate) struct Totals {
    lines: HashMap<Key, Sums>,
    newest_month: i32,
    works: HashMap<String, usize>,
    counters: Vec<TopWork>,
}

impl Totals {
    pub(crate) fn fetch<S: Deref<Target = str>>(&mut self, record: &UsageRecord<S>) {
        let sums = self.sums(
            record.time_micros,
            &record.crawler,
            &record.operator,
            record.holder.as_deref(),
            &record.currency,
        );
        sums.fetches += 1;
        sums.bytes = sums.bytes.saturating_add(record.bytes);
        sums.quoted_nano += i128::from(record.quote_nano);
        let sum = if record.settlement.is_some() { &mut sums.settled_nano } else { &mut sums.owed_nano };
        *sum += i128::from(record.amount_nano);
        self.work(record);
    }

    pub(crate) fn rollup(&mut self, rollup: &Rollup) {
        // A roll-up counts in the month of its minute, not of its writing.
        let sums = self.sums(
            rollup.minute.saturating_mul(1_000_000),
            &rollup.crawler,
            &rollup.operator,
            rollup.holder.as_deref(),
            &rollup.currency,
        );
        sums.bytes = sums.bytes.saturating_add(rollup.bytes);
        if rollup.refused {
            sums.refused = sums.refused.saturating_add(rollup.fetches);
        } else {
            sums.fetches = sums.fetches.saturating_add(rollup.fetches);
            sums.quoted_nano = sums.quoted_nano.saturating_add(rollup.quote_nano);
        }
    }

    fn sums(
        &mut self,
        time_micros: i64,
        crawler: &str,
        operator: &str,
        holder: Option<&str>,
        currency: &str,
    ) -> &mut Sums {
        let month = metrics::month_of(time_micros);
        if month > self.newest_month {
            self.newest_month = month;
            self.lines.retain(|key, _| key.month > month - MONTHS_MAX);
        }
        let mut line = Named { month, crawler, operator, holder, currency };
        if !self.lines.contains_key(&line) {
            if self.lines.len() >= LINES_MAX {
                line = Named { crawler: OTHER, operator: OTHER, holder: None, ..line };
            }
            self.lines.entry(Key::from(&line)).or_default();
        }
        let sums = self.lines.get_mut(&line).expect("it was there, or is now");
        sums.last_micros = sums.last_micros.max(time_micros);
        sums
    }

    fn work<S: Deref<Target = str>>(&mut self, record: &UsageRecord<S>) {
        let index = match self.works.get(&*record.work) {
            Some(index) => *index,
            None if self.counters.len() < WORKS_MAX => {
                self.works.insert(record.work.to_owned(), self.counters.len());
                self.counters.push(TopWork { work: record.work.to_owned(), ..TopWork::default() });
                self.counters.len() - 1
            }
            None => {
                let counts = self.counters.iter().enumerate();
                let (least, _) = counts.min_by_key(|(_, it)| it.fetches).expect("the list is full");
                let fetches = self.counters[least].fetches;
                self.works.remove(&self.counters[least].work);
                self.works.insert(record.work.to_owned(), least);
                self.counters[least] =
                    TopWork { work: record.work.to_owned(), fetches, error: fetches, ..TopWork::default() };
                least
            }
        };
        let counter = &mut self.counters[index];
        counter.fetches += 1;
        counter.bytes = counter.bytes.saturating_add(record.bytes);
        counter.earned_nano += i128::from(record.amount_nano);
    }

    pub(crate) fn summary(&self, month: i32) -> Summary {
        let line = |(key, sums): (&Key, &Sums)| Line {
            crawler: key.crawler.clone(),
            operator: key.operator.clone(),
            holder: key.holder.clone(),
            currency: key.currency.clone(),
            fetches: sums.fetches,
            bytes: sums.bytes,
            refused: sums.refused,
            quoted_nano: sums.quoted_nano,
            owed_nano: sums.owed_nano,
            settled_nano: sums.settled_nano,
            last_micros: sums.last_micros,
        };
        let mut lines: Vec<Line> =
            self.lines.iter().filter(|(key, _)| key.month == month).map(line).collect();
        lines.sort_by(|a, b| {
            let order = |line: &Line| (line.crawler.clone(), line.operator.clone(), line.holder.clone());
            b.fetches.cmp(&a.fetches).then_with(|| order(a).cmp(&order(b)))
        });
        let mut works = self.counters.clone();
        works.sort_by(|a, b| b.fetches.cmp(&a.fetches).then_with(|| a.work.cmp(&b.work)));
        Summary { lines, works }
    }

    pub(crate) fn save(&self, out: &mut Writer) {
        out.i64(i64::from(self.newest_month));
        out.u64(self.lines.len() as u64);
        for (key, sums) in &self.lines {
            out.i64(i64::from(key.month));
            out.text(&key.crawler);
            out.text(&key.operator);
            out.text_if(key.holder.as_deref());
            out.text(&key.currency);
            for number in [sums.fetches, sums.bytes, sums.refused] {
                out.u64(number);
            }
            out.i128(sums.quoted_nano);
            out.i128(sums.owed_nano);
            out.i128(sums.settled_nano);
            out.i64(sums.last_micros);
        }
        out.u64(self.counters.len() as u64);
        for work in &self.counters {
            out.text(&work.work);
            for number in [work.fetches, work.error, work.bytes] {
                out.u64(number);
            }
            out.i128(work.earned_nano);
        }
    }

    pub(crate) fn restore(saved: &mut Reader<'_>) -> Result<Totals, &'static str> {
        let month = |saved: &mut Reader<'_>| i32::try_from(saved.i64()?).map_err(|_| BROKEN);
        let mut totals = Totals { newest_month: month(saved)?, ..Totals::default() };
        for _ in 0..saved.u64()? {
            let key = Key {
                month: month(saved)?,
                crawler: saved.text()?.to_owned(),
                operator: saved.text()?.to_owned(),
                holder: saved.text_if()?.map(str::to_owned),
                currency: saved.text()?.to_owned(),
            };
            let sums = Sums {
                fetches: saved.u64()?,
                bytes: saved.u64()?,
                refused: saved.u64()?,
                quoted_nano: saved.i128()?,
                owed_nano: saved.i128()?,
                settled_nano: saved.i128()?,
                last_micros: saved.i64()?,
            };
            totals.lines.insert(key, sums);
        }
        for index in 0..saved.u64()? {
            let work = TopWork {
                work: saved.text()?.to_owned(),
                fetches: saved.u64()?,
                error: saved.u64()?,
                bytes: saved.u64()?,
                earned_nano: saved.i128()?,
            };
            totals.works.insert(work.work.clone(), usize::try_from(index).map_err(|_| BROKEN)?);
            totals.counters.push(work);
        }
        Ok(totals)
    }
}
