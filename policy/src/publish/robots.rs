//! robots.txt: what a policy adds to a site's own.

use std::collections::HashMap;
use std::sync::Arc;

use super::longest::{Cells, List, Other, Reading};
use super::region::Region;
use super::stand::{Asker, Stand, purposes_of_token};
use super::{License, Signal, Unsaid};
use crate::protocol::aipref::{self, Category, Preference, Usage};
use crate::protocol::content_signal::ContentSignal;
use crate::protocol::robots::{
    Addition, AgentRules, Audience, Directive, Kind, PublishError, RobotsTxt, Rule, Section, Target, augment,
    without_additions,
};
use crate::{Class, CrawlerRow, PolicySnapshot, Purpose, Work};

/// The works of a site's regions, each by a path that stands for it; `None` where no fetch can be about it.
pub(super) struct Ground<'a> {
    pub(super) policy: &'a PolicySnapshot,
    pub(super) asker: Asker<'a>,
    pub(super) cells: Cells,
    /// A path in each.
    pub(super) paths: Vec<String>,
    pub(super) works: Vec<Option<Work>>,
}

impl Ground<'_> {
    /// A value for each region.
    pub(super) fn values<V: Default>(&self, value: impl Fn(&Work) -> V) -> Vec<V> {
        self.works.iter().map(|work| work.as_ref().map(&value).unwrap_or_default()).collect()
    }
}

/// The site's text with what the policy says in it.
pub(super) fn write(
    ground: &Ground<'_>,
    own: &[u8],
    license: License<'_>,
    unsaid: &mut Vec<Unsaid>,
) -> Result<Vec<u8>, PublishError> {
    let own = without_additions(own);
    let robots = RobotsTxt::parse(&own);
    let mut globals = Vec::new();
    if let License::At(url) = license {
        globals.push(Directive::other("License", url)?);
    }
    let mut additions = Vec::new();
    let to_all = preferences(ground, unsaid)?;
    if !to_all.is_empty() {
        additions.push(Addition { audience: Audience::Everyone, directives: to_all });
    }
    additions.extend(denials(ground, &robots, unsaid)?);
    augment(&own, &globals, &additions)
}

/// Crawlers to which policy and site speak alike.
struct Alike {
    /// What is denied to them, region by region.
    denied: Arc<Vec<bool>>,
    /// The name by which the site's own text speaks to them, if it does.
    name: Option<String>,
    tokens: Vec<String>,
}

/// `Disallow` for the crawlers that a rule denies something, and `Allow` within it.
fn denials(
    ground: &Ground<'_>,
    own: &RobotsTxt,
    unsaid: &mut Vec<Unsaid>,
) -> Result<Vec<Addition>, PublishError> {
    let mut alike: Vec<Alike> = Vec::new();
    let mut known: HashMap<_, Arc<Vec<bool>>> = HashMap::new();
    for row in ground.policy.directory().rows() {
        if !matches!(row.class, Class::Ai | Class::ControlToken) {
            continue;
        }
        let denied = known
            .entry(key(ground.policy, row))
            .or_insert_with(|| Arc::new(ground.values(|work| is_denied(&ground.asker, row, work))));
        if !denied.contains(&true) || Section::new(vec![row.token.to_string()], Vec::new()).is_err() {
            continue;
        }
        let name = own.names(&row.token).then(|| row.token.to_string());
        let token = row.token.to_string();
        match alike.iter_mut().find(|other| other.denied == *denied && other.name == name) {
            Some(other) => other.tokens.push(token),
            None => alike.push(Alike { denied: Arc::clone(denied), name, tokens: vec![token] }),
        }
    }
    let mut additions = Vec::new();
    for Alike { denied, name, tokens } in alike {
        let directives =
            lines_for(ground, &denied, &own.agent(name.as_deref().unwrap_or("*")), own, |region| {
                unsaid.push(Unsaid {
                    signal: Signal::Robots,
                    why: format!("`Disallow: {}` for {} and others", region.patterns(0)[0], tokens[0]),
                });
            })?;
        if !directives.is_empty() {
            additions.push(Addition { audience: Audience::Agents(tokens), directives });
        }
    }
    Ok(additions)
}

/// Lines that refuse what the policy refuses, and leave to the site's own lines what they say of the rest.
fn lines_for(
    ground: &Ground<'_>,
    denied: &[bool],
    site: &AgentRules,
    own: &RobotsTxt,
    mut unsaid: impl FnMut(&Region),
) -> Result<Vec<Directive>, PublishError> {
    // A pattern that ends with `$`, or asks for a query, is not about a whole region: then what it says has to be said again.
    let text_of =
        |rule: &Rule| own.lines().find(|line| line.number == rule.line).map(|line| line.text().into_owned());
    let is_whole =
        |rule: &Rule| text_of(rule).is_some_and(|text| !text.ends_with('$') && !text.contains('?'));
    let rules = || site.rules().iter().filter_map(|rule| Some((Region::of_pattern(&text_of(rule)?)?, rule)));
    let others: Vec<Other<bool>> = rules()
        .map(|(region, rule)| Other {
            region,
            octets: rule.pattern.octets(),
            value: !rule.allow,
            is_partial: !is_whole(rule),
        })
        .collect();
    // Closed is what the policy denies, and what the site asks to keep out of.
    let is_closed = |(is_denied, path): (&bool, &String)| {
        let decision = site.decide(&Target::new(path));
        *is_denied || !decision.is_allowed && decision.rule.is_none_or(is_whole)
    };
    let closed: Vec<bool> = denied.iter().zip(&ground.paths).map(is_closed).collect();
    // Our pattern is longer than the site's own that allows all of it.
    let least = |region: &Region, is_closed: &bool| {
        let allows =
            others.iter().filter(|other| *is_closed && !other.value && other.region.includes(region));
        allows.map(|other| other.octets + 1).max().unwrap_or(0)
    };
    let reading = Reading { default: false, least: &least, wins: Some(false), others: &others };
    let list = ground.cells.list(&closed, &reading);
    list.unsaid.iter().for_each(|region| unsaid(region));
    let mut directives = Vec::new();
    for said in sorted(&list) {
        for pattern in said.patterns() {
            directives.push(match said.value {
                true => Directive::disallow(&pattern)?,
                false => Directive::allow(&pattern)?,
            });
        }
    }
    Ok(directives)
}

/// The regions of a site's own rules, so that ours can be told from them.
pub(super) fn regions_of(own: &[u8]) -> Vec<Region> {
    let robots = RobotsTxt::parse(&without_additions(own));
    let rules = robots.lines().filter(|line| matches!(line.kind, Kind::Allow | Kind::Disallow));
    rules.filter_map(|line| Region::of_pattern(&line.text())).collect()
}

fn sorted<'l, 'a, V>(list: &'l List<'a, V>) -> Vec<&'l super::longest::Said<'a, V>> {
    let mut said: Vec<_> = list.said.iter().collect();
    said.sort_by_key(|said| (said.octets(), said.region));
    said
}

/// What of a row the rules can tell apart.
fn key(policy: &PolicySnapshot, row: &CrawlerRow) -> (Option<Arc<str>>, Option<Arc<str>>, Purpose, Class) {
    let rules = || policy.rules.rules.iter();
    let is_named = |rule: &crate::rule::Rule| {
        rule.who.crawlers.iter().any(|token| token.eq_ignore_ascii_case(&row.token))
    };
    let token = (row.class == Class::ControlToken || rules().any(is_named)).then(|| row.token.clone());
    let operator =
        rules().any(|rule| rule.who.operators.contains(&row.operator)).then(|| row.operator.clone());
    (token, operator, row.purpose, row.class)
}

/// Whether a crawler that is what it says is refused, whatever it does about it.
///
/// Under a control token nothing is fetched, so that nobody could pay: what is sold is not given away there.
pub(super) fn is_denied(asker: &Asker<'_>, row: &Arc<CrawlerRow>, work: &Work) -> bool {
    if row.class != Class::ControlToken {
        return asker.row(row, work).is_denied();
    }
    stands_of_token(asker, row, work).iter().all(Stand::is_reserved)
}

/// What is said to a control token, for each of the purposes that it stands for.
pub(crate) fn stands_of_token(asker: &Asker<'_>, row: &Arc<CrawlerRow>, work: &Work) -> Vec<Stand> {
    let purposes = purposes_of_token(row).iter();
    let as_crawler = |purpose: &Purpose| {
        let row = CrawlerRow { class: Class::Ai, purpose: *purpose, ..CrawlerRow::clone(row) };
        asker.row(&Arc::new(row), work)
    };
    purposes.map(as_crawler).collect()
}

/// `Content-Usage` and `Content-Signal`, for everybody.
fn preferences(ground: &Ground<'_>, unsaid: &mut Vec<Unsaid>) -> Result<Vec<Directive>, PublishError> {
    let about = |purpose: Purpose| ground.values(|work| preference(&ground.asker.anybody(purpose, work)));
    let (train, input) = (about(Purpose::Train), about(Purpose::Ground));
    let usages: Vec<Usage> = train.iter().zip(&input).map(|(train, ground)| usage(*train, *ground)).collect();
    let list = ground
        .cells
        .list(&usages, &Reading { default: Usage::default(), least: &|_, _| 0, wins: None, others: &[] });
    let is_unsayable = |said: &super::longest::Said<'_, Usage>| said.value.is_unknown();
    let mut directives = Vec::new();
    if !list.unsaid.is_empty() || list.said.iter().any(is_unsayable) {
        let why = "what is preferred in some places cannot be told from what is in others";
        unsaid.push(Unsaid { signal: Signal::ContentUsage, why: why.to_owned() });
    } else {
        for said in sorted(&list) {
            for pattern in said.patterns() {
                let path = (pattern != "/").then_some(pattern.as_str());
                directives.push(aipref::directive(path, said.value)?);
            }
        }
    }
    let signal =
        ContentSignal { ai_train: uniform(&train), ai_input: uniform(&input), ..ContentSignal::default() };
    if !signal.is_empty() {
        directives.push(signal.directive()?);
    }
    Ok(directives)
}

/// A price, too, is a reason not to: whoever has paid has a contract, and that comes before a preference.
pub(super) fn preference(stand: &Stand) -> Preference {
    match () {
        () if stand.is_given() => Preference::Allow,
        () if stand.is_reserved() => Preference::Disallow,
        () => Preference::Unknown,
    }
}

pub(super) fn usage(train: Preference, ground: Preference) -> Usage {
    Usage::default().with(Category::TrainAi, train).with(Category::AiUse, ground)
}

/// What is said about every path, if it is the same.
fn uniform(preferences: &[Preference]) -> Option<bool> {
    let first = preferences.first()?;
    let answer = match first {
        Preference::Allow => true,
        Preference::Disallow => false,
        Preference::Unknown => return None,
    };
    preferences.iter().all(|other| other == first).then_some(answer)
}
