//! Databases for the tests, each in a new directory.

pub use crate::contract::samples::{Counting, NOW, create, handle, is_live, started};

use crate::engine::{Access, Durability, Engine, Error, Options, Store};
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;
use wasi_sessions_component::gather_writes;
use wasi_sessions_rules::key::{Key, PreviousKey};

/// Both kinds of access.
pub const BOTH: [Access; 2] = [Access::Exclusive, Access::Shared];

/// The setups of the tests of the contract: kinds of access.
pub type Setup = Access;
pub const SETUPS: [Setup; 2] = BOTH;
pub const SETUP: Setup = Access::Exclusive;

/// How many random sequences the model is compared with, in each setup.
pub const CASES: u32 = 256;

/// The last handle in the order of listings, which is that of the signed rowids.
pub const LAST_HANDLE: &str = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

pub fn counting(setup: Setup) -> Counting {
    match setup {
        Access::Exclusive => Counting::Store,
        Access::Shared => Counting::Database,
    }
}

/// The position of a session in listings.
pub fn position(handle: &str) -> i64 {
    u64::from_str_radix(&handle[..16], 16).unwrap() as i64
}

/// A database, which is removed when this and all its open stores are dropped.
pub struct Database {
    directory: Arc<TempDir>,
    /// The options with which [`Database::open`] opens a store.
    pub options: Options,
    /// With `SEALED=changing`: the byte of the key of an exclusive database, which is
    /// another one whenever it is opened.
    changing_key: Option<AtomicU8>,
}

impl Database {
    /// A database with the default options except the access and, since no test cuts the
    /// power, the durability.
    pub fn new(access: Access) -> Database {
        Database::with(access, |_| {})
    }

    /// A database with other options. Its directory is in memory if the machine has such a
    /// directory, since the tests make thousands of transactions.
    pub fn with(access: Access, change: impl FnOnce(&mut Options)) -> Database {
        gather_writes(std::env::var_os("GATHER_WRITES").is_none_or(|on| on != "0"));
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let sealed = std::env::var("SEALED").unwrap_or("0".into());
        let mut options = Options {
            access,
            durability: Durability::Relaxed,
            key: key(1).filter(|_| sealed != "0"),
            // For tables that another program has created.
            previous_key: (sealed != "0").then_some(PreviousKey::None),
            ..Options::default()
        };
        change(&mut options);
        let is_changing = sealed == "changing" && access == Access::Exclusive;
        Database {
            directory: Arc::new(directory.unwrap()),
            options,
            changing_key: is_changing.then(|| AtomicU8::new(1)),
        }
    }

    /// Opens a store with the database's options.
    pub fn open(&self) -> OpenStore {
        self.open_with(|_| {})
    }

    /// Opens a store with changed options.
    pub fn open_with(&self, change: impl FnOnce(&mut Options)) -> OpenStore {
        self.try_open(change)
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Tries to open a store with changed options.
    pub fn try_open(&self, change: impl FnOnce(&mut Options)) -> Result<OpenStore, Error> {
        let mut options = self.options.clone();
        change(&mut options);
        let store = match &self.changing_key {
            None => self.open_store(options),
            Some(present) => self.open_with_next_key(options, present),
        };
        Ok(OpenStore {
            store: store?,
            _directory: self.directory.clone(),
        })
    }

    fn open_store(&self, options: Options) -> Result<Store, Error> {
        Store::open(&self.file("sessions.db"), options, NOW)
    }

    /// Opens a store with the next key, or with the present one while collection has not
    /// replaced the one before it.
    fn open_with_next_key(&self, options: Options, present: &AtomicU8) -> Result<Store, Error> {
        let open = |byte: u8| {
            self.open_store(Options {
                key: key(byte),
                previous_key: key(byte - 1).map(PreviousKey::Key),
                ..options.clone()
            })
        };
        match open(present.load(Ordering::Relaxed) + 1) {
            Err(Error::InvalidArgument(_)) => open(present.load(Ordering::Relaxed)),
            opened => {
                present.fetch_add(1, Ordering::Relaxed);
                opened
            }
        }
    }

    /// Opens the database without a store, to inspect or damage it. No exclusive store may
    /// have it open.
    pub fn raw(&self) -> Connection {
        Connection::open(self.file("sessions.db")).unwrap()
    }

    /// The handles of all rows, live or not, read from a copy.
    pub fn rows(&self, store: &mut Store) -> BTreeSet<String> {
        let copy = self.file("copy.db");
        store.backup(&copy).unwrap();
        let rows: BTreeSet<String> = Connection::open(&copy)
            .unwrap()
            .prepare("SELECT key, rest FROM Sessions")
            .unwrap()
            .query_map([], |row| {
                let (head, tail): (i64, [u8; 24]) = (row.get(0)?, row.get(1)?);
                Ok(hex::encode(head.to_be_bytes()) + &hex::encode(tail))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        fs::remove_file(copy).unwrap();
        rows
    }

    /// Makes changes, such as `BEFORE DELETE`, fail for rows that match the condition.
    pub fn fail(&self, change: &str, condition: &str) {
        let trigger = format!(
            "CREATE TRIGGER harm {change} ON Sessions WHEN {condition}
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        );
        self.raw().execute_batch(&trigger).unwrap();
    }

    /// Undoes [`Database::fail`].
    pub fn heal(&self) {
        self.raw().execute_batch("DROP TRIGGER harm").unwrap();
    }

    /// The number that this query returns.
    pub fn number(&self, query: &str) -> i64 {
        self.raw().query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Overwrites a page in the middle of the closed database.
    pub fn damage_a_page(&self) {
        let file = self.file("sessions.db");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xaa);
        fs::write(&file, bytes).unwrap();
    }

    /// The path of a file beside the database, or of the database itself.
    pub fn file(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }
}

/// An open store; its database is not removed while it is open.
pub struct OpenStore {
    store: Store,
    _directory: Arc<TempDir>,
}

impl Deref for OpenStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for OpenStore {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

/// The key that consists of this byte.
pub fn key(byte: u8) -> Option<Key> {
    let text = base64::Engine::encode(&STANDARD, [byte; 32]);
    Key::from_base64(&text)
}
