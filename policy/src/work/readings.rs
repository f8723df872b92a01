//! The other paths that a server may read from the bytes of one.
//!
//! The canonical path is what RFC 3986 makes of a request target. Some servers do more: they decode twice, cut parameters
//! off, take `//` for the begin of a host, leave empty segments where they are, or fold compatibility characters (NFKC)
//! into plain ones. None of that is forbidden, and from outside nobody can tell which server does it. So a path that could
//! become another one in these ways has several readings, and a policy that speaks differently about them refuses it.

use icu_normalizer::{ComposingNormalizer, ComposingNormalizerBorrowed};

use super::path::{canonical_path, hex, push_encoded, with_empty_segments};

/// Readings of one path beside the canonical one; a path with more is refused.
const MAX_READINGS: usize = 12;

const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfkc();

/// What else than its `canonical` form a path could be to a server: nothing, nearly always.
///
/// # Errors
/// Half a sentence on a reading that no path has.
pub(crate) fn other_readings(path: &str, canonical: &str) -> Result<Vec<String>, &'static str> {
    let mut readings = Vec::new();
    if !path.contains("//") && !canonical.contains(['%', ';']) {
        return Ok(readings);
    }
    // The canonical form is the first of its own readings for as long as this takes.
    readings.push(canonical.to_owned());
    add(&mut readings, path)?;
    let mut at = 0;
    while let Some(reading) = readings.get(at) {
        let more =
            [decoded_again(reading), without_parameters(reading), cut_at_query(reading), folded(reading)];
        for reading in more.into_iter().flatten() {
            add(&mut readings, &reading)?;
        }
        at += 1;
    }
    readings.remove(0);
    Ok(readings)
}

/// Adds a path's spellings: canonical; as it is to a server that joins nothing; as it is to one that takes `//` for the
/// begin of a host.
fn add(readings: &mut Vec<String>, path: &str) -> Result<(), &'static str> {
    let mut add_one = |spelling: String| {
        if !readings.contains(&spelling) {
            readings.push(spelling);
        }
    };
    add_one(canonical_path(path)?);
    if path.contains("//") {
        add_one(with_empty_segments(path)?);
    }
    match path.strip_prefix("//") {
        _ if readings.len() > MAX_READINGS => Err("servers could read too many paths from it"),
        Some(host) => add(readings, host.find('/').map_or("/", |slash| &host[slash..])),
        None => Ok(()),
    }
}

/// `%2541` is `%41` to whom decodes once, and `A` to whom does it again.
fn decoded_again(path: &str) -> Option<String> {
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let mut pieces = path.split("%25");
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        out.push_str(if is_escape(piece) { "%" } else { "%25" });
        out.push_str(piece);
    }
    (out != path).then_some(out)
}

/// Servlet containers cut each segment at `;`, some after decoding.
fn without_parameters(path: &str) -> Option<String> {
    let cut = |segment: &str| {
        let end = [";", "%3B"].iter().filter_map(|mark| segment.find(mark)).min();
        segment[..end.unwrap_or(segment.len())].to_owned()
    };
    let is_cut = path.contains(';') || path.contains("%3B");
    is_cut.then(|| path.split('/').map(cut).collect::<Vec<_>>().join("/"))
}

/// Rewriting servers may decode before they look for the query.
fn cut_at_query(path: &str) -> Option<String> {
    let end = ["%3F", "%23"].iter().filter_map(|mark| path.find(mark)).min()?;
    Some(path[..end].to_owned())
}

/// A path, or a pattern, in which compatibility characters are folded (NFKC); `None` where there are none.
///
/// What is folded into a wildcard or another character with a meaning of its own is escaped; slashes, dots and semicolons
/// are not: they are what a server would see.
pub(crate) fn folded(path: &str) -> Option<String> {
    let text = unescaped(path)?;
    if NFKC.is_normalized(&text) {
        return None;
    }
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        for part in NFKC.normalize(letter.encode_utf8(&mut [0; 4])).chars() {
            match u8::try_from(part) {
                Ok(byte) if b" \"#%*<>?[]^`{|}".contains(&byte) => push_encoded(&mut escaped, byte),
                _ => escaped.push(part),
            }
        }
    }
    let mut out = String::with_capacity(path.len());
    for letter in NFKC.normalize(&escaped).chars() {
        match letter {
            letter if letter.is_ascii() => out.push(letter),
            letter => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_encoded(&mut out, byte)),
        }
    }
    Some(out)
}

/// The text with its non-ASCII characters decoded and everything else as it is; `None` if it has none, or bytes that are
/// not UTF-8.
fn unescaped(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let value = match bytes[at] {
            b'%' => bytes.get(at + 1).and_then(hex).zip(bytes.get(at + 2).and_then(hex)),
            _ => None,
        };
        match value {
            Some((high, low)) if high >= 8 => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expect: &[&str]) {
        let canonical = canonical_path(path).expect("a path");
        let mut readings = other_readings(path, &canonical).expect("readings");
        readings.sort_unstable();
        assert_eq!(readings, expect, "{path}");
    }

    #[test]
    fn an_odd_path_has_readings() {
        check("/a/b-c_d.e~f", &[]);
        check("/a/../b/./c", &[]);
        check("/a/./%41", &[]);
        check("/%2564rafts", &["/drafts"]);
        check("/%252564rafts", &["/%2564rafts", "/drafts"]);
        check("/100%25", &[]);
        check("/100%25/a", &[]);
        check("/drafts;v=1/1;x", &["/drafts/1"]);
        check("/drafts%3Bv=1/1", &["/drafts/1"]);
        check("/;x/drafts", &["/", "//drafts", "/drafts"]);
        check("/drafts%3Fx/1", &["/drafts"]);
        check("/a//b", &["/a//b"]);
        check("//x/drafts//1", &["//x/drafts//1", "/drafts//1", "/drafts/1"]);
        check("/caf%C3%A9", &[]);
        check("/M%FCnchen", &[]);
        // Fullwidth letters, slash and dots; a letter with its accent apart; a ligature.
        check("/%EF%BD%84rafts", &["/drafts"]);
        check("/x%EF%BC%8Fdrafts", &["/x/drafts"]);
        check("/x/%E2%80%A5/drafts", &["/drafts"]);
        check("/cafe%CC%81", &["/caf%C3%A9"]);
        check("/%EF%AC%81le", &["/file"]);
        check("/%EF%BC%85%36%31", &["/%2561", "/a"]);
        check("/%EF%BC%8A", &["/*"]);
        // Escaped percent signs side by side are not one within the other.
        let percents = |count: usize| format!("/{}", "%25".repeat(count));
        check(&(percents(20) + "41"), &[&(percents(19) + "A")]);
        check("/%E3%81%AA%EF%BC%9F", &["/%E3%81%AA", "/%E3%81%AA%3F"]);
    }

    #[test]
    fn a_reading_that_no_path_has_is_refused() {
        for path in [
            "/a%252Fb",
            "/a%255Cb",
            "/a%2500",
            "/%252e%252e/a",
            "/a%25C0%25AF",
            "/..%3B/a",
            "/%EF%BC%BC",
            "/%EF%BC%8E%EF%BC%8E/a",
            "/%E2%80%A5/a",
            &"/".repeat(60_000),
            &format!("/%{}41", "25".repeat(20)),
        ] {
            let canonical = canonical_path(path);
            let readings = canonical.and_then(|canonical| other_readings(path, &canonical));
            assert!(readings.is_err(), "{path}: {readings:?}");
        }
    }
}
