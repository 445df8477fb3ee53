//! `selfsame completions`: what a shell needs to complete commands and their arguments.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output::print_line;

/// `selfsame completions …`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell; its manual says where the output belongs
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions of a command line.
pub(crate) fn run<C: CommandFactory>(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "selfsame", &mut script);
    let script = String::from_utf8(script).context("completions are text")?;
    print_line(script.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
