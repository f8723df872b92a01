//! A statement as one printable page: no scripts, nothing from elsewhere, everything escaped.

use std::fmt::{self, Write as _};

use policy::decimal;

use super::table::View;
use super::{Line, Statement, counted};

const STYLE: &str = "\
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #667; --rule: #ccd; --warn: #a30000; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #16171a; --faint: #9a9aa5; --rule: #3a3b44; --warn: #ff8a80; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 0; } h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .4rem 0; } .faint { color: var(--faint); } .warn { color: var(--warn); }
.total { font-size: 1.3rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; color: var(--faint); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tfoot td { font-weight: 600; border-bottom: 2px solid var(--ink); }
code, pre { font: .85em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
@page { size: A4 landscape; margin: 15mm; }
@media print {
  :root { --ink: #000; --paper: #fff; --faint: #444; --rule: #bbb; --warn: #000; }
  body { margin: 0; max-width: none; font-size: 10pt; }
  .scroll { overflow: visible; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
";

pub(super) fn write(statement: &Statement) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = page(&mut out, statement);
    out
}

fn page(out: &mut String, statement: &Statement) -> fmt::Result {
    let period = &statement.query.period;
    let (from, to) = (period.from_text(), period.to_text());
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Statement {} to {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Statement of works fetched</h1>\n",
        Escaped(&from),
        Escaped(&to)
    )?;
    writeln!(
        out,
        "<p>From {} up to, but not including, {} <span class=\"faint\">({})</span></p>",
        Escaped(&from),
        Escaped(&to),
        Escaped(period.zone_name())
    )?;
    for (name, wanted) in [("Operator", &statement.query.operator), ("Holder", &statement.query.holder)] {
        if let Some(wanted) = wanted {
            writeln!(out, "<p>{name}: <strong>{}</strong></p>", Escaped(wanted))?;
        }
    }
    writeln!(
        out,
        "<p class=\"total\">{} {}</p>\n<p class=\"faint\">Exactly {} {} for {} and {}; {} refused. \
         At the asked prices all fetches come to {} {}; what is only observed or not agreed is not owed.</p>",
        statement.payable(),
        statement.currency,
        decimal(statement.total_nano),
        statement.currency,
        counted(statement.fetches, "fetch"),
        counted(statement.bytes, "byte"),
        counted(statement.refused, "request"),
        decimal(statement.quote_nano),
        statement.currency,
    )?;
    for (way, settled) in &statement.settled_by {
        writeln!(
            out,
            "<p>Paid before delivery by {}: {} {} for {}; it is not part of what is to be paid.</p>",
            Escaped(way),
            decimal(settled.amount_nano),
            statement.currency,
            counted(settled.fetches, "fetch"),
        )?;
    }
    findings(out, statement)?;
    if statement.lines.is_empty() {
        writeln!(out, "<p>No metered fetches in this period.</p>")?;
    } else {
        for view in View::of(statement) {
            section(out, statement, *view)?;
        }
    }
    gaps(out, statement)?;
    verification(out, statement)?;
    writeln!(out, "</body>\n</html>")
}

fn section(out: &mut String, statement: &Statement, view: View) -> fmt::Result {
    writeln!(out, "<h2>{}</h2>", view.title())?;
    let by_work = statement.query.by_work;
    for (party, lines) in view.parties(statement) {
        write!(
            out,
            "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th>Crawler</th><th>{}</th>",
            Escaped(party),
            if view == View::Operators { "Holder" } else { "Operator" }
        )?;
        if by_work {
            write!(out, "<th>Work</th>")?;
        }
        writeln!(
            out,
            "<th>Unit</th><th class=\"n\">Fetches</th><th class=\"n\">Bytes</th><th class=\"n\">Quantity</th>\
             <th class=\"n\">Unit price</th><th class=\"n\">Quote</th><th class=\"n\">Amount</th>\
             <th class=\"n\">Refused</th><th>Ledger entries</th></tr></thead>\n<tbody>"
        )?;
        for line in &lines {
            row(out, line, view, by_work)?;
        }
        let sum = |each: fn(&Line) -> i128| lines.iter().map(|line| each(line)).sum::<i128>();
        writeln!(
            out,
            "</tbody>\n<tfoot><tr><td colspan=\"{}\">Total</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td></td><td></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td></td></tr></tfoot>\n\
             </table></div>",
            if by_work { 4 } else { 3 },
            sum(|line| i128::from(line.fetches)),
            sum(|line| i128::from(line.bytes)),
            decimal(sum(|line| line.quote_nano)),
            decimal(sum(|line| line.amount_nano)),
            sum(|line| i128::from(line.refused)),
        )?;
    }
    Ok(())
}

fn row(out: &mut String, line: &Line, view: View, by_work: bool) -> fmt::Result {
    let counterpart = Escaped(view.counterpart(line));
    write!(out, "<tr><td>{}</td><td>{counterpart}</td>", Escaped(&line.key.crawler))?;
    if by_work {
        write!(out, "<td>{}</td>", Escaped(line.key.work.as_deref().unwrap_or("(summed up)")))?;
    }
    let prices: Vec<String> = line.prices.keys().map(|price| decimal(i128::from(*price))).collect();
    writeln!(
        out,
        "<td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        Escaped(line.key.unit.as_str()),
        line.fetches,
        line.bytes,
        line.quantity_text(),
        prices.join("<br>"),
        decimal(line.quote_nano),
        decimal(line.amount_nano),
        line.refused,
        Escaped(&line.ranges.text()),
    )
}

fn findings(out: &mut String, statement: &Statement) -> fmt::Result {
    if statement.findings_count == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "<h2 class=\"warn\">{} entries do not agree with this statement</h2>\n<ul class=\"warn\">",
        statement.findings_count
    )?;
    for finding in &statement.findings {
        writeln!(out, "<li>Entry {}: {}</li>", finding.entry, Escaped(&finding.what))?;
    }
    writeln!(out, "</ul>")
}

fn gaps(out: &mut String, statement: &Statement) -> fmt::Result {
    if statement.gaps.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Times that were not metered</h2>\n<ul>")?;
    for gap in &statement.gaps {
        writeln!(
            out,
            "<li>{} to {}: {}. {} passed, free or observed; {} refused (ledger entry {}).</li>",
            Escaped(&gap.from),
            Escaped(&gap.to),
            Escaped(&gap.reason),
            counted(gap.fetches, "fetch"),
            counted(gap.refused, "request"),
            gap.entry
        )?;
    }
    writeln!(out, "</ul>")
}

fn verification(out: &mut String, statement: &Statement) -> fmt::Result {
    write!(
        out,
        "<h2>How to check this</h2>\n\
         <p>Every number above is a sum over entries of the publisher's ledger, which is append-only and can be shown \
         to be unchanged. When this statement was drawn up the ledger had <strong>{}</strong> entries with the Merkle \
         root</p>\n<p><code>{}</code></p>\n",
        statement.ledger_size,
        Escaped(&statement.ledger_root)
    )?;
    if let Some(first) = statement.lines.iter().map(Line::first_entry).min() {
        write!(
            out,
            "<p>With a copy of the ledger, these commands check it and show its entries one by one, beginning with the \
             first entry of this statement; the entries of a line lie in the ranges of its last column:</p>\n\
             <pre>byline verify LEDGER\nbyline ledger cat LEDGER --from {first}</pre>\n"
        )?;
    }
    if !statement.policies.is_empty() {
        writeln!(out, "<p>The policies that decided, whose texts are in the same ledger:</p>\n<ul>")?;
        for policy in &statement.policies {
            write!(out, "<li><code>{}</code>", Escaped(&policy.digest))?;
            if let Some(entry) = policy.entry {
                write!(out, ", from entry {entry}")?;
            }
            if let Some(mode) = &policy.mode {
                write!(out, ", mode {}", Escaped(mode))?;
            }
            writeln!(out, "</li>")?;
        }
        writeln!(out, "</ul>")?;
    }
    Ok(())
}

/// Text as HTML shows it, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
