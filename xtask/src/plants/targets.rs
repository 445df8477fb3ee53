//! Faults in what an agent does with its own replicas: reads, memory, holds, brakes, repairs, undo.

use super::{Plant, Test, away, brakes, claims, exchange, fences, holds, notices, sweep, undo};

pub(super) const PLANTS: &[Plant] = &[
    Plant {
        name: "vanish-without-memory",
        breaks: "a key that was deleted on one replica comes back from the others",
        file: "crates/selfsame-agent/src/local/ledger.rs",
        find: "Read::Absent => self.gone_by(self.gone?, moment),",
        replace: "Read::Absent => None,",
        test: Test {
            package: "selfsame-agent",
            target: &["--test", "deletions"],
            name: "without_a_majority_an_observed_deletion_is_held",
        },
    },
    Plant {
        name: "epoch-ignored",
        breaks: "the owner of an exchange that is over goes on beside the new one",
        file: "crates/selfsame-agent/src/local/agent.rs",
        find: "Some(EpochRecorded::Superseded(highest)) => Err(PeerError::Fenced(highest)),",
        replace: "\
Some(EpochRecorded::Superseded(highest)) => {
                tracing::debug!(%highest, \"another exchange has a higher epoch\");
                Ok(())
            }",
        test: fences("an_agent_that_saw_a_higher_epoch_refuses_every_call_of_the_lower"),
    },
    Plant {
        name: "late-repair-applied",
        breaks: "an agent that stood still applies a repair long after its confirm",
        file: "crates/selfsame-agent/src/local/confirms.rs",
        find: "*epoch == claim.epoch && at.elapsed() > within",
        replace: "*epoch == claim.epoch && at.elapsed() > within * 1_000",
        test: fences("a_repair_that_arrives_long_after_its_confirm_is_refused"),
    },
    Plant {
        name: "read-before-taken-for-return",
        breaks: "a key that is deleted just after it was read is held as one that came back",
        file: "crates/selfsame-agent/src/local/ledger.rs",
        find: "&& self.before.is_some_and(|before| before.same_but_time(memory))",
        replace: "&& (self.before.is_some() || memory.owner == TombstoneOwner::Own)",
        test: Test {
            package: "selfsame-agent",
            target: &["--test", "deletions"],
            name: "a_row_that_was_read_just_before_its_deletion_has_not_come_back",
        },
    },
    Plant {
        name: "asking-records",
        breaks: "an agent that cannot win a shard takes it from the one that exchanges it",
        file: "crates/selfsame-agent/src/local/voter.rs",
        find: "if *step == BallotStep::Ask {",
        replace: "if *step == BallotStep::Release {",
        test: claims("asking_fences_nobody_out"),
    },
    Plant {
        name: "applied-under-another-claim",
        breaks: "repairs that were planned under one claim are written under another",
        file: "crates/selfsame-agent/src/local/repairing.rs",
        find: "still()?;",
        replace: "let _ = still();",
        test: fences("repairs_are_applied_under_exactly_the_claim_of_the_last_confirm"),
    },
    Plant {
        name: "restore-known-by-versions-alone",
        breaks: "a store that was restored is trusted while few of its rows were looked at",
        file: "crates/selfsame-agent/src/local/holding.rs",
        find: "Some(now) if now >= counter => None,",
        replace: "Some(now) if now >= counter || now < counter => None,",
        test: holds("a_store_taken_back_is_recognised_before_the_next_scan"),
    },
    Plant {
        name: "gap-forgotten-by-a-restart",
        breaks: "a replica that was away counts again once its agent was restarted before it was told",
        file: "crates/selfsame-agent/src/local/holding.rs",
        find: "scans: journal.scans(collection, &parts.node)?,",
        replace: "scans: journal.scans(collection, &parts.node)?.filter(|_| false),",
        test: away("it_is_held_however_many_ends_of_passes_were_lost_and_agents_restarted"),
    },
    Plant {
        name: "hold-forgotten-by-a-restart",
        breaks: "a restart of its agent makes a replica that proves nothing count again",
        file: "crates/selfsame-agent/src/local/holding.rs",
        find: "hold: journal.held(collection, &parts.node)?,",
        replace: "hold: journal.held(collection, &parts.node)?.filter(|_| false),",
        test: holds("a_hold_outlives_a_restart"),
    },
    Plant {
        name: "undo-without-pins",
        breaks: "the next pass repairs what a person has just undone",
        file: "crates/selfsame-agent/src/local/undoing.rs",
        find: "self.add_pins(ready.iter().map(|(take_back, _)| self.pin_of_undo(take_back)).collect()).await?;",
        replace: "self.add_pins(Vec::new()).await?;",
        test: undo("a_run_is_undone_as_if_it_had_not_been_and_no_owner_repairs_it_again"),
    },
    Plant {
        name: "target-makes-what-is-pinned",
        breaks: "an owner that does not know of a pin repairs what a person has undone",
        file: "crates/selfsame-agent/src/local/pinning.rs",
        find: "if warrant.approved || intents.is_empty() {",
        replace: "if !intents.is_empty() || warrant.approved {",
        test: undo("a_target_refuses_what_is_pinned_unless_it_was_approved"),
    },
    Plant {
        name: "undo-over-a-client",
        breaks: "an undo takes a client's later write away",
        file: "crates/selfsame-agent/src/local/undo.rs",
        find: "if *after != first.expected || undone.contains(&earlier.repair.undoing()) {",
        replace: "if undone.contains(&earlier.repair.undoing()) {",
        test: Test {
            package: "selfsame-agent",
            target: &["--lib"],
            name: "local::undo::tests::what_a_run_did_twice_is_taken_back_as_one_unless_a_client_came_between",
        },
    },
    Plant {
        name: "write-ends-with-its-asker",
        breaks: "whoever stops waiting stops a batch midway: what the store then writes is taken for not written",
        file: "crates/selfsame-agent/src/local/repairing.rs",
        find: "\
        self.parts.tasks.spawn_to_end(\"write\", async move {
            let done = work.await;
            drop(alone);
            // Nobody may be waiting any more, which is no error.
            let _ = answer.send(done);
        });
",
        replace: "\
        let done = work.await;
        drop(alone);
        let _ = answer.send(done);
",
        test: undo("an_undo_whose_asker_leaves_is_carried_to_its_end"),
    },
    Plant {
        name: "brake-forgets",
        breaks: "several owners, or a restart between, delete more from a replica in a day than allowed",
        file: "crates/selfsame-agent/src/local/admission.rs",
        find: "load: RepairLoad { keys: rows, repaired: keys, deletes } }",
        replace: "load: RepairLoad { keys: rows, repaired: 0, deletes: 0 } }",
        test: brakes("a_target_takes_no_more_deletes_a_day_than_allowed_whoever_asks_and_whatever_it_forgot"),
    },
    Plant {
        name: "approved-is-braked",
        breaks: "what a person approved is refused, and planned again for ever",
        file: "crates/selfsame-agent/src/local/admission.rs",
        find: "if warrant.approved || intents.is_empty() {",
        replace: "if intents.is_empty() {",
        test: brakes("what_a_person_approved_is_neither_refused_nor_counted"),
    },
    Plant {
        name: "withdrawal-braked",
        breaks: "a document that was deleted while it was copied comes back",
        file: "crates/selfsame-agent/src/local/admission.rs",
        find: "if precedent.delivered || precedent.withdraws {",
        replace: "if precedent.delivered {",
        test: brakes("a_withdrawal_is_made_whatever_the_brake_says"),
    },
    Plant {
        name: "silence-ends-flapping",
        breaks: "a key that something writes back is repaired for ever, where replicas are silent at times",
        file: "crates/selfsame-agent/src/local/comparisons.rs",
        find: "ShardVerdict::Unknown(_) => false,",
        replace: "ShardVerdict::Unknown(_) => true,",
        test: brakes("a_key_repaired_in_three_passes_in_a_row_is_held_whoever_owns_it"),
    },
    Plant {
        name: "incomparable-again",
        breaks: "what never reads back as written is written in every pass",
        file: "crates/selfsame-agent/src/local/admission.rs",
        find: "if precedent.incomparable {",
        replace: "if precedent.incomparable && precedent.delivered {",
        test: brakes("what_does_not_read_back_as_written_is_written_once"),
    },
    Plant {
        name: "counter-looked-up-late",
        breaks: "a scan that moves the counter on beside a read of it makes a sound store look restored",
        file: "crates/selfsame-agent/src/local/holding.rs",
        find: "\
        let left = self.holding.known.lock().store.clone();
        let identity = self.parts.store.identity().await.map_err(|error| self.silent(&error))?;
",
        replace: "\
        let identity = self.parts.store.identity().await.map_err(|error| self.silent(&error))?;
        let left = self.holding.known.lock().store.clone();
",
        test: holds("a_counter_that_was_read_before_a_scan_moved_it_on_has_not_gone_back"),
    },
    Plant {
        name: "feed-echo-is-certain",
        breaks: "what a repair or an undo deletes on one replica is taken for a client's deletion, and deleted everywhere",
        file: "crates/selfsame-agent/src/local/feed.rs",
        find: "filter(|change| change.origin.is_none())",
        replace: "filter(|change| change.origin.is_none() || change.old.is_some())",
        test: undo("a_copy_that_was_undone_is_no_deletion_to_the_feed"),
    },
    Plant {
        name: "notice-unread",
        breaks: "what an application says that it deleted is deleted, though it is there",
        file: "crates/selfsame-agent/src/local/noticing.rs",
        find: "read: &reads[at],",
        replace: "read: &Read::Absent,",
        test: notices("a_notice_that_no_read_confirms_is_forgotten"),
    },
    Plant {
        name: "sweeper-trusts-the-owner",
        breaks: "an owner whose clock is wrong has living documents swept",
        file: "crates/selfsame-agent/src/local/repairing.rs",
        find: "entry.expiry.is_some_and(|expiry| expiry <= self.parts.clock.now());",
        replace: "entry.expiry.is_none_or(|_| true);",
        test: sweep("an_agent_lets_nothing_be_swept_that_has_not_expired_by_its_own_clock"),
    },
    Plant {
        name: "unscanned-index-answers",
        breaks: "a replica that was never read whole is called in sync",
        file: "crates/selfsame-agent/src/local/agent.rs",
        find: "as_of: root.as_of.ok_or(UnknownReason::NoScan)?,",
        replace: "as_of: root.as_of.unwrap_or_else(|| replica.parts.clock.now()),",
        test: exchange("a_replica_that_no_scan_has_completed_is_unknown_though_it_would_agree"),
    },
];
