//! Amounts of a token in its smallest unit, and how they relate to [`Money`]: exactly, or not at all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Currency, Money};

/// Decimals of [`Money`]: it counts nano-units.
const NANO_DECIMALS: u32 = 9;

/// An integer of 256 bits without a sign, as in Solidity; in JSON a decimal string such as `"10000"`.
///
/// One spelling for each number: no sign, no leading zero, no exponent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct U256(
    /// Big-endian, so that the order of the bytes is the order of the numbers.
    [u8; 32],
);

impl U256 {
    /// Reads decimal digits.
    pub fn parse(text: &str) -> Option<U256> {
        // 2²⁵⁶ has 78 digits.
        if text.is_empty() || text.len() > 78 || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        let mut number = [0_u8; 32];
        for digit in text.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            let mut carry = u16::from(digit - b'0');
            for byte in number.iter_mut().rev() {
                let next = u16::from(*byte) * 10 + carry;
                [_, *byte] = next.to_be_bytes();
                carry = next >> 8;
            }
            if carry != 0 {
                return None;
            }
        }
        Some(U256(number))
    }

    /// The 32 bytes, the most significant first.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The number, if it fits.
    pub fn to_u128(self) -> Option<u128> {
        let (high, low) = self.0.split_at(16);
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        low.try_into().ok().map(u128::from_be_bytes)
    }

    /// The number, if it fits.
    pub fn to_u64(self) -> Option<u64> {
        self.to_u128().and_then(|number| number.try_into().ok())
    }
}

impl From<u128> for U256 {
    fn from(number: u128) -> U256 {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&number.to_be_bytes());
        U256(bytes)
    }
}

impl From<u64> for U256 {
    fn from(number: u64) -> U256 {
        U256::from(u128::from(number))
    }
}

impl TryFrom<String> for U256 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<U256, &'static str> {
        U256::parse(&text).ok_or("not a decimal integer of at most 256 bits")
    }
}

impl From<U256> for String {
    fn from(number: U256) -> String {
        number.to_string()
    }
}

impl fmt::Display for U256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.to_u128() {
            return write!(f, "{number}");
        }
        let mut number = self.0;
        let mut digits = Vec::with_capacity(78);
        while number != [0; 32] {
            let mut rest = 0_u16;
            for byte in &mut number {
                let part = rest << 8 | u16::from(*byte);
                *byte = (part / 10) as u8; // rest is below 10, so part is below 2560
                rest = part % 10;
            }
            digits.push(char::from(b'0' + rest as u8));
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

impl fmt::Debug for U256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an amount has no exact counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// A remainder would be lost.
    #[error("{amount} cannot be expressed with {decimals} decimals")]
    Inexact {
        /// The amount, in units of the side that it came from.
        amount: i128,
        /// Decimals of the other side.
        decimals: u32,
    },
    /// The other side does not hold as much.
    #[error("the amount is too large")]
    TooLarge,
    /// Below zero.
    #[error("an amount of money that is paid is not negative")]
    Negative,
}

/// What `price` is in the smallest unit of a token with so many decimals, where one token is one unit of the currency.
///
/// # Errors
/// [`ConversionError::Inexact`] where a part of the price would be lost: 0.002 USD has no cents.
pub fn to_atomic(price: Money, decimals: u32) -> Result<U256, ConversionError> {
    let nano = u128::try_from(price.nano).map_err(|_| ConversionError::Negative)?;
    if decimals >= NANO_DECIMALS {
        let factor = 10_u128.checked_pow(decimals - NANO_DECIMALS).ok_or(ConversionError::TooLarge)?;
        return nano.checked_mul(factor).map(U256::from).ok_or(ConversionError::TooLarge);
    }
    let factor = 10_u128.pow(NANO_DECIMALS - decimals);
    if nano % factor != 0 {
        return Err(ConversionError::Inexact { amount: price.nano.into(), decimals });
    }
    Ok(U256::from(nano / factor))
}

/// What an amount in the smallest unit of a token is in money.
///
/// # Errors
/// A part of it would be lost, or it is more than [`Money`] holds.
pub fn to_money(amount: U256, decimals: u32, currency: Currency) -> Result<Money, ConversionError> {
    let amount = amount.to_u128().ok_or(ConversionError::TooLarge)?;
    let nano = if decimals <= NANO_DECIMALS {
        amount.checked_mul(10_u128.pow(NANO_DECIMALS - decimals)).ok_or(ConversionError::TooLarge)?
    } else {
        let factor = 10_u128.checked_pow(decimals - NANO_DECIMALS).ok_or(ConversionError::TooLarge)?;
        if amount % factor != 0 {
            let amount = i128::try_from(amount).map_err(|_| ConversionError::TooLarge)?;
            return Err(ConversionError::Inexact { amount, decimals: NANO_DECIMALS });
        }
        amount / factor
    };
    let nano = i64::try_from(nano).map_err(|_| ConversionError::TooLarge)?;
    Ok(Money { nano, currency })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(nano: i64) -> Money {
        Money { nano, currency: Currency::USD }
    }

    #[test]
    fn numbers_of_256_bits_have_one_spelling() {
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        for text in ["0", "1", "9", "10", "10000", "340282366920938463463374607431768211456", most] {
            assert_eq!(U256::parse(text).map(|number| number.to_string()).as_deref(), Some(text));
        }
        assert_eq!(U256::parse(most).map(U256::to_be_bytes), Some([0xff; 32]));
        assert_eq!(U256::parse(most).and_then(U256::to_u128), None);
        assert_eq!(U256::parse("18446744073709551616").and_then(U256::to_u64), None);
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        for text in ["", "00", "01", "+1", "-1", "1.0", "1e3", " 1", "0x1", "٣", above, &"9".repeat(79)] {
            assert_eq!(U256::parse(text), None, "{text}");
        }
        assert!(U256::parse("9") < U256::parse("10") && U256::from(u64::MAX) < U256::from(u128::MAX));
    }

    #[test]
    fn prices_are_exact_or_not_offered() {
        fn inexact<T>(amount: i128, decimals: u32) -> Result<T, ConversionError> {
            Err(ConversionError::Inexact { amount, decimals })
        }
        assert_eq!(to_atomic(usd(10_000_000), 6), Ok(U256::from(10_000_u64)));
        assert_eq!(to_atomic(usd(1_000), 6), Ok(U256::from(1_u64)));
        assert_eq!(to_atomic(usd(1_001), 6), inexact(1_001, 6));
        assert_eq!(to_atomic(usd(999), 6), inexact(999, 6));
        assert_eq!(to_atomic(usd(2_000_000), 2), inexact(2_000_000, 2));
        assert_eq!(to_atomic(usd(10_000_000), 2), Ok(U256::from(1_u64)));
        assert_eq!(to_atomic(usd(1), 18), Ok(U256::from(1_000_000_000_u64)));
        assert_eq!(to_atomic(usd(1), 255), Err(ConversionError::TooLarge));
        assert_eq!(to_atomic(usd(-1), 6), Err(ConversionError::Negative));
        assert_eq!(to_money(U256::from(1_u64), 18, Currency::USD), inexact(1, 9));
        assert_eq!(to_money(U256::from(u128::MAX), 6, Currency::USD), Err(ConversionError::TooLarge));
        assert_eq!(to_money(U256([0xff; 32]), 6, Currency::USD), Err(ConversionError::TooLarge));
        assert_eq!(to_money(U256::from(u64::MAX), 9, Currency::USD), Err(ConversionError::TooLarge));
    }

    #[test]
    fn what_is_converted_comes_back_whole() {
        let mut nano: i64 = 1;
        for step in 0_i64..20_000 {
            nano = nano.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let price = usd((nano >> (step % 60)) & i64::MAX);
            for decimals in [0, 2, 6, 8, 9, 12, 18, 27] {
                match to_atomic(price, decimals) {
                    Ok(amount) => assert_eq!(to_money(amount, decimals, price.currency), Ok(price)),
                    Err(ConversionError::Inexact { .. }) => {
                        assert_ne!(price.nano % 10_i64.pow(9 - decimals), 0, "step {step}");
                    }
                    Err(error) => panic!("{price} at {decimals}: {error}"),
                }
            }
        }
    }
}
