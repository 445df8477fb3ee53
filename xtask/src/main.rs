//! The tasks of this repository that are more than one command: `cargo xtask TASK`.
//!
//! What a task finds out goes to stdout, what it says on the way to stderr. A task exits with 0 if all is
//! well, 1 if it found something or could not finish, and 2 if its arguments make no sense.

mod cargo;
#[cfg(test)]
mod dependencies;
mod plant;
mod plants;
mod tally;
mod test;
mod tree;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The tasks of this repository")]
enum Task {
    /// Run all tests of the workspace.
    Test(test::Arguments),
    /// Plant known faults in a copy of the tree, one at a time, and see the named test turn red.
    Plant(plant::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Test(arguments) => test::run(&arguments),
        Task::Plant(arguments) => plant::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
