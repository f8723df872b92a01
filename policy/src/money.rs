//! Money: an integer count of nano-units (10⁻⁹ of the major unit) and an ISO 4217 code. Never a float.

use std::fmt;

/// An ISO 4217 currency code, upper case, such as `USD`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The US dollar, the currency of a policy that names none.
    pub const USD: Currency = Currency(*b"USD");

    /// Reads a code of three upper-case letters that ISO 4217 lists.
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for anything else.
    pub fn parse(code: &str) -> Result<Currency, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency { code: code.to_owned() };
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| unknown())?;
        if bytes.iter().all(u8::is_ascii_uppercase) { Ok(Currency(bytes)) } else { Err(unknown()) }
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency holds three ASCII letters")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount: `nano` × 10⁻⁹ of the major unit of `currency`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Money {
    /// Nano-units, 10⁻⁹ of the major unit.
    pub nano: i64,
    /// The currency.
    pub currency: Currency,
}

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code.
    #[error("`{code}` is not an ISO 4217 currency code such as USD or EUR")]
    UnknownCurrency {
        /// What was written.
        code: String,
    },
    /// Not of the shape `0.002 USD`.
    #[error("`{text}` is not an amount such as \"0.002 USD\"")]
    Malformed {
        /// What was written.
        text: String,
    },
}

impl Money {
    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Money {
        Money { nano: 0, currency }
    }
}

/// Shows nano-units as a decimal of the major unit without trailing zeros: `2_000_000` is `0.002`.
pub fn decimal(nano: i128) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let (whole, part) = (nano.unsigned_abs() / 1_000_000_000, nano.unsigned_abs() % 1_000_000_000);
    if part == 0 {
        return format!("{sign}{whole}");
    }
    let part = format!("{part:09}");
    format!("{sign}{whole}.{}", part.trim_end_matches('0'))
}

/// `numerator / denominator`, rounded half to even: the one place where Byline rounds.
///
/// # Panics
/// If `denominator` is not positive: a caller's mistake, never a matter of input.
pub fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    assert!(denominator > 0, "a denominator is positive");
    let (quotient, remainder) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    let up = match (remainder * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    quotient + i128::from(up)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", decimal(i128::from(self.nano)), self.currency)
    }
}
