//! `byline books`, `byline statement` and `byline replay` as scripts see them: output and exit codes.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;

use metrics::{Outcome, UsageRecord};

fn byline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byline")).args(arguments).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A charged fetch on 2026-11-22.
fn record(number: u32, amount_nano: i64) -> UsageRecord {
    UsageRecord {
        id: format!("01930000-0000-7000-8000-{number:012}"),
        source: "//news.example/ledger".into(),
        time_micros: 1_795_354_800_000_000 + i64::from(number),
        crawler: "GPTBot".into(),
        operator: "openai".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "range policy".into(),
        method: "GET".into(),
        url: "https://news.example/articles/1".into(),
        work: "news.example/articles/1".into(),
        holder: Some("press".into()),
        licence: None,
        policy: "sha256:00".into(),
        rule: "training pays".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 100,
        declared_bytes: Some(100),
        digest: None,
        etag: None,
        content_range: None,
        content_type: None,
        words: None,
        words_capped: false,
        currency: "USD".into(),
        unit: Some("fetch".into()),
        price_nano: Some(2_000_000),
        max_nano: None,
        quantity: 1,
        repeat: false,
        owed: true,
        quote_nano: 2_000_000,
        amount_nano,
    }
}

fn append(state: &Path, records: &[UsageRecord]) {
    let options = ledger::Options::default();
    let (ledger, appender) =
        ledger::Ledger::open_dir(&state.join("ledger"), options, Box::new(())).expect("a ledger");
    let (sender, acks) = mpsc::channel();
    for record in records {
        let sender = sender.clone();
        let slot = appender.reserve().expect("a place");
        slot.append(record.encode(), move |ack| sender.send(ack).expect("the test waits"));
    }
    for _ in records {
        acks.recv().expect("an answer").expect("durable");
    }
    ledger.close().expect("a clean stop");
}

#[test]
fn a_statement_is_drawn_up_in_every_format() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), &[record(1, 2_000_000), record(2, 2_000_000), record(3, 2_000_000)]);
    let dir = state.path().to_str().expect("text");
    let base = ["statement", "--state", dir, "--period", "2026-11", "--format"];

    let json = byline(&[&base[..], &["json"]].concat());
    assert_eq!(json.status.code(), Some(0), "{}", stderr(&json));
    let json: serde_json::Value =
        serde_json::from_slice(&json.stdout).expect("one JSON object and nothing else");
    assert_eq!((&json["total"], &json["lines"][0]["fetches"]), (&"0.006".into(), &3.into()));
    for (format, words) in [
        ("table", "By holder"),
        ("csv", "period_from,period_to"),
        ("html", "<h1>Statement of works fetched</h1>"),
    ] {
        let output = byline(&[&base[..], &[format]].concat());
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(words), "{format}: {}", stdout(&output));
    }
    let empty = byline(&["statement", "--state", dir, "--period", "2026-10"]);
    assert_eq!(empty.status.code(), Some(0));
    assert!(stdout(&empty).contains("No metered fetches"));

    let wrong = byline(&["statement", "--state", dir, "--period", "November"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("2026-11") && wrong.stdout.is_empty(), "{}", stderr(&wrong));
    let nowhere = byline(&["statement", "--state", "/nonexistent", "--period", "2026"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn an_amount_that_was_tampered_with_is_exit_code_1() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), &[record(1, 2_000_000), record(2, 2_000_001)]);
    let dir = state.path().to_str().expect("text");
    let output = byline(&["statement", "--state", dir, "--period", "2026-11"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("entry 1"), "{}", stderr(&output));
    assert!(stdout(&output).contains("Total 0.004000001 USD"), "{}", stdout(&output));
}

#[test]
fn books_made_again_are_equal_and_name_what_verify_names() {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), &[record(1, 2_000_000), record(2, 2_000_000)]);
    let dir = state.path().to_str().expect("text");
    let first = byline(&["books", "digest", "--state", dir]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let again = byline(&["books", "rebuild", "--state", dir]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(stdout(&again), stdout(&first));
    assert!(stderr(&again).contains("equal to what they were"), "{}", stderr(&again));

    let verdict = ledger::verify(&state.path().join("ledger"));
    let ledger::Verdict::Intact { size, root, .. } = verdict else { panic!("{verdict:?}") };
    let root = policy::hex(&root);
    assert!(
        stdout(&first).starts_with(&format!("entries {size}\nroot {root}\ndigest sha256:")),
        "{}",
        stdout(&first)
    );
}

#[test]
fn a_replay_reads_plain_and_packed_files_and_tells_a_bad_policy_from_a_bad_log() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let line = |second: u32| {
        format!(
            "192.0.2.7 - - [22/Nov/2026:13:40:{second:02} +0000] \"GET /a HTTP/1.1\" 200 100 \"-\" \"GPTBot/1.1\"\n"
        )
    };
    std::fs::write(path("plain.log"), format!("{}junk\n", line(1))).expect("a file");
    let packed = std::fs::File::create(path("packed.log.gz")).expect("a file");
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
    std::io::Write::write_all(&mut packed, line(2).as_bytes()).expect("packed");
    packed.finish().expect("packed");
    let price = "charge = { price = \"0.5 USD\", per = \"fetch\", repeat_free = \"0s\" }";
    let rule = format!("version = 1\n[[rule]]\nname = \"all\"\npath = \"/**\"\n{price}\n");
    std::fs::write(path("policy.toml"), rule).expect("a file");
    std::fs::write(path("bad.toml"), "version = 1\nprize = 3\n").expect("a file");

    let (plain, gz, policy) = (path("plain.log"), path("packed.log.gz"), path("policy.toml"));
    let output = byline(&["replay", "--access-log", &plain, &gz, "--policy", &policy, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["requests"], &json["skipped"]), (&2.into(), &1.into()));
    assert_eq!((&json["policy"]["quote"], &json["policy"]["total"]), (&"1".into(), &"0".into()));
    assert!(stderr(&output).contains("lines per CPU second"), "{}", stderr(&output));

    let bad = byline(&["replay", "--access-log", &plain, "--policy", &path("bad.toml")]);
    assert_eq!(bad.status.code(), Some(3));
    assert!(stderr(&bad).contains("bad.toml:2:1"), "{}", stderr(&bad));
    std::fs::write(path("no.log"), "nothing\nof a log\n").expect("a file");
    assert_eq!(byline(&["replay", "--access-log", &path("no.log")]).status.code(), Some(1));
    assert_eq!(byline(&["replay", "--access-log", &path("absent.log")]).status.code(), Some(1));
    assert_eq!(byline(&["replay"]).status.code(), Some(2));
}
