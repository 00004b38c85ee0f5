//! The jobs that wait for a connection, by kind.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::job::{Job, Kind, Work};
use crate::owner::group::Budget;

/// The jobs that wait for a connection.
pub(crate) struct Backlog {
    /// A queue for each kind.
    queues: [VecDeque<Job>; Kind::ALL.len()],
    budget: Budget,
    /// How long a job may wait.
    longest_wait: Duration,
    /// The kind that had the last turn.
    last: Kind,
}

impl Backlog {
    /// An empty backlog.
    pub(crate) fn new(budget: Budget, longest_wait: Duration) -> Self {
        Self {
            queues: Default::default(),
            budget,
            longest_wait,
            last: Kind::Call,
        }
    }

    /// Whether no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Adds a job behind the others of its kind.
    pub(crate) fn push(&mut self, kind: Kind, job: Job) {
        self.queues[kind as usize].push_back(job);
    }

    /// Puts jobs before the others of their kind, in this order.
    pub(crate) fn push_first(&mut self, kind: Kind, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev() {
            self.queues[kind as usize].push_front(job);
        }
    }

    /// The kind of the next job: of the kinds that have jobs and are allowed, the next one
    /// in turn.
    pub(crate) fn next(&self, is_allowed: impl Fn(Kind) -> bool) -> Option<Kind> {
        let turns = Kind::ALL.into_iter().cycle().skip(self.last as usize + 1);
        turns
            .take(Kind::ALL.len())
            .find(|kind| !self.queues[*kind as usize].is_empty() && is_allowed(*kind))
    }

    /// Takes the next work of a kind. `None` if no job is left to run.
    pub(crate) fn take(&mut self, kind: Kind) -> Option<Work> {
        self.last = kind;
        Job::take(&mut self.queues[kind as usize], &self.budget)
    }

    /// The earliest time at which a job will have waited for too long. Looks at all jobs,
    /// since callers may have waited for a permit before their jobs came here.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let earliest = self.queues.iter().flatten().filter_map(Job::since).min()?;
        Some(earliest + self.longest_wait)
    }

    /// Removes the jobs that have waited for too long.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<Job> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return vec![];
        }
        let is_overdue = |job: &Job| {
            job.since()
                .is_some_and(|since| now >= since + self.longest_wait)
        };
        let mut overdue = vec![];
        for queue in &mut self.queues {
            let (late, in_time): (VecDeque<Job>, _) = queue.drain(..).partition(is_overdue);
            overdue.extend(late);
            *queue = in_time;
        }
        overdue
    }

    /// Removes all jobs.
    pub(crate) fn take_all(&mut self) -> Vec<Job> {
        self.queues
            .iter_mut()
            .flat_map(|queue| queue.drain(..))
            .collect()
    }

    /// Removes collection steps, for which no caller waits.
    pub(crate) fn drop_collections(&mut self) {
        self.queues[Kind::Call as usize].retain(|job| !matches!(job, Job::Collect(_)));
    }
}

#[cfg(test)]
mod tests;
