//! What can go wrong with a fetch, and who is to blame for it. Refusals are not errors: see `policy::Refusal`.

use std::io;

use metrics::{Limit, UpstreamFailure};

/// A fetch that could not be carried out. `crate::respond` holds the one table that turns these into answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The client's request is malformed or ambiguous: nothing of it reaches an origin.
    #[error("bad request: {why}")]
    BadRequest { why: &'static str },
    /// A method that a reverse proxy does not serve.
    #[error("the method CONNECT is for forward proxies")]
    ConnectRefused,
    /// A transfer coding other than exactly `chunked`.
    #[error("transfer coding not implemented")]
    UnknownTransferCoding,
    /// More bytes or fields than a head may have.
    #[error("the request head is too long")]
    HeadTooLarge,
    /// No site is configured for the host.
    #[error("no site is configured for host {host:?}")]
    UnknownHost { host: String },
    /// The path of a crawler's request could be read in two ways.
    #[error(transparent)]
    AmbiguousPath(#[from] policy::AmbiguousPath),
    /// The client sent no body bytes for too long.
    #[error("the client stopped sending its request body")]
    ClientBodyTimeout,
    /// The origin could not be reached.
    #[error("cannot connect to origin {origin}")]
    Connect {
        origin: String,
        #[source]
        source: io::Error,
    },
    /// The origin did not accept a connection in time.
    #[error("origin {origin} did not accept a connection in time")]
    ConnectTimeout { origin: String },
    /// The origin sent no response head in time.
    #[error("origin {origin} sent no response head in time")]
    HeadTimeout { origin: String },
    /// The connection to the origin failed before a response head.
    #[error("origin {origin} failed before the response head")]
    Origin {
        origin: String,
        #[source]
        source: hyper::Error,
    },
    /// The origin's response head is ambiguous or was not asked for.
    #[error("origin {origin} sent a response that cannot be passed on: {why}")]
    BadResponse { origin: String, why: &'static str },
    /// The origin's body broke off before anything of it had left.
    #[error("the origin's body broke off")]
    BodyCut,
    /// The record of a priced fetch cannot be written now.
    #[error("the ledger takes no entries: {why}")]
    LedgerUnavailable { why: String },
    /// More under way at once than there may be.
    #[error("too much at once: {}", .limit.as_str())]
    Overloaded { limit: Limit },
    /// A broken invariant of ours.
    #[error("internal error")]
    Internal,
}

impl FetchError {
    /// What metrics call it, if the origin is to blame.
    pub(crate) fn origin_failure(&self) -> Option<UpstreamFailure> {
        match self {
            FetchError::Connect { .. } => Some(UpstreamFailure::Connect),
            FetchError::ConnectTimeout { .. } => Some(UpstreamFailure::ConnectTimeout),
            FetchError::HeadTimeout { .. } => Some(UpstreamFailure::HeadTimeout),
            FetchError::Origin { .. } => Some(UpstreamFailure::Closed),
            FetchError::BadResponse { .. } => Some(UpstreamFailure::Protocol),
            FetchError::BodyCut => Some(UpstreamFailure::BodyCut),
            _ => None,
        }
    }
}

/// Why a body ended before its time. hyper cuts the connection (or resets the stream): the other side sees truncation,
/// never a clean end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the sender's body broke off")]
    Source(#[from] hyper::Error),
    #[error("no body bytes for too long")]
    Silent,
    #[error("the record of this fetch could not be written")]
    Unrecorded,
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
