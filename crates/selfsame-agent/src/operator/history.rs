//! What undo did with a key, as an item of its history: runs list what they found, and undo is no run.

use selfsame_core::{Cause, Key};
use selfsame_journal::{Intent, IntentOutcome, IntentWrite, StoredIntent};
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use crate::settings::CollectionSettings;

/// Repairs of a key that are looked through.
const REPAIRS: usize = 100;

const RULE: &str = "a person undid the run";

impl OperatorService {
    /// The undos of a key on this agent's replicas, the newest first on each.
    pub(super) async fn undos_of_key(
        &self,
        collection: &CollectionSettings,
        key: &Key,
    ) -> Result<Vec<v1::RunItem>, Status> {
        let digest = self.parts.fleet.fingerprinter(&collection.name).key_digest(key);
        let shard = collection.replicas.first().map_or(0, |replica| digest.shard(replica.mapping.shards).0);
        let own = self.parts.replicas.iter().filter(|replica| replica.collection().name == collection.name);
        let nodes: Vec<_> = own.map(|replica| replica.node().clone()).collect();
        let name = collection.name.clone();
        self.journal(move |journal| {
            let mut undos = Vec::new();
            for node in nodes {
                let made = journal.intents_of_key(&name, &node, digest, REPAIRS)?;
                undos.extend(made.iter().filter(|undo| is_undo(undo, &made)).map(|undo| item(undo, shard)));
            }
            Ok(undos)
        })
        .await
    }
}

fn is_undo(intent: &StoredIntent, of_key: &[StoredIntent]) -> bool {
    intent.intent.cause == Cause::Restored
        && of_key.iter().any(|other| other.intent.repair.undoing() == intent.intent.repair)
}

fn item(StoredIntent { intent, outcome }: &StoredIntent, shard: u32) -> v1::RunItem {
    let Intent { repair, run, collection, node, key, write, at, .. } = intent;
    let (action, version_after) = match write {
        IntentWrite::Put { entry, .. } => ("restore", Some(entry.version.0)),
        IntentWrite::Delete => ("delete", None),
    };
    v1::RunItem {
        run: run.to_string(),
        collection: collection.to_string(),
        shard,
        key: key.to_string(),
        node: node.to_string(),
        action: action.to_owned(),
        cause: Cause::Restored.as_str().to_owned(),
        rule: RULE.to_owned(),
        outcome: match outcome {
            Some(IntentOutcome::Applied { .. }) => "undone",
            Some(other) => other.code(),
            None => "unanswered",
        }
        .to_owned(),
        version_after,
        at: at.0,
        repair: repair.to_string(),
        ..v1::RunItem::default()
    }
}
