//! The PROXY header, versions 1 and 2, with which a load balancer introduces a client.

use std::io;
use std::net::IpAddr;

use ppp::{v1, v2};

/// The longest header that is read: v1 has at most 107 bytes, v2 16 and what its length says.
pub(crate) const BYTES_MAX: usize = 1024;
const V1_BYTES_MAX: usize = 107;

/// Reads the header at the beginning of what has come so far: its length, and the client's address unless it names none
/// (`LOCAL`, `UNKNOWN`). `None`: more must come to tell.
pub(crate) fn parse(begun: &[u8]) -> io::Result<Option<(usize, Option<IpAddr>)>> {
    match begun.first() {
        None => Ok(None),
        Some(b'P') => parse_v1(begun),
        Some(_) => parse_v2(begun),
    }
}

/// Version 1 is a line of text. The parser sees only a whole one: of some beginnings it says not that they are
/// beginnings, but that they are wrong.
fn parse_v1(begun: &[u8]) -> io::Result<Option<(usize, Option<IpAddr>)>> {
    let line = &begun[..begun.len().min(V1_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        let may_be =
            line.len() < V1_BYTES_MAX && line.iter().zip(b"PROXY ").all(|(came, prefix)| came == prefix);
        return if may_be { Ok(None) } else { Err(invalid("not a PROXY header")) };
    };
    let header = v1::Header::try_from(&begun[..end + 2]).map_err(invalid)?;
    let address = match header.addresses {
        v1::Addresses::Tcp4(tcp) => Some(IpAddr::V4(tcp.source_address)),
        v1::Addresses::Tcp6(tcp) => Some(IpAddr::V6(tcp.source_address)),
        v1::Addresses::Unknown => None,
    };
    Ok(Some((end + 2, address)))
}

fn parse_v2(begun: &[u8]) -> io::Result<Option<(usize, Option<IpAddr>)>> {
    let header = match v2::Header::try_from(begun) {
        Ok(header) => header,
        // How long it will be is told before it is there.
        Err(v2::ParseError::Partial(_, rest)) if 16 + rest > BYTES_MAX => return Err(invalid("too long")),
        Err(v2::ParseError::Partial(..) | v2::ParseError::Incomplete(_)) => return Ok(None),
        Err(error) => return Err(invalid(error)),
    };
    if header.len() > BYTES_MAX {
        return Err(invalid("too long"));
    }
    let address = match header.addresses {
        v2::Addresses::IPv4(pair) => Some(IpAddr::V4(pair.source_address)),
        v2::Addresses::IPv6(pair) => Some(IpAddr::V6(pair.source_address)),
        _ => None,
    };
    // `LOCAL` is the proxy's own health check: whatever address it carries means nothing.
    Ok(Some((header.len(), address.filter(|_| header.command != v2::Command::Local))))
}

fn invalid(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PROXY header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load balancer may send it in several segments. `ppp` takes the port that is not there yet for a wrong one.
    #[test]
    fn a_header_in_pieces_is_awaited_whatever_the_piece() {
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02";
        for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"[..], b"PROXY UNKNOWN\r\n", v2] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]).unwrap(), None, "{end} bytes of {header:?}");
            }
            let address = (!header.ends_with(b"UNKNOWN\r\n")).then(|| "192.0.2.1".parse().unwrap());
            let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed).unwrap(), Some((header.len(), address)));
        }
    }

    #[test]
    fn what_is_no_header_is_not_awaited_for_long() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 107]].concat();
        let promise = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x40\0";
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PUT", b"PROXY\r\n", &long, promise] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
