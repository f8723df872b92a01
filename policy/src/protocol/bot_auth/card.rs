//! Signature Agent Cards and registries of them (draft-meunier-webbotauth-registry-04): who an agent says it is.
//!
//! A card is an OAuth client document with an object `web_bot_auth`; it has a key set or names one. A registry is a text
//! with the URL of a card on each line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::Settings;
use super::agent::KeySource;
use super::directory::{DirectoryError, Fetched, KeyDirectory, check_response};
use super::url::{HttpsUrl, UrlError};
use crate::work::hex;

/// Bytes of a registry.
pub const REGISTRY_BYTES_MAX: usize = 1024 * 1024;
/// Cards of a registry; those after them are not read.
pub const REGISTRY_CARDS_MAX: usize = 10_000;

/// What an agent says of itself. Nothing of it is proof; its keys are.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct AgentCard {
    /// The URL of the card itself.
    pub client_id: String,
    /// Name.
    pub client_name: Option<String>,
    /// Home page.
    pub client_uri: Option<String>,
    /// Picture.
    pub logo_uri: Option<String>,
    /// Whom to write to.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// Where the keys are.
    pub jwks_uri: Option<String>,
    /// The keys.
    pub jwks: Option<Value>,
    /// What it says as a crawler.
    #[serde(default)]
    pub web_bot_auth: CrawlerStatement,
}

/// The object `web_bot_auth` of a card.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CrawlerStatement {
    /// The user agent that it sends.
    pub expected_user_agent: Option<String>,
    /// The name to which it listens in robots.txt.
    pub rfc9309_product_token: Option<String>,
    /// Whether it keeps to robots.txt.
    #[serde(default)]
    pub rfc9309_compliance: bool,
    /// `fetcher` or `crawler`.
    pub trigger: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// What it looks for.
    pub targeted_content: Option<String>,
    /// How its rate can be told.
    pub rate_control: Option<String>,
    /// The rate to expect.
    pub rate_expectation: Option<String>,
    /// What it fetches always.
    #[serde(default)]
    pub known_urls: Vec<String>,
    /// A list of its addresses.
    #[serde(rename = "ips_uri")]
    pub ips_uri: Option<String>,
}

/// The keys of a card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CardKeys {
    /// They stand in it.
    Here(KeyDirectory),
    /// They are to be fetched.
    At(KeySource),
    /// It names none.
    None,
}

/// What is wrong with a card.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CardError {
    /// Another status than 200, or too long.
    #[error(transparent)]
    Response(DirectoryError),
    /// Not a JSON object with members of the right types.
    #[error("not a client document: {0}")]
    NotACard(String),
    /// `client_id` is not the card's own URL.
    #[error("its client_id {0:?} is not its URL")]
    ClientId(String),
    /// Both `jwks` and `jwks_uri`.
    #[error("it has both jwks and jwks_uri")]
    BothKeys,
    /// `jwks_uri` is not a URL from which keys are fetched.
    #[error("its jwks_uri: {0}")]
    KeysUri(UrlError),
    /// `jwks` has no keys that can be used.
    #[error("its jwks: {0}")]
    Keys(DirectoryError),
}

impl AgentCard {
    /// Reads what was fetched from the URL of a card; `None` for one that stands in a registry.
    pub fn read(url: Option<&HttpsUrl>, fetched: Fetched<'_>) -> Result<AgentCard, CardError> {
        check_response(fetched).map_err(CardError::Response)?;
        let not_a_card = |error: serde_json::Error| CardError::NotACard(error.to_string());
        let value: Value = serde_json::from_slice(fetched.body).map_err(not_a_card)?;
        if !value.is_object() {
            return Err(CardError::NotACard("not an object".to_owned()));
        }
        let card: AgentCard = serde_json::from_value(value).map_err(not_a_card)?;
        if url.is_some_and(|url| card.client_id != url.as_str()) {
            return Err(CardError::ClientId(card.client_id.chars().take(200).collect()));
        }
        if card.jwks.is_some() && card.jwks_uri.is_some() {
            return Err(CardError::BothKeys);
        }
        Ok(card)
    }

    /// Its keys, if `source` is where it was fetched: they are that agent's, wherever they are.
    pub fn keys(&self, source: &KeySource, settings: &Settings) -> Result<CardKeys, CardError> {
        if let Some(jwks) = &self.jwks {
            let directory =
                KeyDirectory::from_value(source, jwks.clone(), settings).map_err(CardError::Keys)?;
            return Ok(CardKeys::Here(directory));
        }
        let Some(uri) = &self.jwks_uri else { return Ok(CardKeys::None) };
        Ok(CardKeys::At(source.named_by(HttpsUrl::parse(uri).map_err(CardError::KeysUri)?)))
    }
}

/// A line of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RegistryCard {
    /// A card to be fetched.
    At(HttpsUrl),
    /// A card that stands in the line (`data:`): the bytes of its document.
    Here(Vec<u8>),
}

/// What is wrong with a registry, or a line of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// More bytes than [`REGISTRY_BYTES_MAX`].
    #[error("more than {REGISTRY_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotText,
}

/// Why a line of a registry names no card.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryLineError {
    /// Not an https URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A `data:` URL that cannot be read.
    #[error("a data: URL that cannot be read")]
    Data,
}

/// Lines of a registry, each with its number from 1.
pub type RegistryLines = Vec<(usize, Result<RegistryCard, RegistryLineError>)>;

/// Reads a registry: a URL on each line, comments after `#`. A bad line does not spoil the others.
pub fn read_registry(text: &[u8]) -> Result<RegistryLines, RegistryError> {
    if text.len() > REGISTRY_BYTES_MAX {
        return Err(RegistryError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| RegistryError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        // A `#` within a URL begins its fragment, not a comment.
        let entry = line.split_whitespace().next().filter(|word| !word.starts_with('#'))?;
        Some((index + 1, read_registry_line(entry)))
    });
    Ok(lines.take(REGISTRY_CARDS_MAX).collect())
}

fn read_registry_line(entry: &str) -> Result<RegistryCard, RegistryLineError> {
    let Some(data) = entry.strip_prefix("data:") else {
        return Ok(RegistryCard::At(HttpsUrl::parse(entry)?));
    };
    let (media_type, data) = data.split_once(',').ok_or(RegistryLineError::Data)?;
    let bytes = percent_decoded(data).ok_or(RegistryLineError::Data)?;
    match media_type.strip_suffix(";base64") {
        Some(_) => STANDARD.decode(bytes).map(RegistryCard::Here).map_err(|_| RegistryLineError::Data),
        None => Ok(RegistryCard::Here(bytes)),
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().as_ref().and_then(hex);
        decoded.push(digit()? << 4 | digit()?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(url: &str, text: &str) -> Result<AgentCard, CardError> {
        let url = HttpsUrl::parse(url).expect("a URL");
        AgentCard::read(Some(&url), Fetched { status: 200, content_type: None, body: text.as_bytes() })
    }

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}"#;

    #[test]
    fn a_card_says_who_and_where_its_keys_are() {
        let url = "https://bot.example/card";
        let text = r#"{"client_id":"https://bot.example/card","client_name":"Example Bot","unknown":[1],
            "contacts":["mailto:bot@example.com"],"jwks_uri":"https://keys.example/jwks.json",
            "web_bot_auth":{"expected-user-agent":"ExampleBot/1","rfc9309-product-token":"ExampleBot",
            "trigger":"fetcher","ips_uri":"https://bot.example/ips.json","known-urls":["/robots.txt"]}}"#;
        let card = card(url, text).expect("a card");
        assert_eq!(card.client_name.as_deref(), Some("Example Bot"));
        assert_eq!(card.web_bot_auth.rfc9309_product_token.as_deref(), Some("ExampleBot"));
        assert_eq!(card.web_bot_auth.ips_uri.as_deref(), Some("https://bot.example/ips.json"));
        assert!(!card.web_bot_auth.rfc9309_compliance, "nobody is compliant who does not say so");
        let source = KeySource::client_document(HttpsUrl::parse(url).expect("a URL"));
        let Ok(CardKeys::At(keys)) = card.keys(&source, &Settings::default()) else { panic!("no keys") };
        assert_eq!(keys.url.as_str(), "https://keys.example/jwks.json");
        assert_eq!(keys.identity().as_str(), url, "the keys are the card's agent's");
    }

    #[test]
    fn keys_within_a_card_are_its_agents() {
        let url = "https://bot.example/card";
        let card =
            card(url, &format!(r#"{{"client_id":"{url}","jwks":{{"keys":[{KEY}]}}}}"#)).expect("a card");
        let source = KeySource::client_document(HttpsUrl::parse(url).expect("a URL"));
        let Ok(CardKeys::Here(keys)) = card.keys(&source, &Settings::default()) else { panic!("no keys") };
        assert_eq!(keys.keys().len(), 1);
        assert_eq!(keys.source(), &source);
    }

    #[test]
    fn cards_that_contradict_themselves_are_refused() {
        let url = "https://bot.example/card";
        let other = r#"{"client_id":"https://bot.example/other"}"#;
        assert!(matches!(card(url, other), Err(CardError::ClientId(_))));
        let both = format!(r#"{{"client_id":"{url}","jwks_uri":"https://a.example/","jwks":{{"keys":[]}}}}"#);
        assert_eq!(card(url, &both), Err(CardError::BothKeys));
        assert!(matches!(card(url, r#"{"client_name":"x"}"#), Err(CardError::NotACard(_))));
        assert!(matches!(card(url, "<html>"), Err(CardError::NotACard(_))));
        let redirected = Fetched { status: 302, content_type: None, body: b"{}" };
        assert_eq!(AgentCard::read(None, redirected), Err(CardError::Response(DirectoryError::Status(302))));
    }

    #[test]
    fn a_registry_is_read_line_by_line() {
        let text = "# bots\nhttps://one.example/card # the first\n\n  https://two.example/card#x\nhttp://three.example/\n\
                    data:application/json;base64,e30=\ndata:application/json,%7B%7D\ndata:,%zz\n";
        let read = read_registry(text.as_bytes()).expect("a registry");
        let url = |text| Ok(RegistryCard::At(HttpsUrl::parse(text).expect("a URL")));
        let expected: RegistryLines = vec![
            (2, url("https://one.example/card")),
            (4, url("https://two.example/card")),
            (5, Err(RegistryLineError::Url(UrlError::NotHttps))),
            (6, Ok(RegistryCard::Here(b"{}".to_vec()))),
            (7, Ok(RegistryCard::Here(b"{}".to_vec()))),
            (8, Err(RegistryLineError::Data)),
        ];
        assert_eq!(read, expected);
        assert_eq!(read_registry(b"\xff"), Err(RegistryError::NotText));
    }
}
