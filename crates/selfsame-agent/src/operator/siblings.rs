//! Asking the other agents the same, once.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use selfsame_core::AgentName;
use selfsame_wire::v1;
use selfsame_wire::v1::operator_client::OperatorClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::OperatorService;

/// Marks a request that another agent passes on, and names the agent that it means: it is answered for that one
/// alone, and by no other that has come to its address.
const FORWARDED: &str = "selfsame-forwarded";

/// How long another agent may take to answer for itself.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Another agent's operator API.
#[derive(Clone)]
pub struct Sibling {
    /// The agent.
    pub name: AgentName,
    /// Its address.
    pub address: String,
    /// Its API.
    pub client: OperatorClient<Channel>,
}

/// The request as it is passed on to an agent.
fn forwarded<T>(message: T, agent: &AgentName, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    let name = agent.as_str().parse().expect("a name has no character that a header cannot hold");
    request.metadata_mut().insert(FORWARDED, name);
    request.set_timeout(within);
    request
}

/// What the other agents made of a question.
pub(super) struct Heard<A> {
    /// Their answers.
    pub(super) answers: Vec<A>,
    /// They heard it, and would not or could not: each with its status.
    pub(super) refused: Vec<(v1::SilentAgent, Status)>,
    /// They did not answer.
    pub(super) silent: Vec<v1::SilentAgent>,
}

/// The innermost reason of a failure, which says more than that a transport had an error.
pub fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// Nothing wrong was asked; the answer cannot be known, or the order not be carried out, as long as others are away or
/// at work.
pub(super) fn cannot_know(why: impl Into<String>) -> Status {
    Status::aborted(why)
}

/// Names an agent among those whose part is missing, unless it is.
pub(super) fn name_once(silent: &mut Vec<v1::SilentAgent>, agent: v1::SilentAgent) {
    if silent.iter().all(|known| known.agent != agent.agent) {
        silent.push(agent);
    }
}

impl OperatorService {
    /// Whether another agent passes this request on. One that means somebody else is refused.
    pub(super) fn is_forwarded<T>(&self, request: &Request<T>) -> Result<bool, Status> {
        match request.metadata().get(FORWARDED).map(|name| name.to_str()) {
            None => Ok(false),
            Some(Ok(name)) if name == self.parts.name.as_str() => Ok(true),
            Some(_) => Err(Status::unavailable(format!("agent {} answers at this address", self.parts.name))),
        }
    }

    /// The others' answers, and who is missing among them: who was silent, and who would not. An agent that does not
    /// know what is asked about is not missing.
    pub(super) async fn ask_siblings<Q, A, F>(
        &self,
        question: &Q,
        ask: impl Fn(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> (Vec<A>, Vec<v1::SilentAgent>)
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.ask_siblings_within(question, ANSWER_WITHIN, ask).await
    }

    /// As [`Self::ask_siblings`], with another deadline.
    pub(super) async fn ask_siblings_within<Q, A, F>(
        &self,
        question: &Q,
        within: Duration,
        ask: impl Fn(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> (Vec<A>, Vec<v1::SilentAgent>)
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Heard { answers, refused, mut silent } = self.hear_siblings(question, within, ask).await;
        silent.extend(refused.into_iter().map(|(agent, _)| agent));
        (answers, silent)
    }

    /// As [`Self::ask_siblings_within`], with refusals apart.
    pub(super) async fn hear_siblings<Q, A, F>(
        &self,
        question: &Q,
        within: Duration,
        ask: impl Fn(OperatorClient<Channel>, Request<Q>) -> F,
    ) -> Heard<A>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let asked = self.parts.siblings.iter().map(|sibling| {
            let answer = ask(sibling.client.clone(), forwarded(question.clone(), &sibling.name, within));
            async move { (sibling, tokio::time::timeout(within, answer).await) }
        });
        let mut heard = Heard { answers: Vec::new(), refused: Vec::new(), silent: Vec::new() };
        for (sibling, answer) in join_all(asked).await {
            let missing = |why| v1::SilentAgent {
                agent: sibling.name.to_string(),
                address: sibling.address.clone(),
                why,
            };
            match answer {
                Ok(Ok(answer)) => heard.answers.push(answer.into_inner()),
                Ok(Err(status)) => match status.code() {
                    Code::NotFound => {}
                    Code::InvalidArgument | Code::FailedPrecondition | Code::Aborted => {
                        heard.refused.push((missing(reason(&status)), status));
                    }
                    _ => heard.silent.push(missing(reason(&status))),
                },
                Err(_) => heard.silent.push(missing(format!("no answer within {} s", within.as_secs()))),
            }
        }
        heard
    }
}
