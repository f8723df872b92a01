//! The Merkle tree of RFC 6962 (and RFC 9162 §2.1) over SHA-256: leaf and node hashes, an append-only
//! frontier, roots, and proofs.
//!
//! Nothing here knows about files. A [`Frontier`] is all that an append needs: the roots of the perfect
//! subtrees that the tree of its size is made of, at most 64 hashes. Proofs need the leaf hashes of the whole
//! list and are linear in its length; a log that serves them often keeps tiles instead.

use ring::digest::{Context, SHA256, digest};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The hash of an entry as a leaf: `SHA-256(0x00 ‖ entry)` (RFC 6962 §2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    to_hash(context.finish())
}

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)` (RFC 6962 §2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    to_hash(digest(&SHA256, &bytes))
}

/// The root of the empty tree: `SHA-256("")`.
pub fn empty_root() -> Hash {
    to_hash(digest(&SHA256, &[]))
}

/// The root over a list of leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.append(*leaf));
    frontier.root()
}

/// The right edge of a tree: what is needed to append to it and to know its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first: one for each set bit of `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut carried = leaf;
        // Each trailing one of the old size is a finished subtree that the new leaf completes.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("one peak for each set bit of the size");
            carried = node_hash(&left, &carried);
        }
        self.peaks.push(carried);
        self.size += 1;
    }

    /// The root of the tree as it stands.
    pub fn root(&self) -> Hash {
        let Some((last, larger)) = self.peaks.split_last() else { return empty_root() };
        larger.iter().rev().fold(*last, |right, left| node_hash(left, &right))
    }

    /// The compact form: the size as `u64` little-endian, then one hash for each set bit, largest subtree first.
    pub fn serialise(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 32 * self.peaks.len());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        self.peaks.iter().for_each(|peak| bytes.extend_from_slice(peak));
        bytes
    }

    /// Reads the compact form; `None` unless the number of hashes is exactly what the size asks for, and the size at
    /// most 2⁶².
    pub fn parse(bytes: &[u8]) -> Option<Frontier> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        let (peaks, odd) = rest.as_chunks::<32>();
        let complete = odd.is_empty() && peaks.len() as u32 == size.count_ones();
        (complete && size <= 1 << 62).then(|| Frontier { size, peaks: peaks.to_vec() })
    }
}

/// The audit path of leaf `index` in the tree over `leaves` (RFC 9162 §2.1.3.1), lowest sibling first;
/// `None` if there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split_point(leaves.len()));
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse(); // found from the root down, told from the leaf up
    Some(path)
}

/// Whether `path` proves that `leaf` is at `index` in the tree with this size and root (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            skip_levels_without_sibling(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The proof that the tree over `leaves` begins with the tree over its first `old_size` leaves
/// (RFC 9162 §2.1.4.1); `None` unless `0 < old_size ≤ leaves.len()`. Empty when both sizes are equal.
pub fn consistency_proof(leaves: &[Hash], old_size: usize) -> Option<Vec<Hash>> {
    if old_size == 0 || old_size > leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut leaves, mut old_size, mut old_root_is_known) = (leaves, old_size, true);
    while old_size < leaves.len() {
        let (left, right) = leaves.split_at(split_point(leaves.len()));
        if old_size <= left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            old_size -= left.len();
            leaves = right;
            old_root_is_known = false; // the old tree is more than this subtree: its root must be told as well
        }
    }
    if !old_root_is_known {
        path.push(root(leaves));
    }
    path.reverse();
    Some(path)
}

/// Whether `path` proves that the tree `(new_size, new_root)` begins with `(old_size, old_root)`
/// (RFC 9162 §2.1.4.2). An old size of zero proves nothing and is refused.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> bool {
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A perfect old tree is itself the first node of the path, so the prover leaves it out.
    let (first, siblings) = match path {
        _ if old_size.is_power_of_two() => (old_root, path),
        [first, siblings @ ..] => (first, siblings),
        [] => return false,
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in siblings {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_levels_without_sibling(&mut node, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// Climbs from a node at the right edge past the levels where it has no sibling.
fn skip_levels_without_sibling(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two smaller than `n`, for `n > 1`.
fn split_point(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn to_hash(digest: ring::digest::Digest) -> Hash {
    digest.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}
