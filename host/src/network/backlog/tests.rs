//! Tests of the order in which jobs leave the backlog, and of those that wait for too long.

use std::sync::Arc;

use super::*;
use crate::owner::group::tests::waiting;
use crate::owner::permits::Queue;

const LONGEST: Duration = Duration::from_secs(3);

fn backlog() -> Backlog {
    Backlog::new(Budget::new(256 << 20, 1 << 20), LONGEST)
}

/// A job whose caller waits since `since`.
fn job(queue: &Arc<Queue>, since: Instant) -> Job {
    let (mut waiting, _) = waiting(queue);
    waiting.queued.since = since;
    Job::Requests(waiting)
}

#[test]
fn a_job_that_has_waited_for_too_long_is_removed_and_no_other() {
    let queue = Arc::new(Queue::new());
    let mut backlog = backlog();
    assert_eq!(backlog.deadline(), None);
    let start = Instant::now();
    let second = Duration::from_secs(1);
    backlog.push(Kind::Call, Job::Collect(1));
    assert_eq!(backlog.deadline(), None);
    backlog.push(Kind::Write, job(&queue, start + second));
    // Its caller came first, but waited for a permit.
    backlog.push(Kind::Write, job(&queue, start));
    backlog.push(Kind::Read, job(&queue, start + 2 * second));
    let mut now = start + LONGEST;
    assert_eq!(backlog.deadline(), Some(now));
    assert!(
        backlog
            .take_overdue(now - Duration::from_nanos(1))
            .is_empty()
    );
    for _ in 0..3 {
        let overdue = backlog.take_overdue(now);
        assert_eq!(overdue.len(), 1);
        assert_eq!(overdue[0].since(), Some(now - LONGEST));
        now += second;
    }
    assert_eq!(backlog.deadline(), None);
    assert!(!backlog.is_empty(), "a collection has no caller who waits");
    backlog.drop_collections();
    assert!(backlog.is_empty() && queue.is_empty());
}

#[test]
fn kinds_take_turns_as_far_as_they_are_allowed() {
    let queue = Arc::new(Queue::new());
    let mut backlog = backlog();
    let now = Instant::now();
    for kind in [Kind::Write, Kind::Read, Kind::Call] {
        for _ in 0..2 {
            let (waiting, _) = waiting(&queue);
            // Alone, so that they share no transaction.
            let failure = Arc::new(super::super::job::GroupFailure::new(crate::Error::Busy));
            backlog.push(kind, Job::Alone(waiting, failure));
        }
    }
    let mut turns = vec![];
    while let Some(kind) = backlog.next(|_| true) {
        assert!(backlog.take(kind).is_some());
        turns.push(kind);
    }
    let [read, write, call] = Kind::ALL;
    assert_eq!(turns, [read, write, call, read, write, call]);
    backlog.push(Kind::Write, job(&queue, now));
    assert_eq!(backlog.next(|kind| kind != Kind::Write), None);
    assert_eq!(backlog.next(|_| true), Some(Kind::Write));
}
