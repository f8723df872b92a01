//! Who may fetch which work, on what terms: the rules of Byline as pure functions.
//!
//! Everything here takes texts and values and returns values. There is no clock, no file, no socket and no runtime: the
//! same inputs give the same answer for ever, so that a statement, a replay or a court can ask again next year.
//!
//! The line of a fetch: [`Directory`] recognises a crawler by its user agent, [`identify`] puts it on a rung of the
//! ladder [`Assurance`] by the evidence at hand, [`admit`] decides before the origin is contacted and [`release`] decides
//! again when the response head is known.

mod admit;
mod config;
mod crawler;
mod diagnostic;
mod digest;
mod directory;
mod evidence;
mod explain;
pub mod fields;
mod glob;
mod judge;
mod licence;
pub mod lint;
mod money;
mod pattern;
pub mod payment;
pub mod protocol;
pub mod publish;
mod purpose;
mod release;
mod rule;
mod snapshot;
mod terms;
mod work;

pub use admit::{Admission, Grant, Standing, admit};
pub use crawler::{Class, Crawler, CrawlerRow, Verification};
pub use diagnostic::{Diagnostic, Severity, render, suggest};
pub use digest::{hex, sha256};
pub use directory::{Directory, USER_AGENT_BYTES_MAX};
pub use evidence::{
    Assurance, Evidence, LIST_BYTES_MAX, LIST_ENTRIES_MAX, RangeList, ReverseDnsAnswer, identify, is_local,
    is_public, weigh,
};
pub use explain::{Answer, Considered, Explanation, Question};
pub use licence::{
    Held, LICENCE_DOCUMENT_PATH, LICENCE_SERVER_PATH, Licence, LicenceServer, OnOffer, ShownFor, Stated,
    TOKEN_SECS_MAX,
};
pub use money::{Currency, Money, MoneyError, decimal, divide_half_even};
pub use payment::PaymentWay;
pub use protocol::crawl_price::{Offer, OfferError};
pub use purpose::Purpose;
pub use release::{Release, ResponseHead, release};
pub use snapshot::{Account, Holder, Include, Mode, PolicySnapshot, Source};
pub use terms::{Charge, Limit, Refusal, RefusalKind, Terms, Unit, Verdict};
pub use work::{AmbiguousPath, Work};
