//! From when to when a certificate is good: the one field of X.509 that rustls checks for clients only.

use rustls::pki_types::CertificateDer;

/// The time that a certificate is good for (RFC 5280 §4.1.2.5).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: Moment,
    until: Moment,
}

/// A point in time, UTC.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    unix_seconds: i64,
    date: String,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads it; `None` if this is no certificate.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut fields, _) = value(certificate, SEQUENCE)?;
    if let Some((_, rest)) = value(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = value(fields, SEQUENCE)?;
    let (from, rest) = moment(validity)?;
    let (until, _) = moment(rest)?;
    Some(Validity { from, until })
}

impl Validity {
    /// What is wrong with it at this time.
    pub(super) fn check(&self, unix_seconds: i64) -> Result<(), String> {
        if unix_seconds > self.until.unix_seconds {
            return Err(format!("this certificate expired on {}", self.until.date));
        }
        if unix_seconds < self.from.unix_seconds {
            return Err(format!("this certificate is not valid before {}", self.from.date));
        }
        Ok(())
    }
}

/// The first element of a DER text: tag, content, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f).min(5))?;
            let length = digits
                .iter()
                .try_fold(0_u32, |length, digit| Some(length.checked_mul(256)? + u32::from(*digit)))?;
            (usize::try_from(length).ok()?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the first element, if it has this tag, and what follows.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn moment(der: &[u8]) -> Option<(Moment, &[u8])> {
    let (tag, text, rest) = element(der)?;
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i64>().ok();
    let (year, at) = match tag {
        // Two digits stand for 1950 to 2049.
        UTC_TIME => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |n: usize| number(at + 2 * n, at + 2 * n + 2);
    let (month, day) = (part(0)?, part(1)?);
    let seconds = part(2)? * 3600 + part(3)? * 60 + part(4)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    Some((Moment { unix_seconds: days(year, month, day) * 86_400 + seconds, date }, rest))
}

/// Days from 1970-01-01 to a civil date, counted in years that begin in March (proleptic Gregorian).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_from_when_to_when() {
        for (from, until) in [(1999, 2049), (2020, 2050), (2051, 2100)] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(["site.test".to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(from, 2, 28);
            params.not_after = rcgen::date_time_ymd(until, 3, 1);
            let der = params.self_signed(&key).expect("a certificate").der().clone();
            let validity = of(&der).expect("a validity");
            assert_eq!(validity.from.unix_seconds, params.not_before.unix_timestamp());
            assert_eq!(validity.until.unix_seconds, params.not_after.unix_timestamp());
            assert_eq!(validity.until.date, format!("{until}-03-01"));
            // What is cut off anywhere is no certificate, and no reason to panic.
            for end in 0..der.len() {
                let _ = of(&CertificateDer::from(der[..end].to_vec()));
            }
        }
    }
}
