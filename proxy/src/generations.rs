//! A bounded memory: two generations of a map, of which the older is forgotten as a whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Keeps at least the last half of `max` and at most `max` entries, each operation in constant time.
///
/// When the young half is full it becomes the old one, and what was old is dropped. What is read moves back to the young
/// half, so that addresses in use stay.
pub(crate) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    pub(crate) fn new(max: usize) -> Generations<K, V> {
        Generations { young: HashMap::new(), old: HashMap::new(), half: (max / 2).max(1) }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut memory = Generations::new(100);
        for key in 0..10_000u32 {
            memory.insert(key, key);
            assert_eq!(memory.get(&0), Some(0), "in use all the time");
            assert!(memory.len() <= 100);
        }
        assert_eq!(memory.get(&9_999), Some(9_999));
        assert_eq!(memory.get(&9_960), Some(9_960), "the last half is kept");
        assert_eq!(memory.get(&5_000), None, "the rest is forgotten");
        memory.remove(&0);
        assert_eq!(memory.get(&0), None);
    }

    #[test]
    fn a_new_value_replaces_the_old_one() {
        let mut memory = Generations::new(4);
        memory.insert("a", 1);
        memory.insert("b", 1);
        memory.insert("c", 1);
        memory.insert("a", 2);
        assert_eq!(memory.get(&"a"), Some(2));
        memory.remove(&"a");
        assert_eq!(memory.get(&"a"), None, "no older value comes back");
    }
}
