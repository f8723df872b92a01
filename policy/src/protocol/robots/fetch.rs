//! What follows from how a request for `/robots.txt` ended (RFC 9309 §2.3.1), and how long a copy is good (§2.4).

use std::time::Duration;

/// Redirects that are followed, also to other hosts; the next one counts as if there were no file.
pub const REDIRECTS_MAX: u32 = 5;
/// A copy is not used for longer while a newer one can be had.
pub const CACHE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A copy is used for at least as long, whatever `Cache-Control` says: otherwise each fetch would ask twice.
pub const CACHE_MIN: Duration = Duration::from_secs(60);
/// How long a site that cannot be reached is held to its last copy, or left alone if there is none.
pub const LAST_COPY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a request for `/robots.txt` ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// With this status, whatever it is.
    Status(u16),
    /// With a redirect that names where to go: the how many-th in a row, from 1.
    Redirect(u32),
    /// With none: no name, no connection, no TLS, no whole head in time.
    NetworkError,
}

/// What is known from before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Age of the last copy that could be read, since it was last confirmed.
    pub last_copy_age: Option<Duration>,
    /// Since when every request has ended with a server's or the network's error.
    pub unreachable_for: Duration,
}

/// What 429 means. RFC 9309 counts it with all other 4xx; Google with 5xx.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TooManyRequests {
    /// There is no file.
    #[default]
    Unavailable,
    /// The site cannot be reached: who is asked to slow down should not take that for a permission.
    Unreachable,
}

/// What to go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// By what came.
    Parse,
    /// Ask where the redirect points to; the rules are for the authority that was asked first.
    Follow,
    /// By the copy that there is.
    LastCopy,
    /// Everything may be fetched.
    AllowAll,
    /// Nothing may be fetched.
    DisallowAll,
}

/// What to go by after a request for `/robots.txt`.
///
/// A redirect without a place to go to is a [`Answer::Status`]. 304 confirms the last copy; without one it is an error of the
/// server's. A site that was not reached for longer than [`LAST_COPY_MAX`] is taken for one without a file, as RFC 9309
/// §2.3.1.4 permits; until then a last copy not older than that stands, or else nothing may be fetched.
pub fn ruling(answer: Answer, history: History, too_many_requests: TooManyRequests) -> Ruling {
    match answer {
        Answer::Status(200..=299) => Ruling::Parse,
        Answer::Status(304) if history.last_copy_age.is_some() => Ruling::LastCopy,
        Answer::Status(304) => unreachable(history),
        Answer::Redirect(nth) if nth <= REDIRECTS_MAX => Ruling::Follow,
        Answer::Redirect(_) | Answer::Status(300..=399) => Ruling::AllowAll,
        Answer::Status(429) if too_many_requests == TooManyRequests::Unreachable => unreachable(history),
        Answer::Status(400..=499) => Ruling::AllowAll,
        Answer::Status(_) | Answer::NetworkError => unreachable(history),
    }
}

fn unreachable(history: History) -> Ruling {
    match history.last_copy_age {
        Some(age) if age <= LAST_COPY_MAX => Ruling::LastCopy,
        _ if history.unreachable_for > LAST_COPY_MAX => Ruling::AllowAll,
        _ => Ruling::DisallowAll,
    }
}

/// How long a copy may be used from when it arrived: what `Cache-Control` says, less the `Age` in seconds that it came with,
/// between [`CACHE_MIN`] and [`CACHE_MAX`]; a day if nothing is said.
pub fn cache_lifetime(cache_control: Option<&str>, age_seconds: u64) -> Duration {
    let mut lifetime = CACHE_MAX;
    for directive in cache_control.unwrap_or_default().split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return CACHE_MIN;
        }
        if name.eq_ignore_ascii_case("max-age") {
            // RFC 9111 §1.2.2: too large a number is as good as the largest; §4.2.1: what is invalid is stale.
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let seconds = if is_number { value.parse().unwrap_or(u64::MAX) } else { 0 };
            lifetime = lifetime.min(Duration::from_secs(seconds.saturating_sub(age_seconds)));
        }
    }
    lifetime.max(CACHE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[track_caller]
    fn check(answer: Answer, copy_days: Option<u32>, unreachable_days: u32, expect: Ruling) {
        let history = History {
            last_copy_age: copy_days.map(|days| DAY * days),
            unreachable_for: DAY * unreachable_days,
        };
        assert_eq!(ruling(answer, history, TooManyRequests::Unavailable), expect, "{answer:?} {history:?}");
    }

    #[test]
    fn what_came_decides() {
        for status in [200, 204, 206, 299] {
            check(Answer::Status(status), Some(1), 0, Ruling::Parse);
        }
        for status in [400, 401, 403, 404, 410, 429, 451, 499, 300, 302, 399] {
            check(Answer::Status(status), Some(1), 40, Ruling::AllowAll);
        }
        check(Answer::Redirect(1), None, 0, Ruling::Follow);
        check(Answer::Redirect(5), None, 0, Ruling::Follow);
        check(Answer::Redirect(6), Some(1), 0, Ruling::AllowAll);
        check(Answer::Status(304), Some(400), 0, Ruling::LastCopy);
        check(Answer::Status(304), None, 0, Ruling::DisallowAll);
    }

    #[test]
    fn a_site_that_is_not_reached_is_left_alone_or_held_to_its_last_word() {
        for answer in
            [500, 503, 599, 600, 999, 0, 100].map(Answer::Status).into_iter().chain([Answer::NetworkError])
        {
            check(answer, None, 0, Ruling::DisallowAll);
            check(answer, None, 30, Ruling::DisallowAll);
            check(answer, None, 31, Ruling::AllowAll);
            check(answer, Some(0), 0, Ruling::LastCopy);
            check(answer, Some(30), 30, Ruling::LastCopy);
            check(answer, Some(31), 29, Ruling::DisallowAll);
            check(answer, Some(31), 31, Ruling::AllowAll);
        }
        let strict = |history| ruling(Answer::Status(429), history, TooManyRequests::Unreachable);
        assert_eq!(strict(History::default()), Ruling::DisallowAll);
        assert_eq!(strict(History { last_copy_age: Some(DAY), ..History::default() }), Ruling::LastCopy);
    }

    #[test]
    fn a_copy_is_good_for_a_day_at_most_and_a_minute_at_least() {
        for (cache_control, age, seconds) in [
            (None, 0, 86_400),
            (None, 9_999_999, 86_400),
            (Some(""), 0, 86_400),
            (Some("public"), 0, 86_400),
            (Some("max-age=3600"), 0, 3_600),
            (Some("public, Max-Age=3600, must-revalidate"), 600, 3_000),
            (Some("max-age=\"3600\""), 0, 3_600),
            (Some("max-age=3600, max-age=7200"), 0, 3_600),
            (Some("max-age=3600"), 3_600, 60),
            (Some("max-age=3600"), u64::MAX, 60),
            (Some("max-age=99999999999999999999999"), 0, 86_400),
            (Some("max-age=-1"), 0, 60),
            (Some("max-age=x"), 0, 60),
            (Some("max-age"), 0, 60),
            (Some("no-cache, max-age=3600"), 0, 60),
            (Some("max-age=3600,no-store"), 0, 60),
            (Some("s-maxage=5"), 0, 86_400),
        ] {
            assert_eq!(cache_lifetime(cache_control, age).as_secs(), seconds, "{cache_control:?} {age}");
        }
    }
}
