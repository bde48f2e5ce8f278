//! One request and its answer: redirects on the same host followed, and a safe request repeated once if a connection
//! that had been idle turned out to be dead only after it was written to.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Response, StatusCode, header, response};
use url::Url;

use super::body::UpstreamBody;
use super::h1::OutgoingRequest;
use super::pool::{Pool, UpstreamError};
use crate::endpoint::{Endpoint, Scheme};
use crate::instance::Instance;

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;

/// How a request may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// How long the answer's head may take.
    pub(crate) patience: Option<Duration>,
    /// Whether it may be sent again although it may have been received.
    pub(crate) repeatable: bool,
}

impl Pool {
    /// Sends a request to exactly this instance; its answer's body is still to be read.
    ///
    /// # Errors
    /// [`UpstreamError`], whose variants say whether anything was sent.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        request: &OutgoingRequest,
        mut manner: Manner,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let mut redirected: Option<PathAndQuery> = None;
        let mut redirects = 0;
        loop {
            let path = redirected.as_ref().or(request.path.as_ref()).or(instance.endpoint.path.as_ref());
            let (head, connection) = match self.send(instance, request, path, manner.patience).await {
                Ok(answer) => answer,
                Err(UpstreamError::Lost { reused: true, .. }) if std::mem::take(&mut manner.repeatable) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            redirects += 1;
            if let Some(next) =
                redirect(&head.parts, &instance.endpoint).filter(|_| redirects <= MAX_REDIRECTS)
            {
                redirected = Some(next);
                continue;
            }
            let body = UpstreamBody::new(head.framing, head.keep_alive, connection, Arc::clone(self));
            return Ok(Response::from_parts(head.parts, body));
        }
    }
}

/// Where an answer redirects to, if it may be followed: same host and port, never from encrypted to plain, method and
/// body kept. Anything else is for whoever asked to see.
fn redirect(answer: &response::Parts, endpoint: &Endpoint) -> Option<PathAndQuery> {
    let follows = matches!(
        answer.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers.get(header::LOCATION).filter(|_| follows)?;
    same_origin_path(endpoint, location.to_str().ok()?)
}

/// The path of a URL given relative to the target; `None` where it is on another origin, or none.
pub(crate) fn same_origin_path(endpoint: &Endpoint, relative: &str) -> Option<PathAndQuery> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn redirects_are_followed_on_the_same_host_only() {
        let endpoint = Endpoint::parse("https://a.example/mcp").unwrap();
        let to = |status: u16, location: &'static str| {
            let (mut head, ()) = Response::new(()).into_parts();
            head.status = StatusCode::from_u16(status).unwrap();
            head.headers.insert(header::LOCATION, HeaderValue::from_static(location));
            redirect(&head, &endpoint).map(|path| path.to_string())
        };
        for (status, location, expect) in [
            (307, "/mcp/", Some("/mcp/")),
            (308, "https://a.example/v2?x=1", Some("/v2?x=1")),
            (301, "https://a.example:443/v2", Some("/v2")),
            (302, "next", Some("/next")),
            (303, "/mcp/", None),
            (307, "https://b.example/mcp", None),
            (307, "http://a.example/mcp", None),
            (307, "https://a.example:444/mcp", None),
            (200, "/mcp/", None),
        ] {
            assert_eq!(to(status, location).as_deref(), expect, "{status} {location}");
        }
    }
}
