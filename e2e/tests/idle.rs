//! A connection that lies idle is put to rest, and nobody who speaks again notices.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::config::tls_site;
use e2e::origin::ok;
use e2e::tls::Authority;
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Origin, configured, get};

/// Twice the silence after which a connection is put to rest. Where a loaded machine needs longer the tests try less, but
/// do not fail.
const REST: Duration = Duration::from_millis(600);

struct Site {
    origin: Origin,
    byline: Byline,
    authority: Authority,
}

impl Site {
    fn start(more: &str) -> Site {
        // Each answer says which request it is for.
        let origin =
            Origin::site(|request| ok("", format!("{} {}", request.target, request.body.len()).as_bytes()));
        let authority = Authority::new();
        let identity = authority.issue(&["site.test"]);
        let byline = configured(format!("{}{more}", tls_site(&origin.url())))
            .file("chain.pem", &identity.chain_pem)
            .file("key.pem", &identity.key_pem)
            .start();
        Site { origin, byline, authority }
    }

    fn clients(&self) -> [Client; 2] {
        let tls = self.authority.client(&["http/1.1"]);
        [self.byline.client(), Client::connect_tls(self.byline.tls, "site.test", tls)]
    }
}

fn rest() {
    std::thread::sleep(REST);
}

fn hears(client: &mut Client, what: &str) {
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.text().as_str()), (200, what));
    assert!(!answer.fields.has("connection"), "{:?}", answer.fields);
}

#[test]
fn who_speaks_again_is_answered() {
    let site = Site::start("");
    for mut client in site.clients() {
        for agent in ["", "User-Agent: GPTBot/1.2\r\n"] {
            client.send(get("/first", agent));
            hears(&mut client, "/first 0");
            rest();
            client.send(get("/again", agent));
            hears(&mut client, "/again 0");
            rest();
        }
        client.send("POST /form HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\n\r\n12345");
        hears(&mut client, "/form 5");
    }
    assert_eq!(site.origin.requests().len(), 10);
}

#[test]
fn what_is_sent_in_pieces_or_ahead_is_neither_lost_nor_read_twice() {
    let site = Site::start("");
    for mut client in site.clients() {
        client.send(get("/0", ""));
        hears(&mut client, "/0 0");
        rest();
        // Two at once after a rest, and the beginning of a third, with which the connection is left alone.
        let third = get("/3", "");
        let (begin, end) = third.split_at(third.len() / 2);
        client.send([&get("/1", ""), &get("/2", ""), begin].concat());
        hears(&mut client, "/1 0");
        hears(&mut client, "/2 0");
        rest();
        client.send(&end[..3]);
        rest();
        client.send([&end[3..], &get("/4", "")].concat());
        hears(&mut client, "/3 0");
        hears(&mut client, "/4 0");
        // A head in pieces from its first byte on, and a body that takes its time.
        for piece in ["P", "OST /5 HTTP/1.1\r\nHost: si", "te.test\r\nContent-Length: 4\r\n\r\n1", "23", "4"]
        {
            rest();
            client.send(piece);
        }
        hears(&mut client, "/5 4");
    }
    let targets: Vec<String> = site.origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3", "/4", "/5"].repeat(2));
}

#[test]
fn a_rest_gives_no_more_time_for_a_head() {
    let site = Site::start("[timeouts]\nrequest_head = \"4s\"\n");
    let mut clients: Vec<Client> = (0..2).flat_map(|_| site.clients()).collect();
    let began = Instant::now();
    for client in &mut clients {
        client.send(get("/", ""));
        hears(client, "/ 0");
    }
    // Well into a rest; with 4 s from here it would take 7 s in all.
    std::thread::sleep(Duration::from_secs(3));
    clients[0].send("GET / HT");
    clients[1].send("GET / HT");
    for client in &mut clients {
        assert!(client.closed());
        let took = began.elapsed();
        assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&took), "{took:?}");
    }
}

#[test]
fn a_drain_ends_those_at_rest_and_answers_what_is_on_its_way() {
    for speaks in [true, false] {
        let mut site = Site::start("");
        let mut clients: Vec<Client> = (0..5).flat_map(|_| site.clients()).collect();
        for client in &mut clients {
            client.send(get("/", ""));
            hears(client, "/ 0");
        }
        rest();
        site.byline.terminate();
        let listen = site.byline.listen;
        wait::until_true("the drain", PATIENCE, || TcpStream::connect(listen).is_err());
        if speaks {
            clients.iter_mut().for_each(|client| client.send(get("/last", "")));
        }
        for client in &mut clients {
            if speaks {
                let answer = client.answer("GET");
                let connection = answer.fields.first("connection");
                assert_eq!((answer.text().as_str(), connection), ("/last 0", Some("close")));
            }
            assert!(client.ends_orderly());
        }
        assert!(site.byline.wait_exit(PATIENCE).success());
    }
}

#[test]
fn whoever_leaves_at_rest_is_gone() {
    let site = Site::start("");
    let open = || site.byline.metric("byline_connections_open", &[]);
    let mut clients: Vec<Client> = (0..5).flat_map(|_| site.clients()).collect();
    for client in &mut clients {
        client.send(get("/", ""));
        hears(client, "/ 0");
    }
    assert_eq!(open(), 10.0);
    rest();
    for (number, client) in clients.into_iter().enumerate() {
        if number % 4 < 2 { client.reset() } else { drop(client) }
    }
    wait::until_true("the last one to be gone", PATIENCE, || open() == 0.0);
}
