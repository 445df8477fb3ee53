//! Faults in what an owner does: claims, exchanges, joined memory, purge.

use super::{Plant, Test, claims, exchange, fences, purge, sweep};

pub(super) const PLANTS: &[Plant] = &[
    Plant {
        name: "silent-agent-as-absent",
        breaks: "a replica without a root is written to as if it were empty",
        file: "crates/selfsame-agent/src/exchange/reads.rs",
        find: "vec![Seen::from(Observation::unreachable()); keys.len()]",
        replace: "vec![Seen::from(Observation::of(selfsame_core::Presence::Absent)); keys.len()]",
        test: exchange("a_silent_store_is_unknown_and_the_others_still_go_on"),
    },
    Plant {
        name: "unanswered-read-as-absent",
        breaks: "a replica that fails at the reads is written to as if it had lost the documents",
        file: "crates/selfsame-agent/src/exchange/reads.rs",
        find: "\
\"replica did not answer a read\");
                observations.extend(silence(chunk.len()));",
        replace: "\
\"replica did not answer a read\");
                let absent = Seen::from(Observation::of(selfsame_core::Presence::Absent));
                observations.extend(std::iter::repeat_n(absent, chunk.len()));",
        test: fences("a_replica_that_does_not_answer_the_reads_is_not_taken_for_empty"),
    },
    Plant {
        name: "one-read-for-two",
        breaks: "writes that are just arriving are repaired, and writers and agents race",
        file: "crates/selfsame-agent/src/exchange/mod.rs",
        find: "\
        let first = reads::observe(claim, &self.members, asked, &keys, false).await?;
        tokio::time::sleep(self.collection.settle).await;
        let second = reads::see(claim, &self.members, asked, &keys, true).await?;
",
        replace: "\
        let second = reads::see(claim, &self.members, asked, &keys, true).await?;
        tokio::time::sleep(self.collection.settle).await;
        let observed = |seen: &Vec<Seen>| seen.iter().map(|seen| seen.observation.clone()).collect();
        let first: Vec<Vec<Observation>> = second.iter().map(observed).collect();
",
        test: fences("a_write_that_arrives_between_the_reads_is_transient_and_nobody_repairs_it"),
    },
    Plant {
        name: "deleted-source-not-looked-at-again",
        breaks: "a document that is deleted while it is copied comes back",
        file: "crates/selfsame-agent/src/exchange/repairs.rs",
        find: "if !inserted.is_empty() {",
        replace: "if inserted.len() > usize::MAX - 1 {",
        test: Test {
            package: "selfsame-agent",
            target: &["--test", "deletions"],
            name: "a_document_that_is_deleted_while_it_is_copied_does_not_stay",
        },
    },
    Plant {
        name: "lost-claims-kept",
        breaks: "agents that split the voters of a shard keep each other away from it",
        file: "crates/selfsame-agent/src/claim.rs",
        find: "        self.release(in_vain).await;",
        replace: "        tracing::debug!(claims = in_vain.len(), \"claimed in vain\");",
        test: claims("claimants_that_meet_do_not_keep_each_other_away"),
    },
    Plant {
        name: "purged-without-all",
        breaks: "a replica that was away never hears of a deletion that the others have forgotten",
        file: "crates/selfsame-agent/src/exchange/purge.rs",
        find: "roots.iter().all(|root| matches!(root, Ok(root) if root.held.is_none()));",
        replace: "roots.iter().any(|root| matches!(root, Ok(root) if root.held.is_none()));",
        test: Test {
            package: "selfsame-agent",
            target: &["--lib"],
            name: "exchange::purge::tests::only_when_every_replica_is_there_does_a_horizon_follow",
        },
    },
    Plant {
        name: "purged-unjoined",
        breaks: "a deletion that one ledger has not taken in is forgotten by the others",
        file: "crates/selfsame-agent/src/exchange/purge.rs",
        find: "if joined { self.next.or(self.passed) } else { self.passed }",
        replace: "if joined || self.next.is_some() { self.next.or(self.passed) } else { self.passed }",
        test: purge("nothing_is_forgotten_before_every_replica_is_heard_and_has_joined"),
    },
    Plant {
        name: "purged-while-it-differs",
        breaks: "a deletion that waits for approval is forgotten, and the row is copied back",
        file: "crates/selfsame-agent/src/exchange/mod.rs",
        find: "if !matches!(report.verdict, ShardVerdict::InSync { .. }) {",
        replace: "if report.epoch.is_none() {",
        test: purge("a_deletion_that_was_not_carried_out_everywhere_is_not_forgotten"),
    },
    Plant {
        name: "purged-by-unequal-times",
        breaks: "a tombstone that one replica forgot comes back from another that saw it later",
        file: "crates/selfsame-agent/src/exchange/ledgers.rs",
        find: "(!to_the_time || known.at >= all.at)",
        replace: "(!to_the_time || known.at <= all.at)",
        test: purge("who_joins_at_the_last_moment_forgets_with_the_others"),
    },
    Plant {
        name: "approval-of-anything",
        breaks: "an approval writes what the rules say now, not what was looked at",
        file: "crates/selfsame-agent/src/exchange/repairs.rs",
        find: "(!approval.repairs.contains(&repair_id(&of_the_plan, node, task))).then_some(otherwise)",
        replace: "(approval.repairs.is_empty() && !approval.repairs.contains(&repair_id(&of_the_plan, node, task))).then_some(otherwise)",
        test: exchange("an_approved_row_that_changed_returns_to_the_plan"),
    },
    Plant {
        name: "swept-without-all",
        breaks: "a document is swept while a replica that may have renewed it is silent",
        file: "crates/selfsame-agent/src/exchange/sweep.rs",
        find: "documents.all(|document| document.is_some_and(",
        replace: "documents.all(|document| document.is_none_or(",
        test: sweep("a_replica_that_is_not_heard_keeps_everybody_from_sweeping"),
    },
    Plant {
        name: "verified-without-reading",
        breaks: "a repair counts as made, whatever the store made of it",
        file: "crates/selfsame-agent/src/exchange/repairs.rs",
        find: "let Ok(fresh) = reads::observe(claim, &self.members, asked, &keys, false).await else { return false };",
        replace: "let fresh: Vec<_> = written.iter().map(|index| done[*index].task.judged.observations.clone()).collect();",
        test: exchange("a_copy_whose_source_is_deleted_meanwhile_is_withdrawn"),
    },
];
