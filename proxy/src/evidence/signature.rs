//! What a request's signature says about who sent it and for what price, before any decision.
//!
//! A request without one costs two look-ups. One whose signature was verified before, on this thread, with the same keys,
//! and with every part of it that is covered the same to the byte, is that same signature again: nothing is verified twice.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use billing::derived::Derived;
use billing::spent::{SpendError, SpendKey, Spending};
use http::{HeaderName, request};
use metrics::SignatureVerdict;
use policy::protocol::bot_auth::{
    Claim, KeyAbsent, KeyDirectory, KeySource, Keys, Outcome, Unverified, Verified, read_claims,
};
use policy::protocol::crawl_price::{self, SignatureOutcome};
use policy::protocol::message_signature::{Field, Request};
use policy::{CrawlerRow, Evidence, Offer, OfferError};
use tracing::debug;

use super::agents::Agents;
use crate::error::FetchError;
use crate::generations::Generations;
use crate::shared::{Shared, now_micros};

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// Where a crawler says what it pays.
const PRICE_FIELDS: [&str; 2] = [crawl_price::MAX_PRICE, crawl_price::EXACT_PRICE];

/// Signatures that each thread remembers.
const REMEMBERED_MAX: usize = 1024;
/// Signatures of which each thread knows that it has verified them before.
const SEEN_MAX: usize = 4096;
/// Bytes of a request that are remembered for a signature; one that covers more is verified each time.
const WITNESS_BYTES_MAX: usize = 8 * 1024;

/// A request as it was received, as far as a signature may be about it.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) head: &'a request::Parts,
    /// `https` or `http`, as the client sees it.
    pub(crate) scheme: &'a str,
    /// `Host` or `:authority`, as sent.
    pub(crate) authority: &'a str,
}

/// What is known of a request's signature.
pub(crate) struct Signature(Option<Seen>);

struct Seen {
    price: SignatureOutcome,
    verified: Option<Arc<Verified>>,
}

/// What a request with its signature amounts to.
pub(crate) struct Authorised {
    pub(crate) evidence: Evidence,
    pub(crate) offer: Result<Offer, OfferError>,
    /// The use of the signature, where money may move on it: it is good once.
    pub(crate) spending: Option<Spending>,
    /// The signature, if it holds.
    pub(crate) verified: Option<Arc<Verified>>,
}

impl Signature {
    /// What the signature makes of the network's evidence and of the price that is offered.
    ///
    /// # Errors
    /// No more signatures can be remembered: nothing may be sold on one.
    pub(crate) fn authorise(
        self,
        derived: &Derived,
        network: Evidence,
        offer: Result<Offer, OfferError>,
    ) -> Result<Authorised, FetchError> {
        let Some(Seen { price, verified }) = self.0 else {
            return Ok(Authorised { evidence: network, offer, spending: None, verified: None });
        };
        let by_network = matches!(network, Evidence::Range { .. } | Evidence::ReverseDns { .. });
        let mut evidence = match &verified {
            Some(verified) => network.with_signature(verified),
            None => network,
        };
        let mut offer = price.bind(offer);
        let Some(verified) = verified else {
            return Ok(Authorised { evidence, offer, spending: None, verified: None });
        };
        // Without a price a contract may speak, and where only the signature says for whom, it is the agreement.
        let may_pay = matches!(evidence, Evidence::Signed { may_pay: true, .. });
        let is_used_up = match offer {
            Ok(Offer::None) => may_pay && !by_network,
            Ok(_) => true,
            Err(_) => false,
        };
        if !is_used_up {
            return Ok(Authorised { evidence, offer, spending: None, verified: Some(verified) });
        }
        let key = SpendKey { digest: verified.replay.digest, until: verified.replay.until };
        let spending = match derived.spend(key, now_micros() / 1_000_000) {
            Ok(spending) => Some(spending),
            // Without a price nothing may come to be sold at all: what would be is refused for want of a name.
            Err(_) if offer == Ok(Offer::None) => {
                if let Evidence::Signed { may_pay, .. } = &mut evidence {
                    *may_pay = false;
                }
                None
            }
            Err(SpendError::Spent | SpendError::InUse) => {
                offer = Err(OfferError::Replayed);
                None
            }
            Err(error @ SpendError::Full) => {
                return Err(FetchError::LedgerUnavailable { why: error.to_string() });
            }
        };
        Ok(Authorised { evidence, offer, spending, verified: Some(verified) })
    }
}

/// Judges the signature of a crawler's request. What `Connection` names must be gone from it.
pub(crate) async fn judge(
    shared: &Shared,
    memory: &Memory,
    row: &CrawlerRow,
    received: Received<'_>,
) -> Signature {
    let fields = &received.head.headers;
    if !fields.contains_key(SIGNATURE_INPUT) && !fields.contains_key(SIGNATURE) {
        return Signature(None);
    }
    let agents = shared.identity.agents();
    let now = now_micros() / 1_000_000;
    let generation = agents.generation();
    let is_the_crawlers = |verified: &Verified| {
        verified.source.as_ref().is_some_and(|source| row.verification.has_agent(source))
    };
    let outcome = match memory.get(&received, generation, now).filter(|verified| is_the_crawlers(verified)) {
        Some(verified) => Ok(verified),
        None => match verify(agents, row, &received, now).await {
            Outcome::Verified(verified) => {
                memory.insert(&received, generation, &verified, agents);
                Ok(verified)
            }
            outcome => Err(outcome),
        },
    };
    let price_fields = PRICE_FIELDS.iter().copied().filter(|name| fields.contains_key(*name));
    let (verdict, seen) = match outcome {
        Ok(verified) => {
            let price = SignatureOutcome::of_verified(&verified, price_fields);
            (SignatureVerdict::Verified, Seen { price, verified: Some(verified) })
        }
        Err(Outcome::Unsigned) => return Signature(None),
        Err(outcome) => {
            debug!(crawler = &*row.token, ?outcome, "a signature proves nothing");
            let price = SignatureOutcome::of(&outcome, price_fields);
            let is_invalid = price == SignatureOutcome::Invalid;
            let verdict = if is_invalid { SignatureVerdict::Invalid } else { SignatureVerdict::Unverified };
            (verdict, Seen { price, verified: None })
        }
    };
    shared.telemetry.signature(verdict);
    Signature(Some(seen))
}

/// Verifies it afresh, with the keys of this crawler and no other.
async fn verify(agents: &Agents, row: &CrawlerRow, received: &Received<'_>, now: i64) -> Outcome {
    let fields: Vec<Field<'_>> =
        received.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = Request {
        method: received.head.method.as_str(),
        scheme: received.scheme,
        authority: received.authority,
        target: received.target(),
        fields: &fields,
        trailers: &[],
    };
    let settings = agents.settings();
    let claims = read_claims(&request, now, settings);
    let keys = RowKeys { agents, row };
    let mut outcome = claims.verify(&request, &keys, now, settings);
    // Keys that were never had, or not lately.
    if matches!(outcome, Outcome::Unverified { reason: Unverified::NoKeys(_), .. }) {
        for source in claims.sources() {
            if row.verification.has_agent(source) && agents.directory(source).is_none() {
                agents.ask(source).await;
            }
        }
        outcome = claims.verify(&request, &keys, now, settings);
    }
    match outcome {
        // A key that the agent has published since.
        Outcome::Unverified { reason: Unverified::Key(KeyAbsent::Unknown), label } => {
            let has_label = |claim: &&Claim| claim.label() == label;
            let source = claims.claims.iter().find(has_label).and_then(Claim::source);
            if let Some(source) = source
                && agents.ask(source).await
            {
                return claims.verify(&request, &keys, now, settings);
            }
            Outcome::Unverified { reason: Unverified::Key(KeyAbsent::Unknown), label }
        }
        outcome => outcome,
    }
}

/// The keys of one crawler.
struct RowKeys<'a> {
    agents: &'a Agents,
    row: &'a CrawlerRow,
}

impl Keys for RowKeys<'_> {
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        if self.row.verification.has_agent(source) { self.agents.directory(source) } else { None }
    }
}

impl Received<'_> {
    fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// These parts of it, as they came.
    fn write(&self, parts: &[Part], out: &mut Vec<u8>) {
        let (method, target) = (self.head.method.as_str(), self.target());
        for part in parts {
            match part {
                Part::Method => write(method.as_bytes(), out),
                Part::Authority => write(self.authority.as_bytes(), out),
                Part::Scheme => write(self.scheme.as_bytes(), out),
                Part::Target => write(target.as_bytes(), out),
                Part::RequestLine => {
                    [method, self.scheme, self.authority, target]
                        .iter()
                        .for_each(|part| write(part.as_bytes(), out));
                }
                Part::Field(name) => {
                    let values = self.head.headers.get_all(name);
                    write(&values.iter().count().to_le_bytes(), out);
                    values.iter().for_each(|value| write(value.as_bytes(), out));
                }
            }
        }
    }
}

/// A part of a request that a signature covers, or more than what it covers.
enum Part {
    Method,
    Authority,
    Scheme,
    Target,
    /// All of a request's line.
    RequestLine,
    Field(HeaderName),
}

impl Part {
    /// What tells a request with this signature from any other: the signature itself, and all that it covers.
    fn all_of(verified: &Verified) -> Option<Box<[Part]>> {
        let covered = verified.components().iter().map(|component| match component.name() {
            "@method" => Some(Part::Method),
            "@authority" => Some(Part::Authority),
            "@scheme" => Some(Part::Scheme),
            "@path" | "@query" | "@query-param" | "@request-target" => Some(Part::Target),
            // Everything else that is derived, and with it what nobody has thought of.
            derived if derived.starts_with('@') => Some(Part::RequestLine),
            field => HeaderName::from_bytes(field.as_bytes()).ok().map(Part::Field),
        });
        let itself = [SIGNATURE_INPUT, SIGNATURE].map(|field| Some(Part::Field(field)));
        itself.into_iter().chain(covered).collect()
    }
}

/// With its length before it, so that no two lists of parts are the same bytes.
fn write(part: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&part.len().to_le_bytes());
    out.extend_from_slice(part);
}

/// The signatures that one thread has verified more than once: most are made for one request and never come again.
pub(crate) struct Memory {
    hasher: RandomState,
    verified: RefCell<Generations<u64, Rc<Remembered>>>,
    /// Hashes of signatures that were verified lately, each at its place; another one may have taken it.
    seen: RefCell<Box<[u64]>>,
    /// Where witnesses are put together.
    scratch: RefCell<Vec<u8>>,
}

struct Remembered {
    parts: Box<[Part]>,
    /// The parts as they came, one after the other.
    witness: Box<[u8]>,
    verified: Arc<Verified>,
    /// The keys with which it was verified.
    generation: u64,
    /// When it ends, or its key does.
    until: i64,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory {
            hasher: RandomState::new(),
            verified: RefCell::new(Generations::new(REMEMBERED_MAX)),
            seen: RefCell::new(vec![0; SEEN_MAX].into()),
            scratch: RefCell::default(),
        }
    }

    fn get(&self, received: &Received<'_>, generation: u64, now: i64) -> Option<Arc<Verified>> {
        let remembered = self.verified.borrow_mut().get(&self.hash(received))?;
        if remembered.generation != generation || now >= remembered.until {
            return None;
        }
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        received.write(&remembered.parts, &mut scratch);
        (*remembered.witness == **scratch).then(|| Arc::clone(&remembered.verified))
    }

    /// Of the signature alone: which it is, the comparison tells.
    fn hash(&self, received: &Received<'_>) -> u64 {
        self.hasher.hash_one(received.head.headers.get(SIGNATURE).map(http::HeaderValue::as_bytes))
    }

    fn insert(&self, received: &Received<'_>, generation: u64, verified: &Arc<Verified>, agents: &Agents) {
        let hash = self.hash(received);
        let place = usize::try_from(hash % SEEN_MAX as u64).expect("it is small");
        if std::mem::replace(&mut self.seen.borrow_mut()[place], hash) != hash {
            return;
        }
        // An hour ago another policy may have named these keys.
        let Some(directory) = verified.source.as_ref().and_then(|source| agents.directory(source)) else {
            return;
        };
        let key = directory.keys().iter().find(|known| known.key.thumbprint() == &*verified.keyid);
        let Some(key) = key else { return };
        let Some(parts) = Part::all_of(verified) else { return };
        let mut witness = Vec::new();
        received.write(&parts, &mut witness);
        if witness.len() > WITNESS_BYTES_MAX {
            return;
        }
        let remembered = Remembered {
            parts,
            witness: witness.into(),
            verified: Arc::clone(verified),
            generation,
            until: key.not_after.map_or(verified.replay.until, |end| end.min(verified.replay.until)),
        };
        self.verified.borrow_mut().insert(hash, Rc::new(remembered));
    }
}

#[cfg(test)]
mod tests;
