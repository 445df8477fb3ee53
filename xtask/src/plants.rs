//! The plants: faults that a named test must catch.
//!
//! To add one, append it to the list of its area and run `cargo xtask plant NAME`. Plant the mistake that someone would
//! really make, name a test that catches it without luck (rather an example than a random case), and keep
//! `find` as short as it can be while it occurs just once.

mod decisions;
mod kept;
mod owners;
mod stores;
mod targets;

use std::sync::LazyLock;

/// Every plant, in the order in which they are tried.
pub(crate) static PLANTS: LazyLock<Vec<Plant>> = LazyLock::new(|| {
    [decisions::PLANTS, stores::PLANTS, kept::PLANTS, owners::PLANTS, targets::PLANTS].concat()
});

/// One fault: a text, what it is replaced by, and the test that must then fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plant {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// What goes wrong for a user of the software, in a few words.
    pub(crate) breaks: &'static str,
    /// The file, relative to the root of the workspace.
    pub(crate) file: &'static str,
    /// The text to replace. It occurs exactly once in the file.
    pub(crate) find: &'static str,
    /// What stands there instead. It compiles.
    pub(crate) replace: &'static str,
    /// The test that must turn red.
    pub(crate) test: Test,
}

/// A test, named as cargo wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// The package that has the test, which need not be the one that has the fault.
    pub(crate) package: &'static str,
    /// What selects the test target on cargo's command line: `["--lib"]`, or `["--test", "FILE"]`; the features that
    /// it needs stand before.
    pub(crate) target: &'static [&'static str],
    /// The whole name, as the test runner prints it.
    pub(crate) name: &'static str,
}

/// A unit test of the core.
const fn core(name: &'static str) -> Test {
    Test { package: "selfsame-core", target: &["--lib"], name }
}

/// A test of the SQLite store, on real files.
const fn sqlite(name: &'static str) -> Test {
    Test { package: "selfsame-store-sqlite", target: &["--test", "suite"], name }
}

/// A test of whole exchanges over three agents in one process.
const fn exchange(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "exchange"], name }
}

/// A test of what an agent refuses.
const fn fences(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "fences"], name }
}

/// A test of replicas that are held.
const fn holds(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "holds"], name }
}

/// A test of what a target's agent does not let through.
const fn brakes(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "brakes"], name }
}

/// A test of what is forgotten, and when.
const fn purge(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "purge"], name }
}

/// A test of replicas that were away.
const fn away(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "away"], name }
}

/// A test of what applications tell of their deletions.
const fn notices(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "notices"], name }
}

/// A test of the sweeper.
const fn sweep(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "sweep"], name }
}

/// A test of claims between agents that come and go.
const fn claims(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "claims"], name }
}

/// A test of undo over three agents in one process.
const fn undo(name: &'static str) -> Test {
    Test { package: "selfsame-agent", target: &["--test", "undo"], name }
}
