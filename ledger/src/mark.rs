//! Mark files: what is known at one point of the log, so that a start need not read what comes before.
//!
//! `head` is written when a ledger is opened (kind `Open`: from here on there may be more) and at a clean stop
//! (kind `Clean`: exactly this and no more). A side file, `<first index>.side`, is written when that segment is
//! sealed. All are replaced as a whole: written beside, synced, renamed.
//!
//! ```text
//!   0 magic "BYLMRK01"   8 kind u32 (1 open, 2 clean, 3 sealed)   12 has state u32 (0 or 1)
//!  16 first index of the segment u64   24 bytes of header and batches in it u64   32 its file length u64
//!  40 SHA-256 of those bytes [32]      72 root [32]
//! 104 length of the frontier u32      108 length of the state u32
//! 112 frontier (size u64, then 32 bytes for each set bit), state, SHA-256 of all before
//! ```

use std::io;

use ring::digest::{SHA256, digest};

use crate::disk::{Access, Disk, read_full, write_full};
use crate::merkle::{Frontier, Hash};
use crate::segment::{u32_at, u64_at};

pub(crate) const HEAD_FILE: &str = "head";
/// Files with this ending are unfinished: nothing refers to them.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The most that an observer may save. More is not kept: the next start then reads history instead.
pub(crate) const STATE_BYTES_MAX: usize = 512 << 20;

const MAGIC: &[u8; 8] = b"BYLMRK01";
const FIXED_BYTES: usize = 112;
const MARK_BYTES_MAX: u64 = (FIXED_BYTES + 8 + 64 * 32 + STATE_BYTES_MAX + 32) as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open = 1,
    Clean = 2,
    Sealed = 3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    pub(crate) segment: SegmentMark,
    /// The tree after the last entry that this mark covers.
    pub(crate) frontier: Frontier,
    /// What the observer had saved at this point, unless it was dropped since.
    pub(crate) state: Option<Vec<u8>>,
}

/// A segment at the time of the mark: the last one, or the one that was sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentMark {
    pub(crate) first: u64,
    /// Bytes of header and whole batches; zeros follow.
    pub(crate) end: u64,
    /// The length of the file.
    pub(crate) length: u64,
    /// The SHA-256 of the first `end` bytes.
    pub(crate) content: Hash,
}

impl Mark {
    pub(crate) fn serialise(&self) -> Vec<u8> {
        let frontier = self.frontier.serialise();
        let state = self.state.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(FIXED_BYTES + frontier.len() + state.len() + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.kind as u32).to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.state.is_some()).to_le_bytes());
        bytes.extend_from_slice(&self.segment.first.to_le_bytes());
        bytes.extend_from_slice(&self.segment.end.to_le_bytes());
        bytes.extend_from_slice(&self.segment.length.to_le_bytes());
        bytes.extend_from_slice(&self.segment.content);
        bytes.extend_from_slice(&self.frontier.root());
        bytes.extend_from_slice(&(frontier.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(state.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&frontier);
        bytes.extend_from_slice(state);
        let checksum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(checksum.as_ref());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Mark, &'static str> {
        let (body, checksum) = bytes.split_last_chunk::<32>().ok_or("the file is cut short")?;
        if digest(&SHA256, body).as_ref() != checksum {
            return Err("the file does not match its checksum");
        }
        if body.len() < FIXED_BYTES || body[..8] != *MAGIC {
            return Err("not a mark file of this format");
        }
        let kind = match u32_at(body, 8) {
            1 => Kind::Open,
            2 => Kind::Clean,
            3 => Kind::Sealed,
            _ => return Err("a kind of mark that is not known"),
        };
        let rest = &body[FIXED_BYTES..];
        let (frontier_bytes, state_bytes) = (u32_at(body, 104) as usize, u32_at(body, 108) as usize);
        if frontier_bytes + state_bytes != rest.len() {
            return Err("the lengths in the mark do not add up");
        }
        let (frontier, state) = rest.split_at(frontier_bytes);
        let frontier = Frontier::parse(frontier).ok_or("the frontier in the mark is not one")?;
        if frontier.root() != body[72..104] {
            return Err("the mark's root is not its frontier's");
        }
        let state = match (u32_at(body, 12), state) {
            (0, []) => None,
            (1, state) => Some(state.to_vec()),
            _ => return Err("a mark without state that has one"),
        };
        let segment = SegmentMark {
            first: u64_at(body, 16),
            end: u64_at(body, 24),
            length: u64_at(body, 32),
            content: body[40..72].try_into().expect("32 bytes"),
        };
        Ok(Mark { kind, segment, frontier, state })
    }

    /// Reads a mark; the inner error says what is wrong with it. A missing file is `NotFound`.
    pub(crate) fn load(disk: &dyn Disk, name: &str) -> io::Result<Result<Mark, &'static str>> {
        let file = disk.open(name, Access::Read)?;
        let length = file.len()?;
        if length > MARK_BYTES_MAX {
            return Ok(Err("the file is longer than a mark can be")); // and is not read into memory to find out
        }
        let mut bytes = vec![0; length as usize];
        let read = read_full(&*file, 0, &mut bytes)?;
        Ok(Mark::parse(&bytes[..read]))
    }
}

/// A step of a change to the disk that failed. What may be done about it depends on the step.
#[derive(Debug)]
pub(crate) enum StepError {
    /// Before the bytes could count for anything: a later try starts anew.
    Change(io::Error),
    /// A sync: what is on disk is not known any more.
    Sync(io::Error),
}

/// Replaces a file as a whole: after this it has these bytes, after a crash in between these or the old ones.
pub(crate) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StepError> {
    let unfinished = format!("{name}{UNFINISHED}");
    let written = disk.create(&unfinished).and_then(|mut file| {
        write_full(&mut *file, 0, bytes)?;
        Ok(file)
    });
    let mut file = written.map_err(|error| {
        let _ = disk.remove(&unfinished); // it may hold the space that is missing
        StepError::Change(error)
    })?;
    file.sync_data().map_err(StepError::Sync)?;
    disk.rename(&unfinished, name).map_err(StepError::Change)?;
    disk.sync_dir().map_err(StepError::Sync)
}
