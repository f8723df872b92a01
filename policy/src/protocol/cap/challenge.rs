//! What a crawler shows, and what it is told: 401, 402, 403, 503 (§5).

use crate::protocol::olp::is_token;
use crate::protocol::rsl::discovery::link_header;

use super::SCHEME;

/// What a request shows in `Authorization`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credentials<'a> {
    /// Nothing, or a scheme that is not ours: the origin may want it.
    Absent,
    /// A token; whether it is one of ours is another question.
    Token(&'a str),
    /// The scheme is ours, the rest is no token; or there are several.
    Malformed,
}

impl<'a> Credentials<'a> {
    /// Reads the values of a request's `Authorization` headers.
    pub fn parse(values: impl IntoIterator<Item = &'a [u8]>) -> Credentials<'a> {
        let mut credentials = Credentials::Absent;
        for value in values {
            let value = value.trim_ascii();
            let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
            let (scheme, rest) = value.split_at(end);
            if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
                continue;
            }
            if credentials != Credentials::Absent {
                return Credentials::Malformed;
            }
            credentials = match std::str::from_utf8(rest.trim_ascii()) {
                Ok(token) if is_token(token) => Credentials::Token(token),
                _ => Credentials::Malformed,
            };
        }
        credentials
    }
}

/// What became of a token: verified here, or introspected by its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Good for this.
    Good,
    /// Unknown, altered, revoked, or somebody else's.
    Invalid,
    /// Its time is over, or has not come.
    Expired,
    /// Good, but what it owes has not been paid.
    Unpaid,
    /// Good, but its licence does not permit this use of this work.
    NotPermitted,
    /// Its server could not be asked, or its answer could not be read.
    Unknown,
}

/// Decides on a request that needs a licence: its token, or why there is no access.
///
/// `standing` is asked only if there is a token to ask about.
///
/// # Errors
/// What the crawler is told.
pub fn authorize<'a>(
    credentials: Credentials<'a>,
    standing: impl FnOnce(&'a str) -> Standing,
) -> Result<&'a str, Unlicensed> {
    let token = match credentials {
        Credentials::Absent => return Err(Unlicensed::Missing),
        Credentials::Malformed => return Err(Unlicensed::Malformed),
        Credentials::Token(token) => token,
    };
    match standing(token) {
        Standing::Good => Ok(token),
        Standing::Invalid => Err(Unlicensed::InvalidToken),
        Standing::Expired => Err(Unlicensed::Expired),
        Standing::Unpaid => Err(Unlicensed::Unpaid),
        Standing::NotPermitted => Err(Unlicensed::NotPermitted),
        Standing::Unknown => Err(Unlicensed::CannotValidate),
    }
}

/// Why there is no access: the rows of the table in §5.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unlicensed {
    /// 401: no `Authorization: License`.
    Missing,
    /// 401: there is one that cannot be read.
    Malformed,
    /// 401: the token is not good.
    InvalidToken,
    /// 401: the token's time is over, or has not come.
    Expired,
    /// 402: no licence has been acquired.
    NoLicense,
    /// 402: the licence's payment terms are not met.
    Unpaid,
    /// 403: the licence does not permit the use.
    NotPermitted,
    /// 503: the licence server cannot be reached, or cannot say.
    CannotValidate,
}

/// `error` in `WWW-Authenticate` (§5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorParameter {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_token`
    InvalidToken,
    /// `insufficient_scope`
    InsufficientScope,
    /// `server_error`
    ServerError,
}

impl ErrorParameter {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorParameter::InvalidRequest => "invalid_request",
            ErrorParameter::InvalidToken => "invalid_token",
            ErrorParameter::InsufficientScope => "insufficient_scope",
            ErrorParameter::ServerError => "server_error",
        }
    }
}

impl Unlicensed {
    /// All rows.
    pub const ALL: [Unlicensed; 8] = [
        Unlicensed::Missing,
        Unlicensed::Malformed,
        Unlicensed::InvalidToken,
        Unlicensed::Expired,
        Unlicensed::NoLicense,
        Unlicensed::Unpaid,
        Unlicensed::NotPermitted,
        Unlicensed::CannotValidate,
    ];

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Unlicensed::Missing | Unlicensed::Malformed | Unlicensed::InvalidToken | Unlicensed::Expired => {
                401
            }
            Unlicensed::NoLicense | Unlicensed::Unpaid => 402,
            Unlicensed::NotPermitted => 403,
            Unlicensed::CannotValidate => 503,
        }
    }

    /// The word in `WWW-Authenticate`. The specification gives the words and not which goes with 402: whoever shows no
    /// licence made an incomplete request; whoever shows an unpaid one shows too little.
    pub fn error(self) -> ErrorParameter {
        match self {
            Unlicensed::Missing | Unlicensed::Malformed | Unlicensed::NoLicense => {
                ErrorParameter::InvalidRequest
            }
            Unlicensed::InvalidToken | Unlicensed::Expired => ErrorParameter::InvalidToken,
            Unlicensed::Unpaid | Unlicensed::NotPermitted => ErrorParameter::InsufficientScope,
            Unlicensed::CannotValidate => ErrorParameter::ServerError,
        }
    }

    /// A sentence for a person; nothing in it comes from the request.
    pub fn description(self) -> &'static str {
        match self {
            Unlicensed::Missing => "A licence is needed: send Authorization: License with a token",
            Unlicensed::Malformed => "The Authorization header holds no token",
            Unlicensed::InvalidToken => "The token is not valid for this",
            Unlicensed::Expired => "The token is not valid at this time",
            Unlicensed::NoLicense => "No licence has been acquired for this",
            Unlicensed::Unpaid => "The payment terms of the licence are not met",
            Unlicensed::NotPermitted => "The licence does not permit this use",
            Unlicensed::CannotValidate => "The token cannot be checked at the moment",
        }
    }

    /// The answer.
    pub fn challenge(self, declaration: &Declaration<'_>) -> Challenge {
        let is_short_of_licence = matches!(self.status(), 401 | 402);
        let (link, body) = match declaration {
            Declaration::Document { url } if is_short_of_licence => (link_header(url), None),
            Declaration::Inline { document } if is_short_of_licence => (None, Some((*document).to_owned())),
            _ => (None, None),
        };
        let (error, description) = (self.error().as_str(), self.description());
        Challenge {
            status: self.status(),
            www_authenticate: format!("{SCHEME} error=\"{error}\", error_description=\"{description}\""),
            link,
            body,
        }
    }
}

/// Where the crawler finds the terms: one of the two is a must with 401 and 402.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declaration<'a> {
    /// A document at an absolute URL: goes out as `Link`.
    Document {
        /// The URL, ASCII.
        url: &'a str,
    },
    /// A document for this request, as text: goes out as the body, `application/rsl+xml`.
    Inline {
        /// The text.
        document: &'a str,
    },
}

/// An answer without access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// 401, 402, 403 or 503.
    pub status: u16,
    /// The value of `WWW-Authenticate`. A must with 401 and 402; with 403 and 503 it says the same to machines.
    pub www_authenticate: String,
    /// The value of `Link`. With 401 and 402 there is this or a body, if the URL that was given is absolute.
    pub link: Option<String>,
    /// The document that is the body, of [`super::super::rsl::MEDIA_TYPE`].
    pub body: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expect: Credentials<'_>) {
        assert_eq!(Credentials::parse(values.iter().map(|value| value.as_bytes())), expect, "{values:?}");
    }

    #[test]
    fn tokens_are_read_strictly() {
        check(&[], Credentials::Absent);
        check(&["Bearer GOOD"], Credentials::Absent);
        check(&["Licensed GOOD"], Credentials::Absent);
        check(&["License GOOD"], Credentials::Token("GOOD"));
        check(&["  lIcEnSe \t a-._~+/9==  "], Credentials::Token("a-._~+/9=="));
        check(&["Basic YTpi", "License GOOD"], Credentials::Token("GOOD"));
        for malformed in [
            "License",
            "License ",
            "License a b",
            "License a,b",
            "License a=b",
            "License =",
            "License \"a\"",
            "License é",
        ] {
            check(&[malformed], Credentials::Malformed);
        }
        check(&["License A", "License B"], Credentials::Malformed);
        check(&[&format!("License {}", "a".repeat(8_193))], Credentials::Malformed);
        assert_eq!(Credentials::parse([b"License \xff".as_slice()]), Credentials::Malformed);
    }

    #[test]
    fn answers_are_those_of_the_table() {
        let document = Declaration::Document { url: "https://a.example/license.xml" };
        for (why, status, error) in [
            (Unlicensed::Missing, 401, "invalid_request"),
            (Unlicensed::Malformed, 401, "invalid_request"),
            (Unlicensed::InvalidToken, 401, "invalid_token"),
            (Unlicensed::Expired, 401, "invalid_token"),
            (Unlicensed::NoLicense, 402, "invalid_request"),
            (Unlicensed::Unpaid, 402, "insufficient_scope"),
            (Unlicensed::NotPermitted, 403, "insufficient_scope"),
            (Unlicensed::CannotValidate, 503, "server_error"),
        ] {
            let challenge = why.challenge(&document);
            assert_eq!(challenge.status, status, "{why:?}");
            let expect = format!("License error=\"{error}\", error_description=\"");
            assert!(challenge.www_authenticate.starts_with(&expect), "{challenge:?}");
            assert_eq!(challenge.link.is_some(), status < 403, "{why:?}");
            let inline = why.challenge(&Declaration::Inline { document: "<rsl/>" });
            assert_eq!((inline.body.is_some(), inline.link), (status < 403, None), "{why:?}");
            // RFC 6750 §3: what may stand in a description.
            let may = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(why.description().bytes().all(may), "{why:?}");
        }
    }

    #[test]
    fn nobody_is_asked_about_a_token_that_is_not_there() {
        for credentials in [Credentials::Absent, Credentials::Malformed] {
            assert!(authorize(credentials, |_| panic!("asked")).is_err());
        }
        assert_eq!(authorize(Credentials::Token("a"), |_| Standing::Good), Ok("a"));
    }
}
