//! Containers of Docker and Podman as places where commands run, as a sandbox is one.
//!
//! A [`Container`] is what one workload has: it is made when the first command is to run in it, anew when it has ended,
//! and ends when nobody holds it any more. skep's own program is pid 1 in it, joined with skep by a line: it runs the
//! image's commands, as many as are wanted, and hands out their pipes. So nothing is published, no other container is
//! needed, and the runtime is asked only to begin. `docs/design/containers.md` has the picture.
//!
//! - `discovery` — where a runtime listens.
//! - [`Runtime`] — one that answers: images, and what is left of containers.
//! - `credentials` — who pulls images.
//! - `program` — what pid 1 is run from.
//! - `body` — the container as the runtime is told it.
//! - `place` — a container while it is there.
//! - `line`, `message` — what is said between skep and pid 1; `init` — pid 1.
//!
//! Absent on purpose: permission profiles as files, ports, volumes that a runtime keeps, networks that skep makes.

mod body;
mod client;
mod credentials;
mod discovery;
mod init;
mod line;
mod message;
mod place;
mod program;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use client::{ImageBuild, ImageSettings, NoRuntime, Runtime, RuntimeError, RuntimeKind};
pub use credentials::Keychain;
pub use discovery::{BadSocket, Sockets};
pub use place::ContainerError;

use crate::egress::EgressPolicy;
use crate::log::LogTail;
use crate::sandbox::Sandbox;
use place::Made;
pub(crate) use place::{InContainer, Place, Run};

/// The first argument that makes this program pid 1 of a container.
const INIT_MODE: &str = "__container";
/// Told to pid 1 where the network is served.
const EGRESS: &str = "egress";
/// What is skep's inside. Images have nothing there that would be seen.
const OWN_DIR: &str = "/.skep";
/// Where pid 1 finds skep.
const LINE: &str = "/.skep/line/socket";

/// Where runtimes are looked for, and as whom images are pulled.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    /// Where they may listen.
    pub sockets: Sockets,
    /// Who pulls.
    pub keychain: Keychain,
    /// The runtime's network that commands have while an image is built; what it gives them, unless somebody says.
    pub build_network: Option<String>,
}

/// What a container is to be.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// Its name, which is the workload's.
    pub name: String,
    /// Whose it is: nothing of anybody else is touched. The state directory of this user's skep.
    pub owner: String,
    /// What it is labelled with, besides what skep needs to know its own.
    pub labels: BTreeMap<String, String>,
    /// The image, as people write it.
    pub image: String,
    /// What is seen, and how much may be used. Its home is not made use of.
    pub sandbox: Sandbox,
    /// What is reached, where it has a network of its own.
    pub egress: Option<EgressPolicy>,
    /// A network of the runtime, instead.
    pub network: Option<String>,
    /// Where sockets and copies may be kept while it runs: a directory of skep's own.
    pub scratch: PathBuf,
    /// What may run it.
    pub runtimes: Runtimes,
}

/// How far a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is being done.
    #[default]
    Idle,
    /// Its image is fetched: layers that are there, and layers that are known of.
    Pulling { done: usize, known: usize },
    /// It is being made.
    Making,
}

impl Progress {
    /// For whoever waits for this image; nothing where there is nothing to wait for.
    #[must_use]
    pub fn words(&self, image: &str) -> String {
        match self {
            Self::Idle | Self::Making => String::new(),
            Self::Pulling { known: 0, .. } => format!("fetching {image}"),
            Self::Pulling { done, known } => format!("fetching {image}: {done} of {known} layers"),
        }
    }
}

/// A workload's container. Clones are the same one; with the last of them, and the last process in it, it ends.
#[derive(Clone)]
pub struct Container(Arc<Shared>);

struct Shared {
    config: Arc<ContainerConfig>,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

enum State {
    Nowhere,
    Making(watch::Receiver<Option<Made>>),
    Here(Arc<Place>),
}

/// What a command is, where the image does not say it.
pub(crate) struct Inside {
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
}

impl Container {
    /// One that will be made when it is needed.
    #[must_use]
    pub fn new(config: ContainerConfig) -> Self {
        let progress = watch::Sender::new(Progress::Idle);
        Self(Arc::new(Shared { config: Arc::new(config), state: Mutex::new(State::Nowhere), progress }))
    }

    /// The image it is made from.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.0.config.image
    }

    /// Tells how far it is.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Ends it, and waits until nothing of it runs any more. What still holds it finds it gone.
    pub async fn end(&self) {
        let state = std::mem::replace(&mut *self.0.state.lock(), State::Nowhere);
        if let State::Here(place) = state {
            place.end().await;
        }
    }

    /// Starts a command in it.
    pub(crate) async fn start(
        &self,
        inside: &Inside,
        is_asked: bool,
        log: &LogTail,
    ) -> Result<InContainer, ContainerError> {
        let config = &self.0.config;
        let place = self.place(log).await?;
        match Place::start(Arc::clone(&place), inside, is_asked, config).await {
            // It ended at that very moment, and nothing runs in it any more.
            Err(_) if place.is_over() => Place::start(self.place(log).await?, inside, is_asked, config).await,
            started => started,
        }
    }

    /// The container, which is made if it is not there. It goes on being made when this future is dropped.
    async fn place(&self, log: &LogTail) -> Result<Arc<Place>, ContainerError> {
        let mut making = {
            let mut state = self.0.state.lock();
            match &*state {
                State::Here(place) if !place.is_over() => return Ok(Arc::clone(place)),
                State::Making(making) if is_promising(making) => making.clone(),
                State::Here(_) | State::Nowhere | State::Making(_) => {
                    let making = self.make(log.clone());
                    *state = State::Making(making.clone());
                    making
                }
            }
        };
        let made = making.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
        // Without an answer its runtime went away.
        let place = made.unwrap_or(Err(ContainerError::Abandoned))?;
        let mut state = self.0.state.lock();
        if let State::Making(_) = &*state {
            *state = State::Here(Arc::clone(&place));
        }
        Ok(place)
    }

    fn make(&self, log: LogTail) -> watch::Receiver<Option<Made>> {
        let (told, making) = watch::channel(None);
        let (config, progress) = (Arc::clone(&self.0.config), self.0.progress.clone());
        tokio::spawn(async move {
            let made = place::make(&config, &progress, &log).await;
            progress.send_replace(Progress::Idle);
            // If nobody waits any more and nobody holds the container, it ends here.
            told.send_replace(Some(made));
        });
        making
    }
}

/// Whether a container that is being made may still come: it has not failed, and somebody is making it.
fn is_promising(making: &watch::Receiver<Option<Made>>) -> bool {
    match &*making.borrow() {
        Some(made) => made.is_ok(),
        None => making.has_changed().is_ok(),
    }
}

impl PartialEq for Container {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Container {}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ContainerConfig { name, image, .. } = &*self.0.config;
        f.debug_struct("Container").field("name", name).field("image", image).finish_non_exhaustive()
    }
}

/// Becomes pid 1 of a container if this process was started as one, and is then gone. To be called first in `main`, before
/// any thread is started and any argument is read.
pub fn dispatch() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|mode| mode == INIT_MODE) {
        init::run(&Vec::from_iter(args));
    }
}
