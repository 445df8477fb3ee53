//! `selfsame resync`: a person decides whose word counts for a held replica.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use selfsame_core::{CollectionName, NodeName};
use selfsame_wire::v1;
use serde::Serialize;

use super::confirm::{confirmed, somebody_to_ask};
use super::load;
use crate::client::ask;
use crate::config::FleetConfig;
use crate::output::{OUTPUT_VERSION, Output, print_json, print_line, talk};

/// `selfsame resync …`
#[derive(Debug, Args)]
pub(crate) struct ResyncArgs {
    /// The node whose replicas are held
    node: NodeName,
    /// Whose word counts
    #[arg(long = "as", value_enum)]
    mode: Mode,
    /// One collection; all that have a replica on the node without it
    #[arg(long)]
    collection: Option<CollectionName>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// The others': what only this node has is exported and deleted, what it lacks is copied
    Empty,
    /// Its own too: its documents are live, what it lacks is copied
    Merge,
}

#[derive(Debug, Serialize)]
struct Resynced {
    version: u32,
    collections: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    collection: String,
    node: String,
    held: String,
    ended: bool,
    dropped: u64,
    deletes: u64,
    copies: u64,
    written: u64,
    left: u64,
    exported: String,
    stopped: String,
}

/// Runs `selfsame resync`. Exit code 1 if something that was ordered was not done, or nothing was ordered after all.
pub(crate) async fn run(args: &ResyncArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    somebody_to_ask(args.yes)?;
    let request = v1::ResyncRequest {
        node: args.node.to_string(),
        collection: args.collection.as_ref().map(ToString::to_string).unwrap_or_default(),
        mode: match args.mode {
            Mode::Empty => v1::ResyncMode::Empty,
            Mode::Merge => v1::ResyncMode::Merge,
        }
        .into(),
        dry_run: true,
        deletes_max: 0,
    };
    let there_is = order(&config, &request).await?;
    for replica in &there_is.collections {
        talk(&before(replica, args.mode));
    }
    let deletes: u64 = there_is.collections.iter().map(|replica| replica.deletes).sum();
    let expected = if deletes == 0 { "yes".to_owned() } else { deletes.to_string() };
    let what = if deletes == 0 { String::new() } else { format!("This deletes {deletes} documents. ") };
    if !args.yes && !confirmed(&format!("{what}Type {expected} to go on:"), &expected)? {
        print_line("nothing was done")?;
        return Ok(ExitCode::from(1));
    }
    let mut done: Vec<v1::ResyncedReplica> = Vec::new();
    let mut failed = None;
    for order_of_one in orders(&request, &there_is.collections) {
        match order(&config, &order_of_one).await {
            Ok(reply) => done.extend(reply.collections),
            // What is done is done, and is shown; nothing more is begun.
            Err(error) => {
                failed = Some(error.context(format!("{} on {}", order_of_one.collection, args.node)));
                break;
            }
        }
    }
    let is_done = |replica: &v1::ResyncedReplica| replica.left == 0 && replica.stopped.is_empty();
    let all_done = done.iter().all(is_done);
    match args.output {
        Output::Json => {
            let collections = done.into_iter().map(row).collect();
            print_json(&Resynced { version: OUTPUT_VERSION, collections })?;
        }
        Output::Text => done.iter().flat_map(after).try_for_each(|line| print_line(&line))?,
    }
    failed.map_or_else(|| Ok(ExitCode::from(u8::from(!all_done))), Err)
}

/// What was agreed to, one order for each collection: none deletes more than was said of it.
fn orders(asked: &v1::ResyncRequest, there_is: &[v1::ResyncedReplica]) -> Vec<v1::ResyncRequest> {
    let order = |replica: &v1::ResyncedReplica| v1::ResyncRequest {
        collection: replica.collection.clone(),
        dry_run: false,
        deletes_max: replica.deletes,
        ..asked.clone()
    };
    there_is.iter().map(order).collect()
}

async fn order(config: &FleetConfig, request: &v1::ResyncRequest) -> anyhow::Result<v1::ResyncReply> {
    ask(config, |mut client| async move { client.resync(request.clone()).await }).await
}

/// What is about to happen.
fn before(replica: &v1::ResyncedReplica, mode: Mode) -> String {
    let v1::ResyncedReplica { collection, node, held, deletes, copies, .. } = replica;
    let standing = if held.is_empty() { "not held".to_owned() } else { format!("held, {held}") };
    match mode {
        Mode::Merge if held.is_empty() => format!("{collection} on {node}: {standing}; nothing to do"),
        Mode::Merge => format!(
            "{collection} on {node}: {standing}; its documents become live, and what it lost is copied to it"
        ),
        Mode::Empty => format!(
            "{collection} on {node}: {standing}; {deletes} documents that only it has are exported and deleted, \
             {copies} are copied to it"
        ),
    }
}

/// What happened.
fn after(replica: &v1::ResyncedReplica) -> Vec<String> {
    let v1::ResyncedReplica { collection, node, deletes, copies, written, left, exported, .. } = replica;
    let ended = match (replica.ended, replica.held.is_empty()) {
        (true, _) => "it is not held any more; the next run compares it",
        (false, true) => "it was not held",
        (false, false) => "it is held still",
    };
    let mut lines = vec![format!("{collection} on {node}: {ended}")];
    if deletes + copies > 0 {
        lines.push(format!("  {written} of {} documents written", deletes + copies));
    }
    if *left > 0 {
        lines.push(format!("  {left} not written; hint: selfsame runs and show say why; then resync again"));
    }
    if !replica.stopped.is_empty() {
        lines.push(format!("  {}", replica.stopped));
    }
    if !exported.is_empty() {
        lines.push(format!("  what was deleted is in {exported}"));
    }
    lines
}

fn row(replica: v1::ResyncedReplica) -> Row {
    Row {
        collection: replica.collection,
        node: replica.node,
        held: replica.held,
        ended: replica.ended,
        dropped: replica.dropped,
        deletes: replica.deletes,
        copies: replica.copies,
        written: replica.written,
        left: replica.left,
        exported: replica.exported,
        stopped: replica.stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> v1::ResyncedReplica {
        v1::ResyncedReplica {
            collection: "products".to_owned(),
            node: "node-b".to_owned(),
            held: "restored: the counter in the store went back from 9 to 3".to_owned(),
            deletes: 2,
            copies: 5,
            ..v1::ResyncedReplica::default()
        }
    }

    #[test]
    fn what_is_ordered_is_counted_beforehand() {
        let text = before(&replica(), Mode::Empty);
        assert!(
            text.contains("2 documents that only it has are exported and deleted, 5 are copied"),
            "{text}"
        );
        assert!(text.contains("held, restored"), "{text}");
        let free = v1::ResyncedReplica { held: String::new(), ..replica() };
        assert!(before(&free, Mode::Merge).ends_with("nothing to do"));
    }

    #[test]
    fn each_collection_is_ordered_with_the_deletes_that_were_told_of_it() {
        let asked = v1::ResyncRequest { node: "node-b".to_owned(), dry_run: true, ..Default::default() };
        let orders_placed = v1::ResyncedReplica { collection: "orders".to_owned(), deletes: 0, ..replica() };
        let ordered = orders(&asked, &[replica(), orders_placed]);
        let brief = |order: &v1::ResyncRequest| (order.collection.clone(), order.deletes_max, order.dry_run);
        let expected = [("products".to_owned(), 2, false), ("orders".to_owned(), 0, false)];
        assert_eq!(ordered.iter().map(brief).collect::<Vec<_>>(), expected);
        assert!(ordered.iter().all(|order| order.node == "node-b"));
    }

    #[test]
    fn what_was_not_done_is_said() {
        let done = v1::ResyncedReplica { ended: true, written: 7, exported: "f".to_owned(), ..replica() };
        assert_eq!(
            after(&done),
            [
                "products on node-b: it is not held any more; the next run compares it",
                "  7 of 7 documents written",
                "  what was deleted is in f"
            ]
        );
        let text = after(&v1::ResyncedReplica { written: 6, left: 1, ..replica() }).join("\n");
        assert!(text.contains("it is held still") && text.contains("1 not written"), "{text}");
        let stopped = "1 of 4 shards could not be compared".to_owned();
        let text = after(&v1::ResyncedReplica { written: 7, stopped, ..replica() }).join("\n");
        assert!(text.contains("it is held still") && text.contains("1 of 4 shards"), "{text}");
    }
}
