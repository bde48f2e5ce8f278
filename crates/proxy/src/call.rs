//! What the proxy is asked: a permitted request, and who asks.

use std::net::SocketAddr;

use model::PrincipalDigest;

/// One request, read, judged and permitted by the chain in front.
#[derive(Debug)]
pub struct Call {
    pub request: mcp::Request,
    pub principal: PrincipalDigest,
    /// The client's address, for `X-Forwarded-For`.
    pub client: SocketAddr,
    /// Whether the client came over TLS, for `X-Forwarded-Proto`.
    pub tls: bool,
}
