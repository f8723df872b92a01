//! How many payments of one client the facilitator is asked about before it has said that they are good.
//!
//! Whoever can sign can make as many payments as he likes that look good and pay nothing: an empty account is enough. Each costs a question
//! to the facilitator, which others wait for. So a client has [`UNDER_WAY_MAX`] questions under way, and [`REFUSED_MAX`] of its payments
//! may have been refused for what is wrong with them, of which one is forgotten each [`REFUSED_EACH`], whatever is taken in between. A client is an IPv4 address or an IPv6 /64.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::Limit;

use crate::clients::subscriber;
use crate::shared::lock;

/// Questions of one client under way at once.
const UNDER_WAY_MAX: u32 = 16;
/// Payments of one client that are refused before it has to wait.
const REFUSED_MAX: u32 = 30;
/// The time after which one more may be refused.
const REFUSED_EACH: Duration = Duration::from_secs(2);
/// Clients that are remembered; beyond them, those whose payments were refused, payments of others wait.
const CLIENTS_MAX: usize = 10_000;

/// What is known of the clients whose payments are asked about, or were refused lately.
#[derive(Default)]
pub(crate) struct Attempts {
    clients: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Default)]
struct Client {
    under_way: u32,
    refused: u32,
    /// Since when `refused` holds.
    since: Option<Instant>,
}

impl Client {
    /// What was refused long ago counts no more.
    fn forgive(&mut self, now: Instant) {
        let Some(since) = self.since else { return };
        let whole = now.saturating_duration_since(since).as_secs() / REFUSED_EACH.as_secs();
        let forgiven = u32::try_from(whole).unwrap_or(u32::MAX).min(self.refused);
        self.refused -= forgiven;
        self.since = (self.refused > 0).then(|| since + REFUSED_EACH * forgiven);
    }

    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.refused == 0
    }
}

impl Attempts {
    /// A payment of this client is about to be asked about.
    pub(crate) fn begin(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Attempt, Limit> {
        let key = subscriber(address);
        let mut clients = lock(&self.clients);
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&key) {
            clients.retain(|_, client| {
                client.forgive(now);
                !client.is_idle()
            });
            if clients.len() >= CLIENTS_MAX {
                return Err(Limit::ClientPayments);
            }
        }
        let client = clients.entry(key).or_default();
        client.forgive(now);
        if client.under_way >= UNDER_WAY_MAX || client.refused >= REFUSED_MAX {
            return Err(Limit::ClientPayments);
        }
        client.under_way += 1;
        drop(clients);
        Ok(Attempt { attempts: Arc::clone(self), key })
    }
}

/// A payment that the facilitator is asked about; over when dropped.
#[must_use]
pub(crate) struct Attempt {
    attempts: Arc<Attempts>,
    key: IpAddr,
}

impl Attempt {
    /// The facilitator says that it is not good. What it says of itself, or of what was offered, is not held against the client.
    pub(crate) fn refused(&self, reason: Option<&str>, now: Instant) {
        if !reason.is_some_and(is_about_the_payment) {
            return;
        }
        if let Some(client) = lock(&self.attempts.clients).get_mut(&self.key) {
            client.forgive(now);
            client.refused += 1;
            client.since.get_or_insert(now);
        }
    }
}

/// Whether a reason is something that the client could have known or done otherwise. Beside the specification's names facilitators have
/// their own for the same: about funds, the signature, the nonce, the time, what was signed, how the transfer would end.
fn is_about_the_payment(reason: &str) -> bool {
    const WORDS: [&str; 13] = [
        "funds",
        "balance",
        "allowance",
        "payer",
        "signature",
        "nonce",
        "valid_after",
        "valid_before",
        "expire",
        "authorization",
        "payload",
        "transaction",
        "simulation",
    ];
    let reason = reason.to_ascii_lowercase();
    WORDS.iter().any(|word| reason.contains(word))
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut clients = lock(&self.attempts.clients);
        let Some(client) = clients.get_mut(&self.key) else { return };
        client.under_way = client.under_way.saturating_sub(1);
        if client.is_idle() {
            clients.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOR: Option<&str> = Some("insufficient_funds");

    fn client(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn so_many_at_once_and_so_many_refused_in_a_row() {
        let (attempts, start) = (Arc::<Attempts>::default(), Instant::now());
        let begin = |number, now| attempts.begin(client(number), now);
        let under_way: Vec<_> = (0..UNDER_WAY_MAX).map(|_| begin(1, start).expect("room")).collect();
        assert_eq!(begin(1, start).err(), Some(Limit::ClientPayments));
        assert!(begin(2, start).is_ok(), "others are others");
        drop(under_way);
        for _ in 0..REFUSED_MAX {
            begin(1, start).expect("room").refused(POOR, start);
        }
        assert!(begin(1, start).is_err());
        assert!(begin(1, start + REFUSED_EACH - Duration::from_millis(1)).is_err());
        let later = start + REFUSED_EACH;
        begin(1, later).expect("one more").refused(POOR, later);
        assert!(begin(1, later).is_err(), "and no other");
        let long_after = start + REFUSED_EACH * (2 * REFUSED_MAX);
        drop(begin(1, long_after));
        assert!(
            lock(&attempts.clients).is_empty(),
            "whoever has nothing under way and nothing to answer for is forgotten"
        );
    }

    #[test]
    fn what_the_facilitator_cannot_do_is_not_held_against_anybody() {
        let now = Instant::now();
        for (reason, counts) in [
            (Some("insufficient_funds"), true),
            (Some("invalid_exact_evm_insufficient_balance"), true),
            (Some("invalid_exact_evm_payload_signature"), true),
            (Some("invalid_exact_evm_payload_authorization_valid_before"), true),
            (Some("invalid_exact_evm_nonce_already_used"), true),
            (Some("Invalid_Payload"), true),
            (Some("unexpected_verify_error"), false),
            (Some("invalid_network"), false),
            (Some("unsupported_scheme"), false),
            (Some("invalid_payment_requirements"), false),
            (Some("invalid_x402_version"), false),
            (Some("rate_limited"), false),
            (None, false),
        ] {
            let attempts = Arc::<Attempts>::default();
            for _ in 0..REFUSED_MAX {
                attempts.begin(client(1), now).expect("room").refused(reason, now);
            }
            assert_eq!(attempts.begin(client(1), now).is_err(), counts, "{reason:?}");
        }
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client() {
        let (attempts, now) = (Arc::<Attempts>::default(), Instant::now());
        let address = |host: u128| IpAddr::from((0x2001_0db8_u128 << 96 | host).to_be_bytes());
        let taken: Vec<_> =
            (0..UNDER_WAY_MAX).map(|host| attempts.begin(address(host.into()), now)).collect();
        assert!(taken.iter().all(Result::is_ok) && attempts.begin(address(1 << 63), now).is_err());
        assert!(attempts.begin(address(1 << 64), now).is_ok(), "the next /64 is somebody else");
    }

    #[test]
    fn no_more_clients_are_remembered_than_fit() {
        let (attempts, start) = (Arc::<Attempts>::default(), Instant::now());
        for number in 0..CLIENTS_MAX as u32 {
            attempts.begin(client(number), start).expect("room").refused(POOR, start);
        }
        assert!(attempts.begin(client(u32::MAX), start).is_err());
        assert!(attempts.begin(client(1), start).is_ok(), "who is known goes on");
        assert!(attempts.begin(client(u32::MAX), start + REFUSED_EACH).is_ok(), "the others are forgiven");
    }
}
