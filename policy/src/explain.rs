//! Why a fetch is decided as it is: the deciding rule, and for every other rule what kept it from deciding.
//!
//! The answer itself comes from [`crate::admit`] and [`crate::release`], the same that serve; only the reasons are
//! worked out here.

use std::sync::Arc;

use crate::judge::{Case, Quote};
use crate::pattern::HostPattern;
use crate::rule::{Alternative, Rule};
use crate::terms::{always_free_rule, default_rule};
use crate::{
    Admission, AmbiguousPath, Class, Crawler, Limit, Mode, Money, Offer, OfferError, PolicySnapshot, Refusal,
    Release, ResponseHead, Standing, Terms, Verdict, Work, admit, release,
};

/// A fetch to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// As in `Host`.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Who asks.
    pub crawler: &'a Crawler,
    /// The response's content type; unknown, rules that ask for one are not asked.
    pub content_type: Option<&'a str>,
    /// The response's length.
    pub content_length: Option<u64>,
    /// What the crawler offers.
    pub offer: &'a Result<Offer, OfferError>,
}

/// How a fetch is decided, and why. Budgets and accounts are taken as untouched.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The work that the URL names.
    pub work: Work,
    /// The rule that decides; `default` or `always-free` if none of the policy's does.
    pub rule: Arc<str>,
    /// Where that rule stands, as `file:line:column`.
    pub place: Option<String>,
    /// What it says.
    pub verdict: Verdict,
    /// Whether it is enforced.
    pub mode: Mode,
    /// What in it matched, or why no rule was asked.
    pub because: String,
    /// The answer.
    pub answer: Answer,
    /// All other rules in the order in which they are asked.
    pub considered: Vec<Considered>,
}

/// What the crawler gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The work, on these terms.
    Deliver {
        /// The terms.
        terms: Terms,
        /// What it costs, or at most costs, where a price is asked.
        amount: Option<Money>,
        /// What enforcing would have answered, where the rule only observes.
        would_refuse: Option<Refusal>,
    },
    /// A refusal.
    Refuse(Refusal),
}

/// A rule that did not decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Considered {
    /// The rule.
    pub rule: Arc<str>,
    /// Where it stands, as `file:line:column`.
    pub place: String,
    /// Why it did not decide.
    pub why: String,
}

impl PolicySnapshot {
    /// Explains how a fetch would be decided.
    ///
    /// # Errors
    /// The path could be read in two ways, so no rule is asked.
    pub fn explain(&self, question: &Question<'_>) -> Result<Explanation, AmbiguousPath> {
        let work = self.work(question.scheme, question.host, question.target)?;
        let crawler = question.crawler;
        let answer = self.answer(question, &work);
        let untouched = if work.always_free {
            Some((
                always_free_rule(),
                "this path tells crawlers what they may do: it is free whatever a rule says".to_owned(),
            ))
        } else if crawler.row.class != Class::Ai {
            let class = crawler.row.class.as_str();
            Some((
                default_rule(),
                format!("{} is not an AI crawler (class {class}): it passes untouched", crawler.row.token),
            ))
        } else {
            None
        };
        if let Some((rule, because)) = untouched {
            return Ok(Explanation {
                work,
                rule: rule.clone(),
                place: None,
                verdict: Verdict::Allow,
                mode: self.mode,
                because,
                answer,
                considered: Vec::new(),
            });
        }
        let decider = self.decider(&answer, question, &work);
        let mut considered = Vec::new();
        let mut seen = vec![false; self.rules.rules.len()];
        if let Some(decider) = decider {
            seen[decider.rule] = true;
        }
        for alternative in &self.rules.order {
            if !std::mem::replace(&mut seen[alternative.rule], true) {
                let rule = &self.rules.rules[alternative.rule];
                considered.push(Considered {
                    rule: rule.name.clone(),
                    place: self.place_of(rule),
                    why: self.why_not(alternative.rule, decider, question, &work),
                });
            }
        }
        let rule = decider.map(|decider| &self.rules.rules[decider.rule]);
        Ok(Explanation {
            rule: rule.map_or_else(|| default_rule().clone(), |rule| rule.name.clone()),
            place: rule.map(|rule| self.place_of(rule)),
            verdict: rule.map_or(Verdict::Allow, |rule| rule.verdict),
            mode: rule.map_or(self.mode, |rule| rule.mode),
            because: match (decider, rule) {
                (Some(decider), Some(rule)) => conditions(decider, rule),
                _ => "no rule matches, and what no rule speaks of is allowed".to_owned(),
            },
            work,
            answer,
            considered,
        })
    }

    fn answer(&self, question: &Question<'_>, work: &Work) -> Answer {
        let (crawler, offer) = (question.crawler, question.offer);
        let standing = Untouched(self);
        let grant = match admit(self, crawler, work, offer, &standing) {
            Admission::Refuse(refusal) => return Answer::Refuse(refusal),
            Admission::Proceed(grant) => grant,
        };
        let head = ResponseHead {
            status: 200,
            content_type: question.content_type,
            content_length: question.content_length,
            ..ResponseHead::default()
        };
        match release(self, &grant, crawler, work, offer, &standing, &head) {
            Release::Refuse(refusal) => Answer::Refuse(refusal),
            Release::Deliver(terms) => {
                let quote =
                    terms.charge.as_ref().map(|charge| Quote::of_response(charge, question.content_length));
                let case = Case { policy: self, crawler, work, offer, standing: &standing };
                let rule = terms
                    .would_refuse
                    .and_then(|_| self.rules.rules.iter().find(|rule| rule.name == terms.rule));
                let would_refuse = rule.and_then(|rule| {
                    let objection = case.judge(rule, quote, None).err()?;
                    Some(case.refusal(rule, &case.with_licence_in_mind(rule, objection, |_| true)))
                });
                Answer::Deliver { amount: quote.map(|quote| quote.most), terms, would_refuse }
            }
        }
    }

    /// The alternative by which the deciding rule decides.
    fn decider(&self, answer: &Answer, question: &Question<'_>, work: &Work) -> Option<&Alternative> {
        let name = match answer {
            Answer::Deliver { terms, .. } => &terms.rule,
            Answer::Refuse(refusal) => &refusal.rule,
        };
        let matching = |alternative: &&Alternative| {
            let rule = &self.rules.rules[alternative.rule];
            rule.name == *name && alternative.matches_work(work) && rule.matches_crawler(question.crawler)
        };
        let mut matching = self.rules.order.iter().filter(matching);
        let first = matching.clone().next();
        matching.find(|alternative| is_of_type(alternative, question.content_type)).or(first)
    }

    fn place_of(&self, rule: &Rule) -> String {
        let file = self.sources.get(rule.place.file).map_or("policy", |source| &source.name);
        format!("{file}:{}:{}", rule.line, rule.column)
    }

    fn why_not(
        &self,
        index: usize,
        decider: Option<&Alternative>,
        question: &Question<'_>,
        work: &Work,
    ) -> String {
        let rule = &self.rules.rules[index];
        let own = || self.rules.order.iter().filter(|alternative| alternative.rule == index);
        let crawler = question.crawler;
        let row = &crawler.row;
        if !own().any(|alternative| alternative.host.matches(&work.host)) {
            return format!(
                "its host is {}, not {}",
                listed(own().map(|one| one.host.to_string())),
                work.host
            );
        }
        if !own().any(|alternative| alternative.matches_work(work)) {
            let paths =
                own().filter(|one| one.host.matches(&work.host)).map(|one| one.path.as_str().to_owned());
            return format!("its path is {}, not {}", listed(paths), work.path);
        }
        if !rule.who.matches_token(crawler) {
            return format!("its crawler is {}, not {}", listed(rule.who.crawlers.iter()), row.token);
        }
        if !rule.who.matches_operator(crawler) {
            return format!("its operator is {}, not {}", listed(rule.who.operators.iter()), row.operator);
        }
        if !rule.who.matches_purpose(crawler) {
            return format!("its purpose is {}, not {}", listed(rule.who.purposes.iter()), row.purpose);
        }
        if !rule.rungs.contain(crawler) {
            let is = if crawler.is_spoof() { "a spoof" } else { crawler.assurance.as_str() };
            return format!("its assurance is {}, and this fetch is {is}", rule.rungs);
        }
        if rule.is_favour_denied_to(crawler) {
            return "it is a favour to a name that this fetch carries falsely".to_owned();
        }
        let matching: Vec<&Alternative> =
            own().filter(|alternative| alternative.matches_work(work)).collect();
        let typed = matching.iter().find(|alternative| is_of_type(alternative, question.content_type));
        let Some(typed) = typed else {
            let types = listed(matching.iter().filter_map(|one| one.media.as_ref()));
            return match question.content_type {
                Some(content_type) => format!("its content type is {types}, not {content_type}"),
                None => format!("it decides instead if the content type is {types}"),
            };
        };
        match decider {
            Some(decider) => {
                let winner = &self.rules.rules[decider.rule];
                let difference = decider.rank(winner).ahead_of(&typed.rank(rule));
                format!("it matches, but \"{}\" is asked first: {difference}", winner.name)
            }
            None => "it matches".to_owned(),
        }
    }
}

fn is_of_type(alternative: &Alternative, content_type: Option<&str>) -> bool {
    match (&alternative.media, content_type) {
        (None, _) => true,
        (Some(media), Some(content_type)) => media.matches(content_type),
        (Some(_), None) => false,
    }
}

/// The conditions of a rule as one line: those that it names.
fn conditions(alternative: &Alternative, rule: &Rule) -> String {
    let mut said = Vec::new();
    if alternative.host != HostPattern::Any {
        said.push(format!("host {}", alternative.host));
    }
    if alternative.path.as_str() != "/**" {
        said.push(format!("path {}", alternative.path.as_str()));
    }
    if let Some(media) = &alternative.media {
        said.push(format!("content type {media}"));
    }
    if !rule.who.crawlers.is_empty() {
        said.push(format!("crawler {}", listed(rule.who.crawlers.iter())));
    }
    if !rule.who.operators.is_empty() {
        said.push(format!("operator {}", listed(rule.who.operators.iter())));
    }
    if !rule.who.purposes.is_empty() {
        said.push(format!("purpose {}", listed(rule.who.purposes.iter())));
    }
    if rule.rungs != crate::rule::Rungs::ANY {
        said.push(format!("assurance {}", rule.rungs));
    }
    if said.is_empty() {
        "it is about every fetch".to_owned()
    } else {
        format!("it matches by {}", said.join(", "))
    }
}

/// At most four of them, each once.
fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for item in items {
        let text = item.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let more = texts.len() > 4;
    texts.truncate(4);
    let joined = texts.join(" or ");
    if more { format!("{joined} or others") } else { joined }
}

/// Budgets and accounts that nobody has touched.
struct Untouched<'a>(&'a PolicySnapshot);

impl Standing for Untouched<'_> {
    fn exhausted(&self, _limit: &Limit, _operator: &str) -> Option<u64> {
        None
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        self.0.account(operator).is_some_and(|account| account.credit_limit.nano >= amount.nano)
    }
}
