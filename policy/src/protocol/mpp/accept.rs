//! `Accept-Payment`: which methods and intents a client can do, and which it likes best.

/// Bytes of the header that are read; above, it says nothing.
pub const ACCEPT_BYTES_MAX: usize = 1_024;

/// A client's preferences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptPayment(Vec<Range>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Range {
    /// `None`: any.
    method: Option<String>,
    intent: Option<String>,
    /// Thousandths.
    weight: u16,
}

impl AcceptPayment {
    /// Reads the header. `None` if it is malformed: it is then as if there were none.
    pub fn parse(value: &str) -> Option<AcceptPayment> {
        if value.len() > ACCEPT_BYTES_MAX {
            return None;
        }
        let ranges: Option<Vec<Range>> = value
            .split(',')
            .map(|range| range.trim_matches([' ', '\t']))
            .filter(|range| !range.is_empty())
            .map(range)
            .collect();
        ranges.filter(|ranges| !ranges.is_empty()).map(AcceptPayment)
    }

    /// The places of those ways to pay, as `(method, intent)`, that the client can do, the one that it likes best first. All of them,
    /// in our order, if it can do none: it may have forgotten to say.
    pub fn choose(&self, ways: &[(&str, &str)]) -> Vec<usize> {
        let weights = ways.iter().map(|way| self.weight(*way));
        let mut chosen: Vec<(usize, u16)> = weights.enumerate().filter(|(_, weight)| *weight > 0).collect();
        if chosen.is_empty() {
            return (0..ways.len()).collect();
        }
        chosen.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        chosen.into_iter().map(|(place, _)| place).collect()
    }

    /// The weight of the narrowest range that matches; a method is narrower than an intent.
    fn weight(&self, (method, intent): (&str, &str)) -> u16 {
        let matches = |range: &&Range| {
            range.method.as_deref().is_none_or(|named| named == method)
                && range.intent.as_deref().is_none_or(|named| named == intent)
        };
        let width = |range: &&Range| (range.method.is_some(), range.intent.is_some());
        self.0.iter().filter(matches).max_by_key(width).map_or(0, |range| range.weight)
    }
}

fn range(text: &str) -> Option<Range> {
    let (token, weight) = match text.split_once(';') {
        None => (text, 1_000),
        Some((token, weight)) => {
            (token.trim_end_matches([' ', '\t']), self::weight(weight.trim_matches([' ', '\t']))?)
        }
    };
    let (method, intent) = token.split_once('/')?;
    let named = |text: &str, fits: fn(u8) -> bool| match text {
        "*" => Some(None),
        text if !text.is_empty() && text.bytes().all(fits) => Some(Some(text.to_owned())),
        _ => None,
    };
    Some(Range {
        method: named(method, |byte| byte.is_ascii_lowercase())?,
        intent: named(intent, |byte| byte.is_ascii_alphanumeric() || byte == b'-')?,
        weight,
    })
}

/// `q=0.8` (RFC 9110 §12.4.2), in thousandths.
fn weight(text: &str) -> Option<u16> {
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = [part, "000"].concat()[..3].parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [(&str, &str); 4] =
        [("tempo", "charge"), ("tempo", "session"), ("stripe", "charge"), ("solana", "charge")];

    #[track_caller]
    fn check(value: &str, expect: Option<&[usize]>) {
        let chosen = AcceptPayment::parse(value).map(|accept| accept.choose(&WAYS));
        assert_eq!(chosen.as_deref(), expect, "{value}");
    }

    #[test]
    fn the_drafts_examples_are_read() {
        check("tempo/charge, tempo/session, stripe/charge;q=0.5, solana/charge;q=0.3", Some(&[0, 1, 2, 3]));
        check("tempo/*, solana/*;q=0.6, */session;q=0.3", Some(&[0, 1, 3]));
        check("tempo/charge, tempo/session;q=0, solana/charge", Some(&[0, 3]));
    }

    #[test]
    fn the_narrowest_range_counts_and_our_order_breaks_ties() {
        check("*/*", Some(&[0, 1, 2, 3]));
        check("*/*;q=0.1, stripe/charge", Some(&[2, 0, 1, 3]));
        check("*/charge;q=0.9, tempo/*;q=0.2", Some(&[2, 3, 0, 1]));
        check("tempo/*, tempo/charge;q=0", Some(&[1]));
        check("card/charge", Some(&[0, 1, 2, 3]));
        check("*/*;q=0", Some(&[0, 1, 2, 3]));
        check(" tempo/charge ;\tq=1.000 ,, ", Some(&[0]));
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        let long = "tempo/charge,".repeat(100);
        for value in [
            "",
            ",",
            "tempo",
            "tempo/",
            "/charge",
            "Tempo/charge",
            "tempo/charge/x",
            "tempo/charge;q=2",
            "tempo/charge;q=1.001",
            "tempo/charge;q=0.1234",
            "tempo/charge;q=",
            "tempo/charge;q=-0",
            "tempo/charge;x=1",
            "tempo/charge;q=0.٣",
            "tempo/cha rge",
            &long,
        ] {
            check(value, None);
        }
    }
}
