//! One process per user that owns every workload. It can be killed at any moment: what is wanted is in files, and the next
//! one takes it up.
//!
//! - [`wire`] — what is asked of it and answered.
//! - [`client`] — the asking end, which starts it where it does not run.
//! - `workload` — a task per workload, which its orders go to.

mod api;
pub mod client;
mod files;
mod fleet;
mod folders;
pub(crate) mod foreign;
mod site;
mod view;
pub mod wire;
mod workload;

use std::fs::{File, TryLockError};
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proxy::listener::Workers;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use folders::Folders;
pub(crate) use site::remove_tree;

use crate::plan::Surroundings;
use crate::socket::{self, OwnListener, SocketError, private_folder};
use api::{Api, OwnConnections};
use files::Files;
use fleet::Fleet;
use site::Site;

/// For all workloads to stop when the daemon does.
const TO_LEAVE: Duration = Duration::from_secs(60);
/// How soon a lock that is held is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("there is no home directory to keep workloads in: set HOME")]
    NoFolders,
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("{path} could not be locked: {source}")]
    Lock { path: String, source: io::Error },
    #[error("a thread to serve with could not be started: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Files(#[from] wire::Problem),
    #[error("the daemon's socket broke: {0}")]
    Serve(#[source] io::Error),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// There is one already.
    Redundant,
}

/// Is the daemon, until `stop` is cancelled or a client says so.
///
/// # Errors
/// [`DaemonError`].
pub async fn run(
    around: Surroundings,
    version: &'static str,
    stop: CancellationToken,
) -> Result<Ended, DaemonError> {
    let folders = around.folders.clone().ok_or(DaemonError::NoFolders)?;
    private_folder(&folders.run)?;
    let Some(_lock) = lock(&folders).await? else { return Ok(Ended::Redundant) };
    ::workload::process::raise_open_files();
    let workers = Workers::one_per_core().map_err(DaemonError::Thread)?;
    let site = Site::new(Files::open(&folders)?, around, workers);
    let (sweeping, swept) = (site.tasks.stop_token(), Arc::clone(&site));
    site.tasks.spawn("sweep", async move {
        sweeping.run_until_cancelled(swept.sweep()).await;
    });
    let fleet = Fleet::take_up(site, stop.clone()).await?;
    let listener = OwnListener::bind(folders.socket())?;
    tracing::info!(socket = %folders.socket().display(), workloads = fleet.count(), "the daemon listens");
    let api = Api { fleet: fleet.clone(), version, since: SystemTime::now(), stop: stop.clone() };
    let closed = CancellationToken::new();
    let serving = axum::serve(OwnConnections(listener), api.router());
    let serving =
        tokio::spawn(serving.with_graceful_shutdown(closed.clone().cancelled_owned()).into_future());
    ::workload::process::let_go_of_program_file();
    stop.cancelled().await;
    // The socket answers until nothing runs any more.
    fleet.leave().await;
    closed.cancel();
    let served = serving.await.map_err(io::Error::other).and_then(|served| served);
    served.map_err(DaemonError::Serve)?;
    Ok(Ended::Stopped)
}

/// Says that this process is the daemon, for as long as the file is open. `None`: another one is, and answers. One that is
/// about to end is waited for.
async fn lock(folders: &Folders) -> Result<Option<File>, DaemonError> {
    let path = folders.lock();
    let failed = |source| DaemonError::Lock { path: path.display().to_string(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let deadline = Instant::now() + TO_LEAVE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        if socket::connect(&folders.socket()).await?.is_some() {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(failed(io::ErrorKind::WouldBlock.into()));
        }
        sleep(TRY_AGAIN).await;
    }
}
