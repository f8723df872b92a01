//! `byline explain`: which rule decides a fetch, with which outcome and price, and why the others do not.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use policy::{
    Answer, Charge, Class, Crawler, Evidence, Explanation, Mode, Money, Offer, OfferError, PolicySnapshot,
    Question, Refusal, ReverseDnsAnswer, Unit, identify, render, weigh,
};
use serde_json::{Value, json};

use super::check::Format;
use crate::policy_file;

/// Arguments of `byline explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is fetched, as in https://example.com/articles/1.
    url: String,
    /// The crawler's user agent, or just its name.
    #[arg(long, short = 'A')]
    user_agent: String,
    /// The address that it comes from; without one its name is only claimed.
    #[arg(long)]
    ip: Option<IpAddr>,
    /// The response's content type, for rules that ask for one.
    #[arg(long)]
    content_type: Option<String>,
    /// The response's length in bytes, for prices per MB.
    #[arg(long)]
    bytes: Option<u64>,
    /// What the crawler offers at most, as in "USD 0.01" (crawler-max-price).
    #[arg(long)]
    max_price: Option<String>,
    /// What the crawler offers exactly (crawler-exact-price).
    #[arg(long)]
    exact_price: Option<String>,
    /// The policy; without one ./policy.toml if it is there, else the one that refuses nothing.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// In place of the policy's own mode.
    #[arg(long, value_parser = ["observe", "enforce"])]
    mode: Option<String>,
    /// How to answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mode = args.mode.as_deref().and_then(Mode::parse);
    let Some(policy) = load(args.policy.as_deref(), mode)? else {
        return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
    };
    let (scheme, host, target) = split_url(&args.url)?;
    let Some(row) = policy.directory().recognise(&args.user_agent) else {
        let words = "No crawler that Byline knows is named in this user agent: the request passes untouched.";
        match args.format {
            Format::Text => println!("{words}"),
            Format::Json => println!("{:#}", json!({"crawler": null, "outcome": "pass", "because": words})),
        }
        return Ok(ExitCode::SUCCESS);
    };
    let evidence = match args.ip {
        Some(address) => weigh(row, address, &|_| None, &ReverseDnsAnswer::Unknown),
        None => Evidence::None,
    };
    let crawler = identify(Arc::clone(row), evidence);
    let offer = Offer::parse(args.max_price.as_deref(), args.exact_price.as_deref());
    let question = Question {
        scheme,
        host,
        target,
        crawler: &crawler,
        content_type: args.content_type.as_deref(),
        content_length: args.bytes,
        offer: &offer,
    };
    let explanation = match policy.explain(&question) {
        Ok(explanation) => explanation,
        Err(ambiguous) => {
            match args.format {
                Format::Text => println!("400  {ambiguous}; no rule is asked."),
                Format::Json => {
                    println!(
                        "{:#}",
                        json!({"outcome": "refuse", "status": 400, "because": ambiguous.to_string()})
                    );
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    match args.format {
        Format::Text => print!("{}", in_words(&explanation, &crawler, args.ip)),
        Format::Json => println!("{:#}", in_json(&explanation, &crawler, &offer)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `None`: the policy is invalid, and stderr says why.
pub(super) fn load(path: Option<&Path>, mode: Option<Mode>) -> anyhow::Result<Option<PolicySnapshot>> {
    let default = Path::new("policy.toml");
    let source = match path {
        Some(path) => {
            policy_file::read(path).with_context(|| format!("{} cannot be read", path.display()))?
        }
        None if default.exists() => policy_file::read(default).context("policy.toml cannot be read")?,
        None => policy::PolicySnapshot::observe_only().sources()[0].clone(),
    };
    match policy_file::compile(source, mode) {
        Ok((snapshot, warnings)) => {
            if !warnings.is_empty() {
                eprintln!("{}", render(&warnings));
            }
            Ok(Some(snapshot))
        }
        Err(errors) => {
            eprintln!("{}", render(&errors));
            Ok(None)
        }
    }
}

pub(super) fn split_url(url: &str) -> anyhow::Result<(&str, &str, &str)> {
    let (scheme, rest) =
        url.split_once("://").context("the URL needs its scheme, as in https://example.com/")?;
    anyhow::ensure!(matches!(scheme, "http" | "https"), "the URL's scheme is http or https");
    let rest = rest.split('#').next().unwrap_or_default();
    Ok(match rest.find(['/', '?']) {
        Some(end) => (scheme, &rest[..end], &rest[end..]),
        None => (scheme, rest, "/"),
    })
}

fn in_words(explanation: &Explanation, crawler: &Crawler, ip: Option<IpAddr>) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all that is written");
    let row = &crawler.row;
    line(explanation.work.url.clone());
    if let Some(holder) = &explanation.work.holder {
        line(format!("  held by {holder}"));
    }
    if let Some(licence) = &explanation.work.licence {
        line(format!("  licence {licence}"));
    }
    line(format!(
        "{} of {} (operator {}, class {}, purpose {})",
        row.token,
        row.operator_name,
        row.operator,
        row.class.as_str(),
        row.purpose
    ));
    line(format!("  {}", identity_in_words(crawler, ip)));
    line(String::new());
    match &explanation.place {
        Some(place) => {
            let mode = explanation.mode.as_str();
            line(format!("Decided by the rule \"{}\" ({place}, mode {mode}):", explanation.rule));
        }
        None => line(format!("Decided by no rule of the policy (\"{}\"):", explanation.rule)),
    }
    line(format!("  {}.", explanation.because));
    line(String::new());
    for text in answer_in_words(&explanation.answer) {
        line(text);
    }
    if !explanation.considered.is_empty() {
        line(String::new());
        line("The other rules, in the order in which they are asked:".to_owned());
        for other in &explanation.considered {
            line(format!("  \"{}\" ({}): {}", other.rule, other.place, other.why));
        }
    }
    out
}

fn identity_in_words(crawler: &Crawler, ip: Option<IpAddr>) -> String {
    let assurance = crawler.assurance.as_str();
    match (crawler.evidence.identity(), ip) {
        (Evidence::Licence { .. }, _) => format!("assurance {assurance}"),
        (Evidence::Range { source }, _) => {
            format!("assurance {assurance}: its address is in a range (source: {source})")
        }
        (Evidence::Signed { agent, .. }, _) => format!("assurance {assurance}: it is signed by {agent}"),
        (Evidence::ReverseDns { name }, _) => format!("assurance {assurance}: its address is that of {name}"),
        (Evidence::Contradicted { by }, _) => {
            format!("a spoof: its address is not one that the operator fetches from (checked by {by})")
        }
        (Evidence::None, None) => format!("assurance {assurance}: no address was given (--ip)"),
        (Evidence::None, Some(_)) => format!(
            "assurance {assurance}: neither the policy nor the built-in registry has this address; published lists and \
             reverse DNS are not asked here"
        ),
    }
}

fn answer_in_words(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Refuse(refusal) => {
            let mut lines = vec![format!("{}  {}", refusal.status(), refusal.detail)];
            lines.extend(refusal.price.map(|price| {
                format!("     crawler-price: {} {}", price.currency, policy::decimal(price.nano.into()))
            }));
            lines.extend(refusal.crawler_error.map(|code| format!("     crawler-error: {code}")));
            lines
        }
        Answer::Deliver { terms, amount, would_refuse } => {
            let mut lines = vec![match (&terms.charge, terms.owed, amount) {
                (Some(charge), true, Some(amount)) => {
                    format!(
                        "delivered, and {} is owed ({}).",
                        amount_in_words(charge, *amount),
                        repeat_in_words(charge)
                    )
                }
                (Some(charge), false, Some(amount)) => format!(
                    "delivered; nothing is owed. It would cost {} ({}).",
                    amount_in_words(charge, *amount),
                    repeat_in_words(charge)
                ),
                _ => "delivered, free.".to_owned(),
            }];
            if let Some(limit) = &terms.limit {
                let budget: Vec<String> = [
                    limit.requests.map(|requests| format!("{requests} requests")),
                    limit.bytes.map(|bytes| format!("{bytes} bytes")),
                ]
                .into_iter()
                .flatten()
                .collect();
                lines.push(format!(
                    "It counts against a budget of {} in {} s for each operator.",
                    budget.join(" and "),
                    limit.period_secs
                ));
            }
            if let Some(refusal) = would_refuse {
                lines.push(format!("Enforced, this would be {}: {}", refusal.status(), refusal.detail));
            }
            lines
        }
    }
}

fn amount_in_words(charge: &Charge, amount: Money) -> String {
    match charge.unit {
        Unit::Fetch => amount.to_string(),
        Unit::Megabyte => format!("{amount} at most, at {} per MB", charge.price),
        Unit::ThousandWords => format!("{amount} at most, at {} per 1000 words", charge.price),
    }
}

fn repeat_in_words(charge: &Charge) -> String {
    match charge.repeat_free_secs {
        0 => "every fetch counts".to_owned(),
        seconds if seconds % 86_400 == 0 => {
            format!("the same version is free for {} days after", seconds / 86_400)
        }
        seconds => format!("the same version is free for {seconds} s after"),
    }
}

fn in_json(explanation: &Explanation, crawler: &Crawler, offer: &Result<Offer, OfferError>) -> Value {
    let row = &crawler.row;
    let work = &explanation.work;
    let money = |money: Money| json!({"amount": policy::decimal(money.nano.into()), "currency": money.currency.as_str()});
    let refusal = |refusal: &Refusal| {
        json!({
            "status": refusal.status(),
            "detail": refusal.detail,
            "price": refusal.price.map(money),
            "unit": refusal.unit.map(Unit::as_str),
            "crawler_error": refusal.crawler_error,
        })
    };
    let (outcome, answer) = match &explanation.answer {
        Answer::Refuse(refused) => ("refuse", refusal(refused)),
        Answer::Deliver { terms, amount, would_refuse } => {
            let outcome = if row.class == Class::Ai { "deliver" } else { "pass" };
            let answer = json!({
                "status": 200,
                "amount": amount.map(money),
                "owed": terms.owed,
                "unit": terms.charge.as_ref().map(|charge| charge.unit.as_str()),
                "unit_price": terms.charge.as_ref().map(|charge| money(charge.price)),
                "would_refuse": would_refuse.as_ref().map(refusal),
            });
            (outcome, answer)
        }
    };
    let considered: Vec<Value> = explanation
        .considered
        .iter()
        .map(|other| json!({"rule": &*other.rule, "place": other.place, "why": other.why}))
        .collect();
    json!({
        "work": {
            "url": work.url,
            "id": work.id,
            "holder": work.holder.as_deref(),
            "licence": work.licence.as_deref(),
            "always_free": work.always_free,
        },
        "crawler": {
            "token": &*row.token,
            "operator": &*row.operator,
            "class": row.class.as_str(),
            "purpose": row.purpose.as_str(),
            "assurance": crawler.assurance.as_str(),
            "spoof": crawler.is_spoof(),
        },
        "offer": offer.as_ref().map_or_else(|error| json!(error.to_string()), |offer| match *offer {
            Offer::None => Value::Null,
            Offer::Max(amount) => json!({"max": money(amount)}),
            Offer::Exact(amount) => json!({"exact": money(amount)}),
            Offer::Prepaid(amount) => json!({"prepaid": money(amount)}),
        }),
        "rule": &*explanation.rule,
        "place": explanation.place,
        "verdict": explanation.verdict.as_str(),
        "mode": explanation.mode.as_str(),
        "because": explanation.because,
        "outcome": outcome,
        "answer": answer,
        "considered": considered,
    })
}
