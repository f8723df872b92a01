//! The usage record: the one type written for outsiders. Flat, versioned, and never derived from internal types.
//!
//! A record is a CloudEvents 1.0 JSON object in RFC 8785 form; its bytes are the ledger entry.

/// One metered fetch, as it stands in the ledger (event type `ai.usage.fetch.v1`).
///
/// Amounts are nano-units; they are written as decimal strings of integers, because JSON numbers end at 2⁵³.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRecord {
    /// UUIDv7 of the fetch, text form; the event's `id`.
    pub id: String,
    /// The ledger's origin, `//example.org/ledger`; the event's `source`.
    pub source: String,
    /// Microseconds since the Unix epoch, UTC, when the fetch closed; the event's `time`.
    pub time_micros: i64,

    /// The crawler's token in the registry.
    pub crawler: String,
    /// The operator; `spoof` when the claim was contradicted. The event's `subject`.
    pub operator: String,
    /// The declared purpose.
    pub purpose: String,
    /// The rung: `claimed`, `network`, `signed`, `licensed`.
    pub assurance: String,
    /// What the rung rests on: `none`, `range <source>`, `reverse-dns <name>`, `contradicted <by>`.
    pub evidence: String,

    /// Request method.
    pub method: String,
    /// Canonical URL.
    pub url: String,
    /// The work's identifier.
    pub work: String,
    /// The holder's identifier, if the policy names one.
    pub holder: Option<String>,
    /// The licence's URL, if the policy names one.
    pub licence: Option<String>,

    /// The policy's digest, `sha256:…`.
    pub policy: String,
    /// The rule that decided.
    pub rule: String,
    /// `allow`, `deny` or `charge`.
    pub verdict: String,
    /// The status that enforcing would have answered, where the rule only observes.
    pub would_refuse: Option<u16>,

    /// The status delivered.
    pub status: u16,
    /// How it ended; see [`crate::Outcome`].
    pub outcome: crate::Outcome,
    /// Body bytes delivered, as they were on the wire (content codings kept, transfer coding off).
    pub bytes: u64,
    /// The length that the origin declared, if it did.
    pub declared_bytes: Option<u64>,
    /// `sha-256=:<base64>:` of the delivered bytes; absent if none were.
    pub digest: Option<String>,
    /// The origin's `ETag`, as it stood.
    pub etag: Option<String>,
    /// The origin's `Content-Range`, as it stood, for a 206.
    pub content_range: Option<String>,
    /// The media type, without parameters.
    pub content_type: Option<String>,
    /// Words of decoded text, where they were counted.
    pub words: Option<u64>,
    /// The word count stopped at a limit of bytes or time: it is a lower bound.
    pub words_capped: bool,

    /// ISO 4217 code.
    pub currency: String,
    /// The unit of the price (`fetch`, `MB`, `1000-words`), if a price was asked.
    pub unit: Option<String>,
    /// Price of one unit.
    pub price_nano: Option<i64>,
    /// The most that this fetch could cost, where the rule names it.
    pub max_nano: Option<i64>,
    /// What was counted in the unit's measure (fetches, bytes or words) and is rated.
    pub quantity: u64,
    /// The same version was paid (or quoted) before, within the rule's time: it is free.
    pub repeat: bool,
    /// Whether the quote is owed.
    pub owed: bool,
    /// What the fetch would cost.
    pub quote_nano: i64,
    /// What is owed for it: the quote, or 0.
    pub amount_nano: i64,
}

/// Exact sums of fetches that are not worth an entry each (event type `ai.usage.rollup.v1`): refusals, and claimed
/// fetches beyond the token bucket. One per crawler, operator, holder, rule, status and minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollup {
    /// UUIDv7, text form.
    pub id: String,
    /// The ledger's origin.
    pub source: String,
    /// When it was written, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// Start of the minute that it counts, seconds since the Unix epoch.
    pub minute: i64,
    /// The crawler's token.
    pub crawler: String,
    /// The operator, or `spoof`.
    pub operator: String,
    /// The purpose.
    pub purpose: String,
    /// The rung.
    pub assurance: String,
    /// The holder, if the policy names one.
    pub holder: Option<String>,
    /// The policy's digest.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// Whether these were refused (402, 403, 429) or delivered.
    pub refused: bool,
    /// The status answered.
    pub status: u16,
    /// The outcome of delivered ones.
    pub outcome: Option<crate::Outcome>,
    /// How many.
    pub fetches: u64,
    /// Body bytes delivered.
    pub bytes: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// The unit of the price, if one was asked.
    pub unit: Option<String>,
    /// Sum of quantities.
    pub quantity: u64,
    /// Sum of quotes; never owed.
    pub quote_nano: i128,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON of this shape.
    #[error("not a usage record: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
}
