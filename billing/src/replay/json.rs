//! Access logs of one JSON object per line: nginx with `escape=json` (and whatever else names its fields in the usual
//! ways) and Caddy v2. Cloudflare's names are in [`super::cloudflare`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::cloudflare;
use super::event::Clock;
use super::event::{Event, Malformed, is_method, number, request_line, rfc3339, set_target};

/// A JSON value whose texts borrow from the line.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node<'a> {
    Null,
    Whole(i128),
    Fraction(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// The names under which logs give the same thing, best first.
const ADDRESS: &[&str] =
    &["remote_addr", "remote_ip", "client_ip", "clientip", "client", "remote_address", "ip", "remote_host"];
const FORWARDED_FOR: &[&str] = &["http_x_forwarded_for", "x_forwarded_for", "forwarded_for", "xff"];
const HOST: &[&str] = &["host", "http_host", "vhost", "server_name", "domain", "authority"];
const SCHEME: &[&str] = &["scheme", "request_scheme", "http_scheme"];
const METHOD: &[&str] = &["request_method", "method", "verb", "http_method"];
const TARGET: &[&str] = &["request_uri", "uri", "request_path", "path", "url", "http_path"];
const REQUEST_LINE: &[&str] = &["request", "request_line", "http_request"];
const STATUS: &[&str] = &["status", "status_code", "response_status", "response_code", "http_status"];
const BYTES: &[&str] =
    &["body_bytes_sent", "size", "bytes", "response_size", "body_bytes", "response_bytes", "bytes_sent"];
const USER_AGENT: &[&str] = &["http_user_agent", "user_agent", "useragent", "userAgent", "agent", "ua"];
const CONTENT_TYPE: &[&str] =
    &["sent_http_content_type", "response_content_type", "upstream_http_content_type"];
const TIME: &[&str] =
    &["time_iso8601", "msec", "time_local", "ts", "@timestamp", "timestamp", "time", "datetime", "date"];

/// Reads one line of any JSON flavour.
pub(super) fn parse<'a>(line: &'a [u8], clock: &mut Clock) -> Result<Event<'a>, Malformed> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed("not UTF-8, as JSON must be"))?;
    let node: Node<'a> = serde_json::from_str(text).map_err(|_| Malformed("not a whole JSON object"))?;
    let Node::Map(fields) = node else { return Err(Malformed("not a JSON object")) };
    let fields = Fields(fields);
    let mut event = match fields.find(&["request"]) {
        _ if cloudflare::is_its_own(&fields) => cloudflare::event(fields),
        Some(Node::Map(_)) => caddy(fields),
        _ => flat(fields, clock),
    }?;
    if !is_method(&event.method) {
        event.method = Cow::default();
    }
    Ok(event)
}

/// nginx and others: one flat object.
fn flat<'a>(mut fields: Fields<'a>, clock: &mut Clock) -> Result<Event<'a>, Malformed> {
    let mut event = Event { time_secs: time(&fields, TIME, clock)?, ..Event::default() };
    event.address = fields.take_bytes(ADDRESS);
    event.forwarded_for = fields.take_bytes(FORWARDED_FOR);
    event.user_agent = fields.take_bytes(USER_AGENT);
    event.status = fields.status(STATUS)?;
    event.bytes = fields.size(BYTES)?;
    event.content_type = fields.take_text(CONTENT_TYPE);
    let line = fields.take_bytes(REQUEST_LINE);
    if line.is_empty() {
        event.method = fields.take_bytes(METHOD);
        let target = fields.take_bytes(TARGET);
        set_target(&mut event, target);
        if event.method.is_empty() && !event.target.is_empty() {
            event.method = Cow::Borrowed(b"GET");
        }
    } else {
        request_line(&mut event, line);
    }
    if let Some(host) = fields.take_text(HOST) {
        event.host = into_bytes(host);
    }
    if let Some(scheme) = fields.take_text(SCHEME) {
        event.scheme = into_bytes(scheme);
    }
    if event.method.is_empty() && event.status == 0 && event.address.is_empty() {
        return Err(Malformed("no field that an access log has"));
    }
    Ok(event)
}

/// Caddy v2: `{"ts":…,"request":{"remote_ip":…,"headers":{"User-Agent":[…]}},"size":…,"status":…,"resp_headers":{…}}`.
fn caddy(mut fields: Fields<'_>) -> Result<Event<'_>, Malformed> {
    let mut event = Event { time_secs: time(&fields, TIME, &mut Clock::default())?, ..Event::default() };
    event.status = fields.status(STATUS)?;
    event.bytes = fields.size(BYTES)?;
    if let Some(Node::Map(headers)) = fields.take(&["resp_headers"]) {
        event.content_type = Fields(headers).header("Content-Type");
    }
    let Some(Node::Map(request)) = fields.take(&["request"]) else {
        return Err(Malformed("no request in the object"));
    };
    let mut request = Fields(request);
    // `client_ip` is the address behind proxies that Caddy trusts; `remote_ip` is the peer.
    event.address = request.take_bytes(&["client_ip", "remote_ip", "remote_addr"]);
    event.method = request.take_bytes(METHOD);
    event.host = request.take_bytes(HOST);
    let target = request.take_bytes(TARGET);
    set_target(&mut event, target);
    event.scheme = Cow::Borrowed(if request.find(&["tls"]).is_some() { b"https" } else { b"http" });
    if let Some(Node::Map(headers)) = request.take(&["headers"]) {
        let mut headers = Fields(headers);
        event.user_agent = headers.header("User-Agent").map_or(Cow::Borrowed(&[][..]), into_bytes);
        event.forwarded_for = headers.header("X-Forwarded-For").map_or(Cow::Borrowed(&[][..]), into_bytes);
    }
    Ok(event)
}

/// The first of these fields that holds a time: RFC 3339, the common log's form, or a number since the epoch.
fn time(fields: &Fields<'_>, names: &[&str], clock: &mut Clock) -> Result<i64, Malformed> {
    let mut seen = false;
    for name in names {
        let Some(node) = fields.find(&[name]) else { continue };
        seen = true;
        if let Some(secs) = time_of(node, clock) {
            return Ok(secs);
        }
    }
    Err(Malformed(if seen { "the time cannot be read" } else { "no time in the object" }))
}

/// A time in any of the forms that logs use; numbers are told apart by their size (s, ms, µs, ns).
pub(super) fn time_of(node: &Node<'_>, clock: &mut Clock) -> Option<i64> {
    match node {
        Node::Whole(value) => since_epoch(*value),
        // The fraction is cut off; seconds of this age fit a double exactly.
        Node::Fraction(value) if value.is_finite() => since_epoch(*value as i128),
        Node::Text(text) => {
            let bytes = text.as_bytes();
            rfc3339(bytes).or_else(|| clock.common(bytes)).or_else(|| {
                let whole = bytes.split(|&byte| byte == b'.').next()?;
                since_epoch(i128::from(number(whole)?))
            })
        }
        _ => None,
    }
}

fn since_epoch(value: i128) -> Option<i64> {
    let secs = match value {
        0..100_000_000_000 => value,
        100_000_000_000..100_000_000_000_000 => value / 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => value / 1_000_000,
        _ if value > 0 => value / 1_000_000_000,
        _ => return None,
    };
    i64::try_from(secs).ok()
}

pub(super) fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The members of an object.
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Fields<'a> {
    /// The first of these names that is there and not null.
    pub(super) fn find(&self, names: &[&str]) -> Option<&Node<'a>> {
        names.iter().find_map(|name| {
            self.0.iter().find(|(key, node)| key == name && *node != Node::Null).map(|(_, node)| node)
        })
    }

    fn take(&mut self, names: &[&str]) -> Option<Node<'a>> {
        let place = names
            .iter()
            .find_map(|name| self.0.iter().position(|(key, node)| key == name && *node != Node::Null))?;
        Some(std::mem::replace(&mut self.0[place].1, Node::Null))
    }

    /// The text of the first of these names that has one; empty texts and `-` count as none.
    pub(super) fn take_text(&mut self, names: &[&str]) -> Option<Cow<'a, str>> {
        for name in names {
            match self.take(&[name]) {
                Some(Node::Text(text)) if !text.is_empty() && text != "-" => return Some(text),
                Some(Node::Whole(value)) => return Some(Cow::Owned(value.to_string())),
                _ => {}
            }
        }
        None
    }

    pub(super) fn take_bytes(&mut self, names: &[&str]) -> Cow<'a, [u8]> {
        self.take_text(names).map_or(Cow::Borrowed(&[]), into_bytes)
    }

    /// A header of Caddy's: a list of values; the first one counts.
    fn header(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let place = self.0.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        match std::mem::replace(&mut self.0[place].1, Node::Null) {
            Node::List(values) => values.into_iter().find_map(|value| match value {
                Node::Text(text) => Some(text),
                _ => None,
            }),
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A status: a number or a text of one; 0 if there is none.
    pub(super) fn status(&self, names: &[&str]) -> Result<u16, Malformed> {
        let status = self.whole(names).map_err(|()| Malformed("the status is not a number"))?;
        u16::try_from(status)
            .ok()
            .filter(|&status| status < 1000)
            .ok_or(Malformed("the status is not a number"))
    }

    /// A count of bytes; 0 if there is none.
    pub(super) fn size(&self, names: &[&str]) -> Result<u64, Malformed> {
        let size = self.whole(names).map_err(|()| Malformed("the size is not a number"))?;
        if size > 1 << 60 { Err(Malformed("the size is not a number")) } else { Ok(size) }
    }

    fn whole(&self, names: &[&str]) -> Result<u64, ()> {
        match self.find(names) {
            None => Ok(0),
            Some(Node::Whole(value)) => u64::try_from(*value).map_err(|_| ()),
            Some(Node::Text(text)) if text.is_empty() => Ok(0),
            Some(Node::Text(text)) => number(text.as_bytes()).ok_or(()),
            Some(_) => Err(()),
        }
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Whole(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Fraction(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Key(key), node)) = access.next_entry()? {
            fields.push((key, node));
        }
        Ok(Node::Map(fields))
    }
}

/// A member's name; `Cow` itself would always copy.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Text(text) => Ok(Key(text)),
            _ => Ok(Key(Cow::Borrowed(""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_ok(line: &str) -> Event<'_> {
        parse(line.as_bytes(), &mut Clock::default()).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[test]
    fn what_is_no_method_is_no_request() {
        for method in ["GET /x", "\u{1}", &"G".repeat(33)] {
            let method = serde_json::to_string(method).expect("a string");
            let line = format!(
                r#"{{"ts":1795354862.25,"request":{{"remote_ip":"192.0.2.7","method":{method},"uri":"/a"}},"size":0,"status":304}}"#
            );
            assert!(!parse_ok(&line).is_request(), "{line}");
        }
    }

    #[test]
    fn nginx_is_read_whether_fields_are_texts_or_numbers() {
        for line in [
            r#"{"time_iso8601":"2026-11-22T13:40:05+00:00","remote_addr":"192.0.2.7","request":"GET /a?b HTTP/1.1","status":"200","body_bytes_sent":"612","http_user_agent":"GPTBot/1.1","host":"news.example","scheme":"https"}"#,
            r#"{"msec":1795354805.123,"client":"192.0.2.7","request_method":"GET","request_uri":"/a?b","status":200,"bytes":612,"user_agent":"GPTBot/1.1","http_host":"news.example","scheme":"https"}"#,
            r#"{"time":"22/Nov/2026:13:40:05 +0000","remote_addr":"192.0.2.7","method":"GET","uri":"/a?b","status":200,"size":612,"agent":"GPTBot/1.1","server_name":"news.example","scheme":"https"}"#,
        ] {
            let event = parse_ok(line);
            assert_eq!(event.time_secs, 1_795_354_805, "{line}");
            assert_eq!(&*event.address, b"192.0.2.7");
            assert_eq!((&*event.method, &*event.target), (&b"GET"[..], &b"/a?b"[..]));
            assert_eq!((event.status, event.bytes), (200, 612));
            assert_eq!((&*event.host, &*event.scheme), (&b"news.example"[..], &b"https"[..]));
            assert_eq!(&*event.user_agent, b"GPTBot/1.1");
        }
    }

    #[test]
    fn caddy_is_read() {
        let event = parse_ok(
            r#"{"level":"info","ts":1795354805.5,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"41342","client_ip":"192.0.2.7","proto":"HTTP/2.0","method":"GET","host":"news.example","uri":"/a","headers":{"User-Agent":["GPTBot/1.1"],"Accept":["*/*"]},"tls":{"resumed":false}},"bytes_read":0,"user_id":"","duration":0.0009,"size":612,"status":200,"resp_headers":{"Content-Type":["text/html; charset=utf-8"]}}"#,
        );
        assert_eq!((event.time_secs, event.status, event.bytes), (1_795_354_805, 200, 612));
        assert_eq!((&*event.address, &*event.scheme), (&b"192.0.2.7"[..], &b"https"[..]));
        assert_eq!(&*event.user_agent, b"GPTBot/1.1");
        assert_eq!(event.content_type.as_deref(), Some("text/html; charset=utf-8"));
    }

    #[test]
    fn broken_lines_are_named_not_fatal() {
        for (line, why) in [
            ("{", "not a whole JSON object"),
            ("[1]", "not a JSON object"),
            (r#"{"a":1}"#, "no time"),
            (r#"{"time":"soon","status":200}"#, "time cannot be read"),
            (r#"{"ts":1,"status":"ok"}"#, "status"),
            (r#"{"ts":1,"status":200,"size":-1}"#, "size"),
            (r#"{"ts":1,"level":"info"}"#, "no field"),
        ] {
            let error = parse(line.as_bytes(), &mut Clock::default()).expect_err(line);
            assert!(error.0.contains(why), "{line}: {error}");
        }
    }
}
