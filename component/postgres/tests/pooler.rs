//! PgBouncer between the store and the server.

use crate::engine::{Engine, Error, Options, Outcome, Store};
use crate::fixture::{NOW, SERVER};
use crate::process::{Port, unprivileged, wait_until};
use crate::relay::relay;
use crate::server::{Server, programs};
use std::fs;
use std::iter;
use std::os::unix::fs::chown;
use std::process::{Child, Command};
use std::thread;
use tempfile::TempDir;

/// A running pooler and its server, which are stopped when dropped.
struct Pooler {
    process: Child,
    server: Server,
    port: Port,
    _directory: TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Pooler {
    /// Starts a pooler in this mode with another setting, with this many server connections at
    /// most.
    fn start(mode: &str, setting: &str, connections: u32) -> Pooler {
        let server = Server::start(&[]);
        let port = Port::reserve();
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("settings.ini");
        let database = format!("host=127.0.0.1 port={} user=tester", server.port);
        fs::write(
            &settings,
            format!(
                "[databases]\npostgres = {database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
                 default_pool_size = {connections}\n{setting}\n",
                port.number
            ),
        )
        .unwrap();
        let nobody = server.user();
        chown(directory.path(), nobody, nobody).unwrap();
        let mut command = unprivileged(nobody.is_some(), &programs::pooler());
        Pooler {
            process: command.arg("--quiet").arg(&settings).spawn().unwrap(),
            server,
            port,
            _directory: directory,
        }
    }

    /// Opens a store through the pooler.
    fn open(&self) -> Result<Store, Error> {
        open(self.port.number)
    }
}

/// Opens a store at a port.
fn open(port: u16) -> Result<Store, Error> {
    let options = Options {
        sync_timeout: 120_000,
        ..Options::default()
    };
    let url = format!("postgres://tester@127.0.0.1:{port}/postgres");
    Store::open(&url, options, NOW)
}

/// The settings with which a pooler is tested in each mode. From version 1.21 on, it may prepare
/// the statements of a client on any server connection, by names of its own.
fn settings() -> &'static [&'static str] {
    let told = Command::new(programs::pooler()).arg("--version").output();
    let told = String::from_utf8(told.unwrap().stdout).unwrap();
    let minor: u32 = told.split('.').nth(1).unwrap().parse().unwrap();
    match minor {
        ..21 => &[""],
        21.. => &[
            "max_prepared_statements = 0",
            "max_prepared_statements = 200",
        ],
    }
}

/// Writes and reads through a pooler in this mode with three server connections, on this many
/// concurrent connections. Returns the version of each session after 50 writes.
fn through_pooler(mode: &str, setting: &str, connections: usize) -> Vec<Result<u64, Error>> {
    let pooler = Pooler::start(mode, setting, 3);
    let write = |id: &str| {
        let mut store = pooler.open()?;
        for _ in 0..50 {
            store.set(NOW, id, b"", None)?;
        }
        let session = store.get(NOW, id)?;
        Ok(session.map_or(0, |session| session.version))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|number| {
                let write = &write;
                scope.spawn(move || write(&number.to_string()))
            })
            .collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.collect()
    })
}

/// Checks that a request is refused in words about the pooler.
fn check_refused<T: std::fmt::Debug>(answer: Result<T, Error>) {
    match answer {
        Err(Error::Other(words)) => assert!(words.contains("pooler"), "{words}"),
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn a_pooler_in_session_mode_works() {
    for setting in settings() {
        assert_eq!(through_pooler("session", setting, 3), vec![Ok(50); 3]);
    }
}

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn a_write_is_unknown_if_the_server_crashes_behind_a_pooler() {
    let pooler = Pooler::start("session", settings()[0], 2);
    let mut store = pooler.open().unwrap();
    store.set(NOW, "mine", b"", None).unwrap();
    let server = &pooler.server;
    let _lock = server.begin(r#"UPDATE "Sessions" SET updated = updated"#);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            let process = iter::repeat_with(|| server.sql("postgres", waiting))
                .find(|process| !process.is_empty());
            let killed = Command::new("kill")
                .args(["-9", &process.unwrap()])
                .status();
            assert!(killed.unwrap().success());
        });
        store.set(NOW, "mine", b"", None)
    });
    assert!(
        matches!(outcome, Err(Error::UnknownOutcome(_))),
        "{outcome:?}"
    );
    // Version 18 may never stop if it is asked to while it recovers.
    let is_ready_again = || server.log().matches("ready to accept").count() == 2;
    wait_until(is_ready_again, || server.log());
}

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn a_pooler_in_transaction_mode_is_refused_at_the_latest_when_it_changes_the_connection() {
    for setting in settings() {
        let pooler = Pooler::start("transaction", setting, 2);
        let mut store = match pooler.open() {
            Ok(store) => store,
            Err(error) => {
                check_refused(Err::<(), _>(error));
                continue;
            }
        };
        let written = store.set(NOW, "mine", b"first", None);
        assert!(matches!(written, Ok(Outcome::Written(_))), "{written:?}");
        // This transaction gets the server connection that the store has had, so the store gets
        // another one, to which neither its statements nor its settings belong.
        let _other = pooler.server.begin_through(pooler.port.number, "SELECT 1");
        check_refused(store.set(NOW, "mine", b"second", None));
        check_refused(store.get(NOW, "mine"));
        check_refused(store.destroy(NOW, "mine"));
        let mut direct = open(pooler.server.port).unwrap();
        let session = direct.get(NOW, "mine").unwrap().unwrap();
        assert_eq!((session.version, session.data), (1, b"first".to_vec()));
    }
}

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn no_answer_through_a_pooler_in_transaction_mode_is_wrong() {
    for setting in settings() {
        for answer in through_pooler("transaction", setting, 8) {
            match answer {
                Ok(version) => assert_eq!(version, 50),
                refused => check_refused(refused),
            }
        }
    }
}

#[test]
fn a_pooler_that_renames_prepared_statements_is_refused() {
    let rename = |message: &mut Vec<u8>| {
        let name = match message[0] {
            b'P' => 5,
            // After the name of a portal, or whether it is a statement.
            b'B' | b'D' | b'C' => 6,
            _ => return,
        };
        if message[name] == b's' {
            message[name] = b'p';
        }
    };
    check_refused(open(relay(SERVER.port, rename, |_| {})).map(drop));
}

#[test]
fn a_pooler_that_says_that_it_is_in_transaction_mode_is_refused() {
    let open_in = |mode: &'static str| {
        let parameter = format!("pgbouncer.pool_mode\0{mode}\0").into_bytes();
        let length = (parameter.len() as u32 + 4).to_be_bytes();
        let parameter = [b"S", &length[..], &parameter].concat();
        let say = move |message: &mut Vec<u8>| {
            if message[0] == b'Z' {
                message.splice(..0, parameter.clone());
            }
        };
        open(relay(SERVER.port, |_| {}, say)).map(drop)
    };
    assert_eq!(open_in("session"), Ok(()));
    for mode in ["transaction", "statement"] {
        check_refused(open_in(mode));
    }
}
