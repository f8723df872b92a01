//! The visitors' client: one request over one connection from a chosen address, and every byte of the answer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// The longest that an answer may take: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest body that is read.
const BODY_BYTES_MAX: usize = 16 << 20;

/// An answer, as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head, up to and without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether another answer has the same bytes: head and body, but for the value of `Date`.
    pub(crate) fn is_same_bytes(&self, other: &Answer) -> bool {
        let undated = |answer: &Answer| {
            let dated = |line: &&str| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("date:"));
            let lines = answer.head.split("\r\n").map(|line| if dated(&line) { &line[..5] } else { line });
            lines.collect::<Vec<_>>().join("\r\n")
        };
        undated(self) == undated(other) && self.body == other.body
    }
}

/// Sends a GET request with these header fields from `source` to `server`.
pub(crate) fn get(
    server: SocketAddr,
    source: Ipv4Addr,
    path: &str,
    fields: &[(&str, &str)],
) -> anyhow::Result<Answer> {
    let mut stream =
        connect(server, source).with_context(|| format!("cannot connect from {source} to {server}"))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", super::HOST);
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    read_answer(&mut stream).with_context(|| format!("no whole answer to GET {path} from {server}"))
}

/// Whether sockets can be bound to an address of 127.0.0.0/8 other than 127.0.0.1.
pub(crate) fn can_use(source: Ipv4Addr) -> bool {
    std::net::TcpListener::bind((source, 0)).is_ok()
}

fn connect(server: SocketAddr, source: Ipv4Addr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&server.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn read_answer(stream: &mut TcpStream) -> anyhow::Result<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 || bytes.len() > HEAD_BYTES_MAX {
            bail!("the head ends early, or never");
        }
        bytes.extend_from_slice(&chunk[..read]);
    };
    let body = bytes.split_off(head_end + 4);
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status line")?;
    let mut answer = Answer { status, head, body };
    let length = match (status, answer.header("content-length")) {
        (204 | 304, _) => 0,
        (_, Some(length)) => length.parse::<usize>().context("Content-Length is no number")?,
        (_, None) => bail!("no Content-Length"),
    };
    if length > BODY_BYTES_MAX {
        bail!("a body of {length} bytes");
    }
    while answer.body.len() < length {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            bail!("the body ends after {} of {length} bytes", answer.body.len());
        }
        answer.body.extend_from_slice(&chunk[..read]);
    }
    if answer.body.len() > length {
        bail!("more bytes than Content-Length says");
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(head: &str, body: &str) -> Answer {
        Answer { status: 200, head: head.to_owned(), body: body.into() }
    }

    #[test]
    fn only_the_date_may_differ() {
        let one = answer("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nDate: Mon, 1 Jan 2024", "x");
        assert!(one.is_same_bytes(&answer("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nDate: Tue, 2 Jan 2024", "x")));
        for (head, body) in [
            ("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nDate: Mon, 1 Jan 2024", "y"),
            ("HTTP/1.1 200 OK\r\netag: \"a\"\r\nDate: Mon, 1 Jan 2024", "x"),
            ("HTTP/1.1 200 OK\r\nDate: Mon, 1 Jan 2024\r\nETag: \"a\"", "x"),
            ("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nDate: Mon, 1 Jan 2024\r\nVia: 1.1 x", "x"),
            ("HTTP/1.1 200 OK\r\nETag: \"a\"", "x"),
        ] {
            assert!(!one.is_same_bytes(&answer(head, body)), "{head}");
        }
    }
}
