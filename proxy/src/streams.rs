//! The streams of an HTTP/2 connection, each a task of its own, and an end for those of which nothing is read and for
//! connections whose streams are given up again and again.
//!
//! Flow control lets a client take nothing of a response while its connection is well: the socket takes writes, pings
//! are answered. hyper then just does not poll the body, so no clock within the body can run. Here the task knows that
//! a frame was handed out and that it is the client's turn.
//!
//! A client that resets its streams, or makes us reset them, has its requests sent to the origin and takes no answer, and
//! no limit on what is under way at once ever meets it. h2 counts only those that are reset before they are taken up, and
//! our own resets. Here each task knows whether all of its answer was handed out. hyper takes a frame before it knows that
//! the client has room for it, so a client that resets a stream over its last frame gives up nothing by this count.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tracing::debug;

use crate::body::Body;
use crate::error::BodyError;
use crate::flow::Flow;

/// What a connection writes in vain, such as pings and settings, stays below this in any time limit.
const IDLE_BYTES_MAX: u64 = 1024;
/// A stream may wait for so many time limits while others of its connection move: on a slow line all take turns.
const TURNS_MAX: u32 = 5;

/// The streams of one connection.
pub(crate) struct Streams {
    flow: Rc<Flow>,
    silence: Duration,
    /// The stream whose request has just been handed to the service, until hyper starts its task.
    begun: RefCell<Option<Rc<Stream>>>,
    started: Cell<u64>,
    open: Cell<usize>,
    /// Streams that were given up, less those that were answered since.
    given_up: Cell<usize>,
    another_given_up: Notify,
}

/// Whose turn it is within a stream.
#[derive(Default)]
struct Stream {
    turn: Cell<Turn>,
    /// All of the answer has been handed out, or it failed on our side of the connection.
    over: Cell<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    /// Ours, or the origin's: limits of their own apply.
    #[default]
    Ours,
    /// The client's, since this poll.
    ClientsNow,
    /// The client's, since an earlier poll.
    Clients,
}

impl Streams {
    pub(crate) fn new(flow: Rc<Flow>, silence: Duration) -> Rc<Streams> {
        let (begun, started, open, given_up, another_given_up) = Default::default();
        Rc::new(Streams { flow, silence, begun, started, open, given_up, another_given_up })
    }

    /// The same service; its bodies tell when the client's turn comes.
    pub(crate) fn watch<S>(
        self: &Rc<Self>,
        service: S,
    ) -> impl Service<Request<Incoming>, Response = Response<Watched>, Error = Infallible, Future: 'static> + use<S>
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static>,
    {
        let streams = Rc::clone(self);
        service_fn(move |request| {
            let stream = Rc::<Stream>::default();
            // hyper calls the service and starts the task of the stream without anything in between.
            *streams.begun.borrow_mut() = Some(Rc::clone(&stream));
            let answer = service.call(request);
            async move {
                Ok(answer.await?.map(|body| {
                    stream.over.set(body.is_end_stream());
                    Watched { body, stream }
                }))
            }
        })
    }

    /// Waits until the connection has had nothing to do for the limit: no stream, and next to nothing written.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let (started, written) = (self.started.get(), self.flow.written());
            tokio::time::sleep(limit).await;
            if self.open.get() == 0 && self.started.get() == started && !self.moved_since(written) {
                return;
            }
        }
    }

    /// Waits until so many more streams were given up than answered.
    pub(crate) async fn given_up(&self, limit: usize) {
        while self.given_up.get() < limit {
            self.another_given_up.notified().await;
        }
    }

    fn ended(&self, stream: &Stream) {
        let given_up = self.given_up.get();
        if stream.over.get() {
            self.given_up.set(given_up.saturating_sub(1));
        } else {
            self.given_up.set(given_up + 1);
            self.another_given_up.notify_one();
        }
    }

    fn moved_since(&self, written: u64) -> bool {
        self.flow.written().wrapping_sub(written) >= IDLE_BYTES_MAX
    }

    /// Drives a stream's task to its end, or until its client has taken nothing for too long.
    async fn drive(self: Rc<Self>, stream: Rc<Stream>, task: impl Future) {
        let _open = Open::begin(&self);
        let mut task = pin!(task);
        let mut wait: Option<Wait> = None;
        std::future::poll_fn(|cx| {
            if task.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match stream.turn.get() {
                Turn::Ours => return Poll::Pending,
                Turn::Clients => {}
                Turn::ClientsNow => {
                    stream.turn.set(Turn::Clients);
                    if let Some(wait) = &mut wait {
                        wait.begin(&self);
                    }
                }
            }
            let wait = wait.get_or_insert_with(|| Wait::new(&self));
            wait.poll(&self, cx).map(|()| {
                stream.over.set(false);
                debug!("a stream of which nothing was read is cut");
            })
        })
        .await;
        self.ended(&stream);
    }
}

/// A stream that counts as open, until it ends in whatever way.
struct Open<'s>(&'s Streams);

impl<'s> Open<'s> {
    fn begin(streams: &'s Streams) -> Open<'s> {
        streams.started.set(streams.started.get().wrapping_add(1));
        streams.open.set(streams.open.get() + 1);
        Open(streams)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A client's turn that takes long; the timer is made when it is first needed.
struct Wait {
    timer: Pin<Box<Sleep>>,
    written: u64,
    turns: u32,
}

impl Wait {
    fn new(streams: &Streams) -> Wait {
        let timer = Box::pin(tokio::time::sleep(streams.silence));
        Wait { timer, written: streams.flow.written(), turns: 0 }
    }

    fn begin(&mut self, streams: &Streams) {
        self.timer.as_mut().reset(Instant::now() + streams.silence);
        self.written = streams.flow.written();
        self.turns = 0;
    }

    fn poll(&mut self, streams: &Streams, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.turns + 1 >= TURNS_MAX || !streams.moved_since(self.written) {
                return Poll::Ready(());
            }
            let turns = self.turns + 1;
            self.begin(streams);
            self.turns = turns;
        }
        Poll::Pending
    }
}

/// Starts the tasks of a connection's streams on this thread.
#[derive(Clone)]
pub(crate) struct StreamTasks(pub(crate) Rc<Streams>);

impl<F: Future + 'static> Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        let streams = Rc::clone(&self.0);
        let stream = streams.begun.take().unwrap_or_default();
        tokio::task::spawn_local(streams.drive(stream, task));
    }
}

/// A response body that tells its stream whose turn it is.
pub(crate) struct Watched {
    body: Body,
    stream: Rc<Stream>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.stream.turn.set(if polled.is_pending() { Turn::Ours } else { Turn::ClientsNow });
        this.stream.over.set(match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || this.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
