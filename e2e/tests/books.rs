//! From the ledger to the bill: statements, books, explanations and replays say the same as the records.

use std::ffi::OsString;
use std::net::Ipv4Addr;

use e2e::byline::{Said, run, this_month};
use e2e::config::{POOR, POOR_AGENT, RICH, RICH_AGENT, SHOP};
use e2e::origin::ok;
use e2e::{Byline, Client, Origin, before, get};
use serde_json::Value;

/// A stopped process whose ledger holds a handful of fetches.
fn a_days_work() -> Byline {
    let origin = Origin::site(|request| match request.target.as_str() {
        "/data/half" => ok("", "d".repeat(500_000)),
        _ => ok("Content-Type: text/html\r\n", "hello"),
    });
    let mut byline = before(origin.url()).policy(SHOP).start();
    let mut rich = Client::connect_from(Ipv4Addr::from(RICH), byline.listen);
    for path in ["/articles/1", "/articles/2", "/articles/1", "/data/half", "/free"] {
        assert_eq!(rich.ask(get(path, RICH_AGENT)).status, 200);
    }
    let mut poor = Client::connect_from(Ipv4Addr::from(POOR), byline.listen);
    assert_eq!(poor.ask(get("/articles/1", POOR_AGENT)).status, 402);
    assert_eq!(poor.ask(get("/free", POOR_AGENT)).status, 200);
    assert_eq!(byline.ask(get("/", "User-Agent: Mozilla/5.0\r\n")).status, 200);
    byline.stop();
    byline
}

fn with_state(byline: &Byline, words: &[&str]) -> Said {
    let mut all: Vec<OsString> = words.iter().map(OsString::from).collect();
    all.extend(["--state".into(), byline.state.clone().into_os_string()]);
    run(all)
}

fn nano(decimal: &Value) -> i128 {
    let decimal = decimal.as_str().expect("an amount is a decimal string");
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    format!("{whole}{part:0<9}").parse().expect("a decimal amount")
}

#[test]
fn a_statement_is_the_sum_of_its_records() {
    let byline = a_days_work();
    let statement = byline.statement(&[]);
    for key in ["from", "to", "time_zone"] {
        assert!(statement["period"][key].is_string(), "period.{key}: {statement}");
    }
    assert_eq!(statement["currency"], "USD");
    let lines = statement["lines"].as_array().expect("lines");
    for line in lines {
        for key in [
            "operator",
            "crawler",
            "holder",
            "work",
            "unit",
            "fetches",
            "bytes",
            "quantity",
            "amount",
            "first_entry",
            "last_entry",
        ] {
            assert!(line.get(key).is_some(), "{key} is missing: {line}");
        }
    }
    let records = byline.records();
    let owed: i128 = records.iter().filter_map(|r| r["amount_nano"].as_str()?.parse::<i128>().ok()).sum();
    assert_eq!(owed, 504_000_000);
    assert_eq!(nano(&statement["total"]), owed, "{statement}");
    assert_eq!(lines.iter().map(|line| nano(&line["amount"])).sum::<i128>(), owed);
    let of = |operator: &str, key: &str| -> u64 {
        let chosen = lines.iter().filter(|line| line["operator"] == operator);
        chosen.filter_map(|line| line[key].as_u64()).sum()
    };
    assert_eq!((of("rich-labs", "fetches"), of("rich-labs", "bytes")), (5, 500_020), "{statement}");
    assert_eq!((of("poor-labs", "fetches"), of("poor-labs", "bytes")), (1, 5), "{statement}");
    // Each line names the entries behind it.
    let count = byline.entries().len() as u64;
    for line in lines {
        let (first, last) = (line["first_entry"].as_u64(), line["last_entry"].as_u64());
        assert!(first.is_some() && first <= last && last < Some(count), "{line}");
    }
}

#[test]
fn a_statement_can_be_one_sides() {
    let byline = a_days_work();
    let all = byline.statement(&["--operator", "rich-labs"]);
    let lines = all["lines"].as_array().expect("lines");
    assert!(!lines.is_empty() && lines.iter().all(|line| line["operator"] == "rich-labs"), "{all}");
    let press = byline.statement(&["--holder", "press"]);
    let lines = press["lines"].as_array().expect("lines");
    assert!(!lines.is_empty() && lines.iter().all(|line| line["holder"] == "press"), "{press}");
    assert_eq!(nano(&press["total"]), 4_000_000);
}

#[test]
fn a_statement_has_a_form_for_each_reader() {
    let byline = a_days_work();
    let table = with_state(&byline, &["statement", "--period", &this_month()]);
    assert!(table.code == 0 && table.out.contains("rich-labs") && table.out.contains("0.504"), "{table:?}");
    let csv = with_state(&byline, &["statement", "--period", &this_month(), "--format", "csv"]);
    assert!(csv.code == 0 && csv.out.lines().count() > 1, "{csv:?}");
    assert!(csv.out.lines().next().is_some_and(|head| head.contains("operator") && head.contains("amount")));
    let html = with_state(&byline, &["statement", "--period", &this_month(), "--format", "html"]);
    assert!(html.code == 0 && html.out.contains("<html") && html.out.contains("rich-labs"), "{html:?}");
    assert!(!html.out.contains("<script"), "a page to print runs nothing");
}

#[test]
fn books_can_be_made_again_at_any_time() {
    let byline = a_days_work();
    let first = byline.statement(&[]);
    for _ in 0..2 {
        let said = with_state(&byline, &["books", "rebuild"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(byline.statement(&[]), first);
    }
}

#[test]
fn an_explanation_names_the_rule() {
    let byline = a_days_work();
    let policy = byline.policy_file.display().to_string();
    let explain = |url: &str, agent: &str| {
        run(["explain", url, "--user-agent", agent, "--ip", "127.0.0.2", "--policy", &policy])
    };
    let said = explain("http://site.test/articles/1", "RichBot/1.0");
    assert!(said.code == 0 && said.out.contains("articles") && said.out.contains("0.002"), "{said:?}");
    let said = explain("http://site.test/drafts/1", "RichBot/1.0");
    assert!(said.code == 0 && said.out.contains("drafts") && said.out.contains("403"), "{said:?}");
    let said = explain("http://site.test/drafts/1", "Mozilla/5.0");
    assert!(said.code == 0 && !said.out.contains("403"), "{said:?}");
}

#[test]
fn a_replay_of_the_log_counts_as_the_live_run_did() {
    let byline = a_days_work();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("access.log");
    let line = |ip: &str, path: &str, status: u16, bytes: u64, agent: &str| {
        format!(
            "{ip} - - [22/Nov/2026:10:00:00 +0000] \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\"\n"
        )
    };
    let text = [
        line("127.0.0.2", "/every/1", 200, 5, "RichBot/1.0"),
        line("127.0.0.2", "/every/2", 200, 5, "RichBot/1.0"),
        line("127.0.0.2", "/data/half", 200, 500_000, "RichBot/1.0"),
        line("127.0.0.9", "/free", 200, 5, "Mozilla/5.0"),
        "not a line of any log\n".to_owned(),
    ];
    std::fs::write(&log, text.concat()).expect("the temporary directory is writable");
    let said = run([
        OsString::from("replay"),
        "--access-log".into(),
        log.into_os_string(),
        "--policy".into(),
        byline.policy_file.clone().into_os_string(),
        "--format".into(),
        "json".into(),
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.out).expect("a report is JSON");
    assert!(said.out.contains("0.502"), "{report}");
}
