//! What a permission profile comes to for a process: what it sees, what it reaches, and a refusal of what cannot be held.

use std::io;
use std::path::{Path, PathBuf};

use model::permissions::{HostRule, Mount, NetworkMode};
use model::run_config::{Run, SkepConfig, Source};
use model::{Profile, RunConfig};
use store::ignore::{self, IgnoreError, IgnoreRules};
use workload::egress::{BadEgress, EgressConfig, EgressPolicy};
use workload::sandbox::{self, BadSandbox, Bounds, Network, Sandbox, SandboxConfig};

use super::{PlanError, Surroundings};
use crate::packages::Launch;

/// The profile that counts where none is given.
pub const DEFAULT_PROFILE: &str = "network";

/// Why a profile is not one for processes.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    #[error(
        "permission_profile.privileged: a process is never given rights that its user has not; take it out"
    )]
    Privileged,
    #[error(
        "permission_profile.privileged: a privileged container has the rights of this machine's root, and nothing would hold what else the profile says; take it out"
    )]
    PrivilegedImage,
    #[error(
        "permission_profile.network.mode: what goes through {0:?}, a network of the container runtime, is not filtered; say so with outbound.insecure_allow_all, or leave the network out"
    )]
    Unfiltered(String),
    #[error(
        "permission_profile.network.mode: {0:?} is a network of a container runtime; for a process write none or host, or leave it out"
    )]
    Network(String),
    #[error(
        "permission_profile.network.inbound: a process is reached by skep alone, whoever asks skep; take it out (--allowed-hosts and --allowed-origins say who may)"
    )]
    Inbound,
    #[error(
        "permission_profile.network.outbound: with {0} the process reaches whatever this machine reaches; take one of them out"
    )]
    Unrestricted(&'static str),
    #[error("permission_profile: {0:?} is not a path, and cannot be shown to a process")]
    Resource(String),
    #[error("permission_profile: {0}")]
    Egress(BadEgress),
    #[error(transparent)]
    Sandbox(#[from] BadSandbox),
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    #[error("the home directory of the server could not be made at {}: {source}", path.display())]
    Home { path: PathBuf, source: io::Error },
}

/// The isolation of a process, or of an image.
pub(super) struct Isolated {
    pub(super) sandbox: Sandbox,
    /// What may be reached, where that is not all or nothing.
    pub(super) egress: Option<EgressPolicy>,
    /// A network of the container runtime, instead.
    pub(super) network: Option<String>,
    /// Where it runs.
    pub(super) cwd: Option<PathBuf>,
}

/// The isolation of a command.
pub(super) fn isolated(
    config: &RunConfig,
    run: &Run,
    skep: &SkepConfig,
    around: &Surroundings,
    package: Option<&Launch>,
) -> Result<Isolated, PlanError> {
    Ok(made(config, run, skep, around, package)?)
}

fn made(
    config: &RunConfig,
    run: &Run,
    skep: &SkepConfig,
    around: &Surroundings,
    package: Option<&Launch>,
) -> Result<Isolated, IsolationError> {
    let builtin = || Profile::builtin(DEFAULT_PROFILE).unwrap_or_default();
    let profile = run.profile.clone().unwrap_or_else(builtin);
    let is_image = matches!(run.source, Source::Image(_));
    if profile.privileged {
        return Err(if is_image { IsolationError::PrivilegedImage } else { IsolationError::Privileged });
    }
    let Reach { network, egress, named } = reach(&profile, run.isolate_network, is_image)?;
    let cwd = Some(&skep.cwd).filter(|cwd| !cwd.is_empty()).map(PathBuf::from);
    let mounts = |mounts: &[Mount]| mounts.iter().map(|mount| shown(mount, cwd.as_deref())).collect();
    let mut read: Vec<sandbox::Mount> = Result::from_iter::<Vec<_>>(mounts(&profile.read))?;
    let write: Vec<sandbox::Mount> = Result::from_iter::<Vec<_>>(mounts(&profile.write))?;
    // A directory of an image is there already.
    if let Some(cwd) = cwd.as_ref().filter(|_| !is_image)
        && !read.iter().chain(&write).any(|mount| shows(mount, cwd))
    {
        read.push(sandbox::Mount::same(cwd));
    }
    let hide = hidden(config, around, read.iter().chain(&write))?;
    let fixed = write
        .iter()
        .map(|mount| (mount.source.join(ignore::FILE_NAME), mount.target.join(ignore::FILE_NAME)));
    let fixed = fixed.filter(|(source, _)| source.is_file()).map(|(_, target)| target).collect();
    // Nobody has anything to hide in it.
    read.extend(package.map(|package| sandbox::Mount::same(&package.folder)));
    let user_home = around.env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| PathBuf::from(home));
    let bounds = Bounds {
        memory: skep.max_memory.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024)),
        ..Bounds::default()
    };
    let sandbox = Sandbox::try_from(SandboxConfig {
        read,
        write,
        hide,
        fixed,
        home: if is_image { None } else { home(run, around)? },
        user_home,
        network,
        bounds,
        waived: Vec::new(),
    })?;
    Ok(Isolated { sandbox, egress, network: named, cwd })
}

/// What is reached.
struct Reach {
    network: Network,
    egress: Option<EgressPolicy>,
    /// A network of the container runtime, which is not judged.
    named: Option<String>,
}

impl From<Network> for Reach {
    fn from(network: Network) -> Self {
        Self { network, egress: None, named: None }
    }
}

fn reach(profile: &Profile, isolated: bool, is_image: bool) -> Result<Reach, IsolationError> {
    let said = profile.network.clone().unwrap_or_default();
    if said.inbound.is_some_and(|inbound| inbound.allow_host.is_some_and(|hosts| !hosts.is_empty())) {
        return Err(IsolationError::Inbound);
    }
    let allows_all = said.outbound.as_ref().is_some_and(|outbound| outbound.insecure_allow_all);
    let restricts = said.outbound.is_some() && !allows_all;
    match said.mode {
        NetworkMode::None => return Ok(Network::None.into()),
        NetworkMode::Custom(name) if is_image && allows_all => {
            return Ok(Reach { named: Some(name), ..Network::Host.into() });
        }
        NetworkMode::Custom(name) if is_image => return Err(IsolationError::Unfiltered(name)),
        NetworkMode::Custom(name) => return Err(IsolationError::Network(name)),
        NetworkMode::Host if restricts => return Err(IsolationError::Unrestricted("network.mode host")),
        NetworkMode::Host => return Ok(Network::Host.into()),
        NetworkMode::Unsaid | NetworkMode::Default | NetworkMode::Bridge if isolated => {}
        _ if restricts => return Err(IsolationError::Unrestricted("isolate_network false")),
        _ => return Ok(Network::Host.into()),
    }
    let outbound = profile.outbound();
    let hosts = |rules: Vec<HostRule>| rules.iter().map(|rule| rule.as_str().to_owned()).collect();
    let policy = EgressPolicy::try_from(&EgressConfig {
        allow_host: outbound.allow_host.map(hosts),
        allow_port: outbound.allow_port.map(|ports| ports.into_iter().map(i64::from).collect()),
        insecure_allow_all: outbound.insecure_allow_all,
    });
    let policy = policy.map_err(IsolationError::Egress)?;
    Ok(Reach { egress: Some(policy), ..Network::Egress.into() })
}

/// A mount of a profile; what is relative is so to the working directory.
fn shown(mount: &Mount, cwd: Option<&Path>) -> Result<sandbox::Mount, IsolationError> {
    let from_root = |path: &str| match cwd {
        Some(cwd) => cwd.join(path),
        None => PathBuf::from(path),
    };
    match mount {
        Mount::Same(path) => Ok(sandbox::Mount::same(from_root(path))),
        Mount::Path { host, inside } => {
            Ok(sandbox::Mount { source: from_root(host), target: PathBuf::from(inside) })
        }
        Mount::Resource { uri, .. } => Err(IsolationError::Resource(uri.clone())),
    }
}

/// Whether a directory is one of a mount's, inside or on the host.
fn shows(mount: &sandbox::Mount, dir: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let is_of_source =
        real(dir).zip(real(&mount.source)).is_some_and(|(dir, source)| dir.starts_with(source));
    is_of_source || dir.starts_with(&mount.target)
}

/// What the ignore files of the mounted directories cover, as it is seen inside.
fn hidden<'a>(
    config: &RunConfig,
    around: &Surroundings,
    mounts: impl Iterator<Item = &'a sandbox::Mount>,
) -> Result<Vec<PathBuf>, IsolationError> {
    let loads_global = config.ignore_config.as_ref().is_none_or(|ignore| ignore.load_global);
    let global = match around.folders.as_ref().filter(|_| loads_global) {
        Some(folders) => IgnoreRules::read(&folders.global_ignore())?,
        None => IgnoreRules::default(),
    };
    let mut hidden = Vec::new();
    for mount in mounts.filter(|mount| mount.source.is_dir()) {
        let covered = ignore::covered(&mount.source, &global)?;
        for line in covered.misleading {
            tracing::warn!(line, "an ignore file does not mean what it seems to");
        }
        hidden.extend(covered.paths.into_iter().map(|(path, _)| mount.target.join(path)));
    }
    Ok(hidden)
}

/// A home directory of the server's own, which it keeps from run to run.
fn home(run: &Run, around: &Surroundings) -> Result<Option<PathBuf>, IsolationError> {
    let Some(folders) = &around.folders else { return Ok(None) };
    let path = folders.home(run.name.as_str());
    let made = std::fs::create_dir_all(&path);
    let kept = [path.parent(), Some(path.as_path())].into_iter().flatten();
    let made = made.and_then(|()| kept.into_iter().try_for_each(make_private));
    made.map_err(|source| IsolationError::Home { path: path.clone(), source })?;
    Ok(Some(path))
}

/// What servers keep is nobody else's, whatever the umask was.
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Folders;

    fn around(folder: &Path) -> Surroundings {
        let at = |below: &str| folder.join(below);
        let folders = Folders { run: at("run"), state: at("state"), data: at("data"), config: at("config") };
        Surroundings {
            folders: Some(folders),
            skep: "/skep".into(),
            env: Vec::new(),
            whole_env: None,
            secrets: None,
            packages: Default::default(),
            runtimes: Default::default(),
        }
    }

    fn isolate(profile: &str, folder: &Path) -> Result<Isolated, IsolationError> {
        let text = format!(
            r#"{{"name":"a","transport":"stdio","isolate_network":true,"permission_profile":{profile},"skep":{{"command":"c"}}}}"#
        );
        let config: RunConfig = model::Document::parse(&text).unwrap();
        let around = around(folder);
        made(&config, &config.checked().unwrap(), &SkepConfig::default(), &around, None)
    }

    /// Each member of a profile, and all that stands in none of its members.
    const FULL: &str = r#"{"name":"a","read":["/usr"],"write":["/var/tmp"],"network":{"mode":"bridge","outbound":
        {"insecure_allow_all":false,"allow_host":["a.example"],"allow_port":[443]},"inbound":{"allow_host":[]}},
        "privileged":false}"#;

    #[test]
    fn each_field_of_a_profile_is_held_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let lists = r#""outbound":{"allow_host":["a.example"]}"#;
        for (profile, network, policy) in [
            ("{}", Network::Egress, true),
            (FULL, Network::Egress, true),
            (r#"{"network":{"mode":"none"}}"#, Network::None, false),
            (r#"{"network":{"mode":"host"}}"#, Network::Host, false),
            (r#"{"network":{"mode":"host","outbound":{"insecure_allow_all":true}}}"#, Network::Host, false),
            (&format!(r#"{{"network":{{"mode":"bridge",{lists}}}}}"#), Network::Egress, true),
            (&format!(r#"{{"network":{{"mode":"default",{lists}}}}}"#), Network::Egress, true),
        ] {
            let Isolated { egress, .. } = isolate(profile, folder.path()).unwrap();
            assert_eq!(egress.is_some(), policy, "{profile}");
            assert_eq!(
                super::reach(&Profile::parse(profile).unwrap(), true, false).unwrap().network,
                network,
                "{profile}"
            );
        }
        for (profile, expect) in [
            (r#"{"privileged":true}"#, "privileged"),
            (r#"{"network":{"mode":"mine"}}"#, "network.mode"),
            (
                &format!(r#"{{"network":{{"mode":"host",{lists}}}}}"#),
                "network.outbound: with network.mode host",
            ),
            (r#"{"network":{"mode":"host","outbound":{}}}"#, "network.outbound: with network.mode host"),
            (r#"{"network":{"outbound":{"allow_host":["::1"]}}}"#, "network.outbound"),
            (r#"{"network":{"inbound":{"allow_host":["a.example"]}}}"#, "network.inbound"),
            (r#"{"network":{"mode":"none","inbound":{"allow_host":["a.example"]}}}"#, "network.inbound"),
            (r#"{"read":["volume://a:/b"]}"#, "volume://a"),
            (r#"{"write":["volume://a:/b"]}"#, "volume://a"),
            (r#"{"read":["/no/such/path"]}"#, "/no/such/path does not exist"),
            (r#"{"write":["/no/such/path"]}"#, "/no/such/path does not exist"),
        ] {
            let error = isolate(profile, folder.path()).err().map(|error| error.to_string()).unwrap();
            assert!(error.contains(expect), "{profile}: {error}");
        }
    }

    #[test]
    fn a_home_is_for_its_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let homes = folder.path().join("data/homes");
        std::fs::create_dir_all(homes.join("a")).unwrap();
        for open in [&homes, &homes.join("a")] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        isolate("{}", folder.path()).unwrap();
        for private in [&homes, &homes.join("a")] {
            let mode = private.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{}", private.display());
        }
    }

    #[test]
    fn the_list_of_fields_is_whole() {
        let Profile { name, read, write, network, privileged } = Profile::parse(FULL).unwrap();
        let model::permissions::Network { mode, outbound, inbound } = network.unwrap();
        let model::permissions::Outbound { insecure_allow_all, allow_host, allow_port } = outbound.unwrap();
        let model::permissions::Inbound { allow_host: callers } = inbound.unwrap();
        assert!(name.is_some() && !read.is_empty() && !write.is_empty() && mode == NetworkMode::Bridge);
        assert!(allow_host.is_some() && allow_port.is_some() && callers.is_some());
        assert!(!privileged && !insecure_allow_all);
    }

    #[test]
    fn a_network_that_is_not_isolated_is_not_restricted() {
        let network =
            |text: &str| reach(&Profile::parse(text).unwrap(), false, false).map(|reach| reach.network);
        for text in ["{}", r#"{"network":{"outbound":{"insecure_allow_all":true}}}"#] {
            assert_eq!(network(text).unwrap(), Network::Host, "{text}");
        }
        assert_eq!(network(r#"{"network":{"mode":"none","outbound":{}}}"#).unwrap(), Network::None);
        for outbound in
            ["{}", r#"{"allow_host":["a.example"]}"#, r#"{"allow_host":[]}"#, r#"{"allow_port":[1]}"#]
        {
            let error =
                network(&format!(r#"{{"network":{{"outbound":{outbound}}}}}"#)).unwrap_err().to_string();
            assert!(error.contains("isolate_network false"), "{outbound}: {error}");
        }
    }

    #[test]
    fn an_empty_list_opens_nothing() {
        let decide = |outbound: &str| {
            let profile = format!(r#"{{"network":{{"outbound":{outbound}}}}}"#);
            let policy = reach(&Profile::parse(&profile).unwrap(), true, false).unwrap().egress;
            let name = workload::egress::HostName::parse("a.example").unwrap();
            policy.unwrap().decide(&workload::egress::Destination::Name(name), 443)
        };
        use workload::egress::{Denial, Verdict};
        for (outbound, expect) in [
            (r#"{"allow_host":[],"allow_port":[443]}"#, Verdict::Denied(Denial::Host)),
            (r#"{"allow_port":[443]}"#, Verdict::Allowed),
            (r#"{"allow_host":["a.example"],"allow_port":[]}"#, Verdict::Denied(Denial::Port)),
            (r#"{"allow_host":["a.example"]}"#, Verdict::Allowed),
        ] {
            assert_eq!(decide(outbound), expect, "{outbound}");
        }
    }

    #[test]
    fn ignore_files_cover_what_a_mount_shows_where_it_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        std::fs::write(project.join(".thvignore"), ".env\n").unwrap();
        std::fs::write(project.join(".env"), "A=1").unwrap();
        std::fs::write(project.join("key.pem"), "k").unwrap();
        std::fs::write(folder.path().join("config/thvignore"), "*.pem\n").unwrap();
        let profile = format!(r#"{{"read":["{}:/work"]}}"#, project.display());
        let parsed = Profile::parse(&profile).unwrap();
        let mount = shown(&parsed.read[0], None).unwrap();
        isolate(&profile, folder.path()).unwrap();
        let around = around(folder.path());
        let mut hidden = hidden(&RunConfig::default(), &around, std::iter::once(&mount)).unwrap();
        hidden.sort();
        assert_eq!(hidden, [PathBuf::from("/work/.env"), PathBuf::from("/work/key.pem")]);
    }
}
