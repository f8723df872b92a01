//! The part of a connection to an origin that reads and writes, driven by the fetch that has the connection.
//!
//! hyper would have it in a task of its own. Each step of a fetch would then wake that task, which would wake the fetch's,
//! and both would wait for their turn; that took a tenth of a small request's time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often a poll goes round while its two ends wake each other; then the thread's other tasks get their turn.
const ROUNDS_MAX: usize = 8;

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// The reading and writing half of one connection.
pub(super) struct Driver {
    /// `None` once it has ended, or has been detached.
    connection: Option<Connection>,
    detached: bool,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What the connection and its request wake. Only from outside is it passed on: while the fetch polls, it sees for itself.
#[derive(Default)]
struct Bell {
    polling: AtomicBool,
    rung: AtomicBool,
    fetch: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        if !self.polling.load(Ordering::Acquire) {
            self.fetch.wake();
        }
    }
}

impl Driver {
    pub(super) fn new(connection: impl Future<Output = hyper::Result<()>> + 'static) -> Driver {
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        Driver { connection: Some(Box::pin(connection)), detached: false, bell, waker }
    }

    /// Polls what only this connection can make ready: an answer, the next frame of its body.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.detached {
            return wanted(cx);
        }
        self.bell.fetch.register(cx.waker());
        self.bell.polling.store(true, Ordering::Release);
        let waker = self.waker.clone();
        let mut heard = Context::from_waker(&waker);
        let mut polled = Poll::Pending;
        for _ in 0..ROUNDS_MAX {
            self.bell.rung.store(false, Ordering::Release);
            polled = wanted(&mut heard);
            if polled.is_ready() {
                break;
            }
            self.step(&mut heard);
            if !self.bell.rung.load(Ordering::Acquire) {
                break;
            }
        }
        self.bell.polling.store(false, Ordering::Release);
        if polled.is_pending() && self.bell.rung.load(Ordering::Acquire) {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Takes note of what has come on an idle connection, without waiting for more: an end, or bytes that nobody asked for,
    /// end it.
    pub(super) fn look(&mut self) {
        // Whoever had the connection before has no part in it any more.
        self.bell.fetch.take();
        // Without a limit on how much may be polled in a turn: this must see what there is.
        let step = tokio::task::coop::unconstrained(std::future::poll_fn(|cx| {
            self.step(cx);
            Poll::Ready(())
        }));
        let _ = std::pin::pin!(step).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// From now on it is a task: for who reads and writes at the same time, and may stop doing one of them.
    pub(super) fn detach(&mut self) {
        self.detached = true;
        if let Some(connection) = self.connection.take() {
            tokio::task::spawn_local(connection);
        }
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached
    }

    fn step(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // An error reaches whoever waits for the answer or its body.
            self.connection = None;
        }
    }
}
