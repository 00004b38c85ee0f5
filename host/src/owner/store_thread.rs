//! The thread of an open store, which the last handle waits for.

use crate::Error;
use crate::cause::Cause;
use crate::sync::thread::{self, JoinHandle};

/// Starts a thread for a store.
pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new()
        .name("wasi-sessions".to_owned())
        .spawn(run)
        .map_err(|error| Error::Start(Cause::new(error)))
}

/// The thread of an open store. Dropping this waits for its end, so what keeps the thread
/// running must be dropped before.
pub(crate) struct StoreThread(Option<JoinHandle<()>>);

impl StoreThread {
    pub(crate) fn new(thread: JoinHandle<()>) -> Self {
        Self(Some(thread))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        let Some(thread) = self.0.take() else {
            return;
        };
        // A clock or a waker of the application may drop the last handle on this very
        // thread, which cannot join itself.
        if thread.thread().id() != thread::current().id() {
            // Ignored: if the thread panicked, the panic hook has reported it, and its
            // callers got `Closed`.
            let _ = thread.join();
        }
    }
}
