//! Web Bot Auth, single faults: what is signed here and changed in one place, and what key directories may say.

#[path = "support/web_bot_auth.rs"]
mod support;

use std::sync::Arc;

use policy::protocol::bot_auth::{
    AgentError, AgentForm, AgentSignError, DIRECTORY_MEDIA_TYPE, DirectoryError, DirectorySignatureError,
    Fetched, HttpsUrl, Invalid, KeyAbsent, KeyDirectory, KeySource, NotCovered, Outcome, PaymentCover,
    RefusedKeyReason, Settings, SignRequest, SignedRequest, SourceKind, Unverified, Verified, directory_body,
    directory_fields, read_claims, sign_request, verify,
};
use policy::protocol::message_signature::{
    Component, Field, KeyError, Malformed, Message, Parameters, Request, Response, SigningKey, VerifyError,
    content_digest,
};
use serde_json::json;
use support::AtHand;

const NOW: i64 = 1_800_000_000;
const KEYS_URL: &str = "https://bot.example/keys.json";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("a key")
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).expect("a URL")
}

fn directory(source: KeySource, keys: &[&SigningKey]) -> Arc<KeyDirectory> {
    let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
    let body = directory_body(&public);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    Arc::new(KeyDirectory::read(&source, fetched, &Settings::default()).expect("a directory"))
}

fn at_hand() -> AtHand {
    AtHand { directories: vec![directory(KeySource::at(url(KEYS_URL)), &[&key(1)])], agreed: Vec::new() }
}

const PLAIN: Request<'static> = Request {
    method: "GET",
    scheme: "https",
    authority: "site.example",
    target: "/articles/1?p=2",
    fields: &[],
    trailers: &[],
};

const HOW: SignRequest<'static> = SignRequest {
    form: AgentForm::Dictionary,
    label: "sig1",
    components: &["\"@method\"", "\"@path\""],
    created: NOW,
    expires: NOW + 60,
    nonce: None,
};

fn signed(request: &Request<'_>, how: &SignRequest<'_>) -> SignedRequest {
    sign_request(&key(1), &url(KEYS_URL), request, how).expect("a signature")
}

/// The verdict about a request to which a signature's fields are added.
fn judge_with(
    request: &Request<'_>,
    signed: &SignedRequest,
    keys: &AtHand,
    now: i64,
    settings: &Settings,
) -> Outcome {
    let mut fields = request.fields.to_vec();
    for (name, value) in [
        ("Signature-Agent", &signed.signature_agent),
        ("Signature-Input", &signed.signature_input),
        ("Signature", &signed.signature),
    ] {
        if !value.is_empty() {
            fields.push((name, value.as_bytes()));
        }
    }
    verify(&Request { fields: &fields, ..*request }, keys, now, settings)
}

fn judge(request: &Request<'_>, signed: &SignedRequest) -> Outcome {
    judge_with(request, signed, &at_hand(), NOW, &Settings::default())
}

#[track_caller]
fn verified(outcome: Outcome) -> Verified {
    match outcome {
        Outcome::Verified(verified) => Arc::unwrap_or_clone(verified),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn invalid(outcome: Outcome) -> Invalid {
    match outcome {
        Outcome::Invalid { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unverified(outcome: Outcome) -> Unverified {
    match outcome {
        Outcome::Unverified { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// A signature of this key, with any components and parameters.
fn raw(agent: &str, components: &[&str], parameters: &Parameters, fields: &[Field<'_>]) -> SignedRequest {
    let components: Vec<Component> =
        components.iter().map(|text| Component::parse(text).expect("a component")).collect();
    let mut sent = fields.to_vec();
    if !agent.is_empty() {
        sent.push(("signature-agent", agent.as_bytes()));
    }
    let request = Request { fields: &sent, ..PLAIN };
    let made = key(1).sign("sig1", &components, parameters, Message::Request(&request)).expect("a signature");
    SignedRequest {
        signature_agent: agent.to_owned(),
        signature_input: made.input,
        signature: made.signature,
    }
}

fn parameters() -> Parameters {
    Parameters {
        created: Some(NOW),
        expires: Some(NOW + 60),
        nonce: None,
        alg: None,
        keyid: Some(key(1).public_key().thumbprint().to_owned()),
        tag: Some("web-bot-auth".to_owned()),
    }
}

const AGENT: &str = "sig1=\"https://bot.example/keys.json\"";
const COVERED: [&str; 2] = ["\"@authority\"", "\"signature-agent\";key=\"sig1\""];

#[test]
fn what_is_signed_is_verified() {
    let verified = verified(judge(&PLAIN, &signed(&PLAIN, &HOW)));
    assert_eq!(
        verified.source.map(|source| source.identity().as_str().to_owned()).as_deref(),
        Some(KEYS_URL)
    );
    assert_eq!(*verified.keyid, *key(1).public_key().thumbprint());
    assert_eq!((verified.created, verified.expires), (NOW, NOW + 60));
    assert!(matches!(verify(&PLAIN, &at_hand(), NOW, &Settings::default()), Outcome::Unsigned));
}

#[test]
fn whatever_is_covered_cannot_be_changed() {
    let signed = signed(&PLAIN, &HOW);
    for changed in [
        Request { method: "HEAD", ..PLAIN },
        Request { authority: "other.example", ..PLAIN },
        Request { authority: "site.example:8443", ..PLAIN },
        Request { target: "/articles/2?p=2", ..PLAIN },
        Request { target: "/articles/%31?p=2", ..PLAIN },
    ] {
        let reason = invalid(judge(&changed, &signed));
        assert_eq!(reason, Invalid::Signature(VerifyError::Mismatch), "{changed:?}");
    }
    // The query is not covered, and a host is the same in capitals and with the scheme's own port.
    verified(judge(&Request { target: "/articles/1?p=3", ..PLAIN }, &signed));
    verified(judge(&Request { authority: "Site.Example:443", ..PLAIN }, &signed));
}

#[test]
fn another_agent_is_another_url() {
    // The same key, published by somebody else as well: whose it is, the covered URL says, and it cannot be changed.
    let mine = signed(&PLAIN, &HOW);
    let mut keys = at_hand();
    keys.directories.push(directory(KeySource::at(url("https://thief.example/keys.json")), &[&key(1)]));
    let mut stolen = mine.clone();
    stolen.signature_agent = "sig1=\"https://thief.example/keys.json\"".to_owned();
    let outcome = judge_with(&PLAIN, &stolen, &keys, NOW, &Settings::default());
    assert_eq!(invalid(outcome), Invalid::Signature(VerifyError::Mismatch));
    let verified = verified(judge_with(&PLAIN, &mine, &keys, NOW, &Settings::default()));
    assert_eq!(verified.source.map(|source| source.url.as_str().to_owned()).as_deref(), Some(KEYS_URL));
}

#[test]
fn a_mixed_up_cache_makes_nobody_somebody_else() {
    struct MixedUp(Arc<KeyDirectory>);
    impl policy::protocol::bot_auth::Keys for MixedUp {
        fn directory(&self, _: &KeySource) -> Option<Arc<KeyDirectory>> {
            Some(self.0.clone())
        }
    }
    let made = signed(&PLAIN, &HOW);
    let fields = [
        ("signature-agent", made.signature_agent.as_bytes()),
        ("signature-input", made.signature_input.as_bytes()),
        ("signature", made.signature.as_bytes()),
    ];
    let request = Request { fields: &fields, ..PLAIN };
    let others = MixedUp(directory(KeySource::at(url("https://other.example/keys.json")), &[&key(1)]));
    let outcome = verify(&request, &others, NOW, &Settings::default());
    assert_eq!(unverified(outcome), Unverified::NoKeys(KEYS_URL.to_owned()));
}

#[test]
fn time_has_a_skew_and_a_window() {
    let settings = Settings::default();
    let at = |created: i64, expires: i64, now: i64| {
        let signed = signed(&PLAIN, &SignRequest { created, expires, ..HOW });
        judge_with(&PLAIN, &signed, &at_hand(), now, &settings)
    };
    verified(at(NOW + 60, NOW + 120, NOW));
    assert_eq!(invalid(at(NOW + 61, NOW + 120, NOW)), Invalid::Future);
    verified(at(NOW - 60, NOW, NOW + 59));
    assert_eq!(invalid(at(NOW - 60, NOW, NOW + 60)), Invalid::Expired);
    assert_eq!(invalid(at(NOW + 1, NOW, NOW)), Invalid::Backwards);
    verified(at(NOW, NOW + 86_400, NOW));
    let too_long = Invalid::WindowTooLong { window_s: 86_401, window_s_max: 86_400 };
    assert_eq!(invalid(at(NOW, NOW + 86_401, NOW)), too_long);
    // Times at the end of what a structured field can say, either way.
    assert_eq!(invalid(at(999_999_999_999_999, 999_999_999_999_999, NOW)), Invalid::Future);
    assert_eq!(
        invalid(at(-999_999_999_999_999, 999_999_999_999_999, NOW)),
        Invalid::WindowTooLong { window_s: 1_999_999_999_999_998, window_s_max: 86_400 }
    );
}

#[test]
fn parameters_and_target_must_be_there() {
    for (missing, parameters) in [
        ("created", Parameters { created: None, ..parameters() }),
        ("expires", Parameters { expires: None, ..parameters() }),
        ("keyid", Parameters { keyid: None, ..parameters() }),
    ] {
        let reason = invalid(judge(&PLAIN, &raw(AGENT, &COVERED, &parameters, &[])));
        assert_eq!(reason, Invalid::MissingParameter(missing));
    }
    let signed = raw(AGENT, &COVERED[1..], &parameters(), &[]);
    assert_eq!(invalid(judge(&PLAIN, &signed)), Invalid::TargetNotCovered);
    verified(judge(&PLAIN, &raw(AGENT, &["\"@target-uri\"", COVERED[1]], &parameters(), &[])));
}

#[test]
fn algorithms_are_the_keys() {
    let alg =
        |alg: &str| raw(AGENT, &COVERED, &Parameters { alg: Some(alg.to_owned()), ..parameters() }, &[]);
    verified(judge(&PLAIN, &alg("ed25519")));
    for (name, is_known) in [("rsa-pss-sha512", true), ("ecdsa-p256-sha256", true), ("hmac-sha256", false)] {
        match invalid(judge(&PLAIN, &alg(name))) {
            Invalid::Signature(VerifyError::AlgorithmOfKey { .. }) if is_known => {}
            Invalid::Signature(VerifyError::AlgorithmNotAccepted(_)) if !is_known => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn other_tags_are_not_ours() {
    let signed = raw(AGENT, &COVERED, &Parameters { tag: Some("other".to_owned()), ..parameters() }, &[]);
    assert!(matches!(judge(&PLAIN, &signed), Outcome::Unsigned));
    let strict = Settings { refuse_other_tags: true, ..Settings::default() };
    assert_eq!(invalid(judge_with(&PLAIN, &signed, &at_hand(), NOW, &strict)), Invalid::Tag);
}

#[test]
fn generations_of_signature_agent() {
    let well_known = "https://bot.example/.well-known/http-message-signatures-directory";
    let source = |agent: &str, component: &str, settings: &Settings| {
        let made = raw(agent, &["\"@authority\"", component], &parameters(), &[]);
        let fields = [
            ("signature-agent", agent.as_bytes()),
            ("signature-input", made.signature_input.as_bytes()),
            ("signature", made.signature.as_bytes()),
        ];
        let claims = read_claims(&Request { fields: &fields, ..PLAIN }, NOW, settings);
        match claims.sources().first() {
            Some(source) => Ok((source.url.as_str().to_owned(), source.kind)),
            None => Err(claims.otherwise),
        }
    };
    let all = Settings::default();
    let found = |url: &str, kind| (url.to_owned(), kind);
    let member = "\"signature-agent\";key=\"sig1\"";
    for (agent, component, expected) in [
        ("\"https://bot.example\"", "\"signature-agent\"", found(well_known, SourceKind::Directory)),
        (
            "\"https://bot.example/k\"",
            "\"signature-agent\"",
            found("https://bot.example/k", SourceKind::KeySet),
        ),
        ("sig1=\"https://bot.example/\"", member, found(well_known, SourceKind::Directory)),
        ("sig1=\"https://bot.example\";type=directory", member, found(well_known, SourceKind::Directory)),
        (
            "sig1=\"https://BOT.example:443/a/../j?x#y\";type=jwks_uri",
            member,
            found("https://bot.example/j?x", SourceKind::KeySet),
        ),
        (
            "sig1=\"https://bot.example/c\";type=cimd",
            member,
            found("https://bot.example/c", SourceKind::ClientDocument),
        ),
        (format!("sig1=\"{well_known}\"").as_str(), member, found(well_known, SourceKind::Directory)),
        (
            "a=\"https://a.example/a\", sig1=\"https://bot.example/k\"",
            member,
            found("https://bot.example/k", SourceKind::KeySet),
        ),
        (
            "a=\"https://a.example/a\", sig1=\"https://bot.example/k\"",
            "\"signature-agent\";key=\"a\"",
            found("https://a.example/a", SourceKind::KeySet),
        ),
        (
            "a=\"https://a.example/a\"",
            "\"signature-agent\"",
            found("https://a.example/a", SourceKind::KeySet),
        ),
    ] {
        match source(agent, component, &all) {
            Ok(found) => assert_eq!(found, expected, "{agent}"),
            Err(outcome) => panic!("{agent}: {outcome:?}"),
        }
    }
    let newest = Settings { typed_agents: false, ..Settings::default() };
    let typed = source("sig1=\"https://bot.example/j\";type=jwks_uri", member, &newest).expect_err("ignored");
    assert_eq!(unverified(typed), Unverified::Agent(AgentError::Ignored));
    let no_strings = Settings { string_agents: false, ..Settings::default() };
    let string = source("\"https://bot.example\"", "\"signature-agent\"", &no_strings).expect_err("refused");
    assert_eq!(invalid(string), Invalid::Agent(AgentError::Unreadable));
    let labels = Settings { member_is_label: true, ..Settings::default() };
    let other =
        source("a=\"https://a.example/a\"", "\"signature-agent\";key=\"a\"", &labels).expect_err("refused");
    assert_eq!(invalid(other), Invalid::Agent(AgentError::MemberIsNotLabel("a".to_owned())));
}

#[test]
fn agents_that_name_nobody() {
    let with = |agent: &str, covered: &[&str]| judge(&PLAIN, &raw(agent, covered, &parameters(), &[]));
    // Nothing can be decided:
    assert_eq!(unverified(with("", &COVERED[..1])), Unverified::Agent(AgentError::Absent));
    let path = with("sig1=\"https://bot.example/x\";type=directory", &COVERED);
    assert_eq!(unverified(path), Unverified::Agent(AgentError::NotAnOrigin));
    let odd = with("sig1=\"https://bot.example/x\";type=other", &COVERED);
    assert_eq!(unverified(odd), Unverified::Agent(AgentError::Ignored));
    // It is wrong:
    let agent_error = |outcome: Outcome| match invalid(outcome) {
        Invalid::Agent(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(agent_error(with(AGENT, &COVERED[..1])), AgentError::NotCovered);
    let two = "a=\"https://a.example/\", b=\"https://b.example/\"";
    assert_eq!(agent_error(with(two, &["\"@authority\"", "\"signature-agent\""])), AgentError::Ambiguous);
    let both = ["\"@authority\"", "\"signature-agent\";key=\"a\"", "\"signature-agent\";key=\"b\""];
    assert_eq!(agent_error(with(two, &both)), AgentError::Ambiguous);
    let http = with("sig1=\"http://bot.example/\"", &COVERED);
    assert!(matches!(agent_error(http), AgentError::Url(_)));
    assert_eq!(agent_error(with("sig1=bot", &COVERED)), AgentError::Unreadable);
    // What is covered is not what arrived:
    let made = raw(AGENT, &COVERED, &parameters(), &[]);
    let changed =
        |agent: &str| judge(&PLAIN, &SignedRequest { signature_agent: agent.to_owned(), ..made.clone() });
    assert!(matches!(invalid(changed("")), Invalid::Signature(VerifyError::Component(_))));
    assert_eq!(
        invalid(changed("b=\"https://bot.example/keys.json\"")),
        Invalid::Agent(AgentError::NoMember("sig1".to_owned()))
    );
    assert_eq!(invalid(changed(&format!("{AGENT}, {AGENT}"))), Invalid::Agent(AgentError::Repeated));
    assert_eq!(invalid(changed("sig1=\"https://bot.example")), Invalid::Agent(AgentError::Unreadable));
    let required = Settings { agent_required: true, ..Settings::default() };
    let none = raw("", &COVERED[..1], &parameters(), &[]);
    let outcome = judge_with(&PLAIN, &none, &at_hand(), NOW, &required);
    assert_eq!(invalid(outcome), Invalid::Agent(AgentError::Absent));
}

#[test]
fn without_an_agent_a_key_can_be_agreed_upon() {
    let made = raw("", &COVERED[..1], &parameters(), &[]);
    let keys = AtHand { directories: Vec::new(), agreed: vec![key(1).public_key().clone()] };
    let verified = verified(judge_with(&PLAIN, &made, &keys, NOW, &Settings::default()));
    assert_eq!(verified.source, None);
    assert_eq!(*verified.keyid, *key(1).public_key().thumbprint());
}

#[test]
fn keys_that_are_not_at_hand_decide_nothing() {
    let made = signed(&PLAIN, &HOW);
    let outcome = |keys: &AtHand| judge_with(&PLAIN, &made, keys, NOW, &Settings::default());
    assert_eq!(unverified(outcome(&AtHand::default())), Unverified::NoKeys(KEYS_URL.to_owned()));
    let other = directory(KeySource::at(url(KEYS_URL)), &[&key(2)]);
    let other = AtHand { directories: vec![other], agreed: Vec::new() };
    assert_eq!(unverified(outcome(&other)), Unverified::Key(KeyAbsent::Unknown));
    // A key of the same name elsewhere is no help: keys are looked up by URL and key.
    let elsewhere = directory(KeySource::at(url("https://other.example/k")), &[&key(1)]);
    let elsewhere = AtHand { directories: vec![elsewhere], agreed: vec![key(1).public_key().clone()] };
    assert_eq!(unverified(outcome(&elsewhere)), Unverified::NoKeys(KEYS_URL.to_owned()));
}

#[test]
fn several_signatures_are_judged_each_on_its_own() {
    let good = signed(&PLAIN, &HOW);
    let bad =
        sign_request(&key(2), &url(KEYS_URL), &PLAIN, &SignRequest { label: "sig0", ..HOW }).expect("signed");
    let both = SignedRequest {
        signature_agent: format!("{}, {}", bad.signature_agent, good.signature_agent),
        signature_input: format!("{}, {}", bad.signature_input, good.signature_input),
        signature: format!("{}, {}", bad.signature, good.signature),
    };
    assert_eq!(verified(judge(&PLAIN, &both)).label(), "sig1");
    let expired = judge_with(&PLAIN, &both, &at_hand(), NOW + 1_000, &Settings::default());
    assert_eq!(invalid(expired), Invalid::Expired);
    assert!(matches!(
        invalid(judge(&PLAIN, &SignedRequest { signature: bad.signature.clone(), ..good.clone() })),
        Invalid::Malformed(Malformed::NoValue)
    ));
}

/// A signature about another one vouches for all that one covers, or for nothing.
#[test]
fn an_outer_signature_covers_what_the_inner_one_does() {
    let inner = signed(&PLAIN, &SignRequest { label: "inner", ..HOW });
    let fields =
        [("signature-input", inner.signature_input.as_bytes()), ("signature", inner.signature.as_bytes())];
    let agents = format!("{}, {AGENT}", inner.signature_agent);
    let outer = |components: &[&str]| {
        let made = raw(&agents, components, &parameters(), &fields);
        let both = SignedRequest {
            signature_agent: agents.clone(),
            signature_input: format!("{}, {}", made.signature_input, inner.signature_input),
            signature: format!("{}, {}", made.signature, inner.signature),
        };
        let strangers = AtHand::default();
        judge_with(&PLAIN, &both, &strangers, NOW, &Settings::default())
    };
    let complete = [
        "\"@authority\"",
        "\"signature-agent\";key=\"sig1\"",
        "\"signature\";key=\"inner\"",
        "\"signature-input\";key=\"inner\"",
        "\"signature-agent\";key=\"inner\"",
        "\"@method\"",
        "\"@path\"",
    ];
    assert!(matches!(unverified(outer(&complete)), Unverified::NoKeys(_)), "nothing is wrong with it");
    for left_out in 3..complete.len() {
        let mut components = complete.to_vec();
        components.remove(left_out);
        let reason = invalid(outer(&components));
        assert_eq!(reason, Invalid::OuterIncomplete("inner".to_owned()), "{}", complete[left_out]);
    }
}

#[test]
fn money_moves_only_for_what_is_covered() {
    let price: [Field<'_>; 1] = [("crawler-max-price", b"USD 0.05")];
    let request = Request { fields: &price, ..PLAIN };
    let cover = PaymentCover { fields: &["crawler-max-price"], body: false };
    let pays = |components: &[&str], nonce: Option<&str>| {
        let signed = signed(&request, &SignRequest { components, nonce, ..HOW });
        verified(judge(&request, &signed)).covers_payment(&cover)
    };
    let of_field = Err(NotCovered::Field("crawler-max-price".to_owned()));
    let covered = "\"crawler-max-price\"";
    assert_eq!(pays(&["\"@method\"", "\"@path\"", covered], None), Ok(()));
    assert_eq!(pays(&["\"@target-uri\"", covered], None), Ok(()));
    assert_eq!(pays(&[covered], Some("once")), Ok(()));
    assert_eq!(pays(&["\"@method\"", "\"@path\""], None), of_field);
    assert_eq!(pays(&["\"@path\"", covered], None), Err(NotCovered::Work));
    assert_eq!(pays(&["\"@method\"", covered], None), Err(NotCovered::Work));
    assert_eq!(pays(&[covered], None), Err(NotCovered::Work));
    let signed = signed(&request, &SignRequest { components: &["\"@target-uri\"", covered], ..HOW });
    let with_body = verified(judge(&request, &signed)).covers_payment(&PaymentCover { body: true, ..cover });
    assert_eq!(with_body, Err(NotCovered::Body));
    // Changed on the way, it is nobody's.
    let other: [Field<'_>; 1] = [("crawler-max-price", b"USD 5.00")];
    let outcome = judge(&Request { fields: &other, ..PLAIN }, &signed);
    assert_eq!(invalid(outcome), Invalid::Signature(VerifyError::Mismatch));
    let twice: [Field<'_>; 2] = [price[0], price[0]];
    let outcome = judge(&Request { fields: &twice, ..PLAIN }, &signed);
    assert_eq!(invalid(outcome), Invalid::Signature(VerifyError::Mismatch));
}

/// A member or a trailer of that name is not the field.
#[test]
fn a_part_of_a_price_is_not_the_price() {
    let price: [Field<'_>; 1] = [("crawler-max-price", b"usd=5")];
    let member = raw(
        AGENT,
        &["\"@target-uri\"", "\"crawler-max-price\";key=\"usd\"", COVERED[1]],
        &parameters(),
        &price,
    );
    let verified = verified(judge(&Request { fields: &price, ..PLAIN }, &member));
    let cover = PaymentCover { fields: &["crawler-max-price"], body: false };
    assert!(matches!(verified.covers_payment(&cover), Err(NotCovered::Field(_))));
}

#[test]
fn a_replay_has_the_key_of_the_first() {
    let replay = |how: &SignRequest<'_>| verified(judge(&PLAIN, &signed(&PLAIN, how))).replay;
    let first = replay(&HOW);
    assert_eq!(first, replay(&HOW));
    assert_eq!(first.until, NOW + 60 + Settings::default().skew_s);
    assert_ne!(first.digest, replay(&SignRequest { created: NOW - 1, ..HOW }).digest);
    assert_ne!(first.digest, replay(&SignRequest { components: &["\"@target-uri\""], ..HOW }).digest);
    let nonce = replay(&SignRequest { nonce: Some("n1"), ..HOW });
    assert_ne!(nonce.digest, replay(&SignRequest { nonce: Some("n2"), ..HOW }).digest);
    // A nonce is good once, whatever it was signed with.
    let other = SignRequest { nonce: Some("n1"), components: &["\"@target-uri\""], created: NOW - 5, ..HOW };
    assert_eq!(nonce.digest, replay(&other).digest);
}

#[test]
fn the_string_form_names_an_origin() {
    let legacy = SignRequest { form: AgentForm::String, ..HOW };
    for keys in ["https://bot.example", "https://bot.example/.well-known/http-message-signatures-directory"] {
        let signed = sign_request(&key(1), &url(keys), &PLAIN, &legacy).expect("signed");
        assert_eq!(signed.signature_agent, "\"https://bot.example\"");
        assert!(!signed.signature_input.contains(";key="), "{}", signed.signature_input);
        let source = KeySource::directory(&url("https://bot.example"));
        let at_hand = AtHand { directories: vec![directory(source, &[&key(1)])], agreed: Vec::new() };
        let verified = verified(judge_with(&PLAIN, &signed, &at_hand, NOW, &Settings::default()));
        assert_eq!(
            verified.source.and_then(|source| source.domain().map(str::to_owned)).as_deref(),
            Some("bot.example")
        );
    }
    let elsewhere = sign_request(&key(1), &url(KEYS_URL), &PLAIN, &legacy);
    assert_eq!(elsewhere, Err(AgentSignError::NotAtOrigin(KEYS_URL.to_owned())));
    let origin = sign_request(&key(1), &url("https://bot.example"), &PLAIN, &HOW).expect("signed");
    let expected = "sig1=\"https://bot.example/.well-known/http-message-signatures-directory\"";
    assert_eq!(origin.signature_agent, expected);
}

fn read(source: &KeySource, body: &str, settings: &Settings) -> Result<KeyDirectory, DirectoryError> {
    let content_type = Some("Application/HTTP-message-signatures-directory+JSON; charset=utf-8");
    KeyDirectory::read(source, Fetched { status: 200, content_type, body: body.as_bytes() }, settings)
}

#[test]
fn directories_are_read_as_strictly_as_they_must_be() {
    let settings = Settings::default();
    let at_origin = KeySource::directory(&url("https://bot.example"));
    let elsewhere = KeySource::at(url(KEYS_URL));
    let jwk = key(1).public_key().to_jwk();
    let mut misnamed = jwk.clone();
    misnamed["kid"] = json!("my-key");
    let set = |keys: serde_json::Value| json!({ "keys": keys }).to_string();

    assert!(read(&at_origin, &set(json!([jwk])), &settings).is_ok());
    // At the well-known path a key's name is its thumbprint, or it has none; elsewhere names do not matter.
    let refused = read(&at_origin, &set(json!([misnamed])), &settings);
    let thumbprint = key(1).public_key().thumbprint().to_owned();
    match refused {
        Err(DirectoryError::NoKeys(refused)) => {
            assert_eq!(refused[0].why, RefusedKeyReason::Kid { thumbprint: thumbprint.clone() });
        }
        other => panic!("{other:?}"),
    }
    let read_elsewhere = read(&elsewhere, &set(json!([misnamed])), &settings).expect("a directory");
    assert!(read_elsewhere.key(&thumbprint, NOW).is_ok());
    assert_eq!(read_elsewhere.key("my-key", NOW), Err(KeyAbsent::Unknown));
    let mut nameless = jwk.clone();
    nameless.as_object_mut().expect("an object").remove("kid");
    assert!(read(&at_origin, &set(json!([nameless])), &settings).is_ok());

    // One bare key where a set belongs.
    assert!(read(&at_origin, &jwk.to_string(), &settings).is_ok());
    let sets_only = Settings { bare_keys: false, ..Settings::default() };
    assert!(matches!(read(&at_origin, &jwk.to_string(), &sets_only), Err(DirectoryError::NotAKeySet(_))));

    for nothing in ["", "<html></html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "\u{0}"] {
        let refused = read(&at_origin, nothing, &settings);
        assert!(matches!(refused, Err(DirectoryError::NotAKeySet(_))), "{nothing}: {refused:?}");
    }
    assert_eq!(read(&at_origin, r#"{"keys":[]}"#, &settings), Err(DirectoryError::NoKeys(Vec::new())));
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert!(matches!(read(&at_origin, &deep, &settings), Err(DirectoryError::NotAKeySet(_))));
    let long = format!("{}{}", set(json!([jwk])), " ".repeat(64 * 1024));
    assert_eq!(read(&at_origin, &long, &settings), Err(DirectoryError::TooLong));
    let mut many: Vec<_> = (2..80).map(|seed| key(seed).public_key().to_jwk()).collect();
    many.push(jwk.clone());
    let many = read(&at_origin, &set(json!(many)), &settings).expect("a directory");
    assert_eq!(many.keys().len(), 64);
    assert_eq!(many.key(&thumbprint, NOW), Err(KeyAbsent::Unknown), "it is behind the limit");

    let body = set(json!([jwk]));
    let with = |status: u16, content_type: Option<&str>, settings: &Settings| {
        KeyDirectory::read(&at_origin, Fetched { status, content_type, body: body.as_bytes() }, settings)
            .map(|_| ())
    };
    for status in [204, 301, 302, 307, 404, 500] {
        assert_eq!(with(status, Some(DIRECTORY_MEDIA_TYPE), &settings), Err(DirectoryError::Status(status)));
    }
    let json_type = Some("application/json");
    assert_eq!(
        with(200, json_type, &settings),
        Err(DirectoryError::MediaType(Some("application/json".to_owned())))
    );
    assert_eq!(with(200, None, &settings), Err(DirectoryError::MediaType(None)));
    let tolerant = Settings { other_media_types: true, ..Settings::default() };
    assert_eq!(with(200, json_type, &tolerant), Ok(()));
    assert!(with(200, Some("text/html"), &tolerant).is_err());
}

#[test]
fn keys_that_cannot_be_used_do_not_spoil_the_others() {
    let source = KeySource::at(url(KEYS_URL));
    let good = key(1).public_key().to_jwk();
    let with = |member: &str, value: serde_json::Value| {
        let mut jwk = key(2).public_key().to_jwk();
        jwk[member] = value;
        jwk
    };
    let small_order = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let cases = [
        with("use", json!("enc")),
        with("key_ops", json!(["encrypt"])),
        with("alg", json!("ES256")),
        with("kty", json!("oct")),
        with("crv", json!("X25519")),
        with("x", json!(small_order)),
        with("x", json!("AA")),
        with("x", json!(format!("{}=", good["x"].as_str().expect("x")))),
        with("x", json!(7)),
        with("d", json!(small_order)),
        with("nbf", json!("tomorrow")),
        good.clone(),
        json!("key"),
        json!({"kty":"RSA","n":"AQAB","e":"AQAB"}),
        json!({"kty":"EC","crv":"P-384","x":"AA","y":"AA"}),
    ];
    let mut keys = vec![good];
    keys.extend(cases.clone());
    let read =
        read(&source, &json!({ "keys": keys }).to_string(), &Settings::default()).expect("a directory");
    assert_eq!(read.keys().len(), 1);
    assert_eq!(read.refused().len(), cases.len(), "{:?}", read.refused());
    let why: Vec<&RefusedKeyReason> = read.refused().iter().map(|refused| &refused.why).collect();
    assert_eq!(why[5], &RefusedKeyReason::Key(KeyError::Weak));
    assert_eq!(why[9], &RefusedKeyReason::PrivatePart);
    assert_eq!(why[11], &RefusedKeyReason::Twice);
}

#[test]
fn keys_have_their_time() {
    let source = KeySource::at(url(KEYS_URL));
    for (nbf, exp) in [
        (json!(NOW), json!(NOW + 100)),
        // Milliseconds, as some write them, and fractions.
        (json!(NOW * 1_000), json!((NOW + 100) * 1_000)),
        (json!(NOW as f64), json!(NOW as f64 + 100.5)),
    ] {
        let mut jwk = key(1).public_key().to_jwk();
        jwk["nbf"] = nbf;
        jwk["exp"] = exp;
        let read =
            read(&source, &json!({ "keys": [jwk] }).to_string(), &Settings::default()).expect("a directory");
        let at = |now: i64| read.key(key(1).public_key().thumbprint(), now).map(|_| ());
        assert_eq!(at(NOW - 1), Err(KeyAbsent::NotYet));
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(NOW + 99), Ok(()));
        assert_eq!(at(NOW + 100), Err(KeyAbsent::Expired));
    }
}

#[test]
fn a_directory_is_signed_by_those_whose_keys_it_has() {
    let source = KeySource::directory(&url("https://bot.example"));
    let (one, two) = (key(1), key(2));
    let body = directory_body(&[one.public_key(), two.public_key()]);
    let settings = Settings::default();
    let directory = read(&source, &body, &settings).expect("a directory");
    let check = |signers: &[&SigningKey], authority: &str, now: i64| {
        let fields = directory_fields(signers, "bot.example", &body, NOW, NOW + 300).expect("fields");
        let fields: Vec<Field<'_>> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let response = Response { status: 200, fields: &fields, trailers: &[], request: None };
        directory.signed_by(authority, &response, body.as_bytes(), now, &settings)
    };
    let names = |keys: &[&SigningKey]| -> Vec<String> {
        keys.iter().map(|key| key.public_key().thumbprint().to_owned()).collect()
    };
    assert_eq!(check(&[&one, &two], "bot.example", NOW), Ok(names(&[&one, &two])));
    assert_eq!(check(&[&two], "bot.example", NOW), Ok(names(&[&two])));
    // Somebody else's directory, copied: signed by a key that is not in it, or for another host.
    assert_eq!(check(&[&key(3)], "bot.example", NOW), Err(DirectorySignatureError::NoneHolds));
    assert_eq!(check(&[&one], "thief.example", NOW), Err(DirectorySignatureError::NoneHolds));
    assert_eq!(check(&[&one], "bot.example", NOW - 61), Err(DirectorySignatureError::NoneHolds));
    assert_eq!(check(&[&one], "bot.example", NOW + 360), Err(DirectorySignatureError::NoneHolds));
    assert_eq!(check(&[], "bot.example", NOW), Err(DirectorySignatureError::Unsigned));
}

/// Without the host, a copy of the directory would be as good as the directory.
#[test]
fn a_directory_signature_without_the_host_is_none() {
    let source = KeySource::directory(&url("https://bot.example"));
    let body = directory_body(&[key(1).public_key()]);
    let directory = read(&source, &body, &Settings::default()).expect("a directory");
    let digest = content_digest(body.as_bytes());
    let answered = Request { authority: "bot.example", ..PLAIN };
    let signers = |components: &[&str]| {
        let components: Vec<Component> =
            components.iter().map(|text| Component::parse(text).expect("a component")).collect();
        let parameters =
            Parameters { tag: Some("http-message-signatures-directory".to_owned()), ..parameters() };
        let covered = [("content-digest", digest.as_bytes())];
        let response = Response { status: 200, fields: &covered, trailers: &[], request: Some(&answered) };
        let made = key(1).sign("a", &components, &parameters, Message::Response(&response)).expect("signed");
        let fields = [
            covered[0],
            ("signature-input", made.input.as_bytes()),
            ("signature", made.signature.as_bytes()),
        ];
        let response = Response { fields: &fields, request: None, ..response };
        directory.signed_by("bot.example", &response, body.as_bytes(), NOW, &Settings::default())
    };
    assert!(signers(&["\"@authority\";req", "\"content-digest\""]).is_ok());
    let none = Err(DirectorySignatureError::NoneHolds);
    assert_eq!(signers(&["\"content-digest\""]), none);
    assert_eq!(signers(&["\"@authority\";req"]), none);
}
