//! Loopback ports that no other test holds, whichever process it runs in.
//!
//! They come from below the kernel's ephemeral range, so that no outgoing connection can sit on one, and each is
//! guarded by a locked file until it is dropped. That leaves nothing to luck when tests run side by side.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A reserved port of 127.0.0.1; free for others once dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let guards = std::env::temp_dir().join("byline-e2e-ports");
        std::fs::create_dir_all(&guards).expect("the temporary directory is writable");
        let start = (std::process::id() as u16).wrapping_mul(37);
        for _ in 0..COUNT {
            let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let number = FIRST + offset;
            let Ok(held) = File::options().create(true).append(true).open(guards.join(number.to_string()))
            else {
                continue;
            };
            if held.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err() {
                continue;
            }
            return Port { number, _held: held };
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// `127.0.0.1` and the port.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
