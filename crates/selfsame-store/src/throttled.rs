//! A store that is read at a bounded rate: rows and bytes a second, less when the store slows down.
//!
//! What a call reads is known only when it has answered, so answers are never held back (a fresh read would
//! grow stale): each call first waits until what *earlier* calls read is paid for. Over any time the store thus
//! gives at most one second's budget, the rate, and one call for each caller at a time. Repairs pass: brakes
//! bound those.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use selfsame_core::{Document, Key};
use tokio::time::{Instant, sleep};

use crate::throttle_rate::Pace;
use crate::{
    Capabilities, Changes, Cursor, FeedPosition, Identity, Page, PageSize, Read, RepairBatch, Scope, Store,
    StoreError, WriteOutcome,
};

/// Bytes are paid in units of this size: the limiter counts whole nanoseconds per unit, and a byte at
/// 32 MiB/s is only 30 of them.
const UNIT_BYTES: u64 = 1024;

/// The bounds of a throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Rows a second.
    pub rows_per_second: NonZeroU32,
    /// Bytes of the rows' values a second, in steps of 1 KiB (at least one).
    pub bytes_per_second: u64,
}

/// What a throttle has done since it was made; grows only, but for the pace.
#[derive(Debug, Default)]
pub struct ThrottleCounters {
    /// Calls that had to wait.
    pub waits: AtomicU64,
    /// Microseconds that calls waited, summed up.
    pub waited_micros: AtomicU64,
    /// Rows that were read.
    pub rows: AtomicU64,
    /// Bytes of the rows' values that were read. Unreadable rows count as rows only.
    pub bytes: AtomicU64,
    /// The share of the configured rate that is used now, in sixteenths: 16 while the store is well.
    pub pace_sixteenths: AtomicU64,
}

/// Time as tokio sees it, so that tests can pause it.
#[derive(Clone, Debug)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

/// One bounded quantity.
struct Budget {
    limiter: Limiter,
    burst: u64,
    /// What was read and is not yet paid for.
    owed: AtomicU64,
}

impl Budget {
    fn new(per_second: NonZeroU32, clock: TokioClock) -> Self {
        let limiter = RateLimiter::direct_with_clock(Quota::per_second(per_second), clock);
        Self { limiter, burst: u64::from(per_second.get()), owed: AtomicU64::new(0) }
    }

    /// Pays a part of what is owed; how long to wait if the budget is used up, `None` if nothing is owed.
    fn pay(&self) -> Option<Duration> {
        loop {
            let owed = self.owed.load(Ordering::Acquire);
            let part = u32::try_from(owed.min(self.burst)).ok().and_then(NonZeroU32::new)?;
            let left = owed - u64::from(part.get());
            // Taken before it is paid, so that no two callers pay for the same rows.
            if self.owed.compare_exchange(owed, left, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            match self.limiter.check_n(part) {
                Ok(Ok(())) => {}
                Ok(Err(refused)) => {
                    self.owed.fetch_add(u64::from(part.get()), Ordering::AcqRel);
                    return Some(refused.wait_time_from(self.limiter.clock().now()));
                }
                Err(_) => unreachable!("a part is at most the burst"),
            }
        }
    }
}

/// Bounds how fast a store is read, and backs off when the store slows down.
///
/// Backing off: when the smoothed latency per row exceeds three times its floor, the rate is halved (at most
/// once in eight calls, down to a sixteenth); each call below that gives back a sixteenth. Needs a tokio
/// runtime with time enabled.
pub struct Throttled<S> {
    inner: S,
    rows: Budget,
    /// In units of [`UNIT_BYTES`].
    units: Budget,
    page_rows_max: usize,
    page_bytes_max: usize,
    pace: Mutex<Pace>,
    counters: Arc<ThrottleCounters>,
}

impl<S: Store> Throttled<S> {
    /// Wraps a store. Must be called within a tokio runtime if time is to be paused by a test.
    pub fn new(inner: S, limits: ThrottleLimits) -> Self {
        let clock = TokioClock { start: Instant::now() };
        let units = u32::try_from(limits.bytes_per_second / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN);
        let counters = ThrottleCounters::default();
        let pace = Pace::new();
        counters.pace_sixteenths.store(u64::from(pace.sixteenths()), Ordering::Relaxed);
        Self {
            inner,
            rows: Budget::new(limits.rows_per_second, clock.clone()),
            units: Budget::new(units, clock),
            page_rows_max: usize::try_from(limits.rows_per_second.get()).unwrap_or(usize::MAX),
            page_bytes_max: usize::try_from(limits.bytes_per_second).unwrap_or(usize::MAX),
            pace: Mutex::new(pace),
            counters: Arc::new(counters),
        }
    }

    /// The counters, for metrics.
    pub fn counters(&self) -> Arc<ThrottleCounters> {
        Arc::clone(&self.counters)
    }

    /// Waits until all that was read is paid for.
    async fn settle_debt(&self) {
        let start = Instant::now();
        let mut waited = false;
        while let Some(wait) = self.rows.pay().or_else(|| self.units.pay()) {
            if !waited {
                self.counters.waits.fetch_add(1, Ordering::Relaxed);
                waited = true;
            }
            sleep(wait).await;
        }
        if waited {
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counters.waited_micros.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// Charges a call that began at `start`.
    fn charge(&self, start: Instant, rows: usize, bytes: usize) {
        let (rows, bytes) = (rows as u64, bytes as u64);
        self.counters.rows.fetch_add(rows, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut pace = self.pace.lock();
        pace.observe(rows, start.elapsed());
        self.counters.pace_sixteenths.store(u64::from(pace.sixteenths()), Ordering::Relaxed);
        self.rows.owed.fetch_add(pace.charged(rows), Ordering::AcqRel);
        self.units.owed.fetch_add(pace.charged(bytes).div_ceil(UNIT_BYTES), Ordering::AcqRel);
    }
}

fn value_bytes<'a>(documents: impl Iterator<Item = &'a Document>) -> usize {
    documents.map(|document| document.row.value_bytes()).sum()
}

#[async_trait]
impl<S: Store> Store for Throttled<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.inner.identity().await
    }

    async fn advance_counter(&self, above: u64) -> Result<u64, StoreError> {
        self.inner.advance_counter(above).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.inner.count().await
    }

    /// Pages are cut to one second's budget.
    async fn scan(&self, scope: Scope, from: Option<&Cursor>, page: PageSize) -> Result<Page, StoreError> {
        self.settle_debt().await;
        let page =
            PageSize { rows: page.rows.min(self.page_rows_max), bytes: page.bytes.min(self.page_bytes_max) };
        let start = Instant::now();
        let found = self.inner.scan(scope, from, page).await?;
        self.charge(start, found.rows.len(), value_bytes(found.rows.iter().flatten()));
        Ok(found)
    }

    /// Keys count as rows, there or not.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Read>, StoreError> {
        self.settle_debt().await;
        let start = Instant::now();
        let found = self.inner.read(keys).await?;
        self.charge(start, found.len(), value_bytes(found.iter().filter_map(Read::document)));
        Ok(found)
    }

    async fn apply(&self, batch: &RepairBatch) -> Result<Vec<WriteOutcome>, StoreError> {
        self.inner.apply(batch).await
    }

    /// Changes count as rows.
    async fn changes(&self, from: FeedPosition, limit: PageSize) -> Result<Changes, StoreError> {
        self.settle_debt().await;
        let start = Instant::now();
        let found = self.inner.changes(from, limit).await?;
        self.charge(start, found.changes.len(), 0);
        Ok(found)
    }
}
