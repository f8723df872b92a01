//! SHA-256's compression function on the processor's SHA extensions (x86-64), for several messages side by side.
//!
//! One message leaves the unit idle most of the time: every two rounds wait for the two before. Rounds of a second
//! message fit into the gaps.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::{Block, ROUND_CONSTANTS, State};

/// Whether this processor can.
pub(super) fn is_here() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// Takes the first blocks of each message into its state: as many of each as the shortest has.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn compress<const N: usize>(states: [&mut State; N], blocks: [&[Block]; N]) {
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let blocks = blocks.map(|blocks| &blocks[..count]);
    // The unit wants the eight words as two rows, the first word highest: a b e f and c d g h.
    let row = |state: &State, words: [usize; 4]| {
        let [a, b, c, d] = words.map(|word| state[word].cast_signed());
        _mm_set_epi32(a, b, c, d)
    };
    let mut abef = [_mm_setzero_si128(); N];
    let mut cdgh = [_mm_setzero_si128(); N];
    for n in 0..N {
        (abef[n], cdgh[n]) = (row(states[n], [0, 1, 4, 5]), row(states[n], [2, 3, 6, 7]));
    }
    #[expect(clippy::needless_range_loop, reason = "it indexes the blocks of each message, not the messages")]
    for at in 0..count {
        let (abef_before, cdgh_before) = (abef, cdgh);
        // The newest sixteen words of each message's schedule, four in a register.
        let mut words = [[_mm_setzero_si128(); 4]; N];
        macro_rules! four_rounds {
            ($group:expr) => {
                for n in 0..N {
                    let sums = _mm_add_epi32(words[n][$group % 4], constants($group));
                    cdgh[n] = _mm_sha256rnds2_epu32(cdgh[n], abef[n], sums);
                    abef[n] = _mm_sha256rnds2_epu32(abef[n], cdgh[n], _mm_shuffle_epi32(sums, 0x0e));
                }
            };
        }
        macro_rules! with_words_of_the_block {
            ($($group:literal)*) => { $(
                for n in 0..N {
                    words[n][$group] = load(&blocks[n][at], $group);
                }
                four_rounds!($group);
            )* };
        }
        macro_rules! with_the_next_words {
            ($($group:literal)*) => { $(
                for n in 0..N {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|later| words[n][($group + later) % 4]);
                    let sums = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4));
                    words[n][$group % 4] = _mm_sha256msg2_epu32(sums, d);
                }
                four_rounds!($group);
            )* };
        }
        with_words_of_the_block!(0 1 2 3);
        with_the_next_words!(4 5 6 7 8 9 10 11 12 13 14 15);
        for n in 0..N {
            abef[n] = _mm_add_epi32(abef[n], abef_before[n]);
            cdgh[n] = _mm_add_epi32(cdgh[n], cdgh_before[n]);
        }
    }
    for (n, state) in states.into_iter().enumerate() {
        let [f, e, b, a] = unpack(abef[n]);
        let [h, g, d, c] = unpack(cdgh[n]);
        *state = [a, b, c, d, e, f, g, h];
    }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(block: &Block, group: usize) -> __m128i {
    let half = |at: usize| i64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
    let words_are_big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(_mm_set_epi64x(half(16 * group + 8), half(16 * group)), words_are_big_endian)
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn constants(group: usize) -> __m128i {
    let constant = |n: usize| ROUND_CONSTANTS[4 * group + n].cast_signed();
    _mm_set_epi32(constant(3), constant(2), constant(1), constant(0))
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn unpack(row: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(row).cast_unsigned(),
        _mm_extract_epi32::<1>(row).cast_unsigned(),
        _mm_extract_epi32::<2>(row).cast_unsigned(),
        _mm_extract_epi32::<3>(row).cast_unsigned(),
    ]
}
