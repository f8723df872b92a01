//! Words to the service manager (systemd's `sd_notify`): one datagram each to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::debug;

/// Requests are answered.
pub(crate) fn ready() {
    tell("READY=1");
}

/// Policy and certificates are read again; [`ready`] says that this is over.
pub(crate) fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
}

/// The end has begun.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// From here on this process is the service.
pub(crate) fn main_process(id: u32) {
    tell(&format!("MAINPID={id}"));
}

/// Nobody is told where nobody asked; and what cannot be told is no reason to do anything else.
fn tell(words: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&place, words) {
        debug!(%error, "the service manager could not be told");
    }
}

fn send(place: &OsStr, words: &str) -> std::io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager whose queue is full must not hold up a stop.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), &address).map(drop)
}
