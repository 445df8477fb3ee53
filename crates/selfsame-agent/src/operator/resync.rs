//! `resync`: a person decides whose word counts for a replica that is held. The agent that the node is attached to
//! does it; others pass the question on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use selfsame_core::{Key, NodeName, ShardId};
use selfsame_wire::v1;
use tokio::sync::oneshot;
use tonic::Status;

use super::OperatorService;
use super::siblings::{Heard, cannot_know};
use crate::exchange::report::{Action, Outcome, PassReport, ShardReport};
use crate::local::LocalReplica;
use crate::owner::resync::{approval_of, planned};
use crate::peer::PeerError;
use crate::settings::CollectionSettings;

/// How long the agent of the node may take: it scans every replica twice, for hours where they are large. One that is
/// dead is found by its connection.
const RESYNCED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The nodes whose resync is under way.
pub(super) type UnderWay = Arc<Mutex<BTreeSet<NodeName>>>;

/// One resync of a node at a time, until this is dropped.
struct Turn {
    node: NodeName,
    under_way: UnderWay,
}

impl Turn {
    fn take(under_way: &UnderWay, node: &NodeName) -> Option<Turn> {
        let first = under_way.lock().insert(node.clone());
        first.then(|| Turn { node: node.clone(), under_way: under_way.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.node);
    }
}

impl OperatorService {
    pub(super) async fn resync_node(
        &self,
        request: v1::ResyncRequest,
        forwarded: bool,
    ) -> Result<v1::ResyncReply, Status> {
        let node: NodeName =
            request.node.parse().map_err(|error| Status::invalid_argument(format!("node: {error}")))?;
        let mode = match request.mode() {
            v1::ResyncMode::Unspecified => return Err(Status::invalid_argument("`mode` is missing")),
            mode => mode,
        };
        let Some(agent) = self.parts.fleet.agent_of(&node) else {
            return Err(Status::not_found(format!("no node `{node}`; hint: selfsame status lists them")));
        };
        if agent.name == self.parts.name {
            return self.resync_to_its_end(node, mode, request).await;
        }
        if forwarded {
            return Err(Status::not_found(format!("node `{node}` is not attached to this agent")));
        }
        let asked = self.hear_siblings(&request, RESYNCED_WITHIN, |mut client, request| async move {
            client.resync(request).await
        });
        let Heard { answers, refused, silent } = asked.await;
        if let Some(answer) = answers.into_iter().next() {
            return Ok(answer);
        }
        if let Some((_, status)) = refused.into_iter().next() {
            return Err(Status::new(status.code(), status.message()));
        }
        let own = silent.iter().find(|silent| silent.agent == agent.name.as_str());
        let why = own.map_or("it did not answer", |silent| silent.why.as_str());
        Err(cannot_know(format!(
            "agent {}, which node `{node}` is attached to, cannot be asked: {why}; hint: start it",
            agent.name
        )))
    }

    /// As [`Self::resync_own`], also if nobody waits for it any more: it takes long, and who repeats an order is not to
    /// meet one that was cut in the midst.
    async fn resync_to_its_end(
        &self,
        node: NodeName,
        mode: v1::ResyncMode,
        request: v1::ResyncRequest,
    ) -> Result<v1::ResyncReply, Status> {
        let Some(turn) = Turn::take(&self.resyncs, &node) else {
            return Err(cannot_know(format!(
                "a resync of `{node}` is under way; hint: selfsame status says when it is not held any more"
            )));
        };
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        self.parts.tasks.spawn("resync", async move {
            let done = this.resync_own(&node, mode, &request).await;
            drop(turn);
            if let Err(unheard) = answer.send(done) {
                tracing::info!(%node, outcome = ?unheard, "a resync has ended, and nobody waited for it");
            }
        });
        // Without an answer only if the agent drains.
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("the agent is ending")))
    }

    async fn resync_own(
        &self,
        node: &NodeName,
        mode: v1::ResyncMode,
        request: &v1::ResyncRequest,
    ) -> Result<v1::ResyncReply, Status> {
        let mut reply = v1::ResyncReply::default();
        for collection in self.collections(&request.collection)? {
            let mut replicas = self.parts.replicas.iter();
            let own = replicas
                .find(|replica| replica.collection().name == collection.name && replica.node() == node);
            let Some(replica) = own.cloned() else { continue };
            let done = match mode {
                v1::ResyncMode::Empty => self.take_others_word(&collection, &replica, request).await?,
                v1::ResyncMode::Merge | v1::ResyncMode::Unspecified => {
                    self.merge(&collection, &replica, request.dry_run).await?
                }
            };
            reply.collections.push(done);
        }
        if reply.collections.is_empty() {
            return Err(Status::not_found(format!(
                "node `{node}` has no replica of `{}`",
                request.collection
            )));
        }
        Ok(reply)
    }

    /// Takes the replica's documents as live.
    async fn merge(
        &self,
        collection: &CollectionSettings,
        replica: &Arc<LocalReplica>,
        dry_run: bool,
    ) -> Result<v1::ResyncedReplica, Status> {
        let mut reply = told(collection, replica);
        if !dry_run && let Some((_, dropped)) = replica.release().await.map_err(refused)? {
            reply.ended = true;
            reply.dropped = dropped as u64;
        }
        Ok(reply)
    }

    /// Lets the replica take the others' word: exports what it alone has, deletes it, and gives it what it lacks.
    async fn take_others_word(
        &self,
        collection: &CollectionSettings,
        replica: &Arc<LocalReplica>,
        request: &v1::ResyncRequest,
    ) -> Result<v1::ResyncedReplica, Status> {
        let node = replica.node();
        self.others_can_tell(collection, node).await?;
        let mut reply = told(collection, replica);
        let held = replica.held().map(|hold| hold.cause);
        let looked = self.parts.owner.resync(collection, node, None).await.map_err(refused)?;
        let there_is = looked.report;
        all_granted(&there_is)?;
        if let Some(doubt) = looked.doubt {
            return Err(cannot_know(format!("nothing was done: {doubt}")));
        }
        let deleted: Vec<Key> = planned(&there_is, node)
            .filter(|item| item.action == Action::Delete)
            .map(|item| item.key.clone())
            .collect();
        reply.deletes = deleted.len() as u64;
        reply.copies = planned(&there_is, node).count() as u64 - reply.deletes;
        if request.dry_run {
            return Ok(reply);
        }
        if reply.deletes > request.deletes_max {
            return Err(Status::failed_precondition(format!(
                "{} documents would be deleted from `{node}` by now, and {} were agreed to; hint: ask again",
                reply.deletes, request.deletes_max
            )));
        }
        if !deleted.is_empty() {
            let data = self.parts.fleet.agent(&self.parts.name).map(|agent| agent.data.clone());
            let directory = data.unwrap_or_default().join("exports");
            let path = replica.export(&directory, &deleted).await.map_err(refused)?;
            reply.exported = path.display().to_string();
        }
        if reply.deletes + reply.copies > 0 {
            let approval = approval_of(&there_is, node);
            let _yields = replica.yielding();
            let done = self.parts.owner.resync(collection, node, Some(approval)).await.map_err(refused)?;
            reply.written = written(&done.report, node);
            reply.left = left(&done.report, node) + not_looked_at(&there_is, &done.report, node);
            reply.stopped = done.doubt.unwrap_or_default();
        }
        if replica.held().is_some_and(|hold| Some(hold.cause) != held) {
            reply.stopped =
                "it is held for another reason by now; hint: selfsame status, and decide again".to_owned();
        }
        // What is left differs still, as may what was not compared, and its word would count again.
        if reply.left == 0
            && reply.stopped.is_empty()
            && let Some((_, dropped)) = replica.release().await.map_err(refused)?
        {
            reply.ended = true;
            reply.dropped = dropped as u64;
        }
        Ok(reply)
    }

    /// A majority of the other replicas answers, is not held and not empty.
    async fn others_can_tell(&self, collection: &CollectionSettings, node: &NodeName) -> Result<(), Status> {
        let question =
            v1::StatusRequest { collection: collection.name.to_string(), ..v1::StatusRequest::default() };
        let status = self.tell_status(question, false).await?;
        let replicas = status.collections.iter().flat_map(|collection| &collection.replicas);
        let tells = |replica: &&v1::ReplicaStatus| {
            replica.node != node.as_str()
                && replica.problem() == v1::UnknownReason::Unspecified
                && replica.rows.is_some_and(|rows| rows > 0)
        };
        let (telling, others) = (replicas.filter(tells).count(), collection.replicas.len() - 1);
        if telling * 2 > others {
            return Ok(());
        }
        Err(cannot_know(format!(
            "{telling} of the {others} other replicas of `{}` can tell what it should hold, and more than half must: \
             they must answer, not be held and not be empty; hint: selfsame status",
            collection.name
        )))
    }
}

/// What is known before anything is done.
fn told(collection: &CollectionSettings, replica: &LocalReplica) -> v1::ResyncedReplica {
    let hold = replica.held();
    v1::ResyncedReplica {
        collection: collection.name.to_string(),
        node: replica.node().to_string(),
        held: hold.map(|hold| format!("{}: {}", hold.cause.as_str(), hold.detail)).unwrap_or_default(),
        ..v1::ResyncedReplica::default()
    }
}

fn refused(error: PeerError) -> Status {
    match error {
        PeerError::Refused(_) => Status::failed_precondition(error.to_string()),
        _ => cannot_know(error.to_string()),
    }
}

/// A shard that another agent has is not looked at: the others' word on it is not known.
fn all_granted(report: &PassReport) -> Result<(), Status> {
    let not_granted = report.shards.iter().filter(|shard| shard.epoch.is_none()).count();
    if not_granted == 0 {
        return Ok(());
    }
    Err(cannot_know(format!(
        "{not_granted} shards were not granted: another run is at work, or a majority of the agents is away; the \
         replica stays as it is; hint: try again"
    )))
}

fn written(report: &PassReport, node: &NodeName) -> u64 {
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Repaired | Outcome::AlreadyThere);
    planned(report, node).filter(|item| done(&item.outcome)).count() as u64
}

/// What was to be written in shards that nobody granted this time: the rest is done, and is told.
fn not_looked_at(there_is: &PassReport, report: &PassReport, node: &NodeName) -> u64 {
    let granted = |shard: &&ShardReport| shard.epoch.is_some();
    let granted: BTreeSet<ShardId> = report.shards.iter().filter(granted).map(|shard| shard.shard).collect();
    let others = there_is.shards.iter().filter(|shard| !granted.contains(&shard.shard));
    let items = others.flat_map(|shard| &shard.items);
    items.filter(|item| item.node == *node && item.repair.is_some()).count() as u64
}

/// What was to be written and was not; a row that a client wrote meanwhile is the client's, and fine.
fn left(report: &PassReport, node: &NodeName) -> u64 {
    planned(report, node).filter(|item| item.outcome.still_differs()).count() as u64
}
