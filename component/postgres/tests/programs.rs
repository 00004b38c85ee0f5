//! The paths of PostgreSQL's and PgBouncer's programs in Debian's packages.

use std::path::PathBuf;

/// The directory with a directory for each version.
pub const INSTALLED: &str = "/usr/lib/postgresql";

/// The pooler.
pub const POOLER: &str = "/usr/sbin/pgbouncer";

/// The directory of the newest version's programs; `None` if no server is installed.
pub fn directory() -> Option<PathBuf> {
    let versions = std::fs::read_dir(INSTALLED).ok()?.flatten();
    versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .max()
        .map(|(_, programs)| programs)
}

/// The server that the tests start instead, with the `initdb` beside it, if the environment
/// names one.
#[allow(dead_code)]
pub fn postgres() -> Option<PathBuf> {
    std::env::var_os("POSTGRES").map(PathBuf::from)
}

/// The pooler that the tests start, which the environment can name, too.
#[allow(dead_code)]
pub fn pooler() -> PathBuf {
    std::env::var_os("PGBOUNCER").map_or_else(|| POOLER.into(), PathBuf::from)
}
