//! The front door: accepts connections, spreads them over the workers, serves HTTP on each, and drains.
//!
//! A listener is served by a worker on each of the [`Workers`]' threads, so that a request is served where its connection
//! lives, with connections to backends that no other worker touches. One acceptor hands connections to the worker that has
//! fewest: a handful of clients is spread evenly, and a port in use is noticed (with `SO_REUSEPORT` it would be shared).

mod patient;
mod worker;
mod workers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use worker::{Arrival, Worker};
pub use workers::Workers;

/// Where a connection came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
}

/// Answers requests; one per worker.
pub trait Handler: Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} is in use by another program: choose another port, or port 0 for a free one")]
    InUse { address: SocketAddr },
    #[error("{address} may not be listened on by this user: choose a port above 1023")]
    Forbidden { address: SocketAddr },
    #[error(
        "{ip} is not an address of this machine: listen on 127.0.0.1 for this machine only, 0.0.0.0 for all"
    )]
    NotHere { ip: IpAddr },
    #[error("{address} could not be listened on: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// Why TLS could not be set up for the listener.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("the certificate file holds no PEM certificate: {0}")]
    Certificate(String),
    #[error("the key file holds no PEM private key: {0}")]
    Key(String),
    #[error("certificate and key do not fit: {0}")]
    Pair(#[from] rustls::Error),
}

/// Certificate and key of the listener.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// From the PEM texts of a certificate chain and its key.
    ///
    /// # Errors
    /// [`ServerTlsError`], which says which of the two is at fault.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ServerTlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| ServerTlsError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(ServerTlsError::Certificate("nothing between BEGIN and END CERTIFICATE".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| ServerTlsError::Key(error.to_string()))?;
        let mut config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    pub tls: Option<ServerTls>,
    /// For the head of a request, and between requests of one connection.
    pub header_timeout: Duration,
    /// Connections at once; beyond, new ones are closed.
    pub connections: usize,
    /// For requests under way when the listener is told to stop.
    pub drain: Duration,
    /// Cancelled: they have no more time.
    pub cut: CancellationToken,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            header_timeout: Duration::from_secs(30),
            connections: 65_536,
            drain: Duration::from_secs(30),
            cut: CancellationToken::new(),
        }
    }
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

/// What was cut when the drain's time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    pub cut_connections: usize,
}

impl Listener {
    /// Binds before anything else is started, so that a bad address costs nothing. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`], which says what to do.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let tcp = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            io::ErrorKind::PermissionDenied => BindError::Forbidden { address },
            io::ErrorKind::AddrNotAvailable => BindError::NotHere { ip: address.ip() },
            _ => BindError::Other { address, source },
        })?;
        let address = tcp.local_addr().map_err(|source| BindError::Other { address, source })?;
        Ok(Self { tcp, address })
    }

    /// The address, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a worker on each thread, and gives what accepts connections for them until `stop` is cancelled, then drains.
    /// `handler` is called once for each worker, in its thread and inside its runtime.
    pub fn serve<H: Handler, F: Fn() -> H + Send + Sync + 'static>(
        self,
        config: ListenerConfig,
        workers: &Workers,
        stop: CancellationToken,
        handler: F,
    ) -> impl Future<Output = Drained> + Send + use<H, F> {
        let handler = Arc::new(handler);
        let open = Arc::new(AtomicUsize::new(0));
        let start = |runtime| {
            Worker::start(runtime, config.clone(), stop.clone(), Arc::clone(&open), Arc::clone(&handler))
        };
        let workers: Vec<Worker> = workers.runtimes().map(start).collect();
        async move {
            self.accept(&config, &stop, &open, &workers).await;
            drop(self.tcp);
            // All begin to drain before any is waited for.
            let draining: Vec<_> = workers.into_iter().map(Worker::drain).collect();
            let mut cut_connections = 0;
            for worker in draining {
                cut_connections += worker.cut().await;
            }
            Drained { cut_connections }
        }
    }

    async fn accept(
        &self,
        config: &ListenerConfig,
        stop: &CancellationToken,
        open: &AtomicUsize,
        workers: &[Worker],
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    // Out of descriptors, or a peer that was gone already: the listener itself is sound.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            if open.load(Ordering::Relaxed) >= config.connections {
                tracing::warn!(limit = config.connections, "connection limit reached, connection closed");
                continue;
            }
            let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { continue };
            let Some(worker) = workers.iter().min_by_key(|worker| worker.connections()) else { return };
            worker.take(Arrival { stream, address }).await;
        }
    }
}

/// How many connections may wait for a worker to take them up.
const ARRIVALS: usize = 256;

fn arrivals() -> (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>) {
    mpsc::channel(ARRIVALS)
}
