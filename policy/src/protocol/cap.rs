//! CAP, the Crawler Authorization Protocol of RSL 1.0 §5: a crawler shows its licence token, and is told what it lacks.
//!
//! [`Credentials`] reads `Authorization: License <token>`, [`Challenge`] is the answer to a crawler that may not have what it
//! asked for, and [`LicenseToken`] is the token that Byline's own licence server issues. Others' tokens are opaque: their
//! server introspects them ([`super::olp`]).
//!
//! A token proves a licence, **not identity**: whoever has it can show it. Pair it with a signature.

mod challenge;
mod token;

pub use challenge::{Challenge, Credentials, Declaration, ErrorParameter, Standing, Unlicensed, authorize};
pub use token::{
    ANYBODY, Claims, IssueError, IssuingKey, LicenseToken, OPERATOR_BYTES_MAX, Presentation, TOKEN_PREFIX,
    TokenId, TokenRefusal, UsageSet, VerifyingKey, WORKS_BYTES_MAX,
};

/// The scheme of `Authorization` and `WWW-Authenticate`; read in any case (RFC 9110 §11.1).
pub const SCHEME: &str = "License";
