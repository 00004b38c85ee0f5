//! Finds and opens the database in a directory.

use std::path::{self, Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, anyhow, bail};
use wasi_sessions::{Answer, Builder, Error, Key, Options, PreviousKey, Sessions};

use crate::ending;

/// A database in a directory, whether or not it exists yet.
#[derive(Clone, Debug)]
pub struct Database {
    /// The directory, which one owner at a time locks.
    pub directory: PathBuf,
    /// The database's file in it.
    pub file: String,
    /// The table that holds the sessions.
    pub table: String,
    /// The key that encrypts the database.
    pub key: Option<Key>,
    /// The previous key, as long as it is needed.
    pub previous_key: Option<PreviousKey>,
}

impl Database {
    /// Opens the database, which is created if it is missing.
    pub fn create(&self) -> anyhow::Result<Sessions> {
        self.opened(self.builder(self.options()).open())
    }

    /// Opens an existing database; creates or migrates nothing.
    pub fn open(&self) -> anyhow::Result<Sessions> {
        if !self.exists()? {
            let (file, directory) = (&self.file, self.directory.display());
            bail!("no database `{file}` in directory `{directory}`");
        }
        let options = Options {
            sync: false,
            ..self.options()
        };
        self.opened(self.builder(options).open())
    }

    /// Whether the file exists.
    pub fn exists(&self) -> anyhow::Result<bool> {
        fs::exists(self.path())
            .with_context(|| format!("directory `{}` cannot be read", self.directory.display()))
    }

    /// The path of the database's file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    /// The options of the store: the defaults, for this table and its keys.
    pub fn options(&self) -> Options {
        Options {
            table_name: self.table.clone(),
            key: self.key.clone(),
            previous_key: self.previous_key.clone(),
            ..Options::default()
        }
    }

    /// A builder of a store on this database, with compiled code in the user's cache.
    pub fn builder(&self, options: Options) -> Builder {
        let builder = Builder::new(&self.directory)
            .file_name(&self.file)
            .options(options);
        match self.cache_directory() {
            Some(cache) => builder.cache_directory(cache),
            None => builder,
        }
    }

    /// The directory in which compiled code is cached; `None` if it would be inside the
    /// store's directory, where the store refuses it because the component could write it.
    pub fn cache_directory(&self) -> Option<PathBuf> {
        cache_directory().filter(|cache| !is_inside(cache, &self.directory))
    }

    /// Waits for a store to open; an error names the database.
    pub fn opened(&self, answer: Answer<Sessions>) -> anyhow::Result<Sessions> {
        let table = &self.table;
        let opened = answer.wait().map_err(|error| match error {
            // Without the store's advice, which is for programs.
            Error::MissingTable(_) => {
                anyhow!("no table `{table}` in database `{}`", self.path().display())
            }
            // The messages of these name the directory already.
            Error::InUse { .. }
            | Error::Directory { .. }
            | Error::Replaced { .. }
            | Error::LockLost { .. } => error.into(),
            error => {
                let context = format!("cannot open `{}`", self.path().display());
                anyhow::Error::new(error).context(context)
            }
        })?;
        if cache_directory().is_some() && self.cache_directory().is_none() {
            // Only on success, because an error is the only line.
            ending::say("compiled code is not cached: the cache is in the database's directory");
        }
        Ok(opened)
    }
}

/// Whether a path is `directory` or inside it; neither needs to exist.
fn is_inside(path: &Path, directory: &Path) -> bool {
    let there = |path: &Path| {
        path.ancestors()
            .find_map(|path| fs::canonicalize(path).ok())
    };
    let by_links = match fs::canonicalize(directory) {
        Ok(directory) => there(path).is_some_and(|path| path.starts_with(directory)),
        Err(_) => false,
    };
    let by_name = match (path::absolute(path), path::absolute(directory)) {
        (Ok(path), Ok(directory)) => path.starts_with(directory),
        _ => false,
    };
    by_links || by_name
}

/// The directory for compiled code, in the cache directory of the XDG specification: an
/// absolute `$XDG_CACHE_HOME`, or else `.cache` in the user's home.
pub fn cache_directory() -> Option<PathBuf> {
    if cfg!(test) {
        // Unit tests keep out of the user's cache: theirs is beside the test program.
        return Some(
            env::current_exe()
                .ok()?
                .with_file_name("wasi-sessions-cache"),
        );
    }
    let caches = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|caches| caches.is_absolute())
        .or_else(|| Some(env::home_dir()?.join(".cache")))?;
    Some(caches.join("wasi-sessions"))
}
