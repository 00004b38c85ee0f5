//! The table of a store: found, created, or taken over. `tableName` ignores case, so a table
//! is found under whatever case its name has.

use crate::failure::Failure;
use crate::link::{Link, column};
use crate::original::{self, Leftover};
use crate::schema::{COMMENT, VERSION, create, quoted};
use mysql_async::params;
use wasi_sessions_rules::connecting::Migration;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;

/// What the server has under the name of a table.
enum Found {
    Nothing,
    /// The table of koa-generic-session-sequelize.
    Original,
    /// What an interrupted takeover has left.
    Interrupted(Leftover),
    /// A table of this store, with this version of the schema.
    Version(u32),
    /// Something else, and what it is.
    Foreign(String),
}

/// A table or view of the database.
struct Listed {
    name: String,
    kind: String,
    engine: Option<String>,
    comment: String,
}

/// Finds the table, and creates it or takes it over if there is a `migration` and `sync` is
/// on. Returns its name, quoted. For a table that is ready no right to create is needed.
pub async fn ready(
    link: &mut Link,
    options: &Options,
    migration: Option<Migration<'_>>,
) -> Result<String, Failure> {
    let migration = migration.filter(|_| options.sync);
    let (name, found) = find(link, options, migration).await?;
    accept(&found, &name, migration.is_some())?;
    let Some(migration) = migration.filter(|_| !matches!(found, Found::Version(_))) else {
        return Ok(quoted(&name));
    };
    // Migrations of one database run one after the other.
    link.lock("schema", "", options.sync_timeout).await?;
    let done = migrate(link, options, migration).await;
    link.unlock().await;
    done
}

async fn migrate(
    link: &mut Link,
    options: &Options,
    migration: Migration<'_>,
) -> Result<String, Failure> {
    let now = migration.now;
    // Another instance may have created the table meanwhile.
    let (name, found) = find(link, options, Some(migration)).await?;
    accept(&found, &name, true)?;
    match found {
        Found::Nothing => create(link, &name).await?,
        Found::Original => original::adopt(link, &name, Leftover::Nothing, now).await?,
        Found::Interrupted(leftover) => original::adopt(link, &name, leftover, now).await?,
        Found::Version(_) | Found::Foreign(_) => {}
    }
    Ok(quoted(&name))
}

async fn find(
    link: &mut Link,
    options: &Options,
    migration: Option<Migration<'_>>,
) -> Result<(String, Found), Failure> {
    let begin = || {
        if let Some(migration) = migration {
            migration.has_begun.set(true);
        }
    };
    let wanted = &options.table_name;
    let listed = list(link, wanted).await?;
    let original = original::set_aside(wanted);
    let is_original = |one: &&Listed| one.name.eq_ignore_ascii_case(&original);
    let left = listed.iter().find(is_original);
    let exact = listed.iter().find(|one| one.name == *wanted);
    let any = || {
        listed
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(wanted))
    };
    let Some(table) = exact.or_else(any) else {
        return Ok(match left {
            Some(left) => {
                begin();
                // `name` as the original was called.
                let name = left.name[1..].to_owned();
                (name, Found::Interrupted(Leftover::NotCopied))
            }
            None => (wanted.clone(), Found::Nothing),
        });
    };
    let version = table.comment.strip_prefix(COMMENT);
    let version = version.and_then(|version| version.parse().ok());
    let is_plain = table.kind == "BASE TABLE";
    let engine = table.engine.as_deref().unwrap_or_default();
    let found = match version {
        Some(_) if engine != "InnoDB" => Found::Foreign(format!(
            "is in the storage engine `{engine}`, which loses sessions: `ALTER TABLE … ENGINE = \
             InnoDB`, or"
        )),
        Some(VERSION) if left.is_some() => Found::Interrupted(Leftover::Copied),
        Some(version) => Found::Version(version),
        None if !is_plain => Found::Foreign("is no plain table:".into()),
        None if left.is_some() => Found::Foreign(format!(
            "is there beside `{original}`, from a takeover that was interrupted: rename or drop \
             one of them, or"
        )),
        None => {
            begin();
            match original::obstacle(link, &table.name, options).await? {
                None => Found::Original,
                Some(obstacle) => Found::Foreign(obstacle),
            }
        }
    };
    Ok((table.name.clone(), found))
}

/// What has this name, in any case, and what a takeover of it left.
async fn list(link: &mut Link, name: &str) -> Result<Vec<Listed>, Failure> {
    let rows = link
        .rows(
            "SELECT table_name, table_type, engine, table_comment FROM information_schema.tables
             WHERE table_schema = DATABASE() AND LOWER(table_name) IN (:name, :original)",
            params! {
                "name" => name.to_ascii_lowercase(),
                "original" => original::set_aside(name).to_ascii_lowercase(),
            },
        )
        .await?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Listed {
                name: column(&mut row, 0)?,
                kind: column(&mut row, 1)?,
                engine: column(&mut row, 2)?,
                comment: column(&mut row, 3)?,
            })
        })
        .collect()
}

/// Refuses a table that is not of this store, and, unless it may `change`, one that would
/// have to be created or taken over.
fn accept(found: &Found, table: &str, change: bool) -> Result<(), Error> {
    Err(Error::Other(match found {
        Found::Version(VERSION) => return Ok(()),
        Found::Nothing | Found::Original | Found::Interrupted(_) if change => return Ok(()),
        // What is left to do is to drop the original.
        Found::Interrupted(Leftover::Copied) => return Ok(()),
        Found::Nothing => {
            return Err(Error::MissingTable(format!(
                "table `{table}` is missing: open it once with `sync`"
            )));
        }
        Found::Original | Found::Interrupted(_) => {
            format!("table `{table}` has an older schema: open it once with `sync`")
        }
        Found::Version(version) => format!(
            "table `{table}` has schema version {version} and this store knows {VERSION}: open \
             it with a newer wasi-sessions"
        ),
        Found::Foreign(why) => format!("table `{table}` {why} choose another `tableName`"),
    }))
}
