//! What a route learns about its instances: from each answer, and by asking them where there are several.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::{interval, timeout};

use super::own::Voice;
use super::{Fields, Forward, OutgoingRequest};
use crate::instance::Instance;
use crate::instance::health::Fault;
use crate::upstream::body::UpstreamBody;
use crate::upstream::{Pool, UpstreamError};

/// How often instances are asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long one may take to answer anything.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// How often a request that is under way looks whether its instance is down.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes note of an answer.
pub(super) fn learn(instance: &Instance, answer: &Result<Response<UpstreamBody>, UpstreamError>) {
    match answer {
        Err(error) => learn_error(instance, error),
        Ok(answer) if says_unable(answer.status()) => failed(instance, Fault::Broken),
        Ok(_) => instance.health.succeeded(),
    }
}

/// Takes note of why there was none.
pub(super) fn learn_error(instance: &Instance, error: &UpstreamError) {
    match error {
        UpstreamError::Unreachable(_) => failed(instance, Fault::Unreachable),
        UpstreamError::Lost { .. } => failed(instance, Fault::Broken),
        // Slow, or busy: that is no fault.
        UpstreamError::Busy(_) | UpstreamError::TimedOut(_) => {}
    }
}

/// 502 to 504: whoever answers has nobody behind it.
fn says_unable(status: StatusCode) -> bool {
    (502..=504).contains(&status.as_u16())
}

fn failed(instance: &Instance, fault: Fault) {
    if instance.health.failed(fault) {
        tracing::warn!(backend.address = %instance.address, ?fault, "instance is tried last for a while");
    }
}

/// An exchange with an instance, given up when that goes down meanwhile.
pub(super) async fn watched(
    instance: &Instance,
    exchange: impl Future<Output = Result<Response<UpstreamBody>, UpstreamError>>,
) -> Result<Response<UpstreamBody>, UpstreamError> {
    let mut exchange = std::pin::pin!(exchange);
    loop {
        match timeout(LOOK_EVERY, &mut exchange).await {
            Ok(answer) => return answer,
            Err(_) if instance.health.is_down() => {
                let reason = "it does not answer, not even whether it lives".to_owned();
                return Err(UpstreamError::Lost { reason, reused: false });
            }
            Err(_) => {}
        }
    }
}

impl Forward {
    /// Asks all instances from time to time whether they answer at all, where there are several: sessions of one that
    /// does not are rebuilt on the others. Whatever it answers will do.
    pub(super) async fn ask_instances(self: Arc<Self>, pool: Arc<Pool>) {
        let mut timer = interval(ASK_EVERY);
        while self.config.stop.run_until_cancelled(timer.tick()).await.is_some() {
            let active = self.config.instances.active();
            if active.len() < 2 {
                continue;
            }
            for instance in active.iter() {
                let (this, pool, instance) = (Arc::clone(&self), Arc::clone(&pool), Arc::clone(instance));
                self.config.tasks.spawn("ask an instance", async move {
                    let answers = this.answers(&pool, &instance).await;
                    if instance.health.answers(answers) {
                        tracing::warn!(backend.address = %instance.address, "instance is down");
                    }
                });
            }
        }
    }

    async fn answers(&self, pool: &Arc<Pool>, instance: &Arc<Instance>) -> bool {
        let path = instance.endpoint.path.is_none().then(|| self.config.endpoint_path.parse().ok()).flatten();
        let request = OutgoingRequest {
            method: http::Method::POST,
            path,
            fields: Fields::from(&self.config.headers),
            body: Bytes::new(),
        };
        let voice = Voice::of(&request);
        let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"skep-health","method":"ping"}"#);
        match self.post_own(pool, instance, &voice, None, ping, ASK_PATIENCE).await {
            Ok(answer) => !says_unable(answer.status),
            Err(_) => false,
        }
    }
}
