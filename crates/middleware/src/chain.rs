//! The chain: every layer a request passes, in order, outermost first, each with the reason for its place.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use telemetry::Metrics;

use crate::answer::Answer;
use crate::contain::ContainPanic;
use crate::envelope::ReadEnvelope;
use crate::limits::{BodyLimits, ReadBody};
use crate::observe::Observe;
use crate::origin::{CheckOrigin, OriginPolicy};
use crate::permit::PermitAll;
use crate::request_id::WithRequestId;
use crate::service::{Arrived, Forwarding, Service};
use crate::tools::{FilterTools, ToolPolicy};

/// What the layers are made of.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Random, chosen at start: the first part of request ids.
    pub process: u32,
    pub metrics: Arc<Metrics>,
    pub limits: BodyLimits,
    pub origin: OriginPolicy,
    pub tools: Option<Arc<ToolPolicy>>,
}

type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

trait Erased<B>: Send + Sync {
    fn call(&self, arrived: Arrived<B>) -> Answering<'_>;
}

impl<B: Send + 'static, S: Service<Arrived<B>>> Erased<B> for S {
    fn call(&self, arrived: Arrived<B>) -> Answering<'_> {
        Box::pin(Service::call(self, arrived))
    }
}

/// All layers as one, their types erased: outside of this crate a chain is a chain.
pub struct Chain<B> {
    outermost: Box<dyn Erased<B>>,
}

impl<B> fmt::Debug for Chain<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

impl<B> Chain<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
{
    /// Builds the chain around what forwards.
    #[must_use]
    pub fn new(config: &ChainConfig, forward: impl Service<Forwarding>) -> Self {
        // Read from the last line up: that is the way of a request.
        let chain = forward;
        // Innermost: whoever forwards demands a permit, so nothing between decision and sending can change the request.
        let chain = PermitAll::new(chain);
        // Before the decision: policies are written for the tools as the backend names them, and see them so.
        let chain = FilterTools::new(config.tools.clone(), chain);
        // Parsed once, here; all further in see the same message.
        let chain = ReadEnvelope::new(chain);
        // The message must be whole to be read, and bounded to be whole.
        let chain = ReadBody::new(config.limits, chain);
        // Before the body: a web page's request is refused without reading what it sends.
        let chain = CheckOrigin::new(config.origin.clone(), chain);
        // Around all that decides, so that a fault in any of it costs one request.
        let chain = ContainPanic::new(chain);
        // Around all that refuses (panics included), so that nothing goes unseen.
        let chain = Observe::new(Arc::clone(&config.metrics), chain);
        // Outermost: whatever is said about a request names it.
        let chain = WithRequestId::new(config.process, chain);
        Self { outermost: Box::new(chain) }
    }

    /// Answers one request.
    pub async fn call(&self, arrived: Arrived<B>) -> Answer {
        self.outermost.call(arrived).await
    }
}
