//! Just enough HTTP/1.1 to take messages off a socket byte by byte, and no more: nothing is normalised, nothing
//! is repaired, so that what a test compares is what was on the wire.

use std::io::{self, ErrorKind, Read};

/// The fields of a head in the order and the spelling in which they arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Every value of a field, whatever the case of its name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The first value of a field.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Whether the field is there at all.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The fields without those named, spelling and order kept.
    pub fn without(&self, names: &[&str]) -> Vec<(String, String)> {
        let keep = |(n, _): &&(String, String)| !names.iter().any(|x| n.eq_ignore_ascii_case(x));
        self.0.iter().filter(keep).cloned().collect()
    }

    /// Splits the lines after the first of a head into fields.
    pub fn of_head(head: &[u8]) -> Fields {
        let text = String::from_utf8_lossy(head);
        let lines = text.split("\r\n").skip(1).filter(|line| !line.is_empty());
        Fields(lines.map(split_field).collect())
    }
}

fn split_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// How the end of a body was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The message has no body.
    None,
    /// Content-Length bytes arrived.
    Length,
    /// The last chunk arrived.
    Chunked,
    /// The connection was closed, and nothing had promised more.
    Close,
    /// The connection ended although more was promised.
    Cut,
}

/// A body with the way it ended.
#[derive(Debug, Clone)]
pub struct Body {
    /// The content, without chunk framing.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
    /// Fields after the last chunk.
    pub trailers: Fields,
}

/// Reads messages from a stream and keeps what belongs to the next one.
#[derive(Debug)]
pub struct Reader<S> {
    /// The stream itself, to write to.
    pub stream: S,
    pending: Vec<u8>,
}

impl<S: Read> Reader<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Reader<S> {
        Reader { stream, pending: Vec::new() }
    }

    /// One more read into the buffer: how many bytes came, 0 at the end.
    fn more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.pending.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A reset, or a TLS stream without its closing alert, is an end like any other to a test.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                    ) =>
                {
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next head up to and with its empty line; `None` when the peer ended first.
    pub fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find(&self.pending, b"\r\n\r\n") {
                return Ok(Some(self.pending.drain(..at + 4).collect()));
            }
            if self.more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Exactly `count` bytes, or fewer when the peer ended.
    pub fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            if self.more()? == 0 {
                break;
            }
        }
        let count = count.min(self.pending.len());
        Ok(self.pending.drain(..count).collect())
    }

    /// Whatever is there next, at least one byte; empty at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.pending.is_empty() {
            self.more()?;
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// A line without its CRLF; `None` when the peer ended first.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find(&self.pending, b"\r\n") {
                let line = self.pending.drain(..at).collect();
                self.pending.drain(..2);
                return Ok(Some(line));
            }
            if self.more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The body that these fields announce. `until_close` says what a message without framing means: for an
    /// answer, everything until the close; for a request, nothing.
    pub fn body(&mut self, fields: &Fields, until_close: bool) -> io::Result<Body> {
        if fields.all("transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case("chunked")) {
            return self.chunked();
        }
        let (bytes, end) = match fields.first("content-length").and_then(|v| v.parse::<usize>().ok()) {
            Some(length) => {
                let bytes = self.take(length)?;
                let end = if bytes.len() == length { End::Length } else { End::Cut };
                (bytes, end)
            }
            None if until_close => {
                while self.more()? > 0 {}
                (std::mem::take(&mut self.pending), End::Close)
            }
            None => (Vec::new(), End::None),
        };
        Ok(Body { bytes, end, trailers: Fields::default() })
    }

    fn chunked(&mut self) -> io::Result<Body> {
        let mut body = Body { bytes: Vec::new(), end: End::Cut, trailers: Fields::default() };
        loop {
            let Some(line) = self.line()? else { return Ok(body) };
            let text = String::from_utf8_lossy(&line).into_owned();
            let digits = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(digits, 16) else { return Ok(body) };
            if size == 0 {
                break;
            }
            let part = self.take(size)?;
            let whole = part.len() == size;
            body.bytes.extend(part);
            if !whole || self.line()?.is_none() {
                return Ok(body);
            }
        }
        loop {
            let Some(line) = self.line()? else { return Ok(body) };
            if line.is_empty() {
                body.end = End::Chunked;
                return Ok(body);
            }
            body.trailers.0.push(split_field(&String::from_utf8_lossy(&line)));
        }
    }
}

/// Where `needle` begins.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
