//! What the ledger's entries say: the CloudEvents envelope that they share, and the small types beside the fetch.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use policy::hex;
use ring::digest;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};

use crate::json::{Object, written_len};
use crate::{Outcome, PaymentRecord, RecordError, Rollup, UsageRecord, time};

pub(crate) const FETCH: &str = "ai.usage.fetch.v1";
pub(crate) const ROLLUP: &str = "ai.usage.rollup.v1";
const POLICY: &str = "ai.usage.policy-activated.v1";
const GAP: &str = "ai.usage.gap.v1";
pub(crate) const PAYMENT: &str = "ai.usage.payment.v1";
const START: &str = "ai.usage.node-start.v1";

/// The longest `id` and `source` of an event, and the longest of the short texts here, in bytes as written.
pub(crate) const ID_BYTES_MAX: usize = 128;
const SOURCE_BYTES_MAX: usize = 1_024;
const TEXT_BYTES_MAX: usize = 1_024;

/// The longest name, in bytes as written: a `subject` is an operator.
pub(crate) const NAME_BYTES_MAX: usize = 512;

/// One ledger entry, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// One metered fetch.
    Fetch(Box<UsageRecord>),
    /// Sums of fetches.
    Rollup(Box<Rollup>),
    /// Part of a policy that took effect.
    Policy(PolicyPart),
    /// A time that was not metered.
    Gap(Gap),
    /// A payment that came with a request, before or after it was settled.
    Payment(Box<PaymentRecord>),
    /// A process began to write.
    Start(NodeStart),
    /// An event of a type that this version does not know. It is no error: newer versions may write more.
    Unknown {
        /// The event's type.
        kind: String,
    },
}

impl Entry {
    /// Reads any entry.
    ///
    /// # Errors
    /// If the bytes are not a CloudEvents 1.0 JSON object, or one of a known type with a wrong shape.
    pub fn parse(bytes: &[u8]) -> Result<Entry, RecordError> {
        // In the canonical form the type comes last: nearly every entry is a fetch, and needs one pass, not two.
        if bytes.ends_with(b"\"type\":\"ai.usage.fetch.v1\"}")
            && let Ok(record) = UsageRecord::parse(bytes)
        {
            return Ok(Entry::Fetch(Box::new(record)));
        }
        #[derive(serde::Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: String,
        }
        let Kind { kind } = serde_json::from_slice(bytes).map_err(malformed)?;
        Ok(match kind.as_str() {
            FETCH => Entry::Fetch(Box::new(UsageRecord::parse(bytes)?)),
            ROLLUP => Entry::Rollup(Box::new(Rollup::parse(bytes)?)),
            POLICY => Entry::Policy(PolicyPart::parse(bytes)?),
            PAYMENT => Entry::Payment(Box::new(PaymentRecord::parse(bytes)?)),
            GAP => Entry::Gap(Gap::parse(bytes)?),
            START => Entry::Start(NodeStart::parse(bytes)?),
            _ => Entry::Unknown { kind },
        })
    }
}

/// Part of a policy's text (event type `ai.usage.policy-activated.v1`): a policy enters the ledger before it takes
/// effect, so every record's policy digest resolves in the same log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyPart {
    /// UUIDv7, text form.
    pub id: String,
    /// The ledger's origin.
    pub source: String,
    /// When the policy was about to take effect, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The policy's digest.
    pub policy: String,
    /// `observe` or `enforce`: the mode of rules that name none.
    pub mode: String,
    /// The name of the text that this is a part of: the policy's own, or one that it includes.
    pub name: String,
    /// The part's number, from 1 over all texts of the policy.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// The part itself. Parts of the same name, joined in order, are the text.
    pub text: String,
}

/// The most that a part's text takes as written: its entry stays below 60 KB.
const PART_BYTES_MAX: usize = 56 * 1024;

impl PolicyPart {
    /// Splits a policy's texts (name and text each, the policy itself first) into parts that fit entries. `id`
    /// gives a new UUIDv7 for each. A policy without a text has one empty part: its digest resolves, too.
    pub fn split<'a>(
        origin: &str,
        time_micros: i64,
        policy: &str,
        mode: &str,
        sources: impl IntoIterator<Item = (&'a str, &'a str)>,
        id: &mut dyn FnMut() -> String,
    ) -> Vec<PolicyPart> {
        let mut pieces: Vec<(&str, &str)> = Vec::new();
        for (name, text) in sources {
            pieces.extend(split_text(text).into_iter().map(|piece| (name, piece)));
        }
        if pieces.is_empty() {
            pieces.push(("", ""));
        }
        let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let part = |(number, (name, text)): (u32, (&str, &str))| PolicyPart {
            id: id(),
            source: origin.to_owned(),
            time_micros,
            policy: policy.to_owned(),
            mode: mode.to_owned(),
            name: name.to_owned(),
            part: number,
            parts,
            text: text.to_owned(),
        };
        (1..).zip(pieces).map(part).collect()
    }

    /// The ledger entry.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: None,
            time_micros: self.time_micros,
            kind: POLICY,
        };
        event.encode(|data| {
            data.text("mode", &self.mode, TEXT_BYTES_MAX);
            data.text("name", &self.name, TEXT_BYTES_MAX);
            data.number("part", u64::from(self.part));
            data.number("parts", u64::from(self.parts));
            data.text("policy", &self.policy, TEXT_BYTES_MAX);
            data.text("text", &self.text, PART_BYTES_MAX);
        })
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<PolicyPart, RecordError> {
        #[derive(serde::Deserialize)]
        struct Data {
            mode: String,
            name: String,
            part: u32,
            parts: u32,
            policy: String,
            text: String,
        }
        let Parsed { id, source, time, data, .. } = parse::<Data>(bytes, POLICY)?;
        let Data { mode, name, part, parts, policy, text } = data;
        Ok(PolicyPart { id, source, time_micros: time, policy, mode, name, part, parts, text })
    }
}

/// Cuts a text into pieces that each take at most [`PART_BYTES_MAX`] bytes as written.
fn split_text(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut taken) = (0, 0);
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let length = written_len(&text[at..end]);
        if taken + length > PART_BYTES_MAX {
            pieces.push(&text[start..at]);
            (start, taken) = (at, 0);
        }
        taken += length;
    }
    pieces.push(&text[start..]);
    pieces
}

/// A time in which the ledger took no entries (event type `ai.usage.gap.v1`), with what passed meanwhile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// UUIDv7, text form.
    pub id: String,
    /// The ledger's origin.
    pub source: String,
    /// When it was written, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// When it began, microseconds since the Unix epoch.
    pub since_micros: i64,
    /// When it ended.
    pub until_micros: i64,
    /// Fetches of free or observed works that passed without an entry.
    pub fetches: u64,
    /// Body bytes that passed with them.
    pub bytes: u64,
    /// Entries that were refused for want of space; their fetches did not complete.
    pub refused: u64,
    /// What the system said.
    pub reason: String,
}

impl Gap {
    /// An `id` of the form of a UUIDv7 that follows from the gap itself: whoever writes the same gap again writes
    /// the same id.
    pub fn derive_id(&self) -> String {
        let mut facts = digest::Context::new(&digest::SHA256);
        facts.update(self.source.as_bytes());
        for number in [self.since_micros, self.until_micros] {
            facts.update(&number.to_be_bytes());
        }
        let facts = facts.finish();
        let millis = u64::try_from(self.until_micros / 1_000).unwrap_or(0);
        let mut uuid = [0u8; 16];
        uuid[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        uuid[6..].copy_from_slice(&facts.as_ref()[..10]);
        uuid[6] = uuid[6] & 0x0f | 0x70;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let text = hex(&uuid);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }

    /// The ledger entry.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: None,
            time_micros: self.time_micros,
            kind: GAP,
        };
        event.encode(|data| {
            data.number("bytes", self.bytes);
            data.number("fetches", self.fetches);
            data.text("reason", &self.reason, TEXT_BYTES_MAX);
            data.number("refused", self.refused);
            data.time("since", self.since_micros);
            data.time("until", self.until_micros);
        })
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Gap, RecordError> {
        #[derive(serde::Deserialize)]
        struct Data {
            bytes: u64,
            fetches: u64,
            reason: String,
            refused: u64,
            #[serde(deserialize_with = "time")]
            since: i64,
            #[serde(deserialize_with = "time")]
            until: i64,
        }
        let Parsed { id, source, time, data, .. } = parse::<Data>(bytes, GAP)?;
        Ok(Gap {
            id,
            source,
            time_micros: time,
            since_micros: data.since,
            until_micros: data.until,
            fetches: data.fetches,
            bytes: data.bytes,
            refused: data.refused,
            reason: data.reason,
        })
    }
}

/// A process began to write this ledger (event type `ai.usage.node-start.v1`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStart {
    /// UUIDv7, text form.
    pub id: String,
    /// The ledger's origin.
    pub source: String,
    /// When, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// Byline's version.
    pub version: String,
}

impl NodeStart {
    /// The ledger entry.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: None,
            time_micros: self.time_micros,
            kind: START,
        };
        event.encode(|data| data.text("version", &self.version, TEXT_BYTES_MAX))
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<NodeStart, RecordError> {
        #[derive(serde::Deserialize)]
        struct Data {
            version: String,
        }
        let Parsed { id, source, time, data, .. } = parse::<Data>(bytes, START)?;
        Ok(NodeStart { id, source, time_micros: time, version: data.version })
    }
}

/// The envelope of an event that is to be written.
pub(crate) struct Event<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) time_micros: i64,
    pub(crate) kind: &'static str,
}

impl Event<'_> {
    /// The event with what `fill` writes as its `data`.
    pub(crate) fn encode(&self, fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
        let mut out = String::with_capacity(1536); // most records have less
        let mut event = Object::open(&mut out);
        event.object("data", fill);
        event.text("datacontenttype", "application/json", TEXT_BYTES_MAX);
        event.text("id", self.id, ID_BYTES_MAX);
        event.text("source", self.source, SOURCE_BYTES_MAX);
        event.text("specversion", "1.0", TEXT_BYTES_MAX);
        event.text_if("subject", self.subject, NAME_BYTES_MAX);
        event.time("time", self.time_micros);
        event.text("type", self.kind, TEXT_BYTES_MAX);
        event.close();
        out.into_bytes()
    }
}

/// An event that was read. CloudEvents attributes that Byline does not write are ignored.
#[derive(serde::Deserialize)]
pub(crate) struct Parsed<D> {
    pub(crate) id: String,
    pub(crate) source: String,
    specversion: String,
    #[serde(deserialize_with = "time")]
    pub(crate) time: i64,
    #[serde(rename = "type")]
    kind: String,
    pub(crate) data: D,
}

/// Reads an event of one type.
pub(crate) fn parse<D: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<Parsed<D>, RecordError> {
    let event: Parsed<D> = serde_json::from_slice(bytes).map_err(malformed)?;
    if event.specversion != "1.0" {
        return Err(RecordError::Malformed { why: format!("CloudEvents {}", event.specversion) });
    }
    if event.kind != kind {
        return Err(RecordError::Malformed { why: format!("an event of type {}", event.kind) });
    }
    Ok(event)
}

fn malformed(error: serde_json::Error) -> RecordError {
    RecordError::Malformed { why: error.to_string() }
}

/// An integer written as a decimal string.
pub(crate) struct Decimal<N>(pub(crate) N);

impl<'de, N: FromStr> Deserialize<'de> for Decimal<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal<N>, D::Error> {
        struct Digits<N>(PhantomData<N>);
        impl<N: FromStr> Visitor<'_> for Digits<N> {
            type Value = Decimal<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer in a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal<N>, E> {
                let read = decimal(text).map(Decimal);
                read.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Digits(PhantomData))
    }
}

/// An integer from a decimal string; no `+`.
pub(crate) fn decimal<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Reads a time.
pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    time::from_text(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a time")))
}

/// Reads an outcome.
pub(crate) fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    let word = String::deserialize(deserializer)?;
    Outcome::parse(&word).ok_or_else(|| D::Error::custom(format!("`{word}` is not an outcome")))
}

/// Reads an outcome that may be absent.
pub(crate) fn outcome_if<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Outcome>, D::Error> {
    outcome(deserializer).map(Some)
}
