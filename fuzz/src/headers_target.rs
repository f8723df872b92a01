//! Message heads: what is accepted has one meaning, and leaves with nothing that belongs to one hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::Lines;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, Uri, Version, request, response};
use ipnet::IpNet;

use crate::config::Limits;
use crate::headers::{
    Announce, Via, check_request, check_response, client_behind, is_trusted, strip_trailers, to_client,
    to_origin, upgrade_asked,
};
use crate::peer::Peer;

/// A first line of flags, a request's head as it would stand on the wire, an empty line, and a response's.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let flags = lines.next().unwrap_or("");
    let flag = |name: char| flags.contains(name);
    let hop =
        if flag('6') { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)) };
    let announce = Announce {
        forwarded: flag('f'),
        via: flag('v').then(|| Via::under("byline").expect("a word")),
        upgrades: vec!["websocket".to_owned()],
    };
    let Some(head) = request(&mut lines) else { return };
    let asked = upgrade_asked(&head, &announce.upgrades);
    to_an_origin(head, hop, flag('t'), &announce);
    if let Some(head) = response(&mut lines) {
        to_a_client(head, asked.as_ref());
    }
}

fn to_an_origin(head: request::Parts, hop: IpAddr, trusted: bool, announce: &Announce) {
    behind(&head.headers, hop);
    let limits = Limits { headers: 100, head_bytes: 65_536 };
    let Ok(target) = check_request(&head, &limits) else { return };
    assert_eq!(target.host, target.host.to_ascii_lowercase());
    assert!(target.authority().bytes().all(|b| b.is_ascii_alphanumeric() || b"[]:.-_~".contains(&b)));
    let mut out = head.clone();
    let peer = Peer { trusted, ..Peer::new(hop, true, &[]) };
    to_origin(&mut out, &target, &peer, announce);

    assert_eq!(out.version, Version::HTTP_11);
    assert_eq!((out.uri.scheme(), out.uri.authority()), (None, None));
    assert_eq!(out.uri.path(), head.uri.path());
    assert_eq!(out.uri.query(), head.uri.query());
    assert_eq!(values(&out.headers, HOST.as_str()), [target.authority()]);
    nothing_of_one_hop(
        &head.headers,
        &out.headers,
        &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"],
    );
    assert!(values(&out.headers, "te").iter().all(|te| *te == "trailers"));
    for name in ["expect", "x_real_ip", "x_forwarded_for", "content_length", "transfer_encoding"] {
        assert!(!out.headers.contains_key(name), "{name}");
    }
    let lengths = values(&out.headers, CONTENT_LENGTH.as_str());
    assert!(
        lengths.len() <= 1 && lengths.iter().all(|length| length.as_bytes().iter().all(u8::is_ascii_digit))
    );

    let list = values(&out.headers, "x-forwarded-for");
    let [list] = list[..] else { panic!("{list:?}") };
    let list = list.as_bytes();
    let own = hop.to_string().into_bytes();
    assert!(if trusted { list.ends_with(&own) } else { list == own }, "{list:?}");
    if !trusted {
        assert!(!out.headers.contains_key("x-real-ip"));
        assert_eq!(values(&out.headers, "forwarded").len(), usize::from(announce.forwarded));
        assert_eq!(values(&out.headers, "x-forwarded-proto"), ["https"]);
    }

    // What concerns nobody on the way stays as it was.
    let concerns = |name: &str| {
        let joined = name == "cookie" && head.version >= Version::HTTP_2;
        joined || matches!(name, "host" | "te" | "via" | "forwarded") || name.starts_with("x-forwarded-")
    };
    for name in out.headers.keys().map(HeaderName::as_str).filter(|name| !concerns(name)) {
        assert_eq!(values(&out.headers, name), values(&head.headers, name), "{name}");
    }

    // The next proxy of the same kind has nothing left to object to, nor to take away.
    let again = check_request(&out, &Limits { headers: 200, head_bytes: 200_000 });
    assert!(again.is_ok() || target.authority().is_empty(), "{out:?}");

    let mut trailers = head.headers.clone();
    strip_trailers(&mut trailers);
    for name in ["host", "content-length", "transfer-encoding", "authorization", "cookie", "x-forwarded-for"]
    {
        assert!(!trailers.contains_key(name), "{name} in trailers");
    }
}

fn to_a_client(head: response::Parts, asked: Option<&HeaderValue>) {
    if check_response(&head, asked).is_err() {
        return;
    }
    assert!(head.status != 101 || asked.is_some());
    let mut out = head.clone();
    to_client(&mut out);
    nothing_of_one_hop(&head.headers, &out.headers, &[]);
    assert!(values(&out.headers, CONTENT_LENGTH.as_str()).len() <= 1);
    for name in out.headers.keys().map(HeaderName::as_str) {
        assert_eq!(values(&out.headers, name), values(&head.headers, name), "{name}");
    }
}

fn nothing_of_one_hop(before: &HeaderMap, after: &HeaderMap, ours: &[&str]) {
    for name in after.keys().map(HeaderName::as_str) {
        let known = ["connection", "keep-alive", "upgrade", "http2-settings", "transfer-encoding", "proxy"];
        assert!(!known.contains(&name) && !name.starts_with("proxy-"), "{name}");
    }
    for line in values(before, "connection") {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) else { continue };
            let stays = matches!(name.as_str(), "host" | "content-length" | "te" | "forwarded" | "via");
            assert!(stays || ours.contains(&name.as_str()) || !after.contains_key(&name), "{name}");
        }
    }
}

/// Whoever is taken for the client, nothing that strangers wrote made it so.
fn behind(headers: &HeaderMap, peer: IpAddr) {
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().expect("a network")).to_vec();
    let client = client_behind(headers, peer, &trusted);
    if !is_trusted(peer, &trusted) {
        assert_eq!(client, peer);
    }
    if !is_trusted(client, &trusted) {
        let mut longer = HeaderMap::new();
        longer.append("x-forwarded-for", HeaderValue::from_static("203.0.113.66, 10.9.9.9"));
        for value in headers.get_all("x-forwarded-for") {
            longer.append("x-forwarded-for", value.clone());
        }
        assert_eq!(client_behind(&longer, peer, &trusted), client, "what stands before changes nothing");
    }
}

fn values<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h HeaderValue> {
    headers.get_all(name).iter().collect()
}

fn request(lines: &mut Lines<'_>) -> Option<request::Parts> {
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let version = match words.next()? {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let uri: Uri = target.parse().ok()?;
    let mut head = Request::builder().method(method).uri(uri).version(version).body(()).ok()?.into_parts().0;
    head.headers = fields(lines)?;
    Some(head)
}

fn response(lines: &mut Lines<'_>) -> Option<response::Parts> {
    let status: u16 = lines.next()?.parse().ok()?;
    let mut head = Response::builder().status(status).body(()).ok()?.into_parts().0;
    head.headers = fields(lines)?;
    Some(head)
}

fn fields(lines: &mut Lines<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.trim_ascii().as_bytes()).ok()?);
    }
    Some(headers)
}
