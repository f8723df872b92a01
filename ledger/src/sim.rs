//! A disk that keeps its promises and no more.
//!
//! What was synced stays. What was not survives a power cut as any subset: bytes in sectors of 512, lengths, names.
//! Operations that change something are counted, and each can be made to fail or to be the last one.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Access, Disk, DiskFile};

const SECTOR: u64 = 512;

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }
}

/// What happens at the operation with a given number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power fails: the operation was begun, and nothing after it happens.
    PowerCut,
    /// `EIO`. A sync that fails leaves the cache clean and the disk with any part of what was to be synced.
    Broken,
    /// `ENOSPC`; a write has written half of its bytes before. A sync is not affected.
    NoSpace,
    /// A write writes only a part, without an error.
    Short,
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survival {
    Nothing,
    Everything,
    /// Any subset of sectors, lengths and names.
    Subset,
    /// Everything but the last write, of which only a part is there, its last sector cut in the middle.
    TornLast,
    /// A subset, and a flipped bit in one of the sectors that were being written.
    Flipped,
}

#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    names_durable: BTreeMap<String, usize>,
    names_pending: Vec<NameChange>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// How many bytes all files may have together.
    capacity: Option<u64>,
    off: bool,
    locked: bool,
    salts: u64,
    last_write: Option<(usize, usize)>,
}

/// One file: what is durable, what a read sees, and the changes between the two.
#[derive(Clone, Default)]
struct Contents {
    durable: Vec<u8>,
    cached: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone)]
enum NameChange {
    Insert(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

struct SimFile {
    disk: SimDisk,
    number: usize,
}

struct SimLock(SimDisk);

impl SimDisk {
    pub(crate) fn new() -> SimDisk {
        SimDisk { state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A disk of its own with the same contents, for another continuation of the same story.
    pub(crate) fn fork(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.state().clone())) }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the `after`-th operation from now (0 is the next) fail.
    pub(crate) fn plan(&self, after: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + after, fault));
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The process ends and another one starts: nothing is lost, but no fault is planned any more.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        (state.fault, state.off, state.locked) = (None, false, false);
    }

    /// The power fails and comes back.
    pub(crate) fn power_cycle(&self, survival: Survival, dice: &mut Dice) {
        let mut state = self.state();
        let last_write = state.last_write.take();
        for (number, file) in state.files.iter_mut().enumerate() {
            let last = last_write.filter(|(of, _)| *of == number).map(|(_, at)| at);
            file.settle(survival, last, dice);
        }
        let pending = std::mem::take(&mut state.names_pending);
        for change in pending {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Everything | Survival::TornLast => true,
                Survival::Subset | Survival::Flipped => dice.coin(),
            };
            if survives {
                change.apply(&mut state.names_durable);
            }
        }
        state.names = state.names_durable.clone();
        drop(state);
        self.restart();
    }

    /// What a file has, as a read sees it.
    pub(crate) fn bytes_of(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].cached.clone()
    }

    /// Gives a file other bytes, as somebody with an editor would; `None` removes it.
    pub(crate) fn tamper(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        let Some(bytes) = bytes else {
            state.names.remove(name);
            return;
        };
        let number = state.files.len();
        state.files.push(Contents { durable: bytes.clone(), cached: bytes, pending: Vec::new() });
        state.names.insert(name.to_owned(), number);
    }

    /// The names of all files, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    /// Counts an operation; what is to happen to it.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        let fault = self.fault.filter(|(at, _)| *at == self.operations).map(|(_, fault)| fault);
        self.operations += 1;
        self.off = fault == Some(Fault::PowerCut);
        Ok(fault)
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let fault = self.begin()?;
        let failed = match fault {
            Some(Fault::Broken) => return Err(broken()),
            Some(Fault::NoSpace) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::PowerCut) => true,
            Some(Fault::Short) | None => false,
        };
        change.apply(&mut self.names);
        self.names_pending.push(change);
        if failed { Err(broken()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|number| self.files[*number].cached.len() as u64).sum()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Insert(name, number) => {
                names.insert(name.clone(), *number);
            }
            NameChange::Rename(from, to, number) => {
                names.remove(from);
                names.insert(to.clone(), *number);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Write(offset, written) => {
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(written);
            }
        }
    }

    /// The same change in pieces that can be lost one by one.
    fn sectors(&self) -> Vec<Change> {
        let Change::Write(offset, bytes) = self else { return vec![self.clone()] };
        let mut pieces = Vec::new();
        let (mut offset, mut rest) = (*offset, bytes.as_slice());
        while !rest.is_empty() {
            let room = (SECTOR - offset % SECTOR).min(rest.len() as u64) as usize;
            pieces.push(Change::Write(offset, rest[..room].to_vec()));
            offset += room as u64;
            rest = &rest[room..];
        }
        pieces
    }
}

impl Contents {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Decides what of the pending changes is durable, and forgets the others.
    fn settle(&mut self, survival: Survival, last_write: Option<usize>, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        let mut begun = Vec::new();
        for (number, change) in pending.iter().enumerate() {
            for mut piece in change.sectors() {
                let survives = match survival {
                    Survival::Nothing => false,
                    Survival::Everything => true,
                    Survival::TornLast if last_write == Some(number) => dice.coin(),
                    Survival::TornLast => true,
                    Survival::Subset | Survival::Flipped => dice.coin(),
                };
                if let (Survival::TornLast, true, Change::Write(_, bytes)) =
                    (survival, survives && last_write == Some(number) && dice.coin(), &mut piece)
                {
                    let keep = dice.roll(bytes.len() as u64) as usize;
                    bytes.truncate(keep);
                }
                if survives {
                    piece.apply(&mut self.durable);
                    begun.push(piece);
                }
            }
        }
        if survival == Survival::Flipped && !begun.is_empty() {
            let piece = &begun[dice.roll(begun.len() as u64) as usize];
            if let Change::Write(offset, bytes) = piece
                && let at = *offset + dice.roll(bytes.len().max(1) as u64)
                && let Some(byte) = self.durable.get_mut(at as usize)
            {
                *byte ^= 1 << dice.roll(8);
            }
        }
        self.cached = self.durable.clone();
    }
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5) // EIO
}

impl Disk for SimDisk {
    fn open(&self, name: &str, _: Access) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        if state.off {
            return Err(broken());
        }
        let number = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), number }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let number = state.files.len();
        state.files.push(Contents::default());
        state.change_names(NameChange::Insert(name.to_owned(), number))?;
        Ok(Box::new(SimFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), number))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().change_names(NameChange::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(Fault::PowerCut | Fault::Broken) = state.begin()? {
            return Err(broken());
        }
        state.names_pending.clear();
        state.names_durable = state.names.clone();
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        Ok(state
            .names
            .iter()
            .map(|(name, number)| (name.clone(), state.files[*number].cached.len() as u64))
            .collect())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        let mut state = self.state();
        let free = !std::mem::replace(&mut state.locked, true);
        Ok(free.then(|| Box::new(SimLock(self.clone())) as Box<dyn Send>))
    }

    fn is_locked(&self) -> io::Result<bool> {
        Ok(self.state().locked)
    }

    fn salt(&self) -> io::Result<[u8; 16]> {
        let mut state = self.state();
        state.salts += 1;
        let mut dice = Dice(state.salts);
        Ok(std::array::from_fn(|_| dice.roll(256) as u8))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.number].cached;
        let rest = &bytes[bytes.len().min(offset as usize)..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let fault = state.begin()?;
        if fault == Some(Fault::Broken) {
            return Err(broken());
        }
        let mut count = bytes.len();
        if matches!(fault, Some(Fault::Short | Fault::NoSpace)) {
            count = count.div_ceil(2);
        }
        if let Some(capacity) = state.capacity {
            let used = state.used();
            let room = state.files[self.number].cached.len() as u64 + capacity.saturating_sub(used);
            count = count.min(room.saturating_sub(offset) as usize);
        }
        let full = count == 0;
        if !full {
            let file = &mut state.files[self.number];
            file.change(Change::Write(offset, bytes[..count].to_vec()));
            let at = file.pending.len() - 1;
            state.last_write = Some((self.number, at));
        }
        match fault {
            Some(Fault::PowerCut) => Err(broken()),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            _ if full => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(count),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.number].cached.len() as u64)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.begin()?;
        if fault == Some(Fault::Broken) {
            return Err(broken());
        }
        state.files[self.number].change(Change::Length(length));
        if fault == Some(Fault::PowerCut) { Err(broken()) } else { Ok(()) }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.begin()?;
        let mut dice = Dice(state.operations);
        let file = &mut state.files[self.number];
        match fault {
            Some(Fault::PowerCut) => return Err(broken()),
            Some(Fault::Broken) => {
                // The kernel reports the error once, and calls the pages clean although they were not written.
                let cached = file.cached.clone();
                file.settle(Survival::Subset, None, &mut dice);
                file.cached = cached;
                return Err(broken());
            }
            _ => {}
        }
        // Only what is pending: what an earlier, failed sync called clean is not written by this one.
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn forget_cache(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let file = &mut state.files[self.number];
        file.cached = file.durable.clone();
        let pending = file.pending.clone();
        pending.iter().for_each(|change| change.apply(&mut file.cached));
        Ok(())
    }
}
