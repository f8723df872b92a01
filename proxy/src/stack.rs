//! What stands around a fetch and could be taken away without changing a bill: how many at once, and what a panic ends.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use metrics::{Limit, RequestClass};
use tracing::error;

use crate::body::Body;
use crate::clients::Client;
use crate::config::{Limits, Timeouts};
use crate::error::FetchError;
use crate::fetch;
use crate::peer::Peer;
use crate::respond;
use crate::worker::Worker;

/// Whose requests these are.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: Peer,
    pub(crate) client: Client,
}

impl Connection {
    pub(crate) fn limits(&self) -> (Limits, Timeouts) {
        let options = &self.worker.shared.options;
        (options.limits, options.timeouts)
    }

    pub(crate) fn service(
        connection: &Rc<Connection>,
    ) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + use<>
    {
        let connection = Rc::clone(connection);
        service_fn(move |request| {
            let connection = Rc::clone(&connection);
            // On the heap: a connection that lies idle should not keep room for a fetch, and hyper, tasks and the
            // runtime each move what they are given.
            Box::pin(async move { Ok(connection.answer(request).await) })
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.worker.begin_request(&self.client) {
            Ok(_turn) => one_request_ends(fetch::handle(&self.worker, &self.peer, request)).await,
            Err(limit) => self.shed(limit),
        }
    }

    fn shed(&self, limit: Limit) -> Response<Body> {
        let refused = respond::failure(&FetchError::Overloaded { limit });
        let telemetry = &self.worker.shared.telemetry;
        telemetry.shed(limit);
        telemetry.request(RequestClass::Local, refused.status().as_u16(), Duration::ZERO, None);
        refused
    }
}

/// A panic is a bug of ours; it ends the request that it happened in and nothing else.
fn one_request_ends(fetch: impl Future<Output = Response<Body>>) -> impl Future<Output = Response<Body>> {
    // Not an async function: it would keep room for the fetch twice, before and while it runs.
    AssertUnwindSafe(fetch).catch_unwind().map(|answer| {
        answer.unwrap_or_else(|_| {
            error!("a request ended in a panic");
            respond::failure(&FetchError::Internal)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_answer_to_one_request() {
        let (ended, ends) = std::sync::mpsc::channel();
        struct Tells(std::sync::mpsc::Sender<()>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let guard = Tells(ended);
        let fetch = async move {
            let _guard = guard;
            tokio::task::yield_now().await;
            panic!("a broken invariant, in the middle of a fetch");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answer = runtime.block_on(one_request_ends(fetch));
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["crawler-error"], "InternalError");
        ends.try_recv().expect("what the fetch held is given back");
    }
}
