//! Forgetting one document: every agent erases it from its own journal.

use std::time::Duration;

use selfsame_core::CollectionName;
use selfsame_journal::Forgotten;
use selfsame_wire::v1;
use tonic::Status;

use super::OperatorService;
use super::keys::typed_key;

/// How long an agent may take: its journal is rewritten whole.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(600);

impl OperatorService {
    pub(super) async fn forget_key(
        &self,
        request: v1::ForgetRequest,
        forwarded: bool,
    ) -> Result<v1::ForgetReply, Status> {
        let name: CollectionName = request
            .collection
            .parse()
            .map_err(|error| Status::invalid_argument(format!("`collection`: {error}")))?;
        // Journals outlive a collection's settings.
        let key = typed_key(self.parts.fleet.collection(&name), &request.key);
        let own = self.journal(move |journal| journal.forget(&name, &key)).await;
        if forwarded {
            return own.map(|forgotten| self.forgotten(forgotten));
        }
        // The others are told all the same: whoever forgets, forgets as much as can be.
        let asked = self.ask_siblings_within(&request, FORGOTTEN_WITHIN, |mut client, request| async move {
            client.forget(request).await
        });
        let (answers, silent) = asked.await;
        let mut reply = v1::ForgetReply { silent, ..v1::ForgetReply::default() };
        match own {
            Ok(forgotten) => join(&mut reply, self.forgotten(forgotten)),
            Err(status) => reply.silent.push(self.missing(&status)),
        }
        answers.into_iter().for_each(|answer| join(&mut reply, answer));
        reply.agents.sort();
        Ok(reply)
    }

    fn forgotten(&self, forgotten: Forgotten) -> v1::ForgetReply {
        let Forgotten { images, items, plan_items } = forgotten;
        v1::ForgetReply {
            agents: vec![self.parts.name.to_string()],
            images: images as u64,
            items: items as u64,
            plan_items: plan_items as u64,
            silent: Vec::new(),
        }
    }
}

fn join(reply: &mut v1::ForgetReply, share: v1::ForgetReply) {
    reply.agents.extend(share.agents);
    reply.images += share.images;
    reply.items += share.items;
    reply.plan_items += share.plan_items;
}
