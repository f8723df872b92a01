//! Payments whose outcome is not known: asked about until it is, whether or not who paid comes back.
//!
//! Asking again takes the payment itself, signed, which a public ledger must not hold. So each lies in a file of its own from before
//! it is settled until its outcome is known: `payments-pending/` in the state directory, readable by its owner alone. The files are a help
//! and no truth: what the ledger does not call unknown is not asked about, and one that is lost leaves it to who paid to come back.
//! They are not synced, for that reason: a process that is killed leaves them, a power cut may not.
//!
//! `/settle` with the same payment is idempotent by its nonce: a contract takes each once. It is still an order, so `/verify` is asked first
//! ([`Order::ask_again`]): asking moves no money that has not moved.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use billing::spent::SpendKey;
use metrics::PaymentRecord;
use policy::protocol::x402::facilitator::{Request, Transfer};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::settle::Order;
use crate::shared::{Shared, lock};

/// In the state directory.
const DIRECTORY: &str = "payments-pending";
/// Payments that are kept; of more than these, who paid has to come back.
const PENDING_MAX: usize = 10_000;
/// How soon one is asked about first; each time twice as long, up to the longest.
const ASK_FIRST: Duration = Duration::from_secs(15);
const ASK_EACH: Duration = Duration::from_secs(60);
/// How often one is asked about between two starts.
const ASKED_MAX: u32 = 60;
/// How many are asked about at once.
const AT_ONCE: usize = 8;

/// What is kept of them.
pub(crate) struct Pending {
    directory: PathBuf,
    known: Mutex<HashMap<[u8; 32], Asked>>,
    changed: Notify,
}

#[derive(Default)]
struct Asked {
    times: u32,
    /// When next; not while a request is at it, and not if it was asked about often enough.
    next: Option<Instant>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    request: Request,
    transfer: Transfer,
    /// The entry that was written for it.
    record: String,
}

impl Pending {
    pub(crate) fn new(state: &Path) -> Pending {
        Pending { directory: state.join(DIRECTORY), known: Mutex::default(), changed: Notify::new() }
    }

    /// A payment is about to be settled.
    pub(super) fn keep(&self, key: [u8; 32], order: &Order) {
        let mut known = lock(&self.known);
        if known.len() >= PENDING_MAX {
            return;
        }
        known.insert(key, Asked::default());
        drop(known);
        let record = String::from_utf8_lossy(&order.record.encode()).into_owned();
        let kept = Kept { request: order.request.clone(), transfer: order.transfer.clone(), record };
        if let Err(error) = self.write(&key, &kept) {
            lock(&self.known).remove(&key);
            warn!(%error, "a payment cannot be kept: if its outcome is lost, who paid has to come back");
        }
    }

    /// It was asked about, and nobody knows.
    pub(super) fn is_unknown(&self, key: &[u8; 32]) {
        let mut known = lock(&self.known);
        let Some(asked) = known.get_mut(key) else { return };
        let wait = ASK_FIRST.saturating_mul(1 << asked.times.min(8)).min(ASK_EACH);
        asked.times += 1;
        asked.next = (asked.times <= ASKED_MAX).then(|| Instant::now() + wait);
        drop(known);
        self.changed.notify_one();
    }

    /// It is known what became of it.
    pub(super) fn is_known(&self, key: &[u8; 32]) {
        if lock(&self.known).remove(key).is_some() {
            self.remove(key);
        }
    }

    /// Takes up what a process that ended has left. What the ledger does not call unknown is over.
    pub(crate) fn take_up(&self, is_unknown: impl Fn(&[u8; 32]) -> bool) {
        let Ok(files) = fs::read_dir(&self.directory) else { return };
        let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.to_owned()));
        let keys = names.filter_map(|name| format!("{name} 0").parse::<SpendKey>().ok());
        let mut known = lock(&self.known);
        for key in keys.map(|key| key.digest) {
            if !is_unknown(&key) {
                self.remove(&key);
            } else if known.len() < PENDING_MAX {
                known.entry(key).or_insert(Asked { times: 0, next: Some(Instant::now()) });
            }
        }
        drop(known);
        self.changed.notify_one();
    }

    /// Asks about them, as long as the control thread runs.
    pub(crate) async fn ask(shared: &Shared) {
        // Without a facilitator they wait on disk for one: for a start with another configuration.
        if !shared.payments.has_facilitator() {
            return;
        }
        let pending = &shared.payments.pending;
        loop {
            // What the ledger cannot take is not asked about: the answer would be lost.
            let is_ready =
                shared.ledger.is_ready().is_ok() && matches!(shared.ledger.status(), ledger::Status::Ready);
            let (due, next) =
                if is_ready { pending.due(Instant::now()) } else { (Vec::new(), Some(ASK_FIRST)) };
            if due.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(next.unwrap_or(Duration::MAX)), if next.is_some() => {}
                    () = pending.changed.notified() => {}
                }
                continue;
            }
            futures_util::future::join_all(due.iter().map(|key| pending.ask_about(shared, key))).await;
        }
    }

    /// Whose time it is, those first that wait longest, and how long it is to the next one's. Who is handed out has no time until it is
    /// given one: whatever is forgotten about it, it is not handed out again and again.
    fn due(&self, now: Instant) -> (Vec<[u8; 32]>, Option<Duration>) {
        let mut known = lock(&self.known);
        let mut due: Vec<_> = known.iter().filter_map(|(key, asked)| Some((asked.next?, *key))).collect();
        due.sort_unstable();
        let later = due.iter().map(|(next, _)| *next).find(|next| *next > now);
        due.retain(|(next, _)| *next <= now);
        due.truncate(AT_ONCE);
        for (_, key) in &due {
            known.entry(*key).and_modify(|asked| asked.next = None);
        }
        (due.into_iter().map(|(_, key)| key).collect(), later.map(|next| next.saturating_duration_since(now)))
    }

    async fn ask_about(&self, shared: &Shared, key: &[u8; 32]) {
        let payments = shared.derived.payments();
        let Some(taken) = payments.take_unknown(key) else {
            // Who paid has come back: that request finds it out, or did.
            return if payments.is_unknown(key) { self.is_unknown(key) } else { self.is_known(key) };
        };
        match self.read(key) {
            Some(order) => order.ask_again(shared, taken).await,
            None => {
                warn!("a payment of unknown outcome cannot be read: who paid has to come back");
                self.is_known(key);
            }
        }
    }

    fn write(&self, key: &[u8; 32], kept: &Kept) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path(key))?;
        file.write_all(&serde_json::to_vec(kept)?)
    }

    fn read(&self, key: &[u8; 32]) -> Option<Order> {
        let kept: Kept = serde_json::from_slice(&fs::read(self.path(key)).ok()?).ok()?;
        let record = PaymentRecord::parse(kept.record.as_bytes()).ok()?;
        Some(Order { record, request: kept.request, transfer: kept.transfer, is_retry: true })
    }

    fn remove(&self, key: &[u8; 32]) {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                info!(%error, "a payment that is known is still kept");
            }
            _ => {}
        }
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.directory.join(policy::hex(key))
    }
}
