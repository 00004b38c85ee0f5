//! One connection: serves HTTP/1 on it, with time-outs.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::client::Client;
use super::progress::Progress;
use super::service::Service;
use super::settings::HEAD_LIMIT;

/// The response if the head of a request did not arrive in time.
const LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Serves one client until it closes the connection, exceeds a time-out or has to give way
/// to a new connection. After `stop` is set, ends at once, or after the response to the
/// request in progress.
pub(super) async fn serve(
    stream: TcpStream,
    service: Arc<Service>,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) {
    // Without TCP_NODELAY the last part of a response may wait for the client's ACK.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let time_outs = *service.time_outs();
    let answer = service_fn({
        let progress = progress.clone();
        move |request| service.clone().answer(request, local, progress.clone())
    });
    let mut ending = Ending {
        progress: progress.clone(),
        component_failed: false,
    };
    let client = Client::new(stream, progress.clone(), time_outs);
    let mut connection = http1::Builder::new()
        // A client that has closed its sending side still gets its response.
        .half_close(true)
        // `overdue` below has the head's time-out.
        .header_read_timeout(None)
        .max_header_size(HEAD_LIMIT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(client), answer);
    let stopped = async {
        // Fails only if the server was dropped, which outlives its connections.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = stopped => {
            if progress.is_waiting() {
                return;
            }
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
        () = progress.gives_way() => return,
        () = progress.overdue(&time_outs) => {
            if progress.is_in_head() {
                let client = connection.into_parts().io.into_inner();
                // Not sent if the client does not read.
                let _ = client.into_stream().try_write(LATE);
            }
            return;
        }
    };
    ending.component_failed = ended.is_err_and(|error| error.is_user());
}

/// Completes the access log on drop, however the connection ends.
struct Ending {
    progress: Arc<Progress>,
    /// Whether a component failed in the middle of its response.
    component_failed: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.progress.end(self.component_failed);
    }
}
