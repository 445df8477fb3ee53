//! `selfsame agent`: one process of the fleet, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use selfsame_agent::assembly::Attached;
use selfsame_agent::clock::SystemClock;
use selfsame_agent::metrics::StoreCounters;
use selfsame_agent::runtime::{Runtime, RuntimeParts};
use selfsame_agent::supervisor::Supervisor;
use selfsame_core::AgentName;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{Usage, load};
use crate::config::FleetConfig;
use crate::output::talk;
use crate::stores::{self, Opened, Use};

/// `selfsame agent …`
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The fleet file
    #[arg(long, env = "SELFSAME_CONFIG", default_value = "fleet.yaml")]
    config: PathBuf,
    /// Which of the fleet's agents this is
    #[arg(long, env = "SELFSAME_NAME")]
    name: AgentName,
}

/// Runs the command.
pub(crate) async fn run(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = load(&args.config)? else { return Ok(super::usage()) };
    let (stores, store_counters) = attached(&config, &args.name).await?;
    let parts = RuntimeParts {
        stores,
        store_counters,
        fleet: Arc::new(config.fleet),
        name: args.name.clone(),
        clock: Arc::new(SystemClock),
        randomness: Uuid::new_v4().as_u64_pair().0,
    };
    let runtime = Runtime::start(parts).await.map_err(|error| match error.remedy() {
        Some(remedy) => anyhow::Error::new(Usage(remedy)),
        None => error.into(),
    })?;
    let http = runtime.http_address();
    talk(&format!(
        "agent {} listens on {}, metrics and health on http://{http}",
        args.name,
        runtime.address()
    ));
    drain_on_signal(runtime.supervisor())?;
    runtime.serve().await?;
    Ok(ExitCode::SUCCESS)
}

/// The stores of the agent's nodes, for every collection that has a replica there. Each is asked once, so that
/// what it needs is set up and what is wrong with it is said at start; the agent runs all the same.
async fn attached(
    config: &FleetConfig,
    name: &AgentName,
) -> anyhow::Result<(Vec<Attached>, Vec<StoreCounters>)> {
    let nodes = config.fleet.agent(name).map(|agent| agent.nodes.as_slice()).unwrap_or_default();
    let (mut attached, mut counted) = (Vec::new(), Vec::new());
    for collection in &config.fleet.collections {
        for replica in collection.replicas.iter().filter(|replica| nodes.contains(&replica.node)) {
            let Opened { store, counters } = stores::open(config, collection, replica, Use::Repair)?;
            if let Err(error) = store.identity().await {
                let (collection, node) = (&collection.name, &replica.node);
                talk(&format!("{collection} on {node}: {error}\nthe agent goes on and tries again"));
            }
            let (collection, node) = (collection.name.clone(), replica.node.clone());
            counted.push(StoreCounters { collection: collection.clone(), node: node.clone(), counters });
            attached.push(Attached { collection, node, store });
        }
    }
    Ok((attached, counted))
}

/// The first signal drains; the second ends the process at once.
fn drain_on_signal(tasks: Supervisor) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                talk("draining; another signal ends at once");
                tasks.draining().cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
