//! User agents, looked at once each.

use hashbrown::HashMap;

/// User agents that are remembered; a log has few, and the memory begins again beyond that.
const REMEMBERED_MAX: usize = 32_768;

/// Words that a bot's user agent has and a browser's does not.
const BOT_WORDS: [&[u8]; 8] =
    [b"bot", b"crawl", b"spider", b"scrape", b"fetcher", b"slurp", b"+http", b"archiver"];

/// A memory of what was found out about each user agent.
pub(super) struct Agents<T> {
    known: HashMap<Box<[u8]>, T>,
}

impl<T: Copy> Agents<T> {
    pub(super) fn new() -> Agents<T> {
        Agents { known: HashMap::default() }
    }

    /// What is known of a user agent, found out now if it is new.
    pub(super) fn look_up(&mut self, user_agent: &[u8], find_out: impl FnOnce(&str) -> T) -> T {
        if let Some(known) = self.known.get(user_agent) {
            return *known;
        }
        let found = find_out(&String::from_utf8_lossy(user_agent));
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(user_agent.into(), found);
        found
    }
}

/// Whether a user agent calls itself something like a bot.
pub(super) fn looks_like_bot(user_agent: &str) -> bool {
    let lower = user_agent.to_ascii_lowercase();
    // Phones of the maker Cubot are people's.
    let lower = lower.replace("cubot", "");
    BOT_WORDS.iter().any(|word| memchr::memmem::find(lower.as_bytes(), word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_are_told_from_browsers() {
        for bot in
            ["NewCrawler/1.0", "x (+https://x.example/about)", "MegaSpider", "somebot", "Page-Fetcher/2"]
        {
            assert!(looks_like_bot(bot), "{bot}");
        }
        for browser in [
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36",
            "",
        ] {
            assert!(!looks_like_bot(browser), "{browser}");
        }
    }
}
