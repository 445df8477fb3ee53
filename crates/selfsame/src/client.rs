//! Asking a fleet: the configured agents are dialled in order, and the first that answers asks the rest.

use std::future::Future;
use std::time::Duration;

use selfsame_agent::operator::reason;
use selfsame_wire::channel::{self, ChannelOptions};
use selfsame_wire::v1;
use selfsame_wire::v1::operator_client::OperatorClient;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::command::Usage;
use crate::config::FleetConfig;
use crate::output::talk;

/// How long dialling one agent may take.
const DIAL_WITHIN: Duration = Duration::from_secs(2);

/// No agent answered: nothing is known.
#[derive(Debug, thiserror::Error)]
#[error("no agent answered\n{0}\nhint: start one: selfsame agent --config FILE --name NAME")]
pub(crate) struct NobodyAnswered(String);

/// The agent that answered cannot know it, or do it, now: others are away or at work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CannotKnow(String);

/// Asks the first agent that answers. What it refuses is the caller's mistake; what it cannot is an error.
pub(crate) async fn ask<A, F>(
    config: &FleetConfig,
    ask: impl Fn(OperatorClient<Channel>) -> F,
) -> anyhow::Result<A>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let options = ChannelOptions {
        insecure: config.fleet.insecure,
        connect_timeout: DIAL_WITHIN,
        ..ChannelOptions::default()
    };
    let mut unanswered = Vec::new();
    for agent in &config.fleet.agents {
        let channel = channel::connect(&agent.grpc, &options).map_err(|error| Usage(error.to_string()))?;
        match ask(channel::operator_client(channel)).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => match status.code() {
                // A connection that breaks in the middle of a call is of no other kind than one that cannot be made.
                Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented | Code::Unknown => {
                    unanswered.push(format!("  {} at {}: {}", agent.name, agent.grpc, reason(&status)));
                }
                Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition => {
                    anyhow::bail!(Usage(status.message().to_owned()))
                }
                Code::Aborted => anyhow::bail!(CannotKnow(status.message().to_owned())),
                _ => anyhow::bail!("agent {} at {}: {}", agent.name, agent.grpc, status.message()),
            },
        }
    }
    anyhow::bail!(NobodyAnswered(unanswered.join("\n")))
}

/// The names of agents whose part is missing, as tools read them.
pub(crate) fn names(silent: &[v1::SilentAgent]) -> Vec<String> {
    silent.iter().map(|agent| agent.agent.clone()).collect()
}

/// Names the agents whose part is missing in an answer: those that did not answer the one that did, or would not.
pub(crate) fn tell_silent(silent: &[v1::SilentAgent]) {
    for agent in silent {
        talk(&format!("agent {} at {} is missing here: {}", agent.agent, agent.address, agent.why));
    }
}
