//! One listener on one thread: its connections, its drain.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patient::Patient;
use super::{Handler, ListenerConfig, Peer, arrivals};

/// The TLS handshake may take this long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A head larger than this is refused (431).
const MAX_HEAD: usize = 64 * 1024;

/// A connection on its way to a worker.
pub(super) struct Arrival {
    pub(super) stream: std::net::TcpStream,
    pub(super) address: SocketAddr,
}

/// A worker, seen from the acceptor.
pub(super) struct Worker {
    arrivals: mpsc::Sender<Arrival>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<usize>,
}

/// Counts a connection while it is open, for the worker and for all.
struct Open {
    here: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Open {
    fn new(here: &Arc<AtomicUsize>, all: &Arc<AtomicUsize>) -> Self {
        here.fetch_add(1, Ordering::Relaxed);
        all.fetch_add(1, Ordering::Relaxed);
        Self { here: Arc::clone(here), all: Arc::clone(all) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.here.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    pub(super) fn start<H: Handler>(
        runtime: &Handle,
        config: ListenerConfig,
        stop: CancellationToken,
        all: Arc<AtomicUsize>,
        handler: Arc<impl Fn() -> H + Send + Sync + 'static>,
    ) -> Self {
        let (sender, receiver) = arrivals();
        let connections = Arc::new(AtomicUsize::new(0));
        let here = Arc::clone(&connections);
        let serving = runtime.spawn(async move {
            let serve = Serve { config, stop, here, all, handler: Arc::new(handler()) };
            serve.run(receiver).await
        });
        Self { arrivals: sender, connections, serving }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) async fn take(&self, arrival: Arrival) {
        // A worker that is gone was stopped, and so will the acceptor be.
        let _ = self.arrivals.send(arrival).await;
    }

    /// Takes no more connections, and lets those that are open end.
    pub(super) fn drain(self) -> Draining {
        Draining { serving: self.serving }
    }
}

/// A worker that drains.
pub(super) struct Draining {
    serving: JoinHandle<usize>,
}

impl Draining {
    /// Waits for the end; gives the number of connections that were cut.
    pub(super) async fn cut(self) -> usize {
        self.serving.await.unwrap_or_default()
    }
}

struct Serve<H> {
    config: ListenerConfig,
    stop: CancellationToken,
    here: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
    handler: Arc<H>,
}

impl<H: Handler> Serve<H> {
    async fn run(self, mut arrivals: mpsc::Receiver<Arrival>) -> usize {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some(Arrival { stream, address }) = arrivals.recv().await {
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
            let open = Open::new(&self.here, &self.all);
            let (connection, cut) = (self.connection(stream, address), cut.clone());
            connections.spawn(async move {
                cut.run_until_cancelled(connection).await;
                drop(open);
            });
        }
        connections.close();
        let drain = self.config.cut.run_until_cancelled(connections.wait());
        let drained = timeout(self.config.drain, drain).await;
        let left = if matches!(drained, Ok(Some(()))) { 0 } else { connections.len() };
        // The thread goes on.
        cut.cancel();
        left
    }

    fn connection(
        &self,
        stream: tokio::net::TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = ()> + use<H> {
        let (config, stop, handler) = (self.config.clone(), self.stop.clone(), Arc::clone(&self.handler));
        async move {
            let Some(tls) = config.tls else {
                let peer = Peer { address, tls: false };
                return serve_http1(Patient::new(stream), peer, config.header_timeout, stop, handler).await;
            };
            let peer = Peer { address, tls: true };
            let stream = match timeout(HANDSHAKE, tls.acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => return tracing::debug!("TLS handshake took too long"),
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                serve_http2(Patient::new(stream), peer, stop, handler).await;
            } else {
                serve_http1(Patient::new(stream), peer, config.header_timeout, stop, handler).await;
            }
        }
    }
}

async fn serve_http1<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    header_timeout: Duration,
    stop: CancellationToken,
    handler: Arc<H>,
) {
    let service = service_fn(|request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request, peer).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
}

async fn serve_http2<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    stop: CancellationToken,
    handler: Arc<H>,
) {
    let service = service_fn(|request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request, peer).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .max_header_list_size(MAX_HEAD as u32)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended with an error");
    }
}
