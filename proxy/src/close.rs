//! The books of one fetch: what it is, what it may cost, and the record that closes it.
//!
//! Every fetch that was granted closes exactly once. [`OpenFetch`] is the guard: whatever happens to the request (an
//! answer, an error, a client that hangs up, a panic), it closes with an outcome, at the latest when it is dropped.

mod leave;
mod record;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use billing::account::{Hold, InFlight};
use billing::payments::Taken;
use billing::spent::Spending;
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
};
use http::{Method, response};
use metrics::{Limit, Meter, Outcome, RolledFetch, UnmeteredReason, WordOptions};
use policy::{
    Admission, Assurance, Crawler, Grant, Money, Offer, OfferError, PolicySnapshot, Release, ResponseHead,
    Terms, Unit, Work,
};

pub(crate) use self::leave::{Closed, Leave};
use crate::closer::{self, Ended};
use crate::error::FetchError;
use crate::licence::shown;
use crate::shared;
use crate::worker::{MeteredGuard, Worker};

/// The status in the record of a fetch whose client left before a response head: nobody was sent one.
const CLIENT_LEFT: u16 = 499;

/// A fetch between its first decision and its record.
pub(crate) struct OpenFetch {
    worker: Rc<Worker>,
    policy: Arc<PolicySnapshot>,
    crawler: Crawler,
    work: Work,
    method: Method,
    id: String,
    recording: Recording,
    hold: Option<Hold>,
    in_flight: Option<InFlight>,
    /// The use of what pays for it and is good once.
    spending: Option<Spending>,
    /// How it was paid before delivery.
    prepaid: Option<Prepaid>,
    terms: Option<Terms>,
    response: ResponseFacts,
    meter: Option<Meter>,
    _metered: MeteredGuard,
}

/// What paid for a fetch before its delivery.
pub(crate) struct Prepaid {
    /// As the record says it.
    pub(crate) settlement: String,
    /// Another record has the money already.
    pub(crate) repeat: bool,
    /// Nobody else gets the payment until the record is answered.
    pub(crate) taken: Taken,
}

/// How a fetch will be recorded.
enum Recording {
    /// Not granted yet, or already closed: nothing to do.
    Nothing,
    /// By an entry of its own.
    Entry(ledger::Slot),
    /// In a sum: it is claimed only, owes nothing, and there are too many like it.
    Rollup,
    /// Not at all: the ledger takes nothing, and the fetch owes nothing. It is counted.
    Unmetered(UnmeteredReason),
}

#[derive(Default)]
struct ResponseFacts {
    status: u16,
    declared_bytes: Option<u64>,
    etag: Option<String>,
    content_range: Option<String>,
    content_type: Option<String>,
    event_stream: bool,
}

impl OpenFetch {
    /// Under which policy it is, and for which work.
    pub(crate) fn subject(&self) -> (&PolicySnapshot, &Work) {
        (&self.policy, &self.work)
    }

    pub(crate) fn begin(
        worker: &Rc<Worker>,
        policy: Arc<PolicySnapshot>,
        crawler: Crawler,
        work: Work,
        method: Method,
        spending: Option<Spending>,
    ) -> Box<OpenFetch> {
        if crawler.is_spoof() {
            worker.shared.telemetry.spoof(&crawler.row.token);
        }
        // On the heap, where it stays: it is handed on from stage to stage.
        Box::new(OpenFetch {
            worker: Rc::clone(worker),
            policy,
            crawler,
            work,
            method,
            id: shared::new_id(),
            recording: Recording::Nothing,
            hold: None,
            in_flight: None,
            spending,
            prepaid: None,
            terms: None,
            response: ResponseFacts { status: CLIENT_LEFT, ..ResponseFacts::default() },
            meter: None,
            _metered: worker.metered_begins(),
        })
    }

    /// The first decision. What the fetch may come to owe is held on the account in the same breath.
    pub(crate) fn admit(&mut self, offer: &Result<Offer, OfferError>) -> Admission {
        let accounts = self.worker.shared.derived.accounts();
        let mut attempts = 0;
        loop {
            let now = shared::now_micros() / 1_000_000;
            let standing = accounts.standing(&self.policy, now);
            let admission = policy::admit(&self.policy, &self.crawler, &self.work, offer, &standing);
            let Admission::Proceed(Grant { ceiling: Some(ceiling), .. }) = &admission else {
                return admission;
            };
            self.hold = accounts.try_hold(&self.policy, self.crawler.operator(), *ceiling, now);
            attempts += 1;
            // Another fetch took what was left between question and hold: the next answer will be a refusal.
            if self.hold.is_some() || attempts == 3 {
                return admission;
            }
        }
    }

    /// Makes room for the record before the origin is asked; money never moves without it.
    pub(crate) fn reserve(&mut self, grant: &Grant) -> Result<(), FetchError> {
        let shared = &self.worker.shared;
        let priced = grant.ceiling.is_some() || grant.prepaid.is_some();
        if grant.ceiling.is_some() && self.hold.is_none() {
            return Err(FetchError::Overloaded { limit: Limit::Requests });
        }
        if !priced
            && self.crawler.identity_rung() < Assurance::Network
            && !shared::lock(&shared.claimed).take(Instant::now())
        {
            self.recording = Recording::Rollup;
            return Ok(());
        }
        self.recording = match shared.ledger.reserve() {
            Ok(slot) => Recording::Entry(slot),
            Err(why) if priced => return Err(FetchError::LedgerUnavailable { why: why.to_string() }),
            Err(why) => Recording::Unmetered(reason(&why)),
        };
        Ok(())
    }

    /// The second decision, when the response head is known.
    pub(crate) fn release(
        &self,
        grant: &Grant,
        offer: &Result<Offer, OfferError>,
        head: &ResponseHead<'_>,
    ) -> Release {
        let now = shared::now_micros() / 1_000_000;
        // What is held for this very fetch must not count against it.
        let standing = OwnHold {
            view: self.worker.shared.derived.accounts().standing(&self.policy, now),
            operator: self.crawler.operator(),
            held: self.hold.as_ref().map(Hold::nano),
        };
        policy::release(&self.policy, grant, &self.crawler, &self.work, offer, &standing, head)
    }

    /// The response will be delivered on these terms.
    pub(crate) fn deliver(&mut self, terms: Terms, head: &response::Parts) {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE);
        let media_type = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        self.response = ResponseFacts {
            status: head.status.as_u16(),
            declared_bytes: declared_length(&head.headers),
            etag: text(ETAG).map(str::to_owned),
            content_range: text(CONTENT_RANGE).map(str::to_owned),
            content_type: media_type.map(str::to_ascii_lowercase),
            event_stream: media_type.is_some_and(|media| media.eq_ignore_ascii_case("text/event-stream")),
        };
        let by_words = terms.charge.as_ref().is_some_and(|charge| charge.unit == Unit::ThousandWords);
        let words = (by_words || self.policy.count_words())
            .then(|| WordOptions { content_encoding: text(CONTENT_ENCODING), content_type });
        self.meter = Some(Meter::start(words));
        // What can no longer be owed is free for the operator's other fetches.
        match &terms.charge {
            Some(charge) if terms.owed => {
                if let Some(hold) = &mut self.hold {
                    hold.lower(charge.most(self.response.declared_bytes));
                }
            }
            _ => self.hold = None,
        }
        if let Some(limit) = &terms.limit {
            let now = shared::now_micros() / 1_000_000;
            let accounts = self.worker.shared.derived.accounts();
            self.in_flight = Some(accounts.enter(limit, self.crawler.operator(), now));
        }
        self.terms = Some(terms);
    }

    /// Whether the response costs something, as far as is known before its body.
    pub(crate) fn is_owed(&self) -> bool {
        let is_billed = matches!(self.response.status, 200 | 206) && self.method != Method::HEAD;
        is_billed && self.terms.as_ref().is_some_and(|terms| terms.owed && terms.charge.is_some())
    }

    /// What will be owed for it when all of it is delivered, if its body has no say in that: a price for the fetch, of which no
    /// other one makes this one free.
    pub(crate) fn announced(&self) -> Option<Money> {
        let charge = self.terms.as_ref()?.charge.as_ref()?;
        let is_certain = charge.unit == Unit::Fetch && charge.repeat_free_secs == 0 && self.prepaid.is_none();
        (self.is_owed() && is_certain).then(|| charge.amount(1)).filter(|owed| owed.nano > 0)
    }

    /// It is paid for.
    pub(crate) fn prepaid(&mut self, prepaid: Prepaid) {
        self.prepaid = Some(prepaid);
    }

    /// Whether something that is good once pays for it already.
    pub(crate) fn is_spending(&self) -> bool {
        self.spending.is_some()
    }

    /// What pays for it is good once.
    pub(crate) fn spends(&mut self, spending: Spending) {
        self.spending = Some(spending);
    }

    pub(crate) fn policy(&self) -> &PolicySnapshot {
        &self.policy
    }

    pub(crate) fn crawler(&self) -> &Crawler {
        &self.crawler
    }

    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The identifier of its record.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Body bytes leave for the crawler.
    pub(crate) fn observe(&mut self, bytes: &[u8]) {
        if let Some(meter) = &mut self.meter {
            meter.observe_timed(bytes, || self.worker.shared.started.elapsed());
        }
    }

    /// The same for bytes that are held until the body's end.
    pub(crate) fn observe_held(&mut self, bytes: Bytes) {
        if let Some(meter) = &mut self.meter {
            meter.keep_timed(bytes, || self.worker.shared.started.elapsed());
        }
    }

    /// Whether the response is a stream of events: never held.
    pub(crate) fn is_event_stream(&self) -> bool {
        self.response.event_stream
    }

    /// Whether an acknowledgement will have to be awaited at the end.
    pub(crate) fn awaits_entry(&self) -> bool {
        matches!(self.recording, Recording::Entry(_))
    }

    /// The status delivered.
    pub(crate) fn status(&self) -> u16 {
        self.response.status
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The origin gave no usable response; the crawler was answered with our own error.
    pub(crate) fn origin_failed(mut self: Box<Self>, status: u16) {
        self.response.status = status;
        self.close(Outcome::OriginFailed);
    }

    /// Ends the fetch: measured, rated and appended at the end of this turn. Later calls find nothing to close.
    pub(crate) fn close(&mut self, outcome: Outcome) -> Closed {
        let currency = self.policy.currency();
        let on_account = self.prepaid.is_none();
        let mut closed = Closed { answer: None, currency, on_account };
        let (hold, in_flight) = (self.hold.take(), self.in_flight.take());
        let (meter, spending, prepaid) = (self.meter.take(), self.spending.take(), self.prepaid.take());
        let repeat_free_secs = self.terms.as_ref().and_then(|terms| terms.charge.as_ref());
        let repeat_free_secs = repeat_free_secs.map_or(0, |charge| charge.repeat_free_secs);
        match std::mem::replace(&mut self.recording, Recording::Nothing) {
            Recording::Nothing => {}
            Recording::Entry(slot) => {
                let mut record = self.record(outcome);
                record.authorisation = spending.as_ref().map(|spending| spending.key().to_string().into());
                let taken = prepaid.map(|Prepaid { settlement, repeat, taken }| {
                    record.authorisation = Some(taken.key().to_string().into());
                    record.settlement = Some(settlement.into());
                    record.repeat = repeat;
                    taken
                });
                let ended = Ended { record, meter, repeat_free_secs, slot, hold, in_flight, spending, taken };
                closed.answer = Some(self.worker.closer.close(ended));
            }
            Recording::Rollup => {
                let mut record = self.record(outcome);
                let shared = &self.worker.shared;
                if let Some(meter) = meter {
                    record.measured(&meter.finish());
                }
                // What a claimed fetch in a sum would have bought is tentative, and soon forgotten.
                let _ = shared.derived.close(&mut record, repeat_free_secs);
                let rolled = RolledFetch::delivered(&record);
                shared.telemetry.rolled(&rolled);
                shared.rollups.add(&rolled);
                if let Some(in_flight) = in_flight {
                    in_flight.rolled_up(record.bytes);
                }
            }
            Recording::Unmetered(reason) => {
                closer::unmetered(&self.worker.shared, reason, meter.map_or(0, |meter| meter.bytes()));
            }
        }
        closed
    }

    /// Says on an answer under which licence it is given, if the fetch holds one.
    pub(crate) fn name_licence(&self, headers: &mut HeaderMap) {
        shown::name_document(&self.crawler.evidence, &self.work.licence_document(), headers);
    }
}

/// A client that hung up, a handler that was cancelled, a panic: the fetch still closes.
impl Drop for OpenFetch {
    fn drop(&mut self) {
        if !matches!(self.recording, Recording::Nothing) {
            self.close(Outcome::Aborted);
        }
    }
}

/// The accounts as they stand for a fetch that already holds its ceiling.
struct OwnHold<'a, S> {
    view: S,
    operator: &'a str,
    held: Option<i64>,
}

impl<S: policy::Standing> policy::Standing for OwnHold<'_, S> {
    fn exhausted(&self, limit: &policy::Limit, operator: &str) -> Option<u64> {
        self.view.exhausted(limit, operator)
    }

    fn affords(&self, operator: &str, amount: Money) -> bool {
        let covered = self.held.is_some_and(|held| operator == self.operator && amount.nano <= held);
        covered || self.view.affords(operator, amount)
    }
}

fn reason(why: &ledger::Unavailable) -> UnmeteredReason {
    match why {
        ledger::Unavailable::QueueFull { .. } => UnmeteredReason::QueueFull,
        ledger::Unavailable::Paused { .. } => UnmeteredReason::Paused,
        _ => UnmeteredReason::Poisoned,
    }
}

/// `Content-Length`, if it is one plain number.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
