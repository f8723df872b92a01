//! Times as they stand in events: RFC 3339, UTC, six digits of a second. No clock: only the calendar.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The first and the last instant that RFC 3339 can write.
const FIRST: i64 = -62_167_219_200 * MICROS_PER_SECOND;
const LAST: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// Writes microseconds since the Unix epoch as `2026-11-22T13:40:05.123456Z`. Times outside the years 0 to 9999 are
/// written as the nearest one inside.
pub(crate) fn write(out: &mut String, micros: i64) {
    let micros = micros.clamp(FIRST, LAST);
    let (seconds, fraction) = (micros.div_euclid(MICROS_PER_SECOND), micros.rem_euclid(MICROS_PER_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days);
    let mut text = *SHAPE;
    let mut digits = |from: usize, to: usize, mut number: i64| {
        for digit in text[from..to].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    digits(0, 4, year);
    digits(5, 7, month);
    digits(8, 10, day);
    digits(11, 13, second / 3600);
    digits(14, 16, second / 60 % 60);
    digits(17, 19, second % 60);
    digits(20, 26, fraction);
    out.push_str(str::from_utf8(&text).expect("digits are ASCII"));
}

/// The shape of every time.
const SHAPE: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

/// The reverse of [`write`]; nothing else is read.
pub(crate) fn from_text(text: &str) -> Option<i64> {
    let bytes: &[u8; 27] = text.as_bytes().try_into().ok()?;
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    if !bytes.iter().zip(SHAPE).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) {
        return None; // the 31st of a shorter month
    }
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some(seconds * MICROS_PER_SECOND + number(20, 26))
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar: eras of 400 years that begin in
/// March, so that the leap day is the last of its year.
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The reverse of [`date_of`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The calendar month (UTC) of a time, as `year × 12 + month − 1`.
pub fn month_of(micros: i64) -> i32 {
    let micros = micros.clamp(FIRST, LAST);
    let (year, month, _) = date_of(micros.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY));
    i32::try_from(year * 12 + month - 1).expect("years 0 to 9999 fit")
}

/// A month of [`month_of`] as `2026-11`.
pub fn month_text(month: i32) -> String {
    format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_text(micros: i64) -> String {
        let mut text = String::new();
        write(&mut text, micros);
        text
    }

    #[track_caller]
    fn check(micros: i64, text: &str) {
        assert_eq!(to_text(micros), text);
        assert_eq!(from_text(text), Some(micros));
    }

    #[test]
    fn known_instants() {
        check(0, "1970-01-01T00:00:00.000000Z");
        check(-1, "1969-12-31T23:59:59.999999Z");
        check(1_795_354_805_123_456, "2026-11-22T13:40:05.123456Z");
        check(951_782_400_000_000, "2000-02-29T00:00:00.000000Z");
        check(2_147_483_648_000_000, "2038-01-19T03:14:08.000000Z");
        check(FIRST, "0000-01-01T00:00:00.000000Z");
        check(LAST, "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in -40_000..120_000 {
            let micros = day * SECONDS_PER_DAY * MICROS_PER_SECOND;
            assert_eq!(from_text(&to_text(micros)), Some(micros));
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-01T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:00:60.000000Z",
            "2026-01-01T00:00:00.00000Z",
            "2026-01-01 00:00:00.000000Z",
            "2026-01-01T00:00:00.000000z",
            "+026-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn months_are_counted() {
        assert_eq!(month_of(1_795_354_805_123_456), 2026 * 12 + 10);
        assert_eq!(month_of(0), 1970 * 12);
        assert_eq!(month_of(-1), 1969 * 12 + 11);
    }
}
