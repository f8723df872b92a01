//! What Prometheus sees. Metrics watch: no bill and no decision reads one.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use policy::lint::Kind as DriftKind;
use policy::protocol::olp::{Endpoint, ErrorCode};
use policy::publish::Signal;
use policy::{Class, Mode, PolicySnapshot, RefusalKind};
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::names::{self, Metric};
use crate::{Outcome, RolledFetch, UsageRecord};

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestClass {
    /// Not an AI crawler's: passed unchanged.
    Pass,
    /// Metered.
    Metered,
    /// A crawler's, refused.
    Refused,
    /// Answered by Byline itself: malformed, unknown host, overload, its own pages.
    Local,
}

/// A limit on what is under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Connections in all.
    Connections,
    /// Connections of one client.
    ClientConnections,
    /// Requests of one client.
    ClientRequests,
    /// Payments of one client that the facilitator is asked about, or has refused.
    ClientPayments,
    /// Requests at one site.
    SiteRequests,
    /// Requests in all.
    Requests,
    /// Memory.
    Memory,
    /// Frames of an HTTP/2 connection that ask for nothing.
    ConnectionFrames,
    /// Requests of an HTTP/2 connection that were given up before they were answered.
    ConnectionGivenUp,
}

/// Why an origin gave no response, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpstreamFailure {
    /// No connection: refused, unreachable, no such name.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// No TLS session.
    Tls,
    /// Connected, but no response head in time.
    HeadTimeout,
    /// Closed before or within the response head.
    Closed,
    /// What it sent is not HTTP as we accept it.
    Protocol,
    /// The body ended early.
    BodyCut,
    /// The body stood still for too long.
    BodyTimeout,
}

/// Whether the ledger takes entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LedgerState {
    /// It does.
    Ready,
    /// No space: it tries again by itself.
    Paused,
    /// A write or sync failed: not before a restart.
    Poisoned,
}

/// Why a fetch that is usually metered passed without an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnmeteredReason {
    /// The ledger is paused.
    Paused,
    /// The ledger is poisoned or closed.
    Poisoned,
    /// The ledger's queue is full.
    QueueFull,
}

/// How a reverse DNS look-up ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lookup {
    /// From the cache.
    Cached,
    /// The name was confirmed.
    Confirmed,
    /// There is no such name, or it is another's.
    Denied,
    /// No answer in time.
    TimedOut,
    /// The resolver failed.
    Failed,
}

/// What a request's signature proved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SignatureVerdict {
    /// Who sent it.
    Verified,
    /// Nothing: it does not hold.
    Invalid,
    /// Nothing: its agent is none of the crawler's, or the keys could not be had.
    Unverified,
}

/// What a client got that asked the licence server for a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenAnswer {
    /// A token.
    Given,
    /// Nothing: it asks too often.
    TooManyCalls,
    /// This error.
    Refused(ErrorCode),
}

/// The ledger in figures, as a scrape shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerFigures {
    /// Its state.
    pub state: LedgerState,
    /// Durable entries since the beginning of the log.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Slots in use.
    pub queue: u64,
    /// Slots that there are.
    pub queue_capacity: u64,
    /// Entries handed in since the start.
    pub accepted: u64,
    /// Entries acknowledged since the start.
    pub appended: u64,
    /// Entries refused after they were handed in, since the start.
    pub refused: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Pauses since the start.
    pub pauses: u64,
}

/// All metrics. One per process, shared by all threads.
///
/// Series of enum labels are made at the start, those of crawlers when a policy takes effect: traffic never adds one.
/// A crawler that no policy named is `other`.
pub struct Telemetry {
    registry: Registry,
    policy_info: GaugeVec,
    reload_successful: IntGauge,
    reload_timestamp: IntGauge,
    reloads: [IntCounter; 2],
    connections_open: IntGauge,
    connections: IntCounter,
    requests: Vec<IntCounter>,
    request_duration: Vec<Histogram>,
    added_latency: Vec<Histogram>,
    shed: Vec<IntCounter>,
    upstream_failures: Vec<IntCounter>,
    verdicts: Vec<IntCounter>,
    assurance: Vec<IntCounter>,
    repeats: IntCounter,
    words_capped: IntCounter,
    unmetered: Vec<IntCounter>,
    unmetered_bytes: Vec<IntCounter>,
    rolled_fetches: IntCounter,
    rollups: IntCounter,
    lookups: Vec<IntCounter>,
    range_list_age: GaugeVec,
    agent_keys_age: GaugeVec,
    signatures: Vec<IntCounter>,
    signal_drift: Vec<IntCounter>,
    licence_tokens: Vec<(TokenAnswer, IntCounter)>,
    held_bytes: IntGauge,
    ledger: LedgerSeries,
    per_crawler: PerCrawler,
    /// The handles of each crawler, looked up once per fetch: one read lock, one hash.
    crawlers: RwLock<Crawlers>,
}

struct LedgerSeries {
    state: Vec<IntGauge>,
    gauges: [IntGauge; 5],
    totals: [IntCounter; 5],
    commit: Histogram,
}

struct PerCrawler {
    fetches: IntCounterVec,
    delivered_bytes: IntCounterVec,
    refusals: IntCounterVec,
    spoofs: IntCounterVec,
    quoted: CounterVec,
    owed: CounterVec,
    settled: CounterVec,
}

#[derive(Default)]
struct Crawlers {
    currency: String,
    by_token: HashMap<Arc<str>, Arc<CrawlerSeries>>,
    other: Option<Arc<CrawlerSeries>>,
}

struct CrawlerSeries {
    fetches: Vec<IntCounter>,
    delivered_bytes: IntCounter,
    refusals: Vec<IntCounter>,
    spoofs: IntCounter,
    quoted: Counter,
    owed: Counter,
    settled: Counter,
}

/// What a fetch adds to the metrics once its record is durable; see [`Telemetry::counted`].
pub struct Counted {
    series: Arc<CrawlerSeries>,
    outcome: Outcome,
    bytes: u64,
    quote_nano: i64,
    amount_nano: i64,
    settled: bool,
    verdict: Option<usize>,
    rung: Option<usize>,
    repeat: bool,
    words_capped: bool,
}

/// The labels of drift: each signal with each kind of contradiction.
fn drifts() -> Vec<[&'static str; 2]> {
    let kinds = || DriftKind::ALL.iter().filter(|kind| kind.is_contradiction());
    Signal::ALL.iter().flat_map(|signal| kinds().map(|kind| [signal.as_str(), kind.as_str()])).collect()
}

/// What a client can get that asks for a token, and its word: the errors are called as clients read them.
fn token_answers() -> impl Iterator<Item = (TokenAnswer, &'static str)> {
    let errors = ErrorCode::ALL.into_iter().filter(|code| code.belongs_to(Endpoint::Token));
    [(TokenAnswer::Given, "given"), (TokenAnswer::TooManyCalls, "too-many-calls")]
        .into_iter()
        .chain(errors.map(|code| (TokenAnswer::Refused(code), code.as_str())))
}

/// What stands for a crawler that no policy named.
const OTHER: &str = "other";

/// From what a local answer takes to a slow origin.
const DURATION_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From deciding alone to waiting for a slow disk.
const ADDED_BUCKETS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

impl Telemetry {
    /// Registers everything.
    ///
    /// # Panics
    /// If two metrics have the same name, which the tests exclude.
    pub fn new(version: &str) -> Telemetry {
        let registry = Registry::new();
        let make = Maker { registry: &registry };
        make.gauges(&names::BUILD_INFO).with_label_values(&[version]).set(1.0);
        let statuses: Vec<[&str; 2]> = RequestClass::ALL
            .iter()
            .flat_map(|class| STATUS_CLASSES.map(|status| [class.as_str(), status]))
            .collect();
        let verdicts: Vec<[&str; 2]> =
            VERDICTS.iter().flat_map(|verdict| UNITS.map(|unit| [*verdict, unit])).collect();
        let reloads = make.counters(&names::RELOADS);
        let licence_tokens = make.counters(&names::LICENCE_TOKENS);
        let telemetry = Telemetry {
            policy_info: make.gauges(&names::POLICY_INFO),
            reload_successful: make.gauge(&names::RELOAD_SUCCESSFUL),
            reload_timestamp: make.gauge(&names::RELOAD_TIMESTAMP),
            reloads: ["failure", "success"].map(|result| reloads.with_label_values(&[result])),
            connections_open: make.gauge(&names::CONNECTIONS_OPEN),
            connections: make.counter(&names::CONNECTIONS),
            requests: make.all(&names::REQUESTS, &statuses),
            request_duration: make.histograms(&names::REQUEST_DURATION, &DURATION_BUCKETS),
            added_latency: make.histograms(&names::ADDED_LATENCY, &ADDED_BUCKETS),
            shed: make.each(&names::SHED, &Limit::ALL),
            upstream_failures: make.each(&names::UPSTREAM_FAILURES, &UpstreamFailure::ALL),
            verdicts: make.all(&names::VERDICTS, &verdicts),
            assurance: make.all(&names::ASSURANCE, &ASSURANCES.map(|word| [word])),
            repeats: make.counter(&names::REPEATS),
            words_capped: make.counter(&names::WORDS_CAPPED),
            unmetered: make.each(&names::UNMETERED, &UnmeteredReason::ALL),
            unmetered_bytes: make.each(&names::UNMETERED_BYTES, &UnmeteredReason::ALL),
            rolled_fetches: make.counter(&names::ROLLED_FETCHES),
            rollups: make.counter(&names::ROLLUPS),
            lookups: make.each(&names::LOOKUPS, &Lookup::ALL),
            range_list_age: make.gauges(&names::RANGE_LIST_AGE),
            agent_keys_age: make.gauges(&names::AGENT_KEYS_AGE),
            signatures: make.each(&names::SIGNATURES, &SignatureVerdict::ALL),
            signal_drift: make.all(&names::SIGNAL_DRIFT, &drifts()),
            licence_tokens: token_answers()
                .map(|(answer, word)| (answer, licence_tokens.with_label_values(&[word])))
                .collect(),
            held_bytes: make.gauge(&names::HELD_BYTES),
            ledger: LedgerSeries::new(&make),
            per_crawler: PerCrawler {
                fetches: make.counters(&names::FETCHES),
                delivered_bytes: make.counters(&names::DELIVERED_BYTES),
                refusals: make.counters(&names::REFUSALS),
                spoofs: make.counters(&names::SPOOFS),
                quoted: make.money(&names::QUOTED),
                owed: make.money(&names::OWED),
                settled: make.money(&names::SETTLED),
            },
            crawlers: RwLock::default(),
            registry,
        };
        telemetry.set_crawlers("USD", &[]);
        telemetry
    }

    /// A policy took effect: its digest, currency and AI crawlers become label values.
    pub fn policy_active(&self, policy: &PolicySnapshot) {
        let mode = match policy.mode() {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        self.policy_info.reset();
        self.policy_info.with_label_values(&[policy.digest(), mode]).set(1.0);
        let rows = policy.directory().rows().iter();
        let tokens: Vec<Arc<str>> =
            rows.filter(|row| row.class == Class::Ai).map(|row| Arc::clone(&row.token)).collect();
        self.set_crawlers(policy.currency().as_str(), &tokens);
    }

    /// Makes the series of crawlers. Those of an earlier policy stay: a counter does not go away.
    fn set_crawlers(&self, currency: &str, tokens: &[Arc<str>]) {
        let mut crawlers = self.crawlers.write().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<Arc<str>> = crawlers.by_token.keys().cloned().collect();
        if crawlers.currency != currency {
            currency.clone_into(&mut crawlers.currency);
            crawlers.by_token.clear();
        } else {
            known.clear();
        }
        for token in known.into_iter().chain(tokens.iter().cloned()) {
            if crawlers.by_token.len() >= CRAWLERS_MAX {
                break;
            }
            let series = || Arc::new(self.per_crawler.series(&token, currency));
            crawlers.by_token.entry(Arc::clone(&token)).or_insert_with(series);
        }
        crawlers.other = Some(Arc::new(self.per_crawler.series(OTHER, currency)));
    }

    /// A start or a reload read its files; `now_seconds` is the wall clock.
    pub fn reloaded(&self, successful: bool, now_seconds: u64) {
        self.reloads[usize::from(successful)].inc();
        self.reload_successful.set(i64::from(successful));
        if successful {
            self.reload_timestamp.set(gauge_value(now_seconds));
        }
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.connections.inc();
        self.connections_open.inc();
    }

    /// It was closed.
    pub fn connection_closed(&self) {
        self.connections_open.dec();
    }

    /// A request was answered: `total` until its response head, `added` what of it was not the origin's, if measured.
    pub fn request(&self, class: RequestClass, status: u16, total: Duration, added: Option<Duration>) {
        let status = usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.requests[class as usize * STATUS_CLASSES.len() + status].inc();
        self.request_duration[class as usize].observe(total.as_secs_f64());
        if let Some(added) = added {
            self.added_latency[class as usize].observe(added.as_secs_f64());
        }
    }

    /// What a record will add once it is durable. It is found out where the record is made, so that the record need
    /// not be kept until then.
    pub fn counted<S: Deref<Target = str>>(&self, record: &UsageRecord<S>) -> Counted {
        Counted {
            series: self.crawler(&record.crawler),
            outcome: record.outcome,
            bytes: record.bytes,
            quote_nano: record.quote_nano,
            amount_nano: record.amount_nano,
            settled: record.settlement.is_some(),
            verdict: verdict(&record.verdict, record.unit.as_deref()),
            rung: rung(&record.assurance),
            repeat: record.repeat,
            words_capped: record.words_capped,
        }
    }

    /// A record is durable.
    pub fn fetch(&self, counted: &Counted) {
        let series = &counted.series;
        if let Some(count) = series.fetches.get(position(&Outcome::ALL, counted.outcome)) {
            count.inc();
        }
        series.delivered_bytes.inc_by(counted.bytes);
        if counted.quote_nano > 0 {
            series.quoted.inc_by(money(counted.quote_nano));
        }
        if counted.amount_nano > 0 {
            let sum = if counted.settled { &series.settled } else { &series.owed };
            sum.inc_by(money(counted.amount_nano));
        }
        if let Some(verdict) = counted.verdict {
            self.verdicts[verdict].inc();
        }
        if let Some(rung) = counted.rung {
            self.assurance[rung].inc();
        }
        if counted.repeat {
            self.repeats.inc();
        }
        if counted.words_capped {
            self.words_capped.inc();
        }
    }

    /// A delivered fetch was added to a roll-up instead. It counts among the fetches, too.
    pub fn rolled(&self, fetch: &RolledFetch<'_>) {
        let Some(outcome) = fetch.outcome else {
            return; // refusals are counted by `refused`
        };
        let series = self.crawler(fetch.crawler);
        series.fetches[position(&Outcome::ALL, outcome)].inc();
        series.delivered_bytes.inc_by(fetch.bytes);
        series.quoted.inc_by(money(fetch.quote_nano));
        if let Some(rung) = rung(fetch.assurance) {
            self.assurance[rung].inc();
        }
        self.rolled_fetches.inc();
    }

    /// A fetch was refused.
    pub fn refused(&self, crawler: &str, kind: RefusalKind) {
        self.crawler(crawler).refusals[position(&REFUSAL_KINDS, kind)].inc();
    }

    /// A claim was contradicted.
    pub fn spoof(&self, crawler: &str) {
        self.crawler(crawler).spoofs.inc();
    }

    fn crawler(&self, token: &str) -> Arc<CrawlerSeries> {
        let crawlers = self.crawlers.read().unwrap_or_else(PoisonError::into_inner);
        let series = crawlers.by_token.get(token).or(crawlers.other.as_ref());
        Arc::clone(series.expect("`other` is made at the start"))
    }

    /// Roll-up entries were written.
    pub fn rollups_written(&self, entries: u64) {
        self.rollups.inc_by(entries);
    }

    /// A fetch passed without an entry.
    pub fn unmetered(&self, reason: UnmeteredReason, bytes: u64) {
        self.unmetered[reason as usize].inc();
        self.unmetered_bytes[reason as usize].inc_by(bytes);
    }

    /// A request or a connection was turned away.
    pub fn shed(&self, limit: Limit) {
        self.shed[limit as usize].inc();
    }

    /// An origin failed.
    pub fn upstream_failed(&self, kind: UpstreamFailure) {
        self.upstream_failures[kind as usize].inc();
    }

    /// A reverse DNS look-up ended.
    pub fn looked_up(&self, lookup: Lookup) {
        self.lookups[lookup as usize].inc();
    }

    /// A signed request was judged.
    pub fn signature(&self, verdict: SignatureVerdict) {
        self.signatures[verdict as usize].inc();
    }

    /// An origin said something else than the policy. Notes are not counted.
    pub fn drifted(&self, signal: Signal, kind: DriftKind) {
        let kinds = DriftKind::ALL.iter().filter(|kind| kind.is_contradiction());
        if let Some(kind) = kinds.clone().position(|other| *other == kind) {
            self.signal_drift[signal as usize * kinds.count() + kind].inc();
        }
    }

    /// A client asked the licence server for a token.
    pub fn licence_token(&self, answer: TokenAnswer) {
        if let Some((_, counter)) = self.licence_tokens.iter().find(|(other, _)| *other == answer) {
            counter.inc();
        }
    }

    /// Bytes held back for an acknowledgement, at this moment.
    pub fn held_bytes(&self, bytes: u64) {
        self.held_bytes.set(gauge_value(bytes));
    }

    /// A record was acknowledged after this time.
    pub fn ledger_commit(&self, wait: Duration) {
        self.ledger.commit.observe(wait.as_secs_f64());
    }

    /// The ledger in figures; call it before each [`Telemetry::render`].
    pub fn ledger(&self, figures: &LedgerFigures) {
        for (state, gauge) in LedgerState::ALL.iter().zip(&self.ledger.state) {
            gauge.set(i64::from(*state == figures.state));
        }
        let now = [figures.entries, figures.bytes, figures.segments, figures.queue, figures.queue_capacity];
        for (gauge, value) in self.ledger.gauges.iter().zip(now) {
            gauge.set(gauge_value(value));
        }
        let totals = [figures.accepted, figures.appended, figures.refused, figures.commits, figures.pauses];
        for (counter, value) in self.ledger.totals.iter().zip(totals) {
            // The ledger counts; the exposition follows it and never falls back.
            counter.inc_by(value.saturating_sub(counter.get()));
        }
    }

    /// The age of a published address list; `None` if there is no good copy. Lists come from the configuration.
    pub fn list_age(&self, list: &str, age: Option<Duration>) {
        let seconds = age.map_or(f64::NAN, |age| age.as_secs_f64());
        self.range_list_age.with_label_values(&[list]).set(seconds);
    }

    /// The age of an agent's keys; `None` if there are none. Agents come from the configuration.
    pub fn agent_keys_age(&self, agent: &str, age: Option<Duration>) {
        let seconds = age.map_or(f64::NAN, |age| age.as_secs_f64());
        self.agent_keys_age.with_label_values(&[agent]).set(seconds);
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        let families = self.registry.gather();
        match TextEncoder::new().encode_utf8(&families, &mut text) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// The most crawlers with series of their own; a registry has a few hundred.
const CRAWLERS_MAX: usize = 2_000;

impl PerCrawler {
    fn series(&self, token: &str, currency: &str) -> CrawlerSeries {
        let fetches = |outcome: Outcome| self.fetches.with_label_values(&[token, outcome.as_str()]);
        let refusals = |kind: RefusalKind| self.refusals.with_label_values(&[token, reason(kind)]);
        CrawlerSeries {
            fetches: Outcome::ALL.map(fetches).into(),
            delivered_bytes: self.delivered_bytes.with_label_values(&[token]),
            refusals: REFUSAL_KINDS.map(refusals).into(),
            spoofs: self.spoofs.with_label_values(&[token]),
            quoted: self.quoted.with_label_values(&[token, currency]),
            owed: self.owed.with_label_values(&[token, currency]),
            settled: self.settled.with_label_values(&[token, currency]),
        }
    }
}

impl LedgerSeries {
    fn new(make: &Maker<'_>) -> LedgerSeries {
        let state = make.int_gauges(&names::LEDGER_STATE);
        LedgerSeries {
            state: LedgerState::ALL.map(|it| state.with_label_values(&[it.as_str()])).into(),
            gauges: [
                &names::LEDGER_ENTRIES,
                &names::LEDGER_SIZE,
                &names::LEDGER_SEGMENTS,
                &names::LEDGER_QUEUE,
                &names::LEDGER_QUEUE_CAPACITY,
            ]
            .map(|metric| make.gauge(metric)),
            totals: [
                &names::LEDGER_ACCEPTED,
                &names::LEDGER_APPENDED,
                &names::LEDGER_REFUSED,
                &names::LEDGER_COMMITS,
                &names::LEDGER_PAUSES,
            ]
            .map(|metric| make.counter(metric)),
            commit: make.histogram(&names::LEDGER_COMMIT_DURATION, &ADDED_BUCKETS),
        }
    }
}

/// Makes metrics and registers them.
struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("names and labels are valid");
        self.registry.register(Box::new(made.clone())).expect("names are distinct");
        made
    }

    fn counter(&self, metric: &Metric) -> IntCounter {
        self.register(IntCounter::new(metric.name, metric.help))
    }

    fn gauge(&self, metric: &Metric) -> IntGauge {
        self.register(IntGauge::new(metric.name, metric.help))
    }

    fn counters(&self, metric: &Metric) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels))
    }

    fn money(&self, metric: &Metric) -> CounterVec {
        self.register(CounterVec::new(Opts::new(metric.name, metric.help), metric.labels))
    }

    fn gauges(&self, metric: &Metric) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(metric.name, metric.help), metric.labels))
    }

    fn int_gauges(&self, metric: &Metric) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(metric.name, metric.help), metric.labels))
    }

    fn histogram(&self, metric: &Metric, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// One histogram per class of request.
    fn histograms(&self, metric: &Metric, buckets: &[f64]) -> Vec<Histogram> {
        let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
        let made = self.register(HistogramVec::new(options, metric.labels));
        RequestClass::ALL.map(|class| made.with_label_values(&[class.as_str()])).into()
    }

    /// One counter for each combination of label values.
    fn all<const N: usize>(&self, metric: &Metric, values: &[[&str; N]]) -> Vec<IntCounter> {
        let made = self.counters(metric);
        values.iter().map(|values| made.with_label_values(values)).collect()
    }

    /// One counter for each value of an enum.
    fn each<E: Label, const N: usize>(&self, metric: &Metric, values: &[E; N]) -> Vec<IntCounter> {
        self.all(metric, &values.each_ref().map(|value| [value.word()]))
    }
}

/// An enum whose values are label values.
trait Label {
    fn word(&self) -> &'static str;
}

/// The words of an enum in records and metrics, in the order of its variants: a variant's number is its index here.
macro_rules! labels {
    ($type:ident, $count:literal, $($variant:ident = $word:literal),*) => {
        impl $type {
            /// All values, in order.
            pub const ALL: [$type; $count] = [$($type::$variant),*];

            /// The word used in metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word),*
                }
            }
        }

        impl Label for $type {
            fn word(&self) -> &'static str {
                self.as_str()
            }
        }
    };
}

labels!(RequestClass, 4, Pass = "pass", Metered = "metered", Refused = "refused", Local = "local");
labels!(
    Limit,
    9,
    Connections = "connections",
    ClientConnections = "client-connections",
    ClientRequests = "client-requests",
    ClientPayments = "client-payments",
    SiteRequests = "site-requests",
    Requests = "requests",
    Memory = "memory",
    ConnectionFrames = "connection-frames",
    ConnectionGivenUp = "connection-given-up"
);
labels!(
    UpstreamFailure,
    8,
    Connect = "connect",
    ConnectTimeout = "connect-timeout",
    Tls = "tls",
    HeadTimeout = "head-timeout",
    Closed = "closed",
    Protocol = "protocol",
    BodyCut = "body-cut",
    BodyTimeout = "body-timeout"
);
labels!(LedgerState, 3, Ready = "ready", Paused = "paused", Poisoned = "poisoned");
labels!(UnmeteredReason, 3, Paused = "paused", Poisoned = "poisoned", QueueFull = "queue-full");
labels!(
    Lookup,
    5,
    Cached = "cached",
    Confirmed = "confirmed",
    Denied = "denied",
    TimedOut = "timed-out",
    Failed = "failed"
);
labels!(SignatureVerdict, 3, Verified = "verified", Invalid = "invalid", Unverified = "unverified");

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const VERDICTS: [&str; 3] = ["allow", "deny", "charge"];
const UNITS: [&str; 4] = ["none", "fetch", "MB", "1000-words"];
const ASSURANCES: [&str; 4] = ["claimed", "network", "signed", "licensed"];
const REFUSAL_KINDS: [RefusalKind; 14] = [
    RefusalKind::Denied,
    RefusalKind::PaymentRequired,
    RefusalKind::OfferTooLow,
    RefusalKind::IdentityRequired,
    RefusalKind::NoCredit,
    RefusalKind::LimitReached,
    RefusalKind::BadOffer,
    RefusalKind::BadSignature,
    RefusalKind::BadOriginPrice,
    RefusalKind::Unlicensed,
    RefusalKind::PaymentRefused,
    RefusalKind::BadPayment,
    RefusalKind::PaymentConflict,
    RefusalKind::PaymentPending,
];

fn reason(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Denied => "denied",
        RefusalKind::PaymentRequired => "payment-required",
        RefusalKind::OfferTooLow => "offer-too-low",
        RefusalKind::IdentityRequired => "identity-required",
        RefusalKind::NoCredit => "no-credit",
        RefusalKind::LimitReached => "limit-reached",
        RefusalKind::BadOffer => "bad-offer",
        RefusalKind::BadSignature => "bad-signature",
        RefusalKind::BadOriginPrice => "bad-origin-price",
        RefusalKind::Unlicensed => "unlicensed",
        RefusalKind::PaymentRefused => "payment-refused",
        RefusalKind::BadPayment => "bad-payment",
        RefusalKind::PaymentConflict => "payment-conflict",
        RefusalKind::PaymentPending => "payment-pending",
    }
}

/// Where the counter of a verdict and a unit stands; none for a word that is not one of ours.
fn verdict(verdict: &str, unit: Option<&str>) -> Option<usize> {
    let verdict = VERDICTS.iter().position(|word| *word == verdict)?;
    let unit = UNITS.iter().position(|word| *word == unit.unwrap_or("none"))?;
    Some(verdict * UNITS.len() + unit)
}

/// Where the counter of a rung stands.
fn rung(assurance: &str) -> Option<usize> {
    ASSURANCES.iter().position(|word| *word == assurance)
}

fn position<T: PartialEq>(all: &[T], value: T) -> usize {
    all.iter().position(|it| *it == value).expect("the list is complete")
}

/// Nano-units as units, for the exposition alone: nobody reads this value back.
fn money(nano: i64) -> f64 {
    nano.max(0) as f64 / 1e9
}

fn gauge_value(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
