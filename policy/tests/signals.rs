//! One policy, every signal: what is published from a policy never contradicts it, and what does is found.
//!
//! The generator writes policies as people do, in TOML; `lint` reads what is published with the protocols' own evaluators, at
//! concrete paths. Both sides meet only here.

use policy::lint::{Kind, LicenseText, Origin, Report, ResponseText, Signal, Text, Texts, lint};
use policy::publish::{LICENSE_PATH, Publisher, Switches};
use policy::{PolicySnapshot, Source};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::RngSeed;

fn compile(text: &str) -> PolicySnapshot {
    let source = Source { name: "policy.toml".to_owned(), text: text.to_owned() };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing is included".to_owned())) {
        Ok((policy, _)) => policy,
        Err(diagnostics) => panic!("{text}\n{}", policy::render(&diagnostics)),
    }
}

const HOSTS: [&str; 3] = ["example.com", "news.example.com", "other.example:8443"];

/// Paths of responses whose fields are compared.
const TARGETS: [&str; 7] =
    ["/", "/articles/1", "/articles/1.pdf?dl=1", "/private/x", "/a/b/c.html", "/shop/cart", "/img/logo.jpg"];

/// Everything that a policy publishes about a site.
fn published(policy: &PolicySnapshot, origin: &Origin, own_robots: &str) -> Texts {
    let publisher = Publisher::new(policy, origin, Switches::ALL);
    let documents = publisher.published();
    let (robots, _) = publisher.robots(own_robots.as_bytes()).unwrap();
    let text = |name: &str, text: &str| Text { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
    let mut responses = Vec::new();
    for target in TARGETS {
        for content_type in ["text/html", "image/png", "application/pdf"] {
            let fields = publisher.fields(target, Some(content_type)).into_iter();
            let fields = fields.map(|(name, value)| (name.to_owned(), value.into_bytes()));
            responses.push(ResponseText {
                name: format!("{target} as {content_type}"),
                target: target.to_owned(),
                fields: fields.chain([("content-type".to_owned(), content_type.into())]).collect(),
                html: None,
            });
        }
    }
    Texts {
        robots: Some(Text { name: "robots.txt".to_owned(), bytes: robots }),
        tdmrep: documents.tdmrep.as_deref().map(|file| text("tdmrep.json", file)),
        licenses: documents
            .license
            .as_deref()
            .map(|file| LicenseText { url: Some(origin.url(LICENSE_PATH)), text: text("license.xml", file) })
            .into_iter()
            .collect(),
        responses,
    }
}

fn show(report: &Report) -> String {
    report.contradictions().map(|finding| format!("{finding:#?}\n")).collect()
}

fn show_texts(texts: &Texts) -> String {
    let robots = texts.robots.iter().map(|text| &text.bytes);
    let license = texts.licenses.iter().map(|license| &license.text.bytes);
    let all = robots.chain(texts.tdmrep.iter().map(|text| &text.bytes)).chain(license);
    all.map(|bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // 300 names of crawlers say nothing to whoever reads a failure.
        text.lines()
            .filter(|line| !line.starts_with("User-agent") || line.ends_with("Bot"))
            .collect::<Vec<_>>()
            .join("\n")
            + "\n"
    })
    .collect()
}

const PATHS: [&str; 20] = [
    "/**",
    "/articles/**",
    "/articles/free/**",
    "/private/**",
    "/a/**",
    "/a/b/**",
    "/",
    "/about",
    "/articles/1",
    "/**.pdf",
    "/**.jpg",
    "/img/**.jpg",
    "/img/*",
    "/*.html",
    "/a/*/c.html",
    "/**/feed/",
    "/shop/**",
    "/shop/cart",
    "/caf%C3%A9/**",
    "/sitemap.xml",
];

fn list(key: &str, items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    if items.is_empty() { String::new() } else { format!("{key} = [{}]\n", quoted.join(", ")) }
}

prop_compose! {
    fn rule()(
        paths in subsequence(PATHS.to_vec(), 0..3),
        hosts in prop_oneof![4 => Just(vec![]), 1 => subsequence(vec!["example.com", "*.example.com", "other.example"], 1)],
        purposes in prop_oneof![
            2 => Just(vec![]),
            3 => subsequence(vec!["train", "search", "ground", "agent", "data", "unknown"], 1..4),
        ],
        crawlers in prop_oneof![5 => Just(vec![]), 1 => subsequence(vec!["GPTBot", "CCBot", "PerplexityBot"], 1)],
        operators in prop_oneof![6 => Just(vec![]), 1 => subsequence(vec!["anthropic", "google"], 1)],
        rungs in prop_oneof![6 => Just(""), 1 => select(vec!["network+", "licensed", "claimed", "spoof", "signed+"])],
        media in prop_oneof![6 => Just(vec![]), 1 => subsequence(vec!["text/html", "image/*", "application/pdf"], 1)],
        mode in prop_oneof![4 => Just(""), 1 => select(vec!["enforce", "observe"])],
        verdict in prop_oneof![
            3 => Just("deny = true"),
            2 => Just("allow = true"),
            1 => Just("limit = { requests = 100, per = \"1h\" }"),
            2 => Just("charge = { price = \"0.002 USD\", per = \"fetch\" }"),
            1 => Just("charge = { price = \"0.05 USD\", per = \"fetch\" }"),
            1 => Just("charge = { price = \"0.01 USD\", per = \"MB\", max = \"1 USD\" }"),
            1 => Just("charge = { price = \"0.01 USD\", per = \"fetch\", origin_price = true, max = \"1 USD\" }"),
        ],
    ) -> String {
        let mut text = list("path", &paths) + &list("host", &hosts) + &list("purpose", &purposes);
        text += &(list("crawler", &crawlers) + &list("operator", &operators) + &list("content_type", &media));
        if !rungs.is_empty() {
            text += &format!("assurance = \"{rungs}\"\n");
        }
        if !mode.is_empty() {
            text += &format!("mode = \"{mode}\"\n");
        }
        text + verdict + "\n"
    }
}

prop_compose! {
    fn policy_text()(
        mode in select(vec!["enforce", "observe"]),
        rules in prop::collection::vec(rule(), 1..7),
        licence in prop_oneof![2 => Just(""), 1 => Just("licence = \"https://example.com/terms\"\n")],
        work in prop_oneof![
            3 => Just(""),
            1 => Just("[[work]]\npath = \"/a/**\"\nlicence = \"https://example.com/terms-of-a\"\n"),
        ],
    ) -> String {
        let mut text = format!("version = 1\nmode = \"{mode}\"\n{licence}{work}");
        for (index, rule) in rules.iter().enumerate() {
            text += &format!("[[rule]]\nname = \"r{index}\"\n{rule}");
        }
        text
    }
}

/// What sites have before they ask us; none of it says anything about what a rule can be about.
fn own_robots() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "User-agent: *\nDisallow:\n",
        "User-agent: *\nAllow: /\n\nSitemap: https://example.com/sitemap.xml\n",
        "User-agent: *\r\nAllow: /articles/\r\nAllow: /*.jpg$",
        "User-agent: Googlebot\nDisallow: /nothing/\n\nUser-agent: GPTBot\nAllow: /\n",
        "\u{feff}# ours\nUser-agent: GPTBot\nUser-agent: CCBot\nAllow: /private/\nCrawl-delay: 5\n",
        "Sitemap: https://example.com/sitemap.xml\nUser-agent: *",
    ])
}

#[track_caller]
fn nothing_contradicts(policy: &PolicySnapshot, text: &str, host: &str, own: &str) {
    let origin = Origin::new(true, host).unwrap();
    let texts = published(policy, &origin, own);
    let report = lint(policy, &origin, &texts);
    assert_eq!(
        report.contradictions().count(),
        0,
        "{}\non {host}\n{text}\n{}",
        show(&report),
        show_texts(&texts)
    );
    let robots = &texts.robots.as_ref().unwrap().bytes;
    let own = own.trim_start_matches('\u{feff}').as_bytes();
    assert!(
        robots.windows(own.len().max(1)).any(|part| part == own) || own.is_empty(),
        "the site's lines stay"
    );
}

/// Few, as each is a whole site, and from one seed: a change should not fail for what another run would have found. With
/// `PROPTEST_CASES` as many as that, from a seed of its own.
fn cases(few: u32) -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match config.cases {
        // What proptest does where the variable is not set.
        256 => ProptestConfig { cases: few, rng_seed: RngSeed::Fixed(30), ..config },
        _ => config,
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn what_is_published_does_not_contradict_the_policy(text in policy_text(), own in own_robots()) {
        let policy = compile(&text);
        for host in HOSTS {
            nothing_contradicts(&policy, &text, host, own);
        }
    }
}

#[test]
fn presets_are_published_without_contradiction() {
    for preset in ["news", "docs", "shop"] {
        for (mode, own) in [("observe", ""), ("enforce", "User-agent: *\nAllow: /\n")] {
            let text = format!(
                "version = 1\nmode = \"{mode}\"\nbase_price = \"0.001 USD\"\ninclude = [\"preset:{preset}\"]\n"
            );
            let policy = compile(&text);
            nothing_contradicts(&policy, &text, "example.com", own);
        }
    }
}

/// A pattern for a single path cannot be made longer than one with stars that means it as well: `/a/b/c.html$` and
/// `/a/*/c.html$` have twelve octets each, and what allows wins.
#[test]
fn a_single_path_is_told_from_a_pattern_that_is_as_long() {
    let rules = |first: &str, second: &str| {
        // A rule for the host comes before one for all, whatever their paths.
        let by_host = |wider: &str| {
            format!(
                "[[rule]]\nname = \"first\"\nhost = \"example.com\"\npath = \"/a/b/**\"\n{first}\n\
                 [[rule]]\nname = \"second\"\npath = \"{wider}\"\n{second}\n"
            )
        };
        let by_path = |path: &str, wider: &str| {
            format!(
                "[[rule]]\nname = \"first\"\npath = \"{path}\"\n{first}\n\
                 [[rule]]\nname = \"second\"\npath = \"{wider}\"\n{second}\n"
            )
        };
        let rest = format!("[[rule]]\nname = \"rest\"\npath = \"/**\"\n{first}\n");
        let firsts = [
            by_host("/a/*/c.html"),
            by_host("/**/feed/"),
            by_path("/a/b/c.html", "/a/*/c.html"),
            by_path("/ab.html", "/a**b.html"),
        ];
        firsts.map(|rules| format!("version = 1\nmode = \"enforce\"\n{rules}{rest}"))
    };
    let (deny, allow, sold) =
        ("deny = true", "allow = true", "charge = { price = \"0.002 USD\", per = \"fetch\" }");
    for (first, second) in [(deny, allow), (allow, deny), (deny, sold), (sold, allow), (allow, sold)] {
        for text in rules(first, second) {
            let policy = compile(&text);
            for own in ["", "User-agent: *\nAllow: /\n", "User-agent: *\nAllow: /a/*/c.html\n"] {
                nothing_contradicts(&policy, &text, "example.com", own);
            }
            let origin = Origin::new(true, "example.com").unwrap();
            let publisher = Publisher::new(&policy, &origin, Switches::ALL);
            assert_eq!(publisher.published().unsaid, [], "{text}");
            assert_eq!(publisher.robots(b"").unwrap().1, [], "{text}");
        }
    }
}

/// A policy in which everything that can be said is said of some path.
const SPEAKING: &str = r#"
version = 1
mode = "enforce"
licence = "https://example.com/terms"
[[rule]]
name = "training pays"
path = ["/articles/**", "/shop/**"]
purpose = ["train", "data"]
charge = { price = "0.002 USD", per = "fetch" }
[[rule]]
name = "answers are free"
path = "/articles/**"
purpose = ["search", "ground"]
allow = true
[[rule]]
name = "private"
path = "/private/**"
deny = true
[[rule]]
name = "open to all"
path = "/free/**"
allow = true
"#;

/// Changes a text somewhere, as a mistake would.
fn change(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    *bytes = text.replace(from, to).into_bytes();
}

/// Says something else of one path in `license.xml`.
fn change_content(texts: &mut Texts, url: &str, from: &str, to: &str) {
    let bytes = &mut texts.licenses[0].text.bytes;
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    let start = text.find(&format!("<content url=\"{url}\"")).unwrap_or_else(|| panic!("no {url} in {text}"));
    let end = start + text[start..].find("</content>").unwrap();
    let content = text[start..end].replace(from, to);
    assert_ne!(content, text[start..end], "{from} is not in {text}");
    *bytes = format!("{}{content}{}", &text[..start], &text[end..]).into_bytes();
}

fn set_field(texts: &mut Texts, target: &str, name: &str, value: &str) {
    let response = texts.responses.iter_mut().find(|response| response.target == target).unwrap();
    response.fields.retain(|(own, _)| own != name);
    response.fields.push((name.to_owned(), value.as_bytes().to_vec()));
}

/// A name, what it must be found as, and the change.
type Plant = (&'static str, Kind, Signal, fn(&mut Texts));

/// What goes wrong between a policy and what somebody publishes: each is a contradiction, and found as what it is.
const PLANTS: [Plant; 22] = [
    ("a Disallow is removed", Kind::PromisesMore, Signal::Robots, |texts| {
        change(&mut texts.robots.as_mut().unwrap().bytes, "Disallow: /private/\n", "");
    }),
    ("an Allow is added for a denied path", Kind::PromisesMore, Signal::Robots, |texts| {
        let robots = &mut texts.robots.as_mut().unwrap().bytes;
        change(robots, "Disallow: /private/\n", "Disallow: /private/\nAllow: /private/press/\n");
    }),
    ("what is sold is disallowed", Kind::RefusesMore, Signal::Robots, |texts| {
        texts
            .robots
            .as_mut()
            .unwrap()
            .bytes
            .extend_from_slice(b"\nUser-agent: GPTBot\nDisallow: /articles/\n");
    }),
    ("what is sold is left to a control token", Kind::PromisesMore, Signal::Robots, |texts| {
        texts
            .robots
            .as_mut()
            .unwrap()
            .bytes
            .extend_from_slice(b"\nUser-agent: Applebot-Extended\nAllow: /shop/**\n");
    }),
    ("a Content-Usage is turned round", Kind::PromisesMore, Signal::ContentUsage, |texts| {
        change(&mut texts.robots.as_mut().unwrap().bytes, "/shop/ train-ai=n", "/shop/ train-ai=y");
    }),
    ("a Content-Usage keeps back what is free", Kind::RefusesMore, Signal::ContentUsage, |texts| {
        change(
            &mut texts.robots.as_mut().unwrap().bytes,
            "/free/ train-ai=y, ai-use=y",
            "/free/ train-ai=n, ai-use=y",
        );
    }),
    ("a Content-Usage cannot be read", Kind::Malformed, Signal::ContentUsage, |texts| {
        change(&mut texts.robots.as_mut().unwrap().bytes, "/shop/ train-ai=n", "/shop/ train-ai=n,");
    }),
    ("a Content-Signal gives what is sold", Kind::PromisesMore, Signal::ContentSignal, |texts| {
        let robots = &mut texts.robots.as_mut().unwrap().bytes;
        *robots = [b"Content-Signal: ai-train=yes\n", &robots[..]].concat();
    }),
    ("a Content-Signal keeps back what is free", Kind::RefusesMore, Signal::ContentSignal, |texts| {
        let robots = &mut texts.robots.as_mut().unwrap().bytes;
        *robots = [b"Content-Signal: ai-input=no\n", &robots[..]].concat();
    }),
    ("a reservation is turned round", Kind::PromisesMore, Signal::Tdmrep, |texts| {
        change(&mut texts.tdmrep.as_mut().unwrap().bytes, "\"tdm-reservation\": 1", "\"tdm-reservation\": 0");
    }),
    ("everything is reserved", Kind::RefusesMore, Signal::Tdmrep, |texts| {
        change(&mut texts.tdmrep.as_mut().unwrap().bytes, "\"tdm-reservation\": 0", "\"tdm-reservation\": 1");
    }),
    ("RSL permits what is denied", Kind::PromisesMore, Signal::Rsl, |texts| {
        change_content(texts, "/private/", "permits", "is swapped with");
        change_content(texts, "/private/", "prohibits", "permits");
        change_content(texts, "/private/", "is swapped with", "prohibits");
    }),
    ("RSL prohibits what is sold", Kind::RefusesMore, Signal::Rsl, |texts| {
        change_content(
            texts,
            "/shop/",
            "<permits type=\"usage\">ai-train</permits>",
            "<prohibits type=\"usage\">ai-train</prohibits>",
        );
    }),
    ("RSL prohibits what is free", Kind::RefusesMore, Signal::Rsl, |texts| {
        change_content(texts, "/free/", "permits", "prohibits");
    }),
    ("another price", Kind::PriceDiffers, Signal::Rsl, |texts| {
        change(&mut texts.licenses[0].text.bytes, ">0.002<", ">0.001<");
    }),
    ("another currency", Kind::PriceDiffers, Signal::Rsl, |texts| {
        change(&mut texts.licenses[0].text.bytes, "\"USD\"", "\"EUR\"");
    }),
    ("free where it is charged", Kind::PromisesMore, Signal::Rsl, |texts| {
        change(&mut texts.licenses[0].text.bytes, "type=\"crawl\"", "type=\"free\"");
        change(&mut texts.licenses[0].text.bytes, "<amount currency=\"USD\">0.002</amount>", "");
    }),
    ("a document that breaks off", Kind::Malformed, Signal::Rsl, |texts| {
        let bytes = &mut texts.licenses[0].text.bytes;
        bytes.truncate(bytes.len() / 2);
    }),
    ("a licence elsewhere", Kind::LicenceDiffers, Signal::Rsl, |texts| {
        let robots = &mut texts.robots.as_mut().unwrap().bytes;
        change(robots, "https://example.com/license.xml", "https://elsewhere.example/license.xml");
    }),
    ("a field gives what is reserved", Kind::PromisesMore, Signal::Tdmrep, |texts| {
        set_field(texts, "/articles/1", "tdm-reservation", "0");
    }),
    ("a field asks another price", Kind::PriceDiffers, Signal::CrawlerPrice, |texts| {
        set_field(texts, "/articles/1", "crawler-price", "USD 0.5");
    }),
    ("a field keeps back what is free", Kind::RefusesMore, Signal::ContentUsage, |texts| {
        set_field(texts, "/articles/1", "content-usage", "ai-use=n");
    }),
];

#[test]
fn every_planted_contradiction_is_found() {
    let policy = compile(SPEAKING);
    let origin = Origin::new(true, "example.com").unwrap();
    for own in ["", "User-agent: *\nAllow: /\n"] {
        let texts = published(&policy, &origin, own);
        nothing_contradicts(&policy, SPEAKING, "example.com", own);
        for (what, kind, signal, plant) in PLANTS {
            let mut texts = texts.clone();
            plant(&mut texts);
            let report = lint(&policy, &origin, &texts);
            let is_it = |finding: &policy::lint::Finding| finding.kind == kind && finding.signal == signal;
            assert!(report.contradictions().any(is_it), "{what}:\n{}\n{}", show(&report), show_texts(&texts));
        }
    }
}

/// Plants that can be made in what any policy publishes that has the words for it: where, from what, to what.
type Swap = (Kind, Signal, fn(&mut Texts) -> Option<&mut Vec<u8>>, &'static str, &'static str);

const SWAPS: [Swap; 6] = [
    (Kind::PromisesMore, Signal::Robots, robots_of, "Disallow: ", "Allow: "),
    (Kind::PromisesMore, Signal::ContentUsage, robots_of, "train-ai=n", "train-ai=y"),
    (Kind::PromisesMore, Signal::ContentSignal, robots_of, "ai-train=no", "ai-train=yes"),
    (Kind::PromisesMore, Signal::Tdmrep, tdmrep_of, "\"tdm-reservation\": 1", "\"tdm-reservation\": 0"),
    (Kind::PromisesMore, Signal::Rsl, license_of, "type=\"crawl\"", "type=\"attribution\""),
    (Kind::PriceDiffers, Signal::Rsl, license_of, "\"USD\">0.", "\"USD\">7."),
];

fn robots_of(texts: &mut Texts) -> Option<&mut Vec<u8>> {
    texts.robots.as_mut().map(|text| &mut text.bytes)
}

fn tdmrep_of(texts: &mut Texts) -> Option<&mut Vec<u8>> {
    texts.tdmrep.as_mut().map(|text| &mut text.bytes)
}

fn license_of(texts: &mut Texts) -> Option<&mut Vec<u8>> {
    texts.licenses.first_mut().map(|license| &mut license.text.bytes)
}

proptest! {
    #![proptest_config(cases(40))]

    /// Where a policy's texts have what a plant changes, the change is found.
    #[test]
    fn plants_are_found_wherever_they_can_be_made(text in policy_text(), own in own_robots()) {
        let policy = compile(&text);
        let origin = Origin::new(true, "example.com").unwrap();
        let texts = published(&policy, &origin, own);
        for (kind, signal, place, from, to) in SWAPS {
            let mut changed = texts.clone();
            let Some(bytes) = place(&mut changed) else { continue };
            let before = String::from_utf8(bytes.clone()).unwrap();
            if !before.contains(from) || signal == Signal::Robots && own.contains(from) {
                continue;
            }
            *bytes = before.replace(from, to).into_bytes();
            let report = lint(&policy, &origin, &changed);
            prop_assert!(
                report.contradictions().any(|finding| finding.kind == kind && finding.signal == signal),
                "{from} becomes {to}:\n{text}\n{}\n{}", show(&report), show_texts(&changed)
            );
        }
    }
}

#[test]
fn nothing_is_published_unless_the_policy_asks_for_it() {
    let switches = |text: &str, host: &str| {
        let policy = compile(&format!("version = 1\n{text}"));
        let said = policy.published(host);
        assert_eq!(policy.publishes(), !text.is_empty());
        (said.robots, said.tdmrep, said.rsl, said.headers)
    };
    assert_eq!(switches("", "example.com"), (false, false, false, false));
    assert_eq!(switches("[publish]\nrobots = true\n", "example.com"), (true, false, false, false));
    let sites = "[publish]\nrobots = true\n[[site]]\nhost = \"example.com\"\npublish = { robots = false, headers = true }\n";
    assert_eq!(switches(sites, "example.com"), (false, false, false, true));
    assert_eq!(switches(sites, "other.example"), (true, false, false, false));
    let source = Source { name: "p".to_owned(), text: "version = 1\n[publish]\nrobot = true\n".to_owned() };
    let errors = PolicySnapshot::compile(source, None, &mut |_, _| Err(String::new())).unwrap_err();
    assert!(policy::render(&errors).contains("did you mean `robots`"), "{}", policy::render(&errors));
}

/// Licences on offer are part of the document, with the server that gives tokens for them, and contradict nothing.
#[test]
fn licences_on_offer_are_published() {
    let text = "version = 1\nmode = \"enforce\"\n[[licence_offer]]\nid = \"all\"\npath = \"/articles/**\"\nusage = \"ai-train\"\n\
                payment = \"attribution\"\n[[rule]]\nname = \"licensed\"\npath = \"/articles/**\"\nassurance = \"licensed\"\n\
                allow = true\n[[rule]]\nname = \"others\"\npath = \"/articles/**\"\npurpose = \"train\"\ndeny = true\n";
    let policy = compile(text);
    let origin = Origin::new(true, "example.com").unwrap();
    assert!(policy.published(origin.host()).rsl);
    let texts = published(&policy, &origin, "");
    let license = String::from_utf8_lossy(&texts.licenses[0].text.bytes).into_owned();
    assert!(license.contains("server=\"https://example.com") && license.contains("attribution"), "{license}");
    nothing_contradicts(&policy, text, "example.com", "");
}
