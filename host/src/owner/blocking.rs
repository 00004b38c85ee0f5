//! How the caller of an answer waits: its thread blocks, after it has spun for a moment, or
//! its task spends tokio's cooperative budget and lets others run.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop;

use crate::sync::atomic::{AtomicBool, Ordering};

/// How long a thread spins before it sleeps: about as long as it takes to wake a thread.
pub(crate) const LINGER: Duration = Duration::from_micros(50);

/// Whether the caller's thread blocks until the answer is complete. Set by
/// [`Answer::wait`](crate::Answer::wait), whether or not the answer was polled before.
#[derive(Clone)]
pub(crate) struct Blocking(Arc<AtomicBool>);

impl Blocking {
    pub(crate) fn new(blocks: bool) -> Self {
        Self(Arc::new(AtomicBool::new(blocks)))
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Spends `units` of the cooperative budget of the task that awaits this, or what is left.
pub(crate) async fn spend(units: u32) {
    poll_fn(|context| {
        for _ in 0..units {
            spend_unit(context);
        }
        Poll::Ready(())
    })
    .await;
}

/// Spends a unit of a task's cooperative budget, if one is left.
pub(crate) fn spend_unit(context: &mut Context<'_>) {
    if coop::has_budget_remaining()
        && let Poll::Ready(unit) = coop::poll_proceed(context)
    {
        unit.made_progress();
    }
}
