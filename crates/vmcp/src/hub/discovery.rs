//! One task per backend that keeps a session of the hub's own with it: to see what it offers, to hear when that changes,
//! and whether it is there at all. Nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use mcp::message::Kind;
use mcp::sse::{Decoder, Event};
use mcp::{Message, Method};
use proxy::Body;
use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{NoAnswer, Speaker};
use super::health::Seen;
use super::listing::OwnSession;
use super::{Hub, Member};

/// Notices that come together lead to one look.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Between two tries to reach a backend that is not there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For a farewell.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// No notice is longer than this.
const MAX_NOTICE: usize = 1024 * 1024;

/// Looks after a backend until the hub stops or the backend is taken away. To be run as a task.
pub(super) async fn follow(hub: Arc<Hub>, member: Arc<Member>) {
    let (mut pause, mut judged) = (FIRST_PAUSE, None::<Instant>);
    loop {
        let begun = Instant::now();
        let Some(problem) = follow_session(&hub, &member).await else { return };
        tracing::debug!(backend.id = &*member.name, error = %problem, "backend is not there");
        hub.looked_at(&member);
        // It is tried more often than it is judged: a restart is no illness.
        if judged.is_none_or(|judged| judged.elapsed() >= hub.watching().probe_every) {
            judged = Some(Instant::now());
            hub.saw(&member, seen(&problem));
        }
        if begun.elapsed() > LONGEST_PAUSE * 2 {
            pause = FIRST_PAUSE;
        }
        // Not all that went together come back together.
        tokio::select! {
            () = sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.75))) => {}
            () = ended(&hub, &member) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The hub stops, or the backend is none of its own any more.
async fn ended(hub: &Hub, member: &Member) {
    let stop = hub.tasks.stop_token();
    tokio::select! {
        () = stop.cancelled() => {}
        () = member.gone.cancelled() => {}
    }
}

fn seen(problem: &NoAnswer) -> Seen {
    match problem {
        NoAnswer::Status(status) if matches!(status.as_u16(), 401 | 403) => Seen::Denied,
        _ => Seen::Failure,
    }
}

/// Ends with the session, and says why; `None`: it was told to end.
async fn follow_session(hub: &Hub, member: &Member) -> Option<NoAnswer> {
    let path = &*hub.config.path;
    let begun = Instant::now();
    let own = tokio::select! {
        own = OwnSession::begin(hub, member) => match own {
            Ok(own) => own,
            Err(problem) => return Some(problem),
        },
        () = ended(hub, member) => return None,
    };
    let problem = tokio::select! {
        problem = look_and_listen(hub, member, &own, begun) => Some(problem),
        () = ended(hub, member) => None,
    };
    own.end(member, path, LAST_WAIT).await;
    problem
}

async fn look_and_listen(hub: &Hub, member: &Member, own: &OwnSession, mut begun: Instant) -> NoAnswer {
    let path = &*hub.config.path;
    let mut stream = own.listen(member, path).await.map(|body| Notices::new(body, member));
    loop {
        match own.list(member, path, hub.config.list_within).await {
            Ok(listing) => hub.publish(member, listing, Seen::Probe { took: begun.elapsed() }),
            Err(problem) => return problem,
        }
        let mut next_probe = Instant::now() + hub.watching().probe_every;
        loop {
            tokio::select! {
                () = member.looks_again.notified() => break,
                heard = heard(&mut stream, own.speaker(member, path)) => match heard {
                    true => break,
                    false => stream = None,
                },
                () = sleep_until(next_probe) => {
                    begun = Instant::now();
                    if stream.is_none() {
                        // It cannot say that something has changed, or its stream was cut.
                        stream = own.listen(member, path).await.map(|body| Notices::new(body, member));
                        break;
                    }
                    if let Err(problem) = own.probe(member, path, hub.watching().probe_within).await {
                        return problem;
                    }
                    hub.saw(member, Seen::Probe { took: begun.elapsed() });
                    next_probe = Instant::now() + hub.watching().probe_every;
                }
            }
        }
        sleep(DEBOUNCE).await;
        begun = Instant::now();
    }
}

/// True for a change notice, false at the end of the stream. Never, where there is no stream.
async fn heard(stream: &mut Option<Notices>, speaker: Speaker<'_>) -> bool {
    match stream {
        None => std::future::pending().await,
        Some(notices) => notices.next(speaker).await,
    }
}

/// What a backend says unasked to the hub itself.
#[derive(Debug)]
struct Notices {
    body: Body,
    decoder: Decoder,
    events: Vec<Event>,
}

impl Notices {
    fn new(body: Body, member: &Member) -> Self {
        tracing::debug!(backend.id = &*member.name, "listens for changes");
        Self { body, decoder: Decoder::new(MAX_NOTICE), events: Vec::new() }
    }

    /// Cancel-safe: what was read is kept.
    async fn next(&mut self, speaker: Speaker<'_>) -> bool {
        loop {
            while !self.events.is_empty() {
                let event = self.events.remove(0);
                let Ok(message) = Message::parse(event.data) else { continue };
                match (message.kind(), message.method()) {
                    (Kind::Request, _) => speaker.respond(&message).await,
                    (
                        _,
                        Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged,
                    ) => {
                        return true;
                    }
                    _ => {}
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if self.decoder.feed(&bytes, &mut self.events).is_err() {
                        return false;
                    }
                }
                Some(Err(_)) | None => return false,
            }
        }
    }
}
