//! A proxy in front of a server, which simulates faults of a network.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;
use tokio::net::TcpSocket;

/// The time limit of each wait, much longer than it takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The state of the network.
#[derive(Clone, Copy)]
pub enum Network {
    /// Everything arrives.
    Works,
    /// A request reaches the server, but the connection breaks before the answer.
    LosesAnswers,
    /// The connection breaks before a request reaches the server.
    LosesRequests,
    /// Requests reach the server; answers are dropped silently.
    SwallowsAnswers,
    /// Connections are accepted, but everything is dropped silently.
    SwallowsAll,
}

/// What happens to one chunk, in either direction, and to its connection from then on.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
pub enum Fault {
    /// The client gets a reset (RST), and the chunk is lost.
    Resets,
    /// The connection ends in an orderly way (FIN), and the chunk is lost.
    Closes,
    /// This chunk and all later ones of the connection are dropped silently.
    Swallows,
    /// The chunk arrives only after the client has given up: when [`Proxy::disarm`] is called,
    /// or the client has made another connection.
    Delays,
}

/// A running proxy, which ends with the process.
pub struct Proxy {
    pub port: u16,
    traffic: Arc<Traffic>,
}

/// What the connections of a proxy share.
struct Traffic {
    network: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many connections were accepted.
    accepted: u32,
    /// The connections that the server has not ended, by their numbers.
    open: BTreeMap<u32, Arc<Connection>>,
    /// The fault to come, and how many chunks arrive before it.
    armed: Option<(Fault, u32)>,
    /// Delayed chunks arrive.
    is_released: bool,
    /// How often a request has followed an answer or the beginning.
    round_trips: u32,
    was_request: bool,
}

/// A connection to the proxy, and that to the server.
struct Connection {
    number: u32,
    client: TcpStream,
    server: TcpStream,
    /// All later chunks are dropped.
    is_silent: AtomicBool,
    is_reset: AtomicBool,
}

/// What happens to a chunk.
enum Fate {
    Arrives,
    ArrivesLate,
    Dropped,
    EndsConnection,
    ResetsConnection,
}

impl Proxy {
    pub fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let traffic = Arc::new(Traffic {
            network: AtomicU8::new(Network::Works as u8),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            traffic: traffic.clone(),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = traffic.accept();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let connection = Arc::new(Connection {
                    number,
                    client,
                    server,
                    is_silent: AtomicBool::new(false),
                    is_reset: AtomicBool::new(false),
                });
                traffic.lock().open.insert(number, connection.clone());
                for is_answer in [false, true] {
                    let (connection, traffic) = (connection.clone(), traffic.clone());
                    thread::spawn(move || connection.copy(is_answer, &traffic));
                }
            }
        });
        proxy
    }

    /// Changes the state of the network.
    pub fn set(&self, network: Network) {
        self.traffic.network.store(network as u8, SeqCst);
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u32 {
        self.traffic.lock().accepted
    }

    /// How many round trips were made: how often a request has followed an answer.
    #[allow(dead_code)]
    pub fn round_trips(&self) -> u32 {
        self.traffic.lock().round_trips
    }

    /// Has this fault happen once, after so many chunks from now on, in both directions and
    /// on all connections.
    #[allow(dead_code)]
    pub fn arm(&self, fault: Fault, chunks: u32) {
        let mut state = self.traffic.lock();
        state.armed = Some((fault, chunks));
        state.is_released = false;
    }

    /// Cancels the fault and has a delayed chunk arrive; returns whether the fault has happened.
    #[allow(dead_code)]
    pub fn disarm(&self) -> bool {
        let mut state = self.traffic.lock();
        state.is_released = true;
        self.traffic.changed.notify_all();
        state.armed.take().is_none()
    }

    /// Ends all connections.
    #[allow(dead_code)]
    pub fn cut(&self) {
        for connection in self.traffic.lock().open.values() {
            connection.end();
        }
    }

    /// Waits until the server has ended all connections except the last one: until it has done
    /// all that it will ever do on them.
    #[allow(dead_code)]
    pub fn settle(&self) {
        self.traffic.wait_while(|state| {
            let last = state.accepted;
            state.open.range(..last).next().is_some()
        });
    }
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |state| condition(state));
        assert!(!waited.unwrap().1.timed_out());
    }

    /// Notes a new connection; returns its number.
    fn accept(&self) -> u32 {
        let mut state = self.lock();
        state.accepted += 1;
        self.changed.notify_all();
        state.accepted
    }

    /// What happens to the next chunk of a connection.
    fn fate(&self, connection: &Connection, is_answer: bool) -> Fate {
        let network = self.network.load(SeqCst);
        let is = |one: Network| network == one as u8;
        let loses = match is_answer {
            true => is(Network::LosesAnswers),
            false => is(Network::LosesRequests),
        };
        if loses {
            return Fate::EndsConnection;
        }
        let swallows = is(Network::SwallowsAll) || (is_answer && is(Network::SwallowsAnswers));
        if swallows || connection.is_silent.load(SeqCst) {
            return Fate::Dropped;
        }
        let mut state = self.lock();
        state.round_trips += u32::from(!is_answer && !state.was_request);
        state.was_request = !is_answer;
        match &mut state.armed {
            None => return Fate::Arrives,
            Some((_, chunks @ 1..)) => {
                *chunks -= 1;
                return Fate::Arrives;
            }
            Some((_, 0)) => {}
        }
        let fate = match state.armed.take() {
            Some((Fault::Resets, _)) => Fate::ResetsConnection,
            Some((Fault::Closes, _)) => Fate::EndsConnection,
            Some((Fault::Swallows, _)) => Fate::Dropped,
            Some((Fault::Delays, _)) => return Fate::ArrivesLate,
            None => return Fate::Arrives,
        };
        connection.is_silent.store(true, SeqCst);
        fate
    }
}

impl Connection {
    /// Copies requests, or answers, until their sender has ended. Answers are read until the
    /// server has ended the connection, even if the client is gone.
    fn copy(self: Arc<Connection>, is_answer: bool, traffic: &Traffic) {
        let (mut from, mut to) = match is_answer {
            true => (&self.server, &self.client),
            false => (&self.client, &self.server),
        };
        let mut buffer = [0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let is_late = match traffic.fate(&self, is_answer) {
                Fate::Arrives => false,
                Fate::ArrivesLate => true,
                Fate::Dropped => continue,
                Fate::EndsConnection => {
                    self.end();
                    continue;
                }
                Fate::ResetsConnection => {
                    self.reset();
                    continue;
                }
            };
            if is_late {
                traffic.wait_while(|state| state.accepted == self.number && !state.is_released);
            }
            // Fails if the receiver is gone.
            let _ = to.write_all(&buffer[..length]);
        }
        if !is_answer {
            let _ = self.server.shutdown(Shutdown::Write);
            return;
        }
        if !self.is_reset.load(SeqCst) {
            let _ = self.client.shutdown(Shutdown::Both);
        }
        traffic.lock().open.remove(&self.number);
        traffic.changed.notify_all();
    }

    /// Ends the connection, of which nothing arrives any more.
    fn end(&self) {
        self.is_silent.store(true, SeqCst);
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Write);
    }

    /// Ends the connection to the server, and has that to the client reset when both
    /// directions have ended.
    fn reset(&self) {
        self.is_reset.store(true, SeqCst);
        let client = TcpSocket::from_std_stream(self.client.try_clone().unwrap());
        client.set_zero_linger().unwrap();
        let _ = self.server.shutdown(Shutdown::Write);
        // Wakes the thread that reads requests, and sends nothing.
        let _ = self.client.shutdown(Shutdown::Read);
    }
}
