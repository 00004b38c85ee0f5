//! Tests of an axum application with its sessions in the store, over HTTP.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tower_sessions::{Session, SessionManagerLayer};
use wasi_sessions::Sessions;

use crate::fixture::Home;

/// A channel that reports that a request has loaded its session, and a semaphore that lets
/// it continue.
type Gate = (mpsc::Sender<()>, Arc<Semaphore>);

async fn count(session: Session) -> String {
    let count: Option<u64> = session.get("count").await.unwrap();
    let count = count.unwrap_or_default() + 1;
    session.insert("count", count).await.unwrap();
    count.to_string()
}

/// Counts, and delays its answer until the test allows it.
async fn held(session: Session, State((loaded, go_on)): State<Gate>) -> String {
    let answer = count(session).await;
    loaded.send(()).await.unwrap();
    go_on.acquire().await.unwrap().forget();
    answer
}

async fn log_in(session: Session) {
    session.cycle_id().await.unwrap();
}

async fn log_out(session: Session) {
    session.flush().await.unwrap();
}

/// The application on a local port, stopped on drop.
struct App {
    address: SocketAddr,
    loaded: mpsc::Receiver<()>,
    go_on: Arc<Semaphore>,
    _runtime: Runtime,
}

impl App {
    fn start(sessions: &Sessions) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, loaded) = mpsc::channel(1);
        let go_on = Arc::new(Semaphore::new(0));
        let router = Router::new()
            .route("/", get(count))
            .route("/held", get(held))
            .route("/log-in", post(log_in))
            .route("/log-out", post(log_out))
            .layer(SessionManagerLayer::new(sessions.clone()))
            .with_state((sender, go_on.clone()));
        runtime.spawn(async { axum::serve(listener, router).await });
        Self {
            address,
            loaded,
            go_on,
            _runtime: runtime,
        }
    }

    fn browser(&self) -> Browser {
        Browser {
            address: self.address,
            cookie: None,
        }
    }
}

/// A browser that keeps one cookie.
#[derive(Clone)]
struct Browser {
    address: SocketAddr,
    cookie: Option<String>,
}

impl Browser {
    /// Sends a request, which must succeed; returns the body of the answer.
    fn send(&mut self, method: &str, path: &str) -> String {
        let cookie = match &self.cookie {
            Some(cookie) => format!("Cookie: {cookie}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\r\n"
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        for line in head.lines() {
            let Some(cookie) = line.strip_prefix("set-cookie: ") else {
                continue;
            };
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let removed = attributes.contains("Max-Age=0");
            self.cookie = (!removed).then(|| pair.to_owned());
        }
        body.to_owned()
    }

    fn count(&mut self) -> u64 {
        self.send("GET", "/").parse().unwrap()
    }
}

/// An application whose store uses the system's clock, as tower-sessions does.
fn app() -> (Home, Sessions, App) {
    let home = Home::new();
    let builder = home.builder().clock(SystemTime::now);
    let sessions = builder.open().wait().unwrap();
    let app = App::start(&sessions);
    (home, sessions, app)
}

#[test]
fn each_browser_has_a_session_of_its_own() {
    let (_home, sessions, app) = app();
    let (mut first, mut second) = (app.browser(), app.browser());
    for count in 1..=3 {
        assert_eq!(first.count(), count);
    }
    assert_eq!(second.count(), 1);
    assert_eq!(first.count(), 4);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(2));
}

#[test]
fn a_log_in_moves_the_session_and_invalidates_the_old_cookie() {
    let (_home, sessions, app) = app();
    let mut browser = app.browser();
    browser.count();
    let mut thief = browser.clone();
    browser.send("POST", "/log-in");
    assert_ne!(browser.cookie, thief.cookie);
    assert_eq!(browser.count(), 2);
    assert_eq!(thief.count(), 1);
    assert_eq!(sessions.count_sessions(None).wait(), Ok(2));
}

#[test]
fn a_request_in_flight_does_not_undo_a_log_out() {
    let (_home, sessions, mut app) = app();
    let mut browser = app.browser();
    browser.count();
    let mut in_flight = browser.clone();
    let answer = thread::spawn(move || {
        let answer = in_flight.send("GET", "/held");
        (in_flight, answer)
    });
    app.loaded.blocking_recv().unwrap();
    browser.send("POST", "/log-out");
    assert_eq!(browser.cookie, None);
    app.go_on.add_permits(1);

    let (mut in_flight, answer) = answer.join().unwrap();
    assert_eq!(answer, "2");
    assert_eq!(sessions.count_sessions(None).wait(), Ok(0));
    assert_eq!(in_flight.count(), 1);
}

#[test]
fn an_invented_cookie_does_not_start_a_session_with_its_id() {
    let (_home, sessions, app) = app();
    let mut browser = app.browser();
    for made_up in ["id=AAAAAAAAAAAAAAAAAAAAAA", "id=nonsense", "id="] {
        browser.cookie = Some(made_up.to_owned());
        assert_eq!(browser.count(), 1);
        assert_ne!(browser.cookie.as_deref(), Some(made_up));
    }
    let made_up = sessions.get("AAAAAAAAAAAAAAAAAAAAAA").wait();
    assert_eq!(made_up, Ok(None));
}

#[test]
fn many_browsers_count_at_the_same_time() {
    let (_home, sessions, app) = app();
    let browsers: Vec<_> = (0..16)
        .map(|_| {
            let mut browser = app.browser();
            thread::spawn(move || {
                let counts: Vec<_> = (0..10).map(|_| browser.count()).collect();
                (browser.cookie, counts)
            })
        })
        .collect();
    let mut cookies = HashSet::new();
    for browser in browsers {
        let (cookie, counts) = browser.join().unwrap();
        assert_eq!(counts, (1..=10).collect::<Vec<_>>());
        assert!(cookies.insert(cookie));
    }
    assert_eq!(sessions.count_sessions(None).wait(), Ok(16));
}

#[test]
fn sessions_survive_the_application() {
    let (home, sessions, app) = app();
    let mut browser = app.browser();
    browser.count();
    drop((sessions, app));

    let sessions = home.builder().clock(SystemTime::now).open().wait().unwrap();
    let app = App::start(&sessions);
    browser.address = app.address;
    assert_eq!(browser.count(), 2);
}
