//! What whoever answers asks on the way: it ends the round, and the next one answers it.

use bytes::Bytes;
use http::StatusCode;
use mcp::{ErrorCode, ErrorReply, Message};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::super::super::object::{Object, quoted};
use super::super::envelope::{answer_text, with_server};
use super::super::of_session::ANSWERED_WITHIN;
use super::super::questions::{Question, lacking, missing};
use super::super::said::Said;
use super::super::state::{State, responses};
use super::super::waiting::Round;
use super::{InSeat, Open, Stop};

impl InSeat {
    /// The backend asks. Where its client cannot be asked that, the backend is refused, and the call is over.
    pub(super) async fn question(&mut self, message: &Message) -> Stop {
        let lacking = self.ask(message);
        if lacking.is_empty() {
            return Stop::Asked;
        }
        self.refuse(message).await;
        self.cancel().await;
        Stop::Answer(self.last(&missing(&lacking)))
    }

    /// Takes note of a question, if the client can be asked that; else gives what it lacks.
    pub(super) fn ask(&mut self, message: &Message) -> Vec<String> {
        let question = Question {
            key: format!("q{}", self.hub.next_number()),
            method: message.method_name().unwrap_or_default().into_owned(),
            params: message.params().map(Bytes::copy_from_slice),
        };
        let declared = self.asked.message.meta_capabilities().unwrap_or_default();
        let lacking = lacking(std::slice::from_ref(&question), declared);
        if lacking.is_empty() {
            let id = message.id().map(Bytes::copy_from_slice).unwrap_or_default();
            self.open.push(Open { question, id });
        }
        lacking
    }

    pub(super) async fn refuse(&self, message: &Message) {
        let refusal = ErrorReply::new(ErrorCode::MethodNotFound, "the client cannot be asked that");
        self.tell(refusal.to_json(message.id())).await;
    }

    /// Ends the round with what the backend asks, and waits for the next one. `None`: nobody came back, or could.
    pub(super) async fn next_round(&mut self, line: mpsc::Sender<Said>) -> Option<mpsc::Sender<Said>> {
        let mut line = line;
        while !self.open.is_empty() {
            let Some((call, woken)) = self.hub.waiting.park() else {
                let text = "too many calls wait for an answer of their client";
                let reply = ErrorReply::new(ErrorCode::Internal, text)
                    .with_data(json!({"origin": "skep", "class": "too_many_waiting", "executed": "unknown"}));
                let _ = line.send(self.last(&reply)).await;
                return None;
            };
            self.hub.be_found().await;
            let asks = self.asks(call)?;
            if line.send(asks).await.is_err() {
                return None;
            }
            drop(line);
            line = self.come_back(woken).await?;
        }
        Some(line)
    }

    /// The answer to the client that has its questions in it.
    fn asks(&self, call: uuid::Uuid) -> Option<Said> {
        let state = State::Waiting { process: self.hub.waiting.process, call };
        let sealed = state.seal(&self.hub.config.keys, &self.asked.message, self.asked.principal)?;
        let mut result = Object::default();
        result.set("resultType", &br#""input_required""#[..]);
        let questions = Question::write_all(self.open.iter().map(|open| &open.question));
        result.set("inputRequests", questions.to_vec());
        result.set("requestState", quoted(&sealed));
        let result = with_server(result, &self.hub.server_info());
        let text = answer_text(self.asked.message.id()?, "result", &result);
        Some(Said::Last { status: StatusCode::OK, text })
    }

    /// Waits for the client, and tells the backend what it has answered.
    async fn come_back(&mut self, woken: oneshot::Receiver<Round>) -> Option<mpsc::Sender<Said>> {
        let round = tokio::select! {
            round = woken => round.ok()?,
            () = sleep_until(Instant::now() + ANSWERED_WITHIN) => return None,
            () = self.hub.draining.cancelled() => return None,
        };
        let given = responses(&round.message).unwrap_or_default();
        let given = Object::read(&given).unwrap_or_default();
        self.asked.message = round.message;
        let mut left = Vec::new();
        for open in std::mem::take(&mut self.open) {
            match given.get(&open.question.key) {
                None => left.push(open),
                Some(answer) => self.tell(answer_text(&open.id, "result", answer)).await,
            }
        }
        self.open = left;
        Some(round.line)
    }

    /// Nobody waits for the answer any more.
    pub(super) async fn give_up(&mut self) {
        for open in std::mem::take(&mut self.open) {
            let refusal = ErrorReply::new(ErrorCode::Internal, "nobody is there to answer");
            self.tell(refusal.to_json(Some(&open.id))).await;
        }
        self.cancel().await;
    }

    pub(super) async fn cancel(&self) {
        let params = json!({"requestId": self.number, "reason": "nobody waits for the answer"});
        let text =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).to_string();
        self.tell(text.into()).await;
    }
}
