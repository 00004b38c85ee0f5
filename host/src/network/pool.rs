//! The connections of a store: which are free, how many each kind of job may use, and when
//! another one is opened or an unused one is closed.

use std::time::{Duration, Instant};

use super::job::Kind;

/// How long no other connection is tried after one could not be opened. Doubles with each
/// failure in a row, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The open connections, of type `C`.
pub(crate) struct Pool<C> {
    /// The free connections. The last one is used next, so the first is unused for the
    /// longest time.
    free: Vec<Free<C>>,
    /// The number of connections at work, by the kind of job.
    busy: [usize; Kind::ALL.len()],
    /// The maximum number of connections.
    most: usize,
    /// Whether another connection is being opened.
    starting: bool,
    /// The earliest time at which another connection is tried.
    retry: Instant,
    /// The pause after the next failure.
    pause: Duration,
}

struct Free<C> {
    connection: C,
    since: Instant,
}

impl<C> Pool<C> {
    /// A pool with one connection.
    pub(crate) fn new(first: C, most: usize) -> Self {
        let now = Instant::now();
        Self {
            free: vec![Free {
                connection: first,
                since: now,
            }],
            busy: [0; _],
            most,
            starting: false,
            retry: now,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether no connection is at work.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy == [0; _]
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.free.len() + self.busy.iter().sum::<usize>()
    }

    /// Whether one more job of this kind may use a connection, so that slow jobs leave one
    /// for the others: writes, which can wait for a lock, and calls leave one to reads; calls,
    /// which can read a whole table, also leave one to writes. A single connection runs all.
    pub(crate) fn allows(&self, kind: Kind) -> bool {
        let [_, writes, calls] = self.busy;
        let all_but = |left: usize| self.open().saturating_sub(left).max(1);
        match kind {
            Kind::Read => true,
            Kind::Write => writes + calls < all_but(1),
            Kind::Call => writes + calls < all_but(1) && calls < all_but(2),
        }
    }

    /// Takes a free connection for a job. The one that is left to reads counts as used, too:
    /// if it were closed, another one would be opened for it.
    pub(crate) fn take(&mut self, kind: Kind, now: Instant) -> Option<C> {
        let free = self.free.pop()?;
        self.busy[kind as usize] += 1;
        if kind != Kind::Read
            && let Some(left) = self.free.last_mut()
        {
            left.since = now;
        }
        Some(free.connection)
    }

    /// Takes back the connection of a job that has ended; `None` if it cannot be used again.
    pub(crate) fn give_back(&mut self, kind: Kind, connection: Option<C>, now: Instant) {
        self.busy[kind as usize] -= 1;
        self.add(connection, now);
    }

    fn add(&mut self, connection: Option<C>, now: Instant) {
        self.free.extend(connection.map(|connection| Free {
            connection,
            since: now,
        }));
    }

    /// Whether another connection is to be opened for a job that waits. If so, the caller
    /// opens it and reports to [`Pool::started`].
    pub(crate) fn start_another(&mut self, now: Instant) -> bool {
        let may_start = !self.starting && self.open() < self.most;
        // Without any connection, the jobs that wait have to learn why.
        let starts = may_start && (now >= self.retry || self.open() == 0);
        self.starting |= starts;
        starts
    }

    /// The time at which [`Pool::start_another`] can open a connection, if that is in the
    /// future.
    pub(crate) fn next_start(&self, now: Instant) -> Option<Instant> {
        let may_start = !self.starting && self.open() < self.most;
        (may_start && self.retry > now).then_some(self.retry)
    }

    /// Adds a connection that was opened; `None` if that failed.
    pub(crate) fn started(&mut self, connection: Option<C>, now: Instant) {
        self.starting = false;
        self.pause = match connection {
            Some(_) => FIRST_PAUSE,
            None => {
                self.retry = now + self.pause;
                (self.pause * 2).min(LONGEST_PAUSE)
            }
        };
        self.add(connection, now);
    }

    /// Removes a connection that is unused since `before`; keeps one connection open.
    pub(crate) fn take_unused(&mut self, before: Instant) -> Option<C> {
        let is_unused = self.longest_unused()? <= before;
        is_unused.then(|| self.free.remove(0).connection)
    }

    /// Since when the connection that would be closed first is unused.
    pub(crate) fn longest_unused(&self) -> Option<Instant> {
        let first = self.free.first()?;
        (self.open() > 1).then_some(first.since)
    }

    /// Removes the free connections, when the store is closed.
    pub(crate) fn take_free(&mut self) -> Vec<C> {
        let free = self.free.drain(..);
        free.map(|free| free.connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool with `count` open connections of at most as many.
    fn pool(count: usize) -> Pool<usize> {
        let mut pool = Pool::new(0, count);
        for number in 1..count {
            pool.started(Some(number), Instant::now());
        }
        pool
    }

    /// How many jobs of a kind run at once, beside those that run already.
    fn run_all(pool: &mut Pool<usize>, kind: Kind) -> usize {
        let mut runs = 0;
        while pool.allows(kind) && pool.take(kind, Instant::now()).is_some() {
            runs += 1;
        }
        runs
    }

    #[test]
    fn slow_jobs_leave_connections_to_the_others() {
        for (connections, expected) in [
            (1, [1, 0, 0]),
            (2, [1, 0, 1]),
            (3, [1, 1, 1]),
            (4, [2, 1, 1]),
            (8, [6, 1, 1]),
        ] {
            let mut pool = pool(connections);
            let runs = [Kind::Call, Kind::Write, Kind::Read].map(|kind| run_all(&mut pool, kind));
            assert_eq!(runs, expected, "{connections} connections");
        }
        assert_eq!(run_all(&mut pool(4), Kind::Write), 3);
        assert_eq!(run_all(&mut pool(4), Kind::Read), 4);
    }

    #[test]
    fn the_pause_after_a_failure_doubles_up_to_a_minute_until_a_success() {
        let mut pool = Pool::new(0, 3);
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(pool.start_another(now));
            assert!(!pool.start_another(now), "only one at a time");
            assert_eq!(pool.next_start(now), None);
            pool.started(None, now);
            let until = now + Duration::from_secs(seconds);
            assert_eq!(pool.next_start(now), Some(until));
            assert!(!pool.start_another(until - Duration::from_millis(1)));
            now = until;
        }
        assert!(pool.start_another(now));
        pool.started(Some(1), now);
        assert!(pool.start_another(now));
        pool.started(None, now);
        assert_eq!(pool.next_start(now), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn without_a_connection_another_one_is_tried_at_once() {
        let mut pool = Pool::new(0, 2);
        let now = Instant::now();
        assert!(pool.start_another(now));
        pool.started(None, now);
        pool.take(Kind::Read, now);
        assert!(!pool.start_another(now));
        pool.give_back(Kind::Read, None, now);
        assert!(pool.start_another(now));
    }

    #[test]
    fn connections_that_are_unused_for_the_longest_time_are_closed_but_for_one() {
        let mut pool = pool(3);
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let used = pool.take(Kind::Write, now).unwrap();
        pool.give_back(Kind::Write, Some(used), later);
        assert_eq!(used, 2);
        let before = later - Duration::from_millis(1);
        assert_eq!(pool.take_unused(before), Some(0));
        assert_eq!(pool.take_unused(before), Some(1));
        assert_eq!(pool.take_unused(before), None);
        assert_eq!(pool.take_unused(later), None, "the last one");
        assert_eq!(pool.longest_unused(), None);
        assert_eq!(pool.take_free(), [2]);
    }

    #[test]
    fn the_connection_that_is_left_to_reads_stays_open_while_the_others_write() {
        let mut pool = pool(3);
        let start = Instant::now();
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            let two = [(); 2].map(|()| {
                assert!(pool.allows(Kind::Write));
                pool.take(Kind::Write, now)
            });
            for used in two {
                pool.give_back(Kind::Write, used, now);
            }
            let before = start + Duration::from_secs(second.saturating_sub(5));
            assert_eq!(pool.take_unused(before - Duration::from_nanos(1)), None);
        }
    }
}
