//! A hostile HTTP/2 client: frames as fast as they are taken, on either listener, and what became of its connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::h2c::{DATA, GOAWAY, PING, RST_STREAM, SETTINGS, preface};
use crate::wait::PATIENCE;

/// What a flooder writes to and reads from.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What the server has said so far, counted frame by frame.
#[derive(Debug, Default)]
pub struct Seen {
    /// Acknowledged SETTINGS, beginning with those of the preface.
    pub settings_acks: AtomicUsize,
    /// Acknowledged PINGs.
    pub pongs: AtomicUsize,
    /// Streams that the server reset.
    pub resets: AtomicUsize,
    /// GOAWAYs.
    pub goaways: AtomicUsize,
    /// Content of DATA frames.
    pub data_bytes: AtomicUsize,
    /// Whether the connection is over.
    pub ended: AtomicBool,
}

impl Seen {
    fn note(&self, kind: u8, flags: u8, length: usize) {
        let count = match kind {
            DATA => {
                self.data_bytes.fetch_add(length, Ordering::Relaxed);
                return;
            }
            SETTINGS if flags & 1 == 1 => &self.settings_acks,
            PING if flags & 1 == 1 => &self.pongs,
            RST_STREAM => &self.resets,
            GOAWAY => &self.goaways,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection of a flooder.
pub struct Flooder {
    writer: WriteHalf<Box<dyn Io>>,
    reader: Option<ReadHalf<Box<dyn Io>>>,
    /// What came back, as far as it is read.
    pub seen: Arc<Seen>,
}

impl Flooder {
    /// Connects, over TLS where it is told whom to trust, and sends the preface. Nothing is read until [`Self::read`].
    pub async fn connect(to: SocketAddr, tls: Option<Arc<ClientConfig>>) -> io::Result<Flooder> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from("site.test").map_err(io::Error::other)?;
                let tls = TlsConnector::from(config).connect(name, tcp).await?;
                assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the protocol that ALPN chose");
                Box::new(tls)
            }
        };
        let (reader, writer) = tokio::io::split(io);
        let mut flooder = Flooder { writer, reader: Some(reader), seen: Arc::default() };
        flooder.send(&preface()).await?;
        Ok(flooder)
    }

    /// Begins to read and count what the server says.
    pub fn read(&mut self) {
        if let Some(reader) = self.reader.take() {
            let seen = Arc::clone(&self.seen);
            tokio::spawn(async move {
                let _ = count(reader, &seen).await;
                seen.ended.store(true, Ordering::Relaxed);
            });
        }
    }

    /// Sends these bytes; an error says that the server has hung up, or took nothing for as long as the harness waits.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        timeout(PATIENCE, sent).await.map_err(io::Error::other)?
    }

    /// Sends `part` so many times over, or until the server hangs up.
    pub async fn pour(&mut self, part: &[u8], times: usize) {
        for _ in 0..times {
            if self.seen.ended.load(Ordering::Relaxed) || self.send(part).await.is_err() {
                return;
            }
            // A connection that never makes its writer wait would leave no turn for its reader.
            tokio::task::yield_now().await;
        }
    }

    /// Whether the server ends the connection within the harness's patience.
    pub async fn ended(&mut self) -> bool {
        self.read();
        let began = Instant::now();
        while !self.seen.ended.load(Ordering::Relaxed) {
            if began.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        true
    }
}

async fn count(mut reader: ReadHalf<Box<dyn Io>>, seen: &Seen) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        let mut at = 0;
        while let Some(head) = buffer.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if buffer.len() < at + 9 + length {
                break;
            }
            seen.note(head[3], head[4], length);
            at += 9 + length;
        }
        buffer.drain(..at);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
