//! Plans: what waits for a person, and what happens when one says yes or no. A plan lies with the owner that made
//! it, who also carries it out.

use std::collections::BTreeMap;
use std::time::Duration;

use selfsame_core::{RunId, WallMicros};
use selfsame_journal::PlanRow;
use selfsame_wire::v1;
use tonic::{Code, Status};

use super::OperatorService;
use super::siblings::Heard;

/// How long an owner may take to carry out its share of a plan.
const APPROVED_WITHIN: Duration = Duration::from_secs(600);

impl OperatorService {
    pub(super) async fn list_plans(
        &self,
        request: v1::PlansRequest,
        forwarded: bool,
    ) -> Result<v1::PlansReply, Status> {
        let only = match request.collection.as_str() {
            "" => None,
            name => self.collections(name)?.into_iter().next().map(|collection| collection.name),
        };
        let now = self.parts.clock.now();
        let rows = self.journal(|journal| journal.plans()).await?;
        let of_collection = |row: &&PlanRow| only.as_ref().is_none_or(|only| row.plan.id.collection == *only);
        let pending = |row: &&PlanRow| waits(row, now);
        let mut plans: BTreeMap<String, v1::Plan> = BTreeMap::new();
        for row in rows.iter().filter(of_collection).filter(pending) {
            let plan = plans.entry(row.plan.id.run.to_string()).or_insert_with(|| v1::Plan {
                run: row.plan.id.run.to_string(),
                collection: row.plan.id.collection.to_string(),
                created_at: row.plan.created.0,
                expires_at: row.plan.expires.0,
                ..v1::Plan::default()
            });
            add_shard(plan, row);
        }
        let mut silent = Vec::new();
        if !forwarded {
            let (answers, unheard) = self
                .ask_siblings(&request, |mut client, request| async move { client.plans(request).await })
                .await;
            silent = unheard;
            for plan in answers.into_iter().flat_map(|answer: v1::PlansReply| answer.plans) {
                match plans.get_mut(&plan.run) {
                    None => {
                        plans.insert(plan.run.clone(), plan);
                    }
                    Some(known) => join(known, plan),
                }
            }
        }
        let mut plans: Vec<v1::Plan> = plans.into_values().collect();
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.created_at));
        Ok(v1::PlansReply { plans, silent })
    }

    pub(super) async fn approve_plan(
        &self,
        request: v1::ApproveRequest,
        forwarded: bool,
    ) -> Result<v1::ApproveReply, Status> {
        let run = self.run_id(&request.run).await?;
        let own = self.carry_out_own(run).await;
        if forwarded {
            return own;
        }
        let request = v1::ApproveRequest { run: run.to_string() };
        let asked = self.hear_siblings(&request, APPROVED_WITHIN, |mut client, request| async move {
            client.approve(request).await
        });
        let Heard { answers, mut refused, silent } = asked.await;
        let mut reply = match own {
            Ok(reply) => reply,
            Err(status) if status.code() == Code::FailedPrecondition => {
                refused.push((self.missing(&status), status));
                v1::ApproveReply::default()
            }
            Err(status) => return Err(status),
        };
        for answer in answers {
            let answer: v1::ApproveReply = answer;
            reply.planned += answer.planned;
            reply.repaired += answer.repaired;
            reply.returned += answer.returned;
            reply.settled += answer.settled;
            reply.refused += answer.refused;
        }
        if reply.planned == 0
            && let Some((_, status)) = refused.pop()
        {
            // Nobody did anything: why is all that there is to say.
            return Err(Status::failed_precondition(status.message()));
        }
        reply.silent = silent.into_iter().chain(refused.into_iter().map(|(agent, _)| agent)).collect();
        Ok(reply)
    }

    /// Carries out this agent's share of a plan. Refused as a failed precondition, if nothing may be written now.
    async fn carry_out_own(&self, run: RunId) -> Result<v1::ApproveReply, Status> {
        let mut reply = v1::ApproveReply::default();
        for row in self.own_plans(run).await? {
            let carried_out = self.parts.owner.carry_out(&row.plan.id).await;
            let carried_out = carried_out.map_err(|error| Status::failed_precondition(error.to_string()))?;
            reply.planned += carried_out.planned;
            reply.repaired += carried_out.repaired;
            reply.returned += carried_out.returned;
            reply.settled += carried_out.settled;
            reply.refused += carried_out.refused;
        }
        Ok(reply)
    }

    /// This agent as one whose part is missing.
    pub(super) fn missing(&self, status: &Status) -> v1::SilentAgent {
        let own = self.parts.fleet.agent(&self.parts.name);
        v1::SilentAgent {
            agent: self.parts.name.to_string(),
            address: own.map(|own| own.grpc.clone()).unwrap_or_default(),
            why: status.message().to_owned(),
        }
    }

    pub(super) async fn own_plans(&self, run: RunId) -> Result<Vec<PlanRow>, Status> {
        let now = self.parts.clock.now();
        let rows = self.journal(move |journal| journal.plans_of_run(run)).await?;
        Ok(rows.into_iter().filter(|row| row.plan.expires > now).collect())
    }
}

/// Whether a person may still say yes or no to something of a plan.
pub(super) fn waits(row: &PlanRow, now: WallMicros) -> bool {
    row.counts.pending > 0 && row.plan.expires > now
}

fn add_shard(plan: &mut v1::Plan, row: &PlanRow) {
    plan.shards.push(row.plan.id.shard.0);
    *plan.reasons.entry(row.plan.reason.clone()).or_insert(0) += 1;
    plan.keys += row.counts.pending;
}

fn join(plan: &mut v1::Plan, share: v1::Plan) {
    plan.shards.extend(share.shards);
    plan.shards.sort_unstable();
    plan.keys += share.keys;
    for (reason, shards) in share.reasons {
        *plan.reasons.entry(reason).or_insert(0) += shards;
    }
    plan.created_at = plan.created_at.min(share.created_at);
    plan.expires_at = plan.expires_at.min(share.expires_at);
}
