//! What a layer is, and the kinds of request on the way in.

use std::sync::Arc;

use auth::Permitted;
use bytes::Bytes;
use http::request::Parts;
use mcp::ErrorReply;

use crate::answer::Answer;

/// The client of a request, as the connection knows it.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: std::net::SocketAddr,
    pub tls: bool,
}

/// A request of some kind and whose it is. `R` is what the layers so far have made of it.
#[derive(Debug)]
pub struct Incoming<R> {
    pub client: Client,
    pub request: R,
    /// A layer's answer in the server's stead. It goes on inwards, since only the innermost service knows how this
    /// client gets the answers of its session: in the response, or on a stream of HTTP+SSE.
    pub instead: Option<Box<Instead>>,
}

/// A request's head and its whole body.
#[derive(Debug)]
pub struct WholeRequest {
    pub head: Box<Parts>,
    pub body: Bytes,
}

/// What a request is answered instead of being forwarded.
#[derive(Debug)]
pub struct Instead {
    /// From a closed set, for metrics and the access log.
    pub class: &'static str,
    pub reply: ErrorReply,
}

impl<R> Incoming<R> {
    /// A request that is to be forwarded.
    pub fn new(client: Client, request: R) -> Self {
        Self { client, request, instead: None }
    }

    /// The same with the request as a layer has made it.
    pub fn map<Q>(self, make: impl FnOnce(R) -> Q) -> Incoming<Q> {
        Incoming { client: self.client, request: make(self.request), instead: self.instead }
    }
}

/// A request whose body was not read yet. Boxed once: it passes many hands, and each would have room for all of it.
pub type Arrived<B> = Incoming<Box<http::Request<B>>>;
/// A request with its whole body.
pub type Whole = Incoming<WholeRequest>;
/// A request with its body read as a message.
pub type Parsed = Incoming<mcp::Request>;
/// A request that may be forwarded.
pub type Forwarding = Incoming<Permitted<mcp::Request>>;

/// Answers requests of kind `R`. It never fails: a refusal is an answer.
pub trait Service<R>: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: R) -> impl Future<Output = Answer> + Send;
}

impl<R: Send + 'static, S: Service<R>> Service<R> for Arc<S> {
    async fn call(&self, request: R) -> Answer {
        S::call(self, request).await
    }
}
