//! The canonical digest of the books: equal for equal rows, whatever the file looks like inside.

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
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => hash.update(b"-"),
                    ValueRef::Integer(value) => {
                        hash.update(b"i");
                        hash.update(&value.to_be_bytes());
                    }
                    ValueRef::Real(value) => {
                        hash.update(b"r");
                        hash.update(&value.to_bits().to_be_bytes());
                    }
                    ValueRef::Text(bytes) => sized(&mut hash, b"t", bytes),
                    ValueRef::Blob(bytes) => sized(&mut hash, b"b", bytes),
                }
            }
            hash.update(b"\n");
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sized(hash: &mut Context, kind: &[u8], bytes: &[u8]) {
    hash.update(kind);
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
