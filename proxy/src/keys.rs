//! Private keys to sign with, as files: Ed25519 in PKCS#8, PEM, as `openssl genpkey -algorithm ed25519` writes them too.
//!
//! What is wrong with a file is said with its place, and never with what stands in it.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policy::protocol::message_signature::{KeyError, SigningKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::pem::{PemError, PemFile};

/// Key files of one directory. A key that is being replaced stays for as long as its directory may be cached; more than a
/// few at once are a mistake.
pub(crate) const KEYS_MAX: usize = 8;

/// What stands before the seed of an Ed25519 key (RFC 8410 section 7, without the public key, which OpenSSL 1.1 cannot
/// read).
const PKCS8_BEFORE_SEED: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key and the file that it was read from.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
    pub(crate) key: SigningKey,
    /// When the file was last changed, which for what is never changed is when it was made.
    pub(crate) made: SystemTime,
    /// Whether anybody but the file's owner can read it.
    pub(crate) is_exposed: bool,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The file cannot be read, or there is no key to sign with in it.
    #[error(transparent)]
    File(#[from] PemError),
    /// The directory cannot be listed.
    #[error("{path}: {source}")]
    Directory {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// There is nothing to sign with.
    #[error("{path}: there is no file *.pem in it; `byline keys generate --dir {path}` makes a key")]
    Empty { path: String },
    /// More than [`KEYS_MAX`].
    #[error("{path}: more than {KEYS_MAX} keys")]
    TooMany { path: String },
    /// One key in two files.
    #[error("{path}: the same key as in {other}")]
    Twice { path: String, other: String },
    /// A new key cannot be written.
    #[error("{path}: cannot be written")]
    Unwritable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The system gives no random numbers.
    #[error("no random numbers for a key")]
    Random,
}

/// Reads the one key of a file.
pub(crate) fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let unreadable = |source| PemError::Unreadable { path: path.display().to_string(), source };
    let file = PemFile::read(path)?;
    let key = read_key(&file)?;
    let about = std::fs::metadata(path).map_err(unreadable)?;
    let made = about.modified().map_err(unreadable)?;
    Ok(KeyFile { path: path.to_owned(), key, made, is_exposed: about.permissions().mode() & 0o077 != 0 })
}

fn read_key(file: &PemFile) -> Result<SigningKey, PemError> {
    let mut sections = file.sections(|_| true);
    let first = sections.next().ok_or_else(|| {
        file.error(1, "there is no private key in this file: it is no PEM file, or has no -----BEGIN")
    })?;
    if let Some(second) = sections.next() {
        return Err(file.error(second.line, "one key for each file: this is a second one"));
    }
    let what = match first.label {
        "PRIVATE KEY" => None,
        "ENCRYPTED PRIVATE KEY" => Some("this key is encrypted, and there is nobody to ask for its password"),
        "PUBLIC KEY" | "CERTIFICATE" => Some("this is public; what signs is a PRIVATE KEY"),
        _ => Some("this is not `PRIVATE KEY` (PKCS#8), as `byline keys generate` writes it"),
    };
    if let Some(what) = what {
        return Err(file.error(first.line, what));
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(first.text.as_bytes());
    let der = der.map_err(|why| file.error(first.line, why))?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der()).map_err(|why: KeyError| file.error(first.line, why))
}

/// Reads all keys of a directory, its files `*.pem`, in the order of their names. At least one.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<KeyFile>, KeyFileError> {
    let keys = list(directory)?;
    if keys.is_empty() {
        return Err(KeyFileError::Empty { path: directory.display().to_string() });
    }
    Ok(keys)
}

/// [`read_all`], where there may be none.
pub(crate) fn list(directory: &Path) -> Result<Vec<KeyFile>, KeyFileError> {
    let path = || directory.display().to_string();
    let unlisted = |source| KeyFileError::Directory { path: path(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unlisted)? {
        let file = entry.map_err(unlisted)?.path();
        if file.extension().is_some_and(|extension| extension == "pem") {
            files.push(file);
        }
    }
    if files.len() > KEYS_MAX {
        return Err(KeyFileError::TooMany { path: path() });
    }
    files.sort();
    let mut keys: Vec<KeyFile> = Vec::new();
    for file in files {
        let found = read(&file)?;
        if let Some(other) = keys.iter().find(|known| known.key.public_key() == found.key.public_key()) {
            let other = other.path.display().to_string();
            return Err(KeyFileError::Twice { path: file.display().to_string(), other });
        }
        keys.push(found);
    }
    Ok(keys)
}

/// Makes a key and writes it to `<thumbprint>.pem` in this directory, which is made if it is missing. Nobody but the owner
/// can read it, it is there whole or not at all, and no file is ever overwritten.
pub(crate) fn generate(directory: &Path) -> Result<KeyFile, KeyFileError> {
    let mut seed = [0; 32];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut seed).map_err(|_| KeyFileError::Random)?;
    let key = SigningKey::from_seed(&seed).map_err(|_| KeyFileError::Random)?;
    let path = directory.join(format!("{}.pem", key.public_key().thumbprint()));
    let text = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode([PKCS8_BEFORE_SEED.as_slice(), &seed].concat())
    );
    write_new(directory, &path, text.as_bytes())
        .map_err(|source| KeyFileError::Unwritable { path: path.display().to_string(), source })?;
    read(&path)
}

/// Writes a file that nobody but its owner can read: whole or not at all, and never over one that is there.
pub(crate) fn write_new(directory: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037 appendix A as `openssl pkey` writes it, and its public part.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const OPENSSL_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[test]
    fn what_was_generated_reads_as_it_is_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let keys = dir.path().join("a/keys");
        let made = generate(&keys).expect("a key");
        let again = generate(&keys).expect("a second key");
        assert_ne!(made.key.public_key(), again.key.public_key());
        assert!(!made.is_exposed, "the file of a private key");
        let read = read_all(&keys).expect("two keys");
        let mut wanted = [made.key.public_key(), again.key.public_key()];
        wanted.sort_by_key(|key| key.thumbprint().to_owned());
        assert_eq!(read.iter().map(|file| file.key.public_key()).collect::<Vec<_>>(), wanted);
        assert_eq!(std::fs::read_dir(&keys).expect("a directory").count(), 2, "and nothing else lies there");
        std::fs::set_permissions(&made.path, std::fs::Permissions::from_mode(0o640)).expect("our own file");
        assert!(super::read(&made.path).expect("a key").is_exposed);
    }

    #[test]
    fn no_file_is_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("key.pem");
        write_new(dir.path(), &path, b"first").expect("a new file");
        let said = write_new(dir.path(), &path, b"second").expect_err("it is there");
        assert_eq!(said.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("the file"), b"first");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_mistake_in_a_key_file_has_a_place_and_says_no_secret() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("key.pem");
        let p256 = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let secret = OPENSSL.lines().nth(1).expect("the key");
        for (text, place, what) in [
            (String::new(), 1, "no private key"),
            (format!("{OPENSSL}\n{OPENSSL}"), 5, "second one"),
            (OPENSSL.replace("PRIVATE", "ENCRYPTED PRIVATE"), 1, "encrypted"),
            (format!("# ours\n{}", OPENSSL.replace("PRIVATE", "PUBLIC")), 2, "public"),
            (OPENSSL.replace("PRIVATE", "RSA PRIVATE"), 1, "PKCS#8"),
            (OPENSSL.replace(secret, &secret[..20]), 1, "Ed25519"),
            (OPENSSL.replace(secret, "%%"), 1, ""),
            (p256, 1, "Ed25519"),
        ] {
            std::fs::write(&path, &text).expect("a temporary file");
            let said = read(&path).expect_err("a mistake").to_string();
            assert!(said.contains(&format!("key.pem:{place}: ")) && said.contains(what), "{said}");
            assert!(!said.contains(&secret[..8]), "{said}");
        }
        std::fs::write(&path, OPENSSL).expect("a temporary file");
        let found = read(&path).expect("openssl's key");
        assert_eq!(found.key.public_key().to_jwk()["x"], OPENSSL_X);
        std::fs::copy(&path, dir.path().join("other.pem")).expect("a copy");
        let said = read_all(dir.path()).expect_err("one key twice").to_string();
        assert!(said.contains("other.pem: the same key as in") && said.contains("key.pem"), "{said}");
        let said = read_all(&dir.path().join("none")).expect_err("no directory").to_string();
        assert!(said.contains("none: "), "{said}");
    }
}
