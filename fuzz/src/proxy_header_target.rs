//! The PROXY header: read the same however it arrives, and never longer or other than it is.

use std::net::IpAddr;

use crate::proxy_header::{BYTES_MAX, parse};

pub(crate) fn run(input: &[u8]) {
    let Ok(Some((length, address))) = parse(input) else { return };
    assert!(0 < length && length <= input.len() && length <= BYTES_MAX);

    // Byte by byte it is not whole any earlier, and no other answer comes before.
    for end in 0..length {
        let early = parse(&input[..end]);
        assert!(matches!(early, Ok(None)), "{early:?} after {end} of {length} bytes");
    }
    // What follows it is the client's.
    assert_eq!(parse(&input[..length]).expect("valid"), Some((length, address)));
    let longer = [&input[..length], b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(parse(&longer).expect("valid"), Some((length, address)));

    let header = &input[..length];
    if let Some(text) = header.strip_prefix(b"PROXY ") {
        // Of a client that is unknown the rest of the line says nothing, in whatever characters.
        let text = String::from_utf8_lossy(text);
        let text = text.strip_suffix("\r\n").expect("it ends with its line");
        assert!(length <= 107, "{text:?}");
        let mut words = text.split(' ');
        match (words.next(), address) {
            (Some("TCP4"), Some(IpAddr::V4(_))) | (Some("TCP6"), Some(IpAddr::V6(_))) => {
                assert_eq!(words.next().and_then(|word| word.parse().ok()), address);
                assert_eq!(words.count(), 3, "{text:?}");
            }
            (Some("UNKNOWN"), None) => {}
            _ => panic!("{address:?} in {text:?}"),
        }
    } else {
        assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        assert_eq!(length, 16 + usize::from(u16::from_be_bytes([header[14], header[15]])));
        let stated = match (header[12] & 0x0f, header[13] >> 4) {
            (1, 1) => Some(IpAddr::from(<[u8; 4]>::try_from(&header[16..20]).expect("four bytes"))),
            (1, 2) => Some(IpAddr::from(<[u8; 16]>::try_from(&header[16..32]).expect("sixteen bytes"))),
            _ => None,
        };
        assert_eq!(address, stated);
    }
}
