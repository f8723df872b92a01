//! An upgrade: the running process starts its successor and passes its listening sockets on, so that no connection is
//! ever refused. Why it is done in this order is in `docs/adr/0004-handover.md`.
//!
//! The successor's standard input is a socket to its predecessor. On it go: the listening sockets, one a message, with
//! the names that the configuration has for them; the word that these are all; from the successor, that it serves. The
//! predecessor then drains, closes the ledger and with it the socket: so the ledger is free at the latest when the
//! predecessor is gone, however it went.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, Signal};

/// Tells a process that its standard input leads to its predecessor.
const VARIABLE: &str = "BYLINE_SUCCEEDS";
/// After the last socket.
const ALL: &[u8] = b"\0all";
/// From the successor: it serves.
const SERVING: &[u8] = b"\0serving";
/// The longest name of a socket.
const NAME_BYTES_MAX: usize = 1024;

/// Where a file lay that this process was started from: what is there when an upgrade comes is the new program.
pub(crate) fn program() -> io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?.into_os_string();
    let path = path.into_string().map(|path| match path.strip_suffix(" (deleted)") {
        Some(replaced) => OsString::from(replaced),
        None => OsString::from(path),
    });
    Ok(PathBuf::from(path.unwrap_or_else(|not_utf8| not_utf8)))
}

/// A new process that is about to take over.
pub(crate) struct Successor {
    child: Child,
    channel: OwnedFd,
}

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuccessorError {
    #[error("{program} cannot be started", program = program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the new process could not be told of the sockets")]
    Channel(#[source] io::Error),
    #[error("the new process ended before it served: {status}")]
    Ended { status: ExitStatus },
    #[error("the new process did not serve within {} s", patience.as_secs_f64())]
    Silent { patience: Duration },
}

impl Successor {
    /// Starts the program with this process's arguments and passes it these sockets.
    pub(crate) fn start(
        program: &Path,
        sockets: &[(String, BorrowedFd<'_>)],
    ) -> Result<Successor, SuccessorError> {
        let channel =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = channel.map_err(|error| SuccessorError::Channel(error.into()))?;
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| program.as_os_str().to_owned());
        let child = Command::new(program)
            .arg0(name)
            .args(arguments)
            .env(VARIABLE, "1")
            // What the service manager passed reaches the successor through us, not by number.
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| SuccessorError::Start { program: program.to_owned(), source })?;
        let mut successor = Successor { child, channel: ours };
        match successor.pass(sockets) {
            Ok(()) => Ok(successor),
            Err(error) => {
                successor.end();
                Err(SuccessorError::Channel(error))
            }
        }
    }

    fn pass(&self, sockets: &[(String, BorrowedFd<'_>)]) -> io::Result<()> {
        for (name, socket) in sockets {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let rights = [*socket];
            if !control.push(SendAncillaryMessage::ScmRights(&rights)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let words = [IoSlice::new(name.as_bytes())];
            rustix::net::sendmsg(&self.channel, &words, &mut control, SendFlags::NOSIGNAL)?;
        }
        rustix::net::send(&self.channel, ALL, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The new process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Another way to the channel, by which the wait in [`Successor::serves`] can be ended.
    pub(crate) fn wait_ended_by(&self) -> io::Result<OwnedFd> {
        self.channel.try_clone()
    }

    /// Asks it to end in good order.
    pub(crate) fn terminate(&self) {
        if let Some(process) = Pid::from_raw(self.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, Signal::TERM);
        }
    }

    /// Waits until it serves; if it never does, it is gone when this returns.
    pub(crate) fn serves(mut self, patience: Duration) -> Result<Successor, SuccessorError> {
        let mut word = [0; SERVING.len()];
        let heard = set_socket_timeout(&self.channel, Timeout::Recv, Some(patience))
            .and_then(|()| retry(|| rustix::net::recv(&self.channel, &mut word, RecvFlags::empty())));
        match heard {
            Ok(_) if word == *SERVING => Ok(self),
            Ok(_) => Err(SuccessorError::Ended { status: self.end() }),
            Err(rustix::io::Errno::AGAIN) => {
                self.end();
                Err(SuccessorError::Silent { patience })
            }
            Err(error) => {
                self.end();
                Err(SuccessorError::Channel(error.into()))
            }
        }
    }

    /// Ends it. One that hung up is ending by itself, and its own status says why.
    fn end(&mut self) -> ExitStatus {
        for _ in 0..100 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        self.child.wait().unwrap_or_default()
    }
}

/// Ends the wait for a successor, and the successor.
pub(crate) fn call_off(channel: &OwnedFd) {
    let _ = rustix::net::shutdown(channel, rustix::net::Shutdown::Both);
}

/// Listening sockets, each with what the configuration calls it.
pub(crate) type NamedSockets = Vec<(String, TcpListener)>;

/// The process that this one takes over from.
pub(crate) struct Predecessor {
    channel: OwnedFd,
}

impl Predecessor {
    /// Finds the predecessor, if there is one, and takes its sockets.
    pub(crate) fn find() -> anyhow::Result<Option<(Predecessor, NamedSockets)>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let context = || format!("{VARIABLE} is set, but standard input does not lead to a predecessor");
        let channel = io::stdin().as_fd().try_clone_to_owned().with_context(context)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let predecessor = Predecessor { channel };
        let sockets = predecessor.take_sockets().with_context(context)?;
        Ok(Some((predecessor, sockets)))
    }

    fn take_sockets(&self) -> anyhow::Result<NamedSockets> {
        let mut sockets = Vec::new();
        loop {
            let mut name = [0; NAME_BYTES_MAX];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut words = [IoSliceMut::new(&mut name)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = retry(|| rustix::net::recvmsg(&self.channel, &mut words, &mut control, flags))?;
            match &name[..received.bytes] {
                ALL => return Ok(sockets),
                [] => bail!("it went away"),
                name => {
                    let rights = control.drain().find_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                        _ => None,
                    });
                    let name = String::from_utf8_lossy(name).into_owned();
                    sockets.push((name, rights.context("it passed a name without a socket")?.into()));
                }
            }
        }
    }

    /// Tells it that this process serves: it may go.
    pub(crate) fn relieve(&self) -> io::Result<()> {
        rustix::net::send(&self.channel, SERVING, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits until it has closed the ledger, or is gone.
    pub(crate) fn wait_for_the_ledger(self) {
        // It says nothing any more: whatever ends the wait, only the end of the connection can.
        let _ = retry(|| rustix::net::recv(&self.channel, &mut [0; 1], RecvFlags::empty()));
    }
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}
