//! What a virtual MCP says to whoever runs it: how its backends are (`/status`, `/api/backends/health`), behind the checks
//! that calls pass, too; and whether it has looked at all of them yet (`/readyz`), which anybody may ask.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use proxy::failure::json_answer;
use proxy::{Body, Call, Failure};
use serde_json::{Map, Value, json};
use vmcp::hub::health::Status;
use vmcp::hub::{BackendState, Hub};

use super::members::Members;
use crate::target::HttpTransport;

const STATUSES: [(&str, Status); 5] = [
    ("Healthy", Status::Healthy),
    ("Degraded", Status::Degraded),
    ("Unhealthy", Status::Unhealthy),
    ("Unknown", Status::Unknown),
    ("Unauthenticated", Status::Unauthenticated),
];

/// The answer to a request that is about the endpoint itself; `None`: it is about something else.
pub(super) fn answer(hub: &Hub, members: &Members, call: &Call) -> Option<Response<Body>> {
    let text = match call.request.head.uri.path() {
        "/status" => status(&hub.backends(), members),
        "/api/backends/health" => health(&hub.backends()),
        _ => return None,
    };
    let method = &call.request.head.method;
    if ![Method::GET, Method::HEAD].contains(method) {
        let refused = Failure::MethodNotAllowed { method: method.clone(), allow: "GET, HEAD" };
        return Some(refused.answer(None));
    }
    let mut response = json_answer(StatusCode::OK, text.to_string().into());
    for (name, value) in [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

/// The answer to `/readyz`: 200 once every backend was asked what it has, or has had its time.
pub(super) fn readiness(hub: &Hub, members: &Members) -> (StatusCode, Bytes) {
    let mode = if members.is_dynamic() { "dynamic" } else { "static" };
    let (status, text) = if hub.is_settled() {
        (StatusCode::OK, json!({"status": "ready", "mode": mode}))
    } else {
        let text = json!({"status": "not_ready", "mode": mode, "reason": "backends_not_looked_at_yet"});
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    (status, text.to_string().into())
}

fn status(states: &[BackendState], members: &Members) -> Value {
    let backends: Vec<_> = states
        .iter()
        .map(|state| {
            let transport = match members.transport(&state.name) {
                Some(HttpTransport::Sse) => "sse",
                Some(HttpTransport::StreamableHttp) => "streamable-http",
                None => "",
            };
            json!({"name": state.name, "health": state.status.name(), "transport": transport})
        })
        .collect();
    json!({
        "backends": backends,
        "healthy": states.iter().any(|state| state.status == Status::Healthy),
        "version": env!("CARGO_PKG_VERSION"),
        "group_ref": members.group(),
    })
}

fn health(states: &[BackendState]) -> Value {
    let count = |status| states.iter().filter(|state| state.status == status).count();
    let mut summary = Map::from_iter([("Total".to_owned(), states.len().into())]);
    summary.extend(STATUSES.map(|(name, status)| (name.to_owned(), count(status).into())));
    let backends: Map<String, Value> = states
        .iter()
        .map(|state| {
            let of_one = json!({"Status": state.status.name(), "ConsecutiveFailures": state.failures});
            (state.name.clone(), of_one)
        })
        .collect();
    json!({"monitoring_enabled": true, "summary": summary, "backends": backends})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_counted_by_how_they_are() {
        let state = |name: &str, status, failures| BackendState { name: name.to_owned(), status, failures };
        let health = health(&[state("a", Status::Healthy, 0), state("b", Status::Unhealthy, 4)]);
        assert_eq!(
            health["summary"],
            json!({"Total": 2, "Healthy": 1, "Degraded": 0, "Unhealthy": 1, "Unknown": 0, "Unauthenticated": 0})
        );
        assert_eq!(health["backends"]["b"], json!({"Status": "unhealthy", "ConsecutiveFailures": 4}));
    }
}
