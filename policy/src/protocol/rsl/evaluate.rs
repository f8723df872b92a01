//! Evaluation (§2): whether an asset is licensed for a use, and what is asked for it.
//!
//! The rules of §2, and how they are read where they leave room:
//!
//! 1. Of the `content` elements whose `url` matches, those with the longest pattern are the scope; broader ones say
//!    nothing about the asset any more (§2.1, §2.2).
//! 2. Within one `content`, a licence that is not open to this user or place is not on offer. The others each say
//!    something about the use: prohibit it (any listed class that shares a use with it), permit it (a listed class that
//!    includes it), or nothing. A list of `permits` is closed for all of the content's licences that are on offer;
//!    where there is none, silence permits (§2.4).
//! 3. The statements about the narrowest user class, then the narrowest usage class, decide (§2.2). Among these, and
//!    always within one licence, `prohibits` wins (§2.3).
//! 4. Licences are alternatives: of several that permit it the least demanding one is named.
//! 5. Several `content` elements of one scope, and several documents, are not alternatives but a conflict: the most
//!    restrictive outcome holds (§2.5). Document order never matters.
//! 6. A licence with a duty to report that the client cannot meet licenses nothing (§1, `reporting`).
//!
//! Extension tokens are not interpreted: they permit nothing that is known here, and prohibit nothing.

use super::model::{Content, Document, License, Payment, Statements};
use super::value::{is_http_url, same_origin, split_origin};
use super::vocabulary::{Extension, Geo, PaymentType, Token, UsageClass, UserClass};
use crate::protocol::robots::{Pattern, Target};

/// What is asked about: an asset on its site.
#[derive(Clone, Copy, Debug)]
pub struct Asset<'a> {
    /// Scheme and authority, `https://example.com`; without it, absolute URLs in documents match nothing.
    pub origin: Option<&'a str>,
    /// Path with query, percent-encoded or not.
    pub path: &'a str,
}

/// What it is wanted for, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The use. A class asks for all of its uses.
    pub usage: UsageClass,
    /// Who is responsible. If unknown, licences that say who may are not on offer.
    pub user: Option<UserClass>,
    /// Where. If unknown, licences that say where are not on offer.
    pub geo: Option<Geo>,
    /// The reporting profiles that the client implements.
    pub reporting_profiles: &'a [&'a str],
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<'d> {
    /// Licensed, and nothing is due at the fetch. There may be obligations, and a server that wants to issue a token.
    Permit(Licensed<'d>),
    /// Licensed once it is paid.
    Charge(Licensed<'d>),
    /// Not licensed.
    Deny(Denial<'d>),
}

/// The licence that grants the use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Licensed<'d> {
    /// Its `content`.
    pub content: &'d Content,
    /// The licence, whose payment, reporting and legal statements apply (§2.6).
    pub license: &'d License,
}

/// Why a use is not licensed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial<'d> {
    /// No valid document could be had: unlicensed, not permitted (§2.7).
    #[error("there is no valid licence document")]
    NoDocument,
    /// No `content` matches the asset.
    #[error("no licence covers this path")]
    NotCovered,
    /// A licence prohibits the use.
    #[error("the use is prohibited")]
    Prohibited,
    /// The use is not on a closed list.
    #[error("the use is not among those permitted")]
    NotPermitted,
    /// No licence is open to this class of user.
    #[error("no licence is open to this class of user")]
    User,
    /// No licence is open to this place.
    #[error("no licence is open to this place")]
    Geo,
    /// A report is asked for that the client cannot make.
    #[error("the licence asks for reports of the profile {profile}")]
    Reporting {
        /// The profile's URI.
        profile: &'d str,
    },
}

/// What a licence asks for in its payment, as one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentWord<'d> {
    /// A type of RSL; `free` where there is no payment.
    Known(PaymentType),
    /// An extension's type: nobody here knows what it asks, so it counts as due.
    Extension(&'d Extension),
    /// A payment that does not say what for counts as due.
    Unspecified,
}

/// What the licensee has to do besides paying.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obligation {
    /// Name the source visibly.
    Credit,
    /// Link to it.
    Link,
    /// Report by the licence's profiles.
    Report,
    /// Get a token from the licence server before access, even if access is free (§3).
    Token,
}

impl Obligation {
    /// The word for logs and tests: `credit`, `link`, `report`, `token`.
    pub fn as_str(self) -> &'static str {
        match self {
            Obligation::Credit => "credit",
            Obligation::Link => "link",
            Obligation::Report => "report",
            Obligation::Token => "token",
        }
    }
}

impl Document {
    /// Says whether an asset is licensed for a use.
    ///
    /// Time is linear in the document and the path.
    pub fn evaluate<'d>(&'d self, asset: &Asset<'_>, wanted: &Use<'_>) -> Decision<'d> {
        let path = Target::new(asset.path);
        let mut narrowest = 0;
        let mut scope: Vec<&Content> = Vec::new();
        for content in &self.contents {
            let Some(octets) = content.matches(asset, &path) else { continue };
            if octets > narrowest {
                narrowest = octets;
                scope.clear();
            }
            if octets == narrowest {
                scope.push(content);
            }
        }
        scope
            .into_iter()
            .map(|content| content.judge(wanted))
            .reduce(Decision::most_restrictive)
            .unwrap_or(Decision::Deny(Denial::NotCovered))
    }
}

impl<'d> Decision<'d> {
    /// Joins the answers of all documents that are declared for an asset.
    ///
    /// Documents of the page or the element come before those of the site (§3); among equals the most restrictive
    /// answer holds. A document that does not cover the asset says nothing; if none does, the asset is unlicensed.
    pub fn combine(page: Vec<Decision<'d>>, site: Vec<Decision<'d>>) -> Decision<'d> {
        let mut denial = Denial::NoDocument;
        for level in [page, site] {
            let (silent, speaking): (Vec<_>, Vec<_>) =
                level.into_iter().partition(|one| *one == Decision::Deny(Denial::NotCovered));
            if let Some(answer) = speaking.into_iter().reduce(Decision::most_restrictive) {
                return answer;
            }
            if !silent.is_empty() {
                denial = Denial::NotCovered;
            }
        }
        Decision::Deny(denial)
    }

    /// Whether the use is licensed, for money or not.
    pub fn licensed(&self) -> Option<&Licensed<'d>> {
        match self {
            Decision::Permit(licensed) | Decision::Charge(licensed) => Some(licensed),
            Decision::Deny(_) => None,
        }
    }

    /// The word of decisions: `permit`, `charge`, `deny`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Decision::Permit(_) => "permit",
            Decision::Charge(_) => "charge",
            Decision::Deny(_) => "deny",
        }
    }

    fn of(licensed: Licensed<'d>) -> Decision<'d> {
        if licensed.is_due() { Decision::Charge(licensed) } else { Decision::Permit(licensed) }
    }

    fn most_restrictive(self, other: Decision<'d>) -> Decision<'d> {
        match (&self, &other) {
            (Decision::Deny(_), _) => self,
            (_, Decision::Deny(_)) => other,
            (
                Decision::Permit(one) | Decision::Charge(one),
                Decision::Permit(two) | Decision::Charge(two),
            ) => {
                if one.demand() >= two.demand() {
                    self
                } else {
                    other
                }
            }
        }
    }
}

impl<'d> Licensed<'d> {
    /// What is paid for.
    pub fn payment_word(&self) -> PaymentWord<'d> {
        match &self.license.payment {
            None => PaymentWord::Known(PaymentType::Free),
            Some(Payment { kind: Some(Token::Known(kind)), .. }) => PaymentWord::Known(*kind),
            Some(Payment { kind: Some(Token::Extension(kind)), .. }) => PaymentWord::Extension(kind),
            Some(Payment { kind: None, .. }) => PaymentWord::Unspecified,
        }
    }

    /// Whether something is due before, or for, the fetch.
    pub fn is_due(&self) -> bool {
        match self.payment_word() {
            PaymentWord::Known(kind) => kind.is_due_at_fetch(),
            PaymentWord::Extension(_) | PaymentWord::Unspecified => true,
        }
    }

    /// What has to be done besides paying, in the order of [`Obligation`].
    pub fn obligations(&self) -> Vec<Obligation> {
        let mut all = Vec::new();
        if self.payment_word() == PaymentWord::Known(PaymentType::Attribution) {
            all.extend([Obligation::Credit, Obligation::Link]);
        }
        if !self.license.reporting.is_empty() {
            all.push(Obligation::Report);
        }
        if self.content.server.is_some() {
            all.push(Obligation::Token);
        }
        all
    }

    /// An order of licences by what they ask. Whatever else differs breaks ties, so that document order never does.
    fn demand(&self) -> impl Ord + use<'d> {
        let payment = self.license.payment.as_ref();
        let amount = payment.and_then(|payment| payment.amount.as_ref());
        // A due price that nobody can read, or none, may be any.
        let nano = amount.map_or(i64::MAX, |amount| amount.money().map_or(i64::MAX, |money| money.nano));
        let nano = if self.is_due() { nano } else { 0 };
        let kind = match self.payment_word() {
            PaymentWord::Known(kind) => (0, PaymentType::ALL.len() - kind as usize, None),
            PaymentWord::Extension(kind) => (1, 0, Some(kind)),
            PaymentWord::Unspecified => (2, 0, None),
        };
        let text = |part: fn(&Payment) -> Option<&str>| payment.and_then(part);
        (
            (self.is_due(), nano, self.license.reporting.len(), kind),
            amount.map(|amount| (amount.currency, amount.decimal.as_str())),
            text(|payment| payment.custom.as_deref()),
            text(|payment| payment.standard.as_deref()),
            text(|payment| payment.accepts.as_ref().map(|accepts| accepts.payload.as_str())),
            self.content.server.as_deref(),
        )
    }
}

/// How narrow a pattern is, in octets, if it matches (RFC 9309 §2.2.2).
fn matched(pattern: &str, path: &Target) -> Option<usize> {
    let pattern = Pattern::parse(pattern);
    pattern.matches(path).then(|| pattern.octets())
}

/// What a licence that is on offer says about a use; the narrowness of the class that says it.
enum Stand {
    Prohibit(u8),
    Permit(u8),
    /// It lists no uses at all.
    Silent,
    /// It has a list, and the use is not on it.
    Unlisted,
}

impl Content {
    /// How narrow the pattern is, in octets, if it matches.
    fn matches(&self, asset: &Asset<'_>, path: &Target) -> Option<usize> {
        if !is_http_url(&self.url) {
            return matched(&self.url, path);
        }
        let (origin, pattern) = split_origin(&self.url)?;
        if !same_origin(origin, asset.origin?) {
            return None;
        }
        matched(pattern, path)
    }

    fn judge(&self, wanted: &Use<'_>) -> Decision<'_> {
        // (names the user's class, what it says, the licence)
        let mut on_offer: Vec<(bool, Stand, &License)> = Vec::new();
        let mut denial = Denial::NotPermitted;
        for license in &self.licenses {
            match license.open_to(wanted) {
                Err(closed) => denial = closed,
                Ok(names_user) => on_offer.push((names_user, license.stand(wanted.usage), license)),
            }
        }
        if on_offer.is_empty() {
            return Decision::Deny(denial);
        }
        let is_closed = on_offer.iter().any(|(_, _, license)| license.permits.usage.is_some());
        let statements = on_offer.iter().filter_map(|(names_user, stand, license)| match stand {
            Stand::Prohibit(narrowness) => Some(((*names_user, narrowness + 1), false, *license)),
            Stand::Permit(narrowness) => Some(((*names_user, narrowness + 1), true, *license)),
            Stand::Silent if !is_closed => Some(((*names_user, 0), true, *license)),
            Stand::Silent | Stand::Unlisted => None,
        });
        let statements: Vec<((bool, u8), bool, &License)> = statements.collect();
        let Some(narrowest) = statements.iter().map(|(scope, ..)| *scope).max() else {
            return Decision::Deny(Denial::NotPermitted);
        };
        let deciding = || statements.iter().filter(move |(scope, ..)| *scope == narrowest);
        if deciding().any(|(_, permits, _)| !permits) {
            return Decision::Deny(Denial::Prohibited);
        }
        let can_report = |license: &License| license.unknown_profile(wanted).is_none();
        let granted = deciding()
            .filter(|(.., license)| can_report(license))
            .map(|(.., license)| Licensed { content: self, license })
            .min_by(|one, two| one.demand().cmp(&two.demand()));
        match granted {
            Some(licensed) => Decision::of(licensed),
            None => {
                let profile = deciding().find_map(|(.., license)| license.unknown_profile(wanted));
                Decision::Deny(Denial::Reporting { profile: profile.unwrap_or_default() })
            }
        }
    }
}

impl License {
    /// Whether it is on offer to this user in this place, and whether it names the user's class.
    fn open_to(&self, wanted: &Use<'_>) -> Result<bool, Denial<'static>> {
        let names_user = match (&self.permits.user, wanted.user) {
            (None, _) => false,
            (Some(_), None) => return Err(Denial::User),
            (Some(classes), Some(user)) if classes.iter().any(|class| class.known() == Some(user)) => true,
            (Some(_), Some(_)) => return Err(Denial::User),
        };
        if let Some(classes) = &self.prohibits.user
            && classes
                .iter()
                .filter_map(Token::known)
                .any(|class| wanted.user.is_none_or(|user| user == class))
        {
            return Err(Denial::User);
        }
        if let Some(places) = &self.permits.geo
            && !places
                .iter()
                .filter_map(Token::known)
                .any(|place| wanted.geo.is_some_and(|geo| place.covers(geo)))
        {
            return Err(Denial::Geo);
        }
        if let Some(places) = &self.prohibits.geo
            && places
                .iter()
                .filter_map(Token::known)
                .any(|place| wanted.geo.is_none_or(|geo| place.overlaps(geo)))
        {
            return Err(Denial::Geo);
        }
        Ok(names_user)
    }

    fn stand(&self, usage: UsageClass) -> Stand {
        let classes = |statements: &Statements| -> Vec<UsageClass> {
            statements.usage.iter().flatten().filter_map(Token::known).collect()
        };
        let prohibited = classes(&self.prohibits).into_iter().filter(|class| class.overlaps(usage));
        // Within one licence a narrow permission does not survive a broad prohibition, however broad (§2.3).
        if let Some(narrowness) = prohibited.map(UsageClass::narrowness).max() {
            return Stand::Prohibit(narrowness);
        }
        if self.permits.usage.is_none() {
            return Stand::Silent;
        }
        let permitted = classes(&self.permits).into_iter().filter(|class| class.covers(usage));
        permitted.map(UsageClass::narrowness).max().map_or(Stand::Unlisted, Stand::Permit)
    }

    fn unknown_profile(&self, wanted: &Use<'_>) -> Option<&str> {
        let mut profiles = self.reporting.iter().map(|reporting| reporting.profile.as_str());
        profiles.find(|profile| !wanted.reporting_profiles.contains(profile))
    }
}
