//! Listening sockets: bound here, or opened by somebody else and passed to this process: by a service manager (systemd's
//! socket activation) or by the process that it takes over from.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, bail};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config::{ListenAt, Listener};
use crate::handover::NamedSockets;
use crate::tls::Certificate;

/// Connections that the kernel keeps until they are accepted.
pub(crate) const BACKLOG: u16 = 4096;

/// Bytes that the kernel takes for a client beyond those that it may send at once. It would take megabytes: with many
/// clients that read slowly, all the memory that it has for TCP. An ordinary page still leaves in one write.
const UNSENT_MAX: u32 = 128 << 10;

/// A listener that can be accepted from, shared by all threads.
pub(crate) struct Bound {
    pub(crate) socket: TcpListener,
    /// Where it really listens (port 0 resolved).
    pub(crate) address: SocketAddr,
    /// What the configuration calls it.
    pub(crate) place: ListenAt,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) proxy_protocol: bool,
}

/// Sockets that somebody else opened, until the configuration asks for them.
pub(crate) struct Passed {
    sockets: Vec<PassedSocket>,
    /// Whether all of them must be wanted. A service manager was told by hand what to open, and may have been told
    /// wrongly; a process before this one may have had listeners that the configuration no longer has.
    all_wanted: bool,
}

struct PassedSocket {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

impl Passed {
    /// Nothing was passed: everything is bound here.
    pub(crate) fn nothing() -> Passed {
        Passed { sockets: Vec::new(), all_wanted: true }
    }

    /// What systemd passes (`LISTEN_FDS`, `LISTEN_FDNAMES`). Changes the environment: call it before any thread starts.
    pub(crate) fn by_service_manager() -> anyhow::Result<Passed> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut passed = Passed::nothing();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            let socket = descriptors
                .take_tcp_listener(index)
                .with_context(|| format!("socket {index} ({name}) of the service manager"))?
                .expect("each is taken once");
            passed.add(name, socket)?;
        }
        Ok(passed)
    }

    /// What the process before this one had.
    pub(crate) fn by_predecessor(sockets: NamedSockets) -> anyhow::Result<Passed> {
        let mut passed = Passed { all_wanted: false, ..Passed::nothing() };
        for (name, socket) in sockets {
            passed.add(&name, socket)?;
        }
        Ok(passed)
    }

    fn add(&mut self, name: &str, socket: TcpListener) -> anyhow::Result<()> {
        if !SockRef::from(&socket).is_listener()? {
            bail!(
                "the socket `{name}` that was passed does not listen: Byline needs stream sockets that accept"
            );
        }
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        self.sockets.push(PassedSocket { name: name.to_owned(), address, socket });
        Ok(())
    }

    /// The sockets for a place: by its name, or by its address.
    fn take(&mut self, place: &ListenAt) -> Vec<TcpListener> {
        let wanted = place.to_string();
        let fits = |passed: &mut PassedSocket| match place {
            ListenAt::Address(address) => passed.address == *address || passed.name == wanted,
            ListenAt::Named(name) => passed.name == *name,
        };
        self.sockets.extract_if(.., fits).map(|passed| passed.socket).collect()
    }

    /// A socket for this address: the one that was passed, or else a new one.
    pub(crate) fn at(&mut self, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let socket = match self.take(&ListenAt::Address(address)).pop() {
            Some(socket) => Ok(socket),
            None => open(address),
        };
        socket.with_context(|| format!("cannot listen on {address}"))
    }

    /// Everything that the configuration listens on, with the certificates.
    pub(crate) fn bind(&mut self, listeners: &[Listener]) -> anyhow::Result<Vec<Bound>> {
        let mut all = Vec::new();
        for listener in listeners {
            let sockets = match &listener.place {
                ListenAt::Address(address) => vec![self.at(*address)?],
                ListenAt::Named(name) => match self.take(&listener.place) {
                    none if none.is_empty() => bail!(
                        "no socket named `{name}` was passed by the service manager (passed: {})",
                        if self.sockets.is_empty() { "none".to_owned() } else { self.list() }
                    ),
                    sockets => sockets,
                },
            };
            let certificate = listener.tls.as_ref().map(Certificate::read).transpose()?;
            for socket in sockets {
                // What is accepted has it from its listener.
                if let Err(error) = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_MAX) {
                    warn!(%error, "slow clients may fill the kernel's buffers");
                }
                all.push(Bound {
                    address: socket.local_addr()?,
                    socket,
                    place: listener.place.clone(),
                    tls: certificate.as_ref().map(Certificate::acceptor).transpose()?,
                    certificate: certificate.clone(),
                    proxy_protocol: listener.proxy_protocol,
                });
            }
        }
        Ok(all)
    }

    /// Says what was passed and is not wanted: a service manager that opens port 80 for a Byline that does not serve it
    /// would leave its clients waiting for ever.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.sockets.is_empty() {
            return Ok(());
        }
        if self.all_wanted {
            bail!(
                "no listener of the configuration asks for {}, which the service manager passed",
                self.list()
            );
        }
        info!(sockets = self.list(), "closed, as the configuration has no such listener any more");
        Ok(())
    }

    fn list(&self) -> String {
        let words = self.sockets.iter().map(|passed| format!("`{}` ({})", passed.name, passed.address));
        words.collect::<Vec<_>>().join(", ")
    }
}

fn open(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

/// The listeners' addresses with their schemes, for people.
pub(crate) fn urls(listeners: &[Bound]) -> Vec<String> {
    let scheme = |bound: &Bound| if bound.tls.is_some() { "https" } else { "http" };
    listeners.iter().map(|bound| format!("{}://{}", scheme(bound), bound.address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(place: ListenAt) -> Listener {
        Listener { place, tls: None, proxy_protocol: false }
    }

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a port")
    }

    fn passed(all_wanted: bool, sockets: Vec<(&str, TcpListener)>) -> Passed {
        let mut passed = Passed { all_wanted, ..Passed::nothing() };
        sockets.into_iter().for_each(|(name, socket)| passed.add(name, socket).expect("it listens"));
        passed
    }

    #[test]
    fn sockets_are_found_by_name_and_by_address() {
        let (by_name, other, by_address) = (socket(), socket(), socket());
        let [first, second, third] =
            [&by_name, &other, &by_address].map(|socket| socket.local_addr().expect("bound"));
        let mut passed =
            passed(true, vec![("https", by_name), ("https", other), ("byline.socket", by_address)]);
        let wanted = [listener(ListenAt::Named("https".into())), listener(ListenAt::Address(third))];
        let bound = passed.bind(&wanted).expect("all are there");
        assert_eq!(bound.iter().map(|bound| bound.address).collect::<Vec<_>>(), [first, second, third]);
        passed.finish().expect("nothing is left");
    }

    #[test]
    fn what_does_not_match_is_said_by_name() {
        let mut passed = passed(true, vec![("http", socket())]);
        let missing =
            passed.bind(&[listener(ListenAt::Named("https".into()))]).err().expect("no such socket");
        assert!(
            missing.to_string().contains("`https`") && missing.to_string().contains("`http`"),
            "{missing}"
        );
        let unwanted = passed.finish().expect_err("one too many").to_string();
        assert!(unwanted.contains("`http` (127.0.0.1:"), "{unwanted}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        assert!(Passed::nothing().add("x", socket.into()).is_err());
    }

    #[test]
    fn a_listener_that_went_away_is_closed() {
        let old = socket();
        let address = old.local_addr().expect("bound");
        passed(false, vec![("127.0.0.1:1", old)]).finish().expect("no error");
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
