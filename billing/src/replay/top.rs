//! Counting what comes most, in bounded memory.

use hashbrown::HashMap;

/// Requests and bytes of one thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Requests.
    pub fetches: u64,
    /// Body bytes.
    pub bytes: u64,
}

/// Counts by name. Beyond its capacity the rarer half is dropped: what comes often is found, and its counts are at
/// least what they say.
#[derive(Debug)]
pub(super) struct Top {
    counts: HashMap<Box<str>, Count>,
    capacity: usize,
    dropped: bool,
}

impl Top {
    pub(super) fn new(capacity: usize) -> Top {
        Top { counts: HashMap::default(), capacity, dropped: false }
    }

    pub(super) fn add(&mut self, name: &str, count: Count) {
        if count.fetches == 0 {
            return;
        }
        if let Some(known) = self.counts.get_mut(name) {
            known.fetches += count.fetches;
            known.bytes += count.bytes;
            return;
        }
        if self.counts.len() >= self.capacity {
            let mut fetches: Vec<u64> = self.counts.values().map(|count| count.fetches).collect();
            let middle = fetches.len() / 2;
            let (_, median, _) = fetches.select_nth_unstable(middle);
            let median = *median;
            self.counts.retain(|_, count| count.fetches > median);
            self.dropped = true;
        }
        self.counts.insert(name.into(), count);
    }

    /// The most frequent ones, most first, and whether rarer ones were dropped on the way.
    pub(super) fn most(&self, length: usize) -> (Vec<(String, Count)>, bool) {
        let mut all: Vec<(&str, Count)> = self.counts.iter().map(|(name, count)| (&**name, *count)).collect();
        all.sort_by(|a, b| (b.1.fetches, b.1.bytes).cmp(&(a.1.fetches, a.1.bytes)).then(a.0.cmp(b.0)));
        (all.into_iter().take(length).map(|(name, count)| (name.to_owned(), count)).collect(), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_survive_any_number_of_rare_ones() {
        let mut top = Top::new(64);
        for n in 0..10_000_u64 {
            top.add(&format!("rare {n}"), Count { fetches: 1, bytes: 1 });
            if n % 10 == 0 {
                top.add("frequent", Count { fetches: 1, bytes: 100 });
            }
        }
        assert!(top.counts.len() <= 64);
        let (most, dropped) = top.most(1);
        assert!(dropped);
        assert_eq!(most, [("frequent".to_owned(), Count { fetches: 1_000, bytes: 100_000 })]);
    }
}
