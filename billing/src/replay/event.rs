//! One line of an access log, as far as a replay needs it, and the small readers that all formats share.

use std::borrow::Cow;

use memchr::memchr;

/// What one line of an access log says. Fields borrow from the line wherever nothing had to be unescaped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event<'a> {
    /// When, in seconds since the Unix epoch.
    pub time_secs: i64,
    /// The peer's address, as it stands in the log.
    pub address: Cow<'a, [u8]>,
    /// `X-Forwarded-For`, if it was logged; empty otherwise.
    pub forwarded_for: Cow<'a, [u8]>,
    /// The host that was asked for, if it was logged; empty otherwise.
    pub host: Cow<'a, [u8]>,
    /// `http` or `https`, if it was logged; empty otherwise.
    pub scheme: Cow<'a, [u8]>,
    /// The method; empty if the line stands for something that was no request (a broken handshake, a time-out).
    pub method: Cow<'a, [u8]>,
    /// Path and query as they came; empty if the line stands for something that was no request.
    pub target: Cow<'a, [u8]>,
    /// The status answered; 0 if none was.
    pub status: u16,
    /// Body bytes delivered.
    pub bytes: u64,
    /// The user agent; empty if there was none or it was not logged.
    pub user_agent: Cow<'a, [u8]>,
    /// `Content-Type` of the answer, if it was logged.
    pub content_type: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// Whether the line stands for a request that can be judged.
    pub fn is_request(&self) -> bool {
        !self.method.is_empty() && !self.target.is_empty()
    }
}

/// Why a line cannot be read: a few words for the person who looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Takes `GET /path HTTP/1.1` apart and puts it into the event; anything else leaves the event without a request.
///
/// An absolute target (`GET http://host/path HTTP/1.1`) gives its host as well, because proxies log it so.
pub(super) fn request_line<'a>(event: &mut Event<'a>, line: Cow<'a, [u8]>) {
    let Some(method_end) = memchr(b' ', &line) else { return };
    let protocol = memchr::memrchr(b' ', &line).filter(|&at| at > method_end);
    // HTTP/0.9 has no protocol; such a line is hardly ever a crawler's, but it was a request.
    let target_end = match protocol {
        Some(at) if line[at + 1..].starts_with(b"HTTP/") => at,
        _ => line.len(),
    };
    if !is_method(&line[..method_end]) {
        return;
    }
    let (method, target) = match line {
        Cow::Borrowed(line) => {
            (Cow::Borrowed(&line[..method_end]), Cow::Borrowed(&line[method_end + 1..target_end]))
        }
        Cow::Owned(line) => {
            (Cow::Owned(line[..method_end].to_vec()), Cow::Owned(line[method_end + 1..target_end].to_vec()))
        }
    };
    event.method = method;
    set_target(event, target);
}

/// Whether this can be a request's method. What else stands there, of any length, was no request.
pub(super) fn is_method(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() <= 32
        && bytes.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
}

/// Puts a request target into the event; an absolute one is split into scheme, host and path.
pub(super) fn set_target<'a>(event: &mut Event<'a>, target: Cow<'a, [u8]>) {
    let scheme_bytes = match &target[..] {
        absolute if absolute.starts_with(b"http://") => 4,
        absolute if absolute.starts_with(b"https://") => 5,
        _ => {
            event.target = target;
            return;
        }
    };
    let host_start = scheme_bytes + 3;
    let host_end =
        memchr::memchr2(b'/', b'?', &target[host_start..]).map_or(target.len(), |at| host_start + at);
    let part = |from: usize, to: usize| match &target {
        Cow::Borrowed(target) => Cow::Borrowed(&target[from..to]),
        Cow::Owned(target) => Cow::Owned(target[from..to].to_vec()),
    };
    event.scheme = part(0, scheme_bytes);
    event.host = part(host_start, host_end);
    event.target = match target.get(host_end) {
        Some(b'/') => part(host_end, target.len()),
        Some(_) => Cow::Owned([b"/", &target[host_end..]].concat()),
        None => Cow::Borrowed(b"/"),
    };
}

/// Undoes the escapes that servers write into quoted fields: `\xHH` (nginx, Apache), `\"`, `\\`, `\n`, `\t`, `\r`.
pub(super) fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', bytes) else { return Cow::Borrowed(bytes) };
    let mut plain = Vec::with_capacity(bytes.len());
    plain.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            plain.push(byte);
            rest = after;
            continue;
        }
        match after {
            [b'x' | b'X', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                plain.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            [b'n', tail @ ..] => (plain.push(b'\n'), rest = tail).1,
            [b't', tail @ ..] => (plain.push(b'\t'), rest = tail).1,
            [b'r', tail @ ..] => (plain.push(b'\r'), rest = tail).1,
            [other, tail @ ..] => (plain.push(*other), rest = tail).1,
            [] => (plain.push(b'\\'), rest = after).1,
        }
    }
    Cow::Owned(plain)
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Reads a decimal number of at most 18 digits that fills the bytes; `-` is 0, as servers write it for no bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes == b"-" {
        return Some(0);
    }
    if bytes.is_empty() || bytes.len() > 18 {
        return None;
    }
    let mut value = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// Reads log times; the minute that was read last is remembered, because neighbours in a log share it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    minute: [u8; 17],
    zone: [u8; 5],
    minute_secs: i64,
}

impl Clock {
    /// `22/Nov/2026:13:40:05 +0000`, 26 bytes: the time of common and combined logs.
    pub(super) fn common(&mut self, text: &[u8]) -> Option<i64> {
        if text.len() != 26 || text[17] != b':' || text[20] != b' ' {
            return None;
        }
        let second = number(&text[18..20]).filter(|&second| second <= 60)?;
        if text[..17] != self.minute || text[21..] != self.zone {
            self.minute_secs = common_minute(text)?;
            self.minute.copy_from_slice(&text[..17]);
            self.zone.copy_from_slice(&text[21..]);
        }
        Some(self.minute_secs + i64::from(u8::try_from(second).ok()?))
    }
}

fn common_minute(text: &[u8]) -> Option<i64> {
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    if text[2] != b'/' || text[6] != b'/' || text[11] != b':' || text[14] != b':' {
        return None;
    }
    let month = MONTHS.iter().position(|name| name[..] == text[3..6])? + 1;
    let days = days_from_civil(field(&text[7..11])?, i64::try_from(month).ok()?, field(&text[..2])?)?;
    let minutes = clock_minutes(field(&text[12..14])?, field(&text[15..17])?)?;
    Some(days * 86_400 + minutes * 60 - zone_secs(&text[21..26])?)
}

/// RFC 3339 (`2026-11-22T13:40:05.123Z`, `2026-11-22 13:40:05+01:00`); a fraction is cut off.
pub(super) fn rfc3339(text: &[u8]) -> Option<i64> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    if !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let days = days_from_civil(field(&text[..4])?, field(&text[5..7])?, field(&text[8..10])?)?;
    let minutes = clock_minutes(field(&text[11..13])?, field(&text[14..16])?)?;
    let seconds = field(&text[17..19]).filter(|&seconds| seconds <= 60)?;
    let mut zone = &text[19..];
    if let [b'.' | b',', fraction @ ..] = zone {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        zone = &fraction[digits..];
    }
    let offset = if matches!(zone, b"Z" | b"z") { 0 } else { zone_secs(zone)? };
    Some(days * 86_400 + minutes * 60 + seconds - offset)
}

/// `+hhmm` or `+hh:mm` in seconds.
fn zone_secs(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            (sign, field(&[*h1, *h2])?, field(&[*m1, *m2])?)
        }
        _ => return None,
    };
    let secs = clock_minutes(hours, minutes)? * 60;
    match sign {
        b'+' => Some(secs),
        b'-' => Some(-secs),
        _ => None,
    }
}

fn field(digits: &[u8]) -> Option<i64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    number(digits).and_then(|value| i64::try_from(value).ok())
}

fn clock_minutes(hour: i64, minute: i64) -> Option<i64> {
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Days since the Unix epoch of a date of the proleptic Gregorian calendar (H. Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_times_are_read_with_their_zone() {
        let mut clock = Clock::default();
        assert_eq!(clock.common(b"22/Nov/2026:13:40:05 +0000"), Some(1_795_354_805));
        assert_eq!(
            clock.common(b"22/Nov/2026:13:40:06 +0000"),
            Some(1_795_354_806),
            "same minute, from memory"
        );
        assert_eq!(clock.common(b"22/Nov/2026:14:40:05 +0100"), Some(1_795_354_805));
        assert_eq!(clock.common(b"22/Nov/2026:08:10:05 -0530"), Some(1_795_354_805));
        assert_eq!(clock.common(b"29/Feb/2024:00:00:00 +0000"), Some(1_709_164_800));
        for wrong in ["22/Nox/2026:13:40:05 +0000", "22/Nov/2026:25:40:05 +0000", "22/Nov/2026:13:40:05", ""]
        {
            assert_eq!(clock.common(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn rfc3339_times_are_read_with_fraction_and_zone() {
        for text in [
            "2026-11-22T13:40:05Z",
            "2026-11-22T13:40:05.999Z",
            "2026-11-22 14:40:05+01:00",
            "2026-11-22T08:10:05-0530",
        ] {
            assert_eq!(rfc3339(text.as_bytes()), Some(1_795_354_805), "{text}");
        }
        for wrong in ["2026-11-22T13:40:05", "2026-13-22T13:40:05Z", "yesterday at a quarter past"] {
            assert_eq!(rfc3339(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(&*unescape(br#"a\x22b\"c\\d\t"#), b"a\"b\"c\\d\t");
        assert!(matches!(unescape(b"plain"), Cow::Borrowed(_)));
        assert_eq!(&*unescape(br"end\"), br"end\");
    }

    #[test]
    fn request_lines_are_taken_apart() {
        let check = |line: &'static str, method: &str, host: &str, target: &str| {
            let mut event = Event::default();
            request_line(&mut event, Cow::Borrowed(line.as_bytes()));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(
                (text(&event.method), text(&event.host), text(&event.target)),
                (method.to_owned(), host.to_owned(), target.to_owned()),
                "{line}"
            );
        };
        check("GET /a?b HTTP/1.1", "GET", "", "/a?b");
        check("GET /with space HTTP/1.1", "GET", "", "/with space");
        check("GET /old", "GET", "", "/old");
        check("GET http://example.org/a HTTP/1.1", "GET", "example.org", "/a");
        check("GET https://example.org HTTP/1.1", "GET", "example.org", "/");
        check("GET http://example.org?q HTTP/1.1", "GET", "example.org", "/?q");
        check("-", "", "", "");
        check("\u{16}\u{3}\u{1} \u{2}", "", "", "");
    }
}
