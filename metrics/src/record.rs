//! The usage record: the one type written for outsiders. Flat, versioned, and never derived from internal types.
//!
//! A record is a CloudEvents 1.0 JSON object in RFC 8785 form; its bytes are the ledger entry. `docs/record-v1.md`
//! documents every field. What is absent is left out; unknown keys are ignored by readers.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

use crate::entry::{self, Event};
use crate::json::{ESCAPED_BYTES_MAX, Object, bounded};
use crate::scan::Scan;
use crate::{Metered, Outcome};

/// One metered fetch, as it stands in the ledger (event type `ai.usage.fetch.v1`).
///
/// Amounts are nano-units; they are written as decimal strings of integers, because JSON numbers end at 2⁵³.
///
/// `S` is how its texts are kept: a record that is written at once, or read and let go, borrows them
/// (`Cow<'_, str>`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRecord<S = String> {
    /// UUIDv7 of the fetch, text form; the event's `id`.
    pub id: S,
    /// The ledger's origin, `//example.org/ledger`; the event's `source`.
    pub source: S,
    /// Microseconds since the Unix epoch, UTC, when the fetch closed; the event's `time`.
    pub time_micros: i64,

    /// The crawler's token in the registry.
    pub crawler: S,
    /// The operator; `spoof` when the claim was contradicted. The event's `subject`.
    pub operator: S,
    /// The declared purpose.
    pub purpose: S,
    /// The rung: `claimed`, `network`, `signed`, `licensed`.
    pub assurance: S,
    /// What the rung rests on: `none`, `range <source>`, `reverse-dns <name>`, `signature <agent> <keyid>`,
    /// `contradicted <by>`.
    pub evidence: S,
    /// What this fetch was paid with and what is good once: 64 hex digits that name a signature or a payment, and the Unix
    /// second from which nobody takes it any more.
    pub authorisation: Option<S>,

    /// Request method.
    pub method: S,
    /// Canonical URL.
    pub url: S,
    /// The work's identifier.
    pub work: S,
    /// The holder's identifier, if the policy names one.
    pub holder: Option<S>,
    /// The licence's URL, if the policy names one.
    pub licence: Option<S>,

    /// The policy's digest, `sha256:…`.
    pub policy: S,
    /// The rule that decided.
    pub rule: S,
    /// `allow`, `deny` or `charge`.
    pub verdict: S,
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
    pub digest: Option<S>,
    /// The origin's `ETag`, as it stood.
    pub etag: Option<S>,
    /// The origin's `Content-Range`, as it stood, for a 206.
    pub content_range: Option<S>,
    /// The media type, without parameters.
    pub content_type: Option<S>,
    /// Words of decoded text, where they were counted.
    pub words: Option<u64>,
    /// The word count stopped at a limit of bytes or time: it is a lower bound.
    pub words_capped: bool,

    /// ISO 4217 code.
    pub currency: S,
    /// The unit of the price (`fetch`, `MB`, `1000-words`), if a price was asked.
    pub unit: Option<S>,
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
    /// How the amount was paid before the delivery: the way, and its reference. Absent where it goes on the operator's account.
    pub settlement: Option<S>,
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
    pub(super) const ID: usize = crate::entry::ID_BYTES_MAX;
    pub(super) const NAME: usize = crate::entry::NAME_BYTES_MAX;
    pub(super) const WORD: usize = 128;
}

impl<S: Deref<Target = str> + From<String>> UsageRecord<S> {
    /// Takes over what the meter read of the body.
    pub fn measured(&mut self, metered: &Metered) {
        self.bytes = metered.bytes;
        self.digest = metered.digest().map(S::from);
        self.words = metered.words;
        self.words_capped = metered.words_capped;
    }

    /// Cuts the texts from which something is derived (names, versions of works) as [`UsageRecord::encode`] cuts them, so
    /// that what is derived from the record is what is derived from its entry.
    pub fn cut(&mut self) {
        let texts = [
            (Some(&mut self.id), limit::ID),
            (Some(&mut self.crawler), limit::NAME),
            (Some(&mut self.operator), limit::NAME),
            (Some(&mut self.rule), limit::NAME),
            (Some(&mut self.url), limit::URL),
            (Some(&mut self.work), limit::WORK),
            (Some(&mut self.currency), limit::WORD),
            (self.holder.as_mut(), limit::NAME),
            (self.etag.as_mut(), limit::ETAG),
            (self.content_range.as_mut(), limit::NAME),
        ];
        for (text, limit) in texts {
            if let Some(text) = text
                && text.len() > limit / ESCAPED_BYTES_MAX
                && let Cow::Owned(cut) = bounded(text, limit)
            {
                *text = S::from(cut);
            }
        }
    }
}

impl<S: Deref<Target = str>> UsageRecord<S> {
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

    pub(crate) fn write(&self, data: &mut Object<'_>) {
        data.decimal("amount_nano", self.amount_nano);
        data.text("assurance", &self.assurance, limit::WORD);
        data.text_if("authorisation", self.authorisation.as_deref(), limit::WORD);
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
        data.text_if("settlement", self.settlement.as_deref(), limit::NAME);
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
}

impl UsageRecord {
    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one: not JSON, another type or version, a field missing or out of range.
    pub fn parse(bytes: &[u8]) -> Result<UsageRecord, RecordError> {
        match UsageRecord::scan(bytes) {
            Some(record) => Ok(record.map(Cow::into_owned)),
            None => UsageRecord::parse_any(bytes),
        }
    }

    /// The same, whatever the order of its keys.
    fn parse_any(bytes: &[u8]) -> Result<UsageRecord, RecordError> {
        let event: entry::Parsed<FetchData> = entry::parse(bytes, entry::FETCH)?;
        Ok(event.data.record(event.id, event.source, event.time))
    }
}

impl<'a> UsageRecord<Cow<'a, str>> {
    /// The same as [`UsageRecord::parse`], with texts borrowed from the entry where they can be.
    ///
    /// # Errors
    /// The same.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        match UsageRecord::scan(bytes) {
            Some(record) => Ok(record),
            None => Ok(UsageRecord::parse_any(bytes)?.map(Cow::Owned)),
        }
    }

    /// Reads an entry that [`UsageRecord::encode`] wrote; `None` for any other, which may still be a record.
    fn scan(bytes: &'a [u8]) -> Option<Self> {
        let mut event = Scan::begin(bytes)?;
        event.skip("{\"data\":{\"amount_nano\":")?;
        // Each key has what stands before it: nothing is read that is not there in this order.
        macro_rules! field {
            ($key:literal $read:ident) => {{
                event.skip(concat!(",\"", $key, "\":"))?;
                event.$read()?
            }};
            ($key:literal $read:ident?) => {
                match event.skip(concat!(",\"", $key, "\":")) {
                    Some(()) => Some(event.$read()?),
                    None => None,
                }
            };
        }
        let amount_nano = entry::decimal(&event.text()?)?;
        let assurance = field!("assurance" text);
        let authorisation = field!("authorisation" text?);
        let bytes = field!("bytes" number);
        let currency = field!("ccy" text);
        let content_range = field!("content_range" text?);
        let content_type = field!("content_type" text?);
        let crawler = field!("crawler" text);
        let declared_bytes = field!("declared_bytes" number?);
        let digest = field!("digest" text?);
        let etag = field!("etag" text?);
        let evidence = field!("evidence" text);
        let holder = field!("holder" text?);
        let licence = field!("licence" text?);
        let max_nano = field!("max_nano" text?).map(|text| entry::decimal(&text));
        let method = field!("method" text);
        let operator = field!("operator" text);
        let outcome = Outcome::parse(&field!("outcome" text))?;
        let owed = field!("owed" flag);
        let policy = field!("policy" text);
        let price_nano = field!("price_nano" text?).map(|text| entry::decimal(&text));
        let purpose = field!("purpose" text);
        let quantity = entry::decimal(&field!("qty" text))?;
        let quote_nano = entry::decimal(&field!("quote_nano" text))?;
        let repeat = field!("repeat" flag);
        let rule = field!("rule" text);
        let settlement = field!("settlement" text?);
        let status = u16::try_from(field!("status" number)).ok()?;
        let unit = field!("unit" text?);
        let url = field!("url" text);
        let verdict = field!("verdict" text);
        let words = field!("words" number?);
        let words_capped = field!("words_capped" flag?).unwrap_or(false);
        let work = field!("work" text);
        let would_refuse = field!("would_refuse" number?).map(u16::try_from);
        event.skip("},\"datacontenttype\":\"application/json\"")?;
        let id = field!("id" text);
        let source = field!("source" text);
        event.skip(",\"specversion\":\"1.0\"")?;
        let _ = field!("subject" text);
        let time_micros = crate::time::from_text(&field!("time" text))?;
        event.skip(",\"type\":\"ai.usage.fetch.v1\"}")?;
        event.end()?;
        Some(UsageRecord {
            id,
            source,
            time_micros,
            crawler,
            operator,
            purpose,
            assurance,
            evidence,
            authorisation,
            method,
            url,
            work,
            holder,
            licence,
            policy,
            rule,
            verdict,
            would_refuse: would_refuse.transpose().ok()?,
            status,
            outcome,
            bytes,
            declared_bytes,
            digest,
            etag,
            content_range,
            content_type,
            words,
            words_capped,
            currency,
            unit,
            price_nano: price_nano.map_or(Some(None), |nano| nano.map(Some))?,
            max_nano: max_nano.map_or(Some(None), |nano| nano.map(Some))?,
            quantity,
            repeat,
            owed,
            quote_nano,
            amount_nano,
            settlement,
        })
    }
}

impl<S> UsageRecord<S> {
    /// The same record, its texts kept otherwise.
    pub fn map<T>(self, to: impl Fn(S) -> T) -> UsageRecord<T> {
        UsageRecord {
            id: to(self.id),
            source: to(self.source),
            time_micros: self.time_micros,
            crawler: to(self.crawler),
            operator: to(self.operator),
            purpose: to(self.purpose),
            assurance: to(self.assurance),
            evidence: to(self.evidence),
            authorisation: self.authorisation.map(&to),
            method: to(self.method),
            url: to(self.url),
            work: to(self.work),
            holder: self.holder.map(&to),
            licence: self.licence.map(&to),
            policy: to(self.policy),
            rule: to(self.rule),
            verdict: to(self.verdict),
            would_refuse: self.would_refuse,
            status: self.status,
            outcome: self.outcome,
            bytes: self.bytes,
            declared_bytes: self.declared_bytes,
            digest: self.digest.map(&to),
            etag: self.etag.map(&to),
            content_range: self.content_range.map(&to),
            content_type: self.content_type.map(&to),
            words: self.words,
            words_capped: self.words_capped,
            currency: to(self.currency),
            unit: self.unit.map(&to),
            price_nano: self.price_nano,
            max_nano: self.max_nano,
            quantity: self.quantity,
            repeat: self.repeat,
            owed: self.owed,
            quote_nano: self.quote_nano,
            amount_nano: self.amount_nano,
            settlement: self.settlement.map(&to),
        }
    }
}

/// The `data` of a fetch, as it is read.
#[derive(Deserialize)]
pub(crate) struct FetchData {
    amount_nano: entry::Decimal<i64>,
    assurance: String,
    authorisation: Option<String>,
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
    settlement: Option<String>,
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

impl FetchData {
    /// The record that has this envelope.
    pub(crate) fn record(self, id: String, source: String, time_micros: i64) -> UsageRecord {
        UsageRecord {
            id,
            source,
            time_micros,
            crawler: self.crawler,
            operator: self.operator,
            purpose: self.purpose,
            assurance: self.assurance,
            evidence: self.evidence,
            authorisation: self.authorisation,
            method: self.method,
            url: self.url,
            work: self.work,
            holder: self.holder,
            licence: self.licence,
            policy: self.policy,
            rule: self.rule,
            verdict: self.verdict,
            would_refuse: self.would_refuse,
            status: self.status,
            outcome: self.outcome,
            bytes: self.bytes,
            declared_bytes: self.declared_bytes,
            digest: self.digest,
            etag: self.etag,
            content_range: self.content_range,
            content_type: self.content_type,
            words: self.words,
            words_capped: self.words_capped,
            currency: self.ccy,
            unit: self.unit,
            price_nano: self.price_nano.map(|entry::Decimal(nano)| nano),
            max_nano: self.max_nano.map(|entry::Decimal(nano)| nano),
            quantity: self.qty.0,
            repeat: self.repeat,
            owed: self.owed,
            quote_nano: self.quote_nano.0,
            amount_nano: self.amount_nano.0,
            settlement: self.settlement,
        }
    }
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
        data.time("minute", self.minute.saturating_mul(1_000_000));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> UsageRecord<Cow<'static, str>> {
        UsageRecord {
            id: "an id".into(),
            source: "//example.org/ledger".into(),
            time_micros: 1_795_354_805_123_456,
            crawler: "ExampleBot".into(),
            operator: "example-labs".into(),
            purpose: "train".into(),
            assurance: "network".into(),
            evidence: "none".into(),
            method: "GET".into(),
            url: "https://example.org/caf\u{e9}".into(),
            work: "example.org/café".into(),
            holder: None,
            licence: None,
            policy: "sha256:00".into(),
            rule: "training pays".into(),
            verdict: "charge".into(),
            authorisation: None,
            settlement: None,
            would_refuse: None,
            status: 200,
            outcome: Outcome::Complete,
            bytes: 0,
            declared_bytes: None,
            digest: None,
            etag: None,
            content_range: None,
            content_type: None,
            words: None,
            words_capped: false,
            currency: "USD".into(),
            unit: None,
            price_nano: None,
            max_nano: None,
            quantity: 1,
            repeat: false,
            owed: true,
            quote_nano: -1,
            amount_nano: i64::MAX,
        }
    }

    fn with_everything() -> UsageRecord<Cow<'static, str>> {
        UsageRecord {
            holder: Some("example-press".into()),
            licence: Some("https://example.org/licence".into()),
            authorisation: Some("00 1".into()),
            settlement: Some("x402 eip155:8453 0x00".into()),
            would_refuse: Some(402),
            declared_bytes: Some(7),
            digest: Some("sha-256=:x:".into()),
            etag: Some("W/\"a\\b\"".into()),
            content_range: Some("bytes 0-1/2\t\r\n".into()),
            content_type: Some("text/html".into()),
            words: Some(3),
            words_capped: true,
            unit: Some("fetch".into()),
            price_nano: Some(2_000_000),
            max_nano: Some(i64::MIN),
            ..example()
        }
    }

    #[test]
    fn what_was_written_here_is_read_in_one_pass() {
        for record in [example(), with_everything()] {
            let entry = record.encode();
            assert_eq!(UsageRecord::scan(&entry).as_ref(), Some(&record));
            assert_eq!(UsageRecord::parse_any(&entry).unwrap(), record.map(Cow::into_owned));
        }
        let rare = UsageRecord { etag: Some("\u{1}".into()), ..example() }.encode();
        assert_eq!(UsageRecord::scan(&rare), None, "left to the other reader");
        assert_eq!(UsageRecord::read(&rare).unwrap().etag.as_deref(), Some("\u{1}"));
    }

    proptest! {
        /// Whoever is right about changed bytes, both readers are: what the one pass takes, any JSON reader takes as it.
        #[test]
        fn one_pass_reads_nothing_otherwise(
            everything in any::<bool>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..4, piece()), 1..4),
        ) {
            let mut entry = if everything { with_everything() } else { example() }.encode();
            for (at, removed, piece) in changes {
                let at = at.index(entry.len());
                entry.splice(at..(at + removed).min(entry.len()), piece);
            }
            if let Some(record) = UsageRecord::scan(&entry) {
                prop_assert_eq!(UsageRecord::parse_any(&entry).unwrap(), record.map(Cow::into_owned));
            }
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        const KNOWN: [&str; 16] =
            ["", "\"", "\\", "0", "1", "-", "+", ".", "e", "é", ",", "\\u0041", "\\\"", "\\/", "\n", "null"];
        prop_oneof![
            prop::sample::select(&KNOWN[..]).prop_map(|piece| piece.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..3),
        ]
    }
}
