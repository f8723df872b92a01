//! So many requests at once, over all threads.
//!
//! A quarter of the turns is dealt out: a thread's own cost it a cell. Whoever needs more takes from what all threads have
//! in common: all that the other threads have not been dealt, so that it hardly matters which thread accepted a connection,
//! and yet nothing is written that others read as long as there is room. With one thread that is every turn; with many,
//! one thread alone can take a little more than three quarters.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All turns of one kind.
pub(crate) struct Turns {
    /// Of each thread.
    own: usize,
    /// What is left of the rest.
    common: AtomicUsize,
}

/// One turn; given back when dropped, on the thread that took it.
pub(crate) enum Turn<'t> {
    /// One of the thread's own, of which so many are taken.
    Own(&'t Cell<usize>),
    Common(&'t AtomicUsize),
}

impl Turns {
    pub(crate) fn new(max: usize, threads: usize) -> Turns {
        let own = max / 4 / threads;
        Turns { own, common: AtomicUsize::new(max - own * threads) }
    }

    /// Takes a turn, if one is left. `taken`: how many of its own this thread has taken.
    pub(crate) fn take<'t>(&'t self, taken: &'t Cell<usize>) -> Option<Turn<'t>> {
        if taken.get() < self.own {
            taken.set(taken.get() + 1);
            return Some(Turn::Own(taken));
        }
        let fewer = |left: usize| left.checked_sub(1);
        let taken = self.common.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        // Made only when it is: a turn that was never taken must not be given back.
        taken.is_ok().then(|| Turn::Common(&self.common))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        match self {
            Turn::Own(taken) => taken.set(taken.get() - 1),
            Turn::Common(left) => {
                left.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// What a thread gets that takes all it can.
    fn all<'t>(turns: &'t Turns, taken: &'t Cell<usize>) -> Vec<Turn<'t>> {
        std::iter::from_fn(|| turns.take(taken)).collect()
    }

    #[test]
    fn a_thread_gets_what_others_do_not_need_but_not_what_is_theirs() {
        for (max, threads, at_most) in [(4096, 16, 3136), (100, 3, 84), (8, 1, 8), (7, 2, 7), (1, 64, 1)] {
            let (turns, one, other) = (Turns::new(max, threads), Cell::new(0), Cell::new(0));
            for _ in 0..2 {
                let greedy = all(&turns, &one);
                assert_eq!(greedy.len(), at_most, "{max} turns, {threads} threads");
                if threads > 1 {
                    assert_eq!(all(&turns, &other).len(), (max - at_most) / (threads - 1));
                }
            }
        }
    }

    #[test]
    fn all_threads_together_get_as_many_as_there_are() {
        const THREADS: usize = 4;
        let (turns, met) = (Turns::new(103, THREADS), Barrier::new(THREADS));
        for _ in 0..3 {
            let got: usize = std::thread::scope(|scope| {
                let takes = || {
                    let taken = Cell::new(0);
                    let held = all(&turns, &taken);
                    met.wait();
                    held.len()
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(takes)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            });
            assert_eq!(got, 103);
        }
    }
}
