//! What a client of the licence server may get.

use super::{Licence, NOTHING_MORE, STATED_SECS};
use crate::PolicySnapshot;
use crate::protocol::cap::{ANYBODY, Claims, TokenId, UsageSet};
use crate::protocol::olp::{ErrorCode, OlpError, TokenRequest};
use crate::protocol::robots::{Pattern, Target};
use crate::protocol::rsl::{Document, Token, UsageClass, is_http_url, same_origin, split_origin};
use crate::work::canonical_host;

/// A licence that was asked for, and is on offer.
#[derive(Clone, Debug)]
pub struct OnOffer<'p> {
    /// The licence.
    pub licence: &'p Licence,
    /// The works, as tokens name them: `https://example.com/articles/*`.
    pub works: String,
}

impl PolicySnapshot {
    /// Scheme and host in the spelling of works; none if it is no host.
    pub fn origin(scheme: &str, authority: &str) -> Option<String> {
        canonical_host(scheme, authority).ok().map(|host| format!("{scheme}://{host}"))
    }

    /// Finds the licence that a client asks a site's licence server for: one with the same terms, for the same works or more.
    /// (Documents may name its paths one by one.)
    ///
    /// # Errors
    /// [`ErrorCode::InvalidResource`] if none is for these works, [`ErrorCode::InvalidLicense`] if none of those has these
    /// terms.
    pub fn licence_on_offer(&self, origin: &str, request: &TokenRequest) -> Result<OnOffer<'_>, OlpError> {
        let host = super::host_of(origin);
        let path = match split_origin(&request.resource).filter(|_| is_http_url(&request.resource)) {
            Some((own, path)) if same_origin(own, origin) => path,
            Some(_) => "",
            None => request.resource.as_str(),
        };
        let digest = request.license.digest();
        let mut is_known = false;
        for licence in self.licences().iter().filter(|licence| licence.covers_host(host)) {
            if !licence.patterns().any(|pattern| includes(pattern, path)) {
                continue;
            }
            is_known = true;
            if *licence.digest() == digest {
                return Ok(OnOffer { licence, works: format!("{origin}{path}") });
            }
        }
        Err(match is_known {
            true => OlpError::new(ErrorCode::InvalidLicense, "the licence is not on offer for the resource"),
            false => OlpError::new(ErrorCode::InvalidResource, "there is no licence for this resource"),
        })
    }
}

/// Whether all that one pattern of RFC 9309 matches, another one does: read as a path itself, the narrower one's `*` can only
/// be met by a `*` of the wider one.
fn includes(wider: &str, narrower: &str) -> bool {
    let as_path = match narrower.strip_suffix('$') {
        Some(exact) => exact.to_owned(),
        None => format!("{narrower}*"),
    };
    narrower.starts_with('/') && Pattern::parse(wider).matches(&Target::new(&as_path))
}

/// Terms that a site's document states to everybody, and that its rules give by themselves. A client that sees a licence
/// server beside them has to get a token all the same (§3); it says that the terms were taken, and gives nothing.
#[derive(Clone, Debug)]
pub struct Stated {
    /// The works, as tokens name them.
    works: String,
    usages: UsageSet,
}

impl Stated {
    /// The licence that a client asks for, if the site's document states it.
    ///
    /// # Errors
    /// As [`PolicySnapshot::licence_on_offer`]; also for a text that is no document.
    pub fn find(origin: &str, request: &TokenRequest, document: &[u8]) -> Result<Stated, OlpError> {
        let unreadable =
            |_| OlpError::new(ErrorCode::InvalidResource, "there is no licence for this resource");
        let document = Document::parse(document).map_err(unreadable)?;
        let (content, license) = request.find_in(&document)?;
        let listed = license.permits.usage.iter().flatten().filter_map(Token::known);
        let usages = match license.permits.usage {
            Some(_) => UsageSet::of(listed),
            None => UsageSet::of([UsageClass::All]),
        };
        let path = split_origin(&content.url).filter(|_| is_http_url(&content.url)).map(|(_, path)| path);
        Ok(Stated { works: format!("{origin}{}", path.unwrap_or(&content.url)), usages })
    }

    /// What a token for it says.
    pub fn claims(&self, id: TokenId, operator: Option<&str>, now: u64) -> Claims {
        Claims {
            id,
            operator: operator.unwrap_or(ANYBODY).to_owned(),
            works: self.works.clone(),
            license: NOTHING_MORE,
            usages: self.usages,
            not_before: now,
            expires: Some(now.saturating_add(STATED_SECS)),
        }
    }
}

impl OnOffer<'_> {
    /// Whether whoever asks may have it: `operator` is the client's, none where nobody in particular asks.
    ///
    /// What costs nothing at the fetch is for anybody. The rest is for operators with an account; and what is bought or
    /// subscribed to, for those who have done so.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidClient`] if a client must say who it is, [`ErrorCode::UnauthorizedClient`] if it may not have it.
    pub fn may_have(&self, policy: &PolicySnapshot, operator: Option<&str>) -> Result<(), OlpError> {
        let licence = self.licence;
        let is_due = licence.payment.is_due_at_fetch();
        let Some(operator) = operator else {
            return match is_due || !licence.operators.is_empty() {
                true => {
                    Err(OlpError::new(ErrorCode::InvalidClient, "this licence is for clients of the server"))
                }
                false => Ok(()),
            };
        };
        if !licence.is_open_to(operator) {
            return Err(OlpError::new(
                ErrorCode::UnauthorizedClient,
                "the client's operator has not acquired this licence",
            ));
        }
        if is_due && policy.account(operator).is_none() {
            return Err(OlpError::new(
                ErrorCode::UnauthorizedClient,
                "the client's operator has no account with this site",
            ));
        }
        Ok(())
    }

    /// What a token for it says. A client that is nobody in particular gets one for anybody.
    pub fn claims(&self, id: TokenId, operator: Option<&str>, now: u64) -> Claims {
        Claims {
            id,
            operator: operator.unwrap_or(ANYBODY).to_owned(),
            works: self.works.clone(),
            license: *self.licence.digest(),
            usages: self.licence.usages,
            not_before: now,
            expires: Some(now.saturating_add(self.licence.token_secs)),
        }
    }
}
