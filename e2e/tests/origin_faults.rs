//! An origin that breaks, lies or floods: the client learns of it, and no connection to it is used again.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use e2e::byline::Setup;
use e2e::config::{RICH, RICH_AGENT, SHOP};
use e2e::h2c::{self, block_on};
use e2e::origin::ok;
use e2e::wait::PATIENCE;
use e2e::wire::End;
use e2e::{Both, Byline, Client, On, Origin, Visit, before, configured, get};

/// On one thread, so that every request has the connections of the one before to use again.
fn start(origin: &Origin) -> Byline {
    configured(e2e::config::site(&origin.url(), "threads = 1\n")).start()
}

/// An origin whose `/bad` does this, and whose every other path is fine.
fn bad(answer: impl Fn(&mut Visit) + Send + Sync + 'static) -> Origin {
    Origin::start(move |visit| {
        while let Some(request) = visit.request() {
            if request.target == "/bad" {
                answer(visit);
                // What stays readable here is what a proxy might wrongly go on using.
                continue;
            }
            if visit.write(ok("", "good")).is_err() {
                return;
            }
        }
    })
}

/// The answer to `/bad` is a 502 or is cut, and the next request goes to the origin on a new connection: for people over
/// both protocols, plain and over TLS, and for a crawler, whose record says so.
fn is_not_passed_on(what: &str, answer: &'static [u8]) {
    let origin = bad(move |visit| drop(visit.write(answer)));
    let both = Both::start(&origin.url(), "threads = 1\n");
    for (on, agent) in [(On::Plain, ""), (On::Plain, "User-Agent: GPTBot/1.2\r\n"), (On::Tls, "")] {
        let mut client = both.client(on, "http/1.1");
        client.send(get("/bad", agent));
        if let Some(answer) = client.try_answer("GET").expect("an answer or an end in time") {
            let is_bad = answer.status == 502 || !answer.complete();
            assert!(is_bad, "{what}, {on}: {} {:?} came through as whole", answer.status, answer.text());
        }
        goes_on_by_a_new_connection(what, &both.byline, &origin);
    }
    for on in On::BOTH {
        block_on(async {
            let answer = both.h2(on).await.ask(h2c::get("http://site.test/bad"), b"").await;
            let is_bad = answer.as_ref().map_or(true, |answer| answer.status == 502);
            assert!(is_bad, "{what}, h2, {on}: {answer:?} came through as whole");
        });
        goes_on_by_a_new_connection(what, &both.byline, &origin);
    }
    let outcome = both.byline.wait_for_records(1)[0]["outcome"].clone();
    assert!(outcome == "origin-failed" || outcome == "truncated", "{what}: {outcome}");
}

/// After a `/bad` that reached the origin, the next request does so as well, but not on the same connection.
fn goes_on_by_a_new_connection(what: &str, byline: &Byline, origin: &Origin) {
    let before = origin.requests();
    let next = byline.ask(get("/good", ""));
    assert_eq!((next.status, next.text().as_str()), (200, "good"), "{what}");
    let requests = origin.requests();
    let [bad, good] = &requests[before.len() - 1..] else { panic!("{what}: {requests:?}") };
    assert_eq!((bad.target.as_str(), good.target.as_str()), ("/bad", "/good"), "{what}");
    assert_ne!(bad.connection, good.connection, "{what}: the connection was used again");
}

#[test]
fn lengths_that_disagree() {
    is_not_passed_on("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc");
    is_not_passed_on("a list", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc");
    is_not_passed_on("a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab");
    is_not_passed_on("no number", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab");
    is_not_passed_on("none", b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nab");
    is_not_passed_on(
        "more than there is",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nab",
    );
    is_not_passed_on("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab");
}

#[test]
fn a_length_beside_chunks() {
    // Either it is refused, or the chunks count, the length is gone and the connection is not used again.
    for lines in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        let origin = bad(move |visit| drop(visit.write(&answer)));
        let byline = start(&origin);
        let answer = byline.ask(get("/bad", ""));
        if answer.status == 200 {
            assert_eq!(answer.text(), "ab");
            let both = answer.fields.has("content-length") && answer.fields.has("transfer-encoding");
            assert!(!both && answer.field("content-length") != "3", "{:?}", answer.fields);
        } else {
            assert_eq!(answer.status, 502);
        }
        goes_on_by_a_new_connection(lines, &byline, &origin);
    }
}

#[test]
fn chunks_that_are_broken() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(100_000));
    let trailers = format!("2\r\nab\r\n0\r\nX-A: {}\r\n\r\n", "a".repeat(300_000));
    for chunks in [
        "x\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nab",
        "2\r\nab0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\nX A: b\r\n\r\n",
        "2\r\nab\r\n0\r\n X-A: b\r\n\r\n",
        &extension,
        &trailers,
    ] {
        let bytes: &'static [u8] = Vec::leak(format!("{head}{chunks}").into_bytes());
        is_not_passed_on(&chunks[..chunks.len().min(60)], bytes);
    }
}

#[test]
fn transfer_codings_that_nobody_asked_for() {
    for coding in ["cow", "gzip", "chunked, gzip", "chunked, chunked"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        is_not_passed_on(coding, Vec::leak(bytes.into_bytes()));
    }
}

#[test]
fn heads_that_are_broken() {
    is_not_passed_on("no HTTP", b"hello, this is not HTTP\r\n\r\n");
    is_not_passed_on("no status", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("a folded field", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("NUL", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("bare CR", b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("HTTP/0.9", b"<p>hello</p>\r\n\r\n");
    is_not_passed_on("HTTP/2", b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("a status below 100", b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on("a name with a space", b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n");
    is_not_passed_on(
        "chunks in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    );
}

#[test]
fn content_where_none_may_be_is_nobodys_answer() {
    // What follows a head that ends its message is no part of any other.
    for (what, request, head) in [
        ("HEAD", "HEAD", "200 OK\r\nContent-Length: 44"),
        ("204", "GET", "204 No Content\r\nContent-Length: 44"),
        ("304", "GET", "304 Not Modified\r\nContent-Length: 44"),
        ("an empty body", "GET", "200 OK\r\nContent-Length: 0"),
    ] {
        let poisoned = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        let bytes = format!("HTTP/1.1 {head}\r\n\r\n{poisoned}");
        let origin = bad(move |visit| drop(visit.write(&bytes)));
        let byline = start(&origin);
        let mut client = byline.client();
        for _ in 0..3 {
            let bad = client.ask(format!("{request} /bad HTTP/1.1\r\nHost: site.test\r\n\r\n"));
            assert!(bad.body.is_empty(), "{what}: {}", bad.text());
            assert_eq!(client.ask(get("/good", "")).text(), "good", "{what}");
        }
        let requests = origin.requests();
        assert!(
            requests
                .windows(2)
                .all(|pair| pair[0].target == "/good" || pair[0].connection != pair[1].connection),
            "{what}"
        );
    }
}

#[test]
fn a_switch_of_protocol_that_nobody_asked_for() {
    is_not_passed_on(
        "101",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
    );
}

#[test]
fn a_switch_to_another_protocol_than_was_asked_for() {
    for chosen in
        ["Upgrade: h2c\r\n", "Upgrade: websocket, h2c\r\n", "Upgrade: websocket\r\nUpgrade: tcp\r\n", ""]
    {
        let bytes = format!("HTTP/1.1 101 Switching Protocols\r\n{chosen}Connection: Upgrade\r\n\r\nhello");
        let origin = bad(move |visit| drop(visit.write(&bytes)));
        let byline = start(&origin);
        let answer = byline.ask(get("/bad", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
        assert_eq!(answer.status, 502, "{chosen}");
        goes_on_by_a_new_connection(chosen, &byline, &origin);
    }
}

#[test]
fn bytes_after_the_body_are_nobodys_answer() {
    let origin = bad(|visit| {
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
    });
    let byline = start(&origin);
    let mut client = byline.client();
    assert_eq!(client.ask(get("/bad", "")).text(), "ok");
    for _ in 0..3 {
        assert_eq!(client.ask(get("/good", "")).text(), "good");
    }
}

#[test]
fn a_flood_of_interim_answers_ends() {
    let (sent, sends) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        visit.request();
        let mut count = 0u32;
        while count < 200_000 && visit.write("HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n").is_ok() {
            count += 1;
        }
        let _ = sent.send(count);
    });
    let byline = start(&origin);
    let rss = byline.rss_kib();
    let mut client = byline.client();
    client.send(get("/", ""));
    let answer = client.try_answer("GET").expect("an end of it in time");
    assert!(answer.is_none_or(|answer| answer.status == 502));
    assert!(
        sends.recv_timeout(PATIENCE).expect("the origin's count") < 200_000,
        "the flood was read to its end"
    );
    assert!(byline.rss_kib() < rss + 20 * 1024);
}

#[test]
fn a_head_of_600_kb_is_too_much() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\n");
        for number in 0..600 {
            if visit.write(format!("X-{number}: {}\r\n", "a".repeat(1000))).is_err() {
                return;
            }
        }
        let _ = visit.write("Content-Length: 0\r\n\r\n");
    });
    let byline = start(&origin);
    assert_eq!(byline.ask(get("/", "")).status, 502);
}

#[test]
fn an_answer_that_is_cut_is_cut_for_the_client() {
    // More than is held of a crawler's answer: a shorter one would be a clean 502.
    const SENT: usize = 80_000;
    let part = "x".repeat(SENT);
    for (head, part) in [
        ("Content-Length: 200000", part.clone()),
        ("Transfer-Encoding: chunked", format!("{SENT:x}\r\n{part}\r\n")),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}");
        let origin = bad(move |visit| {
            let _ = visit.write(&bytes);
            visit.close();
        });
        let policy = |setup: Setup| setup.policy(SHOP);
        let more = format!("threads = 1\n{}", e2e::config::POLICY);
        let both = Both::prepared(&origin.url(), &more, policy);
        for on in On::BOTH {
            let mut client = both.client(on, "http/1.1");
            client.send(get("/bad", ""));
            let answer = client.answer("GET");
            assert_eq!((answer.status, answer.end), (200, End::Cut), "{head}, {on}");
            assert!(answer.body.len() <= SENT);
            assert_eq!(both.byline.ask(get("/good", "")).text(), "good");
            block_on(async {
                let mut connection = both.h2(on).await;
                for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
                    let request = http::Request::get("http://site.test/bad").header("user-agent", agent);
                    let request = request.body(()).expect("well formed");
                    let (answer, _) = connection.open(request, true).await.expect("a stream");
                    let (head_came, mut body) = answer.await.expect("a head").into_parts();
                    assert_eq!(head_came.status, 200, "{head}, {on}, {agent}");
                    let mut taken = 0;
                    let end = loop {
                        match body.data().await {
                            Some(Ok(part)) => {
                                taken += part.len();
                                let _ = body.flow_control().release_capacity(part.len());
                            }
                            end => break end,
                        }
                    };
                    let whole = end.as_ref().is_none_or(|end| end.is_ok());
                    assert!(!whole, "{head}, {on}, {agent}: a clean end after {taken} bytes: {end:?}");
                    assert!(taken <= SENT, "{head}, {on}: {taken}");
                    let good = connection.ask(h2c::get("http://site.test/good"), b"").await;
                    assert_eq!(good.expect("the connection lives").body, b"good", "{head}, {on}");
                }
            });
        }
        let records = both.byline.wait_for_records(2);
        assert_eq!(records.len(), 2, "{records:?}");
        for record in &records {
            assert_eq!(record["outcome"], "truncated", "{head}: {record}");
            assert!(record["bytes"].as_u64().is_some_and(|bytes| bytes <= SENT as u64), "{head}: {record}");
        }
    }
}

#[test]
fn an_origin_that_closes_at_once_is_a_bad_gateway() {
    let origin = Origin::start(|visit| {
        visit.request();
    });
    let byline = start(&origin);
    assert_eq!(byline.ask(get("/", "")).status, 502);
}

#[test]
fn an_origin_that_is_not_there_is_a_bad_gateway() {
    let port = e2e::ports::Port::reserve();
    let byline = before(format!("http://{}", port.addr())).start();
    let answer = byline.ask(get("/", ""));
    assert_eq!(answer.status, 502);
    assert!(answer.complete());
    // When it comes back, so does the site.
    let listener = std::net::TcpListener::bind(port.addr()).expect("the reserved port");
    let _origin = Origin::start_on(listener, |visit| {
        while visit.request().is_some() {
            let _ = visit.write(ok("", "back"));
        }
    });
    assert_eq!(byline.ask(get("/", "")).text(), "back");
}

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Reset,
    Close,
    CloseTls,
    H2Close,
    H2CloseTls,
    CrawlersReset,
}

#[test]
fn a_client_that_leaves_takes_its_fetch_along() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        let Some(request) = visit.request() else { return };
        if request.target == "/body" {
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegin");
            // Nobody takes all of this: the proxy waits for its client, which is how it may miss its going.
            let _ = visit.write(vec![b'a'; 1_000_000]);
        }
        let _ = left.send(visit.left_within(PATIENCE));
    });
    let both = Both::prepared(&origin.url(), e2e::config::POLICY, |setup| setup.policy(SHOP));
    let byline = &both.byline;
    for leave in
        [Leave::Reset, Leave::Close, Leave::CloseTls, Leave::H2Close, Leave::H2CloseTls, Leave::CrawlersReset]
    {
        for path in ["/head", "/body"] {
            let before = origin.requests().len();
            let mut client = match leave {
                Leave::Reset | Leave::Close | Leave::H2Close => byline.client(),
                Leave::CloseTls => both.client(On::Tls, "http/1.1"),
                Leave::H2CloseTls => both.client(On::Tls, "h2"),
                Leave::CrawlersReset => Client::connect_from(RICH, byline.listen),
            };
            match leave {
                Leave::H2Close | Leave::H2CloseTls => {
                    let fields = [
                        (":method", "GET"),
                        (":scheme", "http"),
                        (":path", path),
                        (":authority", "site.test"),
                    ];
                    let head =
                        h2c::frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &h2c::block(&fields));
                    client.send([h2c::preface(), head].concat());
                }
                Leave::CrawlersReset => client.send(get(path, RICH_AGENT)),
                _ => client.send(get(path, "")),
            }
            origin.wait_for_requests(before + 1);
            if path == "/body" {
                assert!(!client.some().is_empty(), "the head comes at once");
            }
            let hung_up = Instant::now();
            match leave {
                Leave::Reset | Leave::CrawlersReset => client.reset(),
                _ => drop(client),
            }
            assert!(
                leaves.recv_timeout(PATIENCE).expect("the origin's word"),
                "{leave:?} {path}: the fetch goes on"
            );
            assert!(
                hung_up.elapsed() < Duration::from_secs(2),
                "{leave:?} {path}: after {:?}",
                hung_up.elapsed()
            );
        }
    }
    let outcomes: Vec<_> =
        byline.wait_for_records(2).iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["aborted", "aborted"]);
}

#[test]
fn what_may_have_been_done_is_not_asked_again() {
    // On a connection that had lain idle, the origin takes the request and dies.
    for (method, lines, body) in [
        ("POST", "Content-Length: 0\r\n", ""),
        ("POST", "Content-Length: 2\r\n", "hi"),
        ("PUT", "Content-Length: 2\r\n", "hi"),
        ("DELETE", "", ""),
        ("PATCH", "Content-Length: 2\r\n", "hi"),
        ("GET", "Content-Length: 2\r\n", "hi"),
        ("PROPFIND", "", ""),
    ] {
        let origin = Origin::start(|visit| {
            if visit.request().is_some() {
                let _ = visit.write(ok("", "first"));
                visit.request();
            }
        });
        let byline = start(&origin);
        assert_eq!(byline.ask(get("/", "")).text(), "first");
        let request = format!("{method} /again HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n{body}");
        assert_eq!(byline.ask(request).status, 502, "{method}");
        let seen = origin.requests().iter().filter(|request| request.target == "/again").count();
        assert_eq!(seen, 1, "{method}");
    }
}

#[test]
fn a_get_is_asked_twice_at_most_and_never_on_a_new_connection() {
    let origin = Origin::start(|visit| {
        // The very first request is served, every other finds the end of its connection.
        if visit.number() == 0 && visit.request().is_some() {
            let _ = visit.write(ok("", "first"));
        }
        visit.request();
    });
    let byline = start(&origin);
    assert_eq!(byline.ask(get("/", "")).text(), "first");
    assert_eq!(byline.ask(get("/stale", "")).status, 502);
    assert_eq!(byline.ask(get("/fresh", "")).status, 502);
    let targets: Vec<String> = origin.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(targets, ["/", "/stale", "/stale", "/fresh"]);
}

#[test]
fn a_get_whose_answer_has_begun_is_not_asked_again() {
    let origin = Origin::start(|visit| {
        if visit.number() == 0 && visit.request().is_some() {
            let _ = visit.write(ok("", "first"));
        }
        if visit.request().is_some() {
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Le");
        }
    });
    let byline = start(&origin);
    assert_eq!(byline.ask(get("/", "")).text(), "first");
    assert_eq!(byline.ask(get("/begun", "")).status, 502);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_get_survives_a_stale_connection() {
    let (done, dones) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        // One answer each, then an unannounced end.
        if visit.request().is_some() {
            let _ = visit.write(ok("", "served"));
        }
        visit.close();
        let _ = done.send(());
    });
    let byline = start(&origin);
    let mut client = byline.client();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/", "")).text(), "served");
        dones.recv_timeout(PATIENCE).expect("the origin's end");
    }
}

#[test]
fn the_origins_reset_before_its_head_is_a_bad_gateway() {
    let origin = bad(Visit::reset);
    let byline = start(&origin);
    let mut client = byline.client();
    client.send("POST /bad HTTP/1.1\r\nHost: site.test\r\nContent-Length: 2\r\n\r\nhi");
    origin.wait_for_requests(1);
    origin.end();
    assert_eq!(client.answer("POST").status, 502);
}
