//! PgBouncer between the store and the server.

use crate::engine::{Engine, Error, Options, Store};
use crate::fixture::NOW;
use crate::process::{Port, unprivileged};
use crate::server::Server;
use std::fs;
use std::os::unix::fs::chown;
use std::process::Child;
use std::thread;

/// A running pooler, which is stopped when dropped.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Writes and reads through a pooler in this mode with three server connections, on this many
/// concurrent connections. Returns the version of each session after 50 writes.
fn through_pooler(mode: &str, connections: usize) -> Vec<Result<u64, Error>> {
    let server = Server::start(&[]);
    let reserved = Port::reserve();
    let port = reserved.number;
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.ini");
    let database = format!("host=127.0.0.1 port={} user=tester", server.port);
    fs::write(
        &settings,
        format!(
            "[databases]\npostgres = {database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             default_pool_size = 3\n"
        ),
    )
    .unwrap();
    let nobody = server.user();
    chown(directory.path(), nobody, nobody).unwrap();
    let mut command = unprivileged(nobody.is_some(), "/usr/sbin/pgbouncer".as_ref());
    let pooler = command.arg("--quiet").arg(&settings).spawn().unwrap();
    let _pooler = Pooler(pooler);

    let url = format!("postgres://tester@127.0.0.1:{port}/postgres");
    let options = Options {
        sync_timeout: 120_000,
        ..Options::default()
    };
    let write = |id: &str| {
        let mut store = Store::open(&url, options.clone(), NOW)?;
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

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn a_pooler_in_session_mode_works() {
    assert_eq!(through_pooler("session", 3), vec![Ok(50); 3]);
}

#[test]
#[cfg_attr(not(pooler), ignore = "needs /usr/sbin/pgbouncer")]
fn a_pooler_in_transaction_mode_is_refused_once_it_mixes_connections() {
    for answer in through_pooler("transaction", 8) {
        match answer {
            Ok(version) => assert_eq!(version, 50),
            Err(Error::Other(words)) => assert!(words.contains("pooler"), "{words}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}
