//! Durations and sizes as people write them: `30s`, `64MiB`.

use std::time::Duration;

/// Reads `250ms`, `30s`, `5m`, `2h` or `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let scale_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` is not a duration such as 250ms, 30s, 5m, 2h or 1d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    let millis = number.checked_mul(scale_ms).ok_or_else(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_millis(millis))
}

/// Reads `512`, `64KiB`, `64MiB`, `1GiB`, or the decimal `kB`, `MB`, `GB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size such as 64KiB, 64MiB or 1GB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is too large"))
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (&text[..digits], text[digits..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("1 MB"), Ok(1_000_000));
        assert!(duration("5").is_err() && duration("x").is_err() && bytes("1.5MB").is_err());
        assert!(bytes("99999999999999GiB").is_err());
    }
}
