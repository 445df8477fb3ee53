//! Dropping a plan: the agents of its replicas are told what is not to be made, and then the plan is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use selfsame_core::{AgentName, Key, NodeName};
use selfsame_journal::{PlanItemState, PlanRow};
use selfsame_wire::message::{Pin, PinRequest};
use selfsame_wire::v1;
use tonic::Status;

use super::siblings::name_once;
use super::{OperatorService, plan_parts};
use crate::peer::PeerError;

/// Items of a plan that are read, and told, at a time.
const ITEMS_AT_ONCE: usize = 1_000;

/// How long an owner may take for its share of a plan: it tells others, which finish what they write.
const DROPPED_WITHIN: Duration = Duration::from_secs(600);

impl OperatorService {
    pub(super) async fn drop_plan(
        &self,
        request: v1::DropRequest,
        forwarded: bool,
    ) -> Result<v1::DropReply, Status> {
        let run = self.run_id(&request.run).await?;
        let (parts, unlisted) = match forwarded {
            true => (request.parts, Vec::new()),
            false => {
                let (plan, unlisted) = self.plan_that_holds(run).await?;
                (plan.iter().flat_map(plan_parts::named).collect(), unlisted)
            }
        };
        self.forget_superseded(parts.clone()).await?;
        let mut reply = v1::DropReply::default();
        for row in self.own_plans(run).await?.iter().filter(|row| plan_parts::is_named(&parts, row)) {
            match self.pin_plan(row).await? {
                // The plan stays, so that it can be dropped again when they are back: what is not pinned would only be
                // planned again, or repaired.
                unheard if !unheard.is_empty() => {
                    unheard.into_iter().for_each(|agent| name_once(&mut reply.silent, agent));
                }
                _ => {
                    let id = row.plan.id.clone();
                    self.journal(move |journal| journal.remove_plan(&id)).await?;
                    reply.dropped += row.counts.pending;
                }
            }
        }
        if !forwarded {
            let request = v1::DropRequest { run: run.to_string(), parts };
            let asked =
                self.ask_siblings_within(&request, DROPPED_WITHIN, |mut client, request| async move {
                    client.drop(request).await
                });
            let (answers, silent) = asked.await;
            for answer in answers {
                let answer: v1::DropReply = answer;
                reply.dropped += answer.dropped;
                answer.silent.into_iter().for_each(|agent| name_once(&mut reply.silent, agent));
            }
            silent.into_iter().chain(unlisted).for_each(|agent| name_once(&mut reply.silent, agent));
        }
        Ok(reply)
    }

    /// Tells the agents of the replicas what of a plan is not to be made; gives those that did not hear of it.
    async fn pin_plan(&self, row: &PlanRow) -> Result<Vec<v1::SilentAgent>, Status> {
        let mut unheard: BTreeMap<AgentName, String> = BTreeMap::new();
        let mut after = None;
        loop {
            let id = row.plan.id.clone();
            let page = self
                .journal(move |journal| {
                    journal.plan_items(&id, Some(PlanItemState::Pending), ITEMS_AT_ONCE, after)
                })
                .await?;
            let mut by_node: BTreeMap<NodeName, Vec<(Key, Pin)>> = BTreeMap::new();
            for item in page.rows.into_iter().map(|row| row.item) {
                let pin = Pin { before: item.before, after: item.after };
                by_node.entry(item.node).or_default().push((item.key, pin));
            }
            for (node, pins) in by_node {
                let request = PinRequest { collection: row.plan.id.collection.clone(), node, pins };
                if let Err((agent, error)) = self.tell_pins(request).await {
                    unheard.insert(agent, error.to_string());
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let silent = |(agent, why): (AgentName, String)| v1::SilentAgent {
            address: self.parts.fleet.agent(&agent).map(|agent| agent.grpc.clone()).unwrap_or_default(),
            agent: agent.to_string(),
            why,
        };
        Ok(unheard.into_iter().map(silent).collect())
    }

    async fn tell_pins(&self, request: PinRequest) -> Result<(), (AgentName, PeerError)> {
        // A node that is in no fleet any more has nobody to repair it.
        let Some(agent) = self.parts.fleet.agent_of(&request.node) else { return Ok(()) };
        let Some(peer) = self.parts.peers.get(&agent.name) else { return Ok(()) };
        peer.pin(request).await.map_err(|error| (agent.name.clone(), error))
    }
}
