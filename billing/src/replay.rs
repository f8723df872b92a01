//! An access log under a policy: who crawled, and what would have come of it.
//!
//! Lines of an existing log go through the same recognition, decisions and rating as live traffic
//! ([`policy::Directory::recognise`], [`policy::weigh`], [`policy::admit`], [`policy::release`], [`crate::rate`]), so
//! that a replay of a log and the live run that wrote it agree. Nothing here opens a file or asks the network.
//!
//! What a log does not say cannot be decided, and is counted apart: rules by content type where no content type was
//! logged, prices by words, and names that only reverse DNS could confirm. Prices in request headers are unknown, so
//! crawlers agree to pay through their operators' accounts alone. The same length stands for the same version.
//!
//! Memory is bounded whatever the log holds: user agents, addresses, works and decisions are remembered up to a number
//! each, and found out again beyond it.

mod agents;
mod cloudflare;
mod combined;
mod event;
mod json;
mod judge;
mod lines;
mod report;
mod standing;
#[cfg(test)]
mod tests;
mod text;
mod top;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use policy::{Class, PolicySnapshot, RangeList};

pub use event::{Clock, Event, Malformed};
pub use judge::LogLine;
pub use lines::{LINE_BYTES_MAX, for_each_line};
pub use report::{ClassReport, CrawlerReport, PolicyReport, Report, Skipped};
pub use top::Count;

use agents::{Agents, looks_like_bot};
use judge::{Judge, is_ai};
use top::Top;

/// Skipped lines that are shown; all are counted.
const SKIPPED_SHOWN: usize = 5;
/// User agents of unknown bots that are counted one by one.
const UNKNOWN_BOTS: usize = 8_192;

/// What a log does not say of itself.
#[derive(Debug, Default)]
pub struct Settings {
    /// The host of lines that name none; where it is not told, `localhost` stands for it.
    pub host: Option<String>,
    /// `http` or `https`, for lines that do not say.
    pub scheme: String,
    /// Proxies whose `X-Forwarded-For` is believed, beside those on local networks.
    pub trusted_proxies: Vec<IpNet>,
    /// Published address lists by their URLs.
    pub lists: BTreeMap<String, RangeList>,
}

/// A replay under way.
pub struct Replay<'p> {
    judges: Vec<Judge<'p>>,
    has_policy: bool,
    has_host: bool,
    agents: Agents<Agent>,
    clock: Clock,
    lines: u64,
    skipped: u64,
    first_skipped: Vec<Skipped>,
    not_requests: u64,
    without_host: u64,
    without_user_agent: u64,
    first_secs: i64,
    last_secs: i64,
    requests: Count,
    unrecognised: Count,
    /// By row of the first judge's directory.
    by_row: Vec<Seen>,
    unknown_bots: Top,
}

/// What is known of a user agent: its row in each judge's directory, and whether it looks like a bot's.
#[derive(Clone, Copy, Default)]
struct Agent {
    rows: [Option<u32>; 2],
    is_unknown_bot: bool,
}

/// What a row of the registry was seen to do.
#[derive(Clone, Copy, Default)]
struct Seen {
    all: Count,
    verified: u64,
    spoofed: u64,
}

impl<'p> Replay<'p> {
    /// Begins a replay under one policy, or under two that are compared; under none, who crawled is all that is shown,
    /// and `registry` (a policy without rules) says who is who.
    pub fn new(
        policy: Option<&'p PolicySnapshot>,
        against: Option<&'p PolicySnapshot>,
        registry: &'p PolicySnapshot,
        settings: &'p Settings,
    ) -> Replay<'p> {
        let judges: Vec<Judge<'p>> = [Some(policy.unwrap_or(registry)), against]
            .into_iter()
            .flatten()
            .map(|one| Judge::new(one, settings))
            .collect();
        let rows = judges[0].policy().directory().rows().len();
        Replay {
            judges,
            has_policy: policy.is_some(),
            has_host: settings.host.is_some(),
            agents: Agents::new(),
            clock: Clock::default(),
            lines: 0,
            skipped: 0,
            first_skipped: Vec::new(),
            not_requests: 0,
            without_host: 0,
            without_user_agent: 0,
            first_secs: i64::MAX,
            last_secs: i64::MIN,
            requests: Count::default(),
            unrecognised: Count::default(),
            by_row: vec![Seen::default(); rows],
            unknown_bots: Top::new(UNKNOWN_BOTS),
        }
    }

    /// Takes in one line, whatever it is; `None` stands for one that is too long. `file` is for the report alone.
    pub fn line(&mut self, file: &str, number: u64, line: Option<&[u8]>) {
        if line.is_some_and(|line| line.trim_ascii().is_empty()) {
            return;
        }
        self.lines += 1;
        // The clock is lent out because the event lives in the line, not in it.
        let mut clock = std::mem::take(&mut self.clock);
        let event = line.ok_or(Malformed("longer than 64 KiB")).and_then(|line| parse(line, &mut clock));
        self.clock = clock;
        match event {
            Ok(event) => self.event(&event),
            Err(Malformed(why)) => {
                self.skipped += 1;
                if self.first_skipped.len() < SKIPPED_SHOWN {
                    self.first_skipped.push(Skipped { file: file.to_owned(), line: number, why });
                }
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        if !event.is_request() {
            self.not_requests += 1;
            return;
        }
        let one = Count { fetches: 1, bytes: event.bytes };
        self.requests.fetches += 1;
        self.requests.bytes += event.bytes;
        self.first_secs = self.first_secs.min(event.time_secs);
        self.last_secs = self.last_secs.max(event.time_secs);
        self.without_host += u64::from(event.host.is_empty() && !self.has_host);
        self.without_user_agent += u64::from(event.user_agent.is_empty());

        let judges = &self.judges;
        let agent = self.agents.look_up(&event.user_agent, |user_agent| {
            let mut rows = [None; 2];
            for (row, judge) in rows.iter_mut().zip(judges) {
                *row = judge.recognise(user_agent);
            }
            Agent { rows, is_unknown_bot: rows[0].is_none() && looks_like_bot(user_agent) }
        });
        match agent.rows[0] {
            Some(row) => {
                let seen = &mut self.by_row[row as usize].all;
                seen.fetches += 1;
                seen.bytes += event.bytes;
            }
            None => {
                self.unrecognised.fetches += 1;
                self.unrecognised.bytes += event.bytes;
            }
        }
        if agent.is_unknown_bot {
            self.unknown_bots.add(&String::from_utf8_lossy(&event.user_agent), one);
        }
        for (place, judge) in self.judges.iter_mut().enumerate() {
            let Some(row) = agent.rows[place] else { continue };
            if !is_ai(judge.row(row)) {
                continue; // not a party to this fetch
            }
            let rung = judge.fetch(row, event);
            if place == 0 {
                let seen = &mut self.by_row[row as usize];
                seen.verified += u64::from(rung.is_verified);
                seen.spoofed += u64::from(rung.is_spoof);
            }
        }
    }
}

/// Reads one line of any known format: a line that begins with a brace is JSON, any other the combined format.
///
/// # Errors
/// It is none, or not a whole one.
pub fn parse<'a>(line: &'a [u8], clock: &mut Clock) -> Result<Event<'a>, Malformed> {
    match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => json::parse(line, clock),
        Some(_) => combined::parse(line, clock),
        None => Err(Malformed("an empty line")),
    }
}

/// The classes that are not acted on, in the order in which they are shown.
const OTHER_CLASSES: [Class; 8] = [
    Class::SearchEngine,
    Class::Feed,
    Class::Preview,
    Class::Monitoring,
    Class::Archive,
    Class::Marketing,
    Class::Tool,
    Class::ControlToken,
];

/// Shares a policy's name.
fn digest_of(policy: &PolicySnapshot) -> Arc<str> {
    Arc::clone(policy.digest())
}
