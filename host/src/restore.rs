//! Replaces the database with a backup.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::ReadCache;
use crate::cause::Cause;
use crate::clock::StoreClock;
use crate::owner::Owner;
use crate::sandbox::compiled::Cache;
use crate::sandbox::database_file;
use crate::sandbox::directories::{create_private, sync_directory, with_suffix};
use crate::sandbox::directory::Directory;
use crate::sandbox::file_lock::{self, Kind};
use crate::sandbox::mark;
use crate::settings::{Files, Settings};
use crate::{Error, Options};

/// Replaces the database with a copy, or changes nothing.
///
/// The copy is staged in the directory and checked there by the component. Then it is
/// marked as a backup and renamed over the database, which replaces the database and its
/// WAL in one step (see [`mark`]). The old WAL is removed afterwards.
pub(crate) fn restore(files: &Files, settings: Settings, copy: &Path) -> Result<(), Error> {
    let mut source = Source::open(copy)?;
    let directory = Directory::lock(
        &files.directory,
        &files.file_name,
        settings.options.sync_timeout,
    )?;
    source.refuse_own(&directory)?;
    if let Some(cache) = &settings.cache_directory {
        // Checked for the whole directory here: the check of the staged store covers only
        // the stage.
        Cache::open(cache, [directory.path()])?;
    }
    source.lock()?;
    let stage = Stage::create(&directory, &files.file_name)?;
    source.copy_to(&stage)?;
    stage.check(files, settings, &source)?;
    stage.replace_database(&directory)
}

/// The backup to restore, open for reading.
struct Source {
    file: File,
    /// The path as it was given, for errors.
    given: PathBuf,
    path: PathBuf,
}

impl Source {
    /// Opens the copy; refuses the file of a database in use.
    fn open(given: &Path) -> Result<Self, Error> {
        let refused = |words: &str| refused(given, words);
        let failed = |error: io::Error| refused(&error.to_string());
        let path = fs::canonicalize(given).map_err(failed)?;
        database_file::refuse_odd(&path).map_err(failed)?;
        let file = database_file::open_plain(File::options().read(true), &path).map_err(failed)?;
        let is_half = |folder: &str| {
            folder == ".wasi-sessions.restore" || folder.starts_with(".wasi-sessions.backup.")
        };
        let mut folders = path.parent().into_iter().flat_map(Path::components);
        if folders.any(|folder| folder.as_os_str().to_str().is_some_and(is_half)) {
            return Err(refused("this was left by a killed backup or restore"));
        }
        for suffix in ["-wal", "-journal"] {
            let log = with_suffix(&path, suffix);
            if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                let log = log.display();
                return Err(refused(&format!(
                    "this is a database in use, not a backup: there is a log `{log}`"
                )));
            }
        }
        let given = given.to_owned();
        Ok(Self { file, given, path })
    }

    /// Refuses the database itself, and the files that a restore removes or
    /// replaces.
    fn refuse_own(&self, directory: &Directory) -> Result<(), Error> {
        if directory.is_database(&self.file) || directory.owns(&self.path) {
            return Err(refused(&self.given, "this belongs to the store itself"));
        }
        Ok(())
    }

    /// Locks the copy against writes by other programs; refuses a copy that another
    /// program has open.
    fn lock(&self) -> Result<(), Error> {
        let words = "a program has this database open";
        file_lock::try_lock(&self.file, Kind::Shared).map_err(|_| refused(&self.given, words))
    }

    fn copy_to(&mut self, stage: &Stage) -> Result<(), Error> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(&stage.file)
            .and_then(|mut staged| io::copy(&mut self.file, &mut staged))
            .map(drop)
            .map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull,
                _ => failed(&self.given, error),
            })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        file_lock::unlock(&self.file);
    }
}

/// A folder in the store's directory, accessible to this user alone, in which the copy is
/// checked. It is removed on drop.
struct Stage {
    folder: PathBuf,
    file: PathBuf,
}

impl Stage {
    fn create(directory: &Directory, file_name: &str) -> Result<Self, Error> {
        let folder = directory.stage();
        let file = folder.join(file_name);
        let stage = Self { folder, file };
        create_private(&stage.folder).map_err(|error| failed(&stage.folder, error))?;
        Ok(stage)
    }

    /// Opens the copy with a component, which reads and checks all of it.
    fn check(&self, files: &Files, settings: Settings, source: &Source) -> Result<(), Error> {
        let options = Options {
            // Nothing is created, migrated or collected in the copy. With a `previous_key`
            // that is the backup's, this begins the change of its key.
            sync: false,
            gc_frequency: 0,
            ..settings.options.clone()
        };
        let table = options.table_name.clone();
        let clock = StoreClock::new(settings.clock.clone());
        let staged = Files {
            directory: self.folder.clone(),
            file_name: files.file_name.clone(),
            read_cache: 0,
        };
        let settings = Settings {
            options,
            ..settings
        };
        let no_cache = Arc::new(ReadCache::new(0, clock.clone(), false));
        let copy = source.given.display();
        let checked = Owner::open(&staged, settings, clock, no_cache).and_then(|mut owner| {
            let damage = owner.check();
            owner.close();
            damage
        });
        let damage = match checked {
            Ok(damage) if damage.is_empty() => return Ok(()),
            Ok(damage) => damage.join("; "),
            Err(Error::Corrupt(damage)) => damage,
            Err(Error::MissingTable(reason) | Error::Other(reason)) => {
                return Err(refused(
                    &source.given,
                    &format!("this is not a database with sessions in table `{table}`: {reason}"),
                ));
            }
            Err(error) => return Err(error),
        };
        Err(Error::Corrupt(format!("`{copy}`: {damage}")))
    }

    /// Syncs the copy and renames it over the database.
    fn replace_database(&self, directory: &Directory) -> Result<(), Error> {
        let database = directory.database_path();
        self.seal(directory)
            .map_err(|error| failed(&self.file, error))?;
        fs::rename(&self.file, &database)
            .and_then(|()| sync_directory(directory.path()))
            .and_then(|()| directory.remove_logs())
            .and_then(|()| sync_directory(directory.path()))
            .map_err(|error| failed(&database, error))
    }

    /// Marks the copy, gives it to the owner of the old database, and syncs it.
    fn seal(&self, directory: &Directory) -> io::Result<()> {
        let mut file =
            database_file::open_plain(File::options().read(true).write(true), &self.file)?;
        mark::put_on(&mut file)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
            let old = fs::metadata(directory.database_path())
                .or_else(|_| fs::metadata(directory.path()))?;
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            let mode = directory.new_file_mode();
            file.set_permissions(PermissionsExt::from_mode(mode))?;
        }
        file.sync_all()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Leftovers are removed when the directory is locked next.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn failed(file: &Path, error: io::Error) -> Error {
    Error::Restore {
        file: file.to_owned(),
        reason: Cause::new(error),
    }
}

fn refused(copy: &Path, words: &str) -> Error {
    Error::InvalidArgument(format!("restore: `{}`: {words}", copy.display()))
}
