//! Money: an integer count of nano-units (10⁻⁹ of the major unit) and an ISO 4217 code. Never a float.

mod iso4217;

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
        iso4217::decimals(bytes).map(|_| Currency(bytes)).ok_or_else(unknown)
    }

    /// Decimals of the minor unit, in which invoices are paid: 2 for USD (cents), 0 for JPY.
    pub fn minor_decimals(&self) -> u8 {
        iso4217::decimals(self.0).expect("a currency is on the list that it was parsed from")
    }

    /// All codes that [`Currency::parse`] knows.
    pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
        iso4217::codes()
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
    /// More than nine decimals: below a nano-unit.
    #[error("`{text}` is finer than a nano-unit: nine decimals are the most")]
    TooFine {
        /// What was written.
        text: String,
    },
    /// More than an `i64` of nano-units holds, about 9.2 thousand million.
    #[error("`{text}` is more than 9223372036")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

impl Money {
    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Money {
        Money { nano: 0, currency }
    }

    /// Reads `0.002 USD` or `USD 0.002`: digits, at most nine decimals that count, one space, a code of ISO 4217.
    ///
    /// There is no sign, no exponent, no thousands separator: an amount that could be read in two ways is none.
    ///
    /// # Errors
    /// Why it is not an amount.
    pub fn parse(text: &str) -> Result<Money, MoneyError> {
        let malformed = || MoneyError::Malformed { text: text.to_owned() };
        let (left, right) = text.split_once(' ').ok_or_else(malformed)?;
        let (amount, code) =
            if left.starts_with(|c: char| c.is_ascii_digit()) { (left, right) } else { (right, left) };
        // The amount first: of two mistakes the reader sees the one that looks least like money.
        let nano = parse_nano(amount).map_err(|error| error.about(text))?;
        if !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(malformed());
        }
        Ok(Money { nano, currency: Currency::parse(code)? })
    }
}

/// Why a text is not a decimal count of nano-units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NanoError {
    Malformed,
    TooFine,
    TooLarge,
}

impl NanoError {
    /// The same, about a text that a person wrote.
    pub(crate) fn about(self, text: &str) -> MoneyError {
        let text = text.to_owned();
        match self {
            NanoError::Malformed => MoneyError::Malformed { text },
            NanoError::TooFine => MoneyError::TooFine { text },
            NanoError::TooLarge => MoneyError::TooLarge { text },
        }
    }
}

/// Reads a decimal number such as `0.002` into nano-units, exactly or not at all. Zeros beyond the ninth decimal are fine.
pub(crate) fn parse_nano(text: &str) -> Result<i64, NanoError> {
    let (whole, part) = match text.split_once('.') {
        Some((_, "")) => return Err(NanoError::Malformed),
        Some((whole, part)) => (whole, part),
        None => (text, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(NanoError::Malformed);
    }
    let part = part.trim_end_matches('0');
    if part.len() > 9 {
        return Err(NanoError::TooFine);
    }
    let mut nano: i64 = 0;
    let padding = std::iter::repeat_n(b'0', 9 - part.len());
    for digit in whole.bytes().chain(part.bytes()).chain(padding) {
        nano = nano
            .checked_mul(10)
            .and_then(|nano| nano.checked_add(i64::from(digit - b'0')))
            .ok_or(NanoError::TooLarge)?;
    }
    Ok(nano)
}

/// Shows nano-units as a decimal of the major unit without trailing zeros: `2_000_000` is `0.002`.
pub fn decimal(nano: i128) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let (whole, part) = (nano.unsigned_abs() / 1_000_000_000, nano.unsigned_abs() % 1_000_000_000);
    let mut part = part as u64; // below 10⁹
    let mut text = [sign, &whole.to_string()].concat();
    if part > 0 {
        text.push('.');
    }
    let mut place = 100_000_000;
    while part > 0 {
        text.push(char::from(b'0' + (part / place) as u8));
        (part, place) = (part % place, place / 10);
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<i64, NanoError>) {
        let expect =
            expect.map_err(|error| error.about(text)).map(|nano| Money { nano, currency: Currency::USD });
        assert_eq!(Money::parse(text), expect, "{text}");
    }

    #[test]
    fn amounts_are_exact_to_the_nano() {
        check("0.002 USD", Ok(2_000_000));
        check("USD 0.002", Ok(2_000_000));
        check("0.000000001 USD", Ok(1));
        check("0.0000000001 USD", Err(NanoError::TooFine));
        check("0.10000000000000 USD", Ok(100_000_000));
        check("9223372036.854775807 USD", Ok(i64::MAX));
        check("9223372036.854775808 USD", Err(NanoError::TooLarge));
        check("99999999999999999999999999999999 USD", Err(NanoError::TooLarge));
        check("0 USD", Ok(0));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_amount() {
        for text in [
            "",
            " ",
            "USD",
            "0.01",
            "1,5 USD",
            "1_000 USD",
            "-1 USD",
            "+1 USD",
            "1e3 USD",
            ".5 USD",
            "1. USD",
            "1  USD",
            "1 USD ",
            " 1 USD",
            "USD USD",
            "1.2.3 USD",
            "٣ USD",
            "$1 USD",
            "USD 0.01, USD 0.02",
        ] {
            assert!(matches!(Money::parse(text), Err(MoneyError::Malformed { .. })), "{text}");
        }
        for text in ["1 usd", "1 XXX", "1 US", "1 BTC", "1 EURO"] {
            assert!(matches!(Money::parse(text), Err(MoneyError::UnknownCurrency { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let mut nano: i64 = 1;
        for step in 0_i64..20_000 {
            nano = nano.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let money = Money { nano: (nano >> (step % 60)) & i64::MAX, currency: Currency::USD };
            assert_eq!(Money::parse(&money.to_string()), Ok(money), "step {step}");
        }
    }

    #[test]
    fn rounding_is_half_to_even() {
        for (numerator, denominator, expect) in [
            (5, 10, 0),
            (15, 10, 2),
            (25, 10, 2),
            (26, 10, 3),
            (-5, 10, 0),
            (-15, 10, -2),
            (7, 1, 7),
            (1, 3, 0),
        ] {
            assert_eq!(divide_half_even(numerator, denominator), expect, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn currencies_know_their_minor_unit() {
        for (code, decimals) in [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XCG", 2)] {
            assert_eq!(
                Currency::parse(code).map(|currency| currency.minor_decimals()),
                Ok(decimals),
                "{code}"
            );
        }
        assert!(Currency::codes().all(|code| Currency::parse(code).is_ok()));
        let mut codes: Vec<_> = Currency::codes().collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Currency::codes().count(), "no code is listed twice");
    }
}
