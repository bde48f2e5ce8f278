//! The listener for operators: `/metrics`, apart from the endpoint that clients reach.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use middleware::AnswerBody;
use proxy::listener::{Handler, Peer};
use telemetry::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics`.
pub(crate) struct Diagnostics {
    pub(crate) metrics: Arc<Metrics>,
}

impl Handler for Diagnostics {
    type Body = AnswerBody;

    async fn handle(&self, request: Request<Incoming>, _: Peer) -> Response<AnswerBody> {
        let plain = |status: StatusCode, text: &'static str| {
            let mut response = Response::new(AnswerBody::Full(text.into()));
            *response.status_mut() = status;
            response
        };
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
        }
        if request.method() != http::Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match self.metrics.encode() {
            Ok(text) => {
                let mut response = Response::new(AnswerBody::Full(text.into()));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
                response
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
        }
    }
}
