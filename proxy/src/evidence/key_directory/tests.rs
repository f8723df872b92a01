//! Key directories of honest, clumsy and hostile agents, on loopback.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hickory_resolver::TokioResolver;
use policy::protocol::bot_auth::HttpsUrl;

use super::*;
use crate::error::chain;
use crate::evidence::document::tls;
use crate::evidence::reverse_dns::resolver;
use crate::evidence::tests::https_server::{HttpsServer, Reply, certificate};
use crate::evidence::tests::name_server::{NameServer, Script};

/// RFC 8037 appendix A.
const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn script(path: &str) -> Reply {
    let set = format!("{{\"keys\":[{KEY}]}}");
    let answer = |status: &str, field: &str, body: &str| {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{field}\r\nContent-Length: {length}\r\n\r\n{body}");
        Reply::Bytes(text.into_bytes())
    };
    let json = "Content-Type: application/json";
    match path {
        "/.well-known/http-message-signatures-directory" => {
            answer("200 OK", "Content-Type: application/http-message-signatures-directory+json", &set)
        }
        "/keys.json" => answer("200 OK", json, &set),
        "/moved" => answer("302 Found", "Location: /keys.json", ""),
        "/missing" => answer("404 Not Found", json, &set),
        "/page" => answer("200 OK", "Content-Type: text/html", "<html>sign in</html>"),
        "/empty" => answer("200 OK", json, "{\"keys\":[]}"),
        "/zipped" => answer("200 OK", "Content-Encoding: gzip", &set),
        "/huge" => answer("200 OK", json, &" ".repeat(DIRECTORY_BYTES_MAX + 1)),
        "/endless" => Reply::Trickle(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec()),
        "/slow-head" => Reply::Trickle(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
        "/silent" => Reply::Silence,
        _ => Reply::Bytes(b"garbage\r\n\r\n".to_vec()),
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

fn url(host: &str, port: u16, path: &str) -> HttpsUrl {
    HttpsUrl::parse(&format!("https://{host}:{port}{path}")).expect("a URL")
}

async fn keys(
    source: &KeySource,
    roots: &Arc<rustls::RootCertStore>,
    reach: Reach<'_>,
) -> Result<AgentKeys, String> {
    let tls = tls(Some(roots)).expect("roots");
    fetch(source, &tls, reach, &Settings::default()).await.map_err(|error| chain(&error))
}

#[test]
fn keys_come_from_where_the_agent_says_and_nothing_else_does() {
    run(async {
        let (config, roots) = certificate(&["localhost"]);
        let server = HttpsServer::start("127.0.0.1:0", config, script).await;
        let port = server.address.port();
        for path in ["/", "/keys.json"] {
            let keys = keys(&KeySource::at(url("localhost", port, path)), &roots, Reach::Anywhere).await;
            let keys = keys.expect(path);
            assert_eq!(keys.directory.keys()[0].key.thumbprint(), THUMBPRINT, "{path}");
        }
        for (path, expect) in [
            ("/moved", "status 302"),
            ("/missing", "status 404"),
            ("/page", "not a JSON Web Key Set"),
            ("/empty", "no key in it can be used"),
            ("/zipped", "compressed"),
            ("/huge", "body could not be read"),
            ("/garbage", "the connection broke"),
        ] {
            let before = server.connections();
            let error = keys(&KeySource::at(url("localhost", port, path)), &roots, Reach::Anywhere).await;
            let error = error.expect_err(path);
            assert!(error.contains(expect), "{path}: {error}");
            assert_eq!(server.connections(), before + 1, "{path}: nothing is fetched twice or followed");
        }
    });
}

#[test]
fn a_slow_directory_is_given_up_after_three_seconds() {
    run(async {
        let (config, roots) = certificate(&["localhost"]);
        let server = HttpsServer::start("127.0.0.1:0", config, script).await;
        let all = ["/endless", "/slow-head", "/silent"].map(async |path| {
            let source = KeySource::at(url("localhost", server.address.port(), path));
            let began = Instant::now();
            let error = keys(&source, &roots, Reach::Anywhere).await.expect_err(path);
            assert!(error.contains("within 3 s"), "{path}: {error}");
            // Far below what it would take, and above what a busy machine makes of it.
            assert!(began.elapsed() < FETCH_TIME_MAX * 4, "{path}: {:?}", began.elapsed());
        });
        futures_util::future::join_all(all).await;
    });
}

/// A resolver that asks a script.
async fn asking(script: Script) -> (NameServer, TokioResolver) {
    let server = NameServer::start(script).await;
    let resolver = resolver(Some(server.address)).expect("a resolver");
    (server, resolver)
}

#[test]
fn no_name_and_no_spelling_leads_to_a_private_address() {
    run(async {
        let (config, roots) = certificate(&["agent.test"]);
        let server = HttpsServer::start("127.0.0.1:0", config.clone(), script).await;
        let port = server.address.port();
        let script = Script::default()
            .addresses("agent.test", &["127.0.0.1"])
            .addresses("six.agent.test", &["::1"])
            .addresses("mapped.agent.test", &["::ffff:127.0.0.1"])
            .addresses("metadata.agent.test", &["169.254.169.254"])
            .addresses("both.agent.test", &["1.1.1.1", "127.0.0.1"]);
        let (_names, resolver) = asking(script).await;
        for host in [
            "agent.test",
            "six.agent.test",
            "mapped.agent.test",
            "metadata.agent.test",
            "both.agent.test",
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "10.0.0.1",
            "0.0.0.0",
        ] {
            let source = KeySource::at(url(host, port, "/keys.json"));
            let error = keys(&source, &roots, Reach::public(&resolver)).await.expect_err(host);
            assert!(error.contains("not on the public internet"), "{host}: {error}");
        }
        // Spellings that other resolvers take for addresses are no URL of an agent's, or names that do not exist.
        for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"] {
            let Ok(url) = HttpsUrl::parse(&format!("https://{host}:{port}/keys.json")) else { continue };
            keys(&KeySource::at(url), &roots, Reach::public(&resolver)).await.expect_err(host);
        }
        assert_eq!(server.connections(), 0, "nobody came by");
    });
}

#[test]
fn a_name_is_asked_once_and_the_connection_goes_where_it_led() {
    run(async {
        let (config, roots) = certificate(&["agent.test"]);
        // What counts as public here; the same port on another address is what must not be reached.
        let public = HttpsServer::start("127.0.0.2:0", config.clone(), script).await;
        let port = public.address.port();
        let private = HttpsServer::start(&format!("127.0.0.1:{port}"), config, script).await;
        let (names, resolver) = asking(Script::default().addresses("agent.test", &["127.0.0.2"])).await;
        let is_allowed = |address: IpAddr| address == IpAddr::from([127, 0, 0, 2]);
        let reach = Reach::Allowed { resolver: &resolver, is_allowed: &is_allowed };
        let source = KeySource::at(url("agent.test", port, "/keys.json"));
        let keys = keys(&source, &roots, reach).await.expect("keys");
        assert_eq!(keys.directory.keys()[0].key.thumbprint(), THUMBPRINT);
        assert!(
            names.asked("agent.test") <= 2,
            "A and AAAA, once each: whoever asks again may hear otherwise"
        );
        assert_eq!((public.connections(), private.connections()), (1, 0));
    });
}
