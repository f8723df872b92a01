//! A statement as CSV (RFC 4180), one row for each line.

use policy::decimal;

use super::Statement;

const HEADER: &str = "period_from,period_to,time_zone,operator,crawler,holder,work,unit,fetches,bytes,quantity,amount,\
    currency,quote,refused,repeats,first_entry,last_entry,ledger_size,ledger_root,settled";

pub(super) fn write(statement: &Statement) -> String {
    let mut out = format!("{HEADER}\r\n");
    let period = &statement.query.period;
    for line in &statement.lines {
        let cells = [
            cell(&period.from_text()),
            cell(&period.to_text()),
            cell(period.zone_name()),
            cell(&line.key.operator),
            cell(&line.key.crawler),
            cell(line.key.holder.as_deref().unwrap_or("")),
            cell(line.key.work.as_deref().unwrap_or("")),
            cell(line.key.unit.as_str()),
            line.fetches.to_string(),
            line.bytes.to_string(),
            line.quantity_text(),
            decimal(line.amount_nano),
            cell(statement.currency.as_str()),
            decimal(line.quote_nano),
            line.refused.to_string(),
            line.repeats.to_string(),
            line.first_entry().to_string(),
            line.last_entry().to_string(),
            statement.ledger_size.to_string(),
            cell(&statement.ledger_root),
            decimal(line.settled_nano),
        ];
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

/// One text cell, quoted where it must be.
///
/// A text that a spreadsheet would run as a formula gets an apostrophe before it: works and hosts come from the
/// network, and a statement is opened by people.
fn cell(text: &str) -> String {
    let dangerous = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if dangerous { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula_and_no_cell_ends_early() {
        for (text, expected) in [
            ("news.example/a", "news.example/a"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=a,\"b", "\"'=a,\"\"b\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
