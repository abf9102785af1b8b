//! Hints for a name that is not there: the nearest one, or the names there are.
//!
//! It only words them; the catalogues find the names.

/// Names listed when none is near; more would hide the message.
const NAMES_LISTED: usize = 10;

/// Below this likeness a suggestion confuses more than it helps.
const LIKENESS_MIN: f64 = 0.7;

/// `did you mean updated_at?`, or the names there are. `kind` is their plural.
pub(super) fn hint<'a>(wanted: &str, kind: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    let nearest = names
        .iter()
        .map(|name| {
            (
                strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness >= LIKENESS_MIN => format!("did you mean {name}?"),
        Some(_) if names.len() > NAMES_LISTED => {
            format!(
                "its {kind} are {} and {} more",
                names[..NAMES_LISTED].join(", "),
                names.len() - NAMES_LISTED
            )
        }
        Some(_) => format!("its {kind} are {}", names.join(", ")),
        None => format!("there are no {kind} that this role can see"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_far_ones_are_listed() {
        let columns = ["id", "updated_at", "Status"];
        assert_eq!(
            hint("updated_att", "columns", columns),
            "did you mean updated_at?"
        );
        assert_eq!(hint("status", "columns", columns), "did you mean Status?");
        assert_eq!(
            hint("zzz", "columns", columns),
            "its columns are Status, id, updated_at"
        );
        assert_eq!(
            hint("x", "indexes", []),
            "there are no indexes that this role can see"
        );
    }
}
