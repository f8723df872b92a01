//! The canonical digest of the books: equal for equal rows, whatever the file looks like inside.

use policy::hex;
use ring::digest::{Context, SHA256};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::schema::{TABLES, VERSION};

/// SHA-256 in hex over the schema's version and every table: its name, then its rows in order, each value with its
/// type and length before it so that no two different rows read the same.
pub(super) fn of(connection: &Connection) -> rusqlite::Result<String> {
    let mut hash = Context::new(&SHA256);
    hash.update(format!("byline books {VERSION}\n").as_bytes());
    for (table, order) in TABLES {
        hash.update(format!("{table}\n").as_bytes());
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY {order}"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        let mut bytes = Vec::new(); // of one row: one call of the hash for each
        while let Some(row) = rows.next()? {
            bytes.clear();
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => bytes.push(b'-'),
                    ValueRef::Integer(value) => {
                        bytes.push(b'i');
                        bytes.extend(value.to_be_bytes());
                    }
                    ValueRef::Real(value) => {
                        bytes.push(b'r');
                        bytes.extend(value.to_bits().to_be_bytes());
                    }
                    ValueRef::Text(text) => sized(&mut bytes, b't', text),
                    ValueRef::Blob(blob) => sized(&mut bytes, b'b', blob),
                }
            }
            bytes.push(b'\n');
            hash.update(&bytes);
        }
    }
    Ok(hex(hash.finish().as_ref()))
}

fn sized(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    bytes.push(kind);
    bytes.extend((value.len() as u64).to_be_bytes());
    bytes.extend_from_slice(value);
}
