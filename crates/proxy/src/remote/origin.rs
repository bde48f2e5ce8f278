//! One remote server as one channel sees it: the instance it stays with, requests to it, redirects on its host.
//!
//! Until something has answered, an instance that cannot be reached is left for the next; after that the channel's
//! session lives where it lives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, header};
use parking_lot::Mutex;

use crate::body::Body;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::instance::{Instance, Instances, Load};
pub(super) use crate::upstream::same_origin_path;
use crate::upstream::{Fields, Manner, OutgoingRequest, Pool};

/// A request to be sent.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Where to, if not to the path of the target URL.
    pub(super) path: Option<PathAndQuery>,
    pub(super) body: Bytes,
    /// How long the answer's head may take.
    pub(super) patience: Option<Duration>,
    /// May be sent a second time if a connection that had been idle turns out dead only when it was written to.
    pub(super) repeatable: bool,
}

/// Where the requests of one channel go.
pub(super) struct Origin {
    name: String,
    pool: Arc<Pool>,
    place: Mutex<Place>,
}

struct Place {
    instance: Arc<Instance>,
    _load: Load,
    others: VecDeque<Arc<Instance>>,
    answered: bool,
}

impl Origin {
    /// An origin among these instances; `None` where there are none.
    pub(super) fn choose(name: &str, instances: &Instances, pool: &Arc<Pool>) -> Option<Self> {
        let mut others: VecDeque<_> = instances.choices().collect();
        let instance = others.pop_front()?;
        let place = Place { _load: instance.hold_session(), instance, others, answered: false };
        Some(Self { name: name.to_owned(), pool: Arc::clone(pool), place: Mutex::new(place) })
    }

    /// The target URL's parts, for resolving what the server names relative to it.
    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.place.lock().instance.endpoint)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, outgoing: &Outgoing) -> Result<Response<Body>, Failure> {
        let mut left = self.place.lock().others.len();
        loop {
            let instance = Arc::clone(&self.place.lock().instance);
            match self.send_to(&instance, outgoing).await {
                Err(Failure::Unreachable { .. }) if left > 0 && self.leave(&instance) => left -= 1,
                sent => {
                    self.place.lock().answered |= sent.is_ok();
                    return sent;
                }
            }
        }
    }

    /// Turns to the next instance; false if the channel is bound to this one.
    fn leave(&self, unreachable: &Arc<Instance>) -> bool {
        let mut place = self.place.lock();
        if place.answered {
            return false;
        }
        if place.instance.id == unreachable.id {
            let Some(next) = place.others.pop_front() else { return false };
            place._load = next.hold_session();
            let left = std::mem::replace(&mut place.instance, next);
            place.others.push_back(left);
        }
        true
    }

    async fn send_to(
        &self,
        instance: &Arc<Instance>,
        outgoing: &Outgoing,
    ) -> Result<Response<Body>, Failure> {
        let request = OutgoingRequest {
            method: outgoing.method.clone(),
            path: outgoing.path.clone(),
            fields: Fields::from(&outgoing.headers),
            body: outgoing.body.clone(),
        };
        let manner = Manner { patience: outgoing.patience, repeatable: outgoing.repeatable };
        let answer = self.pool.exchange(instance, &request, manner).await;
        let answer = answer.map_err(|error| error.into_failure(&self.name, instance))?;
        Ok(answer.map(|body| Body::Upstream(Box::new(body))))
    }
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(answer: &HeaderMap) -> bool {
    let kind = answer.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    kind.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_names_is_taken_on_its_own_origin_only() {
        let endpoint = Endpoint::parse("https://a.example/base/sse?k=1").unwrap();
        for (relative, expect) in [
            ("/messages?sessionId=1", Some("/messages?sessionId=1")),
            ("messages", Some("/base/messages")),
            ("?sessionId=1", Some("/base/sse?sessionId=1")),
            ("https://a.example:443/x", Some("/x")),
            ("https://b.example/x", None),
            ("http://a.example/x", None),
            ("https://a.example:444/x", None),
            ("//b.example/x", None),
        ] {
            let path = same_origin_path(&endpoint, relative);
            assert_eq!(path.as_ref().map(PathAndQuery::as_str), expect, "{relative}");
        }
    }
}
