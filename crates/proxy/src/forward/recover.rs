//! Carries out what [`crate::recovery`] decides: one flight per session, on a task of its own, so that a client that goes
//! away meanwhile leaves nothing half done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use crate::recovery::loss::{self, Loss};
use crate::recovery::machine::{Effect, Event, Rebuild, Verdict};
use crate::recovery::remembered::{Agreed, Remembered};
use crate::session::SessionRecord;
use crate::upstream::Pool;

/// How long a session is tried to be rebuilt, and its requests wait.
const BUDGET: Duration = Duration::from_secs(30);
/// How long an instance may take to say whether a session lives.
const PROBE: Duration = Duration::from_secs(2);

/// How often sessions were lost, and what came of it.
#[derive(Debug, Default)]
pub struct RecoveryCounts {
    pub rebuilt: AtomicU64,
    /// It had not been lost: a connection had.
    pub alive: AtomicU64,
    /// Another replica did it.
    pub overtaken: AtomicU64,
    /// The client has to begin again: another server, another version, or nothing is known of how it began.
    pub incompatible: AtomicU64,
    pub unreachable: AtomicU64,
}

/// What came of one flight.
enum Landed {
    Alive,
    Over(Verdict),
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
            let outcome = this.fly(&pool, &session, &voice, loss).await;
            this.record(&session, loss, &outcome).await;
            drop(turn);
            // Whoever began it may have gone.
            let _ = landed.send(outcome);
        });
        match landing.await {
            Ok(Landed::Alive | Landed::Over(Verdict::Rebuilt | Verdict::Overtaken)) => Ok(()),
            Ok(Landed::Over(Verdict::Unreachable(why))) => Err(out_of_time(why)),
            Ok(Landed::Over(Verdict::Incompatible(_))) => Err(Failure::UnknownSession),
            // The process is ending.
            Err(_) => Err(Failure::Draining),
        }
    }

    async fn record(&self, session: &PinnedSession, loss: Loss, outcome: &Landed) {
        let place = session.backend.place();
        let counts = &self.recoveries;
        let (count, verdict) = match outcome {
            Landed::Alive => (&counts.alive, "alive"),
            Landed::Over(Verdict::Rebuilt) => (&counts.rebuilt, "rebuilt"),
            Landed::Over(Verdict::Overtaken) => (&counts.overtaken, "overtaken"),
            Landed::Over(Verdict::Incompatible(_)) => (&counts.incompatible, "incompatible"),
            Landed::Over(Verdict::Unreachable(_)) => (&counts.unreachable, "unreachable"),
        };
        count.fetch_add(1, Ordering::Relaxed);
        let why = match outcome {
            Landed::Over(Verdict::Incompatible(why) | Verdict::Unreachable(why)) => why,
            _ => "",
        };
        let address = place.instance.as_ref().map(|instance| instance.address.to_string());
        tracing::info!(
            session.id = %session.id,
            session.epoch = place.epoch,
            backend.address = address,
            loss = ?loss,
            outcome = verdict,
            reason = why,
            "session was lost"
        );
        match outcome {
            Landed::Over(Verdict::Incompatible(_)) => self.forget(session).await,
            Landed::Over(Verdict::Unreachable(why)) => session.backend.failed(why),
            _ => {}
        }
    }

    async fn fly(&self, pool: &Arc<Pool>, session: &PinnedSession, voice: &Voice, loss: Loss) -> Landed {
        if loss == Loss::Unclear && self.lives(pool, session, voice).await {
            return Landed::Alive;
        }
        let Some(remembered) = self.remembered(session).await else {
            let why = "nothing is known of how it began".to_owned();
            return Landed::Over(Verdict::Incompatible(why));
        };
        Landed::Over(self.rebuild(pool, session, voice, &remembered).await)
    }

    /// Whether the instance still has the session: then only a connection was lost.
    async fn lives(&self, pool: &Arc<Pool>, session: &PinnedSession, voice: &Voice) -> bool {
        let place = session.backend.place();
        let Some(instance) = &place.instance else { return false };
        let ping = bytes::Bytes::from_static(br#"{"jsonrpc":"2.0","id":"skep-ping","method":"ping"}"#);
        let asked = self.post_own(pool, instance, voice, Some(&place.backend_session), ping, PROBE).await;
        asked.is_ok_and(|answer| answer.status.is_success())
    }

    async fn remembered(&self, session: &PinnedSession) -> Option<Remembered> {
        if let Some(remembered) = session.backend.remembered() {
            return Some(remembered);
        }
        let record = self.config.store.get(session.id).await.ok()??;
        session.backend.remember(record.remembered.clone());
        Some(record.remembered.clone())
    }

    async fn rebuild(
        &self,
        pool: &Arc<Pool>,
        session: &PinnedSession,
        voice: &Voice,
        remembered: &Remembered,
    ) -> Verdict {
        let mut machine = Rebuild::new(remembered, Instant::now() + BUDGET);
        let (mut choices, mut opened): (VecDeque<Arc<Instance>>, Option<Opened>) = Default::default();
        let mut effect = machine.on(Event::Lost, Instant::now());
        loop {
            let event = match effect {
                Effect::Open => {
                    if choices.is_empty() {
                        choices = self.config.instances.choices().collect();
                    }
                    match self.open(pool, choices.pop_front(), voice, remembered).await {
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
                    Event::Rested
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

    async fn open(
        &self,
        pool: &Arc<Pool>,
        instance: Option<Arc<Instance>>,
        voice: &Voice,
        remembered: &Remembered,
    ) -> Result<Opened, String> {
        let instance = instance.ok_or("the backend has no instance")?;
        let pacer = Arc::clone(&instance);
        let _pace = pacer.rebuilding.acquire().await;
        let patience = self.config.patience.handshake.unwrap_or(BUDGET).min(BUDGET);
        let asked = self.post_own(pool, &instance, voice, None, remembered.initialize.clone(), patience);
        let answer = asked.await.map_err(|why| format!("{}: {why}", instance.address))?;
        if !answer.status.is_success() {
            return Err(format!("{} answered initialize with status {}", instance.address, answer.status));
        }
        let backend_session =
            answer.session.ok_or_else(|| format!("{} began no session", instance.address))?;
        let agreed = answer.message.as_ref().and_then(Agreed::read).map(Arc::new);
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

    async fn publish(&self, session: &PinnedSession, new: Opened, remembered: &Remembered) -> Event {
        let Opened { instance, backend_session, .. } = new;
        if !self.table.is_open(session.id) {
            // Its client has ended it meanwhile.
            self.say_farewell_later(Farewell { instance, backend_session });
            return Event::Overtaken;
        }
        let epoch = session.backend.place().epoch + 1;
        let place = Place::on(&instance, backend_session, epoch);
        let record = self.record_of(session, &place, remembered.clone());
        session.backend.move_to(place);
        self.keep(record).await;
        Event::Published
    }

    /// Keeps a record where other processes find it. Without that the session is known to this one only, and goes on.
    pub(super) async fn keep(&self, record: Option<SessionRecord>) {
        let Some(record) = record else { return };
        if let Err(error) = self.config.store.put(record).await {
            tracing::warn!(%error, "session is known to this process only");
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
