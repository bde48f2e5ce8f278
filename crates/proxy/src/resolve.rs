//! From target URLs to instances: every address of a name is an instance, looked up again when its time to live is over.
//!
//! A name with addresses of both families is one server with two ways to it, not two servers, so only one family is
//! used. A look-up that fails changes nothing: the last known addresses stay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::endpoint::{Endpoint, Target};
use crate::instance::Instances;

/// A name is looked up again no sooner and no later than this, whatever its time to live says.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);
/// While it is not found, it is looked up less and less often, but no less than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a connection may take when it is tried out which address family a server listens on.
const PROBE: Duration = Duration::from_millis(300);

/// A target's name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the host of {url} has no address: {reason}")]
pub struct ResolveError {
    pub url: String,
    pub reason: String,
}

/// Looks names up with the system's configuration (`resolv.conf`, `hosts`).
#[derive(Clone)]
pub struct Resolver {
    dns: TokioResolver,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn system() -> Result<Self, String> {
        let build = || -> Result<TokioResolver, NetError> {
            let mut builder = TokioResolver::builder_tokio()?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        };
        build().map(Self::new).map_err(|error| format!("the system's name resolution is not usable: {error}"))
    }

    /// With a resolver configured elsewhere (tests bring their own name server).
    #[must_use]
    pub fn new(dns: TokioResolver) -> Self {
        Self { dns }
    }

    /// Fills `instances` with the addresses of `endpoint` and keeps them up to date until the returned future is
    /// dropped. The first look-up is done before this returns.
    ///
    /// # Errors
    /// [`ResolveError`] where the name has no address at all.
    pub async fn follow(
        self,
        endpoint: Arc<Endpoint>,
        instances: Arc<Instances>,
    ) -> Result<impl Future<Output = ()> + Send, ResolveError> {
        let (addresses, until) = self.look_up(&endpoint).await?;
        instances.set(&endpoint, &addresses);
        Ok(self.keep(endpoint, instances, until))
    }

    /// The same where nobody waits for the first look-up, and a name may have no address yet.
    pub async fn follow_patiently(self, endpoint: Arc<Endpoint>, instances: Arc<Instances>) {
        let until = self.look(&endpoint, &instances).await.unwrap_or_else(|| Some(Instant::now()));
        self.keep(endpoint, instances, until).await;
    }

    async fn keep(self, endpoint: Arc<Endpoint>, instances: Arc<Instances>, mut until: Option<Instant>) {
        let mut soonest = SOONEST;
        while let Some(due) = until {
            sleep(due.saturating_duration_since(Instant::now()).clamp(soonest, LATEST)).await;
            match self.look(&endpoint, &instances).await {
                Some(next) => (until, soonest) = (next, SOONEST),
                None => soonest = (soonest * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Looks up once, and gives when to ask again. `None`: it failed.
    async fn look(&self, endpoint: &Arc<Endpoint>, instances: &Instances) -> Option<Option<Instant>> {
        match self.look_up(endpoint).await {
            Ok((addresses, until)) => {
                instances.set(endpoint, &addresses);
                Some(until)
            }
            Err(error) => {
                let (url, reason) = (error.url, error.reason);
                tracing::warn!(backend.url = url, error = reason, "backend name not resolved");
                None
            }
        }
    }

    /// The addresses, and when to ask again (`None`: never, it is an address already).
    async fn look_up(&self, endpoint: &Endpoint) -> Result<(Vec<SocketAddr>, Option<Instant>), ResolveError> {
        let name = match &endpoint.target {
            Target::Address(ip) => return Ok((vec![SocketAddr::new(*ip, endpoint.port)], None)),
            Target::Name(name) => name,
        };
        let found = self
            .dns
            .lookup_ip(name.as_str())
            .await
            .map_err(|error| ResolveError { url: endpoint.display(), reason: error.to_string() })?;
        let until = Instant::from_std(found.valid_until());
        let addresses = one_family(found.iter(), endpoint.port).await;
        Ok((addresses, Some(until)))
    }
}

/// The IPv4 addresses if there are any, unless the server listens on IPv6 only (as `localhost` servers sometimes do).
async fn one_family(ips: impl Iterator<Item = IpAddr>, port: u16) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = ips.map(|ip| SocketAddr::new(ip, port)).partition(SocketAddr::is_ipv4);
    let (Some(first_v4), Some(first_v6)) = (v4.first(), v6.first()) else {
        return if v4.is_empty() { v6 } else { v4 };
    };
    let listens = |address: SocketAddr| async move {
        matches!(timeout(PROBE, TcpStream::connect(address)).await, Ok(Ok(_)))
    };
    if !listens(*first_v4).await && listens(*first_v6).await { v6 } else { v4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_address_is_its_own_instance_and_never_asked_for_again() {
        let endpoint = Arc::new(Endpoint::parse("http://127.0.0.1:81").unwrap());
        let instances = Arc::new(Instances::new());
        let follow =
            Resolver::system().unwrap().follow(Arc::clone(&endpoint), Arc::clone(&instances)).await.unwrap();
        follow.await;
        assert_eq!(instances.active()[0].address, "127.0.0.1:81".parse().unwrap());
    }

    #[tokio::test]
    async fn localhost_is_one_instance_in_the_family_that_listens() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let both = ["::1", "127.0.0.1"].map(|ip| ip.parse().unwrap());
            assert_eq!(one_family(both.into_iter(), port).await, [listener.local_addr().unwrap()], "{bind}");
        }
    }

    #[tokio::test]
    async fn a_name_without_address_is_an_error_that_names_the_url() {
        let endpoint = Arc::new(Endpoint::parse("http://nothing.invalid:81/mcp").unwrap());
        let error = Resolver::system().unwrap().follow(endpoint, Arc::default()).await.err().unwrap();
        assert!(error.to_string().contains("http://nothing.invalid:81/mcp"), "{error}");
    }
}
