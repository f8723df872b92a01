//! `[[licence_offer]]` and `[licence_server]`: read, checked, and made into what the code sees.

use std::sync::Arc;

use super::draft::{identifier, is_url, list, read_word, references, word};
use super::quantity::duration_secs;
use super::resolve::{Amounts, Names, Seen};
use crate::fields::{At, Fields, Place, Report};
use crate::glob::PathGlob;
use crate::licence::{LicencePath, Price};
use crate::pattern::HostPattern;
use crate::protocol::rsl::{PaymentType, UsageClass};
use crate::{Licence, LicenceServer, TOKEN_SECS_MAX};

/// Licences of a policy.
const MAX_LICENCES: usize = 256;
/// How long a token is good where its licence does not say.
const TOKEN_SECS: u64 = 30 * 86_400;
/// The shortest time; a token that ends before it begins is none.
const TOKEN_SECS_MIN: u64 = 1;

pub(crate) struct LicenceDraft {
    id: At<String>,
    hosts: Vec<HostPattern>,
    paths: Vec<LicencePath>,
    usages: Vec<UsageClass>,
    payment: At<PaymentType>,
    price: Option<At<String>>,
    standard: Option<String>,
    custom: Option<String>,
    operators: Vec<At<String>>,
    token_secs: u64,
}

/// Reads a `[[licence_offer]]`; none if it cannot be used, which is reported.
pub(super) fn read_licence(report: &Report, fields: Fields<'_, '_>) -> Option<LicenceDraft> {
    let id = fields.required("id", "the name that records call it by, as in `id = \"training-2026\"`");
    let id = id.and_then(|id| identifier(report, id));
    let hosts = list(report, &fields, "host", HostPattern::parse);
    let paths = list(report, &fields, "path", read_path);
    let is_told = |key| fields.key(key).is_some();
    if !is_told("usage") {
        fields.missing(
            &["usage"],
            "`[[licence_offer]]` needs `usage`",
            "what it permits, as in `usage = [\"ai-train\"]`",
        );
    }
    let usages =
        list(report, &fields, "usage", |text| word(text, USAGES.map(UsageClass::as_str), UsageClass::parse));
    let place = fields.key("payment").unwrap_or(fields.place);
    if !is_told("payment") {
        let help = "what is paid for, as in `payment = \"subscription\"`, or `payment = \"free\"`";
        fields.missing(&["payment"], "`[[licence_offer]]` needs `payment`", help);
    }
    let payment =
        read_word(report, &fields, "payment", PAYMENTS.map(PaymentType::as_str), PaymentType::parse);
    let payment = payment.map(|value| At { value, place });
    let draft = LicenceDraftParts {
        price: fields.string("price"),
        standard: read_url(report, &fields, "standard"),
        custom: read_url(report, &fields, "custom"),
        operators: references(report, &fields, "operators"),
        token_secs: read_token_secs(report, &fields),
    };
    fields.finish();
    let LicenceDraftParts { price, standard, custom, operators, token_secs } = draft;
    Some(LicenceDraft {
        id: id?,
        hosts,
        paths,
        usages: (!usages.is_empty()).then_some(usages)?,
        payment: payment?,
        price,
        standard,
        custom,
        operators,
        token_secs,
    })
}

/// What is read whether or not the rest can be used.
struct LicenceDraftParts {
    price: Option<At<String>>,
    standard: Option<String>,
    custom: Option<String>,
    operators: Vec<At<String>>,
    token_secs: u64,
}

const USAGES: [UsageClass; 6] = [
    UsageClass::All,
    UsageClass::AiAll,
    UsageClass::AiTrain,
    UsageClass::AiInput,
    UsageClass::AiIndex,
    UsageClass::Search,
];

const PAYMENTS: [PaymentType; 8] = [
    PaymentType::Purchase,
    PaymentType::Subscription,
    PaymentType::Training,
    PaymentType::Crawl,
    PaymentType::Use,
    PaymentType::Contribution,
    PaymentType::Attribution,
    PaymentType::Free,
];

/// A licence is published in RSL, whose paths are those of robots.txt: what these cannot say, a licence cannot be about.
fn read_path(text: &str) -> Result<LicencePath, String> {
    let glob = PathGlob::parse(text)?;
    let pattern = glob.to_robots().ok_or(
        "a licence's only wildcard is `**`: it is published with a path as robots.txt has it, where `*` is anything",
    )?;
    Ok(LicencePath { glob, pattern })
}

fn read_url(report: &Report, fields: &Fields<'_, '_>, key: &'static str) -> Option<String> {
    let url = fields.string(key)?;
    if is_url(&url.value) {
        return Some(url.value);
    }
    let help = "write it in full, as in \"https://example.com/licensing\"";
    report.error_help(url.place, format!("`{key}` is not a URL"), help);
    None
}

fn read_token_secs(report: &Report, fields: &Fields<'_, '_>) -> u64 {
    let Some(text) = fields.quantity("duration") else { return TOKEN_SECS };
    let in_bounds = |seconds| match (TOKEN_SECS_MIN..=TOKEN_SECS_MAX).contains(&seconds) {
        true => Ok(seconds),
        false => Err("a token is good for a second at least and 366 days at most".to_owned()),
    };
    match duration_secs(&text.value).and_then(in_bounds) {
        Ok(seconds) => seconds,
        Err(help) => {
            report.error_help(text.place, "`duration` is no time for a token", help);
            TOKEN_SECS
        }
    }
}

/// Reads `[licence_server]`: with `url` another one, else Byline's own.
pub(super) fn read_server(report: &Report, fields: Fields<'_, '_>) -> LicenceServer {
    let url = fields.string("url");
    fields.finish();
    let Some(url) = url else { return LicenceServer::BuiltIn };
    if !is_url(&url.value) || url.value.contains(['?', '#']) || !is_private(&url.value) {
        let help = "write its base URL in full, as in \"https://licences.example/olp\"";
        report.error_help(url.place, "a licence server is asked over https", help);
    }
    LicenceServer::External { url: url.value.trim_end_matches('/').into() }
}

/// Whether what is sent there goes over TLS, or stays on this machine.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["127.0.0.1", "[::1]", "localhost"].contains(&host)
}

pub(super) fn resolve_licences(
    names: &Names<'_>,
    money: &Amounts<'_>,
    drafts: Vec<LicenceDraft>,
) -> Vec<Licence> {
    let report = names.report;
    let mut seen = Seen::new(report, "licence");
    let mut licences = Vec::new();
    for draft in drafts {
        if licences.len() == MAX_LICENCES {
            report.error(draft.id.place, format!("a policy grants at most {MAX_LICENCES} licences"));
            break;
        }
        if !seen.is_new(&draft.id.value, draft.id.place) {
            continue;
        }
        let payment = draft.payment.value;
        let amount = draft.price.as_ref().and_then(|text| money.price(text));
        check_price(report, &draft.payment, draft.price.as_ref());
        check_operators(report, &draft);
        let operators = draft.operators.iter().filter_map(|operator| names.operator(operator)).collect();
        let any = || LicencePath { glob: PathGlob::anything(), pattern: "/*".to_owned() };
        let paths = if draft.paths.is_empty() { vec![any()] } else { draft.paths };
        licences.push(Licence::new(
            Arc::from(draft.id.value),
            (draft.hosts, paths),
            draft.usages,
            Price { payment, amount, standard: draft.standard, custom: draft.custom },
            operators,
            draft.token_secs,
        ));
    }
    licences
}

fn check_price(report: &Report, payment: &At<PaymentType>, price: Option<&At<String>>) {
    let word = payment.value.as_str();
    match (payment.value, price) {
        (PaymentType::Free | PaymentType::Attribution, Some(price)) => {
            let help = "take `price` out, or write what is paid for";
            report.error_help(
                price.place,
                format!("a licence with `payment = \"{word}\"` has no price"),
                help,
            );
        }
        (PaymentType::Crawl, None) => {
            let help =
                "what one fetch costs, as in `price = \"0.002 USD\"`; the rule's `charge` is what is taken";
            report.error_help(payment.place, "a licence that is paid by the fetch needs `price`", help);
        }
        _ => {}
    }
}

/// What is paid before any fetch, or beside all of them, no token can show: the policy has to say who did.
fn check_operators(report: &Report, draft: &LicenceDraft) {
    let payment = draft.payment.value;
    let is_acquired =
        matches!(payment, PaymentType::Purchase | PaymentType::Subscription | PaymentType::Training);
    if is_acquired && draft.operators.is_empty() {
        let place: Place = draft.payment.place;
        let help = "say who has acquired it, as in `operators = [\"openai\"]`; each needs an `[[account]]`";
        report.error_help(place, format!("a licence by {} needs `operators`", payment.as_str()), help);
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for url in [
            "https://a.example",
            "http://localhost/olp",
            "http://127.0.0.1:81/",
            "http://[::1]",
            "http://[::1]:81",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://localhost.a.example",
            "http://127.0.0.1.a.example/",
            "http://localhost@a.example",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
