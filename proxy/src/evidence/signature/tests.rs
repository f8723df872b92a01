//! What was verified once counts again for the same request, and for no other.

use http::{HeaderValue, Method};
use policy::protocol::bot_auth::{AgentForm, HttpsUrl, Invalid, Settings, SignRequest, sign_request};
use policy::protocol::message_signature::SigningKey;
use policy::{Class, Purpose, Verification};

use super::super::IdentityOptions;
use super::*;

const NOW: i64 = 1_795_000_000;
const AGENT: &str = "https://bot.example/keys.json";
const HOST: &str = "site.example";

struct Setting {
    agents: Agents,
    row: CrawlerRow,
    key: SigningKey,
}

fn setting() -> Setting {
    let source = KeySource::at(HttpsUrl::parse(AGENT).expect("a URL"));
    let key = SigningKey::from_seed(&[7; 32]).expect("a key");
    let agents = Agents::new(&IdentityOptions::default());
    agents.publish(&source, &[key.public_key()]);
    let verification = Verification { agents: vec![source], ..Verification::default() };
    let row = CrawlerRow {
        token: Arc::from("ExampleBot"),
        operator: Arc::from("example"),
        operator_name: Arc::from("Example"),
        class: Class::Ai,
        purpose: Purpose::Train,
        verification,
        source: Arc::from("test"),
    };
    Setting { agents, row, key }
}

/// A signed request whose signature covers these.
fn signed(key: &SigningKey, components: &[&str]) -> request::Parts {
    let mut head = http::Request::get("/articles/1?p=2")
        .header("user-agent", "ExampleBot/1.0")
        .header("crawler-max-price", "USD 0.01")
        .header("accept", "text/html")
        .header("accept", "text/plain")
        .body(())
        .expect("a request")
        .into_parts()
        .0;
    let fields: Vec<Field<'_>> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = Request {
        method: "GET",
        scheme: "https",
        authority: HOST,
        target: "/articles/1?p=2",
        fields: &fields,
        trailers: &[],
    };
    let what = SignRequest {
        form: AgentForm::Dictionary,
        label: "sig1",
        components,
        created: NOW,
        expires: NOW + 60,
        nonce: None,
    };
    let agent = HttpsUrl::parse(AGENT).expect("a URL");
    let signed = sign_request(key, &agent, &request, &what).expect("it can be signed");
    for (name, value) in [
        ("signature-agent", signed.signature_agent),
        ("signature-input", signed.signature_input),
        ("signature", signed.signature),
    ] {
        head.headers.insert(name, HeaderValue::try_from(value).expect("a value"));
    }
    head
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Everything about a request that somebody could change.
fn changed(head: &request::Parts) -> Vec<(String, request::Parts, &'static str, &'static str)> {
    let mut all = vec![
        ("host".to_owned(), head.clone(), "https", "other.example"),
        ("scheme".to_owned(), head.clone(), "http", HOST),
    ];
    let mut change = |name: &str, edit: &dyn Fn(&mut request::Parts)| {
        let mut head = head.clone();
        edit(&mut head);
        all.push((name.to_owned(), head, "https", HOST));
    };
    change("nothing", &|_| {});
    change("method", &|head| head.method = Method::HEAD);
    for target in ["/articles/2?p=2", "/articles/1?p=3", "/articles/1", "/articles/1?p=2&q=3"] {
        change(target, &|head| head.uri = target.parse().expect("a target"));
    }
    for name in head.headers.keys() {
        change(&format!("no {name}"), &|head| _ = head.headers.remove(name));
        change(&format!("more {name}"), &|head| {
            _ = head.headers.append(name, HeaderValue::from_static("\"x\""))
        });
        change(&format!("other {name}"), &|head| {
            let value = head.headers.get_mut(name).expect("it is there");
            let mut bytes = value.as_bytes().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] = if bytes[middle] == b'a' { b'b' } else { b'a' };
            *value = HeaderValue::from_bytes(&bytes).expect("a value");
        });
    }
    all
}

#[test]
fn what_is_remembered_is_what_would_be_verified() {
    let Setting { agents, row, key } = setting();
    for components in [
        &[][..],
        &["\"@method\"", "\"@path\""],
        &["\"@query\""],
        &["\"@target-uri\"", "\"crawler-max-price\""],
        &["\"@scheme\"", "\"@request-target\""],
        &["\"@query-param\";name=\"p\""],
        &["\"accept\"", "\"user-agent\""],
    ] {
        let memory = Memory::new();
        let head = signed(&key, components);
        let received = Received { head: &head, scheme: "https", authority: HOST };
        let Outcome::Verified(verified) = run(verify(&agents, &row, &received, NOW)) else {
            panic!("{components:?} is not verified")
        };
        let generation = agents.generation();
        memory.insert(&received, generation, &verified, &agents);
        assert!(memory.get(&received, generation, NOW).is_none(), "it may never come again");
        memory.insert(&received, generation, &verified, &agents);
        let mut remembered = 0;
        for (change, head, scheme, authority) in changed(&head) {
            let received = Received { head: &head, scheme, authority };
            let is_remembered = memory.get(&received, generation, NOW).is_some();
            let is_verified = matches!(run(verify(&agents, &row, &received, NOW)), Outcome::Verified(_));
            assert!(is_verified || !is_remembered, "{components:?}: {change} is taken for what was signed");
            remembered += usize::from(is_remembered);
        }
        assert!(remembered > 3, "{components:?}: what is not covered may differ");
        assert!(memory.get(&received, generation + 1, NOW).is_none(), "the keys are other ones now");
        assert!(memory.get(&received, generation, NOW + 119).is_some());
        assert!(memory.get(&received, generation, NOW + 120).is_none(), "it has expired");
    }
}

#[test]
fn what_is_accepted_is_as_it_is_configured() {
    let Setting { row, key, .. } = setting();
    let head = signed(&key, &[]);
    let received = Received { head: &head, scheme: "https", authority: HOST };
    let outcome = |signatures: Settings, now: i64| {
        let agents = Agents::new(&IdentityOptions { signatures, ..IdentityOptions::default() });
        agents.publish(&row.verification.agents[0], &[key.public_key()]);
        run(verify(&agents, &row, &received, now))
    };
    assert!(matches!(outcome(Settings::default(), NOW), Outcome::Verified(_)));
    let short = Settings { window_s_max: 59, ..Settings::default() };
    assert!(matches!(
        outcome(short, NOW),
        Outcome::Invalid { reason: Invalid::WindowTooLong { window_s: 60, window_s_max: 59 }, .. }
    ));
    let exact = Settings { skew_s: 0, ..Settings::default() };
    assert!(matches!(outcome(Settings::default(), NOW + 60), Outcome::Verified(_)), "a minute later");
    assert!(matches!(outcome(exact, NOW + 60), Outcome::Invalid { reason: Invalid::Expired, .. }));
}

#[test]
fn a_signature_is_another_crawlers() {
    let Setting { agents, row, key } = setting();
    let head = signed(&key, &[]);
    let received = Received { head: &head, scheme: "https", authority: HOST };
    let other = CrawlerRow { verification: Verification::default(), ..row };
    assert!(matches!(
        run(verify(&agents, &other, &received, NOW)),
        Outcome::Unverified { reason: Unverified::NoKeys(_), .. }
    ));
}
