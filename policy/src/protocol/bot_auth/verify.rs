//! The verdict about a request: verified, invalid, unverified, or unsigned.

use std::sync::Arc;

use super::agent::{AgentError, KeySource, key_source};
use super::directory::{KeyAbsent, KeyDirectory};
use super::payment::ReplayKey;
use super::{REQUEST_TAG, Settings};
use crate::protocol::message_signature::{
    Algorithm, Candidate, Component, Malformed, Message, PublicKey, Request, Signature, SignaturesError,
    VerifyError, read_signatures,
};

/// What the signatures of a request say about who sent it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is who he says, and this request is his.
    Verified(Arc<Verified>),
    /// It is signed, and the signature does not hold or says too little.
    Invalid {
        /// Label of the signature; empty if none could be told apart.
        label: String,
        /// Why.
        reason: Invalid,
    },
    /// It is signed, and whether the signature holds could not be decided.
    Unverified {
        /// Label of the signature.
        label: String,
        /// Why.
        reason: Unverified,
    },
    /// It has no signature of this protocol, which says nothing about anybody.
    Unsigned,
}

/// A signature that holds.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Where its key is published: with the key, the identity of the agent. `None` if the request names no such place and
    /// the key was known beforehand: then the key alone is the identity.
    pub source: Option<Arc<KeySource>>,
    /// Thumbprint of the key.
    pub keyid: Arc<str>,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// When it ends, in Unix seconds.
    pub expires: i64,
    /// What must be remembered so that it counts once.
    pub replay: ReplayKey,
    signature: Arc<Signature>,
}

impl Verified {
    /// Label of the signature.
    pub fn label(&self) -> &str {
        &self.signature.label
    }

    /// Its nonce.
    pub fn nonce(&self) -> Option<&str> {
        self.signature.parameters.nonce.as_deref()
    }

    /// What it covers, in its order.
    pub fn components(&self) -> &[Component] {
        &self.signature.components
    }

    /// Whether the whole of a field or derived component of that name, in lower case, is covered.
    pub fn covers(&self, name: &str) -> bool {
        self.signature.covers(name)
    }
}

/// Why a signature is worth nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// `Signature-Input` or `Signature` cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SignaturesError),
    /// The signature cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its tag is another protocol's, and the settings refuse that.
    #[error("its tag is not web-bot-auth")]
    Tag,
    /// It covers neither `@authority` nor `@target-uri`: it holds for every site.
    #[error("it covers neither @authority nor @target-uri")]
    TargetNotCovered,
    /// A parameter that it must have.
    #[error("it has no parameter {0}")]
    MissingParameter(&'static str),
    /// `created` is in the future.
    #[error("it was created in the future")]
    Future,
    /// `expires` is over.
    #[error("it has expired")]
    Expired,
    /// It expires before it was created.
    #[error("it expires before it was created")]
    Backwards,
    /// It is good for longer than the settings allow.
    #[error("it is good for {window_s} s, longer than the {window_s_max} s that are accepted")]
    WindowTooLong {
        /// From `created` to `expires`.
        window_s: i64,
        /// What is accepted.
        window_s_max: i64,
    },
    /// `Signature-Agent` does not say whose it is.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// It covers another signature without all that this one covers.
    #[error("it covers the signature {0:?} without its input and all that this covers")]
    OuterIncomplete(String),
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

/// Why nothing could be decided.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unverified {
    /// `Signature-Agent` is absent, or what it says is ignored.
    #[error(transparent)]
    Agent(AgentError),
    /// The keys could not be had, or are not there yet.
    #[error("the keys at {0} could not be had")]
    NoKeys(String),
    /// The agent publishes no such key, or it is not good now.
    #[error(transparent)]
    Key(KeyAbsent),
    /// The private part of this key stands in a public document: anybody can sign with it.
    #[error("the private part of its key is published")]
    PublishedPrivateKey,
}

/// Keys that are at hand. Nothing is fetched while a request is judged.
pub trait Keys {
    /// The directory that was fetched from there, if any.
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>>;

    /// A key that was agreed upon beforehand, for signatures that name no place where it is published.
    fn agreed(&self, _thumbprint: &str) -> Option<PublicKey> {
        None
    }
}

/// A signature that is well-formed, covers what it must and is in its time: whether it holds, its key will tell.
#[derive(Clone, Debug)]
pub struct Claim {
    signature: Arc<Signature>,
    source: Option<Arc<KeySource>>,
    created: i64,
    expires: i64,
}

/// What a request claims, before any key is asked for.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Signatures that could hold, in their order.
    pub claims: Vec<Claim>,
    /// The verdict if none of them holds: [`Outcome::Unsigned`], or what is wrong with another one.
    pub otherwise: Outcome,
}

/// Reads what a request claims: the keys that must be at hand before [`Claims::verify`].
///
/// The request must be the one that was received: before fields are removed for `Connection`, and before any is rewritten.
/// `now` is in Unix seconds.
pub fn read_claims(request: &Request<'_>, now: i64, settings: &Settings) -> Claims {
    let candidates = match read_signatures(request.fields) {
        Ok(candidates) => candidates,
        Err(error) => {
            let otherwise = Outcome::Invalid { label: String::new(), reason: error.into() };
            return Claims { claims: Vec::new(), otherwise };
        }
    };
    let mut read = Claims { claims: Vec::new(), otherwise: Outcome::Unsigned };
    for candidate in &candidates {
        let label = candidate.label.clone();
        if candidate.tag.as_deref() != Some(REQUEST_TAG) {
            if settings.refuse_other_tags {
                read.otherwise.worse(Outcome::Invalid { label, reason: Invalid::Tag });
            }
            continue;
        }
        match read_claim(request, candidate, &candidates, now, settings) {
            Ok(claim) => read.claims.push(claim),
            Err(Invalid::Agent(error)) if error.is_undecided(settings) => {
                read.otherwise.worse(Outcome::Unverified { label, reason: Unverified::Agent(error) });
            }
            Err(reason) => read.otherwise.worse(Outcome::Invalid { label, reason }),
        }
    }
    read
}

/// Judges a request with the keys that are at hand; `now` is in Unix seconds.
pub fn verify(request: &Request<'_>, keys: &dyn Keys, now: i64, settings: &Settings) -> Outcome {
    read_claims(request, now, settings).verify(request, keys, now, settings)
}

fn read_claim(
    request: &Request<'_>,
    candidate: &Candidate,
    all: &[Candidate],
    now: i64,
    settings: &Settings,
) -> Result<Claim, Invalid> {
    let signature = candidate.signature.clone()?;
    if !signature.covers("@authority") && !signature.covers("@target-uri") {
        return Err(Invalid::TargetNotCovered);
    }
    let created = signature.parameters.created.ok_or(Invalid::MissingParameter("created"))?;
    let expires = signature.parameters.expires.ok_or(Invalid::MissingParameter("expires"))?;
    if signature.parameters.keyid.is_none() {
        return Err(Invalid::MissingParameter("keyid"));
    }
    signature.algorithm()?;
    check_time(created, expires, now, settings)?;
    check_outer(&signature, all)?;
    let names_agent = signature.components.iter().any(|component| component.name() == "signature-agent");
    let source = match key_source(request.fields, &signature, settings) {
        Ok(source) => Some(Arc::new(source)),
        // Whether a key was agreed upon, `verify` asks. But what is covered must be there.
        Err(AgentError::Absent) if !names_agent && !settings.agent_required => None,
        Err(AgentError::Absent) if names_agent => {
            let missing = signature.base(Message::Request(request)).err();
            return Err(missing.map_or(Invalid::Agent(AgentError::Absent), Invalid::Signature));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Claim { signature, source, created, expires })
}

fn check_time(created: i64, expires: i64, now: i64, settings: &Settings) -> Result<(), Invalid> {
    if created > now.saturating_add(settings.skew_s) {
        return Err(Invalid::Future);
    }
    if expires <= now.saturating_sub(settings.skew_s) {
        return Err(Invalid::Expired);
    }
    if expires < created {
        return Err(Invalid::Backwards);
    }
    let window_s = expires.saturating_sub(created);
    if window_s > settings.window_s_max {
        return Err(Invalid::WindowTooLong { window_s, window_s_max: settings.window_s_max });
    }
    Ok(())
}

/// A signature about another one must cover what that one covers, else it vouches for what it has not seen.
fn check_outer(signature: &Signature, all: &[Candidate]) -> Result<(), Invalid> {
    let inner_labels = signature
        .components
        .iter()
        .filter(|component| component.name() == "signature")
        .filter_map(Component::key);
    for label in inner_labels {
        let incomplete = || Invalid::OuterIncomplete(label.to_owned());
        let covers_input = signature
            .components
            .iter()
            .any(|component| component.name() == "signature-input" && component.key() == Some(label));
        let inner = all.iter().find(|candidate| candidate.label == label).ok_or_else(incomplete)?;
        let inner = inner.signature.as_ref().map_err(|_| incomplete())?;
        if !covers_input || !inner.components.iter().all(|component| signature.components.contains(component))
        {
            return Err(incomplete());
        }
    }
    Ok(())
}

impl Claims {
    /// Where the keys are that are needed, each once.
    pub fn sources(&self) -> Vec<&KeySource> {
        let mut sources: Vec<&KeySource> = Vec::new();
        for source in self.claims.iter().filter_map(Claim::source) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources
    }

    /// The verdict: the first signature that holds; else what is wrong with one, rather than that one is undecided.
    pub fn verify(&self, request: &Request<'_>, keys: &dyn Keys, now: i64, settings: &Settings) -> Outcome {
        let mut otherwise = self.otherwise.clone();
        for claim in &self.claims {
            match claim.verify(request, keys, now, settings) {
                verified @ Outcome::Verified(_) => return verified,
                other => otherwise.worse(other),
            }
        }
        otherwise
    }
}

impl Outcome {
    /// Takes the other verdict's place for its own if that one says more.
    fn worse(&mut self, other: Outcome) {
        let weight = |outcome: &Outcome| match outcome {
            Outcome::Unsigned => 0,
            Outcome::Unverified { .. } => 1,
            Outcome::Invalid { .. } => 2,
            Outcome::Verified(_) => 3,
        };
        if weight(&other) > weight(self) {
            *self = other;
        }
    }
}

impl Claim {
    /// Label of the signature.
    pub fn label(&self) -> &str {
        &self.signature.label
    }

    /// Where its key should be; `None` if the request does not say.
    pub fn source(&self) -> Option<&KeySource> {
        self.source.as_deref()
    }

    /// Thumbprint of its key, as the signature names it.
    pub fn keyid(&self) -> &str {
        self.signature.parameters.keyid.as_deref().unwrap_or_default()
    }

    /// Judges this signature alone.
    pub fn verify(&self, request: &Request<'_>, keys: &dyn Keys, now: i64, settings: &Settings) -> Outcome {
        let label = || self.signature.label.clone();
        if settings.refuse_published_private_keys && super::is_private_part_published(self.keyid()) {
            return Outcome::Unverified { label: label(), reason: Unverified::PublishedPrivateKey };
        }
        let (directory, agreed);
        let key = match &self.source {
            None => {
                agreed = keys.agreed(self.keyid());
                agreed.as_ref().ok_or(Unverified::Agent(AgentError::Absent))
            }
            Some(source) => {
                directory = keys.directory(source);
                self.key_in(directory.as_deref(), source, now)
            }
        };
        let key = match key {
            Ok(key) => key,
            Err(reason) => return Outcome::Unverified { label: label(), reason },
        };
        let base = match self.signature.verified_base(key, Message::Request(request)) {
            Ok(base) => base,
            Err(error) => return Outcome::Invalid { label: label(), reason: error.into() },
        };
        Outcome::Verified(Arc::new(Verified {
            replay: ReplayKey::new(
                self.source(),
                self.keyid(),
                self.signature.parameters.nonce.as_deref(),
                &base,
                self.expires.saturating_add(settings.skew_s),
            ),
            source: self.source.clone(),
            keyid: key.shared_thumbprint(),
            algorithm: key.algorithm(),
            created: self.created,
            expires: self.expires,
            signature: Arc::clone(&self.signature),
        }))
    }

    fn key_in<'a>(
        &self,
        directory: Option<&'a KeyDirectory>,
        source: &KeySource,
        now: i64,
    ) -> Result<&'a PublicKey, Unverified> {
        // A cache that mixed up two agents must not make one of them the other.
        let directory = directory
            .filter(|directory| directory.source().identity() == source.identity())
            .ok_or_else(|| Unverified::NoKeys(source.url.as_str().to_owned()))?;
        directory.key(self.keyid(), now).map_err(Unverified::Key)
    }
}
