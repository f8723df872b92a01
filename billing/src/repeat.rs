//! What was paid before is free for a while: the versions that an operator has paid, or was quoted, for.
//!
//! A **version** of a work is its URL with the origin's `ETag`, or with the digest of what was delivered where there is
//! none. A 206 delivers a part of a version. Per fetch, the first part pays the price and every other part of that
//! version is the same purchase. Per MB and per words each part pays for what is in it, so its key has the
//! `Content-Range` too: the same part again is free, and so is a part of what was paid for as a whole, but the parts of
//! a work together cost as much as the whole. Fetching in slices is never cheaper.
//!
//! Only a complete delivery buys a version: who hung up has paid for a part of it, and pays again. What was only quoted
//! (a rule that observes) makes the next quote free, never the next bill.
//!
//! A key is **tentative** from the close of a fetch until its record is durable. A second fetch in between is a repeat;
//! should the first record fail, it stays one, in the operator's favour. Only durable keys are saved.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use metrics::{Outcome, UsageRecord};
use policy::{Unit, Verdict};
use ring::digest;

use crate::rate::unit_of;

/// The most durable keys; beyond it the oldest is forgotten and its version is paid for again. About 24 bytes each in
/// a side file, about 75 in memory.
pub const KEYS_MAX: usize = 1_000_000;

/// Redelivery is free for at least this long, so that a crawler whose connection broke in the last instant does not
/// pay twice; unless the rule says that every fetch counts.
pub const REDELIVERY_SECS: u64 = 600;

/// A tentative key is forgotten after this: its record should have been durable, or refused, long before.
const TENTATIVE_SECS: u64 = 600;

/// The most tentative keys before those left behind are swept out.
const TENTATIVE_MAX: usize = 16_384;

type Key = [u8; 16];

/// What a fetch would buy, and what would make it a repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// The version as a whole.
    whole: Key,
    /// The part of it that was delivered, where parts are paid for one by one.
    part: Option<Key>,
    /// The fetch delivered all that it should: it buys the version.
    complete: bool,
    /// It is owed, not only quoted.
    owed: bool,
    /// When, seconds since the Unix epoch.
    seconds: u32,
}

impl Version {
    /// The version that a record delivered; `None` where nothing is charged or nothing names a version.
    pub fn of(record: &UsageRecord) -> Option<Version> {
        let charged = record.verdict == Verdict::Charge.as_str() && record.method != "HEAD";
        let unit = record.unit.as_deref().and_then(unit_of).filter(|_| charged)?;
        let name = match (&record.etag, &record.digest) {
            (Some(etag), _) => ["etag", etag],
            (None, Some(digest)) => ["digest", digest],
            (None, None) => return None,
        };
        let fields = [&record.operator, &record.url, name[0], name[1]];
        let part = match (record.status, unit) {
            (200, _) | (206, Unit::Fetch) => None,
            (206, Unit::Megabyte | Unit::ThousandWords) => {
                let range = record.content_range.as_deref().unwrap_or("");
                Some(key(&[fields[0], fields[1], fields[2], fields[3], "part", range]))
            }
            _ => return None,
        };
        Some(Version {
            whole: key(&fields),
            part,
            complete: record.outcome == Outcome::Complete,
            owed: record.owed,
            seconds: u32::try_from(record.time_micros.div_euclid(1_000_000)).unwrap_or(0),
        })
    }

    fn bought(&self) -> Key {
        self.part.unwrap_or(self.whole)
    }

    fn purchase(&self) -> Purchase {
        Purchase { seconds: self.seconds, paid: self.owed }
    }
}

/// 128 bits of SHA-256 over the fields, each with its length before it.
fn key(fields: &[&str]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for field in fields {
        context.update(&(field.len() as u64).to_le_bytes());
        context.update(field.as_bytes());
    }
    context.finish().as_ref()[..16].try_into().expect("SHA-256 has more than 16 bytes")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Purchase {
    seconds: u32,
    paid: bool,
}

impl Purchase {
    /// Whether it makes a fetch free: what was only quoted does not settle what is owed.
    fn covers(self, version: &Version, free_secs: u64) -> bool {
        let age = u64::from(version.seconds.saturating_sub(self.seconds));
        (self.paid || !version.owed) && age < free_secs
    }
}

/// Keys are hashes already: eight of their bytes spread well enough.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }

    fn write_usize(&mut self, _: usize) {} // the length of an array is no information

    fn finish(&self) -> u64 {
        self.0
    }
}

type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// All versions that were paid or quoted.
#[derive(Default)]
pub struct Repeats {
    durable: KeyMap<Purchase>,
    /// Durable keys, the oldest first. A key that was bought again is here twice; the older place is stale.
    order: VecDeque<(Key, u32)>,
    tentative: KeyMap<Purchase>,
}

impl Repeats {
    /// None yet.
    pub fn new() -> Repeats {
        Repeats::default()
    }

    /// Whether a fetch is a repeat under a rule's `repeat_free_secs`; if it is not and buys its version, the version
    /// is taken tentatively. Call it at the close of the fetch, once.
    pub fn check_and_insert(&mut self, version: &Version, repeat_free_secs: u64) -> bool {
        if repeat_free_secs > 0 {
            let free_secs = repeat_free_secs.max(REDELIVERY_SECS);
            let known = [Some(version.whole), version.part];
            if known.into_iter().flatten().any(|key| self.covers(&key, version, free_secs)) {
                return true;
            }
        }
        if version.complete {
            if self.tentative.len() >= TENTATIVE_MAX {
                let now = version.seconds;
                self.tentative.retain(|_, it| u64::from(now.saturating_sub(it.seconds)) < TENTATIVE_SECS);
            }
            self.tentative.insert(version.bought(), version.purchase());
        }
        false
    }

    fn covers(&self, key: &Key, version: &Version, free_secs: u64) -> bool {
        let durable = self.durable.get(key).is_some_and(|purchase| purchase.covers(version, free_secs));
        let within = free_secs.min(TENTATIVE_SECS);
        durable || self.tentative.get(key).is_some_and(|purchase| purchase.covers(version, within))
    }

    /// The record was not appended: nothing was bought.
    pub fn forget(&mut self, version: &Version) {
        if self.tentative.get(&version.bought()) == Some(&version.purchase()) {
            self.tentative.remove(&version.bought());
        }
    }

    /// A record is durable: what it paid, or was quoted, for is bought.
    pub fn insert_durable(&mut self, record: &UsageRecord) {
        let Some(version) = Version::of(record) else {
            return;
        };
        self.forget(&version);
        if version.complete && !record.repeat && record.quote_nano > 0 {
            self.insert(version.bought(), version.purchase());
        }
    }

    fn insert(&mut self, key: Key, purchase: Purchase) {
        let before = self.durable.insert(key, purchase);
        if before.is_some_and(|before| before.seconds == purchase.seconds) {
            return; // its place in the order is right
        }
        self.order.push_back((key, purchase.seconds));
        while self.durable.len() > KEYS_MAX || self.order.len() > 2 * KEYS_MAX {
            let Some((oldest, seconds)) = self.order.pop_front() else {
                return;
            };
            if self.durable.get(&oldest).is_some_and(|purchase| purchase.seconds == seconds) {
                self.durable.remove(&oldest);
            }
        }
    }

    /// How many durable keys there are.
    pub fn len(&self) -> usize {
        self.durable.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.durable.is_empty()
    }

    /// Appends the durable keys, the oldest first: for each 16 bytes of key and a little-endian `u64`, seconds × 2 + 1
    /// if paid.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.reserve(self.durable.len() * ENTRY_BYTES);
        for (key, seconds) in &self.order {
            match self.durable.get(key) {
                Some(purchase) if purchase.seconds == *seconds => {
                    out.extend_from_slice(key);
                    let packed = u64::from(*seconds) << 1 | u64::from(purchase.paid);
                    out.extend_from_slice(&packed.to_le_bytes());
                }
                _ => {} // bought again later
            }
        }
    }

    /// Reads what [`Repeats::save`] wrote.
    pub fn restore(saved: &[u8]) -> Result<Repeats, &'static str> {
        let (entries, rest) = saved.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || entries.len() > KEYS_MAX {
            return Err("the repeat keys have a wrong length");
        }
        let mut repeats = Repeats::new();
        repeats.durable.reserve(entries.len());
        repeats.order.reserve(entries.len());
        for entry in entries {
            let key: Key = entry[..16].try_into().expect("16 bytes");
            let packed = u64::from_le_bytes(entry[16..].try_into().expect("8 bytes"));
            let seconds = u32::try_from(packed >> 1).map_err(|_| "a repeat key has an impossible time")?;
            repeats.durable.insert(key, Purchase { seconds, paid: packed & 1 == 1 });
            repeats.order.push_back((key, seconds));
        }
        Ok(repeats)
    }
}

const ENTRY_BYTES: usize = 24;
