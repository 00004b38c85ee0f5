//! Answers HTTP requests, or fails in a certain way, depending on the path.

use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, mem, process};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::{Guest, IncomingRequest, ResponseOutparam};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, OutgoingBody, OutgoingRequest, OutgoingResponse, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::wasi_sessions::store::admin;
use crate::wasi_sessions::store::sessions::Store;
use crate::wasi_sessions::store::types::{Request, SetRequest};

struct Server;

wasip2::http::proxy::export!(Server with_types_in wasip2);

/// The number of requests for `/requests` that this instance has answered.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// The maximum size of one write to a stream, in bytes.
const CHUNK: usize = 4096;

impl Guest for Server {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let authority = request.authority().unwrap_or_default();
        let body = body(request);
        match path {
            "/hello" => answer(response, 200, b"hello"),
            "/environment" => answer(response, 200, environment().as_bytes()),
            "/length" => match read(body) {
                Ok(bytes) => answer(response, 200, bytes.len().to_string().as_bytes()),
                Err(()) => answer(response, 400, b"the body cannot be read"),
            },
            "/create" => match read(body) {
                Ok(bytes) => answer(response, 200, create(&bytes).as_bytes()),
                Err(()) => answer(response, 400, b"the body cannot be read"),
            },
            "/read" => match read(body) {
                Ok(_) => answer(response, 200, b"read"),
                Err(()) => panic!("the body cannot be read"),
            },
            "/target" => {
                answer(response, 200, format!("{authority} {target}").as_bytes());
            }
            "*" => answer(response, 200, b"asterisk"),
            "/wait-and-write" => {
                wait_for_go();
                let (_body, stream) = start(response, 200);
                for _ in 0..1000 {
                    write(&stream, &[b'x'; CHUNK]).unwrap();
                }
            }
            "/wait-for-go" => {
                wait_for_go();
                answer(response, 200, b"gone");
            }
            "/go" => {
                set("go");
                answer(response, 200, b"");
            }
            "/requests" => {
                let before = REQUESTS.fetch_add(1, Ordering::Relaxed);
                answer(response, 200, (before + 1).to_string().as_bytes());
            }
            "/keep-the-body" => {
                let (body, stream) = start(response, 200);
                write(&stream, b"a part").unwrap();
                mem::forget((body, stream));
            }
            "/count" => answer(response, 200, count().to_string().as_bytes()),
            "/reach-out" => answer(response, 200, reached().as_bytes()),
            "/grow" => grow(),
            "/batches" => answer(response, 200, batches().as_bytes()),
            "/hoard-stores" => answer(response, 200, hoard_stores().as_bytes()),
            "/hoard-fields" => hoard_fields(),
            "/hoard-bodies" => hoard_bodies(),
            "/say" => {
                eprint!("one\ntwo \x1b\nunfin");
                eprint!("ished");
                answer(response, 200, b"said");
            }
            "/say-much" => {
                (0..200).for_each(|_| eprintln!("{}", "x".repeat(5000)));
                answer(response, 200, b"said");
            }
            "/panic" => panic!("the guest's last words"),
            "/large" => answer(response, 200, &vec![b'x'; 10_000_000]),
            "/answer-and-read" => {
                answer(response, 200, b"answered");
                if read(body).is_ok() {
                    set("uploaded");
                }
            }
            "/trap-after-the-body" => {
                answer(response, 200, b"answered");
                wait_for_go();
                process::abort();
            }
            "/trap-after/204" | "/trap-after/304" => {
                answer(response, path[12..].parse().unwrap(), b"content");
                wait_for_go();
                process::abort();
            }
            "/insist" => {
                let (_body, stream) = start(response, 200);
                for _ in 0..100 {
                    write(&stream, &[b'x'; CHUNK]).unwrap();
                }
            }
            "/trap-in-the-body" => {
                let (_body, stream) = start(response, 200);
                write(&stream, &vec![b'x'; 1_000_000]).unwrap();
                process::abort();
            }
            "/spin-after-the-body" => {
                answer(response, 200, b"answered");
                spin();
            }
            "/spin" => spin(),
            _ if path.starts_with("/status/") => {
                answer(response, path[8..].parse().unwrap(), b"content");
            }
            _ if path.starts_with("/header/") => {
                let set = Fields::new().set(&path[8..], &[b"chunked".to_vec()]);
                answer(response, 200, format!("{}", set.is_ok()).as_bytes());
            }
            "/wait" => subscribe_duration(3_600_000_000_000).block(),
            "/trap" => process::abort(),
            "/silent" => {}
            _ => answer(response, 404, b"not found"),
        }
    }
}

/// Sends the largest batches that are accepted, and some that are refused; returns the
/// messages of the refusals.
fn batches() -> String {
    let store = Store::open("sessions.db", "").unwrap();
    let set = |index: usize, length| {
        let (id, data) = (format!("of a batch {index}"), vec![b'x'; length]);
        Request::Set(SetRequest {
            id,
            data,
            ttl: None,
        })
    };
    let batch =
        |count, length| -> Vec<Request> { (0..count).map(|index| set(index, length)).collect() };
    let mut refusals = String::new();
    for (count, length) in [
        (1001, 1),
        (40, 1 << 20),
        (20, 1000),
        (1, (1 << 20) + 1),
        (1, 1 << 20),
    ] {
        match store.batch(&batch(count, length)) {
            Ok(replies) => {
                let refused = replies.iter().filter(|reply| reply.is_err()).count();
                refusals += &format!("{refused} of {count}\n");
            }
            Err(refusal) => refusals += &format!("{refusal:?}\n"),
        }
    }
    refusals
}

/// Opens stores and drops none, until one is refused; returns how many were opened, and the
/// message of the refusal.
fn hoard_stores() -> String {
    let mut stores = vec![];
    loop {
        match Store::open("sessions.db", "") {
            Ok(store) => stores.push(store),
            Err(refusal) => return format!("{} {refusal:?}", stores.len()),
        }
    }
}

/// Sends the head of a response; returns its body and the stream for it.
fn start(response: ResponseOutparam, status: u16) -> (OutgoingBody, OutputStream) {
    let head = OutgoingResponse::new(Fields::new());
    head.set_status_code(status).unwrap();
    let body = head.body().unwrap();
    let stream = body.write().unwrap();
    ResponseOutparam::set(response, Ok(head));
    (body, stream)
}

fn answer(response: ResponseOutparam, status: u16, bytes: &[u8]) {
    let (body, stream) = start(response, status);
    // Fails if the client has gone.
    let _ = write(&stream, bytes);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes
        .chunks(CHUNK)
        .try_for_each(|chunk| stream.blocking_write_and_flush(chunk))
}

/// A body and its stream, which comes first so that it is dropped before the body.
type Body = (InputStream, IncomingBody);

fn body(request: IncomingRequest) -> Body {
    let body = request.consume().unwrap();
    (body.stream().unwrap(), body)
}

fn read(body: Body) -> Result<Vec<u8>, ()> {
    let mut bytes = vec![];
    loop {
        match body.0.blocking_read(65_536) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(_)) => return Err(()),
        }
    }
}

/// Creates a session with this payload; returns its id.
fn create(payload: &[u8]) -> String {
    let store = Store::open("sessions.db", "").unwrap();
    store.create(payload, None, None).unwrap().id
}

/// Waits for a session `go`; writes the session `waiting` before and `gone` afterwards.
fn wait_for_go() {
    set("waiting");
    let store = Store::open("sessions.db", "").unwrap();
    while store.get("go").unwrap().is_none() {
        subscribe_duration(1_000_000).block();
    }
    set("gone");
}

fn set(id: &str) {
    let store = Store::open("sessions.db", "").unwrap();
    store.set(id, b"{}", None).unwrap();
}

fn count() -> u64 {
    let store = Store::open("sessions.db", "").unwrap();
    admin::count_sessions(&store, None).unwrap()
}

fn environment() -> String {
    let mut lines: Vec<String> = env::vars()
        .map(|(name, value)| format!("{name}={value}"))
        .chain(env::args().map(|argument| format!("argument {argument}")))
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Lists what the component can reach outside: files, sockets, other servers.
fn reached() -> String {
    let mut reached = vec![];
    if fs::read_dir("/").is_ok() || fs::File::open("sessions.db").is_ok() {
        reached.push("files");
    }
    let mut line = String::new();
    let read = std::io::stdin().read_to_string(&mut line);
    if read.is_ok() && !line.is_empty() {
        reached.push("standard input");
    }
    if connects() {
        reached.push("sockets");
    }
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some("127.0.0.1:80")).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let denied = match outgoing_handler::handle(request, None) {
        Err(denied) => format!("{denied:?}"),
        Ok(response) => {
            response.subscribe().block();
            match response.get() {
                Some(Ok(Err(denied))) => format!("{denied:?}"),
                _ => String::new(),
            }
        }
    };
    if !denied.contains("HttpRequestDenied") {
        reached.push("other servers");
    }
    reached.join(", ")
}

fn connects() -> bool {
    let address = Ipv4SocketAddress {
        address: (127, 0, 0, 1),
        port: 80,
    };
    let connect = || {
        let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
        socket.start_connect(&instance_network(), IpSocketAddress::Ipv4(address))
    };
    connect() != Err(ErrorCode::AccessDenied)
}

fn grow() -> ! {
    let mut hoard = vec![];
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
    }
}

/// Makes the server keep more and more headers.
fn hoard_fields() -> ! {
    let mut hoard = vec![];
    loop {
        let fields = Fields::new();
        // One more header would trap.
        for _ in 0..15 {
            fields.append("x", &[b'x'; 4000]).unwrap();
        }
        hoard.push(fields);
    }
}

/// Makes the server keep more and more bodies that are not sent.
fn hoard_bodies() -> ! {
    let mut hoard = vec![];
    loop {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().unwrap();
        let stream = body.write().unwrap();
        while let Ok(room @ 1..) = stream.check_write() {
            stream.write(&vec![b'x'; room as usize]).unwrap();
        }
        hoard.push((stream, body, request));
    }
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}
