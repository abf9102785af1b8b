//! Durations, sizes and counts with their units, as configurations write them and as people read them.
//!
//! A day is 24 hours. Months and years have no fixed length and are refused, as is a number without a unit and a
//! zero: a blank or unit-less retention has deleted whole databases elsewhere.

use std::time::Duration;

/// Why a text is no duration or size; `hint` says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct UnitError {
    /// What is wrong, as a fragment.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

/// Reads `"24h"`, `"90 days"`, `"1h 30m"`, `"500ms"`.
///
/// # Errors
/// No unit, months or years, a zero, or text that is no number.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const HINT: &str =
        "write a number and a unit: `\"90 days\"`, `\"24h\"`, `\"30m\"`, `\"10s\"`, `\"500ms\"`";
    let refuse = |problem: String| UnitError {
        problem,
        hint: HINT.to_owned(),
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse("a blank duration".to_owned()));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split(rest);
        let value: u64 = number
            .replace('_', "")
            .parse()
            .map_err(|_| refuse(format!("`{text}` is not a duration")))?;
        let unit_end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = (&after[..unit_end], after[unit_end..].trim_start());
        let millis = match unit {
            "ms" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 7 * 86_400_000,
            "" => return Err(refuse(format!("`{text}` has no unit"))),
            "month" | "months" | "y" | "year" | "years" => {
                return Err(UnitError {
                    problem: format!("`{unit}` has no fixed length"),
                    hint: "write days: `\"30 days\"`, `\"365 days\"`".to_owned(),
                });
            }
            _ => return Err(refuse(format!("`{unit}` is not a unit of time"))),
        };
        let part = value
            .checked_mul(millis)
            .ok_or_else(|| refuse(format!("`{text}` is too long")))?;
        total += Duration::from_millis(part);
        rest = next;
    }
    if total.is_zero() {
        return Err(refuse(format!("`{text}` is zero")));
    }
    if total > Duration::from_hours(1_752_000) {
        return Err(refuse(format!("`{text}` is longer than 200 years")));
    }
    Ok(total)
}

/// Reads `"500 MiB"`, `"10 GB"`, `"4096 B"` into bytes.
///
/// # Errors
/// No unit, a zero, or text that is no number.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    const HINT: &str = "write a number and a unit: `\"500 MiB\"`, `\"10 GiB\"`, `\"64 kB\"`, `\"4096 B\"`";
    let refuse = |problem: String| UnitError {
        problem,
        hint: HINT.to_owned(),
    };
    let (number, unit) = split(text);
    let value: f64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| refuse(format!("`{text}` is not a size")))?;
    let factor: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "" => return Err(refuse(format!("`{text}` has no unit"))),
        _ => return Err(refuse(format!("`{unit}` is not a unit of size"))),
    };
    let bytes = value * factor as f64;
    // 2^53: beyond it a double no longer counts single bytes.
    if !(1.0..=9_007_199_254_740_992.0).contains(&bytes) {
        return Err(refuse(format!("`{text}` is out of range")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok(bytes.round() as u64)
}

/// `1.4 MiB`, `812 B`: three significant digits, binary units.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// `40,000`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40,000 rows`, `1 row`.
pub fn show_counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", show_count(count), if count == 1 { one } else { many })
}

/// `7 days`, `24 h`, `1 h 30 min`, `12.3 s`, `8 ms`: the two largest units.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    if millis < 60_000 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs();
    let (days, hours, minutes, rest) = (
        seconds / 86_400,
        seconds % 86_400 / 3_600,
        seconds % 3_600 / 60,
        seconds % 60,
    );
    let parts = [
        (days, if days == 1 { "day" } else { "days" }),
        (hours, "h"),
        (minutes, "min"),
        (rest, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    parts[first..]
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("7 days"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for bad in [
            "",
            " ",
            "30",
            "0 days",
            "-90 days",
            "3 months",
            "1 year",
            "ten days",
            "5 parsecs",
            "h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_carry_their_unit() {
        assert_eq!(parse_size("500 MiB"), Ok(500 << 20));
        assert_eq!(parse_size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_size("10 GB"), Ok(10_000_000_000));
        for bad in ["", "500", "0 B", "-1 MiB", "5 mb", "MiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(show_count(0), "0");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_bytes(812), "812 B");
        assert_eq!(show_bytes(1_468_006), "1.4 MiB");
        assert_eq!(show_duration(Duration::from_secs(86_400 * 7)), "7 days");
        assert_eq!(show_duration(Duration::from_secs(5_400)), "1 h 30 min");
        assert_eq!(show_duration(Duration::from_millis(12_345)), "12.3 s");
    }
}
