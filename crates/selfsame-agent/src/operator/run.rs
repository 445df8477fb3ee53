//! Runs on request: every live agent is told of the run and exchanges the shards that it owns, until all shards
//! are done. When an owner dies, the others come to own its shards and are told again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use selfsame_core::{Counts, RunId, ShardId, ShardVerdict, Slot, UnknownReason, WallMicros};
use selfsame_wire::message::{ScanState, ShardShare, Share, StartRequest};
use selfsame_wire::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::{EventStream, OperatorService};
use crate::exchange::report::verdict_of;
use crate::settings::CollectionSettings;

/// How often the owners are asked how far they are.
const POLL: Duration = Duration::from_millis(100);

/// Shards that nobody works on for so long stay unknown: an agent is taken for dead after 5 s, a claim that is
/// not worked on for given up after as long, and the shards then have other owners.
const NOBODY_FOR: Duration = Duration::from_secs(15);

/// Events that wait for a slow reader; progress is told ten times a second at most.
const EVENTS_WAITING: usize = 16;

impl OperatorService {
    pub(super) fn start_run(&self, request: v1::RunRequest) -> Result<EventStream, Status> {
        let collections = self.collections(&request.collection)?;
        for collection in &collections {
            let count = collection.replicas.first().map_or(0, |replica| replica.mapping.shards.get());
            if request.shard.is_some_and(|shard| shard >= count) {
                let last = count.saturating_sub(1);
                return Err(Status::invalid_argument(format!(
                    "`{}` has no such shard; hint: it has shards 0 to {last}",
                    collection.name
                )));
            }
        }
        let id = match request.request.as_slice() {
            [] => Uuid::now_v7(),
            bytes => {
                Uuid::from_slice(bytes).map_err(|_| Status::invalid_argument("`request` takes 16 bytes"))?
            }
        };
        let (events, stream) = mpsc::channel(EVENTS_WAITING);
        let this = self.clone();
        // The runs go on if the caller does not wait, or leaves: the owners do them, this only sees to it that shards
        // whose owner dies are told to the next.
        self.parts.tasks.spawn("run", async move {
            let mut unwatched = Vec::new();
            for collection in collections {
                let mut run = Following::new(&this, &collection, &request, Slot::AdHoc(id));
                run.ask_owners(&this).await;
                let _ = events.send(Ok(tell(v1::run_event::Event::Started(run.started())))).await;
                if request.wait {
                    this.see_through(&mut run, Some(&events)).await;
                    let summary = run.summary(this.parts.clock.now());
                    let _ = events.send(Ok(tell(v1::run_event::Event::Summary(summary)))).await;
                } else {
                    unwatched.push(run);
                }
            }
            drop(events);
            join_all(unwatched.iter_mut().map(|run| this.see_through(run, None))).await;
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    async fn see_through(
        &self,
        run: &mut Following,
        events: Option<&mpsc::Sender<Result<v1::RunEvent, Status>>>,
    ) {
        while !run.is_over() {
            if let Some(events) = events {
                // A reader that is gone or slow does not hold up the run.
                let _ = events.try_send(Ok(tell(v1::run_event::Event::Progress(run.progress()))));
            }
            tokio::time::sleep(POLL).await;
            run.ask_owners(self).await;
        }
    }
}

fn tell(event: v1::run_event::Event) -> v1::RunEvent {
    v1::RunEvent { event: Some(event) }
}

/// What is known of a run that is under way.
struct Following {
    start: StartRequest,
    run: RunId,
    wanted: Vec<ShardId>,
    began: Instant,
    began_at: WallMicros,
    done: BTreeMap<ShardId, ShardShare>,
    scans: BTreeMap<String, ScanState>,
    wire_bytes: BTreeMap<String, u64>,
    silent: BTreeMap<String, v1::SilentAgent>,
    /// Agents that are not through: their exchanges, or the record of them, are under way.
    busy: BTreeSet<String>,
    worked_on: Instant,
}

impl Following {
    fn new(
        service: &OperatorService,
        collection: &CollectionSettings,
        request: &v1::RunRequest,
        slot: Slot,
    ) -> Following {
        let shards = collection.replicas.first().map(|replica| replica.mapping.shards.ids().collect());
        let only = request.shard.map(ShardId);
        Following {
            start: StartRequest {
                collection: collection.name.clone(),
                slot,
                shard: only,
                scan: request.scan,
                dry_run: request.dry_run,
            },
            run: RunId::of(&service.parts.fleet.name, &collection.name, slot),
            wanted: only.map(|shard| vec![shard]).or(shards).unwrap_or_default(),
            began: Instant::now(),
            began_at: service.parts.clock.now(),
            done: BTreeMap::new(),
            scans: BTreeMap::new(),
            wire_bytes: BTreeMap::new(),
            silent: BTreeMap::new(),
            busy: BTreeSet::new(),
            worked_on: Instant::now(),
        }
    }

    /// Tells every agent of the run, and takes in how far each is.
    async fn ask_owners(&mut self, service: &OperatorService) {
        let live = service.parts.membership.live().await;
        let (live, dead): (Vec<_>, Vec<_>) =
            service.parts.peers.iter().partition(|(name, _)| live.contains(name));
        for (name, _) in dead {
            self.silence(service, name.as_str(), "no answer for 5 s".to_owned());
        }
        let replies = join_all(live.into_iter().map(|(name, peer)| {
            let start = self.start.clone();
            async move { (name.to_string(), peer.start(start).await) }
        }))
        .await;
        for (name, reply) in replies {
            match reply {
                Ok(share) => {
                    self.silent.remove(&name);
                    self.take(name, share);
                }
                Err(error) => {
                    if !self.silent.contains_key(&name) {
                        tracing::warn!(agent = %name, run = %self.run, %error, "an agent did not hear of the run");
                    }
                    self.silence(service, &name, error.to_string());
                }
            }
        }
    }

    fn silence(&mut self, service: &OperatorService, name: &str, why: String) {
        let agents = service.parts.fleet.agents.iter();
        let address =
            agents.filter(|agent| agent.name.as_str() == name).map(|agent| agent.grpc.clone()).next();
        let silent = v1::SilentAgent { agent: name.to_owned(), address: address.unwrap_or_default(), why };
        self.busy.remove(name);
        self.silent.insert(name.to_owned(), silent);
    }

    fn take(&mut self, agent: String, share: Share) {
        let before = self.done.len();
        for shard in share.shards {
            // An owner whose claim was superseded knows nothing; whoever superseded it does.
            let unclaimed = ShardVerdict::Unknown(UnknownReason::NoMajority);
            let better = self.done.get(&shard.shard).is_none_or(|known| known.verdict == unclaimed);
            if better {
                self.done.insert(shard.shard, shard);
            }
        }
        for (node, scan) in share.scans {
            self.scans.insert(node.to_string(), scan);
        }
        if share.running {
            self.busy.insert(agent.clone());
        } else {
            self.busy.remove(&agent);
        }
        self.wire_bytes.insert(agent, share.wire_bytes);
        if share.running || self.done.len() > before {
            self.worked_on = Instant::now();
        }
    }

    fn is_over(&self) -> bool {
        // Who superseded an owner is still at work on its shard.
        let unclaimed = ShardVerdict::Unknown(UnknownReason::NoMajority);
        let settled = |share: &ShardShare| share.verdict != unclaimed;
        let all = self.wanted.iter().all(|shard| self.done.get(shard).is_some_and(settled));
        (all && self.busy.is_empty()) || self.worked_on.elapsed() > NOBODY_FOR
    }

    fn started(&self) -> v1::RunStarted {
        v1::RunStarted {
            run: self.run.to_string(),
            collection: self.start.collection.to_string(),
            shards: self.wanted.len() as u32,
            silent: self.silent.values().cloned().collect(),
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.done.values().for_each(|shard| counts.add(&shard.counts));
        counts
    }

    fn progress(&self) -> v1::RunProgress {
        let counts = self.counts();
        let scanning = self.scans.values().any(|scan| matches!(scan, ScanState::Running { .. }));
        let (mut rows_scanned, mut rows_total) = (0, 0);
        for scan in self.scans.values() {
            let (rows, total) = match scan {
                ScanState::Running { rows, total } => (*rows, *total),
                ScanState::Done { rows, .. } => (*rows, *rows),
                ScanState::Failed(_) => (0, 0),
            };
            rows_scanned += rows;
            rows_total += total;
        }
        let phase = if scanning { v1::RunPhase::Scan } else { v1::RunPhase::Exchange };
        v1::RunProgress {
            phase: phase.into(),
            rows_scanned,
            rows_total,
            shards_done: self.done.len() as u32,
            shards: self.wanted.len() as u32,
            mismatches: counts.mismatches,
            repaired: counts.repaired,
        }
    }

    fn summary(&self, now: WallMicros) -> v1::RunSummary {
        let counts = self.counts();
        let unknown = ShardVerdict::Unknown(UnknownReason::Unreachable);
        let verdict_of_shard = |shard: &ShardId| self.done.get(shard).map_or(unknown, |share| share.verdict);
        let verdicts: Vec<ShardVerdict> = self.wanted.iter().map(verdict_of_shard).collect();
        let mut planned = std::collections::HashMap::new();
        for share in self.done.values().filter(|share| !share.planned.is_empty()) {
            *planned.entry(share.planned.clone()).or_insert(0) += 1;
        }
        let elapsed = self.began.elapsed();
        v1::RunSummary {
            run: self.run.to_string(),
            collection: self.start.collection.to_string(),
            wire_bytes: self.wire_bytes.values().sum(),
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            planned,
            state: v1::RunState::Finished.into(),
            started_at: self.began_at.0.min(now.0),
            dry_run: self.start.dry_run,
            silent: self.silent.values().cloned().collect(),
            ..summary_of(&verdicts, &counts)
        }
    }
}

/// The part of a summary that follows from verdicts and counts.
pub(super) fn summary_of(verdicts: &[ShardVerdict], counts: &Counts) -> v1::RunSummary {
    let mut unknown: BTreeMap<UnknownReason, u32> = BTreeMap::new();
    for verdict in verdicts {
        if let ShardVerdict::Unknown(reason) = verdict {
            *unknown.entry(*reason).or_insert(0) += 1;
        }
    }
    let count = |matches: fn(&ShardVerdict) -> bool| {
        verdicts.iter().filter(|verdict| matches(verdict)).count() as u32
    };
    let as_of = verdicts.iter().filter_map(|verdict| match verdict {
        ShardVerdict::InSync { as_of } => Some(as_of.0),
        ShardVerdict::Diverged | ShardVerdict::Unknown(_) => None,
    });
    v1::RunSummary {
        verdict: verdict_name(&verdict_of(verdicts.iter().copied())).into(),
        as_of: as_of.min(),
        shards: verdicts.len() as u32,
        in_sync: count(|verdict| matches!(verdict, ShardVerdict::InSync { .. })),
        diverged: count(|verdict| *verdict == ShardVerdict::Diverged),
        unknown: unknown
            .into_iter()
            .map(|(reason, shards)| v1::ReasonCount {
                reason: v1::UnknownReason::from(reason).into(),
                shards,
            })
            .collect(),
        keys: counts.keys,
        mismatches: counts.mismatches,
        repaired: counts.repaired,
        transient: counts.transient,
        held: counts.held,
        moving: counts.moving,
        unreadable: counts.unreadable,
        document_bytes: counts.document_bytes,
        ..v1::RunSummary::default()
    }
}

/// The verdict without its details.
pub(super) fn verdict_name(verdict: &ShardVerdict) -> v1::Verdict {
    match verdict {
        ShardVerdict::InSync { .. } => v1::Verdict::InSync,
        ShardVerdict::Diverged => v1::Verdict::Diverged,
        ShardVerdict::Unknown(_) => v1::Verdict::Unknown,
    }
}
