//! The one place where tasks are spawned: each has a name, ends when the agent drains, and is waited for.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and ends them.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    tracker: TaskTracker,
    draining: CancellationToken,
}

impl Supervisor {
    /// Runs `task` until it ends, or is dropped at its next await when the agent drains. A task must be safe to
    /// drop there: what is under way in a store is settled by reading after the next start.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let draining = self.draining.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = task => {}
                () = draining.cancelled() => tracing::debug!(task = name, "task ended by draining"),
            }
        });
    }

    /// Is cancelled when the agent drains.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Ends all tasks and waits until they have ended.
    pub async fn drain(&self) {
        self.draining.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
