//! The table of precedence in `docs/policy.md`, exhausted: every combination of every dimension is one rule, and all of
//! them are put in order at once. A total order of all is an answer for every pair.

use super::*;
use crate::{CrawlerRow, Currency, Evidence, Money, PolicySnapshot, Source, Unit};

/// From the one that is asked first to the one that is asked last.
const HOSTS: [Option<&str>; 5] =
    [Some("www.example.com:8080"), Some("www.example.com"), Some("*.example.com"), Some("*.com"), None];
const PATHS: [Option<&str>; 7] = [
    Some("/a/b/c.html"),
    Some("/a/b/*.html"),
    Some("/a/b/*"),
    Some("/a/b/**"),
    Some("/a/**"),
    Some("/*/**"),
    None,
];
const MEDIA: [Option<&str>; 3] = [Some("text/html"), Some("text/*"), None];
/// Crawler, operator, purpose: named or not.
const WHO: [(bool, bool, bool); 8] = [
    (true, true, true),
    (true, true, false),
    (true, false, true),
    (true, false, false),
    (false, true, true),
    (false, true, false),
    (false, false, true),
    (false, false, false),
];
const RUNGS: [&[&str]; 3] = [&["network"], &["network", "signed"], &["claimed+"]];
/// Verdict, and whether there is a budget.
const VERDICTS: [(Verdict, bool); 5] = [
    (Verdict::Deny, false),
    (Verdict::Charge, true),
    (Verdict::Charge, false),
    (Verdict::Allow, true),
    (Verdict::Allow, false),
];
/// The policy's own text, and one that it includes.
const FILES: [usize; 2] = [0, 1];

type Key = [usize; 7];

fn row(token: &str, operator: &str, purpose: Purpose) -> Arc<CrawlerRow> {
    Arc::new(CrawlerRow {
        token: Arc::from(token),
        operator: Arc::from(operator),
        operator_name: Arc::from(operator),
        class: crate::Class::Ai,
        purpose,
        verification: crate::Verification::default(),
        source: Arc::from("test"),
    })
}

fn rule_of(key: Key, position: usize) -> (Rule, Alternative) {
    let [host, path, media, who, rungs, verdict, file] = key;
    let (crawler, operator, purpose) = WHO[who];
    let (verdict, limited) = VERDICTS[verdict];
    let usd = |nano| Money { nano, currency: Currency::USD };
    let name: Arc<str> = Arc::from(format!("{key:?}"));
    let rule = Rule {
        place: Place { file: FILES[file], start: 0, end: 0 },
        line: 1,
        column: 1,
        mode: Mode::Enforce,
        verdict,
        charge: (verdict == Verdict::Charge).then(|| Charge {
            price: usd(1),
            unit: Unit::Fetch,
            max: None,
            origin_price: false,
            repeat_free_secs: 0,
        }),
        require: Assurance::Network,
        limit: limited.then(|| Limit { rule: name.clone(), requests: Some(1), bytes: None, period_secs: 1 }),
        who: Who {
            crawlers: if crawler { vec![Arc::from("ABot")] } else { Vec::new() },
            operators: if operator { vec![Arc::from("a-labs")] } else { Vec::new() },
            purposes: if purpose { vec![Purpose::Train] } else { Vec::new() },
        },
        rungs: RUNGS[rungs].iter().map(|word| Rungs::parse(word).unwrap()).reduce(Rungs::union).unwrap(),
        name,
    };
    let alternative = Alternative {
        host: HOSTS[host].map_or(HostPattern::Any, |text| HostPattern::parse(text).unwrap()),
        path: PATHS[path].map_or(PathGlob::anything(), |text| PathGlob::parse(text).unwrap()),
        media: MEDIA[media].map(|text| MediaPattern::parse(text).unwrap()),
        rule: position,
    };
    (rule, alternative)
}

/// Every combination, in an order that has nothing to do with precedence.
fn all_keys() -> Vec<Key> {
    let sizes = [HOSTS.len(), PATHS.len(), MEDIA.len(), WHO.len(), RUNGS.len(), VERDICTS.len(), FILES.len()];
    let mut keys = vec![[0; 7]];
    for (dimension, size) in sizes.into_iter().enumerate() {
        keys = keys
            .into_iter()
            .flat_map(|key| {
                (0..size).map(move |index| {
                    let mut key = key;
                    key[dimension] = index;
                    key
                })
            })
            .collect();
    }
    let mut seed = 2026_u64;
    for last in (1..keys.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        keys.swap(last, (seed >> 33) as usize % (last + 1));
    }
    keys
}

fn compiled(keys: &[Key]) -> Rules {
    let (rules, alternatives) =
        keys.iter().enumerate().map(|(position, key)| rule_of(*key, position)).unzip();
    Rules::new(rules, alternatives)
}

#[test]
fn every_pair_of_rules_is_asked_in_the_order_of_the_table() {
    let keys = all_keys();
    assert_eq!(keys.len(), 5 * 7 * 3 * 8 * 3 * 5 * 2);
    let rules = compiled(&keys);
    let mut expect = keys.clone();
    expect.sort_unstable();
    let order: Vec<Key> = rules.order.iter().map(|alternative| keys[alternative.rule]).collect();
    for (index, (is, should)) in order.iter().zip(&expect).enumerate() {
        assert_eq!(is, should, "place {index}");
    }
}

#[test]
fn of_equals_the_first_in_the_text_is_asked_first() {
    let key = [2, 3, 1, 4, 1, 2, 0];
    let rules = compiled(&[key, key, key]);
    let positions: Vec<usize> = rules.order.iter().map(|alternative| alternative.rule).collect();
    assert_eq!(positions, [0, 1, 2]);
}

/// The same question, asked the slow way: of all rules that match, the first of the table.
#[test]
fn the_first_of_the_table_that_matches_decides() {
    let mut keys = all_keys();
    keys.retain(|key| [0, 4].contains(&key[5]) && key[6] == 0); // what does not matter to matching need not vary much
    let rules = compiled(&keys);
    let policy = PolicySnapshot::observe_only();
    let hosts = [
        ("www.example.com:8080", &[0, 1, 2, 3, 4][..]),
        ("www.example.com", &[1, 2, 3, 4]),
        ("x.example.com", &[2, 3, 4]),
        ("other.com", &[3, 4]),
        ("other.org", &[4]),
    ];
    let paths = [
        ("/a/b/c.html", &[0, 1, 2, 3, 4, 5, 6][..]),
        ("/a/b/d.html", &[1, 2, 3, 4, 5, 6]),
        ("/a/b/d", &[2, 3, 4, 5, 6]),
        ("/a/b/d/e", &[3, 4, 5, 6]),
        ("/a/x", &[4, 5, 6]),
        ("/x/", &[5, 6]),
        ("/", &[6]),
    ];
    let types =
        [(Some("text/html; charset=utf-8"), &[0, 1, 2][..]), (Some("text/plain"), &[1, 2]), (None, &[2])];
    let crawlers = [
        (("ABot", "a-labs", Purpose::Train), &[0, 1, 2, 3, 4, 5, 6, 7][..]),
        (("abot", "a-labs", Purpose::Search), &[1, 3, 5, 7]),
        (("ABot", "b-labs", Purpose::Train), &[2, 3, 6, 7]),
        (("BBot", "a-labs", Purpose::Train), &[4, 5, 6, 7]),
        (("BBot", "b-labs", Purpose::Search), &[7]),
    ];
    let network = Evidence::Range { source: Arc::from("test") };
    let rungs = [
        (Assurance::Network, network.clone(), &[0, 1, 2][..]),
        (Assurance::Signed, network, &[1, 2]),
        (Assurance::Claimed, Evidence::None, &[2]),
    ];
    let mut asked = 0;
    for (host, host_indexes) in hosts {
        for (path, path_indexes) in paths {
            let work = policy.work("http", host, path).unwrap();
            for ((token, operator, purpose), who_indexes) in crawlers {
                for (assurance, evidence, rung_indexes) in &rungs {
                    let crawler = Crawler {
                        row: row(token, operator, purpose),
                        assurance: *assurance,
                        evidence: evidence.clone(),
                    };
                    for (content_type, media_indexes) in types {
                        let expect = keys
                            .iter()
                            .filter(|key| {
                                host_indexes.contains(&key[0])
                                    && path_indexes.contains(&key[1])
                                    && media_indexes.contains(&key[2])
                                    && who_indexes.contains(&key[3])
                                    && rung_indexes.contains(&key[4])
                            })
                            .min()
                            .map(|key| format!("{key:?}"));
                        let decides = rules.candidates(&crawler, &work).find(|(_, media)| {
                            match (media, content_type) {
                                (None, _) => true,
                                (Some(media), Some(content_type)) => media.matches(content_type),
                                (Some(_), None) => false,
                            }
                        });
                        let decides = decides.map(|(rule, _)| rule.name.to_string());
                        assert_eq!(
                            decides, expect,
                            "{host} {path} {token} {operator} {assurance:?} {content_type:?}"
                        );
                        asked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(asked, 5 * 7 * 5 * 3 * 3);
}

#[test]
fn the_text_says_the_same_as_the_table() {
    // The same through the front door, with texts: the later and broader rule never wins.
    let text = "version = 1\ninclude = [\"other\"]\n\
        [[rule]]\nname = \"everything\"\nallow = true\n\
        [[rule]]\nname = \"a\"\npath = \"/a/**\"\ndeny = true\n\
        [[rule]]\nname = \"a, openai\"\npath = \"/a/**\"\noperator = \"openai\"\nallow = true\n";
    let other = "[[rule]]\nname = \"included\"\npath = \"/a/**\"\noperator = \"openai\"\nallow = true\n";
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    let compiled =
        PolicySnapshot::compile(source("policy", text), None, &mut |name, _| Ok(source(name, other)));
    let (policy, warnings) = compiled.unwrap();
    let order: Vec<&str> = policy.rules.order.iter().map(|one| &*policy.rules.rules[one.rule].name).collect();
    assert_eq!(order, ["a, openai", "included", "a", "everything"]);
    assert_eq!(warnings.len(), 1, "the included rule never decides, and that is said: {warnings:?}");
}

#[test]
fn conditions_on_assurance_are_sets_of_rungs() {
    let crawler =
        |assurance, evidence| Crawler { row: row("ABot", "a-labs", Purpose::Train), assurance, evidence };
    let spoof = crawler(Assurance::Claimed, Evidence::Contradicted { by: Arc::from("range") });
    let claimed = crawler(Assurance::Claimed, Evidence::None);
    let network = crawler(Assurance::Network, Evidence::None);
    let signed = crawler(Assurance::Signed, Evidence::None);
    for (words, expect) in [
        ("spoof", [true, false, false, false]),
        ("claimed", [true, true, false, false]),
        ("network", [false, false, true, false]),
        ("network+", [false, false, true, true]),
        ("claimed+", [true; 4]),
        ("spoof+", [true; 4]),
    ] {
        let rungs = Rungs::parse(words).unwrap();
        let is = [&spoof, &claimed, &network, &signed].map(|crawler| rungs.contain(crawler));
        assert_eq!(is, expect, "{words}");
    }
    assert_eq!(Rungs::parse("networks"), None);
    assert_eq!(Rungs::parse("+"), None);
}

#[test]
fn a_lie_earns_no_favour_but_every_prohibition() {
    let spoof = Crawler {
        row: row("ABot", "a-labs", Purpose::Train),
        assurance: Assurance::Claimed,
        evidence: Evidence::Contradicted { by: Arc::from("range") },
    };
    let matches =
        |who: usize, verdict: usize| rule_of([4, 6, 2, who, 2, verdict, 0], 0).0.matches_crawler(&spoof);
    assert!(!matches(3, 4), "what is free for the name is not free for the liar");
    assert!(!matches(6, 4), "nor what is free for the name's purpose");
    assert!(matches(7, 4), "what is free for everybody is");
    assert!(matches(3, 0) && matches(3, 2), "denials and prices are for the name, whoever carries it");
    assert!(matches(3, 3), "so are budgets");
}
