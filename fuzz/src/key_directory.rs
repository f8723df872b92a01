//! What agents publish: key directories, cards, registries. Keys that are read can be published again and are the same.

use policy::protocol::bot_auth::{
    AgentCard, CardKeys, DIRECTORY_KEYS_MAX, DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, KeyDirectory,
    KeySource, RegistryCard, Settings, directory_body, read_registry,
};

pub(crate) fn run(input: &[u8]) {
    let settings = Settings::default();
    let origin = HttpsUrl::parse("https://bot.example").expect("a URL");
    let card_url = HttpsUrl::parse("https://bot.example/card").expect("a URL");
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: input };
    for source in [KeySource::directory(&origin), KeySource::at(card_url.clone())] {
        if let Ok(directory) = KeyDirectory::read(&source, fetched, &settings) {
            check_keys(&directory, &settings);
        }
    }
    if let Ok(card) = AgentCard::read(Some(&card_url), fetched) {
        let source = KeySource::client_document(card_url);
        match card.keys(&source, &settings) {
            Ok(CardKeys::Here(directory)) => check_keys(&directory, &settings),
            Ok(CardKeys::At(keys)) => {
                assert_eq!(keys.identity(), source.identity());
                check_url(&keys.url);
            }
            Ok(CardKeys::None) | Err(_) => {}
        }
    }
    for (_, line) in read_registry(input).unwrap_or_default() {
        if let Ok(RegistryCard::At(url)) = line {
            check_url(&url);
        }
    }
}

fn check_keys(directory: &KeyDirectory, settings: &Settings) {
    let keys: Vec<_> = directory.keys().iter().map(|known| &known.key).collect();
    assert!(!keys.is_empty() && keys.len() + directory.refused().len() <= DIRECTORY_KEYS_MAX);
    let body = directory_body(&keys);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    let origin = HttpsUrl::parse("https://bot.example").expect("a URL");
    // A set of long RSA keys, written with names, may be longer than what it was read from.
    let Ok(again) = KeyDirectory::read(&KeySource::directory(&origin), fetched, settings) else {
        assert!(body.len() > 64 * 1024, "{body}");
        return;
    };
    let again: Vec<_> = again.keys().iter().map(|known| &known.key).collect();
    assert_eq!(again, keys);
    for known in directory.keys() {
        let thumbprint = known.key.thumbprint();
        assert_eq!(thumbprint.len(), 43);
        let from = known.not_before.unwrap_or(i64::MIN);
        let until = known.not_after.unwrap_or(i64::MAX);
        assert_eq!(directory.key(thumbprint, from).is_ok(), from < until || known.not_after.is_none());
        assert!(known.not_after.is_none() || directory.key(thumbprint, until).is_err());
    }
}

/// One spelling: what is normal stays as it is.
fn check_url(url: &HttpsUrl) {
    let again = HttpsUrl::parse(url.as_str()).expect("what was written is readable");
    assert_eq!(&again, url);
    let bare = HttpsUrl::parse(url.without_query()).expect("without a query as well");
    assert_eq!((bare.origin(), bare.path()), (url.origin(), url.path()));
}
