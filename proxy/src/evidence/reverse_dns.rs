//! Forward-confirmed reverse DNS: an address has a name of the operator's, and that name has the address.
//!
//! Answers are remembered (24 h if a name was confirmed, 1 h if there is none, 1 min if nothing could be learnt, each
//! give or take a tenth); one lookup runs for an address however many fetches ask; what those who ask can make us look
//! up is bounded: lookups a second, lookups at a time, names of an address, and the time of a lookup.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use metrics::Lookup;
use policy::{CrawlerRow, ReverseDnsAnswer, Verification};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::{Counters, IdentityOptions, count, jitter};
use crate::bucket::TokenBucket;
use crate::generations::Generations;
use crate::shared::lock;

/// Lookups under way at a time.
pub(super) const PENDING_MAX: usize = 512;
/// The time of a whole lookup, with its forward confirmation.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
/// The time of one attempt of one query, of which there are two.
const QUERY_TIME_MAX: Duration = Duration::from_secs(2);
/// The names of an address that are looked at. Honest crawlers have one.
const NAMES_MAX: usize = 16;
/// The names under a suffix that are looked up in turn.
const FORWARD_MAX: usize = 4;

const CONFIRMED_TTL: Duration = Duration::from_secs(24 * 3600);
const NO_NAME_TTL: Duration = Duration::from_secs(3600);
const UNKNOWN_TTL: Duration = Duration::from_secs(60);

/// The memory is cut in shards so that cores seldom meet.
const SHARDS: usize = 16;

/// What is asked about: an address, and the suffixes whose names count. Two crawlers of one operator with the same
/// suffixes share an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    suffixes: u64,
}

#[derive(Clone)]
struct Known {
    answer: ReverseDnsAnswer,
    until: Instant,
}

/// A lookup that is under way.
struct Pending {
    since: Instant,
    answer: watch::Receiver<Option<ReverseDnsAnswer>>,
}

struct Shard {
    known: Generations<Key, Known>,
    pending: HashMap<Key, Pending>,
}

/// All that is known and under way.
pub(super) struct Answers {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    counters: Arc<Counters>,
}

/// A question for the thread that asks.
pub(super) struct Question {
    key: Key,
    row: Arc<CrawlerRow>,
    tell: watch::Sender<Option<ReverseDnsAnswer>>,
}

/// The path's side: remembers, waits, and keeps to the budget.
pub(super) struct Names {
    answers: Arc<Answers>,
    questions: Option<mpsc::Sender<Question>>,
    /// Lookups that may still be started: two seconds' worth at once.
    budget: Mutex<TokenBucket>,
    wait_max: Duration,
    counters: Arc<Counters>,
}

impl Names {
    pub(super) fn new(
        options: &IdentityOptions,
        questions: mpsc::Sender<Question>,
        counters: Arc<Counters>,
    ) -> Names {
        let shard = || {
            Mutex::new(Shard {
                known: Generations::new(options.answers_max / SHARDS),
                pending: HashMap::new(),
            })
        };
        let answers = Arc::new(Answers {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            counters: Arc::clone(&counters),
        });
        let lookups = options.lookups_per_second;
        Names {
            answers,
            questions: options.reverse_dns.then_some(questions),
            budget: Mutex::new(TokenBucket::new(lookups, lookups.saturating_mul(2), Instant::now())),
            wait_max: options.wait_max,
            counters,
        }
    }

    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }

    /// The answer for an address, remembered or awaited; [`ReverseDnsAnswer::Unknown`] if it takes too long.
    pub(super) async fn ask(&self, row: &Arc<CrawlerRow>, address: IpAddr) -> ReverseDnsAnswer {
        let Some(questions) = &self.questions else { return ReverseDnsAnswer::Unknown };
        let key = self.answers.key(&row.verification, address);
        let now = Instant::now();
        let (since, mut answer) = {
            let mut shard = self.answers.shard(&key);
            if let Some(known) = shard.known.get(&key) {
                if known.until > now {
                    drop(shard);
                    (self.counters.observe)(Lookup::Cached);
                    return known.answer;
                }
                shard.known.remove(&key);
            }
            match shard.pending.get(&key) {
                // A lookup whose task is gone without an answer is as good as none.
                Some(pending) if pending.answer.has_changed().is_ok() => {
                    (pending.since, pending.answer.clone())
                }
                _ => {
                    let (tell, answer) = watch::channel(None);
                    let question = Question { key, row: Arc::clone(row), tell };
                    if !lock(&self.budget).take(now) || questions.try_send(question).is_err() {
                        count(&self.counters.lookups_refused);
                        (self.counters.observe)(Lookup::TimedOut);
                        return ReverseDnsAnswer::Unknown;
                    }
                    shard.pending.insert(key, Pending { since: now, answer: answer.clone() });
                    (now, answer)
                }
            }
        };
        // Everybody waits until the same moment: who comes later while a server is slow does not wait anew.
        let deadline = tokio::time::Instant::from_std(since + self.wait_max);
        let told = tokio::time::timeout_at(deadline, answer.wait_for(Option::is_some)).await;
        let told = told.map(|answer| answer.ok().and_then(|answer| answer.clone()));
        told.unwrap_or_else(|_| {
            count(&self.counters.waits_expired);
            (self.counters.observe)(Lookup::TimedOut);
            None
        })
        .unwrap_or(ReverseDnsAnswer::Unknown)
    }

    pub(super) fn remembered(&self) -> usize {
        self.answers.shards.iter().map(|shard| lock(shard).known.len()).sum()
    }
}

impl Answers {
    fn key(&self, verification: &Verification, address: IpAddr) -> Key {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        Key { address, suffixes: self.hasher.hash_one(&verification.reverse_dns) }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(self.hasher.hash_one(key) >> 32) as usize % SHARDS])
    }

    fn learn(&self, question: &Question, answer: ReverseDnsAnswer) {
        let (ttl, result) = match &answer {
            ReverseDnsAnswer::Confirmed(names) if names.is_empty() => (NO_NAME_TTL, Lookup::Denied),
            ReverseDnsAnswer::Confirmed(_) => (CONFIRMED_TTL, Lookup::Confirmed),
            ReverseDnsAnswer::Unknown => (UNKNOWN_TTL, Lookup::Failed),
        };
        (self.counters.observe)(result);
        if result == Lookup::Failed {
            count(&self.counters.lookups_failed);
        }
        let until = Instant::now() + jitter(ttl, self.hasher.hash_one(question.key));
        let mut shard = self.shard(&question.key);
        shard.known.insert(question.key, Known { answer: answer.clone(), until });
        shard.pending.remove(&question.key);
        drop(shard);
        question.tell.send_replace(Some(answer));
    }
}

/// Answers questions until nobody can ask any more. Runs on the thread `identity`.
pub(super) async fn answer(
    options: IdentityOptions,
    mut asked: mpsc::Receiver<Question>,
    answers: Arc<Answers>,
) {
    let mut resolver: Option<TokioResolver> = None;
    while let Some(question) = asked.recv().await {
        if resolver.is_none() {
            resolver = self::resolver(options.nameserver)
                .inspect_err(|error| warn!(%error, "no name server to ask"))
                .ok();
        }
        let Some(resolver) = resolver.clone() else {
            answers.learn(&question, ReverseDnsAnswer::Unknown);
            continue;
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            count(&answers.counters.lookups);
            let confirmed = confirm(&resolver, &question.row.verification, question.key.address);
            let answer =
                tokio::time::timeout(LOOKUP_TIME_MAX, confirmed).await.unwrap_or(ReverseDnsAnswer::Unknown);
            debug!(address = %question.key.address, ?answer, "reverse dns");
            answers.learn(&question, answer);
        });
    }
}

/// Asks a name server, or the system's; always anew, and never /etc/hosts.
pub(crate) fn resolver(nameserver: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match nameserver {
        Some(server) => {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = server.port());
            let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => Resolver::builder_tokio()?,
    };
    let resolver: &mut ResolverOpts = builder.options_mut();
    resolver.timeout = QUERY_TIME_MAX;
    resolver.attempts = 2;
    resolver.max_active_requests = PENDING_MAX;
    // What stands in /etc/hosts is about this machine's peers, not about crawlers.
    resolver.use_hosts_file = ResolveHosts::Never;
    // The answers are remembered here, in their final form.
    resolver.cache_size = 0;
    builder.build()
}

/// Asks for the names of an address, and for the addresses of those names that count.
async fn confirm(resolver: &TokioResolver, verification: &Verification, address: IpAddr) -> ReverseDnsAnswer {
    let found = match resolver.reverse_lookup(address).await {
        Ok(found) => found,
        Err(error) if denies(&error) => return ReverseDnsAnswer::Confirmed(Vec::new()),
        Err(_) => return ReverseDnsAnswer::Unknown,
    };
    let names = found.answers().iter().filter_map(|record| match &record.data {
        RData::PTR(name) => Some(&name.0),
        _ => None,
    });
    let looked_at: Vec<&Name> = names.clone().take(NAMES_MAX).collect();
    let fitting = looked_at.iter().filter(|name| verification.has_name(&name.to_ascii()));
    let mut all_known = names.count() == looked_at.len() && fitting.clone().count() <= FORWARD_MAX;
    let mut confirmed = Vec::new();
    for name in fitting.take(FORWARD_MAX) {
        match leads_back(resolver, name, address).await {
            Some(true) => {
                confirmed.push(Arc::from(name.to_ascii().trim_end_matches('.').to_ascii_lowercase()))
            }
            Some(false) => {}
            None => all_known = false,
        }
    }
    // "No name" is an answer only if nothing was left unlooked at.
    if confirmed.is_empty() && !all_known {
        return ReverseDnsAnswer::Unknown;
    }
    ReverseDnsAnswer::Confirmed(confirmed)
}

/// Whether a name has the address; `None` if that could not be learnt.
async fn leads_back(resolver: &TokioResolver, name: &Name, address: IpAddr) -> Option<bool> {
    let record_type = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    let mut name = name.clone();
    // A name that came from DNS is whole: the search list of this machine must not be tried on it.
    name.set_fqdn(true);
    match resolver.lookup(name, record_type).await {
        Ok(found) => Some(found.answers().iter().any(|record| match &record.data {
            RData::A(a) => IpAddr::V4(a.0) == address,
            RData::AAAA(aaaa) => IpAddr::V6(aaaa.0) == address,
            _ => false,
        })),
        Err(error) if denies(&error) => Some(false),
        Err(_) => None,
    }
}

/// Whether this says that there is no such record: the name does not exist, or its zone vouches (with its SOA) that it
/// has none. A chain of aliases that was given up looks like the latter, without the SOA.
fn denies(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            none.response_code == ResponseCode::NXDomain || none.soa.is_some()
        }
        _ => false,
    }
}
