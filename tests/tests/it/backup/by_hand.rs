//! What the page of the plugin `backup` says of restoring without sereno, typed as it stands there.

use std::path::{Path, PathBuf};
use std::process::Command;

use sereno_tests::postgres;

use super::world::{Server, World};

/// The block of the page that has `word` in it.
pub(super) fn block(word: &str) -> String {
    let page = include_str!("../../../../plugins/backup/README.md");
    let (_, rest) = page.split_once("## To restore one without sereno").unwrap();
    let mut blocks = rest.split("```text\n").skip(1);
    let block = blocks.find_map(|block| {
        let (block, _) = block.split_once("```")?;
        block.contains(word).then(|| block.to_owned())
    });
    block.unwrap()
}

/// Types `commands` in `folder` with `programs` at hand; what they say.
pub(super) fn types(commands: &str, folder: &Path, programs: &Path, environment: &[(&str, &str)]) -> String {
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-euc", commands])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

async fn comes_back_by_hand(server: Server) {
    let world = World::new(server).await;
    let before = world.fingerprint("app").await;
    let made = world.create("a").await.unwrap();
    let folder = world.folder("a");
    let sha256 = &made.files[0].sha256;
    if server == Server::Sqlite {
        let said = types(&block("restored.db"), &folder, Path::new("/"), &[]);
        assert!(said.contains(sha256), "{said}");
        let url = format!("sqlite://{}", folder.join("restored.db").display());
        assert_eq!(world.fingerprint_of(&url).await, before);
        return;
    }
    let programs: PathBuf = match server {
        Server::Postgres18 => postgres::find_programs_18().unwrap(),
        _ => postgres::find_programs().unwrap(),
    };
    let (head, host) = world.url("app").split_once("?host=").unwrap();
    let user = head.split("://").nth(1).and_then(|rest| rest.split('@').next());
    let commands = block("pg_restore").replace("restored", "by_hand");
    let connection = [("PGHOST", host), ("PGUSER", user.unwrap())];
    let said = types(&commands, &folder, &programs, &connection);
    assert_eq!(said.matches(sha256).count(), 2, "as in the manifest: {said}");
    let name = head.rsplit('/').next().unwrap();
    let url = world.url("app").replace(name, "by_hand");
    assert_eq!(world.fingerprint_of(&url).await, before);
}

#[tokio::test]
async fn comes_back_by_hand_sqlite() {
    comes_back_by_hand(Server::Sqlite).await;
}

#[tokio::test]
async fn comes_back_by_hand_postgres() {
    comes_back_by_hand(Server::Postgres).await;
}

#[tokio::test]
async fn comes_back_by_hand_postgres_18() {
    comes_back_by_hand(Server::Postgres18).await;
}
