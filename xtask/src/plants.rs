//! The plants: faults that a named test must catch.
//!
//! To add one, append it to [`PLANTS`] and run `cargo xtask plant NAME`. Plant the mistake that someone would
//! really make, name a test that catches it without luck (rather an example than a random case), and keep
//! `find` as short as it can be while it occurs just once.

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
    /// What selects the test target on cargo's command line: `["--lib"]`, or `["--test", "FILE"]`.
    pub(crate) target: &'static [&'static str],
    /// The whole name, as the test runner prints it.
    pub(crate) name: &'static str,
}

/// A unit test of the core.
const fn core(name: &'static str) -> Test {
    Test { package: "selfsame-core", target: &["--lib"], name }
}

/// Every plant, in the order in which they are tried.
pub(crate) const PLANTS: &[Plant] = &[
    Plant {
        name: "compare-without-count",
        breaks: "entries that cancel in a sum are taken for an empty set",
        file: "crates/selfsame-core/src/merkle/node.rs",
        find: "\
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {",
        replace: "\
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.sum == other.sum
    }
}

#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Node {",
        test: core("merkle::node::tests::an_entry_added_twice_does_not_cancel"),
    },
    Plant {
        name: "number-through-f64",
        breaks: "documents that differ beyond the 53rd bit of a number are called the same",
        file: "crates/selfsame-core/src/json.rs",
        find: "Decimal::parse(&self.text[start..self.at]).map(Value::Number)",
        replace: "\
Decimal::parse(&self.text[start..self.at])
            .map(|exact| exact.to_string().parse().ok().and_then(Decimal::from_f64).unwrap_or(exact))
            .map(Value::Number)",
        test: core("canonical::tests::different_values_differ"),
    },
    Plant {
        name: "unreachable-as-absent",
        breaks: "a replica that did not answer is written to as if it had lost the document",
        file: "crates/selfsame-core/src/resolve.rs",
        find: "Presence::Unreadable | Presence::Unreachable => {}",
        replace: "\
Presence::Unreadable => {}
                Presence::Unreachable => heard.absent.push(ReplicaIndex(index)),",
        test: core("resolve::tests::rule_1_the_highest_version_wins_even_alone"),
    },
];
