//! What each client has under way, over all threads: so many connections and requests, then it is told to wait.
//!
//! A client is an IPv4 address or an IPv6 /64, which is what one subscriber gets. Trusted proxies are not counted: whom
//! they speak for is theirs to limit.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use metrics::Limit;

use crate::shared::lock;

/// Clients that meet in one lock; it is taken when a connection begins and when it ends.
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<IpAddr, Load>>;

/// All clients that have a connection.
pub(crate) struct Clients {
    shards: [Shard; SHARDS],
    connections_max: usize,
    requests_max: usize,
}

struct Load {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// One connection's place among its client's; given back when dropped.
pub(crate) struct Client {
    clients: Arc<Clients>,
    key: IpAddr,
    /// The requests that its client has under way, on whatever connection; `None` for a trusted proxy.
    requests: Option<Arc<AtomicUsize>>,
}

impl Clients {
    pub(crate) fn new(connections_max: usize, requests_max: usize) -> Clients {
        Clients { shards: Default::default(), connections_max, requests_max }
    }

    /// A connection begins, unless its client has as many as it may have.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, trusted: bool) -> Result<Client, Limit> {
        let key = subscriber(address);
        let mut requests = None;
        if !trusted {
            let mut shard = lock(self.shard(key));
            let load = shard.entry(key).or_insert_with(|| Load { connections: 0, requests: Arc::default() });
            if load.connections >= self.connections_max {
                return Err(Limit::ClientConnections);
            }
            load.connections += 1;
            requests = Some(Arc::clone(&load.requests));
        }
        Ok(Client { clients: Arc::clone(self), key, requests })
    }

    fn shard(&self, key: IpAddr) -> &Shard {
        let folded = match key {
            IpAddr::V4(v4) => v4.octets().into_iter().fold(0, |sum: u8, octet| sum.wrapping_add(octet)),
            IpAddr::V6(v6) => v6.octets().into_iter().fold(0, |sum: u8, octet| sum.wrapping_add(octet)),
        };
        &self.shards[usize::from(folded) % SHARDS]
    }
}

pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

impl Client {
    /// A request begins, unless its client has as many under way as it may have.
    pub(crate) fn begin_request(&self) -> Result<Begun<'_>, Limit> {
        let begun = Begun(self.requests.as_deref());
        let before = begun.0.map_or(0, |requests| requests.fetch_add(1, Ordering::Relaxed));
        if before >= self.clients.requests_max { Err(Limit::ClientRequests) } else { Ok(begun) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.requests.is_none() {
            return;
        }
        let mut shard = lock(self.clients.shard(self.key));
        if let Some(load) = shard.get_mut(&self.key) {
            load.connections -= 1;
            if load.connections == 0 {
                shard.remove(&self.key);
            }
        }
    }
}

/// A request among its client's; given back when dropped.
pub(crate) struct Begun<'c>(Option<&'c AtomicUsize>);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(requests) = self.0 {
            requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_client_has_its_share_and_no_other_pays_for_it() {
        let clients = Arc::new(Clients::new(2, 1));
        let one = clients.enter(address("192.0.2.1"), false).expect("the first");
        let _two = clients.enter(address("192.0.2.1"), false).expect("the second");
        assert!(clients.enter(address("192.0.2.1"), false).is_err());
        assert!(clients.enter(address("192.0.2.2"), false).is_ok());
        let request = one.begin_request().expect("the first");
        assert!(one.begin_request().is_err() && one.begin_request().is_err());
        drop(request);
        assert!(one.begin_request().is_ok());
        drop(one);
        assert!(clients.enter(address("192.0.2.1"), false).is_ok());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client() {
        let clients = Arc::new(Clients::new(1, 1));
        let _one = clients.enter(address("2001:db8::1"), false).expect("the first");
        assert!(clients.enter(address("2001:db8::2"), false).is_err());
        assert!(clients.enter(address("2001:db8:0:1::1"), false).is_ok());
    }

    #[test]
    fn trusted_proxies_are_not_counted_and_nothing_is_left_of_who_is_gone() {
        let clients = Arc::new(Clients::new(1, 1));
        let proxies: Vec<Client> =
            (0..3).map(|_| clients.enter(address("10.0.0.1"), true).expect("a proxy")).collect();
        assert!(proxies[0].begin_request().is_ok() && proxies[1].begin_request().is_ok());
        drop(clients.enter(address("192.0.2.1"), false));
        assert!(clients.shards.iter().all(|shard| shard.lock().expect("nobody else").is_empty()));
    }
}
