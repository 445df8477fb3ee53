//! Which agents are live: those that answered within the last five seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use selfsame_core::AgentName;
use selfsame_wire::message::Hello;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::peer::Peer;
use crate::supervisor::Supervisor;

/// An agent that has not answered for so long is not live, and its shards have other owners.
const LIVE_FOR: Duration = Duration::from_secs(5);

/// How often each agent is asked: often enough that one lost answer makes nobody dead.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Watches the agents.
pub struct Membership {
    own: AgentName,
    heard: Mutex<HashMap<AgentName, Instant>>,
    asked_once: watch::Sender<bool>,
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
        let membership = Arc::new(Membership {
            own: own.clone(),
            heard: Mutex::default(),
            asked_once: watch::Sender::new(false),
        });
        let others: Vec<_> =
            peers.iter().filter(|(name, _)| **name != own).map(|(_, peer)| peer.clone()).collect();
        let watching = membership.clone();
        tasks.spawn("membership", async move {
            loop {
                let ask = others.iter().map(|peer| async {
                    let hello = Hello { now: clock.now(), ..hello.clone() };
                    // Who disagrees about the configuration is live all the same; passes find that out.
                    if peer.hello(hello).await.is_ok() {
                        watching.heard.lock().insert(peer.name().clone(), Instant::now());
                    }
                });
                join_all(ask).await;
                watching.asked_once.send_replace(true);
                tokio::time::sleep(ASK_EVERY).await;
            }
        });
        membership
    }

    /// The live agents, this one among them. Waits until each was asked once.
    pub async fn live(&self) -> Vec<AgentName> {
        // The sender lives as long as this does.
        let _ = self.asked_once.subscribe().wait_for(|asked| *asked).await;
        let heard = self.heard.lock();
        let recently = heard.iter().filter(|(_, at)| at.elapsed() < LIVE_FOR).map(|(name, _)| name.clone());
        let mut live: Vec<AgentName> = recently.chain([self.own.clone()]).collect();
        live.sort_unstable();
        live
    }
}
