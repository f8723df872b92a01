//! Holds the graph of crates: which room may know of which, and where the heavy machinery may be.
//!
//! `deny.toml` says the same to cargo-deny; this test needs nothing but cargo itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each room of the workspace may depend on, of the workspace. `e2e` drives the built binary from outside; `fuzz` takes parts of
/// the proxy by their paths.
const ROOMS: &[(&str, &[&str])] = &[
    ("byline-policy", &[]),
    ("byline-ledger", &[]),
    ("byline-metrics", &["byline-policy"]),
    ("byline-billing", &["byline-policy", "byline-metrics", "byline-ledger"]),
    ("byline-proxy", &["byline-policy", "byline-metrics", "byline-ledger", "byline-billing"]),
    ("byline-e2e", &[]),
    ("byline-fuzz", &["byline-policy", "byline-metrics", "byline-ledger", "byline-billing"]),
];

/// Packages that only these rooms may reach, directly or through others.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("hyper", &["byline-proxy", "byline-fuzz"]),
    ("hyper-util", &["byline-proxy"]),
    ("hickory-resolver", &["byline-proxy"]),
    ("tracing-subscriber", &["byline-proxy"]),
    ("clap", &["byline-proxy"]),
    ("http", &["byline-proxy", "byline-e2e", "byline-fuzz"]),
    ("tokio", &["byline-proxy", "byline-e2e", "byline-fuzz"]),
    ("mio", &["byline-proxy", "byline-e2e", "byline-fuzz"]),
    ("socket2", &["byline-proxy", "byline-e2e", "byline-fuzz"]),
    ("rustls", &["byline-proxy", "byline-e2e"]),
    ("rusqlite", &["byline-billing", "byline-proxy", "byline-fuzz"]),
    ("libsqlite3-sys", &["byline-billing", "byline-proxy", "byline-fuzz"]),
    ("prometheus", &["byline-metrics", "byline-billing", "byline-proxy", "byline-fuzz"]),
    // A rule that is pure opens no file; a ledger entry is opaque bytes.
    ("tempfile", &["byline-proxy", "byline-e2e"]),
    (
        "serde_json",
        &["byline-policy", "byline-metrics", "byline-billing", "byline-proxy", "byline-e2e", "byline-fuzz"],
    ),
];

/// Packages that must not be in the lock file at all, on any platform: rustls with ring is the one TLS, and the one
/// source of cryptography.
const NOWHERE: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl",
    "openssl-sys",
    "openssl-src",
    "native-tls",
    "boring",
    "boring-sys",
];

#[test]
fn rooms_know_only_of_the_rooms_below_them() {
    let workspace = Workspace::read();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(workspace.members(), rooms, "a crate was added or taken away: say here what it may know");
    for (room, allowed) in ROOMS {
        let known: BTreeSet<&str> =
            workspace.direct(room).into_iter().filter(|name| rooms.contains(name)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let wrong: Vec<&&str> = known.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{room} must not depend on {wrong:?}");
    }
}

#[test]
fn runtimes_sockets_and_databases_stay_where_they_belong() {
    let workspace = Workspace::read();
    for (room, _) in ROOMS {
        let reached = workspace.reached(room);
        for (package, allowed) in ONLY_IN {
            assert!(
                allowed.contains(room) || !reached.contains(*package),
                "{room} reaches {package}: {}",
                workspace.way(room, package)
            );
        }
    }
}

/// A rule about a package that is nowhere would hold for ever without saying anything.
#[test]
fn the_rules_speak_of_packages_that_exist() {
    let workspace = Workspace::read();
    let reached = workspace.reached("byline-proxy");
    for package in ["hyper", "tokio", "rusqlite", "prometheus", "rustls", "ring"] {
        assert!(reached.contains(package), "byline-proxy no longer reaches {package}: update this test");
    }
}

#[test]
fn no_second_tls_in_the_tree() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let lock: toml::Table = lock.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("packages");
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert!(names.contains(&"ring"));
    for banned in NOWHERE {
        assert!(
            !names.contains(banned),
            "{banned} came into Cargo.lock: `cargo tree -i {banned}` says through whom"
        );
    }
}

/// ARCHITECTURE.md names files, and for each invariant the tests that prove it: they must be there.
#[test]
fn the_architecture_names_files_and_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut sources = Vec::new();
    for room in ["policy", "metrics", "ledger", "billing", "proxy", "e2e", "fuzz"] {
        find_sources(&root().join(room), &mut sources);
    }
    let (mut files, mut tests) = (0, 0);
    for word in text.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = word.split_once("::") {
            let wanted = format!("fn {test}(");
            let found = sources.iter().any(|(path, source)| path.ends_with(file) && source.contains(&wanted));
            assert!(found, "ARCHITECTURE.md names the test {word}, which is not there");
            tests += 1;
        } else if word.ends_with(".rs") && word.contains('/') {
            assert!(root().join(word).is_file(), "ARCHITECTURE.md names {word}, which is not there");
            files += 1;
        }
    }
    assert!(files > 20 && tests > 20, "{files} files and {tests} tests found: the page is read wrongly");
}

fn find_sources(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find_sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source in UTF-8");
            found.push((path, source));
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}

/// The graph of packages on this platform: without others' packages it needs no network.
struct Workspace {
    /// Name by package id.
    names: BTreeMap<String, String>,
    /// Package id to the ids that it depends on to be built and run.
    edges: BTreeMap<String, Vec<String>>,
    /// Workspace member to everything that its manifest names, tests included.
    named: BTreeMap<String, Vec<String>>,
}

impl Workspace {
    fn read() -> Workspace {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--offline",
                "--filter-platform",
                &platform,
            ])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();

        let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let mut names = BTreeMap::new();
        let mut named = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let name = text(&package["name"]);
            if members.contains(&text(&package["id"])) {
                let wanted = list(&package["dependencies"]).iter().map(|one| text(&one["name"])).collect();
                named.insert(name.clone(), wanted);
            }
            names.insert(text(&package["id"]), name);
        }
        let mut edges = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let mut wanted = Vec::new();
            for dependency in list(&node["deps"]) {
                if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev") {
                    wanted.push(text(&dependency["pkg"]));
                }
            }
            edges.insert(text(&node["id"]), wanted);
        }
        Workspace { names, edges, named }
    }

    fn members(&self) -> BTreeSet<&str> {
        self.named.keys().map(String::as_str).collect()
    }

    fn direct(&self, room: &str) -> Vec<&str> {
        self.named[room].iter().map(String::as_str).collect()
    }

    /// The names of everything that a room needs to be built and run.
    fn reached(&self, room: &str) -> BTreeSet<&str> {
        self.before(room).keys().map(|id| self.names[*id].as_str()).collect()
    }

    /// How a room comes to a package: for the message of a test that fails.
    fn way(&self, room: &str, package: &str) -> String {
        let before = self.before(room);
        let Some(mut id) = before.keys().copied().find(|id| self.names[*id] == package) else {
            return "not at all".to_owned();
        };
        let mut way = vec![self.names[id].as_str()];
        while let Some(earlier) = before[id] {
            id = earlier;
            way.push(&self.names[id]);
        }
        way.reverse();
        way.join(" → ")
    }

    /// Every package that is reached, with the one that it was reached from.
    fn before(&self, room: &str) -> BTreeMap<&str, Option<&str>> {
        let (start, _) =
            self.names.iter().find(|(_, name)| *name == room).expect("a member of the workspace");
        let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::from([(start.as_str(), None)]);
        let mut open = vec![start.as_str()];
        while let Some(id) = open.pop() {
            for next in &self.edges[id] {
                if !before.contains_key(next.as_str()) {
                    before.insert(next, Some(id));
                    open.push(next);
                }
            }
        }
        before
    }
}
