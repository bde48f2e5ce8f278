//! Where a Redis is, and the connection to it: one server, the master that sentinels name, or a cluster.
//!
//! | URL | is |
//! |---|---|
//! | `redis://[USER:PASSWORD@]HOST:PORT[/DB]` | one server |
//! | `redis-sentinel://[USER:PASSWORD@]HOST:PORT,…/MASTER[/DB]` | the hosts are sentinels, the rest is of the master they name |
//! | `redis-cluster://[USER:PASSWORD@]HOST:PORT,…` | some nodes of a cluster |
//!
//! With TLS they begin with `rediss`.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisFuture,
    RedisResult, TlsMode, Value,
};
use tokio::sync::Mutex;

use crate::records::OpenError;

/// How long an operation may take, and how long connecting.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
pub(super) const CONNECTING: Duration = Duration::from_secs(1);

/// A Redis, connected to or not.
pub(super) struct Server {
    place: Place,
    link: Mutex<Option<Link>>,
}

enum Place {
    One(Client),
    Sentinels(Mutex<SentinelClient>),
    /// The cluster, and its nodes that are known from the beginning.
    Cluster(ClusterClient, Vec<Client>),
}

/// A connection; clones are the same one.
#[derive(Clone)]
pub(super) enum Link {
    /// Comes back by itself, to the same address.
    One(ConnectionManager),
    /// To what was the master when it was made.
    Master(MultiplexedConnection),
    /// Follows the cluster by itself.
    Cluster(ClusterConnection),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password in it.
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// The parts of a URL.
struct Parts<'a> {
    /// `redis` or `rediss`.
    scheme: &'a str,
    /// With its `@`, or empty.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str, kind: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.strip_suffix(kind)?;
        let (login, rest) = match rest.rfind('@') {
            Some(at) => rest.split_at(at + 1),
            None => ("", rest),
        };
        let mut path = rest.split('/');
        let hosts: Vec<_> = path.next()?.split(',').filter(|host| !host.is_empty()).collect();
        let is_usable = matches!(scheme, "redis" | "rediss") && !hosts.is_empty();
        is_usable.then(|| Self { scheme, login, hosts, path: path.filter(|part| !part.is_empty()).collect() })
    }

    /// A host as a server of its own.
    fn node(&self, host: &str, login: &str, database: &str) -> RedisResult<ConnectionInfo> {
        format!("{}://{login}{host}/{database}", self.scheme).into_connection_info()
    }
}

impl Server {
    /// Reads a URL; nothing is connected.
    ///
    /// # Errors
    /// [`OpenError::NotAStore`], without the URL's password.
    pub(super) fn open(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("rediss") {
            // The client asks the process which cryptography to use. Whoever was first decides.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let Some(Ok(place)) = place(url) else {
            return Err(OpenError::NotAStore { url: without_password(url) });
        };
        Ok(Self { place, link: Mutex::default() })
    }

    /// A connection, made if there is none.
    pub(super) async fn link(&self) -> RedisResult<Link> {
        let mut link = self.link.lock().await;
        if let Some(link) = &*link {
            return Ok(link.clone());
        }
        let made = match &self.place {
            Place::One(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECTING))
                    .set_response_timeout(Some(PATIENCE))
                    .set_number_of_retries(1);
                Link::One(ConnectionManager::new_with_config(client.clone(), config).await?)
            }
            Place::Sentinels(sentinels) => {
                let master = sentinels.lock().await.async_get_client().await?;
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECTING))
                    .set_response_timeout(Some(PATIENCE));
                Link::Master(master.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Place::Cluster(cluster, _) => Link::Cluster(cluster.get_async_connection().await?),
        };
        *link = Some(made.clone());
        Ok(made)
    }

    /// The connection failed: where another server may be the master by now, that is asked for again.
    pub(super) async fn failed(&self) {
        if matches!(self.place, Place::Sentinels(_)) {
            *self.link.lock().await = None;
        }
    }

    /// Whether keys are spread, so that one pipeline cannot be about several.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(..))
    }

    /// A connection of its own for what others publish.
    pub(super) async fn pubsub(&self) -> RedisResult<PubSub> {
        match &self.place {
            Place::One(client) => client.get_async_pubsub().await,
            Place::Sentinels(sentinels) => {
                let master = sentinels.lock().await.async_get_client().await?;
                master.get_async_pubsub().await
            }
            // What is published at one node is told at all.
            Place::Cluster(_, nodes) => {
                let mut last = None;
                for node in nodes {
                    match node.get_async_pubsub().await {
                        Ok(pubsub) => return Ok(pubsub),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (redis::ErrorKind::InvalidClientConfig, "no node").into()))
            }
        }
    }
}

fn place(url: &str) -> Option<RedisResult<Place>> {
    if let Some(parts) = Parts::of(url, "-sentinel") {
        let (master, database) = match parts.path[..] {
            [master] => (master, "0"),
            [master, database] => (master, database),
            _ => return None,
        };
        return Some(sentinels(&parts, master, database));
    }
    if let Some(parts) = Parts::of(url, "-cluster") {
        // A cluster has one database.
        return parts.path.is_empty().then(|| cluster(&parts));
    }
    Parts::of(url, "").map(|_| Client::open(url).map(Place::One))
}

fn sentinels(parts: &Parts<'_>, master: &str, database: &str) -> RedisResult<Place> {
    let sentinels =
        parts.hosts.iter().map(|host| parts.node(host, "", "")).collect::<RedisResult<Vec<_>>>()?;
    let of_master = parts.node("master", parts.login, database)?;
    let mut info =
        SentinelNodeConnectionInfo::default().set_redis_connection_info(of_master.redis_settings().clone());
    if parts.scheme == "rediss" {
        info = info.set_tls_mode(TlsMode::Secure);
    }
    let client = SentinelClient::build(sentinels, master, Some(info), SentinelServerType::Master)?;
    Ok(Place::Sentinels(Mutex::new(client)))
}

fn cluster(parts: &Parts<'_>) -> RedisResult<Place> {
    let nodes =
        parts.hosts.iter().map(|host| parts.node(host, parts.login, "")).collect::<RedisResult<Vec<_>>>()?;
    let clients = nodes.iter().map(|node| Client::open(node.clone())).collect::<RedisResult<Vec<_>>>()?;
    let cluster = ClusterClient::builder(nodes)
        .connection_timeout(CONNECTING)
        .response_timeout(PATIENCE)
        .retries(2)
        .build()?;
    Ok(Place::Cluster(cluster, clients))
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(link) => link.req_packed_command(cmd),
            Self::Master(link) => link.req_packed_command(cmd),
            Self::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(link) => link.req_packed_commands(pipeline, offset, count),
            Self::Master(link) => link.req_packed_commands(pipeline, offset, count),
            Self::Cluster(link) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(link) => link.get_db(),
            Self::Master(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_what_is_wrong_is_told_without_a_password() {
        for url in [
            "redis://h:6379",
            "redis://u:secret@h:6379/1",
            "rediss://h:6379",
            "redis-sentinel://u:secret@a:26379,b:26379/mymaster",
            "rediss-sentinel://a:26379/mymaster/2",
            "redis-cluster://u:secret@a:7000,b:7001",
            "rediss-cluster://a:7000",
        ] {
            assert!(Server::open(url).is_ok(), "{url}");
        }
        for url in [
            "redis://user:secret@host:port/0",
            "redis-sentinel://u:secret@a:26379",
            "redis-sentinel://u:secret@a:26379/m/0/x",
            "redis-cluster://u:secret@a:7000/1",
            "redis-cluster://u:secret@",
            "http://u:secret@a:7000",
        ] {
            let error = Server::open(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("redis://"), "{error}");
        }
    }
}
