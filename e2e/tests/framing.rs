//! A request whose end two readers could see in two places is refused, and not a byte of it reaches the origin.

use e2e::config::{RICH, RICH_AGENT, SHOP};
use e2e::origin::ok;
use e2e::tls::Authority;
use e2e::wire::End;
use e2e::{Byline, Client, Origin, before, configured};

/// A client that is told off, and an origin that must hear nothing of it.
struct Bench {
    origin: Origin,
    byline: Byline,
    authority: Authority,
}

impl Bench {
    fn new() -> Bench {
        let origin = Origin::answering(ok("", "x"));
        let authority = Authority::new();
        let identity = authority.issue(&["site.test"]);
        let byline = configured(e2e::config::tls_site(&origin.url()))
            .file("chain.pem", &identity.chain_pem)
            .file("key.pem", &identity.key_pem)
            .start();
        Bench { origin, byline, authority }
    }

    /// A client of the plain listener and one of that with TLS.
    fn clients(&self) -> [Client; 2] {
        let tls = self.authority.client(&["http/1.1"]);
        [self.byline.client(), Client::connect_tls(self.byline.tls, "site.test", tls)]
    }

    /// The request is answered with one of these codes, or by the end of the connection, and goes nowhere. What
    /// comes after it on the connection is not read as a request either.
    fn refuses(&self, what: &str, request: impl AsRef<[u8]>, codes: &[u16]) {
        for mut client in self.clients() {
            let _ = client.try_send(request.as_ref());
            let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n");
            // Whatever the proxy still wanted of the request, it does not come.
            client.finish_sending();
            if let Some(answer) = client.try_answer("GET").unwrap_or(None) {
                assert!(codes.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
            }
            assert!(client.closed(), "{what}: the connection stays open");
        }
        let received = self.origin.received().concat();
        assert!(received.is_empty(), "{what}: the origin got {:?}", String::from_utf8_lossy(&received));
    }

    fn refuses_head(&self, what: &str, lines: &str, codes: &[u16]) {
        self.refuses(what, format!("POST /bad HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n"), codes);
    }
}

#[test]
fn a_length_beside_chunks() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).start();
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let mut client = byline.client();
        let before = origin.requests().len();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n";
        client.send(format!("POST /bad HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n0\r\n\r\n{smuggled}"));
        let answer = client.answer("POST");
        assert!(client.closed(), "the connection stays open after {lines}");
        let seen = &origin.requests()[before..];
        if answer.status == 200 {
            // The other good answer: the length is dropped, and the connection ends.
            assert_eq!(seen.len(), 1, "{lines}");
            assert!(!seen[0].fields.has("content-length"), "{:?}", seen[0].fields);
        } else {
            assert_eq!((answer.status, seen.len()), (400, 0), "{lines}");
        }
    }
}

#[test]
fn a_length_that_is_not_one_number() {
    let bench = Bench::new();
    for value in
        ["+5", "-5", "0x5", "5, 6", "5;", "5 5", "", "1e2", "18446744073709551616", "99999999999999999999999"]
    {
        bench.refuses_head(
            &format!("Content-Length: {value}"),
            &format!("Content-Length: {value}\r\n"),
            &[400, 413],
        );
    }
    bench.refuses_head("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", &[400]);
    bench.refuses_head("a length and a sign", "Content-Length: 5\r\nContent-Length: +5\r\n", &[400]);
}

#[test]
fn the_same_length_twice() {
    // RFC 9110 §8.6 allows to fold a repeated value into one; what may not happen is that two go on.
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).start();
    for lines in ["Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length: 2, 2\r\n"] {
        let before = origin.requests().len();
        let answer = byline.ask(format!("POST / HTTP/1.1\r\nHost: site.test\r\n{lines}\r\nhi"));
        let seen = &origin.requests()[before..];
        match answer.status {
            200 => assert_eq!(seen[0].fields.all("content-length"), ["2"], "{lines}"),
            status => assert_eq!((status, seen.len()), (400, 0), "{lines}"),
        }
    }
}

#[test]
fn a_transfer_coding_that_is_not_chunked_alone() {
    let bench = Bench::new();
    for value in [
        "cow",
        "gzip",
        "identity",
        "chunked, chunked",
        ",chunked",
        "chunked,",
        "gzip, chunked",
        "chunked, gzip",
        "\"chunked\"",
        "chunked;q=1",
        "xchunked",
        "chun\u{131}ked",
        "",
    ] {
        bench.refuses_head(
            &format!("Transfer-Encoding: {value}"),
            &format!("Transfer-Encoding: {value}\r\n"),
            &[400, 501],
        );
    }
    for second in ["chunked", "cow", "identity", ""] {
        bench.refuses_head(
            &format!("chunked and {second}"),
            &format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n"),
            &[400, 501],
        );
    }
    bench.refuses_head("a space before the colon", "Transfer-Encoding : chunked\r\n", &[400]);
    bench.refuses_head("an underscore for a dash", "Transfer-Encoding\u{b}: chunked\r\n", &[400]);
    bench.refuses(
        "chunks in HTTP/1.0",
        "POST /bad HTTP/1.0\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    );
}

#[test]
fn control_characters_in_a_head() {
    let bench = Bench::new();
    for byte in [0u8, 1, 8, 11, 12, 13, 27, 31, 127] {
        let mut in_value = b"GET /bad HTTP/1.1\r\nHost: site.test\r\nX-A: a".to_vec();
        in_value.push(byte);
        in_value.extend(b"b\r\n\r\n");
        bench.refuses(&format!("byte {byte} in a value"), in_value, &[400]);
        let mut in_name = b"GET /bad HTTP/1.1\r\nHost: site.test\r\nX-A".to_vec();
        in_name.push(byte);
        in_name.extend(b"B: b\r\n\r\n");
        bench.refuses(&format!("byte {byte} in a name"), in_name, &[400]);
        let mut in_target = b"GET /bad".to_vec();
        in_target.push(byte);
        in_target.extend(b" HTTP/1.1\r\nHost: site.test\r\n\r\n");
        bench.refuses(&format!("byte {byte} in the target"), in_target, &[400]);
    }
}

#[test]
fn lines_without_their_carriage_return() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).start();
    for request in [
        "GET /bad HTTP/1.1\nHost: site.test\n\n",
        "GET /bad HTTP/1.1\r\nHost: site.test\nX-A: b\r\n\r\n",
        "GET /bad HTTP/1.1\r\nHost: site.test\r\nX-A: b\n\r\n",
    ] {
        let mut client = byline.client();
        client.send(request);
        let answer = client.answer("GET");
        if answer.status == 200 {
            let head = origin.requests().pop().expect("it was forwarded").head;
            let bare = head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
            assert!(!bare, "a bare line feed went on: {:?}", String::from_utf8_lossy(&head));
        } else {
            assert_eq!(answer.status, 400, "{request:?}");
        }
    }
}

#[test]
fn lines_folded_or_malformed() {
    let bench = Bench::new();
    for lines in [
        "X-A: b\r\n c\r\n",
        "X-A: b\r\n\tc\r\n",
        " X-A: b\r\n",
        "X-A b\r\n",
        ": b\r\n",
        "X A: b\r\n",
        "X-A : b\r\n",
        "X-\u{e9}: b\r\n",
        "X(A): b\r\n",
        "X-A\r\n",
    ] {
        bench.refuses_head(&format!("{lines:?}"), lines, &[400]);
    }
    for line in [
        "GET  /bad HTTP/1.1",
        "GET /bad",
        "GET /bad HTTP/1.1 x",
        "GET /bad HTTP/2.0",
        "GET /bad HTTP/1.9x",
        "GET /bad http/1.1",
        "GE(T /bad HTTP/1.1",
        "GET /a b HTTP/1.1",
        " GET /bad HTTP/1.1",
        "GET bad HTTP/1.1",
    ] {
        bench.refuses(line, format!("{line}\r\nHost: site.test\r\n\r\n"), &[400, 505]);
    }
}

/// Sends a POST whose chunks are wrong: the origin must not see a request that ends.
fn never_completes(what: &str, chunks: &[u8]) {
    let origin = Origin::start(|visit| {
        while let Some(request) = visit.request() {
            if matches!(request.end, End::Chunked | End::Length) {
                let _ = visit.write(ok("", "complete"));
            }
        }
    });
    let byline = before(origin.url()).start();
    let mut client = byline.client();
    let head = "POST /bad HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = client.try_send([head.as_bytes(), chunks].concat());
    let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n");
    client.finish_sending();
    if let Some(answer) = client.try_answer("POST").unwrap_or(None) {
        assert!(answer.status >= 400, "{what}: {} {}", answer.status, answer.text());
    }
    assert!(client.closed(), "{what}: the connection stays open");
    for request in origin.requests() {
        assert_eq!(request.target, "/bad", "{what}");
        assert!(!matches!(request.end, End::Chunked | End::Length), "{what}: it was completed at the origin");
    }
}

#[test]
fn chunk_sizes_that_are_not_hexadecimal() {
    for size in ["x", "-1", "+1", "0x1", " 1", "1 2", "", "fffffffffffffffff", "1\u{0}"] {
        never_completes(&format!("size {size:?}"), format!("{size}\r\na\r\n0\r\n\r\n").as_bytes());
    }
}

/// Chunks that a lenient reader may take: either they are refused, or the origin gets them in a form that leaves
/// nothing to interpret.
fn reads_one_way(what: &str, chunks: &[u8]) {
    let origin = Origin::answering(ok("", "complete"));
    let byline = before(origin.url()).start();
    let mut client = byline.client();
    let head = "POST /odd HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = client.try_send([head.as_bytes(), chunks].concat());
    client.finish_sending();
    let answer = client.try_answer("POST").unwrap_or(None);
    if answer.is_some_and(|answer| answer.status == 200) {
        let received = origin.received().concat();
        let at = e2e::wire::find(&received, b"\r\n\r\n").expect("a head") + 4;
        let body = String::from_utf8_lossy(&received[at..]).into_owned();
        assert_eq!(body.to_ascii_uppercase(), "1\r\nA\r\n0\r\n\r\n", "{what}");
    } else {
        let complete = origin.requests().iter().any(|request| request.end == End::Chunked);
        assert!(!complete, "{what}: it was completed at the origin");
    }
}

#[test]
fn chunk_extensions_stay_here() {
    reads_one_way("an extension", b"1;a=b\r\na\r\n0\r\n\r\n");
    reads_one_way("NUL", b"1;a=\0\r\na\r\n0\r\n\r\n");
    reads_one_way("bare CR", b"1;a=\rb\r\na\r\n0\r\n\r\n");
    reads_one_way("bare LF", b"1;a=\nb\r\na\r\n0\r\n\r\n");
    reads_one_way("64 kB of it", format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(65_536)).as_bytes());
    reads_one_way("200 kB of zeros", format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(200_000)).as_bytes());
}

#[test]
fn chunks_without_their_terminator() {
    never_completes("data longer than its size", b"1\r\nab\r\n0\r\n\r\n");
    never_completes("no CRLF after the data", b"1\r\na0\r\n\r\n");
    never_completes("a bare LF after the data", b"1\r\na\n0\r\n\r\n");
    never_completes("a bare LF after the size", b"1\na\r\n0\r\n\r\n");
    never_completes("no end", b"1\r\na\r\n");
}

/// Trailers that would act if somebody merged them into the head, each announced so that nothing else keeps it back.
const TRAILERS: [(&str, &str); 22] = [
    ("content-length", "99"),
    ("transfer-encoding", "chunked"),
    ("host", "other.test"),
    ("connection", "x-sum"),
    ("keep-alive", "timeout=5"),
    ("te", "gzip"),
    ("trailer", "x-more"),
    ("upgrade", "h2c"),
    ("http2-settings", "AAMAAABkAAQAAP__"),
    ("expect", "100-continue"),
    ("authorization", "Basic YTpi"),
    ("proxy-authorization", "Basic YTpi"),
    ("www-authenticate", "Basic"),
    ("cookie", "a=b"),
    ("set-cookie", "a=b"),
    ("x-forwarded-for", "8.8.8.8"),
    ("x_forwarded_for", "8.8.8.8"),
    ("forwarded", "for=8.8.8.8"),
    ("content-type", "text/html"),
    ("content-encoding", "gzip"),
    ("crawler-price", "USD 0"),
    ("crawler-max-price", "USD 9"),
];

/// The announcement of all of them and of `x-sum`, and a last chunk that brings them.
fn announced() -> (String, String) {
    let names: Vec<&str> = TRAILERS.iter().map(|(name, _)| *name).collect();
    let lines: String = TRAILERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    (format!("Trailer: x-sum, {}\r\n", names.join(", ")), format!("0\r\n{lines}x-sum: 1\r\n\r\n"))
}

#[test]
fn trailers_of_a_request_cannot_become_fields() {
    let (announcement, last) = announced();
    let bench = Bench::new();
    for (n, mut client) in bench.clients().into_iter().enumerate() {
        let answer = client.ask(format!(
            "POST / HTTP/1.1\r\nHost: site.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n{announcement}\r\n\
             1\r\na\r\n{last}"
        ));
        assert_eq!(answer.status, 200);
        let seen = &bench.origin.requests()[n];
        assert_eq!(seen.trailers.0, [("x-sum".to_owned(), "1".to_owned())]);
        assert_eq!(seen.fields.all("host"), ["site.test"]);
        assert!(!seen.fields.has("x-sum") && !seen.fields.has("authorization"), "{:?}", seen.fields);
    }
}

#[test]
fn trailers_of_an_answer_cannot_become_fields() {
    let (announcement, last) = announced();
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{announcement}\r\n1\r\na\r\n{last}"
    ));
    let byline = before(origin.url()).start();
    for agent in ["", "User-Agent: GPTBot/1.2\r\n"] {
        let answer = byline.ask(e2e::get("/", &format!("TE: trailers\r\n{agent}")));
        assert_eq!(answer.trailers.0, [("x-sum".to_owned(), "1".to_owned())], "{agent}");
        assert!(!answer.fields.has("x-sum") && !answer.fields.has("set-cookie"), "{:?}", answer.fields);
        // Who does not ask for trailers gets none.
        let answer = byline.ask(e2e::get("/", agent));
        assert!(answer.trailers.0.is_empty() && !answer.fields.has("x-sum"), "{:?}", answer.trailers);
    }
    e2e::h2c::block_on(async {
        let mut connection = e2e::h2c::Connection::plain(byline.listen).await.expect("a connection");
        let answer = connection.ask(e2e::h2c::get("http://site.test/"), b"").await.expect("an answer");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("1")));
    });
}

#[test]
fn a_crawlers_broken_upload_buys_nothing() {
    let origin = Origin::site(|_| ok("Content-Type: text/html\r\n", "hello"));
    let byline = before(origin.url()).policy(SHOP).start();
    for chunks in ["x\r\na\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "1\r\na\r\n"] {
        let mut client = Client::connect_from(RICH, byline.listen);
        let head = format!(
            "POST /articles/1 HTTP/1.1\r\nHost: site.test\r\n{RICH_AGENT}Transfer-Encoding: chunked\r\n\r\n"
        );
        let _ = client.try_send(format!("{head}{chunks}"));
        client.finish_sending();
        let answer = client.try_answer("POST").unwrap_or(None);
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{chunks:?}");
    }
    for record in byline.wait_for_records(3) {
        assert_eq!(
            (record["outcome"].as_str(), record["amount_nano"].as_str()),
            (Some("aborted"), Some("0")),
            "{record}"
        );
    }
}

#[test]
fn hosts_that_are_not_one_host() {
    let bench = Bench::new();
    let request = |lines: &str| format!("GET /bad HTTP/1.1\r\n{lines}\r\n");
    bench.refuses("no host", request(""), &[400]);
    bench.refuses("an empty host", request("Host: \r\n"), &[400]);
    bench.refuses("an empty host and a URL", "GET http:///bad HTTP/1.1\r\nHost: site.test\r\n\r\n", &[400]);
    bench.refuses("two hosts", request("Host: site.test\r\nHost: site.test\r\n"), &[400]);
    bench.refuses("two different hosts", request("Host: site.test\r\nHost: b.test\r\n"), &[400]);
    for host in [
        "site.test/x",
        "a@site.test",
        "site.test?x",
        "site.test#x",
        "site.test\\x",
        "site.test,b.test",
        "site test",
        "site.test:80:80",
        "site.test:x",
        "site.test:99999",
        "[::1",
        "[a.b]",
        "[::1%25eth0]",
        ":80",
        "site.test\u{7f}",
        "sit\u{e9}.test",
        "http://site.test",
        "site%00.test",
    ] {
        bench.refuses(host, request(&format!("Host: {host}\r\n")), &[400, 421]);
    }
}

#[test]
fn the_target_says_the_host() {
    // RFC 9112 §3.2.2: of an absolute target and a Host field, the target counts.
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).start();
    let answer = byline.ask("GET http://site.test/path?q HTTP/1.1\r\nHost: other.test\r\n\r\n");
    if answer.status == 200 {
        let seen = origin.request();
        assert_eq!((seen.target.as_str(), seen.fields.all("host")), ("/path?q", vec!["site.test"]));
    } else {
        assert!(answer.status == 400 && origin.untouched(), "{}", answer.status);
    }
}

#[test]
fn this_is_no_forward_proxy() {
    let bench = Bench::new();
    bench.refuses(
        "CONNECT",
        "CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\n\r\n",
        &[400, 405, 501],
    );
    bench.refuses("an authority", "GET site.test:80 HTTP/1.1\r\nHost: site.test\r\n\r\n", &[400]);
    bench.refuses("a star", "GET * HTTP/1.1\r\nHost: site.test\r\n\r\n", &[400]);
    bench.refuses(
        "credentials",
        "GET http://a:b@site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
        &[400, 421],
    );
    bench.refuses("another scheme", "GET ftp://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n", &[400, 421]);
}

#[test]
fn heads_beyond_the_limits() {
    let bench = Bench::new();
    let big = format!("X-A: {}\r\n", "a".repeat(100_000));
    bench.refuses_head("one field of 100 kB", &big, &[400, 431]);
    let many: String = (0..2000).map(|n| format!("X-{n}: 1\r\n")).collect();
    bench.refuses_head("2,000 fields", &many, &[400, 431]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: site.test\r\n\r\n", "a".repeat(100_000));
    bench.refuses("a target of 100 kB", long, &[400, 414, 431]);
}

#[test]
fn a_head_of_a_common_size_is_served() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).start();
    let lines: String = (0..60).map(|n| format!("X-{n}: {}\r\n", "a".repeat(200))).collect();
    assert_eq!(byline.ask(e2e::get("/", &lines)).status, 200);
    assert_eq!(origin.request().fields.all("x-59"), ["a".repeat(200)]);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let bench = Bench::new();
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0\0\0\0", b"SSH-2.0-OpenSSH\r\n", &[255; 5000]] {
        let mut client: Client = bench.byline.client();
        let _ = client.try_send(garbage);
        client.finish_sending();
        let _ = client.try_answer("GET");
        assert!(client.closed());
    }
    assert!(bench.origin.untouched());
    assert_eq!(bench.byline.ask(e2e::get("/", "")).status, 200);
}
