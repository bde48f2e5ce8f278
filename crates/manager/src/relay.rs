//! stdio in front of a remote server, for clients that only speak stdio.

use std::sync::Arc;

use http::HeaderMap;
use proxy::endpoint::{Endpoint, EndpointError, Scheme};
use proxy::instance::Instances;
use proxy::relay::{RelayEnd, relay};
use proxy::remote::{DEFAULT_MAX_MESSAGE, RemoteConfig, RemoteHttp, RemoteSse};
use proxy::resolve::{ResolveError, Resolver};
use proxy::upstream::{Pool, PoolConfig};
use proxy::{Connect, ConnectError};
use telemetry::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::target::HttpTransport;

/// Saying goodbye to the server may take this long.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(3);

/// Which server, and how it is spoken to.
#[derive(Clone)]
pub struct RelaySettings {
    pub url: String,
    pub transport: HttpTransport,
    /// Sent with every request; credentials for instance.
    pub headers: HeaderMap,
    /// A PEM bundle to verify it with, instead of the system's roots.
    pub ca_file: Option<std::path::PathBuf>,
}

impl std::fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Header values and the URL's query are credentials.
        f.debug_struct("RelaySettings").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Why a relay could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{0}")]
    Resolver(String),
    #[error(transparent)]
    Tls(#[from] crate::serve::TargetTlsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Relays until the client or the server is gone.
///
/// # Errors
/// [`RelayError`].
pub async fn run(
    settings: &RelaySettings,
    from_client: impl AsyncRead,
    to_client: impl AsyncWrite,
) -> Result<RelayEnd, RelayError> {
    let endpoint = Arc::new(Endpoint::parse(&settings.url)?);
    let mut config = RemoteConfig::new(endpoint.display());
    config.headers.extend(settings.headers.clone());
    let tls = (endpoint.scheme == Scheme::Https)
        .then(|| crate::serve::client_tls(settings.ca_file.as_deref()))
        .transpose()?;
    let instances = Arc::new(Instances::new());
    let resolver = Resolver::system().map_err(RelayError::Resolver)?;
    let tasks = Tasks::new();
    let following = resolver.follow(endpoint, Arc::clone(&instances)).await?;
    let stop = tasks.stop_token();
    tasks.spawn("resolve", async move {
        tokio::select! {
            () = following => {}
            () = stop.cancelled() => {}
        }
    });
    let pool = Pool::new(PoolConfig::default(), tls);
    let server: Box<dyn Connect> = match settings.transport {
        HttpTransport::StreamableHttp => Box::new(RemoteHttp::new(config, instances, pool, tasks.clone())),
        HttpTransport::Sse => Box::new(RemoteSse::new(config, instances, pool, tasks.clone())),
    };
    let ended = relay(from_client, to_client, &*server, DEFAULT_MAX_MESSAGE).await;
    tasks.stop();
    tasks.wait(FAREWELL).await;
    Ok(ended?)
}
