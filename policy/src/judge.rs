//! What a single rule says to a fetch, as if it were enforced. [`crate::admit`] and [`crate::release`] are made of this.

use crate::protocol::cap::Unlicensed;
use crate::protocol::crawl_price::{CrawlerError, accept_signature};
use crate::rule::Rule;
use crate::{
    Account, Assurance, Charge, Crawler, Mode, Money, Offer, OfferError, PolicySnapshot, Refusal,
    RefusalKind, Standing, Unit, Verdict, Work,
};

/// What a fetch may come to cost: one amount, or a range as long as its quantity is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    pub(crate) least: Money,
    pub(crate) most: Money,
    /// What a refusal says that it costs.
    told: Money,
    /// Whether the origin may still set another price.
    is_open: bool,
}

impl Quote {
    /// Before the origin is asked.
    pub(crate) fn of_request(charge: &Charge) -> Quote {
        let most = charge.ceiling();
        let least = match charge.unit {
            Unit::Megabyte => Money::zero(most.currency),
            Unit::Fetch if charge.origin_price => Money::zero(most.currency),
            Unit::Fetch | Unit::ThousandWords => most,
        };
        let told = if charge.origin_price { charge.price } else { most };
        Quote { least, most, told, is_open: charge.origin_price }
    }

    /// Whether the response may still change it.
    pub(crate) fn is_range(self) -> bool {
        self.is_open || self.least != self.most
    }

    /// When the response head is known.
    pub(crate) fn of_response(charge: &Charge, content_length: Option<u64>) -> Quote {
        let amount = charge.most(content_length);
        Quote { least: amount, most: amount, told: amount, is_open: false }
    }
}

/// Everything that a rule is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) policy: &'a PolicySnapshot,
    pub(crate) crawler: &'a Crawler,
    pub(crate) work: &'a Work,
    pub(crate) offer: &'a Result<Offer, OfferError>,
    pub(crate) standing: &'a dyn Standing,
}

/// Why a rule, if enforced, refuses a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objection {
    pub(crate) kind: RefusalKind,
    /// What it would cost.
    pub(crate) quote: Option<Quote>,
    retry_after_secs: Option<u64>,
    crawler_error: Option<CrawlerError>,
    status: u16,
    /// What CAP says, where a licence decides.
    unlicensed: Option<Unlicensed>,
}

impl<'a> Case<'a> {
    /// The rule's answer: what will be owed at most, or why not.
    ///
    /// `held` is what [`crate::admit`] granted and the caller put aside on the account; within it nobody is asked again.
    pub(crate) fn judge(
        &self,
        rule: &Rule,
        quote: Option<Quote>,
        held: Option<Money>,
    ) -> Result<Option<Money>, Objection> {
        let object = |kind: RefusalKind| Objection { quote, ..Objection::of(kind, rule) };
        if rule.verdict == Verdict::Deny {
            return Err(object(RefusalKind::Denied).code(CrawlerError::CrawlerForbidden).without_price());
        }
        if let Some(limit) = &rule.limit
            && let Some(seconds) = self.standing.exhausted(limit, self.crawler.operator())
        {
            let objection =
                Objection { retry_after_secs: Some(seconds), ..object(RefusalKind::LimitReached) };
            return Err(objection.without_price());
        }
        let Some(quote) = quote else { return Ok(None) };
        let refuse = |kind, code| Err(object(kind).code(code));
        let offer = match self.offer {
            Ok(offer) => offer,
            Err(error) => {
                let (kind, code) = match error {
                    OfferError::Conflicting => (RefusalKind::BadOffer, CrawlerError::ConflictingPriceHeaders),
                    OfferError::Malformed(_) => {
                        (RefusalKind::BadOffer, CrawlerError::InvalidCrawlerPriceValue)
                    }
                    OfferError::InvalidSignature | OfferError::NotCovered | OfferError::Replayed => {
                        (RefusalKind::BadSignature, CrawlerError::InvalidSignature)
                    }
                };
                return refuse(kind, code);
            }
        };
        let account = self.policy.account(self.crawler.operator());
        let agreed = agree(quote, offer, account);
        if *offer == Offer::None && agreed.is_none() {
            if quote.is_open {
                // The origin may say that it costs nothing; if not, its price is what the crawler has to be told.
                return Ok(None);
            }
            if rule.require >= Assurance::Signed {
                return refuse(RefusalKind::PaymentRequired, CrawlerError::MissingCrawlerPrice);
            }
        }
        // Who pays at once need not be known to anybody who sends bills.
        let is_prepaid = matches!(offer, Offer::Prepaid(_));
        let is_known = self.crawler.may_owe_under(rule.require) && (is_prepaid || !self.crawler.is_spoof());
        let needs_no_name = is_prepaid && rule.require <= Assurance::Network;
        if !(is_known || needs_no_name) {
            return refuse(RefusalKind::IdentityRequired, CrawlerError::StrongAuthRequired);
        }
        let Some(agreed) = agreed else {
            return match offer {
                Offer::None | Offer::Prepaid(_) => {
                    refuse(RefusalKind::PaymentRequired, CrawlerError::MissingCrawlerPrice)
                }
                Offer::Max(_) => refuse(RefusalKind::OfferTooLow, CrawlerError::InvalidCrawlerMaxPrice),
                Offer::Exact(_) => refuse(RefusalKind::OfferTooLow, CrawlerError::InvalidCrawlerExactPrice),
            };
        };
        let affordable = match held {
            None if is_prepaid => true,
            Some(held) => agreed.nano <= held.nano,
            None => account.is_some() && self.standing.affords(self.crawler.operator(), agreed),
        };
        if affordable { Ok(Some(agreed)) } else { refuse(RefusalKind::NoCredit, CrawlerError::PaymentFailed) }
    }

    /// What stands against a response whose own price cannot be taken.
    pub(crate) fn bad_origin_price(rule: &Rule) -> Objection {
        Objection::of(RefusalKind::BadOriginPrice, rule).code(CrawlerError::InvalidContentPrice)
    }

    /// A refusal in full: what its answer says to machines and to people.
    pub(crate) fn refusal(&self, rule: &Rule, objection: &Objection) -> Refusal {
        let price = objection.quote.map(|quote| quote.told);
        let unit = rule.charge.as_ref().filter(|_| price.is_some());
        Refusal {
            kind: objection.kind,
            rule: rule.name.clone(),
            price,
            unit: unit.map(|charge| charge.unit),
            unit_price: unit.filter(|charge| charge.unit != Unit::Fetch).map(|charge| charge.price),
            require: rule.require,
            licence: self.work.licence.clone(),
            contact: self.policy.contact(&self.work.host).cloned(),
            retry_after_secs: objection.retry_after_secs,
            crawler_error: objection.crawler_error.map(CrawlerError::as_str),
            unlicensed: objection.unlicensed.map(|why| (why, self.work.licence_document())),
            accept_signature: self.accept_signature(rule, objection),
            detail: self.detail(rule, objection),
        }
    }

    fn accept_signature(&self, rule: &Rule, objection: &Objection) -> Option<String> {
        let is_asked = objection.kind == RefusalKind::IdentityRequired && rule.require == Assurance::Signed;
        self.offer.as_ref().ok().filter(|_| is_asked).and_then(accept_signature)
    }

    fn detail(&self, rule: &Rule, objection: &Objection) -> String {
        let name = &rule.name;
        let token = &self.crawler.row.token;
        let price = match (&rule.charge, objection.quote) {
            (Some(charge), Some(quote)) => price_in_words(charge, quote),
            _ => String::new(),
        };
        match objection.kind {
            RefusalKind::Denied => {
                format!("The rule \"{name}\" of this site does not let {token} fetch this work.")
            }
            RefusalKind::LimitReached => format!(
                "The rule \"{name}\" of this site sets a budget for each operator, and {}'s is used up; it is renewed in \
                 {} seconds.",
                self.crawler.operator(),
                objection.retry_after_secs.unwrap_or_default()
            ),
            RefusalKind::BadOffer => match self.offer {
                Err(error) => format!("The price offered cannot be read: {error}. {price}"),
                Ok(_) => format!("The price offered cannot be read. {price}"),
            },
            RefusalKind::BadSignature => match self.offer {
                Err(error) => format!("The price offered is not taken: {error}. {price}"),
                Ok(_) => format!("The price offered is not taken. {price}"),
            },
            RefusalKind::Unlicensed => format!(
                "{}. {price} The licences of this site are in {}.",
                objection.unlicensed.unwrap_or(Unlicensed::Missing).description(),
                self.work.licence_document()
            ),
            RefusalKind::BadOriginPrice => {
                "The site's own price for this work cannot be taken. Nothing was charged; the site has to mend it.".to_owned()
            }
            RefusalKind::PaymentRefused
            | RefusalKind::BadPayment
            | RefusalKind::PaymentConflict
            | RefusalKind::PaymentPending => price, // said by who looked at the payment
            RefusalKind::IdentityRequired if self.crawler.is_spoof() => format!(
                "{price} This request carries the name {token}, but does not come from where its operator says that it \
                 fetches from, so nobody can be billed for it."
            ),
            RefusalKind::IdentityRequired => format!(
                "{price} To be billed, {token} must be known by {}; this request is only {}.",
                match rule.require {
                    Assurance::Claimed | Assurance::Network =>
                        "its network (a published address range or confirmed reverse DNS)",
                    Assurance::Signed => "a signature (Web Bot Auth)",
                    Assurance::Licensed if self.crawler.assurance == Assurance::Licensed =>
                        "its network or a signature beside its licence",
                    Assurance::Licensed => "a licence token",
                },
                match self.crawler.assurance {
                    Assurance::Signed if self.crawler.rung_for_money() < Assurance::Signed =>
                        "signed without saying what it fetches (@method and @path, @target-uri, or a nonce)",
                    Assurance::Claimed => "a claim in its user agent",
                    Assurance::Network => "known by its network",
                    Assurance::Signed => "signed",
                    Assurance::Licensed => "licensed, and a licence does not say who shows it",
                }
            ),
            RefusalKind::PaymentRequired => format!(
                "{price} Fetch it again with crawler-max-price or crawler-exact-price, or agree on a price with the site."
            ),
            RefusalKind::OfferTooLow => match self.offer {
                Ok(Offer::Exact(offer)) => {
                    format!("{price} The offer was exactly {offer}, which is not that price.")
                }
                Ok(Offer::Max(offer)) => format!("{price} The offer was {offer} at most."),
                _ => price,
            },
            RefusalKind::NoCredit => format!(
                "{price} It cannot be billed: {} has no account with this site, or its credit is used up.",
                self.crawler.operator()
            ),
        }
    }
}

impl Objection {
    pub(crate) fn of(kind: RefusalKind, rule: &Rule) -> Objection {
        let status = kind.status_under(rule.require);
        Objection { kind, quote: None, retry_after_secs: None, crawler_error: None, status, unlicensed: None }
    }

    /// The same, where a licence would mend it: as what is lacking, or as one more way beside paying.
    pub(crate) fn unlicensed(self, why: Unlicensed) -> Objection {
        let (status, unlicensed) = (why.status(), Some(why));
        if status == 402 && self.status == 402 {
            return Objection { unlicensed, ..self };
        }
        Objection { kind: RefusalKind::Unlicensed, status, crawler_error: None, unlicensed, ..self }
    }

    fn code(self, code: CrawlerError) -> Objection {
        Objection { crawler_error: Some(code), ..self }
    }

    fn without_price(self) -> Objection {
        Objection { quote: None, ..self }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }
}

/// The most that both sides can have agreed on within the quote; `None` if they have not. A price header is the
/// crawler's word for this fetch; the contract speaks where there is none.
fn agree(quote: Quote, offer: &Offer, account: Option<&Account>) -> Option<Money> {
    let currency = quote.most.currency;
    let limit = match *offer {
        Offer::None => account.and_then(|account| account.accept)?,
        Offer::Max(limit) => limit,
        Offer::Exact(amount) if amount.nano > quote.most.nano => return None,
        Offer::Exact(amount) => amount,
        // What is paid beforehand is paid to the last unit, or not for this.
        Offer::Prepaid(amount) => return (quote.least == amount && quote.most == amount).then_some(amount),
    };
    (limit.currency == currency && limit.nano >= quote.least.nano)
        .then(|| Money { nano: limit.nano.min(quote.most.nano), currency })
}

fn price_in_words(charge: &Charge, quote: Quote) -> String {
    let unit = match charge.unit {
        Unit::Fetch if quote.is_open => {
            return format!(
                "This work costs {} a fetch, unless the site names another price for it.",
                quote.told
            );
        }
        Unit::Fetch => return format!("This work costs {} a fetch.", quote.told),
        Unit::Megabyte => "per MB",
        Unit::ThousandWords => "per 1000 words",
    };
    if quote.least == quote.most && quote.most != charge.ceiling() {
        format!("This work costs {} {unit}, {} for this fetch.", charge.price, quote.most)
    } else {
        format!("This work costs {} {unit}, {} at most for one fetch.", charge.price, quote.most)
    }
}

impl Rule {
    pub(crate) fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}
