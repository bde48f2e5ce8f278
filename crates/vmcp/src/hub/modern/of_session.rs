//! A request of a client's session for a backend of 2026-07-28, which knows none.
//!
//! It runs in a task of its own: a client of the legacy era that goes away has not cancelled. What the backend asks is asked
//! of the client while it waits, under ids that name the backend, and the request goes out again with the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method};
use proxy::failure::FailureClass;
use proxy::session::Session;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::super::ask::NoAnswer;
use super::super::calling::Caller;
use super::super::era::{Found, doubts_modern};
use super::super::foreign::wrap;
use super::super::head::carry;
use super::super::health::Seen;
use super::super::object::Object;
use super::super::overdue::late;
use super::super::requests::{is_down, not_answered};
use super::super::session::{Held, InFlight};
use super::super::{Hub, Member};
use super::Response;
use super::asked::Asked;
use super::envelope::{Answers, Introduction, answer_for_legacy, for_modern, request_text};
use super::passing::in_time;
use super::questions::{Question, lacking};
use super::reading::Reading;
use super::said::{Heard, QUEUE, Said};

/// Rounds of one request. Whoever asks more often does not get on.
const MAX_ROUNDS: usize = 16;
/// For a client to answer: people take their time.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// What became of a client's request.
pub(in crate::hub) enum Bridged {
    Answered(Response),
    /// The backend wants a handshake now, and was not asked.
    OtherEra,
}

impl Hub {
    /// Has a backend of 2026-07-28 answer a client that has shaken hands. `theirs` is the request under the backend's own
    /// name.
    pub(in crate::hub) async fn bridge(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        member: &Arc<Member>,
        asked: Asked,
        theirs: Message,
        in_flight: InFlight,
    ) -> Bridged {
        let (line, said) = mpsc::channel(QUEUE);
        let (accepts, message) = (asked.accepts, asked.message.clone());
        let rounds = Rounds {
            hub: Arc::clone(self),
            session: Arc::clone(session),
            member: Arc::clone(member),
            asked,
            theirs,
            line,
        };
        self.tasks.spawn("a call in the other era", async move {
            let last = tokio::select! {
                last = rounds.run() => last.unwrap_or_else(|reply| rounds.error(&reply)),
                () = in_flight.cancelled.cancelled() => {
                    rounds.error(&ErrorReply::new(ErrorCode::InvalidRequest, "the request was cancelled"))
                }
                () = rounds.cut() => return,
            };
            // Its client may have gone.
            let _ = rounds.line.send(last).await;
            drop(in_flight);
        });
        match self.hear_in(session, accepts, said).await {
            Heard::Answer(response) => Bridged::Answered(response),
            Heard::OtherEra => Bridged::OtherEra,
            Heard::Nothing => Bridged::Answered(not_answered(member, &message, "the call ended", "unknown")),
        }
    }
}

impl Hub {
    /// Has a backend of 2026-07-28 answer what the hub itself asks for a client of a session. Whoever drops this has cancelled. Gives a message; `None`: the backend wants a handshake now.
    ///
    /// # Errors
    /// There is no answer.
    pub(in crate::hub) async fn ask_for(
        self: &Arc<Self>,
        caller: Caller<'_>,
        member: &Arc<Member>,
        theirs: &Message,
    ) -> Result<Option<Message>, NoAnswer> {
        let Caller { session, voice, carried } = caller;
        let mut asked = Asked::of_hub(self, theirs.clone(), session.principal);
        carry(&mut asked.head.headers, carried);
        let (line, mut said) = mpsc::channel(QUEUE);
        let rounds = Rounds {
            hub: Arc::clone(self),
            session: Arc::clone(session),
            member: Arc::clone(member),
            asked,
            theirs: theirs.clone(),
            line,
        };
        let asking = rounds.run();
        let mut asking = std::pin::pin!(asking);
        let last = loop {
            tokio::select! {
                last = &mut asking => break last,
                Some(Said::Notice(text)) = said.recv() => {
                    voice.say(&text).await;
                }
            }
        };
        let text = match last {
            Ok(Said::Notice(text) | Said::Last { text, .. }) => text,
            Ok(Said::OtherEra) => return Ok(None),
            Err(reply) => reply.to_json(theirs.id()),
        };
        Message::parse(text).map(Some).map_err(|problem| NoAnswer::Unreadable(problem.to_string()))
    }
}

/// The task.
struct Rounds {
    hub: Arc<Hub>,
    session: Arc<Session<Held>>,
    member: Arc<Member>,
    asked: Asked,
    theirs: Message,
    line: mpsc::Sender<Said>,
}

impl Rounds {
    fn error(&self, reply: &ErrorReply) -> Said {
        Said::Last { status: StatusCode::OK, text: reply.to_json(self.asked.message.id()) }
    }

    fn lost(&self, why: &str, executed: &str) -> ErrorReply {
        let text = format!("backend {} is not available: {why}", self.member.name);
        let data = json!({"origin": "skep", "class": "backend_unavailable", "backend": &*self.member.name, "executed": executed});
        ErrorReply::new(ErrorCode::Internal, text).with_data(data)
    }

    /// The hub stops, and its client's connection has ended.
    async fn cut(&self) {
        self.hub.draining.cancelled().await;
        self.line.closed().await;
    }

    async fn run(&self) -> Result<Said, ErrorReply> {
        let client = self.introduction();
        let mut answers = Answers::default();
        for _ in 0..MAX_ROUNDS {
            let deadline = self.member.backend.call_within().map(|within| Instant::now() + within);
            let Some(round) = in_time(deadline, self.round(&client, &answers)).await else {
                self.hub.saw(&self.member, Seen::Failure);
                return Err(late(&self.member));
            };
            let Some(answer) = round? else { return Ok(Said::OtherEra) };
            if answer.result_type().as_deref() != Some("input_required") {
                let text = answer_for_legacy(&answer, &self.asked.message);
                let text = text.ok_or_else(|| self.lost("its answer is none", "unknown"))?;
                return Ok(Said::Last { status: StatusCode::OK, text });
            }
            answers = self.answers(&client, &answer).await?;
        }
        Err(self.lost("it asks without an end", "unknown"))
    }

    fn introduction(&self) -> Introduction {
        let remembered = self.session.backend.remembered.lock();
        let level = remembered.level();
        match Message::parse(remembered.initialize.clone()) {
            Ok(initialize) => Introduction::of_handshake(&initialize, level),
            Err(_) => Introduction::own(),
        }
    }

    /// One round; `None`: this is not the backend's era.
    async fn round(&self, client: &Introduction, answers: &Answers) -> Result<Option<Message>, ErrorReply> {
        let id = self.hub.next_number().to_string();
        let text = for_modern(&self.theirs, id.as_bytes(), client, answers);
        let theirs = text.and_then(|text| Message::parse(text).ok());
        let theirs = theirs.ok_or_else(|| self.lost("it cannot be asked that", "no"))?;
        let mut call = self.asked.call(theirs, Era::Modern);
        self.hub.repeat_arguments(&self.asked.message, &mut call.request.head.headers);
        let response = self.member.handle(call).await;
        let (status, class) =
            (response.status(), response.extensions().get::<FailureClass>().map(|class| class.0));
        let down = is_down(class, status);
        self.hub.saw(&self.member, if down { Seen::Failure } else { Seen::Call });
        let answer = self.read(Reading::new(response), id.as_bytes()).await;
        if !status.is_success() && !down && doubts_modern(status, answer.as_ref().ok()) {
            let look = self.hub.look(&self.member, self.hub.watching().probe_within).await;
            if matches!(look, Found::Legacy) {
                return Ok(None);
            }
        }
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(_) if !status.is_success() => {
                Err(self.lost(&NoAnswer::Status(status).to_string(), "unknown"))
            }
            Err(problem) => Err(self.lost(&problem.to_string(), "unknown")),
        }
    }

    /// Reads on to the answer; what is said before goes to the client.
    async fn read(&self, mut reading: Reading, id: &[u8]) -> Result<Message, NoAnswer> {
        loop {
            let message = reading.next().await?;
            match (message.kind(), message.method()) {
                (Kind::Result, _) if message.id() == Some(id) => return Ok(message),
                (Kind::Error, _) => return Ok(message),
                (_, Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged) => {
                    self.member.look_again();
                }
                (Kind::Notification, _) => {
                    // A client that has gone hears nothing.
                    let _ = self.line.send(Said::Notice(message.text().clone())).await;
                }
                // Nobody is asked on a stream in this era.
                _ => {}
            }
        }
    }

    /// Asks the client what the backend wants to know.
    async fn answers(&self, client: &Introduction, asks: &Message) -> Result<Answers, ErrorReply> {
        let result = asks.result().and_then(Object::read).unwrap_or_default();
        let questions = result.get("inputRequests").map(Question::read_all).unwrap_or_default();
        let lacking = lacking(&questions, &client.capabilities);
        if !lacking.is_empty() || (!questions.is_empty() && !self.asked.accepts.events) {
            return Err(
                self.lost(&format!("it asks for what its client cannot do: {}", lacking.join(", ")), "no")
            );
        }
        let asking = join_all(questions.iter().map(|question| self.ask(question)));
        let draining = self.hub.draining.clone();
        let answered = timeout(ANSWERED_WITHIN, draining.run_until_cancelled(asking)).await;
        let answered = answered.ok().flatten();
        let answered = answered.ok_or_else(|| self.lost("its question was not answered", "unknown"))?;
        let mut responses = Object::default();
        for (question, answer) in questions.iter().zip(answered) {
            responses.set(&question.key, answer?.to_vec());
        }
        Ok(Answers {
            responses: (!responses.is_empty()).then(|| responses.write()),
            state: result.get("requestState").map(Bytes::copy_from_slice),
        })
    }

    async fn ask(&self, question: &Question) -> Result<Bytes, ErrorReply> {
        let number = self.hub.next_number();
        let id = wrap(&self.member.name, number.to_string().as_bytes());
        let (tell, told) = oneshot::channel();
        let _asked = self.session.backend.questions.ask(number, tell);
        let text = request_text(&id, &question.method, question.params.as_deref());
        if self.line.send(Said::Notice(text)).await.is_err() {
            return Err(self.lost("nobody is there to answer its question", "unknown"));
        }
        let answer: Message =
            told.await.map_err(|_| self.lost("its question was not answered", "unknown"))?;
        match answer.result() {
            Some(result) => Ok(Bytes::copy_from_slice(result)),
            // Nobody answers in the client's stead.
            None => Err(self.lost("the client has refused to answer its question", "unknown")),
        }
    }
}
