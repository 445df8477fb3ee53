//! One key, read afresh from all replicas: what is there, what would be done about it, and what runs did with it.

use selfsame_core::{
    ContentDigest, Decision, HoldReason, Key, Moment, NodeName, Observation, Presence, ReplicaIndex,
    RowDigest, ShardVerdict, Sighting, Target, Tombstone, UnknownReason, Verdict, Version, WallMicros,
    resolve,
};
use selfsame_wire::message::Seen;
use selfsame_wire::v1;
use tonic::Status;

use super::keys::typed_key;
use super::records::run_item;
use super::run::verdict_name;
use super::{OperatorService, withheld};
use crate::exchange::sighting;
use crate::settings::CollectionSettings;

/// Items of a key's history.
const HISTORY: usize = 20;

impl OperatorService {
    pub(super) async fn explain_key(
        &self,
        request: v1::ExplainRequest,
        forwarded: bool,
    ) -> Result<v1::ExplainReply, Status> {
        if request.collection.is_empty() {
            return Err(Status::invalid_argument("`collection` is missing"));
        }
        let collections = self.collections(&request.collection)?;
        let collection = collections.first().ok_or_else(|| Status::not_found("no such collection"))?;
        let key = typed_key(Some(collection), &request.key);
        let mut reply = self.own_view(collection, &key).await?;
        if forwarded {
            return Ok(reply);
        }
        let (answers, silent) = self
            .ask_siblings(&request, |mut client, request| async move { client.explain(request).await })
            .await;
        for answer in answers {
            let answer: v1::ExplainReply = answer;
            reply.observations.extend(answer.observations);
            reply.history.extend(answer.history);
        }
        reply.silent = silent;
        reply.history.sort_by_key(|item| std::cmp::Reverse(item.at));
        reply.history.truncate(HISTORY);
        self.judge(collection, &key, &mut reply);
        Ok(reply)
    }

    /// What this agent's own replicas hold of the key.
    async fn own_view(&self, collection: &CollectionSettings, key: &Key) -> Result<v1::ExplainReply, Status> {
        let mut observations = Vec::new();
        for replica in
            self.parts.replicas.iter().filter(|replica| replica.collection().name == collection.name)
        {
            let read = replica.look(vec![key.clone()]).await;
            let seen = match read {
                Ok(read) => read
                    .into_iter()
                    .next()
                    .map_or_else(|| silent(replica.node()), |seen| told(replica.node(), &seen)),
                Err(error) => {
                    v1::NodeObservation { detail: error.reason().to_string(), ..silent(replica.node()) }
                }
            };
            observations.push(v1::NodeObservation { flapping: replica.is_flapping(key).await, ..seen });
        }
        let (name, sought) = (collection.name.clone(), key.clone());
        let history = self.journal(move |journal| journal.explain(&name, &sought, HISTORY)).await?;
        let mut history: Vec<v1::RunItem> =
            history.into_iter().map(|item| run_item(collection.name.as_str(), item)).collect();
        history.extend(self.undos_of_key(collection, key).await?);
        let digest = self.parts.fleet.fingerprinter(&collection.name).key_digest(key);
        let shards = collection.replicas.first().map(|replica| replica.mapping.shards);
        Ok(v1::ExplainReply {
            collection: collection.name.to_string(),
            key: key.to_string(),
            shard: shards.map_or(0, |shards| digest.shard(shards).0),
            observations,
            history,
            ..v1::ExplainReply::default()
        })
    }

    /// Puts the observations into the configured order and adds what the rules say about them.
    fn judge(&self, collection: &CollectionSettings, key: &Key, reply: &mut v1::ExplainReply) {
        let mut seen = std::mem::take(&mut reply.observations);
        for replica in &collection.replicas {
            let at = seen.iter().position(|seen| seen.node == replica.node.as_str());
            reply.observations.push(at.map_or_else(|| silent(&replica.node), |at| seen.swap_remove(at)));
        }
        let observations: Vec<Observation> = reply.observations.iter().map(understood).collect();
        let verdict =
            resolve(&observations, &collection.policy, Moment { now: self.parts.clock.now(), skew: 0 });
        let targets: &[Target] = match &verdict.decision {
            Decision::Copy { targets, .. } | Decision::Delete { targets, .. } => targets,
            Decision::Hold { outliers, .. } => outliers,
            Decision::Agree | Decision::AgreeAsHeard | Decision::Wait => &[],
        };
        for target in targets {
            reply.observations[target.replica.0].cause = target.cause.as_str().to_owned();
        }
        reply.decision = described(&verdict, collection);
        let pinned = self.pinned(collection, key, &verdict, &observations, &reply.observations);
        if !pinned.is_empty() {
            let nodes: Vec<&str> = pinned.iter().map(|node| node.as_str()).collect();
            let (reason, hint) = (HoldReason::Pinned.as_str(), HoldReason::Pinned.hint());
            reply.decision += &format!("; held ({reason}) on {}; hint: {hint}", nodes.join(", "));
        } else if let Some(reason) = withheld::reason(reply, &verdict) {
            let (name, hint) = (reason.as_str(), reason.hint());
            reply.decision += &format!("; held ({name}); hint: {hint}");
        }
        reply.rule = verdict.rule.describe().to_owned();
        reply.verdict = verdict_name(&match verdict.decision {
            Decision::Agree => ShardVerdict::InSync { as_of: self.parts.clock.now() },
            Decision::AgreeAsHeard => ShardVerdict::Unknown(UnknownReason::Unreachable),
            Decision::Wait => ShardVerdict::Unknown(UnknownReason::Moving),
            Decision::Copy { .. } | Decision::Delete { .. } | Decision::Hold { .. } => ShardVerdict::Diverged,
        })
        .into();
    }

    /// The nodes on which a person does not want what the rules say.
    fn pinned<'a>(
        &self,
        collection: &'a CollectionSettings,
        key: &Key,
        verdict: &Verdict,
        observations: &[Observation],
        told: &[v1::NodeObservation],
    ) -> Vec<&'a NodeName> {
        let (winner, targets) = match &verdict.decision {
            Decision::Copy { winner, targets } => (Some(*winner), targets),
            Decision::Delete { targets, .. } => (None, targets),
            _ => return Vec::new(),
        };
        let fingerprinter = self.parts.fleet.fingerprinter(&collection.name);
        let entry = winner.and_then(|winner| sighting(&observations[winner.0]));
        let digest = entry.map(|entry| fingerprinter.entry_digest(&entry.entry(key)).0.to_vec());
        let is_pinned = |target: &&Target| {
            told[target.replica.0].pinned.as_ref().is_some_and(|pinned| pinned.entry == digest)
        };
        let pinned = targets.iter().filter(is_pinned);
        pinned.map(|target| &collection.replicas[target.replica.0].node).collect()
    }
}

/// A verdict in words.
pub fn described(verdict: &Verdict, collection: &CollectionSettings) -> String {
    let node = |replica: ReplicaIndex| collection.replicas[replica.0].node.as_str();
    let nodes =
        |targets: &[Target]| targets.iter().map(|target| node(target.replica)).collect::<Vec<_>>().join(", ");
    match &verdict.decision {
        Decision::Agree => "all replicas agree".to_owned(),
        Decision::AgreeAsHeard => {
            "the replicas that answered agree; of the others nothing is known".to_owned()
        }
        Decision::Copy { winner, targets } => format!("copy from {} to {}", node(*winner), nodes(targets)),
        Decision::Delete { targets, .. } => format!("delete from {}", nodes(targets)),
        Decision::Wait => "wait: the document expires right now".to_owned(),
        Decision::Hold { reason, .. } => format!("hold ({}); hint: {}", reason.as_str(), reason.hint()),
    }
}

fn silent(node: &NodeName) -> v1::NodeObservation {
    v1::NodeObservation {
        node: node.to_string(),
        state: "unreachable".to_owned(),
        ..v1::NodeObservation::default()
    }
}

fn told(node: &NodeName, Seen { observation: seen, pinned }: &Seen) -> v1::NodeObservation {
    let (state, sighting) = match &seen.presence {
        Presence::Live(sighting) => ("live", Some(sighting)),
        Presence::Marked(sighting) => ("marked", Some(sighting)),
        Presence::Absent => ("absent", None),
        Presence::Unreadable => ("unreadable", None),
        Presence::Unreachable => ("unreachable", None),
    };
    v1::NodeObservation {
        node: node.to_string(),
        state: state.to_owned(),
        detail: String::new(),
        version: sighting.map(|sighting| sighting.version.0),
        expiry: sighting.and_then(|sighting| sighting.expiry).map(|expiry| expiry.0),
        content_digest: sighting.map(|sighting| sighting.content.0.to_vec()).unwrap_or_default(),
        by_repair: sighting.is_some_and(|sighting| sighting.by_repair),
        memory: seen.memory.clone().map(Into::into),
        held: seen.held,
        cause: String::new(),
        pinned: pinned.map(|pin| v1::PinnedChange { entry: pin.after.map(|entry| entry.0.to_vec()) }),
        flapping: false,
    }
}

/// Back to what the rules take. Rows do not travel here: no rule but a confirm looks at them.
fn understood(told: &v1::NodeObservation) -> Observation {
    let content = told.content_digest.as_slice().try_into().map(ContentDigest);
    let sighting = match (told.version, content) {
        (Some(version), Ok(content)) => Some(Sighting {
            version: Version(version),
            expiry: told.expiry.map(WallMicros),
            content,
            row: RowDigest(content.0),
            by_repair: told.by_repair,
            bytes: 0,
        }),
        _ => None,
    };
    let presence = match (told.state.as_str(), sighting) {
        ("live", Some(sighting)) => Presence::Live(sighting),
        ("marked", Some(sighting)) => Presence::Marked(sighting),
        ("absent", _) => Presence::Absent,
        ("unreadable", _) => Presence::Unreadable,
        _ => Presence::Unreachable,
    };
    // A memory that cannot be read is none that a decision may rest on: the agent that sent it is of another version.
    let memory = told.memory.and_then(|memory| Tombstone::try_from(memory).ok());
    Observation { presence, memory, held: told.held }
}
