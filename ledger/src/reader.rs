//! The way out: entries in index order, from the files alone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::Position;
use crate::disk::{Access, Disk, RealDisk};
use crate::segment::{Met, Scan, first_index, segment_name};

/// Reads entries in index order, only those of whole committed batches.
///
/// It takes no lock and works beside a running writer, on a closed ledger, and on what a crash left. Beside a writer
/// it may see a batch moments before that is durable; who must not, stops at [`crate::Stats::entries`].
pub struct Reader {
    disk: Arc<dyn Disk>,
    /// The index to return next.
    next: u64,
    current: Option<Open>,
    /// Entries of the current batch that were not returned yet, last first.
    ready: Vec<Vec<u8>>,
}

struct Open {
    first: u64,
    scan: Scan,
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system failed.
    #[error("ledger {what}: {source}")]
    Io {
        /// Which file or operation.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is on disk was changed or damaged.
    #[error("the ledger is damaged at entry {index} ({file}, offset {offset}): {why}")]
    Corrupt {
        /// The first entry that cannot be read.
        index: u64,
        /// The file.
        file: String,
        /// The offset in that file.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

impl Reader {
    /// Reads the ledger in a directory from its first entry.
    pub fn open(directory: &Path) -> Result<Reader, ReadError> {
        Reader::open_at(directory, Position { index: 0 })
    }

    /// Reads the ledger in a directory from a position, which may be one that is yet to be written.
    pub fn open_at(directory: &Path, from: Position) -> Result<Reader, ReadError> {
        let disk = RealDisk::existing(directory)
            .map_err(|source| ReadError::Io { what: format!("directory {}", directory.display()), source })?;
        Ok(Reader::on(Arc::new(disk), from))
    }

    /// Reads the ledger on any disk.
    pub fn on(disk: Arc<dyn Disk>, from: Position) -> Reader {
        Reader { disk, next: from.index, current: None, ready: Vec::new() }
    }

    /// Where the next entry is, or will be.
    pub fn position(&self) -> Position {
        Position { index: self.next }
    }

    /// The next entry; `None` at the present end: ask again later for more.
    pub fn next_entry(&mut self) -> Result<Option<(u64, Vec<u8>)>, ReadError> {
        while self.ready.is_empty() {
            if !self.read_batch()? {
                return Ok(None);
            }
        }
        let entry = self.ready.pop();
        Ok(entry.map(|entry| {
            self.next += 1;
            (self.next - 1, entry)
        }))
    }

    /// Reads the next whole batch, though it may have nothing at or after `next`; false at the present end.
    fn read_batch(&mut self) -> Result<bool, ReadError> {
        let mut sealed = false;
        loop {
            if self.current.is_none() {
                self.open_first()?;
            }
            let Some(open) = &mut self.current else { return Ok(false) };
            let first = open.first;
            let bad = match open.scan.next().map_err(failed(&segment_name(first)))? {
                Met::Batch(batch) => {
                    let skip = self.next.saturating_sub(batch.first).min(batch.size - batch.first);
                    self.ready.extend(batch.entries().skip(skip as usize).map(<[u8]>::to_vec));
                    self.ready.reverse();
                    return Ok(true);
                }
                Met::End => None,
                Met::Bad(bad) => Some(bad),
            };
            // Look again once after it is known that nobody writes here any more: the writer may have gone on to the
            // next segment in between.
            let (end, offset) = (open.scan.index(), open.scan.offset());
            if !sealed {
                sealed = self.has_segment_after(first)?;
                if !sealed {
                    return Ok(false);
                }
                continue;
            }
            if let Some(bad) = bad {
                return Err(corrupt(bad.index, &segment_name(first), bad.offset, bad.why));
            }
            // A segment without a batch would lead to itself.
            if end == first || !self.open_segment(end)? {
                return Err(corrupt(
                    end,
                    &segment_name(first),
                    offset,
                    "the segment ends before the next one begins",
                ));
            }
            sealed = false;
        }
    }

    /// Opens the segment in which to begin, if there is one by now.
    fn open_first(&mut self) -> Result<(), ReadError> {
        let mut firsts: Vec<u64> = self.segments()?.collect();
        firsts.sort_unstable();
        match firsts.iter().rfind(|first| **first <= self.next) {
            Some(first) => self.open_segment(*first).map(|_| ()),
            // Nothing at all is a ledger that is yet to be written; something, but not the beginning, is not.
            None if firsts.is_empty() => Ok(()),
            None => Err(corrupt(0, &segment_name(0), 0, "the segment is missing")),
        }
    }

    /// Goes on in the segment with this name; false if there is none.
    fn open_segment(&mut self, first: u64) -> Result<bool, ReadError> {
        let name = segment_name(first);
        let file = match self.disk.open(&name, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(&name)(error)),
        };
        let scan = Scan::begin(file).map_err(failed(&name))?.map_err(|why| corrupt(first, &name, 0, why))?;
        if scan.header().first != first {
            return Err(corrupt(first, &name, 0, "the segment of another place in the log"));
        }
        self.current = Some(Open { first, scan });
        Ok(true)
    }

    fn has_segment_after(&self, first: u64) -> Result<bool, ReadError> {
        Ok(self.segments()?.any(|other| other > first))
    }

    fn segments(&self) -> Result<impl Iterator<Item = u64> + use<>, ReadError> {
        let files = self.disk.list().map_err(failed("directory"))?;
        Ok(files.into_iter().filter_map(|(name, _)| first_index(&name, "seg")))
    }
}

/// Iterates to the present end; after `None`, the same iterator gives what was committed since.
impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

fn corrupt(index: u64, file: &str, offset: u64, why: &str) -> ReadError {
    ReadError::Corrupt { index, file: file.to_owned(), offset, why: why.to_owned() }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> ReadError {
    let what = what.to_owned();
    move |source| ReadError::Io { what, source }
}
