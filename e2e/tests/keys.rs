//! The keys of an agent: made, published, found, replaced.

use std::path::Path;

use e2e::byline::{Said, run, run_with};
use e2e::config::{self, TLS_LISTENER};
use e2e::origin::ok;
use e2e::secure::{Reply, Secure};
use e2e::tls::Authority;
use e2e::wait::{PATIENCE, until_true};
use e2e::{Byline, Client, Origin, configured};
use serde_json::{Value, json};
use tempfile::TempDir;

const WELL_KNOWN: &str = "/.well-known/http-message-signatures-directory";

/// Key files, and an authority that vouches for `localhost`.
struct Keys {
    dir: TempDir,
    authority: Authority,
}

impl Keys {
    fn new() -> Keys {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new();
        std::fs::write(dir.path().join("roots.crt"), authority.pem()).expect("a temporary file");
        Keys { dir, authority }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().expect("a temporary directory has a plain name")
    }

    /// Makes one and gives its thumbprint.
    fn generate(&self) -> String {
        let said = run(["keys", "generate", "--dir", self.path()]);
        assert_eq!(said.code, 0, "{}", said.err);
        let thumbprint = line(&said.out, "thumbprint").to_owned();
        let jwk: Value = serde_json::from_str(line(&said.out, "jwk")).expect("a JWK is JSON");
        assert_eq!(jwk["kid"], thumbprint.as_str());
        assert!(jwk.get("d").is_none(), "the private part is nobody's business: {jwk}");
        assert_eq!(line(&said.out, "file"), self.file(&thumbprint).to_str().expect("a plain name"));
        thumbprint
    }

    fn file(&self, thumbprint: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("{thumbprint}.pem"))
    }

    /// In front of this origin, as `localhost` with TLS, with the key directory.
    fn serve(&self, origin: &Origin) -> Byline {
        let identity = self.authority.issue(&["localhost"]);
        let directory = format!(
            "[key_directory]\nhosts = [\"LocalHost\"]\nkeys = \"{}\"\nmax_age = \"10m\"\n",
            self.path()
        );
        configured(config::site(&origin.url(), &format!("{TLS_LISTENER}{directory}")))
            .file("chain.pem", &identity.chain_pem)
            .file("key.pem", &identity.key_pem)
            .start()
    }

    fn client(&self, byline: &Byline) -> Client {
        Client::connect_tls(byline.tls, "localhost", self.authority.client(&["http/1.1"]))
    }

    /// What a check of this agent says.
    fn check(&self, url: &str) -> Said {
        let roots: &Path = &self.dir.path().join("roots.crt");
        run_with(&[("SSL_CERT_FILE", roots)], ["bot-auth", "check", "--private", url])
    }
}

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim()
}

fn request(method: &str, host: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: somebody\r\n\r\n")
}

#[test]
fn a_directory_that_is_served_has_no_problem_and_is_nobody_elses() {
    let keys = Keys::new();
    let (first, second) = (keys.generate(), keys.generate());
    let origin = Origin::answering(ok("", "the site"));
    let byline = keys.serve(&origin);
    let host = format!("localhost:{}", byline.tls.port());

    let said = keys.check(&format!("https://{host}"));
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for thumbprint in [&first, &second] {
        assert!(said.out.contains(&format!("{thumbprint} (ed25519)")), "{}", said.out);
        assert!(line(&said.out, "  signed by").contains(thumbprint.as_str()), "{}", said.out);
    }
    assert!(!said.out.contains("note:"), "{}", said.out);

    let mut client = keys.client(&byline);
    let answer = client.ask(request("GET", &host, WELL_KNOWN));
    assert_eq!(answer.field("content-type"), "application/http-message-signatures-directory+json");
    assert_eq!(answer.field("cache-control"), "public, max-age=600");
    let document: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(document["keys"].as_array().map(Vec::len), Some(2), "{document}");
    assert!(!answer.text().contains("\"d\""), "{document}");
    let head = client.ask(request("HEAD", &host, WELL_KNOWN));
    assert_eq!((head.status, head.field("content-length")), (200, answer.body.len().to_string().as_str()));
    let post = client.ask(request("POST", &host, WELL_KNOWN));
    assert_eq!((post.status, post.field("allow")), (405, "GET, HEAD"));
    assert!(origin.untouched(), "{:?}", origin.requests());

    // A host that is not named gets nothing signed: what the site says there is the site's.
    let mut stranger = byline.client();
    let other = stranger.ask(request("GET", "evil.example", WELL_KNOWN));
    assert_eq!((other.text().as_str(), other.field("signature")), ("the site", ""));
    assert_eq!(client.ask(request("GET", &host, "/")).text(), "the site");
}

#[test]
fn a_key_is_replaced_by_a_reload_and_a_broken_one_replaces_nothing() {
    let keys = Keys::new();
    let first = keys.generate();
    let origin = Origin::answering(ok("", "the site"));
    let byline = keys.serve(&origin);
    let host = format!("localhost:{}", byline.tls.port());
    let served = || keys.client(&byline).ask(request("GET", &host, WELL_KNOWN)).text();
    assert!(served().contains(&first));

    let second = keys.generate();
    std::fs::write(keys.dir.path().join("broken.pem"), "-----BEGIN PRIVATE KEY-----\n").expect("a file");
    byline.hang_up();
    until_true("word of the broken key", PATIENCE, || byline.words().contains("broken.pem:1: "));
    assert!(served().contains(&first) && !served().contains(&second));

    std::fs::remove_file(keys.dir.path().join("broken.pem")).expect("our own file");
    std::fs::remove_file(keys.file(&first)).expect("our own file");
    byline.hang_up();
    until_true("the second key", PATIENCE, || served().contains(&second));
    assert!(!served().contains(&first));
    assert_eq!(keys.check(&format!("https://{host}")).code, 0);
}

/// What `byline keys directory` writes is all that a server of files needs to send.
#[test]
fn a_directory_that_was_written_for_a_server_of_files_has_no_problem() {
    let keys = Keys::new();
    let thumbprint = keys.generate();
    let written = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let answer = written.clone();
    let server = Secure::start(&keys.authority.issue(&["localhost"]), move |_| {
        let written = answer.lock().expect("nobody panics with it");
        let (fields, body) = written.split_once("\n\n").expect("an empty line");
        Reply::Bytes(ok(&format!("{}\r\n", fields.replace('\n', "\r\n")), body.trim_end()))
    });
    let write = |more: &[&str]| {
        let mut arguments = vec!["keys", "directory", "--dir", keys.path(), "--url"];
        arguments.extend(more);
        let said = run(arguments);
        assert_eq!(said.code, 0, "{}", said.err);
        *written.lock().expect("nobody panics with it") = said.out;
    };
    write(&[&server.url()]);
    let said = keys.check(&server.url());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(line(&said.out, "  signed by").contains(&thumbprint), "{}", said.out);
    // Signatures for another origin are a problem.
    write(&["https://bot.example"]);
    let said = keys.check(&server.url());
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.out.contains("problem: "), "{}", said.out);
}

/// Deployments as they are found in the wild: what others stumble over is said, whether or not we do.
#[test]
fn a_check_says_what_others_would_stumble_over() {
    const MEDIA: &str =
        "Content-Type: application/http-message-signatures-directory+json\r\nCache-Control: max-age=60\r\n";
    let keys = Keys::new();
    keys.generate();
    let listed = run(["keys", "directory", "--dir", keys.path(), "--url", "https://bot.example"]);
    let (_, body) = listed.out.split_once("\n\n").expect("an empty line");
    let document: Value = serde_json::from_str(body).expect("JSON");
    let key = &document["keys"][0];
    let with = |name: &str, value: &str| {
        let mut key = key.clone();
        key[name] = value.into();
        json!({ "keys": [key] })
    };
    let mut anonymous = key.clone();
    anonymous.as_object_mut().expect("an object").remove("kid");
    let page = ok("Content-Type: text/html\r\n", "<html>");
    let redirect = b"HTTP/1.1 301 Moved\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n".to_vec();
    let answer = |document: &Value| ok(MEDIA, document.to_string());
    for (answer, code, word) in [
        (answer(&document), 0, "note: it is not signed"),
        (answer(&json!({ "keys": [anonymous] })), 0, "note: key 1: some verifiers look for its thumbprint"),
        (answer(&with("alg", "EdDSA")), 0, "signatures of this agent can be verified"),
        (answer(&with("alg", "ed25519")), 0, "note: key 1: alg \"ed25519\" is a name for signatures"),
        (answer(key), 1, "problem: it is one key where a set belongs"),
        (answer(&with("kid", "2026-11")), 1, "problem: no key in it can be used"),
        (answer(&with("use", "enc")), 1, "problem: no key in it can be used"),
        (answer(&json!({ "keys": [] })), 1, "problem: no key in it can be used"),
        (ok("Content-Type: application/json\r\n", document.to_string()), 1, "problem: the media type is"),
        (page, 1, "problem: the media type is"),
        (redirect, 1, "problem: status 301"),
        (b"HTTP/1.1 404 None\r\nContent-Length: 0\r\n\r\n".to_vec(), 1, "problem: status 404"),
    ] {
        let server =
            Secure::start(&keys.authority.issue(&["localhost"]), move |_| Reply::Bytes(answer.clone()));
        let said = keys.check(&server.url());
        assert_eq!(said.code, code, "{word}: {}{}", said.out, said.err);
        assert!(said.out.contains(word), "{word}: {}{}", said.out, said.err);
    }
}

#[test]
fn keys_are_listed_and_mistakes_are_named() {
    let keys = Keys::new();
    let thumbprint = keys.generate();
    let listed = run(["keys", "list", "--dir", keys.path()]);
    assert!(listed.out.starts_with(&format!("{thumbprint}  ed25519  ")), "{}", listed.out);
    assert_eq!((listed.code, listed.err.as_str()), (0, ""));
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(keys.file(&thumbprint), readable).expect("our own file");
    let listed = run(["keys", "list", "--dir", keys.path()]);
    assert!(listed.err.contains("others than its owner can read it"), "{}", listed.err);

    let nothing = tempfile::tempdir().expect("a temporary directory");
    let nothing = nothing.path().to_str().expect("a plain name");
    for (arguments, code, word) in [
        (
            vec!["keys", "directory", "--dir", nothing, "--url", "https://bot.example"],
            1,
            "byline keys generate",
        ),
        (
            vec!["keys", "directory", "--dir", keys.path(), "--url", "https://bot.example/keys.json"],
            2,
            "no origin",
        ),
        (vec!["keys", "directory", "--dir", keys.path(), "--url", "http://bot.example"], 2, "https"),
        (vec!["keys", "list", "--dir", "/nowhere/at/all"], 1, "/nowhere/at/all: "),
    ] {
        let said = run(&arguments);
        assert!(said.code == code && said.err.contains(word), "{arguments:?}: {} {}", said.code, said.err);
    }
}
