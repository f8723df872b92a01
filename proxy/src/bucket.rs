//! A bucket of tokens: so many a second flow in, and no more are saved up than it holds.

use std::time::{Duration, Instant};

/// Whole numbers all the way, so that many small steps lose nothing.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    per_second: u32,
    full: u64,
    micro_left: u64,
    filled: Instant,
}

/// A token in the bucket's unit: what flows in at one a second in a microsecond.
const MICRO: u64 = 1_000_000;

impl TokenBucket {
    /// A full one.
    pub(crate) fn new(per_second: u32, most: u32, now: Instant) -> TokenBucket {
        let full = u64::from(most) * MICRO;
        TokenBucket { per_second, full, micro_left: full, filled: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.micro_left.checked_sub(MICRO);
        self.micro_left = left.unwrap_or(self.micro_left);
        left.is_some()
    }

    /// Whether it is as a new one would be.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.micro_left == self.full
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let inflow = passed.saturating_mul(u64::from(self.per_second));
        self.micro_left = self.micro_left.saturating_add(inflow).min(self.full);
        // What is left of a microsecond counts the next time.
        self.filled += Duration::from_micros(passed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_fills_with_time_and_not_beyond_its_size() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 20, start);
        let take = |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert!(bucket.is_full(start));
        assert_eq!(take(&mut bucket, start), 20);
        assert_eq!(take(&mut bucket, start + Duration::from_millis(99)), 0);
        assert_eq!(take(&mut bucket, start + Duration::from_millis(500)), 5);
        assert!(!bucket.is_full(start + Duration::from_millis(1_500)));
        assert_eq!(take(&mut bucket, start + Duration::from_secs(3600)), 20);
        assert!(bucket.is_full(start + Duration::from_secs(3603)));
        assert_eq!(take(&mut bucket, start), 20, "a clock that is late takes nothing away");
        // Many small steps lose nothing.
        let mut slow = TokenBucket::new(1, 2, start);
        assert_eq!(take(&mut slow, start), 2);
        let taken =
            (1..=3_000_000u64).step_by(7).filter(|us| slow.take(start + Duration::from_micros(*us))).count();
        assert_eq!(taken, 2, "three seconds at one a second, the third not yet whole");
        let mut often = TokenBucket::new(1_000, 1_000, start);
        assert_eq!(take(&mut often, start), 100);
        let empty = (0..900).filter(|_| often.take(start)).count();
        let taken =
            (1..=100_000u64).filter(|step| often.take(start + Duration::from_nanos(step * 1_900))).count();
        assert_eq!(
            (empty, taken),
            (900, 190),
            "190 ms at 1,000 a second, in steps that are no whole microseconds"
        );
        assert!(!TokenBucket::new(0, 0, start).take(start + Duration::from_secs(9)));
    }
}
