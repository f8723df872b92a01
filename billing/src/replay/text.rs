//! A replay's findings for a terminal, in plain words for somebody who sees them for the first time.

use std::fmt::Write as _;

use policy::decimal;

use super::report::{PolicyReport, Report, both};
use crate::statement::columns;

pub(super) fn write(report: &Report) -> String {
    let mut out = String::new();
    overview(&mut out, report);
    crawlers(&mut out, report);
    others(&mut out, report);
    unknown_bots(&mut out, report);
    works(&mut out, report);
    match (&report.policy, &report.against) {
        (Some(policy), None) => money(&mut out, policy, report),
        (Some(policy), Some(against)) => {
            comparison(&mut out, policy, against);
            caveats(&mut out, policy, report);
        }
        _ => out.push_str(
            "\nNo policy was given, so nothing is priced. To see what this traffic would earn, write a policy.toml:\n\n    \
             version = 1\n    base_price = \"0.001 USD\"\n    include = [\"preset:news\"]     # or preset:docs, preset:shop\n\n\
             and run the same command with --policy policy.toml. Nothing on your site changes by that.\n",
        ),
    }
    out
}

fn overview(out: &mut String, report: &Report) {
    let time = |secs: i64| {
        jiff::Timestamp::from_second(secs).map_or_else(|_| secs.to_string(), |time| time.to_string())
    };
    if let Some((from, to)) = report.period {
        let _ = writeln!(out, "The log covers {} to {} (UTC).", time(from), time(to));
    }
    let _ = writeln!(
        out,
        "{} requests, {} delivered{}.",
        grouped(report.requests.fetches),
        bytes(report.requests.bytes),
        if report.not_requests > 0 {
            format!("; {} lines were no requests (broken connections)", grouped(report.not_requests))
        } else {
            String::new()
        }
    );
    if report.skipped > 0 {
        let _ = writeln!(
            out,
            "{} of {} lines could not be read, the first of them:",
            grouped(report.skipped),
            grouped(report.lines)
        );
        for skipped in &report.first_skipped {
            let _ = writeln!(out, "    {}:{}: {}", skipped.file, skipped.line, skipped.why);
        }
    }
    if report.requests.fetches > 0 && report.without_user_agent == report.requests.fetches {
        out.push_str("No line has a user agent, so nobody can be told apart: log the `combined` format.\n");
    }
}

fn crawlers(out: &mut String, report: &Report) {
    if report.crawlers.is_empty() {
        out.push_str("\nNo AI crawler that the registry knows is in this log.\n");
        return;
    }
    let fetches: u64 = report.crawlers.iter().map(|one| one.all.fetches).sum();
    let size: u64 = report.crawlers.iter().map(|one| one.all.bytes).sum();
    let _ = writeln!(
        out,
        "\nAI crawlers: {} fetches ({}), {} ({})",
        grouped(fetches),
        share(fetches, report.requests.fetches),
        bytes(size),
        share(size, report.requests.bytes)
    );
    let header =
        ["crawler", "operator", "purpose", "fetches", "share", "bytes", "verified", "unverified", "spoofed"];
    let mut rows: Vec<Vec<String>> = vec![header.iter().map(|title| (*title).to_owned()).collect()];
    for one in &report.crawlers {
        rows.push(vec![
            one.crawler.to_string(),
            one.operator_name.to_string(),
            one.purpose.to_owned(),
            grouped(one.all.fetches),
            share(one.all.fetches, report.requests.fetches),
            bytes(one.all.bytes),
            grouped(one.verified),
            grouped(one.unverified),
            grouped(one.spoofed),
        ]);
    }
    out.push_str(&columns(&rows, |column| column >= 3));
    if report.crawlers.iter().any(|one| one.unverified > 0) {
        out.push_str(
            "  unverified: only the user agent says so. A replay asks no network; give it the operators' address lists\n  \
             (--lists DIR, as `byline serve` keeps them in its state directory). Names that only reverse DNS can confirm\n  \
             stay unverified here.\n",
        );
    }
    if report.crawlers.iter().any(|one| one.spoofed > 0) {
        out.push_str("  spoofed: the address is none of the operator's, so somebody else used the name.\n");
    }
}

fn others(out: &mut String, report: &Report) {
    out.push_str("\nEverybody else (Byline lets them pass untouched)\n");
    let mut rows = Vec::new();
    for one in &report.others {
        let names: Vec<&str> = one.names.iter().map(|name| &**name).collect();
        rows.push(vec![
            one.class.to_owned(),
            grouped(one.all.fetches),
            bytes(one.all.bytes),
            names.join(", "),
        ]);
    }
    rows.push(vec![
        "people and unknown".to_owned(),
        grouped(report.unrecognised.fetches),
        bytes(report.unrecognised.bytes),
        String::new(),
    ]);
    out.push_str(&columns(&rows, |column| column == 1 || column == 2));
}

fn unknown_bots(out: &mut String, report: &Report) {
    if report.unknown_bots.is_empty() {
        return;
    }
    out.push_str("\nThey call themselves something like a bot, and the registry does not know them\n");
    let rows: Vec<Vec<String>> = report
        .unknown_bots
        .iter()
        .map(|(name, count)| {
            let shown: String = name.chars().take(90).collect();
            vec![grouped(count.fetches), bytes(count.bytes), shown]
        })
        .collect();
    out.push_str(&columns(&rows, |column| column < 2));
    out.push_str("  If one of them is an AI crawler, a [[crawler]] in the policy makes it known.\n");
}

fn works(out: &mut String, report: &Report) {
    if report.works.is_empty() {
        return;
    }
    out.push_str("\nWhat AI crawlers fetched most\n");
    let rows: Vec<Vec<String>> = report
        .works
        .iter()
        .take(10)
        .map(|(url, count)| vec![grouped(count.fetches), bytes(count.bytes), url.chars().take(90).collect()])
        .collect();
    out.push_str(&columns(&rows, |column| column < 2));
    if report.is_partial {
        out.push_str(
            "  There are very many; rare ones were dropped on the way, so these counts are lower bounds.\n",
        );
    }
}

fn money(out: &mut String, policy: &PolicyReport, report: &Report) {
    let currency = &policy.currency;
    let sum = policy.sum();
    let _ = writeln!(out, "\nUnder {} (mode {})", policy.name, policy.mode);
    let header = [
        "crawler",
        "operator",
        "holder",
        "unit",
        "fetches",
        "priced",
        "quote",
        "owed",
        "refused",
        "would refuse",
    ];
    let mut rows: Vec<Vec<String>> = vec![header.iter().map(|title| (*title).to_owned()).collect()];
    for line in &policy.lines {
        rows.push(vec![
            line.crawler.to_string(),
            line.operator.to_string(),
            line.holder.as_deref().unwrap_or("\u{2014}").to_owned(),
            line.unit.as_str().to_owned(),
            grouped(line.fetches),
            grouped(line.priced),
            decimal(line.quote_nano),
            decimal(line.amount_nano),
            grouped(line.refused),
            grouped(line.would_refuse),
        ]);
    }
    rows.push(
        ["total", "", "", "", &grouped(sum.fetches), &grouped(sum.priced), &decimal(sum.quote_nano)]
            .into_iter()
            .chain([&*decimal(sum.amount_nano), &*grouped(sum.refused), &*grouped(sum.would_refuse)])
            .map(str::to_owned)
            .collect(),
    );
    out.push_str(&columns(&rows, |column| column >= 4));
    let _ = writeln!(
        out,
        "\n  At its prices the delivered fetches come to {} {currency}; {} {currency} of that is owed, by operators with an\n  \
         account that agreed to pay, under rules that are enforced.",
        decimal(sum.quote_nano),
        decimal(sum.amount_nano)
    );
    if sum.would_refuse > 0 {
        let _ = writeln!(
            out,
            "  {} of them were let through because their rule only observes; enforced they would be refused.",
            grouped(sum.would_refuse)
        );
    }
    if sum.refused > 0 {
        let _ = writeln!(
            out,
            "  {} would be refused; those that were asked to pay were asked for {} {currency}.",
            grouped(sum.refused),
            decimal(sum.refused_quote_nano)
        );
    }
    caveats(out, policy, report);
}

/// What a log cannot tell.
fn caveats(out: &mut String, policy: &PolicyReport, report: &Report) {
    let sum = policy.sum();
    let mut notes = Vec::new();
    if sum.needs_content_type > 0 {
        notes.push(format!(
            "{} fetches need their content type to be decided, and the log has none: they are counted without a price",
            grouped(sum.needs_content_type)
        ));
    }
    if sum.needs_words > 0 {
        notes.push(format!(
            "{} fetches are priced by their words, which no log has: {} {} at the very most, and not in the sums",
            grouped(sum.needs_words),
            decimal(sum.needs_words_most_nano),
            policy.currency
        ));
    }
    if sum.repeats > 0 {
        notes.push(format!(
            "{} fetches are free repeats, taken to be of the same version because they are of the same length",
            grouped(sum.repeats)
        ));
    }
    if policy.paid_forgotten {
        notes.push(
            "so many versions were paid for that the oldest were forgotten: some repeats may be charged"
                .to_owned(),
        );
    }
    if policy.ambiguous > 0 {
        notes.push(format!(
            "{} requests have a path that can be read in two ways: they get a 400",
            grouped(policy.ambiguous)
        ));
    }
    if report.without_host > 0 {
        notes.push(format!(
            "{} no host: --host says which one it was, or rules for hosts do not match",
            match report.without_host {
                1 => "1 request names".to_owned(),
                many => format!("{} requests name", grouped(many)),
            }
        ));
    }
    notes.push(
        "prices that crawlers offer in request headers are in no log: only accounts pay here".to_owned(),
    );
    out.push_str("\n  What the log cannot tell:\n");
    for note in notes {
        let _ = writeln!(out, "   - {note}");
    }
}

fn comparison(out: &mut String, policy: &PolicyReport, against: &PolicyReport) {
    let _ = writeln!(out, "\n{} (new) against {} (old), crawler by crawler", policy.name, against.name);
    let header = [
        "crawler",
        "operator",
        "free",
        "priced",
        "refused",
        "would refuse",
        "quote",
        "owed",
        "quote, difference",
    ];
    let mut rows: Vec<Vec<String>> = vec![header.iter().map(|title| (*title).to_owned()).collect()];
    let both = both(policy, against);
    let one_if_same =
        |new: String, old: String| if new == old { new } else { format!("{old} \u{2192} {new}") };
    let count = |new: u64, old: u64| one_if_same(grouped(new), grouped(old));
    let nano = |new: i128, old: i128| one_if_same(decimal(new), decimal(old));
    let signed = |nano: i128| if nano > 0 { format!("+{}", decimal(nano)) } else { decimal(nano) };
    let mut changed = 0;
    for ((operator, crawler), (new, old)) in &both {
        if new == old {
            continue;
        }
        changed += 1;
        rows.push(vec![
            (*crawler).to_owned(),
            (*operator).to_owned(),
            count(new.free(), old.free()),
            count(new.priced, old.priced),
            count(new.refused, old.refused),
            count(new.would_refuse, old.would_refuse),
            nano(new.quote_nano, old.quote_nano),
            nano(new.amount_nano, old.amount_nano),
            signed(new.quote_nano - old.quote_nano),
        ]);
    }
    let (new, old) = (policy.sum(), against.sum());
    rows.push(vec![
        "total".to_owned(),
        String::new(),
        count(new.free(), old.free()),
        count(new.priced, old.priced),
        count(new.refused, old.refused),
        count(new.would_refuse, old.would_refuse),
        nano(new.quote_nano, old.quote_nano),
        nano(new.amount_nano, old.amount_nano),
        signed(new.quote_nano - old.quote_nano),
    ]);
    out.push_str(&columns(&rows, |column| column >= 2));
    let _ = writeln!(out, "\n  {changed} of {} AI crawlers change outcome.", both.len());
    if policy.currency != against.currency {
        let _ = writeln!(
            out,
            "  The policies have different currencies ({} and {}): the difference of amounts means nothing.",
            policy.currency, against.currency
        );
    }
    for (one, which) in [(policy, "new"), (against, "old")] {
        if !one.search_engines_touched.is_empty() {
            let names: Vec<&str> = one.search_engines_touched.iter().map(|name| &**name).collect();
            let _ = writeln!(
                out,
                "  ATTENTION: the {which} policy declares search engines to be AI crawlers: {}",
                names.join(", ")
            );
        }
    }
    if policy.search_engines_touched.is_empty() && against.search_engines_touched.is_empty() {
        out.push_str("  No search engine is touched by either.\n");
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal multiples with one decimal, as storage is sold and megabytes are billed.
fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, size) in UNITS {
        if number >= size {
            let tenths = number / (size / 10);
            return format!("{}.{} {unit}", grouped(tenths / 10), tenths % 10);
        }
    }
    format!("{number} B")
}

/// Part of a whole in per cent with one decimal.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0.0 %".to_owned();
    }
    let tenths = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}
