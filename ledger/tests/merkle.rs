//! The Merkle tree against published values and against an implementation that is not ours.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ledger::merkle::{
    Frontier, Hash, consistency_proof, empty_root, inclusion_proof, leaf_hash, root, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;
use sha2::Sha256;

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The leaves that certificate transparency's own tests use.
const LEAVES: [&[u8]; 8] = [
    b"",
    &[0x00],
    &[0x10],
    &[0x20, 0x21],
    &[0x30, 0x31],
    &[0x40, 0x41, 0x42, 0x43],
    &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
    &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
];

#[test]
fn hashes_and_roots_are_those_of_rfc_6962() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|entry| leaf_hash(entry)).collect();
    assert_eq!(hex(&empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size, expected) in [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ] {
        assert_eq!(hex(&root(&leaves[..size])), expected, "{size} leaves");
    }
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

#[test]
fn roots_and_proofs_agree_with_another_implementation() {
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut frontier = Frontier::default();
    let mut leaves = Vec::new();
    for size in 1..=600u64 {
        theirs.push(entry(size - 1));
        leaves.push(leaf_hash(&entry(size - 1)));
        frontier.append(leaves[size as usize - 1]);
        assert_eq!(frontier.root()[..], theirs.root().as_bytes()[..], "root of {size}");

        // Every leaf and every older size for small trees, a few that move with the size for larger ones.
        let picks: Vec<u64> =
            if size <= 40 { (0..size).collect() } else { vec![0, size / 3, size / 2, size - 2, size - 1] };
        for pick in picks {
            let path = inclusion_proof(&leaves, pick as usize).unwrap();
            assert_eq!(
                path.concat(),
                theirs.prove_inclusion(pick as usize).as_bytes(),
                "leaf {pick} of {size}"
            );
            let (leaf, now) = (&leaves[pick as usize], frontier.root());
            assert!(verify_inclusion(leaf, pick, size, &path, &now));

            let old_size = pick + 1;
            let path = consistency_proof(&leaves, old_size as usize).unwrap();
            if old_size < size {
                let added = (size - old_size) as usize;
                assert_eq!(path.concat(), theirs.prove_consistency(added).as_bytes(), "{old_size} to {size}");
            }
            let before = root(&leaves[..old_size as usize]);
            assert!(verify_consistency(old_size, &before, size, &now, &path), "{old_size} to {size}");
        }
    }
    assert_eq!(inclusion_proof(&leaves, 600), None);
    assert_eq!(consistency_proof(&leaves, 0), None);
    assert_eq!(consistency_proof(&leaves, 601), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_holds_for_nothing_but_what_it_proves(
        size in 1usize..200, pick in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>(),
        other in any::<prop::sample::Index>(),
    ) {
        let leaves: Vec<Hash> = (0..size as u64).map(|index| leaf_hash(&entry(index))).collect();
        let (at, elsewhere) = (pick.index(size), other.index(size));
        let (size, now) = (size as u64, root(&leaves));
        let path = inclusion_proof(&leaves, at).unwrap();
        prop_assert!(verify_inclusion(&leaves[at], at as u64, size, &path, &now));
        prop_assert_eq!(verify_inclusion(&leaves[at], elsewhere as u64, size, &path, &now), at == elsewhere);
        prop_assert!(!verify_inclusion(&leaves[at], size, size, &path, &now));

        let old_size = at as u64 + 1;
        let before = root(&leaves[..at + 1]);
        let steps = consistency_proof(&leaves, at + 1).unwrap();
        prop_assert!(verify_consistency(old_size, &before, size, &now, &steps));
        prop_assert!(!verify_consistency(0, &before, size, &now, &steps));
        prop_assert!(!verify_consistency(size + 1, &now, size, &now, &steps));

        for (mut path, inclusion) in [(path, true), (steps, false)] {
            let holds = |path: &[Hash]| match inclusion {
                true => verify_inclusion(&leaves[at], at as u64, size, path, &now),
                false => verify_consistency(old_size, &before, size, &now, path),
            };
            let longer: Vec<Hash> = path.iter().copied().chain([now]).collect();
            prop_assert!(!holds(&longer));
            if !path.is_empty() {
                prop_assert!(!holds(&path[1..]));
                let (which, bit) = (flip.0.index(path.len() * 32), flip.1 % 8);
                path[which / 32][which % 32] ^= 1 << bit;
                prop_assert!(!holds(&path));
            }
        }
    }

    #[test]
    fn a_frontier_survives_its_bytes_and_goes_on(size in 0u64..300, more in 0u64..40) {
        let mut frontier = Frontier::default();
        (0..size).for_each(|index| frontier.append(leaf_hash(&entry(index))));
        let bytes = frontier.serialise();
        let mut parsed = Frontier::parse(&bytes).unwrap();
        prop_assert_eq!(&parsed, &frontier);
        prop_assert!(Frontier::parse(&bytes[..bytes.len() - 1]).is_none());
        (size..size + more).for_each(|index| parsed.append(leaf_hash(&entry(index))));
        let leaves: Vec<Hash> = (0..size + more).map(|index| leaf_hash(&entry(index))).collect();
        prop_assert_eq!(parsed.root(), root(&leaves));
    }

    #[test]
    fn no_bytes_make_a_frontier_or_a_proof_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), numbers: [u64; 4]) {
        if let Some(frontier) = Frontier::parse(&bytes) {
            prop_assert_eq!(frontier.serialise(), bytes.clone());
        }
        let path: Vec<Hash> = bytes.as_chunks::<32>().0.to_vec();
        let [index, size, old_size, new_size] = numbers;
        let hash = leaf_hash(&bytes);
        verify_inclusion(&hash, index, size, &path, &hash);
        verify_consistency(old_size, &hash, new_size, &hash, &path);
    }
}
