//! The policy is the live part: a good one takes effect at once, a bad one changes nothing and says why.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use e2e::config::{RICH, RICH_AGENT, SHOP};
use e2e::origin::ok;
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Origin, before, get};

/// Five mistakes of five kinds.
const BAD: &str = r#"version = 1
mode = "enforced"
currency = "USD"
colour = "red"

[[rule]]
name = "one"
path = "/a/**"
charge = { price = "0.002 EUR", per = "fetch" }

[[rule]]
name = "two"
path = "/b/**"
purpose = ["trian"]
deny = true

[[rule]]
name = "three"
path = "/c/**"
charge = { price = "cheap", per = "fetch" }
"#;

fn status(byline: &Byline, path: &str) -> u16 {
    Client::connect_from(Ipv4Addr::from(RICH), byline.listen).ask(get(path, RICH_AGENT)).status
}

fn reloads(byline: &Byline, result: &str) -> f64 {
    byline.metric("byline_config_reloads_total", &[&format!("result=\"{result}\"")])
}

#[test]
fn five_mistakes_are_five_diagnostics() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, BAD).expect("the temporary directory is writable");
    let said = e2e::byline::run(["check".into(), file.clone().into_os_string()]);
    assert_eq!(said.code, 3, "{said:?}");
    let all = format!("{}{}", said.out, said.err);
    let name = file.display().to_string();
    for (line, what) in [(2, "enforced"), (4, "colour"), (9, "EUR"), (14, "trian"), (20, "cheap")] {
        let place = format!("{name}:{line}:");
        let found = all.lines().find(|l| l.contains(&place));
        assert!(found.is_some(), "no diagnostic at line {line} ({what}):\n{all}");
    }
    let places = all.lines().filter(|line| line.contains(&format!("--> {name}:"))).count();
    assert_eq!(places, 5, "{all}");

    std::fs::write(&file, SHOP).expect("the temporary directory is writable");
    assert_eq!(e2e::byline::run(["check".into(), file.into_os_string()]).code, 0);
}

#[test]
fn a_start_with_a_bad_policy_says_why() {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = before(origin.url()).policy(BAD).prepare();
    byline.launch();
    let status = byline.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(3), "{}", byline.words());
    wait::until_true("its words", PATIENCE, || byline.words().contains("policy.toml:2:"));
}

#[test]
fn a_good_policy_takes_effect_at_once() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).policy(SHOP).start();
    assert_eq!((status(&byline, "/drafts/1"), status(&byline, "/free")), (403, 200));
    let before = reloads(&byline, "success");
    std::fs::write(&byline.policy_file, SHOP.replace("/drafts/**", "/free/**")).expect("a writable file");
    byline.hang_up();
    wait::until_true("the new policy", PATIENCE, || reloads(&byline, "success") > before);
    assert_eq!((status(&byline, "/drafts/1"), status(&byline, "/free/1")), (200, 403));
    // Both policies stand in the ledger, and each record names the one it was judged by.
    let entries = byline.entries();
    let activated = |e: &&serde_json::Value| e["type"] == "ai.usage.policy-activated.v1";
    let known: Vec<_> = entries.iter().filter(activated).map(|e| e["data"]["policy"].clone()).collect();
    let digests: Vec<_> = byline.records().iter().map(|r| r["policy"].clone()).collect();
    assert_eq!(digests.len(), 2);
    assert_ne!(digests[0], digests[1]);
    assert!(digests.iter().all(|digest| known.contains(digest)), "{known:?} {digests:?}");
}

#[test]
fn a_bad_policy_changes_nothing() {
    let origin = Origin::answering(ok("", "x"));
    let mut byline = before(origin.url()).policy(SHOP).start();
    let failures = reloads(&byline, "failure");
    std::fs::write(&byline.policy_file, BAD).expect("a writable file");
    byline.hang_up();
    wait::until_true("the failure is counted", PATIENCE, || reloads(&byline, "failure") > failures);
    assert_eq!((status(&byline, "/drafts/1"), status(&byline, "/free")), (403, 200));
    assert!(byline.words().contains("policy.toml:2:"), "{}", byline.words());
    assert_eq!(byline.admin_answers("/readyz"), 200);
    // A file that is gone is a bad one, too.
    std::fs::remove_file(&byline.policy_file).expect("the file");
    byline.hang_up();
    wait::until_true("the failure is counted", PATIENCE, || reloads(&byline, "failure") > failures + 1.0);
    assert_eq!(status(&byline, "/drafts/1"), 403);
    assert!(byline.alive());
}

#[test]
fn reloads_under_load_fail_nobody() {
    let origin = Origin::answering(ok("", "x"));
    let byline = before(origin.url()).policy(SHOP).start();
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (done, count, listen) = (done.clone(), count.clone(), byline.listen);
            std::thread::spawn(move || {
                let mut client = Client::connect_from(Ipv4Addr::from(RICH), listen);
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(get("/every/1", RICH_AGENT)).status, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let before = reloads(&byline, "success");
    for round in 0..50 {
        let policy = SHOP.replace("0.001 USD", if round % 2 == 0 { "0.003 USD" } else { "0.001 USD" });
        std::fs::write(&byline.policy_file, policy).expect("a writable file");
        byline.hang_up();
        let served = count.load(Ordering::Relaxed);
        wait::until_true("a reload between requests", PATIENCE, || {
            count.load(Ordering::Relaxed) > served && reloads(&byline, "success") > before + f64::from(round)
        });
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    let records = byline.records();
    assert_eq!(records.len(), count.load(Ordering::Relaxed));
    assert!(
        records.iter().all(|r| r["amount_nano"] == r["price_nano"]),
        "a price of another policy was charged"
    );
}
