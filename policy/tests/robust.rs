//! Texts and requests from anywhere: never a panic, never a policy out of a broken text.

use policy::{Offer, PolicySnapshot, Source};

const SAMPLES: [&str; 6] = [
    include_str!("../testdata/policy/good/sample.toml"),
    include_str!("../testdata/policy/good/everything.toml"),
    include_str!("../testdata/policy/bad/rules.toml"),
    include_str!("../testdata/policy/bad/crawlers.toml"),
    include_str!("../testdata/policy/bad/money.toml"),
    include_str!("../presets/news.toml"),
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn compile(text: String) -> bool {
    let source = Source { name: "x".to_owned(), text };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok(_) => true,
        Err(errors) => {
            assert!(!errors.is_empty(), "a refused policy says why");
            let shown = policy::render(&errors);
            assert!(shown.contains("error: "), "{shown}");
            false
        }
    }
}

#[test]
fn a_mutilated_policy_is_a_policy_or_an_error() {
    let mut random = Random(7);
    let scraps = [
        "\"",
        "[",
        "]",
        "[[rule]]\n",
        "{",
        "}",
        "=",
        "\n",
        "ü",
        "\u{0}",
        "'''",
        "#",
        "x",
        "-1",
        "1e9",
        "**",
        "true",
    ];
    for _ in 0..600 {
        let mut text = SAMPLES[random.below(SAMPLES.len())].to_owned();
        for _ in 0..=random.below(6) {
            let mut at = random.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(3) {
                0 => text.insert_str(at, scraps[random.below(scraps.len())]),
                1 => text.truncate(at),
                _ => {
                    let mut end = (at + random.below(30)).min(text.len());
                    while !text.is_char_boundary(end) {
                        end -= 1;
                    }
                    text.replace_range(at..end.max(at), "");
                }
            }
        }
        compile(text);
    }
}

#[test]
fn deep_and_wide_texts_are_refused_in_good_time() {
    assert!(!compile(format!("version = 1\nx = {}{}", "[".repeat(100_000), "]".repeat(100_000))));
    assert!(!compile(format!("version = 1\n{}", "a.".repeat(100_000))));
    assert!(!compile("[[rule]]\n".repeat(20_000)));
    assert!(!compile(format!("version = 1 #{}", "x".repeat(2_000_000))), "texts have a longest length");
    let paths: Vec<String> = (0..64).map(|index| format!("\"/{index}/**\"")).collect();
    let hosts: Vec<String> = (0..64).map(|index| format!("\"h{index}.example\"")).collect();
    let rule = |name: usize| {
        format!(
            "[[rule]]\nname = \"r{name}\"\nhost = [{}]\npath = [{}]\nallow = true\n",
            hosts.join(","),
            paths.join(",")
        )
    };
    let rules: String = (0..6).map(rule).collect();
    assert!(!compile(format!("version = 1\n{rules}")), "so do the combinations of a policy's rules");
}

#[test]
fn any_request_has_a_work_or_an_error() {
    let (policy, _) = PolicySnapshot::compile(
        Source { name: "x".to_owned(), text: "version = 1\n[[site]]\nquery = [\"p\"]\n".to_owned() },
        None,
        &mut |_, _| Err("none".to_owned()),
    )
    .expect("a policy");
    let mut random = Random(11);
    let pieces = [
        "/", "..", ".", "%2e", "%", "%C3%A9", "%c0%af", "?", "p=", "&", ";", "a", "\\", "é", "\u{0}", "*",
        "#", "//", ":", "@",
    ];
    let mut works = 0;
    for _ in 0..20_000 {
        let mut random_text = |most: usize| -> String {
            (0..random.below(most)).map(|_| pieces[random.below(pieces.len())]).collect()
        };
        let (host, target) = (random_text(4), random_text(9));
        let host = if host.len() % 2 == 0 { "Example.com".to_owned() } else { host };
        if let Ok(work) = policy.work("https", &host, &target) {
            works += 1;
            // The canonical URL is its own canonical URL, and stands for the same work.
            let rest = work.url.strip_prefix("https://").expect("the scheme it was asked with");
            let slash = rest.find(['/', '*']).expect("a path");
            let again =
                policy.work("https", &rest[..slash], &rest[slash..]).expect("what is canonical is plain");
            assert_eq!(again, work, "{target}");
        }
        let _ = Offer::parse([&target], [&host]);
    }
    assert!(works > 1_000, "{works}");
}
