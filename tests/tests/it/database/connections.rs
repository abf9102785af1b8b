//! Who is connected, who holds whom, and that nobody is ended but who was meant.

use sereno_core::ports::database::{DatabaseError, Upkeep};
use sereno_core::ports::insight::{Backend, Connection, EndMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::postgres::wait_for_number;
use super::unfenced;
use super::world::World;

/// A client of a role that is no superuser's, called by a name of its own.
#[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
async fn client(world: &World, role: &str, name: &str) -> PgConnection {
    world
        .run(&format!(
            "DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        ))
        .await;
    let url = world
        .url
        .replacen("postgres://postgres", &format!("postgres://{role}"), 1);
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut client = PgConnection::connect_with(&options.username(role).application_name(name))
        .await
        .expect("a client");
    sqlx::raw_sql(AssertSqlSafe("SELECT 1"))
        .execute(&mut client)
        .await
        .expect("it answers");
    client
}

#[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
async fn say(client: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(client)
        .await
        .map(drop)
}

async fn all(world: &World) -> Vec<Connection> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = world
            .database
            .connections(cursor.as_deref(), 1)
            .await
            .expect("a page");
        found.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

async fn called(world: &World, name: &str) -> Connection {
    let found = all(world).await;
    found
        .iter()
        .find(|connection| connection.application == name)
        .unwrap_or_else(|| panic!("{name} is not among {found:#?}"))
        .clone()
}

fn backend(connection: &Connection) -> Backend {
    Backend {
        pid: connection.pid,
        started: connection.started,
        state_changed: connection.state_changed,
    }
}

async fn end(world: &World, backend: &Backend, mode: EndMode) -> Result<Upkeep, DatabaseError> {
    let planned = world
        .database
        .preview_end_connection(backend, mode, &unfenced())
        .await;
    let did = world.database.end_connection(backend, mode, &unfenced()).await;
    assert_eq!(format!("{planned:?}"), format!("{did:?}"), "as planned");
    did
}

#[tokio::test]
async fn only_the_connection_that_was_meant_is_ended() {
    let world = World::postgres().await;
    let mut meant = client(&world, "app_one", "meant").await;
    let mut other = client(&world, "app_one", "other").await;
    say(&mut meant, "BEGIN; SELECT 1").await.expect("open");
    let found = called(&world, "meant").await;
    assert_eq!(found.state.as_deref(), Some("idle in transaction"));
    assert!(
        found.transaction_started.is_some() && found.kept.is_none(),
        "{found:?}"
    );
    assert_eq!(found.user, "app_one");
    let did = end(&world, &backend(&found), EndMode::Terminate)
        .await
        .expect("an answer");
    assert!(did.done, "{did:?}");
    assert!(say(&mut meant, "SELECT 1").await.is_err(), "it is gone");
    say(&mut other, "SELECT 1").await.expect("it stays");
    let names: Vec<_> = all(&world)
        .await
        .into_iter()
        .map(|found| found.application)
        .collect();
    assert!(
        !names.contains(&"meant".to_owned()) && names.contains(&"other".to_owned()),
        "{names:?}"
    );
    let gone = end(&world, &backend(&found), EndMode::Terminate)
        .await
        .expect("an answer");
    assert_eq!(gone.note.as_deref(), Some("it is not there any more"));
}

#[tokio::test]
async fn a_connection_that_went_on_or_has_a_number_of_another_stays() {
    let world = World::postgres().await;
    let mut client = client(&world, "app_two", "busy").await;
    let seen = backend(&called(&world, "busy").await);
    say(&mut client, "SELECT 2").await.expect("it goes on");
    let did = end(&world, &seen, EndMode::Terminate).await.expect("an answer");
    assert_eq!(did.note.as_deref(), Some("it has gone on since it was looked at"));
    // The same number, of a process that began at another time.
    let now = backend(&called(&world, "busy").await);
    let reused = Backend {
        started: now.started - chrono::Duration::microseconds(1),
        ..now
    };
    let did = end(&world, &reused, EndMode::Terminate).await.expect("an answer");
    assert!(!did.done, "{did:?}");
    say(&mut client, "SELECT 3").await.expect("it is still there");
}

#[tokio::test]
async fn superusers_backup_tools_replication_and_ourselves_are_kept() {
    let world = World::postgres().await;
    let mut clients = Vec::new();
    world
        .run("DO $$ BEGIN CREATE ROLE app_replicates LOGIN REPLICATION; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$")
        .await;
    for (role, name, why) in [
        ("postgres", "psql", "a superuser"),
        ("app_three", "pg_dump", "a backup tool"),
        ("app_three", "pgBackRest [backup]", "a backup tool"),
        ("app_three", "sereno", "sereno itself"),
        ("app_replicates", "standby", "a role for replication"),
    ] {
        clients.push(client(&world, role, name).await);
        let found = called(&world, name).await;
        assert_eq!(found.kept.as_deref(), Some(why), "{name}");
        let error = end(&world, &backend(&found), EndMode::Terminate)
            .await
            .expect_err("kept");
        assert!(
            matches!(error, DatabaseError::Refused(_)) && error.to_string().contains(why),
            "{error}"
        );
    }
    for client in &mut clients {
        say(client, "SELECT 1").await.expect("it is still there");
    }
}

#[tokio::test]
async fn a_cancel_ends_the_statement_and_the_blocked_know_their_blocker() {
    let world = World::postgres().await;
    world
        .run("CREATE TABLE held (id integer); GRANT ALL ON held TO PUBLIC")
        .await;
    let mut holder = client(&world, "app_four", "holder").await;
    say(&mut holder, "BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("held");
    let mut waiter = client(&world, "app_four", "waiter").await;
    let waits = tokio::spawn(async move {
        let answer = say(&mut waiter, "SELECT * FROM held").await;
        (waiter, answer)
    });
    wait_for_number(
        &world,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Lock' \
         AND datname = current_database()",
        1,
    )
    .await;
    let waiting = called(&world, "waiter").await;
    let blocker = called(&world, "holder").await;
    assert_eq!(waiting.blocked_by, [blocker.pid]);
    assert_eq!(waiting.query_kind.as_deref(), Some("SELECT"));
    assert!(
        waiting
            .waits_for
            .as_deref()
            .is_some_and(|what| what.starts_with("Lock:")),
        "{waiting:?}"
    );
    let activity = world.database.activity().await.expect("activity");
    assert!(
        activity.iter().all(|found| !found.what.contains("SELECT")),
        "{activity:?}"
    );
    let did = end(&world, &backend(&waiting), EndMode::Cancel)
        .await
        .expect("an answer");
    assert!(did.done, "{did:?}");
    let (mut waiter, answer) = waits.await.expect("the task ends");
    assert!(
        answer
            .expect_err("cancelled")
            .to_string()
            .contains("canceling statement")
    );
    say(&mut holder, "ROLLBACK").await.expect("free");
    say(&mut waiter, "SELECT 1")
        .await
        .expect("its connection is still there");
}
