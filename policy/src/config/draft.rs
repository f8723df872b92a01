//! A policy as it is written: every value read and checked for itself, nothing compared with anything else yet.

use toml::de::DeTable;

use super::licence::{self, LicenceDraft};
use super::payment::{self, PaymentDraft};
use super::quantity::{byte_count, duration_secs};
use crate::diagnostic::suggest;
use crate::fields::{At, Fields, Place, Report};
use crate::glob::PathGlob;
use crate::pattern::{HostPattern, MediaPattern};
use crate::publish::Switches;
use crate::rule::Rungs;
use crate::{Assurance, Class, LicenceServer, Mode, Purpose, Unit, Verdict};

/// Items in one list of a rule, a work or a site.
const MAX_LIST: usize = 64;

/// All that was written.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) mode: Option<Mode>,
    pub(crate) currency: Option<At<String>>,
    pub(crate) base_price: Option<At<String>>,
    pub(crate) contact: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) count_words: bool,
    pub(crate) publish: PublishDraft,
    pub(crate) sites: Vec<SiteDraft>,
    pub(crate) holders: Vec<HolderDraft>,
    pub(crate) works: Vec<WorkDraft>,
    pub(crate) rules: Vec<RuleDraft>,
    pub(crate) crawlers: Vec<CrawlerDraft>,
    pub(crate) accounts: Vec<AccountDraft>,
    pub(crate) licences: Vec<LicenceDraft>,
    pub(crate) licence_server: LicenceServer,
    pub(crate) payments: Vec<PaymentDraft>,
}

/// What is written about publishing; what is not, is not changed.
#[derive(Clone, Copy, Default)]
pub(crate) struct PublishDraft {
    pub(crate) robots: Option<bool>,
    pub(crate) tdmrep: Option<bool>,
    pub(crate) rsl: Option<bool>,
    pub(crate) headers: Option<bool>,
}

impl PublishDraft {
    /// These switches, over those that hold without them.
    pub(crate) fn over(self, others: Switches) -> Switches {
        Switches {
            robots: self.robots.unwrap_or(others.robots),
            tdmrep: self.tdmrep.unwrap_or(others.tdmrep),
            rsl: self.rsl.unwrap_or(others.rsl),
            headers: self.headers.unwrap_or(others.headers),
        }
    }
}

pub(crate) struct SiteDraft {
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) publish: PublishDraft,
    pub(crate) holder: Option<At<String>>,
    pub(crate) licence: Option<String>,
    pub(crate) contact: Option<String>,
    pub(crate) query: Vec<String>,
}

pub(crate) struct HolderDraft {
    pub(crate) id: At<String>,
    pub(crate) name: Option<String>,
}

pub(crate) struct WorkDraft {
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<PathGlob>,
    pub(crate) id: Option<At<String>>,
    pub(crate) holder: Option<At<String>>,
    pub(crate) licence: Option<String>,
}

pub(crate) struct RuleDraft {
    pub(crate) name: At<String>,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<PathGlob>,
    pub(crate) media: Vec<MediaPattern>,
    pub(crate) crawlers: Vec<At<String>>,
    pub(crate) operators: Vec<At<String>>,
    pub(crate) purposes: Vec<Purpose>,
    pub(crate) rungs: Rungs,
    pub(crate) require: Option<Assurance>,
    pub(crate) mode: Option<Mode>,
    pub(crate) verdict: Verdict,
    pub(crate) charge: Option<ChargeDraft>,
    pub(crate) limit: Option<LimitDraft>,
}

pub(crate) struct ChargeDraft {
    pub(crate) place: Place,
    pub(crate) price: Option<At<String>>,
    pub(crate) unit: Option<At<Unit>>,
    pub(crate) max: Option<At<String>>,
    pub(crate) origin_price: Option<At<bool>>,
    pub(crate) repeat_free_secs: Option<u64>,
}

pub(crate) struct LimitDraft {
    pub(crate) requests: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) period_secs: u64,
}

pub(crate) struct CrawlerDraft {
    pub(crate) place: Place,
    pub(crate) token: At<String>,
    pub(crate) operator: Option<At<String>>,
    pub(crate) operator_name: Option<String>,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) class: Option<Class>,
    pub(crate) ranges: Option<Vec<At<String>>>,
    pub(crate) lists: Option<Vec<At<String>>>,
    pub(crate) reverse_dns: Option<Vec<At<String>>>,
    pub(crate) agents: Option<Vec<At<String>>>,
}

pub(crate) struct AccountDraft {
    pub(crate) operator: At<String>,
    pub(crate) credit_limit: Option<At<String>>,
    pub(crate) accept: Option<At<String>>,
}

/// Reads one text into the draft; returns what it includes.
pub(crate) fn read(
    report: &Report,
    table: &DeTable<'_>,
    whole: Place,
    is_own: bool,
    draft: &mut Draft,
) -> Vec<At<String>> {
    let top = Fields::new(report, table, whole, if is_own { "a policy" } else { "an included text" });
    read_version(report, &top, is_own);
    if is_own {
        read_settings(report, &top, draft);
    } else {
        for key in [
            "mode",
            "currency",
            "base_price",
            "contact",
            "licence",
            "count_words",
            "publish",
            "licence_server",
        ] {
            top.misplaced(key, "it is set in the policy itself, not in what it includes");
        }
    }
    let included = top.strings("include").unwrap_or_default();
    for fields in top.tables("holder", "`[[holder]]`") {
        draft.holders.extend(read_holder(report, fields));
    }
    for fields in top.tables("site", "`[[site]]`") {
        draft.sites.push(read_site(report, fields));
    }
    for fields in top.tables("work", "`[[work]]`") {
        draft.works.push(read_work(report, fields));
    }
    for fields in top.tables("rule", "`[[rule]]`") {
        draft.rules.extend(read_rule(report, fields));
    }
    for fields in top.tables("crawler", "`[[crawler]]`") {
        draft.crawlers.extend(read_crawler(report, fields));
    }
    for fields in top.tables("account", "`[[account]]`") {
        draft.accounts.extend(read_account(fields));
    }
    for fields in top.tables("licence_offer", "`[[licence_offer]]`") {
        draft.licences.extend(licence::read_licence(report, fields));
    }
    for fields in top.tables("payment", "`[[payment]]`") {
        draft.payments.extend(payment::read(report, fields));
    }
    top.finish();
    included
}

fn read_version(report: &Report, top: &Fields<'_, '_>, is_own: bool) {
    match top.positive("version") {
        Some(version) if version.value != 1 => {
            report.error_help(
                version.place,
                "this Byline reads version 1 of policies",
                "write `version = 1`",
            );
        }
        None if is_own && top.key("version").is_none() => {
            report.error_help(
                top.place,
                "the policy names no version",
                "write `version = 1` in its first line",
            );
        }
        _ => {}
    }
}

fn read_settings(report: &Report, top: &Fields<'_, '_>, draft: &mut Draft) {
    draft.mode = read_mode(report, top);
    draft.currency = top.string("currency");
    draft.base_price = top.string("base_price");
    draft.contact = read_contact(report, top);
    draft.licence = read_licence(report, top);
    draft.count_words = top.boolean("count_words").is_some_and(|flag| flag.value);
    draft.publish = read_publish(top);
    if let Some(fields) = top.table("licence_server", "`[licence_server]`") {
        draft.licence_server = licence::read_server(report, fields);
    }
}

/// `[publish]`, or `publish = { … }` of a site.
fn read_publish(fields: &Fields<'_, '_>) -> PublishDraft {
    let Some(table) = fields.table("publish", "`publish`") else { return PublishDraft::default() };
    let switch = |key| table.boolean(key).map(|flag| flag.value);
    let draft = PublishDraft {
        robots: switch("robots"),
        tdmrep: switch("tdmrep"),
        rsl: switch("rsl"),
        headers: switch("headers"),
    };
    table.finish();
    draft
}

fn read_holder(report: &Report, fields: Fields<'_, '_>) -> Option<HolderDraft> {
    let id = fields
        .required("id", "the identifier that records and statements use, as in `id = \"example-press\"`");
    let id = id.and_then(|id| identifier(report, id));
    let name = fields.string("name").map(|name| name.value);
    fields.finish();
    id.map(|id| HolderDraft { id, name })
}

fn read_site(report: &Report, fields: Fields<'_, '_>) -> SiteDraft {
    let site = SiteDraft {
        hosts: list(report, &fields, "host", HostPattern::parse),
        holder: fields.string("holder"),
        licence: read_licence(report, &fields),
        contact: read_contact(report, &fields),
        publish: read_publish(&fields),
        query: list(report, &fields, "query", |name| match name {
            "" => Err("a parameter has a name".to_owned()),
            name => Ok(name.to_owned()),
        }),
    };
    fields.finish();
    site
}

fn read_work(report: &Report, fields: Fields<'_, '_>) -> WorkDraft {
    if fields.key("host").is_none() && fields.key("path").is_none() {
        fields.missing(
            &["path", "host"],
            "`[[work]]` needs `path` or `host`",
            "say which URLs it is about, as in `path = \"/articles/**\"`",
        );
    }
    let id = fields.string("id").filter(|id| {
        let fits =
            (1..=200).contains(&id.value.len()) && id.value.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            report.error(id.place, "a work's `id` has 1 to 200 visible ASCII characters");
        }
        fits
    });
    let work = WorkDraft {
        hosts: list(report, &fields, "host", HostPattern::parse),
        paths: list(report, &fields, "path", PathGlob::parse),
        id,
        holder: fields.string("holder"),
        licence: read_licence(report, &fields),
    };
    fields.finish();
    work
}

fn read_rule(report: &Report, fields: Fields<'_, '_>) -> Option<RuleDraft> {
    let name = fields.required("name", "records and refusals call the rule by its name").filter(|name| {
        let fits =
            (1..=64).contains(&name.value.chars().count()) && !name.value.chars().any(char::is_control);
        if !fits {
            report.error(name.place, "a rule's name has 1 to 64 characters");
        }
        let reserved =
            [crate::terms::DEFAULT_RULE, crate::terms::ALWAYS_FREE_RULE].contains(&name.value.as_str());
        if reserved {
            report.error_help(
                name.place,
                format!("the name `{}` is taken", name.value),
                "records use it for fetches that no rule decides",
            );
        }
        fits && !reserved
    });
    let hosts = list(report, &fields, "host", HostPattern::parse);
    let paths = list(report, &fields, "path", PathGlob::parse);
    let media = list(report, &fields, "content_type", MediaPattern::parse);
    let crawlers = references(report, &fields, "crawler");
    let operators = references(report, &fields, "operator");
    let purposes = list(report, &fields, "purpose", |text| {
        word(text, Purpose::ALL.map(Purpose::as_str), Purpose::parse)
    });
    let rungs = list(report, &fields, "assurance", |text| word(text, Rungs::WORDS, Rungs::parse));
    let require = read_word(report, &fields, "require", RUNGS.map(Assurance::as_str), |text| {
        RUNGS.into_iter().find(|rung| rung.as_str() == text)
    });
    let mode = read_mode(report, &fields);
    let limit = fields.table("limit", "`limit`").and_then(|limit| read_limit(report, limit));
    let charge = fields.table("charge", "`charge`").map(|charge| read_charge(report, charge));
    let verdict = read_verdict(report, &fields);
    if let (Some(place), Some(verdict)) = (fields.key("require"), verdict)
        && verdict != Verdict::Charge
    {
        report.error_help(
            place,
            "`require` says who may pay, and this rule asks for no money",
            "to make the rule itself depend on it, write `assurance`",
        );
    }
    if let (Some(place), Some(Verdict::Deny)) = (fields.key("limit"), verdict) {
        report.error_help(place, "a rule that denies has nothing to limit", "take out `limit` or `deny`");
    }
    fields.finish();
    Some(RuleDraft {
        name: name?,
        hosts,
        paths,
        media,
        crawlers,
        operators,
        purposes,
        rungs: rungs.into_iter().reduce(Rungs::union).unwrap_or(Rungs::ANY),
        require,
        mode,
        verdict: verdict?,
        charge,
        limit,
    })
}

const RUNGS: [Assurance; 4] =
    [Assurance::Claimed, Assurance::Network, Assurance::Signed, Assurance::Licensed];

/// Exactly one of allow, deny and charge; a limit alone allows.
fn read_verdict(report: &Report, fields: &Fields<'_, '_>) -> Option<Verdict> {
    let mut said: Vec<(Verdict, Place)> = Vec::new();
    for (key, verdict, opposite) in
        [("allow", Verdict::Allow, "deny = true"), ("deny", Verdict::Deny, "allow = true")]
    {
        match (fields.key(key), fields.boolean(key)) {
            (Some(_), Some(flag)) if !flag.value => {
                report.error_help(
                    flag.place,
                    format!("`{key} = false` says nothing"),
                    format!("write `{opposite}`, or take the line out"),
                );
                return None;
            }
            (Some(place), _) => said.push((verdict, place)),
            (None, _) => {}
        }
    }
    if let Some(place) = fields.key("charge") {
        said.push((Verdict::Charge, place));
    }
    match said[..] {
        [(verdict, _)] => Some(verdict),
        [] if fields.key("limit").is_some() => Some(Verdict::Allow),
        [] => {
            fields.missing(
                &["allow", "deny", "charge", "limit"],
                "the rule decides nothing",
                "add one of `allow = true`, `deny = true`, `charge = { … }` or `limit = { … }`",
            );
            None
        }
        [_, (_, place), ..] => {
            report.error_help(place, "the rule decides twice", "keep one of `allow`, `deny` and `charge`");
            None
        }
    }
}

fn read_charge(report: &Report, fields: Fields<'_, '_>) -> ChargeDraft {
    let price = fields.required("price", "as in `price = \"0.002 USD\"`");
    let per = fields.required("per", "one of \"fetch\", \"MB\" and \"1000 words\"");
    let unit = per.and_then(|per| {
        let unit = match per.value.as_str() {
            "fetch" => Unit::Fetch,
            "MB" => Unit::Megabyte,
            "1000 words" | "1000-words" => Unit::ThousandWords,
            other => {
                let words = ["fetch", "MB", "1000 words"];
                let help = match suggest(other, words) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "units are \"fetch\", \"MB\" (1000000 bytes) and \"1000 words\"".to_owned(),
                };
                report.error_help(per.place, format!("`{other}` is no unit"), help);
                return None;
            }
        };
        Some(At { value: unit, place: per.place })
    });
    let max = fields.string("max");
    let origin_price = fields.boolean("origin_price");
    let repeat_free_secs = fields.quantity("repeat_free").and_then(|text| {
        duration_secs(&text.value)
            .map_err(|help| report.error_help(text.place, "`repeat_free` is no duration", help))
            .ok()
    });
    let place = fields.place;
    fields.finish();
    ChargeDraft { place, price, unit, max, origin_price, repeat_free_secs }
}

fn read_limit(report: &Report, fields: Fields<'_, '_>) -> Option<LimitDraft> {
    let requests = fields.positive("requests").map(|requests| requests.value);
    let bytes = fields.quantity("bytes").and_then(|text| {
        byte_count(&text.value)
            .map_err(|help| report.error_help(text.place, "`bytes` is no byte count", help))
            .ok()
    });
    if fields.key("requests").is_none() && fields.key("bytes").is_none() {
        fields.missing(
            &["requests", "bytes"],
            "the limit limits nothing",
            "add `requests = 1000` or `bytes = \"1GB\"`",
        );
    }
    let per = fields.required("per", "the period, as in `per = \"1d\"`").and_then(|text| {
        let period = duration_secs(&text.value).and_then(|period_secs| match period_secs {
            0 => Err("a period lasts at least a second".to_owned()),
            period_secs => Ok(period_secs),
        });
        period.map_err(|help| report.error_help(text.place, "`per` is no period", help)).ok()
    });
    fields.finish();
    per.map(|period_secs| LimitDraft { requests, bytes, period_secs })
}

fn read_crawler(report: &Report, fields: Fields<'_, '_>) -> Option<CrawlerDraft> {
    let token =
        fields.required("token", "the product token of its user agent, as in `token = \"ExampleBot\"`");
    let token = token.filter(|token| {
        let fits = (2..=64).contains(&token.value.len())
            && token.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'+ ".contains(&byte));
        if !fits {
            report.error_help(
                token.place,
                "this is no product token",
                "it is the name before the `/` in a user agent: 2 to 64 letters, digits, `-`, `_` or `.`",
            );
        }
        fits
    });
    let operator = fields.string("operator").and_then(|operator| identifier(report, operator));
    let place = fields.place;
    let operator_is_wrong = fields.key("operator").is_some() && operator.is_none();
    let draft = token.filter(|_| !operator_is_wrong).map(|token| CrawlerDraft {
        place,
        token,
        operator,
        operator_name: fields.string("operator_name").map(|name| name.value),
        purpose: read_word(report, &fields, "purpose", Purpose::ALL.map(Purpose::as_str), Purpose::parse),
        class: read_word(report, &fields, "class", Class::ALL.map(Class::as_str), Class::parse),
        ranges: fields.strings("ranges"),
        lists: fields.strings("lists"),
        reverse_dns: fields.strings("reverse_dns"),
        agents: fields.strings("agents"),
    });
    for key in ["operator_name", "purpose", "class", "ranges", "lists", "reverse_dns", "agents"] {
        fields.key(key); // known, even where the token could not be read
    }
    fields.finish();
    draft
}

fn read_account(fields: Fields<'_, '_>) -> Option<AccountDraft> {
    let operator = fields.required("operator", "whose account it is, as in `operator = \"openai\"`");
    let credit_limit = fields
        .required("credit_limit", "what may be owed in a calendar month, as in `credit_limit = \"500 USD\"`");
    let accept = fields.string("accept");
    fields.finish();
    operator.map(|operator| AccountDraft { operator, credit_limit, accept })
}

fn read_mode(report: &Report, fields: &Fields<'_, '_>) -> Option<Mode> {
    read_word(report, fields, "mode", ["observe", "enforce"], Mode::parse)
}

fn read_licence(report: &Report, fields: &Fields<'_, '_>) -> Option<String> {
    let licence = fields.string("licence")?;
    if is_url(&licence.value) {
        return Some(licence.value);
    }
    report.error_help(
        licence.place,
        "`licence` is not a URL",
        "write it in full, as in \"https://example.com/licence\"",
    );
    None
}

fn read_contact(report: &Report, fields: &Fields<'_, '_>) -> Option<String> {
    let contact = fields.string("contact")?;
    let text = &contact.value;
    let is_mail = |address: &str| {
        address
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'))
            && address.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\",;".contains(&byte))
    };
    if is_url(text) || is_mail(text.strip_prefix("mailto:").unwrap_or(text)) {
        return Some(contact.value);
    }
    report.error_help(
        contact.place,
        "`contact` is neither a URL nor a mail address",
        "as in \"https://example.com/licensing\" or \"licensing@example.com\"",
    );
    None
}

/// Whether a text can stand as a URL in a header: absolute, http or https, nothing that would need quoting.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.len() <= 2_000)
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&byte))
}

/// Identifiers of holders and operators end up in records, file names and labels.
pub(super) fn identifier(report: &Report, id: At<String>) -> Option<At<String>> {
    let fits = (1..=64).contains(&id.value.len())
        && id.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !fits {
        report.error_help(id.place, "this is no identifier", "1 to 64 letters, digits, `-`, `_` and `.`");
    }
    fits.then_some(id)
}

/// A list of names that are looked up later.
pub(super) fn references(report: &Report, fields: &Fields<'_, '_>, key: &'static str) -> Vec<At<String>> {
    let items = fields.strings(key);
    bounded(report, fields, key, items.as_deref());
    items.unwrap_or_default()
}

/// A list of which every item is read for itself.
pub(super) fn list<T>(
    report: &Report,
    fields: &Fields<'_, '_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let items = fields.strings(key);
    bounded(report, fields, key, items.as_deref());
    let mut out = Vec::new();
    for item in items.unwrap_or_default() {
        match parse(&item.value) {
            Ok(value) => out.push(value),
            Err(help) => {
                report.error_help(item.place, format!("`{}` is not a valid `{key}`", item.value), help)
            }
        }
    }
    out
}

fn bounded(report: &Report, fields: &Fields<'_, '_>, key: &'static str, items: Option<&[At<String>]>) {
    let (Some(items), Some(place)) = (items, fields.key(key)) else { return };
    if items.is_empty() {
        report.error_help(
            place,
            format!("`{key}` is empty, so nothing would match"),
            "take it out to mean any",
        );
    } else if items.len() > MAX_LIST {
        report.error(place, format!("`{key}` lists more than {MAX_LIST}"));
    }
}

/// One word out of a few.
pub(super) fn read_word<T, const N: usize>(
    report: &Report,
    fields: &Fields<'_, '_>,
    key: &'static str,
    words: [&'static str; N],
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.string(key)?;
    word(&text.value, words, parse)
        .map_err(|help| {
            report.error_help(text.place, format!("`{}` is not a valid `{key}`", text.value), help)
        })
        .ok()
}

pub(super) fn word<T, const N: usize>(
    text: &str,
    words: [&'static str; N],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    parse(text).ok_or_else(|| match suggest(text, words) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("it is one of {}", words.map(|word| format!("\"{word}\"")).join(", ")),
    })
}
