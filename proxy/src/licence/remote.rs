//! Another licence server: asked by POST `/introspect` (RSL 1.0 §4) what a token is worth, within a bounded time, once for all
//! who want to know. What it says is believed for as long as it says, and no longer than configured.
//!
//! A server that does not answer, or not what can be read, says nothing: then nobody knows, and where a licence decides the
//! crawler is told to come again. For a second it is not asked again, so that a hanging server costs each fetch no wait of
//! its own.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use policy::protocol::olp::{
    Client, ErrorCode, INTROSPECT_PATH, IntrospectRequest, IntrospectResponse, MessageError, OlpError,
};
use policy::protocol::rsl::covers_url;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::rates::Rates;
use crate::dial;
use crate::shared::{lock, now_micros};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Questions under way at once; who comes when there are more is told to come again.
const ASKING_MAX: usize = 64;
/// Tokens of which something is known.
const TOKENS_MAX: usize = 4_096;
/// Works of one token of which something is known.
const WORKS_MAX: usize = 64;
/// How long a token is known to be none.
const INACTIVE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a server that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Why a server said nothing.
#[derive(Debug, thiserror::Error)]
enum RemoteError {
    #[error("{0:?} is not a URL")]
    Url(String),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer is none")]
    Answer(#[from] MessageError),
    #[error("no answer in time")]
    Time,
}

/// What is known of others' tokens.
pub(super) struct Remote {
    tls: TlsConnector,
    time: Duration,
    believed: Duration,
    state: Mutex<State>,
    /// Strangers can make up tokens; each costs the server a question.
    unknown: Rates,
}

#[derive(Default)]
struct State {
    known: HashMap<Name, Vec<Known>>,
    asking: HashMap<Name, watch::Receiver<Option<Said>>>,
    left_alone_until: Option<Instant>,
}

/// What the server said of a token, or that it said nothing.
type Said = Option<Arc<IntrospectResponse>>;

/// By which a token, or a question about one, is known again: the token itself is not kept.
type Name = [u8; 32];

/// What is known of a token for some works.
struct Known {
    /// None if it is so for all.
    works: Option<Works>,
    said: Arc<IntrospectResponse>,
    until: Instant,
}

/// What an answer is about.
#[derive(PartialEq, Eq)]
enum Works {
    /// This URL alone, which was asked about: as a pattern it would be the beginning of many others.
    Url(String),
    /// All that a pattern of the server's covers.
    Pattern(String),
}

impl Works {
    fn has(&self, url: &str) -> bool {
        match self {
            Works::Url(one) => one == url,
            Works::Pattern(pattern) => covers_url(pattern, url),
        }
    }
}

/// A question about a token.
pub(super) struct Question<'a> {
    pub(super) server: &'a str,
    pub(super) us: Option<&'a Client>,
    pub(super) token: &'a str,
    /// The work's URL.
    pub(super) url: &'a str,
    /// Who shows it.
    pub(super) client: IpAddr,
}

impl Remote {
    pub(super) fn new(tls: Arc<rustls::ClientConfig>, time: Duration, believed: Duration) -> Remote {
        let tls = TlsConnector::from(tls);
        Remote { tls, time, believed, state: Mutex::default(), unknown: Rates::default() }
    }

    /// What the server says of a token; none if nobody knows.
    pub(super) async fn ask(self: &Arc<Self>, question: &Question<'_>) -> Said {
        let token = policy::sha256(question.token.as_bytes());
        let mut answer = match self.begin(&token, question) {
            Begun::Known(said) => return said,
            Begun::Asking(answer) => answer,
        };
        // The question goes on when who asked it is gone: others may wait for the same answer.
        let said = tokio::time::timeout(self.time, answer.wait_for(Option::is_some)).await;
        said.ok()?.ok()?.clone()?
    }

    fn begin(self: &Arc<Self>, token: &Name, question: &Question<'_>) -> Begun {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut is_good = false;
        if let Some(known) = state.known.get(token) {
            let holds = |known: &&Known| now < known.until;
            let about = |known: &&Known| known.works.as_ref().is_none_or(|works| works.has(question.url));
            if let Some(known) = known.iter().filter(holds).find(about) {
                return Begun::Known(Some(Arc::clone(&known.said)));
            }
            is_good = known.iter().any(|known| *known.said != IntrospectResponse::Inactive);
        }
        if state.left_alone_until.is_some_and(|until| now < until) {
            return Begun::Known(None);
        }
        let key = policy::sha256(&[token.as_slice(), question.url.as_bytes()].concat());
        if let Some(answer) = state.asking.get(&key) {
            return Begun::Asking(answer.clone());
        }
        if state.asking.len() >= ASKING_MAX || !(is_good || self.unknown.take(question.client, now)) {
            return Begun::Known(None);
        }
        let (tell, answer) = watch::channel(None);
        state.asking.insert(key, answer.clone());
        let asking = Asking { remote: Arc::clone(self), key };
        let (server, us) = (question.server.to_owned(), question.us.map(Client::to_header));
        let request =
            IntrospectRequest { token: question.token.to_owned(), resource: question.url.to_owned() };
        let (token, url) = (*token, question.url.to_owned());
        tokio::task::spawn_local(async move {
            let remote = Arc::clone(&asking.remote);
            let asked = tokio::time::timeout(remote.time, remote.post(&server, us, request.to_form())).await;
            let said = match asked.unwrap_or(Err(RemoteError::Time)) {
                Ok(said) => Some(remote.keep(token, url, said)),
                Err(error) => {
                    warn!(%server, error = &error as &dyn Error, "the licence server says nothing of a token");
                    // What it will not say of one token says nothing about the next.
                    if !matches!(&error, RemoteError::Status(status) if status.is_client_error()) {
                        lock(&remote.state).left_alone_until = Some(Instant::now() + LEFT_ALONE);
                    }
                    None
                }
            };
            drop(asking);
            let _ = tell.send(Some(said));
        });
        Begun::Asking(answer)
    }

    fn keep(&self, token: Name, url: String, said: IntrospectResponse) -> Arc<IntrospectResponse> {
        let said = Arc::new(said);
        let now = Instant::now();
        let (works, believed) = match &*said {
            IntrospectResponse::Inactive => (None, self.believed.min(INACTIVE_TIME_MAX)),
            IntrospectResponse::Active(active) => {
                let left = active.expires.map(|expires| {
                    let now = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
                    Duration::from_secs(expires.saturating_sub(now))
                });
                // Of a resource that is more than the work that was asked about, the same is known. One that is the question again
                // is no more than that.
                let is_more = active.resource != url && covers_url(&active.resource, &url);
                let works = if is_more { Works::Pattern(active.resource.clone()) } else { Works::Url(url) };
                (Some(works), left.map_or(self.believed, |left| left.min(self.believed)))
            }
        };
        let mut state = lock(&self.state);
        if !state.known.contains_key(&token) && state.known.len() >= TOKENS_MAX {
            state.known.retain(|_, known| {
                known.retain(|known| now < known.until);
                !known.is_empty()
            });
            if state.known.len() >= TOKENS_MAX {
                return said;
            }
        }
        let known = state.known.entry(token).or_default();
        known.retain(|other| now < other.until && works.is_some() && other.works != works);
        if known.len() >= WORKS_MAX {
            known.remove(0);
        }
        known.push(Known { works, said: Arc::clone(&said), until: now + believed });
        said
    }

    async fn post(
        &self,
        server: &str,
        us: Option<String>,
        form: String,
    ) -> Result<IntrospectResponse, RemoteError> {
        let url = format!("{server}{INTROSPECT_PATH}");
        let no_url = || RemoteError::Url(url.clone());
        let uri: Uri = url.parse().map_err(|_| no_url())?;
        let (authority, path) = (uri.authority().ok_or_else(no_url)?, uri.path().to_owned());
        let mut request = Request::post(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, concat!("byline/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(us) = us {
            request = request.header(AUTHORIZATION, us);
        }
        let request = request.body(Full::new(Bytes::from(form))).map_err(|_| no_url())?;

        let tls = (uri.scheme_str() == Some("https")).then_some(&self.tls);
        let stream = dial::connect(authority, tls).await.map_err(RemoteError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(RemoteError::Body)?.to_bytes();
        if status == StatusCode::OK {
            return Ok(IntrospectResponse::parse(&body)?);
        }
        // A server may call a token that it does not know an error.
        match OlpError::parse(&body) {
            Ok(OlpError { code: ErrorCode::InvalidToken, .. }) => Ok(IntrospectResponse::Inactive),
            _ => Err(RemoteError::Status(status)),
        }
    }
}

enum Begun {
    /// Nobody needs to be asked, or may be.
    Known(Said),
    Asking(watch::Receiver<Option<Said>>),
}

/// A question under way; whatever becomes of it, it is not under way any more when this is dropped.
struct Asking {
    remote: Arc<Remote>,
    key: Name,
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.remote.state).asking.remove(&self.key);
    }
}
