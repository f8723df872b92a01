//! Pay Per Crawl: prices in headers, between crawlers and sites.

use crate::money::{NanoError, parse_nano};
use crate::{Currency, Money, MoneyError};

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
    let shown = String::from_utf8_lossy(&value[..value.len().min(64)]);
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
}
