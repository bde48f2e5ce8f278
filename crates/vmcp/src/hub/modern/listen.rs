//! `subscriptions/listen` of a client: what the hub shows has changed, by kind, and resources that backends say have
//! changed. The stream is the hub's own; behind it is one of each backend that has something of what is listened for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mcp::message::meta_key;
use mcp::sse::message_event;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method};
use proxy::Body;
use proxy::body::event_stream;
use proxy::streamable::not_acceptable;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::ask::NoAnswer;
use super::super::listen::{DEBOUNCE, FIRST_PAUSE, LONGEST_PAUSE, until};
use super::super::object::Object;
use super::super::{Changes, Hub, Member};
use super::asked::Asked;
use super::envelope::{Introduction, request_of};
use super::reading::Reading;
use super::said::QUEUE;
use super::tasks::{self, TaskId, knows_tasks};
use super::{Response, refuse};

/// Resources, and tasks, that one client listens for.
const MAX_NAMES: usize = 1024;
/// For a backend to take note of a subscription.
const NOTED_WITHIN: Duration = Duration::from_secs(5);

/// What a client wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<String>,
    /// As the client knows them, with what they are.
    tasks: Vec<(String, TaskId)>,
}

impl Filter {
    /// What is asked for and can be had; `None` where nothing is said about it.
    fn read(
        message: &Message,
        is_known: impl Fn(&str) -> bool,
        task: impl Fn(&str) -> Option<TaskId>,
    ) -> Option<Self> {
        let params: Value = serde_json::from_slice(message.params()?).ok()?;
        let wanted = params["notifications"].as_object()?;
        let is = |name: &str| wanted.get(name) == Some(&Value::Bool(true));
        let names = |name: &str| {
            let names = wanted.get(name).and_then(Value::as_array);
            names.into_iter().flatten().filter_map(Value::as_str).take(MAX_NAMES)
        };
        let tasks = names("taskIds").filter_map(|id| Some((id.to_owned(), task(id)?)));
        Some(Self {
            tools: is("toolsListChanged"),
            prompts: is("promptsListChanged"),
            resources: is("resourcesListChanged"),
            uris: names("resourceSubscriptions").filter(|uri| is_known(uri)).map(str::to_owned).collect(),
            tasks: tasks.collect(),
        })
    }

    /// As it is acknowledged.
    fn honoured(&self) -> Value {
        let mut honoured = Map::new();
        let kinds = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        honoured
            .extend(kinds.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_owned(), on.into())));
        if !self.uris.is_empty() {
            honoured.insert("resourceSubscriptions".to_owned(), json!(self.uris));
        }
        if !self.tasks.is_empty() {
            let ids: Vec<_> = self.tasks.iter().map(|(id, _)| id).collect();
            honoured.insert("taskIds".to_owned(), json!(ids));
        }
        Value::Object(honoured)
    }

    /// What is to be told of these changes.
    fn tell(&self, before: Changes, now: Changes) -> impl Iterator<Item = &'static str> {
        [
            (self.tools && before.tools != now.tools, "notifications/tools/list_changed"),
            (self.prompts && before.prompts != now.prompts, "notifications/prompts/list_changed"),
            (self.resources && before.resources != now.resources, "notifications/resources/list_changed"),
        ]
        .into_iter()
        .filter_map(|(differs, method)| differs.then_some(method))
    }
}

impl Hub {
    pub(super) fn listen_modern(self: &Arc<Self>, asked: Asked) -> Response {
        if !asked.accepts.events {
            return not_acceptable("text/event-stream", asked.message.id());
        }
        let view = self.view.load();
        let task = |id: &str| {
            let task = TaskId::open(&self.config.keys, id, asked.principal);
            task.filter(|_| knows_tasks(&asked.message))
        };
        let is_known = |uri: &str| view.resource(uri).is_some();
        let Some(filter) = Filter::read(&asked.message, is_known, task) else {
            let reply = ErrorReply::new(ErrorCode::InvalidParams, "params.notifications is required");
            return refuse(&asked.message, "invalid_params", reply);
        };
        let id =
            asked.message.id().and_then(|id| serde_json::from_slice::<Value>(id).ok()).unwrap_or_default();
        let (queue, events) = mpsc::channel(QUEUE);
        let listening = Listening { hub: Arc::clone(self), asked, filter, id, queue };
        self.tasks.spawn("what a client listens for", listening.run());
        event_stream(Body::events(events, None))
    }
}

/// The task of one stream.
#[derive(Debug)]
struct Listening {
    hub: Arc<Hub>,
    asked: Asked,
    filter: Filter,
    /// Of the request: all that is said is tagged with it.
    id: Value,
    queue: mpsc::Sender<Bytes>,
}

impl Listening {
    async fn run(self) {
        let mut changes = self.hub.changes.subscribe();
        let mut told = *changes.borrow_and_update();
        let (inbox, mut news) = mpsc::channel(QUEUE);
        let readers = CancellationToken::new();
        let _until = readers.clone().drop_guard();
        let honoured = json!({"notifications": self.filter.honoured()});
        self.say("notifications/subscriptions/acknowledged", honoured).await;
        self.read_all(&inbox, &readers);
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.queue.closed() => return,
                () = self.hub.draining.cancelled() => return self.end().await,
                changed = changes.changed(), if due.is_none() => match changed {
                    Ok(()) => due = Some(Instant::now() + DEBOUNCE),
                    Err(_) => return,
                },
                () = until(due) => {
                    due = None;
                    let now = *changes.borrow_and_update();
                    for method in self.filter.tell(std::mem::replace(&mut told, now), now) {
                        self.say(method, json!({})).await;
                    }
                }
                Some((method, params)) = news.recv() => self.say(method.label(), params).await,
            }
        }
    }

    fn tag(&self) -> Value {
        json!({meta_key::SUBSCRIPTION_ID: self.id})
    }

    async fn say(&self, method: &str, mut params: Value) {
        params["_meta"] = self.tag();
        let notice = json!({"jsonrpc": "2.0", "method": method, "params": params});
        // Whoever has gone is noticed by the loop.
        let _ = self.queue.send(message_event(None, notice.to_string().as_bytes())).await;
    }

    /// There will be no more, and nothing was missed.
    async fn end(&self) {
        let result = json!({"resultType": "complete", "_meta": self.tag()});
        let answer = json!({"jsonrpc": "2.0", "id": self.id, "result": result});
        let _ = self.queue.send(message_event(None, answer.to_string().as_bytes())).await;
    }

    /// Listens to each backend that has some of the resources.
    fn read_all(&self, inbox: &mpsc::Sender<News>, readers: &CancellationToken) {
        let view = self.hub.view.load();
        let mut of = BTreeMap::<Arc<str>, Updates>::new();
        let new = |backend: &Arc<str>| Updates {
            hub: Arc::clone(&self.hub),
            asked: self.asked.clone(),
            backend: Arc::clone(backend),
            uris: Vec::new(),
            tasks: Vec::new(),
            inbox: inbox.clone(),
        };
        for uri in &self.filter.uris {
            if let Some(backend) = view.resource(uri) {
                let updates = of.entry(Arc::clone(backend)).or_insert_with(|| new(backend));
                updates.uris.push(uri.clone());
            }
        }
        for task in &self.filter.tasks {
            let backend: Arc<str> = task.1.backend.as_str().into();
            let updates = of.entry(Arc::clone(&backend)).or_insert_with(|| new(&backend));
            updates.tasks.push(task.clone());
        }
        for updates in of.into_values() {
            let readers = readers.clone();
            self.hub.tasks.spawn("resources of a backend", async move {
                readers.run_until_cancelled(updates.follow()).await;
            });
        }
    }
}

/// What is told of a resource or a task: the method, and its parameters.
type News = (Method, Value);

/// What one backend says of its resources and tasks.
struct Updates {
    hub: Arc<Hub>,
    asked: Asked,
    backend: Arc<str>,
    uris: Vec<String>,
    tasks: Vec<(String, TaskId)>,
    inbox: mpsc::Sender<News>,
}

impl Updates {
    /// For as long as somebody listens.
    async fn follow(self) {
        let (mut pause, mut is_again) = (FIRST_PAUSE, false);
        loop {
            let begun = Instant::now();
            if let Err(problem) = self.once(is_again).await {
                tracing::debug!(backend.id = &*self.backend, error = %problem, "is not listened to");
            }
            // What changed meanwhile was not heard.
            is_again = true;
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, is_again: bool) -> Result<(), NoAnswer> {
        let gone = || NoAnswer::Status(StatusCode::NOT_FOUND);
        let member = self.hub.member(&self.backend).ok_or_else(gone)?;
        if self.hub.serves_modern(&member).await? {
            return self.of_modern(&member, is_again).await;
        }
        self.of_legacy(&member, is_again).await
    }

    async fn of_modern(&self, member: &Member, is_again: bool) -> Result<(), NoAnswer> {
        let mut wanted = json!({"notifications": {"resourceSubscriptions": self.uris}});
        if !self.tasks.is_empty() {
            let own: Vec<_> = self.tasks.iter().map(|(_, task)| &task.own).collect();
            wanted["notifications"]["taskIds"] = json!(own);
        }
        let client = Introduction::of(&self.asked.message);
        let theirs = Message::parse(request_of(b"1", Method::SubscriptionsListen, &wanted, &client))
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        let response = member.handle(self.asked.call(theirs, Era::Modern)).await;
        if !response.status().is_success() {
            return Err(NoAnswer::Status(response.status()));
        }
        self.hear(Reading::new(response), is_again).await
    }

    async fn of_legacy(&self, member: &Arc<Member>, is_again: bool) -> Result<(), NoAnswer> {
        let seat = self.hub.seat_alone(&self.asked).await;
        let seat = seat.map_err(|_| NoAnswer::Status(StatusCode::SERVICE_UNAVAILABLE))?;
        let opened = self.hub.opened(&seat.session, member).await?;
        let speaker = self.hub.speaker(&seat.session, member, &opened);
        let cut = || NoAnswer::Status(StatusCode::METHOD_NOT_ALLOWED);
        let body = speaker.listen(None).await.ok_or_else(cut)?;
        for uri in &self.uris {
            let text =
                json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri}});
            speaker.ask(text.to_string().into(), NOTED_WITHIN).await?;
        }
        self.hear(Reading::stream(body), is_again).await
    }

    async fn hear(&self, mut reading: Reading, is_again: bool) -> Result<(), NoAnswer> {
        let missed = self.uris.iter().filter(|_| is_again).cloned();
        for uri in missed {
            self.updated(&uri).await?;
        }
        loop {
            let message = reading.next().await?;
            match message.method() {
                Method::ResourceUpdated => self.updated(&message.uri().unwrap_or_default()).await?,
                Method::TasksChanged => self.task_changed(&message).await?,
                _ => {}
            }
        }
    }

    async fn updated(&self, uri: &str) -> Result<(), NoAnswer> {
        self.tell((Method::ResourceUpdated, json!({"uri": uri}))).await
    }

    /// Of tasks that the client has named, under the names that it knows.
    async fn task_changed(&self, message: &Message) -> Result<(), NoAnswer> {
        let mut params = message.params().and_then(Object::read).unwrap_or_default();
        let named = params.text("taskId").and_then(|own| self.tasks.iter().find(|(_, task)| task.own == own));
        let Some((seen, _)) = named else { return Ok(()) };
        tasks::show(&mut params, |_| seen.clone());
        let params = serde_json::from_slice(&params.write());
        let params = params.map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        self.tell((Method::TasksChanged, params)).await
    }

    async fn tell(&self, news: News) -> Result<(), NoAnswer> {
        self.inbox.send(news).await.map_err(|_| NoAnswer::CutOff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_what_is_asked_for_is_honoured() {
        let message = |params: &Value| {
            let text = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params});
            Message::parse(text.to_string().into()).unwrap()
        };
        let wanted = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": false,
            "moon": true, "resourceSubscriptions": ["a:1", 7, "b:1"]}});
        let filter = Filter::read(&message(&wanted), |uri| uri == "a:1", |_| None).unwrap();
        assert_eq!(filter.honoured(), json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1"]}));
        let now = Changes { tools: 1, prompts: 1, resources: 0 };
        let told: Vec<_> = filter.tell(Changes::default(), now).collect();
        assert_eq!(told, ["notifications/tools/list_changed"]);
        assert_eq!(Filter::read(&message(&json!({})), |_| true, |_| None), None);
    }
}
