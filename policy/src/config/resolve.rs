//! Checks the parts of a draft against each other and makes them into what the code sees.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;

use super::draft::{
    AccountDraft, ChargeDraft, CrawlerDraft, Draft, HolderDraft, RuleDraft, SiteDraft, WorkDraft, is_url,
};
use crate::crawler::SPOOF_OPERATOR;
use crate::diagnostic::suggest;
use crate::fields::{At, Place, Report};
use crate::glob::PathGlob;
use crate::money::parse_nano;
use crate::pattern::HostPattern;
use crate::protocol::bot_auth::{HttpsUrl, KeySource};
use crate::publish::Switches;
use crate::rule::{Alternative, Rule, Rules};
use crate::snapshot::{Site, WorkEntry};
use crate::{
    Account, Assurance, Charge, Class, CrawlerRow, Currency, Directory, Holder, Limit, Mode, Money,
    MoneyError, PolicySnapshot, Purpose, Unit, Verdict, Verification,
};

/// Combinations of host, path and content type, of all rules together.
const MAX_ALTERNATIVES: usize = 20_000;
/// How long a version that was paid stays free, where the rule does not say.
const REPEAT_FREE_SECS: u64 = 86_400;

/// Makes a snapshot of a draft. What could not be used is left out and reported, so that the caller must look at the
/// report before it uses the snapshot.
pub(crate) fn resolve(report: &Report, draft: Draft, mode: Option<Mode>) -> PolicySnapshot {
    let mode = mode.or(draft.mode).unwrap_or_default();
    let currency = resolve_currency(report, draft.currency.as_ref());
    let base_price = draft.base_price.as_ref().and_then(|text| plain_amount(report, text, currency));
    let money = Amounts { report, currency, base_price, base_is_set: draft.base_price.is_some() };
    let directory = resolve_crawlers(report, draft.crawlers);
    let names = Names::new(report, &directory, draft.holders);
    // Whoever is asked for a licence is told where to read about it.
    let has_licences = !draft.licences.is_empty();
    let publish = draft.publish.over(Switches { rsl: has_licences, ..Switches::default() });
    let sites = resolve_sites(&names, draft.sites, publish);
    let works = resolve_works(&names, draft.works);
    let accounts = resolve_accounts(&names, &money, draft.accounts);
    let rules = resolve_rules(&names, &money, mode, draft.rules);
    let licences = super::licence::resolve_licences(&names, &money, draft.licences);
    let origin_prices =
        rules.rules.iter().any(|rule| rule.charge.as_ref().is_some_and(|charge| charge.origin_price));
    let payments = super::payment::resolve(report, draft.payments, currency);
    let licence: Option<Arc<str>> = draft.licence.map(Arc::from);
    let licence_documents = [licence.as_ref()]
        .into_iter()
        .chain(sites.iter().map(|site| site.licence.as_ref()))
        .chain(works.iter().map(|work| work.licence.as_ref()))
        .flatten()
        .filter_map(|url| document_of(url))
        .collect();
    PolicySnapshot {
        sources: Vec::new(),
        digest: Arc::from(""),
        currency,
        mode,
        accounts,
        payments,
        holders: names.holders,
        directory,
        sites,
        works,
        rules,
        licence,
        contact: draft.contact.map(Arc::from),
        licence_documents,
        count_words: draft.count_words,
        publish,
        licences,
        licence_server: draft.licence_server,
        origin_prices,
    }
}

/// Host and path of a licence's URL in the spelling of works.
fn document_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let path = crate::work::canonical_path(path).ok()?;
    // A licence that is the site's front page does not make the front page free.
    (path != "/").then_some(())?;
    Some(format!("{}{path}", crate::work::canonical_host(scheme, host).ok()?))
}

fn resolve_currency(report: &Report, written: Option<&At<String>>) -> Currency {
    let Some(written) = written else { return Currency::USD };
    Currency::parse(&written.value).unwrap_or_else(|error| {
        match suggest(&written.value, Currency::codes()) {
            Some(near) => {
                report.error_help(written.place, error.to_string(), format!("did you mean `{near}`?"))
            }
            None => report.error(written.place, error.to_string()),
        }
        Currency::USD
    })
}

/// Amounts of a policy, all in its one currency.
pub(super) struct Amounts<'a> {
    pub(super) report: &'a Report,
    currency: Currency,
    base_price: Option<Money>,
    base_is_set: bool,
}

impl Amounts<'_> {
    /// An amount, or a multiple of the base price such as `2.5x`.
    pub(super) fn price(&self, text: &At<String>) -> Option<Money> {
        match text.value.strip_suffix('x') {
            Some(factor) => self.multiple(factor, text),
            None => plain_amount(self.report, text, self.currency),
        }
    }

    fn multiple(&self, factor: &str, text: &At<String>) -> Option<Money> {
        let default_base = || {
            // A thousandth of a major unit is a sensible price in some currencies only.
            let sensible = ["USD", "EUR", "GBP", "CHF"].contains(&self.currency.as_str());
            sensible.then_some(Money { nano: 1_000_000, currency: self.currency })
        };
        let base = match self.base_price {
            Some(base) => base,
            None if self.base_is_set => return None, // reported there
            None => match default_base() {
                Some(base) => base,
                None => {
                    self.report.error_help(
                        text.place,
                        format!(
                            "`{}` is a multiple of the base price, and the policy names none",
                            text.value
                        ),
                        format!("write `base_price = \"… {}\"` at the top of the policy", self.currency),
                    );
                    return None;
                }
            },
        };
        let nano = parse_nano(factor).ok().and_then(|factor| {
            let product = i128::from(factor) * i128::from(base.nano);
            (product % 1_000_000_000 == 0).then_some(product / 1_000_000_000)
        });
        let nano = nano.and_then(|nano| i64::try_from(nano).ok());
        if nano.is_none() {
            self.report.error_help(
                text.place,
                format!("`{}` is no multiple of {base} that is exact to the nano-unit", text.value),
                "write a decimal number and an x, as in \"2x\" or \"0.5x\"",
            );
        }
        nano.map(|nano| Money { nano, currency: base.currency })
    }
}

fn plain_amount(report: &Report, text: &At<String>, currency: Currency) -> Option<Money> {
    match Money::parse(&text.value) {
        Ok(money) if money.currency == currency => Some(money),
        Ok(money) => {
            report.error_help(
                text.place,
                format!("this amount is in {}, the policy's currency is {currency}", money.currency),
                "a policy has one currency; set it with `currency` at the top",
            );
            None
        }
        Err(error) => {
            let help = match &error {
                MoneyError::UnknownCurrency { code } => {
                    suggest(code, Currency::codes()).map(|near| format!("did you mean `{near}`?"))
                }
                MoneyError::Malformed { text } if parse_nano(text.trim()).is_ok() => {
                    Some(format!("write the currency with it: \"{} {currency}\"", text.trim()))
                }
                _ => None,
            };
            match help {
                Some(help) => report.error_help(text.place, error.to_string(), help),
                None => report.error(text.place, error.to_string()),
            }
            None
        }
    }
}

/// What can be referred to by name.
pub(super) struct Names<'a> {
    pub(super) report: &'a Report,
    directory: &'a Directory,
    holders: Vec<Holder>,
}

impl<'a> Names<'a> {
    fn new(report: &'a Report, directory: &'a Directory, drafts: Vec<HolderDraft>) -> Names<'a> {
        let mut seen = Seen::new(report, "holder");
        let mut holders = Vec::new();
        for draft in drafts {
            if seen.is_new(&draft.id.value, draft.id.place) {
                let id: Arc<str> = Arc::from(draft.id.value);
                holders.push(Holder { name: draft.name.map_or_else(|| id.clone(), Arc::from), id });
            }
        }
        Names { report, directory, holders }
    }

    fn holder(&self, written: Option<At<String>>) -> Option<Arc<str>> {
        let written = written?;
        if let Some(holder) = self.holders.iter().find(|holder| *holder.id == *written.value) {
            return Some(holder.id.clone());
        }
        let help = suggest(&written.value, self.holders.iter().map(|holder| &*holder.id));
        self.report.error_help(
            written.place,
            format!("there is no holder `{}`", written.value),
            help.map_or_else(
                || format!("add a `[[holder]]` with `id = \"{}\"`", written.value),
                |near| format!("did you mean `{near}`?"),
            ),
        );
        None
    }

    pub(super) fn operator(&self, written: &At<String>) -> Option<Arc<str>> {
        let operators = || self.directory.rows().iter().map(|row| &row.operator);
        if let Some(operator) = operators().find(|operator| ***operator == *written.value) {
            return Some(operator.clone());
        }
        // People write a crawler's name, or the operator's full one, where its identifier is asked for.
        let meant = self
            .directory
            .row(&written.value)
            .or_else(|| {
                self.directory
                    .rows()
                    .iter()
                    .find(|row| row.operator_name.eq_ignore_ascii_case(&written.value))
            })
            .map(|row| &*row.operator)
            .or_else(|| suggest(&written.value, operators().map(|operator| &**operator)));
        self.report.error_help(
            written.place,
            format!("no crawler is of an operator `{}`", written.value),
            meant.map_or_else(
                || "add a `[[crawler]]` of that operator".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ),
        );
        None
    }

    fn crawler(&self, written: &At<String>) -> Option<Arc<str>> {
        if let Some(row) = self.directory.row(&written.value) {
            if row.class != Class::Ai {
                self.report.warning(
                    written.place,
                    format!(
                        "`{}` is not an AI crawler: it passes untouched, and this rule is never asked",
                        row.token
                    ),
                    "name crawlers of class `ai`, or give it that class in a `[[crawler]]` of yours",
                );
            }
            return Some(row.token.clone());
        }
        let help = suggest(&written.value, self.directory.rows().iter().map(|row| &*row.token));
        self.report.error_help(
            written.place,
            format!("there is no crawler `{}`", written.value),
            help.map_or_else(
                || format!("add a `[[crawler]]` with `token = \"{}\"`", written.value),
                |near| format!("did you mean `{near}`?"),
            ),
        );
        None
    }
}

/// Finds what is defined twice.
pub(super) struct Seen<'a> {
    report: &'a Report,
    what: &'static str,
    places: HashMap<String, Place>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(report: &'a Report, what: &'static str) -> Seen<'a> {
        Seen { report, what, places: HashMap::new() }
    }

    pub(super) fn is_new(&mut self, name: &str, place: Place) -> bool {
        if let Some(first) = self.places.get(name) {
            let (line, _) = self.report.position(*first);
            let elsewhere = if first.file == place.file {
                format!("the first is in line {line}")
            } else {
                format!("the first is in {}, line {line}", self.report.name(first.file))
            };
            self.report.error_help(place, format!("the {} `{name}` is defined twice", self.what), elsewhere);
            return false;
        }
        self.places.insert(name.to_owned(), place);
        true
    }
}

fn resolve_crawlers(report: &Report, drafts: Vec<CrawlerDraft>) -> Directory {
    static BUILT_IN: LazyLock<Directory> = LazyLock::new(|| Directory::new(Vec::new()));
    let built_in = &*BUILT_IN;
    let mut seen = Seen::new(report, "crawler");
    let mut rows: Vec<CrawlerRow> = Vec::new();
    for draft in drafts {
        if !seen.is_new(&draft.token.value.to_lowercase(), draft.token.place) {
            continue;
        }
        let known = built_in.row(&draft.token.value);
        let operator = match (&draft.operator, known) {
            (Some(operator), _) if operator.value == SPOOF_OPERATOR => {
                report.error(
                    operator.place,
                    format!("the operator `{SPOOF_OPERATOR}` stands for those who lie"),
                );
                continue;
            }
            (Some(operator), _) => Arc::from(&*operator.value),
            (None, Some(row)) => row.operator.clone(),
            (None, None) => {
                report.error_help(
                    draft.place,
                    format!("the crawler `{}` is new and needs `operator`", draft.token.value),
                    "who runs it, as in `operator = \"example-labs\"`",
                );
                continue;
            }
        };
        let name_of = |operator: &str| {
            let rows = built_in.rows().iter().map(|row| &**row).chain(&rows);
            rows.into_iter().find(|row| *row.operator == *operator).map(|row| row.operator_name.clone())
        };
        let operator_name = draft
            .operator_name
            .map(Arc::from)
            .or_else(|| name_of(&operator))
            .unwrap_or_else(|| operator.clone());
        let inherited = known.map(|row| row.verification.clone()).unwrap_or_default();
        let verification = Verification {
            lists: draft.lists.map_or(inherited.lists, |lists| resolve_lists(report, lists)),
            ranges: draft.ranges.map_or(inherited.ranges, |ranges| resolve_ranges(report, ranges)),
            reverse_dns: draft
                .reverse_dns
                .map_or(inherited.reverse_dns, |names| resolve_reverse_dns(report, names)),
            agents: draft.agents.map_or(inherited.agents, |agents| resolve_agents(report, agents)),
        };
        rows.push(CrawlerRow {
            token: known.map_or_else(|| Arc::from(draft.token.value), |row| row.token.clone()),
            operator,
            operator_name,
            class: draft.class.or(known.map(|row| row.class)).unwrap_or(Class::Ai),
            purpose: draft.purpose.or(known.map(|row| row.purpose)).unwrap_or(Purpose::Unknown),
            verification,
            source: Arc::from("policy"),
        });
    }
    Directory::new(rows)
}

fn resolve_lists(report: &Report, lists: Vec<At<String>>) -> Vec<String> {
    let is_list = |list: &At<String>| {
        // A list on this machine is nobody's to tamper with on the way.
        let is_safe = ["https://", "http://127.0.0.1", "http://[::1]", "http://localhost"];
        let fits = is_url(&list.value) && is_safe.iter().any(|start| list.value.starts_with(start));
        if !fits {
            report.error_help(
                list.place,
                "a list of addresses is fetched over https",
                "write its URL in full, as in \"https://example.com/bot.json\"",
            );
        }
        fits
    };
    lists.into_iter().filter(is_list).map(|list| list.value).collect()
}

fn resolve_ranges(report: &Report, ranges: Vec<At<String>>) -> Vec<IpNet> {
    let mut out = Vec::new();
    for range in ranges {
        let parsed =
            range.value.parse::<IpNet>().ok().or_else(|| range.value.parse::<IpAddr>().ok().map(IpNet::from));
        match parsed {
            None => report.error_help(
                range.place,
                format!("`{}` is no range of addresses", range.value),
                "write it as in \"192.0.2.0/24\" or \"2001:db8::/32\"",
            ),
            Some(net) if net.prefix_len() == 0 => report.error_help(
                range.place,
                "this is every address, so every claim would be believed",
                "write the ranges that the crawler fetches from",
            ),
            Some(net) => {
                if net != net.trunc() {
                    report.warning(
                        range.place,
                        format!("`{net}` has bits beyond its prefix, which are ignored"),
                        format!("write \"{}\"", net.trunc()),
                    );
                }
                out.push(net.trunc());
            }
        }
    }
    out
}

fn resolve_reverse_dns(report: &Report, names: Vec<At<String>>) -> Vec<String> {
    let mut out = Vec::new();
    for name in names {
        let suffix = name.value.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        let is_name = suffix.contains('.')
            && suffix.len() <= 253
            && suffix.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            });
        if is_name {
            out.push(suffix);
        } else {
            report.error_help(
                name.place,
                format!("`{}` is no domain that names of hosts end with", name.value),
                "write it as in \"crawl.example.com\"",
            );
        }
    }
    out
}

fn resolve_agents(report: &Report, agents: Vec<At<String>>) -> Vec<KeySource> {
    let source = |agent: At<String>| match HttpsUrl::parse(&agent.value) {
        Ok(url) => Some(KeySource::at(url)),
        Err(error) => {
            report.error_help(
                agent.place,
                format!("`{}` names no keys: {error}", agent.value),
                "write what the crawler writes into Signature-Agent, as in \"https://bot.example\"",
            );
            None
        }
    };
    agents.into_iter().filter_map(source).collect()
}

fn resolve_sites(names: &Names<'_>, drafts: Vec<SiteDraft>, publish: Switches) -> Vec<Site> {
    let mut sites = Vec::new();
    for draft in drafts {
        let holder = names.holder(draft.holder);
        let licence: Option<Arc<str>> = draft.licence.map(Arc::from);
        let contact: Option<Arc<str>> = draft.contact.map(Arc::from);
        for host in or_any(draft.hosts, HostPattern::Any) {
            sites.push(Site {
                host,
                holder: holder.clone(),
                licence: licence.clone(),
                contact: contact.clone(),
                query: draft.query.clone(),
                publish: draft.publish.over(publish),
            });
        }
    }
    // Stable: of two equally narrow ones the first in the text speaks.
    sites.sort_by_key(|site| std::cmp::Reverse(site.host.rank()));
    sites
}

fn resolve_works(names: &Names<'_>, drafts: Vec<WorkDraft>) -> Vec<WorkEntry> {
    let mut seen = Seen::new(names.report, "work");
    let mut works = Vec::new();
    for draft in drafts {
        let holder = names.holder(draft.holder);
        let licence: Option<Arc<str>> = draft.licence.map(Arc::from);
        if let Some(id) = &draft.id {
            seen.is_new(&id.value, id.place);
        }
        let id: Option<Arc<str>> = draft.id.map(|id| Arc::from(id.value));
        let paths = or_any(draft.paths, PathGlob::anything());
        for host in or_any(draft.hosts, HostPattern::Any) {
            for path in &paths {
                works.push(WorkEntry {
                    host: host.clone(),
                    path: path.clone(),
                    id: id.clone(),
                    holder: holder.clone(),
                    licence: licence.clone(),
                });
            }
        }
    }
    works.sort_by_key(|work| std::cmp::Reverse((work.host.rank(), work.path.rank())));
    works
}

fn resolve_accounts(names: &Names<'_>, money: &Amounts<'_>, drafts: Vec<AccountDraft>) -> Vec<Account> {
    let mut seen = Seen::new(names.report, "account of");
    let mut accounts = Vec::new();
    for draft in drafts {
        let is_new = seen.is_new(&draft.operator.value, draft.operator.place);
        let operator = names.operator(&draft.operator);
        let credit_limit =
            draft.credit_limit.and_then(|text| plain_amount(names.report, &text, money.currency));
        let accept = draft.accept.map(|text| {
            let amount = text.value.strip_prefix("up to ").unwrap_or(&text.value).to_owned();
            money.price(&At { value: amount, place: text.place })
        });
        if let (true, Some(operator), Some(credit_limit)) = (is_new, operator, credit_limit) {
            accounts.push(Account { operator, credit_limit, accept: accept.flatten() });
        }
    }
    accounts
}

fn resolve_rules(names: &Names<'_>, money: &Amounts<'_>, mode: Mode, drafts: Vec<RuleDraft>) -> Rules {
    let mut seen = Seen::new(names.report, "rule");
    let mut rules: Vec<Rule> = Vec::new();
    let mut alternatives = Vec::new();
    for draft in drafts {
        seen.is_new(&draft.name.value, draft.name.place);
        let (line, column) = names.report.position(draft.name.place);
        let name: Arc<str> = Arc::from(&*draft.name.value);
        let charge = draft.charge.and_then(|charge| resolve_charge(money, charge));
        let index = rules.len();
        rules.push(Rule {
            place: draft.name.place,
            line,
            column,
            mode: draft.mode.unwrap_or(mode),
            verdict: draft.verdict,
            charge: charge.filter(|_| draft.verdict == Verdict::Charge),
            require: draft.require.unwrap_or(Assurance::Network),
            limit: draft.limit.map(|limit| Limit {
                rule: name.clone(),
                requests: limit.requests,
                bytes: limit.bytes,
                period_secs: limit.period_secs,
            }),
            who: crate::rule::Who {
                crawlers: draft.crawlers.iter().filter_map(|crawler| names.crawler(crawler)).collect(),
                operators: draft.operators.iter().filter_map(|operator| names.operator(operator)).collect(),
                purposes: draft.purposes,
            },
            rungs: draft.rungs,
            name,
        });
        if let Some(rule) = rules.last() {
            check_somebody(names, rule);
        }
        let paths = or_any(draft.paths, PathGlob::anything());
        let media: Vec<_> =
            if draft.media.is_empty() { vec![None] } else { draft.media.into_iter().map(Some).collect() };
        for host in or_any(draft.hosts, HostPattern::Any) {
            for path in &paths {
                for media in &media {
                    if alternatives.len() == MAX_ALTERNATIVES {
                        names.report.error_help(
                            draft.name.place,
                            format!("the rules have more than {MAX_ALTERNATIVES} combinations of host, path and content type"),
                            "say more with wildcards, or leave conditions out",
                        );
                        return Rules::new(rules, alternatives);
                    }
                    alternatives.push(Alternative {
                        host: host.clone(),
                        path: path.clone(),
                        media: media.clone(),
                        rule: index,
                    });
                }
            }
        }
    }
    Rules::new(rules, alternatives)
}

/// Conditions on who asks must all hold; some known crawler should meet them. A warning only, because
/// the registry of a newer Byline may know a crawler by another purpose, and that must not stop a site.
fn check_somebody(names: &Names<'_>, rule: &Rule) {
    let who = &rule.who;
    let meets = |row: &CrawlerRow| {
        (who.crawlers.is_empty() || who.crawlers.contains(&row.token))
            && (who.operators.is_empty() || who.operators.contains(&row.operator))
            && (who.purposes.is_empty() || who.purposes.contains(&row.purpose))
    };
    let kinds = [who.crawlers.is_empty(), who.operators.is_empty(), who.purposes.is_empty()];
    if kinds.into_iter().filter(|is_empty| !is_empty).count() > 1
        && !names.directory.rows().iter().any(|row| meets(row))
    {
        let is = who.crawlers.first().and_then(|token| names.directory.row(token)).map(|row| {
            format!("{} is of operator {} and comes for purpose {}", row.token, row.operator, row.purpose)
        });
        names.report.warning(
            rule.place,
            format!("the rule `{}` is about nobody: no crawler meets all its conditions", rule.name),
            is.unwrap_or_else(|| {
                "`crawler`, `operator` and `purpose` must all hold; keep those that you mean".to_owned()
            }),
        );
    }
}

fn resolve_charge(money: &Amounts<'_>, draft: ChargeDraft) -> Option<Charge> {
    let report = money.report;
    let price = draft.price.as_ref().and_then(|text| {
        money.price(text).filter(|price| {
            if price.nano == 0 {
                report.error_help(
                    text.place,
                    "a price of nothing is no price",
                    "write `allow = true` instead",
                );
            }
            price.nano > 0
        })
    });
    let max = draft.max.as_ref().and_then(|text| {
        money.price(text).filter(|max| {
            if max.nano == 0 {
                report.error_help(
                    text.place,
                    "a `max` of nothing is no price",
                    "write `allow = true` instead",
                );
            }
            max.nano > 0
        })
    });
    let unit = draft.unit?;
    let origin_price = draft.origin_price.filter(|origin_price| origin_price.value);
    match (unit.value, &draft.max) {
        (Unit::Fetch, None) if origin_price.is_some() => {
            report.error_help(
                draft.place,
                "a price that the origin may set needs `max`",
                "what the origin asks is not known beforehand; name the most that a fetch may cost, as in \
                 `max = \"5 USD\"`",
            );
        }
        (Unit::Fetch, Some(text)) if origin_price.is_some() => {
            if let (Some(price), Some(max)) = (price, max)
                && max.nano < price.nano
            {
                report.error_help(
                    text.place,
                    "`max` is below the price",
                    "`price` holds where the origin sets none",
                );
            }
        }
        (Unit::Fetch, Some(max)) => {
            report.error_help(max.place, "a price per fetch is its own maximum", "take `max` out");
        }
        (Unit::Megabyte | Unit::ThousandWords, None) => {
            report.error_help(
                draft.place,
                format!("a price per {} needs `max`", unit.value.as_str().replace('-', " ")),
                "how much a fetch comes to is not known beforehand; name the most that one may cost, as in \
                 `max = \"0.05 USD\"`",
            );
        }
        _ => {}
    }
    if let (Some(origin_price), Unit::Megabyte | Unit::ThousandWords) = (&origin_price, unit.value) {
        report.error_help(
            origin_price.place,
            "an origin sets the price of a fetch, not of a quantity",
            "write `per = \"fetch\"`, or take `origin_price` out",
        );
    }
    Some(Charge {
        price: price?,
        unit: unit.value,
        max,
        origin_price: origin_price.is_some(),
        repeat_free_secs: draft.repeat_free_secs.unwrap_or(REPEAT_FREE_SECS),
    })
}

fn or_any<T>(items: Vec<T>, any: T) -> Vec<T> {
    if items.is_empty() { vec![any] } else { items }
}
