//! Start, drain, stop: nobody is cut off who could have been served.

use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use e2e::config::{POLICY, RICH, RICH_AGENT, SHOP};
use e2e::load::Who;
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Load, Origin, before, get};

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
    let asked = Instant::now();
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

/// One site with the tests' policy, as a file, so that everything can be said in it.
fn shop(origin: &Origin, more: &str) -> e2e::byline::Setup {
    e2e::configured(e2e::config::site(&origin.url(), &format!("{POLICY}{more}"))).policy(SHOP)
}

/// An origin whose `/slow/…` goes on until it is told to end, and whose other pages do not.
fn slow_origin() -> (Origin, mpsc::Sender<()>) {
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let origin = Origin::start(move |visit| {
        while let Some(request) = visit.request() {
            if !request.target.starts_with("/slow") {
                let _ = visit.write(ok("", "quick"));
                continue;
            }
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            let _ = goes.lock().expect("one visit at a time").recv_timeout(PATIENCE);
            let _ = visit.write("-last");
        }
    });
    (origin, go)
}

/// Every work that a crawler has whole is in the ledger once, and nothing else is.
fn each_is_recorded_once(byline: &Byline, crawlers: impl IntoIterator<Item = Vec<String>>) {
    let mut recorded: Vec<String> = Vec::new();
    for record in byline.records() {
        assert_eq!(record["outcome"], "complete", "{record}");
        let url = record["url"].as_str().expect("a record names its work");
        recorded.push(url.trim_start_matches("http://site.test").to_owned());
    }
    let mut whole: Vec<String> = crawlers.into_iter().flatten().collect();
    recorded.sort();
    whole.sort();
    let lost = whole.iter().filter(|path| recorded.binary_search(path).is_err()).count();
    assert_eq!(recorded, whole, "{lost} of {} lost", whole.len());
    assert_eq!(byline.verify().code, 0);
}

#[test]
fn a_connection_in_use_is_not_closed_in_the_face_of_its_client() {
    // The request that is on its way when the drain begins is answered, and the client is told that it was the last one.
    let origin = Origin::answering(ok("", "x"));
    let mut byline = before(origin.url()).start();
    let mut clients: Vec<Client> = (0..20).map(|_| byline.client()).collect();
    for client in &mut clients {
        let answer = client.ask(get("/", ""));
        assert!(!answer.fields.has("connection"), "{:?}", answer.fields);
    }
    let mut fresh = byline.client();
    byline.terminate();
    wait::until_true("the drain", PATIENCE, || TcpStream::connect(byline.listen).is_err());
    for client in clients.iter_mut().chain([&mut fresh]) {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.status, answer.fields.first("connection")), (200, Some("close")));
        assert!(client.closed());
    }
    assert!(byline.wait_exit(PATIENCE).success());
}

/// Begins a request on each connection and sends a byte more of it now and then, so that none counts as silent, until it
/// is time; then the rest of it.
fn send_slowly(requests: &mut [(&mut Client, &str)], mut is_time: impl FnMut() -> bool) {
    for (client, request) in &mut *requests {
        client.send(request.strip_suffix("\r\n").expect("the end of a head"));
        client.send("X-Slow: ");
    }
    let begun = Instant::now();
    while !is_time() {
        assert!(begun.elapsed() < PATIENCE, "not in time");
        requests.iter_mut().for_each(|(client, _)| client.send("x"));
        std::thread::sleep(Duration::from_millis(50));
    }
    requests.iter_mut().for_each(|(client, _)| client.send("\r\n\r\n"));
}

#[test]
fn a_fetch_that_is_on_its_way_when_draining_begins_is_still_sold() {
    // A connection that was not silent for the first second lives for another, and what it brings needs the ledger.
    let origin = Origin::answering(ok("", "x"));
    let mut byline = shop(&origin, "").start();
    let mut crawler = Client::connect_from(RICH, byline.listen);
    assert_eq!(crawler.ask(get("/every/1", RICH_AGENT)).status, 200);
    byline.terminate();
    wait::until_true("the drain", PATIENCE, || TcpStream::connect(byline.listen).is_err());
    let begun = Instant::now();
    let request = get("/every/2", RICH_AGENT);
    send_slowly(&mut [(&mut crawler, &request)], || begun.elapsed() > Duration::from_millis(1_400));
    let answer = crawler.answer("GET");
    assert_eq!((answer.status, answer.field("connection")), (200, "close"));
    assert!(byline.wait_exit(PATIENCE).success());
    each_is_recorded_once(&byline, [vec!["/every/1".to_owned(), "/every/2".to_owned()]]);
}

#[test]
fn what_comes_too_late_for_the_ledger_is_said() {
    let origin = Origin::answering(ok("", "page"));
    let mut byline = shop(&origin, "").start();
    let [mut refused, mut free] = [(); 2].map(|()| {
        let mut crawler = Client::connect_from(RICH, byline.listen);
        assert_eq!(crawler.ask(get("/free/1", RICH_AGENT)).status, 200);
        crawler
    });
    let old = byline.upgrade();
    let (draft, page) = (get("/drafts/1", RICH_AGENT), get("/free/2", RICH_AGENT));
    send_slowly(&mut [(&mut refused, &draft), (&mut free, &page)], || {
        byline.words().contains("the ledger is ours")
    });
    assert_eq!((refused.answer("GET").status, free.answer("GET").status), (403, 200));
    old.ended();
    let said = |what: &str, figures: &str| {
        byline.words().lines().any(|line| line.contains(what) && line.contains(figures))
    };
    // What the old process wrote last may still be on its way to us.
    wait::until_true("the sums that came too late", PATIENCE, || {
        said("sums came too late for the ledger", "sums=1 fetches=1 bytes=0")
    });
    wait::until_true("the fetch without a record", PATIENCE, || {
        said("fetches passed without a record", "fetches=1 bytes=4")
    });
    byline.stop();
    assert_eq!(byline.verify().code, 0);
}

#[test]
fn readiness_turns_before_anything_else_does() {
    let origin = Origin::answering(ok("", "x"));
    let more = "[timeouts]\nlame_duck = \"1s\"\n";
    let mut byline = e2e::configured(e2e::config::site(&origin.url(), more)).start();
    byline.terminate();
    wait::until_true("not ready", PATIENCE, || byline.admin_answers("/readyz") == 503);
    // A balancer that has not looked yet still sends new clients.
    let answer = byline.ask(get("/", ""));
    assert_eq!((answer.status, answer.fields.has("connection")), (200, false));
    assert!(byline.wait_exit(PATIENCE).success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (origin, _go) = slow_origin();
    let mut byline = before(origin.url()).start();
    let mut client = byline.client();
    client.send(get("/slow", ""));
    client.head().expect("a head");
    byline.terminate();
    wait::until_true("the drain", PATIENCE, || TcpStream::connect(byline.listen).is_err());
    byline.terminate();
    assert_eq!(byline.wait_exit(PATIENCE).code(), Some(1));
}

#[test]
fn an_open_websocket_holds_up_a_stop_for_no_longer_than_its_own_time() {
    let origin = Origin::start(|visit| {
        visit.request();
        let _ = visit
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        visit.left_within(Duration::from_secs(60));
    });
    let more = "[timeouts]\ndrain_tunnels = \"300ms\"\n";
    let mut byline = e2e::configured(e2e::config::site(&origin.url(), more)).start();
    let mut client = byline.client();
    client.send(get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert!(client.head().expect("a head").starts_with(b"HTTP/1.1 101"));
    let asked = Instant::now();
    byline.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "after {:?}", asked.elapsed());
    assert!(client.closed());
}

#[test]
fn restarts_with_the_sockets_held_fail_nobody() {
    const RESTARTS: usize = 20;
    let origin = Origin::site(|_| ok("", "x"));
    let mut byline = shop(&origin, "").with_sockets_held().start();
    let mut load = Load::default();
    load.over_h1(byline.listen, Who::Person, None);
    load.over_h1(byline.listen, Who::Crawler, None);
    load.over_h2(byline.listen, Who::Person);
    load.over_h2(byline.listen, Who::Crawler);
    for _ in 0..RESTARTS {
        let served = load.served();
        wait::until_true("answers", PATIENCE, || load.served() > served + 20);
        byline.stop();
        byline.start_again();
    }
    let served = load.served();
    wait::until_true("answers", PATIENCE, || load.served() > served + 20);
    let [_, h1, _, h2] = load.end().try_into().expect("four clients");
    println!("{} works over h1, {} over h2, {RESTARTS} restarts", h1.len(), h2.len());
    byline.stop();
    each_is_recorded_once(&byline, [h1, h2]);
}

#[test]
fn sockets_that_are_passed_and_listeners_that_are_configured_must_match() {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = shop(&origin, "[[listener]]\nsocket = \"web\"\n").prepare();
    byline.launch();
    assert_eq!(byline.wait_exit(PATIENCE).code(), Some(1));
    wait::until_true("its words", PATIENCE, || byline.words().contains("no socket named `web` was passed"));

    let mut byline = shop(&origin, "").with_sockets_held().prepare();
    let stray = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    byline.held.push(("stray".to_owned(), stray));
    byline.launch();
    assert_eq!(byline.wait_exit(PATIENCE).code(), Some(1));
    wait::until_true("its words", PATIENCE, || byline.words().contains("asks for `stray` (127.0.0.1:"));
}

#[test]
fn the_service_manager_hears_how_things_stand() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&place).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    let hear = || {
        let mut words = [0; 256];
        let length = manager.recv(&mut words).expect("a word in time");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let origin = Origin::answering(ok("", "x"));
    let place = place.display().to_string();
    let mut byline = before(origin.url()).env("NOTIFY_SOCKET", &place).start();
    assert_eq!(hear(), "READY=1");
    byline.hang_up();
    let reloading = hear();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("what systemd asks for");
    assert!(since.parse::<u64>().is_ok(), "{reloading}");
    assert_eq!(hear(), "READY=1");
    let old = byline.upgrade();
    // The new process says that it is ready as soon as it is, whichever of the two is heard first.
    let mut words = [hear(), hear()];
    words.sort();
    assert_eq!(words, [format!("MAINPID={}", byline.pid()), "READY=1".to_owned()]);
    old.ended();
    byline.stop();
    assert_eq!(hear(), "STOPPING=1");
}

#[test]
fn upgrades_fail_nobody_and_record_everything_once() {
    const UPGRADES: usize = 8;
    let origin = Origin::site(|_| ok("", "x"));
    let mut byline = shop(&origin, "").start();
    let mut load = Load::default();
    load.over_h1(byline.listen, Who::Person, None);
    load.over_h1(byline.listen, Who::Crawler, None);
    load.over_h2(byline.listen, Who::Person);
    load.over_h2(byline.listen, Who::Crawler);
    for _ in 0..UPGRADES {
        let served = load.served();
        wait::until_true("answers", PATIENCE, || load.served() > served + 20);
        let old = byline.upgrade();
        old.ended();
        assert_eq!(byline.admin_answers("/readyz"), 200);
    }
    let served = load.served();
    wait::until_true("answers", PATIENCE, || load.served() > served + 20);
    let [_, h1, _, h2] = load.end().try_into().expect("four clients");
    println!("{} works over h1, {} over h2, {UPGRADES} upgrades", h1.len(), h2.len());
    byline.stop();
    each_is_recorded_once(&byline, [h1, h2]);
}

#[test]
fn a_slow_crawler_holds_up_no_person_during_an_upgrade() {
    let (origin, go) = slow_origin();
    let mut byline = shop(&origin, "").start();
    let mut crawler = Client::connect_from(RICH, byline.listen);
    crawler.send(get("/slow/1", RICH_AGENT));
    crawler.head().expect("a head");
    let mut old = byline.upgrade();
    let person = byline.ask(get("/", "User-Agent: Mozilla/5.0\r\n"));
    assert_eq!(person.status, 200);
    assert!(byline.admin_get("/readyz").contains("the process before this one"), "{}", byline.words());
    // The next fetch of a crawler waits for the ledger, and gets it.
    let mut second = Client::connect_from(RICH, byline.listen);
    second.send(get("/every/2", RICH_AGENT));
    second.patience(Duration::from_millis(300));
    assert!(second.try_answer("GET").is_err(), "it did not wait");
    second.patience(PATIENCE);
    assert!(old.alive());
    go.send(()).expect("the origin waits");
    assert_eq!(crawler.take(10), b"first-last");
    assert_eq!(second.answer("GET").status, 200);
    old.ended();
    assert_eq!(byline.ask(get("/", "User-Agent: Mozilla/5.0\r\n")).status, 200);
    byline.stop();
    each_is_recorded_once(&byline, [vec!["/slow/1".to_owned(), "/every/2".to_owned()]]);
}

#[test]
fn a_slow_person_holds_up_no_crawler_during_an_upgrade() {
    let (origin, go) = slow_origin();
    let mut byline = shop(&origin, "").start();
    let mut person = byline.client();
    person.send(get("/slow/1", "User-Agent: Mozilla/5.0\r\n"));
    person.head().expect("a head");
    let mut old = byline.upgrade();
    let mut crawler = Client::connect_from(RICH, byline.listen);
    assert_eq!(crawler.ask(get("/every/2", RICH_AGENT)).status, 200);
    assert!(old.alive(), "it left with an answer under way");
    go.send(()).expect("the origin waits");
    assert_eq!(person.take(10), b"first-last");
    old.ended();
    byline.stop();
    each_is_recorded_once(&byline, [vec!["/every/2".to_owned()]]);
}

#[test]
fn a_ledger_is_awaited_as_long_as_the_process_that_has_it_may_drain() {
    // Three processes: the first still drains and has the ledger, the second never got it and dies, the third waits for
    // the second's end and then finds the ledger locked. Ten seconds were not enough once.
    let (origin, go) = slow_origin();
    let mut byline = shop(&origin, "").start();
    let mut crawler = Client::connect_from(RICH, byline.listen);
    crawler.send(get("/slow/1", RICH_AGENT));
    crawler.head().expect("a head");
    let first = byline.upgrade();
    let second = rustix::process::Pid::from_raw(byline.pid() as i32).expect("a process id is not zero");
    // Its parent is the first, so only with that one gone can its end be seen from here.
    let _second = byline.upgrade();
    rustix::process::kill_process(second, rustix::process::Signal::KILL).expect("a process of this test");
    std::thread::sleep(Duration::from_millis(10_500));
    assert!(byline.admin_get("/readyz").contains("the process before this one"), "{}", byline.words());
    go.send(()).expect("the origin waits");
    assert_eq!(crawler.take(10), b"first-last");
    first.ended();
    wait::until_true("the ledger", PATIENCE, || byline.words().contains("the ledger is ours"));
    let mut crawler = Client::connect_from(RICH, byline.listen);
    assert_eq!(crawler.ask(get("/every/2", RICH_AGENT)).status, 200);
    byline.stop();
    each_is_recorded_once(&byline, [vec!["/slow/1".to_owned(), "/every/2".to_owned()]]);
}

#[test]
fn a_successor_that_does_not_start_changes_nothing() {
    let origin = Origin::answering(ok("", "x"));
    let more = "[timeouts]\nsuccessor = \"1s\"\n";
    let mut byline = shop(&origin, more).with_own_program().start();
    let serves = |byline: &Byline| {
        let mut crawler = Client::connect_from(RICH, byline.listen);
        assert_eq!(crawler.ask(get("/every/1", RICH_AGENT)).status, 200);
        assert_eq!(byline.admin_answers("/readyz"), 200);
    };
    let fails = |byline: &mut Byline, why: &str| {
        let pid = byline.pid();
        byline.ask_for_upgrade();
        wait::until_true(why, PATIENCE, || byline.words().contains(why));
        assert!(byline.alive());
        assert_eq!(byline.pid(), pid);
        serves(byline);
    };
    serves(&byline);
    let replace = |byline: &Byline, with: &dyn Fn(&std::path::Path)| {
        let beside = byline.program.with_extension("new");
        with(&beside);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&beside, mode).expect("our own file");
        std::fs::rename(&beside, &byline.program).expect("our own file");
    };
    // One that is never heard of, one that is no program, one that does not like the policy.
    replace(&byline, &|path| std::fs::write(path, "#!/bin/sh\nexec sleep 60\n").expect("writable"));
    fails(&mut byline, "did not serve within 1 s");
    replace(&byline, &|path| std::fs::write(path, "nothing").expect("writable"));
    fails(&mut byline, "cannot be started");
    replace(&byline, &|path| {
        std::fs::copy(e2e::byline::binary(), path).expect("writable");
    });
    std::fs::write(&byline.policy_file, "version = 7\n").expect("a writable file");
    fails(&mut byline, "ended before it served: exit status: 3");
    // When all is well again, the file that lies there now is the one that serves.
    std::fs::write(&byline.policy_file, SHOP).expect("a writable file");
    byline.upgrade().ended();
    let program = std::fs::read_link(format!("/proc/{}/exe", byline.pid())).expect("a live process");
    assert_eq!(program, byline.program);
    serves(&byline);
    byline.stop();
    assert_eq!(byline.records().len(), 5);
    assert_eq!(byline.verify().code, 0);
}

#[test]
fn a_stop_during_an_upgrade_stops_both() {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = shop(&origin, "").with_own_program().start();
    let beside = byline.program.with_extension("new");
    std::fs::write(&beside, "#!/bin/sh\nexec sleep 60\n").expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&beside, mode).expect("our own file");
    std::fs::rename(&beside, &byline.program).expect("our own file");
    byline.ask_for_upgrade();
    wait::until_true("a new process", PATIENCE, || byline.words().contains("a new process was started"));
    byline.stop();
    wait::until_true("no listener", PATIENCE, || TcpStream::connect(byline.listen).is_err());
}
