//! The licence server's messages: each reads as it was written, and what is not one is refused with its code.

use policy::protocol::olp::{
    BODY_BYTES_MAX, Drafts, Endpoint, ErrorCode, IntrospectRequest, IntrospectResponse, Introspection,
    JsonWebKey, KeyRequest, KeyResponse, MessageError, OlpError, TokenRequest, TokenResponse,
};
use policy::protocol::rsl::{Document, License};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";
const LICENSE: &str = "<license><permits type=\"usage\">ai-train</permits><payment type=\"crawl\"><amount currency=\"USD\">0.01</amount></payment></license>";

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn a_token_is_asked_for_by_form_or_json() {
    let expect =
        TokenRequest { license: License::parse(LICENSE).unwrap(), resource: "/articles/*".to_owned() };
    let form = format!(
        "grant_type=client_credentials&license={}&resource=%2Farticles/*&unknown=+",
        encoded(LICENSE)
    );
    let json = serde_json::json!({"grant_type": "client_credentials", "license": LICENSE, "resource": "/articles/*", "unknown": [1]});
    let twice_encoded = serde_json::json!({"grant_type": "client_credentials", "license": encoded(LICENSE), "resource": "/articles/*"});
    for (content_type, body) in
        [(FORM, form), (JSON, json.to_string()), (JSON, twice_encoded.to_string()), (FORM, expect.to_form())]
    {
        let request = TokenRequest::parse(content_type, body.as_bytes(), Drafts::Refuse);
        assert_eq!(request.as_ref(), Ok(&expect), "{body}");
    }
}

#[test]
fn what_is_not_a_request_has_a_code() {
    let license = encoded(LICENSE);
    let good = format!("grant_type=client_credentials&license={license}&resource=/");
    let code = |content_type: &str, body: &str| {
        TokenRequest::parse(content_type, body.as_bytes(), Drafts::Refuse).map_err(|error| error.code())
    };
    assert!(code(FORM, &good).is_ok());
    use ErrorCode::*;
    for (content_type, body, expect) in [
        ("text/plain", good.clone(), InvalidRequest),
        (JSON, good.clone(), InvalidRequest),
        (FORM, String::new(), InvalidRequest),
        (FORM, good.replace("grant_type=client_credentials", "grant_type="), InvalidRequest),
        (FORM, good.replace("client_credentials", "password"), UnsupportedGrantType),
        (FORM, good.replace("client_credentials", "rsl"), UnsupportedGrantType),
        (FORM, good.replace("&resource=/", ""), InvalidRequest),
        (FORM, good.replace("&resource=/", "&resource=%00"), InvalidResource),
        (FORM, format!("{good}&resource=/"), InvalidRequest),
        (FORM, format!("{good}&a=%f"), InvalidRequest),
        (FORM, format!("{good}&a=%ff"), InvalidRequest),
        (FORM, format!("{good}&license_type=text/xml"), InvalidRequest),
        (FORM, good.replace(&license, "x"), InvalidLicense),
        (FORM, good.replace(&license, &encoded("<!DOCTYPE a><license/>")), InvalidLicense),
        (FORM, format!("{good}&{}", (0..100).map(|n| format!("a{n}&")).collect::<String>()), InvalidRequest),
        (FORM, format!("{good}&a={}", "a".repeat(BODY_BYTES_MAX)), InvalidRequest),
        (JSON, "{\"grant_type\":\"client_credentials\",\"grant_type\":\"rsl\"}".to_owned(), InvalidRequest),
        (JSON, "[".repeat(10_000), InvalidRequest),
        (JSON, "{\"grant_type\":1}".to_owned(), InvalidRequest),
    ] {
        assert_eq!(code(content_type, &body).err(), Some(expect), "{}", &body[..body.len().min(200)]);
    }
    // What was sent is not repeated: it may be a secret.
    let error = TokenRequest::parse(JSON, b"{\"license\":12345678}", Drafts::Refuse).unwrap_err();
    assert!(!OlpError::from(&error).to_json().contains("12345678"), "{error}");
    // What the other endpoints cannot read is no fault that only `/token` has a word for (§4).
    for body in
        ["token=a", "resource=/", "token=a&resource=%00", "token=&resource=/", "token=a&resource=/&token=b"]
    {
        let errors = [
            IntrospectRequest::parse(FORM, body.as_bytes()).map(|_| ()).unwrap_err(),
            KeyRequest::parse(FORM, body.as_bytes()).map(|_| ()).unwrap_err(),
        ];
        for (error, endpoint) in errors.iter().zip([Endpoint::Introspect, Endpoint::Key]) {
            assert_eq!(error.code(), InvalidRequest, "{body}");
            assert!(error.code().belongs_to(endpoint));
        }
    }
    let draft = good.replace("client_credentials", "rsl");
    assert!(TokenRequest::parse(FORM, draft.as_bytes(), Drafts::Accept).is_ok());
}

#[test]
fn the_licence_must_be_on_offer() {
    let text = format!(
        "<rsl xmlns=\"https://rslstandard.org/rsl\"><content url=\"/a\">{LICENSE}</content><content url=\"/b\"><license/></content></rsl>"
    );
    let document = Document::parse(text).unwrap();
    let find = |resource: &str| {
        let license = License::parse(LICENSE).unwrap();
        let request = TokenRequest { license, resource: resource.to_owned() };
        request.find_in(&document).map(|(content, _)| content.url.clone()).map_err(|error| error.code)
    };
    assert_eq!(find("/a"), Ok("/a".to_owned()));
    assert_eq!(find("/b"), Err(ErrorCode::InvalidLicense));
    assert_eq!(find("/c"), Err(ErrorCode::InvalidResource));
}

#[test]
fn answers_read_as_they_are_written() {
    for expires_in in [None, Some(3_600)] {
        let response = TokenResponse { access_token: "bl1.a-_~+/.b==".to_owned(), expires_in };
        assert_eq!(
            TokenResponse::parse(response.to_json().as_bytes(), Drafts::Refuse).as_ref(),
            Ok(&response)
        );
    }
    let never = TokenResponse { access_token: "a".to_owned(), expires_in: None }.to_json();
    assert_eq!(never, "{\"access_token\":\"a\",\"token_type\":\"License\",\"expires_in\":0}");
    let draft = never.replace("License", "rsl");
    assert!(TokenResponse::parse(draft.as_bytes(), Drafts::Accept).is_ok());
    for body in [
        draft,
        never.replace("\"a\"", "\"a b\""),
        never.replace("\"a\"", "\"a\\r\\nb\""),
        never.replace("0}", "-1}"),
        "null".to_owned(),
    ] {
        assert!(TokenResponse::parse(body.as_bytes(), Drafts::Refuse).is_err(), "{body}");
    }
    for response in [
        IntrospectResponse::Inactive,
        IntrospectResponse::Active(Introspection {
            license: Some(LICENSE.to_owned()),
            resource: "https://a.example/".to_owned(),
            permitted: false,
            reason: Some("other use".to_owned()),
            expires: Some(1_800_000_000),
        }),
    ] {
        assert_eq!(IntrospectResponse::parse(response.to_json().as_bytes()).as_ref(), Ok(&response));
    }
    assert_eq!(IntrospectResponse::Inactive.to_json(), "{\"active\":false}");
    // An answer that does not say so permits nothing.
    let Ok(IntrospectResponse::Active(silent)) = IntrospectResponse::parse(b"{\"active\":true}") else {
        panic!("active")
    };
    assert!(!silent.permitted);
    assert!(IntrospectResponse::parse(b"{}").is_err());
    let key = JsonWebKey {
        kty: "oct".to_owned(),
        kid: "1".to_owned(),
        k: "c2VjcmV0".to_owned(),
        alg: "A128CTR".to_owned(),
    };
    let response = KeyResponse { key, resource: "/a.enc".to_owned() };
    assert_eq!(KeyResponse::parse(response.to_json().as_bytes()).as_ref(), Ok(&response));
    assert!(!format!("{response:?}").contains("c2VjcmV0"));
    assert!(KeyResponse::parse(response.to_json().replace("oct", "RSA").as_bytes()).is_err());
    let introspect =
        IntrospectRequest { token: "a+b/c=".to_owned(), resource: "https://a.example/?b&c=d e".to_owned() };
    assert_eq!(IntrospectRequest::parse(FORM, introspect.to_form().as_bytes()).as_ref(), Ok(&introspect));
    let key = KeyRequest { token: "a".to_owned(), resource: "ü".to_owned() };
    assert_eq!(KeyRequest::parse(FORM, key.to_form().as_bytes()).as_ref(), Ok(&key));
    let json = serde_json::json!({"token": "a", "resource": "ü"}).to_string();
    assert_eq!(KeyRequest::parse(JSON, json.as_bytes()).as_ref(), Ok(&key));
    let long = format!("token={}&resource=/", "a".repeat(9_000));
    assert!(matches!(
        KeyRequest::parse(FORM, long.as_bytes()),
        Err(MessageError::Field { name: "token", .. })
    ));
}

#[test]
fn errors_have_the_codes_and_statuses_of_the_specification() {
    let of = |endpoint: Endpoint| -> Vec<(&str, u16)> {
        let all = ErrorCode::ALL.into_iter().filter(|code| code.belongs_to(endpoint));
        all.map(|code| (code.as_str(), code.status())).collect()
    };
    assert_eq!(
        of(Endpoint::Token),
        [
            ("invalid_request", 400),
            ("invalid_client", 401),
            ("unauthorized_client", 403),
            ("invalid_license", 400),
            ("invalid_resource", 400),
            ("unsupported_grant_type", 400),
            ("server_error", 500),
        ]
    );
    assert_eq!(
        of(Endpoint::Introspect),
        [
            ("invalid_request", 400),
            ("invalid_client", 401),
            ("invalid_token", 401),
            ("unauthorized_client", 403),
            ("server_error", 500)
        ]
    );
    assert!(of(Endpoint::Key).contains(&("insufficient_scope", 403)));
    assert_eq!(
        OlpError { code: ErrorCode::InvalidClient, description: None }.to_json(),
        "{\"error\":\"invalid_client\"}"
    );
    for code in ErrorCode::ALL {
        let error = OlpError::new(code, "why");
        assert_eq!(OlpError::parse(error.to_json().as_bytes()).as_ref(), Ok(&error));
    }
    assert!(OlpError::parse(b"{\"error\":\"teapot\"}").is_err());
}
