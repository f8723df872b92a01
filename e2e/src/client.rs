//! A client that sends exactly the bytes it is given.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::wait::PATIENCE;
use crate::wire::{Body, End, Fields, Reader};

/// A plain or an encrypted stream.
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// An answer as it was on the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, byte for byte, with its empty line.
    pub head: Vec<u8>,
    /// The head's fields.
    pub fields: Fields,
    /// The interim (1xx) heads that came before.
    pub interim: Vec<Vec<u8>>,
    /// The content.
    pub body: Vec<u8>,
    /// How the content ended.
    pub end: End,
    /// Fields after a chunked body.
    pub trailers: Fields,
}

impl Answer {
    /// Whether the whole body that was promised arrived.
    pub fn complete(&self) -> bool {
        self.end != End::Cut
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The field's first value, or the empty string.
    pub fn field(&self, name: &str) -> &str {
        self.fields.first(name).unwrap_or_default()
    }
}

/// One connection of a client.
pub struct Client {
    reader: Reader<Stream>,
}

impl Client {
    /// Connects over plain TCP.
    pub fn connect(to: SocketAddr) -> Client {
        Client::over(tcp(None, to))
    }

    /// Connects from an address of one's own, which for 127.0.0.0/8 needs nobody's leave.
    pub fn connect_from(from: impl Into<IpAddr>, to: SocketAddr) -> Client {
        Client::over(tcp(Some(from.into()), to))
    }

    /// Connects and does a TLS handshake under `name`.
    pub fn connect_tls(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Client {
        Client::try_connect_tls(to, name, config).expect("the TLS handshake")
    }

    /// [`Client::connect_tls`], for handshakes that may well be refused.
    pub fn try_connect_tls(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> io::Result<Client> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut tcp = tcp(None, to);
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Client { reader: Reader::new(Stream::Tls(Box::new(StreamOwned::new(session, tcp)))) })
    }

    fn over(tcp: TcpStream) -> Client {
        Client { reader: Reader::new(Stream::Plain(tcp)) }
    }

    /// How long a read may wait before it fails the test.
    pub fn patience(&self, limit: Duration) {
        self.reader.stream.tcp().set_read_timeout(Some(limit)).expect("a timeout above zero");
    }

    /// The local address of the connection.
    pub fn local(&self) -> SocketAddr {
        self.reader.stream.tcp().local_addr().expect("a connected socket")
    }

    /// Sends these bytes and nothing else.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the peer reads");
    }

    /// [`Client::send`], for peers that may have hung up.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())?;
        self.reader.stream.flush()
    }

    /// Ends the sending side.
    pub fn finish_sending(&self) {
        let _ = self.reader.stream.tcp().shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset, as a killed process does.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.reader.stream.tcp());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// The next final answer with its body; `None` when the peer closed without one.
    pub fn try_answer(&mut self, method: &str) -> io::Result<Option<Answer>> {
        let mut interim = Vec::new();
        let head = loop {
            let Some(head) = self.reader.head()? else { return Ok(None) };
            if (100..200).contains(&status_of(&head)) && status_of(&head) != 101 {
                interim.push(head);
            } else {
                break head;
            }
        };
        let status = status_of(&head);
        let fields = Fields::of_head(&head);
        let body = if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            Body { bytes: Vec::new(), end: End::None, trailers: Fields::default() }
        } else {
            self.reader.body(&fields, true)?
        };
        let Body { bytes, end, trailers } = body;
        Ok(Some(Answer { status, head, fields, interim, body: bytes, end, trailers }))
    }

    /// The next final answer, which must come.
    pub fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("an answer in time").expect("an answer before the close")
    }

    /// The next head alone, interim or final; `None` at the end.
    pub fn head(&mut self) -> Option<Vec<u8>> {
        self.reader.head().expect("a head in time")
    }

    /// Exactly `count` bytes, fewer at the end.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.reader.take(count).expect("bytes in time")
    }

    /// Whatever arrives next; empty at the end.
    pub fn some(&mut self) -> Vec<u8> {
        self.reader.some().expect("bytes in time")
    }

    /// Reads and counts everything until the end, without keeping it.
    pub fn drain(&mut self) -> u64 {
        let mut count = 0;
        loop {
            let bytes = self.some();
            if bytes.is_empty() {
                return count;
            }
            count += bytes.len() as u64;
        }
    }

    /// Whether the peer has closed, or is about to: nothing else can be in the way between two answers.
    pub fn has_ended(&self) -> bool {
        let tcp = self.reader.stream.tcp();
        tcp.set_nonblocking(true).expect("a TCP socket");
        let seen = tcp.peek(&mut [0]);
        tcp.set_nonblocking(false).expect("a TCP socket");
        !seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the peer ends the connection as it should, without sending anything more: over TLS it says so.
    pub fn ends_orderly(&mut self) -> bool {
        self.reader.stream.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    /// Whether the peer closes without sending anything more.
    pub fn closed(&mut self) -> bool {
        self.reader.some().is_ok_and(|bytes| bytes.is_empty())
    }

    /// Sends a request and takes its answer; the method is read off the request.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let method = method_of(request.as_ref());
        self.send(request);
        self.answer(&method)
    }
}

/// One request on a connection of its own.
pub fn ask(to: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    Client::connect(to).ask(request)
}

/// A GET for `path` at `site.test` with these further header lines (each ended by CRLF).
pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n")
}

fn method_of(request: &[u8]) -> String {
    let end = request.iter().position(|b| *b == b' ').unwrap_or(0);
    String::from_utf8_lossy(&request[..end]).into_owned()
}

/// The status code of a raw head, 0 when it has none.
pub fn status_of(head: &[u8]) -> u16 {
    head.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(0)
}

fn tcp(from: Option<IpAddr>, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a local address");
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match socket.connect(&to.into()) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted && deadline > std::time::Instant::now() => {}
            Err(error) => panic!("connect to {to}: {error}"),
        }
    }
    let tcp: TcpStream = socket.into();
    tcp.set_nodelay(true).expect("a TCP socket");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    tcp.set_write_timeout(Some(PATIENCE)).expect("a timeout above zero");
    tcp
}
