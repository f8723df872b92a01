//! What was paid before is free for a while: the versions that an operator has paid, or was quoted, for.
//!
//! A **version** of a work is its URL with the origin's `ETag`, or with the digest of what was delivered where there is
//! none. A 206 delivers a part of a version. Per fetch, the first part pays the price and every other part of that
//! version is the same purchase. Per MB and per words each part pays for what is in it, so its key has the
//! `Content-Range` too: the same part again is free, and so is a part of what was paid for as a whole, but the parts of
//! a work together cost as much as the whole. Fetching in slices is never cheaper.
//!
//! Only a complete delivery buys a version: who hung up has paid for a part of it, and pays again. What was only quoted
//! (a rule that observes) makes the next quote free, never the next bill, and takes nothing from what was paid.
//!
//! A clock that was wrong makes nobody pay twice and nothing free for ever: a purchase counts for as long before its
//! time as after it.
//!
//! A key is **tentative** from the close of a fetch until its record is durable. A second fetch in between is a repeat;
//! should the first record fail, it stays one, in the operator's favour. Only durable keys are saved.
//!
//! Keys are spread over shards, each with a lock that is held for a look-up or two, never for a walk over all keys:
//! workers ask at every close while the ledger's writer inserts and saves.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The most tentative keys of a shard before those left behind are swept out.
const TENTATIVE_MAX: usize = 512;

const SHARDS: usize = 32;

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
    /// When, seconds since the Unix epoch; not 0.
    seconds: u32,
}

impl Version {
    /// The version that a record delivered; `None` where nothing is charged or nothing names a version.
    pub fn of<S: Deref<Target = str>>(record: &UsageRecord<S>) -> Option<Version> {
        // What was paid with the request was paid by whoever sent it, not by the operator whose name it carries.
        let on_account = record.settlement.is_none();
        let charged = *record.verdict == *Verdict::Charge.as_str() && *record.method != *"HEAD" && on_account;
        let unit = record.unit.as_deref().and_then(unit_of).filter(|_| charged)?;
        let name = match (&record.etag, &record.digest) {
            (Some(etag), _) => ["etag", &**etag],
            (None, Some(digest)) => ["digest", &**digest],
            (None, None) => return None,
        };
        let seconds = u32::try_from(record.time_micros.div_euclid(1_000_000)).ok().filter(|it| *it > 0)?;
        let fields = [&*record.operator, &*record.url, name[0], name[1]];
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
            seconds,
        })
    }

    fn bought(&self) -> Key {
        self.part.unwrap_or(self.whole)
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

/// When a version was bought last: seconds since the Unix epoch, 0 for never.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Purchase {
    paid: u32,
    quoted: u32,
}

impl Purchase {
    /// It is paid, or only quoted.
    pub(crate) fn buy(&mut self, owed: bool, seconds: u32) {
        *self.time(owed) = seconds;
    }

    /// Whether it makes a fetch free: what was only quoted does not settle what is owed.
    pub(crate) fn covers(self, owed: bool, seconds: u32, repeat_free_secs: u64) -> bool {
        let free_secs = if repeat_free_secs == 0 { 0 } else { repeat_free_secs.max(REDELIVERY_SECS) };
        let within = |bought: u32| bought > 0 && u64::from(seconds.abs_diff(bought)) < free_secs;
        within(self.paid) || !owed && within(self.quoted)
    }

    pub(crate) fn latest(self) -> u32 {
        self.paid.max(self.quoted)
    }

    fn time(&mut self, owed: bool) -> &mut u32 {
        if owed { &mut self.paid } else { &mut self.quoted }
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

/// All versions that were paid or quoted. Shared by all threads; [`Repeats::insert_durable`] and [`Repeats::save`] are
/// for the ledger's writer alone.
#[derive(Default)]
pub struct Repeats {
    shards: [Mutex<Shard>; SHARDS],
    /// Workers never ask for it. Whoever holds it may lock a shard, not the other way round.
    order: Mutex<Order>,
}

#[derive(Default)]
struct Shard {
    durable: KeyMap<Purchase>,
    tentative: KeyMap<Purchase>,
}

#[derive(Default)]
struct Order {
    /// Durable keys, the oldest first. A key that was bought again is here twice; the older place is stale.
    places: VecDeque<(Key, u32)>,
    /// How many durable keys there are.
    keys: usize,
}

impl Repeats {
    /// None yet.
    pub fn new() -> Repeats {
        Repeats::default()
    }

    /// Whether a fetch is a repeat under a rule's `repeat_free_secs`; if it is not and buys its version, the version
    /// is taken tentatively. Call it at the close of the fetch, once.
    pub fn check_and_insert(&self, version: &Version, repeat_free_secs: u64) -> bool {
        let Version { whole, owed, seconds, .. } = *version;
        if version.part.is_some() && self.shard(&whole).covers(&whole, version, repeat_free_secs) {
            return true;
        }
        let bought = version.bought();
        let mut shard = self.shard(&bought);
        if shard.covers(&bought, version, repeat_free_secs) {
            return true;
        }
        if version.complete {
            if shard.tentative.len() >= TENTATIVE_MAX {
                let is_recent = |it: &Purchase| u64::from(seconds.abs_diff(it.latest())) < TENTATIVE_SECS;
                shard.tentative.retain(|_, it| is_recent(it));
            }
            shard.tentative.entry(bought).or_default().buy(owed, seconds);
        }
        false
    }

    /// The record was not appended: nothing was bought.
    pub fn forget(&self, version: &Version) {
        self.shard(&version.bought()).forget(version);
    }

    /// A record is durable: what it delivered is bought, if it `cost` anything or was quoted for.
    pub fn insert_durable(&self, version: &Version, cost: bool) {
        let key = version.bought();
        let mut order = lock(&self.order);
        let mut shard = self.shard(&key);
        shard.forget(version);
        if !version.complete || !cost {
            return;
        }
        let purchase = shard.durable.entry(key).or_default();
        let before = purchase.latest();
        purchase.buy(version.owed, version.seconds);
        let latest = purchase.latest();
        drop(shard);
        order.keys += usize::from(before == 0);
        if before != latest {
            order.places.push_back((key, latest));
        }
        while order.keys > KEYS_MAX || order.places.len() > 2 * KEYS_MAX {
            let Some((oldest, seconds)) = order.places.pop_front() else {
                return;
            };
            let mut shard = self.shard(&oldest);
            if shard.durable.get(&oldest).is_some_and(|purchase| purchase.latest() == seconds) {
                shard.durable.remove(&oldest);
                order.keys -= 1;
            }
        }
    }

    /// How many durable keys there are.
    pub fn len(&self) -> usize {
        lock(&self.order).keys
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the durable keys, the oldest first: for each 16 bytes of key, and as little-endian `u32` when it was
    /// paid and when it was quoted last.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut keys: Vec<(Key, Purchase)> = Vec::with_capacity(self.len());
        for shard in &self.shards {
            // A copy of one shard is all that anybody waits for.
            keys.extend(lock(shard).durable.iter().map(|(key, purchase)| (*key, *purchase)));
        }
        keys.sort_unstable_by_key(|(key, purchase)| (purchase.latest(), *key));
        out.reserve(keys.len() * ENTRY_BYTES);
        for (key, purchase) in keys {
            out.extend_from_slice(&key);
            out.extend_from_slice(&purchase.paid.to_le_bytes());
            out.extend_from_slice(&purchase.quoted.to_le_bytes());
        }
    }

    /// Reads what [`Repeats::save`] wrote.
    pub fn restore(saved: &[u8]) -> Result<Repeats, &'static str> {
        let (entries, rest) = saved.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || entries.len() > KEYS_MAX {
            return Err("the repeat keys have a wrong length");
        }
        let repeats = Repeats::new();
        {
            let mut order = lock(&repeats.order);
            order.places.reserve(entries.len());
            // Keys are digests, so each shard gets about as many; an eighth more, and none has to grow.
            let shard_keys = entries.len() / SHARDS + entries.len() / SHARDS / 8;
            repeats.shards.iter().for_each(|shard| lock(shard).durable.reserve(shard_keys));
            for entry in entries {
                let key: Key = entry[..16].try_into().expect("16 bytes");
                let time = |at| u32::from_le_bytes(entry[at..at + 4].try_into().expect("4 bytes"));
                let purchase = Purchase { paid: time(16), quoted: time(20) };
                if purchase.latest() == 0 || repeats.shard(&key).durable.insert(key, purchase).is_some() {
                    return Err("a repeat key was never bought, or is there twice");
                }
                order.places.push_back((key, purchase.latest()));
            }
            order.keys = entries.len();
        }
        Ok(repeats)
    }

    /// Takes up restored keys in place of its own.
    pub(crate) fn take_up(&self, restored: Repeats) {
        *lock(&self.order) = restored.order.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (shard, restored) in self.shards.iter().zip(restored.shards) {
            *lock(shard) = restored.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(key[0]) % SHARDS])
    }
}

impl Shard {
    fn covers(&self, key: &Key, version: &Version, repeat_free_secs: u64) -> bool {
        let covers = |purchase: Option<&Purchase>, free_secs| {
            purchase.is_some_and(|it| it.covers(version.owed, version.seconds, free_secs))
        };
        covers(self.durable.get(key), repeat_free_secs)
            || covers(self.tentative.get(key), repeat_free_secs.min(TENTATIVE_SECS))
    }

    fn forget(&mut self, version: &Version) {
        let key = version.bought();
        let Some(purchase) = self.tentative.get_mut(&key) else {
            return;
        };
        let time = purchase.time(version.owed);
        if *time == version.seconds {
            *time = 0;
        }
        if purchase.latest() == 0 {
            self.tentative.remove(&key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const ENTRY_BYTES: usize = 24;
