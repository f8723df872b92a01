use super::*;

fn allowed(text: &str, token: &str, path: &str) -> bool {
    RobotsTxt::parse(text.as_bytes()).agent(token).decide(&Target::new(path)).is_allowed
}

/// `key=value` of the lines that a crawler is told besides rules.
fn told(text: &str, token: &str) -> Vec<String> {
    let rules = RobotsTxt::parse(text.as_bytes()).agent(token);
    rules.all_extensions().map(|line| format!("{}={}", line.key, line.text())).collect()
}

#[test]
fn groups_of_a_name_are_one_and_replace_those_of_everybody() {
    let text = "User-agent: *\nDisallow: /a\n\nUser-agent: One\nUser-agent: two\nDisallow: /b\n\n\
                User-agent: ONE\nDisallow: /c\n\nUser-agent: *\nDisallow: /d\n";
    for (token, expect) in [
        ("one", [true, false, false, true]),
        ("Two", [true, false, true, true]),
        ("three", [false, true, true, false]),
        ("*", [false, true, true, false]),
        ("", [false, true, true, false]),
    ] {
        assert_eq!(["/a", "/b", "/c", "/d"].map(|path| allowed(text, token, path)), expect, "{token}");
    }
    let robots = RobotsTxt::parse(text.as_bytes());
    assert_eq!(robots.agents(), ["*", "One", "two"]);
    assert!(robots.names("oNE") && !robots.names("three") && !robots.names("*"));
    assert!(robots.agent("one").is_named() && !robots.agent("three").is_named());
}

#[test]
fn a_name_is_compared_whole_but_for_its_version() {
    for (line, token, same) in [
        ("FooBot", "foobot", true),
        ("FooBot/1.2", "FooBot", true),
        ("FooBot /1.2", "FooBot", true),
        ("iaskspider/2.0", "iaskspider/2.0", true),
        ("Brightbot 1.0", "Brightbot 1.0", true),
        ("Foo Bot", "Foo", false),
        ("Ai2Bot-Dolma", "Ai2Bot-Dolma", true),
        ("Ai2Bot-Dolma", "Ai2Bot", false),
        ("Googlebot", "Googlebot-Image", false),
        ("Foo*", "Foobar", false),
        ("Foo*", "Foo", false),
        ("", "", false),
        ("/1", "/1", false),
    ] {
        let text = format!("User-agent: {line}\nDisallow: /\n");
        assert_eq!(!allowed(&text, token, "/x"), same, "{line} {token}");
    }
}

#[test]
fn other_lines_go_to_the_agents_above_them() {
    let text = "License: all\nUser-agent: A\nContent-Signal: a\nUser-agent: *\nSitemap: s\nDisallow: /x\nCrawl-delay: 5\n\
                User-agent: A\nAllow: /\nLicense: second\n";
    assert_eq!(told(text, "a"), ["content-signal=a", "sitemap=s", "crawl-delay=5", "license=second"]);
    assert_eq!(told(text, "b"), ["sitemap=s", "crawl-delay=5"]);
    assert!(!allowed(text, "b", "/x") && !allowed(text, "a", "/x/"), "one group to RFC 9309");
    let robots = RobotsTxt::parse(text.as_bytes());
    let lines: Vec<(u32, Scope)> = robots.all("LICENSE").map(|line| (line.number, line.scope)).collect();
    assert_eq!(lines, [(1, Scope::Global), (10, Scope::Group(1))]);
    assert_eq!(robots.global("license").map(|line| line.text().into_owned()).collect::<Vec<_>>(), ["all"]);
}

#[test]
fn lines_end_in_three_ways_and_keep_their_numbers() {
    let text = b"\xef\xbb\xbfUser-agent: a\r\rDisallow:\t/1 # why\r\n\n  Disallow : /2\t\nDisallow: /\xff\n# x\nodd\n: y\nx:";
    let robots = RobotsTxt::parse(text);
    let lines: Vec<(u32, Kind, String)> =
        robots.lines().map(|line| (line.number, line.kind, line.text().into_owned())).collect();
    let expect = [
        (1, Kind::UserAgent, "a"),
        (3, Kind::Disallow, "/1"),
        (5, Kind::Disallow, "/2"),
        (6, Kind::Disallow, "/\u{fffd}"),
        (8, Kind::Malformed, "odd"),
        (9, Kind::Malformed, ": y"),
        (10, Kind::Other, ""),
    ];
    assert_eq!(lines, expect.map(|(number, kind, value)| (number, kind, value.to_owned())));
    let rules = robots.agent("a");
    let decision = rules.decide(&Target::new("/%ff"));
    assert_eq!((decision.is_allowed, decision.rule.map(|rule| rule.line)), (false, Some(6)));
}

#[test]
fn a_linter_is_told_where_to_look() {
    let text = "Disallow: /a\nUser-agent:\nUser-agent: Bot2\nAllow: a\nAllow: *a\nAllow:\nno colon\n:x\n\
                User-agent: *\nUser-agent: Good-Bot_x\nSitemap: x\n";
    let remarks: Vec<(u32, RemarkKind)> =
        RobotsTxt::parse(text.as_bytes()).remarks().map(|remark| (remark.line, remark.kind)).collect();
    assert_eq!(
        remarks,
        [
            (1, RemarkKind::OutsideGroup),
            (2, RemarkKind::NoAgent),
            (3, RemarkKind::OddAgent),
            (4, RemarkKind::NeverMatches),
            (7, RemarkKind::NoColon),
            (8, RemarkKind::NoKey),
        ]
    );
}

#[test]
fn what_is_beyond_500_kib_is_not_read() {
    let rule = "User-agent: *\nDisallow: /a\n";
    let fill = |bytes: usize, end: &str| {
        let mut text = rule.to_owned();
        text.push_str(&"#".repeat(bytes - text.len() - end.len()));
        text.push_str(end);
        assert_eq!(text.len(), bytes);
        text
    };
    // All of the last line is within: it ends at the limit, or its end is what comes next.
    for (head, tail) in [
        (fill(BYTES_MAX, "\nDisallow: /b\n"), ""),
        (fill(BYTES_MAX, "\nDisallow: /b\n"), "Disallow: /c"),
        (fill(BYTES_MAX, "\nDisallow: /b\r"), "Disallow: /c"),
        (fill(BYTES_MAX, "\nDisallow: /b"), "\nDisallow: /c"),
        (fill(BYTES_MAX, "\nDisallow: /b"), ""),
    ] {
        let text = head + tail;
        assert_eq!(
            ["/a", "/b", "/c"].map(|path| allowed(&text, "x", path)),
            [false, false, true],
            "{tail:?}"
        );
        let robots = RobotsTxt::parse(text.as_bytes());
        assert_eq!(robots.is_cut(), !tail.is_empty());
        assert_eq!(robots.remarks().any(|remark| remark.kind == RemarkKind::Cut), !tail.is_empty());
    }
    // Half a line would forbid more than the site does.
    let text = fill(BYTES_MAX, "\nDisallow: /b") + "/c\n";
    assert!(allowed(&text, "x", "/b") && !allowed(&text, "x", "/a"));
    let text = fill(BYTES_MAX, "\nDisallow: /") + "b\n";
    assert!(allowed(&text, "x", "/c") && !allowed(&text, "x", "/a"));
    assert!(allowed(&"x".repeat(BYTES_MAX + 1), "x", "/"));
}

fn directives(lines: &[(&str, &str)]) -> Vec<Directive> {
    let make = |(key, value): &(&str, &str)| match *key {
        "Allow" => Directive::allow(value),
        "Disallow" => Directive::disallow(value),
        key => Directive::other(key, value),
    };
    lines.iter().map(|line| make(line).unwrap()).collect()
}

fn addition(agents: &[&str], lines: &[(&str, &str)]) -> Addition {
    let audience = match agents {
        [] => Audience::Everyone,
        agents => Audience::Agents(agents.iter().map(|agent| (*agent).to_owned()).collect()),
    };
    Addition { audience, directives: directives(lines) }
}

#[test]
fn additions_stand_between_markers() {
    let own = "# ours\nUser-agent: *\nDisallow: /admin\nCrawl-delay: 3";
    let globals = directives(&[("License", "https://example.com/rsl.xml")]);
    let additions = [addition(&["GPTBot", "CCBot"], &[("Disallow", "/paid/")])];
    let text = augment(own.as_bytes(), &globals, &additions).unwrap();
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        "# BEGIN byline\nLicense: https://example.com/rsl.xml\n# END byline\n\
         # ours\nUser-agent: *\nDisallow: /admin\nCrawl-delay: 3\n\
         # BEGIN byline (with the line break before)\n\
         User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /admin\ncrawl-delay: 3\nDisallow: /paid/\n\
         # END byline\n"
    );
    assert_eq!(without_additions(&text), own.as_bytes());
    assert_eq!(augment(&text, &globals, &additions).unwrap(), text, "again");
    assert_eq!(augment(&text, &[], &[]).unwrap(), own.as_bytes(), "and out again");
    let other = augment(&text, &[], &[addition(&[], &[("Content-Signal", "ai-train=no")])]).unwrap();
    assert_eq!(
        other,
        augment(own.as_bytes(), &[], &[addition(&[], &[("Content-Signal", "ai-train=no")])]).unwrap()
    );
}

#[test]
fn additions_leave_what_the_site_says_to_each() {
    // GPTBot is named by us alone: it must not lose `*`. NewBot at the end has no rule: it must not get ours.
    let own = "User-agent: *\nDisallow: /admin\n\nUser-agent: Friend\nDisallow:\n\nUser-agent: NewBot\n";
    let additions = [
        addition(&["gptbot", "Friend"], &[("Disallow", "/paid/")]),
        addition(&[], &[("Content-Usage", "train-ai=n")]),
        addition(&["*"], &[("Disallow", "/strangers/")]),
    ];
    let text = String::from_utf8(augment(own.as_bytes(), &[], &additions).unwrap()).unwrap();
    for (token, expect) in [
        ("GPTBot", [false, false, false]),
        ("friend", [true, false, true]),
        ("newbot", [true, true, true]),
        ("stranger", [false, true, false]),
    ] {
        let got = ["/admin", "/paid/x", "/strangers/x"].map(|path| allowed(&text, token, path));
        assert_eq!(got, expect, "{token} in\n{text}");
        assert_eq!(told(&text, token), ["content-usage=train-ai=n"], "{token} in\n{text}");
    }
    assert_eq!(without_additions(text.as_bytes()), own.as_bytes());
}

#[test]
fn odd_texts_of_a_site_come_out_as_they_went_in() {
    let globals = directives(&[("License", "x")]);
    let additions = [addition(&["A"], &[("Disallow", "/")]), addition(&[], &[("Content-Usage", "search=y")])];
    for own in [
        "",
        "\n",
        "x",
        "x\r",
        "x\r\n",
        "\u{feff}",
        "\u{feff}Disallow: /",
        "# BEGIN byline\nDisallow: /\n",
        "Disallow: /\n# END byline\n",
        "# END byline\n# BEGIN byline",
        "# BEGIN byline (with the line break before)\nx",
        "x\r# BEGIN byline\ry",
        "User-agent: A",
        "User-agent: A\r\nCrawl-delay: 1",
    ] {
        for globals in [&globals[..], &[]] {
            let text = augment(own.as_bytes(), globals, &additions).unwrap();
            assert_eq!(without_additions(&text), own.as_bytes(), "{own:?} in {text:?}");
            assert_eq!(augment(&text, globals, &additions).unwrap(), text, "{own:?}");
            assert!(!allowed(std::str::from_utf8(&text).unwrap(), "a", "/"), "{own:?}");
        }
    }
}

#[test]
fn what_is_written_below_our_lines_is_kept_apart() {
    let additions = [addition(&["A"], &[("Disallow", "/")])];
    let mut text = augment(b"User-agent: *\nDisallow: /x", &[], &additions).unwrap();
    text.extend_from_slice(b"Sitemap: s\n");
    assert_eq!(without_additions(&text), b"User-agent: *\nDisallow: /x\nSitemap: s\n");
}

#[test]
fn markers_within_markers_are_taken_out_at_once() {
    let text = b"a\n# BEGIN byline\nb\n# BEGIN byline\nc\n# END byline\n# END byline\nd\n";
    assert_eq!(without_additions(text), b"a\nd\n");
}

#[test]
fn a_file_that_would_be_cut_is_not_made() {
    let own = format!("#{}\n", "x".repeat(BYTES_MAX - 20));
    let additions = [addition(&["A"], &[("Disallow", "/")])];
    assert!(matches!(augment(own.as_bytes(), &[], &additions), Err(PublishError::TooLong { .. })));
    let longer = own.repeat(2);
    assert_eq!(augment(longer.as_bytes(), &[], &[]).unwrap(), longer.as_bytes());
    let odd = [addition(&["A\nDisallow: /"], &[("Allow", "/")])];
    assert!(matches!(augment(b"", &[], &odd), Err(PublishError::Agent(_))));
}
