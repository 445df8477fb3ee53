//! The plants: faults that a named test must catch.
//!
//! To add one, append it to [`PLANTS`] and run `cargo xtask plant NAME`. Plant the mistake that someone would
//! really make, name a test that catches it without luck (rather an example than a random case), and keep
//! `find` as short as it can be while it occurs just once.

/// One fault: a text, what it is replaced by, and the test that must then fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plant {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// What goes wrong for a user of the software, in a few words.
    pub(crate) breaks: &'static str,
    /// The file, relative to the root of the workspace.
    pub(crate) file: &'static str,
    /// The text to replace. It occurs exactly once in the file.
    pub(crate) find: &'static str,
    /// What stands there instead. It compiles.
    pub(crate) replace: &'static str,
    /// The test that must turn red.
    pub(crate) test: Test,
}

/// A test, named as cargo wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// The package that has the test, which need not be the one that has the fault.
    pub(crate) package: &'static str,
    /// What selects the test target on cargo's command line: `["--lib"]`, or `["--test", "FILE"]`; the features that
    /// it needs stand before.
    pub(crate) target: &'static [&'static str],
    /// The whole name, as the test runner prints it.
    pub(crate) name: &'static str,
}

/// A unit test of the core.
const fn core(name: &'static str) -> Test {
    Test { package: "selfsame-core", target: &["--lib"], name }
}

/// A test of the SQLite store, on real files.
const fn sqlite(name: &'static str) -> Test {
    Test { package: "selfsame-store-sqlite", target: &["--test", "suite"], name }
}

/// A test of whole exchanges over three agents in one process.
const fn exchange(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "exchange"], name }
}

/// A test of what an agent refuses.
const fn fences(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "fences"], name }
}

/// A test of replicas that are held.
const fn holds(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "holds"], name }
}

/// A test of what a target's agent does not let through.
const fn brakes(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "brakes"], name }
}

/// A test of what is forgotten, and when.
const fn purge(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "purge"], name }
}

/// A test of replicas that were away.
const fn away(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "away"], name }
}

/// A test of claims between agents that come and go.
const fn claims(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "claims"], name }
}

/// A test of undo over three agents in one process.
const fn undo(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "undo"], name }
}

/// Every plant, in the order in which they are tried.
pub(crate) const PLANTS: &[Plant] = &[
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
        name: "repair-without-condition",
        breaks: "a repair overwrites what a client wrote since the row was looked at",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "(Expected::Row(digest), Some((document, _))) => document.row_digest == digest,",
        replace: "(Expected::Row(_), Some(_)) => true,",
        test: sqlite("apply::a_condition_that_does_not_hold_writes_nothing_not_even_the_marker"),
    },
    Plant {
        name: "marker-after-write",
        breaks: "consumers of the change table take every repair for a client's write",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "\
    connection
        .prepare_cached(\"INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('writing', ?1)\")?
        .execute([&marker])?;
    let rows = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(values)))
        .map_err(refusal_of)?;
",
        replace: "\
    let rows = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params_from_iter(values)))
        .map_err(refusal_of)?;
    connection
        .prepare_cached(\"INSERT OR REPLACE INTO _selfsame_meta (name, value) VALUES ('writing', ?1)\")?
        .execute([&marker])?;
",
        test: sqlite("feed::repairs_show_their_marker_and_clients_none"),
    },
    Plant {
        name: "marker-after-commit",
        breaks: "a crash leaves a repair that is not recognised when it is delivered again",
        file: "crates/selfsame-store-sqlite/src/repair.rs",
        find: "\
    connection
        .prepare_cached(\"INSERT INTO _selfsame_origin",
        replace: "\
    connection.execute_batch(\"COMMIT; BEGIN IMMEDIATE; SAVEPOINT selfsame_repair\")?;
    connection
        .prepare_cached(\"INSERT INTO _selfsame_origin",
        test: Test {
            package: "selfsame-store-sqlite",
            target: &["--lib"],
            name: "apply::tests::a_process_killed_within_a_batch_leaves_all_as_it_was_and_redelivery_applies_it",
        },
    },
    Plant {
        name: "cursor-before-its-page",
        breaks: "a crash during a scan leaves out a page, whose documents then seem to be missing",
        file: "crates/selfsame-index/src/scan.rs",
        find: "\
        let mut report = PageReport::default();
        for seen in page {
            store_seen(&mut draft, &mut scan, seen, &mut report)?;
        }
        scan.rows = scan.rows.saturating_add(page.len() as u64);
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        draft.head.scan = Some(scan);
        self.current.commit(draft)?;
        failpoint!(\"index::page_stored\");
",
        replace: "\
        scan.rows = scan.rows.saturating_add(page.len() as u64);
        scan.position = cursor.map_or(ScanPosition::End, ScanPosition::After);
        draft.head.scan = Some(scan.clone());
        self.current.commit(draft)?;
        failpoint!(\"index::page_stored\");
        let mut draft = self.current.draft();
        let mut report = PageReport::default();
        for seen in page {
            store_seen(&mut draft, &mut scan, seen, &mut report)?;
        }
        draft.head.scan = Some(scan);
        self.current.commit(draft)?;
",
        test: Test {
            package: "selfsame-index",
            target: &["--features", "failpoints", "--test", "failpoints"],
            name: "a_scan_survives_a_crash_at_every_point_and_as_of_comes_last",
        },
    },
    Plant {
        name: "vanish-without-memory",
        breaks: "a key that was deleted on one replica comes back from the others",
        file: "crates/selfsame-agent/src/local/ledger.rs",
        find: "Read::Absent => self.gone_by(Evidence::Vanished(last_seen(self.gone?)), moment),",
        replace: "Read::Absent => None,",
        test: Test {
            package: "selfsame-agent",
            target: &["--test", "deletions"],
            name: "without_a_majority_an_observed_deletion_is_held",
        },
    },
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
        name: "lost-claims-kept",
        breaks: "agents that split the voters of a shard keep each other away from it",
        file: "crates/selfsame-agent/src/claim.rs",
        find: "        self.release(in_vain).await;",
        replace: "        tracing::debug!(claims = in_vain.len(), \"claimed in vain\");",
        test: claims("claimants_that_meet_do_not_keep_each_other_away"),
    },
    Plant {
        name: "memory-lost-with-the-secret",
        breaks: "after a change of the secret, deleted documents are copied back",
        file: "crates/selfsame-journal/src/rekey.rs",
        find: "if new != old {",
        replace: "if new == old {",
        test: Test {
            package: "selfsame-journal",
            target: &["--lib"],
            name: "rekey::tests::memories_are_found_under_another_secret",
        },
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
        name: "vanishes-of-one-scan-alone",
        breaks: "a table that is lost in small parts is taken for deleted, part by part",
        file: "crates/selfsame-core/src/brake.rs",
        find: "|vanishes| vanishes.at > start",
        replace: "|vanishes| vanishes.at >= now && vanishes.at > start",
        test: holds("vanishes_add_up_over_scans_within_a_day_and_not_beyond"),
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
        name: "purged-taken-back",
        breaks: "a tombstone that all have forgotten goes round among the replicas again",
        file: "crates/selfsame-core/src/purge.rs",
        find: "(tombstone.owner == TombstoneOwner::Own).then_some(moved)",
        replace: "Some(if tombstone.owner == TombstoneOwner::Own { moved } else { tombstone.clone() })",
        test: purge("a_purged_tombstone_is_refused_and_a_younger_one_is_taken"),
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
        name: "away-unnoticed",
        breaks: "what was deleted while a replica was away comes back with it",
        file: "crates/selfsame-core/src/away.rs",
        find: "others.into_iter().any(went_on)",
        replace: "others.into_iter().filter(Option::is_none).any(went_on)",
        test: away("a_replica_that_was_away_for_longer_than_retention_is_held_on_return"),
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
        name: "held-replica-copied-from",
        breaks: "what a replica has that was taken back, or lost its rows, counts beside what the others have",
        file: "crates/selfsame-core/src/resolve/heard.rs",
        find: "if observation.held || observation.presence == Presence::Unreachable {",
        replace: "if observation.presence == Presence::Unreachable {",
        test: core("resolve::tests::rules::rule_6_unreadable_and_unreachable_are_never_absent"),
    },
    Plant {
        name: "undone-row-votes",
        breaks: "a row that an undo put back votes for itself, as if a client had written it",
        file: "crates/selfsame-journal/src/repairs.rs",
        find: "AND key_digest = ?3 AND outcome = 'applied' ORDER BY id DESC LIMIT 1\"",
        replace: "AND key_digest = ?3 AND outcome = 'applied' AND cause <> 'restored' ORDER BY id DESC LIMIT 1\"",
        test: undo("what_was_put_back_is_nobodys_vote_and_its_write_carries_a_marker"),
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
        name: "forgotten-in-rows-alone",
        breaks: "a document that was forgotten still lies in free pages of the journal",
        file: "crates/selfsame-journal/src/forget.rs",
        find: "connection.execute_batch(\"VACUUM\")?;",
        replace: "connection.execute_batch(\"PRAGMA secure_delete = ON\")?;",
        test: Test {
            package: "selfsame-journal",
            target: &["--lib"],
            name: "forget::tests::what_is_forgotten_is_gone_from_the_files_and_what_safety_needs_stays",
        },
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
        name: "older-page-over-newer-entry",
        breaks: "a page that was read before a row was looked at again puts the older state back into the index",
        file: "crates/selfsame-index/src/scan.rs",
        find: "        if row.stamp > scan.stamp {",
        replace: "        if row.stamp > scan.stamp && row.stamp < scan.stamp {",
        test: Test {
            package: "selfsame-index",
            target: &["--lib"],
            name: "tests::stories::an_older_read_never_replaces_a_newer_one_nor_brings_a_key_back",
        },
    },
    Plant {
        name: "watermark-before-entries",
        breaks: "a scan that has only begun proves that all is in sync",
        file: "crates/selfsame-index/src/scan.rs",
        find: "        draft.head.scan = Some(ScanProgress {\n            stamp,",
        replace: "        draft.head.as_of = Some(started);\n        draft.head.scan = Some(ScanProgress {\n            stamp,",
        test: Test {
            package: "selfsame-index",
            target: &["--features", "failpoints", "--test", "failpoints"],
            name: "a_scan_survives_a_crash_at_every_point_and_as_of_comes_last",
        },
    },
    Plant {
        name: "approval-of-anything",
        breaks: "an approval writes what the rules say now, not what was looked at",
        file: "crates/selfsame-agent/src/exchange/repairs.rs",
        find: "(!approval.repairs.contains(&repair_id(&of_the_plan, node, task))).then_some(otherwise)",
        replace: "(approval.repairs.is_empty() && !approval.repairs.contains(&repair_id(&of_the_plan, node, task))).then_some(otherwise)",
        test: exchange("an_approved_row_that_changed_returns_to_the_plan"),
    },
];
