//! One thread's part of the server: what its connections share without a lock.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Limit;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::clients::{Begun, Client};
use crate::closer::Closer;
use crate::evidence::signature;
use crate::server::ConnectionGuard;
use crate::shared::Shared;
use crate::turns::Turn;
use crate::upstream::{Origin, Upstreams};

/// How often a draining thread looks whether metering has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A thread's state.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Rc<Upstreams>,
    /// This thread's way into the ledger.
    pub(crate) closer: Rc<Closer>,
    /// The signatures that this thread has verified.
    pub(crate) signatures: signature::Memory,
    connections: Cell<usize>,
    /// Turns of its own that this thread's requests have taken, until their response heads: in all, and at each site's
    /// origin.
    requests: Cell<usize>,
    requests_at: Box<[Cell<usize>]>,
    /// How many of the connections are tunnels.
    tunnels: Cell<usize>,
    /// Fetches of crawlers that have begun, and those of them that are still under way.
    metered: Cell<(u64, usize)>,
    draining: Cell<bool>,
    ended: Notify,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Worker> {
        let options = &shared.options;
        let upstreams = Rc::new(Upstreams::new(
            shared.sites.origins(),
            Arc::clone(&shared.client_tls),
            options.timeouts.upstream,
        ));
        let requests_at = vec![Cell::new(0); shared.sites.origins().len()].into();
        Rc::new(Worker {
            upstreams,
            closer: Closer::start(&shared),
            signatures: signature::Memory::new(),
            connections: Cell::new(0),
            tunnels: Cell::new(0),
            metered: Cell::default(),
            draining: Cell::new(false),
            requests: Cell::new(0),
            requests_at,
            ended: Notify::new(),
            shared,
        })
    }

    /// A request begins, unless there is too much under way.
    pub(crate) fn begin_request<'w>(&'w self, client: &'w Client) -> Result<(Turn<'w>, Begun<'w>), Limit> {
        if self.shared.memory.is_scarce() {
            return Err(Limit::Memory);
        }
        let turn = self.shared.requests.take(&self.requests).ok_or(Limit::Requests)?;
        Ok((turn, client.begin_request()?))
    }

    /// A request goes to an origin, unless too many wait there: one that hangs must not take everybody's turns.
    pub(crate) fn begin_at(&self, origin: &Origin) -> Result<Turn<'_>, Limit> {
        self.shared.requests_at[origin.id].take(&self.requests_at[origin.id]).ok_or(Limit::SiteRequests)
    }

    pub(crate) fn connection_begins(self: &Rc<Self>, permit: OwnedSemaphorePermit) -> ConnectionGuard {
        self.connections.set(self.connections.get() + 1);
        self.shared.telemetry.connection_opened();
        ConnectionGuard::new(permit, Rc::clone(self))
    }

    pub(crate) fn connection_ended(&self) {
        self.connections.set(self.connections.get() - 1);
        self.shared.telemetry.connection_closed();
        self.ended.notify_waiters();
    }

    /// A connection becomes a tunnel: it has no more requests, and nobody can ask its two ends to finish.
    pub(crate) fn tunnel_begins(self: &Rc<Self>, permit: OwnedSemaphorePermit) -> TunnelGuard {
        self.tunnels.set(self.tunnels.get() + 1);
        TunnelGuard(self.connection_begins(permit))
    }

    /// A crawler's fetch begins, or a part of it that needs the ledger.
    pub(crate) fn metered_begins(self: &Rc<Self>) -> MeteredGuard {
        let (begun, open) = self.metered.get();
        self.metered.set((begun + 1, open + 1));
        MeteredGuard(Rc::clone(self))
    }

    pub(crate) fn begin_draining(&self) {
        self.draining.set(true);
    }

    /// Whether the answer to a request is the last one on its connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until no connection but tunnels is left.
    pub(crate) async fn requests_ended(&self) {
        self.only_left(|worker| worker.connections.get() == worker.tunnels.get()).await;
    }

    /// Waits until no connection is left.
    pub(crate) async fn connections_ended(&self) {
        self.only_left(|worker| worker.connections.get() == 0).await;
    }

    async fn only_left(&self, done: impl Fn(&Worker) -> bool) {
        loop {
            let ended = self.ended.notified();
            if done(self) {
                return;
            }
            ended.await;
        }
    }

    /// Waits until no fetch of a crawler is under way and none can be expected: no connection is left that could bring one,
    /// or none has begun for so long that only connections are left which are busy with something else.
    pub(crate) async fn metering_ended(&self, patience: Duration) {
        let mut seen = self.metered.get();
        let mut since = Instant::now();
        loop {
            let now = self.metered.get();
            if now.1 == 0 && self.connections.get() == self.tunnels.get() {
                break;
            }
            if now.1 > 0 || now != seen {
                (seen, since) = (now, Instant::now());
            }
            if since.elapsed() >= patience {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        // What ended in this very turn is still to be handed in.
        self.closer.append_ended();
    }
}

/// A tunnel, while it lasts.
pub(crate) struct TunnelGuard(ConnectionGuard);

impl Drop for TunnelGuard {
    fn drop(&mut self) {
        let tunnels = &self.0.worker().tunnels;
        tunnels.set(tunnels.get() - 1);
    }
}

/// A crawler's fetch, while it may need the ledger.
pub(crate) struct MeteredGuard(Rc<Worker>);

impl Drop for MeteredGuard {
    fn drop(&mut self) {
        let (begun, open) = self.0.metered.get();
        self.0.metered.set((begun, open - 1));
    }
}
