//! Evidence for a crawler's claim: published address lists, reverse DNS, signatures.
//!
//! [`Identity`] brings together what [`policy::weigh`] judges. On a request's path it reads memory: the loaded lists and
//! the answers of reverse DNS so far. Only the first fetch of an unknown address by a crawler that is checked by name
//! waits, at most 300 ms; after that it counts as claimed, while the answer is awaited for those who follow. What a
//! signature says is judged in [`signature`], with keys that are at hand ([`agents`]). All I/O
//! is done by one thread of its own, `identity`, so that neither a slow name server nor a slow list holds up a core.
//!
//! What goes wrong makes the answer weaker, never stronger and never an accusation: a list that is missing or too old, a
//! name server that fails or is slow, and a budget that is used up all count as "not known".

mod agents;
pub(crate) mod document;
pub(crate) mod key_directory;
mod lists;
pub(crate) mod reverse_dns;
pub(crate) mod signature;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use metrics::Lookup;
use policy::protocol::bot_auth::{self, KeySource};
use policy::{CrawlerRow, Directory, Evidence, ReverseDnsAnswer, weigh};
use tokio::sync::{mpsc, oneshot};

pub(crate) use lists::{ListOrigin, ListStatus, file_name as list_file_name};

use crate::config::IdentitySettings;

use agents::Agents;
use lists::Shelf;
use reverse_dns::{Names, Question};

/// What the operator of this proxy may decide about evidence.
#[derive(Clone, Debug)]
pub(crate) struct IdentityOptions {
    /// Where fetched lists are kept between starts: `lists/` in this directory. Without it they live in memory.
    pub(crate) state_dir: Option<PathBuf>,
    /// A directory of lists that somebody else keeps up to date; a list that is here is not fetched.
    pub(crate) lists_dir: Option<PathBuf>,
    /// Networks on which agents' keys are fetched, too: elsewhere only what is on the public internet is asked.
    pub(crate) agent_networks: Vec<IpNet>,
    /// What is accepted of agents' signatures and key directories.
    pub(crate) signatures: bot_auth::Settings,
    /// Whether the keys of agents may be fetched from them.
    pub(crate) agents: bool,
    /// Whether lists may be fetched from their operators.
    pub(crate) fetch: bool,
    /// Whether reverse DNS may be asked.
    pub(crate) reverse_dns: bool,
    /// The name server to ask; the system's if there is none.
    pub(crate) nameserver: Option<SocketAddr>,
    /// How long a fetch waits for reverse DNS.
    pub(crate) wait_max: Duration,
    /// How many addresses may be looked up in a second; as many again may come at once.
    pub(crate) lookups_per_second: u32,
    /// How many answers of reverse DNS are remembered.
    pub(crate) answers_max: usize,
    /// The age at which a list is no longer believed.
    pub(crate) list_age_max: Duration,
    /// The certificates that list servers are checked against; the system's if there are none here.
    pub(crate) roots: Option<Arc<rustls::RootCertStore>>,
}

impl IdentityOptions {
    /// What the configuration says, and defaults for the rest.
    pub(crate) fn new(settings: &IdentitySettings, state: &Path) -> IdentityOptions {
        IdentityOptions {
            state_dir: Some(state.to_owned()),
            lists_dir: settings.lists_dir.clone(),
            fetch: settings.fetch,
            reverse_dns: settings.reverse_dns,
            nameserver: settings.nameserver,
            agents: settings.agents,
            agent_networks: settings.agent_networks.clone(),
            signatures: settings.signatures.clone(),
            ..IdentityOptions::default()
        }
    }
}

impl Default for IdentityOptions {
    fn default() -> IdentityOptions {
        IdentityOptions {
            state_dir: None,
            lists_dir: None,
            agents: true,
            agent_networks: Vec::new(),
            signatures: bot_auth::Settings::default(),
            fetch: true,
            reverse_dns: true,
            nameserver: None,
            wait_max: Duration::from_millis(300),
            lookups_per_second: 50,
            answers_max: 65_536,
            list_age_max: Duration::from_secs(30 * 24 * 3600),
            roots: None,
        }
    }
}

/// How often each thing happened since the start. For metrics; nothing is decided by them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct IdentityCounts {
    /// Addresses looked up in reverse DNS.
    pub(crate) lookups: u64,
    /// Lookups that ended without an answer (failure of a server, or time).
    pub(crate) lookups_failed: u64,
    /// Fetches that went on as claimed because the answer took too long.
    pub(crate) waits_expired: u64,
    /// Fetches that went on as claimed because too many lookups were asked for.
    pub(crate) lookups_refused: u64,
}

/// What is told of each look-up, for the metrics.
pub(crate) type Observe = Box<dyn Fn(Lookup) + Send + Sync>;

/// The counters behind [`IdentityCounts`].
struct Counters {
    observe: Observe,
    lookups: AtomicU64,
    lookups_failed: AtomicU64,
    waits_expired: AtomicU64,
    lookups_refused: AtomicU64,
}

impl Counters {
    fn new(observe: Observe) -> Counters {
        let zero = AtomicU64::default;
        Counters {
            observe,
            lookups: zero(),
            lookups_failed: zero(),
            waits_expired: zero(),
            lookups_refused: zero(),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A tenth more or less, so that what was learnt together is not asked again together.
fn jitter(time: Duration, seed: u64) -> Duration {
    let thousandths = 900 + (seed % 201) as u32;
    time * thousandths / 1000
}

/// What a policy's directory says should be at hand.
struct Followed {
    lists: Vec<String>,
    agents: Vec<KeySource>,
}

impl Followed {
    fn of(directory: &Directory) -> Followed {
        Followed {
            lists: directory.lists().into_iter().map(str::to_owned).collect(),
            agents: directory.agents().into_iter().cloned().collect(),
        }
    }
}

/// Gathers evidence. Cheap to share: one for the whole process, behind an [`Arc`], used from every core.
pub(crate) struct Identity {
    shelf: Arc<Shelf>,
    names: Names,
    agents: Arc<Agents>,
    counters: Arc<Counters>,
    followed: mpsc::UnboundedSender<Vec<String>>,
    /// Dropped with this value, which ends the thread whatever it waits for.
    _alive: oneshot::Sender<()>,
}

impl Identity {
    /// Reads the lists that are on disk already and starts the thread that does the rest.
    ///
    /// # Errors
    /// The thread or its runtime could not be started.
    pub(crate) fn start(
        options: IdentityOptions,
        directory: &Directory,
        observe: Observe,
    ) -> io::Result<Identity> {
        let counters = Arc::new(Counters::new(observe));
        let shelf = Arc::new(Shelf::new(&options));
        let Followed { lists, agents: sources } = Followed::of(directory);
        shelf.follow(lists);
        shelf.read_disk();
        let agents = Arc::new(Agents::new(&options));
        agents.follow(sources);

        let (followed, follow) = mpsc::unbounded_channel();
        let (questions, asked) = mpsc::channel::<Question>(reverse_dns::PENDING_MAX);
        let names = Names::new(&options, questions, Arc::clone(&counters));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = names.answers();
        let keeper = Arc::clone(&shelf);
        let kept_agents = Arc::clone(&agents);
        let (alive, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("identity".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(agents::keep(kept_agents, options.clone()));
                tokio::spawn(reverse_dns::answer(options, asked, answers));
                tokio::select! {
                    () = lists::keep(keeper, follow) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Identity { shelf, names, agents, counters, followed, _alive: alive })
    }

    /// Follows the lists and agents of another directory from now on: to be called when a new policy is in force.
    pub(crate) fn follow(&self, directory: &Directory) {
        let Followed { lists, agents } = Followed::of(directory);
        self.agents.follow(agents);
        // The thread ends with this value, so that it is there to hear.
        let _ = self.followed.send(lists);
    }

    /// The keys of crawlers that sign.
    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// What is known for and against the claim of a crawler's name by the client at this address.
    ///
    /// Reads memory; waits for reverse DNS at most [`IdentityOptions::wait_max`], and only if the row names a suffix,
    /// no range holds the address, and no answer is remembered.
    pub(crate) async fn gather(&self, row: &Arc<CrawlerRow>, address: IpAddr) -> Evidence {
        let lists = self.shelf.lists();
        let evidence = weigh(row, address, &|url| lists.get(url), &ReverseDnsAnswer::Unknown);
        // Public DNS knows nothing of local addresses.
        let by_name = !row.verification.reverse_dns.is_empty() && !policy::is_local(address);
        if !by_name || matches!(evidence, Evidence::Range { .. }) {
            return evidence;
        }
        let answer = self.names.ask(row, address).await;
        weigh(row, address, &|url| lists.get(url), &answer)
    }

    /// The lists that are followed, with their age and state, sorted by address.
    pub(crate) fn lists(&self) -> Vec<ListStatus> {
        self.shelf.status()
    }

    /// How many answers of reverse DNS are remembered.
    pub(crate) fn answers(&self) -> usize {
        self.names.remembered()
    }

    /// The counters.
    pub(crate) fn counts(&self) -> IdentityCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &*self.counters;
        IdentityCounts {
            lookups: read(&counters.lookups),
            lookups_failed: read(&counters.lookups_failed),
            waits_expired: read(&counters.waits_expired),
            lookups_refused: read(&counters.lookups_refused),
        }
    }
}
