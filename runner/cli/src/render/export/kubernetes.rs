//! Kubernetes: a `CronJob` for each expression, locked down.
//!
//! The configuration (a `ConfigMap`), the environment (a Secret) and the volumes are named and not made here.

use std::collections::BTreeMap;
use std::path::Path;

use sereno_core::grant::{Path as GrantPath, Verb};
use sereno_core::job::StoragePlace;
use sereno_core::run::Work;
use sereno_core::schedule::Expression;

use super::{Exported, Installed, Scheduled, quoted};

const HEAD: &str = "\
# Written by `sereno schedule export --to kubernetes`; change the configuration and write it anew.
# Every run takes its schedule's own latest time (--tick): a pod that comes too often or again runs nothing twice.
";

/// A pod that could not be started is overtaken by the next one at the latest after this.
const DEADLINE_SECONDS: (u64, u64) = (60, 43_200);

/// As long as Kubernetes lets a `CronJob`'s name be.
const NAME_MAX: usize = 52;

/// The manifests of all these.
pub(crate) fn manifests(installed: &Installed<'_>, scheduled: &[Scheduled<'_>]) -> Exported {
    let all = scheduled.iter().flat_map(|(work, schedule)| {
        let expressions = schedule.for_plain_cron();
        let age = installed.age_max(work, schedule).as_secs();
        let deadline = age.clamp(DEADLINE_SECONDS.0, DEADLINE_SECONDS.1);
        let manifests: Vec<String> = expressions
            .iter()
            .enumerate()
            .map(|(place, expression)| {
                let about = format!("{work}: {schedule}");
                manifest(installed, work, &about, place, expression, deadline)
            })
            .collect();
        manifests
    });
    Exported {
        name: "cronjobs.yaml",
        text: std::iter::once(HEAD.to_owned()).chain(all).collect(),
    }
}

fn manifest(
    installed: &Installed<'_>,
    work: &Work,
    about: &str,
    place: usize,
    expression: &Expression,
    deadline: u64,
) -> String {
    let zone = if expression.is_utc {
        "Etc/UTC"
    } else {
        match installed.config.timezone.name() {
            "UTC" => "Etc/UTC",
            name => name,
        }
    };
    let volumes = volumes(installed, work);
    let mounts: String = volumes
        .iter()
        .map(|(name, path)| {
            format!(
                "                - {{ name: {name}, mountPath: {} }}\n",
                quoted(path)
            )
        })
        .collect();
    let claims: String = volumes
        .keys()
        .map(|name| {
            format!(
                "            - {{ name: {name}, persistentVolumeClaim: {{ claimName: sereno-{name} }} }}\n"
            )
        })
        .collect();
    let words: String = installed
        .words(work)
        .iter()
        .map(|word| format!("                - {}\n", quoted(word)))
        .collect();
    let folder = installed.file.parent().unwrap_or(Path::new("/"));
    format!(
        "---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
  labels: {{ app.kubernetes.io/name: sereno, app.kubernetes.io/component: job }}
  annotations: {{ sereno/schedule: {about} }}
spec:
  schedule: {schedule}
  timeZone: {zone}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {deadline}
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: {retries}
      ttlSecondsAfterFinished: 604800
      # What another try would not mend fails at once; what is done in part goes on; the rest is tried again.
      podFailurePolicy:
        rules:
          - action: FailJob
            onExitCodes: {{ containerName: sereno, operator: In, values: [2, 3, 8] }}
          - action: Ignore
            onExitCodes: {{ containerName: sereno, operator: In, values: [4] }}
          - action: Ignore
            onPodConditions:
              - {{ type: DisruptionTarget, status: \"True\" }}
      template:
        metadata:
          labels: {{ app.kubernetes.io/name: sereno, app.kubernetes.io/component: job }}
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          enableServiceLinks: false
          terminationGracePeriodSeconds: 60
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            runAsGroup: 65532
            fsGroup: 65532
            seccompProfile: {{ type: RuntimeDefault }}
          containers:
            - name: sereno
              image: {image}
              args:
{words}              envFrom:
                - secretRef: {{ name: sereno }}
              env:
                - {{ name: SERENO_CACHE_DIR, value: /var/cache/sereno }}
              resources:
                requests: {{ cpu: 100m, memory: 128Mi }}
                limits: {{ memory: 512Mi }}
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities: {{ drop: [ALL] }}
              volumeMounts:
                - {{ name: configuration, mountPath: {folder}, readOnly: true }}
                - {{ name: cache, mountPath: /var/cache/sereno }}
                - {{ name: tmp, mountPath: /tmp }}
{mounts}          volumes:
            - {{ name: configuration, configMap: {{ name: sereno }} }}
            - {{ name: cache, emptyDir: {{}} }}
            - {{ name: tmp, emptyDir: {{}} }}
{claims}",
        name = name(work, place),
        about = quoted(about),
        schedule = quoted(&expression.text),
        zone = quoted(zone),
        retries = installed.retries(work),
        image = image(installed, work),
        folder = quoted(&folder.display().to_string()),
    )
}

/// Backups are made with the database's own programs, which the smaller image has not.
fn image(installed: &Installed<'_>, work: &Work) -> &'static str {
    let jobs = installed.jobs(work);
    let makes_backups = jobs
        .iter()
        .flat_map(|job| job.grants.0.values().flatten())
        .any(|verb| matches!(verb, Verb::Backup | Verb::Restore));
    if makes_backups { "sereno-backup" } else { "sereno" }
}

/// The directories, and the storages in files, that `work` was granted: names of volumes and where they are.
fn volumes(installed: &Installed<'_>, work: &Work) -> BTreeMap<String, String> {
    let config = installed.config;
    let jobs = installed.jobs(work);
    let paths = jobs.iter().flat_map(|job| job.grants.0.keys());
    paths
        .filter_map(|path| match path {
            GrantPath::Directory(name) => {
                let path = config.directories.get(name)?.path.display().to_string();
                Some((label("directory", name.as_str()), path))
            }
            GrantPath::Storage(name) => match &config.storages.get(name)?.place {
                StoragePlace::Folder(path) => {
                    Some((label("storage", name.as_str()), path.display().to_string()))
                }
                StoragePlace::S3(_) => None,
            },
            _ => None,
        })
        .collect()
}

fn name(work: &Work, place: usize) -> String {
    let name = match place {
        0 => work.name().to_owned(),
        place => format!("{}-{}", work.name(), place + 1),
    };
    label("sereno", &name)
}

/// A name that Kubernetes takes, another one for each: what had to be changed or cut short ends in a sum of itself.
fn label(kind: &str, name: &str) -> String {
    let plain = format!("{kind}-{name}");
    let is_fine = plain.len() <= NAME_MAX && !plain.contains('_') && !plain.ends_with('-');
    if is_fine {
        return plain;
    }
    // FNV-1a: it must be the same for ever, and guards nothing.
    let sum = plain.bytes().fold(0x811c_9dc5_u32, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let start: String = plain.replace('_', "-").chars().take(NAME_MAX - 9).collect();
    format!("{}-{sum:08x}", start.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        assert_eq!(label("sereno", "daily"), "sereno-daily");
        let long = label("sereno", &"a".repeat(64));
        assert_eq!(long.len(), NAME_MAX);
        assert_ne!(label("sereno", "a_b"), label("sereno", "a-b"));
        assert!(label("sereno", "a_b").starts_with("sereno-a-b-"));
        assert!(!label("sereno", "a-").ends_with('-'));
    }
}
