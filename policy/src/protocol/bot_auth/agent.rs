//! `Signature-Agent`: where an agent says that its keys are. Three generations of it are on the wire.
//!
//! | generation | field | keys are at |
//! |---|---|---|
//! | string | `"https://bot.example"` | the well-known path |
//! | typed dictionary (draft-meunier-webbotauth-httpsig-protocol-00 to -02) | `sig1="https://bot.example"`, or with `;type=directory` | the well-known path |
//! | | `sig1="https://bot.example/jwks.json";type=jwks_uri` | the URL |
//! | | `sig1="https://bot.example/card";type=cimd` | the key set that the client document there has or names |
//! | dictionary (draft-ietf-webbotauth-httpsig-protocol-01) | `sig1="https://bot.example/keys.json"` | the URL |
//!
//! They contradict each other about a bare origin without a type: the newest fetches the origin itself, though its own
//! vectors publish keys at the well-known path. Here a bare origin is the well-known path, anything with a path is itself.

use sfv::{BareItem, Item, ListEntry, Parser};

use crate::protocol::message_signature::{
    Component, DictionaryError, Field, Signature, dictionary_without_repeats, joined,
};

use super::url::{HttpsUrl, UrlError};
use super::{Settings, WELL_KNOWN_PATH};

/// Bytes of all `Signature-Agent` lines of a request.
pub const AGENT_FIELD_BYTES_MAX: usize = 8 * 1024;
/// Members of a `Signature-Agent` dictionary.
pub const AGENTS_MAX: usize = 16;

/// Where keys are to be fetched, and whose they are then.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeySource {
    /// What to fetch, with GET, over https, without following redirects.
    pub url: HttpsUrl,
    /// What is there.
    pub kind: SourceKind,
    /// The URL that names the agent: the one to which `Signature-Agent` leads, without its query.
    identity: HttpsUrl,
}

/// What is at a [`KeySource`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceKind {
    /// A key directory at the well-known path, which has a media type of its own.
    Directory,
    /// A JSON Web Key Set.
    KeySet,
    /// A client document, which has a key set or names the URL of one.
    ClientDocument,
}

impl KeySource {
    /// The keys at a URL: at the well-known path for a bare origin, else at the URL itself.
    pub fn at(url: HttpsUrl) -> KeySource {
        if url.is_origin() { KeySource::directory(&url) } else { KeySource::key_set(url) }
    }

    /// The key directory of an origin.
    pub fn directory(origin: &HttpsUrl) -> KeySource {
        KeySource::key_set(origin.with_path(WELL_KNOWN_PATH))
    }

    /// The key set at a URL as it stands.
    pub fn key_set(url: HttpsUrl) -> KeySource {
        let kind = if url.path() == WELL_KNOWN_PATH { SourceKind::Directory } else { SourceKind::KeySet };
        KeySource { identity: url.with_path(url.path()), url, kind }
    }

    /// The client document at a URL.
    pub fn client_document(url: HttpsUrl) -> KeySource {
        KeySource { identity: url.with_path(url.path()), url, kind: SourceKind::ClientDocument }
    }

    /// The key set that a client document names: fetched elsewhere, but the document's agent.
    pub(super) fn named_by(&self, url: HttpsUrl) -> KeySource {
        KeySource { identity: self.identity.clone(), ..KeySource::key_set(url) }
    }

    /// The URL that names the agent, normalised, without a query. Two agents may publish the same key: whose a signature
    /// is, only this and the key together say.
    pub fn identity(&self) -> &HttpsUrl {
        &self.identity
    }

    /// The host that vouches for the keys: the agent's, if they are at its well-known path.
    pub fn domain(&self) -> Option<&str> {
        (self.identity.path() == WELL_KNOWN_PATH).then(|| self.identity.authority())
    }
}

/// Why `Signature-Agent` names no keys for a signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no such field.
    #[error("no Signature-Agent")]
    Absent,
    /// More bytes than [`AGENT_FIELD_BYTES_MAX`] or members than [`AGENTS_MAX`].
    #[error("Signature-Agent is too long")]
    TooLong,
    /// Neither a dictionary nor a string, or of a generation that is not accepted.
    #[error("Signature-Agent cannot be read")]
    Unreadable,
    /// A key stands there twice.
    #[error("Signature-Agent has a member twice")]
    Repeated,
    /// The signature does not cover it.
    #[error("Signature-Agent is not covered")]
    NotCovered,
    /// Several members, and nothing says which is meant.
    #[error("several members of Signature-Agent could be meant")]
    Ambiguous,
    /// The member that is covered is not there.
    #[error("Signature-Agent has no member {0:?}")]
    NoMember(String),
    /// The member is not named as the signature is, which is not accepted.
    #[error("the member {0:?} of Signature-Agent is not named as its signature")]
    MemberIsNotLabel(String),
    /// A member with parameters that are to be ignored.
    #[error("a member of Signature-Agent with parameters that are not accepted is ignored")]
    Ignored,
    /// A `directory` with more than an origin.
    #[error("the directory in Signature-Agent is not an origin")]
    NotAnOrigin,
    /// Not a URL from which keys are fetched.
    #[error("the URL in Signature-Agent: {0}")]
    Url(#[from] UrlError),
}

impl AgentError {
    /// Whether a signature with it is undecided rather than wrong.
    pub(super) fn is_undecided(&self, settings: &Settings) -> bool {
        match self {
            AgentError::Absent => !settings.agent_required,
            AgentError::Ignored | AgentError::NotAnOrigin => true,
            _ => false,
        }
    }
}

/// Where the keys of a signature are, by the `Signature-Agent` that it covers.
pub(super) fn key_source(
    fields: &[Field<'_>],
    signature: &Signature,
    settings: &Settings,
) -> Result<KeySource, AgentError> {
    let value = joined(fields, "signature-agent").ok_or(AgentError::Absent)?;
    if value.len() > AGENT_FIELD_BYTES_MAX {
        return Err(AgentError::TooLong);
    }
    if value.iter().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b'"') {
        return string_form(&value, signature, settings);
    }
    let members = dictionary_without_repeats(&value).map_err(|error| match error {
        DictionaryError::Repeated => AgentError::Repeated,
        DictionaryError::Syntax(_) => AgentError::Unreadable,
    })?;
    if members.len() > AGENTS_MAX {
        return Err(AgentError::TooLong);
    }
    let only = if members.len() == 1 { members.keys().next().map(|key| key.as_str()) } else { None };
    let name = member_name(signature, only, |name| members.contains_key(name))?;
    if settings.member_is_label && name != signature.label {
        return Err(AgentError::MemberIsNotLabel(name));
    }
    match members.get(name.as_str()) {
        None => Err(AgentError::NoMember(name)),
        Some(ListEntry::InnerList(_)) => Err(AgentError::Unreadable),
        Some(ListEntry::Item(item)) => dictionary_form(item, settings),
    }
}

/// All places that a `Signature-Agent` names, whatever covers it: a claim that is still to be checked. None if it cannot be
/// read.
pub fn named_agents(value: &[u8]) -> Vec<KeySource> {
    if value.len() > AGENT_FIELD_BYTES_MAX {
        return Vec::new();
    }
    let url = |item: &Item| HttpsUrl::parse(item.bare_item.as_string()?.as_str()).ok().map(KeySource::at);
    if value.trim_ascii_start().first() == Some(&b'"') {
        let item: Result<Item, _> = Parser::new(value).parse();
        return item.ok().as_ref().and_then(url).into_iter().collect();
    }
    let members = dictionary_without_repeats(value).unwrap_or_default();
    let items = members.values().filter_map(|member| match member {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    items.take(AGENTS_MAX).filter_map(url).collect()
}

/// The member whose key the signature covers: the one of its own label, or the only one.
fn member_name(
    signature: &Signature,
    only: Option<&str>,
    has_member: impl Fn(&str) -> bool,
) -> Result<String, AgentError> {
    let label = signature.label.as_str();
    let covered: Vec<&str> = signature
        .components
        .iter()
        .filter(|component| component.name() == "signature-agent" && !component.is_of_request())
        .filter_map(Component::key)
        .collect();
    match covered.as_slice() {
        [] if !signature.covers("signature-agent") => Err(AgentError::NotCovered),
        // All members are covered at once.
        [] if has_member(label) => Ok(label.to_owned()),
        [] => only.map(str::to_owned).ok_or(AgentError::Ambiguous),
        several if several.contains(&label) => Ok(label.to_owned()),
        // An intermediary may rename a signature, and older drafts named members freely.
        [one] => Ok((*one).to_owned()),
        _ => Err(AgentError::Ambiguous),
    }
}

fn string_form(value: &[u8], signature: &Signature, settings: &Settings) -> Result<KeySource, AgentError> {
    if !settings.string_agents {
        return Err(AgentError::Unreadable);
    }
    let item: Item = Parser::new(value).parse().map_err(|_| AgentError::Unreadable)?;
    let url = item.bare_item.as_string().ok_or(AgentError::Unreadable)?;
    if !signature.covers("signature-agent") {
        return Err(AgentError::NotCovered);
    }
    if !item.params.is_empty() {
        return Err(AgentError::Ignored);
    }
    Ok(KeySource::at(HttpsUrl::parse(url.as_str())?))
}

fn dictionary_form(item: &Item, settings: &Settings) -> Result<KeySource, AgentError> {
    let url = item.bare_item.as_string().ok_or(AgentError::Unreadable)?.as_str();
    let mut parameters = item.params.iter();
    let source_type = match (parameters.next(), parameters.next()) {
        (None, _) => return Ok(KeySource::at(HttpsUrl::parse(url)?)),
        (Some((name, BareItem::Token(value))), None) if settings.typed_agents && name.as_str() == "type" => {
            value.as_str()
        }
        _ => return Err(AgentError::Ignored),
    };
    let url = match source_type {
        "directory" | "jwks_uri" | "cimd" => HttpsUrl::parse(url)?,
        _ => return Err(AgentError::Ignored),
    };
    match source_type {
        "directory" if url.is_origin() => Ok(KeySource::directory(&url)),
        "directory" => Err(AgentError::NotAnOrigin),
        "cimd" => Ok(KeySource::client_document(url)),
        _ => Ok(KeySource::key_set(url)),
    }
}
