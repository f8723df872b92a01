//! What belongs to one connection stays on it, and who the client is is not for the client to say.

use e2e::config::{self, POLICY, RICH_AGENT, SHOP};
use e2e::h2c::{Connection, block_on};
use e2e::origin::ok;
use e2e::{Byline, Client, Origin, ask, before, configured, get};
use http::Request;

fn start(origin: &Origin) -> Byline {
    before(origin.url()).start()
}

#[test]
fn connection_fields_of_a_request_end_here() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let lines = "Connection: keep-alive, X-Private, x-other\r\nX-Private: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=9\r\n\
                 TE: gzip, trailers\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic YTpi\r\n\
                 Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Kept: 3\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request().fields;
    for gone in [
        "x-private",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
    ] {
        assert!(!seen.has(gone), "{gone} reached the origin: {seen:?}");
    }
    assert!(seen.all("te").iter().all(|te| *te == "trailers"), "{seen:?}");
    assert!(!seen.all("connection").iter().any(|c| c.contains("rivate")), "{seen:?}");
    assert_eq!(seen.first("x-kept"), Some("3"));
}

#[test]
fn connection_fields_of_an_answer_end_here() {
    let origin = Origin::answering(ok(
        "Connection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Proxy-Connection: close\r\nUpgrade: h2c\r\nX-Kept: 2\r\n",
        "x",
    ));
    let byline = start(&origin);
    let answer = byline.ask(get("/", ""));
    for gone in ["x-inner", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade"] {
        assert!(!answer.fields.has(gone), "{gone} reached the client: {:?}", answer.fields);
    }
    assert_eq!(answer.field("x-kept"), "2");
}

#[test]
fn a_field_that_matters_cannot_be_named_away() {
    // `Connection: Host` and the like would have the proxy drop what the judgement rests on.
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    for name in ["Host", "X-Forwarded-For", "Content-Length", "User-Agent"] {
        let lines = format!("Connection: {name}\r\nUser-Agent: Mozilla/5.0\r\n");
        let before = origin.requests().len();
        let answer = byline.ask(get("/", &lines));
        if answer.status == 200 {
            let seen = origin.requests()[before].fields.clone();
            assert_eq!(seen.all("host").len(), 1, "{name}: {seen:?}");
            assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"], "{name}: {seen:?}");
        } else {
            assert_eq!((answer.status, origin.requests().len()), (400, before), "{name}");
        }
    }
}

#[test]
fn an_upgrade_to_h2c_is_not_taken_up() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request().fields;
    assert!(!seen.has("upgrade") && !seen.has("http2-settings"), "{seen:?}");
}

#[test]
fn an_untrusted_client_cannot_say_who_it_is() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let lines = "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Port: 8888\r\nX-Forwarded-Prefix: /bank.test\r\nX-Forwarded: for=8.8.8.8\r\n\
                 X-Forwarded-Server: bank.test\r\nx-forwarded-uri: /bank.test\r\n\
                 X-Forwarded-Host: bank.test\r\nForwarded: for=8.8.8.8;host=bank.test\r\nX-Real-IP: 8.8.8.8\r\n\
                 X_Forwarded_For: 8.8.8.8\r\nX_Real_IP: 8.8.8.8\r\nX-Forwarded_For: 8.8.8.8\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request();
    assert_eq!(seen.fields.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.fields.all("x-forwarded-host"), ["site.test"]);
    let head = String::from_utf8_lossy(&seen.head).into_owned();
    assert!(!head.contains("8.8.8.8") && !head.contains("bank.test") && !head.contains("8888"), "{head}");
}

#[test]
fn a_trusted_proxy_is_believed_but_not_its_clients_underscores() {
    let origin = Origin::answering(ok("", "x"));
    let config = config::site(&origin.url(), "trusted_proxies = [\"127.0.0.1\"]\n");
    let byline = configured(config).start();
    let lines = "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: shown.test\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 9.9.9.9\r\n\
                 X_Forwarded_For: 6.6.6.6\r\nX_Forwarded-Host: bank.test\r\nX_Real_IP: 6.6.6.6\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request();
    assert_eq!(seen.fields.all("x-forwarded-for"), ["8.8.8.8, 9.9.9.9, 127.0.0.1"]);
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shown.test"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "9.9.9.9"),
    ] {
        assert_eq!(seen.fields.all(name), [value]);
    }
    let head = String::from_utf8_lossy(&seen.head).into_owned();
    assert!(!head.contains("6.6.6.6") && !head.contains("bank.test"), "{head}");
}

#[test]
fn an_address_before_one_that_cannot_be_read_is_not_believed() {
    // Some proxies write into the last line alone: what cannot be read there must not make the line before it count.
    let origin = Origin::answering(ok("", "x"));
    let more = format!("{POLICY}trusted_proxies = [\"127.0.0.10\"]\n");
    let byline = configured(config::site(&origin.url(), &more)).policy(SHOP).start();
    for last in [&b"\xff"[..], b"\xff, 9.9.9.9", b"\"", b""] {
        let head =
            format!("GET /free HTTP/1.1\r\nHost: site.test\r\n{RICH_AGENT}X-Forwarded-For: 127.0.0.2\r\n");
        let lines = [head.as_bytes(), b"X-Forwarded-For: ", last, b"\r\n\r\n"].concat();
        let before = byline.records().len();
        let status = Client::connect_from([127, 0, 0, 10], byline.listen).ask(lines).status;
        assert_eq!(status, 200, "{last:?}");
        let record = byline.wait_for_records(before + 1).pop().expect("a record");
        assert_ne!(record["assurance"], "network", "{last:?}: {record}");
    }
}

#[test]
fn fields_for_proxies_pass_neither_way() {
    const FOR_PROXIES: [&str; 7] = [
        "Proxy",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Authentication-Info",
        "Proxy-Connection",
        "Proxy-Features",
        "Proxy_Authorization",
    ];
    let lines: String = FOR_PROXIES.iter().map(|name| format!("{name}: secret\r\n")).collect();
    let origin = Origin::answering(ok(&lines, "x"));
    let byline = start(&origin);
    for agent in ["", "User-Agent: GPTBot/1.2\r\n"] {
        let answer = byline.ask(get("/", &format!("{agent}{lines}")));
        let head = String::from_utf8_lossy(&answer.head).into_owned();
        assert!(answer.status == 200 && !head.contains("secret"), "{head}");
    }
    block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        let mut request = Request::get("http://site.test/");
        for name in FOR_PROXIES.iter().filter(|name| **name != "Proxy-Connection") {
            request = request.header(*name, "secret");
        }
        let answer = connection.ask(request.body(()).expect("well formed"), b"").await.expect("an answer");
        assert!(!format!("{:?}", answer.fields).contains("secret"), "{:?}", answer.fields);
    });
    assert_eq!(origin.requests().len(), 3);
    for request in origin.requests() {
        let head = String::from_utf8_lossy(&request.head).into_owned();
        assert!(!head.contains("secret"), "{head}");
    }
}

#[test]
fn what_connection_names_goes_whatever_stands_beside_it() {
    let lists: [&[u8]; 6] = [
        b"Connection: X-Private, \xff\r\n",
        b"Connection: keep-alive\r\nConnection: x-private\r\n",
        b"Connection: ,,\tX-PRIVATE ,,\r\n",
        b"Connection: a b, X-Private\r\n",
        b"Connection: \"x\", X-Private;q=1, x-private\r\n",
        b"connection: close,x-private\r\n",
    ];
    for list in lists {
        let origin = Origin::start(move |visit| {
            visit.request();
            let _ = visit.write(
                [b"HTTP/1.1 200 OK\r\nX-Private: 1\r\nContent-Length: 1\r\n", list, b"\r\nx"].concat(),
            );
        });
        let byline = start(&origin);
        let request = [b"GET / HTTP/1.1\r\nHost: site.test\r\nX-Private: 1\r\n", list, b"\r\n"].concat();
        let answer = byline.client().ask(request);
        let list = String::from_utf8_lossy(list).into_owned();
        assert_eq!(answer.status, 200, "{list}");
        assert!(!answer.fields.has("x-private"), "{list} of an answer");
        assert!(!origin.request().fields.has("x-private"), "{list} of a request");
    }
}

#[test]
fn a_field_that_matters_has_no_second_spelling() {
    // A CGI origin makes one variable of `Content-Length` and `Content_Length`.
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    let lines = "Content_Length: 9\r\nTransfer_Encoding: chunked\r\nHOST_: a\r\nTE_: b\r\nConnection_: c\r\nX_Kept: 1\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request().fields;
    assert!(!seen.has("content_length") && !seen.has("transfer_encoding"), "{seen:?}");
    assert_eq!(seen.first("x_kept"), Some("1"));
}

#[test]
fn an_upgrade_that_is_not_listed_stays_here() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    for protocol in [
        "h2c",
        "websocket, h2c",
        "H2C,websocket",
        "TLS/1.0",
        "HTTP/2.0",
        "spdy/3.1",
        "tcp",
        "websocket/13 x",
        "",
    ] {
        let lines = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        assert_eq!(byline.ask(get("/", &lines)).status, 200, "{protocol}");
    }
    // Two fields are one list; and what `Connection` does not name is no upgrade.
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade, Upgrade-X\r\nUpgrade: h2c\r\nUpgrade_: websocket\r\n",
    ] {
        assert_eq!(byline.ask(get("/", lines)).status, 200, "{lines}");
    }
    let old = "GET / HTTP/1.0\r\nHost: site.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(byline.ask(old).status, 200);
    assert_eq!(origin.requests().len(), 13);
    for request in origin.requests() {
        assert!(!request.fields.has("upgrade") && !request.fields.has("connection"), "{:?}", request.fields);
    }
}

#[test]
fn upgrades_pass_as_configured() {
    let origin = Origin::answering(ok("", "x"));
    let byline = configured(config::site(&origin.url(), "upgrades = [\"tcp\"]\n")).start();
    for protocol in ["TCP", "websocket", "tcp, websocket"] {
        let lines = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        assert_eq!(byline.ask(get("/", &lines)).status, 200);
    }
    let passed: Vec<bool> = origin.requests().iter().map(|request| request.fields.has("upgrade")).collect();
    assert_eq!(passed, [true, false, false]);
}

#[test]
fn an_expectation_in_disguise_is_not_passed_on() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin);
    for expected in ["100-continue", "100-Continue", "y 100-continue", "\t100-continue,", "200-ok"] {
        let lines = format!(
            "POST / HTTP/1.1\r\nHost: site.test\r\nExpect: {expected}\r\nContent-Length: 2\r\n\r\nhi"
        );
        assert_eq!(byline.ask(lines).status, 200, "{expected}");
    }
    let requests = origin.requests();
    assert_eq!(requests.len(), 5);
    assert!(
        requests.iter().all(|request| !request.fields.has("expect") && request.body == b"hi"),
        "{requests:?}"
    );
}

#[test]
fn via_is_sent_by_configuration_alone() {
    let origin = Origin::answering(ok("", "x"));
    let quiet = start(&origin);
    assert_eq!(quiet.ask(get("/", "Via: 1.1 before\r\n")).status, 200);
    let byline = configured(config::site(&origin.url(), "via = \"edge.test\"\n")).start();
    assert_eq!(byline.ask(get("/", "Via: 1.1 before\r\n")).status, 200);
    assert_eq!(byline.ask("GET / HTTP/1.0\r\nHost: site.test\r\n\r\n").status, 200);
    block_on(async {
        let mut connection = Connection::plain(byline.listen).await.expect("a connection");
        connection.ask(e2e::h2c::get("http://site.test/"), b"").await.expect("an answer")
    });
    let via: Vec<String> =
        origin.requests().iter().map(|request| request.fields.all("via").join(", ")).collect();
    assert_eq!(via, ["1.1 before", "1.1 before, 1.1 edge.test", "1.0 edge.test", "2 edge.test"]);
}

#[test]
fn an_interim_answer_does_not_end_the_fetch() {
    let origin = Origin::start(|visit| {
        while visit.request().is_some() {
            let _ = visit.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            let _ = visit.write(ok("", "final"));
        }
    });
    let byline = start(&origin);
    let answer = ask(byline.listen, get("/", ""));
    assert_eq!((answer.status, answer.text().as_str()), (200, "final"));
}
