//! The ledger's files: whatever somebody does to them, nothing that was not appended is ever read as an entry, and what is
//! called intact is.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock, Mutex};

use ledger::merkle::{self, Hash};
use ledger::{Access, Disk, DiskFile, Ledger, Options, Position, Reader, Verdict, verify_on};

/// The first byte chooses: a ledger that is changed, or a segment of one's own making.
pub(crate) fn run(input: &[u8]) {
    match input {
        [choice, changes @ ..] if *choice < 128 => {
            changed(&SHAPES[usize::from(*choice) % SHAPES.len()], changes)
        }
        [choice, frames @ ..] => forged(*choice % 2 == 0, frames),
        [] => {}
    }
}

/// A ledger that was written and closed.
struct Shape {
    files: BTreeMap<String, Vec<u8>>,
    entries: Vec<Vec<u8>>,
    root: Hash,
}

/// Of few and of many entries, of one segment and of several.
static SHAPES: LazyLock<Vec<Shape>> =
    LazyLock::new(|| [(0, 1), (1, 20), (3, 300), (40, 4_000), (9, 30_000)].map(write).into());

fn write((count, bytes): (usize, usize)) -> Shape {
    let disk = MemDisk::default();
    let (ledger, appender) =
        Ledger::open(Arc::new(disk.clone()), options(), Box::new(())).expect("a new ledger");
    let entries: Vec<Vec<u8>> = (0..count).map(|number| vec![number as u8 + 1; bytes + number]).collect();
    for batch in entries.chunks(3) {
        let (sender, receiver) = channel();
        for entry in batch {
            let sender = sender.clone();
            let slot = appender.reserve().expect("a slot");
            slot.append(entry.clone(), move |result| sender.send(result.is_ok()).expect("somebody waits"));
        }
        assert!(receiver.iter().take(batch.len()).all(|durable| durable));
    }
    let root = ledger.close().expect("closed").root;
    let files = disk.0.lock().expect("unpoisoned").clone();
    Shape { files: files.iter().map(|(name, file)| (name.clone(), file.contents())).collect(), entries, root }
}

fn options() -> Options {
    Options {
        segment_bytes: 64 * 1024,
        zero_ahead_bytes: 4_096,
        gather: Default::default(),
        ..Options::default()
    }
}

/// Six bytes are a change: what, in which file, where, and with what.
fn changed(shape: &Shape, changes: &[u8]) {
    let mut files = shape.files.clone();
    let mut touched = Vec::new();
    for change in changes.chunks_exact(6).take(8) {
        let [what, which, high, middle, low, value] = change else { unreachable!("six bytes") };
        let Some(name) = files.keys().nth(usize::from(*which) % files.len().max(1)).cloned() else { break };
        let file = files.get_mut(&name).expect("a file of that name");
        let place = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let place = place % file.len().max(1);
        touched.push(name.clone());
        match what % 6 {
            0 if !file.is_empty() => file[place] ^= value,
            1 => file.truncate(place),
            2 => file.extend(std::iter::repeat_n(*value, place)),
            3 if !file.is_empty() => {
                let end = (place + usize::from(*value)).min(file.len());
                file[place..end].fill(0);
            }
            4 => {
                let other = files.values().nth(usize::from(*value) % files.len()).cloned().expect("a file");
                files.insert(name, other);
            }
            5 => {
                files.remove(&name);
            }
            _ => {}
        }
    }
    let same = files == shape.files;
    let one_segment = !same && touched.iter().all(|name| *name == touched[0] && name.ends_with(".seg"));
    let disk = MemDisk::of(&files);
    let size = shape.entries.len() as u64;

    if let Verdict::Intact { size: found, root, .. } = verify_on(&disk) {
        assert!(found <= size, "{found} of {size} entries");
        let leaves: Vec<Hash> =
            shape.entries[..found as usize].iter().map(|entry| merkle::leaf_hash(entry)).collect();
        assert_eq!(merkle::root(&leaves), root);
        assert!(found == size || !(same || one_segment), "{found} of {size} entries are called intact");
    } else {
        assert!(!same, "nothing was changed");
    }
    read(&disk, &shape.entries);
    let Ok((ledger, appender)) = Ledger::open(Arc::new(disk.clone()), options(), Box::new(())) else {
        assert!(!same, "nothing was changed");
        return;
    };
    let found = ledger.recovery().checkpoint.size;
    assert!(found <= size, "{found} of {size} entries");
    assert!(found == size || !(same || one_segment), "{found} of {size} entries are gone on with");
    if same {
        assert_eq!(ledger.recovery().checkpoint.root, shape.root);
    }
    let (sender, receiver) = channel();
    let slot = appender.reserve().expect("a slot");
    slot.append(b"one more".to_vec(), move |result| sender.send(result).expect("somebody waits"));
    assert_eq!(receiver.recv().expect("an answer").expect("durable").index, found);
    ledger.close().expect("closed");
    let mut entries = shape.entries[..found as usize].to_vec();
    entries.push(b"one more".to_vec());
    read(&disk, &entries);
}

/// What is read is what was appended, up to where it is damaged.
fn read(disk: &MemDisk, entries: &[Vec<u8>]) {
    let mut reader = Reader::on(Arc::new(disk.clone()), Position { index: 0 });
    for expect in 0.. {
        let Ok(Some((index, entry))) = reader.next_entry() else { break };
        assert_eq!(index, expect);
        assert!(entries.get(index as usize) == Some(&entry), "entry {index} is another one");
    }
}

const SALT: [u8; 16] = *b"not that secret.";

/// A first segment whose checksums are right, with frames that say anything; with a head mark or without.
fn forged(with_head: bool, frames: &[u8]) {
    let mut segment = b"BYLSEG01".to_vec();
    segment.extend(0u64.to_le_bytes());
    segment.extend(SALT);
    segment.extend(merkle::empty_root());
    segment.extend([0; 28]);
    segment.extend(crc32c::crc32c(&segment).to_le_bytes());
    let seed = crc32c::crc32c(&SALT);
    let (mut leaves, mut batch): (Vec<Hash>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut rest = frames;
    while let [what, value, after @ ..] = rest {
        rest = after;
        let value = *value;
        match what % 8 {
            // An entry; of value 255, at another index than the next.
            0..4 => {
                let (entry, after) = rest.split_at(usize::from(value % 32).min(rest.len()));
                rest = after;
                let index = leaves.len() as u64 + u64::from(value == 255);
                let mut body = index.to_le_bytes().to_vec();
                body.extend(entry);
                let length = (entry.len() as u32).to_le_bytes();
                let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &length), &body);
                batch.extend([&length[..], &crc.to_le_bytes(), &body].concat());
                batch.resize(batch.len().next_multiple_of(8), 0);
                leaves.push(merkle::leaf_hash(entry));
            }
            // A commit frame; of some values, with one thing that is not so.
            4..7 => {
                let count = leaves.len() as u64;
                let mut root = merkle::root(&leaves);
                root[0] ^= u8::from(value == 1);
                let mut body = (count + u64::from(value == 2)).to_le_bytes().to_vec();
                body.extend((u32::from(value) % 64).to_le_bytes());
                body.extend(
                    crc32c::crc32c_append(seed, &batch).wrapping_add(u32::from(value == 3)).to_le_bytes(),
                );
                body.extend(root);
                let crc = crc32c::crc32c_append(seed, &body);
                segment.append(&mut batch);
                segment.extend([&u32::MAX.to_le_bytes()[..], &crc.to_le_bytes(), &body].concat());
            }
            _ => batch.extend(std::iter::repeat_n(value, 8)),
        }
    }
    segment.append(&mut batch);

    let mut files = BTreeMap::from([("00000000000000000000.seg".to_owned(), segment)]);
    if with_head {
        // That of a ledger without entries, which knows of nothing that came later.
        files.insert("head".to_owned(), SHAPES[0].files["head"].clone());
    }
    let disk = MemDisk::of(&files);
    let read: Vec<Vec<u8>> = Reader::on(Arc::new(disk.clone()), Position { index: 0 })
        .map_while(|entry| entry.ok().map(|(_, entry)| entry))
        .collect();
    if let Verdict::Intact { size, root, .. } = verify_on(&disk) {
        assert_eq!(size, read.len() as u64, "entries that are there and are not read");
        let leaves: Vec<Hash> = read.iter().map(|entry| merkle::leaf_hash(entry)).collect();
        assert_eq!(merkle::root(&leaves), root);
    }
    if let Ok((ledger, _)) = Ledger::open(Arc::new(disk), options(), Box::new(())) {
        ledger.close().expect("closed");
    }
}

/// A directory in memory.
#[derive(Clone, Default)]
struct MemDisk(Arc<Mutex<BTreeMap<String, MemFile>>>);

#[derive(Clone, Default)]
struct MemFile(Arc<Mutex<Vec<u8>>>);

impl MemDisk {
    fn of(files: &BTreeMap<String, Vec<u8>>) -> MemDisk {
        let file = |bytes: &Vec<u8>| MemFile(Arc::new(Mutex::new(bytes.clone())));
        let files = files.iter().map(|(name, bytes)| (name.clone(), file(bytes)));
        MemDisk(Arc::new(Mutex::new(files.collect())))
    }
}

impl MemFile {
    fn contents(&self) -> Vec<u8> {
        self.0.lock().expect("unpoisoned").clone()
    }
}

impl Disk for MemDisk {
    fn open(&self, name: &str, _: Access) -> io::Result<Box<dyn DiskFile>> {
        let files = self.0.lock().expect("unpoisoned");
        Ok(Box::new(files.get(name).ok_or(io::ErrorKind::NotFound)?.clone()))
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = MemFile::default();
        self.0.lock().expect("unpoisoned").insert(name.to_owned(), file.clone());
        Ok(Box::new(file))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().expect("unpoisoned");
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().expect("unpoisoned").remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.lock().expect("unpoisoned");
        Ok(files.iter().map(|(name, file)| (name.clone(), file.contents().len() as u64)).collect())
    }
    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(())))
    }
    fn is_locked(&self) -> io::Result<bool> {
        Ok(false)
    }
    fn salt(&self) -> io::Result<[u8; 16]> {
        Ok(SALT)
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.lock().expect("unpoisoned");
        let rest = &bytes[bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX))..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write_at(&mut self, offset: u64, written: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.lock().expect("unpoisoned");
        let end = offset as usize + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(written);
        Ok(written.len())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("unpoisoned").len() as u64)
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().expect("unpoisoned").resize(length as usize, 0);
        Ok(())
    }
    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn forget_cache(&mut self) -> io::Result<()> {
        Ok(())
    }
}
