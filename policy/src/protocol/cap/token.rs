//! Byline's own licence token: what was licensed to whom, for which works and uses, and until when, signed with Ed25519.
//!
//! `bl1.` payload `.` signature, both in base64url without padding; together a `b64token` of RFC 6750. The signature is
//! over [`CONTEXT`] and the payload's bytes, which are, numbers in network order:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the signing key's name: the first bytes of its SHA-256 |
//! | 16 | the token's id, by which it is revoked |
//! | 8 | not before, seconds since 1970 |
//! | 8 | expires, seconds since 1970; 0: never |
//! | 32 | SHA-256 of the licence ([`crate::protocol::rsl::License::digest`]) |
//! | 1 | uses, a bit for each of [`UsageSet::SINGLE`] |
//! | 1 + n | the operator's id |
//! | 2 + n | the works: scheme, host and a path pattern, `https://example.com/articles/*` |
//!
//! There is one encoding of each token and nothing left over, so that a token altered in any byte is refused. Nothing in
//! a token is secret but the token itself, and that is never compared: verifying needs no constant time beyond what
//! Ed25519 itself does.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::protocol::message_signature::SigningKey;
use crate::protocol::message_signature::ed25519::is_refused;
use crate::protocol::rsl::{UsageClass, covers_url};
use crate::{hex, sha256};

/// What a token of this version begins with.
pub const TOKEN_PREFIX: &str = "bl1.";
/// Bytes of an operator's id.
pub const OPERATOR_BYTES_MAX: usize = 255;
/// The operator of a token that is nobody's in particular: good in anybody's hands, for what anybody may have.
pub const ANYBODY: &str = "*";
/// Bytes of the works' pattern.
pub const WORKS_BYTES_MAX: usize = 2_048;

/// What a signature is over, before the payload: no other signature of the same key is one of a token.
const CONTEXT: &[u8] = b"byline licence token v1\0";
/// Bytes of the payload before its texts.
const FIXED_BYTES: usize = 8 + 16 + 8 + 8 + 32 + 1;
const SIGNATURE_BYTES: usize = 64;
/// Characters of the longest token there can be.
const TOKEN_CHARACTERS_MAX: usize = 4_096;

/// A token's id: random, 16 bytes, the issuer's to choose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub [u8; 16]);

impl TokenId {
    /// Reads 32 hex digits, as they are written.
    pub fn parse(text: &str) -> Option<TokenId> {
        let digits = text.as_bytes();
        let is_id =
            digits.len() == 32 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| TokenId(u128::from_str_radix(text, 16).unwrap_or_default().to_be_bytes()))
    }
}

/// 32 hex digits.
impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Uses that are licensed: classes are kept as the single uses in them, and the classes themselves, for what they include
/// beyond those.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UsageSet(u8);

impl UsageSet {
    /// The classes in the order of their bits.
    pub const SINGLE: [UsageClass; 6] = [
        UsageClass::All,
        UsageClass::AiAll,
        UsageClass::AiTrain,
        UsageClass::AiInput,
        UsageClass::AiIndex,
        UsageClass::Search,
    ];

    /// The set of all that the classes include.
    pub fn of(classes: impl IntoIterator<Item = UsageClass>) -> UsageSet {
        let classes: Vec<UsageClass> = classes.into_iter().collect();
        let bit = |index: usize, usage: UsageClass| {
            u8::from(classes.iter().any(|class| class.covers(usage))) << index
        };
        UsageSet(UsageSet::SINGLE.into_iter().enumerate().map(|(index, usage)| bit(index, usage)).sum::<u8>())
    }

    /// Whether all of a class is in it.
    pub fn contains(self, usage: UsageClass) -> bool {
        UsageSet::SINGLE.iter().position(|one| *one == usage).is_some_and(|index| self.0 >> index & 1 == 1)
    }

    /// The classes in it.
    pub fn iter(self) -> impl Iterator<Item = UsageClass> {
        UsageSet::SINGLE.into_iter().filter(move |usage| self.contains(*usage))
    }

    /// Reads bits; none if they are not those of a set: unknown ones, or a class without what it includes.
    fn from_bits(bits: u8) -> Option<UsageSet> {
        let set = UsageSet(bits);
        (UsageSet::of(set.iter()).0 == bits && bits != 0).then_some(set)
    }
}

impl fmt::Debug for UsageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// By which it is revoked.
    pub id: TokenId,
    /// Whose it is: the operator's id in the registry, or [`ANYBODY`].
    pub operator: String,
    /// Which works: `https://` or `http://`, host as canonical URLs have it, and a path pattern of RFC 9309.
    pub works: String,
    /// SHA-256 of the licence.
    pub license: [u8; 32],
    /// For which uses.
    pub usages: UsageSet,
    /// From when, seconds since 1970.
    pub not_before: u64,
    /// Until when, seconds since 1970, exclusive; none: for ever.
    pub expires: Option<u64>,
}

/// Why a token cannot be issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// Empty, too long, or with control characters.
    #[error("an operator's id has 1 to {OPERATOR_BYTES_MAX} bytes and no control characters")]
    Operator,
    /// Not a URL whose path is a pattern.
    #[error("the works are a URL such as https://example.com/articles/*, of at most {WORKS_BYTES_MAX} bytes")]
    Works,
    /// No use at all.
    #[error("a token is for one use at least")]
    Usages,
    /// It would expire before it begins.
    #[error("a token expires after it begins")]
    Times,
}

/// What a token is shown for.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    /// Who shows it, as the crawler's row says; a licence is no identity, so where money moves the evidence must say it too.
    pub operator: &'a str,
    /// The work's canonical URL.
    pub url: &'a str,
    /// What it is wanted for.
    pub usage: UsageClass,
    /// Seconds since 1970.
    pub now: u64,
}

/// Why a token is refused. The order is the one in which faults are looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not a token of this version.
    #[error("not a licence token")]
    Malformed,
    /// Signed with a key that is not ours, or no longer.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is not that of the payload.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// By its id.
    #[error("the token {id} is revoked")]
    Revoked {
        /// Which.
        id: TokenId,
    },
    /// Its time has not come.
    #[error("the token is valid from {not_before}")]
    NotYetValid {
        /// Seconds since 1970.
        not_before: u64,
    },
    /// Its time is over.
    #[error("the token expired at {expires}")]
    Expired {
        /// Seconds since 1970.
        expires: u64,
    },
    /// It is somebody else's.
    #[error("the token is another operator's")]
    OtherOperator,
    /// It is for other works.
    #[error("the token is for other works")]
    OtherWork,
    /// It is for other uses.
    #[error("the token is for other uses")]
    OtherUsage,
}

/// A public key that verifies tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifyingKey {
    bytes: [u8; 32],
    id: [u8; 8],
}

impl VerifyingKey {
    /// A key of Ed25519 (RFC 8032), 32 bytes.
    ///
    /// None for a key of small order or in another encoding than its own: with such a key anybody could sign.
    pub fn new(bytes: [u8; 32]) -> Option<VerifyingKey> {
        (!is_refused(&bytes)).then(|| VerifyingKey::named(bytes))
    }

    fn named(bytes: [u8; 32]) -> VerifyingKey {
        let id = *sha256(&bytes).first_chunk().expect("SHA-256 has more than 8 bytes");
        VerifyingKey { bytes, id }
    }

    /// The public half of a signing key.
    pub fn of(pair: &Ed25519KeyPair) -> VerifyingKey {
        VerifyingKey::named(pair.public_key().as_ref().try_into().expect("a key of Ed25519 has 32 bytes"))
    }
}

/// A key that tokens are signed with.
#[derive(Debug)]
pub struct IssuingKey(SigningKey);

impl IssuingKey {
    /// The same key, for tokens: what is signed begins with words that no other signature has.
    pub fn new(key: SigningKey) -> IssuingKey {
        IssuingKey(key)
    }

    /// Its public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::of(self.0.pair())
    }

    /// [`LicenseToken::issue`] with this key.
    ///
    /// # Errors
    /// Claims that no token may have.
    pub fn issue(&self, claims: &Claims) -> Result<String, IssueError> {
        LicenseToken::issue(claims, self.0.pair())
    }
}

/// A token whose signature is right: what it says was said by one of our keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LicenseToken {
    /// What it says.
    pub claims: Claims,
}

impl LicenseToken {
    /// Signs a token. The same claims and key give the same token.
    ///
    /// # Errors
    /// Claims that no token may have.
    pub fn issue(claims: &Claims, key: &Ed25519KeyPair) -> Result<String, IssueError> {
        if !is_operator(&claims.operator) {
            return Err(IssueError::Operator);
        }
        if !is_works(&claims.works) {
            return Err(IssueError::Works);
        }
        if UsageSet::from_bits(claims.usages.0).is_none() {
            return Err(IssueError::Usages);
        }
        if claims.expires.is_some_and(|expires| expires <= claims.not_before) {
            return Err(IssueError::Times);
        }
        let payload = encode(claims, VerifyingKey::of(key).id);
        let signature = key.sign(&[CONTEXT, &payload].concat());
        let (payload, signature) = (URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature));
        Ok(format!("{TOKEN_PREFIX}{payload}.{signature}"))
    }

    /// Reads a token and checks its signature. Time, revocation and what it is shown for are [`LicenseToken::check`]'s.
    ///
    /// # Errors
    /// [`TokenRefusal::Malformed`], [`TokenRefusal::UnknownKey`] or [`TokenRefusal::BadSignature`].
    pub fn open(token: &str, keys: &[VerifyingKey]) -> Result<LicenseToken, TokenRefusal> {
        if token.len() > TOKEN_CHARACTERS_MAX {
            return Err(TokenRefusal::Malformed);
        }
        let parts = token.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('.'));
        let (payload, signature) = parts.ok_or(TokenRefusal::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed);
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        if signature.len() != SIGNATURE_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let (claims, key_id) = parse(&payload).ok_or(TokenRefusal::Malformed)?;
        let key = keys.iter().find(|key| key.id == key_id).ok_or(TokenRefusal::UnknownKey)?;
        UnparsedPublicKey::new(&ED25519, &key.bytes)
            .verify(&[CONTEXT, &payload].concat(), &signature)
            .map_err(|_| TokenRefusal::BadSignature)?;
        Ok(LicenseToken { claims })
    }

    /// Checks whether the token is good for what it is shown for.
    ///
    /// # Errors
    /// The first thing that speaks against it.
    pub fn check(
        &self,
        shown: &Presentation<'_>,
        is_revoked: impl FnOnce(&TokenId) -> bool,
    ) -> Result<(), TokenRefusal> {
        let claims = &self.claims;
        if is_revoked(&claims.id) {
            return Err(TokenRefusal::Revoked { id: claims.id });
        }
        if shown.now < claims.not_before {
            return Err(TokenRefusal::NotYetValid { not_before: claims.not_before });
        }
        if let Some(expires) = claims.expires.filter(|expires| shown.now >= *expires) {
            return Err(TokenRefusal::Expired { expires });
        }
        if claims.operator != ANYBODY && shown.operator != claims.operator {
            return Err(TokenRefusal::OtherOperator);
        }
        if !covers_url(&claims.works, shown.url) {
            return Err(TokenRefusal::OtherWork);
        }
        if !claims.usages.contains(shown.usage) {
            return Err(TokenRefusal::OtherUsage);
        }
        Ok(())
    }

    /// Reads what a token says, whoever signed it: to name it, never to believe it.
    pub fn read_unverified(token: &str) -> Option<Claims> {
        let payload = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?.0;
        if token.len() > TOKEN_CHARACTERS_MAX {
            return None;
        }
        parse(&URL_SAFE_NO_PAD.decode(payload).ok()?).map(|(claims, _)| claims)
    }

    /// [`LicenseToken::open`] and [`LicenseToken::check`].
    ///
    /// # Errors
    /// The first thing that speaks against it.
    pub fn verify(
        token: &str,
        keys: &[VerifyingKey],
        shown: &Presentation<'_>,
        is_revoked: impl FnOnce(&TokenId) -> bool,
    ) -> Result<LicenseToken, TokenRefusal> {
        let token = LicenseToken::open(token, keys)?;
        token.check(shown, is_revoked)?;
        Ok(token)
    }
}

fn is_operator(text: &str) -> bool {
    !text.is_empty() && text.len() <= OPERATOR_BYTES_MAX && !text.contains(char::is_control)
}

fn is_works(text: &str) -> bool {
    // What covers nothing, not even itself, is no pattern of a URL.
    text.len() <= WORKS_BYTES_MAX && covers_url(text, text.trim_end_matches('$'))
}

fn encode(claims: &Claims, key_id: [u8; 8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(FIXED_BYTES + 3 + claims.operator.len() + claims.works.len());
    payload.extend(key_id);
    payload.extend(claims.id.0);
    payload.extend(claims.not_before.to_be_bytes());
    payload.extend(claims.expires.unwrap_or(0).to_be_bytes());
    payload.extend(claims.license);
    payload.push(claims.usages.0);
    payload.push(claims.operator.len() as u8); // at most 255, as `is_operator` says
    payload.extend(claims.operator.as_bytes());
    payload.extend((claims.works.len() as u16).to_be_bytes()); // at most 2,048, as `is_works` says
    payload.extend(claims.works.as_bytes());
    payload
}

/// The claims and the key's name; none unless it is what [`encode`] makes of them.
fn parse(payload: &[u8]) -> Option<(Claims, [u8; 8])> {
    let mut rest = payload;
    let key_id = *take::<8>(&mut rest)?;
    let id = TokenId(*take::<16>(&mut rest)?);
    let not_before = u64::from_be_bytes(*take::<8>(&mut rest)?);
    let expires = Some(u64::from_be_bytes(*take::<8>(&mut rest)?)).filter(|expires| *expires != 0);
    let license = *take::<32>(&mut rest)?;
    let [bits, length] = *take::<2>(&mut rest)?;
    let operator = text(&mut rest, usize::from(length))?;
    let length = u16::from_be_bytes(*take::<2>(&mut rest)?);
    let works = text(&mut rest, usize::from(length))?;
    let is_one_of_ours = rest.is_empty()
        && is_operator(&operator)
        && is_works(&works)
        && expires.is_none_or(|expires| expires > not_before);
    let usages = UsageSet::from_bits(bits)?;
    is_one_of_ours.then_some((Claims { id, operator, works, license, usages, not_before, expires }, key_id))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(taken)
}

fn text(rest: &mut &[u8], length: usize) -> Option<String> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(taken).ok().map(str::to_owned)
}
