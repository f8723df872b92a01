//! What a licence changes for a fetch, and what CAP says where one is lacking.

use policy::protocol::cap::Unlicensed;
use policy::{
    Admission, Assurance, Crawler, Evidence, Held, Limit, Money, Offer, OfferError, PolicySnapshot, Refusal,
    RefusalKind, Release, ResponseHead, Source, Standing, admit, identify, release,
};

/// A path for each way in which a rule can ask for a licence.
const POLICY: &str = r#"
version = 1
mode = "enforce"

[[licence_offer]]
id = "training"
path = ["/licensed/**", "/or-paid/**", "/by-fetch/**", "/agreed/**", "/typed/**"]
usage = "ai-train"
payment = "subscription"
operators = ["labs"]

[[rule]]
name = "licensed"
path = ["/licensed/**", "/or-paid/**", "/agreed/**", "/unoffered/**"]
assurance = "licensed"
allow = true

[[rule]]
name = "nobody else"
path = ["/licensed/**", "/unoffered/**"]
deny = true

[[rule]]
name = "or paid"
path = ["/or-paid/**", "/agreed/**"]
charge = { price = "0.5 USD", per = "fetch" }

[[rule]]
name = "by fetch"
path = "/by-fetch/**"
require = "licensed"
charge = { price = "0.5 USD", per = "fetch" }

[[rule]]
name = "licensed texts"
path = "/typed/**"
content_type = "text/html"
assurance = "licensed"
allow = true

[[rule]]
name = "texts"
path = "/typed/**"
content_type = "text/html"
deny = true

[[crawler]]
token = "Bot"
operator = "labs"
purpose = "train"

[[crawler]]
token = "Grounder"
operator = "labs"
purpose = "ground"

[[account]]
operator = "labs"
credit_limit = "10 USD"
"#;

fn policy(text: &str) -> PolicySnapshot {
    let source = Source { name: "policy.toml".to_owned(), text: text.to_owned() };
    let compiled = PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing".to_owned()));
    compiled.unwrap_or_else(|found| panic!("{}", policy::render(&found))).0
}

struct Rich;

impl Standing for Rich {
    fn exhausted(&self, _: &Limit, _: &str) -> Option<u64> {
        None
    }

    fn affords(&self, _: &str, _: Money) -> bool {
        true
    }
}

fn held() -> Result<Held, Unlicensed> {
    Ok(Held { licence: "training".into(), token: "00".into() })
}

fn network() -> Evidence {
    Evidence::Range { source: "policy".into() }
}

/// Who asks: nothing shown, or this.
fn bot(
    policy: &PolicySnapshot,
    token: &str,
    identity: Evidence,
    shown: Option<Result<Held, Unlicensed>>,
) -> Crawler {
    let row = policy.directory().row(token).expect("a crawler").clone();
    let evidence = match shown {
        Some(shown) => identity.with_licence(shown),
        None => identity,
    };
    identify(row, evidence)
}

const NO_OFFER: Result<Offer, OfferError> = Ok(Offer::None);

fn offer(text: &str) -> Result<Offer, OfferError> {
    Offer::parse(None::<&[u8]>, [text.as_bytes()])
}

fn refusal(
    policy: &PolicySnapshot,
    crawler: &Crawler,
    path: &str,
    offer: &Result<Offer, OfferError>,
) -> Option<Refusal> {
    let work = policy.work("https", "press.example", path).expect("one reading");
    match admit(policy, crawler, &work, offer, &Rich) {
        Admission::Refuse(refusal) => Some(refusal),
        Admission::Proceed(_) => None,
    }
}

/// Status and CAP's word for a fetch; 200 if it may start.
#[track_caller]
fn check(
    crawler: &Crawler,
    path: &str,
    offer: &Result<Offer, OfferError>,
    expect: (u16, Option<Unlicensed>),
) {
    let policy = policy(POLICY);
    let refusal = refusal(&policy, crawler, path, offer);
    let found = refusal
        .as_ref()
        .map_or((200, None), |refusal| (refusal.status(), refusal.unlicensed.as_ref().map(|(why, _)| *why)));
    assert_eq!(found, expect, "{path}: {refusal:#?}");
    let Some(refusal) = refusal else { return };
    let challenge = refusal.licence_challenge();
    assert_eq!(challenge.is_some(), expect.1.is_some());
    if let Some(challenge) = challenge {
        assert_eq!(challenge.status, refusal.status());
        let link = "<https://press.example/license.xml>; rel=\"license\"; type=\"application/rsl+xml\"";
        assert_eq!(challenge.link.as_deref(), matches!(challenge.status, 401 | 402).then_some(link));
    }
}

#[test]
fn a_licence_opens_what_asks_for_it() {
    let policy = policy(POLICY);
    let licensed = bot(&policy, "Bot", network(), Some(held()));
    assert_eq!(licensed.assurance, Assurance::Licensed);
    for path in ["/licensed/a", "/or-paid/a", "/agreed/a", "/typed/a", "/elsewhere"] {
        check(&licensed, path, &NO_OFFER, (200, None));
    }
    check(&licensed, "/by-fetch/a", &offer("USD 0.5"), (200, None));
    check(&licensed, "/by-fetch/a", &NO_OFFER, (402, Some(Unlicensed::Unpaid)));
}

#[test]
fn who_shows_none_is_told_where_one_decides_and_nowhere_else() {
    let policy = policy(POLICY);
    for identity in [network(), Evidence::None] {
        let bot = bot(&policy, "Bot", identity, None);
        check(&bot, "/licensed/a", &NO_OFFER, (401, Some(Unlicensed::Missing)));
        check(&bot, "/or-paid/a", &NO_OFFER, (402, Some(Unlicensed::NoLicense)));
        check(&bot, "/by-fetch/a", &NO_OFFER, (401, Some(Unlicensed::Missing)));
        check(&bot, "/by-fetch/a", &offer("USD 0.5"), (401, Some(Unlicensed::Missing)));
        check(&bot, "/elsewhere", &NO_OFFER, (200, None));
        // A rule speaks of licences, and there is none to be had for this.
        check(&bot, "/unoffered/a", &NO_OFFER, (403, None));
    }
    check(&bot(&policy, "Bot", network(), None), "/or-paid/a", &offer("USD 0.5"), (200, None));
    // There is none for its purpose.
    check(&bot(&policy, "Grounder", network(), None), "/licensed/a", &NO_OFFER, (403, None));
    check(&bot(&policy, "Grounder", network(), None), "/or-paid/a", &NO_OFFER, (402, None));
}

#[test]
fn a_bad_token_is_refused_before_anything_is_charged_and_ignored_where_none_is_asked_for() {
    let policy = policy(POLICY);
    for why in [
        Unlicensed::Malformed,
        Unlicensed::InvalidToken,
        Unlicensed::Expired,
        Unlicensed::Unpaid,
        Unlicensed::NotPermitted,
        Unlicensed::CannotValidate,
    ] {
        let bot = bot(&policy, "Bot", network(), Some(Err(why)));
        assert_eq!(bot.assurance, Assurance::Network);
        let told = (why.status(), Some(why));
        check(&bot, "/licensed/a", &NO_OFFER, told);
        check(&bot, "/or-paid/a", &NO_OFFER, told);
        check(&bot, "/or-paid/a", &offer("USD 0.5"), told);
        check(&bot, "/by-fetch/a", &offer("USD 0.5"), told);
        check(&bot, "/elsewhere", &NO_OFFER, (200, None));
        check(&bot, "/unoffered/a", &NO_OFFER, (403, None));
    }
}

#[test]
fn a_licence_is_no_identity() {
    let policy = policy(POLICY);
    // Whoever has the token can show it: the account is only touched by who is known otherwise.
    let unknown = bot(&policy, "Bot", Evidence::None, Some(held()));
    assert_eq!((unknown.assurance, unknown.identity_rung()), (Assurance::Licensed, Assurance::Claimed));
    check(&unknown, "/licensed/a", &NO_OFFER, (200, None));
    let refused = refusal(&policy, &unknown, "/by-fetch/a", &offer("USD 0.5")).expect("nobody to bill");
    assert_eq!(refused.kind, RefusalKind::IdentityRequired);
    let anybody = POLICY.replace("require = \"licensed\"", "require = \"network\"");
    let anybody = self::policy(&anybody);
    let refused = refusal(&anybody, &unknown, "/by-fetch/a", &offer("USD 0.5")).expect("nobody to bill");
    assert_eq!(refused.kind, RefusalKind::IdentityRequired);
    let signed = self::policy(&POLICY.replace("require = \"licensed\"", "require = \"signed\""));
    let known = bot(&policy, "Bot", network(), Some(held()));
    let refused = refusal(&signed, &known, "/by-fetch/a", &offer("USD 0.5")).expect("not signed");
    assert_eq!(refused.kind, RefusalKind::IdentityRequired);
    // A spoof's token is not looked at.
    let lies = || Evidence::Contradicted { by: "range".into() };
    let spoof = bot(&policy, "Bot", lies(), Some(held()));
    assert!(spoof.is_spoof() && spoof.assurance == Assurance::Claimed);
    check(&spoof, "/licensed/a", &NO_OFFER, (403, None));
    check(&spoof, "/or-paid/a", &offer("USD 0.5"), (402, None));
}

#[test]
fn what_depends_on_the_type_is_asked_when_it_is_known() {
    let policy = policy(POLICY);
    let work = policy.work("https", "press.example", "/typed/a").expect("one reading");
    let answer = |shown, content_type| {
        let bot = bot(&policy, "Bot", network(), shown);
        let Admission::Proceed(grant) = admit(&policy, &bot, &work, &NO_OFFER, &Rich) else {
            panic!("images are open to all")
        };
        let head = ResponseHead { status: 200, content_type: Some(content_type), ..ResponseHead::default() };
        match release(&policy, &grant, &bot, &work, &NO_OFFER, &Rich, &head) {
            Release::Deliver(_) => 200,
            Release::Refuse(refusal) => refusal.status(),
        }
    };
    assert_eq!(answer(None, "image/png"), 200);
    assert_eq!(answer(None, "text/html"), 401);
    assert_eq!(answer(Some(Err(Unlicensed::NotPermitted)), "text/html"), 403);
    assert_eq!(answer(Some(Err(Unlicensed::CannotValidate)), "image/png"), 200);
    assert_eq!(answer(Some(held()), "text/html"), 200);
}

#[test]
fn under_observation_nothing_is_refused_and_the_record_says_what_would_have_been() {
    let policy = policy(&POLICY.replace("\"enforce\"", "\"observe\""));
    let would = |shown, path: &str, offer: &Result<Offer, OfferError>| {
        let bot = bot(&policy, "Bot", network(), shown);
        let work = policy.work("https", "press.example", path).expect("one reading");
        let Admission::Proceed(grant) = admit(&policy, &bot, &work, offer, &Rich) else { panic!("refused") };
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        match release(&policy, &grant, &bot, &work, offer, &Rich, &head) {
            Release::Deliver(terms) => terms.would_refuse,
            Release::Refuse(refusal) => panic!("{refusal:?}"),
        }
    };
    assert_eq!(would(None, "/licensed/a", &NO_OFFER), Some(401));
    assert_eq!(would(None, "/or-paid/a", &NO_OFFER), Some(402));
    assert_eq!(would(Some(Err(Unlicensed::Expired)), "/or-paid/a", &offer("USD 0.5")), Some(401));
    assert_eq!(would(Some(Err(Unlicensed::CannotValidate)), "/licensed/a", &NO_OFFER), Some(503));
    assert_eq!(would(Some(held()), "/licensed/a", &NO_OFFER), None);
}

#[test]
fn without_licences_nothing_of_them_appears() {
    let start = POLICY.find("[[licence_offer]]").expect("a licence");
    let end = POLICY.find("[[rule]]").expect("a rule");
    let policy = policy(&[&POLICY[..start], &POLICY[end..]].concat());
    assert!(!policy.has_licences());
    for (path, status) in [("/licensed/a", 403), ("/or-paid/a", 402), ("/by-fetch/a", 402)] {
        let refusal =
            refusal(&policy, &bot(&policy, "Bot", network(), None), path, &NO_OFFER).expect("refused");
        assert_eq!((refusal.status(), refusal.unlicensed), (status, None), "{path}");
    }
}

/// What another server licenses the policy need not say.
#[test]
fn another_server_may_license_anything() {
    let start = POLICY.find("[[licence_offer]]").expect("a licence");
    let end = POLICY.find("[[rule]]").expect("a rule");
    let server = "[licence_server]\nurl = \"https://licences.example\"\n";
    let policy = policy(&[&POLICY[..start], server, &POLICY[end..]].concat());
    let refusal = refusal(&policy, &bot(&policy, "Bot", network(), None), "/unoffered/a", &NO_OFFER);
    assert_eq!(refusal.expect("refused").status(), 401);
}
