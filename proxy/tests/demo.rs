//! `byline demo`, run as a stranger runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The demo on ports of its own, so that it meets nobody's.
fn demo(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_byline"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(more);
    command
}

fn once(more: &[&str]) -> (Output, String) {
    let output = demo(&["--once"]).args(more).output().expect("the program runs");
    let text = String::from_utf8(output.stdout.clone()).expect("plain text");
    (output, text)
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("a directory").next().is_none()
}

#[test]
fn it_ends_by_itself_and_all_that_it_says_holds() {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = demo(&["--once"]).env("TMPDIR", temporary.path()).output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("plain text");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing to complain about");
    for expected in [
        "nothing leaves this machine",
        "passed, byte for byte as the site sends it",
        "43  fables and poems               delivered, 0.086 USD",
        "a draft                        403",
        "works beyond the limit         429",
        "HTTP/1.1 402 Payment Required",
        "crawler-price: USD 0.002",
        "\"code\": \"payment-required\"",
        "By operator: what each one owes",
        "By holder: what each one is owed",
        "intact",
        "TAMPERED at entry",
        "checks hold.",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert!(!text.contains("\n   NO "), "{text}");
    // The refusal is shown as it went over the wire: its sentence for people is one line.
    let long = text.lines().find(|line| line.chars().count() > 120 && !line.contains("\"detail\""));
    assert_eq!(long, None, "lines fit a terminal");
    assert!(is_empty(temporary.path()), "everything was removed");
}

/// The kept ledger is an ordinary one: the other commands read it and find the same.
#[test]
fn what_it_keeps_can_be_checked_by_the_other_commands() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("new");
    let state = state.to_str().expect("a plain path");
    let (output, text) = once(&["--state", state]);
    assert!(output.status.success(), "{text}");

    let byline = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_byline")).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("plain text")
    };
    let verified = byline(&["verify", state]);
    let last = verified.lines().last().expect("a last line");
    let root = last.rsplit(' ').next().expect("a root");
    assert!(last.starts_with("size ") && text.contains(root), "{last}\n{text}");
    byline(&["check", &format!("{state}/policy.toml")]);

    // A second demo would mix its fetches with the first one's.
    let (output, text) = once(&["--state", state]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
}

#[test]
fn it_stays_up_until_it_is_told_to_end() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut child = demo(&[])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("the program runs");
    let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
    let mut line_with = |wanted: &str| {
        let found = lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("{wanted:?} was never said"))
    };
    line_with("is up again");
    let url = line_with("the site, through Byline");
    let url = url.trim().split('/').nth(2).expect("a URL").to_owned();
    line_with("Ctrl-C ends it");

    let mut stream = std::net::TcpStream::connect(&url).expect("it listens");
    let request = "GET /poems/the-tyger HTTP/1.1\r\nHost: library.example\r\nUser-Agent: GPTBot/1.2\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 402 "), "{answer}");

    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    line_with("Stopped; the ledger was closed");
    assert!(child.0.wait().expect("it ends").success());
    assert!(is_empty(temporary.path()), "everything was removed");
}

/// Ended with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
