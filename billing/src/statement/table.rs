//! A statement for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use policy::decimal;

use super::{Line, Statement, counted};

/// Ledger ranges that a terminal line shows; the JSON has all.
const RANGES_SHOWN: usize = 3;

/// By whom lines are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// What each operator owes.
    Operators,
    /// What each holder is owed.
    Holders,
}

impl View {
    /// The views that a question asks for.
    pub(super) fn of(statement: &Statement) -> &'static [View] {
        match (&statement.query.operator, &statement.query.holder) {
            (Some(_), None) => &[View::Operators],
            (None, Some(_)) => &[View::Holders],
            _ => &[View::Operators, View::Holders],
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            View::Operators => "By operator: what each one owes",
            View::Holders => "By holder: what each one is owed",
        }
    }

    /// The name of a line's party in this view.
    pub(super) fn party(self, line: &Line) -> &str {
        match self {
            View::Operators => &line.key.operator,
            View::Holders => line.key.holder.as_deref().unwrap_or("(no holder named)"),
        }
    }

    /// The other side of a line, beside the crawler.
    pub(super) fn counterpart(self, line: &Line) -> &str {
        match self {
            View::Operators => line.key.holder.as_deref().unwrap_or("\u{2014}"),
            View::Holders => &line.key.operator,
        }
    }

    pub(super) fn counterpart_title(self) -> &'static str {
        match self {
            View::Operators => "holder",
            View::Holders => "operator",
        }
    }

    /// The lines of each party, in the order of its name.
    pub(super) fn parties(self, statement: &Statement) -> BTreeMap<&str, Vec<&Line>> {
        let mut parties: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in &statement.lines {
            parties.entry(self.party(line)).or_default().push(line);
        }
        parties
    }
}

pub(super) fn write(statement: &Statement) -> String {
    let period = &statement.query.period;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Statement {} to {} ({}), amounts in {}",
        period.from_text(),
        period.to_text(),
        period.zone_name(),
        statement.currency
    );
    if statement.lines.is_empty() {
        out.push_str("\nNo metered fetches in this period.\n");
    }
    for view in View::of(statement) {
        if !statement.lines.is_empty() {
            section(&mut out, statement, *view);
        }
    }
    let _ = writeln!(
        out,
        "\nTotal {} {} (to be paid: {} {}) for {}, {}; {} refused",
        decimal(statement.total_nano),
        statement.currency,
        statement.payable(),
        statement.currency,
        counted(statement.fetches, "fetch"),
        counted(statement.bytes, "byte"),
        counted(statement.refused, "request"),
    );
    for (way, settled) in &statement.settled_by {
        let _ = writeln!(
            out,
            "Paid before delivery by {way}: {} {} for {}",
            decimal(settled.amount_nano),
            statement.currency,
            counted(settled.fetches, "fetch"),
        );
    }
    if statement.quote_nano != statement.total_nano {
        let _ = writeln!(
            out,
            "At the asked prices it would have been {} {}: what is only observed or not agreed is not owed.",
            decimal(statement.quote_nano),
            statement.currency
        );
    }
    for gap in &statement.gaps {
        let _ = writeln!(
            out,
            "Not metered from {} to {} ({}): {} passed, free or observed; {} refused (entry {})",
            gap.from,
            gap.to,
            gap.reason,
            counted(gap.fetches, "fetch"),
            counted(gap.refused, "request"),
            gap.entry
        );
    }
    let _ = writeln!(out, "Ledger: size {} root {}", statement.ledger_size, statement.ledger_root);
    for finding in &statement.findings {
        let _ = writeln!(out, "FINDING entry {}: {}", finding.entry, finding.what);
    }
    if statement.findings_count > statement.findings.len() as u64 {
        let _ = writeln!(out, "FINDING {} in all", statement.findings_count);
    }
    out
}

fn section(out: &mut String, statement: &Statement, view: View) {
    let _ = writeln!(out, "\n{}", view.title());
    let by_work = statement.query.by_work;
    let mut header = vec!["crawler", view.counterpart_title()];
    if by_work {
        header.push("work");
    }
    header.extend(["unit", "fetches", "bytes", "quantity", "quote", "amount", "refused", "ledger entries"]);
    let numbers_from = if by_work { 4 } else { 3 };

    for (party, lines) in view.parties(statement) {
        let _ = writeln!(out, "\n  {party}");
        let mut rows: Vec<Vec<String>> = vec![header.iter().map(|&title| title.to_owned()).collect()];
        for line in &lines {
            let mut row = vec![line.key.crawler.to_string(), view.counterpart(line).to_owned()];
            if by_work {
                row.push(line.key.work.as_deref().unwrap_or("(summed up)").to_owned());
            }
            row.extend([
                line.key.unit.as_str().to_owned(),
                line.fetches.to_string(),
                line.bytes.to_string(),
                line.quantity_text(),
                decimal(line.quote_nano),
                decimal(line.amount_nano),
                line.refused.to_string(),
                ranges_text(line),
            ]);
            rows.push(row);
        }
        let sum = |each: fn(&Line) -> i128| lines.iter().map(|line| each(line)).sum::<i128>();
        let mut total = vec![String::new(); header.len()];
        total[0] = "total".to_owned();
        total[numbers_from] = sum(|line| i128::from(line.fetches)).to_string();
        total[numbers_from + 1] = sum(|line| i128::from(line.bytes)).to_string();
        total[numbers_from + 3] = decimal(sum(|line| line.quote_nano));
        total[numbers_from + 4] = decimal(sum(|line| line.amount_nano));
        total[numbers_from + 5] = sum(|line| i128::from(line.refused)).to_string();
        rows.push(total);
        let last = header.len() - 1;
        out.push_str(&columns(&rows, |column| column >= numbers_from && column < last));
    }
}

fn ranges_text(line: &Line) -> String {
    let list = line.ranges.list();
    if list.len() <= RANGES_SHOWN {
        return line.ranges.text();
    }
    format!("{}\u{2013}{} in {} ranges", line.first_entry(), line.last_entry(), list.len())
}

/// Lines text up in columns, two spaces apart and four from the left.
pub(crate) fn columns(rows: &[Vec<String>], right: impl Fn(usize) -> bool) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from("   ");
        for (column, cell) in row.iter().enumerate() {
            // Bytes from the network must not move a terminal's cursor.
            let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            let width = widths[column];
            let _ = if right(column) {
                write!(line, " {cell:>width$} ")
            } else {
                write!(line, " {cell:<width$} ")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
