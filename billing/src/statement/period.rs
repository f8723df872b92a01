//! A period: half-open, from midnight to midnight of a declared time zone.

use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// A half-open stretch of time, `from <= t < to`, as two instants and the zone that they are shown in.
#[derive(Clone, PartialEq, Debug)]
pub struct Period {
    from: Zoned,
    to: Zoned,
    zone_name: String,
}

/// Why a text is not a period.
#[derive(Debug, thiserror::Error)]
pub enum PeriodError {
    /// No such zone.
    #[error("`{name}` is not a time zone of the IANA database such as UTC or Europe/Berlin")]
    UnknownZone {
        /// What was written.
        name: String,
    },
    /// None of the forms.
    #[error(
        "`{text}` is not a period: write 2026, 2026-11, 2026-W47, 2026-11-22, or FROM..TO with dates or RFC 3339 times (TO itself is outside)"
    )]
    Malformed {
        /// What was written.
        text: String,
    },
    /// It ends where it begins, or before.
    #[error("the period `{text}` is empty: its end must be after its beginning")]
    Empty {
        /// What was written.
        text: String,
    },
}

impl Period {
    /// Reads `2026`, `2026-11`, `2026-W47`, `2026-11-22` or `FROM..TO`, in a zone of the IANA database.
    ///
    /// FROM and TO are any of the same forms, which stand for their first instant, or RFC 3339 times. Whether a day
    /// has 23, 24 or 25 hours is the zone's affair: what counts is the instant of midnight, or of the first time after
    /// it where midnight was skipped.
    ///
    /// # Errors
    /// The zone is not known, or the text is none of the forms, or nothing lies in it.
    pub fn parse(text: &str, zone_name: &str) -> Result<Period, PeriodError> {
        let unknown = || PeriodError::UnknownZone { name: zone_name.to_owned() };
        let malformed = || PeriodError::Malformed { text: text.to_owned() };
        // `Local` and POSIX strings are zones for jiff, but not zones that another machine would read the same way.
        let zone = TimeZone::get(zone_name).map_err(|_| unknown())?;
        let zone_name = zone.iana_name().ok_or_else(unknown)?.to_owned();
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => {
                (instant(from, &zone).ok_or_else(malformed)?, instant(to, &zone).ok_or_else(malformed)?)
            }
            None => {
                let (first, next) = dates(text).ok_or_else(malformed)?;
                (midnight(first, &zone).ok_or_else(malformed)?, midnight(next, &zone).ok_or_else(malformed)?)
            }
        };
        if from >= to {
            return Err(PeriodError::Empty { text: text.to_owned() });
        }
        Ok(Period { from, to, zone_name })
    }

    /// The first instant, in microseconds since the Unix epoch.
    pub fn from_micros(&self) -> i64 {
        self.from.timestamp().as_microsecond()
    }

    /// The first instant after it, in microseconds since the Unix epoch.
    pub fn to_micros(&self) -> i64 {
        self.to.timestamp().as_microsecond()
    }

    /// The first instant as RFC 3339 with the zone's offset: `2026-11-01T00:00:00+01:00`.
    pub fn from_text(&self) -> String {
        rfc3339(&self.from)
    }

    /// The first instant after it, likewise.
    pub fn to_text(&self) -> String {
        rfc3339(&self.to)
    }

    /// The zone's name in the IANA database.
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }
}

fn rfc3339(zoned: &Zoned) -> String {
    if zoned.offset().is_zero() {
        zoned.timestamp().to_string()
    } else {
        zoned.timestamp().display_with_offset(zoned.offset()).to_string()
    }
}

/// A bound of `FROM..TO`: the first instant of a date, month, week or year, or an RFC 3339 time.
fn instant(text: &str, zone: &TimeZone) -> Option<Zoned> {
    match dates(text) {
        Some((first, _)) => midnight(first, zone),
        None => text.parse::<Timestamp>().ok().map(|at| at.to_zoned(zone.clone())),
    }
}

fn midnight(date: Date, zone: &TimeZone) -> Option<Zoned> {
    date.to_zoned(zone.clone()).ok()
}

/// The first day of a year, month, week or day, and the first day after it.
fn dates(text: &str) -> Option<(Date, Date)> {
    let number = |digits: &str, len: usize| {
        (digits.len() == len && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse::<i16>().ok())?
    };
    let parts: Vec<&str> = text.split('-').collect();
    let (first, length) = match parts[..] {
        [year] => (Date::new(number(year, 4)?, 1, 1).ok()?, Span::new().years(1)),
        [year, week] if week.starts_with('W') => {
            let week = i8::try_from(number(&week[1..], 2)?).ok()?;
            (ISOWeekDate::new(number(year, 4)?, week, Weekday::Monday).ok()?.date(), Span::new().weeks(1))
        }
        [year, month] => (
            Date::new(number(year, 4)?, i8::try_from(number(month, 2)?).ok()?, 1).ok()?,
            Span::new().months(1),
        ),
        [year, month, day] => {
            let (month, day) = (i8::try_from(number(month, 2)?).ok()?, i8::try_from(number(day, 2)?).ok()?);
            (Date::new(number(year, 4)?, month, day).ok()?, Span::new().days(1))
        }
        _ => return None,
    };
    Some((first, first.checked_add(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, zone: &str, from: &str, to: &str) {
        let period = Period::parse(text, zone).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (period.from_text(), period.to_text()),
            (from.to_owned(), to.to_owned()),
            "{text} in {zone}"
        );
    }

    #[test]
    fn every_form_is_half_open() {
        check("2026", "UTC", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2026-11", "UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check("2026-12", "UTC", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2026-11-22", "UTC", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
        check("2026-W47", "UTC", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
        check("2026-W53", "UTC", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z");
        check("2026-11-01..2026-12", "UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check(
            "2026-11-22T13:00:00Z..2026-11-22T14:00:00Z",
            "UTC",
            "2026-11-22T13:00:00Z",
            "2026-11-22T14:00:00Z",
        );
    }

    #[test]
    fn a_zone_decides_where_its_midnights_are() {
        // Both ends of summer time lie in a day; Lord Howe Island turns its clocks by half an hour.
        check("2026-03-29", "Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
        check("2026-10-25", "Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00");
        check("2026-10", "Australia/Lord_Howe", "2026-10-01T00:00:00+10:30", "2026-11-01T00:00:00+11:00");
        let day = Period::parse("2026-10-25", "Europe/Berlin").expect("a day");
        assert_eq!((day.to_micros() - day.from_micros()) / 3_600_000_000, 25);
    }

    #[test]
    fn what_is_no_period_is_named() {
        for text in [
            "",
            "26",
            "2026-13",
            "2026-1",
            "2026-02-30",
            "2026-W54",
            "2026-11-22T10:00:00Z",
            "now",
            "..",
            "2026..",
        ] {
            assert!(matches!(Period::parse(text, "UTC"), Err(PeriodError::Malformed { .. })), "{text}");
        }
        assert!(matches!(Period::parse("2026-12..2026-11", "UTC"), Err(PeriodError::Empty { .. })));
        assert!(matches!(Period::parse("2026-11..2026-11", "UTC"), Err(PeriodError::Empty { .. })));
        for zone in ["Mars/Olympus", "", "CET-1CEST,M3.5.0,M10.5.0/3"] {
            assert!(matches!(Period::parse("2026", zone), Err(PeriodError::UnknownZone { .. })), "{zone}");
        }
    }
}
