//! Decides which requests a task runs itself, on its runtime's thread: small ones that do
//! not wait for the disk.

use crate::contract::types::Request;
use crate::request::Writes;
use crate::{Durability, Options};

/// The maximum number of requests in a batch that a task runs itself.
const MOST_REQUESTS: usize = 16;

/// The maximum total size of the payloads in such a batch, in bytes.
const MOST_BYTES: usize = 64 << 10;

/// The maximum total size of the stored payloads that such a batch reads, in bytes. One of 1
/// MiB takes 5 ms if it is sealed.
const MOST_READ: u64 = 4 << 20;

/// The maximum number of pages that a small request writes apart from payloads: the path
/// from the root to the leaf in the table and in both indexes, with page splits, and the
/// pages that record which pages are free.
const PAGES: u64 = 20;

/// An upper bound on what requests read and write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inline {
    pub(crate) requests: u64,
    pub(crate) pages: u64,
    /// The bytes of payloads.
    pub(crate) bytes: u64,
    /// The bytes of stored payloads whose pages are freed.
    pub(crate) freed: u64,
    /// The bytes of stored payloads that are read and not written.
    read: u64,
}

impl Inline {
    /// An upper bound on what these requests read and write; `None` if a task must not run
    /// them itself, whatever the state of the store. `stored` gives the length of the payload
    /// that is stored under an id; where it is not known, it counts as the largest that is
    /// allowed.
    pub(crate) fn of(
        requests: &[Request],
        options: &Options,
        stored: impl Fn(&str) -> Option<u64>,
    ) -> Option<Self> {
        let brought = requests.iter().map(|request| request.payload().len());
        let brought = brought.fold(0, usize::saturating_add);
        if requests.len() > MOST_REQUESTS || brought > MOST_BYTES {
            return None;
        }
        let mut work = Self {
            requests: requests.len() as u64,
            pages: 0,
            bytes: brought as u64,
            freed: 0,
            read: 0,
        };
        for request in requests {
            let stored = || {
                // A request before it may have written a longer one.
                let known = request.id().and_then(&stored);
                known.map_or(options.max_data, |length| length + brought as u64)
            };
            match request.weights().writes {
                Writes::Nothing => {
                    work.read = work.read.saturating_add(stored());
                    continue;
                }
                Writes::Brought => {}
                Writes::Stored => work.bytes = work.bytes.saturating_add(stored()),
                Writes::Many => return None,
            }
            work.pages += PAGES;
            work.freed = work.freed.saturating_add(stored());
        }
        let allowed = !work.writes() || options.durability == Durability::Relaxed;
        allowed.then_some(work)
    }

    /// Whether reading takes so long that a task must not do it.
    pub(crate) fn reads_much(&self) -> bool {
        self.read > MOST_READ
    }

    /// Whether anything is written.
    pub(crate) fn writes(&self) -> bool {
        self.pages > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::types::{
        CreateRequest, DestroyRequest, GetRequest, RotateRequest, SetRequest, TouchRequest,
    };

    fn relaxed() -> Options {
        Options {
            durability: Durability::Relaxed,
            ..Options::default()
        }
    }

    fn unknown(_: &str) -> Option<u64> {
        None
    }

    fn get() -> Request {
        Request::Get(GetRequest {
            id: "id".to_owned(),
        })
    }

    fn set(length: usize) -> Request {
        Request::Set(SetRequest {
            id: "id".to_owned(),
            data: vec![0; length],
            ttl: None,
        })
    }

    #[test]
    fn reads_write_nothing_and_are_done_with_any_durability() {
        let read = Inline::of(&[get()], &Options::default(), unknown).unwrap();
        assert!(!read.writes());
        assert_eq!(Inline::of(&[get()], &relaxed(), unknown), Some(read));
    }

    #[test]
    fn a_task_reads_one_session_of_unknown_size_or_more_small_ones() {
        let reads_much = |count, options: &Options, stored: fn(&str) -> Option<u64>| {
            let work = Inline::of(&vec![get(); count], options, stored);
            work.unwrap().reads_much()
        };
        assert!(!reads_much(1, &Options::default(), unknown));
        assert!(reads_much(MOST_REQUESTS, &Options::default(), unknown));
        let known = |_: &str| Some(500);
        assert!(!reads_much(MOST_REQUESTS, &Options::default(), known));
        let large = Options {
            max_data: 512 << 20,
            ..Options::default()
        };
        assert!(reads_much(1, &large, unknown));
        assert!(!reads_much(1, &large, known));
    }

    #[test]
    fn durable_writes_and_log_ins_are_never_done_by_tasks() {
        assert_eq!(Inline::of(&[set(1)], &Options::default(), unknown), None);
        assert_eq!(
            Inline::of(&[get(), set(1)], &Options::default(), unknown),
            None
        );
        let rotate = Request::Rotate(RotateRequest {
            id: "id".to_owned(),
            subject: None,
        });
        assert_eq!(Inline::of(&[rotate], &relaxed(), unknown), None);
        let create = Request::Create(CreateRequest {
            data: vec![],
            ttl: None,
            subject: Some("alice".to_owned()),
        });
        assert_eq!(Inline::of(&[create], &relaxed(), unknown), None);
    }

    #[test]
    fn a_batch_of_a_task_is_bounded_in_requests_and_in_bytes() {
        let sets = |count, length| vec![set(length); count];
        assert!(Inline::of(&sets(MOST_REQUESTS, 1), &relaxed(), unknown).is_some());
        assert_eq!(
            Inline::of(&sets(MOST_REQUESTS + 1, 1), &relaxed(), unknown),
            None
        );
        assert!(Inline::of(&sets(1, MOST_BYTES), &relaxed(), unknown).is_some());
        assert_eq!(
            Inline::of(&sets(2, MOST_BYTES / 2 + 1), &relaxed(), unknown),
            None
        );
    }

    #[test]
    fn a_stored_payload_counts_with_its_length_where_that_is_known() {
        let touch = Request::Touch(TouchRequest {
            id: "id".to_owned(),
            ttl: None,
        });
        let known = |id: &str| (id == "id").then_some(500);
        let work = Inline::of(std::slice::from_ref(&touch), &relaxed(), known).unwrap();
        assert_eq!((work.bytes, work.freed), (500, 500));
        // The set may have written more.
        let work = Inline::of(&[set(600), touch], &relaxed(), known).unwrap();
        assert_eq!((work.bytes, work.freed), (600 + 1100, 2 * 1100));
    }

    #[test]
    fn a_request_that_may_rewrite_a_stored_payload_counts_as_the_largest() {
        let touch = Request::Touch(TouchRequest {
            id: "id".to_owned(),
            ttl: None,
        });
        let largest = Options::default().max_data;
        let work = Inline::of(&[set(7), touch], &relaxed(), unknown).unwrap();
        let expected = Inline {
            requests: 2,
            pages: 2 * PAGES,
            bytes: 7 + largest,
            freed: 2 * largest,
            read: 0,
        };
        assert_eq!(work, expected);
    }

    #[test]
    fn a_request_that_replaces_or_ends_a_payload_frees_the_largest() {
        let largest = Options::default().max_data;
        let destroy = Request::Destroy(DestroyRequest {
            id: "id".to_owned(),
        });
        for (request, bytes) in [(set(7), 7), (destroy, 0)] {
            let work = Inline::of(&[request], &relaxed(), unknown).unwrap();
            assert_eq!((work.bytes, work.freed), (bytes, largest));
        }
    }
}
