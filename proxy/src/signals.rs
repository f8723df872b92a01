//! What sites publish of their policy: robots.txt with our lines in it, `license.xml`, `tdmrep.json`, and response fields.
//!
//! Nothing of this happens for a site whose policy does not ask for it (`[publish]`). What is worked out is kept: the documents
//! for each site, robots.txt for each text of the origin's, both until the policy is another one. Everybody gets the same
//! answer, so that caches need not know who asks; none of it is metered.
//!
//! Whether the origin itself says something else than the policy is counted ([`count_drift`]), and changes nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, request, response};
use http_body_util::{BodyExt, Limited};
use metrics::RequestClass;
use policy::lint::{self, ResponseText, Text, Texts};
use policy::protocol::crawl_price::Pricing;
use policy::protocol::{rsl, rsl::discovery, tdmrep};
use policy::publish::{self, LICENSE_PATH, Origin as SiteOrigin, Publisher, Signal, Switches};
use policy::{PolicySnapshot, Work};
use tracing::warn;

use crate::body::{Body, OriginBody, RequestBody};
use crate::error::FetchError;
use crate::fetch;
use crate::generations::Generations;
use crate::headers::{self, Target};
use crate::peer::Peer;
use crate::shared::{Shared, lock};
use crate::upstream::Origin;
use crate::worker::Worker;

/// Bytes of an origin's robots.txt that is augmented: crawlers read no more.
const ROBOTS_BYTES_MAX: usize = 512_000;
/// The time that an origin may take for the body of its robots.txt.
const ROBOTS_TIME_MAX: Duration = Duration::from_secs(10);
/// Answers that are kept; with more hosts or texts than that, those that nobody asks for are worked out again.
const KEPT_MAX: usize = 64;
/// How long copies of our own documents may be kept: a policy is live.
const MAX_AGE: &str = "public, max-age=3600";

/// What has been worked out, for the policy in force.
#[derive(Default)]
pub(crate) struct Signals(Mutex<Kept>);

struct Kept {
    policy: Option<Arc<str>>,
    documents: Generations<(SiteOrigin, Switches), Arc<Documents>>,
    robots: Generations<(SiteOrigin, Switches, String), Arc<Robots>>,
}

impl Kept {
    fn of(policy: Option<Arc<str>>) -> Kept {
        Kept { policy, documents: Generations::new(KEPT_MAX), robots: Generations::new(KEPT_MAX) }
    }
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::of(None)
    }
}

impl Signals {
    /// What is kept of a policy, by its digest; of another one nothing is.
    fn kept<T>(&self, policy: &Arc<str>, look: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = lock(&self.0);
        if kept.policy.as_ref() != Some(policy) {
            *kept = Kept::of(Some(Arc::clone(policy)));
        }
        look(&mut kept)
    }
}

struct Documents {
    license: Option<Bytes>,
    license_url: Option<String>,
    tdmrep: Option<Bytes>,
}

struct Robots {
    text: Bytes,
    /// What the origin's own text says against the policy.
    drift: Vec<(Signal, lint::Kind)>,
}

/// A request to a site that publishes something.
pub(crate) struct Published {
    policy: Arc<PolicySnapshot>,
    site: SiteOrigin,
    switches: Switches,
    /// Path and query.
    target: String,
}

impl Published {
    /// `None` where the policy does not ask for anything, which is nearly everywhere.
    pub(crate) fn of(
        policy: &Arc<PolicySnapshot>,
        scheme: &str,
        target: &Target,
        head: &request::Parts,
    ) -> Option<Published> {
        let is_of_licences = || head.uri.path() == LICENSE_PATH && !policy.licences().is_empty();
        if !policy.publishes() && !is_of_licences() {
            return None;
        }
        let site = SiteOrigin::new(scheme == "https", target.authority())?;
        let switches = policy.published(site.host());
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        switches.any().then(|| Published { policy: Arc::clone(policy), site, switches, target })
    }

    /// The licence document of a site, if it has one.
    pub(crate) async fn license(
        shared: &Shared,
        policy: &Arc<PolicySnapshot>,
        scheme: &str,
        target: &Target,
    ) -> Option<Bytes> {
        let site = SiteOrigin::new(scheme == "https", target.authority())?;
        let (policy, switches) = (Arc::clone(policy), policy.published(site.host()));
        let published = Published { policy, site, switches, target: String::new() };
        published.documents(shared).await.ok()?.license.clone()
    }

    /// The answer, if the request is for something that we publish; `None` leaves it to the origin.
    pub(crate) async fn answer(
        &self,
        worker: &Worker,
        peer: &Peer,
        origin: &Origin,
        target: &Target,
        head: &request::Parts,
        origin_time: &mut Option<Duration>,
    ) -> Result<Option<Response<Body>>, FetchError> {
        let wants_fields = self.switches.headers && self.switches.rsl;
        let documents = match head.uri.path() {
            "/robots.txt" if self.switches.robots && is_read(head) => {
                return self.robots(worker, peer, origin, target, head, origin_time).await;
            }
            LICENSE_PATH if self.switches.rsl && is_read(head) => self.documents(&worker.shared).await?,
            tdmrep::FILE_PATH if self.switches.tdmrep && is_read(head) => {
                self.documents(&worker.shared).await?
            }
            _ if wants_fields => {
                // The fields name the licence document, if there is one.
                self.documents(&worker.shared).await?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let (text, media_type) = match head.uri.path() {
            LICENSE_PATH => (&documents.license, rsl::MEDIA_TYPE),
            _ => (&documents.tdmrep, "application/json"),
        };
        Ok(text.as_ref().map(|text| {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            fields.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
            whole(head, fields, text.clone())
        }))
    }

    /// Adds what the policy says of a work to its response, whoever gets it; what the origin says itself stays as it is.
    pub(crate) fn add_fields(&self, shared: &Shared, (class, response): &mut (RequestClass, Response<Body>)) {
        let is_the_origins = matches!(class, RequestClass::Pass | RequestClass::Metered);
        if !self.switches.headers || !is_the_origins || !response.status().is_success() {
            return;
        }
        let documents = self.kept_documents(shared);
        let license_url = documents.as_ref().and_then(|documents| documents.license_url.as_deref());
        let own = response.headers_mut();
        let content_type = own.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let fields = publish::response_fields(
            &self.policy,
            &self.site,
            self.switches,
            license_url,
            &self.target,
            content_type,
        );
        let links = own.get_all(http::header::LINK).iter().map(HeaderValue::as_bytes);
        let has_license = !discovery::in_link_headers(links).is_empty();
        let has_reservation = own.contains_key(tdmrep::RESERVATION) || own.contains_key(tdmrep::POLICY);
        for (name, value) in fields {
            let is_said = match name {
                "link" => has_license,
                tdmrep::RESERVATION | tdmrep::POLICY => has_reservation,
                name => own.contains_key(name),
            };
            if let Ok(value) = HeaderValue::from_str(&value)
                && !is_said
            {
                own.append(HeaderName::from_static(name), value);
            }
        }
    }

    /// robots.txt: the origin's, with our lines in it. What is no text that we can read whole is passed on as it is.
    async fn robots(
        &self,
        worker: &Worker,
        peer: &Peer,
        origin: &Origin,
        target: &Target,
        asked: &request::Parts,
        origin_time: &mut Option<Duration>,
    ) -> Result<Option<Response<Body>>, FetchError> {
        let options = &worker.shared.options;
        let mut head = Request::new(()).into_parts().0;
        head.uri = asked.uri.clone();
        head.version = asked.version;
        head.headers = asked.headers.clone();
        // We need the whole text, as it is now, to write ours into it.
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
            head.headers.remove(name);
        }
        head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers::strip_overrides(&mut head.headers);
        headers::to_origin(&mut head, target, peer, &options.announce);
        if self.policy.listens_to_origin() {
            headers::tell_pricing(&mut head.headers, Some(Pricing::Bypass));
        }
        let request = Request::from_parts(head, RequestBody::Empty);
        let (mut head, body, lease) = fetch::call(worker, origin, request, None, origin_time).await?;
        headers::to_client(&mut head);
        let body = OriginBody::new(body, lease, options.timeouts.body_silence);
        let own = match head.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                head.headers = HeaderMap::new();
                head.headers.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
                Bytes::new()
            }
            StatusCode::OK if is_plain(&head) => {
                let read = Limited::new(body, ROBOTS_BYTES_MAX).collect();
                match tokio::time::timeout(ROBOTS_TIME_MAX, read).await {
                    Ok(Ok(text)) => text.to_bytes(),
                    // Too long, and it did not say so: asked for once more, it goes on as it comes.
                    Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return Ok(None),
                    Ok(Err(_)) | Err(_) => return Err(FetchError::BodyCut),
                }
            }
            _ => return Ok(Some(Response::from_parts(head, Body::Pass(Box::new(body))))),
        };
        let robots = self.augmented(&worker.shared, own).await?;
        for (signal, kind) in &robots.drift {
            worker.shared.telemetry.drifted(*signal, *kind);
        }
        Ok(Some(whole(asked, of_another_text(head.headers), robots.text.clone())))
    }

    async fn augmented(&self, shared: &Shared, own: Bytes) -> Result<Arc<Robots>, FetchError> {
        let key = (self.site.clone(), self.switches, publish::digest(&own));
        if let Some(robots) = self.kept(shared, |kept| kept.robots.get(&key)) {
            return Ok(robots);
        }
        let (policy, site, switches) = (Arc::clone(&self.policy), self.site.clone(), self.switches);
        let worked_out = tokio::task::spawn_blocking(move || {
            let text = match Publisher::new(&policy, &site, switches).robots(&own) {
                Ok((text, _)) => Bytes::from(text),
                Err(error) => {
                    warn!(
                        site = site.host(),
                        error = &error as &dyn std::error::Error,
                        "robots.txt is not augmented"
                    );
                    own.clone()
                }
            };
            Robots { text, drift: drift_of_robots(&policy, &site, &own) }
        });
        let robots = Arc::new(worked_out.await.map_err(|_| FetchError::Internal)?);
        self.kept(shared, |kept| {
            kept.robots.insert(key, Arc::clone(&robots));
        });
        Ok(robots)
    }

    async fn documents(&self, shared: &Shared) -> Result<Arc<Documents>, FetchError> {
        if let Some(documents) = self.kept_documents(shared) {
            return Ok(documents);
        }
        let (policy, site, switches) = (Arc::clone(&self.policy), self.site.clone(), self.switches);
        let worked_out = tokio::task::spawn_blocking(move || {
            let publisher = Publisher::new(&policy, &site, switches);
            let published = publisher.published();
            let bytes = |text: &Option<String>| text.clone().map(Bytes::from);
            Documents {
                license: bytes(&published.license),
                license_url: publisher.license_url().map(str::to_owned),
                tdmrep: bytes(&published.tdmrep),
            }
        });
        let documents = Arc::new(worked_out.await.map_err(|_| FetchError::Internal)?);
        self.kept(shared, |kept| {
            kept.documents.insert((self.site.clone(), self.switches), Arc::clone(&documents));
        });
        Ok(documents)
    }

    fn kept_documents(&self, shared: &Shared) -> Option<Arc<Documents>> {
        self.kept(shared, |kept| kept.documents.get(&(self.site.clone(), self.switches)))
    }

    fn kept<T>(&self, shared: &Shared, look: impl FnOnce(&mut Kept) -> T) -> T {
        shared.signals.kept(self.policy.digest(), look)
    }
}

/// Counts what an origin's response says against the policy. Next to nothing where it has none of the fields that could.
pub(crate) fn count_drift(shared: &Shared, (policy, work): (&PolicySnapshot, &Work), head: &response::Parts) {
    let speaks = |(name, value): (&HeaderName, &HeaderValue)| lint::speaks(name.as_str(), value.as_bytes());
    if !head.status.is_success() || !head.headers.iter().any(speaks) {
        return;
    }
    let is_https = work.url.starts_with("https:");
    let Some(site) = SiteOrigin::new(is_https, &work.host) else { return };
    let fields =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let response =
        ResponseText { name: String::new(), target: work.path.clone(), fields: fields.collect(), html: None };
    for finding in lint::lint_response(policy, &site, &response).contradictions() {
        shared.telemetry.drifted(finding.signal, finding.kind);
    }
}

/// What the origin's own robots.txt says against the policy, each kind once. What it does not say is for us to add.
fn drift_of_robots(policy: &PolicySnapshot, site: &SiteOrigin, own: &[u8]) -> Vec<(Signal, lint::Kind)> {
    let robots = Some(Text { name: "robots.txt".to_owned(), bytes: own.to_vec() });
    let mut drift: Vec<(Signal, lint::Kind)> =
        lint::find(policy, site, &Texts { robots, ..Texts::default() })
            .into_iter()
            .filter(|finding| finding.kind.is_contradiction())
            .map(|finding| (finding.signal, finding.kind))
            .filter(|drift| *drift != (Signal::Robots, lint::Kind::PromisesMore))
            .collect();
    drift.sort();
    drift.dedup();
    drift
}

fn is_read(head: &request::Parts) -> bool {
    (head.method == Method::GET || head.method == Method::HEAD)
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && head.headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

/// Whether a body is text that is not compressed and not too long, as far as its head says.
fn is_plain(head: &response::Parts) -> bool {
    let is = |name: HeaderName, what: fn(&str) -> bool| {
        head.headers.get(name).is_none_or(|value| value.to_str().is_ok_and(what))
    };
    is(CONTENT_ENCODING, |coding| coding.trim().eq_ignore_ascii_case("identity"))
        && is(CONTENT_TYPE, |kind| kind.trim_start().to_ascii_lowercase().starts_with("text/plain"))
        && is(CONTENT_LENGTH, |length| length.parse().is_ok_and(|bytes: usize| bytes <= ROBOTS_BYTES_MAX))
}

/// The origin's fields, without those that are about its own text.
fn of_another_text(mut fields: HeaderMap) -> HeaderMap {
    const ABOUT_BYTES: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
        fields.remove(name);
    }
    for name in ABOUT_BYTES {
        fields.remove(name);
    }
    if !fields.contains_key(CONTENT_TYPE) {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    fields
}

/// An answer with this text, or 304 to those who have it.
fn whole(asked: &request::Parts, mut fields: HeaderMap, text: Bytes) -> Response<Body> {
    let tag = format!("\"{}\"", publish::digest(&text));
    let has_it = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|known| matches!(known.trim().trim_start_matches("W/"), own if own == tag || own == "*"))
    };
    let is_known = asked.headers.get_all(IF_NONE_MATCH).iter().any(has_it);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(ETAG, tag);
    }
    let (status, body) = match asked.method {
        _ if is_known => (StatusCode::NOT_MODIFIED, Body::Empty),
        Method::HEAD => (StatusCode::OK, Body::Empty),
        _ => (StatusCode::OK, Body::Text(text.clone())),
    };
    if !is_known {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strangers can make up as many hosts as they like where a site answers for all. What is worked out for those that are asked
    /// for is not cleared by that, and all spellings of a host are one.
    #[test]
    fn hosts_that_are_made_up_clear_nothing_that_is_in_use() {
        let (signals, policy) = (Signals::default(), Arc::<str>::from("a digest"));
        let key = |host: &str| (SiteOrigin::new(true, host).expect("a host"), Switches::ALL);
        let documents = || Arc::new(Documents { license: None, license_url: None, tdmrep: None });
        let robots = || Arc::new(Robots { text: Bytes::new(), drift: Vec::new() });
        let robots_key = |host: &str| (key(host).0, Switches::ALL, "its text".to_owned());
        let (ours, our_robots) = (documents(), robots());
        signals.kept(&policy, |kept| {
            kept.documents.insert(key("site.test"), Arc::clone(&ours));
            kept.robots.insert(robots_key("site.test"), Arc::clone(&our_robots));
        });
        for number in 0..20 * KEPT_MAX {
            let stranger = format!("x{number}.test");
            let spelling = ["site.test", "SITE.test", "Site.Test:443"][number % 3];
            signals.kept(&policy, |kept| {
                kept.documents.insert(key(&stranger), documents());
                kept.robots.insert(robots_key(&stranger), robots());
                let documents = kept.documents.get(&key(spelling)).expect("kept");
                let robots = kept.robots.get(&robots_key(spelling)).expect("kept");
                assert!(Arc::ptr_eq(&documents, &ours) && Arc::ptr_eq(&robots, &our_robots));
                assert!(kept.documents.len() <= KEPT_MAX && kept.robots.len() <= KEPT_MAX);
            });
        }
        let other = Arc::<str>::from("another digest");
        assert!(signals.kept(&other, |kept| kept.documents.get(&key("site.test"))).is_none());
        assert!(signals.kept(&policy, |kept| kept.documents.get(&key("site.test"))).is_none());
    }
}
