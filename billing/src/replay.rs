//! An access log under a policy.

mod cloudflare;
mod combined;
mod event;
mod json;

pub use event::{Clock, Event, Malformed};

/// Reads one line of any known format.
///
/// # Errors
/// It is none, or not a whole one.
pub fn parse<'a>(line: &'a [u8], clock: &mut Clock) -> Result<Event<'a>, Malformed> {
    match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => json::parse(line, clock),
        Some(_) => combined::parse(line, clock),
        None => Err(Malformed("an empty line")),
    }
}
