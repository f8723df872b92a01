//! Licences that a policy grants (`[[licence_offer]]`): which works, for which uses, against which payment. Each is one `license`
//! element of RSL 1.0 under one `content` for each of its paths; a licence server, Byline's own or another, gives tokens
//! for it, and rules ask for them by the rung `licensed`.

mod offer;
mod required;
mod shown;

pub use offer::{OnOffer, Stated};
pub use shown::{Held, ShownFor};

use std::sync::Arc;

use crate::glob::PathGlob;
use crate::pattern::HostPattern;
use crate::protocol::cap::UsageSet;
use crate::protocol::rsl::{self, Amount, Content, License, PaymentType, Statements, Token, UsageClass};
use crate::{Money, PolicySnapshot, Purpose, Work};

/// Where Byline's own licence server is, on each site that it stands in front of: the base URL's path.
pub const LICENCE_SERVER_PATH: &str = "/.well-known/byline/licence";
/// Where a site's licences are published.
pub const LICENCE_DOCUMENT_PATH: &str = "/license.xml";
/// How long a token for what the site's rules give by themselves is good, in seconds: a day.
const STATED_SECS: u64 = 86_400;
/// The digest in such a token: of no terms that are on offer.
const NOTHING_MORE: [u8; 32] = [0; 32];
/// The longest time for which a token may be good, in seconds: 366 days.
pub const TOKEN_SECS_MAX: u64 = 366 * 86_400;

/// Who gives tokens for the licences of a policy (`[licence_server]`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LicenceServer {
    /// Byline itself.
    #[default]
    BuiltIn,
    /// Another one, which is asked about each token.
    External {
        /// Its base URL, without a slash at the end.
        url: Arc<str>,
    },
}

/// A `[[licence_offer]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Licence {
    /// Its name in records.
    pub id: Arc<str>,
    /// Any host, if it names none.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<LicencePath>,
    /// The uses that it permits, and no others.
    pub usages: UsageSet,
    /// What is paid for.
    pub payment: PaymentType,
    /// Who has acquired it; empty where no one needs to.
    pub operators: Vec<Arc<str>>,
    /// How long a token is good, in seconds.
    pub token_secs: u64,
    /// The terms as RSL has them.
    license: License,
    /// Names the terms.
    digest: [u8; 32],
}

/// A path of a licence, in both grammars.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LicencePath {
    pub(crate) glob: PathGlob,
    /// The same as RFC 9309 has it.
    pub(crate) pattern: String,
}

/// What a `[[licence_offer]]` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Price {
    pub(crate) payment: PaymentType,
    pub(crate) amount: Option<Money>,
    pub(crate) standard: Option<String>,
    pub(crate) custom: Option<String>,
}

impl Licence {
    pub(crate) fn new(
        id: Arc<str>,
        (hosts, paths): (Vec<HostPattern>, Vec<LicencePath>),
        usages: Vec<UsageClass>,
        price: Price,
        operators: Vec<Arc<str>>,
        token_secs: u64,
    ) -> Licence {
        let amount = price
            .amount
            .map(|money| Amount { decimal: crate::decimal(money.nano.into()), currency: money.currency });
        let license = License {
            permits: Statements {
                usage: Some(usages.iter().copied().map(Token::Known).collect()),
                ..Statements::default()
            },
            payment: Some(rsl::Payment {
                kind: Some(Token::Known(price.payment)),
                standard: price.standard,
                custom: price.custom,
                amount,
                accepts: None,
            }),
            ..License::default()
        };
        let digest = license.digest();
        let usages = UsageSet::of(usages);
        let payment = price.payment;
        Licence { id, hosts, paths, usages, payment, operators, token_secs, license, digest }
    }

    /// The terms, as the `license` element that is published and that clients ask for.
    pub fn license(&self) -> &License {
        &self.license
    }

    /// SHA-256 of [`Licence::license`]: names the terms in tokens.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether it is about a host, in its canonical spelling.
    pub fn covers_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether it is about a work.
    pub fn covers(&self, work: &Work) -> bool {
        self.covers_host(&work.host) && self.paths.iter().any(|path| path.glob.matches(&work.path))
    }

    /// Its paths, as rules have them.
    pub(crate) fn globs(&self) -> impl Iterator<Item = &PathGlob> {
        self.paths.iter().map(|path| &path.glob)
    }

    /// Its path patterns, as RFC 9309 and RSL have them.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.pattern.as_str())
    }

    /// Whether an operator may have it: anybody where nobody needs to acquire it.
    pub fn is_open_to(&self, operator: &str) -> bool {
        self.operators.is_empty() || self.operators.iter().any(|one| **one == *operator)
    }
}

impl PolicySnapshot {
    /// The licences that it grants.
    pub fn licences(&self) -> &[Licence] {
        &self.licences
    }

    /// Who gives tokens for them.
    pub fn licence_server(&self) -> &LicenceServer {
        &self.licence_server
    }

    /// Whether licences play any part in it. Where they do not, nothing of them appears in an answer.
    pub fn has_licences(&self) -> bool {
        !self.licences.is_empty() || self.licence_server != LicenceServer::BuiltIn
    }

    /// What a licence document says of the licences for a site: `content` for each path, with its server.
    ///
    /// `origin` is scheme and host in its canonical spelling, `https://example.com`.
    pub fn licence_contents(&self, origin: &str) -> Vec<Content> {
        let host = host_of(origin);
        let server = self.licence_server_url(origin);
        let mut contents: Vec<Content> = Vec::new();
        for licence in self.licences.iter().filter(|licence| licence.covers_host(host)) {
            for pattern in licence.patterns() {
                let place = contents.iter().position(|content| content.url == pattern);
                let place = place.unwrap_or_else(|| {
                    let server = Some(server.clone());
                    contents.push(Content { url: pattern.to_owned(), server, ..Content::default() });
                    contents.len() - 1
                });
                let licenses = &mut contents[place].licenses;
                // Two licences may have the same terms for other hosts.
                if !licenses.contains(&licence.license) {
                    licenses.push(licence.license.clone());
                }
            }
        }
        contents
    }

    /// The licence server's base URL for a site.
    pub fn licence_server_url(&self, origin: &str) -> String {
        match &self.licence_server {
            LicenceServer::BuiltIn => format!("{origin}{LICENCE_SERVER_PATH}"),
            LicenceServer::External { url } => url.to_string(),
        }
    }
}

fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

impl Purpose {
    /// What a crawler of this purpose needs a licence for (RSL 1.0 §1): who passes works on, or does not say what for, needs
    /// one for all uses by AI.
    pub fn usage(self) -> UsageClass {
        match self {
            Purpose::Train => UsageClass::AiTrain,
            Purpose::Search => UsageClass::AiIndex,
            Purpose::Ground | Purpose::Agent => UsageClass::AiInput,
            Purpose::Data | Purpose::Unknown => UsageClass::AiAll,
        }
    }
}
