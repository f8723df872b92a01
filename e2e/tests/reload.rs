//! Policy and certificates are the live part: good ones take effect at once, bad ones change nothing and say why.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::config::{POLICY, RICH, RICH_AGENT, SHOP, TLS_LISTENER};
use e2e::load::Who;
use e2e::origin::ok;
use e2e::tls::{Authority, Identity};
use e2e::wait::{self, PATIENCE};
use e2e::{Byline, Client, Load, Origin, before, configured, get};

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
    let origin = Origin::site(|_| ok("", "x"));
    let authority = Authority::new();
    let first = authority.issue(&["site.test"]);
    let text = e2e::config::site(&origin.url(), &format!("{POLICY}{TLS_LISTENER}"));
    let byline = configured(text)
        .policy(SHOP)
        .file("chain.pem", &first.chain_pem)
        .file("key.pem", &first.key_pem)
        .start();
    let mut load = Load::default();
    load.over_h1(byline.listen, Who::Crawler, None);
    load.over_h2(byline.listen, Who::Crawler);
    load.over_h1(byline.tls, Who::Person, Some(authority.client(&["http/1.1"])));
    // One that comes anew each time, so that handshakes meet reloads.
    let newcomers = {
        let (stop, tls, trust) = (Arc::<AtomicBool>::default(), byline.tls, authority.client(&["http/1.1"]));
        let stopped = Arc::clone(&stop);
        let newcomer = std::thread::spawn(move || {
            let mut handshakes = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut client = Client::connect_tls(tls, "site.test", Arc::clone(&trust));
                assert_eq!(client.ask(get("/", "")).status, 200);
                handshakes += 1;
            }
            handshakes
        });
        (stop, newcomer)
    };
    let before = reloads(&byline, "success");
    for round in 0..50 {
        if round % 2 == 0 {
            let price = if round % 4 == 0 { "0.003 USD" } else { "0.001 USD" };
            std::fs::write(&byline.policy_file, SHOP.replace("0.001 USD", price)).expect("a writable file");
        } else {
            put(&byline, &authority.issue(&["site.test"]));
        }
        byline.hang_up();
        let served = load.served();
        wait::until_true("a reload between requests", PATIENCE, || {
            load.served() > served && reloads(&byline, "success") > before + f64::from(round)
        });
    }
    newcomers.0.store(true, Ordering::Relaxed);
    let handshakes = newcomers.1.join().expect("no handshake failed");
    let crawled: usize = load.end()[..2].iter().map(Vec::len).sum();
    println!("{crawled} works, {handshakes} handshakes, 50 reloads");
    let records = byline.records();
    assert_eq!(records.len(), crawled);
    assert!(
        records.iter().all(|r| r["amount_nano"] == r["price_nano"]),
        "a price of another policy was charged"
    );
}

/// Where the configuration has the certificate.
fn put(byline: &Byline, identity: &Identity) {
    let dir = byline.policy_file.parent().expect("a directory");
    std::fs::write(dir.join("chain.pem"), &identity.chain_pem).expect("a writable file");
    std::fs::write(dir.join("key.pem"), &identity.key_pem).expect("a writable file");
}

fn with_tls(origin: &Origin, identity: &Identity) -> Byline {
    let text = e2e::config::site(&origin.url(), &format!("{POLICY}{TLS_LISTENER}"));
    let setup = configured(text).policy(SHOP);
    setup.file("chain.pem", &identity.chain_pem).file("key.pem", &identity.key_pem).start()
}

#[test]
fn a_new_certificate_is_for_new_connections_and_ends_no_open_one() {
    let origin = Origin::answering(ok("", "x"));
    let (old, new) = (Authority::new(), Authority::new());
    let byline = with_tls(&origin, &old.issue(&["site.test"]));
    let mut open = Client::connect_tls(byline.tls, "site.test", old.client(&["http/1.1"]));
    assert_eq!(open.ask(get("/", "")).status, 200);
    let before = reloads(&byline, "success");
    put(&byline, &new.issue(&["site.test"]));
    byline.hang_up();
    wait::until_true("the reload", PATIENCE, || reloads(&byline, "success") > before);
    let mut fresh = Client::connect_tls(byline.tls, "site.test", new.client(&["http/1.1"]));
    assert_eq!(fresh.ask(get("/", "")).status, 200);
    assert!(Client::try_connect_tls(byline.tls, "site.test", old.client(&["http/1.1"])).is_err());
    assert_eq!(open.ask(get("/", "")).status, 200);
}

#[test]
fn a_bad_certificate_changes_nothing() {
    let origin = Origin::answering(ok("", "x"));
    let authority = Authority::new();
    let (good, other) = (authority.issue(&["site.test"]), authority.issue(&["site.test"]));
    let byline = with_tls(&origin, &good);
    let expired = authority.expired(&["site.test"]);
    let bad = [
        (&*good.chain_pem, &*other.key_pem, "key.pem:1: this key does not belong"),
        (&*expired.chain_pem, &*expired.key_pem, "chain.pem:1: this certificate expired on 2021-01-01"),
        ("-----BEGIN CERTIFICATE-----\nMII", &*other.key_pem, "chain.pem:1: "),
        (&*other.chain_pem, "no key", "key.pem:1: there is no private key"),
    ];
    for (chain, key, why) in bad {
        let failures = reloads(&byline, "failure");
        let dir = byline.policy_file.parent().expect("a directory");
        std::fs::write(dir.join("chain.pem"), chain).expect("a writable file");
        std::fs::write(dir.join("key.pem"), key).expect("a writable file");
        // All or nothing: a good policy beside a bad certificate does not take effect either.
        std::fs::write(&byline.policy_file, SHOP.replace("/drafts/**", "/free/**")).expect("a writable file");
        byline.hang_up();
        wait::until_true("the failure is counted", PATIENCE, || reloads(&byline, "failure") > failures);
        wait::until_true(why, PATIENCE, || byline.words().contains(why));
        assert_eq!((status(&byline, "/drafts/1"), status(&byline, "/free/1")), (403, 200));
        let mut client = Client::connect_tls(byline.tls, "site.test", authority.client(&["http/1.1"]));
        assert_eq!(client.ask(get("/", "")).status, 200, "{why}");
    }
    put(&byline, &other);
    let before = reloads(&byline, "success");
    byline.hang_up();
    wait::until_true("the mended one", PATIENCE, || reloads(&byline, "success") > before);
    assert_eq!((status(&byline, "/drafts/1"), status(&byline, "/free/1")), (200, 403));
}
