//! A client's connection: bytes that were read to tell what it speaks come first, and a reader that stopped reading is
//! cut off.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::body::Silence;

/// How HTTP/2 with prior knowledge begins (RFC 9113 §3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest PROXY header that is read: v1 has at most 107 bytes, v2 16 and what its length says.
pub(crate) const PROXY_HEADER_BYTES_MAX: usize = 1024;

/// A TCP stream whose first bytes may have been read already.
pub(crate) struct ClientIo {
    stream: TcpStream,
    prefix: BytesMut,
    write_silence: Silence,
}

impl ClientIo {
    /// `stall`: how long a write may wait for the client to read.
    pub(crate) fn new(stream: TcpStream, stall: Duration) -> ClientIo {
        ClientIo { stream, prefix: BytesMut::new(), write_silence: Silence::new(stall) }
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

    /// Reads a PROXY header (v1 or v2) and tells the client's address; `None` where it names none (`LOCAL`, `UNKNOWN`).
    pub(crate) async fn proxy_header(&mut self) -> io::Result<Option<IpAddr>> {
        loop {
            if !self.prefix.is_empty() {
                let header = ppp::HeaderResult::parse(&self.prefix);
                if !ppp::PartialResult::is_incomplete(&header) {
                    let (length, address) = proxy_address(&header)?;
                    self.prefix.advance(length);
                    return Ok(address);
                }
            }
            if self.prefix.len() > PROXY_HEADER_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the PROXY header is too long"));
            }
            self.read_more().await?;
        }
    }
}

fn proxy_address(header: &ppp::HeaderResult<'_>) -> io::Result<(usize, Option<IpAddr>)> {
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    match header {
        ppp::HeaderResult::V1(header) => {
            let header = header.as_ref().map_err(|error| invalid(error.to_string()))?;
            let address = match header.addresses {
                ppp::v1::Addresses::Tcp4(tcp) => Some(IpAddr::V4(tcp.source_address)),
                ppp::v1::Addresses::Tcp6(tcp) => Some(IpAddr::V6(tcp.source_address)),
                ppp::v1::Addresses::Unknown => None,
            };
            Ok((header.header.len(), address))
        }
        ppp::HeaderResult::V2(header) => {
            let header = header.as_ref().map_err(|error| invalid(error.to_string()))?;
            let address = match header.addresses {
                ppp::v2::Addresses::IPv4(pair) => Some(IpAddr::V4(pair.source_address)),
                ppp::v2::Addresses::IPv6(pair) => Some(IpAddr::V6(pair.source_address)),
                _ => None,
            };
            // `LOCAL` is the proxy's own health check: whatever address it carries means nothing.
            let local = header.command == ppp::v2::Command::Local;
            Ok((header.len(), address.filter(|_| !local)))
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
            return Pin::new(&mut this.stream).poll_read(cx, buf);
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
        this.write_silence.limit_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
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
