//! Replicas that were away: not scanned for longer than deletions are remembered, while others were.
//!
//! A replica alone cannot tell whether it was away or all of them stood still. It notes its own gap, and keeps it until
//! it was compared with the others'.

use crate::WallMicros;

/// A time without a completed scan, longer than tombstones are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The start of the last completed scan before; the earliest instant there is if there was none.
    pub from: WallMicros,
    /// The start of the first completed scan after, or now if there is none yet.
    pub to: WallMicros,
    /// Whether it is still to be compared with what the others did meanwhile.
    pub open: bool,
}

/// What a replica notes of its scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scans {
    /// The start of the last completed one.
    pub last: Option<WallMicros>,
    /// The last gap that a scan ended: its ends.
    pub gap: Option<(WallMicros, WallMicros)>,
    /// The gap that was compared last, by its beginning.
    pub judged: Option<WallMicros>,
}

impl Scans {
    /// What is noted when a scan that began at `began` has been completed.
    pub fn completed(self, began: WallMicros, retention: i64) -> Scans {
        let last = Some(began);
        match self.last {
            // Who was never scanned was not away: it is new.
            None => {
                let never = WallMicros(i64::MIN);
                Scans { last, gap: Some((never, began)), judged: Some(never) }
            }
            Some(before) if lasts(before, began, retention) => {
                Scans { last, gap: Some((before, began)), ..self }
            }
            Some(_) => Scans { last, ..self },
        }
    }

    /// The gap that a replica tells of at `now`: the one that lasts, or else the last one. A gap that a clock made
    /// which was set back since is none.
    pub fn gap(self, now: WallMicros, retention: i64) -> Option<Gap> {
        let lasting = self.last.filter(|last| lasts(*last, now, retention)).map(|last| (last, now));
        let (from, to) = lasting.or(self.gap).filter(|(from, to)| lasts(*from, (*to).min(now), retention))?;
        Some(Gap { from, to, open: self.judged != Some(from) })
    }
}

/// Whether it is longer than tombstones are remembered.
fn lasts(from: WallMicros, to: WallMicros, retention: i64) -> bool {
    to.0.saturating_sub(from.0) > retention
}

/// Whether a replica with this gap was away, by what the others tell of theirs: one of them was scanned more than
/// `tolerance` after this one was last, or again more than that before it. `None`: it was scanned all along.
pub fn was_away(gap: Gap, others: impl IntoIterator<Item = Option<Gap>>, tolerance: i64) -> bool {
    let went_on = |other: Option<Gap>| match other {
        None => true,
        Some(other) => lasts(gap.from, other.from, tolerance) || lasts(other.to, gap.to, tolerance),
    };
    others.into_iter().any(went_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: i64 = 10;

    fn at(micros: i64) -> WallMicros {
        WallMicros(micros)
    }

    fn scans(began: &[i64]) -> Scans {
        began.iter().fold(Scans::default(), |scans, began| scans.completed(at(*began), RETENTION))
    }

    /// Ends of the gap, and whether it is open.
    fn gap(scans: Scans, now: i64) -> Option<(i64, i64, bool)> {
        scans.gap(at(now), RETENTION).map(|gap| (gap.from.0, gap.to.0, gap.open))
    }

    #[test]
    fn a_gap_is_noted_until_it_was_judged_however_often_it_is_scanned_since() {
        assert_eq!(gap(scans(&[100]), 110), Some((i64::MIN, 100, false)), "it is new");
        assert_eq!(gap(scans(&[100, 110]), 120), Some((i64::MIN, 100, false)), "no longer than retention");
        let returned = scans(&[100, 111, 112, 120]);
        assert_eq!(gap(returned, 121), Some((100, 111, true)));
        let judged = Scans { judged: Some(at(100)), ..returned };
        assert_eq!(gap(judged, 121), Some((100, 111, false)));
        assert_eq!(gap(judged, 131), Some((120, 131, true)), "another one has begun");
        assert_eq!(gap(scans(&[100]), 111), Some((100, 111, true)), "it need not be scanned again");
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_while_makes_no_gap() {
        assert_eq!(gap(scans(&[100, 900]), 105), None);
        assert_eq!(gap(scans(&[100, 900, 105]), 106), None);
    }

    #[test]
    fn who_stood_still_with_all_others_was_not_away() {
        let own = |from, to| Gap { from: at(from), to: at(to), open: true };
        let away = |others: &[Option<Gap>]| was_away(own(100, 150), others.iter().copied(), RETENTION);
        assert!(!away(&[]));
        assert!(!away(&[Some(own(105, 145)), Some(own(90, 160))]), "about as long");
        assert!(away(&[Some(own(100, 150)), None]), "one went on all the time");
        assert!(away(&[Some(own(111, 150))]), "one went on for a while");
        assert!(away(&[Some(own(100, 139))]), "one went on again before");
        assert!(away(&[Some(own(i64::MIN, 10))]), "one was new long ago");
        assert!(!away(&[Some(own(i64::MIN, 150))]), "one is new now");
    }
}
