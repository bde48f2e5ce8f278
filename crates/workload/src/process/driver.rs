//! The task behind a [`Process`]: copies its output to the log, carries out the [`Ladder`], reaps it and tells how it
//! ended. It runs until the process is gone, whether or not anybody holds the handle.

use std::io;
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use super::exit::{Cause, Exit};
use super::ladder::{Input, LEAVE_ON_EOF, Ladder, Step};
use super::leader::{EndOfLeader, Leader};
use super::{Process, Wiring};
use crate::log::LogTail;

/// How long the log's pipes may stay open after the process group was killed. Only a descendant that left the group
/// can still hold them, and the end of the process is not told before.
const PIPES_AFTER_EXIT: Duration = Duration::from_millis(500);

/// What is copied to the log.
pub(super) struct Streams {
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

struct Driver {
    leader: Leader,
    ladder: Ladder,
    /// The last grace period somebody asked to stop with. Closed when the handle is gone.
    stop: watch::Receiver<Option<Duration>>,
    done: watch::Sender<Option<Exit>>,
    log: LogTail,
}

/// Makes the handle of a started process and the task that looks after it.
pub(super) fn new(
    leader: Leader,
    exit: EndOfLeader,
    streams: Streams,
    wiring: Wiring,
    log: LogTail,
) -> (Process, impl Future<Output = ()> + Send + use<>) {
    let pid = leader.id();
    let eof_wait = match wiring {
        Wiring::Piped => LEAVE_ON_EOF,
        Wiring::Logged => Duration::ZERO,
    };
    let (stop_sender, stop) = watch::channel(None);
    let (done, done_receiver) = watch::channel(None);
    let process = Process { pid, stop: stop_sender, done: done_receiver, log: log.clone(), confined: None };
    let span = tracing::info_span!("process", workload.name = log.name(), process.group_leader.pid = pid);
    let driver = Driver { leader, ladder: Ladder::new(eof_wait), stop, done, log };
    (process, driver.run(exit, streams).instrument(span))
}

impl Driver {
    async fn run(mut self, exit: EndOfLeader, streams: Streams) {
        tracing::debug!("process started");
        let mut pumps = pump(streams, &self.log);
        let told = self.until_ended(exit).await.unwrap_or_else(|error| {
            // The runtime cannot watch it: it is going away, or it was built without IO.
            tracing::warn!(%error, "process is no longer watched and was killed");
            None
        });
        let reaped = self.leader.reap().await;
        let exit = Exit { asked: self.ladder.asked(), cause: told.unwrap_or(reaped) };
        let all_read = async { while pumps.join_next().await.is_some() {} };
        if timeout(PIPES_AFTER_EXIT, all_read).await.is_err() {
            tracing::debug!("process ended, somebody else still holds its output");
        }
        tracing::debug!(process.exit = %exit, "process ended");
        self.done.send_replace(Some(exit));
    }

    /// Carries out the ladder until the leader has ended.
    async fn until_ended(&mut self, exit: EndOfLeader) -> io::Result<Option<Cause>> {
        let ended = exit.come();
        tokio::pin!(ended);
        loop {
            let deadline = self.ladder.deadline();
            let input = tokio::select! {
                biased;
                ended = &mut ended => return ended,
                input = next_order(&mut self.stop), if !self.ladder.is_at_its_end() => input,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Input::DeadlinePassed,
            };
            match self.ladder.step(input, Instant::now()) {
                Some(Step::Terminate) => self.leader.signal(Signal::TERM),
                Some(Step::Kill) => self.leader.signal(Signal::KILL),
                None => {}
            }
        }
    }
}

/// Waits for the next wish of whoever holds the handle.
async fn next_order(stop: &mut watch::Receiver<Option<Duration>>) -> Input {
    loop {
        match stop.changed().await {
            Err(_) => return Input::Abandoned,
            Ok(()) => {
                if let Some(grace) = *stop.borrow_and_update() {
                    return Input::Stop { grace };
                }
            }
        }
    }
}

/// Starts copying; apart from the protocol's pipes, so that a chatty stderr never holds up a message.
fn pump(streams: Streams, log: &LogTail) -> JoinSet<()> {
    let mut pumps = JoinSet::new();
    let stdout = streams.stdout.map(tokio::process::ChildStdout::from_std).transpose();
    let stderr = streams.stderr.map(tokio::process::ChildStderr::from_std).transpose();
    match (stdout, stderr) {
        (Ok(stdout), Ok(stderr)) => {
            stdout.into_iter().for_each(|from| drop(pumps.spawn(log.clone().pump(from))));
            stderr.into_iter().for_each(|from| drop(pumps.spawn(log.clone().pump(from))));
        }
        (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "output of the process is not logged"),
    }
    pumps
}
