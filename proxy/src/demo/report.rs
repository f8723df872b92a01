//! The report: what was set up, who came, and what came of it, in words for somebody who has read nothing yet.

use std::fmt::Write as _;

use ledger::Verdict;
use policy::decimal;

use super::checks::Checks;
use super::tally::{Row, Tally};
use super::tamper::Tampered;
use super::visitors::{Kind, Visit, Visitor};

/// What it is all about, before anything has happened.
pub(crate) const PREFACE: &str = "\
Byline demo: a publisher's site, the AI crawlers that come to it, and the bill

Everything below really happens, now, inside this one program and over loopback sockets;
nothing leaves this machine. Made up are the library, its rights holders, the prices and
the contracts (the works are old and free). The visitors are scripts that send the user
agents of real crawlers; addresses of 127.0.0.0/8 stand for the ranges that the crawlers'
operators publish.
";

/// What the list of visits shows.
pub(crate) const ON_VISITS: &str = "\
   How often, what for, and what came of it. Amounts are what each visitor reckons itself.

";

/// How to read a statement.
pub(crate) const ON_STATEMENTS: &str = "\
   Drawn up from the ledger alone. \"quote\" is what the policy asks for what was delivered, \"amount\"
   is what is owed for it, and \"ledger entries\" are the records behind each line.

";

/// A numbered heading.
pub(crate) fn heading(number: u8, title: &str) -> String {
    format!("\n{number}. {title}\n{}\n\n", "-".repeat(title.chars().count() + 3))
}

/// Lines with something in front of each.
pub(crate) fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("      {line}\n") })
        .collect()
}

/// The rules of a policy's text, without what surrounds them.
pub(crate) fn rules_of(policy: &str) -> &str {
    let begin = policy.find("[[rule]]").unwrap_or(0);
    let end = policy.find("# ---- end").unwrap_or(policy.len());
    policy[begin..end].trim_end()
}

/// What each visitor did and what it met with.
pub(crate) fn visits(visitors: &[Visitor]) -> String {
    let mut out = String::new();
    for visitor in visitors {
        let _ = writeln!(out, "   {} from {}", visitor.name, visitor.source);
        let _ = writeln!(out, "     {}", visitor.about);
        for (first, count) in grouped(&visitor.log) {
            let owed: i64 = same(&visitor.log, first).map(|visit| visit.owed_nano).sum();
            let what = match (visitor.kind, first.answer.status) {
                (Kind::Passes, _) if same(&visitor.log, first).all(|visit| visit.is_site_own) => {
                    "passed, byte for byte as the site sends it".to_owned()
                }
                (Kind::Passes, _) => "CHANGED on the way".to_owned(),
                (Kind::Ai, 200) if owed > 0 => format!("delivered, {} USD", decimal(i128::from(owed))),
                (Kind::Ai, 200) => "delivered, free".to_owned(),
                (Kind::Ai, 304) => "not modified, free".to_owned(),
                (Kind::Ai, status) => refusal_in_words(status, first),
            };
            let _ = writeln!(out, "     {count:>4}  {:<29}  {what}", first.label);
        }
        out.push('\n');
    }
    out.pop();
    out
}

/// The first visit of each kind of errand and answer, and how many there were.
fn grouped(log: &[Visit]) -> Vec<(&Visit, usize)> {
    let mut groups: Vec<(&Visit, usize)> = Vec::new();
    for visit in log {
        if !groups.iter().any(|(first, _)| is_same(first, visit)) {
            groups.push((visit, same(log, visit).count()));
        }
    }
    groups
}

fn same<'a>(log: &'a [Visit], first: &'a Visit) -> impl Iterator<Item = &'a Visit> {
    log.iter().filter(move |visit| is_same(first, visit))
}

fn is_same(one: &Visit, other: &Visit) -> bool {
    one.label == other.label && one.answer.status == other.answer.status
}

/// The status and the title of the problem in the answer's body, with the price or the time to wait.
fn refusal_in_words(status: u16, visit: &Visit) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&visit.answer.body).unwrap_or_default();
    let title = problem["title"].as_str().unwrap_or("(no reason given)");
    match (visit.answer.header("crawler-price"), visit.answer.header("retry-after")) {
        (Some(price), _) => format!("{status} {title}: {price}"),
        (None, Some(seconds)) => format!("{status} {title}: again in {seconds} s"),
        (None, None) => format!("{status} {title}"),
    }
}

/// The crawlers, as the ledger has them; below, those whom it does not know of.
pub(crate) fn crawlers(tally: &Tally, visitors: &[Visitor]) -> String {
    let mut rows = vec![
        ["crawler", "operator", "how sure we are", "fetches", "refused", "asked", "owed"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut sum = Row::default();
    for ((operator, crawler), row) in &tally.rows {
        rows.push(vec![
            crawler.clone(),
            operator.clone(),
            how_sure(operator, row).to_owned(),
            row.fetches.to_string(),
            row.refused.to_string(),
            decimal(row.asked_nano),
            decimal(row.owed_nano),
        ]);
        sum.fetches += row.fetches;
        sum.refused += row.refused;
        sum.asked_nano += row.asked_nano;
        sum.owed_nano += row.owed_nano;
    }
    rows.push(vec![
        "total".to_owned(),
        String::new(),
        String::new(),
        sum.fetches.to_string(),
        sum.refused.to_string(),
        decimal(sum.asked_nano),
        decimal(sum.owed_nano),
    ]);
    let mut out = columns(&rows, 3);
    let passing: Vec<&Visitor> = visitors.iter().filter(|visitor| visitor.kind == Kind::Passes).collect();
    let requests: usize = passing.iter().map(|visitor| visitor.log.len()).sum();
    let names: Vec<&str> = passing.iter().map(|visitor| visitor.name).collect();
    let _ = write!(
        out,
        "\n   Amounts are in USD. \"Asked\" is the price of everything requested, refused or not; \"owed\" is for\n   \
         what was delivered to somebody who had agreed to pay and can be billed.\n   \
         Not in the table, because Byline keeps no record of them: {}\n   ({requests} requests).\n",
        names.join(", ")
    );
    out
}

fn how_sure(operator: &str, row: &Row) -> &'static str {
    match (operator, row.assurance.as_str()) {
        ("spoof", _) => "an impostor",
        (_, "claimed") => "only its word",
        (_, "network") => "address verified",
        _ => "proven",
    }
}

/// A request and its refusal, as they went over the wire.
pub(crate) fn refusal(visitor: &Visitor, visit: &Visit) -> String {
    let mut out = format!("   {} asks:\n\n", visitor.name);
    let _ = writeln!(out, "     GET http://{}{}", super::HOST, visit.path);
    let _ = writeln!(out, "\n   Byline answers:\n");
    for line in
        visit.answer.head.lines().chain([""]).chain(String::from_utf8_lossy(&visit.answer.body).lines())
    {
        let _ = writeln!(out, "     {line}");
    }
    out
}

/// What the check of the ledger says, and what it says of the copy that was changed.
pub(crate) fn verified(verdict: &Verdict, tampered: &Tampered) -> String {
    let mut out = String::new();
    match verdict {
        Verdict::Intact { size, root, .. } => {
            let root = policy::hex(root);
            let _ = writeln!(
                out,
                "   The ledger has {size} entries. Every byte was read and every hash computed again: intact."
            );
            let _ = writeln!(out, "   root {root}");
            let _ = writeln!(
                out,
                "   The root stands for all entries: whoever has noted it can tell later if any was changed."
            );
        }
        Verdict::Tampered { index, why, .. } => {
            let _ = writeln!(out, "   The ledger does not check out at entry {index}: {why}");
        }
        Verdict::CannotTell { why } => {
            let _ = writeln!(out, "   The ledger cannot be checked: {why}");
        }
    }
    let _ = writeln!(
        out,
        "\n   Now somebody makes a work cheaper. In a copy, one byte of entry {} is changed:",
        tampered.entry
    );
    let _ = writeln!(out, "     {}  ->  {}", tampered.before, tampered.after);
    match &tampered.verdict {
        Verdict::Tampered { index, file, offset, why } => {
            let _ = writeln!(out, "   The check of the copy:");
            let _ = writeln!(out, "     TAMPERED at entry {index}: {file}, byte {offset}:");
            let _ = writeln!(out, "     {why}");
        }
        _ => {
            let _ = writeln!(out, "   The check of the copy found nothing.");
        }
    }
    out
}

/// The claims, each with its outcome.
pub(crate) fn checks(checks: &Checks) -> String {
    let mut out = String::new();
    for (claim, holds) in checks.claims() {
        let word = if *holds { "yes" } else { "NO " };
        let _ = writeln!(out, "   {word}  {claim}");
    }
    let failed = checks.claims().iter().filter(|(_, holds)| !holds).count();
    let _ = match failed {
        0 => writeln!(out, "\n   All {} checks hold.", checks.claims().len()),
        _ => writeln!(
            out,
            "\n   {failed} of {} checks do NOT hold; the exit code is 1.",
            checks.claims().len()
        ),
    };
    out
}

/// Columns, two spaces apart; from `numbers_from` on they are right-aligned. The last row is set off.
fn columns(rows: &[Vec<String>], numbers_from: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let rule = format!("   {}\n", "-".repeat(widths.iter().sum::<usize>() + 2 * count.saturating_sub(1)));
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        if number == 1 || number + 1 == rows.len() {
            out.push_str(&rule);
        }
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column >= numbers_from { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let _ = writeln!(out, "   {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_shown_whole_and_alone() {
        let rules = rules_of(super::super::POLICY);
        assert!(rules.starts_with("[[rule]]") && rules.ends_with("per = \"1h\" }"), "{rules}");
        assert_eq!(rules.matches("[[rule]]").count(), super::super::POLICY.matches("[[rule]]").count());
        assert!(!rules.contains("[[holder]]"));
    }

    #[test]
    fn a_claim_that_does_not_hold_is_not_passed_over() {
        let mut claims = Checks::default();
        claims.claim(true, "one and one is two");
        assert!(claims.all_hold() && checks(&claims).ends_with("All 1 checks hold.\n"));
        claims.claim(false, "one and one is three");
        let text = checks(&claims);
        assert!(!claims.all_hold() && text.contains("   NO   one and one is three\n"), "{text}");
        assert!(text.ends_with("1 of 2 checks do NOT hold; the exit code is 1.\n"), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text =
            columns(&[row(["who", "how", "n"]), row(["a", "bcde", "10"]), row(["total", "", "10"])], 2);
        let expected = "   who    how    n\n   ---------------\n   a      bcde  10\n   ---------------\n   total        10\n";
        assert_eq!(text, expected);
    }
}
