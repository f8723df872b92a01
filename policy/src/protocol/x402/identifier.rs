//! The extension `payment-identifier`: a client's own name for a payment, so that it can ask again without paying again.
//!
//! The same name with the same payment gets the answer that it got; with another payment it is a conflict (409). Where one is
//! required and missing: 400. Remembering is the caller's: for [`REMEMBERED_SECS`] at least, within the site that was paid.

use std::fmt;

use serde_json::{Value, json};

use super::message::{Object, extension_info};

/// The extension's name.
pub const NAME: &str = "payment-identifier";
/// How long an identifier is remembered: what AWS WAF promises for a retry.
pub const REMEMBERED_SECS: u64 = 900;

/// A payment's identifier: 16 to 128 letters, digits, `-` and `_`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PaymentIdentifier(String);

impl PaymentIdentifier {
    /// Reads an identifier.
    pub fn parse(text: &str) -> Option<PaymentIdentifier> {
        let fits = (16..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        fits.then(|| PaymentIdentifier(text.to_owned()))
    }

    /// The identifier that a payment's extensions name.
    ///
    /// # Errors
    /// It is malformed, or there is none although one is required.
    pub fn read(
        extensions: Option<&Object>,
        required: bool,
    ) -> Result<Option<PaymentIdentifier>, IdentifierError> {
        match extension_info(extensions, NAME).and_then(|info| info.get("id")) {
            Some(Value::String(text)) => {
                PaymentIdentifier::parse(text).map(Some).ok_or(IdentifierError::Malformed)
            }
            Some(_) => Err(IdentifierError::Malformed),
            None if required => Err(IdentifierError::Missing),
            None => Ok(None),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an offer says of the extension; its schema stays in the specification, a header has little room.
pub fn extension(required: bool) -> Value {
    json!({"info": {"required": required}})
}

/// What is wrong with a payment's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// 400.
    #[error("a payment identifier has 16 to 128 letters, digits, `-` and `_`")]
    Malformed,
    /// 400.
    #[error("a payment identifier is required")]
    Missing,
    /// 409: see [`IdentifierUse`].
    #[error("this payment identifier was used for another payment")]
    Conflict,
}

impl IdentifierError {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            IdentifierError::Malformed | IdentifierError::Missing => 400,
            IdentifierError::Conflict => 409,
        }
    }
}

/// What an identifier was used for: the whole payment, byte for byte (the extension's "Recovering a lost response").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdentifierUse {
    /// SHA-256 of the payment's JSON.
    pub payment_sha256: [u8; 32],
}

impl IdentifierUse {
    /// Whether a payment that comes under an identifier used before gets the answer of then.
    ///
    /// # Errors
    /// [`IdentifierError::Conflict`]: it is another payment.
    pub fn again(&self, payment_sha256: &[u8; 32]) -> Result<(), IdentifierError> {
        if self.payment_sha256 == *payment_sha256 { Ok(()) } else { Err(IdentifierError::Conflict) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_long_enough_and_plain() {
        let (short, shortest) = ("a".repeat(15), "a".repeat(16));
        let (longest, long) = ("-".repeat(128), "_".repeat(129));
        for (text, good) in [
            ("pay_7d5d747be160e280504c099d984bcfe0", true),
            (&shortest, true),
            (&longest, true),
            (&short, false),
            (&long, false),
            ("pay 7d5d747be160e280", false),
            ("pay_7d5d747be160é280", false),
            ("pay.7d5d747be160e280", false),
            ("", false),
        ] {
            assert_eq!(PaymentIdentifier::parse(text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn an_identifier_is_read_from_its_place() {
        let read = |extensions: Value, required| {
            let id = PaymentIdentifier::read(extensions.as_object(), required);
            id.map(|id| id.map(|id| id.as_str().to_owned()))
        };
        let id = "pay_7d5d747be160e280504c099d984bcfe0";
        let named = json!({NAME: {"info": {"required": true, "id": id}, "schema": {}}});
        assert_eq!(read(named, true), Ok(Some(id.to_owned())));
        for nothing in [
            json!({}),
            json!({NAME: {}}),
            json!({NAME: {"info": 1}}),
            json!({NAME: extension(false)}),
            json!(1),
        ] {
            assert_eq!(read(nothing.clone(), false), Ok(None), "{nothing}");
            assert_eq!(read(nothing, true), Err(IdentifierError::Missing));
        }
        for wrong in [json!(1), json!(null), json!("short"), json!([id])] {
            let wrong = json!({NAME: {"info": {"id": wrong}}});
            assert_eq!(read(wrong, false), Err(IdentifierError::Malformed));
        }
        let first = IdentifierUse { payment_sha256: [1; 32] };
        assert_eq!(first.again(&[1; 32]), Ok(()));
        assert_eq!(first.again(&[2; 32]).map_err(IdentifierError::status), Err(409));
    }
}
