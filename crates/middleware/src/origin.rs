//! Refuses what a web page of somebody else may have sent: a foreign `Origin`, or (on a local listener) a foreign
//! `Host`, which is how DNS rebinding shows.
//!
//! MCP 2025-11-25 "Security Warning": servers MUST validate `Origin`. A listener that is open to other machines cannot
//! know by which names it is reached, so there `Host` is checked only against a list; but any `Origin` that is not
//! listed is refused, because a program that is not a browser sends none.

use http::{HeaderMap, StatusCode, Uri, header};
use mcp::{ErrorCode, ErrorReply};
use url::Url;

use crate::answer::Answer;
use crate::service::{Arrived, Service};

/// Who may call, as a browser would name it.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    /// Host names accepted in `Host`, lower case, without port; `None`: any.
    hosts: Option<Vec<String>>,
    /// Origins accepted.
    origins: Vec<Origin>,
    /// Loopback origins on any port count as listed, where the listener is local.
    local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// A text that is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: write scheme, host and port, for instance https://app.example.com or http://localhost:6274"
)]
pub struct NotAnOrigin(pub String);

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.path() == "/" || url.path().is_empty();
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        (plain && bare && url.fragment().is_none()).then_some(())?;
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_ascii_lowercase(),
            port: url.port_or_known_default(),
        })
    }
}

const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl OriginPolicy {
    /// For a listener on a loopback address: loopback names and origins, and those given.
    ///
    /// # Errors
    /// [`NotAnOrigin`].
    pub fn local(hosts: &[String], origins: &[String]) -> Result<Self, NotAnOrigin> {
        let all = LOCAL_HOSTS.iter().map(|host| (*host).to_owned()).chain(lower(hosts)).collect();
        // An explicit list replaces the default one.
        Ok(Self { hosts: Some(all), origins: parse_origins(origins)?, local: origins.is_empty() })
    }

    /// For a listener that other machines reach: the hosts given (any, where none is), the origins given and no other.
    ///
    /// # Errors
    /// [`NotAnOrigin`].
    pub fn open(hosts: &[String], origins: &[String]) -> Result<Self, NotAnOrigin> {
        let hosts = (!hosts.is_empty()).then(|| lower(hosts).collect());
        Ok(Self { hosts, origins: parse_origins(origins)?, local: false })
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
        if let Some(allowed) = &self.hosts {
            let host = host_of(uri, headers).ok_or("a single valid Host header is required")?;
            if !allowed.iter().any(|name| name.eq_ignore_ascii_case(host)) {
                return Err("Host not allowed (--allowed-hosts adds one)");
            }
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        if origins.next().is_some() {
            return Err("more than one Origin header");
        }
        let origin = origin.to_str().ok().and_then(Origin::parse).ok_or("Origin not allowed")?;
        let is_local = self.local && LOCAL_HOSTS.contains(&origin.host.as_str());
        if is_local || self.origins.contains(&origin) {
            return Ok(());
        }
        Err("Origin not allowed (--allowed-origins adds one)")
    }
}

fn lower(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().map(|name| name.to_ascii_lowercase())
}

fn parse_origins(texts: &[String]) -> Result<Vec<Origin>, NotAnOrigin> {
    texts.iter().map(|text| Origin::parse(text).ok_or_else(|| NotAnOrigin(text.clone()))).collect()
}

/// The host that was asked for, without its port: of the request target where it names one (HTTP/2), else of `Host`.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(host) = uri.host() {
        return Some(host);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    if hosts.next().is_some() || host.contains(['@', '/', ' ']) {
        return None;
    }
    match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => Some(&host[..colon]),
        _ => Some(host),
    }
}

/// The layer.
#[derive(Debug)]
pub struct CheckOrigin<S> {
    inner: S,
    policy: OriginPolicy,
}

impl<S> CheckOrigin<S> {
    /// With this policy.
    pub fn new(policy: OriginPolicy, inner: S) -> Self {
        Self { inner, policy }
    }
}

impl<B: Send + 'static, S: Service<Arrived<B>>> Service<Arrived<B>> for CheckOrigin<S> {
    async fn call(&self, arrived: Arrived<B>) -> Answer {
        match self.policy.check(arrived.request.uri(), arrived.request.headers()) {
            Ok(()) => self.inner.call(arrived).await,
            Err(reason) => {
                let reply = ErrorReply::new(ErrorCode::InvalidRequest, reason);
                Answer::refuse(StatusCode::FORBIDDEN, "origin", &reply, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn passes(policy: &OriginPolicy, host: &str, origins: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        policy.check(&Uri::from_static("/mcp"), &headers).is_ok()
    }

    #[test]
    fn a_local_listener_serves_local_names_and_pages_only() {
        let policy = OriginPolicy::local(&["Host.Docker.Internal".into()], &[]).unwrap();
        for (host, origins, expect) in [
            ("localhost:8080", &[][..], true),
            ("127.0.0.1", &["http://localhost:6274"], true),
            ("[::1]:80", &["http://[::1]:80"], true),
            ("LOCALHOST:1", &["http://LocalHost:1"], true),
            ("host.docker.internal:1", &[], true),
            ("evil.example:8080", &[], false),
            ("localhost.evil.example", &[], false),
            ("127.0.0.1.evil.example", &[], false),
            ("evil@localhost", &[], false),
            ("localhost", &["http://evil.example"], false),
            ("localhost", &["null"], false),
            ("localhost", &["http://localhost@evil.example"], false),
            ("localhost", &["http://localhost", "http://localhost"], false),
        ] {
            assert_eq!(passes(&policy, host, origins), expect, "{host} {origins:?}");
        }
    }

    #[test]
    fn an_explicit_list_replaces_the_default() {
        let policy = OriginPolicy::local(&[], &["https://App.example".into()]).unwrap();
        assert!(passes(&policy, "localhost", &["https://app.example"]));
        assert!(passes(&policy, "localhost", &["https://app.example:443"]));
        assert!(!passes(&policy, "localhost", &["http://app.example"]));
        assert!(!passes(&policy, "localhost", &["http://localhost"]));
    }

    #[test]
    fn an_open_listener_accepts_any_host_but_no_unlisted_page() {
        let policy = OriginPolicy::open(&[], &[]).unwrap();
        assert!(passes(&policy, "mcp.svc.cluster.local", &[]));
        assert!(!passes(&policy, "evil.example", &["http://evil.example"]));
        let policy = OriginPolicy::open(&["a.example".into()], &[]).unwrap();
        assert!(passes(&policy, "a.example:1", &[]) && !passes(&policy, "b.example", &[]));
    }

    #[test]
    fn what_is_not_an_origin_is_refused_at_start() {
        for text in ["example.com", "http://a/b", "http://u@a", "*"] {
            assert_eq!(
                OriginPolicy::open(&[], &[text.into()]).err(),
                Some(NotAnOrigin(text.into())),
                "{text}"
            );
        }
    }
}
