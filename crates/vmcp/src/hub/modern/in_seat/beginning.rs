//! How a call is sent to a backend, in a session of the hub's, until there is something to be read.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, header};
use mcp::message::Kind;
use mcp::{Era, Message, headers};
use proxy::Call;
use proxy::failure::FailureClass;
use proxy::session::Session;
use serde_json::json;

use super::super::super::ask::NoAnswer;
use super::super::super::era::refuses_legacy;
use super::super::super::health::Seen;
use super::super::super::requests::{LEVELS, is_down, is_unknown_session};
use super::super::super::session::{Held, Opened};
use super::super::super::{Hub, Member};
use super::super::asked::Asked;
use super::super::envelope::request_text;
use super::super::reading::Reading;
use super::NOTED_WITHIN;
use super::overhearing::Ear;

/// A call that is being sent.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<Reading, Unbegun>> + Send>>;

/// Why there is nothing to be read.
#[derive(Debug)]
pub(super) enum Unbegun {
    /// The backend is not there, and whether the call was carried out.
    Lost(String, &'static str),
    /// The backend's error.
    Refused(Message),
    /// It does not know this era; nothing was done.
    OtherEra,
}

/// All that it takes.
pub(super) struct Beginning {
    pub(super) hub: Arc<Hub>,
    pub(super) session: Arc<Session<Held>>,
    pub(super) member: Arc<Member>,
    pub(super) asked: Asked,
    pub(super) theirs: Message,
    /// Hears what is said beside the call.
    pub(super) ear: Option<Ear>,
}

impl Beginning {
    /// A session that the backend has lost is begun anew once: the request was not carried out.
    pub(super) async fn begin(self) -> Result<Reading, Unbegun> {
        let Self { hub, session, member, .. } = &self;
        let held = &session.backend;
        let mut is_again = false;
        loop {
            let opened = hub.opened(session, member).await.map_err(|problem| {
                hub.saw(member, Seen::Failure);
                Unbegun::Lost(problem.to_string(), "no")
            })?;
            if opened.is_modern() {
                return Err(Unbegun::OtherEra);
            }
            self.set_level(&opened).await;
            if let Some(ear) = &self.ear {
                ear.listen(hub, session, member, &opened).await;
            }
            let response = member.handle(self.call(&opened)).await;
            if !is_again && opened.token.is_some() && is_unknown_session(&response) {
                is_again = true;
                held.lost(&member.name, &opened);
                continue;
            }
            let class = response.extensions().get::<FailureClass>().map(|class| class.0);
            let status = response.status();
            hub.saw(member, if is_down(class, status) { Seen::Failure } else { Seen::Call });
            let mut reading = Reading::new(response);
            if status.is_success() {
                return Ok(reading);
            }
            return Err(match reading.next().await {
                Ok(message) if refuses_legacy(&message) => {
                    held.lost(&member.name, &opened);
                    member.eras.doubt();
                    Unbegun::OtherEra
                }
                Ok(message) if message.kind() == Kind::Error => Unbegun::Refused(message),
                _ => Unbegun::Lost(NoAnswer::Status(status).to_string(), "unknown"),
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
    async fn set_level(&self, opened: &Opened) {
        let Some(level) = self.asked.message.meta_log_level().filter(|_| opened.logs) else { return };
        let place = |level: &str| LEVELS.iter().position(|known| *known == level);
        let Some(wanted) = place(&level) else { return };
        let held = &self.session.backend;
        let says = held.remembered.lock().level().and_then(place);
        if says.is_some_and(|says| says <= wanted) {
            return;
        }
        let params = json!({"level": &*level}).to_string();
        let text = request_text(b"\"skep-level\"", "logging/setLevel", Some(params.as_bytes()));
        let speaker = self.hub.speaker(&self.session, &self.member, opened);
        if speaker.ask(text.clone(), NOTED_WITHIN).await.is_ok()
            && let Ok(message) = Message::parse(text)
        {
            held.remembered.lock().note(&message);
        }
    }
}
