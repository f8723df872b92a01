//! Whoever stalls is let go: on either side, before, in and after a message.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use e2e::config;
use e2e::h2c::{self, Verdict, block_on, frame};
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::wire::End;
use e2e::{Both, Byline, Client, On, Origin, configured, get};

/// Every limit at one second.
const SHORT: &str = "[timeouts]\nrequest_head = \"1s\"\nbody_silence = \"1s\"\nconnect = \"1s\"\n\
                     response_head = \"1s\"\n";

fn start(origin: &Origin) -> Byline {
    configured(config::site(&origin.url(), SHORT)).start()
}

/// Between what the configuration says and what a loaded machine may add.
fn in_time(what: &str, began: Instant) {
    let took = began.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(10)).contains(&took), "{what}: after {took:?}");
}

#[test]
fn a_head_that_does_not_end() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    for part in ["G", "GET / HTTP/1.1\r\nHost: site", "GET / HTTP/1.1\r\nHost: site.test\r\n"] {
        let mut client = byline.client();
        let began = Instant::now();
        client.send(part);
        if let Some(answer) = client.try_answer("GET").expect("an end in time") {
            assert_eq!(answer.status, 408, "{part:?}");
        }
        in_time(part, began);
    }
    assert!(origin.untouched());
}

#[test]
fn a_connection_that_says_nothing() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let mut client = byline.client();
    let began = Instant::now();
    assert!(client.try_answer("GET").expect("an end in time").is_none_or(|answer| answer.status == 408));
    in_time("silence", began);
}

#[test]
fn a_body_that_does_not_come() {
    let origin = Origin::start(|visit| while visit.request().is_some_and(|r| !r.body.is_empty()) {});
    let byline = start(&origin);
    let mut client = byline.client();
    let began = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nhalf");
    if let Some(answer) = client.try_answer("POST").expect("an end in time") {
        assert!(matches!(answer.status, 408 | 502 | 504), "{}", answer.status);
    }
    in_time("half a body", began);
}

#[test]
fn an_origin_that_does_not_answer() {
    let origin = Origin::start(|visit| {
        visit.request();
        visit.left_within(PATIENCE);
    });
    let byline = start(&origin);
    let began = Instant::now();
    assert_eq!(byline.ask(get("/", "")).status, 504);
    in_time("no head", began);
}

#[test]
fn an_origin_that_stops_in_the_middle() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        let _ = left.send(visit.left_within(PATIENCE));
    });
    let byline = start(&origin);
    let began = Instant::now();
    let answer = byline.ask(get("/", ""));
    assert!(!answer.complete());
    in_time("half an answer", began);
    assert!(leaves.recv_timeout(PATIENCE).expect("the origin's word"), "the connection to it stays open");
}

#[test]
fn a_client_that_does_not_read() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let part = vec![b'x'; 1 << 16];
        while visit.write(&part).is_ok() {}
        let _ = left.send(());
    });
    let byline = start(&origin);
    for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
        let mut client: Client = byline.client();
        client.send(get("/", &format!("User-Agent: {agent}\r\n")));
        client.head().expect("a head");
        let heard = leaves.recv_timeout(PATIENCE);
        assert!(heard.is_ok(), "{agent}: a client that reads nothing holds its fetch for ever");
    }
    let record = &byline.wait_for_records(1)[0];
    assert_eq!(record["outcome"], "aborted", "{record}");
}

#[test]
fn slow_is_not_stalled() {
    // Longer than every limit in all, but never silent for as long.
    let origin = Origin::start(|visit| {
        while visit.request().is_some() {
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
            for _ in 0..8 {
                // The pace is the subject here: each part comes well within the limit.
                std::thread::sleep(Duration::from_millis(250));
                let _ = visit.write("x");
            }
        }
    });
    let byline = start(&origin);
    let answer = byline.ask(get("/", ""));
    assert_eq!((answer.status, answer.text().as_str()), (200, "xxxxxxxx"));
}

/// Sends a byte at a time, never as slowly as the limit, until the peer closes: tells whether it did in time.
fn dribble(client: &mut Client, bytes: &[u8]) -> bool {
    for byte in bytes.iter().cycle().take(60) {
        if client.has_ended() || client.try_send([*byte]).is_err() {
            return true;
        }
        // The pace is the subject here.
        std::thread::sleep(Duration::from_millis(150));
    }
    false
}

#[test]
fn a_tls_handshake_that_stalls_keeps_no_connection() {
    let origin = Origin::answering(ok("", "x"));
    let both = Both::start(&origin.url(), SHORT);
    let byline = &both.byline;
    let name = "site.test".try_into().expect("a name");
    let mut session = rustls::ClientConnection::new(both.authority.client(&["h2"]), name).expect("a client");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).expect("a vector takes everything");
    // Nothing; half of what a client says first; all of it, but not what it says next.
    for part in [&hello[..0], &hello[..hello.len() / 2], &hello[..]] {
        let mut client = Client::connect(byline.tls);
        let began = Instant::now();
        client.send(part);
        let answered = client.drain();
        assert_eq!(answered > 0, part.len() == hello.len(), "{answered} bytes for {}", part.len());
        in_time("a handshake", began);
    }
    let began = Instant::now();
    assert!(dribble(&mut Client::connect(byline.tls), &hello), "a handshake in drops goes on for ever");
    in_time("a handshake in drops", began);
    // And nothing said through a session that stands.
    for alpn in ["h2", "http/1.1"] {
        let began = Instant::now();
        both.client(On::Tls, alpn).drain();
        in_time(alpn, began);
    }
    wait::until_true("no connection is left", PATIENCE, || {
        byline.metric("byline_connections_open", &[]) == 0.0
    });
    assert!(origin.untouched());
}

#[test]
fn a_proxy_header_that_stalls_keeps_no_connection() {
    let origin = Origin::answering(ok("", "x"));
    let more = format!("trusted_proxies = [\"127.0.0.1\"]\n{SHORT}{}", config::PROXY_LISTENER);
    let byline = configured(config::site(&origin.url(), &more)).start();
    let line = b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 80\r\n";
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02";
    for part in [&b""[..], b"PROX", &line[..line.len() - 1], binary] {
        let mut client = Client::connect(byline.tls);
        let began = Instant::now();
        client.send(part);
        assert_eq!(client.drain(), 0, "nothing is said to {part:?}");
        in_time("a PROXY header", began);
    }
    let began = Instant::now();
    assert!(dribble(&mut Client::connect(byline.tls), line), "a PROXY header in drops goes on for ever");
    in_time("a PROXY header in drops", began);
    assert!(origin.untouched());
    // What comes after the header has a limit of its own.
    let mut client = Client::connect(byline.tls);
    client.send(line);
    let began = Instant::now();
    assert!(client.try_answer("GET").expect("an end in time").is_none_or(|answer| answer.status == 408));
    in_time("nothing after a PROXY header", began);
}

#[test]
fn a_connection_between_two_requests_is_not_kept_for_ever() {
    let origin = Origin::answering(ok("", "x"));
    let both = Both::start(&origin.url(), SHORT);
    for what in On::BOTH {
        let mut client = both.client(what, "http/1.1");
        for _ in 0..2 {
            assert_eq!(client.ask(get("/", "")).status, 200, "{what}");
        }
        let began = Instant::now();
        assert!(client.closed(), "{what}: nothing comes after an answer but the end");
        in_time(&what.to_string(), began);
    }
}

/// Only this limit is short: nothing else can be what ends it.
const PINGS: &str = "threads = 1\n[timeouts]\nrequest_head = \"1s\"\n";

#[test]
fn a_client_that_is_gone_is_found_out_by_a_ping() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        visit.request();
        let _ = left.send(visit.left_within(PATIENCE));
    });
    let both = Both::start(&origin.url(), PINGS);
    for what in On::BOTH {
        let mut client = both.client(what, "h2");
        let began = Instant::now();
        // A stream is open all the time: the connection is not idle.
        let head = frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &h2c::request_block(&[]));
        client.send([h2c::preface(), head].concat());
        let mut pings = 0;
        while let Some(frame) = h2c::read_frame(&mut client) {
            pings += usize::from(frame.kind == h2c::PING && frame.flags == 0);
        }
        assert_eq!(pings, 1, "{what}");
        in_time(&what.to_string(), began);
        assert!(leaves.recv_timeout(PATIENCE).expect("the origin's word"), "{what}: its fetch goes on");
    }
}

#[test]
fn a_client_that_waits_and_answers_pings_is_waited_with() {
    let origin = Origin::start(|visit| {
        while visit.request().is_some() {
            // The pace is the subject here: three times what an unanswered ping may take.
            std::thread::sleep(Duration::from_secs(6));
            let _ = visit.write(ok("", "at last"));
        }
    });
    let both = Both::start(&origin.url(), PINGS);
    block_on(async {
        let (mut plain, mut tls) = (both.h2(On::Plain).await, both.h2(On::Tls).await);
        let one = plain.open(h2c::get("http://site.test/"), true).await.expect("a stream").0;
        let two = tls.open(h2c::get("https://site.test/"), true).await.expect("a stream").0;
        for answer in [one, two] {
            let answer = h2c::collect(answer.await.expect("an answer")).await.expect("a body");
            assert_eq!(answer.body, b"at last");
        }
    });
}

#[test]
fn an_upload_that_falls_silent_ends_without_its_connection() {
    let origin = Origin::start(|visit| {
        while let Some(request) = visit.request() {
            if request.end == End::Cut {
                return;
            }
            let _ = visit.write(ok("", "page"));
        }
    });
    let both = Both::start(&origin.url(), "[timeouts]\nbody_silence = \"1s\"\n");
    let fields = |method| {
        [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "site.test")].to_vec()
    };
    for what in On::BOTH {
        let mut client = both.client(what, "h2");
        let asked = origin.requests().len();
        let began = Instant::now();
        let mut post = fields("POST");
        post.push(("content-length", "8"));
        let post = frame(h2c::HEADERS, h2c::END_HEADERS, 1, &h2c::block(&post));
        client.send([h2c::preface(), post, frame(h2c::DATA, 0, 1, b"half")].concat());
        let verdict = h2c::verdict(&mut client, 1);
        assert!(matches!(verdict, Verdict::Status(408) | Verdict::Reset(_)), "{what}: {verdict:?}");
        in_time(&what.to_string(), began);
        let request = || origin.requests()[asked].clone();
        wait::until_true("the origin learns of it", PATIENCE, || request().end == End::Cut);
        let next = frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 3, &h2c::block(&fields("GET")));
        client.send(next);
        assert_eq!(h2c::verdict(&mut client, 3), Verdict::Status(200), "{what}: the connection lives");
    }
}
