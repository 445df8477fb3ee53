//! What of some runs waits for approval: their plans know, and lie with the owners that made them.

use std::collections::HashMap;

use selfsame_wire::v1;

use crate::client::ask;
use crate::config::FleetConfig;
use crate::output::{Summary, talk};

/// Tells each summary how many of its repairs wait. Nobody is asked if none can; if nobody answers, what was found is
/// no less true, and only that is unknown.
pub(crate) async fn count(config: &FleetConfig, summaries: &mut [Summary]) {
    if !summaries.iter().any(Summary::may_wait) {
        return;
    }
    let request = &v1::PlansRequest::default();
    let reply: anyhow::Result<v1::PlansReply> =
        ask(config, |mut client| async move { client.plans(request.clone()).await }).await;
    let repairs: HashMap<String, u64> = match reply {
        Ok(reply) => reply.plans.into_iter().map(|plan| (plan.run, plan.keys)).collect(),
        Err(error) => {
            talk(&format!("how many repairs wait for approval is unknown: {error:#}"));
            summaries.iter_mut().for_each(|summary| summary.planned_repairs = None);
            return;
        }
    };
    for summary in summaries {
        summary.planned_repairs = Some(repairs.get(&summary.run).copied().unwrap_or(0));
    }
}
