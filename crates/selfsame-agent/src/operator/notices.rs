//! Notices of deletions: every agent checks them on its own replicas.

use std::sync::Arc;

use futures_util::future::join_all;
use selfsame_core::{Key, Policy, UnknownReason, Version, VersionKind, WallMicros};
use selfsame_wire::v1;
use tokio::time::timeout;
use tonic::Status;

use super::OperatorService;
use super::keys::typed_key;
use super::siblings::ANSWER_WITHIN;
use crate::local::{LocalReplica, Noticed};
use crate::settings::CollectionSettings;

/// Deletions in one request: each is read from every store.
const DELETIONS_MAX: usize = 500;

impl OperatorService {
    pub(super) async fn note_deletions(
        &self,
        request: v1::NoticeRequest,
        forwarded: bool,
    ) -> Result<v1::NoticeReply, Status> {
        let collection = self.collection_named(&request.collection)?;
        let deletions = self.deletions(&collection, &request.deletions)?;
        let own = self.parts.replicas.iter().filter(|replica| replica.collection().name == collection.name);
        let own = join_all(own.map(|replica| noticed(replica, deletions.clone())));
        if forwarded {
            return Ok(v1::NoticeReply { replicas: own.await, silent: Vec::new() });
        }
        let others =
            self.ask_siblings(&request, |mut client, request| async move { client.notice(request).await });
        let (mut replicas, (answers, silent)) = tokio::join!(own, others);
        replicas.extend(answers.into_iter().flat_map(|answer| answer.replicas));
        let place = |told: &v1::NoticedReplica| {
            collection.replicas.iter().position(|replica| replica.node.as_str() == told.node)
        };
        replicas.sort_by_key(place);
        Ok(v1::NoticeReply { replicas, silent })
    }

    /// What is deleted, if all of it can be.
    fn deletions(
        &self,
        collection: &CollectionSettings,
        told: &[v1::Deletion],
    ) -> Result<Vec<(Key, Version)>, Status> {
        if told.is_empty() || told.len() > DELETIONS_MAX {
            return Err(Status::invalid_argument(format!("`deletions`: 1 to {DELETIONS_MAX} are taken")));
        }
        if let Some(early) =
            told.iter().find(|told| lies_ahead(&collection.policy, told.version, self.parts.clock.now()))
        {
            return Err(Status::invalid_argument(format!(
                "the version {} of `{}` lies further in the future than clock_skew_max; hint: versions are in microseconds \
                 here",
                early.version, early.key
            )));
        }
        Ok(told.iter().map(|told| (typed_key(Some(collection), &told.key), Version(told.version))).collect())
    }
}

/// Whether everybody would hold a document of this version.
fn lies_ahead(policy: &Policy, version: i64, now: WallMicros) -> bool {
    policy.version_kind == VersionKind::Time && WallMicros(version) > now.plus(policy.clock_skew_max)
}

/// What one replica makes of it.
async fn noticed(replica: &Arc<LocalReplica>, deletions: Vec<(Key, Version)>) -> v1::NoticedReplica {
    let node = replica.node().to_string();
    let answer = match timeout(ANSWER_WITHIN, replica.notice(deletions)).await {
        Ok(answer) => answer.map_err(|error| error.reason()),
        Err(_) => Err(UnknownReason::Busy),
    };
    match answer {
        Ok(noticed) => {
            let outcomes = noticed.into_iter().map(|noticed| outcome(noticed).into()).collect();
            v1::NoticedReplica { node, outcomes, unknown: None }
        }
        Err(reason) => {
            let unknown = Some(v1::UnknownReason::from(reason).into());
            v1::NoticedReplica { node, outcomes: Vec::new(), unknown }
        }
    }
}

fn outcome(noticed: Noticed) -> v1::NoticeOutcome {
    match noticed {
        Noticed::Remembered => v1::NoticeOutcome::Remembered,
        Noticed::Present => v1::NoticeOutcome::Present,
        Noticed::Newer => v1::NoticeOutcome::Newer,
        Noticed::Unreadable => v1::NoticeOutcome::Unreadable,
    }
}
