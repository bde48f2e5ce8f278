//! How a stream that was cut goes on: behind its last event where the instance still has it, or else in the session as it
//! was rebuilt; and what its client is told where it cannot.
//!
//! What is said here goes through [`super::reading`] like what a backend says, and gets its ids there.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method as HttpMethod, StatusCode, header};
use mcp::{headers, sse};
use tokio::time::sleep;

use super::event_id::Kind;
use super::own::Voice;
use super::{Forward, Outgoing, PinnedSession, health, hop};
use crate::body::Body;
use crate::failure::Failure;
use crate::recovery::loss::Loss;
use crate::recovery::notice::cancelled;
use crate::upstream::body::UpstreamBody;
use crate::upstream::{Manner, Pool};

/// Pauses before a session's own stream is asked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a stream needs to go on without the request that began it.
pub(super) struct Link {
    pub(super) forward: Arc<Forward>,
    pub(super) pool: Arc<Pool>,
    pub(super) session: PinnedSession,
    /// The request, its fields without a session id.
    pub(super) outgoing: Outgoing,
    pub(super) kind: Kind,
    /// Of a POST: the id that its answer will have.
    pub(super) id: Option<Bytes>,
    /// Whether the request was sent a second time already.
    pub(super) resent: bool,
}

/// How a stream goes on.
pub(super) enum Mended {
    /// With these events, and then from here.
    Goes(Bytes, Box<UpstreamBody>),
    /// With these, and that is all.
    Ends(Bytes),
}

impl Link {
    /// Whether nothing of use comes any more from where the session lived in this epoch: it lives elsewhere, or its
    /// instance answers no more.
    pub(super) fn is_past(&self, epoch: u32) -> bool {
        let place = self.session.backend.place();
        let is_down = || place.instance.as_ref().is_some_and(|instance| instance.health.is_down());
        place.epoch > epoch || is_down()
    }

    /// The session's own stream, from wherever the session lives now.
    pub(super) async fn listen_again(&mut self, epoch: u32, last_id: Option<&str>) -> Mended {
        let mut pause = FIRST_PAUSE;
        while self.forward.table.is_open(self.session.id) && !self.forward.config.stop.is_cancelled() {
            let place = self.session.backend.place();
            let moved = place.epoch > epoch;
            if self.kind == Kind::Answer && (moved || last_id.is_none()) {
                // Nobody has the rest of it, and what the session says otherwise has no place here.
                return Mended::Ends(Bytes::new());
            }
            match self.get(last_id.filter(|_| !moved)).await {
                Ok((StatusCode::OK, Some(body))) => {
                    let notices = if moved { self.notices() } else { Bytes::new() };
                    return Mended::Goes(notices, body);
                }
                // The server does not offer such a stream any more.
                Ok((StatusCode::METHOD_NOT_ALLOWED, _)) => return Mended::Ends(Bytes::new()),
                Ok((status, _)) if status == StatusCode::NOT_FOUND || status == StatusCode::BAD_REQUEST => {
                    if self.recover(place.epoch, Loss::MemoryLost).await.is_err() {
                        return Mended::Ends(Bytes::new());
                    }
                    continue;
                }
                Ok(_) => {}
                Err(failure) => {
                    let Some(loss) = Loss::of_failure(&failure) else { return Mended::Ends(Bytes::new()) };
                    if self.recover(place.epoch, loss).await.is_err() {
                        return Mended::Ends(Bytes::new());
                    }
                }
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Mended::Ends(Bytes::new())
    }

    /// The answer to a request whose stream was cut: the rest of the stream, or the answer to the same request sent
    /// again where that does no harm, or the news that nobody knows.
    pub(super) async fn answer_still(&mut self, epoch: u32, last_id: Option<&str>, loss: Loss) -> Mended {
        let place = self.session.backend.place();
        if place.epoch == epoch
            && last_id.is_some()
            && let Ok((StatusCode::OK, Some(body))) = self.get(last_id).await
        {
            return Mended::Goes(Bytes::new(), body);
        }
        let lost = |reason: &str| Failure::Interrupted {
            backend: self.forward.config.name.clone(),
            instance: place.instance.as_ref().map(|i| i.address.to_string()).unwrap_or_default(),
            reason: reason.to_owned(),
        };
        let recovered = match place.epoch > epoch {
            true => Ok(()),
            false => self.recover(epoch, loss).await,
        };
        if let Err(failure) = recovered {
            return self.last_words(&failure);
        }
        if self.resent || !self.outgoing.again {
            self.forward.recoveries.count_interrupted(1);
            return self.last_words(&lost("its answer was cut off"));
        }
        self.forward.recoveries.count_resent(1);
        self.resent = true;
        match self.send_again().await {
            Ok(mended) => mended,
            Err(failure) => self.last_words(&failure),
        }
    }

    fn last_words(&self, failure: &Failure) -> Mended {
        let text = failure.reply().to_json(self.id.as_deref());
        Mended::Ends(sse::message_event(None, &text))
    }

    async fn recover(&self, epoch: u32, loss: Loss) -> Result<(), Failure> {
        let voice = Voice::of(&self.outgoing.request);
        self.forward.recover(&self.pool, &self.session, voice, epoch, loss).await
    }

    /// What a listener is told when its session has moved.
    pub(super) fn notices(&self) -> Bytes {
        let remembered = self.session.backend.remembered();
        let notices = remembered.iter().flat_map(|remembered| remembered.notices());
        let mut out = BytesMut::new();
        for id in self.session.backend.take_withdrawn() {
            sse::encode(&mut out, None, None, None, &cancelled(&id, "the server that asked is gone"));
        }
        notices.for_each(|text| sse::encode(&mut out, None, None, None, text.as_bytes()));
        out.freeze()
    }

    /// Asks for the session's own stream, or for the rest of any.
    async fn get(&self, last_id: Option<&str>) -> Result<(StatusCode, Option<Box<UpstreamBody>>), Failure> {
        let mut request = self.outgoing.request.clone();
        request.fields = request.fields.without(super::own::is_of_the_body);
        request.fields.push(&header::ACCEPT, &HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.fields.push(&headers::LAST_EVENT_ID, &id);
        }
        request.method = HttpMethod::GET;
        request.body = Bytes::new();
        self.exchange(request).await
    }

    async fn exchange(
        &self,
        mut request: crate::upstream::OutgoingRequest,
    ) -> Result<(StatusCode, Option<Box<UpstreamBody>>), Failure> {
        let place = self.session.backend.place();
        let name = &self.forward.config.name;
        let Some(instance) = self.session.backend.reachable(&place) else {
            return Err(Failure::NoInstance { backend: name.clone() });
        };
        request.fields.push(&headers::SESSION_ID, &place.backend_session);
        let manner = Manner { patience: Some(Duration::from_secs(10)), repeatable: true };
        let answer = self.pool.exchange(instance, &request, manner).await;
        health::learn(instance, &answer);
        let (head, mut body) = answer.map_err(|error| error.into_failure(name, instance))?.into_parts();
        if !hop::is_event_stream(&head.headers) {
            return Ok((head.status, None));
        }
        body.keep_alive();
        if request.method == HttpMethod::GET {
            body.end_on(self.forward.config.stop.clone());
        }
        Ok((head.status, Some(Box::new(body))))
    }

    async fn send_again(&self) -> Result<Mended, Failure> {
        let place = self.session.backend.place();
        let name = &self.forward.config.name;
        let Some(instance) = self.session.backend.reachable(&place) else {
            return Err(Failure::NoInstance { backend: name.clone() });
        };
        let mut outgoing = self.outgoing.clone();
        outgoing.request.fields.push(&headers::SESSION_ID, &place.backend_session);
        let response = self.forward.send(&self.pool, instance, &outgoing).await?;
        let is_stream = hop::is_event_stream(response.headers());
        match response.into_body() {
            Body::Upstream(body) if is_stream => Ok(Mended::Goes(Bytes::new(), body)),
            body => {
                let text = http_body_util::BodyExt::collect(body).await.map_err(|cut| Failure::Lost {
                    backend: name.clone(),
                    instance: instance.address.to_string(),
                    reason: cut.to_string(),
                })?;
                Ok(Mended::Ends(sse::message_event(None, &text.to_bytes())))
            }
        }
    }
}
