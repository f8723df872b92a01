//! The meter: bytes and digest are exact, and the count of words depends on the body alone, not on how it came.

use bytes::Bytes;
use metrics::{Meter, Metered, WordOptions};
use ring::digest;

const CODINGS: [&str; 6] = ["", "gzip", "deflate", "br", "zstd", "GZIP "];
const TYPES: [&str; 4] =
    ["text/html", "text/plain; charset=utf-8", "application/json", "application/xhtml+xml"];

/// The first byte chooses coding and type, the second how the body is cut.
pub(crate) fn run(input: &[u8]) {
    let [choice, step, body @ ..] = input else { return };
    let options = WordOptions {
        content_encoding: Some(CODINGS[usize::from(*choice) % CODINGS.len()]),
        content_type: Some(TYPES[usize::from(*choice) / CODINGS.len() % TYPES.len()]),
    };
    let whole = metered(options, [body], false);
    assert_eq!(whole.bytes, body.len() as u64);
    assert_eq!(whole.sha256, digest::digest(&digest::SHA256, body).as_ref());
    assert!(whole.words.is_none_or(|words| words <= 8 << 20));
    let step = usize::from(*step).max(1);
    for keep in [false, true] {
        let cut = metered(options, body.chunks(step), keep);
        assert_eq!((cut.bytes, cut.sha256), (whole.bytes, whole.sha256));
        // Where a coding is broken, how much was decoded before that is anybody's guess: both must say that they stopped.
        assert_eq!(cut.words_capped, whole.words_capped, "in pieces of {step}, kept: {keep}");
        if !whole.words_capped {
            assert_eq!(cut.words, whole.words, "in pieces of {step}, kept: {keep}");
        }
    }
}

fn metered<'a>(options: WordOptions<'_>, pieces: impl IntoIterator<Item = &'a [u8]>, keep: bool) -> Metered {
    let mut meter = Meter::start(Some(options));
    for piece in pieces {
        if keep {
            meter.keep_timed(Bytes::copy_from_slice(piece), Default::default);
        } else {
            meter.observe(piece);
        }
    }
    // Beside others, as bodies that end together are.
    let mut other = Meter::start(None);
    other.keep_timed(Bytes::from_static(b"another body"), Default::default);
    Meter::finish_all(vec![other, meter]).remove(1)
}
