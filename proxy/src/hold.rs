//! Delivery of a metered body: what fits the hold leaves whole after its record is durable; what is longer streams with
//! its newest frame kept back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, response};
use http_body::{Body as _, Frame};
use policy::Money;
use policy::protocol::crawl_price::{CHARGED, price_field};

use crate::body::{Body, OriginBody, data_bytes};
use crate::close::{Leave, OpenFetch};
use crate::error::FetchError;
use crate::fetch;
use crate::metered::MeteredBody;
use crate::payment::settle::{Announcement, Rated};
use crate::respond;
use crate::shared::Shared;

/// A body up to this size is held whole; rating knows the same figure.
pub(crate) const HOLD_BYTES_MAX: usize = billing::rate::HOLD_BYTES as usize;
/// A body is waited for this long before it streams.
pub(crate) const HOLD_TIME_MAX: Duration = Duration::from_millis(50);

/// A share of the bytes that may be held at once; given back when dropped.
pub(crate) struct Share {
    shared: std::sync::Arc<Shared>,
}

impl Share {
    fn take(shared: &std::sync::Arc<Shared>) -> Option<Share> {
        shared.holds.take(HOLD_BYTES_MAX).then(|| Share { shared: std::sync::Arc::clone(shared) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.holds.give_back(HOLD_BYTES_MAX);
    }
}

/// Turns an origin's answer into the crawler's, metered to its last byte.
pub(crate) async fn deliver(
    open: Box<OpenFetch>,
    mut head: response::Parts,
    mut body: OriginBody,
    announcement: Announcement,
) -> Result<Response<Body>, FetchError> {
    if body.is_end_stream() {
        return whole(open, head, VecDeque::new(), None, announcement).await;
    }
    if open.is_event_stream() || !open.awaits_entry() {
        announcement.announce(&mut head, Rated::AtMost);
        return Ok(Response::from_parts(
            head,
            Body::Metered(Box::new(MeteredBody::new(open, VecDeque::new(), body))),
        ));
    }
    let share = Share::take(&open.worker().shared);
    let mut frames = VecDeque::new();
    let collected = if share.is_some() { collect(&mut body, &mut frames).await } else { Collected::More };
    match collected {
        Collected::More => {
            name_charge(&mut head, open.announced());
            announcement.announce(&mut head, Rated::AtMost);
            let metered = MeteredBody::new(open, frames, body);
            Ok(Response::from_parts(head, Body::Metered(Box::new(metered))))
        }
        Collected::Broken => {
            // Nothing has left yet, so the crawler gets an honest error instead of half a work.
            open.origin_failed(respond::failure(&FetchError::BodyCut).status().as_u16());
            Err(FetchError::BodyCut)
        }
        Collected::Whole => whole(open, head, frames, share, announcement).await,
    }
}

/// A body that is all here: it leaves when its record is durable.
async fn whole(
    mut open: Box<OpenFetch>,
    mut head: response::Parts,
    frames: VecDeque<Frame<Bytes>>,
    share: Option<Share>,
    announcement: Announcement,
) -> Result<Response<Body>, FetchError> {
    for data in frames.iter().filter_map(Frame::data_ref) {
        open.observe_held(data.clone());
    }
    let status = open.status();
    match open.close(fetch::whole(status)).leave().await {
        Leave::Yes { owed } => {
            announcement.announce(&mut head, Rated::At(owed));
            name_charge(&mut head, owed);
        }
        Leave::No => {
            return Err(FetchError::LedgerUnavailable { why: "the record was not written".to_owned() });
        }
    }
    let body = if frames.is_empty() { Body::Empty } else { Body::Held { frames, _share: share } };
    Ok(Response::from_parts(head, body))
}

/// Tells the crawler what it will be billed.
fn name_charge(head: &mut response::Parts, owed: Option<Money>) {
    if let Some(Ok(charged)) = owed.map(|amount| HeaderValue::from_str(&price_field(amount))) {
        head.headers.insert(HeaderName::from_static(CHARGED), charged);
    }
}

enum Collected {
    /// The body ended.
    Whole,
    /// It is too long or too slow to be held.
    More,
    /// It broke off.
    Broken,
}

async fn collect(body: &mut OriginBody, frames: &mut VecDeque<Frame<Bytes>>) -> Collected {
    let mut timer = None;
    poll_fn(move |cx| {
        loop {
            if data_bytes(frames.iter()) > HOLD_BYTES_MAX as u64
                || body.size_hint().lower() > HOLD_BYTES_MAX as u64
            {
                return Poll::Ready(Collected::More);
            }
            if body.is_end_stream() {
                return Poll::Ready(Collected::Whole);
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frames.push_back(frame),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Collected::Broken),
                Poll::Ready(None) => return Poll::Ready(Collected::Whole),
                Poll::Pending => {
                    // The timer exists only for bodies that do not arrive at once.
                    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(HOLD_TIME_MAX)));
                    return timer.as_mut().poll(cx).map(|()| Collected::More);
                }
            }
        }
    })
    .await
}
