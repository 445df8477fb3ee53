//! Fresh reads of the suspected keys from all replicas.

use futures_util::future::join_all;
use selfsame_core::{Key, Observation};
use selfsame_wire::message::{Claim, ReadRequest, Seen};

use super::Member;
use crate::peer::PeerError;

/// Keys in one request: their observations take about 200 bytes each on the wire.
const KEYS_PER_REQUEST: usize = 1_000;

/// As [`see`], without what is pinned.
pub(super) async fn observe(
    claim: &Claim,
    members: &[Member],
    asked: &[bool],
    keys: &[Key],
    conclude: bool,
) -> Result<Vec<Vec<Observation>>, PeerError> {
    let seen = see(claim, members, asked, keys, conclude).await?;
    Ok(seen.into_iter().map(|of_key| of_key.into_iter().map(|seen| seen.observation).collect()).collect())
}

/// What every configured replica holds of each key, replicas in the configured order. A replica that is not to
/// be asked, or does not answer, is `Unreachable` for the keys that it did not answer. An exchange that another
/// one has superseded learns nothing any more: that is the only error.
pub(super) async fn see(
    claim: &Claim,
    members: &[Member],
    asked: &[bool],
    keys: &[Key],
    conclude: bool,
) -> Result<Vec<Vec<Seen>>, PeerError> {
    let columns = join_all(members.iter().zip(asked).map(|(member, asked)| async move {
        if *asked {
            column(claim, member, keys, conclude).await
        } else {
            Ok(vec![Seen::from(Observation::unreachable()); keys.len()])
        }
    }))
    .await;
    let columns = columns.into_iter().collect::<Result<Vec<_>, PeerError>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let silence = || Observation::unreachable().into();
    let row = |_| columns.iter_mut().map(|column| column.next().unwrap_or_else(silence)).collect();
    Ok((0..keys.len()).map(row).collect())
}

async fn column(
    claim: &Claim,
    member: &Member,
    keys: &[Key],
    conclude: bool,
) -> Result<Vec<Seen>, PeerError> {
    let mut observations = Vec::with_capacity(keys.len());
    let silence = |count| std::iter::repeat_n(Seen::from(Observation::unreachable()), count);
    for chunk in keys.chunks(KEYS_PER_REQUEST) {
        let (claim, node, keys) = (claim.clone(), member.node.clone(), chunk.to_vec());
        match member.peer.read(ReadRequest { claim, node, keys, conclude }).await {
            Ok(answers) if answers.len() == chunk.len() => observations.extend(answers),
            Ok(answers) => {
                tracing::error!(node = %member.node, asked = chunk.len(), answered = answers.len(), "read of wrong length");
                observations.extend(silence(chunk.len()));
            }
            Err(error @ PeerError::Fenced(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(node = %member.node, %error, "replica did not answer a read");
                observations.extend(silence(chunk.len()));
            }
        }
    }
    Ok(observations)
}
