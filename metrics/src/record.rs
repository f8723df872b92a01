//! The usage record: the one type written for outsiders. Flat, versioned, and never derived from internal types.
//!
//! A record is a CloudEvents 1.0 JSON object in RFC 8785 form; its bytes are the ledger entry. `docs/record-v1.md`
//! documents every field. What is absent is left out; unknown keys are ignored by readers.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Outcome;
use crate::entry::{self, Event};
use crate::json::{Object, bounded};

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
    /// How it ended; see [`Outcome`].
    pub outcome: Outcome,
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
    pub outcome: Option<Outcome>,
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

/// The longest that each field gets, in bytes as written. Together they keep an event below 65,535 bytes. A longer
/// text is cut and marked: `…~` and 16 hex digits of the SHA-256 of the whole.
mod limit {
    pub(super) const URL: usize = 12_288;
    pub(super) const WORK: usize = 12_288;
    pub(super) const LICENCE: usize = 4_096;
    pub(super) const ETAG: usize = 2_048;
    pub(super) const EVIDENCE: usize = 1_024;
    pub(super) const NAME: usize = crate::entry::NAME_BYTES_MAX;
    pub(super) const WORD: usize = 128;
}

impl UsageRecord {
    /// Cuts the texts that name a version of a work as [`UsageRecord::encode`] cuts them, so that what is derived from
    /// the record is what is derived from its entry.
    pub fn cut(&mut self) {
        let texts = [
            (Some(&mut self.operator), limit::NAME),
            (Some(&mut self.url), limit::URL),
            (self.etag.as_mut(), limit::ETAG),
            (self.content_range.as_mut(), limit::NAME),
        ];
        for (text, limit) in texts {
            if let Some(text) = text
                && let Cow::Owned(cut) = bounded(text, limit)
            {
                *text = cut;
            }
        }
    }

    /// The ledger entry: CloudEvents JSON in RFC 8785 form, at most 65,535 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: Some(&self.operator),
            time_micros: self.time_micros,
            kind: entry::FETCH,
        };
        event.encode(|data| self.write(data))
    }

    fn write(&self, data: &mut Object<'_>) {
        data.decimal("amount_nano", self.amount_nano);
        data.text("assurance", &self.assurance, limit::WORD);
        data.number("bytes", self.bytes);
        data.text("ccy", &self.currency, limit::WORD);
        data.text_if("content_range", self.content_range.as_deref(), limit::NAME);
        data.text_if("content_type", self.content_type.as_deref(), limit::NAME);
        data.text("crawler", &self.crawler, limit::NAME);
        data.number_if("declared_bytes", self.declared_bytes);
        data.text_if("digest", self.digest.as_deref(), limit::WORD);
        data.text_if("etag", self.etag.as_deref(), limit::ETAG);
        data.text("evidence", &self.evidence, limit::EVIDENCE);
        data.text_if("holder", self.holder.as_deref(), limit::NAME);
        data.text_if("licence", self.licence.as_deref(), limit::LICENCE);
        data.decimal_if("max_nano", self.max_nano);
        data.text("method", &self.method, limit::WORD);
        data.text("operator", &self.operator, limit::NAME);
        data.text("outcome", self.outcome.as_str(), limit::WORD);
        data.flag("owed", self.owed);
        data.text("policy", &self.policy, limit::WORD);
        data.decimal_if("price_nano", self.price_nano);
        data.text("purpose", &self.purpose, limit::WORD);
        data.decimal("qty", self.quantity);
        data.decimal("quote_nano", self.quote_nano);
        data.flag("repeat", self.repeat);
        data.text("rule", &self.rule, limit::NAME);
        data.number("status", u64::from(self.status));
        data.text_if("unit", self.unit.as_deref(), limit::WORD);
        data.text("url", &self.url, limit::URL);
        data.text("verdict", &self.verdict, limit::WORD);
        data.number_if("words", self.words);
        if self.words_capped {
            data.flag("words_capped", true);
        }
        data.text("work", &self.work, limit::WORK);
        data.number_if("would_refuse", self.would_refuse.map(u64::from));
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one: not JSON, another type or version, a field missing or out of range.
    pub fn parse(bytes: &[u8]) -> Result<UsageRecord, RecordError> {
        let event: entry::Parsed<FetchData> = entry::parse(bytes, entry::FETCH)?;
        let data = event.data;
        Ok(UsageRecord {
            id: event.id,
            source: event.source,
            time_micros: event.time,
            crawler: data.crawler,
            operator: data.operator,
            purpose: data.purpose,
            assurance: data.assurance,
            evidence: data.evidence,
            method: data.method,
            url: data.url,
            work: data.work,
            holder: data.holder,
            licence: data.licence,
            policy: data.policy,
            rule: data.rule,
            verdict: data.verdict,
            would_refuse: data.would_refuse,
            status: data.status,
            outcome: data.outcome,
            bytes: data.bytes,
            declared_bytes: data.declared_bytes,
            digest: data.digest,
            etag: data.etag,
            content_range: data.content_range,
            content_type: data.content_type,
            words: data.words,
            words_capped: data.words_capped,
            currency: data.ccy,
            unit: data.unit,
            price_nano: data.price_nano.map(|entry::Decimal(nano)| nano),
            max_nano: data.max_nano.map(|entry::Decimal(nano)| nano),
            quantity: data.qty.0,
            repeat: data.repeat,
            owed: data.owed,
            quote_nano: data.quote_nano.0,
            amount_nano: data.amount_nano.0,
        })
    }
}

/// The `data` of a fetch, as it is read.
#[derive(Deserialize)]
struct FetchData {
    amount_nano: entry::Decimal<i64>,
    assurance: String,
    bytes: u64,
    ccy: String,
    content_range: Option<String>,
    content_type: Option<String>,
    crawler: String,
    declared_bytes: Option<u64>,
    digest: Option<String>,
    etag: Option<String>,
    evidence: String,
    holder: Option<String>,
    licence: Option<String>,
    max_nano: Option<entry::Decimal<i64>>,
    method: String,
    operator: String,
    #[serde(deserialize_with = "entry::outcome")]
    outcome: Outcome,
    owed: bool,
    policy: String,
    price_nano: Option<entry::Decimal<i64>>,
    purpose: String,
    qty: entry::Decimal<u64>,
    quote_nano: entry::Decimal<i64>,
    repeat: bool,
    rule: String,
    status: u16,
    unit: Option<String>,
    url: String,
    verdict: String,
    words: Option<u64>,
    #[serde(default)]
    words_capped: bool,
    work: String,
    would_refuse: Option<u16>,
}

impl Rollup {
    /// The ledger entry: CloudEvents JSON in RFC 8785 form.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: Some(&self.operator),
            time_micros: self.time_micros,
            kind: entry::ROLLUP,
        };
        event.encode(|data| self.write(data))
    }

    fn write(&self, data: &mut Object<'_>) {
        data.text("assurance", &self.assurance, limit::WORD);
        data.number("bytes", self.bytes);
        data.text("ccy", &self.currency, limit::WORD);
        data.text("crawler", &self.crawler, limit::NAME);
        data.number("fetches", self.fetches);
        data.text_if("holder", self.holder.as_deref(), limit::NAME);
        data.text("minute", &crate::time::to_text(self.minute.saturating_mul(1_000_000)), limit::WORD);
        data.text("operator", &self.operator, limit::NAME);
        data.text_if("outcome", self.outcome.map(Outcome::as_str), limit::WORD);
        data.text("policy", &self.policy, limit::WORD);
        data.text("purpose", &self.purpose, limit::WORD);
        data.decimal("qty", self.quantity);
        data.decimal("quote_nano", self.quote_nano);
        data.flag("refused", self.refused);
        data.text("rule", &self.rule, limit::NAME);
        data.number("status", u64::from(self.status));
        data.text_if("unit", self.unit.as_deref(), limit::WORD);
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Rollup, RecordError> {
        let event: entry::Parsed<RollupData> = entry::parse(bytes, entry::ROLLUP)?;
        let data = event.data;
        Ok(Rollup {
            id: event.id,
            source: event.source,
            time_micros: event.time,
            minute: data.minute.div_euclid(1_000_000),
            crawler: data.crawler,
            operator: data.operator,
            purpose: data.purpose,
            assurance: data.assurance,
            holder: data.holder,
            policy: data.policy,
            rule: data.rule,
            refused: data.refused,
            status: data.status,
            outcome: data.outcome,
            fetches: data.fetches,
            bytes: data.bytes,
            currency: data.ccy,
            unit: data.unit,
            quantity: data.qty.0,
            quote_nano: data.quote_nano.0,
        })
    }
}

/// The `data` of a roll-up, as it is read.
#[derive(Deserialize)]
struct RollupData {
    assurance: String,
    bytes: u64,
    ccy: String,
    crawler: String,
    fetches: u64,
    holder: Option<String>,
    #[serde(deserialize_with = "entry::time")]
    minute: i64,
    operator: String,
    #[serde(default, deserialize_with = "entry::outcome_if")]
    outcome: Option<Outcome>,
    policy: String,
    purpose: String,
    qty: entry::Decimal<u64>,
    quote_nano: entry::Decimal<i128>,
    refused: bool,
    rule: String,
    status: u16,
    unit: Option<String>,
}
