//! A command as something the bridge can connect to: each channel is a run of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use proxy::channel::{Guard, Held};
use proxy::{Channel, Connect, ConnectError};
use telemetry::Tasks;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;
use workload::egress::{Egress, EgressLimits, EgressPolicy, EgressSettings, SystemNetwork};
use workload::sandbox::NetworkSockets;
use workload::{CommandSpec, LogTail, Pipes, Process, SpawnError};

/// Lines of its log that go with the reason why a server is gone.
const LAST_LINES: usize = 20;

/// Starts a command for each channel.
pub(crate) struct ProcessConnect {
    command: CommandSpec,
    egress: Option<EgressPolicy>,
    log: LogTail,
    grace: Duration,
    tasks: Tasks,
    max_line: usize,
    /// Set as soon as any run has said something that may be a message.
    spoke: Arc<AtomicBool>,
    beginning: watch::Sender<Beginning>,
}

/// What is known of a command before it has said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It was not started yet.
    Untried,
    /// It was started.
    Started,
    /// It is no server: it could not be started, or ended without a word. Why.
    Stillborn(String),
}

impl ProcessConnect {
    /// `tasks` waits for what is being stopped.
    pub(crate) fn new(
        command: CommandSpec,
        egress: Option<EgressPolicy>,
        log: LogTail,
        grace: Duration,
        tasks: Tasks,
        max_line: usize,
    ) -> Self {
        Self {
            command,
            egress,
            log,
            grace,
            tasks,
            max_line,
            spoke: Arc::default(),
            beginning: watch::Sender::new(Beginning::Untried),
        }
    }

    /// Tells how the first run begins.
    pub(crate) fn beginning(&self) -> watch::Receiver<Beginning> {
        self.beginning.subscribe()
    }

    async fn start(&self) -> Result<Channel, ConnectError> {
        let started = Process::spawn_piped(&self.command, &self.log).await;
        let (mut process, Pipes { stdin, stdout }) = started.map_err(|error| self.not_started(&error))?;
        let network = process.take_network();
        let process = Arc::new(process);
        if let Some((network, policy)) = network.zip(self.egress.clone()) {
            let served = serve_network(self.log.name(), &process, network, policy, &self.tasks);
            served.map_err(|error| ConnectError { reason: error.to_string() })?;
        }
        if !self.spoke.load(Ordering::Relaxed) {
            self.beginning.send_if_modified(|beginning| {
                let first = *beginning == Beginning::Untried;
                if first {
                    *beginning = Beginning::Started;
                }
                first
            });
            self.watch_first_words(&process);
        }
        let guard = ProcessGuard {
            process,
            log: self.log.clone(),
            grace: self.grace,
            tasks: self.tasks.clone(),
            held: None,
        };
        let stdout = FirstWords { inner: stdout, spoke: Arc::clone(&self.spoke) };
        let process = Arc::clone(&guard.process);
        let pid = process.pid();
        let unread = move |stdin: &_| process.unread(stdin);
        let mut channel = proxy::stdio::channel_over(stdout, stdin, self.max_line, Box::new(guard), unread);
        channel.process = Some(pid);
        Ok(channel)
    }

    fn not_started(&self, error: &SpawnError) -> ConnectError {
        let mut reason = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            reason = format!("{reason}: {source}");
        }
        if let Some(hint) = error.hint() {
            reason = format!("{reason}. {hint}");
        }
        if !self.spoke.load(Ordering::Relaxed) && !error.is_transient() {
            self.beginning.send_replace(Beginning::Stillborn(reason.clone()));
        }
        ConnectError { reason }
    }

    fn watch_first_words(&self, process: &Arc<Process>) {
        let (process, log) = (Arc::clone(process), self.log.clone());
        let (spoke, beginning) = (Arc::clone(&self.spoke), self.beginning.clone());
        self.tasks.spawn("first words", async move {
            let exit = process.wait().await;
            if exit.is_unasked() && !spoke.load(Ordering::Relaxed) {
                let why = with_last_lines(format!("the server {exit}"), &log);
                beginning.send_replace(Beginning::Stillborn(why));
            }
        });
    }
}

/// Serves the way out of a process's network, for as long as it lives.
pub(crate) fn serve_network(
    name: &str,
    process: &Arc<Process>,
    sockets: NetworkSockets,
    policy: EgressPolicy,
    tasks: &Tasks,
) -> std::io::Result<()> {
    let settings = EgressSettings { workload: name.into(), policy, limits: EgressLimits::default() };
    let served = Tasks::new();
    Egress::serve(settings, sockets, SystemNetwork::new()?, &served)?;
    let process = Arc::clone(process);
    tasks.spawn("egress", async move {
        process.wait().await;
        served.stop();
        served.wait(Duration::ZERO).await;
    });
    Ok(())
}

fn with_last_lines(reason: String, log: &LogTail) -> String {
    let lines = log.tail(LAST_LINES);
    if lines.is_empty() { reason } else { format!("{reason}; its last words:\n  {}", lines.join("\n  ")) }
}

impl Connect for ProcessConnect {
    fn open(&self) -> Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + '_>> {
        Box::pin(self.start())
    }
}

/// Ends the process with the channel, giving it its grace period.
struct ProcessGuard {
    process: Arc<Process>,
    log: LogTail,
    grace: Duration,
    tasks: Tasks,
    held: Option<Held>,
}

impl Guard for ProcessGuard {
    fn hold(&mut self, until_gone: Held) {
        self.held = Some(until_gone);
    }

    fn why_closed(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
        Box::pin(async {
            let exit = tokio::time::timeout(self.grace, self.process.wait()).await;
            let reason = match exit {
                Ok(exit) => format!("the server {exit}"),
                Err(_) => "the server closed its output".to_owned(),
            };
            with_last_lines(reason, &self.log)
        })
    }
}

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        if self.process.exit().is_none() {
            let (process, grace, held) = (Arc::clone(&self.process), self.grace, self.held.take());
            self.tasks.spawn("stop a server", async move {
                process.stop(grace).await;
                drop(held);
            });
        }
    }
}

/// Notices when a process first writes what may be a message.
struct FirstWords<R> {
    inner: R,
    spoke: Arc<AtomicBool>,
}

impl<R: AsyncRead + Unpin> AsyncRead for FirstWords<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if !this.spoke.load(Ordering::Relaxed) && buf.filled()[before..].contains(&b'{') {
            this.spoke.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}
