//! The directory of crawlers: the built-in registry with a policy's own rows laid over it.
//!
//! A crawler is recognised by its product token (RFC 9110 §10.1.5, and what stands in comments), not by a substring:
//! `GPTBot` is in `GPTBot/1.1` and in `(compatible; GPTBot/1.1; +https://…)`, but neither in `NotGPTBot`, nor in
//! `GPTBot-Extra`, nor in the address `https://example.com/gptbot` of a comment.

mod registry;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::protocol::bot_auth::{KeySource, named_agents};
use crate::{Class, CrawlerRow};

/// How much of a user agent is looked at, in bytes. Real ones have 50 to 300.
pub const USER_AGENT_BYTES_MAX: usize = 2048;

/// All known crawlers, ready to be recognised by user agent.
pub struct Directory {
    rows: Vec<Arc<CrawlerRow>>,
    /// Row numbers by token in lower case.
    by_token: HashMap<Box<str>, usize>,
    /// Row numbers by how their token begins.
    tokens: Tokens,
}

impl Directory {
    /// The built-in registry with a policy's own rows over it (same token, compared without case: theirs wins).
    ///
    /// # Panics
    /// If the built-in registry is broken, which its tests exclude.
    pub fn new(own: Vec<CrawlerRow>) -> Directory {
        let mut rows = registry::rows().to_vec();
        let mut by_token: HashMap<Box<str>, usize> =
            rows.iter().enumerate().map(|(index, row)| (key(&row.token), index)).collect();
        for row in own {
            // An empty token would be found in every user agent.
            if row.token.trim().is_empty() {
                continue;
            }
            let place = *by_token.entry(key(&row.token)).or_insert(rows.len());
            if place == rows.len() {
                rows.push(Arc::new(row));
            } else {
                rows[place] = Arc::new(row);
            }
        }
        let tokens = Tokens::new(&rows);
        Directory { rows, by_token, tokens }
    }

    /// The row whose product token the user agent carries, of any class; the most telling one if there are several.
    ///
    /// An AI crawler's token tells more than another client's, and any client's more than a tool's or a control token
    /// (`GPTBot/1.0 Scrapy/2.11` is GPTBot). Among equals the longest wins, then the last: details follow the frame.
    /// At most [`USER_AGENT_BYTES_MAX`] bytes are looked at.
    pub fn recognise(&self, user_agent: &str) -> Option<&Arc<CrawlerRow>> {
        let bytes = user_agent.as_bytes();
        let window = &bytes[..bytes.len().min(USER_AGENT_BYTES_MAX)];
        let mut best: Option<(u8, usize, &Arc<CrawlerRow>)> = None;
        let mut after_opening = true;
        for (start, byte) in window.iter().enumerate() {
            if after_opening {
                for index in self.tokens.beginning_like(&window[start..]) {
                    let row = &self.rows[usize::from(index)];
                    if !is_product_at(bytes, start, window.len(), row.token.as_bytes()) {
                        continue;
                    }
                    let (rank, length) = (rank(row.class), row.token.len());
                    // Of two that tell as much, the later one.
                    if best
                        .is_none_or(|(best_rank, best_length, _)| (rank, length) >= (best_rank, best_length))
                    {
                        best = Some((rank, length, row));
                    }
                }
            }
            after_opening = OPENING[usize::from(*byte)];
        }
        best.map(|(_, _, row)| row)
    }

    /// The row of a token, compared without case.
    pub fn row(&self, token: &str) -> Option<&Arc<CrawlerRow>> {
        self.by_token.get(&key(token)).map(|index| &self.rows[*index])
    }

    /// All rows, in a stable order: the registry's, then a policy's additions.
    pub fn rows(&self) -> &[Arc<CrawlerRow>] {
        &self.rows
    }

    /// The addresses of all lists by which AI crawlers can be checked, sorted, each once.
    pub fn lists(&self) -> Vec<&str> {
        let ai = self.rows.iter().filter(|row| row.class == Class::Ai);
        let mut lists: Vec<&str> = ai.flat_map(|row| &row.verification.lists).map(String::as_str).collect();
        lists.sort_unstable();
        lists.dedup();
        lists
    }

    /// Where the keys of AI crawlers that sign are, each place once.
    pub fn agents(&self) -> Vec<&KeySource> {
        let ai = self.rows.iter().filter(|row| row.class == Class::Ai);
        let mut agents: Vec<&KeySource> = ai.flat_map(|row| &row.verification.agents).collect();
        agents.sort_unstable_by_key(|agent| agent.url.as_str());
        agents.dedup();
        agents
    }

    /// The AI crawler that signs as this agent, by the value of `Signature-Agent`: some send the user agent of a browser. As much
    /// of a claim as a name in the user agent is.
    pub fn recognise_agent(&self, signature_agent: &[u8]) -> Option<&Arc<CrawlerRow>> {
        let agents = named_agents(signature_agent);
        let ai = self.rows.iter().filter(|row| row.class == Class::Ai && !row.verification.agents.is_empty());
        ai.into_iter().find(|row| agents.iter().any(|agent| row.verification.has_agent(agent)))
    }
}

impl Default for Directory {
    /// The built-in registry alone.
    fn default() -> Directory {
        Directory::new(Vec::new())
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

fn key(token: &str) -> Box<str> {
    token.to_ascii_lowercase().into_boxed_str()
}

/// Tokens by how they begin, so that few have to be compared where a product's name may start.
///
/// A table and comparisons, rather than one automaton for all tokens: names start at some twenty places of a user agent
/// only, and what lies between is passed over at less than a step of an automaton for each byte.
struct Tokens {
    /// The first four bytes of tokens, and their rows' numbers.
    buckets: Vec<Vec<(u32, u16)>>,
    /// The rows of tokens with fewer bytes, which only a policy has.
    short: Vec<u16>,
}

const BUCKETS: usize = 1024;

impl Tokens {
    fn new(rows: &[Arc<CrawlerRow>]) -> Tokens {
        let (mut buckets, mut short) = (vec![Vec::new(); BUCKETS], Vec::new());
        // A policy's text is too short to name 65,536 crawlers; were it not, the rest would go unrecognised.
        for (row, index) in rows.iter().zip(0u16..) {
            match head(row.token.as_bytes()) {
                Some(head) => buckets[bucket(head)].push((head, index)),
                None => short.push(index),
            }
        }
        Tokens { buckets, short }
    }

    /// The rows whose token may stand at the beginning of this text.
    fn beginning_like<'a>(&'a self, text: &[u8]) -> impl Iterator<Item = u16> + 'a {
        let head = head(text);
        let bucket: &[(u32, u16)] = head.map_or(&[], |head| &self.buckets[bucket(head)]);
        let long = bucket.iter().filter(move |(other, _)| Some(*other) == head).map(|(_, index)| *index);
        long.chain(self.short.iter().copied())
    }
}

/// The first four bytes with letters in lower case. Some other bytes fall together too, which costs a comparison.
fn head(text: &[u8]) -> Option<u32> {
    let first = text.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*first) | 0x2020_2020)
}

fn bucket(head: u32) -> usize {
    (head.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

/// Whether this token stands here, within the window, and ends as a product's name does.
fn is_product_at(bytes: &[u8], start: usize, window: usize, token: &[u8]) -> bool {
    let end = start + token.len();
    end <= window
        && bytes[start..end].eq_ignore_ascii_case(token)
        && bytes.get(end).is_none_or(|byte| CLOSING[usize::from(*byte)])
}

/// What may stand before a product's name, besides the beginning.
const OPENING: [bool; 256] = bytes(b";,()[{\"'|<");
/// What may stand behind one, besides the end.
const CLOSING: [bool; 256] = bytes(b"/;,()]}\"'|>:");

/// These bytes, and space and control characters.
const fn bytes(these: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        set[byte] = true;
        byte += 1;
    }
    let mut index = 0;
    while index < these.len() {
        set[these[index] as usize] = true;
        index += 1;
    }
    set
}

fn rank(class: Class) -> u8 {
    match class {
        Class::Ai => 2,
        Class::SearchEngine
        | Class::Feed
        | Class::Preview
        | Class::Monitoring
        | Class::Archive
        | Class::Marketing => 1,
        Class::ControlToken | Class::Tool => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Purpose, Verification};

    fn own(token: &str, class: Class) -> CrawlerRow {
        CrawlerRow {
            token: Arc::from(token),
            operator: Arc::from("own"),
            operator_name: Arc::from("Own"),
            class,
            purpose: Purpose::Unknown,
            verification: Verification::default(),
            source: Arc::from("policy"),
        }
    }

    /// What the built-in registry makes of a user agent.
    fn check(user_agent: &str, expect: Option<&str>) {
        let directory = Directory::default();
        let found = directory.recognise(user_agent).map(|row| &*row.token);
        assert_eq!(found, expect, "{user_agent}");
    }

    #[test]
    fn agents_are_recognised_by_where_their_keys_are() {
        let directory = Directory::default();
        let found = |value: &str| directory.recognise_agent(value.as_bytes()).map(|row| &*row.token);
        for value in [
            "\"https://chatgpt.com\"",
            " \"HTTPS://ChatGPT.com:443/\"",
            "sig1=\"https://chatgpt.com\"",
            "a=\"https://other.example\", sig1=\"https://chatgpt.com/.well-known/http-message-signatures-directory\"",
            "sig1=\"https://chatgpt.com\";type=directory",
        ] {
            assert_eq!(found(value), Some("ChatGPT Agent"), "{value}");
        }
        for value in [
            "",
            "chatgpt.com",
            "\"http://chatgpt.com\"",
            "\"https://chatgpt.com.evil.example\"",
            "\"https://chatgpt.com/other\"",
            "\"https://chatgpt.com@evil.example\"",
            "sig1=(\"https://chatgpt.com\")",
            "sig1=\"https://chatgpt.com\", sig1=\"https://other.example\"",
        ] {
            assert_eq!(found(value), None, "{value}");
        }
        let long = format!("\"https://chatgpt.com\"{}", " ".repeat(10_000));
        assert_eq!(found(&long), None);
        let agents = directory.agents();
        assert!(agents.iter().any(|agent| agent.url.as_str().starts_with("https://chatgpt.com/")));
    }

    #[test]
    fn crawlers_are_recognised_by_what_they_send() {
        for (user_agent, token) in [
            ("GPTBot", "GPTBot"),
            ("gptbot/1.1", "GPTBot"),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
                "GPTBot",
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
                "ClaudeBot",
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
                "ChatGPT-User",
            ),
            (
                "Mozilla/5.0 (compatible;PetalBot;+https://webmaster.petalsearch.com/site/petalbot)",
                "PetalBot",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 11_0 like Mac OS X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/40.0.3754.1902 Mobile Safari/537.36; Bytespider",
                "Bytespider",
            ),
            ("CCBot/2.0 (https://commoncrawl.org/faq/)", "CCBot"),
            (
                "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
                "meta-externalagent",
            ),
            ("Meta-ExternalAgent/1.1", "meta-externalagent"),
            ("Mozilla/5.0 (compatible) Ai2Bot-Dolma (+https://www.allenai.org/crawler)", "Ai2Bot-Dolma"),
            ("Mozilla/5.0 (compatible; Kangaroo Bot/1.0; +http://www.kangaroo.com)", "Kangaroo Bot"),
            ("Sidetrade indexer bot", "Sidetrade indexer bot"),
            ("Brightbot 1.0", "Brightbot"),
            ("iaskspider/2.0", "iaskspider"),
            ("panscient.com", "panscient.com"),
            ("Mozilla/5.0 (compatible; GoogleOther)", "GoogleOther"),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Google-CloudVertexBot; +https://cloud.google.com/enterprise-search) Chrome/W.X.Y.Z Safari/537.36",
                "Google-CloudVertexBot",
            ),
            // A crawler's tool on its user's machine, in its operator's frame: the later of two equally long tokens.
            ("Claude-User (claude-code/2.1.86; +https://support.anthropic.com/)", "Claude-Code"),
        ] {
            check(user_agent, Some(token));
        }
    }

    #[test]
    fn others_are_known_for_what_they_are() {
        let directory = Directory::default();
        for (user_agent, token, class) in [
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
                "bingbot",
                Class::SearchEngine,
            ),
            (
                "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/W.X.Y.Z Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Googlebot",
                Class::SearchEngine,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
                "Applebot",
                Class::SearchEngine,
            ),
            // The address of bingbot's page is in here, but not its name.
            (
                "Mozilla/5.0 (compatible; adidxbot/2.0; +http://www.bing.com/bingbot.htm)",
                "adidxbot",
                Class::Marketing,
            ),
            (
                "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
                "facebookexternalhit",
                Class::Preview,
            ),
            (
                "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
                "Slackbot-LinkExpanding",
                Class::Preview,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
                "facebookexternalhit",
                Class::Preview,
            ),
            ("Feedly/1.0 (+http://www.feedly.com/fetcher.html; 3 subscribers)", "Feedly", Class::Feed),
            (
                "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
                "UptimeRobot",
                Class::Monitoring,
            ),
            (
                "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)",
                "archive.org_bot",
                Class::Archive,
            ),
            (
                "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
                "AhrefsBot",
                Class::Marketing,
            ),
            ("curl/8.5.0", "curl", Class::Tool),
            ("Wget/1.21.3", "Wget", Class::Tool),
            ("python-requests/2.32.3", "python-requests", Class::Tool),
            ("Go-http-client/2.0", "Go-http-client", Class::Tool),
            ("Scrapy/2.11.2 (+https://scrapy.org)", "Scrapy", Class::Tool),
            (
                "Mozilla/5.0 (compatible; Google-Extended/1.0; +http://www.google.com/bot.html)",
                "Google-Extended",
                Class::ControlToken,
            ),
        ] {
            let row = directory.recognise(user_agent).unwrap_or_else(|| panic!("{user_agent}"));
            assert_eq!((&*row.token, row.class), (token, class), "{user_agent}");
        }
    }

    #[test]
    fn people_are_not_recognised() {
        for user_agent in [
            "",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Mozilla/5.0 (Linux; Android 15; SAMSUNG SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/120.0.0.0",
            // Editors and chat programs with a person in front.
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Trae/1.107.1 Chrome/142.0.7444.235 Electron/39.2.7 Safari/537.36",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Code/1.106.0 Chrome/142.0.0.0 Electron/39.2.0 Safari/537.36",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Cursor/2.1.0 Chrome/138.0.0.0 Electron/37.7.0 Safari/537.36",
            "OpenAI File Downloader, reads like a crawler",
        ] {
            check(user_agent, None);
        }
    }

    #[test]
    fn a_token_is_not_a_substring() {
        for user_agent in [
            "NotGPTBot/1.0",
            "GPTBotter/1.0",
            "GPTBot-Extra/1.0",
            "Extra-GPTBot/1.0",
            "GPTBot_2",
            "GPTBot.example",
            "my.GPTBot/1.0",
            "Mozilla/5.0 (compatible; Other/1.0; +https://openai.com/gptbot)",
            "Mozilla/5.0 (compatible; Other/1.0; +gptbot@openai.com)",
            "Mozilla/5.0 (compatible; Other/1.0; https://GPTBot/)",
            "G\u{420}TBot/1.0",
            "GPTBot\u{e9}/1.0",
            "GPT Bot/1.0",
        ] {
            check(user_agent, None);
        }
        for user_agent in [
            "(GPTBot)",
            "a;GPTBot;b",
            "[GPTBot]",
            "\"GPTBot\"",
            "X/1,GPTBot",
            "GPTBot:1",
            "\tGPTBot\t",
            "GPTBot(x)",
        ] {
            check(user_agent, Some("GPTBot"));
        }
    }

    #[test]
    fn the_most_telling_token_wins() {
        check("GPTBot/1.2 Scrapy/2.11", Some("GPTBot"));
        check("python-requests/2.32 (GPTBot/1.2)", Some("GPTBot"));
        check("Mozilla/5.0 (compatible; Googlebot/2.1) GoogleOther", Some("GoogleOther"));
        check("Googlebot/2.1 curl/8.0", Some("Googlebot"));
        check("GoogleOther-Image/1.0", Some("GoogleOther-Image"));
        // A longer token that fails at its boundary hides no shorter one.
        let directory = Directory::new(vec![own("Long", Class::Ai), own("Long Token", Class::Ai)]);
        let token = |user_agent| directory.recognise(user_agent).map(|row| &*row.token);
        assert_eq!(token("Long Tokens/1"), Some("Long"));
        assert_eq!(token("Long Token/1"), Some("Long Token"));
        // Short ones are possible, though hardly wise.
        let directory = Directory::new(vec![own("X", Class::Ai), own("Yz", Class::Ai)]);
        let token = |user_agent| directory.recognise(user_agent).map(|row| &*row.token);
        for (user_agent, expect) in [("X", "X"), ("x/1", "X"), ("a (x)", "X"), ("yz", "Yz"), ("a;YZ:", "Yz")]
        {
            assert_eq!(token(user_agent), Some(expect), "{user_agent}");
        }
        assert_eq!(token("Xa xb y yzz zx"), None);
    }

    #[test]
    fn a_policy_s_rows_lie_over_the_registry() {
        let built_in = Directory::default();
        let directory = Directory::new(vec![
            own("gptBOT", Class::Tool),
            own("ExampleBot", Class::Ai),
            own("", Class::Ai),
            own(" ", Class::Ai),
            own("examplebot", Class::Ai),
        ]);
        assert_eq!(directory.rows().len(), built_in.rows().len() + 1);
        for name in ["GPTBot", "gptbot", "gptBOT"] {
            assert_eq!(
                directory.row(name).map(|row| (&*row.token, row.class)),
                Some(("gptBOT", Class::Tool))
            );
        }
        assert_eq!(directory.recognise("GPTBot/1.0").map(|row| row.class), Some(Class::Tool));
        assert_eq!(
            directory.recognise("ExampleBot/1.0").map(|row| &*row.token),
            Some("examplebot"),
            "the last wins"
        );
        assert!(directory.recognise("Mozilla/5.0 (X11; Linux x86_64)").is_none());
        assert_eq!(directory.row("ClaudeBot").map(|row| &*row.operator), Some("anthropic"));
        assert!(directory.row("NoSuchBot").is_none());
        // Rows of the registry are shared by all directories, so that a reload changes no identity.
        let (a, b) = (built_in.row("ClaudeBot"), directory.row("ClaudeBot"));
        assert!(Arc::ptr_eq(a.expect("a row"), b.expect("a row")));
    }

    #[test]
    fn only_the_beginning_of_a_user_agent_is_read() {
        let at = |offset: usize, tail: &str| format!("{} GPTBot{tail}", "x".repeat(offset - 1));
        let last = USER_AGENT_BYTES_MAX - "GPTBot".len();
        check(&at(last, "/1.0"), Some("GPTBot"));
        check(&at(last + 1, "/1.0"), None);
        // The byte behind the window still decides the boundary.
        check(&at(last, "ter"), None);
        check(&"GPTBo".repeat(400_000), None);
    }

    #[test]
    fn every_token_is_recognised_as_itself() {
        let directory = Directory::default();
        for row in directory.rows() {
            let user_agent = format!("Mozilla/5.0 (compatible; {}/1.0; +https://example.com/)", row.token);
            let found = directory.recognise(&user_agent).map(|row| &*row.token);
            assert_eq!(found, Some(&*row.token));
        }
    }

    #[test]
    fn lists_are_those_of_ai_crawlers() {
        let directory = Directory::default();
        let lists = directory.lists();
        assert!(lists.contains(&"https://openai.com/gptbot.json"));
        assert!(!lists.contains(&"https://www.bing.com/toolbox/bingbot.json"), "bingbot is never acted on");
        assert!(lists.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
