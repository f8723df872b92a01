//! The decision table, `docs/decisions.md`: made from the code, and checked against it.
//!
//! Every combination of who asks, for what, on which evidence, what a rule says, what is offered, who would be billed and what
//! comes back is walked through [`identify`], [`admit`] and [`release`]. Each is put into the table's terms (`Case::seen`):
//! where two that look the same there were answered differently, the table would lie, and this test fails. What is left is
//! folded: values of a column that make no difference share a row.
//!
//! `BYLINE_WRITE_DOCS=1 cargo test -p byline-policy --test decision_table` writes the file anew.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read and write the documentation; the crate itself may not"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use policy::protocol::cap::Unlicensed;
use policy::protocol::crawl_price::OriginPrice;
use policy::{
    Admission, Assurance, Class, Crawler, CrawlerRow, Currency, Evidence, Held, Limit, Money, Offer,
    OfferError, PolicySnapshot, Purpose, Refusal, Release, ResponseHead, Source, Standing, Work, admit,
    identify, release,
};

const PRICE: i64 = 10_000_000;
const MOST: i64 = 20_000_000;

fn usd(nano: i64) -> Money {
    Money { nano, currency: Currency::USD }
}

/// What the rule says that decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    Allow,
    Deny,
    Price,
    OriginPrice,
    LicenceOnly,
    LicenceOrPrice,
}

impl Says {
    fn has_price(self) -> bool {
        matches!(self, Says::Price | Says::OriginPrice | Says::LicenceOrPrice)
    }

    fn asks_for_a_licence(self) -> bool {
        matches!(self, Says::LicenceOnly | Says::LicenceOrPrice)
    }
}

/// A rule for the purpose `train`.
#[derive(Clone, Copy, Debug)]
struct RuleCase {
    says: Says,
    limit: bool,
    require: Assurance,
}

const RUNGS: [Assurance; 4] =
    [Assurance::Claimed, Assurance::Network, Assurance::Signed, Assurance::Licensed];

/// Fails to compile when there is a rung that is not in [`RUNGS`].
fn known_rung(rung: Assurance) {
    match rung {
        Assurance::Claimed | Assurance::Network | Assurance::Signed | Assurance::Licensed => {}
    }
}

fn rules() -> Vec<RuleCase> {
    let plain = |says| RuleCase { says, limit: false, require: Assurance::Network };
    let mut rules = vec![plain(Says::Deny), plain(Says::LicenceOnly)];
    // Under `require = "licensed"` whoever holds the licence is asked for no price by the rule before it.
    rules.extend(
        RUNGS[..3].iter().map(|require| RuleCase { require: *require, ..plain(Says::LicenceOrPrice) }),
    );
    for limit in [false, true] {
        rules.push(RuleCase { says: Says::Allow, limit, require: Assurance::Network });
        for require in RUNGS {
            known_rung(require);
            for says in [Says::Price, Says::OriginPrice] {
                rules.push(RuleCase { says, limit, require });
            }
        }
    }
    rules
}

impl RuleCase {
    fn policy(self, mode: &str) -> PolicySnapshot {
        let limit = if self.limit { "limit = { requests = 3, per = \"1h\" }\n" } else { "" };
        let says = match self.says {
            Says::Allow => "allow = true".to_owned(),
            Says::Deny | Says::LicenceOnly => "deny = true".to_owned(),
            Says::Price | Says::LicenceOrPrice => {
                "charge = { price = \"0.01 USD\", per = \"fetch\" }".to_owned()
            }
            Says::OriginPrice => {
                "charge = { price = \"0.01 USD\", per = \"fetch\", max = \"0.02 USD\", origin_price = true }"
                    .to_owned()
            }
        };
        let require = match self.says.has_price() {
            true => format!("require = \"{}\"\n", self.require.as_str()),
            false => String::new(),
        };
        let licence = match self.says.asks_for_a_licence() {
            true => {
                "[[licence_offer]]\nid = \"training\"\npath = \"/**\"\nusage = \"ai-train\"\npayment = \"free\"\n\
                 [[rule]]\nname = \"licensed\"\npurpose = [\"train\"]\nassurance = \"licensed\"\nallow = true\n"
            }
            false => "",
        };
        let text = format!(
            "version = 1\nmode = \"{mode}\"\ncurrency = \"USD\"\n{licence}\
             [[rule]]\nname = \"it\"\npurpose = [\"train\"]\n{says}\n{require}{limit}\
             [[crawler]]\ntoken = \"TestBot\"\noperator = \"nobody\"\npurpose = \"train\"\n\
             [[crawler]]\ntoken = \"CreditBot\"\noperator = \"credit\"\npurpose = \"train\"\n\
             [[crawler]]\ntoken = \"LittleBot\"\noperator = \"little\"\npurpose = \"train\"\n\
             [[crawler]]\ntoken = \"ContractBot\"\noperator = \"contract\"\npurpose = \"train\"\n\
             [[account]]\noperator = \"credit\"\ncredit_limit = \"5 USD\"\n\
             [[account]]\noperator = \"little\"\ncredit_limit = \"5 USD\"\naccept = \"up to 0.001 USD\"\n\
             [[account]]\noperator = \"contract\"\ncredit_limit = \"5 USD\"\naccept = \"up to 5 USD\"\n"
        );
        let source = Source { name: "test".to_owned(), text };
        match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
            Ok((policy, _)) => policy,
            Err(errors) => panic!("{}", policy::render(&errors)),
        }
    }
}

/// What is known of who asks, as the table takes it.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The rung that counts where money moves; none for a spoof.
    rung: Option<Assurance>,
    licence: Shown,
}

/// A licence token that a request shows, or none.
type Shown = Option<Result<(), Unlicensed>>;

/// Every kind of evidence of who asks, with its rung where money moves.
fn evidence() -> Vec<(Evidence, Option<Assurance>)> {
    let signed = |may_pay| Evidence::Signed {
        agent: Arc::from("https://bot.example"),
        keyid: Arc::from("key"),
        may_pay,
    };
    let all = [
        Evidence::None,
        Evidence::Range { source: Arc::from("policy") },
        Evidence::ReverseDns { name: Arc::from("a.bot.example") },
        signed(true),
        signed(false),
        Evidence::Contradicted { by: Arc::from("range") },
    ];
    let rung = |evidence: &Evidence| match evidence {
        // Where money moves, a signature that could be sent again with any other path is a claim.
        Evidence::None | Evidence::Signed { may_pay: false, .. } => Some(Assurance::Claimed),
        Evidence::Range { .. } | Evidence::ReverseDns { .. } => Some(Assurance::Network),
        Evidence::Signed { .. } => Some(Assurance::Signed),
        Evidence::Contradicted { .. } => None,
        Evidence::Licence { .. } => unreachable!("it is shown beside the others"),
    };
    let with_rung = |evidence: Evidence| {
        let rung = rung(&evidence);
        (evidence, rung)
    };
    all.into_iter().map(with_rung).collect()
}

/// What can be wrong with a token, in words; the rest of CAP's table is about fetches that show none.
fn bad_token(why: Unlicensed) -> Option<&'static str> {
    match why {
        Unlicensed::Malformed => Some("unreadable"),
        Unlicensed::InvalidToken => Some("wrong or revoked"),
        Unlicensed::Expired => Some("expired"),
        Unlicensed::NotPermitted => Some("not for this use or work"),
        Unlicensed::CannotValidate => Some("cannot be checked just now"),
        Unlicensed::Unpaid => Some("unpaid, as another licence server says"),
        Unlicensed::Missing | Unlicensed::NoLicense => None,
    }
}

/// Every kind of licence token, where one can decide; else some of them, for they must make no difference.
fn licences(can_decide: bool) -> Vec<Shown> {
    let bad = Unlicensed::ALL.into_iter().filter(|why| bad_token(*why).is_some());
    let bad = bad.filter(|why| can_decide || *why == Unlicensed::Expired);
    [None, Some(Ok(()))].into_iter().chain(bad.map(|why| Some(Err(why)))).collect()
}

/// Crawlers with all evidence and all licences.
fn identities(row: &Arc<CrawlerRow>, can_decide: bool) -> Vec<(Crawler, Known)> {
    let mut all = Vec::new();
    for (evidence, rung) in evidence() {
        for licence in licences(can_decide) {
            let held = Held { licence: Arc::from("training"), token: Arc::from("00") };
            let evidence = match licence {
                None => evidence.clone(),
                Some(shown) => evidence.clone().with_licence(shown.map(|()| held)),
            };
            all.push((identify(Arc::clone(row), evidence), Known { rung, licence }));
        }
    }
    all
}

/// Every kind of offer, and what can be wrong with one.
fn offers() -> Vec<Result<Offer, OfferError>> {
    let all = vec![
        Ok(Offer::None),
        Ok(Offer::Max(usd(PRICE / 10))),
        Ok(Offer::Max(usd(PRICE))),
        Ok(Offer::Max(usd(MOST * 10))),
        Ok(Offer::Exact(usd(PRICE / 10))),
        Ok(Offer::Exact(usd(PRICE / 2))),
        Ok(Offer::Exact(usd(PRICE))),
        Ok(Offer::Exact(usd(PRICE + PRICE / 2))),
        Ok(Offer::Exact(usd(MOST * 10))),
        Ok(Offer::Prepaid(usd(PRICE))),
        Ok(Offer::Prepaid(usd(PRICE + 1))),
        Err(OfferError::Conflicting),
        Offer::parse(["USD x"], [] as [&str; 0]),
        Err(OfferError::InvalidSignature),
        Err(OfferError::NotCovered),
        Err(OfferError::Replayed),
    ];
    for offer in &all {
        // Fails to compile when there is one that is not above.
        match offer {
            Ok(Offer::None | Offer::Max(_) | Offer::Exact(_) | Offer::Prepaid(_))
            | Err(
                OfferError::Conflicting
                | OfferError::Malformed(_)
                | OfferError::InvalidSignature
                | OfferError::NotCovered
                | OfferError::Replayed,
            ) => {}
        }
    }
    all
}

fn responses() -> Vec<ResponseHead<'static>> {
    let with = |origin_price| ResponseHead { status: 200, origin_price, ..ResponseHead::default() };
    vec![
        with(OriginPrice::Absent),
        with(OriginPrice::Price(usd(0))),
        with(OriginPrice::Price(usd(PRICE / 2))),
        with(OriginPrice::Price(usd(PRICE + PRICE / 2))),
        with(OriginPrice::Price(usd(MOST * 2))),
        with(OriginPrice::Unreadable),
        ResponseHead { status: 304, ..ResponseHead::default() },
        ResponseHead { status: 404, ..ResponseHead::default() },
    ]
}

/// What the operator has used up.
struct Books {
    exhausted: bool,
    credit: bool,
}

impl Standing for Books {
    fn exhausted(&self, _: &Limit, _: &str) -> Option<u64> {
        self.exhausted.then_some(60)
    }

    fn affords(&self, _: &str, _: Money) -> bool {
        self.credit
    }
}

/// One combination.
struct Case<'a> {
    rule: RuleCase,
    crawler: &'a Crawler,
    known: Known,
    work: &'a Work,
    offer: &'a Result<Offer, OfferError>,
    account: &'a str,
    books: Books,
    response: &'a ResponseHead<'a>,
}

/// The columns, with all values that each can have.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("who", &["AI crawler", "anybody else"]),
    ("fetches", &["a work", "robots.txt and the like"]),
    ("purpose", &["the rule's", "another"]),
    (
        "the rule says",
        &["allow", "deny", "price", "price, or the origin's", "licence, or deny", "licence, or price"],
    ),
    ("licence", &["none", "good", "bad"]),
    ("budget", &["left, or none set", "used up"]),
    (
        "offer",
        &[
            "none",
            "two at once",
            "unreadable",
            "not signed for",
            "too low",
            "another amount",
            "more than the most",
            "the price",
            "another amount, paid at once",
            "the price, paid at once",
        ],
    ),
    ("identity", &["spoof", "below `require`", "enough"]),
    (
        "account",
        &[
            "none",
            "credit",
            "no credit",
            "small contract",
            "small contract, no credit",
            "contract",
            "contract, no credit",
        ],
    ),
    ("comes back", &["the work", "the work, free", "the work, bad price", "no work"]),
];

/// Two of them, by their places.
const SAYS: usize = 3;
const LICENCE: usize = 4;

type Seen = [usize; COLUMNS.len()];

fn value(column: usize, word: &str) -> usize {
    COLUMNS[column].1.iter().position(|known| *known == word).unwrap_or_else(|| panic!("{word}"))
}

impl Case<'_> {
    /// The price that holds when this comes back; none where nothing is sold.
    fn price(&self) -> i64 {
        match (self.rule.says, self.response.origin_price) {
            (Says::OriginPrice, OriginPrice::Price(price)) if price.nano > 0 && price.nano <= MOST => {
                price.nano
            }
            _ => PRICE,
        }
    }

    fn most(&self) -> i64 {
        if self.rule.says == Says::OriginPrice { MOST } else { PRICE }
    }

    /// The case in the table's terms.
    fn seen(&self) -> Seen {
        let words = [
            if self.crawler.row.class == Class::Ai { "AI crawler" } else { "anybody else" },
            if self.work.always_free { "robots.txt and the like" } else { "a work" },
            if self.crawler.row.purpose == Purpose::Train { "the rule's" } else { "another" },
            match self.rule.says {
                Says::Allow => "allow",
                Says::Deny => "deny",
                Says::Price => "price",
                Says::OriginPrice => "price, or the origin's",
                Says::LicenceOnly => "licence, or deny",
                Says::LicenceOrPrice => "licence, or price",
            },
            match self.known.licence {
                // A spoof's licence is nobody's.
                _ if self.known.rung.is_none() => "none",
                None => "none",
                Some(Ok(())) => "good",
                Some(Err(_)) => "bad",
            },
            if self.rule.limit && self.books.exhausted { "used up" } else { "left, or none set" },
            match self.offer {
                Ok(Offer::None) => "none",
                Ok(Offer::Max(most)) if most.nano < self.price() => "too low",
                Ok(Offer::Exact(exact)) if exact.nano > self.most() => "more than the most",
                Ok(Offer::Exact(exact)) if exact.nano != self.price() => "another amount",
                Ok(Offer::Max(_) | Offer::Exact(_)) => "the price",
                // Before the origin is asked nobody knows its price, so nobody can pay it.
                Ok(Offer::Prepaid(paid)) if paid.nano != PRICE || self.rule.says == Says::OriginPrice => {
                    "another amount, paid at once"
                }
                Ok(Offer::Prepaid(_)) => "the price, paid at once",
                Err(OfferError::Conflicting) => "two at once",
                Err(OfferError::Malformed(_)) => "unreadable",
                Err(OfferError::InvalidSignature | OfferError::NotCovered | OfferError::Replayed) => {
                    "not signed for"
                }
            },
            match (self.known.rung, self.rule.require) {
                (None, _) => "spoof",
                // A licence is no identity: the network at least says whose account it is.
                (Some(rung), Assurance::Licensed) => match self.known.licence {
                    Some(Ok(())) if rung >= Assurance::Network => "enough",
                    _ => "below `require`",
                },
                (Some(rung), require) if rung < require => "below `require`",
                (Some(_), _) => "enough",
            },
            match (self.account, self.books.credit) {
                ("credit", true) => "credit",
                ("credit", false) => "no credit",
                ("little", true) => "small contract",
                ("little", false) => "small contract, no credit",
                ("contract", true) => "contract",
                ("contract", false) => "contract, no credit",
                _ => "none",
            },
            match (self.rule.says, self.response.origin_price) {
                _ if self.response.status != 200 => "no work",
                (Says::OriginPrice, OriginPrice::Unreadable) => "the work, bad price",
                (Says::OriginPrice, OriginPrice::Price(price)) if price.nano > MOST => "the work, bad price",
                (Says::OriginPrice, OriginPrice::Price(price)) if price.nano == 0 => "the work, free",
                _ => "the work",
            },
        ];
        let mut seen = [0; COLUMNS.len()];
        for (column, word) in words.into_iter().enumerate() {
            seen[column] = value(column, word);
        }
        seen
    }

    /// What is answered, and its status if it is a refusal.
    fn answer(&self, policy: &PolicySnapshot) -> (Answer, Option<u16>) {
        let grant = match admit(policy, self.crawler, self.work, self.offer, &self.books) {
            Admission::Refuse(refusal) => return self.refused(&refusal),
            Admission::Proceed(grant) => grant,
        };
        match release(policy, &grant, self.crawler, self.work, self.offer, &self.books, self.response) {
            Release::Refuse(refusal) => self.refused(&refusal),
            Release::Deliver(terms) => {
                let said = match self.offer {
                    _ if !terms.owed => "delivered, free",
                    Ok(Offer::Prepaid(_)) => "delivered, once it is settled",
                    _ => "delivered, the price is owed",
                };
                (Answer(said.to_owned()), terms.would_refuse)
            }
        }
    }

    fn refused(&self, refusal: &Refusal) -> (Answer, Option<u16>) {
        let status = refusal.status();
        let why = refusal.unlicensed.as_ref().map(|(why, _)| *why);
        let said = match (refusal.crawler_error, why) {
            (_, Some(why)) if self.known.licence == Some(Err(why)) => "the token's".to_owned(),
            (Some(code), _) => format!("{status} `{code}`"),
            (None, Some(why)) => format!("{status} CAP `{}`", why.error().as_str()),
            (None, None) => format!("{status}"),
        };
        (Answer(said), Some(status))
    }
}

/// What is answered, in the table's words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Answer(String);

/// Answers under `require` below `signed`, and from `signed` on.
type Answers = [Option<Answer>; 2];

/// Walks every combination there is.
fn walk(mut each: impl FnMut(&Case<'_>, &PolicySnapshot, &PolicySnapshot)) {
    let (offers, responses) = (offers(), responses());
    let others: Vec<Class> = Class::ALL.into_iter().filter(|class| *class != Class::Ai).collect();
    let purposes: Vec<Purpose> =
        Purpose::ALL.into_iter().filter(|purpose| *purpose != Purpose::Train).collect();
    let mut turn = 0;
    for rule in rules() {
        let (enforcing, observing) = (rule.policy("enforce"), rule.policy("observe"));
        let works =
            ["/a", "/robots.txt"].map(|path| enforcing.work("https", "site.example", path).expect("a path"));
        for token in ["TestBot", "CreditBot", "LittleBot", "ContractBot"] {
            for (is_ai, is_named) in [(true, true), (true, false), (false, true), (false, false)] {
                // All classes and purposes take their turns: what they have in common is what the table says of them.
                turn += 1;
                let mut row = CrawlerRow::clone(enforcing.directory().row(token).expect("a row"));
                row.class = if is_ai { Class::Ai } else { others[turn % others.len()] };
                row.purpose = if is_named { Purpose::Train } else { purposes[turn % purposes.len()] };
                let is_touched = is_ai && is_named;
                for (crawler, known) in
                    identities(&Arc::new(row), is_touched && rule.says.asks_for_a_licence())
                {
                    for (work, offer, response) in
                        works.iter().flat_map(|work| offers.iter().map(move |offer| (work, offer))).flat_map(
                            |(work, offer)| responses.iter().map(move |response| (work, offer, response)),
                        )
                    {
                        let standings = [(false, true), (false, false), (true, false), (true, true)];
                        // Whoever is not touched has no standing that could be asked about.
                        let standings = if is_touched { &standings[..] } else { &standings[..1] };
                        for &(exhausted, credit) in standings {
                            let books = Books { exhausted, credit };
                            let account = &*crawler.row.operator;
                            each(
                                &Case {
                                    rule,
                                    crawler: &crawler,
                                    known,
                                    work,
                                    offer,
                                    account,
                                    books,
                                    response,
                                },
                                &enforcing,
                                &observing,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// One row: for each column the values that it is for, none if it does not depend on it.
#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Vec<usize>>,
    answers: Answers,
}

/// What is answered for the values of all further columns.
type Below = BTreeMap<Vec<usize>, Answers>;

/// Folds the values of a column that make no difference, then those of the next within each.
fn fold(seen: &[(Seen, Answers)], column: usize) -> Vec<Row> {
    let mut common: Answers = [None, None];
    if seen.iter().all(|(_, answers)| merge(&mut common, answers)) {
        return vec![Row { cells: vec![Vec::new(); COLUMNS.len() - column], answers: common }];
    }
    let mut groups: Vec<(Vec<usize>, Below)> = Vec::new();
    let values = 0..COLUMNS[column].1.len();
    let mut present = 0;
    for value in values {
        let mut below = Below::new();
        for (key, answers) in seen.iter().filter(|(key, _)| key[column] == value) {
            below.insert(key[column + 1..].to_vec(), answers.clone());
        }
        if below.is_empty() {
            continue;
        }
        present += 1;
        let fits = |group: &Below| {
            below
                .iter()
                .all(|(key, answers)| group.get(key).is_none_or(|known| merge(&mut known.clone(), answers)))
        };
        match groups.iter_mut().find(|(_, group)| fits(group)) {
            Some((members, group)) => {
                members.push(value);
                for (key, answers) in below {
                    merge(group.entry(key).or_default(), &answers);
                }
            }
            None => groups.push((vec![value], below)),
        }
    }
    let mut rows = Vec::new();
    for (members, group) in groups {
        let within: Vec<(Seen, Answers)> = group
            .into_iter()
            .map(|(key, answers)| {
                let mut seen = [0; COLUMNS.len()];
                seen[column + 1..].copy_from_slice(&key);
                (seen, answers)
            })
            .collect();
        for mut row in fold(&within, column + 1) {
            row.cells.insert(0, if members.len() == present { Vec::new() } else { members.clone() });
            rows.push(row);
        }
    }
    rows
}

/// Whether both can be one, and makes them one.
fn merge(into: &mut Answers, other: &Answers) -> bool {
    let fits = into.iter().zip(other).all(|(into, other)| into.is_none() || other.is_none() || into == other);
    if fits {
        for (into, other) in into.iter_mut().zip(other) {
            *into = into.take().or_else(|| other.clone());
        }
    }
    fits
}

/// Every kind of combination in the table's terms, with the answer that all of its kind get.
fn kinds() -> Vec<(Seen, Answers)> {
    let mut kinds: BTreeMap<Seen, Answers> = BTreeMap::new();
    walk(|case, enforcing, observing| {
        let (answer, refused) = case.answer(enforcing);
        let observed = case.answer(observing);
        assert_eq!(
            observed,
            (Answer("delivered, free".to_owned()), refused),
            "{:?} {:?}",
            case.seen(),
            case.rule
        );
        let has_price = case.rule.says.has_price();
        let is_signed = case.rule.require >= Assurance::Signed;
        let this: Answers =
            [false, true].map(|signed| (!has_price || signed == is_signed).then(|| answer.clone()));
        let key = case.seen();
        let known = kinds.entry(key).or_default();
        assert!(merge(known, &this), "answered in two ways: {:?}: {known:?} and {this:?}", words(&key));
    });
    // Without a licence, a rule that takes one instead of a price is that price. Said once, it need not be said again.
    let as_price = Answer("as for *price*".to_owned());
    let priced = kinds.clone();
    for (seen, answers) in &mut kinds {
        let mut plain = *seen;
        plain[SAYS] = value(SAYS, "price");
        let is_touched = seen[..SAYS] == [0; SAYS];
        if is_touched
            && seen[SAYS] == value(SAYS, "licence, or price")
            && seen[LICENCE] == value(LICENCE, "none")
            && priced.get(&plain) == Some(&*answers)
        {
            *answers = [Some(as_price.clone()), Some(as_price.clone())];
        }
    }
    kinds.into_iter().collect()
}

fn words(seen: &Seen) -> Vec<&'static str> {
    seen.iter().zip(COLUMNS).map(|(value, (_, values))| values[*value]).collect()
}

const INTRODUCTION: &str = "\
# What is decided

Who asks, for what, on which evidence, on what terms: what Byline answers. These tables are made from the code by a test, which walks every combination of
all classes of clients, purposes, kinds of evidence, rules, offers, accounts and responses, and fails if one is answered otherwise than its row says. Each matches
exactly one row; *–* says that a column makes no difference there.

How to read them:

- **who**: the user agent is an AI crawler's in the registry or the policy ([identity.md](identity.md)). *Anybody else*: people, search engines, feed readers and all other classes.
- **fetches**: *robots.txt and the like* are the paths that tell crawlers what they may do, sitemaps and `security.txt` ([policy.md](policy.md)).
- **purpose**: the purpose that the crawler's operator declares is one that the rule names. Another rule, or the default, which allows, then decides.
- **budget**: the rule's `limit` for this operator.
- **offer**: `crawler-max-price` or `crawler-exact-price`, beside the price that holds in the end. *Not signed for*: the request is signed, but the signature does not hold, or leaves the price header or what is
  fetched open, or was used before. *Another amount*: an exact price that is not the price; *more than the most*: above all that the rule lets it cost.
  *Paid at once*: a payment that came with the request and is settled before delivery ([policy.md](policy.md#payments-that-come-with-a-request)).
- **identity**: what the evidence amounts to, beside the rung that the rule asks for with `require`: *spoof* is a name that the evidence contradicts. A signature that neither says what is
  fetched nor has a nonce is no more than a claim here, unless the network confirms it.
- **licence**: a token that the request shows, where a licence for this use is on offer ([licences.md](licences.md)). *Licence, or deny* is a rule that allows with
  `assurance = \"licensed\"`, before one that denies; *licence, or price* before one that charges, whose 402 mentions the licence as well. *CAP*: the `error` of `WWW-Authenticate: License`.
- **account**: of the operator, in the policy, and whether its credit is used up. *Contract*: it accepts the price without an offer (`accept`); a *small contract* accepts less than that.
- **comes back**: *no work* is a redirect, a 304 or an error of the origin's; the origin's own price may be acceptable, free, or bad (unreadable, or above `max`).
- **answer**: status and `crawler-error`. Two columns, because a rule that asks for a signature speaks Pay Per Crawl to the letter.

A rule that only observes delivers everything for free, and its record says which status enforcing would have answered (`would_refuse`): that of the same row. What is owed costs nothing if the same
version was paid before within `repeat_free`.
";

fn document(rows: &[Row]) -> String {
    let mut text = INTRODUCTION.to_owned();
    let tokens = Unlicensed::ALL.into_iter().filter_map(|why| {
        bad_token(why).map(|words| format!("{words}: {} `{}`", why.status(), why.error().as_str()))
    });
    let _ = writeln!(text, "\n*The token's* answer: {}.", tokens.collect::<Vec<_>>().join("; "));
    let section = |row: &Row| match row.cells[SAYS].first().map(|value| COLUMNS[SAYS].1[*value]) {
        Some("price") => 1,
        Some("price, or the origin's") => 2,
        Some(says) if says.starts_with("licence") => 3,
        _ => 0,
    };
    for (index, title) in [
        "Without a price",
        "A rule with a price",
        "A rule whose price the origin may set",
        "Rules that ask for a licence",
    ]
    .into_iter()
    .enumerate()
    {
        let rows: Vec<&Row> = rows.iter().filter(|row| section(row) == index).collect();
        // A column that all rows of a table agree on is in its title.
        let shown: Vec<usize> = (0..COLUMNS.len())
            .filter(|column| rows.iter().any(|row| row.cells[*column] != rows[0].cells[*column]))
            .collect();
        let _ = write!(text, "\n## {title}\n\n");
        let fixed: Vec<String> = (0..COLUMNS.len())
            .filter(|column| !shown.contains(column) && !rows[0].cells[*column].is_empty())
            .map(|column| format!("{}: {}", COLUMNS[column].0, cell(column, &rows[0].cells[column])))
            .collect();
        if !fixed.is_empty() {
            let _ = write!(text, "For {}.\n\n", fixed.join(". "));
        }
        text.push('|');
        for column in &shown {
            let _ = write!(text, " {} |", COLUMNS[*column].0);
        }
        let one_answer = index == 0;
        text.push_str(if one_answer {
            " answer |\n|"
        } else {
            " answer, `require` below `signed` | `signed` or above |\n|"
        });
        text.push_str(&"---|".repeat(shown.len() + if one_answer { 1 } else { 2 }));
        text.push('\n');
        for row in rows {
            text.push('|');
            for column in &shown {
                let _ = write!(text, " {} |", cell(*column, &row.cells[*column]));
            }
            let [below, from] =
                row.answers.each_ref().map(|answer| answer.as_ref().map_or("", |answer| &answer.0));
            if one_answer {
                assert_eq!(below, from);
                let _ = writeln!(text, " {below} |");
            } else {
                let _ = writeln!(text, " {below} | {from} |");
            }
        }
    }
    text
}

fn cell(column: usize, members: &[usize]) -> String {
    let words: Vec<&str> = members.iter().map(|value| COLUMNS[column].1[*value]).collect();
    if words.is_empty() { "–".to_owned() } else { words.join("; ") }
}

/// A row as somebody reads it: for each column the values that it is for, as bits, and the answers.
struct Read {
    masks: [u16; COLUMNS.len()],
    answers: [String; 2],
}

/// Reads the tables again, knowing nothing of how they were made.
fn read(document: &str) -> Vec<Read> {
    let mask = |column: usize, cell: &str| match cell {
        "–" => u16::MAX,
        words => words.split("; ").fold(0, |mask, word| mask | 1 << value(column, word)),
    };
    let column_of = |name: &str| COLUMNS.iter().position(|(known, _)| *known == name);
    let mut rows = Vec::new();
    for section in document.split("\n## ").skip(1) {
        let mut base = [u16::MAX; COLUMNS.len()];
        let fixed = section.lines().find_map(|line| line.strip_prefix("For ")?.strip_suffix('.'));
        for said in fixed.into_iter().flat_map(|fixed| fixed.split(". ")) {
            let (name, words) = said.split_once(": ").expect("a column and what it is");
            let column = column_of(name).expect("a column");
            base[column] = mask(column, words);
        }
        let mut lines = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let columns: Vec<Option<usize>> = lines.next().expect("a head").split(" | ").map(column_of).collect();
        for line in lines {
            let mut read = Read { masks: base, answers: Default::default() };
            let mut answers = Vec::new();
            for (cell, column) in line.split(" | ").zip(&columns) {
                match column {
                    Some(column) => read.masks[*column] = mask(*column, cell),
                    None => answers.push(cell.to_owned()),
                }
            }
            read.answers = [answers[0].clone(), answers[answers.len() - 1].clone()];
            rows.push(read);
        }
    }
    rows
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/decisions.md")
}

#[test]
fn the_table_is_what_the_code_does() {
    let kinds = kinds();
    let made = document(&fold(&kinds, 0));
    if std::env::var_os("BYLINE_WRITE_DOCS").is_some() {
        std::fs::write(path(), &made).expect("the documentation");
    }
    let kept = std::fs::read_to_string(path()).unwrap_or_default();
    assert!(
        made == kept,
        "docs/decisions.md is not what the code does: run this test with BYLINE_WRITE_DOCS=1"
    );

    let rows = read(&kept);
    assert!((20..=100).contains(&rows.len()), "{} rows are too many for a person", rows.len());
    for (seen, answers) in &kinds {
        let matches = |row: &&Read| row.masks.iter().zip(seen).all(|(mask, value)| mask >> value & 1 == 1);
        let matching: Vec<&Read> = rows.iter().filter(matches).collect();
        assert_eq!(matching.len(), 1, "rows for {:?}", words(seen));
        for (answer, said) in answers.iter().zip(&matching[0].answers) {
            assert!(answer.as_ref().is_none_or(|answer| answer.0 == *said), "{:?}: {answers:?}", words(seen));
        }
    }
}
