//! Refuses requests that were sent to another name (DNS rebinding) or by a web page of somebody else.

use http::{HeaderMap, Uri, header};

const LOCAL: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Whether `Host`, and `Origin` where there is one, name this machine or one of `allowed`.
pub(super) fn is_welcome(headers: &HeaderMap, allowed: &[String]) -> bool {
    let is_known =
        |host: &str| LOCAL.contains(&host) || allowed.iter().any(|name| name.eq_ignore_ascii_case(host));
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    if !host.to_str().is_ok_and(|host| is_known(without_port(host))) {
        return false;
    }
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        origin.is_some_and(|origin| origin.host().is_some_and(is_known))
    })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_this_machine_and_the_allowed_names_are_welcome() {
        let allowed = ["skep.test".to_owned()];
        for (host, origin, expect) in [
            (Some("127.0.0.1:80"), None, true),
            (Some("localhost"), Some("http://localhost:6274"), true),
            (Some("[::1]:8080"), Some("https://[::1]"), true),
            (Some("skep.test:1"), None, true),
            (Some("evil.example.com"), None, false),
            (Some("localhost.evil.com"), None, false),
            (Some("127.0.0.1"), Some("http://evil.example.com"), false),
            (Some("127.0.0.1"), Some("null"), false),
            (None, None, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                value.map(|value| headers.insert(name, HeaderValue::from_str(value).unwrap()));
            }
            assert_eq!(is_welcome(&headers, &allowed), expect, "{host:?} {origin:?}");
        }
    }
}
