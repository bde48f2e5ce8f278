//! What belongs to one hop only: connection headers, who the client was, and what the backend gets in their place.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};
use mcp::headers;

use crate::upstream::Fields;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Writes a client's headers as a backend gets them, in one pass. What the client itself claims to have forwarded is not
/// believed, its `Origin` was checked against our own address, which means nothing to the backend; the session id and event
/// ids may be ours: whoever sends adds the backend's. `own` headers stand in place of what the client sends under the same names.
pub(super) fn fields(client: &HeaderMap, own: &HeaderMap, address: IpAddr, tls: bool) -> Fields {
    let mut fields = Fields::new();
    let named = headers::connection_names(client);
    for (name, value) in client {
        if *name == header::HOST {
            fields.push(&FORWARDED_HOST, value);
        } else if !stays_here(name) && !own.contains_key(name) && !named.iter().any(|other| name == other) {
            fields.push(name, value);
        }
    }
    let mut text = [0; 48];
    fields.push_text(&FORWARDED_FOR, write_address(address, &mut text));
    fields.push_text(&FORWARDED_PROTO, if tls { b"https" } else { b"http" });
    own.iter().for_each(|(name, value)| fields.push(name, value));
    fields
}

fn stays_here(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::ORIGIN, header::EXPECT, header::FORWARDED].contains(name)
        || [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, headers::SESSION_ID].contains(name)
        || *name == headers::LAST_EVENT_ID
        || headers::is_hop_by_hop(name)
}

/// An address as text, without an allocation.
fn write_address(address: IpAddr, text: &mut [u8; 48]) -> &[u8] {
    let mut length = 0;
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // By hand: this is written with every request, and `Display` takes a thousand instructions.
            for (at, octet) in address.octets().into_iter().enumerate() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10];
                let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
                let written = digits[leading..].iter().map(|digit| b'0' + digit);
                for byte in (at > 0).then_some(b'.').into_iter().chain(written) {
                    text[length] = byte;
                    length += 1;
                }
            }
        }
        IpAddr::V6(address) => {
            let mut cursor = std::io::Cursor::new(&mut text[..]);
            std::io::Write::write_fmt(&mut cursor, format_args!("{address}"))
                .expect("an address has at most 39 characters");
            length = usize::try_from(cursor.position()).unwrap_or_default();
        }
    }
    &text[..length]
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(answer: &HeaderMap) -> bool {
    answer.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderValue, Method};

    #[test]
    fn addresses_are_written_as_everywhere_else() {
        for address in
            ["0.0.0.0", "10.200.3.45", "255.255.255.255", "100.9.10.99", "::1", "2001:db8::1:0:0:1"]
        {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(write_address(parsed, &mut [0; 48]), address.as_bytes());
        }
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(
            write_address(mapped, &mut [0; 48]),
            b"10.0.0.1",
            "an IPv4 client of a dual-stack listener"
        );
    }

    #[test]
    fn the_backend_learns_who_the_client_was_from_us_alone() {
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("host", "skep:1"),
            ("origin", "http://skep:1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4"),
            ("connection", "keep-alive, X-Drop"),
            ("x-drop", "1"),
            ("content-length", "3"),
            ("mcp-session-id", "s1.ours"),
            ("x-team", "client's"),
            ("authorization", "Bearer x"),
        ] {
            client.append(name, HeaderValue::from_static(value));
        }
        let mut own = HeaderMap::new();
        own.append("x-team", HeaderValue::from_static("red"));
        own.append("x-team", HeaderValue::from_static("blue"));
        let fields = fields(&client, &own, [127, 0, 0, 1].into(), false);
        let request =
            crate::upstream::OutgoingRequest { method: Method::GET, path: None, fields, body: Bytes::new() };
        let text = crate::upstream::head_text(&request);
        let mut lines: Vec<_> = text.lines().skip(2).filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "authorization: Bearer x",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: skep:1",
                "x-forwarded-proto: http",
                "x-team: blue",
                "x-team: red",
            ]
        );
    }
}
