//! What the ledger holds at one moment: how many entries, and their Merkle root.

use std::fmt;

use crate::merkle::Hash;

/// A tree size and the RFC 6962 root over the entries `0 .. size`.
///
/// Plain values: no signature and no name of a log. Whoever signs a checkpoint takes both from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many entries there are; also the index that the next entry will get.
    pub size: u64,
    /// The Merkle tree hash of those entries.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size {} root ", self.size)?;
        self.root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
