//! Message heads: what is ambiguous is refused, what belongs to one hop stays there, and who stands behind us is told.
//!
//! hyper parses; these rules cover what a parser lets through and a proxy must not (RFC 9110 §7.6, RFC 9112 §3.2, §6).

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, StatusCode, Version, request, response};
use ipnet::IpNet;

use crate::error::FetchError;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The host that a request is for, as it may be trusted: lower case, checked, one of a kind.
pub(crate) struct Target {
    /// Host and port as the client wrote them, checked.
    pub(crate) authority: String,
    /// The host alone, lower case, for finding the site.
    pub(crate) host: String,
}

/// Checks a request head for everything that two readers could read in two ways, and finds the host it is for.
pub(crate) fn check_request(head: &request::Parts) -> Result<Target, FetchError> {
    if head.method == Method::CONNECT {
        return Err(FetchError::ConnectRefused);
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
    let host = host_of(&authority)?.to_ascii_lowercase();
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
fn authority(head: &request::Parts) -> Result<String, FetchError> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(FetchError::BadRequest { why: "more than one Host" });
    }
    let host = match host.map(HeaderValue::to_str) {
        Some(Err(_)) => return Err(FetchError::BadRequest { why: "Host is not ASCII" }),
        Some(Ok(host)) => Some(host),
        None => None,
    };
    match (head.uri.authority().map(Authority::as_str), host) {
        (Some(target), Some(host))
            if head.version >= Version::HTTP_2 && !target.eq_ignore_ascii_case(host) =>
        {
            Err(FetchError::BadRequest { why: ":authority and host differ" })
        }
        (Some(_), None) if head.version == Version::HTTP_11 => Err(FetchError::BadRequest { why: "no Host" }),
        (Some(target), _) => Ok(target.to_owned()),
        (None, Some(host)) => Ok(host.to_owned()),
        (None, None) if head.version == Version::HTTP_10 => Ok(String::new()),
        (None, None) => Err(FetchError::BadRequest { why: "no Host" }),
    }
}

/// The host of an authority whose every character may stand in one (RFC 3986 §3.2.2, without userinfo).
fn host_of(authority: &str) -> Result<&str, FetchError> {
    let bad = FetchError::BadRequest { why: "Host holds characters that no host has" };
    let (host, port) = if authority.starts_with('[') {
        let Some(end) = authority.find(']') else { return Err(bad) };
        if !authority[1..end].bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.') {
            return Err(bad);
        }
        (&authority[..=end], &authority[end + 1..])
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
        if !authority[..end].bytes().all(plain) {
            return Err(bad);
        }
        (&authority[..end], &authority[end..])
    };
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => {
            digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    if port_is_fine { Ok(host.strip_suffix('.').unwrap_or(host)) } else { Err(bad) }
}

/// Checks an origin's response head: nothing ambiguous goes on to a client, and no switch that nobody asked for.
pub(crate) fn check_response(head: &response::Parts, upgrade_asked: bool) -> Result<(), &'static str> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !upgrade_asked {
        return Err("101 without an upgrade in the request");
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

/// The protocol that a client asks to switch to, if its request does so properly (HTTP/1.1, both fields).
/// `h2c` is not offered: prior knowledge is how HTTP/2 starts here.
pub(crate) fn upgrade_asked(head: &request::Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 || !names_in(&head.headers, CONNECTION).any(|name| name == "upgrade")
    {
        return None;
    }
    let protocol = head.headers.get(UPGRADE)?;
    let plain = protocol.to_str().ok()?;
    let lists_h2c = plain.split(',').any(|name| name.trim().eq_ignore_ascii_case("h2c"));
    (!lists_h2c).then(|| protocol.clone())
}

fn names_in(headers: &HeaderMap, field: HeaderName) -> impl Iterator<Item = String> + '_ {
    let values = headers.get_all(field).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase())
}

/// Removes what belongs to one connection (RFC 9110 §7.6.1), named in `Connection` or known.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            names_in(headers, CONNECTION).filter_map(|name| name.parse().ok()).collect();
        for name in named {
            // Framing and routing never leave by a list that the sender wrote: that would change the message.
            if name != HOST && name != CONTENT_LENGTH && name != TE && name != TRANSFER_ENCODING {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        UPGRADE,
        HTTP2_SETTINGS,
        TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
}

/// Fields by which some origins take another path or method than the request line's. From an identified crawler they
/// would move a fetch past its rule.
pub(crate) fn strip_overrides(headers: &mut HeaderMap) {
    const OVERRIDES: [&str; 5] =
        ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];
    for name in OVERRIDES {
        headers.remove(name);
    }
    strip_folded(headers, |dashed| OVERRIDES.contains(&dashed));
}

/// Removes fields whose names hold `_` where the listed ones hold `-`: many servers take the two for the same.
fn strip_folded(headers: &mut HeaderMap, listed: impl Fn(&str) -> bool) {
    if headers.keys().any(|name| name.as_str().contains('_')) {
        let folded: Vec<HeaderName> = headers
            .keys()
            .filter(|name| name.as_str().contains('_') && listed(&name.as_str().replace('_', "-")))
            .cloned()
            .collect();
        for name in folded {
            headers.remove(name);
        }
    }
}

/// Prices are ours to name: an origin's own price fields do not reach a crawler on an answer that we charge.
pub(crate) fn strip_prices(headers: &mut HeaderMap) {
    for name in ["crawler-price", "crawler-charged", "crawler-error"] {
        headers.remove(name);
    }
}

/// How requests are announced to origins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announce {
    /// Send `Forwarded` (RFC 7239).
    pub(crate) forwarded: bool,
    /// Send `Via` under this name.
    pub(crate) via: Option<HeaderValue>,
}

/// Turns a client's request head into the one that goes to the origin.
pub(crate) fn to_origin(
    head: &mut request::Parts,
    target: &Target,
    hop: IpAddr,
    trusted: bool,
    https: bool,
    announce: &Announce,
) {
    let trailers = names_in(&head.headers, TE).any(|name| name == "trailers");
    strip_hop_by_hop(&mut head.headers);
    head.headers.remove(TE);
    if trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // hyper answers 100-continue itself as soon as the origin side asks for the body.
    head.headers.remove(EXPECT);
    if head.version >= Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    forwarded_fields(&mut head.headers, target, hop, trusted, https, announce);
    if let Some(via) = &announce.via {
        head.headers.append(VIA, via.clone());
    }
    if !target.authority.is_empty()
        && head.headers.get(HOST).is_none_or(|host| host.as_bytes() != target.authority.as_bytes())
        && let Ok(host) = HeaderValue::from_str(&target.authority)
    {
        head.headers.insert(HOST, host);
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = http::Uri::from(path);
    head.version = Version::HTTP_11;
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

fn forwarded_fields(
    headers: &mut HeaderMap,
    target: &Target,
    hop: IpAddr,
    trusted: bool,
    https: bool,
    announce: &Announce,
) {
    // The spelling with `_` would be a way around the rule below.
    strip_folded(headers, |dashed| dashed.starts_with("x-forwarded-") || dashed == "x-real-ip");
    let scheme = if https { "https" } else { "http" };
    let address = hop.to_string();
    if !trusted {
        for name in [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP, FORWARDED] {
            headers.remove(name);
        }
    }
    let list = match joined(headers, &X_FORWARDED_FOR) {
        Some(before) => format!("{before}, {address}"),
        None => address.clone(),
    };
    if let Ok(list) = HeaderValue::from_str(&list) {
        headers.insert(X_FORWARDED_FOR, list);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && !target.authority.is_empty()
        && let Ok(host) = HeaderValue::from_str(&target.authority)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if announce.forwarded {
        let node = if hop.is_ipv6() { format!("\"[{address}]\"") } else { address };
        let element = format!("for={node};host=\"{}\";proto={scheme}", target.authority);
        if let Ok(element) = HeaderValue::from_str(&element) {
            headers.append(FORWARDED, element);
        }
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> =
        headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The client behind trusted proxies: the right-most address of `X-Forwarded-For` that is not a trusted one.
///
/// Never the left-most: everything left of the first untrusted hop was written by strangers.
pub(crate) fn client_behind(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let Some(list) = joined(headers, &X_FORWARDED_FOR) else { return client };
    for entry in list.rsplit(',') {
        if !is_trusted(client, trusted) {
            break;
        }
        match parse_node(entry.trim()) {
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
    strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> request::Parts {
        build(http::Request::builder().uri("/a")).body(()).expect("a request").into_parts().0
    }

    fn why(parts: &request::Parts) -> String {
        check_request(parts).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
    }

    #[test]
    fn ambiguous_hosts_are_refused() {
        assert_eq!(why(&head(|b| b.header("host", "a.example"))), "accepted");
        assert_eq!(why(&head(|b| b.header("host", "[2001:db8::1]:8080"))), "accepted");
        assert_eq!(why(&head(|b| b)), "bad request: no Host");
        assert_eq!(
            why(&head(|b| b.header("host", "a").header("host", "b"))),
            "bad request: more than one Host"
        );
        for odd in ["a/b", "a@b", "a?b", "a#b", "a\\b", "a,b", "a b", "a:8o", "[::1", "a:123456"] {
            let said = why(&head(|b| b.header("host", odd)));
            assert!(said.starts_with("bad request: Host holds"), "{odd}: {said}");
        }
        let h2 = head(|b| b.version(Version::HTTP_2).uri("http://a.example/").header("host", "b.example"));
        assert_eq!(why(&h2), "bad request: :authority and host differ");
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
                .header("x-kept", "1")
        });
        strip_hop_by_hop(&mut parts.headers);
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-kept"]);
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
    }

    #[test]
    fn strangers_do_not_speak_for_others() {
        let mut parts = head(|b| {
            b.header("host", "a.example")
                .header("x-forwarded-for", "6.6.6.6")
                .header("x_forwarded_for", "7.7.7.7")
        });
        let target = check_request(&parts).expect("a target");
        let client: IpAddr = "9.9.9.9".parse().expect("an address");
        to_origin(&mut parts, &target, client, false, true, &Announce::default());
        assert_eq!(parts.headers["x-forwarded-for"], "9.9.9.9");
        assert_eq!(parts.headers["x-forwarded-proto"], "https");
        assert_eq!(parts.headers["x-forwarded-host"], "a.example");
        assert!(!parts.headers.contains_key("x_forwarded_for"));
        assert!(!parts.headers.contains_key("forwarded"));
    }
}
