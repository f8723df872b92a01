//! The admin listener: metrics, health, the summary as JSON and as a page. Never on the sites' own listeners.

mod page;
mod summary;

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{LedgerFigures, LedgerState};
use tracing::warn;

use crate::shared::Shared;

/// Connections to the admin listener at once.
const CONNECTIONS_MAX: usize = 64;

/// What the pages are made from.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    connections: Rc<tokio::sync::Semaphore>,
    /// The listener is on loopback: only this machine may ask.
    loopback: bool,
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>, loopback: bool) -> Admin {
        Admin { shared, connections: Rc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX)), loopback }
    }
}

/// Serves until the task is ended.
pub(crate) async fn serve(admin: Rc<Admin>, socket: std::net::TcpListener) {
    let listener = match socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket))
    {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the admin listener cannot be used"),
    };
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accept failed on the admin listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = Rc::clone(&admin);
        tokio::task::spawn_local(async move {
            let Ok(_permit) = admin.connections.try_acquire() else { return };
            let service = service_fn(|request: Request<Incoming>| {
                let response = answer(&admin, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer<B>(admin: &Admin, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET here\n");
    }
    if admin.loopback && !names_this_machine(request.headers().get(HOST)) {
        return text(
            StatusCode::FORBIDDEN,
            "on loopback this page answers to localhost and to addresses only\n",
        );
    }
    match request.uri().path() {
        "/metrics" => metrics_text(admin),
        "/healthz" | "/livez" | "/-/healthy" => text(StatusCode::OK, "ok\n"),
        "/readyz" | "/-/ready" => readiness(admin),
        "/api/v1/summary" => {
            let summary = summary::Summary::take(&admin.shared);
            typed(StatusCode::OK, "application/json", summary.to_json().into())
        }
        "/" => {
            let summary = summary::Summary::take(&admin.shared);
            typed(StatusCode::OK, "text/html; charset=utf-8", page::render(&summary).into())
        }
        _ => text(StatusCode::NOT_FOUND, "here are /, /metrics, /healthz, /readyz and /api/v1/summary\n"),
    }
}

/// A page in a browser on this machine can have its own name point here (DNS rebinding); an address, `localhost` or a
/// name without a dot cannot be such a name.
fn names_this_machine(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<std::net::IpAddr>().is_ok() || !name.contains('.')
}

fn metrics_text(admin: &Admin) -> Response<Full<Bytes>> {
    let shared = &admin.shared;
    shared.telemetry.ledger(&ledger_figures(shared));
    for list in shared.identity.lists() {
        shared.telemetry.list_age(&list.url, list.age);
    }
    for agent in shared.identity.agents().status() {
        shared.telemetry.agent_keys_age(&agent.url, agent.age);
    }
    shared.telemetry.held_bytes(shared.holds.held() as u64);
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shared.telemetry.render().into())
}

fn ledger_figures(shared: &Shared) -> LedgerFigures {
    let stats = shared.ledger.stats();
    let state = match shared.ledger.status() {
        ledger::Status::Ready => LedgerState::Ready,
        ledger::Status::Paused { .. } => LedgerState::Paused,
        ledger::Status::Poisoned { .. } | ledger::Status::Closed => LedgerState::Poisoned,
    };
    LedgerFigures {
        state,
        entries: stats.entries,
        bytes: stats.bytes,
        segments: stats.segments,
        queue: stats.queue_depth as u64,
        queue_capacity: stats.queue_capacity as u64,
        accepted: stats.accepted,
        appended: stats.appended,
        refused: stats.refused,
        commits: stats.commits,
        pauses: stats.pauses,
    }
}

/// Ready: not stopping, and the ledger not poisoned. A paused ledger stays ready: people's traffic goes on.
fn readiness(admin: &Admin) -> Response<Full<Bytes>> {
    let shared = &admin.shared;
    let mut problems = Vec::new();
    if shared.stopping.load(Ordering::Acquire) {
        problems.push("stopping".to_owned());
    }
    let mut notes = String::new();
    match shared.ledger.status() {
        ledger::Status::Ready => notes.push_str("ledger: ready\n"),
        ledger::Status::Paused { reason, .. } => notes.push_str(&format!("ledger: paused ({reason})\n")),
        ledger::Status::Poisoned { reason } => problems.push(format!("ledger: stopped for good ({reason})")),
        ledger::Status::Closed => problems.push("ledger: closed".to_owned()),
    }
    if problems.is_empty() {
        text(StatusCode::OK, format!("ready\n{notes}"))
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", problems.join("\n")))
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body.into())
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // No script at all; styles stand in the page.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebound_name_is_told_apart() {
        let named = |host: &'static str| names_this_machine(Some(&HeaderValue::from_static(host)));
        for host in ["localhost:8402", "127.0.0.1:8402", "[::1]:8402", "byline:8402", "127.0.0.1"] {
            assert!(named(host), "{host}");
        }
        for host in ["evil.example:8402", "127.0.0.1.evil.example", "localhost.evil.example"] {
            assert!(!named(host), "{host}");
        }
        assert!(names_this_machine(None));
    }
}
