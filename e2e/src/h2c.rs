//! HTTP/2 from the client's side, twice: well formed through the `h2` crate, and frame by frame for everything that
//! a well-behaved library would never send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::Client;
use crate::wait::PATIENCE;

/// Blocks on one future, with the harness's patience.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(async { timeout(PATIENCE, future).await.expect("an h2 answer in time") })
}

/// Blocks on one future, however long it takes.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A whole h2 answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head's fields.
    pub fields: HeaderMap,
    /// The content.
    pub body: Vec<u8>,
    /// Fields after the content.
    pub trailers: Option<HeaderMap>,
}

/// One h2 connection.
pub struct Connection {
    /// Opens streams.
    pub send: SendRequest<Bytes>,
}

impl Connection {
    /// Connects with prior knowledge.
    pub async fn plain(to: SocketAddr) -> io::Result<Connection> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        Connection::over(tcp).await
    }

    /// Connects with prior knowledge from an IPv4 address of one's own.
    pub async fn plain_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let tcp = socket.connect(to).await?;
        tcp.set_nodelay(true)?;
        Connection::over(tcp).await
    }

    /// Connects over TLS; the server must choose h2.
    pub async fn tls(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> io::Result<Connection> {
        let tcp = TcpStream::connect(to).await?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the protocol that ALPN chose");
        Connection::over(tls).await
    }

    async fn over<S>(stream: S) -> io::Result<Connection>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // A test that reads its streams one after the other must not find the connection's window full of the others.
        let mut settings = h2::client::Builder::new();
        let handshake = settings.initial_connection_window_size(16 << 20).handshake(stream);
        let (send, connection) = handshake.await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { send })
    }

    /// Opens a stream; the request's body, if any, follows through the sender.
    pub async fn open(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut ready = self.send.clone().ready().await?;
        ready.send_request(request, ends)
    }

    /// Sends a request with its whole body and takes the whole answer.
    pub async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        let (answer, mut sender) = self.open(request, body.is_empty()).await?;
        if !body.is_empty() {
            sender.send_data(Bytes::copy_from_slice(body), true)?;
        }
        collect(answer.await?).await
    }
}

/// Takes the body and the trailers of an answer.
pub async fn collect(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        let _ = stream.flow_control().release_capacity(part.len());
        body.extend_from_slice(&part);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: head.status.as_u16(), fields: head.headers, body, trailers })
}

/// A GET for an URL such as `http://site.test/path`.
pub fn get(url: &str) -> Request<()> {
    Request::get(url).body(()).expect("a well-formed request")
}

/// One frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The type's number (RFC 9113 §6).
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY, which RFC 9113 retired.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// The flag that ends a stream.
pub const END_STREAM: u8 = 1;
/// The flag that ends a field block.
pub const END_HEADERS: u8 = 4;

/// The connection preface with an empty SETTINGS frame.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field block of literals that no table remembers: any bytes can be a name or a value here.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len(), 7);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 §5.1, first octet's upper bits zero.
fn integer(bytes: &mut Vec<u8>, mut value: usize, prefix: u32) {
    let limit = (1 << prefix) - 1;
    if value < limit {
        return bytes.push(value as u8);
    }
    bytes.push(limit as u8);
    value -= limit;
    while value >= 128 {
        bytes.push((value % 128 + 128) as u8);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// The pseudo-fields of a GET, followed by these.
pub fn request_block(more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/bad"), (":authority", "site.test")];
    fields.extend_from_slice(more);
    block(&fields)
}

/// Reads one frame; `None` at the end of the connection.
pub fn read_frame(client: &mut Client) -> Option<Frame> {
    let head = client.take(9);
    if head.len() < 9 {
        return None;
    }
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some(Frame { kind: head[3], flags: head[4], stream, payload: client.take(length) })
}

/// What became of a stream that should not have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The stream was reset with this error code.
    Reset(u32),
    /// The connection was ended with this error code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
    /// An answer with this status came.
    Status(u16),
}

/// Reads frames until the stream's fate is known; settings and pings are passed over.
pub fn verdict(client: &mut Client, stream: u32) -> Verdict {
    let code = |at: usize, payload: &[u8]| {
        payload.get(at..at + 4).map_or(u32::MAX, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    };
    loop {
        let Some(frame) = read_frame(client) else { return Verdict::Closed };
        match frame.kind {
            RST_STREAM if frame.stream == stream => return Verdict::Reset(code(0, &frame.payload)),
            GOAWAY if code(4, &frame.payload) != 0 => return Verdict::GoAway(code(4, &frame.payload)),
            HEADERS if frame.stream == stream => return Verdict::Status(status_of(&frame.payload)),
            _ => {}
        }
    }
}

/// The status of an answer's field block: an entry of the static table, or a literal under one of its names.
pub fn status_of(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A size update of the dynamic table may come first.
    let block = if block.first().is_some_and(|b| b & 0xe0 == 0x20) { &block[1..] } else { block };
    match block.first() {
        Some(first @ 0x88..=0x8e) => INDEXED[usize::from(first - 0x88)],
        Some(0x08 | 0x48 | 0x18) => literal(&block[1..]),
        _ => 0,
    }
}

/// Three digits, plain or in Huffman code, where `0`–`2` are 5 bits long and `3`–`9` 6 bits (RFC 7541, appendix B).
fn literal(block: &[u8]) -> u16 {
    let Some(length) = block.first() else { return 0 };
    let count = usize::from(length & 0x7f);
    let Some(text) = block.get(1..1 + count) else { return 0 };
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    }
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)).collect();
    let (mut at, mut status) = (0, 0);
    let number = |range: &[u8]| range.iter().fold(0u16, |n, bit| n * 2 + u16::from(*bit));
    for _ in 0..3 {
        let Some(short) = bits.get(at..at + 5).map(number) else { return 0 };
        if short <= 2 {
            status = status * 10 + short;
            at += 5;
        } else {
            let Some(long) = bits.get(at..at + 6).map(number) else { return 0 };
            status = status * 10 + long.saturating_sub(0b01_1001) + 3;
            at += 6;
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_of_its_spellings() {
        assert_eq!(status_of(&[0x8c]), 400);
        assert_eq!(status_of(&[0x08, 3, b'4', b'2', b'1']), 421);
        // RFC 7541 C.6.1: 302 is 0x82 0x64 0x02, C.6.2: 307 is 0x83 0x64 0x0e 0xff.
        assert_eq!(status_of(&[0x48, 0x82, 0x64, 0x02]), 302);
        assert_eq!(status_of(&[0x48, 0x83, 0x64, 0x0e, 0xff]), 307);
    }
}
