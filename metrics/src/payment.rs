//! What becomes of a payment that comes with a request: the entries before and after it is settled.

use serde::Deserialize;

use crate::entry::{self, Event};
use crate::json::Object;
use crate::record::FetchData;
use crate::{RecordError, UsageRecord};

/// A payment that came with a request (event type `ai.usage.payment.v1`): written, and durable, before anybody is asked to settle
/// it, and again when it is known what became of it. So neither a crash nor an answer that was lost makes it be forgotten: one that is
/// `settling` and has no later entry may have moved money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentRecord {
    /// UUIDv7 of this entry, text form.
    pub id: String,
    /// The ledger's origin.
    pub source: String,
    /// When it was written, microseconds since the Unix epoch.
    pub time_micros: i64,
    /// How far it has come.
    pub state: PaymentState,
    /// What is good once, as in [`UsageRecord::authorisation`].
    pub authorisation: String,
    /// SHA-256 of what was signed under it, in hex: another payment under the same key is not this one.
    pub signed: String,
    /// The network, CAIP-2.
    pub network: String,
    /// The token's contract.
    pub asset: String,
    /// In the token's smallest unit, a decimal integer.
    pub value: String,
    /// Who pays.
    pub payer: String,
    /// The authorization's nonce: with the payer it finds the payment on its chain.
    pub nonce: String,
    /// The client's own name for the payment, led by the site's host and a space.
    pub identifier: Option<String>,
    /// SHA-256 of the payment as it came, in hex; with `identifier`.
    pub payload: Option<String>,
    /// Why it was not settled, in the facilitator's word.
    pub reason: Option<String>,
    /// The record of the fetch that it pays for, as it would be if nothing of the body left: what is written if the process ends
    /// before a better one is. Its `settlement` is there once it is known.
    pub fetch: Box<UsageRecord>,
}

/// How far a payment has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PaymentState {
    /// About to be settled: from here on the outcome is unknown until a later entry says it.
    Settling,
    /// Settled: money moved.
    Settled,
    /// Not settled, for certain: no money moved.
    Failed,
}

impl PaymentState {
    /// All of them.
    pub const ALL: [PaymentState; 3] = [PaymentState::Settling, PaymentState::Settled, PaymentState::Failed];

    /// The word in entries.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentState::Settling => "settling",
            PaymentState::Settled => "settled",
            PaymentState::Failed => "failed",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<PaymentState> {
        PaymentState::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The longest that a text gets, in bytes as written: most are hexadecimal digits.
const TEXT_BYTES_MAX: usize = 512;

impl PaymentRecord {
    /// The ledger entry: CloudEvents JSON in RFC 8785 form.
    pub fn encode(&self) -> Vec<u8> {
        let event = Event {
            id: &self.id,
            source: &self.source,
            subject: Some(&self.fetch.operator),
            time_micros: self.time_micros,
            kind: entry::PAYMENT,
        };
        event.encode(|data| self.write(data))
    }

    fn write(&self, data: &mut Object<'_>) {
        data.text("asset", &self.asset, TEXT_BYTES_MAX);
        data.text("authorisation", &self.authorisation, TEXT_BYTES_MAX);
        data.object("fetch", |fetch| self.fetch.write(fetch));
        data.text("fetch_id", &self.fetch.id, TEXT_BYTES_MAX);
        data.text_if("identifier", self.identifier.as_deref(), TEXT_BYTES_MAX);
        data.text("network", &self.network, TEXT_BYTES_MAX);
        data.text("nonce", &self.nonce, TEXT_BYTES_MAX);
        data.text("payer", &self.payer, TEXT_BYTES_MAX);
        data.text_if("payload", self.payload.as_deref(), TEXT_BYTES_MAX);
        data.text_if("reason", self.reason.as_deref(), TEXT_BYTES_MAX);
        data.text("signed", &self.signed, TEXT_BYTES_MAX);
        data.text("state", self.state.as_str(), TEXT_BYTES_MAX);
        data.text("value", &self.value, TEXT_BYTES_MAX);
    }

    /// Reads a ledger entry of this type.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<PaymentRecord, RecordError> {
        #[derive(Deserialize)]
        struct Data {
            asset: String,
            authorisation: String,
            fetch: FetchData,
            fetch_id: String,
            identifier: Option<String>,
            network: String,
            nonce: String,
            payer: String,
            payload: Option<String>,
            reason: Option<String>,
            signed: String,
            state: String,
            value: String,
        }
        let event = entry::parse::<Data>(bytes, entry::PAYMENT)?;
        let data = event.data;
        let state = PaymentState::parse(&data.state)
            .ok_or_else(|| RecordError::Malformed { why: format!("`{}` is no state", data.state) })?;
        let fetch = data.fetch.record(data.fetch_id, event.source.clone(), event.time);
        Ok(PaymentRecord {
            id: event.id,
            source: event.source,
            time_micros: event.time,
            state,
            authorisation: data.authorisation,
            signed: data.signed,
            network: data.network,
            asset: data.asset,
            value: data.value,
            payer: data.payer,
            nonce: data.nonce,
            identifier: data.identifier,
            payload: data.payload,
            reason: data.reason,
            fetch: Box::new(fetch),
        })
    }
}
