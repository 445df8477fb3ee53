//! Which agents are live: those that answered when they were last asked, or within the last five seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use selfsame_core::{AgentName, WallMicros};
use selfsame_wire::message::Hello;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::peer::Peer;
use crate::supervisor::Supervisor;

/// An agent that misses its question and has not answered for so long is not live: its shards have other owners.
const LIVE_FOR: Duration = Duration::from_secs(5);

/// How often each agent is asked: often enough that one lost answer makes nobody dead.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Watches the agents.
pub struct Membership {
    own: AgentName,
    heard: Mutex<HashMap<AgentName, Heard>>,
    /// How many agents have been asked once.
    asked: watch::Sender<usize>,
    others: usize,
}

/// What is known of another agent.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// When it last answered.
    at: Instant,
    /// Whether it missed the last question. Time alone makes nobody dead: a process that was stopped for a while
    /// would take everybody else for dead when it goes on.
    missed: bool,
    /// How far its clock was certainly off then, in microseconds.
    skew: i64,
}

/// How far a clock that said `theirs` between `before` and `after` is certainly off, in microseconds.
pub(crate) fn skew_of(theirs: WallMicros, before: WallMicros, after: WallMicros) -> i64 {
    (before.0 - theirs.0).max(theirs.0 - after.0).max(0)
}

impl Membership {
    /// Starts watching.
    pub fn watch(
        own: AgentName,
        peers: &BTreeMap<AgentName, Arc<dyn Peer>>,
        hello: Hello,
        clock: Arc<dyn Clock>,
        tasks: &Supervisor,
    ) -> Arc<Membership> {
        let others: Vec<_> =
            peers.iter().filter(|(name, _)| **name != own).map(|(_, peer)| peer.clone()).collect();
        let membership = Arc::new(Membership {
            own,
            heard: Mutex::default(),
            asked: watch::Sender::new(0),
            others: others.len(),
        });
        // Each by itself: one that does not answer must not keep the others from being asked.
        for peer in others {
            let (watching, clock, hello) = (membership.clone(), clock.clone(), hello.clone());
            tasks.spawn("membership", async move {
                let mut first = true;
                loop {
                    let before = clock.now();
                    let reply = peer.hello(Hello { now: before, ..hello.clone() }).await;
                    // Who disagrees about the configuration is live all the same; passes find that out.
                    let skew = reply.ok().map(|theirs| skew_of(theirs.now, before, clock.now()));
                    watching.note(peer.name(), skew);
                    if std::mem::take(&mut first) {
                        watching.asked.send_modify(|asked| *asked += 1);
                    }
                    tokio::time::sleep(ASK_EVERY).await;
                }
            });
        }
        membership
    }

    /// Notes that an agent answered, and how far its clock was off; or that it did not.
    fn note(&self, name: &AgentName, skew: Option<i64>) {
        let mut heard = self.heard.lock();
        if let Some(skew) = skew {
            heard.insert(name.clone(), Heard { at: Instant::now(), missed: false, skew });
        } else if let Some(heard) = heard.get_mut(name) {
            heard.missed = true;
        }
    }

    /// Whether an agent is live.
    pub fn is_live(&self, name: &AgentName) -> bool {
        let heard = self.heard.lock().get(name).copied();
        *name == self.own || heard.is_some_and(|heard| !heard.missed || heard.at.elapsed() < LIVE_FOR)
    }

    /// How far the clock of another agent was certainly off when it last answered, in microseconds.
    pub fn skew(&self, name: &AgentName) -> Option<i64> {
        self.heard.lock().get(name).map(|heard| heard.skew)
    }

    /// The live agents, this one among them. Waits until each was asked once.
    pub async fn live(&self) -> Vec<AgentName> {
        // The sender lives as long as this does.
        let _ = self.asked.subscribe().wait_for(|asked| *asked >= self.others).await;
        let known: Vec<AgentName> = self.heard.lock().keys().cloned().collect();
        let mut live: Vec<AgentName> = known.into_iter().filter(|name| self.is_live(name)).collect();
        live.push(self.own.clone());
        live.sort_unstable();
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_as_far_as_the_journey_cannot_explain() {
        let skew = |theirs| skew_of(WallMicros(theirs), WallMicros(100), WallMicros(150));
        assert_eq!([100, 120, 150].map(skew), [0, 0, 0]);
        assert_eq!((skew(90), skew(175)), (10, 25));
    }
}
