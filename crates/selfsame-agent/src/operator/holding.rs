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
        let scope = self.scope(&request.collection)?;
        self.journal(move |journal| journal.resume(&scope)).await?;
        let mut reply = v1::ResumeReply { agents: vec![self.parts.name.to_string()], silent: Vec::new() };
        if !forwarded {
            let (answers, silent) = self
                .ask_siblings(&request, |mut client, request| async move { client.resume(request).await })
                .await;
            reply.agents.extend(answers.into_iter().flat_map(|answer: v1::ResumeReply| answer.agents));
            reply.silent = silent;
        }
        Ok(reply)
    }
}
