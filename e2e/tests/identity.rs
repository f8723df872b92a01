//! Who the client is: what a trusted proxy says of it, and what nobody else may.

use e2e::config::{self, POLICY, PROXY_LISTENER, RICH_AGENT, SHOP};
use e2e::origin::ok;
use e2e::{Byline, Client, Origin, ask, configured, get};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.10/32\", \"127.0.0.11/32\"]\n";

fn start(origin: &Origin) -> Byline {
    configured(config::site(&origin.url(), &format!("{POLICY}{TRUSTED}{PROXY_LISTENER}")))
        .policy(SHOP)
        .start()
}

fn site() -> Origin {
    Origin::answering(ok("", "hello"))
}

/// The rung and the operator of the newest record.
fn last(byline: &Byline) -> (String, String) {
    let record = byline.records().pop().expect("a record");
    let text = |key: &str| record[key].as_str().unwrap_or("none").to_owned();
    (text("assurance"), text("operator"))
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let origin = site();
    let byline = start(&origin);
    for (chain, forwarded) in [
        ("127.0.0.2", "127.0.0.2, 127.0.0.10"),
        ("8.8.8.8, 127.0.0.2", "8.8.8.8, 127.0.0.2, 127.0.0.10"),
        // A second trusted proxy behind the first is stepped over.
        ("127.0.0.2, 127.0.0.11", "127.0.0.2, 127.0.0.11, 127.0.0.10"),
    ] {
        let lines = format!("{RICH_AGENT}X-Forwarded-For: {chain}\r\nX-Forwarded-Proto: https\r\n");
        let mut client = Client::connect_from([127, 0, 0, 10], byline.listen);
        assert_eq!(client.ask(get("/free", &lines)).status, 200);
        assert_eq!(last(&byline), ("network".into(), "rich-labs".into()), "{chain}");
        let seen = origin.requests().pop().expect("it was forwarded");
        assert_eq!(seen.fields.all("x-forwarded-for").join(", "), forwarded);
        assert_eq!(seen.fields.all("x-forwarded-proto"), ["https"]);
    }
}

#[test]
fn the_nearest_address_that_is_not_trusted_counts() {
    let origin = site();
    let byline = start(&origin);
    for chain in
        ["127.0.0.2, 9.9.9.9", "127.0.0.2, 9.9.9.9, 127.0.0.11", "127.0.0.2, nonsense", "127.0.0.2, unknown"]
    {
        let lines = format!("{RICH_AGENT}X-Forwarded-For: {chain}\r\n");
        let mut client = Client::connect_from([127, 0, 0, 10], byline.listen);
        let answer = client.ask(get("/free", &lines));
        if answer.status == 200 {
            assert_ne!(last(&byline).1, "rich-labs", "{chain}");
        } else {
            assert_eq!(answer.status, 400, "{chain}");
        }
    }
}

#[test]
fn a_stranger_says_nothing_about_itself() {
    let origin = site();
    let byline = start(&origin);
    for name in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP"] {
        let value = if name == "Forwarded" { "for=127.0.0.2" } else { "127.0.0.2" };
        let lines = format!("{RICH_AGENT}{name}: {value}\r\n");
        assert_eq!(byline.ask(get("/free", &lines)).status, 200);
        assert_ne!(last(&byline).1, "rich-labs", "{name}");
    }
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    head.extend(source);
    head.extend([127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    head
}

#[test]
fn a_proxy_protocol_header_from_a_trusted_peer_counts() {
    let origin = site();
    let byline = start(&origin);
    for header in [b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 80\r\n".to_vec(), v2([127, 0, 0, 2])] {
        let mut client = Client::connect_from([127, 0, 0, 10], byline.tls);
        client.send(&header);
        let answer = client.ask(get("/free", RICH_AGENT));
        assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&header));
        assert_eq!(last(&byline), ("network".into(), "rich-labs".into()));
        let seen = origin.requests().pop().expect("it was forwarded");
        assert!(seen.fields.first("x-forwarded-for").is_some_and(|f| f.starts_with("127.0.0.2")));
        // It counts for the whole connection.
        assert_eq!(client.ask(get("/free", RICH_AGENT)).status, 200);
        assert_eq!(last(&byline).1, "rich-labs");
    }
}

#[test]
fn a_proxy_protocol_header_may_come_in_pieces() {
    let origin = site();
    let byline = start(&origin);
    let mut client = Client::connect_from([127, 0, 0, 10], byline.tls);
    for byte in v2([127, 0, 0, 2]) {
        client.send([byte]);
    }
    assert_eq!(client.ask(get("/free", RICH_AGENT)).status, 200);
    assert_eq!(last(&byline).1, "rich-labs");
}

#[test]
fn a_proxy_protocol_header_from_a_stranger_does_not_count() {
    let origin = site();
    let byline = start(&origin);
    for header in [b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 80\r\n".to_vec(), v2([127, 0, 0, 2])] {
        let before = byline.records().len();
        let mut client = Client::connect(byline.tls);
        let _ = client.try_send(&header);
        let _ = client.try_send(get("/free", RICH_AGENT));
        if client.try_answer("GET").unwrap_or(None).is_some_and(|answer| answer.status == 200) {
            assert_ne!(last(&byline).1, "rich-labs");
        } else {
            assert_eq!(byline.records().len(), before);
        }
    }
}

#[test]
fn a_proxy_protocol_header_where_none_belongs_is_garbage() {
    let origin = site();
    let byline = start(&origin);
    for header in [b"PROXY TCP4 127.0.0.2 127.0.0.1 12345 80\r\n".to_vec(), v2([127, 0, 0, 2])] {
        let mut client = Client::connect_from([127, 0, 0, 10], byline.listen);
        let _ = client.try_send(&header);
        let _ = client.try_send(get("/free", RICH_AGENT));
        let answer = client.try_answer("GET").unwrap_or(None);
        assert!(answer.is_none_or(|answer| answer.status == 400), "a header was taken for nothing");
    }
    assert!(origin.untouched());
}

#[test]
fn a_broken_proxy_protocol_header_ends_the_connection() {
    let origin = site();
    let byline = start(&origin);
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    for header in [
        b"PROXY TCP4 999.0.0.2 127.0.0.1 1 80\r\n".to_vec(),
        b"PROXY TCP4 127.0.0.2\r\n".to_vec(),
        b"PROXY\r\n".to_vec(),
        long.into_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n".to_vec(),
    ] {
        let mut client = Client::connect_from([127, 0, 0, 10], byline.tls);
        let _ = client.try_send(&header);
        client.finish_sending();
        let answer = client.try_answer("GET").unwrap_or(None);
        assert!(answer.is_none_or(|answer| answer.status == 400), "{:?}", String::from_utf8_lossy(&header));
    }
    assert!(origin.untouched());
    assert_eq!(ask(byline.listen, get("/", "")).status, 200);
}

#[test]
fn an_agent_with_a_browsers_user_agent_is_known_by_its_signature_agent() {
    const BROWSER: &str =
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36\r\n";
    let origin = site();
    let policy = format!(
        "{SHOP}\n[[crawler]]\ntoken = \"BrowsingAgent\"\noperator = \"rich-labs\"\npurpose = \"agent\"\n\
         agents = [\"https://agent.example\"]\n"
    );
    let byline = configured(config::site(&origin.url(), POLICY)).policy(&policy).start();
    let ask = |more: &str| byline.ask(get("/free", &format!("{BROWSER}{more}"))).status;
    assert_eq!(ask(""), 200);
    assert_eq!(ask("Signature-Agent: \"https://other.example\"\r\n"), 200);
    assert_eq!(byline.records().len(), 0, "a person with a browser");
    assert_eq!(ask("Signature-Agent: \"https://agent.example\"\r\n"), 200);
    let record = byline.records().pop().expect("a record");
    assert_eq!(
        (record["crawler"].as_str(), record["assurance"].as_str()),
        (Some("BrowsingAgent"), Some("claimed"))
    );
    // A search engine's crawler stays one, whatever it signs with.
    let crawler = "User-Agent: Googlebot/2.1\r\nSignature-Agent: \"https://agent.example\"\r\n";
    assert_eq!(byline.ask(get("/free", crawler)).status, 200);
    assert_eq!(byline.records().len(), 1);
}
