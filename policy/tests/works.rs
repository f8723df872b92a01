//! What a URL names under a policy: site, work, holder, licence, query; and what a policy's name depends on.

use policy::{Mode, PolicySnapshot, Source};

const TEXT: &str = r#"
version = 1
licence = "https://example.com/licence.xml"
contact = "all@example.com"

[[holder]]
id = "house"
[[holder]]
id = "author"

[[site]]
holder = "house"

[[site]]
host = "blog.example.com"
query = ["p", "page"]
contact = "blog@example.com"
licence = "https://blog.example.com/terms"

[[work]]
path = "/books/**"
holder = "author"

[[work]]
path = "/books/one/**"
id = "urn:isbn:1"
licence = "https://example.com/one"

[[work]]
host = "*.example.com"
path = "/**"
holder = "house"
"#;

fn policy(text: &str) -> PolicySnapshot {
    let source = Source { name: "test".to_owned(), text: text.to_owned() };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

#[test]
fn the_narrowest_entry_names_the_work() {
    let policy = policy(TEXT);
    for (host, target, id, holder, licence) in [
        ("example.com", "/", "example.com/", Some("house"), "https://example.com/licence.xml"),
        (
            "Example.com:443",
            "/books/two/1?x=1",
            "example.com/books/two/1",
            Some("author"),
            "https://example.com/licence.xml",
        ),
        // The entry with the id names no holder, so the site's speaks.
        ("example.com", "/books/one/2", "urn:isbn:1", Some("house"), "https://example.com/one"),
        // A host is narrower than any path.
        (
            "blog.example.com",
            "/books/one/2?p=7&utm=x",
            "blog.example.com/books/one/2?p=7",
            Some("house"),
            "https://blog.example.com/terms",
        ),
        (
            "blog.example.com",
            "/?page=2&p=1",
            "blog.example.com/?p=1&page=2",
            Some("house"),
            "https://blog.example.com/terms",
        ),
    ] {
        let work = policy.work("https", host, target).expect("a plain path");
        let is = (&*work.id, work.holder.as_deref(), work.licence.as_deref());
        assert_eq!(is, (id, holder, Some(licence)), "{host}{target}");
    }
    assert_eq!(policy.contact("example.com").map(|contact| &**contact), Some("all@example.com"));
    assert_eq!(policy.contact("blog.example.com").map(|contact| &**contact), Some("blog@example.com"));
}

#[test]
fn licences_that_the_policy_points_to_are_free_to_read() {
    let policy = policy(TEXT);
    for (host, path, free) in [
        ("example.com", "/licence.xml", true),
        ("example.com", "/one", true),
        ("blog.example.com", "/terms", true),
        ("other.example", "/licence.xml", false),
        ("example.com", "/terms", false),
    ] {
        assert_eq!(policy.work("https", host, path).expect("a plain path").always_free, free, "{host}{path}");
    }
}

#[test]
fn ambiguous_requests_are_told_apart_from_works() {
    let policy = policy(TEXT);
    for (host, target) in
        [("example.com", "/a%2Fb"), ("example.com", "/../x"), ("exa mple.com", "/"), ("", "/")]
    {
        let error = policy.work("https", host, target).expect_err("two readings");
        assert!(error.to_string().contains("ambiguous"), "{error}");
    }
    let long = policy
        .work("https", "example.com", &format!("/%2F{}", "a".repeat(60_000)))
        .expect_err("two readings");
    assert!(long.path.len() <= 256, "a log line stays short");
}

#[test]
fn a_policys_name_is_its_texts_and_mode() {
    let one = policy(TEXT);
    assert_eq!(one.digest(), policy(TEXT).digest());
    assert_ne!(one.digest(), policy(&format!("{TEXT} ")).digest());
    assert_eq!(**one.digest(), PolicySnapshot::digest_of(one.mode(), one.sources()));
    let compile = |mode, name: &str| {
        let source = Source { name: name.to_owned(), text: TEXT.to_owned() };
        PolicySnapshot::compile(source, mode, &mut |_, _| Err("none".to_owned())).expect("a policy").0
    };
    assert_ne!(one.digest(), compile(Some(Mode::Enforce), "test").digest(), "the mode is part of it");
    assert_eq!(one.digest(), compile(None, "/elsewhere/policy.toml").digest(), "the place is not");
    // Two texts are not one text that reads the same.
    let source = |text: &str| Source { name: "x".to_owned(), text: text.to_owned() };
    assert_ne!(
        PolicySnapshot::digest_of(Mode::Observe, &[source("a"), source("b")]),
        PolicySnapshot::digest_of(Mode::Observe, &[source("ab")])
    );
}

#[test]
fn settings_are_as_written() {
    let plain = policy("version = 1\n");
    assert_eq!((plain.mode(), plain.currency().as_str(), plain.count_words()), (Mode::Observe, "USD", false));
    let set = policy("version = 1\nmode = \"enforce\"\ncurrency = \"JPY\"\ncount_words = true\n");
    assert_eq!((set.mode(), set.currency().as_str(), set.count_words()), (Mode::Enforce, "JPY", true));
    let names: Vec<String> = plain.rule_names().map(ToString::to_string).collect();
    assert_eq!(names, ["default", "always-free"]);
}

#[test]
fn a_policy_adds_crawlers_and_changes_known_ones() {
    let policy = policy(
        "version = 1\n[[crawler]]\ntoken = \"gptbot\"\nranges = [\"127.0.0.2\"]\nlists = []\n\
         [[crawler]]\ntoken = \"NewBot\"\noperator = \"openai\"\n",
    );
    let known =
        policy.directory().recognise("Mozilla/5.0 (compatible; GPTBot/1.1)").expect("GPTBot is known");
    assert_eq!((&*known.token, &*known.operator), ("GPTBot", "openai"));
    assert_eq!(known.verification.ranges, ["127.0.0.2/32".parse().expect("a range")]);
    assert!(known.verification.lists.is_empty());
    let new = policy.directory().recognise("NewBot/1").expect("NewBot was added");
    assert_eq!((&*new.operator, new.operator_name.as_ref()), ("openai", "OpenAI"));
}
