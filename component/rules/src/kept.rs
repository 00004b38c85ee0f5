//! A pool of what closed stores leave for the next ones of the same instance: connections,
//! since connecting costs as much as a hundred requests, and counts of requests.

use crate::collection;
use crate::id;
use crate::options::Options;
use std::cell::RefCell;

/// The most unused connections that are kept.
const MOST: usize = 4;

/// Identifies stores that may share connections: the same location and options.
#[derive(PartialEq, Eq)]
pub struct Key {
    /// The URL. It may contain a password.
    pub location: String,
    /// The options.
    pub options: Options,
}

/// The state of a store between its calls.
pub struct Kept<C> {
    /// The connection; `None` before the first call and after a failure.
    pub connection: Option<C>,
    /// Requests since the last complete collection.
    pub requests: u64,
    /// The last known difference of the clocks; see `Engine::clock_offset`.
    pub clock_offset: i64,
}

impl<C> Kept<C> {
    /// No connection yet. A component may live for one request: it starts to count anywhere
    /// before `gcFrequency`, so that one in that many instances collects. A process counts
    /// from 0.
    fn new(options: &Options) -> Kept<C> {
        let is_process = cfg!(not(target_arch = "wasm32"));
        Kept {
            connection: None,
            requests: match options.gc_frequency {
                frequency if is_process || frequency == 0 => 0,
                frequency => id::random::<8>().map_or(0, u64::from_le_bytes) % frequency,
            },
            clock_offset: 0,
        }
    }

    /// Counts requests towards `gcFrequency`. Returns the row limit of the collection step
    /// that follows them, if one is due.
    pub fn count(&mut self, options: &Options, requests: u64) -> Option<u64> {
        self.requests = self.requests.saturating_add(requests);
        collection::step(options, self.requests, requests)
    }

    /// All of it, of which nothing is left here.
    pub fn leave(&mut self) -> Kept<C> {
        Kept {
            connection: self.connection.take(),
            ..*self
        }
    }
}

/// What stores that were dropped have left, for the next ones.
pub struct Unused<C>(RefCell<Vec<(Key, Kept<C>)>>);

impl<C> Unused<C> {
    /// Nothing.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Unused<C> {
        Unused(RefCell::new(Vec::new()))
    }

    /// Takes the connection and count that a store with the same key gave back, or starts
    /// without a connection.
    pub fn take(&self, key: &Key) -> Kept<C> {
        let mut unused = self.0.borrow_mut();
        let index = unused.iter().rposition(|(other, _)| other == key);
        match index {
            Some(index) => unused.remove(index).1,
            None => Kept::new(&key.options),
        }
    }

    /// Keeps what a store leaves. An entry without a connection makes room, or else the
    /// connection that has been unused longest.
    pub fn give_back(&self, key: Key, kept: Kept<C>) {
        let mut unused = self.0.borrow_mut();
        unused.push((key, kept));
        if unused.len() > MOST {
            let is_empty = |(_, kept): &(Key, Kept<C>)| kept.connection.is_none();
            let evicted = unused.iter().position(is_empty).unwrap_or(0);
            unused.remove(evicted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key {
            location: number.to_string(),
            options: Options::default(),
        }
    }

    #[test]
    fn an_entry_without_a_connection_makes_room_first() {
        let unused = Unused::new();
        let give_back = |number, connection| {
            let mut kept = Kept::new(&Options::default());
            kept.connection = connection;
            unused.give_back(key(number), kept);
        };
        give_back(0, Some(0));
        give_back(1, None);
        for number in 2..5 {
            give_back(number, Some(number));
        }
        give_back(5, None);
        for number in [0, 2, 3, 4] {
            assert_eq!(unused.take(&key(number)).connection, Some(number));
        }
        for number in [0, 1, 5] {
            assert_eq!(unused.take(&key(number)).connection, None);
        }
    }
}
