//! Locks, threads and the monotonic clock, as the queue and the writer thread use them. They are named in one place
//! because the model check compiles both a second time, with a scheduler's own in place of these.

use std::time::Duration;

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread;
pub(crate) use std::time::Instant;

/// Waits on `wake`, at most for `wait`; `guard` is a lock of `mutex`.
pub(crate) fn wait_timeout<'a, T>(
    wake: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    wait: Duration,
) -> MutexGuard<'a, T> {
    wake.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0
}

/// Nothing that can panic runs under the ledger's locks but the allocator, so what they guard is always whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
