//! The licence server (OLP, RSL 1.0 §4) on the sites' own listeners: `token`, `introspect` and `key` below
//! `/.well-known/byline/licence/`, by POST over HTTPS. Nothing of it is metered, and nothing reaches an origin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Response, StatusCode, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use metrics::TokenAnswer;
use policy::protocol::cap::TokenId;
use policy::protocol::olp::{
    BODY_BYTES_MAX, Client, ClientError, ErrorCode, INTROSPECT_PATH, IntrospectRequest, IntrospectResponse,
    KEY_PATH, KeyRequest, MessageError, OlpError, TOKEN_PATH, TokenRequest, TokenResponse,
};
use policy::{LICENCE_SERVER_PATH, PolicySnapshot, Stated};
use tracing::{debug, error, info};

use crate::body::Body;
use crate::headers::Target;
use crate::peer::Peer;
use crate::shared::{Shared, new_id, now_micros};
use crate::signals::Published;

use super::InForce;

/// How long a body may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a body that is too long which are still read, so that the client reads why.
const DISCARDED_BYTES_MAX: usize = 1 << 20;

/// A call of the licence server.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) policy: &'a Arc<PolicySnapshot>,
    pub(crate) peer: &'a Peer,
    pub(crate) client: IpAddr,
    pub(crate) scheme: &'static str,
    pub(crate) target: &'a Target,
}

/// Who calls.
enum Caller<'a> {
    /// Nobody in particular.
    Anybody,
    /// A client of ours, for its operator.
    Of { id: String, operator: &'a str },
}

impl Caller<'_> {
    fn operator(&self) -> Option<&str> {
        match self {
            Caller::Anybody => None,
            Caller::Of { operator, .. } => Some(operator),
        }
    }
}

impl Call<'_> {
    /// Answers it.
    pub(crate) async fn answer(self, head: request::Parts, body: Incoming) -> Response<Body> {
        let path = head.uri.path().strip_prefix(LICENCE_SERVER_PATH).unwrap_or_default();
        if ![TOKEN_PATH, INTROSPECT_PATH, KEY_PATH].contains(&path) {
            return status(StatusCode::NOT_FOUND, None);
        }
        if head.method != Method::POST {
            return status(StatusCode::METHOD_NOT_ALLOWED, Some((ALLOW, HeaderValue::from_static("POST"))));
        }
        let is_for_token = path == TOKEN_PATH;
        let count = |answer: TokenAnswer| {
            if is_for_token {
                self.shared.telemetry.licence_token(answer);
            }
        };
        if !self.shared.licences.may_ask(self.client) {
            count(TokenAnswer::TooManyCalls);
            let later = (RETRY_AFTER, HeaderValue::from_static("10"));
            return status(StatusCode::TOO_MANY_REQUESTS, Some(later));
        }
        match self.serve(path, &head, body).await {
            Ok(text) => {
                count(TokenAnswer::Given);
                json(StatusCode::OK, text)
            }
            Err(refused) => {
                count(TokenAnswer::Refused(refused.code));
                debug!(code = refused.code.as_str(), "the licence server refuses a call");
                failure(&refused)
            }
        }
    }

    async fn serve(&self, path: &str, head: &request::Parts, body: Incoming) -> Result<String, OlpError> {
        if !self.is_private(head) {
            return Err(OlpError::new(ErrorCode::InvalidRequest, "this is for https only"));
        }
        let in_force = self.shared.licences.in_force.load();
        let caller = caller(&in_force, head)?;
        let body = read(body).await.map_err(|error| OlpError::from(&error))?;
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let unreadable = |error: MessageError| OlpError::from(&error);
        if path == TOKEN_PATH {
            let drafts = self.shared.licences.settings.drafts;
            let request = TokenRequest::parse(content_type, &body, drafts).map_err(unreadable)?;
            return self.token(&in_force, &caller, &request).await;
        }
        // Whoever is nobody in particular has no business with others' tokens.
        if caller.operator().is_none() {
            return Err(unknown_client("the call carries no client authentication"));
        }
        if path == INTROSPECT_PATH {
            let request = IntrospectRequest::parse(content_type, &body).map_err(unreadable)?;
            Ok(self.introspect(&in_force, &request.token, &request.resource).await?.to_json())
        } else {
            let request = KeyRequest::parse(content_type, &body).map_err(unreadable)?;
            Err(self.no_key(&in_force, &request).await)
        }
    }

    /// Secrets go over TLS, or stay on this machine, or behind a proxy of ours.
    fn is_private(&self, head: &request::Parts) -> bool {
        let is_told = head.headers.contains_key(HeaderName::from_static("x-forwarded-proto"));
        self.scheme == "https" || self.client.is_loopback() || (self.peer.trusted && !is_told)
    }

    async fn token(
        &self,
        in_force: &InForce,
        caller: &Caller<'_>,
        request: &TokenRequest,
    ) -> Result<String, OlpError> {
        let no_host = || OlpError::new(ErrorCode::InvalidResource, "the request names no host");
        let origin = PolicySnapshot::origin(self.scheme, self.target.authority()).ok_or_else(no_host)?;
        let id = TokenId::parse(&new_id().replace('-', "")).expect("a UUID has 32 hex digits");
        let (licence, claims) = match self.policy.licence_on_offer(&origin, request) {
            Ok(on_offer) => {
                on_offer.may_have(self.policy, caller.operator())?;
                (&*on_offer.licence.id, on_offer.claims(id, caller.operator(), now_secs()))
            }
            Err(unknown) => {
                let document = Published::license(self.shared, self.policy, self.scheme, self.target).await;
                let document = document.ok_or_else(|| unknown.clone())?;
                let stated = Stated::find(&origin, request, &document).map_err(|_| unknown)?;
                ("stated", stated.claims(id, caller.operator(), now_secs()))
            }
        };
        let broken = || OlpError::new(ErrorCode::ServerError, "no token can be given just now");
        let issuing = in_force.issuing.as_ref().ok_or_else(broken)?;
        let token = issuing.issue(&claims).map_err(|error| {
            error!(%error, licence, "a token cannot be issued");
            broken()
        })?;
        if let Caller::Of { id: client, operator } = caller {
            info!(token = %id, licence, operator, client, expires = claims.expires, "a licence token was given");
        }
        let expires_in = claims.expires.map(|expires| expires - claims.not_before);
        Ok(TokenResponse { access_token: token, expires_in }.to_json())
    }

    async fn introspect(
        &self,
        in_force: &InForce,
        token: &str,
        resource: &str,
    ) -> Result<IntrospectResponse, OlpError> {
        let unknown = || OlpError::new(ErrorCode::ServerError, "tokens cannot be checked just now");
        let revoked = self.shared.licences.revoked.now().await.ok_or_else(unknown)?;
        let (keys, now) = (&in_force.verifying, now_secs());
        Ok(self.policy.introspect(token, resource, keys, now, |claims| revoked.contains(claims)))
    }

    /// There is no key: nothing that passes here is encrypted by us. A client learns first whether its token is one.
    async fn no_key(&self, in_force: &InForce, request: &KeyRequest) -> OlpError {
        match self.introspect(in_force, &request.token, &request.resource).await {
            Err(error) => error,
            Ok(IntrospectResponse::Inactive) => {
                OlpError::new(ErrorCode::InvalidToken, "the token is not good")
            }
            Ok(IntrospectResponse::Active(_)) => {
                OlpError::new(ErrorCode::InsufficientScope, "the resource is not encrypted: there is no key")
            }
        }
    }
}

/// Who calls. A wrong secret is never nobody in particular.
fn caller<'a>(in_force: &'a InForce, head: &request::Parts) -> Result<Caller<'a>, OlpError> {
    let values = head.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    match Client::parse(values) {
        Err(ClientError::Missing) => Ok(Caller::Anybody),
        Err(error) => Err(unknown_client(&error.to_string())),
        Ok(client) => match in_force.clients.operator_of(&client) {
            Some(operator) => Ok(Caller::Of { id: client.id, operator }),
            None => Err(unknown_client("no client has this name and secret")),
        },
    }
}

fn unknown_client(why: &str) -> OlpError {
    OlpError::new(ErrorCode::InvalidClient, why)
}

/// The whole body. Of one that is too long some more is read and thrown away.
async fn read(mut body: Incoming) -> Result<Vec<u8>, MessageError> {
    let unread = |what: &str| MessageError::Malformed { what: what.to_owned() };
    let deadline = Instant::now() + BODY_TIME_MAX;
    let (mut kept, mut bytes) = (Vec::new(), 0);
    loop {
        let frame = tokio::time::timeout_at(deadline.into(), body.frame()).await;
        let frame = frame.map_err(|_| unread("there in time"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| unread("whole"))?;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len();
        if bytes <= BODY_BYTES_MAX {
            kept.extend_from_slice(data);
        } else {
            kept = Vec::new();
        }
        if bytes > BODY_BYTES_MAX + DISCARDED_BYTES_MAX {
            break;
        }
    }
    if bytes > BODY_BYTES_MAX { Err(MessageError::TooLarge { bytes }) } else { Ok(kept) }
}

fn now_secs() -> u64 {
    u64::try_from(now_micros() / 1_000_000).unwrap_or(0)
}

fn failure(refused: &OlpError) -> Response<Body> {
    let status = StatusCode::from_u16(refused.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json(status, refused.to_json());
    if refused.code == ErrorCode::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"licences\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// RFC 6749 §5.1: nobody keeps what stands in such an answer.
fn json(status: StatusCode, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(Body::Text(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn status(status: StatusCode, field: Option<(HeaderName, HeaderValue)>) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(field);
    response
}
