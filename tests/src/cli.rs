//! The binary, and what its commands answer.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// The binary under test. Panics with what to do if it is not there.
#[track_caller]
pub fn binary() -> PathBuf {
    let found = match env::var_os("SELFSAME_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = env::current_exe().expect("a test knows where it is");
            // target/debug/deps/crash-0123 → target/debug/selfsame
            let profile = test.ancestors().nth(2).unwrap_or(Path::new(".")).to_owned();
            profile.join(format!("selfsame{}", env::consts::EXE_SUFFIX))
        }
    };
    assert!(
        found.is_file(),
        "no binary at {}; make it: cargo build -p selfsame --features failpoints",
        found.display()
    );
    found
}

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Answer {
    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: thread::JoinHandle<String>,
    stderr: thread::JoinHandle<String>,
    what: String,
}

impl Running {
    /// Starts the binary with these arguments, in this folder.
    #[track_caller]
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Running {
        let mut child = Command::new(binary())
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the binary: {error}"));
        let stdout = drain(child.stdout.take().expect("it was piped"));
        let stderr = drain(child.stderr.take().expect("it was piped"));
        Running { child, stdout, stderr, what: arguments.join(" ") }
    }

    /// Waits for its answer.
    #[track_caller]
    pub fn answer(mut self, within: Duration) -> Answer {
        let what = format!("`selfsame {}` ends", self.what);
        let child = &mut self.child;
        let began = std::time::Instant::now();
        let status = wait::until(within + Duration::from_secs(1), &what, || {
            if began.elapsed() > within {
                // Its answer so far says more than that there was none.
                let _ = child.kill();
            }
            child.try_wait().expect("a child can be asked")
        });
        let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let answer = Answer { code: status.code(), stdout: text(self.stdout), stderr: text(self.stderr) };
        assert!(began.elapsed() <= within, "not within {within:?}: {what}; so far: {answer:?}");
        answer
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is shown; a broken pipe only cuts it.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
