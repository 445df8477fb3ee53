//! The errors on which a caller acts, as the details of a gRPC status.

use prost::Message;
use selfsame_core::{AgentName, Epoch, UnknownReason};
use tonic::{Code, Status};

use crate::convert::{Malformed, unknown_reason};
use crate::limits::cut;
use crate::v1;

/// Why an agent did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It has seen this epoch, which is higher.
    Fenced(Epoch),
    /// The index was rebuilt since it gave its root.
    Rebuilt,
    /// The replica cannot answer.
    Unknown(UnknownReason),
    /// It takes no writes here, and says why. Cut to [`crate::limits::WHY_BYTES_MAX`].
    Refused(String),
    /// It is this agent, not the one that was meant.
    WrongAgent(AgentName),
    /// The request broke a rule.
    Malformed(Malformed),
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        use v1::failure::Kind;
        let (code, message, kind) = match failure {
            Failure::Fenced(epoch) => {
                (Code::Aborted, "another exchange has a higher epoch", Kind::Fenced(epoch.into()))
            }
            Failure::Rebuilt => (Code::Aborted, "the index was rebuilt", Kind::Rebuilt(v1::Nothing {})),
            Failure::Unknown(reason) => (
                Code::FailedPrecondition,
                reason.as_str(),
                Kind::Unknown(v1::UnknownReason::from(reason).into()),
            ),
            Failure::Refused(why) => (Code::FailedPrecondition, "refused", Kind::Refused(cut(why))),
            Failure::WrongAgent(agent) => {
                (Code::FailedPrecondition, "another agent is meant", Kind::WrongAgent(agent.to_string()))
            }
            Failure::Malformed(Malformed { field, why }) => (
                Code::InvalidArgument,
                "malformed request",
                Kind::Malformed(v1::MalformedRequest { field, why }),
            ),
        };
        let details = v1::Failure { kind: Some(kind) }.encode_to_vec();
        Status::with_details(code, message, details.into())
    }
}

impl Failure {
    /// Reads the details of a status. `None` if it has none: then it comes from the transport, or from a
    /// service that knows no failures of this kind.
    pub fn of(status: &Status) -> Option<Result<Failure, Malformed>> {
        if status.details().is_empty() {
            return None;
        }
        let details = v1::Failure::decode(status.details());
        Some(details.map_err(|error| Malformed::new("details", error)).and_then(Failure::try_from))
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = Malformed;

    fn try_from(failure: v1::Failure) -> Result<Failure, Malformed> {
        use v1::failure::Kind;
        Ok(match failure.kind.ok_or_else(|| Malformed::new("details.kind", "is missing"))? {
            Kind::Fenced(epoch) => Failure::Fenced(epoch.try_into()?),
            Kind::Rebuilt(v1::Nothing {}) => Failure::Rebuilt,
            Kind::Unknown(reason) => Failure::Unknown(unknown_reason("details.unknown", reason)?),
            Kind::Refused(why) => Failure::Refused(cut(why)),
            Kind::WrongAgent(agent) => Failure::WrongAgent(
                agent.parse().map_err(|error| Malformed::new("details.wrong_agent", error))?,
            ),
            Kind::Malformed(malformed) => Failure::Malformed(Malformed::new(malformed.field, malformed.why)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WHY_BYTES_MAX;

    #[test]
    fn failures_survive_the_status() {
        let mut failures = vec![
            Failure::Fenced(Epoch { counter: 9, agent: "b".parse().unwrap() }),
            Failure::Rebuilt,
            Failure::Refused("brake".to_owned()),
            Failure::WrongAgent("c".parse().unwrap()),
            Failure::Malformed(Malformed::new("keys", "has 10001, at most 10000 are allowed")),
        ];
        failures.extend(UnknownReason::ALL.map(Failure::Unknown));
        for failure in failures {
            assert_eq!(Failure::of(&failure.clone().into()), Some(Ok(failure)));
        }
    }

    #[test]
    fn a_long_refusal_is_cut_to_fit_a_header() {
        let Some(Ok(Failure::Refused(why))) =
            Failure::of(&Failure::Refused("ä".repeat(WHY_BYTES_MAX)).into())
        else {
            panic!("not a refusal");
        };
        assert_eq!(why, "ä".repeat(WHY_BYTES_MAX / 2));
    }

    #[test]
    fn details_of_another_service_are_malformed_and_none_are_none() {
        assert_eq!(Failure::of(&Status::unavailable("gone")), None);
        for details in [&b"\xff"[..], b"\x18\x00", b"\x2a\x01/"] {
            let status = Status::with_details(Code::Unknown, "", details.to_vec().into());
            assert!(matches!(Failure::of(&status), Some(Err(_))), "{details:?}");
        }
    }
}
