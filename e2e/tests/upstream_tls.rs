//! Origins behind TLS: they are who their certificate says, or they are not asked.

use e2e::origin::ok;
use e2e::secure::{Reply, Secure};
use e2e::tls::{Authority, Identity};
use e2e::{Byline, Origin, before, get};

/// An origin that tells each request its own server name and Host, over TLS.
fn origin(identity: &Identity) -> Secure {
    Secure::start(identity, |asked| {
        Reply::Bytes(ok("", format!("{} {}", asked.name, asked.fields.first("host").unwrap_or("none"))))
    })
}

/// A process that trusts this authority alone.
fn trusting(authority: &Authority, upstream: &str) -> Byline {
    before(upstream).file("roots.pem", authority.pem()).env("SSL_CERT_FILE", "{dir}/roots.pem").start()
}

#[test]
fn an_origin_with_a_good_certificate_is_asked() {
    let authority = Authority::new();
    let origin = origin(&authority.issue(&["localhost"]));
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
    let origin = origin(&authority.issue(&["other.test"]));
    let byline = trusting(&authority, &origin.url());
    assert_eq!(byline.ask(get("/", "")).status, 502);
    assert_eq!(origin.asked(), 0);
}

#[test]
fn an_origin_that_nobody_vouches_for_is_not() {
    let origin = origin(&Authority::new().issue(&["localhost"]));
    let byline = trusting(&Authority::new(), &origin.url());
    assert_eq!(byline.ask(get("/", "")).status, 502);
    assert_eq!(origin.asked(), 0);
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
