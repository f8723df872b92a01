//! The `https` URLs that name keys: read strictly, in one spelling.

use std::fmt;

use crate::work::{hex, push_encoded};

/// Bytes of a URL that names keys.
pub const URL_BYTES_MAX: usize = 2_048;

/// An absolute `https` URL in the one spelling of RFC 3986 section 6.2.2 and 6.2.3, without a fragment.
///
/// Whether its host may be asked is not known here: that depends on the address to which its name leads, and is checked
/// where the connection is made.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpsUrl {
    /// The URL; with its query.
    text: String,
    authority_end: usize,
    path_end: usize,
}

/// Why a text is not such a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Longer than [`URL_BYTES_MAX`].
    #[error("longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("not an https URL")]
    NotHttps,
    /// A user name, which makes hosts look like others.
    #[error("it has user information")]
    UserInformation,
    /// Not a host name or an address in its usual form.
    #[error("its host is not a host name")]
    Host,
    /// Not a port.
    #[error("its port is not a port")]
    Port,
    /// A character that no URL has, or a `%` without its two digits.
    #[error("it has a character that no URL has")]
    Character,
}

const SCHEME: &str = "https://";

impl HttpsUrl {
    /// Reads a URL and normalises it: scheme, host and escapes in one case, no escapes without need, no dot segments, no
    /// port 443, no fragment, `/` for an empty path.
    pub fn parse(text: &str) -> Result<HttpsUrl, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let rest = match text.get(..SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
            _ => return Err(UrlError::NotHttps),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_end);
        let (path, query) = match after.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (after, None),
        };
        let mut normal = String::with_capacity(SCHEME.len() + rest.len() + 1);
        normal.push_str(SCHEME);
        push_authority(authority, &mut normal)?;
        let authority_end = normal.len();
        push_escapes(path, &mut normal)?;
        let is_dots = |segment: &str| matches!(segment, "." | "..");
        if path.is_empty() || normal[authority_end..].split('/').any(is_dots) {
            let path = without_dot_segments(&normal[authority_end..]);
            normal.replace_range(authority_end.., &path);
        }
        let path_end = normal.len();
        if let Some(query) = query {
            normal.push('?');
            push_escapes(query, &mut normal)?;
        }
        Ok(HttpsUrl { text: normal, authority_end, path_end })
    }

    /// The URL to fetch.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL without its query: what names an agent.
    pub fn without_query(&self) -> &str {
        &self.text[..self.path_end]
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.text[..self.authority_end]
    }

    /// Host, and port unless it is 443.
    pub fn authority(&self) -> &str {
        &self.text[SCHEME.len()..self.authority_end]
    }

    /// Path.
    pub fn path(&self) -> &str {
        &self.text[self.authority_end..self.path_end]
    }

    /// Whether it is nothing but an origin: no path but `/`, no query.
    pub fn is_origin(&self) -> bool {
        self.path() == "/" && self.path_end == self.text.len()
    }

    /// The same origin with another path, which must begin with `/` and be normal.
    pub(super) fn with_path(&self, path: &str) -> HttpsUrl {
        let text = format!("{}{path}", self.origin());
        HttpsUrl { path_end: text.len(), text, authority_end: self.authority_end }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_authority(authority: &str, normal: &mut String) -> Result<(), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInformation);
    }
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, ""),
    };
    match host.strip_prefix('[') {
        // One spelling of the address, so that no two texts are one host.
        Some(address) => {
            let address = address.strip_suffix(']').ok_or(UrlError::Host)?;
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
            normal.push_str(&format!("[{address}]"));
        }
        None => push_name(host, normal)?,
    }
    if port.is_empty() {
        return Ok(());
    }
    let number: u16 = match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => port.parse().map_err(|_| UrlError::Port)?,
        false => return Err(UrlError::Port),
    };
    match number {
        0 => Err(UrlError::Port),
        443 => Ok(()),
        number => {
            normal.push_str(&format!(":{number}"));
            Ok(())
        }
    }
}

fn push_name(host: &str, normal: &mut String) -> Result<(), UrlError> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(UrlError::Host);
    }
    // `2130706433`, `0x7f.1` and `127.1` are addresses to some resolvers: only the usual form of four numbers is taken.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"))
            && last[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(UrlError::Host);
    }
    let start = normal.len();
    normal.push_str(name);
    normal[start..].make_ascii_lowercase();
    Ok(())
}

/// Appends a text, the escapes of unreserved characters undone, the others in capitals.
fn push_escapes(text: &str, normal: &mut String) -> Result<(), UrlError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().as_ref().and_then(hex);
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(UrlError::Character) };
                let code = high << 4 | low;
                if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
                    normal.push(char::from(code));
                } else {
                    push_encoded(normal, code);
                }
            }
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(&byte) => normal.push(char::from(byte)),
            _ => return Err(UrlError::Character),
        }
    }
    Ok(())
}

/// RFC 3986 section 5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Result<String, UrlError> {
        HttpsUrl::parse(text).map(|url| url.as_str().to_owned())
    }

    #[test]
    fn one_spelling_of_each_url() {
        for (text, expected) in [
            ("https://bot.example", "https://bot.example/"),
            ("HTTPS://Bot.Example:443/#keys", "https://bot.example/"),
            ("https://bot.example./a/../b/./c/..", "https://bot.example/b/"),
            ("https://bot.example/%7Euser/%2f%c3", "https://bot.example/~user/%2F%C3"),
            ("https://bot.example:8443?a=%41", "https://bot.example:8443/?a=A"),
            ("https://bot.example/../../x", "https://bot.example/x"),
            ("https://[2001:DB8:0::1]/k", "https://[2001:db8::1]/k"),
            ("https://192.0.2.7/k", "https://192.0.2.7/k"),
        ] {
            assert_eq!(normal(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_mislead_is_no_url() {
        for (text, expected) in [
            ("http://bot.example/", UrlError::NotHttps),
            ("data:application/json,{}", UrlError::NotHttps),
            ("//bot.example/", UrlError::NotHttps),
            ("https://good.example@evil.example/", UrlError::UserInformation),
            ("https://2130706433/", UrlError::Host),
            ("https://0x7f.1/", UrlError::Host),
            ("https://127.1/", UrlError::Host),
            ("https://[::1/", UrlError::Host),
            ("https:///path", UrlError::Host),
            ("https://a..b/", UrlError::Host),
            ("https://b\u{fc}cher.example/", UrlError::Host),
            ("https://bot.example:0/", UrlError::Port),
            ("https://bot.example:65536/", UrlError::Port),
            ("https://bot.example:+443/", UrlError::Port),
            ("https://bot.example/\\..\\x", UrlError::Character),
            ("https://bot.example/%2", UrlError::Character),
            ("https://bot.example/a b", UrlError::Character),
        ] {
            assert_eq!(normal(text), Err(expected), "{text}");
        }
        assert_eq!(normal(&format!("https://bot.example/{}", "a".repeat(2_048))), Err(UrlError::TooLong));
    }
}
