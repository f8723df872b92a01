//! What a token that is shown is worth: for a fetch, and for those who ask about it.

use std::sync::Arc;

use super::{Licence, NOTHING_MORE};
use crate::protocol::cap::{
    Claims, LicenseToken, Presentation, TokenId, TokenRefusal, Unlicensed, VerifyingKey,
};
use crate::protocol::olp::{IntrospectResponse, Introspection};
use crate::protocol::rsl::{Asset, Content, Document, License, Use, covers_url, split_origin};
use crate::{CrawlerRow, PolicySnapshot, Work, hex, sha256};

/// How a licence of another server is called in records, where its terms are none of the policy's.
const FOREIGN: &str = "external";

/// A licence that a fetch holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    /// The licence's id in the policy; `external` for another server's whose terms the policy does not name.
    pub licence: Arc<str>,
    /// Names the token, 32 hex digits: its id, or the beginning of the SHA-256 of another server's.
    pub token: Arc<str>,
}

/// The fetch that a token is shown for.
#[derive(Clone, Copy, Debug)]
pub struct ShownFor<'a> {
    /// Who claims to fetch. A token proves a licence, not identity: that is for other evidence.
    pub row: &'a CrawlerRow,
    /// What is fetched.
    pub work: &'a Work,
    /// Seconds since 1970.
    pub now: u64,
}

impl PolicySnapshot {
    /// Judges a token of Byline's own licence server for a fetch; none is held by one that gives nothing ([`super::Stated`]).
    ///
    /// It is good as long as the policy still grants its licence for the work: taking a `[[licence_offer]]` out, or changing its
    /// terms, ends its tokens.
    ///
    /// # Errors
    /// What the crawler is told, if a licence decides.
    pub fn own_token(
        &self,
        token: &str,
        keys: &[VerifyingKey],
        shown: &ShownFor<'_>,
        is_revoked: impl FnOnce(&Claims) -> bool,
    ) -> Result<Option<Held>, Unlicensed> {
        let token = LicenseToken::open(token, keys).map_err(|refusal| told(&refusal))?;
        let presentation = Presentation {
            operator: &shown.row.operator,
            url: &shown.work.url,
            usage: shown.row.purpose.usage(),
            now: shown.now,
        };
        let claims = &token.claims;
        token.check(&presentation, |_| is_revoked(claims)).map_err(|refusal| told(&refusal))?;
        if claims.license == NOTHING_MORE {
            return Ok(None);
        }
        let mut granted =
            self.licences().iter().filter(|licence| *licence.digest() == claims.license).peekable();
        if granted.peek().is_none() {
            return Err(Unlicensed::InvalidToken);
        }
        match granted.find(|licence| licence.covers(shown.work)) {
            Some(licence) => Ok(Some(held(licence, claims.id))),
            None => Err(Unlicensed::NotPermitted),
        }
    }

    /// Judges another licence server's answer about a token for a fetch. What it says of the resource counts (§4); whether
    /// the licence is for this crawler's purpose, it was not asked, so that the licence's own words decide.
    ///
    /// # Errors
    /// What the crawler is told, if a licence decides.
    pub fn foreign_token(
        &self,
        token: &str,
        answer: &IntrospectResponse,
        shown: &ShownFor<'_>,
    ) -> Result<Held, Unlicensed> {
        let IntrospectResponse::Active(active) = answer else { return Err(Unlicensed::InvalidToken) };
        if !active.permitted {
            let reason = active.reason.as_deref().unwrap_or_default();
            return Err(if is_about_payment(reason) { Unlicensed::Unpaid } else { Unlicensed::NotPermitted });
        }
        let mut id: Arc<str> = FOREIGN.into();
        if let Some(element) = &active.license {
            let license = License::parse(element).map_err(|_| Unlicensed::CannotValidate)?;
            if !permits(&license, shown) {
                return Err(Unlicensed::NotPermitted);
            }
            let digest = license.digest();
            if let Some(licence) = self.licences().iter().find(|licence| *licence.digest() == digest) {
                id = Arc::clone(&licence.id);
            }
        }
        Ok(Held { licence: id, token: name_of(token) })
    }

    /// What Byline's own licence server says of a token to a client that asks (`/introspect`): whether it is good, and for
    /// the resource, a URL or the pattern that the token was got for.
    pub fn introspect(
        &self,
        token: &str,
        resource: &str,
        keys: &[VerifyingKey],
        now: u64,
        is_revoked: impl FnOnce(&Claims) -> bool,
    ) -> IntrospectResponse {
        let Ok(LicenseToken { claims }) = LicenseToken::open(token, keys) else {
            return IntrospectResponse::Inactive;
        };
        let is_in_time = claims.not_before <= now && claims.expires.is_none_or(|expires| now < expires);
        let licence = self.licences().iter().find(|licence| *licence.digest() == claims.license);
        let is_known = licence.is_some() || claims.license == NOTHING_MORE;
        if !(is_known && is_in_time) || is_revoked(&claims) {
            return IntrospectResponse::Inactive;
        }
        let permitted = resource == claims.works
            || split_origin(&claims.works).is_some_and(|(_, path)| path == resource)
            || covers_url(&claims.works, resource);
        IntrospectResponse::Active(Introspection {
            license: licence.map(|licence| licence.license().to_element()),
            resource: resource.to_owned(),
            permitted,
            reason: (!permitted).then(|| "the token is for other works".to_owned()),
            expires: claims.expires,
        })
    }
}

/// CAP's row for each refusal (§5): a token that is nobody's or somebody else's is none; one that is good, but for something
/// else, does not permit this.
fn told(refusal: &TokenRefusal) -> Unlicensed {
    match refusal {
        TokenRefusal::Malformed
        | TokenRefusal::UnknownKey
        | TokenRefusal::BadSignature
        | TokenRefusal::Revoked { .. }
        | TokenRefusal::OtherOperator => Unlicensed::InvalidToken,
        TokenRefusal::NotYetValid { .. } | TokenRefusal::Expired { .. } => Unlicensed::Expired,
        TokenRefusal::OtherWork | TokenRefusal::OtherUsage => Unlicensed::NotPermitted,
    }
}

/// Whether a server's reason is that something is not paid. There are no words for that; both answers refuse, and one says
/// what would mend it.
fn is_about_payment(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["payment", "unpaid", "not paid"].iter().any(|word| reason.contains(word))
}

fn held(licence: &Licence, id: TokenId) -> Held {
    Held { licence: Arc::clone(&licence.id), token: id.to_string().into() }
}

/// Whether a licence's own words permit the crawler's use. Users, places and reports are its server's to judge.
fn permits(license: &License, shown: &ShownFor<'_>) -> bool {
    let mut license = license.clone();
    for statements in [&mut license.permits, &mut license.prohibits] {
        (statements.user, statements.geo) = (None, None);
    }
    license.reporting.clear();
    let content = Content { url: "/".to_owned(), licenses: vec![license], ..Content::default() };
    let document = Document { max_age_days: None, contents: vec![content] };
    let usage = shown.row.purpose.usage();
    let wanted = Use { usage, user: None, geo: None, reporting_profiles: &[] };
    document.evaluate(&Asset { origin: None, path: &shown.work.path }, &wanted).licensed().is_some()
}

/// A name for a token that says nothing of it.
fn name_of(token: &str) -> Arc<str> {
    hex(&sha256(token.as_bytes())[..16]).into()
}
