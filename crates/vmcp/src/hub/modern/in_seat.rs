//! A client's request without a session for a backend that wants one.
//!
//! It runs in a task of its own, in a session of the hub's ([`super::seats`]). What the backend asks on the way ends the
//! round: the client gets the question for its answer, and the call waits, with all that it holds, until the client comes
//! back. A client that goes away while it is not asked has cancelled.

mod asking;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, headers};
use proxy::Call;
use proxy::failure::FailureClass;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::ask::{NoAnswer, result};
use super::super::era::refuses_legacy;
use super::super::health::Seen;
use super::super::overdue::late;
use super::super::own::OwnTool;
use super::super::requests::{LEVELS, is_down, is_unknown_session, unavailable};
use super::super::session::Opened;
use super::super::{Hub, Member};
use super::asked::Asked;
use super::envelope::{answer_for_modern, for_legacy, request_text};
use super::passing::{Outcome, in_time};
use super::questions::Question;
use super::reading::Reading;
use super::said::{Heard, QUEUE, Said};
use super::seats::Seat;
use super::waiting::Round;
use super::{Response, refuse, status};

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
            Heard::Nothing => Outcome::Answered(ended(asked)),
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
            Heard::OtherEra | Heard::Nothing => ended(asked),
        }
    }

    async fn run_in(self: &Arc<Self>, seat: Seat, behind: Behind, asked: &Asked, theirs: &Message) -> Heard {
        let number = self.next_number();
        let Some(theirs) = for_legacy(theirs, number).and_then(|text| Message::parse(text).ok()) else {
            return Heard::Nothing;
        };
        let (line, said) = mpsc::channel(QUEUE);
        let hub = Arc::clone(self);
        let call = InSeat { hub, behind, seat, number, theirs, asked: asked.clone(), open: Vec::new() };
        self.tasks.spawn("a call in a session of the hub", call.run(line));
        self.hear(asked.accepts, said).await
    }

    /// The client of a call that waits is back.
    pub(super) async fn come_back(&self, asked: &Asked, process: uuid::Uuid, call: uuid::Uuid) -> Response {
        let (line, said) = mpsc::channel(QUEUE);
        match self.waiting.wake(process, call, Round { asked: asked.clone(), line }) {
            Ok(()) => match self.hear(asked.accepts, said).await {
                Heard::Answer(response) => response,
                Heard::OtherEra | Heard::Nothing => ended(asked),
            },
            Err(reply) => refuse(&asked.message, "call_not_here", reply),
        }
    }
}

fn ended(asked: &Asked) -> Response {
    let reply = ErrorReply::new(ErrorCode::OutcomeUnknown, "the call ended without an answer")
        .with_data(json!({"origin": "skep", "class": "interrupted", "executed": "unknown"}));
    refuse(&asked.message, "interrupted", reply)
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
        let begun = tokio::select! {
            begun = self.in_time(self.begin()) => begun,
            // It may have been asked already.
            () = line.closed() => return self.cancel().await,
        };
        let mut reading = match begun {
            Some(Ok(reading)) => reading,
            Some(Err(last)) => {
                let _ = line.send(last).await;
                return;
            }
            None => return self.end_late(line).await,
        };
        loop {
            let deadline = self.deadline();
            let stop = tokio::select! {
                stop = in_time(deadline, self.read(&mut reading, &line)) => stop,
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

    async fn in_time<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        in_time(self.deadline(), doing).await
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
    async fn begin(&self) -> Result<Reading, Said> {
        match &self.behind {
            Behind::Backend(member) => self.begin_at(member).await,
            Behind::Hub(tool) => {
                let (session, accepts) = (&self.seat.session, Asked::takes_all());
                let response = self.hub.answer_own(tool.clone(), session, &self.theirs, accepts).await;
                Ok(Reading::new(response))
            }
        }
    }

    /// A session that the backend has lost is begun anew once: the request was not carried out.
    async fn begin_at(&self, member: &Arc<Member>) -> Result<Reading, Said> {
        let held = &self.seat.session.backend;
        let mut is_again = false;
        loop {
            let opened = match self.hub.opened(&self.seat.session, member).await {
                Ok(opened) => opened,
                Err(problem) => {
                    self.saw(Seen::Failure);
                    return Err(self.lost(&problem.to_string(), "no"));
                }
            };
            if opened.is_modern() {
                return Err(Said::OtherEra);
            }
            self.set_level(member, &opened).await;
            let response = member.handle(self.call(&opened)).await;
            if !is_again && opened.token.is_some() && is_unknown_session(&response) {
                is_again = true;
                held.lost(&member.name, &opened);
                continue;
            }
            let class = response.extensions().get::<FailureClass>().map(|class| class.0);
            let status = response.status();
            self.saw(if is_down(class, status) { Seen::Failure } else { Seen::Call });
            let mut reading = Reading::new(response);
            if status.is_success() {
                return Ok(reading);
            }
            return Err(match reading.next().await {
                Ok(message) if refuses_legacy(&message) => {
                    held.lost(&member.name, &opened);
                    member.eras.doubt();
                    Said::OtherEra
                }
                Ok(message) if message.kind() == Kind::Error => self.answer(&message),
                _ => self.lost(&NoAnswer::Status(status).to_string(), "unknown"),
            });
        }
    }

    fn call(&self, opened: &Opened) -> Call {
        let mut call = self.asked.call(self.theirs.clone(), Era::Legacy);
        let head = &mut call.request.head.headers;
        if let Some(token) = &opened.token {
            head.insert(headers::SESSION_ID, token.clone());
        }
        head.insert(headers::PROTOCOL_VERSION, opened.version.clone());
        // Whatever the client takes, questions come as events.
        head.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        call
    }

    /// Has the backend say as much as the request asks for.
    async fn set_level(&self, member: &Arc<Member>, opened: &Opened) {
        let Some(level) = self.asked.message.meta_log_level().filter(|_| opened.logs) else { return };
        let place = |level: &str| LEVELS.iter().position(|known| *known == level);
        let Some(wanted) = place(&level) else { return };
        let says = self.seat.session.backend.remembered.lock().level().and_then(place);
        if says.is_some_and(|says| says <= wanted) {
            return;
        }
        let params = json!({"level": &*level}).to_string();
        let text = request_text(b"\"skep-level\"", "logging/setLevel", Some(params.as_bytes()));
        let speaker = self.hub.speaker(&self.seat.session, member, opened);
        if speaker.ask(text.clone(), NOTED_WITHIN).await.is_ok()
            && let Ok(message) = Message::parse(text)
        {
            self.seat.session.backend.remembered.lock().note(&message);
        }
    }

    /// Reads on until there is something that ends the round.
    async fn read(&mut self, reading: &mut Reading, line: &mpsc::Sender<Said>) -> Stop {
        let mut resumed = 0;
        loop {
            let message = match reading.next().await {
                Ok(message) => message,
                Err(NoAnswer::CutOff)
                    if self.member().is_some() && reading.last_id.is_some() && resumed < MOST_RESUMED =>
                {
                    resumed += 1;
                    self.resume(reading).await;
                    continue;
                }
                Err(problem) => return Stop::Answer(self.lost(&problem.to_string(), "unknown")),
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

    /// Goes on with a stream that its backend has ended before the answer.
    async fn resume(&self, reading: &mut Reading) {
        sleep(RESUME_AFTER).await;
        let last = reading.last_id.as_deref().and_then(|last| HeaderValue::from_str(last).ok());
        let Some(member) = self.member() else { return };
        let Some(opened) = self.seat.session.backend.opened(&member.name) else { return };
        let speaker = self.hub.speaker(&self.seat.session, member, &opened);
        if let Some(body) = speaker.listen(last.as_ref()).await {
            let last_id = reading.last_id.take();
            *reading = Reading::stream(body);
            reading.last_id = last_id;
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
