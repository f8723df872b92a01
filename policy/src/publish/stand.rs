//! What a policy says about one path, to a crawler or to anybody who comes for a purpose: asked of the rules that are enforced.

use std::cell::OnceCell;
use std::sync::{Arc, LazyLock};

use crate::pattern::MediaPattern;
use crate::terms::always_free_rule;
use crate::{
    Assurance, Class, Crawler, CrawlerRow, Evidence, Mode, Money, PolicySnapshot, Purpose, Unit, Verdict,
    Verification, Work,
};

/// All that rules say about a path when the content type, and how sure we are of who asks, are not known yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stand {
    /// It may be that no rule speaks of it: then it is allowed, but nobody said so.
    pub(crate) silent: bool,
    pub(crate) free: bool,
    pub(crate) charge: bool,
    pub(crate) deny: bool,
    /// The price of a fetch, if it is the same for whoever pays, and known beforehand.
    pub(crate) price: Option<Money>,
    /// Whether a rule that says this is enforced, and not only observed.
    pub(crate) enforced: bool,
    /// A path that tells crawlers what they may do: free whatever a rule says.
    pub(crate) always_free: bool,
    /// The rule of the first thing said, to name one.
    pub(crate) rule: Option<Arc<str>>,
}

impl Stand {
    /// Nothing but denials.
    pub(crate) fn is_denied(&self) -> bool {
        self.deny && !self.free && !self.charge && !self.silent
    }

    /// Denials and prices, nothing that is free.
    pub(crate) fn is_reserved(&self) -> bool {
        (self.deny || self.charge) && !self.free && !self.silent
    }

    /// A rule gives it freely, and none says anything else.
    pub(crate) fn is_given(&self) -> bool {
        self.free && !self.charge && !self.deny && !self.silent
    }

    /// It may be had for money, and only so.
    pub(crate) fn is_sold(&self) -> bool {
        self.charge && !self.free && !self.deny && !self.silent
    }

    /// No rule speaks of it.
    pub(crate) fn is_silent(&self) -> bool {
        !self.free && !self.charge && !self.deny
    }

    fn add(&mut self, said: Option<(Verdict, Option<Money>, Mode, &Arc<str>)>) {
        let Some((verdict, price, mode, rule)) = said else {
            self.silent = true;
            return;
        };
        match verdict {
            Verdict::Allow => self.free = true,
            Verdict::Deny => self.deny = true,
            Verdict::Charge => {
                self.price = if self.charge { self.price.filter(|own| Some(*own) == price) } else { price };
                self.charge = true;
            }
        }
        self.enforced |= mode == Mode::Enforce;
        self.rule.get_or_insert_with(|| rule.clone());
    }
}

/// Rungs on which a crawler can be that is what it says.
const HONEST: [Assurance; 4] =
    [Assurance::Claimed, Assurance::Network, Assurance::Signed, Assurance::Licensed];

/// Asks a policy about a site's paths.
#[derive(Debug)]
pub(crate) struct Asker<'a> {
    policy: &'a PolicySnapshot,
    scheme: &'a str,
    host: &'a str,
    /// A content type for each that rules ask for, and one that none asks for.
    media: OnceCell<Vec<String>>,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(policy: &'a PolicySnapshot, scheme: &'a str, host: &'a str) -> Asker<'a> {
        Asker { policy, scheme, host, media: OnceCell::new() }
    }

    fn media(&self) -> &[String] {
        self.media.get_or_init(|| {
            let mut media = vec!["x-none/x-none".to_owned()];
            let order = &self.policy.rules.order;
            for pattern in order.iter().filter_map(|alternative| alternative.media.as_ref()) {
                let example = match pattern {
                    MediaPattern::Exact(exact) => exact.clone(),
                    MediaPattern::Family(family) => format!("{family}x-any"),
                };
                if !media.contains(&example) {
                    media.push(example);
                }
            }
            media
        })
    }

    /// The work of a path; `None` if it has no single one.
    pub(crate) fn work(&self, path: &str) -> Option<Work> {
        self.policy.work(self.scheme, self.host, path).ok()
    }

    /// What is said to a crawler that is what it says, however well that is known.
    pub(crate) fn row(&self, row: &Arc<CrawlerRow>, work: &Work) -> Stand {
        let on = |assurance| Crawler { row: Arc::clone(row), assurance, evidence: Evidence::None };
        let crawlers = HONEST.map(on);
        self.ask(&crawlers, work, None)
    }

    /// What is said to anybody who comes for a purpose, whom no rule names, who is known and has no licence yet: the terms
    /// that stand open to everybody.
    pub(crate) fn anybody(&self, purpose: Purpose, work: &Work) -> Stand {
        self.ask(std::slice::from_ref(anybody(purpose)), work, None)
    }

    /// The same about a response whose content type is known.
    pub(crate) fn anybody_with(&self, purpose: Purpose, work: &Work, content_type: Option<&str>) -> Stand {
        self.ask(std::slice::from_ref(anybody(purpose)), work, Some(content_type.unwrap_or_default()))
    }

    fn ask(&self, crawlers: &[Crawler], work: &Work, content_type: Option<&str>) -> Stand {
        let mut stand = Stand::default();
        if work.always_free {
            let rule = Some(always_free_rule().clone());
            return Stand { always_free: true, silent: true, rule, ..Stand::default() };
        }
        for crawler in crawlers {
            match content_type {
                Some(content_type) => stand.add(self.first(crawler, work, content_type)),
                None => self.media().iter().for_each(|media| stand.add(self.first(crawler, work, media))),
            }
        }
        stand
    }

    /// The rule that decides, as [`crate::release`] finds it.
    fn first<'s>(
        &'s self,
        crawler: &'s Crawler,
        work: &'s Work,
        content_type: &str,
    ) -> Option<(Verdict, Option<Money>, Mode, &'s Arc<str>)> {
        let mut candidates = self.policy.rules.candidates(crawler, work);
        let (rule, _) =
            candidates.find(|(_, media)| media.is_none_or(|media| media.matches(content_type)))?;
        let price = rule.charge.as_ref();
        let price = price.filter(|charge| charge.unit == Unit::Fetch && !charge.origin_price);
        Some((rule.verdict, price.map(|charge| charge.price), rule.mode, &rule.name))
    }
}

/// Somebody of a purpose whom no rule can name.
fn anybody(purpose: Purpose) -> &'static Crawler {
    static ANYBODY: LazyLock<[Crawler; Purpose::ALL.len()]> = LazyLock::new(|| {
        Purpose::ALL.map(|purpose| {
            let row = CrawlerRow {
                token: Arc::from(""),
                operator: Arc::from(""),
                operator_name: Arc::from(""),
                class: Class::Ai,
                purpose,
                verification: Verification::default(),
                source: Arc::from(""),
            };
            Crawler { row: Arc::new(row), assurance: Assurance::Signed, evidence: Evidence::None }
        })
    });
    &ANYBODY[purpose as usize]
}

/// What the name of a control token is asked for: what may be done with what another crawler of the operator's has fetched.
pub(crate) fn purposes_of_token(row: &CrawlerRow) -> &'static [Purpose] {
    match &*row.token {
        // "whether content … may be used for training future generations of Gemini models … and for grounding".
        "Google-Extended" => &[Purpose::Train, Purpose::Ground],
        "Webzio-Extended" => &[Purpose::Data],
        _ => match row.purpose {
            Purpose::Unknown | Purpose::Train => &[Purpose::Train],
            Purpose::Search => &[Purpose::Search],
            Purpose::Ground => &[Purpose::Ground],
            Purpose::Agent => &[Purpose::Agent],
            Purpose::Data => &[Purpose::Data],
        },
    }
}
