//! One agent as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::cli::binary;
use crate::wait;

/// Lines of a log that are shown after a failure.
const LOG_LINES: usize = 40;

/// What can be sent to an agent, `SIGKILL` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
    /// Drain.
    Terminate,
}

/// An agent: its log, and its process if it runs.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    log: PathBuf,
    child: Option<Child>,
    /// Where the log of the running process begins.
    log_begins: u64,
}

impl Agent {
    pub(crate) fn new(folder: &Path, name: &str) -> Agent {
        let log = folder.join(format!("agent-{name}.log"));
        Agent { name: name.to_owned(), log, child: None, log_begins: 0 }
    }

    /// Starts the process. Its output is added to its log.
    #[track_caller]
    pub(crate) fn spawn(&mut self, config: &Path, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "agent {} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log can be written");
        self.log_begins = log.metadata().map_or(0, |metadata| metadata.len());
        let child = Command::new(binary())
            .args(["agent", "--name", &self.name, "--config"])
            .arg(config)
            .env("SELFSAME_LOG", "info,fjall=warn,lsm_tree=warn")
            .env("NO_COLOR", "1")
            .env_remove("FAILPOINTS")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle can be copied"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("cannot start agent {}: {error}", self.name)));
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("a child can be asked")?;
        self.child = None;
        Some(status)
    }

    /// `SIGKILL`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Errors mean that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("agent {} does not run", self.name));
        let name = match signal {
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
            Signal::Terminate => "-TERM",
        };
        // Every shell has `kill`; not every system has it as a program.
        let status =
            Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", name, &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "no {name} to agent {}", self.name);
    }

    #[track_caller]
    pub(crate) fn wait_ended(&mut self, within: Duration) -> ExitStatus {
        let what = format!("agent {} ends", self.name);
        wait::until(within, &what, || self.ended())
    }

    /// What the process that runs, or ran last, has said.
    pub(crate) fn said(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let from = usize::try_from(self.log_begins).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        lines[from..].iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}
