//! What all threads share: the policy in force, the ledger's way in, accounts, identity, counters.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use billing::derived::Derived;
use ipnet::IpNet;
use metrics::{Rollups, Telemetry};
use policy::PolicySnapshot;
use tokio::sync::{Semaphore, watch};

use crate::bucket::TokenBucket;
use crate::clients::Clients;
use crate::config::{Limits, Timeouts};
use crate::error::FetchError;
use crate::evidence::Identity;
use crate::headers::Announce;
use crate::key_server::KeyServer;
use crate::licence::Licences;
use crate::memory::Memory;
use crate::payment::Payments;
use crate::reverse::Sites;
use crate::signals::Signals;
use crate::turns::Turns;

/// The options of the data path, fixed at start.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) announce: Announce,
    pub(crate) threads: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

impl Options {
    /// How long a fetch waits for a ledger that the process before this one has yet to close: it drains as we would.
    pub(crate) fn ledger_patience(&self) -> Duration {
        self.timeouts.drain + Duration::from_secs(5)
    }
}

/// The process-wide state.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) sites: Sites,
    pub(crate) policy: ArcSwap<PolicySnapshot>,
    pub(crate) identity: Identity,
    pub(crate) ledger: LedgerDoor,
    pub(crate) derived: Arc<Derived>,
    pub(crate) rollups: Rollups,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) payments: Payments,
    pub(crate) key_server: KeyServer,
    pub(crate) licences: Licences,
    pub(crate) client_tls: Arc<rustls::ClientConfig>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) clients: Arc<Clients>,
    /// Requests until their response heads: in all, and at each site's origin.
    pub(crate) requests: Turns,
    pub(crate) requests_at: Box<[Turns]>,
    pub(crate) memory: Memory,
    pub(crate) holds: HoldBudget,
    /// Entries for fetches below `network`, so that strangers cannot fill the disk.
    pub(crate) claimed: Mutex<TokenBucket>,
    pub(crate) peers: PeerWatch,
    /// What sites publish of their policy, worked out once.
    pub(crate) signals: Signals,
    /// Set when readiness must turn: draining has begun.
    pub(crate) stopping: AtomicBool,
    pub(crate) state_dir: PathBuf,
    pub(crate) started: Instant,
}

/// The way into the ledger, closed until the policy in force is in it.
pub(crate) struct LedgerDoor {
    /// Nothing as long as the process before this one has the ledger; then the appender, or why there is none.
    appender: OnceLock<Result<ledger::Appender, Arc<str>>>,
    awaited: watch::Sender<bool>,
    waiting: AtomicUsize,
    /// The ledger's origin as records name it: `//example.org/ledger`.
    pub(crate) source: Arc<str>,
    /// Whether the policy in force is in the ledger: a record's policy digest must resolve there.
    pub(crate) policy_recorded: AtomicBool,
}

impl LedgerDoor {
    /// A door behind which there is no ledger yet.
    pub(crate) fn awaiting(source: Arc<str>) -> LedgerDoor {
        let policy_recorded = AtomicBool::new(false);
        let (awaited, waiting) = (watch::Sender::new(true), AtomicUsize::new(0));
        LedgerDoor { appender: OnceLock::new(), awaited, waiting, source, policy_recorded }
    }

    /// The ledger is open, or will never be.
    pub(crate) fn lead_to(&self, ledger: Result<ledger::Appender, Arc<str>>) {
        let _ = self.appender.set(ledger);
    }

    /// Nobody need wait any longer: the ledger takes entries, or it is known why not.
    pub(crate) fn open(&self) {
        self.awaited.send_replace(false);
    }

    /// Whether the process before this one still has the ledger.
    pub(crate) fn is_awaited(&self) -> bool {
        *self.awaited.borrow()
    }

    /// Waits for a ledger that the process before this one has yet to close. Only for so long, and only so many: they
    /// must not take the place of people's requests. Whoever waits in vain finds the ledger paused.
    pub(crate) async fn arrived(&self, patience: Duration, waiting_max: usize) {
        if self.policy_recorded.load(Ordering::Acquire) || !self.is_awaited() {
            return;
        }
        let counted = Waiting::begin(&self.waiting);
        if counted.before < waiting_max {
            let mut awaited = self.awaited.subscribe();
            let _ = tokio::time::timeout(patience, awaited.wait_for(|awaited| !awaited)).await;
        }
    }

    /// Whether entries are taken, and if not, why.
    pub(crate) fn status(&self) -> ledger::Status {
        match self.appender.get() {
            Some(Ok(appender)) => appender.status(),
            Some(Err(reason)) => ledger::Status::Poisoned { reason: Arc::clone(reason) },
            None => ledger::Status::Paused { since: SystemTime::now(), reason: STILL_BEFORE.into() },
        }
    }

    /// The ledger in figures.
    pub(crate) fn stats(&self) -> ledger::Stats {
        self.appender().map(ledger::Appender::stats).unwrap_or_default()
    }

    fn appender(&self) -> Result<&ledger::Appender, ledger::Unavailable> {
        match self.appender.get() {
            Some(Ok(appender)) => Ok(appender),
            Some(Err(reason)) => Err(ledger::Unavailable::Poisoned { reason: Arc::clone(reason) }),
            None => Err(ledger::Unavailable::Paused { reason: STILL_BEFORE.into() }),
        }
    }

    /// Whether what the ledger says of payments is known.
    pub(crate) fn is_ready(&self) -> Result<(), FetchError> {
        if self.policy_recorded.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(FetchError::LedgerUnavailable { why: "it is not open yet".to_owned() })
    }

    /// Reserves room for one record.
    pub(crate) fn reserve(&self) -> Result<ledger::Slot, ledger::Unavailable> {
        if !self.policy_recorded.load(Ordering::Acquire) {
            return Err(ledger::Unavailable::Paused { reason: "the policy is not recorded yet".into() });
        }
        self.appender()?.reserve()
    }

    /// Hands in entries for which there is room.
    pub(crate) fn append_all(&self, entries: impl IntoIterator<Item = ledger::Append>) {
        self.appender().expect("room was reserved in a ledger").append_all(entries);
    }

    /// Appends an entry and waits until it is durable.
    pub(crate) async fn append(&self, entry: Vec<u8>) -> Result<ledger::Position, String> {
        let slot = self.appender().and_then(ledger::Appender::reserve).map_err(|error| error.to_string())?;
        let (done, ack) = tokio::sync::oneshot::channel();
        slot.append(entry, move |result| {
            let _ = done.send(result);
        });
        ack.await.map_err(|_| "the ledger stopped".to_owned())?.map_err(|error| error.to_string())
    }
}

/// Why a ledger takes nothing during an upgrade.
const STILL_BEFORE: &str = "the process before this one still writes the ledger";

/// One who waits for the ledger, counted.
struct Waiting<'c> {
    count: &'c AtomicUsize,
    before: usize,
}

impl<'c> Waiting<'c> {
    fn begin(count: &'c AtomicUsize) -> Waiting<'c> {
        Waiting { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks what is whole between any two statements, whatever became of a thread that had it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds since the Unix epoch, UTC.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A fresh UUIDv7 in text form.
pub(crate) fn new_id() -> String {
    thread_local! {
        // Seeded by the system once per thread: an id must be unique, not secret, and asking the system for each costs
        // a call per fetch.
        static RANDOM: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    let mut random = [0; 16];
    for half in random.chunks_exact_mut(8) {
        half.copy_from_slice(&RANDOM.with(splitmix).to_le_bytes());
    }
    let millis = u64::try_from(now_micros() / 1_000).unwrap_or(0);
    let bytes = random[..10].try_into().expect("ten of sixteen bytes");
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string()
}

/// SplitMix64 (Steele, Lea, Flood 2014): a full period over 64 bits of state.
fn splitmix(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mut mixed = state.get();
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Bytes that may be held back for acknowledgements at once, over all requests.
pub(crate) struct HoldBudget {
    left: AtomicUsize,
    total: usize,
}

impl HoldBudget {
    pub(crate) fn new(bytes: usize) -> HoldBudget {
        HoldBudget { left: AtomicUsize::new(bytes), total: bytes }
    }

    /// Takes a share, or nothing if there is not enough left.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes)).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Bytes held right now.
    pub(crate) fn held(&self) -> usize {
        self.total - self.left.load(Ordering::Acquire)
    }
}

/// Notices when every client seems to come from one private address: then a proxy stands in front that is not listed in
/// `trusted_proxies`, and nobody can be told from anybody.
#[derive(Default)]
pub(crate) struct PeerWatch {
    requests: AtomicI64,
    only: Mutex<Option<std::net::IpAddr>>,
}

/// After so many requests from one private address alone, somebody should look at `trusted_proxies`.
const SUSPICIOUS_REQUESTS: i64 = 1_000;

impl PeerWatch {
    /// Sees a request's client; true once, when it is time to warn.
    pub(crate) fn see(&self, client: std::net::IpAddr) -> bool {
        let seen = self.requests.load(Ordering::Relaxed);
        if !(0..SUSPICIOUS_REQUESTS).contains(&seen) {
            return false;
        }
        let private = match client {
            std::net::IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        let mut only = lock(&self.only);
        if !private || only.is_some_and(|only| only != client) {
            self.requests.store(-1, Ordering::Relaxed);
            return false;
        }
        *only = Some(client);
        self.requests.fetch_add(1, Ordering::Relaxed) + 1 == SUSPICIOUS_REQUESTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_of_version_7() {
        let ids: std::collections::HashSet<String> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| uuid::Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 7)));
    }

    #[test]
    fn one_private_address_for_all_is_noticed_once() {
        let watch = PeerWatch::default();
        let proxy = "172.17.0.1".parse().expect("an address");
        assert_eq!((0..3 * SUSPICIOUS_REQUESTS).filter(|_| watch.see(proxy)).count(), 1);
        let watch = PeerWatch::default();
        watch.see(proxy);
        watch.see("9.9.9.9".parse().expect("an address"));
        assert_eq!((0..3 * SUSPICIOUS_REQUESTS).filter(|_| watch.see(proxy)).count(), 0);
    }

    #[test]
    fn the_hold_budget_is_never_overdrawn() {
        let budget = HoldBudget::new(100);
        assert!(budget.take(60) && !budget.take(60));
        budget.give_back(60);
        assert!(budget.take(100));
        assert_eq!(budget.held(), 100);
    }
}
