//! Checking a ledger from its bytes alone.
//!
//! Everything is read and computed again: each frame's checksum, each leaf hash, the root in each commit frame, each
//! side file against the segment that it speaks of, and the head mark against the whole. After a clean stop there is
//! no byte that is not covered. What cannot be seen: a ledger that was replaced as a whole by an older copy of itself
//! (keep a checkpoint elsewhere), and, after a crash, whether the last batch was acknowledged.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::disk::{Access, Disk, LOCK_FILE, RealDisk};
use crate::mark::{HEAD_FILE, Kind, Mark, SegmentMark, UNFINISHED};
use crate::merkle::{Frontier, Hash};
use crate::segment::{Bad, HEADER_BYTES, Met, Scan, first_index, grow, segment_name, side_name};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is as it was written.
    Intact {
        /// How many entries there are.
        size: u64,
        /// The Merkle root over them.
        root: Hash,
        /// What a person may want to know: an unfinished batch after a crash, a writer at work.
        notes: Vec<String>,
    },
    /// Something was changed, removed or added.
    Tampered {
        /// The first entry that cannot be vouched for.
        index: u64,
        /// The file.
        file: String,
        /// The offset in that file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// No answer: no ledger there, or the system failed.
    CannotTell {
        /// Why not.
        why: String,
    },
}

/// Checks the ledger in a directory. Needs no lock and changes nothing; beside a running writer it checks up to the
/// last whole commit.
pub fn verify(directory: &Path) -> Verdict {
    match RealDisk::existing(directory) {
        Ok(disk) => verify_on(&disk),
        Err(error) => Verdict::CannotTell { why: format!("{}: {error}", directory.display()) },
    }
}

/// As [`verify()`], on any disk.
pub fn verify_on(disk: &dyn Disk) -> Verdict {
    // A writer at work changes the files between two looks at them. Damage is still there at the next look.
    let mut looks = 0;
    loop {
        looks += 1;
        let held_before = disk.is_locked();
        let found = Check::run(disk, *held_before.as_ref().unwrap_or(&false));
        let held = [held_before, disk.is_locked()].iter().any(|held| matches!(held, Ok(true)));
        match found {
            Err(Stop::Tampered { .. } | Stop::Io { .. }) if held && looks < LOOKS_BESIDE_WRITER => {}
            Ok(verdict) => return verdict,
            Err(Stop::Tampered { index, file, offset, why }) => {
                return Verdict::Tampered { index, file, offset, why: why.into() };
            }
            Err(Stop::Io { what, source }) => {
                return Verdict::CannotTell { why: format!("{what}: {source}") };
            }
        }
    }
}

/// How often a ledger that somebody writes to is looked at before damage is called damage.
const LOOKS_BESIDE_WRITER: usize = 5;

/// Why a check ends early.
enum Stop {
    Tampered { index: u64, file: String, offset: u64, why: &'static str },
    Io { what: String, source: io::Error },
}

struct Check<'a> {
    disk: &'a dyn Disk,
    held: bool,
    /// The head mark; or what is wrong with it, told only if nothing else is wrong.
    head: Result<Mark, &'static str>,
    frontier: Frontier,
    /// The root at the head mark's size was met, and was the head mark's.
    head_met: bool,
    notes: Vec<String>,
}

impl Check<'_> {
    fn run(disk: &dyn Disk, held: bool) -> Result<Verdict, Stop> {
        // The head first: what is written to the ledger after this look is more than it covers, never less.
        let head = match Mark::load(disk, HEAD_FILE) {
            Ok(Ok(mark)) if mark.kind == Kind::Sealed => Err("not a head mark"),
            Ok(head) => head,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("the file is missing"),
            Err(error) => return Err(failed(HEAD_FILE)(error)),
        };
        let names: Vec<String> =
            disk.list().map_err(failed("directory"))?.into_iter().map(|(name, _)| name).collect();
        let firsts = |extension| names.iter().filter_map(move |name| first_index(name, extension)).collect();
        let (segments, sealed): (BTreeSet<u64>, BTreeSet<u64>) = (firsts("seg"), firsts("side"));
        if segments.is_empty() && sealed.is_empty() && !names.iter().any(|name| name == HEAD_FILE) {
            return Ok(Verdict::CannotTell { why: "there is no ledger".into() });
        }

        let head_met = head.as_ref().is_ok_and(|head| head.frontier.size() == 0);
        let mut check =
            Check { disk, held, head, frontier: Frontier::default(), head_met, notes: Vec::new() };
        check.segments(&segments, &sealed)?;
        check.head(segments.last().copied())?;
        for name in &names {
            let known = name == HEAD_FILE
                || name == LOCK_FILE
                || first_index(name, "seg").is_some()
                || first_index(name, "side").is_some();
            if !known {
                let what = if name.ends_with(UNFINISHED) { "unfinished" } else { "not the ledger's" };
                check.notes.push(format!("the file {name} is {what}"));
            }
        }
        let Check { frontier, notes, .. } = check;
        Ok(Verdict::Intact { size: frontier.size(), root: frontier.root(), notes })
    }

    /// Checks all segments in order, each with its side file.
    fn segments(&mut self, segments: &BTreeSet<u64>, sealed: &BTreeSet<u64>) -> Result<(), Stop> {
        for first in segments.union(sealed) {
            let (size, name) = (self.frontier.size(), segment_name(*first));
            if *first != size {
                return Err(tampered(
                    size.min(*first),
                    &name,
                    0,
                    "the segment does not continue the one before it",
                ));
            }
            if !segments.contains(first) {
                return Err(tampered(size, &name, 0, "the segment is missing"));
            }
            let last = segments.last() == Some(first);
            if sealed.contains(first) {
                self.sealed_segment(*first)?;
            } else if last {
                self.last_segment(*first)?;
            } else {
                return Err(tampered(size, &side_name(*first), 0, "the side file is missing"));
            }
        }
        Ok(())
    }

    fn sealed_segment(&mut self, first: u64) -> Result<(), Stop> {
        let (segment, side) = (segment_name(first), side_name(first));
        let scanned = self.scan(first)?;
        let side_error = |why| tampered(first, &side, 0, why);
        let mark = Mark::load(self.disk, &side).map_err(failed(&side))?;
        if let Some(bad) = &scanned.bad {
            // What the side file is worth makes no difference: in a sealed segment nothing is unfinished.
            return Err(tampered(bad.index, &segment, bad.offset, bad.why));
        }
        let mark = mark.map_err(side_error)?;
        if mark.kind != Kind::Sealed || mark.segment.first != first {
            return Err(side_error("the side file of another segment"));
        }
        self.same_segment(&mark, &scanned)
    }

    fn last_segment(&mut self, first: u64) -> Result<(), Stop> {
        let name = segment_name(first);
        let scanned = self.scan(first)?;
        if let Ok(head @ Mark { kind: Kind::Clean, .. }) = &self.head {
            if let Some(bad) = &scanned.bad {
                return Err(tampered(bad.index, &name, bad.offset, bad.why));
            }
            if head.segment.first != first {
                let index = head.segment.first.min(self.frontier.size());
                return Err(tampered(
                    index,
                    HEAD_FILE,
                    0,
                    "the last segment is not the one that the clean stop left",
                ));
            }
            return self.same_segment(&head.clone(), &scanned);
        }
        let Some(bad) = scanned.bad else { return Ok(()) };
        if !scanned.one_torn_batch {
            return Err(tampered(bad.index, &name, bad.offset, bad.why));
        }
        let size = self.frontier.size();
        self.notes.push(match self.held {
            true => format!("a batch after entry {size} is being written"),
            false => format!("the ledger was not closed: an unfinished batch follows the {size} entries"),
        });
        Ok(())
    }

    /// Goes through one segment: frames, leaf hashes, and the root in each commit frame.
    fn scan(&mut self, first: u64) -> Result<Scanned, Stop> {
        let name = segment_name(first);
        let file = self.disk.open(&name, Access::Read).map_err(failed(&name))?;
        let mut scan =
            Scan::begin(file).map_err(failed(&name))?.map_err(|why| tampered(first, &name, 0, why))?;
        if scan.header().first != first || scan.header().root_before != self.frontier.root() {
            return Err(tampered(first, &name, 0, "the segment does not continue the one before it"));
        }
        let mut content = Context::new(&SHA256);
        content.update(&scan.header().serialise());
        let mut bad = loop {
            match scan.next().map_err(failed(&name))? {
                Met::Batch(batch) => {
                    content.update(batch.bytes);
                    grow(&mut self.frontier, &batch);
                    let (root, why) =
                        (self.frontier.root(), "the root in the commit frame is not that of the entries");
                    if root != batch.root {
                        return Err(tampered(batch.first, &name, batch.commit_offset(), why));
                    }
                    if let Ok(head) = &self.head
                        && head.frontier.size() == batch.size
                    {
                        if head.frontier.root() != root {
                            let why = "not the entries that the head mark knows";
                            return Err(tampered(batch.first, &name, batch.offset, why));
                        }
                        self.head_met = true;
                    }
                }
                Met::End => break None,
                Met::Bad(bad) => break Some(bad),
            }
        };
        let (odd, length) = scan.tail().map_err(failed(&name))?;
        if let (None, Some(offset)) = (&bad, odd) {
            let why = "bytes that are not zero behind the last batch";
            bad = Some(Bad { index: scan.index(), offset, why });
        }
        let one_torn_batch = bad.is_none() || scan.tail_is_one_torn_batch().map_err(failed(&name))?;
        let content = content.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes");
        Ok(Scanned {
            segment: SegmentMark { first, end: scan.offset(), length, content },
            bad,
            one_torn_batch,
        })
    }

    /// Compares what a mark says of a segment with the segment.
    fn same_segment(&self, mark: &Mark, scanned: &Scanned) -> Result<(), Stop> {
        let (mark_segment, found) = (&mark.segment, &scanned.segment);
        let name = segment_name(found.first);
        let size = self.frontier.size();
        let why = if mark.frontier.size() > size {
            "entries are missing at the end of the segment"
        } else if mark.frontier.size() < size {
            "there are more entries than were there when the segment was left"
        } else if mark.frontier != self.frontier {
            "the entries are not those that were there when the segment was left"
        } else if (mark_segment.end, mark_segment.length) != (found.end, found.length) {
            "the file has not the length that it had when it was left"
        } else if mark_segment.content != found.content {
            return Err(tampered(
                found.first,
                &name,
                HEADER_BYTES as u64,
                "the bytes are not those that were left",
            ));
        } else {
            return Ok(());
        };
        Err(tampered(mark.frontier.size().min(size), &name, mark_segment.end.min(found.end), why))
    }

    /// The head mark against the whole.
    fn head(&mut self, last: Option<u64>) -> Result<(), Stop> {
        let size = self.frontier.size();
        let head = self.head.as_ref().map_err(|why| tampered(size, HEAD_FILE, 0, why))?;
        let covered = head.frontier.size();
        if covered > size {
            return Err(tampered(size, HEAD_FILE, 0, "the head mark knows more entries than there are"));
        }
        if !self.head_met {
            return Err(tampered(covered, HEAD_FILE, 0, "the head mark's root is that of other entries"));
        }
        if head.kind == Kind::Clean && last != Some(head.segment.first) {
            return Err(tampered(
                size,
                HEAD_FILE,
                0,
                "the last segment is not the one that the clean stop left",
            ));
        }
        if head.kind == Kind::Open {
            self.notes.push(match self.held {
                true => "a process has the ledger open".into(),
                false => "the ledger was not closed: what followed the last whole batch is not known".into(),
            });
        }
        Ok(())
    }
}

/// What a segment was found to be.
struct Scanned {
    segment: SegmentMark,
    /// What follows the last whole batch, if it is not zeros to the end.
    bad: Option<Bad>,
    one_torn_batch: bool,
}

fn tampered(index: u64, file: &str, offset: u64, why: &'static str) -> Stop {
    Stop::Tampered { index, file: file.to_owned(), offset, why }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> Stop {
    let what = what.to_owned();
    move |source| Stop::Io { what, source }
}

#[cfg(test)]
mod tests;
