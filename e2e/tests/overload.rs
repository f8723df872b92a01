//! More than there is room for: whoever takes too much is told so, and everybody else goes on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::h2c::{self, block_on};
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Origin, config, configured, get};
use socket2::{Domain, Socket, Type};

const GREEDY: [u8; 4] = [127, 0, 0, 9];
const MODEST: [u8; 4] = [127, 0, 0, 10];

/// One thread, so that everybody shares everything.
fn start(origin: &Origin, limits: &str) -> Byline {
    configured(config::site(&origin.url(), &format!("threads = 1\n{limits}"))).start()
}

/// Answers at once, but for `/hang`, which it never answers.
fn hanging() -> Origin {
    Origin::start(|visit| {
        while let Some(request) = visit.request() {
            if request.target == "/hang" {
                visit.left_within(PATIENCE);
                return;
            }
            if visit.write(ok("", "page")).is_err() {
                return;
            }
        }
    })
}

fn shed(byline: &Byline, limit: &str) -> f64 {
    byline.metric("byline_shed_total", &[&format!("limit=\"{limit}\"")])
}

#[test]
fn one_client_cannot_take_every_connection() {
    let origin = hanging();
    let byline = start(&origin, "[limits]\nconnections_per_client = 3\n");
    let mut taken: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect_from(GREEDY, byline.listen);
        assert_eq!(client.ask(get("/", "")).status, 200);
        taken.push(client);
    }
    let mut refused = Client::connect_from(GREEDY, byline.listen);
    let answer = refused.try_answer("GET").expect("an end in time").expect("an answer");
    assert_eq!((answer.status, answer.field("retry-after")), (429, "5"));
    assert!(refused.closed());
    assert_eq!(shed(&byline, "client-connections"), 1.0);
    assert_eq!(Client::connect_from(MODEST, byline.listen).ask(get("/", "")).status, 200);
    assert_eq!(taken[0].ask(get("/", "")).status, 200, "what it has goes on");
    taken.pop();
    wait::until_true("there is room for another", PATIENCE, || {
        let mut client = Client::connect_from(GREEDY, byline.listen);
        client.try_send(get("/", "Connection: close\r\n")).is_ok()
            && client.try_answer("GET").is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200))
    });
}

#[test]
fn a_tunnel_counts_among_its_clients_connections() {
    let origin = Origin::start(|visit| {
        visit.head();
        let _ = visit
            .write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        visit.left_within(PATIENCE);
    });
    let byline = start(&origin, "[limits]\nconnections_per_client = 2\n");
    let upgrade = get("/", "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    let mut tunnel = Client::connect_from(GREEDY, byline.listen);
    assert_eq!(tunnel.ask(&upgrade).status, 101);
    wait::until_true("the tunnel is one connection", PATIENCE, || {
        byline.metric("byline_connections_open", &[]) == 1.0
    });
    let answer = Client::connect_from(GREEDY, byline.listen).ask(&upgrade);
    assert_eq!((answer.status, answer.field("retry-after")), (429, "5"), "no room for a second tunnel");
    assert_eq!(Client::connect_from(MODEST, byline.listen).ask(&upgrade).status, 101);
}

#[test]
fn one_client_cannot_take_every_request() {
    let origin = hanging();
    let byline = start(&origin, "[limits]\nrequests_per_client = 4\n");
    block_on(async {
        // Two connections, so that neither is the measure.
        let mut one = h2_from(GREEDY, byline.listen).await;
        let mut two = h2_from(GREEDY, byline.listen).await;
        let mut waiting = Vec::new();
        for connection in [&mut one, &mut two] {
            for _ in 0..2 {
                waiting.push(open(connection, "/hang").await);
            }
        }
        wait_for(|| origin.requests().len() == 4).await;
        for connection in [&mut one, &mut two] {
            let refused = open(connection, "/").await.await.expect("an answer");
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.headers()["retry-after"], "5");
        }
        let mut other = h2_from(MODEST, byline.listen).await;
        assert_eq!(open(&mut other, "/").await.await.expect("an answer").status(), 200);
        drop(waiting);
        wait_for(|| shed(&byline, "client-requests") == 2.0).await;
        // Streams that are reset give their places back.
        let mut status = 0;
        let began = Instant::now();
        while status != 200 && began.elapsed() < PATIENCE {
            status = open(&mut one, "/").await.await.expect("an answer").status().as_u16();
        }
        assert_eq!(status, 200);
    });
}

#[test]
fn what_a_connection_may_ask_for_does_not_depend_on_the_threads() {
    // All streams of a connection are one thread's. Were turns shared out, one client could take all that the thread has,
    // and whoever else it accepted would be turned away though the site has room.
    let origin = hanging();
    let more = "threads = 4\n[limits]\nrequests = 16\nrequests_per_site = 12\n";
    let byline = configured(config::site(&origin.url(), more)).start();
    block_on(async {
        let mut waiting = Vec::new();
        for (client, under_way) in [(GREEDY, 6), (MODEST, 12)] {
            let mut connection = h2_from(client, byline.listen).await;
            for _ in 0..6 {
                waiting.push(open(&mut connection, "/hang").await);
            }
            wait_for(|| origin.requests().len() == under_way).await;
            assert_eq!(open(&mut connection, "/").await.await.expect("an answer").status(), 429);
        }
        let mut other = h2_from([127, 0, 0, 11], byline.listen).await;
        assert_eq!(open(&mut other, "/").await.await.expect("an answer").status(), 503, "the site is full");
        assert_eq!((shed(&byline, "client-requests"), shed(&byline, "site-requests")), (2.0, 1.0));
        drop(waiting);
        let mut status = 0;
        let began = Instant::now();
        while status != 200 && began.elapsed() < PATIENCE {
            status = open(&mut other, "/").await.await.expect("an answer").status().as_u16();
        }
        assert_eq!(status, 200);
    });
}

#[test]
fn crawlers_that_wait_for_the_ledger_leave_room_for_people() {
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let goes = std::sync::Mutex::new(goes);
    let origin = Origin::start(move |visit| {
        while let Some(request) = visit.request() {
            if request.target != "/slow" {
                let _ = visit.write(ok("", "page"));
                continue;
            }
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            let _ = goes.lock().expect("one visit at a time").recv_timeout(PATIENCE);
            let _ = visit.write("-last");
        }
    });
    let limits = "threads = 4\n[limits]\nrequests = 16\nrequests_per_client = 16\n";
    let text = config::site(&origin.url(), &format!("{}{limits}", config::POLICY));
    let mut byline = configured(text).policy(config::SHOP).start();
    // While this is under way, the new process has no ledger.
    let mut slow = Client::connect_from(config::RICH, byline.listen);
    slow.send(get("/slow", config::RICH_AGENT));
    slow.head().expect("a head");
    let old = byline.upgrade();
    block_on(async {
        let crawler = "RichBot/1.0";
        // For an instant both processes accept; the old one sells at once.
        let (mut connection, waiting) = loop {
            let mut connection = h2_from(config::RICH, byline.listen).await;
            let mut waiting = Vec::new();
            for _ in 0..8 {
                waiting.push(open_as(crawler, &mut connection, "/every/1").await);
            }
            let next = open_as(crawler, &mut connection, "/every/1").await.await.expect("an answer");
            if next.status() == 503 {
                break (connection, waiting);
            }
            assert_eq!(next.status(), 200);
        };
        for _ in 0..8 {
            assert_eq!(open(&mut connection, "/").await.await.expect("an answer").status(), 200);
        }
        go.send(()).expect("the origin waits");
        for answer in waiting {
            assert_eq!(answer.await.expect("an answer").status(), 200);
        }
    });
    assert_eq!(slow.take(10), b"first-last");
    old.ended();
}

/// Waits on the test's own runtime, so that connections go on meanwhile.
async fn wait_for(ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < PATIENCE, "not in time");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

type H2 = h2::client::SendRequest<bytes::Bytes>;

async fn h2_from(from: [u8; 4], to: SocketAddr) -> H2 {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("a loopback address");
    let tcp = socket.connect(to).await.expect("a connection");
    let (send, connection) = h2::client::handshake(tcp).await.expect("a handshake");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}

async fn open(connection: &mut H2, path: &str) -> h2::client::ResponseFuture {
    open_as("Mozilla/5.0", connection, path).await
}

async fn open_as(agent: &str, connection: &mut H2, path: &str) -> h2::client::ResponseFuture {
    let mut ready = connection.clone().ready().await.expect("a connection");
    let mut request = h2c::get(&format!("http://site.test{path}"));
    request.headers_mut().insert("user-agent", agent.parse().expect("a value"));
    ready.send_request(request, true).expect("a stream").0
}

/// A listener whose backlog is full: the kernel drops whoever knocks.
fn full_listener() -> (Socket, Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("a bound socket");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let mut filling = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if socket.connect_timeout(&address.into(), Duration::from_millis(300)).is_err() {
            return (listener, filling, address);
        }
        filling.push(socket);
        assert!(filling.len() < 100, "a backlog that does not fill");
    }
}

const SHORT: &str = "[timeouts]\nconnect = \"2s\"\nresponse_head = \"2s\"\n";

/// Many requests for `hang.test` at once; meanwhile `site.test` is asked again and again.
fn hurts_only_its_own(what: &str, byline: &Byline, requests: usize, at_most: usize) {
    let ask_hanging = || {
        let mut client = byline.client();
        client.send("GET / HTTP/1.1\r\nHost: hang.test\r\n\r\n");
        client
    };
    let mut clients: Vec<Client> = (0..requests).map(|_| ask_hanging()).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(byline.ask(get("/", "")).status, 200, "{what}");
        slowest = slowest.max(began.elapsed());
    }
    println!("{what}: the slowest of 100 others took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{what}: others waited {slowest:?}");
    let answers: Vec<(u16, String)> = clients
        .iter_mut()
        .map(|client| client.answer("GET"))
        .map(|answer| (answer.status, answer.field("retry-after").to_owned()))
        .collect();
    let refused = answers.iter().filter(|answer| **answer == (503, "5".to_owned())).count();
    let timed_out = answers.iter().filter(|(status, _)| matches!(status, 502 | 504)).count();
    assert_eq!((refused, timed_out), (requests - at_most, at_most), "{what}: {answers:?}");
    assert_eq!(shed(byline, "site-requests"), refused as f64, "{what}");
    // Whoever was told to wait finds its turn given back.
    assert!(matches!(ask_hanging().answer("GET").status, 502 | 504), "{what}");
}

fn two_sites(site: &str, hang: &str) -> String {
    let (site, hang) = (config::host(&["site.test"], site), config::host(&["hang.test"], hang));
    format!(
        "{}threads = 1\n{SHORT}[limits]\nrequests = 8\nrequests_per_client = 8\n{site}{hang}",
        config::base()
    )
}

#[test]
fn an_origin_that_hangs_hurts_only_its_own_requests() {
    let origin = Origin::answering(ok("", "page"));
    let silent = Origin::start(|visit| {
        visit.left_within(PATIENCE);
    });
    let byline = configured(two_sites(&origin.url(), &silent.url())).start();
    hurts_only_its_own("an origin that says nothing", &byline, 30, 6);

    let (_listener, _filling, address) = full_listener();
    let byline = configured(two_sites(&origin.url(), &format!("http://{address}"))).start();
    hurts_only_its_own("an origin whose backlog is full", &byline, 30, 6);
}

#[test]
fn a_resolver_that_hangs_hurts_only_its_own_requests() {
    let origin = Origin::answering(ok("", "page"));
    // Hears every question and answers none.
    let resolver = std::net::UdpSocket::bind("127.31.9.53:53").expect("a privileged port: tests run as root");
    let url = format!("http://localhost:{}", origin.addr().port());
    let mut byline = configured(two_sites(&url, "http://origin.hang.example:80"))
        .file("resolv.conf", "nameserver 127.31.9.53\noptions timeout:30 attempts:5\n")
        .after_in_own_mounts("mount --bind {dir}/resolv.conf /etc/resolv.conf")
        .start();
    hurts_only_its_own("a resolver that says nothing", &byline, 30, 6);
    let mut question = [0; 512];
    resolver.set_nonblocking(true).expect("a socket");
    let mut asked = 0;
    while resolver.recv(&mut question).is_ok() {
        asked += 1;
    }
    println!("{asked} questions");
    assert!((1..=4).contains(&asked), "{asked} questions: one at a time is enough");
    // A look-up that is still under way keeps nobody.
    let began = Instant::now();
    byline.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "the stop took {:?}", began.elapsed());
}

/// Descriptors of a process that has hardly any.
const FEW: usize = 160;

fn start_with_few_descriptors(origin: &Origin, limits: &str) -> Byline {
    let more = format!("threads = 1\n[timeouts]\nrequest_head = \"60s\"\n{limits}");
    configured(config::site(&origin.url(), &more)).after(&format!("ulimit -n {FEW}")).start()
}

/// All clients of a test have one address.
const CROWDED: &str = "[limits]\nconnections_per_client = 1000\n";

#[test]
fn one_client_cannot_take_every_connection_that_descriptors_allow() {
    let origin = hanging();
    let byline = start_with_few_descriptors(&origin, "");
    let crowd: Vec<Client> = (0..FEW).map(|_| Client::connect_from(GREEDY, byline.listen)).collect();
    wait::until_true("the crowd is more than one client may have", PATIENCE, || {
        shed(&byline, "client-connections") > 0.0
    });
    assert_eq!(Client::connect_from(MODEST, byline.listen).ask(get("/", "")).status, 200);
    drop(crowd);
}

/// Asks on this connection for two seconds, in which the process does hardly anything.
fn keeps_still(byline: &Byline, mut ask: impl FnMut()) {
    let (cpu, began) = (byline.cpu_time(), Instant::now());
    while began.elapsed() < Duration::from_secs(2) {
        ask();
        std::thread::sleep(Duration::from_millis(100));
    }
    let used = byline.cpu_time() - cpu;
    println!("{used:?} of processor time in two seconds");
    assert!(used < Duration::from_millis(400), "{used:?} of processor time in two seconds");
}

fn serves_newcomers(byline: &Byline) {
    wait::until_true("newcomers are served", PATIENCE, || {
        let mut client = byline.client();
        client.patience(Duration::from_secs(1));
        client.try_send(get("/", "")).is_ok()
            && client.try_answer("GET").is_ok_and(|answer| answer.is_some_and(|answer| answer.status == 200))
    });
}

#[test]
fn a_crowd_leaves_descriptors_for_those_who_are_served() {
    let origin = hanging();
    let byline = start_with_few_descriptors(&origin, CROWDED);
    let mut served = byline.client();
    assert_eq!(served.ask(get("/", "")).status, 200);
    let crowd: Vec<Client> = (0..FEW).map(|_| byline.client()).collect();
    wait::until_true("all connections are taken", PATIENCE, || {
        byline.metric("byline_connections_open", &[]) >= (FEW / 3) as f64
    });
    keeps_still(&byline, || {
        assert_eq!(served.ask(get("/", "Connection: keep-alive\r\n")).status, 200);
    });
    assert!(!byline.words().contains("accept failed"), "the rest waits outside");
    drop(crowd);
    serves_newcomers(&byline);
}

#[test]
fn without_descriptors_accepting_waits_and_does_not_spin() {
    let origin = hanging();
    let byline = start_with_few_descriptors(&origin, CROWDED);
    let mut served = byline.client();
    assert_eq!(served.ask(get("/", "")).status, 200);
    // The streams of one connection take a descriptor each for its origin, until there are none left.
    let mut greedy = byline.client();
    greedy.send(h2c::preface());
    let whole = h2c::END_HEADERS | h2c::END_STREAM;
    for stream in 0..100 {
        let fields = h2c::block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/hang"),
            (":authority", "site.test"),
        ]);
        greedy.send(h2c::frame(h2c::HEADERS, whole, 2 * stream + 1, &fields));
    }
    let mut crowd = Vec::new();
    wait::until_true("accepting fails", PATIENCE, || {
        if crowd.len() < FEW {
            crowd.push(byline.client());
        }
        byline.words().contains("accept failed")
    });
    keeps_still(&byline, || {
        // There is none for an origin, either; but an answer there is.
        assert!(matches!(served.ask(get("/", "")).status, 200 | 502));
    });
    let complaints = byline.words().matches("accept failed").count();
    assert!(complaints < 5, "{complaints} lines of the same");
    drop((greedy, crowd));
    serves_newcomers(&byline);
}

mod alone {
    use super::*;

    #[test]
    fn scarce_memory_sheds_new_work_until_there_is_some_again() {
        const ROOM: u64 = 24;
        let origin = Origin::start(|visit| {
            let Some(request) = visit.request() else { return };
            if request.target != "/endless" {
                let _ = visit.write(ok("", "page"));
                return;
            }
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            let part = vec![b'x'; 1 << 18];
            while visit.write(&part).is_ok() {}
        });
        let usual = {
            let byline = start(&origin, "");
            assert_eq!(byline.ask(get("/", "")).status, 200);
            byline.rss_kib()
        };
        let mark = usual / 1024 + ROOM;
        let byline = start(&origin, &format!("[limits]\nmemory = \"{mark}MiB\"\n"));
        let mut waiting = byline.client();
        assert_eq!(waiting.ask(get("/", "")).status, 200);
        let mut crowd = Vec::new();
        let refused = loop {
            let mut client = byline.client();
            client.send(get("/endless", ""));
            let head = client.head().expect("an answer of some kind");
            if e2e::client::status_of(&head) != 200 {
                break String::from_utf8_lossy(&head).to_ascii_lowercase();
            }
            crowd.push(client);
            assert!(crowd.len() < 2_000, "{} KiB and no end, the mark is {mark} MiB", byline.rss_kib());
        };
        println!(
            "{} bodies that nobody reads, {} KiB; the mark is {mark} MiB",
            crowd.len(),
            byline.rss_kib()
        );
        assert!(
            refused.starts_with("http/1.1 503") && refused.contains("\r\nconnection: close\r\n"),
            "{refused}"
        );
        assert!(refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
        assert!(shed(&byline, "memory") >= 1.0);
        for _ in 0..50 {
            assert_eq!(byline.ask(get("/endless", "")).status, 503);
        }
        assert!(byline.rss_kib() / 1024 < mark + ROOM, "{} KiB", byline.rss_kib());
        assert_eq!(byline.admin_answers("/healthz"), 200, "operations can look");
        let mut taken = 0;
        for client in &mut crowd {
            taken += client.take(1 << 16).len();
        }
        assert!(taken >= crowd.len() << 16, "what has begun goes on");
        drop(crowd);
        wait::until_true("work is taken again", PATIENCE, || byline.ask(get("/", "")).status == 200);
        assert!(byline.words().contains("there is memory again"));
        drop(waiting);
    }
}
