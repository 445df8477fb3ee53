//! Up to when stores with tombstones of their own may forget them: what every replica has forgotten, nobody needs.

use std::collections::BTreeSet;

use selfsame_core::ShardId;
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use crate::settings::CollectionSettings;

impl OperatorService {
    pub(super) async fn tell_safe_to_purge(
        &self,
        request: v1::SafeToPurgeRequest,
        forwarded: bool,
    ) -> Result<v1::SafeToPurgeReply, Status> {
        let collection = self.collection_named(&request.collection)?;
        let own = self.own_horizons(&collection);
        if forwarded {
            return Ok(own);
        }
        let (answers, silent) = self
            .ask_siblings(&request, |mut client, request| async move { client.safe_to_purge(request).await })
            .await;
        let mut reply = joined(&collection, &[vec![own], answers].concat());
        reply.silent = silent;
        Ok(reply)
    }

    /// What this agent's replicas of a collection have forgotten.
    fn own_horizons(&self, collection: &CollectionSettings) -> v1::SafeToPurgeReply {
        let replicas = self.parts.replicas.iter();
        let replicas = || replicas.clone().filter(|replica| replica.collection().name == collection.name);
        let lowest = |shard| lowest(replicas().map(|replica| replica.horizon(shard).map(|at| at.0)));
        let shards = shards(collection);
        v1::SafeToPurgeReply {
            collection: collection.name.to_string(),
            nodes: replicas().map(|replica| replica.node().to_string()).collect(),
            shards: shards.map(|shard| v1::ShardHorizon { shard: shard.0, horizon: lowest(shard) }).collect(),
            silent: Vec::new(),
        }
    }
}

fn shards(collection: &CollectionSettings) -> impl Iterator<Item = ShardId> {
    collection.replicas.iter().take(1).flat_map(|replica| replica.mapping.shards.ids())
}

/// The lowest of these horizons; none if one of them is missing, or there are none.
fn lowest(horizons: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    horizons.reduce(|left, right| Some(left?.min(right?))).flatten()
}

/// What agents told of their own replicas, together. Of a replica that nobody told of nothing is known, and so of no
/// shard.
fn joined(collection: &CollectionSettings, answers: &[v1::SafeToPurgeReply]) -> v1::SafeToPurgeReply {
    let answers = || answers.iter().filter(|answer| !answer.nodes.is_empty());
    let nodes: BTreeSet<&str> = answers().flat_map(|answer| &answer.nodes).map(String::as_str).collect();
    let complete = collection.replicas.iter().all(|replica| nodes.contains(replica.node.as_str()));
    let told = |answer: &v1::SafeToPurgeReply, shard: ShardId| {
        answer.shards.iter().find(|told| told.shard == shard.0).and_then(|told| told.horizon)
    };
    let horizon = |shard| lowest(answers().map(|answer| told(answer, shard))).filter(|_| complete);
    v1::SafeToPurgeReply {
        collection: collection.name.to_string(),
        nodes: nodes.into_iter().map(str::to_owned).collect(),
        shards: shards(collection)
            .map(|shard| v1::ShardHorizon { shard: shard.0, horizon: horizon(shard) })
            .collect(),
        silent: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_replica_has_not_forgotten_is_not_safe() {
        let safe = |horizons: &[Option<i64>]| lowest(horizons.iter().copied());
        assert_eq!(safe(&[Some(7), Some(5), Some(6)]), Some(5));
        assert_eq!(safe(&[Some(7), None, Some(6)]), None);
        assert_eq!(safe(&[None, Some(6)]), None);
        assert_eq!(safe(&[]), None);
    }
}
