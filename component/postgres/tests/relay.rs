//! A relay in front of a server, which may change the messages of the protocol or delay them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Starts a relay, which ends with the process; returns its port. The functions get each
/// message, which starts with its kind, before it is forwarded: a client's, except its first
/// one, which has no kind, and the server's.
pub fn relay(
    server: u16,
    of_client: impl Fn(&mut Vec<u8>) + Clone + Send + 'static,
    of_server: impl Fn(&mut Vec<u8>) + Clone + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let of_client = of_client.clone();
            thread::spawn(move || {
                if read(&from, 0)
                    .and_then(|first| (&to).write_all(&first))
                    .is_ok()
                {
                    forward(&from, &to, of_client);
                }
            });
            let of_server = of_server.clone();
            thread::spawn(move || forward(&server, &client, of_server));
        }
    });
    port
}

/// Forwards messages until one side has ended, and ends the other one.
fn forward(from: &TcpStream, mut to: &TcpStream, change: impl Fn(&mut Vec<u8>)) {
    while let Ok(mut message) = read(from, 1) {
        change(&mut message);
        if to.write_all(&message).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Reads a message that has a kind of so many bytes before its length.
fn read(mut from: &TcpStream, kind: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; kind + 4];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[kind..].try_into().unwrap());
    message.resize(kind + length as usize, 0);
    from.read_exact(&mut message[kind + 4..])?;
    Ok(message)
}
