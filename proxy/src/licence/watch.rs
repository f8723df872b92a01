//! The list of what is revoked, as a running server asks for it: looked at on a thread of its own, since a disk may take its time
//! and others' requests must not wait for it.
//!
//! Each answer is of a look that began after the question, so that a revocation holds from the next fetch on. Who asks while a
//! look is under way shares the next one with all others who do.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::revocations::{Reader, RevocationError, Set};

/// Who may wait for a look at once; who comes when there are more is told that nobody knows.
const WAITING_MAX: usize = 4_096;
/// How long a fetch waits for the disk.
const TIME_MAX: Duration = Duration::from_secs(2);

type Told = Option<Arc<Set>>;
type Waiting = oneshot::Sender<Told>;

/// The way to the thread, which is started by the first question: most servers have no licences.
pub(super) struct Watch {
    state: PathBuf,
    waiting: OnceLock<SyncSender<Waiting>>,
    /// Whether no answer came in time, so that it is said once.
    is_late: AtomicBool,
}

impl Watch {
    /// Of a state directory.
    pub(super) fn of(state: &Path) -> Watch {
        Watch { state: state.to_owned(), waiting: OnceLock::new(), is_late: AtomicBool::new(false) }
    }

    /// What is revoked now; none if nobody knows, which the log says.
    pub(super) async fn now(&self) -> Told {
        let answer = self.ask().await;
        match (self.is_late.swap(answer.is_none(), Ordering::Relaxed), answer.is_none()) {
            (false, true) => error!("what is revoked is not known in time: no licence token can be checked"),
            (true, false) => info!("what is revoked is known in time again"),
            _ => {}
        }
        answer?
    }

    /// What the thread says; none if it says nothing in time.
    async fn ask(&self) -> Option<Told> {
        let waiting = match self.waiting.get() {
            Some(waiting) => waiting,
            // Where two begin at once, the thread that nobody asks ends. One that could not be started is tried again.
            None => {
                let started = start(Reader::of(&self.state))?;
                self.waiting.get_or_init(|| started)
            }
        };
        let (tell, told) = oneshot::channel();
        waiting.try_send(tell).ok()?;
        tokio::time::timeout(TIME_MAX, told).await.ok()?.ok()
    }
}

fn start(reader: Reader) -> Option<SyncSender<Waiting>> {
    let (ask, asked) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("revocations".to_owned());
    match thread.spawn(move || look(reader, &asked)) {
        Ok(_) => Some(ask),
        Err(error) => {
            warn!(%error, "no thread for the list of what is revoked");
            None
        }
    }
}

/// Looks for those who wait, until nobody can ask any more.
fn look(mut reader: Reader, asked: &Receiver<Waiting>) {
    let mut fault = Fault::default();
    while let Ok(first) = asked.recv() {
        // All of these asked before this look begins.
        let waiting: Vec<Waiting> = std::iter::once(first).chain(asked.try_iter()).collect();
        let looked = reader.current();
        match fault.changes(&looked) {
            Some(true) => info!("licence tokens can be checked again"),
            Some(false) => {
                if let Err(error) = &looked {
                    error!(%error, "no licence token can be checked");
                }
            }
            None => {}
        }
        let told = looked.ok();
        for one in waiting {
            // Who has given up needs no answer.
            let _ = one.send(told.clone());
        }
    }
}

/// What is wrong with the list, so that it is said once and not at each fetch.
#[derive(Default)]
struct Fault(Option<String>);

impl Fault {
    /// Whether the list can be read, if that is news, or cannot be for another reason than before.
    fn changes(&mut self, looked: &Result<Arc<Set>, RevocationError>) -> Option<bool> {
        let fault = looked.as_ref().err().map(ToString::to_string);
        let is_news = fault != self.0;
        self.0 = fault;
        is_news.then_some(self.0.is_none())
    }
}

#[cfg(test)]
mod tests {
    use policy::protocol::cap::TokenId;

    use super::*;
    use crate::licence::revocations::{Revocations, Revoked};

    fn on_a_worker<T>(todo: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(todo)
    }

    #[test]
    fn what_was_revoked_before_the_question_is_in_the_answer() {
        let state = tempfile::tempdir().expect("a temporary directory");
        let (watch, command) = (Watch::of(state.path()), Revocations::of(state.path()));
        on_a_worker(async {
            for id in 0..50 {
                let id = TokenId([id; 16]);
                assert!(!watch.now().await.expect("readable").has_id(&id));
                // While it is written others ask, so that a look may be under way.
                let others = futures_util::future::join_all((0..20).map(|_| watch.now()));
                let revoke = async { command.add(Revoked::Token(id), None, 1_800_000_000) };
                let (others, revoked) = tokio::join!(others, revoke);
                assert!(revoked.expect("written"));
                assert!(others.iter().all(Option::is_some));
                assert!(watch.now().await.expect("readable").has_id(&id));
            }
        });
    }

    #[test]
    fn a_fault_is_news_once() {
        let fault = |line| Err(RevocationError::Line { path: "revoked".to_owned(), line });
        let mut said = Fault::default();
        for (looked, news) in [
            (Ok(Arc::default()), None),
            (fault(1), Some(false)),
            (fault(1), None),
            (fault(2), Some(false)),
            (fault(2), None),
            (Ok(Arc::default()), Some(true)),
            (Ok(Arc::default()), None),
            (fault(2), Some(false)),
        ] {
            assert_eq!(said.changes(&looked), news, "{looked:?}");
        }
    }
}
