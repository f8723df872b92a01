//! The secret that challenges of the `Payment` scheme are bound with: made at the first start, kept in the state directory.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use policy::protocol::mpp::challenge::{Challenger, SECRET_BYTES_MIN};

/// In the state directory; nobody else can read it.
const FILE: &str = "payment-secret";
const BYTES: usize = 32;

/// Reads the secret, or makes it.
///
/// A file that is there is never replaced: challenges that were issued with it are still out.
pub(crate) fn challenger(state: &Path) -> anyhow::Result<Challenger> {
    let path = state.join(FILE);
    let secret = match std::fs::read(&path) {
        Ok(secret) => secret,
        Err(error) if error.kind() == ErrorKind::NotFound => make(state, &path)?,
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    Challenger::new(&[&secret])
        .with_context(|| format!("{}: a secret has {SECRET_BYTES_MIN} bytes at least", path.display()))
}

/// Whole or not at all: written beside its place, synced, and moved there unless somebody else was first.
fn make(state: &Path, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::create_dir_all(state).with_context(|| state.display().to_string())?;
    let mut secret = vec![0; BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut secret)
        .ok()
        .context("the system has no random bytes")?;
    let beside = state.join(format!("{FILE}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&beside, path);
        std::fs::remove_file(&beside)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => File::open(state)?.sync_all(),
        }
    };
    write().with_context(|| path.display().to_string())?;
    std::fs::read(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        challenger(&state).expect("a secret");
        let first = std::fs::read(state.join(FILE)).expect("it is there");
        assert_eq!(first.len(), BYTES);
        let mode = std::fs::metadata(state.join(FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        challenger(&state).expect("the same secret");
        assert_eq!(std::fs::read(state.join(FILE)).expect("it is there"), first);
        assert_eq!(std::fs::read_dir(&state).expect("a directory").count(), 1, "nothing is left beside it");
        std::fs::write(state.join(FILE), "short").expect("writable");
        assert!(challenger(&state).is_err(), "a secret that was cut is not used, and not replaced");
    }
}
