//! The requests of one client among others.

use std::time::{Duration, Instant};

use crate::random::Random;

/// A request: to read a session with this index, or to write it.
pub enum Request {
    Read(usize),
    Write(usize),
}

/// The requests of a client during a turn, one after the other, and how long each took.
pub struct Requests {
    client: usize,
    clients: usize,
    /// The number of the client's sessions: those whose index modulo the number of clients is
    /// its number. No other client writes them, so it knows their payloads.
    own: usize,
    /// The percentage of writes.
    writes: usize,
    random: Random,
    started: Instant,
    turn: Duration,
    /// When the request in progress was begun.
    begun: Option<Instant>,
    /// How long each request took.
    pub times: Vec<Duration>,
}

impl Requests {
    /// The requests of a client, with this percentage of writes, in a turn that begins now.
    pub fn new(
        client: usize,
        clients: usize,
        sessions: usize,
        writes: usize,
        turn: Duration,
    ) -> Self {
        Self {
            client,
            clients,
            own: sessions / clients,
            writes,
            random: Random::new(client as u64),
            started: Instant::now(),
            turn,
            begun: None,
            times: Vec::new(),
        }
    }
}

impl Iterator for Requests {
    type Item = Request;

    /// The next request, after the previous one is done; `None` when the turn is over. There
    /// is at least one.
    fn next(&mut self) -> Option<Request> {
        let now = Instant::now();
        if let Some(begun) = self.begun {
            self.times.push(now - begun);
            if now - self.started >= self.turn {
                return None;
            }
        }
        self.begun = Some(now);
        let index = self.random.below(self.own) * self.clients + self.client;
        Some(match self.random.below(100) < self.writes {
            true => Request::Write(index),
            false => Request::Read(index),
        })
    }
}
