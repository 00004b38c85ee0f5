//! A listening server: accepts connections, and stops.

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

/// How long requests in flight may take after the server has begun to stop.
const GRACE: Duration = Duration::from_secs(7);

/// How long sending the 503 responses of stopped requests may take after that.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often the server looks for a connection that can give way to a waiting one.
const RETRY: Duration = Duration::from_millis(50);

/// How long the server waits after a failed `accept`, unless a connection ends. The usual
/// cause is a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens.
pub struct Listening {
    pub(super) listener: TcpListener,
    pub(super) local_address: SocketAddr,
    pub(super) service: Arc<Service>,
}

impl Listening {
    /// The address at which it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves HTTP/1.1 until `shutdown` completes, and then stops.
    ///
    /// A stopping server accepts no more connections, and closes those without a request in
    /// progress at once, including those with an incomplete head. It finishes the requests
    /// in flight, for at most seven seconds and no longer than the time-out of a request.
    /// Remaining requests are stopped, and answered with 503 if the client reads that
    /// within a second. When this returns, all instances are dropped. Writes that the
    /// stores answered are kept.
    ///
    /// A request is not stopped when its client goes away.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut connections = Connections::new(self.service.clone());
        // An accepted connection that waits for another one to give way.
        let mut waiting = None;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.tasks.join_next_with_id() => {
                    connections.forget(ended);
                }
                () = connections.waits.notified(), if waiting.is_some() => {}
                () = sleep(RETRY), if waiting.is_some() => {}
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

/// The open connections.
struct Connections {
    service: Arc<Service>,
    tasks: JoinSet<()>,
    /// The progress of each connection.
    progress: HashMap<Id, Arc<Progress>>,
    /// Notified when another connection can give way.
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

    /// Serves one more client. At the limit, asks another connection to give way and returns
    /// the stream.
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

    /// Removes a connection that has ended.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.progress.remove(&id);
    }

    /// Asks a connection to give way, and waits until one has ended, or for
    /// [`PAUSE`].
    async fn pause(&mut self) {
        give_way(self.progress.values());
        match timeout(PAUSE, self.tasks.join_next_with_id()).await {
            Ok(Some(ended)) => self.forget(ended),
            Ok(None) => sleep(PAUSE).await,
            Err(_) => {}
        }
    }

    /// Finishes the requests in flight, or stops them after the grace period.
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
        let answered = async { while self.tasks.join_next().await.is_some() {} };
        // A client that does not read gets no response.
        let _ = timeout(FAREWELL, answered).await;
        self.tasks.shutdown().await;
    }
}

/// Whether the error concerns one client, and not the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
