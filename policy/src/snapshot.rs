//! A policy, compiled: what the code sees. Made from texts by [`PolicySnapshot::compile`].

use std::sync::Arc;

use crate::glob::PathGlob;
use crate::pattern::HostPattern;
use crate::protocol::crawl_price::is_always_free;
use crate::publish::Switches;
use crate::rule::{Rule, Rules};
use crate::work::{canonical_host, canonical_path, canonical_query, other_readings};
use crate::{
    AmbiguousPath, Currency, Diagnostic, Directory, Licence, LicenceServer, Limit, Money, PaymentWay, Work,
    hex,
};

/// Whether rules only show what they would do, or do it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// Meter and quote, refuse nothing.
    #[default]
    Observe,
    /// Refuse, limit and charge.
    Enforce,
}

impl Mode {
    /// The word used in policies and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        }
    }

    /// The mode of that word.
    pub fn parse(word: &str) -> Option<Mode> {
        [Mode::Observe, Mode::Enforce].into_iter().find(|mode| mode.as_str() == word)
    }
}

/// A text with the name that diagnostics show for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// A path or `preset:news`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Finds an included text: given what stands in `include` and the including source's name.
///
/// Presets never reach it. An `Err` is shown at the place of the `include`.
pub type Include<'a> = dyn FnMut(&str, &str) -> Result<Source, String> + 'a;

/// An operator's account in this policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The operator.
    pub operator: Arc<str>,
    /// What may be owed in a calendar month (UTC).
    pub credit_limit: Money,
    /// Prices up to this are agreed by contract: no price header needed.
    pub accept: Option<Money>,
}

/// A holder of rights that the policy names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The identifier used in records and statements.
    pub id: Arc<str>,
    /// The name for people.
    pub name: Arc<str>,
}

/// What the policy says of a host.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) host: HostPattern,
    pub(crate) holder: Option<Arc<str>>,
    pub(crate) licence: Option<Arc<str>>,
    pub(crate) contact: Option<Arc<str>>,
    pub(crate) query: Vec<String>,
    pub(crate) publish: Switches,
}

/// What the policy says of a set of paths.
#[derive(Debug)]
pub(crate) struct WorkEntry {
    pub(crate) host: HostPattern,
    pub(crate) path: PathGlob,
    pub(crate) id: Option<Arc<str>>,
    pub(crate) holder: Option<Arc<str>>,
    pub(crate) licence: Option<Arc<str>>,
}

/// A compiled policy. One snapshot serves a whole fetch.
#[derive(Debug)]
pub struct PolicySnapshot {
    pub(crate) sources: Vec<Source>,
    pub(crate) digest: Arc<str>,
    pub(crate) currency: Currency,
    pub(crate) mode: Mode,
    pub(crate) directory: Directory,
    pub(crate) accounts: Vec<Account>,
    pub(crate) payments: Vec<PaymentWay>,
    pub(crate) holders: Vec<Holder>,
    /// The narrowest host first.
    pub(crate) sites: Vec<Site>,
    /// The narrowest host and path first.
    pub(crate) works: Vec<WorkEntry>,
    pub(crate) rules: Rules,
    pub(crate) licence: Option<Arc<str>>,
    pub(crate) contact: Option<Arc<str>>,
    /// Licence documents that the policy points to, as host and path: always free.
    pub(crate) licence_documents: Vec<String>,
    pub(crate) count_words: bool,
    pub(crate) publish: Switches,
    pub(crate) licences: Vec<Licence>,
    pub(crate) licence_server: LicenceServer,
    /// Whether a rule lets the origin set the price.
    pub(crate) origin_prices: bool,
}

impl PolicySnapshot {
    /// The policy of those who wrote none: meter everything, refuse nothing.
    pub fn observe_only() -> PolicySnapshot {
        let text = "# No policy was given: every fetch of an AI crawler is metered, none is refused or charged.\n\
                    version = 1\nmode = \"observe\"\n";
        let source = Source { name: "built-in:observe".to_owned(), text: text.to_owned() };
        let compiled =
            PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing is included".to_owned()));
        compiled.expect("a test compiles the built-in policy").0
    }

    /// Compiles a policy and all that it includes. Warnings come with success.
    ///
    /// `mode` replaces the policy's own; a rule that names its mode keeps it.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn compile(
        source: Source,
        mode: Option<Mode>,
        include: &mut Include<'_>,
    ) -> Result<(PolicySnapshot, Vec<Diagnostic>), Vec<Diagnostic>> {
        crate::config::compile(source, mode, include)
    }

    /// The name of these texts in this mode: `sha256:` and 64 hex digits.
    ///
    /// Hashed are the mode and each text, each led by its length in bytes as eight bytes, most significant first. The
    /// texts' names are not part of it: the same policy in another folder is the same policy.
    pub fn digest_of(mode: Mode, sources: &[Source]) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for text in std::iter::once(mode.as_str()).chain(sources.iter().map(|source| source.text.as_str())) {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        format!("sha256:{}", hex(context.finish().as_ref()))
    }

    /// The texts that this policy was made of, the policy itself first; they enter the ledger before it takes effect.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// `sha256:` and 64 hex digits over the texts and the mode: the policy's name in every record.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// The currency of all its prices.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The mode of rules that name none.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its crawlers.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The accounts.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The account of an operator.
    pub fn account(&self, operator: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| &*account.operator == operator)
    }

    /// The holders that it names.
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Names of all rules, for label values that must be known beforehand; `default` and `always-free` come first.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<str>> {
        [crate::terms::default_rule(), crate::terms::always_free_rule()]
            .into_iter()
            .chain(self.rules.rules.iter().map(|rule| &rule.name))
    }

    /// Whether any rule is enforced; where none is, nothing may be refused.
    pub fn enforces(&self) -> bool {
        self.rules.rules.iter().any(Rule::is_enforced)
    }

    /// The budgets of all rules.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.rules.rules.iter().filter_map(|rule| rule.limit.as_ref())
    }

    /// Words are counted everywhere, not only where a rule is priced by them.
    pub fn count_words(&self) -> bool {
        self.count_words
    }

    /// The work that a request names.
    ///
    /// `host` as in `Host` or `:authority`; `target` is path and query as they came.
    ///
    /// # Errors
    /// The path could be read in two ways.
    pub fn work(&self, scheme: &str, host: &str, target: &str) -> Result<Work, AmbiguousPath> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let ambiguous = |path: &str, why| AmbiguousPath { path: path.chars().take(256).collect(), why };
        let host = canonical_host(scheme, host).map_err(|why| ambiguous(host, why))?;
        let canonical = canonical_path(path).map_err(|why| ambiguous(path, why))?;
        for reading in other_readings(path, &canonical).map_err(|why| ambiguous(path, why))? {
            if !self.speaks_alike(&host, &canonical, &reading) {
                let why =
                    "some servers read another path from it, about which the policy says something else";
                return Err(ambiguous(path, why));
            }
        }
        let site = self.site(&host);
        let query = match site {
            Some(site) if !site.query.is_empty() && !query.is_empty() => {
                canonical_query(query, &site.query).map_err(|why| ambiguous(path, why))?
            }
            _ => String::new(),
        };
        let entry =
            self.works.iter().find(|entry| entry.path.matches(&canonical) && entry.host.matches(&host));
        let mut locator = String::with_capacity(host.len() + canonical.len() + 1 + query.len());
        locator.push_str(&host);
        locator.push_str(&canonical);
        let always_free = is_always_free(&canonical) || self.licence_documents.contains(&locator);
        if !query.is_empty() {
            locator.push('?');
            locator.push_str(&query);
        }
        let url = [scheme, "://", &locator].concat();
        let holder =
            entry.and_then(|entry| entry.holder.as_ref()).or(site.and_then(|site| site.holder.as_ref()));
        let licence = entry
            .and_then(|entry| entry.licence.as_ref())
            .or(site.and_then(|site| site.licence.as_ref()))
            .or(self.licence.as_ref());
        Ok(Work {
            id: entry.and_then(|entry| entry.id.as_deref()).map_or(locator, str::to_owned),
            host: Arc::from(host),
            path: canonical,
            url,
            holder: holder.cloned(),
            licence: licence.cloned(),
            always_free,
        })
    }

    /// Whether the same rules, in the same ways, and the same entry are about both paths: for every crawler the answer is
    /// the same.
    fn speaks_alike(&self, host: &str, one: &str, other: &str) -> bool {
        let alike = |host_is: &HostPattern, path: &PathGlob| {
            path.matches(one) == path.matches(other) || !host_is.matches(host)
        };
        let is_free =
            |path: &str| is_always_free(path) || self.licence_documents.contains(&format!("{host}{path}"));
        self.rules.order.iter().all(|alternative| alike(&alternative.host, &alternative.path))
            && self.works.iter().all(|entry| alike(&entry.host, &entry.path))
            && is_free(one) == is_free(other)
    }

    /// What a site publishes through us; nothing, unless the policy asks for it, but for the licences that are on offer there:
    /// whoever lacks one is told where they are.
    pub fn published(&self, host: &str) -> Switches {
        let asked = self.site(host).map_or(self.publish, |site| site.publish);
        let has_offers = self.licences.iter().any(|licence| licence.covers_host(host));
        Switches { rsl: asked.rsl || has_offers, ..asked }
    }

    /// Whether any site publishes anything.
    pub fn publishes(&self) -> bool {
        self.publish.any() || self.sites.iter().any(|site| site.publish.any())
    }

    /// Whom to ask for terms about a host.
    pub fn contact(&self, host: &str) -> Option<&Arc<str>> {
        self.site(host).and_then(|site| site.contact.as_ref()).or(self.contact.as_ref())
    }

    fn site(&self, host: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.host.matches(host))
    }
}
