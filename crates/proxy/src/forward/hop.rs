//! What belongs to one hop only: connection headers, who the client was, and redirects on the way to the backend.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response};
use mcp::headers;
use url::Url;

use crate::endpoint::{Endpoint, Scheme};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Makes a client's headers fit for a backend. What the client itself claims to have forwarded is not believed, and
/// its `Origin` was checked against our own address, which means nothing to the backend.
pub(super) fn prepare(request: &mut HeaderMap, client: IpAddr, tls: bool) {
    headers::remove_hop_by_hop(request);
    for name in [header::CONTENT_LENGTH, header::ORIGIN, header::EXPECT, header::FORWARDED] {
        request.remove(name);
    }
    match request.remove(header::HOST) {
        Some(host) => request.insert(FORWARDED_HOST, host),
        None => request.remove(FORWARDED_HOST),
    };
    let client = HeaderValue::from_str(&client.to_string()).expect("an address is a header value");
    request.insert(FORWARDED_FOR, client);
    request.insert(FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(answer: &HeaderMap) -> bool {
    answer.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Where an answer redirects to, if it may be followed: same host and port, never from encrypted to plain, method and
/// body kept. Anything else is the client's to see.
pub(super) fn redirect(answer: &response::Parts, endpoint: &Endpoint) -> Option<PathAndQuery> {
    let follows = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !follows.contains(&answer.status) {
        return None;
    }
    let scheme = if endpoint.scheme == Scheme::Https { "https" } else { "http" };
    let path = endpoint.path.as_ref().map_or("/", PathAndQuery::as_str);
    let base = Url::parse(&format!("{scheme}://{}{path}", endpoint.authority.to_str().ok()?)).ok()?;
    let target = base.join(answer.headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
    let same = target.scheme() == base.scheme()
        && target.host() == base.host()
        && target.port_or_known_default() == base.port_or_known_default();
    if !same {
        return None;
    }
    let text =
        target.query().map_or_else(|| target.path().to_owned(), |query| format!("{}?{query}", target.path()));
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_learns_who_the_client_was_from_us_alone() {
        let mut request = HeaderMap::new();
        for (name, value) in [
            ("host", "skep:1"),
            ("origin", "http://skep:1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4"),
            ("connection", "x-drop"),
            ("x-drop", "1"),
            ("authorization", "Bearer x"),
        ] {
            request.append(name, HeaderValue::from_static(value));
        }
        prepare(&mut request, [127, 0, 0, 1].into(), false);
        let mut left: Vec<_> = request.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "authorization=Bearer x",
                "x-forwarded-for=127.0.0.1",
                "x-forwarded-host=skep:1",
                "x-forwarded-proto=http"
            ]
        );
    }

    #[test]
    fn redirects_are_followed_on_the_same_host_only() {
        let endpoint = Endpoint::parse("https://a.example/mcp").unwrap();
        let to = |status: u16, location: &'static str| {
            let (mut head, ()) = http::Response::new(()).into_parts();
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
