//! A client's request without a session for a backend that wants one.
//!
//! It runs in a task of its own, in a session of the hub's ([`super::seats`]). What the backend asks on the way ends the
//! round: the client gets the question for its answer, and the call waits, with all that it holds, until the client comes
//! back. A client that goes away while it is not asked has cancelled.

mod asking;
mod beginning;
mod overhearing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use mcp::message::Kind;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::ask::{NoAnswer, result};
use super::super::health::Seen;
use super::super::overdue::late;
use super::super::own::{OwnRequest, OwnTool};
use super::super::requests::{LEVELS, unavailable};
use super::super::{Hub, Member};
use super::asked::Asked;
use super::envelope::{answer_for_modern, for_legacy};
use super::handing_over::Gone;
use super::passing::{Outcome, in_time};
use super::questions::Question;
use super::reading::Reading;
use super::said::{Heard, QUEUE, Said};
use super::seats::Seat;
use super::waiting::Round;
use super::{Response, ended, refuse, status};
use beginning::{Beginning, Sending, Unbegun};
use overhearing::{Overheard, ear};

/// For a backend to take note of something.
const NOTED_WITHIN: Duration = Duration::from_secs(5);
/// A stream that ends without its answer is gone on with so often.
const MOST_RESUMED: usize = 64;
/// Before that.
const RESUME_AFTER: Duration = Duration::from_millis(100);

impl Hub {
    /// Has a backend that wants sessions answer a client that has none. `theirs` is the request under the backend's own
    /// name.
    pub(super) async fn ask_legacy(
        self: &Arc<Self>,
        member: &Arc<Member>,
        asked: &Asked,
        theirs: &Message,
    ) -> Outcome {
        if let Err(reply) = self.check_repeated(&asked.message, &asked.repeated) {
            return Outcome::Answered(refuse(&asked.message, "header_mismatch", reply));
        }
        let seat = match self.seat(asked, member).await {
            Ok(seat) => seat,
            Err(failure) => return Outcome::Answered(failure.answer(asked.message.id())),
        };
        let heard = self.run_in(seat, Behind::Backend(Arc::clone(member)), asked, theirs).await;
        match heard {
            Heard::Answer(response) => Outcome::Answered(response),
            Heard::OtherEra => {
                Outcome::OtherEra(unavailable(member, &asked.message, "it wants no session any more"))
            }
            Heard::Nothing => Outcome::Answered(ended(&asked.message)),
        }
    }

    /// Has a tool of the hub's own answer a client without a session: it works in one.
    pub(super) async fn ask_own(self: &Arc<Self>, tool: OwnTool, asked: &Asked) -> Response {
        let seat = match self.seat_alone(asked).await {
            Ok(seat) => seat,
            Err(failure) => return failure.answer(asked.message.id()),
        };
        match self.run_in(seat, Behind::Hub(tool), asked, &asked.message).await {
            Heard::Answer(response) => response,
            Heard::OtherEra | Heard::Nothing => ended(&asked.message),
        }
    }

    async fn run_in(self: &Arc<Self>, seat: Seat, behind: Behind, asked: &Asked, theirs: &Message) -> Heard {
        let number = self.next_number();
        let Some(theirs) = for_legacy(theirs, number).and_then(|text| Message::parse(text).ok()) else {
            return Heard::Nothing;
        };
        let (line, said) = mpsc::channel(QUEUE);
        let hub = Arc::clone(self);
        let (asked, accepts) = (asked.clone(), asked.accepts);
        let call = InSeat { hub, behind, seat, number, theirs, asked, open: Vec::new(), overheard: None };
        self.tasks.spawn("a call in a session of the hub", call.run(line));
        self.hear(accepts, said).await
    }

    /// The client of a call that waits is back.
    ///
    /// # Errors
    /// The call waits, or waited, in another process, where it is not to be found.
    pub(super) async fn come_back(
        self: &Arc<Self>,
        asked: &Asked,
        process: Uuid,
        call: Uuid,
    ) -> Result<Response, Gone> {
        if process != self.waiting.process {
            return self.hand_over(asked, process, call).await;
        }
        let (line, said) = mpsc::channel(QUEUE);
        Ok(match self.waiting.wake(call, Round { message: asked.message.clone(), line }) {
            Ok(()) => match self.hear(asked.accepts, said).await {
                Heard::Answer(response) => response,
                Heard::OtherEra | Heard::Nothing => ended(&asked.message),
            },
            Err(reply) => refuse(&asked.message, "call_not_here", reply),
        })
    }
}

/// A question that the backend waits for.
#[derive(Debug)]
struct Open {
    question: Question,
    /// Its id, as the backend wrote it.
    id: Bytes,
}

/// Who answers.
#[derive(Clone, Debug)]
enum Behind {
    Backend(Arc<Member>),
    Hub(OwnTool),
}

/// The task.
#[derive(Debug)]
struct InSeat {
    hub: Arc<Hub>,
    behind: Behind,
    seat: Seat,
    /// Its id there, and its progress token.
    number: u64,
    theirs: Message,
    /// The client's request of this round.
    asked: Asked,
    open: Vec<Open>,
    /// What the backend says outside of the call.
    overheard: Option<Overheard>,
}

/// How far it is.
enum At {
    Sending(Sending),
    Reading(Box<Reading>),
}

/// What happens next.
enum Next {
    Begun(Result<Reading, Unbegun>),
    Said(Result<Message, NoAnswer>),
    SaidBeside(Message),
}

/// Why reading has stopped.
#[derive(Debug)]
enum Stop {
    /// The answer for the client.
    Answer(Said),
    /// The backend waits for an answer to what it has asked.
    Asked,
    /// Nobody listens any more.
    Gone,
}

impl InSeat {
    async fn run(mut self, mut line: mpsc::Sender<Said>) {
        let mut at = At::Sending(self.begin());
        loop {
            let deadline = self.deadline();
            let stop = tokio::select! {
                stop = in_time(deadline, self.read(&mut at, &line)) => stop,
                () = line.closed() => Some(Stop::Gone),
            };
            match stop {
                None => return self.end_late(line).await,
                Some(Stop::Answer(last)) => {
                    let _ = line.send(last).await;
                    return;
                }
                Some(Stop::Gone) => return self.give_up().await,
                Some(Stop::Asked) => match self.next_round(line).await {
                    Some(next) => line = next,
                    None => return self.give_up().await,
                },
            }
        }
    }

    /// The backend's time is over.
    async fn end_late(mut self, line: mpsc::Sender<Said>) {
        let _ = line.send(self.late()).await;
        self.give_up().await;
    }

    /// What a client does with its time is not the backend's: each round has as much.
    fn deadline(&self) -> Option<Instant> {
        let within = self.member().and_then(|member| member.backend.call_within())?;
        Some(Instant::now() + within)
    }

    fn member(&self) -> Option<&Arc<Member>> {
        match &self.behind {
            Behind::Backend(member) => Some(member),
            Behind::Hub(_) => None,
        }
    }

    fn saw(&self, seen: Seen) {
        if let Some(member) = self.member() {
            self.hub.saw(member, seen);
        }
    }

    fn last(&self, reply: &ErrorReply) -> Said {
        let status = status(reply.code.number());
        Said::Last { status, text: reply.to_json(self.asked.message.id()) }
    }

    fn late(&self) -> Said {
        self.saw(Seen::Failure);
        match self.member() {
            Some(member) => self.last(&late(member)),
            None => self.lost("it took too long", "unknown"),
        }
    }

    fn lost(&self, why: &str, executed: &str) -> Said {
        let name = self.member().map_or("the hub itself", |member| &member.name);
        let text = format!("backend {name} is not available: {why}");
        let data =
            json!({"origin": "skep", "class": "backend_unavailable", "backend": name, "executed": executed});
        self.last(&ErrorReply::new(ErrorCode::Internal, text).with_data(data))
    }

    /// Says something to whoever answers that is not answered.
    async fn tell(&self, text: Bytes) {
        let session = &self.seat.session;
        let told = match &self.behind {
            Behind::Backend(member) => match session.backend.opened(&member.name) {
                Some(opened) => self.hub.speaker(session, member, &opened).tell(text, NOTED_WITHIN).await,
                None => Ok(()),
            },
            Behind::Hub(_) => {
                if let Ok(message) = Message::parse(text) {
                    self.hub.hear_client(session, &message).await;
                }
                Ok(())
            }
        };
        if let Err(problem) = told {
            tracing::debug!(error = %problem, "was not told");
        }
    }

    /// Sends the request.
    fn begin(&mut self) -> Sending {
        let (hub, session) = (Arc::clone(&self.hub), Arc::clone(&self.seat.session));
        let (asked, theirs) = (self.asked.clone(), self.theirs.clone());
        match self.behind.clone() {
            Behind::Backend(member) => {
                let ear = self.seat.is_alone().then(|| {
                    let (ear, overheard) = ear();
                    self.overheard = Some(overheard);
                    ear
                });
                Box::pin(Beginning { hub, session, member, asked, theirs, ear }.begin())
            }
            Behind::Hub(tool) => Box::pin(async move {
                let (accepts, headers) = (Asked::takes_all(), &asked.head.headers);
                let request = OwnRequest { session: &session, message: &theirs, accepts, headers };
                Ok(Reading::new(hub.answer_own(tool, request).await))
            }),
        }
    }

    /// Reads on until there is something that ends the round.
    async fn read(&mut self, at: &mut At, line: &mpsc::Sender<Said>) -> Stop {
        let mut resumed = 0;
        loop {
            let message = match self.next(at).await {
                Next::Begun(Ok(reading)) => {
                    *at = At::Reading(Box::new(reading));
                    continue;
                }
                Next::Begun(Err(unbegun)) => return Stop::Answer(self.unbegun(unbegun)),
                Next::SaidBeside(message) => match self.beside(&message, line).await {
                    Some(stop) => return stop,
                    None => continue,
                },
                Next::Said(Ok(message)) => message,
                Next::Said(Err(NoAnswer::CutOff)) if resumed < MOST_RESUMED && self.resume(at).await => {
                    resumed += 1;
                    continue;
                }
                Next::Said(Err(problem)) => {
                    return Stop::Answer(self.lost(&problem.to_string(), "unknown"));
                }
            };
            match message.kind() {
                Kind::Result | Kind::Error => {
                    let is_it = message.id() == Some(self.number.to_string().as_bytes());
                    if is_it || message.kind() == Kind::Error {
                        return Stop::Answer(self.answer(&message));
                    }
                }
                Kind::Request if message.method() == Method::Ping => {
                    self.tell(result(message.id().unwrap_or_default(), b"{}")).await;
                }
                Kind::Request => return self.question(&message).await,
                Kind::Notification => self.notice(&message, line).await,
            }
        }
    }

    /// Whatever comes first. Cancel-safe.
    async fn next(&mut self, at: &mut At) -> Next {
        let beside = async {
            match &mut self.overheard {
                Some(overheard) => overheard.messages.recv().await,
                None => None,
            }
        };
        let next = async {
            match at {
                At::Sending(sending) => Next::Begun(sending.await),
                At::Reading(reading) => Next::Said(reading.next().await),
            }
        };
        tokio::select! {
            biased;
            next = next => next,
            Some(message) = beside => Next::SaidBeside(message),
        }
    }

    /// Goes on with a stream that its backend has ended before the answer; whether that can be.
    async fn resume(&self, at: &mut At) -> bool {
        let (Some(member), At::Reading(reading)) = (self.member(), at) else { return false };
        let Some(last) = reading.last_id.as_deref() else { return false };
        let last = HeaderValue::from_str(last).ok();
        sleep(RESUME_AFTER).await;
        let Some(opened) = self.seat.session.backend.opened(&member.name) else { return true };
        let speaker = self.hub.speaker(&self.seat.session, member, &opened);
        if let Some(body) = speaker.listen(last.as_ref()).await {
            let last_id = reading.last_id.take();
            **reading = Reading::stream(body);
            reading.last_id = last_id;
        }
        true
    }

    fn unbegun(&self, unbegun: Unbegun) -> Said {
        match unbegun {
            Unbegun::Lost(why, executed) => self.lost(&why, executed),
            Unbegun::Refused(error) => self.answer(&error),
            Unbegun::OtherEra => Said::OtherEra,
        }
    }

    fn answer(&self, message: &Message) -> Said {
        match answer_for_modern(message, &self.asked.message, &self.hub.server_info()) {
            Some(text) => {
                let status = Message::parse(text.clone())
                    .ok()
                    .and_then(|answer| answer.error_code())
                    .map_or(StatusCode::OK, status);
                Said::Last { status, text }
            }
            None => self.lost("its answer is none", "unknown"),
        }
    }

    /// What the backend says on the way.
    async fn notice(&mut self, message: &Message, line: &mpsc::Sender<Said>) {
        let text = match message.method() {
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                self.member().into_iter().for_each(|member| member.look_again());
                return;
            }
            // It does not want to know any more.
            Method::Cancelled => {
                let id = message.cancelled_id().unwrap_or_default();
                return self.open.retain(|open| open.id != id);
            }
            Method::Progress => {
                let is_mine = message.reported_token() == Some(self.number.to_string().as_bytes());
                let Some(token) = self.asked.message.progress_token().filter(|_| is_mine) else { return };
                message.splice(&[(message.reported_token_span(), token)])
            }
            Method::LogMessage if !self.wants(message) => return,
            Method::ResourceUpdated | Method::TasksStatus | Method::ElicitationComplete => return,
            _ => message.text().clone(),
        };
        // Whoever has gone is noticed where it is waited for the next message.
        let _ = line.send(Said::Notice(text)).await;
    }

    fn wants(&self, log: &Message) -> bool {
        let place = |level: &str| LEVELS.iter().position(|known| *known == level);
        let wanted = self.asked.message.meta_log_level().and_then(|level| place(&level));
        let said = log.level().and_then(|level| place(&level));
        wanted.zip(said).is_some_and(|(wanted, said)| said >= wanted)
    }
}
