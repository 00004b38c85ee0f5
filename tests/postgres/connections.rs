//! Tests of the connections of a store while the server refuses further ones, or while some
//! are busy with calls for operators.

use std::time::{Duration, Instant};

use wasi_sessions::{Database, Error, Options};

use super::Server;
use crate::fixture::{create, create_for, data, listed};
use crate::networked::server::{POSTGRES, Server as AnyServer, options, over};
use crate::networked::waiting::{OVERLONG, PATIENCE, answered, send, small, waits};

/// The server that all tests share.
fn shared() -> &'static Server {
    let AnyServer::Postgres(server) = &*POSTGRES else {
        unreachable!("it is PostgreSQL");
    };
    server
}

/// Creates a role with this name; returns the URL with which it connects.
fn create_role(name: &str) -> String {
    let sql = format!("CREATE ROLE {name} SUPERUSER LOGIN");
    shared().sql("postgres", &sql);
    POSTGRES.url().replace("postgres@", &format!("{name}@"))
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_request_that_waits_gets_a_connection_as_soon_as_one_can_be_opened() {
    let options = options();
    let table = options.table_name.clone();
    let as_refused = create_role("refused");
    let sessions = over(Database::new(as_refused)).options(options);
    let sessions = sessions.open().wait().unwrap();
    let id = create(&sessions, "before");
    let lock = shared().begin(&format!(r#"UPDATE "{table}" SET version = version"#));
    shared().sql("postgres", "ALTER ROLE refused NOLOGIN");
    let mut write = send(sessions.set(&id, "after", None));
    let read = send(sessions.get(&id));
    let started = Instant::now();
    while !shared()
        .log()
        .contains(r#"role "refused" is not permitted to log in"#)
    {
        assert!(started.elapsed() < PATIENCE, "no connection was tried");
    }
    shared().sql("postgres", "ALTER ROLE refused LOGIN");
    assert_eq!(answered(read).unwrap().unwrap().data, b"before");
    assert!(waits(&mut write));
    drop(lock);
    answered(write).unwrap();
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn reads_and_writes_do_not_wait_for_slow_calls_of_operators() {
    let options = options();
    let table = options.table_name.clone();
    let sessions = POSTGRES.builder().options(options).open().wait().unwrap();
    create_for(&sessions, "alice");
    let handle = listed(&sessions, Some("alice")).remove(0).handle;
    let other = create(&sessions, "0");
    let lock = shared().begin(&format!(
        r#"UPDATE "{table}" SET version = version WHERE subject = 'alice'"#
    ));
    let calls: Vec<_> = (0..8).map(|_| send(sessions.terminate(&handle))).collect();
    for number in 0..50 {
        sessions
            .set(&other, number.to_string(), None)
            .wait()
            .unwrap();
        assert_eq!(data(&sessions, &other), Some(number.to_string()));
    }
    let mut calls = calls.into_iter();
    let mut first = calls.next().unwrap();
    assert!(waits(&mut first));
    drop(lock);
    let ended = [first].into_iter().chain(calls).map(answered);
    let ended: Vec<bool> = ended.map(Result::unwrap).collect();
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
}

/// The component keeps a timer for later calls, which here ends during the second call.
#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn a_call_after_a_slow_one_has_its_whole_time() {
    let options = Options {
        sync_timeout: Duration::from_secs(10),
        ..options()
    };
    let table = options.table_name.clone();
    let sessions = small(POSTGRES.database(), options);
    let id = create(&sessions, "0");
    let slow = format!(
        r#"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(6); RETURN NEW; END $$;
           CREATE TRIGGER slow BEFORE UPDATE ON "{table}" FOR EACH ROW EXECUTE FUNCTION slow()"#
    );
    shared().sql("postgres", &slow);
    for number in ["1", "2"] {
        sessions.set(&id, number, None).wait().unwrap();
    }
    assert_eq!(data(&sessions, &id).as_deref(), Some("2"));
}

#[test]
#[cfg_attr(not(postgres), ignore = "needs PostgreSQL in /usr/lib/postgresql")]
fn requests_are_answered_if_the_component_cannot_be_started_again() {
    let as_gone = create_role("gone");
    let sessions = small(Database::new(as_gone), options());
    let id = create(&sessions, "kept");
    shared().sql("postgres", "ALTER ROLE gone NOLOGIN");
    let crashed = sessions.create(vec![0; OVERLONG]).wait();
    assert_eq!(crashed, Err(Error::Crashed));
    for _ in 0..2 {
        let reads: Vec<_> = (0..5).map(|_| send(sessions.get(&id))).collect();
        let writes: Vec<_> = (0..5).map(|_| send(sessions.destroy("other"))).collect();
        let call = send(sessions.stats());
        let refused = |error: Error| assert!(error.to_string().contains("log in"), "{error}");
        refused(answered(call).unwrap_err());
        for read in reads {
            refused(answered(read).unwrap_err());
        }
        for write in writes {
            refused(answered(write).unwrap_err());
        }
    }
    shared().sql("postgres", "ALTER ROLE gone LOGIN");
    assert_eq!(data(&sessions, &id).as_deref(), Some("kept"));
}
