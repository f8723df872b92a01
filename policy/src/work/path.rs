//! The one spelling of a path.

/// Bytes of a canonical path; a longer one is refused, so that a record always has room for it.
pub(crate) const MAX_PATH_BYTES: usize = 8_192;

/// Brings a request's path into its one spelling.
///
/// Dot segments are resolved, empty segments joined, percent-encoded characters decoded where that cannot change what
/// they mean, all other encodings put in upper-case hex. Applying it twice is the same as once.
///
/// # Errors
/// Half a sentence on what an origin could read differently.
pub(crate) fn canonical_path(path: &str) -> Result<String, &'static str> {
    resolve(path, false)
}

/// The canonical path of a server that does not join empty segments.
pub(super) fn with_empty_segments(path: &str) -> Result<String, &'static str> {
    resolve(path, true)
}

fn resolve(path: &str, keeps_empty: bool) -> Result<String, &'static str> {
    match path {
        "" => return Ok("/".to_owned()),
        "*" => return Ok("*".to_owned()), // OPTIONS about the server itself
        _ if !path.starts_with('/') => return Err("it does not start with a slash"),
        _ if is_plain_path(path) && path.len() <= MAX_PATH_BYTES => return Ok(path.to_owned()),
        _ => {}
    }
    let mut segments: Vec<String> = Vec::new();
    let (mut joined, mut climbed) = (false, false);
    let mut pieces = path[1..].split('/').peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        match piece {
            // A trailing slash is kept as an empty last segment.
            "" if is_last || keeps_empty => segments.push(String::new()),
            "" => joined = true,
            "." if is_last => segments.push(String::new()),
            "." => {}
            ".." => {
                climbed = true;
                segments.pop().ok_or("`..` climbs above the root")?;
                if is_last {
                    segments.push(String::new());
                }
            }
            piece => segments.push(canonical_segment(piece)?),
        }
    }
    // Which segment `..` takes away depends on what a server does before, and that differs (see `readings`).
    if climbed && (joined || path.contains(['%', ';'])) {
        return Err("`..` together with `//`, `;` or `%` means different things to different servers");
    }
    let canonical = segments.iter().flat_map(|segment| ["/", segment]).collect::<String>();
    if canonical.len() > MAX_PATH_BYTES {
        return Err("it is longer than 8192 bytes");
    }
    Ok(canonical)
}

/// Whether a path is canonical at a glance, as nearly all are.
fn is_plain_path(path: &str) -> bool {
    let mut after_slash = false;
    path.bytes().all(|byte| {
        let may_follow = !after_slash || (byte != b'/' && byte != b'.');
        after_slash = byte == b'/';
        may_follow && (after_slash || is_plain(byte))
    })
}

/// The one spelling of a literal part of a pattern, in which a policy's author may also write plain UTF-8 and spaces.
pub(crate) fn normalise_literal(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive('/') {
        let (segment, slash) = match piece.strip_suffix('/') {
            Some(segment) => (segment, "/"),
            None => (piece, ""),
        };
        out.push_str(&rewrite(segment, true).map_err(|why| format!("never matches: {why}"))?);
        out.push_str(slash);
    }
    Ok(out)
}

fn canonical_segment(segment: &str) -> Result<String, &'static str> {
    let out = rewrite(segment, false)?;
    // Some servers cut a segment at `;` before they look for dots.
    if matches!(out.split(';').next(), Some("." | "..")) {
        return Err("a segment of dots in disguise");
    }
    Ok(out)
}

fn rewrite(segment: &str, lenient: bool) -> Result<String, &'static str> {
    let mut out = String::with_capacity(segment.len());
    let bytes = segment.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte != b'%' {
            match byte {
                b'\\' => return Err("a backslash is a slash to some servers"),
                b'#' => return Err("a fragment is not part of a request"),
                0..=0x1f | 0x7f => return Err("it has a control character"),
                b' ' | 0x80.. if !lenient => return Err("it has a character that must be percent-encoded"),
                _ if is_plain(byte) || byte == b';' => out.push(char::from(byte)),
                _ => push_encoded(&mut out, byte),
            }
            if byte >= 0x80 {
                decoded.push(byte);
            } else {
                check_utf8(&mut decoded)?;
            }
            at += 1;
            continue;
        }
        let value = match (bytes.get(at + 1).and_then(hex), bytes.get(at + 2).and_then(hex)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err("`%` is not followed by two hex digits"),
        };
        match value {
            b'/' => return Err("it has an encoded slash"),
            b'\\' => return Err("it has an encoded backslash"),
            0..=0x1f | 0x7f => return Err("it has an encoded control character"),
            0x80.. => decoded.push(value),
            _ => {}
        }
        if value < 0x80 {
            check_utf8(&mut decoded)?;
        }
        if is_plain(value) {
            out.push(char::from(value))
        } else {
            push_encoded(&mut out, value)
        }
        at += 3;
    }
    check_utf8(&mut decoded)?;
    Ok(out)
}

/// Refuses what pretends to be UTF-8 and is not, such as a slash in two bytes. Bytes that do not pretend (a letter of
/// Latin-1 alone) are old but harmless.
fn check_utf8(bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    const OVERLONG: &str = "it has bytes that are not UTF-8 and that some servers decode all the same";
    let mut rest = &bytes[..];
    while let Some((&lead, tail)) = rest.split_first() {
        let continuation = tail.iter().take_while(|byte| (0x80..0xc0).contains(*byte)).count();
        let wanted = match lead {
            0x80..0xc0 => 0,
            0xc0 | 0xc1 => return Err(OVERLONG),
            0xc2..0xe0 => 1,
            0xe0..0xf0 => 2,
            _ => 3,
        };
        let taken = if lead >= 0xc2 && continuation > 0 {
            let end = 1 + wanted.min(continuation);
            if std::str::from_utf8(&rest[..end]).is_err() {
                return Err(OVERLONG);
            }
            end
        } else {
            1
        };
        rest = &rest[taken..];
    }
    bytes.clear();
    Ok(())
}

/// Characters that mean the same with and without percent-encoding, to every server that we know of. `;` is not one of
/// them: encoded it is a letter, plain it starts parameters.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

pub(crate) fn push_encoded(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

pub(crate) fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expect) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a//", "/a/"),
            ("/%41%7e", "/A~"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%28x%29", "/(x)"),
            ("/100%25", "/100%25"),
            ("/a%3bb;c=1", "/a%3Bb;c=1"),
            ("/a%3Fb%23c", "/a%3Fb%23c"),
            ("/\"{x}|^`<>", "/%22%7Bx%7D%7C%5E%60%3C%3E"),
            ("/M%FCnchen", "/M%FCnchen"),
            ("/...", "/..."),
            ("/..a/.b", "/..a/.b"),
            ("*", "*"),
        ] {
            assert_eq!(canonical_path(path).as_deref(), Ok(expect), "{path}");
            assert_eq!(canonical_path(expect).as_deref(), Ok(expect), "{expect} again");
        }
    }

    #[test]
    fn what_an_origin_could_read_differently_is_refused() {
        for path in [
            "a",
            "/a%2Fb",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/%7F",
            "/%2e%2e/a",
            "/a/.%2E/b",
            "/%2e",
            "/..",
            "/../a",
            "/a/../../b",
            "/a//../b",
            "/a/;x/../b",
            "/a%EF%BC%8Fb/../c",
            "/a%252fb/../c",
            "/..;/a",
            "/a/..;x=1/b",
            "/.;/a",
            "/%2e%2e;/a",
            "/%",
            "/%4",
            "/%zz",
            "/é",
            "/a b",
            "/a\tb",
            "/a#b",
            "/%C0%AF",
            "/%c0%ae%c0%ae/",
            "/%E0%80%AF",
            "/%F0%80%80%AF",
            "/%C1%9C",
            "/%c0%2f",
            "/%FC%80%80%80%80%AF",
            "/%ED%A0%80",
        ] {
            assert!(canonical_path(path).is_err(), "{path}");
        }
        assert!(canonical_path(&format!("/{}", "a".repeat(MAX_PATH_BYTES))).is_err());
        assert!(canonical_path(&format!("/{}", "a".repeat(MAX_PATH_BYTES - 1))).is_ok());
    }

    #[test]
    fn canonical_is_canonical_whatever_comes() {
        let mut seed = 0x00b1_113e_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        const PIECES: [&str; 22] = [
            "/", "/", ".", "..", "a", "B", ";", "%41", "%2e", "%2f", "%25", "%c3%a9", "%e9", "%C0", "%3b",
            "//", "%", "~", "*", "(", "\\", "\"",
        ];
        let mut good = 0;
        for _ in 0..50_000 {
            let path: String =
                std::iter::once("/").chain((0..next(8)).map(|_| PIECES[next(PIECES.len())])).collect();
            if let Ok(canonical) = canonical_path(&path) {
                assert_eq!(canonical_path(&canonical).as_ref(), Ok(&canonical), "{path}");
                assert!(
                    !canonical.contains("//") && !canonical.contains("/../") && !canonical.contains("/./"),
                    "{path}"
                );
                good += 1;
            }
        }
        assert!(good > 5_000, "the cases are not all refused: {good}");
    }

    #[test]
    fn a_glance_sees_what_a_look_sees() {
        for path in ["/", "/a", "/a/", "/a.b/c..d/e.", "/a:b@c,d=e/(f)*", "/A-z_0~9"] {
            assert!(is_plain_path(path), "{path}");
            assert_eq!(canonical_path(path).as_deref(), Ok(path));
        }
        for path in [
            "//", "/a//", "/.", "/..", "/.a", "/a/..", "/a;b", "/%41", "/a?", "/a#", "/\\", "/é", "/a b",
            "/a\"",
        ] {
            assert!(!is_plain_path(path), "{path}");
        }
    }
}
