//! What belongs to one connection stays on it, and who the client is is not for the client to say.

use e2e::origin::ok;
use e2e::{Byline, Origin, ask, before, get};

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
                 X-Forwarded-Host: bank.test\r\nForwarded: for=8.8.8.8;host=bank.test\r\nX-Real-IP: 8.8.8.8\r\n\
                 X_Forwarded_For: 8.8.8.8\r\nX_Real_IP: 8.8.8.8\r\nX-Forwarded_For: 8.8.8.8\r\n";
    assert_eq!(byline.ask(get("/", lines)).status, 200);
    let seen = origin.request();
    assert_eq!(seen.fields.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.fields.all("x-forwarded-host"), ["site.test"]);
    let head = String::from_utf8_lossy(&seen.head).into_owned();
    assert!(!head.contains("8.8.8.8") && !head.contains("bank.test"), "{head}");
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
