//! A proxy in front of a server, which simulates faults of a network.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::SeqCst};
use std::thread;

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

/// A running proxy, which ends with the process.
pub struct Proxy {
    pub port: u16,
    network: Arc<AtomicU8>,
    connections: Arc<AtomicU32>,
}

impl Proxy {
    pub fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            network: Arc::new(AtomicU8::new(Network::Works as u8)),
            connections: Arc::default(),
        };
        let (network, connections) = (proxy.network.clone(), proxy.connections.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connections.fetch_add(1, SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                for (from, to, is_answer) in [(&client, &server, false), (&server, &client, true)] {
                    let ends = [from, to].map(|end| end.try_clone().unwrap());
                    let network = network.clone();
                    thread::spawn(move || copy(ends, is_answer, &network));
                }
            }
        });
        proxy
    }

    /// Changes the state of the network.
    pub fn set(&self, network: Network) {
        self.network.store(network as u8, SeqCst);
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u32 {
        self.connections.load(SeqCst)
    }
}

fn copy([mut from, mut to]: [TcpStream; 2], is_answer: bool, network: &AtomicU8) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let network = network.load(SeqCst);
        let is = |one: Network| network == one as u8;
        let loses = match is_answer {
            true => is(Network::LosesAnswers),
            false => is(Network::LosesRequests),
        };
        if loses {
            break;
        }
        if is(Network::SwallowsAll) || (is_answer && is(Network::SwallowsAnswers)) {
            continue;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
