//! Numbers as people read them, in the words that the host uses too.

use std::time::Duration;

/// `40,000`.
pub fn count(count: u64) -> String {
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
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `812 B`, `1.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `7 days`, `24 h`, `30 min`, `90 s`: in the largest unit that is whole.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (size, unit) = [
        (86_400_000, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ]
    .into_iter()
    .find(|(size, _)| millis >= *size && millis.is_multiple_of(*size))
    .unwrap_or((1, "ms"));
    let number = millis / size;
    if number == 1 && unit == "days" {
        "1 day".to_owned()
    } else {
        format!("{number} {unit}")
    }
}

/// `90 s`, `15 min`, `47 h`, `3 days`: rounded down to the largest unit of which there are two, where nobody wants the rest.
pub fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (size, unit) = match seconds {
        0..120 => (1, "s"),
        120..7_200 => (60, "min"),
        7_200..172_800 => (3_600, "h"),
        _ => (86_400, "days"),
    };
    format!("{} {unit}", count(seconds / size))
}

/// True when a pattern is `name`, or ends in `*` and `name` begins with the rest. Case does not matter.
pub fn is_among(patterns: &[String], name: &str) -> bool {
    let name = name.to_lowercase();
    patterns.iter().any(|pattern| {
        let pattern = pattern.to_lowercase();
        match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(counted(0, "row", "rows"), "0 rows");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(1_468_006), "1.4 MiB");
        assert_eq!(bytes(500 << 20), "500 MiB");
        assert_eq!(duration(Duration::from_secs(7 * 86_400)), "7 days");
        assert_eq!(duration(Duration::from_secs(86_400)), "1 day");
        assert_eq!(duration(Duration::from_secs(5_400)), "90 min");
        assert_eq!(duration(Duration::from_millis(1_500)), "1500 ms");
    }

    #[test]
    fn about_is_rounded_down_to_a_unit_of_which_there_are_two() {
        let of = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(
            [of(119), of(120), of(7_199), of(7_200), of(172_799), of(172_800)],
            ["119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]
        );
    }

    #[test]
    fn a_pattern_is_a_name_or_its_beginning_in_any_case() {
        let patterns = ["pgbouncer".to_owned(), "Backup*".to_owned()];
        assert!(is_among(&patterns, "PgBouncer") && is_among(&patterns, "backup-nightly"));
        assert!(!is_among(&patterns, "pgbouncer2") && !is_among(&patterns, "my-backup"));
    }
}
