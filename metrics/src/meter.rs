//! The meter: counts and hashes a body as it passes.

/// Counts one body.
#[derive(Debug)]
pub struct Meter;

/// What a meter read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metered {
    /// Bytes seen.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
    /// Words of decoded text, if they were counted.
    pub words: Option<u64>,
    /// The count stopped at a limit.
    pub words_capped: bool,
}
