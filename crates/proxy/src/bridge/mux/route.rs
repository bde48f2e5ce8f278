//! Where the server's notifications go. The rules are those of `docs/design/bridge.md`.

use bytes::Bytes;
use mcp::{Message, Method};

use super::id;
use super::{ClientKey, Effect, MAX_WAITING, Mux, Ours, Sharing};

/// A server on stdio cannot close one stream of a client. It may say with this that it would (SEP-1699), naming the
/// request by `requestId`; the notification goes no further.
pub(super) const RELEASE: &str = "notifications/skep/release_stream";

/// A stream that takes a message now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Request(Ours),
    Push(ClientKey),
}

impl Place {
    pub(super) fn show(self, text: Bytes) -> Effect {
        match self {
            Self::Request(ours) => Effect::Event { ours, text },
            Self::Push(client) => Effect::Push { client, text },
        }
    }
}

impl Mux {
    pub(super) fn server_notification(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        if let Some(tag) = message.subscription_id() {
            self.tagged(tag, message, effects);
            return;
        }
        match message.method() {
            Method::Progress => self.progress(message, effects),
            Method::Cancelled => self.cancelled_by_server(message, effects),
            Method::LogMessage => self.log_message(message, effects),
            Method::ResourceUpdated if self.sharing == Sharing::Shared => {
                self.resource_updated(message, effects)
            }
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                self.list_changed(message, effects);
            }
            Method::Other if message.method_name().as_deref() == Some(RELEASE) => {
                let ours = message.cancelled_id().and_then(id::ours);
                let known = ours.filter(|ours| self.in_flight.contains_key(ours));
                effects.extend(known.map(|ours| Effect::Release { ours }));
            }
            Method::ResourceUpdated | Method::TasksStatus | Method::ElicitationComplete => {
                self.for_own_client(message, Self::unasked, effects);
            }
            _ => self.for_own_client(message, Self::related, effects),
        }
    }

    /// Belongs to a `subscriptions/listen` of ours; the client knows it by its own id.
    fn tagged(&mut self, tag: &[u8], message: &Message, effects: &mut Vec<Effect>) {
        match id::ours(tag).and_then(|ours| Some((ours, self.in_flight.get(&ours)?))) {
            Some((ours, request)) => {
                let text = message.splice(&[(message.subscription_id_span(), &request.id)]);
                effects.push(Effect::Event { ours, text });
            }
            None => effects.push(Effect::Dropped("a notice for a subscription that is over")),
        }
    }

    fn progress(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        let Some(ours) = message.reported_token().and_then(id::ours) else {
            effects.push(Effect::Dropped("progress under an unknown token"));
            return;
        };
        let span = message.reported_token_span();
        let request = self.in_flight.get(&ours);
        if request.is_some_and(|request| request.resent) {
            // It would begin again, and progress only grows.
            effects.push(Effect::Dropped("progress of a request that was sent again"));
        } else if let Some(token) = request.and_then(|request| request.token.as_deref()) {
            effects.push(Effect::Event { ours, text: message.splice(&[(span, token)]) });
        } else if let Some(task) = self.task_tokens.iter().find(|task| task.ours == ours) {
            let (client, text) = (task.client, message.splice(&[(span, &task.token)]));
            self.unasked(client, text, effects);
        } else {
            effects.push(Effect::Dropped("progress of a request that is over"));
        }
    }

    fn cancelled_by_server(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        let Some(id) = message.cancelled_id() else { return };
        match self.sharing {
            Sharing::Own => {
                if let (Some(shown), Some(client)) = (self.question_withdrawn(id), self.own_client()) {
                    let text = message.splice(&[(message.cancelled_id_span(), &shown)]);
                    self.related(client, text, effects);
                }
            }
            Sharing::Shared => {}
            // It ends a listen, and nothing else.
            Sharing::Modern => {
                if let Some(ours) = id::ours(id).filter(|ours| {
                    self.in_flight
                        .get(ours)
                        .is_some_and(|request| request.method == Method::SubscriptionsListen)
                }) {
                    self.forget(ours);
                    effects.push(Effect::End { ours });
                }
            }
        }
    }

    fn log_message(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        let text = message.text().clone();
        match self.sharing {
            Sharing::Own => self.for_own_client(message, Self::related, effects),
            Sharing::Shared => {
                let mut busy = self.clients.iter().filter(|(_, state)| !state.in_flight.is_empty());
                match (busy.next().map(|(client, _)| *client), busy.next()) {
                    (Some(client), None) if self.levels.wants(client, message.level().as_deref()) => {
                        self.related(client, text, effects);
                    }
                    (Some(_), None) => {}
                    _ => effects.push(Effect::Dropped("a log message that nobody can be named for")),
                }
            }
            Sharing::Modern => {
                let mut asked = self.in_flight.iter().filter(|(_, request)| request.wants_log);
                match (asked.next(), asked.next()) {
                    (Some((&ours, _)), None) => effects.push(Effect::Event { ours, text }),
                    _ => effects.push(Effect::Dropped("a log message that nobody can be named for")),
                }
            }
        }
    }

    fn resource_updated(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        let Some(uri) = message.uri() else { return };
        for client in self.subscriptions.of(&uri) {
            self.unasked(client, message.text().clone(), effects);
        }
    }

    fn list_changed(&mut self, message: &Message, effects: &mut Vec<Effect>) {
        if self.sharing == Sharing::Modern {
            effects.push(Effect::Dropped("a change notice outside of a subscription"));
            return;
        }
        let clients: Vec<_> = self.clients.keys().copied().collect();
        for client in clients {
            self.unasked(client, message.text().clone(), effects);
        }
    }

    fn for_own_client(
        &mut self,
        message: &Message,
        rule: fn(&mut Self, ClientKey, Bytes, &mut Vec<Effect>),
        effects: &mut Vec<Effect>,
    ) {
        match self.own_client() {
            Some(client) => rule(self, client, message.text().clone(), effects),
            None => effects.push(Effect::Dropped("a notification that nobody can be named for")),
        }
    }

    /// A server of one's own has one client, and is not spoken to before that is there.
    pub(super) fn own_client(&self) -> Option<ClientKey> {
        self.clients.keys().next().copied().filter(|_| self.sharing == Sharing::Own)
    }

    /// The server said it by itself: the stream for that, else the stream of a request, else it waits.
    fn unasked(&mut self, client: ClientKey, text: Bytes, effects: &mut Vec<Effect>) {
        let place = if self.push_is_open(client) {
            Some(Place::Push(client))
        } else {
            self.newest_stream(client).map(Place::Request)
        };
        if place.is_none() && self.clients.get(&client).is_some_and(|state| state.waiting.contains(&text)) {
            // A change notice says the same however often it is said.
            return;
        }
        self.show_or_keep(client, place, text, effects);
    }

    /// The server said it because of a request, though not of which: the newest stream, else the one for unasked
    /// messages, else it waits.
    pub(super) fn related(&mut self, client: ClientKey, text: Bytes, effects: &mut Vec<Effect>) {
        let place = self.stream_for_question(client);
        self.show_or_keep(client, place, text, effects);
    }

    pub(super) fn stream_for_question(&self, client: ClientKey) -> Option<Place> {
        let newest = self.newest_stream(client).map(Place::Request);
        newest.or_else(|| self.push_is_open(client).then_some(Place::Push(client)))
    }

    fn push_is_open(&self, client: ClientKey) -> bool {
        self.clients.get(&client).is_some_and(|state| state.push_open)
    }

    fn newest_stream(&self, client: ClientKey) -> Option<Ours> {
        let mut ours = self.clients.get(&client)?.in_flight.values().copied().collect::<Vec<_>>();
        ours.sort_unstable();
        ours.into_iter().rev().find(|ours| self.in_flight.get(ours).is_some_and(|request| request.streams))
    }

    fn show_or_keep(
        &mut self,
        client: ClientKey,
        place: Option<Place>,
        text: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(place) = place {
            effects.push(place.show(text));
            return;
        }
        let Some(state) = self.clients.get_mut(&client) else { return };
        if state.waiting.len() == MAX_WAITING {
            state.waiting.pop_front();
            effects.push(Effect::Dropped("a notification that waited for a stream"));
        }
        state.waiting.push_back(text);
    }
}
