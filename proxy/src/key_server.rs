//! Serves the key directory of an agent (draft-ietf-webbotauth-httpsig-protocol section 4) on the listeners of the sites.
//!
//! Only for hosts that are named: a signed directory says that whoever has the keys serves them there, and a stranger who
//! asks under a name of his own must not get that in writing.

use std::path::PathBuf;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};
use policy::protocol::bot_auth::{WELL_KNOWN_PATH, directory_body, directory_fields};
use policy::protocol::message_signature::SigningKey;
use tracing::error;

use crate::body::Body;
use crate::config::KeyDirectorySettings;
use crate::headers::Target;
use crate::keys::{self, KeyFileError};
use crate::shared::now_micros;

/// How much longer than a copy of the directory may be kept its signatures hold: clocks differ.
const SIGNED_BEYOND_AGE_SECS: i64 = 300;

/// The key directory, if there is one to serve.
#[derive(Debug)]
pub(crate) struct KeyServer(Option<Serving>);

#[derive(Debug)]
struct Serving {
    /// Host names, lower case.
    hosts: Vec<String>,
    keys: PathBuf,
    max_age: Duration,
    in_force: ArcSwap<Keys>,
}

/// The keys and the document with their public parts.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: Vec<SigningKey>,
    body: String,
}

impl KeyServer {
    /// Reads the keys at the start.
    pub(crate) fn start(settings: Option<KeyDirectorySettings>) -> Result<KeyServer, KeyFileError> {
        let Some(KeyDirectorySettings { hosts, keys, max_age }) = settings else {
            return Ok(KeyServer(None));
        };
        let in_force = ArcSwap::from_pointee(Keys::read(&keys)?);
        Ok(KeyServer(Some(Serving { hosts, keys, max_age, in_force })))
    }

    /// Reads the keys again, for [`KeyServer::replace`].
    pub(crate) fn read_again(&self) -> Result<Option<Keys>, KeyFileError> {
        self.0.as_ref().map(|serving| Keys::read(&serving.keys)).transpose()
    }

    /// From now on these are served.
    pub(crate) fn replace(&self, keys: Option<Keys>) {
        if let (Some(serving), Some(keys)) = (&self.0, keys) {
            serving.in_force.store(keys.into());
        }
    }

    /// The directory, if this request is for it.
    pub(crate) fn answer(&self, head: &request::Parts, target: &Target) -> Option<Response<Body>> {
        let serving = self.0.as_ref()?;
        if head.uri.path() != WELL_KNOWN_PATH || !serving.hosts.contains(&target.host) {
            return None;
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        Some(serving.directory(target.authority(), head.method == Method::HEAD))
    }
}

impl Serving {
    /// Signed anew for each answer, for as long as somebody may keep it: then even a copy that is about to be thrown away
    /// verifies, and one from a revoked key's time does not for much longer.
    fn directory(&self, authority: &str, is_head: bool) -> Response<Body> {
        let Keys { keys, body } = &**self.in_force.load();
        let now = now_micros() / 1_000_000;
        let age = i64::try_from(self.max_age.as_secs()).unwrap_or(i64::MAX);
        let until = now.saturating_add(age).saturating_add(SIGNED_BEYOND_AGE_SECS);
        let signing: Vec<&SigningKey> = keys.iter().collect();
        let fields = match directory_fields(&signing, authority, body, now, until) {
            Ok(fields) => fields,
            Err(error) => {
                error!(%error, "the key directory cannot be signed");
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return response;
            }
        };
        let length = body.len();
        let body = if is_head { Body::Empty } else { Body::Text(Bytes::from(body.clone())) };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={age}")) {
            headers.insert(CACHE_CONTROL, value);
        }
        response
    }
}

impl Keys {
    fn read(directory: &std::path::Path) -> Result<Keys, KeyFileError> {
        let keys: Vec<SigningKey> = keys::read_all(directory)?.into_iter().map(|file| file.key).collect();
        let body = directory_body(&keys.iter().map(SigningKey::public_key).collect::<Vec<_>>());
        Ok(Keys { keys, body })
    }
}
