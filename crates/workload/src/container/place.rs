//! A container while it is there: how it is made, and how commands run in it.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::Signal;
use telemetry::Tasks;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::body::{self, BadMount, FILES, HOME_LABEL, OWNER_LABEL};
use super::client::{
    ImageSettings, NoRuntime, Runtime, RuntimeError, name_and_tag, owner_is_alive, this_owner,
};
use super::line::{self, Line};
use super::message::Order;
use super::program::{self, LINE_DIR};
use super::{ContainerConfig, Inside, Progress};
use crate::egress::{Egress, EgressLimits, EgressSettings, SystemNetwork};
use crate::log::LogTail;
use crate::sandbox::{NetworkSockets, SetupError, Step};

/// How long a container may take to begin.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long one that ends may stand in the way of the next.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether it still does.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where programs are looked up if an image does not say it; what the runtimes take.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container that was made, or why not.
pub(super) type Made = Result<Arc<Place>, ContainerError>;

/// Why there is no container, or a command does not run in it. [`Self::hint`] says what helps.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing runs containers here.
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    /// The runtime refused something.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// What is to be mounted cannot be.
    #[error(transparent)]
    Mount(#[from] BadMount),
    /// There is a container with its name, and it is not to be touched.
    #[error("there is a container named {name} already, which {whose}")]
    Taken {
        /// The name.
        name: String,
        /// Whose it is, as "belongs to …".
        whose: String,
    },
    /// skep could not get ready for it.
    #[error("the container could not be prepared: {0}")]
    Unprepared(Arc<io::Error>),
    /// It did not connect.
    #[error("the container ended, or hangs, before it could be used{0}")]
    Silent(String),
    /// Inside something failed.
    #[error("in the container {what}: {why}")]
    Inside {
        /// What.
        what: String,
        /// What the system said.
        why: String,
    },
    /// Its runtime of tasks went away.
    #[error("the container is not made any more")]
    Abandoned,
}

impl ContainerError {
    /// What the reader can do, as a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoRuntime(NoRuntime::Silent { .. }) => {
                "Install Docker or Podman and start it (for Podman: systemctl --user start podman.socket), or name its \
                 socket in DOCKER_HOST; `skep runtime check` tells what is found."
            }
            Self::NoRuntime(NoRuntime::VirtualMachine { .. }) => {
                "Use Docker Engine or Podman of this machine, or run skep in the virtual machine."
            }
            Self::Taken { .. } => "Choose another name with --name, or remove that container.",
            Self::Silent(_) => {
                "It has to be on this machine, and of the same processor. `docker info` tells about the first, \
                 `docker image inspect` about the second."
            }
            _ => return None,
        })
    }

    fn inside(SetupError { step, errno }: SetupError, program: &str) -> Self {
        let why = match errno {
            0 => "the system gave no reason".to_owned(),
            errno => io::Error::from_raw_os_error(errno).to_string(),
        };
        let what = match step {
            Step::Exec => format!("{program} could not be run"),
            Step::Enter(path) => format!("the working directory {} cannot be entered", path.display()),
            Step::Other(what) => what,
            other => format!("{other:?}"),
        };
        Self::Inside { what, why }
    }
}

impl From<io::Error> for ContainerError {
    fn from(error: io::Error) -> Self {
        Self::Unprepared(Arc::new(error))
    }
}

/// A container that is there. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Place {
    line: Line,
    /// pid 1, as this machine counts.
    init: i32,
    image: ImageSettings,
    /// Serves its network, as long as it is there.
    served: Tasks,
    /// Keeps what it is run from.
    _program: File,
}

/// A command in a container. Dropping it kills its process group.
#[derive(Debug)]
pub(crate) struct Run {
    run: line::Run,
    pid: i32,
    /// Dropped last: the container stays as long as something runs in it.
    _place: Arc<Place>,
}

/// A command that was started in a container.
#[derive(Debug)]
pub(crate) struct InContainer {
    pub(crate) run: Run,
    pub(crate) place: Arc<Place>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) ended: oneshot::Receiver<crate::process::Cause>,
}

impl Run {
    /// As this machine counts.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.run.signal(signal);
    }
}

impl Place {
    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.line.is_over()
    }

    /// Ends it, and waits until pid 1 is gone.
    pub(super) async fn end(&self) {
        self.line.close();
        let pid_1 = PathBuf::from(format!("/proc/{}", self.init));
        let gone = async {
            while pid_1.exists() {
                sleep(LOOK_EVERY / 10).await;
            }
        };
        if timeout(START_LIMIT, gone).await.is_err() {
            tracing::warn!(process.pid = self.init, "a container does not end");
        }
    }

    /// A new TCP socket of its network.
    pub(crate) async fn socket(&self) -> io::Result<OwnedFd> {
        self.line.socket().await
    }

    /// Starts a command in it.
    pub(super) async fn start(
        place: Arc<Self>,
        inside: &Inside,
        is_asked: bool,
        config: &ContainerConfig,
    ) -> Result<InContainer, ContainerError> {
        let order = order(&place.image, inside, is_asked, config);
        let program = order.argv.first().map(|program| program.to_string_lossy().into_owned());
        let program = program.unwrap_or_else(|| "nothing".to_owned());
        let failed = |error| ContainerError::inside(error, &program);
        let line::Started { run, pid, pipes, ended } = place.line.start(&order).await.map_err(failed)?;
        let mut pipes = pipes.into_iter();
        let stdin = if is_asked { pipes.next() } else { None };
        let (Some(stdout), Some(stderr)) = (pipes.next(), pipes.next()) else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        };
        let pid = pid_here(place.init, pid).unwrap_or(place.init);
        let run = Run { run, pid, _place: Arc::clone(&place) };
        Ok(InContainer { run, place, stdin, stdout, stderr, ended })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.served.stop();
    }
}

/// The number of a process of the container on this machine: a child of pid 1 that has the other number inside.
fn pid_here(init: i32, inside: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    children.split_ascii_whitespace().find_map(|child| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let innermost = numbers.split_ascii_whitespace().next_back()?;
        (innermost.parse() == Ok(inside)).then(|| child.parse().ok())?
    })
}

/// What runs: as the image says, but for what is said here.
fn order(image: &ImageSettings, inside: &Inside, is_asked: bool, config: &ContainerConfig) -> Order {
    let entrypoint = image.entrypoint.iter().map(Into::into);
    let argv = match inside.args.is_empty() {
        true => entrypoint.chain(image.cmd.iter().map(Into::into)).collect(),
        false => entrypoint.chain(inside.args.iter().cloned()).collect(),
    };
    let of_image = image.env.iter().filter_map(|text| text.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.into(), value.into()));
    let path = std::iter::once(("PATH".into(), DEFAULT_PATH.into()));
    let cwd = inside.cwd.as_ref().map(|cwd| cwd.as_os_str().to_owned());
    let of_image_cwd = if image.cwd.is_empty() { "/" } else { &image.cwd };
    Order {
        argv,
        // Of two with one name the later one counts.
        env: path.chain(of_image).chain(inside.env.iter().cloned()).collect(),
        cwd: cwd.unwrap_or_else(|| of_image_cwd.into()),
        user: image.user.clone(),
        is_asked,
        bounds: config.sandbox.0.bounds,
    }
}

/// Makes a container: image, program, line, then the container itself.
pub(super) async fn make(
    config: &ContainerConfig,
    progress: &watch::Sender<Progress>,
    log: &LogTail,
) -> Made {
    let runtime = Runtime::find(&config.runtimes.sockets).await?;
    let image = image(&runtime, config, progress, log).await?;
    progress.send_replace(Progress::Making);
    fs::create_dir_all(&config.scratch)?;
    let folder = Folder::new(&config.scratch)?;
    let staged = program::stage(&config.scratch)?;
    let body = body::body(config, &staged, &folder.0)?;
    let listener = folder.listen()?;
    let id = create(&runtime, config, body).await?;
    let made = begin(&runtime, config, &id, &listener).await;
    let (line, network, init) = match made {
        Ok(begun) => begun,
        Err(error) => {
            if let Err(error) = runtime.remove(&id).await {
                tracing::warn!(%error, "a container that did not begin is left behind");
            }
            return Err(error);
        }
    };
    let served = Tasks::new();
    if let Some((sockets, policy)) = network.zip(config.egress.clone()) {
        let settings =
            EgressSettings { workload: (&*config.name).into(), policy, limits: EgressLimits::default() };
        Egress::serve(settings, sockets, SystemNetwork::new()?, &served)?;
    }
    tracing::info!(container.name = config.name, container.id = id, runtime = %runtime.kind(), "container runs");
    Ok(Arc::new(Place { line, init, image, served, _program: staged.held }))
}

/// Sees to it that the image is here. The newest is asked for anew, in case it is another one by now.
async fn image(
    runtime: &Runtime,
    config: &ContainerConfig,
    progress: &watch::Sender<Progress>,
    log: &LogTail,
) -> Result<ImageSettings, ContainerError> {
    let image = &*config.image;
    let here = runtime.inspect_image(image).await?;
    let is_newest = name_and_tag(image).1 == "latest";
    if let Some(here) = here.clone().filter(|_| !is_newest) {
        return Ok(here);
    }
    progress.send_replace(Progress::Pulling { done: 0, known: 0 });
    log.note(&format!("fetching the image {image}"));
    let told = |done, known| {
        progress.send_replace(Progress::Pulling { done, known });
    };
    let pulled = runtime.pull(image, &config.runtimes.keychain, told).await;
    match (pulled, here) {
        (Ok(()), _) => {}
        (Err(error), Some(here)) => {
            log.note(&format!("{error}; the one that is here is used"));
            return Ok(here);
        }
        (Err(error), None) => return Err(error.into()),
    }
    let gone = || ContainerError::Silent(format!(": the image {image} was fetched and is not there"));
    runtime.inspect_image(image).await?.ok_or_else(gone)
}

/// Creates it, once nothing is in its way any more.
async fn create(
    runtime: &Runtime,
    config: &ContainerConfig,
    body: bollard::models::ContainerCreateBody,
) -> Result<String, ContainerError> {
    let until = Instant::now() + LEAVE_LIMIT;
    runtime.sweep(&config.owner).await?;
    loop {
        let options = CreateContainerOptionsBuilder::new().name(&config.name).build();
        let error = match runtime.docker().create_container(Some(options), body.clone()).await {
            Ok(created) => return Ok(created.id),
            Err(error) => RuntimeError::new("the container could not be created", &error),
        };
        let is_taken = error.is_conflict() || error.to_string().contains("already in use");
        if !is_taken || Instant::now() > until {
            return Err(error.into());
        }
        clear_the_way(runtime, config).await?;
        sleep(LOOK_EVERY).await;
    }
}

/// Removes the container that has the name, if it is one that nobody holds any more.
async fn clear_the_way(runtime: &Runtime, config: &ContainerConfig) -> Result<(), ContainerError> {
    let named = &config.name;
    let Ok(found) = runtime.docker().inspect_container(named, None::<InspectContainerOptions>).await else {
        return Ok(());
    };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    match held_by(&labels, &config.owner) {
        Some(whose) => Err(ContainerError::Taken { name: named.clone(), whose }),
        None => Ok(runtime.remove(&found.id.unwrap_or_else(|| named.clone())).await?),
    }
}

/// Whose a container is, by its labels. `None`: it is of this owner, and nobody holds it any more; what another skep that was
/// killed had asked for may be there only now.
fn held_by(labels: &HashMap<String, String>, owner: &str) -> Option<String> {
    match labels.get(HOME_LABEL) {
        Some(home) if home == owner => {}
        Some(home) => return Some(format!("belongs to the skep of {home}")),
        None => return Some("is not skep's".to_owned()),
    }
    let process = labels.get(OWNER_LABEL)?;
    // Workloads have names of their own, so if it is this process's it is one that ends.
    let is_held = *process != this_owner() && owner_is_alive(process);
    is_held.then(|| "another skep process runs".to_owned())
}

/// Starts it, and waits until its pid 1 is ready.
async fn begin(
    runtime: &Runtime,
    config: &ContainerConfig,
    id: &str,
    listener: &UnixListener,
) -> Result<(Line, Option<NetworkSockets>, i32), ContainerError> {
    let refused = |doing: &str| {
        let doing = format!("the container could not be {doing}");
        move |error: bollard::errors::Error| ContainerError::from(RuntimeError::new(doing.clone(), &error))
    };
    let docker = runtime.docker();
    docker.start_container(id, None::<StartContainerOptions>).await.map_err(refused("started"))?;
    let called = timeout(START_LIMIT, accept(listener));
    let ended = async {
        loop {
            sleep(LOOK_EVERY * 5).await;
            let found = docker.inspect_container(id, None::<InspectContainerOptions>).await;
            let state = found.ok().and_then(|found| found.state);
            if state.as_ref().is_none_or(|state| state.running != Some(true)) {
                let status = state.and_then(|state| state.exit_code);
                return status.map_or_else(String::new, |status| format!(" (status {status})"));
            }
        }
    };
    let (connection, caller) = tokio::select! {
        called = called => called.map_err(|_| ContainerError::Silent(String::new()))??,
        why = ended => return Err(ContainerError::Silent(why)),
    };
    let found =
        docker.inspect_container(id, None::<InspectContainerOptions>).await.map_err(refused("looked at"))?;
    let init = found.state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok());
    // Somebody else on this machine, or in this container, may have found the socket.
    if init != Some(caller) {
        return Err(ContainerError::Silent(": somebody else connected in its stead".to_owned()));
    }
    let (line, network) =
        Line::open(connection).await.map_err(|error| ContainerError::inside(error, "pid 1"))?;
    if config.egress.is_some() && network.is_none() {
        return Err(ContainerError::Silent(": its network cannot be served".to_owned()));
    }
    Ok((line, network, caller))
}

/// The first connection, and who made it.
async fn accept(listener: &UnixListener) -> io::Result<(OwnedFd, i32)> {
    let (connection, _) = listener.accept().await?;
    let caller = connection.peer_cred()?.pid().unwrap_or_default();
    Ok((connection.into_std()?.into(), caller))
}

/// What is mounted into one container while it begins. Removed when it has, since nothing of it is looked up again.
struct Folder(PathBuf);

impl Folder {
    fn new(scratch: &Path) -> io::Result<Self> {
        // What is in here is open to whoever root in the container is; the folder around it is not.
        fs::set_permissions(scratch, Permissions::from_mode(0o700))?;
        let folder = Self(scratch.join(format!("{:016x}", fastrand::u64(..))));
        for dir in [folder.0.clone(), folder.0.join(LINE_DIR)] {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        }
        for (name, _, text) in FILES {
            fs::write(folder.0.join(name), text)?;
            fs::set_permissions(folder.0.join(name), Permissions::from_mode(0o444))?;
        }
        Ok(folder)
    }

    fn listen(&self) -> io::Result<UnixListener> {
        let dir = open(self.0.join(LINE_DIR), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        // Addresses of sockets are short, and paths need not be.
        let path = PathBuf::from(format!("/proc/self/fd/{}/socket", dir.as_raw_fd()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        listen(&socket, 1)?;
        UnixListener::from_std(socket.into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::client::owner;
    use crate::container::{ContainerConfig, Runtimes};
    use crate::sandbox::{Sandbox, SandboxConfig};

    fn config() -> ContainerConfig {
        ContainerConfig {
            name: "a".to_owned(),
            owner: "o".to_owned(),
            labels: Default::default(),
            image: "i".to_owned(),
            sandbox: Sandbox::try_from(SandboxConfig::default()).unwrap(),
            egress: None,
            network: None,
            scratch: "/s".into(),
            runtimes: Runtimes::default(),
        }
    }

    #[test]
    fn a_container_that_nobody_holds_is_in_nobodys_way() {
        let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let alive = owner(other.id()).unwrap();
        let (own, reused) = (this_owner(), format!("{}:1", std::process::id()));
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for (given, whose) in [
            (labels(&[]), Some("is not skep's")),
            (labels(&[(HOME_LABEL, "p"), (OWNER_LABEL, &own)]), Some("belongs to the skep of p")),
            (labels(&[(HOME_LABEL, "o"), (OWNER_LABEL, &alive)]), Some("another skep process runs")),
            (labels(&[(HOME_LABEL, "o"), (OWNER_LABEL, &own)]), None),
            (labels(&[(HOME_LABEL, "o"), (OWNER_LABEL, &reused)]), None),
            (labels(&[(HOME_LABEL, "o")]), None),
        ] {
            assert_eq!(held_by(&given, "o").as_deref(), whose, "{given:?}");
        }
        // Killed, and nobody has asked yet how it ended.
        other.kill().unwrap();
        let labels = labels(&[(HOME_LABEL, "o"), (OWNER_LABEL, &alive)]);
        while held_by(&labels, "o").is_some() {
            std::thread::yield_now();
        }
        other.wait().unwrap();
    }

    #[test]
    fn what_is_said_counts_before_what_the_image_says() {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let image = ImageSettings {
            entrypoint: text(&["run", "it"]),
            cmd: text(&["--default"]),
            env: text(&["A=1", "B=x=y", "odd"]),
            user: "node".to_owned(),
            ..ImageSettings::default()
        };
        let inside = |args: &[&str], cwd: Option<&str>| Inside {
            args: args.iter().map(Into::into).collect(),
            env: vec![("A".into(), "2".into())],
            cwd: cwd.map(Into::into),
        };
        let of_image = order(&image, &inside(&[], None), true, &config());
        assert_eq!(
            (of_image.argv, of_image.cwd),
            (vec!["run".into(), "it".into(), "--default".into()], "/".into())
        );
        assert_eq!(of_image.user, "node");
        let names: Vec<_> = of_image
            .env
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(names[1..], ["A=1", "B=x=y", "A=2"]);
        let said = order(&image, &inside(&["--mine"], Some("/w")), true, &config());
        assert_eq!((said.argv, said.cwd), (vec!["run".into(), "it".into(), "--mine".into()], "/w".into()));
    }
}
