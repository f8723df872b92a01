//! A ledger entry: what is read is what is written, in one form that any reader of JSON agrees on.

use metrics::Entry;

pub(crate) fn run(input: &[u8]) {
    let Ok(entry) = Entry::parse(input) else { return };
    let Some(written) = encode(&entry) else { return };
    assert!(written.len() <= 65_535, "{} bytes do not fit the ledger", written.len());
    let value: serde_json::Value = serde_json::from_slice(&written).expect("JSON");
    let canonical = serde_json_canonicalizer::to_vec(&value).expect("canonical");
    assert_eq!(written, canonical, "RFC 8785");

    // Long texts are cut in the first writing, nothing in the second.
    let again = Entry::parse(&written).expect("what was written is readable");
    assert_eq!(encode(&again).as_deref(), Some(&written[..]), "{entry:?}");
    if written == input {
        assert_eq!(again, entry);
    }
}

fn encode(entry: &Entry) -> Option<Vec<u8>> {
    Some(match entry {
        Entry::Fetch(record) => record.encode(),
        Entry::Rollup(rollup) => rollup.encode(),
        Entry::Policy(part) => part.encode(),
        Entry::Gap(gap) => gap.encode(),
        Entry::Start(start) => start.encode(),
        Entry::Payment(payment) => payment.encode(),
        Entry::Unknown { .. } => return None,
    })
}
