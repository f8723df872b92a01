//! Clients that use HTTP/2 as a weapon, on both listeners: their connection ends, the origin hears little of it, memory
//! stays where it was, and everybody else is served meanwhile, on the same thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::flood::{Flooder, Seen};
use e2e::h2c::{self, END_HEADERS, END_STREAM, block, frame};
use e2e::load::Who;
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Both, Load, On, Origin};
use rustls::ClientConfig;

/// How many connections flood at once.
const FLOODERS: usize = 3;
/// What everybody else may wait: far more than they do, far less than a process that is held up would make them.
const OTHERS_WAIT: Duration = Duration::from_secs(5);
/// How much more memory a process may take under attack.
const ALLOWED_KIB: u64 = 64 << 10;
/// What a process may write to its log about an attack.
const WORDS_MAX: usize = 4 << 10;
/// What a flooder asks for; never answered.
const TARGET: &str = "/flood";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
/// What is long.
const LONG: &str = "/long";
/// How long.
const LONG_BYTES: usize = 2 << 20;

/// A site on one thread, so that whoever is served shares it with the flood.
struct Site {
    _origin: Origin,
    /// How many of the flooders' requests have arrived.
    arrived: Arc<AtomicUsize>,
    both: Both,
}

impl Site {
    fn start() -> Site {
        let arrived = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&arrived);
        let origin = Origin::start(move |visit| {
            while let Some(request) = visit.head() {
                if request.target == TARGET {
                    count.fetch_add(1, Ordering::Relaxed);
                    visit.left_within(PATIENCE);
                    return;
                }
                let answer = match request.target.as_str() {
                    _ if request.method == "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n".to_vec(),
                    LONG => ok("", vec![b'x'; LONG_BYTES]),
                    "/empty" => ok("", ""),
                    "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                    "/304" => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
                    "/chunks" => format!("{CHUNKED}4\r\npage\r\n0\r\n\r\n").into(),
                    "/trailers" => format!("{CHUNKED}4\r\npage\r\n0\r\nx-sum: 1\r\n\r\n").into(),
                    _ => ok("", "page"),
                };
                if visit.write(answer).is_err() {
                    return;
                }
            }
        });
        let both = Both::start(&origin.url(), "threads = 1\n");
        Site { _origin: origin, arrived, both }
    }

    fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    async fn flooder(&self, on: On) -> Flooder {
        let (to, tls): (_, Option<Arc<ClientConfig>>) = match on {
            On::Plain => (self.both.byline.listen, None),
            On::Tls => (self.both.byline.tls, Some(self.both.authority.client(&["h2"]))),
        };
        Flooder::connect(to, tls).await.expect("a connection")
    }

    /// Attacks one listener after the other while others ask on both.
    fn withstands(&self, what: &str, attack: impl Fn(On)) {
        for on in On::BOTH {
            let (rss, words) = (self.both.byline.rss_kib(), self.both.byline.words().len());
            let mut load = Load::default();
            load.over_h1(self.both.byline.listen, Who::Person, None);
            load.over_h1(self.both.byline.tls, Who::Person, Some(self.both.authority.client(&["http/1.1"])));
            load.over_h2(self.both.byline.listen, Who::Person);
            wait::until_true("others are served", PATIENCE, || load.served() > 30);
            let began = Instant::now();
            attack(on);
            let (took, served) = (began.elapsed(), load.served());
            wait::until_true("others are still served", PATIENCE, || load.served() > served + 30);
            let (slowest, now) = (load.slowest(), self.both.byline.rss_kib());
            println!("{what} on {on}: {took:?}, others {slowest:?} at most, {rss} KiB became {now} KiB");
            load.end();
            assert!(slowest < OTHERS_WAIT, "{what} on {on}: others waited {slowest:?}");
            assert!(now < rss + ALLOWED_KIB, "{what} on {on}: {rss} KiB became {now} KiB");
            let words = self.both.byline.words().len() - words;
            assert!(words < WORDS_MAX, "{what} on {on}: {words} bytes of log");
        }
    }

    /// How many connections met this limit.
    fn met(&self, limit: &str) -> f64 {
        self.both.byline.metric("byline_shed_total", &[&format!("limit=\"{limit}\"")])
    }

    /// Several connections at once send `opening`, then `part` again and again: each of them ends, whether its client
    /// reads or not. `bounded` looks at what a flooder that reads got to hear.
    fn cuts(&self, what: &str, opening: &[u8], part: &[u8], times: usize, bounded: impl Fn(&Seen)) {
        self.withstands(what, |on| {
            for reads in [true, false] {
                h2c::run(async {
                    let mut flooders = Vec::new();
                    for _ in 0..FLOODERS {
                        flooders.push(self.flooder(on).await);
                    }
                    let pours = flooders.into_iter().map(|mut flooder| {
                        let (opening, part) = (opening.to_vec(), part.to_vec());
                        tokio::spawn(async move {
                            if reads {
                                flooder.read();
                            }
                            let _ = flooder.send(&opening).await;
                            flooder.pour(&part, times).await;
                            (flooder.ended().await, flooder.seen)
                        })
                    });
                    for pour in pours.collect::<Vec<_>>() {
                        let (ended, seen) = pour.await.expect("a flooder");
                        assert!(ended, "{what} on {on}: goes on for ever: {seen:?}");
                        if reads {
                            bounded(&seen);
                        }
                    }
                });
            }
        });
    }

    /// Opens streams that the origin gets, and has them all end before they are answered, again and again, until the
    /// connection ends. No more than `most` of its requests may arrive.
    fn cuts_who_gives_up(
        &self,
        what: &str,
        opens: impl Fn(u32) -> Vec<u8>,
        ends: impl Fn(u32) -> Vec<u8>,
        most: usize,
    ) {
        const AT_ONCE: usize = 16;
        self.withstands(what, |on| {
            let before = self.arrived();
            h2c::run(async {
                let mut flooder = self.flooder(on).await;
                flooder.read();
                let seen = Arc::clone(&flooder.seen);
                let ended = || seen.ended.load(Ordering::Relaxed);
                let mut opened = 0;
                while opened < 2 * most && !ended() {
                    let streams = (opened..opened + AT_ONCE).map(|n| 2 * n as u32 + 1);
                    let _ = flooder.send(&streams.clone().flat_map(&opens).collect::<Vec<u8>>()).await;
                    opened += AT_ONCE;
                    // They must be under way, or this would be a flood that is stopped at the door.
                    let asked = Instant::now();
                    while self.arrived() < before + opened && !ended() && asked.elapsed() < PATIENCE {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let _ = flooder.send(&streams.flat_map(&ends).collect::<Vec<u8>>()).await;
                }
                let has_ended = flooder.ended().await;
                let arrived = self.arrived() - before;
                println!("{what} on {on}: {arrived} of {opened} requests arrived, {seen:?}");
                assert!(has_ended, "{what} on {on}: {arrived} requests, and it goes on");
                assert!(arrived <= most, "{what} on {on}: {arrived} requests arrived at the origin");
            });
        });
    }
}

/// The fields of a request that is never answered.
fn fields(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", TARGET), (":authority", "site.test")];
    fields.extend_from_slice(more);
    block(&fields)
}

/// A request that is whole.
fn get(stream: u32) -> Vec<u8> {
    frame(h2c::HEADERS, END_HEADERS | END_STREAM, stream, &fields("GET", &[]))
}

/// A request whose body is to follow.
fn post(stream: u32) -> Vec<u8> {
    frame(h2c::HEADERS, END_HEADERS, stream, &fields("POST", &[("content-length", "4")]))
}

/// Makes frames of a stream.
type OfStream = fn(u32) -> Vec<u8>;

fn reset(stream: u32) -> Vec<u8> {
    frame(h2c::RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(h2c::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

#[test]
fn streams_reset_in_the_same_breath_do_not_become_requests() {
    let site = Site::start();
    let before = site.arrived();
    let rounds: Vec<u8> = (0..20_000).flat_map(|n| [get(2 * n + 1), reset(2 * n + 1)].concat()).collect();
    site.cuts("rapid reset", &rounds, &[], 0, |_| {});
    // Two listeners, readers and others.
    let (arrived, connections) = (site.arrived() - before, 4 * FLOODERS);
    assert!(arrived <= connections * 600, "{arrived} requests of {connections} connections arrived");
}

#[test]
fn streams_reset_once_they_are_served_do_not_go_on_for_ever() {
    let site = Site::start();
    site.cuts_who_gives_up("rapid reset, paced", get, reset, 600);
    assert_eq!(site.met("connection-given-up"), 2.0);
}

#[test]
fn people_who_leave_pages_while_they_load_may_go_on() {
    const AT_ONCE: usize = 60;
    let site = Site::start();
    h2c::run(async {
        let mut connection = site.both.h2(On::Plain).await;
        // More in all than anybody may give up in a row.
        for round in 1..=10 {
            let mut left = Vec::new();
            for _ in 0..AT_ONCE {
                let request = h2c::get(&format!("http://site.test{TARGET}"));
                left.push(connection.open(request, true).await.expect("a stream"));
            }
            let asked = Instant::now();
            while site.arrived() < round * AT_ONCE {
                assert!(asked.elapsed() < PATIENCE, "{} arrived in round {round}", site.arrived());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(left);
            for _ in 0..AT_ONCE {
                let page = connection.ask(h2c::get("http://site.test/page"), b"").await;
                assert_eq!(page.expect("the connection lives").status, 200, "round {round}");
            }
        }
    });
    assert_eq!(site.met("connection-given-up"), 0.0);
}

#[test]
fn who_takes_every_answer_may_ask_for_ever() {
    // As often as would end a connection that gives up.
    const TIMES: usize = 300;
    let site = Site::start();
    for (method, path) in [
        ("GET", "/page"),
        ("HEAD", "/page"),
        ("GET", "/empty"),
        ("GET", "/204"),
        ("GET", "/304"),
        ("GET", "/chunks"),
        ("GET", "/trailers"),
    ] {
        for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
            h2c::run(async {
                let mut connection = site.both.h2(On::Plain).await;
                for number in 1..=TIMES {
                    let request = http::Request::builder().method(method).header("user-agent", agent);
                    let request = request.uri(format!("http://site.test{path}")).body(());
                    let answer = connection.ask(request.expect("well formed"), b"").await;
                    assert!(answer.is_ok(), "{agent} {method} {path}, {number}: {answer:?}");
                }
            });
            assert_eq!(site.met("connection-given-up"), 0.0, "{agent} {method} {path}");
        }
    }
}

#[test]
fn a_reader_that_gives_leave_for_every_frame_may_go_on() {
    // Two WINDOW_UPDATEs for 80 bytes, as clients send them that read small frames one by one.
    let site = Site::start();
    h2c::run(async {
        let mut reader = site.flooder(On::Plain).await;
        reader.read();
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", LONG), (":authority", "site.test")];
        let head = frame(h2c::HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields));
        reader.send(&head).await.expect("a connection");
        let leave = [window_update(0, 80), window_update(1, 80)].concat();
        let (mut given, asked) = (0, Instant::now());
        loop {
            let taken = reader.seen.data_bytes.load(Ordering::Relaxed);
            if taken == LONG_BYTES {
                break;
            }
            assert!(!reader.seen.ended.load(Ordering::Relaxed), "cut after {taken} bytes");
            assert!(asked.elapsed() < 3 * PATIENCE, "{taken} bytes in time");
            reader.send(&leave.repeat(taken / 80 - given)).await.expect("a connection that lives");
            given = taken / 80;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(site.met("connection-frames"), 0.0);
}

#[test]
fn streams_that_the_server_is_made_to_reset_do_not_go_on_for_ever() {
    let site = Site::start();
    let made: [(&str, OfStream, OfStream); 8] = [
        ("a window above its bounds", get, |id| window_update(id, 0x7fff_ffff)),
        ("a window update of nothing", get, |id| window_update(id, 0)),
        ("a stream that depends on itself", get, |id| {
            frame(h2c::PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[16]].concat())
        }),
        ("more data than its length", post, |id| frame(h2c::DATA, 0, id, b"12345")),
        ("less data than its length", post, |id| frame(h2c::DATA, END_STREAM, id, b"123")),
        ("data after the end", get, |id| frame(h2c::DATA, 0, id, b"1")),
        ("a second head", get, get),
        ("trailers that end nothing", post, |id| {
            frame(h2c::HEADERS, END_HEADERS, id, &block(&[("x-a", "b")]))
        }),
    ];
    for (what, opens, ends) in made {
        site.cuts_who_gives_up(what, opens, ends, 600);
    }
}

#[test]
fn a_head_without_an_end_is_not_collected() {
    let site = Site::start();
    let begin = frame(h2c::HEADERS, 0, 1, &fields("GET", &[]));
    let literals = frame(h2c::CONTINUATION, 0, 1, &block(&[("x-a", &"a".repeat(4000))]));
    site.cuts("CONTINUATION", &begin, &literals, 5_000, |_| {});
    let nothing = frame(h2c::CONTINUATION, 0, 1, &[]).repeat(100);
    site.cuts("empty CONTINUATION", &begin, &nothing, 20_000, |_| {});
    // A field that never ends: all of it would have to be kept.
    let endless = [&[0x00, 0x01, b'x', 0x7f, 0xff, 0xff, 0xff, 0x7f][..], &[b'a'; 100]].concat();
    let begin = frame(h2c::HEADERS, 0, 1, &[fields("GET", &[]), endless].concat());
    let more = frame(h2c::CONTINUATION, 0, 1, &[b'a'; 16_000]);
    site.cuts("one field over many CONTINUATIONs", &begin, &more, 5_000, |_| {});
    assert_eq!(site.arrived(), 0);
}

#[test]
fn a_head_that_unfolds_a_thousandfold_is_not_unfolded() {
    let site = Site::start();
    // A literal that the dynamic table keeps (RFC 7541 §6.2.1), and one byte for each time it is meant.
    let kept = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'a'; 4000]].concat();
    let first = [fields("GET", &[]), kept].concat();
    let bomb = [fields("GET", &[]), vec![0xbe; 12_000]].concat();
    let opening = frame(h2c::HEADERS, END_HEADERS | END_STREAM, 1, &first);
    let rounds: Vec<u8> =
        (1..100).flat_map(|n| frame(h2c::HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &bomb)).collect();
    site.cuts("HPACK bomb", &opening, &rounds, 1, |_| {});
    assert!(site.arrived() <= 4 * FLOODERS, "only the one head that is as long as it looks may arrive");
}

#[test]
fn settings_are_not_acknowledged_for_ever() {
    let part = frame(h2c::SETTINGS, 0, 0, &[]).repeat(1_000);
    Site::start().cuts("SETTINGS", &[], &part, 1_000, |seen| {
        let acks = seen.settings_acks.load(Ordering::Relaxed);
        assert!(acks < 50_000, "{acks} acknowledged");
    });
}

#[test]
fn settings_that_change_every_window_are_not_applied_for_ever() {
    // SETTINGS_INITIAL_WINDOW_SIZE, up and down: each means work for each stream that is open.
    let opening: Vec<u8> = (0..100).flat_map(|n| get(2 * n + 1)).collect();
    let [up, down] = [1u8, 2].map(|size| frame(h2c::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, size]));
    let part = [up, down].concat().repeat(500);
    Site::start().cuts("SETTINGS with streams", &opening, &part, 1_000, |_| {});
}

#[test]
fn pings_are_not_answered_for_ever() {
    let part = frame(h2c::PING, 0, 0, &[7; 8]).repeat(1_000);
    Site::start().cuts("PING", &[], &part, 1_000, |seen| {
        let pongs = seen.pongs.load(Ordering::Relaxed);
        assert!(pongs < 50_000, "{pongs} answered");
    });
}

#[test]
fn frames_that_only_cost_time_are_not_read_for_ever() {
    let site = Site::start();
    let unknown = 0xb9;
    for (what, opening, one) in [
        ("WINDOW_UPDATE of the connection", Vec::new(), window_update(0, 1)),
        ("WINDOW_UPDATE of a stream", get(1), window_update(1, 1)),
        ("WINDOW_UPDATE of a stream that is over", [get(1), reset(1)].concat(), window_update(1, 1)),
        ("RST_STREAM of a stream that is over", [get(1), reset(1)].concat(), reset(1)),
        ("PRIORITY", Vec::new(), frame(h2c::PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        ("answers to no PING", Vec::new(), frame(h2c::PING, 1, 0, &[7; 8])),
        ("unknown frames", Vec::new(), frame(unknown, 0, 0, &[])),
        ("unknown frames with content", Vec::new(), frame(unknown, 0, 1, &[0; 100])),
    ] {
        let met = site.met("connection-frames");
        site.cuts(what, &opening, &one.repeat(1_000), 1_000, |_| {});
        assert_eq!(site.met("connection-frames") - met, 4.0 * FLOODERS as f64, "{what}");
    }
}

#[test]
fn data_without_content_is_not_read_for_ever() {
    let site = Site::start();
    let open = frame(h2c::HEADERS, END_HEADERS, 1, &fields("POST", &[]));
    const PADDED: u8 = 8;
    site.cuts("empty DATA", &open, &frame(h2c::DATA, 0, 1, &[]).repeat(1_000), 1_000, |_| {});
    let padding = frame(h2c::DATA, PADDED, 1, &[3, 0, 0, 0]);
    site.cuts("DATA that is all padding", &open, &padding.repeat(1_000), 1_000, |_| {});
}
