//! What is kept between the stores of one instance: connections, which cost a hundred
//! times what a request does, and the requests that were counted.

use crate::connection::Connection;
use std::cell::RefCell;
use wasi_sessions_rules::id;
use wasi_sessions_rules::options::Options;

/// The most connections that are kept while no store uses them.
const MOST: usize = 4;

thread_local! {
    static UNUSED: RefCell<Vec<(Key, Kept)>> = const { RefCell::new(Vec::new()) };
}

/// Stores with the same location and options may use each other's connections.
#[derive(PartialEq, Eq)]
pub struct Key {
    /// The URL. It can have a password.
    pub location: String,
    pub options: Options,
}

/// What a store has between its calls.
pub struct Kept {
    /// The connection; `None` before the first call and after a failure.
    pub connection: Option<Connection>,
    /// Requests since the last complete collection.
    pub requests: u64,
    /// The last known difference of the clocks; see [`Connection`].
    pub clock_offset: i64,
}

/// Takes the connection and count that a store with the same key gave back, or starts
/// without a connection.
pub fn take(key: &Key) -> Kept {
    let left = UNUSED.with_borrow_mut(|unused| {
        let index = unused.iter().rposition(|(other, _)| other == key)?;
        Some(unused.remove(index).1)
    });
    left.unwrap_or_else(|| Kept {
        connection: None,
        requests: first_count(&key.options),
        clock_offset: 0,
    })
}

/// Keeps what a store leaves; the connection that has been unused longest makes room.
pub fn give_back(key: Key, kept: Kept) {
    // While the thread ends there is no place for it.
    let _ = UNUSED.try_with(|unused| {
        let mut unused = unused.borrow_mut();
        if unused.len() == MOST {
            unused.remove(0);
        }
        unused.push((key, kept));
    });
}

/// A component may live for one request: it starts to count anywhere before `gcFrequency`,
/// so that one in that many instances collects. A process counts from 0.
fn first_count(options: &Options) -> u64 {
    if cfg!(not(target_arch = "wasm32")) || options.gc_frequency == 0 {
        return 0;
    }
    let random = id::random::<8>().map_or(0, u64::from_le_bytes);
    random % options.gc_frequency
}
