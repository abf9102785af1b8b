//! The base score of a CVSS 3 vector (`CVSS:3.1/AV:N/AC:L/…`), as FIRST's specification reckons it.
//!
//! Version 4 needs tables of a thousand lines; of such a vector no score is known here.

/// The score, 0.0 to 10.0; none where the vector is none of version 3.
pub(crate) fn score(vector: &str) -> Option<f64> {
    let metrics = vector
        .strip_prefix("CVSS:3.0/")
        .or_else(|| vector.strip_prefix("CVSS:3.1/"))?;
    let metric = |name: &str| {
        metrics
            .split('/')
            .filter_map(|part| part.split_once(':'))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let changed = match metric("S")? {
        "U" => false,
        "C" => true,
        _ => return None,
    };
    let vector = match metric("AV")? {
        "N" => 0.85,
        "A" => 0.62,
        "L" => 0.55,
        "P" => 0.2,
        _ => return None,
    };
    let complexity = match metric("AC")? {
        "L" => 0.77,
        "H" => 0.44,
        _ => return None,
    };
    let privileges = match (metric("PR")?, changed) {
        ("N", _) => 0.85,
        ("L", false) => 0.62,
        ("L", true) => 0.68,
        ("H", false) => 0.27,
        ("H", true) => 0.5,
        _ => return None,
    };
    let interaction = match metric("UI")? {
        "N" => 0.85,
        "R" => 0.62,
        _ => return None,
    };
    let harm = |name: &str| match metric(name)? {
        "H" => Some(0.56),
        "L" => Some(0.22),
        "N" => Some(0.0),
        _ => None,
    };
    let kept: f64 = [harm("C")?, harm("I")?, harm("A")?]
        .iter()
        .map(|harm| 1.0 - harm)
        .product();
    let base: f64 = 1.0 - kept;
    let impact = if changed {
        7.52 * (base - 0.029) - 3.25 * (base - 0.02).powi(15)
    } else {
        6.42 * base
    };
    if impact <= 0.0 {
        return Some(0.0);
    }
    let sum = impact + 8.22 * vector * complexity * privileges * interaction;
    let sum = if changed { 1.08 * sum } else { sum };
    Some(round_up(sum.min(10.0)))
}

/// To the next tenth, but not for what only arithmetic left over.
fn round_up(value: f64) -> f64 {
    let scaled = (value * 100_000.0).round();
    (scaled / 10_000.0).ceil() / 10.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn scores_are_those_of_the_advisories() {
        for (vector, score) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(9.8)),
            ("CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H", Some(7.2)),
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H", Some(5.5)),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", Some(6.1)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(10.0)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", Some(0.0)),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                None,
            ),
            ("CVSS:3.1/AV:N", None),
            ("", None),
        ] {
            assert_eq!(super::score(vector), score, "{vector}");
        }
    }
}
