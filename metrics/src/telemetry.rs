//! What Prometheus sees.

use std::time::Duration;

use policy::{PolicySnapshot, RefusalKind};

use crate::{RolledFetch, UsageRecord};

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestClass {
    /// Not an AI crawler's: passed unchanged.
    Pass,
    /// Metered.
    Metered,
    /// A crawler's, refused.
    Refused,
    /// Answered by Byline itself: malformed, unknown host, overload, its own pages.
    Local,
}

/// Why an origin gave no response, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpstreamFailure {
    /// No connection: refused, unreachable, no such name.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// No TLS session.
    Tls,
    /// Connected, but no response head in time.
    HeadTimeout,
    /// Closed before or within the response head.
    Closed,
    /// What it sent is not HTTP as we accept it.
    Protocol,
    /// The body ended early.
    BodyCut,
    /// The body stood still for too long.
    BodyTimeout,
}

/// Whether the ledger takes entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LedgerState {
    /// It does.
    Ready,
    /// No space: it tries again by itself.
    Paused,
    /// A write or sync failed: not before a restart.
    Poisoned,
}

/// Why a fetch that is usually metered passed without an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnmeteredReason {
    /// The ledger is paused.
    Paused,
    /// The ledger is poisoned or closed.
    Poisoned,
    /// The ledger's queue is full.
    QueueFull,
}

/// How a reverse DNS look-up ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lookup {
    /// From the cache.
    Cached,
    /// The name was confirmed.
    Confirmed,
    /// There is no such name, or it is another's.
    Denied,
    /// No answer in time.
    TimedOut,
    /// The resolver failed.
    Failed,
}

/// The ledger in figures, as a scrape shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerFigures {
    /// Its state.
    pub state: LedgerState,
    /// Durable entries since the beginning of the log.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Slots in use.
    pub queue: u64,
    /// Slots that there are.
    pub queue_capacity: u64,
    /// Entries handed in since the start.
    pub accepted: u64,
    /// Entries acknowledged since the start.
    pub appended: u64,
    /// Entries refused after they were handed in, since the start.
    pub refused: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Pauses since the start.
    pub pauses: u64,
}

/// All metrics. One per process, shared by all threads.
pub struct Telemetry {}

impl Telemetry {
    /// Registers everything.
    pub fn new(_version: &str) -> Telemetry {
        Telemetry {}
    }
    /// A policy took effect: its digest, currency and crawlers become label values.
    pub fn policy_active(&self, _policy: &PolicySnapshot) {}
    /// A start or a reload read its files; `now_seconds` is the wall clock.
    pub fn reloaded(&self, _successful: bool, _now_seconds: u64) {}
    /// A connection was accepted.
    pub fn connection_opened(&self) {}
    /// It was closed.
    pub fn connection_closed(&self) {}
    /// A connection was turned away at a limit.
    pub fn connection_rejected(&self) {}
    /// A request was answered: `total` until its body's end, `added` what of it was Byline's own, if measured.
    pub fn request(&self, _class: RequestClass, _status: u16, _total: Duration, _added: Option<Duration>) {}
    /// A record is durable.
    pub fn fetch(&self, _record: &UsageRecord) {}
    /// A delivered fetch was added to a roll-up instead.
    pub fn rolled(&self, _fetch: &RolledFetch<'_>) {}
    /// A fetch was refused.
    pub fn refused(&self, _crawler: &str, _kind: RefusalKind) {}
    /// A claim was contradicted.
    pub fn spoof(&self, _crawler: &str) {}
    /// Roll-up entries were written.
    pub fn rollups_written(&self, _entries: u64) {}
    /// A fetch passed without an entry.
    pub fn unmetered(&self, _reason: UnmeteredReason, _bytes: u64) {}
    /// An origin failed.
    pub fn upstream_failed(&self, _kind: UpstreamFailure) {}
    /// A reverse DNS look-up ended.
    pub fn looked_up(&self, _lookup: Lookup) {}
    /// Bytes held back for an acknowledgement, at this moment.
    pub fn held_bytes(&self, _bytes: u64) {}
    /// A record was acknowledged after this time.
    pub fn ledger_commit(&self, _wait: Duration) {}
    /// The ledger in figures; call it before each [`Telemetry::render`].
    pub fn ledger(&self, _figures: &LedgerFigures) {}
    /// The age of a published address list; `None` if there is no good copy.
    pub fn list_age(&self, _list: &str, _age: Option<Duration>) {}
    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        String::new()
    }
}
