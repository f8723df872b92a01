//! What was paid with and is good once: signatures that offered a price, payments that came with a request.
//!
//! A key is **taken** from the moment at which a fetch wants to use it until that fetch is closed ([`Spending`]); it is
//! **spent** when the record of a fetch that cost something and names it ([`UsageRecord::authorisation`]) is durable. The
//! ledger is the truth: after a start the same records make the same keys spent, so that neither a restart nor a crash
//! lets a key buy twice. What cost nothing (an origin that failed, a repeat) uses nothing up.
//!
//! A key is remembered until nobody would take it any more. What would end no later than something that was forgotten
//! is refused, whatever the clock says now: one that jumps ahead and back revives nothing. There are never more than
//! [`KEYS_MAX`]: at the limit new keys are refused, none is forgotten early.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::UsageRecord;
use policy::hex;

use crate::derived::{BROKEN, Reader, Writer};

/// The most keys that are taken or spent. About 80 bytes each in memory, 24 in a side file. With signatures that are good
/// for five minutes it is reached at 3,000 paid fetches a second.
pub const KEYS_MAX: usize = 1_000_000;

/// As much of a digest as is remembered.
type Short = [u8; 16];

/// Names a signature or a payment that is good once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SpendKey {
    /// The Unix second from which nobody takes it any more.
    pub until: i64,
    /// SHA-256 over what makes it one of its kind.
    pub digest: [u8; 32],
}

impl SpendKey {
    fn short(&self) -> Short {
        *self.digest.first_chunk().expect("a digest is longer")
    }
}

/// As in a record: `<64 hex digits> <until>`.
impl fmt::Display for SpendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", hex(&self.digest), self.until)
    }
}

impl FromStr for SpendKey {
    type Err = ();

    fn from_str(text: &str) -> Result<SpendKey, ()> {
        let (hex, until) = text.split_once(' ').ok_or(())?;
        let until = until.parse().map_err(|_| ())?;
        let mut digest = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(SpendKey { until, digest })
    }
}

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpendError {
    /// A fetch that is under way uses it.
    #[error("it is in use by another request")]
    InUse,
    /// It has bought something before.
    #[error("it was used before")]
    Spent,
    /// There are [`KEYS_MAX`] keys.
    #[error("no more of them can be remembered just now")]
    Full,
}

/// All keys. Shared by all threads; every call is short.
#[derive(Default)]
pub struct Spent {
    keys: Mutex<Keys>,
}

struct Keys {
    taken: HashSet<Short>,
    spent: HashMap<Short, i64>,
    /// The spent ones, the first to be forgotten first.
    order: BTreeSet<(i64, Short)>,
    /// The latest end of what was forgotten.
    horizon: i64,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys { taken: HashSet::new(), spent: HashMap::new(), order: BTreeSet::new(), horizon: i64::MIN }
    }
}

/// The use of a key by a fetch that is under way. Gives it back when it goes: keep it until the fetch's record is answered.
#[must_use]
pub struct Spending {
    spent: Arc<Spent>,
    key: SpendKey,
}

impl Spending {
    /// The key.
    pub fn key(&self) -> SpendKey {
        self.key
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        self.spent.keys().taken.remove(&self.key.short());
    }
}

impl Spent {
    /// Takes a key for a fetch: of all that want it at once, one gets it. `now` is in Unix seconds.
    pub fn spend(self: &Arc<Self>, key: SpendKey, now: i64) -> Result<Spending, SpendError> {
        let mut keys = self.keys();
        keys.forget(now);
        if keys.spent.contains_key(&key.short()) || key.until <= keys.horizon {
            return Err(SpendError::Spent);
        }
        if keys.taken.len() + keys.spent.len() >= KEYS_MAX {
            return Err(SpendError::Full);
        }
        if !keys.taken.insert(key.short()) {
            return Err(SpendError::InUse);
        }
        drop(keys);
        Ok(Spending { spent: Arc::clone(self), key })
    }

    /// A record is durable: if it cost something, its key is spent.
    pub(crate) fn committed<S: Deref<Target = str>>(&self, record: &UsageRecord<S>) {
        let Some(key) = record.authorisation.as_deref().filter(|_| record.amount_nano > 0) else { return };
        // What cannot be read was written by somebody else and authorised nothing here.
        let Ok(key) = key.parse::<SpendKey>() else { return };
        let mut keys = self.keys();
        keys.forget(record.time_micros.div_euclid(1_000_000));
        keys.insert(key.until, key.short());
    }

    /// How many are spent and still remembered.
    pub fn len(&self) -> usize {
        self.keys().spent.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the spent ones.
    pub(crate) fn save(&self, out: &mut Writer) {
        let keys = self.keys();
        out.i64(keys.horizon);
        out.u64(keys.order.len() as u64);
        for (until, short) in &keys.order {
            out.i64(*until);
            out.out.extend_from_slice(short);
        }
    }

    /// Reads what [`Spent::save`] wrote.
    pub(crate) fn restored(saved: &mut Reader<'_>) -> Result<Spent, &'static str> {
        let mut keys = Keys { horizon: saved.i64()?, ..Keys::default() };
        let count = usize::try_from(saved.u64()?).ok().filter(|count| *count <= KEYS_MAX).ok_or(BROKEN)?;
        for _ in 0..count {
            keys.insert(saved.i64()?, saved.array()?);
        }
        Ok(Spent { keys: Mutex::new(keys) })
    }

    /// Takes up restored keys in place of its own; what is taken stays taken.
    pub(crate) fn take_up(&self, restored: Spent) {
        let restored = restored.keys.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.keys();
        *keys = Keys { taken: std::mem::take(&mut keys.taken), ..restored };
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn insert(&mut self, until: i64, key: Short) {
        if until <= self.horizon {
            return;
        }
        if let Some(before) = self.spent.insert(key, until) {
            self.order.remove(&(before, key));
        }
        self.order.insert((until, key));
        // `spend` lets no more in, but a ledger may have been written under another limit.
        while self.spent.len() > KEYS_MAX {
            self.forget_first();
        }
    }

    fn forget(&mut self, now: i64) {
        while self.order.first().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((until, key)) = self.order.pop_first() {
            self.spent.remove(&key);
            self.horizon = self.horizon.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(number: u64, until: i64) -> SpendKey {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        SpendKey { until, digest }
    }

    #[test]
    fn a_key_reads_as_it_is_written() {
        let key = key(0x00ab_cdef, 1_795_354_865);
        let text = key.to_string();
        assert_eq!(text.len(), 64 + 1 + 10);
        assert_eq!(text.parse(), Ok(key));
        let wrong =
            ["", "00", "00 1", &text[1..], &text.replace('a', "+"), &text.replace(' ', "  "), &text[..64]];
        for wrong in wrong {
            assert_eq!(wrong.parse::<SpendKey>(), Err(()), "{wrong:?}");
        }
    }

    #[test]
    fn of_all_that_want_a_key_at_once_one_gets_it() {
        let spent = Arc::<Spent>::default();
        for round in 0..100 {
            let (start, got, end) = (Barrier::new(8), AtomicUsize::new(0), Barrier::new(8));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        let spending = spent.spend(key(round, 100), 50);
                        got.fetch_add(usize::from(spending.is_ok()), Ordering::Relaxed);
                        // Nobody gives it back before all have asked.
                        end.wait();
                        assert!(matches!(spending, Ok(_) | Err(SpendError::InUse)));
                    });
                }
            });
            assert_eq!(got.into_inner(), 1);
        }
        assert!(spent.spend(key(1, 100), 50).is_ok(), "given back, nothing was bought");
    }

    #[test]
    fn what_is_spent_is_remembered_until_nobody_would_take_it() {
        let spent = Arc::<Spent>::default();
        let insert = |key: SpendKey| spent.keys().insert(key.until, key.short());
        insert(key(1, 100));
        insert(key(2, 200));
        assert_eq!(spent.spend(key(1, 100), 99).err(), Some(SpendError::Spent));
        assert!(spent.spend(key(3, 300), 100).is_ok());
        assert_eq!(spent.len(), 1, "the first is forgotten, the other is not");
        assert_eq!(spent.spend(key(1, 100), 50).err(), Some(SpendError::Spent), "the clock went back");
        assert_eq!(
            spent.spend(key(4, 100), 50).err(),
            Some(SpendError::Spent),
            "nobody knows about it any more"
        );
        assert!(spent.spend(key(4, 101), 50).is_ok());
        let mut saved = Writer::default();
        spent.save(&mut saved);
        let restored = Spent::restored(&mut Reader { rest: &saved.out }).expect("what was saved");
        let restored = Arc::new(restored);
        assert_eq!(restored.spend(key(2, 200), 0).err(), Some(SpendError::Spent));
        assert_eq!(restored.spend(key(4, 100), 0).err(), Some(SpendError::Spent));
        assert!(Spent::restored(&mut Reader { rest: &saved.out[..saved.out.len() - 1] }).is_err());
    }

    #[test]
    fn at_the_limit_nothing_is_forgotten_and_nothing_new_is_taken() {
        let spent = Arc::<Spent>::default();
        for number in 0..KEYS_MAX as u64 {
            let key = key(number, 1000 + number as i64);
            spent.keys().insert(key.until, key.short());
        }
        assert_eq!(spent.spend(key(u64::MAX, 2000), 0).err(), Some(SpendError::Full));
        assert_eq!(spent.spend(key(0, 1000), 0).err(), Some(SpendError::Spent));
        assert!(spent.spend(key(u64::MAX, 2000), 1000).is_ok(), "there is room again");
    }
}
