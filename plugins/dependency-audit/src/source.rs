//! Where advisories come from: an origin that speaks OSV's API, or an offline database in a directory.
//!
//! Both answer the same: for each package the advisories that affect it. What could not be asked is an error, never
//! "none".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sereno_plugin::{Error, Failure, Files, Http};

use crate::advisory::Advisory;
use crate::lockfile::Package;

/// What OSV takes in one request.
const QUERIES_MAX: usize = 1_000;

/// Advisories whose details are asked for; of those beyond it the severity is unknown, which counts as severe.
const DETAILS_MAX: usize = 500;

/// Pages of one package's advisories.
const PAGES_MAX: usize = 20;

/// Of an offline database, read at once: what the host gives at most.
const CHUNK: u32 = 256 << 10;

/// One advisory of an offline database; also all of one that is a single JSON list.
const DOCUMENT_BYTES_MAX: usize = 12 << 20;

/// What affects each package, and the newest change of an offline database.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) advisories: BTreeMap<Package, Vec<Advisory>>,
    pub(crate) newest: Option<String>,
    /// Lines of an offline database that could not be read.
    pub(crate) unread: u64,
}

#[derive(Serialize)]
struct Batch<'a> {
    queries: Vec<Query<'a>>,
}

#[derive(Serialize)]
struct Query<'a> {
    package: Named<'a>,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    ecosystem: &'a str,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Option<Hits>>,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    vulns: Vec<Hit>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Hit {
    id: String,
}

/// An answer that is none.
fn bad(origin: &str, what: &str) -> Failure {
    Failure::Permanent(format!(
        "origin.{origin} does not answer as OSV's API does: {what}"
    ))
}

fn of_status(origin: &str, status: u16) -> Failure {
    let text = format!("origin.{origin} answered {status}");
    match status {
        408 | 429 | 500..=599 => Failure::Retryable(text),
        _ => Failure::Permanent(text),
    }
}

/// Asks an origin: which advisories affect which package, in batches, and then for each advisory once.
pub(crate) fn ask(
    host: &mut impl Http,
    origin: &str,
    packages: &BTreeSet<Package>,
) -> Result<Found, Failure> {
    let mut ids = BTreeMap::<&Package, BTreeSet<String>>::new();
    let mut open: Vec<(&Package, Option<String>)> = packages.iter().map(|package| (package, None)).collect();
    let mut pages = 0;
    while !open.is_empty() {
        pages += 1;
        if pages > PAGES_MAX {
            return Err(bad(origin, "its pages have no end"));
        }
        let mut next = Vec::new();
        for part in open.chunks(QUERIES_MAX) {
            let queries = part.iter().map(|(package, token)| Query {
                package: Named {
                    name: &package.name,
                    ecosystem: package.ecosystem,
                },
                version: &package.version,
                page_token: token.clone(),
            });
            let batch = Batch {
                queries: queries.collect(),
            };
            let body = serde_json::to_vec(&batch).map_err(|error| Failure::Permanent(error.to_string()))?;
            let answer = host.post(
                origin,
                "/v1/querybatch",
                &[("content-type", "application/json")],
                &body,
            )?;
            if answer.status != 200 {
                return Err(of_status(origin, answer.status));
            }
            let found: Results =
                serde_json::from_slice(&answer.body).map_err(|error| bad(origin, &error.to_string()))?;
            if found.results.len() != part.len() {
                return Err(bad(origin, "it has not one result for each query"));
            }
            for ((package, _), hits) in part.iter().zip(found.results) {
                let Some(hits) = hits else { continue };
                ids.entry(package)
                    .or_default()
                    .extend(hits.vulns.into_iter().map(|hit| hit.id));
                if hits.next_page_token.is_some() {
                    next.push((*package, hits.next_page_token));
                }
            }
        }
        open = next;
    }
    let all: BTreeSet<&String> = ids.values().flatten().collect();
    let mut details = BTreeMap::new();
    for id in all {
        let advisory = if details.len() < DETAILS_MAX {
            detail(host, origin, id)?
        } else {
            None
        };
        let advisory = advisory.unwrap_or_else(|| Advisory::without_details(id));
        details.insert(id.clone(), advisory);
    }
    let advisories = ids.into_iter().map(|(package, ids)| {
        let advisories = ids.iter().filter_map(|id| details.get(id));
        let advisories = advisories
            .filter(|advisory| advisory.withdrawn.is_none())
            .cloned();
        (package.clone(), advisories.collect())
    });
    Ok(Found {
        advisories: advisories.collect(),
        ..Found::default()
    })
}

/// One advisory; none where it is not there any more.
fn detail(host: &mut impl Http, origin: &str, id: &str) -> Result<Option<Advisory>, Failure> {
    if !id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    {
        return Err(bad(origin, "an advisory's id is none"));
    }
    let answer = host.get(
        origin,
        &format!("/v1/vulns/{id}"),
        &[("accept", "application/json")],
    )?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|error| bad(origin, &error.to_string())),
        404 => Ok(None),
        status => Err(of_status(origin, status)),
    }
}

/// Reads an offline database from its beginning to its end, in flat memory.
pub(crate) fn look_up(
    host: &mut impl Files,
    directory: &str,
    path: &str,
    packages: &BTreeSet<Package>,
) -> Result<Found, Failure> {
    let mut by_name = BTreeMap::<(&str, &str), Vec<&Package>>::new();
    for package in packages {
        by_name
            .entry((package.ecosystem, &package.name))
            .or_default()
            .push(package);
    }
    let mut found = Found::default();
    let mut known = 0_u64;
    let mut take = |advisory: Advisory, found: &mut Found| {
        known += 1;
        if found
            .newest
            .as_ref()
            .is_none_or(|newest| *newest < advisory.modified)
        {
            found.newest = Some(advisory.modified.clone());
        }
        let named: BTreeSet<&Package> = advisory
            .names()
            .filter_map(|name| by_name.get(&name))
            .flatten()
            .copied()
            .collect();
        for package in named {
            if advisory.affects(package) {
                found
                    .advisories
                    .entry(package.clone())
                    .or_default()
                    .push(advisory.clone());
            }
        }
    };
    let (mut offset, mut held) = (0, Vec::new());
    loop {
        let part = host.read_content(directory, path.as_bytes(), offset, CHUNK)?;
        let at_end = part.bytes.is_empty();
        offset += part.bytes.len() as u64;
        held.extend_from_slice(&part.bytes);
        // One list is read whole; lines as they come.
        let is_list = held.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if is_list && at_end {
            let list: Vec<Advisory> = serde_json::from_slice(&held)
                .map_err(|error| Failure::Permanent(format!("directory.{directory}: {path}: {error}")))?;
            for advisory in list {
                take(advisory, &mut found);
            }
            held.clear();
        }
        if !is_list {
            let end = if at_end {
                held.len()
            } else {
                held.iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1)
            };
            for line in held[..end]
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty())
            {
                match serde_json::from_slice(line) {
                    Ok(advisory) => take(advisory, &mut found),
                    Err(_) => found.unread += 1,
                }
            }
            held.drain(..end);
        }
        if held.len() > DOCUMENT_BYTES_MAX {
            return Err(Failure::Permanent(format!(
                "directory.{directory}: {path} is neither an advisory a line nor a JSON list of at most {DOCUMENT_BYTES_MAX} bytes"
            )));
        }
        if at_end {
            break;
        }
    }
    if known == 0 {
        return Err(Failure::PassedOn(Error::NotFound(format!(
            "directory.{directory}: {path} holds no advisory"
        ))));
    }
    Ok(found)
}
