//! What a scrape shows: complete, documented, well named, and as many series after traffic as before.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use metrics::{
    LedgerFigures, LedgerState, Lookup, Outcome, RequestClass, SignatureVerdict, Telemetry, UnmeteredReason,
    UpstreamFailure, UsageRecord, names,
};
use policy::{PolicySnapshot, RefusalKind};

fn telemetry() -> Telemetry {
    let telemetry = Telemetry::new("0.1.0");
    telemetry.policy_active(&PolicySnapshot::observe_only());
    telemetry.list_age("https://example.com/bot.json", Some(Duration::from_secs(60)));
    telemetry.list_age("https://example.com/lost.json", None);
    telemetry.agent_keys_age("https://bot.example/keys.json", None);
    telemetry
}

fn record(crawler: &str) -> UsageRecord {
    UsageRecord {
        id: "an id".into(),
        source: "//example.org/ledger".into(),
        time_micros: 0,
        crawler: crawler.into(),
        operator: "example-labs".into(),
        purpose: "train".into(),
        assurance: "network".into(),
        evidence: "none".into(),
        method: "GET".into(),
        url: "https://example.org/".into(),
        work: "example.org/".into(),
        holder: None,
        licence: None,
        policy: "sha256:00".into(),
        rule: "default".into(),
        verdict: "charge".into(),
        authorisation: None,
        settlement: None,
        would_refuse: None,
        status: 200,
        outcome: Outcome::Complete,
        bytes: 1000,
        declared_bytes: None,
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
        amount_nano: 2_000_000,
    }
}

fn figures() -> LedgerFigures {
    LedgerFigures {
        state: LedgerState::Paused,
        entries: 12,
        bytes: 3456,
        segments: 1,
        queue: 2,
        queue_capacity: 8192,
        accepted: 7,
        appended: 5,
        refused: 1,
        commits: 3,
        pauses: 1,
    }
}

/// Everything that traffic can do.
fn traffic(telemetry: &Telemetry, name: &str) {
    for class in RequestClass::ALL {
        for status in [100, 200, 206, 304, 402, 500, 999, 0] {
            telemetry.request(class, status, Duration::from_millis(3), Some(Duration::from_micros(70)));
        }
    }
    for record in
        [record(name), UsageRecord { unit: Some(name.into()), verdict: name.into(), ..record(name) }]
    {
        telemetry.fetch(&telemetry.counted(&record));
    }
    telemetry.rolled(&metrics::RolledFetch::delivered(&record(name)));
    for kind in [RefusalKind::Denied, RefusalKind::BadOffer, RefusalKind::LimitReached] {
        telemetry.refused(name, kind);
    }
    telemetry.spoof(name);
    for kind in UpstreamFailure::ALL {
        telemetry.upstream_failed(kind);
    }
    for lookup in Lookup::ALL {
        telemetry.looked_up(lookup);
    }
    for verdict in SignatureVerdict::ALL {
        telemetry.signature(verdict);
    }
    for reason in UnmeteredReason::ALL {
        telemetry.unmetered(reason, 10);
    }
    telemetry.connection_opened();
    telemetry.connection_closed();
    telemetry.held_bytes(5);
    telemetry.rollups_written(2);
    telemetry.ledger_commit(Duration::from_millis(1));
    telemetry.ledger(&figures());
    telemetry.reloaded(true, 1_795_354_805);
    telemetry.reloaded(false, 1_795_354_806);
}

fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

#[track_caller]
fn check(text: &str, series: &str, value: &str) {
    let line = text.lines().find(|line| line.starts_with(&format!("{series} ")));
    assert_eq!(line, Some(format!("{series} {value}").as_str()));
}

#[test]
fn traffic_adds_no_series() {
    let telemetry = telemetry();
    let before = series(&telemetry.render());
    for number in 0..2_000 {
        traffic(&telemetry, &format!("random-bot-{number}/{}", "x".repeat(number % 50)));
    }
    let after = series(&telemetry.render());
    assert_eq!(before, after);
    assert!(before.len() > 100, "{} series", before.len());
}

#[test]
fn values_are_those_that_were_counted() {
    let telemetry = telemetry();
    traffic(&telemetry, "nobody knows this one");
    telemetry.ledger(&figures());
    let text = telemetry.render();
    check(&text, r#"byline_fetches_total{crawler="other",outcome="complete"}"#, "3");
    check(&text, r#"byline_delivered_bytes_total{crawler="other"}"#, "3000");
    check(&text, r#"byline_owed_money_total{crawler="other",currency="USD"}"#, "0.004");
    check(&text, r#"byline_quoted_money_total{crawler="other",currency="USD"}"#, "0.006");
    check(&text, r#"byline_verdicts_total{unit="fetch",verdict="charge"}"#, "1");
    check(&text, r#"byline_fetches_by_assurance_total{assurance="network"}"#, "3");
    check(&text, r#"byline_refusals_total{crawler="other",reason="denied"}"#, "1");
    check(&text, r#"byline_spoofs_total{crawler="other"}"#, "1");
    check(&text, r#"byline_requests_total{class="metered",status="2xx"}"#, "2");
    check(&text, r#"byline_requests_total{class="metered",status="5xx"}"#, "2");
    check(&text, "byline_ledger_appended_entries_total", "5");
    check(&text, "byline_ledger_accepted_entries_total", "7");
    check(&text, "byline_ledger_entries", "12");
    check(&text, r#"byline_ledger_state{state="paused"}"#, "1");
    check(&text, r#"byline_ledger_state{state="ready"}"#, "0");
    check(&text, "byline_config_last_reload_successful", "0");
    check(&text, "byline_config_last_reload_success_timestamp_seconds", "1795354805");
    check(&text, r#"byline_config_reloads_total{result="failure"}"#, "1");
    check(&text, "byline_connections_open", "0");
    check(&text, r#"byline_range_list_age_seconds{list="https://example.com/lost.json"}"#, "NaN");
    check(&text, r#"byline_build_info{version="0.1.0"}"#, "1");
}

#[test]
fn every_metric_is_exposed_and_documented_as_it_is() {
    let text = telemetry().render();
    let documentation = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<&str> =
        documentation.lines().filter_map(|line| line.strip_prefix("| `byline_")?.split('`').next()).collect();
    let coded: BTreeSet<&str> =
        names::ALL.iter().map(|metric| metric.name.strip_prefix("byline_").unwrap()).collect();
    assert_eq!(documented, coded);
    for metric in names::ALL {
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# TYPE {} ", metric.name)))
            .unwrap_or_else(|| panic!("{} is not exposed", metric.name));
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        let labels = if labels.is_empty() { "–" } else { &labels };
        let row = format!("| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
        assert!(documentation.contains(&row), "docs/metrics.md lacks\n{row}");
        for label in metric.labels {
            assert!(documentation.contains(&format!("\n| `{label}` | ")), "values of `{label}`");
        }
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(names::ALL.iter().any(|metric| metric.name == name), "{name} is in no list");
    }
}

/// The rules that `promtool check metrics` applies, for machines without it; with it, the tool itself speaks.
#[test]
fn names_follow_the_conventions() {
    let telemetry = telemetry();
    traffic(&telemetry, "anybody");
    let text = telemetry.render();
    for metric in names::ALL {
        let kind =
            text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {} ", metric.name))).unwrap();
        assert_eq!(kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
        assert!(!metric.help.is_empty() && metric.help.ends_with('.'), "{}", metric.name);
        assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", metric.name);
        for unit in ["milliseconds", "microseconds", "minutes", "kilobytes", "megabytes", "percent"] {
            assert!(!metric.name.contains(unit), "{}: base units", metric.name);
        }
    }
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return; // not installed; the rules above have been checked
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
