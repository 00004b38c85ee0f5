//! A server that listens: which connections it has, and how it stops.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection;
use super::progress::{Progress, give_way};
use super::service::Service;

/// How long what is in flight may take, once the server was told to stop.
const GRACE: Duration = Duration::from_secs(7);

/// How long it may then take to tell clients that their requests were stopped.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long no connection is accepted when that failed, for want of files as a
/// rule, and none ended.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens.
pub struct Listening {
    pub(super) listener: TcpListener,
    pub(super) local_address: SocketAddr,
    pub(super) service: Arc<Service>,
}

impl Listening {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves HTTP/1.1 until `shutdown` is done. Then it accepts nothing more,
    /// closes at once the connections without a request in progress, those with
    /// an incomplete head among them, and finishes what is in flight, for at most
    /// seven seconds and no longer than a request may take; what is left is
    /// stopped, and answered with 503 where the client takes that within a second.
    /// No instance is left when it returns, and what the stores answered is kept
    /// in any case.
    ///
    /// A client that goes away does not stop the request that it sent.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = Connections::new(self.service.clone());
        // Accepted, and without a place.
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.tasks.join_next_with_id() => {
                    connections.forget(ended);
                }
                () = connections.waits.notified(), if waiting.is_some() => {}
                accepted = self.listener.accept(), if waiting.is_none() => match accepted {
                    Ok((stream, _)) => waiting = Some(stream),
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted");
                        connections.pause().await;
                    }
                },
            }
            if let Some(stream) = waiting.take() {
                waiting = connections.add(stream);
            }
        }
        drop((self.listener, waiting));
        connections.stop().await;
    }
}

/// The connections that are open.
struct Connections {
    service: Arc<Service>,
    tasks: JoinSet<()>,
    /// What each of them is doing.
    progress: HashMap<Id, Arc<Progress>>,
    /// Notified when there is one more that can give way.
    waits: Arc<Notify>,
    stop: watch::Sender<bool>,
}

impl Connections {
    fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            tasks: JoinSet::new(),
            progress: HashMap::new(),
            waits: Arc::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Serves one more client. If there is no place for it, another is asked to
    /// give way, and this one comes back.
    fn add(&mut self, stream: TcpStream) -> Option<TcpStream> {
        if self.progress.len() >= self.service.connection_limit() {
            give_way(self.progress.values());
            return Some(stream);
        }
        let progress = Arc::new(Progress::new(self.waits.clone()));
        let service = self.service.clone();
        let stop = self.stop.subscribe();
        let connection = connection::serve(stream, service, progress.clone(), stop);
        let id = self.tasks.spawn(connection).id();
        self.progress.insert(id, progress);
        None
    }

    /// Takes note of one that has ended.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.progress.remove(&id);
    }

    /// Asks one to give way, and waits until it or another has ended, or a while.
    async fn pause(&mut self) {
        give_way(self.progress.values());
        match timeout(PAUSE, self.tasks.join_next_with_id()).await {
            Ok(Some(ended)) => self.forget(ended),
            Ok(None) => sleep(PAUSE).await,
            Err(_) => {}
        }
    }

    /// Finishes what is in flight, or stops it.
    async fn stop(mut self) {
        self.stop.send_replace(true);
        let grace = GRACE.min(self.service.time_outs().request);
        let finished = async {
            while self.tasks.join_next().await.is_some() {}
            self.service.finished().await;
        };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!("requests that are still in flight are stopped");
        }
        self.service.stop().await;
        let told = async { while self.tasks.join_next().await.is_some() {} };
        // A client that does not read gets none.
        let _ = timeout(FAREWELL, told).await;
        self.tasks.shutdown().await;
    }
}

/// Whether it is one client that failed, and not the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
