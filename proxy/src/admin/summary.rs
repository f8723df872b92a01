//! The summary: this month's crawlers, works and money, and the ledger's state.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::evidence::{IdentityCounts, ListOrigin, ListStatus};
use crate::shared::{self, Shared};

/// A moment's summary, for JSON and for the page.
pub(crate) struct Summary {
    pub(crate) month: String,
    pub(crate) totals: billing::derived::Summary,
    pub(crate) ledger: ledger::Stats,
    pub(crate) ledger_status: ledger::Status,
    pub(crate) policy: Arc<policy::PolicySnapshot>,
    pub(crate) uptime_seconds: u64,
    pub(crate) state_dir: String,
    pub(crate) lists: Vec<ListStatus>,
    pub(crate) reverse_dns: IdentityCounts,
    pub(crate) answers: usize,
}

impl Summary {
    /// Takes it.
    pub(crate) fn take(shared: &Shared) -> Summary {
        let month = metrics::month_of(shared::now_micros());
        Summary {
            month: metrics::month_text(month),
            totals: shared.derived.summary(month),
            ledger: shared.ledger.stats(),
            ledger_status: shared.ledger.status(),
            policy: shared.policy.load_full(),
            uptime_seconds: shared.started.elapsed().as_secs(),
            state_dir: shared.state_dir.display().to_string(),
            lists: shared.identity.lists(),
            reverse_dns: shared.identity.counts(),
            answers: shared.identity.answers(),
        }
    }

    /// Whether all that was earned this month is in today's currency.
    pub(crate) fn is_one_currency(&self) -> bool {
        let currency = self.policy.currency();
        let is_other = |line: &billing::derived::Line| line.currency != currency.as_str();
        !self.totals.lines.iter().any(|line| is_other(line) && (line.owed_nano, line.settled_nano) != (0, 0))
    }

    /// The ledger's state in a word.
    pub(crate) fn ledger_state(&self) -> &'static str {
        match self.ledger_status {
            ledger::Status::Ready => "ready",
            ledger::Status::Paused { .. } => "paused",
            ledger::Status::Poisoned { .. } => "poisoned",
            ledger::Status::Closed => "closed",
        }
    }

    /// The root as hex digits.
    pub(crate) fn root(&self) -> String {
        policy::hex(&self.ledger.root)
    }

    /// `/api/v1/summary`. Amounts are decimal strings of the major unit. A crawler's `owed` is what is on account, beside `settled`; a work's
    /// `earned` is both; null in a month in which the policy's currency was changed, for a sum of two currencies says nothing.
    pub(crate) fn to_json(&self) -> String {
        let crawlers: Vec<Value> = self
            .totals
            .lines
            .iter()
            .map(|line| {
                json!({
                    "crawler": line.crawler,
                    "operator": line.operator,
                    "holder": line.holder,
                    "fetches": line.fetches,
                    "bytes": line.bytes,
                    "refused": line.refused,
                    "quoted": policy::decimal(line.quoted_nano),
                    "owed": policy::decimal(line.owed_nano),
                    "settled": policy::decimal(line.settled_nano),
                    "currency": line.currency,
                })
            })
            .collect();
        let is_one_currency = self.is_one_currency();
        let works: Vec<Value> = self
            .totals
            .works
            .iter()
            .map(|work| {
                json!({
                    "work": work.work,
                    "fetches": work.fetches,
                    "fetches_error": work.error,
                    "bytes": work.bytes,
                    "earned": is_one_currency.then(|| policy::decimal(work.earned_nano)),
                })
            })
            .collect();
        let lists: Vec<Value> = self.lists.iter().map(list_json).collect();
        let summary = json!({
            "month": self.month,
            "currency": self.policy.currency().as_str(),
            "mode": self.policy.mode().as_str(),
            "policy": &**self.policy.digest(),
            "crawlers": crawlers,
            "works": works,
            "ledger": {
                "state": self.ledger_state(),
                "size": self.ledger.entries,
                "root": self.root(),
                "bytes": self.ledger.bytes,
                "segments": self.ledger.segments,
            },
            "lists": lists,
            "reverse_dns": {
                "answers": self.answers,
                "lookups": self.reverse_dns.lookups,
                "lookups_failed": self.reverse_dns.lookups_failed,
                "lookups_refused": self.reverse_dns.lookups_refused,
                "waits_expired": self.reverse_dns.waits_expired,
            },
            "uptime_seconds": self.uptime_seconds,
            "version": env!("CARGO_PKG_VERSION"),
        });
        format!("{summary:#}\n")
    }
}

fn list_json(list: &ListStatus) -> Value {
    json!({
        "url": list.url,
        "state": list.state.as_str(),
        "origin": list.origin.map(ListOrigin::as_str),
        "age_seconds": list.age.map(|age| age.as_secs()),
        "created": list.created,
        "entries": list.entries,
        "failure": list.failure,
    })
}
