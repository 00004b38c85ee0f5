//! The table of koa-generic-session-sequelize in PostgreSQL: recognised, and migrated.
//!
//! It has `id`, `data`, `expires` in whole seconds and, where its option `timestamps` was
//! on, `createdAt` and `updatedAt`.

use crate::failure::Failure;
use crate::table::{self, Place};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use wasi_sessions_rules::error::Error;
use wasi_sessions_rules::options::Options;
use wasi_sessions_rules::types::{END_OF_TIME, Timestamp};

/// The latest plausible expiry, in seconds, in the year 5138. A larger number is in
/// milliseconds.
const LAST_SECOND: i64 = 100_000_000_000;

/// Why an ordinary table cannot be migrated as one of koa-generic-session-sequelize, as the
/// end of a sentence that starts with "table `name`"; `None` if it can. Any doubt is an
/// obstacle, since the table is dropped afterwards.
pub async fn obstacle(
    client: &Client,
    place: &Place,
    options: &Options,
) -> Result<Option<String>, Failure> {
    let table = place.quoted();
    let rows = client
        .query_typed(
            "SELECT count(*) FILTER (WHERE attname IN ('id', 'data', 'expires')) = 3
                 AND bool_and(attname IN ('id', 'data', 'expires', 'createdAt', 'updatedAt'))
                 AND bool_and(attgenerated = ''),
               count(*) FILTER (WHERE attname = 'expires'
                 AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) = 1,
               count(*) FILTER (WHERE attname IN ('id', 'data')
                 AND atttypid IN ('text'::regtype, 'varchar'::regtype)) = 2,
               EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND NOT tgisinternal),
               EXISTS (SELECT FROM pg_constraint WHERE contype = 'f'
                 AND $1::regclass IN (conrelid, confrelid)),
               EXISTS (SELECT FROM pg_inherits WHERE $1::regclass IN (inhrelid, inhparent)),
               EXISTS (SELECT FROM pg_depend WHERE refobjid = $1::regclass
                 AND classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass))
             FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
            &[(&table, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Some("is gone".into()));
    };
    let obstacles = [
        (
            !row.get::<_, bool>(0),
            "exists but is not a table of sessions",
        ),
        (
            !row.get::<_, bool>(1),
            "holds something other than whole seconds in `expires`",
        ),
        (!row.get::<_, bool>(2), "has no text in `id` and `data`"),
        (row.get(3), "of koa-generic-session-sequelize has a trigger"),
        (
            row.get(4),
            "of koa-generic-session-sequelize has a foreign key, or another table has one to it",
        ),
        (
            row.get(5),
            "of koa-generic-session-sequelize has a parent or children",
        ),
        (
            row.get(6),
            "of koa-generic-session-sequelize has a view, a rule or a policy",
        ),
    ];
    if let Some((_, words)) = obstacles.into_iter().find(|(is_there, _)| *is_there) {
        return Ok(Some(words.into()));
    }
    let rows = client
        .query_typed(
            &format!(
                "SELECT coalesce(max(expires), 0)::int8, coalesce(max(octet_length(data)), 0)::int8
                 FROM {table}"
            ),
            &[],
        )
        .await?;
    let (latest, largest): (i64, i64) = match rows.first() {
        Some(row) => (row.get(0), row.get(1)),
        None => (0, 0),
    };
    Ok(if latest > LAST_SECOND {
        Some(
            "has a second after the year 5138 in `expires`: divide it by 1000 if it is in \
             milliseconds"
                .into(),
        )
    } else if largest.unsigned_abs() > options.max_data {
        Some(format!(
            "holds {largest} bytes in `data` and `maxData` is {}",
            options.max_data
        ))
    } else {
        None
    })
}

/// Migrates the table in the transaction of the caller: copies its live sessions under the
/// hashes of their ids. Drops sessions that are expired, empty or have an invalid id, and
/// the table's indexes.
pub async fn adopt(client: &Client, place: &Place, now: Timestamp) -> Result<(), Failure> {
    let original = format!("{}.\"wasi-sessions original\"", place.schema);
    let table = place.quoted();
    client
        .batch_execute(&format!(
            "ALTER TABLE {table} RENAME TO \"wasi-sessions original\""
        ))
        .await?;
    table::create(client, place).await?;
    client
        .query_typed(
            &format!(
                "INSERT INTO {table}
                 SELECT sha256(convert_to('session-id:' || id, 'UTF8')), 1, $1, $1,
                   expires::int8 * 1000, expires::int8 * 1000, false, NULL,
                   convert_to(data, 'UTF8')
                 FROM {original}
                 WHERE octet_length(convert_to(id, 'UTF8')) BETWEEN 1 AND 255
                   AND octet_length(data) > 0 AND expires > $1 / 1000
                 ON CONFLICT (key) DO NOTHING"
            ),
            &[(&(now.min(END_OF_TIME) as i64), Type::INT8)],
        )
        .await?;
    let dropped = client
        .batch_execute(&format!("DROP TABLE {original}"))
        .await;
    dropped.map_err(|error| match error.code() {
        Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => Failure::Final(Error::Other(format!(
            "table `{}` of koa-generic-session-sequelize cannot be migrated: something else in \
             the database refers to it",
            place.name
        ))),
        _ => error.into(),
    })
}
