//! Serves HTTP on a listener: one acceptor, and workers that each have their own runtime, or the caller's runtime.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Front;
use super::sse::Pipes;
use crate::config::ExampleConfig;
use crate::server::Server;

/// For the head of a request, and between two requests of one connection.
const HEAD_TIME: Duration = Duration::from_secs(75);
const MAX_HEAD: usize = 64 * 1024;
/// For what runs when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// After accepting failed, which mostly means that there are too many open files.
const RECOVER: Duration = Duration::from_millis(100);
/// Connections that wait for a worker.
const ARRIVALS: usize = 1024;

/// Serves `/mcp` (Streamable HTTP, both eras), `/sse` and `/messages` (HTTP+SSE) until `stop` fires.
///
/// # Errors
/// The listener cannot be used, or a worker cannot be started.
pub async fn serve_http(
    listener: std::net::TcpListener,
    config: ExampleConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let workers = config.workers;
    let server = Server::new(config, stop.clone());
    let front = Arc::new(Front { server: Arc::clone(&server), pipes: Arc::new(Pipes::default()) });
    let workers = Workers::start(workers, &front)?;
    let housekeeping = forget_idle(&server);
    tokio::select! {
        () = accept(&listener, &workers) => {}
        () = housekeeping => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    server.sessions.end_all();
    workers.drain().await;
    Ok(())
}

async fn accept(listener: &TcpListener, workers: &Workers) {
    let mut arrived = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                workers.take(arrived, stream).await;
                arrived += 1;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(RECOVER).await;
            }
        }
    }
}

/// Ends sessions that nobody uses. Never returns.
async fn forget_idle(server: &Server) {
    let idle = server.config.session_idle;
    let mut ticks = interval((idle / 4).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        let earlier = server.now().saturating_sub(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        server.sessions.end_idle(earlier);
    }
}

/// Who serves the connections.
enum Workers {
    Here(Arc<Front>, TaskTracker),
    Threads(Vec<(mpsc::Sender<std::net::TcpStream>, JoinHandle<()>)>),
}

impl Workers {
    fn start(count: usize, front: &Arc<Front>) -> io::Result<Self> {
        if count <= 1 {
            return Ok(Self::Here(Arc::clone(front), TaskTracker::new()));
        }
        let workers = (0..count).map(|number| start_worker(number, Arc::clone(front)));
        workers.collect::<io::Result<_>>().map(Self::Threads)
    }

    /// Connections go around, so that a handful of clients is spread evenly.
    async fn take(&self, number: usize, stream: TcpStream) {
        // Answers are whole writes: waiting to fill a packet only adds delay.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match self {
            Self::Here(front, connections) => {
                connections.spawn(serve(stream, Arc::clone(front)));
            }
            Self::Threads(workers) => {
                let (arrivals, _) = &workers[number % workers.len()];
                if let Ok(stream) = stream.into_std() {
                    // A worker is only gone when the server stops.
                    let _ = arrivals.send(stream).await;
                }
            }
        }
    }

    async fn drain(self) {
        match self {
            Self::Here(_, connections) => {
                connections.close();
                // Those that take longer are cut with the caller's runtime.
                let _ = timeout(DRAIN, connections.wait()).await;
            }
            Self::Threads(workers) => {
                let (arrivals, threads): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
                drop(arrivals);
                for thread in threads {
                    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                }
            }
        }
    }
}

fn start_worker(
    number: usize,
    front: Arc<Front>,
) -> io::Result<(mpsc::Sender<std::net::TcpStream>, JoinHandle<()>)> {
    let (arrivals, mut arrived) = mpsc::channel::<std::net::TcpStream>(ARRIVALS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("example-{number}")).spawn(move || {
        runtime.block_on(async move {
            let connections = TaskTracker::new();
            while let Some(stream) = arrived.recv().await {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    connections.spawn(serve(stream, Arc::clone(&front)));
                }
            }
            connections.close();
            let _ = timeout(DRAIN, connections.wait()).await;
        });
        runtime.shutdown_background();
    })?;
    Ok((arrivals, thread))
}

async fn serve(stream: TcpStream, front: Arc<Front>) {
    let stopping = front.server.stopping.clone();
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.handle(request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
