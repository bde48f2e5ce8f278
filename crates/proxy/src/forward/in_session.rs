//! A request of a session: to the one instance that holds it, and its answer back; where the session began elsewhere,
//! it is taken up first.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod, Response, StatusCode};
use mcp::message::Kind as MessageKind;
use mcp::{Message, Method, headers};

use super::event_id::Kind;
use super::lasting::Lasting;
use super::mending::Link;
use super::own::Voice;
use super::pinned::{Pinned, Place};
use super::reading::{From, Reading};
use super::taking_up::{Behind, TakenUp};
use super::{Forward, OnLoss, Outgoing, PinnedSession, hop, recover};
use crate::body::{Body, event_stream};
use crate::failure::Failure;
use crate::recovery::loss::Loss;
use crate::recovery::notice;
use crate::recovery::remembered::Remembered;
use crate::session::epoch;
use crate::session::table::InUse;
use crate::session::{Claims, Kept, Opened, PartTokens, SessionRecord, Write};
use crate::upstream::Pool;
use crate::upstream::body::Under;

/// Losses that one request goes through before its client hears of it.
const MAX_LOSSES: u32 = 8;

/// What belongs to the answer to a request of a session.
struct Answered {
    session: PinnedSession,
    place: Arc<Place>,
    in_use: InUse<Pinned>,
    behind: Behind,
    resent: bool,
}

impl Forward {
    /// A request of a session, to the instance that holds it and no other. Where that has lost the session, it is
    /// rebuilt, and the request sent once more if that does no harm.
    pub(super) async fn in_session(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        mut outgoing: Outgoing,
        token: &HeaderValue,
        principal: model::PrincipalDigest,
        message: Option<&Message>,
    ) -> Result<Response<Body>, Failure> {
        let session = match self.table.open(token.as_bytes(), principal) {
            Some(Opened::Here(session)) => session,
            Some(Opened::Elsewhere(claims)) => Box::pin(self.adopt(&claims)).await?,
            None => return Err(Failure::UnknownSession),
        };
        let (behind, in_use) = match self.take_up(&session, &outgoing, self.table.enter(&session)) {
            TakenUp::Here(response) => return Ok(response),
            TakenUp::There(behind, in_use) => (behind, in_use),
        };
        let plain = outgoing.request.fields.len();
        let deletes = outgoing.request.method == HttpMethod::DELETE;
        let (mut resent, mut losses) = (false, 0);
        loop {
            let place = session.backend.place();
            if let Some(id) = message.and_then(answered_question)
                && !session.backend.may_answer(&place, id)
            {
                // Whoever asked is gone.
                return Ok(accepted());
            }
            outgoing.request.fields.truncate(plain);
            outgoing.request.fields.push(&headers::SESSION_ID, &place.backend_session);
            if let Some(id) = behind.own_in(place.epoch) {
                outgoing.request.fields.push(&headers::LAST_EVENT_ID, &id);
            }
            let sent = match session.backend.reachable(&place) {
                Some(instance) => self.send(pool, instance, &outgoing).await,
                None => Err(Failure::NoInstance { backend: self.config.name.clone() }),
            };
            let (loss, failure) = match sent {
                Ok(response) => match recover::is_unknown_session(response).await {
                    (response, false) => {
                        let answered = Answered { session, place, in_use, behind, resent };
                        return Ok(self.answered(pool, outgoing, plain, response, answered, message).await);
                    }
                    (_, true) => (Loss::MemoryLost, Failure::UnknownSession),
                },
                Err(failure) => match Loss::of_failure(&failure) {
                    Some(loss) => (loss, failure),
                    None => {
                        if matches!(failure, Failure::TimedOut { .. })
                            && self.config.on_loss == OnLoss::Rebuild
                        {
                            outgoing.request.fields.truncate(plain);
                            self.check_later(pool, &session, Voice::of(&outgoing.request));
                        }
                        return Err(failure);
                    }
                },
            };
            if deletes && loss != Loss::Unclear {
                // The client wants it gone, and it is.
                self.forget(&session).await;
                return Ok(Response::new(Body::Empty));
            }
            // What was not carried out may be tried again and again, what may have been once.
            losses += 1;
            let again = if loss.is_unexecuted() { losses < MAX_LOSSES } else { !resent };
            if deletes || !again {
                return Err(failure);
            }
            if self.config.on_loss == OnLoss::Strict {
                if loss == Loss::MemoryLost {
                    self.forget(&session).await;
                }
                return Err(failure);
            }
            outgoing.request.fields.truncate(plain);
            let voice = Voice::of(&outgoing.request);
            // Rare, and large: not part of every request's future.
            Box::pin(self.recover(pool, &session, voice, place.epoch, loss)).await?;
            if outgoing.mcp_method == Method::Cancelled && session.backend.place().epoch > place.epoch {
                // What it cancels went with the old instance.
                return Ok(accepted());
            }
            if !loss.is_unexecuted() && !outgoing.again {
                self.recoveries.count_interrupted(1);
                session.backend.timeline.add("interrupted", outgoing.mcp_method.label());
                return Err(match failure {
                    Failure::Lost { backend, instance, reason } => {
                        Failure::Interrupted { backend, instance, reason }
                    }
                    other => other,
                });
            }
            self.recoveries.count_resent(1);
            resent |= !loss.is_unexecuted();
        }
    }

    /// The answer of the instance that holds the session, on its way to the client.
    async fn answered(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        mut outgoing: Outgoing,
        plain: usize,
        mut response: Response<Body>,
        answered: Answered,
        message: Option<&Message>,
    ) -> Response<Body> {
        let Answered { session, place, in_use, behind, resent } = answered;
        let success = response.status().is_success();
        if success && outgoing.request.method == HttpMethod::DELETE {
            self.forget(&session).await;
        }
        if success
            && let Some(message) = message.filter(|_| Remembered::concerns(outgoing.mcp_method))
            && let Some(remembered) = session.backend.note(message)
            && let Some(record) = self.record_of(&session, &place, remembered)
        {
            self.keep(record, Write::Keep).await;
        }
        if response.status() == StatusCode::CONFLICT
            && outgoing.request.method == HttpMethod::GET
            && let Some(joined) = self.take_over(&session)
        {
            return joined.answer(&[behind.missed], in_use);
        }
        response.headers_mut().remove(&headers::SESSION_ID);
        if success
            && let Body::Full(text) = response.body()
            && let Some(told) = Self::told(text, &session, &place)
        {
            *response.body_mut() = Body::Full(told);
            response.headers_mut().remove(http::header::CONTENT_LENGTH);
        }
        let Some(instance) = &place.instance else { return response };
        let lasts = success && hop::is_event_stream(response.headers());
        if !lasts && !behind.missed.is_empty() {
            // It has no more, whatever it says.
            return event_stream(Body::Full(behind.missed));
        }
        if lasts {
            // What is in it gets other ids.
            response.headers_mut().remove(http::header::CONTENT_LENGTH);
        } else if self.config.resend.learns()
            && outgoing.mcp_method == Method::ToolsList
            && let Some(answer) = super::read_answer(&mut response).await
        {
            self.learn(Method::ToolsList, &answer);
        }
        let load = instance.hold_request();
        response.map(|body| match body {
            Body::Upstream(body) if lasts => {
                outgoing.request.fields.truncate(plain);
                let posted = outgoing.request.method == HttpMethod::POST;
                let epoch = place.epoch;
                let link = Link {
                    forward: Arc::clone(self),
                    pool: Arc::clone(pool),
                    session,
                    outgoing,
                    kind: if posted { Kind::Answer } else { behind.kind_in(epoch) },
                    id: message.and_then(Message::id).map(Bytes::copy_from_slice),
                    resent,
                };
                let mut reading = Reading::new(link, From { epoch, own: behind.own_in(epoch), body }, load);
                let missed = behind.missed_by(&mut reading, epoch);
                Body::Lasting(Box::new(Lasting::new(Box::new(reading), missed, in_use)))
            }
            Body::Upstream(mut body) => {
                body.hold(Box::new((in_use, load)) as Under);
                Body::Upstream(body)
            }
            body => body,
        })
    }

    /// In place of an answer, one that tells the client that its session has moved, once.
    fn told(text: &Bytes, session: &PinnedSession, place: &Place) -> Option<Bytes> {
        if !session.backend.is_untold(place) {
            return None;
        }
        let told = notice::in_result(&Message::parse(text.clone()).ok()?, epoch::moves(place.epoch))?;
        session.backend.tell();
        Some(told)
    }

    /// Reads what a server says of its tools.
    pub(super) fn learn(&self, method: Method, answer: &Message) {
        if method == Method::ToolsList && self.config.resend.learns() {
            self.config.resend.learn(answer);
        }
    }

    /// Takes up a session that began in another process: where its record says that it lives, or else where its token
    /// does. If that is gone, the first request finds out.
    async fn adopt(&self, claims: &Claims) -> Result<PinnedSession, Failure> {
        let record = self.config.store.get(claims.id).await.unwrap_or_else(|error| {
            tracing::debug!(%error, session.id = %claims.id, "taken up as its token says");
            None
        });
        let record = match record {
            Some(Kept::Ended) => return Err(Failure::UnknownSession),
            Some(Kept::Lives(record)) => Some(record),
            None => None,
        };
        let newest = record.as_ref().map(|record| &record.claims).filter(|kept| kept.epoch > claims.epoch);
        let place = self.place_of(newest.unwrap_or(claims));
        if place.instance.is_none() && record.is_none() && !self.config.store.is_shared() {
            return Err(Failure::UnknownSession);
        }
        let evicted = self.table.make_room(claims.principal)?;
        self.dismiss(&evicted).await;
        let remembered = record.map(|record| record.remembered.clone());
        Ok(self.table.adopt(claims, Pinned::new(place, remembered)))
    }

    /// What is to be kept of a session that lives at this place; `None` where the place is not known.
    pub(super) fn record_of(
        &self,
        session: &PinnedSession,
        place: &Place,
        remembered: Remembered,
    ) -> Option<SessionRecord> {
        let claims = Claims {
            id: session.id,
            route: self.table.route(),
            principal: session.principal,
            pin: place.instance.as_ref()?.pin(),
            epoch: place.epoch,
            issued: session.issued,
            backend_session: place.backend_session.as_bytes().to_vec(),
        };
        Some(SessionRecord { claims, remembered, parts: PartTokens::new() })
    }
}

/// The id of the question that a client's message answers.
fn answered_question(message: &Message) -> Option<&[u8]> {
    matches!(message.kind(), MessageKind::Result | MessageKind::Error).then(|| message.id()).flatten()
}

/// 202: taken, and nothing comes back.
fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
