//! Byline's licence token: good for what it says, and for nothing else.

use policy::protocol::cap::{
    Claims, Credentials, IssueError, LicenseToken, Presentation, TokenId, TokenRefusal, UsageSet,
    VerifyingKey,
};
use policy::protocol::rsl::UsageClass;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed of 32 bytes")
}

fn claims() -> Claims {
    Claims {
        id: TokenId([7; 16]),
        operator: "example-lab".to_owned(),
        works: "https://example.com/articles/*".to_owned(),
        license: [9; 32],
        usages: UsageSet::of([UsageClass::AiTrain, UsageClass::Search]),
        not_before: 1_000,
        expires: Some(2_000),
    }
}

fn shown() -> Presentation<'static> {
    Presentation {
        operator: "example-lab",
        url: "https://example.com/articles/one",
        usage: UsageClass::AiTrain,
        now: 1_500,
    }
}

#[test]
fn a_token_says_what_was_signed_and_fits_a_header() {
    let (key, keys) = (key(1), [VerifyingKey::of(&key(2)), VerifyingKey::of(&key(1))]);
    let token = LicenseToken::issue(&claims(), &key).unwrap();
    assert!(token.len() < 300, "{} characters", token.len());
    let header = format!("License {token}");
    assert_eq!(Credentials::parse([header.as_bytes()]), Credentials::Token(&token));
    let verified = LicenseToken::verify(&token, &keys, &shown(), |id| *id != TokenId([7; 16])).unwrap();
    assert_eq!(verified.claims, claims());
    assert_eq!(LicenseToken::issue(&claims(), &key).unwrap(), token, "the same claims give the same token");
    let unlimited = Claims { expires: None, operator: "ö".repeat(127), ..claims() };
    let token = LicenseToken::issue(&unlimited, &key).unwrap();
    assert_eq!(LicenseToken::open(&token, &keys).unwrap().claims, unlimited);
}

/// Made from the table in the module's documentation by another implementation, in Python, of the format and of RFC 8032.
#[test]
fn the_format_is_the_documented_one() {
    let expect = "bl1.NHUPmL1Z_PwHBwcHBwcHBwcHBwcHBwcHAAAAAAAAA-gAAAAAAAAH0AkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJJAtleGFtcGxlLWxhYgAe\
        aHR0cHM6Ly9leGFtcGxlLmNvbS9hcnRpY2xlcy8q.v_4GXlVvre8EBL0tpF5PCohEyoSI9kHE3NcglYCPV6nAzLz8UD60Dx5R08RwGwLKcTFMIpnJl8HXINlPuVtFDg";
    assert_eq!(LicenseToken::issue(&claims(), &key(1)).as_deref(), Ok(expect));
}

#[test]
fn each_fault_has_its_refusal() {
    let (signer, keys) = (key(1), [VerifyingKey::of(&key(1))]);
    let token = LicenseToken::issue(&claims(), &signer).unwrap();
    let verify = |token: &str, shown: Presentation<'_>| {
        LicenseToken::verify(token, &keys, &shown, |_| false).map(|_| ())
    };
    assert_eq!(verify(&token, shown()), Ok(()));
    for (now, expect) in [
        (999, Err(TokenRefusal::NotYetValid { not_before: 1_000 })),
        (1_000, Ok(())),
        (1_999, Ok(())),
        (2_000, Err(TokenRefusal::Expired { expires: 2_000 })),
    ] {
        assert_eq!(verify(&token, Presentation { now, ..shown() }), expect, "at {now}");
    }
    for operator in ["example-labs", "Example-Lab", ""] {
        assert_eq!(verify(&token, Presentation { operator, ..shown() }), Err(TokenRefusal::OtherOperator));
    }
    for url in [
        "https://example.com/",
        "https://example.com/articles",
        "https://example.com.evil.example/articles/one",
        "https://evil.example/articles/one",
        "http://example.com/articles/one",
        "https://example.com:8443/articles/one",
        "https://user@example.com/articles/one",
        "/articles/one",
        "",
    ] {
        assert_eq!(verify(&token, Presentation { url, ..shown() }), Err(TokenRefusal::OtherWork), "{url}");
    }
    for usage in [UsageClass::AiInput, UsageClass::AiAll, UsageClass::All] {
        assert_eq!(
            verify(&token, Presentation { usage, ..shown() }),
            Err(TokenRefusal::OtherUsage),
            "{usage}"
        );
    }
    let revoked = LicenseToken::verify(&token, &keys, &shown(), |id| *id == TokenId([7; 16]));
    assert_eq!(revoked, Err(TokenRefusal::Revoked { id: TokenId([7; 16]) }));
    let foreign = LicenseToken::issue(&claims(), &key(2)).unwrap();
    assert_eq!(verify(&foreign, shown()), Err(TokenRefusal::UnknownKey));
    assert_eq!(LicenseToken::open(&token, &[]), Err(TokenRefusal::UnknownKey));
    // The right payload with somebody else's signature.
    let signature = foreign.rsplit_once('.').unwrap().1;
    let forged = format!("{}.{signature}", token.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&forged, shown()), Err(TokenRefusal::BadSignature));
    for malformed in [
        "",
        "nope",
        "bl1.",
        "bl1..",
        "bl1.AAAA.AAAA",
        "bl2.AAAA.AAAA",
        &"bl1.A".repeat(2_000),
        &token[..token.len() - 1],
    ] {
        assert_eq!(verify(malformed, shown()), Err(TokenRefusal::Malformed), "{malformed}");
    }
    for padded in [format!("{token}="), format!("{token}A"), format!(" {token}"), token.replace("bl1", "BL1")]
    {
        assert_eq!(verify(&padded, shown()), Err(TokenRefusal::Malformed), "{padded}");
    }
}

#[test]
fn a_token_altered_in_any_byte_is_refused() {
    let (signer, keys) = (key(1), [VerifyingKey::of(&key(1))]);
    let token = LicenseToken::issue(&claims(), &signer).unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ~";
    let mut tried = 0;
    for at in 0..token.len() {
        for byte in alphabet.iter().filter(|byte| **byte != token.as_bytes()[at]) {
            let mut altered = token.clone().into_bytes();
            altered[at] = *byte;
            let altered = String::from_utf8(altered).expect("ASCII");
            assert!(LicenseToken::open(&altered, &keys).is_err(), "byte {at} as {}", char::from(*byte));
            tried += 1;
        }
    }
    assert!(tried > 10_000);
}

#[test]
fn what_no_token_may_say_is_not_signed() {
    let issue = |claims: Claims| LicenseToken::issue(&claims, &key(1)).map(|_| ());
    for operator in ["", "a\nb", &"a".repeat(256)] {
        assert_eq!(issue(Claims { operator: operator.to_owned(), ..claims() }), Err(IssueError::Operator));
    }
    for works in [
        "",
        "/articles/*",
        "example.com/a",
        "https://",
        "ftp://example.com/",
        &format!("https://a.example/{}", "a".repeat(2_048)),
    ] {
        assert_eq!(issue(Claims { works: works.to_owned(), ..claims() }), Err(IssueError::Works), "{works}");
    }
    assert_eq!(issue(Claims { usages: UsageSet::default(), ..claims() }), Err(IssueError::Usages));
    assert_eq!(issue(Claims { expires: Some(1_000), ..claims() }), Err(IssueError::Times));
}

#[test]
fn keys_with_which_anybody_could_sign_are_refused() {
    let own: [u8; 32] = key(1).public_key().as_ref().try_into().expect("32 bytes");
    assert_eq!(VerifyingKey::new(own), Some(VerifyingKey::of(&key(1))));
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(VerifyingKey::new(one), None);
    assert_eq!(VerifyingKey::new([0xff; 32]), None);
}

#[test]
fn sets_of_uses_hold_what_their_classes_include() {
    use UsageClass::*;
    for (classes, held) in [
        (&[All][..], UsageClass::ALL),
        (&[AiAll], &[AiAll, AiTrain, AiInput, AiIndex]),
        (&[AiTrain, AiInput, AiIndex], &[AiTrain, AiInput, AiIndex]),
        (&[Search], &[Search]),
        (&[], &[]),
    ] {
        assert_eq!(UsageSet::of(classes.iter().copied()).iter().collect::<Vec<_>>(), held, "{classes:?}");
    }
}
