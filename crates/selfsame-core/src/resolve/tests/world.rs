//! Random keys over random fleets, and what carrying a verdict out makes of them.

use super::*;
use proptest::prelude::*;

/// One key on all configured replicas, whoever is heard.
pub(super) type World = Vec<Observation>;

/// What an observer sees who hears only some: of the others nothing, neither row nor ledger.
pub(super) fn heard_by(world: &World, heard: &[bool]) -> World {
    let see = |(observation, heard): (&Observation, &bool)| match heard {
        true => observation.clone(),
        false => Observation { memory: None, held: observation.held, ..unreachable() },
    };
    world.iter().zip(heard).map(see).collect()
}

/// Carries a verdict out on those of its targets for which `reaches` holds: what the agents write, and what their
/// ledgers remember then.
pub(super) fn carry_out(
    world: &World,
    heard: &[bool],
    verdict: &Verdict,
    reaches: impl Fn(usize) -> bool,
) -> World {
    let mut after = world.clone();
    let (targets, written, remember) = match &verdict.decision {
        Decision::Copy { winner, targets } => (targets, Some(&world[winner.0].presence), None),
        Decision::Delete { targets, remember } => (targets, None, remember.as_ref()),
        Decision::Agree | Decision::AgreeAsHeard | Decision::Wait | Decision::Hold { .. } => return after,
    };
    let (presence, version) = match written {
        Some(Presence::Live(document)) => {
            (Presence::Live(Sighting { by_repair: true, ..document.clone() }), Some(document.version))
        }
        Some(Presence::Marked(document)) => {
            (Presence::Marked(Sighting { by_repair: true, ..document.clone() }), None)
        }
        Some(other) => panic!("{other:?} is no winner"),
        None => (Presence::Absent, None),
    };
    let reached = targets.iter().map(|target| target.replica.0).filter(|target| reaches(*target));
    for target in reached {
        let memory = world[target].memory.as_ref().and_then(|memory| memory.after_repair(version));
        after[target] = Observation { presence: presence.clone(), memory, ..world[target].clone() };
    }
    // Before any row is deleted, and whatever becomes of the rows.
    let agents = after.iter_mut().zip(world.iter().zip(heard));
    for (observation, (before, heard)) in agents {
        let told = *heard && !before.held && before.presence != Presence::Unreachable;
        if let Some(remember) = remember.filter(|_| told) {
            let known = observation.memory.take();
            observation.memory = Some(known.map_or(remember.clone(), |known| known.join(remember)));
        }
    }
    after
}

/// One pass over those heard: the verdict, and the world that it leaves.
pub(super) fn pass(world: &World, heard: &[bool], policy: &Policy, moment: Moment) -> (Verdict, World) {
    let verdict = resolve(&heard_by(world, heard), policy, moment);
    let after = carry_out(world, heard, &verdict, |_| true);
    (verdict, after)
}

/// Whether nothing more is asked for.
pub(super) fn is_agreement(decision: &Decision) -> bool {
    matches!(decision, Decision::Agree | Decision::AgreeAsHeard)
}

pub(super) fn live_document(observation: &Observation) -> Option<&Sighting> {
    match &observation.presence {
        Presence::Live(document) => Some(document),
        _ => None,
    }
}

pub(super) fn arbitrary_moment() -> impl Strategy<Value = Moment> {
    (-3_000_i64..3_000, prop_oneof![Just(0_i64), Just(1_000), Just(2_500)])
        .prop_map(|(offset, skew)| Moment { now: NOW.plus(offset), skew })
}

/// Versions around each other, and now and then one that lies in the future as a time.
fn arbitrary_version() -> impl Strategy<Value = Version> {
    prop_oneof![60 => 0_i64..4, 1 => Just(NOW.0 + 400_000_000)].prop_map(Version)
}

/// Equal bytes are equal documents; equal documents may differ in bytes that are ignored.
fn row(Version(version): Version, content: u8, expiry: Option<i64>, ignored: u8) -> RowDigest {
    let mut row = [ignored; 32];
    row[0] = content;
    row[1..9].copy_from_slice(&version.to_le_bytes());
    row[9..17].copy_from_slice(&expiry.unwrap_or(i64::MAX).to_le_bytes());
    RowDigest(row)
}

fn arbitrary_sighting() -> impl Strategy<Value = Sighting> {
    let offsets = prop_oneof![Just(-9_000_i64), Just(-2_000), Just(-500), Just(0), Just(1), Just(9_000)];
    let expiry = prop_oneof![2 => Just(None), 1 => offsets.prop_map(Some)];
    (arbitrary_version(), 1_u8..4, expiry, 0_u8..3, prop::bool::weighted(0.25)).prop_map(
        |(version, content, expiry, ignored, by_repair)| Sighting {
            version,
            expiry: expiry.map(|offset| NOW.plus(offset)),
            row: row(version, content, expiry, ignored),
            by_repair,
            ..sighting(0, content)
        },
    )
}

pub(super) fn arbitrary_memory() -> impl Strategy<Value = Tombstone> {
    let kind = prop_oneof![
        4 => Just(observed(0)),
        2 => Just(certain(0)),
        1 => Just(came_back(0)),
        2 => Just(expired(0)),
        1 => Just(received(certain(0))),
        1 => Just(received(expired(0))),
        1 => Just(received(observed(0))),
        1 => Just(Tombstone { came_back: true, ..observed(0) }),
        1 => Just(Tombstone { came_back: true, ..expired(0) }),
    ];
    (arbitrary_version(), kind).prop_map(|(version, kind)| Tombstone { version, ..kind })
}

fn arbitrary_observation() -> impl Strategy<Value = Observation> {
    let presence = prop_oneof![
        12 => arbitrary_sighting().prop_map(Presence::Live),
        2 => arbitrary_sighting().prop_map(Presence::Marked),
        6 => Just(Presence::Absent),
        1 => Just(Presence::Unreadable),
        1 => Just(Presence::Unreachable),
    ];
    let memory = prop_oneof![3 => Just(None), 2 => arbitrary_memory().prop_map(Some)];
    (presence, memory, prop::bool::weighted(0.05)).prop_map(|(presence, memory, held)| Observation {
        presence,
        memory,
        held,
    })
}

/// Two to five replicas. What a fleet really looks like, one document in a few states, is as likely as anything.
pub(super) fn arbitrary_world() -> impl Strategy<Value = World> {
    let anything = prop::collection::vec(arbitrary_observation(), 2..6);
    let one_document =
        (arbitrary_sighting(), prop::collection::vec((0_u8..12, arbitrary_observation()), 2..6)).prop_map(
            |(document, replicas)| {
                let state = |(state, other): (u8, Observation)| match state {
                    0..4 => Observation::of(Presence::Live(document.clone())),
                    4 | 5 => with(observed(document.version.0), absent()),
                    6 => absent(),
                    7 => with(certain(document.version.0), absent()),
                    8 => Observation::of(Presence::Live(Sighting { by_repair: true, ..document.clone() })),
                    9 => Observation::of(Presence::Live(Sighting {
                        content: ContentDigest([7; 32]),
                        ..document.clone()
                    })),
                    _ => other,
                };
                replicas.into_iter().map(state).collect()
            },
        );
    prop_oneof![anything, one_document]
}

pub(super) fn arbitrary_policy() -> impl Strategy<Value = Policy> {
    let winner = prop_oneof![
        6 => Just(Winner::Newest),
        3 => (0_usize..5).prop_map(|replica| Winner::Prefer(ReplicaIndex(replica))),
        1 => Just(Winner::Hold),
    ];
    let version_kind = prop_oneof![4 => Just(VersionKind::Time), 1 => Just(VersionKind::Counter), 1 => Just(VersionKind::None)];
    let observed_deletes = prop_oneof![
        Just(ObservedDeletes::Hold),
        Just(ObservedDeletes::Delete),
        Just(ObservedDeletes::Restore)
    ];
    (winner, version_kind, observed_deletes, prop::bool::weighted(0.8)).prop_map(
        |(winner, version_kind, observed_deletes, majority)| Policy {
            winner,
            ties: if majority { Ties::Majority } else { Ties::Hold },
            observed_deletes,
            version_kind,
            ..policy()
        },
    )
}

/// A key as the policy's collection can have it: without versions, all are 0.
pub(super) fn arbitrary_case() -> impl Strategy<Value = (World, Policy, Moment)> {
    (arbitrary_world(), arbitrary_policy(), arbitrary_moment()).prop_map(|(mut world, policy, moment)| {
        if policy.version_kind == VersionKind::None {
            world.iter_mut().for_each(|observation| {
                if let Presence::Live(document) | Presence::Marked(document) = &mut observation.presence {
                    document.version = Version(0);
                }
                observation.memory.iter_mut().for_each(|memory| memory.version = Version(0));
            });
        }
        (world, policy, moment)
    })
}

/// Who is heard in each of a row of passes; the last hears everybody who can be heard.
pub(super) fn arbitrary_outages() -> impl Strategy<Value = Vec<Vec<bool>>> {
    let heard = || prop::collection::vec(prop::bool::weighted(0.6), 5);
    prop::collection::vec(heard(), 0..6)
}
