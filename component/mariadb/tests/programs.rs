//! Where Debian's packages put the programs of MariaDB.

use std::path::{Path, PathBuf};

/// The server.
pub const SERVER: &str = "/usr/sbin/mariadbd";

/// What makes the directory of a server.
pub const INSTALL: &str = "/usr/bin/mariadb-install-db";

/// Whether a server can be started.
#[allow(dead_code)]
pub fn are_installed() -> bool {
    [SERVER, INSTALL].iter().all(|one| Path::new(one).exists())
}

/// The server of MySQL that the tests run on instead, if the environment names one.
#[allow(dead_code)]
pub fn mysqld() -> Option<PathBuf> {
    std::env::var_os("MYSQLD").map(PathBuf::from)
}
