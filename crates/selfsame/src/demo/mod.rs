//! `selfsame demo`: the main promise, shown on real documents and proved against a ledger that is not ours.
//!
//! A client writes to three SQLite files without pause; damage is done to single documents; three agents, processes
//! of their own, find and repair it. The demo never trusts the agents: what was injected is known to the writer
//! alone, what was repaired is read from the journal, and what the files should hold stands in the writer's ledger.
//! It succeeds only if the three agree.
//!
//! | file | what |
//! | --- | --- |
//! | `story` | the demo, top to bottom |
//! | `documents`, `file`, `ledger`, `writer`, `injections`, `traffic` | the application, its truth, and the damage |
//! | `agents`, `command_line`, `fleet` | the agents as processes, and what is asked of them |
//! | `acts` | what a person does after that: undoes a run, restores a file |
//! | `tail`, `judge`, `compare`, `snapshot`, `result` | the proof |
//! | `talk` | what a person reads |

mod acts;
mod agents;
mod cancel;
mod command_line;
mod compare;
mod documents;
mod file;
mod fleet;
mod injections;
mod judge;
mod kinds;
mod ledger;
mod result;
mod snapshot;
mod story;
mod tail;
mod talk;
#[cfg(test)]
mod tests;
mod traffic;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use parking_lot::Mutex;

use crate::command::usage;
use crate::output::{Output, print_json, talk as say};
use agents::{Agents, SETTLE};
use cancel::{Cancel, Interrupted};
use command_line::CommandLine;
use documents::Documents;
use fleet::{ApproveOutcome, Fleet, HeldReplica, PassOutcome, ResyncOutcome, UndoOutcome};
use kinds::NodeIndex;
use result::DemoResult;
use story::Stage;
use tail::Tails;
use talk::Talk;
use traffic::Threads;
use writer::{Clock, Writer, WriterOptions};

/// Something is not as it should be.
const FAILED: u8 = 1;

/// Ended by a signal, as shells say it.
const INTERRUPTED: u8 = 130;

/// Damages replicas on purpose and shows how they are found and repaired
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// The store beside each agent
    #[arg(long, value_enum, default_value_t)]
    store: DemoStore,
    /// Your own documents: a file with one JSON object a line, each with an `id`
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    /// Work in this directory, new or empty, and leave everything there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Replays the choice of what is damaged
    #[arg(long)]
    seed: Option<u64>,
    /// The form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Stores that the demo can be played on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum DemoStore {
    /// Three files
    #[default]
    Sqlite,
}

/// Plays the demo. 0: all is as it should be; 1: it is not, and it says what; 64: bad documents or directory, and
/// nothing was started; 130: interrupted.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let DemoStore::Sqlite = args.store;
    let prepared =
        documents_of(args).and_then(|documents| Ok((documents, Folder::make(args.keep.as_deref())?)));
    let (documents, mut folder) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => {
            say(&format!("selfsame: {refusal:#}"));
            return Ok(usage());
        }
    };
    let cancel = Cancel::default();
    let _signals = cancel.on_signals()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let mut talk = Talk::stderr();
    let result = play(documents, folder.path(), seed, &cancel, &mut talk, began);
    let passed = result.as_ref().is_ok_and(|result| result.passed);
    let interrupted = result.as_ref().is_err_and(|error| error.is::<Interrupted>());
    if !passed && !interrupted {
        folder.keep();
    }
    if let Folder::Kept(path) = &folder {
        talk.kept(path);
    }
    let result = match result {
        Err(_) if interrupted => return Ok(ExitCode::from(INTERRUPTED)),
        result => result?,
    };
    match args.output {
        Output::Json => print_json(&result)?,
        Output::Text => talk::print_result(&result)?,
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Starts everything, plays the story and stops everything, also after an error.
fn play(
    documents: Documents,
    folder: &Path,
    seed: u64,
    cancel: &Cancel,
    talk: &mut Talk,
    began: Instant,
) -> Result<DemoResult> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    talk.header(&documents, seed, SETTLE);
    talk.begin("Three files");
    let settle = i64::try_from(SETTLE.as_micros()).unwrap_or(i64::MAX);
    let options = WriterOptions { documents: Arc::new(documents), seed, clock: wall_clock(), settle };
    let writer = Arc::new(Mutex::new(Writer::create(folder, options)?));
    talk.end("loaded, all the same");
    cancel.check()?;
    talk.begin("Three agents");
    let mut agents = Agents::start(program.clone(), folder)?;
    agents.ready(cancel)?;
    talk.agents(&agents.ids());
    let tails = Arc::new(Mutex::new(Tails::open(folder)?));
    let mut traffic = Threads::new(writer.clone(), tails.clone(), cancel.clone());
    let command_line = CommandLine { program, folder: folder.to_owned(), cancel: cancel.clone() };
    let mut fleet = Processes { command_line, agents };
    let stage = Stage {
        folder: folder.to_owned(),
        seed,
        writer,
        tails,
        traffic: &mut traffic,
        fleet: &mut fleet,
        talk,
        began,
    };
    stage.play()
}

/// The agents, and the command line that asks them.
struct Processes {
    command_line: CommandLine,
    agents: Agents,
}

impl Fleet for Processes {
    fn pass(&mut self, tick: &mut dyn FnMut()) -> Result<PassOutcome> {
        self.command_line.pass(tick)
    }

    fn undo(&mut self, run: &str) -> Result<UndoOutcome> {
        self.command_line.undo(run)
    }

    fn approve(&mut self, run: &str, deletes: u64) -> Result<ApproveOutcome> {
        self.command_line.approve(run, deletes)
    }

    fn stop(&mut self, node: NodeIndex) -> Result<()> {
        self.agents.stop(node, &self.command_line.cancel)
    }

    fn start(&mut self, node: NodeIndex) -> Result<()> {
        self.agents.start_again(node, &self.command_line.cancel)
    }

    fn held(&mut self) -> Result<Vec<HeldReplica>> {
        self.command_line.held()
    }

    fn resync(&mut self, node: NodeIndex) -> Result<ResyncOutcome> {
        self.command_line.resync(node)
    }

    fn ended(&mut self) -> Result<Option<String>> {
        self.agents.first_ended()
    }
}

fn documents_of(args: &DemoArgs) -> Result<Documents> {
    match &args.documents {
        Some(path) => Documents::of_file(path),
        None => Documents::bundled(),
    }
}

fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

/// Where the demo works.
enum Folder {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    /// Left for a person.
    Kept(PathBuf),
}

impl Folder {
    fn make(keep: Option<&Path>) -> Result<Folder> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("selfsame-demo-").tempdir();
            return Ok(Folder::Temporary(folder.context("no temporary directory")?));
        };
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("cannot make `{shown}`"))?;
        let path = path.canonicalize().with_context(|| format!("cannot find `{shown}`"))?;
        if fs::read_dir(&path).with_context(|| format!("cannot read `{shown}`"))?.next().is_some() {
            bail!("`{shown}` is not empty; hint: give --keep a new directory");
        }
        Ok(Folder::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(path) => path,
        }
    }

    /// Leaves it for a person after all.
    fn keep(&mut self) {
        if let Folder::Temporary(folder) = self {
            folder.disable_cleanup(true);
            *self = Folder::Kept(folder.path().to_owned());
        }
    }
}
