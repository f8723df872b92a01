//! HTTP/2 on both listeners: what goes through, and what an h1 origin must never hear of.

use bytes::Bytes;
use e2e::h2c::{self, Connection, Verdict, block_on, frame, preface, request_block};
use e2e::origin::ok;
use e2e::wire::End;
use e2e::{Both, Byline, On, Origin, before};
use http::{HeaderMap, Request};

fn start(origin: &Origin) -> Byline {
    before(origin.url()).start()
}

/// A process with a TLS listener for `site.test` as well.
fn start_both(origin: &Origin) -> Both {
    Both::start(&origin.url(), "")
}

#[test]
fn a_get_with_prior_knowledge() {
    let origin = Origin::answering(ok("X-oDD: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n", "hello"));
    let byline = start(&origin);
    let answer = block_on(async {
        let mut connection = Connection::plain(byline.listen).await?;
        let request = Request::get("http://site.test/a%2Fb?c=d").header("x-one", "1").body(());
        Ok::<_, std::io::Error>(connection.ask(request.expect("well formed"), b"").await.expect("an answer"))
    })
    .expect("a connection");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
    assert_eq!(answer.fields["x-odd"], "1");
    assert_eq!(answer.fields.get_all("set-cookie").iter().count(), 2);
    let seen = origin.request();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a%2Fb?c=d"));
    assert_eq!(seen.fields.all("host"), ["site.test"]);
    assert_eq!(
        (seen.fields.first("x-one"), seen.fields.first("x-forwarded-proto")),
        (Some("1"), Some("http"))
    );
}

#[test]
fn both_protocols_by_alpn() {
    let origin = Origin::site(|request| ok("", request.fields.first("x-forwarded-proto").unwrap_or("none")));
    let Both { authority, byline } = start_both(&origin);
    let answer = block_on(async {
        let config = authority.client(&["h2", "http/1.1"]);
        let mut connection =
            Connection::tls(byline.tls, "site.test", config).await.expect("a TLS connection");
        connection.ask(h2c::get("https://site.test/"), b"").await.expect("an answer")
    });
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"https".as_slice()));
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = e2e::Client::connect_tls(byline.tls, "site.test", authority.client(alpn));
        assert_eq!(client.ask(e2e::get("/", "")).text(), "https");
    }
}

#[test]
fn many_streams_at_once() {
    let origin = Origin::site(|request| ok("", request.target.repeat(1000)));
    let byline = start(&origin);
    block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        let mut answers = Vec::new();
        for n in 0..50 {
            let request = h2c::get(&format!("http://site.test/{n}"));
            answers.push((n, connection.open(request, true).await.expect("a stream").0));
        }
        for (n, answer) in answers {
            let answer = h2c::collect(answer.await.expect("an answer")).await.expect("a body");
            assert_eq!(answer.body, format!("/{n}").repeat(1000).into_bytes());
        }
    });
}

#[test]
fn bodies_and_trailers_in_both_directions() {
    let origin = Origin::site(|request| {
        assert_eq!(request.end, End::Chunked);
        let sum = request.trailers.first("x-sum").unwrap_or("none").to_owned();
        let length = request.body.len().to_string();
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{length}\r\n0\r\nX-Back: {sum}\r\n\r\n", length.len())
            .into_bytes()
    });
    let both = start_both(&origin);
    for on in On::BOTH {
        block_on(async {
            let mut connection = both.h2(on).await;
            let request =
                Request::post("http://site.test/").header("te", "trailers").header("trailer", "x-sum");
            let request = request.body(()).expect("well formed");
            let (answer, mut sender) = connection.open(request, false).await.expect("a stream");
            sender.send_data(Bytes::from(vec![b'a'; 10_000]), false).expect("data");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().expect("a value"));
            sender.send_trailers(trailers).expect("trailers");
            let answer = h2c::collect(answer.await.expect("an answer")).await.expect("a body");
            assert_eq!(answer.body, b"10000");
            assert_eq!(answer.trailers.expect("trailers came back")["x-back"], "7");
        });
    }
}

#[test]
fn answers_without_a_body() {
    let origin = Origin::site(|request| match (request.method.as_str(), request.target.as_str()) {
        ("HEAD", _) => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        (_, "/204") => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n".to_vec(),
    });
    let byline = start(&origin);
    block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        let head = Request::head("http://site.test/").body(()).expect("well formed");
        let head = connection.ask(head, b"").await.expect("an answer");
        assert_eq!(
            (head.status, &head.fields["content-length"]),
            (200, &http::HeaderValue::from_static("1234"))
        );
        for (path, status) in [("/204", 204), ("/304", 304)] {
            let answer = connection.ask(h2c::get(&format!("http://site.test{path}")), b"").await;
            assert_eq!(answer.expect("an answer").status, status);
        }
    });
}

#[test]
fn a_cut_answer_resets_its_stream_and_no_other() {
    let origin = Origin::start(|visit| {
        while let Some(request) = visit.request() {
            if request.target == "/cut" {
                let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin");
                return;
            }
            let _ = visit.write(ok("", "fine"));
        }
    });
    let both = start_both(&origin);
    for on in On::BOTH {
        block_on(async {
            let mut connection = both.h2(on).await;
            let cut = connection.ask(h2c::get("http://site.test/cut"), b"").await;
            assert!(cut.is_err(), "a cut body came through as whole: {cut:?}");
            let fine =
                connection.ask(h2c::get("http://site.test/"), b"").await.expect("the connection lives");
            assert_eq!(fine.body, b"fine");
        });
    }
}

#[test]
fn a_stream_that_is_reset_takes_its_fetch_along() {
    for on in On::BOTH {
        let (left, leaves) = std::sync::mpsc::channel();
        let origin = Origin::start(move |visit| {
            visit.request();
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegin");
            let _ = left.send(visit.left_within(e2e::wait::PATIENCE));
        });
        let both = start_both(&origin);
        block_on(async {
            let mut connection = both.h2(on).await;
            let (answer, mut sender) =
                connection.open(h2c::get("http://site.test/"), true).await.expect("a stream");
            let answer = answer.await.expect("a head");
            sender.send_reset(h2::Reason::CANCEL);
            drop(answer);
            let gone = tokio::task::spawn_blocking(move || leaves.recv_timeout(e2e::wait::PATIENCE));
            assert!(gone.await.expect("a thread").expect("the origin's word"), "the fetch goes on");
        });
    }
}

/// Both listeners, and an origin that must hear nothing.
struct Bench {
    origin: Origin,
    both: Both,
}

impl Bench {
    fn new() -> Bench {
        let origin = Origin::answering(ok("", "x"));
        let both = start_both(&origin);
        Bench { origin, both }
    }

    /// Sends these frames after the preface, plain and over TLS: the stream must fail.
    fn refuses(&self, what: &str, frames: &[u8]) {
        for on in On::BOTH {
            let mut client = self.both.client(on, "h2");
            client.send([preface(), frames.to_vec()].concat());
            match h2c::verdict(&mut client, 1) {
                Verdict::Status(status) => assert!((400..500).contains(&status), "{what}, {on}: {status}"),
                Verdict::Reset(_) | Verdict::GoAway(_) | Verdict::Closed => {}
            }
            assert!(self.origin.untouched(), "{what}, {on}: the origin got {:?}", self.origin.requests());
        }
    }
}

fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &request_block(fields))
}

#[test]
fn names_and_values_that_h1_could_not_hold() {
    let bench = Bench::new();
    for (name, value) in [
        ("X-Upper", "1"),
        ("x y", "1"),
        ("x:y", "1"),
        ("x\r\ny", "1"),
        ("x\0y", "1"),
        ("", "1"),
        ("x-a", "b\r\nc: d"),
        ("x-a", "b\nc"),
        ("x-a", "b\rc"),
        ("x-a", "b\0c"),
        ("x\u{e9}", "1"),
        ("x(y)", "1"),
        ("x-a", "b\u{1}"),
    ] {
        bench.refuses(&format!("{name:?}: {value:?}"), &headers(&[(name, value)]));
    }
}

#[test]
fn connection_fields_have_no_place_in_h2() {
    let bench = Bench::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        bench.refuses(&format!("{name}: {value}"), &headers(&[(name, value)]));
    }
}

#[test]
fn pseudo_fields_are_exactly_what_they_are() {
    let bench = Bench::new();
    let whole = |fields: &[(&str, &str)]| {
        frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &h2c::block(fields))
    };
    let (method, scheme, path, host) =
        ((":method", "GET"), (":scheme", "http"), (":path", "/bad"), (":authority", "site.test"));
    for (what, fields) in [
        ("none", vec![("x-a", "b")]),
        ("no method", vec![scheme, path, host]),
        ("no path", vec![method, scheme, host]),
        ("no scheme", vec![method, path, host]),
        ("an empty path", vec![method, scheme, (":path", ""), host]),
        ("a path without its slash", vec![method, scheme, (":path", "bad"), host]),
        ("a path with a space", vec![method, scheme, (":path", "/a b"), host]),
        ("a path with a line", vec![method, scheme, (":path", "/a HTTP/1.1\r\nx: y"), host]),
        ("two paths", vec![method, scheme, path, path, host]),
        ("two methods", vec![method, method, scheme, path, host]),
        ("a method with a space", vec![(":method", "GET /x"), scheme, path, host]),
        ("an unknown one", vec![method, scheme, path, host, (":other", "1")]),
        ("a status", vec![method, scheme, path, host, (":status", "200")]),
        ("after a field", vec![method, scheme, path, ("x-a", "b"), host]),
        ("no host at all", vec![method, scheme, path]),
        ("credentials", vec![method, scheme, path, (":authority", "a:b@site.test")]),
        ("a slash in the host", vec![method, scheme, path, (":authority", "site.test/x")]),
        ("a comma in the host", vec![method, scheme, path, (":authority", "site.test,b.test")]),
        ("another host field", vec![method, scheme, path, host, ("host", "other.test")]),
        ("two host fields", vec![method, scheme, path, host, ("host", "site.test"), ("host", "site.test")]),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "site.test:443")]),
        ("extended CONNECT", vec![(":method", "CONNECT"), (":protocol", "websocket"), scheme, path, host]),
    ] {
        bench.refuses(what, &whole(&fields));
    }
}

#[test]
fn cookies_in_pieces_become_one_for_the_origin() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let mut client = byline.client();
    let crumbs = [("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=\"2; 3\""), ("cookie", "c=3")];
    client.send([preface(), headers(&crumbs)].concat());
    assert_eq!(h2c::verdict(&mut client, 1), Verdict::Status(200));
    assert_eq!(origin.requests()[0].fields.all("cookie"), ["a=1; b=\"2; 3\"; c=3"]);
    // HTTP/1.1 has no such rule: what came in two fields goes on in two.
    assert_eq!(byline.ask(e2e::get("/", "Cookie: a=1\r\nCookie: b=2\r\n")).status, 200);
    assert_eq!(origin.requests()[1].fields.all("cookie"), ["a=1", "b=2"]);
}

#[test]
fn a_length_without_data_is_refused() {
    let bench = Bench::new();
    for length in ["1", "5", "18446744073709551616"] {
        bench.refuses(length, &headers(&[("content-length", length)]));
    }
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let mut client = byline.client();
    client.send([preface(), headers(&[("content-length", "0")])].concat());
    assert_eq!(h2c::verdict(&mut client, 1), Verdict::Status(200));
}

#[test]
fn a_head_of_too_many_fields_is_refused() {
    let bench = Bench::new();
    let names: Vec<String> = (0..200).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    bench.refuses("200 fields", &headers(&many));
}

#[test]
fn trailers_of_a_request_cannot_become_fields() {
    let names =
        "x-sum, host, cookie, authorization, content-length, x-forwarded-for, x_forwarded_for, content-type";
    let post = h2c::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "site.test"),
        ("trailer", names),
        ("te", "trailers"),
    ]);
    let trailers: Vec<(&str, &str)> = names.split(", ").map(|name| (name, "4")).collect();
    for on in On::BOTH {
        let origin = Origin::answering(ok("", "complete"));
        let both = start_both(&origin);
        let mut client = both.client(on, "h2");
        client.send(
            [
                preface(),
                frame(h2c::HEADERS, h2c::END_HEADERS, 1, &post),
                frame(h2c::DATA, 0, 1, b"data"),
                frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &h2c::block(&trailers)),
            ]
            .concat(),
        );
        assert_eq!(h2c::verdict(&mut client, 1), Verdict::Status(200), "{on}");
        let seen = origin.request();
        assert_eq!(
            (seen.body.as_slice(), seen.trailers.0),
            (&b"data"[..], vec![("x-sum".to_owned(), "4".to_owned())]),
            "{on}"
        );
    }
}

#[test]
fn lengths_that_the_data_do_not_keep() {
    let post = |length: &str| {
        let fields = h2c::block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/bad"),
            (":authority", "site.test"),
            ("content-length", length),
        ]);
        frame(h2c::HEADERS, h2c::END_HEADERS, 1, &fields)
    };
    for (length, data) in
        [("3", "12"), ("1", "12"), ("0", "1"), ("-1", ""), ("+2", "12"), ("2, 2", "12"), ("x", "12")]
    {
        for on in On::BOTH {
            let origin = Origin::start(|visit| {
                while let Some(request) = visit.request() {
                    assert!(!matches!(request.end, End::Length | End::Chunked), "{request:?}");
                }
            });
            let both = start_both(&origin);
            let mut client = both.client(on, "h2");
            let body = frame(h2c::DATA, h2c::END_STREAM, 1, data.as_bytes());
            client.send([preface(), post(length), body].concat());
            let verdict = h2c::verdict(&mut client, 1);
            assert!(
                !matches!(verdict, Verdict::Status(status) if status < 400),
                "content-length {length} for {data:?}, {on}: {verdict:?}"
            );
            for request in origin.requests() {
                let complete = matches!(request.end, End::Length | End::Chunked);
                assert!(!complete, "content-length {length} for {data:?}, {on}: complete at the origin");
            }
        }
    }
}

#[test]
fn trailers_hold_no_pseudo_fields() {
    for (field, may_pass) in [
        // A parser that forgets such a field leaves nothing to misread; one that keeps it must refuse it.
        ((":path", "/other"), true),
        ((":status", "200"), true),
        (("X-Upper", "1"), false),
        (("x", "a\r\nb: c"), false),
        (("connection", "close"), false),
    ] {
        for on in On::BOTH {
            let origin = Origin::answering(ok("", "complete"));
            let both = start_both(&origin);
            let mut client = both.client(on, "h2");
            let post = h2c::block(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/bad"),
                (":authority", "site.test"),
            ]);
            client.send(
                [
                    preface(),
                    frame(h2c::HEADERS, h2c::END_HEADERS, 1, &post),
                    frame(h2c::DATA, 0, 1, b"data"),
                    frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &h2c::block(&[field])),
                ]
                .concat(),
            );
            let verdict = h2c::verdict(&mut client, 1);
            let complete: Vec<_> = origin.requests().into_iter().filter(|r| r.end == End::Chunked).collect();
            let passed = matches!(verdict, Verdict::Status(status) if status < 400);
            assert!(!passed || may_pass, "{field:?}, {on}: {verdict:?}");
            assert!(complete.is_empty() || may_pass, "{field:?}, {on}: complete at the origin");
            for request in complete {
                let fields = format!("{:?}{:?}", request.trailers, request.fields);
                assert!(
                    request.target == "/bad" && request.trailers.0.is_empty(),
                    "{field:?}, {on}: {fields}"
                );
            }
        }
    }
}

#[test]
fn frames_out_of_place_end_the_connection() {
    let open = frame(h2c::HEADERS, h2c::END_HEADERS, 1, &request_block(&[]));
    for (what, frames) in [
        ("DATA on an idle stream", frame(h2c::DATA, 0, 1, b"x")),
        ("HEADERS on stream 0", frame(h2c::HEADERS, h2c::END_HEADERS, 0, &request_block(&[]))),
        ("an even stream", frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 2, &request_block(&[]))),
        ("a CONTINUATION of nothing", frame(h2c::CONTINUATION, h2c::END_HEADERS, 1, &request_block(&[]))),
        ("a frame above the limit", frame(h2c::DATA, 0, 1, &vec![0; 20_000])),
        ("a broken field block", frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &[0xff; 20])),
        ("a SETTINGS of 5 bytes", frame(h2c::SETTINGS, 0, 0, &[0; 5])),
    ] {
        for on in On::BOTH {
            let frames =
                if what.contains("above") { [open.clone(), frames.clone()].concat() } else { frames.clone() };
            let origin =
                Origin::start(|visit| while visit.request().is_some_and(|r| r.end == End::Chunked) {});
            let both = start_both(&origin);
            let mut client = both.client(on, "h2");
            client.send([preface(), frames].concat());
            let verdict = h2c::verdict(&mut client, 1);
            assert!(
                matches!(verdict, Verdict::GoAway(_) | Verdict::Closed | Verdict::Reset(_)),
                "{what}, {on}: {verdict:?}"
            );
            assert_eq!(
                both.byline.ask(e2e::get("/", "Connection: close\r\n")).status / 100,
                5,
                "{what}, {on}: the others live"
            );
        }
    }
}
