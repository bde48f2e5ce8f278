//! Keeps one command running, for servers that serve HTTP themselves: starts it again after a pause when it ends,
//! gives up visibly when it keeps ending, stops it for good when told to.
//!
//! The decisions are in [`machine`]; this file carries them out and shows where things stand. Whether the server
//! *answers* is not known here: a process that runs is all a supervisor can see.

mod machine;

use std::sync::Arc;
use std::time::Duration;

use telemetry::Tasks;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::machine::{Effect, Event, Machine};
use crate::backoff::BackoffPolicy;
use crate::log::LogTail;
use crate::process::{CommandSpec, Exit, Process};
use crate::sandbox::NetworkSockets;

/// Lines of the log that go with [`State::Failed`].
const LAST_LINES: usize = 20;

/// How a command is kept running and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When to start it again, and when to give up.
    pub backoff: BackoffPolicy,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { backoff: BackoffPolicy::default(), grace: Duration::from_secs(10) }
    }
}

/// Where a supervised command stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being started.
    Starting,
    /// It runs.
    Running {
        /// Of the leader of its process group.
        pid: u32,
    },
    /// It ended or could not be started, and will be started again.
    BackingOff {
        /// Failures in a row so far.
        failures: u32,
        /// The pause, counted from the failure.
        delay: Duration,
        /// What happened, a fragment like "exited with status 3".
        reason: String,
    },
    /// It was told to stop and has not gone yet.
    Stopping,
    /// It will not be started again. Final.
    Failed {
        /// What happened, as a fragment.
        reason: String,
        /// What helps, as a sentence, where that is known.
        hint: Option<&'static str>,
        /// The end of its log, oldest line first.
        last_lines: Vec<String>,
    },
    /// It was stopped as told. Final.
    Stopped {
        /// How it ended, if it was running.
        exit: Option<Exit>,
    },
}

impl State {
    /// Whether nothing will follow.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Stopped { .. })
    }
}

/// Called with each run of the command, before anything else is done with it.
pub type OnStart = Box<dyn Fn(&Arc<Process>, Option<NetworkSockets>) + Send>;

/// Holds a supervised command. Dropping it stops the command, with its grace period and without waiting.
#[derive(Debug)]
pub struct Supervisor {
    state: watch::Receiver<State>,
    stop: DropGuard,
}

impl Supervisor {
    /// Starts the command and keeps it running until [`Self::stop`], or until `tasks` are told to stop.
    #[must_use]
    pub fn start(spec: CommandSpec, log: LogTail, policy: RestartPolicy, tasks: &Tasks) -> Self {
        Self::start_told(spec, log, policy, Box::new(|_, _| {}), tasks)
    }

    /// The same, and tells of each run: of its process, and of the sockets of its network, if that is to be served.
    #[must_use]
    pub fn start_told(
        spec: CommandSpec,
        log: LogTail,
        policy: RestartPolicy,
        on_start: OnStart,
        tasks: &Tasks,
    ) -> Self {
        let (told, state) = watch::channel(State::Starting);
        let stop = tasks.stop_token().child_token();
        let task = SupervisorTask {
            spec,
            log,
            grace: policy.grace,
            machine: Machine::new(policy.backoff),
            process: None,
            on_start,
            wake_at: None,
            told,
        };
        tasks.spawn("supervisor", task.run(stop.clone()));
        Self { state, stop: stop.drop_guard() }
    }

    /// Where the command stands. Only the newest state is kept.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Stops the command and waits for the final state.
    pub async fn stop(self) -> State {
        drop(self.stop);
        let mut state = self.state;
        match state.wait_for(State::is_final).await {
            Ok(last) => last.clone(),
            // The task went with its runtime, and the process with it.
            Err(_) => State::Stopped { exit: None },
        }
    }
}

/// Carries out what the machine decides.
struct SupervisorTask {
    spec: CommandSpec,
    log: LogTail,
    grace: Duration,
    machine: Machine,
    process: Option<Arc<Process>>,
    on_start: OnStart,
    wake_at: Option<Instant>,
    told: watch::Sender<State>,
}

impl SupervisorTask {
    async fn run(mut self, stop: CancellationToken) {
        let mut effect = self.machine.first();
        loop {
            let event = match effect {
                Effect::Start => self.start().await,
                Effect::Nothing => self.next(&stop).await,
                Effect::Wait(delay) => {
                    self.wake_at = Some(Instant::now() + delay);
                    self.next(&stop).await
                }
                Effect::Stop => {
                    self.process.iter().for_each(|process| process.request_stop(self.grace));
                    self.next(&stop).await
                }
                Effect::Finish => break,
            };
            effect = self.machine.on(event, Instant::now(), fastrand::f64());
            self.tell();
        }
    }

    async fn start(&mut self) -> Event {
        match Process::spawn_logged(&self.spec, &self.log).await {
            Ok(mut process) => {
                let (pid, network) = (process.pid(), process.take_network());
                let process = Arc::new(process);
                (self.on_start)(&process, network);
                self.process = Some(process);
                Event::Started { pid }
            }
            Err(error) => Event::NotStarted {
                reason: error.to_string(),
                hint: error.hint(),
                is_transient: error.is_transient(),
            },
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Event {
        let (process, wake_at) = (&self.process, self.wake_at);
        let ended = async {
            match process {
                Some(process) => process.wait().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            exit = ended => Event::Ended(exit),
            () = stop.cancelled(), if !self.machine.is_stopping() => Event::StopAsked,
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => Event::DelayOver,
        };
        match event {
            Event::Ended(_) => self.process = None,
            Event::DelayOver => self.wake_at = None,
            Event::Started { .. } | Event::NotStarted { .. } | Event::StopAsked => {}
        }
        event
    }

    /// Shows the machine's state to whoever watches and to the log.
    fn tell(&self) {
        let mut state = self.machine.state().clone();
        let name = self.log.name();
        match &mut state {
            State::BackingOff { reason, delay, failures } => {
                tracing::warn!(
                    workload.name = name,
                    reason,
                    ?delay,
                    failures,
                    "workload ended and will be restarted"
                );
            }
            State::Failed { reason, last_lines, .. } => {
                *last_lines = self.log.tail(LAST_LINES);
                tracing::error!(workload.name = name, reason, "workload failed");
            }
            State::Running { pid } => {
                tracing::info!(workload.name = name, process.pid = pid, "workload runs")
            }
            State::Stopped { .. } => tracing::info!(workload.name = name, "workload stopped"),
            State::Starting | State::Stopping => {}
        }
        self.told.send_replace(state);
    }
}
