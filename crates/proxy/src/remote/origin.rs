//! One remote server as one channel sees it: the instance it stays with, requests to it, redirects on its host.
//!
//! Until something has answered, an instance that cannot be reached is left for the next; after that the channel's
//! session lives where it lives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use parking_lot::Mutex;
use url::Url;

use crate::body::Body;
use crate::endpoint::{Endpoint, Scheme};
use crate::failure::Failure;
use crate::instance::{Instance, Instances, Load};
use crate::upstream::body::UpstreamBody;
use crate::upstream::{Pool, UpstreamError};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;

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
        let mut path = outgoing.path.clone().or_else(|| instance.endpoint.path.clone());
        let mut repeatable = outgoing.repeatable;
        let mut redirects = 0;
        loop {
            let request = to_request(&instance.endpoint, outgoing, path.as_ref());
            let (answer, connection) = match self.pool.send(instance, request, outgoing.patience).await {
                Ok(answer) => answer,
                Err(UpstreamError::Lost { reused: true, .. }) if std::mem::take(&mut repeatable) => continue,
                Err(error) => return Err(self.failure(instance, error)),
            };
            redirects += 1;
            if let Some(next) = redirected(&answer, &instance.endpoint).filter(|_| redirects <= MAX_REDIRECTS)
            {
                path = Some(next);
                continue;
            }
            let (head, incoming) = answer.into_parts();
            let body = UpstreamBody::new(incoming, connection, Arc::clone(&self.pool));
            return Ok(Response::from_parts(head, Body::Upstream(Box::new(body))));
        }
    }

    fn failure(&self, instance: &Instance, error: UpstreamError) -> Failure {
        let (backend, instance) = (self.name.clone(), instance.address.to_string());
        match error {
            UpstreamError::Unreachable(reason) => Failure::Unreachable { backend, instance, reason },
            UpstreamError::Busy(_) => Failure::Busy { backend, instance },
            UpstreamError::Lost { reason, .. } => Failure::Lost { backend, instance, reason },
            UpstreamError::TimedOut(after) => {
                Failure::TimedOut { backend, instance, seconds: after.as_secs() }
            }
        }
    }
}

fn to_request(endpoint: &Endpoint, outgoing: &Outgoing, path: Option<&PathAndQuery>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.headers_mut() = outgoing.headers.clone();
    request.headers_mut().insert(header::HOST, endpoint.authority.clone());
    if let Some(path) = path {
        *request.uri_mut() = Uri::from(path.clone());
    }
    request
}

/// Where an answer redirects to, method and body kept, if that is on the same host.
fn redirected<B>(answer: &Response<B>, endpoint: &Endpoint) -> Option<PathAndQuery> {
    let follows = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers().get(header::LOCATION).filter(|_| follows)?;
    same_origin_path(endpoint, location.to_str().ok()?)
}

/// The path of a URL given relative to the target; `None` where it is on another origin, or none.
pub(super) fn same_origin_path(endpoint: &Endpoint, relative: &str) -> Option<PathAndQuery> {
    let scheme = if endpoint.scheme == Scheme::Https { "https" } else { "http" };
    let path = endpoint.path.as_ref().map_or("/", PathAndQuery::as_str);
    let base = Url::parse(&format!("{scheme}://{}{path}", endpoint.authority.to_str().ok()?)).ok()?;
    let target = base.join(relative).ok()?;
    if target.origin() != base.origin() {
        return None;
    }
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", target.path()).parse().ok()
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
