//! What a backend says on its session's own stream while it works on a call. In a session that is this call's alone it is for
//! this call's client, who has no stream of its own: a question ends the round like one on the call's stream.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use mcp::message::Kind;
use mcp::{Message, Method};
use proxy::session::Session;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::super::ask::result;
use super::super::super::session::{Held, Opened};
use super::super::super::{Hub, Member};
use super::super::reading::Reading;
use super::super::said::{QUEUE, Said};
use super::{InSeat, MOST_RESUMED, RESUME_AFTER, Stop};

/// For a backend to show its stream. A call is not kept waiting by one that shows it with the first event only.
const SHOWN_WITHIN: Duration = Duration::from_millis(100);

/// What is heard beside a call, until this is dropped.
#[derive(Debug)]
pub(super) struct Overheard {
    pub(super) messages: mpsc::Receiver<Message>,
    _until: DropGuard,
}

/// Where that comes from.
#[derive(Debug)]
pub(super) struct Ear {
    tell: mpsc::Sender<Message>,
    until: CancellationToken,
}

pub(super) fn ear() -> (Ear, Overheard) {
    let ((tell, messages), until) = (mpsc::channel(QUEUE), CancellationToken::new());
    (Ear { tell, until: until.clone() }, Overheard { messages, _until: until.drop_guard() })
}

impl Ear {
    /// Listens to a session from now on: a call that is sent then is not missed.
    pub(super) async fn listen(
        &self,
        hub: &Arc<Hub>,
        session: &Arc<Session<Held>>,
        member: &Arc<Member>,
        opened: &Arc<Opened>,
    ) {
        let (show, shown) = oneshot::channel();
        let stream = Stream {
            hub: Arc::clone(hub),
            session: Arc::clone(session),
            member: Arc::clone(member),
            opened: Arc::clone(opened),
            tell: self.tell.clone(),
        };
        let until = self.until.clone();
        hub.tasks.spawn("what is said beside a call", async move {
            until.run_until_cancelled(stream.read(show)).await;
        });
        // Whether there is such a stream or not.
        let _ = timeout(SHOWN_WITHIN, shown).await;
    }
}

/// A session's own stream.
struct Stream {
    hub: Arc<Hub>,
    session: Arc<Session<Held>>,
    member: Arc<Member>,
    opened: Arc<Opened>,
    tell: mpsc::Sender<Message>,
}

impl Stream {
    async fn read(self, show: oneshot::Sender<()>) {
        let speaker = self.hub.speaker(&self.session, &self.member, &self.opened);
        let (mut show, mut last) = (Some(show), None::<String>);
        for _ in 0..MOST_RESUMED {
            let cursor = last.as_deref().and_then(|last| HeaderValue::from_str(last).ok());
            let Some(body) = speaker.listen(cursor.as_ref()).await else { return };
            drop(show.take());
            let mut reading = Reading::stream(body);
            while let Ok(message) = reading.next().await {
                if self.tell.send(message).await.is_err() {
                    return;
                }
            }
            last = reading.last_id.or(last);
            sleep(RESUME_AFTER).await;
        }
    }
}

impl InSeat {
    /// What becomes of something said beside the call; whether that ends the round.
    pub(super) async fn beside(&mut self, message: &Message, line: &mpsc::Sender<Said>) -> Option<Stop> {
        match message.kind() {
            Kind::Request if message.method() == Method::Ping => {
                self.tell(result(message.id().unwrap_or_default(), b"{}")).await;
            }
            Kind::Request if self.ask(message).is_empty() => return Some(Stop::Asked),
            // The call may not need it.
            Kind::Request => self.refuse(message).await,
            Kind::Notification => self.notice(message, line).await,
            Kind::Result | Kind::Error => {}
        }
        None
    }
}
