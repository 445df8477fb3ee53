//! Pausing and resuming repairs. Durable at each agent: after the answer no write starts at the agents that it
//! names, and those that did not hear of it are named too.

use selfsame_journal::{Pause, PauseScope};
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;

impl OperatorService {
    fn scope(&self, collection: &str) -> Result<PauseScope, Status> {
        if collection.is_empty() {
            return Ok(PauseScope::All);
        }
        let found = self.collections(collection)?.into_iter().next();
        found
            .map(|found| PauseScope::Collection(found.name))
            .ok_or_else(|| Status::not_found("no collection"))
    }

    pub(super) async fn pause_writes(
        &self,
        request: v1::PauseRequest,
        forwarded: bool,
    ) -> Result<v1::PauseReply, Status> {
        let scope = self.scope(&request.collection)?;
        let micros = |millis: u64| i64::try_from(millis.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let until = request.for_ms.map(|millis| self.parts.clock.now().plus(micros(millis)));
        self.journal(move |journal| journal.pause(&Pause { scope, until })).await?;
        for replica in &self.parts.replicas {
            replica.finish_writing().await;
        }
        let mut reply = v1::PauseReply {
            agents: vec![self.parts.name.to_string()],
            silent: Vec::new(),
            until: until.map(|until| until.0),
        };
        if !forwarded {
            let (answers, silent) = self
                .ask_siblings(&request, |mut client, request| async move { client.pause(request).await })
                .await;
            reply.agents.extend(answers.into_iter().flat_map(|answer: v1::PauseReply| answer.agents));
            reply.silent = silent;
        }
        Ok(reply)
    }

    pub(super) async fn resume_writes(
        &self,
        request: v1::ResumeRequest,
        forwarded: bool,
    ) -> Result<v1::ResumeReply, Status> {
        let (scope, now) = (self.scope(&request.collection)?, self.parts.clock.now());
        let (ended, holding) = self
            .journal(move |journal| {
                let ended = journal.resume(&scope)?;
                let mut holding = journal.pauses(now)?;
                holding.retain(|pause| pause.scope == PauseScope::All);
                Ok((ended, holding))
            })
            .await?;
        let in_force = |pause: &Pause| pause.until.is_none_or(|until| until > now);
        let mut reply = v1::ResumeReply {
            agents: vec![self.parts.name.to_string()],
            silent: Vec::new(),
            ended: ended.into_iter().filter(in_force).map(pause_state).collect(),
            holding: holding.into_iter().map(pause_state).collect(),
        };
        if !forwarded {
            let (answers, silent) = self
                .ask_siblings(&request, |mut client, request| async move { client.resume(request).await })
                .await;
            for answer in answers {
                let answer: v1::ResumeReply = answer;
                reply.agents.extend(answer.agents);
                reply.ended.extend(answer.ended);
                reply.holding.extend(answer.holding);
            }
            reply.silent = silent;
            reply.ended = latest(reply.ended);
            reply.holding = latest(reply.holding);
        }
        Ok(reply)
    }
}

/// A pause as it is told.
pub(super) fn pause_state(pause: Pause) -> v1::PauseState {
    v1::PauseState {
        until: pause.until.map(|until| until.0),
        collection: match pause.scope {
            PauseScope::All => String::new(),
            PauseScope::Collection(collection) => collection.to_string(),
        },
    }
}

/// The pauses of several agents, one for each scope: the one that ends last.
fn latest(mut pauses: Vec<v1::PauseState>) -> Vec<v1::PauseState> {
    let end = |pause: &v1::PauseState| pause.until.unwrap_or(i64::MAX);
    pauses.sort_by(|left, right| (&left.collection, end(right)).cmp(&(&right.collection, end(left))));
    pauses.dedup_by(|later, earlier| later.collection == earlier.collection);
    pauses
}
