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

use sfv::BareItemFromInput;

use crate::protocol::message_signature::{
    Component, Dictionary, DictionaryError, Field, Item, Member, Signature, Value, joined,
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
    /// The URL that names the agent, if it is another than `url`.
    identity: Option<HttpsUrl>,
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
        KeySource { identity: identity_of(&url), url, kind }
    }

    /// The client document at a URL.
    pub fn client_document(url: HttpsUrl) -> KeySource {
        KeySource { identity: identity_of(&url), url, kind: SourceKind::ClientDocument }
    }

    /// The key set that a client document names: fetched elsewhere, but the document's agent.
    pub(super) fn named_by(&self, url: HttpsUrl) -> KeySource {
        let identity = Some(self.identity().clone()).filter(|identity| *identity != url);
        KeySource { identity, ..KeySource::key_set(url) }
    }

    /// The URL that names the agent: the one to which `Signature-Agent` leads, normalised, without a query. Two agents may
    /// publish the same key: whose a signature is, only this and the key together say.
    pub fn identity(&self) -> &HttpsUrl {
        self.identity.as_ref().unwrap_or(&self.url)
    }

    /// The host that vouches for the keys: the agent's, if they are at its well-known path.
    pub fn domain(&self) -> Option<&str> {
        (self.identity().path() == WELL_KNOWN_PATH).then(|| self.identity().authority())
    }
}

/// The URL that names the agent, if that is another one than where its keys are.
fn identity_of(url: &HttpsUrl) -> Option<HttpsUrl> {
    (url.without_query() != url.as_str()).then(|| url.with_path(url.path()))
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
    let members = Dictionary::without_repeats(&value, AGENTS_MAX).map_err(|error| match error {
        DictionaryError::Repeated => AgentError::Repeated,
        DictionaryError::TooMany(_) => AgentError::TooLong,
        DictionaryError::Syntax(_) => AgentError::Unreadable,
    })?;
    let name = member_name(signature, &members)?;
    if settings.member_is_label && name != signature.label {
        return Err(AgentError::MemberIsNotLabel(name.to_owned()));
    }
    let member = members.get(name).ok_or_else(|| AgentError::NoMember(name.to_owned()))?;
    dictionary_form(member, settings)
}

/// All places that a `Signature-Agent` names, whatever covers it: a claim that is still to be checked. None if it cannot be
/// read, or names more than [`AGENTS_MAX`]: no signature with it would hold.
pub fn named_agents(value: &[u8]) -> Vec<KeySource> {
    if value.len() > AGENT_FIELD_BYTES_MAX {
        return Vec::new();
    }
    let source = |bare: &BareItemFromInput<'_>| match bare {
        BareItemFromInput::String(url) => HttpsUrl::parse(url.as_str()).ok().map(KeySource::at),
        _ => None,
    };
    if value.trim_ascii_start().first() == Some(&b'"') {
        return Item::parse(value).and_then(|item| source(&item.bare)).into_iter().collect();
    }
    let members = Dictionary::without_repeats(value, AGENTS_MAX).unwrap_or_default();
    let items = members.iter().filter_map(|(_, member)| match &member.value {
        Value::Bare(bare) => Some(bare),
        Value::List(_) => None,
    });
    items.filter_map(source).collect()
}

/// The member whose key the signature covers: the one of its own label, or the only one.
fn member_name<'a>(signature: &'a Signature, members: &Dictionary<'a>) -> Result<&'a str, AgentError> {
    let label = signature.label.as_str();
    let mut covered = signature
        .components
        .iter()
        .filter(|component| component.name() == "signature-agent" && !component.is_of_request())
        .filter_map(Component::key)
        .peekable();
    let Some(&first) = covered.peek() else {
        return match members.iter().next() {
            _ if !signature.covers("signature-agent") => Err(AgentError::NotCovered),
            // All members are covered at once.
            _ if members.get(label).is_some() => Ok(label),
            Some((only, _)) if members.len() == 1 => Ok(only),
            _ => Err(AgentError::Ambiguous),
        };
    };
    let is_only = covered.clone().nth(1).is_none();
    if covered.any(|name| name == label) {
        Ok(label)
    } else if is_only {
        // An intermediary may rename a signature, and older drafts named members freely.
        Ok(first)
    } else {
        Err(AgentError::Ambiguous)
    }
}

fn string_form(value: &[u8], signature: &Signature, settings: &Settings) -> Result<KeySource, AgentError> {
    if !settings.string_agents {
        return Err(AgentError::Unreadable);
    }
    let item = Item::parse(value).ok_or(AgentError::Unreadable)?;
    let BareItemFromInput::String(url) = &item.bare else { return Err(AgentError::Unreadable) };
    if !signature.covers("signature-agent") {
        return Err(AgentError::NotCovered);
    }
    if item.parameters.iter().next().is_some() {
        return Err(AgentError::Ignored);
    }
    Ok(KeySource::at(HttpsUrl::parse(url.as_str())?))
}

fn dictionary_form(member: &Member<'_>, settings: &Settings) -> Result<KeySource, AgentError> {
    let Value::Bare(BareItemFromInput::String(url)) = &member.value else {
        return Err(AgentError::Unreadable);
    };
    let url = url.as_str();
    let mut parameters = member.parameters.iter();
    let source_type = match (parameters.next(), parameters.next()) {
        (None, _) => return Ok(KeySource::at(HttpsUrl::parse(url)?)),
        (Some(("type", BareItemFromInput::Token(value))), None) if settings.typed_agents => value.as_str(),
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
