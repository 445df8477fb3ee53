//! What of some runs waits for approval: their plans know, and lie with the owners that made them.

use std::collections::HashMap;

use selfsame_wire::v1;

use crate::client::ask;
use crate::config::FleetConfig;
use crate::output::{Load, Summary, talk};

/// Tells each summary how many of its repairs wait, and what they would do. Nobody is asked if none can; if nobody answers, what was found is
/// no less true, and only that is unknown.
pub(crate) async fn count(config: &FleetConfig, summaries: &mut [Summary]) {
    if !summaries.iter().any(Summary::may_wait) {
        return;
    }
    let request = &v1::PlansRequest::default();
    let reply: anyhow::Result<v1::PlansReply> =
        ask(config, |mut client| async move { client.plans(request.clone()).await }).await;
    let mut loads: HashMap<String, Load> = match reply {
        Ok(reply) => reply.plans.iter().map(|plan| (plan.run.clone(), Load::told(plan))).collect(),
        Err(error) => {
            talk(&format!("how many repairs wait for approval is unknown: {error:#}"));
            summaries.iter_mut().for_each(|summary| summary.planned_repairs = None);
            return;
        }
    };
    for summary in summaries {
        summary.plan = loads.remove(&summary.run);
        summary.planned_repairs = Some(summary.plan.as_ref().map_or(0, |load| load.repairs));
    }
}
