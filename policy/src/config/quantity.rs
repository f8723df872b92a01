//! Durations and byte counts as people write them: `30d`, `1GB`.

/// The longest period or time that a policy may name: ten years.
const MAX_SECS: u64 = 10 * 366 * 86_400;

/// Reads `0s`, `15m`, `12h`, `30d` or `2w` into seconds.
///
/// # Errors
/// What would be right.
pub(crate) fn duration_secs(text: &str) -> Result<u64, String> {
    let (number, unit) =
        split(text).ok_or("write a number and a unit, as in \"30d\"; units are s, m, h, d and w")?;
    let unit_secs = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "" => {
            return Err(format!(
                "\"{text}\" has no unit; write \"{text}s\", \"{text}m\", \"{text}h\" or \"{text}d\""
            ));
        }
        _ => return Err("the units of time are s, m, h, d and w".to_owned()),
    };
    number
        .checked_mul(unit_secs)
        .filter(|seconds| *seconds <= MAX_SECS)
        .ok_or_else(|| "ten years are the most".to_owned())
}

/// Reads `500kB`, `1GB`, `64MiB` or plain bytes.
///
/// # Errors
/// What would be right.
pub(crate) fn byte_count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or("write a number and a unit, as in \"1GB\"")?;
    let unit_bytes: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("the units of bytes are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB".to_owned()),
    };
    number
        .checked_mul(unit_bytes)
        .filter(|bytes| (1..=1 << 62).contains(bytes))
        .ok_or_else(|| "it must be at least one byte and at most 4 EiB".to_owned())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    Some((number, rest.strip_prefix(' ').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expect) in
            [("0s", 0), ("90s", 90), ("15m", 900), ("12 h", 43_200), ("30d", 2_592_000), ("1w", 604_800)]
        {
            assert_eq!(duration_secs(text), Ok(expect), "{text}");
        }
        for text in ["", "30", "d", "-1d", "1.5h", "30days", "99999999999999999999s", "11000d", "1  d", "ñ"]
        {
            assert!(duration_secs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn byte_counts_are_decimal_or_binary_by_their_unit() {
        for (text, expect) in [("1", 1), ("500kB", 500_000), ("1GB", 1_000_000_000), ("64 MiB", 67_108_864)] {
            assert_eq!(byte_count(text), Ok(expect), "{text}");
        }
        for text in ["", "0", "GB", "1.5GB", "1gb", "99999999999TB", "-1"] {
            assert!(byte_count(text).is_err(), "{text}");
        }
    }
}
