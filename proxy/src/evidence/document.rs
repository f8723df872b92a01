//! Fetches one document of an operator: https only, within limits of time, size and redirects.
//!
//! Who named the server decides where it may be. A list's address stands in the policy, which the owner of this proxy
//! wrote. A key directory's address comes with a stranger's request, so that it must not lead to what only this machine
//! can reach: the addresses of its name are looked at first, all of them, and the connection goes to one that was looked
//! at. The name is not asked for again, so that it cannot lead elsewhere in between.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::Name;
use http::header::{ACCEPT, CONTENT_ENCODING, HOST, HeaderMap, LOCATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The time of one attempt to connect, where there are others to try.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// What a document may cost, and where it may be.
pub(crate) struct Terms<'a> {
    /// The time of the whole fetch, with its redirects.
    pub(crate) time: Duration,
    /// The size of the document.
    pub(crate) bytes: usize,
    /// Redirects that are followed.
    pub(crate) redirects: usize,
    pub(crate) accept: &'static str,
    pub(crate) reach: Reach<'a>,
}

/// Where a server may be.
#[derive(Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// Anywhere: the owner of this proxy named it.
    Anywhere,
    /// Where it is allowed: a stranger named it.
    Allowed {
        /// Finds its addresses.
        resolver: &'a TokioResolver,
        /// Judges each.
        is_allowed: &'a (dyn Fn(IpAddr) -> bool + Sync),
    },
}

impl<'a> Reach<'a> {
    /// On the public internet only.
    pub(crate) fn public(resolver: &'a TokioResolver) -> Reach<'a> {
        Reach::Allowed { resolver, is_allowed: &policy::is_public }
    }
}

/// What came.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// The address is not one that documents are fetched from.
    #[error("{0:?} is not an https address")]
    NotHttps(String),
    /// Nobody to ask where the server is.
    #[error("there is no name server to ask")]
    NoResolver(#[source] Box<dyn Error + Send + Sync>),
    /// No certificate to check a server against.
    #[error("this system has no root certificates")]
    NoRoots,
    /// The server's name leads to where a stranger may not send us.
    #[error("{host} is at {address}, which is not on the public internet")]
    NotPublic { host: String, address: IpAddr },
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
    /// The body broke, or was longer than it may be.
    #[error("the body could not be read")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// Compressed, though nobody asked for that.
    #[error("the document is compressed, though nobody asked for that")]
    Compressed,
    /// Not a success.
    #[error("status {0}")]
    Status(StatusCode),
    /// Redirected too often, or to nowhere.
    #[error("redirected {0}")]
    Redirect(&'static str),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Time(Duration),
}

/// The client's side of TLS: ring, and the given roots or the system's.
pub(crate) fn tls(roots: Option<&Arc<rustls::RootCertStore>>) -> Result<TlsConnector, DocumentError> {
    let roots = match roots {
        Some(roots) => Arc::clone(roots),
        None => {
            let mut store = rustls::RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(store)
        }
    };
    if roots.is_empty() {
        return Err(DocumentError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Fetches a document.
pub(crate) async fn fetch(
    url: &str,
    tls: &TlsConnector,
    terms: &Terms<'_>,
) -> Result<Document, DocumentError> {
    tokio::time::timeout(terms.time, follow(url, tls, terms))
        .await
        .unwrap_or(Err(DocumentError::Time(terms.time)))
}

async fn follow(url: &str, tls: &TlsConnector, terms: &Terms<'_>) -> Result<Document, DocumentError> {
    let mut target = target_of(url, terms.reach)?;
    for _ in 0..=terms.redirects {
        let response = get(&target, tls, terms).await?;
        let status = response.status();
        if !status.is_redirection() || terms.redirects == 0 {
            return document(response, terms.bytes).await;
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or(DocumentError::Redirect("without a location"))?;
        target = if location.starts_with('/') && !location.starts_with("//") {
            let path = location.parse::<PathAndQuery>();
            let path = path.map_err(|_| DocumentError::Redirect("to nowhere"))?;
            let mut parts = target.into_parts();
            parts.path_and_query = Some(path);
            Uri::from_parts(parts).map_err(|_| DocumentError::Redirect("to nowhere"))?
        } else {
            let next = target_of(location, terms.reach)?;
            // From elsewhere nobody leads us to what listens on this machine.
            if next.scheme() != Some(&Scheme::HTTPS) && target.scheme() == Some(&Scheme::HTTPS) {
                return Err(DocumentError::NotHttps(next.to_string()));
            }
            next
        };
    }
    Err(DocumentError::Redirect("too often"))
}

/// An address of https; of plain http only on this machine, and only where the owner of this proxy said so.
fn target_of(url: &str, reach: Reach<'_>) -> Result<Uri, DocumentError> {
    let is_here = |uri: &Uri| {
        uri.scheme() == Some(&Scheme::HTTP)
            && matches!(reach, Reach::Anywhere)
            && matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"))
    };
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
    let uri = uri.filter(|uri| uri.scheme() == Some(&Scheme::HTTPS) || is_here(uri));
    uri.ok_or_else(|| DocumentError::NotHttps(url.chars().take(200).collect()))
}

async fn get(
    target: &Uri,
    tls: &TlsConnector,
    terms: &Terms<'_>,
) -> Result<Response<Incoming>, DocumentError> {
    let authority = target.authority().ok_or_else(|| DocumentError::NotHttps(target.to_string()))?;
    if target.scheme() == Some(&Scheme::HTTP) {
        let failed = |source| DocumentError::Connect { authority: authority.to_string(), source };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        return ask(stream, target, authority, terms).await;
    }
    ask(connect(authority, tls, terms.reach).await?, target, authority, terms).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Uri,
    authority: &Authority,
    terms: &Terms<'_>,
) -> Result<Response<Incoming>, DocumentError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the answer is read or dropped.
    tokio::spawn(connection);
    let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("byline/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, terms.accept)
        .body(Empty::<Bytes>::new())
        .map_err(|_| DocumentError::NotHttps(target.to_string()))?;
    Ok(sender.send_request(request).await?)
}

async fn connect(
    authority: &Authority,
    tls: &TlsConnector,
    reach: Reach<'_>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DocumentError> {
    let failed = |source| DocumentError::Connect { authority: authority.to_string(), source };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(443);
    let stream = match reach {
        Reach::Anywhere => TcpStream::connect((host, port)).await.map_err(failed)?,
        Reach::Allowed { resolver, is_allowed } => {
            let addresses = addresses(host, resolver).await.map_err(failed)?;
            if let Some(&address) = addresses.iter().find(|address| !is_allowed(**address)) {
                return Err(DocumentError::NotPublic { host: host.to_owned(), address });
            }
            connect_to_one(&addresses, port).await.map_err(failed)?
        }
    };
    stream.set_nodelay(true).map_err(failed)?;
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    tls.connect(name, stream).await.map_err(failed)
}

/// All addresses of a host, which may be an address itself.
async fn addresses(host: &str, resolver: &TokioResolver) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let mut name = Name::from_ascii(host).map_err(io::Error::other)?;
    // The search list of this machine is not a stranger's business.
    name.set_fqdn(true);
    let found: Vec<IpAddr> = resolver.lookup_ip(name).await.map_err(io::Error::other)?.iter().collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

async fn connect_to_one(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in addresses.iter().take(ADDRESSES_MAX) {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

async fn document(response: Response<Incoming>, bytes: usize) -> Result<Document, DocumentError> {
    if response.status() != StatusCode::OK {
        return Err(DocumentError::Status(response.status()));
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(DocumentError::Compressed);
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes).collect().await.map_err(DocumentError::Body)?.to_bytes();
    Ok(Document { headers: head.headers, body })
}
