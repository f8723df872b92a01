//! One thread's part of the server: what its connections share without a lock.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use metrics::Limit;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::clients::{Begun, Client};
use crate::closer::Closer;
use crate::server::ConnectionGuard;
use crate::shared::Shared;
use crate::upstream::{Origin, Upstreams};

/// A thread's state.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Rc<Upstreams>,
    /// This thread's way into the ledger.
    pub(crate) closer: Rc<Closer>,
    connections: Cell<usize>,
    /// Requests that this thread works on, until their response heads: in all, and at each site's origin.
    requests: Cell<usize>,
    requests_at: Box<[Cell<usize>]>,
    requests_max: usize,
    requests_at_max: usize,
    ended: Notify,
}

/// One of so many; given back when dropped.
pub(crate) struct Turn<'w>(&'w Cell<usize>);

impl<'w> Turn<'w> {
    fn take(taken: &'w Cell<usize>, max: usize) -> Option<Turn<'w>> {
        (taken.get() < max).then(|| {
            taken.set(taken.get() + 1);
            Turn(taken)
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Worker> {
        let options = &shared.options;
        let upstreams = Rc::new(Upstreams::new(
            shared.sites.origins(),
            Arc::clone(&shared.client_tls),
            options.timeouts.upstream,
        ));
        let (requests_at, threads) =
            (vec![Cell::new(0); shared.sites.origins().len()].into(), options.threads);
        Rc::new(Worker {
            upstreams,
            closer: Closer::start(&shared),
            connections: Cell::new(0),
            requests: Cell::new(0),
            requests_at,
            requests_max: options.limits.requests.div_ceil(threads),
            requests_at_max: options.limits.requests_per_site.div_ceil(threads),
            ended: Notify::new(),
            shared,
        })
    }

    /// A request begins, unless there is too much under way.
    pub(crate) fn begin_request<'w>(&'w self, client: &'w Client) -> Result<(Turn<'w>, Begun<'w>), Limit> {
        if self.shared.memory.is_scarce() {
            return Err(Limit::Memory);
        }
        let turn = Turn::take(&self.requests, self.requests_max).ok_or(Limit::Requests)?;
        Ok((turn, client.begin_request()?))
    }

    /// A request goes to an origin, unless too many wait there: one that hangs must not take everybody's turns.
    pub(crate) fn begin_at(&self, origin: &Origin) -> Result<Turn<'_>, Limit> {
        Turn::take(&self.requests_at[origin.id], self.requests_at_max).ok_or(Limit::SiteRequests)
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

    /// Waits until no connection is left.
    pub(crate) async fn connections_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.connections.get() == 0 {
                return;
            }
            ended.await;
        }
    }
}
