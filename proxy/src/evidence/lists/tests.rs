//! The shelf against a directory, and against an https server on loopback with a certificate of its own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::evidence::tests::https_server;

const LIST: &str = "https://lists.example/bot.json";

fn shelf(options: &IdentityOptions, url: &str) -> Arc<Shelf> {
    let shelf = Arc::new(Shelf::new(options));
    shelf.follow(vec![url.to_owned()]);
    shelf
}

fn has(shelf: &Shelf, url: &str, address: &str) -> Option<bool> {
    shelf.lists().get(url).map(|list| list.contains(address.parse().expect("an address")))
}

fn the_only(shelf: &Shelf) -> ListStatus {
    let mut status = shelf.status();
    assert_eq!(status.len(), 1);
    status.remove(0)
}

fn hours_ago(hours: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(hours * 3600)
}

fn put(path: &Path, text: &str, changed: SystemTime) {
    fs::write(path, text).expect("a file");
    fs::File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(changed))
        .expect("its time");
}

#[test]
fn a_directory_s_list_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lists.example_bot.json");
    let options = IdentityOptions {
        lists_dir: Some(directory.path().to_owned()),
        fetch: false,
        ..IdentityOptions::default()
    };
    let shelf = shelf(&options, LIST);
    shelf.read_disk();
    assert_eq!(the_only(&shelf).state, ListState::Missing);
    assert!(shelf.due(SystemTime::now()).is_empty(), "nothing is fetched if that is forbidden");

    put(&path, "192.0.2.0/24", hours_ago(3));
    shelf.read_disk();
    assert_eq!(has(&shelf, LIST, "192.0.2.1"), Some(true));
    let status = the_only(&shelf);
    assert_eq!(status.age.map(|age| age.as_secs() / 3600), Some(3));

    // What is no list leaves the last good copy in place, and says why.
    for (garbage, hours, expect) in [("", 2, "empty"), ("<html>", 1, "page")] {
        put(&path, garbage, hours_ago(hours));
        shelf.read_disk();
        assert_eq!(has(&shelf, LIST, "192.0.2.1"), Some(true));
        let failure = the_only(&shelf).failure.expect("a failure");
        assert!(failure.contains(expect), "{failure}");
    }
    put(&path, "198.51.100.0/24", hours_ago(0));
    shelf.read_disk();
    assert_eq!(has(&shelf, LIST, "192.0.2.1"), Some(false));
    assert_eq!(has(&shelf, LIST, "198.51.100.1"), Some(true));
    assert_eq!(the_only(&shelf).failure, None);

    // Taken away, it stays until its age limit; too old, it is put aside.
    fs::remove_file(&path).expect("it is there");
    shelf.read_disk();
    assert_eq!(has(&shelf, LIST, "198.51.100.1"), Some(true));
    put(&path, "198.51.100.0/24", hours_ago(31 * 24));
    shelf.read_disk();
    assert_eq!(has(&shelf, LIST, "198.51.100.1"), None);
    assert_eq!(the_only(&shelf).state, ListState::TooOld);
}

#[test]
fn only_lists_that_are_followed_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    put(&directory.path().join("lists.example_bot.json"), "192.0.2.0/24", hours_ago(1));
    let options =
        IdentityOptions { lists_dir: Some(directory.path().to_owned()), ..IdentityOptions::default() };
    let shelf = shelf(&options, LIST);
    shelf.read_disk();
    assert!(shelf.due(SystemTime::now()).is_empty(), "what is in the directory is not fetched");
    shelf.follow(vec!["https://other.example/".to_owned()]);
    shelf.read_disk();
    assert_eq!(has(&shelf, LIST, "192.0.2.1"), None);
    assert_eq!(shelf.due(SystemTime::now()), ["https://other.example/"]);
    shelf.follow((0..1000).map(|n| format!("https://other.example/{n}")).collect());
    assert_eq!(shelf.status().len(), LISTS_MAX);
}

#[test]
fn a_kept_list_outlives_the_process_with_its_age() {
    let state = tempfile::tempdir().expect("a directory");
    let options = IdentityOptions { state_dir: Some(state.path().to_owned()), ..IdentityOptions::default() };
    let first = shelf(&options, LIST);
    first.take(LIST, Ok("192.0.2.0/24".to_owned())).expect("a list");
    let kept = state.path().join("lists").join("lists.example_bot.json");
    assert_eq!(fs::read_to_string(&kept).expect("it is kept"), "192.0.2.0/24");

    let again = shelf(&options, LIST);
    again.read_disk();
    assert_eq!(has(&again, LIST, "192.0.2.1"), Some(true));
    assert!(again.due(SystemTime::now()).is_empty(), "it is young");
    assert_eq!(again.due(SystemTime::now() + REFRESH), [LIST]);

    // The age is what was written beside it, whatever a restored backup does to the file's own time.
    let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let beside = format!(r#"{{"url":"{LIST}","fetched_at":{}}}"#, seconds(hours_ago(29 * 24)));
    fs::write(fetched_path(&kept), beside).expect("a file");
    let old = shelf(&options, LIST);
    old.read_disk();
    assert_eq!(the_only(&old).age.map(|age| age.as_secs() / 3600 / 24), Some(29));
    assert_eq!(old.due(SystemTime::now()), [LIST]);
    old.publish(SystemTime::now() + Duration::from_secs(2 * 24 * 3600));
    assert_eq!(has(&old, LIST, "192.0.2.1"), None, "two days later it is too old");

    // Refreshes that fail wait longer each time, and never reach the disk.
    let mut waits = Vec::new();
    for _ in 0..12 {
        old.take(LIST, Ok("[]".to_owned())).expect_err("an empty list");
        let next = old.entries()[LIST].next_fetch.expect("a time");
        waits.push(next.duration_since(SystemTime::now()).expect("later").as_secs());
    }
    assert!((50..=66).contains(&waits[0]), "{waits:?}");
    assert!(waits[11] > 5 * 3600 && waits[11] < 7 * 3600, "{waits:?}");
    assert_eq!(fs::read_to_string(&kept).expect("it is kept"), "192.0.2.0/24");
    assert!(old.entries()[LIST].copy.is_some());
}

/// A server with a certificate of its own, and the roots that trust it. Its paths are its script.
async fn serve() -> (SocketAddr, Arc<rustls::RootCertStore>) {
    let (config, roots) = https_server::certificate(&["localhost"]);
    let acceptor = TlsAcceptor::from(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Clients that do not trust us go away here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer =
                    service_fn(async |request: Request<hyper::body::Incoming>| respond(request.uri().path()));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    (address, roots)
}

fn respond(path: &str) -> Result<Response<Full<Bytes>>, http::Error> {
    let good = r#"{"creationTime":"2026-11-01","prefixes":[{"ipv4Prefix":"192.0.2.0/24"}]}"#;
    let redirect = |to: &str| Response::builder().status(302).header("location", to).body(Full::default());
    match path {
        "/list.json" => Response::builder().body(Full::from(good)),
        "/moved" => redirect("/list.json"),
        "/round" => redirect("/round"),
        "/plain" => redirect("http://localhost/list.json"),
        "/elsewhere" => redirect("//evil.example/list.json"),
        "/empty" => Response::builder().body(Full::from(r#"{"prefixes":[]}"#)),
        "/page" => Response::builder().body(Full::from("<html>sign in</html>")),
        "/long" => Response::builder().body(Full::from("192.0.2.1\n".repeat(LIST_BYTES_MAX / 10 + 1))),
        "/zipped" => Response::builder().header("content-encoding", "gzip").body(Full::from("\u{1f}")),
        _ => Response::builder().status(500).body(Full::from(good)),
    }
}

#[test]
fn lists_are_fetched_over_https_within_limits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (address, roots) = serve().await;
        let state = tempfile::tempdir().expect("a directory");
        let options = IdentityOptions {
            state_dir: Some(state.path().to_owned()),
            roots: Some(roots),
            ..IdentityOptions::default()
        };
        let trusting = tls(options.roots.as_ref()).expect("roots");
        let url = |path: &str| format!("https://localhost:{}{path}", address.port());

        for path in ["/list.json", "/moved"] {
            let shelf = shelf(&options, &url(path));
            let due = shelf.due(SystemTime::now());
            assert_eq!(due, [url(path)]);
            refresh(&shelf, due, &trusting).await;
            assert_eq!(has(&shelf, &url(path), "192.0.2.1"), Some(true), "{path}");
            let status = the_only(&shelf);
            assert_eq!((status.origin, status.failure), (Some(ListOrigin::Operator), None));
            assert_eq!(status.created.as_deref(), Some("2026-11-01"));
            assert!(shelf.due(SystemTime::now()).is_empty());
        }

        for (path, expect) in [
            ("/round", "redirected too often"),
            ("/plain", "not an https address"),
            ("/elsewhere", "not an https address"),
            ("/empty", "empty"),
            ("/page", "a page, not a list"),
            ("/long", "body could not be read"),
            ("/zipped", "compressed"),
            ("/broken", "status 500"),
        ] {
            let shelf = shelf(&options, &url(path));
            shelf.take(&url(path), Ok("198.51.100.0/24".to_owned())).expect("a list");
            refresh(&shelf, vec![url(path)], &trusting).await;
            assert_eq!(
                has(&shelf, &url(path), "198.51.100.1"),
                Some(true),
                "{path}: the last good copy stays"
            );
            let failure = the_only(&shelf).failure.expect(path);
            assert!(failure.contains(expect), "{path}: {failure}");
        }

        // A server whose certificate nobody vouches for, and addresses that are not https.
        let mut strangers = rustls::RootCertStore::empty();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        strangers.add(other.cert.der().clone()).expect("a root");
        let wary = tls(Some(&Arc::new(strangers))).expect("roots");
        let error = chain(&fetch(&url("/list.json"), &wary).await.expect_err("an unknown certificate"));
        assert!(error.contains("cannot connect") && error.contains("certificate"), "{error}");
        for address in ["http://lists.example/", "localhost", "", "https:///list.json", "file:///etc/passwd"]
        {
            let error = chain(&fetch(address, &trusting).await.expect_err(address));
            assert!(error.contains("not an https address"), "{address}: {error}");
        }
        assert!(matches!(tls(Some(&Arc::new(rustls::RootCertStore::empty()))), Err(DocumentError::NoRoots)));
    });
}

#[test]
fn a_file_is_named_after_its_address() {
    assert_eq!(file_name("https://openai.com/gptbot.json"), "openai.com_gptbot.json");
    assert_eq!(file_name("https://a.example:8443/x/../y?z=1#q"), "a.example_8443_x_.._y_z_1_q");
    assert_eq!(file_name(&format!("https://{}", "x".repeat(999))).len(), 200);
}
