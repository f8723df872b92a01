//! The message that a signature is about, as it was received.

use std::borrow::Cow;

/// A field line: its name, in any case, and its value as received.
pub type Field<'a> = (&'a str, &'a [u8]);

/// A request as received, before any of it is rewritten.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method, as sent; it is case-sensitive.
    pub method: &'a str,
    /// Scheme that the client used: behind a proxy that ends TLS still `https`.
    pub scheme: &'a str,
    /// `Host` or `:authority`, as sent.
    pub authority: &'a str,
    /// Request target as sent: of the request line in HTTP/1.1, `:path` in HTTP/2 (`:authority` for CONNECT).
    pub target: &'a str,
    /// Field lines in their order.
    pub fields: &'a [Field<'a>],
    /// Trailer field lines in their order.
    pub trailers: &'a [Field<'a>],
}

/// A response, and the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Status code.
    pub status: u16,
    /// Field lines in their order.
    pub fields: &'a [Field<'a>],
    /// Trailer field lines in their order.
    pub trailers: &'a [Field<'a>],
    /// What was asked, for components with `;req`.
    pub request: Option<&'a Request<'a>>,
}

/// Either of them.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// A request.
    Request(&'a Request<'a>),
    /// A response.
    Response(&'a Response<'a>),
}

impl<'a> Message<'a> {
    /// Its field lines.
    pub fn fields(self) -> &'a [Field<'a>] {
        match self {
            Message::Request(request) => request.fields,
            Message::Response(response) => response.fields,
        }
    }

    /// Its trailer field lines.
    pub fn trailers(self) -> &'a [Field<'a>] {
        match self {
            Message::Request(request) => request.trailers,
            Message::Response(response) => response.trailers,
        }
    }
}

impl<'a> Request<'a> {
    /// Path and query within the target, as sent; `None` if the target has no path (`*`, or the authority of a CONNECT).
    pub(super) fn path_and_query(&self) -> Option<(&'a str, Option<&'a str>)> {
        let in_path = if self.target.starts_with('/') {
            self.target
        } else {
            let (_, after_scheme) = self.target.split_once("://")?;
            let end = after_scheme.find(['/', '?']).unwrap_or(after_scheme.len());
            &after_scheme[end..]
        };
        match in_path.split_once('?') {
            Some((path, query)) => Some((path, Some(query))),
            None => Some((in_path, None)),
        }
    }

    /// Appends the host in lower case, and the port unless it is the scheme's own (section 2.2.3).
    pub(super) fn push_authority(&self, base: &mut String) {
        let own_port = match self.scheme {
            scheme if scheme.eq_ignore_ascii_case("https") => Some(":443"),
            scheme if scheme.eq_ignore_ascii_case("http") => Some(":80"),
            _ => None,
        };
        let host = own_port
            .and_then(|port| self.authority.strip_suffix(port).or_else(|| self.authority.strip_suffix(':')))
            // An address without brackets has colons, and no port.
            .filter(|host| !host.contains(':') || host.ends_with(']'));
        push_lowercase(host.unwrap_or(self.authority), base);
    }
}

/// Appends a text in lower case.
pub(super) fn push_lowercase(text: &str, base: &mut String) {
    let start = base.len();
    base.push_str(text);
    base[start..].make_ascii_lowercase();
}

/// The lines of a field, each trimmed, with obsolete line folding made a space (section 2.1); empty if there is none.
pub(super) fn lines<'a>(fields: &'a [Field<'a>], name: &str) -> Vec<Cow<'a, [u8]>> {
    fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| line(value))
        .collect()
}

fn line(value: &[u8]) -> Cow<'_, [u8]> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let value = &value[start..end];
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let mut unfolded: Vec<u8> = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(newline) = rest.iter().position(|&byte| byte == b'\n') {
        let is_fold = matches!(rest.get(newline + 1), Some(b' ' | b'\t'));
        let before = rest[..newline].strip_suffix(b"\r").unwrap_or(&rest[..newline]);
        if is_fold {
            let kept = before.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
            unfolded.extend_from_slice(&before[..kept]);
            unfolded.push(b' ');
            let after = &rest[newline + 1..];
            rest =
                &after[after.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(after.len())..];
        } else {
            // Not folding but a line of its own, which no value may hold: kept, so that it is refused.
            unfolded.extend_from_slice(&rest[..=newline]);
            rest = &rest[newline + 1..];
        }
    }
    unfolded.extend_from_slice(rest);
    Cow::Owned(unfolded)
}

/// The lines of a field joined by `, ` (RFC 9110 section 5.3), or `None` if there is none.
pub(crate) fn joined<'a>(fields: &'a [Field<'a>], name: &str) -> Option<Cow<'a, [u8]>> {
    let mut lines =
        fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| line(value));
    let first = lines.next()?;
    Some(lines.fold(first, |joined, line| {
        let mut joined = joined.into_owned();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(&line);
        Cow::Owned(joined)
    }))
}
