//! Carries out what [`crate::recovery`] decides: one flight per session, on a task of its own, so that a client that goes
//! away meanwhile leaves nothing half done.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use mcp::Message;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::own::Voice;
use super::pinned::Place;
use super::{Farewell, Forward, PinnedSession};
use crate::failure::Failure;
use crate::instance::Instance;
use crate::recovery::history::Outcome;
use crate::recovery::loss::{self, Loss};
use crate::recovery::machine::{Effect, Event, Rebuild, Verdict};
use crate::recovery::remembered::{Agreed, Remembered};
use crate::session::epoch;
use crate::session::{Claims, Kept, SessionRecord, Write};
use crate::upstream::Pool;

/// How long a session is tried to be rebuilt, and its requests wait: less than the half minute after which many clients
/// give up, so that they hear why.
const BUDGET: Duration = Duration::from_secs(20);
/// How long one of several instances may take to begin a session.
const OPENING: Duration = Duration::from_secs(5);
/// How long an instance may take to say whether a session lives.
const PROBE: Duration = Duration::from_secs(2);
/// How long a replica has the right to rebuild a session without renewing it, and how often the others look whether it
/// has. One that is killed meanwhile keeps them waiting for so long.
const CLAIM: Duration = Duration::from_secs(3);
const CLAIM_LOOK: Duration = Duration::from_millis(50);
/// How long it takes replicas to write again what a store has lost, with some to spare.
const REFILL: Duration = Duration::from_secs(8);
const REFILL_LOOK: Duration = Duration::from_millis(100);

/// What came of one flight.
enum Landed {
    Alive,
    Over(Verdict),
    /// Nobody knows how the session began.
    Forgotten,
}

/// A session that an instance has begun for us.
struct Opened {
    instance: Arc<Instance>,
    backend_session: HeaderValue,
    agreed: Option<Arc<Agreed>>,
}

impl Forward {
    /// Waits until a session that was lost at `epoch` lives again. Of all who call this one does the work.
    ///
    /// # Errors
    /// [`Failure::UnknownSession`] where the client has to begin again; [`Failure::Unreachable`] where no instance could
    /// be reached in time; [`Failure::Crowded`].
    pub(super) async fn recover(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        session: &PinnedSession,
        voice: Voice,
        epoch: u32,
        loss: Loss,
    ) -> Result<(), Failure> {
        let pinned = &session.backend;
        let _waiting = pinned.wait_in_line(&self.config.name)?;
        let since = Instant::now();
        let out_of_time = |reason: String| Failure::Unreachable {
            backend: self.config.name.clone(),
            instance: "any instance".to_owned(),
            reason,
        };
        // In line: whoever lost the session first is the first to go on.
        let in_line = timeout(BUDGET, Arc::clone(&pinned.gate).lock_owned()).await;
        let Ok(turn) = in_line else {
            return Err(out_of_time("still waiting for it to be rebuilt".to_owned()));
        };
        if pinned.place().epoch > epoch {
            return Ok(());
        }
        if !self.table.is_open(session.id) {
            return Err(Failure::UnknownSession);
        }
        if let Some(why) = pinned.failed_since(since) {
            return Err(out_of_time(why));
        }
        let (landed, landing) = oneshot::channel();
        let (this, pool, session) = (Arc::clone(self), Arc::clone(pool), Arc::clone(session));
        self.config.tasks.spawn("recover a session", async move {
            let begun = Instant::now();
            let outcome = this.fly(&pool, &session, &voice, epoch, loss).await;
            this.record(&session, loss, &outcome, begun.elapsed()).await;
            drop(turn);
            // Whoever began it may have gone.
            let _ = landed.send(outcome);
        });
        match landing.await {
            Ok(Landed::Alive | Landed::Over(Verdict::Rebuilt | Verdict::Overtaken)) => Ok(()),
            Ok(Landed::Over(Verdict::Unreachable(why))) => Err(out_of_time(why)),
            Ok(Landed::Over(Verdict::Incompatible(_)) | Landed::Forgotten) => Err(Failure::UnknownSession),
            // The process is ending.
            Err(_) => Err(Failure::Draining),
        }
    }

    /// A request was not answered in time: whether the session lives is found out for the next one, behind the back of
    /// this one.
    pub(super) fn check_later(self: &Arc<Self>, pool: &Arc<Pool>, session: &PinnedSession, voice: Voice) {
        let (this, pool, session) = (Arc::clone(self), Arc::clone(pool), Arc::clone(session));
        let epoch = session.backend.place().epoch;
        self.config.tasks.spawn("check a session", async move {
            // What becomes of it, the next request sees.
            let _ = this.recover(&pool, &session, voice, epoch, Loss::Unclear).await;
        });
    }

    async fn record(&self, session: &PinnedSession, loss: Loss, outcome: &Landed, took: Duration) {
        let (place, cause) = (session.backend.place(), loss.cause());
        let (outcome_name, why) = match outcome {
            Landed::Alive => (Outcome::Alive, ""),
            Landed::Over(Verdict::Rebuilt) => (Outcome::Rebuilt, ""),
            Landed::Over(Verdict::Overtaken) => (Outcome::Overtaken, ""),
            Landed::Over(Verdict::Incompatible(why)) => (Outcome::Incompatible, &**why),
            Landed::Over(Verdict::Unreachable(why)) => (Outcome::Unreachable, &**why),
            Landed::Forgotten => (Outcome::Forgotten, ""),
        };
        self.recoveries.count(cause, outcome_name);
        let address =
            place.instance.as_ref().map_or_else(String::new, |instance| instance.address.to_string());
        let detail =
            format!("{address}, moved {} times, {} ms {why}", epoch::moves(place.epoch), took.as_millis());
        session.backend.timeline.add("lost", cause.name());
        session.backend.timeline.add(outcome_name.name(), detail.trim_end());
        tracing::info!(
            target: "skep::audit",
            cause = cause.name(),
            session.id = %session.id,
            session.epoch = place.epoch,
            backend.address = address,
            outcome = outcome_name.name(),
            reason = why,
            "session was lost"
        );
        match outcome {
            Landed::Over(Verdict::Incompatible(_)) => self.forget(session).await,
            // Another replica may know more: it is not ended for all.
            Landed::Forgotten => self.table.release(session.id),
            Landed::Over(Verdict::Unreachable(why)) => session.backend.failed(why),
            _ => {}
        }
    }

    async fn fly(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        session: &PinnedSession,
        voice: &Voice,
        epoch: u32,
        loss: Loss,
    ) -> Landed {
        if loss == Loss::Unclear && self.lives(pool, session, voice).await {
            return Landed::Alive;
        }
        if let Some(verdict) = self.overtaken(session, epoch).await {
            return Landed::Over(verdict);
        }
        let Some(remembered) = session.backend.remembered() else { return Landed::Forgotten };
        Landed::Over(self.rebuild(pool, session, voice, &remembered).await)
    }

    /// Whether another replica has rebuilt the session, or ended it; waits while one is at it. `None`: it is ours to
    /// rebuild. So it is where the store is away: an instance too many is better than a session too few.
    async fn overtaken(self: &Arc<Self>, session: &PinnedSession, epoch: u32) -> Option<Verdict> {
        let (pinned, store) = (&session.backend, &self.config.store);
        let (deadline, refilled) = (Instant::now() + BUDGET, Instant::now() + REFILL);
        loop {
            if pinned.place().epoch > epoch {
                // It was heard of meanwhile.
                return Some(Verdict::Overtaken);
            }
            let helpless = pinned.remembered().is_none();
            match store.get(session.id).await {
                // Away, or it has lost the record: whoever else knows the session will write it again.
                Ok(None) | Err(_) if helpless && store.is_shared() && Instant::now() < refilled => {
                    sleep(REFILL_LOOK).await;
                    continue;
                }
                Err(error) if helpless => return Some(Verdict::Unreachable(error.to_string())),
                Err(error) => {
                    tracing::warn!(%error, session.id = %session.id, "rebuilt without asking the other replicas");
                    return None;
                }
                Ok(Some(Kept::Ended)) => {
                    return Some(Verdict::Incompatible("it was ended elsewhere".to_owned()));
                }
                // It never got there, or the store has lost it: we have not.
                Ok(None) => {}
                Ok(Some(Kept::Lives(record))) => {
                    if self.moved_elsewhere(session, &record) {
                        return Some(Verdict::Overtaken);
                    }
                }
            }
            match store.claim(session.id, CLAIM).await {
                Ok(false) if Instant::now() < deadline => sleep(CLAIM_LOOK).await,
                Ok(false) => return Some(Verdict::Unreachable("another replica is at it".to_owned())),
                Ok(true) | Err(_) => return None,
            }
        }
    }

    /// Whether the instance still has the session: then only a connection was lost.
    async fn lives(&self, pool: &Arc<Pool>, session: &PinnedSession, voice: &Voice) -> bool {
        let place = session.backend.place();
        let Some(instance) = session.backend.reachable(&place) else { return false };
        let ping = bytes::Bytes::from_static(br#"{"jsonrpc":"2.0","id":"skep-ping","method":"ping"}"#);
        let asked = self.post_own(pool, instance, voice, Some(&place.backend_session), ping, PROBE).await;
        asked.is_ok_and(|answer| answer.status.is_success())
    }

    async fn rebuild(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        session: &PinnedSession,
        voice: &Voice,
        remembered: &Remembered,
    ) -> Verdict {
        let mut machine = Rebuild::new(remembered, Instant::now() + BUDGET);
        let (mut choices, mut opened): (VecDeque<Arc<Instance>>, Option<Opened>) = Default::default();
        let mut passed = HashSet::new();
        let mut effect = machine.on(Event::Lost, Instant::now());
        loop {
            let event = match effect {
                Effect::Open => {
                    if choices.is_empty() {
                        choices = self.choices_but(&passed);
                    }
                    let next = choices.pop_front();
                    // One that hangs is not waited for as long as there are others.
                    let patience = if choices.is_empty() { BUDGET } else { OPENING };
                    match self.open(pool, next, voice, remembered, patience).await {
                        Ok(new) => {
                            let agreed = new.agreed.as_deref().cloned();
                            opened = Some(new);
                            Event::Opened(agreed)
                        }
                        Err(why) => Event::Failed(why),
                    }
                }
                Effect::Tell => {
                    let text = bytes::Bytes::from_static(
                        br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                    );
                    self.say(pool, opened.as_ref(), voice, text).await
                }
                Effect::Ask(text) => self.say(pool, opened.as_ref(), voice, text).await,
                Effect::Pause(pause) => {
                    self.give_up(opened.take());
                    // Jittered: many sessions were lost in the same moment.
                    sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    // Still ours; where the store is away there is nobody to tell.
                    let _ = self.config.store.claim(session.id, CLAIM).await;
                    Event::Rested
                }
                Effect::Pass => {
                    if let Some(other) = opened.take() {
                        passed.insert(other.instance.id);
                        self.pass(other, remembered);
                    }
                    match self.choices_but(&passed).is_empty() {
                        true => Event::Exhausted,
                        false => Event::Rested,
                    }
                }
                Effect::Publish => match opened.take() {
                    Some(new) => self.publish(session, new, remembered).await,
                    None => Event::Failed("nothing was opened".to_owned()),
                },
                Effect::End(verdict) => {
                    self.give_up(opened.take());
                    return verdict;
                }
            };
            effect = machine.on(event, Instant::now());
        }
    }

    fn choices_but(&self, passed: &HashSet<u64>) -> VecDeque<Arc<Instance>> {
        self.config.instances.choices().filter(|instance| !passed.contains(&instance.id)).collect()
    }

    /// What was opened is no place for the session. Another server at the address of an instance is remembered as one: it
    /// gets nothing more of those whose sessions the instance held.
    fn pass(&self, other: Opened, remembered: &Remembered) {
        if let Some((was, is)) = remembered.agreed.as_ref().zip(other.agreed.as_ref())
            && was.server() != is.server()
        {
            other.instance.health.met_another(is.server());
            tracing::warn!(backend.address = %other.instance.address, "another server is at the address of an instance");
        }
        self.give_up(Some(other));
    }

    async fn open(
        &self,
        pool: &Arc<Pool>,
        instance: Option<Arc<Instance>>,
        voice: &Voice,
        remembered: &Remembered,
        patience: Duration,
    ) -> Result<Opened, String> {
        let instance = instance.ok_or("the backend has no instance")?;
        let pacer = Arc::clone(&instance);
        let _pace = pacer.rebuilding.acquire().await;
        let patience = self.config.patience.handshake.unwrap_or(BUDGET).min(patience);
        let asked = self.post_own(pool, &instance, voice, None, remembered.initialize.clone(), patience);
        let answer = asked.await.map_err(|why| format!("{}: {why}", instance.address))?;
        if !answer.status.is_success() {
            return Err(format!("{} answered initialize with status {}", instance.address, answer.status));
        }
        let backend_session =
            answer.session.ok_or_else(|| format!("{} began no session", instance.address))?;
        let agreed = answer.message.as_ref().and_then(Agreed::read).map(Arc::new);
        if let Some((was, is)) = remembered.agreed.as_ref().zip(agreed.as_ref())
            && was.server() == is.server()
        {
            instance.health.met_itself();
        }
        Ok(Opened { instance, backend_session, agreed })
    }

    /// Says something in a session that was opened.
    async fn say(
        &self,
        pool: &Arc<Pool>,
        opened: Option<&Opened>,
        voice: &Voice,
        text: bytes::Bytes,
    ) -> Event {
        let Some(Opened { instance, backend_session, .. }) = opened else {
            return Event::Failed("nothing was opened".to_owned());
        };
        let patience = self.config.patience.prompt.unwrap_or(BUDGET).min(BUDGET);
        match self.post_own(pool, instance, voice, Some(backend_session), text, patience).await {
            Err(why) => Event::Failed(format!("{}: {why}", instance.address)),
            // Gone again already.
            Ok(answer) if answer.status == http::StatusCode::NOT_FOUND => {
                Event::Failed(format!("{} forgot the session at once", instance.address))
            }
            // A subscription that is refused now is the backend's to refuse.
            Ok(_) => Event::Taken,
        }
    }

    async fn publish(
        self: &Arc<Self>,
        session: &PinnedSession,
        new: Opened,
        remembered: &Remembered,
    ) -> Event {
        let Opened { instance, backend_session, .. } = new;
        if !self.table.is_open(session.id) {
            // Its client has ended it meanwhile.
            self.say_farewell_later(Farewell { instance, backend_session });
            return Event::Overtaken;
        }
        let epoch = epoch::after(session.backend.place().epoch);
        let place = Place::on(&instance, backend_session, epoch);
        if let Some(record) = self.record_of(session, &place, remembered.clone())
            && !self.keep(record, Write::Move).await
        {
            // The claim ran out meanwhile, and somebody else was faster: theirs is the place, ours is one too many.
            self.say_farewell_later(Farewell { instance, backend_session: place.backend_session.clone() });
            return match self.config.store.get(session.id).await {
                // It may have been heard of, and followed, while we asked.
                Ok(Some(Kept::Lives(newer))) => {
                    self.moved_elsewhere(session, &newer);
                    Event::Overtaken
                }
                Ok(Some(Kept::Ended)) => Event::Ended,
                Ok(None) => Event::Failed("the store has lost it meanwhile".to_owned()),
                Err(error) => Event::Failed(error.to_string()),
            };
        }
        let left = Farewell::to(&session.backend);
        session.backend.move_to(place);
        self.leave(left);
        Event::Published
    }

    /// Keeps a record where other processes find it; false where they have a newer one, or have ended the session. Where
    /// the store is away the session is known to this process only, goes on, and is kept when the store is back.
    pub(super) async fn keep(&self, record: SessionRecord, write: Write) -> bool {
        let id = record.claims.id;
        match self.config.store.put(record, write).await {
            Ok(allowed) => allowed,
            Err(error) => {
                tracing::warn!(%error, session.id = %id, "session is known to this process only");
                self.unsaved.lock().insert(id);
                true
            }
        }
    }

    /// Keeps what could not be kept when it should have been.
    pub(super) async fn save_unsaved(&self) {
        let mut unsaved: Vec<_> = std::mem::take(&mut *self.unsaved.lock()).into_iter().collect();
        unsaved.sort_unstable();
        for id in unsaved {
            let Some(session) = self.table.get(id) else { continue };
            let Some(remembered) = session.backend.remembered() else { continue };
            if let Some(record) = self.record_of(&session, &session.backend.place(), remembered) {
                self.keep(record, Write::Keep).await;
            }
        }
    }

    /// The place that claims name; on an instance that is not known here, the first request finds out.
    pub(super) fn place_of(&self, claims: &Claims) -> Place {
        let backend_session = HeaderValue::from_bytes(&claims.backend_session);
        let backend_session = backend_session.unwrap_or_else(|_| HeaderValue::from_static(""));
        match self.config.instances.pinned(&claims.pin) {
            Some(instance) => Place::on(&instance, backend_session, claims.epoch),
            None => Place { instance: None, backend_session, epoch: claims.epoch, _load: None },
        }
    }

    /// Something was opened and not taken into use.
    fn give_up(&self, opened: Option<Opened>) {
        if let Some(Opened { instance, backend_session, .. }) = opened {
            self.say_farewell_later(Farewell { instance, backend_session });
        }
    }

    /// The same agreement is kept once for all sessions that made it.
    pub(super) fn agreed(&self, answer: Option<&Message>) -> Option<Arc<Agreed>> {
        let new = Agreed::read(answer?)?;
        if let Some(last) = &*self.last_agreed.load()
            && **last == new
        {
            return Some(Arc::clone(last));
        }
        let new = Arc::new(new);
        self.last_agreed.store(Some(Arc::clone(&new)));
        Some(new)
    }
}

/// Whether this answer to a request of a known session says that it is known no more. The answer is to be used in place
/// of the one given: its text may have been read.
pub(super) async fn is_unknown_session(
    response: http::Response<crate::Body>,
) -> (http::Response<crate::Body>, bool) {
    if !loss::is_suspicious(response.status()) {
        return (response, false);
    }
    let (head, body) = response.into_parts();
    let text = match http_body_util::BodyExt::collect(http_body_util::Limited::new(body, 64 * 1024)).await {
        Ok(text) => text.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    let lost = loss::says_unknown_session(head.status, &text);
    let mut head = head;
    head.headers.remove(http::header::TRANSFER_ENCODING);
    (http::Response::from_parts(head, crate::Body::Full(text)), lost)
}
