//! skep's end of the line to a container's pid 1: requests may overlap, and a task hears the answers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::message::{Order, Report, Request};
use crate::line;
use crate::process::Cause;
use crate::sandbox::{NetworkSockets, SetupError, Step};

/// How long pid 1 may take. What it does is local, but for a file system that hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The line. Dropping it closes it, and with that the container ends.
#[derive(Debug)]
pub(crate) struct Line {
    shared: Arc<Shared>,
    _hears: DropGuard,
}

#[derive(Debug)]
struct Shared {
    socket: UnixStream,
    waiting: Mutex<Waiting>,
    over: CancellationToken,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Waiting {
    runs: u64,
    starts: HashMap<u64, oneshot::Sender<Result<Begun, SetupError>>>,
    ends: HashMap<u64, oneshot::Sender<Cause>>,
    sockets: VecDeque<oneshot::Sender<Option<OwnedFd>>>,
}

/// What pid 1 said of a command that runs.
#[derive(Debug)]
struct Begun {
    pid: i32,
    pipes: Vec<OwnedFd>,
    ended: oneshot::Receiver<Cause>,
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) run: Run,
    /// In the container's count.
    pub(super) pid: i32,
    /// Of stdin (if it is asked), stdout and stderr.
    pub(super) pipes: Vec<OwnedFd>,
    pub(super) ended: oneshot::Receiver<Cause>,
}

/// A command that may still run. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Run {
    shared: Arc<Shared>,
    number: u64,
}

impl Line {
    /// Takes over a connection and waits until pid 1 is ready. Must be called in a runtime with IO.
    pub(super) async fn open(connection: OwnedFd) -> Result<(Self, Option<NetworkSockets>), SetupError> {
        let failed = |text: &str| {
            let text = text.to_owned();
            move |error: io::Error| Step::Other(text).failed(error)
        };
        let stream = StdUnixStream::from(connection);
        let socket = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let socket = socket.map_err(failed("pid 1 cannot be heard"))?;
        let first = timeout(ANSWER_LIMIT, hear(&socket)).await.map_err(io::Error::from);
        let first = first.and_then(|first| first).map_err(failed("pid 1 cannot be heard"))?;
        let sockets = match first {
            Some((Report::Ready, sockets)) => sockets,
            Some((Report::Unready(error), _)) => return Err(error),
            _ => return Err(failed("pid 1 ended without a word")(io::ErrorKind::BrokenPipe.into())),
        };
        let network = <[OwnedFd; 3]>::try_from(sockets).ok();
        let network = network.map(|[dns_udp, dns_tcp, tcp]| NetworkSockets { dns_udp, dns_tcp, tcp });
        let over = CancellationToken::new();
        let shared = Arc::new(Shared { socket, waiting: Mutex::default(), over: over.clone() });
        let listening = Arc::clone(&shared);
        tokio::spawn(async move { listening.listen().await });
        Ok((Self { shared, _hears: over.drop_guard() }, network))
    }

    /// Whether the container has ended.
    pub(super) fn is_over(&self) -> bool {
        self.shared.over.is_cancelled()
    }

    /// Closes it: pid 1 ends, and everything with it.
    pub(super) fn close(&self) {
        self.shared.over.cancel();
        // The task that hears, and whoever still waits, hold the socket too.
        let _ = rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both);
    }

    /// Has a command started.
    pub(super) async fn start(&self, order: &Order) -> Result<Started, SetupError> {
        let failed = |error: io::Error| Step::Other("the container is gone".to_owned()).failed(error);
        let order = order.write().map_err(failed)?;
        let (reply, begun) = oneshot::channel();
        let number = {
            let mut waiting = self.shared.waiting.lock();
            waiting.runs += 1;
            let number = waiting.runs;
            waiting.starts.insert(number, reply);
            number
        };
        // From here on the run is given up by being dropped.
        let run = Run { shared: Arc::clone(&self.shared), number };
        self.shared.ask(&Request::Start { run: number }, &[order]).await.map_err(failed)?;
        let begun = timeout(ANSWER_LIMIT, begun).await.map_err(|late| failed(late.into()))?;
        let begun = begun.map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?;
        let Begun { pid, pipes, ended } = begun?;
        Ok(Started { run, pid, pipes, ended })
    }

    /// A new TCP socket of the container's network, not connected.
    pub(crate) async fn socket(&self) -> io::Result<OwnedFd> {
        let (reply, socket) = oneshot::channel();
        self.shared.waiting.lock().sockets.push_back(reply);
        self.shared.ask(&Request::WantSocket, &[]).await?;
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the container is gone");
        let socket = timeout(ANSWER_LIMIT, socket).await?.map_err(|_| gone())?;
        socket.ok_or_else(|| io::Error::other("the container could not make a socket"))
    }
}

impl Run {
    /// Sends a signal to its group. Must be called in a runtime.
    pub(super) fn signal(&self, signal: Signal) {
        let request = Request::Signal { run: self.number, signal: signal.as_raw() };
        let shared = Arc::clone(&self.shared);
        if let Err(error) = shared.tell(&request)
            && error.kind() == io::ErrorKind::WouldBlock
        {
            // pid 1 is behind with reading; it is heard meanwhile, so this gets through.
            tokio::spawn(async move { shared.ask(&request, &[]).await });
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let still_runs = {
            let mut waiting = self.shared.waiting.lock();
            waiting.starts.remove(&self.number).is_some() | waiting.ends.remove(&self.number).is_some()
        };
        if still_runs {
            let request = Request::Signal { run: self.number, signal: Signal::KILL.as_raw() };
            // Where the line is full or closed, its end is the end of the command.
            let _ = self.shared.tell(&request);
        }
    }
}

impl Shared {
    /// Says something if that can be done at once.
    fn tell(&self, request: &Request) -> io::Result<()> {
        line::send(&self.socket, request, &[])
    }

    async fn ask(&self, request: &Request, descriptors: &[OwnedFd]) -> io::Result<()> {
        if self.over.is_cancelled() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let asked =
            self.socket.async_io(Interest::WRITABLE, || line::send(&self.socket, request, descriptors)).await;
        let is_gone = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        };
        if asked.as_ref().is_err_and(is_gone) {
            self.over.cancel();
        }
        asked
    }

    /// Hears pid 1 until it is gone, or nobody wants to hear it any more.
    async fn listen(&self) {
        let heard = async {
            while let Ok(Some((report, descriptors))) = hear(&self.socket).await {
                self.take(report, descriptors);
            }
        };
        self.over.run_until_cancelled(heard).await;
        self.over.cancel();
        let ends = {
            let mut waiting = self.waiting.lock();
            waiting.starts.clear();
            waiting.sockets.clear();
            std::mem::take(&mut waiting.ends)
        };
        for (_, ended) in ends {
            let _ = ended.send(Cause::ContainerEnded);
        }
    }

    fn take(&self, report: Report, mut descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting.lock();
        match report {
            Report::Started { run, pid } => {
                // Whoever gave up meanwhile has had it killed.
                let Some(reply) = waiting.starts.remove(&run) else { return };
                let (told, ended) = oneshot::channel();
                waiting.ends.insert(run, told);
                let _ = reply.send(Ok(Begun { pid, pipes: descriptors, ended }));
            }
            Report::Failed { run, error } => {
                if let Some(reply) = waiting.starts.remove(&run) {
                    let _ = reply.send(Err(error));
                }
            }
            Report::Ended { run, ending } => {
                if let Some(ended) = waiting.ends.remove(&run) {
                    let _ = ended.send(ending.into());
                }
            }
            Report::Socket => {
                if let Some(reply) = waiting.sockets.pop_front() {
                    let _ = reply.send(descriptors.pop());
                }
            }
            Report::Ready | Report::Unready(_) => {}
        }
    }
}

async fn hear(socket: &UnixStream) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    socket.async_io(Interest::READABLE, || line::receive(socket)).await
}
