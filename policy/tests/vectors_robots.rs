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
use support::{judge, text, vectors};

#[test]
fn decisions() {
    judge("match", &vectors("robots.json")["match"], |case| {
        let robots = RobotsTxt::parse(text(case, "robots").as_bytes());
        let rules = robots.agent(text(case, "token"));
        let decision = rules.decide(&Target::new(text(case, "path")));
        let expect = case["allowed"].as_bool().expect("`allowed`");
        (decision.is_allowed != expect).then(|| format!("{decision:?}, not {expect}"))
    });
}

#[test]
fn fetches() {
    judge("fetch", &vectors("robots.json")["fetch"], |case| {
        let expect = text(case, "result");
        if let Some(bytes) = case["size_bytes"].as_u64() {
            return differs_in_size(bytes as usize, expect);
        }
        let answer = match (case["status"].as_u64(), case["redirects"].as_u64()) {
            (Some(status), _) => Answer::Status(status as u16),
            (None, Some(redirects)) => Answer::Redirect(redirects as u32),
            (None, None) if case["network_error"] == true => Answer::NetworkError,
            (None, None) => panic!("what came of it: {case}"),
        };
        let fresh = ruling(answer, History::default(), TooManyRequests::default());
        let name = match fresh {
            Ruling::Parse => "parse",
            Ruling::Follow => "follow",
            Ruling::AllowAll if expect.contains("unavailable") => "may treat as unavailable",
            Ruling::AllowAll => "allow-all",
            Ruling::DisallowAll => "disallow-all",
            Ruling::LastCopy => "last copy",
        };
        if !expect.starts_with(name) {
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
        if expect.contains("Google: disallow-all") {
            let google = ruling(answer, History::default(), TooManyRequests::Unreachable);
            return (google != Ruling::DisallowAll).then(|| format!("for Google: {google:?}"));
        }
        None
    });
    assert_eq!(REDIRECTS_MAX, 5);
}

/// A file of that size, of which the last line that is read crosses the limit.
fn differs_in_size(bytes: usize, expect: &str) -> Option<String> {
    assert!(
        expect.contains(&BYTES_MAX.to_string()) && expect.contains("drop the partial last line"),
        "{expect}"
    );
    let line = "Disallow: /0123456789\n";
    let mut file = "User-agent: *\n".to_owned();
    while file.len() < bytes {
        file.push_str(line);
    }
    let robots = RobotsTxt::parse(file.as_bytes());
    let read = (BYTES_MAX - "User-agent: *\n".len()) / line.len();
    assert_ne!((BYTES_MAX - "User-agent: *\n".len()) % line.len(), 0, "the limit is within a line");
    let got = robots.lines().count() - 1;
    (got != read || !robots.is_cut()).then(|| format!("{got} rules, not {read}"))
}

/// Whose address it is, by its names: these cases come with the file, and the rule is that of [`policy::weigh`].
#[test]
fn reverse_names() {
    judge("fcrdns", &vectors("robots.json")["fcrdns"], |case| {
        let address =
            |value: &Value| value.as_str().expect("an address").parse::<IpAddr>().expect("an address");
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
