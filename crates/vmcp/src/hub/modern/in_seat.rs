//! A client's request without a session for a backend that wants one.
//!
//! It runs in a task of its own, in a session of the hub's ([`super::seats`]). What the backend asks on the way ends the
//! round: the client gets the question for its answer, and the call waits, with all that it holds, until the client comes
//! back. A client that goes away while it is not asked has cancelled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, headers};
use proxy::Call;
use proxy::failure::FailureClass;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::ask::{NoAnswer, Speaker};
use super::super::era::refuses_legacy;
use super::super::health::Seen;
use super::super::object::{Object, quoted};
use super::super::requests::{LEVELS, is_down, is_unknown_session, unavailable};
use super::super::session::Opened;
use super::super::{Hub, Member};
use super::envelope::{answer_for_modern, answer_text, for_legacy, request_text, with_server};
use super::of_session::ANSWERED_WITHIN;
use super::passing::{Asked, Outcome};
use super::questions::{Question, lacking, missing};
use super::reading::Reading;
use super::said::{Heard, QUEUE, Said};
use super::seats::Seat;
use super::state::{State, responses};
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
        if let Err(reply) = self.check_repeated(&asked.message, &asked.head.headers) {
            return Outcome::Answered(refuse(&asked.message, "header_mismatch", reply));
        }
        let seat = match self.seat(asked, member).await {
            Ok(seat) => seat,
            Err(failure) => return Outcome::Answered(failure.answer(asked.message.id())),
        };
        let number = self.next_number();
        let Some(theirs) = for_legacy(theirs, number).and_then(|text| Message::parse(text).ok()) else {
            return Outcome::Answered(unavailable(member, &asked.message, "it cannot be asked that"));
        };
        let (line, said) = mpsc::channel(QUEUE);
        let (hub, member, served) = (Arc::clone(self), Arc::clone(member), member);
        let call = InSeat { hub, member, seat, number, theirs, asked: asked.clone(), open: Vec::new() };
        self.tasks.spawn("a call in a session of the hub", call.run(line));
        match self.hear(asked.accepts, said).await {
            Heard::Answer(response) => Outcome::Answered(response),
            Heard::OtherEra => {
                Outcome::OtherEra(unavailable(served, &asked.message, "it wants no session any more"))
            }
            Heard::Nothing => Outcome::Answered(ended(asked)),
        }
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

/// The task.
#[derive(Debug)]
struct InSeat {
    hub: Arc<Hub>,
    member: Arc<Member>,
    seat: Seat,
    /// Its id with the backend, and its progress token there.
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
            begun = self.begin() => begun,
            () = line.closed() => {
                // It may have been asked already.
                if let Some(opened) = self.seat.session.backend.opened(&self.member.name) {
                    self.cancel(&opened).await;
                }
                return;
            }
        };
        let (opened, mut reading) = match begun {
            Ok(begun) => begun,
            Err(last) => {
                let _ = line.send(last).await;
                return;
            }
        };
        loop {
            let stop = tokio::select! {
                stop = self.read(&opened, &mut reading, &line) => stop,
                () = line.closed() => Stop::Gone,
            };
            match stop {
                Stop::Answer(last) => {
                    let _ = line.send(last).await;
                    return;
                }
                Stop::Gone => return self.give_up(&opened).await,
                Stop::Asked => match self.next_round(&opened, line).await {
                    Some(next) => line = next,
                    None => return self.give_up(&opened).await,
                },
            }
        }
    }

    fn last(&self, reply: &ErrorReply) -> Said {
        let status = status(reply.code.number());
        Said::Last { status, text: reply.to_json(self.asked.message.id()) }
    }

    fn lost(&self, why: &str, executed: &str) -> Said {
        let text = format!("backend {} is not available: {why}", self.member.name);
        let data = json!({"origin": "skep", "class": "backend_unavailable", "backend": &*self.member.name, "executed": executed});
        self.last(&ErrorReply::new(ErrorCode::Internal, text).with_data(data))
    }

    fn speaker<'a>(&'a self, opened: &'a Opened) -> Speaker<'a> {
        self.hub.speaker(&self.seat.session, &self.member, opened)
    }

    /// Sends the request. A session that the backend has lost is begun anew once: the request was not carried out.
    async fn begin(&self) -> Result<(Arc<Opened>, Reading), Said> {
        let mut is_again = false;
        loop {
            let opened = match self.hub.opened(&self.seat.session, &self.member).await {
                Ok(opened) => opened,
                Err(problem) => {
                    self.hub.saw(&self.member, Seen::Failure);
                    return Err(self.lost(&problem.to_string(), "no"));
                }
            };
            if opened.is_modern() {
                return Err(Said::OtherEra);
            }
            self.set_level(&opened).await;
            let response = self.member.backend.handle(self.call(&opened)).await;
            if !is_again && opened.token.is_some() && is_unknown_session(&response) {
                is_again = true;
                self.seat.session.backend.lost(&self.member.name, &opened);
                continue;
            }
            let class = response.extensions().get::<FailureClass>().map(|class| class.0);
            let status = response.status();
            self.hub.saw(&self.member, if is_down(class, status) { Seen::Failure } else { Seen::Call });
            let mut reading = Reading::new(response);
            if status.is_success() {
                return Ok((opened, reading));
            }
            return Err(match reading.next().await {
                Ok(message) if refuses_legacy(&message) => {
                    self.seat.session.backend.lost(&self.member.name, &opened);
                    self.member.eras.doubt();
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
        for name in [headers::METHOD, headers::NAME] {
            head.remove(name);
        }
        if let Some(token) = &opened.token {
            head.insert(headers::SESSION_ID, token.clone());
        }
        head.insert(headers::PROTOCOL_VERSION, opened.version.clone());
        // Whatever the client takes, questions come as events.
        head.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        call
    }

    /// Has the backend say as much as the request asks for.
    async fn set_level(&self, opened: &Opened) {
        let Some(level) = self.asked.message.meta_log_level().filter(|_| opened.logs) else { return };
        let place = |level: &str| LEVELS.iter().position(|known| *known == level);
        let Some(wanted) = place(&level) else { return };
        let says = self.seat.session.backend.remembered.lock().level().and_then(place);
        if says.is_some_and(|says| says <= wanted) {
            return;
        }
        let params = json!({"level": &*level}).to_string();
        let text = request_text(b"\"skep-level\"", "logging/setLevel", Some(params.as_bytes()));
        if self.speaker(opened).ask(text.clone(), NOTED_WITHIN).await.is_ok()
            && let Ok(message) = Message::parse(text)
        {
            self.seat.session.backend.remembered.lock().note(&message);
        }
    }

    /// Reads on until there is something that ends the round.
    async fn read(&mut self, opened: &Opened, reading: &mut Reading, line: &mpsc::Sender<Said>) -> Stop {
        let mut resumed = 0;
        loop {
            let message = match reading.next().await {
                Ok(message) => message,
                Err(NoAnswer::CutOff) if reading.last_id.is_some() && resumed < MOST_RESUMED => {
                    resumed += 1;
                    self.resume(opened, reading).await;
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
                    self.speaker(opened).respond(&message).await;
                }
                Kind::Request => return self.question(opened, &message).await,
                Kind::Notification => self.notice(&message, line).await,
            }
        }
    }

    /// Goes on with a stream that its backend has ended before the answer.
    async fn resume(&self, opened: &Opened, reading: &mut Reading) {
        sleep(RESUME_AFTER).await;
        let last = reading.last_id.as_deref().and_then(|last| HeaderValue::from_str(last).ok());
        if let Some(body) = self.speaker(opened).listen(last.as_ref()).await {
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
                return self.member.look_again();
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

    /// The backend asks. Where its client cannot be asked that, the backend is refused, and the call is over.
    async fn question(&mut self, opened: &Opened, message: &Message) -> Stop {
        let question = Question {
            key: format!("q{}", self.hub.next_number()),
            method: message.method_name().unwrap_or_default().into_owned(),
            params: message.params().map(Bytes::copy_from_slice),
        };
        let declared = self.asked.message.meta_capabilities().unwrap_or_default();
        let lacking = lacking(std::slice::from_ref(&question), declared);
        if !lacking.is_empty() {
            self.speaker(opened).respond(message).await;
            self.cancel(opened).await;
            return Stop::Answer(self.last(&missing(&lacking)));
        }
        let id = message.id().map(Bytes::copy_from_slice).unwrap_or_default();
        self.open.push(Open { question, id });
        Stop::Asked
    }

    /// Ends the round with what the backend asks, and waits for the next one. `None`: nobody came back, or could.
    async fn next_round(&mut self, opened: &Opened, line: mpsc::Sender<Said>) -> Option<mpsc::Sender<Said>> {
        let mut line = line;
        while !self.open.is_empty() {
            let Some((call, woken)) = self.hub.waiting.park() else {
                let text = "too many calls wait for an answer of their client";
                let reply = ErrorReply::new(ErrorCode::Internal, text)
                    .with_data(json!({"origin": "skep", "class": "too_many_waiting", "executed": "unknown"}));
                let _ = line.send(self.last(&reply)).await;
                return None;
            };
            let asks = self.asks(call)?;
            if line.send(asks).await.is_err() {
                return None;
            }
            drop(line);
            line = self.come_back(opened, woken).await?;
        }
        Some(line)
    }

    /// The answer to the client that has its questions in it.
    fn asks(&self, call: uuid::Uuid) -> Option<Said> {
        let state = State::Waiting { process: self.hub.waiting.process, call };
        let sealed = state.seal(&self.hub.config.keys, &self.asked.message, self.asked.principal)?;
        let mut result = Object::default();
        result.set("resultType", &br#""input_required""#[..]);
        let questions = Question::write_all(self.open.iter().map(|open| &open.question));
        result.set("inputRequests", questions.to_vec());
        result.set("requestState", quoted(&sealed));
        let result = with_server(result, &self.hub.server_info());
        let text = answer_text(self.asked.message.id()?, "result", &result);
        Some(Said::Last { status: StatusCode::OK, text })
    }

    /// Waits for the client, and tells the backend what it has answered.
    async fn come_back(
        &mut self,
        opened: &Opened,
        woken: oneshot::Receiver<Round>,
    ) -> Option<mpsc::Sender<Said>> {
        let round = tokio::select! {
            round = woken => round.ok()?,
            () = sleep_until(Instant::now() + ANSWERED_WITHIN) => return None,
        };
        let given = responses(&round.asked.message).unwrap_or_default();
        let given = Object::read(&given).unwrap_or_default();
        self.asked = round.asked;
        let mut left = Vec::new();
        for open in std::mem::take(&mut self.open) {
            match given.get(&open.question.key) {
                None => left.push(open),
                Some(answer) => {
                    let text = answer_text(&open.id, "result", answer);
                    if let Err(problem) = self.speaker(opened).tell(text, NOTED_WITHIN).await {
                        tracing::debug!(backend.id = &*self.member.name, error = %problem, "did not get what it has asked for");
                    }
                }
            }
        }
        self.open = left;
        Some(round.line)
    }

    /// Nobody waits for the answer any more.
    async fn give_up(&mut self, opened: &Opened) {
        for open in std::mem::take(&mut self.open) {
            let refusal = ErrorReply::new(ErrorCode::Internal, "nobody is there to answer");
            // It hears next that the whole call is over.
            let _ = self.speaker(opened).tell(refusal.to_json(Some(&open.id)), NOTED_WITHIN).await;
        }
        self.cancel(opened).await;
    }

    async fn cancel(&self, opened: &Opened) {
        let params = json!({"requestId": self.number, "reason": "nobody waits for the answer"});
        let text =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).to_string();
        // What goes on all the same is not heard.
        let _ = self.speaker(opened).tell(text.into(), NOTED_WITHIN).await;
    }
}
