//! Clients that ask without a pause and forgive nothing: whoever sends a request gets its answer, whole.
//!
//! They may be told that an answer is the last one on its connection, and they may find a connection closed before they
//! use it. A connection that is refused, a request without an answer and any status but 200 are failures.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::Request;
use rustls::ClientConfig;

use crate::client::Client;
use crate::config::{RICH, RICH_AGENT};
use crate::get;
use crate::h2c::{self, Connection};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A person: passed on.
    Person,
    /// The crawler of the tests' policy that has an account: metered, priced.
    Crawler,
}

impl Who {
    fn address(self) -> Ipv4Addr {
        match self {
            Who::Person => Ipv4Addr::LOCALHOST,
            Who::Crawler => RICH.into(),
        }
    }

    fn agent(self) -> &'static str {
        match self {
            Who::Person => "User-Agent: Mozilla/5.0\r\n",
            Who::Crawler => RICH_AGENT,
        }
    }

    fn h2_request(self, path: &str) -> Request<()> {
        let agent = self.agent().trim_start_matches("User-Agent: ").trim_end();
        let request = Request::get(format!("http://site.test{path}")).header("user-agent", agent);
        request.body(()).expect("a well-formed request")
    }
}

/// Answers that came whole.
#[derive(Default)]
struct Served {
    count: AtomicUsize,
    slowest_micros: AtomicU64,
}

impl Served {
    fn one(&self, asked: Instant) {
        let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.slowest_micros.fetch_max(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients at work.
#[derive(Default)]
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<Served>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Answers that came whole so far.
    pub fn served(&self) -> usize {
        self.served.count.load(Ordering::Relaxed)
    }

    /// The longest that any of them took, a new connection and its handshake included.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.served.slowest_micros.load(Ordering::Relaxed))
    }

    /// A client over HTTP/1.1, over TLS where it is told whom to trust. Each of its paths is asked for once.
    pub fn over_h1(&mut self, to: SocketAddr, who: Who, tls: Option<Arc<ClientConfig>>) {
        let name = format!("h1-{}", self.clients.len());
        self.spawn(move |stop, served| {
            let (mut connection, mut paths) = (None, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let kept = connection.take().filter(|client: &Client| !client.has_ended());
                let mut client = kept.unwrap_or_else(|| match &tls {
                    Some(config) => Client::connect_tls(to, "site.test", Arc::clone(config)),
                    None => Client::connect_from(who.address(), to),
                });
                let path = format!("/every/{name}-{}", paths.len());
                let sent = client.try_send(get(&path, who.agent()));
                let answer = client.try_answer("GET");
                let Ok(Some(answer)) = answer else { panic!("{path}: {sent:?}, then {answer:?}") };
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert!(answer.complete(), "{path}: cut");
                if answer.fields.first("connection") != Some("close") {
                    connection = Some(client);
                }
                paths.push(path);
                served.one(asked);
            }
            paths
        });
    }

    /// A client over HTTP/2 with prior knowledge, a few streams at a time.
    pub fn over_h2(&mut self, to: SocketAddr, who: Who) {
        const STREAMS: usize = 4;
        let name = format!("h2-{}", self.clients.len());
        self.spawn(move |stop, served| {
            let (mut connection, mut paths, mut number) = (None::<Connection>, Vec::new(), 0);
            h2c::run(async {
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let kept = match connection.take() {
                        Some(kept) => kept,
                        None => Connection::plain_from(who.address(), to).await.expect("a connection"),
                    };
                    let mut answers = Vec::new();
                    for _ in 0..STREAMS {
                        number += 1;
                        // A connection that was told to go takes no more streams: then it is time for another.
                        let Ok(mut ready) = kept.send.clone().ready().await else { break };
                        let path = format!("/every/{name}-{number}");
                        let Ok((answer, _)) = ready.send_request(who.h2_request(&path), true) else { break };
                        answers.push((path, answer));
                    }
                    if answers.len() == STREAMS {
                        connection = Some(kept);
                    }
                    for (path, answer) in answers {
                        let answer = match async { h2c::collect(answer.await?).await }.await {
                            Ok(answer) => answer,
                            // RFC 9113 §6.8: above the last stream of a GOAWAY nothing was done, and clients ask again
                            // by themselves. A record of it would be one too many.
                            Err(error) if error.is_go_away() && error.is_remote() && is_no_error(&error) => {
                                continue;
                            }
                            Err(error) => panic!("{path}: {error}"),
                        };
                        assert_eq!(answer.status, 200, "{path}");
                        paths.push(path);
                        served.one(asked);
                    }
                }
            });
            paths
        });
    }

    fn spawn(&mut self, client: impl FnOnce(&AtomicBool, &Served) -> Vec<String> + Send + 'static) {
        let (stop, served) = (Arc::clone(&self.stop), Arc::clone(&self.served));
        self.clients.push(std::thread::spawn(move || client(&stop, &served)));
    }

    /// Ends it: the paths that each client has whole. A client that failed makes the test fail.
    pub fn end(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.clients.into_iter().map(JoinHandle::join).collect();
        ended.into_iter().map(|client| client.expect("a client got all that it asked for")).collect()
    }
}

fn is_no_error(error: &h2::Error) -> bool {
    error.reason() == Some(h2::Reason::NO_ERROR)
}
