//! Evidence for a claimed name, and the ladder of assurance that it reaches.
//!
//! [`weigh`] is the whole of the judgement, without I/O: lists and DNS answers are brought to it. It errs on the side of
//! not knowing: a claim is confirmed by one way to check it, and contradicted only when all of them say no.

mod ranges;

use std::net::IpAddr;
use std::sync::Arc;

use crate::protocol::bot_auth::{PaymentCover, Verified};
use crate::protocol::cap::Unlicensed;
use crate::{Crawler, CrawlerRow, Held};

pub(crate) use ranges::normal;
pub use ranges::{LIST_BYTES_MAX, LIST_ENTRIES_MAX, RangeList, is_local, is_public};

/// How sure we are of who asks. Each rung includes the ones below it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Assurance {
    /// Only the user agent says so.
    Claimed,
    /// The address is in a published range, or reverse DNS confirms it.
    Network,
    /// The request is signed (Web Bot Auth).
    Signed,
    /// The request shows a licence token that is good for it.
    Licensed,
}

impl Assurance {
    /// The word used in policies, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Assurance::Claimed => "claimed",
            Assurance::Network => "network",
            Assurance::Signed => "signed",
            Assurance::Licensed => "licensed",
        }
    }
}

/// What the network says about a claimed name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Nothing to check with, or no answer yet.
    None,
    /// The address is in a range that the operator publishes.
    Range {
        /// The list's URL, or `policy` for a range that the policy names.
        source: Arc<str>,
    },
    /// The address has a name of the operator's, and that name has the address.
    ReverseDns {
        /// The confirmed name.
        name: Arc<str>,
    },
    /// The request is signed with a key that the operator publishes (Web Bot Auth).
    Signed {
        /// The URL that names the agent.
        agent: Arc<str>,
        /// Thumbprint of its key.
        keyid: Arc<str>,
        /// Whether money may move on it: the signature says what is fetched, or the network confirms the name as well.
        may_pay: bool,
    },
    /// The request shows a licence token (CAP), beside what is known of who shows it.
    Licence {
        /// The licence that it holds, or why it holds none.
        shown: Result<Held, Unlicensed>,
        /// Never [`Evidence::Licence`] or [`Evidence::Contradicted`].
        identity: Box<Evidence>,
    },
    /// Every way to check was at hand, and all of them say no.
    Contradicted {
        /// What said no: `range`, `reverse-dns` or both (`range, reverse-dns`).
        by: Arc<str>,
    },
}

/// What reverse DNS knows of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReverseDnsAnswer {
    /// Not asked, no answer in time, or a server that failed: says nothing.
    Unknown,
    /// The names of the address under the suffixes asked for that lead back to it. None at all is an answer: the
    /// address has no such name.
    Confirmed(Vec<Arc<str>>),
}

/// Weighs what is at hand for and against a claim.
///
/// `lists` gives a published list by its URL, if it is loaded and young enough.
///
/// - A range of the row, or of a list, that holds the address confirms: [`Evidence::Range`].
/// - Else a confirmed name under one of the row's suffixes does: [`Evidence::ReverseDns`].
/// - Else [`Evidence::Contradicted`] if the row names a way to check and every one was at hand.
/// - Else [`Evidence::None`].
///
/// An address that is not on the public internet ([`is_local`]) is judged by ranges that name such addresses alone:
/// public lists and public DNS know nothing of it, so neither their presence nor their absence counts. With none, the
/// answer is [`Evidence::None`].
pub fn weigh<'a>(
    row: &CrawlerRow,
    address: IpAddr,
    lists: &dyn Fn(&str) -> Option<&'a RangeList>,
    reverse_dns: &ReverseDnsAnswer,
) -> Evidence {
    let address = normal(address);
    let ways = &row.verification;
    if ways.ranges.iter().any(|range| range.contains(&address)) {
        return Evidence::Range { source: Arc::from("policy") };
    }
    let mut lists_missing = false;
    let mut lists_local = false;
    for url in &ways.lists {
        match lists(url) {
            Some(list) if list.contains(address) => {
                return Evidence::Range { source: Arc::from(url.as_str()) };
            }
            Some(list) => lists_local |= list.names_local(),
            None => lists_missing = true,
        }
    }
    if let ReverseDnsAnswer::Confirmed(names) = reverse_dns
        && let Some(name) = names.iter().find(|name| ways.has_name(name))
    {
        return Evidence::ReverseDns { name: Arc::clone(name) };
    }

    if is_local(address) {
        let judged = ways.ranges.iter().any(|range| is_local(range.network())) || lists_local;
        return if judged { contradicted(true, false) } else { Evidence::None };
    }
    let by_range = !ways.ranges.is_empty() || !ways.lists.is_empty();
    let by_name = !ways.reverse_dns.is_empty();
    let names_missing = by_name && *reverse_dns == ReverseDnsAnswer::Unknown;
    if lists_missing || names_missing || !(by_range || by_name) {
        return Evidence::None;
    }
    contradicted(by_range, by_name)
}

/// Puts a recognised crawler on its rung.
pub fn identify(row: Arc<CrawlerRow>, evidence: Evidence) -> Crawler {
    Crawler { row, assurance: evidence.rung(), evidence }
}

impl Evidence {
    /// The rung that it reaches.
    pub(crate) fn rung(&self) -> Assurance {
        match self {
            Evidence::Licence { shown: Ok(_), .. } => Assurance::Licensed,
            Evidence::Licence { shown: Err(_), identity } => identity.rung(),
            Evidence::Signed { .. } => Assurance::Signed,
            Evidence::Range { .. } | Evidence::ReverseDns { .. } => Assurance::Network,
            Evidence::None | Evidence::Contradicted { .. } => Assurance::Claimed,
        }
    }
}

impl Evidence {
    /// The evidence of a signature beside that of the network. A name that signs is no spoof, wherever it fetches from.
    pub fn with_signature(self, verified: &Verified) -> Evidence {
        let network = matches!(self, Evidence::Range { .. } | Evidence::ReverseDns { .. });
        let Some(source) = &verified.source else { return self };
        Evidence::Signed {
            agent: Arc::from(source.identity().as_str()),
            keyid: Arc::clone(&verified.keyid),
            may_pay: network || verified.covers_payment(&PaymentCover::default()).is_ok(),
        }
    }
}

fn contradicted(by_range: bool, by_name: bool) -> Evidence {
    let by = match (by_range, by_name) {
        (true, true) => "range, reverse-dns",
        (false, true) => "reverse-dns",
        _ => "range",
    };
    Evidence::Contradicted { by: Arc::from(by) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Purpose, Verification};

    const LIST: &str = "https://operator.example/bot.json";

    fn row(lists: &[&str], ranges: &[&str], reverse_dns: &[&str]) -> CrawlerRow {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        CrawlerRow {
            token: Arc::from("ExampleBot"),
            operator: Arc::from("example"),
            operator_name: Arc::from("Example"),
            class: Class::Ai,
            purpose: Purpose::Train,
            verification: Verification {
                lists: words(lists),
                ranges: ranges.iter().map(|range| range.parse().expect("a range")).collect(),
                reverse_dns: words(reverse_dns),
                agents: Vec::new(),
            },
            source: Arc::from("test"),
        }
    }

    fn confirmed(names: &[&str]) -> ReverseDnsAnswer {
        ReverseDnsAnswer::Confirmed(names.iter().map(|name| Arc::from(*name)).collect())
    }

    /// Weighs with `LIST` holding `list`, or not loaded.
    fn check(row: &CrawlerRow, address: &str, list: Option<&str>, answer: &ReverseDnsAnswer) -> Evidence {
        let list = list.map(|text| RangeList::parse(text).expect("a list"));
        let lists = |url: &str| if url == LIST { list.as_ref() } else { None };
        weigh(row, address.parse().expect("an address"), &lists, answer)
    }

    fn by(ways: &str) -> Evidence {
        Evidence::Contradicted { by: Arc::from(ways) }
    }

    const UNKNOWN: ReverseDnsAnswer = ReverseDnsAnswer::Unknown;

    #[test]
    fn one_way_confirms() {
        let both = row(&[LIST], &[], &["bot.example"]);
        let from_list = Evidence::Range { source: Arc::from(LIST) };
        assert_eq!(check(&both, "192.0.2.1", Some("192.0.2.0/24"), &UNKNOWN), from_list);
        assert_eq!(check(&both, "192.0.2.1", Some("192.0.2.0/24"), &confirmed(&[])), from_list);
        assert_eq!(check(&both, "::ffff:192.0.2.1", Some("192.0.2.0/24"), &UNKNOWN), from_list);
        let named = Evidence::ReverseDns { name: Arc::from("a.bot.example") };
        assert_eq!(check(&both, "203.0.113.1", Some("192.0.2.0/24"), &confirmed(&["a.bot.example"])), named);
        assert_eq!(check(&both, "203.0.113.1", None, &confirmed(&["a.bot.example"])), named);
        let own = row(&[LIST], &["203.0.113.0/24"], &["bot.example"]);
        assert_eq!(
            check(&own, "203.0.113.1", None, &UNKNOWN),
            Evidence::Range { source: Arc::from("policy") }
        );
        assert_eq!(
            check(&own, "::ffff:203.0.113.1", None, &UNKNOWN),
            Evidence::Range { source: Arc::from("policy") }
        );
    }

    #[test]
    fn only_every_way_contradicts() {
        let list = Some("192.0.2.0/24");
        let both = row(&[LIST], &[], &["bot.example"]);
        assert_eq!(check(&both, "203.0.113.1", list, &confirmed(&[])), by("range, reverse-dns"));
        assert_eq!(
            check(&both, "203.0.113.1", list, &UNKNOWN),
            Evidence::None,
            "no answer is no contradiction"
        );
        assert_eq!(check(&both, "203.0.113.1", None, &confirmed(&[])), Evidence::None, "a list is missing");
        assert_eq!(check(&both, "203.0.113.1", None, &UNKNOWN), Evidence::None);
        let ranges = row(&[LIST], &["198.51.100.0/24"], &[]);
        assert_eq!(check(&ranges, "203.0.113.1", list, &UNKNOWN), by("range"));
        assert_eq!(check(&ranges, "203.0.113.1", None, &UNKNOWN), Evidence::None);
        let two = row(&[LIST, "https://operator.example/other.json"], &[], &[]);
        assert_eq!(check(&two, "203.0.113.1", list, &UNKNOWN), Evidence::None, "one of two lists is missing");
        let name = row(&[], &[], &["bot.example"]);
        assert_eq!(check(&name, "203.0.113.1", None, &confirmed(&[])), by("reverse-dns"));
        assert_eq!(check(&name, "203.0.113.1", None, &UNKNOWN), Evidence::None);
    }

    #[test]
    fn nothing_to_check_with_is_no_evidence() {
        let bare = row(&[], &[], &[]);
        assert_eq!(
            check(&bare, "203.0.113.1", Some("203.0.113.0/24"), &confirmed(&["x.bot.example"])),
            Evidence::None
        );
    }

    #[test]
    fn a_local_address_is_judged_by_local_ranges_alone() {
        let public = row(&[LIST], &["198.51.100.0/24"], &["bot.example"]);
        for address in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "100.64.0.1", "::ffff:192.168.0.1"] {
            let evidence = check(&public, address, Some("192.0.2.0/24"), &confirmed(&[]));
            assert_eq!(evidence, Evidence::None, "{address}");
        }
        let local = row(&[LIST], &["127.1.0.0/16"], &["bot.example"]);
        let in_range = Evidence::Range { source: Arc::from("policy") };
        assert_eq!(check(&local, "127.1.2.3", None, &UNKNOWN), in_range);
        assert_eq!(check(&local, "127.2.0.1", None, &UNKNOWN), by("range"), "public ways do not matter here");
        assert_eq!(
            check(&local, "203.0.113.1", None, &UNKNOWN),
            Evidence::None,
            "but they do for a public address"
        );
        let list_of_local = row(&[LIST], &[], &[]);
        assert_eq!(check(&list_of_local, "10.9.0.1", Some("10.1.0.0/16"), &UNKNOWN), by("range"));
        assert_eq!(check(&list_of_local, "10.9.0.1", None, &UNKNOWN), Evidence::None);
    }

    #[test]
    fn names_count_only_under_the_suffix() {
        let google = row(&[], &[], &["googlebot.com", "Crawl.Example."]);
        for name in ["crawl-1.googlebot.com", "CRAWL-1.GoogleBot.Com.", "googlebot.com", "a.b.crawl.example"]
        {
            let evidence = check(&google, "203.0.113.1", None, &confirmed(&[name]));
            assert!(matches!(evidence, Evidence::ReverseDns { .. }), "{name}");
        }
        let tricks = [
            "googlebot.com.evil.example",
            "crawl.googlebot.com.evil.example.",
            "evilgooglebot.com",
            "x.evil-googlebot.com",
            "googlebot.com-evil.example",
            "googlebot.co",
            "ooglebot.com",
            ".googlebot.com",
            "x..googlebot.com",
            "com",
            ".",
            "",
            // A dot inside a label, as resolvers print it.
            "evil\\.googlebot.com",
            "evil\\046.googlebot.com",
            // Letters that look alike, as text and as an internationalised name.
            "crawl.g\u{043e}\u{043e}glebot.com",
            "crawl.xn--gglebot-5qga.com",
            "crawl\u{3002}googlebot.com",
            "crawl.googlebot.com\0",
            "crawl.googlebot.com..",
            "crawl googlebot.com",
        ];
        for name in tricks {
            assert_eq!(
                check(&google, "203.0.113.1", None, &confirmed(&[name])),
                by("reverse-dns"),
                "{name:?}"
            );
        }
        let nothing = row(&[], &[], &["", "."]);
        assert_eq!(check(&nothing, "203.0.113.1", None, &confirmed(&["x.example"])), by("reverse-dns"));
    }

    #[test]
    fn evidence_decides_the_rung() {
        let row = Arc::new(row(&[], &[], &[]));
        let rung = |evidence| identify(Arc::clone(&row), evidence).assurance;
        assert_eq!(rung(Evidence::None), Assurance::Claimed);
        assert_eq!(rung(by("range")), Assurance::Claimed);
        assert_eq!(rung(Evidence::Range { source: Arc::from("policy") }), Assurance::Network);
        assert_eq!(rung(Evidence::ReverseDns { name: Arc::from("a.example") }), Assurance::Network);
        assert!(identify(Arc::clone(&row), by("range")).is_spoof());
        assert!(!identify(row, Evidence::None).is_spoof());
    }
}
