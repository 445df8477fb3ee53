//! Each rule by its number.

use super::*;

fn decide(observations: &[Observation]) -> Decision {
    resolve(observations, &policy(), MOMENT).decision
}

fn decide_with(policy: Policy, observations: &[Observation]) -> Decision {
    resolve(observations, &policy, MOMENT).decision
}

fn copy(winner: usize, targets: &[(usize, Cause)]) -> Decision {
    Decision::Copy { winner: ReplicaIndex(winner), targets: named(targets) }
}

fn delete(targets: &[(usize, Cause)], remember: Option<Tombstone>) -> Decision {
    Decision::Delete { targets: named(targets), remember: remember.map(received) }
}

/// What an expiry deletes, with the tombstone of that version.
fn expire(targets: &[usize], version: i64) -> Decision {
    let targets: Vec<_> = targets.iter().map(|replica| (*replica, Cause::ExpiredStraggler)).collect();
    delete(&targets, Some(expired(version)))
}

fn hold(reason: HoldReason, outliers: &[usize]) -> Decision {
    let outliers: Vec<_> = outliers.iter().map(|replica| (*replica, reason.cause())).collect();
    Decision::Hold { reason, outliers: named(&outliers) }
}

fn named(targets: &[(usize, Cause)]) -> Vec<Target> {
    targets.iter().map(|(replica, cause)| Target { replica: ReplicaIndex(*replica), cause: *cause }).collect()
}

const INSERT: Cause = Cause::MissedInsert;
const UPDATE: Cause = Cause::MissedUpdate;
const DELETE: Cause = Cause::MissedDelete;

#[test]
fn rule_0_the_same_everywhere_asks_for_nothing_whatever_ledgers_remember() {
    assert_eq!(decide(&[live(1, 1), live(1, 1), live(1, 1)]), Decision::Agree);
    assert_eq!(decide(&[absent(), lost(9), deleted(8)]), Decision::Agree);
    let remembering = with(certain(5), live(1, 1));
    assert_eq!(decide(&[remembering, with(came_back(1), live(1, 1))]), Decision::Agree);
}

#[test]
fn rule_0_those_heard_agree_but_of_the_others_nothing_is_known() {
    for silent in [unreachable(), unreadable(), Observation { held: true, ..absent() }] {
        assert_eq!(decide(&[live(1, 1), live(1, 1), silent.clone()]), Decision::AgreeAsHeard);
        assert_eq!(decide(&[absent(), deleted(1), silent]), Decision::AgreeAsHeard);
    }
    assert_eq!(decide(&[unreachable(), unreachable()]), Decision::AgreeAsHeard);
}

#[test]
fn rule_0_marked_and_absent_are_both_gone() {
    assert_eq!(decide(&[marked(5), absent(), marked(3), lost(4)]), Decision::Agree);
    assert_eq!(decide(&[marked(5), unreachable()]), Decision::AgreeAsHeard);
}

#[test]
fn rule_1_the_highest_version_wins_even_alone() {
    assert_eq!(decide(&[live(1, 1), live(3, 3), absent()]), copy(1, &[(0, UPDATE), (2, INSERT)]));
    assert_eq!(decide(&[live(1, 1), live(2, 2), unreachable()]), copy(1, &[(0, UPDATE)]));
}

#[test]
fn rule_1_a_certain_tombstone_wins_over_lower_versions_and_its_own() {
    let gone = |replica| delete(&[(replica, DELETE)], Some(certain(5)));
    assert_eq!(decide(&[deleted(5), live(4, 1), absent()]), gone(1));
    assert_eq!(decide(&[deleted(5), live(5, 1), absent()]), gone(1));
    assert_eq!(decide(&[absent(), with(received(certain(5)), live(5, 1))]), gone(1), "received ones count");
    assert_eq!(decide(&[deleted(5), live(5, 1), unreachable()]), gone(1), "and need no majority");
    let unread = with(certain(5), unreadable());
    assert_eq!(
        decide(&[absent(), live(5, 1), unread]),
        gone(1),
        "a ledger speaks where a row cannot be read"
    );
    let all = [(1, DELETE), (2, DELETE)];
    assert_eq!(decide(&[deleted(5), live(3, 1), live(5, 2)]), delete(&all, Some(certain(5))));
}

#[test]
fn rule_1_a_certain_tombstone_does_not_win_over_a_higher_version() {
    assert_eq!(decide(&[deleted(5), live(6, 1), absent()]), copy(1, &[(0, INSERT), (2, INSERT)]));
}

#[test]
fn rule_1_what_came_back_at_the_same_version_is_held() {
    let recreated = |outliers: &[usize]| hold(HoldReason::Recreated, outliers);
    assert_eq!(decide(&[with(came_back(5), live(5, 1)), deleted(5)]), recreated(&[0]));
    assert_eq!(decide(&[live(4, 1), live(5, 1), with(came_back(5), absent())]), recreated(&[1]));
    let seen_back = with(Tombstone { came_back: true, ..observed(5) }, live(4, 1));
    assert_eq!(decide(&[deleted(5), live(5, 1), seen_back]), recreated(&[1]), "whoever saw it come back");
    // Below what came back it is still a loser, and above it there is nothing to hold.
    let lower = delete(&[(1, DELETE)], Some(came_back(5)));
    assert_eq!(decide(&[with(came_back(5), absent()), live(4, 1)]), lower);
    assert_eq!(decide(&[with(came_back(5), absent()), live(6, 1)]), copy(1, &[(0, INSERT)]));
    // Either way it is gone by now.
    assert_eq!(decide(&[with(came_back(5), absent()), expiring(5, 1, PAST)]), expire(&[1], 5));
}

#[test]
fn rule_1_certain_tombstones_are_joined_over_the_replicas() {
    let observations = [deleted(5), with(came_back(3), absent()), live(4, 1)];
    assert_eq!(decide(&observations), delete(&[(2, DELETE)], Some(certain(5))));
    let observations = [deleted(5), with(came_back(5), absent()), live(5, 1)];
    assert_eq!(decide(&observations), hold(HoldReason::Recreated, &[2]));
    let observations = [deleted(5), with(expired(5), absent()), live(5, 1)];
    assert_eq!(decide(&observations), delete(&[(2, DELETE)], Some(certain(5))), "deleted outranks expired");
}

#[test]
fn rule_1_without_times_a_live_entry_against_a_tombstone_is_held() {
    let held = hold(HoldReason::Recreated, &[1]);
    for version_kind in [VersionKind::Counter, VersionKind::None] {
        let decide =
            |observations: &[Observation]| decide_with(Policy { version_kind, ..policy() }, observations);
        for gone in [deleted(0), lost(0), with(came_back(0), absent()), marked(0)] {
            assert_eq!(decide(&[gone.clone(), live(0, 1)]), held);
            assert_eq!(decide(&[gone.clone(), live(0, 1), unreachable()]), held);
            assert_eq!(decide(&[gone.clone(), expiring(0, 1, PAST)]), expire(&[1], 0), "it is gone anyway");
            let three = [gone.clone(), live(0, 1), gone];
            assert_eq!(decide(&three), held, "a majority changes nothing");
        }
        let hearsay = with(received(observed(0)), absent());
        assert_eq!(decide(&[hearsay, live(0, 1)]), copy(1, &[(0, INSERT)]));
        let renewed = [with(expired(0), absent()), expiring(0, 1, LATER)];
        assert_eq!(decide(&renewed), copy(1, &[(0, INSERT)]), "an expiry says nothing about a renewed one");
    }
    let counters = Policy { version_kind: VersionKind::Counter, ..policy() };
    assert_eq!(decide_with(counters, &[deleted(5), live(4, 1)]), held);
    assert_eq!(decide_with(counters, &[deleted(5), live(6, 1)]), copy(1, &[(0, INSERT)]));
    // A counter that starts again: the lower one may be the newer document.
    let restarted = [live(9, 1), with(certain(5), live(1, 2))];
    assert_eq!(decide_with(counters, &restarted), held);
    let restarted = [live(9, 1), with(observed(5), live(1, 2))];
    assert_eq!(decide_with(counters, &restarted), held);
}

#[test]
fn rule_2_a_majority_of_the_configured_replicas_settles_a_tie() {
    assert_eq!(decide(&[live(1, 1), live(1, 2), live(1, 1)]), copy(0, &[(1, Cause::SilentChange)]));
    let tie = |outliers: &[usize]| hold(HoldReason::Tie, outliers);
    assert_eq!(decide(&[live(1, 1), live(1, 2), live(1, 3)]), tie(&[]));
    assert_eq!(decide(&[live(1, 1), live(1, 2)]), tie(&[]));
    let two_of_four = [live(1, 1), live(1, 1), live(1, 2), unreachable()];
    assert_eq!(decide(&two_of_four), tie(&[2]), "2 of 4 is no majority, and the minority is named");
    assert_eq!(decide(&[live(1, 1), by_repair(1, 1), live(1, 2)]), tie(&[]), "a repair is no vote");
    let ties_hold = Policy { ties: Ties::Hold, ..policy() };
    assert_eq!(decide_with(ties_hold, &[live(1, 1), live(1, 2), live(1, 1)]), tie(&[1]));
}

#[test]
fn rule_2_holds_for_documents_without_versions_too() {
    let unversioned = Policy { version_kind: VersionKind::None, ..policy() };
    let changed = Cause::SilentChange;
    assert_eq!(decide_with(unversioned, &[live(0, 1), live(0, 2), live(0, 1)]), copy(0, &[(1, changed)]));
    let with_absent = [live(0, 1), live(0, 2), live(0, 1), live(0, 1), absent()];
    assert_eq!(decide_with(unversioned, &with_absent), copy(0, &[(1, changed), (4, INSERT)]));
    // Whoever is not heard may remember a deletion, and then nothing tells which came last.
    let with_silent = [live(0, 1), live(0, 2), live(0, 1), live(0, 1), unreachable()];
    assert_eq!(decide_with(unversioned, &with_silent), hold(HoldReason::Tie, &[1]));
    assert_eq!(decide(&with_silent), copy(0, &[(1, changed)]), "with times it would lose or win anyway");
}

#[test]
fn rule_2_of_equal_documents_the_later_expiry_wins_and_never_is_the_latest() {
    assert_eq!(decide(&[expiring(1, 1, LATER), expiring(1, 1, LATER + 1)]), copy(1, &[(0, UPDATE)]));
    assert_eq!(decide(&[live(1, 1), expiring(1, 1, LATER)]), copy(0, &[(1, UPDATE)]));
    assert_eq!(decide(&[expiring(1, 1, PAST), expiring(1, 1, LATER)]), copy(1, &[(0, UPDATE)]));
}

#[test]
fn rule_2_contents_of_which_only_some_expired_are_held() {
    let observations = [live(1, 1), live(1, 1), expiring(1, 2, PAST)];
    assert_eq!(decide(&observations), hold(HoldReason::Tie, &[2]));
    assert_eq!(decide(&[expiring(1, 1, PAST), expiring(1, 2, PAST)]), expire(&[0, 1], 1));
    let older = [expiring(2, 1, PAST), expiring(2, 2, PAST), live(1, 1)];
    assert_eq!(decide(&older), expire(&[0, 1, 2], 2), "whichever wins has expired");
    let within_skew = [expiring(1, 1, PAST), expiring(1, 2, NOW.0)];
    assert_eq!(decide(&within_skew), Decision::Wait);
}

#[test]
fn rule_3_an_expired_winner_is_deleted_everywhere_and_remembered() {
    assert_eq!(decide(&[expiring(2, 2, PAST), live(1, 1), absent()]), expire(&[0, 1], 2));
    assert_eq!(decide(&[expiring(2, 2, PAST), expiring(2, 2, PAST)]), expire(&[0, 1], 2));
    assert_eq!(decide(&[expiring(1, 1, PAST), lost(2), lost(2)]), expire(&[0], 1), "a straggler");
}

#[test]
fn rule_3_a_renewed_expiry_is_kept() {
    let renewed = expiring(2, 2, LATER);
    assert_eq!(decide(&[expiring(1, 1, PAST), renewed.clone()]), copy(1, &[(0, UPDATE)]));
    let swept = with(expired(2), absent());
    assert_eq!(decide(&[swept, renewed.clone()]), copy(1, &[(0, INSERT)]), "not over its own version");
    assert_eq!(decide(&[with(expired(1), absent()), renewed]), copy(1, &[(0, INSERT)]));
    let back = with(Tombstone { came_back: true, ..expired(2) }, absent());
    assert_eq!(decide(&[back.clone(), expiring(2, 2, LATER)]), copy(1, &[(0, INSERT)]));
    let remembered = Tombstone { came_back: true, ..expired(2) };
    let gone = delete(&[(1, Cause::ExpiredStraggler)], Some(remembered));
    assert_eq!(decide(&[back, expiring(2, 2, PAST)]), gone);
}

#[test]
fn rule_3_a_straggler_below_an_expired_tombstone_does_not_come_back() {
    let swept = with(expired(2), absent());
    let gone = delete(&[(1, Cause::ExpiredStraggler)], Some(expired(2)));
    assert_eq!(decide(&[swept.clone(), live(1, 1), swept.clone()]), gone);
    assert_eq!(decide(&[swept.clone(), expiring(1, 1, LATER)]), gone);
    assert_eq!(decide(&[swept, expiring(2, 1, PAST)]), gone);
}

#[test]
fn rule_3_within_the_clocks_skew_nothing_is_done() {
    assert_eq!(decide(&[expiring(2, 2, NOW.0 - 999), live(1, 1)]), Decision::Wait);
    assert_eq!(decide(&[expiring(2, 2, NOW.0), live(1, 1)]), Decision::Wait);
    assert_eq!(decide(&[with(expired(2), absent()), expiring(2, 2, NOW.0)]), Decision::Wait);
    assert_eq!(decide(&[expiring(2, 2, NOW.0 - 1_000), live(1, 1)]), expire(&[0, 1], 2));
    assert_eq!(decide(&[expiring(2, 2, NOW.0 + 1), live(1, 1)]), copy(0, &[(1, UPDATE)]));
}

#[test]
fn rule_4_more_than_half_of_the_configured_replicas_settle_an_observed_deletion() {
    assert_eq!(decide(&[lost(1), lost(1), live(1, 1)]), delete(&[(2, DELETE)], None));
    let lower = [lost(2), lost(2), lost(3), live(1, 1), live(2, 2)];
    assert_eq!(decide(&lower), delete(&[(3, DELETE), (4, DELETE)], None));
    let restored = copy(0, &[(2, Cause::Unknown)]);
    assert_eq!(decide(&[live(1, 1), live(1, 1), lost(1)]), restored);
    let held = |outliers: &[usize]| hold(HoldReason::ObservedDelete, outliers);
    assert_eq!(decide(&[lost(1), live(1, 1)]), held(&[0]));
    assert_eq!(decide(&[lost(1), lost(1), live(1, 1), live(1, 1)]), held(&[0, 1]));
    // Two of those heard are two of three, but not of five.
    let few = [lost(1), lost(1), live(1, 1), unreachable(), unreachable()];
    assert_eq!(decide(&few), held(&[0, 1]));
    let few = [lost(1), live(1, 1), live(1, 1), unreachable(), unreachable()];
    assert_eq!(decide(&few), held(&[0]));
    let enough = [lost(1), lost(1), lost(1), live(1, 1), unreachable()];
    assert_eq!(decide(&enough), delete(&[(3, DELETE)], None));
}

#[test]
fn rule_4_who_has_no_memory_or_a_lower_one_abstains() {
    let held = hold(HoldReason::ObservedDelete, &[0]);
    assert_eq!(decide(&[lost(5), absent(), live(5, 1)]), held, "one of three");
    assert_eq!(decide(&[lost(5), lost(4), live(5, 1)]), held);
    let hearsay = with(received(observed(5)), absent());
    assert_eq!(decide(&[lost(5), hearsay.clone(), live(5, 1)]), held, "what was received is no vote");
    assert_eq!(decide(&[hearsay, live(5, 1), absent()]), copy(1, &[(0, INSERT), (2, INSERT)]));
    assert_eq!(decide(&[lost(4), lost(4), live(5, 1)]), copy(2, &[(0, INSERT), (1, INSERT)]));
    let back = with(observed(5), live(4, 4));
    assert_eq!(decide(&[back, lost(5), live(5, 1)]), { copy(2, &[(0, UPDATE), (1, Cause::Unknown)]) });
    let unread = with(observed(5), unreadable());
    assert_eq!(decide(&[lost(5), unread, live(5, 1)]), held, "only what is absent now votes");
}

#[test]
fn rule_4_what_a_repair_wrote_is_not_live_by_a_clients_doing() {
    let held = hold(HoldReason::ObservedDelete, &[2]);
    assert_eq!(decide(&[live(1, 1), by_repair(1, 1), lost(1)]), held);
    assert_eq!(decide(&[by_repair(1, 1), lost(1), lost(1)]), delete(&[(0, DELETE)], None));
}

#[test]
fn rule_4_observed_deletes_decides_where_no_majority_does_once_all_are_heard() {
    let policy = |observed_deletes| Policy { observed_deletes, ..policy() };
    let (to_delete, to_restore) = (policy(ObservedDeletes::Delete), policy(ObservedDeletes::Restore));
    let split = [lost(1), absent(), live(1, 1)];
    assert_eq!(decide_with(to_delete, &split), delete(&[(2, DELETE)], None));
    assert_eq!(decide_with(to_restore, &split), copy(2, &[(0, Cause::Unknown), (1, INSERT)]));
    for silent in [unreachable(), unreadable(), Observation { held: true, ..absent() }] {
        let split = [lost(1), silent, live(1, 1)];
        let held = hold(HoldReason::ObservedDelete, &[0]);
        assert_eq!(decide_with(to_delete, &split), held);
        assert_eq!(decide_with(to_restore, &split), held);
    }
    // A majority comes before the policy.
    assert_eq!(decide_with(to_delete, &[lost(1), live(1, 1), live(1, 1)]), copy(1, &[(0, Cause::Unknown)]));
    assert_eq!(decide_with(to_restore, &[lost(1), lost(1), live(1, 1)]), delete(&[(2, DELETE)], None));
}

#[test]
fn rule_4_a_majority_that_saw_the_key_go_settles_a_tie_too() {
    let heard = [lost(1), lost(1), lost(1), live(1, 1), live(1, 2)];
    assert_eq!(decide(&heard), delete(&[(3, DELETE), (4, DELETE)], None));
    let fewer = [lost(1), lost(1), lost(1), live(1, 1), unreachable()];
    assert_eq!(decide(&fewer), delete(&[(3, DELETE)], None), "as with the other content unheard");
    let two = [lost(1), lost(1), absent(), live(1, 1), live(1, 2)];
    assert_eq!(decide(&two), hold(HoldReason::Tie, &[]));
}

#[test]
fn rule_5_an_insert_that_one_replica_holds_is_copied() {
    assert_eq!(decide(&[absent(), live(1, 1), absent()]), copy(1, &[(0, INSERT), (2, INSERT)]));
    let held = Observation { held: true, ..absent() };
    assert_eq!(decide(&[held, live(1, 1), absent()]), copy(1, &[(2, INSERT)]), "but not to a held replica");
}

#[test]
fn rule_6_unreadable_and_unreachable_are_never_absent() {
    for silent in [unreadable(), unreachable(), Observation { held: true, ..absent() }] {
        assert_eq!(decide(&[live(2, 2), silent.clone(), absent()]), copy(0, &[(2, INSERT)]));
        assert_eq!(decide(&[silent.clone(), absent(), absent()]), Decision::AgreeAsHeard);
        assert_eq!(decide(&[silent.clone(), live(1, 1), live(1, 1)]), Decision::AgreeAsHeard);
        let remembering = with(observed(1), silent);
        let held = hold(HoldReason::ObservedDelete, &[1]);
        assert_eq!(decide(&[remembering, lost(1), live(1, 1)]), held, "nor is it a vote");
    }
    let held = Observation { held: true, ..live(9, 9) };
    assert_eq!(decide(&[held, live(1, 1), absent()]), copy(1, &[(2, INSERT)]), "nothing is copied from it");
    let held = Observation { held: true, ..deleted(9) };
    assert_eq!(decide(&[held, live(1, 1), absent()]), copy(1, &[(2, INSERT)]), "and it proves nothing");
}

#[test]
fn rule_6_a_mark_travels_as_the_marked_document_and_writes_nothing_where_the_row_is_gone() {
    assert_eq!(decide(&[marked(5), live(4, 1), absent()]), copy(0, &[(1, DELETE)]));
    assert_eq!(decide(&[marked(5), live(5, 1), lost(5)]), copy(0, &[(1, DELETE)]));
    assert_eq!(decide(&[marked(4), live(4, 1), marked(5)]), copy(2, &[(1, DELETE)]));
    assert_eq!(decide(&[marked(5), live(6, 1), absent()]), copy(1, &[(0, UPDATE), (2, INSERT)]));
    // A higher deletion elsewhere was no mark: the row goes.
    assert_eq!(decide(&[marked(4), live(4, 1), deleted(5)]), delete(&[(1, DELETE)], Some(certain(5))));
    assert_eq!(decide(&[marked(5), with(came_back(5), live(5, 1))]), hold(HoldReason::Recreated, &[1]));
}

#[test]
fn rule_7_a_version_in_the_future_is_held_where_versions_are_times() {
    let future = NOW.0 + policy().clock_skew_max + 1;
    let held = |outliers: &[usize]| hold(HoldReason::ClockSkew, outliers);
    assert_eq!(decide(&[live(future, 1), live(1, 2)]), held(&[0]));
    assert_eq!(decide(&[live(1, 1), marked(future)]), held(&[1]));
    assert_eq!(decide(&[live(1, 1), absent(), deleted(future)]), held(&[2]));
    assert_eq!(decide(&[live(1, 1), with(observed(future), absent())]), held(&[1]));
    assert_eq!(decide(&[live(future - 1, 1), live(1, 2)]), copy(0, &[(1, UPDATE)]));
    let preferring = Policy { winner: Winner::Prefer(ReplicaIndex(1)), ..policy() };
    assert_eq!(decide_with(preferring, &[live(future, 1), live(1, 2)]), held(&[0]), "before rule 8");
    let counters = Policy { version_kind: VersionKind::Counter, ..policy() };
    assert_eq!(decide_with(counters, &[live(future, 1), live(1, 2)]), copy(0, &[(1, UPDATE)]));
}

/// The first replica is preferred.
fn prefer(observations: &[Observation]) -> Decision {
    prefer_with(policy(), observations)
}

fn prefer_with(policy: Policy, observations: &[Observation]) -> Decision {
    decide_with(Policy { winner: Winner::Prefer(ReplicaIndex(0)), ..policy }, observations)
}

#[test]
fn rule_8_the_preferred_replicas_document_wins_whatever_its_version() {
    let wins = copy(0, &[(1, Cause::Unknown), (2, INSERT)]);
    assert_eq!(prefer(&[live(1, 1), live(2, 2), absent()]), wins);
    assert_eq!(prefer(&[live(1, 1), live(1, 2), live(1, 2)]), {
        copy(0, &[(1, Cause::SilentChange), (2, Cause::SilentChange)])
    });
    assert_eq!(prefer(&[live(1, 1), lost(1), lost(1)]), {
        copy(0, &[(1, Cause::Unknown), (2, Cause::Unknown)])
    });
    assert_eq!(prefer(&[live(1, 1), unreachable(), absent()]), copy(0, &[(2, INSERT)]));
}

#[test]
fn rule_8_a_certain_tombstone_above_the_preferred_document_holds() {
    assert_eq!(prefer(&[live(1, 1), deleted(2)]), hold(HoldReason::Recreated, &[0]));
    assert_eq!(prefer(&[live(1, 1), marked(2)]), hold(HoldReason::Recreated, &[0]));
    assert_eq!(prefer(&[live(1, 1), deleted(1)]), copy(0, &[(1, INSERT)]));
    let counters = Policy { version_kind: VersionKind::Counter, ..policy() };
    assert_eq!(prefer_with(counters, &[live(1, 1), deleted(1)]), hold(HoldReason::Recreated, &[0]));
    assert_eq!(prefer_with(counters, &[live(1, 1), lost(1)]), copy(0, &[(1, Cause::Unknown)]));
}

#[test]
fn rule_8_an_unheard_preferred_replica_holds() {
    let unheard = hold(HoldReason::PreferredUnheard, &[0]);
    for silent in [unreachable(), unreadable(), Observation { held: true, ..live(3, 3) }] {
        assert_eq!(prefer(&[silent, live(2, 2), absent()]), unheard);
    }
    let nobody = Policy { winner: Winner::Prefer(ReplicaIndex(7)), ..policy() };
    assert_eq!(decide_with(nobody, &[live(1, 1), absent()]), hold(HoldReason::PreferredUnheard, &[7]));
}

#[test]
fn rule_8_the_preferred_replicas_absence_follows_observed_deletes_once_all_are_heard() {
    let policy = |observed_deletes| Policy { observed_deletes, ..policy() };
    let (to_hold, to_delete, to_restore) =
        (policy(ObservedDeletes::Hold), policy(ObservedDeletes::Delete), policy(ObservedDeletes::Restore));
    let behind = hold(HoldReason::PreferredBehind, &[0]);
    for gone in [absent(), lost(2), deleted(1)] {
        let observations = [gone.clone(), live(2, 2), live(1, 1)];
        assert_eq!(prefer_with(to_hold, &observations), behind);
        assert_eq!(prefer_with(to_delete, &observations), delete(&[(1, DELETE), (2, DELETE)], None));
        let cause = if gone == lost(2) { Cause::Unknown } else { INSERT };
        assert_eq!(prefer_with(to_restore, &observations), copy(1, &[(0, cause), (2, UPDATE)]));
        let fewer = [gone, live(2, 2), unreachable()];
        assert_eq!(prefer_with(to_delete, &fewer), behind);
        assert_eq!(prefer_with(to_restore, &fewer), behind);
    }
    assert_eq!(prefer_with(to_restore, &[absent(), live(1, 1), live(1, 2)]), hold(HoldReason::Tie, &[]));
    let counters = Policy { version_kind: VersionKind::Counter, ..to_delete };
    assert_eq!(prefer_with(counters, &[absent(), live(1, 1)]), behind, "a deletion needs times");
    assert_eq!(prefer_with(counters, &[lost(1), live(1, 1)]), hold(HoldReason::Recreated, &[1]));
}

#[test]
fn rule_8_a_certain_tombstone_makes_the_preferred_replicas_absence_a_deletion() {
    assert_eq!(prefer(&[deleted(2), live(2, 2), live(1, 1)]), {
        delete(&[(1, DELETE), (2, DELETE)], Some(certain(2)))
    });
    assert_eq!(prefer(&[marked(2), live(2, 2), absent()]), copy(0, &[(1, DELETE)]));
    assert_eq!(prefer(&[marked(2), live(3, 3), absent()]), hold(HoldReason::PreferredBehind, &[0]));
    let back = [with(came_back(2), absent()), live(2, 2)];
    assert_eq!(prefer(&back), hold(HoldReason::Recreated, &[1]));
}

#[test]
fn rule_8_rule_3_applies_to_the_preferred_document() {
    assert_eq!(prefer(&[expiring(2, 2, PAST), live(1, 1), absent()]), expire(&[0, 1], 2));
    assert_eq!(prefer(&[expiring(2, 2, NOW.0), live(1, 1)]), Decision::Wait);
    // It does not take along what is newer, or renewed elsewhere.
    let behind = hold(HoldReason::PreferredBehind, &[0]);
    assert_eq!(prefer(&[expiring(1, 1, PAST), live(2, 2)]), behind);
    assert_eq!(prefer(&[expiring(1, 1, PAST), expiring(1, 1, LATER)]), behind);
    assert_eq!(prefer(&[expiring(1, 1, PAST), expiring(1, 1, NOW.0)]), behind, "by some clocks");
    assert_eq!(prefer(&[expiring(1, 1, PAST), expiring(2, 2, PAST)]), expire(&[0, 1], 2));
    assert_eq!(prefer(&[absent(), expiring(2, 2, PAST)]), expire(&[1], 2));
}

#[test]
fn winner_hold_only_reports() {
    let report = Policy { winner: Winner::Hold, ..policy() };
    let held = hold(HoldReason::ReportOnly, &[]);
    assert_eq!(decide_with(report, &[live(1, 1), live(2, 2)]), held);
    assert_eq!(decide_with(report, &[live(1, 1), deleted(2)]), held);
    assert_eq!(decide_with(report, &[live(1, 1), live(1, 1)]), Decision::Agree, "after rule 0");
}

#[test]
fn a_decision_carries_its_rule() {
    let later = [expiring(1, 1, LATER), live(1, 1)];
    let cases: [(&[Observation], Rule); 8] = [
        (&[live(1, 1), live(1, 1)], Rule::Same),
        (&[live(1, 1), deleted(1)], Rule::CertainTombstone),
        (&[live(1, 1), with(came_back(1), absent())], Rule::Recreated),
        (&[live(1, 1), live(2, 2)], Rule::HighestVersion),
        (&[live(1, 1), live(1, 1), live(1, 2)], Rule::Tie),
        (&later, Rule::LaterExpiry),
        (&[live(1, 1), lost(1)], Rule::ObservedDeletion),
        (&[live(1, 1), absent()], Rule::MissedInsert),
    ];
    for (observations, rule) in cases {
        assert_eq!(resolve(observations, &policy(), MOMENT).rule, rule, "{observations:?}");
    }
}

#[test]
fn reasons_have_names_of_their_own() {
    let mut names: Vec<&str> = HoldReason::ALL.into_iter().map(HoldReason::as_str).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), HoldReason::ALL.len());
}
