//! The one place where tasks are spawned: each has a name, ends when the agent drains, and is waited for.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long what is under way may go on after draining began. Less than the 30 s that Kubernetes gives.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(10);

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

    /// As [`Supervisor::spawn`], for a task that is to be ended in the midst only if it takes long: draining waits for
    /// it, as for calls that are under way.
    pub fn spawn_to_end(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let draining = self.draining.clone();
        let late = async move {
            draining.cancelled().await;
            tokio::time::sleep(DRAIN_MAX).await;
        };
        self.tracker.spawn(async move {
            tokio::select! {
                () = task => {}
                () = late => tracing::warn!(task = name, "task ended by draining"),
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
