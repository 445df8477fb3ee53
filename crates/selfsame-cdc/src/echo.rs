//! Who made a change, by its origin marker, and what a consumer does about repairs.

use selfsame_core::{Cause, OriginMarker};

/// A repair that comes back through a change stream.
#[derive(Clone, Copy, Debug)]
pub enum Echo {}

impl Echo {
    /// The marker in a field of a change stream: the column `origin` of SQLite's change table, say. `None` if
    /// the field is not a marker that this version knows; [`Origin::of`] tells the two cases apart.
    pub fn of(field: &str) -> Option<OriginMarker> {
        field.parse().ok()
    }
}

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of the store.
    Client,
    /// A repair; the marker says of which run, and why.
    Repair(OriginMarker),
    /// The field is set, but holds no marker that this version knows: a newer one, perhaps.
    Unknown(String),
}

impl Origin {
    /// What a change's marker field says; `None` and nothing else is a client's.
    pub fn of(field: Option<&str>) -> Origin {
        match field {
            None => Origin::Client,
            Some(field) => Echo::of(field).map_or_else(|| Origin::Unknown(field.to_owned()), Origin::Repair),
        }
    }
}

/// What a consumer does about repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoPolicy {
    /// Leave them out: for a consumer that follows *all* replicas, and so has had the client's own write from
    /// another of them.
    Suppress,
    /// As `Suppress`, but take what the sweeper deleted: those documents expired, and no client has deleted them.
    KeepSwept,
    /// Take them as the changes that the replica missed: for a consumer that follows one replica and would
    /// otherwise never hear of them. [`OriginMarker::cause`] says why the replica lacked it.
    Keep,
}

impl EchoPolicy {
    /// Whether a change of this origin is for the consumer.
    pub fn delivers(self, origin: &Origin) -> bool {
        match origin {
            Origin::Client | Origin::Unknown(_) => true,
            Origin::Repair(marker) => match self {
                EchoPolicy::Suppress => false,
                EchoPolicy::KeepSwept => marker.cause == Cause::Swept,
                EchoPolicy::Keep => true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selfsame_core::{RepairId, RunId};

    fn marker(cause: Cause) -> OriginMarker {
        OriginMarker {
            agent: "agent-1".parse().unwrap(),
            run: RunId::from_bytes([1; 16]),
            repair: RepairId::from_bytes([2; 16]),
            cause,
        }
    }

    #[test]
    fn every_marker_is_recognised_and_nothing_else_is() {
        for cause in Cause::ALL {
            let marker = marker(cause);
            assert_eq!(Echo::of(&marker.to_string()), Some(marker.clone()));
            assert_eq!(Origin::of(Some(&marker.to_string())), Origin::Repair(marker));
        }
        for field in ["", "selfsame", "selfsame/2 a b c d", "import", " selfsame/1"] {
            assert_eq!(Echo::of(field), None, "{field}");
            assert_eq!(Origin::of(Some(field)), Origin::Unknown(field.to_owned()), "{field}");
        }
        assert_eq!(Origin::of(None), Origin::Client);
    }

    #[test]
    fn only_what_is_known_to_be_a_repair_is_suppressed() {
        let repair = Origin::Repair(marker(Cause::MissedInsert));
        assert!(!EchoPolicy::Suppress.delivers(&repair));
        assert!(EchoPolicy::Keep.delivers(&repair));
        let swept = Origin::Repair(marker(Cause::Swept));
        assert!(!EchoPolicy::Suppress.delivers(&swept));
        assert!(!EchoPolicy::KeepSwept.delivers(&repair));
        assert!(EchoPolicy::KeepSwept.delivers(&swept) && EchoPolicy::Keep.delivers(&swept));
        for policy in [EchoPolicy::Suppress, EchoPolicy::KeepSwept, EchoPolicy::Keep] {
            assert!(policy.delivers(&Origin::Client));
            assert!(policy.delivers(&Origin::Unknown("selfsame/2".into())));
        }
    }
}
