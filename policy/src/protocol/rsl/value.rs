//! The forms of values: URIs, times, decimals.

/// Bytes of a URL, a pattern or an identifier in a document.
pub const URL_BYTES_MAX: usize = 2_048;

/// Whether a text is an absolute URI (RFC 3986 §4.3 with a fragment allowed) in ASCII or an IRI; one of HTTP names a host.
pub(crate) fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || rest.is_empty() || !has_url_characters(text) {
        return false;
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => has_host(rest),
        _ => true,
    }
}

/// Whether a text is an absolute URL of HTTPS.
pub(crate) fn is_https(text: &str) -> bool {
    is_absolute_uri(text)
        && text.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// Whether a text is an absolute URL of HTTP or HTTPS.
pub(crate) fn is_http_url(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https")) && is_absolute_uri(text)
}

/// Whether a text holds only what a URL may hold, without a claim about its parts.
pub(crate) fn has_url_characters(text: &str) -> bool {
    let odd = |c: char| {
        c.is_control()
            || c.is_whitespace()
            || matches!(c, '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')
    };
    !text.is_empty() && text.len() <= URL_BYTES_MAX && !text.contains(odd)
}

fn has_host(rest: &str) -> bool {
    rest.strip_prefix("//").is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']))
}

/// Scheme with authority, and the path with query, of a URL of HTTP. An empty path is `/`.
pub(crate) fn split_origin(url: &str) -> Option<(&str, &str)> {
    let after_scheme = url.find("://")? + 3;
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    let path = &url[end..];
    Some((&url[..end], if path.is_empty() { "/" } else { path }))
}

/// Whether two origins are one: scheme and host in any case, with or without the scheme's own port.
pub(crate) fn same_origin(one: &str, other: &str) -> bool {
    let canonical = |origin: &str| {
        let origin = origin.to_ascii_lowercase();
        let own_port = match origin.split_once("://") {
            Some(("http", _)) => ":80",
            Some(("https", _)) => ":443",
            _ => "",
        };
        match origin.strip_suffix(own_port) {
            Some(without) if !own_port.is_empty() => without.to_owned(),
            _ => origin,
        }
    };
    canonical(one) == canonical(other)
}

/// Whether a text is a date-time of RFC 3339 §5.6, such as `2026-11-01T00:00:00Z`.
pub(crate) fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        let digits = bytes.get(range)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    let Some((year, month, day)) =
        number(0..4).zip(number(5..7)).zip(number(8..10)).map(|((y, m), d)| (y, m, d))
    else {
        return false;
    };
    let Some((hour, minute, second)) =
        number(11..13).zip(number(14..16)).zip(number(17..19)).map(|((h, m), s)| (h, m, s))
    else {
        return false;
    };
    let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !separated || !in_range {
        return false;
    }
    let mut at = 19;
    if is(at, b".") {
        let decimals = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if decimals == 0 {
            return false;
        }
        at += 1 + decimals;
    }
    match bytes.len() - at {
        1 => is(at, b"Zz"),
        6 => {
            is(at, b"+-")
                && is(at + 3, b":")
                && number(at + 1..at + 3).is_some_and(|hour| hour < 24)
                && number(at + 4..at + 6).is_some_and(|minute| minute < 60)
        }
        _ => false,
    }
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Whether a text is a price: digits, at most one point with digits on both sides.
pub(crate) fn is_decimal(text: &str) -> bool {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 40
        && match text.split_once('.') {
            Some((whole, part)) => is_digits(whole) && is_digits(part),
            None => is_digits(text),
        }
}

/// Whether a text has the form of a media type, `type/subtype`, parameters allowed.
pub(crate) fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or("").trim_end();
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.len() <= 255
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        for (text, expect) in [
            ("https://a.example/x?y#z", true),
            ("HTTPS://a.example", true),
            ("urn:a:b", true),
            ("mailto:a@b.example", true),
            ("https:///x", false),
            ("https:x", false),
            ("https://", false),
            ("/x", false),
            ("a b:c", false),
            ("https://a.example/ b", false),
            ("https://a.example/<b>", false),
            (":x", false),
            ("", false),
        ] {
            assert_eq!(is_absolute_uri(text), expect, "{text}");
        }
        for (text, expect) in [
            ("2026-11-01T00:00:00Z", true),
            ("2024-02-29t23:59:60.123456789+05:30", true),
            ("2026-02-29T00:00:00Z", false),
            ("2026-11-01", false),
            ("2026-11-01T00:00:00", false),
            ("2026-11-01T00:00:00.Z", false),
            ("2026-13-01T00:00:00Z", false),
            ("2026-11-01T24:00:00Z", false),
            ("2026-11-01T00:00:00+0530", false),
            ("2026-11-01T00:00:00Zü", false),
            ("", false),
        ] {
            assert_eq!(is_date_time(text), expect, "{text}");
        }
        for (text, expect) in [
            ("0", true),
            ("10.00", true),
            ("007", true),
            (".5", false),
            ("5.", false),
            ("-1", false),
            ("1e3", false),
            ("1,5", false),
            ("", false),
        ] {
            assert_eq!(is_decimal(text), expect, "{text}");
        }
        assert!(is_media_type("application/x402+json") && is_media_type("text/html; charset=utf-8"));
        assert!(!is_media_type("text") && !is_media_type("text/") && !is_media_type("te xt/html"));
    }

    #[test]
    fn origins_are_compared_in_any_case_and_with_either_port() {
        assert_eq!(split_origin("https://a.example:8443/b?c"), Some(("https://a.example:8443", "/b?c")));
        assert_eq!(split_origin("https://a.example"), Some(("https://a.example", "/")));
        assert!(same_origin("https://A.example", "HTTPS://a.example:443"));
        assert!(!same_origin("https://a.example", "http://a.example"));
        assert!(!same_origin("https://a.example:80", "https://a.example"));
    }
}
