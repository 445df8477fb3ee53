//! Rows of passes in which some replicas are silent, and what is copied meanwhile; then everybody is heard.

use super::world::*;
use super::*;
use proptest::prelude::*;

/// What a key comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody has it.
    Gone,
    /// Everybody who can be read has this document.
    Document(Version, Option<WallMicros>, ContentDigest),
    /// Nobody decides.
    Open,
}

/// Passes with everybody until nothing changes: one that writes, one that finds nothing to do.
fn fate(world: &World, policy: &Policy, moment: Moment) -> Fate {
    let heard = vec![true; world.len()];
    let (_, world) = pass(world, &heard, policy, moment);
    let (verdict, _) = pass(&world, &heard, policy, moment);
    if !is_agreement(&verdict.decision) {
        return Fate::Open;
    }
    let counts = world.iter().filter(|observation| !observation.held);
    match counts.filter_map(live_document).next() {
        Some(document) => Fate::Document(document.version, document.expiry, document.content),
        None => Fate::Gone,
    }
}

/// The world after passes that each hear only some.
fn after_outages(world: &World, outages: &[Vec<bool>], policy: &Policy, moment: Moment) -> World {
    outages.iter().fold(world.clone(), |world, heard| pass(&world, &heard[..world.len()], policy, moment).1)
}

proptest! {
    #![proptest_config(at_least(2_000))]

    #[test]
    fn outages_change_nothing_in_the_end((world, policy, moment) in arbitrary_case(), outages in arbitrary_outages()) {
        let at_once = fate(&world, &policy, moment);
        let late = fate(&after_outages(&world, &outages, &policy, moment), &policy, moment);
        prop_assert!(late == at_once || late == Fate::Open, "{late:?}, but at once {at_once:?}");
    }
}
