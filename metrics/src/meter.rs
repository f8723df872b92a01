//! The meter: counts and hashes a body as it passes.

use std::time::Duration;

use ring::digest;

use crate::words::Words;

/// What a response head says of a body whose words are to be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WordOptions<'a> {
    /// `Content-Encoding` as it stands.
    pub content_encoding: Option<&'a str>,
    /// `Content-Type` as it stands.
    pub content_type: Option<&'a str>,
}

/// How long the words of one body may be counted, all calls together.
pub const WORDS_TIME_MAX: Duration = Duration::from_millis(500);

/// Counts one body.
pub struct Meter {
    bytes: u64,
    sha256: digest::Context,
    words: Option<Words>,
    words_time: Duration,
}

impl Meter {
    /// Starts at the first byte. Words are counted only where `words` is given (it costs a decoder), and only if the
    /// body is text in a coding that can be read: see `docs/record-v1.md`.
    pub fn start(words: Option<WordOptions<'_>>) -> Meter {
        Meter {
            bytes: 0,
            sha256: digest::Context::new(&digest::SHA256),
            words: words.and_then(Words::start),
            words_time: Duration::ZERO,
        }
    }

    /// Takes the next bytes of the body, as they are on the wire.
    pub fn observe(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        if let Some(words) = &mut self.words {
            words.observe(bytes);
        }
    }

    /// The same under a clock: `now` is any monotonic time, read only while words are counted. After
    /// [`WORDS_TIME_MAX`] the count is capped; bytes and digest go on.
    pub fn observe_timed(&mut self, bytes: &[u8], mut now: impl FnMut() -> Duration) {
        if !self.words.as_ref().is_some_and(Words::is_counting) {
            return self.observe(bytes);
        }
        let before = now();
        self.observe(bytes);
        self.words_time += now().saturating_sub(before);
        if self.words_time > WORDS_TIME_MAX {
            self.give_up_words();
        }
    }

    /// Bytes seen so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stops counting words: the caller finds that it takes too long. The count so far stays, marked as capped.
    pub fn give_up_words(&mut self) {
        if let Some(words) = &mut self.words {
            words.give_up();
        }
    }

    /// What was read. A body may end at any point: what was seen so far counts.
    pub fn finish(self) -> Metered {
        let hash = self.sha256.finish();
        let words = self.words.map(Words::finish);
        Metered {
            bytes: self.bytes,
            sha256: hash.as_ref().try_into().expect("SHA-256 has 32 bytes"),
            words: words.map(|(words, _)| words),
            words_capped: words.is_some_and(|(_, capped)| capped),
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
