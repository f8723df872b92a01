//! Documents that are addressed to everybody, `license.xml` and `tdmrep.json`, and what the texts are read into.

use super::{Collector, Kind, Place, Scene, Signal, Texts, Word};
use crate::protocol::robots::{Kind as LineKind, RobotsTxt, Target};
use crate::protocol::rsl::{self, Asset, Decision, Denial, Document, UsageClass, Use, UserClass};
use crate::protocol::tdmrep::{Declaration, Rules, Technique, resolve};
use crate::publish::LICENSE_PATH;
use crate::publish::stand::Stand;
use crate::{Purpose, Work};

/// Uses that RSL has a word for, and the purpose that stands for each (as `docs/signals.md` has it).
const USES: [(Purpose, UsageClass); 3] = [
    (Purpose::Train, UsageClass::AiTrain),
    (Purpose::Ground, UsageClass::AiInput),
    (Purpose::Search, UsageClass::AiIndex),
];

/// Purposes that are text and data mining.
const MINING: [Purpose; 4] = [Purpose::Train, Purpose::Ground, Purpose::Search, Purpose::Data];

/// The texts, read.
pub(super) struct Read<'a> {
    pub(super) robots: Option<(String, RobotsTxt)>,
    pub(super) tdmrep: Option<(&'a str, Rules)>,
    pub(super) licenses: Vec<(&'a str, Document)>,
    /// URLs at which documents were found.
    pub(super) license_urls: Vec<String>,
}

impl<'a> Read<'a> {
    pub(super) fn new(texts: &'a Texts, report: &mut Collector) -> Read<'a> {
        let robots = texts.robots.as_ref().map(|text| (text.name.clone(), RobotsTxt::parse(&text.bytes)));
        if let Some((name, robots)) = &robots {
            for remark in robots.remarks() {
                let place = format!("{name}:{}", remark.line);
                report.add(Kind::Remark, Signal::Robots, &place, "all", "/", &remark.kind.to_string(), "");
            }
        }
        let tdmrep = texts.tdmrep.as_ref().and_then(|text| match Rules::parse(&text.bytes) {
            Ok(rules) => {
                for problem in rules.problems() {
                    let place = format!("{}: rule {}", text.name, problem.rule + 1);
                    report.malformed(Signal::Tdmrep, &place, &problem.kind.to_string());
                }
                Some((text.name.as_str(), rules))
            }
            Err(error) => {
                report.malformed(Signal::Tdmrep, &text.name, &error.to_string());
                None
            }
        });
        let mut licenses = Vec::new();
        let mut license_urls = Vec::new();
        for license in &texts.licenses {
            license_urls.extend(license.url.clone());
            match Document::parse(&license.text.bytes) {
                Ok(document) => licenses.push((license.text.name.as_str(), document)),
                Err(error) => report.malformed(Signal::Rsl, &license.text.name, &error.to_string()),
            }
        }
        Read { robots, tdmrep, licenses, license_urls }
    }

    /// All patterns that stand in the texts, as in robots.txt.
    pub(super) fn patterns(&self, max: usize) -> Vec<String> {
        let mut patterns = Vec::new();
        if let Some((_, robots)) = &self.robots {
            for line in robots.lines() {
                let text = line.text();
                match line.kind {
                    LineKind::Allow | LineKind::Disallow => patterns.push(text.into_owned()),
                    LineKind::Other if line.is("content-usage") && text.starts_with('/') => {
                        patterns.extend(text.split([' ', '\t']).next().map(str::to_owned));
                    }
                    _ => {}
                }
            }
        }
        if let Some((_, rules)) = &self.tdmrep {
            patterns.extend(rules.rules().iter().map(|rule| rule.location().to_owned()));
        }
        for content in self.licenses.iter().flat_map(|(_, document)| &document.contents) {
            let path = content
                .url
                .split_once("://")
                .map_or(content.url.as_str(), |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
            patterns.push(path.to_owned());
        }
        patterns.sort();
        patterns.dedup();
        patterns.truncate(max);
        patterns
    }
}

/// Compares both documents with the policy.
pub(super) fn compare(scene: &Scene<'_>, report: &mut Collector) {
    for place in &scene.places {
        for (name, document) in &scene.read.licenses {
            for (purpose, usage) in USES {
                let stand = scene.asker.anybody(purpose, &place.work);
                if let Some(word) = said(scene, document, usage, place.path) {
                    report.judge(Signal::Rsl, name, usage.as_str(), place.path, word, &stand);
                }
            }
            scene.check_terms(name, document, place, report);
        }
        let Some((name, rules)) = &scene.read.tdmrep else { continue };
        let declaration = rules.about(&Target::new(place.path));
        judge_mining(scene, name, place.path, &place.work, [(Technique::File, declaration)], None, report);
    }
    conflicts(scene, report);
}

/// What a document says of a use.
pub(super) fn said(scene: &Scene<'_>, document: &Document, usage: UsageClass, path: &str) -> Option<Word> {
    let origin = scene.origin.url("");
    let asset = Asset { origin: Some(&origin), path };
    let profiles: Vec<&str> = document
        .contents
        .iter()
        .flat_map(|content| &content.licenses)
        .flat_map(|license| license.reporting.iter().map(|reporting| reporting.profile.as_str()))
        .collect();
    // Whoever runs a crawler is a business, and can report whatever is asked; where it is, nobody knows.
    let wanted = Use { usage, user: Some(UserClass::Commercial), geo: None, reporting_profiles: &profiles };
    let decision = document.evaluate(&asset, &wanted);
    // What a licence of the policy's own grants is granted to whoever has it.
    let is_on_offer =
        |license: &rsl::License| scene.policy.licences().iter().any(|own| own.license() == license);
    if decision.licensed().is_some_and(|licensed| is_on_offer(licensed.license)) {
        return None;
    }
    match decision {
        Decision::Permit(_) => Some(Word::Given),
        Decision::Charge(licensed) => {
            let amount = licensed.license.payment.as_ref().and_then(|payment| payment.amount.as_ref());
            Some(Word::Sold(amount.and_then(|amount| amount.money().ok())))
        }
        Decision::Deny(Denial::Prohibited | Denial::NotPermitted) => Some(Word::Refused),
        Decision::Deny(_) => None,
    }
}

/// Judges what the techniques of TDMRep say together about a work.
pub(super) fn judge_mining(
    scene: &Scene<'_>,
    name: &str,
    path: &str,
    work: &Work,
    said: impl IntoIterator<Item = (Technique, Declaration)>,
    content_type: Option<&str>,
    report: &mut Collector,
) {
    let resolved = resolve(said);
    let Some((is_reserved, _)) = resolved.reservation else { return };
    let ask = |purpose: Purpose| match content_type {
        Some(_) => scene.asker.anybody_with(purpose, work, content_type),
        None => scene.asker.anybody(purpose, work),
    };
    let word = if is_reserved { Word::Reserved } else { Word::Given };
    let stand = merged(&MINING.map(ask));
    report.judge(Signal::Tdmrep, name, "mining", path, word, &stand);
    if let (Some((url, _)), Some(licence)) = (&resolved.policy, &work.licence)
        && **url != **licence
        && (stand.deny || stand.charge)
    {
        let enforced = format!("the policy's licence is {licence}");
        report.add(Kind::LicenceDiffers, Signal::Tdmrep, name, "mining", path, url, &enforced);
    }
}

/// All kinds of mining together.
fn merged(stands: &[Stand]) -> Stand {
    let any = |part: fn(&Stand) -> bool| stands.iter().any(part);
    let withheld = stands.iter().find(|stand| stand.deny || stand.charge);
    Stand {
        silent: any(|stand| stand.silent),
        free: any(|stand| stand.free),
        charge: any(|stand| stand.charge),
        deny: any(|stand| stand.deny),
        price: withheld.and_then(|stand| stand.price),
        enforced: any(|stand| stand.enforced),
        always_free: any(|stand| stand.always_free),
        rule: withheld.or(stands.first()).and_then(|stand| stand.rule.clone()),
    }
}

/// Where RSL gives freely what TDMRep reserves, or the other way round; two documents that differ.
fn conflicts(scene: &Scene<'_>, report: &mut Collector) {
    for place in &scene.places {
        let reserved = scene
            .read
            .tdmrep
            .as_ref()
            .and_then(|(_, rules)| rules.about(&Target::new(place.path)).reservation);
        for (_, usage) in USES {
            let words: Vec<(&str, Word)> = scene
                .read
                .licenses
                .iter()
                .filter_map(|(name, document)| Some((*name, said(scene, document, usage, place.path)?)))
                .collect();
            for (name, word) in &words {
                if reserved == Some(false) && word.withholds() {
                    let other = "tdmrep.json reserves nothing";
                    report.add(
                        Kind::Conflict,
                        Signal::Rsl,
                        name,
                        usage.as_str(),
                        place.path,
                        &word.to_string(),
                        other,
                    );
                }
            }
            if let [(_, first), others @ ..] = &words[..] {
                for (name, word) in others.iter().filter(|(_, word)| word != first) {
                    let other = format!("{first} in {}", words[0].0);
                    report.add(
                        Kind::Conflict,
                        Signal::Rsl,
                        name,
                        usage.as_str(),
                        place.path,
                        &word.to_string(),
                        &other,
                    );
                }
            }
        }
    }
}

impl Scene<'_> {
    /// What the documents say, for the table.
    pub(super) fn documents_say(&self, purpose: Purpose, place: &Place<'_>) -> Vec<(Signal, String)> {
        let mut says = Vec::new();
        if let Some((_, usage)) = USES.iter().find(|(own, _)| *own == purpose) {
            for (_, document) in &self.read.licenses {
                if let Some(word) = said(self, document, *usage, place.path) {
                    says.push((Signal::Rsl, word.to_string()));
                }
            }
        }
        if let Some((_, rules)) = &self.read.tdmrep
            && MINING.contains(&purpose)
            && let Some(is_reserved) = rules.about(&Target::new(place.path)).reservation
        {
            says.push((Signal::Tdmrep, (if is_reserved { Word::Reserved } else { Word::Given }).to_string()));
        }
        says
    }

    /// A declared document is one that was found, or a licence that the policy names.
    pub(super) fn check_licence(&self, name: &str, url: &str, path: &str, report: &mut Collector) {
        let named = || {
            let of_sites = self.policy.sites.iter().filter_map(|site| site.licence.as_ref());
            let of_works = self.policy.works.iter().filter_map(|entry| entry.licence.as_ref());
            self.policy.licence.iter().chain(of_sites).chain(of_works)
        };
        let published = self.policy.published(self.origin.host()).rsl.then(|| self.origin.url(LICENSE_PATH));
        let is_known = published.as_deref() == Some(url)
            || self.read.license_urls.iter().any(|known| known == url)
            || named().any(|licence| **licence == *url);
        if !is_known {
            let enforced = "no licence of this policy, and no document that could be read";
            report.add(Kind::LicenceDiffers, Signal::Rsl, name, "all", path, url, enforced);
        }
    }

    fn check_terms(&self, name: &str, document: &Document, place: &Place<'_>, report: &mut Collector) {
        let is_silent =
            |(purpose, _): (Purpose, UsageClass)| self.asker.anybody(purpose, &place.work).is_silent();
        if USES.into_iter().all(is_silent) {
            return;
        }
        let origin = self.origin.url("");
        let asset = Asset { origin: Some(&origin), path: place.path };
        let wanted = Use {
            usage: UsageClass::Search,
            user: Some(UserClass::Commercial),
            geo: None,
            reporting_profiles: &[],
        };
        let decision = document.evaluate(&asset, &wanted);
        let terms = decision.licensed().and_then(|licensed| licensed.content.terms.as_deref());
        if let (Some(terms), Some(licence)) = (terms, place.work.licence.as_deref())
            && terms != licence
            && terms != rsl::DEFAULT_TERMS
        {
            let enforced = format!("the policy's licence is {licence}");
            report.add(Kind::LicenceDiffers, Signal::Rsl, name, "all", place.path, terms, &enforced);
        }
    }
}
