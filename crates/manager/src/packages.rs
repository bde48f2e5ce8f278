//! Servers that are packages: found out once which version is meant, installed once, and run from where they are.
//!
//! - `cache` — the folder of installed packages: what is where, what is whole, who may write.
//! - `registry` — where packages come from, as the user's tools are told (pure).
//! - `maker` — a package manager at work, in a sandbox of its own that reaches the registry and nothing else.
//! - `npm`, `pypi`, `golang` — what each is told, and what it has made.
//! - `program` — which program of a package is the server (pure).
//! - `image` — a package as an image instead (pure).
//! - `build` — such an image, built by a container runtime.
//! - `pin` — a RunConfig, its package pinned and there.
//!
//! INVARIANT: what is run was installed whole. An installation is made aside and put in its place by one rename, and has
//! a record only then; what was cut short has neither.
//!
//! INVARIANT: what was started as one version is started again as that one. Only whoever asks for it gets another.
//!
//! Absent on purpose: how a server is isolated ([`crate::plan`]).

mod build;
mod cache;
mod golang;
mod image;
mod maker;
mod npm;
mod pin;
mod program;
mod pypi;
mod registry;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use model::package::NotAPackage;
use workload::SpawnError;
use workload::container::{NoRuntime, RuntimeError};
use workload::egress::BadEgress;
use workload::process::BadCommand;
use workload::sandbox::BadSandbox;

pub use build::build;
pub use cache::{Cached, InUse, Pruned};
pub use image::{ImageConfig, ImageRecipe, Login, image};
pub use pin::{Tell, list, pin, prune, ready, refresh};
pub(crate) use pin::{is_missing, launched, runtime_env};
pub use program::Launch;
pub use registry::BadRegistry;

/// What package managers are told by their user, and where packages are kept.
#[derive(Clone, Default)]
pub struct PackageTools {
    /// The folder of installed packages. `None`: there is no home directory.
    pub folder: Option<PathBuf>,
    /// Variables of theirs ([`TOOL_VARIABLES`]). They may hold passwords, and no server gets them.
    pub env: Vec<(String, String)>,
    /// The text of the user's `.npmrc`.
    pub npmrc: String,
}

/// The variables by which package managers are told where packages are, and whom to trust.
pub const TOOL_VARIABLES: [&str; 15] = [
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "GOPROXY",
    "GONOSUMDB",
    "GONOSUMCHECK",
    "GOSUMDB",
    "GOPRIVATE",
    "GOFLAGS",
];

/// Variables and settings may hold passwords.
impl fmt::Debug for PackageTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackageTools").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why a package is not there to be run.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It is none.
    #[error(transparent)]
    NotAPackage(#[from] NotAPackage),
    /// There is nowhere to install it.
    #[error("there is no home directory, and so no place for packages: set HOME")]
    NoFolder,
    /// The program that installs such packages is missing.
    #[error("{tool} is not installed, which {scheme}:// needs: {help}")]
    NoTool {
        /// The program.
        tool: &'static str,
        /// For what.
        scheme: &'static str,
        /// What to install.
        help: &'static str,
    },
    /// The user's tools are told a registry that is none.
    #[error(transparent)]
    Registry(#[from] BadRegistry),
    /// The package manager said no.
    #[error("{package} could not be installed: {what} {how}{}{}", if words.is_empty() { "" } else { ":\n  " }, words.join("\n  "))]
    Failed {
        /// The package.
        package: String,
        /// Which command.
        what: String,
        /// How it ended.
        how: String,
        /// The end of what it said.
        words: Vec<String>,
    },
    /// What it left is not what it should have left.
    #[error("{package} was installed, but {what}")]
    Unreadable {
        /// The package.
        package: String,
        /// What is amiss.
        what: String,
    },
    /// Nothing in it can be run.
    #[error("{0} has no program to run")]
    NoProgram(String),
    /// It is not said which program is the server.
    #[error("{package} has several programs: {}; name one with --program", names.join(", "))]
    ManyPrograms {
        /// The package.
        package: String,
        /// Its programs.
        names: Vec<String>,
    },
    /// It has other programs.
    #[error("{package} has no program {program:?}; it has {}", names.join(", "))]
    OtherPrograms {
        /// The package.
        package: String,
        /// What was named.
        program: String,
        /// Its programs.
        names: Vec<String>,
    },
    /// It was there when it was pinned, and is not any more.
    #[error("{0} is not installed: `skep restart` installs it again")]
    NotInstalled(String),
    /// What was built of a folder cannot be had again.
    #[error("what was built of {0} is gone: `skep restart --refresh` builds it anew")]
    BuildGone(String),
    /// Only Python packages are installed with others.
    #[error("--build-with is for uvx:// packages")]
    WithOthers,
    /// A requirement that is installed too.
    #[error("--build-with {0:?} is no requirement: write NAME or NAME==VERSION")]
    BadRequirement(String),
    /// An image is of one version.
    #[error("{0} names no one version: write it behind @")]
    NotOneVersion(String),
    /// It would be misread in a Dockerfile.
    #[error("{text:?} is no name of {of}")]
    Unfit {
        /// Of what it should be.
        of: &'static str,
        /// What stands there.
        text: String,
    },
    /// It is run as a process.
    #[error(
        "runtime_config.{0} is for images; this package is run as a process (--isolation container makes an image of it)"
    )]
    ForImages(&'static str),
    /// An image of a folder would not be of one version.
    #[error("{0} is a folder, which is built and run as a process: leave --isolation container")]
    FolderImage(String),
    /// What an image is made from cannot be had.
    #[error(
        "an image of {package} needs the image {base}, which cannot be had: {why}. With --isolation process no image is needed"
    )]
    NoBase {
        /// The package.
        package: String,
        /// The image.
        base: String,
        /// What the runtime said.
        why: RuntimeError,
    },
    /// A variable of the server that could be misread.
    #[error("runtime_config.runtime_env: {0:?} cannot be set: {1}")]
    BadVariable(String, &'static str),
    /// The folder is none.
    #[error("{0:?} is no folder with a Go program: it, or one above it, has a go.mod")]
    NoModule(PathBuf),
    /// It is not known which packages are needed.
    #[error("the workloads could not be read, and so it is not known what they need: {0}")]
    Workloads(String),
    /// A file or folder of the cache.
    #[error("{} could not be {action}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Sandbox(#[from] BadSandbox),
    #[error(transparent)]
    Egress(#[from] BadEgress),
    #[error(transparent)]
    Command(#[from] BadCommand),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl PackageError {
    fn on(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, action, source }
    }
}
