//! Words of a body, counted while it streams.
//!
//! A **word** is a segment between the word boundaries of Unicode (UAX #29) that has a letter or a digit in it. So
//! `don't`, `3.14` and `café` are one word each, `well-known` is two, and each ideograph is one. Text is UTF-8; a byte that
//! is not counts as the character it is in Windows-1252, so that pages with a wrong label count right.
//!
//! Of HTML and XML only the text between tags counts: not comments, attributes, scripts, styles, the title, nor what
//! stands in for a script. A tag separates words unless it is one of text level (`<b>`, `<a>`, `<span>` …).
//!
//! The count does not depend on how the body is cut into pieces, unless its coding is broken. Its cost is bounded: at most [`DECODED_BYTES_MAX`]
//! decoded and [`ENCODED_BYTES_MAX`] encoded bytes are looked at, with a window of at most 16 MiB (brotli's largest; 8 MiB
//! for zstd), and the caller can give up for want of time. A count that stopped early is marked as capped: a lower bound.

mod decode;
mod html;
mod text;

use decode::{Decoder, Stop};
use html::Markup;
use text::Text;

use crate::WordOptions;

/// How much decoded text is looked at.
pub(crate) const DECODED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How much of an encoded body is looked at: codings can be long and decode to nothing.
pub(crate) const ENCODED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A count under way.
pub(crate) struct Words {
    decoder: Option<Decoder>,
    encoded_bytes: u64,
    counted: u64,
    capped: bool,
}

impl Words {
    /// Starts a count, if the body is text in a coding that can be read.
    pub(crate) fn start(options: WordOptions<'_>) -> Option<Words> {
        let sink = Sink::of(options.content_type?)?;
        let decoder = Decoder::of(options.content_encoding, sink)?;
        Some(Words { decoder: Some(decoder), encoded_bytes: 0, counted: 0, capped: false })
    }

    pub(crate) fn observe(&mut self, bytes: &[u8]) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let room = ENCODED_BYTES_MAX - self.encoded_bytes;
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.encoded_bytes += taken as u64;
        let stopped = match decoder.feed(&bytes[..taken]) {
            Ok(()) => taken < bytes.len(),
            // What follows a complete body is not part of it.
            Err(Stop::Ended) => return,
            Err(Stop::Limit | Stop::Unreadable) => true,
        };
        if stopped {
            self.give_up();
        }
    }

    /// Still decoding: a call costs something.
    pub(crate) fn is_counting(&self) -> bool {
        self.decoder.is_some()
    }

    /// Stops here.
    pub(crate) fn give_up(&mut self) {
        if let Some(decoder) = self.decoder.take() {
            self.counted = decoder.finish().finish();
            self.capped = true;
        }
    }

    /// The words, and whether the count stopped early.
    pub(crate) fn finish(mut self) -> (u64, bool) {
        if let Some(decoder) = self.decoder.take() {
            let sink = decoder.finish();
            self.capped |= sink.full;
            self.counted = sink.finish();
        }
        (self.counted, self.capped)
    }
}

/// Where decoded text goes: limited, and read as what the content type says.
pub(crate) struct Sink {
    reading: Reading,
    decoded_bytes: usize,
    full: bool,
}

enum Reading {
    Plain(Text),
    Markup(Box<Markup>),
}

impl Sink {
    /// The reading of a content type; `None` if it is not text.
    fn of(content_type: &str) -> Option<Sink> {
        let mut parts = content_type.split(';');
        let media = parts.next().unwrap_or("").trim().to_ascii_lowercase();
        let charset = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            name.trim().eq_ignore_ascii_case("charset").then_some(value)
        });
        let single_bytes = match charset.as_deref() {
            None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => false,
            Some(name) if name.starts_with("iso-8859-") || name.starts_with("windows-125") => true,
            Some(_) => return None, // a charset that we do not read
        };
        let text = Text::new(single_bytes);
        let reading = match media.as_str() {
            "text/html" => Reading::Markup(Box::new(Markup::html(text))),
            "application/xhtml+xml" => Reading::Markup(Box::new(Markup::html(text))),
            "text/xml" | "application/xml" => Reading::Markup(Box::new(Markup::xml(text))),
            "text/css" | "text/javascript" => return None,
            "application/json" | "application/ld+json" | "application/x-ndjson" => Reading::Plain(text),
            media if media.starts_with("text/") => Reading::Plain(text),
            media if media.ends_with("+json") => Reading::Plain(text),
            media if media.ends_with("+xml") => Reading::Markup(Box::new(Markup::xml(text))),
            _ => return None,
        };
        Some(Sink { reading, decoded_bytes: 0, full: false })
    }

    /// A sink for nothing, to stand where one was taken out.
    fn nowhere() -> Sink {
        Sink { reading: Reading::Plain(Text::new(false)), decoded_bytes: DECODED_BYTES_MAX, full: true }
    }

    /// Takes decoded bytes; an error once there are more than the limit.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let taken = bytes.len().min(DECODED_BYTES_MAX - self.decoded_bytes);
        self.decoded_bytes += taken;
        match &mut self.reading {
            Reading::Plain(text) => text.push(&bytes[..taken]),
            Reading::Markup(markup) => markup.push(&bytes[..taken]),
        }
        if taken < bytes.len() {
            self.full = true;
            return Err(Stop::Limit);
        }
        Ok(())
    }

    fn finish(self) -> u64 {
        match self.reading {
            Reading::Plain(text) => text.finish(),
            Reading::Markup(markup) => markup.finish(),
        }
    }
}

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(std::io::Error::other("the limit of decoded bytes")),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
