//! The process: what starts before the first request, changes while it serves, and ends after the last.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use billing::derived::{Derived, LedgerObserver};
use ledger::{Checkpoint, Ledger};
use metrics::{Gap, NodeStart, PolicyPart, Rollups, Telemetry};
use policy::{Mode, PolicySnapshot};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::admin;
use crate::bucket::TokenBucket;
use crate::clients::Clients;
use crate::config::{self, Config};
use crate::evidence::{Identity, IdentityOptions};
use crate::handover::{Predecessor, Successor, SuccessorError};
use crate::key_server::KeyServer;
use crate::keys::KeyFileError;
use crate::licence::{LicenceFileError, Licences};
use crate::listen::{self, Bound, Passed};
use crate::memory::Memory;
use crate::payment::Payments;
use crate::payment::pending::Pending;
use crate::policy_file::{self, PolicyFileError};
use crate::reverse::Sites;
use crate::server::{self, Phase};
use crate::shared::{self, HoldBudget, LedgerDoor, Options, PeerWatch, Shared, lock};
use crate::signals::Signals;
use crate::tls::{Certificate, TlsFileError};
use crate::turns::Turns;
use crate::upstream;
use crate::worker::Worker;

/// How often sums that are over are written, and an unrecorded policy is tried again.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How often a process that took over looks whether the ledger's lock is free.
const LOCK_LOOK_AGAIN: Duration = Duration::from_millis(2);

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
    certificates: Vec<Arc<Certificate>>,
    sockets: Sockets,
    phase: watch::Sender<Phase>,
    threads: Vec<WorkerThread>,
    control: JoinHandle<()>,
    /// Tells the control thread that a successor has the admin listener.
    admin_goes: watch::Sender<bool>,
    /// Hears from the control thread that the last sums are written.
    sums_written: mpsc::Receiver<()>,
    ledger: Arc<Mutex<Option<Ledger>>>,
    lame_duck: Duration,
}

/// What a successor gets.
struct Sockets {
    listeners: Arc<Vec<Bound>>,
    admin: TcpListener,
    /// What the configuration calls it.
    admin_name: String,
}

struct WorkerThread {
    thread: JoinHandle<()>,
    /// Hears when none of its connections needs the ledger any more.
    metered: mpsc::Receiver<()>,
}

/// Where the policy comes from at each reload.
#[derive(Clone, Debug)]
struct PolicyPlace {
    path: Option<PathBuf>,
    mode: Option<Mode>,
    reloading: Arc<Mutex<()>>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    #[error(transparent)]
    Certificate(#[from] TlsFileError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Licence(#[from] LicenceFileError),
    #[error("the policy could not be recorded in the ledger: {why}")]
    Unrecorded { why: String },
}

/// Starts everything: policy, ledger, listeners, threads. When this returns, requests are answered.
pub(crate) fn start(config: Config) -> anyhow::Result<Process> {
    start_with(config, Passed::nothing(), None)
}

/// The same with sockets that were passed, and perhaps a process to take over from: then all that can fail is done before
/// it is told to go, people are served at once, and fetches of crawlers wait until it has closed the ledger.
pub(crate) fn start_with(
    config: Config,
    mut passed: Passed,
    predecessor: Option<Predecessor>,
) -> anyhow::Result<Process> {
    let (policy, warnings) = policy_file::load(config.policy.as_deref(), config.mode)?;
    for warning in &warnings {
        warn!("{warning}");
    }
    let listeners = Arc::new(passed.bind(&config.listeners)?);
    let admin_socket = passed.at(config.admin).context("the admin listener")?;
    let admin = admin_socket.local_addr()?;
    passed.finish()?;
    let admin_name = config.admin.to_string();
    let sockets = Sockets { listeners: Arc::clone(&listeners), admin: admin_socket.try_clone()?, admin_name };
    let certificates = listeners.iter().filter_map(|bound| bound.certificate.clone()).collect();

    let source = format!("//{}", config.ledger.origin);
    let derived = Derived::new(&source);
    // Entries that are read at the start count against the budgets that are known by then.
    policy.limits().for_each(|limit| derived.accounts().register(limit));
    let opener = LedgerOpener {
        directory: config.state.join("ledger"),
        options: ledger::Options {
            segment_bytes: config.ledger.segment_bytes.max(ledger::SEGMENT_BYTES_MIN),
            queue_entries: config.ledger.queue_entries,
            probe_interval: config.ledger.probe_interval,
            ..ledger::Options::default()
        },
        derived: Arc::clone(&derived),
    };
    let door = LedgerDoor::awaiting(source.into());
    let ledger = Arc::<Mutex<Option<Ledger>>>::default();
    if predecessor.is_none() {
        let (open, appender) = opener.open()?;
        *lock(&ledger) = Some(open);
        door.lead_to(Ok(appender));
    }

    let telemetry = Arc::new(Telemetry::new(env!("CARGO_PKG_VERSION")));
    telemetry.policy_active(&policy);
    telemetry.reloaded(true, unix_seconds());
    let (limits, threads) = (config.limits, config.threads);
    let turns_at = |_: &upstream::Origin| Turns::new(limits.requests_per_site, threads);
    let sites = Sites::new(config.sites);
    let client_tls = upstream::client_tls()?;
    let licences =
        Licences::start(config.licence, &config.state, Arc::clone(&client_tls)).context("licences")?;
    licences.compare(&policy);
    let connections = server::connection_slots(limits.connections, threads);
    // Of those that there really are: the system may give fewer descriptors than were configured for.
    let per_client =
        limits.connections_per_client.unwrap_or_else(|| config::share(connections.available_permits()));
    let claimed = config.ledger.claimed_per_second;
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
            threads,
            timeouts: config.timeouts,
            limits,
        },
        requests: Turns::new(limits.requests, threads),
        requests_at: sites.origins().iter().map(turns_at).collect(),
        sites,
        policy: ArcSwap::from_pointee(policy),
        ledger: door,
        derived,
        rollups: Rollups::new(),
        telemetry,
        key_server: KeyServer::start(config.key_directory).context("the key directory")?,
        licences,
        payments: Payments::start(&config.payment, &config.state, &client_tls)?,
        client_tls,
        connections,
        clients: Arc::new(Clients::new(per_client, limits.requests_per_client)),
        memory: Memory::new(limits.memory_bytes),
        holds: HoldBudget::new(limits.hold_bytes),
        claimed: Mutex::new(TokenBucket::new(claimed, claimed, Instant::now())),
        peers: PeerWatch::default(),
        signals: Signals::default(),
        stopping: AtomicBool::new(false),
        state_dir: config.state,
        started: Instant::now(),
    });
    let policy = PolicyPlace { path: config.policy, mode: config.mode, reloading: Arc::default() };

    // A full disk must not keep people from the site: without a recorded policy, only metering waits.
    if predecessor.is_none() {
        if let Err(why) = on_this_thread(begin_ledger(&shared)) {
            error!(%why, "the policy is not recorded yet: nothing is metered until it is");
        }
        shared.ledger.open();
    }
    let (phase, phases) = watch::channel(Phase::Serving);
    let (admin_goes, admin_stays) = watch::channel(false);
    let (tell, sums_written) = mpsc::channel();
    let control = std::thread::Builder::new().name("control".into()).spawn({
        let (shared, phases) = (Arc::clone(&shared), phases.clone());
        move || control(&shared, admin_socket, admin_stays, phases, &tell)
    })?;
    let mut threads = Vec::new();
    for number in 0..shared.options.threads {
        threads.push(WorkerThread::start(number, &shared, &listeners, &phases)?);
    }
    if let Some(predecessor) = predecessor {
        predecessor.relieve().context("the process before this one went away")?;
        let (shared, ledger) = (Arc::clone(&shared), Arc::clone(&ledger));
        let succeed = move || succeed(predecessor, &opener, &shared, &ledger);
        std::thread::Builder::new().name("takeover".into()).spawn(succeed)?;
    }
    let urls = listen::urls(&listeners);
    let lame_duck = shared.options.timeouts.lame_duck;
    Ok(Process {
        shared,
        urls,
        admin,
        policy,
        certificates,
        sockets,
        phase,
        threads,
        control,
        admin_goes,
        sums_written,
        ledger,
        lame_duck,
    })
}

/// What it takes to open the ledger, now or later.
struct LedgerOpener {
    directory: PathBuf,
    options: ledger::Options,
    derived: Arc<Derived>,
}

impl LedgerOpener {
    fn open(&self) -> anyhow::Result<(Ledger, ledger::Appender)> {
        let observer = Box::new(LedgerObserver(Arc::clone(&self.derived)));
        let (ledger, appender) = Ledger::open_dir(&self.directory, self.options.clone(), observer)
            .with_context(|| format!("cannot open the ledger in {}", self.directory.display()))?;
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
        Ok((ledger, appender))
    }
}

/// Takes the ledger over as soon as the process before this one has closed it.
fn succeed(
    predecessor: Predecessor,
    opener: &LedgerOpener,
    shared: &Arc<Shared>,
    place: &Mutex<Option<Ledger>>,
) {
    let asked = Instant::now();
    predecessor.wait_for_the_ledger();
    let gone = Instant::now();
    let opened = loop {
        match opener.open() {
            // A process that dies lets go of one thing after the other; and one that never got the ledger itself leaves
            // us to wait for the process before it, which may still drain.
            Err(error)
                if matches!(error.downcast_ref(), Some(ledger::OpenError::Locked))
                    && gone.elapsed() < shared.options.ledger_patience() =>
            {
                std::thread::sleep(LOCK_LOOK_AGAIN);
            }
            opened => break opened,
        }
    };
    match opened {
        Ok((ledger, appender)) => {
            *lock(place) = Some(ledger);
            shared.ledger.lead_to(Ok(appender));
            match on_this_thread(begin_ledger(shared)) {
                Ok(()) => {
                    info!(waited_ms = asked.elapsed().as_millis(), "the ledger is ours: metering goes on")
                }
                Err(why) => error!(%why, "the policy is not recorded yet: nothing is metered until it is"),
            }
        }
        // People are served without a ledger; a process that ended now would take the site with it.
        Err(error) => {
            error!(error = %format!("{error:#}"), "there is no ledger: nothing is metered until a restart");
            shared.ledger.lead_to(Err(format!("{error:#}").into()));
        }
    }
    shared.ledger.open();
}

impl WorkerThread {
    fn start(
        number: usize,
        shared: &Arc<Shared>,
        listeners: &Arc<Vec<Bound>>,
        phases: &watch::Receiver<Phase>,
    ) -> std::io::Result<WorkerThread> {
        let (shared, listeners, phases) = (Arc::clone(shared), Arc::clone(listeners), phases.clone());
        let (tell, metered) = mpsc::channel();
        let work = move || {
            // Whatever is cut at the deadline closes its fetch when this returns, so only then is there an end for sure:
            // the sender that stays here must outlive it.
            let early = tell.clone();
            on_this_thread(async move {
                let metered = move || {
                    let _ = early.send(());
                };
                server::run(Worker::new(shared), listeners, phases, metered).await;
            });
            drop(tell);
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(work)?;
        Ok(WorkerThread { thread, metered })
    }
}

impl Process {
    /// Reads policy and certificates again: all of it takes effect, or nothing.
    pub(crate) fn reload(&self) -> Result<Arc<str>, ReloadError> {
        let result = self.read_again();
        self.shared.telemetry.reloaded(result.is_ok(), unix_seconds());
        result
    }

    fn read_again(&self) -> Result<Arc<str>, ReloadError> {
        let mut fresh = Vec::new();
        for certificate in &self.certificates {
            fresh.push((certificate, certificate.read_again()?));
        }
        let keys = self.shared.key_server.read_again()?;
        let licences = self.shared.licences.read_again()?;
        let digest = self.policy.reload(&self.shared)?;
        self.shared.key_server.replace(keys);
        self.shared.licences.replace(licences);
        self.shared.licences.compare(&self.shared.policy.load());
        for (certificate, key) in fresh {
            certificate.replace(key);
        }
        Ok(digest)
    }

    /// Starts a new process that has what this one listens on.
    pub(crate) fn succeeded_by(&self, program: &Path) -> Result<Successor, SuccessorError> {
        let Sockets { listeners, admin, admin_name } = &self.sockets;
        let mut sockets: Vec<_> =
            listeners.iter().map(|bound| (bound.place.to_string(), bound.socket.as_fd())).collect();
        sockets.push((admin_name.clone(), admin.as_fd()));
        Successor::start(program, &sockets)
    }

    /// How long a new process may take until it serves.
    pub(crate) fn patience_with_a_successor(&self) -> Duration {
        self.shared.options.timeouts.successor
    }

    /// Stops in order: not ready, lame duck, drain, last sums, a clean end of the ledger.
    pub(crate) fn stop(self) -> anyhow::Result<Checkpoint> {
        self.shared.stopping.store(true, Ordering::Release);
        std::thread::sleep(self.lame_duck);
        self.drain(|| {})
    }

    /// Leaves to a successor that serves already. It gets the ledger as soon as no fetch needs it here, while slow
    /// answers to people may still be under way.
    pub(crate) fn leave_to(self, successor: Successor) -> anyhow::Result<Checkpoint> {
        self.shared.stopping.store(true, Ordering::Release);
        self.admin_goes.send_replace(true);
        self.drain(|| drop(successor))
    }

    fn drain(self, ledger_closed: impl FnOnce()) -> anyhow::Result<Checkpoint> {
        drop(self.sockets);
        self.phase.send_replace(Phase::Draining);
        let mut threads = Vec::new();
        for worker in self.threads {
            // An error means that the thread has ended, which is as good.
            let _ = worker.metered.recv();
            threads.push(worker.thread);
        }
        // Where this process has taken over itself and is yet to get the ledger, it waits for its predecessor to end.
        on_this_thread(self.shared.ledger.arrived(self.shared.options.ledger_patience(), usize::MAX));
        // Only now can no fetch be added to a sum any more.
        self.phase.send_replace(Phase::Metered);
        let _ = self.sums_written.recv();
        let ledger = lock(&self.ledger).take();
        let closed = ledger.map(Ledger::close).transpose();
        ledger_closed();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a worker thread panicked"))?;
        }
        self.phase.send_replace(Phase::Drained);
        self.control.join().map_err(|_| anyhow::anyhow!("the control thread panicked"))?;
        say_what_is_lost(&self.shared);
        closed?.context("the process before this one never closed the ledger")
    }
}

impl PolicyPlace {
    fn reload(&self, shared: &Arc<Shared>) -> Result<Arc<str>, ReloadError> {
        let _one_at_a_time = lock(&self.reloading);
        let (policy, warnings) = policy_file::load(self.path.as_deref(), self.mode)?;
        for warning in &warnings {
            warn!("{warning}");
        }
        // First into the ledger, then into force: every record's policy digest resolves in the same log.
        on_this_thread(shared.ledger.arrived(shared.options.ledger_patience(), usize::MAX));
        on_this_thread(record_policy(shared, &policy)).map_err(|why| ReloadError::Unrecorded { why })?;
        let digest = Arc::clone(policy.digest());
        policy.limits().for_each(|limit| shared.derived.accounts().register(limit));
        shared.telemetry.policy_active(&policy);
        shared.identity.follow(policy.directory());
        shared.policy.store(Arc::new(policy));
        shared.payments.policy_changed();
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
    admin_socket: TcpListener,
    mut admin_stays: watch::Receiver<bool>,
    mut phases: watch::Receiver<Phase>,
    sums_written: &mpsc::Sender<()>,
) {
    let loopback = admin_socket.local_addr().is_ok_and(|address| address.ip().is_loopback());
    on_this_thread(async {
        let admin = Rc::new(admin::Admin::new(Arc::clone(shared), loopback));
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = admin::serve(admin, admin_socket) => {}
                _ = admin_stays.wait_for(|goes| *goes) => {}
            }
        });
        tokio::task::spawn_local({
            let shared = Arc::clone(shared);
            async move { shared.memory.watch().await }
        });
        tokio::task::spawn_local({
            let shared = Arc::clone(shared);
            async move { Payments::watch(&shared).await }
        });
        tokio::task::spawn_local({
            let shared = Arc::clone(shared);
            async move { Pending::ask(&shared).await }
        });
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = interval.tick() => upkeep(shared).await,
                _ = phases.wait_for(|phase| *phase >= Phase::Metered) => break,
            }
        }
        write_sums(shared, i64::MAX).await;
        write_gap(shared).await;
        let _ = sums_written.send(());
        let _ = phases.wait_for(|phase| *phase == Phase::Drained).await;
    });
}

async fn begin_ledger(shared: &Arc<Shared>) -> Result<(), String> {
    let start = NodeStart {
        id: shared::new_id(),
        source: shared.ledger.source.to_string(),
        time_micros: shared::now_micros(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    shared.ledger.append(start.encode()).await?;
    let policy = shared.policy.load_full();
    record_policy(shared, &policy).await?;
    record_paid(shared).await?;
    shared.ledger.policy_recorded.store(true, Ordering::Release);
    Ok(())
}

/// What was paid for by fetches that a process which ended has not recorded: it has its record before anybody comes with a payment.
async fn record_paid(shared: &Shared) -> Result<(), String> {
    let payments = shared.derived.payments();
    let paid = payments.unrecorded();
    for record in &paid {
        shared.ledger.append(record.encode()).await?;
    }
    shared.payments.pending.take_up(|key| payments.is_unknown(key));
    let unknown = payments.unknown();
    if !paid.is_empty() || unknown > 0 {
        warn!(recorded = paid.len(), unknown, "payments of a process that ended");
    }
    Ok(())
}

async fn upkeep(shared: &Arc<Shared>) {
    if shared.ledger.is_awaited() {
        return;
    }
    if !shared.ledger.policy_recorded.load(Ordering::Acquire) && begin_ledger(shared).await.is_ok() {
        info!("the policy is recorded: metering begins");
    }
    write_sums(shared, shared::now_micros() / 1_000_000).await;
    write_gap(shared).await;
}

/// Writes what passed without an entry though the ledger was never paused: its queue was full, or the policy was not
/// recorded yet. After a pause the ledger's own gap entry says it.
async fn write_gap(shared: &Arc<Shared>) {
    if !matches!(shared.ledger.status(), ledger::Status::Ready) {
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
    if !matches!(shared.ledger.status(), ledger::Status::Ready) {
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

/// What was summed or counted after the last sums were written, or found no space then, is nowhere but here: it owed
/// nothing, but whoever compares the ledger with other counts should know.
fn say_what_is_lost(shared: &Shared) {
    let now = shared::now_micros();
    let sums = shared.rollups.drain(i64::MAX, now, &shared.ledger.source, &mut shared::new_id);
    if !sums.is_empty() {
        let fetches: u64 = sums.iter().map(|sum| sum.fetches).sum();
        let bytes = sums.iter().fold(0_u64, |bytes, sum| bytes.saturating_add(sum.bytes));
        warn!(sums = sums.len(), fetches, bytes, "sums came too late for the ledger or found no space in it");
    }
    if let Some(Gap { fetches, bytes, .. }) = shared.derived.take_gap(now) {
        warn!(fetches, bytes, "fetches passed without a record, and no gap in the ledger says so");
    }
}

fn unix_seconds() -> u64 {
    u64::try_from(shared::now_micros() / 1_000_000).unwrap_or(0)
}
