//! Payments whose outcome is not known: asked about until it is, whether or not who paid comes back.
//!
//! Asking again takes the payment itself, signed, which a public ledger must not hold. So each lies in a file of its own from before
//! it is settled until its outcome is known: `payments-pending/` in the state directory, readable by its owner alone. The files are a help
//! and no truth: what the ledger does not call unknown is not asked about, and one that is lost leaves it to who paid to come back.
//! They are not synced, for that reason: a process that is killed leaves them, a power cut may not.
//!
//! Each is asked about until it is known, or so long over that the ledger's own memory of it ends: [`OFTEN_MAX`] times soon after each
//! other, counting what the facilitator answered alone, then each [`ASK_SELDOM`]. So no outage uses that up, and none is given up.
//!
//! `/settle` with the same payment is idempotent by its nonce: a contract takes each once. It is still an order, so `/verify` is asked first
//! ([`Order::ask_again`]): asking moves no money that has not moved.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use billing::spent::SpendKey;
use metrics::PaymentRecord;
use policy::protocol::x402::facilitator::{Request, Transfer};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::settle::Order;
use crate::shared::{Shared, lock};

/// In the state directory.
const DIRECTORY: &str = "payments-pending";
/// Payments that are kept; of more than these, who paid has to come back.
const PENDING_MAX: usize = 10_000;
/// How soon one is asked about first; each time twice as long, up to the longest. The first is also the pause while nobody answers.
const ASK_FIRST: Duration = Duration::from_secs(15);
const ASK_EACH: Duration = Duration::from_secs(60);
/// How many answers of the facilitator, between two starts, may leave one unknown before it is asked about less often.
const OFTEN_MAX: u32 = 60;
/// How often it is asked about then.
const ASK_SELDOM: Duration = Duration::from_secs(3_600);
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
    /// How often it was put off.
    rounds: u32,
    /// How often the facilitator has answered, and left it unknown.
    answers: u32,
    /// When next; not while somebody is at it.
    next: Option<Instant>,
}

/// The facilitator gives no answer.
pub(super) struct Away;

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
    pub(super) async fn keep(&self, key: [u8; 32], order: &Order) {
        {
            let mut known = lock(&self.known);
            if known.len() >= PENDING_MAX {
                return;
            }
            known.insert(key, Asked::default());
        }
        let record = String::from_utf8_lossy(&order.record.encode()).into_owned();
        let kept = Kept { request: order.request.clone(), transfer: order.transfer.clone(), record };
        let path = self.path(&key);
        if let Err(error) = off_this_thread(move || write(&path, &kept)).await {
            lock(&self.known).remove(&key);
            warn!(%error, payer = order.record.payer, nonce = order.record.nonce,
                "a payment cannot be kept: if its outcome is lost, who paid has to come back");
        }
    }

    /// It is not known yet: it is asked about later.
    pub(super) fn is_unknown(&self, key: &[u8; 32]) {
        let mut known = lock(&self.known);
        let Some(asked) = known.get_mut(key) else { return };
        asked.next = Some(Instant::now() + asked.wait());
        asked.rounds = asked.rounds.saturating_add(1);
        drop(known);
        self.changed.notify_one();
    }

    /// The facilitator has answered a question about it. Whether that is the last one for which it is asked so often.
    pub(super) fn was_answered(&self, key: &[u8; 32]) -> bool {
        let mut known = lock(&self.known);
        let Some(asked) = known.get_mut(key) else { return false };
        asked.answers = asked.answers.saturating_add(1);
        asked.answers == OFTEN_MAX
    }

    /// It is known what became of it. Its file goes by itself; whoever may make one for the same payment again waits for that.
    pub(super) fn is_known(&self, key: &[u8; 32]) -> Option<JoinHandle<()>> {
        lock(&self.known).remove(key)?;
        let path = self.path(key);
        Some(tokio::task::spawn_blocking(move || remove(&path)))
    }

    /// Takes up what a process that ended has left. What the ledger does not call unknown is over.
    pub(crate) fn take_up(&self, is_unknown: impl Fn(&[u8; 32]) -> bool) {
        let Ok(files) = fs::read_dir(&self.directory) else { return };
        let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.to_owned()));
        let keys = names.filter_map(|name| format!("{name} 0").parse::<SpendKey>().ok());
        let mut known = lock(&self.known);
        for key in keys.map(|key| key.digest) {
            if !is_unknown(&key) {
                remove(&self.path(&key));
            } else if known.len() < PENDING_MAX {
                known.entry(key).or_insert(Asked { next: Some(Instant::now()), ..Asked::default() });
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
            let asked =
                futures_util::future::join_all(due.iter().map(|key| pending.ask_about(shared, key))).await;
            // The others would find it away as well, and the log would name each of them.
            if asked.iter().all(Result::is_err) {
                tokio::time::sleep(ASK_FIRST).await;
            }
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

    async fn ask_about(&self, shared: &Shared, key: &[u8; 32]) -> Result<(), Away> {
        let payments = shared.derived.payments();
        let Some(taken) = payments.take_unknown(key) else {
            // Who paid has come back: that request finds it out, or did. Or it is forgotten, long after its time.
            if payments.is_unknown(key) {
                self.is_unknown(key);
            } else {
                self.is_known(key);
            }
            return Ok(());
        };
        let path = self.path(key);
        match off_this_thread(move || read(&path)).await {
            Ok(order) => return order.ask_again(shared, taken).await,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                let authorisation = policy::hex(key);
                warn!(%error, authorisation,
                    "a payment of unknown outcome is not kept any more: who paid has to come back");
                self.is_known(key);
            }
            Err(error) => {
                let authorisation = policy::hex(key);
                warn!(%error, authorisation, "a payment of unknown outcome cannot be read just now");
                self.is_unknown(key);
            }
        }
        Ok(())
    }

    fn path(&self, key: &[u8; 32]) -> PathBuf {
        self.directory.join(policy::hex(key))
    }
}

impl Asked {
    fn wait(&self) -> Duration {
        if self.answers >= OFTEN_MAX {
            return ASK_SELDOM;
        }
        ASK_FIRST.saturating_mul(1 << self.rounds.min(8)).min(ASK_EACH)
    }
}

/// Where files are touched: a slow disk must not hold up what else the thread serves.
async fn off_this_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// Writes the whole file, or leaves none.
fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let json = serde_json::to_vec(kept)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&json).inspect_err(|_| remove(path))
}

/// # Errors
/// [`ErrorKind::InvalidData`] if it is not what was written.
fn read(path: &Path) -> io::Result<Order> {
    let kept: Kept = serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let record = PaymentRecord::parse(kept.record.as_bytes())
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "its record cannot be read"))?;
    Ok(Order { record, request: kept.request, transfer: kept.transfer, is_retry: true })
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            info!(%error, path = %path.display(), "a payment that is known is still kept");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use policy::protocol::x402::atomic::U256;
    use policy::protocol::x402::eip712::Address;
    use policy::protocol::x402::network::Network;

    use super::*;

    fn pending() -> (tempfile::TempDir, Pending) {
        let state = tempfile::tempdir().expect("a temporary directory");
        let pending = Pending::new(state.path());
        (state, pending)
    }

    fn asked(pending: &Pending, key: u8) -> Option<Duration> {
        let known = lock(&pending.known);
        known.get(&[key; 32])?.next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    #[test]
    fn those_that_wait_longest_come_first_and_none_comes_twice() {
        let (_state, pending) = pending();
        let now = Instant::now();
        let count = 2 * AT_ONCE as u8 + 1;
        for key in 0..count {
            let next = Some(now + Duration::from_secs(u64::from(count - key)));
            lock(&pending.known).insert([key; 32], Asked { next, ..Asked::default() });
        }
        assert_eq!(pending.due(now), (vec![], Some(Duration::from_secs(1))));
        let later = now + Duration::from_secs(60);
        let mut seen = Vec::new();
        for expect in [AT_ONCE, AT_ONCE, 1, 0] {
            let (due, _) = pending.due(later);
            assert_eq!(due.len(), expect);
            seen.extend(due.iter().map(|key| key[0]));
        }
        assert_eq!(seen, (0..count).rev().collect::<Vec<_>>());
        assert_eq!(pending.due(later).1, None, "whose turn it was has no time until it is given one");
    }

    #[test]
    fn only_answers_count_and_none_is_given_up() {
        let (_state, pending) = pending();
        lock(&pending.known).insert([1; 32], Asked::default());
        // An outage, or a crawler that comes back again and again.
        for _ in 0..10 * OFTEN_MAX {
            pending.is_unknown(&[1; 32]);
            assert!(asked(&pending, 1).expect("a time") <= ASK_EACH);
        }
        let last: Vec<_> = (1..=2 * OFTEN_MAX).filter(|_| pending.was_answered(&[1; 32])).collect();
        assert_eq!(last, [OFTEN_MAX], "it is told once");
        pending.is_unknown(&[1; 32]);
        let wait = asked(&pending, 1).expect("never given up");
        assert!(wait > ASK_EACH && wait <= ASK_SELDOM, "{wait:?}");
        assert!(!pending.was_answered(&[2; 32]), "nobody knows of that one");
    }

    #[test]
    fn a_disk_without_space_leaves_no_cut_file() {
        let (state, pending) = pending();
        let path = pending.path(&[1; 32]);
        let kept = Kept {
            request: Request {
                x402_version: 2,
                payment_payload: serde_json::Value::Null,
                payment_requirements: serde_json::Value::Null,
            },
            transfer: Transfer {
                network: Network::parse("eip155:8453").expect("a network"),
                payer: Address::parse("0x209693Bc6afc0C5328bA36FaF03C514EF312287C").expect("an address"),
                value: U256::default(),
            },
            record: String::new(),
        };
        write(&path, &kept).expect("a disk with space");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
        remove(&path);
        std::os::unix::fs::symlink("/dev/full", &path).expect("a disk without space");
        assert_eq!(write(&path, &kept).expect_err("no space").kind(), ErrorKind::StorageFull);
        assert!(fs::symlink_metadata(&path).is_err(), "nothing is left in {}", state.path().display());
    }

    #[test]
    fn what_is_cut_is_told_from_what_cannot_be_read() {
        let (_state, pending) = pending();
        let path = pending.path(&[1; 32]);
        let kind = || read(&path).err().expect("no order").kind();
        assert_eq!(kind(), ErrorKind::NotFound);
        fs::create_dir_all(&path).expect("a directory in the way");
        assert!(!matches!(kind(), ErrorKind::NotFound | ErrorKind::InvalidData), "{:?}", kind());
        fs::remove_dir(&path).expect("our own directory");
        fs::write(&path, "{\"request\":{\"x402Ver").expect("a cut file");
        assert_eq!(kind(), ErrorKind::InvalidData);
    }
}
