//! Pay Per Crawl (Cloudflare): prices in headers, between crawlers and sites.
//!
//! A crawler says with [`MAX_PRICE`] or [`EXACT_PRICE`] what it pays; a 402 says with [`PRICE`] what is asked, a 200 with [`CHARGED`]
//! what will be billed, and [`ERROR`] says in one word ([`CrawlerError`]) why there is nothing. An origin may set a price of its own
//! with [`PRICE`] on its response ([`OriginPrice`]); [`TO_ORIGIN`] tells it whether it is listened to ([`Pricing`]).
//!
//! The order in which a fetch is judged ([`crate::admit`], then [`crate::release`] when the response head is there); the first line
//! that holds is the answer. A rule with `require = "signed"` follows it to the letter:
//!
//! | | answer |
//! |---|---|
//! | a path that is always free, or a rule that allows | delivered |
//! | a rule that denies | 403 `CrawlerForbidden` |
//! | both price headers, or one twice | 400 `ConflictingPriceHeaders` |
//! | a price that cannot be read | 400 `InvalidCrawlerPriceValue` |
//! | a price, and a signature that does not verify or does not cover it | 400 `InvalidSignature` |
//! | no price (and no contract that covers it) | 402 `MissingCrawlerPrice` |
//! | no signature | 400 `StrongAuthRequired` |
//! | an exact price that is not the price | 402 `InvalidCrawlerExactPrice` |
//! | a maximum below the price | 402 `InvalidCrawlerMaxPrice` |
//! | nobody who can be billed | 403 `PaymentFailed` |
//! | the origin's response is no success | delivered, not charged |
//! | the origin's price cannot be read | 502 `InvalidContentPrice` |
//!
//! Where the origin may set the price, what depends on the price waits for the response's head, a missing price header included:
//! the origin may say that it costs nothing, and a price that is quoted before would not be the one that is asked.
//!
//! Below `require = "signed"` identity comes before the missing price, and `StrongAuthRequired` and `PaymentFailed` are sent with
//! 402: the answer names the price, and being known by network or having an account is what would mend it.
//!
//! Cloudflare charges every fetch again; `repeat_free = "0s"` does so here.

use crate::money::{NanoError, parse_nano};
use crate::protocol::bot_auth::{Outcome, PaymentCover, REQUEST_TAG, Unverified, Verified};
use crate::{Class, Crawler, Currency, Money, MoneyError, PolicySnapshot, Refusal, Work, decimal};

/// Of a request: pays up to this.
pub const MAX_PRICE: &str = "crawler-max-price";
/// Of a request: pays exactly this.
pub const EXACT_PRICE: &str = "crawler-exact-price";
/// Of a 402: the price. Of an origin's response: the price that it sets. Never on a 200 for a crawler.
pub const PRICE: &str = "crawler-price";
/// Of a 200: what will be billed.
pub const CHARGED: &str = "crawler-charged";
/// Of a refusal: a [`CrawlerError`].
pub const ERROR: &str = "crawler-error";
/// Of every request to an origin: a [`Pricing`].
pub const TO_ORIGIN: &str = "cf-pay-per-crawl";

/// Bytes of a price that are read: no amount of [`Money`] with a currency is as long.
pub const PRICE_BYTES_MAX: usize = 64;

/// Why a crawler gets nothing: the complete list of `crawler-error`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CrawlerError {
    /// The site does not serve this crawler: stop.
    CrawlerForbidden,
    /// The request is not signed: sign it.
    StrongAuthRequired,
    /// The signature does not verify, or does not cover the price header.
    InvalidSignature,
    /// The price header cannot be read.
    InvalidCrawlerPriceValue,
    /// Both price headers, or one of them twice.
    ConflictingPriceHeaders,
    /// No price header; the answer names the price.
    MissingCrawlerPrice,
    /// Not the price; the answer names it.
    InvalidCrawlerExactPrice,
    /// Below the price; the answer names it.
    InvalidCrawlerMaxPrice,
    /// Nobody can be billed: do not try again.
    PaymentFailed,
    /// The origin's price cannot be read.
    InvalidContentPrice,
    /// Try again, later and later: the only one for which that helps.
    InternalError,
}

impl CrawlerError {
    /// All of them.
    pub const ALL: [CrawlerError; 11] = [
        CrawlerError::CrawlerForbidden,
        CrawlerError::StrongAuthRequired,
        CrawlerError::InvalidSignature,
        CrawlerError::InvalidCrawlerPriceValue,
        CrawlerError::ConflictingPriceHeaders,
        CrawlerError::MissingCrawlerPrice,
        CrawlerError::InvalidCrawlerExactPrice,
        CrawlerError::InvalidCrawlerMaxPrice,
        CrawlerError::PaymentFailed,
        CrawlerError::InvalidContentPrice,
        CrawlerError::InternalError,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            CrawlerError::CrawlerForbidden => "CrawlerForbidden",
            CrawlerError::StrongAuthRequired => "StrongAuthRequired",
            CrawlerError::InvalidSignature => "InvalidSignature",
            CrawlerError::InvalidCrawlerPriceValue => "InvalidCrawlerPriceValue",
            CrawlerError::ConflictingPriceHeaders => "ConflictingPriceHeaders",
            CrawlerError::MissingCrawlerPrice => "MissingCrawlerPrice",
            CrawlerError::InvalidCrawlerExactPrice => "InvalidCrawlerExactPrice",
            CrawlerError::InvalidCrawlerMaxPrice => "InvalidCrawlerMaxPrice",
            CrawlerError::PaymentFailed => "PaymentFailed",
            CrawlerError::InvalidContentPrice => "InvalidContentPrice",
            CrawlerError::InternalError => "InternalError",
        }
    }

    /// The error of that word.
    pub fn parse(text: &str) -> Option<CrawlerError> {
        CrawlerError::ALL.into_iter().find(|error| error.as_str() == text)
    }

    /// The HTTP status that it comes with.
    pub fn status(self) -> u16 {
        match self {
            CrawlerError::StrongAuthRequired
            | CrawlerError::InvalidSignature
            | CrawlerError::InvalidCrawlerPriceValue
            | CrawlerError::ConflictingPriceHeaders => 400,
            CrawlerError::MissingCrawlerPrice
            | CrawlerError::InvalidCrawlerExactPrice
            | CrawlerError::InvalidCrawlerMaxPrice => 402,
            CrawlerError::CrawlerForbidden | CrawlerError::PaymentFailed => 403,
            CrawlerError::InternalError => 500,
            CrawlerError::InvalidContentPrice => 502,
        }
    }
}

/// What is known of a request's message signature (RFC 9421, Web Bot Auth); found out elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureOutcome {
    /// There is none, or none that could be checked.
    Absent,
    /// There is one, or a part of one, that does not verify.
    Invalid,
    /// It verifies.
    Valid {
        /// Whether it covers the price header that was sent.
        covers_price: bool,
    },
}

impl SignatureOutcome {
    /// What a verdict about a request's signatures means for its price, which stands in the fields `price_fields`.
    pub fn of<'a>(outcome: &Outcome, price_fields: impl Iterator<Item = &'a str>) -> SignatureOutcome {
        match outcome {
            Outcome::Verified(verified) => SignatureOutcome::of_verified(verified, price_fields),
            Outcome::Unsigned
            | Outcome::Unverified { reason: Unverified::Agent(_) | Unverified::NoKeys(_), .. } => {
                SignatureOutcome::Absent
            }
            Outcome::Invalid { .. } | Outcome::Unverified { .. } => SignatureOutcome::Invalid,
        }
    }

    /// The same of a signature that holds.
    pub fn of_verified<'a>(
        verified: &Verified,
        price_fields: impl Iterator<Item = &'a str>,
    ) -> SignatureOutcome {
        let fields: Vec<&str> = price_fields.collect();
        let cover = PaymentCover { fields: &fields, body: false };
        SignatureOutcome::Valid { covers_price: verified.covers_payment(&cover).is_ok() }
    }

    /// The offer as far as the signature carries it: a price that a signature leaves open was written by anybody.
    ///
    /// A request without a signature keeps its offer; whether that is enough is for the rule's `require` to say.
    ///
    /// # Errors
    /// The offer's own, [`OfferError::InvalidSignature`] or [`OfferError::NotCovered`].
    pub fn bind(self, offer: Result<Offer, OfferError>) -> Result<Offer, OfferError> {
        match (offer?, self) {
            (Offer::None, _) => Ok(Offer::None),
            (_, SignatureOutcome::Invalid) => Err(OfferError::InvalidSignature),
            (_, SignatureOutcome::Valid { covers_price: false }) => Err(OfferError::NotCovered),
            (offer, SignatureOutcome::Absent | SignatureOutcome::Valid { covers_price: true }) => Ok(offer),
        }
    }
}

/// The price that an origin sets with [`PRICE`] on its response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OriginPrice {
    /// None: the rule's own price holds.
    #[default]
    Absent,
    /// This; nothing is free.
    Price(Money),
    /// Not a price, or several.
    Unreadable,
}

impl OriginPrice {
    /// Reads the values of all [`PRICE`] headers of a response.
    pub fn parse(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> OriginPrice {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => OriginPrice::Absent,
            (Some(value), None) => {
                parse_price(value.as_ref()).map_or(OriginPrice::Unreadable, OriginPrice::Price)
            }
            (Some(_), Some(_)) => OriginPrice::Unreadable,
        }
    }
}

/// Who sets the price of a fetch, as [`TO_ORIGIN`] says it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pricing {
    /// The policy.
    ZoneDefault,
    /// The origin, if it wants to.
    InBand,
    /// Nobody: nothing is charged.
    Bypass,
}

impl Pricing {
    /// The value of [`TO_ORIGIN`].
    pub fn as_field(self) -> &'static str {
        match self {
            Pricing::ZoneDefault => "protocol=cloudflare, pricing=zone-default",
            Pricing::InBand => "protocol=cloudflare, pricing=in-band",
            Pricing::Bypass => "protocol=cloudflare, pricing=bypass",
        }
    }
}

impl PolicySnapshot {
    /// Whether any rule lets the origin set the price: only then does an origin need to be told who does.
    pub fn listens_to_origin(&self) -> bool {
        self.origin_prices
    }

    /// Who sets the price of a fetch, as far as is known before the origin is asked: of the rules that may come to decide, one
    /// that listens to the origin counts most.
    pub fn pricing(&self, crawler: &Crawler, work: &Work) -> Pricing {
        if work.always_free || crawler.row.class != Class::Ai {
            return Pricing::Bypass;
        }
        let mut pricing = Pricing::Bypass;
        for (rule, media) in self.rules.candidates(crawler, work) {
            match &rule.charge {
                Some(charge) if rule.is_enforced() && charge.origin_price => return Pricing::InBand,
                Some(_) if rule.is_enforced() => pricing = Pricing::ZoneDefault,
                _ => {}
            }
            if media.is_none() {
                break;
            }
        }
        pricing
    }
}

/// A price as these headers write it: `USD 0.01`.
pub fn price_field(price: Money) -> String {
    [price.currency.as_str(), " ", &decimal(i128::from(price.nano))].concat()
}

impl Refusal {
    /// The headers of the answer that are this protocol's: [`PRICE`] on a 402, and [`ERROR`].
    pub fn crawler_fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let price = self.price.filter(|_| self.status() == 402).map(|price| (PRICE, price_field(price)));
        let error = self.crawler_error.map(|error| (ERROR, error.to_owned()));
        price.into_iter().chain(error)
    }
}

/// `Accept-Signature` (RFC 9421 section 5.1) for a request that made this offer: what a signature has to cover for it to be
/// taken. What is paid otherwise has rules of its own.
pub(crate) fn accept_signature(offer: &Offer) -> Option<String> {
    let price = match offer {
        Offer::None => String::new(),
        Offer::Max(_) => format!(" \"{MAX_PRICE}\""),
        Offer::Exact(_) => format!(" \"{EXACT_PRICE}\""),
        Offer::Prepaid(_) => return None,
    };
    let label = "sig1";
    Some(format!(
        "{label}=(\"@authority\" \"@method\" \"@path\" \"signature-agent\";key=\"{label}\"{price});created;expires;\
         tag=\"{REQUEST_TAG}\""
    ))
}

/// What a crawler says it will pay: `crawler-max-price` or `crawler-exact-price`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offer {
    /// No price header.
    #[default]
    None,
    /// Up to this.
    Max(Money),
    /// Exactly this.
    Exact(Money),
    /// This, paid before delivery: checked, and settled when the response's head is there. Not of this protocol.
    Prepaid(Money),
}

impl Offer {
    /// Reads the values of all `crawler-max-price` and all `crawler-exact-price` headers of a request.
    ///
    /// A value is an ISO 4217 code, one space and a decimal number, as in `USD 0.01`: no sign, no exponent, no comma.
    ///
    /// # Errors
    /// More than one price, or one that cannot be read.
    pub fn parse(
        max: impl IntoIterator<Item = impl AsRef<[u8]>>,
        exact: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Offer, OfferError> {
        let (mut max, mut exact) = (max.into_iter(), exact.into_iter());
        let offer = match (max.next(), exact.next()) {
            (None, None) => return Ok(Offer::None),
            (Some(_), Some(_)) => return Err(OfferError::Conflicting),
            (Some(value), None) => Offer::Max(parse_price(value.as_ref())?),
            (None, Some(value)) => Offer::Exact(parse_price(value.as_ref())?),
        };
        if max.next().is_some() || exact.next().is_some() {
            return Err(OfferError::Conflicting);
        }
        Ok(offer)
    }
}

fn parse_price(value: &[u8]) -> Result<Money, MoneyError> {
    let shown = String::from_utf8_lossy(&value[..value.len().min(PRICE_BYTES_MAX)]);
    let text = shown.trim_matches([' ', '\t']);
    let (code, amount) = text.split_once(' ').ok_or_else(|| NanoError::Malformed.about(text))?;
    let nano = parse_nano(amount).map_err(|error| error.about(text))?;
    Ok(Money { nano, currency: Currency::parse(code)? })
}

/// Why price headers cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// `crawler-error: ConflictingPriceHeaders`.
    #[error("send either crawler-max-price or crawler-exact-price, once")]
    Conflicting,
    /// `crawler-error: InvalidCrawlerPriceValue`.
    #[error("a price header reads like `USD 0.01`: {0}")]
    Malformed(#[from] MoneyError),
    /// `crawler-error: InvalidSignature`.
    #[error("the request's signature does not verify")]
    InvalidSignature,
    /// `crawler-error: InvalidSignature`.
    #[error("the request's signature does not cover the price header, or not what is fetched")]
    NotCovered,
    /// `crawler-error: InvalidSignature`.
    #[error("the request's signature was used before; sign again, with another nonce")]
    Replayed,
}

/// Paths that tell a crawler what it may do: nobody pays to read the rules, and no rule hides them.
///
/// `llms.txt` is on the list because it is a signpost; `llms-full.txt` holds the works themselves and is not.
pub(crate) fn is_always_free(path: &str) -> bool {
    const FREE: [&str; 10] = [
        "/robots.txt",
        "/security.txt",
        "/.well-known/security.txt",
        "/.well-known/tdmrep.json",
        "/.well-known/http-message-signatures-directory",
        "/.well-known/rsl.xml",
        "/license.xml",
        "/rsl.xml",
        "/llms.txt",
        "/crawlers.json",
    ];
    let is_sitemap = || {
        path.strip_prefix("/sitemap")
            .is_some_and(|rest| !rest.contains('/') && (rest.ends_with(".xml") || rest.ends_with(".xml.gz")))
    };
    FREE.contains(&path) || is_sitemap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(nano: i64) -> Money {
        Money { nano, currency: Currency::USD }
    }

    #[track_caller]
    fn check(max: &[&str], exact: &[&str], expect: Result<Offer, &str>) {
        let offer = Offer::parse(max, exact);
        let offer = offer.map_err(|error| match error {
            OfferError::Conflicting => "conflicting",
            OfferError::Malformed(_) => "malformed",
            OfferError::InvalidSignature | OfferError::NotCovered | OfferError::Replayed => "not signed",
        });
        assert_eq!(offer, expect, "{max:?} {exact:?}");
    }

    #[test]
    fn price_headers_are_read_strictly() {
        check(&[], &[], Ok(Offer::None));
        check(&["USD 0.01"], &[], Ok(Offer::Max(usd(10_000_000))));
        check(&[], &["USD 0.010"], Ok(Offer::Exact(usd(10_000_000))));
        check(&[" USD 0.00 "], &[], Ok(Offer::Max(usd(0))));
        check(&["USD 0.01"], &["USD 0.01"], Err("conflicting"));
        check(&["USD 0.01", "USD 0.01"], &[], Err("conflicting"));
        for value in [
            "",
            "0.01",
            "USD",
            "USD0.01",
            "USD  0.01",
            "usd 0.01",
            "0.01 USD",
            "USD 0,01",
            "USD -1",
            "USD +1",
            "USD 1e3",
            "USD .5",
            "USD 1.",
            "XYZ 1",
            "USD 0.0000000001",
            "USD 99999999999",
            "USD 0.01, USD 0.02",
            "USD 0.01;q=1",
        ] {
            check(&[value], &[], Err("malformed"));
        }
        assert!(Offer::parse([b"\xff\xfe 1"], [""; 0]).is_err());
        assert!(Offer::parse(["9".repeat(100_000)], [""; 0]).is_err());
    }

    #[test]
    fn the_rules_themselves_are_free_to_read() {
        for path in ["/robots.txt", "/sitemap.xml", "/sitemap_index.xml", "/sitemap-news.xml.gz", "/llms.txt"]
        {
            assert!(is_always_free(path), "{path}");
        }
        for path in [
            "/",
            "/robots.txt/",
            "/sitemap",
            "/sitemap/x.xml",
            "/sitemap.xml.html",
            "/llms-full.txt",
            "/a/robots.txt",
        ] {
            assert!(!is_always_free(path), "{path}");
        }
    }

    #[test]
    fn errors_and_their_statuses_are_cloudflares() {
        let table = CrawlerError::ALL.map(|error| (error.as_str(), error.status()));
        assert_eq!(
            table,
            [
                ("CrawlerForbidden", 403),
                ("StrongAuthRequired", 400),
                ("InvalidSignature", 400),
                ("InvalidCrawlerPriceValue", 400),
                ("ConflictingPriceHeaders", 400),
                ("MissingCrawlerPrice", 402),
                ("InvalidCrawlerExactPrice", 402),
                ("InvalidCrawlerMaxPrice", 402),
                ("PaymentFailed", 403),
                ("InvalidContentPrice", 502),
                ("InternalError", 500),
            ]
        );
        for error in CrawlerError::ALL {
            assert_eq!(CrawlerError::parse(error.as_str()), Some(error));
        }
        assert_eq!(CrawlerError::parse("crawlerforbidden"), None);
    }

    #[test]
    fn a_price_that_no_signature_covers_is_no_offer() {
        let max = Ok(Offer::Max(usd(1)));
        let valid = |covers_price| SignatureOutcome::Valid { covers_price };
        for (outcome, expect) in [
            (SignatureOutcome::Absent, max.clone()),
            (valid(true), max.clone()),
            (valid(false), Err(OfferError::NotCovered)),
            (SignatureOutcome::Invalid, Err(OfferError::InvalidSignature)),
        ] {
            assert_eq!(outcome.bind(max.clone()), expect);
            assert_eq!(
                outcome.bind(Ok(Offer::None)),
                Ok(Offer::None),
                "where there is no price, none is open"
            );
            assert_eq!(outcome.bind(Err(OfferError::Conflicting)), Err(OfferError::Conflicting));
        }
    }

    #[test]
    fn an_origin_names_one_price_or_none() {
        let read = |values: &[&str]| OriginPrice::parse(values);
        assert_eq!(read(&[]), OriginPrice::Absent);
        assert_eq!(read(&["USD 3.14"]), OriginPrice::Price(usd(3_140_000_000)));
        assert_eq!(read(&["USD 0.00"]), OriginPrice::Price(usd(0)));
        for values in [&["free"][..], &[""], &["USD 1", "USD 1"], &["USD 1, USD 2"], &["3.14 USD"]] {
            assert_eq!(read(values), OriginPrice::Unreadable, "{values:?}");
        }
    }

    #[test]
    fn what_a_header_says_is_read_back() {
        let mut nano: i64 = 1;
        for step in 0_i64..20_000 {
            nano = nano.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let price = usd((nano >> (step % 60)) & i64::MAX);
            let written = price_field(price);
            assert!(written.len() <= PRICE_BYTES_MAX);
            assert_eq!(Offer::parse([""; 0], [written]), Ok(Offer::Exact(price)));
        }
    }
}
