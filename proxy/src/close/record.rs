//! What is written of a fetch: its record, its record as a payment holds it beforehand, and what a refusal adds to the sums.

use billing::rate::rate_record;
use http::Method;
use metrics::{Outcome, RolledFetch, Text, UsageRecord};
use policy::{Evidence, Held, Refusal, Unit, Verdict};

use super::{OpenFetch, Recording};
use crate::shared;

impl OpenFetch {
    /// The record as it would be if it was paid for and nothing of the body left.
    pub(crate) fn draft(&mut self) -> UsageRecord {
        let record = self.record(Outcome::Aborted).map(|text| text.to_string());
        // The record that comes later has them, too.
        self.id.clone_from(&record.id);
        self.work.url.clone_from(&record.url);
        self.work.id.clone_from(&record.work);
        self.response.etag.clone_from(&record.etag);
        self.response.content_range.clone_from(&record.content_range);
        self.response.content_type.clone_from(&record.content_type);
        // One of its own: this fetch may have a record of its end as well.
        let mut record = UsageRecord { id: shared::new_id(), settlement: Some(String::new()), ..record };
        let rated = rate_record(&record);
        record.quantity = rated.quantity;
        (record.quote_nano, record.amount_nano) = (rated.quote_nano, rated.amount_nano);
        UsageRecord { settlement: None, ..record }
    }

    /// The fetch is refused: summed by crawler, rule and minute, not recorded one by one.
    pub(crate) fn refused(mut self: Box<Self>, refusal: &Refusal) {
        self.recording = Recording::Nothing;
        let shared = &self.worker.shared;
        shared.telemetry.refused(&self.crawler.row.token, refusal.kind);
        let price = refusal.unit_price.or(refusal.price);
        shared.rollups.add(&RolledFetch {
            seconds: shared::now_micros() / 1_000_000,
            crawler: &self.crawler.row.token,
            operator: self.crawler.operator(),
            purpose: self.crawler.row.purpose.as_str(),
            assurance: self.crawler.assurance.as_str(),
            holder: self.work.holder.as_deref(),
            policy: self.policy.digest(),
            rule: &refusal.rule,
            refused: true,
            status: refusal.status(),
            outcome: None,
            bytes: 0,
            currency: self.policy.currency().as_str(),
            unit: refusal.unit.map(Unit::as_str),
            quantity: 0,
            quote_nano: refusal.price.or(price).map_or(0, |price| price.nano),
        });
    }

    /// Where the licence stands: the policy's URL for the work, else the document of the licence that the fetch holds.
    fn licence_url(&self) -> Option<Text> {
        let holds_one = matches!(self.crawler.evidence.licence(), Some(Ok(_)));
        let own = self.work.licence.as_ref().map(Text::from);
        own.or_else(|| holds_one.then(|| self.work.licence_document().into()))
    }

    /// The record; it takes along what only it needs, as a fetch has one.
    pub(super) fn record(&mut self, outcome: Outcome) -> Box<UsageRecord<Text>> {
        let terms = self.terms.as_ref();
        let charge = terms.and_then(|terms| terms.charge.as_ref());
        let licence = self.licence_url();
        let response = &mut self.response;
        Box::new(UsageRecord {
            id: std::mem::take(&mut self.id).into(),
            source: (&self.worker.shared.ledger.source).into(),
            time_micros: shared::now_micros(),
            crawler: (&self.crawler.row.token).into(),
            operator: self.crawler.operator().to_owned().into(),
            purpose: self.crawler.row.purpose.as_str().into(),
            assurance: self.crawler.assurance.as_str().into(),
            evidence: evidence_text(&self.crawler.evidence).into(),
            method: method_text(&self.method),
            url: std::mem::take(&mut self.work.url).into(),
            work: std::mem::take(&mut self.work.id).into(),
            holder: self.work.holder.as_ref().map(Text::from),
            licence,
            policy: self.policy.digest().into(),
            rule: terms.map_or_else(|| "undecided".into(), |terms| (&terms.rule).into()),
            verdict: terms.map_or(Verdict::Allow, |terms| terms.verdict).as_str().into(),
            would_refuse: terms.and_then(|terms| terms.would_refuse),
            status: response.status,
            outcome,
            bytes: 0,
            declared_bytes: response.declared_bytes,
            digest: None,
            etag: response.etag.take().map(Text::from),
            content_range: response.content_range.take().map(Text::from),
            content_type: response.content_type.take().map(Text::from),
            words: None,
            words_capped: false,
            currency: self.policy.currency().as_str().to_owned().into(),
            unit: charge.map(|charge| charge.unit.as_str().into()),
            price_nano: charge.map(|charge| charge.price.nano),
            max_nano: charge.and_then(|charge| charge.max).map(|max| max.nano),
            quantity: 0,
            repeat: false,
            owed: terms.is_some_and(|terms| terms.owed),
            quote_nano: 0,
            amount_nano: 0,
            authorisation: None,
            settlement: None,
        })
    }
}

/// The usual methods are words of ours.
fn method_text(method: &Method) -> Text {
    match *method {
        Method::GET => Text::Word("GET"),
        Method::HEAD => Text::Word("HEAD"),
        _ => Text::Own(method.to_string()),
    }
}

fn evidence_text(evidence: &Evidence) -> String {
    match evidence {
        Evidence::None => "none".to_owned(),
        Evidence::Range { source } => format!("range {source}"),
        Evidence::ReverseDns { name } => format!("reverse-dns {name}"),
        Evidence::Signed { agent, keyid, .. } => format!("signature {agent} {keyid}"),
        Evidence::Contradicted { by } => format!("contradicted {by}"),
        Evidence::Licence { shown: Ok(Held { licence, token }), identity } => match &**identity {
            Evidence::None => format!("licence {licence} {token}"),
            identity => format!("licence {licence} {token}, {}", evidence_text(identity)),
        },
        Evidence::Licence { shown: Err(_), identity } => evidence_text(identity),
    }
}
