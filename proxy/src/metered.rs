//! A metered body that streams: every frame is counted as it leaves, and the newest one is kept back, so that the body
//! cannot end before its record is durable.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::Outcome;

use crate::body::{OriginBody, Silence, data_bytes};
use crate::close::{Closed, Leave, OpenFetch};
use crate::error::BodyError;
use crate::fetch;

/// A frame is kept back this long at most while the origin is silent; then the next one is kept instead.
const KEPT_SILENCE_MAX: Duration = Duration::from_secs(1);

/// An origin's body on its way to a crawler.
pub(crate) struct MeteredBody {
    open: Box<OpenFetch>,
    origin: OriginBody,
    /// Frames that were collected while the body might still have fitted the hold, then the one that is kept back.
    kept: VecDeque<Frame<Bytes>>,
    keeps: bool,
    silence: Silence,
    state: State,
}

enum State {
    Streaming,
    /// The origin's body has ended; the last frame waits for the acknowledgement.
    Closing(Closed),
    Done,
}

impl MeteredBody {
    pub(crate) fn new(
        open: Box<OpenFetch>,
        collected: VecDeque<Frame<Bytes>>,
        origin: OriginBody,
    ) -> MeteredBody {
        let keeps = open.awaits_entry() && !open.is_event_stream();
        MeteredBody {
            open,
            origin,
            kept: collected,
            keeps,
            silence: Silence::new(KEPT_SILENCE_MAX),
            state: State::Streaming,
        }
    }

    /// The oldest frame leaves.
    fn leave(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.kept.pop_front()?;
        if let Some(data) = frame.data_ref() {
            self.open.observe(data);
        }
        Some(frame)
    }

    fn poll_streaming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.kept.len() > usize::from(self.keeps) {
                let frame = self.leave();
                // hyper does not ask again once a declared length is full: what is not kept back closes here.
                if !self.keeps && self.kept.is_empty() && self.origin.is_end_stream() {
                    self.close();
                }
                return Poll::Ready(frame.map(Ok));
            }
            if self.origin.is_end_stream() {
                self.close();
                return Poll::Pending;
            }
            match Pin::new(&mut self.origin).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence.broken();
                    self.kept.push_back(frame);
                }
                Poll::Ready(None) => {
                    self.close();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.state = State::Done;
                    self.kept.clear();
                    self.open.close(Outcome::Truncated);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending if self.kept.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.silence.poll(cx));
                    self.silence.broken();
                    return Poll::Ready(self.leave().map(Ok));
                }
            }
        }
    }

    /// The body has ended: what is kept back is part of what is delivered, and of its digest.
    fn close(&mut self) {
        for data in self.kept.iter().filter_map(Frame::data_ref) {
            self.open.observe(data);
        }
        let status = self.open.status();
        self.state = State::Closing(self.open.close(fetch::whole(status)));
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Streaming => match this.poll_streaming(cx) {
                    // Closing began: its wait registers the waker.
                    Poll::Pending if !matches!(this.state, State::Streaming) => {}
                    polled => return polled,
                },
                State::Closing(closed) => {
                    let leave = ready!(closed.poll_leave(cx));
                    this.state = State::Done;
                    if matches!(leave, Leave::No) {
                        this.kept.clear();
                        return Poll::Ready(Some(Err(BodyError::Unrecorded)));
                    }
                }
                State::Done => return Poll::Ready(this.kept.pop_front().map(Ok)),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done) && self.kept.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let kept = data_bytes(&self.kept);
        let origin = self.origin.size_hint();
        let mut hint = SizeHint::default();
        hint.set_lower(origin.lower() + kept);
        if let Some(upper) = origin.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}
