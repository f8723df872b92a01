//! A client's connection: bytes that were read to tell what it speaks come first, and a reader that stopped reading is
//! cut off.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::body::Silence;
use crate::proxy_header;

/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A TCP stream whose first bytes may have been read already.
pub(crate) struct ClientIo {
    stream: TcpStream,
    prefix: BytesMut,
    write_silence: Silence,
    activity: Arc<Activity>,
}

/// How often a connection has moved, for whoever wants to know that it does not. hyper wants what it upgrades to be able
/// to change threads, though here nothing does: so it is shared as if it could.
#[derive(Default)]
pub(crate) struct Activity {
    moves: AtomicU32,
    write_is_blocked: AtomicBool,
}

impl Activity {
    fn moved(&self) {
        // One thread writes, so nothing is lost between the two.
        self.moves.store(self.moves.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        if written.is_ready() {
            self.moved();
        }
        self.write_is_blocked.store(written.is_pending(), Ordering::Relaxed);
    }

    /// Whether something is left to be written for which there was no room.
    pub(crate) fn write_is_blocked(&self) -> bool {
        self.write_is_blocked.load(Ordering::Relaxed)
    }

    /// Waits until nothing has moved for the limit.
    pub(crate) async fn ceased(&self, limit: Duration) {
        loop {
            let seen = self.moves.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.moves.load(Ordering::Relaxed) == seen {
                return;
            }
        }
    }
}

impl ClientIo {
    /// `stall`: how long a write may wait for the client to read.
    pub(crate) fn new(stream: TcpStream, stall: Duration) -> ClientIo {
        let (prefix, activity) = Default::default();
        ClientIo { stream, prefix, write_silence: Silence::new(stall), activity }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Tells a client that it has too many connections, as far as that goes without waiting for it.
    pub(crate) fn refuse(&mut self) {
        const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nConnection: close\r\n\
                                Content-Length: 0\r\n\r\n";
        let _ = self.stream.try_write(ANSWER);
        // A connection that is closed with something unread is reset, and the answer may be lost with it.
        let _ = self.stream.try_read(&mut [0; 4096]);
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.prefix).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Whether the client begins with the HTTP/2 preface; reads no more than it takes to tell.
    pub(crate) async fn speaks_h2(&mut self) -> io::Result<bool> {
        loop {
            let seen = self.prefix.len().min(H2_PREFACE.len());
            if self.prefix[..seen] != H2_PREFACE[..seen] {
                return Ok(false);
            }
            if seen == H2_PREFACE.len() {
                return Ok(true);
            }
            self.read_more().await?;
        }
    }

    /// Reads a PROXY header and tells the client's address; `None` where it names none (`LOCAL`, `UNKNOWN`).
    pub(crate) async fn proxy_header(&mut self) -> io::Result<Option<IpAddr>> {
        loop {
            if let Some((length, address)) = proxy_header::parse(&self.prefix)? {
                self.prefix.advance(length);
                return Ok(address);
            }
            self.read_more().await?;
        }
    }
}

/// The address of a peer, with IPv4 in IPv6 unwrapped.
pub(crate) fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            let read = Pin::new(&mut this.stream).poll_read(cx, buf);
            if read.is_ready() {
                this.activity.moved();
            }
            return read;
        }
        let length = this.prefix.len().min(buf.remaining());
        buf.put_slice(&this.prefix.split_to(length));
        if this.prefix.is_empty() {
            this.prefix = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.activity.wrote(&written);
        this.write_silence.limit_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.activity.wrote(&written);
        this.write_silence.limit_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
