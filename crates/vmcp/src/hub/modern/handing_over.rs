//! A client of 2026-07-28 that comes back to another replica than the one where its call waits: that one is left what the
//! client says, and this one passes on what it answers.
//!
//! INVARIANT: a call goes on where it waits, or not at all. Where its replica is gone, what may not be done twice is not done
//! again.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mcp::method::Resend;
use mcp::{ErrorCode, ErrorReply, Message, Method};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::Hub;
use super::super::mail::{HOLD, LOOK_EVERY, Other, READ_EVERY};
use super::super::object::Object;
use super::asked::Asked;
use super::envelope::request_text;
use super::said::{Heard, QUEUE, Said};
use super::waiting::drawn;
use super::{Response, ended, status};

/// For the other replica to say that it goes on.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The next round of a call, left for the process where it waits.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Handed {
    pub(super) call: Uuid,
    /// Where its answer is waited for.
    pub(super) reply: Uuid,
    /// What the client says: its request.
    pub(super) message: String,
}

/// What comes back.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Word {
    /// The call goes on.
    Taken,
    Notice(String),
    Last {
        status: u16,
        text: String,
    },
}

/// Nobody has the call any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Hub {
    /// Has the replica where a call waits go on with it.
    ///
    /// # Errors
    /// [`Gone`], or it is not to be found now.
    pub(super) async fn hand_over(
        self: &Arc<Self>,
        asked: &Asked,
        process: Uuid,
        call: Uuid,
    ) -> Result<Response, Gone> {
        if !self.config.store.is_shared() || self.is_held(process).await != Some(true) {
            return Err(Gone);
        }
        let reply = drawn();
        // Before it is known: whoever answers looks whether somebody waits.
        let _ = self.config.mail.hold(reply, HOLD).await;
        let message = String::from_utf8_lossy(asked.message.text()).into_owned();
        if !self.leave_letter(process, &Handed { call, reply, message }).await {
            return Err(Gone);
        }
        let (line, said) = mpsc::channel(QUEUE);
        let following = Following { hub: Arc::clone(self), reply, line, asked: asked.message.clone() };
        self.tasks.spawn("a round at another replica", following.run(process, call));
        Ok(match self.hear(asked.accepts, said).await {
            Heard::Answer(response) => response,
            Heard::OtherEra | Heard::Nothing => ended(&asked.message),
        })
    }

    /// The request as it was before anybody was asked, if it may be carried out a second time.
    pub(super) fn afresh(&self, asked: &Asked) -> Option<Asked> {
        let message = &asked.message;
        let may_again = match message.method() {
            Method::ToolsCall => {
                let name = message.target()?;
                let view = self.view.load();
                view.tool(&name).is_some_and(|route| self.may_resend(&name, route))
            }
            method => method.resend() == Resend::Safe,
        };
        if !may_again {
            return None;
        }
        let mut params = Object::read(message.params()?)?;
        params.remove("requestState");
        params.remove("inputResponses");
        let text = request_text(message.id()?, &message.method_name()?, Some(&params.write()));
        Some(Asked { message: Message::parse(text).ok()?, ..asked.clone() })
    }
}

/// Waits for what another replica says of a call.
struct Following {
    hub: Arc<Hub>,
    reply: Uuid,
    line: mpsc::Sender<Said>,
    asked: Message,
}

impl Following {
    async fn run(self, process: Uuid, call: Uuid) {
        if !self.read(process, call).await && !self.line.is_closed() {
            let _ = self.line.send(lost(&self.asked)).await;
        }
        // From this it is known there that nobody waits.
        let _ = self.hub.config.mail.release(self.reply).await;
    }

    /// Until the answer, or until there is none to come; whether it was there.
    async fn read(&self, process: Uuid, call: Uuid) -> bool {
        let begun = Instant::now();
        let (mut is_taken, mut other, mut looked) = (false, Other::new(process), begun);
        loop {
            tokio::select! {
                () = self.line.closed() => return false,
                () = sleep(READ_EVERY) => {}
            }
            let letters = self.hub.config.mail.hold(self.reply, HOLD).await;
            for letter in letters.ok().flatten().unwrap_or_default() {
                if !is_taken {
                    // From now on somebody works on this call.
                    (is_taken, other) = (true, Other::new(call));
                }
                if self.pass(&letter).await {
                    return true;
                }
            }
            if !is_taken && begun.elapsed() >= TAKEN_WITHIN {
                return false;
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if self.hub.is_gone(&mut other).await {
                    return false;
                }
            }
        }
    }

    /// Whether it was the last one.
    async fn pass(&self, letter: &[u8]) -> bool {
        match serde_json::from_slice(letter) {
            Ok(Word::Notice(text)) => {
                // What a client does not read in time it misses.
                let _ = self.line.try_send(Said::Notice(text.into()));
                false
            }
            Ok(Word::Last { status, text }) => {
                let status = StatusCode::from_u16(status).unwrap_or_default();
                let _ = self.line.send(Said::Last { status, text: text.into() }).await;
                true
            }
            Ok(Word::Taken) | Err(_) => false,
        }
    }
}

fn lost(asked: &Message) -> Said {
    let text = "the replica that worked on the call is gone: it may or may not have been carried out";
    let reply = ErrorReply::new(ErrorCode::OutcomeUnknown, text).with_data(
        json!({"origin": "skep", "class": "interrupted", "executed": "unknown", "retriable": false}),
    );
    Said::Last { status: status(reply.code.number()), text: reply.to_json(asked.id()) }
}
