//! Agents that answer one kind of call wrongly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use selfsame_agent::local::LocalAgent;
use selfsame_agent::peer::{Peer, PeerError};
use selfsame_core::merkle::NodeHash;
use selfsame_core::{AgentName, Epoch, Key, NodeName};
use selfsame_wire::message::*;
use tokio::time::Instant;

use super::World;

/// An agent as a peer that answers one kind of call wrongly.
pub struct Faulty {
    agent: Arc<LocalAgent>,
    fault: PeerFault,
    asked: Asked,
    ledgers: Ledgers,
}

/// What ledgers were asked for, with success.
pub type Ledgers = Arc<Mutex<Vec<LedgerRequest>>>;

/// The ballots that faulty agents were asked for, and when.
pub type Asked = Arc<Mutex<Vec<(Instant, BallotRequest)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// It takes its time to vote.
    Far,
    /// It would grant what it is asked, and does not answer a claim.
    Claimless,
    /// Another owner completes what is claimed just before.
    Late,
    /// It grants nothing when it comes to a claim: it has seen the highest epoch that there can be.
    Outnumbered,
    OtherSettings,
    Descend,
    Elements,
    Keys,
    Ledger,
    /// It does not hear that slots are over.
    Complete,
    /// It answers everything.
    Nothing,
}

impl Faulty {
    fn fails(&self, call: PeerFault) -> Result<(), PeerError> {
        if self.fault != call {
            return Ok(());
        }
        Err(PeerError::Unreachable { agent: self.agent.name().clone(), why: "on purpose".into() })
    }
}

#[async_trait]
impl Peer for Faulty {
    fn name(&self) -> &AgentName {
        self.agent.name()
    }
    async fn hello(&self, hello: Hello) -> Result<Hello, PeerError> {
        let mut reply = self.agent.hello(hello).await?;
        if self.fault == PeerFault::OtherSettings {
            reply.collections[0].config[0] ^= 1;
        }
        Ok(reply)
    }
    async fn ballot(&self, request: BallotRequest) -> Result<Vec<Ballot>, PeerError> {
        self.asked.lock().push((Instant::now(), request.clone()));
        match (self.fault, request.step) {
            (PeerFault::Far, _) => tokio::time::sleep(Duration::from_millis(5)).await,
            (PeerFault::Claimless, BallotStep::Claim) => self.fails(PeerFault::Claimless)?,
            (PeerFault::Late, BallotStep::Claim) => return Ok(vec![Ballot::Completed; request.epochs.len()]),
            (PeerFault::Outnumbered, BallotStep::Claim) => {
                let highest = Epoch { counter: u64::MAX, agent: self.agent.name().clone() };
                return Ok(vec![Ballot::Superseded(highest); request.epochs.len()]);
            }
            _ => {}
        }
        self.agent.ballot(request).await
    }
    async fn complete(&self, request: CompleteRequest) -> Result<(), PeerError> {
        self.fails(PeerFault::Complete)?;
        self.agent.complete(request).await
    }
    async fn start(&self, request: StartRequest) -> Result<Share, PeerError> {
        self.agent.start(request).await
    }
    async fn scan(&self, request: ScanRequest) -> Result<Vec<(NodeName, ScanState)>, PeerError> {
        self.agent.scan(request).await
    }
    async fn roots(&self, request: RootsRequest) -> Result<Vec<NodeRoots>, PeerError> {
        self.agent.roots(request).await
    }
    async fn descend(&self, request: DescendRequest) -> Result<Vec<NodeHash>, PeerError> {
        self.fails(PeerFault::Descend)?;
        self.agent.descend(request).await
    }
    async fn elements(&self, request: ElementsRequest) -> Result<ElementsReply, PeerError> {
        self.fails(PeerFault::Elements)?;
        self.agent.elements(request).await
    }
    async fn keys(&self, request: KeysRequest) -> Result<Vec<Key>, PeerError> {
        self.fails(PeerFault::Keys)?;
        self.agent.keys(request).await
    }
    async fn expired(&self, request: ExpiredRequest) -> Result<Vec<Key>, PeerError> {
        self.agent.expired(request).await
    }
    async fn ledger(&self, request: LedgerRequest) -> Result<LedgerReply, PeerError> {
        self.fails(PeerFault::Ledger)?;
        let reply = self.agent.ledger(request.clone()).await?;
        self.ledgers.lock().push(request);
        Ok(reply)
    }
    async fn read(&self, request: ReadRequest) -> Result<ReadReply, PeerError> {
        self.agent.read(request).await
    }
    async fn fetch(&self, request: FetchRequest) -> Result<FetchReply, PeerError> {
        self.agent.fetch(request).await
    }
    async fn apply(&self, request: ApplyRequest) -> Result<Vec<ApplyOutcome>, PeerError> {
        self.agent.apply(request).await
    }
    async fn pin(&self, request: PinRequest) -> Result<(), PeerError> {
        self.agent.pin(request).await
    }
    fn wire_bytes(&self) -> u64 {
        0
    }
}

pub fn with_fault(world: &World, faulty: &[usize], fault: PeerFault) -> Vec<Arc<dyn Peer>> {
    overheard(world, faulty, fault, &Asked::default())
}

/// As [`with_fault`], with a list for what the faulty ones are asked.
pub fn overheard(world: &World, faulty: &[usize], fault: PeerFault, asked: &Asked) -> Vec<Arc<dyn Peer>> {
    let peer = |(at, agent): (usize, &Arc<LocalAgent>)| -> Arc<dyn Peer> {
        if faulty.contains(&at) {
            let (asked, ledgers) = (asked.clone(), Ledgers::default());
            Arc::new(Faulty { agent: agent.clone(), fault, asked, ledgers })
        } else {
            agent.clone()
        }
    };
    world.agents.iter().enumerate().map(peer).collect()
}

/// Agents of which some do not hear that slots are over; all that ledgers are asked for is written down.
pub fn listening(world: &World, deaf: &[usize], ledgers: &Ledgers) -> Vec<Arc<dyn Peer>> {
    let peer = |(at, agent): (usize, &Arc<LocalAgent>)| -> Arc<dyn Peer> {
        let fault = if deaf.contains(&at) { PeerFault::Complete } else { PeerFault::Nothing };
        Arc::new(Faulty { agent: agent.clone(), fault, asked: Asked::default(), ledgers: ledgers.clone() })
    };
    world.agents.iter().enumerate().map(peer).collect()
}
