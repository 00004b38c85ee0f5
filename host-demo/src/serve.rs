//! Serves a web component over HTTP, with the store in a directory or on a server.

use std::fs;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime;
use tracing::level_filters::LevelFilter;
use wasi_sessions::web::{Error, Server};
use wasi_sessions::{Options, Sessions, Stores};

use crate::ending;
use crate::location::{Location, at_least, time_out};
use crate::output::Output;
use crate::secrets;
use crate::server::Place;

/// The demo's component, from this workspace.
static DEMO: &[u8] = include_bytes!(env!("WEB_DEMO_COMPONENT_FILE"));

/// The location with which components open the store.
const LOCATION: &str = "sessions.db";

/// The component's environment variable with the operator's token.
const TOKEN: &str = "OPERATOR_TOKEN";

/// How long a stop waits for the store to close.
const LONGEST_CLOSE: Duration = Duration::from_secs(1);

/// The options of `serve`.
#[derive(Debug, Args)]
pub struct Site {
    /// The address to listen at; port 0 means any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// The component to serve, of wasi:http 0.2 [default: a demo]
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Let that component list, read and end the sessions of all users
    #[arg(long, requires = "component")]
    admin: bool,
    /// A file whose first line is the operator's token, which the component gets as
    /// OPERATOR_TOKEN; `-` for standard input [default: the variable
    /// WASI_SESSIONS_OPERATOR_TOKEN]
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,
    /// The token itself; every user of this machine can read it in the list of
    /// processes
    #[arg(long, value_name = "TOKEN", conflicts_with = "operator_token_file",
          value_parser = NonEmptyStringValueParser::new())]
    operator_token: Option<String>,
    /// How long a request may take, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time_out)]
    timeout: Duration,
    /// How long the head of a request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_out)]
    head_timeout: Duration,
    /// How long a connection may be idle between requests
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time_out)]
    idle_timeout: Duration,
    /// How long the next part of a request's body may take, and for how long a client may
    /// read nothing of its response
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_out)]
    body_timeout: Duration,
    /// The maximum number of open connections; above that a new one replaces the one
    /// that has been idle for the longest time
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    connections: usize,
    /// The maximum length of a request's body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = at_least::<0>)]
    body_limit: u64,
    /// How many requests an instance of the component answers, one after the other;
    /// with more than one, data that it keeps in its memory may reach other visitors
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_instance: u32,
}

/// Serves until SIGINT or SIGTERM. Prints the URL once it listens, and the
/// requests on standard error.
pub fn run(site: Site, location: &Location, output: &mut Output) -> anyhow::Result<()> {
    let component = match &site.component {
        Some(file) => fs::read(file)
            .with_context(|| format!("component `{}` cannot be read", file.display()))?,
        None => DEMO.to_owned(),
    };
    let token = secrets::operator_token(
        site.operator_token.as_deref(),
        site.operator_token_file.as_deref(),
    )?;
    log_requests();
    // Dropped, and so removed, after the store in it is closed.
    let temporary: TempDir;
    let timeout = Options::default().sync_timeout;
    let place = match (location.server(timeout)?, &location.directory) {
        (Some(server), _) => Place::Server(server),
        (None, Some(directory)) => Place::Directory(location.database_in(directory)?),
        (None, None) => {
            temporary = tempfile::Builder::new()
                .prefix("wasi-sessions-")
                .tempdir()
                .context("cannot create a temporary directory")?;
            ending::say("sessions end with this program; --directory <DIR> keeps them");
            Place::Directory(location.database_in(temporary.path())?)
        }
    };
    let (sessions, new) = place.create()?;
    if location.store.is_some() {
        ending::say_if_new(new);
    }
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = server(&site, component, &sessions, token.as_deref());
        if let Some(cache) = place.cache_directory() {
            server = server.cache_directory(cache);
        }
        let stop = stop_signal()?;
        let server = server.bind(site.address).await.map_err(|error| {
            let advice = match error {
                Error::AdminNotLinked => {
                    Some("the component imports `admin`: allow it with --admin")
                }
                _ => None,
            };
            let error = anyhow::Error::new(error);
            match advice {
                Some(advice) => error.context(advice),
                None => error,
            }
        })?;
        let url = format!("http://{}", server.local_address());
        output.result(json!({ "url": url }), &url)?;
        output.flush()?;
        if site.component.is_none() && token.is_some() {
            ending::say(format!("the operator's page is {url}/operator"));
        }
        server.run(stop).await;
        anyhow::Ok(())
    })?;
    close(sessions);
    Ok(())
}

/// Closes the store, but does not wait for an operator's long request, such as a check of
/// the whole database: answered writes are kept, and the kernel releases the locks when the
/// process ends.
fn close(sessions: Sessions) {
    let (done, closed) = mpsc::channel();
    thread::spawn(move || {
        drop(sessions);
        let _ = done.send(());
    });
    let _ = closed.recv_timeout(LONGEST_CLOSE);
}

fn server(site: &Site, component: Vec<u8>, sessions: &Sessions, token: Option<&str>) -> Server {
    let stores = Stores::new().with(LOCATION, sessions.clone());
    let mut server = Server::new(component, stores)
        // The demo has a page for operators, which its token protects.
        .admin(site.admin || site.component.is_none())
        .time_out(site.timeout)
        .head_time_out(site.head_timeout)
        .idle_time_out(site.idle_timeout)
        .body_time_out(site.body_timeout)
        .connection_limit(site.connections)
        .body_limit(site.body_limit)
        .requests_per_instance(site.requests_per_instance);
    if let Some(token) = token {
        server = server.environment(TOKEN, token);
    }
    server
}

/// Logs requests on standard error, one on each line.
fn log_requests() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Completes on SIGINT or SIGTERM, which from now on do not end the process by themselves.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // If the signal cannot be received, it ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
