//! One policy, every signal: robots.txt, `license.xml`, `tdmrep.json` and response fields, made from the rules that are enforced.
//!
//! What each rule becomes in each vocabulary, and what none has a word for, is in `docs/signals.md`. In short: nothing that is
//! published promises more than the rules give, nothing refuses what they allow, and what cannot be said is left out. Signals
//! state the terms of rules whatever their mode.
//!
//! Here nothing asks [`crate::lint`], and it asks nothing here: it reads what is published as a crawler would.

pub(crate) mod documents;
mod fields;
pub(crate) mod longest;
pub(crate) mod region;
pub(crate) mod robots;
pub(crate) mod stand;
mod switches;

use longest::{Cells, Reading};
use robots::Ground;
use stand::Asker;

pub use fields::Field;
pub use switches::Switches;

use crate::protocol::robots::PublishError;
use crate::work::canonical_host;
use crate::{PolicySnapshot, hex, sha256};

/// Where the licence document is published.
pub const LICENSE_PATH: &str = crate::LICENCE_DOCUMENT_PATH;

/// A site's origin.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    scheme: &'static str,
    host: String,
}

impl Origin {
    /// Of scheme and host as in `Host`; `None` if the host is none.
    pub fn new(is_https: bool, host: &str) -> Option<Origin> {
        let scheme = if is_https { "https" } else { "http" };
        Some(Origin { scheme, host: canonical_host(scheme, host).ok()? })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The host in lower case, with its port unless that is the scheme's own.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.host)
    }
}

/// A kind of signal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Signal {
    /// `Allow` and `Disallow`.
    Robots,
    /// `Content-Usage`, as a field or in robots.txt.
    ContentUsage,
    /// `Content-Signal` in robots.txt.
    ContentSignal,
    /// An RSL document, and where it is declared.
    Rsl,
    /// `tdmrep.json`, the `tdm-` fields and elements.
    Tdmrep,
    /// `crawler-price`.
    CrawlerPrice,
    /// `X-Robots-Tag`, and `meta name="robots"`.
    RobotsTag,
}

impl Signal {
    /// All of them, in the order of documentation.
    pub const ALL: [Signal; 7] = [
        Signal::Robots,
        Signal::ContentUsage,
        Signal::ContentSignal,
        Signal::Rsl,
        Signal::Tdmrep,
        Signal::CrawlerPrice,
        Signal::RobotsTag,
    ];

    /// The word of tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Robots => "robots",
            Signal::ContentUsage => "content-usage",
            Signal::ContentSignal => "content-signal",
            Signal::Rsl => "rsl",
            Signal::Tdmrep => "tdmrep",
            Signal::CrawlerPrice => "crawler-price",
            Signal::RobotsTag => "robots-tag",
        }
    }
}

/// Something that holds and could not be said in a vocabulary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsaid {
    /// Where it is missing.
    pub signal: Signal,
    /// What, for a person.
    pub why: String,
}

/// Where the licence document is, if there is one.
#[derive(Clone, Copy)]
enum License<'a> {
    None,
    At(&'a str),
}

/// All that a site publishes besides its response fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// `/license.xml`, if it is asked for and there are terms to state.
    pub license: Option<String>,
    /// `/.well-known/tdmrep.json`, likewise.
    pub tdmrep: Option<String>,
    /// What could not be said.
    pub unsaid: Vec<Unsaid>,
}

/// A name for bytes: the first half of their SHA-256, in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex(&sha256(bytes)[..16])
}

/// A policy about one site, ready to publish.
pub struct Publisher<'a> {
    policy: &'a PolicySnapshot,
    origin: Origin,
    switches: Switches,
    license_url: Option<String>,
    published: Published,
}

impl<'a> Publisher<'a> {
    /// Works out what a policy says about every part of a site. Takes time in the square of its paths (at most 512 regions).
    pub fn new(policy: &'a PolicySnapshot, origin: &'a Origin, switches: Switches) -> Publisher<'a> {
        let mut unsaid = Vec::new();
        let ground = ground(policy, origin, Vec::new());
        if ground.is_none() && switches.any() {
            let why = "the policy has too many paths for this site".to_owned();
            unsaid.push(Unsaid { signal: Signal::Robots, why });
        }
        let wanted = |is_wanted: bool| ground.as_ref().filter(|_| is_wanted);
        let license = wanted(switches.rsl).and_then(|ground| documents::license(ground, origin, &mut unsaid));
        let tdmrep = wanted(switches.tdmrep).and_then(|ground| documents::tdmrep(ground, &mut unsaid));
        let license_url = license.is_some().then(|| origin.url(LICENSE_PATH));
        let published = Published { license, tdmrep, unsaid };
        Publisher { policy, origin: origin.clone(), switches, license_url, published }
    }

    /// The documents.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The URL of the licence document, if there is one.
    pub fn license_url(&self) -> Option<&str> {
        self.license_url.as_deref()
    }

    /// The site's robots.txt with our lines in it, and what could not be said; its own lines stay byte for byte.
    ///
    /// # Errors
    /// A result of which crawlers would not read all.
    pub fn robots(&self, own: &[u8]) -> Result<(Vec<u8>, Vec<Unsaid>), PublishError> {
        let mut unsaid = Vec::new();
        let regions = robots::regions_of(own);
        let wanted = Some(&self.origin).filter(|_| self.switches.robots);
        let Some(ground) = wanted.and_then(|origin| ground(self.policy, origin, regions)) else {
            return Ok((crate::protocol::robots::without_additions(own), unsaid));
        };
        let text = robots::write(&ground, own, self.license(), &mut unsaid)?;
        Ok((text, unsaid))
    }

    /// The response fields of a path; see [`response_fields`].
    pub fn fields(&self, target: &str, content_type: Option<&str>) -> Vec<Field> {
        response_fields(self.policy, &self.origin, self.switches, self.license_url(), target, content_type)
    }

    /// The response fields of all paths that have any, as patterns of robots.txt of which the longest counts, the shortest
    /// first: for servers that set fields by path. What depends on the content type is left out.
    pub fn fields_by_path(&self) -> Vec<(String, Vec<Field>)> {
        let Some(ground) = ground(self.policy, &self.origin, Vec::new()) else { return Vec::new() };
        let origin = (self.origin.scheme, self.origin.host.as_str());
        let values: Vec<Vec<Field>> = ground
            .paths
            .iter()
            .map(|path| fields::fields(self.policy, origin, path, fields::Of::AnyType, self.license()))
            .collect();
        let reading = Reading { default: Vec::new(), least: &|_, _| 0, wins: Some(Vec::new()), others: &[] };
        let list = ground.cells.list(&values, &reading);
        let mut said: Vec<_> = list.said.into_iter().collect();
        said.sort_by_key(|said| (said.octets(), said.region));
        said.into_iter().map(|said| (said.region.patterns(0).swap_remove(0), said.value)).collect()
    }

    fn license(&self) -> License<'_> {
        self.license_url.as_deref().map_or(License::None, License::At)
    }
}

/// The fields that a response gets, whoever asked for it: a cache need not know. `license_url` is where a [`Publisher`] has
/// put the licence document. None, unless the site asks for them. Takes time linear in the rules.
pub fn response_fields(
    policy: &PolicySnapshot,
    origin: &Origin,
    switches: Switches,
    license_url: Option<&str>,
    target: &str,
    content_type: Option<&str>,
) -> Vec<Field> {
    if !switches.headers {
        return Vec::new();
    }
    let license = license_url.map_or(License::None, License::At);
    fields::fields(policy, (origin.scheme, &origin.host), target, fields::Of::Type(content_type), license)
}

/// What the policy speaks of on a site.
fn ground<'a>(
    policy: &'a PolicySnapshot,
    origin: &'a Origin,
    of_site: Vec<region::Region>,
) -> Option<Ground<'a>> {
    let of_rules = policy.rules.order.iter().map(|alternative| (&alternative.host, &alternative.path));
    let of_works = policy.works.iter().map(|entry| (&entry.host, &entry.path));
    let here = of_rules.chain(of_works).filter(|(host, _)| host.matches(&origin.host));
    let offers = policy.licences().iter().filter(|licence| licence.covers_host(&origin.host));
    let of_offers = offers.flat_map(|licence| licence.globs());
    let (regions, word) = region::cells(here.map(|(_, path)| path).chain(of_offers), of_site)?;
    let asker = Asker::new(policy, origin.scheme, &origin.host);
    let paths: Vec<String> = regions.iter().map(|region| region.witness(&word)).collect();
    let works = paths.iter().map(|path| asker.work(path)).collect();
    Some(Ground { policy, asker, cells: Cells::new(regions), paths, works })
}
