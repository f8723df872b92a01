//! The first page: crawlers, works, amounts and the ledger's state, as plain HTML without a script.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::summary::Summary;

const STYLE: &str = include_str!("page.css");

/// Renders it.
pub(crate) fn render(summary: &Summary) -> String {
    let mut html = String::with_capacity(8192);
    let currency = summary.policy.currency();
    let lines = &summary.totals.lines;
    let fetches: u64 = lines.iter().map(|line| line.fetches).sum();
    let bytes: u64 = lines.iter().map(|line| line.bytes).sum();
    let refused: u64 = lines.iter().map(|line| line.refused).sum();
    // A policy has one currency; what was asked before it was changed stands in the tables, in its own.
    let amounts = || lines.iter().filter(|line| line.currency == currency.as_str());
    let quoted: i128 = amounts().map(|line| line.quoted_nano).sum();
    let owed: i128 = amounts().map(|line| line.owed_nano).sum();
    let settled: i128 = amounts().map(|line| line.settled_nano).sum();
    let mode = summary.policy.mode().as_str();
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Byline</title><style>{STYLE}</style></head><body><main>\
         <header><h1>Byline</h1><p>What AI crawlers took in {month} (UTC). Mode: <b>{mode}</b>.</p></header>\
         <section class=\"figures\" aria-label=\"Totals\">{fetches}{bytes}{quoted}{owed}{settled}{refused}</section>",
        month = escape(&summary.month),
        fetches = figure("Fetches metered", &grouped(fetches)),
        bytes = figure("Delivered", &human_bytes(bytes)),
        quoted = figure("Would cost", &format!("{} {currency}", policy::decimal(quoted))),
        owed = figure("Owed", &format!("{} {currency}", policy::decimal(owed))),
        settled = match settled {
            0 => String::new(),
            _ => figure("Settled", &format!("{} {currency}", policy::decimal(settled))),
        },
        refused = figure("Refused", &grouped(refused)),
    );
    crawlers(&mut html, summary);
    payments(&mut html, summary);
    works(&mut html, summary);
    let _ = writeln!(
        html,
        "<section><h2>Ledger</h2><dl><dt>State</dt><dd class=\"{state}\">{state}</dd>\
         <dt>Entries</dt><dd>{entries}</dd><dt>Root</dt><dd><code>{root}</code></dd>\
         <dt>On disk</dt><dd>{disk} in {segments} segment(s)</dd>\
         <dt>Policy</dt><dd><code>{digest}</code></dd></dl>\
         <p>Check it yourself: <code>byline verify {dir}/ledger</code></p></section>\
         <footer><a href=\"/api/v1/summary\">JSON</a> <a href=\"/metrics\">Metrics</a> \
         <a href=\"/readyz\">Readiness</a> <span>byline {version}, up {uptime}</span></footer></main></body></html>",
        state = summary.ledger_state(),
        entries = grouped(summary.ledger.entries),
        root = summary.root(),
        disk = human_bytes(summary.ledger.bytes),
        segments = summary.ledger.segments,
        digest = escape(summary.policy.digest()),
        dir = escape(&summary.state_dir),
        version = env!("CARGO_PKG_VERSION"),
        uptime = human_seconds(summary.uptime_seconds),
    );
    html
}

fn crawlers(html: &mut String, summary: &Summary) {
    html.push_str("<section><h2>Crawlers</h2>");
    if summary.totals.lines.is_empty() {
        html.push_str(
            "<p class=\"empty\">No AI crawler has come by yet this month. Try one: \
             <code>curl -A 'GPTBot/1.1' http://…</code></p></section>",
        );
        return;
    }
    let currency = summary.policy.currency();
    let _ = write!(
        html,
        "<div class=\"scroll\"><table><thead><tr><th>Crawler</th><th>Operator</th><th>Holder</th>\
         <th class=\"n\">Fetches</th><th class=\"n\">Bytes</th><th class=\"n\">Refused</th>\
         <th class=\"n\">Would cost, {currency}</th><th class=\"n\">Owed, {currency}</th></tr></thead><tbody>",
    );
    for line in &summary.totals.lines {
        let other = if line.currency == currency.as_str() {
            String::new()
        } else {
            format!(" {}", escape(&line.currency))
        };
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}{other}</td><td class=\"n\">{}{other}</td></tr>",
            escape(&line.crawler),
            escape(operator_name(&line.operator)),
            escape(line.holder.as_deref().unwrap_or("—")),
            grouped(line.fetches),
            human_bytes(line.bytes),
            grouped(line.refused),
            policy::decimal(line.quoted_nano),
            policy::decimal(line.owed_nano),
        );
    }
    html.push_str("</tbody></table></div></section>");
}

fn operator_name(operator: &str) -> &str {
    if operator == "spoof" { "unverified (spoofed name)" } else { operator }
}

/// What was paid before delivery, beside what is on the account: by operator, where anybody has paid so.
fn payments(html: &mut String, summary: &Summary) {
    let mut operators: BTreeMap<(&str, &str), (i128, i128)> = BTreeMap::new();
    for line in &summary.totals.lines {
        let (settled, payable) = operators.entry((&line.operator, &line.currency)).or_default();
        *settled += line.settled_nano;
        *payable += line.owed_nano;
    }
    operators.retain(|_, (settled, _)| *settled != 0);
    if operators.is_empty() {
        return;
    }
    html.push_str(
        "<section><h2>Paid before delivery</h2><p class=\"empty\">Settled is paid already; payable is what is owed on account.</p>\
         <div class=\"scroll\"><table><thead><tr><th>Operator</th><th class=\"n\">Settled</th>\
         <th class=\"n\">Payable</th></tr></thead><tbody>",
    );
    for ((operator, currency), (settled, payable)) in operators {
        let _ = write!(
            html,
            "<tr><td class=\"name\">{}</td><td class=\"n\">{} {currency}</td><td class=\"n\">{} {currency}</td></tr>",
            escape(operator_name(operator)),
            policy::decimal(settled),
            policy::decimal(payable),
            currency = escape(currency),
        );
    }
    html.push_str("</tbody></table></div></section>");
}

fn works(html: &mut String, summary: &Summary) {
    if summary.totals.works.is_empty() {
        return;
    }
    let (currency, is_one_currency) = (summary.policy.currency(), summary.is_one_currency());
    let _ = write!(
        html,
        "<section><h2>Works fetched most</h2><div class=\"scroll\"><table><thead><tr><th>Work</th>\
         <th class=\"n\">Fetches</th><th class=\"n\">Bytes</th><th class=\"n\">Earned, {currency}</th></tr></thead><tbody>",
    );
    for work in summary.totals.works.iter().take(25) {
        let earned = if is_one_currency { policy::decimal(work.earned_nano) } else { "—".to_owned() };
        let about = if work.error > 0 { "≤ " } else { "" };
        let _ = write!(
            html,
            "<tr><td class=\"work\">{}</td><td class=\"n\">{about}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&work.work),
            grouped(work.fetches),
            human_bytes(work.bytes),
            earned,
        );
    }
    html.push_str("</tbody></table></div></section>");
}

fn figure(name: &str, value: &str) -> String {
    format!("<div><span>{}</span><b>{}</b></div>", escape(name), escape(value))
}

/// Text as it may stand in HTML: names and URLs come from strangers.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn human_bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

fn human_seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_write_no_markup() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
        assert_eq!(human_bytes(1_234_567), "1.2 MB");
    }
}
