//! The pace of a throttle: how much the configured rate is stretched when the store slows down.
//!
//! Pure: latencies come in, a stretch comes out. The rule is additive increase, multiplicative decrease (Chiu
//! and Jain: Analysis of the Increase and Decrease Algorithms for Congestion Avoidance, 1989) on the ratio of
//! two figures:
//!
//! * the *latency per row*: a call's duration over its rows, where a call counts as [`CALL_ROWS`] rows besides
//!   its own, smoothed over calls with weight 1/[`SMOOTHING`];
//! * its *floor*: the lowest it has been. The floor rises by 1/[`FLOOR_RISE`] of itself with each call, so that
//!   a store that is slower for good becomes the new normal.
//!
//! When the ratio exceeds [`RATIO_MAX`], the rate is halved, at most once in [`HOLD_CALLS`] calls, down to
//! 1/[`STEPS`] of what is configured. Otherwise each call gives back 1/[`STEPS`] of it.

use std::time::Duration;

/// What a call costs beside its rows, in rows. A guess: it keeps small pages from looking slow.
const CALL_ROWS: f64 = 32.0;
/// A guess: a change of latency is fully seen after some ten calls.
const SMOOTHING: f64 = 5.0;
/// A guess: a store that became three times slower is the new normal after about a thousand calls.
const FLOOR_RISE: f64 = 1000.0;
/// A guess, above what documents of mixed sizes do to the latency per row.
const RATIO_MAX: f64 = 3.0;
/// Twice [`SMOOTHING`] rounded down to a power of two: the effect of a halving is seen before the next.
const HOLD_CALLS: u32 = 8;
/// The slowest pace is one sixteenth: a scan still ends, and the store has room to recover.
const STEPS: u32 = 16;

/// The state of the rule.
#[derive(Debug)]
pub(crate) struct Pace {
    smoothed: Option<f64>,
    floor: f64,
    /// Sixteenths of the configured rate.
    sixteenths: u32,
    hold: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { smoothed: None, floor: f64::INFINITY, sixteenths: STEPS, hold: 0 }
    }

    /// Learns from a call that returned `rows` rows in `elapsed`.
    pub(crate) fn observe(&mut self, rows: u64, elapsed: Duration) {
        let latency = elapsed.as_secs_f64() / (rows as f64 + CALL_ROWS);
        let smoothed = match self.smoothed {
            None => latency,
            Some(before) => before + (latency - before) / SMOOTHING,
        };
        self.smoothed = Some(smoothed);
        self.floor = smoothed.min(self.floor + self.floor / FLOOR_RISE);
        self.hold = self.hold.saturating_sub(1);
        if smoothed <= self.floor * RATIO_MAX {
            self.sixteenths = (self.sixteenths + 1).min(STEPS);
        } else if self.hold == 0 {
            self.sixteenths = (self.sixteenths / 2).max(1);
            self.hold = HOLD_CALLS;
        }
    }

    /// What `cost` is charged as at the present pace.
    pub(crate) fn charged(&self, cost: u64) -> u64 {
        cost.saturating_mul(u64::from(STEPS)) / u64::from(self.sixteenths)
    }

    /// The share of the configured rate that is used, in sixteenths.
    pub(crate) fn sixteenths(&self) -> u32 {
        self.sixteenths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pace: &mut Pace, calls: usize, millis: u64) -> u32 {
        for _ in 0..calls {
            pace.observe(100, Duration::from_millis(millis));
        }
        pace.sixteenths()
    }

    #[test]
    fn a_steady_store_gets_the_whole_rate() {
        assert_eq!(after(&mut Pace::new(), 50, 10), 16);
    }

    #[test]
    fn a_slow_store_gets_less_but_never_nothing_and_then_its_rate_back() {
        let mut pace = Pace::new();
        after(&mut pace, 20, 10);
        let soon = after(&mut pace, 4, 100);
        assert!(soon < 16, "{soon}");
        assert_eq!(after(&mut pace, 60, 100), 1);
        assert_eq!(pace.charged(10), 160);
        assert_eq!(after(&mut pace, 60, 10), 16);
        assert_eq!(pace.charged(10), 10);
    }

    #[test]
    fn a_store_that_stays_slow_becomes_the_new_normal() {
        let mut pace = Pace::new();
        after(&mut pace, 20, 10);
        assert_eq!(after(&mut pace, 500, 50), 1);
        assert_eq!(after(&mut pace, 2000, 50), 16);
    }

    #[test]
    fn pages_of_any_size_look_alike() {
        let mut pace = Pace::new();
        for rows in [1, 1000, 2, 7, 1000, 1] {
            // A call that takes 32 rows' time, and then each row's.
            pace.observe(rows, Duration::from_micros(10 * (32 + rows)));
        }
        assert_eq!(pace.sixteenths(), 16);
    }
}
