//! RSL documents: what is refused and how that reads, how rules of evaluation meet, and that publishing loses nothing.

use policy::protocol::rsl::{
    Accepts, Alternate, Amount, Asset, CONTENTS_MAX, Content, Copyright, DIAGNOSTICS_MAX, DOCUMENT_BYTES_MAX,
    Decision, Denial, Disclaimer, Document, DocumentError, Extension, Geo, HolderType, Legal, License,
    NAMESPACE, NODES_MAX, Payment, PaymentType, PublishError, Reporting, ReportingType, Schema, Statements,
    Token, UsageClass, Use, UserClass, Warranty,
};
use policy::{Currency, Diagnostic, Severity, Source};

fn rsl(contents: &str) -> String {
    format!("<rsl xmlns=\"{NAMESPACE}\">{contents}</rsl>")
}

/// A document about everything, with these licences.
fn licensed(licenses: &str) -> Document {
    Document::parse(rsl(&format!("<content url=\"/\">{licenses}</content>"))).expect("a document")
}

fn wanted(usage: &str, user: &str, geo: &str) -> Use<'static> {
    let usage = UsageClass::parse(usage).expect("a usage");
    Use { usage, user: UserClass::parse(user), geo: Geo::parse(geo), reporting_profiles: &[] }
}

const SITE: Asset<'static> = Asset { origin: Some("https://example.com"), path: "/articles/one?p=2" };

#[track_caller]
fn check(document: &Document, usage: &str, expect: &str) {
    let decision = document.evaluate(&SITE, &wanted(usage, "commercial", "DE"));
    assert_eq!(decision.as_str(), expect, "{usage}: {decision:?}");
}

// What is refused.

#[test]
fn attacks_are_refused_before_they_are_read() {
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let good = "<content url=\"/\"><license/></content>";
    let deep =
        "<z:a xmlns:z=\"urn:z\">".to_owned() + &"<z:a>".repeat(50_000) + &"</z:a>".repeat(50_000) + "</z:a>";
    let attributes: String = (0..20_000).map(|n| format!(" a{n}=\"\"")).collect();
    let namespaces: String = (0..2_000).map(|n| format!(" xmlns:a{n}=\"urn:{n}\"")).collect();
    for (what, text, kind) in [
        ("laughs", format!("<!DOCTYPE rsl [<!ENTITY l0 \"l\">{laughs}]>{}", rsl("&l9;")), "type"),
        (
            "a file",
            format!("<!DOCTYPE rsl [<!ENTITY f SYSTEM \"file:///etc/passwd\">]>{}", rsl("&f;")),
            "type",
        ),
        ("a type after the root", rsl(good) + "<!DOCTYPE rsl>", "type"),
        ("a type in lower case", "<!doctype rsl>".to_owned() + &rsl(good), "type"),
        ("an entity of its own", rsl("<content url=\"&a;\"><license/></content>"), "xml"),
        ("depth", rsl(&format!("{good}{deep}")), "limit"),
        ("depth without an end", rsl(&"<content>".repeat(100_000)), "limit"),
        ("attributes", rsl(&format!("<content{attributes} url=\"/\"><license/></content>")), "limit"),
        ("namespaces", rsl(&format!("<content{namespaces} url=\"/\"><license/></content>")), "limit"),
        (
            "an attribute",
            rsl(&format!("<content url=\"/{}\"><license/></content>", "a".repeat(100_000))),
            "limit",
        ),
        ("tags", rsl(&"<z/>".repeat(NODES_MAX)), "limit"),
        ("equals signs", rsl(&"=".repeat(100_000)), "limit"),
        ("size", rsl(good) + &" ".repeat(DOCUMENT_BYTES_MAX), "large"),
        ("two roots", rsl(good) + &rsl(good), "xml"),
        ("an open root", format!("<rsl xmlns=\"{NAMESPACE}\">{good}"), "xml"),
        ("nothing", String::new(), "xml"),
        ("no end of a comment", rsl(good) + "<!--", "xml"),
        ("an attribute twice", rsl("<content url=\"/\" url=\"/\"><license/></content>"), "xml"),
        ("a prefix of nobody", rsl("<z:content url=\"/\"/>"), "xml"),
        ("contents", rsl(&good.repeat(CONTENTS_MAX + 1)), "rsl"),
        ("another namespace", rsl(good).replace("org/rsl", "org/RSL"), "rsl"),
        ("no namespace", "<rsl><content url=\"/\"><license/></content></rsl>".to_owned(), "rsl"),
        (
            "a root with a prefix",
            format!("<r:rsl xmlns:r=\"{NAMESPACE}\"><r:content url=\"/\"><r:license/></r:content></r:rsl>"),
            "rsl",
        ),
    ] {
        let error = Document::parse(&text).expect_err(what);
        let found = match error {
            DocumentError::TooLarge { .. } => "large",
            DocumentError::NotUtf8 { .. } => "utf8",
            DocumentError::Limit { .. } => "limit",
            DocumentError::DocumentType { .. } => "type",
            DocumentError::Malformed { .. } => "xml",
            DocumentError::NotOneLicense => "one",
            DocumentError::NotConformant { .. } => "rsl",
        };
        assert_eq!(found, kind, "{what}: {error}");
    }
    let utf16: Vec<u8> = rsl(good).encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(
        matches!(Document::parse(&utf16), Err(DocumentError::Malformed { .. })),
        "NUL is no character of XML"
    );
    assert_eq!(Document::parse(b"<rsl>\xff"), Err(DocumentError::NotUtf8 { offset: 5 }));
    assert!(Document::parse("\u{feff}".to_owned() + &rsl(good)).is_ok(), "a byte order mark is fine");
}

#[test]
fn a_document_full_of_faults_tells_the_first_ones() {
    let text = rsl(&"<licence kind=\"x\">search,ai-train</licence>".repeat(20_000));
    let Err(DocumentError::NotConformant { diagnostics }) = Document::parse(&text) else { panic!("refused") };
    assert_eq!(diagnostics.len(), DIAGNOSTICS_MAX);
    // Warnings do not crowd out the one error.
    let many = "<z q=\"\"/>".replace('z', "license").repeat(DIAGNOSTICS_MAX * 2);
    let text = rsl(&format!("<content url=\"/\">{many}</content><oops/>"));
    let Err(DocumentError::NotConformant { diagnostics }) = Document::parse(&text) else { panic!("refused") };
    assert_eq!(diagnostics.len(), DIAGNOSTICS_MAX);
    assert_eq!(diagnostics.iter().filter(|one| one.severity == Severity::Error).count(), 1);
    // A line of a megabyte is not shown again and again.
    assert!(diagnostics.iter().all(|one| one.excerpt.len() < 1_000));
}

/// `line:column message | help` of the first error.
fn first_error(text: &str) -> String {
    let source = Source { name: "license.xml".to_owned(), text: text.to_owned() };
    let Err(DocumentError::NotConformant { diagnostics }) = Document::read(&source) else {
        panic!("{text} is conformant, or no XML")
    };
    let first = diagnostics.iter().find(|one| one.severity == Severity::Error).expect("an error");
    format!("{}:{} {} | {}", first.line, first.column, first.message, first.help.as_deref().unwrap_or(""))
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
    let in_license = |text: &str| rsl(&format!("\n<content url=\"/\">\n<license>{text}</license></content>"));
    let in_content = |text: &str| rsl(&format!("\n<content url=\"/\">\n<license/>{text}</content>"));
    let on_content = |attributes: &str| rsl(&format!("\n<content {attributes}><license/></content>"));
    let mut differ = Vec::new();
    for (text, expect) in [
        (
            in_license("<permit type=\"usage\">all</permit>"),
            "3:11 RSL 1.0 has no `permit` within `license` | did you mean `permits`?",
        ),
        (
            in_license("<permits>all</permits>"),
            "3:11 `permits` has no `type` | it is one of usage, user, geo",
        ),
        (
            in_license("<permits type=\"uses\">all</permits>"),
            "3:25 `uses` is no type here | did you mean `user`?",
        ),
        (
            in_license("<permits type=\"usage\">all, search</permits>"),
            "3:32 `all,` is not a word of RSL 1.0 | words are separated by spaces; commas were RSL 0.9",
        ),
        (
            in_license("<permits type=\"usage\">search ai-trian</permits>"),
            "3:39 `ai-trian` is not a word of RSL 1.0 | did you mean `ai-train`?",
        ),
        (
            in_license("<permits type=\"usage\">Search</permits>"),
            "3:32 `Search` is not a word of RSL 1.0 | did you mean `search`?",
        ),
        (
            in_license("<permits type=\"geo\">UK</permits>"),
            "3:30 `UK` is not a word of RSL 1.0 | the code of the United Kingdom is `GB`",
        ),
        (
            in_license("<permits type=\"geo\">us</permits>"),
            "3:30 `us` is not a word of RSL 1.0 | two upper-case letters of ISO 3166-1, or `EU`",
        ),
        (in_license("<permits type=\"usage\"> </permits>"), "3:11 `permits` lists nothing | leave it out"),
        (
            in_license("<permits type=\"usage\">z:all</permits>"),
            "3:32 the prefix of `z:all` is not declared | declare it with xmlns:prefix=\"…\"",
        ),
        (
            in_license("<permits type=\"usage\">all</permits><permits type=\"usage\">search</permits>"),
            "3:46 a second `permits` | one is the most",
        ),
        (
            in_license("<payment type=\"inference\"/>"),
            "3:25 `inference` is not a word of RSL 1.0 | it is called `use` since RSL 1.0",
        ),
        (
            in_license("<payment type=\"crawl\"><amount>1</amount></payment>"),
            "3:33 `amount` has no `currency` | a code of ISO 4217 in upper case, such as currency=\"USD\"",
        ),
        (
            in_license("<payment><amount currency=\"usd\">1</amount></payment>"),
            "3:37 `usd` is not a currency | a code of ISO 4217 in upper case, such as currency=\"USD\"",
        ),
        (
            in_license("<payment><amount currency=\"XBT\">1</amount></payment>"),
            "3:37 `XBT` is not a currency | `XBT` left RSL with the erratum of 2026-05-13; name a currency of ISO 4217",
        ),
        (
            in_license("<payment><amount currency=\"USD\">1,50</amount></payment>"),
            "3:42 `1,50` is not a price | digits with a point, such as 0.015",
        ),
        (
            in_license("<payment><standard>/x</standard></payment>"),
            "3:29 `/x` is not an absolute URI | the absolute URI of a framework",
        ),
        (
            in_license("<payment><accepts>x</accepts></payment>"),
            "3:20 `accepts` has no `type` | the media type of a payment protocol, such as application/x402+json",
        ),
        (in_license("<payment/><payment/>"), "3:21 a second `payment` | one is the most"),
        (
            in_license("<reporting type=\"telemetry\"/>"),
            "3:11 `reporting` has no `profile` | the absolute URI of the profile",
        ),
        (
            in_license("<reporting type=\"audit\" profile=\"urn:a\" endpoint=\"http://a.example\"/>"),
            "3:60 `http://a.example` is not a URL of HTTPS | https://…",
        ),
        (
            in_license("<legal type=\"attestation\">True</legal>"),
            "3:36 `True` is neither true nor false | `true` or `false`, in lower case",
        ),
        (
            in_license("<legal type=\"proof\">a</legal>"),
            "3:30 a proof is a list of absolute URIs | absolute URIs, separated by spaces",
        ),
        (
            in_license("<legal type=\"contact\">/</legal><legal type=\"contact\">a@b</legal>"),
            "3:42 a second `legal` of type contact | one of each type is the most",
        ),
        (
            in_license("<legal type=\"contact\">nobody</legal>"),
            "3:32 `nobody` is not a contact | one URL or mail address",
        ),
        (in_license("free"), "3:10 text within `license` | only elements may stand here"),
        (in_content("<terms>a b</terms>"), "3:18 `a b` is not a URL | the URL of terms for people"),
        (
            in_content("<schema type=\"text/plain\">x</schema>"),
            "3:25 `text/plain` is no type of `schema` | application/ld+json, or no type and a URL",
        ),
        (
            in_content("<copyright type=\"company\">x</copyright>"),
            "3:28 `company` is no type here | it is one of person, organization",
        ),
        (on_content(""), "2:2 `content` has no `url` | a path such as \"/articles/*\", \"/\" for all"),
        (
            on_content("url=\"\""),
            "2:15 `` is not a path pattern or a URL | a path such as \"/articles/*\", \"/\" for all",
        ),
        (
            on_content("url=\"a\""),
            "2:15 `a` is not a path pattern or a URL | a path such as \"/articles/*\", \"/\" for all",
        ),
        (
            on_content("url=\"/\" encrypted=\"true\""),
            "2:18 encrypted, and no server to ask for the key | add server=\"https://…\": keys come from there",
        ),
        (
            on_content("url=\"/\" encrypted=\"TRUE\" server=\"https://l.example\""),
            "2:29 `TRUE` is neither true nor false | `true` or `false`, in lower case",
        ),
        (
            on_content("url=\"/\" server=\"l.example\""),
            "2:26 `l.example` is not a URL | the licence server's base URL, https://…",
        ),
        (
            on_content("url=\"/\" lastmod=\"2026-11-01\""),
            "2:27 `2026-11-01` is not a date-time | a date-time of RFC 3339, such as 2026-11-01T00:00:00Z",
        ),
        (rsl("<content url=\"/\"/>"), "1:43 `content` without a `license` | one or more say what is allowed"),
        (rsl(""), "1:2 there is no `content` | one or more say which assets are licensed"),
        (
            rsl("<content url=\"/\"><license/></content>").replace("<rsl ", "<rsl max-age=\"0\" "),
            "1:15 `0` is not a number of days | a whole number of days above 0, such as 30",
        ),
        (
            rsl("<content url=\"/\"><license/></content>").replace("<rsl ", "<rsl max-age=\"+7\" "),
            "1:15 `+7` is not a number of days | a whole number of days above 0, such as 30",
        ),
    ] {
        let told = first_error(&text);
        if told != expect {
            differ.push(format!("{told}\nnot {expect}\nof {text}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

#[test]
fn warnings_do_not_refuse() {
    let text = rsl(
        "<content url=\"/\" sever=\"https://l.example\" server=\"http://l.example\"><license/></content>",
    );
    let source = Source { name: "license.xml".to_owned(), text };
    let (document, warnings) = Document::read(&source).unwrap();
    assert_eq!(document.contents[0].server.as_deref(), Some("http://l.example"));
    let told: Vec<String> = warnings
        .iter()
        .map(|one: &Diagnostic| format!("{} | {}", one.message, one.help.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            "`content` has no attribute `sever`; it is ignored | did you mean `server`?",
            "a licence server without HTTPS | clients only talk to https://…"
        ]
    );
}

#[test]
fn foreign_elements_and_attributes_say_nothing() {
    let text = rsl(
        "<!-- a --><z:a xmlns:z=\"urn:z\">text</z:a><content url=\"/\" z:url=\"/b\" xmlns:z=\"urn:z\"><license><permits type=\"usage\">sea<!-- -->rch<z:b>all</z:b></permits>\
         <permits xmlns=\"urn:z\">x</permits></license><?a b?></content>",
    );
    let document = Document::parse(text).unwrap();
    assert_eq!(document.contents[0].url, "/");
    assert_eq!(document.contents[0].licenses[0].permits.usage, Some(vec![Token::Known(UsageClass::Search)]));
}

// How rules meet (§2).

#[test]
fn prohibitions_win_within_one_licence_however_broad() {
    let document = licensed(
        "<license><permits type=\"usage\">ai-train ai-input</permits><prohibits type=\"usage\">all</prohibits></license>",
    );
    for usage in UsageClass::ALL {
        check(&document, usage.as_str(), "deny");
    }
}

#[test]
fn silence_permits_unless_a_list_is_closed() {
    let document = licensed("<license><prohibits type=\"usage\">ai-train</prohibits></license>");
    check(&document, "ai-train", "deny");
    check(&document, "ai-input", "permit");
    check(&document, "search", "permit");
    // The class includes what is prohibited.
    check(&document, "ai-all", "deny");
    // Another licence of the same content closes the list.
    let document = licensed(
        "<license><permits type=\"usage\">search</permits></license><license><prohibits type=\"usage\">ai-train</prohibits></license>",
    );
    check(&document, "search", "permit");
    check(&document, "ai-input", "deny");
    // A class is permitted only as a whole.
    let document =
        licensed("<license><permits type=\"usage\">ai-train ai-input ai-index</permits></license>");
    check(&document, "ai-all", "deny");
    check(&document, "ai-index", "permit");
}

#[test]
fn the_longest_pattern_that_matches_is_the_scope() {
    let text = rsl("<content url=\"/articles/one$\"><license/></content>\
         <content url=\"/art*/one\"><license><permits type=\"usage\">search</permits></license></content>\
         <content url=\"/\"><license/></content><content url=\"https://example.org/articles/one\"><license/></content>");
    let document = Document::parse(text).unwrap();
    check(&document, "search", "permit");
    check(&document, "ai-train", "deny");
    let at = |origin, path| {
        document.evaluate(&Asset { origin, path }, &wanted("ai-train", "commercial", "DE")).as_str()
    };
    assert_eq!(at(Some("https://example.com"), "/articles/one"), "permit");
    assert_eq!(at(Some("https://example.org"), "/articles/one?p=2"), "permit");
    assert_eq!(at(None, "/articles/one?p=2"), "deny");
    assert_eq!(at(None, "/"), "permit");
    let document = Document::parse(rsl("<content url=\"/b\"><license/></content>")).unwrap();
    assert_eq!(
        document.evaluate(&SITE, &wanted("search", "personal", "DE")),
        Decision::Deny(Denial::NotCovered)
    );
}

#[test]
fn the_narrower_class_of_user_or_use_decides_between_licences() {
    let document = licensed(
        "<license><permits type=\"usage\">all</permits><prohibits type=\"usage\">ai-train</prohibits></license>\
         <license><permits type=\"usage\">ai-train</permits><permits type=\"user\">education</permits></license>",
    );
    let decide = |user: &str| document.evaluate(&SITE, &wanted("ai-train", user, "DE")).as_str();
    assert_eq!(decide("education"), "permit");
    assert_eq!(decide("commercial"), "deny");
    // The narrower use: a licence for all, and another for training, at a price.
    let document = licensed(
        "<license><permits type=\"usage\">all</permits></license>\
         <license><permits type=\"usage\">ai-train</permits><payment type=\"training\"/></license>",
    );
    check(&document, "ai-train", "charge");
    check(&document, "ai-input", "permit");
    // The same use, permitted and prohibited: prohibited.
    let document = licensed(
        "<license><permits type=\"usage\">ai-train</permits></license><license><prohibits type=\"usage\">ai-train</prohibits></license>",
    );
    check(&document, "ai-train", "deny");
}

#[test]
fn of_alternatives_the_least_demanding_is_named_and_of_conflicts_the_most() {
    let [free, cheap, dear] = [
        "<license><permits type=\"usage\">ai-input</permits><payment type=\"attribution\"/></license>",
        "<license><permits type=\"usage\">ai-input</permits><payment type=\"crawl\"><amount currency=\"USD\">0.01</amount></payment></license>",
        "<license><permits type=\"usage\">ai-input</permits><payment type=\"crawl\"><amount currency=\"USD\">0.1</amount></payment></license>",
    ];
    let price = |document: &Document| {
        let decision = document.evaluate(&SITE, &wanted("ai-input", "commercial", "DE"));
        let payment = decision.licensed().and_then(|licensed| licensed.license.payment.clone());
        payment.and_then(|payment| payment.amount).map(|amount| amount.decimal)
    };
    check(&licensed(&format!("{cheap}{free}")), "ai-input", "permit");
    for licenses in [format!("{cheap}{dear}"), format!("{dear}{cheap}")] {
        assert_eq!(price(&licensed(&licenses)).as_deref(), Some("0.01"));
    }
    let two = |one: &str, other: &str| {
        Document::parse(rsl(&format!(
            "<content url=\"/\">{one}</content><content url=\"/\">{other}</content>"
        )))
        .unwrap()
    };
    for document in [two(cheap, dear), two(dear, cheap)] {
        assert_eq!(price(&document).as_deref(), Some("0.1"));
    }
    check(&two(free, cheap), "ai-input", "charge");
    check(&two(free, "<license><permits type=\"usage\">search</permits></license>"), "ai-input", "deny");
}

#[test]
fn licences_are_for_whom_and_where_they_say() {
    let document = licensed(
        "<license><permits type=\"geo\">EU US</permits><prohibits type=\"geo\">FR</prohibits><prohibits type=\"user\">government</prohibits></license>",
    );
    for (user, geo, expect) in [
        ("commercial", "DE", "permit"),
        ("commercial", "US", "permit"),
        ("commercial", "FR", "deny"),
        ("commercial", "GB", "deny"),
        ("government", "DE", "deny"),
        // Unknown: it might be France, or a government. All of the EU includes France.
        ("commercial", "", "deny"),
        ("", "DE", "deny"),
        ("commercial", "EU", "deny"),
    ] {
        assert_eq!(document.evaluate(&SITE, &wanted("search", user, geo)).as_str(), expect, "{user} {geo}");
    }
}

#[test]
fn reports_have_to_be_possible() {
    let document = licensed(
        "<license><permits type=\"usage\">all</permits><reporting type=\"audit\" profile=\"urn:a\"/></license>",
    );
    let mut with = wanted("search", "commercial", "DE");
    assert_eq!(document.evaluate(&SITE, &with), Decision::Deny(Denial::Reporting { profile: "urn:a" }));
    with.reporting_profiles = &["urn:b", "urn:a"];
    let decision = document.evaluate(&SITE, &with);
    let obligations = decision.licensed().expect("licensed").obligations();
    assert_eq!(obligations.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["report"]);
}

#[test]
fn the_answers_of_several_documents_are_joined() {
    let [permit, deny, silent] = [
        licensed("<license/>"),
        licensed("<license><prohibits type=\"usage\">all</prohibits></license>"),
        Document::parse(rsl("<content url=\"/other\"><license/></content>")).unwrap(),
    ];
    let ask = |document: &'static str| match document {
        "permit" => permit.evaluate(&SITE, &wanted("search", "personal", "DE")),
        "deny" => deny.evaluate(&SITE, &wanted("search", "personal", "DE")),
        _ => silent.evaluate(&SITE, &wanted("search", "personal", "DE")),
    };
    for (page, site, expect) in [
        (&[][..], &["permit"][..], "permit"),
        (&[], &["permit", "deny"], "deny"),
        (&["permit"], &["deny"], "permit"),
        (&["silent"], &["permit", "silent"], "permit"),
        (&["silent"], &[], "deny"),
        (&[], &[], "deny"),
    ] {
        let asked = |names: &[&'static str]| names.iter().map(|name| ask(name)).collect();
        assert_eq!(Decision::combine(asked(page), asked(site)).as_str(), expect, "{page:?} {site:?}");
    }
    assert_eq!(Decision::combine(Vec::new(), Vec::new()), Decision::Deny(Denial::NoDocument));
}

// Publishing.

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn some<T>(&mut self, least: usize, most: usize, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        let inner: String = self
            .some(0, 12, |random| {
                random.one_of(&['a', '<', '>', '&', '"', '\'', ']', ' ', '\n', '\t', '\r', 'ü', '𝄞'])
            })
            .into_iter()
            .collect();
        ["x", &inner, "]]>"].concat()
    }

    fn url(&mut self) -> String {
        let path: String = self
            .some(0, 8, |random| random.one_of(&['a', '/', '&', '=', '?', '\'', '%', 'é']))
            .into_iter()
            .collect();
        self.one_of(&["https://a.example/", "https://b.example:8443/x"]).to_owned() + &path
    }

    fn token<T: Copy>(&mut self, all: &[T]) -> Token<T> {
        match self.below(6) {
            0 => {
                let namespace =
                    self.one_of(&["urn:z", "https://openrsl.org/ns/extensions", "urn:a&b\"<"]).to_owned();
                Token::Extension(Extension {
                    namespace,
                    name: self.one_of(&["pds", "x-1", "all"]).to_owned(),
                })
            }
            _ => Token::Known(self.one_of(all)),
        }
    }

    fn statements(&mut self) -> Statements {
        let places: Vec<Geo> = ["EU", "US", "DE", "GB"].into_iter().filter_map(Geo::parse).collect();
        Statements {
            usage: self.maybe(|random| random.some(1, 3, |random| random.token(UsageClass::ALL))),
            user: self.maybe(|random| random.some(1, 3, |random| random.token(UserClass::ALL))),
            geo: self.maybe(|random| random.some(1, 3, |random| random.token(&places))),
        }
    }

    fn license(&mut self) -> License {
        let legal = [
            Legal::Warranty(self.some(1, 3, |random| random.token(Warranty::ALL))),
            Legal::Disclaimer(self.some(1, 3, |random| random.token(Disclaimer::ALL))),
            Legal::Attestation(self.below(2) == 0),
            Legal::Contact("mailto:a@b.example".to_owned()),
            Legal::Proof(self.some(1, 3, |random| random.url())),
        ];
        License {
            permits: self.statements(),
            prohibits: self.statements(),
            payment: self.maybe(|random| Payment {
                kind: random.maybe(|random| random.token(PaymentType::ALL)),
                standard: random.maybe(Random::url),
                custom: random.maybe(Random::url),
                amount: random.maybe(|random| Amount {
                    decimal: random.one_of(&["0", "10.00", "0.0000000000001"]).to_owned(),
                    currency: Currency::parse(random.one_of(&["USD", "EUR", "JPY"])).unwrap(),
                }),
                accepts: random.maybe(|random| Accepts {
                    media_type: "application/x402+json".to_owned(),
                    payload: random.text(),
                }),
            }),
            reporting: self.some(0, 2, |random| Reporting {
                kind: random.token(ReportingType::ALL),
                profile: random.url(),
                endpoint: random.maybe(Random::url),
            }),
            legal: legal.into_iter().filter(|_| self.below(2) == 0).collect(),
        }
    }

    fn document(&mut self) -> Document {
        Document {
            max_age_days: self.maybe(|random| 1 + random.below(100) as u32),
            contents: self.some(1, 4, |random| {
                let server = random.maybe(Random::url);
                Content {
                    url: random
                        .one_of(&[
                            "/",
                            "/articles/",
                            "/art*",
                            "/*.pdf$",
                            "/a?b=c&d",
                            "https://example.com/articles/o*$",
                        ])
                        .to_owned(),
                    encrypted: server.is_some() && random.below(2) == 0,
                    server,
                    lastmod: random.maybe(|_| "2026-11-01T00:00:00.5+01:00".to_owned()),
                    licenses: random.some(1, 3, Random::license),
                    alternates: random.some(0, 2, |random| Alternate {
                        url: random.url(),
                        media_type: random.maybe(|_| "text/plain; charset=utf-8".to_owned()),
                    }),
                    schema: random.maybe(|random| match random.below(2) {
                        0 => Schema::Url(random.url()),
                        _ => Schema::Inline("{\"a\":\"<&>]]>\"}".to_owned()),
                    }),
                    copyright: random.maybe(|random| Copyright {
                        holder: random.text(),
                        kind: random.maybe(|random| random.one_of(HolderType::ALL)),
                        contact_email: random.maybe(|_| "a&b@c.example".to_owned()),
                        contact_url: random.maybe(Random::url),
                    }),
                    terms: random.maybe(Random::url),
                }
            }),
        }
    }
}

#[test]
fn what_is_published_reads_as_it_was_written() {
    let mut random = Random(11);
    for round in 0..2_000 {
        let document = random.document();
        let text = document.publish().unwrap_or_else(|error| panic!("round {round}: {error} ({document:?})"));
        assert_eq!(Document::parse(&text).as_ref(), Ok(&document), "round {round}");
        for license in document.contents.iter().flat_map(|content| &content.licenses) {
            let element = license.to_element();
            assert_eq!(License::parse(&element).as_ref(), Ok(license), "round {round}");
        }
    }
}

#[test]
fn what_cannot_be_published_is_not() {
    let mut document = licensed("<license/>");
    document.contents[0].copyright = Some(Copyright { holder: " a".to_owned(), ..Copyright::default() });
    assert_eq!(document.publish(), Err(PublishError::Changed));
    document.contents[0].copyright = Some(Copyright { holder: "a\u{1}".to_owned(), ..Copyright::default() });
    assert!(matches!(document.publish(), Err(PublishError::NotConformant(_))));
    assert!(matches!(Document::default().publish(), Err(PublishError::NotConformant(_))));
    let mut document = licensed("<license/>");
    document.contents[0].licenses[0].permits.usage = Some(Vec::new());
    assert!(matches!(document.publish(), Err(PublishError::NotConformant(_))));
}

#[test]
fn a_licence_is_one_element() {
    let one = "<license><permits type=\"usage\">search</permits></license>";
    let spelt = format!(
        "<l:license xmlns:l=\"{NAMESPACE}\"><l:permits type='usage'> search </l:permits></l:license>"
    );
    assert_eq!(License::parse(one).unwrap().digest(), License::parse(&spelt).unwrap().digest());
    assert_ne!(License::parse(one).unwrap().digest(), License::parse("<license/>").unwrap().digest());
    for text in [
        "",
        "<license/><license/>",
        "<terms>https://a.example</terms>",
        "<license/><terms>https://a.example</terms>",
        "<license/></content><content url=\"/\"><license/>",
        "<license/></content></rsl><!--",
        "<!DOCTYPE a><license/>",
        "<license",
    ] {
        assert!(License::parse(text).is_err(), "{text}");
    }
}

#[test]
fn no_text_makes_reading_or_judging_panic() {
    let mut random = Random(5);
    let scraps = [
        "<",
        ">",
        "/>",
        "\"",
        "&",
        "&#0;",
        "]]>",
        "<![CDATA[",
        "<!--",
        "<rsl xmlns=\"",
        " type=\"usage\"",
        "\u{0}",
        "ü",
        "<license>",
        "</content>",
        "prohibits",
        "*",
        "$",
        "%",
    ];
    let mut read = 0;
    for _ in 0..2_000 {
        let mut text = random.document().publish().expect("a document");
        for _ in 0..random.below(4) {
            let mut at = random.below(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(3) {
                0 => text.truncate(at),
                1 => text.insert_str(at, scraps[random.below(scraps.len())]),
                _ => {
                    let mut end = (at + random.below(30)).min(text.len());
                    while !text.is_char_boundary(end) {
                        end -= 1;
                    }
                    text.replace_range(at..end.max(at), "");
                }
            }
        }
        let Ok(mut document) = Document::parse(&text) else { continue };
        read += 1;
        for usage in UsageClass::ALL {
            let asked = wanted(
                usage.as_str(),
                random.one_of(&["", "commercial", "education"]),
                random.one_of(&["", "DE", "EU"]),
            );
            let decision = document.evaluate(&SITE, &asked).as_str();
            // Document order never matters.
            document.contents.reverse();
            document.contents.iter_mut().for_each(|content| content.licenses.reverse());
            assert_eq!(document.evaluate(&SITE, &asked).as_str(), decision, "{text}");
        }
    }
    assert!(read > 200, "the cases are not all broken: {read}");
}
