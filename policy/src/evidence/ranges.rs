//! A published list of address ranges: read tolerantly, refused when it is not one, looked up fast.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

/// The longest text that is read as a list.
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most entries that a list may have.
pub const LIST_ENTRIES_MAX: usize = 100_000;
/// The widest entries that are believed. A list that names half the internet would verify everybody.
const PREFIX_V4_MIN: u8 = 8;
const PREFIX_V6_MIN: u8 = 16;
/// Nesting of a JSON document that is followed.
const DEPTH_MAX: usize = 16;

/// A published list of address ranges, as parsed.
///
/// Kept as sorted, disjoint intervals: a lookup is one binary search. IPv4-mapped IPv6 addresses count as IPv4, in the
/// list and in the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeList {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    entries: usize,
    created: Option<String>,
    local: bool,
}

impl RangeList {
    /// Reads a published list in any of the shapes that operators use.
    ///
    /// - JSON with objects in an array (`{"prefixes": [{"ipv4Prefix": "192.0.2.0/24"}]}`, `ip_prefix`, `cidr`, `ip` …);
    /// - JSON with texts in an array, at any depth;
    /// - lines, one address or range first on each, what follows a space, comma, `#`, `;` or `//` is not read.
    ///
    /// An address elsewhere in a JSON document (an error message that quotes the client's) does not count.
    ///
    /// # Errors
    /// A sentence that says what is wrong: an empty list, an entry that is no address, an entry wider than /8 (IPv4) or
    /// /16 (IPv6), more than 4 MiB or 100,000 entries, a page instead of a list.
    pub fn parse(text: &str) -> Result<RangeList, String> {
        if text.len() > LIST_BYTES_MAX {
            return Err(format!("the list is longer than {LIST_BYTES_MAX} bytes"));
        }
        let text = text.trim_start_matches('\u{feff}').trim();
        let mut found = Found::default();
        if text.starts_with('{') || text.starts_with('[') {
            let document: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
            found.created = created(&document);
            found.walk(&document, false, 0)?;
        } else if text.starts_with('<') {
            return Err("this is a page, not a list".to_owned());
        } else {
            found.lines(text)?;
        }
        if found.ranges.is_empty() {
            return Err("the list is empty".to_owned());
        }
        Ok(RangeList::build(&found.ranges, found.created))
    }

    /// The list of ranges that are at hand already.
    pub fn from_ranges(ranges: &[IpNet]) -> RangeList {
        RangeList::build(ranges, None)
    }

    fn build(ranges: &[IpNet], created: Option<String>) -> RangeList {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match normal_range(*range) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        let local = ranges.iter().any(|range| is_local(range.network()));
        RangeList { v4: merge(v4), v6: merge(v6), entries: ranges.len(), created, local }
    }

    /// Whether the address is in one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        match normal(address) {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        }
    }

    /// How many entries the list has, as published.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// When the operator says that the list was made, as it is written there.
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// Whether it names addresses that are not on the public internet, see [`is_local`].
    pub fn names_local(&self) -> bool {
        self.local
    }
}

/// Whether an address is outside the public internet: loopback, private, link-local, shared (RFC 6598), unique local.
///
/// No operator publishes such addresses, so that a list of public ranges says nothing about them.
pub fn is_local(address: IpAddr) -> bool {
    match normal(address) {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

/// Whether an address can be a server of the public internet: globally reachable unicast, by IANA's registries of special
/// addresses (RFC 6890). What carries an IPv4 address through NAT64 (`64:ff9b::/96`, RFC 6052) is what that address is; other
/// ways to write one address in another (6to4, Teredo) are not public.
///
/// It is stricter than the opposite of [`is_local`]: whoever sends us to an address must not reach what only we can.
pub fn is_public(address: IpAddr) -> bool {
    match normal(address) {
        IpAddr::V4(v4) => !matches!(
            v4.octets(),
            [0 | 10 | 127, ..]
                | [100, 64..=127, ..]
                | [169, 254, ..]
                | [172, 16..=31, ..]
                | [192, 0, 0 | 2, _]
                | [192, 88, 99, _]
                | [192, 168, ..]
                | [198, 18 | 19, ..]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
                | [224..=255, ..]
        ),
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public(IpAddr::V4((u32::from(high) << 16 | u32::from(low)).into()))
            }
            // IETF protocols, documentation, 6to4.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it is.
pub(crate) fn normal(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn normal_range(range: IpNet) -> IpNet {
    if let IpNet::V6(v6) = range
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.network().to_ipv4_mapped()
        && let Ok(net) = IpNet::new(IpAddr::V4(v4), v6.prefix_len() - 96)
    {
        return net;
    }
    range
}

/// What has been read so far.
#[derive(Default)]
struct Found {
    ranges: Vec<IpNet>,
    created: Option<String>,
}

impl Found {
    fn walk(&mut self, value: &Value, in_array: bool, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} deep"));
        }
        match value {
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::String(text) => self.entry(text)?,
                        _ => self.walk(item, true, depth + 1)?,
                    }
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    match field {
                        Value::String(text) if in_array && names_a_range(key) => self.entry(text)?,
                        Value::Array(_) | Value::Object(_) => self.walk(field, false, depth + 1)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn lines(&mut self, text: &str) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            let first =
                line.split(['#', ';', ',', ' ', '\t', '\r']).map(str::trim).find(|word| !word.is_empty());
            let comment = line.trim_start().starts_with(['#', ';']);
            if let (Some(word), false) = (first, comment) {
                self.entry(word).map_err(|error| format!("line {}: {error}", index + 1))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let range = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{:?} is not an address range", clip(text)))?;
        let range = normal_range(range.trunc());
        let narrowest = if range.addr().is_ipv4() { PREFIX_V4_MIN } else { PREFIX_V6_MIN };
        if range.prefix_len() < narrowest {
            return Err(format!("{range} is wider than /{narrowest}, too wide to be believed"));
        }
        if self.ranges.len() >= LIST_ENTRIES_MAX {
            return Err(format!("more than {LIST_ENTRIES_MAX} entries"));
        }
        self.ranges.push(range);
        Ok(())
    }
}

/// The keys under which operators write ranges, whatever their case and separators.
fn names_a_range(key: &str) -> bool {
    let plain: String =
        key.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    matches!(
        &*plain,
        "ipv4prefix"
            | "ipv6prefix"
            | "ipprefix"
            | "prefix"
            | "cidr"
            | "ip"
            | "ipaddress"
            | "ipv4"
            | "ipv6"
            | "subnet"
    )
}

fn created(document: &Value) -> Option<String> {
    let text =
        ["creationTime", "createDate", "created"].iter().find_map(|key| document.get(key)?.as_str())?;
    Some(clip(text).to_owned())
}

/// The first 64 characters.
fn clip(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

fn merge<T: Ord + Copy + Step>(mut intervals: Vec<(T, T)>) -> Vec<(T, T)> {
    intervals.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(intervals.len());
    for (start, end) in intervals {
        match merged.last_mut() {
            Some(last) if start <= last.1.next() => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn within<T: Ord + Copy>(intervals: &[(T, T)], address: T) -> bool {
    let after = intervals.partition_point(|(start, _)| *start <= address);
    after > 0 && address <= intervals[after - 1].1
}

/// The next number, staying at the last one.
trait Step {
    fn next(self) -> Self;
}

impl Step for u32 {
    fn next(self) -> u32 {
        self.saturating_add(1)
    }
}

impl Step for u128 {
    fn next(self) -> u128 {
        self.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn parse(text: &str) -> RangeList {
        RangeList::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn has(list: &RangeList, address: &str) -> bool {
        list.contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_public_address_is_nobodys_own() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "3fff:1000::1",
            "64:ff9b::101:101",
            "::ffff:8.8.8.8",
        ];
        let others = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.1.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for (addresses, expect) in [(&public[..], true), (&others, false)] {
            for text in addresses {
                let address: IpAddr = text.parse().expect("an address");
                assert_eq!(is_public(address), expect, "{text}");
                assert!(!(is_public(address) && is_local(address)), "{text} is local");
            }
        }
    }

    #[test]
    fn every_published_shape_is_read() {
        let shapes = [
            r#"{"creationTime":"2026-01-02T03:04:05.000000","prefixes":[{"ipv4Prefix":"192.0.2.0/24"},{"ipv6Prefix":"2001:db8::/48"}]}"#,
            r#"{"syncToken":"1","createDate":"2026-01-02-03-04-05","prefixes":[{"ip_prefix":"192.0.2.0/24","region":"x","service":"A"}],"ipv6_prefixes":[{"ipv6_prefix":"2001:db8::/48"}]}"#,
            r#"["192.0.2.0/24", "2001:db8::/48"]"#,
            r#"{"ips":[{"ip_address":"192.0.2.7"},{"ip_address":"192.0.2.1"},{"ip_address":"2001:db8::1"}]}"#,
            r#"{"synthetics":{"prefixes_ipv4":["192.0.2.0/24"],"prefixes_ipv6":["2001:db8::/48"]}}"#,
            "# crawlers\r\n192.0.2.0/24\r\n2001:db8::/48 ; both\r\n",
            "192.0.2.0/24,US,US-CA,Somewhere,\n2001:db8::/48,US,,,\n// end\n",
            "\u{feff}[[\"192.0.2.0/24\"],[\"2001:db8::/48\"]]",
        ];
        for shape in shapes {
            let list = parse(shape);
            assert!(has(&list, "192.0.2.7"), "{shape}");
            assert!(has(&list, "2001:db8::1"), "{shape}");
            assert!(!has(&list, "192.0.3.7") && !has(&list, "2001:db9::1"), "{shape}");
        }
        assert_eq!(parse(shapes[0]).created(), Some("2026-01-02T03:04:05.000000"));
        assert_eq!(parse(shapes[1]).created(), Some("2026-01-02-03-04-05"));
        assert_eq!(parse(shapes[0]).entries(), 2);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let cases = [
            ("", "empty"),
            ("# nothing\n\n", "empty"),
            ("[]", "empty"),
            (r#"{"prefixes":[]}"#, "empty"),
            // An error document that quotes the client's own address must not become the list.
            (r#"{"error":"blocked","ip":"192.0.2.9"}"#, "empty"),
            ("<!doctype html><p>192.0.2.0/24</p>", "page"),
            (r#"{"prefixes":[{"ipv4Prefix":"192.0.2.0/24"}"#, "not JSON"),
            (r#"{"prefixes":[{"ipv4Prefix":"192.0.2.0/33"}]}"#, "not an address range"),
            (r#"["192.0.2.0/24","soon"]"#, "not an address range"),
            ("192.0.2.0/24\nService unavailable\n", "line 2"),
            ("0.0.0.0/0", "too wide"),
            ("128.0.0.0/1", "too wide"),
            ("::/0", "too wide"),
            ("::ffff:0:0/96", "too wide"),
        ];
        for (text, expect) in cases {
            let error = RangeList::parse(text).expect_err(text);
            assert!(error.contains(expect), "{text}: {error}");
        }
        let deep = format!("{}\"192.0.2.1\"{}", "[".repeat(60), "]".repeat(60));
        assert!(RangeList::parse(&deep).expect_err("deep").contains("deep"));
        let long = "192.0.2.1\n".repeat(LIST_BYTES_MAX / 10 + 1);
        assert!(RangeList::parse(&long).expect_err("long").contains("longer"));
        let many = "192.0.2.1\n".repeat(LIST_ENTRIES_MAX + 1);
        assert!(RangeList::parse(&many).expect_err("many").contains("entries"));
    }

    #[test]
    fn edges_overlaps_and_mapped_addresses() {
        let list = parse(
            "10.1.0.0/16\n10.1.2.3\n10.2.0.0/16\n255.255.255.255\n::ffff:192.0.2.0/120\n198.51.100.7/24",
        );
        for inside in
            ["10.1.0.0", "10.1.255.255", "10.2.0.0", "10.2.255.255", "255.255.255.255", "192.0.2.255"]
        {
            assert!(has(&list, inside), "{inside}");
            let mapped = IpAddr::V6(inside.parse::<Ipv4Addr>().expect("IPv4").to_ipv6_mapped());
            assert!(list.contains(mapped), "{mapped}");
        }
        assert!(has(&list, "198.51.100.1"), "host bits do not narrow a range");
        for outside in
            ["10.0.255.255", "10.3.0.0", "255.255.255.254", "192.0.1.255", "192.0.3.0", "::", "::1"]
        {
            assert!(!has(&list, outside), "{outside}");
        }
        assert!(list.names_local());
        assert!(!parse("192.0.2.0/24").names_local());
        let edge = parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert!(edge.contains(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))));
    }

    #[test]
    fn local_addresses_are_told_from_public_ones() {
        for local in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_local(local.parse().expect("an address")), "{local}");
        }
        for public in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1", "8.8.8.8"] {
            assert!(!is_local(public.parse().expect("an address")), "{public}");
        }
    }
}
