//! The published cases of robots.txt, read from `testdata/vectors/robots.json`: another file of that form may take its place.

#[path = "support/vectors.rs"]
mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use policy::protocol::robots::{
    Answer, BYTES_MAX, History, REDIRECTS_MAX, RobotsTxt, Ruling, Target, TooManyRequests, ruling,
};
use policy::{CrawlerRow, Directory, Evidence, ReverseDnsAnswer, Verification, weigh};
use serde_json::Value;
use support::{both_files, judge, text};

#[test]
fn no_list_of_cases_is_left_out() {
    support::no_other_lists("robots.json", &["match", "fetch", "fcrdns"]);
}

/// Judges a list of the file, and of our own beside it.
fn judge_all(list: &str, keys: &[&str], case_differs: impl Fn(&Value) -> Option<String>) {
    for (name, file) in both_files("robots.json") {
        judge(&format!("{name} {list}"), &file[list], keys, &case_differs);
    }
}

#[test]
fn decisions() {
    judge_all("match", &["robots", "token", "path", "allowed"], |case| {
        let robots = RobotsTxt::parse(text(case, "robots").as_bytes());
        let rules = robots.agent(text(case, "token"));
        let decision = rules.decide(&Target::new(text(case, "path")));
        let expect = case["allowed"].as_bool().expect("`allowed`");
        (decision.is_allowed != expect).then(|| format!("{decision:?}, not {expect}"))
    });
}

/// Results are words: `parse`, `follow`, `allow-all` or `may treat as unavailable`, `disallow-all`; what is said after them about
/// a last copy, about Google and about what follows after 30 days is judged as well.
#[test]
fn fetches() {
    let keys = ["status", "redirects", "network_error", "size_bytes", "result"];
    judge_all("fetch", &keys, |case| {
        let expect = text(case, "result");
        if let Some(bytes) = case["size_bytes"].as_u64() {
            return differs_in_size(bytes as usize, expect);
        }
        let answer = match (case["redirects"].as_u64(), case["status"].as_u64()) {
            (Some(redirects), _) => Answer::Redirect(redirects as u32),
            (None, Some(status)) => Answer::Status(status as u16),
            (None, None) if case["network_error"] == true => Answer::NetworkError,
            (None, None) => panic!("what came of it: {case}"),
        };
        let fresh = ruling(answer, History::default(), TooManyRequests::default());
        let names: &[&str] = match fresh {
            Ruling::Parse => &["parse"],
            Ruling::Follow => &["follow"],
            Ruling::AllowAll => &["allow-all", "may treat as unavailable", "unavailable"],
            Ruling::DisallowAll => &["disallow-all", "unreachable"],
            Ruling::LastCopy => &["last copy", "last good copy"],
        };
        if !names.iter().any(|name| expect.starts_with(name)) {
            return Some(format!("{fresh:?}, not {expect}"));
        }
        let day = Duration::from_secs(86_400);
        if expect.contains("last good copy") {
            let with_copy = |days: u32| {
                let history = History { last_copy_age: Some(day * days), unreachable_for: day };
                ruling(answer, history, TooManyRequests::default())
            };
            let got = [with_copy(1), with_copy(30), with_copy(31)];
            if got != [Ruling::LastCopy, Ruling::LastCopy, Ruling::DisallowAll] {
                return Some(format!("with a copy: {got:?}"));
            }
        }
        if fresh == Ruling::DisallowAll && expect.contains("unavailable") {
            let history = History { last_copy_age: None, unreachable_for: day * 31 };
            let late = ruling(answer, history, TooManyRequests::default());
            if late != Ruling::AllowAll {
                return Some(format!("after 31 days: {late:?}"));
            }
        }
        if expect.contains("Google: disallow-all") {
            let google = ruling(answer, History::default(), TooManyRequests::Unreachable);
            return (google != Ruling::DisallowAll).then(|| format!("for Google: {google:?}"));
        }
        None
    });
    assert_eq!(REDIRECTS_MAX, 5);
}

/// A file of about that size: of one that is too long, the last line that is read crosses the limit.
fn differs_in_size(bytes: usize, expect: &str) -> Option<String> {
    let (agent, line) = ("User-agent: *\n", "Disallow: /0123456789\n");
    assert_ne!((BYTES_MAX - agent.len()) % line.len(), 0, "the limit is within a line");
    let is_long = bytes > BYTES_MAX;
    let lines = bytes.saturating_sub(agent.len()) / line.len() + usize::from(is_long);
    let robots = RobotsTxt::parse(format!("{agent}{}", line.repeat(lines)).as_bytes());
    let read = if is_long { (BYTES_MAX - agent.len()) / line.len() } else { lines };
    let got = robots.lines().count() - 1;
    let named: Vec<usize> = expect
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .filter(|number| *number > 1_000)
        .collect();
    if !expect.starts_with("parse") || named.iter().any(|limit| *limit != BYTES_MAX) {
        return Some(format!("{BYTES_MAX} bytes are read, not: {expect}"));
    }
    (got != read || robots.is_cut() != is_long).then(|| format!("{got} rules, not {read}"))
}

/// Whose address it is, by its names: these cases come with the file, and the rule is that of [`policy::weigh`].
#[test]
fn reverse_names() {
    let keys = ["ip", "ptr", "forward", "suffix", "verified"];
    judge_all("fcrdns", &keys, |case| {
        // As the proxy has a client's address: one of IPv4 within IPv6 is the former.
        let address = |value: &Value| {
            let text = value.as_str().expect("an address");
            text.parse::<IpAddr>().expect("an address").to_canonical()
        };
        let forward: Vec<IpAddr> =
            case["forward"].as_array().expect("`forward`").iter().map(address).collect();
        let suffixes: Vec<&str> =
            case["suffix"].as_array().expect("`suffix`").iter().filter_map(Value::as_str).collect();
        let suffixes = suffixes.into_iter().map(str::to_owned).collect();
        let verification = Verification { reverse_dns: suffixes, ..Verification::default() };
        let row =
            CrawlerRow { verification, ..(**Directory::default().row("GPTBot").expect("a row")).clone() };
        // What the resolver's side does: a name counts if it leads back to the address.
        let address = address(&case["ip"]);
        let names = case["ptr"].as_str().filter(|_| forward.contains(&address)).map(Arc::from);
        let answer = ReverseDnsAnswer::Confirmed(names.into_iter().collect());
        let evidence = weigh(&row, address, &|_| None, &answer);
        let got = matches!(evidence, Evidence::ReverseDns { .. });
        let expect = case["verified"].as_bool().expect("`verified`");
        (got != expect).then(|| format!("{got}, not {expect}"))
    });
}
