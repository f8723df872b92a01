//! The examples of RFC 9421: bases of section 2, signatures of appendix B.2.

use std::sync::Arc;

use policy::protocol::message_signature::{
    Component, ComponentError, Field, Malformed, Message, PublicKey, Request, Response, SignaturesError,
    VerifyError, check_content_digest, read_signatures,
};

const RSA_PSS: &str = r#"{"kty":"RSA","e":"AQAB","n":"r4tmm3r20Wd_PbqvP1s2-QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct-Lh1GH45x28Rw3Ry53mm-oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL-Wokqltd11nqqzi-bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9v6d-nb4bnNkQVklLQ3fVAvJm-xdDOp9LCNCN48V2pnDOkFV6-U9nV5oyc6XI2w"}"#;
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA","y":"Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"}"#;
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}"#;

const REQUEST_FIELDS: [Field<'_>; 5] = [
    ("Host", b"example.com"),
    ("Date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
    ("Content-Type", b"application/json"),
    (
        "Content-Digest",
        b"sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
    ),
    ("Content-Length", b"18"),
];
const RESPONSE_FIELDS: [Field<'_>; 4] = [
    ("Date", b"Tue, 20 Apr 2021 02:07:56 GMT"),
    ("Content-Type", b"application/json"),
    (
        "Content-Digest",
        b"sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:",
    ),
    ("Content-Length", b"23"),
];

fn request<'a>(target: &'a str, fields: &'a [Field<'a>]) -> Request<'a> {
    Request { method: "POST", scheme: "https", authority: "example.com", target, fields, trailers: &[] }
}

/// A signature over the test request, or the test response, of appendix B.2.
fn check(is_request: bool, input: &str, signature: &str, jwk: &str) {
    let fields: &[Field<'_>] = if is_request { &REQUEST_FIELDS } else { &RESPONSE_FIELDS };
    let fields =
        [fields, &[("Signature-Input", input.as_bytes()), ("Signature", signature.as_bytes())]].concat();
    let request = request("/foo?param=Value&Pet=dog", &fields);
    let response = Response { status: 200, fields: &fields, trailers: &[], request: None };
    let message = if is_request { Message::Request(&request) } else { Message::Response(&response) };
    let key = PublicKey::from_json(jwk).expect("a key");
    let read = read_signatures(&fields).expect("a dictionary").remove(0).signature.expect("a signature");
    let mut read = Arc::unwrap_or_clone(read);
    assert_eq!(read.verify(&key, message), Ok(()), "{input}");
    read.value[3] ^= 4;
    assert_eq!(read.verify(&key, message), Err(VerifyError::Mismatch), "{input}");
}

#[test]
fn b_2_1_minimal_signature_using_rsa_pss_sha512() {
    check(
        true,
        r#"sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
        "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==:",
        RSA_PSS,
    );
}

#[test]
fn b_2_2_selective_covered_components_using_rsa_pss_sha512() {
    check(
        true,
        r#"sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
        "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==:",
        RSA_PSS,
    );
}

#[test]
fn b_2_3_full_coverage_using_rsa_pss_sha512() {
    check(
        true,
        r#"sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
        "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==:",
        RSA_PSS,
    );
}

#[test]
fn b_2_4_signing_a_response_using_ecdsa_p256_sha256() {
    check(
        false,
        r#"sig-b24=("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256""#,
        "sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:",
        P256,
    );
}

/// B.2.5 is a signature with a shared secret: refused for its algorithm if it names it, and no key of ours makes it hold.
#[test]
fn b_2_5_shared_secrets_are_refused() {
    let input =
        r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    let value: &[u8] = b"sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
    for (input, expected) in [
        (input.to_owned(), VerifyError::Mismatch),
        (format!("{input};alg=\"hmac-sha256\""), VerifyError::AlgorithmNotAccepted("hmac-sha256".to_owned())),
    ] {
        let fields =
            [&REQUEST_FIELDS[..], &[("Signature-Input", input.as_bytes()), ("Signature", value)]].concat();
        let request = request("/foo?param=Value&Pet=dog", &fields);
        let read = read_signatures(&fields).expect("a dictionary").remove(0).signature.expect("a signature");
        for jwk in [ED25519, RSA_PSS, P256] {
            let key = PublicKey::from_json(jwk).expect("a key");
            assert_eq!(read.verify(&key, Message::Request(&request)), Err(expected.clone()));
        }
    }
}

#[test]
fn b_2_6_signing_a_request_using_ed25519() {
    check(
        true,
        r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
        ED25519,
    );
}

#[test]
fn content_digests_are_of_the_bodies() {
    assert_eq!(check_content_digest(&REQUEST_FIELDS, br#"{"hello": "world"}"#), Ok(()));
    assert!(check_content_digest(&REQUEST_FIELDS, br#"{"hello": "World"}"#).is_err());
    assert_eq!(check_content_digest(&RESPONSE_FIELDS, br#"{"message": "good dog"}"#), Ok(()));
}

/// Values of components in a request, each as the identifier stands in `Signature-Input`.
fn check_values(request: &Request<'_>, expected: &[(&str, &str)]) {
    for (identifier, value) in expected {
        let component = Component::parse(identifier).expect("an identifier");
        assert_eq!(component.value(Message::Request(request)).as_deref(), Ok(*value), "{identifier}");
        assert_eq!(component.text(), *identifier);
    }
}

#[test]
fn section_2_1_fields_are_trimmed_unfolded_and_joined() {
    let fields: [Field<'_>; 11] = [
        ("Host", b"www.example.com"),
        ("Date", b"Tue, 20 Apr 2021 02:07:56 GMT"),
        ("X-OWS-Header", b"  Leading and trailing whitespace.   "),
        ("X-Obs-Fold-Header", b"Obsolete\r\n    line folding."),
        ("Cache-Control", b"max-age=60"),
        ("Cache-Control", b"   must-revalidate"),
        ("Example-Dict", b"a=1,    b=2;x=1;y=2,   c=(a   b   c)"),
        ("X-Empty-Header", b""),
        ("Example-Header", b"value, with, lots"),
        ("Example-Header", b"of, commas"),
        ("Example-Dict", b"d"),
    ];
    let request = request("/", &fields);
    check_values(
        &request,
        &[
            (r#""host""#, "www.example.com"),
            (r#""x-ows-header""#, "Leading and trailing whitespace."),
            (r#""x-obs-fold-header""#, "Obsolete line folding."),
            (r#""cache-control""#, "max-age=60, must-revalidate"),
            (r#""x-empty-header""#, ""),
            (r#""example-dict""#, "a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
            (r#""example-dict";sf"#, "a=1, b=2;x=1;y=2, c=(a b c), d"),
            (r#""example-dict";key="a""#, "1"),
            (r#""example-dict";key="b""#, "2;x=1;y=2"),
            (r#""example-dict";key="c""#, "(a b c)"),
            (r#""example-dict";key="d""#, "?1"),
            (r#""example-header""#, "value, with, lots, of, commas"),
            (r#""example-header";bs"#, ":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:"),
        ],
    );
}

#[test]
fn section_2_1_4_trailers_are_not_fields() {
    let trailers: [Field<'_>; 1] = [("Expires", b"Wed, 9 Nov 2022 07:28:00 GMT")];
    let request = Request { trailers: &trailers, ..request("/", &[]) };
    check_values(&request, &[(r#""expires";tr"#, "Wed, 9 Nov 2022 07:28:00 GMT")]);
    let field = Component::parse(r#""expires""#).expect("an identifier");
    assert!(matches!(field.value(Message::Request(&request)), Err(ComponentError::Missing(_))));
}

#[test]
fn section_2_2_what_is_derived() {
    let base = Request {
        method: "POST",
        scheme: "HTTPS",
        authority: "WWW.Example.com:443",
        target: "/path?param=value",
        fields: &[],
        trailers: &[],
    };
    check_values(
        &base,
        &[
            (r#""@method""#, "POST"),
            (r#""@target-uri""#, "https://www.example.com/path?param=value"),
            (r#""@authority""#, "www.example.com"),
            (r#""@scheme""#, "https"),
            (r#""@request-target""#, "/path?param=value"),
            (r#""@path""#, "/path"),
            (r#""@query""#, "?param=value"),
        ],
    );
    for (target, path, query) in [
        ("/path", "/path", "?"),
        ("/path?", "/path", "?"),
        ("/path?queryString", "/path", "?queryString"),
        ("/path?param=value&foo=bar&baz=batman", "/path", "?param=value&foo=bar&baz=batman"),
        ("/%7Euser//x/../y", "/%7Euser//x/../y", "?"),
        ("https://www.example.com/path?param=value", "/path", "?param=value"),
        ("https://www.example.com", "/", "?"),
        ("https://www.example.com?a", "/", "?a"),
    ] {
        let request = Request { target, ..base };
        check_values(
            &request,
            &[(r#""@path""#, path), (r#""@query""#, query), (r#""@request-target""#, target)],
        );
    }
    let other_port = Request { scheme: "http", authority: "example.com:443", target: "*", ..base };
    check_values(
        &other_port,
        &[(r#""@authority""#, "example.com:443"), (r#""@target-uri""#, "http://example.com:443")],
    );
    let address = Request { authority: "[2001:DB8::443]", ..base };
    check_values(&address, &[(r#""@authority""#, "[2001:db8::443]")]);
    let address = Request { authority: "[2001:DB8::1]:443", ..base };
    check_values(&address, &[(r#""@authority""#, "[2001:db8::1]")]);
}

#[test]
fn section_2_2_8_query_parameters_are_encoded_anew() {
    let parameters = "/parameters?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace\
                      &fa%C3%A7ade%22%3A%20=something&qux=&two=1&two=2&a~!'()*=b~!'()*";
    let request = request(parameters, &[]);
    check_values(
        &request,
        &[
            (r#""@query-param";name="var""#, "this%20is%20a%20big%0Amultiline%20value"),
            (r#""@query-param";name="bar""#, "with%20plus%20whitespace"),
            (r#""@query-param";name="fa%C3%A7ade%22%3A%20""#, "something"),
            (r#""@query-param";name="qux""#, ""),
            (r#""@query-param";name="a%7E%21%27%28%29*""#, "b%7E%21%27%28%29*"),
        ],
    );
    let value =
        |identifier| Component::parse(identifier).expect("an identifier").value(Message::Request(&request));
    assert!(matches!(value(r#""@query-param";name="two""#), Err(ComponentError::Repeated { count: 2, .. })));
    assert!(matches!(value(r#""@query-param";name="none""#), Err(ComponentError::Missing(_))));
}

#[test]
fn section_2_4_a_response_can_cover_its_request() {
    let fields: [Field<'_>; 1] = [("Content-Type", b"application/json")];
    let answered = request("/foo?param=Value&Pet=dog", &REQUEST_FIELDS);
    let response = Response { status: 503, fields: &fields, trailers: &[], request: Some(&answered) };
    for (identifier, expected) in [
        (r#""@status""#, Some("503")),
        (r#""@authority";req"#, Some("example.com")),
        (r#""content-length";req"#, Some("18")),
        (r#""@query-param";req;name="Pet""#, Some("dog")),
        (r#""content-length""#, None),
        (r#""@authority""#, None),
        (r#""@method""#, None),
    ] {
        let component = Component::parse(identifier).expect("an identifier");
        assert_eq!(component.value(Message::Response(&response)).ok().as_deref(), expected, "{identifier}");
    }
    let component = Component::parse(r#""@authority";req"#).expect("an identifier");
    assert!(component.value(Message::Request(&answered)).is_err(), "a request answers no request");
    let status = Component::parse(r#""@status""#).expect("an identifier");
    assert!(status.value(Message::Request(&answered)).is_err(), "a request has no status");
}

#[test]
fn identifiers_that_cannot_be_are_refused() {
    for identifier in [
        "date",
        "1",
        r#""Date""#,
        r#""""#,
        r#""da te""#,
        r#""@signature-params""#,
        r#""@unknown""#,
        r#""@method";sf"#,
        r#""@method";name="x""#,
        r#""@status";req"#,
        r#""@query-param""#,
        r#""@query-param";name=x"#,
        r#""date";unknown"#,
        r#""date";sf=?0"#,
        r#""date";key"#,
        r#""date";bs;sf"#,
        r#""date";bs;key="a""#,
        r#""date";name="a""#,
    ] {
        assert!(Component::parse(identifier).is_err(), "{identifier}");
    }
}

#[test]
fn values_that_no_base_can_hold_are_refused() {
    for value in [&b"a\r\nb"[..], b"a\nb", b"a\rb", b"a\0b", b"caf\xc3\xa9", b"caf\xe9", b"a\x7fb"] {
        let fields = [("x-value", value)];
        let request = request("/", &fields);
        let component = Component::parse(r#""x-value""#).expect("an identifier");
        assert!(
            matches!(component.value(Message::Request(&request)), Err(ComponentError::Character(_))),
            "{value:?}"
        );
    }
    // Wrapped as a byte sequence it can be covered all the same (section 2.1.3).
    let fields: [Field<'_>; 1] = [("x-value", b"caf\xe9")];
    check_values(&request("/", &fields), &[(r#""x-value";bs"#, ":Y2Fm6Q==:")]);
}

/// The first label's verdict, of a request with these two fields.
fn read_first(input: &str, value: &str) -> Result<(), Malformed> {
    let fields = [("signature-input", input.as_bytes()), ("signature", value.as_bytes())];
    read_signatures(&fields).expect("dictionaries").remove(0).signature.map(|_| ())
}

#[test]
fn signatures_that_cannot_be_are_refused() {
    let two = Malformed::ComponentTwice(r#""date";req;sf"#.to_owned());
    assert_eq!(read_first(r#"a=("date";sf;req "date";req;sf)"#, "a=:AA==:"), Err(two));
    assert_eq!(read_first(r#"a=("date" "date";sf)"#, "a=:AA==:"), Ok(()));
    assert_eq!(read_first("a=1", "a=:AA==:"), Err(Malformed::NotAList));
    assert_eq!(read_first("a=()", "b=:AA==:"), Err(Malformed::NoValue));
    assert_eq!(read_first("a=()", "a=AA"), Err(Malformed::ValueNotBytes));
    assert_eq!(read_first("a=()", "a=(:AA==:)"), Err(Malformed::ValueNotBytes));
    assert_eq!(read_first("a=();created=\"1\"", "a=:AA==:"), Err(Malformed::Parameter("created")));
    assert_eq!(read_first("a=();created=1.5", "a=:AA==:"), Err(Malformed::Parameter("created")));
    assert_eq!(read_first("a=();keyid=k", "a=:AA==:"), Err(Malformed::Parameter("keyid")));
    let many: String = (0..65).map(|n| format!("\"x-{n}\" ")).collect();
    assert_eq!(read_first(&format!("a=({many})"), "a=:AA==:"), Err(Malformed::TooManyComponents));

    let read = |fields: &[Field<'_>]| read_signatures(fields).map(|read| read.len());
    assert_eq!(read(&[("signature", b"a=:AA==:")]), Ok(0), "without input there is no signature");
    let repeated =
        read(&[("signature-input", b"a=()"), ("signature-input", b"a=()"), ("signature", b"a=:AA==:")]);
    assert!(matches!(repeated, Err(SignaturesError::Dictionary { field: "Signature-Input", .. })));
    let repeated = read(&[("signature-input", b"a=()"), ("signature", b"a=:AA==:, a=:AQ==:")]);
    assert!(matches!(repeated, Err(SignaturesError::Dictionary { field: "Signature", .. })));
    let long = format!("a=();nonce=\"{}\"", "n".repeat(16 * 1024));
    assert_eq!(
        read(&[("signature-input", long.as_bytes())]),
        Err(SignaturesError::TooLong { field: "Signature-Input" })
    );
    let labels: Vec<String> = (0..1_000).map(|n| format!("s{n}=()")).collect();
    assert_eq!(read(&[("signature-input", labels.join(",").as_bytes())]), Err(SignaturesError::TooMany));
}

/// RFC 9421 section 3.2, step 6: what `alg` says must be what the key is for.
#[test]
fn an_algorithm_that_is_not_the_keys_is_refused() {
    for (alg, jwk) in [("rsa-pss-sha512", ED25519), ("ed25519", RSA_PSS), ("ed25519", P256)] {
        let input = format!("a=(\"@method\");alg=\"{alg}\"");
        let fields: [Field<'_>; 2] = [("signature-input", input.as_bytes()), ("signature", b"a=:AA==:")];
        let request = request("/", &fields);
        let key = PublicKey::from_json(jwk).expect("a key");
        let read = read_signatures(&fields).expect("dictionaries").remove(0).signature.expect("a signature");
        let verdict = read.verify(&key, Message::Request(&request));
        assert!(matches!(verdict, Err(VerifyError::AlgorithmOfKey { .. })), "{alg}: {verdict:?}");
    }
}

/// What an intermediary may do to the fields (other spaces, lines joined or split) leaves the base as it was signed.
#[test]
fn the_base_is_of_the_strict_serialisation() {
    let input: &[u8] = b"  sig-b26=(  \"date\"   \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\" );  created=1618884473;  keyid=\"test-key-ed25519\" ,  other=();x";
    let value: &[u8] =
        b"sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
    let fields = [&REQUEST_FIELDS[..], &[("signature-input", input), ("signature", value)]].concat();
    let request = request("/foo?param=Value&Pet=dog", &fields);
    let read = read_signatures(&fields).expect("dictionaries").remove(0).signature.expect("a signature");
    let key = PublicKey::from_json(ED25519).expect("a key");
    assert_eq!(read.verify(&key, Message::Request(&request)), Ok(()));
}
