//! The conformance suite: what every implementation of [`Store`](crate::Store) promises, as rules that run on
//! the real thing.
//!
//! The author of a store writes a [`Harness`] (make an empty replica, open the store on it, write and delete as
//! a client would, past the store) and one test:
//!
//! ```ignore
//! #[tokio::test(flavor = "multi_thread")]
//! async fn conforms() {
//!     conformance::check(&MyHarness::start()).await.assert_passed();
//! }
//! ```
//!
//! The runtime should have more than one thread: `racing_client` then races for real. Rules use no clock, do
//! not sleep, and draw from a fixed seed. What a store cannot do by its own word
//! ([`Capabilities`](crate::Capabilities), [`Supports`]) is reported as skipped, with the reason.
//!
//! | rule | what holds |
//! | --- | --- |
//! | `identity` | every instance on a replica has one identity and one set of capabilities |
//! | `counter` | the counter grows, above what it is told, and is the same to every instance; no stream shows it |
//! | `count` | all rows count, marked and unreadable ones too |
//! | `scan_pages` | pages of any size visit each row exactly once and keep to their limits |
//! | `cursor_resumes` | a cursor means the same to an instance that was opened later, and when used twice |
//! | `cursor_refused` | a cursor that the store did not give is an error, not a scan from somewhere |
//! | `scan_under_writes` | rows that exist throughout a scan are visited once, whatever happens around them |
//! | `shard_scope` | a shard's scan has all rows of the shard, and is less than a whole one if the store says so |
//! | `unreadable_named` | a row without a meaning is named, by scan and read; it is neither skipped nor absent |
//! | `fresh_read` | a read sees every write that was acknowledged before it, on every instance |
//! | `read_order` | one answer for each key, in the order of the keys, for 10 000 keys too |
//! | `keys` | keys of every type are told apart, scanned, read and repaired |
//! | `key_as_string` | keys compared as text are found by their text, and two rows that meet are unreadable |
//! | `entry_fields` | version, expiry and deletion mark are read as configured |
//! | `documents` | JSON of every shape has the content digest of its exact value (`Shape::Document`) |
//! | `columns` | columns of every type have the content digest of their exact value (`Shape::Columns`) |
//! | `conditional_write` | a repair is applied under exactly its condition, and every outcome says what happened |
//! | `every_byte_counts` | a client's change to a field that is no content is a change |
//! | `keeps_own_fields` | a repair leaves the target's own ignored and unmapped fields; an insert takes the winner's |
//! | `misfit_refused` | a winner's row of another key, or one that does not fit, is refused |
//! | `outcomes_in_order` | outcomes stand in the order of the items |
//! | `items_stand_alone` | an item that cannot be applied does not stop the others |
//! | `batch_idempotent` | a batch delivered five times writes once, also after reopening and after a client's write |
//! | `dropped_apply` | an apply that is dropped midway has happened or not, and a redelivery completes it |
//! | `racing_client` | with a client at full speed on the keys under repair, no client write is lost |
//! | `marker_with_write` | a repair's change carries its marker whenever it is seen; nothing else carries one |
//! | `feed_order` | changes come in commit order, once each, from any position |

mod bench;
mod harness;
mod report;
mod rules_content;
mod rules_feed;
mod rules_keys;
mod rules_race;
mod rules_read;
mod rules_scan;
mod rules_write;
mod sample;

use std::future::Future;
use std::pin::Pin;

use bench::{Bench, Stop};

pub use harness::{
    Column, ColumnKind, Forbids, Harness, HarnessResult, KeyKind, RawChange, Replica, Shape, Supports, Table,
};
pub use report::{Finding, Report};

type Run<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

struct Rule {
    name: &'static str,
    shapes: &'static [Shape],
    run: for<'a> fn(&'a Bench<'a>) -> Run<'a>,
}

const BOTH: &[Shape] = &[Shape::Document, Shape::Columns];

macro_rules! rules {
    ($($name:ident: $module:ident in $shapes:expr,)*) => {
        &[$(Rule {
            name: stringify!($name),
            shapes: $shapes,
            run: |bench| Box::pin($module::$name(bench)),
        },)*]
    };
}

const RULES: &[Rule] = rules! {
    identity: rules_read in BOTH,
    counter: rules_read in BOTH,
    count: rules_scan in BOTH,
    scan_pages: rules_scan in BOTH,
    cursor_resumes: rules_scan in BOTH,
    cursor_refused: rules_scan in BOTH,
    scan_under_writes: rules_scan in BOTH,
    shard_scope: rules_scan in BOTH,
    unreadable_named: rules_read in BOTH,
    fresh_read: rules_read in BOTH,
    read_order: rules_read in BOTH,
    keys: rules_keys in BOTH,
    key_as_string: rules_keys in BOTH,
    entry_fields: rules_content in BOTH,
    documents: rules_content in &[Shape::Document],
    columns: rules_content in &[Shape::Columns],
    conditional_write: rules_write in BOTH,
    every_byte_counts: rules_write in BOTH,
    keeps_own_fields: rules_write in BOTH,
    misfit_refused: rules_write in BOTH,
    outcomes_in_order: rules_write in BOTH,
    items_stand_alone: rules_write in BOTH,
    batch_idempotent: rules_write in BOTH,
    dropped_apply: rules_race in BOTH,
    racing_client: rules_race in BOTH,
    marker_with_write: rules_feed in BOTH,
    feed_order: rules_feed in BOTH,
};

/// The names of all rules, in the order in which they run.
pub fn rule_names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.name)
}

/// Runs every rule in every shape that the store supports.
pub async fn check(harness: &dyn Harness) -> Report {
    run(harness, |_| true).await
}

/// Runs the rules of those names only: for work on one of them. A name that is no rule's is ignored; a report
/// without a passed rule does not pass.
pub async fn check_only(harness: &dyn Harness, names: &[&str]) -> Report {
    run(harness, |name| names.contains(&name)).await
}

async fn run(harness: &dyn Harness, wanted: impl Fn(&str) -> bool) -> Report {
    let supports = harness.supports();
    let mut report = Report::default();
    for rule in RULES.iter().filter(|rule| wanted(rule.name)) {
        for &shape in rule.shapes {
            let finding = |why: String| Finding { rule: rule.name, shape, why };
            if !supports.shapes.contains(&shape) {
                report.skipped.push(finding("the harness does not support this shape".to_owned()));
                continue;
            }
            let bench = Bench::new(harness, &supports, shape);
            match (rule.run)(&bench).await {
                Ok(()) => report.passed.push(finding(String::new())),
                Err(Stop::Failed(why)) => report.failed.push(finding(why)),
                Err(Stop::Skipped(why)) => report.skipped.push(finding(why)),
            }
            report.skipped.extend(bench.skipped_parts().into_iter().map(finding));
        }
    }
    report
}
