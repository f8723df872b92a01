//! Listeners and connections: one current-thread runtime per core, all accepting from the same sockets.
//!
//! A connection stays on the thread that accepted it, with that thread's connections to origins: nothing on the way of
//! a request is shared but the policy, the ledger's queue and counters.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Limit;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::client_io::{self, ClientIo};
use crate::flow::{Counted, Flow};
use crate::http1;
use crate::listen::{self, Bound};
use crate::peer::{NamedSite, Peer};
use crate::stack::Connection;
use crate::streams::{StreamTasks, Streams};
use crate::worker::Worker;

/// How long accepting pauses when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long an HTTP/2 client may take to answer a ping, at most.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How many times all that it may have open an HTTP/2 client may give up, less what it took the answers of: then it is told
/// to go, and after as many again it is cut. People leave pages that load, and with them all that was asked for.
const GIVEN_UP_TIMES: usize = 2;

/// Descriptors for the ledger, the admin listener and the like.
const DESCRIPTORS_KEPT: usize = 64;
/// Descriptors of a thread's runtime and its listeners.
const DESCRIPTORS_PER_THREAD: usize = 8;

/// How long a draining connection that is silent may still bring a request that was on its way: it is answered, as the
/// last one. Closing at once would fail clients that have just used a connection which they had reason to believe in.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// A crawler's fetch is expected as long as this after the last one began, where connections are left. One that falls
/// silent ends after [`LINGER`], or twice that where it has just moved, as it is looked at so often; and somewhat later on
/// a busy machine.
const LAST_FETCH: Duration = Duration::from_millis(2_250);

/// How far the server is with its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// Accept and serve.
    Serving,
    /// Accept nothing, finish what runs.
    Draining,
    /// Nothing runs any more that needs the ledger.
    Metered,
    /// Nothing runs any more.
    Drained,
}

/// Runs one thread's share of all listeners until the phase turns to draining and its connections have ended. `metered`
/// is called when none of them needs the ledger any more.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listeners: Arc<Vec<Bound>>,
    phase: watch::Receiver<Phase>,
    metered: impl FnOnce(),
) {
    let mut accepting = Vec::new();
    for index in 0..listeners.len() {
        let (worker, listeners, phase) = (Rc::clone(&worker), Arc::clone(&listeners), phase.clone());
        accepting.push(tokio::task::spawn_local(async move {
            accept(worker, &listeners[index], phase).await;
        }));
    }
    for task in accepting {
        let _ = task.await;
    }
    // With the last thread's share the sockets close: who connects now is refused, and goes to a successor.
    drop(listeners);
    worker.begin_draining();
    let timeouts = &worker.shared.options.timeouts;
    let begun = tokio::time::Instant::now();
    let drained = async {
        worker.metering_ended(LAST_FETCH).await;
        metered();
        worker.requests_ended().await;
        let tunnels = worker.connections_ended();
        if tokio::time::timeout_at(begun + timeouts.drain_tunnels, tunnels).await.is_err() {
            info!("tunnels were still open at their deadline and are cut");
        }
    };
    if tokio::time::timeout_at(begun + timeouts.drain, drained).await.is_err() {
        warn!("connections were still open at the drain deadline and are cut");
    }
}

async fn accept(worker: Rc<Worker>, bound: &Bound, mut phase: watch::Receiver<Phase>) {
    let listener = bound
        .socket
        .try_clone()
        .and_then(tokio::net::TcpListener::from_std)
        .expect("a bound socket can be registered with a new runtime");
    let slots = Arc::clone(&worker.shared.connections);
    let mut failing = false;
    let mut last_ones = listen::BACKLOG;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        // Who has been let in by the kernel before the drain began would be reset when the socket closes. So these are
        // taken still, but no more than the kernel keeps.
        if *phase.borrow() != Phase::Serving {
            match last_ones.checked_sub(1) {
                Some(left) => last_ones = left,
                None => return,
            }
        }
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                // Not before there is a connection to use it: an idle listener must not sit on the last permit.
                let permit = tokio::select! {
                    biased;
                    permit = Arc::clone(&slots).acquire_owned() => permit.expect("the semaphore is never closed"),
                    _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
                };
                let (worker, phase) = (Rc::clone(&worker), phase.clone());
                let (tls, proxy_protocol) = (bound.tls.clone(), bound.proxy_protocol);
                // Counted from here: a drain must not end before its task has run for the first time.
                let guard = worker.connection_begins(permit);
                tokio::task::spawn_local(async move {
                    if let Err(error) = serve(&worker, stream, peer, tls, proxy_protocol, phase).await {
                        debug!(%error, "connection ended");
                    }
                    drop(guard);
                });
            }
            Err(error) if is_the_clients(&error) => debug!(%error, "a client left before it was accepted"),
            Err(error) => {
                // Out of descriptors or memory: what runs goes on, and accepting must not spin.
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "accept failed: new connections wait");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether `accept` failed for one connection alone; on Linux also with what was wrong with its network (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable | TimedOut
    )
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves a connection to its end. Each stage is on the heap while it lasts: an idle connection should not keep room for
/// what it went through before.
async fn serve(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), Failure> {
    let options = &worker.shared.options;
    // The last segment of a response must not wait for the client's acknowledgement.
    stream.set_nodelay(true)?;
    let address = client_io::canonical(peer);
    let mut peer = Peer::new(address, tls.is_some(), &options.trusted_proxies);
    let mut io = ClientIo::new(stream, options.timeouts.body_silence);
    let activity = io.activity();
    let patience = options.timeouts.request_head;
    if proxy_protocol
        && peer.trusted
        && let Some(client) = Box::pin(introduced(io.proxy_header(), patience, &mut phase)).await?
    {
        peer = Peer::new(client.to_canonical(), peer.https, &options.trusted_proxies);
    }
    let client = match worker.shared.clients.enter(peer.address, peer.trusted) {
        Ok(client) => client,
        Err(limit) => {
            worker.shared.telemetry.shed(limit);
            if tls.is_none() {
                io.refuse();
            }
            return Err("this client has as many connections as it may have".into());
        }
    };
    match tls {
        Some(acceptor) => {
            let io = Box::new(Box::pin(introduced(acceptor.accept(io), patience, &mut phase)).await?);
            let session = io.get_ref().1;
            if let Some(name) = session.server_name() {
                let site = worker.shared.sites.origin(&name.to_ascii_lowercase());
                peer.named_site = site.map_or(NamedSite::Unknown, |origin| NamedSite::One(origin.id));
            }
            let h2 = session.alpn_protocol() == Some(b"h2");
            let connection = Connection { worker: Rc::clone(worker), peer, client };
            if h2 {
                Box::pin(speak_h2(connection, io, phase)).await
            } else {
                Box::pin(http1::speak(connection, io, activity, phase)).await
            }
        }
        None => {
            let h2 = Box::pin(introduced(io.speaks_h2(), patience, &mut phase)).await?;
            let connection = Connection { worker: Rc::clone(worker), peer, client };
            if h2 {
                Box::pin(speak_h2(connection, io, phase)).await
            } else {
                Box::pin(http1::speak(connection, io, activity, phase)).await
            }
        }
    }
}

/// What comes before the first request. A client that says nothing when draining begins has nothing to lose.
async fn introduced<T>(
    step: impl Future<Output = io::Result<T>>,
    patience: Duration,
    phase: &mut watch::Receiver<Phase>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        step = tokio::time::timeout(patience, step) => Ok(step??),
        () = drains(phase, tokio::time::sleep(LINGER)) => Err("closed to drain".into()),
    }
}

/// Draining has begun, and then this has passed.
pub(crate) async fn drains(phase: &mut watch::Receiver<Phase>, then: impl Future<Output = ()>) {
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    then.await;
}

async fn speak_h2<I>(connection: Connection, io: I, mut phase: watch::Receiver<Phase>) -> Result<(), Failure>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (limits, timeouts) = connection.limits();
    let flow = Rc::<Flow>::default();
    let streams = Streams::new(Rc::clone(&flow), timeouts.body_silence);
    let mut builder = http2::Builder::new(StreamTasks(Rc::clone(&streams)));
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(timeouts.request_head)
        .keep_alive_timeout(timeouts.request_head.min(PING_PATIENCE));
    let io = TokioIo::new(Counted::in_frames(io, Rc::clone(&flow)));
    let worker = Rc::clone(&connection.worker);
    let telemetry = &worker.shared.telemetry;
    let service = streams.watch(Connection::service(&Rc::new(connection)));
    let connection = pin!(builder.serve_connection(io, service));
    let given_up = GIVEN_UP_TIMES * limits.streams_per_connection as usize;
    // GOAWAY loses no request: the client is told which streams are served.
    let leave = async {
        tokio::select! {
            biased;
            () = drains(&mut phase, std::future::ready(())) => {}
            () = streams.idle(timeouts.request_head) => {}
            () = streams.given_up(given_up) => telemetry.shed(Limit::ConnectionGivenUp),
        }
    };
    // A client that never acknowledges it goes on opening streams.
    let stuck = async {
        tokio::select! {
            biased;
            () = streams.idle(timeouts.body_silence) => "the client leaves unread what it was sent",
            () = streams.given_up(2 * given_up) => "the client gives up what it asks for again and again",
        }
    };
    let ended = until_drained(connection, leave, |connection| connection.graceful_shutdown(), stuck).await;
    if flow.flooded() {
        telemetry.shed(Limit::ConnectionFrames);
    }
    ended
}

/// Drives a connection; when it is to leave, it is told to finish what it has begun. `stuck` says when, and why, it never
/// will.
async fn until_drained<C>(
    mut connection: std::pin::Pin<&mut C>,
    leave: impl Future<Output = ()>,
    finish: impl FnOnce(std::pin::Pin<&mut C>),
    stuck: impl Future<Output = &'static str>,
) -> Result<(), Failure>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = leave => {}
    }
    finish(connection.as_mut());
    tokio::select! {
        biased;
        ended = connection => Ok(ended?),
        why = stuck => Err(why.into()),
    }
}

/// The connections of a process, counted: a permit each. Of the descriptors that the system gives, a quarter stays for
/// connections to origins: whoever is served must not fail for want of one because others knock.
pub(crate) fn connection_slots(configured: usize, threads: usize) -> Arc<Semaphore> {
    let given = descriptors();
    let left = given.saturating_sub(DESCRIPTORS_KEPT + threads * DESCRIPTORS_PER_THREAD);
    let slots = configured.min(left - left / 4).max(1);
    if slots < configured {
        warn!(
            configured,
            slots,
            descriptors = given,
            "fewer connections than configured: raise the limit of open files"
        );
    }
    Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)))
}

/// How many descriptors this process may have, after asking for as many as it can get.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let given = if raised.is_ok() { limit.maximum } else { limit.current };
    given.map_or(usize::MAX, |given| usize::try_from(given).unwrap_or(usize::MAX))
}

/// What a connection holds while it lasts.
pub(crate) struct ConnectionGuard {
    _permit: OwnedSemaphorePermit,
    worker: Rc<Worker>,
}

impl ConnectionGuard {
    pub(crate) fn new(permit: OwnedSemaphorePermit, worker: Rc<Worker>) -> ConnectionGuard {
        ConnectionGuard { _permit: permit, worker }
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.worker.connection_ended();
    }
}
