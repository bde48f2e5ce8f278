//! A RunConfig, its package pinned and there.
//!
//! `skep.package_asked` is what was asked for, `skep.package` the one version of it that is run, from when it was found out
//! until somebody asks for another.

use std::collections::BTreeMap;
use std::str::FromStr;

use model::RunConfig;
use model::package::{PackageSpec, Scheme};
use model::run_config::Isolation;
use store::state::{State, StateRoots};

use super::cache::{self, Cache, Cached, Entry, InUse, Pruned};
use super::maker::{Job, Maker};
use super::program::{Launch, Program, chosen, launch};
use super::{PackageError, PackageTools, build, golang, npm, pypi};
use crate::daemon::Folders;
use crate::plan::Surroundings;

/// Variables of an image's that are not for packages to set.
const RESERVED: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "SHELL",
    "PWD",
    "HOSTNAME",
    "TERM",
    "LANG",
    "LC_ALL",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
];

/// What a shell would do something with.
const SHELL_MARKS: [&str; 12] = ["`", "$(", "${", "\\", "\n", "\r", "\"", ";", "&&", "|", ">", "<"];

/// What a package manager has made.
pub(super) struct Made {
    /// The version that it came to.
    pub(super) pinned: PackageSpec,
    /// What can be run of it. `None`: it was there already, and nothing was made.
    pub(super) programs: Option<BTreeMap<String, Program>>,
}

/// Who is told what is done.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// Sees to it that the package of a configuration is pinned and installed; what is installed stays as long as what is given
/// is held. `None`: it is no package.
///
/// # Errors
/// [`PackageError`]; the configuration is as it was.
pub async fn pin(
    config: &mut RunConfig,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<Option<InUse>, PackageError> {
    let Some(asked) = package(config).map(str::to_owned) else { return Ok(None) };
    let spec = PackageSpec::from_str(&asked)?;
    if is_contained(config) {
        build::pin(config, around, spec, tell).await?;
        let skep = config.skep_mut();
        if skep.package_asked.is_empty() {
            skep.package_asked = asked;
        }
        return Ok(None);
    }
    let with = build_with(config, &spec)?;
    let entry = there(config, around, spec.clone(), with, tell).await?;
    let program = config.skep.as_ref().map(|skep| skep.command.as_str()).filter(|name| !name.is_empty());
    chosen(&entry.record, &spec, program)?;
    let held = entry.hold()?;
    let skep = config.skep_mut();
    if skep.package_asked.is_empty() {
        skep.package_asked = asked;
    }
    skep.package.clone_from(&entry.record.package);
    Ok(Some(held))
}

/// The same for one that is pinned: what was removed meanwhile is installed again.
///
/// # Errors
/// [`PackageError`].
pub async fn ready(config: &RunConfig, around: &Surroundings, tell: Tell<'_>) -> Result<(), PackageError> {
    let Some(text) = package(config) else { return Ok(()) };
    let spec = PackageSpec::from_str(text)?;
    // What is not pinned is not found out behind anybody's back; the plan says so.
    if spec.exact().is_none() {
        return Ok(());
    }
    if is_contained(config) {
        return build::ready(config, around, spec, tell).await;
    }
    let with = build_with(config, &spec)?;
    there(config, around, spec, with, tell).await.map(drop)
}

/// Pins the package anew from what was asked for. False where it is the same version.
///
/// # Errors
/// [`PackageError`]; the configuration is as it was.
pub async fn refresh(
    config: &mut RunConfig,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<bool, PackageError> {
    let mut fresh = config.clone();
    let skep = fresh.skep_mut();
    let before = skep.package.clone();
    if !skep.package_asked.is_empty() {
        skep.package.clone_from(&skep.package_asked);
    }
    if is_contained(&fresh) {
        fresh.image.clear();
    }
    pin(&mut fresh, around, tell).await?;
    let is_other = fresh.skep_mut().package != before;
    *config = fresh;
    Ok(is_other)
}

/// Whether it has to be installed before it can be run.
pub(crate) fn is_missing(config: &RunConfig, around: &Surroundings) -> bool {
    // Who asks a runtime waits for it.
    let found = package(config)
        .filter(|_| !is_contained(config))
        .and_then(|text| PackageSpec::from_str(text).ok())
        .map(|spec| {
            let with = build_with(config, &spec).unwrap_or_default();
            cache_of(&around.packages).is_ok_and(|cache| cache.find(&spec, &with).is_some())
        });
    found == Some(false)
}

/// How the package of a configuration is started.
pub(crate) fn launched(
    config: &RunConfig,
    spec: &PackageSpec,
    program: Option<&str>,
    around: &Surroundings,
) -> Result<Launch, PackageError> {
    let with = build_with(config, spec)?;
    let entry = cache_of(&around.packages)?.find(spec, &with);
    launch(&entry.ok_or_else(|| PackageError::NotInstalled(spec.to_string()))?, spec, program)
}

/// The variables that a configuration has for a package's server; what is said otherwise counts before them.
pub(crate) fn runtime_env(config: &RunConfig) -> Result<Vec<(String, String)>, PackageError> {
    config.runtime_config.as_ref().map_or(Ok(Vec::new()), |runtime| variables(&runtime.runtime_env))
}

/// Variables, none of which could be misread.
pub(super) fn variables(env: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, PackageError> {
    let checked = env.iter().map(|(name, value)| match variable_problem(name, value) {
        Some(problem) => Err(PackageError::BadVariable(name.clone(), problem)),
        None => Ok((name.clone(), value.clone())),
    });
    checked.collect()
}

fn variable_problem(name: &str, value: &str) -> Option<&'static str> {
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if !is_name {
        return Some("a name is of capital letters, digits and '_'");
    }
    if RESERVED.contains(&name) {
        return Some("it is not for a package to say");
    }
    SHELL_MARKS
        .iter()
        .any(|mark| value.contains(mark))
        .then_some("its value has marks that a shell would read")
}

/// The installations, by name, and which workloads are run from them.
///
/// # Errors
/// The workloads cannot be read.
pub fn list(around: &Surroundings) -> Result<Vec<Cached>, PackageError> {
    Ok(cache::list(&cache_of(&around.packages)?.0, &workloads(around)?))
}

/// Removes the installations that no workload names and nobody runs.
///
/// # Errors
/// The workloads cannot be read: what they need is not known then. Or an installation cannot be removed.
pub fn prune(around: &Surroundings) -> Result<Pruned, PackageError> {
    cache::prune(&cache_of(&around.packages)?.0, &workloads(around)?)
}

fn workloads(around: &Surroundings) -> Result<Vec<RunConfig>, PackageError> {
    let Folders { state, data, .. } = around.folders.as_ref().ok_or(PackageError::NoFolder)?;
    let unknown = |error: &dyn std::fmt::Display| PackageError::Workloads(error.to_string());
    let files = State::open(&StateRoots { state: state.clone(), data: data.clone() });
    let listing = files.and_then(|files| Ok(files.run_configs.list()?)).map_err(|error| unknown(&error))?;
    match listing.troubles.first() {
        Some(trouble) => Err(unknown(trouble)),
        None => Ok(listing.entries.into_iter().map(|(_, entry)| entry.value).collect()),
    }
}

/// Whether it is run as an image.
fn is_contained(config: &RunConfig) -> bool {
    config.skep.as_ref().is_some_and(|skep| skep.isolation == Isolation::Container.as_str())
}

fn package(config: &RunConfig) -> Option<&str> {
    config.skep.as_ref().map(|skep| skep.package.as_str()).filter(|package| !package.is_empty())
}

fn cache_of(tools: &PackageTools) -> Result<Cache, PackageError> {
    tools.folder.clone().map(Cache).ok_or(PackageError::NoFolder)
}

/// What is installed with a package.
fn build_with(config: &RunConfig, spec: &PackageSpec) -> Result<Vec<String>, PackageError> {
    let Some(runtime) = &config.runtime_config else { return Ok(Vec::new()) };
    if !runtime.builder_image.is_empty() {
        return Err(PackageError::ForImages("builder_image"));
    }
    if !runtime.additional_packages.is_empty() {
        return Err(PackageError::ForImages("additional_packages"));
    }
    requirements(&runtime.build_with, spec)?;
    Ok(runtime.build_with.clone())
}

/// Refuses what is no requirement, and any where there can be none.
pub(super) fn requirements(with: &[String], spec: &PackageSpec) -> Result<(), PackageError> {
    if !with.is_empty() && spec.scheme() != Scheme::Uvx {
        return Err(PackageError::WithOthers);
    }
    match with.iter().find(|text| !is_requirement(text)) {
        Some(bad) => Err(PackageError::BadRequirement(bad.clone())),
        None => Ok(()),
    }
}

fn is_requirement(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+[],<>=!~* -".contains(c))
}

/// The installation, made if it is not there.
async fn there(
    config: &RunConfig,
    around: &Surroundings,
    spec: PackageSpec,
    with: Vec<String>,
    tell: Tell<'_>,
) -> Result<Entry, PackageError> {
    let cache = cache_of(&around.packages)?;
    if let Some(entry) = cache.find(&spec, &with) {
        return Ok(entry);
    }
    if spec.is_local() && spec.exact().is_some() {
        return Err(PackageError::BuildGone(spec.name().to_owned()));
    }
    let skep = config.skep.as_ref();
    let search_path = skep.map(|skep| &skep.search_path).filter(|path| !path.is_empty());
    let found_by = search_path.map(|path| ("PATH".to_owned(), path.clone()));
    let job = Job {
        cache: &cache,
        is_isolated: skep.is_none_or(|skep| skep.isolation != Isolation::None.as_str()),
        env: around.env.iter().cloned().chain(found_by).collect(),
        tools: &around.packages,
        spec,
        with,
    };
    made(&job, tell).await
}

/// Makes it, alone.
async fn made(job: &Job<'_>, tell: Tell<'_>) -> Result<Entry, PackageError> {
    let Job { cache, spec, with, .. } = job;
    let waits = || tell(&format!("another skep installs {} just now; waiting for it …", spec.name()));
    let _lock = cache.lock(spec, waits).await?;
    if let Some(entry) = cache.find(spec, with) {
        return Ok(entry);
    }
    let making = cache.begin(spec)?;
    let made = make(job, &making, tell).await;
    if let Err(error) = cache::remove(&making) {
        tracing::warn!(%error, path = %making.display(), "what an installation left is not removed");
    }
    made
}

async fn make(job: &Job<'_>, making: &std::path::Path, tell: Tell<'_>) -> Result<Entry, PackageError> {
    let maker = Maker::new(job, making, tell)?;
    if job.spec.exact().is_none() && !job.spec.is_local() {
        maker.tell(&format!("looking up {} …", job.spec));
    }
    let Made { pinned, programs } = match job.spec.scheme() {
        Scheme::Npx => npm::make(&maker).await?,
        Scheme::Uvx => pypi::make(&maker).await?,
        Scheme::Go => golang::make(&maker).await?,
    };
    let Some(programs) = programs else {
        let there = job.cache.find(&pinned, &job.with);
        return there.ok_or_else(|| PackageError::NotInstalled(pinned.to_string()));
    };
    if programs.is_empty() {
        return Err(PackageError::NoProgram(pinned.to_string()));
    }
    let cache = job.cache.clone();
    let (made, with) = (maker.entry.clone(), job.with.clone());
    // It waits until everything is on the disk.
    let finishing = tokio::task::spawn_blocking(move || cache.finish(&made, &pinned, &with, programs));
    finishing
        .await
        .unwrap_or_else(|error| Err(PackageError::on(making, "made")(std::io::Error::other(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_is_refused() {
        for (name, value, is_bad) in [
            ("A_1", "b c", false),
            ("A", "a&b", false),
            ("a", "b", true),
            ("1A", "b", true),
            ("PATH", "/x", true),
            ("LD_PRELOAD", "x", true),
            ("A", "$(id)", true),
            ("A", "a;b", true),
            ("A", "a\nb", true),
            ("A", "a|b", true),
        ] {
            assert_eq!(variable_problem(name, value).is_some(), is_bad, "{name}={value}");
        }
        for (text, is_good) in [
            ("httpx", true),
            ("httpx[http2]>=0.2,<1", true),
            ("a ~= 1.4", true),
            ("-r", false),
            ("a;id", false),
            ("a @ https://x", false),
            ("", false),
        ] {
            assert_eq!(is_requirement(text), is_good, "{text}");
        }
    }

    #[test]
    fn what_is_for_images_or_python_is_refused_elsewhere() {
        let with = |runtime: &str, package: &str| {
            let text = format!(r#"{{"runtime_config":{runtime}}}"#);
            let config: RunConfig = model::Document::parse(&text).unwrap();
            build_with(&config, &package.parse().unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(with(r#"{"build_with":["a>1"]}"#, "uvx://x").unwrap(), ["a>1"]);
        for (runtime, package, expect) in [
            (r#"{"builder_image":"node:20"}"#, "npx://x", "builder_image is for images"),
            (r#"{"additional_packages":["git"]}"#, "npx://x", "additional_packages is for images"),
            (r#"{"build_with":["a"]}"#, "npx://x", "for uvx://"),
            (r#"{"build_with":["--index-url=x"]}"#, "uvx://x", "no requirement"),
        ] {
            let error = with(runtime, package).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
