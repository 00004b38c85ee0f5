//! The table when a store is opened: found, created or migrated.
//!
//! One table, `wasi-sessions`, has the schema version of every store in the same PostgreSQL
//! schema. It cannot collide with a `tableName`, which has no hyphen. `tableName` ignores
//! case, so tables are found by their lower-case names.

use crate::failure::Failure;
use crate::original;
use crate::table::{Place, VERSION, create};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use wasi_sessions_rules::connecting::Migration;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;

/// The number of the advisory lock that migrations in one database hold.
const MIGRATIONS: i64 = 0x7761_7369_7365_7373;

/// What exists under the name of a table.
enum Found {
    Nothing,
    /// The table of koa-generic-session-sequelize.
    Original,
    /// A table of this store, with this version of the schema.
    Version(i32),
    /// Something that cannot be used, and why.
    Foreign(String),
}

/// Finds the table, and creates or migrates it if there is a `migration` and `sync` is on.
/// Returns its quoted name. If the table is ready, the role needs no right to create it.
pub async fn ready(
    client: &Client,
    options: &Options,
    migration: Option<Migration<'_>>,
) -> Result<String, Failure> {
    let migration = migration.filter(|_| options.sync);
    let (place, found) = find(client, options, migration).await?;
    accept(&found, &place.name, migration.is_some())?;
    let Some(migration) = migration.filter(|_| !matches!(found, Found::Version(_))) else {
        return Ok(place.quoted());
    };
    // Each statement must see what was committed while it waited for the lock.
    client
        .batch_execute(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({MIGRATIONS})"
        ))
        .await?;
    let done = migrate(client, options, migration).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    let place = done?;
    ended?;
    Ok(place)
}

async fn migrate(
    client: &Client,
    options: &Options,
    migration: Migration<'_>,
) -> Result<String, Failure> {
    // Another instance may have created the table meanwhile.
    let (place, found) = find(client, options, Some(migration)).await?;
    accept(&found, &place.name, true)?;
    match found {
        Found::Nothing => create(client, &place).await?,
        Found::Original => original::adopt(client, &place, migration.now).await?,
        Found::Version(_) | Found::Foreign(_) => {}
    }
    Ok(place.quoted())
}

async fn find(
    client: &Client,
    options: &Options,
    migration: Option<Migration<'_>>,
) -> Result<(Place, Found), Failure> {
    let rows = client
        .query_typed(
            r#"SELECT quote_ident(n.nspname), c.relname::text, c.relkind::text,
                 to_regclass(quote_ident(n.nspname) || '."wasi-sessions"') IS NOT NULL
               FROM pg_namespace n
               LEFT JOIN pg_class c ON c.relnamespace = n.oid
                 AND lower(c.relname) = lower($1) AND c.relkind <> 'i'
               WHERE n.nspname = current_schema()
               ORDER BY c.relname = $1 DESC LIMIT 1"#,
            &[(&options.table_name, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else {
        let words = "the search path has no schema that exists";
        return Err(Error::Other(words.into()).into());
    };
    let name: Option<String> = row.get(1);
    let place = Place {
        schema: row.get(0),
        name: name.clone().unwrap_or_else(|| options.table_name.clone()),
    };
    if row.get(3) {
        let rows = client
            .query_typed(
                &format!(
                    r#"SELECT version FROM {}."wasi-sessions" WHERE name = lower($1)"#,
                    place.schema
                ),
                &[(&options.table_name, Type::TEXT)],
            )
            .await?;
        if let (Some(row), Some(_)) = (rows.first(), &name) {
            return Ok((place, Found::Version(row.get(0))));
        }
    }
    let found = match (name, row.get::<_, Option<String>>(2).as_deref()) {
        (None, _) => Found::Nothing,
        (_, Some("r")) => {
            if let Some(migration) = migration {
                migration.has_begun.set(true);
                client.batch_execute("SET statement_timeout = 0").await?;
            }
            match original::obstacle(client, &place, options).await? {
                None => Found::Original,
                Some(obstacle) => Found::Foreign(obstacle),
            }
        }
        _ => Found::Foreign("is no plain table".into()),
    };
    Ok((place, found))
}

/// Refuses a table that cannot be used, and, unless it may `change`, one that would have to
/// be created or migrated.
fn accept(found: &Found, table: &str, change: bool) -> Result<(), Error> {
    Err(Error::Other(match found {
        Found::Version(VERSION) => return Ok(()),
        Found::Nothing | Found::Original if change => return Ok(()),
        Found::Nothing => {
            return Err(Error::MissingTable(format!(
                "table `{table}` is missing: open it once with `sync`"
            )));
        }
        Found::Original => {
            format!("table `{table}` has an older schema: open it once with `sync`")
        }
        Found::Version(version) => format!(
            "table `{table}` has schema version {version} and this store knows {VERSION}: open \
             it with a newer wasi-sessions"
        ),
        Found::Foreign(why) => format!("table `{table}` {why}: choose another `tableName`"),
    }))
}
