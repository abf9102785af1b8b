//! What consent to a job is about: what its targets are, its params, grants, guards and its plugin's needs.
//!
//! Whether somebody has consented is `approve`'s and `apply`'s to ask.

use serde_json::{Map, Value as Json};

use crate::grant::Need;
use crate::job::{Config, Job, SecretText, StoragePlace, WriterTarget};
use crate::name::TargetName;
use crate::run::digest;

/// The terms in full; their hash is what is compared.
pub(super) fn terms(config: &Config, job: &Job, targets: &[String], params: &Json, needs: &[Need]) -> Json {
    let what_they_are: Map<String, Json> = targets
        .iter()
        .map(|target| (target.clone(), identity(config, target)))
        .collect();
    // By path, so that what has changed can be told.
    let grant: Map<String, Json> = job
        .grants
        .0
        .iter()
        .map(|(path, verbs)| (path.to_string(), serde_json::json!(verbs)))
        .collect();
    serde_json::json!({
        "plugin": job.plugin,
        "targets": what_they_are,
        "params": params,
        "grant": grant,
        "guard": job.guards,
        "needs": needs,
    })
}

/// The same for the same terms.
pub(super) fn hash(terms: &Json) -> String {
    digest(terms.to_string().as_bytes())
}

/// What a target's name stands for: consent to one is none to another that takes its name.
fn identity(config: &Config, target: &str) -> Json {
    let name = |kind: &str| target.strip_prefix(kind)?.parse::<TargetName>().ok();
    let database = name("database.").and_then(|name| config.databases.get(&name));
    let directory = name("directory.").and_then(|name| config.directories.get(&name));
    let origin = name("origin.").and_then(|name| config.origins.get(&name));
    if let Some(origin) = origin {
        let what = [origin.allow_private, origin.query];
        return serde_json::json!([target, origin.url.reference(), what]);
    }
    if let Some(writer) = name("writer.").and_then(|name| config.writers.get(&name)) {
        return match writer {
            WriterTarget::Process { pidfile, signal } => serde_json::json!([target, pidfile, signal]),
            WriterTarget::Hook { argv, .. } => serde_json::json!([target, argv]),
        };
    }
    let storage = name("storage.").and_then(|name| config.storages.get(&name));
    let mut identity = serde_json::json!([
        target,
        database.map(|database| {
            let zone = database.timezone.to_string();
            serde_json::json!([
                database.url.reference(),
                zone,
                database.time_format,
                database.protected
            ])
        }),
        directory.map(|directory| serde_json::json!([directory.path, directory.scope])),
    ]);
    if let (Json::Array(parts), Some(storage)) = (&mut identity, storage) {
        parts.push(match &storage.place {
            StoragePlace::Folder(path) => serde_json::json!([path, storage.scope]),
            StoragePlace::S3(s3) => {
                let endpoint = s3.endpoint.as_ref().map(SecretText::reference);
                serde_json::json!([s3.url.reference(), endpoint, storage.scope])
            }
        });
    }
    identity
}
