//! The segment file: its header, its frames, and how to find whole batches in it.
//!
//! All integers are little-endian. A segment is a 96-byte header, then batches, then zeros. A batch is one or more
//! entry frames and the commit frame that makes them count; everything is padded to 8 bytes.
//!
//! ```text
//! header   0 magic "BYLSEG01"  8 first index u64  16 salt [16]  32 root before the first entry [32]
//!         64 zeros [28]       92 crc32c u32 of bytes 0..92
//! entry    0 length u32 (1 ..= 65,535)  4 crc32c u32 of salt ‖ length ‖ index ‖ bytes
//!          8 index u64                 16 the entry's bytes, then zeros up to a multiple of 8
//! commit   0 0xFFFF_FFFF u32  4 crc32c u32 of salt ‖ bytes 8..56   8 tree size u64
//!         16 entries in the batch u32  20 crc32c u32 of salt ‖ all entry frames of the batch  24 root [32]
//! ```
//!
//! A length of zero ends the data. The salt is unknown to those whose text ends up in entries: no entry can look
//! like a frame of its segment, and no block of an older file can either.

use std::io;
use std::ops::Range;

use crate::disk::{DiskFile, read_full};
use crate::merkle::Hash;
use crate::{ENTRY_BYTES_MAX, merkle};

pub(crate) const HEADER_BYTES: usize = 96;
pub(crate) const COMMIT_BYTES: usize = 56;
const ENTRY_HEAD_BYTES: usize = 16;
/// The largest frame of one entry.
pub(crate) const ENTRY_FRAME_MAX: usize = padded(ENTRY_HEAD_BYTES + ENTRY_BYTES_MAX);
/// No batch is longer; a reader need not look further for a commit frame.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;

/// No log is ever this long; a number beyond it on disk is not one of ours, and counting on cannot overflow.
pub(crate) const INDEX_MAX: u64 = 1 << 62;

const MAGIC: &[u8; 8] = b"BYLSEG01";
const COMMIT_MARK: u32 = u32::MAX;
const READ_BYTES: usize = 256 << 10;

pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.seg")
}

pub(crate) fn side_name(first: u64) -> String {
    format!("{first:020}.side")
}

/// The first index in a name such as `00000000000000000042.seg`; `None` for any other spelling.
pub(crate) fn first_index(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok().filter(|first| *first <= INDEX_MAX) } else { None }
}

/// The frame size of an entry with this many bytes.
pub(crate) fn entry_frame_bytes(entry_bytes: usize) -> usize {
    padded(ENTRY_HEAD_BYTES + entry_bytes)
}

const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) first: u64,
    pub(crate) salt: [u8; 16],
    pub(crate) root_before: Hash,
}

impl Header {
    pub(crate) fn serialise(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.salt);
        bytes[32..64].copy_from_slice(&self.root_before);
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
        let bytes: &[u8; HEADER_BYTES] = bytes.try_into().map_err(|_| "the segment header is cut short")?;
        if bytes[..8] != *MAGIC {
            return Err("not a segment file of this format");
        }
        if crc32c::crc32c(&bytes[..92]) != u32_at(bytes, 92) || bytes[64..92] != [0; 28] {
            return Err("the segment header does not match its checksum");
        }
        if u64_at(bytes, 8) > INDEX_MAX {
            return Err("the segment begins at an index that cannot be");
        }
        let salt = bytes[16..32].try_into().expect("16 bytes");
        let root_before = bytes[32..64].try_into().expect("32 bytes");
        Ok(Header { first: u64_at(bytes, 8), salt, root_before })
    }

    /// Where every checksum of this segment's frames starts from.
    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.salt)
    }
}

/// The end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) size: u64,
    pub(crate) count: u32,
    pub(crate) batch_crc: u32,
    pub(crate) root: Hash,
}

impl Commit {
    fn serialise(&self, seed: u32) -> [u8; COMMIT_BYTES] {
        let mut bytes = [0; COMMIT_BYTES];
        bytes[..4].copy_from_slice(&COMMIT_MARK.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.batch_crc.to_le_bytes());
        bytes[24..].copy_from_slice(&self.root);
        let crc = crc32c::crc32c_append(seed, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Whether these bytes are a commit frame, or would be with the right mark: then it is the mark that was changed,
    /// and not an entry that is missing.
    fn is_whole_but_for_its_mark(bytes: &[u8], seed: u32) -> bool {
        bytes.len() >= COMMIT_BYTES
            && u32_at(bytes, 4) == crc32c::crc32c_append(seed, &bytes[8..COMMIT_BYTES])
    }

    fn parse(bytes: &[u8], seed: u32) -> Option<Commit> {
        let bytes: &[u8; COMMIT_BYTES] = bytes.first_chunk()?;
        let whole =
            u32_at(bytes, 0) == COMMIT_MARK && u32_at(bytes, 4) == crc32c::crc32c_append(seed, &bytes[8..]);
        whole.then(|| Commit {
            size: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            batch_crc: u32_at(bytes, 20),
            root: bytes[24..].try_into().expect("32 bytes"),
        })
    }
}

/// The bytes of a batch while it is put together. Its memory is used again for the next one.
#[derive(Default)]
pub(crate) struct BatchBuffer {
    bytes: Vec<u8>,
    seed: u32,
    count: u32,
}

impl BatchBuffer {
    pub(crate) fn begin(&mut self, seed: u32) {
        self.bytes.clear();
        (self.seed, self.count) = (seed, 0);
    }

    pub(crate) fn push(&mut self, index: u64, entry: &[u8]) {
        let length = (entry.len() as u32).to_le_bytes();
        let crc = entry_crc(self.seed, &length, &index.to_le_bytes(), entry);
        self.bytes.extend_from_slice(&length);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.bytes.extend_from_slice(entry);
        self.bytes.resize(padded(self.bytes.len()), 0);
        self.count += 1;
    }

    pub(crate) fn finish(&mut self, size: u64, root: Hash) {
        let batch_crc = crc32c::crc32c_append(self.seed, &self.bytes);
        let commit = Commit { size, count: self.count, batch_crc, root };
        self.bytes.extend_from_slice(&commit.serialise(self.seed));
    }

    /// Adds zeros up to this many bytes, to be written with the batch.
    pub(crate) fn fill_to(&mut self, bytes: usize) {
        self.bytes.resize(bytes.max(self.bytes.len()), 0);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Goes through a segment batch by batch, checking all but the Merkle roots.
pub(crate) struct Scan {
    file: Box<dyn DiskFile>,
    header: Header,
    seed: u32,
    /// Where the next batch starts.
    offset: u64,
    /// The index that its first entry must have.
    index: u64,
    /// Bytes of the file from `offset` on, as far as read.
    window: Vec<u8>,
    /// Bytes of the last batch at the window's start.
    consumed: usize,
    entries: Vec<Range<usize>>,
}

/// What a [`Scan`] met.
pub(crate) enum Met<'a> {
    Batch(Batch<'a>),
    /// Zeros or the end of the file, at a place where a batch may begin.
    End,
    /// Something that is neither.
    Bad(Bad),
}

/// A spot where a frame should be and is not.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) why: &'static str,
}

/// A whole batch.
pub(crate) struct Batch<'a> {
    pub(crate) first: u64,
    pub(crate) offset: u64,
    /// The tree size and root that its commit frame claims.
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// All its frames, as they are in the file.
    pub(crate) bytes: &'a [u8],
    entries: &'a [Range<usize>],
}

impl<'a> Batch<'a> {
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.entries.iter().map(move |range| &bytes[range.clone()])
    }

    /// Where its commit frame starts in the file.
    pub(crate) fn commit_offset(&self) -> u64 {
        self.offset + (self.bytes.len() - COMMIT_BYTES) as u64
    }
}

impl Scan {
    /// Reads the header; the inner error says what is wrong with it.
    pub(crate) fn begin(file: Box<dyn DiskFile>) -> io::Result<Result<Scan, &'static str>> {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_full(&*file, 0, &mut bytes)?;
        Ok(Header::parse(&bytes[..read]).map(|header| Scan {
            file,
            seed: header.seed(),
            offset: HEADER_BYTES as u64,
            index: header.first,
            header,
            window: Vec::new(),
            consumed: 0,
            entries: Vec::new(),
        }))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Where the last whole batch ended.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The index after the last whole batch.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn into_file(self) -> Box<dyn DiskFile> {
        self.file
    }

    /// The next whole batch. After [`Met::End`] or [`Met::Bad`] it looks at the same place again, in fresh bytes.
    pub(crate) fn next(&mut self) -> io::Result<Met<'_>> {
        self.window.drain(..self.consumed);
        self.consumed = 0;
        match self.whole_batch()? {
            Ok(Some((length, commit))) => {
                let (first, offset) = (self.index, self.offset);
                self.consumed = length;
                self.offset += length as u64;
                self.index = commit.size;
                Ok(Met::Batch(Batch {
                    first,
                    offset,
                    size: commit.size,
                    root: commit.root,
                    bytes: &self.window[..length],
                    entries: &self.entries,
                }))
            }
            Ok(None) => {
                self.window.clear();
                Ok(Met::End)
            }
            Err(bad) => {
                self.window.clear();
                Ok(Met::Bad(bad))
            }
        }
    }

    /// The length and commit of the batch at the window's start.
    fn whole_batch(&mut self) -> io::Result<Result<Option<(usize, Commit)>, Bad>> {
        self.entries.clear();
        let (mut at, mut index) = (0, self.index);
        loop {
            let offset = self.offset + at as u64;
            let bad = |index, why| Ok(Err(Bad { index, offset, why }));
            let head = self.read(at, ENTRY_HEAD_BYTES)?;
            if at == 0 && head[..head.len().min(8)].iter().all(|byte| *byte == 0) {
                return Ok(Ok(None));
            }
            if head.len() < ENTRY_HEAD_BYTES {
                return bad(index, "the file ends in the middle of a batch");
            }
            let length = u32_at(head, 0);
            let seed = self.seed;
            if length == COMMIT_MARK {
                return self.commit_of(at, index);
            }
            if length == 0 || length as usize > ENTRY_BYTES_MAX {
                if Commit::is_whole_but_for_its_mark(self.read(at, COMMIT_BYTES)?, seed) {
                    return self.commit_of(at, index);
                }
                return bad(index, "no frame where one must be");
            }
            let frame_bytes = entry_frame_bytes(length as usize);
            if at + frame_bytes + COMMIT_BYTES > BATCH_BYTES_MAX {
                return bad(index, "a batch without end");
            }
            let frame = self.read(at, frame_bytes)?;
            if frame.len() < frame_bytes {
                return bad(index, "the file ends in the middle of an entry");
            }
            let entry_end = ENTRY_HEAD_BYTES + length as usize;
            let (entry, padding) = (&frame[ENTRY_HEAD_BYTES..entry_end], &frame[entry_end..]);
            if u32_at(frame, 4) != entry_crc(seed, &frame[..4], &frame[8..16], entry) {
                return bad(index, "the entry does not match its checksum");
            }
            if u64_at(frame, 8) != index {
                return bad(index, "another entry where this one must be");
            }
            if padding.iter().any(|byte| *byte != 0) {
                return bad(index, "the padding after the entry is not zero");
            }
            self.entries.push(at + ENTRY_HEAD_BYTES..at + entry_end);
            at += frame_bytes;
            index += 1;
        }
    }

    /// Checks the commit frame at `at`, after the entries up to `index`.
    fn commit_of(&mut self, at: usize, index: u64) -> io::Result<Result<Option<(usize, Commit)>, Bad>> {
        let (seed, count) = (self.seed, self.entries.len());
        let (first, offset) = (self.index, self.offset + at as u64);
        // All entries of a batch hang on its commit frame, so the first of them is the first in doubt.
        let bad = |why| Ok(Err(Bad { index: first, offset, why }));
        let Some(commit) = Commit::parse(self.read(at, COMMIT_BYTES)?, seed) else {
            return bad("the commit frame does not match its checksum");
        };
        if count == 0 || commit.count as usize != count || commit.size != index {
            return bad("the commit frame counts other entries than there are");
        }
        if commit.batch_crc != crc32c::crc32c_append(seed, &self.window[..at]) {
            return bad("the batch does not match the checksum in its commit frame");
        }
        Ok(Ok(Some((at + COMMIT_BYTES, commit))))
    }

    /// Up to `length` bytes at `at` in the window, which is read on as needed; fewer only at the end of the file.
    fn read(&mut self, at: usize, length: usize) -> io::Result<&[u8]> {
        let (have, end) = (self.window.len(), at + length);
        if have < end {
            let want = end.max(have + READ_BYTES);
            self.window.resize(want, 0);
            let read = read_full(&*self.file, self.offset + have as u64, &mut self.window[have..])?;
            self.window.truncate(have + read);
        }
        let have = self.window.len();
        Ok(&self.window[at.min(have)..end.min(have)])
    }

    /// The offset of the first byte after the last whole batch that is not zero, and the length of the file.
    pub(crate) fn tail(&self) -> io::Result<(Option<u64>, u64)> {
        self.first_odd_byte(self.offset)
    }

    fn first_odd_byte(&self, from: u64) -> io::Result<(Option<u64>, u64)> {
        let mut offset = from;
        let mut buffer = vec![0; READ_BYTES];
        let mut odd = None;
        loop {
            let read = read_full(&*self.file, offset, &mut buffer)?;
            if odd.is_none() {
                odd = buffer[..read].iter().position(|byte| *byte != 0).map(|at| offset + at as u64);
            }
            offset += read as u64;
            if read < buffer.len() {
                return Ok((odd, offset));
            }
        }
    }

    /// Whether what follows the last whole batch can be what a crash leaves of a single batch that was being
    /// written. At most one batch is ever written without a sync, so only one commit frame can be there, and it
    /// must be that batch's.
    pub(crate) fn tail_is_one_torn_batch(&self) -> io::Result<bool> {
        let mut bytes = vec![0; BATCH_BYTES_MAX];
        let read = read_full(&*self.file, self.offset, &mut bytes)?;
        for at in (0..read.saturating_sub(COMMIT_BYTES - 1)).step_by(8) {
            let Some(commit) = Commit::parse(&bytes[at..read], self.seed) else { continue };
            if commit.size != self.index + u64::from(commit.count) {
                return Ok(false);
            }
        }
        let (odd, _) = self.first_odd_byte(self.offset + read as u64)?;
        Ok(odd.is_none())
    }
}

/// Appends the leaf hashes of a batch to a frontier.
pub(crate) fn grow(frontier: &mut merkle::Frontier, batch: &Batch<'_>) {
    batch.entries().for_each(|entry| frontier.append(merkle::leaf_hash(entry)));
}

fn entry_crc(seed: u32, length: &[u8], index: &[u8], entry: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c_append(seed, length), index), entry)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
