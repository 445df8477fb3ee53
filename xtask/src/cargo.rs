//! Calls of cargo, and what it tells about this workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A call of the cargo that runs this task, in `folder`. It reads no input.
pub(crate) fn cargo(folder: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// What `cargo metadata` says of the workspace around `folder`, without dependencies and without the network.
pub(crate) fn metadata(folder: &Path) -> Result<Value> {
    let output = cargo(folder)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("cargo metadata does not start")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no json")
}

/// Where the workspace lies, and where it builds.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// The target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace around the current folder.
    pub(crate) fn here() -> Result<Workspace> {
        let metadata = metadata(Path::new("."))?;
        let folder = |name: &str| {
            let text = metadata[name].as_str().with_context(|| format!("cargo metadata has no {name}"))?;
            anyhow::Ok(PathBuf::from(text))
        };
        Ok(Workspace { root: folder("workspace_root")?, target: folder("target_directory")? })
    }
}
