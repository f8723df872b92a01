//! Side by side with two other implementations of RFC 9421: `web-bot-auth` (Cloudflare) and `httpsig`.
//!
//! Where they and we differ on purpose:
//!
//! - `web-bot-auth` 0.7.0 leaves time to its caller: it verifies what has expired or is yet to come. Here both are invalid.
//! - It knows a key by its name alone. Here a key is looked up by the agent's URL and its thumbprint, so the keyring below has
//!   one agent's key only.
//! - Of several members of `Signature-Agent` it takes the first that is covered; here the signature's label decides, and what
//!   stays ambiguous is invalid.
//! - `httpsig` 0.0.26 writes methods in capitals and joins a query parameter that stands several times. RFC 9421 section
//!   2.2.1 leaves methods as they are, section 2.2.8 forbids to cover such a parameter. The base is compared of values
//!   that we derived, so neither shows below.

use std::sync::Arc;

use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{
    AlgorithmName, HttpSignatureBase, HttpSignatureHeaders, HttpSignatureParams, SecretKey, VerifyingKey as _,
};
use indexmap::IndexMap;
use policy::protocol::bot_auth::{
    AgentForm, DIRECTORY_MEDIA_TYPE, Fetched, HttpsUrl, KeyDirectory, KeySource, Keys, Outcome, Settings,
    SignRequest, directory_body, sign_request, verify,
};
use policy::protocol::message_signature::{
    Component, Field, Message, Parameters, PublicKey, Request, SigningKey, read_signatures,
};
use proptest::prelude::*;
use web_bot_auth::WebBotAuthVerifier;
use web_bot_auth::components::{
    CoveredComponent, DerivedComponent, HTTPField, HTTPFieldParameters, HTTPFieldParametersSet,
};
use web_bot_auth::keyring::{Algorithm, KeyRing};
use web_bot_auth::message_signatures::{MessageSigner, SignedMessage, UnsignedMessage};

const SEED: [u8; 32] = [5; 32];
const KEYS_URL: &str = "https://bot.example/keys.json";
const AUTHORITY: &str = "site.example";
const TARGET: &str = "/articles/1?p=2&q=a%20b";

fn key() -> SigningKey {
    SigningKey::from_seed(&SEED).expect("a key")
}

struct OneAgent(Arc<KeyDirectory>);

impl Keys for OneAgent {
    fn directory(&self, source: &KeySource) -> Option<Arc<KeyDirectory>> {
        (self.0.source() == source).then(|| self.0.clone())
    }
}

fn agent(source: KeySource) -> OneAgent {
    let body = directory_body(&[key().public_key()]);
    let fetched = Fetched { status: 200, content_type: Some(DIRECTORY_MEDIA_TYPE), body: body.as_bytes() };
    OneAgent(Arc::new(KeyDirectory::read(&source, fetched, &Settings::default()).expect("a directory")))
}

fn request<'a>(fields: &'a [Field<'a>]) -> Request<'a> {
    Request { method: "GET", scheme: "https", authority: AUTHORITY, target: TARGET, fields, trailers: &[] }
}

/// A request as `web-bot-auth` asks for it.
#[derive(Clone)]
struct Theirs {
    fields: Vec<(String, String)>,
}

impl SignedMessage for Theirs {
    fn lookup_component(&self, name: &CoveredComponent) -> Vec<String> {
        match name {
            CoveredComponent::Derived(DerivedComponent::Authority { .. }) => vec![AUTHORITY.to_owned()],
            CoveredComponent::Derived(DerivedComponent::Method { .. }) => vec!["GET".to_owned()],
            CoveredComponent::Derived(DerivedComponent::Path { .. }) => vec!["/articles/1".to_owned()],
            CoveredComponent::Derived(DerivedComponent::Query { .. }) => vec!["?p=2&q=a%20b".to_owned()],
            CoveredComponent::Derived(DerivedComponent::TargetUri { .. }) => {
                vec![format!("https://{AUTHORITY}{TARGET}")]
            }
            CoveredComponent::Derived(_) => Vec::new(),
            CoveredComponent::HTTP(field) => {
                let values = self.fields.iter().filter(|(name, _)| *name == field.name);
                match field.parameters.0.as_slice() {
                    [] => values.map(|(_, value)| value.clone()).collect(),
                    // It leaves members to its caller.
                    [HTTPFieldParameters::Key(key)] => values
                        .filter_map(|(_, value)| {
                            let prefix = format!("{key}=");
                            value
                                .split(", ")
                                .find_map(|member| member.strip_prefix(&prefix))
                                .map(str::to_owned)
                        })
                        .collect(),
                    _ => Vec::new(),
                }
            }
        }
    }
}

/// Whether it says that the signature holds; its time is the caller's.
fn they_verify(message: &Theirs) -> bool {
    let key = key();
    let mut public = [0; 32];
    let jwk = key.public_key().to_jwk();
    let x = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        jwk["x"].as_str().expect("x"),
    );
    public.copy_from_slice(&x.expect("base64"));
    let mut keyring = KeyRing::default();
    keyring.import_raw(key.public_key().thumbprint().to_owned(), Algorithm::Ed25519, public.to_vec());
    WebBotAuthVerifier::parse(message).is_ok_and(|verifier| verifier.verify(&keyring, None).is_ok())
}

fn we_verify(message: &Theirs, now: i64) -> bool {
    let fields: Vec<Field<'_>> =
        message.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let source = match message.fields.iter().any(|(_, value)| value.starts_with('"')) {
        true => KeySource::directory(&HttpsUrl::parse("https://bot.example").expect("a URL")),
        false => KeySource::at(HttpsUrl::parse(KEYS_URL).expect("a URL")),
    };
    matches!(verify(&request(&fields), &agent(source), now, &Settings::default()), Outcome::Verified(_))
}

#[test]
fn web_bot_auth_verifies_what_we_sign_and_nothing_else() {
    let price: [Field<'_>; 1] = [("crawler-max-price", b"USD 0.05")];
    let now = 1_800_000_000;
    for (form, keys) in [(AgentForm::Dictionary, KEYS_URL), (AgentForm::String, "https://bot.example")] {
        for components in [
            &[][..],
            &["\"@method\"", "\"@path\"", "\"@query\""],
            &["\"@target-uri\"", "\"crawler-max-price\""],
        ] {
            let how = SignRequest {
                form,
                label: "sig1",
                components,
                created: now,
                expires: now + 60,
                nonce: Some("bm9uY2U="),
            };
            let keys = HttpsUrl::parse(keys).expect("a URL");
            let signed = sign_request(&key(), &keys, &request(&price), &how).expect("signed");
            let good = Theirs {
                fields: vec![
                    ("crawler-max-price".to_owned(), "USD 0.05".to_owned()),
                    ("signature-agent".to_owned(), signed.signature_agent),
                    ("signature-input".to_owned(), signed.signature_input),
                    ("signature".to_owned(), signed.signature),
                ],
            };
            assert!(they_verify(&good) && we_verify(&good, now), "{components:?}");

            // Every field changed in its middle: they and we say the same, unless it is not covered.
            for at in 0..good.fields.len() {
                let mut bad = good.clone();
                let value = &mut bad.fields[at].1;
                let middle = value.len() / 2;
                let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
                value.replace_range(middle..=middle, other);
                let is_covered = at > 0 || components.len() == 2;
                assert_eq!(they_verify(&bad), !is_covered, "{:?}", bad.fields[at]);
                assert_eq!(we_verify(&bad, now), !is_covered, "{:?}", bad.fields[at]);
            }
            // What differs on purpose: time.
            assert!(they_verify(&good) && !we_verify(&good, now + 1_000) && !we_verify(&good, now - 1_000));
        }
    }
}

/// A request that `web-bot-auth` signs; it takes the time from the clock.
struct ToSign {
    components: IndexMap<CoveredComponent, String>,
    fields: Vec<(String, String)>,
}

impl UnsignedMessage for ToSign {
    fn fetch_components_to_cover(&self) -> IndexMap<CoveredComponent, String> {
        self.components.clone()
    }

    fn register_header_contents(&mut self, signature_input: String, signature: String) {
        self.fields.push(("signature-input".to_owned(), format!("sig1={signature_input}")));
        self.fields.push(("signature".to_owned(), format!("sig1={signature}")));
    }
}

#[test]
fn we_verify_what_web_bot_auth_signs() {
    for (agent, parameters, value) in [
        (
            format!("sig1=\"{KEYS_URL}\""),
            vec![HTTPFieldParameters::Key("sig1".to_owned())],
            format!("\"{KEYS_URL}\""),
        ),
        ("\"https://bot.example\"".to_owned(), Vec::new(), "\"https://bot.example\"".to_owned()),
    ] {
        let mut message = ToSign {
            components: IndexMap::from([
                (CoveredComponent::Derived(DerivedComponent::Authority { req: false }), AUTHORITY.to_owned()),
                (CoveredComponent::Derived(DerivedComponent::Path { req: false }), "/articles/1".to_owned()),
                (
                    CoveredComponent::HTTP(HTTPField {
                        name: "signature-agent".to_owned(),
                        parameters: HTTPFieldParametersSet(parameters),
                    }),
                    value,
                ),
            ]),
            fields: vec![("signature-agent".to_owned(), agent)],
        };
        let signer = MessageSigner {
            keyid: key().public_key().thumbprint().to_owned(),
            nonce: "bm9uY2U=".to_owned(),
            tag: "web-bot-auth".to_owned(),
        };
        let lasts = std::time::Duration::from_secs(60);
        signer
            .generate_signature_headers_content(&mut message, lasts, Algorithm::Ed25519, &SEED.to_vec())
            .expect("signed");
        let signed = Theirs { fields: message.fields };
        let inputs = [
            ("signature-input", signed.fields[1].1.as_bytes()),
            ("signature", signed.fields[2].1.as_bytes()),
        ];
        let read = read_signatures(&inputs).expect("dictionaries").remove(0).signature.expect("a signature");
        let now = read.parameters.created.expect("created");
        assert!(they_verify(&signed) && we_verify(&signed, now), "{:?}", signed.fields);
    }
}

/// Signature bases of any components of one request: each line as we derive it, `@signature-params` as both write it.
fn both_bases(
    components: &[&str],
    parameters: &Parameters,
    request: &Request<'_>,
) -> (String, String, SignatureText) {
    let parsed: Vec<Component> =
        components.iter().map(|text| Component::parse(text).expect("a component")).collect();
    let message = Message::Request(request);
    let signed = key().sign("sig1", &parsed, parameters, message).expect("signed");
    let fields = [("signature-input", signed.input.as_bytes()), ("signature", signed.signature.as_bytes())];
    let read = read_signatures(&fields).expect("dictionaries").remove(0).signature.expect("a signature");
    let ours = read.base(message).expect("a base");

    let lines: Vec<HttpMessageComponent> = parsed
        .iter()
        .map(|component| {
            let line = format!("{}: {}", component.text(), component.value(message).expect("a value"));
            HttpMessageComponent::try_from(line.as_str()).expect("a line")
        })
        .collect();
    let headers = HttpSignatureHeaders::try_parse(&signed.signature, &signed.input).expect("fields");
    let headers = headers.get("sig1").expect("the label");
    let theirs = HttpSignatureBase::try_new(&lines, headers.signature_params()).expect("a base").to_string();
    (ours, theirs, SignatureText { lines, signed: (signed.input, signed.signature) })
}

struct SignatureText {
    lines: Vec<HttpMessageComponent>,
    signed: (String, String),
}

const FIELDS: [Field<'static>; 5] = [
    ("host", b"site.example"),
    ("x-list", b" a,  b "),
    ("x-list", b"c"),
    ("example-dict", b"a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
    ("x-empty", b""),
];

const COMPONENTS: [&str; 13] = [
    "\"@method\"",
    "\"@authority\"",
    "\"@scheme\"",
    "\"@target-uri\"",
    "\"@request-target\"",
    "\"@path\"",
    "\"@query\"",
    "\"@query-param\";name=\"q\"",
    "\"host\"",
    "\"x-list\"",
    "\"example-dict\";sf",
    "\"example-dict\";key=\"c\"",
    "\"x-list\";bs",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn httpsig_has_the_same_base_and_the_same_verdict(
        components in proptest::sample::subsequence(COMPONENTS.to_vec(), 1..COMPONENTS.len()).prop_shuffle(),
        nonce in proptest::option::of("[ -~]{0,20}"),
        with_alg: bool,
    ) {
        // Not by the clock of `httpsig`, which refuses what has expired.
        let parameters = Parameters {
            created: Some(1_618_884_473),
            expires: Some(9_999_999_999),
            keyid: Some(key().public_key().thumbprint().to_owned()),
            alg: with_alg.then(|| "ed25519".to_owned()),
            nonce,
            tag: Some("web-bot-auth".to_owned()),
        };
        let request = request(&FIELDS);
        // `httpsig` writes a quote or a backslash of a nonce without escaping it, against RFC 9651 section 4.1.6, and
        // what it signs with one cannot be read again.
        prop_assume!(!parameters.nonce.as_deref().unwrap_or_default().contains(['"', '\\']));
        let (ours, theirs, text) = both_bases(&components, &parameters, &request);
        // The order of parameters is the signer's; `httpsig` has an order of its own for what it writes.
        let lines = |base: &str| base.rsplit_once('\n').map(|(lines, _)| lines.to_owned());
        prop_assert_eq!(lines(&ours), lines(&theirs));

        // What they sign with the same key, we verify.
        let params = HttpSignatureHeaders::try_parse(&text.signed.1, &text.signed.0).expect("fields");
        let params: HttpSignatureParams = params.get("sig1").expect("the label").signature_params().clone();
        let secret = SecretKey::from_bytes(&AlgorithmName::Ed25519, &SEED).expect("a key");
        let base = HttpSignatureBase::try_new(&text.lines, &params).expect("a base");
        let made = base.build_signature_headers(&secret, Some("sig1")).expect("signed");
        let (input, value) = (made.signature_input_header_value(), made.signature_header_value());
        let fields = [("signature-input", input.as_bytes()), ("signature", value.as_bytes())];
        let read = read_signatures(&fields).expect("dictionaries").remove(0).signature.expect("a signature");
        prop_assert_eq!(read.verify(key().public_key(), Message::Request(&request)), Ok(()));
        prop_assert_eq!(read.base(Message::Request(&request)).expect("a base"), theirs);

        // What we sign, they verify over our base.
        let ours_read = [("signature-input", text.signed.0.as_bytes()), ("signature", text.signed.1.as_bytes())];
        let ours_read = read_signatures(&ours_read).expect("dictionaries").remove(0).signature.expect("a signature");
        prop_assert!(secret.public_key().verify(ours.as_bytes(), &ours_read.value).is_ok());
        let mut changed = ours_read.value.clone();
        changed[7] ^= 1;
        prop_assert!(secret.public_key().verify(ours.as_bytes(), &changed).is_err());
    }
}

/// ECDSA, which we only verify: `httpsig` signs with the key of RFC 9421 appendix B.1.3.
#[test]
fn we_verify_the_ecdsa_signatures_of_httpsig() {
    const PUBLIC: &str = r#"{"kty":"EC","crv":"P-256","x":"qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA","y":"Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"}"#;
    const SECRET: &str = "UpuF81l-kOxbjf7T4mNSv0r5tN67Gim7rnf6EFpcYDs";
    let secret =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, SECRET).expect("base64");
    let secret = SecretKey::from_bytes(&AlgorithmName::EcdsaP256Sha256, &secret).expect("a key");
    let public = PublicKey::from_json(PUBLIC).expect("a key");
    for message in [&b""[..], b"\"@method\": GET", &[0x55; 10_000]] {
        let mut signature = httpsig::prelude::SigningKey::sign(&secret, message).expect("signed");
        assert_eq!(signature.len(), 64);
        assert!(public.verifies(message, &signature));
        signature[63] ^= 1;
        assert!(!public.verifies(message, &signature));
    }
}
