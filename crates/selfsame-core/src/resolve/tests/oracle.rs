//! The rules said another way: as the state in which the key must end, replica by replica. Shares no code with
//! what it checks but the types of what goes in.

use super::world::arbitrary_case;
use super::*;
use proptest::prelude::*;

/// How a key must end, on every replica that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is to be done; whether that covers everybody.
    AsItIs(bool),
    /// Nothing is done now.
    Later,
    /// Nothing is done until somebody looks.
    Held(HoldReason),
    /// Everybody has this document.
    Document(Document),
    /// Nobody has it live, and the living get a marked document of this version.
    Marked(i64),
    /// Nobody has it live; with what must be remembered (version, whether expired, whether it came back).
    Gone(Option<(i64, bool, bool)>),
}

/// Version, expiry (the end of time is never), content.
type Document = (i64, i64, [u8; 32]);

fn document(sighting: &Sighting) -> Document {
    (sighting.version.0, sighting.expiry.map_or(i64::MAX, |expiry| expiry.0), sighting.content.0)
}

fn expected(world: &[Observation], policy: &Policy, moment: Moment) -> End {
    let half = world.len() / 2;
    let sure = moment.now.0 - moment.skew;
    let timed = policy.version_kind == VersionKind::Time;
    let mut live: Vec<(usize, Document, bool)> = Vec::new();
    let mut certain: Vec<(i64, bool, bool)> = Vec::new();
    let mut seen_to_go: Vec<(usize, i64, bool)> = Vec::new();
    let mut seen_back: Vec<i64> = Vec::new();
    let mut versions: Vec<i64> = Vec::new();
    let (mut silent, mut gone, mut marks) = (0, 0, Vec::new());
    for (index, observation) in world.iter().enumerate() {
        match &observation.presence {
            _ if observation.held => silent += 1,
            Presence::Live(sighting) => live.push((index, document(sighting), sighting.by_repair)),
            Presence::Marked(sighting) => {
                gone += 1;
                marks.push(sighting.version.0);
                certain.push((sighting.version.0, false, false));
            }
            Presence::Absent => gone += 1,
            Presence::Unreadable | Presence::Unreachable => silent += 1,
        }
        if observation.held || observation.presence == Presence::Unreachable {
            continue;
        }
        versions.extend(match &observation.presence {
            Presence::Live(sighting) | Presence::Marked(sighting) => Some(sighting.version.0),
            _ => None,
        });
        let Some(memory) = &observation.memory else { continue };
        versions.push(memory.version.0);
        let expired = memory.cause == TombstoneCause::Expired;
        match (memory.certainty, memory.owner) {
            (Certainty::Certain, _) => certain.push((memory.version.0, expired, memory.came_back)),
            (Certainty::Observed, TombstoneOwner::Own) => {
                seen_to_go.push((index, memory.version.0, expired));
                seen_back.extend(memory.came_back.then_some(memory.version.0));
            }
            (Certainty::Observed, TombstoneOwner::Received) => {}
        }
    }
    let top = certain.iter().map(|(version, ..)| *version).max().map(|version| {
        let of_it = || certain.iter().filter(move |(other, ..)| *other == version);
        let came_back = of_it().any(|(.., came_back)| *came_back) || seen_back.contains(&version);
        (version, of_it().all(|(_, expired, _)| *expired), came_back)
    });

    // Rule 0.
    let Some((_, first, _)) = live.first().copied() else { return End::AsItIs(silent == 0) };
    let unexpired = first.1 > sure;
    if gone == 0 && unexpired && live.iter().all(|(_, other, _)| *other == first) {
        return End::AsItIs(silent == 0);
    }
    if policy.winner == Winner::Hold {
        return End::Held(HoldReason::ReportOnly);
    }
    // Rule 7.
    if timed && versions.iter().any(|version| *version > moment.now.0 + policy.clock_skew_max) {
        return End::Held(HoldReason::ClockSkew);
    }
    let highest = live.iter().map(|(_, (version, ..), _)| *version).max().unwrap();
    let everything_expired = live.iter().all(|(_, (_, expiry, _), _)| *expiry <= sure);
    let expiry_of = |version: i64| End::Gone(Some((version, true, false)));
    // Rule 1 about tombstones, which rule 8 shares for an absent preferred replica.
    let proven = top.filter(|(version, only_expired, came_back)| {
        let own = live.iter().filter(|(_, (other, ..), _)| other == version);
        let own_expired = own.into_iter().all(|(_, (_, expiry, _), _)| *expiry <= sure);
        timed
            && (*version > highest
                || (*version == highest && if *only_expired { own_expired } else { !came_back }))
    });
    let proven =
        proven.map(|top| if marks.contains(&top.0) { End::Marked(top.0) } else { End::Gone(Some(top)) });
    let against = |tombstone: i64, only_expired: bool, version: i64| {
        version < tombstone || (version == tombstone && !only_expired)
    };
    let meant_for = |version: i64, with_observed: bool| {
        let observed = seen_to_go.iter().filter(|(index, tombstone, _)| {
            // The key is not there, or there below what was seen to go.
            with_observed
                && match live.iter().find(|(other, ..)| other == index) {
                    Some((_, (version, ..), _)) => version < tombstone,
                    None => world[*index].presence == Presence::Absent,
                }
        });
        let observed = observed.map(|(_, tombstone, expired)| (*tombstone, *expired));
        let certain = top.map(|(tombstone, only_expired, _)| (tombstone, only_expired));
        observed.chain(certain).any(|(tombstone, only_expired)| against(tombstone, only_expired, version))
    };
    let recreated = if timed {
        top.is_some_and(|(version, only_expired, came_back)| version == highest && !only_expired && came_back)
    } else {
        live.iter().any(|(_, (version, ..), _)| meant_for(*version, true))
    };
    // Rule 2.
    let settle = || {
        let at_top: Vec<_> = live.iter().filter(|(_, (version, ..), _)| *version == highest).collect();
        let content = at_top[0].1.2;
        if at_top.iter().all(|(_, other, _)| other.1 <= moment.now.0) {
            return at_top.iter().map(|(_, other, _)| *other).max_by_key(|other| other.1);
        }
        let content = if at_top.iter().all(|(_, other, _)| other.2 == content) {
            content
        } else {
            let none_expired = at_top.iter().all(|(_, other, _)| other.1 > moment.now.0);
            let may = policy.ties == Ties::Majority && none_expired && (timed || silent == 0);
            let votes = |content: [u8; 32]| {
                at_top.iter().filter(|(_, other, by_repair)| other.2 == content && !by_repair).count()
            };
            at_top.iter().map(|(_, other, _)| other.2).find(|content| may && votes(*content) > half)?
        };
        at_top
            .iter()
            .map(|(_, other, _)| *other)
            .filter(|other| other.2 == content)
            .max_by_key(|other| other.1)
    };
    // Rule 3.
    let unless_expired = |winner: Document| {
        if winner.1 <= sure {
            expiry_of(winner.0)
        } else if winner.1 <= moment.now.0 {
            End::Later
        } else {
            End::Document(winner)
        }
    };

    // Rule 8.
    if let Winner::Prefer(preferred) = policy.winner {
        let Some(observation) = world.get(preferred.0).filter(|observation| !observation.held) else {
            return End::Held(HoldReason::PreferredUnheard);
        };
        if matches!(observation.presence, Presence::Unreadable | Presence::Unreachable) {
            return End::Held(HoldReason::PreferredUnheard);
        }
        if everything_expired {
            return expiry_of(highest);
        }
        if let Presence::Live(sighting) = &observation.presence {
            let own = document(sighting);
            let above = if timed {
                top.is_some_and(|(version, ..)| version > own.0)
            } else {
                meant_for(own.0, false)
            };
            if above {
                return End::Held(HoldReason::Recreated);
            }
            let outlived =
                live.iter().any(|(_, other, _)| other.0 > own.0 || (other.0 == own.0 && other.1 > sure));
            if own.1 <= sure && outlived {
                return End::Held(HoldReason::PreferredBehind);
            }
            return unless_expired(own);
        }
        if let Some(end) = proven {
            return end;
        }
        if recreated {
            return End::Held(HoldReason::Recreated);
        }
        let follows = observation.presence == Presence::Absent && silent == 0;
        return match policy.observed_deletes {
            ObservedDeletes::Delete if follows && timed => End::Gone(None),
            ObservedDeletes::Restore if follows => {
                settle().map_or(End::Held(HoldReason::Tie), unless_expired)
            }
            _ => End::Held(HoldReason::PreferredBehind),
        };
    }

    // Rule 1.
    if let Some(end) = proven {
        return end;
    }
    if everything_expired {
        return expiry_of(highest);
    }
    if recreated {
        return End::Held(HoldReason::Recreated);
    }
    let votes = seen_to_go
        .iter()
        .filter(|(index, version, _)| *version >= highest && world[*index].presence == Presence::Absent);
    let votes = votes.count();
    let Some(winner) = settle() else {
        return if votes > half { End::Gone(None) } else { End::Held(HoldReason::Tie) };
    };
    match unless_expired(winner) {
        End::Document(_) => {}
        expired => return expired,
    }
    // Rules 4 and 5.
    if votes == 0 {
        return End::Document(winner);
    }
    let clients = live.iter().filter(|(.., by_repair)| !by_repair).count();
    let everybody = silent == 0;
    match policy.observed_deletes {
        _ if votes > half => End::Gone(None),
        _ if clients > half => End::Document(winner),
        ObservedDeletes::Delete if everybody => End::Gone(None),
        ObservedDeletes::Restore if everybody => End::Document(winner),
        _ => End::Held(HoldReason::ObservedDelete),
    }
}

/// The end that a decision leads to, checked to name exactly those who are not there yet.
fn found(world: &[Observation], decision: &Decision) -> End {
    let counts = |observation: &Observation| {
        !observation.held && !matches!(observation.presence, Presence::Unreadable | Presence::Unreachable)
    };
    let differing = |agrees: &dyn Fn(&Presence) -> bool| -> Vec<usize> {
        let each = world.iter().enumerate();
        each.filter(|(_, seen)| counts(seen) && !agrees(&seen.presence)).map(|(index, _)| index).collect()
    };
    let named = |targets: &[Target]| targets.iter().map(|target| target.replica.0).collect::<Vec<_>>();
    let no_longer_live = |presence: &Presence| !matches!(presence, Presence::Live(_));
    match decision {
        Decision::Agree => End::AsItIs(true),
        Decision::AgreeAsHeard => End::AsItIs(false),
        Decision::Wait => End::Later,
        Decision::Hold { reason, outliers } => {
            assert!(outliers.is_sorted_by_key(|target| target.replica), "{outliers:?}");
            End::Held(*reason)
        }
        Decision::Copy { winner, targets } => match &world[winner.0].presence {
            Presence::Live(sighting) => {
                let has = |presence: &Presence| match presence {
                    Presence::Live(other) => document(other) == document(sighting),
                    _ => false,
                };
                assert_eq!(named(targets), differing(&has));
                End::Document(document(sighting))
            }
            Presence::Marked(sighting) => {
                assert_eq!(named(targets), differing(&no_longer_live));
                End::Marked(sighting.version.0)
            }
            other => panic!("{other:?} is no winner"),
        },
        Decision::Delete { targets, remember } => {
            assert_eq!(named(targets), differing(&no_longer_live));
            End::Gone(remember.as_ref().map(|tombstone| {
                assert_eq!(tombstone.certainty, Certainty::Certain);
                assert_eq!(tombstone.owner, TombstoneOwner::Received);
                (tombstone.version.0, tombstone.cause == TombstoneCause::Expired, tombstone.came_back)
            }))
        }
    }
}

proptest! {
    #![proptest_config(at_least(4_000))]

    #[test]
    fn every_verdict_is_that_of_the_oracle((world, policy, moment) in arbitrary_case()) {
        let verdict = resolve(&world, &policy, moment);
        prop_assert_eq!(found(&world, &verdict.decision), expected(&world, &policy, moment), "{:?}", verdict);
    }
}
