//! One who stalls must not hold up, or hold on to, what others need: uploads, streams, tunnels, permits.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::h2c::{self, Frame, block_on, frame, request_block};
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::wire::End;
use e2e::{Byline, Origin, Visit, ask, config, configured, get};
use tokio::net::TcpSocket;

/// One thread, so that everybody shares its connections, and every limit at one second.
const SHORT: &str = "threads = 1\n[timeouts]\nrequest_head = \"1s\"\nbody_silence = \"1s\"\nconnect = \"1s\"\n\
                     response_head = \"1s\"\ntunnel_silence = \"1s\"\n";

fn start(origin: &Origin, more: &str) -> Byline {
    configured(config::site(&origin.url(), more)).start()
}

/// Between what the configuration says and what a loaded machine may add.
fn in_time(what: &str, began: Instant) {
    let took = began.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(10)).contains(&took), "{what}: after {took:?}");
}

#[test]
fn an_upload_that_is_under_way_is_waited_for_by_nobody_else() {
    let origin = Origin::start(|visit| {
        while let Some(request) = visit.head() {
            if request.method == "POST" {
                let _ = visit.write("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
                visit.take(1000);
            } else {
                let _ = visit.write(ok("", "page"));
            }
        }
    });
    let byline = start(&origin, "threads = 1\n");
    let mut slow = byline.client();
    slow.send("POST /index.html HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1000\r\n\r\nfirst");
    assert_eq!(slow.answer("POST").status, 405);
    let mut other = byline.client();
    other.patience(Duration::from_secs(5));
    other.send(get("/", ""));
    assert_eq!(other.try_answer("GET").expect("an answer in time").expect("an answer").text(), "page");
}

#[test]
fn a_slow_upload_is_not_an_origin_that_does_not_answer() {
    let origin = Origin::site(|request| ok("", &request.body));
    let byline = start(&origin, SHORT);
    let mut client = byline.client();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        // The pace is the subject here: in all longer than the limit, but never silent for as long.
        std::thread::sleep(Duration::from_millis(250));
        client.send("x");
    }
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "xxxxxxxx"));
}

#[test]
fn an_origin_has_its_time_from_the_end_of_the_upload() {
    let origin = Origin::start(|visit| {
        visit.request();
        visit.left_within(PATIENCE);
    });
    let byline = start(&origin, SHORT);
    let began = Instant::now();
    let request = "POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(byline.ask(request).status, 504);
    in_time("no head after an upload", began);
}

#[test]
fn an_origin_that_takes_no_upload_is_given_up() {
    let (done, waits) = mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let origin = Origin::start(move |visit| {
        visit.head();
        let _ = waits.lock().expect("one visit").recv_timeout(PATIENCE);
    });
    let byline = start(&origin, SHORT);
    let mut client = byline.client();
    let began = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100000000\r\n\r\n");
    let part = vec![b'x'; 1 << 20];
    let sent = (0..90).take_while(|_| client.try_send(&part).is_ok()).count();
    assert!(sent < 90, "the origin read nothing, and yet somebody took it all");
    in_time("an upload that is not taken", began);
    drop(done);
}

#[test]
fn a_chunked_body_after_an_answer_of_http_1_0() {
    let origin = Origin::site(|request| match request.method.as_str() {
        "POST" => ok("", &request.body),
        _ => b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold".to_vec(),
    });
    let byline = start(&origin, "threads = 1\n");
    assert_eq!(byline.ask(get("/", "")).text(), "old");
    let request =
        "POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(byline.ask(request).text(), "body");
    let posts: Vec<_> = origin.requests().into_iter().filter(|request| request.method == "POST").collect();
    assert_eq!((posts.len(), posts[0].end), (1, End::Chunked), "{posts:?}");
}

/// An h2 client whose windows the test chooses.
async fn connect(to: SocketAddr, window: u32) -> h2::client::SendRequest<Bytes> {
    connect_from([127, 0, 0, 1], to, window).await
}

/// [`connect`] from an address of one's own.
async fn connect_from(from: [u8; 4], to: SocketAddr, window: u32) -> h2::client::SendRequest<Bytes> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("a loopback address");
    let tcp = socket.connect(to).await.expect("a connection");
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(1 << 24)
        .handshake(tcp)
        .await
        .expect("a handshake");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send.ready().await.expect("a connection")
}

fn get_as(agent: &str, path: &str) -> http::Request<()> {
    http::Request::get(format!("http://site.test{path}"))
        .header("user-agent", agent)
        .body(())
        .expect("well formed")
}

#[test]
fn streams_of_which_nothing_is_read_are_cut() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        while let Some(request) = visit.request() {
            if request.target == "/short" {
                let _ = visit.write(ok("", "short"));
            } else {
                let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                let part = vec![b'x'; 1 << 16];
                while visit.write(&part).is_ok() {}
                let _ = left.send(());
                return;
            }
        }
    });
    let byline = start(&origin, SHORT);
    block_on(async {
        let mut client = connect(byline.listen, 0).await;
        let began = Instant::now();
        let mut answers = Vec::new();
        for (agent, path) in [
            ("Mozilla/5.0", "/short"),
            ("Mozilla/5.0", "/long"),
            ("GPTBot/1.2", "/short"),
            ("GPTBot/1.2", "/long"),
        ] {
            client = client.ready().await.expect("a connection");
            answers.push((agent, path, client.send_request(get_as(agent, path), true).expect("a stream").0));
        }
        for (agent, path, answer) in answers {
            let mut body = answer.await.expect("a head").into_body();
            let end = body.data().await;
            assert!(matches!(end, Some(Err(_))), "{agent} {path}: {end:?}");
            in_time(path, began);
        }
    });
    for _ in 0..2 {
        leaves.recv_timeout(PATIENCE).expect("the connection to the origin is let go");
    }
    let outcomes: Vec<_> = byline.wait_for_records(2).iter().map(|r| r["outcome"].to_string()).collect();
    assert!(outcomes.contains(&"\"aborted\"".to_owned()), "{outcomes:?}");
}

#[test]
fn streams_of_which_nothing_is_read_do_not_keep_the_ledgers_slots() {
    let origin = Origin::start(|visit| {
        while let Some(request) = visit.head() {
            let length = if request.target.ends_with("short") { 10 } else { 1_000_000 };
            if visit.write(ok("", vec![b'x'; length])).is_err() {
                return;
            }
        }
    });
    let more = format!("{}{SHORT}[ledger]\nqueue_entries = 4\n", config::POLICY);
    let byline = configured(config::site(&origin.url(), &more)).policy(config::SHOP).start();
    let priced = || {
        let mut client = e2e::Client::connect_from(config::RICH, byline.listen);
        client.ask(get("/every/short", config::RICH_AGENT)).status
    };
    assert_eq!(priced(), 200);
    block_on(async {
        let mut client = connect_from(config::RICH, byline.listen, 0).await;
        let mut heads = Vec::new();
        for n in 0..4 {
            client = client.ready().await.expect("a connection");
            let request = get_as("RichBot/1.0", &format!("/articles/{n}"));
            let answer = client.send_request(request, true).expect("a stream").0;
            heads.push(answer.await.expect("a head"));
        }
        assert!(heads.iter().all(|head| head.status() == 200), "{heads:?}");
        assert_eq!(priced(), 503, "all slots are taken");
        for head in heads {
            assert!(
                matches!(head.into_body().data().await, Some(Err(_))),
                "a stream without a reader goes on"
            );
        }
    });
    wait::until_true("there is room again", PATIENCE, || priced() == 200);
}

/// Sends parts of a body that has no end until nobody takes them.
fn endless(visit: &mut Visit) {
    visit.request();
    let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let part = vec![b'x'; 1 << 14];
    while visit.write(&part).is_ok() {}
}

#[test]
fn a_stream_cannot_hide_behind_another_for_ever() {
    let origin = Origin::start(endless);
    let byline = start(&origin, SHORT);
    block_on(async {
        let mut client = connect(byline.listen, 1 << 16).await;
        let began = Instant::now();
        let unread = client.send_request(get_as("Mozilla/5.0", "/unread"), true).expect("a stream").0;
        let mut client = client.ready().await.expect("a connection");
        let read = client.send_request(get_as("Mozilla/5.0", "/read"), true).expect("a stream").0;
        let mut unread = unread.await.expect("a head").into_body();
        let mut read = read.await.expect("a head").into_body();
        let reading = tokio::spawn(async move {
            while let Some(part) = read.data().await {
                let part = part.expect("the stream that is read goes on");
                read.flow_control().release_capacity(part.len()).expect("what was taken");
                // A reader with a pace, so that the machine has something left for others.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let cut = loop {
            // What had arrived within the window may be looked at, but nothing of it is given back.
            match unread.data().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(matches!(cut, Some(Err(_))), "{cut:?}");
        let took = began.elapsed();
        assert!(took > Duration::from_secs(3), "cut after {took:?} although the connection moved");
        assert!(!reading.is_finished(), "the other stream ended as well");
        reading.abort();
    });
}

#[test]
fn a_stream_that_is_read_slowly_is_not_cut() {
    let origin = Origin::answering(ok("", vec![b'x'; 24_000]));
    let byline = start(&origin, SHORT);
    block_on(async {
        for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
            let mut client = connect(byline.listen, 4_000).await;
            let answer = client.send_request(get_as(agent, "/"), true).expect("a stream").0;
            let mut body = answer.await.expect("a head").into_body();
            let mut taken = 0;
            while let Some(part) = body.data().await {
                let part = part.expect("a stream that goes on");
                taken += part.len();
                tokio::time::sleep(Duration::from_millis(200)).await;
                body.flow_control().release_capacity(part.len()).expect("what was taken");
            }
            assert_eq!(taken, 24_000, "{agent}");
        }
    });
}

/// Reads frames until the connection ends.
fn frames(client: &mut e2e::Client) -> Vec<Frame> {
    std::iter::from_fn(|| h2c::read_frame(client)).collect()
}

#[test]
fn an_idle_h2_connection_ends() {
    let origin = Origin::answering(ok("", "x"));
    let byline = start(&origin, SHORT);
    let request = frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &request_block(&[]));
    for (what, more) in [("no request", Vec::new()), ("one request", request)] {
        let mut client = byline.client();
        let began = Instant::now();
        client.send(h2c::preface());
        client.send(more);
        let seen = frames(&mut client);
        assert!(seen.iter().any(|frame| frame.kind == h2c::GOAWAY), "{what}: {seen:?}");
        in_time(what, began);
    }
}

#[test]
fn what_hyper_has_left_to_send_does_not_stay_for_ever() {
    let origin = Origin::answering(ok("", "more than one byte"));
    let byline = start(&origin, SHORT);
    let mut client = byline.client();
    let began = Instant::now();
    // SETTINGS_INITIAL_WINDOW_SIZE = 1: the whole body is handed over, one byte of it may leave.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(h2c::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]));
    client.send(frame(h2c::HEADERS, h2c::END_HEADERS | h2c::END_STREAM, 1, &request_block(&[])));
    let seen = frames(&mut client);
    let data: Vec<u8> = seen.iter().filter(|f| f.kind == h2c::DATA).flat_map(|f| f.payload.clone()).collect();
    assert_eq!(data, b"m");
    in_time("one byte of many", began);
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

/// Agrees to another protocol and echoes what it hears; reports its end.
fn echo(visit: &mut Visit, ended: &mpsc::Sender<()>) {
    visit.head();
    let _ =
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    loop {
        let bytes = visit.some();
        if bytes.is_empty() || visit.write(bytes).is_err() {
            let _ = ended.send(());
            return;
        }
    }
}

#[test]
fn a_silent_tunnel_is_closed_on_both_sides() {
    let (ended, ends) = mpsc::channel();
    let origin = Origin::start(move |visit| echo(visit, &ended));
    let byline = start(&origin, SHORT);
    let mut client = byline.client();
    client.send(get("/chat", UPGRADE));
    assert_eq!(client.answer("GET").status, 101);
    for _ in 0..8 {
        // Longer than the limit in all, but never silent for as long.
        std::thread::sleep(Duration::from_millis(250));
        client.send("ping");
        assert_eq!(client.take(4), b"ping");
    }
    let began = Instant::now();
    assert!(client.closed(), "nothing comes of a silent tunnel but its end");
    in_time("a silent tunnel", began);
    ends.recv_timeout(PATIENCE).expect("the origin's side ends too");
}

#[test]
fn a_tunnel_counts_as_a_connection_and_is_drained() {
    let (ended, _ends) = mpsc::channel();
    let origin = Origin::start(move |visit| echo(visit, &ended));
    let mut byline = start(&origin, "threads = 1\n[limits]\nconnections = 2\n");
    let mut client = byline.client();
    client.send(get("/chat", UPGRADE));
    assert_eq!(client.answer("GET").status, 101);
    wait::until_true("the tunnel is one open connection", PATIENCE, || {
        byline.metric("byline_connections_open", &[]) == 1.0
    });
    // A second tunnel finds no room beside the first and its own connection.
    assert_eq!(byline.ask(get("/chat", UPGRADE)).status, 503);

    byline.terminate();
    wait::until_true("the drain begins", PATIENCE, || byline.words().contains("draining"));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        client.send("ping");
        assert_eq!(client.take(4), b"ping");
    }
    drop(client);
    assert!(byline.wait_exit(PATIENCE).success());
}

#[test]
fn an_idle_listener_does_not_keep_the_last_permit() {
    let origin = Origin::answering(ok("", "x"));
    let more = format!("threads = 1\n{}[limits]\nconnections = 1\n", config::PROXY_LISTENER);
    let byline = start(&origin, &more);
    for listener in [byline.tls, byline.tls, byline.listen, byline.listen, byline.tls] {
        assert_eq!(ask(listener, get("/", "Connection: close\r\n")).status, 200, "{listener}");
    }
}

/// Starts a process that waits for its policy in the middle of its start, and gives it `signal` there.
fn signalled_at_its_start(signal: impl FnOnce(&Byline)) -> Byline {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = configured(config::site(&origin.url(), config::POLICY)).prepare();
    let path = byline.policy_file.clone();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "a named pipe");
    byline.launch();
    let (opened, opens) = mpsc::channel();
    let pipe = path.clone();
    // Opening a pipe to write waits for its reader.
    std::thread::spawn(move || opened.send(std::fs::OpenOptions::new().write(true).open(pipe)));
    let mut pipe = opens.recv_timeout(PATIENCE).expect("the policy is read").expect("a pipe");
    signal(&byline);
    // The next time the policy is read it is a plain file.
    std::fs::remove_file(&path).expect("our own directory");
    std::fs::write(&path, config::SHOP).expect("our own directory");
    std::io::Write::write_all(&mut pipe, config::SHOP.as_bytes()).expect("a reader that is still there");
    byline
}

#[test]
fn a_hangup_during_the_start_is_a_reload() {
    let byline = signalled_at_its_start(Byline::hang_up);
    wait::until_true("the reload", PATIENCE, || byline.words().contains("policy reloaded"));
}

#[test]
fn a_stop_during_the_start_is_a_clean_one() {
    let mut byline = signalled_at_its_start(Byline::terminate);
    let status = byline.wait_exit(PATIENCE);
    assert!(status.success(), "{status}:\n{}", byline.words());
    assert_eq!(byline.verify().code, 0);
}
