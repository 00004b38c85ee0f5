//! A script of all functions through a network that fails once: at each chunk that a function
//! sends or receives, in each way. After each failure the store is compared with the model.

use super::connections::{PATIENCE, at_port};
use super::proxy::{Fault, Proxy};
use super::script::{Answer, Call, Function, MOST, SCRIPT, Sessions, expected, fresh, make};
use crate::contract::model::send;
use crate::engine::{Engine, Error, GetRequest, Options, Reply, Request, Store};
use crate::fixture::{Database, NOW, SETUP, server_port};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// How many scripts run at once. Most of the time they wait for a time-out.
const WORKERS: usize = 16;

const FAULTS: [Fault; 4] = [Fault::Swallows, Fault::Delays, Fault::Resets, Fault::Closes];

/// How the calls of one function ended that a fault has struck.
#[derive(Debug, Default)]
struct Tally {
    done: u32,
    busy: u32,
    unknown: u32,
}

#[test]
fn a_network_that_fails_at_any_step_makes_no_wrong_answer_and_no_wrong_state() {
    let mut cases: Vec<_> = FAULTS
        .iter()
        .flat_map(|fault| SCRIPT.iter().map(|function| (*function, *fault)))
        .collect();
    cases.reverse();
    let (cases, struck) = (Mutex::new(cases), Mutex::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut run = Run::new();
                loop {
                    // Not in the loop's head, which would hold the lock.
                    let Some((function, fault)) = cases.lock().unwrap().pop() else {
                        return;
                    };
                    let tally = run.disturb(function, fault);
                    let all = tally.done + tally.busy + tally.unknown;
                    // At least the request and its answer were struck.
                    assert!(all >= 2, "{function:?} {fault:?}: {tally:?}");
                    assert_eq!(
                        tally.unknown > 0,
                        function.writes(),
                        "{function:?} {fault:?}"
                    );
                    *struck.lock().unwrap() += all;
                }
            });
        }
    });
    println!("{} calls were struck", struck.into_inner().unwrap());
}

/// A store behind a proxy, and the sessions in it.
struct Run {
    database: Database,
    proxy: Proxy,
    store: Option<Store>,
    /// The options of the store behind the proxy.
    options: Options,
    sessions: Sessions,
    /// The ids of two sessions with different payloads.
    markers: [String; 2],
}

impl Run {
    fn new() -> Run {
        let database = Database::with(SETUP, |options| {
            options.gc_frequency = 0;
            options.max_per_subject = Some(MOST);
        });
        let proxy = Proxy::start(server_port());
        let mut run = Run {
            store: None,
            options: database.options.clone(),
            sessions: Sessions::new(&database),
            markers: Default::default(),
            proxy,
            database,
        };
        run.open_patiently();
        run
    }

    /// Strikes the calls of a function at the first chunk, the second one and so on, until
    /// there is none left to strike.
    fn disturb(&mut self, function: Function, fault: Fault) -> Tally {
        // Time-outs end the calls of which nothing arrives, so they are short. A busy machine
        // may need more, and then gets it.
        self.options.sync_timeout = match fault {
            Fault::Swallows | Fault::Delays => 400,
            Fault::Resets | Fault::Closes => 30_000,
        };
        self.open_patiently();
        let (mut tally, mut chunks) = (Tally::default(), 0);
        let started = Instant::now();
        loop {
            assert!(
                started.elapsed() < PATIENCE,
                "{function:?} {fault:?} {tally:?}"
            );
            let (is_struck, ended) = self.strike(function, fault, chunks);
            match (is_struck, ended) {
                (false, Ok(())) => break,
                // Not by the fault, but because the machine is busy.
                (false, Err(_)) => {
                    self.options.sync_timeout *= 2;
                    self.open_patiently();
                    continue;
                }
                (true, Ok(())) => tally.done += 1,
                (true, Err(Error::Busy)) => tally.busy += 1,
                (true, Err(_)) => tally.unknown += 1,
            }
            chunks += 1;
        }
        assert_eq!(self.sessions.direct.check(), Ok(vec![]));
        tally
    }

    /// Makes one call, with a fault after so many chunks, and compares all with the model.
    /// Returns whether the fault has struck, and how the call has ended.
    fn strike(
        &mut self,
        function: Function,
        fault: Fault,
        chunks: u32,
    ) -> (bool, Result<(), Error>) {
        self.begin();
        let call = self.sessions.call_of(function);
        // On a connection of which nothing is outstanding.
        self.check_markers(false);
        if let Call::Open(_) = call {
            self.proxy.cut();
            self.store = None;
        }
        self.proxy.settle();
        self.sessions.model.now += 1;
        self.proxy.arm(fault, chunks);
        let answer = self.make(&call);
        let is_struck = self.proxy.disarm();
        let words = format!("{call:?}, {fault:?} after {chunks} chunks: {answer:?}");
        if let Call::Open(table) = &call {
            self.check_table(table);
        }
        self.check_markers(matches!(call, Call::Clear));
        self.proxy.settle();
        match answer {
            Ok(answer) => {
                let expected = expected(&mut self.sessions.model, &call, &fresh(&answer));
                assert_eq!(answer, expected, "{words}");
                self.sessions.check_state(&call, &words);
                (is_struck, Ok(()))
            }
            Err(Error::Busy) => {
                self.sessions.check_state(&call, &words);
                (is_struck, Err(Error::Busy))
            }
            Err(error @ Error::UnknownOutcome(_)) if function.writes() => {
                self.sessions.resolve(&call, &words);
                (is_struck, Err(error))
            }
            Err(_) => panic!("{words}"),
        }
    }

    /// Ends all sessions and creates the markers.
    fn begin(&mut self) {
        self.sessions.clear();
        self.markers = ["first", "second"].map(|data| self.sessions.put(data, None));
    }

    /// Makes a call through the proxy.
    fn make(&mut self, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Open(table) => self.open(table).map(|()| Answer::Opened),
            _ => make(self.store.as_mut().unwrap(), self.sessions.model.now, call),
        }
    }

    /// Opens the store with a connection of its own: no other one has the same options.
    fn open(&mut self, table: &str) -> Result<(), Error> {
        let name = self.sessions.number().to_string();
        let options = Options {
            table_name: table.into(),
            model_name: name,
            ..self.options.clone()
        };
        let url = at_port(&self.database, self.proxy.port);
        self.store = Some(Store::open(&url, options, self.sessions.model.now)?);
        Ok(())
    }

    fn open_patiently(&mut self) {
        self.proxy.cut();
        self.store = None;
        let table = self.database.options.table_name.clone();
        let started = Instant::now();
        while let Err(error) = self.open(&table) {
            assert!(started.elapsed() < PATIENCE, "{error:?}");
            self.options.sync_timeout *= 2;
        }
    }

    /// Checks that a table is there and works after it was opened or not, and leaves it.
    fn check_table(&mut self, table: &str) {
        let is_new = *table != self.database.options.table_name;
        if is_new {
            let started = Instant::now();
            while let Err(error) = self.open(table) {
                assert!(started.elapsed() < PATIENCE, "{error:?}");
            }
            let opened = self
                .database
                .open_with(|options| options.table_name = table.into());
            let mut opened = opened;
            assert_eq!(opened.count_sessions(NOW, None), Ok(0));
            assert!(opened.set(NOW, "mine", b"", None).is_ok());
        }
        if is_new || self.store.is_none() {
            self.open_patiently();
        }
    }

    /// Checks that the next answers through the proxy are those to the next requests. The
    /// markers may have ended if all sessions were, or perhaps were.
    fn check_markers(&mut self, may_be_gone: bool) {
        for id in self.markers.clone() {
            let request = Request::Get(GetRequest { id });
            let expected = self.sessions.model.answer(&request, "");
            let started = Instant::now();
            let answer = loop {
                let store = self.store.as_mut().unwrap();
                match send(store, self.sessions.model.now, &request) {
                    Err(Error::Busy) => {
                        assert!(started.elapsed() < PATIENCE);
                        self.options.sync_timeout *= 2;
                        self.open_patiently();
                    }
                    answer => break answer,
                }
            };
            let is_gone = may_be_gone && answer == Ok(Reply::Session(None));
            assert!(is_gone || answer == expected, "{answer:?}");
        }
    }
}
