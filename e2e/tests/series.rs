//! Metrics watch, they do not grow: nothing that a stranger sends can become a label.

use std::net::Ipv4Addr;

use e2e::config::{POOR, RICH, RICH_AGENT, SHOP};
use e2e::origin::ok;
use e2e::{Byline, Client, Origin, before};

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Requests with random hosts, paths, methods and user agents, a few of them of known crawlers.
fn storm(byline: &Byline, seed: u64, count: usize) {
    let mut state = seed;
    let mut client =
        Client::connect_from(Ipv4Addr::from(if seed.is_multiple_of(2) { RICH } else { POOR }), byline.listen);
    for n in 0..count {
        let random = xorshift(&mut state);
        let agent = match random % 8 {
            0 => "GPTBot/1.2".to_owned(),
            1 => RICH_AGENT.trim_start_matches("User-Agent: ").trim_end().to_owned(),
            2 => format!("GPTBot-{random:x}/1.0"),
            _ => format!("agent-{random:x}/{n}"),
        };
        let area = ["articles", "drafts", "free", "data"][(random >> 8) as usize % 4];
        let request = format!(
            "GET /{area}/{random:x}?q={n} HTTP/1.1\r\nHost: h{random:x}.test\r\nUser-Agent: {agent}\r\n\
             X-Forwarded-For: 10.{}.{}.1\r\nReferer: http://{random:x}/\r\n\r\n",
            random % 256,
            n % 256
        );
        client.send(request);
        assert!(client.answer("GET").status < 500);
    }
}

#[test]
fn ten_thousand_strangers_leave_no_series() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).policy(SHOP).start();
    for seed in 1..=4 {
        storm(&byline, seed * 7919, 100);
    }
    let before = byline.metrics();
    std::thread::scope(|scope| {
        for seed in 5..=8 {
            let byline = &byline;
            scope.spawn(move || storm(byline, seed * 7919, 2500));
        }
    });
    let after = byline.metrics();
    let names = |samples: &[(String, f64)]| samples.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let new: Vec<String> = names(&after).into_iter().filter(|name| !names(&before).contains(name)).collect();
    assert!(new.is_empty(), "new series: {new:?}");
    assert!(before.iter().all(|(name, _)| name.starts_with("byline_") || name.starts_with("process_")));
    assert!(before.len() < 5_000, "{} series", before.len());
}
