//! Acknowledgements on their way from the ledger's writer to one thread's fetches.
//!
//! The writer answers a whole batch at once. Waking the thread for each answer would cost it a system call per record; so
//! answers are left in an inbox, and the bell rings only for the first of them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

/// A thread's inbox.
#[derive(Default)]
pub(crate) struct AckInbox {
    arrived: Mutex<Vec<(oneshot::Sender<bool>, bool)>>,
    bell: Notify,
}

impl AckInbox {
    /// Leaves an answer: whether the record is durable. Called on the writer's thread.
    pub(crate) fn leave(&self, waiting: oneshot::Sender<bool>, durable: bool) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push((waiting, durable));
        let first = arrived.len() == 1;
        drop(arrived);
        if first {
            self.bell.notify_one();
        }
    }

    /// Hands answers out to the thread's fetches, as long as the thread runs.
    pub(crate) async fn hand_out(self: Arc<Self>) {
        let mut batch = Vec::new();
        loop {
            self.bell.notified().await;
            std::mem::swap(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner), &mut batch);
            for (waiting, durable) in batch.drain(..) {
                // A fetch whose client has gone does not wait any more.
                let _ = waiting.send(durable);
            }
        }
    }
}
