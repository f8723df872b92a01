//! Fetches one published list: https only, within limits of time, size and redirects.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use policy::LIST_BYTES_MAX;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The time of a whole fetch, with its redirects.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;

/// Why a list could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    /// A file could not be read.
    #[error("cannot read the file")]
    File(#[source] io::Error),
    /// What came is no list.
    #[error("{0}")]
    Content(String),
    /// The address is not one that lists are fetched from.
    #[error("{0:?} is not an https address")]
    NotHttps(String),
    /// No certificate to check a server against.
    #[error("this system has no root certificates")]
    NoRoots,
    /// The server could not be reached, or its certificate is not trusted.
    #[error("cannot connect to {authority}")]
    Connect {
        authority: String,
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// The body broke, or was longer than a list may be.
    #[error("the body could not be read")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// Not a success.
    #[error("status {0}")]
    Status(StatusCode),
    /// Redirected too often, or to nowhere.
    #[error("redirected {0}")]
    Redirect(&'static str),
    /// It took too long.
    #[error("no answer within {} s", FETCH_TIME_MAX.as_secs())]
    Time,
}

/// The client's side of TLS: ring, and the given roots or the system's.
pub(super) fn tls(roots: Option<&Arc<rustls::RootCertStore>>) -> Result<TlsConnector, ListError> {
    let roots = match roots {
        Some(roots) => Arc::clone(roots),
        None => {
            let mut store = rustls::RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        }
    };
    if roots.is_empty() {
        return Err(ListError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Fetches a list as text, which may still be no list.
pub(super) async fn fetch(url: &str, tls: &TlsConnector) -> Result<String, ListError> {
    tokio::time::timeout(FETCH_TIME_MAX, follow(url, tls)).await.unwrap_or(Err(ListError::Time))
}

async fn follow(url: &str, tls: &TlsConnector) -> Result<String, ListError> {
    let mut target = https(url)?;
    for _ in 0..=REDIRECTS_MAX {
        let response = get(&target, tls).await?;
        let status = response.status();
        if !status.is_redirection() {
            return text(response).await;
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or(ListError::Redirect("without a location"))?;
        target = if location.starts_with('/') && !location.starts_with("//") {
            let path = location.parse::<PathAndQuery>().map_err(|_| ListError::Redirect("to nowhere"))?;
            let mut parts = target.into_parts();
            parts.path_and_query = Some(path);
            Uri::from_parts(parts).map_err(|_| ListError::Redirect("to nowhere"))?
        } else {
            https(location)?
        };
    }
    Err(ListError::Redirect("too often"))
}

fn https(url: &str) -> Result<Uri, ListError> {
    let uri = url.parse::<Uri>().ok();
    let uri = uri.filter(|uri| uri.scheme() == Some(&Scheme::HTTPS) && uri.authority().is_some());
    uri.ok_or_else(|| ListError::NotHttps(url.chars().take(200).collect()))
}

async fn get(target: &Uri, tls: &TlsConnector) -> Result<Response<Incoming>, ListError> {
    let authority = target.authority().ok_or_else(|| ListError::NotHttps(target.to_string()))?;
    let stream = connect(authority, tls)
        .await
        .map_err(|source| ListError::Connect { authority: authority.to_string(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the answer is read or dropped.
    tokio::spawn(connection);
    let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("byline/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json, text/plain;q=0.9, */*;q=0.1")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ListError::NotHttps(target.to_string()))?;
    Ok(sender.send_request(request).await?)
}

async fn connect(
    authority: &Authority,
    tls: &TlsConnector,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let name =
        ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    tls.connect(name, stream).await
}

async fn text(response: Response<Incoming>) -> Result<String, ListError> {
    if response.status() != StatusCode::OK {
        return Err(ListError::Status(response.status()));
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ListError::Content("the list is compressed, though nobody asked for that".to_owned()));
    }
    let body = Limited::new(response.into_body(), LIST_BYTES_MAX).collect().await.map_err(ListError::Body)?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| ListError::Content("not UTF-8".to_owned()))
}
