//! Blocking work (the index, the journal) off the async runtime.

/// Runs `work` on a thread that may block. Dropping the future does not stop the work.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work neither panics nor is aborted")
}
