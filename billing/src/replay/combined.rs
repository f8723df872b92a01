//! The combined log format of Apache and nginx:
//! `192.0.2.1 - - [22/Nov/2026:13:40:05 +0000] "GET /a HTTP/1.1" 200 612 "-" "GPTBot/1.1"`,
//! with a host and port before it (Apache's `vhost_combined`), or `"$http_x_forwarded_for"` and more after it (nginx's
//! `main`), or without referrer and user agent (the common format, which cannot show who crawled).

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::event::{Clock, Event, Malformed, number, request_line, unescape};

/// Bytes of `22/Nov/2026:13:40:05 +0000`.
const TIME_BYTES: usize = 26;

/// Reads one line.
pub(super) fn parse<'a>(line: &'a [u8], clock: &mut Clock) -> Result<Event<'a>, Malformed> {
    let mut event = Event::default();
    let (before, time, rest) =
        split_at_time(line).ok_or(Malformed("no [time] as the combined format has it"))?;
    event.time_secs = clock.common(time).ok_or(Malformed("the time in brackets cannot be read"))?;
    client(&mut event, before)?;

    let rest = rest.strip_prefix(b" \"").ok_or(Malformed("no request in quotes after the time"))?;
    let (request, rest) = quoted(rest).ok_or(Malformed("the request's quotes do not end"))?;
    request_line(&mut event, unescape(request));

    let rest = rest.strip_prefix(b" ").ok_or(Malformed("no status after the request"))?;
    let (status, rest) = word(rest);
    let status =
        number(status).filter(|&status| status < 1000).ok_or(Malformed("the status is not a number"))?;
    event.status = u16::try_from(status).map_err(|_| Malformed("the status is not a number"))?;
    let (bytes, mut rest) = word(rest);
    event.bytes = number(bytes).ok_or(Malformed("the size is not a number"))?;

    // Referrer, user agent, X-Forwarded-For: the order of every format built on combined.
    for place in 0..3 {
        let Some(open) = rest.strip_prefix(b"\"") else { break };
        let (value, after) = quoted(open).ok_or(Malformed("a quoted field does not end"))?;
        let value = if value == b"-" { &value[..0] } else { value };
        match place {
            1 => event.user_agent = unescape(value),
            2 if is_address_list(value) => event.forwarded_for = Cow::Borrowed(value),
            _ => {}
        }
        rest = after.strip_prefix(b" ").unwrap_or(after);
    }
    Ok(event)
}

/// What stands before ` [time]`, the time, and what follows it.
fn split_at_time(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // A user's name may hold a bracket, and an address in brackets is possible too: the right one has `]` in its place.
    for open in memchr_iter(b'[', line).take(8) {
        let time = open + 1..open + 1 + TIME_BYTES;
        if open > 0 && line[open - 1] == b' ' && line.get(time.end) == Some(&b']') {
            return Some((&line[..open - 1], &line[time.clone()], &line[time.end + 1..]));
        }
    }
    None
}

/// Reads `address ident user`, or `host:port address ident user`.
fn client<'a>(event: &mut Event<'a>, before: &'a [u8]) -> Result<(), Malformed> {
    let (first, rest) = word(before);
    if first.is_empty() {
        return Err(Malformed("no address before the time"));
    }
    let (second, _) = word(rest);
    // A remote user may hold spaces, so a fourth word alone does not make the first one a host.
    let is_vhost = memchr_iter(b' ', before).nth(2).is_some() && !is_address(first) && is_address(second);
    if is_vhost {
        event.host =
            Cow::Borrowed(first.strip_suffix(b":80").or(first.strip_suffix(b":443")).unwrap_or(first));
        if first.ends_with(b":443") {
            event.scheme = Cow::Borrowed(b"https");
        }
        event.address = Cow::Borrowed(second);
    } else {
        event.address = Cow::Borrowed(first.strip_suffix(b",").unwrap_or(first));
    }
    Ok(())
}

/// Up to the next space, and what follows it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', bytes) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// Up to the closing quote, and what follows it. A quote after an odd number of backslashes belongs to the value.
fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    for at in memchr_iter(b'"', bytes) {
        let backslashes = bytes[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some((&bytes[..at], &bytes[at + 1..]));
        }
    }
    None
}

/// Whether it looks like an IP address: enough to tell it from a host name, without the cost of reading it.
fn is_address(bytes: &[u8]) -> bool {
    let is_v4 = bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let is_v6 = || {
        memchr_iter(b':', bytes).nth(1).is_some()
            && bytes.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'%'))
    };
    !bytes.is_empty() && (is_v4 || is_v6())
}

fn is_address_list(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b',' | b' ' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_ok(line: &str) -> Event<'_> {
        parse(line.as_bytes(), &mut Clock::default()).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn a_plain_line_is_read() {
        let event = parse_ok(
            r#"192.0.2.7 - - [22/Nov/2026:13:40:05 +0000] "GET /a?b=1 HTTP/1.1" 200 612 "-" "GPTBot/1.1""#,
        );
        assert_eq!(event.time_secs, 1_795_354_805);
        assert_eq!(&*event.address, b"192.0.2.7");
        assert_eq!((&*event.method, &*event.target), (&b"GET"[..], &b"/a?b=1"[..]));
        assert_eq!((event.status, event.bytes), (200, 612));
        assert_eq!(&*event.user_agent, b"GPTBot/1.1");
        assert!(event.host.is_empty() && event.forwarded_for.is_empty());
    }

    #[test]
    fn host_and_forwarded_addresses_are_read() {
        let event = parse_ok(
            r#"news.example:443 10.0.0.1 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/2.0" 304 - "-" "x" "2001:db8::1, 192.0.2.9""#,
        );
        assert_eq!((&*event.host, &*event.scheme), (&b"news.example"[..], &b"https"[..]));
        assert_eq!(&*event.address, b"10.0.0.1");
        assert_eq!(&*event.forwarded_for, b"2001:db8::1, 192.0.2.9");
        assert_eq!((event.status, event.bytes), (304, 0));
    }

    #[test]
    fn odd_but_real_lines_are_read() {
        let event = parse_ok(
            r#"::1 - Jo [x] Doe [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.1" 200 5 "-" "a \"b\" \x22c""#,
        );
        assert_eq!((&*event.address, &*event.user_agent), (&b"::1"[..], &b"a \"b\" \"c"[..]));
        let handshake =
            parse_ok(r#"192.0.2.7 - - [22/Nov/2026:13:40:05 +0000] "\x16\x03\x01" 400 157 "-" "-""#);
        assert!(!handshake.is_request());
        assert!(handshake.user_agent.is_empty());
        let common = parse_ok(r#"192.0.2.7 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.0" 200 5"#);
        assert!(common.is_request() && common.user_agent.is_empty());
        let request_time = parse_ok(
            r#"192.0.2.7 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.0" 200 5 "-" "ua" 0.004 "-""#,
        );
        assert_eq!(&*request_time.user_agent, b"ua");
    }

    #[test]
    fn broken_lines_are_named_not_fatal() {
        for (line, why) in [
            ("", "no [time]"),
            ("hello world", "no [time]"),
            ("1.2.3.4 - - [22/Nov/2026:13:40:05 +0000]", "no request"),
            (r#"1.2.3.4 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.1"#, "quotes do not end"),
            (r#"1.2.3.4 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.1" x 5"#, "status"),
            (r#"1.2.3.4 - - [22/Nov/2026:13:40:05 +0000] "GET / HTTP/1.1" 200 5e"#, "size"),
        ] {
            let error = parse(line.as_bytes(), &mut Clock::default()).expect_err(line);
            assert!(error.0.contains(why), "{line}: {error}");
        }
    }
}
