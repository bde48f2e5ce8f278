//! What serves on each worker: the chain around the route, and `/health` beside it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use middleware::{Answer, AnswerBody, Chain, ChainConfig, Client, Forwarding, Service};
use proxy::failure::FailureClass;
use proxy::listener::{Handler, Peer};
use proxy::upstream::Pool;
use proxy::{Body, Call};
use serde_json::json;
use telemetry::Tasks;
use tokio::time::interval;

use super::route::{Backend, Route};

/// How often idle connections to backends are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// What the fronts of all workers are made of.
pub(super) struct Making {
    pub(super) chain: ChainConfig,
    pub(super) route: Route,
    pub(super) tasks: Tasks,
}

impl Making {
    /// One worker's front, made in its thread.
    pub(super) fn front(&self) -> Front {
        let backend = self.route.backend();
        if let Backend::Forward { pool, .. } = &backend {
            sweep(Arc::clone(pool), &self.tasks);
        }
        Front { chain: Chain::new(&self.chain, Forwarder { backend }), route: self.route.clone() }
    }
}

/// Looks after a worker's connections.
pub(super) fn sweep(pool: Arc<Pool>, tasks: &Tasks) {
    let stop = tasks.stop_token();
    tasks.spawn("sweep connections", async move {
        let mut timer = interval(SWEEP_EVERY);
        while stop.run_until_cancelled(timer.tick()).await.is_some() {
            pool.sweep();
        }
    });
}

/// Answers the requests of one worker.
pub(super) struct Front {
    chain: Chain<Incoming>,
    route: Route,
}

impl Handler for Front {
    type Body = AnswerBody;

    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<AnswerBody> {
        match request.uri().path() {
            "/health" => return self.health(request.method()),
            "/readyz" => {
                if let Some((status, text)) = self.route.readiness() {
                    return told(request.method(), status, text);
                }
            }
            _ => {}
        }
        let client = Client { address: peer.address, tls: peer.tls };
        self.chain.call(middleware::service::Incoming::new(client, Box::new(request))).await.response
    }
}

impl Front {
    /// Whether this endpoint is of use: outside of the chain, so that whoever asks need not know its names.
    fn health(&self, method: &Method) -> Response<AnswerBody> {
        let status = if self.route.is_usable() { "healthy" } else { "degraded" };
        let text = json!({"status": status, "transport": self.route.transport()}).to_string();
        told(method, StatusCode::OK, text.into())
    }
}

/// The answer to whoever asks how the endpoint is.
fn told(method: &Method, status: StatusCode, text: Bytes) -> Response<AnswerBody> {
    if method != Method::GET {
        let mut response = Response::new(AnswerBody::Empty);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let mut response = Response::new(AnswerBody::Full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The innermost service: a permitted request becomes a call of the proxy.
struct Forwarder {
    backend: Backend,
}

impl Service<Forwarding> for Forwarder {
    async fn call(&self, forwarding: Forwarding) -> Answer {
        let Client { address, tls } = forwarding.client;
        let (request, identity) = forwarding.request.into_parts();
        let call = Call { request, principal: identity.digest(), client: address, tls };
        match forwarding.instead {
            None => answer(self.backend.handle(call).await),
            Some(instead) => answer(self.backend.answer_instead(&call, instead.class, &instead.reply)),
        }
    }
}

fn answer(response: Response<Body>) -> Answer {
    let refusal = response.extensions().get::<FailureClass>().map(|class| class.0);
    let response = response.map(|body| match body {
        Body::Empty => AnswerBody::Empty,
        Body::Full(text) => AnswerBody::Full(text),
        streamed => AnswerBody::Stream(Box::pin(Streamed(streamed))),
    });
    Answer { refusal, ..Answer::new(response) }
}

/// A streamed body with its error made general.
struct Streamed(Body);

impl http_body::Body for Streamed {
    type Data = bytes::Bytes;
    type Error = middleware::answer::BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.get_mut().0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}
