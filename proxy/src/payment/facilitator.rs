//! The facilitator: who checks payments against their chain, and settles them (x402 v2 §7).
//!
//! Each question has a connection of its own. One that was kept might break just as a settlement was handed over, and then nobody
//! would know what became of it; beside what a chain takes, a handshake is little.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use policy::protocol::x402::facilitator::{self as protocol, Supported, VerifyResponse};
use policy::protocol::x402::message::SettlementResponse;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::dial;

/// Orders to settle under way at once; more wait, within their time.
const SETTLEMENTS_MAX: usize = 256;
/// Questions whether a payment is good, under way at once. A share of their own, and a smaller one: whoever asks has paid nothing yet,
/// and must not keep those waiting who have.
const VERIFICATIONS_MAX: usize = 64;
/// To connect, TLS included; within the time of the whole question.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a facilitator is and how long it is waited for.
#[derive(Clone, Debug)]
pub(crate) struct FacilitatorSettings {
    /// Its URL, without a slash at the end.
    pub(crate) url: FacilitatorUrl,
    /// A file with the value of `Authorization`.
    pub(crate) authorization: Option<PathBuf>,
    /// The time of `/verify` and `/supported`.
    pub(crate) verify: Duration,
    /// The time of `/settle`.
    pub(crate) settle: Duration,
}

/// An https URL; http only where nobody is on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FacilitatorUrl {
    https: bool,
    authority: Authority,
    /// What stands before `/verify`.
    prefix: String,
}

impl FacilitatorUrl {
    pub(crate) fn parse(text: &str) -> Result<FacilitatorUrl, String> {
        let help = "a facilitator's URL reads like https://facilitator.example";
        let uri = text.parse::<Uri>().map_err(|_| help.to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority().cloned()) else {
            return Err(help.to_owned());
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(
                "a facilitator's URL has neither a user nor a query; write `authorization`".to_owned()
            );
        }
        let host = dial::host_of(&authority);
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if *scheme != Scheme::HTTPS && !(*scheme == Scheme::HTTP && is_here) {
            return Err("a facilitator is asked over https; over http only on this machine".to_owned());
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(FacilitatorUrl { https: *scheme == Scheme::HTTPS, authority, prefix })
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FacilitatorError {
    /// It was not asked: nothing can have come of it.
    #[error("the facilitator cannot be reached")]
    NotAsked(#[source] io::Error),
    /// It was asked, and what came of that is not known.
    #[error("the facilitator's answer is missing: {0}")]
    Unknown(String),
}

/// Asks a facilitator.
pub(crate) struct Facilitator {
    settings: FacilitatorSettings,
    authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    verifications: Semaphore,
    settlements: Semaphore,
}

impl Facilitator {
    /// Reads what it needs; nothing is asked yet.
    pub(crate) fn new(
        settings: FacilitatorSettings,
        tls: &Arc<rustls::ClientConfig>,
    ) -> anyhow::Result<Facilitator> {
        let authorization = settings.authorization.as_deref().map(read_authorization).transpose()?;
        let tls = settings.url.https.then(|| TlsConnector::from(Arc::clone(tls)));
        let (verifications, settlements) =
            (Semaphore::new(VERIFICATIONS_MAX), Semaphore::new(SETTLEMENTS_MAX));
        Ok(Facilitator { settings, authorization, tls, verifications, settlements })
    }

    /// What can be settled there.
    pub(crate) async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.ask(Method::GET, protocol::SUPPORTED, Bytes::new(), self.settings.verify, None).await
    }

    /// Whether a payment could be settled now.
    pub(crate) async fn verify(
        &self,
        request: &protocol::Request,
    ) -> Result<VerifyResponse, FacilitatorError> {
        let share = Some(&self.verifications);
        self.ask(Method::POST, protocol::VERIFY, json(request), self.settings.verify, share).await
    }

    /// Has a payment settled. An answer that says no is an answer.
    pub(crate) async fn settle(
        &self,
        request: &protocol::Request,
    ) -> Result<SettlementResponse, FacilitatorError> {
        let share = Some(&self.settlements);
        self.ask(Method::POST, protocol::SETTLE, json(request), self.settings.settle, share).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        time: Duration,
        share: Option<&Semaphore>,
    ) -> Result<T, FacilitatorError> {
        let deadline = tokio::time::Instant::now() + time;
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let not_asked = FacilitatorError::NotAsked;
        let _one = match share {
            Some(share) => Some(
                tokio::time::timeout_at(deadline, share.acquire()).await.map_err(|_| not_asked(late()))?,
            ),
            None => None,
        };
        let connect_by = deadline.min(tokio::time::Instant::now() + CONNECT_TIME_MAX);
        let connecting = tokio::time::timeout_at(
            connect_by,
            dial::connect(&self.settings.url.authority, self.tls.as_ref()),
        );
        let stream = connecting.await.map_err(|_| not_asked(late()))?.map_err(not_asked)?;
        let asking = tokio::time::timeout_at(deadline, self.exchange(stream, method, path, body));
        asking.await.unwrap_or_else(|_| Err(FacilitatorError::Unknown("it took too long".to_owned())))
    }

    async fn exchange<T: serde::de::DeserializeOwned>(
        &self,
        stream: Box<dyn dial::Stream>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, FacilitatorError> {
        let unknown = |why: &dyn std::fmt::Display| FacilitatorError::Unknown(why.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| unknown(&error))?;
        // Ends when the answer is read or dropped.
        tokio::task::spawn_local(connection);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let target = [&self.settings.url.prefix, path].concat();
        *request.uri_mut() = target.parse().map_err(|error| unknown(&error))?;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(self.settings.url.authority.as_str());
        headers.insert(HOST, host.map_err(|error| unknown(&error))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("byline/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let response = sender.send_request(request).await.map_err(|error| unknown(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), protocol::ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unknown(&error))?.to_bytes();
        // Some say no with a 4xx; whatever a server says that failed is not known to be so.
        if status.is_server_error() || !(status.is_success() || is_refusal(status)) {
            return Err(FacilitatorError::Unknown(format!("status {status}")));
        }
        protocol::read(&body).map_err(|error| FacilitatorError::Unknown(format!("status {status}: {error}")))
    }
}

/// Statuses with which a facilitator says that a payment is not good; others are about the question.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYMENT_REQUIRED
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

fn json(request: &protocol::Request) -> Bytes {
    serde_json::to_vec(request).expect("the keys of a request are texts").into()
}

/// The first line of a file, as it goes into the field; it is a secret, and never shown.
fn read_authorization(path: &Path) -> anyhow::Result<HeaderValue> {
    use anyhow::Context as _;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!line.is_empty(), "{}: the first line is empty", path.display());
    let mut value = HeaderValue::from_str(line)
        .map_err(|_| anyhow::anyhow!("{}: the first line cannot stand in a header", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Whoever asks whether something is good takes nothing from those who have something to settle.
    #[test]
    fn questions_that_nobody_answers_hold_up_no_settlement() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("a bound listener");
            let asked = std::rc::Rc::new(std::cell::Cell::new(0));
            let counted = std::rc::Rc::clone(&asked);
            tokio::task::spawn_local(async move {
                let mut silent = Vec::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head).await.expect("a request line");
                    if head.ends_with(b"/ver") {
                        counted.set(counted.get() + 1);
                        silent.push(stream);
                        continue;
                    }
                    let body = r#"{"success":true,"transaction":"0x1","network":"eip155:8453"}"#;
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(answer.as_bytes()).await.expect("somebody reads");
                    silent.push(stream);
                }
            });
            let settings = FacilitatorSettings {
                url: FacilitatorUrl::parse(&format!("http://{address}")).expect("a URL"),
                authorization: None,
                verify: Duration::from_secs(600),
                settle: Duration::from_secs(60),
            };
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let facilitator =
                std::rc::Rc::new(Facilitator::new(settings, &Arc::new(tls)).expect("no secret"));
            let request = protocol::Request {
                x402_version: 2,
                payment_payload: serde_json::Value::Null,
                payment_requirements: serde_json::Value::Null,
            };
            for _ in 0..2 * SETTLEMENTS_MAX {
                let (facilitator, request) = (std::rc::Rc::clone(&facilitator), request.clone());
                tokio::task::spawn_local(async move { facilitator.verify(&request).await.map(drop) });
            }
            while asked.get() < VERIFICATIONS_MAX {
                tokio::task::yield_now().await;
            }
            assert!(facilitator.settle(&request).await.expect("an answer").success);
            assert_eq!(asked.get(), VERIFICATIONS_MAX, "the others wait for their turn");
        });
    }

    #[test]
    fn a_facilitator_is_asked_over_https_or_here() {
        for (text, good) in [
            ("https://facilitator.example", true),
            ("https://facilitator.example:8443/x402/", true),
            ("http://127.0.0.1:4021", true),
            ("http://[::1]:4021", true),
            ("http://localhost/x", true),
            ("http://facilitator.example", false),
            ("http://127.0.0.1.example", false),
            ("https://user:pass@facilitator.example", false),
            ("https://facilitator.example/?key=1", false),
            ("facilitator.example", false),
            ("/verify", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(FacilitatorUrl::parse(text).is_ok(), good, "{text}");
        }
        let url = FacilitatorUrl::parse("https://facilitator.example/x402/").expect("a URL");
        assert_eq!((url.prefix.as_str(), url.https), ("/x402", true));
    }
}
