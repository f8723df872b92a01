//! robots.txt and its readers: every crawler of class `ai`, and the control tokens.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Collector, Kind, Row, Scene, Signal, Word, in_words};
use crate::protocol::aipref::{Category, Preference, UsageRules};
use crate::protocol::content_signal::ContentSignal;
use crate::protocol::robots::{AgentRules, RobotsTxt, Target};
use crate::protocol::rsl::discovery;
use crate::publish::robots::stands_of_token;
use crate::publish::stand::Stand;
use crate::{Class, CrawlerRow, PolicySnapshot, Purpose, Work};

/// Crawlers to whom policy and robots.txt speak alike.
struct Reader {
    /// One of them.
    row: Arc<CrawlerRow>,
    tokens: Vec<String>,
    /// Index of what robots.txt says to them.
    agent: Option<usize>,
}

pub(super) struct Readers {
    readers: Vec<Reader>,
    /// What robots.txt says, to each who is told something else; `*` first.
    agents: Vec<AgentRules>,
}

impl Readers {
    pub(super) fn new(policy: &PolicySnapshot, robots: Option<&(String, RobotsTxt)>) -> Readers {
        let mut all = Readers { readers: Vec::new(), agents: Vec::new() };
        if let Some((_, robots)) = robots {
            all.agents.push(robots.agent("*"));
        }
        let mut known: HashMap<_, usize> = HashMap::new();
        for row in policy.directory().rows() {
            if !matches!(row.class, Class::Ai | Class::ControlToken) {
                continue;
            }
            let agent = robots.map(|(_, robots)| all.agent(robots, &row.token));
            let rules = || policy.rules.rules.iter();
            let by_name = rules()
                .any(|rule| rule.who.crawlers.iter().any(|token| token.eq_ignore_ascii_case(&row.token)));
            let by_operator = rules().any(|rule| rule.who.operators.contains(&row.operator));
            let is_token = row.class == Class::ControlToken;
            let key = (
                (by_name || is_token).then(|| row.token.clone()),
                by_operator.then(|| row.operator.clone()),
                row.purpose,
                agent,
            );
            match known.get(&key) {
                Some(index) => all.readers[*index].tokens.push(row.token.to_string()),
                None => {
                    known.insert(key, all.readers.len());
                    all.readers.push(Reader {
                        row: Arc::clone(row),
                        tokens: vec![row.token.to_string()],
                        agent,
                    });
                }
            }
        }
        all
    }

    fn agent(&mut self, robots: &RobotsTxt, token: &str) -> usize {
        if !robots.names(token) {
            return 0;
        }
        let rules = robots.agent(token);
        self.agents.iter().position(|other| *other == rules).unwrap_or_else(|| {
            self.agents.push(rules);
            self.agents.len() - 1
        })
    }

    pub(super) fn compare(&self, scene: &Scene<'_>, report: &mut Collector) {
        let Some((name, robots)) = &scene.read.robots else { return };
        for reader in &self.readers {
            let agent = &self.agents[reader.agent.unwrap_or_default()];
            let who = reader.names();
            for place in &scene.places {
                let target = Target::new(place.path);
                let decision = agent.decide(&target);
                let line = decision.rule.map_or_else(|| name.clone(), |rule| format!("{name}:{}", rule.line));
                let stands = reader.stands(scene, &place.work);
                let stand = &stands[0];
                let word = if decision.is_allowed { Word::Given } else { Word::Refused };
                let kind = reader.against(decision.is_allowed, &stands);
                match kind {
                    Some(kind) => report.add(
                        kind,
                        Signal::Robots,
                        &line,
                        &who,
                        place.path,
                        &word.to_string(),
                        &in_words(stand),
                    ),
                    None if word == Word::Refused => {
                        report.note_if_observed(Signal::Robots, name, place.path, stand);
                    }
                    None => {}
                }
            }
        }
        self.preferences(scene, name, robots, report);
        self.licences(scene, name, robots, report);
    }

    /// `Content-Usage` and `Content-Signal`: what is preferred by terms that stand open to everybody.
    fn preferences(&self, scene: &Scene<'_>, name: &str, robots: &RobotsTxt, report: &mut Collector) {
        for (index, agent) in self.agents.iter().enumerate() {
            let who = self.names_of(index);
            let usages = UsageRules::of(agent);
            for rule in usages.rules() {
                if let Err(error) = &rule.usage {
                    report.malformed(
                        Signal::ContentUsage,
                        &format!("{name}:{}", rule.line),
                        &error.to_string(),
                    );
                }
            }
            let signal = ContentSignal::of(robots, agent);
            for place in &scene.places {
                let said = usages.about(&Target::new(place.path)).unwrap_or_default();
                for (purpose, category, answer) in [
                    (Purpose::Train, Category::TrainAi, signal.ai_train),
                    (Purpose::Ground, Category::AiUse, signal.ai_input),
                ] {
                    let stand = scene.asker.anybody(purpose, &place.work);
                    let who = format!("{} ({who})", category.label());
                    if let Some(word) = preferred(said.about(category)) {
                        report.judge(Signal::ContentUsage, name, &who, place.path, word, &stand);
                    }
                    if let Some(answer) = answer {
                        let word = if answer { Word::Given } else { Word::Reserved };
                        report.judge(Signal::ContentSignal, name, &who, place.path, word, &stand);
                    }
                    if let (Some(answer), Some(word)) = (answer, preferred(said.about(category)))
                        && answer == word.withholds()
                    {
                        let other = if answer { "yes in Content-Signal" } else { "no in Content-Signal" };
                        report.add(
                            Kind::Conflict,
                            Signal::ContentUsage,
                            name,
                            &who,
                            place.path,
                            &word.to_string(),
                            other,
                        );
                    }
                }
            }
        }
    }

    /// `License`: a document that was found, or a licence that the policy names.
    fn licences(&self, scene: &Scene<'_>, name: &str, robots: &RobotsTxt, report: &mut Collector) {
        for reader in &self.readers {
            for url in discovery::in_robots(robots, &reader.row.token) {
                scene.check_licence(name, &url, "/", report);
            }
        }
    }

    /// The table.
    pub(super) fn rows(&self, scene: &Scene<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for reader in &self.readers {
            for place in scene.places.iter().filter(|place| !place.path.contains('?')) {
                let stands = reader.stands(scene, &place.work);
                let mut says = Vec::new();
                if let Some(agent) = reader.agent.map(|index| &self.agents[index]) {
                    let target = Target::new(place.path);
                    let is_allowed = agent.decide(&target).is_allowed;
                    let word = if is_allowed { Word::Given } else { Word::Refused };
                    says.push((Signal::Robots, word.to_string()));
                    if let Some((_, robots)) = &scene.read.robots {
                        let signal = ContentSignal::of(robots, agent);
                        let usage = UsageRules::of(agent).about(&target).unwrap_or_default();
                        let (category, answer) = match reader.row.purpose {
                            Purpose::Train => (Category::TrainAi, signal.ai_train),
                            Purpose::Ground => (Category::AiUse, signal.ai_input),
                            _ => (Category::Search, None),
                        };
                        let answer = answer.map(|yes| if yes { Word::Given } else { Word::Reserved });
                        let usage = preferred(usage.about(category)).filter(|_| category != Category::Search);
                        says.extend(usage.map(|word| (Signal::ContentUsage, word.to_string())));
                        says.extend(answer.map(|word| (Signal::ContentSignal, word.to_string())));
                    }
                }
                says.extend(scene.documents_say(reader.row.purpose, place));
                let is_token = reader.row.class == Class::ControlToken;
                rows.push(Row {
                    crawlers: reader.tokens.clone(),
                    purpose: (!is_token).then_some(reader.row.purpose),
                    path: place.path.to_owned(),
                    enforced: in_words(&stands[0]),
                    rule: stands[0].rule.as_deref().map(str::to_owned),
                    says,
                });
            }
        }
        rows
    }

    fn names_of(&self, agent: usize) -> String {
        let named = self.readers.iter().filter(|reader| reader.agent == Some(agent));
        let tokens: Vec<&String> = named.flat_map(|reader| &reader.tokens).collect();
        match tokens[..] {
            [] => "*".to_owned(),
            [one] => one.clone(),
            [first, ..] => format!("{first} and {} more", tokens.len() - 1),
        }
    }
}

impl Reader {
    fn names(&self) -> String {
        match &self.tokens[..] {
            [one] => one.clone(),
            tokens => format!("{} and {} more", tokens[0], tokens.len() - 1),
        }
    }

    /// What the policy says to it; to a control token for each purpose that it stands for.
    fn stands(&self, scene: &Scene<'_>, work: &Work) -> Vec<Stand> {
        match self.row.class {
            Class::ControlToken => stands_of_token(&scene.asker, &self.row, work),
            _ => vec![scene.asker.row(&self.row, work)],
        }
    }

    /// What is wrong with letting it fetch, or not.
    ///
    /// Under a control token nothing is fetched, so that nothing can be sold: what is neither refused nor sold for any of its
    /// purposes may not be refused, what is for all may not be allowed.
    fn against(&self, is_allowed: bool, stands: &[Stand]) -> Option<Kind> {
        let is_token = self.row.class == Class::ControlToken;
        let promises = |stand: &Stand| if is_token { stand.is_reserved() } else { stand.is_denied() };
        let refuses = |stand: &Stand| if is_token { stand.is_given() } else { stand.free || stand.charge };
        match is_allowed {
            true => stands.iter().all(promises).then_some(Kind::PromisesMore),
            false => stands.iter().all(refuses).then_some(Kind::RefusesMore),
        }
    }
}

pub(super) fn preferred(preference: Preference) -> Option<Word> {
    match preference {
        Preference::Allow => Some(Word::Given),
        Preference::Disallow => Some(Word::Reserved),
        Preference::Unknown => None,
    }
}
