//! The addresses of origins that are named: the system's resolver, asked on a thread of its own, for each name once at
//! a time.
//!
//! The system's resolver blocks, for minutes if its name servers are silent. Whoever waits for another origin must not
//! notice, and neither must a stop: such a thread is not waited for.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long an answer is good for; the system does not say how long it really is.
const FRESH: Duration = Duration::from_secs(5);

/// One origin's name.
pub(crate) struct Name {
    host: String,
    port: u16,
    asked: RefCell<Option<watch::Receiver<Option<Answer>>>>,
}

#[derive(Clone)]
struct Answer {
    since: Instant,
    addresses: Arc<io::Result<Vec<SocketAddr>>>,
}

impl Name {
    pub(crate) fn new(host: &str, port: u16) -> Name {
        Name { host: host.to_owned(), port, asked: RefCell::default() }
    }

    /// What the name stands for; waits with everybody else for the answer to the question that is out, if one is.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut asked = self.asked()?;
        let gone = |_| io::Error::other("the resolver's thread ended without an answer");
        let answer = asked.wait_for(Option::is_some).await.map_err(gone)?;
        match answer.as_ref().map(|answer| &*answer.addresses) {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Forgets an answer that led nowhere.
    pub(crate) fn forget(&self) {
        let mut asked = self.asked.borrow_mut();
        if asked.as_ref().is_some_and(|asked| asked.borrow().is_some()) {
            *asked = None;
        }
    }

    fn asked(&self) -> io::Result<watch::Receiver<Option<Answer>>> {
        let mut asked = self.asked.borrow_mut();
        if let Some(asked) = &*asked
            && asked.borrow().as_ref().is_none_or(Answer::is_good)
            && (asked.borrow().is_some() || asked.has_changed().is_ok())
        {
            return Ok(asked.clone());
        }
        let (tells, answer) = watch::channel(None);
        let (host, port) = (self.host.clone(), self.port);
        std::thread::Builder::new().name("resolver".into()).spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let _ = tells.send(Some(Answer { since: Instant::now(), addresses: Arc::new(addresses) }));
        })?;
        Ok(asked.insert(answer).clone())
    }
}

impl Answer {
    fn is_good(&self) -> bool {
        self.addresses.is_ok() && self.since.elapsed() < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_while_its_answer_is_good() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let name = Name::new("localhost", 80);
            let (one, two) = tokio::join!(name.addresses(), name.addresses());
            assert_eq!(one.expect("addresses"), two.expect("addresses"));
            let same = |name: &Name, other: &watch::Receiver<_>| {
                name.asked.borrow().as_ref().is_some_and(|asked| asked.same_channel(other))
            };
            let first = name.asked.borrow().clone().expect("asked");
            name.addresses().await.expect("addresses");
            assert!(same(&name, &first));
            name.forget();
            name.addresses().await.expect("addresses");
            assert!(!same(&name, &first));
        });
    }

    #[test]
    fn an_error_is_not_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let name = Name::new("no such\0name", 80);
            assert!(name.addresses().await.is_err());
            let first = name.asked.borrow().clone().expect("asked");
            assert!(name.addresses().await.is_err());
            assert!(!name.asked.borrow().as_ref().is_some_and(|asked| asked.same_channel(&first)));
        });
    }
}
