//! One policy over the events of a log: the same decisions and the same rating as on the wire.
//!
//! A decision is a function of the crawler, the work, the status and what the operator has used up. It is taken once
//! for each combination, by [`policy::admit`] and [`policy::release`], and used again as long as what it asked of the
//! standing has the same answer.

use hashbrown::HashMap;
use std::cell::RefCell;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use metrics::Outcome;
use policy::{
    Admission, Class, Crawler, CrawlerRow, Evidence, Limit, Offer, OfferError, PolicySnapshot, Refusal,
    Release, ResponseHead, ReverseDnsAnswer, Terms, Unit, Verdict, Work, admit, identify, is_local, release,
    weigh,
};

use super::Settings;
use super::event::Event;
use super::standing::{Question, Usage, Witness};
use super::top::{Count, Top};
use crate::rate::{Facts, Rated, rate};
use crate::repeat::Purchase;

/// Works that are remembered, and the bytes of their names; beyond that the memory begins again.
const WORKS_MAX: usize = 131_072;
const WORK_NAMES_BYTES_MAX: usize = 32 << 20;
/// Addresses of crawlers that are remembered.
const CLIENTS_MAX: usize = 131_072;
/// Decisions that are remembered.
const DECISIONS_MAX: usize = 524_288;
/// Versions that were paid or quoted and are free for a while.
const BOUGHT_MAX: usize = 1_000_000;
/// Works that are counted one by one.
const TOP_WORKS: usize = 65_536;

/// A policy, what it was asked and what it said.
pub(super) struct Judge<'p> {
    policy: &'p PolicySnapshot,
    settings: &'p Settings,
    /// Content types that the policy's rules may name: what a rule says is asked for each of them.
    media_types: Vec<String>,
    rows: Vec<Arc<CrawlerRow>>,
    clients: HashMap<Box<[u8]>, u32>,
    crawlers: Vec<Known>,
    works: HashMap<Box<[u8]>, Option<u32>>,
    works_list: Vec<(Work, Count)>,
    works_bytes: usize,
    decisions: HashMap<(u32, u32, u16, Option<u64>), Arc<Decision>>,
    usage: Usage,
    bought: HashMap<(u64, u64), Purchase>,
    pub(super) paid_forgotten: bool,
    top_works: Top,
    lines: Vec<LogLine>,
    line_ids: HashMap<(u32, Option<Arc<str>>, Unit), u32>,
    /// Requests of AI crawlers whose path could be read in two ways: they are answered with 400.
    pub(super) ambiguous: u64,
    scratch: Vec<u8>,
}

/// A crawler on its rung, with its operator's name at hand.
struct Known {
    row: u32,
    crawler: Crawler,
    operator: Arc<str>,
}

/// What was decided, ready to be applied to any number of fetches.
struct Decision {
    line: u32,
    questions: Vec<Question>,
    answer: Answer,
}

enum Answer {
    Deliver {
        terms: Terms,
        charge: bool,
    },
    Refuse {
        status: u16,
        unit: Option<Unit>,
        price_nano: Option<i64>,
        max_nano: Option<i64>,
    },
    /// Rules by content type would say different things, and the log has none.
    NeedsContentType,
    /// The price is by the words of the text.
    NeedsWords {
        most_nano: i64,
    },
    /// It depends on the length as well: asked again with it.
    ByLength,
}

/// Sums for one operator, crawler, holder and unit: a line as a statement has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// The operator; `spoof` where the address contradicts the name.
    pub operator: Arc<str>,
    /// The crawler's token.
    pub crawler: Arc<str>,
    /// Whose works.
    pub holder: Option<Arc<str>>,
    /// The unit of the price.
    pub unit: Unit,
    /// Fetches delivered.
    pub fetches: u64,
    /// Body bytes delivered.
    pub bytes: u64,
    /// What was rated, in the unit's measure.
    pub quantity: u128,
    /// Fetches with a price, whether owed or only quoted.
    pub priced: u64,
    /// What they would cost, in nano-units.
    pub quote_nano: i128,
    /// What would be owed, in nano-units.
    pub amount_nano: i128,
    /// Free because the same version was paid before.
    pub repeats: u64,
    /// Delivered, because the rule only observes; enforced it would be refused.
    pub would_refuse: u64,
    /// Refused.
    pub refused: u64,
    /// What the refused ones were asked for, in nano-units.
    pub refused_quote_nano: i128,
    /// Delivered fetches that rules by content type decide, and the log has no content type.
    pub needs_content_type: u64,
    /// Delivered fetches that are priced by words, and the log has no words.
    pub needs_words: u64,
    /// The most that those would cost, in nano-units.
    pub needs_words_most_nano: i128,
}

/// What one AI crawler was seen to do, by how well it was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rung {
    pub(super) is_spoof: bool,
    pub(super) is_verified: bool,
}

impl<'p> Judge<'p> {
    pub(super) fn new(policy: &'p PolicySnapshot, settings: &'p Settings) -> Judge<'p> {
        Judge {
            policy,
            settings,
            media_types: media_types(policy),
            rows: policy.directory().rows().to_vec(),
            clients: HashMap::default(),
            crawlers: Vec::new(),
            works: HashMap::default(),
            works_list: Vec::new(),
            works_bytes: 0,
            decisions: HashMap::default(),
            usage: Usage::default(),
            bought: HashMap::default(),
            paid_forgotten: false,
            top_works: Top::new(TOP_WORKS),
            lines: Vec::new(),
            line_ids: HashMap::default(),
            ambiguous: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> &'p PolicySnapshot {
        self.policy
    }

    /// The row of the registry that a user agent names.
    pub(super) fn recognise(&self, user_agent: &str) -> Option<u32> {
        let found = self.policy.directory().recognise(user_agent)?;
        let place = self.rows.iter().position(|row| Arc::ptr_eq(row, found))?;
        u32::try_from(place).ok()
    }

    pub(super) fn row(&self, row: u32) -> &Arc<CrawlerRow> {
        &self.rows[row as usize]
    }

    /// Judges a fetch of an AI crawler.
    pub(super) fn fetch(&mut self, row: u32, event: &Event<'_>) -> Rung {
        let crawler = self.crawler(row, event);
        let known = &self.crawlers[crawler as usize];
        let rung = Rung {
            is_spoof: known.crawler.is_spoof(),
            is_verified: known.crawler.assurance > policy::Assurance::Claimed,
        };
        let Some(work) = self.work(event) else {
            self.ambiguous += 1;
            return rung;
        };
        self.usage.set_now(event.time_secs);
        let decision = self.decision(crawler, work, event);
        self.apply(&decision, crawler, work, event);
        rung
    }

    /// The lines, in order, without empty ones.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        let mut lines = self.lines.clone();
        lines.retain(|line| line.fetches + line.refused > 0);
        lines.sort_by(|a, b| {
            (&a.operator, &a.crawler, &a.holder, a.unit).cmp(&(&b.operator, &b.crawler, &b.holder, b.unit))
        });
        lines
    }

    /// The works that were fetched most.
    pub(super) fn top_works(&mut self, length: usize) -> (Vec<(String, Count)>, bool) {
        self.forget_works();
        self.top_works.most(length)
    }

    /// Who asks, by address.
    fn crawler(&mut self, row: u32, event: &Event<'_>) -> u32 {
        self.scratch.clear();
        self.scratch.extend_from_slice(&row.to_le_bytes());
        self.scratch.extend_from_slice(&event.address);
        self.scratch.push(b'|');
        self.scratch.extend_from_slice(&event.forwarded_for);
        if let Some(known) = self.clients.get(&self.scratch[..]) {
            return *known;
        }
        let evidence = match client_address(event, self.settings) {
            Some(address) => {
                let lists = |url: &str| self.settings.lists.get(url);
                weigh(self.row(row), address, &lists, &ReverseDnsAnswer::Unknown)
            }
            None => Evidence::None,
        };
        let crawler = identify(Arc::clone(self.row(row)), evidence);
        let known = self.crawlers.iter().position(|known| known.row == row && known.crawler == crawler);
        let id = known.unwrap_or_else(|| {
            let operator = Arc::from(crawler.operator());
            self.crawlers.push(Known { row, crawler, operator });
            self.crawlers.len() - 1
        });
        let id = u32::try_from(id).expect("rows and ways to check them are far fewer");
        if self.clients.len() >= CLIENTS_MAX {
            self.clients.clear();
        }
        self.clients.insert(self.scratch.as_slice().into(), id);
        id
    }

    /// The work that is asked for; `None` if the path is ambiguous.
    fn work(&mut self, event: &Event<'_>) -> Option<u32> {
        let host = self.settings.host.as_deref().unwrap_or("localhost");
        let host: &[u8] = if event.host.is_empty() { host.as_bytes() } else { &event.host };
        let scheme: &[u8] =
            if event.scheme.is_empty() { self.settings.scheme.as_bytes() } else { &event.scheme };
        self.scratch.clear();
        self.scratch.extend_from_slice(scheme);
        self.scratch.push(b' ');
        self.scratch.extend_from_slice(host);
        self.scratch.push(b' ');
        self.scratch.extend_from_slice(&event.target);
        let id = match self.works.get(&self.scratch[..]) {
            Some(known) => *known,
            None => {
                let scheme = if scheme.eq_ignore_ascii_case(b"http") { "http" } else { "https" };
                let (host, target) = (String::from_utf8_lossy(host), String::from_utf8_lossy(&event.target));
                let work = self.policy.work(scheme, &host, &target).ok();
                if self.works.len() >= WORKS_MAX || self.works_bytes >= WORK_NAMES_BYTES_MAX {
                    self.forget_works();
                }
                let id = work.map(|work| {
                    self.works_bytes += work.url.len() * 2;
                    self.works_list.push((work, Count::default()));
                    u32::try_from(self.works_list.len() - 1).expect("fewer than are remembered")
                });
                self.works_bytes += self.scratch.len();
                self.works.insert(self.scratch.as_slice().into(), id);
                id
            }
        };
        let count = &mut self.works_list[id? as usize].1;
        count.fetches += 1;
        count.bytes += event.bytes;
        id
    }

    fn forget_works(&mut self) {
        for (work, count) in self.works_list.drain(..) {
            self.top_works.add(&work.url, count);
        }
        self.works.clear();
        self.works_bytes = 0;
        self.decisions.clear(); // they name works by their places
    }

    /// What the policy says, from memory if it can be.
    fn decision(&mut self, crawler: u32, work: u32, event: &Event<'_>) -> Arc<Decision> {
        let from_memory = self.media_types.is_empty() || event.content_type.is_none();
        let mut key = (crawler, work, event.status, None);
        if from_memory {
            if let Some(known) = self.decisions.get(&key)
                && matches!(known.answer, Answer::ByLength)
            {
                key.3 = Some(event.bytes);
            }
            if let Some(known) = self.decisions.get(&key)
                && known.questions.iter().all(|question| question.has_same_answer(&self.usage, self.policy))
            {
                return Arc::clone(known);
            }
        }
        let decision = Arc::new(self.decide(crawler, work, event));
        if from_memory {
            if self.decisions.len() >= DECISIONS_MAX {
                self.decisions.clear();
            }
            // A price by the megabyte that is agreed to depends on the length; any other does not.
            let by_length = matches!(&decision.answer, Answer::Deliver { terms, .. }
                if terms.charge.as_ref().is_some_and(|charge| charge.unit == Unit::Megabyte))
                || matches!(decision.answer, Answer::Refuse { unit: Some(Unit::Megabyte), .. });
            let agreed = self.policy.account(&self.crawlers[crawler as usize].operator).is_some();
            if by_length && agreed && key.3.is_none() {
                let marker = Decision { line: 0, questions: Vec::new(), answer: Answer::ByLength };
                self.decisions.insert(key, Arc::new(marker));
                key.3 = Some(event.bytes);
            }
            self.decisions.insert(key, Arc::clone(&decision));
        }
        decision
    }

    fn decide(&mut self, crawler: u32, work: u32, event: &Event<'_>) -> Decision {
        let (answer, questions) = self.answer(crawler, work, event);
        let unit = match &answer {
            Answer::Deliver { terms, .. } => terms.charge.as_ref().map(|charge| charge.unit),
            Answer::Refuse { unit, .. } => *unit,
            Answer::NeedsWords { .. } => Some(Unit::ThousandWords),
            Answer::NeedsContentType | Answer::ByLength => None,
        };
        let holder = self.works_list[work as usize].0.holder.clone();
        let line = self.line(crawler, holder, unit.unwrap_or(Unit::Fetch));
        Decision { line, questions, answer }
    }

    fn answer(&self, crawler: u32, work: u32, event: &Event<'_>) -> (Answer, Vec<Question>) {
        let crawler = &self.crawlers[crawler as usize].crawler;
        let work = &self.works_list[work as usize].0;
        let standing =
            Witness { usage: &self.usage, policy: self.policy, questions: RefCell::new(Vec::new()) };
        // A log does not say what was offered.
        let offer: Result<Offer, OfferError> = Ok(Offer::None);
        let grant = match admit(self.policy, crawler, work, &offer, &standing) {
            Admission::Proceed(grant) => grant,
            Admission::Refuse(refusal) => return (refused(&refusal), standing.questions.into_inner()),
        };
        let ask = |content_type: Option<&str>| {
            let content_length = matches!(event.status, 200 | 206).then_some(event.bytes);
            let head = ResponseHead {
                status: event.status,
                content_type,
                content_length,
                ..ResponseHead::default()
            };
            release(self.policy, &grant, crawler, work, &offer, &standing, &head)
        };
        let released = ask(event.content_type.as_deref());
        if event.content_type.is_none() && (200..300).contains(&event.status) {
            let differs = |media_type: &String| rule_of(&ask(Some(media_type))) != rule_of(&released);
            if self.media_types.iter().any(differs) {
                return (Answer::NeedsContentType, standing.questions.into_inner());
            }
        }
        let answer = match released {
            Release::Refuse(refusal) => refused(&refusal),
            Release::Deliver(terms) => match &terms.charge {
                Some(charge) if charge.unit == Unit::ThousandWords => {
                    Answer::NeedsWords { most_nano: charge.max.unwrap_or(charge.price).nano }
                }
                _ => Answer::Deliver { charge: terms.verdict == Verdict::Charge, terms },
            },
        };
        (answer, standing.questions.into_inner())
    }

    fn apply(&mut self, decision: &Decision, crawler: u32, work: u32, event: &Event<'_>) {
        let line = &mut self.lines[decision.line as usize];
        let facts = |charge, unit, price_nano, max_nano, owed| Facts {
            settled: false,
            status: event.status,
            head: &*event.method == b"HEAD",
            outcome: if event.status == 304 { Outcome::NotModified } else { Outcome::Complete },
            charge,
            unit,
            price_nano,
            max_nano,
            bytes: event.bytes,
            declared_bytes: Some(event.bytes),
            words: None,
            repeat: false,
            owed,
        };
        let terms = match &decision.answer {
            Answer::Refuse { status, unit, price_nano, max_nano } => {
                line.refused += 1;
                if *status == 402 {
                    line.refused_quote_nano +=
                        i128::from(rate(&facts(true, *unit, *price_nano, *max_nano, false)).quote_nano);
                }
                return;
            }
            Answer::NeedsContentType => {
                line.deliver(event);
                line.needs_content_type += 1;
                return;
            }
            Answer::NeedsWords { most_nano } => {
                line.deliver(event);
                line.needs_words += 1;
                line.needs_words_most_nano += i128::from(*most_nano);
                return;
            }
            Answer::ByLength => return, // only a marker in the memory
            Answer::Deliver { terms, charge } => {
                line.deliver(event);
                line.would_refuse += u64::from(terms.would_refuse.is_some());
                if let Some(price) = &terms.charge {
                    let max_nano = price.max.map(|max| max.nano);
                    let facts =
                        facts(*charge, Some(price.unit), Some(price.price.nano), max_nano, terms.owed);
                    let mut rated = rate(&facts);
                    if rated.quantity > 0 && self.is_repeat(crawler, work, event, terms) {
                        rated = rate(&Facts { repeat: true, ..facts });
                        self.lines[decision.line as usize].repeats += 1;
                    }
                    self.lines[decision.line as usize].charge(&rated);
                    let operator = &self.crawlers[crawler as usize].operator;
                    self.usage.owe(operator, rated.amount_nano);
                }
                terms
            }
        };
        if let Some(limit) = &terms.limit {
            self.count(limit, crawler, event.bytes);
        }
    }

    fn count(&mut self, limit: &Limit, crawler: u32, bytes: u64) {
        let operator = Arc::clone(&self.crawlers[crawler as usize].operator);
        self.usage.count(limit, &operator, bytes);
    }

    /// Whether the same version was paid or quoted within the rule's time; if not, it is from now on. The log has
    /// neither `ETag` nor digest: the same length stands for the same version.
    fn is_repeat(&mut self, crawler: u32, work: u32, event: &Event<'_>, terms: &Terms) -> bool {
        let free_secs = terms.charge.as_ref().map_or(0, |charge| charge.repeat_free_secs);
        if free_secs == 0 {
            return false;
        }
        let operator = &self.crawlers[crawler as usize].operator;
        let version = (operator, &self.works_list[work as usize].0.url, event.bytes);
        let hasher = self.bought.hasher();
        let key = (hasher.hash_one(version), hasher.hash_one((1, version)));
        let seconds = u32::try_from(event.time_secs).unwrap_or(0);
        if self.bought.get(&key).is_some_and(|it| it.covers(terms.owed, seconds, free_secs)) {
            return true;
        }
        if self.bought.len() >= BOUGHT_MAX {
            // What is older than a day goes first; if nothing is, all of it.
            let day_ago = seconds.saturating_sub(86_400);
            self.bought.retain(|_, purchase| purchase.latest() > day_ago);
            if self.bought.len() >= BOUGHT_MAX {
                self.bought.clear();
            }
            self.paid_forgotten = true;
        }
        self.bought.entry(key).or_default().buy(terms.owed, seconds);
        false
    }

    /// The place of a line.
    fn line(&mut self, crawler: u32, holder: Option<Arc<str>>, unit: Unit) -> u32 {
        let known = &self.crawlers[crawler as usize];
        if let Some(id) = self.line_ids.get(&(crawler, holder.clone(), unit)) {
            return *id;
        }
        let (operator, token) = (Arc::clone(&known.operator), Arc::clone(&known.crawler.row.token));
        let same = |line: &LogLine| {
            (&line.operator, &line.crawler, &line.holder, line.unit) == (&operator, &token, &holder, unit)
        };
        let place = self.lines.iter().position(same).unwrap_or_else(|| {
            self.lines.push(LogLine::new(operator, token, holder.clone(), unit));
            self.lines.len() - 1
        });
        let id = u32::try_from(place).expect("crawlers and holders are configured");
        self.line_ids.insert((crawler, holder, unit), id);
        id
    }
}

impl LogLine {
    fn new(operator: Arc<str>, crawler: Arc<str>, holder: Option<Arc<str>>, unit: Unit) -> LogLine {
        LogLine {
            operator,
            crawler,
            holder,
            unit,
            fetches: 0,
            bytes: 0,
            quantity: 0,
            priced: 0,
            quote_nano: 0,
            amount_nano: 0,
            repeats: 0,
            would_refuse: 0,
            refused: 0,
            refused_quote_nano: 0,
            needs_content_type: 0,
            needs_words: 0,
            needs_words_most_nano: 0,
        }
    }

    fn deliver(&mut self, event: &Event<'_>) {
        self.fetches += 1;
        self.bytes += event.bytes;
    }

    fn charge(&mut self, rated: &Rated) {
        self.quantity += u128::from(rated.quantity);
        self.priced += u64::from(rated.quote_nano > 0);
        self.quote_nano += i128::from(rated.quote_nano);
        self.amount_nano += i128::from(rated.amount_nano);
    }
}

fn refused(refusal: &Refusal) -> Answer {
    // Where the price is not by the fetch, `price` is the most that it may cost.
    let (price, max) = match refusal.unit_price {
        Some(unit_price) => (Some(unit_price), refusal.price),
        None => (refusal.price, None),
    };
    Answer::Refuse {
        status: refusal.status(),
        unit: refusal.unit,
        price_nano: price.map(|money| money.nano),
        max_nano: max.map(|money| money.nano),
    }
}

fn rule_of(release: &Release) -> Arc<str> {
    match release {
        Release::Refuse(refusal) => Arc::clone(&refusal.rule),
        Release::Deliver(terms) => Arc::clone(&terms.rule),
    }
}

/// The address of the one who asked: the peer's, or behind a proxy that is trusted or local, the last one in
/// `X-Forwarded-For` that is neither.
fn client_address(event: &Event<'_>, settings: &Settings) -> Option<IpAddr> {
    let peer = parse_address(&event.address);
    let is_ours = |address: IpAddr| {
        is_local(address) || settings.trusted_proxies.iter().any(|net| net.contains(&address))
    };
    if event.forwarded_for.is_empty() || peer.is_some_and(|peer| !is_ours(peer)) {
        return peer;
    }
    let mut client = peer;
    for part in event.forwarded_for.rsplit(|byte| *byte == b',') {
        let Some(address) = parse_address(part.trim_ascii()) else { break };
        client = Some(address);
        if !is_ours(address) {
            break;
        }
    }
    client
}

fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let bare = text.trim_matches(['[', ']']);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Media types in a policy's texts: quoted, with one slash, of a known top-level type. Whatever else is found in this
/// way does no harm: a rule is only asked about it.
fn media_types(policy: &PolicySnapshot) -> Vec<String> {
    const TOP: [&str; 9] =
        ["text", "image", "audio", "video", "application", "font", "model", "message", "multipart"];
    let mut types: Vec<String> = Vec::new();
    for source in policy.sources() {
        for quoted in source.text.split(['"', '\'']) {
            let Some((top, sub)) = quoted.split_once('/') else { continue };
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.*_!#$&^".contains(&byte);
            if !TOP.contains(&top) || sub.is_empty() || !sub.bytes().all(token) {
                continue;
            }
            let sample = format!("{top}/{}", sub.replace('*', "x"));
            if !types.contains(&sample) {
                types.push(sample);
            }
        }
    }
    types
}

/// Whether a row is one that Byline acts on.
pub(super) fn is_ai(row: &CrawlerRow) -> bool {
    row.class == Class::Ai
}
