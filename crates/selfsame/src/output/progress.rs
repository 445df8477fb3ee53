//! Progress of a pass on a terminal; nothing anywhere else.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use selfsame_agent::progress::{Progress, Step};
use selfsame_core::NodeName;
use selfsame_wire::message::ScanState;

/// Bars on stderr, if that is a terminal: one for each replica's scan, one for the shards.
pub(crate) struct Terminal {
    all: MultiProgress,
    scans: Mutex<BTreeMap<NodeName, ProgressBar>>,
    shards: ProgressBar,
}

impl Terminal {
    /// Bars for a pass over so many shards.
    pub(crate) fn new(shard_count: usize) -> Terminal {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let shards = all.add(ProgressBar::new(shard_count as u64).with_style(style("shards")));
        Terminal { all, scans: Mutex::new(BTreeMap::new()), shards }
    }
}

impl Progress for Terminal {
    fn step(&self, step: Step<'_>) {
        match step {
            Step::Claimed { .. } => {}
            Step::Shard { .. } => {
                self.shards.inc(1);
                if self.shards.length() == Some(self.shards.position()) {
                    self.shards.finish_and_clear();
                }
            }
            Step::Scan { node, state } => {
                let mut scans = self.scans.lock();
                let bar = scans.entry(node.clone()).or_insert_with(|| {
                    let bar =
                        ProgressBar::new(0).with_style(style("rows")).with_message(format!("scan {node}"));
                    self.all.insert_before(&self.shards, bar)
                });
                match state {
                    ScanState::Running { rows, total } => {
                        bar.set_length(total.max(rows));
                        bar.set_position(rows);
                    }
                    ScanState::Done { .. } | ScanState::Failed(_) => bar.finish_and_clear(),
                }
            }
        }
    }
}

fn style(unit: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("{{msg:24}} {{bar:30}} {{pos}}/{{len}} {unit} {{elapsed}}"))
        .expect("the template is a constant")
}
