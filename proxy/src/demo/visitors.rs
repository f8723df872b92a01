//! The visitors: who comes to the site, from where, what they ask for, and what they note down about the answers.
//!
//! Every visitor keeps a log of its own and reckons by its own knowledge of the terms what it owes. Nothing here looks
//! into the proxy or its ledger.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use metrics::Meter;
use policy::{Money, divide_half_even};

use super::client::{self, Answer};
use super::site::{self, Site};

/// What the contracts say, in nano-units: a work for training, a megabyte of a volume, a word for an answer.
const PER_WORK_NANO: i64 = 2_000_000;
const PER_MEGABYTE_NANO: i64 = 400_000_000;
const PER_WORD_NANO: i64 = 1_000;

/// What a visitor is to the site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A person, a search engine, a feed reader: Byline has nothing to say to them.
    Passes,
    /// An AI crawler.
    Ai,
}

/// A visitor and its log.
pub(crate) struct Visitor {
    /// Its name for people.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One line on who it is and how it stands to the site.
    pub(crate) about: &'static str,
    pub(crate) source: Ipv4Addr,
    user_agent: &'static str,
    /// The operator that pays, if one does.
    pub(crate) payer: Option<&'static str>,
    pub(crate) log: Vec<Visit>,
    /// Versions that it has paid for: path and validator.
    paid: HashSet<(String, String)>,
}

/// One line of a visitor's log.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// What it was after, in words.
    pub(crate) label: &'static str,
    pub(crate) path: String,
    pub(crate) expected: u16,
    pub(crate) answer: Answer,
    /// What it reckons to owe for this.
    pub(crate) owed_nano: i64,
    /// What the answer says that it was charged.
    pub(crate) charged_nano: Option<i64>,
    /// Of those who pass: whether the site itself sent the same bytes, head and body.
    pub(crate) is_site_own: bool,
    /// `sha-256=:…:` of the bytes that arrived.
    pub(crate) digest: Option<String>,
}

impl Visit {
    /// Whether the answer is the one that the policy promises, and does not contradict the visitor's own sums.
    pub(crate) fn is_as_promised(&self) -> bool {
        self.answer.status == self.expected
            && self.charged_nano.is_none_or(|charged| charged == self.owed_nano)
    }
}

/// The addresses that visitors come from.
pub(crate) const SOURCES: [Ipv4Addr; 10] = [
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(127, 70, 0, 1),
    Ipv4Addr::new(127, 80, 0, 1),
    Ipv4Addr::new(127, 10, 0, 1),
    Ipv4Addr::new(127, 10, 1, 1),
    Ipv4Addr::new(127, 20, 0, 1),
    Ipv4Addr::new(127, 30, 0, 1),
    Ipv4Addr::new(127, 40, 0, 1),
    Ipv4Addr::new(127, 50, 0, 1),
    Ipv4Addr::new(127, 66, 6, 6),
];

/// Everybody comes, one after the other.
pub(crate) fn come(site: &Site, byline: SocketAddr, direct: SocketAddr) -> anyhow::Result<Vec<Visitor>> {
    let shop = Door { byline };
    let mut visitors = passers_by(site, &shop, direct)?;
    visitors.extend([
        trains_by_contract(site, &shop)?,
        answers_by_contract(site, &shop)?,
        pays_when_asked(site, &shop)?,
        wants_too_much(site, &shop)?,
        has_no_account(&shop)?,
        cannot_be_checked(&shop)?,
        is_an_impostor(&shop)?,
    ]);
    Ok(visitors)
}

/// A person, a search engine and a feed reader: each request is made twice, and the answers must be the same bytes.
fn passers_by(site: &Site, shop: &Door, direct: SocketAddr) -> anyhow::Result<Vec<Visitor>> {
    let [browser, search, feed, ..] = SOURCES;
    let mut reader = Visitor::new(
        "a person's browser",
        browser,
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    );
    reader.about = "reads a few pages, and a draft";
    let mut googlebot = Visitor::new(
        "Googlebot",
        search,
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    );
    googlebot.about = "a search engine's crawler, not an AI crawler";
    let mut feedly = Visitor::new(
        "Feedly",
        feed,
        "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 12 subscribers; like FeedFetcher-Google)",
    );
    feedly.about = "a feed reader";
    let pages = ["/", "/poems/the-tyger", "/fables/fox-and-grapes", site::VOLUME, site::COVER, site::DRAFT];
    let poems: Vec<&str> =
        ["/robots.txt"].into_iter().chain(site.shelf("poems").map(String::as_str)).collect();
    let errands: [(Visitor, &'static str, &[&str]); 3] = [
        (reader, "pages and a picture", &pages),
        (googlebot, "robots.txt and poems", &poems),
        (feedly, "the feed", &[site::FEED]),
    ];
    let mut visitors = Vec::new();
    for (mut visitor, label, paths) in errands {
        visitor.kind = Kind::Passes;
        for path in paths {
            let around = client::get(direct, visitor.source, path, &visitor.fields(&[]))?;
            let through = visitor.get(shop, label, path, 200, &[])?;
            if let Some(visit) = visitor.log.last_mut() {
                visit.is_site_own = through.is_same_bytes(&around);
            }
        }
        visitors.push(visitor);
    }
    Ok(visitors)
}

/// GPTBot takes fables, poems and the volume for training, has a contract, and comes back.
fn trains_by_contract(site: &Site, shop: &Door) -> anyhow::Result<Visitor> {
    let mut gptbot = Visitor::new(
        "GPTBot",
        SOURCES[3],
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    );
    gptbot.about = "OpenAI's, for training; its address checks out; prices agreed by contract";
    gptbot.payer = Some("openai");
    gptbot.get(shop, "robots.txt and the front page", "/robots.txt", 200, &[])?;
    gptbot.get(shop, "robots.txt and the front page", "/", 200, &[])?;
    for path in site.shelf("fables").chain(site.shelf("poems")) {
        gptbot.take(shop, "fables and poems", path, 200, &[], |_| PER_WORK_NANO)?;
    }
    let per_megabyte = |bytes: usize| {
        let exact = i128::from(PER_MEGABYTE_NANO) * bytes as i128;
        i64::try_from(divide_half_even(exact, 1_000_000)).unwrap_or(i64::MAX)
    };
    gptbot.take(shop, "the long volume, streamed", site::VOLUME, 200, &[], |answer| {
        per_megabyte(answer.body.len())
    })?;
    for path in site.shelf("fables").take(3) {
        gptbot.get(shop, "the same again, unchanged", path, 200, &[])?;
    }
    let tyger = "/poems/the-tyger";
    let etag =
        gptbot.log.iter().find(|visit| visit.path == tyger).and_then(|visit| visit.answer.header("etag"));
    let etag = etag.context("the site sends an ETag")?.to_owned();
    gptbot.get(shop, "asked: changed since?", tyger, 304, &[("If-None-Match", &etag)])?;
    gptbot.get(shop, "a draft", site::DRAFT, 403, &[])?;
    Ok(gptbot)
}

/// ChatGPT-User fetches what somebody's question needs, and pays by the length.
fn answers_by_contract(site: &Site, shop: &Door) -> anyhow::Result<Visitor> {
    let mut chatgpt = Visitor::new(
        "ChatGPT-User",
        SOURCES[4],
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
    );
    chatgpt.about = "OpenAI's, to answer people; the same contract, paid by the length";
    chatgpt.payer = Some("openai");
    for path in site.shelf("documents") {
        chatgpt.take(shop, "documents", path, 200, &[], |answer| words(&answer.body) * PER_WORD_NANO)?;
    }
    chatgpt.get(shop, "a fable OpenAI has paid for", "/fables/crow-and-pitcher", 200, &[])?;
    Ok(chatgpt)
}

/// ClaudeBot has an account but no contract: it is told the price, offers too little, then enough.
fn pays_when_asked(site: &Site, shop: &Door) -> anyhow::Result<Visitor> {
    let mut claudebot = Visitor::new(
        "ClaudeBot",
        SOURCES[5],
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    );
    claudebot.about = "Anthropic's, for training; its address checks out; no contract, an account";
    claudebot.payer = Some("anthropic");
    let poems: Vec<&String> = site.shelf("poems").take(20).collect();
    let first = poems.first().context("there are poems")?;
    let refused = claudebot.get(shop, "a poem, with no offer", first, 402, &[])?;
    let asked = refused.header("crawler-price").context("a 402 names its price")?.to_owned();
    let asked_nano = Money::parse(&asked).context("a price that can be read")?.nano;
    claudebot.get(shop, "the poem, offering half", first, 402, &[("crawler-max-price", "USD 0.001")])?;
    for path in &poems {
        let label = "poems, offering what is asked";
        claudebot.take(shop, label, path, 200, &[("crawler-max-price", &asked)], |_| asked_nano)?;
    }
    claudebot.get(shop, "the first again, unchanged", first, 200, &[("crawler-max-price", &asked)])?;
    Ok(claudebot)
}

/// Meta's crawler may have five works an hour and goes on asking.
fn wants_too_much(site: &Site, shop: &Door) -> anyhow::Result<Visitor> {
    let mut meta = Visitor::new(
        "meta-externalagent",
        SOURCES[6],
        "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    );
    meta.about = "Meta's, for training; its address checks out; agreed: five works an hour";
    meta.payer = Some("meta");
    // Hours are those of the clock: where one ends just now, another five may be had.
    let mut refusals = 0;
    for path in site.shelf("poems").take(12) {
        let answer = meta.take(shop, "works", path, 200, &[], |_| PER_WORK_NANO)?;
        if answer.status == 429 {
            if let Some(visit) = meta.log.last_mut() {
                (visit.label, visit.expected) = ("works beyond the limit", 429);
            }
            refusals += 1;
        }
        if refusals == 2 {
            break;
        }
    }
    Ok(meta)
}

/// PerplexityBot would pay, but there is nobody to send the bill to.
fn has_no_account(shop: &Door) -> anyhow::Result<Visitor> {
    let mut perplexity = Visitor::new(
        "PerplexityBot",
        SOURCES[7],
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)",
    );
    perplexity.about = "Perplexity's, for search; its address checks out, but it has no account here";
    let offer = ("crawler-max-price", "USD 0.01");
    perplexity.get(shop, "works, offering 0.01 USD", "/fables/lion-and-mouse", 402, &[offer])?;
    perplexity.get(shop, "works, offering 0.01 USD", "/documents/moby-dick", 402, &[offer])?;
    Ok(perplexity)
}

/// CCBot may be who it says; nothing at hand can confirm it.
fn cannot_be_checked(shop: &Door) -> anyhow::Result<Visitor> {
    let mut ccbot = Visitor::new("CCBot", SOURCES[8], "CCBot/2.0 (https://commoncrawl.org/faq/)");
    ccbot.about = "Common Crawl's, it says; nothing on this machine can confirm it";
    ccbot.get(shop, "robots.txt and the front page", "/robots.txt", 200, &[])?;
    ccbot.get(shop, "robots.txt and the front page", "/", 200, &[])?;
    ccbot.get(shop, "a poem", "/poems/ozymandias", 402, &[])?;
    Ok(ccbot)
}

/// Somebody uses GPTBot's name from an address that is not OpenAI's.
fn is_an_impostor(shop: &Door) -> anyhow::Result<Visitor> {
    let mut spoof = Visitor::new(
        "\"GPTBot\"",
        SOURCES[9],
        "Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    );
    spoof.about = "an impostor: OpenAI's name, but not from OpenAI's addresses";
    spoof.get(shop, "works, on OpenAI's bill", "/poems/jabberwocky", 402, &[])?;
    spoof.get(shop, "works, on OpenAI's bill", "/poems/invictus", 402, &[("crawler-max-price", "USD 1")])?;
    Ok(spoof)
}

/// Where visitors come in.
struct Door {
    byline: SocketAddr,
}

impl Visitor {
    fn new(name: &'static str, source: Ipv4Addr, user_agent: &'static str) -> Visitor {
        Visitor {
            name,
            kind: Kind::Ai,
            about: "",
            source,
            user_agent,
            payer: None,
            log: Vec::new(),
            paid: HashSet::new(),
        }
    }

    /// Whether it comes from an address that is not that of the name it carries.
    pub(crate) fn is_impostor(&self) -> bool {
        self.source == SOURCES[9]
    }

    fn fields<'a>(&self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [("User-Agent", self.user_agent), ("Accept", "*/*")].into_iter().chain(more.iter().copied()).collect()
    }

    /// Fetches something that it knows to be free.
    fn get(
        &mut self,
        door: &Door,
        label: &'static str,
        path: &str,
        expected: u16,
        more: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        self.take(door, label, path, expected, more, |_| 0)
    }

    /// Fetches something for which it reckons to owe `price`, if it gets it and has not paid for this version.
    fn take(
        &mut self,
        door: &Door,
        label: &'static str,
        path: &str,
        expected: u16,
        more: &[(&str, &str)],
        price: impl Fn(&Answer) -> i64,
    ) -> anyhow::Result<Answer> {
        let answer = client::get(door.byline, self.source, path, &self.fields(more))?;
        let version = (path.to_owned(), answer.header("etag").unwrap_or_default().to_owned());
        let price_nano = if answer.status == 200 { price(&answer) } else { 0 };
        let is_new = price_nano > 0 && self.paid.insert(version);
        let mut meter = Meter::start(None);
        meter.observe(&answer.body);
        self.log.push(Visit {
            label,
            path: path.to_owned(),
            expected,
            owed_nano: if is_new { price_nano } else { 0 },
            charged_nano: charged_nano(&answer),
            is_site_own: false,
            digest: meter.finish().digest(),
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

/// Counts the words of a page as one would by hand: what stands between its tags, apart at anything that is neither letter
/// nor digit, but for an apostrophe within a word.
fn words(page: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(page);
    let body = text.split_once("<body>").map_or(&*text, |(_, body)| body);
    let mut plain = String::new();
    for piece in body.split('<') {
        plain.push(' ');
        plain.push_str(piece.split_once('>').map_or(piece, |(_, after)| after));
    }
    let plain = plain.replace("&quot;", "\"").replace("&amp;", "&");
    let words = plain.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    let count = words.filter(|word| word.contains(char::is_alphanumeric)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn charged_nano(answer: &Answer) -> Option<i64> {
    let charged = answer.header("crawler-charged")?;
    Money::parse(charged).ok().map(|money| money.nano)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_by_hand() {
        for (page, count) in [
            ("<title>Not this</title><body>\n<h1>Four score</h1><p>and seven<br>\nyears</p></body>", 5),
            ("<body>It isn't &quot;well-known&quot; &amp; never -- never! -- was.</body>", 7),
            ("<body></body>", 0),
        ] {
            assert_eq!(words(page.as_bytes()), count, "{page}");
        }
    }

    #[test]
    fn every_visitor_has_an_address_of_its_own() {
        let mut sources = SOURCES.to_vec();
        sources.dedup();
        assert_eq!(sources.len(), SOURCES.len());
        assert!(sources.iter().all(Ipv4Addr::is_loopback));
    }
}
