//! Which run a person means: its id, or what only its id begins with. Ids are told apart among all agents, so that
//! what is unique at one of them is not taken for unique in the fleet.

use std::collections::BTreeSet;

use selfsame_core::RunId;
use selfsame_wire::v1;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::OperatorService;
use super::siblings::{ANSWER_WITHIN, Heard, cannot_know};

/// With fewer digits, what is unique today is not tomorrow: 65 536 beginnings, and a fleet has some hundred runs.
const DIGITS_MIN: usize = 4;

/// How many ids an ambiguous beginning names.
const CANDIDATES_MAX: usize = 10;

/// Names, in a refusal, the runs whose ids begin so: once for each.
const CANDIDATE: &str = "selfsame-run";

/// What one journal has of the run that is meant.
pub(super) enum OwnRun {
    /// No such run.
    Unknown,
    /// Its share of the run.
    One(Box<v1::ShowReply>),
    /// The ids of several runs begin so; the first of them.
    Several(Vec<RunId>),
}

/// Every agent's share of one run.
pub(super) struct Shares {
    /// At least one; all of the same run.
    pub(super) shares: Vec<v1::ShowReply>,
    /// Agents whose share is missing.
    pub(super) silent: Vec<v1::SilentAgent>,
}

impl OwnRun {
    /// The answer for this agent alone.
    pub(super) fn alone(self, asked: &str) -> Result<v1::ShowReply, Status> {
        match self {
            OwnRun::One(share) => Ok(*share),
            OwnRun::Unknown => Err(Status::not_found(format!("no run `{asked}` here"))),
            OwnRun::Several(runs) => Err(ambiguous(asked, &runs.iter().map(RunId::to_string).collect())),
        }
    }
}

impl OperatorService {
    /// The one run whose id is, or begins with, what is asked for, as all agents that answer know it.
    pub(super) async fn find_run(&self, request: &v1::ShowRequest) -> Result<Shares, Status> {
        let asked = request.run.as_str();
        check(asked)?;
        let (mut shares, mut candidates) = (Vec::new(), BTreeSet::new());
        match self.own_run(request).await? {
            OwnRun::Unknown => {}
            OwnRun::One(share) => shares.push(*share),
            OwnRun::Several(runs) => candidates.extend(runs.iter().map(RunId::to_string)),
        }
        let Heard { answers, refused, mut silent } =
            self.hear_siblings(request, ANSWER_WITHIN, |mut client, request| async move {
                client.show(request).await
            })
            .await;
        shares.extend(answers);
        for (agent, status) in refused {
            match named_in(status.metadata()) {
                named if named.is_empty() => silent.push(agent),
                named => candidates.extend(named),
            }
        }
        let of_shares = shares.iter().filter_map(|share| share.summary.as_ref());
        candidates.extend(of_shares.map(|summary| summary.run.clone()));
        match candidates.len() {
            0 => Err(unknown(asked, &silent)),
            1 => Ok(Shares { shares, silent }),
            _ => Err(ambiguous(asked, &candidates)),
        }
    }

    /// The id of the run that is asked for. Nobody is asked about an id that is whole.
    pub(super) async fn run_id(&self, asked: &str) -> Result<RunId, Status> {
        if let Ok(run) = asked.parse() {
            return Ok(run);
        }
        let found = self.find_run(&v1::ShowRequest { run: asked.to_owned(), limit: 1 }).await?;
        let run = found.shares.into_iter().find_map(|share| share.summary?.run.parse().ok());
        run.ok_or_else(|| Status::internal("a run without an id"))
    }
}

/// Refuses what no id begins with, and what too many could.
fn check(asked: &str) -> Result<(), Status> {
    let digits = asked.chars().filter(|character| *character != '-');
    let hint = "hint: `selfsame runs` lists them, `selfsame plan` those that wait for approval";
    if digits.clone().any(|character| !character.is_ascii_hexdigit()) {
        return Err(Status::invalid_argument(format!("`{asked}` is no run id; {hint}")));
    }
    if digits.count() < DIGITS_MIN {
        let message =
            format!("`{asked}` is too short; hint: give at least {DIGITS_MIN} characters of the id");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

fn unknown(asked: &str, silent: &[v1::SilentAgent]) -> Status {
    let mut message = format!("no agent that answered knows a run `{asked}`");
    for agent in silent {
        message.push_str(&format!("; agent {} at {} did not answer", agent.agent, agent.address));
    }
    message.push_str("; hint: `selfsame runs` lists them");
    if silent.is_empty() { Status::not_found(message) } else { cannot_know(message) }
}

fn ambiguous(asked: &str, candidates: &BTreeSet<String>) -> Status {
    let mut message = format!("`{asked}` begins the ids of several runs; hint: give more of the id");
    let mut metadata = MetadataMap::new();
    for run in candidates.iter().take(CANDIDATES_MAX) {
        message.push_str(&format!("\n  {run}"));
        metadata.append(CANDIDATE, run.parse().expect("an id is hexadecimal digits and hyphens"));
    }
    if candidates.len() > CANDIDATES_MAX {
        message.push_str("\n  …");
    }
    Status::with_metadata(Code::InvalidArgument, message, metadata)
}

/// The runs that a refusal names. What is no id is not repeated: it comes from outside.
fn named_in(metadata: &MetadataMap) -> Vec<String> {
    let named = metadata.get_all(CANDIDATE).into_iter().take(CANDIDATES_MAX);
    let id = |text: &str| text.parse::<RunId>().ok().map(|run| run.to_string());
    named.filter_map(|value| id(value.to_str().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_id_begins_with_is_refused_with_a_hint() {
        for (asked, says) in [
            ("", "too short"),
            ("c45", "at least 4 characters"),
            ("c4-5", "too short"),
            ("nonsense", "no run id"),
            ("ä", "no run id"),
        ] {
            let status = check(asked).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{asked}");
            assert!(status.message().contains(says) && status.message().contains("hint: "), "{status:?}");
        }
        for asked in ["c458", "C458-", "c4587b43-7831-831f-86fc-30807098879b"] {
            assert!(check(asked).is_ok(), "{asked}");
        }
    }

    #[test]
    fn an_ambiguous_beginning_names_its_runs_to_people_and_to_agents() {
        let runs: BTreeSet<String> = (0..3_u8)
            .map(|last| RunId::from_bytes([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, last]).to_string())
            .collect();
        let status = ambiguous("0707", &runs);
        for run in &runs {
            assert!(status.message().contains(run), "{}", status.message());
        }
        assert_eq!(named_in(status.metadata()).into_iter().collect::<BTreeSet<_>>(), runs);
    }

    #[test]
    fn who_was_silent_may_know_the_run() {
        let silent = v1::SilentAgent { agent: "c".to_owned(), address: "c:1".to_owned(), why: String::new() };
        let may_be = unknown("c458", &[silent]);
        assert!(may_be.message().contains("agent c at c:1 did not answer"), "{may_be:?}");
        assert_eq!(may_be.code(), Code::Aborted, "asked again later, it may be found");
        let none = unknown("c458", &[]);
        assert_eq!(none.code(), Code::NotFound, "{none:?}");
        assert!(!none.message().contains("agent c at"), "{none:?}");
    }
}
