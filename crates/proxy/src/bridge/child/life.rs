//! One server after another under the same sessions: what one knew, the next is told before anything else, in the order
//! that [`crate::recovery::machine`] says.
//!
//! The next server is started when it is wanted: at once where a client waits or listens, else with its next message.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::Child;
use super::pump::Ended;
use crate::bridge::pool::Pool;
use crate::channel::Channel;
use crate::failure::Failure;
use crate::forward::OnLoss;
use crate::recovery::history::{Cause, Outcome, RecoveryCounts};
use crate::recovery::machine::{Effect, Event, Rebuild, Verdict};
use crate::recovery::remembered::{Agreed, Remembered};

/// How long another server is tried to be brought to the same point.
const BUDGET: Duration = Duration::from_secs(20);
/// A server that lived for less and that nobody waits for is not replaced before somebody does: it may end again at once.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// What a new server says before its handshake is over is kept for later, up to this many messages.
const MAX_HEARD: usize = 256;

/// How a server that has ended is replaced.
#[derive(Clone)]
pub(in crate::bridge) struct Revival {
    /// Where servers come from.
    pub(in crate::bridge) pool: Arc<Pool>,
    pub(in crate::bridge) on_loss: OnLoss,
    /// How long a server may take to answer `initialize`, and whatever else it is asked then.
    pub(in crate::bridge) patience: Option<Duration>,
    pub(in crate::bridge) counts: Arc<RecoveryCounts>,
    /// Lets another server go, if that is the only way to get one.
    pub(in crate::bridge) make_room: Arc<dyn Fn() + Send + Sync>,
}

/// A server that is being brought to the point where the one before was.
struct Opened {
    channel: Channel,
    /// What it said meanwhile that answers nothing of ours.
    heard: Vec<Bytes>,
}

/// A server that another one takes the place of.
struct Lost {
    cause: Cause,
    reason: Arc<str>,
    undelivered: Vec<Bytes>,
}

impl Child {
    /// Looks after the server and its successors until no more is to come; why. Without a first channel one is opened
    /// when it is wanted.
    pub(in crate::bridge) async fn live(&self, first: Option<Channel>, revival: Revival) -> Arc<str> {
        let (mut next, mut cause) = (first, Cause::TakenUp);
        loop {
            let well = match next.take() {
                None => true,
                Some(channel) => {
                    let begun = Instant::now();
                    let ended = self.pump(channel).await;
                    let lost = match self.is_replaced(ended, &revival) {
                        Ok(lost) => lost,
                        Err(reason) => {
                            self.end(&reason).await;
                            return reason;
                        }
                    };
                    cause = lost.cause;
                    self.lose(lost, &revival);
                    begun.elapsed() >= WELL_AFTER
                }
            };
            let outcome = tokio::select! {
                biased;
                () = self.closed.cancelled() => Err(Verdict::Overtaken),
                revived = self.when_wanted(&revival, cause, well) => revived,
            };
            let reason: Arc<str> = match outcome {
                Ok(channel) => {
                    next = Some(channel);
                    continue;
                }
                Err(Verdict::Incompatible(why)) => {
                    self.state.lock().begin_again = true;
                    why.into()
                }
                Err(_) => self.state.lock().closing.clone().unwrap_or_default(),
            };
            self.end(&reason).await;
            return reason;
        }
    }

    /// Whether another server takes the place of the one that ended.
    fn is_replaced(&self, ended: Ended, revival: &Revival) -> Result<Lost, Arc<str>> {
        let lost = |cause, reason| Lost { cause, reason, undelivered: Vec::new() };
        let lost = match ended {
            Ended::Closed(reason) => return Err(reason),
            Ended::Gone { reason, undelivered } => Lost { cause: Cause::Ended, reason, undelivered },
            Ended::Hung => lost(Cause::Hung, "it answers nothing, not even a ping".into()),
            Ended::Asleep => return Ok(lost(Cause::Slept, "nobody used it".into())),
        };
        let known = self.state.lock().remembered.is_some();
        if known && revival.on_loss == OnLoss::Rebuild { Ok(lost) } else { Err(lost.reason) }
    }

    fn lose(&self, lost: Lost, revival: &Revival) {
        let Lost { cause, reason, undelivered } = lost;
        let failure = Failure::Interrupted {
            backend: self.backend.name.to_string(),
            instance: self.backend.target.to_string(),
            reason: reason.to_string(),
        };
        self.process.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        let interrupted = state.lose(&failure, undelivered);
        self.settle(&mut state);
        drop(state);
        revival.counts.count_interrupted(interrupted);
        self.timeline.add("lost", format!("{}: {reason}", cause.name()));
        tracing::info!(
            target: "skep::audit",
            backend = %self.backend.name,
            sessions = self.sessions(),
            cause = cause.name(),
            %reason,
            interrupted,
            "a server is gone"
        );
        // Whoever found that it reads no more waits for this.
        self.back.notify_waiters();
    }

    /// Another server, as soon as somebody needs one.
    async fn when_wanted(&self, revival: &Revival, cause: Cause, well: bool) -> Result<Channel, Verdict> {
        let mut listeners_count = well && cause != Cause::Slept;
        loop {
            loop {
                {
                    let mut state = self.state.lock();
                    // Questions of the server that is gone are not waited for.
                    state.attended();
                    if state.is_waited_for() || (listeners_count && state.mux.is_listened_to()) {
                        state.wanted = false;
                        break;
                    }
                }
                self.wake.notified().await;
            }
            let begun = Instant::now();
            let revived = self.revive(revival).await;
            let (outcome, why) = match &revived {
                Ok(_) => (Outcome::Rebuilt, ""),
                Err(Verdict::Incompatible(why)) => (Outcome::Incompatible, &**why),
                Err(Verdict::Unreachable(why)) => (Outcome::Unreachable, &**why),
                Err(Verdict::Rebuilt | Verdict::Overtaken) => return revived,
            };
            revival.counts.count(cause, outcome);
            self.timeline.add(outcome.name(), format!("in {} ms {why}", begun.elapsed().as_millis()));
            tracing::info!(
                target: "skep::audit",
                backend = %self.backend.name,
                cause = cause.name(),
                outcome = outcome.name(),
                reason = why,
                "a server was replaced"
            );
            let Err(Verdict::Unreachable(why)) = revived else { return revived };
            self.fail_waiting(&why);
            // It is tried again for whoever asks, not for those who only listen.
            listeners_count = false;
        }
    }

    /// Nobody could be got: all who wait are told. The next message tries again.
    fn fail_waiting(&self, why: &str) {
        let failure = Failure::Unreachable {
            backend: self.backend.name.to_string(),
            instance: self.backend.target.to_string(),
            reason: why.to_owned(),
        };
        let mut state = self.state.lock();
        state.fail_under_way(&failure, why.into());
        self.settle(&mut state);
        drop(state);
        self.back.notify_waiters();
    }

    async fn revive(&self, revival: &Revival) -> Result<Channel, Verdict> {
        let Some(remembered) = self.remembered() else {
            return Err(Verdict::Incompatible("nothing is known of how it began".to_owned()));
        };
        let patience = revival.patience.unwrap_or(BUDGET).min(BUDGET);
        let mut machine = Rebuild::new(&remembered, Instant::now() + BUDGET);
        let (mut effect, mut opened) = (machine.on(Event::Lost, Instant::now()), None);
        loop {
            let event = match effect {
                Effect::Open => match open(revival, &remembered, patience).await {
                    Ok((new, agreed)) => {
                        opened = Some(new);
                        Event::Opened(agreed)
                    }
                    Err(why) => Event::Failed(why),
                },
                Effect::Tell => {
                    let text =
                        Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
                    match opened.as_mut().map(|new: &mut Opened| new.channel.outgoing.clone()) {
                        Some(server) if server.send(text).await.is_ok() => Event::Taken,
                        _ => Event::Failed("it ended at once".to_owned()),
                    }
                }
                Effect::Ask(text) => match &mut opened {
                    Some(new) => match new.ask(text, patience).await {
                        Ok(_) => Event::Taken,
                        Err(why) => Event::Failed(why),
                    },
                    None => Event::Failed("nothing was opened".to_owned()),
                },
                Effect::Pause(pause) => {
                    opened = None;
                    sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    Event::Rested
                }
                // The next process would be the same.
                Effect::Pass => {
                    opened = None;
                    Event::Exhausted
                }
                Effect::Publish => match opened.take() {
                    Some(new) => {
                        let channel = self.go_on_with(new, revival);
                        return Ok(channel);
                    }
                    None => Event::Failed("nothing was opened".to_owned()),
                },
                Effect::End(verdict) => return Err(verdict),
            };
            effect = machine.on(event, Instant::now());
        }
    }

    fn go_on_with(&self, new: Opened, revival: &Revival) -> Channel {
        let Opened { channel, heard } = new;
        let mut state = self.state.lock();
        let resent = state.go_on_with(channel.outgoing.clone());
        for message in heard.into_iter().filter_map(|text| Message::parse(text).ok()) {
            state.on_server(&message);
        }
        self.settle(&mut state);
        drop(state);
        revival.counts.count_resent(resent);
        self.back.notify_waiters();
        channel
    }
}

/// A new server, and what it says of itself.
async fn open(
    revival: &Revival,
    remembered: &Remembered,
    patience: Duration,
) -> Result<(Opened, Option<Agreed>), String> {
    (revival.make_room)();
    let channel = revival.pool.take().await.map_err(|failure| failure.to_string())?;
    let mut opened = Opened { channel, heard: Vec::new() };
    let initialize = Message::parse(remembered.initialize.clone()).map_err(|error| error.to_string())?;
    // Ids that clients' requests have later are numbers.
    let text = initialize.splice(&[(initialize.id_span(), br#""skep-initialize""#)]);
    let answer = opened.ask(text, patience).await?;
    if answer.kind() == Kind::Error {
        return Err(format!("it refused initialize: {}", String::from_utf8_lossy(answer.text())));
    }
    Ok((opened, Agreed::read(&answer)))
}

impl Opened {
    /// Asks it something and waits for the answer, whatever that is.
    async fn ask(&mut self, text: Bytes, patience: Duration) -> Result<Message, String> {
        let request = Message::parse(text).map_err(|error| error.to_string())?;
        let gone = "it ended at once";
        self.channel.outgoing.send(request.text().clone()).await.map_err(|_| gone.to_owned())?;
        let answer = timeout(patience, self.answer_to(request.id())).await;
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let why = timeout(Duration::from_secs(1), self.channel.guard.why_closed()).await;
                Err(why.unwrap_or_else(|_| gone.to_owned()))
            }
            Err(_) => Err(format!("it did not answer {} in time", request.method().label())),
        }
    }

    async fn answer_to(&mut self, id: Option<&[u8]>) -> Option<Message> {
        loop {
            let message = match Message::parse(self.channel.incoming.recv().await?) {
                Ok(message) => message,
                Err(error) => {
                    tracing::warn!(%error, "the server sent what is no message");
                    continue;
                }
            };
            match message.kind() {
                Kind::Result | Kind::Error if message.id() == id => return Some(message),
                Kind::Request if message.method() == Method::Ping => {
                    answer_ping(&self.channel.outgoing, &message).await;
                }
                // Of questions none is lost; its client is there.
                _ if self.heard.len() < MAX_HEARD => self.heard.push(message.text().clone()),
                Kind::Request => {
                    let reply = ErrorReply::new(ErrorCode::Internal, "too many questions");
                    let _ = self.channel.outgoing.send(reply.to_json(message.id())).await;
                }
                _ => {}
            }
        }
    }
}

async fn answer_ping(server: &mpsc::Sender<Bytes>, ping: &Message) {
    let id = String::from_utf8_lossy(ping.id().unwrap_or(b"null"));
    // A server that is gone is noticed by what comes next.
    let _ = server.send(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#).into()).await;
}
