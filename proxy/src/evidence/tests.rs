//! Evidence against a scripted name server and lists in a directory.

pub(super) mod https_server;
pub(super) mod name_server;

use std::fs;
use std::future::Future;
use std::time::Instant;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use policy::{Class, Purpose, Verification};

use super::lists::{ListOrigin, ListState};
use super::*;
use name_server::{NameServer, Reply, Script, cname, ptr, reverse};

const LIST: &str = "https://lists.example/bot.json";

fn row(lists: &[&str], ranges: &[&str], reverse_dns: &[&str]) -> Arc<CrawlerRow> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Arc::new(CrawlerRow {
        token: Arc::from("ExampleBot"),
        operator: Arc::from("example"),
        operator_name: Arc::from("Example"),
        class: Class::Ai,
        purpose: Purpose::Train,
        verification: Verification {
            lists: words(lists),
            ranges: ranges.iter().map(|range| range.parse().expect("a range")).collect(),
            reverse_dns: words(reverse_dns),
            agents: Vec::new(),
        },
        source: Arc::from("policy"),
    })
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

/// Nothing leaves loopback: no list is fetched, and the scripted server is asked.
fn options(server: &NameServer) -> IdentityOptions {
    IdentityOptions {
        fetch: false,
        agents: false,
        nameserver: Some(server.address),
        // A busy machine must not make a prompt answer late; tests of lateness set their own.
        wait_max: Duration::from_secs(20),
        ..IdentityOptions::default()
    }
}

fn start(options: IdentityOptions) -> Identity {
    Identity::start(options, &Directory::default(), Box::new(|_| {})).expect("a thread")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn named(name: &str) -> Evidence {
    Evidence::ReverseDns { name: Arc::from(name) }
}

fn contradicted(by: &str) -> Evidence {
    Evidence::Contradicted { by: Arc::from(by) }
}

/// Asks again until the evidence is what is expected; fails after 20 s.
async fn eventually(identity: &Identity, row: &Arc<CrawlerRow>, client: &str, expect: Evidence) {
    let start = Instant::now();
    loop {
        let evidence = identity.gather(row, address(client)).await;
        if evidence == expect {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{client} stays {evidence:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_name_counts_if_it_leads_back() {
    run(async {
        let observed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let script = Script::default()
            .names("203.0.113.1", &["c1.bot.example"])
            .addresses("c1.bot.example", &["203.0.113.1", "203.0.113.200"])
            .names("203.0.113.2", &["c2.bot.example"])
            .addresses("c2.bot.example", &["203.0.113.99"])
            .names("203.0.113.3", &["c3.bot.example"])
            .names("2001:db8::5", &["C5.Bot.Example"])
            .addresses("c5.bot.example", &["2001:db8::5", "203.0.113.5"]);
        let server = NameServer::start(script).await;
        let observe = Arc::clone(&observed);
        let observe: Observe = Box::new(move |lookup| observe.lock().expect("no panic").push(lookup));
        let identity = Identity::start(options(&server), &Directory::default(), observe).expect("a thread");
        let bot = row(&[], &[], &["bot.example"]);
        let gather = |client| identity.gather(&bot, address(client));
        assert_eq!(gather("203.0.113.1").await, named("c1.bot.example"));
        assert_eq!(
            gather("203.0.113.2").await,
            contradicted("reverse-dns"),
            "the name is somebody else's address"
        );
        assert_eq!(gather("203.0.113.3").await, contradicted("reverse-dns"), "the name has no address");
        assert_eq!(gather("203.0.113.4").await, contradicted("reverse-dns"), "the address has no name");
        assert_eq!(gather("2001:db8::5").await, named("c5.bot.example"));
        // What was learnt is remembered, also for the IPv4-mapped form of an address.
        let questions = server.questions();
        assert_eq!(gather("::ffff:203.0.113.1").await, named("c1.bot.example"));
        assert_eq!(gather("203.0.113.4").await, contradicted("reverse-dns"));
        assert_eq!(server.questions(), questions);
        assert_eq!(identity.counts().lookups, 5);
        assert_eq!(identity.answers(), 5);
        use Lookup::{Cached, Confirmed, Denied};
        assert_eq!(
            *observed.lock().expect("no panic"),
            [Confirmed, Denied, Denied, Denied, Confirmed, Cached, Cached]
        );
    });
}

#[test]
fn tricks_with_suffixes_do_not_count() {
    run(async {
        let tricks = [
            "c1.bot.example.evil.example",
            "evilbot.example",
            "x.evil-bot.example",
            "bot.example.com",
            "xn--bt-fka.example",
        ];
        let mut script = Script::default().names("203.0.113.1", &tricks);
        for name in tricks {
            script = script.addresses(name, &["203.0.113.1"]);
        }
        let server = NameServer::start(script).await;
        let identity = start(options(&server));
        let bot = row(&[], &[], &["bot.example"]);
        assert_eq!(identity.gather(&bot, address("203.0.113.1")).await, contradicted("reverse-dns"));
        assert_eq!(server.questions(), 1, "names that cannot count are not looked up");
    });
}

#[test]
fn a_slow_answer_is_awaited_in_the_background() {
    run(async {
        let held = Reply::Held(vec![ptr("c1.bot.example")]);
        let script = Script::default()
            .on(&reverse("203.0.113.1"), RecordType::PTR, held)
            .addresses("c1.bot.example", &["203.0.113.1"]);
        let server = NameServer::start(script).await;
        let identity = start(IdentityOptions { wait_max: Duration::from_millis(300), ..options(&server) });
        let bot = row(&[], &[], &["bot.example"]);

        let begun = Instant::now();
        assert_eq!(identity.gather(&bot, address("203.0.113.1")).await, Evidence::None);
        assert!(begun.elapsed() >= Duration::from_millis(300), "it waited, {:?}", begun.elapsed());
        assert_eq!(identity.counts().waits_expired, 1);
        // Those who come later do not wait anew, and start no second lookup.
        for _ in 0..10 {
            assert_eq!(identity.gather(&bot, address("203.0.113.1")).await, Evidence::None);
        }
        assert!(begun.elapsed() < Duration::from_millis(300 * 11), "ten waits anew would take longer");
        assert_eq!(identity.counts().lookups, 1);

        server.go_on();
        eventually(&identity, &bot, "203.0.113.1", named("c1.bot.example")).await;
        assert_eq!(identity.counts().lookups, 1);
    });
}

#[test]
fn a_server_that_fails_accuses_nobody() {
    run(async {
        let fails = |code| Reply::Failure(code);
        let script = Script::default()
            .on(&reverse("203.0.113.1"), RecordType::PTR, fails(ResponseCode::ServFail))
            .on(&reverse("203.0.113.2"), RecordType::PTR, fails(ResponseCode::Refused))
            .names("203.0.113.3", &["c3.bot.example"])
            .on("c3.bot.example", RecordType::A, fails(ResponseCode::ServFail));
        let server = NameServer::start(script).await;
        let identity = start(options(&server));
        let bot = row(&[], &["198.51.100.0/24"], &["bot.example"]);
        for client in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
            assert_eq!(identity.gather(&bot, address(client)).await, Evidence::None, "{client}");
        }
        assert_eq!(identity.counts().lookups_failed, 3);
        // A failure is remembered too, so that a broken server is not hammered.
        let questions = server.questions();
        assert_eq!(identity.gather(&bot, address("203.0.113.1")).await, Evidence::None);
        assert_eq!(server.questions(), questions);
    });
}

#[test]
fn a_hundred_names_are_not_looked_up() {
    run(async {
        let foreign: Vec<String> =
            (0..100).map(|n| format!("n{n}.some-rather-long-domain.evil.example")).collect();
        let fitting: Vec<String> =
            (0..100).map(|n| format!("n{n}.some-rather-long-domain.bot.example")).collect();
        let names = |names: &[String]| Reply::Records(names.iter().map(|name| ptr(name)).collect());
        let script = Script::default().on(&reverse("203.0.113.1"), RecordType::PTR, names(&foreign)).on(
            &reverse("203.0.113.2"),
            RecordType::PTR,
            names(&fitting),
        );
        let server = NameServer::start(script).await;
        let identity = start(options(&server));
        let bot = row(&[], &[], &["bot.example"]);
        assert_eq!(
            identity.gather(&bot, address("203.0.113.1")).await,
            Evidence::None,
            "not all were looked at"
        );
        let asked = |names: &[String]| names.iter().filter(|name| server.asked(name) > 0).count();
        assert_eq!(asked(&foreign), 0);
        assert_eq!(identity.gather(&bot, address("203.0.113.2")).await, Evidence::None);
        assert_eq!(asked(&fitting), 4);
    });
}

#[test]
fn a_loop_of_aliases_ends() {
    run(async {
        let alias = |to| Reply::Records(vec![cname(to)]);
        let script = Script::default()
            .on(&reverse("203.0.113.1"), RecordType::CNAME, alias(&reverse("203.0.113.1")))
            .names("203.0.113.2", &["a.bot.example"])
            .on("a.bot.example", RecordType::CNAME, alias("b.bot.example"))
            .on("b.bot.example", RecordType::CNAME, alias("a.bot.example"))
            // An honest alias: reverse zones smaller than /24 are delegated like this (RFC 2317).
            .on(&reverse("203.0.113.3"), RecordType::CNAME, alias("3.0-25.113.0.203.in-addr.arpa"))
            .on("3.0-25.113.0.203.in-addr.arpa", RecordType::PTR, Reply::Records(vec![ptr("c3.bot.example")]))
            .addresses("c3.bot.example", &["203.0.113.3"]);
        let server = NameServer::start(script).await;
        let identity = start(options(&server));
        let bot = row(&[], &[], &["bot.example"]);
        for client in ["203.0.113.1", "203.0.113.2"] {
            let evidence = identity.gather(&bot, address(client)).await;
            assert_eq!(evidence, Evidence::None, "{client}");
        }
        assert!(server.questions() <= 40, "{} questions", server.questions());
        assert_eq!(identity.gather(&bot, address("203.0.113.3")).await, named("c3.bot.example"));
    });
}

#[test]
fn many_fetches_are_one_lookup() {
    run(async {
        let held = Reply::Held(vec![ptr("c1.bot.example")]);
        let script = Script::default()
            .on(&reverse("203.0.113.1"), RecordType::PTR, held)
            .addresses("c1.bot.example", &["203.0.113.1"]);
        let server = NameServer::start(script).await;
        let identity = Arc::new(start(options(&server)));
        let bot = row(&[], &[], &["bot.example"]);
        // Four cores with fifty fetches each.
        let cores: Vec<_> = (0..4)
            .map(|_| {
                let (identity, bot) = (Arc::clone(&identity), Arc::clone(&bot));
                std::thread::spawn(move || {
                    run(async move {
                        let fetches = (0..50).map(|_| identity.gather(&bot, address("203.0.113.1")));
                        for evidence in futures_util::future::join_all(fetches).await {
                            assert_eq!(evidence, named("c1.bot.example"));
                        }
                    });
                })
            })
            .collect();
        while server.questions() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.go_on();
        while !cores.iter().all(std::thread::JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cores.into_iter().for_each(|core| core.join().expect("the core's assertions hold"));
        assert_eq!(identity.counts().lookups, 1);
    });
}

#[test]
fn lookups_keep_to_their_budget() {
    run(async {
        let server = NameServer::start(Script::default()).await;
        let identity = start(IdentityOptions { lookups_per_second: 0, ..options(&server) });
        let bot = row(&[], &[], &["bot.example"]);
        for n in 0..10 {
            let client = IpAddr::from([203, 0, 113, n]);
            assert_eq!(identity.gather(&bot, client).await, Evidence::None);
        }
        assert_eq!(identity.counts().lookups_refused, 10);
        assert_eq!(server.questions(), 0);

        let identity =
            start(IdentityOptions { answers_max: 64, lookups_per_second: 10_000, ..options(&server) });
        for n in 0..1000u32 {
            let client = IpAddr::from([203, 0, (n >> 8) as u8, n as u8]);
            assert_eq!(identity.gather(&bot, client).await, contradicted("reverse-dns"));
        }
        assert!(identity.answers() <= 64, "{} answers", identity.answers());
    });
}

#[test]
fn dns_is_asked_only_when_it_can_tell() {
    run(async {
        let server = NameServer::start(Script::default()).await;
        let identity = start(options(&server));
        let by_range = row(&[], &["203.0.113.0/24"], &["bot.example"]);
        let in_range = Evidence::Range { source: Arc::from("policy") };
        assert_eq!(identity.gather(&by_range, address("203.0.113.1")).await, in_range);
        for local in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1"] {
            assert_eq!(identity.gather(&by_range, address(local)).await, Evidence::None, "{local}");
        }
        let bare = row(&[], &[], &[]);
        assert_eq!(identity.gather(&bare, address("198.51.100.1")).await, Evidence::None);
        assert_eq!(server.questions(), 0);

        let off = start(IdentityOptions { reverse_dns: false, ..options(&server) });
        assert_eq!(off.gather(&by_range, address("198.51.100.1")).await, Evidence::None);
        assert_eq!(server.questions(), 0);
        assert_eq!(
            identity.gather(&by_range, address("198.51.100.1")).await,
            contradicted("range, reverse-dns")
        );
    });
}

#[test]
fn a_list_from_a_directory_is_believed() {
    run(async {
        let server = NameServer::start(Script::default()).await;
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("lists.example_bot.json"), "192.0.2.0/24\n").expect("a file");
        let bot = row(&[LIST], &[], &["bot.example"]);
        let options = IdentityOptions { lists_dir: Some(directory.path().to_owned()), ..options(&server) };
        let identity = start(options);
        assert_eq!(
            identity.gather(&bot, address("192.0.2.1")).await,
            Evidence::None,
            "the list is not followed yet"
        );
        identity.follow(&Directory::new(vec![CrawlerRow::clone(&bot)]));
        eventually(&identity, &bot, "192.0.2.1", Evidence::Range { source: Arc::from(LIST) }).await;
        assert_eq!(identity.gather(&bot, address("203.0.113.1")).await, contradicted("range, reverse-dns"));

        let lists = identity.lists();
        let list = lists.iter().find(|list| list.url == LIST).expect("it is followed");
        assert_eq!(
            (list.state, list.origin, list.entries),
            (ListState::Current, Some(ListOrigin::Directory), 1)
        );
        let others = lists.iter().filter(|list| list.url != LIST);
        assert!(others.clone().all(|list| list.state == ListState::Missing && list.failure.is_none()));
        assert!(others.count() > 10, "the registry's lists are followed, but not fetched");
    });
}

#[test]
fn jitter_stays_within_a_tenth() {
    for seed in 0..1000 {
        let time = jitter(Duration::from_secs(3600), seed);
        assert!((3240..=3960).contains(&time.as_secs()), "{time:?}");
    }
}
