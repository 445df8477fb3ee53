//! `selfsame status` for people: who answers, what is known, how old that is, and what to do.

use comfy_table::Table;
use selfsame_core::{UnknownReason, WallMicros};

use super::row::{CollectionRow, FleetRow};
use crate::output::{ago, causes, numbers, table, to_the_second, until, with_age};

/// The whole answer.
pub(super) fn lines(fleet: &FleetRow) -> Vec<String> {
    let (answered, silent) = (fleet.agents.len(), fleet.silent_agents.len());
    let mut lines = vec![
        format!("fleet {}: {answered} agents answered, {silent} silent", fleet.fleet),
        agent_table(fleet).to_string(),
    ];
    for collection in &fleet.collections {
        lines.push(String::new());
        lines.extend(about(collection, fleet.now));
        lines.push(replica_table(collection, fleet).to_string());
    }
    lines
}

fn agent_table(fleet: &FleetRow) -> Table {
    let mut rows = table(&["agent", "address", "nodes", "version", "state"]);
    for agent in &fleet.agents {
        let started = ago(agent.started_at, fleet.now);
        rows.add_row([
            agent.agent.clone(),
            agent.address.clone(),
            agent.nodes.join(", "),
            agent.program.clone(),
            format!("answers, started {started}"),
        ]);
    }
    for silent in &fleet.silent_agents {
        rows.add_row([
            silent.agent.clone(),
            silent.address.clone(),
            silent.nodes.join(", "),
            "-".to_owned(),
            format!("silent: {}", silent.why),
        ]);
    }
    rows
}

/// What is known of a collection.
fn about(collection: &CollectionRow, now: WallMicros) -> Vec<String> {
    let CollectionRow { in_sync, shards, diverged, .. } = collection;
    let verdict = match (collection.verdict, collection.as_of) {
        ("in_sync", Some(as_of)) => format!("in sync as of {}", with_age(as_of, now)),
        (verdict, _) => verdict.replace('_', " "),
    };
    let mut lines = vec![
        format!("{}: {verdict}", collection.collection),
        format!("  {in_sync} of {shards} shards in sync, {diverged} diverged; {}", compared(collection, now)),
    ];
    for (reason, count) in &collection.unknown {
        let hint = UnknownReason::from_name(reason).map_or("", UnknownReason::hint);
        lines.push(format!("  {count} of {shards} shards unknown: {reason}; hint: {hint}"));
    }
    if collection.planned > 0 {
        let waits = if collection.planned == 1 { "repair waits" } else { "repairs wait" };
        lines.push(format!("  {} {waits} for approval; hint: selfsame plan", collection.planned));
    }
    if collection.held > 0 {
        let hint = "selfsame runs, and selfsame show RUN, name them; selfsame explain says why";
        let waits = if collection.held == 1 { "key waits" } else { "keys wait" };
        lines.push(format!("  {} {waits} for a person; hint: {hint}", collection.held));
    }
    for replica in collection.replicas.iter().filter(|replica| !replica.held.is_empty()) {
        let (node, held) = (&replica.node, &replica.held);
        lines.push(format!(
            "  {node} is held: {held}; hint: selfsame resync {node} --as merge, or --as empty"
        ));
    }
    lines.extend(causes::most_line(&collection.causes));
    if collection.paused {
        let until = match collection.paused_until {
            Some(at) => format!("until {} ({})", to_the_second(at), until(at, now)),
            None => "until somebody resumes".to_owned(),
        };
        lines.push(format!("  repairs are paused {until}; hint: selfsame resume"));
    }
    lines
}

/// How old the verdict is, and when the next is due.
fn compared(collection: &CollectionRow, now: WallMicros) -> String {
    let told = collection.shards_told;
    let last = match collection.verdict_at {
        None => "none compared, as far as is known".to_owned(),
        Some(at) if told == collection.shards => format!("compared {}", ago(at, now)),
        Some(at) => format!("{told} of them compared {}", ago(at, now)),
    };
    match collection.next_run_at {
        Some(at) => format!("{last}, next {}", until(at, now)),
        None => format!("{last}, next when somebody asks"),
    }
}

fn replica_table(collection: &CollectionRow, fleet: &FleetRow) -> Table {
    let mut rows = table(&["replica", "agent", "rows", "indexed", "unreadable", "last full scan"]);
    numbers(&mut rows, [2, 3, 4]);
    for replica in &collection.replicas {
        let scanned = match (&replica.scanning, replica.as_of) {
            (Some(scanning), _) => format!("scanning {scanning}"),
            (None, Some(at)) => with_age(at, fleet.now),
            (None, None) => "never".to_owned(),
        };
        rows.add_row([
            replica.node.clone(),
            replica.agent.clone(),
            replica.rows.map_or("no answer".to_owned(), |rows| rows.to_string()),
            replica.entries.to_string(),
            replica.unreadable.to_string(),
            scanned,
        ]);
    }
    for (node, agent) in &collection.untold {
        rows.add_row([node.as_str(), agent.as_str(), "no answer", "-", "-", "-"]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use selfsame_wire::v1;

    use super::*;

    const NOW: i64 = 1_795_176_324_000_000;

    fn collection() -> v1::CollectionStatus {
        let shard = |verdict_age_s: i64| v1::ShardStatus {
            at: Some(NOW - verdict_age_s * 1_000_000),
            ..v1::ShardStatus::default()
        };
        v1::CollectionStatus {
            collection: "products".to_owned(),
            verdict: v1::Verdict::InSync.into(),
            as_of: Some(NOW - 240_000_000),
            shards: 2,
            in_sync: 2,
            shard_statuses: vec![shard(10), shard(180)],
            next_run_at: Some(NOW + 600_000_000),
            ..v1::CollectionStatus::default()
        }
    }

    fn text(collection: v1::CollectionStatus, silent: Vec<v1::SilentAgent>) -> String {
        let reply = v1::StatusReply {
            fleet: "shop".to_owned(),
            now: NOW,
            collections: vec![collection],
            silent,
            ..v1::StatusReply::default()
        };
        lines(&FleetRow::of(reply, &crate::config::example())).join("\n")
    }

    #[test]
    fn a_verdict_has_its_age_and_the_next_its_time() {
        let text = text(collection(), Vec::new());
        assert!(text.contains("products: in sync as of 2026-11-20T12:01:24Z (4 min ago)\n"), "{text}");
        assert!(
            text.contains("2 of 2 shards in sync, 0 diverged; compared 3 min ago, next in 10 min"),
            "{text}"
        );
    }

    #[test]
    fn a_held_replica_is_named_with_its_reason() {
        let mut held = collection();
        let why = "restored: the counter in the store went back from 9 to 3".to_owned();
        held.replicas =
            vec![v1::ReplicaStatus { node: "node-b".to_owned(), held: why, ..v1::ReplicaStatus::default() }];
        let text = text(held, Vec::new());
        assert!(text.contains("node-b is held: restored: the counter"), "{text}");
        assert!(text.contains("hint: selfsame resync node-b --as merge"), "{text}");
    }

    #[test]
    fn shards_that_nobody_told_of_are_not_said_to_be_compared() {
        let mut partly = collection();
        partly.shard_statuses.pop();
        let text = text(partly, Vec::new());
        assert!(text.contains("1 of them compared 10 s ago"), "{text}");
    }

    #[test]
    fn silent_agents_are_named_with_address_and_reason_and_so_are_their_replicas() {
        let silent = v1::SilentAgent {
            agent: "c".to_owned(),
            address: "127.0.0.1:7403".to_owned(),
            why: "connection refused".to_owned(),
        };
        let text = text(collection(), vec![silent]);
        let row = text.lines().find(|line| line.contains("silent: connection refused")).unwrap();
        assert!(row.contains("127.0.0.1:7403") && row.contains("node-c"), "{text}");
        let replica = text.lines().find(|line| line.contains("no answer")).unwrap();
        assert!(replica.contains("node-c"), "{text}");
    }

    #[test]
    fn what_waits_for_a_person_has_a_hint() {
        let waiting = v1::CollectionStatus {
            planned: 4,
            held: 1,
            pause: Some(v1::PauseState { until: Some(NOW + 300_000_000), ..v1::PauseState::default() }),
            ..collection()
        };
        let text = text(waiting, Vec::new());
        for says in [
            "4 repairs wait for approval; hint: ",
            "1 key waits for a person; hint: ",
            "(in 5 min); hint: selfsame resume",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
}
