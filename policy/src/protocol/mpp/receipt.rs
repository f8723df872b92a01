//! Receipts: `Payment-Receipt` on an answer that was paid for, and never on another. And the times that challenges and receipts have.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of a receipt's header that are read.
pub const RECEIPT_BYTES_MAX: usize = 16_384;

/// A receipt.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Always success: failures have no receipt.
    pub status: Status,
    /// How was paid.
    pub method: String,
    /// When, by RFC 3339.
    pub timestamp: String,
    /// What the method calls the payment: a transaction's hash, an invoice's number.
    pub reference: String,
    /// What the method says besides.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// What a receipt says of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Verified and settled.
    Success,
}

impl Receipt {
    /// A receipt. `None` beyond the year 9999.
    pub fn new(method: &str, reference: &str, paid_secs: u64) -> Option<Receipt> {
        Some(Receipt {
            status: Status::Success,
            method: method.to_owned(),
            timestamp: to_rfc3339(paid_secs)?,
            reference: reference.to_owned(),
            others: Map::new(),
        })
    }

    /// The same with a member that the draft does not name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Receipt {
        self.others.insert(name.to_owned(), value.into());
        self
    }

    /// The value of `Payment-Receipt`.
    pub fn to_field(&self) -> String {
        // Keys are texts: it cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the value of `Payment-Receipt`.
    pub fn parse(value: &[u8]) -> Option<Receipt> {
        if value.len() > RECEIPT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value.trim_ascii()).ok()?).ok()
    }
}

/// `2026-11-23T12:05:00Z`; `None` beyond the year 9999.
pub(super) fn to_rfc3339(secs: u64) -> Option<String> {
    let (days, second) = (secs / 86_400, secs % 86_400);
    // Days since 0000-03-01 in eras of 400 years: leap days come last in a year that begins in March.
    let shifted = days.checked_add(719_468)?;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era.checked_mul(400)? + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    (year <= 9_999).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Reads what [`to_rfc3339`] writes, and nothing else of RFC 3339: a challenge's times are ours.
pub(super) fn from_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let from_march = if month <= 2 { year.checked_sub(1)? } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = ((153 * month_from_march + 2) / 5 + day).checked_sub(1)?;
    let day_of_era = from_march % 400 * 365 + from_march % 400 / 4 - from_march % 400 / 100 + day_of_year;
    let days = (from_march / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    let secs = days * 86_400 + hour * 3_600 + minute * 60 + second;
    // Whatever is out of its range, or written in another way, is written differently.
    (to_rfc3339(secs).as_deref() == Some(text)).then_some(secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_jiff_writes_them() {
        let mut random: u64 = 7;
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let secs = match step {
                0 => 0,
                1 => 253_402_300_799,
                2 => 951_782_400, // 29 February 2000
                _ => (random >> 20) % 253_402_207_200,
            };
            let written = to_rfc3339(secs).expect("a year of four digits");
            let theirs = jiff::Timestamp::from_second(secs as i64).map(|time| time.to_string());
            // jiff ends at the last day of 9999, for want of time zones beyond.
            assert!(theirs.is_err() || theirs.ok().as_ref() == Some(&written), "{secs}: {written}");
            assert_eq!(from_rfc3339(&written), Some(secs));
        }
        assert_eq!(to_rfc3339(253_402_300_800), None);
        assert_eq!(to_rfc3339(u64::MAX), None);
        for text in [
            "",
            "2026-11-23T12:05:00",
            "2026-11-23T12:05:00z",
            "2026-11-23T12:05:00+00:00",
            "2026-11-23 12:05:00Z",
            "2026-02-29T12:05:00Z",
            "2026-00-10T12:05:00Z",
            "2026-13-10T12:05:00Z",
            "2026-11-00T12:05:00Z",
            "2026-11-23T24:05:00Z",
            "2026-11-23T12:05:60Z",
            "2026-11-23T12:05:00.0Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "+026-11-23T12:05:00Z",
            "٢٠26-11-23T12:05:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }
}
