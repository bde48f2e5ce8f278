//! Contains a panic to the request that met it: the client gets 500, the connection and all others go on.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use http::StatusCode;
use mcp::{ErrorCode, ErrorReply};

use crate::answer::Answer;
use crate::service::Service;

/// The layer.
#[derive(Debug)]
pub struct ContainPanic<S> {
    inner: S,
}

impl<S> ContainPanic<S> {
    /// Around `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<R: Send + 'static, S: Service<R>> Service<R> for ContainPanic<S> {
    async fn call(&self, request: R) -> Answer {
        let mut answering = pin!(self.inner.call(request));
        // After a panic the future is dropped, never polled again; what it shared with others is behind locks that do
        // not poison and atomics, so nothing half-changed is seen.
        let caught = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(Some(answer)),
            Err(_) => Poll::Ready(None),
        })
        .await;
        caught.unwrap_or_else(|| {
            tracing::error!("a request ended in a panic");
            let reply = ErrorReply::new(ErrorCode::Internal, "internal error in skep");
            Answer::refuse(StatusCode::INTERNAL_SERVER_ERROR, "panic", &reply, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::AnswerBody;

    struct Explodes;

    impl Service<bool> for Explodes {
        async fn call(&self, explode: bool) -> Answer {
            tokio::task::yield_now().await;
            assert!(!explode, "boom");
            Answer::new(http::Response::new(AnswerBody::Empty))
        }
    }

    #[tokio::test]
    async fn a_panic_is_answered_and_the_next_request_served() {
        let layer = ContainPanic::new(Explodes);
        assert_eq!(layer.call(true).await.response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(layer.call(false).await.response.status(), StatusCode::OK);
    }
}
