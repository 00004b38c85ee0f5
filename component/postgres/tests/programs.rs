//! The paths of PostgreSQL's programs in Debian's packages.

use std::path::PathBuf;

/// The directory with a directory for each version.
pub const INSTALLED: &str = "/usr/lib/postgresql";

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
