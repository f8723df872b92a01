//! Content codings, read while they stream.

use std::io::Write as _;

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::raw::{DParameter, InBuffer, Operation as _, OutBuffer};

use super::Sink;

/// Why no more can be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The limit of decoded bytes is reached.
    Limit,
    /// The coding is broken.
    Unreadable,
    /// The coding has ended.
    Ended,
}

/// A window of zstd that HTTP allows at most (RFC 9659): 2²³ bytes.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How much is decoded at once.
const STEP_BYTES: usize = 16 * 1024;

/// A decoder with the text that it writes to. Memory: 32 KiB of window for gzip and deflate, at most 16 MiB for brotli,
/// 8 MiB for zstd.
pub(super) enum Decoder {
    Identity(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// `deflate`, before its first byte: RFC 9110 means zlib, some servers send bare deflate.
    Deflate(Sink),
    Zlib(Box<ZlibDecoder<Sink>>),
    BareDeflate(Box<DeflateDecoder<Sink>>),
    Brotli(Box<DecompressorWriter<Sink>>),
    Zstd {
        decoder: zstd::stream::raw::Decoder<'static>,
        sink: Sink,
    },
    /// Only while one state is replaced by another.
    Taken,
}

impl Decoder {
    /// The decoder of a `Content-Encoding`; `None` for a coding, or a list of them, that we do not read.
    pub(super) fn of(content_encoding: Option<&str>, sink: Sink) -> Option<Decoder> {
        let coding = content_encoding.unwrap_or("identity").trim().to_ascii_lowercase();
        Some(match coding.as_str() {
            "" | "identity" => Decoder::Identity(sink),
            "gzip" | "x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            "deflate" => Decoder::Deflate(sink),
            "br" => {
                let mut decoder = DecompressorWriter::new(sink, STEP_BYTES);
                decoder.set_parameter(
                    brotli_decompressor::BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW,
                    0, // as RFC 7932 has it: never more than 16 MiB
                );
                Decoder::Brotli(Box::new(decoder))
            }
            "zstd" => {
                let mut decoder = zstd::stream::raw::Decoder::new().ok()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
                Decoder::Zstd { decoder, sink }
            }
            _ => return None,
        })
    }

    /// Takes encoded bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            Decoder::Identity(sink) => sink.push(bytes),
            Decoder::Gzip(decoder) => written(decoder.write_all(bytes), decoder.get_ref()),
            Decoder::Zlib(decoder) => written(decoder.write_all(bytes), decoder.get_ref()),
            Decoder::BareDeflate(decoder) => written(decoder.write_all(bytes), decoder.get_ref()),
            Decoder::Brotli(decoder) => written(decoder.write_all(bytes), decoder.get_ref()),
            Decoder::Zstd { decoder, sink } => feed_zstd(decoder, sink, bytes),
            Decoder::Deflate(_) => {
                let Decoder::Deflate(sink) = std::mem::replace(self, Decoder::Taken) else {
                    unreachable!("matched above");
                };
                // A zlib header's first byte names method 8; no encoder begins a bare block with these bits.
                *self = if bytes[0] & 0x0f == 8 {
                    Decoder::Zlib(Box::new(ZlibDecoder::new(sink)))
                } else {
                    Decoder::BareDeflate(Box::new(DeflateDecoder::new(sink)))
                };
                self.feed(bytes)
            }
            Decoder::Taken => Ok(()),
        }
    }

    /// Gives the text back, with all that was decoded. The body may have ended early.
    pub(super) fn finish(self) -> Sink {
        match self {
            Decoder::Identity(sink) | Decoder::Deflate(sink) | Decoder::Zstd { sink, .. } => sink,
            // An error here says that the body was cut or broken; what was decoded before has been handed on.
            Decoder::Gzip(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::replace(decoder.get_mut(), Sink::nowhere())
            }
            Decoder::Zlib(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::replace(decoder.get_mut(), Sink::nowhere())
            }
            Decoder::BareDeflate(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::replace(decoder.get_mut(), Sink::nowhere())
            }
            Decoder::Brotli(mut decoder) => {
                // Of a body that was cut it may hold more than one call gives out.
                let mut before = None;
                while before != Some(decoder.get_ref().decoded_bytes) {
                    before = Some(decoder.get_ref().decoded_bytes);
                    let _ = decoder.write(&[]);
                }
                match decoder.into_inner() {
                    Ok(sink) | Err(sink) => sink,
                }
            }
            Decoder::Taken => Sink::nowhere(),
        }
    }
}

/// What a decoder's write says.
fn written(result: std::io::Result<()>, sink: &Sink) -> Result<(), Stop> {
    match result {
        Ok(()) => Ok(()),
        Err(_) if sink.full => Err(Stop::Limit),
        // The coding ended and took nothing more: padding or rubbish after it is no text.
        Err(error) if error.kind() == std::io::ErrorKind::WriteZero => Err(Stop::Ended),
        Err(_) => Err(Stop::Unreadable),
    }
}

fn feed_zstd(
    decoder: &mut zstd::stream::raw::Decoder<'static>,
    sink: &mut Sink,
    bytes: &[u8],
) -> Result<(), Stop> {
    let mut decoded = vec![0; STEP_BYTES];
    let mut input = InBuffer::around(bytes);
    loop {
        let mut output = OutBuffer::around(&mut decoded[..]);
        let result = decoder.run(&mut input, &mut output);
        let filled = output.pos() == STEP_BYTES;
        sink.push(output.as_slice())?;
        result.map_err(|_| Stop::Unreadable)?;
        if input.pos() == bytes.len() && !filled {
            return Ok(());
        }
    }
}
