//! Undo: every agent puts back what it repaired in a run, from its own journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use selfsame_core::{CollectionName, Key, KeyDigest, NodeName, RunId, ShardId};
use selfsame_journal::MadeRepair;
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use super::keys::typed_key;
use crate::local::{LocalReplica, UndoItem, UndoState, UndoWrite, Undone};
use crate::owner::approval_of;
use crate::peer::PeerError;

/// How long an agent may take to put back its share of a run.
const UNDONE_WITHIN: Duration = Duration::from_secs(600);

/// Items in an answer, unless said otherwise, and at most: at about 200 bytes each below the message limit.
const ITEMS: u32 = 1_000;
const ITEMS_MAX: u32 = 100_000;

/// A replica in a run.
type Place = (CollectionName, NodeName);

impl OperatorService {
    pub(super) async fn undo_run(
        &self,
        request: v1::UndoRequest,
        forwarded: bool,
    ) -> Result<v1::UndoReply, Status> {
        let run = self.run_id(&request.run).await?;
        let request = v1::UndoRequest { run: run.to_string(), ..request };
        let node = self.node_named(&request.node)?;
        let limit = if request.limit == 0 { ITEMS } else { request.limit.min(ITEMS_MAX) } as usize;
        let mut reply = self.undo_own(run, &request, node.as_ref()).await?;
        if !forwarded {
            let asked = self.ask_siblings_within(&request, UNDONE_WITHIN, |mut client, request| async move {
                client.undo(request).await
            });
            let (answers, silent) = asked.await;
            answers.into_iter().for_each(|answer| join(&mut reply, answer));
            reply.silent = silent;
        }
        // What is wrong comes first: it is what a cut list must not lose.
        reply.items.sort_by_cached_key(|item| (is_good(&item.state), item.node.clone(), item.key.clone()));
        reply.truncated |= reply.items.len() > limit;
        reply.items.truncate(limit);
        Ok(reply)
    }

    /// Undoes this agent's part.
    async fn undo_own(
        &self,
        run: RunId,
        request: &v1::UndoRequest,
        node: Option<&NodeName>,
    ) -> Result<v1::UndoReply, Status> {
        // What was approved of the run's plan belongs to it, though it was written later, in a run of its own.
        let collections = self.parts.fleet.collections.iter();
        let approved = collections.map(|found| approval_of(&self.parts.fleet.name, &found.name, run).1);
        let mut reply = v1::UndoReply { run: run.to_string(), ..v1::UndoReply::default() };
        for run in approved.chain([run]) {
            self.undo_one(run, request, node, &mut reply).await?;
        }
        Ok(reply)
    }

    async fn undo_one(
        &self,
        run: RunId,
        request: &v1::UndoRequest,
        node: Option<&NodeName>,
        reply: &mut v1::UndoReply,
    ) -> Result<(), Status> {
        let (made, owned) =
            self.journal(move |journal| Ok((journal.repairs_of_run(run)?, journal.run(run)?))).await?;
        reply.known |= owned.is_some() || !made.is_empty();
        reply.unfinished |= owned.is_some_and(|run| run.finished.is_none() && !run.abandoned);
        let of_node = |made: &&MadeRepair| node.is_none_or(|node| made.node == *node);
        let places: BTreeSet<Place> =
            made.iter().filter(of_node).map(|made| (made.collection.clone(), made.node.clone())).collect();
        for (collection, node) in places {
            let replica = self
                .parts
                .replicas
                .iter()
                .find(|replica| replica.collection().name == collection && *replica.node() == node);
            let Undone { items, failed } = match replica {
                Some(replica) => self.undo_replica(replica, run, request).await,
                None => Undone { items: self.not_here(&made, &collection, &node, request), failed: None },
            };
            add_failure(reply, &node, failed);
            items.iter().for_each(|item| add(reply, &collection, &node, item));
        }
        Ok(())
    }

    async fn undo_replica(
        &self,
        replica: &Arc<LocalReplica>,
        run: RunId,
        request: &v1::UndoRequest,
    ) -> Undone {
        let key = request.key.as_ref().map(|typed| typed_key(Some(replica.collection()), typed));
        replica.undo(run, key.as_ref(), request.dry_run).await
    }

    /// The keys of a replica that is attached here no more.
    fn not_here(
        &self,
        made: &[MadeRepair],
        collection: &CollectionName,
        node: &NodeName,
        request: &v1::UndoRequest,
    ) -> Vec<UndoItem> {
        let settings = self.parts.fleet.collection(collection);
        let shards =
            settings.and_then(|settings| settings.replicas.first()).map(|first| first.mapping.shards);
        let asked = request.key.as_ref().map(|typed| typed_key(settings, typed));
        let of_replica = |made: &&MadeRepair| made.collection == *collection && made.node == *node;
        let is_asked = |made: &&MadeRepair| asked.as_ref().is_none_or(|asked| made.key == *asked);
        let keys: BTreeMap<&Key, KeyDigest> = made
            .iter()
            .filter(of_replica)
            .filter(is_asked)
            .map(|made| (&made.key, made.key_digest))
            .collect();
        let item = |(key, digest): (&Key, KeyDigest)| UndoItem {
            key: key.clone(),
            shard: shards.map_or(ShardId(0), |shards| digest.shard(shards)),
            write: None,
            state: UndoState::NoReplica,
        };
        keys.into_iter().map(item).collect()
    }
}

fn add(reply: &mut v1::UndoReply, collection: &CollectionName, node: &NodeName, item: &UndoItem) {
    *reply.states.entry(item.state.as_str().to_owned()).or_insert(0) += 1;
    let goes_back =
        matches!(item.state, UndoState::Restorable | UndoState::Restored | UndoState::RestoredOtherwise);
    match item.write.filter(|_| goes_back) {
        Some(UndoWrite::Insert) => reply.inserts += 1,
        Some(UndoWrite::Update) => reply.updates += 1,
        Some(UndoWrite::Delete) => reply.deletes += 1,
        None => {}
    }
    reply.items.push(v1::UndoItem {
        collection: collection.to_string(),
        shard: item.shard.0,
        key: item.key.to_string(),
        node: node.to_string(),
        write: item.write.map(UndoWrite::as_str).unwrap_or_default().to_owned(),
        state: item.state.as_str().to_owned(),
        detail: item.state.detail(),
    });
}

fn add_failure(reply: &mut v1::UndoReply, node: &NodeName, failed: Option<PeerError>) {
    let Some(failed) = failed else { return };
    let (why, refused) = match failed {
        PeerError::Refused(why) => (why, true),
        other => (format!("{}; hint: {}", other.reason(), other.reason().hint()), false),
    };
    reply.failures.push(v1::UndoFailure { node: node.to_string(), why, refused });
}

fn join(reply: &mut v1::UndoReply, share: v1::UndoReply) {
    reply.known |= share.known;
    reply.unfinished |= share.unfinished;
    for (state, keys) in share.states {
        *reply.states.entry(state).or_insert(0) += keys;
    }
    reply.inserts += share.inserts;
    reply.updates += share.updates;
    reply.deletes += share.deletes;
    reply.items.extend(share.items);
    reply.truncated |= share.truncated;
    reply.failures.extend(share.failures);
}

fn is_good(state: &str) -> bool {
    matches!(state, "restorable" | "restored" | "undone" | "not_applied")
}
