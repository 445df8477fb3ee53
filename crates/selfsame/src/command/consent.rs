//! A yes to a plan: its deletes are named by whoever approves it, on a terminal or beforehand.

use std::io::IsTerminal;

use clap::Args;

use super::Usage;
use super::confirm::confirmed;
use crate::output::{Load, talk};

/// What was said beforehand.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ConsentArgs {
    /// Ask nothing, whatever the plan deletes
    #[arg(long, conflicts_with = "deletes")]
    yes: bool,
    /// Ask nothing if the plan has this number of deletes; refuse it otherwise
    #[arg(long, value_name = "N")]
    deletes: Option<u64>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Consent {
    Given,
    /// Ask for this answer.
    Ask(String),
    /// Not like this, and why.
    Refused(String),
}

/// Makes sure that whoever approves a plan knows its deletes; asks on a terminal. `false`: they said no. An error if
/// nobody can be asked, or what was said beforehand is of another plan.
pub(crate) fn obtain(given: ConsentArgs, run: &str, load: &Load) -> anyhow::Result<bool> {
    let is_terminal = std::io::stdin().is_terminal();
    match consent(given, load.deletes, is_terminal) {
        Consent::Given => Ok(true),
        Consent::Refused(why) => Err(Usage(why).into()),
        Consent::Ask(answer) => {
            talk(&format!("run {run}: {}", load.lines().join("\n")));
            confirmed(&format!("Type {answer} to go on:"), &answer)
        }
    }
}

fn consent(given: ConsentArgs, deletes: u64, is_terminal: bool) -> Consent {
    match given.deletes {
        _ if given.yes => Consent::Given,
        Some(known) if known == deletes => Consent::Given,
        Some(known) => Consent::Refused(format!(
            "the plan has {deletes} deletes, not {known}; nothing was approved; hint: selfsame show RUN says what it \
             would do"
        )),
        None if is_terminal && deletes > 0 => Consent::Ask(deletes.to_string()),
        None if is_terminal => Consent::Ask("yes".to_owned()),
        None if deletes > 0 => Consent::Refused(format!(
            "the plan has {deletes} deletes, and there is no terminal to ask on; nothing was approved; hint: \
             --deletes {deletes}, or --yes"
        )),
        None => Consent::Given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: ConsentArgs = ConsentArgs { yes: false, deletes: None };
    const YES: ConsentArgs = ConsentArgs { yes: true, deletes: None };

    fn deletes(count: u64) -> ConsentArgs {
        ConsentArgs { yes: false, deletes: Some(count) }
    }

    #[test]
    fn deletes_are_named_before_they_are_made() {
        for is_terminal in [true, false] {
            assert_eq!(consent(YES, 3, is_terminal), Consent::Given);
            assert_eq!(consent(deletes(3), 3, is_terminal), Consent::Given);
            assert_eq!(consent(deletes(0), 0, is_terminal), Consent::Given);
            for wrong in [2, 4] {
                let Consent::Refused(why) = consent(deletes(wrong), 3, is_terminal) else {
                    panic!("{wrong}")
                };
                assert!(why.contains("3 deletes") && why.contains("hint: "), "{why}");
            }
        }
        assert_eq!(consent(NOTHING, 3, true), Consent::Ask("3".to_owned()));
        let Consent::Refused(why) = consent(NOTHING, 3, false) else { panic!() };
        assert!(why.contains("--deletes 3"), "{why}");
    }

    #[test]
    fn a_plan_without_deletes_takes_a_yes_on_a_terminal_and_nothing_in_a_script() {
        assert_eq!(consent(NOTHING, 0, true), Consent::Ask("yes".to_owned()));
        assert_eq!(consent(NOTHING, 0, false), Consent::Given);
    }
}
