//! How often each client address may ask the licence server: secrets cannot be guessed by asking, and signatures cost.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use crate::bucket::TokenBucket;
use crate::clients::subscriber;
use crate::shared::lock;

/// Calls of one client in a second, in the long run.
const PER_SECOND: u32 = 10;
/// Calls that it has saved up at most.
const SAVED_MAX: u32 = 100;
/// Clients that are remembered. Who has saved up everything need not be; if all have asked of late, others wait.
const CLIENTS_MAX: usize = 4_096;

/// What each client has saved up.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<IpAddr, TokenBucket>>);

impl Rates {
    /// Takes one call of a client, if it has one.
    pub(super) fn take(&self, client: IpAddr, now: Instant) -> bool {
        let mut rates = lock(&self.0);
        let key = subscriber(client);
        if !rates.contains_key(&key) && rates.len() >= CLIENTS_MAX {
            rates.retain(|_, bucket| !bucket.is_full(now));
            if rates.len() >= CLIENTS_MAX {
                return false;
            }
        }
        rates.entry(key).or_insert_with(|| TokenBucket::new(PER_SECOND, SAVED_MAX, now)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_who_asks_too_often_waits_alone() {
        let (rates, start) = (Rates::default(), Instant::now());
        let client = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        let taken = |n, at| (0..1_000).filter(|_| rates.take(client(n), at)).count();
        assert_eq!(taken(1, start), 100);
        assert_eq!(taken(2, start), 100);
        assert_eq!(taken(1, start + Duration::from_secs(1)), 10);
        assert_eq!(taken(1, start + Duration::from_secs(3_600)), 100);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (rates, start) = (Rates::default(), Instant::now());
        let client = |n: usize| IpAddr::V4(Ipv4Addr::from_bits(n as u32));
        assert!((0..CLIENTS_MAX).all(|n| rates.take(client(n), start)));
        assert!(!rates.take(client(CLIENTS_MAX), start));
        assert!(rates.take(client(0), start), "who is known goes on");
        assert!(rates.take(client(CLIENTS_MAX), start + Duration::from_secs(60)));
        assert_eq!(lock(&rates.0).len(), 1);
    }
}
