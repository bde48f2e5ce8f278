//! What npm is told, and what it has made.
//!
//! The lock file that says which version of everything it is stays in the installation.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use model::package::PackageSpec;
use serde::Deserialize;

use super::PackageError;
use super::maker::{Maker, Step};
use super::pin::Made;
use super::program::Program;

const HELP: &str = "install Node.js, which brings it (nodejs.org, or your system's packages nodejs and npm)";
/// Not what a person wants to be told, and not what is run.
const QUIET: [&str; 5] = ["--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev", "--save-exact"];

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Locked>,
}

#[derive(Deserialize)]
struct Locked {
    #[serde(default)]
    version: String,
}

/// The part of a `package.json` that says what can be run.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    bin: Option<Bin>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bin {
    One(String),
    Several(BTreeMap<String, String>),
}

pub(super) async fn make(maker: &Maker<'_>) -> Result<Made, PackageError> {
    let spec = &maker.job.spec;
    maker.job.needed("npm", HELP)?;
    maker.write("package.json", "{\"private\": true}\n")?;
    let pinned = match spec.exact() {
        Some(_) => spec.clone(),
        None => {
            // The whole tree is settled, and nothing is fetched yet but what says what it is.
            install(maker, &["--package-lock-only", "--ignore-scripts"], spec).await?;
            let lock: Lock = serde_json::from_str(&maker.read("package-lock.json")?).map_err(|error| {
                maker.unreadable(format!("its package-lock.json is not readable: {error}"))
            })?;
            let locked = lock.packages.get(&format!("node_modules/{}", spec.name()));
            spec.at(locked.map_or("", |locked| &locked.version))?
        }
    };
    if maker.is_there(&pinned) {
        return Ok(Made { pinned, programs: None });
    }
    maker.tell(&format!("installing {} {} …", pinned.name(), pinned.exact().unwrap_or_default()));
    install(maker, &[], &pinned).await?;
    let folder = format!("node_modules/{}", spec.name());
    let manifest = maker.read(&format!("{folder}/package.json"))?;
    let programs = programs(&pinned, &folder, &manifest)
        .map_err(|error| maker.unreadable(format!("its package.json is not readable: {error}")))?;
    Ok(Made { pinned, programs: Some(programs) })
}

async fn install(maker: &Maker<'_>, more: &[&str], spec: &PackageSpec) -> Result<(), PackageError> {
    let version = spec.to_string();
    let argument = version.strip_prefix("npx://").unwrap_or_default();
    let args = [&["install"], QUIET.as_slice(), more, &["--", argument]].concat();
    let step = Step {
        what: "npm install",
        program: "npm".into(),
        args: args.into_iter().map(str::to_owned).collect(),
        ..Step::default()
    };
    maker.run(step).await.map(drop)
}

/// What the package's own description says can be run.
fn programs(
    spec: &PackageSpec,
    folder: &str,
    manifest: &str,
) -> Result<BTreeMap<String, Program>, serde_json::Error> {
    let plain = spec.name().rsplit('/').next().unwrap_or_default();
    let bin = match serde_json::from_str::<Manifest>(manifest)?.bin {
        None => BTreeMap::new(),
        Some(Bin::One(path)) => BTreeMap::from([(plain.to_owned(), path)]),
        Some(Bin::Several(bin)) => bin,
    };
    // A path that leads out of the package is npm's to refuse, and not run here.
    let stays = |path: &str| {
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    let program = |path: &str| Program { path: Path::new(folder).join(path), through: None };
    Ok(bin.iter().filter(|(_, path)| stays(path)).map(|(name, path)| (name.clone(), program(path))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_run_is_what_the_package_says() {
        let spec: PackageSpec = "npx://@s/a@1.0.0".parse().unwrap();
        for (manifest, expect) in [
            (r#"{"bin":"./x.js"}"#, "a=node_modules/@s/a/x.js"),
            (r#"{"bin":{"b":"dist/b.js","c":"c"}}"#, "b=node_modules/@s/a/dist/b.js c=node_modules/@s/a/c"),
            (r#"{"bin":{"b":"../../../bin/sh","c":"/bin/sh"}}"#, ""),
            (r#"{"name":"a"}"#, ""),
        ] {
            let found = programs(&spec, "node_modules/@s/a", manifest).unwrap();
            let found = found.iter().map(|(name, program)| {
                format!("{name}={}", program.path.components().collect::<std::path::PathBuf>().display())
            });
            assert_eq!(found.collect::<Vec<_>>().join(" "), expect, "{manifest}");
        }
    }
}
