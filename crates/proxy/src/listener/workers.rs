//! The threads that serve: each with a runtime of its own, shared by all listeners of a process.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// What is left on a thread when it ends: tasks that were cut, and blocking ones, of which there are none.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// The threads. Clones are the same ones; they end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Workers {
    threads: Arc<[Thread]>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// The thread lives as long as this does.
    _life: oneshot::Sender<()>,
}

impl Workers {
    /// Starts so many threads; at least one.
    ///
    /// # Errors
    /// One of them could not be started; the others end then.
    pub fn start(count: usize) -> io::Result<Self> {
        let threads: Vec<_> = (0..count.max(1)).map(Thread::start).collect::<io::Result<_>>()?;
        Ok(Self { threads: threads.into() })
    }

    /// Starts one for each core.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn one_per_core() -> io::Result<Self> {
        Self::start(thread::available_parallelism().map_or(1, usize::from))
    }

    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.threads.iter().map(|thread| &thread.runtime)
    }
}

impl Thread {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (life, ends) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("skep-worker-{number}")).spawn(move || {
            // Its end is the news, not what it says.
            let _ = runtime.block_on(ends);
            runtime.shutdown_timeout(LAST_WAIT);
        })?;
        Ok(Self { runtime: handle, _life: life })
    }
}
