//! The shelf of published lists: from the operators over https, or from a directory; kept on disk with their age.
//!
//! A list is believed until it is 30 days old (unless configured otherwise). A refresh that fails, is empty or is no
//! list leaves the last good copy in place; when that gets too old it is put aside, so that crawlers fall back to being
//! claimed. Nothing is ever verified, nor contradicted, by a list that is not there.
//!
//! On disk a list is the operator's text as it came, in a file named after its address (see [`file_name`]), with a
//! small file `….fetched` beside it: `{"url": "…", "fetched_at": SECONDS}`. Without the latter, the file's own time of
//! change counts. The text is put in place first: a crash between the two makes a list look older, never younger.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::{LIST_BYTES_MAX, RangeList};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tracing::{debug, info, warn};

use super::IdentityOptions;
use super::document::{self, Document, DocumentError, Reach, Terms, tls};
use crate::error::chain;
use crate::shared::lock;

/// How often a list is fetched, give or take a tenth.
const REFRESH: Duration = Duration::from_secs(24 * 3600);
/// The first wait after a failed fetch; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// How often ages and the directory are looked at.
const TICK: Duration = Duration::from_secs(60);
/// The time of a whole fetch, with its redirects.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// Fetches under way at a time.
const FETCHES_MAX: usize = 4;
/// Lists that are followed. A policy that names more gets the first ones, sorted by address, and a warning.
const LISTS_MAX: usize = 256;

/// Where a list came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListOrigin {
    /// The directory that somebody else keeps.
    Directory,
    /// The operator, over https, in this process or an earlier one.
    Operator,
}

impl ListOrigin {
    /// The word used on pages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ListOrigin::Directory => "directory",
            ListOrigin::Operator => "operator",
        }
    }
}

/// What a list is good for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListState {
    /// It is believed.
    Current,
    /// It is too old to be believed.
    TooOld,
    /// There is none.
    Missing,
}

impl ListState {
    /// The word used in metrics and on pages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ListState::Current => "current",
            ListState::TooOld => "too-old",
            ListState::Missing => "missing",
        }
    }
}

/// How a list is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListStatus {
    /// Its address, which is its name.
    pub(crate) url: String,
    /// What it is good for.
    pub(crate) state: ListState,
    /// Where it came from, if it is there.
    pub(crate) origin: Option<ListOrigin>,
    /// How long ago it was fetched.
    pub(crate) age: Option<Duration>,
    /// When its operator says that it was made, as written there.
    pub(crate) created: Option<String>,
    /// How many entries it has.
    pub(crate) entries: usize,
    /// Why the last refresh failed, if it did.
    pub(crate) failure: Option<String>,
}

/// A list at hand.
struct Copy {
    list: Arc<RangeList>,
    fetched_at: SystemTime,
    origin: ListOrigin,
}

/// A list that is followed, at hand or not.
#[derive(Default)]
struct Entry {
    copy: Option<Copy>,
    failure: Option<String>,
    failures: u32,
    next_fetch: Option<SystemTime>,
    /// The directory's file as it was read last, so that an unchanged one is not read again.
    file_seen: Option<SystemTime>,
}

/// The lists that are believed, as requests see them.
#[derive(Default)]
pub(super) struct Believed(HashMap<String, Arc<RangeList>>);

impl Believed {
    pub(super) fn get(&self, url: &str) -> Option<&RangeList> {
        self.0.get(url).map(Arc::as_ref)
    }
}

/// All lists that are followed.
pub(super) struct Shelf {
    believed: RwLock<Arc<Believed>>,
    entries: Mutex<BTreeMap<String, Entry>>,
    kept: Option<PathBuf>,
    directory: Option<PathBuf>,
    fetch: bool,
    age_max: Duration,
    roots: Option<Arc<rustls::RootCertStore>>,
}

impl Shelf {
    pub(super) fn new(options: &IdentityOptions) -> Shelf {
        Shelf {
            believed: RwLock::default(),
            entries: Mutex::default(),
            kept: options.state_dir.as_ref().map(|state| state.join("lists")),
            directory: options.lists_dir.clone(),
            fetch: options.fetch,
            age_max: options.list_age_max,
            roots: options.roots.clone(),
        }
    }

    /// The lists that are believed at the moment.
    pub(super) fn lists(&self) -> Arc<Believed> {
        Arc::clone(&self.believed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows these addresses and no others. What is at hand for them stays.
    pub(super) fn follow(&self, mut urls: Vec<String>) {
        if urls.len() > LISTS_MAX {
            warn!(lists = urls.len(), max = LISTS_MAX, "more lists of ranges than can be followed");
            urls.truncate(LISTS_MAX);
        }
        let mut entries = self.entries();
        entries.retain(|url, _| urls.contains(url));
        for url in urls {
            entries.entry(url).or_default();
        }
    }

    /// Reads what is on disk: the directory's files that changed, and kept lists that are not at hand.
    pub(super) fn read_disk(&self) {
        let now = SystemTime::now();
        for (url, entry) in self.entries().iter_mut() {
            if let Some(directory) = &self.directory {
                Shelf::read_directory(&directory.join(file_name(url)), url, entry);
            }
            if let (None, Some(kept)) = (&entry.copy, &self.kept)
                && let Ok((text, fetched_at)) = read(&kept.join(file_name(url)))
                && let Ok(list) = RangeList::parse(&text)
            {
                entry.copy = Some(Copy { list: Arc::new(list), fetched_at, origin: ListOrigin::Operator });
                entry.next_fetch = Some(fetched_at + REFRESH);
            }
        }
        self.publish(now);
    }

    fn read_directory(path: &Path, url: &str, entry: &mut Entry) {
        let changed = fs::metadata(path).and_then(|file| file.modified());
        match changed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Taken away: the last good copy stays until its age limit, and fetching may replace it.
                entry.file_seen = None;
            }
            Err(error) => Shelf::fail_file(path, entry, &ListError::File(error)),
            Ok(changed) if entry.file_seen == Some(changed) => {}
            Ok(changed) => {
                entry.file_seen = Some(changed);
                let list = read(path).map_err(ListError::File).and_then(|(text, fetched_at)| {
                    let list = RangeList::parse(&text).map_err(ListError::Content)?;
                    Ok((list, fetched_at))
                });
                match list {
                    Ok((list, fetched_at)) => {
                        debug!(url, entries = list.entries(), "list of ranges read");
                        let origin = ListOrigin::Directory;
                        *entry = Entry {
                            copy: Some(Copy { list: Arc::new(list), fetched_at, origin }),
                            file_seen: Some(changed),
                            ..Entry::default()
                        };
                    }
                    Err(error) => Shelf::fail_file(path, entry, &error),
                }
            }
        }
    }

    fn fail_file(path: &Path, entry: &mut Entry, error: &ListError) {
        let before = entry.failure.take();
        let reason = Shelf::fail(entry, error);
        if before.as_ref() != Some(&reason) {
            warn!(path = %path.display(), reason, last_copy = entry.copy.is_some(), "list of ranges not read");
        }
    }

    /// The addresses whose time to be fetched has come.
    fn due(&self, now: SystemTime) -> Vec<String> {
        if !self.fetch {
            return Vec::new();
        }
        let entries = self.entries();
        let due = entries.iter().filter(|(_, entry)| {
            let in_directory = entry.file_seen.is_some();
            !in_directory && entry.next_fetch.is_none_or(|next| next <= now)
        });
        due.map(|(url, _)| url.clone()).collect()
    }

    /// Puts a fetched text on the shelf and on disk, or notes the failure, whose reason it gives back.
    fn take(&self, url: &str, fetched: Result<String, ListError>) -> Result<(), String> {
        let now = SystemTime::now();
        let parsed = fetched.and_then(|text| {
            let list = RangeList::parse(&text).map_err(ListError::Content)?;
            Ok((text, list))
        });
        let mut entries = self.entries();
        // A policy may have dropped it meanwhile.
        let Some(entry) = entries.get_mut(url) else { return Ok(()) };
        match parsed {
            Ok((text, list)) => {
                debug!(url, entries = list.entries(), "list of ranges fetched");
                let copy = Copy { list: Arc::new(list), fetched_at: now, origin: ListOrigin::Operator };
                *entry = Entry {
                    copy: Some(copy),
                    next_fetch: Some(now + about(REFRESH, url)),
                    file_seen: entry.file_seen,
                    ..Entry::default()
                };
                if let Some(kept) = &self.kept
                    && let Err(error) = write(kept, url, &text, now)
                {
                    warn!(url, %error, "list of ranges not kept on disk");
                }
                Ok(())
            }
            Err(error) => {
                let reason = Shelf::fail(entry, &error);
                let wait =
                    RETRY_MIN.saturating_mul(1 << entry.failures.min(10).saturating_sub(1)).min(RETRY_MAX);
                entry.next_fetch = Some(now + about(wait, url));
                Err(reason)
            }
        }
    }

    fn fail(entry: &mut Entry, error: &ListError) -> String {
        let reason = chain(error);
        entry.failures = entry.failures.saturating_add(1);
        entry.failure = Some(reason.clone());
        reason
    }

    /// Shows requests the lists that are young enough.
    fn publish(&self, now: SystemTime) {
        let entries = self.entries();
        let copies = entries.iter().filter_map(|(url, entry)| Some((url, entry.copy.as_ref()?)));
        let young = copies.filter(|(_, copy)| age(copy, now) <= self.age_max);
        let lists: HashMap<_, _> = young.map(|(url, copy)| (url.clone(), Arc::clone(&copy.list))).collect();
        let followed: Vec<String> = entries.keys().cloned().collect();
        drop(entries);
        let mut believed = self.believed.write().unwrap_or_else(PoisonError::into_inner);
        for url in believed.0.keys().filter(|url| followed.contains(*url) && !lists.contains_key(*url)) {
            warn!(url, age_max = ?self.age_max, "list of ranges is too old to be believed");
        }
        *believed = Arc::new(Believed(lists));
    }

    pub(super) fn status(&self) -> Vec<ListStatus> {
        let now = SystemTime::now();
        let entries = self.entries();
        let status = entries.iter().map(|(url, entry)| {
            let copy = entry.copy.as_ref();
            let state = match copy {
                Some(copy) if age(copy, now) <= self.age_max => ListState::Current,
                Some(_) => ListState::TooOld,
                None => ListState::Missing,
            };
            ListStatus {
                url: url.clone(),
                state,
                origin: copy.map(|copy| copy.origin),
                age: copy.map(|copy| age(copy, now)),
                created: copy.and_then(|copy| copy.list.created().map(str::to_owned)),
                entries: copy.map_or(0, |copy| copy.list.entries()),
                failure: entry.failure.clone(),
            }
        });
        status.collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        lock(&self.entries)
    }
}

/// Keeps the shelf until the other end of `follow` is dropped. A fetch under way may be dropped at any time. Runs on the thread `identity`.
pub(super) async fn keep(shelf: Arc<Shelf>, mut follow: mpsc::UnboundedReceiver<Vec<String>>) {
    let mut connector: Option<TlsConnector> = None;
    loop {
        let due = shelf.due(SystemTime::now());
        if !due.is_empty() {
            info!(lists = due.len(), "fetching lists of ranges");
            let made = match connector.clone() {
                Some(connector) => Ok(connector),
                None => tls(shelf.roots.as_ref()),
            };
            match made {
                Ok(made) => {
                    refresh(&shelf, due, &made).await;
                    connector = Some(made);
                }
                Err(_) => {
                    warn!("this system has no root certificates; no list of ranges can be fetched");
                    for url in due {
                        let _ = shelf.take(&url, Err(DocumentError::NoRoots.into()));
                    }
                }
            }
            shelf.publish(SystemTime::now());
        }
        match tokio::time::timeout(TICK, follow.recv()).await {
            Ok(Some(urls)) => shelf.follow(urls),
            Ok(None) => return,
            Err(_) => {}
        }
        shelf.read_disk();
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum ListError {
    /// A file could not be read.
    #[error("cannot read the file")]
    File(#[source] io::Error),
    /// What came is no list.
    #[error("{0}")]
    Content(String),
    /// Nothing came.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Fetches a list as text, which may still be no list.
async fn fetch(url: &str, tls: &TlsConnector) -> Result<String, ListError> {
    let terms = Terms {
        time: FETCH_TIME_MAX,
        bytes: LIST_BYTES_MAX,
        redirects: REDIRECTS_MAX,
        accept: "application/json, text/plain;q=0.9, */*;q=0.1",
        reach: Reach::Anywhere,
    };
    let Document { body, .. } = document::fetch(url, tls, &terms).await?;
    String::from_utf8(body.into()).map_err(|_| ListError::Content("not UTF-8".to_owned()))
}

/// Fetches these lists, a few at a time.
async fn refresh(shelf: &Arc<Shelf>, urls: Vec<String>, tls: &TlsConnector) {
    let places = Arc::new(Semaphore::new(FETCHES_MAX));
    let mut fetches = JoinSet::new();
    for url in urls {
        let (places, tls) = (Arc::clone(&places), tls.clone());
        fetches.spawn(async move {
            let _place = places.acquire().await;
            let fetched = fetch(&url, &tls).await;
            (url, fetched)
        });
    }
    // One line for all of them: without a way out to the network, every one fails.
    let mut failed: Option<(String, String)> = None;
    let (mut lists, mut failures) = (0, 0);
    while let Some(done) = fetches.join_next().await {
        if let Ok((url, fetched)) = done {
            lists += 1;
            if let Err(reason) = shelf.take(&url, fetched) {
                failures += 1;
                failed.get_or_insert((url, reason));
            }
            shelf.publish(SystemTime::now());
        }
    }
    if let Some((url, reason)) = failed {
        warn!(lists, failures, url, reason, "lists of ranges not refreshed; the last good copies stay");
    }
}

/// The file that a list is in: its address without `https://`, with `_` for everything but letters, digits, `.`
/// and `-`: `openai.com_gptbot.json`.
pub(crate) fn file_name(url: &str) -> String {
    let bare = url.strip_prefix("https://").unwrap_or(url).trim_start_matches('.');
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    bare.chars().take(200).map(plain).collect()
}

/// What stands beside a list.
#[derive(Serialize, Deserialize)]
struct Fetched {
    url: String,
    fetched_at: u64,
}

fn fetched_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".fetched");
    PathBuf::from(name)
}

/// A list's text and when it was fetched.
fn read(path: &Path) -> io::Result<(String, SystemTime)> {
    let file = fs::File::open(path)?;
    let changed = file.metadata()?.modified()?;
    let mut text = String::new();
    // One byte more than allowed, so that the parser sees that it is too long.
    file.take(LIST_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    let beside = fs::read_to_string(fetched_path(path)).ok();
    let fetched: Option<Fetched> = beside.and_then(|text| serde_json::from_str(&text).ok());
    Ok((
        text,
        fetched.map_or(changed, |fetched| UNIX_EPOCH + Duration::from_secs(fetched.fetched_at.min(1 << 40))),
    ))
}

fn write(kept: &Path, url: &str, text: &str, now: SystemTime) -> io::Result<()> {
    fs::create_dir_all(kept)?;
    let path = kept.join(file_name(url));
    let fetched_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let beside = serde_json::to_string(&Fetched { url: url.to_owned(), fetched_at })?;
    for (path, text) in [(path.clone(), text), (fetched_path(&path), &*beside)] {
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        fs::write(&draft, text)?;
        fs::rename(&draft, &path)?;
    }
    Ok(())
}

/// How old a copy is. One from the future, after a clock was set back, is new.
fn age(copy: &Copy, now: SystemTime) -> Duration {
    now.duration_since(copy.fetched_at).unwrap_or_default()
}

/// A tenth more or less, by address: not all proxies of the world fetch at once.
fn about(wait: Duration, url: &str) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    wait * (900 + (RandomState::new().hash_one(url) % 201) as u32) / 1000
}

#[cfg(test)]
mod tests;
