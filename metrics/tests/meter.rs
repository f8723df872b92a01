//! Bodies: bytes and digest as delivered, words as decoded, whatever the pieces.

use std::cell::Cell;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use metrics::{Meter, Metered, WORDS_TIME_MAX, WordOptions};

const PAGE: &[u8] = include_bytes!("../testdata/page.html");
const PAGE_BROTLI: &[u8] = include_bytes!("../testdata/page.html.br");
/// 64 MiB of "word " in 64 bytes or so.
const BOMB_BROTLI: &[u8] = include_bytes!("../testdata/bomb.br");
/// "Paragraph N of the café’s wellknown menu, N dishes." 400 times.
const PAGE_WORDS: u64 = 400 * 9;
/// How much decoded text is looked at.
const DECODED_BYTES_MAX: u64 = 8 * 1024 * 1024;

fn meter(body: &[u8], coding: Option<&str>, content_type: &str, piece: usize) -> Metered {
    let options = WordOptions { content_encoding: coding, content_type: Some(content_type) };
    let mut meter = Meter::start(Some(options));
    body.chunks(piece).for_each(|piece| meter.observe(piece));
    meter.finish()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

/// The decoder keeps decoded text back, and gives a limited part of it at a call.
#[test]
fn a_cut_brotli_body_has_the_same_words_in_one_piece_and_in_many() {
    let options = WordOptions { content_encoding: Some("br"), content_type: Some("text/html") };
    let words = |body: &[u8], step: usize| {
        let mut meter = Meter::start(Some(options));
        body.chunks(step).for_each(|piece| meter.observe(piece));
        meter.finish().words
    };
    for end in (100..PAGE_BROTLI.len()).step_by(100) {
        let body = &PAGE_BROTLI[..end];
        assert_eq!(words(body, body.len()), words(body, 9), "cut after {end} bytes");
    }
}

#[test]
fn bytes_and_digest_are_those_of_the_wire() {
    let mut meter = Meter::start(None);
    meter.observe(b"hello ");
    assert_eq!(meter.bytes(), 6);
    meter.observe(b"world");
    let metered = meter.finish();
    assert_eq!((metered.bytes, metered.words, metered.words_capped), (11, None, false));
    assert_eq!(metered.digest().unwrap(), "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:");
    assert_eq!(Meter::start(None).finish().digest(), None);
}

#[test]
fn bodies_that_are_finished_together_read_as_they_do_alone() {
    let pages: Vec<Vec<u8>> = [0, 1, 63, 64, 1000, 10_000, 65_535, 65_536, 65_537, 200_000, 5, 0]
        .into_iter()
        .map(|length| PAGE.iter().copied().cycle().take(length).collect())
        .collect();
    for piece in [1, 100, 16_384, usize::MAX] {
        let options = WordOptions { content_encoding: None, content_type: Some("text/html") };
        let alone: Vec<Metered> = pages.iter().map(|page| meter(page, None, "text/html", piece)).collect();
        let together = |kept: &dyn Fn(usize) -> bool| {
            let start = |page: &Vec<u8>| {
                let mut meter = Meter::start(Some(options));
                for (at, piece) in page.chunks(piece).enumerate() {
                    if kept(at) {
                        meter.keep_timed(Bytes::copy_from_slice(piece), || Duration::ZERO);
                    } else {
                        meter.observe_timed(piece, || Duration::ZERO);
                    }
                }
                meter
            };
            Meter::finish_all(pages.iter().map(start).collect())
        };
        assert_eq!(together(&|_| true), alone, "held, in pieces of {piece}");
        assert_eq!(together(&|_| false), alone, "streamed, in pieces of {piece}");
        assert_eq!(together(&|at| at < 3), alone, "held at first, in pieces of {piece}");
        assert_eq!(together(&|at| at % 2 == 1), alone, "by turns, in pieces of {piece}");
    }
}

#[test]
fn the_words_of_a_page_are_the_same_in_every_coding_and_in_any_pieces() {
    let bodies = [
        (None, PAGE.to_vec()),
        (Some("identity"), PAGE.to_vec()),
        (Some("gzip"), gzip(PAGE)),
        (Some("x-gzip"), [gzip(&PAGE[..1000]), gzip(&PAGE[1000..])].concat()),
        (Some("deflate"), zlib(PAGE)),
        (Some("Deflate"), deflate(PAGE)),
        (Some("br"), PAGE_BROTLI.to_vec()),
        (Some(" zstd "), zstandard(PAGE)),
        (Some("zstd"), [zstandard(&PAGE[..1000]), zstandard(&PAGE[1000..])].concat()),
    ];
    for (coding, body) in bodies {
        for piece in [1, 7, 1000, usize::MAX] {
            let metered = meter(&body, coding, "text/html; charset=UTF-8", piece);
            assert_eq!(metered.words, Some(PAGE_WORDS), "{coding:?} in pieces of {piece}");
            assert!(!metered.words_capped, "{coding:?} in pieces of {piece}");
            assert_eq!(metered.bytes, body.len() as u64);
        }
    }
}

#[test]
fn what_cannot_be_read_is_not_counted() {
    for (coding, content_type) in [
        (None, "image/png"),
        (None, "application/pdf"),
        (None, ""),
        (None, "text/css"),
        (None, "text/plain; charset=shift_jis"),
        (Some("compress"), "text/plain"),
        (Some("gzip, br"), "text/plain"),
    ] {
        assert_eq!(meter(b"one two", coding, content_type, 1).words, None, "{coding:?} {content_type}");
    }
    assert_eq!(meter(b"one two", None, "text/plain", 1).words, Some(2));
    assert_eq!(meter(b"one <two>", None, "text/markdown", 1).words, Some(2));
    assert_eq!(meter(br#"{"one": "two"}"#, None, "application/activity+json", 1).words, Some(2));
    assert_eq!(meter(b"<a>one</a>", None, "application/atom+xml", 1).words, Some(1));
    assert_eq!(meter(b"caf\xe9 \xe0 la", None, "text/plain; charset=\"ISO-8859-1\"", 1).words, Some(3));
}

#[test]
fn an_aborted_body_counts_as_far_as_it_came() {
    for (coding, body) in [
        ("gzip", gzip(PAGE)),
        ("deflate", zlib(PAGE)),
        ("br", PAGE_BROTLI.to_vec()),
        ("zstd", zstandard(PAGE)),
    ] {
        let metered = meter(&body[..body.len() - 1], Some(coding), "text/html", 100);
        let words = metered.words.unwrap();
        assert!(words <= PAGE_WORDS, "{coding}: {words}");
        assert!(!metered.words_capped, "{coding}: it ended early, the count did not");
    }
    let metered = meter(&PAGE[..PAGE.len() / 2], None, "text/html", 100);
    assert!((1..PAGE_WORDS).contains(&metered.words.unwrap()));
}

#[test]
fn a_bomb_stops_the_count_and_not_the_meter() {
    let text = b"word ".repeat(13 * 1024 * 1024 / 5 + 1);
    let bodies = [
        (None, text.clone()),
        (Some("gzip"), gzip(&text)),
        (Some("deflate"), zlib(&text)),
        (Some("zstd"), zstandard(&text)),
        (Some("br"), BOMB_BROTLI.to_vec()),
    ];
    for (coding, body) in bodies {
        for piece in [100_000, usize::MAX] {
            let metered = meter(&body, coding, "text/plain", piece);
            assert_eq!(metered.bytes, body.len() as u64);
            assert!(metered.words_capped, "{coding:?}");
            assert_eq!(metered.words, Some(DECODED_BYTES_MAX.div_ceil(5)), "{coding:?}");
        }
    }
}

#[test]
fn a_bomb_in_a_bomb_is_not_opened_twice() {
    let text = gzip(&gzip(&b"word ".repeat(1_000_000)));
    let metered = meter(&text, Some("gzip"), "text/plain", 1000);
    assert!(metered.words.unwrap() < 10_000, "the inner one is noise");
}

#[test]
fn a_window_beyond_what_http_allows_is_not_allocated() {
    // A zstd frame head that asks for a window of 2 GiB, then one raw block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x21, 0x00, 0x00, b'w', b'o', b'r', b'd'];
    let metered = meter(&frame, Some("zstd"), "text/plain", 1);
    assert_eq!((metered.words, metered.words_capped), (Some(0), true));
}

#[test]
fn rubbish_in_a_coding_is_marked_and_never_panics() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        for seed in 0u32..300 {
            let mut state = seed.wrapping_mul(2_654_435_761) | 1;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[0]
            };
            let mut body = match coding {
                "gzip" => gzip(PAGE),
                "deflate" => zlib(PAGE),
                "br" => PAGE_BROTLI.to_vec(),
                _ => zstandard(PAGE),
            };
            let from = usize::from(random()) * 4 % body.len();
            body[from..].iter_mut().take(40).for_each(|byte| *byte = random());
            let metered = meter(&body, Some(coding), "text/html", 1 + usize::from(random()));
            assert_eq!(metered.bytes, body.len() as u64);
        }
    }
    let metered = meter(b"this is no gzip at all", Some("gzip"), "text/plain", 3);
    assert_eq!((metered.words, metered.words_capped), (Some(0), true));
}

#[test]
fn a_count_that_takes_too_long_is_capped_and_the_meter_goes_on() {
    let clock = Cell::new(Duration::ZERO);
    let tick = || {
        clock.set(clock.get() + WORDS_TIME_MAX / 4);
        clock.get()
    };
    let options = WordOptions { content_encoding: None, content_type: Some("text/plain") };
    let mut meter = Meter::start(Some(options));
    for _ in 0..100 {
        meter.observe_timed(b"two words ", tick);
    }
    let metered = meter.finish();
    assert_eq!((metered.bytes, metered.words, metered.words_capped), (1000, Some(10), true));
    assert_eq!(clock.get(), WORDS_TIME_MAX / 4 * 10, "the clock is not read once the count has stopped");
}
