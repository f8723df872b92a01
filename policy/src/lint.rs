//! What a site publishes, beside what its policy does: [`lint`].
//!
//! Published texts are read as crawlers read them: by the protocols' own evaluators, at concrete paths. The policy is asked by
//! its own rules. Where a signal promises what is refused or sold, refuses what is given, names another price or licence, cannot
//! be read, or where two signals say different things, that is a [`Finding`].
//!
//! Signals that are addressed to everybody (documents, fields, preferences) are compared with the terms that stand open to
//! everybody who comes for a purpose. A rule that names crawlers or operators is an agreement with them, and robots.txt is where
//! it shows. Where no rule speaks, nothing is contradicted: the policy lets that pass without having said so.

mod documents;
mod paths;
mod readers;
mod response;

use std::collections::HashMap;

use crate::publish::stand::{Asker, Stand};
use crate::{Money, PolicySnapshot, Purpose, Work};

pub use crate::publish::{Origin, Signal};

/// Findings in one report; more are left out, and [`Report::is_cut`] says so.
pub const FINDINGS_MAX: usize = 1_000;

/// A text that was published, with the name that findings show for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// A path or URL.
    pub name: String,
    /// The text.
    pub bytes: Vec<u8>,
}

/// An RSL document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LicenseText {
    /// Where it was found, if that is known: declarations name it so.
    pub url: Option<String>,
    /// The document.
    pub text: Text,
}

/// The head of a response, and its page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseText {
    /// The name that findings show for it.
    pub name: String,
    /// Path and query that were asked for.
    pub target: String,
    /// Names and values of its fields, as often as each is there.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The page, if it is HTML.
    pub html: Option<String>,
}

/// All that a site publishes, or as much of it as was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    /// robots.txt.
    pub robots: Option<Text>,
    /// `/.well-known/tdmrep.json`.
    pub tdmrep: Option<Text>,
    /// RSL documents.
    pub licenses: Vec<LicenseText>,
    /// Responses.
    pub responses: Vec<ResponseText>,
}

/// What is wrong with a signal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// It says that something is allowed or free, and it is refused or sold.
    PromisesMore,
    /// It says that something is refused, reserved or sold, and it is given.
    RefusesMore,
    /// It names another price.
    PriceDiffers,
    /// It names another licence.
    LicenceDiffers,
    /// It cannot be read, and so says nothing.
    Malformed,
    /// It says something else than another signal.
    Conflict,
    /// A note: what it says is what the policy says, but its rules only observe.
    NotEnforced,
    /// A note: something to look at that contradicts nothing.
    Remark,
}

impl Kind {
    /// All of them, in the order of documentation.
    pub const ALL: [Kind; 8] = [
        Kind::PromisesMore,
        Kind::RefusesMore,
        Kind::PriceDiffers,
        Kind::LicenceDiffers,
        Kind::Malformed,
        Kind::Conflict,
        Kind::NotEnforced,
        Kind::Remark,
    ];

    /// The word of tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::PromisesMore => "promises-more",
            Kind::RefusesMore => "refuses-more",
            Kind::PriceDiffers => "price-differs",
            Kind::LicenceDiffers => "licence-differs",
            Kind::Malformed => "malformed",
            Kind::Conflict => "conflict",
            Kind::NotEnforced => "not-enforced",
            Kind::Remark => "remark",
        }
    }

    /// Whether it is a contradiction; the others are notes.
    pub fn is_contradiction(self) -> bool {
        !matches!(self, Kind::NotEnforced | Kind::Remark)
    }
}

/// One finding, however many paths it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Which signal.
    pub signal: Signal,
    /// Where it stands: the text's name, and its line if that is known.
    pub place: String,
    /// Whom it is about: crawlers, or a use.
    pub who: String,
    /// A path that shows it.
    pub path: String,
    /// What the signal says.
    pub says: String,
    /// What is enforced.
    pub enforced: String,
    /// How many other paths show it.
    pub others: usize,
}

/// A row of the table: what every signal says to some crawlers about a path, beside what is enforced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The crawlers, by token: all those to whom policy and robots.txt speak alike.
    pub crawlers: Vec<String>,
    /// What they come for; `None` for control tokens.
    pub purpose: Option<Purpose>,
    /// The path.
    pub path: String,
    /// What is enforced.
    pub enforced: String,
    /// The rule, or one of them.
    pub rule: Option<String>,
    /// What each signal says that says something.
    pub says: Vec<(Signal, String)>,
}

/// What [`lint`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Contradictions first.
    pub findings: Vec<Finding>,
    /// The table.
    pub rows: Vec<Row>,
    /// Whether there were more findings.
    pub is_cut: bool,
}

impl Report {
    /// The contradictions.
    pub fn contradictions(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.kind.is_contradiction())
    }
}

/// Compares what a site publishes with its policy. Time grows with paths times rules, both of which are bounded.
pub fn lint(policy: &PolicySnapshot, origin: &Origin, texts: &Texts) -> Report {
    compared(policy, origin, texts, true)
}

/// The same without the table.
pub fn find(policy: &PolicySnapshot, origin: &Origin, texts: &Texts) -> Vec<Finding> {
    compared(policy, origin, texts, false).findings
}

fn compared(policy: &PolicySnapshot, origin: &Origin, texts: &Texts, with_rows: bool) -> Report {
    let mut report = Collector::default();
    let read = documents::Read::new(texts, &mut report);
    let asker = Asker::new(policy, origin.scheme(), origin.host());
    let paths = paths::witnesses(policy, origin, texts, &read);
    let places: Vec<Place<'_>> = paths
        .iter()
        .filter_map(|path| Some(Place { path, work: asker.work(path).filter(|work| !work.always_free)? }))
        .collect();
    let readers = readers::Readers::new(policy, read.robots.as_ref());
    let scene = Scene { policy, origin, asker, read, places };
    readers.compare(&scene, &mut report);
    documents::compare(&scene, &mut report);
    for response in &texts.responses {
        response::compare(&scene, response, &mut report);
    }
    let rows = if with_rows { readers.rows(&scene) } else { Vec::new() };
    report.finish(rows)
}

/// Whether a response field, its name in lower case, may say something that is compared here. For every response: cheap.
pub fn speaks(name: &str, value: &[u8]) -> bool {
    match name {
        // Most links are about styles and scripts.
        "link" => value.windows(7).any(|part| part.eq_ignore_ascii_case(b"license")),
        "content-usage" | "tdm-reservation" | "tdm-policy" | "crawler-price" | "x-robots-tag" => true,
        _ => false,
    }
}

/// Compares one response's head with the policy: what drift is counted by. Nothing else that the site publishes is known.
pub fn lint_response(policy: &PolicySnapshot, origin: &Origin, response: &ResponseText) -> Report {
    let mut report = Collector::default();
    let nothing_else = Texts::default();
    let read = documents::Read::new(&nothing_else, &mut report);
    let asker = Asker::new(policy, origin.scheme(), origin.host());
    let scene = Scene { policy, origin, asker, read, places: Vec::new() };
    response::compare(&scene, response, &mut report);
    report.finish(Vec::new())
}

/// Everything that is compared.
struct Scene<'a> {
    policy: &'a PolicySnapshot,
    origin: &'a Origin,
    asker: Asker<'a>,
    read: documents::Read<'a>,
    places: Vec<Place<'a>>,
}

/// A path at which signals are read and the policy is asked.
struct Place<'a> {
    path: &'a str,
    work: Work,
}

/// What a signal says about a use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Word {
    /// Allowed and free.
    Given,
    /// For money, at this price if it says one.
    Sold(Option<Money>),
    /// Not without the owner's leave: a reservation, a preference against it. A price is a way to get that leave.
    Reserved,
    /// Not at all.
    Refused,
}

impl Word {
    /// What is wrong with it, if this is what the policy says.
    fn against(self, stand: &Stand) -> Option<Kind> {
        match self {
            Word::Given => (stand.deny || stand.charge).then_some(Kind::PromisesMore),
            Word::Sold(_) if stand.is_denied() => Some(Kind::PromisesMore),
            Word::Sold(_) if stand.is_given() => Some(Kind::RefusesMore),
            Word::Sold(Some(price)) => {
                (stand.charge && stand.price != Some(price)).then_some(Kind::PriceDiffers)
            }
            Word::Sold(None) => None,
            Word::Reserved => stand.is_given().then_some(Kind::RefusesMore),
            Word::Refused => (stand.is_given() || stand.is_sold()).then_some(Kind::RefusesMore),
        }
    }

    /// Whether it holds something back.
    fn withholds(self) -> bool {
        self != Word::Given
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Word::Given => f.write_str("allowed"),
            Word::Sold(Some(price)) => write!(f, "for {price}"),
            Word::Sold(None) => f.write_str("for money"),
            Word::Reserved => f.write_str("reserved"),
            Word::Refused => f.write_str("refused"),
        }
    }
}

/// What is enforced, for a person.
fn in_words(stand: &Stand) -> String {
    let price = || stand.price.map_or_else(|| "charged".to_owned(), |price| format!("charged {price}"));
    let all = [
        (stand.free, "allowed".to_owned()),
        (stand.charge, price()),
        (stand.deny, "refused".to_owned()),
        (stand.silent, "allowed, as no rule speaks of it".to_owned()),
    ];
    let said: Vec<String> = all.into_iter().filter(|(is_said, _)| *is_said).map(|(_, words)| words).collect();
    let words = said.join(" or ");
    let rule = stand.rule.as_deref().map(|rule| format!(" (rule \"{rule}\")")).unwrap_or_default();
    let observed = if stand.enforced || stand.is_silent() { "" } else { ", observed only" };
    format!("{words}{rule}{observed}")
}

/// What findings are told apart by: one is about many paths.
type Key = (Kind, Signal, String, String, String);

/// Gathers findings.
#[derive(Default)]
struct Collector {
    findings: Vec<Finding>,
    index: HashMap<Key, usize>,
    is_cut: bool,
}

impl Collector {
    /// Compares a word with what is enforced.
    fn judge(&mut self, signal: Signal, place: &str, who: &str, path: &str, word: Word, stand: &Stand) {
        if stand.always_free {
            return;
        }
        match word.against(stand) {
            Some(kind) => self.add(kind, signal, place, who, path, &word.to_string(), &in_words(stand)),
            None if word.withholds() => self.note_if_observed(signal, place, path, stand),
            None => {}
        }
    }

    /// Notes that something is stated and not enforced.
    fn note_if_observed(&mut self, signal: Signal, place: &str, path: &str, stand: &Stand) {
        if !stand.enforced && (stand.deny || stand.charge) {
            let enforced = "the rules only observe: nothing is refused or charged";
            self.add(Kind::NotEnforced, signal, place, "all", path, "stated", enforced);
        }
    }

    #[allow(clippy::too_many_arguments)] // A finding has seven parts, and all differ.
    fn add(
        &mut self,
        kind: Kind,
        signal: Signal,
        place: &str,
        who: &str,
        path: &str,
        says: &str,
        enforced: &str,
    ) {
        let key = (kind, signal, place.to_owned(), who.to_owned(), says.to_owned());
        if let Some(index) = self.index.get(&key) {
            self.findings[*index].others += 1;
        } else if self.findings.len() == FINDINGS_MAX {
            self.is_cut = true;
        } else {
            self.index.insert(key, self.findings.len());
            self.findings.push(Finding {
                kind,
                signal,
                place: place.to_owned(),
                who: who.to_owned(),
                path: path.to_owned(),
                says: says.to_owned(),
                enforced: enforced.to_owned(),
                others: 0,
            });
        }
    }

    fn malformed(&mut self, signal: Signal, place: &str, why: &str) {
        self.add(Kind::Malformed, signal, place, "all", "/", why, "");
    }

    fn finish(self, rows: Vec<Row>) -> Report {
        let mut findings = self.findings;
        findings.sort_by_key(|finding| finding.kind);
        Report { findings, rows, is_cut: self.is_cut }
    }
}
