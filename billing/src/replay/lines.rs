//! Lines out of a stream of any length, in bounded memory.

use std::io::{self, Read};

/// The longest line that is looked at; servers cut their request lines well below it.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes asked for at once.
const CHUNK_BYTES: usize = 512 * 1024;

/// Calls for each line of a stream with its number, from 1, and its bytes without the line's end; `None` stands for a
/// line longer than [`LINE_BYTES_MAX`].
///
/// # Errors
/// If the stream fails; what was read before has been handed over.
pub fn for_each_line(stream: &mut dyn Read, each: &mut dyn FnMut(u64, Option<&[u8]>)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES + LINE_BYTES_MAX];
    let mut kept = 0; // bytes of an unfinished line at the buffer's start
    let mut overlong = false; // that line is longer than we keep
    let mut number = 0;
    loop {
        let read = match stream.read(&mut buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            if kept > 0 || overlong {
                number += 1;
                each(number, (!overlong).then_some(trimmed(&buffer[..kept])));
            }
            return Ok(());
        }
        let filled = kept + read;
        let mut start = 0;
        // The kept bytes were searched before.
        for end in memchr::memchr_iter(b'\n', &buffer[kept..filled]).map(|at| at + kept) {
            number += 1;
            let fits = !overlong && end - start <= LINE_BYTES_MAX;
            each(number, fits.then(|| trimmed(&buffer[start..end])));
            overlong = false;
            start = end + 1;
        }
        kept = filled - start;
        if overlong || kept > LINE_BYTES_MAX {
            overlong = true;
            kept = 0;
        } else {
            buffer.copy_within(start..filled, 0);
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of a size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.len().min(self.1).min(buffer.len());
            buffer[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    fn lines(bytes: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Vec::new();
        for_each_line(&mut Pieces(bytes, piece), &mut |number, line| {
            lines.push(line.map(<[u8]>::to_vec));
            assert_eq!(number, lines.len() as u64);
        })
        .expect("a stream that does not fail");
        lines
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line_and_the_next_is_whole() {
        let mut text = b"first\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 3 * LINE_BYTES_MAX));
        text.extend(b"\nlast");
        for piece in [7, 4_096, usize::MAX] {
            assert_eq!(
                lines(&text, piece),
                [Some(b"first".to_vec()), None, Some(b"last".to_vec())],
                "{piece}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n\r]{0,200}", piece in 1_usize..40) {
            let mut expected: Vec<&str> = text.split('\n').collect();
            if text.is_empty() || text.ends_with('\n') {
                expected.pop();
            }
            let expected: Vec<_> = expected
                .into_iter()
                .map(|line| Some(line.strip_suffix('\r').unwrap_or(line).as_bytes().to_vec()))
                .collect();
            prop_assert_eq!(lines(text.as_bytes(), piece), expected);
        }
    }
}
