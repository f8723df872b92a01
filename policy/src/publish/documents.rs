//! The documents that are addressed to everybody: `license.xml` (RSL) and `tdmrep.json`.

use super::longest::Reading;
use super::robots::Ground;
use super::stand::Stand;
use super::{Origin, Signal, Unsaid};
use crate::protocol::rsl::{
    Amount, Content, Document, License, Payment, PaymentType, Statements, Token, UsageClass,
};
use crate::protocol::tdmrep;
use crate::{Money, Purpose, Work, decimal};

/// Uses that RSL has a word for, and the purpose that stands for each. Plain search is not among them: its crawlers are no AI
/// crawlers and pass untouched, so that it is always permitted.
pub(crate) const USES: [(Purpose, UsageClass); 3] = [
    (Purpose::Train, UsageClass::AiTrain),
    (Purpose::Ground, UsageClass::AiInput),
    (Purpose::Search, UsageClass::AiIndex),
];

/// Purposes that are text and data mining. Whoever acts for a user, or does not say why it comes, is not known to mine.
pub(crate) const MINING: [Purpose; 4] = [Purpose::Train, Purpose::Ground, Purpose::Search, Purpose::Data];

/// What RSL says of one use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Term {
    Free,
    /// For money; how much, if it is known before the fetch and the same for all of it.
    Sold(Option<Money>),
    Denied,
}

/// What RSL says of a region.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Terms {
    uses: [Term; 3],
    licence: Option<String>,
    /// Licences on offer for it, by their place in the policy.
    offers: Vec<usize>,
}

/// `license.xml`; `None` if there is nothing to say, or it cannot be said.
pub(super) fn license(ground: &Ground<'_>, origin: &Origin, unsaid: &mut Vec<Unsaid>) -> Option<String> {
    let values = ground.values(|work| terms(ground, work));
    let list =
        ground.cells.list(&values, &Reading { default: None, least: &|_, _| 0, wins: None, others: &[] });
    if !list.unsaid.is_empty() {
        let why = "the terms of some paths cannot be told from those of others".to_owned();
        unsaid.push(Unsaid { signal: Signal::Rsl, why });
        return None;
    }
    let mut said: Vec<_> = list.said.iter().collect();
    said.sort_by_key(|said| (said.octets(), said.region));
    let mut contents = Vec::new();
    for said in &said {
        // Within a region that has terms, what no rule speaks of is allowed, as the policy allows it.
        let terms =
            said.value.clone().unwrap_or(Terms { uses: [Term::Free; 3], licence: None, offers: Vec::new() });
        let offers: Vec<&License> =
            terms.offers.iter().map(|index| ground.policy.licences()[*index].license()).collect();
        let server = (!offers.is_empty()).then(|| ground.policy.licence_server_url(&origin.url("")));
        for url in said.patterns() {
            contents.push(Content {
                url,
                server: server.clone(),
                licenses: licenses(&terms.uses, &offers),
                terms: terms.licence.clone(),
                ..Content::default()
            });
        }
    }
    if contents.is_empty() {
        return None;
    }
    match (Document { contents, ..Document::default() }).publish() {
        Ok(text) => Some(text),
        Err(error) => {
            unsaid.push(Unsaid { signal: Signal::Rsl, why: error.to_string() });
            None
        }
    }
}

fn terms(ground: &Ground<'_>, work: &Work) -> Option<Terms> {
    let stands = USES.map(|(purpose, _)| ground.asker.anybody(purpose, work));
    let on_offer = ground.policy.licences().iter().enumerate().filter(|(_, licence)| licence.covers(work));
    let offers: Vec<usize> = on_offer.map(|(index, _)| index).collect();
    if stands.iter().all(Stand::is_silent) && offers.is_empty() {
        return None;
    }
    let term = |stand: &Stand| match () {
        () if stand.is_denied() => Term::Denied,
        () if !stand.deny && !stand.charge => Term::Free,
        () if stand.is_sold() => Term::Sold(stand.price),
        // It depends on the content type: neither free nor refused nor at one price.
        () => Term::Sold(None),
    };
    let uses = [term(&stands[0]), term(&stands[1]), term(&stands[2])];
    Some(Terms { uses, licence: work.licence.as_deref().map(str::to_owned), offers })
}

/// A licence for each price, and one for what is free; a list of permitted uses is closed, so that each use is on one.
///
/// What a licence on offer permits is not prohibited beside it: whoever has the licence may.
fn licenses(uses: &[Term; 3], offers: &[&License]) -> Vec<License> {
    let on_offer = |class: UsageClass| {
        let permitted = offers.iter().flat_map(|license| license.permits.usage.iter().flatten());
        permitted.filter_map(Token::known).any(|other| other.covers(class))
    };
    let known = |class: UsageClass| Token::Known(class);
    let of = |term: Term| -> Vec<Token<UsageClass>> {
        let classes = uses.iter().zip(USES).filter(|(own, _)| **own == term);
        classes.map(|(_, (_, class))| known(class)).collect()
    };
    let mut free = of(Term::Free);
    free.push(known(UsageClass::Search));
    let mut denied = of(Term::Denied);
    denied.retain(|token| token.known().is_none_or(|class| !on_offer(class)));
    let mut licenses = vec![License {
        permits: Statements { usage: Some(free), ..Statements::default() },
        prohibits: Statements { usage: (!denied.is_empty()).then_some(denied), ..Statements::default() },
        ..License::default()
    }];
    let mut prices: Vec<Option<Money>> = Vec::new();
    for term in uses {
        let Term::Sold(price) = term else { continue };
        if prices.contains(price) {
            continue;
        }
        prices.push(*price);
        let amount =
            price.map(|price| Amount { decimal: decimal(i128::from(price.nano)), currency: price.currency });
        licenses.push(License {
            permits: Statements { usage: Some(of(*term)), ..Statements::default() },
            payment: Some(Payment {
                kind: Some(Token::Known(PaymentType::Crawl)),
                amount,
                ..Payment::default()
            }),
            ..License::default()
        });
    }
    for license in offers {
        if !licenses.contains(license) {
            licenses.push(License::clone(license));
        }
    }
    licenses
}

/// `/.well-known/tdmrep.json`; `None` if there is nothing to say, or it cannot be said.
pub(super) fn tdmrep(ground: &Ground<'_>, unsaid: &mut Vec<Unsaid>) -> Option<String> {
    let values = ground.values(|work| {
        let is_reserved = reservation(&MINING.map(|purpose| ground.asker.anybody(purpose, work)))?;
        let policy = work.licence.as_deref().filter(|_| is_reserved).map(str::to_owned);
        Some((is_reserved, policy))
    });
    let list =
        ground.cells.list(&values, &Reading { default: None, least: &|_, _| 0, wins: None, others: &[] });
    if !list.unsaid.is_empty() {
        let why = "what is reserved cannot be told from what is not".to_owned();
        unsaid.push(Unsaid { signal: Signal::Tdmrep, why });
        return None;
    }
    // There the first rule that matches counts.
    let mut said: Vec<_> = list.said.iter().collect();
    said.sort_by_key(|said| (std::cmp::Reverse(said.octets()), said.region));
    let mut rules = Vec::new();
    for said in said {
        // Where no rule of the policy speaks, nothing can be said within what is reserved: it stays reserved.
        let Some((is_reserved, policy)) = &said.value else { continue };
        for location in said.region.patterns(0) {
            match tdmrep::Rule::new(&location, *is_reserved, policy.as_deref()) {
                Ok(rule) => rules.push(rule),
                Err(problem) => unsaid.push(Unsaid { signal: Signal::Tdmrep, why: problem.to_string() }),
            }
        }
    }
    (!rules.is_empty()).then(|| format!("{:#}\n", tdmrep::Rules::new(rules).to_json()))
}

/// Whether rights are reserved: where some mining is refused or sold. They are not where all of it is given freely.
pub(crate) fn reservation(mining: &[Stand]) -> Option<bool> {
    if mining.iter().any(|stand| stand.deny || stand.charge) {
        return Some(true);
    }
    mining.iter().all(Stand::is_given).then_some(false)
}
