//! Tests of owners that are stopped in a commit or in a read while another takes over.

use super::*;

/// Writes all sessions with `data`, which identifies the writer.
fn write_all(storage: &Storage, data: &[u8]) -> Result<(), Error> {
    storage.transaction(Room::Growing, |rows| {
        for place in 0..30 {
            // At this time the existing session has expired, so it is replaced.
            let session = session(&[data, &[0; 2000]].concat());
            rows.insert(&IdHash([place; 32]), &session, NOW + 1000)?;
        }
        Ok(())
    })
}

fn read_all(storage: &Storage) -> Result<Vec<u8>, Error> {
    storage.snapshot(|rows| {
        let read = |place| match rows.find(&IdHash([place; 32]), NOW)? {
            Some(Stored::Live(session)) => Ok(session.data[0]),
            _ => Err(Error::Busy),
        };
        (0..30).map(read).collect()
    })
}

/// A database with 30 sessions, an owner that has not read yet, and a second owner.
fn two_owners() -> (TempDir, Storage, Rc<Storage>) {
    let (directory, first) = open(0);
    for place in 0..30 {
        first
            .transaction(Room::Growing, |_| add(&first, place))
            .unwrap();
    }
    write_all(&first, b"0").unwrap();
    drop(first);
    let (first, next) = (open_in(&directory, 0), open_in(&directory, 0));
    (directory, first, Rc::new(next))
}

#[test]
fn an_owner_stopped_anywhere_in_a_commit_writes_nothing_afterwards() {
    let mut stops = 0;
    loop {
        let (directory, first, next) = two_owners();
        let (lock, other) = (lock(&first), next.clone());
        let taken = Rc::new(RefCell::new(None));
        let result = taken.clone();
        faults::call_after(stops, move || {
            let_pass(&lock, STOPPED);
            *result.borrow_mut() = Some(write_all(&other, b"2"));
        });
        let done = write_all(&first, b"1");
        let was_called = faults::end_call();
        assert_eq!(*taken.borrow(), was_called.then_some(Ok(())), "{stops}");
        let expected = match (&done, was_called) {
            // The owner was stopped before it took the lock, or after it released it.
            (Ok(()), true) => read_all(&next).unwrap(),
            (Ok(()), false) => vec![b'1'; 30],
            (Err(Error::Busy), true) => vec![b'2'; 30],
            other => panic!("{stops}: {other:?}"),
        };
        assert!(expected.iter().all(|writer| *writer == expected[0]));
        assert_eq!(read_all(&next), Ok(expected.clone()), "{stops}");
        assert_eq!(read_all(&first), Ok(expected), "{stops}");
        assert_eq!(next.check(), Ok(vec![]));
        assert!(names(&directory).is_empty());
        if !was_called {
            break;
        }
        stops += 1;
    }
    assert!(stops > 30, "{stops}");
}

#[test]
fn a_commit_that_loses_its_lock_after_the_journal_was_truncated_is_busy_and_kept() {
    let mut stops = 0;
    let mut kept = 0;
    loop {
        let (_directory, first, next) = two_owners();
        let (lock, other) = (lock(&first), next.clone());
        let found = Rc::new(RefCell::new(None));
        let result = found.clone();
        faults::call_after(stops, move || {
            let_pass(&lock, STOPPED);
            *result.borrow_mut() = Some(read_all(&other));
        });
        let done = write_all(&first, b"1");
        let was_called = faults::end_call();
        if done == Err(Error::Busy) {
            let found = found.borrow_mut().take().unwrap().unwrap();
            kept += u64::from(found == [b'1'; 30]);
            assert_eq!(read_all(&first), Ok(found), "{stops}");
        }
        if !was_called {
            break;
        }
        stops += 1;
    }
    assert!(kept > 0);
}

#[test]
fn a_commit_that_was_kept_is_not_retried_however_long_the_timeout_is() {
    let (directory, other) = open(0);
    let (first, other) = (open_in(&directory, 60_000), Rc::new(other));
    let mut busy = 0;
    for stops in 0..200 {
        let (lock, other) = (lock(&first), other.clone());
        faults::call_after(u64::from(stops), move || {
            let_pass(&lock, STOPPED);
            count(&other).unwrap();
        });
        let done = first.transaction(Room::Growing, |_| add(&first, stops));
        // A retry would find the session that it has inserted itself.
        assert!(
            matches!(done, Ok(true) | Err(Error::Busy)),
            "{stops}: {done:?}"
        );
        busy += u64::from(done == Err(Error::Busy));
        if !faults::end_call() {
            break;
        }
    }
    assert!(busy > 0);
}

#[test]
fn an_owner_stopped_anywhere_in_a_read_answers_one_state_or_none() {
    let mut stops = 0;
    let mut busy = 0;
    loop {
        let (_directory, first, next) = two_owners();
        let (lock, other) = (lock(&first), next.clone());
        faults::call_after(stops, move || {
            let_pass(&lock, STOPPED);
            write_all(&other, b"2").unwrap();
        });
        let done = read_all(&first);
        let was_called = faults::end_call();
        match done {
            Ok(read) => assert!(read.iter().all(|writer| *writer == read[0]), "{stops}"),
            Err(Error::Busy) => busy += 1,
            Err(other) => panic!("{stops}: {other:?}"),
        }
        assert_eq!(
            read_all(&next).unwrap()[0],
            [b'0', b'2'][usize::from(was_called)]
        );
        if !was_called {
            break;
        }
        stops += 1;
    }
    assert!(busy > 10, "{busy} of {stops}");
}
