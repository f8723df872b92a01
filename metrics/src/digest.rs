//! SHA-256 of many messages at once.
//!
//! A processor with SHA extensions hashes one message at less than half of what its unit can do, because every round
//! waits for the one before. Here messages that are complete are hashed side by side, up to [`STREAMS`] at a time; where
//! one ends, the next takes its place. Processors without these extensions hash one after the other.

#[cfg(target_arch = "x86_64")]
mod sha_ni;

use ring::digest;

/// How many messages are hashed side by side at most: more have no registers left, and gain nothing.
#[cfg(target_arch = "x86_64")]
const STREAMS: usize = 4;

/// The SHA-256 of each message, in order. A message is the chunks that it arrived in.
pub fn sha256_many<C: AsRef<[u8]>>(messages: &[&[C]]) -> Vec<[u8; 32]> {
    #[cfg(target_arch = "x86_64")]
    if sha_ni::is_here() {
        return side_by_side(messages);
    }
    messages.iter().map(|message| one(message)).collect()
}

fn one<C: AsRef<[u8]>>(message: &[C]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    message.iter().for_each(|chunk| context.update(chunk.as_ref()));
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(target_arch = "x86_64")]
type State = [u32; 8];
#[cfg(target_arch = "x86_64")]
type Block = [u8; 64];

/// Only for processors where [`sha_ni::is_here`].
#[cfg(target_arch = "x86_64")]
fn side_by_side<C: AsRef<[u8]>>(messages: &[&[C]]) -> Vec<[u8; 32]> {
    let mut digests = vec![[0; 32]; messages.len()];
    let mut waiting = messages.iter().enumerate().map(|(number, message)| Stream::new(number, message));
    let mut streams: Vec<Stream<'_, C>> = waiting.by_ref().take(STREAMS).collect();
    while !streams.is_empty() {
        match &mut streams[..] {
            [a, b, c, d] => step([a, b, c, d]),
            [a, b, c] => step([a, b, c]),
            [a, b, ..] => step([a, b]),
            [a] => step([a]),
            [] => {}
        }
        let mut at = 0;
        while let Some(stream) = streams.get_mut(at) {
            if stream.has_blocks() {
                at += 1;
                continue;
            }
            digests[stream.number] = stream.digest();
            match waiting.next() {
                Some(next) => *stream = next,
                None => drop(streams.swap_remove(at)),
            }
        }
    }
    digests
}

/// Takes in as many blocks of each stream as all have in one piece.
#[cfg(target_arch = "x86_64")]
fn step<C: AsRef<[u8]>, const N: usize>(streams: [&mut Stream<'_, C>; N]) {
    let count = streams.iter().map(|stream| stream.blocks().len()).min().unwrap_or(0);
    let mut states = streams.each_ref().map(|stream| stream.state);
    let blocks = streams.each_ref().map(|stream| stream.blocks());
    // SAFETY: nothing but the processor's features makes this call unsafe, and `side_by_side`, the only way here, is
    // taken only after `is_here` found them.
    #[allow(unsafe_code)]
    unsafe {
        sha_ni::compress(states.each_mut(), blocks);
    }
    for (stream, state) in streams.into_iter().zip(states) {
        stream.state = state;
        stream.take(count);
    }
}

/// A message on its way through: its blocks come one run after the other, straight from its chunks where they lie in
/// one piece.
#[cfg(target_arch = "x86_64")]
struct Stream<'a, C> {
    /// Which message it is.
    number: usize,
    state: State,
    /// What comes next: blocks in `chunk`, or in `pieced`.
    run: Run<'a>,
    chunks: std::slice::Iter<'a, C>,
    /// What is left of the current chunk after `run`: less than a block, until it is read on.
    rest: &'a [u8],
    bytes: u64,
    ended: bool,
    /// A block from several chunks, or the last blocks with their padding.
    pieced: [Block; 2],
}

#[cfg(target_arch = "x86_64")]
enum Run<'a> {
    Chunk(&'a [Block]),
    /// These of `pieced`.
    Pieced(std::ops::Range<usize>),
}

#[cfg(target_arch = "x86_64")]
impl<'a, C: AsRef<[u8]>> Stream<'a, C> {
    fn new(number: usize, message: &'a [C]) -> Stream<'a, C> {
        let mut stream = Stream {
            number,
            state: INITIAL_STATE,
            run: Run::Pieced(0..0),
            chunks: message.iter(),
            rest: &[],
            bytes: 0,
            ended: false,
            pieced: [[0; 64]; 2],
        };
        stream.read_on();
        stream
    }

    fn blocks(&self) -> &[Block] {
        match &self.run {
            Run::Chunk(blocks) => blocks,
            Run::Pieced(range) => &self.pieced[range.clone()],
        }
    }

    fn has_blocks(&self) -> bool {
        !self.blocks().is_empty()
    }

    fn take(&mut self, count: usize) {
        match &mut self.run {
            Run::Chunk(blocks) => *blocks = &blocks[count..],
            Run::Pieced(range) => range.start += count,
        }
        if !self.has_blocks() && !self.ended {
            self.read_on();
        }
    }

    /// Finds the next blocks.
    fn read_on(&mut self) {
        let (blocks, rest) = self.rest.as_chunks::<64>();
        self.rest = rest;
        if !blocks.is_empty() {
            self.run = Run::Chunk(blocks);
            return;
        }
        let mut filled = 0;
        loop {
            let taken = self.rest.len().min(64 - filled);
            self.pieced[0][filled..filled + taken].copy_from_slice(&self.rest[..taken]);
            (filled, self.rest) = (filled + taken, &self.rest[taken..]);
            if filled == 64 {
                self.run = Run::Pieced(0..1);
                return;
            }
            let Some(chunk) = self.chunks.next() else {
                return self.pad(filled);
            };
            self.rest = chunk.as_ref();
            self.bytes += self.rest.len() as u64;
            if filled == 0 && self.rest.len() >= 64 {
                return self.read_on();
            }
        }
    }

    /// The end (FIPS 180-4 §5.1.1): a one, zeros, and the length in bits.
    fn pad(&mut self, filled: usize) {
        let blocks = if filled < 56 { 1 } else { 2 };
        let bytes = self.pieced[..blocks].as_flattened_mut();
        bytes[filled..].fill(0);
        bytes[filled] = 0x80;
        let at = bytes.len() - 8;
        bytes[at..].copy_from_slice(&(self.bytes * 8).to_be_bytes());
        self.run = Run::Pieced(0..blocks);
        self.ended = true;
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }
}

/// FIPS 180-4 §5.3.3.
#[cfg(target_arch = "x86_64")]
const INITIAL_STATE: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4 §4.2.2.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages in chunks: each message's digest is what ring says of it in one piece.
    #[track_caller]
    fn check(messages: &[Vec<Vec<u8>>]) {
        let chunked: Vec<&[Vec<u8>]> = messages.iter().map(Vec::as_slice).collect();
        let expected: Vec<[u8; 32]> = messages.iter().map(|message| one(&[message.concat()])).collect();
        assert_eq!(sha256_many(&chunked), expected, "as this processor does it");
        let one_by_one: Vec<[u8; 32]> = chunked.iter().map(|message| one(message)).collect();
        assert_eq!(one_by_one, expected, "as processors without SHA extensions do it");
    }

    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 31 + seed * 7 + (at >> 8)) as u8).collect()
    }

    #[test]
    fn every_length_around_the_block_size_has_its_digest() {
        for length in 0..=300 {
            check(&[vec![bytes(length, length)]]);
            check(&[vec![bytes(length, 1)], vec![bytes(300 - length, 2)], vec![bytes(length, 3)]]);
        }
        check(&(0..=300).map(|length| vec![bytes(length, length)]).collect::<Vec<_>>());
        check(&[]);
        check(&[vec![], vec![vec![], vec![]]]);
    }

    proptest::proptest! {
        #[test]
        fn a_digest_depends_on_the_bytes_and_nothing_beside_them(
            messages in proptest::collection::vec(
                proptest::collection::vec((0usize..200, 0usize..1000), 0..6),
                0..20,
            ),
            long in 0usize..100_000,
        ) {
            let mut messages: Vec<Vec<Vec<u8>>> = messages
                .iter()
                .map(|chunks| chunks.iter().map(|(length, seed)| bytes(*length, *seed)).collect())
                .collect();
            messages.push(vec![bytes(long, 5), bytes(long / 3, 6)]);
            check(&messages);
        }
    }
}
