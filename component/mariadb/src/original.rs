//! The table of koa-generic-session-sequelize in MariaDB and MySQL: recognised, and taken
//! over.
//!
//! It has `id`, `data`, `expires` in whole seconds and, where its option `timestamps` was
//! on, `createdAt` and `updatedAt`. A change of a schema commits by itself, so a takeover is
//! made of steps, any of which can be the last: the original is renamed, its sessions are
//! copied to a new table, that gets the name, and the original is dropped.

use crate::failure::{Failure, Remedy};
use crate::link::{Link, column};
use crate::schema::{create, quoted};
use mysql_async::params;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::stored::signed;
use wasi_sessions_rules::types::Timestamp;

/// The latest plausible expiry, in seconds, in the year 5138. A larger number is in
/// milliseconds.
const LAST_SECOND: i64 = 100_000_000_000;

/// What an interrupted takeover has left.
#[derive(Clone, Copy)]
pub enum Leftover {
    /// It has not begun: the original has its own name.
    Nothing,
    /// The original, renamed. Not all of its sessions were copied.
    NotCopied,
    /// The original, renamed. All of its sessions were copied.
    Copied,
}

/// The original's name during the takeover, which no `tableName` can have.
pub fn set_aside(table: &str) -> String {
    format!("-{table}")
}

/// Why a plain table cannot be taken over as one of the original's, after the words "table
/// `name`" and before "choose another"; `None` if it can. Any doubt is an obstacle, since it
/// is dropped afterwards.
pub async fn obstacle(
    link: &mut Link,
    table: &str,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let row = link
        .row(
            "SELECT COUNT(IF(column_name IN ('id', 'data', 'expires'), 1, NULL)) = 3 AND
               COUNT(IF(column_name NOT IN ('id', 'data', 'expires', 'createdAt', 'updatedAt')
                 OR extra LIKE '% GENERATED%', 1, NULL)) = 0
               AND COUNT(IF(column_key = 'PRI', 1, NULL)) = 1
               AND COUNT(IF(column_name = 'id' AND column_key = 'PRI', 1, NULL)) = 1,
               COUNT(IF(column_name = 'expires'
                 AND data_type IN ('smallint', 'mediumint', 'int', 'bigint'), 1, NULL)) = 1,
               COUNT(IF(column_name IN ('id', 'data') AND data_type IN
                 ('char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext'), 1, NULL)) = 2,
               EXISTS (SELECT 1 FROM information_schema.triggers
                 WHERE trigger_schema = DATABASE()
                   AND (event_object_table = :table OR action_statement LIKE CONCAT('%', :table, '%'))),
               EXISTS (SELECT 1 FROM information_schema.key_column_usage
                 WHERE referenced_table_name IS NOT NULL
                   AND ((table_schema = DATABASE() AND table_name = :table) OR
                     (referenced_table_schema = DATABASE() AND referenced_table_name = :table))),
               EXISTS (SELECT 1 FROM information_schema.views
                 WHERE view_definition LIKE CONCAT('%`', DATABASE(), '`.`', :table, '`%'))
             FROM information_schema.columns
             WHERE table_schema = DATABASE() AND table_name = :table",
            params! { "table" => table },
        )
        .await?;
    let Some(mut row) = row else {
        return Ok(Some("is gone:".into()));
    };
    let mut is = |index| column::<bool>(&mut row, index);
    let obstacles = [
        (!is(0)?, "is there but holds no sessions:"),
        (
            !is(1)?,
            "holds something other than whole seconds in `expires`:",
        ),
        (!is(2)?, "has no text in `id` and `data`:"),
        (
            is(3)?,
            "of koa-generic-session-sequelize has a trigger, or one mentions it:",
        ),
        (
            is(4)?,
            "of koa-generic-session-sequelize has a foreign key, or another table has one to it:",
        ),
        (is(5)?, "of koa-generic-session-sequelize has a view:"),
    ];
    if let Some((_, words)) = obstacles.into_iter().find(|(is_there, _)| *is_there) {
        return Ok(Some(words.into()));
    }
    let row = link
        .row(
            &format!(
                "SELECT COALESCE(MAX(expires) > {LAST_SECOND}, 0),
                   COALESCE(MAX(LENGTH(CONVERT(data USING utf8mb4))), 0)
                 FROM {}",
                quoted(table)
            ),
            (),
        )
        .await?;
    let (is_late, largest): (bool, u64) = match row {
        Some(mut row) => (column(&mut row, 0)?, column(&mut row, 1)?),
        None => (false, 0),
    };
    Ok(if is_late {
        Some(
            "has a second after the year 5138 in `expires`: divide it by 1000 if it is in \
             milliseconds, or"
                .into(),
        )
    } else if largest > options.max_data {
        Some(format!(
            "holds {largest} bytes in `data` and `maxData` is {}:",
            options.max_data
        ))
    } else {
        None
    })
}

/// Takes over the live sessions of the original's table, under the hashes of their ids.
/// Sessions that are expired or empty, or whose id is not valid here, are dropped, and so
/// are the table's indexes.
pub async fn adopt(
    link: &mut Link,
    name: &str,
    leftover: Leftover,
    now: Timestamp,
) -> Result<(), Failure> {
    let (table, original) = (quoted(name), quoted(&set_aside(name)));
    if matches!(leftover, Leftover::Nothing) {
        // From here on, writes of the original application fail.
        link.run(&format!("RENAME TABLE {table} TO {original}"))
            .await?;
    }
    let done = finish(link, name, leftover, now).await;
    done.map_err(|failure| match failure.remedy() {
        Remedy::Failed => advise(failure.into_error(), &original).into(),
        _ => failure,
    })
}

/// Says where the sessions are, if a takeover has failed after its first step.
fn advise(error: Error, original: &str) -> Error {
    match error {
        Error::Other(words) => Error::Other(format!(
            "{words}; the takeover goes on at the next `open`: until then the original is \
             {original}, to be renamed back only if the new table is not there"
        )),
        other => other,
    }
}

async fn finish(
    link: &mut Link,
    name: &str,
    leftover: Leftover,
    now: Timestamp,
) -> Result<(), Failure> {
    let original = quoted(&set_aside(name));
    if !matches!(leftover, Leftover::Copied) {
        copy(link, name, &original, now).await?;
    }
    link.run(&format!("DROP TABLE {original}")).await
}

async fn copy(link: &mut Link, name: &str, original: &str, now: Timestamp) -> Result<(), Failure> {
    // The copies of a takeover that was interrupted.
    let new_name = format!("+{name}");
    let (table, new) = (quoted(name), quoted(&new_name));
    link.run(&format!("DROP TABLE IF EXISTS {new}")).await?;
    create(link, &new_name).await?;
    link.write(
        &format!(
            "INSERT INTO {new} (hash, version, created, updated, expires, due, ended, data)
             SELECT UNHEX(SHA2(CONCAT('session-id:', CONVERT(id USING utf8mb4)), 256)), 1, :now,
               :now, CAST(expires AS SIGNED) * 1000, CAST(expires AS SIGNED) * 1000, 0,
               CONVERT(data USING utf8mb4)
             FROM {original}
             WHERE LENGTH(CONVERT(id USING utf8mb4)) BETWEEN 1 AND 255
               AND LENGTH(data) > 0 AND expires > :second"
        ),
        params! { "now" => signed(now), "second" => signed(now / 1000) },
    )
    .await?;
    link.run(&format!("RENAME TABLE {new} TO {table}")).await
}
