//! Key directories: the keys that an agent publishes (draft-ietf-webbotauth-httpsig-protocol section 4, RFC 7517 section 5).

use serde::Deserialize;
use serde_json::Value;

use super::agent::{KeySource, SourceKind};
use super::{DIRECTORY_MEDIA_TYPE, DIRECTORY_TAG, Settings};
use crate::protocol::message_signature::{
    ContentDigestError, Jwk, KeyError, Message, PublicKey, Request, Response, SignaturesError,
    check_content_digest, read_signatures,
};

/// Bytes of a key directory, key set or client document.
pub const DIRECTORY_BYTES_MAX: usize = 64 * 1024;
/// Keys of a directory that are read; those after them are not.
pub const DIRECTORY_KEYS_MAX: usize = 64;

/// What was fetched from a [`KeySource`].
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Status of the response itself: redirects are not followed.
    pub status: u16,
    /// `Content-Type`, if there was one.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// The keys of one agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyDirectory {
    source: KeySource,
    keys: Vec<DirectoryKey>,
    refused: Vec<RefusedKey>,
}

/// A key and when it is good. Times are Unix seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryKey {
    /// The key.
    pub key: PublicKey,
    /// Not before.
    pub not_before: Option<i64>,
    /// Not at this moment or after it.
    pub not_after: Option<i64>,
}

/// A key that a directory has and that is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedKey {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Why.
    pub why: RefusedKeyReason,
}

/// Why a key of a directory is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefusedKeyReason {
    /// It cannot be, for itself.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// `kid` is not its thumbprint, which it must be at the well-known path.
    #[error("its kid is not its thumbprint {thumbprint}")]
    Kid {
        /// What `kid` should be.
        thumbprint: String,
    },
    /// Its private part stands there: whoever reads the directory can sign with it.
    #[error("its private part is published with it")]
    PrivatePart,
    /// The same key stands there already.
    #[error("it stands there twice")]
    Twice,
    /// `nbf` or `exp` is not a time.
    #[error("its {0} is not a time")]
    Time(&'static str),
}

/// Why there are no keys in what was fetched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another status than 200; redirects are not followed.
    #[error("the status is {0}, not 200")]
    Status(u16),
    /// The well-known path must have the media type of key directories.
    #[error("the media type is {0:?}, not {DIRECTORY_MEDIA_TYPE}")]
    MediaType(Option<String>),
    /// More bytes than [`DIRECTORY_BYTES_MAX`].
    #[error("more than {DIRECTORY_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or not an object with an array `keys`.
    #[error("not a JSON Web Key Set: {0}")]
    NotAKeySet(String),
    /// There are keys in it, but none that can be used, or none at all.
    #[error("no key in it can be used")]
    NoKeys(Vec<RefusedKey>),
    /// The source is a client document, which names its keys: read it as one.
    #[error("a client document is not a key set")]
    ClientDocument,
}

/// Why a key of a [`KeyDirectory`] is not to be used now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyAbsent {
    /// The directory has no such key.
    #[error("the directory has no such key")]
    Unknown,
    /// Its `nbf` is yet to come.
    #[error("the key is not valid yet")]
    NotYet,
    /// Its `exp` is over.
    #[error("the key is no longer valid")]
    Expired,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl KeyDirectory {
    /// Reads what was fetched from a directory or key set.
    ///
    /// A key that cannot be used does not spoil the others; see [`KeyDirectory::refused`].
    pub fn read(
        source: &KeySource,
        fetched: Fetched<'_>,
        settings: &Settings,
    ) -> Result<KeyDirectory, DirectoryError> {
        check_response(fetched)?;
        match source.kind {
            SourceKind::ClientDocument => return Err(DirectoryError::ClientDocument),
            SourceKind::Directory => check_media_type(fetched.content_type, settings)?,
            // No media type is prescribed elsewhere; what is no key set shows by itself.
            SourceKind::KeySet => {}
        }
        let read: Value = serde_json::from_slice(fetched.body)
            .map_err(|error| DirectoryError::NotAKeySet(error.to_string()))?;
        KeyDirectory::from_value(source, read, settings)
    }

    pub(super) fn from_value(
        source: &KeySource,
        read: Value,
        settings: &Settings,
    ) -> Result<KeyDirectory, DirectoryError> {
        // Some publish one bare key where a set of keys belongs.
        let is_bare_key = settings.bare_keys && read.get("kty").is_some() && read.get("keys").is_none();
        let set = if !read.is_object() {
            return Err(DirectoryError::NotAKeySet("not an object".to_owned()));
        } else if is_bare_key {
            KeySet { keys: vec![read] }
        } else {
            serde_json::from_value(read).map_err(|error| DirectoryError::NotAKeySet(error.to_string()))?
        };
        let mut directory = KeyDirectory { source: source.clone(), keys: Vec::new(), refused: Vec::new() };
        for (index, value) in set.keys.into_iter().take(DIRECTORY_KEYS_MAX).enumerate() {
            match directory.read_key(value) {
                Ok(key) => directory.keys.push(key),
                Err(why) => directory.refused.push(RefusedKey { index, why }),
            }
        }
        if directory.keys.is_empty() { Err(DirectoryError::NoKeys(directory.refused)) } else { Ok(directory) }
    }

    fn read_key(&self, value: Value) -> Result<DirectoryKey, RefusedKeyReason> {
        let jwk = Jwk::from_value(value)?;
        if jwk.d.is_some() {
            return Err(RefusedKeyReason::PrivatePart);
        }
        let key = PublicKey::from_jwk(&jwk)?;
        let is_misnamed = jwk.kid.as_deref().is_some_and(|kid| kid != key.thumbprint());
        if self.source.kind == SourceKind::Directory && is_misnamed {
            return Err(RefusedKeyReason::Kid { thumbprint: key.thumbprint().to_owned() });
        }
        if self.keys.iter().any(|known| known.key == key) {
            return Err(RefusedKeyReason::Twice);
        }
        Ok(DirectoryKey {
            key,
            not_before: seconds(jwk.nbf.as_ref()).map_err(|()| RefusedKeyReason::Time("nbf"))?,
            not_after: seconds(jwk.exp.as_ref()).map_err(|()| RefusedKeyReason::Time("exp"))?,
        })
    }

    /// Where it is from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    /// Its keys, as they stand there.
    pub fn keys(&self) -> &[DirectoryKey] {
        &self.keys
    }

    /// What is in it and not used.
    pub fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }

    /// The key with that thumbprint, if it is good now. The name that a directory gives it does not matter.
    pub fn key(&self, thumbprint: &str, now: i64) -> Result<&PublicKey, KeyAbsent> {
        let found = self.keys.iter().find(|known| known.key.thumbprint() == thumbprint);
        match found {
            None => Err(KeyAbsent::Unknown),
            Some(known) if known.not_before.is_some_and(|from| now < from) => Err(KeyAbsent::NotYet),
            Some(known) if known.not_after.is_some_and(|until| now >= until) => Err(KeyAbsent::Expired),
            Some(known) => Ok(&known.key),
        }
    }

    /// The thumbprints of those of its keys that have signed it: whoever serves them has their private parts, and has not
    /// copied somebody else's directory (draft-ietf-webbotauth-httpsig-protocol section 4.3).
    ///
    /// A signature counts if it has the directory's tag, covers `"@authority";req` and, unless the settings allow the older
    /// form, `content-digest`, is in its time, and holds. `authority` is the host that was asked.
    pub fn signed_by(
        &self,
        authority: &str,
        response: &Response<'_>,
        body: &[u8],
        now: i64,
        settings: &Settings,
    ) -> Result<Vec<String>, DirectorySignatureError> {
        let request = Request {
            method: "GET",
            scheme: "https",
            authority,
            target: self.source.url.path(),
            fields: &[],
            trailers: &[],
        };
        let response = Response { request: Some(&request), ..*response };
        let mut signers = Vec::new();
        let mut found_one = false;
        for candidate in read_signatures(response.fields)? {
            if candidate.tag.as_deref() != Some(DIRECTORY_TAG) {
                continue;
            }
            found_one = true;
            let Ok(signature) = candidate.signature else { continue };
            let names_host = signature.components.iter().any(|component| {
                component.is_of_request() && matches!(component.name(), "@authority" | "@target-uri")
            });
            let covers_body = signature.covers("content-digest");
            if covers_body {
                check_content_digest(response.fields, body)?;
            }
            if !names_host || !(covers_body || settings.directory_without_digest) {
                continue;
            }
            let (Some(created), Some(expires), Some(keyid)) = (
                signature.parameters.created,
                signature.parameters.expires,
                signature.parameters.keyid.as_deref(),
            ) else {
                continue;
            };
            if created > now.saturating_add(settings.skew_s) || expires <= now.saturating_sub(settings.skew_s)
            {
                continue;
            }
            let Ok(key) = self.key(keyid, now) else { continue };
            if signature.verify(key, Message::Response(&response)).is_ok()
                && !signers.iter().any(|signer| signer == keyid)
            {
                signers.push(keyid.to_owned());
            }
        }
        match (signers.is_empty(), found_one) {
            (false, _) => Ok(signers),
            (true, true) => Err(DirectorySignatureError::NoneHolds),
            (true, false) => Err(DirectorySignatureError::Unsigned),
        }
    }
}

/// Why a directory is not signed by its keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectorySignatureError {
    /// Its signatures cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SignaturesError),
    /// It has none with the directory's tag.
    #[error("the directory is not signed")]
    Unsigned,
    /// The body is not the one that was signed.
    #[error(transparent)]
    Digest(#[from] ContentDigestError),
    /// It has some, but none that covers what it must, is in its time, and is a key's of the directory.
    #[error("no signature of the directory holds")]
    NoneHolds,
}

/// Status and size, as for everything that is fetched to know keys.
pub(super) fn check_response(fetched: Fetched<'_>) -> Result<(), DirectoryError> {
    if fetched.status != 200 {
        return Err(DirectoryError::Status(fetched.status));
    }
    if fetched.body.len() > DIRECTORY_BYTES_MAX {
        return Err(DirectoryError::TooLong);
    }
    Ok(())
}

fn check_media_type(content_type: Option<&str>, settings: &Settings) -> Result<(), DirectoryError> {
    let essence = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    let is_right = |essence: &str| {
        essence.eq_ignore_ascii_case(DIRECTORY_MEDIA_TYPE)
            || settings.other_media_types
                && [
                    "application/http-message-signatures-directory",
                    "application/jwk-set+json",
                    "application/json",
                ]
                .iter()
                .any(|other| essence.eq_ignore_ascii_case(other))
    };
    match essence {
        Some(essence) if is_right(essence) => Ok(()),
        other => Err(DirectoryError::MediaType(other.map(|essence| essence.chars().take(100).collect()))),
    }
}

/// A time in seconds. Some write milliseconds; as seconds these would be in the year 5138 and later.
fn seconds(time: Option<&serde_json::Number>) -> Result<Option<i64>, ()> {
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    let Some(time) = time else { return Ok(None) };
    let time = match (time.as_i64(), time.as_f64()) {
        (Some(whole), _) => whole,
        // A NumericDate may have a fraction (RFC 7519 section 2).
        (None, Some(float)) if float.abs() < 1e15 => float as i64,
        _ => return Err(()),
    };
    Ok(Some(if time >= MILLISECONDS_FROM { time / 1_000 } else { time }))
}
