//! How much the exchanges of a pass may hold in memory together.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Keys whose observations and verdicts a pass holds at a time: about 1.2 KB each, with three replicas. A guess at what an
/// agent may take beside its store. A shard of which more differ is looked at alone.
const KEYS_AT_ONCE: u32 = 100_000;

/// Bounds how many keys the exchanges of a pass look at together.
pub struct Room(Semaphore);

impl Default for Room {
    fn default() -> Room {
        Room(Semaphore::new(KEYS_AT_ONCE as usize))
    }
}

impl Room {
    /// Waits until there is room for so many keys; first come, first served. It is given back when the answer is dropped.
    pub(super) async fn for_keys(&self, keys: usize) -> SemaphorePermit<'_> {
        let keys = u32::try_from(keys).map_or(KEYS_AT_ONCE, |keys| keys.min(KEYS_AT_ONCE));
        self.0.acquire_many(keys).await.expect("it is never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn shards_of_which_much_differs_are_looked_at_in_turns_and_one_of_any_size_has_its_turn() {
        let room = Room::default();
        let half = KEYS_AT_ONCE as usize / 2;
        let (first, second) = (room.for_keys(half).await, room.for_keys(half).await);
        assert!(room.for_keys(1).now_or_never().is_none());
        drop(first);
        assert!(room.for_keys(1).now_or_never().is_some());
        drop(second);
        let alone = room.for_keys(usize::MAX).await;
        assert!(room.for_keys(1).now_or_never().is_none());
        drop(alone);
        assert!(room.for_keys(usize::MAX).now_or_never().is_some());
    }
}
