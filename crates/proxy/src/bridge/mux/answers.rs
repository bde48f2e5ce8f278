//! Answers of the server, and its questions to a client.

use bytes::Bytes;
use mcp::message::Kind;
use mcp::revision::has_capability;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use tokio::time::Instant;

use crate::recovery::notice;

use super::id::{self, IdKey};
use super::{
    ClientKey, Due, Effect, InFlight, MAX_ASKED, MAX_TASK_TOKENS, MAX_UNSENT, Mux, Ours, QUESTION_WAITS,
    Question, TaskToken, empty_result,
};

impl Mux {
    pub(super) fn server_answer(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        let Some((ours, request)) =
            message.id().and_then(id::ours).and_then(|ours| Some((ours, self.forget(ours)?)))
        else {
            effects.push(Effect::Dropped("an answer to nothing under way"));
            return;
        };
        if let (Some(client), Some(uri), Kind::Error) = (request.client, &request.uri, message.kind())
            && request.method == Method::ResourcesSubscribe
        {
            self.subscriptions.remove(client, uri);
        }
        self.follow_task(ours, &request, message);
        let mut edits = vec![(message.id_span(), &*request.id)];
        if request.method == Method::SubscriptionsListen {
            edits.push((message.subscription_id_span(), &*request.id));
        }
        if request.method == Method::ToolsList && self.resend.learns() {
            self.resend.learn(message);
        }
        let mut text = message.splice(&edits);
        if let Some(client) = request.client.and_then(|client| self.clients.get_mut(&client))
            && client.untold
            && let Some(told) = Message::parse(text.clone())
                .ok()
                .and_then(|answer| notice::in_result(&answer, self.generation))
        {
            client.untold = false;
            text = told;
        }
        effects.push(Effect::Answer { ours, text, code: message.error_code() });
    }

    /// A task's progress goes on under the token of the request that created it (2025-11-25).
    fn follow_task(&mut self, ours: Ours, request: &InFlight, answer: &Message) {
        let (Some(client), Some(token)) = (request.client, &request.token) else { return };
        if !answer.result().is_some_and(|result| has_capability(result, "task")) {
            return;
        }
        if self.task_tokens.len() == MAX_TASK_TOKENS {
            self.task_tokens.pop_front();
        }
        self.task_tokens.push_back(TaskToken { ours, client, token: token.clone() });
    }

    pub(super) fn server_request(&mut self, now: Instant, message: &Message, effects: &mut Vec<Effect>) {
        let Some(id) = message.id() else { return };
        if message.method() == Method::Ping {
            effects.push(Effect::ToServer(empty_result(id)));
            return;
        }
        let Some(client) = self.own_client() else {
            let reply = ErrorReply::new(
                ErrorCode::MethodNotFound,
                "clients cannot be asked here: no client capabilities were declared",
            );
            effects.push(Effect::ToServer(reply.to_json(Some(id))));
            return;
        };
        if self.asked.len() >= MAX_ASKED {
            effects
                .push(Effect::ToServer(refusal(id, "too many requests are waiting for the client's answer")));
            return;
        }
        let shown = self.shown(id);
        let (key, text) = (IdKey::of(&shown), message.splice(&[(message.id_span(), &shown)]));
        let text = match self.stream_for_question(client) {
            Some(place) => {
                effects.push(place.show(text));
                None
            }
            None => Some(text),
        };
        if text.is_some() {
            let state = self.clients.entry(client).or_default();
            if state.unsent.len() >= MAX_UNSENT {
                effects.push(Effect::ToServer(refusal(id, "the client has no stream open to be asked on")));
                return;
            }
            state.unsent.push_back(key.clone());
            self.due.insert((now + QUESTION_WAITS, Due::Question(key.clone())));
        }
        self.asked.insert(key, Question { id: id.into(), shown, client, unsent: text });
    }

    /// The id under which a client sees a question: the server's own, unless there was a server before it, which may
    /// have used the same.
    fn shown(&mut self, id: &[u8]) -> Box<[u8]> {
        if self.generation == 0 {
            return id.into();
        }
        self.questions += 1;
        format!("\"skep-{}-{}\"", self.generation, self.questions).into_bytes().into()
    }

    /// A stream was found: questions that waited for one are asked.
    pub(super) fn ask_unsent(&mut self, client: ClientKey, effects: &mut Vec<Effect>) {
        if self.clients.get(&client).is_none_or(|state| state.unsent.is_empty()) {
            return;
        }
        let Some(place) = self.stream_for_question(client) else { return };
        let unsent = self.clients.get_mut(&client).map(|state| std::mem::take(&mut state.unsent));
        for key in unsent.unwrap_or_default() {
            if let Some(text) = self.asked.get_mut(&key).and_then(|question| question.unsent.take()) {
                effects.push(place.show(text));
            }
        }
    }

    pub(super) fn nobody_to_ask(&mut self, key: &IdKey, effects: &mut Vec<Effect>) {
        if self.asked.get(key).is_none_or(|question| question.unsent.is_none()) {
            return;
        }
        if let Some(question) = self.asked.remove(key) {
            if let Some(state) = self.clients.get_mut(&question.client) {
                state.unsent.retain(|unsent| unsent != key);
            }
            let reply = refusal(&question.id, "the client has no stream open to be asked on");
            effects.push(Effect::ToServer(reply));
        }
    }

    /// The server takes a question back. Gives the id its client knows it by, if that has heard of it.
    pub(super) fn question_withdrawn(&mut self, id: &[u8]) -> Option<Box<[u8]>> {
        let wanted = IdKey::of(id);
        let is_it = |(_, question): &(&IdKey, &Question)| IdKey::of(&question.id) == wanted;
        let key = self.asked.iter().find(is_it).map(|(key, _)| key.clone())?;
        let question = self.asked.remove(&key)?;
        if let Some(state) = self.clients.get_mut(&question.client) {
            state.unsent.retain(|unsent| *unsent != key);
        }
        question.unsent.is_none().then_some(question.shown)
    }
}

fn refusal(id: &[u8], message: &str) -> Bytes {
    ErrorReply::new(ErrorCode::Internal, message).to_json(Some(id))
}
