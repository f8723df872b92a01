//! The one table that turns refusals and failures into answers. What a client reads and what the log says are different
//! texts: nothing internal leaves.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LINK, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use metrics::Limit;
use policy::protocol::crawl_price::{self, CrawlerError};
use policy::protocol::mpp;
use policy::{Refusal, RefusalKind, Unit};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::body::Body;
use crate::error::FetchError;
use crate::payment::Offer;

/// The answer to a refused fetch: RFC 9457 problem details that a person can read, never cached.
pub(crate) fn refusal(refusal: &Refusal, offer: &Offer) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
    let problem_type = offer.problem.map(mpp::Problem::type_uri);
    let problem = Problem {
        code: Some(slug(refusal.kind)),
        rule: Some(&refusal.rule),
        price: refusal.price.map(|price| price.to_string()),
        unit: refusal.unit.map(Unit::as_str),
        unit_price: refusal.unit_price.map(|price| price.to_string()),
        require: refusal.price.map(|_| refusal.require.as_str()),
        licence: refusal.licence.as_deref(),
        contact: refusal.contact.as_deref(),
        retry_after: refusal.retry_after_secs,
        others: Some(&offer.members),
        r#type: problem_type.as_deref().unwrap_or("about:blank"),
        ..Problem::new(status, title(refusal.kind), &refusal.detail)
    };
    let mut response = problem_response(status, &problem);
    let headers = response.headers_mut();
    // A shared cache that ignored no-store must still keep people's answers apart from crawlers'.
    headers.insert(VARY, HeaderValue::from_static("User-Agent, Crawler-Max-Price, Crawler-Exact-Price"));
    if !offer.fields.is_empty() {
        headers.append(VARY, HeaderValue::from_static("Payment-Signature, X-Payment, Authorization"));
    }
    for (name, value) in &offer.fields {
        headers.append(name, value.clone());
    }
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    };
    for (name, value) in refusal.crawler_fields() {
        set(HeaderName::from_static(name), value);
    }
    if let Some(how) = &refusal.accept_signature {
        set(HeaderName::from_static("accept-signature"), how.clone());
    }
    if let Some(challenge) = refusal.licence_challenge() {
        set(WWW_AUTHENTICATE, challenge.www_authenticate);
        challenge.link.into_iter().for_each(|link| set(LINK, link));
    }
    if let Some(licence) = &refusal.licence {
        set(LINK, format!("<{licence}>; rel=\"license\""));
    }
    if let Some(contact) = &refusal.contact {
        let target = if contact.contains('@') && !contact.contains(':') {
            format!("mailto:{contact}")
        } else {
            contact.to_string()
        };
        set(LINK, format!("<{target}>; rel=\"contact\""));
    }
    if let Some(seconds) =
        refusal.retry_after_secs.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(5))
    {
        set(RETRY_AFTER, seconds.to_string());
    }
    response
}

fn slug(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Denied => "denied",
        RefusalKind::PaymentRequired => "payment-required",
        RefusalKind::OfferTooLow => "offer-too-low",
        RefusalKind::IdentityRequired => "identity-required",
        RefusalKind::NoCredit => "no-credit",
        RefusalKind::LimitReached => "limit-reached",
        RefusalKind::BadOffer => "bad-offer",
        RefusalKind::BadSignature => "bad-signature",
        RefusalKind::BadOriginPrice => "bad-origin-price",
        RefusalKind::Unlicensed => "unlicensed",
        RefusalKind::PaymentRefused => "payment-refused",
        RefusalKind::BadPayment => "bad-payment",
        RefusalKind::PaymentConflict => "payment-conflict",
        RefusalKind::PaymentPending => "payment-pending",
    }
}

fn title(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Denied => "This work is not open to this crawler",
        RefusalKind::PaymentRequired => "This work has a price for crawlers",
        RefusalKind::OfferTooLow => "The offer does not meet the price",
        RefusalKind::IdentityRequired => "Paying needs a verified identity",
        RefusalKind::NoCredit => "There is no account to bill",
        RefusalKind::LimitReached => "The budget of this crawler's operator is used up",
        RefusalKind::BadOffer => "The price headers cannot be read",
        RefusalKind::BadSignature => "The price offered is not signed for",
        RefusalKind::BadOriginPrice => "The site's own price cannot be taken",
        RefusalKind::Unlicensed => "A licence is needed for this work",
        RefusalKind::PaymentRefused => "The payment does not pay for this work",
        RefusalKind::BadPayment => "The payment cannot be read",
        RefusalKind::PaymentConflict => "This payment identifier names another payment",
        RefusalKind::PaymentPending => "Whether the payment was settled is not known yet",
    }
}

/// The answer to a failed fetch.
pub(crate) fn failure(error: &FetchError) -> Response<Body> {
    let (status, detail) = match error {
        FetchError::BadRequest { .. } | FetchError::AmbiguousPath(_) => {
            (StatusCode::BAD_REQUEST, error.to_string())
        }
        FetchError::ConnectRefused => (StatusCode::METHOD_NOT_ALLOWED, error.to_string()),
        FetchError::UnknownTransferCoding => (StatusCode::NOT_IMPLEMENTED, error.to_string()),
        FetchError::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error.to_string()),
        FetchError::UnknownHost { .. } => {
            (StatusCode::MISDIRECTED_REQUEST, "no site of this name is served here".to_owned())
        }
        FetchError::ClientBodyTimeout => (StatusCode::REQUEST_TIMEOUT, error.to_string()),
        FetchError::Connect { .. }
        | FetchError::Origin { .. }
        | FetchError::BadResponse { .. }
        | FetchError::BodyCut => {
            (StatusCode::BAD_GATEWAY, "the origin could not be reached or gave no usable answer".to_owned())
        }
        FetchError::ConnectTimeout { .. } | FetchError::HeadTimeout { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, "the origin did not answer in time".to_owned())
        }
        FetchError::LedgerUnavailable { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "priced works cannot be recorded just now; try again later".to_owned(),
        ),
        FetchError::Overloaded { limit: Limit::ClientConnections | Limit::ClientRequests } => {
            (StatusCode::TOO_MANY_REQUESTS, "this client has too much under way; try again later".to_owned())
        }
        FetchError::Overloaded { limit: Limit::ClientPayments } => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many payments of this client are being looked at, or were not good; nothing was charged"
                .to_owned(),
        ),
        FetchError::Overloaded { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again later".to_owned())
        }
        FetchError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()),
    };
    let problem = Problem::new(status, status.canonical_reason().unwrap_or("Error"), &detail);
    let mut response = problem_response(status, &problem);
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    // For crawlers the one error after which trying again, later and later, is right.
    if matches!(error, FetchError::Internal) {
        const ERROR: HeaderName = HeaderName::from_static(crawl_price::ERROR);
        let internal = HeaderValue::from_static(CrawlerError::InternalError.as_str());
        response.headers_mut().insert(ERROR, internal);
    }
    let closes = match error {
        // What follows on this connection cannot be told apart from what was refused.
        FetchError::BadRequest { .. } | FetchError::UnknownTransferCoding | FetchError::HeadTooLarge => true,
        // A connection takes memory, too.
        FetchError::Overloaded { limit } => *limit == Limit::Memory,
        _ => false,
    };
    if closes {
        response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// RFC 9457 problem details, in the order in which a person wants to read them.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    r#type: &'a str,
    /// What other protocols have in the body: x402 version 1.
    #[serde(flatten)]
    others: Option<&'a Map<String, Value>>,
}

impl<'a> Problem<'a> {
    fn new(status: StatusCode, title: &'a str, detail: &'a str) -> Problem<'a> {
        Problem {
            title,
            status: status.as_u16(),
            detail,
            code: None,
            price: None,
            unit: None,
            unit_price: None,
            require: None,
            licence: None,
            contact: None,
            retry_after: None,
            rule: None,
            r#type: "about:blank",
            others: None,
        }
    }
}

fn problem_response(status: StatusCode, problem: &Problem<'_>) -> Response<Body> {
    let mut text = serde_json::to_vec_pretty(problem).expect("strings and numbers can be written");
    text.push(b'\n');
    let length = text.len();
    let mut response = Response::new(Body::Text(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
