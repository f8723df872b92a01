//! The tables of the books.
//!
//! Money is in nano-units. Sums of many quotes may exceed 64 bits and are texts. Times are microseconds since the
//! Unix epoch, UTC. Nothing is ever updated but the cursor.

use rusqlite::Connection;

/// Goes up by one whenever a table changes; older books are made again from the ledger by themselves.
pub(super) const VERSION: i64 = 2;

/// Tables in the order in which the digest reads them, each with the columns that order its rows.
pub(super) const TABLES: [(&str, &str); 7] = [
    ("text", "id"),
    ("usage", "idx"),
    ("rollup", "idx"),
    ("policy", "idx"),
    ("gap", "idx"),
    ("finding", "idx"),
    ("cursor", "id"),
];

const CREATE: &str = "
DROP VIEW IF EXISTS fetches;
DROP TABLE IF EXISTS usage;
DROP TABLE IF EXISTS rollup;
DROP TABLE IF EXISTS policy;
DROP TABLE IF EXISTS gap;
DROP TABLE IF EXISTS finding;
DROP TABLE IF EXISTS cursor;
DROP TABLE IF EXISTS text;

-- Texts that come again and again; ids follow the order of first appearance in the ledger.
CREATE TABLE text (
    id INTEGER PRIMARY KEY,
    value TEXT NOT NULL UNIQUE
) STRICT;

-- One row for each metered fetch.
CREATE TABLE usage (
    idx INTEGER PRIMARY KEY,        -- place in the ledger
    time_micros INTEGER NOT NULL,   -- when the fetch closed
    operator INTEGER NOT NULL REFERENCES text,
    crawler INTEGER NOT NULL REFERENCES text,
    purpose INTEGER NOT NULL REFERENCES text,
    assurance INTEGER NOT NULL REFERENCES text,
    evidence INTEGER NOT NULL REFERENCES text,
    holder INTEGER REFERENCES text,
    licence INTEGER REFERENCES text,
    policy INTEGER NOT NULL REFERENCES text,
    rule INTEGER NOT NULL REFERENCES text,
    verdict INTEGER NOT NULL REFERENCES text,
    would_refuse INTEGER,
    method INTEGER NOT NULL REFERENCES text,
    work TEXT NOT NULL,
    url TEXT NOT NULL,
    status INTEGER NOT NULL,
    outcome INTEGER NOT NULL REFERENCES text,
    bytes INTEGER NOT NULL,
    declared_bytes INTEGER,
    content_type INTEGER REFERENCES text,
    words INTEGER,
    words_capped INTEGER NOT NULL,
    currency INTEGER NOT NULL REFERENCES text,
    unit INTEGER REFERENCES text,
    price_nano INTEGER,
    max_nano INTEGER,
    quantity INTEGER NOT NULL,
    repeat INTEGER NOT NULL,
    owed INTEGER NOT NULL,
    quote_nano INTEGER NOT NULL,
    amount_nano INTEGER NOT NULL,
    settlement TEXT                 -- how it was paid before delivery; null: on account
) STRICT;
CREATE INDEX usage_time ON usage (time_micros);

-- Sums of fetches that were not worth an entry each.
CREATE TABLE rollup (
    idx INTEGER PRIMARY KEY,
    time_micros INTEGER NOT NULL,
    minute INTEGER NOT NULL,        -- start of the minute that is counted, seconds since the Unix epoch
    operator INTEGER NOT NULL REFERENCES text,
    crawler INTEGER NOT NULL REFERENCES text,
    purpose INTEGER NOT NULL REFERENCES text,
    assurance INTEGER NOT NULL REFERENCES text,
    holder INTEGER REFERENCES text,
    policy INTEGER NOT NULL REFERENCES text,
    rule INTEGER NOT NULL REFERENCES text,
    refused INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome INTEGER REFERENCES text,
    fetches INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    currency INTEGER NOT NULL REFERENCES text,
    unit INTEGER REFERENCES text,
    quantity INTEGER NOT NULL,
    quote_nano TEXT NOT NULL
) STRICT;
CREATE INDEX rollup_minute ON rollup (minute);

-- The policies that took effect; their texts stay in the ledger.
CREATE TABLE policy (
    idx INTEGER PRIMARY KEY,        -- of the policy's first part
    time_micros INTEGER NOT NULL,
    digest TEXT NOT NULL,
    mode TEXT NOT NULL,
    parts INTEGER NOT NULL
) STRICT;

-- Times that were not metered.
CREATE TABLE gap (
    idx INTEGER PRIMARY KEY,
    since_micros INTEGER NOT NULL,
    until_micros INTEGER NOT NULL,
    fetches INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- Entries that cannot be read.
CREATE TABLE finding (
    idx INTEGER PRIMARY KEY,
    what TEXT NOT NULL
) STRICT;

CREATE TABLE cursor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    next_index INTEGER NOT NULL,
    last_leaf BLOB NOT NULL,        -- RFC 6962 leaf hash of the last entry read
    frontier BLOB NOT NULL          -- Merkle frontier over all entries read
) STRICT;

CREATE VIEW fetches AS SELECT
    usage.idx,
    strftime('%Y-%m-%dT%H:%M:%S', usage.time_micros / 1000000, 'unixepoch') || 'Z' AS time,
    operator.value AS operator, crawler.value AS crawler, purpose.value AS purpose,
    assurance.value AS assurance, evidence.value AS evidence, holder.value AS holder, licence.value AS licence,
    policy.value AS policy, rule.value AS rule, verdict.value AS verdict, usage.would_refuse,
    method.value AS method, usage.work, usage.url, usage.status, outcome.value AS outcome,
    usage.bytes, usage.declared_bytes, content_type.value AS content_type, usage.words, usage.words_capped,
    currency.value AS currency, unit.value AS unit, usage.price_nano, usage.max_nano, usage.quantity,
    usage.repeat, usage.owed, usage.quote_nano, usage.amount_nano,
    usage.settlement
FROM usage
    JOIN text AS operator ON operator.id = usage.operator
    JOIN text AS crawler ON crawler.id = usage.crawler
    JOIN text AS purpose ON purpose.id = usage.purpose
    JOIN text AS assurance ON assurance.id = usage.assurance
    JOIN text AS evidence ON evidence.id = usage.evidence
    LEFT JOIN text AS holder ON holder.id = usage.holder
    LEFT JOIN text AS licence ON licence.id = usage.licence
    JOIN text AS policy ON policy.id = usage.policy
    JOIN text AS rule ON rule.id = usage.rule
    JOIN text AS verdict ON verdict.id = usage.verdict
    JOIN text AS method ON method.id = usage.method
    JOIN text AS outcome ON outcome.id = usage.outcome
    LEFT JOIN text AS content_type ON content_type.id = usage.content_type
    JOIN text AS currency ON currency.id = usage.currency
    LEFT JOIN text AS unit ON unit.id = usage.unit;
";

/// The version that a file has; 0 for a new one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Drops what is there and makes empty tables.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(CREATE)?;
    connection.pragma_update(None, "user_version", VERSION)
}
