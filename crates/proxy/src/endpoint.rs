//! Where a backend is: a target URL, checked once, with all that each request to it needs already made.

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use url::{Host, Url};

/// How to speak to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// Why a text is not a target URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{url:?} is not a URL: {reason} (write for instance http://127.0.0.1:8080/mcp)")]
    NotAUrl { url: String, reason: String },
    #[error("{url:?}: the scheme must be http or https")]
    Scheme { url: String },
    #[error(
        "{url:?} has a user name or password in it: give credentials by header, they would show in logs here"
    )]
    Credentials { url: String },
    #[error("{url:?} names no host")]
    NoHost { url: String },
}

/// What stands in a URL where the host does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One address.
    Address(std::net::IpAddr),
    /// All addresses of a name, each an instance.
    Name(String),
}

/// A validated target URL.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub scheme: Scheme,
    pub target: Target,
    pub port: u16,
    /// The `Host` header of every request to it.
    pub authority: HeaderValue,
    /// The name for SNI and certificate verification, kept however the connection was pinned.
    pub server_name: ServerName<'static>,
    /// The path (and query) of the MCP endpoint, `None` where the URL leaves it to the request.
    pub path: Option<PathAndQuery>,
    /// A digest of scheme and authority: what an instance is beyond its address.
    pub identity: u64,
}

impl Endpoint {
    /// Checks a target URL.
    ///
    /// # Errors
    /// [`EndpointError`], which quotes the URL and says what to write.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let quoted = || text.to_owned();
        let url = Url::parse(text)
            .map_err(|error| EndpointError::NotAUrl { url: quoted(), reason: error.to_string() })?;
        let (scheme, default_port) = match url.scheme() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return Err(EndpointError::Scheme { url: quoted() }),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials { url: redact(&url) });
        }
        let (target, server_name) = match url.host() {
            Some(Host::Domain(name)) => {
                let server_name = ServerName::try_from(name.to_owned())
                    .map_err(|_| EndpointError::NoHost { url: quoted() })?;
                (Target::Name(name.to_owned()), server_name)
            }
            Some(Host::Ipv4(ip)) => (Target::Address(ip.into()), ServerName::IpAddress(ip.into())),
            Some(Host::Ipv6(ip)) => (Target::Address(ip.into()), ServerName::IpAddress(ip.into())),
            None => return Err(EndpointError::NoHost { url: quoted() }),
        };
        let not_a_url = |reason: String| EndpointError::NotAUrl { url: quoted(), reason };
        let host = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = match (url.path(), url.query()) {
            ("/" | "", None) => None,
            (path, query) => {
                let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
                let uri: Uri =
                    text.parse().map_err(|error: http::uri::InvalidUri| not_a_url(error.to_string()))?;
                uri.path_and_query().cloned()
            }
        };
        Ok(Self {
            scheme,
            target,
            port: url.port().unwrap_or(default_port),
            identity: identity(url.scheme(), &authority),
            authority: HeaderValue::from_str(&authority).map_err(|error| not_a_url(error.to_string()))?,
            server_name,
            path,
        })
    }

    /// The URL for people, without its query (which may hold a key).
    #[must_use]
    pub fn display(&self) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        format!("{scheme}://{}{path}", self.authority.to_str().unwrap_or("?"))
    }
}

fn redact(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn identity(scheme: &str, authority: &str) -> u64 {
    let text = format!("{scheme}://{authority}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    u64::from_le_bytes(hash.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_target_url() {
        let endpoint = Endpoint::parse("https://mcp.example.com:8443/a/mcp?k=1").unwrap();
        assert_eq!(endpoint.scheme, Scheme::Https);
        assert_eq!(endpoint.port, 8443);
        assert_eq!(endpoint.authority, "mcp.example.com:8443");
        assert_eq!(endpoint.path.as_ref().unwrap().as_str(), "/a/mcp?k=1");
        assert_eq!(endpoint.display(), "https://mcp.example.com:8443/a/mcp");
        let endpoint = Endpoint::parse("http://[::1]:80/").unwrap();
        assert_eq!((endpoint.port, endpoint.path), (80, None));
        assert_eq!(endpoint.authority, "[::1]");
    }

    #[test]
    fn says_what_is_wrong_and_shows_no_password() {
        for (text, part) in [
            ("localhost:8080", "scheme must be http or https"),
            ("ftp://a/", "scheme must be http or https"),
            ("not a url", "is not a URL"),
            ("http://", "is not a URL"),
            ("http://me:pw@a/", "user name or password"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
