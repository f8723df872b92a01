//! `byline check` and `byline explain` as scripts see them: exit codes, what goes where, JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn byline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_byline")).args(arguments).output().expect("the binary runs")
}

fn testdata(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/testdata/policy");
    folder.join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("words are UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

#[test]
fn five_mistakes_are_five_diagnostics_with_their_places() {
    let file = testdata("bad/five-mistakes.toml");
    let output = byline(&["check", &file]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty(), "words go to stderr");
    let words = text(&output.stderr);
    assert_eq!(words.matches("error: ").count(), 5, "{words}");
    for place in [":9:10", ":13:8", ":14:11", ":15:12", ":20:20"] {
        assert!(words.contains(&format!("--> {file}{place}\n")), "{place} in {words}");
    }
    let output = byline(&["check", "--format", "json", &file]);
    assert_eq!(output.status.code(), Some(3));
    let found = json(&output);
    assert_eq!(found["valid"], false);
    let diagnostics = found["diagnostics"].as_array().expect("a list");
    assert_eq!(diagnostics.len(), 5);
    assert_eq!((&diagnostics[3]["line"], &diagnostics[3]["column"]), (&15.into(), &12.into()));
    assert_eq!(diagnostics[3]["help"], "did you mean `price`?");
}

#[test]
fn a_policy_in_order_exits_with_0() {
    let output = byline(&["check", &testdata("good/sample.toml")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("sha256:"));
    let output =
        byline(&["check", &testdata("good/sample.toml"), &testdata("bad/no-version.toml"), "/no/such/file"]);
    assert_eq!(output.status.code(), Some(3), "one bad file is enough");
    assert!(text(&output.stderr).contains("/no/such/file"));
}

#[test]
fn nothing_to_check_is_wrong_usage() {
    let empty: PathBuf = std::env::temp_dir().join(format!("byline-check-{}", std::process::id()));
    std::fs::create_dir_all(&empty).expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_byline"))
        .arg("check")
        .current_dir(&empty)
        .output()
        .expect("the binary runs");
    std::fs::remove_dir_all(&empty).expect("its end");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn explain_names_the_rule_and_why_the_others_did_not_decide() {
    let policy = testdata("good/sample.toml");
    let url = "https://example.com/articles/1";
    let output = byline(&["explain", url, "--user-agent", "GPTBot/1.1", "--policy", &policy]);
    assert_eq!(output.status.code(), Some(0));
    let words = text(&output.stdout);
    assert!(words.contains("Decided by the rule \"training pays\""), "{words}");
    assert!(words.contains("402 ") && words.contains("crawler-price: USD 0.002"), "{words}");
    assert!(words.contains("its path is /drafts/**, not /articles/1"), "{words}");

    let arguments =
        ["explain", url, "--user-agent", "ExampleBot/2", "--ip", "192.0.2.9", "--policy", &policy];
    let explained = json(&byline(&[&arguments[..], &["--format", "json"]].concat()));
    assert_eq!(explained["rule"], "training pays");
    assert_eq!(explained["crawler"]["assurance"], "network");
    assert_eq!(explained["answer"]["status"], 402);
    assert_eq!(explained["answer"]["crawler_error"], "MissingCrawlerPrice");
    assert_eq!(explained["answer"]["price"]["amount"], "0.002");
    let others = explained["considered"].as_array().expect("a list");
    assert_eq!(others.len(), 7);
    assert!(others.iter().all(|other| !other["why"].as_str().expect("words").is_empty()));
}

#[test]
fn explain_knows_who_is_not_concerned() {
    for (user_agent, outcome) in
        [("Mozilla/5.0 (X11; Linux x86_64)", "pass"), ("Googlebot/2.1", "pass"), ("GPTBot", "deliver")]
    {
        let policy = testdata("good/preset-news.toml");
        let arguments = [
            "explain",
            "https://example.com/a",
            "--user-agent",
            user_agent,
            "--policy",
            &policy,
            "--format",
            "json",
        ];
        let output = byline(&arguments);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(json(&output)["outcome"], outcome, "{user_agent}");
    }
    let policy = testdata("bad/money.toml");
    let output = byline(&["explain", "https://example.com/", "--user-agent", "GPTBot", "--policy", &policy]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty() && text(&output.stderr).contains("error: "));
}
