//! Tokens that count no more before their time: `licences/revoked` in the state directory, written by `byline licence revoke`
//! and read by a running server ([`super::watch`]) before each token that it believes, so that a revocation holds from the next
//! fetch on and after any restart.
//!
//! A line for each: `token ID until SECONDS at SECONDS`, `operator NAME until SECONDS at SECONDS` (all its tokens that were
//! given until then). What has expired by itself is left out when the file is written. It is replaced whole, durably, by one
//! writer at a time; whoever reads it sees all of one version. A file that cannot be read is no empty one: then no token can
//! be checked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use policy::TOKEN_SECS_MAX;
use policy::protocol::cap::{Claims, TokenId};

/// Revocations that are kept at once.
pub(crate) const REVOCATIONS_MAX: usize = 10_000;
/// Bytes of the file: its most lines, each with the longest name.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What is revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Revoked {
    /// One token.
    Token(TokenId),
    /// All tokens that an operator had when this was said.
    Operator(String),
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Revocation {
    pub(crate) what: Revoked,
    /// Until when it matters, seconds since 1970: what it is about has expired by then.
    pub(crate) until: u64,
    /// When it was said.
    pub(crate) at: u64,
}

/// Why revocations cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevocationError {
    #[error("{path}: {source}")]
    Disk {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path}:{line}: this is no revocation")]
    Line { path: String, line: usize },
    #[error(
        "there are {REVOCATIONS_MAX} revocations already; revoke all tokens of an operator, or take another key"
    )]
    TooMany,
}

/// What is revoked now, to be asked.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Set {
    tokens: HashSet<TokenId>,
    operators: HashMap<String, u64>,
}

impl Set {
    fn of(revocations: impl IntoIterator<Item = Revocation>) -> Set {
        let mut set = Set::default();
        for Revocation { what, at, .. } in revocations {
            match what {
                Revoked::Token(id) => drop(set.tokens.insert(id)),
                Revoked::Operator(name) => {
                    let last = set.operators.entry(name).or_default();
                    *last = at.max(*last);
                }
            }
        }
        set
    }

    /// Whether a token is revoked.
    pub(crate) fn contains(&self, claims: &Claims) -> bool {
        self.has_id(&claims.id)
            || self.operators.get(&claims.operator).is_some_and(|at| claims.not_before <= *at)
    }

    /// Whether the token of this name is.
    pub(crate) fn has_id(&self, id: &TokenId) -> bool {
        self.tokens.contains(id)
    }
}

/// The file.
pub(crate) struct Revocations {
    path: PathBuf,
}

/// The file, and what was read of it last.
pub(super) struct Reader {
    revocations: Revocations,
    read: (Option<Version>, Arc<Set>),
}

/// By which one version of the file is told from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(path: &Path) -> io::Result<Option<Version>> {
        match std::fs::metadata(path) {
            Ok(about) => Ok(Some(Version {
                device: about.dev(),
                inode: about.ino(),
                bytes: about.size(),
                modified: (about.mtime(), about.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Revocations {
    /// Those of a state directory.
    pub(crate) fn of(state: &Path) -> Revocations {
        Revocations { path: state.join("licences/revoked") }
    }

    /// All lines of the file, in their order.
    pub(crate) fn list(&self) -> Result<Vec<Revocation>, RevocationError> {
        let text = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(about) if about.len() > FILE_BYTES_MAX => Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) => std::fs::read_to_string(&self.path),
            Err(error) => Err(error),
        };
        let text = text.map_err(|source| self.disk(source))?;
        let bad = |line: usize| RevocationError::Line { path: self.path.display().to_string(), line };
        let lines = text.lines().enumerate();
        lines.map(|(index, line)| Revocation::parse(line).ok_or_else(|| bad(index + 1))).collect()
    }

    /// Adds one, durably, and leaves out what has expired. True if it was not there yet.
    pub(crate) fn add(&self, what: Revoked, until: Option<u64>, now: u64) -> Result<bool, RevocationError> {
        let disk = |source| self.disk(source);
        let directory = self.path.parent().expect("a file in the state directory");
        std::fs::create_dir_all(directory).map_err(disk)?;
        let one_at_a_time = File::create(directory.join("revoked.lock")).map_err(disk)?;
        one_at_a_time.lock().map_err(disk)?;
        let mut all = self.list()?;
        all.retain(|revocation| revocation.until > now);
        // No token is good for longer than this, so that nothing said of one has to be kept for longer.
        let latest = now.saturating_add(TOKEN_SECS_MAX);
        let revocation = Revocation { what, until: until.map_or(latest, |until| until.min(latest)), at: now };
        let is_new = match &revocation.what {
            Revoked::Token(_) => !all.iter().any(|known| known.what == revocation.what),
            // Said again it is about later tokens, too.
            Revoked::Operator(_) => {
                all.retain(|known| known.what != revocation.what);
                true
            }
        };
        if is_new {
            if all.len() >= REVOCATIONS_MAX {
                return Err(RevocationError::TooMany);
            }
            all.push(revocation);
        }
        self.write(directory, &all).map_err(disk)?;
        Ok(is_new)
    }

    fn write(&self, directory: &Path, all: &[Revocation]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        let text: String = all.iter().map(Revocation::line).collect();
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(directory)?.sync_all()
    }

    fn disk(&self, source: io::Error) -> RevocationError {
        RevocationError::Disk { path: self.path.display().to_string(), source }
    }
}

impl Reader {
    /// Of a state directory.
    pub(super) fn of(state: &Path) -> Reader {
        Reader { revocations: Revocations::of(state), read: Default::default() }
    }

    /// What is revoked at this moment. Costs a look at the file's dates; it is read only if they have changed.
    ///
    /// # Errors
    /// Nobody knows.
    pub(super) fn current(&mut self) -> Result<Arc<Set>, RevocationError> {
        let path = &self.revocations.path;
        let version = Version::of(path).map_err(|source| self.revocations.disk(source))?;
        if version != self.read.0 {
            // The dates are older than what is read after them: another change in between is found the next time.
            let set = Arc::new(Set::of(self.revocations.list()?));
            self.read = (version, set);
        }
        Ok(Arc::clone(&self.read.1))
    }
}

impl Revocation {
    fn parse(line: &str) -> Option<Revocation> {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, name, "until", until, "at", at] = words[..] else { return None };
        let what = match kind {
            "token" => Revoked::Token(TokenId::parse(name)?),
            "operator" if !name.is_empty() => Revoked::Operator(name.to_owned()),
            _ => return None,
        };
        Some(Revocation { what, until: until.parse().ok()?, at: at.parse().ok()? })
    }

    fn line(&self) -> String {
        let (kind, name) = match &self.what {
            Revoked::Token(id) => ("token", id.to_string()),
            Revoked::Operator(name) => ("operator", name.clone()),
        };
        format!("{kind} {name} until {} at {}\n", self.until, self.at)
    }
}

#[cfg(test)]
mod tests {
    use policy::protocol::cap::UsageSet;
    use policy::protocol::rsl::UsageClass;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn claims(id: u8, operator: &str, not_before: u64) -> Claims {
        Claims {
            id: TokenId([id; 16]),
            operator: operator.to_owned(),
            works: "https://a.example/*".to_owned(),
            license: [0; 32],
            usages: UsageSet::of([UsageClass::AiTrain]),
            not_before,
            expires: None,
        }
    }

    #[test]
    fn what_one_process_revokes_another_knows_at_once_and_after_a_restart() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let mut server = Reader::of(state.path());
        let mut has = |id| server.current().expect("readable").contains(&claims(id, "labs", NOW));
        assert!(!has(1), "no file is no revocation");
        let command = Revocations::of(state.path());
        for id in 1..20 {
            assert!(!has(id));
            assert!(command.add(Revoked::Token(TokenId([id; 16])), Some(NOW + 9), NOW).expect("written"));
            assert!(has(id), "{id}");
        }
        assert!(!command.add(Revoked::Token(TokenId([1; 16])), None, NOW).expect("written"), "known");
        assert!(Reader::of(state.path()).current().expect("readable").has_id(&TokenId([19; 16])));
    }

    #[test]
    fn an_operators_tokens_are_those_that_it_has_now() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let (revocations, mut reader) = (Revocations::of(state.path()), Reader::of(state.path()));
        let labs = || Revoked::Operator("labs".to_owned());
        revocations.add(labs(), None, NOW).expect("written");
        let mut has =
            |operator, from| reader.current().expect("readable").contains(&claims(1, operator, from));
        assert!(has("labs", NOW) && has("labs", NOW - 1));
        assert!(!has("labs", NOW + 1) && !has("others", NOW));
        revocations.add(labs(), None, NOW + 10).expect("written");
        assert!(has("labs", NOW + 1));
        assert_eq!(revocations.list().expect("readable").len(), 1);
    }

    #[test]
    fn what_has_expired_makes_room_and_no_more_are_kept_than_there_may_be() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let revocations = Revocations::of(state.path());
        let id = |index: usize| TokenId((index as u128).to_be_bytes());
        let all: Vec<Revocation> = (0..REVOCATIONS_MAX)
            .map(|index| Revocation { what: Revoked::Token(id(index)), until: NOW + 5, at: NOW })
            .collect();
        let directory = state.path().join("licences");
        std::fs::create_dir_all(&directory).expect("a directory");
        revocations.write(&directory, &all).expect("written");
        let one_more = || Revoked::Token(id(REVOCATIONS_MAX));
        assert!(matches!(revocations.add(one_more(), None, NOW), Err(RevocationError::TooMany)));
        assert_eq!(revocations.list().expect("readable"), all, "nothing is lost by that");
        assert!(revocations.add(one_more(), None, NOW + 5).expect("written"));
        let [left] = &revocations.list().expect("readable")[..] else { panic!("one is left") };
        assert_eq!(*left, Revocation { what: one_more(), until: NOW + 5 + TOKEN_SECS_MAX, at: NOW + 5 });
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_empty_one() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let (revocations, mut reader) = (Revocations::of(state.path()), Reader::of(state.path()));
        revocations.add(Revoked::Token(TokenId([1; 16])), None, NOW).expect("written");
        let path = state.path().join("licences/revoked");
        let good = std::fs::read_to_string(&path).expect("our file");
        for bad in
            ["token x until 1 at 1\n", "token", "\n", "other a until 1 at 1", "operator a until 1 at x"]
        {
            std::fs::write(&path, format!("{good}{bad}")).expect("our file");
            let said = reader.current().expect_err("nobody knows").to_string();
            assert!(said.ends_with("revoked:2: this is no revocation"), "{said}");
        }
        std::fs::write(&path, good).expect("our file");
        assert!(reader.current().is_ok());
    }

    /// Several commands at the same time lose nothing of each other.
    #[test]
    fn writers_wait_for_one_another() {
        let state = tempfile::tempdir().expect("a temporary directory");
        std::thread::scope(|scope| {
            for thread in 0..4_u128 {
                let state = state.path();
                scope.spawn(move || {
                    for index in 0..10 {
                        let id = TokenId((thread << 8 | index).to_be_bytes());
                        Revocations::of(state).add(Revoked::Token(id), None, NOW).expect("written");
                    }
                });
            }
        });
        assert_eq!(Revocations::of(state.path()).list().expect("readable").len(), 40);
    }
}
