//! A server behind TLS of which a test says every answer, even none.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use crate::tls::Identity;
use crate::wire::{Fields, Reader};

/// A request as it came.
#[derive(Debug)]
pub struct Asked {
    /// The name that the handshake asked for; `none` if it named none.
    pub name: String,
    /// The request target.
    pub target: String,
    /// The head's fields.
    pub fields: Fields,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes; then the next request.
    Bytes(Vec<u8>),
    /// These bytes one by one, with this pause before each.
    Drip(Vec<u8>, Duration),
    /// Nothing, for as long as the client stays.
    Silence,
}

/// A listening server; ends with its value.
pub struct Secure {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Secure {
    /// Answers each request as `reply` says, each connection on a thread of its own.
    pub fn start(identity: &Identity, reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Secure {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let (config, reply) = (identity.server(&["http/1.1"]), Arc::new(reply));
        let secure =
            Secure { addr, connections: Arc::default(), asked: Arc::default(), ended: Arc::default() };
        let (connections, asked, ended) =
            (secure.connections.clone(), secure.asked.clone(), secure.ended.clone());
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let session = ServerConnection::new(config.clone()).expect("a server session");
                let (reply, asked) = (reply.clone(), asked.clone());
                thread::spawn(move || serve(StreamOwned::new(session, tcp), &asked, &*reply));
            }
        });
        secure
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL under the name `localhost`, without a path.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(
    stream: StreamOwned<ServerConnection, TcpStream>,
    count: &AtomicUsize,
    reply: &dyn Fn(&Asked) -> Reply,
) {
    let mut reader = Reader::new(stream);
    while let Ok(Some(head)) = reader.head() {
        count.fetch_add(1, Ordering::SeqCst);
        let asked = Asked {
            name: reader.stream.conn.server_name().unwrap_or("none").to_owned(),
            target: String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned(),
            fields: Fields::of_head(&head),
        };
        let stream = &mut reader.stream;
        let mut write = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush());
        let written = match reply(&asked) {
            Reply::Bytes(bytes) => write(&bytes),
            Reply::Drip(bytes, pause) => bytes.iter().try_for_each(|byte| {
                thread::sleep(pause);
                write(&[*byte])
            }),
            Reply::Silence => {
                // Until the client hangs up, or asks again, which it has no reason to.
                let _ = reader.some();
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}
