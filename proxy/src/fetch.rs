//! THE pipeline: the life of a fetch, read from top to bottom.
//!
//! admit (request head) → forward → release (response head) → deliver (body) → close (record, ledger, acknowledgement).
//! Whoever is not an identified AI crawler passes unchanged.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use http::{Request, Response, StatusCode, request, response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use metrics::{Limit, Outcome, RequestClass};
use policy::protocol::crawl_price::{self, OriginPrice, Pricing};
use policy::{Admission, Class, CrawlerRow, Offer, OfferError, PolicySnapshot, Release, ResponseHead, Work};
use tracing::{debug, warn};

use crate::body::{Body, OriginBody, RequestBody};
use crate::close::OpenFetch;
use crate::error::FetchError;
use crate::evidence::signature::{self, Authorised, Received};
use crate::flow::{Counted, Flow};
use crate::headers::{self, Target};
use crate::hold;
use crate::licence::endpoint::Call;
use crate::licence::shown::Shown;
use crate::payment::{self, Payment, PresentError, Refused};
use crate::peer::Peer;
use crate::respond;
use crate::signals::{self, Published};
use crate::upstream::{Lease, Origin};
use crate::worker::Worker;

/// Answers one request.
pub(crate) async fn handle(worker: &Rc<Worker>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let mut origin_time = None;
    let multiplexed = request.version() >= http::Version::HTTP_2;
    let (class, mut response) = match admit_and_forward(worker, peer, request, &mut origin_time).await {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(kind) = error.origin_failure() {
                worker.shared.telemetry.upstream_failed(kind);
                warn!(error = &error as &dyn std::error::Error, "origin failed");
            } else {
                if let FetchError::Overloaded { limit } = error {
                    worker.shared.telemetry.shed(limit);
                }
                debug!(%error, "request failed");
            }
            (RequestClass::Local, respond::failure(&error))
        }
    };
    let total = started.elapsed();
    let added = origin_time.map(|origin| total.saturating_sub(origin));
    worker.shared.telemetry.request(class, response.status().as_u16(), total, added);
    // A client that is told need not find out by a request that nobody reads.
    if worker.is_draining() && !multiplexed && !response.headers().contains_key(CONNECTION) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

const SIGNATURE_AGENT: HeaderName = HeaderName::from_static("signature-agent");

type Answer = (RequestClass, Response<Body>);

async fn admit_and_forward(
    worker: &Rc<Worker>,
    peer: &Peer,
    request: Request<Incoming>,
    origin_time: &mut Option<Duration>,
) -> Result<Answer, FetchError> {
    let shared = &worker.shared;
    let (head, body) = request.into_parts();
    let target = headers::check_request(&head, &shared.options.limits)?;
    if let Some(directory) = shared.key_server.answer(&head, &target) {
        return Ok((RequestClass::Local, directory));
    }
    let origin = shared.sites.origin(&target.host)?;
    if !peer.named_site.serves(origin.id) {
        return Err(FetchError::UnknownHost { host: target.host });
    }
    let client = client_address(worker, peer, &head.headers);
    let policy = shared.policy.load_full();
    if shared.licences.are_asked_for(&policy, &head) {
        let call = Call {
            shared,
            policy: &policy,
            peer,
            client,
            scheme: scheme(peer, &head.headers),
            target: &target,
        };
        return Ok((RequestClass::Local, Box::pin(call.answer(head, body)).await));
    }
    // Such an origin is told of each request whether it may, and none but a 402 names its price to anybody.
    let origin_sets_prices = policy.listens_to_origin();
    let signals = Published::of(&policy, scheme(peer, &head.headers), &target, &head);
    if let Some(signals) = &signals
        && let Some(mut answer) = signals.answer(worker, peer, origin, &target, &head, origin_time).await?
    {
        if origin_sets_prices {
            headers::hide_price(&mut answer);
        }
        return Ok((RequestClass::Local, answer));
    }
    let mut answer = match ai_crawler(&policy, &head.headers) {
        None => {
            let pricing = origin_sets_prices.then_some(Pricing::Bypass);
            pass(worker, peer, origin, &target, pricing, head, body, origin_time).await
        }
        Some(row) => {
            let row = Arc::clone(row);
            // On the heap: what a metered fetch carries along should not be paid for by those who pass.
            Box::pin(metered(worker, peer, client, origin, &target, policy, row, head, body, origin_time))
                .await
        }
    }?;
    if origin_sets_prices {
        headers::hide_price(&mut answer.1);
    }
    if let Some(signals) = signals {
        signals.add_fields(shared, &mut answer);
    }
    Ok(answer)
}

/// The real client: behind a trusted proxy, the address that the proxy vouches for.
fn client_address(worker: &Worker, peer: &Peer, headers: &HeaderMap) -> IpAddr {
    let client = if peer.trusted {
        headers::client_behind(headers, peer.address, &worker.shared.options.trusted_proxies)
    } else {
        peer.address
    };
    if worker.shared.peers.see(client) {
        warn!(%client, "every client seems to come from one private address: is a proxy missing in trusted_proxies?");
    }
    client
}

fn ai_crawler<'a>(policy: &'a PolicySnapshot, headers: &HeaderMap) -> Option<&'a Arc<CrawlerRow>> {
    // Bytes beyond ASCII are no reason to miss a product token beside them.
    let user_agent = headers.get(USER_AGENT).map(|user_agent| match user_agent.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(user_agent.as_bytes()),
    });
    match user_agent.and_then(|text| policy.directory().recognise(&text)) {
        Some(row) => Some(row).filter(|row| row.class == Class::Ai),
        // Some agents have a browser's user agent, and say who they are where they sign.
        None => policy.directory().recognise_agent(headers.get(SIGNATURE_AGENT)?.as_bytes()),
    }
}

/// People, search engines, feeds and everybody else: unchanged but for the documented fields, never held, never recorded.
#[allow(clippy::too_many_arguments)] // As for a metered fetch.
async fn pass(
    worker: &Rc<Worker>,
    peer: &Peer,
    origin: &Origin,
    target: &Target,
    pricing: Option<Pricing>,
    mut head: request::Parts,
    body: Incoming,
    origin_time: &mut Option<Duration>,
) -> Result<Answer, FetchError> {
    let upgrade = headers::upgrade_asked(&head, &worker.shared.options.announce.upgrades);
    let client_side = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let mut request = to_origin(worker, peer, target, head, body);
    if let Some(pricing) = pricing {
        headers::tell_pricing(request.headers_mut(), Some(pricing));
    }
    if let Some(protocol) = &upgrade {
        request.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(http::header::UPGRADE, protocol.clone());
    }
    let (mut head, body, lease) = call(worker, origin, request, upgrade.as_ref(), origin_time).await?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return switch_protocols(worker, peer, head, body, client_side)
            .map(|response| (RequestClass::Pass, response));
    }
    headers::to_client(&mut head);
    let body = OriginBody::new(body, lease, worker.shared.options.timeouts.body_silence);
    Ok((RequestClass::Pass, Response::from_parts(head, Body::Pass(Box::new(body)))))
}

/// An AI crawler's fetch, from admission to the last byte.
#[allow(clippy::too_many_arguments)] // One fetch, one argument each; a struct would only name them twice.
async fn metered(
    worker: &Rc<Worker>,
    peer: &Peer,
    client: IpAddr,
    origin: &Origin,
    target: &Target,
    policy: Arc<PolicySnapshot>,
    row: Arc<CrawlerRow>,
    mut head: request::Parts,
    body: Incoming,
    origin_time: &mut Option<Duration>,
) -> Result<Answer, FetchError> {
    let shared = &worker.shared;
    let _deciding = worker.metered_begins();
    shared.ledger.arrived(shared.options.ledger_patience(), shared.options.limits.requests / 2).await;
    headers::strip_named(&mut head.headers);
    let scheme = scheme(peer, &head.headers);
    let network = shared.identity.gather(&row, client).await;
    let received = Received { head: &head, scheme, authority: target.authority() };
    let signature = signature::judge(shared, &worker.signatures, &row, received).await;
    let offer = offer(&head.headers);
    let Authorised { evidence, offer, spending, verified } =
        signature.authorise(&shared.derived, network, offer)?;
    let work = work(&policy, scheme, target, &head)?;
    let licence = Shown { shared, policy: &policy, row: &row, work: &work, client };
    let evidence = licence.beside(evidence, &mut head.headers).await;
    let crawler = policy::identify(row, evidence);
    let pricing = policy.listens_to_origin().then(|| policy.pricing(&crawler, &work));
    let method = head.method.clone();

    let mut open = OpenFetch::begin(worker, policy, crawler, work, method, spending);
    let payment = match Payment::present(&open, &mut head.headers, verified.as_deref()) {
        Ok(payment) => payment,
        Err(PresentError::Refused(refused)) => return Ok(refuse_payment(open, &refused)),
        Err(PresentError::Failed(error)) => return Err(error),
    };
    let is_credit = payment.is_credit(open.policy(), &head.headers);
    let attempt = payment.attempt(shared, client)?;
    let offer = payment.offer(offer);
    let grant = match open.admit(&offer) {
        Admission::Refuse(refusal) => return Ok(refuse(open, &refusal, is_credit)),
        Admission::Proceed(grant) => grant,
    };
    open.reserve(&grant)?;
    if let Err(refused) = payment.verify(&open, attempt).await {
        return Ok(refuse_payment(open, &refused));
    }

    // Metering ends where another protocol begins: crawlers get no upgrade.
    head.extensions.remove::<hyper::upgrade::OnUpgrade>();
    headers::strip_overrides(&mut head.headers);
    let mut request = to_origin(worker, peer, target, head, body);
    headers::tell_pricing(request.headers_mut(), pricing);
    let (mut head, body, lease) = match call(worker, origin, request, None, origin_time).await {
        Ok(answer) => answer,
        Err(error) => {
            // Where the client's own body broke off, the guard closes the fetch as aborted.
            if !matches!(error, FetchError::ClientBodyTimeout | FetchError::BadRequest { .. }) {
                open.origin_failed(respond::failure(&error).status().as_u16());
            }
            return Err(error);
        }
    };
    let terms = match open.release(&grant, &offer, &response_head(&head)) {
        Release::Refuse(refusal) => return Ok(refuse(open, &refusal, is_credit)),
        Release::Deliver(terms) => terms,
    };
    signals::count_drift(shared, open.subject(), &head);
    open.deliver(terms, &head);
    let announcement = match payment.settle(&mut open).await {
        Ok(announcement) => announcement,
        Err(refused) => return Ok(refuse_payment(open, &refused)),
    };

    headers::to_client(&mut head);
    headers::strip_prices(&mut head.headers);
    open.name_licence(&mut head.headers);
    let body = OriginBody::new(body, lease, shared.options.timeouts.body_silence);
    let response = hold::deliver(open, head, body, announcement).await?;
    Ok((RequestClass::Metered, response))
}

fn refuse(open: Box<OpenFetch>, refusal: &policy::Refusal, is_credit: bool) -> Answer {
    let offer = payment::Offer::with(&open, refusal, is_credit);
    open.refused(refusal);
    (RequestClass::Refused, respond::refusal(refusal, &offer))
}

fn refuse_payment(open: Box<OpenFetch>, Refused { refusal, offer }: &Refused) -> Answer {
    open.refused(refusal);
    (RequestClass::Refused, respond::refusal(refusal, offer))
}

/// The scheme that the client uses: behind a trusted proxy that ends TLS, what that proxy says.
fn scheme(peer: &Peer, headers: &HeaderMap) -> &'static str {
    let forwarded = || headers.get(HeaderName::from_static("x-forwarded-proto"));
    let https = peer.https || (peer.trusted && forwarded().is_some_and(|proto| proto == "https"));
    if https { "https" } else { "http" }
}

fn work(
    policy: &PolicySnapshot,
    scheme: &str,
    target: &Target,
    head: &request::Parts,
) -> Result<Work, FetchError> {
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    match policy.work(scheme, target.authority(), path) {
        // Observing refuses nothing, not even what an origin might read in two ways.
        Err(_) if !policy.enforces() => Ok(Work::unclear(scheme, target.authority(), path)),
        work => Ok(work?),
    }
}

fn offer(headers: &HeaderMap) -> Result<Offer, OfferError> {
    const MAX: HeaderName = HeaderName::from_static(crawl_price::MAX_PRICE);
    const EXACT: HeaderName = HeaderName::from_static(crawl_price::EXACT_PRICE);
    Offer::parse(headers.get_all(MAX), headers.get_all(EXACT))
}

fn response_head(head: &response::Parts) -> ResponseHead<'_> {
    const PRICE: HeaderName = HeaderName::from_static(crawl_price::PRICE);
    ResponseHead {
        status: head.status.as_u16(),
        content_type: head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()),
        content_length: crate::close::declared_length(&head.headers),
        origin_price: OriginPrice::parse(head.headers.get_all(PRICE)),
    }
}

fn to_origin(
    worker: &Worker,
    peer: &Peer,
    target: &Target,
    mut head: request::Parts,
    body: Incoming,
) -> Request<RequestBody> {
    let options = &worker.shared.options;
    headers::to_origin(&mut head, target, peer, &options.announce);
    let body = RequestBody::new(body, options.timeouts.body_silence);
    // hyper takes a GET without a length to have no body; said here, what came in chunks goes on in chunks.
    if !body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Request::from_parts(head, body)
}

pub(crate) async fn call(
    worker: &Worker,
    origin: &Origin,
    request: Request<RequestBody>,
    upgrade_asked: Option<&HeaderValue>,
    origin_time: &mut Option<Duration>,
) -> Result<(response::Parts, Incoming, Lease), FetchError> {
    let _turn = worker.begin_at(origin).map_err(|limit| FetchError::Overloaded { limit })?;
    let asked = Instant::now();
    let (response, lease) = worker.upstreams.call(origin, request).await?;
    *origin_time = Some(asked.elapsed());
    let (head, body) = response.into_parts();
    match headers::check_response(&head, upgrade_asked) {
        Ok(()) => Ok((head, body, lease)),
        // Dropping the lease closes the connection: one that misbehaved is never used again.
        Err(why) => Err(FetchError::BadResponse { origin: origin.url.clone(), why }),
    }
}

/// A protocol that client and origin agreed on: bytes pass both ways until one side ends, or neither says anything.
fn switch_protocols(
    worker: &Rc<Worker>,
    peer: &Peer,
    mut head: response::Parts,
    body: Incoming,
    client_side: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Response<Body>, FetchError> {
    let protocol = head.headers.get(http::header::UPGRADE).cloned();
    let origin_side = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
    drop(body);
    let (Some(client_side), Some(origin_side)) = (client_side, origin_side) else {
        return Err(FetchError::Internal);
    };
    // For hyper the client's connection ends here; as a tunnel it goes on, and counts as one.
    let permit = Arc::clone(&worker.shared.connections).try_acquire_owned();
    let permit = permit.map_err(|_| FetchError::Overloaded { limit: Limit::Connections })?;
    let client = worker.shared.clients.enter(peer.address, peer.trusted);
    let client = client.map_err(|limit| FetchError::Overloaded { limit })?;
    let tunnel = (worker.tunnel_begins(permit), client);
    let limit = worker.shared.options.timeouts.tunnel_silence;
    tokio::task::spawn_local(async move {
        let _tunnel = tunnel;
        let (Ok(client), Ok(origin)) = (client_side.await, origin_side.await) else { return };
        let flow = Rc::<Flow>::default();
        let mut client = Counted::new(TokioIo::new(client), Rc::clone(&flow));
        let mut origin = TokioIo::new(origin);
        let both_ways = tokio::io::copy_bidirectional(&mut client, &mut origin);
        if flow.unless_silent(limit, both_ways).await.is_none() {
            debug!("a silent tunnel is closed");
        }
    });
    headers::to_client(&mut head);
    head.headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(http::header::UPGRADE, protocol);
    }
    Ok(Response::from_parts(head, Body::Empty))
}

/// How a fetch ended whose body arrived whole.
pub(crate) fn whole(status: u16) -> Outcome {
    if status == 304 { Outcome::NotModified } else { Outcome::Complete }
}
