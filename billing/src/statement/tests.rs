//! Statements over real books.

use metrics::{Outcome, UsageRecord};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::books::tests::{append, gap, record, rollup};
use crate::rate::rate_record;

fn query(period: &str) -> Query {
    Query {
        period: Period::parse(period, "UTC").expect("a period"),
        operator: None,
        holder: None,
        by_work: false,
        currency: None,
    }
}

fn statement_of(entries: Vec<Vec<u8>>, query: Query) -> Statement {
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), entries);
    let books = Books::open(state.path()).expect("books");
    Statement::draw_up(&books, query).expect("a statement")
}

fn encoded(records: &[UsageRecord]) -> Vec<Vec<u8>> {
    records.iter().map(UsageRecord::encode).collect()
}

#[test]
fn the_json_has_the_promised_shape() {
    let mut one = record(4);
    one.unit = Some("fetch".into());
    one.verdict = "charge".into();
    one.price_nano = Some(2_000_000);
    one.max_nano = None;
    let rated = rate_record(&one);
    (one.quantity, one.quote_nano, one.amount_nano) = (rated.quantity, rated.quote_nano, rated.amount_nano);
    let json = statement_of(encoded(&[one]), query("2026-11")).to_json();
    assert_eq!(
        json["period"],
        json!({"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z", "time_zone": "UTC"})
    );
    assert_eq!(json["currency"], "USD");
    assert_eq!(json["total"], "0.002");
    assert_eq!(json["payable"], "0.00");
    let line = &json["lines"][0];
    let expected = json!({
        "operator": "anthropic", "crawler": "ClaudeBot", "holder": "press-0", "work": null, "unit": "fetch",
        "fetches": 1, "bytes": 1_148, "quantity": "1", "amount": "0.002", "first_entry": 0, "last_entry": 0,
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[key], value, "{key}");
    }
    assert_eq!(line["ranges"], json!([[0, 0]]));
    assert_eq!(json["ledger"]["size"], 1);
    assert_eq!(json["ledger"]["root"].as_str().map(str::len), Some(64));
}

#[test]
fn a_period_is_half_open_and_a_filter_takes_its_lines_alone() {
    // A fetch a minute: 1440 are of the first day.
    let records: Vec<UsageRecord> = (0..1_500).map(record).collect();
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), encoded(&records));
    let books = Books::open(state.path()).expect("books");
    let draw_up = |query| Statement::draw_up(&books, query).expect("a statement");

    let day = draw_up(query("2026-11-01"));
    assert_eq!(day.fetches, 1_440);
    let rest = draw_up(query("2026-11-02"));
    assert_eq!((rest.fetches, rest.lines.iter().map(Line::first_entry).min()), (60, Some(1_440)));
    let whole = draw_up(query("2026-11"));
    assert_eq!(day.total_nano + rest.total_nano, whole.total_nano);
    let berlin =
        Query { period: Period::parse("2026-11-01", "Europe/Berlin").expect("a period"), ..query("2026") };
    assert_eq!(draw_up(berlin).fetches, 1_380, "an hour of that day was in October by UTC");

    let openai = draw_up(Query { operator: Some("openai".into()), ..query("2026-11") });
    assert!(!openai.lines.is_empty() && openai.lines.iter().all(|line| &*line.key.operator == "openai"));
    let press = draw_up(Query { holder: Some("press-1".into()), ..query("2026-11") });
    assert!(
        !press.lines.is_empty()
            && press.lines.iter().all(|line| line.key.holder.as_deref() == Some("press-1"))
    );
    let nobody = draw_up(Query { operator: Some("nobody".into()), ..query("2026-11") });
    assert!(nobody.lines.is_empty() && nobody.total_nano == 0);
    assert_eq!(
        draw_up(query("2026-11")).to_html(),
        draw_up(query("2026-11")).to_html(),
        "the same question gives the same bytes"
    );
}

#[test]
fn refused_requests_are_no_fetches_and_sums_have_no_work() {
    let entries =
        vec![rollup(0, true).encode(), record(4).encode(), rollup(1, false).encode(), gap().encode()];
    let statement = statement_of(entries, Query { by_work: true, ..query("2026-11") });
    assert_eq!((statement.fetches, statement.refused), (18, 17));
    let sums = statement.lines.iter().find(|line| line.key.work.is_none()).expect("the roll-ups' line");
    assert_eq!((sums.fetches, sums.bytes, sums.refused, sums.amount_nano), (17, 1_700, 17, 0));
    assert_eq!(sums.ranges.list(), [(0, 0), (2, 2)]);
    assert_eq!(sums.quote_nano, 17 * 2_000_001);
    assert_eq!(statement.gaps.len(), 1);
    assert_eq!(statement.gaps[0].reason, "No space left on device");
}

#[test]
fn one_request_is_not_called_requests() {
    let refused = metrics::Rollup { fetches: 1, ..rollup(0, true) };
    let text = statement_of(vec![refused.encode(), record(4).encode()], query("2026-11"));
    assert!(text.to_table().contains("for 1 fetch, "), "{}", text.to_table());
    assert!(text.to_table().contains("; 1 request refused\n"), "{}", text.to_table());
    assert!(text.to_html().contains("; 1 request refused."), "{}", text.to_html());
    let text = statement_of(vec![rollup(0, true).encode()], query("2026-11"));
    assert!(text.to_table().contains("for 0 fetches, 0 bytes; 17 requests refused\n"), "{}", text.to_table());
}

#[test]
fn an_amount_that_does_not_follow_from_the_record_is_a_finding() {
    let honest = record(1);
    let mut raised = record(5);
    raised.amount_nano += 1;
    let statement = statement_of(encoded(&[honest, raised.clone()]), query("2026-11"));
    assert_eq!(statement.findings_count, 1);
    assert_eq!(statement.findings[0].entry, 1);
    assert!(statement.findings[0].what.contains("amount"), "{}", statement.findings[0].what);
    let stated: i128 = statement.lines.iter().map(|line| line.amount_nano).sum();
    assert_eq!(
        stated,
        i128::from(record(1).amount_nano + raised.amount_nano),
        "nothing is corrected in silence"
    );
    assert!(statement.to_table().contains("FINDING entry 1"));
    assert!(statement.to_html().contains("Entry 1"));
}

#[test]
fn an_entry_that_cannot_be_read_is_a_finding_of_every_statement() {
    let statement = statement_of(vec![record(0).encode(), b"?".to_vec()], query("1999"));
    assert_eq!((statement.findings_count, statement.findings[0].entry), (1, 1));
}

#[test]
fn currencies_are_never_added_up() {
    let mut euro = record(1);
    euro.currency = "EUR".into();
    let state = tempfile::tempdir().expect("a directory");
    append(state.path(), encoded(&[record(4), euro]));
    let books = Books::open(state.path()).expect("books");
    let error = Statement::draw_up(&books, query("2026-11")).expect_err("two currencies");
    assert!(error.to_string().contains("EUR and USD"), "{error}");
    let chosen = Statement::draw_up(&books, Query { currency: Some("EUR".into()), ..query("2026-11") })
        .expect("one of them");
    assert_eq!((chosen.fetches, chosen.currency.as_str()), (1, "EUR"));
}

#[test]
fn what_is_paid_is_rounded_once_half_to_even() {
    let mut statement = statement_of(encoded(&[record(4)]), query("2026-11"));
    for (total_nano, code, payable) in [
        (0, "USD", "0.00"),
        (5_000_000, "USD", "0.00"),
        (5_000_001, "USD", "0.01"),
        (15_000_000, "USD", "0.02"),
        (1_234_560_000_000, "USD", "1234.56"),
        (1_500_000_000, "JPY", "2"),
        (1_234_500_000, "KWD", "1.234"),
        (10_000_000_000, "USD", "10.00"),
    ] {
        statement.total_nano = total_nano;
        statement.currency = Currency::parse(code).expect("a code");
        assert_eq!(statement.payable(), payable, "{total_nano} {code}");
    }
}

#[test]
fn what_was_paid_before_delivery_is_not_payable() {
    // Of three fetches one was paid at once; one hung up, and had paid all the same.
    let mut records = [record(1), record(1), record(1)];
    for (at, settlement) in
        [None, Some("x402 eip155:8453 0x01"), Some("x402 eip155:8453 0x02")].into_iter().enumerate()
    {
        let one = &mut records[at];
        (one.price_nano, one.max_nano, one.status) = (Some(10_000_000), None, 200);
        one.settlement = settlement.map(str::to_owned);
        one.outcome = if at == 2 { Outcome::Aborted } else { Outcome::Complete };
        (one.owed, one.repeat) = (true, false);
        let rated = rate_record(one);
        (one.quantity, one.quote_nano, one.amount_nano) =
            (rated.quantity, rated.quote_nano, rated.amount_nano);
        assert_eq!(one.amount_nano, 10_000_000, "{settlement:?}");
    }
    let statement = statement_of(encoded(&records), query("2026-11"));
    let json = statement.to_json();
    assert_eq!(
        (&json["total"], &json["total_settled"], &json["payable"]),
        (&json!("0.03"), &json!("0.02"), &json!("0.01"))
    );
    assert_eq!(json["settled_by"], json!([{"way": "x402 eip155:8453", "fetches": 2, "amount": "0.02"}]));
    assert_eq!(json["lines"][0]["settled"], "0.02");
    assert_eq!(json["findings_count"], 0);
    assert!(
        statement.to_table().contains("Paid before delivery by x402 eip155:8453: 0.02 USD for 2 fetches")
    );
    assert!(statement.to_html().contains("Paid before delivery by x402 eip155:8453: 0.02 USD for 2 fetches"));
    assert!(statement.to_csv().lines().next().is_some_and(|header| header.ends_with(",settled")));
    // Delivered again, it is a repeat and costs nothing more.
    let again = UsageRecord { repeat: true, ..records[2].clone() };
    assert_eq!(rate_record(&again).amount_nano, 0);
}

#[test]
fn a_page_escapes_what_comes_from_the_network() {
    let mut odd = record(4);
    odd.work = "x/<script>alert('1')</script>&\"".into();
    odd.holder = Some("=press <b>".into());
    let statement = statement_of(encoded(&[odd]), Query { by_work: true, ..query("2026-11") });
    let html = statement.to_html();
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"));
    assert!(html.contains("byline verify") && html.contains("byline ledger cat LEDGER --from 0"));
    let csv = statement.to_csv();
    assert!(csv.contains(",'=press <b>,"), "{csv}");
    assert_eq!(csv.lines().count(), 2);
}

#[test]
fn the_table_shows_both_sides_or_the_one_asked_for() {
    let entries = || encoded(&(0..30).map(record).collect::<Vec<_>>());
    let both = statement_of(entries(), query("2026-11")).to_table();
    assert!(both.contains("By operator") && both.contains("By holder") && both.contains("spoof"), "{both}");
    let one =
        statement_of(entries(), Query { operator: Some("openai".into()), ..query("2026-11") }).to_table();
    assert!(one.contains("By operator") && !one.contains("By holder"), "{one}");
    let none = statement_of(entries(), query("1999")).to_table();
    assert!(none.contains("No metered fetches"), "{none}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Σ lines = Σ entries, whatever the entries are and however lines are split.
    #[test]
    fn lines_add_up_to_the_entries(
        numbers in proptest::collection::vec(0_u64..3_000, 1..60),
        rolled in proptest::collection::vec(any::<bool>(), 0..4),
        by_work in any::<bool>(),
    ) {
        let records: Vec<UsageRecord> = numbers.iter().map(|n| record(*n)).collect();
        let rollups: Vec<_> = (0..).zip(&rolled).map(|(n, refused)| rollup(n, *refused)).collect();
        let mut entries = encoded(&records);
        entries.extend(rollups.iter().map(|rollup| rollup.encode()));
        let statement = statement_of(entries, Query { by_work, ..query("2026") });

        let delivered = rollups.iter().filter(|rollup| !rollup.refused);
        let amount: i128 = records.iter().map(|record| i128::from(record.amount_nano)).sum();
        let quote: i128 = records.iter().map(|record| i128::from(record.quote_nano)).sum::<i128>()
            + delivered.clone().map(|rollup| rollup.quote_nano).sum::<i128>();
        let fetches = records.len() as u64 + delivered.clone().map(|rollup| rollup.fetches).sum::<u64>();
        let bytes = records.iter().map(|record| record.bytes).sum::<u64>()
            + delivered.map(|rollup| rollup.bytes).sum::<u64>();
        prop_assert_eq!(statement.findings_count, 0);
        prop_assert_eq!(statement.total_nano, amount);
        let settled = records.iter().filter(|record| record.settlement.is_some());
        let settled: i128 = settled.map(|record| i128::from(record.amount_nano)).sum();
        prop_assert_eq!(statement.settled_nano, settled);
        prop_assert_eq!(statement.settled_by.values().map(|by| by.amount_nano).sum::<i128>(), settled);
        prop_assert_eq!(statement.lines.iter().map(|line| line.settled_nano).sum::<i128>(), settled);
        prop_assert_eq!(statement.lines.iter().map(|line| line.amount_nano).sum::<i128>(), amount);
        prop_assert_eq!(statement.lines.iter().map(|line| line.quote_nano).sum::<i128>(), quote);
        prop_assert_eq!(statement.lines.iter().map(|line| line.fetches).sum::<u64>(), fetches);
        prop_assert_eq!(statement.lines.iter().map(|line| line.bytes).sum::<u64>(), bytes);
        // Both views show every line once.
        for view in [table::View::Operators, table::View::Holders] {
            let shown: usize = view.parties(&statement).values().map(Vec::len).sum();
            prop_assert_eq!(shown, statement.lines.len());
        }
    }
}
