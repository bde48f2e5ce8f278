//! The access log and the request metrics. Around everything that may refuse, so that a refusal is seen as well.

use std::sync::Arc;

use http::Method as HttpMethod;
use mcp::Method;
use mcp::method::METHODS;
use telemetry::log::ACCESS;
use telemetry::metrics::{MethodMetrics, Metrics};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::request_id::Identified;
use crate::service::{Arrived, Service};

/// The layer.
#[derive(Debug)]
pub struct Observe<S> {
    inner: S,
    metrics: Arc<Metrics>,
    /// One per method of the table, and one for all others.
    cells: Vec<MethodMetrics>,
}

impl<S> Observe<S> {
    /// Counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>, inner: S) -> Self {
        let cells = (0..=METHODS.len()).map(|_| MethodMetrics::default()).collect();
        Self { inner, metrics, cells }
    }

    fn count(&self, method: Method, answer: &Answer, begun: Instant) {
        let cells = &self.cells[method as usize];
        self.metrics.request(method.label(), cells, answer.response.status().as_u16(), begun.elapsed());
        if let Some(class) = answer.refusal {
            self.metrics.refusal(class);
        }
    }
}

/// What of a request is needed once it is gone.
struct Seen {
    method: HttpMethod,
    path: String,
}

impl<B: Send + 'static, S: Service<Arrived<B>>> Service<Identified<B>> for Observe<S> {
    async fn call(&self, Identified { id, arrived }: Identified<B>) -> Answer {
        let begun = Instant::now();
        let client = arrived.client.address;
        let logged = tracing::enabled!(target: ACCESS, tracing::Level::DEBUG).then(|| Seen {
            method: arrived.request.method().clone(),
            path: arrived.request.uri().path().to_owned(),
        });
        let answer = self.inner.call(arrived).await;
        self.count(answer.method, &answer, begun);
        if let Some(seen) = logged {
            tracing::debug!(
                target: ACCESS,
                {
                    request.id = %id,
                    client.address = %client,
                    http.method = %seen.method,
                    http.path = seen.path,
                    http.status = answer.response.status().as_u16(),
                    rpc.method = answer.method.label(),
                    refusal = answer.refusal,
                    duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
                },
                "request answered"
            );
        }
        answer
    }
}
