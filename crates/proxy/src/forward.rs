//! Streamable HTTP backends: each session is pinned to the instance it began on, every other request goes where there
//! is least to do.
//!
//! Bytes pass as they are. What changes is the hop: `Host`, the session id, connection headers, and `X-Forwarded-*`.

mod event_id;
mod health;
mod hop;
mod in_session;
mod lasting;
mod live;
mod logs;
mod mending;
mod own;
mod passing;
mod pinned;
mod reading;
mod recover;
#[cfg(test)]
mod resuming;
#[cfg(test)]
mod simulation;
mod taking_up;

use std::cell::Cell;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Response};
use mcp::method::Pace;
use mcp::request::Body as RequestBody;
use mcp::{Era, Message, Method, headers};
use parking_lot::Mutex;
use telemetry::Tasks;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::body::Body;
use crate::call::Call;
use crate::failure::Failure;
use crate::instance::{Instance, Instances};
use crate::recovery::history::RecoveryCounts;
use crate::recovery::remembered::{Agreed, Remembered};
use crate::recovery::resend::ResendPolicy;
use crate::session::epoch;
use crate::session::store::AT_ONCE;
use crate::session::view::{SessionDetail, SessionView};
use crate::session::{
    Change, Kept, KeyRing, Limits, PartTokens, RouteId, Session, SessionRecord, SessionStore,
    StoreUnavailable, Table, Write,
};
use crate::upstream::body::{Under, UpstreamBody};
use crate::upstream::{Fields, Manner, OutgoingRequest, Pool};
pub(crate) use lasting::Lasting;
use logs::EventLogs;
pub use pinned::Pinned;
use pinned::Place;

/// Answers up to this size are read in one piece if they came in one piece.
const READ_AHEAD: u64 = 64 * 1024;
/// How often, at least, idle sessions are looked for, and the store is told which are in use.
const ROUND: Duration = Duration::from_secs(2);
/// Ended sessions whose backends are still to be told; beyond, they are left to the backend's own expiry.
const FAREWELLS: usize = 4096;

/// How long an answer's head may take, by the pace of the method. `None`: as long as the client waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub handshake: Option<Duration>,
    pub prompt: Option<Duration>,
    pub work: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { handshake: Some(Duration::from_secs(60)), prompt: Some(Duration::from_secs(60)), work: None }
    }
}

impl Patience {
    /// The bound for a method.
    #[must_use]
    pub fn for_pace(&self, pace: Pace) -> Option<Duration> {
        match pace {
            Pace::Handshake => self.handshake,
            Pace::Prompt | Pace::Notification => self.prompt,
            Pace::Work => self.work,
            Pace::Endless => None,
        }
    }
}

/// What a forwarding route is made of.
#[derive(Debug)]
pub struct ForwardConfig {
    /// The workload's name; sessions belong to it.
    pub name: String,
    pub keys: Arc<KeyRing>,
    pub limits: Limits,
    pub store: Arc<dyn SessionStore>,
    pub instances: Arc<Instances>,
    pub patience: Patience,
    /// The path clients use, `/mcp`. A target URL with a path of its own is reached by this one.
    pub endpoint_path: String,
    /// Sent with every request, in place of what the client sends under the same name.
    pub headers: HeaderMap,
    /// Only POST, no sessions.
    pub stateless: bool,
    /// What becomes of a session that its backend has lost.
    pub on_loss: OnLoss,
    /// What may be sent again although it may have been carried out.
    pub resend: Arc<ResendPolicy>,
    /// Where sessions are rebuilt.
    pub tasks: Tasks,
    /// Cancelled when the process begins to stop: streams without an end of their own end then.
    pub stop: CancellationToken,
}

/// What becomes of a session that its backend has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It is rebuilt on an instance, and its client goes on.
    #[default]
    Rebuild,
    /// The client is told, and begins again: for servers that keep more than the protocol shows.
    Strict,
}

/// How long requests that are under way where a session has left may still be answered there.
const LEAVE_AFTER: Duration = Duration::from_secs(10);

/// A backend that is to be told that a session of its own is over.
#[derive(Debug)]
pub struct Farewell {
    instance: Arc<Instance>,
    backend_session: HeaderValue,
}

impl Farewell {
    /// To where a session lives now, if that is known.
    fn to(pinned: &Pinned) -> Option<Self> {
        let place = pinned.place();
        let instance = Arc::clone(place.instance.as_ref()?);
        Some(Self { instance, backend_session: place.backend_session.clone() })
    }
}

type PinnedSession = Arc<Session<Pinned>>;

/// A route to a Streamable HTTP backend, shared by all workers.
#[derive(Debug)]
pub struct Forward {
    config: ForwardConfig,
    table: Table<Pinned>,
    farewells: mpsc::Sender<Farewell>,
    last_agreed: ArcSwapOption<Agreed>,
    recoveries: Arc<RecoveryCounts>,
    /// Sessions whose record the store does not have yet.
    unsaved: Mutex<HashSet<Uuid>>,
    events: Arc<EventLogs>,
}

/// The other end of the queue of ended sessions.
pub type Farewells = mpsc::Receiver<Farewell>;

/// A request as it will be sent to any instance.
#[derive(Clone, Debug)]
struct Outgoing {
    request: OutgoingRequest,
    mcp_method: Method,
    /// It may be sent again although it may have been carried out.
    again: bool,
    patience: Option<Duration>,
    /// The event a client wants to go on behind.
    last_event_id: Option<HeaderValue>,
}

impl Forward {
    /// A route, and the queue that [`Forward::maintain`] wants.
    #[must_use]
    pub fn new(config: ForwardConfig) -> (Arc<Self>, Farewells) {
        let (farewells, queue) = mpsc::channel(FAREWELLS);
        let table = Table::new(RouteId::of(&config.name), Arc::clone(&config.keys), config.limits);
        let (last_agreed, recoveries) = (ArcSwapOption::empty(), Arc::<RecoveryCounts>::default());
        let (unsaved, events) = (Mutex::default(), EventLogs::new(config.tasks.clone()));
        (Arc::new(Self { config, table, farewells, last_agreed, recoveries, unsaved, events }), queue)
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table.len()
    }

    /// How often sessions were lost, and what came of it.
    #[must_use]
    pub fn recoveries(&self) -> &Arc<RecoveryCounts> {
        &self.recoveries
    }

    /// What is served now.
    #[must_use]
    pub fn list(&self) -> Vec<SessionView> {
        self.table.all().iter().map(|session| self.view(session)).collect()
    }

    fn view(&self, session: &PinnedSession) -> SessionView {
        let place = session.backend.place();
        let at = place.instance.as_ref().map_or_else(|| "nowhere".to_owned(), |i| i.address.to_string());
        self.table.view(session, at, epoch::moves(place.epoch))
    }

    /// All that is known of a session that is served here.
    #[must_use]
    pub fn show(&self, id: Uuid) -> Option<SessionDetail> {
        let session = self.table.get(id)?;
        let remembered = session.backend.remembered();
        let timeline = session.backend.timeline.entries();
        Some(SessionDetail::new(self.view(&session), remembered.as_ref(), timeline))
    }

    /// Ends a session for everyone; false where it is not served here.
    pub async fn end(&self, id: Uuid) -> bool {
        let Some(session) = self.table.end(id) else { return false };
        self.dismiss(&[session]).await;
        true
    }

    /// The instances behind this route.
    #[must_use]
    pub fn instances(&self) -> &Instances {
        &self.config.instances
    }

    /// Answers one request, using the connections of the calling worker.
    pub async fn handle(self: &Arc<Self>, pool: &Arc<Pool>, call: Call) -> Response<Body> {
        let era = call.request.era();
        let path = match self.path(&call.request.head) {
            Ok(path) => path,
            Err(failure) => return failure.answer(call.request.id()),
        };
        let Call { request: mcp::Request { head, body }, principal, client, tls } = call;
        let message = match body {
            RequestBody::Message { message, .. } => Some(message),
            RequestBody::None => None,
        };
        let mcp_method = message.as_ref().map_or(Method::Other, |message| message.method());
        let token = head.headers.get(&headers::SESSION_ID).cloned();
        let outgoing = Outgoing {
            request: OutgoingRequest {
                fields: hop::fields(&head.headers, &self.config.headers, client.ip(), tls),
                method: head.method,
                path,
                body: message.as_ref().map(|message| message.text().clone()).unwrap_or_default(),
            },
            mcp_method,
            again: message.as_ref().is_none_or(|message| self.config.resend.allows(message)),
            patience: message.as_ref().and_then(|_| self.config.patience.for_pace(mcp_method.pace())),
            last_event_id: head.headers.get(&headers::LAST_EVENT_ID).cloned(),
        };
        let posted = outgoing.request.method == HttpMethod::POST;
        let answered = if !posted && (era == Era::Modern || self.config.stateless) {
            Err(Failure::MethodNotAllowed { method: outgoing.request.method, allow: "POST" })
        } else if mcp_method == Method::Initialize {
            // Rare, and large: not part of every request's future.
            Box::pin(self.initialize(pool, outgoing, principal)).await
        } else {
            match token {
                Some(token) if era == Era::Legacy => {
                    self.in_session(pool, outgoing, &token, principal, message.as_deref()).await
                }
                _ => Box::pin(self.anywhere(pool, outgoing)).await,
            }
        };
        answered.unwrap_or_else(|failure| {
            tracing::debug!(error.class = failure.class(), error = %failure, "not answered by a backend");
            failure.answer(message.as_ref().and_then(|message| message.id()))
        })
    }

    /// The path to ask a backend for; `None` where its own URL says.
    fn path(&self, head: &Parts) -> Result<Option<PathAndQuery>, Failure> {
        let path = head.uri.path();
        if path == self.config.endpoint_path {
            // With a path of its own the target decides; its instances agree on it or are different backends.
            let own = self.config.instances.active().first().is_some_and(|i| i.endpoint.path.is_some());
            return Ok(if own { None } else { head.uri.path_and_query().cloned() });
        }
        match self.config.instances.active().first().map(|instance| instance.endpoint.path.clone()) {
            Some(None) => Ok(head.uri.path_and_query().cloned()),
            Some(Some(own)) if own.path() == path => Ok(None),
            _ => Err(Failure::NotFound { endpoint: self.config.endpoint_path.clone() }),
        }
    }

    /// A new session, on the first instance that takes it.
    async fn initialize(
        &self,
        pool: &Arc<Pool>,
        outgoing: Outgoing,
        principal: model::PrincipalDigest,
    ) -> Result<Response<Body>, Failure> {
        if !self.config.stateless {
            let evicted = self.table.make_room(principal)?;
            self.dismiss(&evicted).await;
        }
        // Kept for as long as the session: on its own, not with the connection's whole read buffer.
        let initialize = Bytes::copy_from_slice(&outgoing.request.body);
        let (instance, mut response) = self
            .first_that_answers(pool, outgoing, |failure| match failure {
                // No session exists yet, so another instance can do no harm; but a slow one is slow for all.
                Failure::TimedOut { .. } => false,
                _ => true,
            })
            .await?;
        let backend_session = response.headers_mut().remove(&headers::SESSION_ID);
        let begins = response.status().is_success() && !self.config.stateless;
        let Some(backend_session) = backend_session.filter(|_| begins) else {
            return Ok(response);
        };
        let agreed = self.agreed(read_answer(&mut response).await.as_ref());
        let remembered = Remembered::new(initialize, agreed);
        let backend_id = backend_session.as_bytes().to_vec();
        let backend_session = HeaderValue::from_bytes(&backend_id).expect("it was a header value");
        let pin = instance.pin();
        let farewell = Farewell { instance: Arc::clone(&instance), backend_session: backend_session.clone() };
        let pinned = Pinned::new(Place::on(&instance, backend_session, 0), Some(remembered.clone()));
        let begun = self
            .table
            .begin(principal, pin, &backend_id, pinned)
            // Somebody took the room meanwhile: the backend's session is of no use to anyone.
            .inspect_err(|_| self.say_farewell_later(farewell))?;
        self.dismiss(&begun.evicted).await;
        self.keep(SessionRecord { claims: begun.claims, remembered, parts: PartTokens::new() }, Write::Keep)
            .await;
        response.headers_mut().insert(headers::SESSION_ID, begun.token);
        Ok(response)
    }

    /// A request without a session: modern, or to a server that issues no sessions.
    async fn anywhere(&self, pool: &Arc<Pool>, mut outgoing: Outgoing) -> Result<Response<Body>, Failure> {
        if let Some(id) = outgoing.last_event_id.take() {
            outgoing.request.fields.push(&headers::LAST_EVENT_ID, &id);
        }
        // What was certainly not carried out goes to another instance; what may have been, once, if that does no harm.
        let once = Cell::new(outgoing.again);
        let may_go_on = move |failure: &Failure| match failure {
            Failure::Unreachable { .. } | Failure::Busy { .. } => true,
            Failure::Lost { .. } => once.replace(false),
            _ => false,
        };
        let (instance, mut response) = self.first_that_answers(pool, outgoing, may_go_on).await?;
        if let Body::Upstream(body) = response.body_mut() {
            body.hold(Box::new(instance.hold_request()) as Under);
        }
        Ok(response)
    }

    async fn first_that_answers(
        &self,
        pool: &Arc<Pool>,
        outgoing: Outgoing,
        next: impl Fn(&Failure) -> bool,
    ) -> Result<(Arc<Instance>, Response<Body>), Failure> {
        let mut last = Failure::NoInstance { backend: self.config.name.clone() };
        let mut choices: VecDeque<_> = self.config.instances.choices().collect();
        let mut refused = Vec::new();
        while let Some(instance) = choices.pop_front() {
            let load = instance.hold_request();
            match self.send(pool, &instance, &outgoing).await {
                Ok(response) => return Ok((instance, response)),
                Err(failure) if next(&failure) => last = failure,
                Err(failure) => return Err(failure),
            }
            drop(load);
            match last {
                // That took its time: those that were not there may be by now.
                Failure::Lost { .. } => choices.extend(refused.drain(..)),
                _ => refused.push(instance),
            }
        }
        Err(last)
    }

    async fn forget(&self, session: &PinnedSession) {
        self.table.end(session.id);
        self.events.end(session.id);
        if let Err(error) = self.config.store.end(session.id).await {
            tracing::warn!(%error, session.id = %session.id, "no other replica knows that the session has ended");
        }
    }

    async fn send(
        &self,
        pool: &Arc<Pool>,
        instance: &Arc<Instance>,
        outgoing: &Outgoing,
    ) -> Result<Response<Body>, Failure> {
        let manner = Manner { patience: outgoing.patience, repeatable: outgoing.again };
        let exchange = pool.exchange(instance, &outgoing.request, manner);
        let answer = if instance.health.is_asked() {
            // Large: not part of the futures of those who do without.
            Box::pin(health::watched(instance, exchange)).await
        } else {
            exchange.await
        };
        health::learn(instance, &answer);
        let answer = answer.map_err(|error| error.into_failure(&self.config.name, instance))?;
        Ok(self.answer(answer, outgoing).await)
    }

    /// The client's answer: connection headers gone, the body in one piece if it is there already.
    async fn answer(&self, answer: Response<UpstreamBody>, outgoing: &Outgoing) -> Response<Body> {
        let (mut head, mut body) = answer.into_parts();
        headers::remove_hop_by_hop(&mut head.headers);
        if hop::is_event_stream(&head.headers) {
            body.keep_alive();
            let endless =
                outgoing.request.method == HttpMethod::GET || outgoing.mcp_method.pace() == Pace::Endless;
            if endless {
                body.end_on(self.config.stop.clone());
            }
            return Response::from_parts(head, Body::Upstream(Box::new(body)));
        }
        if body.is_end() {
            return Response::from_parts(head, Body::Empty);
        }
        if body.size_hint().exact().is_some_and(|size| size <= READ_AHEAD)
            && let Some(whole) = body.read_ahead().await
        {
            return Response::from_parts(head, Body::Full(whole));
        }
        Response::from_parts(head, Body::Upstream(Box::new(body)))
    }

    /// Forgets sessions that the table has ended, and tells their backends when there is time.
    async fn dismiss(&self, ended: &[PinnedSession]) {
        for session in ended {
            self.forget(session).await;
            if let Some(farewell) = Farewell::to(&session.backend) {
                self.say_farewell_later(farewell);
            }
        }
    }

    /// A session lives elsewhere now: where it did it may live on, if only a connection was lost, and may still be answering
    /// what other replicas asked.
    fn leave(self: &Arc<Self>, left: Option<Farewell>) {
        let Some(farewell) = left else { return };
        let this = Arc::clone(self);
        self.config.tasks.spawn("leave a session", async move {
            let stays = this.config.stop.run_until_cancelled(sleep(LEAVE_AFTER)).await.is_some();
            if stays && !farewell.instance.health.is_ejected() {
                this.say_farewell_later(farewell);
            }
        });
    }

    fn say_farewell_later(&self, farewell: Farewell) {
        // Full: the backend's own expiry will have to do.
        let _ = self.farewells.try_send(farewell);
    }

    /// Ends idle sessions and tells their backends. One task per route; ends when `stop` is cancelled.
    ///
    /// Sessions that are open then are left to the next process, which opens their tokens with the same keys.
    pub async fn maintain(self: Arc<Self>, pool: Arc<Pool>, mut farewells: Farewells) {
        let every = (self.table.limits().idle / 8).clamp(Duration::from_millis(100), ROUND);
        let mut timer = tokio::time::interval(every);
        let mut changes = self.config.store.changes();
        self.config.tasks.spawn("health", Arc::clone(&self).ask_instances(Arc::clone(&pool)));
        loop {
            tokio::select! {
                biased;
                () = self.config.stop.cancelled() => return,
                _ = timer.tick() => {
                    pool.sweep();
                    self.dismiss(&self.table.sweep()).await;
                    self.events.sweep(|id| self.table.is_open(id));
                    self.save_unsaved().await;
                    self.touch(every).await;
                }
                Some(change) = next_change(&mut changes) => self.changed_elsewhere(change).await,
                Some(farewell) = farewells.recv() => self.say_farewell(&pool, &farewell).await,
            }
        }
    }

    /// Another replica has moved or ended a session that may be served here too.
    async fn changed_elsewhere(self: &Arc<Self>, change: Change) {
        match change {
            Change::Ended(id) => drop(self.table.end(id)),
            Change::Behind(id) => {
                self.unsaved.lock().insert(id);
            }
            Change::Moved(id, epoch) => {
                let Some(session) = self.table.get(id) else { return };
                if session.backend.place().epoch >= epoch {
                    return;
                }
                // Away again: the next request that fails finds out.
                let Ok(Some(Kept::Lives(record))) = self.config.store.get(id).await else { return };
                self.moved_elsewhere(&session, &record);
            }
        }
    }

    /// Follows a session to where a record says that it lives. False where it says nothing new.
    fn moved_elsewhere(self: &Arc<Self>, session: &PinnedSession, record: &SessionRecord) -> bool {
        session.backend.remember(record.remembered.clone());
        let is_later = record.claims.epoch > session.backend.place().epoch;
        if is_later {
            // Two replicas may each have rebuilt it without knowing of the other: one session is one too many.
            let left = Farewell::to(&session.backend);
            session.backend.move_to(self.place_of(&record.claims));
            self.leave(left);
            session
                .backend
                .timeline
                .add("moved", format!("by another replica, epoch {}", record.claims.epoch));
        }
        is_later
    }

    /// Tells the store which sessions are in use, all at once, and hears what the other replicas did to them.
    async fn touch(self: &Arc<Self>, since: Duration) {
        let used = self.table.used_within(since * 2);
        for ids in used.chunks(AT_ONCE) {
            if let Err(error) = self.touch_some(ids).await {
                tracing::debug!(%error, "not told which sessions are in use");
                return;
            }
        }
    }

    async fn touch_some(self: &Arc<Self>, ids: &[Uuid]) -> Result<(), StoreUnavailable> {
        let missing = self.config.store.touch(ids.to_vec()).await?;
        // Lost by the store, not by us.
        self.unsaved.lock().extend(missing);
        if self.config.store.is_shared() {
            let known = ids.iter().filter_map(|id| Some((*id, self.table.get(*id)?.backend.place().epoch)));
            for change in self.config.store.changed(known.collect()).await? {
                self.changed_elsewhere(change).await;
            }
        }
        Ok(())
    }

    async fn say_farewell(&self, pool: &Arc<Pool>, farewell: &Farewell) {
        let Farewell { instance, backend_session } = farewell;
        let mut fields = Fields::from(&self.config.headers);
        fields.push(&headers::SESSION_ID, backend_session);
        let path = instance.endpoint.path.is_none();
        let request = OutgoingRequest {
            method: HttpMethod::DELETE,
            path: path.then(|| PathAndQuery::try_from(&*self.config.endpoint_path).ok()).flatten(),
            fields,
            body: Bytes::new(),
        };
        let manner = Manner { patience: Some(Duration::from_secs(5)), repeatable: true };
        if let Err(error) = pool.exchange(instance, &request, manner).await {
            tracing::debug!(backend.address = %instance.address, %error, "backend not told that a session ended");
        }
    }
}

/// The next change of another replica, if there can be any.
async fn next_change(changes: &mut Option<mpsc::Receiver<Change>>) -> Option<Change> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

/// The backend's answer to a request, which is still to be passed on.
async fn read_answer(response: &mut Response<Body>) -> Option<Message> {
    let headers = response.headers().clone();
    match response.body_mut() {
        Body::Full(text) => Message::parse(text.clone()).ok(),
        Body::Upstream(body) => own::read_answer(&headers, body).await,
        _ => None,
    }
}
