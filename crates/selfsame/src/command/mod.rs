//! The commands, one file each. stdout is data, stderr is talk.

pub(crate) mod agent;
pub(crate) mod completions;
pub(crate) mod config;
mod confirm;
pub(crate) mod consent;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod forget;
pub(crate) mod notice;
pub(crate) mod pause;
pub(crate) mod plans;
pub(crate) mod resync;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod undo;
mod waiting;

use std::path::Path;
use std::process::ExitCode;

use selfsame_agent::settings::CollectionSettings;
use selfsame_core::CollectionName;

use crate::config::FleetConfig;
use crate::output::talk;

/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 64;

/// Something that should not happen.
pub(crate) const INTERNAL: u8 = 70;

/// Whoever read the output has left, as shells say it: 128 and the number of SIGPIPE. Not 0, for that says that
/// all is in sync.
pub(crate) const NOBODY_READS: u8 = 141;

/// The exit code for [`USAGE`].
pub(crate) fn usage() -> ExitCode {
    ExitCode::from(USAGE)
}

/// A mistake of the caller's, for exit code [`USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Reads the fleet file; problems and warnings go to stderr. `None` if there are problems.
pub(crate) fn load(file: &Path) -> anyhow::Result<Option<FleetConfig>> {
    match crate::config::load(file) {
        Ok(config) => {
            config::warn(&file.display().to_string(), &config)?;
            Ok(Some(config))
        }
        Err(problems) => {
            talk(&problems.to_string());
            Ok(None)
        }
    }
}

/// The collection of that name, or all.
pub(crate) fn chosen<'a>(
    config: &'a FleetConfig,
    name: Option<&CollectionName>,
) -> Result<Vec<&'a CollectionSettings>, Usage> {
    let collections = &config.fleet.collections;
    let Some(name) = name else { return Ok(collections.iter().collect()) };
    let found: Vec<_> = collections.iter().filter(|collection| collection.name == *name).collect();
    if found.is_empty() {
        let names: Vec<&str> = collections.iter().map(|collection| collection.name.as_str()).collect();
        return Err(Usage(format!("no collection `{name}`; hint: there is {}", names.join(", "))));
    }
    Ok(found)
}

/// The exit code of two results together: 1 (something is known to differ) before 2 (something is unknown)
/// before 0.
pub(crate) fn worse(left: u8, right: u8) -> u8 {
    match (left, right) {
        (1, _) | (_, 1) => 1,
        (left, right) => left.max(right),
    }
}
