//! `[backup]`: the tools that backups are made with, and where they are unpacked to be looked at.

use std::path::{Path, PathBuf};

use super::directory::absolute;
use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::job::BackupSettings;

pub(super) static BACKUP: Shape = Shape {
    keys: &[
        Key {
            name: "tools",
            kind: Kind::Parsed(&texts::PATH),
            presence: Presence::Optional,
            doc: "The folder of PostgreSQL's client programs (`pg_dump`, `pg_restore`), of the server's version or newer. \
                  Absent: `SERENO_PG_BIN`, else PATH and `/usr/lib/postgresql`, whichever fits the server.",
        },
        Key {
            name: "work",
            kind: Kind::Parsed(&texts::PATH),
            presence: Presence::Optional,
            doc: "Where copies of SQLite files lie while they are stored or checked. Absent: the system's temporary folder.",
        },
    ],
};

pub(super) fn read(root: &Node, folder: &Path) -> BackupSettings {
    let path = |key: &str| -> Option<PathBuf> {
        let text = root.get("backup")?.text_of(key)?;
        (texts::PATH.check)(text).is_ok().then(|| absolute(folder, text))
    };
    BackupSettings {
        tools: path("tools"),
        work: path("work"),
    }
}
