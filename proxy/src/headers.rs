//! Message heads: what is ambiguous is refused, what belongs to one hop stays there, and who stands behind us is told.
//!
//! hyper parses; these rules cover what a parser lets through and a proxy must not (RFC 9110 §7.6, RFC 9112 §3.2, §6).

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Response, StatusCode, Version, request, response};
use ipnet::IpNet;
use policy::protocol::crawl_price::{self, Pricing};

use crate::config::Limits;
use crate::error::FetchError;
use crate::peer::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host that a request is for, as it may be trusted: checked, one of a kind.
pub(crate) struct Target {
    /// Host and port as the client wrote them; empty where HTTP/1.0 names none.
    authority: HeaderValue,
    /// The host alone, lower case, for finding the site.
    pub(crate) host: String,
}

impl Target {
    /// Host and port as the client wrote them, checked; empty where HTTP/1.0 names none.
    pub(crate) fn authority(&self) -> &str {
        self.authority.to_str().expect("host_of has seen every character")
    }
}

/// Checks a request head for everything that two readers could read in two ways, and finds the host it is for.
pub(crate) fn check_request(head: &request::Parts, limits: &Limits) -> Result<Target, FetchError> {
    if head.method == Method::CONNECT {
        return Err(FetchError::ConnectRefused);
    }
    // hyper looks at its limit only before it reads once more, and counts no fields of HTTP/2.
    let bytes = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let target = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if head.headers.len() > limits.headers || bytes + target > limits.head_bytes.max(8192) {
        return Err(FetchError::HeadTooLarge);
    }
    check_framing(head)?;
    let authority = authority(head)?;
    let uri = &head.uri;
    let path = uri.path();
    if !(path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS)) {
        return Err(FetchError::BadRequest { why: "the request target is neither a path nor a URL" });
    }
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(FetchError::BadRequest { why: "the request target's scheme is neither http nor https" });
    }
    let host = host_of(authority.as_bytes())?.to_ascii_lowercase();
    Ok(Target { authority, host })
}

fn check_framing(head: &request::Parts) -> Result<(), FetchError> {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(FetchError::BadRequest { why: "more than one Content-Length" });
    }
    if length.is_some_and(|length| !is_plain_number(length)) {
        return Err(FetchError::BadRequest { why: "Content-Length is not a plain number" });
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(FetchError::UnknownTransferCoding);
        }
        if length.is_some() {
            return Err(FetchError::BadRequest { why: "both Content-Length and Transfer-Encoding" });
        }
        if head.version == Version::HTTP_10 {
            return Err(FetchError::BadRequest { why: "Transfer-Encoding in HTTP/1.0" });
        }
    }
    Ok(())
}

fn is_plain_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// RFC 9112 §3.2.2: an absolute target's authority replaces `Host`; RFC 9113 §8.3.1: `:authority` and `host` must agree.
fn authority(head: &request::Parts) -> Result<HeaderValue, FetchError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(FetchError::BadRequest { why: "more than one Host" });
    }
    match (head.uri.authority().map(Authority::as_str), host) {
        (Some(target), Some(host)) if target.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            Ok(host.clone())
        }
        (Some(_), Some(_)) if head.version >= Version::HTTP_2 => {
            Err(FetchError::BadRequest { why: ":authority and host differ" })
        }
        (Some(_), None) if head.version == Version::HTTP_11 => Err(FetchError::BadRequest { why: "no Host" }),
        (Some(target), _) => HeaderValue::from_str(target)
            .map_err(|_| FetchError::BadRequest { why: "Host holds characters that no host has" }),
        (None, Some(host)) if host.is_empty() => Err(FetchError::BadRequest { why: "an empty Host" }),
        (None, Some(host)) => Ok(host.clone()),
        (None, None) if head.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        (None, None) => Err(FetchError::BadRequest { why: "no Host" }),
    }
}

/// The host of an authority whose every character may stand in one (RFC 3986 §3.2.2, without userinfo).
fn host_of(authority: &[u8]) -> Result<&str, FetchError> {
    let bad = || FetchError::BadRequest { why: "Host holds characters that no host has" };
    let authority = std::str::from_utf8(authority).map_err(|_| bad())?;
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or_else(bad)?;
        authority[1..end].parse::<Ipv6Addr>().map_err(|_| bad())?;
        (&authority[..=end], &authority[end + 1..])
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
        if !authority[..end].bytes().all(plain) {
            return Err(bad());
        }
        (&authority[..end], &authority[end..])
    };
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => {
            digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // HTTP/1.0 may name no host at all; an empty one beside a port is nobody's.
    if port_is_fine && (!host.is_empty() || authority.is_empty()) { Ok(host) } else { Err(bad()) }
}

/// Checks an origin's response head: nothing ambiguous goes on to a client, and no switch but to what was asked for.
pub(crate) fn check_response(
    head: &response::Parts,
    upgrade_asked: Option<&HeaderValue>,
) -> Result<(), &'static str> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = upgrade_asked.ok_or("101 without an upgrade in the request")?;
        let listed = |name: &[u8]| {
            asked.as_bytes().split(|b| *b == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(name))
        };
        let mut chosen = members(&head.headers, UPGRADE).peekable();
        if chosen.peek().is_none() || !chosen.all(listed) {
            return Err("101 to another protocol than the request's");
        }
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err("more than one Content-Length");
    }
    if length.is_some_and(|length| !is_plain_number(length)) {
        return Err("Content-Length is not a plain number");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if length.is_some() {
            return Err("both Content-Length and Transfer-Encoding");
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("a transfer coding other than chunked");
        }
    }
    Ok(())
}

/// The protocols that a client asks to switch to, if its request does so properly (HTTP/1.1, both fields) and every one
/// of them is `passed` on. `h2c` never is: prior knowledge is how HTTP/2 starts here.
pub(crate) fn upgrade_asked(head: &request::Parts, passed: &[String]) -> Option<HeaderValue> {
    let protocol = head.headers.get(UPGRADE)?;
    let named = || members(&head.headers, CONNECTION).any(|name| name.eq_ignore_ascii_case(b"upgrade"));
    if head.version != Version::HTTP_11 || !named() {
        return None;
    }
    let is_passed = |name: &[u8]| passed.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(name));
    members(&head.headers, UPGRADE).all(is_passed).then(|| protocol.clone())
}

/// The members of a list field, whatever bytes stand beside them.
fn members(headers: &HeaderMap, field: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(field).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Removes what `Connection` names (RFC 9110 §7.6.1): the origin will not see it, so nobody here may judge by it.
pub(crate) fn strip_named(headers: &mut HeaderMap) {
    let says_something =
        |name: &[u8]| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close");
    if !headers.contains_key(CONNECTION) || !members(headers, CONNECTION).any(says_something) {
        return;
    }
    let named: Vec<HeaderName> =
        members(headers, CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named {
        // Framing and routing never leave by a list that the sender wrote: that would change the message.
        if name != HOST && name != CONTENT_LENGTH && name != TE && name != TRANSFER_ENCODING {
            headers.remove(name);
        }
    }
}

/// Removes what belongs to one connection (RFC 9110 §7.6.1), named in `Connection` or known.
fn strip_hop_by_hop(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    strip_named(headers);
    headers.remove(CONNECTION);
    strip(headers, |name| belongs_to_one_hop(name) || also(name));
}

/// Known without being named. Every `Proxy-…` is meant for a proxy, and to a CGI origin `Proxy` is the variable
/// `HTTP_PROXY`.
fn belongs_to_one_hop(name: &str) -> bool {
    match name.as_bytes()[0] {
        b'h' => name == "http2-settings",
        b'k' => name == "keep-alive",
        b'p' => name == "proxy" || name.starts_with("proxy-"),
        b't' => name == "transfer-encoding",
        b'u' => name == "upgrade",
        _ => false,
    }
}

/// Removes the fields that `goes` names, in one walk over all.
///
/// A name with `_` goes where the one with `-` would, or would say how to read the message or where it came from: many
/// servers take the two for the same.
fn strip(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let always = |name: &str| {
        is_hearsay(name) || matches!(name, "connection" | "content-length" | "host" | "te" | "trailer")
    };
    let gone = |name: &&HeaderName| {
        let name = name.as_str();
        if !name.contains('_') {
            return goes(name);
        }
        let dashed = name.replace('_', "-");
        goes(&dashed) || always(&dashed)
    };
    let gone: Vec<HeaderName> = headers.keys().filter(gone).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Fields by which some origins take another path, host or method than the request line's. From an identified crawler
/// they would move a fetch past its rule.
pub(crate) fn strip_overrides(headers: &mut HeaderMap) {
    const OVERRIDES: [&str; 11] = [
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-rewrite-url",
        "x-override-url",
        "x-http-destinationurl",
        "x-host",
        "x-http-host-override",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ];
    strip(headers, |name| name.starts_with("x-") && OVERRIDES.contains(&name));
}

/// Prices are ours to name: an origin's own price fields do not reach a crawler on an answer that we charge.
pub(crate) fn strip_prices(headers: &mut HeaderMap) {
    const PRICES: [HeaderName; 3] = [
        HeaderName::from_static("crawler-price"),
        HeaderName::from_static("crawler-charged"),
        HeaderName::from_static("crawler-error"),
    ];
    for name in &PRICES {
        headers.remove(name);
    }
}

/// Tells the origin whether it may set the price of a fetch. Nobody but us says so: the head must be the one that
/// [`to_origin`] made, for what `Connection` names is gone then, and could else name this.
pub(crate) fn tell_pricing(to_origin: &mut HeaderMap, pricing: Option<Pricing>) {
    const TO_ORIGIN: HeaderName = HeaderName::from_static(crawl_price::TO_ORIGIN);
    match pricing {
        Some(pricing) => {
            strip(to_origin, |name| name == crawl_price::TO_ORIGIN);
            to_origin.insert(TO_ORIGIN, HeaderValue::from_static(pricing.as_field()));
        }
        None => _ = to_origin.remove(TO_ORIGIN),
    }
}

/// The price that an origin sets is for us; a crawler hears of it in a 402, and nobody else does.
pub(crate) fn hide_price<B>(response: &mut Response<B>) {
    if response.status() != StatusCode::PAYMENT_REQUIRED {
        response.headers_mut().remove(HeaderName::from_static(crawl_price::PRICE));
    }
}

/// How requests are announced to origins, and what they may ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announce {
    /// Send `Forwarded` (RFC 7239).
    pub(crate) forwarded: bool,
    /// Send `Via`.
    pub(crate) via: Option<Via>,
    /// Protocols to which a client may switch.
    pub(crate) upgrades: Vec<String>,
}

/// The entry of `Via` for each version in which a request can come (RFC 9110 §7.6.3).
#[derive(Clone, Debug)]
pub(crate) struct Via {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// Entries under this name: a host with or without its port, or any other word.
    pub(crate) fn under(name: &str) -> Option<Via> {
        let is_word = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&b));
        let entry =
            |version: &str| HeaderValue::from_str(&format!("{version} {name}")).ok().filter(|_| is_word);
        Some(Via { http10: entry("1.0")?, http11: entry("1.1")?, http2: entry("2")? })
    }

    fn entry(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_10 => &self.http10,
            Version::HTTP_2 => &self.http2,
            _ => &self.http11,
        }
    }
}

/// Turns a client's request head into the one that goes to the origin.
pub(crate) fn to_origin(head: &mut request::Parts, target: &Target, peer: &Peer, announce: &Announce) {
    let headers = &mut head.headers;
    if headers.get_all(TE).iter().any(|te| te != "trailers") {
        let trailers = members(headers, TE).any(|name| name.eq_ignore_ascii_case(b"trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    // hyper answers 100-continue itself as soon as the origin side asks for the body.
    strip_hop_by_hop(headers, |name| name == "expect" || (is_hearsay(name) && !peer.trusted));
    if head.version >= Version::HTTP_2 {
        join_cookies(headers);
    }
    forwarded_fields(headers, target, peer, announce);
    if let Some(via) = &announce.via {
        headers.append(VIA, via.entry(head.version).clone());
    }
    if headers.get(HOST) != Some(&target.authority) {
        headers.insert(HOST, target.authority.clone());
    }
    // Where a fragment followed the host at once, `Uri` shows a slash and would write nothing.
    let path = match head.uri.path_and_query() {
        Some(path) if path.as_str() != "/" => path.clone(),
        _ => PathAndQuery::from_static("/"),
    };
    head.uri = http::Uri::from(path);
    head.version = Version::HTTP_11;
}

/// What a client says about itself and the way it came, which is a proxy's to say.
fn is_hearsay(name: &str) -> bool {
    match name.as_bytes()[0] {
        b'x' => name.starts_with("x-forwarded") || name == "x-real-ip",
        b'f' => name == "forwarded",
        _ => false,
    }
}

/// RFC 9113 §8.2.3: HTTP/2 may split cookies in several fields; an HTTP/1.1 origin gets one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for cookie in std::iter::once(second).chain(cookies) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn forwarded_fields(headers: &mut HeaderMap, target: &Target, peer: &Peer, announce: &Announce) {
    let scheme = if peer.https { "https" } else { "http" };
    let address = &peer.address_text;
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(list) => drop(list.insert(address.clone())),
        Entry::Occupied(mut list) => {
            let mut before = list.iter().fold(Vec::new(), |mut before, line| {
                before.extend_from_slice(line.as_bytes());
                before.extend_from_slice(b", ");
                before
            });
            before.extend_from_slice(address.as_bytes());
            drop(list.insert(value_of(before)));
        }
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST) && !target.authority.is_empty() {
        headers.insert(X_FORWARDED_HOST, target.authority.clone());
    }
    if announce.forwarded {
        let hop = peer.address;
        let node = if hop.is_ipv6() { format!("\"[{hop}]\"") } else { hop.to_string() };
        headers.append(
            FORWARDED,
            value_of(format!("for={node};host=\"{}\";proto={scheme}", target.authority())),
        );
    }
}

/// A value of bytes that are an address, a checked host, or were a value before.
pub(crate) fn value_of(bytes: impl Into<Vec<u8>>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(bytes.into())).expect("its parts may stand in a field")
}

/// The client behind trusted proxies: the right-most address of `X-Forwarded-For` that is not a trusted one.
///
/// Never the left-most: everything left of the first untrusted hop was written by strangers. What cannot be read ends the
/// search; to pass over it would be to believe what stands before it.
pub(crate) fn client_behind(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        if !is_trusted(client, trusted) {
            break;
        }
        match std::str::from_utf8(entry.trim_ascii()).ok().and_then(parse_node) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// Whether an address is one of the trusted proxies.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// An address as proxies write it: plain, `[v6]`, or with a port.
fn parse_node(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok().or_else(|| {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
            .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok())
    })?;
    Some(address.to_canonical())
}

/// Takes what a response must not carry over a hop.
pub(crate) fn to_client(head: &mut response::Parts) {
    strip_hop_by_hop(&mut head.headers, |_| false);
    head.version = Version::HTTP_11;
}

/// Takes from trailers what may only stand in a head: framing, routing, credentials, what says how a body is to be read,
/// and what is ours to say (RFC 9110 §6.5.1). Who merges trailers into a head would act on it unchecked.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers, |name| {
        belongs_to_one_hop(name)
            || is_hearsay(name)
            || matches!(
                name,
                "age"
                    | "authorization"
                    | "cache-control"
                    | "connection"
                    | "content-encoding"
                    | "content-length"
                    | "content-range"
                    | "content-type"
                    | "cookie"
                    | "crawler-charged"
                    | "crawler-error"
                    | "crawler-price"
                    | "date"
                    | "expect"
                    | "expires"
                    | "host"
                    | "location"
                    | "max-forwards"
                    | "pragma"
                    | "range"
                    | "retry-after"
                    | "set-cookie"
                    | "te"
                    | "trailer"
                    | "user-agent"
                    | "vary"
                    | "via"
                    | "warning"
                    | "www-authenticate"
            )
            || name.starts_with("if-")
            || name.starts_with("crawler-max-")
            || name.starts_with("crawler-exact-")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(https: bool) -> Peer {
        Peer::new(IpAddr::from([192, 0, 2, 1]), https, &[])
    }

    const LIMITS: Limits = Limits {
        connections: 1,
        connections_per_client: None,
        requests: 1,
        requests_per_client: 1,
        requests_per_site: 1,
        memory_bytes: None,
        head_bytes: 10_000,
        headers: 10,
        streams_per_connection: 1,
        hold_bytes: 1,
    };

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> request::Parts {
        build(http::Request::builder().uri("/a")).body(()).expect("a request").into_parts().0
    }

    fn why(parts: &request::Parts) -> String {
        check_request(parts, &LIMITS).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
    }

    /// `GET  HTTP/1.1`, without a target, is what an origin got of it.
    #[test]
    fn a_target_of_a_host_and_a_fragment_is_the_root() {
        for target in ["http://a.example#part", "http://a.example", "http://a.example/#part", "/"] {
            let mut head = head(|b| b.uri(target).header("host", "a.example"));
            let to = check_request(&head, &LIMITS).expect("a plain request");
            to_origin(&mut head, &to, &stranger(false), &Announce::default());
            assert_eq!(head.uri.to_string(), "/", "{target}");
        }
    }

    #[test]
    fn ambiguous_hosts_are_refused() {
        assert_eq!(why(&head(|b| b.header("host", "a.example"))), "accepted");
        assert_eq!(why(&head(|b| b.header("host", "[2001:db8::1]:8080"))), "accepted");
        assert_eq!(why(&head(|b| b)), "bad request: no Host");
        assert_eq!(why(&head(|b| b.header("host", ""))), "bad request: an empty Host");
        assert_eq!(
            why(&head(|b| b.header("host", "a").header("host", "b"))),
            "bad request: more than one Host"
        );
        for odd in
            ["a/b", "a@b", "a?b", "a#b", "a\\b", "a,b", "a b", "a:8o", "[::1", "[a.b]", "a:123456", "a\u{e9}"]
        {
            let said = why(&head(|b| b.header("host", odd)));
            assert!(said.starts_with("bad request: Host holds"), "{odd}: {said}");
        }
        let h2 = head(|b| b.version(Version::HTTP_2).uri("http://a.example/").header("host", "b.example"));
        assert_eq!(why(&h2), "bad request: :authority and host differ");
    }

    #[test]
    fn a_head_has_a_size() {
        let of = |bytes: usize| why(&head(|b| b.header("host", "a").header("x", "v".repeat(bytes))));
        assert_eq!(of(10_000 - 2 - "host: a\r\nx: \r\n".len()), "accepted");
        assert_eq!(of(10_000), "the request head is too long");
        let of =
            |fields: usize| why(&head(|b| (0..fields).fold(b.header("host", "a"), |b, n| b.header("x", n))));
        assert_eq!((of(9), of(10)), ("accepted".to_owned(), "the request head is too long".to_owned()));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (name, value, said) in [
            ("transfer-encoding", "gzip, chunked", "transfer coding not implemented"),
            ("transfer-encoding", ",chunked", "transfer coding not implemented"),
            ("content-length", "+5", "bad request: Content-Length is not a plain number"),
            ("content-length", "5, 5", "bad request: Content-Length is not a plain number"),
        ] {
            assert_eq!(why(&head(|b| b.header("host", "a").header(name, value))), said);
        }
        let both = head(|b| {
            b.header("host", "a").header("content-length", "5").header("transfer-encoding", "chunked")
        });
        assert_eq!(why(&both), "bad request: both Content-Length and Transfer-Encoding");
    }

    #[test]
    fn fields_of_one_hop_stay_there() {
        let mut parts = head(|b| {
            b.header("host", "a")
                .header("connection", "close, X-Secret, Host, content-length")
                .header("x-secret", "1")
                .header("content-length", "0")
                .header("keep-alive", "timeout=5")
                .header("proxy-authorization", "Basic eA==")
                .header("proxy", "http://evil.example")
                .header("proxy_status", "x")
                .header("content_length", "9")
                .header("x-kept", "1")
                .header("x_kept", "1")
        });
        strip_hop_by_hop(&mut parts.headers, |_| false);
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-kept", "x_kept"]);
    }

    /// RFC 9110 §10.1.4: TE speaks of the connection that it came on, but whoever takes trailers takes them from us as well.
    #[test]
    fn what_a_client_says_of_transfer_codings_ends_here_on_whatever_line() {
        for (lines, sent) in [
            (&["trailers"][..], &["trailers"][..]),
            (&["gzip"], &[]),
            (&["trailers", "gzip"], &["trailers"]),
            (&["gzip", "deflate;q=0.5, Trailers"], &["trailers"]),
            (&["trailers, gzip"], &["trailers"]),
        ] {
            let mut head =
                head(|b| lines.iter().fold(b.header("host", "a"), |b, line| b.header("te", *line)));
            let target = check_request(&head, &LIMITS).expect("a plain request");
            to_origin(&mut head, &target, &stranger(false), &Announce::default());
            assert_eq!(head.headers.get_all(TE).iter().collect::<Vec<_>>(), sent, "{lines:?}");
        }
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a net")];
        let client = |xff: &str, peer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_FORWARDED_FOR, HeaderValue::from_str(xff).expect("a value"));
            client_behind(&headers, peer.parse().expect("an address"), &trusted).to_string()
        };
        assert_eq!(client("1.1.1.1, 2.2.2.2, 10.0.0.9", "10.0.0.1"), "2.2.2.2");
        assert_eq!(client("1.1.1.1", "9.9.9.9"), "9.9.9.9");
        assert_eq!(client("1.1.1.1, junk", "10.0.0.1"), "10.0.0.1");
        assert_eq!(client("[2001:db8::7]:443", "10.0.0.1"), "2001:db8::7");
        // A proxy that writes into the last line alone: the line before it is the client's own.
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("6.6.6.6"));
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 9.9.9.9").expect("a value"));
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(client_behind(&headers, peer, &trusted).to_string(), "9.9.9.9");
        headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.9, \"\", 10.0.0.2"));
        assert_eq!(client_behind(&headers, peer, &trusted).to_string(), "10.0.0.2");
    }

    #[test]
    fn strangers_do_not_speak_for_others() {
        let mut parts = head(|b| {
            b.header("host", "a.example")
                .header("x-forwarded-for", "6.6.6.6")
                .header("x_forwarded_for", "7.7.7.7")
        });
        let target = check_request(&parts, &LIMITS).expect("a target");
        to_origin(&mut parts, &target, &stranger(true), &Announce::default());
        assert_eq!(parts.headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(parts.headers["x-forwarded-proto"], "https");
        assert_eq!(parts.headers["x-forwarded-host"], "a.example");
        assert!(!parts.headers.contains_key("x_forwarded_for"));
        assert!(!parts.headers.contains_key("forwarded"));
    }
}
