//! Start, drain, stop: nobody is cut off who could have been served.

use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Origin, before, get};

#[test]
fn a_stop_waits_for_what_is_under_way() {
    let (go, goes) = mpsc::channel::<()>();
    let goes = std::sync::Mutex::new(goes);
    let origin = Origin::start(move |visit| {
        while let Some(request) = visit.request() {
            if request.target == "/quick" {
                let _ = visit.write(ok("", "quick"));
                continue;
            }
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            let _ = goes.lock().expect("one visit at a time").recv_timeout(PATIENCE);
            let _ = visit.write("-last");
        }
    });
    for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
        let mut byline = before(origin.url()).start();
        let mut idle = byline.client();
        assert_eq!(idle.ask(get("/quick", "")).status, 200);
        let mut client = byline.client();
        client.send(get("/", &format!("User-Agent: {agent}\r\n")));
        client.head().expect("a head");
        byline.terminate();
        wait::until_true("new connections are refused", PATIENCE, || {
            TcpStream::connect(byline.listen).is_err()
        });
        assert!(idle.closed(), "an idle connection is let go");
        assert!(byline.alive(), "it ended with a fetch under way");
        go.send(()).expect("the origin waits");
        assert_eq!(client.take(10), b"first-last");
        let status = byline.wait_exit(PATIENCE);
        assert!(status.success(), "{status}");
        let expect = usize::from(agent.starts_with("GPT"));
        assert_eq!(byline.records().len(), expect);
        assert_eq!(byline.verify().code, 0);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_connection_that_never_spoke() {
    // Browsers and load balancers open connections ahead of need; each would hold up every restart.
    let origin = Origin::answering(ok("", "x"));
    let mut byline = before(origin.url()).start();
    let mut silent = byline.client();
    assert_eq!(byline.ask(get("/", "")).status, 200);
    let asked = std::time::Instant::now();
    byline.stop();
    assert!(silent.closed());
    assert!(asked.elapsed() < Duration::from_secs(10), "after {:?}", asked.elapsed());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin");
        visit.left_within(Duration::from_secs(60));
    });
    let more = "[timeouts]\ndrain = \"1s\"\n";
    let mut byline = e2e::configured(e2e::config::site(&origin.url(), more)).start();
    let mut client = byline.client();
    client.send(get("/", "User-Agent: GPTBot/1.2\r\n"));
    client.head().expect("a head");
    byline.terminate();
    byline.wait_exit(Duration::from_secs(15));
    let record = &byline.records()[0];
    assert_ne!(record["outcome"], "complete", "{record}");
}

#[test]
fn one_ledger_has_one_writer() {
    let origin = Origin::answering(ok("", "x"));
    let first = before(origin.url()).start();
    let mut second = before(origin.url()).state(&first.state).prepare();
    second.launch();
    let status = second.wait_exit(PATIENCE);
    assert!(!status.success());
    wait::until_true("its words", PATIENCE, || {
        second.words().contains("lock") || second.words().contains("another")
    });
    assert_eq!(first.ask(get("/", "User-Agent: GPTBot/1.2\r\n")).status, 200);
    assert_eq!(first.records().len(), 1);
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let origin = Origin::answering(ok("ETag: \"1\"\r\n", "x"));
    let mut byline = before(origin.url()).policy(e2e::config::SHOP).start();
    let ask = |byline: &e2e::Byline, path: &str| {
        let mut client = e2e::Client::connect_from(e2e::config::RICH, byline.listen);
        assert_eq!(client.ask(get(path, e2e::config::RICH_AGENT)).status, 200);
    };
    ask(&byline, "/articles/1");
    byline.stop();
    byline.start_again();
    ask(&byline, "/articles/1");
    ask(&byline, "/articles/2");
    byline.kill();
    byline.start_again();
    ask(&byline, "/articles/2");
    let records = byline.records();
    let paid: Vec<&str> = records.iter().filter_map(|r| r["amount_nano"].as_str()).collect();
    assert_eq!(paid, ["2000000", "0", "2000000", "0"], "what was paid before a restart is paid after it");
    assert_eq!(byline.verify().code, 0);
}

#[test]
fn the_admin_listener_is_a_place_of_its_own() {
    let origin = Origin::answering(ok("", "the site's own"));
    let byline = before(origin.url()).start();
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/summary", "/"] {
        assert_eq!(byline.admin_answers(path), 200, "{path}");
        assert_eq!(byline.ask(get(path, "")).text(), "the site's own", "{path} on the data port");
    }
    let summary: serde_json::Value =
        serde_json::from_str(&byline.admin_get("/api/v1/summary")).expect("a summary is JSON");
    assert!(summary.is_object(), "{summary}");
    // Not reachable through a site's listener by any trick with the host.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", byline.admin);
    assert_eq!(byline.ask(request).text(), "the site's own");
}

#[test]
fn wrong_usage_is_told_apart_from_a_wrong_configuration() {
    assert_eq!(e2e::byline::run(["serve", "--no-such-flag"]).code, 2);
    assert_eq!(e2e::byline::run(["no-such-command"]).code, 2);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("byline.toml");
    std::fs::write(&file, "upstream = \"http://127.0.0.1:1\"\nlissten = \"127.0.0.1:0\"\n")
        .expect("writable");
    let said = e2e::byline::run(["check".into(), file.clone().into_os_string()]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(format!("{}{}", said.out, said.err).contains("byline.toml:2:"), "{said:?}");
    let said = e2e::byline::run(["serve".into(), "--config".into(), file.into_os_string()]);
    assert_eq!(said.code, 3, "{said:?}");
}
