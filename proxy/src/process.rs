//! The process: what starts before the first request, changes while it serves, and ends after the last.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use billing::derived::{Derived, LedgerObserver};
use ledger::{Checkpoint, Ledger};
use metrics::{NodeStart, PolicyPart, Rollups, Telemetry};
use policy::{Mode, PolicySnapshot};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::admin;
use crate::clients::Clients;
use crate::config::Config;
use crate::evidence::{Identity, IdentityOptions};
use crate::memory::Memory;
use crate::policy_file::{self, PolicyFileError};
use crate::reverse::Sites;
use crate::server::{self, Bound, Phase};
use crate::shared::{self, HoldBudget, LedgerDoor, Options, PeerWatch, Shared, TokenBucket};
use crate::upstream;
use crate::worker::Worker;

/// How often sums that are over are written, and an unrecorded policy is tried again.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sums that are handed to the ledger together.
const SUMS_AT_ONCE: usize = 256;

/// A running server.
pub(crate) struct Process {
    pub(crate) shared: Arc<Shared>,
    /// Where clients are served.
    pub(crate) urls: Vec<String>,
    /// Where operations look.
    pub(crate) admin: SocketAddr,
    policy: PolicyPlace,
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    ledger: Ledger,
    lame_duck: Duration,
}

/// Where the policy comes from at each reload.
#[derive(Clone, Debug)]
struct PolicyPlace {
    path: Option<std::path::PathBuf>,
    mode: Option<Mode>,
    reloading: Arc<Mutex<()>>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    #[error("the policy could not be recorded in the ledger: {why}")]
    Unrecorded { why: String },
}

/// Starts everything: policy, ledger, listeners, threads. When this returns, requests are answered.
pub(crate) fn start(config: Config) -> anyhow::Result<Process> {
    let (policy, warnings) = policy_file::load(config.policy.as_deref(), config.mode)?;
    for warning in &warnings {
        warn!("{warning}");
    }
    let listeners = config.listeners.iter().map(server::bind).collect::<anyhow::Result<Vec<Bound>>>()?;
    let listeners = Arc::new(listeners);
    let admin_socket = std::net::TcpListener::bind(config.admin)
        .with_context(|| format!("cannot listen on {} (admin)", config.admin))?;
    let admin = admin_socket.local_addr()?;

    let source = format!("//{}", config.ledger.origin);
    let derived = Derived::new(&source);
    // Entries that are read at the start count against the budgets that are known by then.
    policy.limits().for_each(|limit| derived.accounts().register(limit));
    let options = ledger::Options {
        segment_bytes: config.ledger.segment_bytes.max(ledger::SEGMENT_BYTES_MIN),
        queue_entries: config.ledger.queue_entries,
        probe_interval: config.ledger.probe_interval,
        ..ledger::Options::default()
    };
    let directory = config.state.join("ledger");
    let observer = Box::new(LedgerObserver(Arc::clone(&derived)));
    let (ledger, appender) = Ledger::open_dir(&directory, options, observer)
        .with_context(|| format!("cannot open the ledger in {}", directory.display()))?;
    let found = ledger.recovery();
    info!(
        entries = found.checkpoint.size,
        clean = found.clean,
        cut_bytes = found.cut_bytes,
        replayed = found.replayed,
        "ledger open"
    );
    for note in &found.notes {
        warn!(%note, "ledger");
    }

    let telemetry = Arc::new(Telemetry::new(env!("CARGO_PKG_VERSION")));
    telemetry.policy_active(&policy);
    telemetry.reloaded(true, unix_seconds());
    let limits = config.limits;
    let shared = Arc::new(Shared {
        identity: Identity::start(
            IdentityOptions::new(&config.identity, &config.state),
            policy.directory(),
            {
                let telemetry = Arc::clone(&telemetry);
                Box::new(move |lookup| telemetry.looked_up(lookup))
            },
        )?,
        options: Options {
            trusted_proxies: config.trusted_proxies,
            announce: config.announce,
            threads: config.threads,
            timeouts: config.timeouts,
            limits,
        },
        sites: Sites::new(config.sites),
        policy: ArcSwap::from_pointee(policy),
        ledger: LedgerDoor { appender, source, policy_recorded: AtomicBool::new(false) },
        derived,
        rollups: Rollups::new(),
        telemetry,
        client_tls: upstream::client_tls()?,
        connections: server::connection_slots(limits.connections, config.threads),
        clients: Arc::new(Clients::new(limits.connections_per_client, limits.requests_per_client)),
        memory: Memory::new(limits.memory_bytes),
        holds: HoldBudget::new(limits.hold_bytes),
        claimed: TokenBucket::new(config.ledger.claimed_per_second),
        peers: PeerWatch::default(),
        stopping: AtomicBool::new(false),
        state_dir: config.state,
        started: Instant::now(),
    });
    let policy = PolicyPlace { path: config.policy, mode: config.mode, reloading: Arc::default() };

    let (phase, phases) = watch::channel(Phase::Serving);
    let (ready, first_answer) = std::sync::mpsc::channel();
    let control = std::thread::Builder::new().name("control".into()).spawn({
        let (shared, phases) = (Arc::clone(&shared), phases.clone());
        move || control(&shared, admin_socket, phases, &ready)
    })?;
    // A full disk must not keep people from the site: without a recorded policy, only metering waits.
    match first_answer.recv() {
        Ok(Ok(())) => {}
        Ok(Err(why)) => error!(%why, "the policy is not recorded yet: nothing is metered until it is"),
        Err(_) => anyhow::bail!("the control thread stopped"),
    }
    let mut threads = Vec::new();
    for number in 0..shared.options.threads {
        let (shared, listeners, phases) = (Arc::clone(&shared), Arc::clone(&listeners), phases.clone());
        let work = move || {
            on_this_thread(async move {
                server::run(Worker::new(shared), listeners, phases).await;
            });
        };
        threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
    }
    let urls = server::urls(&listeners);
    let lame_duck = shared.options.timeouts.lame_duck;
    Ok(Process { shared, urls, admin, policy, phase, threads, control, ledger, lame_duck })
}

impl Process {
    /// Reads the policy again: all of it takes effect, or nothing.
    pub(crate) fn reload(&self) -> Result<Arc<str>, ReloadError> {
        let result = self.policy.reload(&self.shared);
        self.shared.telemetry.reloaded(result.is_ok(), unix_seconds());
        result
    }

    /// Stops in order: not ready, lame duck, drain, last sums, a clean end of the ledger.
    pub(crate) fn stop(self) -> anyhow::Result<Checkpoint> {
        self.shared.stopping.store(true, Ordering::Release);
        std::thread::sleep(self.lame_duck);
        self.phase.send_replace(Phase::Draining);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a worker thread panicked"))?;
        }
        // Only now can no fetch be added to a sum any more.
        self.phase.send_replace(Phase::Drained);
        self.control.join().map_err(|_| anyhow::anyhow!("the control thread panicked"))?;
        Ok(self.ledger.close()?)
    }
}

impl PolicyPlace {
    fn reload(&self, shared: &Arc<Shared>) -> Result<Arc<str>, ReloadError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (policy, warnings) = policy_file::load(self.path.as_deref(), self.mode)?;
        for warning in &warnings {
            warn!("{warning}");
        }
        // First into the ledger, then into force: every record's policy digest resolves in the same log.
        on_this_thread(record_policy(shared, &policy)).map_err(|why| ReloadError::Unrecorded { why })?;
        let digest = Arc::clone(policy.digest());
        policy.limits().for_each(|limit| shared.derived.accounts().register(limit));
        shared.telemetry.policy_active(&policy);
        shared.identity.follow(policy.directory());
        shared.policy.store(Arc::new(policy));
        Ok(digest)
    }
}

/// Runs a future to its end on a runtime of its own.
fn on_this_thread<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime needs a few file descriptors")
        .block_on(future)
}

async fn record_policy(shared: &Shared, policy: &PolicySnapshot) -> Result<(), String> {
    let sources = policy.sources().iter().map(|source| (source.name.as_str(), source.text.as_str()));
    let parts = PolicyPart::split(
        &shared.ledger.source,
        shared::now_micros(),
        policy.digest(),
        policy.mode().as_str(),
        sources,
        &mut shared::new_id,
    );
    for part in parts {
        shared.ledger.append(part.encode()).await?;
    }
    Ok(())
}

/// The control thread: the admin listener, and what has to be done from time to time.
fn control(
    shared: &Arc<Shared>,
    admin_socket: std::net::TcpListener,
    mut phases: watch::Receiver<Phase>,
    ready: &std::sync::mpsc::Sender<Result<(), String>>,
) {
    let loopback = admin_socket.local_addr().is_ok_and(|address| address.ip().is_loopback());
    on_this_thread(async {
        let _ = ready.send(begin_ledger(shared).await);
        let admin = tokio::task::spawn_local(admin::serve(
            Rc::new(admin::Admin::new(Arc::clone(shared), loopback)),
            admin_socket,
        ));
        let memory = tokio::task::spawn_local({
            let shared = Arc::clone(shared);
            async move { shared.memory.watch().await }
        });
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = interval.tick() => upkeep(shared).await,
                _ = phases.wait_for(|phase| *phase == Phase::Drained) => break,
            }
        }
        write_sums(shared, i64::MAX).await;
        write_gap(shared).await;
        admin.abort();
        memory.abort();
    });
}

async fn begin_ledger(shared: &Arc<Shared>) -> Result<(), String> {
    let start = NodeStart {
        id: shared::new_id(),
        source: shared.ledger.source.clone(),
        time_micros: shared::now_micros(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    shared.ledger.append(start.encode()).await?;
    let policy = shared.policy.load_full();
    record_policy(shared, &policy).await?;
    shared.ledger.policy_recorded.store(true, Ordering::Release);
    Ok(())
}

async fn upkeep(shared: &Arc<Shared>) {
    if !shared.ledger.policy_recorded.load(Ordering::Acquire) && begin_ledger(shared).await.is_ok() {
        info!("the policy is recorded: metering begins");
    }
    write_sums(shared, shared::now_micros() / 1_000_000).await;
    write_gap(shared).await;
}

/// Writes what passed without an entry though the ledger was never paused: its queue was full, or the policy was not
/// recorded yet. After a pause the ledger's own gap entry says it.
async fn write_gap(shared: &Arc<Shared>) {
    if !matches!(shared.ledger.appender.status(), ledger::Status::Ready) {
        return;
    }
    if let Some(gap) = shared.derived.take_gap(shared::now_micros())
        && let Err(why) = shared.ledger.append(gap.encode()).await
    {
        warn!(%why, fetches = gap.fetches, "a gap has to wait for the ledger");
        shared.derived.give_back(&gap);
    }
}

/// Writes the sums of minutes that are over. What cannot be written is kept for the next time.
async fn write_sums(shared: &Arc<Shared>, now_seconds: i64) {
    if !matches!(shared.ledger.appender.status(), ledger::Status::Ready) {
        return;
    }
    let source = &shared.ledger.source;
    let sums = shared.rollups.drain(now_seconds, shared::now_micros(), source, &mut shared::new_id);
    let mut written = 0;
    // All at once: the writer makes a batch of them. In chunks, so that fetches find room in the queue.
    for chunk in sums.chunks(SUMS_AT_ONCE) {
        let appended = chunk.iter().map(|sum| shared.ledger.append(sum.encode()));
        for (sum, result) in chunk.iter().zip(futures_util::future::join_all(appended).await) {
            match result {
                Ok(_) => written += 1,
                Err(why) => {
                    warn!(%why, crawler = %sum.crawler, fetches = sum.fetches, "a sum has to wait for the ledger");
                    shared.rollups.put_back(sum.clone());
                }
            }
        }
    }
    if written > 0 {
        shared.telemetry.rollups_written(written);
    }
}

fn unix_seconds() -> u64 {
    u64::try_from(shared::now_micros() / 1_000_000).unwrap_or(0)
}
