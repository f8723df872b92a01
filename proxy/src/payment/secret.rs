//! The secret that challenges of the `Payment` scheme are bound with: made at the first start, kept in the state directory.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use policy::protocol::mpp::challenge::{Challenger, SECRET_BYTES_MIN};

use crate::keys;

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

fn make(state: &Path, path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut secret = vec![0; BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut secret)
        .ok()
        .context("the system has no random bytes")?;
    match keys::write_new(state, path, &secret) {
        // Somebody else was first: that one counts.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| path.display().to_string());
        }
        _ => {}
    }
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
