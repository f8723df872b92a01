//! Fetches the keys of agents that sign (Web Bot Auth). Whoever sends a request names the place, so that it is fetched from
//! the public internet only, without redirects, within 3 s and 64 KiB; a client document may name one more place.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use policy::protocol::bot_auth::{
    AgentCard, CardError, CardKeys, DIRECTORY_BYTES_MAX, DirectoryError, Fetched, KeyDirectory, KeySource,
    Settings, SourceKind,
};
use tokio_rustls::TlsConnector;

use super::document::{self, Document, DocumentError, Reach, Terms};

/// The time of everything that is fetched for one agent.
pub(crate) const FETCH_TIME_MAX: Duration = Duration::from_secs(3);

/// Why an agent's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// Nothing came.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// What came has no keys.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What came is no client document.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The client document has no keys, and names no place where they are.
    #[error("the client document names no keys")]
    NoKeys,
    /// It took too long.
    #[error("no keys within {} s", FETCH_TIME_MAX.as_secs())]
    Time,
}

impl KeysError {
    /// Whether the agent's document came, and has no key that can be used.
    pub(super) fn is_withdrawal(&self) -> bool {
        match self {
            KeysError::Directory(error) | KeysError::Card(CardError::Keys(error)) => {
                matches!(error, DirectoryError::NoKeys(_))
            }
            KeysError::NoKeys => true,
            KeysError::Card(_) | KeysError::Document(_) | KeysError::Time => false,
        }
    }
}

/// An agent's keys, and the document that they were read from.
#[derive(Debug)]
pub(crate) struct AgentKeys {
    pub(crate) directory: KeyDirectory,
    pub(crate) document: Document,
}

/// Fetches an agent's keys.
pub(crate) async fn fetch(
    source: &KeySource,
    tls: &TlsConnector,
    reach: Reach<'_>,
    settings: &Settings,
) -> Result<AgentKeys, KeysError> {
    let fetching = fetch_within(source, tls, reach, settings);
    tokio::time::timeout(FETCH_TIME_MAX, fetching).await.unwrap_or(Err(KeysError::Time))
}

async fn fetch_within(
    source: &KeySource,
    tls: &TlsConnector,
    reach: Reach<'_>,
    settings: &Settings,
) -> Result<AgentKeys, KeysError> {
    let document = document(source, tls, reach).await?;
    if source.kind != SourceKind::ClientDocument {
        let directory = KeyDirectory::read(source, fetched(&document), settings)?;
        return Ok(AgentKeys { directory, document });
    }
    match AgentCard::read(Some(&source.url), fetched(&document))?.keys(source, settings)? {
        CardKeys::Here(directory) => Ok(AgentKeys { directory, document }),
        CardKeys::At(named) => {
            let document = self::document(&named, tls, reach).await?;
            let directory = KeyDirectory::read(&named, fetched(&document), settings)?;
            Ok(AgentKeys { directory, document })
        }
        CardKeys::None => Err(KeysError::NoKeys),
    }
}

async fn document(
    source: &KeySource,
    tls: &TlsConnector,
    reach: Reach<'_>,
) -> Result<Document, DocumentError> {
    let terms = Terms {
        time: FETCH_TIME_MAX,
        bytes: DIRECTORY_BYTES_MAX,
        redirects: 0,
        accept: "application/http-message-signatures-directory+json, application/jwk-set+json;q=0.9, application/json;q=0.8",
        reach,
    };
    document::fetch(source.url.as_str(), tls, &terms).await
}

fn fetched(document: &Document) -> Fetched<'_> {
    let content_type = document.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Whatever is not a 200 does not come as a document.
    Fetched { status: 200, content_type, body: &document.body }
}

#[cfg(test)]
mod tests;
