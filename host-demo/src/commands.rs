//! The commands on a database: each calls the store and prints its answer.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use wasi_sessions::{Entry, Error, NewSession, Options, Outcome};

use crate::arguments::Command;
use crate::bench;
use crate::ending::{self, No, say_if_new};
use crate::output::{Output, count, time};
use crate::secrets;
use crate::server::Place;
use crate::story;

/// The page size of a listing.
const PAGE: u64 = 500;

/// Runs a command.
pub fn run(command: Command, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    match command {
        Command::Create { payload, subject } => create(
            place,
            payload.data,
            milliseconds(payload.life.ttl),
            subject,
            output,
        ),
        Command::Get { session } => get(place, &secrets::id(session.id)?, output),
        Command::Set { session, payload } => set(
            place,
            &secrets::id(session.id)?,
            payload.data,
            milliseconds(payload.life.ttl),
            output,
        ),
        Command::Touch { session, life } => touch(
            place,
            &secrets::id(session.id)?,
            milliseconds(life.ttl),
            output,
        ),
        Command::Destroy { session } => destroy(place, &secrets::id(session.id)?, output),
        Command::List { subject, limit } => list(place, subject.as_deref(), limit, output),
        Command::Terminate {
            handle,
            subject,
            except,
        } => {
            let except = except.map(secrets::id).transpose()?;
            terminate(place, handle, subject, except, output)
        }
        Command::Collect { limit } => collect(place, limit, output),
        Command::Stats => stats(place, output),
        Command::Check => check(place, output),
        Command::Backup { copy } => backup(place, &copy, output),
        Command::Restore { copy } => restore(place, &copy, output),
        Command::WriteUntilKilled => story::write_until_killed(place.directory()?),
        Command::ReadSessions { native } => bench::read_sessions(place.directory()?, native),
    }
}

/// The life that an argument gives.
fn milliseconds(ttl: Option<u64>) -> Option<Duration> {
    ttl.map(Duration::from_millis)
}

fn create(
    place: &Place,
    data: Option<OsString>,
    ttl: Option<Duration>,
    subject: Option<String>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut session = NewSession::new(payload(data)?).ttl(ttl);
    if let Some(subject) = subject {
        session = session.subject(subject);
    }
    let (sessions, new) = place.create()?;
    let created = sessions.create(session).wait()?;
    say_if_new(new);
    let json = json!({
        "id": created.id,
        "version": created.version,
        "expires": created.expires,
    });
    Ok(output.result(json, created.id)?)
}

fn get(place: &Place, id: &str, output: &mut Output) -> anyhow::Result<()> {
    let Some(session) = place.open()?.get(id).wait()? else {
        bail!(No::session());
    };
    if !output.json {
        return Ok(output.raw(&session.data)?);
    }
    let (data, encoding) = match String::from_utf8(session.data) {
        Ok(text) => (text, "utf-8"),
        Err(binary) => (BASE64.encode(binary.as_bytes()), "base64"),
    };
    let json = json!({
        "data": data,
        "encoding": encoding,
        "subject": session.subject,
        "version": session.version,
        "created": session.created,
        "updated": session.updated,
        "expires": session.expires,
    });
    Ok(output.result(json, "")?)
}

fn set(
    place: &Place,
    id: &str,
    data: Option<OsString>,
    ttl: Option<Duration>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let data = payload(data)?;
    let (sessions, new) = place.create()?;
    match sessions.set(id, data, ttl).wait()? {
        Outcome::Written(written) => {
            say_if_new(new);
            let (version, expires) = (written.version, written.expires);
            Ok(output.result(
                json!({ "version": version, "expires": expires }),
                format!("version {version}, expires {}", time(expires)),
            )?)
        }
        // `set` expects no version, so it is never stale.
        Outcome::Stale(_) | Outcome::Gone => bail!(No::ended()),
    }
}

fn touch(
    place: &Place,
    id: &str,
    ttl: Option<Duration>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let Some(expires) = place.open()?.touch(id, ttl).wait()? else {
        bail!(No::session());
    };
    let human = format!("expires {}", time(expires));
    Ok(output.result(json!({ "expires": expires }), human)?)
}

fn destroy(place: &Place, id: &str, output: &mut Output) -> anyhow::Result<()> {
    if !place.open()?.destroy(id).wait()? {
        bail!(No::session());
    }
    Ok(ended(1, output)?)
}

fn terminate(
    place: &Place,
    handle: Option<String>,
    subject: Option<String>,
    except: Option<String>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let sessions = place.open()?;
    let Some(handle) = handle else {
        let subject = subject.context("either a handle or --subject is needed")?;
        let number = sessions.terminate_subject(&subject, except.as_deref());
        return Ok(ended(number.wait()?, output)?);
    };
    if !sessions.terminate(&handle).wait()? {
        bail!(No::session());
    }
    Ok(ended(1, output)?)
}

fn ended(number: u64, output: &mut Output) -> io::Result<()> {
    let human = format!("{} ended", count(number, "session"));
    output.result(json!({ "ended": number }), human)
}

/// Prints each page as it comes, so that the listing need not fit into memory.
fn list(
    place: &Place,
    subject: Option<&str>,
    limit: Option<u64>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let sessions = place.open()?;
    let mut left = limit.unwrap_or(u64::MAX);
    let (mut cursor, mut is_empty) = (None, true);
    while left > 0 {
        let size = left.min(PAGE) as u32;
        let page = sessions
            .list_sessions(subject, cursor.as_deref(), size)
            .wait()?;
        // A page may be empty although others follow.
        if is_empty && !page.entries.is_empty() && !output.json {
            heading(output)?;
        }
        is_empty &= page.entries.is_empty();
        left -= page.entries.len() as u64;
        for entry in &page.entries {
            list_entry(entry, output)?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if is_empty && !output.json {
        // On standard error, since standard output has only sessions.
        ending::say("no sessions");
    }
    Ok(())
}

fn heading(output: &mut Output) -> io::Result<()> {
    output.line(format_args!(
        "{:64}  {:>7}  {:>9}  {:24}  {:24}  SUBJECT",
        "HANDLE", "VERSION", "SIZE", "UPDATED", "EXPIRES"
    ))
}

fn list_entry(entry: &Entry, output: &mut Output) -> io::Result<()> {
    let json = json!({
        "handle": entry.handle,
        "subject": entry.subject,
        "version": entry.version,
        "created": entry.created,
        "updated": entry.updated,
        "expires": entry.expires,
        "size": entry.size,
    });
    let human = format!(
        "{:64}  {:>7}  {:>9}  {:24}  {:24}  {}",
        entry.handle,
        entry.version,
        entry.size,
        time(entry.updated),
        time(entry.expires),
        // Escaped, because a subject can contain control characters of the terminal.
        entry.subject.as_deref().unwrap_or("-").escape_debug(),
    );
    output.result(json, human)
}

fn collect(place: &Place, limit: u32, output: &mut Output) -> anyhow::Result<()> {
    let sessions = place.open()?;
    let (mut removed, mut steps) = (0, 0);
    loop {
        let step = sessions.collect(limit).wait()?;
        removed += step.removed;
        steps += 1;
        if !step.more {
            break;
        }
    }
    let human = format!(
        "{} removed in {}",
        count(removed, "row"),
        count(steps, "step")
    );
    Ok(output.result(json!({ "removed": removed, "steps": steps }), human)?)
}

fn stats(place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let stats = place.open()?.stats().wait()?;
    let json = json!({
        "name": stats.name,
        "engine": stats.engine,
        "live": stats.live,
        "expired": stats.expired,
        "size": stats.size,
        "collected": stats.collected,
    });
    let human = format!(
        "name     {}\nengine   {}\nlive     {}\nexpired  {}\nsize     {}",
        stats.name,
        stats.engine,
        count(stats.live, "session"),
        count(stats.expired, "row"),
        count(stats.size, "byte"),
    );
    Ok(output.result(json, human)?)
}

fn check(place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let checked = place
        .open()
        .and_then(|sessions| Ok(sessions.check().wait()?));
    let damage = match checked {
        Ok(damage) => damage,
        // Damage can also keep the database from being opened.
        Err(error) => match error.downcast_ref() {
            Some(Error::Corrupt(damage)) => vec![damage.clone()],
            _ => return Err(error),
        },
    };
    let sound = damage.is_empty();
    let human = if sound {
        "sound".to_owned()
    } else {
        damage.join("\n")
    };
    output.result(json!({ "sound": sound, "damage": damage }), human)?;
    if !sound {
        bail!(No("the database is damaged".to_owned()));
    }
    Ok(())
}

fn backup(place: &Place, copy: &Path, output: &mut Output) -> anyhow::Result<()> {
    place.open()?.backup(copy).wait()?;
    let size = fs::metadata(copy)?.len();
    let name = copy.display().to_string();
    let human = format!("written to {name}, {}", count(size, "byte"));
    Ok(output.result(json!({ "file": name, "size": size }), human)?)
}

fn restore(place: &Place, copy: &Path, output: &mut Output) -> anyhow::Result<()> {
    let database = place.directory()?;
    database.builder(database.options()).restore(copy).wait()?;
    let size = fs::metadata(copy)?.len();
    let (file, name) = (database.path(), copy.display().to_string());
    let human = format!(
        "restored `{}` from `{name}`, {}",
        file.display(),
        count(size, "byte")
    );
    Ok(output.result(json!({ "file": name, "size": size }), human)?)
}

/// The payload from the command line, or else from standard input.
fn payload(data: Option<OsString>) -> anyhow::Result<Vec<u8>> {
    match data {
        Some(data) if data != "-" => Ok(data.into_encoded_bytes()),
        _ => {
            let (mut data, input) = (Vec::new(), io::stdin());
            if input.is_terminal() {
                ending::say("reading the payload from standard input");
            }
            // One byte more than fits is enough for the store to refuse it.
            input
                .take(Options::default().max_data + 1)
                .read_to_end(&mut data)
                .context("standard input cannot be read")?;
            Ok(data)
        }
    }
}
