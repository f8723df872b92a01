//! Several sites in one process: each host has its origin, and a host that nobody configured has none.

use e2e::config::{self, TLS_LISTENER};
use e2e::h2c::{self, Connection, block_on};
use e2e::origin::ok;
use e2e::tls::Authority;
use e2e::{Byline, Client, Origin, configured};

fn two_sites() -> (Origin, Origin) {
    (Origin::answering(ok("", "one")), Origin::answering(ok("", "two")))
}

fn start(one: &Origin, two: &Origin) -> Byline {
    let sites = [
        config::base(),
        config::host(&["one.test", "www.one.test"], &one.url()),
        config::host(&["*.two.test"], &two.url()),
    ];
    configured(sites.concat()).start()
}

fn ask(byline: &Byline, host: &str) -> e2e::Answer {
    byline.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn each_host_has_its_origin() {
    let (one, two) = two_sites();
    let byline = start(&one, &two);
    let port = byline.listen.port();
    for (host, expect) in [
        ("one.test", "one"),
        ("ONE.test", "one"),
        ("www.one.test", "one"),
        ("a.two.test", "two"),
        (&format!("one.test:{port}"), "one"),
        ("one.test.", "one"),
    ] {
        let answer = ask(&byline, host);
        assert_eq!((answer.status, answer.text().as_str()), (200, expect), "{host}");
    }
    assert_eq!(one.requests()[0].fields.all("host"), ["one.test"], "the host goes on as it came");
}

#[test]
fn an_unknown_host_is_misdirected() {
    let (one, two) = two_sites();
    let byline = start(&one, &two);
    for host in
        ["other.test", "127.0.0.1", "localhost", "one.test.evil.test", "evilone.test", "two.test", "[::1]"]
    {
        assert_eq!(ask(&byline, host).status, 421, "{host}");
    }
    let answer = block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        connection.ask(h2c::get("http://other.test/"), b"").await.expect("an answer")
    });
    assert_eq!(answer.status, 421);
    assert!(one.untouched() && two.untouched());
}

#[test]
fn a_host_that_the_handshake_did_not_name_is_misdirected() {
    let (one, two) = two_sites();
    let authority = Authority::new();
    let identity = authority.issue(&["one.test", "a.two.test"]);
    let text = [
        config::base(),
        TLS_LISTENER.to_owned(),
        config::host(&["one.test"], &one.url()),
        config::host(&["*.two.test"], &two.url()),
    ];
    let setup = configured(text.concat());
    let byline = setup.file("chain.pem", &identity.chain_pem).file("key.pem", &identity.key_pem).start();
    let mut client = Client::connect_tls(byline.tls, "one.test", authority.client(&["http/1.1"]));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n").text(), "one");
    for target in
        ["/ HTTP/1.1\r\nHost: a.two.test", "http://a.two.test/ HTTP/1.1\r\nHost: one.test", "/ HTTP/1.0"]
    {
        let status = client.ask(format!("GET {target}\r\nConnection: keep-alive\r\n\r\n")).status;
        assert_eq!(status, 421, "{target}");
    }
    block_on(async {
        let config = authority.client(&["h2"]);
        let mut connection = Connection::tls(byline.tls, "one.test", config).await.expect("a TLS connection");
        let answer = connection.ask(h2c::get("https://one.test/"), b"").await.expect("an answer");
        assert_eq!(answer.body, b"one");
        let answer = connection.ask(h2c::get("https://a.two.test/"), b"").await.expect("an answer");
        assert_eq!(answer.status, 421);
    });
    assert!(two.untouched());
}

#[test]
fn a_handshake_for_a_strange_name_reaches_no_site() {
    let (one, two) = two_sites();
    let authority = Authority::new();
    let identity = authority.issue(&["one.test", "strange.test"]);
    let text = [config::base(), TLS_LISTENER.to_owned(), config::host(&["one.test"], &one.url())];
    let setup = configured(text.concat());
    let byline = setup.file("chain.pem", &identity.chain_pem).file("key.pem", &identity.key_pem).start();
    for host in ["one.test", "strange.test"] {
        let mut client = Client::connect_tls(byline.tls, "strange.test", authority.client(&["http/1.1"]));
        assert_eq!(ask_over(&mut client, host), 421, "{host}");
        block_on(async {
            let config = authority.client(&["h2"]);
            let mut connection =
                Connection::tls(byline.tls, "strange.test", config).await.expect("a TLS connection");
            let answer = connection.ask(h2c::get(&format!("https://{host}/")), b"").await.expect("an answer");
            assert_eq!(answer.status, 421, "{host}");
        });
    }
    assert!(one.untouched() && two.untouched());
}

fn ask_over(client: &mut Client, host: &str) -> u16 {
    client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status
}

#[test]
fn a_dead_origin_is_its_own_sites_trouble() {
    let one = Origin::answering(ok("", "one"));
    let dead = e2e::ports::Port::reserve();
    let sites = [
        config::base(),
        config::host(&["one.test"], &one.url()),
        config::host(&["dead.test"], &format!("http://{}", dead.addr())),
    ];
    let byline = configured(sites.concat()).start();
    assert_eq!(ask(&byline, "dead.test").status, 502);
    assert_eq!(ask(&byline, "one.test").text(), "one");
}
