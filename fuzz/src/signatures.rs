//! Signed requests: a base is one line for each component, reads back as itself, and what is signed is verified.

use std::sync::{Arc, LazyLock};

use policy::protocol::bot_auth::{KeyDirectory, KeySource, Keys, Outcome, Settings, read_claims, verify};
use policy::protocol::message_signature::{Field, Message, Request, Signature, SigningKey, read_signatures};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(&[7; 32]).expect("a key"));

const NOW: i64 = 1_800_000_000;

/// Nobody has published anything.
struct Nobody;

impl Keys for Nobody {
    fn directory(&self, _: &KeySource) -> Option<Arc<KeyDirectory>> {
        None
    }
}

/// The first line is method, scheme, authority and target; then a field on each line.
pub(crate) fn run(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, scheme, authority, target) = (word(), word(), word(), word());
    let texts: Vec<(String, &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((String::from_utf8_lossy(&line[..colon]).into_owned(), &line[colon + 1..]))
        })
        .collect();
    let fields: Vec<Field<'_>> = texts.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let request = Request { method, scheme, authority, target, fields: &fields, trailers: &[] };

    let settings = Settings::default();
    for source in read_claims(&request, NOW, &settings).sources() {
        assert!(source.url.as_str().starts_with("https://"), "{source:?}");
        assert!(!source.url.authority().contains('@') && !source.url.authority().is_empty(), "{source:?}");
        assert!(source.url.as_str().is_ascii() && source.identity().as_str().is_ascii());
    }
    assert!(!matches!(verify(&request, &Nobody, NOW, &settings), Outcome::Verified(_)), "by nobody's key");

    for candidate in read_signatures(&fields).unwrap_or_default() {
        if let Ok(signature) = candidate.signature {
            check(&signature, Message::Request(&request));
        }
    }
}

fn check(signature: &Signature, message: Message<'_>) {
    let Ok(base) = signature.base(message) else { return };
    let lines: Vec<&str> = base.split('\n').collect();
    assert_eq!(lines.len(), signature.components.len() + 1, "{base:?}");
    for (line, component) in lines.iter().zip(&signature.components) {
        assert!(line.strip_prefix(component.text()).is_some_and(|rest| rest.starts_with(": ")), "{line:?}");
    }
    assert!(base.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')), "{base:?}");

    // What is covered, and on what terms, reads back as it was read.
    let parameters = lines[lines.len() - 1].strip_prefix("\"@signature-params\": ").expect("the last line");
    let input = format!("a={parameters}");
    let again = reread(&input, "a=:AA==:");
    assert_eq!(again.components, signature.components);
    assert_eq!(again.parameters, signature.parameters);
    assert_eq!(again.base(message).as_deref(), Ok(base.as_str()));

    let signed = KEY.sign("a", &signature.components, &signature.parameters, message).expect("it has a base");
    let mut made = reread(&signed.input, &signed.signature);
    assert_eq!(made.parameters, signature.parameters);
    // `alg` may name any; the key is for one.
    let expected =
        made.algorithm().is_ok_and(|alg| alg.is_none_or(|alg| alg == KEY.public_key().algorithm()));
    assert_eq!(made.verify(KEY.public_key(), message).is_ok(), expected, "{signed:?}");
    made.value[0] ^= 1;
    assert!(made.verify(KEY.public_key(), message).is_err());
}

fn reread(input: &str, value: &str) -> Signature {
    let fields = [("signature-input", input.as_bytes()), ("signature", value.as_bytes())];
    read_signatures(&fields)
        .expect("dictionaries")
        .remove(0)
        .signature
        .map(Arc::unwrap_or_clone)
        .expect("a signature")
}
