//! A thread that owns a session: SQLite's blocking calls never run on the async runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use selfsame_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::session::Session;

/// Calls that wait for their turn; more wait before they are handed over. A guess: enough that the thread never
/// idles between two calls.
const WAITING_MAX: usize = 16;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// The near end of a session's thread. The thread ends with it, after the calls it has been handed.
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start(name: &str, mut session: Session) -> Result<Worker, StoreError> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    if catch_unwind(AssertUnwindSafe(|| job(&mut session))).is_err() {
                        // The driver asserts that memory is never exhausted. The session may be in any state.
                        session.reset();
                    }
                }
            })
            .map_err(|_| {
                StoreError::Unavailable("no thread for the store; hint: raise the limit of threads".into())
            })?;
        Ok(Worker { jobs })
    }

    /// Runs a piece of work on the thread. Dropped before its turn it does not run; later it runs to its end.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            if !answer.is_closed() {
                // Nobody may be waiting any more, which is no error.
                let _ = answer.send(work(session));
            }
        });
        let ended =
            |()| StoreError::Unavailable("a call ended unexpectedly; hint: see the agent's log".into());
        self.jobs.send(job).await.map_err(|_| ended(()))?;
        answered.await.map_err(|_| ended(()))?
    }
}
