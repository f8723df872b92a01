//! Another licence server: asked what a token is worth, within a bounded time, by as few questions as there can be. Whatever
//! becomes of it, nothing that a licence decides is served for free, and nobody else waits.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::config::{self, RICH};
use e2e::licences::{POLICY, call, fetch, license};
use e2e::origin::ok;
use e2e::wait::{PATIENCE, until_true};
use e2e::{Answer, Byline, Client, Origin, configured, get};
use serde_json::Value;

/// A server that says what it is told to, and counts what it is asked.
struct Server {
    origin: Origin,
    says: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn saying(answer: impl Into<Vec<u8>>) -> Server {
        let (says, asked) = (Arc::new(Mutex::new(answer.into())), Arc::new(AtomicUsize::new(0)));
        let origin = Origin::start({
            let (says, asked) = (Arc::clone(&says), Arc::clone(&asked));
            move |visit| {
                while visit.request().is_some() {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let answer = says.lock().expect("no test panics in it").clone();
                    // Nothing to say: it hangs until the other side has had enough.
                    if answer.is_empty() {
                        visit.left_within(PATIENCE);
                        return;
                    }
                    if visit.write(answer).is_err() {
                        return;
                    }
                }
            }
        });
        Server { origin, says, asked }
    }

    fn says(&self, answer: impl Into<Vec<u8>>) {
        *self.says.lock().expect("no test panics in it") = answer.into();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn json(text: &str) -> Vec<u8> {
    ok("Content-Type: application/json\r\n", text)
}

const ACTIVE: &str = r#"{"active":true,"permitted":true,"resource":"http://site.test/*"}"#;

fn serve(site: &Origin, server: &str, more: &str) -> Byline {
    let policy = POLICY.replace(
        "mode = \"enforce\"",
        &format!("mode = \"enforce\"\n[licence_server]\nurl = \"{server}/olp\""),
    );
    let config = format!(
        "{}[licence]\nclient_id = \"press\"\nclient_secret = \"{{dir}}/secret\"\n{more}",
        config::POLICY
    );
    configured(config::site(&site.url(), &config)).policy(policy).file("secret", "hush hush\n").start()
}

fn site() -> Origin {
    Origin::answering(ok("", "a work"))
}

fn licensed(byline: &Byline, path: &str, token: &str) -> Answer {
    fetch(byline, RICH, "RichBot", path, &license(token))
}

fn word(answer: &Answer) -> (u16, String) {
    let challenge = answer.field("www-authenticate");
    (answer.status, challenge.split('"').nth(1).unwrap_or_default().to_owned())
}

#[test]
fn its_word_counts_and_is_asked_for_once() {
    let (site, server) = (site(), Server::saying(json(ACTIVE)));
    let byline = serve(&site, &server.origin.url(), "");
    assert_eq!(server.asked(), 0);
    assert_eq!(licensed(&byline, "/licensed/1", "opaque.token").status, 200);
    let question = server.origin.request();
    assert_eq!((question.method.as_str(), question.target.as_str()), ("POST", "/olp/introspect"));
    let body = String::from_utf8_lossy(&question.body).into_owned();
    assert_eq!(body, "token=opaque.token&resource=http%3A%2F%2Fsite.test%2Flicensed%2F1");
    // `press:hush+hush`: form-encoded first, then base64.
    assert_eq!(question.fields.all("authorization"), ["Basic cHJlc3M6aHVzaCtodXNo"]);
    // Its answer is about all of the site.
    assert_eq!(licensed(&byline, "/licensed/2", "opaque.token").status, 200);
    assert_eq!(server.asked(), 1);
    let record = byline.records().pop().expect("a record");
    let evidence = record["evidence"].as_str().expect("a text");
    assert!(evidence.starts_with("licence external ") && evidence.ends_with(", range policy"), "{evidence}");
    assert!(!evidence.contains("opaque") && !byline.words().contains("opaque"));
    // What is revoked here counts here.
    let name = evidence.split(' ').nth(2).expect("its name").trim_end_matches(',');
    let state = byline.state.display().to_string();
    assert_eq!(e2e::byline::run(["licence", "revoke", "--state", &state, name]).code, 0);
    assert_eq!(word(&licensed(&byline, "/licensed/2", "opaque.token")), (401, "invalid_token".to_owned()));
    // We are no server ourselves then.
    assert_eq!(byline.ask(call("/token", "", "x=y")).text(), "a work");
    // Nobody is asked about what shows no token, or a work that is free.
    assert_eq!(word(&fetch(&byline, RICH, "RichBot", "/licensed/1", "")).0, 401);
    assert_eq!(licensed(&byline, "/robots.txt", "another").status, 200);
    assert_eq!(server.asked(), 1);
}

#[test]
fn what_it_says_of_one_url_is_not_so_for_those_that_begin_alike() {
    let (site, server) = (site(), Server::saying(""));
    let byline = serve(&site, &server.origin.url(), "");
    let about = |url: &str| server.says(json(&ACTIVE.replace("/*", url)));
    about("/licensed/");
    assert_eq!(licensed(&byline, "/licensed/", "opaque.token").status, 200);
    about("/licensed/1");
    assert_eq!(licensed(&byline, "/licensed/1", "opaque.token").status, 200);
    assert_eq!(server.asked(), 2);
    assert_eq!(licensed(&byline, "/licensed/10", "opaque.token").status, 200);
    assert_eq!(server.asked(), 3, "it was asked about each");
    assert_eq!(licensed(&byline, "/licensed/1", "opaque.token").status, 200);
    assert_eq!(server.asked(), 3);
}

#[test]
fn each_of_its_answers_has_ours() {
    let (site, server) = (site(), Server::saying(""));
    let byline = serve(&site, &server.origin.url(), "");
    let licence = |usage: &str| format!("<license><permits type=\\\"usage\\\">{usage}</permits></license>");
    let active = |license: &str| {
        json(&format!(r#"{{"active":true,"permitted":true,"resource":"x","license":"{license}"}}"#))
    };
    let status = |line: &str, body: &str| {
        format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let cases = [
        (active(&licence("ai-train")), 200, ""),
        (active(&licence("search")), 403, "insufficient_scope"),
        (active("<license>"), 503, "server_error"),
        (json(r#"{"active":false}"#), 401, "invalid_token"),
        (json(r#"{"active":true,"permitted":false}"#), 403, "insufficient_scope"),
        (json(r#"{"active":true}"#), 403, "insufficient_scope"),
        (status("401 Unauthorized", r#"{"error":"invalid_token"}"#), 401, "invalid_token"),
        (status("401 Unauthorized", r#"{"error":"invalid_client"}"#), 503, "server_error"),
        (status("500 Internal Server Error", "oops"), 503, "server_error"),
        (status("302 Found\r\nLocation: /other", ""), 503, "server_error"),
        (json("garbage"), 503, "server_error"),
        (
            json(&format!(r#"{{"active":true,"permitted":true,"x":"{}"}}"#, "x".repeat(70_000))),
            503,
            "server_error",
        ),
        (b"garbage\r\n\r\n".to_vec(), 503, "server_error"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(), 503, "server_error"),
    ];
    for (index, (says, code, error)) in cases.into_iter().enumerate() {
        server.says(says);
        // A token of its own for each; one that failed is not asked about for a second.
        until_true("an answer", PATIENCE, || {
            let before = server.asked();
            let said = word(&licensed(&byline, "/licensed/1", &format!("token-{index}")));
            let was_asked = server.asked() > before;
            if was_asked {
                assert_eq!(said, (code, error.to_owned()), "case {index}");
            } else {
                assert_eq!(said, (503, "server_error".to_owned()), "case {index}, while it is left alone");
            }
            was_asked
        });
    }
    assert!(byline.records().iter().all(|record| record["amount_nano"] == "0"));
}

/// What it will not say of one token says nothing about the next: only a server that fails is left alone for a second.
#[test]
fn what_it_refuses_to_say_of_one_token_keeps_nobody_else_waiting() {
    let (site, server) = (site(), Server::saying(""));
    let byline = serve(&site, &server.origin.url(), "");
    for (index, line) in
        ["400 Bad Request", "403 Forbidden", "404 Not Found", "429 Too Many Requests"].iter().enumerate()
    {
        server.says(format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nno"));
        let before = server.asked();
        let refused = licensed(&byline, "/licensed/1", &format!("refused-{index}"));
        assert_eq!(word(&refused), (503, "server_error".to_owned()), "{line}");
        assert_eq!(server.asked(), before + 1, "{line}");
        server.says(json(ACTIVE));
        let next = licensed(&byline, "/licensed/1", &format!("good-{index}"));
        assert_eq!((next.status, server.asked()), (200, before + 2), "at once after {line}");
    }
}

#[test]
fn one_that_hangs_costs_a_bounded_time_and_nobody_else_waits() {
    let (site, server) = (site(), Server::saying(""));
    let byline = serve(&site, &server.origin.url(), "timeout = \"1s\"\n");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let begun = Instant::now();
                    (word(&licensed(&byline, "/licensed/1", "slow")), begun.elapsed())
                })
            })
            .collect();
        until_true("the question", PATIENCE, || server.asked() > 0);
        // Meanwhile: people, crawlers without a token, works that no licence decides.
        let begun = Instant::now();
        assert_eq!(byline.ask(get("/licensed/1", "")).status, 200);
        assert_eq!(word(&fetch(&byline, RICH, "RichBot", "/licensed/1", "")).0, 401);
        assert_eq!(fetch(&byline, RICH, "RichBot", "/free", "").status, 200);
        let others = begun.elapsed();
        for one in waiting {
            let (said, took) = one.join().expect("no panic");
            assert_eq!(said, (503, "server_error".to_owned()));
            assert!(took < Duration::from_secs(10), "{took:?}");
            assert!(others < took, "others waited as well: {others:?}");
        }
    });
    assert_eq!(server.asked(), 1, "one question for all");
    // What was asked for in vain is asked again once the server is back.
    server.says(json(ACTIVE));
    until_true("the server's return", PATIENCE, || licensed(&byline, "/licensed/1", "slow").status == 200);
    assert!(byline.records().iter().all(|record| record["status"] == 200));
}

#[test]
fn one_that_is_not_there_is_a_503() {
    let site = site();
    let nowhere = e2e::ports::Port::reserve();
    let byline = serve(&site, &format!("http://{}", nowhere.addr()), "");
    let answer = licensed(&byline, "/licensed/1", "any");
    assert_eq!(word(&answer), (503, "server_error".to_owned()));
    assert!(answer.fields.has("retry-after"));
    assert!(site.untouched());
}

#[test]
fn strangers_cannot_make_us_ask_without_end() {
    let (site, server) = (site(), Server::saying(json(r#"{"active":false}"#)));
    let byline = serve(&site, &server.origin.url(), "");
    let mut client = Client::connect_from(RICH, byline.listen);
    let begun = Instant::now();
    for index in 0..400 {
        let lines = format!("User-Agent: RichBot/1.0\r\n{}", license(&format!("made-up-{index}")));
        let said = word(&client.ask(get("/licensed/1", &lines)));
        assert!(matches!(said.0, 401 | 503), "{said:?}");
    }
    let (asked, most) = (server.asked() as u64, 111 + 10 * begun.elapsed().as_secs());
    assert!((100..=most).contains(&asked), "asked {asked} times");
    assert!(byline.records().is_empty());
}

/// The table of CAP over HTTP: the vectors of `rsl.json` and our own beside them (or those in `BYLINE_VECTORS`, if that names a
/// directory), against a server that says of each token what the vector's words mean.
#[test]
fn the_vectors_hold_over_http() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/testdata");
    let own = || vec![data.join("vectors"), data.join("vectors-more")];
    let directories = std::env::var_os("BYLINE_VECTORS").map_or_else(own, |one| vec![PathBuf::from(one)]);
    let mut vectors: Vec<Value> = Vec::new();
    for directory in directories {
        let text = std::fs::read_to_string(directory.join("rsl.json")).expect("the vectors");
        let file: Value = serde_json::from_str(&text).expect("JSON");
        let cases = file["cap"].as_array().expect("vectors of CAP");
        assert!(!cases.is_empty(), "{}", directory.display());
        vectors.extend(cases.iter().cloned());
    }
    let site = site();
    for vector in &vectors {
        let headers = vector["headers"].as_object().expect("headers").iter();
        let headers: Vec<(&String, &str)> =
            headers.map(|(name, value)| (name, value.as_str().expect("a text"))).collect();
        let token = headers.iter().find_map(|(name, value)| {
            let (scheme, token) = value.split_once(' ')?;
            (name.eq_ignore_ascii_case("authorization") && scheme.eq_ignore_ascii_case("license"))
                .then_some(token)
        });
        let what = vector["state"].as_str().or(token).unwrap_or_default();
        let what = what.to_ascii_lowercase().replace(['-', '_'], " ");
        let is = |words: &[&str]| words.iter().any(|word| what.contains(word));
        let is_down = is(&["unreachable", "down", "unavailable", "timeout", "timed out", "cannot validate"]);
        let says = match () {
            () if is(&["unpaid", "not paid", "payment"]) => {
                r#"{"active":true,"permitted":false,"reason":"payment required"}"#
            }
            () if is(&["forbidden", "not permitted", "scope", "other use"]) => {
                r#"{"active":true,"permitted":false}"#
            }
            () if is(&["expired", "invalid", "inactive", "revoked", "unknown"]) => r#"{"active":false}"#,
            () if is(&["good"]) => ACTIVE,
            () => r#"{"active":false}"#,
        };
        let server = Server::saying(json(says));
        let nowhere = e2e::ports::Port::reserve();
        let url = if is_down { format!("http://{}", nowhere.addr()) } else { server.origin.url() };
        let byline = serve(&site, &url, "");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = fetch(&byline, RICH, "RichBot", "/licensed/1", &lines);
        let link = "rel=\"license\"; type=\"application/rsl+xml\"";
        for (key, expect) in vector["expect"].as_object().expect("what is expected") {
            let is_so = match key.as_str() {
                "status" => *expect == answer.status,
                "www_authenticate_error" => *expect == word(&answer).1.as_str(),
                "link" => *expect == answer.field("link").contains(link),
                "note" => true,
                _ => panic!("nothing says `{key}`"),
            };
            assert!(is_so, "{key} is not {expect}: {vector}\n{:?}", answer.fields);
        }
    }
}
