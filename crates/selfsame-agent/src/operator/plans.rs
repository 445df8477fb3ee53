//! Plans: what waits for a person, and what happens when one says yes or no. A plan lies with the owner that made
//! it, who also carries it out.

use std::time::Duration;

use selfsame_core::{RunId, WallMicros};
use selfsame_journal::{Journal, JournalError, PlanRow};
use selfsame_wire::v1;
use tonic::{Code, Status};

use super::siblings::{Heard, name_once};
use super::{OperatorService, plan_parts};
use crate::owner::CarriedOut;

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
        let mut plans = self
            .journal(move |journal| {
                let mut rows = journal.plans()?;
                rows.retain(|row| only.as_ref().is_none_or(|only| row.plan.id.collection == *only));
                own_plans(journal, &rows, now)
            })
            .await?;
        let mut silent = Vec::new();
        if !forwarded {
            let (answers, unheard) = self
                .ask_siblings(&request, |mut client, request| async move { client.plans(request).await })
                .await;
            silent = unheard;
            plans.extend(answers.into_iter().flat_map(|answer: v1::PlansReply| answer.plans));
        }
        Ok(v1::PlansReply { plans: plan_parts::joined(plans), silent })
    }

    /// What all agents have planned in a run, as far as it holds.
    pub(super) async fn plan_that_holds(
        &self,
        run: RunId,
    ) -> Result<(Option<v1::Plan>, Vec<v1::SilentAgent>), Status> {
        let listed = self.list_plans(v1::PlansRequest::default(), false).await?;
        let run = run.to_string();
        Ok((listed.plans.into_iter().find(|plan| plan.run == run), listed.silent))
    }

    pub(super) async fn approve_plan(
        &self,
        request: v1::ApproveRequest,
        forwarded: bool,
    ) -> Result<v1::ApproveReply, Status> {
        let run = self.run_id(&request.run).await?;
        if forwarded {
            return self.carry_out_own(run, &request.parts).await;
        }
        let (plan, unlisted) = self.plan_that_holds(run).await?;
        let Some(plan) = plan else {
            return Ok(v1::ApproveReply { silent: unlisted, ..v1::ApproveReply::default() });
        };
        let deletes = plan_parts::deletes(&plan);
        if request.deletes.is_some_and(|known| known != deletes) {
            let hint = "hint: `selfsame show RUN` says what it would do";
            return Err(Status::failed_precondition(format!("the plan has {deletes} deletes; {hint}")));
        }
        let parts = plan_parts::named(&plan);
        let own = self.carry_out_own(run, &parts).await;
        let request = v1::ApproveRequest { run: run.to_string(), parts, deletes: None };
        let asked = self.hear_siblings(&request, APPROVED_WITHIN, |mut client, request| async move {
            client.approve(request).await
        });
        let Heard { mut answers, mut refused, mut silent } = asked.await;
        match own {
            Ok(reply) => answers.push(reply),
            Err(status) if status.code() == Code::FailedPrecondition => {
                refused.push((self.missing(&status), status));
            }
            // What the others did is told all the same.
            Err(status) => silent.push(self.missing(&status)),
        }
        let mut reply = v1::ApproveReply::default();
        for answer in answers {
            add(&mut reply, &answer);
            answer.silent.into_iter().for_each(|agent| name_once(&mut reply.silent, agent));
        }
        let not_told: u64 = silent.iter().map(|agent| plan_parts::repairs_of(&plan, &agent.agent)).sum();
        if reply.planned + not_told == 0
            && let Some((_, status)) = refused.pop()
        {
            // Nobody did anything: why is all that there is to say.
            return Err(Status::failed_precondition(status.message()));
        }
        reply.planned += not_told;
        for (agent, _) in &refused {
            let repairs = plan_parts::repairs_of(&plan, &agent.agent);
            reply.planned += repairs;
            reply.refused += repairs;
        }
        let missing = silent.into_iter().chain(refused.into_iter().map(|(agent, _)| agent));
        missing.chain(unlisted).for_each(|agent| name_once(&mut reply.silent, agent));
        Ok(reply)
    }

    /// Carries out this agent's share of a plan, as far as it is named. Refused as a failed precondition, if nothing
    /// may be written now; where some of it was done before, the rest is counted, and this agent named with why.
    async fn carry_out_own(&self, run: RunId, parts: &[v1::PlanPart]) -> Result<v1::ApproveReply, Status> {
        self.forget_superseded(parts.to_vec()).await?;
        let mut reply = v1::ApproveReply::default();
        let mut carried_any = false;
        for row in self.own_plans(run).await?.iter().filter(|row| plan_parts::is_named(parts, row)) {
            match self.parts.owner.carry_out(&row.plan.id).await {
                Ok(CarriedOut { planned, repaired, returned, settled, refused }) => {
                    carried_any = true;
                    let silent = Vec::new();
                    let done = v1::ApproveReply { planned, repaired, returned, settled, refused, silent };
                    add(&mut reply, &done);
                }
                Err(error) => {
                    let status = Status::failed_precondition(error.to_string());
                    name_once(&mut reply.silent, self.missing(&status));
                    reply.planned += row.counts.pending;
                    reply.refused += row.counts.pending;
                }
            }
        }
        match reply.silent.first() {
            Some(own) if !carried_any => Err(Status::failed_precondition(&own.why)),
            _ => Ok(reply),
        }
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

    /// Forgets own plans whose place those that are decided about took: or they would stand there again afterwards.
    pub(super) async fn forget_superseded(&self, parts: Vec<v1::PlanPart>) -> Result<(), Status> {
        self.journal(move |journal| {
            let rows = journal.plans()?;
            let mut superseded = rows.iter().filter(|row| plan_parts::is_superseded(&parts, row));
            superseded.try_for_each(|row| journal.remove_plan(&row.plan.id).map(|_| ()))
        })
        .await
    }

    pub(super) async fn own_plans(&self, run: RunId) -> Result<Vec<PlanRow>, Status> {
        let now = self.parts.clock.now();
        let rows = self.journal(move |journal| journal.plans_of_run(run)).await?;
        Ok(rows.into_iter().filter(|row| row.plan.expires > now).collect())
    }
}

fn add(reply: &mut v1::ApproveReply, share: &v1::ApproveReply) {
    reply.planned += share.planned;
    reply.repaired += share.repaired;
    reply.returned += share.returned;
    reply.settled += share.settled;
    reply.refused += share.refused;
}

/// Whether a person may still say yes or no to something of a plan.
pub(super) fn waits(row: &PlanRow, now: WallMicros) -> bool {
    row.counts.pending > 0 && row.plan.expires > now
}

/// What of an agent's plans waits for a person, shard by shard. Blocking.
pub(super) fn own_plans(
    journal: &Journal,
    rows: &[PlanRow],
    now: WallMicros,
) -> Result<Vec<v1::Plan>, JournalError> {
    let waiting = rows.iter().filter(|row| waits(row, now));
    waiting.map(|row| Ok(plan_parts::alone(row, journal.plan_loads(&row.plan.id)?))).collect()
}
