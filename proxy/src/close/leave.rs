//! Whether the rest of a delivery may leave: what was closed waits here for its record to be durable.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use policy::{Currency, Money};
use tokio::sync::oneshot;

use crate::closer::Answer;

/// What the rest of a delivery waits for.
pub(crate) struct Closed {
    /// The answer of the ledger, where an entry is appended.
    pub(super) answer: Option<oneshot::Receiver<Answer>>,
    pub(super) currency: Currency,
    /// Whether what it costs will be billed; else it is paid.
    pub(super) on_account: bool,
}

/// How a delivery may go on.
pub(crate) enum Leave {
    /// It may, and this is owed for it, if anything.
    Yes { owed: Option<Money> },
    /// It may not: money is owed for it and the record is not on disk.
    No,
}

impl Closed {
    /// Waits until it is known whether the rest of the response may leave. Ready once.
    pub(crate) fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Leave> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Leave::Yes { owed: None }) };
        let answer = ready!(Pin::new(answer).poll(cx));
        self.answer = None;
        Poll::Ready(match answer {
            Ok(Answer { durable, amount_nano: 1.. }) if !durable => Leave::No,
            // What owes nothing is not held hostage by a full disk; it was counted as unmetered.
            Ok(Answer { durable, amount_nano }) => {
                let money = Money { nano: amount_nano, currency: self.currency };
                Leave::Yes { owed: (durable && amount_nano > 0 && self.on_account).then_some(money) }
            }
            // Whoever would have answered is gone, thread or panicked callback, and nobody knows what is owed.
            Err(_) => Leave::No,
        })
    }

    /// The same, for the one who can wait.
    pub(crate) async fn leave(&mut self) -> Leave {
        std::future::poll_fn(|cx| self.poll_leave(cx)).await
    }
}
