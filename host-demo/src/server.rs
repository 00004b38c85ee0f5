//! A database on a server, and the place of a store: in a directory or on a server.

use std::env::{self, VarError};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use wasi_sessions::{Builder, Database, Error, Options, Sessions};

use crate::database::{self, cache_directory};

/// A database on a server, and the options of its store.
pub struct Server {
    database: Database,
    options: Options,
}

impl Server {
    /// The database with this URL. The password is in the URL or in the environment.
    pub fn new(url: &str, tls_roots: Option<&Path>, options: Options) -> anyhow::Result<Self> {
        let mut database = Database::new(url);
        if let Some(password) = password(&database)? {
            database = database.password(password);
        }
        if let Some(file) = tls_roots {
            let name = file.display();
            let pem = fs::read_to_string(file)
                .with_context(|| format!("certificates `{name}` cannot be read"))?;
            database = database.tls_roots(pem);
        }
        Ok(Self { database, options })
    }

    /// Opens the store, whose table is created if it is missing, or migrated if it is older.
    /// Also returns whether it was created.
    pub fn create(&self) -> anyhow::Result<(Sessions, bool)> {
        let (opened, is_new) = match self.opened(false) {
            Err(Error::MissingTable(_)) => (self.opened(true), true),
            // Possibly because the table is older.
            Err(Error::Other(_)) => (self.opened(true), false),
            opened => (opened, false),
        };
        Ok((opened.map_err(|error| self.described(error))?, is_new))
    }

    /// Opens an existing table; creates or migrates nothing.
    pub fn open(&self) -> anyhow::Result<Sessions> {
        self.opened(false).map_err(|error| self.described(error))
    }

    /// Opens the store. An error does not contain the URL, which may contain a password.
    fn opened(&self, sync: bool) -> Result<Sessions, Error> {
        let options = Options {
            sync,
            ..self.options.clone()
        };
        let mut builder = Builder::over(self.database.clone()).options(options);
        if let Some(cache) = cache_directory() {
            builder = builder.cache_directory(cache);
        }
        builder.open().wait()
    }

    fn described(&self, error: Error) -> anyhow::Error {
        match error {
            // The store's own message also advises programs, not users of the command line.
            Error::MissingTable(_) => {
                anyhow!("no table `{}` in the database", self.options.table_name)
            }
            error => anyhow::Error::new(error).context("cannot open the store"),
        }
    }
}

/// The password in the environment variable that the database's own programs read, too.
pub fn password(database: &Database) -> anyhow::Result<Option<String>> {
    let Some(variable) = database.password_variable() else {
        return Ok(None);
    };
    match env::var(variable) {
        Ok(password) => Ok(Some(password)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("{variable} is not UTF-8"),
    }
}

/// The place of a store.
pub enum Place {
    /// In a directory.
    Directory(database::Database),
    /// On a server.
    Server(Server),
}

impl Place {
    /// Opens the store, which is created if it is missing. Also returns what was created, in
    /// words.
    pub fn create(&self) -> anyhow::Result<(Sessions, Option<String>)> {
        match self {
            Self::Directory(database) => {
                let is_new = !database.exists()?;
                let created = is_new.then(|| format!("database `{}`", database.path().display()));
                Ok((database.create()?, created))
            }
            Self::Server(server) => {
                let (sessions, is_new) = server.create()?;
                let table = &server.options.table_name;
                Ok((sessions, is_new.then(|| format!("table `{table}`"))))
            }
        }
    }

    /// Opens an existing store; creates or migrates nothing.
    pub fn open(&self) -> anyhow::Result<Sessions> {
        match self {
            Self::Directory(database) => database.open(),
            Self::Server(server) => server.open(),
        }
    }

    /// The directory in which compiled code is cached, if any.
    pub fn cache_directory(&self) -> Option<PathBuf> {
        match self {
            Self::Directory(database) => database.cache_directory(),
            Self::Server(_) => cache_directory(),
        }
    }

    /// The database in a directory, for commands that work only there.
    pub fn directory(&self) -> anyhow::Result<&database::Database> {
        match self {
            Self::Directory(database) => Ok(database),
            Self::Server(_) => {
                bail!("this command is for a database in a directory; a server has its own tools")
            }
        }
    }
}
