//! Bodies: from client to origin, from origin to client, and held ones that leave with their head in one write.
//!
//! Nothing here buffers more than one frame: when the reader is slow hyper stops polling, and the sender is not read.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::BodyError;
use crate::headers;
use crate::hold::Share;
use crate::metered::MeteredBody;
use crate::upstream::Lease;

/// A response body on its way to a client.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// Our own words.
    Text(Bytes),
    /// A whole body that was held until its record was durable, with its share of what may be held until it has left.
    Held { frames: VecDeque<Frame<Bytes>>, _share: Option<Share> },
    /// An origin's body that is not metered.
    Pass(Box<OriginBody>),
    /// An origin's body that is metered as it streams.
    Metered(Box<MeteredBody>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Body::Empty => Poll::Ready(None),
            Body::Text(text) => {
                let text = std::mem::take(text);
                *this = Body::Empty;
                Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))))
            }
            Body::Held { frames, .. } => Poll::Ready(frames.pop_front().map(Ok)),
            Body::Pass(body) => Pin::new(&mut **body).poll_frame(cx),
            Body::Metered(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Text(text) => text.is_empty(),
            Body::Held { frames, .. } => frames.is_empty(),
            Body::Pass(body) => body.is_end_stream(),
            Body::Metered(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Text(text) => SizeHint::with_exact(text.len() as u64),
            // With trailers the body must be chunked, and hyper chunks only what has no exact size.
            Body::Held { frames, .. } if frames.iter().any(Frame::is_trailers) => SizeHint::default(),
            Body::Held { frames, .. } => SizeHint::with_exact(data_bytes(frames)),
            Body::Pass(body) => body.size_hint(),
            Body::Metered(body) => body.size_hint(),
        }
    }
}

/// Bytes of data in frames.
pub(crate) fn data_bytes<'a>(frames: impl IntoIterator<Item = &'a Frame<Bytes>>) -> u64 {
    frames.into_iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
}

/// A deadline that starts anew with each sign of life; it costs a timer only while somebody waits.
pub(crate) struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

impl Silence {
    pub(crate) fn new(limit: Duration) -> Silence {
        Silence { limit, timer: None, moved: true }
    }

    /// Something came: the time starts again at the next wait.
    pub(crate) fn broken(&mut self) {
        self.moved = true;
    }

    /// Waits: ready when nothing came for the whole limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if std::mem::take(&mut self.moved) {
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx)
    }

    /// An error in place of a write that waits for longer than the limit.
    pub(crate) fn limit_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(done) => {
                self.broken();
                Poll::Ready(done)
            }
            Poll::Pending => self.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// How far a request body is on its way, for whoever waits for the answer.
pub(crate) struct Upload {
    /// Since when it is the origin's turn: to take the next frame, or to answer. `None` while the client is waited for.
    origins_turn: Cell<Option<Instant>>,
    ended: Cell<bool>,
}

impl Upload {
    /// Whether hyper needs nothing more of the body: all of it is sent, or none of the rest ever will be.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Waits until it has been the origin's turn, from now on, for the whole limit.
    pub(crate) async fn unanswered(&self, limit: Duration) {
        self.origins_turn.set(Some(Instant::now()));
        loop {
            let since = self.origins_turn.get();
            tokio::time::sleep_until(since.unwrap_or_else(Instant::now) + limit).await;
            if since.is_some() && self.origins_turn.get() == since {
                return;
            }
        }
    }
}

/// The body's own end of an [`Upload`]: hyper drops a body as soon as it needs no more of it.
pub(crate) struct Sending(Rc<Upload>);

impl Sending {
    fn begin() -> Sending {
        Sending(Rc::new(Upload { origins_turn: Cell::new(None), ended: Cell::new(false) }))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.origins_turn.set(Some(Instant::now()));
        self.0.ended.set(true);
    }
}

/// A client's request body on its way to the origin.
pub(crate) enum RequestBody {
    Empty,
    Client { body: Incoming, silence: Silence, sending: Sending },
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, silence: Duration) -> RequestBody {
        if body.is_end_stream() {
            RequestBody::Empty
        } else {
            RequestBody::Client { body, silence: Silence::new(silence), sending: Sending::begin() }
        }
    }

    /// What can be seen of it when hyper has it; nothing where there is no body.
    pub(crate) fn upload(&self) -> Option<Rc<Upload>> {
        match self {
            RequestBody::Empty => None,
            RequestBody::Client { sending, .. } => Some(Rc::clone(&sending.0)),
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Client { body, silence, sending } => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => {
                    silence.broken();
                    sending.0.origins_turn.set(Some(Instant::now()));
                    Poll::Ready(frame.map(|frame| Ok(checked(frame?))))
                }
                Poll::Pending => {
                    sending.0.origins_turn.set(None);
                    silence.poll(cx).map(|()| Some(Err(BodyError::Silent)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Client { body, .. } => body.size_hint(),
        }
    }
}

/// A frame of which nothing can act as part of a head.
fn checked(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::strip_trailers(trailers);
    }
    frame
}

/// An origin's response body; gives its connection back when it ended cleanly.
pub(crate) struct OriginBody {
    body: Incoming,
    lease: Option<Lease>,
    silence: Silence,
}

impl OriginBody {
    pub(crate) fn new(body: Incoming, lease: Lease, silence: Duration) -> OriginBody {
        let mut origin = OriginBody { body, lease: Some(lease), silence: Silence::new(silence) };
        origin.give_back_if_ended();
        origin
    }

    fn give_back_if_ended(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl HttpBody for OriginBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.silence.poll(cx));
                this.lease = None;
                return Poll::Ready(Some(Err(BodyError::Silent)));
            }
        };
        this.silence.broken();
        match &frame {
            // `None` is a clean end; an error leaves the connection to be dropped.
            None => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
            Some(Ok(_)) => this.give_back_if_ended(),
            Some(Err(_)) => this.lease = None,
        }
        Poll::Ready(frame.map(|frame| Ok(checked(frame?))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
