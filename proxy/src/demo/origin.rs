//! The site's server: a plain HTTP/1.1 origin on a loopback port, on a thread of its own.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;

use super::site::Site;

/// The running server; it ends when this is dropped.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts to serve the site.
    pub(crate) fn start(site: Arc<Site>) -> anyhow::Result<Origin> {
        let socket =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback port for the site")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(socket)?
        };
        let thread = std::thread::Builder::new().name("demo-site".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, site) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Origin { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&site, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .title_case_headers(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer<B>(site: &Site, request: &Request<B>) -> Response<Full<Bytes>> {
    let status = |status, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return status(StatusCode::METHOD_NOT_ALLOWED, "only GET here\n");
    }
    let Some(page) = site.get(request.uri().path()) else {
        return status(StatusCode::NOT_FOUND, "no such page\n");
    };
    let known = request.headers().get(IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known.as_bytes() == page.etag.as_bytes()) {
        status(StatusCode::NOT_MODIFIED, "")
    } else {
        Response::new(Full::new(Bytes::copy_from_slice(&page.body)))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=600"));
    if let Ok(etag) = HeaderValue::from_str(&page.etag) {
        headers.insert(ETAG, etag);
    }
    response
}
