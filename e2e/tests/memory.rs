//! Bodies flow: however long they are, little of them is ever inside.

mod alone {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use e2e::tls::Authority;
    use e2e::wait::{self, PATIENCE};
    use e2e::{Byline, Client, Origin, before, configured, get};

    const BIG: u64 = 200 << 20;
    /// How much more memory a big body may take than an idle process.
    const ALLOWED_KIB: u64 = 40 << 10;

    fn start(origin: &Origin) -> Byline {
        let byline = before(origin.url()).start();
        byline.admin_get("/healthz");
        byline
    }

    #[test]
    fn two_hundred_megabytes_down() {
        let origin = Origin::start(|visit| {
            while visit.request().is_some() {
                let part = vec![b'x'; 1 << 20];
                let _ = visit.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n"));
                for _ in 0..BIG >> 20 {
                    if visit.write(&part).is_err() {
                        return;
                    }
                }
            }
        });
        for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
            let byline = start(&origin);
            let idle = byline.rss_kib();
            let mut client = byline.client();
            client.send(get("/", &format!("User-Agent: {agent}\r\nConnection: close\r\n")));
            client.head().expect("a head");
            let (mut count, mut most) = (0, 0);
            loop {
                let part = client.take(1 << 20);
                if part.is_empty() {
                    break;
                }
                count += part.len() as u64;
                if count % (16 << 20) == 0 {
                    most = most.max(byline.rss_kib());
                }
            }
            assert_eq!(count, BIG);
            println!("{agent}: {idle} KiB idle, {most} KiB at most");
            assert!(most < idle + ALLOWED_KIB, "{agent}: {idle} KiB became {most} KiB");
        }
    }

    #[test]
    fn two_hundred_megabytes_up() {
        let origin = Origin::start(|visit| {
            let Some(request) = visit.head() else { return };
            let length: u64 =
                request.fields.first("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            let mut count = 0;
            while count < length {
                let more = visit.some();
                if more.is_empty() {
                    return;
                }
                count += more.len() as u64;
            }
            let _ = visit.write(e2e::origin::ok("", count.to_string()));
        });
        let byline = start(&origin);
        let idle = byline.rss_kib();
        let mut client = byline.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: site.test\r\nContent-Length: {BIG}\r\n\r\n"));
        let part = vec![b'y'; 1 << 20];
        let mut most = 0;
        for number in 0..BIG >> 20 {
            client.send(&part);
            if number % 16 == 0 {
                most = most.max(byline.rss_kib());
            }
        }
        assert_eq!(client.answer("PUT").text(), BIG.to_string());
        println!("{idle} KiB idle, {most} KiB at most");
        assert!(most < idle + ALLOWED_KIB, "{idle} KiB became {most} KiB");
    }

    #[test]
    fn a_body_that_nobody_reads_stays_at_the_origin() {
        const WHOLE: u64 = 400 << 20;
        let taken = Arc::new(AtomicU64::new(0));
        let (stuck, sticks) = mpsc::channel();
        let count = taken.clone();
        let origin = Origin::start(move |visit| {
            visit.request();
            let _ = visit.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE}\r\n\r\n"));
            visit.patience(Duration::from_secs(1));
            let part = vec![b'z'; 64 << 10];
            while count.load(Ordering::Relaxed) < WHOLE && visit.write(&part).is_ok() {
                count.fetch_add(part.len() as u64, Ordering::Relaxed);
            }
            let _ = stuck.send(());
        });
        for agent in ["Mozilla/5.0", "GPTBot/1.2"] {
            let byline = start(&origin);
            let idle = byline.rss_kib();
            taken.store(0, Ordering::Relaxed);
            let mut client = byline.client();
            client.send(get("/", &format!("User-Agent: {agent}\r\n")));
            client.head().expect("a head");
            sticks.recv_timeout(PATIENCE).expect("the origin cannot write any more");
            let (sent, rss) = (taken.load(Ordering::Relaxed), byline.rss_kib());
            println!("{agent}: {} MiB left the origin, {idle} KiB became {rss} KiB", sent >> 20);
            assert!(sent < 64 << 20, "{agent}: {} MiB left the origin", sent >> 20);
            assert!(rss < idle + ALLOWED_KIB, "{agent}: {idle} KiB became {rss} KiB");
        }
    }

    #[test]
    fn the_kernel_keeps_little_for_who_does_not_read() {
        let (stuck, sticks) = mpsc::channel();
        let origin = Origin::start(move |visit| {
            visit.request();
            let _ = visit.write("HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n");
            visit.patience(Duration::from_secs(1));
            while visit.write(vec![b'z'; 64 << 10]).is_ok() {}
            let _ = stuck.send(());
        });
        let byline = start(&origin);
        let mut client = byline.client();
        client.send(get("/", ""));
        client.head().expect("a head");
        sticks.recv_timeout(PATIENCE).expect("the origin cannot write any more");
        // 4 MiB without the limit. With it, a last write may be somewhat above.
        let kept = unsent(byline.listen.port(), client.local().port());
        println!("{} KiB", kept >> 10);
        assert!((64 << 10..768 << 10).contains(&kept), "{kept} bytes");
    }

    /// What the kernel has for this connection and has not seen acknowledged.
    fn unsent(from: u16, to: u16) -> u64 {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("proc");
        let port = |column: Option<&str>| {
            let (_, port) = column?.split_once(':')?;
            u16::from_str_radix(port, 16).ok()
        };
        let queue = table.lines().find_map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let ends = (port(columns.next())?, port(columns.next())?);
            let queues = columns.nth(1)?;
            (ends == (from, to)).then(|| queues.split_once(':').expect("two queues").0.to_owned())
        });
        u64::from_str_radix(&queue.expect("the connection"), 16).expect("a number")
    }

    /// What a connection may cost that has done a request and is at rest: a third of what it takes with hyper's buffers
    /// (30 KiB, over TLS too), and three times what it takes without (3 KiB, 10 KiB over TLS). The development build
    /// does not need more: futures that are larger there are on the heap only while they run.
    const IDLE_KIB: u64 = 10;
    const IDLE_TLS_KIB: u64 = 20;

    #[test]
    fn idle_connections_cost_little() {
        const COUNT: u64 = 1500;
        let origin = Origin::answering(e2e::origin::ok("", "x"));
        let authority = Authority::new();
        let identity = authority.issue(&["site.test"]);
        for (tls, each) in [(false, IDLE_KIB), (true, IDLE_TLS_KIB)] {
            let byline = configured(e2e::config::tls_site(&origin.url()))
                .file("chain.pem", &identity.chain_pem)
                .file("key.pem", &identity.key_pem)
                .start();
            let trust = authority.client(&["http/1.1"]);
            let connect = || match tls {
                true => Client::connect_tls(byline.tls, "site.test", trust.clone()),
                false => byline.client(),
            };
            // What is used once for all, and is not a connection's.
            connect().ask(get("/", ""));
            let idle = byline.rss_kib();
            let clients: Vec<Client> = (0..COUNT)
                .map(|_| {
                    let mut client = connect();
                    assert_eq!(client.ask(get("/", "")).status, 200);
                    client
                })
                .collect();
            let mut least = u64::MAX;
            // What the last ones held is given back with the next requests.
            wait::until_true("little memory for idle connections", PATIENCE, || {
                assert_eq!(byline.ask(get("/", "")).status, 200);
                least = least.min(byline.rss_kib().saturating_sub(idle));
                println!("TLS {tls}: {:.1} KiB a connection", least as f64 / COUNT as f64);
                least < COUNT * each
            });
            drop(clients);
        }
    }
}
