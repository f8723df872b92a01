//! HTTP/1.1 to a client, whose connection lies idle most of the time.
//!
//! What hyper has for a connection, some 20 KiB of buffers and tables, is of use while a message is under way. A
//! connection that has waited for its next request for a moment is put to rest: hyper's part is taken apart, and what
//! stays is the socket with its TLS session, its place among its client's connections, and the time by which the next
//! request head must be there. With the next byte hyper gets it again. Bytes that it had read and not used come first.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::body::Body;
use crate::client_io::{Activity, ClientIo};
use crate::server::{Failure, LINGER, Phase, drains};
use crate::stack::Connection;

/// How long a connection waits for its next request before it is put to rest. One that is busy never is and pays nothing;
/// and what is not at rest yet can be no more than what was active within this time.
const REST_AFTER: Duration = Duration::from_millis(250);

/// Speaks HTTP/1.1 until either side has had enough.
pub(crate) async fn speak<I: OverTcp>(
    connection: Connection,
    io: I,
    activity: Arc<Activity>,
    mut phase: watch::Receiver<Phase>,
) -> Result<(), Failure> {
    let (limits, timeouts) = connection.limits();
    let connection = Rc::new(connection);
    let waiting = Arc::<Waiting>::default();
    let mut quiet = pin!(drains(&mut phase, activity.ceased(LINGER)).fuse());
    let mut clock = pin!(tokio::time::sleep(REST_AFTER));
    let mut io = Again { first: Bytes::new(), io };
    loop {
        let mut hyper = Box::new(
            http1::Builder::new()
                .timer(HeadTimer(Arc::clone(&waiting)))
                .header_read_timeout(timeouts.request_head)
                .preserve_header_case(true)
                .auto_date_header(false)
                .max_headers(limits.headers)
                .max_buf_size(limits.head_bytes.max(8192))
                .serve_connection(TokioIo::new(io), Connection::service(&connection))
                .with_upgrades(),
        );
        let rests = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut *hyper).poll(cx) {
                    return Poll::Ready(ended.map(|()| None).map_err(Failure::from));
                }
                if quiet.as_mut().poll(cx).is_pending() {
                    break;
                }
                Pin::new(&mut *hyper).graceful_shutdown();
            }
            // The clock runs on while messages are under way, and is asked only when none is: it goes off a few times a
            // second at most, which costs less than a timer that each request sets up and takes down.
            while let Some(wait) = waiting.state().wait {
                // What is still on its way to a slow reader has a limit of its own, and this task wakes when it has left.
                if activity.write_is_blocked() {
                    break;
                }
                let may_rest = wait.may_rest && !quiet.is_terminated();
                let rest_at = wait.since + REST_AFTER;
                let look_at = if may_rest { rest_at.min(wait.head_by) } else { wait.head_by };
                if clock.deadline().into_std() > look_at {
                    clock.as_mut().reset(look_at.into());
                }
                ready!(clock.as_mut().poll(cx));
                let now = Instant::now();
                if now >= wait.head_by {
                    return Poll::Ready(Err("no request head came in time".into()));
                }
                if may_rest && now >= rest_at {
                    return Poll::Ready(Ok(Some(wait)));
                }
                clock.as_mut().reset(look_at.into());
            }
            Poll::Pending
        });
        let Some(wait) = rests.await? else { return Ok(()) };
        let Some(resting) = take_apart(hyper) else { return Ok(()) };
        io = resting;
        let nothing_read = io.first.is_empty();
        if nothing_read {
            clock.as_mut().reset(wait.head_by.into());
            let over = tokio::select! {
                biased;
                () = io.io.readable() => None,
                () = quiet.as_mut() => Some(Ok(())),
                () = clock.as_mut() => Some(Err("no request came in time".into())),
            };
            if let Some(over) = over {
                io.io.shutdown().await?;
                return over;
            }
        }
        clock.as_mut().reset((Instant::now() + REST_AFTER).into());
        waiting.state().resumed = Some(Resumed { head_by: wait.head_by, may_rest: nothing_read });
    }
}

/// The connection that hyper had, with what hyper has read and not used; nothing else is left of hyper, which is why this
/// is a function. `None` if the connection has changed to another protocol and is hyper's no more.
#[allow(clippy::boxed_local)] // The box is given back here as well.
fn take_apart<I, S>(hyper: Box<UpgradeableConnection<TokioIo<Again<I>>, S>>) -> Option<Again<I>>
where
    I: OverTcp,
    S: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    let parts = hyper.into_parts()?;
    let mut again = parts.io.into_inner();
    debug_assert!(again.first.is_empty(), "who waits for a head has read all that there was");
    if !parts.read_buf.is_empty() {
        again.first = parts.read_buf;
    }
    Some(again)
}

/// What HTTP is spoken over: there is a TCP connection below.
pub(crate) trait OverTcp: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;

    /// Waits until the client has sent something, or has left. Only for whoever has read everything before.
    fn readable(&self) -> impl Future<Output = ()> {
        std::future::poll_fn(|cx| self.tcp().poll_read_ready(cx).map(drop))
    }
}

impl OverTcp for ClientIo {
    fn tcp(&self) -> &TcpStream {
        self.stream()
    }
}

/// On the heap: a session is large, and the connection is moved to hyper and back.
impl OverTcp for Box<tokio_rustls::server::TlsStream<ClientIo>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.stream()
    }
}

/// Whether hyper waits for a request head. It says so by a timer, which it has for as long as it does, and for nothing
/// else: then no message is under way. Shared as if threads could change, because hyper wants its timers so.
#[derive(Default)]
struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    wait: Option<Wait>,
    resumed: Option<Resumed>,
}

#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    head_by: Instant,
    may_rest: bool,
}

/// What holds for the first head after a rest: it has no more time than if there had been no rest, and a client that sends
/// it in small pieces is not put to rest between them.
struct Resumed {
    head_by: Instant,
    may_rest: bool,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, head_by: Instant) {
        let mut state = self.state();
        let resumed = state.resumed.take().unwrap_or(Resumed { head_by, may_rest: true });
        state.wait =
            Some(Wait { since: Instant::now(), head_by: resumed.head_by, may_rest: resumed.may_rest });
    }
}

/// hyper's timer for request heads, which never goes off: [`speak`] looks at the clock.
struct HeadTimer(Arc<Waiting>);

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.begin(deadline);
        Box::pin(HeadSleep(Arc::clone(&self.0)))
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.0.begin(deadline);
    }
}

struct HeadSleep(Arc<Waiting>);

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for HeadSleep {
    fn drop(&mut self) {
        self.0.state().wait = None;
    }
}

/// A connection of which some bytes were read already, and are read again first.
struct Again<I> {
    first: Bytes,
    io: I,
}

impl<I: AsyncRead + Unpin> AsyncRead for Again<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let length = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first[..length]);
        this.first.advance(length);
        if this.first.is_empty() {
            this.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Again<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
