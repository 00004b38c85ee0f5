//! The connections of a store: which are free, how many each kind of job may use, and when
//! another one is opened or an unused one is closed.

use std::time::{Duration, Instant};

use super::application::Connection;
use super::job::Kind;

/// How long no other connection is tried after one could not be opened. Doubles with each
/// failure in a row, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The fewest connections of which one may be the application's: the others are enough to leave
/// one to reads, and one to writes.
const FEWEST: usize = 4;

/// Where a call takes its connection from, and gives it back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The pool, for a job of this kind.
    Pool(Kind),
    /// The connection of the application.
    Application,
}

/// The open connections, of type `C`.
pub(crate) struct Pool<C> {
    /// The connection of the application, beside those of the pool.
    pub(crate) application: Connection<C>,
    /// The free connections. The last one is used next, so the first is unused for the
    /// longest time.
    free: Vec<Free<C>>,
    /// The number of connections at work, by the kind of job.
    busy: [usize; Kind::ALL.len()],
    /// The maximum number of connections, that of the application included.
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
            application: Connection::Closed(Some(now)),
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
        self.busy == [0; _] && !matches!(self.application, Connection::Busy)
    }

    /// The number of open connections, without that of the application.
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

    /// Takes back a connection; `None` if it cannot be used again.
    pub(crate) fn give_back(&mut self, place: Place, connection: Option<C>, now: Instant) {
        match place {
            Place::Pool(kind) => {
                self.busy[kind as usize] -= 1;
                self.add(connection, now);
            }
            Place::Application => self.application.give_back(connection, now),
        }
    }

    fn add(&mut self, connection: Option<C>, now: Instant) {
        self.free.extend(connection.map(|connection| Free {
            connection,
            since: now,
        }));
    }

    fn has_room(&self) -> bool {
        self.open() + usize::from(self.application.is_open()) < self.most
    }

    /// Whether the connection of the application is to be opened. If so, the caller opens it and
    /// reports to [`Connection::opened`]. Returns the connection that it replaces, if there are
    /// as many as there may be.
    pub(crate) fn start_for_application(&mut self, now: Instant) -> Option<Option<C>> {
        let Connection::Closed(Some(retry)) = self.application else {
            return None;
        };
        if self.most < FEWEST || now < retry {
            return None;
        }
        let mut replaced = None;
        if !self.has_room() {
            if self.free.len() < 2 {
                return None;
            }
            replaced = Some(self.free.remove(0).connection);
        }
        self.application = Connection::Opening;
        Some(replaced)
    }

    /// Whether another connection is to be opened for a job that waits. If so, the caller
    /// opens it and reports to [`Pool::started`].
    pub(crate) fn start_another(&mut self, now: Instant) -> bool {
        let may_start = !self.starting && self.has_room();
        // Without any connection, the jobs that wait have to learn why.
        let starts = may_start && (now >= self.retry || self.open() == 0);
        self.starting |= starts;
        starts
    }

    /// The time at which [`Pool::start_another`] can open a connection, if that is in the
    /// future.
    pub(crate) fn next_start(&self, now: Instant) -> Option<Instant> {
        let may_start = !self.starting && self.has_room();
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
        free.map(|free| free.connection)
            .chain(self.application.close(Instant::now()))
            .collect()
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
        pool.give_back(Place::Pool(Kind::Read), None, now);
        assert!(pool.start_another(now));
    }

    #[test]
    fn connections_that_are_unused_for_the_longest_time_are_closed_but_for_one() {
        let mut pool = pool(3);
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let used = pool.take(Kind::Write, now).unwrap();
        pool.give_back(Place::Pool(Kind::Write), Some(used), later);
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
    fn one_of_several_connections_may_be_the_applications() {
        for most in [1, 2, 3] {
            let mut pool = Pool::new(0, most);
            assert_eq!(pool.start_for_application(Instant::now()), None);
        }
        let mut pool = Pool::new(0, 4);
        let now = Instant::now();
        assert_eq!(pool.start_for_application(now), Some(None));
        assert_eq!(pool.start_for_application(now), None, "only one");
        for number in [1, 2] {
            assert!(pool.start_another(now));
            pool.started(Some(number), now);
        }
        assert!(!pool.start_another(now), "four are open");
        pool.application.opened(Some(Ok::<_, ()>(3)), now);
        assert_eq!(pool.application.take(), Some(3));
        assert_eq!(pool.application.take(), None);
        assert!(!pool.is_quiet());
        pool.give_back(Place::Application, None, now);
        assert!(pool.is_quiet() && pool.start_another(now));
    }

    #[test]
    fn the_applications_connection_replaces_the_one_that_is_unused_for_the_longest_time() {
        let mut pools = [pool(4), pool(4)];
        let now = Instant::now();
        let [free, busy] = &mut pools;
        assert_eq!(free.start_for_application(now), Some(Some(0)));
        for kind in [Kind::Write, Kind::Read, Kind::Read] {
            busy.take(kind, now);
        }
        assert_eq!(busy.start_for_application(now), None, "one free is left");
    }

    #[test]
    fn a_connection_of_the_application_that_cannot_be_opened_is_tried_later_or_never() {
        let mut pool = Pool::new(0, 4);
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        for (failure, is_tried) in [(Some(Err(())), true), (None, false)] {
            assert_eq!(pool.start_for_application(later), Some(None));
            pool.application.opened(failure, now);
            assert_eq!(pool.start_for_application(now), None);
            assert_eq!(pool.start_for_application(later).is_some(), is_tried);
            pool.application = Connection::Closed(Some(now));
        }
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
                pool.give_back(Place::Pool(Kind::Write), used, now);
            }
            let before = start + Duration::from_secs(second.saturating_sub(5));
            assert_eq!(pool.take_unused(before - Duration::from_nanos(1)), None);
        }
    }
}
