//! Runs as programs read them: core's documents, which HTTP answers too.

pub(crate) use sereno_core::document::{report, row};

#[cfg(test)]
mod tests {
    use sereno_core::run::{Mode, Outcome, Reason, Refusal};

    use super::super::report::tests::{sample, within};
    use super::super::runs::tests::row as sample_row;

    #[test]
    fn a_report_and_a_list_tell_an_outcome_and_a_reason_alike() {
        let outcome = Outcome::Refused(Refusal::Guard, "too much".to_owned());
        let mut report = sample(Mode::Apply, outcome, within());
        report.reason = Reason::Apply(report.run.clone());
        let mut row = sample_row("0000000000", Some("refused(guard)"));
        row.reason = report.reason.clone();
        let (report, row) = (super::report(&report), super::row(&row));
        for document in [&report, &row] {
            assert_eq!(document["outcome"], "refused(guard)");
            assert_eq!(document["reason"], "apply(k3v9x2m4qd)");
        }
        assert_eq!(report["message"], "too much");
        let succeeded = sample(Mode::Apply, Outcome::Succeeded, within());
        assert!(super::report(&succeeded)["message"].is_null());
        let at_work = super::row(&sample_row("0000000000", None));
        assert!(at_work["outcome"].is_null());
    }
}
