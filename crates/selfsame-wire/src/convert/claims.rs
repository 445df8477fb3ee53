//! Handshake, claims and runs.

use selfsame_core::{Counts, Epoch, ShardId, ShardVerdict, WallMicros};

use super::index::{from_scans, scans};
use super::types::{epochs, from_epochs, run, shard, slot, unknown_reason};
use super::{
    Malformed, all, array, at_most, deltas, distinct, exactly, from_instants, instants, name, required, sums,
};
use crate::limits::{PLANNED_CHARS_MAX, SHARDS_MAX};
use crate::message::{
    Ballot, BallotRequest, BallotStep, CollectionHello, CompleteRequest, HeldEqual, Hello, JudgedGap,
    ShardShare, Share, StartRequest,
};
use crate::v1;

impl From<Hello> for v1::HelloMessage {
    fn from(hello: Hello) -> Self {
        let collection = |each: CollectionHello| v1::CollectionHello {
            name: each.name.to_string(),
            check_value: each.check_value.to_vec(),
            config: each.config.to_vec(),
            nodes: each.nodes.iter().map(ToString::to_string).collect(),
        };
        v1::HelloMessage {
            protocol: hello.protocol,
            algorithm: hello.algorithm,
            fleet: hello.fleet,
            agent: hello.agent.to_string(),
            now: hello.now.0,
            collections: hello.collections.into_iter().map(collection).collect(),
        }
    }
}

impl TryFrom<v1::HelloMessage> for Hello {
    type Error = Malformed;

    fn try_from(hello: v1::HelloMessage) -> Result<Hello, Malformed> {
        Ok(Hello {
            protocol: hello.protocol,
            algorithm: hello.algorithm,
            fleet: hello.fleet,
            agent: name("agent", &hello.agent)?,
            now: WallMicros(hello.now),
            collections: all(hello.collections)?,
        })
    }
}

impl TryFrom<v1::CollectionHello> for CollectionHello {
    type Error = Malformed;

    fn try_from(collection: v1::CollectionHello) -> Result<CollectionHello, Malformed> {
        let nodes = collection.nodes.iter();
        Ok(CollectionHello {
            name: name("collections.name", &collection.name)?,
            check_value: array("collections.check_value", &collection.check_value)?,
            config: array("collections.config", &collection.config)?,
            nodes: nodes.map(|node| name("collections.nodes", node)).collect::<Result<_, _>>()?,
        })
    }
}

impl From<BallotRequest> for v1::BallotRequest {
    fn from(request: BallotRequest) -> Self {
        v1::BallotRequest {
            collection: request.collection.to_string(),
            run: request.run.as_bytes().to_vec(),
            slot: request.slot.to_bytes(),
            epochs: Some(from_epochs(request.epochs)),
            step: match request.step {
                BallotStep::Ask => v1::BallotStep::Ask,
                BallotStep::Claim => v1::BallotStep::Claim,
                BallotStep::Release => v1::BallotStep::Release,
            }
            .into(),
        }
    }
}

impl TryFrom<v1::BallotRequest> for BallotRequest {
    type Error = Malformed;

    fn try_from(request: v1::BallotRequest) -> Result<BallotRequest, Malformed> {
        Ok(BallotRequest {
            step: match request.step() {
                v1::BallotStep::Ask => BallotStep::Ask,
                v1::BallotStep::Claim => BallotStep::Claim,
                v1::BallotStep::Release => BallotStep::Release,
                v1::BallotStep::Unspecified => {
                    return Err(Malformed::new("step", format!("{} is not known", request.step)));
                }
            },
            collection: name("collection", &request.collection)?,
            run: run("run", &request.run)?,
            slot: slot(&request.slot)?,
            epochs: epochs(required("epochs", request.epochs)?)?,
        })
    }
}

impl From<Vec<Ballot>> for v1::BallotReply {
    fn from(ballots: Vec<Ballot>) -> Self {
        let mut reply = v1::BallotReply::default();
        for ballot in ballots {
            let kind = match ballot {
                Ballot::Granted { first_pass_over: true } => v1::Ballot::Granted,
                Ballot::Granted { first_pass_over: false } => v1::Ballot::GrantedFirstPass,
                Ballot::Taken => v1::Ballot::Taken,
                Ballot::Completed => v1::Ballot::Completed,
                Ballot::Superseded(epoch) => {
                    reply.superseded_by.push(epoch.into());
                    v1::Ballot::Superseded
                }
            };
            reply.push_ballots(kind);
        }
        reply
    }
}

impl TryFrom<v1::BallotReply> for Vec<Ballot> {
    type Error = Malformed;

    fn try_from(reply: v1::BallotReply) -> Result<Vec<Ballot>, Malformed> {
        at_most("ballots", reply.ballots.len(), SHARDS_MAX)?;
        let mut superseded_by = reply.superseded_by.into_iter();
        let ballot = |kind| {
            Ok(match v1::Ballot::try_from(kind) {
                Ok(v1::Ballot::Granted) => Ballot::Granted { first_pass_over: true },
                Ok(v1::Ballot::GrantedFirstPass) => Ballot::Granted { first_pass_over: false },
                Ok(v1::Ballot::Taken) => Ballot::Taken,
                Ok(v1::Ballot::Completed) => Ballot::Completed,
                Ok(v1::Ballot::Superseded) => {
                    Ballot::Superseded(Epoch::try_from(required("superseded_by", superseded_by.next())?)?)
                }
                Ok(v1::Ballot::Unspecified) | Err(_) => {
                    return Err(Malformed::new("ballots", format!("{kind} is not known")));
                }
            })
        };
        let ballots = reply.ballots.into_iter().map(ballot).collect::<Result<_, _>>()?;
        if superseded_by.next().is_some() {
            return Err(Malformed::new("superseded_by", "has more epochs than shards that were superseded"));
        }
        Ok(ballots)
    }
}

impl From<CompleteRequest> for v1::CompleteRequest {
    fn from(request: CompleteRequest) -> Self {
        let (epochs, verdicts): (Vec<_>, Vec<_>) =
            request.shards.into_iter().map(|(shard, epoch, verdict)| ((shard, epoch), verdict)).unzip();
        v1::CompleteRequest {
            collection: request.collection.to_string(),
            run: request.run.as_bytes().to_vec(),
            slot: request.slot.to_bytes(),
            at: request.at.0,
            epochs: Some(from_epochs(epochs)),
            verdicts: Some(from_verdicts(&verdicts)),
            equal: request.equal.into_iter().map(Into::into).collect(),
            horizon_deltas: from_instants(request.horizons.iter().copied()),
            judged: request.judged.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<HeldEqual> for v1::HeldEqual {
    fn from(equal: HeldEqual) -> Self {
        v1::HeldEqual {
            node: equal.node.to_string(),
            since: equal.since.0,
            shards: equal.shards.iter().map(|shard| shard.0).collect(),
        }
    }
}

impl From<JudgedGap> for v1::JudgedGap {
    fn from(judged: JudgedGap) -> Self {
        v1::JudgedGap { node: judged.node.to_string(), from: judged.from.0, away: judged.away }
    }
}

impl TryFrom<v1::JudgedGap> for JudgedGap {
    type Error = Malformed;

    fn try_from(judged: v1::JudgedGap) -> Result<JudgedGap, Malformed> {
        let node = name("judged.node", &judged.node)?;
        Ok(JudgedGap { node, from: WallMicros(judged.from), away: judged.away })
    }
}

impl TryFrom<v1::HeldEqual> for HeldEqual {
    type Error = Malformed;

    fn try_from(equal: v1::HeldEqual) -> Result<HeldEqual, Malformed> {
        at_most("equal.shards", equal.shards.len(), SHARDS_MAX)?;
        Ok(HeldEqual {
            node: name("equal.node", &equal.node)?,
            since: WallMicros(equal.since),
            shards: equal.shards.into_iter().map(ShardId).collect(),
        })
    }
}

impl TryFrom<v1::CompleteRequest> for CompleteRequest {
    type Error = Malformed;

    fn try_from(request: v1::CompleteRequest) -> Result<CompleteRequest, Malformed> {
        let epochs = epochs(required("epochs", request.epochs)?)?;
        let verdicts = verdicts(&required("verdicts", request.verdicts)?, epochs.len())?;
        let horizons = instants("horizon_deltas", &request.horizon_deltas, epochs.len())?;
        let shards = epochs.into_iter().zip(verdicts);
        at_most("equal", request.equal.len(), SHARDS_MAX)?;
        let equal: Vec<HeldEqual> = all(request.equal)?;
        distinct("equal.node", equal.iter().map(|equal| &equal.node))?;
        at_most("judged", request.judged.len(), SHARDS_MAX)?;
        let judged: Vec<JudgedGap> = all(request.judged)?;
        distinct("judged.node", judged.iter().map(|judged| &judged.node))?;
        Ok(CompleteRequest {
            collection: name("collection", &request.collection)?,
            run: run("run", &request.run)?,
            slot: slot(&request.slot)?,
            at: WallMicros(request.at),
            shards: shards.map(|((shard, epoch), verdict)| (shard, epoch, verdict)).collect(),
            equal,
            horizons,
            judged,
        })
    }
}

fn from_verdicts(verdicts: &[ShardVerdict]) -> v1::Verdicts {
    let kind = |verdict: &ShardVerdict| match verdict {
        ShardVerdict::InSync { .. } => v1::Verdict::InSync.into(),
        ShardVerdict::Diverged => v1::Verdict::Diverged.into(),
        ShardVerdict::Unknown(_) => v1::Verdict::Unknown.into(),
    };
    let as_of = |verdict: &ShardVerdict| match verdict {
        ShardVerdict::InSync { as_of } => Some(as_of.0),
        ShardVerdict::Diverged | ShardVerdict::Unknown(_) => None,
    };
    let reason = |verdict: &ShardVerdict| match verdict {
        ShardVerdict::Unknown(reason) => Some(v1::UnknownReason::from(*reason).into()),
        ShardVerdict::InSync { .. } | ShardVerdict::Diverged => None,
    };
    v1::Verdicts {
        kinds: verdicts.iter().map(kind).collect(),
        as_of_deltas: deltas(verdicts.iter().filter_map(as_of)),
        reasons: verdicts.iter().filter_map(reason).collect(),
    }
}

fn verdicts(verdicts: &v1::Verdicts, count: usize) -> Result<Vec<ShardVerdict>, Malformed> {
    exactly("verdicts.kinds", verdicts.kinds.len(), count)?;
    let mut times = sums(&verdicts.as_of_deltas);
    let mut reasons = verdicts.reasons.iter();
    let verdict = |kind: &i32| {
        Ok(match v1::Verdict::try_from(*kind) {
            Ok(v1::Verdict::InSync) => {
                let as_of = WallMicros(required("verdicts.as_of_deltas", times.next())?);
                ShardVerdict::InSync { as_of }
            }
            Ok(v1::Verdict::Diverged) => ShardVerdict::Diverged,
            Ok(v1::Verdict::Unknown) => {
                let reason = required("verdicts.reasons", reasons.next())?;
                ShardVerdict::Unknown(unknown_reason("verdicts.reasons", *reason)?)
            }
            Ok(v1::Verdict::Unspecified) | Err(_) => {
                return Err(Malformed::new("verdicts.kinds", format!("{kind} is not known")));
            }
        })
    };
    let verdicts = verdicts.kinds.iter().map(verdict).collect::<Result<_, _>>()?;
    if times.next().is_some() {
        return Err(Malformed::new("verdicts.as_of_deltas", "has more rows than shards that are in sync"));
    }
    if reasons.next().is_some() {
        return Err(Malformed::new("verdicts.reasons", "has more rows than shards that are unknown"));
    }
    Ok(verdicts)
}

impl From<()> for v1::CompleteReply {
    fn from((): ()) -> Self {
        v1::CompleteReply {}
    }
}

impl From<StartRequest> for v1::StartRequest {
    fn from(request: StartRequest) -> Self {
        v1::StartRequest {
            collection: request.collection.to_string(),
            slot: request.slot.to_bytes(),
            shard: request.shard.map(|shard| shard.0),
            scan: request.scan,
            dry_run: request.dry_run,
        }
    }
}

impl TryFrom<v1::StartRequest> for StartRequest {
    type Error = Malformed;

    fn try_from(request: v1::StartRequest) -> Result<StartRequest, Malformed> {
        Ok(StartRequest {
            collection: name("collection", &request.collection)?,
            slot: slot(&request.slot)?,
            shard: request.shard.map(|id| shard("shard", id)).transpose()?,
            scan: request.scan,
            dry_run: request.dry_run,
        })
    }
}

impl From<Counts> for v1::Counts {
    fn from(counts: Counts) -> Self {
        v1::Counts {
            keys: counts.keys,
            mismatches: counts.mismatches,
            repaired: counts.repaired,
            transient: counts.transient,
            moving: counts.moving,
            held: counts.held,
            unreadable: counts.unreadable,
            document_bytes: counts.document_bytes,
        }
    }
}

impl From<v1::Counts> for Counts {
    fn from(counts: v1::Counts) -> Self {
        Counts {
            keys: counts.keys,
            mismatches: counts.mismatches,
            repaired: counts.repaired,
            transient: counts.transient,
            moving: counts.moving,
            held: counts.held,
            unreadable: counts.unreadable,
            document_bytes: counts.document_bytes,
        }
    }
}

impl From<ShardShare> for v1::ShardShare {
    fn from(share: ShardShare) -> Self {
        v1::ShardShare {
            shard: share.shard.0,
            verdict: Some(share.verdict.into()),
            counts: Some(share.counts.into()),
            planned: share.planned,
        }
    }
}

impl TryFrom<v1::ShardShare> for ShardShare {
    type Error = Malformed;

    fn try_from(share: v1::ShardShare) -> Result<ShardShare, Malformed> {
        at_most("shards.planned", share.planned.chars().count(), PLANNED_CHARS_MAX)?;
        Ok(ShardShare {
            shard: shard("shards.shard", share.shard)?,
            verdict: required("shards.verdict", share.verdict)?.try_into()?,
            counts: required("shards.counts", share.counts)?.into(),
            planned: share.planned,
        })
    }
}

impl From<Share> for v1::StartReply {
    fn from(share: Share) -> Self {
        v1::StartReply {
            running: share.running,
            scans: from_scans(share.scans),
            shards: share.shards.into_iter().map(Into::into).collect(),
            wire_bytes: share.wire_bytes,
        }
    }
}

impl TryFrom<v1::StartReply> for Share {
    type Error = Malformed;

    fn try_from(reply: v1::StartReply) -> Result<Share, Malformed> {
        at_most("shards", reply.shards.len(), SHARDS_MAX)?;
        let shards: Vec<ShardShare> = all(reply.shards)?;
        distinct("shards.shard", shards.iter().map(|share| share.shard))?;
        Ok(Share { running: reply.running, scans: scans(reply.scans)?, shards, wire_bytes: reply.wire_bytes })
    }
}
