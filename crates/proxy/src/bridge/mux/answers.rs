//! Answers of the server, and its questions to a client.

use bytes::Bytes;
use mcp::message::Kind;
use mcp::revision::has_capability;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use tokio::time::Instant;

use super::id::{self, IdKey};
use super::{
    ClientKey, Due, Effect, InFlight, MAX_ASKED, MAX_TASK_TOKENS, MAX_UNSENT, Mux, Ours, QUESTION_WAITS,
    Question, Sharing, TaskToken, empty_result,
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
        effects.push(Effect::Answer { ours, text: message.splice(&edits), code: message.error_code() });
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
        // A server of one's own has one client, and is not spoken to before that is there.
        let client = self.clients.keys().next().copied().filter(|_| self.sharing == Sharing::Own);
        let Some(client) = client else {
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
        let key = IdKey::of(id);
        let text = match self.stream_for_question(client) {
            Some(place) => {
                effects.push(place.show(message.text().clone()));
                None
            }
            None => Some(message.text().clone()),
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
        self.asked.insert(key, Question { id: id.into(), client, unsent: text });
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

    /// The server takes a question back. True if its client has heard of it and is to hear of this too.
    pub(super) fn question_withdrawn(&mut self, id: &[u8]) -> bool {
        let key = IdKey::of(id);
        let Some(question) = self.asked.remove(&key) else { return false };
        if let Some(state) = self.clients.get_mut(&question.client) {
            state.unsent.retain(|unsent| *unsent != key);
        }
        question.unsent.is_none()
    }
}

fn refusal(id: &[u8], message: &str) -> Bytes {
    ErrorReply::new(ErrorCode::Internal, message).to_json(Some(id))
}
