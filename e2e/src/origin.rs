//! The site behind the proxy: a server whose every byte a test decides, and which remembers every byte it got.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::wait::{self, PATIENCE};
use crate::wire::{End, Fields, Reader};

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target as it was written.
    pub target: String,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// The head's fields.
    pub fields: Fields,
    /// The content; empty until it is read.
    pub body: Vec<u8>,
    /// How the content ended; `None` also until it is read.
    pub end: End,
    /// Fields after a chunked body.
    pub trailers: Fields,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

#[derive(Default)]
struct Log {
    streams: Vec<TcpStream>,
    received: Vec<Vec<u8>>,
    requests: Vec<Request>,
}

/// A listening origin; ends with its value.
pub struct Origin {
    addr: SocketAddr,
    log: Arc<Mutex<Log>>,
    ended: Arc<AtomicBool>,
}

impl Origin {
    /// Serves every connection with `script`, each on a thread of its own.
    pub fn start(script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
        Origin::start_on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// [`Origin::start`] on a listener that the caller chose.
    pub fn start_on(listener: TcpListener, script: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
        let addr = listener.local_addr().expect("a bound listener");
        let log = Arc::<Mutex<Log>>::default();
        let ended = Arc::new(AtomicBool::new(false));
        let (script, book, end) = (Arc::new(script), log.clone(), ended.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let visit = Visit::new(stream, &book);
                let script = script.clone();
                thread::spawn(move || {
                    let mut visit = visit;
                    script(&mut visit);
                });
            }
        });
        Origin { addr, log, ended }
    }

    /// Answers every request with the same bytes and keeps the connection.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::site(move |_| answer.clone())
    }

    /// Answers every request, body read, with the bytes that `answer` makes of it, and keeps the connection.
    pub fn site(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::start(move |visit| {
            while let Some(request) = visit.request() {
                if visit.write(answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of its root, as `--upstream` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.book(|log| log.received.len())
    }

    /// Every byte of every connection, in order.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.book(|log| log.received.clone())
    }

    /// All requests whose head arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.book(|log| log.requests.clone())
    }

    /// The only request there was.
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:?}");
        requests.remove(0)
    }

    /// Whether not one byte of a request arrived.
    pub fn untouched(&self) -> bool {
        self.book(|log| log.received.iter().all(Vec::is_empty))
    }

    /// Waits until `count` requests have arrived.
    pub fn wait_for_requests(&self, count: usize) {
        wait::until_true("requests at the origin", PATIENCE, || self.book(|log| log.requests.len() >= count));
    }

    fn book<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Closes the listener and every connection; what was recorded can still be read.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        self.book(|log| log.streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both))));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes what passes through a connection into the origin's log.
struct Recorded {
    stream: TcpStream,
    log: Arc<Mutex<Log>>,
    number: usize,
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let mut log = self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let received = &mut log.received[self.number];
        // Two hundred megabytes of upload need not be kept to be counted.
        if received.len() < 1 << 20 {
            received.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

/// One connection at the origin, in the hands of a script.
pub struct Visit {
    reader: Reader<Recorded>,
    log: Arc<Mutex<Log>>,
    number: usize,
}

impl Visit {
    fn new(stream: TcpStream, log: &Arc<Mutex<Log>>) -> Visit {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout above zero");
        stream.set_write_timeout(Some(Duration::from_secs(60))).expect("a timeout above zero");
        let mut book = log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let number = book.received.len();
        book.received.push(Vec::new());
        book.streams.push(stream.try_clone().expect("a descriptor to spare"));
        drop(book);
        Visit { reader: Reader::new(Recorded { stream, log: log.clone(), number }), log: log.clone(), number }
    }

    /// Which connection this is, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next request with its body; `None` when the peer has ended.
    pub fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        self.body(&mut request);
        Some(request)
    }

    /// The next request's head; its body stays on the wire.
    pub fn head(&mut self) -> Option<Request> {
        let head = self.reader.head().ok()??;
        let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        let mut parts = line.split(' ').map(str::to_owned);
        let request = Request {
            method: parts.next().unwrap_or_default(),
            target: parts.next().unwrap_or_default(),
            fields: Fields::of_head(&head),
            head,
            body: Vec::new(),
            end: End::None,
            trailers: Fields::default(),
            connection: self.number,
        };
        self.note(|log| log.requests.push(request.clone()));
        Some(request)
    }

    /// Reads the body of the request whose head came last.
    pub fn body(&mut self, request: &mut Request) {
        if let Ok(body) = self.reader.body(&request.fields, false) {
            request.body = body.bytes;
            request.end = body.end;
            request.trailers = body.trailers;
        } else {
            request.end = End::Cut;
        }
        let (done, number) = (request.clone(), self.number);
        self.note(|log| {
            if let Some(kept) = log.requests.iter_mut().rev().find(|kept| kept.connection == number) {
                *kept = done;
            }
        });
    }

    /// Exactly `count` bytes, fewer when the peer ended.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.reader.take(count).unwrap_or_default()
    }

    /// Whatever arrives next; empty at the end.
    pub fn some(&mut self) -> Vec<u8> {
        self.reader.some().unwrap_or_default()
    }

    /// Sends these bytes and nothing else.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.stream.write_all(bytes.as_ref())
    }

    /// How long a read or a write may take.
    pub fn patience(&self, limit: Duration) {
        let stream = &self.reader.stream.stream;
        stream.set_read_timeout(Some(limit)).expect("a timeout above zero");
        stream.set_write_timeout(Some(limit)).expect("a timeout above zero");
    }

    /// Whether the proxy ends this connection within `limit`; what it sends until then is dropped.
    pub fn left_within(&mut self, limit: Duration) -> bool {
        let deadline = std::time::Instant::now() + limit;
        let _ = self.reader.stream.stream.set_read_timeout(Some(limit));
        while std::time::Instant::now() < deadline {
            match self.reader.some() {
                Ok(bytes) if bytes.is_empty() => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        let _ = socket2::SockRef::from(&self.reader.stream.stream).set_linger(Some(Duration::ZERO));
    }

    /// Ends the connection in good order.
    pub fn close(&mut self) {
        let _ = self.reader.stream.stream.shutdown(Shutdown::Both);
    }

    fn note(&self, write: impl FnOnce(&mut Log)) {
        write(&mut self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // The log keeps a second descriptor of every connection, so a script's end has to say goodbye itself. A
        // reset that was asked for happens when that descriptor goes as well.
        let stream = &self.reader.stream.stream;
        let resets = socket2::SockRef::from(stream).linger().ok().flatten() == Some(Duration::ZERO);
        if resets {
            self.note(|log| {
                let peer = self.reader.stream.stream.peer_addr().ok();
                log.streams.retain(|kept| kept.peer_addr().ok() != peer);
            });
        } else {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A 200 with a length and these further header lines.
pub fn ok(lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}
