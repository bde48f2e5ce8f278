//! Who runs beside the requests, and how all of it stops: one token says "stop", one tracker knows who is still there.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The tasks of a process (or of one workload). Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when everything is to stop.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a future as a task with a name. It is expected to end soon after the stop token was cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task.instrument(tracing::info_span!("task", task.name = name)));
    }

    /// Some of these tasks, which can be stopped alone too.
    #[must_use]
    pub fn some(&self) -> Self {
        Self { stop: self.stop.child_token(), tracker: self.tracker.clone() }
    }

    /// Says stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all tasks have ended, at most this long. Gives the number that had not.
    pub async fn wait(&self, at_most: Duration) -> usize {
        self.tracker.close();
        if timeout(at_most, self.tracker.wait()).await.is_ok() { 0 } else { self.tracker.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tells_how_many_did_not_stop() {
        let tasks = Tasks::new();
        let stop = tasks.stop_token();
        tasks.spawn("obedient", async move { stop.cancelled().await });
        tasks.spawn("deaf", std::future::pending());
        tasks.stop();
        assert_eq!(tasks.wait(Duration::from_secs(1)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn some_of_them_stop_alone_and_with_the_others() {
        let tasks = Tasks::new();
        let (some, others) = (tasks.some(), tasks.some());
        for tasks in [&some, &others] {
            let stop = tasks.stop_token();
            tasks.spawn("obedient", async move { stop.cancelled().await });
        }
        some.stop();
        assert_eq!(tasks.wait(Duration::from_secs(1)).await, 1);
        tasks.stop();
        assert_eq!(tasks.wait(Duration::from_secs(1)).await, 0);
    }
}
