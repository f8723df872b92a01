//! Fuzz targets: one for each reader of bytes that strangers write. Each says what must hold of what it reads, not only
//! that nothing panics.
//!
//! `make fuzz` looks for inputs that break one; `tests/corpus.rs` runs the kept ones, in `corpus/`, with all other tests.

// The proxy's modules that are compiled here again bring their own tests along; they run where they belong.
#![cfg(not(test))]

mod access_log;
mod content_usage;
mod headers_target;
mod key_directory;
mod ledger_files;
mod licence;
mod lint;
mod mpp;
mod policy_file;
mod proxy_header_target;
mod record;
mod request_target;
mod robots;
mod rsl;
mod signatures;
mod tdmrep;
mod words;
mod x402;

// The proxy is a binary: what is to be tried here is compiled once more, and knows its neighbours by the same names.
#[allow(dead_code)]
#[path = "../../proxy/src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../../proxy/src/headers.rs"]
mod headers;
#[allow(dead_code)]
#[path = "../../proxy/src/peer.rs"]
mod peer;
#[allow(dead_code)]
#[path = "../../proxy/src/proxy_header.rs"]
mod proxy_header;

mod config {
    /// The part of the proxy's limits that its rules for heads know.
    pub(crate) struct Limits {
        pub(crate) headers: usize,
        pub(crate) head_bytes: usize,
    }
}

/// A target: it takes any bytes, and panics if something does not hold.
pub type Target = fn(&[u8]);

/// The targets by their names.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_log", access_log::run),
    ("content_usage", content_usage::run),
    ("headers", headers_target::run),
    ("key_directory", key_directory::run),
    ("ledger", ledger_files::run),
    ("licence", licence::run),
    ("lint", lint::run),
    ("mpp", mpp::run),
    ("policy", policy_file::run),
    ("proxy_header", proxy_header_target::run),
    ("record", record::run),
    ("robots", robots::run),
    ("rsl", rsl::run),
    ("signatures", signatures::run),
    ("target", request_target::run),
    ("tdmrep", tdmrep::run),
    ("words", words::run),
    ("x402", x402::run),
];
