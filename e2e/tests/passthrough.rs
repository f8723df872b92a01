//! People's traffic: the proxy must not be noticed.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use e2e::origin::ok;
use e2e::wire::End;
use e2e::{Byline, Client, Origin, ask, before, get};

const PERSON: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n";

/// Fields that the proxy sets or takes away by itself, on the way to the origin and back.
const SET_BY_US: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
const HOP_BY_HOP: [&str; 2] = ["connection", "keep-alive"];

fn start(origin: &Origin) -> Byline {
    before(origin.url()).start()
}

/// Asks both, and holds the proxied answer to the direct one: status line, fields with their spelling, body.
fn check_same(origin: &Origin, byline: &Byline, request: &str) {
    let direct = ask(origin.addr(), request);
    let proxied = ask(byline.listen, request);
    let status_line = |head: &[u8]| String::from_utf8_lossy(head).lines().next().map(str::to_owned);
    assert_eq!(status_line(&proxied.head), status_line(&direct.head), "{request}");
    let (mut ours, mut theirs) = (proxied.fields.without(&HOP_BY_HOP), direct.fields.without(&HOP_BY_HOP));
    // Fields of one name keep their order; between names it carries no meaning (RFC 9110 §5.3).
    ours.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    theirs.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    assert_eq!(ours, theirs, "{request}");
    assert_eq!(proxied.body, direct.body, "{request}");
}

#[test]
fn answers_are_the_origins_to_the_letter() {
    let origin = Origin::site(|request| match request.target.as_str() {
        "/page" => ok(
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: nginx\r\nContent-Type: text/html\r\nETag: \"a\"\r\n\
             set-cookie: a=1\r\nSet-Cookie: b=2\r\nX-oDD-cASe: yes\r\nX-Empty:\r\nVary: Accept-Encoding\r\n",
            "<p>hello</p>",
        ),
        "/bare" => ok("", "no fields at all"),
        "/latin" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nX-Name: caf\xe9\r\nContent-Length: 2\r\n\r\n".to_vec();
            answer.extend(b"ok");
            answer
        }
        "/gone" => b"HTTP/1.1 404 Nowhere To Be Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/moved" => {
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: http://site.test/page\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        }
        "/odd" => b"HTTP/1.1 599 Odd\r\nContent-Length: 3\r\n\r\nodd".to_vec(),
        _ => ok("Content-Encoding: gzip\r\n", [0x1f, 0x8b, 0, 255, 13, 10, 0]),
    });
    let byline = start(&origin);
    for path in ["/page", "/bare", "/latin", "/gone", "/moved", "/odd", "/bytes"] {
        check_same(&origin, &byline, &get(path, PERSON));
    }
}

#[test]
fn the_origin_gets_the_request_as_it_was_sent() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let lines = "user-AGENT: Mozilla/5.0\r\nAccept: */*\r\nCookie: a=1; b=\"2\"\r\nX-twice: 1\r\nX-Twice: 2\r\n\
                 aCCEPT-encoding: gzip, br\r\nX-Empty:\r\nAuthorization: Basic YTpi\r\n";
    let request = get("/a/%7Eb/../c%2fd//e;p=1?q=%20|x&y[]=%E2%82%AC", lines);
    let mut client = byline.client();
    let local = client.local();
    assert_eq!(client.ask(&request).status, 200);

    let seen = origin.request();
    assert_eq!(seen.target, "/a/%7Eb/../c%2fd//e;p=1?q=%20|x&y[]=%E2%82%AC");
    let sent = e2e::wire::Fields::of_head(request.as_bytes());
    let (mut ours, mut theirs) = (seen.fields.without(&SET_BY_US), sent.without(&[]));
    ours.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    theirs.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    assert_eq!(ours, theirs);
    assert_eq!(seen.fields.all("x-forwarded-for"), [local.ip().to_string()]);
    assert_eq!(seen.fields.all("x-forwarded-host"), ["site.test"]);
    assert_eq!(seen.fields.all("x-forwarded-proto"), ["http"]);
    assert!(!seen.fields.has("via") && !seen.fields.has("forwarded"));
}

#[test]
fn people_leave_no_record() {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = start(&origin);
    for agent in
        ["Mozilla/5.0", "Googlebot/2.1 (+http://www.google.com/bot.html)", "curl/8.5.0", "Feedly/1.0"]
    {
        assert_eq!(byline.ask(get("/", &format!("User-Agent: {agent}\r\n"))).status, 200);
    }
    byline.stop();
    assert_eq!(byline.records(), Vec::<serde_json::Value>::new());
}

#[test]
fn answers_without_a_body_keep_what_they_say_about_it() {
    let origin = Origin::site(|request| match (request.method.as_str(), request.target.as_str()) {
        ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"e\"\r\n\r\n".to_vec(),
        (_, "/204") => b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nCache-Control: max-age=9\r\n\r\n".to_vec(),
    });
    let byline = start(&origin);
    let mut client = byline.client();
    // All on one connection: a body that was never there must not shift the next answer.
    let head = client.ask(format!("HEAD /head HTTP/1.1\r\nHost: site.test\r\n{PERSON}\r\n"));
    assert_eq!((head.status, head.field("content-length"), head.field("etag")), (200, "1234", "\"e\""));
    let none = client.ask(get("/204", PERSON));
    assert_eq!((none.status, none.field("x-a"), none.fields.has("content-length")), (204, "b", false));
    assert!(!none.fields.has("transfer-encoding"));
    let same = client.ask(get("/304", &format!("If-None-Match: \"e\"\r\n{PERSON}")));
    assert_eq!((same.status, same.field("etag"), same.field("cache-control")), (304, "\"e\"", "max-age=9"));
    assert_eq!(origin.requests()[2].fields.all("if-none-match"), ["\"e\""]);
}

#[test]
fn an_expected_continue_comes_before_the_body() {
    let origin = Origin::start(|visit| {
        while let Some(mut request) = visit.head() {
            if request.fields.has("expect") {
                let _ = visit.write("HTTP/1.1 100 Continue\r\n\r\n");
            }
            visit.body(&mut request);
            let _ = visit.write(ok("", &request.body));
        }
    });
    let byline = start(&origin);
    let mut client = byline.client();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let interim = client.head().expect("an interim answer before any body was sent");
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    client.send("hello");
    assert_eq!(client.answer("POST").text(), "hello");
}

#[test]
fn a_range_is_asked_and_answered() {
    let origin = Origin::answering(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/20\r\nContent-Length: 5\r\n\r\n56789",
    );
    let byline = start(&origin);
    let answer = byline.ask(get("/", &format!("Range: bytes=5-9\r\nIf-Range: \"e\"\r\n{PERSON}")));
    assert_eq!((answer.status, answer.field("content-range")), (206, "bytes 5-9/20"));
    assert_eq!(answer.text(), "56789");
    let seen = origin.request().fields;
    assert_eq!((seen.first("range"), seen.first("if-range")), (Some("bytes=5-9"), Some("\"e\"")));
}

#[test]
fn trailers_pass_in_both_directions() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Check: sum\r\n\r\n",
    );
    let byline = start(&origin);
    let answer = byline.ask(
        "POST / HTTP/1.1\r\nHost: site.test\r\nTE: trailers\r\nTrailer: X-Up\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Up: 7\r\n\r\n",
    );
    assert_eq!((answer.text().as_str(), answer.end), ("abc", End::Chunked));
    assert_eq!(answer.trailers.first("x-check"), Some("sum"));
    let seen = origin.request();
    assert_eq!((seen.body.as_slice(), seen.end), (b"hi".as_slice(), End::Chunked));
    assert_eq!(seen.trailers.first("x-up"), Some("7"));
}

#[test]
fn an_event_passes_before_the_next_one_exists() {
    let (heard, hears) = mpsc::channel::<()>();
    let hears = Mutex::new(hears);
    let origin = Origin::start(move |visit| {
        visit.request();
        let _ = visit.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            let _ = visit.write(format!("{:x}\r\n{event}\r\n", event.len()));
            // The next event is made only when the client has this one.
            if hears.lock().is_ok_and(|hears| hears.recv().is_err()) {
                return;
            }
        }
        let _ = visit.write("0\r\n\r\n");
    });
    for agent in [PERSON, "User-Agent: GPTBot/1.2\r\n"] {
        let byline = start(&origin);
        let mut client = byline.client();
        client.send(get("/events", agent));
        client.head().expect("the head comes at once");
        let mut seen = Vec::new();
        let mut slowest = std::time::Duration::ZERO;
        for number in 0..5 {
            let asked = Instant::now();
            while !String::from_utf8_lossy(&seen).contains(&format!("data: {number}\n\n")) {
                let more = client.some();
                assert!(!more.is_empty(), "the stream ended before event {number}");
                seen.extend(more);
            }
            slowest = slowest.max(asked.elapsed());
            heard.send(()).expect("the origin listens");
        }
        while !seen.ends_with(b"0\r\n\r\n") {
            let more = client.some();
            assert!(!more.is_empty(), "the stream has no end: {:?}", String::from_utf8_lossy(&seen));
            seen.extend(more);
        }
        println!("slowest event: {slowest:?}");
    }
}

#[test]
fn an_upgrade_that_was_asked_for_becomes_a_tunnel() {
    let origin = Origin::start(|visit| {
        let request = visit.head().expect("a request");
        assert_eq!(request.fields.first("upgrade"), Some("websocket"));
        assert!(request.fields.first("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")));
        let _ = visit.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nwelcome",
        );
        loop {
            let bytes = visit.some();
            if bytes.is_empty() || visit.write(bytes).is_err() {
                return;
            }
        }
    });
    let byline = start(&origin);
    let mut client = byline.client();
    client.send(get(
        "/chat",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n",
    ));
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.field("upgrade")), (101, "websocket"));
    assert_eq!(answer.field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(client.take(7), b"welcome");
    for round in 0u8..20 {
        let sent: Vec<u8> = (0..1000).map(|i| (i as u8) ^ round).collect();
        client.send(&sent);
        assert_eq!(client.take(1000), sent);
    }
    client.finish_sending();
    assert!(client.closed(), "the tunnel ends with its client");
}

#[test]
fn a_chunked_answer_streams_as_it_comes() {
    let gate = Arc::new(std::sync::Barrier::new(2));
    let held = gate.clone();
    let origin = Origin::start(move |visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        held.wait();
        let _ = visit.write("6\r\nsecond\r\n0\r\n\r\n");
    });
    let byline = start(&origin);
    let mut client = byline.client();
    client.send(get("/", PERSON));
    client.head().expect("the head comes at once");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("first") {
        seen.extend(client.some());
    }
    gate.wait();
    while !seen.ends_with(b"0\r\n\r\n") {
        let more = client.some();
        assert!(!more.is_empty());
        seen.extend(more);
    }
    assert!(String::from_utf8_lossy(&seen).contains("second"));
}

#[test]
fn a_request_body_streams_as_it_comes() {
    let (arrived, arrives) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        visit.head();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("last") {
            let more = visit.some();
            if more.is_empty() {
                return;
            }
            seen.extend(more);
            let _ = arrived.send(String::from_utf8_lossy(&seen).into_owned());
        }
        let _ = visit.write(ok("", "thanks"));
    });
    let byline = start(&origin);
    let mut client = byline.client();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let limit = e2e::wait::PATIENCE;
    while !arrives.recv_timeout(limit).expect("the first part before the second exists").contains("first") {}
    client.send("4\r\nlast\r\n0\r\n\r\n");
    assert_eq!(client.answer("POST").text(), "thanks");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the close");
    });
    let byline = start(&origin);
    let answer = byline.ask(get("/", PERSON));
    assert_eq!(answer.text(), "until the close");
    assert!(answer.complete());
}

#[test]
fn an_old_client_is_understood() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let byline = start(&origin);
    let answer = byline.ask("GET / HTTP/1.0\r\nHost: site.test\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    assert_eq!(answer.end, End::Close, "HTTP/1.0 knows no chunks: {:?}", answer.fields);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::site(|request| ok("", &request.target));
    let byline = start(&origin);
    let mut client = byline.client();
    client.send((0..10).map(|n| get(&format!("/{n}"), PERSON)).collect::<String>());
    for n in 0..10 {
        assert_eq!(client.answer("GET").text(), format!("/{n}"));
    }
}

#[test]
fn connections_to_the_origin_are_used_again() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let mut client = byline.client();
    for _ in 0..20 {
        assert_eq!(client.ask(get("/", PERSON)).status, 200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (20, 1));
}

#[test]
fn any_method_reaches_the_origin() {
    let origin = Origin::site(|request| ok("", format!("{} {}", request.method, request.target)));
    let byline = start(&origin);
    for method in ["OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "QUERY", "X-OWN"] {
        let request = format!("{method} /dav HTTP/1.1\r\nHost: site.test\r\nContent-Length: 2\r\n\r\n{{}}");
        assert_eq!(byline.ask(request).text(), format!("{method} /dav"));
    }
    assert_eq!(byline.ask("OPTIONS * HTTP/1.1\r\nHost: site.test\r\n\r\n").text(), "OPTIONS *");
}

#[test]
fn a_refusal_before_the_body_reaches_the_client() {
    let origin = Origin::start(|visit| {
        visit.head();
        let _ = visit
            .write("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
        // Taking what is still under way keeps the kernel from answering it with a reset.
        visit.left_within(e2e::wait::PATIENCE);
    });
    let byline = start(&origin);
    let mut client = byline.client();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100000\r\n\r\nbegin");
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn a_closed_client_connection_is_honoured() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let mut client: Client = byline.client();
    assert_eq!(client.ask(get("/", "Connection: close\r\n")).status, 200);
    assert!(client.closed());
}

#[test]
fn a_get_may_have_a_chunked_body() {
    let origin = Origin::site(|request| ok("", &request.body[..]));
    let byline = start(&origin);
    let request = "GET /_search HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   7\r\n{\"q\":1}\r\n0\r\n\r\n";
    assert_eq!(byline.client().ask(request).text(), "{\"q\":1}");
}
