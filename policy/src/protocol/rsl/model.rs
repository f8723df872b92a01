//! What a document says, as values. Foreign elements and attributes are not part of it: readers ignore them (§1).

use super::vocabulary::{
    Disclaimer, Geo, HolderType, PaymentType, ReportingType, Token, UsageClass, UserClass, Warranty,
};
use crate::{Currency, Money, MoneyError};

/// The days after which a document and its association are to be looked up again, where it names none (§1, `max-age`).
pub const MAX_AGE_DAYS_DEFAULT: u32 = 30;

/// `rsl`: a document, or what stands for one in a feed or a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Document {
    /// `max-age`, in days; positive.
    pub max_age_days: Option<u32>,
    /// One or more.
    pub contents: Vec<Content>,
}

impl Document {
    /// The days after which document and association are to be looked up again.
    pub fn max_age_days(&self) -> u32 {
        self.max_age_days.unwrap_or(MAX_AGE_DAYS_DEFAULT)
    }
}

/// `content`: a set of assets and the licences on offer for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// A path pattern of RFC 9309 with `*` and a final `$`, or an absolute URL whose path is one. Empty only where the
    /// place of declaration gives the scope: then it matches all.
    pub url: String,
    /// The licence server's base URL. If present, a client gets a token before access, even if access is free.
    pub server: Option<String>,
    /// Whether the asset is encrypted; then there is a `server`.
    pub encrypted: bool,
    /// When the asset last changed, a date-time of RFC 3339.
    pub lastmod: Option<String>,
    /// One or more: alternative sets of terms.
    pub licenses: Vec<License>,
    /// Other renditions, under the same terms.
    pub alternates: Vec<Alternate>,
    /// A description by schema.org.
    pub schema: Option<Schema>,
    /// Who holds the copyright.
    pub copyright: Option<Copyright>,
    /// The URL of terms for people.
    pub terms: Option<String>,
}

/// `license`: one set of terms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct License {
    /// `permits`: where a type is listed, the list is closed (§2.4).
    pub permits: Statements,
    /// `prohibits`: wins over `permits` (§2.3).
    pub prohibits: Statements,
    /// Absent: free.
    pub payment: Option<Payment>,
    /// What has to be reported; whoever cannot is not licensed.
    pub reporting: Vec<Reporting>,
    /// Warranties, disclaimers and the like; each type at most once.
    pub legal: Vec<Legal>,
}

/// The lists of `permits` or of `prohibits`, one for each type; a list that is there is not empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statements {
    /// `type="usage"`.
    pub usage: Option<Vec<Token<UsageClass>>>,
    /// `type="user"`.
    pub user: Option<Vec<Token<UserClass>>>,
    /// `type="geo"`.
    pub geo: Option<Vec<Token<Geo>>>,
}

/// `payment`: what is asked for a licence.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Payment {
    /// What is paid for; a payment that does not say is taken as due before the fetch.
    pub kind: Option<Token<PaymentType>>,
    /// The absolute URI of a framework that others share, compared as an opaque string.
    pub standard: Option<String>,
    /// URL or path of the publisher's own process.
    pub custom: Option<String>,
    /// The price.
    pub amount: Option<Amount>,
    /// A payment protocol.
    pub accepts: Option<Accepts>,
}

/// `amount`: a decimal, as it was written, and its currency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Amount {
    /// Digits, with decimals after a point: `10.00`. RSL sets no limit to decimals, [`Money`] has nine.
    pub decimal: String,
    /// ISO 4217.
    pub currency: Currency,
}

impl Amount {
    /// The price in nano-units.
    ///
    /// # Errors
    /// More than nine decimals, or more than an `i64` of nano-units.
    pub fn money(&self) -> Result<Money, MoneyError> {
        Money::parse(&format!("{} {}", self.decimal, self.currency))
    }
}

/// `accepts`: a payment protocol and its payload. The price that counts comes with the 402 answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepts {
    /// The protocol's media type, such as [`super::ACCEPTS_X402`].
    pub media_type: String,
    /// What the protocol wants to say; empty if nothing.
    pub payload: String,
}

/// `reporting`: a duty to report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reporting {
    /// What is reported.
    pub kind: Token<ReportingType>,
    /// The absolute URI of the profile, compared as an opaque string.
    pub profile: String,
    /// Where to, `https`.
    pub endpoint: Option<String>,
}

/// `legal`: what a lawyer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Legal {
    /// `type="warranty"`.
    Warranty(Vec<Token<Warranty>>),
    /// `type="disclaimer"`.
    Disclaimer(Vec<Token<Disclaimer>>),
    /// `type="attestation"`: that the licensor stands for what it says.
    Attestation(bool),
    /// `type="contact"`: a URL or a mail address.
    Contact(String),
    /// `type="proof"`: absolute URIs.
    Proof(Vec<String>),
}

impl Legal {
    /// The word of `type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Legal::Warranty(_) => "warranty",
            Legal::Disclaimer(_) => "disclaimer",
            Legal::Attestation(_) => "attestation",
            Legal::Contact(_) => "contact",
            Legal::Proof(_) => "proof",
        }
    }
}

/// `alternate`: another rendition of the asset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alternate {
    /// Where it is.
    pub url: String,
    /// Its media type.
    pub media_type: Option<String>,
}

/// `schema`: a description by schema.org, in JSON-LD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Schema {
    /// Where it is.
    Url(String),
    /// The JSON itself.
    Inline(String),
}

/// `copyright`: who holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copyright {
    /// The name; empty if there is none.
    pub holder: String,
    /// Person or organisation.
    pub kind: Option<HolderType>,
    /// A mail address.
    pub contact_email: Option<String>,
    /// A URL.
    pub contact_url: Option<String>,
}
