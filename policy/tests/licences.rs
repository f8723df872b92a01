//! Licences of a policy: what is published of them, who gets a token, and what a token is worth for a fetch.

use std::sync::Arc;

use policy::protocol::cap::{ANYBODY, Claims, LicenseToken, TokenId, Unlicensed, VerifyingKey};
use policy::protocol::olp::{ErrorCode, IntrospectResponse, Introspection, TokenRequest};
use policy::protocol::rsl::{Asset, Document, License, UsageClass, Use};
use policy::{CrawlerRow, Held, Licence, PolicySnapshot, ShownFor, Source, Stated, Work};
use ring::signature::Ed25519KeyPair;

const NOW: u64 = 1_800_000_000;
const ORIGIN: &str = "https://press.example";

const POLICY: &str = r#"
version = 1
mode = "enforce"

[[licence_offer]]
id = "training"
host = "press.example"
path = ["/articles/**", "/books/one"]
usage = "ai-train"
payment = "subscription"
price = "1000 USD"
operators = "rich-labs"
duration = "90d"

[[licence_offer]]
id = "crawling"
path = "/articles/**"
usage = ["ai-train", "ai-input"]
payment = "crawl"
price = "0.002 USD"

[[licence_offer]]
id = "answers"
path = "/articles/**"
usage = "ai-input"
payment = "attribution"

[[crawler]]
token = "RichBot"
operator = "rich-labs"
purpose = "train"

[[crawler]]
token = "PoorBot"
operator = "poor-labs"
purpose = "ground"

[[account]]
operator = "rich-labs"
credit_limit = "500 USD"
"#;

fn policy(text: &str) -> PolicySnapshot {
    let source = Source { name: "policy.toml".to_owned(), text: text.to_owned() };
    let compiled = PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing".to_owned()));
    compiled.unwrap_or_else(|found| panic!("{}", policy::render(&found))).0
}

fn licence<'p>(policy: &'p PolicySnapshot, id: &str) -> &'p Licence {
    policy.licences().iter().find(|licence| &*licence.id == id).expect("a licence")
}

fn asked(resource: &str, license: &License) -> TokenRequest {
    TokenRequest { license: license.clone(), resource: resource.to_owned() }
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed of 32 bytes")
}

#[test]
fn what_is_published_is_what_is_on_offer_and_nothing_else() {
    let policy = policy(POLICY);
    let document = Document { max_age_days: None, contents: policy.licence_contents(ORIGIN) };
    let text = document.publish().expect("a conformant document");
    let read = Document::parse(&text).expect("a document");
    let urls: Vec<&str> = read.contents.iter().map(|content| content.url.as_str()).collect();
    assert_eq!(urls, ["/articles/*", "/books/one$"]);
    for content in &read.contents {
        assert_eq!(content.server.as_deref(), Some("https://press.example/.well-known/byline/licence"));
        for license in &content.licenses {
            // As a client does it: the element out of the document, spelt in its own way.
            let element = license.to_element().replace("\n", " ");
            let again = License::parse(&element).expect("an element");
            let on_offer = policy.licence_on_offer(ORIGIN, &asked(&content.url, &again)).expect("on offer");
            assert_eq!(on_offer.works, format!("{ORIGIN}{}", content.url));
            let absolute = format!("https://PRESS.example:443{}", content.url);
            assert!(policy.licence_on_offer(ORIGIN, &asked(&absolute, &again)).is_ok());
        }
    }
    let training = licence(&policy, "training").license();
    let code = |origin: &str, resource: &str, license: &License| {
        policy.licence_on_offer(origin, &asked(resource, license)).err().map(|error| error.code)
    };
    for narrower in ["/articles/1", "/articles/1$", "/articles/*$", "/articles/a*.pdf$", "/books/one$"] {
        assert_eq!(code(ORIGIN, narrower, training), None, "{narrower}");
    }
    for wider in [
        "/*",
        "/",
        "",
        "*",
        "/articles*",
        "/art*/1",
        "/*/articles/",
        "/books/one",
        "/books/one*$",
        "articles/1",
    ] {
        assert_eq!(code(ORIGIN, wider, training), Some(ErrorCode::InvalidResource), "{wider}");
    }
    assert_eq!(code(ORIGIN, "https://other.example/articles/*", training), Some(ErrorCode::InvalidResource));
    assert_eq!(code("https://other.example", "/articles/*", training), Some(ErrorCode::InvalidLicense));
    assert_eq!(code("https://other.example", "/books/one$", training), Some(ErrorCode::InvalidResource));
    let mut cheaper = training.clone();
    cheaper.payment = None;
    assert_eq!(code(ORIGIN, "/articles/*", &cheaper), Some(ErrorCode::InvalidLicense));
    assert_eq!(
        code(ORIGIN, "/books/one$", licence(&policy, "crawling").license()),
        Some(ErrorCode::InvalidLicense)
    );
}

/// The document says of each path what the licence says of it, to whoever reads it as RSL.
#[test]
fn a_path_means_the_same_in_both_grammars() {
    let text = |path: &str| {
        format!(
            "version = 1\n[[licence_offer]]\nid = \"a\"\npath = {path:?}\nusage = \"ai-train\"\npayment = \"free\"\n"
        )
    };
    let paths =
        ["/", "/a", "/a/", "/a/b", "/a/b.pdf", "/b/a", "/b.pdf", "/a$", "/ab", "/caf%C3%A9/x", "/x.pdfx"];
    for path in ["/**", "/a", "/a/**", "/**.pdf", "/a**", "/**/b", "/a$", "/café/**", "/**a**"] {
        let Ok((policy, _)) = PolicySnapshot::compile(
            Source { name: "policy.toml".to_owned(), text: text(path) },
            None,
            &mut |_, _| Err(String::new()),
        ) else {
            assert_eq!(path, "/**/b", "the one that robots.txt cannot say");
            continue;
        };
        let document = Document { max_age_days: None, contents: policy.licence_contents(ORIGIN) };
        let document = Document::parse(document.publish().expect("conformant")).expect("a document");
        for asked in paths {
            let work = policy.work("https", "press.example", asked).expect("one reading");
            let wanted = Use { usage: UsageClass::AiTrain, user: None, geo: None, reporting_profiles: &[] };
            let published =
                document.evaluate(&Asset { origin: None, path: asked }, &wanted).licensed().is_some();
            assert_eq!(published, policy.licences()[0].covers(&work), "{path} and {asked}");
        }
    }
}

#[test]
fn free_ones_are_anybodys_and_paid_ones_their_holders() {
    let policy = policy(POLICY);
    let may = |id: &str, operator: Option<&str>| {
        let request = asked("/articles/*", licence(&policy, id).license());
        let on_offer = policy.licence_on_offer(ORIGIN, &request).expect("on offer");
        on_offer.may_have(&policy, operator).err().map(|error| error.code)
    };
    for (id, operator, expect) in [
        ("answers", None, None),
        ("answers", Some("poor-labs"), None),
        ("crawling", None, Some(ErrorCode::InvalidClient)),
        ("crawling", Some("poor-labs"), Some(ErrorCode::UnauthorizedClient)), // no account
        ("crawling", Some("rich-labs"), None),
        ("training", None, Some(ErrorCode::InvalidClient)),
        ("training", Some("poor-labs"), Some(ErrorCode::UnauthorizedClient)),
        ("training", Some("rich-labs"), None),
    ] {
        assert_eq!(may(id, operator), expect, "{id} for {operator:?}");
    }
}

/// A token for a licence, as the server would make it.
fn claims(policy: &PolicySnapshot, id: &str, operator: Option<&str>) -> Claims {
    let request = asked("/articles/*", licence(policy, id).license());
    let on_offer = policy.licence_on_offer(ORIGIN, &request).expect("on offer");
    on_offer.claims(TokenId([7; 16]), operator, NOW)
}

struct Fetch {
    row: Arc<CrawlerRow>,
    work: Work,
    now: u64,
}

impl Fetch {
    fn of(policy: &PolicySnapshot, bot: &str, path: &str) -> Fetch {
        let row = Arc::clone(policy.directory().row(bot).expect("a crawler"));
        Fetch { row, work: policy.work("https", "press.example", path).expect("a work"), now: NOW }
    }

    fn shown(&self) -> ShownFor<'_> {
        ShownFor { row: &self.row, work: &self.work, now: self.now }
    }
}

#[test]
fn a_token_is_worth_what_it_says_and_the_policy_still_grants() {
    let policy = policy(POLICY);
    let issued = claims(&policy, "training", Some("rich-labs"));
    let token = LicenseToken::issue(&issued, &key(1)).expect("a token");
    let keys = [VerifyingKey::of(&key(2)), VerifyingKey::of(&key(1))];
    let fetch = Fetch::of(&policy, "RichBot", "/articles/1");
    let judge = |fetch: &Fetch| policy.own_token(&token, &keys, &fetch.shown(), |_| false);
    let held = Held { licence: "training".into(), token: TokenId([7; 16]).to_string().into() };
    assert_eq!(judge(&fetch), Ok(Some(held)));

    let refused = |fetch: Fetch| judge(&fetch).expect_err("refused");
    assert_eq!(refused(Fetch::of(&policy, "PoorBot", "/articles/1")), Unlicensed::InvalidToken);
    assert_eq!(refused(Fetch::of(&policy, "RichBot", "/books/one")), Unlicensed::NotPermitted);
    let later = |now| Fetch { now, ..Fetch::of(&policy, "RichBot", "/articles/1") };
    assert_eq!(refused(later(NOW + 90 * 86_400)), Unlicensed::Expired);
    assert!(judge(&later(NOW + 90 * 86_400 - 1)).is_ok());
    assert_eq!(refused(later(NOW - 1)), Unlicensed::Expired);
    let revoked = policy.own_token(&token, &keys, &fetch.shown(), |claims| claims.id == TokenId([7; 16]));
    assert_eq!(revoked, Err(Unlicensed::InvalidToken));
    let stranger = policy.own_token(&token, &keys[..1], &fetch.shown(), |_| false);
    assert_eq!(stranger, Err(Unlicensed::InvalidToken));
    // For its own operator, but another use: the crawler answers, the licence is for training.
    let grounding = POLICY.replace("purpose = \"train\"", "purpose = \"ground\"");
    let other = self::policy(&grounding);
    let judge_by = |policy: &PolicySnapshot| {
        let fetch = Fetch::of(policy, "RichBot", "/articles/1");
        policy.own_token(&token, &keys, &fetch.shown(), |_| false)
    };
    assert_eq!(judge_by(&other), Err(Unlicensed::NotPermitted));
    // Terms that the policy no longer grants, or no longer for this work, are none.
    let changed = self::policy(&POLICY.replace("1000 USD", "1001 USD"));
    assert_eq!(judge_by(&changed), Err(Unlicensed::InvalidToken));
    let moved = self::policy(&POLICY.replacen("\"/articles/**\", ", "", 1));
    assert_eq!(judge_by(&moved), Err(Unlicensed::NotPermitted));
    let elsewhere = self::policy(&POLICY.replace("host = \"press.example\"", "host = \"other.example\""));
    assert_eq!(judge_by(&elsewhere), Err(Unlicensed::NotPermitted));
}

#[test]
fn a_token_of_nobody_in_particular_is_good_in_anybodys_hands() {
    let policy = policy(POLICY);
    let issued = claims(&policy, "answers", None);
    assert_eq!(issued.operator, ANYBODY);
    let token = LicenseToken::issue(&issued, &key(1)).expect("a token");
    let keys = [VerifyingKey::of(&key(1))];
    let judge = |bot: &str| {
        policy.own_token(&token, &keys, &Fetch::of(&policy, bot, "/articles/1").shown(), |_| false)
    };
    assert!(judge("PoorBot").is_ok());
    assert_eq!(judge("RichBot"), Err(Unlicensed::NotPermitted), "it trains");
}

/// Where a site has a licence server, what its rules give to everybody is had with a token as well: one that says so, and
/// changes nothing.
#[test]
fn what_the_document_states_is_had_with_a_token_that_gives_nothing() {
    let policy = policy(POLICY);
    let stated = "<permits type=\"usage\">search ai-index</permits>";
    let mut contents = policy.licence_contents(ORIGIN);
    contents[0].licenses.push(License::parse(&format!("<license>{stated}</license>")).expect("a licence"));
    let document = Document { max_age_days: None, contents }.publish().expect("conformant");
    let ask = |resource: &str, element: &str| {
        let license = License::parse(&format!("<license>{element}</license>")).expect("a licence");
        Stated::find(ORIGIN, &asked(resource, &license), document.as_bytes()).map_err(|error| error.code)
    };
    assert_eq!(ask("/articles/*", "").err(), Some(ErrorCode::InvalidLicense));
    assert_eq!(ask("/books/one$", stated).err(), Some(ErrorCode::InvalidLicense));
    assert_eq!(ask("/elsewhere", stated).err(), Some(ErrorCode::InvalidResource));
    let claims = ask("/articles/*", stated).expect("stated").claims(TokenId([7; 16]), None, NOW);
    let token = LicenseToken::issue(&claims, &key(1)).expect("a token");
    let keys = [VerifyingKey::of(&key(1))];
    let searching = self::policy(&POLICY.replace("\"ground\"", "\"search\""));
    let judge = |bot: &str, path: &str, revoked| {
        let fetch = Fetch::of(&searching, bot, path);
        searching.own_token(&token, &keys, &fetch.shown(), |_| revoked)
    };
    assert_eq!(judge("PoorBot", "/articles/1", false), Ok(None), "it holds nothing by that");
    assert_eq!(judge("PoorBot", "/articles/1", true), Err(Unlicensed::InvalidToken));
    assert_eq!(judge("PoorBot", "/elsewhere", false), Err(Unlicensed::NotPermitted));
    assert_eq!(judge("RichBot", "/articles/1", false), Err(Unlicensed::NotPermitted), "it trains");
    let IntrospectResponse::Active(answer) = policy.introspect(&token, "/articles/*", &keys, NOW, |_| false)
    else {
        panic!("inactive")
    };
    assert_eq!((answer.permitted, answer.license), (true, None));
}

#[test]
fn introspection_says_what_a_fetch_would_find() {
    let policy = policy(POLICY);
    let issued = claims(&policy, "training", Some("rich-labs"));
    let token = LicenseToken::issue(&issued, &key(1)).expect("a token");
    let keys = [VerifyingKey::of(&key(1))];
    let ask = |resource: &str, now, revoked| policy.introspect(&token, resource, &keys, now, |_| revoked);
    for (resource, permitted) in [
        ("https://press.example/articles/1", true),
        ("https://press.example/articles/*", true),
        ("/articles/*", true),
        ("https://press.example/books/one", false),
        ("https://other.example/articles/1", false),
        ("http://press.example/articles/1", false),
        ("*", false),
        ("", false),
    ] {
        let IntrospectResponse::Active(answer) = ask(resource, NOW, false) else { panic!("inactive") };
        assert_eq!(answer.permitted, permitted, "{resource}");
        let license = License::parse(answer.license.as_deref().expect("its terms")).expect("a licence");
        assert_eq!(license.digest(), issued.license);
        assert_eq!(answer.expires, issued.expires);
    }
    for (now, revoked) in [(NOW, true), (NOW - 1, false), (NOW + 90 * 86_400, false)] {
        assert_eq!(ask("/articles/*", now, revoked), IntrospectResponse::Inactive);
    }
    let stranger = policy.introspect(&token, "/articles/*", &[], NOW, |_| false);
    assert_eq!(stranger, IntrospectResponse::Inactive);
}

#[test]
fn another_servers_answer_counts_and_its_licence_says_for_what() {
    let policy = policy(POLICY);
    let fetch = Fetch::of(&policy, "RichBot", "/articles/1");
    let refused = |reason: &str| {
        let answer = IntrospectResponse::Active(Introspection {
            license: None,
            resource: String::new(),
            permitted: false,
            reason: Some(reason.to_owned()),
            expires: None,
        });
        policy.foreign_token("opaque", &answer, &fetch.shown()).expect_err("refused")
    };
    assert_eq!(refused("Payment required"), Unlicensed::Unpaid);
    assert_eq!(refused("the invoice of May is unpaid"), Unlicensed::Unpaid);
    assert_eq!(refused("other use"), Unlicensed::NotPermitted);
    let judge = |permitted: bool, license: Option<&str>| {
        let answer = IntrospectResponse::Active(Introspection {
            license: license.map(str::to_owned),
            resource: String::new(),
            permitted,
            reason: None,
            expires: None,
        });
        policy.foreign_token("opaque", &answer, &fetch.shown()).map(|held| held.licence.to_string())
    };
    let element = |usage: &str| format!("<license>{usage}<payment type=\"purchase\"/></license>");
    let trains = element("<permits type=\"usage\">ai-all</permits><permits type=\"geo\">FR</permits>");
    assert_eq!(judge(true, None).as_deref(), Ok("external"));
    assert_eq!(judge(true, Some(&trains)).as_deref(), Ok("external"));
    let own = licence(&policy, "training").license().to_element();
    assert_eq!(judge(true, Some(&own)).as_deref(), Ok("training"));
    assert_eq!(judge(false, Some(&trains)), Err(Unlicensed::NotPermitted));
    for other in ["<permits type=\"usage\">search</permits>", "<prohibits type=\"usage\">ai-all</prohibits>"]
    {
        assert_eq!(judge(true, Some(&element(other))), Err(Unlicensed::NotPermitted), "{other}");
    }
    assert_eq!(judge(true, Some("<license>")), Err(Unlicensed::CannotValidate));
    let inactive = policy.foreign_token("opaque", &IntrospectResponse::Inactive, &fetch.shown());
    assert_eq!(inactive, Err(Unlicensed::InvalidToken));
    // The token itself is nowhere in what is recorded.
    let held = policy.foreign_token(
        "opaque",
        &IntrospectResponse::Active(Introspection {
            license: None,
            resource: String::new(),
            permitted: true,
            reason: None,
            expires: None,
        }),
        &fetch.shown(),
    );
    let name = held.expect("good").token;
    assert!(name.len() == 32 && TokenId::parse(&name).is_some(), "{name}");
}
