//! What flows through a connection, counted where nothing else sees it: below HTTP/2's streams, and in tunnels.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Silence;
use crate::frames::Frames;

/// Bytes of a connection so far.
#[derive(Default)]
pub(crate) struct Flow {
    read: Cell<u64>,
    written: Cell<u64>,
    flooded: Cell<bool>,
}

impl Flow {
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Whether reading failed because the client sends too many frames that ask for nothing. h2 keeps of an error only
    /// its text.
    pub(crate) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    fn total(&self) -> u64 {
        self.read.get().wrapping_add(self.written.get())
    }

    /// Drives a future to its end; `None` when nothing flowed for the whole limit.
    pub(crate) async fn unless_silent<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut silence = Silence::new(limit);
        let mut seen = self.total();
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if self.total() != seen {
                seen = self.total();
                silence.broken();
            }
            silence.poll(cx).map(|()| None)
        })
        .await
    }
}

/// A connection whose flow is counted.
pub(crate) struct Counted<I> {
    io: I,
    flow: Rc<Flow>,
    frames: Option<Frames>,
}

impl<I> Counted<I> {
    pub(crate) fn new(io: I, flow: Rc<Flow>) -> Counted<I> {
        Counted { io, flow, frames: None }
    }

    /// The same for an HTTP/2 connection: reading fails when the client sends too many that ask for nothing.
    pub(crate) fn in_frames(io: I, flow: Rc<Flow>) -> Counted<I> {
        Counted { io, flow, frames: Some(Frames::new()) }
    }
}

fn add(count: &Cell<u64>, bytes: usize) {
    count.set(count.get().wrapping_add(bytes as u64));
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        add(&this.flow.read, read.len());
        if let Some(frames) = &mut this.frames
            && !frames.read(read, this.flow.written())
        {
            this.flow.flooded.set(true);
            return Poll::Ready(Err(io::Error::other("too many frames that ask for nothing")));
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> Counted<I> {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            add(&self.flow.written, *bytes);
        }
        written
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.count(written)
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
