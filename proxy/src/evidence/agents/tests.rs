//! Keys of agents on loopback: fetched ahead of time, kept through failures, never waited for twice.

use std::sync::atomic::AtomicUsize;

use http::HeaderValue;
use policy::protocol::bot_auth::HttpsUrl;

use super::*;
use crate::evidence::tests::https_server::{HttpsServer, Reply, certificate};

/// RFC 8037 appendix A, and RFC 9421 appendix B.1.4.
const KEYS: [&str; 2] = [
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    r#"{"kty":"OKP","crv":"Ed25519","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}"#,
];

fn keys(count: usize, field: &str) -> Reply {
    let body = format!("{{\"keys\":[{}]}}", KEYS[..count].join(","));
    let length = body.len();
    Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())
}

fn source(server: &HttpsServer, path: &str) -> KeySource {
    let url = format!("https://127.0.0.1:{}{path}", server.address.port());
    KeySource::at(HttpsUrl::parse(&url).expect("a URL"))
}

fn options(roots: Arc<rustls::RootCertStore>) -> IdentityOptions {
    IdentityOptions {
        roots: Some(roots),
        nameserver: Some("127.0.0.1:9".parse().expect("an address")),
        agent_networks: vec!["127.0.0.0/8".parse().expect("a network")],
        wait_max: Duration::from_secs(20),
        ..IdentityOptions::default()
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

fn start(options: IdentityOptions, sources: &[KeySource]) -> Arc<Agents> {
    let agents = Arc::new(Agents::new(&options));
    agents.follow(sources.to_vec());
    tokio::spawn(keep(Arc::clone(&agents), options));
    agents
}

/// Waits until so many fetches have ended.
async fn ended(agents: &Agents, fetches: u64) {
    let mut ended = agents.ended.subscribe();
    let enough = ended.wait_for(|ended| *ended >= fetches);
    tokio::time::timeout(Duration::from_secs(20), enough).await.expect("in time").expect("agents live");
}

fn at_hand(agents: &Agents, source: &KeySource) -> usize {
    agents.directory(source).map_or(0, |directory| directory.keys().len())
}

#[test]
fn keys_are_at_hand_before_anybody_asks_and_newer_ones_soon_after() {
    static ROTATED: AtomicUsize = AtomicUsize::new(1);
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let script = |_: &str| keys(ROTATED.load(Ordering::Relaxed), "Cache-Control: max-age=3600");
        let server = HttpsServer::start("127.0.0.1:0", config, script).await;
        let source = source(&server, "/keys.json");
        let agents = start(options(roots), std::slice::from_ref(&source));
        ended(&agents, 1).await;
        assert_eq!(at_hand(&agents, &source), 1);
        let before = agents.generation();

        ROTATED.store(2, Ordering::Relaxed);
        assert!(agents.ask(&source).await, "a key that is not there is worth a look");
        assert_eq!(at_hand(&agents, &source), 2);
        assert_ne!(agents.generation(), before, "what was verified before is verified again");
        let (before, connections) = (agents.generation(), server.connections());
        for _ in 0..100 {
            assert!(!agents.ask(&source).await, "but not for each request");
        }
        assert_eq!((server.connections(), agents.generation()), (connections, before));
    });
}

#[test]
fn a_failure_takes_no_keys_away_and_makes_nobody_wait() {
    static FAILS: AtomicUsize = AtomicUsize::new(0);
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let script = |path: &str| match (path, FAILS.load(Ordering::Relaxed)) {
            ("/keys.json", 0) => keys(1, "Cache-Control: no-store"),
            _ => Reply::Bytes(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec()),
        };
        let server = HttpsServer::start("127.0.0.1:0", config, script).await;
        let (good, bad) = (source(&server, "/keys.json"), source(&server, "/other.json"));
        let agents = start(options(roots), &[good.clone(), bad.clone()]);
        ended(&agents, 2).await;
        assert_eq!((at_hand(&agents, &good), at_hand(&agents, &bad)), (1, 0));
        assert!(!agents.ask(&bad).await, "a moment ago they could not be had");

        FAILS.store(1, Ordering::Relaxed);
        assert!(agents.ask(&good).await);
        assert_eq!(at_hand(&agents, &good), 1, "the last good copy stays");
        let status = agents.status();
        let failures: Vec<_> = status.iter().map(|agent| agent.failure.as_deref().unwrap_or("")).collect();
        assert!(failures.iter().all(|failure| failure.contains("500")), "{failures:?}");
        // When it is too old, it goes.
        let (_, next) = agents.due(Instant::now() + BELIEVED, &["nobody".to_owned()]);
        assert!(next > Instant::now());
        assert_eq!(at_hand(&agents, &good), 0);
    });
}

#[test]
fn one_host_is_asked_for_one_thing_at_a_time_and_holds_up_no_other() {
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let silent = HttpsServer::start("127.0.0.1:0", Arc::clone(&config), |_| Reply::Silence).await;
        let honest = HttpsServer::start("127.0.0.1:0", config, |_| keys(1, "X: y")).await;
        let mut sources: Vec<KeySource> =
            (0..9).map(|number| source(&silent, &format!("/{number}.json"))).collect();
        let good = source(&honest, "/keys.json");
        sources.push(good.clone());
        let agents = start(options(roots), &sources);
        ended(&agents, 1).await;
        assert_eq!(at_hand(&agents, &good), 1);
        assert_eq!(silent.connections(), 1);
        let waited = Instant::now();
        let patience = IdentityOptions { wait_max: Duration::from_millis(50), ..IdentityOptions::default() };
        let impatient = Agents::new(&patience);
        impatient.follow(vec![sources[0].clone()]);
        assert!(!impatient.ask(&sources[0]).await, "nobody waits longer than that");
        assert!(waited.elapsed() >= Duration::from_millis(50));
    });
}

#[test]
fn another_policy_names_other_keys() {
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let server = HttpsServer::start("127.0.0.1:0", config, |_| keys(1, "X: y")).await;
        let (one, other) = (source(&server, "/one.json"), source(&server, "/other.json"));
        let agents = start(options(roots), std::slice::from_ref(&one));
        ended(&agents, 1).await;
        let before = agents.generation();
        agents.follow(vec![other.clone()]);
        assert_ne!(agents.generation(), before);
        ended(&agents, 2).await;
        assert_eq!((at_hand(&agents, &one), at_hand(&agents, &other)), (0, 1));
    });
}

#[test]
fn nothing_is_fetched_where_nothing_may_be() {
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let server = HttpsServer::start("127.0.0.1:0", config, |_| keys(1, "X: y")).await;
        let source = source(&server, "/keys.json");
        let offline = start(
            IdentityOptions { agents: false, ..options(Arc::clone(&roots)) },
            std::slice::from_ref(&source),
        );
        assert!(!offline.ask(&source).await);
        let public = start(
            IdentityOptions { agent_networks: Vec::new(), ..options(roots) },
            std::slice::from_ref(&source),
        );
        ended(&public, 1).await;
        assert!(public.status()[0].failure.as_deref().is_some_and(|failure| failure.contains("public")));
        assert_eq!(server.connections(), 0, "this is a private address");
    });
}

#[test]
fn publishers_say_how_long_keys_are_fresh_within_limits() {
    let fresh = |fields: &[(http::HeaderName, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        freshness(&headers).as_secs()
    };
    assert_eq!(fresh(&[]), 3600);
    assert_eq!(fresh(&[(CACHE_CONTROL, "public, Max-Age=600")]), 600);
    assert_eq!(fresh(&[(CACHE_CONTROL, "public"), (CACHE_CONTROL, "max-age=600"), (AGE, "100")]), 500);
    assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=1")]), 60);
    assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=99999999999999999999")]), 60);
    assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=31536000")]), 12 * 3600);
    assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=600, no-store")]), 60);
    assert_eq!(fresh(&[(AGE, "5")]), 3600);
}

#[test]
fn an_agent_that_withdraws_its_last_key_has_none() {
    static WITHDRAWN: AtomicUsize = AtomicUsize::new(0);
    run(async {
        let (config, roots) = certificate(&["127.0.0.1"]);
        let script = |_: &str| keys(1 - WITHDRAWN.load(Ordering::Relaxed), "Cache-Control: no-store");
        let server = HttpsServer::start("127.0.0.1:0", config, script).await;
        let source = source(&server, "/keys.json");
        let agents = start(options(roots), std::slice::from_ref(&source));
        ended(&agents, 1).await;
        assert_eq!(at_hand(&agents, &source), 1);
        let before = agents.generation();

        WITHDRAWN.store(1, Ordering::Relaxed);
        assert!(agents.ask(&source).await);
        assert_eq!(at_hand(&agents, &source), 0, "a set that was fetched and has no key in it is no failure");
        assert_ne!(agents.generation(), before, "what was verified before is verified again");
    });
}
