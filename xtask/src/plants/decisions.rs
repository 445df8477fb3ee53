//! Faults in the decisions: what is compared, what is concluded, what is done about it.

use super::{Plant, away, core, holds, notices, purge};

pub(super) const PLANTS: &[Plant] = &[
    Plant {
        name: "compare-without-count",
        breaks: "entries that cancel in a sum are taken for an empty set",
        file: "crates/selfsame-core/src/merkle/node.rs",
        find: "\
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {",
        replace: "\
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.sum == other.sum
    }
}

#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Node {",
        test: core("merkle::node::tests::an_entry_added_twice_does_not_cancel"),
    },
    Plant {
        name: "number-through-f64",
        breaks: "documents that differ beyond the 53rd bit of a number are called the same",
        file: "crates/selfsame-core/src/json.rs",
        find: "Decimal::parse(&self.text[start..self.at]).map(Value::Number)",
        replace: "\
Decimal::parse(&self.text[start..self.at])
            .map(|exact| exact.to_string().parse().ok().and_then(Decimal::from_f64).unwrap_or(exact))
            .map(Value::Number)",
        test: core("canonical::tests::different_values_differ"),
    },
    Plant {
        name: "unreachable-as-absent",
        breaks: "a replica that did not answer is written to as if it had lost the document",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "continue;",
        replace: "heard.absent.push(replica);",
        test: core("resolve::tests::rules::rule_1_the_highest_version_wins_even_alone"),
    },
    Plant {
        name: "node-hash-without-count",
        breaks: "agents take two shards for equal whose sums are equal by cancelling",
        file: "crates/selfsame-core/src/digest.rs",
        find: "body.raw(&node.sum.to_bytes()).u64(node.count);",
        replace: "body.raw(&node.sum.to_bytes());",
        test: core("digest::tests::a_node_hash_covers_the_count"),
    },
    Plant {
        name: "expired-ignoring-skew",
        breaks: "a document is deleted that has not expired yet by another agent's clock",
        file: "crates/selfsame-core/src/resolve/documents.rs",
        find: "if holder.document.expired_at(self.moment.certainly_past()) {",
        replace: "if holder.document.expired_at(self.moment.now) {",
        test: core("resolve::tests::rules::rule_3_within_the_clocks_skew_nothing_is_done"),
    },
    Plant {
        name: "moving-as-stable",
        breaks: "a write that is just on its way to the other replicas is repaired",
        file: "crates/selfsame-core/src/confirm.rs",
        find: "if first.len() == second.len() && (0..second.len()).map(ReplicaIndex).all(still) {",
        replace: "if first.len() == second.len() {",
        test: core("confirm::tests::a_write_caught_halfway_is_no_lag"),
    },
    Plant {
        name: "abstainers-vote",
        breaks: "a replica that never held a key votes for its deletion",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "self.absent.contains(replica) && memory.version >= version",
        replace: "self.absent.contains(replica)",
        test: core("resolve::tests::rules::rule_4_who_has_no_memory_or_a_lower_one_abstains"),
    },
    Plant {
        name: "majority-of-those-heard",
        breaks: "during an outage the rest decides for all",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "replicas * 2 > self.configured",
        replace: "replicas * 2 > self.live.len() + self.marked.len() + self.absent.len()",
        test: core(
            "resolve::tests::rules::rule_4_more_than_half_of_the_configured_replicas_settle_an_observed_deletion",
        ),
    },
    Plant {
        name: "received-observation-votes",
        breaks: "one replica's loss is counted once for each that was told",
        file: "crates/selfsame-core/src/tombstone.rs",
        find: "self.certainty == Certainty::Observed && self.owner == TombstoneOwner::Own",
        replace: "self.certainty == Certainty::Observed",
        test: core("resolve::tests::rules::rule_4_who_has_no_memory_or_a_lower_one_abstains"),
    },
    Plant {
        name: "undo-leaves-a-vote",
        breaks: "a content that repairs spread outvotes the clients'",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "== (version, content) && !document.by_repair",
        replace: "== (version, content)",
        test: core("resolve::tests::rules::rule_2_a_majority_of_the_configured_replicas_settles_a_tie"),
    },
    Plant {
        name: "unreadable-as-absent",
        breaks: "a row that cannot be read is written over",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "Presence::Unreadable | Presence::Unreachable => {}",
        replace: "Presence::Unreadable | Presence::Unreachable => heard.absent.push(replica),",
        test: core("resolve::tests::rules::rule_6_unreadable_and_unreachable_are_never_absent"),
    },
    Plant {
        name: "own-deletion-votes",
        breaks: "a repair's delete is taken for a client's",
        file: "crates/selfsame-core/src/tombstone.rs",
        find: "(self.certainty == Certainty::Certain && !beaten)",
        replace: "(!beaten)",
        test: core("tombstone::tests::a_repairs_write_ends_the_replicas_own_observation"),
    },
    Plant {
        name: "expiry-not-remembered",
        breaks: "an older straggler of an expired document comes back",
        file: "crates/selfsame-core/src/resolve/documents.rs",
        find: "Some(remember))",
        replace: "Some(remember).filter(|_| false))",
        test: core("resolve::tests::rules::rule_3_an_expired_winner_is_deleted_everywhere_and_remembered"),
    },
    Plant {
        name: "return-forgotten",
        breaks: "what a client wrote again at the same version is deleted",
        file: "crates/selfsame-core/src/resolve/deletions.rs",
        find: "Deleted => !tombstone.came_back,",
        replace: "Deleted => true,",
        test: core("resolve::tests::rules::rule_1_what_came_back_at_the_same_version_is_held"),
    },
    Plant {
        name: "vanishes-of-one-scan-alone",
        breaks: "a table that is lost in small parts is taken for deleted, part by part",
        file: "crates/selfsame-core/src/brake.rs",
        find: "|vanishes| vanishes.at > start",
        replace: "|vanishes| vanishes.at >= now && vanishes.at > start",
        test: holds("vanishes_add_up_over_scans_within_a_day_and_not_beyond"),
    },
    Plant {
        name: "purged-taken-back",
        breaks: "a tombstone that all have forgotten goes round among the replicas again",
        file: "crates/selfsame-core/src/purge.rs",
        find: "(tombstone.owner == TombstoneOwner::Own).then_some(moved)",
        replace: "Some(if tombstone.owner == TombstoneOwner::Own { moved } else { tombstone.clone() })",
        test: purge("a_purged_tombstone_is_refused_and_a_younger_one_is_taken"),
    },
    Plant {
        name: "away-unnoticed",
        breaks: "what was deleted while a replica was away comes back with it",
        file: "crates/selfsame-core/src/away.rs",
        find: "others.into_iter().any(went_on)",
        replace: "others.into_iter().filter(Option::is_none).any(went_on)",
        test: away("a_replica_that_was_away_for_longer_than_retention_is_held_on_return"),
    },
    Plant {
        name: "held-replica-copied-from",
        breaks: "what a replica has that was taken back, or lost its rows, counts beside what the others have",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "if observation.held || observation.presence == Presence::Unreachable {",
        replace: "if observation.presence == Presence::Unreachable {",
        test: core("resolve::tests::rules::rule_6_unreadable_and_unreachable_are_never_absent"),
    },
    Plant {
        name: "notice-of-an-older-version",
        breaks: "a late notice of an old version deletes the newer document that was lost",
        file: "crates/selfsame-core/src/tombstone.rs",
        find: "if indexed.is_some_and(|seen| seen.version > version) {",
        replace: "if indexed.is_some_and(|seen| seen.version > version && false) {",
        test: notices("a_notice_of_an_older_version_proves_nothing_of_a_newer_one"),
    },
];
