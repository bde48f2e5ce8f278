//! What of a client's headers a backend gets: how it wants to be answered, the trace, and those that the configuration names.
//!
//! The rest was for this endpoint. A client's credentials above all are not shown to the many servers behind it (the protocol's
//! security guide: no token passthrough), and an encoding that the client takes would hide what the hub has to read.
//!
//! What the hub itself calls for a client's request carries the trace and the named headers of that request too. They are
//! with it in memory only, and nobody writes them down.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, header};
use mcp::headers;

use super::session::Opened;

const TRACE: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// A client's head as any backend gets it. Of a header that is passed through the first value counts.
pub(super) fn head_of(client: &Parts, passed: &[HeaderName]) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    head.method = client.method.clone();
    head.uri = client.uri.clone();
    head.headers = fields(&client.headers, passed);
    head
}

/// What of a client's headers goes on with the calls that the hub makes for its request.
pub(super) fn carried(client: &HeaderMap, passed: &[HeaderName]) -> HeaderMap {
    first_of(client, TRACE.iter().chain(passed))
}

/// Adds what is carried to a call of the hub's; what it says itself stays.
pub(super) fn carry(call: &mut HeaderMap, carried: &HeaderMap) {
    for (name, value) in carried {
        call.entry(name).or_insert_with(|| value.clone());
    }
}

/// Arguments that a client of 2026-07-28 repeats in headers: those of this name are the backend's to judge.
pub(super) fn repeated(client: &HeaderMap) -> HeaderMap {
    let repeats = |name: &HeaderName| name.as_str().starts_with(headers::PARAM_PREFIX);
    client
        .iter()
        .filter(|(name, _)| repeats(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A client's head as a backend gets it in the session with it.
pub(super) fn head_for(client: &Parts, opened: &Opened, passed: &[HeaderName]) -> Parts {
    let mut head = head_of(client, passed);
    if let Some(token) = &opened.token {
        head.headers.insert(headers::SESSION_ID, token.clone());
    }
    head.headers.insert(headers::PROTOCOL_VERSION, opened.version.clone());
    head
}

fn fields(client: &HeaderMap, passed: &[HeaderName]) -> HeaderMap {
    let own = [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT];
    first_of(client, own.iter().chain(&TRACE).chain(passed))
}

fn first_of<'n>(client: &HeaderMap, names: impl Iterator<Item = &'n HeaderName>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for name in names {
        if let Some(value) = client.get(name).filter(|value| !value.is_empty()) {
            fields.insert(name.clone(), value.clone());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn credentials_stay_here_and_what_is_named_passes() {
        let mut client = Request::new(()).into_parts().0;
        for (name, value) in [
            ("accept", "application/json, text/event-stream"),
            ("authorization", "Bearer secret"),
            ("cookie", "secret=1"),
            ("accept-encoding", "gzip"),
            ("traceparent", "00-1-2-01"),
            ("mcp-session-id", "s1.ours"),
            ("mcp-protocol-version", "2025-06-18"),
            ("x-tenant", "red"),
            ("x-tenant", "blue"),
            ("x-other", "1"),
        ] {
            client.headers.append(name, HeaderValue::from_static(value));
        }
        let opened = Opened {
            token: Some(HeaderValue::from_static("theirs")),
            version: HeaderValue::from_static("2025-11-25"),
            logs: false,
            subscribes: false,
        };
        let head = head_for(&client, &opened, &[HeaderName::from_static("x-tenant")]);
        let mut seen: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2025-11-25"),
                ("mcp-session-id", "theirs"),
                ("traceparent", "00-1-2-01"),
                ("x-tenant", "red"),
            ]
        );
    }

    #[test]
    fn what_is_carried_takes_no_place_of_a_calls_own() {
        let mut client = HeaderMap::new();
        for (name, value) in
            [("accept", "x"), ("authorization", "secret"), ("traceparent", "00-1-2-01"), ("x-tenant", "red")]
        {
            client.insert(name, HeaderValue::from_static(value));
        }
        let passed = ["x-tenant", "x-none", "mcp-session-id"].map(HeaderName::from_static);
        client.insert("mcp-session-id", HeaderValue::from_static("ours"));
        let mut call = HeaderMap::new();
        call.insert("mcp-session-id", HeaderValue::from_static("theirs"));
        carry(&mut call, &carried(&client, &passed));
        let seen = ["mcp-session-id", "traceparent", "x-tenant"].map(|name| call[name].to_str().unwrap());
        assert_eq!((seen, call.len()), (["theirs", "00-1-2-01", "red"], 3));
    }
}
