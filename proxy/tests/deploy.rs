//! What `deploy/` says must be true of this binary: metrics exist, configurations and policies are in order and start,
//! alerts have their page in the runbook, and every key of byline.toml is documented.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BYLINE: &str = env!("CARGO_BIN_EXE_byline");
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn every_metric_that_is_watched_exists() {
    let exported: BTreeSet<&str> = metrics::names::ALL.iter().map(|metric| metric.name).collect();
    let recorded: BTreeSet<String> = read("deploy/prometheus/recording.rules.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: ").map(str::to_owned))
        .collect();
    let mut watched = 0;
    for file in [
        "deploy/prometheus/recording.rules.yml",
        "deploy/prometheus/alerts.rules.yml",
        "deploy/prometheus/tests.yaml",
        "deploy/grafana/dashboards/byline.json",
        "docs/runbook.md",
    ] {
        for word in metric_words(&read(file)) {
            watched += 1;
            let part_of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| word.strip_suffix(suffix).is_some_and(|base| exported.contains(base)));
            let known = exported.contains(word.as_str()) || recorded.contains(&word) || part_of_histogram;
            assert!(known, "{file} names {word}, which nothing exports or records");
        }
    }
    assert!(watched > 50, "only {watched} names found: the files are read wrongly");
}

#[test]
fn the_dashboard_keeps_the_conventions() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/dashboards/byline.json")).expect("the dashboard is JSON");
    assert_eq!(dashboard["id"], Value::Null, "an id is given by the Grafana that imports it");
    assert_eq!(dashboard["timezone"], "browser");
    assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].is_number());
    let variables: Vec<&str> =
        array(&dashboard["templating"]["list"]).iter().map(|one| text(&one["name"])).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);

    let mut ids = BTreeSet::new();
    for panel in array(&dashboard["panels"]) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is used twice");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!text(&panel["description"]).is_empty(), "{title}: no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        assert!(!array(&panel["targets"]).is_empty(), "{title}: no query");
        for target in array(&panel["targets"]) {
            let query = text(&target["expr"]);
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            for (part, what) in [("job=~\"$job\"", "job"), ("instance=~\"$instance\"", "instance")] {
                assert_eq!(
                    query.matches(part).count(),
                    selectors(query),
                    "{title}: a selector without {what}"
                );
            }
            let windows = query.matches('[').count();
            let fitting = query.matches("[$__rate_interval]").count() + query.matches("[$__range]").count();
            assert_eq!(windows, fitting, "{title}: a fixed window in {query}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let rules = read("deploy/prometheus/alerts.rules.yml");
    let runbook = read("docs/runbook.md");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let name = alert.lines().next().unwrap_or_default().trim();
        for part in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no `{part}`");
        }
        let anchor = format!("runbook_url: docs/runbook.md#{}\n", name.to_ascii_lowercase());
        assert!(alert.contains(&anchor), "{name} has no link to its page");
        assert!(runbook.contains(&format!("\n## {name}\n")), "docs/runbook.md has no page on {name}");
    }
    let pages = runbook.lines().filter_map(|line| line.strip_prefix("## Byline"));
    for page in pages {
        let used = alerts.iter().any(|alert| alert.starts_with(&format!("Byline{page}\n")));
        assert!(used, "docs/runbook.md has a page on Byline{page}, which no alert leads to");
    }
}

/// `make deps` installs promtool; without it there is nothing to run them with.
#[test]
fn the_alerts_fire_when_they_should() {
    let run = Command::new("promtool")
        .args(["test", "rules", "tests.yaml"])
        .current_dir(path("deploy/prometheus"))
        .output();
    match run {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("not run: promtool: {error}"),
    }
}

#[test]
fn every_example_passes_the_check() {
    let mut examples = Vec::new();
    find(&path("deploy"), &mut |file| file.extension().is_some_and(|end| end == "toml"), &mut examples);
    assert!(examples.len() > 8, "{examples:?}");
    let output = Command::new(BYLINE)
        .arg("check")
        .args(["--format", "json"])
        .args(&examples)
        .output()
        .expect("byline runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer in JSON");
    assert!(output.status.success(), "{answer:#}");
    assert_eq!(answer["diagnostics"], Value::Array(Vec::new()), "not even a warning");
    for file in array(&answer["files"]) {
        let name = text(&file["file"]);
        let kind = if name.ends_with("byline.toml") { "configuration" } else { "policy" };
        assert_eq!(file["kind"], kind, "{name}");
    }
}

/// A configuration that passes the check must start, too: on other ports and in another place, with nobody asked.
#[test]
fn every_example_starts() {
    let mut configurations = Vec::new();
    find(&path("deploy"), &mut |file| file.ends_with("byline.toml"), &mut configurations);
    for configuration in configurations {
        let state = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(BYLINE);
        command.args(["serve", "--offline", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"]);
        command.arg(&configuration).arg("--state").arg(state.path());
        let policy = configuration.with_file_name("policy.toml");
        if policy.exists() {
            command.arg("--policy").arg(policy);
        }
        let mut server = Server(command.stderr(Stdio::piped()).spawn().expect("byline runs"));
        let log = BufReader::new(server.0.stderr.take().expect("piped"));
        let mut seen = String::new();
        let serving = log.lines().map_while(Result::ok).any(|line| {
            seen = format!("{seen}{line}\n");
            line.contains("policy in force")
        });
        assert!(serving, "{} does not start:\n{seen}", configuration.display());
    }
}

/// nginx in front of Byline in front of nginx, with the recipes as they are but for ports and paths. `make deps` installs
/// nginx; without it there is nothing to run them with.
#[test]
fn the_nginx_recipes_work() {
    let Some(nginx) =
        ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists())
    else {
        return eprintln!("not run: nginx");
    };
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    std::fs::write(place.join("work.html"), "w".repeat(100_000)).expect("a work");
    let names = vec!["www.example.org".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(place.join("fullchain.pem"), certified.cert.pem()).expect("a chain");
    std::fs::write(place.join("key.pem"), certified.signing_key.serialize_pem()).expect("a key");

    let [front, tls, byline, site] = free_ports();
    let here = place.to_str().expect("UTF-8");
    let settle = |text: &str, log: &str| {
        text.replace("listen 80;", &format!("listen 127.0.0.1:{front};"))
            .replace("listen 443 ", &format!("listen 127.0.0.1:{tls} "))
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{byline}"))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{site}"))
            .replace("127.0.0.1:3000", &format!("127.0.0.1:{site}"))
            .replace("/etc/ssl/www.example.org", here)
            .replace("/var/log/nginx/www.example.org.json", log)
            .replace("/var/www/html", here)
            .replace("/var/lib/byline", &format!("{here}/state"))
    };
    let mut servers = Vec::new();
    // One process each, so that ending it ends all of it.
    for (name, recipe) in [("site", "behind/site.conf"), ("front", "in-front/byline.conf")] {
        let log = format!("{here}/{name}.json");
        let text = format!(
            "daemon off; master_process off; pid {here}/{name}.pid; error_log {here}/{name}.log; events {{}} http {{ {}\n{}\n}}",
            read("deploy/nginx/log-format.conf"),
            settle(&read(&format!("deploy/nginx/{recipe}")), &log)
        );
        let file = place.join(format!("{name}.conf"));
        std::fs::write(&file, text).expect("a configuration");
        let test = Command::new(nginx).args(["-t", "-q", "-c"]).arg(&file).output().expect("nginx runs");
        assert!(test.status.success(), "{recipe}: {}", String::from_utf8_lossy(&test.stderr));
        servers.push(Server(Command::new(nginx).arg("-c").arg(&file).spawn().expect("nginx runs")));
    }
    let configuration = place.join("byline.toml");
    std::fs::write(&configuration, settle(&read("deploy/nginx/in-front/byline.toml"), ""))
        .expect("a configuration");
    let mut command = Command::new(BYLINE);
    command.args(["serve", "--offline", "--admin", "127.0.0.1:0", "--config"]).arg(&configuration);
    servers.push(Server(command.stderr(Stdio::null()).spawn().expect("byline runs")));

    for port in [site, byline, front] {
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "a listener");
    }
    let answer = get_from_127_0_0_9(front);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.200}");
    assert_eq!(answer.len() - answer.find("\r\n\r\n").expect("a head") - 4, 100_000);

    // The address that nginx saw counts, not the one that the client made up; and both sides count the same bytes.
    let line = |name: &str| {
        let log = place.join(format!("{name}.json"));
        wait_for(
            || std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')),
            "a line in the log",
        );
        let text = std::fs::read_to_string(&log).expect("a log");
        serde_json::from_str::<Value>(text.lines().next().unwrap_or_default()).expect("a line of JSON")
    };
    for name in ["front", "site"] {
        let line = line(name);
        assert_eq!(
            (&line["remote_addr"], &line["status"]),
            (&"127.0.0.9".into(), &200.into()),
            "{name}: {line}"
        );
        assert_eq!(line["body_bytes_sent"], 100_000, "{name}");
    }
    let entries =
        Command::new(BYLINE).args(["ledger", "cat"]).arg(place.join("state")).output().expect("byline runs");
    let entries = String::from_utf8(entries.stdout).expect("UTF-8");
    let records: Vec<Value> = entries
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|entry: &Value| entry["type"] == "ai.usage.fetch.v1")
        .collect();
    assert_eq!(records.len(), 1, "{entries}");
    assert_eq!(records[0]["data"]["bytes"], 100_000);
    assert_eq!(records[0]["data"]["url"], "http://www.example.org/work.html");
}

/// A crawler's request from another address of this machine, with an address of its own making.
fn get_from_127_0_0_9(port: u16) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let at = |ip: [u8; 4], port: u16| socket2::SockAddr::from(std::net::SocketAddr::from((ip, port)));
    socket.bind(&at([127, 0, 0, 9], 0)).expect("all of 127.0.0.0/8 is here");
    socket.connect(&at([127, 0, 0, 1], port)).expect("a connection");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = "GET /work.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: GPTBot/1.1\r\n\
                   X-Forwarded-For: 192.0.2.66\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer to its end");
    answer
}

/// Ports that were free a moment ago, each another.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    std::array::from_fn::<u16, N, _>(|index| {
        let listeners: &[TcpListener; N] = &listeners;
        listeners[index].local_addr().expect("an address").port()
    })
}

fn wait_for(mut met: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "no {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn systemd_waits_longer_than_the_drain() {
    let unit = read("deploy/systemd/byline.service");
    let seconds =
        |value: &str| value.trim_matches('"').trim_end_matches('s').parse::<u64>().expect("seconds");
    let limit =
        unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).map(seconds).expect("a limit");
    let configuration: toml::Table = read("deploy/systemd/byline.toml").parse().expect("TOML");
    let timeouts = &configuration["timeouts"];
    let stopping = ["lame_duck", "drain"].map(|key| seconds(timeouts[key].as_str().expect("a duration")));
    assert!(limit > stopping.iter().sum(), "systemd would kill a drain that is under way");
}

/// The source is searched for the keys that it reads; the document must have a row for each.
#[test]
fn every_key_of_the_configuration_is_documented() {
    let source = include_str!("../src/config.rs");
    let source = &source[..source.find("#[cfg(test)]").unwrap_or(source.len())];
    let document = read("docs/configuration.md");
    let mut keys = BTreeSet::new();
    for reader in [
        "string(\"",
        "strings(\"",
        "required(\"",
        "duration(\"",
        "bytes(\"",
        "count(\"",
        "flag(\"",
        "path(\"",
        "tables(\"",
        "&top, \"",
    ] {
        for found in source.split(reader).skip(1) {
            keys.extend(found.split('"').next());
        }
    }
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let row = document.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{key}`")))
            || document.contains(&format!("`[{key}]`"))
            || document.contains(&format!("`[[{key}]]`"));
        assert!(row, "docs/configuration.md does not explain `{key}`");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = Vec::new();
    for folder in ["docs", "deploy"] {
        find(&path(folder), &mut |file| file.extension().is_some_and(|end| end == "md"), &mut documents);
    }
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        documents.push(path(name));
    }
    let mut followed = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { document.clone() } else { document.with_file_name("").join(file) };
            assert!(target.exists(), "{}: nothing at {link}", document.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a document");
                let found = text.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
                assert!(found, "{}: no heading for {link}", document.display());
            }
        }
    }
    assert!(followed > 30, "only {followed} links found: the documents are read wrongly");
}

/// A heading's anchor, as forges make it.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|one| one.is_alphanumeric() || " -_".contains(*one))
        .collect::<String>()
        .replace(' ', "-")
}

/// Ends with the test, whatever the test finds.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The names of metrics and of recorded series in a text.
fn metric_words(text: &str) -> BTreeSet<String> {
    text.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_' || one == ':'))
        .filter(|word| word.starts_with("byline_") || word.contains(":byline_"))
        .map(str::to_owned)
        .collect()
}

/// How many series a query selects: names of metrics in it.
fn selectors(query: &str) -> usize {
    query
        .split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'))
        .filter(|word| word.starts_with("byline_") || *word == "up")
        .count()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn find(directory: &Path, wanted: &mut dyn FnMut(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry").path();
        if entry.is_dir() {
            find(&entry, wanted, found);
        } else if wanted(&entry) {
            found.push(entry);
        }
    }
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
