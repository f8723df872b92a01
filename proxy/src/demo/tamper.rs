//! What happens when somebody edits the books: one byte of a copy of the ledger is changed.

use std::path::Path;

use anyhow::Context as _;
use ledger::{Position, Reader, Verdict};

/// What was changed, and what the check says.
pub(crate) struct Tampered {
    pub(crate) entry: u64,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) verdict: Verdict,
}

impl Tampered {
    /// Whether the check says that something is wrong, and where.
    pub(crate) fn is_found(&self) -> bool {
        matches!(&self.verdict, Verdict::Tampered { index, .. } if *index == self.entry)
    }
}

/// Copies a ledger, makes the amount in one entry cheaper by changing one byte, checks the copy and removes it.
pub(crate) fn try_it(ledger: &Path, copy: &Path, entry: u64) -> anyhow::Result<Tampered> {
    std::fs::create_dir_all(copy)?;
    for file in std::fs::read_dir(ledger)? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name()))?;
        }
    }
    let bytes = read_entry(ledger, entry)?;
    let (at, before, after) = cheaper(&bytes).context("the entry has an amount")?;
    change(copy, &bytes, at, after)?;
    let changed = |byte: u8| {
        let mut shown = bytes.clone();
        shown[at] = byte;
        let start =
            bytes[..at].iter().rposition(|byte| matches!(byte, b',' | b'{')).map_or(0, |from| from + 1);
        let end =
            bytes[at..].iter().position(|byte| matches!(byte, b',' | b'}')).map_or(bytes.len(), |to| at + to);
        String::from_utf8_lossy(&shown[start..end]).into_owned()
    };
    let verdict = ledger::verify(copy);
    let (before, after) = (changed(before), changed(after));
    std::fs::remove_dir_all(copy)?;
    Ok(Tampered { entry, before, after, verdict })
}

fn read_entry(ledger: &Path, entry: u64) -> anyhow::Result<Vec<u8>> {
    let found = Reader::open_at(ledger, Position { index: entry })?.next_entry()?;
    found.map(|(_, bytes)| bytes).with_context(|| format!("the ledger has no entry {entry}"))
}

/// Where the last digit of the amount that is not 0 stands, what it is, and a smaller one.
fn cheaper(entry: &[u8]) -> Option<(usize, u8, u8)> {
    let name = b"\"amount";
    let start = entry.windows(name.len()).position(|window| window == name)?;
    let end = start + entry[start..].iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let at = start + entry[start..end].iter().rposition(|byte| (b'1'..=b'9').contains(byte))?;
    Some((at, entry[at], entry[at] - 1))
}

/// Writes one byte of an entry into the file of the copy that has it.
fn change(copy: &Path, entry: &[u8], at: usize, byte: u8) -> anyhow::Result<()> {
    for file in std::fs::read_dir(copy)? {
        let path = file?.path();
        let mut bytes = std::fs::read(&path)?;
        if let Some(place) = bytes.windows(entry.len()).position(|window| window == entry) {
            bytes[place + at] = byte;
            std::fs::write(&path, bytes)?;
            return Ok(());
        }
    }
    anyhow::bail!("no file of the ledger has the entry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_amount_differs_in_one_digit() {
        let entry = br#"{"data":{"amount":"2000000","bytes":"7"}}"#;
        let (at, before, after) = cheaper(entry).expect("an amount");
        assert_eq!((&entry[..at], before, after), (&br#"{"data":{"amount":""#[..], b'2', b'1'));
        assert_eq!(cheaper(br#"{"data":{"amount":"0","bytes":"7"}}"#), None);
        assert_eq!(cheaper(br#"{"data":{"bytes":"7"}}"#), None);
    }
}
