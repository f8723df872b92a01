//! The keys of crawlers that sign their requests (Web Bot Auth), at hand before they are asked for.
//!
//! Fetched are the keys of agents that the registry or the policy names, and of nobody else: whoever sends a request can
//! name any place, but makes nobody go there. Like the lists of ranges they are fetched ahead of time by the thread
//! `identity`, so that a request seldom waits: for an agent whose keys were never fetched, or for a key that was not
//! there when they were; at most 300 ms, and never for one whose keys could not be had a moment ago.
//!
//! How long keys are fresh their publisher says (`Cache-Control: max-age`), within a minute and twelve hours. A refresh
//! that fails leaves the last good copy in place for a day from when it was fetched; a set that comes without a key that can
//! be used is no failure, and takes it away. Of one host nothing is fetched twice
//! at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};
use ipnet::IpNet;
use policy::protocol::bot_auth::{KeyDirectory, KeySource, Settings};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tracing::{debug, warn};

use super::document::{DocumentError, Reach, tls};
use super::key_directory::{self, AgentKeys, KeysError};
use super::reverse_dns::resolver;
use super::{IdentityOptions, jitter};
use crate::error::chain;
use crate::shared::lock;

/// Places of keys that are followed. A policy that names more gets the first ones, sorted by address, and a warning.
const AGENTS_MAX: usize = 256;
/// Places with what may be at them: each may be asked for as keys and as a client document.
const ENTRIES_MAX: usize = 2 * AGENTS_MAX;
/// Fetches under way at a time.
const FETCHES_MAX: usize = 4;
/// How long keys are fresh at least, at most, and where their publisher does not say.
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(12 * 3600);
const FRESH: Duration = Duration::from_secs(3600);
/// How long keys are believed that cannot be fetched again.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// The first wait after a failed fetch; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(30);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Between two fetches that requests asked for, because a key was not there.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long nothing may happen at all.
const TICK: Duration = Duration::from_secs(60);

/// How the keys of an agent are doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AgentStatus {
    /// The URL of the keys.
    pub(crate) url: String,
    /// How many keys are at hand.
    pub(crate) keys: usize,
    /// How long ago they were fetched, if they are at hand.
    pub(crate) age: Option<Duration>,
    /// Why the last fetch failed, if it did.
    pub(crate) failure: Option<String>,
}

/// All keys that are followed.
pub(crate) struct Agents {
    entries: Mutex<HashMap<KeySource, Entry>>,
    /// Goes up when keys change or are no longer believed.
    generation: AtomicU64,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    wake: Notify,
    /// Whether keys may be fetched at all.
    fetch: bool,
    wait_max: Duration,
    settings: Settings,
}

struct Entry {
    directory: Option<Arc<KeyDirectory>>,
    fetched: Option<Instant>,
    /// Nothing: a fetch is under way.
    next_fetch: Option<Instant>,
    asked: Option<Instant>,
    failures: u32,
    failure: Option<String>,
}

impl Entry {
    fn new(now: Instant) -> Entry {
        Entry {
            directory: None,
            fetched: None,
            next_fetch: Some(now),
            asked: None,
            failures: 0,
            failure: None,
        }
    }

    fn believed_until(&self) -> Option<Instant> {
        self.directory.as_ref().and(self.fetched).map(|fetched| fetched + BELIEVED)
    }
}

impl Agents {
    pub(super) fn new(options: &IdentityOptions) -> Agents {
        Agents {
            entries: Mutex::default(),
            generation: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            wake: Notify::new(),
            fetch: options.agents,
            wait_max: options.wait_max,
            settings: options.signatures.clone(),
        }
    }

    /// What is accepted of their signatures.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Follows these places and no others. What is at hand for them stays.
    pub(super) fn follow(&self, mut sources: Vec<KeySource>) {
        if sources.len() > AGENTS_MAX {
            warn!(agents = sources.len(), max = AGENTS_MAX, "more agents' keys than can be followed");
            sources.truncate(AGENTS_MAX);
        }
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        entries.retain(|source, _| sources.iter().any(|followed| followed.url == source.url));
        for source in sources {
            entries.entry(source).or_insert_with(|| Entry::new(now));
        }
        drop(entries);
        self.generation.fetch_add(1, Ordering::Release);
        self.wake.notify_one();
    }

    /// Changes whenever keys do: what was verified before may no longer hold.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The keys from a place, if they are at hand and young enough.
    pub(crate) fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        let entries = lock(&self.entries);
        let entry = entries.get(source)?;
        entry.believed_until().filter(|until| *until > Instant::now())?;
        entry.directory.clone()
    }

    /// Asks for keys that are not at hand, or, where they are, for newer ones, and waits a little. Whether a fetch has ended
    /// meanwhile, so that it is worth looking again.
    ///
    /// Only for a place that the policy names.
    pub(crate) async fn ask(&self, source: &KeySource) -> bool {
        if !self.fetch {
            return false;
        }
        let now = Instant::now();
        let mut ended = self.ended.subscribe();
        {
            let mut entries = lock(&self.entries);
            // Keys and a client document may be at the same place: the policy says the place, the request what is there.
            if !entries.contains_key(source) && entries.len() >= ENTRIES_MAX {
                return false;
            }
            let entry = entries.entry(source.clone()).or_insert_with(|| Entry::new(now));
            let is_under_way = entry.next_fetch.is_none();
            let asked_lately = entry.asked.is_some_and(|asked| now < asked + ASK_AGAIN);
            if entry.failures > 0 || (asked_lately && !is_under_way) {
                return false;
            }
            if !is_under_way {
                (entry.next_fetch, entry.asked) = (Some(now), Some(now));
            }
        }
        self.wake.notify_one();
        let fetched = async {
            while ended.changed().await.is_ok() {
                if lock(&self.entries).get(source).is_none_or(|entry| entry.next_fetch > Some(now)) {
                    return;
                }
            }
        };
        tokio::time::timeout(self.wait_max, fetched).await.is_ok()
    }

    /// The places whose time to be fetched has come, as many as may be under way; they are, from now on. And when to look
    /// again.
    fn due(&self, now: Instant, hosts: &[String]) -> (Vec<KeySource>, Instant) {
        let mut entries = lock(&self.entries);
        let (mut due, mut next): (Vec<KeySource>, _) = (Vec::new(), now + TICK);
        let mut has_expired = false;
        for (source, entry) in entries.iter_mut() {
            if entry.believed_until().is_some_and(|until| until <= now) {
                warn!(url = source.url.as_str(), "an agent's keys are too old to be believed");
                entry.directory = None;
                has_expired = true;
            }
            let Some(when) = entry.next_fetch.filter(|_| self.fetch) else { continue };
            let host = source.url.authority();
            let is_asked = hosts.iter().any(|asked| asked == host)
                || due.iter().any(|other| other.url.authority() == host);
            if when > now {
                next = next.min(when);
            } else if !is_asked && hosts.len() + due.len() < FETCHES_MAX {
                entry.next_fetch = None;
                due.push(source.clone());
            }
        }
        drop(entries);
        if has_expired {
            self.generation.fetch_add(1, Ordering::Release);
        }
        (due, next)
    }

    fn take(&self, source: &KeySource, fetched: Result<AgentKeys, KeysError>) {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        // A policy may have dropped it meanwhile.
        let Some(entry) = entries.get_mut(source) else { return };
        let seed = u64::from(entry.failures) ^ source.url.as_str().len() as u64;
        match fetched {
            Ok(AgentKeys { directory, document }) => {
                let fresh = freshness(&document.headers);
                debug!(url = source.url.as_str(), keys = directory.keys().len(), ?fresh, "an agent's keys");
                let is_new = entry.directory.as_deref() != Some(&directory);
                if is_new {
                    entry.directory = Some(Arc::new(directory));
                    self.generation.fetch_add(1, Ordering::Release);
                }
                (entry.failures, entry.failure) = (0, None);
                (entry.fetched, entry.next_fetch) = (Some(now), Some(now + jitter(fresh, seed)));
            }
            Err(error) => {
                let reason = chain(&error);
                // What came and has no key in it is no failure to come: what was published before is withdrawn.
                if error.is_withdrawal() && entry.directory.take().is_some() {
                    self.generation.fetch_add(1, Ordering::Release);
                }
                entry.failures = entry.failures.saturating_add(1);
                let wait = RETRY_MIN.saturating_mul(1 << entry.failures.clamp(1, 10).saturating_sub(1));
                entry.next_fetch = Some(now + jitter(wait.min(RETRY_MAX), seed).min(RETRY_MAX));
                if entry.failure.as_ref() != Some(&reason) {
                    let last_copy = entry.directory.is_some();
                    warn!(url = source.url.as_str(), reason, last_copy, "an agent's keys could not be had");
                }
                entry.failure = Some(reason);
            }
        }
    }

    /// Puts these keys at hand, as if they had been fetched.
    #[cfg(test)]
    pub(super) fn publish(
        &self,
        source: &KeySource,
        keys: &[&policy::protocol::message_signature::PublicKey],
    ) {
        use policy::protocol::bot_auth::{Fetched, directory_body};
        let body = directory_body(keys);
        let fetched = Fetched { status: 200, content_type: None, body: body.as_bytes() };
        let directory = KeyDirectory::read(source, fetched, &self.settings).expect("keys");
        let now = Instant::now();
        let entry = Entry {
            directory: Some(Arc::new(directory)),
            fetched: Some(now),
            next_fetch: None,
            ..Entry::new(now)
        };
        lock(&self.entries).insert(source.clone(), entry);
    }

    pub(crate) fn status(&self) -> Vec<AgentStatus> {
        let entries = lock(&self.entries);
        let status = entries.iter().map(|(source, entry)| AgentStatus {
            url: source.url.as_str().to_owned(),
            keys: entry.directory.as_ref().map_or(0, |directory| directory.keys().len()),
            age: entry.directory.as_ref().and(entry.fetched).map(|fetched| fetched.elapsed()),
            failure: entry.failure.clone(),
        });
        let mut status: Vec<_> = status.collect();
        status.sort_unstable_by(|one, other| one.url.cmp(&other.url));
        status
    }
}

/// Fetches what is due, for ever. Runs on the thread `identity`.
pub(super) async fn keep(agents: Arc<Agents>, options: IdentityOptions) {
    let networks: Arc<[IpNet]> = options.agent_networks.clone().into();
    let mut connector: Option<TlsConnector> = None;
    let mut fetches = JoinSet::new();
    let mut hosts: Vec<String> = Vec::new();
    loop {
        let (due, next) = agents.due(Instant::now(), &hosts);
        if !due.is_empty() && connector.is_none() {
            connector = tls(options.roots.as_ref()).ok();
        }
        for source in due {
            hosts.push(source.url.authority().to_owned());
            let (connector, networks) = (connector.clone(), Arc::clone(&networks));
            let agents = Arc::clone(&agents);
            fetches.spawn(async move {
                let fetched =
                    fetch(&source, connector, options.nameserver, &networks, &agents.settings).await;
                (source, fetched)
            });
        }
        tokio::select! {
            () = agents.wake.notified() => {}
            () = tokio::time::sleep_until(next.into()) => {}
            Some(done) = fetches.join_next(), if !fetches.is_empty() => {
                // Nothing in a fetch panics; if it did, its host would be left alone.
                let Ok((source, fetched)) = done else { continue };
                hosts.retain(|host| host != source.url.authority());
                agents.take(&source, fetched);
                agents.ended.send_modify(|ended| *ended += 1);
            }
        }
    }
}

async fn fetch(
    source: &KeySource,
    connector: Option<TlsConnector>,
    nameserver: Option<std::net::SocketAddr>,
    networks: &[IpNet],
    settings: &Settings,
) -> Result<AgentKeys, KeysError> {
    let connector = connector.ok_or(DocumentError::NoRoots)?;
    let resolver = resolver(nameserver).map_err(|error| DocumentError::NoResolver(Box::new(error)))?;
    let is_allowed = |address: IpAddr| {
        policy::is_public(address) || networks.iter().any(|network| network.contains(&address))
    };
    let reach = Reach::Allowed { resolver: &resolver, is_allowed: &is_allowed };
    key_directory::fetch(source, &connector, reach, settings).await
}

/// How long a document may be used without asking again (RFC 9111 section 4.2), within our limits.
fn freshness(headers: &HeaderMap) -> Duration {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let controls: Vec<String> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
    let mut directives = controls.iter().flat_map(|value| value.split(',')).map(|directive| directive.trim());
    let mut seconds = None;
    for directive in &mut directives {
        if matches!(directive, "no-store" | "no-cache") {
            return FRESH_MIN;
        }
        if let Some(age) = directive.strip_prefix("max-age=") {
            // What is no number is stale at once (section 4.2.1).
            seconds = Some(age.trim_matches('"').parse::<u64>().unwrap_or(0));
        }
    }
    let Some(seconds) = seconds else { return FRESH };
    let spent = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds.saturating_sub(spent)).clamp(FRESH_MIN, FRESH_MAX)
}

#[cfg(test)]
mod tests;
