//! A licence token that a crawler's fetch shows (CAP): `Authorization: License …`, judged before the fetch is.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, LINK};
use policy::protocol::cap::{Credentials, SCHEME, TokenId, Unlicensed};
use policy::protocol::rsl::discovery::link_header;
use policy::{CrawlerRow, Evidence, Held, LicenceServer, PolicySnapshot, ShownFor, Work};

use crate::shared::{Shared, now_micros};

use super::remote::Question;

/// A fetch that may show a token.
pub(crate) struct Shown<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) policy: &'a PolicySnapshot,
    pub(crate) row: &'a CrawlerRow,
    pub(crate) work: &'a Work,
    /// Who shows it.
    pub(crate) client: IpAddr,
}

impl Shown<'_> {
    /// The evidence with what the token adds to it. The token ends here, unless origins are to see it: whoever has it can
    /// show it.
    ///
    /// Costs one look into the head where there is no `Authorization`; waits only for the list of what is revoked, and for another
    /// licence server no longer than configured.
    pub(crate) async fn beside(&self, identity: Evidence, headers: &mut HeaderMap) -> Evidence {
        if !headers.contains_key(AUTHORIZATION) || !self.policy.has_licences() {
            return identity;
        }
        let values = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let shown = match Credentials::parse(values) {
            Credentials::Absent => return identity,
            Credentials::Malformed => Err(Unlicensed::Malformed),
            // What no licence decides nobody needs to look at.
            Credentials::Token(_) if self.work.always_free => Ok(None),
            Credentials::Token(token) => self.judge(token).await,
        };
        if !self.shared.licences.settings.forward {
            strip(headers);
        }
        match shown.transpose() {
            Some(shown) => identity.with_licence(shown),
            None => identity,
        }
    }

    async fn judge(&self, token: &str) -> Result<Option<Held>, Unlicensed> {
        let licences = &self.shared.licences;
        let now = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
        let shown = ShownFor { row: self.row, work: self.work, now };
        let revoked = licences.revoked.now().await.ok_or(Unlicensed::CannotValidate)?;
        let in_force = licences.in_force.load_full();
        match self.policy.licence_server() {
            LicenceServer::BuiltIn if in_force.issuing.is_none() => Err(Unlicensed::CannotValidate),
            LicenceServer::BuiltIn => {
                self.policy.own_token(token, &in_force.verifying, &shown, |claims| revoked.contains(claims))
            }
            LicenceServer::External { url } => {
                let (us, client) = (in_force.us.as_ref(), self.client);
                let question = Question { server: url, us, token, url: &self.work.url, client };
                let said = licences.remote.ask(&question).await.ok_or(Unlicensed::CannotValidate)?;
                let held = self.policy.foreign_token(token, &said, &shown)?;
                let is_revoked = TokenId::parse(&held.token).is_some_and(|id| revoked.has_id(&id));
                if is_revoked { Err(Unlicensed::InvalidToken) } else { Ok(Some(held)) }
            }
        }
    }
}

/// Takes the licence's credentials out, and leaves the others to the origin.
fn strip(headers: &mut HeaderMap) {
    let is_licence = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii();
        let scheme = value.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(SCHEME.as_bytes())
    };
    let others: Vec<HeaderValue> =
        headers.get_all(AUTHORIZATION).iter().filter(|value| !is_licence(value)).cloned().collect();
    headers.remove(AUTHORIZATION);
    for value in others {
        headers.append(AUTHORIZATION, value);
    }
}

/// Says on an answer which document the licence stands in that it was given under.
pub(crate) fn name_document(evidence: &Evidence, document: &str, headers: &mut HeaderMap) {
    if !matches!(evidence.licence(), Some(Ok(_))) {
        return;
    }
    let link = link_header(document).and_then(|link| HeaderValue::from_str(&link).ok());
    let is_said = |link: &HeaderValue| headers.get_all(LINK).iter().any(|said| said == link);
    if let Some(link) = link.filter(|link| !is_said(link)) {
        headers.append(LINK, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_licence_is_taken_out() {
        let mut headers = HeaderMap::new();
        for value in ["Basic YTpi", "License bl1.a.b", " LICENSE\tx", "Licensed x", "License"] {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<&[u8]> = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(left, [b"Basic YTpi".as_slice(), b"Licensed x"]);
        headers.remove(AUTHORIZATION);
        headers.append(AUTHORIZATION, HeaderValue::from_static("License x"));
        strip(&mut headers);
        assert!(headers.is_empty());
    }
}
