//! The start: what is on disk is checked, the observer is brought up to date, the torn tail is cut.
//!
//! Read are the head mark, the newest side file and the last segment; history before that is not. The rule for the
//! tail: a crash leaves at most one unfinished batch behind the last whole one. That is cut off. Anything else
//! that is not as written refuses the start, and nothing is touched: what cannot be verified is never rewritten.

use std::collections::BTreeSet;
use std::io;

use ring::digest::{Context, SHA256};

use crate::disk::{Access, Disk, DiskFile};
use crate::mark::{HEAD_FILE, Kind, Mark, UNFINISHED};
use crate::merkle::Frontier;
use crate::segment::{Met, Scan, first_index, grow, segment_name, side_name};
use crate::{Checkpoint, Observer};

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the ledger is in use by another process")]
    Locked,
    /// The system failed.
    #[error("ledger {what}: {source}")]
    Io {
        /// Which file or operation.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk was changed or damaged; nothing was touched.
    #[error("the ledger is damaged at entry {index} ({file}, offset {offset}): {why}")]
    Corrupt {
        /// The first entry that cannot be vouched for.
        index: u64,
        /// The file.
        file: String,
        /// The offset in that file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

/// What a start found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What the ledger held.
    pub checkpoint: Checkpoint,
    /// Whether the last stop was a clean one (true for a new ledger).
    pub clean: bool,
    /// Bytes of an unfinished batch that were cut off.
    pub cut_bytes: u64,
    /// Entries that the observer saw again.
    pub replayed: u64,
    /// What a person may want to know.
    pub notes: Vec<String>,
}

/// All that the writer needs to go on.
pub(crate) struct Recovered {
    /// Whether there is a head mark; without one the ledger is new.
    pub(crate) has_head: bool,
    pub(crate) frontier: Frontier,
    /// The segment to go on with; `None` if the next one is yet to be created.
    pub(crate) tail: Option<RecoveredTail>,
    /// First indexes of the sealed segments, ascending.
    pub(crate) sealed: Vec<u64>,
    /// Bytes in all files.
    pub(crate) bytes: u64,
    pub(crate) report: Recovery,
}

pub(crate) struct RecoveredTail {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) first: u64,
    pub(crate) seed: u32,
    pub(crate) end: u64,
    pub(crate) length: u64,
    pub(crate) content: Context,
}

/// Recovers the ledger on a disk that this process has locked.
pub(crate) fn recover(disk: &dyn Disk, observer: &mut dyn Observer) -> Result<Recovered, OpenError> {
    let files = disk.list().map_err(failed("directory"))?;
    let names = Names::of(&files);
    let Some(head) = load_head(disk, &names)? else { return Ok(new_ledger()) };

    // The newest side file tells where the last segment begins.
    let newest = names.sealed.last().copied();
    let side = newest.map(|first| load_side(disk, first)).transpose()?;
    let frontier = side.as_ref().map(|side| side.frontier.clone()).unwrap_or_default();
    names.check(frontier.size())?;

    let mut report = Recovery {
        checkpoint: Checkpoint { size: 0, root: frontier.root() },
        clean: head.kind == Kind::Clean,
        cut_bytes: 0,
        replayed: 0,
        notes: Vec::new(),
    };
    let side_state = side.and_then(|side| side.state).map(|state| (frontier.size(), state));
    let head_state = head.state.clone().map(|state| (head.frontier.size(), state));
    let saved = head_state.or(side_state);
    let seen = restore(disk, observer, saved, &names, &mut report)?;

    let mut tail = LastSegment { disk, head: &head, frontier, seen, report };
    let found = match names.segments.last().copied() {
        Some(first) if Some(first) != newest => Some(tail.recover(first, observer)?),
        _ => None,
    };
    let LastSegment { frontier, mut report, .. } = tail;
    if head.kind == Kind::Clean && found.is_none() || frontier.size() < head.frontier.size() {
        return Err(corrupt(
            frontier.size(),
            HEAD_FILE,
            0,
            format!(
                "{} entries are missing at the end",
                head.frontier.size().saturating_sub(frontier.size())
            ),
        ));
    }
    for name in &names.unfinished {
        disk.remove(name).map_err(failed(name))?;
    }
    report.checkpoint = Checkpoint { size: frontier.size(), root: frontier.root() };
    let sealed = names.sealed.iter().copied().collect();
    let bytes = files.iter().map(|(_, length)| length).sum::<u64>() - report.cut_bytes;
    Ok(Recovered { has_head: true, frontier, tail: found, sealed, bytes, report })
}

/// The files of a ledger, by what they are.
struct Names {
    segments: BTreeSet<u64>,
    sealed: BTreeSet<u64>,
    unfinished: Vec<String>,
    head: bool,
}

impl Names {
    fn of(files: &[(String, u64)]) -> Names {
        let names = || files.iter().map(|(name, _)| name);
        Names {
            segments: names().filter_map(|name| first_index(name, "seg")).collect(),
            sealed: names().filter_map(|name| first_index(name, "side")).collect(),
            unfinished: names().filter(|name| name.ends_with(UNFINISHED)).cloned().collect(),
            head: names().any(|name| name == HEAD_FILE),
        }
    }

    /// Every sealed segment must be there, and behind them at most one more, which begins where they end.
    fn check(&self, sealed_entries: u64) -> Result<(), OpenError> {
        if let Some(first) = self.sealed.difference(&self.segments).next() {
            return Err(corrupt(*first, &segment_name(*first), 0, "the segment is missing".into()));
        }
        if let Some(first) = self.segments.difference(&self.sealed).find(|first| **first != sealed_entries) {
            let (index, name) = ((*first).min(sealed_entries), segment_name(*first));
            return Err(corrupt(index, &name, 0, "the segment does not continue the one before it".into()));
        }
        Ok(())
    }
}

/// The head mark; `None` for a directory without a ledger.
fn load_head(disk: &dyn Disk, names: &Names) -> Result<Option<Mark>, OpenError> {
    let damaged = |why: &str| corrupt(0, HEAD_FILE, 0, why.into());
    match (names.head, names.segments.is_empty() && names.sealed.is_empty()) {
        (false, true) => Ok(None),
        (false, false) => Err(damaged("the file is missing although there are segments")),
        (true, _) => {
            let head = Mark::load(disk, HEAD_FILE).map_err(failed(HEAD_FILE))?.map_err(damaged)?;
            if head.kind == Kind::Sealed { Err(damaged("not a head mark")) } else { Ok(Some(head)) }
        }
    }
}

fn load_side(disk: &dyn Disk, first: u64) -> Result<Mark, OpenError> {
    let name = side_name(first);
    let damaged = |why: &str| corrupt(first, &name, 0, why.into());
    let side = Mark::load(disk, &name).map_err(failed(&name))?.map_err(damaged)?;
    if side.kind != Kind::Sealed || side.segment.first != first || side.frontier.size() <= first {
        return Err(damaged("the side file of another segment"));
    }
    Ok(side)
}

fn new_ledger() -> Recovered {
    let frontier = Frontier::default();
    let checkpoint = Checkpoint { size: 0, root: frontier.root() };
    let report = Recovery { checkpoint, clean: true, cut_bytes: 0, replayed: 0, notes: Vec::new() };
    Recovered { has_head: false, frontier, tail: None, sealed: Vec::new(), bytes: 0, report }
}

/// Gives the observer its saved state, or, where that cannot be used, all sealed history. Returns the index from
/// which on it has not seen the entries.
fn restore(
    disk: &dyn Disk,
    observer: &mut dyn Observer,
    saved: Option<(u64, Vec<u8>)>,
    names: &Names,
    report: &mut Recovery,
) -> Result<u64, OpenError> {
    if let Some((index, state)) = saved {
        match observer.restore(&state) {
            Ok(()) => return Ok(index),
            Err(why) => report.notes.push(format!("derived state is rebuilt from the first entry: {why}")),
        }
    } else if !names.sealed.is_empty() {
        report.notes.push("derived state is rebuilt from the first entry: none was kept".into());
    }
    let mut index = 0;
    for first in &names.sealed {
        let name = segment_name(*first);
        let file = disk.open(&name, Access::Read).map_err(failed(&name))?;
        let damaged = |index, offset, why: &str| corrupt(index, &name, offset, why.into());
        let mut scan = Scan::begin(file).map_err(failed(&name))?.map_err(|why| damaged(*first, 0, why))?;
        if scan.index() != index {
            return Err(damaged(index, 0, "the segment does not continue the one before it"));
        }
        loop {
            match scan.next().map_err(failed(&name))? {
                Met::Batch(batch) => {
                    for (index, entry) in (batch.first..).zip(batch.entries()) {
                        observer.committed(index, entry, None);
                        report.replayed += 1;
                    }
                    index = batch.size;
                }
                Met::End => break,
                Met::Bad(bad) => return Err(damaged(bad.index, bad.offset, bad.why)),
            }
        }
    }
    Ok(index)
}

/// The segment that was being written.
struct LastSegment<'a> {
    disk: &'a dyn Disk,
    head: &'a Mark,
    frontier: Frontier,
    /// The observer has seen the entries before this index.
    seen: u64,
    report: Recovery,
}

impl LastSegment<'_> {
    fn recover(&mut self, first: u64, observer: &mut dyn Observer) -> Result<RecoveredTail, OpenError> {
        let name = segment_name(first);
        let damaged = |index, offset, why: &str| corrupt(index, &name, offset, why.into());
        let mut file = self.disk.open(&name, Access::Write).map_err(failed(&name))?;
        if self.head.kind == Kind::Open {
            // What another process wrote and could not sync must not be taken for what is on disk; and what it wrote
            // and did not get to sync must last, if it is whole and counts from here on.
            file.sync_data().map_err(failed(&name))?;
            file.forget_cache().map_err(failed(&name))?;
        }
        // A segment gets its name when its header is durable, so a bad header is never a crash's doing.
        let mut scan = Scan::begin(file).map_err(failed(&name))?.map_err(|why| damaged(first, 0, why))?;
        if scan.header().first != first || scan.header().root_before != self.frontier.root() {
            return Err(damaged(first, 0, "the segment does not continue the one before it"));
        }
        let mut content = Context::new(&SHA256);
        content.update(&scan.header().serialise());

        let mut last_root = None;
        let bad = loop {
            match scan.next().map_err(failed(&name))? {
                Met::Batch(batch) => {
                    grow(&mut self.frontier, &batch);
                    content.update(batch.bytes);
                    last_root = Some((batch.root, batch.first, batch.commit_offset()));
                    for (index, entry) in (batch.first..).zip(batch.entries()) {
                        if index >= self.seen {
                            observer.committed(index, entry, None);
                            self.report.replayed += 1;
                        }
                    }
                    if batch.size == self.head.frontier.size() && self.frontier != self.head.frontier {
                        return Err(damaged(
                            batch.first,
                            batch.offset,
                            "not the entries that the head mark knows",
                        ));
                    }
                }
                Met::End => break None,
                Met::Bad(bad) => break Some(bad),
            }
        };
        // The last root covers every entry: to check it is to check all of them.
        if let Some((_, index, offset)) = last_root.filter(|(root, ..)| *root != self.frontier.root()) {
            return Err(damaged(index, offset, "the root in the commit frame is not that of the entries"));
        }
        let (odd, length) = scan.tail().map_err(failed(&name))?;
        let end = scan.offset();
        if self.head.kind == Kind::Clean {
            self.check_clean(
                &name,
                &scan,
                &content,
                bad.map(|bad| (bad.index, bad.offset, bad.why)),
                odd,
                length,
            )?;
        } else if let Some(odd) = odd {
            let (index, offset, why) = match bad {
                Some(bad) => (bad.index, bad.offset, bad.why),
                None => (scan.index(), odd, "bytes that are not zero behind the last batch"),
            };
            let missing = scan.index() < self.head.frontier.size();
            if missing || !scan.tail_is_one_torn_batch().map_err(failed(&name))? {
                return Err(damaged(index, offset, why));
            }
        }
        let seed = scan.header().seed();
        let mut file = scan.into_file();
        let mut length = length;
        if odd.is_some() {
            file.set_len(end).map_err(failed(&name))?;
            self.report.cut_bytes = length - end;
            self.report
                .notes
                .push(format!("an unfinished batch after entry {} was cut off", self.frontier.size()));
            length = end;
            file.sync_data().map_err(failed(&name))?;
        }
        Ok(RecoveredTail { file, first, seed, end, length, content })
    }

    /// After a clean stop every byte is known.
    fn check_clean(
        &self,
        name: &str,
        scan: &Scan,
        content: &Context,
        bad: Option<(u64, u64, &str)>,
        odd: Option<u64>,
        length: u64,
    ) -> Result<(), OpenError> {
        let damaged = |index, offset, why: &str| Err(corrupt(index, name, offset, why.into()));
        if let Some((index, offset, why)) = bad {
            return damaged(index, offset, why);
        }
        let segment = &self.head.segment;
        if let Some(odd) = odd {
            return damaged(scan.index(), odd, "bytes that are not zero behind the last batch");
        }
        let same_place = self.head.frontier == self.frontier && segment.first == scan.header().first;
        if !same_place || segment.end != scan.offset() {
            let index = scan.index().min(self.head.frontier.size());
            return damaged(index, scan.offset(), "not the end that the clean stop left");
        }
        if segment.length != length {
            return damaged(
                scan.index(),
                length.min(segment.length),
                "not the length that the clean stop left",
            );
        }
        if content.clone().finish().as_ref() != segment.content {
            return damaged(scan.header().first, 0, "not the bytes that the clean stop left");
        }
        Ok(())
    }
}

fn corrupt(index: u64, file: &str, offset: u64, why: String) -> OpenError {
    OpenError::Corrupt { index, file: file.to_owned(), offset, why }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> OpenError {
    let what = what.to_owned();
    move |source| OpenError::Io { what, source }
}
