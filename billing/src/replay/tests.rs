//! Whole replays: forms of the same log, policies side by side, and the same decisions as without a memory.

use std::sync::{LazyLock, Mutex};

use policy::{
    Admission, Evidence, Limit, Money, Offer, Release, ResponseHead, ReverseDnsAnswer, Source, Standing,
    admit, identify, release, weigh,
};
use proptest::prelude::*;

use super::*;
use crate::rate::{Facts, rate};

const POLICY: &str = r#"
version = 1
mode = "enforce"
currency = "USD"

[[holder]]
id = "press"
name = "Press"

[[work]]
path = "/articles/**"
holder = "press"

[[rule]]
name = "articles"
path = "/articles/**"
require = "network"
charge = { price = "0.002 USD", per = "fetch", repeat_free = "0s" }

[[rule]]
name = "seen"
path = "/seen/**"
mode = "observe"
charge = { price = "0.003 USD", per = "fetch", repeat_free = "1h" }

[[rule]]
name = "files"
path = "/files/**"
charge = { price = "0.05 USD", per = "MB", max = "0.1 USD", repeat_free = "0s" }

[[rule]]
name = "drafts"
path = "/drafts/**"
deny = true

[[rule]]
name = "api"
path = "/api/**"
limit = { requests = 3, per = "1h" }
allow = true

[[crawler]]
token = "PayBot"
operator = "pays"
purpose = "train"
ranges = ["192.0.2.0/24"]

[[crawler]]
token = "PoorBot"
operator = "poor"
purpose = "train"

[[account]]
operator = "pays"
credit_limit = "0.05 USD"
accept = "up to 0.01 USD"
"#;

/// Compiled once: the automaton over the registry is the slow part of a test.
static COMPILED: LazyLock<PolicySnapshot> = LazyLock::new(|| compile(POLICY));
static REGISTRY: LazyLock<PolicySnapshot> = LazyLock::new(PolicySnapshot::observe_only);

fn compile(text: &str) -> PolicySnapshot {
    let source = Source { name: "policy.toml".into(), text: text.into() };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing to include".into())) {
        Ok((policy, _)) => policy,
        Err(diagnostics) => panic!("{}", policy::render(&diagnostics)),
    }
}

fn settings() -> Settings {
    Settings { host: Some("news.example".into()), scheme: "https".into(), ..Settings::default() }
}

fn replayed(policy: Option<&PolicySnapshot>, against: Option<&PolicySnapshot>, lines: &[String]) -> Report {
    let settings = settings();
    let mut replay = Replay::new(policy, against, &REGISTRY, &settings);
    for (number, line) in (1..).zip(lines) {
        replay.line("test", number, Some(line.as_bytes()));
    }
    replay.finish(&REGISTRY)
}

/// One fetch, to be written in any form.
#[derive(Clone, Debug)]
struct Fetch {
    secs: i64,
    address: String,
    method: &'static str,
    path: String,
    status: u16,
    bytes: u64,
    agent: &'static str,
}

const AGENTS: [&str; 6] = [
    "PayBot/1.0",
    "Mozilla/5.0 (compatible; PoorBot/2.0; +https://poor.example)",
    "Mozilla/5.0 (compatible; GPTBot/1.1; +https://openai.com/gptbot)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
    "StrangeCrawler/0.1",
];

/// 2026-11-22T00:00:00Z.
const START_SECS: i64 = 1_795_305_600;

impl Fetch {
    fn combined(&self) -> String {
        let time =
            jiff::Timestamp::from_second(self.secs).expect("a time").strftime("%d/%b/%Y:%H:%M:%S +0000");
        let Fetch { address, method, path, status, bytes, agent, .. } = self;
        format!(
            r#"news.example:443 {address} - - [{time}] "{method} {path} HTTP/1.1" {status} {bytes} "-" "{agent}""#
        )
    }

    fn nginx(&self) -> String {
        let time =
            jiff::Timestamp::from_second(self.secs).expect("a time").strftime("%Y-%m-%dT%H:%M:%S+00:00");
        let Fetch { address, method, path, status, bytes, agent, .. } = self;
        format!(
            r#"{{"time_iso8601":"{time}","remote_addr":"{address}","request":"{method} {path} HTTP/1.1","status":"{status}","body_bytes_sent":"{bytes}","http_user_agent":"{agent}","host":"news.example","scheme":"https"}}"#
        )
    }

    fn caddy(&self) -> String {
        let Fetch { secs, address, method, path, status, bytes, agent } = self;
        format!(
            r#"{{"level":"info","ts":{secs}.25,"msg":"handled request","request":{{"remote_ip":"{address}","client_ip":"{address}","method":"{method}","host":"news.example","uri":"{path}","headers":{{"User-Agent":["{agent}"]}},"tls":{{"version":772}}}},"size":{bytes},"status":{status}}}"#
        )
    }

    fn cloudflare(&self) -> String {
        let Fetch { secs, address, method, path, status, bytes, agent } = self;
        format!(
            r#"{{"ClientIP":"{address}","ClientRequestHost":"news.example","ClientRequestMethod":"{method}","ClientRequestScheme":"https","ClientRequestURI":"{path}","ClientRequestUserAgent":"{agent}","EdgeResponseBodyBytes":{bytes},"EdgeResponseBytes":{},"EdgeResponseStatus":{status},"EdgeStartTimestamp":{secs}123456789}}"#,
            bytes + 300
        )
    }
}

fn fetch() -> impl Strategy<Value = Fetch> {
    let path = prop_oneof![
        (0_u8..6).prop_map(|n| format!("/articles/{n}")),
        (0_u8..3).prop_map(|n| format!("/seen/{n}")),
        (0_u8..3).prop_map(|n| format!("/files/{n}.zip?x={n}")),
        Just("/drafts/1".to_owned()),
        Just("/api/x".to_owned()),
        Just("/robots.txt".to_owned()),
        Just("/a%2f..%2fb".to_owned()),
        Just("/".to_owned()),
    ];
    let address = prop_oneof![Just("192.0.2.7"), Just("198.51.100.9"), Just("2001:db8::1")];
    let status = prop_oneof![6 => Just(200), 1 => Just(206), 1 => Just(304), 1 => Just(404), 1 => Just(500)];
    let method = prop_oneof![6 => Just("GET"), 1 => Just("HEAD")];
    (0_i64..10_000, address, method, path, status, 0_u64..2_000_000, 0_usize..6).prop_map(
        |(secs, address, method, path, status, bytes, agent)| Fetch {
            secs: START_SECS + secs,
            address: address.into(),
            method,
            path,
            status,
            // Few lengths, so that some fetches are of the same version.
            bytes: bytes / 500_000 * 500_000,
            agent: AGENTS[agent],
        },
    )
}

/// The sums of one replay without any memory: every fetch is asked anew, in the plainest way there is.
#[derive(Default)]
struct Plain {
    requests: BTreeMap<(Arc<str>, String, i64), u64>,
    owed: i128,
    paid: Vec<(String, String, u64, i64)>,
}

struct Now<'a>(&'a Mutex<Plain>, &'a PolicySnapshot, i64);

impl Standing for Now<'_> {
    fn exhausted(&self, limit: &Limit, operator: &str) -> Option<u64> {
        let period = i64::try_from(limit.period_secs).expect("short");
        let key = (limit.rule.clone(), operator.to_owned(), self.2 / period);
        let used = self.0.lock().expect("one thread").requests.get(&key).copied().unwrap_or(0);
        (used >= limit.requests.expect("the test's limit")).then_some(1)
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        let Some(account) = self.1.account(operator) else { return false };
        self.0.lock().expect("one thread").owed + i128::from(amount.nano)
            <= i128::from(account.credit_limit.nano)
    }
}

/// Fetches, refusals, quote and amount, in all.
fn plainly(policy: &PolicySnapshot, fetches: &[Fetch]) -> (u64, u64, i128, i128) {
    let state = Mutex::new(Plain::default());
    let (mut delivered, mut refusals, mut quote, mut amount) = (0, 0, 0, 0);
    for fetch in fetches {
        let Some(row) = policy.directory().recognise(fetch.agent) else { continue };
        let Ok(work) = policy.work("https", "news.example", &fetch.path) else { continue };
        if row.class != Class::Ai {
            continue;
        }
        let address = fetch.address.parse().expect("an address");
        let evidence: Evidence = weigh(row, address, &|_| None, &ReverseDnsAnswer::Unknown);
        let crawler = identify(row.clone(), evidence);
        let standing = Now(&state, policy, fetch.secs);
        let Admission::Proceed(grant) = admit(policy, &crawler, &work, &Ok(Offer::None), &standing) else {
            refusals += 1;
            continue;
        };
        let content_length = matches!(fetch.status, 200 | 206).then_some(fetch.bytes);
        let head = ResponseHead { status: fetch.status, content_length, ..ResponseHead::default() };
        let Release::Deliver(terms) =
            release(policy, &grant, &crawler, &work, &Ok(Offer::None), &standing, &head)
        else {
            refusals += 1;
            continue;
        };
        delivered += 1;
        let charge = terms.charge.clone();
        let mut facts = Facts {
            status: fetch.status,
            head: fetch.method == "HEAD",
            outcome: metrics::Outcome::Complete,
            charge: terms.verdict == policy::Verdict::Charge,
            unit: charge.as_ref().map(|charge| charge.unit),
            price_nano: charge.as_ref().map(|charge| charge.price.nano),
            max_nano: charge.as_ref().and_then(|charge| charge.max).map(|max| max.nano),
            bytes: fetch.bytes,
            declared_bytes: Some(fetch.bytes),
            words: None,
            repeat: false,
            owed: terms.owed,
            settled: false,
        };
        let mut state = state.lock().expect("one thread");
        let free_secs = charge.map_or(0, |charge| charge.repeat_free_secs);
        if free_secs > 0 && rate(&facts).quantity > 0 {
            let free_secs = i64::try_from(free_secs).expect("short");
            let same = |paid: &&(String, String, u64, i64)| {
                paid.0 == crawler.operator() && paid.1 == work.url && paid.2 == fetch.bytes
            };
            facts.repeat = state.paid.iter().rfind(same).is_some_and(|paid| fetch.secs - paid.3 < free_secs);
            if !facts.repeat {
                state.paid.push((crawler.operator().to_owned(), work.url.clone(), fetch.bytes, fetch.secs));
            }
        }
        let rated = rate(&facts);
        quote += i128::from(rated.quote_nano);
        amount += i128::from(rated.amount_nano);
        if crawler.operator() == "pays" {
            state.owed += i128::from(rated.amount_nano);
        }
        if let Some(limit) = &terms.limit {
            let period = i64::try_from(limit.period_secs).expect("short");
            let key = (limit.rule.clone(), crawler.operator().to_owned(), fetch.secs / period);
            *state.requests.entry(key).or_default() += 1;
        }
    }
    (delivered, refusals, quote, amount)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The memory of decisions changes nothing, with accounts that run dry, budgets that are used up, and repeats.
    #[test]
    fn a_replay_with_a_memory_is_a_replay_without(mut fetches in proptest::collection::vec(fetch(), 0..160)) {
        fetches.sort_by_key(|fetch| fetch.secs);
        let policy = &*COMPILED;
        let lines: Vec<String> = fetches.iter().map(Fetch::combined).collect();
        let report = replayed(Some(policy), None, &lines);
        let lines = report.policy.expect("a policy was given").lines;
        let sums = (
            lines.iter().map(|line| line.fetches).sum::<u64>(),
            lines.iter().map(|line| line.refused).sum::<u64>(),
            lines.iter().map(|line| line.quote_nano).sum::<i128>(),
            lines.iter().map(|line| line.amount_nano).sum::<i128>(),
        );
        prop_assert_eq!(sums, plainly(policy, &fetches));
    }

    /// All forms of the same log say the same.
    #[test]
    fn every_form_of_a_log_gives_the_same(fetches in proptest::collection::vec(fetch(), 0..80)) {
        let policy = &*COMPILED;
        let in_form = |form: fn(&Fetch) -> String| {
            let lines: Vec<String> = fetches.iter().map(form).collect();
            let json = replayed(Some(policy), None, &lines).to_json();
            assert_eq!(json["skipped"], 0, "{json}");
            json
        };
        let combined = in_form(Fetch::combined);
        prop_assert_eq!(&in_form(Fetch::nginx), &combined);
        prop_assert_eq!(&in_form(Fetch::caddy), &combined);
        prop_assert_eq!(&in_form(Fetch::cloudflare), &combined);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&line, &mut Clock::default());
    }

    /// Lines that are nearly right go further than noise does.
    #[test]
    fn no_damage_to_a_line_makes_a_replay_panic(
        fetch in fetch(),
        form in 0_usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let forms = [Fetch::combined, Fetch::nginx, Fetch::caddy, Fetch::cloudflare];
        let mut line = forms[form](&fetch).into_bytes();
        for (place, byte) in damage {
            let place = place.index(line.len());
            line[place] = byte;
        }
        line.truncate(cut.index(line.len()) + 1);
        let (policy, registry, settings) = (&*COMPILED, &*REGISTRY, settings());
        let mut replay = Replay::new(Some(policy), Some(registry), registry, &settings);
        replay.line("test", 1, Some(&line));
        let report = replay.finish(registry);
        let _ = (report.to_text(), report.to_json());
    }
}

fn one(agent: &'static str, address: &str, path: &str, bytes: u64) -> Fetch {
    Fetch {
        secs: START_SECS,
        address: address.into(),
        method: "GET",
        path: path.into(),
        status: 200,
        bytes,
        agent,
    }
}

#[test]
fn who_crawled_is_told_apart_by_evidence() {
    let policy = &*COMPILED;
    let fetches = [
        one("PayBot/1.0", "192.0.2.7", "/", 10),
        one("PayBot/1.0", "198.51.100.9", "/", 10),
        one(AGENTS[1], "198.51.100.9", "/", 10),
        one(AGENTS[3], "198.51.100.9", "/articles/1", 10),
        one(AGENTS[4], "198.51.100.9", "/articles/1", 10),
        one(AGENTS[5], "198.51.100.9", "/articles/1", 10),
    ];
    let lines: Vec<String> = fetches.iter().map(Fetch::combined).collect();
    let report = replayed(Some(policy), None, &lines);
    let pays = report.crawlers.iter().find(|one| &*one.crawler == "PayBot").expect("seen");
    assert_eq!((pays.all.fetches, pays.verified, pays.unverified, pays.spoofed), (2, 1, 0, 1));
    let poor = report.crawlers.iter().find(|one| &*one.crawler == "PoorBot").expect("seen");
    assert_eq!((poor.verified, poor.unverified, poor.spoofed), (0, 1, 0));
    assert_eq!(report.others.iter().map(|one| one.class).collect::<Vec<_>>(), ["search-engine"]);
    assert_eq!(report.unknown_bots, [("StrangeCrawler/0.1".to_owned(), Count { fetches: 1, bytes: 10 })]);
    assert_eq!(report.unrecognised.fetches, 2);
    let spoof =
        report.policy.as_ref().expect("a policy").lines.iter().find(|line| &*line.operator == "spoof");
    assert_eq!(spoof.map(|line| line.fetches), Some(1), "a spoof is a line of its own");
    let text = report.to_text();
    for words in ["StrangeCrawler/0.1", "PayBot", "spoofed", "unverified", "search-engine"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn what_the_log_cannot_tell_is_counted_apart() {
    let policy = &compile(
        r#"
version = 1
mode = "observe"
[[rule]]
name = "pages"
path = "/pages/**"
content_type = "text/html"
charge = { price = "0.001 USD", per = "fetch", repeat_free = "0s" }
[[rule]]
name = "texts"
path = "/texts/**"
charge = { price = "0.001 USD", per = "1000-words", max = "0.01 USD", repeat_free = "0s" }
"#,
    );
    let mut lines: Vec<String> = ["/pages/1", "/texts/1", "/else"]
        .map(|path| one(AGENTS[2], "198.51.100.9", path, 100).combined())
        .into();
    // The same page where the log does have its type.
    let typed = one(AGENTS[2], "198.51.100.9", "/pages/1", 100).nginx();
    lines.push(typed.replace("\"host\"", "\"sent_http_content_type\":\"text/html; charset=utf-8\",\"host\""));
    let report = replayed(Some(policy), None, &lines);
    let report = report.policy.expect("a policy");
    let sum = report.sum();
    assert_eq!((sum.fetches, sum.needs_content_type, sum.needs_words), (4, 1, 1));
    assert_eq!((sum.quote_nano, sum.needs_words_most_nano), (1_000_000, 10_000_000));
}

#[test]
fn the_same_length_within_the_rules_time_is_a_repeat() {
    let policy = &*COMPILED;
    let at = |secs: i64, bytes| Fetch {
        secs: START_SECS + secs,
        ..one(AGENTS[2], "198.51.100.9", "/seen/1", bytes)
    };
    let fetches = [at(0, 100), at(10, 100), at(20, 200), at(3_599, 100), at(3_600, 100)];
    let lines: Vec<String> = fetches.iter().map(Fetch::combined).collect();
    let sum = replayed(Some(policy), None, &lines).policy.expect("a policy").sum();
    assert_eq!((sum.fetches, sum.repeats, sum.priced), (5, 2, 3));
    assert_eq!((sum.quote_nano, sum.amount_nano), (9_000_000, 0), "it only observes");
}

#[test]
fn what_is_quoted_takes_nothing_from_what_was_paid() {
    let rules = r#"
[[crawler]]
token = "PayAgent"
operator = "pays"
purpose = "agent"
ranges = ["192.0.2.0/24"]

[[rule]]
name = "trains"
path = "/both/**"
crawler = "PayBot"
charge = { price = "0.002 USD", per = "fetch", repeat_free = "30d" }

[[rule]]
name = "acts"
path = "/both/**"
crawler = "PayAgent"
mode = "observe"
charge = { price = "0.002 USD", per = "fetch", repeat_free = "1d" }
"#;
    let policy = compile(&format!("{POLICY}{rules}"));
    let day = 86_400;
    let at = |agent, secs| Fetch { secs: START_SECS + secs, ..one(agent, "192.0.2.7", "/both/1", 10) };
    let (train, act) = ("PayBot/1.0", "PayAgent/1.0");
    let fetches =
        [at(train, 0), at(act, 2 * day), at(act, 2 * day + 60), at(train, 3 * day), at(train, -2 * day)];
    let lines: Vec<String> = fetches.iter().map(Fetch::combined).collect();
    let sum = replayed(Some(&policy), None, &lines).policy.expect("a policy").sum();
    assert_eq!((sum.fetches, sum.repeats, sum.amount_nano), (5, 3, 2_000_000));

    // A line that is dated years ahead makes nothing free until then.
    let lines = [at(train, 400 * day), at(train, 0)].map(|fetch| fetch.combined());
    let sum = replayed(Some(&policy), None, &lines).policy.expect("a policy").sum();
    assert_eq!((sum.repeats, sum.amount_nano), (0, 4_000_000));
}

#[test]
fn a_host_that_was_told_is_not_asked_for() {
    let policy = &*COMPILED;
    let line = r#"192.0.2.7 - - [22/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "PayBot/1.0""#;
    for (host, asks) in [(Some("news.example".to_owned()), false), (None, true)] {
        let settings = Settings { host, ..settings() };
        let mut replay = Replay::new(Some(policy), None, &REGISTRY, &settings);
        replay.line("test", 1, Some(line.as_bytes()));
        let report = replay.finish(&REGISTRY);
        let host = if asks { "localhost" } else { "news.example" };
        assert!(report.works[0].0.contains(host), "{:?}", report.works);
        assert_eq!(report.to_text().contains("1 request names no host"), asks);
    }
}

#[test]
fn two_policies_are_compared_crawler_by_crawler() {
    let new = compile(&POLICY.replace("0.003 USD", "0.004 USD"));
    let old = &*COMPILED;
    let fetches = [one(AGENTS[2], "198.51.100.9", "/seen/1", 10), one(AGENTS[1], "198.51.100.9", "/", 10)];
    let lines: Vec<String> = fetches.iter().map(Fetch::combined).collect();
    let report = replayed(Some(&new), Some(old), &lines);
    let json = report.to_json();
    let changes = json["changes"].as_array().expect("a list");
    let gpt = changes.iter().find(|one| one["crawler"] == "GPTBot").expect("it is there");
    assert_eq!((&gpt["quote_difference"], &gpt["is_changed"]), (&"0.001".into(), &true.into()));
    let poor = changes.iter().find(|one| one["crawler"] == "PoorBot").expect("it is there");
    assert_eq!(poor["is_changed"], false);
    let text = report.to_text();
    assert!(text.contains("1 of 2 AI crawlers change outcome") && text.contains("+0.001"), "{text}");
    assert!(text.contains("No search engine is touched"), "{text}");

    let harsh = compile(
        "version = 1\n[[crawler]]\ntoken = \"Googlebot\"\noperator = \"google\"\nclass = \"ai\"\npurpose = \"train\"\n",
    );
    let text = replayed(Some(&harsh), Some(old), &lines).to_text();
    assert!(text.contains("declares search engines to be AI crawlers: Googlebot"), "{text}");
}

#[test]
fn a_forwarded_address_counts_behind_a_local_proxy_only() {
    let policy = &*COMPILED;
    let line = |peer: &str, forwarded: &str| {
        format!(
            r#"{peer} - - [22/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "PayBot/1.0" "{forwarded}""#
        )
    };
    let verified = |peer: &str, forwarded: &str| {
        replayed(Some(policy), None, &[line(peer, forwarded)]).crawlers[0].verified == 1
    };
    assert!(verified("192.0.2.7", "-"));
    assert!(verified("10.0.0.1", "192.0.2.7"));
    assert!(verified("10.0.0.1", "198.51.100.9, 192.0.2.7, 10.0.0.2"));
    assert!(!verified("10.0.0.1", "192.0.2.7, 198.51.100.9"), "what the client wrote itself is not believed");
    assert!(!verified("198.51.100.9", "192.0.2.7"), "a stranger's header is not believed");
}

#[test]
fn without_a_policy_the_way_on_is_shown() {
    let lines =
        [one(AGENTS[2], "198.51.100.9", "/a", 10).combined(), "junk".into(), "{}".into(), String::new()];
    let report = replayed(None, None, &lines);
    assert_eq!((report.lines, report.skipped), (3, 2));
    assert_eq!(report.first_skipped[0].line, 2);
    let text = report.to_text();
    assert!(text.contains("No policy was given") && text.contains("preset:news"), "{text}");
    assert!(text.contains("test:2: no [time]"), "{text}");
    assert!(report.to_json()["policy"].is_null());
}
