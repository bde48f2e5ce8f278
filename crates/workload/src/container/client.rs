//! A container runtime that answers: images, and what is left of containers that nobody runs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerSummaryStateEnum, CreateImageInfo};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use http_body_util::Either;

use super::body::{HOME_LABEL, OWNER_LABEL};
use super::credentials::Keychain;
use super::discovery::{BadSocket, Sockets};

/// Seconds that an answer may take to begin.
const ANSWER_LIMIT: u64 = 120;

/// A runtime. Clones talk to the same one.
#[derive(Clone, Debug)]
pub struct Runtime {
    docker: Docker,
    socket: PathBuf,
    kind: RuntimeKind,
    version: String,
    is_rootless: bool,
    /// The operating system that it is on, in words.
    system: String,
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    Docker,
    Podman,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        })
    }
}

/// There is no runtime that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRuntime {
    /// What was asked for cannot be.
    #[error(transparent)]
    BadSocket(#[from] BadSocket),
    /// None of the usual sockets answers.
    #[error("no container runtime answers ({})", tried.join("; "))]
    Silent {
        /// What each of those that are there said.
        tried: Vec<String>,
    },
    /// Its containers are on another machine.
    #[error("the runtime at {} runs its containers in a virtual machine ({system}), where skep cannot reach them", socket.display())]
    VirtualMachine {
        /// Where it listens.
        socket: PathBuf,
        /// What it says it is.
        system: String,
    },
}

/// What the runtime refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{doing}: {said}")]
pub struct RuntimeError {
    doing: String,
    said: String,
    status: Option<u16>,
}

impl RuntimeError {
    pub(super) fn new(doing: impl Into<String>, error: &bollard::errors::Error) -> Self {
        let (said, status) = match error {
            bollard::errors::Error::DockerResponseServerError { status_code, message } => {
                (message.clone(), Some(*status_code))
            }
            other => (other.to_string(), None),
        };
        Self { doing: doing.into(), said, status }
    }

    /// Whether the runtime says that what was asked about is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the runtime says that something is in the way.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// What it is known by to the runtime.
    pub id: String,
    /// The beginning of its command line.
    pub entrypoint: Vec<String>,
    /// The rest, where nothing else is said.
    pub cmd: Vec<String>,
    /// Its variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where it runs.
    pub cwd: String,
    /// As whom.
    pub user: String,
    /// What it is labelled with.
    pub labels: HashMap<String, String>,
    /// The TCP ports that it says it listens on, in order.
    pub ports: Vec<u16>,
}

/// How an image is built.
#[derive(Clone, Debug)]
pub struct ImageBuild<'a> {
    /// What it is called then.
    pub tag: &'a str,
    /// A tar archive with a `Dockerfile` at its top.
    pub context: Vec<u8>,
    /// Variables of the build.
    pub args: &'a HashMap<String, String>,
    /// The runtime's network that commands of the build have. `None`: what the runtime gives them.
    pub network: Option<&'a str>,
    /// Without what was built before.
    pub is_fresh: bool,
}

impl Runtime {
    /// The first that answers.
    ///
    /// # Errors
    /// [`NoRuntime`] when none does.
    pub async fn find(sockets: &Sockets) -> Result<Self, NoRuntime> {
        let mut tried = Vec::new();
        for socket in sockets.candidates()? {
            if !socket.exists() {
                continue;
            }
            match Self::at(&socket).await {
                Ok(runtime) => return runtime.on_this_machine(),
                Err(error) => tried.push(format!("{}: {error}", socket.display())),
            }
        }
        if tried.is_empty() {
            tried.push("there is no socket of one".to_owned());
        }
        Err(NoRuntime::Silent { tried })
    }

    async fn at(socket: &Path) -> Result<Self, bollard::errors::Error> {
        let docker =
            Docker::connect_with_unix(&socket.display().to_string(), ANSWER_LIMIT, API_DEFAULT_VERSION)?;
        let docker = docker.negotiate_version().await?;
        let version = docker.version().await?;
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|part| part.name.contains("Podman"));
        // Once: Podman looks the versions of packages up for it.
        let info = docker.info().await?;
        let options = info.security_options.unwrap_or_default();
        Ok(Self {
            docker,
            socket: socket.to_owned(),
            kind: if is_podman { RuntimeKind::Podman } else { RuntimeKind::Docker },
            version: version.version.unwrap_or_default(),
            is_rootless: options.iter().any(|option| option.contains("rootless")),
            system: info.operating_system.unwrap_or_default(),
        })
    }

    fn on_this_machine(self) -> Result<Self, NoRuntime> {
        if cfg!(target_os = "linux") && !self.system.contains("Docker Desktop") {
            return Ok(self);
        }
        Err(NoRuntime::VirtualMachine { socket: self.socket, system: self.system })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whose it is.
    #[must_use]
    pub fn kind(&self) -> RuntimeKind {
        self.kind
    }

    /// Its version, as it says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it has no more rights than its user.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        self.is_rootless
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What an image says of itself. `None`: it is not here.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn inspect_image(&self, image: &str) -> Result<Option<ImageSettings>, RuntimeError> {
        let found = match self.docker.inspect_image(image).await {
            Ok(found) => found,
            Err(error) => {
                let error = RuntimeError::new(format!("the image {image} could not be looked at"), &error);
                return if error.is_missing() { Ok(None) } else { Err(error) };
            }
        };
        let config = found.config.unwrap_or_default();
        Ok(Some(ImageSettings {
            id: found.id.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            cwd: config.working_dir.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            ports: tcp_ports(&config.exposed_ports.unwrap_or_default()),
        }))
    }

    /// The names of the images that are here and have a label (`NAME` or `NAME=VALUE`).
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn list_images(&self, label: &str) -> Result<Vec<String>, RuntimeError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_images(Some(options)).await;
        let listed = listed.map_err(|error| RuntimeError::new("the images could not be listed", &error))?;
        Ok(listed.into_iter().flat_map(|image| image.repo_tags).collect())
    }

    /// Fetches an image. `told` hears how many layers are there, of how many that are known of.
    ///
    /// # Errors
    /// What the runtime, or the registry, said.
    pub async fn pull(
        &self,
        image: &str,
        keychain: &Keychain,
        mut told: impl FnMut(usize, usize),
    ) -> Result<(), RuntimeError> {
        let doing = format!("the image {image} could not be fetched");
        let (keychain, named) = (keychain.clone(), image.to_owned());
        // A helper may be asked, and waited for.
        let credentials = tokio::task::spawn_blocking(move || keychain.look_up(&named)).await.ok().flatten();
        let (name, tag) = name_and_tag(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut pulling = Box::pin(self.docker.create_image(Some(options), None, credentials));
        let mut layers = HashMap::new();
        while let Some(news) = pulling.next().await {
            let news = news.map_err(|error| RuntimeError::new(&*doing, &error))?;
            let CreateImageInfo { id, status, error_detail, .. } = news;
            if let Some(said) = error_detail.and_then(|error| error.message) {
                return Err(RuntimeError { doing, said, status: None });
            }
            if let Some((layer, status)) =
                id.zip(status).filter(|(_, status)| !status.starts_with("Pulling from"))
            {
                layers.insert(layer, matches!(&*status, "Pull complete" | "Already exists"));
                told(layers.values().filter(|is_there| **is_there).count(), layers.len());
            }
        }
        Ok(())
    }

    /// Builds an image. `told` hears each line that the build writes.
    ///
    /// # Errors
    /// What the runtime, or the build, said.
    pub async fn build_image(
        &self,
        build: ImageBuild<'_>,
        mut told: impl FnMut(&str),
    ) -> Result<(), RuntimeError> {
        let ImageBuild { tag, context, args, network, is_fresh } = build;
        let doing = format!("the image {tag} could not be built");
        let options = BuildImageOptionsBuilder::new().t(tag).rm(true).forcerm(true).buildargs(args);
        let options = options.networkmode(network.unwrap_or_default()).nocache(is_fresh).build();
        let body = Either::Left(http_body_util::Full::new(context.into()));
        let mut building = Box::pin(self.docker.build_image(options, None, Some(body)));
        while let Some(news) = building.next().await {
            let news = news.map_err(|error| RuntimeError::new(&*doing, &error))?;
            if let Some(said) = news.error_detail.and_then(|error| error.message) {
                return Err(RuntimeError { doing, said, status: None });
            }
            news.stream
                .iter()
                .flat_map(|text| text.lines())
                .filter(|line| !line.is_empty())
                .for_each(&mut told);
        }
        Ok(())
    }

    /// Removes an image by its name; what others have of it stays.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        let removed = self.docker.remove_image(image, None::<RemoveImageOptions>, None).await;
        let failed = |error| RuntimeError::new(format!("the image {image} could not be removed"), &error);
        removed.map(drop).map_err(failed)
    }

    /// Removes the containers of a skep that is not there any more: those labelled as this owner's whose process has
    /// gone. Gives how many.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn sweep(&self, owner: &str) -> Result<usize, RuntimeError> {
        let filters = HashMap::from([("label", vec![format!("{HOME_LABEL}={owner}")])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await;
        let listed =
            listed.map_err(|error| RuntimeError::new("the containers could not be listed", &error))?;
        let mut removed = 0;
        for container in listed {
            let labels = container.labels.unwrap_or_default();
            let is_owned = labels.get(OWNER_LABEL).is_some_and(|owner| owner_is_alive(owner));
            let is_going = container.state == Some(ContainerSummaryStateEnum::REMOVING);
            if let Some(id) = container.id.filter(|_| !is_owned && !is_going) {
                self.remove(&id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes a container, whatever it does. That it is not there any more is what was wanted.
    pub(super) async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error =
                    RuntimeError::new(format!("the container {container} could not be removed"), &error);
                if error.is_missing() || error.is_conflict() { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// The TCP ports among those that an image names, as `8080/tcp` or `8080`.
fn tcp_ports(exposed: &[String]) -> Vec<u16> {
    let ports = exposed.iter().filter_map(|text| text.strip_suffix("/tcp").unwrap_or(text).parse().ok());
    BTreeSet::from_iter(ports).into_iter().collect()
}

/// An image without its tag or digest, and that; nothing stands for the newest.
pub(super) fn name_and_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    let from = image.rfind('/').map_or(0, |at| at + 1);
    match image[from..].split_once(':') {
        Some((name, tag)) => (&image[..from + name.len()], tag),
        None => (image, "latest"),
    }
}

/// This process, as a label says it: its number may be another's one day, and then began at another time.
pub(super) fn this_owner() -> String {
    owner(std::process::id()).unwrap_or_default()
}

/// Whether the process that a label names goes on.
pub(super) fn owner_is_alive(label: &str) -> bool {
    let process = label.split_once(':').and_then(|(process, _)| process.parse().ok());
    process.and_then(owner).is_some_and(|alive| alive == label)
}

/// What a label says of a process that goes on: its number, and when it began, in ticks since boot (proc_pid_stat(5), fields 3
/// and 22).
pub(super) fn owner(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // One that nobody has reaped yet has ended all the same.
    let goes_on = !matches!(fields.next()?, "Z" | "X");
    goes_on.then(|| fields.nth(18)).flatten().map(|began| format!("{process}:{began}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_behind_the_last_part() {
        for (image, expect) in [
            ("alpine", ("alpine", "latest")),
            ("org/server:1.2", ("org/server", "1.2")),
            ("localhost:5000/server", ("localhost:5000/server", "latest")),
            ("localhost:5000/server:dev", ("localhost:5000/server", "dev")),
            ("ghcr.io/x/y@sha256:ab", ("ghcr.io/x/y", "sha256:ab")),
        ] {
            assert_eq!(name_and_tag(image), expect, "{image}");
        }
    }

    #[test]
    fn ports_are_of_tcp_and_in_order() {
        let ports =
            |words: &[&str]| tcp_ports(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(ports(&["8080/tcp", "53/udp", "80", "8000-8010/tcp"]), [80, 8080]);
    }

    #[test]
    fn an_owner_is_known_by_its_number_and_its_time() {
        let own = this_owner();
        assert!(owner_is_alive(&own));
        for gone in [format!("{own}1"), "4194305:1".to_owned(), String::new(), std::process::id().to_string()]
        {
            assert!(!owner_is_alive(&gone), "{gone}");
        }
    }
}
