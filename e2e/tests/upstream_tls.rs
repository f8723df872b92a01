//! Origins behind TLS: they are who their certificate says, or they are not asked.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::origin::ok;
use e2e::tls::{Authority, Identity};
use e2e::wire::Reader;
use e2e::{Byline, Origin, before, get};
use rustls::{ServerConnection, StreamOwned};

/// An origin that tells each request its own server name and Host, over TLS.
struct TlsOrigin {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl TlsOrigin {
    fn start(identity: &Identity) -> TlsOrigin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let (config, asked) = (identity.server(&["http/1.1"]), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (config, count) = (config.clone(), count.clone());
                std::thread::spawn(move || {
                    let session = ServerConnection::new(config).expect("a server session");
                    let mut reader = Reader::new(StreamOwned::new(session, tcp));
                    while let Ok(Some(head)) = reader.head() {
                        count.fetch_add(1, Ordering::SeqCst);
                        let fields = e2e::wire::Fields::of_head(&head);
                        let name = reader.stream.conn.server_name().unwrap_or("none").to_owned();
                        let body = format!("{name} {}", fields.first("host").unwrap_or("none"));
                        if reader
                            .stream
                            .write_all(&ok("", body))
                            .and_then(|()| reader.stream.flush())
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        TlsOrigin { addr, asked }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }
}

/// A process that trusts this authority alone.
fn trusting(authority: &Authority, upstream: &str) -> Byline {
    before(upstream).file("roots.pem", authority.pem()).env("SSL_CERT_FILE", "{dir}/roots.pem").start()
}

#[test]
fn an_origin_with_a_good_certificate_is_asked() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority.issue(&["localhost"]));
    let byline = trusting(&authority, &origin.url());
    let mut client = byline.client();
    for _ in 0..3 {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.status, answer.text().as_str()), (200, "localhost site.test"));
    }
}

#[test]
fn an_origin_under_another_name_is_not() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority.issue(&["other.test"]));
    let byline = trusting(&authority, &origin.url());
    assert_eq!(byline.ask(get("/", "")).status, 502);
    assert_eq!(origin.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn an_origin_that_nobody_vouches_for_is_not() {
    let origin = TlsOrigin::start(&Authority::new().issue(&["localhost"]));
    let byline = trusting(&Authority::new(), &origin.url());
    assert_eq!(byline.ask(get("/", "")).status, 502);
    assert_eq!(origin.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn an_origin_without_tls_is_not() {
    let origin = Origin::start(|visit| {
        visit.some();
        let _ = visit.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let byline = trusting(&Authority::new(), &format!("https://localhost:{}", origin.addr().port()));
    assert_eq!(byline.ask(get("/", "")).status, 502);
    assert!(origin.requests().is_empty());
}
