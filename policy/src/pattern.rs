//! Patterns of hosts and media types, each with its rank: the narrower one wins.

/// Which hosts a rule, a work or a site is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HostPattern {
    /// Any host.
    Any,
    /// `*.example.com`: every name below, at any depth, on any port. Holds `.example.com`.
    Below(String),
    /// `example.com`, on any port.
    Name(String),
    /// `example.com:8080`.
    NameAndPort(String),
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, as half a sentence.
    pub(crate) fn parse(text: &str) -> Result<HostPattern, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        if name.contains('*') {
            return Err("a host's only wildcard is a leading `*.`".to_owned());
        }
        if name.contains("://") || name.contains('/') {
            return Err("a host is a name, without scheme and path".to_owned());
        }
        if !name.is_ascii() {
            return Err("a host is written in ASCII (`xn--…`), as it stands in requests".to_owned());
        }
        let canonical = crate::work::canonical_host("", name).map_err(str::to_owned)?;
        let has_port = canonical.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        match (below, has_port) {
            (true, true) => Err("a wildcard host has no port".to_owned()),
            (true, false) => Ok(HostPattern::Below(format!(".{canonical}"))),
            (false, true) => Ok(HostPattern::NameAndPort(canonical)),
            (false, false) => Ok(HostPattern::Name(canonical)),
        }
    }

    /// Whether a canonical host matches.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Below(suffix) => {
                let name = without_port(host);
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            HostPattern::Name(name) => {
                host.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            }
            HostPattern::NameAndPort(authority) => host == authority,
        }
    }

    /// How narrow: with a port, a name, the longer wildcard, anything.
    pub(crate) fn rank(&self) -> (u8, usize) {
        match self {
            HostPattern::Any => (0, 0),
            HostPattern::Below(suffix) => (1, suffix.len()),
            HostPattern::Name(_) => (2, 0),
            HostPattern::NameAndPort(_) => (3, 0),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Which media types a rule is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum MediaPattern {
    /// `image/*`. Holds `image/`.
    Family(String),
    /// `text/html`.
    Exact(String),
}

impl MediaPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, as half a sentence.
    pub(crate) fn parse(text: &str) -> Result<MediaPattern, String> {
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        if text.contains(';') {
            return Err("a content type is compared without its parameters".to_owned());
        }
        match text.to_ascii_lowercase().split_once('/') {
            Some(("*", "*")) => Err("leave the key out to mean every content type".to_owned()),
            Some((family, "*")) if token(family) => Ok(MediaPattern::Family(format!("{family}/"))),
            Some((family, kind)) if token(family) && token(kind) => {
                Ok(MediaPattern::Exact(format!("{family}/{kind}")))
            }
            _ => Err("a content type reads like `text/html` or `image/*`".to_owned()),
        }
    }

    /// Whether a `Content-Type` as it stands (parameters and all) matches.
    pub(crate) fn matches(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match self {
            MediaPattern::Family(family) => {
                essence.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family))
            }
            MediaPattern::Exact(exact) => essence.eq_ignore_ascii_case(exact),
        }
    }

    /// How narrow: exact ones before families.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            MediaPattern::Family(_) => 1,
            MediaPattern::Exact(_) => 2,
        }
    }
}

/// As it is written in a policy.
impl std::fmt::Display for MediaPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MediaPattern::Family(family) => write!(f, "{family}*"),
            MediaPattern::Exact(exact) => f.write_str(exact),
        }
    }
}

/// As it is written in a policy.
impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Below(suffix) => write!(f, "*{suffix}"),
            HostPattern::Name(name) | HostPattern::NameAndPort(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_host(pattern: &str, yes: &[&str], no: &[&str]) {
        let pattern = HostPattern::parse(pattern).unwrap();
        assert!(yes.iter().all(|host| pattern.matches(host)), "{pattern}: {yes:?}");
        assert!(!no.iter().any(|host| pattern.matches(host)), "{pattern}: {no:?}");
    }

    #[test]
    fn hosts_match_by_name_and_below() {
        check_host(
            "Example.com",
            &["example.com", "example.com:8080"],
            &["www.example.com", "example.com.evil"],
        );
        check_host("example.com:8080", &["example.com:8080"], &["example.com", "example.com:80801"]);
        check_host(
            "*.example.com",
            &["a.example.com", "a.b.example.com:81"],
            &["example.com", "badexample.com"],
        );
        check_host("[::1]", &["[::1]", "[::1]:8080"], &["[::2]"]);
        check_host("*", &["anything"], &[]);
        for bad in ["", "a*b.com", "*.*.com", "http://x", "x/y", "*.x:80", "é.com", "a b"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn media_types_match_without_parameters_and_case() {
        let html = MediaPattern::parse("text/HTML").unwrap();
        assert!(
            html.matches("text/html")
                && html.matches("Text/Html; charset=utf-8")
                && html.matches(" text/html ")
        );
        assert!(!html.matches("text/htmlx") && !html.matches(""));
        let images = MediaPattern::parse("image/*").unwrap();
        assert!(images.matches("IMAGE/png") && !images.matches("imagex/png") && !images.matches("image"));
        for bad in ["", "text", "*/*", "text/", "/html", "text/html; charset=x", "te xt/html", "*/html"] {
            assert!(MediaPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
