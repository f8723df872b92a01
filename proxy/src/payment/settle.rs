//! Verified before the origin is asked, settled when its answer is known, and both written where a crash cannot lose them.
//!
//! | step | what is on disk | the process ends here |
//! |---|---|---|
//! | taken, verified | nothing | nothing moved; the payment is good as before |
//! | `settling` is appended and durable | unknown | asked about again, by itself ([`super::pending`]) and when the same payment comes |
//! | the facilitator settles | unknown | the same: money may have moved |
//! | `settled` is appended | settled | recorded at the next start; the same payment is delivered |
//! | the fetch's record | recorded | |
//!
//! From `settling` on a client that hangs up stops nothing: the settlement goes on by itself, and if nobody is left to whom anything
//! could be delivered, the fetch is recorded as aborted, with what was paid for it.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use billing::payments::{Before, Taken};
use http::header::{HeaderName, HeaderValue};
use http::response;
use metrics::{PaymentRecord, PaymentState, UsageRecord};
use policy::protocol::mpp::{self, receipt::Receipt as MppReceipt};
use policy::protocol::x402::atomic::{U256, to_atomic};
use policy::protocol::x402::batch::BatchPayment;
use policy::protocol::x402::facilitator::{self, ErrorReason, NotSettled, Transfer, VerifyResponse};
use policy::protocol::x402::message::{Object, SettlementResponse};
use policy::protocol::x402::receipt::{self, Receipt, Signed};
use policy::protocol::x402::{PAYMENT_RESPONSE, X_PAYMENT_RESPONSE, header};
use policy::{Money, RefusalKind};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::answer;
use super::attempts::Attempt;
use super::facilitator::FacilitatorError;
use super::pending::Away;
use super::present::{Exact, No, OnAccount, Payment, Promise, Refused, UNKNOWN_SECS};
use crate::close::{OpenFetch, Prepaid};
use crate::error::FetchError;
use crate::shared::{self, Shared, now_micros};
use crate::worker::Worker;

/// What stands in a record for the transaction of a payment that the facilitator calls settled without naming one.
const UNNAMED: &str = "unnamed";

/// How long after a payment's `validBefore` no chain can move it any more.
const OVER_SECS: i64 = 600;

/// What the answer tells of its payment.
pub(crate) enum Announcement {
    /// Nothing.
    Nothing,
    /// What was settled.
    Settled(HeaderName, HeaderValue),
    /// What goes on the account, which rating says.
    OnAccount(Bill),
}

/// A promise that was taken, on its way to the account.
pub(crate) struct Bill {
    kind: Promise,
    price: Money,
    /// The record that it will be found by.
    reference: String,
}

/// What is known of the amount that goes on the account when the head leaves.
#[derive(Clone, Copy)]
pub(crate) enum Rated {
    /// This, if anything: the body is all here, and its record is written.
    At(Option<Money>),
    /// The price at most: less if the crawler hangs up, nothing if it turns out to have the work already.
    AtMost,
}

impl Announcement {
    /// Says it on a response head.
    pub(crate) fn announce(self, head: &mut response::Parts, rated: Rated) {
        let (name, value) = match self {
            Announcement::Nothing => return,
            Announcement::Settled(name, value) => (name, Some(value)),
            Announcement::OnAccount(bill) => bill.field(rated),
        };
        // What an origin says of payments is not about this one.
        for said in [PAYMENT_RESPONSE, X_PAYMENT_RESPONSE, mpp::PAYMENT_RECEIPT] {
            head.headers.remove(said);
        }
        if let Some(value) = value {
            head.headers.insert(name, value);
        }
    }
}

impl Bill {
    fn field(&self, rated: Rated) -> (HeaderName, Option<HeaderValue>) {
        let now_secs = u64::try_from(now_micros() / 1_000_000).unwrap_or(0);
        let (name, value) = match &self.kind {
            Promise::Credit(payment) => (PAYMENT_RESPONSE, Some(credited(payment, rated, now_secs))),
            Promise::Mpp { method } => (mpp::PAYMENT_RECEIPT, self.receipt(method, rated, now_secs)),
        };
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        (HeaderName::from_static(name), value)
    }

    /// A receipt is for what was paid: for a repeat that costs nothing there is none.
    fn receipt(&self, method: &str, rated: Rated, now_secs: u64) -> Option<String> {
        let (name, amount) = match rated {
            Rated::At(None) => return None,
            Rated::At(Some(amount)) => ("amount", amount),
            Rated::AtMost => ("amount_max", self.price),
        };
        let receipt = MppReceipt::new(method, &self.reference, now_secs)?;
        let currency = amount.currency.as_str().to_ascii_lowercase();
        // In decimals: a rated amount may have parts of a minor unit.
        let receipt = receipt.with(name, policy::decimal(i128::from(amount.nano))).with("currency", currency);
        Some(receipt.to_field())
    }
}

fn credited(payment: &BatchPayment, rated: Rated, now_secs: u64) -> String {
    let billed = match rated {
        Rated::At(None) => Some(U256::default()),
        // What has parts of a cent cannot be said here; the ceiling can.
        Rated::At(Some(amount)) => to_atomic(amount, u32::from(amount.currency.minor_decimals())).ok(),
        Rated::AtMost => None,
    };
    header::write(&match billed {
        Some(billed) => payment.response(billed, now_secs),
        None => payment.response_at_most(now_secs),
    })
}

impl Payment {
    /// A question to the facilitator about a new payment of this client.
    ///
    /// # Errors
    /// The client has too many of them, or too many of its payments were not good.
    pub(crate) fn attempt(&self, shared: &Shared, client: IpAddr) -> Result<Option<Attempt>, FetchError> {
        match self {
            // One that was taken before was good, and may be spent by now.
            Payment::Exact(exact) if exact.taken.before == Before::Nothing => {
                let attempt = shared.payments.attempts.begin(client, Instant::now());
                attempt.map(Some).map_err(|limit| FetchError::Overloaded { limit })
            }
            Payment::None | Payment::Exact(_) | Payment::OnAccount(_) => Ok(None),
        }
    }

    /// Asks whether a new payment could be settled, before the origin is asked for anything. Nothing moves.
    pub(crate) async fn verify(&self, open: &OpenFetch, attempt: Option<Attempt>) -> Result<(), Refused> {
        let (Payment::Exact(exact), Some(attempt)) = (self, attempt) else { return Ok(()) };
        let shared = &open.worker().shared;
        let Some(facilitator) = &shared.payments.facilitator else { return Ok(()) };
        let no = match facilitator.verify(&exact.payment.request).await {
            Ok(answer) if answer.is_valid => return Ok(()),
            Ok(answer) => {
                attempt.refused(answer.invalid_reason.as_deref(), Instant::now());
                let reason = plain(answer.invalid_reason.as_deref(), ErrorReason::InvalidPayload.as_str());
                let detail = format!("The payment is not taken: the facilitator says {reason}.");
                No::new(RefusalKind::PaymentRefused, reason, detail)
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a payment could not be verified");
                No::pending(UNKNOWN_SECS, "The payment could not be verified just now. Nothing was charged.")
            }
        };
        Err(exact.refused(open, no))
    }

    /// Settles the payment, if the response costs what it pays. When this returns, the answer may leave.
    pub(crate) async fn settle(self, open: &mut OpenFetch) -> Result<Announcement, Refused> {
        match self {
            Payment::None => Ok(Announcement::Nothing),
            Payment::OnAccount(promise) => Ok((*promise).billed(open)),
            // An error, a redirect, a work that turns out to be free: the payment is as good as before.
            Payment::Exact(_) if !open.is_owed() => Ok(Announcement::Nothing),
            Payment::Exact(exact) => exact.settle(open).await,
        }
    }
}

impl OnAccount {
    fn billed(self, open: &mut OpenFetch) -> Announcement {
        if !open.is_owed() {
            return Announcement::Nothing;
        }
        if let Some(spending) = self.spending {
            open.spends(spending);
        }
        Announcement::OnAccount(Bill { kind: self.kind, price: self.price, reference: open.id().to_owned() })
    }
}

/// What became of an order to settle.
enum Outcome {
    /// Money moved. It is `noted` once the ledger has it.
    Settled { settlement: String, response: SettlementResponse, noted: bool },
    /// None moved.
    Failed { reason: String },
    /// None moved, for want of somebody to move it.
    NotAsked,
    /// Nobody knows.
    Unknown,
    /// The ledger took nothing, so nobody was asked.
    Unrecorded,
}

impl Exact {
    fn refused(&self, open: &OpenFetch, no: No) -> Refused {
        let no = No { version: Some(self.payment.version), network: Some(self.network()), ..no };
        answer::refused(open, &self.offered.fixed, no)
    }

    async fn settle(self: Box<Self>, open: &mut OpenFetch) -> Result<Announcement, Refused> {
        let key = self.taken.key();
        if let Before::Settled { settlement, recorded } = self.taken.before.clone() {
            let response = self.response_again(&settlement);
            let announcement = self.announcement(open, response);
            let prepaid = Prepaid { settlement: settlement.to_string(), repeat: recorded, taken: self.taken };
            open.prepaid(prepaid);
            return Ok(announcement);
        }
        let mut fetch = open.draft();
        fetch.authorisation = Some(key.to_string());
        let order = Order::new(&self, &open.worker().shared, fetch);
        let worker = Rc::clone(open.worker());
        let Exact { payment, offered, claim, taken } = *self;
        let (done, answered) = oneshot::channel();
        // By itself, whatever becomes of this request: what was begun must end where it is written.
        tokio::task::spawn_local(order.carry_out(worker, taken, done));
        let Ok((outcome, taken)) = answered.await else {
            let no = No::pending(UNKNOWN_SECS, "Whether this payment was settled is not known yet.");
            let no = No { version: Some(payment.version), ..no };
            return Err(answer::refused(open, &offered.fixed, no));
        };
        let this = Exact { payment, offered, claim, taken };
        let no = match outcome {
            Outcome::Settled { settlement, response, noted: _ } => {
                let announcement = this.announcement(open, response);
                open.prepaid(Prepaid { settlement, repeat: false, taken: this.taken });
                return Ok(announcement);
            }
            Outcome::Failed { reason } => {
                let detail = format!(
                    "The payment was not settled: the facilitator says {reason}. Nothing was charged."
                );
                No::new(RefusalKind::PaymentRefused, reason, detail)
            }
            Outcome::NotAsked | Outcome::Unrecorded => No::pending(
                UNKNOWN_SECS,
                "The payment cannot be settled just now. Nothing was charged; send it again.",
            ),
            Outcome::Unknown => No::pending(
                UNKNOWN_SECS,
                "Whether this payment was settled is not known yet. Send the same payment again, and no other.",
            ),
        };
        Err(this.refused(open, no))
    }

    /// The result of a payment that was settled before.
    fn response_again(&self, settlement: &str) -> SettlementResponse {
        let transaction = settlement.split(' ').nth(2).unwrap_or_default();
        let mut response = SettlementResponse::failure(&self.network(), "");
        response.success = true;
        response.error_reason = None;
        if transaction != UNNAMED {
            response.transaction = transaction.to_owned();
        }
        response.payer = Some(self.payment.authorization.from.to_string());
        response
    }

    /// The network by the name that the payment's version has for it.
    fn network(&self) -> String {
        answer::network_by_its_name(&self.payment.reservation.key.network, self.payment.version.number())
    }

    fn announcement(&self, open: &OpenFetch, mut response: SettlementResponse) -> Announcement {
        if let Some(signed) = self.receipt(open, &response) {
            let extensions = response.extensions.get_or_insert_with(Object::new);
            extensions.insert(receipt::NAME.to_owned(), receipt::receipt_extension(&signed));
        }
        let name = HeaderName::from_static(self.payment.version.response_header());
        match HeaderValue::from_str(&header::write(&response)) {
            Ok(value) => Announcement::Settled(name, value),
            Err(_) => Announcement::Nothing,
        }
    }

    /// A receipt that others can check, if there is a key to sign it with.
    fn receipt(&self, open: &OpenFetch, response: &SettlementResponse) -> Option<Signed> {
        let key = open.worker().shared.payments.receipt.as_ref()?;
        let transaction = Some(response.transaction.clone()).filter(|transaction| !transaction.is_empty());
        let receipt = Receipt {
            version: receipt::PAYLOAD_VERSION,
            network: self.payment.reservation.key.network.to_string(),
            resource_url: open.work().url.clone(),
            payer: self.payment.authorization.from.to_string(),
            issued_at: u64::try_from(now_micros() / 1_000_000).unwrap_or(0),
            transaction,
        };
        Some(Signed::with(&receipt, key))
    }
}

/// An order to settle, with all that it takes when nobody waits for it any more.
pub(super) struct Order {
    pub(super) record: PaymentRecord,
    pub(super) request: facilitator::Request,
    pub(super) transfer: Transfer,
    /// Somebody was asked before, and nobody knows what came of it.
    pub(super) is_retry: bool,
}

impl Order {
    fn new(exact: &Exact, shared: &Shared, fetch: UsageRecord) -> Order {
        let payment = &exact.payment;
        let reservation = &payment.reservation;
        let identifier = exact.claim.identifier.as_ref();
        let record = PaymentRecord {
            id: String::new(),
            source: shared.ledger.source.to_string(),
            time_micros: 0,
            state: PaymentState::Settling,
            authorisation: exact.claim.key.to_string(),
            signed: policy::hex(&exact.claim.signed),
            network: reservation.key.network.to_string(),
            asset: reservation.key.asset.to_string(),
            value: payment.authorization.value.to_string(),
            payer: reservation.key.from.to_string(),
            nonce: String::from(reservation.key.nonce),
            identifier: identifier.map(|identifier| identifier.name.clone()),
            payload: identifier.map(|identifier| policy::hex(&identifier.payload)),
            reason: None,
            fetch: Box::new(fetch),
        };
        let is_retry = exact.taken.before == Before::Unknown;
        Order { record, request: payment.request.clone(), transfer: payment.transfer(), is_retry }
    }

    async fn carry_out(mut self, worker: Rc<Worker>, taken: Taken, done: oneshot::Sender<(Outcome, Taken)>) {
        // The ledger stays open until this is written.
        let _metered = worker.metered_begins();
        let outcome = self.settle(&worker.shared, taken.key().digest).await;
        // Nobody is left to deliver to: what was paid is recorded all the same, before anybody else comes with it.
        if let Err((Outcome::Settled { noted, .. }, _taken)) = done.send((outcome, taken)) {
            self.record_fetch(&worker.shared, noted).await;
        }
    }

    /// Asks what became of it, when nobody has come with it again.
    ///
    /// An order to settle is no question: it moves what has not moved yet, for a work that nobody may come for. So it is given again
    /// only where it can move nothing any more: the facilitator says that the payment is used up, or its time is over. Whatever else it
    /// says may be otherwise a moment later (who had no money has some, a chain that could not be read can be), and waits for who paid.
    ///
    /// # Errors
    /// The facilitator does not answer.
    pub(super) async fn ask_again(mut self, shared: &Shared, taken: Taken) -> Result<(), Away> {
        let (key, pending) = (taken.key().digest, &shared.payments.pending);
        let Some(facilitator) = &shared.payments.facilitator else {
            pending.is_unknown(&key);
            return Err(Away);
        };
        let answer = match facilitator.verify(&self.request).await {
            Ok(answer) => answer,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a payment of unknown outcome cannot be asked about"
                );
                pending.is_unknown(&key);
                return Err(Away);
            }
        };
        let is_last = pending.was_answered(&key);
        if !can_move_nothing(&answer, taken.key().until, now_micros() / 1_000_000) {
            pending.is_unknown(&key);
        } else if let Outcome::Settled { noted, .. } = self.settle(shared, key).await
            && self.record_fetch(shared, noted).await
        {
            info!(
                payer = self.record.payer,
                nonce = self.record.nonce,
                "a payment of unknown outcome is settled, and in the books"
            );
        }
        if is_last && shared.derived.payments().is_unknown(&key) {
            error!(
                payer = self.record.payer,
                nonce = self.record.nonce,
                "nobody says what became of a payment: it is asked about each hour from now on; look at the chain"
            );
        }
        drop(taken);
        Ok(())
    }

    /// Writes what was paid into the record that it is for. Whether it is durable.
    async fn record_fetch(&self, shared: &Shared, noted: bool) -> bool {
        match shared.ledger.append(self.record.fetch.encode()).await {
            Ok(_) => return true,
            Err(why) if noted => warn!(%why, "what was paid is recorded at the next start"),
            Err(why) => {
                warn!(%why, payer = self.record.payer, nonce = self.record.nonce,
                    "what was paid is in no record yet: it is asked about again");
            }
        }
        false
    }

    async fn settle(&mut self, shared: &Shared, key: [u8; 32]) -> Outcome {
        let pending = &shared.payments.pending;
        let Some(facilitator) = &shared.payments.facilitator else { return Outcome::NotAsked };
        if !self.is_retry {
            pending.keep(key, self).await;
            if self.note(shared, PaymentState::Settling).await.is_err() {
                is_gone(pending.is_known(&key)).await;
                return Outcome::Unrecorded;
            }
        }
        let mut outcome = match facilitator.settle(&self.request).await {
            Ok(answer) => self.judge(answer),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    payer = self.record.payer,
                    nonce = self.record.nonce,
                    "a settlement has no answer"
                );
                match error {
                    FacilitatorError::NotAsked(_) if !self.is_retry => Outcome::NotAsked,
                    FacilitatorError::NotAsked(_) | FacilitatorError::Unknown(_) => Outcome::Unknown,
                }
            }
        };
        let state = match &outcome {
            Outcome::Settled { settlement, .. } => {
                self.record.fetch.settlement = Some(settlement.clone());
                PaymentState::Settled
            }
            Outcome::Failed { reason } => {
                self.record.reason = Some(reason.clone());
                PaymentState::Failed
            }
            Outcome::NotAsked => {
                self.record.reason = Some("not_asked".to_owned());
                PaymentState::Failed
            }
            Outcome::Unknown | Outcome::Unrecorded => {
                pending.is_unknown(&key);
                return outcome;
            }
        };
        match (self.note(shared, state).await, &mut outcome) {
            (Ok(()), Outcome::Settled { noted, .. }) => {
                *noted = true;
                pending.is_known(&key);
            }
            // It may come again as a new one as soon as this returns.
            (Ok(()), _) => is_gone(pending.is_known(&key)).await,
            // It stays unknown: the facilitator is asked again, or the record says it.
            (Err(why), _) => {
                warn!(%why, state = state.as_str(), "what became of a payment could not be written");
                pending.is_unknown(&key);
            }
        }
        outcome
    }

    /// What a facilitator's answer means.
    ///
    /// After an attempt of which nobody knows the outcome, no refusal is certain: the balance may be too low, or the nonce used,
    /// because the first attempt moved the money. Only that the nonce is used says that something was; it is then taken for what was
    /// verified, and handed over before: the doubt counts for who paid.
    fn judge(&self, answer: SettlementResponse) -> Outcome {
        let network = self.transfer.network.to_string();
        match facilitator::settled(&self.transfer, &answer) {
            Ok(()) => Outcome::Settled {
                settlement: format!("x402 {network} {}", plain(Some(&answer.transaction), UNNAMED)),
                response: answer,
                noted: false,
            },
            Err(NotSettled::Refused { reason }) if self.is_retry => {
                if !says_nonce_is_used(&reason) {
                    return Outcome::Unknown;
                }
                warn!(
                    payer = self.record.payer,
                    nonce = self.record.nonce,
                    "a payment of unknown outcome is taken to be settled: its nonce is used"
                );
                let mut response = answer;
                (response.success, response.error_reason) = (true, None);
                response.network =
                    answer::network_by_its_name(&self.transfer.network, self.request.x402_version);
                Outcome::Settled { settlement: format!("x402 {network} {UNNAMED}"), response, noted: false }
            }
            // A transaction was sent, or it went wrong in a way that does not say whether one was.
            Err(NotSettled::Refused { reason })
                if !answer.transaction.is_empty()
                    || ErrorReason::parse(&reason) == Some(ErrorReason::UnexpectedSettleError) =>
            {
                warn!(
                    reason,
                    payer = self.record.payer,
                    nonce = self.record.nonce,
                    "a settlement is in doubt"
                );
                Outcome::Unknown
            }
            Err(NotSettled::Refused { reason }) => {
                Outcome::Failed { reason: plain(Some(&reason), ErrorReason::UnexpectedSettleError.as_str()) }
            }
            Err(NotSettled::Contradiction { member }) => {
                error!(
                    member,
                    payer = self.record.payer,
                    nonce = self.record.nonce,
                    "the facilitator settled something else than it was asked to: look at the chain"
                );
                Outcome::Unknown
            }
        }
    }

    async fn note(&mut self, shared: &Shared, state: PaymentState) -> Result<(), String> {
        self.record.id = shared::new_id();
        self.record.time_micros = now_micros();
        self.record.state = state;
        self.record.fetch.time_micros = self.record.time_micros;
        shared.ledger.append(self.record.encode()).await.map(drop)
    }
}

/// Waits until a file is removed.
async fn is_gone(removal: Option<JoinHandle<()>>) {
    if let Some(removal) = removal {
        // An error means that it was never begun: the next start does it.
        let _ = removal.await;
    }
}

/// Whether an order to settle would move nothing for certain: the facilitator says that the nonce is used, or calls a payment not good whose
/// time has been over for so long that no chain takes it, whatever its clock and ours say. `until` and `now` are in Unix seconds.
fn can_move_nothing(answer: &VerifyResponse, until: i64, now: i64) -> bool {
    let is_used = answer.invalid_reason.as_deref().is_some_and(says_nonce_is_used);
    !answer.is_valid && (is_used || now > until.saturating_add(OVER_SECS))
}

/// The names that facilitators have for a nonce that is used; the specification has none.
fn says_nonce_is_used(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("nonce") && reason.contains("used") || reason.contains("authorization_used")
}

/// A word of somebody else's that can stand in headers, records and logs; `otherwise` if it cannot.
fn plain(text: Option<&str>, otherwise: &str) -> String {
    let fits = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
    };
    text.filter(fits).unwrap_or(otherwise).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ordered_that_could_still_move() {
        let until = 1_000_000;
        let over = until + OVER_SECS + 1;
        for (is_valid, reason, now, expect) in [
            (false, Some("invalid_exact_evm_nonce_already_used"), until - 60, true),
            (false, Some("authorization_used"), until - 60, true),
            (false, Some("insufficient_funds"), until - 60, false),
            (false, Some("unexpected_verify_error"), until - 60, false),
            (false, Some("invalid_network"), until - 60, false),
            (false, Some("invalid_exact_evm_payload_authorization_valid_before"), until - 60, false),
            (false, None, until - 60, false),
            (false, Some("insufficient_funds"), over - 1, false),
            (false, Some("insufficient_funds"), over, true),
            (false, None, over, true),
            (true, None, over, false),
            (true, Some("invalid_exact_evm_nonce_already_used"), until, false),
        ] {
            let invalid_reason = reason.map(str::to_owned);
            let answer = VerifyResponse { is_valid, invalid_reason, payer: None, others: Object::new() };
            assert_eq!(can_move_nothing(&answer, until, now), expect, "{is_valid} {reason:?} {now}");
        }
    }
}
