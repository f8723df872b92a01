//! Words of text that comes in pieces.

use unicode_segmentation::UnicodeSegmentation as _;

/// Text without a space is cut after this many bytes, as if there were one: memory is bounded.
const RUN_BYTES_MAX: usize = 4_096;

/// Text is counted in batches of about this many bytes.
const BATCH_BYTES: usize = 8_192;

/// A count of words. Cutting text right after a space or a line feed never changes the number of words, so batches end
/// there.
pub(super) struct Text {
    /// Every byte from 0x80 is a character of its own.
    single_bytes: bool,
    words: u64,
    /// Text that is not counted yet.
    pending: String,
    /// Bytes since the last space, line feed or forced cut.
    run: usize,
    /// The beginning of a character whose end has not come yet.
    partial: Vec<u8>,
}

impl Text {
    pub(super) fn new(single_bytes: bool) -> Text {
        Text { single_bytes, words: 0, pending: String::new(), run: 0, partial: Vec::new() }
    }

    /// Takes bytes of text.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !self.partial.is_empty() {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.partial.push(*first);
            bytes = rest;
            let partial = std::mem::take(&mut self.partial);
            self.decode(&partial);
        }
        self.decode(bytes);
    }

    /// Takes one character.
    pub(super) fn push_char(&mut self, character: char) {
        self.flush_partial();
        self.text(character.encode_utf8(&mut [0; 4]));
    }

    /// Decodes bytes; what may be the beginning of a character stays in `partial`.
    fn decode(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (text, bad, rest) = match std::str::from_utf8(bytes) {
                Ok(text) if !self.single_bytes || text.is_ascii() => return self.text(text),
                Ok(_) => ascii_prefix(bytes),
                Err(_) if self.single_bytes => ascii_prefix(bytes),
                Err(error) => {
                    let (text, rest) = bytes.split_at(error.valid_up_to());
                    let text = std::str::from_utf8(text).expect("valid up to here");
                    let Some(length) = error.error_len() else {
                        self.text(text);
                        self.partial.extend_from_slice(rest);
                        return;
                    };
                    (text, &rest[..length], &rest[length..])
                }
            };
            self.text(text);
            self.single(bad);
            bytes = rest;
        }
    }

    /// Takes bytes as characters of Windows-1252.
    fn single(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let character = match byte {
                0x8a | 0x8c | 0x8e | 0x9a | 0x9c | 0x9e | 0x9f => 'œ', // a letter; which one does not matter
                0x91 | 0x92 => '’',
                0x80..=0x9f => '–',
                other => char::from(*other),
            };
            self.text(character.encode_utf8(&mut [0; 4]));
        }
    }

    fn text(&mut self, text: &str) {
        let mut start = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte == b' ' || byte == b'\n' {
                self.run = 0;
                if self.pending.len() + (at - start) >= BATCH_BYTES {
                    self.pending.push_str(&text[start..=at]);
                    start = at + 1;
                    self.count();
                }
                continue;
            }
            if self.run >= RUN_BYTES_MAX && text.is_char_boundary(at) {
                self.pending.push_str(&text[start..at]);
                start = at;
                self.count();
                self.run = 0;
            }
            self.run += 1;
        }
        self.pending.push_str(&text[start..]);
    }

    fn count(&mut self) {
        self.words += self.pending.unicode_words().count() as u64;
        self.pending.clear();
    }

    fn flush_partial(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        self.single(&partial);
    }

    pub(super) fn finish(mut self) -> u64 {
        self.flush_partial();
        self.count();
        self.words
    }
}

/// The ASCII text at the beginning, one byte after it that is not, and the rest.
fn ascii_prefix(bytes: &[u8]) -> (&str, &[u8], &[u8]) {
    let length = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(length);
    let (bad, rest) = rest.split_at(rest.len().min(1));
    (std::str::from_utf8(text).expect("ASCII is UTF-8"), bad, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation as _;

    use super::*;

    fn count(bytes: &[u8], cuts: &[usize]) -> u64 {
        let mut text = Text::new(false);
        let mut rest = bytes;
        for cut in cuts.iter().cycle().take(bytes.len()) {
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            text.push(piece);
            rest = next;
        }
        text.push(rest);
        text.finish()
    }

    #[track_caller]
    fn check(text: &str, words: u64) {
        assert_eq!(count(text.as_bytes(), &[]), words, "{text}");
        assert_eq!(count(text.as_bytes(), &[1]), words, "{text}");
    }

    #[test]
    fn what_a_word_is() {
        check("", 0);
        check(" ,.- — !", 0);
        check("one two  three\nfour\tfive", 5);
        check("don't well-known 3.14 1,000 e.g.", 6);
        check("café naïve Straße", 3);
        check("東京都", 3);
        check("Привет, мир!", 2);
        check("한국어 텍스트", 2);
        check("snake_case 10:30", 3);
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_read_as_windows_1252() {
        assert_eq!(count(b"caf\xe9 na\xefve", &[]), 2);
        assert_eq!(count(b"it\x92s \x93quoted\x94 a\x97b", &[1]), 4);
        let mut latin = Text::new(true);
        latin.push("café naïve".as_bytes()); // two characters each for é and ï: Ã© is a letter and a sign
        assert_eq!(latin.finish(), 3);
    }

    #[test]
    fn text_without_spaces_is_counted_in_bounded_memory() {
        let text = "東".repeat(40_000);
        check(&text, 40_000);
        let mut long = Text::new(false);
        for _ in 0..1_000 {
            long.push(&[b'a'; 1_000]);
            assert!(long.pending.len() <= RUN_BYTES_MAX + BATCH_BYTES);
        }
        assert_eq!(long.finish(), 245, "one word for each {RUN_BYTES_MAX} bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_count_is_that_of_the_whole_text(
            pieces in proptest::collection::vec("\\PC{0,12}[ \n\r\t\u{300}\u{200d}'.,_\u{93e}-]{0,3}", 0..400),
            cuts in proptest::collection::vec(1usize..40, 1..5),
        ) {
            // Runs of less than 4,096 bytes: nothing is cut by force.
            let text = pieces.concat();
            prop_assert_eq!(count(text.as_bytes(), &cuts), text.unicode_words().count() as u64);
        }

        #[test]
        fn any_bytes_count_the_same_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..20_000),
            cuts in proptest::collection::vec(1usize..3_000, 1..5),
        ) {
            prop_assert_eq!(count(&bytes, &cuts), count(&bytes, &[bytes.len().max(1)]));
        }
    }
}
