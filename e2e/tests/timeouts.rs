//! Whoever stalls is let go: on either side, before, in and after a message.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use e2e::config;
use e2e::origin::ok;
use e2e::wait::PATIENCE;
use e2e::{Byline, Client, Origin, configured, get};

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
