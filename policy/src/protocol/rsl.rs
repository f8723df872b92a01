//! RSL 1.0, Really Simple Licensing (RSL-SPEC-1.0 of 2025-12-10, with the errata up to 2026-08-07): machine-readable
//! licences for what crawlers fetch.
//!
//! [`Document::parse`] reads and validates a document, [`Document::evaluate`] says whether an asset is licensed for a
//! use and what is asked for it, [`Document::publish`] writes one. Where documents are declared (robots.txt, `Link`,
//! HTML, feeds, metadata of files) is the matter of [`discovery`]. The licence server's messages are in
//! [`super::olp`], the crawler's side of a token in [`super::cap`].
//!
//! What is not conformant is refused whole: an asset without a valid document is unlicensed, never permitted (§2.7).
//! Not here: fetching, the encryption of media (EMS), the meaning of extension tokens.
//!
//! A document comes from a stranger. Before the XML reader sees it, one pass over its bytes bounds size, depth, tags and
//! attributes (see the constants), so that reading takes linear time; there is no document type, and so no entity.

pub mod discovery;
mod evaluate;
mod gate;
mod html;
mod model;
mod publish;
mod read;
mod value;
mod vocabulary;

pub use evaluate::{Asset, Decision, Denial, Licensed, Obligation, PaymentWord, Use};
pub use gate::{
    ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DEPTH_MAX, DOCUMENT_BYTES_MAX, NAMESPACES_MAX, NODES_MAX,
};
pub use model::{
    Accepts, Alternate, Amount, Content, Copyright, Document, Legal, License, MAX_AGE_DAYS_DEFAULT, Payment,
    Reporting, Schema, Statements,
};
pub use publish::PublishError;
pub use read::{CONTENTS_MAX, DIAGNOSTICS_MAX, DocumentError};
pub use value::URL_BYTES_MAX;
pub use vocabulary::{
    Disclaimer, Extension, Geo, HolderType, PaymentType, ReportingType, Token, UsageClass, UserClass,
    Warranty,
};

pub(in crate::protocol) use gate::load;
pub(crate) use value::{is_http_url, same_origin, split_origin};

use super::robots::{Pattern, Target};

/// The namespace of RSL 1.x (§1): 0.9 had the same.
pub const NAMESPACE: &str = "https://rslstandard.org/rsl";

/// The media type of a document (§1). Clients take any, if the namespace is right.
pub const MEDIA_TYPE: &str = "application/rsl+xml";

/// Access terms for those who write none of their own (§1, `terms`).
pub const DEFAULT_TERMS: &str = "https://rslstandard.org/rsl/default-terms";

/// The media type that `accepts` names for x402 (§1).
pub const ACCEPTS_X402: &str = "application/x402+json";

/// Whether a URL is one that a pattern with scheme and host covers, such as `https://example.com/articles/*`.
pub fn covers_url(pattern: &str, url: &str) -> bool {
    if !value::is_http_url(pattern) {
        return false;
    }
    let (Some((own, pattern)), Some((origin, path))) =
        (value::split_origin(pattern), value::split_origin(url))
    else {
        return false;
    };
    value::same_origin(own, origin) && Pattern::parse(pattern).matches(&Target::new(path))
}
