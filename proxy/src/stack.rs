//! The layers around a fetch that could be taken away without changing a bill: how many at once, and what a panic ends.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use metrics::RequestClass;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::{BoxError, ServiceBuilder, service_fn};
use tracing::error;

use crate::body::Body;
use crate::error::FetchError;
use crate::fetch::{self, Peer};
use crate::respond;
use crate::worker::Worker;

/// The service of one connection.
pub(crate) fn service(
    worker: Rc<Worker>,
    peer: Peer,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = BoxError, Future: 'static> {
    let requests = std::sync::Arc::clone(&worker.requests);
    let shared = std::sync::Arc::clone(&worker.shared);
    let fetch = service_fn(move |request: Request<Incoming>| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, Infallible>(one_request_ends(fetch::handle(&worker, peer, request)).await) }
    });
    let shed = ServiceBuilder::new()
        .map_result(move |result: Result<Response<Body>, BoxError>| {
            Ok::<_, BoxError>(result.unwrap_or_else(|_| {
                let refused = respond::failure(&FetchError::Overloaded);
                shared.telemetry.request(
                    RequestClass::Local,
                    refused.status().as_u16(),
                    Duration::ZERO,
                    None,
                );
                refused
            }))
        })
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(requests))
        .service(fetch);
    TowerToHyperService::new(shed)
}

/// A panic is a bug of ours; it ends the request that it happened in and nothing else.
async fn one_request_ends(fetch: impl Future<Output = Response<Body>>) -> Response<Body> {
    AssertUnwindSafe(fetch).catch_unwind().await.unwrap_or_else(|_| {
        error!("a request ended in a panic");
        respond::failure(&FetchError::Internal)
    })
}
