//! A pool of what closed stores leave for the next ones of the same instance: connections,
//! since connecting costs as much as a hundred requests, and counts of requests.

use crate::connection::Connection;
use std::cell::RefCell;
use wasi_sessions_rules::id;
use wasi_sessions_rules::options::Options;

/// The most unused connections that are kept.
const MOST: usize = 4;

thread_local! {
    static UNUSED: RefCell<Vec<(Key, Kept)>> = const { RefCell::new(Vec::new()) };
}

/// Identifies stores that may share connections: the same location and options.
#[derive(PartialEq, Eq)]
pub struct Key {
    /// The URL. It may contain a password.
    pub location: String,
    pub options: Options,
}

/// The state of a store between its calls.
pub struct Kept {
    /// The connection; `None` before the first call and after a failure.
    pub connection: Option<Connection>,
    /// Requests since the last complete collection.
    pub requests: u64,
    /// The last known difference of the clocks; see [`Connection`].
    pub clock_offset: i64,
}

/// Takes what a store with the same key gave back, or else returns a state without a
/// connection.
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

/// Keeps the state of a closed store; evicts the one that has been unused longest if there
/// are too many.
pub fn give_back(key: Key, kept: Kept) {
    // Fails while the thread ends; the state is dropped then.
    let _ = UNUSED.try_with(|unused| {
        let mut unused = unused.borrow_mut();
        if unused.len() == MOST {
            unused.remove(0);
        }
        unused.push((key, kept));
    });
}

/// The first count of requests. An instance of the component may live for one request only,
/// so it starts at a random count below `gcFrequency`: one in `gcFrequency` such instances
/// collects. A native process starts at 0.
fn first_count(options: &Options) -> u64 {
    if cfg!(not(target_arch = "wasm32")) || options.gc_frequency == 0 {
        return 0;
    }
    let random = id::random::<8>().map_or(0, u64::from_le_bytes);
    random % options.gc_frequency
}
