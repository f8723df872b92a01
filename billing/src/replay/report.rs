//! What a replay found out.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::{Class, PolicySnapshot, decimal};
use serde_json::{Value, json};

use super::judge::{Judge, LogLine, is_ai};
use super::top::Count;
use super::{OTHER_CLASSES, Replay, digest_of, text};

/// Works and unknown bots that are named.
const NAMED: usize = 20;

/// What a replay found out.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first and the last time in the log, seconds since the Unix epoch.
    pub period: Option<(i64, i64)>,
    /// Lines read, without empty ones.
    pub lines: u64,
    /// Lines that could not be read.
    pub skipped: u64,
    /// The first of them.
    pub first_skipped: Vec<Skipped>,
    /// Lines that stand for no request (broken handshakes and the like).
    pub not_requests: u64,
    /// Requests whose host neither their line nor the settings name.
    pub without_host: u64,
    /// Requests without a user agent.
    pub without_user_agent: u64,
    /// All requests.
    pub requests: Count,
    /// Requests of clients that the registry does not know: people, mostly.
    pub unrecognised: Count,
    /// AI crawlers, the busiest first.
    pub crawlers: Vec<CrawlerReport>,
    /// Other known clients, by class.
    pub others: Vec<ClassReport>,
    /// User agents that look like bots and are not in the registry, most frequent first.
    pub unknown_bots: Vec<(String, Count)>,
    /// The works that AI crawlers fetched most.
    pub works: Vec<(String, Count)>,
    /// There were so many works or bots that rarer ones were dropped on the way; counts are lower bounds.
    pub is_partial: bool,
    /// Under the policy.
    pub policy: Option<PolicyReport>,
    /// Under the one that it is compared with.
    pub against: Option<PolicyReport>,
}

/// A line that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What one AI crawler was seen to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrawlerReport {
    /// The operator.
    pub operator: Arc<str>,
    /// The operator's name for people.
    pub operator_name: Arc<str>,
    /// The crawler's token.
    pub crawler: Arc<str>,
    /// The declared purpose.
    pub purpose: &'static str,
    /// Requests and bytes under this name.
    pub all: Count,
    /// Requests from addresses that the operator publishes.
    pub verified: u64,
    /// Requests that could not be verified with what was at hand.
    pub unverified: u64,
    /// Requests from addresses that contradict the name: somebody else's.
    pub spoofed: u64,
}

/// What the other clients of a class were seen to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassReport {
    /// The class.
    pub class: &'static str,
    /// Requests and bytes.
    pub all: Count,
    /// The busiest of them.
    pub names: Vec<Arc<str>>,
}

/// What a policy says to the log.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// The policy's name, as its source is called.
    pub name: String,
    /// Its digest.
    pub digest: Arc<str>,
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// The currency.
    pub currency: String,
    /// Sums, as a statement has them.
    pub lines: Vec<LogLine>,
    /// Requests whose path could be read in two ways; they are answered with 400.
    pub ambiguous: u64,
    /// So many versions were paid for that some were forgotten: a few repeats may be charged.
    pub paid_forgotten: bool,
    /// Search engines that the policy itself declares to be AI crawlers.
    pub search_engines_touched: Vec<Arc<str>>,
}

/// Sums over lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sum {
    pub(super) fetches: u64,
    pub(super) bytes: u64,
    pub(super) priced: u64,
    pub(super) repeats: u64,
    pub(super) refused: u64,
    pub(super) would_refuse: u64,
    pub(super) needs_content_type: u64,
    pub(super) needs_words: u64,
    pub(super) needs_words_most_nano: i128,
    pub(super) quote_nano: i128,
    pub(super) amount_nano: i128,
    pub(super) refused_quote_nano: i128,
}

impl Sum {
    fn add(&mut self, line: &LogLine) {
        self.fetches += line.fetches;
        self.bytes += line.bytes;
        self.priced += line.priced;
        self.repeats += line.repeats;
        self.refused += line.refused;
        self.would_refuse += line.would_refuse;
        self.needs_content_type += line.needs_content_type;
        self.needs_words += line.needs_words;
        self.needs_words_most_nano += line.needs_words_most_nano;
        self.quote_nano += line.quote_nano;
        self.amount_nano += line.amount_nano;
        self.refused_quote_nano += line.refused_quote_nano;
    }

    /// Delivered without a price, as far as the log tells.
    pub(super) fn free(&self) -> u64 {
        self.fetches - self.priced - self.needs_content_type - self.needs_words
    }
}

impl PolicyReport {
    /// Over all lines.
    pub(super) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.lines.iter().for_each(|line| sum.add(line));
        sum
    }

    /// By operator and crawler.
    pub(super) fn by_crawler(&self) -> BTreeMap<(&str, &str), Sum> {
        let mut sums: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
        for line in &self.lines {
            sums.entry((&line.operator, &line.crawler)).or_default().add(line);
        }
        sums
    }
}

impl Report {
    /// For a terminal, in plain words.
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// One JSON object; its shape is in docs/replay.md.
    pub fn to_json(&self) -> Value {
        let time = |secs: i64| {
            jiff::Timestamp::from_second(secs).map_or_else(|_| secs.to_string(), |time| time.to_string())
        };
        let named = |(name, count): &(String, Count), key: &str| json!({ key: name, "fetches": count.fetches, "bytes": count.bytes });
        json!({
            "period": self.period.map(|(from, to)| json!({ "from": time(from), "to": time(to) })),
            "lines": self.lines,
            "skipped": self.skipped,
            "first_skipped": self.first_skipped.iter().map(|skipped| json!({
                "file": skipped.file, "line": skipped.line, "why": skipped.why,
            })).collect::<Vec<_>>(),
            "not_requests": self.not_requests,
            "requests": self.requests.fetches,
            "bytes": self.requests.bytes,
            "unrecognised": { "fetches": self.unrecognised.fetches, "bytes": self.unrecognised.bytes },
            "crawlers": self.crawlers.iter().map(|one| json!({
                "operator": &*one.operator, "operator_name": &*one.operator_name, "crawler": &*one.crawler,
                "purpose": one.purpose, "fetches": one.all.fetches, "bytes": one.all.bytes,
                "verified": one.verified, "unverified": one.unverified, "spoofed": one.spoofed,
            })).collect::<Vec<_>>(),
            "others": self.others.iter().map(|one| json!({
                "class": one.class, "fetches": one.all.fetches, "bytes": one.all.bytes,
                "names": one.names.iter().map(|name| &**name).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "unknown_bots": self.unknown_bots.iter().map(|one| named(one, "user_agent")).collect::<Vec<_>>(),
            "works": self.works.iter().map(|one| named(one, "url")).collect::<Vec<_>>(),
            "is_partial": self.is_partial,
            "policy": self.policy.as_ref().map(policy_json),
            "against": self.against.as_ref().map(policy_json),
            "changes": self.changes_json(),
        })
    }

    fn changes_json(&self) -> Value {
        let (Some(policy), Some(against)) = (&self.policy, &self.against) else { return Value::Null };
        let side = |sum: &Sum| {
            json!({
                "fetches": sum.fetches, "free": sum.free(), "priced": sum.priced, "refused": sum.refused,
                "would_refuse": sum.would_refuse, "quote": decimal(sum.quote_nano), "amount": decimal(sum.amount_nano),
            })
        };
        let changes: Vec<Value> = both(policy, against)
            .into_iter()
            .map(|((operator, crawler), (a, b))| {
                json!({
                    "operator": operator, "crawler": crawler, "policy": side(&a), "against": side(&b),
                    "quote_difference": decimal(a.quote_nano - b.quote_nano),
                    "amount_difference": decimal(a.amount_nano - b.amount_nano),
                    "is_changed": a != b,
                })
            })
            .collect();
        json!(changes)
    }
}

/// The crawlers of two reports side by side.
pub(super) fn both<'r>(
    policy: &'r PolicyReport,
    against: &'r PolicyReport,
) -> BTreeMap<(&'r str, &'r str), (Sum, Sum)> {
    let mut sums: BTreeMap<(&str, &str), (Sum, Sum)> = BTreeMap::new();
    for (key, sum) in policy.by_crawler() {
        sums.entry(key).or_default().0 = sum;
    }
    for (key, sum) in against.by_crawler() {
        sums.entry(key).or_default().1 = sum;
    }
    sums
}

fn policy_json(policy: &PolicyReport) -> Value {
    let sum = policy.sum();
    json!({
        "name": policy.name,
        "digest": &*policy.digest,
        "mode": policy.mode,
        "currency": policy.currency,
        "lines": policy.lines.iter().map(line_json).collect::<Vec<_>>(),
        "total": decimal(sum.amount_nano),
        "quote": decimal(sum.quote_nano),
        "fetches": sum.fetches,
        "bytes": sum.bytes,
        "refused": sum.refused,
        "refused_quote": decimal(sum.refused_quote_nano),
        "would_refuse": sum.would_refuse,
        "needs_content_type": sum.needs_content_type,
        "needs_words": sum.needs_words,
        "ambiguous": policy.ambiguous,
        "search_engines_touched": policy.search_engines_touched.iter().map(|name| &**name).collect::<Vec<_>>(),
    })
}

/// A line with the keys of a statement's, so that the two can be compared.
fn line_json(line: &LogLine) -> Value {
    json!({
        "operator": &*line.operator,
        "crawler": &*line.crawler,
        "holder": line.holder.as_deref(),
        "work": null,
        "unit": line.unit.as_str(),
        "fetches": line.fetches,
        "bytes": line.bytes,
        "quantity": crate::statement::quantity_text(line.quantity, line.unit),
        "amount": decimal(line.amount_nano),
        "quote": decimal(line.quote_nano),
        "refused": line.refused,
        "repeats": line.repeats,
        "would_refuse": line.would_refuse,
        "needs_content_type": line.needs_content_type,
        "needs_words": line.needs_words,
    })
}

impl Replay<'_> {
    /// Lines that could be read so far.
    pub fn lines_read(&self) -> u64 {
        self.lines - self.skipped
    }

    /// Lines seen so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Ends the replay. `registry` is the policy without rules that [`Replay::new`] was given.
    pub fn finish(mut self, registry: &PolicySnapshot) -> Report {
        let mut crawlers = Vec::new();
        let mut others =
            OTHER_CLASSES.map(|class| (class, Count::default(), Vec::<(u64, Arc<str>)>::new())).to_vec();
        for (place, seen) in self.by_row.iter().enumerate().filter(|(_, seen)| seen.all.fetches > 0) {
            let row = self.judges[0].row(u32::try_from(place).expect("rows are few"));
            if is_ai(row) {
                crawlers.push(CrawlerReport {
                    operator: Arc::clone(&row.operator),
                    operator_name: Arc::clone(&row.operator_name),
                    crawler: Arc::clone(&row.token),
                    purpose: row.purpose.as_str(),
                    all: seen.all,
                    verified: seen.verified,
                    unverified: seen.all.fetches - seen.verified - seen.spoofed,
                    spoofed: seen.spoofed,
                });
            } else if let Some((_, all, names)) = others.iter_mut().find(|(class, ..)| *class == row.class) {
                all.fetches += seen.all.fetches;
                all.bytes += seen.all.bytes;
                names.push((seen.all.fetches, Arc::clone(&row.token)));
            }
        }
        crawlers.sort_by(|a, b| b.all.fetches.cmp(&a.all.fetches).then(a.crawler.cmp(&b.crawler)));
        let others =
            others.into_iter().filter(|(_, all, _)| all.fetches > 0).map(|(class, all, mut names)| {
                names.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
                let names = names.into_iter().take(6).map(|(_, name)| name).collect();
                ClassReport { class: class.as_str(), all, names }
            });
        let others = others.collect();

        let (unknown_bots, bots_partial) = self.unknown_bots.most(NAMED);
        let (works, works_partial) = self.judges[0].top_works(NAMED);
        let mut reports = self.judges.iter().map(|judge| policy_report(judge, registry));
        let first = reports.next().filter(|_| self.has_policy);
        let against = reports.next();
        Report {
            period: (self.requests.fetches > 0).then_some((self.first_secs, self.last_secs)),
            lines: self.lines,
            skipped: self.skipped,
            first_skipped: self.first_skipped,
            not_requests: self.not_requests,
            without_host: self.without_host,
            without_user_agent: self.without_user_agent,
            requests: self.requests,
            unrecognised: self.unrecognised,
            crawlers,
            others,
            unknown_bots,
            works,
            is_partial: bots_partial || works_partial,
            policy: first,
            against,
        }
    }
}

fn policy_report(judge: &Judge<'_>, registry: &PolicySnapshot) -> PolicyReport {
    let policy = judge.policy();
    let was_search_engine =
        |token: &str| registry.directory().row(token).is_some_and(|row| row.class == Class::SearchEngine);
    let touched = policy.directory().rows().iter().filter(|row| is_ai(row) && was_search_engine(&row.token));
    PolicyReport {
        name: policy.sources().first().map_or_else(String::new, |source| source.name.clone()),
        digest: digest_of(policy),
        mode: policy.mode().as_str(),
        currency: policy.currency().to_string(),
        lines: judge.lines(),
        ambiguous: judge.ambiguous,
        paid_forgotten: judge.paid_forgotten,
        search_engines_touched: touched.map(|row| Arc::clone(&row.token)).collect(),
    }
}
