//! One thread's part of the server: what its connections share without a lock.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::acks::AckInbox;
use crate::server::ConnectionGuard;
use crate::shared::Shared;
use crate::upstream::Upstreams;

/// A thread's state.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstreams: Rc<Upstreams>,
    /// Requests that this thread works on at once.
    pub(crate) requests: Arc<Semaphore>,
    /// Where the ledger leaves its answers to this thread's fetches.
    pub(crate) acks: Arc<AckInbox>,
    connections: Cell<usize>,
    ended: Notify,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Worker> {
        let options = &shared.options;
        let upstreams = Rc::new(Upstreams::new(
            shared.sites.len(),
            Arc::clone(&shared.client_tls),
            options.timeouts.upstream,
        ));
        let requests = Arc::new(Semaphore::new(options.limits.requests.div_ceil(options.threads)));
        let acks = Arc::<AckInbox>::default();
        tokio::task::spawn_local(Arc::clone(&acks).hand_out());
        Rc::new(Worker { shared, upstreams, requests, acks, connections: Cell::new(0), ended: Notify::new() })
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
