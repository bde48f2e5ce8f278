//! What a client's session consists of: sessions with those backends that it has needed so far.
//!
//! A backend's session is begun once, by whoever needs it first, with the client's own handshake; who comes meanwhile
//! waits for that one, and hears of its failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use mcp::{Era, Message, Revision};
use papaya::HashMap as SharedMap;
use parking_lot::Mutex;
use proxy::session::table::InUse;
use proxy::session::{PartTokens, Remembered, Session};
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::ask::{NoAnswer, Reply, Speaker};
use super::era::{Found, doubts_legacy};
use super::listen::Stream;
use super::listing::Greeting;
use super::open_questions::OpenQuestions;
use super::spoken::Spoken;
use super::voice::Asides;
use super::{Hub, Member};

/// What the client of a session is backed by.
#[derive(Debug)]
pub(super) struct Held {
    /// What the client has said that every backend has to know.
    pub(super) remembered: Mutex<Remembered>,
    slots: SharedMap<Arc<str>, Arc<Slot>>,
    /// Which backend has which of the client's requests.
    in_flight: Mutex<HashMap<Box<[u8]>, UnderWay>>,
    /// Of the record.
    pub(super) epoch: AtomicU32,
    /// Held by whoever writes the record.
    pub(super) keeping: AsyncMutex<()>,
    pub(super) stream: Mutex<Stream>,
    /// Counts how often a backend's session has begun.
    pub(super) began: watch::Sender<u64>,
    /// Counts how often what the client has subscribed to has changed.
    pub(super) subscribed: watch::Sender<u64>,
    pub(super) questions: OpenQuestions,
    /// Of the hub itself, for clients without sessions: nobody else knows it.
    pub(super) is_own: bool,
    /// Answers whose events the hub numbers.
    pub(super) spoken: Spoken,
    /// What the hub itself says on the stream.
    pub(super) asides: Asides,
    /// The client's requests that the hub itself answers, and what gives each of them up.
    pub(super) own: Mutex<HashMap<Box<[u8]>, CancellationToken>>,
}

/// The place of one backend's session.
#[derive(Debug, Default)]
pub(super) struct Slot {
    opened: ArcSwapOption<Opened>,
    /// How often it was tried, and what came of the last time; held by whoever tries.
    opening: Arc<AsyncMutex<Option<NoAnswer>>>,
    attempts: AtomicU64,
    /// The one before, as it stands in the record, which the backend did not know any more.
    lost: Mutex<Option<String>>,
}

/// A session with a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// `None`: it wants none.
    pub(super) token: Option<HeaderValue>,
    /// The revision it agreed to.
    pub(super) version: HeaderValue,
    pub(super) logs: bool,
    pub(super) subscribes: bool,
}

/// By whom a session with a backend was begun.
enum Begun {
    Here(Opened),
    /// Another replica, which has written it down.
    Elsewhere(Opened),
}

impl Opened {
    /// With a backend of 2026-07-28, which has none.
    fn without_session() -> Self {
        Self { token: None, version: Speaker::modern_version(), logs: false, subscribes: true }
    }

    /// Whether the backend knows no sessions, and is spoken to as 2026-07-28 says.
    pub(super) fn is_modern(&self) -> bool {
        self.version == Revision::V2026_07_28.as_str()
    }

    /// As it stands in the record.
    pub(super) fn text(&self) -> String {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let flags = [(self.logs, 'l'), (self.subscribes, 's')].map(|(on, flag)| if on { flag } else { '-' });
        let token = self.token.as_ref().map_or_else(|| "-".to_owned(), text);
        format!("{} {}{} {token}", text(&self.version), flags[0], flags[1])
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let version = HeaderValue::from_str(parts.next()?).ok()?;
        let flags = parts.next()?;
        let token = match parts.next()? {
            "-" => None,
            token => Some(HeaderValue::from_str(token).ok()?),
        };
        Some(Self { token, version, logs: flags.contains('l'), subscribes: flags.contains('s') })
    }
}

impl Held {
    pub(super) fn new(remembered: Remembered, parts: &PartTokens, epoch: u32) -> Self {
        let held = Self {
            remembered: Mutex::new(remembered),
            slots: SharedMap::new(),
            in_flight: Mutex::default(),
            epoch: AtomicU32::new(epoch),
            keeping: AsyncMutex::default(),
            stream: Mutex::default(),
            began: watch::channel(0).0,
            subscribed: watch::channel(0).0,
            questions: OpenQuestions::default(),
            is_own: false,
            spoken: Spoken::default(),
            asides: Asides::default(),
            own: Mutex::default(),
        };
        // There is nothing yet that it could replace.
        drop(held.join(parts));
        held
    }

    /// A session of the hub itself.
    pub(super) fn of_hub(remembered: Remembered) -> Self {
        Self { is_own: true, ..Self::new(remembered, &PartTokens::new(), 0) }
    }

    /// Takes up backends' sessions that another process has begun. Gives those that were begun here and are not those.
    pub(super) fn join(&self, parts: &PartTokens) -> Vec<(String, Arc<Opened>)> {
        let mut replaced = Vec::new();
        for (name, text) in parts.iter().filter(|(name, text)| !self.has_lost(name, text)) {
            let Some(theirs) = Opened::read(text) else { continue };
            let slot = self.slot(&name.as_str().into());
            let ours = slot.opened.load_full();
            if ours.as_deref() != Some(&theirs) {
                slot.opened.store(Some(Arc::new(theirs)));
                replaced.extend(ours.map(|ours| (name.clone(), ours)));
            }
        }
        replaced
    }

    /// Whether this is what the backend did not know any more.
    pub(super) fn has_lost(&self, name: &str, text: &str) -> bool {
        self.slots.pin().get(name).is_some_and(|slot| slot.lost.lock().as_deref() == Some(text))
    }

    fn slot(&self, name: &Arc<str>) -> Arc<Slot> {
        Arc::clone(self.slots.pin().get_or_insert_with(Arc::clone(name), Arc::default))
    }

    /// The session with a backend, if it has begun.
    pub(super) fn opened(&self, name: &str) -> Option<Arc<Opened>> {
        self.slots.pin().get(name).and_then(|slot| slot.opened.load_full())
    }

    /// All that have begun.
    pub(super) fn all_opened(&self) -> Vec<(Arc<str>, Arc<Opened>)> {
        let slots = self.slots.pin();
        slots.iter().filter_map(|(name, slot)| Some((Arc::clone(name), slot.opened.load_full()?))).collect()
    }

    /// As they stand in the record.
    pub(super) fn parts(&self) -> PartTokens {
        self.all_opened().into_iter().map(|(name, opened)| (name.to_string(), opened.text())).collect()
    }

    /// The backend does not know this session any more.
    pub(super) fn lost(&self, name: &Arc<str>, lost: &Arc<Opened>) {
        let slot = self.slot(name);
        *slot.lost.lock() = Some(lost.text());
        slot.opened.compare_and_swap(lost, None);
    }

    /// Which backend has a request, by its id as the client wrote it.
    pub(super) fn who_has(&self, id: &[u8]) -> Option<Arc<str>> {
        self.in_flight.lock().get(id).map(|under_way| Arc::clone(&under_way.backend))
    }

    /// Its client does not want to know any more.
    pub(super) fn cancel(&self, id: &[u8]) {
        if let Some(under_way) = self.in_flight.lock().get(id) {
            under_way.cancelled.cancel();
        }
    }

    /// The client does not want a request any more; whether it is one that the hub works on.
    pub(super) fn give_up(&self, id: &[u8]) -> bool {
        self.own.lock().get(id).inspect(|cancel| cancel.cancel()).is_some()
    }

    /// It wants nothing any more: its session has ended.
    pub(super) fn give_up_all(&self) {
        self.own.lock().values().for_each(CancellationToken::cancel);
    }

    /// Whether a client reads the GET stream.
    pub(super) fn is_listened_to(&self) -> bool {
        self.stream.lock().is_attached()
    }

    pub(super) fn close_stream(&self) {
        self.stream.lock().close();
    }
}

/// Where a request is, and how it is left.
#[derive(Debug)]
struct UnderWay {
    backend: Arc<str>,
    /// Only a backend without sessions has it from here that its request was cancelled.
    cancelled: CancellationToken,
}

/// A request of a client's session that a backend has; ends when dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    session: Arc<Session<Held>>,
    id: Box<[u8]>,
    pub(super) cancelled: CancellationToken,
    _in_use: InUse<Held>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.session.backend.in_flight.lock().remove(&self.id);
    }
}

impl Hub {
    /// Takes note of a request on its way to a backend.
    pub(super) fn under_way(
        &self,
        session: &Arc<Session<Held>>,
        message: &Message,
        member: &Member,
    ) -> InFlight {
        let id: Box<[u8]> = message.id().unwrap_or_default().into();
        let cancelled = CancellationToken::new();
        let under_way = UnderWay { backend: Arc::clone(&member.name), cancelled: cancelled.clone() };
        session.backend.in_flight.lock().insert(id.clone(), under_way);
        InFlight { session: Arc::clone(session), id, cancelled, _in_use: self.table.enter(session) }
    }

    /// The session with a backend; begun if there is none.
    pub(super) async fn opened(
        self: &Arc<Self>,
        session: &Arc<Session<Held>>,
        member: &Arc<Member>,
    ) -> Result<Arc<Opened>, NoAnswer> {
        let slot = session.backend.slot(&member.name);
        let attempts = slot.attempts.load(Ordering::Acquire);
        if let Some(opened) = slot.opened.load_full() {
            return Ok(opened);
        }
        let mut opening = Arc::clone(&slot.opening).lock_owned().await;
        if let Some(opened) = slot.opened.load_full() {
            return Ok(opened);
        }
        if attempts != slot.attempts.load(Ordering::Acquire)
            && let Some(problem) = opening.clone()
        {
            return Err(problem);
        }
        // Whoever asked first may go away: the others wait for this one.
        let (tell, told) = oneshot::channel();
        let (hub, session, member) = (Arc::clone(self), Arc::clone(session), Arc::clone(member));
        self.tasks.spawn("begin a backend's session", async move {
            let opened = match hub.open(&session, &member).await {
                Ok(Begun::Here(opened)) => Ok(hub.keep_opened(&session, &member.name, opened).await),
                Ok(Begun::Elsewhere(opened)) => Ok(opened),
                Err(problem) => Err(problem),
            };
            let opened = opened.map(Arc::new);
            slot.attempts.fetch_add(1, Ordering::AcqRel);
            opening.clone_from(&opened.as_ref().err().cloned());
            if let Ok(opened) = &opened {
                slot.opened.store(Some(Arc::clone(opened)));
                session.backend.began.send_modify(|began| *began += 1);
            }
            drop(opening);
            // Nobody may be there any more.
            let _ = tell.send(opened);
        });
        told.await.unwrap_or(Err(NoAnswer::CutOff))
    }

    async fn open(&self, session: &Session<Held>, member: &Member) -> Result<Begun, NoAnswer> {
        if let Some(opened) = self.opened_elsewhere(session, &member.name).await {
            return Ok(Begun::Elsewhere(opened));
        }
        let (initialize, again) = {
            let remembered = session.backend.remembered.lock();
            (remembered.initialize.clone(), remembered.requests().collect::<Vec<_>>())
        };
        let within = self.config.begin_within;
        let principal = session.principal;
        let speaker = Speaker { member, path: &self.config.path, principal, session: None, version: None };
        if member.eras.serves(Era::Legacy) == Some(false) {
            return Ok(Begun::Here(Opened::without_session()));
        }
        let Reply { session: token, message } = match speaker.ask(initialize, within).await {
            Ok(reply) => reply,
            Err(problem) if doubts_legacy(&problem) => {
                let found = self.look(member, self.watching().probe_within).await;
                if !matches!(found, Found::Modern(_)) {
                    return Err(problem);
                }
                member.eras.learn(Era::Legacy, false);
                return Ok(Begun::Here(Opened::without_session()));
            }
            Err(problem) => return Err(problem),
        };
        let greeting = Greeting::read(&message)?;
        member.eras.learn(Era::Legacy, true);
        let version = HeaderValue::from_str(&greeting.protocol_version)
            .map_err(|problem| NoAnswer::Unreadable(problem.to_string()))?;
        let capabilities = greeting.capabilities;
        let opened = Opened {
            token,
            version,
            logs: capabilities.logging.is_some(),
            subscribes: capabilities.resources.is_some_and(|resources| resources.subscribe),
        };
        let speaker = self.speaker(session, member, &opened);
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        speaker.tell(initialized, within).await?;
        for request in again.into_iter().filter(|request| self.is_for(request, member, &opened)) {
            // What it refuses is the backend's to refuse.
            let _ = speaker.ask(request, within).await;
        }
        Ok(Begun::Here(opened))
    }

    /// Whether a backend is to be told again what the client has asked for.
    fn is_for(&self, request: &Bytes, member: &Member, opened: &Opened) -> bool {
        let Ok(request) = Message::parse(request.clone()) else { return false };
        match request.uri() {
            None => opened.logs,
            Some(uri) => {
                let view = self.view.load();
                opened.subscribes && view.resource(&uri) == Some(&member.name)
            }
        }
    }

    /// One who speaks to a backend in a client's session.
    pub(super) fn speaker<'a>(
        &'a self,
        session: &Session<Held>,
        member: &'a Member,
        opened: &'a Opened,
    ) -> Speaker<'a> {
        Speaker {
            member,
            path: &self.config.path,
            principal: session.principal,
            session: opened.token.as_ref(),
            version: Some(&opened.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backends_session_is_read_back() {
        for (token, logs, subscribes) in [(None, true, false), (Some("s1.abc"), false, true)] {
            let opened = Opened {
                token: token.map(HeaderValue::from_static),
                version: HeaderValue::from_static("2025-11-25"),
                logs,
                subscribes,
            };
            assert_eq!(Opened::read(&opened.text()), Some(opened));
        }
        for foreign in ["", "x", "x y", "\n - -"] {
            assert_eq!(Opened::read(foreign), None, "{foreign:?}");
        }
    }
}
