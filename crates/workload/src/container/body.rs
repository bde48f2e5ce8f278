//! A container as the runtime is told it. Pure but for looking at what is mounted, and at skep's own limits.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as Bind, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
};
use rustix::process::{Resource, getrlimit};

use super::client::this_owner;
use super::program::{EMPTY_DIR, EMPTY_FILE, LINE_DIR, PROGRAM, Staged};
use super::{ContainerConfig, EGRESS, INIT_MODE, OWN_DIR};
use crate::process::netns::RESOLV_CONF;
use crate::sandbox::hiding::{self, Covers};
use crate::sandbox::plan::Shown;
use crate::sandbox::{Bounds, Mount, Network, SandboxConfig};

/// Which skep of which user it is: the state directory.
pub(super) const HOME_LABEL: &str = "skep-home";
/// Which process runs it, and when that began.
pub(super) const OWNER_LABEL: &str = "skep-owner";

/// What pid 1 needs, besides what it needs for the network: to become the image's user without rights, and to signal it.
const CAPABILITIES: [&str; 5] = ["CHOWN", "KILL", "SETGID", "SETPCAP", "SETUID"];

/// Variables that would have the loader of pid 1 run something else.
const LOADER_VARIABLES: [&str; 6] =
    ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_DEBUG", "LD_PROFILE", "GLIBC_TUNABLES"];

/// Processes of one user of the machine, in containers and outside; what holds a container is its control group.
const MOST_OF_A_USER: u64 = 16384;

/// Temporary directories, which are each container's own.
const TEMPORARY: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// Files that lie beside the line, and cover the image's.
pub(super) const FILES: [(&str, &str, &str); 3] = [
    ("resolv.conf", "/etc/resolv.conf", RESOLV_CONF),
    ("hosts", "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("ld.so.preload", "/etc/ld.so.preload", ""),
];

/// A mount that cannot be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadMount {
    /// What lies there is skep's.
    #[error("nothing can be put at {} in a container, which is skep's own", .0.display())]
    Reserved(PathBuf),
    /// A path that a server could lead elsewhere.
    #[error("{} cannot be hidden: it is behind a symbolic link, or was moved", .0.display())]
    Moved(PathBuf),
    /// Paths are texts for a runtime.
    #[error("{} is not UTF-8, and cannot be told to the runtime", .0.display())]
    NotText(PathBuf),
}

/// Everything that the runtime is told.
pub(super) fn body(
    config: &ContainerConfig,
    staged: &Staged,
    scratch: &Path,
) -> Result<ContainerCreateBody, BadMount> {
    let sandbox = &config.sandbox.0;
    let is_served = config.egress.is_some();
    let mut labels: HashMap<String, String> =
        config.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.insert(HOME_LABEL.to_owned(), config.owner.clone());
    labels.insert(OWNER_LABEL.to_owned(), this_owner());
    let mut entrypoint = staged.command();
    entrypoint.push(INIT_MODE.to_owned());
    if is_served {
        entrypoint.push(EGRESS.to_owned());
    }
    Ok(ContainerCreateBody {
        image: Some(config.image.clone()),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        env: Some(LOADER_VARIABLES.map(|name| format!("{name}=")).into()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        // pid 1 is deaf to what has no handler; asking nicely would only take time.
        stop_signal: Some("SIGKILL".to_owned()),
        host_config: Some(HostConfig {
            mounts: Some(mounts(sandbox, staged, scratch, has_own_network(config))?),
            ..host_config(config, is_served)
        }),
        ..ContainerCreateBody::default()
    })
}

fn has_own_network(config: &ContainerConfig) -> bool {
    config.network.is_none() && config.sandbox.0.network != Network::Host
}

fn host_config(config: &ContainerConfig, is_served: bool) -> HostConfig {
    let sandbox = &config.sandbox.0;
    let Bounds { memory, processes, cpu_percent, temporary, open_files } = sandbox.bounds;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let network_mode = match (&config.network, sandbox.network) {
        (Some(name), _) => name.clone(),
        (None, Network::Host) => "host".to_owned(),
        (None, Network::None | Network::Egress) => "none".to_owned(),
    };
    let mut capabilities: Vec<String> = CAPABILITIES.map(str::to_owned).into();
    if is_served {
        capabilities.extend(["NET_ADMIN", "NET_BIND_SERVICE"].map(str::to_owned));
    }
    let is_mounted =
        |dir: &str| sandbox.read.iter().chain(&sandbox.write).any(|mount| mount.target == Path::new(dir));
    let options = format!("rw,exec,nosuid,nodev,mode=1777,size={temporary}");
    let tmpfs = TEMPORARY.into_iter().filter(|dir| !is_mounted(dir));
    let any_port = ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    HostConfig {
        auto_remove: Some(true),
        network_mode: Some(network_mode),
        readonly_rootfs: Some(true),
        tmpfs: Some(tmpfs.map(|dir| (dir.to_owned(), options.clone())).collect()),
        shm_size: Some(signed(temporary)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities),
        security_opt: Some(vec!["no-new-privileges".to_owned(), "label=disable".to_owned()]),
        ulimits: Some(ulimits(open_files)),
        // pid 1 is one more.
        pids_limit: processes.map(|most| signed(most.saturating_add(1))),
        memory: memory.map(signed),
        // As much with swap: none.
        memory_swap: memory.map(signed),
        nano_cpus: cpu_percent.map(|percent| signed(percent.saturating_mul(10_000_000))),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        sysctls: has_own_network(config).then(|| HashMap::from([any_port])),
        ..HostConfig::default()
    }
}

/// Limits of each process. A runtime has some of its own, which it may not be able to set; these are never above skep's.
fn ulimits(open_files: Option<u64>) -> Vec<ResourcesUlimits> {
    let limit = |name: &str, most: u64| {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) }
    };
    let own = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let open_files = open_files.map(|most| limit("nofile", most.min(own)));
    // Counted over a user of the machine, so it only has to be one that a runtime may set: Podman lowers its own to 32768.
    let processes =
        limit("nproc", getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX).min(MOST_OF_A_USER));
    open_files.into_iter().chain([processes, limit("core", 0)]).collect()
}

/// In the order they are put in place: what is further up comes first.
fn mounts(
    sandbox: &SandboxConfig,
    staged: &Staged,
    scratch: &Path,
    has_own_network: bool,
) -> Result<Vec<Bind>, BadMount> {
    let own = Path::new(OWN_DIR);
    let mut all = vec![(Mount { source: staged.dir.clone(), target: own.to_owned() }, false)];
    if let Some(program) = &staged.program {
        all.push((Mount { source: program.clone(), target: own.join(PROGRAM) }, false));
    }
    all.push((Mount { source: scratch.join(LINE_DIR), target: own.join(LINE_DIR) }, false));
    for (name, target, _) in FILES.iter().filter(|(name, _, _)| has_own_network || *name == "ld.so.preload") {
        all.push((Mount { source: scratch.join(name), target: target.into() }, false));
    }
    let reserved: Vec<PathBuf> =
        FILES.iter().map(|(_, target, _)| target.into()).chain([own.to_owned()]).collect();
    for (mount, is_writable) in
        sandbox.read.iter().map(|mount| (mount, false)).chain(sandbox.write.iter().map(|mount| (mount, true)))
    {
        if reserved.iter().any(|place| mount.target.starts_with(place) || place.starts_with(&mount.target)) {
            return Err(BadMount::Reserved(mount.target.clone()));
        }
        all.push((mount.clone(), is_writable));
    }
    all.extend(covers(sandbox, staged)?);
    all.sort_by_key(|(mount, _)| mount.target.components().count());
    all.into_iter().map(|(mount, is_writable)| bind(&mount, is_writable)).collect()
}

/// What covers hidden paths, and what keeps directories in their places.
fn covers(sandbox: &SandboxConfig, staged: &Staged) -> Result<Vec<(Mount, bool)>, BadMount> {
    let shown = |mount: &Mount, is_writable| Shown {
        source: OsString::from(&mount.source),
        target: OsString::from(&mount.target),
        is_writable,
    };
    let read = sandbox.read.iter().map(|mount| shown(mount, false));
    let shown: Vec<Shown> = read.chain(sandbox.write.iter().map(|mount| shown(mount, true))).collect();
    let Covers { pinned, hidden } = hiding::covers(&sandbox.hide, &sandbox.fixed, &shown, None);
    let outside = |inside: &Path| {
        let above = shown.iter().filter(|tree| inside.starts_with(&tree.target));
        let tree = above.max_by_key(|tree| Path::new(&tree.target).components().count())?;
        Some(Path::new(&tree.source).join(inside.strip_prefix(&tree.target).ok()?))
    };
    let mut mounts = Vec::new();
    for dir in pinned {
        let source = outside(&dir).ok_or_else(|| BadMount::Moved(dir.clone()))?;
        mounts.push((Mount { source: unmoved(source)?, target: dir }, true));
    }
    for fixed in &sandbox.fixed {
        let source = outside(fixed).ok_or_else(|| BadMount::Moved(fixed.clone()))?;
        mounts.push((Mount { source: unmoved(source)?, target: fixed.clone() }, false));
    }
    for cover in &hidden {
        let target = PathBuf::from(&cover.path);
        let Some(source) = outside(&target) else { continue };
        if cover.is_elsewhere && !source.exists() {
            continue;
        }
        let name = if unmoved(source)?.is_dir() { EMPTY_DIR } else { EMPTY_FILE };
        mounts.push((Mount { source: staged.at(name), target }, false));
    }
    Ok(mounts)
}

/// A path of the host that is what it says: whoever may write there could have put links in its place.
fn unmoved(path: PathBuf) -> Result<PathBuf, BadMount> {
    let real: io::Result<PathBuf> = path.canonicalize();
    if real.is_ok_and(|real| real == path) { Ok(path) } else { Err(BadMount::Moved(path)) }
}

/// Of a path that may only be read nothing is shown that is mounted below it: the runtime would leave that writable.
fn bind(mount: &Mount, is_writable: bool) -> Result<Bind, BadMount> {
    let text =
        |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| BadMount::NotText(path.to_owned()));
    Ok(Bind {
        typ: Some(MountType::BIND),
        source: Some(text(&mount.source)?),
        target: Some(text(&mount.target)?),
        read_only: Some(!is_writable),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            non_recursive: Some(!is_writable),
            ..MountBindOptions::default()
        }),
        ..Bind::default()
    })
}
