//! Payments that are settled before delivery: which are known, what they are for, and how far each has come.
//!
//! An authorization buys one delivery of one work. It is **taken** by one request at a time ([`Taken`]); before anybody is asked to
//! settle it, the ledger has it as `settling`, and afterwards as `settled` or `failed` ([`PaymentRecord`]). What stands between is
//! **unknown**, after a crash as after an answer that was lost: the same payment for the same thing may come again and is asked about
//! again; it is never taken for a new one, and never given up for one that failed.
//!
//! | comes again | gets |
//! |---|---|
//! | while it is under way | [`TakeError::Busy`] |
//! | for another method or URL | [`TakeError::OtherPurpose`] |
//! | another authorization under the same nonce | [`TakeError::OtherAuthorization`] |
//! | unknown | asked about again: [`Before::Unknown`] |
//! | settled, and the delivery broke off | delivered again: [`Before::Settled`], [`DELIVERIES_MAX`] times in all |
//! | settled, and delivered whole | [`TakeError::Used`]; delivered again if it carries the same payment identifier |
//!
//! The ledger is the truth: the same entries give the same answers after a start. A payment that was settled and whose fetch has no
//! record, because the process ended in between, is recorded then ([`Payments::unrecorded`]): what was paid is in the books, delivered
//! or not.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Outcome, PaymentRecord, PaymentState, UsageRecord};

use crate::derived::{BROKEN, Reader, Writer};
use crate::spent::SpendKey;

/// The most payments that are known at once; beyond that new ones are refused. About 400 bytes each.
pub const PAYMENTS_MAX: usize = 100_000;
/// How often one payment's work is delivered at most, the first time included.
pub const DELIVERIES_MAX: u32 = 8;
/// How long after its time a payment is asked about whose outcome is unknown, in seconds.
pub const UNKNOWN_SECS: i64 = 86_400;
/// How long a payment with an identifier is good for another delivery at least, from its settlement.
pub const IDENTIFIER_SECS: i64 = 900;
/// How much longer a payment is remembered than it is good for: a clock that jumps ahead by less and then back revives none.
const GRACE_SECS: i64 = 3_600;

/// A payment that a request comes with, checked as far as can be seen from here.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is good once; its `until` is when nobody would take it any more.
    pub key: SpendKey,
    /// What was signed under it.
    pub signed: [u8; 32],
    /// What it is to pay for; of [`purpose`].
    pub purpose: [u8; 32],
    /// The client's own name for it, within its site, and SHA-256 of the payment as it came.
    pub identifier: Option<Identifier>,
}

/// A client's own name for a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identifier {
    /// The site's host, a space, and the name.
    pub name: String,
    /// SHA-256 of the payment as it came.
    pub payload: [u8; 32],
}

/// What a payment is for: SHA-256 over method and canonical URL.
pub fn purpose(method: &str, url: &str) -> [u8; 32] {
    policy::sha256([method, " ", url].concat().as_bytes())
}

/// Why a payment is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TakeError {
    /// Another request with it is under way: what comes of that one is not known yet.
    #[error("another request with this payment is under way")]
    Busy,
    /// It pays for something else.
    #[error("this payment was made for something else")]
    OtherPurpose,
    /// Its nonce was used for another authorization.
    #[error("this nonce was used for another payment")]
    OtherAuthorization,
    /// It has bought what it buys.
    #[error("this payment was used before")]
    Used,
    /// Its identifier names another payment.
    #[error("this payment identifier was used for another payment")]
    IdentifierConflict,
    /// There are [`PAYMENTS_MAX`].
    #[error("no more payments can be remembered just now")]
    Full,
}

/// What is known of a payment when a request takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Before {
    /// Nothing: it is new.
    Nothing,
    /// Somebody was asked to settle it, and the outcome is not known.
    Unknown,
    /// It is settled: the work is delivered again.
    Settled {
        /// How it was settled, as the record says it.
        settlement: Arc<str>,
        /// Whether a record has its money already.
        recorded: bool,
    },
}

/// Who comes with a payment: nobody else gets it until this goes. Keep it until the fetch's record is answered.
#[must_use]
pub struct Taken {
    payments: Arc<Payments>,
    key: SpendKey,
    /// What was known of it before.
    pub before: Before,
}

impl Taken {
    /// The key.
    pub fn key(&self) -> SpendKey {
        self.key
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut known = self.payments.known();
        let Some(payment) = known.payments.get_mut(&self.key.digest) else { return };
        payment.busy = false;
        if payment.state == State::New {
            known.remove(&self.key.digest);
        }
    }
}

/// All payments that are known. Shared by all threads; every call is short.
#[derive(Default)]
pub struct Payments {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    payments: HashMap<[u8; 32], Payment>,
    /// Keys by the clients' names for them.
    identifiers: HashMap<String, [u8; 32]>,
    /// Until when each is remembered.
    order: BTreeSet<(i64, [u8; 32])>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    New,
    Settling,
    Settled,
}

struct Payment {
    until: i64,
    signed: [u8; 32],
    purpose: [u8; 32],
    identifier: Option<Identifier>,
    state: State,
    busy: bool,
    settlement: Option<Arc<str>>,
    deliveries: u32,
    /// A record has its money.
    recorded: bool,
    /// It was delivered whole.
    complete: bool,
    /// The record that is owed for it, as an entry, while there is none.
    fetch: Option<Box<[u8]>>,
}

impl Payment {
    fn new(claim: Claim) -> Payment {
        Payment {
            until: claim.key.until,
            signed: claim.signed,
            purpose: claim.purpose,
            identifier: claim.identifier,
            state: State::New,
            busy: false,
            settlement: None,
            deliveries: 0,
            recorded: false,
            complete: false,
            fetch: None,
        }
    }

    /// Until when it is good for something.
    fn good_until(&self) -> i64 {
        match self.state {
            State::Settling => self.until.saturating_add(UNKNOWN_SECS),
            // Who has paid and not got it may come back when whatever kept us from delivering is over.
            State::Settled if !self.complete => self.until.saturating_add(UNKNOWN_SECS),
            State::New | State::Settled => self.until,
        }
    }

    fn remembered_until(&self) -> i64 {
        self.good_until().saturating_add(GRACE_SECS)
    }
}

impl Payments {
    /// Takes a payment for a request: of all that come with it at once, one gets it. `now` is in Unix seconds.
    ///
    /// # Errors
    /// Why this request does not get it.
    pub fn take(self: &Arc<Self>, claim: Claim, now: i64) -> Result<Taken, TakeError> {
        let mut known = self.known();
        known.forget(now);
        let key = claim.key;
        if let Some(identifier) = &claim.identifier
            && let Some(other) =
                known.identifiers.get(&identifier.name).and_then(|key| known.payments.get(key))
            && other.identifier.as_ref() != Some(identifier)
        {
            return Err(TakeError::IdentifierConflict);
        }
        if let Some(payment) = known.payments.get_mut(&key.digest) {
            let before = payment.again(&claim, now)?;
            payment.busy = true;
            drop(known);
            return Ok(Taken { payments: Arc::clone(self), key, before });
        }
        if known.payments.len() >= PAYMENTS_MAX {
            return Err(TakeError::Full);
        }
        known.insert(key.digest, Payment { busy: true, ..Payment::new(claim) });
        drop(known);
        Ok(Taken { payments: Arc::clone(self), key, before: Before::Nothing })
    }

    /// Takes a payment whose outcome is unknown and that nobody has, to ask what became of it. `None` if it is known by now, or under way.
    pub fn take_unknown(self: &Arc<Self>, key: &[u8; 32]) -> Option<Taken> {
        let mut known = self.known();
        let payment = known.payments.get_mut(key)?;
        if payment.busy || payment.state != State::Settling {
            return None;
        }
        payment.busy = true;
        let key = SpendKey { until: payment.until, digest: *key };
        drop(known);
        Some(Taken { payments: Arc::clone(self), key, before: Before::Unknown })
    }

    /// Whether somebody was, or is being, asked to settle this: its time may be over, and it is still not nothing.
    pub fn is_known(&self, key: &[u8; 32]) -> bool {
        self.known().payments.get(key).is_some_and(|payment| payment.state != State::New)
    }

    /// Whether the outcome of this payment is unknown.
    pub fn is_unknown(&self, key: &[u8; 32]) -> bool {
        self.known().payments.get(key).is_some_and(|payment| payment.state == State::Settling)
    }

    /// How many payments have an unknown outcome and nobody who waits for it.
    pub fn unknown(&self) -> usize {
        let known = self.known();
        known.payments.values().filter(|payment| payment.state == State::Settling && !payment.busy).count()
    }

    /// The records of fetches that were paid and have none, because the process before this one ended: to be appended at the start,
    /// before anybody else is served.
    pub fn unrecorded(&self) -> Vec<UsageRecord> {
        let known = self.known();
        let owed = known.payments.values().filter(|payment| !payment.busy && payment.state == State::Settled);
        owed.filter_map(|payment| UsageRecord::parse(payment.fetch.as_deref()?).ok()).collect()
    }

    /// An entry about a payment is durable.
    pub(crate) fn seen(&self, record: &PaymentRecord) {
        // What cannot be read was written by somebody else, and nobody paid here with it.
        let Ok(key) = record.authorisation.parse::<SpendKey>() else { return };
        let mut known = self.known();
        known.forget(record.time_micros.div_euclid(1_000_000));
        if !known.payments.contains_key(&key.digest) {
            let name = record.identifier.clone().zip(record.payload.as_deref().and_then(unhex));
            let claim = Claim {
                key,
                signed: unhex(&record.signed).unwrap_or_default(),
                purpose: purpose(&record.fetch.method, &record.fetch.url),
                identifier: name.map(|(name, payload)| Identifier { name, payload }),
            };
            known.insert(key.digest, Payment::new(claim));
        }
        known.change(&key.digest, |payment| match record.state {
            PaymentState::Settling => payment.state = State::Settling,
            PaymentState::Settled => {
                payment.state = State::Settled;
                payment.settlement = record.fetch.settlement.as_deref().map(Arc::from);
                payment.fetch = (!payment.recorded).then(|| record.fetch.encode().into());
                if payment.identifier.is_some() {
                    let settled = record.time_micros.div_euclid(1_000_000);
                    payment.until = payment.until.max(settled.saturating_add(IDENTIFIER_SECS));
                }
            }
            PaymentState::Failed => payment.state = State::New,
        });
        if record.state == PaymentState::Failed && known.payments.get(&key.digest).is_some_and(|it| !it.busy)
        {
            known.remove(&key.digest);
        }
    }

    /// A record is durable: if a payment was settled for it, that one has bought something.
    pub(crate) fn delivered<S: Deref<Target = str>>(&self, record: &UsageRecord<S>) {
        let (Some(authorisation), Some(settlement)) = (&record.authorisation, &record.settlement) else {
            return;
        };
        let Ok(key) = authorisation.parse::<SpendKey>() else { return };
        self.known().change(&key.digest, |payment| {
            // The entry that says so may not have found room: this one says it as well.
            payment.state = State::Settled;
            payment.settlement.get_or_insert_with(|| Arc::from(&**settlement));
            payment.deliveries = payment.deliveries.saturating_add(1);
            payment.complete |= record.outcome == Outcome::Complete;
            payment.recorded |= record.amount_nano > 0;
            if payment.recorded {
                payment.fetch = None;
            }
        });
    }

    /// Appends what is durable of them.
    pub(crate) fn save(&self, out: &mut Writer) {
        let known = self.known();
        let durable: Vec<_> =
            known.order.iter().filter_map(|(_, key)| Some((key, known.payments.get(key)?))).collect();
        let durable: Vec<_> =
            durable.into_iter().filter(|(_, payment)| payment.state != State::New).collect();
        out.u64(durable.len() as u64);
        for (key, payment) in durable {
            out.out.extend_from_slice(key);
            out.i64(payment.until);
            out.out.extend_from_slice(&payment.signed);
            out.out.extend_from_slice(&payment.purpose);
            out.text_if(payment.identifier.as_ref().map(|identifier| identifier.name.as_str()));
            let payload = payment.identifier.as_ref().map(|identifier| identifier.payload);
            out.out.extend_from_slice(&payload.unwrap_or_default());
            out.text_if(payment.settlement.as_deref());
            out.u64(u64::from(payment.deliveries));
            let flags = [payment.state == State::Settled, payment.recorded, payment.complete];
            flags.into_iter().for_each(|flag| out.u64(u64::from(flag)));
            out.block(|bytes| bytes.extend_from_slice(payment.fetch.as_deref().unwrap_or_default()));
        }
    }

    /// Reads what [`Payments::save`] wrote.
    pub(crate) fn restored(saved: &mut Reader<'_>) -> Result<Payments, &'static str> {
        let count = usize::try_from(saved.u64()?).map_err(|_| BROKEN)?;
        let mut known = Known::default();
        for _ in 0..count {
            let digest = saved.array()?;
            let until = saved.i64()?;
            let (signed, purpose) = (saved.array()?, saved.array()?);
            let name = saved.text_if()?.map(str::to_owned);
            let payload = saved.array()?;
            let identifier = name.map(|name| Identifier { name, payload });
            let claim = Claim { key: SpendKey { until, digest }, signed, purpose, identifier };
            let mut payment = Payment::new(claim);
            payment.settlement = saved.text_if()?.map(Arc::from);
            payment.deliveries = u32::try_from(saved.u64()?).map_err(|_| BROKEN)?;
            payment.state = if saved.u64()? == 1 { State::Settled } else { State::Settling };
            payment.recorded = saved.u64()? == 1;
            payment.complete = saved.u64()? == 1;
            payment.fetch = Some(saved.block()?).filter(|bytes| !bytes.is_empty()).map(Box::from);
            known.insert(digest, payment);
        }
        Ok(Payments { known: Mutex::new(known) })
    }

    /// Takes up restored ones in place of its own, before anybody comes with a payment.
    pub(crate) fn take_up(&self, restored: Payments) {
        *self.known() = restored.known.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payment {
    /// What a request with the same key gets.
    fn again(&self, claim: &Claim, now: i64) -> Result<Before, TakeError> {
        if self.signed != claim.signed {
            return Err(TakeError::OtherAuthorization);
        }
        if self.purpose != claim.purpose {
            return Err(TakeError::OtherPurpose);
        }
        if self.busy {
            return Err(TakeError::Busy);
        }
        let settlement = match (self.state, &self.settlement) {
            (State::New, _) => return Ok(Before::Nothing),
            (State::Settled, Some(settlement)) => settlement,
            (State::Settled, None) | (State::Settling, _) => return Ok(Before::Unknown),
        };
        let is_named = self.identifier.is_some() && self.identifier == claim.identifier;
        if now >= self.good_until() || self.deliveries >= DELIVERIES_MAX || (self.complete && !is_named) {
            return Err(TakeError::Used);
        }
        Ok(Before::Settled { settlement: Arc::clone(settlement), recorded: self.recorded })
    }
}

impl Known {
    fn insert(&mut self, key: [u8; 32], payment: Payment) {
        self.order.insert((payment.remembered_until(), key));
        if let Some(identifier) = &payment.identifier {
            self.identifiers.insert(identifier.name.clone(), key);
        }
        self.payments.insert(key, payment);
    }

    fn remove(&mut self, key: &[u8; 32]) {
        let Some(payment) = self.payments.remove(key) else { return };
        self.order.remove(&(payment.remembered_until(), *key));
        if let Some(identifier) = payment.identifier
            && self.identifiers.get(&identifier.name) == Some(key)
        {
            self.identifiers.remove(&identifier.name);
        }
    }

    /// Changes what is known of one, and until when.
    fn change(&mut self, key: &[u8; 32], change: impl FnOnce(&mut Payment)) {
        let Some(payment) = self.payments.get_mut(key) else { return };
        self.order.remove(&(payment.remembered_until(), *key));
        change(payment);
        self.order.insert((payment.remembered_until(), *key));
    }

    fn forget(&mut self, now: i64) {
        let over = self.order.range(..=(now, [u8::MAX; 32]));
        // Who has one gives it back soon; and what was paid and is in no record yet is never forgotten.
        let is_kept = |key: &[u8; 32]| {
            self.payments.get(key).is_some_and(|payment| payment.busy || payment.fetch.is_some())
        };
        let over: Vec<_> = over.filter(|(_, key)| !is_kept(key)).copied().collect();
        for (until, key) in over {
            self.remove(&key);
            self.order.remove(&(until, key));
        }
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    [text, " 0"].concat().parse::<SpendKey>().ok().map(|key| key.digest)
}

#[cfg(test)]
mod tests;
