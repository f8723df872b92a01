//! Waiting for a condition, never for a length of time.

use std::time::{Duration, Instant};

/// How long a thing may take that should take milliseconds; generous, because CI machines stall.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `ready` again and again until it answers with a value; `what` names the wait in the failure.
pub fn until<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// [`until`] for a plain yes.
pub fn until_true(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    until(what, limit, || ready().then_some(()));
}
