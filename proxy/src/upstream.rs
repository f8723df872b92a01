//! Connections to origins: one pool per thread, no lock, no sharing.
//!
//! A connection is used again only after a response that ended cleanly to a request that did; one that misbehaved, or
//! whose body was left unread, is closed. A request that failed on a reused connection before any response is sent once
//! more if it is idempotent and has no body: the origin may have closed the connection while it lay idle.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, Version, request};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::{RequestBody, Silence, Upload};
use crate::error::{BodyError, FetchError};
use crate::resolve::Name;

/// Idle connections kept per origin and thread; the oldest goes when one more comes back.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 128;
/// Origins that close idle connections do so after 60 s or later as a rule; we are earlier.
const IDLE_TIME: Duration = Duration::from_secs(55);
/// The largest response head that is read from an origin.
pub(crate) const RESPONSE_HEAD_BYTES_MAX: usize = 256 * 1024;

/// An origin server, as configured.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Place in the configuration: the index of its pool.
    pub(crate) id: usize,
    /// As it was written, for messages.
    pub(crate) url: String,
    host: String,
    port: u16,
    tls: Option<ServerName<'static>>,
}

impl Origin {
    /// Reads `http://host[:port]` or `https://host[:port]`.
    pub(crate) fn parse(id: usize, url: &str) -> Result<Origin, String> {
        let shape = || format!("`{url}` is not an origin such as http://127.0.0.1:8080");
        let uri: http::Uri = url.parse().map_err(|_| shape())?;
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("{}: no path, query or user may follow", shape()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(ServerName::try_from(host.clone()).map_err(|_| shape())?),
            _ => return Err(shape()),
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Origin { id, url: url.to_owned(), host, port, tls })
    }
}

/// Interim responses (1xx) before the head of one response; an origin that sends more is cut off.
const INTERIM_RESPONSES_MAX: u32 = 100;

/// Time limits towards origins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamTimeouts {
    pub(crate) connect: Duration,
    pub(crate) response_head: Duration,
}

/// This thread's connections to all origins.
pub(crate) struct Upstreams {
    idle: Vec<RefCell<Vec<Idle>>>,
    names: Vec<Name>,
    tls: TlsConnector,
    timeouts: UpstreamTimeouts,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    interim: Arc<Interim>,
    since: Instant,
}

/// A connection in use. Dropping it closes it; [`Lease::give_back`] keeps it for the next request.
pub(crate) struct Lease {
    sender: http1::SendRequest<RequestBody>,
    interim: Arc<Interim>,
    origin: usize,
    pool: Rc<Upstreams>,
    /// hyper goes on in the version of the last response, and HTTP/1.0 knows no chunked request.
    speaks_http11: bool,
    /// The request's body, while it may still be on its way: an answer can come before its end.
    upload: Option<Rc<Upload>>,
}

impl Lease {
    pub(crate) fn give_back(self) {
        // Whoever got a connection with somebody else's upload under way would wait for the end of it.
        let uploading = self.upload.is_some_and(|upload| !upload.has_ended());
        if uploading || !self.speaks_http11 || self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle[self.origin].borrow_mut();
        if idle.len() >= IDLE_CONNECTIONS_MAX {
            idle.remove(0);
        }
        idle.push(Idle { sender: self.sender, interim: self.interim, since: Instant::now() });
    }
}

impl Upstreams {
    pub(crate) fn new(
        origins: &[Origin],
        tls: Arc<rustls::ClientConfig>,
        timeouts: UpstreamTimeouts,
    ) -> Upstreams {
        let idle = origins.iter().map(|_| RefCell::default()).collect();
        let names = origins.iter().map(|origin| Name::new(&origin.host, origin.port)).collect();
        Upstreams { idle, names, tls: TlsConnector::from(tls), timeouts }
    }

    /// Sends a request and waits for the response head.
    pub(crate) async fn call(
        self: &Rc<Self>,
        origin: &Origin,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), FetchError> {
        if let Some(lease) = self.reuse(origin).await {
            let again = self.copy_for_retry(&request);
            match self.send(origin, lease, request).await {
                Ok(done) => return Ok(done),
                Err(Failed { unsent: Some(request), .. }) => return self.call_fresh(origin, *request).await,
                Err(Failed { error: FetchError::Origin { source, .. }, heard: false, .. })
                    if again.is_some() && closed_while_idle(&source) =>
                {
                    let head = again.expect("checked in the guard");
                    return self.call_fresh(origin, Request::from_parts(head, RequestBody::Empty)).await;
                }
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        self.call_fresh(origin, request).await
    }

    async fn call_fresh(
        self: &Rc<Self>,
        origin: &Origin,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), FetchError> {
        // On the heap: most requests find a connection, and should not carry the room for a handshake along.
        let lease = Box::pin(self.connect(origin)).await?;
        self.send(origin, lease, request).await.map_err(|failed| failed.error)
    }

    fn copy_for_retry(&self, request: &Request<RequestBody>) -> Option<request::Parts> {
        let idempotent = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !idempotent || !matches!(request.body(), RequestBody::Empty) {
            return None;
        }
        let mut copy = Request::new(()).into_parts().0;
        copy.method = request.method().clone();
        copy.uri = request.uri().clone();
        copy.headers = request.headers().clone();
        copy.extensions = request.extensions().clone();
        Some(copy)
    }

    async fn send(
        &self,
        origin: &Origin,
        mut lease: Lease,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        lease.interim.watch(&mut request);
        lease.upload = request.body().upload();
        let limit = self.timeouts.response_head;
        let answer = lease.sender.try_send_request(request);
        let answered = match &lease.upload {
            None => tokio::time::timeout(limit, answer).await.ok(),
            // While an upload moves, the origin owes nothing.
            Some(upload) => tokio::select! {
                biased;
                answered = answer => Some(answered),
                () = upload.unanswered(limit) => None,
            },
        };
        match answered {
            Some(Ok(response)) => {
                lease.speaks_http11 = response.version() == Version::HTTP_11;
                Ok((response, lease))
            }
            Some(Err(mut error)) => Err(Failed {
                unsent: error.take_message().map(Box::new),
                heard: lease.interim.heard.load(Ordering::Relaxed),
                error: blame(origin, error.into_error()),
            }),
            None => {
                let error = FetchError::HeadTimeout { origin: origin.url.clone() };
                Err(Failed { unsent: None, heard: false, error })
            }
        }
    }

    /// The connection that was used last and still lives.
    async fn reuse(self: &Rc<Self>, origin: &Origin) -> Option<Lease> {
        loop {
            let Idle { sender, interim, since } = self.idle[origin.id].borrow_mut().pop()?;
            if since.elapsed() > IDLE_TIME {
                // All below it lie idle even longer.
                self.idle[origin.id].borrow_mut().clear();
                return None;
            }
            if sender.is_closed() {
                continue;
            }
            // Its task gets its turn first: to become ready, or to find bytes that nobody asked for. These would else be
            // taken for the answer to the next request. No request waits for more than that.
            tokio::task::yield_now().await;
            if sender.is_ready() {
                return Some(self.lease(origin, sender, interim));
            }
        }
    }

    fn lease(
        self: &Rc<Self>,
        origin: &Origin,
        sender: http1::SendRequest<RequestBody>,
        interim: Arc<Interim>,
    ) -> Lease {
        let pool = Rc::clone(self);
        Lease { sender, interim, origin: origin.id, pool, speaks_http11: false, upload: None }
    }

    async fn connect(self: &Rc<Self>, origin: &Origin) -> Result<Lease, FetchError> {
        let (sender, interim) = tokio::time::timeout(self.timeouts.connect, self.open(origin))
            .await
            .map_err(|_| FetchError::ConnectTimeout { origin: origin.url.clone() })?
            .map_err(|source| FetchError::Connect { origin: origin.url.clone(), source })?;
        Ok(self.lease(origin, sender, interim))
    }

    async fn open(&self, origin: &Origin) -> io::Result<Opened> {
        let tcp = match origin.host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect((address, origin.port)).await?,
            Err(_) => {
                let name = &self.names[origin.id];
                let addresses = name.addresses().await?;
                TcpStream::connect(addresses.as_slice()).await.inspect_err(|_| name.forget())?
            }
        };
        // Small requests must not wait for the acknowledgement of the one before.
        tcp.set_nodelay(true)?;
        match &origin.tls {
            None => self.handshake(tcp).await,
            Some(name) => self.handshake(self.tls.connect(name.clone(), tcp).await?).await,
        }
    }

    async fn handshake<I>(&self, io: I) -> io::Result<Opened>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let interim = Arc::new(Interim::default());
        let write_silence = Silence::new(self.timeouts.response_head);
        let io = TokioIo::new(OriginIo { io, interim: Arc::clone(&interim), write_silence });
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(RESPONSE_HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        // The error, if any, reaches whoever waits for the response; an idle connection that ends is just gone.
        tokio::task::spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok((sender, interim))
    }
}

struct Failed {
    unsent: Option<Box<Request<RequestBody>>>,
    /// Some of an answer had come: the origin was there, and has done what it was asked.
    heard: bool,
    error: FetchError,
}

/// A request that failed because its own body did is the client's doing, not the origin's.
fn blame(origin: &Origin, error: hyper::Error) -> FetchError {
    let source = std::error::Error::source(&error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(|source| source.downcast_ref::<BodyError>()) {
        Some(BodyError::Silent) => FetchError::ClientBodyTimeout,
        Some(_) => FetchError::BadRequest { why: "the request body broke off" },
        None if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) => {
            FetchError::HeadTimeout { origin: origin.url.clone() }
        }
        None => FetchError::Origin { origin: origin.url.clone(), source: error },
    }
}

/// What hyper reports when a connection ended before any byte of a response.
fn closed_while_idle(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed()
}

type Opened = (http1::SendRequest<RequestBody>, Arc<Interim>);

/// What has come of the answer to a connection's current request: whether anything has, and how many interim responses;
/// hyper itself passes over these without end.
#[derive(Default)]
struct Interim {
    heard: AtomicBool,
    count: AtomicU32,
}

impl Interim {
    fn watch(self: &Arc<Self>, request: &mut Request<RequestBody>) {
        self.heard.store(false, Ordering::Relaxed);
        self.count.store(0, Ordering::Relaxed);
        let counter = Arc::clone(self);
        hyper::ext::on_informational(request, move |_| {
            counter.count.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn is_flood(&self) -> bool {
        self.count.load(Ordering::Relaxed) > INTERIM_RESPONSES_MAX
    }
}

/// A connection to an origin that ends when it floods, or takes nothing of what is written.
struct OriginIo<I> {
    io: I,
    interim: Arc<Interim>,
    write_silence: Silence,
}

impl<I: AsyncRead + Unpin> AsyncRead for OriginIo<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.interim.is_flood() {
            return Poll::Ready(Err(io::Error::other("more interim responses than anybody needs")));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.interim.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for OriginIo<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.write_silence.limit_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.write_silence.limit_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// TLS towards origins: rustls with ring, the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
pub(crate) fn client_tls() -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
