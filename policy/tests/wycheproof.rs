//! Project Wycheproof's vectors for Ed25519 and for ECDSA on P-256 with SHA-256 and signatures of the form `r || s`, as
//! HTTP has them: all of them, by the crate that carries them (Apache-2.0, from C2SP/wycheproof).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::protocol::message_signature::{Jwk, PublicKey};
use wycheproof::{TestResult, ecdsa, eddsa};

fn jwk(kty: &str, crv: &str, x: &[u8], y: Option<&[u8]>) -> Jwk {
    let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
    Jwk { kty: kty.to_owned(), crv: Some(crv.to_owned()), x: text(x), y: y.and_then(text), ..Jwk::default() }
}

/// Says what differs: a signature must hold if it is valid, and must not if it is not.
fn differs(
    id: usize,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
    expected: TestResult,
) -> Option<String> {
    let holds = key.verifies(message, signature);
    (holds != (expected == TestResult::Valid)).then(|| format!("test {id} is {expected:?}, holds: {holds}"))
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the vectors");
    let mut failures = Vec::new();
    let mut count = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_jwk(&jwk("OKP", "Ed25519", &group.key.pk, None)).expect("a good key");
        for test in &group.tests {
            count += 1;
            failures.extend(differs(test.tc_id, &key, &test.msg, &test.sig, test.result));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
    assert!(count == set.number_of_tests && count >= 150, "{count}");
}

#[test]
fn ecdsa_p256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("the vectors");
    let mut failures = Vec::new();
    let mut count = 0;
    for group in &set.test_groups {
        // `04 || x || y`
        let (x, y) = (&group.key.key[1..33], &group.key.key[33..65]);
        let key = PublicKey::from_jwk(&jwk("EC", "P-256", x, Some(y))).expect("a good key");
        for test in &group.tests {
            count += 1;
            failures.extend(differs(test.tc_id, &key, &test.msg, &test.sig, test.result));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
    assert!(count == set.number_of_tests && count >= 262, "{count}");
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
    std::array::from_fn(byte)
}

/// Newer than the crate: `R` encodes the neutral point with the sign of an x that is 0, which RFC 8032 section 5.1.3 does
/// not decode. Made with the first key of its section 7.1 and `r = 0`, so that the equation holds; with the right encoding
/// of `R` it is a signature.
#[test]
fn the_sign_of_a_point_is_not_ignored() {
    let key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let key = PublicKey::from_ed25519(&key).expect("a key");
    assert!(!key.verifies(b"byline", &bytes::<64>("01000000000000000000000000000000000000000000000000000000000000808f39d15b5abcf522665de3df8bf2660c22c7f425da905975c32266397db53d05")));
    assert!(key.verifies(b"byline", &bytes::<64>("010000000000000000000000000000000000000000000000000000000000000045ee1708b5c79ed73b6aa2d87c55e20aa89e534eddefa1c018f5f842a8c8ff03")));
}

/// With a key of small order a signature holds for many messages; all encodings of these points are refused.
#[test]
fn keys_of_small_order_are_refused() {
    let mut refused = 0;
    for y in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // Not of small order, but not reduced either: a second spelling of another key.
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        for sign in [0, 0x80] {
            let mut key: [u8; 32] = bytes(y);
            key[31] |= sign;
            assert!(PublicKey::from_ed25519(&key).is_err(), "{y}");
            refused += 1;
        }
    }
    assert_eq!(refused, 16);
    // Next to one of them.
    let mut near: [u8; 32] = bytes("ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    assert!(PublicKey::from_ed25519(&near).is_ok());
    near[0] = 2;
    assert!(PublicKey::from_ed25519(&near).is_ok());
}
