//! The meter: counts and hashes a body as it passes.
//!
//! A body that streams is hashed piece by piece. One that is held until its end can be kept for then: several that are
//! complete at the same time are hashed at once ([`Meter::finish_all`]), which is twice as fast.

use std::time::Duration;

use bytes::Bytes;
use ring::digest;

use crate::digest::sha256_many;
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

/// The most bytes of a body that are kept to be hashed at its end; a longer one is hashed as it passes.
pub const KEPT_BYTES_MAX: u64 = 64 * 1024;

/// Counts one body.
pub struct Meter {
    bytes: u64,
    /// What is not hashed yet; nothing once a body streams.
    kept: Vec<Bytes>,
    /// The hash so far of a body that streams.
    sha256: Option<digest::Context>,
    words: Option<Words>,
    words_time: Duration,
}

impl Meter {
    /// Starts at the first byte. Words are counted only where `words` is given (it costs a decoder), and only if the
    /// body is text in a coding that can be read: see `docs/record-v1.md`.
    pub fn start(words: Option<WordOptions<'_>>) -> Meter {
        Meter {
            bytes: 0,
            kept: Vec::new(),
            sha256: None,
            words: words.and_then(Words::start),
            words_time: Duration::ZERO,
        }
    }

    /// Takes the next bytes of the body, as they are on the wire.
    pub fn observe(&mut self, bytes: &[u8]) {
        self.hash(bytes);
        self.count(bytes);
    }

    /// The same under a clock: `now` is any monotonic time, read only while words are counted. After
    /// [`WORDS_TIME_MAX`] the count is capped; bytes and digest go on.
    pub fn observe_timed(&mut self, bytes: &[u8], now: impl FnMut() -> Duration) {
        self.hash(bytes);
        self.count_timed(bytes, now);
    }

    /// The same for a body that is held until its end: these bytes are hashed then, by [`Meter::finish_all`]. Beyond
    /// [`KEPT_BYTES_MAX`], or where a body streams already, they are hashed now.
    pub fn keep_timed(&mut self, bytes: Bytes, now: impl FnMut() -> Duration) {
        self.count_timed(&bytes, now);
        if self.sha256.is_none() && self.bytes <= KEPT_BYTES_MAX {
            self.kept.push(bytes);
        } else {
            self.hash(&bytes);
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        let sha256 = self.sha256.get_or_insert_with(|| digest::Context::new(&digest::SHA256));
        self.kept.drain(..).for_each(|kept| sha256.update(&kept));
        sha256.update(bytes);
    }

    fn count_timed(&mut self, bytes: &[u8], mut now: impl FnMut() -> Duration) {
        if !self.words.as_ref().is_some_and(Words::is_counting) {
            return self.count(bytes);
        }
        let before = now();
        self.count(bytes);
        self.words_time += now().saturating_sub(before);
        if self.words_time > WORDS_TIME_MAX {
            self.give_up_words();
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(words) = &mut self.words {
            words.observe(bytes);
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
    pub fn finish(mut self) -> Metered {
        let sha256 = match self.sha256.take() {
            Some(sha256) => sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"),
            None => sha256_many(&[&self.kept])[0],
        };
        self.read(sha256)
    }

    /// The same for several, in order: what they kept is hashed at once.
    pub fn finish_all(meters: Vec<Meter>) -> Vec<Metered> {
        let kept: Vec<&[Bytes]> =
            meters.iter().filter(|meter| meter.sha256.is_none()).map(|meter| &meter.kept[..]).collect();
        let mut digests = sha256_many(&kept).into_iter();
        let finish = |meter: Meter| match meter.sha256 {
            Some(_) => meter.finish(),
            None => meter.read(digests.next().expect("a digest for each that kept its bytes")),
        };
        meters.into_iter().map(finish).collect()
    }

    fn read(self, sha256: [u8; 32]) -> Metered {
        let words = self.words.map(Words::finish);
        Metered {
            bytes: self.bytes,
            sha256,
            words: words.map(|(words, _)| words),
            words_capped: words.is_some_and(|(_, capped)| capped),
        }
    }
}

/// Bytes of a digest as text: the name of its algorithm, and 44 digits between colons.
const DIGEST_BYTES: usize = "sha-256=::".len() + 44;

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
        let text = || {
            let mut text = String::with_capacity(DIGEST_BYTES);
            text.push_str("sha-256=:");
            base64::engine::general_purpose::STANDARD.encode_string(self.sha256, &mut text);
            text.push(':');
            text
        };
        (self.bytes > 0).then(text)
    }
}
