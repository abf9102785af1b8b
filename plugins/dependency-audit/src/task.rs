//! Reads the lock files, asks for advisories, and tells four ends apart: none, vulnerable, nothing scanned, and not known.
//!
//! It fixes nothing: an update may break what it mends, and that is for people and their tests.

use std::collections::BTreeSet;

use sereno_plugin::{
    Context, Error, Failure, FileFilter, Files, Finding, Http, Instant, Measurement, Measurements, Outcome,
    Report, Unit, target, text,
};

use crate::advisory::Advisory;
use crate::ignore::{Ignores, day};
use crate::lockfile::{self, Package};
use crate::source::{self, Found};
use crate::{Params, Severity};

/// Lock files of one run.
const FILES_MAX: usize = 64;

/// One lock file: larger ones than any known monorepo has, and still within a plugin's memory.
const FILE_BYTES_MAX: u64 = 12 << 20;

/// Packages of all lock files together.
const PACKAGES_MAX: usize = 20_000;

/// Vulnerabilities that are told one by one.
const TOLD_MAX: usize = 200;

/// Read at once: what the host gives at most.
const CHUNK: u32 = 256 << 10;

/// What is measured, and whether it is known.
const READINGS: [&str; 4] = [
    "dependencies.packages",
    "dependencies.vulnerable",
    "dependencies.severe",
    "dependencies.ignored",
];

/// Audits the lock files of one directory.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Files + Http + Measurements),
) -> Result<Outcome, Failure> {
    let mut ignores = Ignores::new(&params.ignore, context.scheduled_at)?;
    if params.origin.is_some() == params.advisories.is_some() {
        let text =
            "name either `origin`, who is asked, or `advisories`, the directory of an offline database";
        return Err(Failure::InvalidParams(text.to_owned()));
    }
    let on = target::directory(&params.directory);
    let mut report = Report::new();
    let packages = match gather(host, params, &on, &mut report) {
        Ok(packages) => packages,
        Err(failure) => return unknown(host, &on, failure),
    };
    if packages.is_empty() {
        return Err(nothing_scanned(host, &on, &report));
    }
    let found = match (&params.origin, &params.advisories) {
        (Some(origin), _) => source::ask(host, origin, &packages),
        (None, Some(directory)) => source::look_up(host, directory, &params.advisories_file, &packages),
        (None, None) => Ok(Found::default()),
    };
    let found = match found {
        Ok(found) => found,
        Err(failure) => return unknown(host, &on, failure),
    };
    tell_age(context, params, &found, &mut report);
    let counts = judge(params, &found, &mut ignores, &on, &mut report);
    for ignore in ignores.expired() {
        let text = format!(
            "{} was to be ignored until {} ({}), and is still there",
            ignore.id, ignore.until, ignore.reason
        );
        report.add(
            Finding::warn("ignore-expired", &on, text)
                .next("mend it, or give the entry a new day and reason"),
        );
    }
    for ignore in ignores.unused() {
        let text = format!("{} is ignored, and nothing has it", ignore.id);
        report.add(Finding::info("ignore-unused", &on, text).next("remove the entry"));
    }
    let packages = Some(packages.len() as u64);
    keep(
        host,
        &on,
        &[
            packages,
            Some(counts.vulnerable),
            Some(counts.severe),
            Some(counts.ignored),
        ],
        "",
    );
    Ok(Outcome::Done(report))
}

/// An end of its own: who looked at nothing has not found nothing.
fn nothing_scanned(host: &mut impl Measurements, on: &str, report: &Report) -> Failure {
    keep(host, on, &[Some(0), None, None, None], "nothing was scanned");
    let mut text = format!(
        "nothing was scanned: no lock file in {on} names a package; look at `directory`, `lock_files` and `exclude`"
    );
    for finding in &report.findings {
        text.extend(["; ", &finding.text]);
    }
    Failure::Permanent(text)
}

/// Whoever could not be asked has not answered "none".
fn unknown(host: &mut impl Measurements, on: &str, failure: Failure) -> Result<Outcome, Failure> {
    let why = match &failure {
        Failure::PassedOn(error) => error.to_string(),
        Failure::InvalidParams(text)
        | Failure::Retryable(text)
        | Failure::Permanent(text)
        | Failure::Refused(text)
        | Failure::Other(text) => text.clone(),
    };
    keep(host, on, &[None; 4], &why);
    Err(failure)
}

fn keep(host: &mut impl Measurements, on: &str, values: &[Option<u64>; 4], why: &str) {
    for (name, value) in READINGS.iter().zip(values) {
        host.measure(Measurement::count(name, on, Unit::Count, *value, why));
    }
}

fn gather(
    host: &mut impl Files,
    params: &Params,
    on: &str,
    report: &mut Report,
) -> Result<BTreeSet<Package>, Failure> {
    let filter = FileFilter {
        include: params.lock_files.clone(),
        exclude: params.exclude.clone(),
        recursive: true,
        ..FileFilter::default()
    };
    let (mut files, mut cursor) = (Vec::new(), None);
    loop {
        let page = host.entries(&params.directory, &filter, cursor.as_deref(), 1_000)?;
        files.extend(page.entries);
        if files.len() > FILES_MAX {
            return Err(Failure::Permanent(format!(
                "{on} has more than {FILES_MAX} lock files; narrow `lock_files` or `exclude`"
            )));
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut packages, mut elsewhere) = (BTreeSet::new(), 0);
    for file in files {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        let locked = content(host, &params.directory, &file.path)
            .and_then(|bytes| lockfile::read(&path, &bytes).map_err(Error::Fault));
        match locked {
            Ok(locked) => {
                packages.extend(locked.packages);
                elsewhere += locked.elsewhere;
            }
            // What one lock file hides the others do not make up for.
            Err(error) if error.is_local() => {
                report.add(Finding::critical(
                    "lock-file-unread",
                    on,
                    format!("{path} could not be read: {error}"),
                ));
            }
            Err(error) => return Err(error.into()),
        }
        if packages.len() > PACKAGES_MAX {
            return Err(Failure::Permanent(format!(
                "the lock files in {on} name more than {PACKAGES_MAX} packages; give each its own job"
            )));
        }
    }
    if elsewhere > 0 {
        let text = format!(
            "{} from repositories, paths or archives: no advisory knows those",
            text::counted(elsewhere, "package comes", "packages come")
        );
        report.add(Finding::info("not-scanned", on, text));
    }
    Ok(packages)
}

fn content(host: &mut impl Files, directory: &str, path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        let part = host.read_content(directory, path, bytes.len() as u64, CHUNK)?;
        if part.total > FILE_BYTES_MAX || bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(Error::Fault(format!(
                "it has more than {}",
                text::bytes(FILE_BYTES_MAX)
            )));
        }
        if part.bytes.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(part.bytes);
    }
}

fn tell_age(context: &Context, params: &Params, found: &Found, report: &mut Report) {
    let Some(directory) = &params.advisories else {
        return;
    };
    let on = target::directory(directory);
    let newest: Option<Instant> = found.newest.as_deref().and_then(|text| day(text.get(..10)?));
    let cutoff = context.cutoff(params.advisories_max_age);
    if newest.is_none_or(|newest| newest < cutoff) {
        let newest = newest.map_or_else(|| "has no date".to_owned(), |newest| format!("is of {newest}"));
        let text = format!("the newest advisory of {} {newest}", params.advisories_file);
        report.add(Finding::warn("advisories-old", &on, text).next("fetch the database anew"));
    }
    if found.unread > 0 {
        let text = format!(
            "{} could not be read",
            text::counted(
                found.unread,
                "line of the offline database",
                "lines of the offline database"
            )
        );
        report.add(Finding::warn("advisories-unread", &on, text));
    }
}

#[derive(Debug, Default)]
struct Counts {
    vulnerable: u64,
    severe: u64,
    ignored: u64,
}

fn judge(params: &Params, found: &Found, ignores: &mut Ignores<'_>, on: &str, report: &mut Report) -> Counts {
    let (mut counts, mut told) = (Counts::default(), Vec::new());
    for (package, advisories) in &found.advisories {
        let mut is_vulnerable = false;
        for (ids, advisory) in merged(advisories) {
            if ignores.covers(ids.iter().map(String::as_str)) {
                counts.ignored += 1;
                continue;
            }
            is_vulnerable = true;
            let severity = advisory.severity(package);
            // Nobody said that it is harmless.
            let severe = severity.is_none_or(|severity| severity >= params.severity);
            counts.severe += u64::from(severe);
            told.push((severe, severity, finding(package, advisory, severity, severe, on)));
        }
        counts.vulnerable += u64::from(is_vulnerable);
    }
    told.sort_by_key(|(severe, severity, _)| std::cmp::Reverse((*severe, *severity)));
    let more = told.len().saturating_sub(TOLD_MAX);
    told.into_iter()
        .take(TOLD_MAX)
        .for_each(|(.., finding)| report.add(finding));
    if more > 0 {
        let text = format!(
            "{} more",
            text::counted(more as u64, "vulnerability", "vulnerabilities")
        );
        report.add(Finding::warn("more-vulnerabilities", on, text).next("mend those above and run it again"));
    }
    counts
}

fn finding(
    package: &Package,
    advisory: &Advisory,
    severity: Option<Severity>,
    severe: bool,
    on: &str,
) -> Finding {
    let how_bad = match severity {
        Some(Severity::Low) => "low",
        Some(Severity::Moderate) => "moderate",
        Some(Severity::High) => "high",
        Some(Severity::Critical) => "critical",
        None => "of unknown severity",
    };
    let name = format!("{} {}", package.name, package.version);
    let text = format!(
        "{name} ({}) has {}, {how_bad}: {}",
        package.ecosystem,
        advisory.id,
        advisory.line()
    );
    let finding = if severe {
        Finding::critical("vulnerable", on, text)
    } else {
        Finding::warn("vulnerable", on, text)
    };
    match advisory.fixed_in(package) {
        Some(fixed) => finding.next(format!("update {} to {fixed} or later", package.name)),
        None => finding.next(format!(
            "no version of {} mends it yet: replace it, or ignore {} for a while",
            package.name, advisory.id
        )),
    }
}

/// One entry for what several databases call by names of their own.
fn merged(advisories: &[Advisory]) -> Vec<(BTreeSet<String>, &Advisory)> {
    let mut groups: Vec<(BTreeSet<String>, &Advisory)> = Vec::new();
    for advisory in advisories {
        let ids = advisory.ids();
        match groups.iter_mut().find(|(known, _)| !known.is_disjoint(&ids)) {
            Some((known, _)) => known.extend(ids),
            None => groups.push((ids, advisory)),
        }
    }
    groups
}

#[cfg(test)]
mod tests;
